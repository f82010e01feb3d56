"""Who may include whom.

A file of a library includes its own directory, and of the libraries that it declares as
dependencies the header named after their directory (raft/raft.h).  The ground and the contracts
(OPEN_DIRECTORIES) are open: any header; so is a directory to the libraries below it, as a role to
its fronts.  Programs in services/ are bound in the same way; tests may look at private headers,
except for the simulator, which is a host like any other."""

import os
import re

OPEN_DIRECTORIES = {"common/base", "common/env", "common/service", "proto"}
FREE_TESTS = ("tests/unit/", "tests/fuzz/", "tests/script/", "tests/stress/", "tests/bench/")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)


def check(tree):
    problems = []
    for file in tree.files:
        if file.endswith((".c", ".h")):
            for target in INCLUDE.findall(tree.read(file)):
                problem = _judge(tree, file, target)
                if problem:
                    problems.append(f'{file}: includes "{target}": {problem}')
    return problems


def _judge(tree, file, target):
    directory = os.path.dirname(file)
    if "/" not in target:
        if tree.exists(f"{directory}/{target}"):
            return None
        return "not in this directory; other directories are named from the root"
    if target.startswith("proto/norikv/"):
        home = next((library for library in tree.libraries.values()
                     if library.directory == "proto"), None)
    elif not tree.exists(target):
        made = os.path.exists(os.path.join(tree.build, directory, target))
        return None if made else "no such file"
    else:
        home = tree.library_of(target)
    if target.startswith("tests/"):
        return None if file.startswith("tests/") else "tests are used by tests only"
    if home is None:
        return "belongs to no library"
    if file.startswith(FREE_TESTS):
        return None
    return _judge_dependency(tree, file, target, home)


def _judge_dependency(tree, file, target, home):
    program = tree.program_of_source.get(file)
    library = None if program else tree.library_of(file)
    if library is home or (program and os.path.dirname(target) == program.directory):
        return None
    if not file.startswith("tests/"):
        user = program or library
        if user is None:
            return f"{file} belongs to no library or program"
        if home.name not in user.dependencies:
            floors = f" (floor {library.floor} to floor {home.floor})" if library else ""
            return f"{user.name} does not declare {home.name}{floors}"
    named = f"{home.directory}/{os.path.basename(home.directory)}.h"
    inside = os.path.dirname(file).startswith(home.directory + "/")
    if home.directory not in OPEN_DIRECTORIES and not inside and target != named:
        return f"private to its directory; outside only {named} is for others"
    return None
