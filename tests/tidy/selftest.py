"""Each check of tidy passes on a small healthy house and fails when one thing in it is wrong."""

import os
import shutil
import subprocess
import tempfile
import textwrap
import unittest

import files
import floors
import settings
import symbols
from tree import Tree

FLOORS = """\
nk_base|0|TRUE|FALSE|common/base|
engine|2|TRUE|FALSE|services/role/engine|nk_base
other|2|FALSE|FALSE|services/role/other|nk_base
role|4|FALSE|FALSE|services/role|engine;nk_base
"""

PROGRAMS = "role-main|services/role|main.c|role\n"

HEALTHY = {
    "README.md": "# House\n\n[the engine](services/role/engine/README.md#how-it-works)\n",
    "CMakeLists.txt": "project(house C)\n",
    "common/base/CMakeLists.txt": "nk_library(nk_base FLOOR 0 PURE SOURCES base.c)\n",
    "common/base/base.h": "#pragma once\n\nint nk_base(void);\n",
    "common/base/base.c": """\
        #include "common/base/base.h"

        int nk_base(void)
        {
            return 1;
        }
        """,
    "services/role/engine/README.md": "# Engine\n\n## How it works\n",
    "services/role/engine/CMakeLists.txt":
        "nk_library(engine FLOOR 2 PURE SOURCES engine.c DEPS nk_base) # the heart\n",
    "services/role/engine/engine.h": "#pragma once\n\nint engine_run(int number);\n",
    "services/role/engine/private.h": "#pragma once\n",
    "services/role/engine/engine.c": """\
        #include "services/role/engine/engine.h"

        #include <string.h>

        #include "common/base/base.h"

        #include "private.h"

        static const char *const names[] = {"one", "two"};

        int engine_run(int number)
        {
            return nk_base() + (int)strlen(names[number & 1]);
        }
        """,
    "services/role/other/other.h": "#pragma once\n",
    "services/role/CMakeLists.txt": """\
        nk_library(role FLOOR 4 SOURCES role.c DEPS engine nk_base)
        nk_program(role-main SOURCES main.c DEPS role)
        """,
    "services/role/role.h": "#pragma once\n\nint role_run(void);\n",
    "services/role/role.c": """\
        #include "services/role/role.h"

        #include "services/role/engine/engine.h"

        int role_run(void)
        {
            return engine_run(1);
        }
        """,
    "services/role/main.c": """\
        #include "services/role/role.h"

        int main(void)
        {
            return role_run();
        }
        """,
}

ARCHIVES = {
    "nk_base": ("common/base", "base.c"),
    "engine": ("services/role/engine", "engine.c"),
    "role": ("services/role", "role.c"),
}


class House:
    """A healthy house in a temporary directory, to be spoilt by a test."""

    def __init__(self, directory):
        self.source = os.path.join(directory, "source")
        self.build = os.path.join(directory, "build")
        for file, text in HEALTHY.items():
            self.write(file, text)
        self._write(os.path.join(self.build, "floors.txt"), FLOORS)
        self._write(os.path.join(self.build, "programs.txt"), PROGRAMS)
        self._write(os.path.join(self.build, "CMakeCache.txt"), "NK_SANITIZE:STRING=\n")

    @staticmethod
    def _write(path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))

    def write(self, file, text):
        self._write(os.path.join(self.source, file), text)

    def append(self, file, text):
        with open(os.path.join(self.source, file), "a", encoding="utf-8") as out:
            out.write(text)

    def compile(self, *spoilt):
        """Objects and archives where CMake would put them; only the spoilt libraries differ from
        those of the healthy house."""
        for name in ARCHIVES:
            built = self.compile_one(name) if name in spoilt else HEALTHY_OBJECTS[name]
            directory, source = ARCHIVES[name]
            target = os.path.join(self.build, directory, "CMakeFiles", name + ".dir")
            os.makedirs(target)
            shutil.copy(built, os.path.join(target, source + ".o"))
            archive = os.path.join(self.build, directory, f"lib{name}.a")
            subprocess.run(["ar", "rcs", archive, os.path.join(target, source + ".o")], check=True)

    def compile_one(self, name):
        directory, source = ARCHIVES[name]
        built = os.path.join(self.build, name + ".o")
        subprocess.run(["gcc", "-I", self.source, "-fno-builtin", "-c", "-o", built,
                        os.path.join(self.source, directory, source)], check=True)
        return built

    def problems(self, check):
        return check(Tree(self.source, self.build))


HEALTHY_OBJECTS = {}


