"""The bounds of the storage engine are measured and judged.

Needs NK_BUILD_DIR.  Little data: this shows that the workloads work and what their rows have, and
for memory, which the machine's speed does not change, that the bounds hold."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = pathlib.Path(os.environ["NK_BUILD_DIR"]) / "tests/bench/engine/bench_bounds"


class BoundsTest(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="norikv-bounds-")
        self.addCleanup(place.cleanup)
        self.directory = pathlib.Path(place.name)

    def measure(self, *arguments):
        """The row, and how the program ended."""
        result = subprocess.run([str(PROGRAM), *arguments, "--directory", str(self.directory)],
                                capture_output=True, text=True, check=False, timeout=500)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        row = json.loads(result.stdout)
        self.assertEqual(row["workload"], arguments[0])
        self.assertEqual(row["kept"], result.returncode == 0)
        self.assertEqual(row["kept"], "BROKEN" not in result.stderr)
        self.assertEqual(list(self.directory.iterdir()), [], "nothing is left behind")
        return row, result

    def test_memory_of_many_databases_is_bounded(self):
        row, result = self.measure("instances", "--databases", "128", "--mib", "10",
                                   "--write-buffer-mb", "2", "--cache-mb", "8")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLessEqual(row["empty_heap_bytes"], 8192)
        self.assertLessEqual(row["peak_mb"], row["limit_mb"])
        self.assertLessEqual(row["memtables_peak_mb"], row["write_buffer_mb"] * 1.25)
        self.assertGreater(row["flushes"], 128)
        self.assertGreater(row["put_mb"], 4 * row["write_buffer_mb"])

    def test_a_storm_is_told_in_full(self):
        row, _ = self.measure("storm", "--mib", "4", "--seconds", "0.6", "--write-buffer-mb", "4",
                              "--cache-mb", "1")
        self.assertEqual(len(row["intervals"]), 60)
        self.assertGreater(row["puts"], 0)
        self.assertGreater(row["gets_per_s"], 0)
        self.assertGreater(row["tables_written_per_user_byte"], 0)
        self.assertLessEqual(row["put_p99_us"], row["put_p999_us"])
        self.assertEqual(row["l0_max"], max(part["l0_max"] for part in row["intervals"]))

    def test_checkpoints_and_opens_are_told_in_full(self):
        row, _ = self.measure("checkpoint", "--mib", "8", "--write-buffer-mb", "4")
        self.assertGreaterEqual(row["table_mb"], 8)
        self.assertGreaterEqual(row["table_mb"], row["open_table_mb"])
        for name in ("checkpoint_ms", "open_warm_ms", "open_cold_ms"):
            self.assertGreater(row[name], 0)
        self.assertGreater(row["puts_beside"], 0)


if __name__ == "__main__":
    unittest.main()
