"""What ThreadSanitizer has to be told about the libraries of the system, which were not built with
it: their own synchronisation is invisible to it, so everything that they do looks like a race.

Our code is watched all the same; where memory passes through a library from one thread of ours to
another, the code says so (services/gateway/front_grpc/front.h, common/env_zmq)."""

import os
import re
import subprocess
import tempfile

INSTRUMENTED = re.compile(r"(libc|libm|libdl|libpthread|librt|libresolv|libgcc_s)\.so")
ROLES = ("gateway", "shardhost", "gossip", "admin", "server")


def is_used(build):
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    return re.search(r"^NK_SANITIZE:\w+=thread$", cache, re.MULTILINE) is not None


def libraries(build):
    """All that the programs are linked with, by what ldd prints."""
    found = set()
    for role in ROLES:
        listing = subprocess.run(["ldd", build / "services" / role / f"norikv-{role}"], check=True,
                                 capture_output=True, text=True).stdout
        found.update(re.findall(r"^\s*(lib\S+) =>", listing, re.MULTILINE))
    return sorted(name for name in found if not INSTRUMENTED.match(name))


def options(build):
    """The value of TSAN_OPTIONS.  Several test programs may start at once, so the file is renamed
    into place."""
    lines = [f"called_from_lib:{name}" for name in libraries(build)]
    lines += ["race:libgrpc.so", "deadlock:libgrpc.so", "deadlock:libzmq.so"]
    place = build / "tests/system/tsan.suppressions"
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
        file.write("\n".join(lines) + "\n")
    os.replace(file.name, place)
    return f"suppressions={place}:" + os.environ.get("TSAN_OPTIONS", "")
