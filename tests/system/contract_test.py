"""The promises of the gRPC API, row by row: semantics and error table.

Every test runs with stubs made from our .proto and again with a client that has nothing but
reflection; the tests of the wire and of the service's own services come after them."""

import threading
import time
import unittest

import grpc

import clients
import harness

KEY_MAX = 1024
VALUE_MAX = 1 << 20
REQUEST_MAX = 2 << 20
IDEMPOTENCY_KEY_MAX = 128
CONSISTENCIES = ("", "lease", "linearizable", "strong", "bounded_staleness", "stale_ok", "eventual")
LONG_MS = 3600 * 1000

Code = grpc.StatusCode


def pair(version):
    return version.term, version.index


class ContractTest(harness.NodeTest):
    make_client = clients.StubClient
    keep_ports = True  # a restart must not move the server away from its clients

    def setUp(self):
        self.connect()

    def connect(self):
        self.client = self.make_client(clients.channel(self.node.rpc_address))
        self.addCleanup(self.client.close)

    def key(self, name="key"):
        """A key that no other test uses."""
        return f"{self.id()}/{name}".encode()

    def expect_error(self, code, prefix, call, **fields):
        with self.assertRaises(grpc.RpcError) as raised:
            call(**fields)
        error = raised.exception
        self.assertEqual(error.code(), code, error.details())
        self.assertTrue(error.details().startswith(prefix), error.details())
        return error

    def expect_missing(self, key, **fields):
        answer = self.client.get(key=key, **fields)
        self.assertEqual(answer.value, b"")
        self.assertFalse(answer.HasField("version"))

    def expect_value(self, key, value, version=None, **fields):
        answer = self.client.get(key=key, **fields)
        self.assertTrue(answer.HasField("version"))
        self.assertEqual(answer.value, value)
        if version is not None:
            self.assertEqual(pair(answer.version), version)
        return pair(answer.version)

    def put(self, key, value, **fields):
        answer = self.client.put(key=key, value=value, **fields)
        self.assertGreater(answer.version.term, 0)
        self.assertGreater(answer.version.index, 0)
        return pair(answer.version)

    def restart(self, end):
        """With a new channel: the old one may learn of the end of the server by a failed call."""
        end()
        self.node.start()
        self.connect()


