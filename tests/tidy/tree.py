"""What every check looks at: the source tree, the libraries of floors.txt and the programs of
programs.txt, the words of the CMakeLists files, the object files of the build."""

import os
import re
import subprocess
from dataclasses import dataclass

SKIPPED_DIRECTORIES = {".git", "__pycache__", "corpus", "golden"}


@dataclass(frozen=True)
class Library:
    name: str
    floor: int
    pure: bool
    interface: bool  # headers only: there is no archive
    directory: str
    dependencies: tuple


@dataclass(frozen=True)
class Program:
    name: str
    directory: str
    dependencies: tuple


class Tree:
    """A source directory and its build directory.  All paths given out are relative to the source
    directory, with '/'."""

    def __init__(self, source, build):
        self.source = os.path.realpath(source)
        self.build = os.path.realpath(build)
        self.files = self._list_files()
        self.libraries = self._read_floors()
        self.named_sources = set()  # every .c and .S that some CMakeLists.txt names
        self.program_of_source = {}  # of those that no library has
        library_sources = self._read_cmake_lists()
        self._read_programs(library_sources)

    def path(self, relative):
        return os.path.join(self.source, relative)

    def read(self, relative):
        with open(self.path(relative), encoding="utf-8", errors="replace") as file:
            return file.read()

    def exists(self, relative):
        return os.path.exists(self.path(relative))

    def library_of(self, relative):
        """The library whose directory holds the file: the deepest one, or None."""
        directory = os.path.dirname(relative)
        while directory:
            for library in self.libraries.values():
                if library.directory == directory:
                    return library
            directory = os.path.dirname(directory)
        return None

    def archive_of(self, library):
        return os.path.join(self.build, library.directory, f"lib{library.name}.a")

    def is_git(self):
        return os.path.exists(self.path(".git"))

    def git_files(self, *options):
        listing = subprocess.run(
            ["git", "-c", f"safe.directory={self.source}", "ls-files", "-z", *options],
            cwd=self.source, check=True, capture_output=True, text=True).stdout
        return [name for name in listing.split("\0") if name]

    def _list_files(self):
        """Walked, not asked from git: a new file counts before it is committed."""
        found = []
        for directory, names, files in os.walk(self.source):
            names[:] = sorted(name for name in names if name not in SKIPPED_DIRECTORIES
                              and not (directory == self.source and name.startswith("build"))
                              and os.path.join(directory, name) != self.build)
            for name in sorted(files):
                found.append(os.path.relpath(os.path.join(directory, name), self.source))
        return found

    def _read_floors(self):
        libraries = {}
        with open(os.path.join(self.build, "floors.txt"), encoding="utf-8") as table:
            for line in table.read().split():
                name, floor, pure, interface, directory, dependencies = line.split("|")
                libraries[name] = Library(name, int(floor), pure == "TRUE", interface == "TRUE",
                                          directory, tuple(filter(None, dependencies.split(";"))))
        return libraries

    def _read_programs(self, library_sources):
        with open(os.path.join(self.build, "programs.txt"), encoding="utf-8") as table:
            for line in table.read().splitlines():
                name, directory, words, dependencies = line.split("|")
                sources = [self._source_of(word, directory) for word in words.split(";")
                           if word.endswith((".c", ".S"))]
                program = Program(name, directory, tuple(filter(None, dependencies.split(";"))))
                self.named_sources.update(sources)
                for source in sources:
                    if source not in library_sources:
                        self.program_of_source[source] = program

    def _read_cmake_lists(self):
        """Returns the sources of libraries."""
        library_sources = set()
        for file in self.files:
            if os.path.basename(file) != "CMakeLists.txt":
                continue
            directory = os.path.dirname(file)
            for command, words in cmake_commands(self.read(file)):
                sources = [self._source_of(word, directory) for word in words
                           if word.endswith((".c", ".S"))]
                self.named_sources.update(sources)
                if command == "nk_library":
                    library_sources.update(sources)
        return library_sources

    def _source_of(self, word, directory):
        if word.startswith(self.source + "/"):
            return os.path.relpath(word, self.source)
        word = re.sub(r"^\$\{(PROJECT|CMAKE)_SOURCE_DIR\}/", "/", word)
        word = re.sub(r"^\$\{CMAKE_CURRENT_(SOURCE|LIST)_DIR\}/", "", word)
        return os.path.normpath(os.path.join("/", directory, word)).lstrip("/")


def cmake_commands(text):
    """(command, words) of each call in a CMakeLists.txt.  Control flow is not followed."""
    text = re.sub(r"#.*", "", text)
    for call in re.finditer(r"(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text):
        words = [word.strip('"') for word in call.group(2).split()]
        yield call.group(1), words
