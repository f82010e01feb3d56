"""Callers that speak HTTP/2 just well enough to be a nuisance: requests that stop half-way, streams
that nobody reads, sizes that lie, more than there is memory for.  Each of them gets what it is
due, and everybody else is served as if they were not there."""

import re
import select
import socket
import struct
import time
import unittest

import grpc

import clients
import harness

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4  # a setting
CANCEL = struct.pack(">I", 8)

PUT = "/norikv.v1.Kv/Put"
WATCH = "/norikv.v1.Meta/WatchCluster"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
GOOD_PUT = b"\x0a\x07hostile\x12\x01v"  # key and value

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = (
    "0", "3", "4", "8", "12")

REQUEST_MAX = 2 << 20
MEMORY_MAX = 512 << 20  # what gRPC may hold in the gateway
MEMORY_BESIDE = 1 << 30  # the gateway's own, what the allocator keeps, and a sanitizer's part


def frame(kind, flags, stream, body=b""):
    return (struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream)
            + body)


def literal(name, value):
    """A header field in its plainest form."""
    def text(data):
        size, length = len(data), b""
        if size < 127:
            return bytes([size]) + data
        size -= 127
        while size >= 128:
            length += bytes([size % 128 + 128])
            size //= 128
        return b"\x7f" + length + bytes([size]) + data
    return b"\0" + text(name) + text(value)


def headers(path, **more):
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path.encode(),
              b":authority": b"x", b"te": b"trailers", b"content-type": b"application/grpc"}
    fields.update((name.replace("_", "-").encode(), value) for name, value in more.items())
    return b"".join(literal(name, value) for name, value in fields.items())


def message(body, compressed=0, length=None):
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def begin(stream, path, **more):
    return frame(HEADERS, END_HEADERS, stream, headers(path, **more))


def call(stream, path, body, end=True):
    return begin(stream, path) + frame(DATA, END_STREAM if end else 0, stream, body)


def many(count, make):
    return b"".join(make(2 * number + 1) for number in range(count))


# What is sent on a fresh connection -> the status that stream 1 gets; None: none is due.
SESSIONS = {
    "headers alone": (begin(1, PUT), None),
    "half a message": (call(1, PUT, message(GOOD_PUT)[:7], end=False), None),
    "an end within the message": (call(1, PUT, message(GOOD_PUT)[:7]), INVALID_ARGUMENT),
    "an end without a message": (frame(HEADERS, END_HEADERS | END_STREAM, 1, headers(PUT)),
                                 INVALID_ARGUMENT),
    "a length of 4 GiB": (call(1, PUT, message(b"x", length=2**32 - 1)), INVALID_ARGUMENT),
    "a length above the limit": (call(1, PUT, message(b"x" * 16000, length=REQUEST_MAX + 1),
                                      end=False), None),
    "a compressed message": (begin(1, PUT, grpc_encoding=b"gzip")
                             + frame(DATA, END_STREAM, 1, message(b"x" * 20, compressed=1)),
                             UNIMPLEMENTED),
    "headers that are too large": (begin(1, PUT, x_large=b"x" * 40000)
                                   + frame(DATA, END_STREAM, 1, message(GOOD_PUT)),
                                   RESOURCE_EXHAUSTED),
    "headers without an end": (frame(HEADERS, 0, 1, headers(PUT))
                               + frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 16000)) * 50, None),
    "a path that is no text": (begin(1, PUT).replace(b"Kv", b"\xff\x01"), UNIMPLEMENTED),
    "a deadline that is no number": (begin(1, PUT, grpc_timeout=b"soon")
                                     + frame(DATA, END_STREAM, 1, message(GOOD_PUT)), OK),
    "a deadline that has passed on arrival": (begin(1, PUT, grpc_timeout=b"1n")
                                              + frame(DATA, END_STREAM, 1, message(GOOD_PUT)),
                                              DEADLINE_EXCEEDED),
    "a reset at once": (call(1, PUT, message(GOOD_PUT)) + frame(RST_STREAM, 0, 1, CANCEL), None),
    "a reset in the message": (call(1, PUT, message(GOOD_PUT)[:6], end=False)
                               + frame(RST_STREAM, 0, 1, CANCEL), None),
    "many resets": (many(3000, lambda stream: call(stream, PUT, message(GOOD_PUT))
                         + frame(RST_STREAM, 0, stream, CANCEL)), None),
    "many half messages": (many(1500, lambda stream: call(
        stream, PUT, message(GOOD_PUT)[:6], end=False)), None),
    "watches that nobody reads": (frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0))
                                  + many(500, lambda stream: call(stream, WATCH, message(b""))),
                                  None),
    "health watches": (many(500, lambda stream: call(stream, HEALTH_WATCH, message(b""))), None),
    "reflection without a question": (many(500, lambda stream: begin(stream, REFLECTION)), None),
    "reflection with half a question": (call(1, REFLECTION, message(b"\x22\x01x")[:6]), OK),
    "reflection about nothing": (call(1, REFLECTION, message(b""), end=False), INVALID_ARGUMENT),
    "reflection about noise": (call(1, REFLECTION, message(b"\xff\xff"), end=False),
                               INVALID_ARGUMENT),
    "reflection about no text": (call(1, REFLECTION, message(b"\x22\x02\xff\xfe"), end=False),
                                 INVALID_ARGUMENT),
    "reflection with a long question": (call(1, REFLECTION, message(
        b"\x22\xe0\x5d" + b"a" * 12000)), OK),
    "reflection without reading": (begin(1, REFLECTION)
                                   + frame(DATA, 0, 1, message(b"\x3a\x01*") * 2000), None),
    "a number that only servers use": (begin(2, PUT), None),
    "data for nobody": (frame(DATA, 0, 77, b"x"), None),
    "pings": (frame(PING, 0, 0, b"12345678") * 2000, None),
    "settings": (frame(SETTINGS, 0, 0) * 2000, None),
    "a frame of 16 MiB": (b"\xff\xff\xff\0\0\0\0\0\1", None),
    "noise": (bytes(range(256)) * 8, None),
}