class Semantics:
    """Mixed into ContractTest once per client."""

    def test_a_put_is_read_back_with_its_version(self):
        version = self.put(self.key(), b"value")
        self.expect_value(self.key(), b"value", version)

    def test_a_missing_key_is_ok_without_value_and_version(self):
        self.expect_missing(self.key())

    def test_an_empty_value_is_a_value(self):
        version = self.put(self.key(), b"")
        self.expect_value(self.key(), b"", version)

    def test_versions_of_a_key_strictly_grow(self):
        last = (0, 0)
        for number in range(20):
            version = self.put(self.key(), b"%d" % number)
            self.assertGreater(version, last)
            last = version
        deleted = self.client.delete(key=self.key())
        self.assertGreater(pair(deleted.version), last)
        self.assertGreater(self.put(self.key(), b"again"), pair(deleted.version))

    def test_a_delete_tells_whether_a_live_key_was_there(self):
        self.put(self.key(), b"value")
        self.assertTrue(self.client.delete(key=self.key()).tombstoned)
        self.expect_missing(self.key())
        self.assertFalse(self.client.delete(key=self.key()).tombstoned)
        self.assertFalse(self.client.delete(key=self.key("never")).tombstoned)

    def test_keys_and_values_are_any_bytes(self):
        every_byte = bytes(range(256))
        keys = [self.key() + tail for tail in
                (b"\0", b"\0\0", b"\0a", b"\xff", b"\xff\xff", every_byte, b"%2F/../", b"\r\n")]
        for number, key in enumerate(keys):
            self.put(key, every_byte + b"%d" % number)
        for number, key in enumerate(keys):
            self.expect_value(key, every_byte + b"%d" % number)

    def test_keys_of_all_shards_are_served(self):
        for number in range(300):
            self.put(self.key(str(number)), b"%d" % number)
        for number in range(300):
            self.expect_value(self.key(str(number)), b"%d" % number)

    # Compare and set.

    def test_if_match_with_the_current_version_applies(self):
        first = self.put(self.key(), b"1")
        second = self.put(self.key(), b"2", if_match=first)
        self.assertGreater(second, first)
        self.expect_value(self.key(), b"2", second)
        self.assertTrue(self.client.delete(key=self.key(), if_match=second).tombstoned)
        self.expect_missing(self.key())

    def test_if_match_with_another_version_changes_nothing(self):
        first = self.put(self.key(), b"1")
        second = self.put(self.key(), b"2")
        expected = (f"version mismatch: expected {first[0]}.{first[1]}, "
                    f"found {second[0]}.{second[1]}")
        for call, fields in ((self.client.put, {"value": b"3"}), (self.client.delete, {})):
            self.expect_error(Code.FAILED_PRECONDITION, expected, call, key=self.key(),
                              if_match=first, **fields)
        self.expect_value(self.key(), b"2", second)

    def test_if_match_on_a_missing_key_is_a_mismatch(self):
        self.expect_error(Code.FAILED_PRECONDITION, "version mismatch: expected 3.4, found 0.0",
                          self.client.put, key=self.key(), value=b"x", if_match=(3, 4))
        self.expect_error(Code.FAILED_PRECONDITION, "version mismatch: expected 3.4, found 0.0",
                          self.client.delete, key=self.key(), if_match=(3, 4))
        self.expect_missing(self.key())

    def test_if_match_zero_creates_only(self):
        created = self.put(self.key(), b"1", if_match=(0, 0))
        self.expect_error(Code.ALREADY_EXISTS, "key exists", self.client.put, key=self.key(),
                          value=b"2", if_match=(0, 0))
        self.expect_value(self.key(), b"1", created)
        self.client.delete(key=self.key())
        self.put(self.key(), b"3", if_match=(0, 0))
        self.expect_value(self.key(), b"3")

    def test_of_many_creators_exactly_one_wins(self):
        def create(number):
            return self.client.put(key=self.key(), value=b"%d" % number, if_match=(0, 0))
        codes = self.in_threads(8, create)
        self.assertEqual(sorted(codes, key=str),
                         sorted([Code.OK] + [Code.ALREADY_EXISTS] * 7, key=str))

    def test_counting_by_compare_and_set_loses_nothing(self):
        self.put(self.key(), b"0")

        def count(_):
            done = 0
            while done < 10:
                now = self.client.get(key=self.key())
                try:
                    self.client.put(key=self.key(), value=b"%d" % (int(now.value) + 1),
                                    if_match=pair(now.version))
                    done += 1
                except grpc.RpcError as error:
                    if error.code() != Code.FAILED_PRECONDITION:
                        raise

        self.assertEqual(self.in_threads(6, count), [Code.OK] * 6)
        self.expect_value(self.key(), b"60")

    def in_threads(self, count, call):
        """The status of call(0) ... call(count - 1), each in a thread."""
        codes = [None] * count

        def run(number):
            try:
                call(number)
                codes[number] = Code.OK
            except grpc.RpcError as error:
                codes[number] = error.code()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes

    # Time to live.

    def wait_until_missing(self, key):
        harness.wait_for(lambda: not self.client.get(key=key).HasField("version"), "the expiry")

    def test_a_key_expires_and_not_before_its_time(self):
        ttl_ms = 700
        started = time.monotonic()
        self.put(self.key(), b"value", ttl_ms=ttl_ms)
        while True:
            found = self.client.get(key=self.key()).HasField("version")
            if not found:
                break
        self.assertGreaterEqual(time.monotonic() - started, ttl_ms / 1000)
        for consistency in CONSISTENCIES:
            self.expect_missing(self.key(), consistency=consistency)

    def test_an_expired_key_is_missing_to_writes_too(self):
        version = self.put(self.key(), b"1", ttl_ms=50)
        self.wait_until_missing(self.key())
        self.expect_error(Code.FAILED_PRECONDITION, "version mismatch", self.client.put,
                          key=self.key(), value=b"2", if_match=version)
        self.assertFalse(self.client.delete(key=self.key()).tombstoned)
        self.put(self.key(), b"3", if_match=(0, 0))
        self.expect_value(self.key(), b"3")

    def test_an_overwrite_without_a_time_to_live_lives_for_ever(self):
        self.put(self.key(), b"1", ttl_ms=50)
        self.put(self.key(), b"2")
        self.put(self.key("clock"), b"", ttl_ms=200)
        self.wait_until_missing(self.key("clock"))
        self.expect_value(self.key(), b"2")

    def test_the_longest_time_to_live_does_not_overflow(self):
        for ttl_ms in (LONG_MS, 2**63, 2**64 - 1):
            self.put(self.key(str(ttl_ms)), b"value", ttl_ms=ttl_ms)
            self.expect_value(self.key(str(ttl_ms)), b"value")

    # Idempotency.

    def test_a_retry_gets_the_first_answer_and_has_no_effect(self):
        first = self.put(self.key(), b"1", idempotency_key="a")
        second = self.put(self.key(), b"2")
        self.assertEqual(self.put(self.key(), b"1", idempotency_key="a"), first)
        self.expect_value(self.key(), b"2", second)

    def test_a_retried_delete_gets_the_first_answer_and_has_no_effect(self):
        self.put(self.key(), b"1")
        first = self.client.delete(key=self.key(), idempotency_key="d")
        self.assertTrue(first.tombstoned)
        version = self.put(self.key(), b"2")
        again = self.client.delete(key=self.key(), idempotency_key="d")
        self.assertTrue(again.tombstoned)
        self.assertEqual(pair(again.version), pair(first.version))
        self.expect_value(self.key(), b"2", version)

    def test_a_retried_compare_and_set_succeeds_again(self):
        before = self.put(self.key(), b"1")
        first = self.put(self.key(), b"2", if_match=before, idempotency_key="c")
        again = self.put(self.key(), b"2", if_match=before, idempotency_key="c")
        self.assertEqual(again, first)

    def test_a_retry_of_a_refused_write_is_refused_again(self):
        self.expect_error(Code.FAILED_PRECONDITION, "version mismatch", self.client.put,
                          key=self.key(), value=b"1", if_match=(3, 4), idempotency_key="r")
        created = self.put(self.key(), b"1", if_match=(0, 0), idempotency_key="e")
        self.assertEqual(self.put(self.key(), b"1", if_match=(0, 0), idempotency_key="e"), created)
        self.expect_error(Code.FAILED_PRECONDITION, "version mismatch", self.client.put,
                          key=self.key(), value=b"1", if_match=(3, 4), idempotency_key="r")

    def test_a_retry_gets_the_first_answer_after_restarts_too(self):
        first = self.put(self.key(), b"1", idempotency_key="s")
        self.client.delete(key=self.key("other"), idempotency_key="d")
        self.restart(self.node.stop)
        second = self.put(self.key(), b"2")
        self.assertEqual(self.put(self.key(), b"1", idempotency_key="s"), first)
        self.expect_value(self.key(), b"2", second)
        self.restart(self.node.kill)
        self.assertEqual(self.put(self.key(), b"1", idempotency_key="s"), first)
        self.expect_value(self.key(), b"2", second)

    def test_an_idempotency_key_belongs_to_one_request(self):
        version = self.put(self.key(), b"1", idempotency_key="k")
        others = ((self.client.put, {"value": b"2"}), (self.client.delete, {}),
                  (self.client.put, {"value": b"1", "ttl_ms": LONG_MS}),
                  (self.client.put, {"value": b"1", "if_match": version}))
        for call, fields in others:
            self.expect_error(Code.INVALID_ARGUMENT, "idempotency", call, key=self.key(),
                              idempotency_key="k", **fields)
        self.expect_value(self.key(), b"1", version)

    def test_an_idempotency_key_is_known_to_the_shard_of_the_request(self):
        """Of 1024 shards, "hello" and "hello:1793" are in 309 and "world" is in 752."""
        first = self.put(b"hello", b"1", idempotency_key="of a shard")
        for call, fields in ((self.client.put, {"value": b"1"}), (self.client.delete, {})):
            self.expect_error(Code.INVALID_ARGUMENT, "idempotency", call, key=b"hello:1793",
                              idempotency_key="of a shard", **fields)
        self.expect_missing(b"hello:1793")
        other = self.put(b"world", b"2", idempotency_key="of a shard")
        self.assertEqual(self.put(b"hello", b"1", idempotency_key="of a shard"), first)
        self.assertEqual(self.put(b"world", b"2", idempotency_key="of a shard"), other)
        self.expect_value(b"hello", b"1", first)
        self.expect_value(b"world", b"2", other)

    def test_many_simultaneous_retries_are_one_write(self):
        versions = set()

        def put(_):
            versions.add(self.put(self.key(), b"1", idempotency_key="m"))
        self.assertEqual(self.in_threads(8, put), [Code.OK] * 8)
        self.assertEqual(len(versions), 1)

    # Consistency.

    def test_every_consistency_reads_the_value(self):
        version = self.put(self.key(), b"value")
        for consistency in CONSISTENCIES:
            with self.subTest(consistency):
                self.expect_value(self.key(), b"value", version, consistency=consistency)
                self.expect_missing(self.key("missing"), consistency=consistency)

    def test_an_unknown_consistency_is_refused(self):
        for consistency in ("quorum", "LEASE", "lease ", "\0", "ü" * 200):
            with self.subTest(consistency):
                self.expect_error(Code.INVALID_ARGUMENT, "consistency", self.client.get,
                                  key=self.key(), consistency=consistency)

    # Limits: at the limit, and one above.

    def test_the_key_has_1_to_1024_bytes(self):
        key = self.key().ljust(KEY_MAX, b"k")
        self.put(key, b"value")
        self.expect_value(key, b"value")
        self.assertTrue(self.client.delete(key=key).tombstoned)
        for call, fields in ((self.client.put, {"value": b"x"}), (self.client.get, {}),
                             (self.client.delete, {})):
            error = self.expect_error(Code.INVALID_ARGUMENT, "key", call, key=key + b"k", **fields)
            self.assertIn(str(KEY_MAX), error.details())
            self.expect_error(Code.INVALID_ARGUMENT, "key", call, key=b"", **fields)

    def test_the_value_has_up_to_a_mebibyte(self):
        value = bytes(range(256)) * (VALUE_MAX // 256)
        version = self.put(self.key(), value)
        self.expect_value(self.key(), value, version)
        error = self.expect_error(Code.INVALID_ARGUMENT, "value", self.client.put, key=self.key(),
                                  value=value + b"x")
        self.assertIn(str(VALUE_MAX), error.details())
        self.expect_value(self.key(), value, version)

    def test_the_idempotency_key_has_up_to_128_bytes(self):
        for idempotency_key in ("k" * IDEMPOTENCY_KEY_MAX, "ü" * (IDEMPOTENCY_KEY_MAX // 2)):
            first = self.put(self.key(), b"1", idempotency_key=idempotency_key)
            self.assertEqual(self.put(self.key(), b"1", idempotency_key=idempotency_key), first)
            for call, fields in ((self.client.put, {"value": b"1"}), (self.client.delete, {})):
                error = self.expect_error(Code.INVALID_ARGUMENT, "idempotency_key", call,
                                          key=self.key(), idempotency_key=idempotency_key + "k",
                                          **fields)
                self.assertIn(str(IDEMPOTENCY_KEY_MAX), error.details())

    # Calls that end early, and methods that this version does not serve.

    def test_an_expired_deadline_ends_the_call_and_nothing_else(self):
        self.expect_error(Code.DEADLINE_EXCEEDED, "", self.client.put, key=self.key(),
                          value=b"late", timeout=-1)
        self.expect_missing(self.key())
        self.put(self.key("other"), b"value")
        self.expect_value(self.key("other"), b"value")

    def test_a_cancelled_call_ends_and_nothing_else(self):
        method = self.client.method("Kv", "Put")
        for number in range(50):
            call = method.future(self.client.request(
                "Kv", "Put", {"key": self.key(), "value": b"%d" % number}), timeout=30)
            call.cancel()
            self.assertIn(call.code(), (Code.CANCELLED, Code.OK))
        version = self.put(self.key(), b"last")
        self.expect_value(self.key(), b"last", version)

    def test_admin_calls_are_known_and_not_served(self):
        for name in ("TransferShard", "SnapshotShard"):
            call = self.client.method("Admin", name)
            self.expect_error(Code.UNIMPLEMENTED, "", call,
                              request=self.client.request("Admin", name, {"id": 1}))


class ByStubs(Semantics, ContractTest):
    make_client = clients.StubClient


class ByReflection(Semantics, ContractTest):
    make_client = clients.ReflectionClient


class Wire(ContractTest):
    """Bytes that no client library would send."""

    METHODS = ("/norikv.v1.Kv/Put", "/norikv.v1.Kv/Get", "/norikv.v1.Kv/Delete")

    def field(self, number, data):
        """A length-delimited field."""
        size, length = len(data), b""
        while size >= 0x80:
            length += bytes([size & 0x7f | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    def test_malformed_messages_are_refused(self):
        bad = {
            "a tag without a field": b"\x0a",
            "a length beyond the end": b"\x0a\x05k",
            "a length that wraps": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k",
            "a varint without an end": b"\x0a\x01k\x18" + b"\xff" * 11,
            "field number 0": b"\x0a\x01k\x02\x00",
            "an end of no group": b"\x0a\x01k\x0c",
            "wire type 7": b"\x0a\x01k\x0f",
            "a number for the key": b"\x08\x05",
            "noise": bytes(range(256)),
        }
        for path in self.METHODS:
            for what, body in bad.items():
                with self.subTest(f"{what} to {path}"):
                    self.expect_error(Code.INVALID_ARGUMENT, "", self.client.raw, path=path,
                                      body=body)

    def test_an_empty_message_has_no_key(self):
        for path in self.METHODS:
            self.expect_error(Code.INVALID_ARGUMENT, "key", self.client.raw, path=path, body=b"")

    def test_text_must_be_utf_8(self):
        key = self.field(1, self.key())
        self.expect_error(Code.INVALID_ARGUMENT, "idempotency_key", self.client.raw,
                          path="/norikv.v1.Kv/Put", body=key + self.field(4, b"\xff\xfe"))
        self.expect_error(Code.INVALID_ARGUMENT, "idempotency_key", self.client.raw,
                          path="/norikv.v1.Kv/Put", body=key + self.field(4, b"a\0b"))
        self.expect_error(Code.INVALID_ARGUMENT, "idempotency_key", self.client.raw,
                          path="/norikv.v1.Kv/Delete", body=key + self.field(2, b"\xff"))
        self.expect_error(Code.INVALID_ARGUMENT, "consistency", self.client.raw,
                          path="/norikv.v1.Kv/Get", body=key + self.field(2, b"\xff"))

    def test_unknown_fields_of_newer_clients_are_ignored(self):
        body = self.field(1, self.key()) + self.field(2, b"value") + self.field(15, b"new")
        self.client.raw("/norikv.v1.Kv/Put", body)
        self.expect_value(self.key(), b"value")

    def test_the_request_has_up_to_two_mebibytes(self):
        body = self.field(1, self.key()) + self.field(2, b"value")
        padding = REQUEST_MAX - len(body) - 1 - 3  # a tag and a length of three bytes
        self.assertEqual(len(body + self.field(15, b"x" * padding)), REQUEST_MAX)
        self.expect_error(Code.RESOURCE_EXHAUSTED, "", self.client.raw, path="/norikv.v1.Kv/Put",
                          body=body + self.field(15, b"x" * (padding + 1)))
        self.expect_missing(self.key())
        self.client.raw("/norikv.v1.Kv/Put", body + self.field(15, b"x" * padding))
        self.expect_value(self.key(), b"value")

    def test_unknown_methods_are_unimplemented(self):
        for path in ("/norikv.v1.Kv/Nope", "/norikv.v2.Kv/Put", "/norikv.v1.Nope/Put", "/x", "/"):
            with self.subTest(path):
                self.expect_error(Code.UNIMPLEMENTED, "", self.client.raw, path=path)


class OwnServices(ContractTest):
    """Health and reflection."""

    SERVICES = {"norikv.v1.Kv", "norikv.v1.Meta", "norikv.v1.Admin", "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection"}

    def setUp(self):
        super().setUp()
        self.messages = clients.stub_module("grpc.health.v1.health_pb2")
        stub = clients.stub_module("grpc.health.v1.health_pb2_grpc").HealthStub
        self.health = stub(self.client.link)

    def test_health_check_knows_the_server_and_its_services(self):
        status = self.messages.HealthCheckResponse
        for service in ("", "norikv.v1.Kv"):
            answer = self.health.Check(self.messages.HealthCheckRequest(service=service),
                                       timeout=30)
            self.assertEqual(answer.status, status.SERVING, service)
        self.expect_error(Code.NOT_FOUND, "", self.health.Check,
                          request=self.messages.HealthCheckRequest(service="nope"), timeout=30)

    def test_health_watch_tells_the_status_at_once(self):
        status = self.messages.HealthCheckResponse
        for service, expected in (("", status.SERVING), ("nope", status.SERVICE_UNKNOWN)):
            watch = self.health.Watch(self.messages.HealthCheckRequest(service=service), timeout=60)
            self.assertEqual(next(watch).status, expected)
            watch.cancel()

    def test_health_watch_sees_the_shardhost_go_and_come(self):
        """Not serving while nobody can answer.  It stands still rather than dies: a supervisor that
        is quick would bring it back before anybody misses it."""
        status = self.messages.HealthCheckResponse
        watch = self.health.Watch(self.messages.HealthCheckRequest(service=""), timeout=60)
        self.addCleanup(watch.cancel)
        self.assertEqual(next(watch).status, status.SERVING)
        with self.node.frozen("shardhost"):
            self.assertEqual(next(watch).status, status.NOT_SERVING)
        self.assertEqual(next(watch).status, status.SERVING)
        self.node.wait_ready()

    def test_reflection_lists_all_services_in_both_versions(self):
        for make in (clients.ReflectionClient, clients.OldReflectionClient):
            client = make(self.client.link)
            self.assertEqual(set(client.services()), self.SERVICES, make.name)

    def test_reflection_finds_files_and_symbols_and_says_what_it_does_not_know(self):
        for make in (clients.ReflectionClient, clients.OldReflectionClient):
            client = make(self.client.link)
            for question in ({"file_by_filename": "norikv/v1/kv.proto"},
                             {"file_containing_symbol": "norikv.v1.Kv.Put"},
                             {"file_containing_symbol": "norikv.v1.PutRequest"},
                             {"file_containing_symbol": "norikv.v1.Kv"}):
                answer = client.ask(**question)
                self.assertEqual(answer.WhichOneof("message_response"), "file_descriptor_response",
                                 question)
            for question in ({"file_by_filename": "nope.proto"},
                             {"file_containing_symbol": "norikv.v1.Nope"}):
                answer = client.ask(**question)
                self.assertEqual(answer.error_response.error_code, Code.NOT_FOUND.value[0],
                                 question)

    def test_a_call_works_over_each_version_of_reflection(self):
        client = clients.OldReflectionClient(self.client.link)
        client.put(key=self.key(), value=b"value")
        self.expect_value(self.key(), b"value")


class Trouble(unittest.TestCase):
    """The rows of the error table that need a node in trouble."""

    def start(self, *flags):
        node = harness.Node(harness.make_directory(self.id().rsplit(".", 1)[-1]), *flags,
                            keep_ports=True)
        self.addCleanup(node.kill)
        node.start()
        return node, self.connect(node)

    def connect(self, node):
        """After every restart too: an old channel may learn of it by a failed call."""
        client = clients.StubClient(clients.channel(node.rpc_address))
        self.addCleanup(client.close)
        return client

    def expect_error(self, code, prefix, call, **fields):
        with self.assertRaises(grpc.RpcError) as raised:
            call(**fields)
        self.assertEqual(raised.exception.code(), code, raised.exception.details())
        self.assertTrue(raised.exception.details().startswith(prefix), raised.exception.details())

    def test_a_write_that_nobody_answers_is_a_commit_timeout(self):
        node, client = self.start("--set", "limits.request_timeout_ms=1000")
        client.put(key=b"a", value=b"1")
        with node.frozen("shardhost"):
            self.expect_error(Code.DEADLINE_EXCEEDED, "COMMIT_TIMEOUT", client.put, key=b"a",
                              value=b"2", timeout=None)  # so the configured one counts
        self.assertIn(client.get(key=b"a").value, (b"1", b"2"))

    def test_a_deadline_that_passes_under_way_ends_the_call(self):
        node, client = self.start()
        client.put(key=b"a", value=b"1")
        with node.frozen("shardhost"):
            for call, fields in ((client.put, {"value": b"2"}), (client.get, {}),
                                 (client.delete, {})):
                self.expect_error(Code.DEADLINE_EXCEEDED, "", call, key=b"a", timeout=0.2, **fields)
        client.put(key=b"a", value=b"3")
        self.assertEqual(client.get(key=b"a").value, b"3")

    def test_beyond_the_limit_of_requests_under_way_calls_are_refused_at_once(self):
        node, client = self.start("--set", "limits.inflight_max=10",
                                  "--set", "limits.request_timeout_ms=60000")
        client.put(key=b"a", value=b"1")
        with node.frozen("shardhost"):
            put = client.method("Kv", "Put")
            waiting = [put.future(client.request("Kv", "Put", {"key": b"a", "value": b"2"}),
                                  timeout=60) for _ in range(20)]
            harness.wait_for(lambda: sum(call.done() for call in waiting) >= 10, "ten refusals")
            refused = [call for call in waiting if call.done()]
        self.assertEqual(len(refused), 10)
        for call in refused:
            self.assertEqual(call.code(), Code.RESOURCE_EXHAUSTED)
            self.assertTrue(call.details().startswith("OVERLOADED"), call.details())
        for call in set(waiting) - set(refused):
            self.assertEqual(call.code(), Code.OK)

    def test_a_full_disk_refuses_puts_and_serves_the_rest(self):
        node, client = self.start()
        client.put(key=b"a", value=b"1")
        client.put(key=b"b", value=b"1")
        self.assertEqual(node.stop(), 0)
        node.flags = ("--set", "disk.reserve_bytes=1TiB")
        node.start()
        client = self.connect(node)
        self.expect_error(Code.RESOURCE_EXHAUSTED, "DISK_FULL", client.put, key=b"a", value=b"2")
        self.assertEqual(client.get(key=b"a").value, b"1")
        self.assertTrue(client.delete(key=b"b").tombstoned)
        self.assertEqual(node.stop(), 0)
        node.flags = ()
        node.start()
        client = self.connect(node)
        client.put(key=b"a", value=b"3")
        self.assertEqual(client.get(key=b"a").value, b"3")

    def test_without_a_shardhost_nothing_is_proposed(self):
        """A gateway and a gossip process alone: each role also runs by itself.  The gateway serves,
        and says that it is not ready."""
        directory = harness.make_directory(self.id().rsplit(".", 1)[-1])
        roles = [harness.Role(directory, role, "--set", "limits.request_timeout_ms=1000")
                 for role in ("gossip", "gateway")]
        for role in roles:
            self.addCleanup(role.kill)
            role.start(wait=False)
            harness.wait_for(lambda role=role: self.runs(role), f"{role.program} to serve")
        harness.wait_for(lambda: self.answers(roles[1], 503, b"no-shardhost\n"), "it to say so")
        client = self.connect(roles[1])
        self.expect_error(Code.UNAVAILABLE, "NOT_LEADER", client.put, key=b"a", value=b"1",
                          timeout=None)
        self.expect_error(Code.UNAVAILABLE, "NOT_LEADER", client.get, key=b"a", timeout=None)

    @staticmethod
    def answers(role, status, body):
        answer = role.http(role.program, "GET", "/readyz")
        return (answer.status, answer.body) == (status, body)

    @staticmethod
    def runs(role):
        """It has said where it listens."""
        try:
            return role.http_address(role.program)
        except (OSError, ValueError):
            return None


if __name__ == "__main__":
    harness.main()