def setUpModule():
    directory = tempfile.TemporaryDirectory(prefix="norikv-tidy-")
    unittest.addModuleCleanup(directory.cleanup)
    house = House(directory.name)
    for name in ARCHIVES:
        HEALTHY_OBJECTS[name] = house.compile_one(name)


class TidyTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="norikv-tidy-")
        self.addCleanup(directory.cleanup)
        self.house = House(directory.name)

    def expect(self, check, *pieces):
        """Exactly one problem, with these pieces of text; no pieces: none."""
        problems = self.house.problems(check)
        self.assertEqual(len(problems), 1 if pieces else 0, problems)
        for piece in pieces:
            self.assertIn(piece, problems[0])


class Floors(TidyTest):
    def test_the_healthy_house_passes(self):
        self.expect(floors.check)

    def test_an_upward_include_is_found(self):
        self.house.append("services/role/engine/engine.c", '#include "services/role/role.h"\n')
        self.expect(floors.check, "engine/engine.c", "does not declare role", "floor 2 to floor 4")

    def test_an_upward_include_in_a_header_is_found(self):
        self.house.append("common/base/base.h", '  #  include "services/role/engine/engine.h"\n')
        self.expect(floors.check, "common/base/base.h", "does not declare engine")

    def test_an_undeclared_neighbour_is_found(self):
        self.house.append("services/role/role.c", '#include "services/role/other/other.h"\n')
        self.expect(floors.check, "role.c", "does not declare other")

    def test_a_private_header_is_found(self):
        self.house.append("services/role/role.c", '#include "services/role/engine/private.h"\n')
        self.expect(floors.check, "private to its directory")

    def test_a_program_is_bound_too(self):
        self.house.append("services/role/main.c", '#include "services/role/engine/engine.h"\n')
        self.expect(floors.check, "role-main does not declare engine")

    def test_a_program_that_a_function_made_elsewhere_is_bound_too(self):
        source = os.path.join(self.house.source, "services/role/main.c")
        self.house.write("services/role/CMakeLists.txt",
                         "nk_library(role FLOOR 4 SOURCES role.c DEPS engine nk_base)\n")
        for word in ("role/main.c", source):
            with self.subTest(word):
                self.house._write(os.path.join(self.house.build, "programs.txt"),
                                  f"role-main|services|{word}|role\n")
                self.expect(floors.check)
        self.house.append("services/role/main.c", '#include "services/role/engine/engine.h"\n')
        self.expect(floors.check, "role-main does not declare engine")

    def test_a_program_with_a_librarys_source_does_not_free_the_library(self):
        self.house._write(os.path.join(self.house.build, "programs.txt"),
                          PROGRAMS + "planted|tests/sim|../../services/role/role.c|role;other\n")
        self.house.append("services/role/role.c", '#include "services/role/other/other.h"\n')
        self.expect(floors.check, "role does not declare other")

    def test_a_library_below_sees_the_private_headers_of_what_it_declares(self):
        self.house._write(os.path.join(self.house.build, "floors.txt"),
                          FLOORS + "front|5|FALSE|FALSE|services/role/front|role\n")
        self.house.write("services/role/status.h", "#pragma once\n")
        self.house.write("services/role/front/front.c", '#include "services/role/status.h"\n')
        self.expect(floors.check)
        self.house.append("services/role/engine/engine.c", '#include "services/role/status.h"\n')
        self.expect(floors.check, "engine does not declare role")

    def test_a_header_that_the_build_makes_is_there(self):
        self.house.append("services/role/role.c", '#include "made/role.pb-c.h"\n')
        self.expect(floors.check, "no such file")
        self.house._write(os.path.join(self.house.build, "services/role/made/role.pb-c.h"), "")
        self.expect(floors.check)

    def test_a_bare_name_of_another_directory_is_found(self):
        self.house.append("services/role/role.c", '#include "engine.h"\n')
        self.expect(floors.check, "not in this directory")

    def test_a_missing_header_is_found(self):
        self.house.append("services/role/role.c", '#include "services/role/gone.h"\n')
        self.expect(floors.check, "no such file")

    def test_tests_are_for_tests_only(self):
        self.house.write("tests/sim/fs.h", "#pragma once\n")
        self.house.append("services/role/role.c", '#include "tests/sim/fs.h"\n')
        self.expect(floors.check, "tests are used by tests only")

    def test_unit_tests_see_private_headers_and_the_simulator_does_not(self):
        private = '#include "services/role/engine/private.h"\n'
        self.house.write("tests/unit/engine/engine_test.c", private)
        self.expect(floors.check)
        self.house.write("tests/sim/world.c", private)
        self.expect(floors.check, "tests/sim/world.c", "private to its directory")


