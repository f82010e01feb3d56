"""What operators rely on: the routes of all four processes, their metrics, their logs, the command
line, ordered stops, and that nothing is left behind."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import unittest

import grpc

import clients
import harness

METRICS = {  # of the contract; those of the other processes are checked by what serves them
    "gateway": ("kv_requests_total", "kv_request_duration_ms", "cluster_view_epoch"),
    "shardhost": ("lsm_memtable_size_bytes", "lsm_sstable_count", "lsm_compaction_debt_bytes",
                  "lsm_compaction_duration_ms",
                  "lsm_block_cache_hits_total", "lsm_block_cache_misses_total",
                  "raft_leader_changes_total", "raft_elections_total", "raft_commit_index",
                  "raft_term", "raft_leader", "raft_commit_ms", "raft_apply_ms", "read_index_ms",
                  "wal_fsync_ms", "wal_records_total", "wal_segment_count", "disk_free_bytes"),
    "gossip": ("swim_cluster_size", "swim_failed_members_total", "swim_probes_total",
               "swim_rtt_ms", "swim_gossip_latency_ms", "membership_flaps_total",
               "cluster_view_epoch"),
    "admin": (),
}
# What promtool would name otherwise than the contract.  It ends with 3 for matters of taste and
# with 1 for what it cannot read.
PROMTOOL_TASTE = (r"(?:kv_request_duration|raft_commit|raft_apply|read_index|wal_fsync|swim_rtt|"
                  r"swim_gossip_latency|lsm_compaction_duration)_ms metric names should not "
                  r"contain abbreviated units",
                  r"(?:lsm_sstable|wal_segment)_count non-histogram and non-summary metrics should "
                  r'not have "_count" suffix')
EVERY_PROCESS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "process_start_time_seconds", "norikv_build_info")


# The pages follow the view, and the view follows who is ready: a moment later they tell it.

def expect_nodes(node, role, key, expected):
    """The page of that role lists one node, with this."""
    def told():
        view = json.loads(node.http(role, "GET", "/meta/cluster").body)
        return [each[key] for each in view["nodes"]] == [expected]
    harness.wait_for(told, f"{role} to list one node with {key} {expected}")


def expect_targets(node, role, expected):
    """The page of that role lists exactly these: (role, node_id, address)."""
    def told():
        entries = json.loads(node.http(role, "GET", "/meta/targets").body)
        return {(entry["labels"]["role"], entry["labels"]["node_id"], target)
                for entry in entries for target in entry["targets"]} == expected
    harness.wait_for(told, f"{role} to list the targets {sorted(expected)}")


class Routes(harness.NodeTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with clients.channel(cls.node.rpc_address) as link:
            client = clients.StubClient(link)
            for number in range(50):
                client.put(key=b"k%d" % number, value=b"v")
                client.get(key=b"k%d" % number)
            client.get(key=b"missing")
            client.delete(key=b"k1")

    def test_every_process_has_its_own_address_and_writes_it_down(self):
        addresses = set()
        for role in harness.ROLES:
            with self.subTest(role):
                run = self.node.run_file(role)
                self.assertEqual(run["pid"], self.node.pid(role))
                addresses.add(run["http_addr"])
                self.assertNotEqual(run["http_addr"].rsplit(":", 1)[1], "0")
        self.assertEqual(len(addresses), len(harness.ROLES))
        self.assertEqual(self.node.run_file("server")["pid"], self.node.process.pid)

    def test_health_quick_says_ok(self):
        for role in harness.ROLES:
            with self.subTest(role):
                answer = self.node.http(role, "GET", "/health/quick")
                self.assertEqual((answer.status, answer.body.strip()), (200, b"OK"))
                self.assertEqual(answer.headers["Content-Type"].split(";")[0], "text/plain")

    def test_health_tells_the_state_as_json(self):
        for role in harness.ROLES:
            with self.subTest(role):
                answer = self.node.http(role, "GET", "/health")
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["Content-Type"].split(";")[0], "application/json")
                health = json.loads(answer.body)
                self.assertEqual(health["status"], "healthy")
                self.assertEqual(health["role"], role)
                self.assertEqual(health["node_id"], "node0")
                self.assertGreaterEqual(health["uptime_seconds"], 0)
                self.assertEqual(health["total_shards"], 1024)
                self.assertIsInstance(health["active_shards"], int)
                self.assertIsInstance(health["nodes"], list)
                self.assertIsInstance(health["shards"], list)

    def test_every_process_lists_the_nodes(self):
        expected = [{"id": "node0", "addr": self.node.rpc_address, "role": "leader"}]
        for role in harness.ROLES:
            def lists(role=role):
                return json.loads(self.node.http(role, "GET", "/health").body)["nodes"] == expected
            with self.subTest(role=role):
                harness.wait_for(lists, f"{role} to list the node")

    def test_the_shardhost_lists_its_shards(self):
        health = json.loads(self.node.http("shardhost", "GET", "/health").body)
        self.assertGreater(health["active_shards"], 0)
        self.assertEqual(health["active_shards"], len(health["shards"]))
        for shard in health["shards"]:
            self.assertEqual(set(shard), {"id", "status", "is_leader", "raft_term", "commit_index",
                                          "last_applied"})
            self.assertEqual((shard["status"], shard["is_leader"]), ("healthy", True))
            self.assertGreater(shard["raft_term"], 0)
            self.assertGreaterEqual(shard["commit_index"], shard["last_applied"])

    def test_the_gateway_invents_no_positions(self):
        health = json.loads(self.node.http("gateway", "GET", "/health").body)
        self.assertGreater(len(health["shards"]), 0)
        for shard in health["shards"]:
            self.assertIsNone(shard["commit_index"])
            self.assertIsNone(shard["last_applied"])

    def test_liveness_and_readiness(self):
        for role in harness.ROLES:
            with self.subTest(role):
                for path in ("/healthz", "/readyz"):
                    self.assertEqual(self.node.http(role, "GET", path).status, 200, path)

    def test_head_is_get_without_the_body(self):
        for role in harness.ROLES:
            with self.subTest(role):
                for path in ("/health", "/health/quick", "/healthz", "/readyz", "/metrics"):
                    answer = self.node.http(role, "HEAD", path)
                    self.assertEqual((answer.status, answer.body), (200, b""), path)

    def test_other_paths_and_methods_are_refused_as_json(self):
        for role in harness.ROLES:
            with self.subTest(role):
                answer = self.node.http(role, "GET", "/nope")
                self.assertEqual(answer.status, 404)
                self.assertEqual(set(json.loads(answer.body)["error"]), {"code", "message"})
                answer = self.node.http(role, "POST", "/health", body=b"x")
                self.assertEqual(answer.status, 405)
                self.assertEqual(set(json.loads(answer.body)["error"]), {"code", "message"})

    def test_cluster_and_targets_on_gateway_and_gossip(self):
        for role in ("gateway", "gossip"):
            expect_nodes(self.node, role, "id", "node0")
            expect_targets(self.node, role, {(each, "node0", self.node.http_address(each))
                                             for each in harness.ROLES})

    # Metrics.

    def metrics(self, role, accept=None):
        answer = self.node.http(role, "GET", "/metrics", headers={"Accept": accept} if accept
                                else {})
        self.assertEqual(answer.status, 200)
        return answer.headers["Content-Type"], answer.body.decode()

    def test_promtool_accepts_the_metrics(self):
        promtool = shutil.which("promtool")
        self.assertIsNotNone(promtool, "package prometheus is missing: deploy/install-deps test")
        for role in harness.ROLES:
            with self.subTest(role):
                content_type, text = self.metrics(role)
                self.assertTrue(content_type.startswith("text/plain; version=0.0.4"), content_type)
                check = subprocess.run([promtool, "check", "metrics"], input=text, text=True,
                                       capture_output=True, check=False)
                self.assertIn(check.returncode, (0, 3), check.stdout + check.stderr)
                self.assertEqual([line for line in (check.stdout + check.stderr).splitlines() if not
                                  any(re.fullmatch(taste, line) for taste in PROMTOOL_TASTE)], [])

    def test_open_metrics_when_asked_for(self):
        wanted = "application/openmetrics-text; version=1.0.0"
        for role in harness.ROLES:
            with self.subTest(role):
                content_type, text = self.metrics(role, f"{wanted}, text/plain;q=0.5")
                self.assertTrue(content_type.startswith(wanted), content_type)
                self.expect_open_metrics(text)

    def expect_open_metrics(self, text):
        self.assertTrue(text.endswith("# EOF\n"))
        self.assertEqual(text.count("# EOF"), 1)
        families = {}
        for line in text.splitlines()[:-1]:
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertNotIn(name, families, "a family comes once")
                families[name] = kind
            elif not line.startswith("#"):
                name = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line).group(0)
                owner = self.family_of(name, families)
                self.assertIsNotNone(owner, line)
        self.assertTrue(families)

    @staticmethod
    def family_of(name, families):
        endings = {"counter": ("_total", "_created"), "gauge": ("",), "info": ("_info",),
                   "histogram": ("_bucket", "_sum", "_count", "_created"), "unknown": ("",)}
        for family, kind in families.items():
            if any(name == family + ending for ending in endings[kind]):
                return family
        return None

    def test_the_promised_metrics_are_there(self):
        for role in harness.ROLES:
            with self.subTest(role):
                _, text = self.metrics(role)
                names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
                for name in METRICS[role] + EVERY_PROCESS:
                    self.assertIn(name, names)

    def test_requests_are_counted_by_operation_and_status(self):
        _, text = self.metrics("gateway")
        counts = {(labels["operation"], labels["status"]): value
                  for labels, value in self.samples(text, "kv_requests_total")}
        self.assertEqual(counts["put", "success"], 50)
        self.assertGreaterEqual(counts["get", "success"], 51)
        self.assertEqual(counts["delete", "success"], 1)
        bounds = [labels["le"] for labels, _ in self.samples(text, "kv_request_duration_ms_bucket")
                  if labels["operation"] == "put"]
        self.assertEqual([float(bound) for bound in dict.fromkeys(bounds)],
                         [0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, float("inf")])

    def test_no_label_names_a_key_a_client_or_an_address(self):
        allowed = {"operation", "status", "result", "level", "shard_id", "node_id", "le", "version",
                   "commit", "compiler", "role"}
        for role in harness.ROLES:
            with self.subTest(role):
                _, text = self.metrics(role)
                used = set(re.findall(r'[{,]([a-zA-Z_]\w*)="', text))
                self.assertLessEqual(used, allowed)

    @staticmethod
    def samples(text, name):
        for match in re.finditer(rf"^{name}{{([^}}]*)}} (\S+)$", text, re.MULTILINE):
            yield dict(re.findall(r'(\w+)="([^"]*)"', match.group(1))), float(match.group(2))

    def test_every_line_of_the_log_is_one_json_object(self):
        lines = self.node.log()
        targets = {line["target"].split(".")[0] for line in lines}
        self.assertLessEqual({"server", *harness.ROLES}, targets)
        for line in lines:
            self.assertLessEqual({"timestamp", "level", "target", "message", "fields"}, set(line))
            self.assertRegex(line["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertIn(line["level"], ("debug", "info", "warn", "error"))
            self.assertIsInstance(line["fields"], dict)


class CommandLine(unittest.TestCase):
    PROGRAMS = ("server", *harness.ROLES)

    def run_program(self, name, *arguments, environment=None):
        return subprocess.run([harness.program(name), *arguments], capture_output=True, text=True,
                              timeout=harness.PATIENCE, check=False,
                              env={**os.environ, **(environment or {})})

    def test_help_names_flags_and_keys(self):
        for name in self.PROGRAMS:
            run = self.run_program(name, "--help")
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertIn(f"norikv-{name}", run.stdout)
            for word in ("--node-id", "--rpc-addr", "--grpc-addr", "--http-addr", "--data-dir",
                         "--config", "--seed-nodes", "--total-shards", "--replication-factor",
                         "--log-level", "--print-config", "--version", "raft.lease_ms"):
                self.assertIn(word, run.stdout, name)

    def test_version_is_one_line(self):
        for name in self.PROGRAMS:
            run = self.run_program(name, "--version")
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertRegex(run.stdout, rf"^norikv-{name} \d+\.\d+\.\d+\b.*\n$")

    def test_print_config_shows_values_and_origins_and_loads_again(self):
        for name in self.PROGRAMS:
            run = self.run_program(
                name, "--print-config", "--node-id", "n1", "--data-dir", "/nowhere/at/all",
                "--total-shards", "64", environment={"NORIKV_LOG_LEVEL": "warn"})
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertRegex(run.stdout, r"(?m)^node_id: \"n1\" +# flag --node-id$")
            self.assertRegex(run.stdout, r"(?m)^  level: warn +# environment NORIKV_LOG_LEVEL$")
            self.assertRegex(run.stdout, r"(?m)^  lease_ms: 900 +# default")
            file = harness.make_directory(f"print-{name}") / "printed.yaml"
            file.write_text(run.stdout, encoding="utf-8")
            again = self.run_program(name, "--print-config", "--config", str(file))
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertEqual(self.values(again.stdout), self.values(run.stdout))
        self.assertFalse(pathlib.Path("/nowhere").exists())

    @staticmethod
    def values(text):
        return [re.sub(r"\s*# .*", "", line) for line in text.splitlines()]


class LifeCycle(unittest.TestCase):
    def node(self, *flags, **options):
        node = harness.Node(harness.make_directory(self.id().rsplit(".", 1)[-1]), *flags, **options)
        self.addCleanup(node.kill)
        return node

    def put_and_get(self, node):
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            client.put(key=b"a", value=b"1")
            self.assertEqual(client.get(key=b"a").value, b"1")

    def test_the_command_of_the_readme_serves(self):
        node = self.node(keep_ports=True)
        node.address_flags = lambda: ("--rpc-addr", f"127.0.0.1:{node.rpc_port}",
                                      "--http-addr", f"127.0.0.1:{node.http_port}")
        node.start()
        self.assertEqual(node.rpc_address, f"127.0.0.1:{node.rpc_port}")
        self.assertEqual(node.http_address(), f"127.0.0.1:{node.http_port}")
        self.put_and_get(node)

    def test_an_ordered_stop_ends_with_0_and_leaves_nothing(self):
        node = self.node()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            node.start()
            self.put_and_get(node)
            self.assertEqual(node.stop(number), 0)
            self.assertEqual(list((node.data_dir / "run").glob("*.json")), [])
        stopped = [line["fields"]["role"] for line in node.log()
                   if line["message"] == "a child process has stopped"]
        self.assertEqual(stopped, ["gateway", "shardhost", "admin", "gossip"] * 3)

    def test_a_stop_that_may_lose_writes_ends_with_1_and_says_so(self):
        """A log that a full disk does not take; what was answered is there afterwards."""
        directory = harness.make_directory(self.id().rsplit(".", 1)[-1])
        data_dir = directory / "data"
        data_dir.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data_dir)],
                               capture_output=True, check=False)
        if mount.returncode != 0:
            raise unittest.SkipTest("no right to mount")
        self.addCleanup(subprocess.run, ["umount", str(data_dir)], check=True)
        node = harness.Node(directory, "--set", "disk.reserve_bytes=0")
        self.addCleanup(node.kill)
        node.start()
        self.put_and_get(node)
        fill = data_dir / "fill"
        with open(fill, "wb", buffering=0) as file, self.assertRaises(OSError):
            while True:
                file.write(bytes(4096))
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            with self.assertRaises(grpc.RpcError):  # until a round finds no room
                while True:
                    client.put(timeout=5, key=b"b", value=bytes(60000))
            for request in (lambda: client.put(key=b"b", value=b"2"),
                            lambda: client.delete(key=b"a")):
                with self.assertRaises(grpc.RpcError) as refused:
                    request()
                self.assertEqual(refused.exception.details(), "DISK_FULL")
            self.assertEqual(client.get(key=b"a").value, b"1")
        self.assertEqual(node.stop(), 1)
        told = [line["fields"]["reason"] for line in node.log()
                if line["message"] == "the process ends early"]
        self.assertEqual(len(told), 1, told)
        self.assertIn("the disk is full; writes that were not answered may be lost", told[0])
        fill.unlink()
        node.start()
        with clients.channel(node.rpc_address) as link:
            self.assertEqual(clients.StubClient(link).get(key=b"a").value, b"1")
        self.assertEqual(node.stop(), 0)

    def expect_told(self, node, host):
        """What others are told: this host, and the ports that the processes really have."""
        def told(address):
            return f"{host}:{address.rsplit(':', 1)[1]}"
        expect_nodes(node, "gateway", "addr", told(node.rpc_address))
        expect_targets(node, "gateway", {(role, "node0", told(node.http_address(role)))
                                         for role in harness.ROLES})

    def test_who_listens_everywhere_is_told_by_the_name_of_the_machine(self):
        node = self.node()
        node.address_flags = lambda: ("--rpc-addr", "0.0.0.0:0", "--http-addr", "0.0.0.0:0",
                                      "--set", "server.http_port_step=0")
        node.start()
        self.assertTrue(node.rpc_address.startswith("0.0.0.0:"), node.rpc_address)
        self.expect_told(node, socket.gethostname())
        self.put_and_get(node)
        self.assertEqual(node.stop(), 0)
        node.flags = ("--set", "advertise_host=node0.example")
        node.start()
        self.expect_told(node, "node0.example")

    def test_a_bus_that_listens_everywhere_is_told_by_the_name_of_the_machine(self):
        directory = harness.make_directory(self.id().rsplit(".", 1)[-1])
        for flags, host in (((), socket.gethostname()),
                            (("--set", "advertise_host=127.0.0.2"), "127.0.0.2")):
            gossip = harness.Role(directory, "gossip", "--set", "bus.addr=0.0.0.0:0", *flags)
            self.addCleanup(gossip.kill)
            gossip.start()
            address = gossip.run_file("gossip")["bus_addr"]
            self.assertTrue(address.startswith(f"tcp://{host}:"), address)
            self.assertEqual(gossip.stop(), 0)

    def test_a_stop_that_tells_everybody_at_once_is_an_ordered_one(self):
        """As some service managers do.  A child that ends before the server hears of the stop may
        be started once more, and is ended again."""
        node = self.node().start()
        for pid in sorted(node.processes(), reverse=True):  # the server comes last
            os.kill(pid, signal.SIGTERM)
        self.assertEqual(node.wait_ended(), 0)

    def test_two_nodes_on_one_machine_do_not_meet(self):
        nodes = []
        for name in ("left", "right"):
            nodes.append(harness.Node(harness.make_directory(name)))
            self.addCleanup(nodes[-1].kill)
        for node in nodes:
            node.start()
        for node in nodes:
            with clients.channel(node.rpc_address) as link:
                clients.StubClient(link).put(key=b"where", value=bytes(node.data_dir))
        for node in nodes:
            with clients.channel(node.rpc_address) as link:
                self.assertEqual(clients.StubClient(link).get(key=b"where").value,
                                 bytes(node.data_dir))
            expect_nodes(node, "gossip", "addr", node.rpc_address)

    def test_a_stop_at_any_moment_of_the_start_is_an_ordered_one(self):
        node = self.node()
        for count in range(2, len(harness.ROLES) + 2):  # so many processes there are by then
            with self.subTest(count):
                node.start(wait=False)
                harness.wait_for(lambda count=count: len(node.processes()) >= count,
                                 f"{count} processes; {node.log_path}")
                self.assertEqual(node.stop(), 0, node.log_tail())

    def test_a_second_signal_ends_at_once_what_does_not_end(self):
        node = self.node().start()
        with node.frozen("shardhost"):
            node.process.send_signal(signal.SIGTERM)
            harness.wait_for(lambda: node.pid("gateway") is None, "the stop to begin")
            self.assertEqual(node.stop(), 1)
        self.assertTrue(any(line["message"] == "a child process has to be killed" and
                            line["fields"]["role"] == "shardhost" for line in node.log()))
        node.start()
        self.put_and_get(node)

    def test_children_die_with_a_killed_launcher(self):
        node = self.node().start()
        self.put_and_get(node)
        node.kill_launcher()
        node.start()
        with clients.channel(node.rpc_address) as link:
            self.assertEqual(clients.StubClient(link).get(key=b"a").value, b"1")

    def test_a_launcher_killed_at_any_moment_of_the_start_leaves_nobody(self):
        node = self.node(keep_ports=True)
        for count in range(len(harness.ROLES) + 2):
            with self.subTest(count):
                node.start(wait=False)
                harness.wait_for(lambda count=count: len(node.processes()) >= count,
                                 f"{count} processes; {node.log_path}")
                node.kill_launcher()
        node.start()
        self.put_and_get(node)

    def test_a_node_started_at_once_after_a_kill_waits_for_its_ports(self):
        node = self.node(keep_ports=True).start()
        for _ in range(5):
            node.process.kill()
            node.process.wait()
            node.process = None
            node.start()
            self.put_and_get(node)

    def test_a_killed_role_comes_back_by_itself_and_the_others_stay(self):
        node = self.node(keep_ports=True).start()
        for role in harness.ROLES:
            with self.subTest(role):
                before = {each: node.pid(each) for each in harness.ROLES}
                node.kill_role(role)
                harness.wait_for(lambda: node.pid(role) not in (None, before[role]),
                                 f"a new {role}")
                node.wait_ready()
                harness.wait_for(lambda: self.works(node), "service")
                self.assertEqual({each: node.pid(each) for each in harness.ROLES},
                                 {**before, role: node.pid(role)})

    def test_installed_programs_find_each_other(self):
        node = self.node()
        prefix = node.directory / "usr"
        subprocess.run(["cmake", "--install", str(harness.BUILD), "--prefix", str(prefix)],
                       check=True, capture_output=True)
        node.command_path = str(prefix / "bin/norikv-server")
        node.start()
        self.put_and_get(node)
        homes = {os.path.dirname(os.readlink(f"/proc/{pid}/exe")) for pid in node.processes()}
        self.assertEqual(homes, {os.path.realpath(prefix / "bin")})
        self.assertEqual(node.stop(), 0)

    def test_a_program_that_is_missing_is_named(self):
        node = self.node()
        alone = node.directory / "norikv-server"
        shutil.copy(harness.program("server"), alone)
        run = subprocess.run(harness.dying_with_us("env", "PATH=/nowhere", str(alone),
                                                   *node.command()[1:]),
                             capture_output=True, text=True, check=False,
                             timeout=harness.PATIENCE)
        self.assertEqual((run.returncode, len(run.stderr.splitlines())), (1, 1), run.stderr)
        self.assertIn("norikv-gossip is neither beside norikv-server nor in PATH", run.stderr)

    def works(self, node):
        try:
            self.put_and_get(node)
            return True
        except grpc.RpcError:
            return False

    def test_configuration_from_file_environment_and_flags(self):
        directory = harness.make_directory("sources")
        file = directory / "node.yaml"
        file.write_text("cluster:\n  total_shards: 16\nlog:\n  level: warn\n", encoding="utf-8")
        node = harness.Node(directory, "--config", str(file), "--log-level", "info",
                            environment={"NORIKV_CLUSTER_TOTAL_SHARDS": "32"})
        self.addCleanup(node.kill)
        node.start()
        health = json.loads(node.http("gateway", "GET", "/health").body)
        self.assertEqual(health["total_shards"], 32)
        self.assertTrue(any(line["level"] == "info" for line in node.log()))

    def test_clients_who_only_connect_keep_nobody_out(self):
        """More of them than a process may open files: it keeps its data, its peers and its port."""
        node = self.node("--total-shards", "4", "--set", "lsm.memtable_bytes=256KiB",
                         "--set", "raft.segment_bytes=4MiB")
        command = node.command()
        node.command = lambda: ["prlimit", "--nofile=256:256", "--", *command]
        node.start()
        pids = {role: node.pid(role) for role in harness.ROLES}
        for role in harness.ROLES:
            host, port = node.http_address(role).rsplit(":", 1)
            for number in range(400):
                link = socket.create_connection((host, int(port)), timeout=60)
                self.addCleanup(link.close)
                link.sendall((b"", b"G", b"GET /health HTTP/1.1\r\nHo")[number % 3])
        for role in harness.ROLES:
            self.assertEqual(node.http(role, "GET", "/healthz").status, 200)
        with clients.channel(node.rpc_address) as link:
            client = clients.StubClient(link)
            for number in range(2000):  # enough for new files
                client.put(key=b"k%d" % number, value=bytes(1000))
        self.put_and_get(node)
        self.assertEqual({role: node.pid(role) for role in harness.ROLES}, pids)

    def test_metrics_can_be_switched_off(self):
        node = self.node("--set", "telemetry.prometheus.enabled=false").start()
        for role in harness.ROLES:
            self.assertEqual(node.http(role, "GET", "/metrics").status, 404)
            self.assertEqual(node.http(role, "GET", "/healthz").status, 200)


if __name__ == "__main__":
    harness.main()
