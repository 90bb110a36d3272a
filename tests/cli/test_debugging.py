# SPDX-License-Identifier: GPL-2.0-only
"""The commands of docs/debugging.md do what the document says: each is run, in
order, while a watch runs in network, mount and pid namespaces of its own."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
DOCUMENT = TOP / "docs" / "debugging.md"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Commands whose success shows in another status than 0: bash's own words.
COUNTS_NOTHING = re.compile(r"grep -c|find ")
OPTIONAL_TOOLS = ["strace", "jq", "bpftool", "nsenter"]

# Lives until its standard input ends; everything goes with its pid namespace.
STAGE = """
set -e
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
ip link add eth0 type veth peer name peer0
ip link set eth0 up
ip link set peer0 up
ip addr add 192.0.2.1/24 dev eth0
ping -q -i 0.2 -c 600 192.0.2.2 >/dev/null 2>&1 &
"$WEIR_BIN" watch -i eth0 >/dev/null &
echo ready
read -r _
"""


def blocks():
    text = DOCUMENT.read_text()
    return re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)


def commands():
    found = []
    for block in blocks():
        for line in block.splitlines():
            assert line.startswith("# "), f"not a command line: {line}"
            found.append(line[2:])
    return found


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """A function that runs a shell command beside a running watch."""
    # The name that the document's pidof looks for, whatever $WEIR is called.
    bin_dir = tmp_path_factory.mktemp("bin")
    program = shutil.copy(WEIR, bin_dir / "weir")
    env = {**os.environ, "PATH": f"{bin_dir}:/usr/sbin:/usr/bin:/sbin:/bin",
           "WEIR_BIN": str(program)}
    stage = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", "-c", STAGE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert stage.stdout.readline() == "ready\n"
        children = Path(f"/proc/{stage.pid}/task/{stage.pid}/children").read_text().split()
        prefix = ["nsenter", "--net", "--mount", "--pid", "--target", children[0], "--wd=/"]

        def run(command):
            return subprocess.run([*prefix, "bash", "-o", "pipefail", "-c", command],
                                  capture_output=True, text=True, timeout=60, env=env)

        wait_for(lambda: "weir_watch_in" in run("weir status").stdout)
        yield run
    finally:
        stage.send_signal(signal.SIGKILL)
        stage.wait(20)


def test_there_are_commands():
    assert len(commands()) > 15


@pytest.mark.parametrize("command", commands())
def test_command(inside, command):
    for tool in OPTIONAL_TOOLS:
        if re.search(rf"\b{tool}\b", command) and not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    result = inside(command)
    if COUNTS_NOTHING.search(command):
        assert result.returncode in (0, 1), result
    else:
        assert result.returncode == 0, result
    assert "rror" not in result.stderr, result


def test_status_names_the_watch(inside):
    text = inside("weir status").stdout
    assert re.search(r"weir_watch_in +tc +\d+ +tcx ingress on eth0 +weir \(\d+\)", text), text
    assert re.search(r"weir_watch_out +tc +\d+ +tcx egress on eth0 +weir \(\d+\)", text), text


def test_counters_are_readable(inside):
    """The kernel's own counters carry their types, and count."""
    sum_seen = "bpftool -j map dump name weir_counters | " \
               "jq '[.. | objects | .seen // empty] | add'"
    wait_for(lambda: int(inside(sum_seen).stdout) > 0)


def test_nothing_stays_behind(inside):
    ids = re.findall(r"weir_watch_\w+ +\S+ +(\d+)", inside("weir status").stdout)
    assert ids
    inside('kill -9 "$(pidof -s weir)"')
    wait_for(lambda: all(inside(f"bpftool prog show id {i}").returncode for i in ids))