class Homes(TidyTest):
    def test_the_healthy_house_passes(self):
        self.house.compile()
        self.expect(symbols.check_homes)

    def test_nothing_built_is_no_success(self):
        self.expect(symbols.check_homes, "build first")

    def test_a_call_outside_its_home_is_found(self):
        for call, family in (("zmq_ctx_new", "ZeroMQ"), ("czmq_version", "ZeroMQ"),
                             ("grpc_init", "gRPC"), ("gpr_free", "gRPC"), ("mdb_env_open", "LMDB"),
                             ("MHD_start_daemon", "libmicrohttpd"), ("pthread_create", "threads"),
                             ("clock_gettime", "clocks"), ("fdatasync", "files"),
                             ("openat", "files")):
            with self.subTest(call):
                self.setUp()
                self.house.append("services/role/role.c",
                                  f"void {call}(void);\nvoid hidden(void)\n{{\n    {call}();\n}}\n")
                self.house.compile("role")
                self.expect(symbols.check_homes, "services/role/role.c", call, family)

    def test_a_header_outside_its_home_is_found(self):
        for header in ("zmq.h", "czmq.h", "grpc/grpc.h", "microhttpd.h", "lmdb.h", "pthread.h"):
            with self.subTest(header):
                self.setUp()
                self.house.append("services/role/role.h", f"#include <{header}>\n")
                self.expect(symbols.check_includes, "services/role/role.h", header)

    def test_a_home_may(self):
        self.house.write("common/env_zmq/net_zmq.c", "#include <zmq.h>\n")
        self.house.write("services/gateway/front_grpc/server.c", "#include <grpc/grpc.h>\n")
        self.expect(symbols.check_includes)


class Purity(TidyTest):
    def test_the_healthy_house_passes(self):
        self.house.compile()
        self.expect(symbols.check_purity)

    def test_nothing_built_is_no_success(self):
        problems = self.house.problems(symbols.check_purity)
        self.assertEqual(len(problems), 2)
        self.assertIn("is not built", problems[0])

    def spoil(self, text):
        self.house.append("services/role/engine/engine.c", text)
        self.house.compile("engine")

    def test_a_writable_global_is_found(self):
        self.spoil("int engine_count;\n")
        self.expect(symbols.check_purity, "engine.c.o", "engine_count is writable data")

    def test_an_initialised_static_is_found(self):
        self.spoil("static int last = 4;\nint engine_last(void)\n{\n    return last++;\n}\n")
        self.expect(symbols.check_purity, "last is writable data")

    def test_a_thread_local_is_found(self):
        self.spoil("_Thread_local int engine_mine;\n")
        self.expect(symbols.check_purity, "engine_mine is writable data")

    def test_a_common_symbol_is_found(self):
        self.spoil("__attribute__((common)) int engine_common;\n")
        self.expect(symbols.check_purity, "engine_common is writable data")

    def test_a_call_to_the_system_is_found(self):
        self.spoil("long time(long *);\nlong engine_now(void)\n{\n    return time(0);\n}\n")
        self.expect(symbols.check_purity, "needs time")

    def test_a_call_to_a_higher_floor_is_found(self):
        self.spoil("int role_run(void);\nint engine_up(void)\n{\n    return role_run();\n}\n")
        self.expect(symbols.check_purity, "needs role_run")


class Simulator(TidyTest):
    def link(self, *libraries):
        source = os.path.join(self.house.source, "services/role/role.c")
        target = os.path.join(self.house.build, "tests/sim/norikv-sim")
        os.makedirs(os.path.dirname(target))
        subprocess.run(["gcc", "-shared", "-fPIC", "-I", self.house.source, "-Wl,--no-as-needed",
                        "-o", target, source, *libraries], check=True)

    def test_a_closed_simulator_passes(self):
        self.link("-lpthread")
        self.expect(symbols.check_simulator)

    def test_the_outside_world_is_found(self):
        self.link("-lzmq")
        self.expect(symbols.check_simulator, "libzmq")

    def test_nothing_built_is_no_success(self):
        self.expect(symbols.check_simulator, "is not built")