class Link:
    """One connection, polite so far: settings are exchanged and acknowledged.  What comes in is
    kept as (kind, flags, stream, body)."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=harness.PATIENCE)
        self.socket.setblocking(False)
        self.waiting = PREFACE + frame(SETTINGS, 0, 0)  # to be sent
        self.received = b""
        self.frames = []
        self.open = True
        harness.wait_for(lambda: self.pump() or self.frames, "the server's settings")
        self.settings = next(body for kind, _, _, body in self.frames if kind == SETTINGS)
        self.send(frame(SETTINGS, ACK, 0))

    def pump(self):
        """Sends and reads what can be without waiting."""
        try:
            if self.waiting:
                self.waiting = self.waiting[self.socket.send(self.waiting[:1 << 20]):]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        try:
            data = self.socket.recv(1 << 18)
            self.received += data
            self.open = self.open and data != b""
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + size:
                return
            kind, flags = self.received[3:5]
            stream = int.from_bytes(self.received[5:9], "big")
            self.frames.append((kind, flags, stream, self.received[9:9 + size]))
            self.received = self.received[9 + size:]

    def send(self, data):
        """All of it, unless the other side hangs up."""
        self.waiting += data
        harness.wait_for(lambda: self.pump() or not self.waiting or not self.open, "data to leave")

    def status(self, stream):
        """The grpc-status of a call, once it is there; None: the connection ends without it."""
        def ended():
            self.pump()
            for kind, _, of, body in self.frames:
                found = re.search(rb"grpc-status.(\d+)", body, re.DOTALL)
                if kind == HEADERS and of == stream and found:
                    return found.group(1).decode()
            return None if self.open else "closed"
        result = harness.wait_for(ended, f"a status of stream {stream}")
        return None if result == "closed" else result

    def settled(self):
        """Everything that was sent before has been read by the server: it answers a ping."""
        self.send(frame(PING, 0, 0, b"settled?"))
        harness.wait_for(lambda: self.pump() or not self.open or any(
            kind == PING and flags & ACK and body == b"settled?"
            for kind, flags, _, body in self.frames), "the ping to come back")

    def close(self, reset):
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Hog(Link):
    """Begins requests of nearly the largest size and sends all of each but its end, as far as the
    server's windows let it."""

    PIECE = 16000

    def __init__(self, address, streams):
        super().__init__(address)
        settings = dict(struct.iter_unpack(">HI", self.settings))
        self.connection_window = 65535
        self.initial_window = settings.get(INITIAL_WINDOW_SIZE, 65535)
        self.streams = range(1, 2 * streams, 2)
        self.windows = dict.fromkeys(self.streams, self.initial_window)
        self.left = dict.fromkeys(self.streams, REQUEST_MAX - 100)
        self.refused = set()
        for stream in self.streams:
            self.waiting += begin(stream, PUT)

    def step(self):
        self.pump()
        for kind, flags, stream, body in self.frames:
            self.take(kind, flags, stream, body)
        self.frames.clear()
        for stream in self.streams:
            if len(self.waiting) > 1 << 20 or self.connection_window < self.PIECE:
                break
            if (self.windows[stream] >= self.PIECE and stream not in self.refused
                    and self.left[stream] > self.PIECE):
                piece = b"x" * self.PIECE
                if self.left[stream] == REQUEST_MAX - 100:
                    piece = message(piece[5:], length=REQUEST_MAX - 100)
                self.waiting += frame(DATA, 0, stream, piece)
                self.connection_window -= self.PIECE
                self.windows[stream] -= self.PIECE
                self.left[stream] -= self.PIECE

    def take(self, kind, flags, stream, body):
        if kind == WINDOW_UPDATE and stream == 0:
            self.connection_window += int.from_bytes(body, "big")
        elif kind == WINDOW_UPDATE:
            self.windows[stream] += int.from_bytes(body, "big")
        elif kind == RST_STREAM:
            self.refused.add(stream)
        elif kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", body):
                if number == INITIAL_WINDOW_SIZE:
                    for each in self.windows:
                        self.windows[each] += value - self.initial_window
                    self.initial_window = value
            self.waiting += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.waiting += frame(PING, ACK, 0, body)


