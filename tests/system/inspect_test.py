"""norikvctl inspect: what it says of the golden databases, whole and damaged, is what
tests/golden/inspect has; nothing that it looks at is changed.

    python3 tests/system/inspect_test.py --rewrite

writes those texts anew: read the difference, since others may read them with scripts."""

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import unittest

import harness

PROGRAM = harness.BUILD / "services/admin/ctl/norikvctl"
DATABASES = harness.SOURCE / "tests/golden/lsm"
NEWEST = "v2"
TEXTS = harness.SOURCE / "tests/golden/inspect"
OLD = "0000000001.sst"
NEW = "0000000002.sst"

REWRITE = "--rewrite" in sys.argv
if REWRITE:
    sys.argv.remove("--rewrite")


def flip(name, *offsets):
    """Damages bytes; an offset below 0 counts from the end."""
    def damage(directory):
        data = bytearray((directory / name).read_bytes())
        for offset in offsets:
            data[offset] ^= 0x10
        (directory / name).write_bytes(data)
    return damage


def cut(name, size):
    return lambda directory: os.truncate(directory / name, size)


def append(name, data):
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes() + data)


def write(name, data):
    return lambda directory: (directory / name).write_bytes(data)


def copy(name, to):
    return lambda directory: shutil.copy(directory / name, directory / to)


def move(name, to):
    return lambda directory: (directory / name).rename(directory / to)


def fifo(name):
    return lambda directory: os.mkfifo(directory / name)


def remove(name):
    return lambda directory: (directory / name).unlink()


# What the text is called: the words, the database, the exit code, what was done to the database.
# Of the lz4 one the first table has data blocks at 0, 1192, 1440, 1614, 1782 and 1967, index blocks
# at 2076 and 2188, the top index at 2230, properties at 2288; the manifest has records at 1024,
# 1039 and 2129.
CASES = {
    "sst-none": ("sst", "none", 0, ()),
    "sst-lz4": ("sst", "lz4", 0, ()),
    "sst-zstd": ("sst", "zstd", 0, ()),
    "sst-v1": ("sst", "v1/none", 0, ()),
    "sst-entries": ("sst --entries", "lz4", 0, ()),
    "sst-values-full-keys": ("sst --values --full-keys", "zstd", 0, ()),
    "sst-data-damaged": ("sst", "lz4", 1, [flip(OLD, 1450)]),
    "sst-trailer-damaged": ("sst", "lz4", 1, [flip(OLD, 1183)]),
    "sst-index-damaged": ("sst", "lz4", 1, [flip(OLD, 2080)]),
    "sst-top-damaged": ("sst", "lz4", 1, [flip(OLD, 2240)]),
    "sst-filter-damaged": ("sst", "zstd", 1, [flip(OLD, 1920)]),
    "sst-properties-damaged": ("sst", "lz4", 1, [flip(OLD, 2300)]),
    "sst-footer-damaged": ("sst", "lz4", 1, [flip(OLD, -20)]),
    "sst-v1-footer-damaged": ("sst", "v1/lz4", 1, [flip(OLD, -20)]),
    "sst-magic-damaged": ("sst", "lz4", 1, [flip(OLD, -1)]),
    "sst-index-and-data-damaged": ("sst", "lz4", 1, [flip(OLD, 1450, 2080)]),
    "sst-footer-and-all-but-two-damaged":
        ("sst", "lz4", 1, [flip(OLD, 5, 1620, 1790, 2080, 2200, 2250, 2300, -3)]),
    "sst-cut": ("sst", "lz4", 1, [cut(OLD, 1800)]),
    "sst-short": ("sst", "lz4", 1, [cut(OLD, 75)]),
    "sst-empty": ("sst", "lz4", 1, [cut(OLD, 0)]),
    "sst-zeros": ("sst", "lz4", 1, [write(OLD, bytes(10000))]),
    "sst-longer": ("sst", "lz4", 1, [append(OLD, b"x" * 100)]),
    "manifest-none": ("manifest", "none", 0, ()),
    "manifest-v1": ("manifest", "v1/none", 0, ()),
    "manifest-lz4-full-keys": ("manifest --full-keys", "lz4", 0, ()),
    "manifest-old-slot-damaged": ("manifest", "lz4", 1, [flip("manifest", 20)]),
    "manifest-slots-damaged": ("manifest", "lz4", 1, [flip("manifest", 20, 540)]),
    "manifest-first-record-damaged": ("manifest", "lz4", 1, [flip("manifest", 1035)]),
    "manifest-record-damaged": ("manifest", "lz4", 1, [flip("manifest", 1500)]),
    "manifest-size-damaged": ("manifest", "lz4", 1, [flip("manifest", 1044)]),
    "manifest-last-record-damaged": ("manifest", "lz4", 1, [flip("manifest", 3000)]),
    "manifest-torn-tail": ("manifest", "lz4", 0, [append("manifest", b"\x01\x02\x03" * 5)]),
    "manifest-cut": ("manifest", "lz4", 1, [cut("manifest", 2129)]),
    "manifest-short": ("manifest", "lz4", 1, [cut("manifest", 1023)]),
    "shard-none": ("shard", "none", 0, ()),
    "shard-v1-check": ("shard --check", "v1/zstd", 0, ()),
    "shard-lz4-check": ("shard --check", "lz4", 0, ()),
    "shard-data-damaged": ("shard", "lz4", 0, [flip(OLD, 1450)]),
    "shard-data-damaged-check": ("shard --check", "lz4", 1, [flip(OLD, 1450, 2080)]),
    "shard-footer-damaged": ("shard", "lz4", 1, [flip(OLD, -20)]),
    "shard-table-missing": ("shard", "lz4", 1, [remove(OLD)]),
    "shard-tables-exchanged":
        ("shard", "lz4", 1, [move(OLD, "x"), move(NEW, OLD), move("x", NEW)]),
    "shard-orphans":
        ("shard", "lz4", 0, [copy(OLD, "0000000009.sst"), write("0000000010.sst", b"half a table"),
                             write("manifest.new", b"half a manifest"), write("notes", b"mine"),
                             write("4611686018427387903.sst", b"not of this database")]),
    "shard-record-damaged": ("shard", "lz4", 1, [flip("manifest", 1500)]),
    "shard-manifest-missing": ("shard", "lz4", 1, [remove("manifest")]),
    "shard-dropped": ("shard", "lz4", 0, [move("manifest", "dropped")]),
}


