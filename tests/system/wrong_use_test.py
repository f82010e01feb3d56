"""Wrong use: one clear line, the right exit code, nothing damaged."""

import json
import os
import shutil
import socket
import subprocess
import unittest

import grpc

import clients
import harness

EXIT_CONFIG = 78
EXIT_FAILURE = 1


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class WrongUse(unittest.TestCase):
    def setUp(self):
        self.directory = harness.make_directory(self.id().rsplit(".", 1)[-1])

    def run_program(self, *arguments, name="server", environment=None):
        return subprocess.run(harness.dying_with_us(harness.program(name), *arguments),
                              capture_output=True, text=True, timeout=harness.PATIENCE,
                              check=False, stdin=subprocess.DEVNULL,
                              env={**os.environ, **(environment or {})})

    def basic(self, **changes):
        flags = {"--node-id": "node0", "--rpc-addr": "127.0.0.1:0", "--http-addr": "127.0.0.1:0",
                 "--data-dir": str(self.directory / "data"), **changes}
        return [word for flag, value in flags.items() if value is not None
                for word in (flag, value)]

    def expect_one_line(self, run, code, *words):
        """One line on stderr that has all the words, nothing on stdout."""
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        lines = run.stderr.splitlines()
        self.assertEqual(len(lines), 1, run.stderr)
        for word in words:
            self.assertIn(word, lines[0])

    def test_bad_configuration_is_one_line_and_78(self):
        file = self.directory / "node.yaml"
        file.write_text("raft:\n  leese_ms: 5\n", encoding="utf-8")
        cut = self.directory / "cut.yaml"
        cut.write_text("log:\n  level: [x\n", encoding="utf-8")
        cases = (
            (self.basic() + ["--nope"], "--nope"),
            (self.basic() + ["--node-id"], "--node-id"),
            (self.basic() + ["stray"], "stray"),
            (self.basic() + ["--set", "raft.nope=1"], "raft.nope"),
            (self.basic() + ["--config", str(file)], "node.yaml:2", "leese_ms", "raft.lease_ms"),
            (self.basic() + ["--config", str(self.directory / "none.yaml")], "none.yaml"),
            (self.basic(**{"--rpc-addr": "nonsense"}), "rpc_addr", "nonsense"),
            (self.basic(**{"--rpc-addr": "127.0.0.1:99999"}), "rpc_addr", "99999"),
            (self.basic(**{"--http-addr": ":8080"}), "http_addr", ":8080"),
            (self.basic(**{"--node-id": "a b"}), "node_id", "a b"),
            (self.basic(**{"--node-id": None}), "node_id"),
            (self.basic(**{"--node-id": "n" * 65}), "it must be from 1 to 64"),
            (self.basic(**{"--data-dir": None}), "data_dir"),
            (self.basic(**{"--data-dir": str(self.directory / "data" / ("d" * 88))}), "data_dir",
             "at most 88 bytes"),
            (self.basic() + ["--config", str(cut)], "cut.yaml:", "not YAML"),
            (self.basic(**{"--total-shards": "0"}), "total_shards", '"0"'),
            (self.basic(**{"--total-shards": "65537"}), "total_shards", "65536"),
            (self.basic(**{"--seed-nodes": "a:1"}), "seed_nodes"),
            (self.basic(**{"--log-level": "loud"}), "log.level", "loud"),
            (self.basic() + ["--set", "raft.lease_ms=2000"], "lease_ms", "election_timeout_min_ms"),
        )
        for name in ("server", "shardhost", "gateway", "gossip", "admin"):
            for arguments, *words in cases:
                with self.subTest(f"{name} {arguments[-2:]}"):
                    self.expect_one_line(self.run_program(*arguments, name=name), EXIT_CONFIG,
                                         *words)
        self.expect_one_line(self.run_program(*self.basic(),
                                              environment={"NORIKV_RAFT_LEASE_MS": "x"}),
                             EXIT_CONFIG, "NORIKV_RAFT_LEASE_MS", '"x"')
        self.assertFalse((self.directory / "data").exists(), "a refused start made a directory")

    def expect_refused(self, codes, *words, **changes):
        """A start that gets as far as the system: other lines may come before and after the clear
        one, but it is the only one of level error."""
        run = self.run_program(*self.basic(**changes))
        self.assertIn(run.returncode, codes, run.stderr)
        errors = [line for line in map(json.loads, run.stderr.splitlines())
                  if line["level"].lower() == "error"]
        self.assertEqual(len(errors), 1, run.stderr)
        for word in words:
            self.assertIn(word, errors[0]["fields"]["reason"])
        return run

    def test_an_unwritable_data_dir_is_refused(self):
        file = self.directory / "file"
        file.write_text("not a directory", encoding="utf-8")
        for path in (file, file / "below", "/proc/norikv"):
            with self.subTest(path):
                self.expect_refused((EXIT_FAILURE, EXIT_CONFIG), str(path),
                                    **{"--data-dir": str(path)})
        self.assertEqual(file.read_text(encoding="utf-8"), "not a directory")

    def test_a_read_only_data_dir_is_refused(self):
        """Root may write anywhere but on a read-only file system."""
        path = self.directory / "read-only"
        path.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(path)],
                               capture_output=True, check=False)
        if mount.returncode != 0:
            path.chmod(0o500)
            if os.geteuid() == 0:
                raise unittest.SkipTest("root without the right to mount")
        else:
            self.addCleanup(subprocess.run, ["umount", str(path)], check=True)
        self.expect_refused((EXIT_FAILURE, EXIT_CONFIG), str(path), **{"--data-dir": str(path)})

    def running_node(self, *flags):
        node = harness.Node(self.directory, *flags)
        self.addCleanup(node.kill)
        node.start()
        with clients.channel(node.rpc_address) as link:
            clients.StubClient(link).put(key=b"a", value=b"1")
        return node

    def expect_undamaged(self, node):
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            self.assertEqual(client.get(key=b"a").value, b"1")
            client.put(key=b"b", value=b"2")

    def test_a_second_node_on_one_data_dir_is_refused(self):
        node = self.running_node()
        before = {role: node.pid(role) for role in harness.ROLES}
        self.expect_one_line(self.run_program(*self.basic()), EXIT_CONFIG, str(node.data_dir),
                             str(node.process.pid))
        self.assertEqual({role: node.pid(role) for role in harness.ROLES}, before)
        self.expect_undamaged(node)
        self.assertEqual(node.stop(), 0)
        node.start()
        self.expect_undamaged(node)

    def test_a_second_shardhost_on_one_data_dir_is_refused(self):
        node = self.running_node()
        self.expect_one_line(self.run_program(*self.basic(), name="shardhost"), EXIT_CONFIG,
                             str(node.data_dir), str(node.pid("shardhost")))
        self.expect_undamaged(node)

    def test_other_total_shards_than_at_creation_are_refused_with_both_numbers(self):
        node = self.running_node("--total-shards", "16")
        self.assertEqual(node.stop(), 0)
        before = self.files(node.data_dir)
        self.expect_refused((EXIT_CONFIG,), "16", "32", **{"--total-shards": "32"})
        self.assertEqual(self.files(node.data_dir), before)
        node.start()
        self.expect_undamaged(node)

    def test_data_of_another_node_is_refused_with_both_names(self):
        node = self.running_node()
        self.assertEqual(node.stop(), 0)
        before = self.files(node.data_dir)
        self.expect_refused((EXIT_CONFIG,), "node_id", "node0", "node9", **{"--node-id": "node9"})
        self.assertEqual(self.files(node.data_dir), before)
        node.start()
        self.expect_undamaged(node)

    def test_data_without_its_log_or_its_identity_is_refused(self):
        for lost, words in (("raft", ("raft log", "missing")),
                            ("meta/shardhost", ("identity", "meta/shardhost"))):
            with self.subTest(lost):
                node = self.running_node()
                self.assertEqual(node.stop(), 0)
                kept = self.directory / "kept"
                (node.data_dir / lost).rename(kept)
                self.expect_refused((EXIT_CONFIG,), *words)
                if (node.data_dir / lost).exists():
                    shutil.rmtree(node.data_dir / lost)
                kept.rename(node.data_dir / lost)
                node.start()
                self.expect_undamaged(node)
                node.kill()
                shutil.rmtree(node.data_dir)

    SHARDS = 4
    COLD = [b"cold-%d" % i for i in range(24)]  # some in each shard

    def node_with_cold_data(self):
        """A stopped node whose log has given up what is in tables."""
        node = self.running_node("--total-shards", str(self.SHARDS),
                                 "--set", "raft.segment_bytes=4MiB",
                                 "--set", "lsm.memtable_bytes=1MiB")
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            for key in self.COLD:
                client.put(key=key, value=key)

            def grown():
                client.put(key=b"hot", value=bytes(500_000))
                return not (node.data_dir / "raft/0000000000000001.log").exists()
            harness.wait_for(grown, "the first segment of the log to go")
        self.assertEqual(node.stop(), 0)
        return node

    def count_fenced(self, node):
        """Asks for all cold keys: how many are of fenced shards.  The others must be there."""
        fenced = 0
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            for key in self.COLD:
                try:
                    self.assertEqual(client.get(key=key).value, key)
                except grpc.RpcError as error:
                    self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, error)
                    self.assertIn("SHARD_FENCED", error.details())
                    with self.assertRaises(grpc.RpcError):
                        client.put(key=key, value=b"new")
                    fenced += 1
        return fenced

    def test_tables_that_are_gone_are_told_and_nothing_is_invented(self):
        node = self.node_with_cold_data()
        lsm = node.data_dir / "lsm"
        kept = self.directory / "kept"
        shutil.copytree(lsm, kept)
        for lost in (["shard-1"], ["shard-1", "shard-2", "shard-3"], ["shard-1", "shard-1 file"]):
            with self.subTest(lost):
                for name in lost:
                    if name.endswith("file"):
                        (lsm / "shard-1").write_text("x", encoding="utf-8")
                    else:
                        shutil.rmtree(lsm / name)
                for _ in range(2):  # another start does not forget
                    node.start()
                    fenced = self.count_fenced(node)
                    health = node.http("shardhost", "GET", "/health").body
                    self.assertEqual(node.stop(), 0)
                    self.assertIn(b"shard-fenced", health)
                    self.assertGreater(fenced, 0)
                    self.assertLess(fenced, len(self.COLD))
                self.assertIn("the shard is fenced", node.log_path.read_text(encoding="utf-8"))
                shutil.rmtree(lsm)
                shutil.copytree(kept, lsm)
        node.start()
        self.assertEqual(self.count_fenced(node), 0)

    def test_tables_of_a_later_version_are_refused(self):
        node = self.node_with_cold_data()
        manifest = node.data_dir / "lsm/shard-1/manifest"
        whole = manifest.read_bytes()
        slot = bytearray(whole[:32])  # magic, version, checksum of all others, sequence, length
        slot[8:12] = (99).to_bytes(4, "little")
        slot[12:16] = crc32c(slot[:12] + slot[16:]).to_bytes(4, "little")
        manifest.write_bytes(bytes(slot) + whole[32:])
        run = self.run_program(*self.basic(), *node.flags, name="shardhost")
        self.expect_one_line(run, EXIT_CONFIG, "shard 1", "lsm/shard-1/manifest", "newer version")
        manifest.write_bytes(whole)
        node.start()
        self.assertEqual(self.count_fenced(node), 0)

    def test_a_log_without_its_newest_segment_is_refused(self):
        node = self.node_with_cold_data()
        newest = max((node.data_dir / "raft").glob("*.log"))
        newest.rename(self.directory / "kept")
        run = self.run_program(*self.basic(), *node.flags, name="shardhost")
        self.expect_one_line(run, EXIT_FAILURE, f"raft/{newest.name}", "missing")
        (self.directory / "kept").rename(newest)
        node.start()
        self.assertEqual(self.count_fenced(node), 0)

    @staticmethod
    def files(directory):
        """Names and contents of the data; run/ holds what belongs to a running process."""
        return {path.relative_to(directory): path.read_bytes()
                for part in ("raft", "lsm") for path in sorted((directory / part).rglob("*"))
                if path.is_file()}

    def test_a_port_in_use_is_refused(self):
        for flag in ("--rpc-addr", "--http-addr"):
            with self.subTest(flag), socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                other.listen()
                address = f"127.0.0.1:{other.getsockname()[1]}"
                self.expect_one_line(self.run_program(*self.basic(**{flag: address})),
                                     EXIT_FAILURE, address)

    def test_a_port_in_use_for_the_last_child_is_refused(self):
        first, step = harness.free_ports_apart(len(harness.ROLES))
        with socket.socket() as other:
            other.bind(("127.0.0.1", first + step * (len(harness.ROLES) - 1)))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            run = self.run_program(*self.basic(**{"--http-addr": f"127.0.0.1:{first}"}), "--set",
                                   f"server.http_port_step={step}")
        self.expect_one_line(run, EXIT_FAILURE, address)
        self.assertEqual(harness.processes_of(self.directory / "data"), {})

    def test_a_role_whose_port_is_in_use_may_be_tried_again(self):
        """1, not 78: the port may be free the next time."""
        for name in harness.ROLES:
            for flag in ("--rpc-addr", "--http-addr") if name == "gateway" else ("--http-addr",):
                with self.subTest(f"{name} {flag}"), socket.socket() as other:
                    other.bind(("127.0.0.1", 0))
                    other.listen()
                    address = f"127.0.0.1:{other.getsockname()[1]}"
                    self.expect_one_line(self.run_program(*self.basic(**{flag: address}),
                                                          name=name), EXIT_FAILURE, address)

    def test_a_foreign_address_is_refused(self):
        for flag in ("--rpc-addr", "--http-addr"):
            self.expect_one_line(self.run_program(*self.basic(**{flag: "203.0.113.1:0"})),
                                 EXIT_FAILURE, "203.0.113.1")

    def test_addresses_that_contradict_each_other_are_refused(self):
        cases = (({"--rpc-addr": "127.0.0.1:28200", "--http-addr": "127.0.0.1:28000"}, "rpc_addr"),
                 ({"--http-addr": "127.0.0.1:65500"}, "server.http_port_step"))
        for changes, word in cases:
            self.expect_one_line(self.run_program(*self.basic(**changes)), EXIT_CONFIG, word)
        self.expect_one_line(self.run_program(*self.basic(), "--set", "bus.addr=127.0.0.1:7000"),
                             EXIT_CONFIG, "bus.addr")

    def test_a_server_beside_a_role_of_its_data_dir_is_refused(self):
        role = harness.Role(self.directory, "gossip")
        self.addCleanup(role.kill)
        role.start()
        self.expect_one_line(self.run_program(*self.basic()), EXIT_CONFIG, str(role.data_dir),
                             str(role.pid("gossip")))
        self.assertEqual(role.stop(), 0)


if __name__ == "__main__":
    harness.main()
