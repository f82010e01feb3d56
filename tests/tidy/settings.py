"""Every setting does what it says, or says that it does nothing yet.

A key of common/config/table.c that is not marked `unused` is read somewhere outside of that
library, and one that is marked says so in common/config/README.md, as that lists every key."""

import re

TABLE = "common/config/table.c"
README = "common/config/README.md"
UNUSED_WORDS = "not used yet"

ROW = re.compile(r'\{\.name = "([^"]+)",(.*?)\},\n', re.DOTALL)
FIELD = re.compile(r"\bFIELD\(([\w.]+)\)")
READ = re.compile(r"\bconfig(?:->|\.)(\w+(?:\.\w+)*)")
README_ROW = re.compile(r"^\| `([\w.]+)` \|(.*)\|$", re.MULTILINE)


def keys_of(tree):
    """(name, field of struct nk_config, whether it is marked unused) of each row."""
    found = []
    for name, row in ROW.findall(tree.read(TABLE)):
        found.append((name, FIELD.search(row).group(1), ".unused = true" in row))
    return found


def check(tree):
    keys = keys_of(tree)
    if not keys:
        return [f"{TABLE}: no keys found"]
    read = {field for file in tree.files
            if file.endswith((".c", ".h")) and file.startswith(("common/", "services/"))
            and not file.startswith("common/config/")
            for field in READ.findall(tree.read(file))}
    listed = dict(README_ROW.findall(tree.read(README)))
    problems = []
    for name, field, unused in keys:
        is_read = any(path == field or path.startswith(field + ".") for path in read)
        if not unused and not is_read:
            problems.append(f"{TABLE}: {name}: nothing reads it")
        if name not in listed:
            problems.append(f"{README}: {name} is not listed")
        elif (UNUSED_WORDS in listed[name]) != unused:
            problems.append(f"{README}: {name}: \"{UNUSED_WORDS}\" and {TABLE} differ")
    names = {name for name, _, _ in keys}
    problems.extend(f"{README}: {name} is no key" for name in listed if name not in names)
    return problems
