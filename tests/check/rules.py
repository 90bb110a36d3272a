# SPDX-License-Identifier: GPL-2.0-only
"""The rules of the tree, as functions.

Each takes the tree's root and yields (place, what is wrong) for every breach.
tests/check/selftest plants a breach of each and sees it found.
"""

import re
import subprocess
from pathlib import Path

# Which layer may include which, beside itself: the arrows of the architecture.
ARROWS = {
    "base": set(),
    "bpf": set(),
    "match": {"base", "bpf"},
    "dataplane": {"base", "bpf", "match"},
    "policy": {"base", "bpf", "match", "dataplane"},
    "net": {"base"},
    "cap": {"base", "bpf", "match", "dataplane", "policy", "net"},
    "daemon": {"base", "bpf", "match", "dataplane", "policy", "net", "cap"},
    "cli": {"base", "bpf", "match", "dataplane", "policy", "net", "cap", "daemon"},
}
# The libraries that only some layers may see (cli: to print their versions).
LIBRARIES = {
    r"<bpf/(bpf|libbpf|btf)\.h>": {"dataplane", "policy", "cap", "cli"},
    r"<pcap(/[a-z]+)?\.h>": {"dataplane", "cap", "cli"},
    r"<ares\.h>": {"net", "cli"},
    r"<yaml\.h>": {"cap", "cli"},
    r"<microhttpd\.h>": {"net", "cli"},
    r"<jansson\.h>": {"cap", "cli"},
}

FUNCTION_LINES = 90
COLUMNS = 100
TAB = 8
SOURCE_DIRS = ["src", "tests", "tools", "bench", "packaging", ".ci", "docs"]
NO_LICENCE_LINE = {".md", ".svg", ".json", ".txt", ".pcap", ".pcapng", ".fmt"}


def sources(root, *dirs, suffixes=None):
    """Text files below @dirs, corpora and generated things left out."""
    for name in dirs:
        base = Path(root) / name
        if not base.is_dir():
            continue
        for path in sorted(base.rglob("*")):
            parts = path.relative_to(root).parts
            if not path.is_file() or "__pycache__" in parts or "corpus" in parts:
                continue
            if suffixes and path.suffix not in suffixes:
                continue
            yield path


def c_files(root, *dirs):
    return sources(root, *dirs, suffixes={".c", ".h"})


def place(root, path, line=None):
    where = str(path.relative_to(root))
    return f"{where}:{line}" if line else where


def strip_comments(text):
    """Comments and string contents blanked, line numbers kept."""
    def blank(match):
        word = match.group(0)
        if word[0] == '"':
            return '"' + " " * (len(word) - 2) + '"'
        if word[0] == "'":
            return word
        return re.sub(r"[^\n]", " ", word)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text,
                  flags=re.S)


def layers(root):
    """Includes are rooted at src/ and follow the arrows; no capability sees another."""
    src = Path(root) / "src"
    for path in c_files(root, "src"):
        parts = path.relative_to(src).parts
        layer = parts[0]
        if layer not in ARROWS:
            yield place(root, path), f"'{layer}' is no layer: one of {', '.join(ARROWS)}"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*(".*?"|<.*?>)', line)
            if not match:
                continue
            name = match[1]
            for pattern, allowed in LIBRARIES.items():
                if re.fullmatch(pattern, name) and layer not in allowed:
                    yield place(root, path, number), f"layer {layer} may not include {name}"
            if name[0] != '"' or name.endswith('.skel.h"'):
                continue
            target = name[1:-1].split("/")
            if len(target) < 2 or target[0] not in ARROWS:
                yield place(root, path, number), f"{name} is not rooted at src/: name its layer"
            elif target[0] != layer and target[0] not in ARROWS[layer]:
                yield place(root, path, number), f"layer {layer} may not include {name}"
            elif target[0] == layer == "cap" and target[1] != parts[1]:
                yield (place(root, path, number),
                       f"capability {parts[1]} may not include {name}: move it down a layer")


def own_header_first(root):
    """x.c includes x.h before anything else, so that every header stands by itself."""
    for path in sources(root, "src", suffixes={".c"}):
        own = path.with_suffix(".h")
        if path.name.endswith(".bpf.c") or not own.exists():
            continue
        first = re.search(r'^\s*#\s*include\s*(\S+)', path.read_text(), re.M)
        wanted = f'"{own.relative_to(Path(root) / "src")}"'
        if first and first[1] != wanted:
            yield place(root, path), f"includes {first[1]} before {wanted}"


def pragma_once(root):
    """Every header is guarded by #pragma once."""
    for path in sources(root, "src", suffixes={".h"}):
        if not re.search(r"^#pragma once$", path.read_text(), re.M):
            yield place(root, path), "no #pragma once"


def licence(root):
    """Every source names its licence in the first two lines."""
    for path in sources(root, *SOURCE_DIRS):
        if path.suffix in NO_LICENCE_LINE or path.suffix == ".scd":
            continue
        try:
            head = path.read_text().split("\n", 2)[:2]
        except UnicodeDecodeError:
            continue
        if not any("SPDX-License-Identifier: GPL-2.0-only" in line for line in head):
            yield place(root, path), "no SPDX-License-Identifier in the first two lines"


