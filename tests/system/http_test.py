"""The promises of the HTTP API, with curl: the same rows as contract_test.py, and what only HTTP
has (percent-encoding, entity tags, methods, bodies, half requests)."""

import json
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import urllib.parse

import grpc

import clients
import harness

KEY_MAX = 1024
VALUE_MAX = 1 << 20
REQUEST_MAX = 2 << 20
CONSISTENCIES = ("", "lease", "linearizable", "strong", "bounded_staleness", "stale_ok", "eventual")
LONG_MS = 3600 * 1000


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # lower-case name -> value
        self.body = body

    @property
    def etag(self):
        return self.headers.get("etag")

    @property
    def error(self):
        return json.loads(self.body)["error"]


def curl(url, *arguments, body=None):
    """One run of curl; the last answer if there were interim ones (100 Continue)."""
    with tempfile.TemporaryDirectory(prefix="norikv-curl-") as directory:
        head, out = pathlib.Path(directory, "head"), pathlib.Path(directory, "body")
        command = ["curl", "--silent", "--show-error", "--path-as-is", "--max-time", "120",
                   "--dump-header", str(head), "--output", str(out), *arguments, url]
        if body is not None:
            command[1:1] = ["--data-binary", "@-"]
        subprocess.run(command, input=body, check=True)
        heads = head.read_bytes()
        last = heads.decode("latin-1").rstrip("\r\n").split("\r\n\r\n")[-1]
        status, *lines = last.split("\r\n")
        headers = {name.lower(): value.strip() for name, value in
                   (line.split(":", 1) for line in lines)}
        content = out.read_bytes() if out.exists() else b""
        if "--head" in arguments:  # curl counts the head as content then
            content = content.removeprefix(heads)
        return Answer(int(status.split()[1]), headers, content)


def version_of(etag):
    match = re.fullmatch(r'"(\d+)\.(\d+)"', etag)
    return int(match.group(1)), int(match.group(2))


class HttpTest(harness.NodeTest):
    keep_ports = True

    def url(self, key, query=""):
        if isinstance(key, str):
            key = key.encode()
        return (f"http://{self.node.http_address()}/kv/" + urllib.parse.quote(key, safe="")
                + (f"?{query}" if query else ""))

    def key(self, name="key"):
        return f"{self.id()}/{name}"

    def put(self, key, value, *headers, query=""):
        arguments = [word for header in headers for word in ("--header", header)]
        return curl(self.url(key, query), "--request", "PUT", *arguments, body=value)

    def get(self, key, query=""):
        return curl(self.url(key, query))

    def head(self, key):
        return curl(self.url(key), "--head")

    def delete(self, key, *headers):
        arguments = [word for header in headers for word in ("--header", header)]
        return curl(self.url(key), "--request", "DELETE", *arguments)

    def expect_put(self, key, value, *headers, query=""):
        answer = self.put(key, value, *headers, query=query)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.etag

    def expect_value(self, key, value, etag=None):
        answer = self.get(key)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.body, value)
        if etag is not None:
            self.assertEqual(answer.etag, etag)
        return answer

    def expect_error(self, answer, status, code, prefix=""):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["content-type"].split(";")[0], "application/json")
        self.assertEqual(set(json.loads(answer.body)), {"error"})
        self.assertEqual(set(answer.error), {"code", "message"})
        self.assertEqual(answer.error["code"], code)
        self.assertTrue(answer.error["message"].startswith(prefix), answer.error)
        self.assertNotEqual(answer.error["message"], "")
        return answer.error["message"]


