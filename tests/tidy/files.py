"""The tree as text: dead links, sources that nothing builds, files that git does not have, words
that do not belong into a finished tree, long lines, formatting."""

import os
import re
import shutil
import subprocess

COLUMNS_MAX = 100
TEXT_ENDINGS = (".c", ".h", ".S", ".py", ".sh", ".proto", ".md", ".txt", ".yaml", ".yml", ".json",
                ".cmake", ".in")
CODE_ENDINGS = (".c", ".h", ".S", ".py", ".proto")

# Put together here, so that this file does not hold the words itself.
FORBIDDEN = {
    "unfinished work": re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b"),
    "a path of somebody's machine": re.compile(r"/wo" r"rk/|/ho" r"me/\w|\.\./sha" r"red"),
}


def _is_text(file):
    return file.endswith(TEXT_ENDINGS) or "." not in os.path.basename(file)


def check_links(tree):
    problems = []
    for file in tree.files:
        if file.endswith(".md"):
            text = _without_code(tree.read(file))
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if not re.match(r"\w+:", target) and not _link_holds(tree, file, target):
                    problems.append(f"{file}: dead link {target}")
    return problems


def _without_code(text):
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", without_blocks)


def _link_holds(tree, file, target):
    path, _, anchor = target.partition("#")
    linked = os.path.normpath(os.path.join(os.path.dirname(file), path)) if path else file
    if linked.startswith("..") or not tree.exists(linked):
        return False
    return not anchor or not linked.endswith(".md") or anchor in _anchors(tree.read(linked))


def _anchors(text):
    """The anchors that a forge makes of headings."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*?)\s*$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(words.replace(" ", "-"))
    return found


def check_built(tree):
    return [f"{file}: no CMakeLists.txt names it" for file in tree.files
            if file.endswith((".c", ".S")) and file not in tree.named_sources]


def check_git(tree):
    """A file that only this checkout has builds here and fails in every clone."""
    if not tree.is_git():
        return []
    unknown = tree.git_files("--others", "--exclude-standard")
    return [f"{file}: not in git" for file in unknown]


def check_words(tree):
    problems = []
    for file in tree.files:
        if not _is_text(file):
            continue
        for number, line in enumerate(tree.read(file).splitlines(), 1):
            for what, pattern in FORBIDDEN.items():
                match = pattern.search(line)
                if match:
                    problems.append(f"{file}:{number}: {what}: {match.group(0)}")
    return problems


def check_columns(tree):
    problems = []
    for file in tree.files:
        if file.endswith(CODE_ENDINGS):
            for number, line in enumerate(tree.read(file).splitlines(), 1):
                if len(line) > COLUMNS_MAX:
                    problems.append(f"{file}:{number}: {len(line)} columns, not {COLUMNS_MAX}")
    return problems


def check_format(tree):
    program = shutil.which("clang-format")
    if program is None:
        return ["clang-format is not installed (deploy/install-deps)"]
    sources = [tree.path(file) for file in tree.files if file.endswith((".c", ".h"))]
    if not sources:
        return []
    half = (len(sources) + 1) // 2
    runs = [subprocess.Popen([program, "--dry-run", *part], cwd=tree.source, text=True,
                             stderr=subprocess.PIPE)
            for part in (sources[:half], sources[half:]) if part]
    problems = {}
    for run in runs:
        for line in run.communicate()[1].splitlines():
            if "[-Wclang-format-violations]" in line:
                path, number = line.split(":")[:2]
                problems.setdefault(os.path.relpath(path, tree.source), number)
    return [f"{file}:{number}: not as clang-format writes it" for file, number in problems.items()]