def function_length(root):
    """No function of C is longer than FUNCTION_LINES."""
    for path in c_files(root, "src", "tests", "bench"):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start - 1 > FUNCTION_LINES:
                    yield (place(root, path, start),
                           f"a function of {number - start - 1} lines: {FUNCTION_LINES} at most")
                start = None


def columns(root):
    """No line is wider than COLUMNS, but for a message that is kept whole for grep."""
    for path in c_files(root, "src", "tests", "bench"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            width = len(line.expandtabs(TAB))
            if width > COLUMNS and not re.search(r'"(\\.|[^"\\]){40,}"', line):
                yield place(root, path, number), f"{width} columns: {COLUMNS} at most"


def whitespace(root):
    """No trailing blanks; text ends in a newline."""
    for path in sources(root, *SOURCE_DIRS):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip() and path.suffix not in {".md", ".txt"}:
                yield place(root, path, number), "blanks at the end of the line"
        if text and not text.endswith("\n"):
            yield place(root, path), "no newline at the end"


def unfinished(root):
    """Nothing is left for later in the code."""
    word = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
    for path in sources(root, *SOURCE_DIRS):
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            match = word.search(line)
            if match:
                yield place(root, path, number), f"{match[1]}: finish it, or leave it out"


def enums(root):
    """name -> its enumerators, for every enum of src/ written out as such."""
    found = {}
    for path in c_files(root, "src"):
        text = strip_comments(path.read_text())
        for match in re.finditer(r"\benum\s+(\w+)\s*\{(.*?)\}", text, re.S):
            words = [w.split("=")[0].strip() for w in match[2].split(",")]
            found[match[1]] = [w for w in words if re.fullmatch(r"[A-Z]\w*", w)]
    return found


def tables(root):
    """A table of words indexed by an enum has one for every value of it.

    A value that stands for "none" may lack one, and so may the last, which counts
    the others. A table that means to be partial is not of `const char *const`.
    Two enums that never meet may share a word: a table is over the one that has most
    of its words.
    """
    every = enums(root)
    for path in c_files(root, "src"):
        text = strip_comments(path.read_text())
        for match in re.finditer(r"const char \*const \w+\[\w*\]\s*=\s*\{(.*?)\}\s*;", text, re.S):
            have = re.findall(r"\[\s*([A-Z]\w+)\s*\]\s*=", match[1])
            shared = {name: len(set(have) & set(words)) for name, words in every.items()}
            most = max(shared.values(), default=0)
            for name in sorted(name for name in shared if most and shared[name] == most):
                words = every[name]
                if re.search(r"(_MAX|_COUNT|S)$", words[-1]):
                    words = words[:-1]
                for word in words:
                    if word not in have and not re.search(r"(^|_)(NONE|NO|UNKNOWN)(_|$)", word):
                        line = text.count("\n", 0, match.start()) + 1
                        yield place(root, path, line), f"the table over enum {name} lacks {word}"


def man_pages(root):
    """Every man page builds, and man reads it without a warning."""
    for path in sources(root, "src", "docs", suffixes={".scd"}):
        with open(path, "rb") as page:
            made = subprocess.run(["scdoc"], stdin=page, capture_output=True)
        if made.returncode:
            yield place(root, path), made.stderr.decode().strip()
            continue
        read = subprocess.run(
            ["man", "--warnings=w", "--local-file", "-P", "cat", "-"], input=made.stdout,
            capture_output=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANWIDTH": "80",
                                      "MANROFFSEQ": ""})
        for line in read.stderr.decode().splitlines():
            yield place(root, path), line


def verb_pages(root):
    """Every verb of the table in src/cli has a man page."""
    pages = {path.stem.split(".")[0] for path in sources(root, "src", "docs", suffixes={".scd"})}
    for path in sources(root, "src/cap", suffixes={".c"}):
        for match in re.finditer(r"const struct weir_verb \w+ = \{\s*\.name = \"(\w+)\"",
                                 path.read_text()):
            if f"weir-{match[1]}" not in pages:
                yield place(root, path), f"verb {match[1]} has no man page weir-{match[1]}.8.scd"


def shell_scripts(root):
    """shellcheck warns of nothing in any shell script."""
    scripts = []
    for path in sources(root, *SOURCE_DIRS):
        try:
            with open(path, encoding="utf-8") as text:
                first = text.readline()
        except UnicodeDecodeError:
            continue
        if path.suffix in {".sh", ".bash"} or re.match(r"#!/bin/(ba)?sh\b", first):
            scripts.append(path)
    if not scripts:
        return
    found = subprocess.run(["shellcheck", "--severity=warning", "--format=gcc", *scripts], capture_output=True, text=True)
    for line in found.stdout.splitlines():
        yield line.replace(f"{root}/", ""), "shellcheck"


RULES = [layers, own_header_first, pragma_once, licence, function_length, columns, whitespace,
         unfinished, tables, man_pages, verb_pages, shell_scripts]
