"""The architecture test: tidy.py CHECK SOURCE_DIRECTORY BUILD_DIRECTORY.

Prints one line a problem; ends with 1 if there is one."""

import sys

import files
import floors
import settings
import symbols
from tree import Tree

CHECKS = {
    "floors": (floors.check,),
    "homes": (symbols.check_homes,),
    "purity": (symbols.check_purity,),
    "simulator": (symbols.check_simulator,),
    "settings": (settings.check,),
    "links": (files.check_links,),
    "tree": (files.check_built, files.check_git, files.check_words, files.check_columns),
    "format": (files.check_format,),
}


def main(arguments):
    if len(arguments) != 3 or arguments[0] not in CHECKS:
        print(f"usage: tidy.py {'|'.join(CHECKS)} SOURCE_DIRECTORY BUILD_DIRECTORY",
              file=sys.stderr)
        return 2
    tree = Tree(arguments[1], arguments[2])
    problems = [problem for check in CHECKS[arguments[0]] for problem in check(tree)]
    for problem in problems:
        print(problem)
    print(f"tidy {arguments[0]}: {len(tree.files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
