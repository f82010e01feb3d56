"""FORMAT.md lets a stranger read our tables: sst_reader.py, which was made from it alone, reads
what the engine reads, of the golden tables and of those that nodes have just written."""

import contextlib
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

import grpc

import clients
import harness
import sst_reader

INSPECT = harness.BUILD / "services/admin/ctl/norikvctl"
GOLDEN = harness.SOURCE / "tests/golden/lsm"


def inspect(*words, code=0):
    done = subprocess.run([INSPECT, "inspect", *words], capture_output=True, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout} {done.stderr}"
    return done.stdout.decode("ascii").splitlines()


def quoted(data):
    plain = set(range(33, 127)) - set(b'"\\')
    return '"%s"' % "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in data)


def told(record):
    """A record of the reader as norikvctl tells it."""
    key, term, index, expires, value = record
    line = f"record key={quoted(key)} version={term}.{index}"
    if expires is not None:
        line += f" expires_ms={expires}"
    if value is None:
        return line + " tombstone"
    return line + f" bytes={len(value)} crc32c={sst_reader.crc32c(value):08x} value={quoted(value)}"


def records_of(lines):
    return [line for line in lines if line.startswith("record ")]


def refused(data):
    """What the reader says of a damaged table; None if it reads it."""
    with tempfile.NamedTemporaryFile(suffix=".sst") as file:
        file.write(data)
        file.flush()
        try:
            for _ in sst_reader.Table(file.name).records():
                pass
        except sst_reader.Damaged as damage:
            return str(damage)
        return None


class Tables(unittest.TestCase):
    def check(self, path):
        """The number of records."""
        expected = records_of(inspect("sst", "--values", str(path)))
        table = sst_reader.Table(path)
        self.assertEqual([told(record) for record in table.records()], expected)
        properties = table.block(*table.properties)  # the first one is the number of records
        self.assertEqual(properties[:10], struct.pack("<BBQ", 1, 8, len(expected)))
        return len(expected)

    def test_golden_tables(self):
        paths = sorted(GOLDEN.glob("v*/*/*.sst"))
        self.assertEqual(len(paths), 12)
        for path in paths:
            with self.subTest(path):
                self.assertGreater(self.check(path), 10)

    def test_damage_is_refused_where_the_engine_sees_it(self):
        path = GOLDEN / "v2/lz4/0000000002.sst"
        whole = path.read_bytes()
        unread = range(*self.properties(path))  # records are read without them
        self.assertIsNone(refused(whole))
        for offset in range(0, len(whole), 13):
            data = bytearray(whole)
            data[offset] ^= 0x41
            self.assertEqual(refused(bytes(data)) is None, offset in unread, offset)

    @staticmethod
    def properties(path):
        offset, size = sst_reader.Table(path).properties
        return offset, offset + size + sst_reader.TRAILER

    def test_tables_that_nodes_write(self):
        for way in ("none", "lz4", "zstd"):
            with self.subTest(way):
                self.check_node(way)

    def check_node(self, way):
        """Writes until several levels have tables, looks at the shard while the node runs, and
        compares all of it once it has stopped."""
        node = harness.Node(harness.make_directory(way), "--total-shards", "2",
                            "--set", f"lsm.compression={way}", "--set", "lsm.memtable_bytes=64KiB")
        node.start()
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: node.process is not None and node.kill())
            with clients.channel(node.rpc_address) as link:
                write_until_compacted(clients.StubClient(link), node.data_dir)
            for shard in self.shards(node):
                self.assertEqual(inspect("shard", "--check", str(shard))[-1], "end damage=0")
            self.assertEqual(node.stop(), 0)
        records, blocks = [], []
        for shard in self.shards(node):
            self.assertEqual(inspect("shard", "--check", str(shard))[-1], "end damage=0")
            for path in shard.glob("*.sst"):
                self.check(path)
                lines = inspect("sst", "--entries", str(path))
                records += records_of(lines)
                blocks += [line for line in lines if line.startswith("block ")]
        self.assertGreater(len(records), 500)
        self.assertTrue(any(f" way={way} " in line for line in blocks))
        self.assertTrue(any(" expires_ms=" in line for line in records))

    @staticmethod
    def shards(node):
        found = sorted(pathlib.Path(node.data_dir, "lsm").glob("shard-*/manifest"))
        assert found
        return [path.parent for path in found]


def write_until_compacted(client, data_dir):
    """Values that compress and values that do not, expiries, binary keys; deletes, whose tombstones
    a compaction may have dropped."""
    number = 0

    def is_compacted():
        return any(line.startswith("level number=") and not line.startswith("level number=0 ")
                   for manifest in pathlib.Path(data_dir, "lsm").glob("shard-*/manifest")
                   for line in inspect("shard", str(manifest.parent)))

    def put(key):
        """False: the node wants us to wait."""
        try:
            client.put(key=key, value=os.urandom(number % 300) + b"again " * (number % 50),
                       ttl_ms=10 ** 9 if number % 5 == 0 else 0)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True

    while not is_compacted():
        for _ in range(100):
            key = b"key/%d/\xff\x00\"\\ \xc3\xa4" % (number * 7919 % 3000)
            harness.wait_for(lambda key=key: put(key), "a put to be taken")
            if number % 9 == 0:
                client.delete(key=key)
            number += 1


if __name__ == "__main__":
    harness.main()
