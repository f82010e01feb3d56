"""One node of real processes, for tests: started in a directory of its own, found through the
addresses that it writes into data_dir/run, ended without leaving anything behind.

Nothing keeps running: every process dies with the test program (PR_SET_PDEATHSIG, process group,
atexit), and a process that outlives its node fails the test.  Nothing is thrown away after a
failure: the logs stay below build/tests/system/ and their place is printed.

Waiting is always for a condition, with a deadline that only bounds a hang."""

import atexit
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import tsan

SOURCE = pathlib.Path(os.environ.get("NK_SOURCE_DIR", pathlib.Path(__file__).parents[2])).resolve()
BUILD = pathlib.Path(os.environ.get("NK_BUILD_DIR", SOURCE / "build/dev")).resolve()
WORK = BUILD / "tests/system/run"
SANITIZED = re.search(r"^NK_SANITIZE:\w+=.", (BUILD / "CMakeCache.txt").read_text("utf-8"),
                      re.MULTILINE) is not None

ROLES = ("gateway", "shardhost", "gossip", "admin")
PATIENCE = 120  # seconds; bounds a hang, decides nothing

if tsan.is_used(BUILD):
    os.environ["TSAN_OPTIONS"] = tsan.options(BUILD)


class Hang(AssertionError):
    """A condition did not come true."""


def wait_for(condition, what, patience=PATIENCE):
    """The first true result of condition()."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Hang(f"waited {patience} s for {what}")
        time.sleep(0.01)


def free_port():
    """A port for a server that must keep it over restarts: outside of the range that the system
    hands out for port 0, so nobody else takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def free_ports_apart(count):
    """(first, step): `count` ports at one distance, all free."""
    while True:
        first, step = free_port(), 100
        with contextlib.ExitStack() as stack:
            try:
                for i in range(count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", first + i * step))
            except OSError:
                continue
            return first, step


def program(role):
    name = f"norikv-{role}"
    path = BUILD / "services" / role / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built")
    return str(path)


def dying_with_us(*command):
    """The command, to be killed with the thread that starts it.  Not a preexec_fn: that would need
    a fork, and gRPC's fork handlers hang now and then while other threads are calling."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def processes_of(data_dir):
    """pid -> name of all processes that were started for `data_dir`, zombies aside."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        name = os.path.basename(words[0].decode(errors="replace"))
        if name.startswith("norikv-") and any(os.fsencode(str(data_dir)) in word for word in words):
            found[int(entry)] = name
    return found


class Process:
    """A program with a data directory, and whatever it starts.

    `flags` are added to its command line at the next start."""

    def __init__(self, directory, *flags, environment=None):
        self.directory = pathlib.Path(directory)
        self.data_dir = self.directory / "data"
        self.log_path = self.directory / "node.log"
        self.flags = flags
        self.environment = environment or {}
        self.process = None
        _started.append(self)

    program = None       # which one
    command_path = None  # where, if not in the build
    roles = ()           # who must be ready

    def address_flags(self):
        return ("--rpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")

    def command(self):
        return [self.command_path or program(self.program), "--node-id", "node0",
                *self.address_flags(),
                "--data-dir", str(self.data_dir), *self.flags]

    def start(self, wait=True):
        assert self.process is None, "already running"
        for role in (self.program, *self.roles):  # what a former process wrote
            (self.data_dir / "run" / f"{role}.json").unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                dying_with_us(*self.command()), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        """All roles have written their addresses and say that they are ready, and so does the
        program."""
        for role in self.roles:
            wait_for(lambda role=role: self.is_ready(role), f"{role} to be ready; {self.log_path}")
        wait_for(self.is_announced, f"norikv-{self.program} to be ready; {self.log_path}")

    def must_run(self):
        if self.process.poll() is not None:
            raise AssertionError(f"norikv-{self.program} ended with {self.process.returncode}; "
                                 f"its last lines:\n{self.log_tail()}")

    def is_announced(self):
        self.must_run()
        return (self.data_dir / "run" / f"{self.program}.json").exists()

    def is_ready(self, role):
        self.must_run()
        try:
            return self.http(role, "GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException, KeyError, ValueError):
            return False

    def run_file(self, role):
        """What the process wrote into data_dir/run."""
        return json.loads((self.data_dir / "run" / f"{role}.json").read_text(encoding="utf-8"))

    @property
    def rpc_address(self):
        return self.run_file("gateway")["rpc_addr"]

    def http_address(self, role="gateway"):
        return self.run_file(role)["http_addr"]

    def processes(self):
        return processes_of(self.data_dir)

    def pid(self, role):
        """The process of that role that runs now; None if none does."""
        for pid, name in self.processes().items():
            if name == f"norikv-{role}":
                return pid
        return None

    def http(self, role, method, path, body=None, headers=None):
        """One request on a connection of its own; the response has its body in `.body`."""
        host, port = self.http_address(role).rsplit(":", 1)
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=30)) as link:
            link.request(method, path, body=body, headers=headers or {})
            response = link.getresponse()
            response.body = response.read()
            return response

    def kill_role(self, role):
        """kill -9 of one process.  False: it is not running just now."""
        pid = self.pid(role)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    @contextlib.contextmanager
    def frozen(self, role):
        """The process stands still, and goes on afterwards if it is still there."""
        pid = self.pid(role)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self):
        """kill -9 of everything at once."""
        if self.process is None:
            return
        for pid in (self.process.pid, *self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended(30)

    def kill_launcher(self):
        """kill -9 of the first process alone: its children have to die with it."""
        self.process.kill()
        self._ended(30)

    def stop(self, signal_number=signal.SIGTERM):
        """An ordered stop; the exit code."""
        self.process.send_signal(signal_number)
        return self._ended(PATIENCE)

    def wait_ended(self):
        """It ends by itself; the exit code."""
        return self._ended(PATIENCE)

    def _ended(self, patience):
        """Waits for the first process and for all others; the exit code of the first."""
        try:
            code = self.process.wait(patience)
            wait_for(lambda: not self.processes(), "all processes to end", 30)
        except (subprocess.TimeoutExpired, Hang):
            left = self.processes()
            self.kill_leftovers()
            raise AssertionError(f"left running: {left}; {self.log_path}") from None
        finally:
            self.process = None
        return code

    def kill_leftovers(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log(self):
        """The parsed lines of the log; a line that is no JSON fails."""
        return [json.loads(line) for line in
                self.log_path.read_text(encoding="utf-8").splitlines()]

    def log_tail(self, lines=15):
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace")
                         .splitlines()[-lines:])


class Node(Process):
    """norikv-server with its four children.  `keep_ports`: the same addresses after every restart,
    else any free ones."""

    program = "server"
    roles = ROLES

    def __init__(self, directory, *flags, keep_ports=False, environment=None):
        super().__init__(directory, *flags, environment=environment)
        self.rpc_port, self.http_port, self.step = 0, 0, 0
        if keep_ports:
            self.http_port, self.step = free_ports_apart(len(ROLES) + 1)
            self.rpc_port = self.http_port + len(ROLES) * self.step

    def address_flags(self):
        return ("--rpc-addr", f"127.0.0.1:{self.rpc_port}",
                "--http-addr", f"127.0.0.1:{self.http_port}",
                "--set", f"server.http_port_step={self.step}")


class Role(Process):
    """One role by itself.  Roles in the same directory make one node."""

    def __init__(self, directory, role, *flags):
        super().__init__(directory, *flags)
        self.program = role
        self.roles = (role,)
        self.log_path = self.directory / f"{role}.log"

    def processes(self):
        return {pid: name for pid, name in super().processes().items()
                if name == f"norikv-{self.program}"}


_started = []
_short_names = []


@atexit.register
def _kill_everything():
    for each in _started:
        if each.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.process.pid, signal.SIGKILL)
        each.kill_leftovers()
    for short in _short_names:
        short.unlink(missing_ok=True)