class Semantics(HttpTest):
    def test_a_put_is_read_back_with_its_entity_tag(self):
        etag = self.expect_put(self.key(), b"value")
        self.assertGreater(version_of(etag), (0, 0))
        answer = self.expect_value(self.key(), b"value", etag)
        self.assertEqual(answer.headers["content-length"], "5")
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")

    def test_a_missing_key_is_not_found(self):
        self.expect_error(self.get(self.key()), 404, "NOT_FOUND")

    def test_head_is_get_without_the_body(self):
        etag = self.expect_put(self.key(), b"value")
        answer = self.head(self.key())
        self.assertEqual((answer.status, answer.body, answer.etag), (200, b"", etag))
        self.assertEqual(answer.headers["content-length"], "5")
        self.assertEqual(self.head(self.key("missing")).status, 404)

    def test_an_empty_value_is_a_value(self):
        for arguments in (("--data-binary", ""), ("--header", "Content-Length: 0")):
            answer = curl(self.url(self.key()), "--request", "PUT", *arguments)
            self.assertEqual(answer.status, 200, answer.body)
            self.expect_value(self.key(), b"", answer.etag)

    def test_a_chunked_body_is_a_value(self):
        value = bytes(range(256)) * 64
        etag = self.expect_put(self.key(), value, "Transfer-Encoding: chunked")
        self.expect_value(self.key(), value, etag)

    def test_a_delete_tells_whether_a_live_key_was_there(self):
        self.expect_put(self.key(), b"value")
        self.assertEqual(self.delete(self.key()).status, 204)
        self.assertEqual(self.get(self.key()).status, 404)
        self.expect_error(self.delete(self.key()), 404, "NOT_FOUND")

    def test_http_and_grpc_are_the_same_store(self):
        with clients.channel(self.node.rpc_address) as link:
            client = clients.StubClient(link)
            key = bytes(range(256)) + self.key().encode()
            etag = self.expect_put(key, b"\0\xff\r\n")
            answer = client.get(key=key)
            self.assertEqual(answer.value, b"\0\xff\r\n")
            self.assertEqual((answer.version.term, answer.version.index), version_of(etag))
            client.delete(key=key)
            self.assertEqual(self.get(key).status, 404)
            with self.assertRaises(grpc.RpcError):
                client.put(key=key, value=b"", if_match=version_of(etag))

    def test_if_match_compares_and_sets(self):
        first = self.expect_put(self.key(), b"1")
        second = self.expect_put(self.key(), b"2", f"If-Match: {first}")
        message = self.expect_error(self.put(self.key(), b"3", f"If-Match: {first}"), 412,
                                    "FAILED_PRECONDITION", "version mismatch: expected ")
        self.assertEqual(message, f"version mismatch: expected {first[1:-1]}, "
                                  f"found {second[1:-1]}")
        self.expect_error(self.delete(self.key(), f"If-Match: {first}"), 412,
                          "FAILED_PRECONDITION", "version mismatch")
        self.expect_value(self.key(), b"2", second)
        self.assertEqual(self.delete(self.key(), f"If-Match: {second}").status, 204)

    def test_if_none_match_any_creates_only(self):
        created = self.expect_put(self.key(), b"1", "If-None-Match: *")
        self.expect_error(self.put(self.key(), b"2", "If-None-Match: *"), 412, "ALREADY_EXISTS",
                          "key exists")
        self.expect_value(self.key(), b"1", created)

    def test_conditions_that_make_no_sense_are_refused(self):
        self.expect_put(self.key(), b"1")
        for header in ("If-Match: 1.2", 'If-Match: "x"', 'If-Match: "1"', 'If-Match: "1.2.3"',
                       'If-Match: "99999999999999999999.1"', 'If-Match: "1.2", "3.4"',
                       'If-None-Match: "1.2"'):
            with self.subTest(header):
                self.expect_error(self.put(self.key(), b"2", header), 400, "INVALID_ARGUMENT")
        self.expect_error(self.put(self.key(), b"2", 'If-Match: "1.2"', "If-None-Match: *"), 400,
                          "INVALID_ARGUMENT")
        self.expect_value(self.key(), b"1")

    def test_a_time_to_live_ends(self):
        self.expect_put(self.key(), b"value", query="ttl_ms=100")
        self.expect_put(self.key("long"), b"value", query=f"ttl_ms={LONG_MS}")
        harness.wait_for(lambda: self.get(self.key()).status == 404, "the expiry")
        self.expect_value(self.key("long"), b"value")

    def test_a_retry_gets_the_first_answer_and_has_no_effect(self):
        first = self.expect_put(self.key(), b"1", "Idempotency-Key: a")
        second = self.expect_put(self.key(), b"2")
        self.assertEqual(self.expect_put(self.key(), b"1", "Idempotency-Key: a"), first)
        self.expect_value(self.key(), b"2", second)
        self.node.kill()
        self.node.start()
        self.assertEqual(self.expect_put(self.key(), b"1", "Idempotency-Key: a"), first)
        self.expect_value(self.key(), b"2", second)
        self.expect_error(self.put(self.key(), b"other", "Idempotency-Key: a"), 400,
                          "INVALID_ARGUMENT", "idempotency")

    def test_an_idempotency_key_is_known_to_the_shard_of_the_request(self):
        """Of 1024 shards, "hello" and "hello:1793" are in 309 and "world" is in 752."""
        header = "Idempotency-Key: of a shard"
        first = self.expect_put("hello", b"1", header)
        self.expect_error(self.put("hello:1793", b"1", header), 400, "INVALID_ARGUMENT",
                          "idempotency")
        self.assertEqual(self.get("hello:1793").status, 404)
        other = self.expect_put("world", b"2", header)
        self.assertEqual(self.expect_put("hello", b"1", header), first)
        self.assertEqual(self.expect_put("world", b"2", header), other)
        self.expect_value("hello", b"1", first)
        self.expect_value("world", b"2", other)

    def test_every_consistency_reads_the_value_and_others_are_refused(self):
        self.expect_put(self.key(), b"value")
        for consistency in CONSISTENCIES:
            answer = self.get(self.key(), f"consistency={consistency}")
            self.assertEqual((answer.status, answer.body), (200, b"value"), consistency)
        self.expect_error(self.get(self.key(), "consistency=quorum"), 400, "INVALID_ARGUMENT",
                          "consistency")

    def test_queries_that_make_no_sense_are_refused(self):
        for query in ("ttl_ms=abc", "ttl_ms=-1", "ttl_ms=1.5", "ttl_ms=18446744073709551616",
                      "ttl_ms="):
            with self.subTest(query):
                self.expect_error(self.put(self.key(), b"x", query=query), 400, "INVALID_ARGUMENT")
        for query in ("ttl=1", "consistency=lease", "ttl_ms=1&ttl_ms=1"):
            with self.subTest(query):
                self.expect_error(self.put(self.key(), b"x", query=query), 400, "INVALID_ARGUMENT",
                                  "query parameter")
        self.expect_error(self.get(self.key(), "ttl_ms=1"), 400, "INVALID_ARGUMENT",
                          "query parameter")
        self.assertEqual(self.get(self.key()).status, 404)

    def test_headers_that_count_come_once_and_are_not_empty(self):
        for headers in (("Idempotency-Key: a", "Idempotency-Key: a"), ("Idempotency-Key;",),
                        ('If-Match: "1.2"', 'If-Match: "1.2"'), ("If-Match;",),
                        ("If-None-Match: *", "If-None-Match: *")):
            with self.subTest(headers):
                self.expect_error(self.put(self.key(), b"x", *headers), 400, "INVALID_ARGUMENT")
        self.expect_error(self.delete(self.key(), "If-None-Match: *"), 400, "INVALID_ARGUMENT")
        self.assertEqual(self.get(self.key()).status, 404)


