"""The engine benchmark runs, for each engine and workload, and does not believe a wrong read.

Needs NK_SOURCE_DIR and NK_BUILD_DIR.  A few thousand keys: this shows that it works, not how fast
anything is."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["NK_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["NK_BUILD_DIR"])
PROGRAM = BUILD / "tests/bench/engine/bench_engine"
ENGINES = ("norikv", "rocksdb", "leveldb")
KEYS = 6000  # with a write buffer of 1 MiB enough for flushes


def bench(engine, directory, workloads, *arguments):
    return subprocess.run(
        [str(PROGRAM), "--engine", engine, "--directory", directory, "--workloads", workloads,
         "--keys", str(KEYS), "--cache-mb", "8", "--write-buffer-mb", "1", "--seconds", "0.02",
         *arguments], capture_output=True, text=True, check=False, timeout=60)


class EngineTest(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="norikv-engine-")
        self.addCleanup(place.cleanup)
        self.directory = place.name

    def test_every_engine_does_every_workload(self):
        rows_file = pathlib.Path(self.directory) / "rows"
        result = subprocess.run(
            [str(SOURCE / "tests/bench/engine_run"), "--build", str(BUILD), "--rounds", "1",
             "--keys", str(KEYS), "--seconds", "0.02", "--cache-mb", "8", "--write-buffer-mb", "1",
             "--directory", self.directory, "--json", str(rows_file)],
            capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
        for engine in ENGINES:
            done = {row["workload"]: row["ops"] for row in rows if row["engine"] == engine}
            for name in ("fillseq", "fillrandom", "overwrite", "readall"):
                self.assertEqual(done[name], KEYS)
            for name in ("readrandom", "readmissing", "scan100", "readwhilewriting",
                         "readwhilewriting20k", "fillsync1", "fillsync4", "fillsync16"):
                self.assertGreater(done[name], 0)
            self.assertIn("overwrite+settle", done)
        table = next(line for line in result.stdout.splitlines() if line.startswith("scan100"))
        self.assertEqual(len(table.split()), 6, table)  # name, cache, three engines, ratio

    def test_wrong_reads_fail_the_run(self):
        other_values = ("--seed", "2")
        missing_keys = ("--keys", str(3 * KEYS))
        for engine in ENGINES:
            result = bench(engine, self.directory, "fillseq")
            self.assertEqual(result.returncode, 0, result.stderr)
            for workload, arguments, what in (
                    ("readall", other_values, "another value"),
                    ("readall", missing_keys, "a key is missing"),
                    ("scan100", missing_keys, "a scan")):
                result = bench(engine, self.directory, workload, *arguments)
                self.assertEqual(result.returncode, 1)
                self.assertIn(f"WRONG READ: {what}", result.stderr)

    def test_our_engine_works_with_its_lanes_too(self):
        result = bench("norikv", self.directory, "fillsync4,fillrandom,settle", "--lanes")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = bench("norikv", self.directory, "readall,readwhilewriting", "--lanes")
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main()
