# SPDX-License-Identifier: GPL-2.0-only
"""The documents say what the program does: man pages against the tables that the
program prints, README's commands by running them, links by following them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
# Verbs that weir(8) itself describes.
IN_WEIR_8 = {"help", "version"}
DOCUMENTS = sorted(p for pattern in ("*.md", "docs/*.md", "docs/adr/*.md") for p in TOP.glob(pattern))

sys.path.insert(0, str(TOP / "tests" / "check"))
sys.dont_write_bytecode = True
import rules  # noqa: E402


def weir(*args, **options):
    return subprocess.run([WEIR, *args], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **options)


def table(*args):
    """What completion is made from: one list of columns a line, "-" for none."""
    done = weir("help", "--complete", *args)
    assert done.returncode == 0, done
    return [line.split("\t") for line in done.stdout.splitlines()]


VERBS = [row[0] for row in table()]
PAGES = {path.name.split(".")[0]: path for path in TOP.glob("src/**/*.scd")}


def section(page, title):
    text = PAGES[page].read_text()
    match = re.search(rf"^# {title}\n(.*?)(?=^# |\Z)", text, re.M | re.S)
    assert match, f"{page} has no section {title}"
    return match[1]


def plain(text):
    """Without scdoc's marks."""
    return re.sub(r"(?<!\w)_|_(?!\w)|[*\\]", "", text)


def headings(page):
    """Of OPTIONS: (the line that names options, the text below it)."""
    return re.findall(r"^(\*-.*)\n((?:\t.*\n|\n(?=\t))*)", section(page, "OPTIONS"), re.M)


# --- man pages --------------------------------------------------------------

@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_described(verb):
    if verb in IN_WEIR_8:
        assert f"\n*{verb}*" in section("weir", "VERBS")
    else:
        assert f"weir-{verb}" in PAGES
        assert f"*weir-{verb}*(8)" in PAGES["weir"].read_text()


def options_of(verb):
    return [row for row in table(verb) if row[0] != "--help" and row[:2] != ["-", "-"]]


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in IN_WEIR_8])
def test_options_are_those_of_the_table(verb):
    page = f"weir-{verb}"
    rows = options_of(verb)
    found = headings(page) if rows else []
    synopsis = plain(section(page, "SYNOPSIS"))
    for long, short, argument, hint in rows:
        names = [name for name in (long, short) if name != "-"]
        mine = [(line, text) for line, text in found if all(f"*{name}*" in line for name in names)]
        assert len(mine) == 1, (names, mine)
        line, text = mine[0]
        if argument != "-":
            assert f"*{names[0]}* _{argument}_" in line or f"*{names[-1]}* _{argument}_" in line, line
        for word in hint.removeprefix("words:").split() if hint.startswith("words:") else []:
            assert re.search(rf"\*(\S+ )?{word}\*", text), (names, word)
        name = short if short != "-" else long
        word = re.escape(name if argument == "-" else f"{name} {argument}").replace(r"\ ", r"\s+")
        assert re.search(rf"\[{word}\]", synopsis), f"the synopsis lacks {name}"
    known = {name for row in rows for name in row[:2]}
    told = {name for line, _ in found for name in re.findall(r"\*(--?[A-Za-z][\w-]*)\*", line)}
    assert told <= known


def test_pages_build_and_are_clean():
    """scdoc takes each page, and man reads it without a warning."""
    assert list(rules.man_pages(TOP)) == []


def test_packet_fields_are_documented():
    text = (TOP / "src/cap/watch/fields.h").read_text()
    keys = re.findall(r'\bX\(\s*[A-Z0-9_]+,\s*"(\w+)"', text)
    assert len(keys) > 20
    for key in ["v", "ts", *keys]:
        assert re.search(rf"^\|.*\*{key}\*", section("weir-watch", "JSON"), re.M), key


def test_log_keys_and_reasons_are_documented():
    keys = re.findall(r'X\(\w+, "(\w+)"', (TOP / "src/cap/proxy/conn_facts.h").read_text())
    ends = re.findall(r'\[WEIR_END_\w+\] = \{ "(\w+)"',
                      (TOP / "src/dataplane/proxy_ends.c").read_text())
    assert len(keys) > 25 and len(ends) > 25
    log, reasons = section("weir-proxy", "LOG").split("\nReasons:\n")
    for text, words in ((log, keys), (reasons, ends)):
        rows = re.findall(r"^(?:\[\[|\|) +\*([a-z_, ]+)\*$", text, re.M)
        assert [w for row in rows for w in row.split(", ")] == words


def test_reasons_of_loss_are_documented():
    text = (TOP / "src/cap/watch/watch.h").read_text()
    names = re.findall(r'\bX\(\s*[A-Z0-9_]+,\s*(\w+),\s*"', text)
    told = re.findall(r"^\|  \*(\w+)\*$", section("weir-watch", "ACCOUNT"), re.M)
    assert told == names and names