def picture(directory):
    """Everything of the files that a program could have changed, but for when they were read."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns,
                            path.read_bytes() if path.is_file() else None)
    return found


def run(*words, cwd):
    return subprocess.run([PROGRAM, *words], cwd=cwd, capture_output=True, check=False, timeout=60)


class Inspect(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.directory = harness.make_directory("inspect")

    def prepare(self, name, database, damages):
        """A copy of a golden database, of the newest version unless it says another one, below a
        directory of its own, which is returned."""
        place = self.directory / name
        (place / "shard-7").mkdir(parents=True)
        source = DATABASES / database if "/" in database else DATABASES / NEWEST / database
        for path in source.iterdir():
            shutil.copyfile(path, place / "shard-7" / path.name)
        for damage in damages:
            damage(place / "shard-7")
        return place

    @staticmethod
    def paths(subject):
        return {"sst": [f"shard-7/{OLD}", f"shard-7/{NEW}"], "manifest": ["shard-7/manifest"],
                "shard": ["shard-7"]}[subject]

    def test_texts_are_the_golden_ones(self):
        for name, (words, database, code, damages) in CASES.items():
            with self.subTest(name):
                place = self.prepare(name, database, damages)
                before = picture(place)
                done = run("inspect", *words.split(), *self.paths(words.split()[0]), cwd=place)
                self.assertEqual(picture(place), before)
                self.assertEqual(done.stderr, b"")
                self.assertEqual(done.returncode, code)
                golden = TEXTS / f"{name}.txt"
                if REWRITE:
                    golden.write_bytes(done.stdout)
                self.assertEqual(done.stdout.decode("ascii"), golden.read_text("ascii"))
                self.assertEqual(b"DAMAGE" in done.stdout, code == 1)

    def test_every_golden_text_is_of_a_case(self):
        self.assertEqual({path.stem for path in TEXTS.iterdir()}, set(CASES))

    def test_a_directory_that_may_not_be_written_is_looked_at(self):
        place = self.prepare("read-only", "lz4", ())
        for path in (place / "shard-7", *(place / "shard-7").iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        self.addCleanup((place / "shard-7").chmod, 0o755)
        self.assertEqual(run("inspect", "shard", "--check", "shard-7", cwd=place).returncode, 0)

    def test_paths_of_any_form(self):
        place = self.prepare("paths", "lz4", ())
        inside = place / "shard-7"
        for words, where in ((("shard", str(inside)), "/"), (("shard", "."), inside),
                             (("shard", "shard-7//"), place), (("manifest", "manifest"), inside),
                             (("sst", "--", "./" + OLD), inside),
                             (("sst", str(inside / OLD)), "/")):
            with self.subTest(words):
                self.assertEqual(run("inspect", *words, cwd=where).returncode, 0)

    def test_what_cannot_be_looked_at_is_one_line_and_2(self):
        place = self.prepare("nothing", "lz4", ())
        (place / "empty").mkdir()
        later = bytearray((DATABASES / NEWEST / "lz4" / OLD).read_bytes())
        later[-16] = 3
        later[-12:-8] = crc32c(later[-76:-12]).to_bytes(4, "little")
        (place / "later.sst").write_bytes(later)
        os.mkfifo(place / "fifo")
        before = picture(place)
        for words in (("sst", "gone.sst"), ("sst", "gone/gone.sst"), ("manifest", "gone"),
                      ("shard", "gone"), ("shard", "empty"), ("sst", "shard-7"), ("sst", "empty/"),
                      ("sst", ".."), ("manifest", "shard-7/.."), ("sst", "later.sst"),
                      ("sst", "fifo"), ("manifest", "fifo"), ("shard", "fifo"),
                      ("sst", "/dev/zero"), ("manifest", "/dev/null"),
                      ("shard", "shard-7/manifest"), ("sst", "x" * 2000), ("sst", ""), ("sst",), (),
                      ("thing", "x"), ("sst", "--check", f"shard-7/{OLD}"),
                      ("shard", "--entries", "shard-7"), ("sst", "--nonsense", f"shard-7/{OLD}")):
            with self.subTest(words):
                done = run("inspect", *words, cwd=place)
                self.assertEqual(done.returncode, 2)
                self.assertRegex(done.stderr.decode(), r"\Anorikvctl[^\n]*: [^\n]+\n\Z")
        self.assertEqual(picture(place), before)

    def test_what_is_no_file_is_called_so(self):
        place = self.prepare("special", "lz4", [move(OLD, "moved"), fifo(OLD)])
        for subject in ("sst", "manifest"):
            for path in (f"shard-7/{OLD}", "/dev/null", "/dev/zero"):
                with self.subTest((subject, path)):
                    done = run("inspect", subject, path, cwd=place)
                    self.assertEqual((done.returncode, done.stdout), (2, b""))
                    self.assertRegex(done.stderr.decode(), r": not a regular file\n\Z")
        for words in (("shard",), ("shard", "--check")):
            done = run("inspect", *words, "shard-7", cwd=place)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"DAMAGE shard-7/{OLD} at 0: cannot be read".encode(), done.stdout)

    @unittest.skipIf(harness.SANITIZED, "a sanitizer takes more address space than there is")
    def test_short_memory_is_told(self):
        place = self.prepare("short", "lz4", [cut(OLD, 1 << 30), copy("manifest", "whole"),
                                              cut("manifest", 1 << 30)])

        def look(*words, limit):
            return subprocess.run(
                [PROGRAM, "inspect", *words], cwd=place, capture_output=True, check=False,
                timeout=60, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit,) * 2))

        for limit in (256 << 20, (1 << 30) + (256 << 20)):
            for words in (("sst", f"shard-7/{OLD}"), ("manifest", "shard-7/manifest"),
                          ("shard", "shard-7")):
                with self.subTest((words, limit)):
                    done = look(*words, limit=limit)
                    self.assertEqual((done.returncode, done.stdout), (2, b""))
                    self.assertEqual(done.stderr.decode(), f"norikvctl: {words[1]}: "
                                     "there is not enough memory to look at it\n")
        move("whole", "manifest")(place / "shard-7")
        done = look("shard", "--check", "shard-7", limit=256 << 20)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stdout, OLD.encode() + rb" .* state=unread\n")
        self.assertRegex(done.stdout, NEW.encode() + rb" .* state=ok\n")
        self.assertRegex(done.stdout, rb"\nend damage=0\n\Z")
        self.assertEqual(done.stderr.count(b"\n"), 1)
        flip(NEW, 100)(place / "shard-7")  # that something is damaged is known nevertheless
        done = look("shard", "--check", "shard-7", limit=256 << 20)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, OLD.encode() + rb" .* state=unread\n")
        self.assertRegex(done.stdout, NEW.encode() + rb" .* state=damaged\n")
        self.assertEqual(done.stderr.decode(),
                         "norikvctl: shard-7: there is not enough memory to look at it\n")

    def test_one_bad_path_does_not_keep_the_others_from_being_told(self):
        place = self.prepare("several", "lz4", [flip(OLD, 1450)])
        done = run("inspect", "sst", "gone.sst", *self.paths("sst"), cwd=place)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout.count(b"\nend damage="), 2)

    def test_output_that_does_not_arrive_is_told(self):
        place = self.prepare("full", "lz4", ())
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "inspect", "shard", "shard-7"], cwd=place, stdout=full,
                                  check=False, timeout=60)
        self.assertEqual(done.returncode, 2)

    def test_help_and_version(self):
        for words in (("--help",), ("inspect", "--help"), ("inspect", "sst", "--help")):
            done = run(*words, cwd="/")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertRegex(done.stdout.decode(), r"\AUsage: norikvctl ")
        version = run("--version", cwd="/").stdout.decode()
        self.assertRegex(version, r"\Anorikvctl \d+\.\d+\.\d+\n\Z")
        for words in ((), ("nonsense",)):
            self.assertEqual(run(*words, cwd="/").returncode, 2)

    def test_the_readmes_name_every_option_and_every_line(self):
        text = run("inspect", "--help", cwd="/").stdout.decode()
        readme = (harness.SOURCE / "services/shardhost/lsm/inspect/README.md").read_text("utf-8")
        for option in set(word for word in text.replace("]", " ").replace("[", " ").split()
                          if word.startswith("--")):
            self.assertIn(f"`{option}`", readme)
        first_words = {line.split(" ")[0] for path in TEXTS.iterdir()
                       for line in path.read_text("ascii").splitlines()}
        for word in first_words:
            self.assertIn(f"`{word}", readme)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


if __name__ == "__main__":
    assert isinstance(PROGRAM, pathlib.Path)
    harness.main()