def own_work():
    """What this test program leaves, if it leaves anything."""
    return WORK / f"{pathlib.Path(sys.argv[0]).stem}-{os.getpid()}"


def make_directory(name):
    """An empty directory below WORK, kept if a test of this program fails.  It is given out under a
    short name of its own, since the paths of local sockets may not be long."""
    directory = own_work() / name
    directory.mkdir(parents=True)
    short = pathlib.Path(f"/tmp/norikv-{os.getpid()}-{len(_short_names)}")
    short.unlink(missing_ok=True)  # of a process that was killed and had our number
    short.symlink_to(directory)
    _short_names.append(short)
    return short


class NodeTest(unittest.TestCase):
    """Tests that share one node; each class sets `flags` and the like."""

    flags = ()
    keep_ports = False
    node = None

    @classmethod
    def setUpClass(cls):
        cls.node = Node(make_directory(cls.__name__), *cls.flags, keep_ports=cls.keep_ports)
        cls.node.start()
        cls.addClassCleanup(cls._end_node)

    @classmethod
    def _end_node(cls):
        if cls.node.process is not None:
            code = cls.node.stop()
            if code != 0:
                raise AssertionError(f"norikv-server ended with {code}\n{cls.node.log_tail()}")


def sanitizer_reports(directory):
    """Lines in the logs below that a sanitizer or a failed assertion wrote."""
    found = []
    for path in directory.rglob("*.log"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if any(mark in line for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
                                             "WARNING: ThreadSanitizer", "runtime error:",
                                             '"assertion failed"')):
                found.append(f"{path}: {line}")
    return found


def main():
    """unittest.main, and at the end: reports of the sanitizers fail too, and the directory goes
    unless something failed."""
    outcome = unittest.main(module="__main__", exit=False, verbosity=1).result
    directory = own_work()
    reports = sanitizer_reports(directory) if directory.exists() else []
    for line in reports:
        print(line, file=sys.stderr)
    if outcome.wasSuccessful() and not reports:
        shutil.rmtree(directory, ignore_errors=True)
        sys.exit(0)
    print(f"kept for you: {directory}", file=sys.stderr)
    sys.exit(1)