def test_engines_are_those_of_the_table():
    """Row by row what `weir watch --help` prints."""
    shown = {}
    for line in weir("help", "watch").stdout.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if len(cells) == 6:
            shown[cells[0]] = cells[1:]
    cells = re.findall(r"^[\[|:][\[<]? +(.*)$", section("weir-watch", "ENGINES"), re.M)
    rows = [plain(cell) for cell in cells]
    assert len(rows) > 30
    for at in range(0, len(rows), 6):
        assert shown.get(rows[at]) == rows[at + 1:at + 6], rows[at]
    left_out = set(shown) - set(rows[::6])
    assert all(label.startswith("needs") for label in left_out), left_out


@ROOT
def test_flow_and_account_keys_are_documented(tmp_path):
    """Those that a run really prints."""
    script = SETUP + '"$WEIR" watch -i eth0 --flows --json --for 1s'
    done = in_namespace(script, tmp_path)
    assert done.returncode == 0, done.stderr
    flows = [json.loads(line) for line in done.stdout.splitlines()]
    account = json.loads(done.stderr.splitlines()[-1])
    assert flows and account["seen"]
    told = set(re.findall(r"\w+", plain(section("weir-watch", "JSON"))))
    assert set().union(*flows) <= told
    told = set(re.findall(r"\w+", plain(section("weir-watch", "ACCOUNT"))))
    assert set(account) <= told


# --- README -----------------------------------------------------------------

# A router's eth0 with a default route and some traffic, gone with the process.
SETUP = """
set -e
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
ip link add eth0 type veth peer name peer0
ip link set eth0 up
ip link set peer0 up
ip addr add 192.0.2.1/24 dev eth0
ip route add default via 192.0.2.2
echo 1 >/proc/sys/net/ipv4/ip_forward
ping -q -i 0.2 -c 100 192.0.2.2 >/dev/null 2>&1 &
"""


def in_namespace(script, directory):
    path = f"{directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                           "--mount-proc", "bash", "-o", "pipefail", "-c", script],
                          cwd=directory, env={**os.environ, "PATH": path, "WEIR": WEIR},
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def readme_commands(word):
    text = (TOP / "README.md").read_text()
    return [re.sub(r"\s+#\s.*", "", line) for line in re.findall(rf"^    ({word} .*)$", text, re.M)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where README's commands run, in order: one writes a file that another reads."""
    path = tmp_path_factory.mktemp("readme")
    (path / "bin").mkdir()
    (path / "bin" / "weir").symlink_to(WEIR)
    (path / "feed.txt").write_text("203.0.113.0/24\n2001:db8:bad::/48\n")
    (path / "policy.conf").write_text("interface eth0 default pass\ndeny src host 203.0.113.7\n")
    return path


LISTENER = """python3 -uc 'import socket, time
s = socket.create_server(("127.0.0.1", 5201))
print("ready")
time.sleep(60)' >listener &
listener=$!
until grep -q ready listener; do sleep 0.05; done
"""


def script_of(command):
    """The command, with an end where it would run until Ctrl-C. The filter's stand on
    each other, so those before it go first."""
    if "--for" in command:
        command = re.sub(r"--for \w+", "--for 500ms", command)
    command = re.sub(r"weir (watch|filter drops)(?!.*--for)", r"weir \1 --for 500ms", command)
    if command.startswith("weir proxy"):
        start = readme_commands("weir proxy")[0]
        if command == start:
            return f"timeout --preserve-status 5 {command}"
        return (f"{start} 2>proxy.err &\nproxy=$!\n"
                "until grep -q listening proxy.err; do sleep 0.05; done\n"
                f"{command}\nkill $proxy\nwait $proxy")
    if command.startswith("weir steer"):
        every = readme_commands("weir steer")
        return (LISTENER + "".join(f"{line} >/dev/null\n" for line in every[:every.index(command)]) +
                f"{command}\nstatus=$?\nkill $listener\nexit $status")
    if not command.startswith("weir filter"):
        return command
    every = readme_commands("weir filter")
    before = every[:every.index(command.replace(" --for 500ms", ""))]
    return "".join(f"{line} >/dev/null 2>&1\n" for line in before) + command


def test_readme_has_commands():
    assert len(readme_commands("weir")) > 10 and readme_commands("make")


@ROOT
@pytest.mark.parametrize("command", readme_commands("weir"))
def test_readme_command(directory, command):
    done = in_namespace(SETUP + script_of(command), directory)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert re.search(r"\w", done.stdout + done.stderr)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.M))
    for path in DOCUMENTS:
        text = path.read_text()
        named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^    make ([a-z-]+)", text, re.M)
        assert set(named) <= targets, path


# --- every document ---------------------------------------------------------

@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(TOP)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert re.match(r"https?://", target) or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(TOP)))
def test_files_that_are_named_exist(path):
    """`src/...`, `tests/...` and the like; a capital or a star stands for many."""
    for name in re.findall(r"`((?:src|tests|tools|bench|docs|packaging)/[\w./-]+)`", path.read_text()):
        if not re.search(r"[A-Z]{2}|/X", name):
            # A program is named by its source, without what follows the dot.
            assert (TOP / name).exists() or (TOP / f"{name}.c").exists(), name
