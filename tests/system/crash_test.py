"""kill -9 under load: single processes at random, or all at once, again and again.

Writers put all the time: plain, with idempotency keys, and counters by compare-and-set.  Every
value is written by one operation only, so what a key holds in the end names the operation, and its
version says when it was applied.  From that follows:

  1. the version of a key is never below one that was acknowledged      (nothing lost),
  2. a value whose write was acknowledged has exactly that version      (nothing changed, and
     no retry was applied a second time: that would have given it a later version),
  3. every answer to one idempotency key has the same version           (one effect),
  4. a counter is the number of its acknowledged increments, when each has been retried to the end,
  5. a refusal that promises "nothing was done" left nothing,
  6. a reader never sees a key go back.

    NK_CRASH_KILLS   how often (default 8; the acceptance run is 200)
    NK_SEED          which processes, when (default: another one at each run, printed)

The load decides when to kill next (so many more acknowledged writes), not the clock."""

import collections
import itertools
import os
import random
import statistics
import threading
import time
import unittest

import grpc

import clients
import harness

KILLS = int(os.environ.get("NK_CRASH_KILLS", "8"))
SEED = int(os.environ.get("NK_SEED", str(random.SystemRandom().randrange(1 << 32))))
WRITERS = 6          # plain and idempotent puts
COUNTER_WRITERS = 2  # on shared counters
KEYS_PER_WRITER = 12
COUNTERS = 3
VICTIMS = ("gateway", "shardhost", "shardhost", "gossip", "admin", "server", "all")
CALL_SECONDS = 10

DEFINITE = ("NOT_LEADER", "QUORUM_UNAVAILABLE", "OVERLOADED", "DISK_FULL")


class Operation:
    """One intended write.  version: of its acknowledgement; refused: surely without effect."""

    def __init__(self, key, value, idempotency_key=""):
        self.key = key
        self.value = value
        self.idempotency_key = idempotency_key
        self.version = None
        self.refused = False


