# SPDX-License-Identifier: GPL-2.0-only
"""Where `weir watch` looks, as words that do not go together: one clear line, nothing done."""

import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))


@pytest.mark.parametrize("words, told", [
    ("-i any -i lo", "-i any is all interfaces: leave the other -i out"),
    ("-i any --capture xdp", "-i any does not go with --capture xdp and af_xdp: name the "
                             "interfaces, or use --capture tc"),
    ("-i any --capture af_xdp --take", "-i any does not go with --capture xdp and af_xdp: name "
                                       "the interfaces, or use --capture tc"),
    ("-i lo --points all", "--points without -i any: add it, or leave --points out"),
    ("-i any --points two", '--points "two" is not known: give one or all'),
    ("-i lo --cgroup /nope", "there is no cgroup /nope (No such file or directory): name a directory "
                             "below "),
    ("-r x --netns y", "a file is of no network namespace: leave --netns out"),
    ("-i lo --take", "--take without --capture af_xdp: nothing else takes packets, leave it out"),
    ("-i lo --capture af_xdp --filter-at user", "AF_XDP takes what matches, so that is decided in "
                                                "the kernel: leave --filter-at user and "
                                                "--strict-pcap out"),
    ("-i lo --capture af_xdp --transport ring", "AF_XDP has its own rings: leave --transport "
                                                "out"),
    ("-i lo --capture af_xdp -Q out", "XDP sees only packets coming in: use -Q in, or --capture "
                                      "tc"),
    ("-i lo --capture af_xdp --verdict drop", "--verdict without --capture xdp: only there is a "
                                              "verdict known, add it"),
])
def test_refused(words, told):
    done = subprocess.run([WEIR, "watch", *words.split()], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"weir watch: {told}"), done
