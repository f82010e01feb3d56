"""A reader of table files in another language, made from services/shardhost/lsm/FORMAT.md alone:
`python3 sst_reader.py FILE...` lists every record, in order.  What is damaged is refused (Damaged,
with file and offset).  LZ4 and zstd are their libraries'."""

import ctypes
import pathlib
import struct
import sys

FOOTER, TRAILER, RAW_MAX, KEY_MAX = 76, 9, 64 << 20, 1025
TABLE = list(range(256))
for _ in range(8):
    TABLE = [n >> 1 ^ (0x82F63B78 if n & 1 else 0) for n in TABLE]


class Damaged(Exception):
    """What is wrong, and where."""


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(data, at):
    value = shift = 0
    while True:
        value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


class Table:
    def __init__(self, path):
        self.path, self.data = path, pathlib.Path(path).read_bytes()
        foot = self.data[-FOOTER:].rjust(FOOTER)
        version, crc, magic = struct.unpack("<II8s", foot[60:])
        less = 4 if version == 1 else 0  # no digest
        self.limit, foot = len(self.data) - FOOTER + less, foot[less:64]
        *handles, size = struct.unpack("<7Q", foot[:56])
        self.check(magic == b"NKtable1" and crc == crc32c(foot), self.limit, "footer")
        self.check(1 <= version <= 2 and size == len(self.data), self.limit, "version, size")
        self.top, self.filter, self.properties = zip(handles[::2], handles[1::2])

    def check(self, holds, offset, what):
        if not holds:
            raise Damaged(f"{self.path} at {offset}: {what}")

    def block(self, offset, size):
        self.check(1 <= size <= RAW_MAX and offset + size + TRAILER <= self.limit, offset, "handle")
        stored, trailer = self.data[offset:offset + size], self.data[offset + size:][:TRAILER]
        way, raw_size, crc = struct.unpack("<BII", trailer)
        covered = stored + trailer[:5] + struct.pack("<Q", offset)
        self.check(crc == crc32c(covered), offset, "checksum")
        self.check(way <= 2 and raw_size <= RAW_MAX, offset, "trailer")
        raw, got = ctypes.create_string_buffer(raw_size) if way else stored, size
        if way == 1:
            got = ctypes.CDLL("liblz4.so.1").LZ4_decompress_safe(stored, raw, size, raw_size)
        elif way == 2:
            unpack = ctypes.CDLL("libzstd.so.1").ZSTD_decompress
            unpack.argtypes = [ctypes.c_char_p, ctypes.c_size_t] * 2
            got = unpack(raw, raw_size, stored, size)
        self.check(got == raw_size, offset, "size when decompressed")
        return bytes(raw)

    def entries(self, offset, size):
        """(key, value) of each entry of the block there."""
        raw, at, key = self.block(offset, size), 0, b""
        end = len(raw) - 4 - 4 * struct.unpack("<I", raw[-4:])[0]
        while at < end:
            shared, at = varint(raw, at)
            unshared, at = varint(raw, at)
            length, at = varint(raw, at)
            self.check(shared <= len(key) and shared + unshared <= KEY_MAX, offset, "key")
            key = key[:shared] + raw[at:at + unshared]
            yield key, raw[at + unshared:at + unshared + length]
            at += unshared + length
        self.check(at == end > 0, offset, "end of the entries")

    def records(self):
        """(key, term, index, expires_ms, value), keys rising; None: never expires; a tombstone."""
        last, handle = b"", lambda data: (varint(data, 0)[0], varint(data, varint(data, 0)[1])[0])
        for _, index in self.entries(*self.top):
            for limit, data in self.entries(*handle(index)):
                for key, record in self.entries(*handle(data)):
                    self.check(last < key <= limit, handle(data)[0], "order of keys")
                    term, at = varint(record, 1)
                    number, at = varint(record, at)
                    expires, at = varint(record, at) if record[0] & 2 else (None, at)
                    yield key, term, number, expires, None if record[0] & 1 else record[at:]
                    last = key


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for line in Table(name).records():
            print(*line)