class Files(TidyTest):
    def test_the_healthy_house_passes(self):
        for check in (files.check_links, files.check_built, files.check_git, files.check_words,
                      files.check_columns):
            self.expect(check)

    def test_dead_links_are_found(self):
        for link in ("gone.md", "services/role/engine/README.md#gone", "../outside.md", "#nowhere"):
            with self.subTest(link):
                self.setUp()
                self.house.append("README.md", f"[dead]({link})\n")
                self.expect(files.check_links, "README.md", link)

    def test_links_out_of_the_house_and_in_code_are_not_judged(self):
        self.house.append("README.md", "[x](https://x.example/y)\n```\n[a](b)\n```\n`[c](d)`\n")
        self.expect(files.check_links)

    def test_a_source_that_nothing_builds_is_found(self):
        self.house.write("services/role/engine/forgotten.c", "")
        self.expect(files.check_built, "forgotten.c")

    def test_a_source_in_a_comment_is_not_built(self):
        self.house.write("services/role/engine/forgotten.c", "")
        self.house.append("services/role/engine/CMakeLists.txt", "# forgotten.c\n")
        self.expect(files.check_built, "forgotten.c")

    def test_a_source_of_a_program_is_built(self):
        self.house.write("services/role/made.c", "")
        self.expect(files.check_built, "made.c")
        self.house._write(os.path.join(self.house.build, "programs.txt"),
                          PROGRAMS + "role-made|services|role/made.c|role\n")
        self.expect(files.check_built)

    def test_a_file_that_git_does_not_have_is_found(self):
        for command in (["init", "-q"], ["add", "."]):
            subprocess.run(["git", *command], cwd=self.house.source, check=True)
        self.expect(files.check_git)
        self.house.write("services/role/new.c", "")
        self.expect(files.check_git, "services/role/new.c")

    def test_forbidden_words_are_found(self):
        for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX", "/wo" + "rk/", "../sha" + "red"):
            with self.subTest(word):
                self.setUp()
                self.house.append("services/role/role.c", f"/* {word} later */\n")
                self.expect(files.check_words, "services/role/role.c:", word)

    def test_a_long_line_is_found(self):
        self.house.append("services/role/role.c", f"/* {'x' * 94} */\n")
        self.expect(files.check_columns)
        self.house.append("services/role/role.c", f"/* {'ä' * 95} */\n")
        self.expect(files.check_columns, "101 columns")

    def test_formatting_is_checked(self):
        self.house.write(".clang-format", "BasedOnStyle: LLVM\nIndentWidth: 4\n"
                         "BreakBeforeBraces: Linux\nSortIncludes: false\n"
                         "AllowShortFunctionsOnASingleLine: None\n")
        self.expect(files.check_format)
        self.house.append("services/role/role.c", "int  badly;\n")
        self.expect(files.check_format, "services/role/role.c")


class Settings(TidyTest):
    TABLE = """\
        static const struct config_key keys[] = {
            {.name = "role.count",
             FIELD(role.count),
             .help = "how many"},
            {.name = "role.later",
             FIELD(role.later),
             .unused = true,
             .help = "some day"},
        };
        """
    README = "| `role.count` | 1 |\n| `role.later` | 2 | not used yet |\n"

    def setUp(self):
        super().setUp()
        self.house.write("common/config/table.c", self.TABLE)
        self.house.write("common/config/README.md", self.README)
        self.house.append("services/role/role.c", "int count = config->role.count;\n")

    def test_the_healthy_house_passes(self):
        self.expect(settings.check)

    def test_a_key_that_nothing_reads_is_found(self):
        self.house.write("services/role/role.c", "int count = config->role.counter;\n")
        self.expect(settings.check, "role.count: nothing reads it")

    def test_a_reader_inside_the_library_is_none(self):
        self.house.write("services/role/role.c", "")
        self.house.write("common/config/check.c", "int count = config->role.count;\n")
        self.expect(settings.check, "role.count: nothing reads it")

    def test_a_key_that_is_not_listed_is_found(self):
        self.house.write("common/config/README.md", "| `role.later` | 2 | not used yet |\n")
        self.expect(settings.check, "role.count is not listed")

    def test_a_listed_key_that_is_none_is_found(self):
        self.house.append("common/config/README.md", "| `role.gone` | 3 |\n")
        self.expect(settings.check, "role.gone is no key")

    def test_a_key_without_use_must_say_so(self):
        self.house.write("common/config/README.md", "| `role.count` | 1 |\n| `role.later` | 2 |\n")
        self.expect(settings.check, "role.later", "not used yet")

    def test_no_keys_at_all_is_no_success(self):
        self.house.write("common/config/table.c", "")
        self.expect(settings.check, "no keys found")


if __name__ == "__main__":
    unittest.main()