class Keys(HttpTest):
    """The key is what stands between /kv/ and the question mark, percent-decoded once."""

    def raw(self, path, *arguments, **rest):
        return curl(f"http://{self.node.http_address()}{path}", "--globoff", *arguments, **rest)

    def test_keys_are_any_bytes(self):
        prefix = self.key().encode()
        for tail in (b"\0", b"a\0b", b"/", b"//a/../b/.", b"%2F", b"+ ", b"?x=y#z", b"\xff\xfe",
                     "Hello 世界".encode(), bytes(range(256))):
            with self.subTest(tail):
                etag = self.expect_put(prefix + tail, tail)
                self.expect_value(prefix + tail, tail, etag)

    def test_one_key_has_many_spellings(self):
        self.assertEqual(self.raw("/kv/spelt%2fA%41", "--request", "PUT", body=b"v").status, 200)
        for spelling in ("/kv/spelt%2FAA", "/kv/spelt/AA", "/kv/%73pelt/A%41"):
            self.assertEqual(self.raw(spelling).body, b"v", spelling)

    def test_plus_is_plus_and_dots_are_dots(self):
        self.assertEqual(self.raw("/kv/a+b", "--request", "PUT", body=b"plus").status, 200)
        self.assertEqual(self.raw("/kv/a%20b").status, 404)
        self.assertEqual(self.raw("/kv/a%2Bb").body, b"plus")
        self.assertEqual(self.raw("/kv/../kv/dots", "--request", "PUT", body=b"dots").status, 200)
        self.assertEqual(self.raw("/kv/dots").status, 404)
        self.assertEqual(self.raw("/kv/%2e%2e/kv/dots").body, b"dots")

    def test_bad_percent_encoding_is_refused(self):
        for path in ("/kv/%", "/kv/a%2", "/kv/%zz", "/kv/%0g", "/kv/a%%20"):
            for arguments in ((), ("--request", "PUT"), ("--request", "DELETE"), ):
                with self.subTest(f"{arguments} {path}"):
                    body = b"x" if "PUT" in arguments else None
                    self.expect_error(self.raw(path, *arguments, body=body), 400,
                                      "INVALID_ARGUMENT")

    def test_the_key_has_1_to_1024_bytes(self):
        key = self.key().encode().ljust(KEY_MAX, b"\xe4")
        self.expect_put(key, b"value")
        self.expect_value(key, b"value")
        for answer in (self.put(key + b"k", b"x"), self.get(key + b"k"), self.delete(key + b"k")):
            self.assertIn(str(KEY_MAX), self.expect_error(answer, 414, "INVALID_ARGUMENT"))
        self.expect_error(self.raw("/kv/", "--request", "PUT", body=b"x"), 400, "INVALID_ARGUMENT",
                          "key")