class Load:
    """The writers, the reader and what they know."""

    def __init__(self, address):
        self.address = address
        self.stopping = threading.Event()
        self.acknowledged_count = 0
        self.failed_count = 0
        self.last_acknowledged = time.monotonic()
        self.longest_gap = 0.0  # between two acknowledgements, since it was last set to 0
        self.lock = threading.Lock()
        self.by_key = collections.defaultdict(dict)  # key -> value -> Operation
        self.floor = collections.defaultdict(lambda: (0, 0))  # key -> highest acknowledged version
        self.increments = collections.Counter()
        self.violations = []
        self.threads = []

    def start(self):
        jobs = [(self._write, number) for number in range(WRITERS)]
        jobs += [(self._count, number) for number in range(COUNTER_WRITERS)]
        jobs.append((self._read, 0))
        for job, number in jobs:
            self.threads.append(threading.Thread(target=self._run, args=(job, number),
                                                 daemon=True))
        for thread in self.threads:
            thread.start()

    def finish(self):
        """Every operation under way comes to its end, and so do the threads."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(harness.PATIENCE)
            if thread.is_alive():
                self.violation("a writer gets no answer")

    def _run(self, job, number):
        with clients.channel(self.address) as link:
            try:
                job(clients.StubClient(link), number, random.Random(SEED * 100 + number))
            except Exception as error:  # a thread must not die unseen
                self.violation(f"{job.__name__} {number}: {error!r}")

    def violation(self, text):
        with self.lock:
            self.violations.append(text)

    def acknowledge(self, operation, version):
        with self.lock:
            if operation.version not in (None, version):
                self.violations.append(f"{operation.key}: {operation.idempotency_key} answered "
                                       f"with {operation.version} and {version}")
            operation.version = version
            self.floor[operation.key] = max(self.floor[operation.key], version)
            self.acknowledged_count += 1
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_acknowledged)
            self.last_acknowledged = now

    def attempt(self, client, operation, **fields):
        """One try.  True: acknowledged; None: outcome unknown; False: surely no effect."""
        try:
            answer = client.put(key=operation.key, value=operation.value,
                                idempotency_key=operation.idempotency_key, timeout=CALL_SECONDS,
                                **fields)
        except grpc.RpcError as error:
            with self.lock:
                self.failed_count += 1
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                return False
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                                    grpc.StatusCode.RESOURCE_EXHAUSTED):
                self.violation(f"{operation.key}: {error.code()} {error.details()}")
            return False if error.details().startswith(DEFINITE) else None
        self.acknowledge(operation, (answer.version.term, answer.version.index))
        return True

    def record(self, operation):
        with self.lock:
            self.by_key[operation.key][operation.value] = operation

    def _write(self, client, number, choice):
        """Puts to keys of its own; half of them with an idempotency key, retried until they are
        acknowledged and later, when the key has moved on, once more."""
        old = collections.deque(maxlen=50)
        for serial in itertools.count():
            if self.stopping.is_set():
                break
            key = b"w%d-%d" % (number, choice.randrange(KEYS_PER_WRITER))
            operation = Operation(key, b"%d/%d" % (number, serial))
            if choice.random() < 0.5:
                operation.idempotency_key = f"{number}/{serial}"
            self.record(operation)
            done = self.attempt(client, operation)
            if operation.idempotency_key:
                while done is not True and not self.violations:
                    done = self.attempt(client, operation)
                old.append(operation)
                if choice.random() < 0.2:
                    self.attempt(client, choice.choice(old))
            elif done is False:
                operation.refused = True

    def _count(self, client, number, choice):
        """Increments shared counters; each is retried until its outcome is known."""
        for serial in itertools.count():
            if self.stopping.is_set():
                break
            key = b"counter-%d" % choice.randrange(COUNTERS)
            try:
                now = client.get(key=key, consistency="linearizable", timeout=CALL_SECONDS)
            except grpc.RpcError:
                continue
            value = b"%d" % (int(now.value or b"0") + 1)
            operation = Operation(key, value, f"count/{number}/{serial}")
            done = None
            while done is None and not self.violations:
                done = self.attempt_increment(client, operation, now)
            if done:
                with self.lock:
                    self.increments[key] += 1

    def attempt_increment(self, client, operation, now):
        """True: applied; False: somebody else was faster; None: not known yet.  A refusal without
        effect may follow an attempt with one, so it is no outcome of the operation."""
        try:
            answer = client.put(key=operation.key, value=operation.value,
                                idempotency_key=operation.idempotency_key, timeout=CALL_SECONDS,
                                if_match=(now.version.term, now.version.index))
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.FAILED_PRECONDITION,
                                grpc.StatusCode.ALREADY_EXISTS):
                return False
            return None
        self.acknowledge(operation, (answer.version.term, answer.version.index))
        return True

    def _read(self, client, _, choice):
        """No key ever goes back, as seen by one reader and against what was acknowledged before."""
        seen = {}
        while not self.stopping.is_set():
            key = b"w%d-%d" % (choice.randrange(WRITERS), choice.randrange(KEYS_PER_WRITER))
            with self.lock:
                floor = max(self.floor[key], seen.get(key, (0, 0)))
            try:
                answer = client.get(key=key, consistency=choice.choice(("", "linearizable")),
                                    timeout=CALL_SECONDS)
            except grpc.RpcError:
                continue
            version = (answer.version.term, answer.version.index)
            if version < floor:
                self.violation(f"{key}: read {version} after {floor}")
            seen[key] = version


class Crash(unittest.TestCase):
    FLAGS = ("--set", "limits.request_timeout_ms=5000", "--set", "raft.segment_bytes=4MiB",
             "--set", "lsm.memtable_bytes=64KiB", "--set", "lsm.write_buffer_total_bytes=256KiB",
             "--total-shards", "16")

    def setUp(self):
        print(f"replay: NK_SEED={SEED} NK_CRASH_KILLS={KILLS} tests/system/crash_test.py",
              flush=True)
        self.choice = random.Random(SEED)
        self.node = harness.Node(harness.make_directory("node"), *self.FLAGS, keep_ports=True)
        self.addCleanup(self.node.kill)
        self.node.start()

    def kill_one(self):
        """Kills what the seed says, and everything that has to be started by hand again."""
        victim = self.choice.choice(VICTIMS)
        if victim == "all":
            self.node.kill()
        elif victim == "server":
            self.node.kill_launcher()
        else:
            harness.wait_for(lambda: self.node.kill_role(victim), f"{victim} to run")
        if self.node.process is None:
            self.node.start(wait=False)
        return victim

    def wait_acknowledged(self, load, more):
        """The longest time without an acknowledgement until `more` have come."""
        wanted = load.acknowledged_count + more
        load.longest_gap = 0.0
        harness.wait_for(lambda: load.acknowledged_count >= wanted or load.violations,
                         f"{more} writes; {self.node.log_path}")
        return load.longest_gap

    def test_kills_lose_nothing_and_apply_nothing_twice(self):
        load = Load(self.node.rpc_address)
        outages = collections.defaultdict(list)
        load.start()
        try:
            self.wait_acknowledged(load, 300)
            for number in range(KILLS):
                self.assertEqual(load.violations, [], f"before kill {number + 1}")
                self.assertIsNone(self.node.process.poll(), self.node.log_tail())
                victim = self.kill_one()
                outages[victim].append(
                    self.wait_acknowledged(load, self.choice.randrange(50, 400)))
        finally:
            load.finish()
        self.node.wait_ready()
        first = self.verify(load)
        self.node.kill()
        self.node.start()
        self.assertEqual(self.verify(load), first, "another crash changed something")
        self.report(load, outages)

    def verify(self, load):
        self.assertEqual(load.violations, [])
        contents = {}
        with clients.channel(self.node.rpc_address) as link:
            client = clients.StubClient(link)
            harness.wait_for(lambda: self.answers(client), "service")
            for key in sorted(load.by_key):
                contents[key] = self.verify_key(client, load, key)
            for number in range(COUNTERS):
                key = b"counter-%d" % number
                answer = client.get(key=key, consistency="linearizable")
                self.assertEqual(int(answer.value or b"0"), load.increments[key], key)
                contents[key] = answer.value
        return contents

    @staticmethod
    def answers(client):
        try:
            return client.get(key=b"counter-0", consistency="linearizable") is not None
        except grpc.RpcError:
            return False

    def verify_key(self, client, load, key):
        answer = client.get(key=key, consistency="linearizable")
        version = (answer.version.term, answer.version.index)
        self.assertGreaterEqual(version, load.floor[key], f"{key}: an acknowledged write is lost")
        if version != (0, 0):
            operation = load.by_key[key].get(answer.value)
            self.assertIsNotNone(operation, f"{key} holds {answer.value}, which nobody wrote")
            self.assertFalse(operation.refused, f"{key}: a refused write was applied")
            if operation.version is not None:
                self.assertEqual(version, operation.version, f"{key}: applied twice or changed")
        return answer.value, version

    def report(self, load, outages):
        every = sorted(itertools.chain.from_iterable(outages.values()))
        print(f"{KILLS} kills, {load.acknowledged_count} acknowledged writes, "
              f"{load.failed_count} calls failed meanwhile; longest pause around a kill: "
              f"median {statistics.median(every):.3f} s, longest {every[-1]:.3f} s")
        for victim, times in sorted(outages.items()):
            print(f"  {victim}: {len(times)} times, median {statistics.median(times):.3f} s, "
                  f"longest {max(times):.3f} s")


if __name__ == "__main__":
    harness.main()