class Hostile(harness.NodeTest):
    flags = ("--total-shards", "8")
    keep_ports = True

    def setUp(self):
        self.client = clients.StubClient(clients.channel(self.node.rpc_address))
        self.addCleanup(self.client.close)
        self.client.put(key=b"a", value=b"1")
        self.gateway = self.node.pid("gateway")

    def expect_service(self):
        self.assertEqual(self.client.get(key=b"a").value, b"1")
        self.assertEqual(self.node.pid("gateway"), self.gateway, "the gateway was restarted")

    def link(self):
        link = Link(self.node.rpc_address)
        self.addCleanup(link.socket.close)
        return link

    def test_each_session_gets_its_due_and_disturbs_nobody(self):
        for number, (what, (sent, status)) in enumerate(SESSIONS.items()):
            with self.subTest(what):
                link = self.link()
                link.send(sent)
                if status is None:
                    link.settled()
                else:
                    self.assertEqual(link.status(1), status)
                self.expect_service()
                link.close(reset=number % 2 == 0)
        self.expect_service()

    def test_requests_that_never_end_have_a_bounded_cost(self):
        hogs = [Hog(self.node.rpc_address, 250) for _ in range(6)]  # 3 GiB if they were let
        for hog in hogs:
            self.addCleanup(hog.socket.close)
        peak = 0
        refused = 0
        deadline = time.monotonic() + harness.PATIENCE
        while refused < 100:
            self.assertLess(time.monotonic(), deadline, "nobody is refused")
            select.select([hog.socket for hog in hogs], [], [], 0.05)
            for hog in hogs:
                hog.step()
            refused = sum(len(hog.refused) for hog in hogs)
            peak = max(peak, resident_bytes(self.gateway))
            self.assertLess(peak, MEMORY_MAX + MEMORY_BESIDE)
        harness.wait_for(self.serves, "the others to be served")
        for hog in hogs:
            hog.close(reset=False)
        self.expect_service()

    def serves(self):
        """While memory is short a stream of anybody may be reset."""
        try:
            return self.client.get(key=b"a", timeout=10).value == b"1"
        except grpc.RpcError:
            return False

    def test_a_stop_waits_for_none_of_them(self):
        """Whoever is connected, and whatever has begun."""
        links = []
        for sent, _ in SESSIONS.values():
            link = self.link()
            link.send(sent)
            links.append(link)
        self.assertEqual(self.node.stop(), 0)
        for link in links:
            harness.wait_for(lambda link=link: link.pump() or not link.open, "a hang-up")
            link.close(reset=False)
        self.node.start()


def resident_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024


if __name__ == "__main__":
    harness.main()