class Bodies(HttpTest):
    def test_the_value_has_up_to_a_mebibyte(self):
        value = bytes(range(256)) * (VALUE_MAX // 256)
        etag = self.expect_put(self.key(), value)
        self.expect_value(self.key(), value, etag)
        for headers in ((), ("Transfer-Encoding: chunked",)):
            message = self.expect_error(self.put(self.key(), value + b"x", *headers), 413,
                                        "INVALID_ARGUMENT")
            self.assertIn(str(VALUE_MAX), message)
        self.expect_value(self.key(), value, etag)

    def test_a_request_beyond_two_mebibytes_is_refused_before_it_is_read(self):
        """By its header alone: the body is never sent, so there is nothing to wait for."""
        for length in (REQUEST_MAX + 1, 2**62):
            with self.subTest(length):
                head = (f"PUT /kv/{urllib.parse.quote(self.key(), safe='')} HTTP/1.1\r\nHost: x\r\n"
                        f"Content-Length: {length}\r\n\r\n")
                self.assertIn(b" 413 ", self.talk(head.encode())[:16])

    def test_targets_and_heads_have_a_limit(self):
        self.expect_error(self.get("k" * 4200), 414, "INVALID_ARGUMENT")
        self.expect_error(self.put(self.key(), b"x", "X-Long: " + "x" * 9000), 431,
                          "INVALID_ARGUMENT")

    def test_the_idempotency_key_has_up_to_128_bytes(self):
        self.expect_put(self.key(), b"1", "Idempotency-Key: " + "k" * 128)
        self.expect_error(self.put(self.key(), b"1", "Idempotency-Key: " + "k" * 129), 400,
                          "INVALID_ARGUMENT", "idempotency_key")

    def test_bodies_of_two_lengths_are_refused(self):
        """A proxy and this server could see two requests where one was sent."""
        path = urllib.parse.quote(self.key(), safe="")
        for headers in ("Content-Length: 1\r\nContent-Length: 2\r\n",
                        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
                        "Content-Length: 2\r\nTransfer-Encoding : chunked\r\n",
                        "X: y\r\n folded\r\nContent-Length: 2\r\n"):
            with self.subTest(headers):
                head = f"PUT /kv/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
                self.assertIn(b" 400 ", self.talk(head.encode() + b"1\r\na\r\n0\r\n\r\n")[:16])
        self.assertEqual(self.get(self.key()).status, 404)

    def talk(self, data):
        """What comes back for these bytes."""
        host, port = self.node.http_address().rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=60) as link:
            link.sendall(data)
            return link.recv(65536)

    def test_half_requests_disturb_nobody(self):
        host, port = self.node.http_address().rsplit(":", 1)
        path = urllib.parse.quote(self.key(), safe="")
        halves = (b"", b"G", b"GET /kv/a HTTP/1.1\r\nHo", b"\0\xff\r\n\r\n",
                  f"PUT /kv/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        links = []
        for half in halves * 10:
            link = socket.create_connection((host, int(port)), timeout=60)
            self.addCleanup(link.close)
            link.sendall(half)
            links.append(link)
        self.assertEqual(self.get(self.key()).status, 404)
        for link in links:
            link.close()
        self.assertEqual(self.get(self.key()).status, 404)

    def test_many_clients_at_once(self):
        problems = []

        def work(number):
            for round_number in range(10):
                key, value = self.key(str(number)), b"%d" % round_number
                self.expect_put(key, value)
                if self.get(key).body != value:
                    problems.append((number, round_number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


class Routes(HttpTest):
    def expect_method_refused(self, method, path, allowed):
        body = b"" if method in ("POST", "PUT", "PATCH") else None
        answer = curl(f"http://{self.node.http_address()}{path}", "--request", method, body=body)
        self.assertEqual(answer.status, 405, (method, path))
        self.assertEqual({word.strip() for word in answer.headers["allow"].split(",")}, allowed)
        self.assertEqual(answer.error["code"], "UNIMPLEMENTED")

    def test_other_methods_are_refused(self):
        for method in ("POST", "PATCH", "OPTIONS", "NONSENSE"):
            self.expect_method_refused(method, "/kv/a", {"GET", "HEAD", "PUT", "DELETE"})
        for path in ("/health", "/health/quick", "/metrics", "/readyz", "/healthz",
                     "/meta/cluster", "/meta/targets"):
            self.expect_method_refused("DELETE", path, {"GET", "HEAD"})

    def test_unknown_routes_are_not_found(self):
        for path in ("/", "/nope", "/kvx", "/health/slow", "/meta", "/meta/nope"):
            answer = curl(f"http://{self.node.http_address()}{path}")
            self.assertEqual(answer.status, 404, path)
            self.assertEqual(answer.error["code"], "UNIMPLEMENTED", path)

    def test_the_cluster_is_told_as_json(self):
        self.expect_put(self.key(), b"value")

        def led():
            view = json.loads(curl(f"http://{self.node.http_address()}/meta/cluster").body)
            return view if view["shards"] else None

        view = harness.wait_for(led, "a shard in the view")
        self.assertGreater(int(view["epoch"]), 0)
        self.assertEqual([node["id"] for node in view["nodes"]], ["node0"])
        self.assertEqual(view["nodes"][0]["addr"], self.node.rpc_address)
        self.assertEqual(view["nodes"][0]["role"], "leader")
        for shard in view["shards"]:
            self.assertEqual(shard["replicas"], [{"node_id": "node0", "leader": True}])


if __name__ == "__main__":
    harness.main()
