"""Memory stays flat: under mixed load, and whatever connections are opened, abandoned or left in
the middle of a request.

What has a budget by configuration (write buffers, caches, the idempotency table) gets a small one
here and is filled before the first measurement, so that what grows afterwards is a leak.

    NK_SOAK_SECONDS   length of the load that is measured (default 0: a fixed number of requests)
    NK_CONNECTIONS    how many connections are abandoned (default 1000; for acceptance 10000)"""

import os
import pathlib
import random
import re
import resource
import socket
import threading
import time
import unittest

import grpc

import clients
import harness

SOAK_SECONDS = float(os.environ.get("NK_SOAK_SECONDS", "0"))
CONNECTIONS = int(os.environ.get("NK_CONNECTIONS", "1000"))
THREADS = 4
REQUESTS = 20000  # of one round of the load, all threads together
KEYS = 2000
VALUE_BYTES = 512
GROWTH_BYTES_MAX = 12 << 20
AT_ONCE = 200  # connections that are open at the same time
FILLING_ROUNDS = 3  # of them, before memory is measured

FLAGS = ("--total-shards", "8", "--set", "limits.idempotency_max_per_shard=100",
         "--set", "lsm.memtable_bytes=256KiB", "--set", "lsm.write_buffer_total_bytes=2MiB",
         "--set", "lsm.block_cache_bytes=4MiB", "--set", "raft.segment_bytes=4MiB",
         "--log-level", "warn")
# Freed memory is kept for a while by the sanitizer; a small quarantine fills in the first round.
ENVIRONMENT = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=64:"
                               + os.environ.get("ASAN_OPTIONS", "")}


def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Memory(unittest.TestCase):
    def setUp(self):
        self.node = harness.Node(harness.make_directory(self.id().rsplit(".", 1)[-1]), *FLAGS,
                                 keep_ports=True, environment=ENVIRONMENT)
        self.addCleanup(self.node.kill)
        self.node.start()
        self.pids = {role: self.node.pid(role) for role in harness.ROLES}
        self.pids["server"] = self.node.process.pid

    def measure(self, what):
        return {role: what(pid) for role, pid in self.pids.items()}

    def expect_flat(self, before, after):
        grown = {role: after[role] - before[role] for role in before}
        print("resident MiB before, after: " + ", ".join(
            f"{role} {before[role] / 2**20:.1f} {after[role] / 2**20:.1f}" for role in before),
            flush=True)
        for role, growth in grown.items():
            self.assertLess(growth, GROWTH_BYTES_MAX, f"{role} grew by {growth} bytes: {grown}")
        self.assertEqual({role: self.node.pid(role) for role in harness.ROLES},
                         {role: self.pids[role] for role in harness.ROLES}, "a process restarted")

    def load(self, until):
        """Mixed requests from several threads; until(number of the request) ends it."""
        problems = []

        def work(number):
            choice = random.Random(number)
            with clients.channel(self.node.rpc_address) as link:
                client = clients.StubClient(link)
                serial = 0
                while not until(serial):
                    try:
                        self.request(client, choice, f"{number}/{serial}")
                    except grpc.RpcError as error:
                        problems.append(f"{error.code()} {error.details()}")
                        return
                    serial += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])

    @staticmethod
    def request(client, choice, unique):
        key = b"key-%d" % choice.randrange(KEYS)
        kind = choice.randrange(20)
        if kind < 8:
            client.put(key=key, value=choice.randbytes(VALUE_BYTES))
        elif kind < 10:
            client.put(key=key, value=choice.randbytes(VALUE_BYTES), idempotency_key=unique)
        elif kind < 11:
            client.put(key=key, value=b"short-lived", ttl_ms=100)
        elif kind < 12:
            client.delete(key=key)
        elif kind < 13:
            call = client.method("Kv", "Get").future(client.request("Kv", "Get", {"key": key}))
            call.cancel()
        else:
            client.get(key=key, consistency=choice.choice(("", "linearizable", "stale_ok")))

    def test_mixed_load_leaves_memory_flat(self):
        for _ in range(2):  # fill every budget
            self.load(lambda serial: serial >= REQUESTS // THREADS)
        before = self.measure(resident_bytes)
        deadline = time.monotonic() + SOAK_SECONDS
        self.load(lambda serial: serial >= REQUESTS // THREADS and time.monotonic() >= deadline)
        self.expect_flat(before, self.measure(resident_bytes))

    def test_abandoned_connections_leave_nothing(self):
        """After the first rounds another one costs nothing.  They fill what the allocator keeps for
        each thread of gRPC's; which of them gets a connection is chance, so one round is not enough
        (34 to 50 MiB from one to the next was seen, and then never more than 50)."""
        for _ in range(FILLING_ROUNDS):
            self.abandon(CONNECTIONS)
            self.wait_closed()
        before = self.measure(resident_bytes)
        self.abandon(CONNECTIONS)
        self.wait_closed()
        self.expect_flat(before, self.measure(resident_bytes))
        with clients.channel(self.node.rpc_address) as link:
            client = clients.StubClient(link)
            client.put(key=b"a", value=b"1")
            self.assertEqual(client.get(key=b"a").value, b"1")

    def wait_closed(self):
        """Every process has closed what its clients have."""
        harness.wait_for(lambda: max(self.measure(open_files).values()) < AT_ONCE // 2,
                         "the connections to be closed")

    def abandon(self, count):
        """Connections of every kind, AT_ONCE open at a time, half of them ended with a reset."""
        targets = [("grpc", self.node.rpc_address)]
        targets += [("http", self.node.http_address(role)) for role in harness.ROLES]
        openings = {
            "http": (b"", b"GET", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"\0" * 100,
                     b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf",
                     b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
                     b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            "grpc": (b"", b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\x20\1\4\0\0\0\1half",
                     b"GET / HTTP/1.1\r\n\r\n"),
        }
        choice = random.Random(count)
        links = []
        for number in range(count):
            kind, address = targets[number % len(targets)]
            host, port = address.rsplit(":", 1)
            link = socket.create_connection((host, int(port)), timeout=60)
            link.sendall(choice.choice(openings[kind]))
            links.append(link)
            if len(links) == AT_ONCE:
                self.let_go(links)
        self.let_go(links)

    @staticmethod
    def let_go(links):
        for number, link in enumerate(links):
            if number % 2 == 0:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            link.close()
        links.clear()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    harness.main()
