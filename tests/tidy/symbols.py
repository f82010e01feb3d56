"""The outside world has one home for each of its parts, and PURE libraries know none of it.

Homes are checked twice: by the headers that sources include, and by the undefined symbols of the
object files, which macros and hand-written prototypes cannot hide from."""

import os
import re
import subprocess
from collections import namedtuple

Family = namedtuple("Family", "name headers symbols homes")

# Symbols of which only the homes may leave one undefined.
FAMILIES = (
    Family("ZeroMQ", r"c?zmq.*\.h",
           r"c?zmq_.*|z(sock|msg|frame|poller|loop|actor|auth|cert|sys)_.*", ("common/env_zmq",)),
    Family("gRPC", r"grpc/.*", r"grpc_.*|gpr_.*", ("services/gateway/front_grpc", "tests")),
    Family("libmicrohttpd", r"microhttpd.h", r"MHD_.*",
           ("common/ops_http", "services/gateway/front_http")),
    # Its test writes what another version would have written.
    Family("LMDB", r"lmdb.h", r"mdb_.*", ("common/meta_lmdb", "tests/unit/meta_lmdb")),
    Family("threads, clocks and files of the system",
           r"pthread.h|threads.h|fcntl.h",
           r"pthread_.*|thrd_.*|mtx_.*|cnd_.*|clock_gettime|clock_nanosleep|gettimeofday|time|"
           r"nanosleep|usleep|sleep|open|open64|openat|openat64|creat|fopen|fopen64|fsync|"
           r"fdatasync|rename|renameat|unlink|unlinkat|fork|vfork|execv.*|posix_spawn.*|getrandom|"
           r"rand|srand|random|srandom",
           # front_grpc: the thread that waits for gRPC's events (services/gateway/README.md, D4).
           ("common/env_posix", "services/server", "services/gateway/front_grpc", "tests")),
)

PURE_SYMBOLS = {
    "memcpy", "memmove", "memset", "memcmp", "malloc", "calloc", "realloc", "free", "strlen",
    "strcmp", "strncmp", "nk_assert_fail",
    # The compiler's own: stack protection, position independence, processor features.
    "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_", "__cpu_model",
}
SANITIZER_SYMBOLS = re.compile(r"__(asan|ubsan|tsan|sanitizer|sancov|odr_asan|start___sancov|"
                               r"stop___sancov)_.*|__odr_asan\..*|___asan_.*|\.LASAN.*")
WRITABLE_SECTION = re.compile(r"(\.data|\.bss|\.tdata|\.tbss|\*COM\*)(\..*)?")
CONSTANT_SECTION = re.compile(r"\.data\.rel\.ro(\..*)?")  # constant once it is relocated

SYSTEM_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]+<([^>]+)>", re.MULTILINE)


class Symbol(namedtuple("Symbol", "member section name")):
    @property
    def undefined(self):
        return self.section == "*UND*"


def symbols_of(paths):
    """All symbols of object files and archives; `member` is the path of the file or the name of the
    archive's member."""
    if not paths:
        return []
    # objdump ends with 1 when a file is missing or no object file: an exception here.
    dump = subprocess.run(["objdump", "-t", *paths], check=True, capture_output=True, text=True)
    found = []
    member = None
    for line in dump.stdout.splitlines():
        header = re.fullmatch(r"(\S+):\s+file format .*", line)
        if header:
            member = header.group(1)
            continue
        entry = re.fullmatch(r"[0-9a-f]{8,16} .{7} (\S+)\t[0-9a-f]+(?: \.\w+)? +(\S+)", line)
        if entry:
            found.append(Symbol(member, entry.group(1), entry.group(2)))
    return found


def _is_home(file, family):
    return any(file == home or file.startswith(home + "/") for home in family.homes)


def check_includes(tree):
    problems = []
    for file in tree.files:
        if not file.endswith((".c", ".h")):
            continue
        for header in SYSTEM_INCLUDE.findall(tree.read(file)):
            for family in FAMILIES:
                if re.fullmatch(family.headers, header) and not _is_home(file, family):
                    problems.append(f"{file}: includes <{header}>; {family.name}: only in "
                                    + ", ".join(family.homes))
    return problems


def _objects(tree):
    """Object file -> its source, for all sources of common/ and services/ in the tree."""
    objects = {}
    for file in tree.files:
        if not file.endswith(".c") or not file.startswith(("common/", "services/")):
            continue
        directory, name = os.path.split(file)
        targets = os.path.join(tree.build, directory, "CMakeFiles")
        if os.path.isdir(targets):
            for target in sorted(os.listdir(targets)):
                path = os.path.join(targets, target, name + ".o")
                if os.path.exists(path):
                    objects[path] = file
    return objects


def check_homes(tree):
    problems = check_includes(tree)
    objects = _objects(tree)
    if not objects:
        return problems + [f"no object files below {tree.build}: build first"]
    for symbol in symbols_of(list(objects)):
        if not symbol.undefined:
            continue
        file = objects[symbol.member]
        for family in FAMILIES:
            if re.fullmatch(family.symbols, symbol.name) and not _is_home(file, family):
                problems.append(f"{file}: calls {symbol.name}; {family.name}: only in "
                                + ", ".join(family.homes))
    return problems


def _below(tree, library):
    """The library's dependencies, direct and indirect, that have an archive."""
    found = {}
    waiting = list(library.dependencies)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = tree.libraries[name]
            waiting.extend(tree.libraries[name].dependencies)
    return [lower for lower in found.values() if not lower.interface]


def check_purity(tree):
    problems = []
    sanitized = _is_sanitized(tree)
    for library in tree.libraries.values():
        if not library.pure or library.interface:
            continue
        archive = tree.archive_of(library)
        if not os.path.exists(archive):
            problems.append(f"{library.name}: {archive} is not built")
            continue
        own = symbols_of([archive])
        lower = symbols_of([tree.archive_of(below) for below in _below(tree, library)])
        known = PURE_SYMBOLS | {symbol.name for symbol in own + lower if not symbol.undefined}
        for symbol in own:
            if sanitized and SANITIZER_SYMBOLS.fullmatch(symbol.name):
                continue
            where = f"{library.name} ({symbol.member})"
            if symbol.undefined and symbol.name not in known:
                problems.append(f"{where}: PURE, but needs {symbol.name}")
            if _is_writable(symbol) and not symbol.name.startswith("."):
                problems.append(f"{where}: PURE, but {symbol.name} is writable data")
    return problems


def _is_writable(symbol):
    return (WRITABLE_SECTION.fullmatch(symbol.section) is not None
            and CONSTANT_SECTION.fullmatch(symbol.section) is None)


def _is_sanitized(tree):
    with open(os.path.join(tree.build, "CMakeCache.txt"), encoding="utf-8") as cache:
        return re.search(r"^NK_SANITIZE:\w+=.+$", cache.read(), re.MULTILINE) is not None


def check_simulator(tree):
    simulator = os.path.join(tree.build, "tests/sim/norikv-sim")
    if not os.path.exists(simulator):
        return [f"{simulator} is not built"]
    listing = subprocess.run(["readelf", "-d", simulator], check=True, capture_output=True,
                             text=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", listing)
    return [f"norikv-sim is linked with {library}: a part of the outside world reached the roles"
            for library in needed if re.match(r"lib(grpc|gpr|c?zmq|microhttpd|lmdb)", library)]
