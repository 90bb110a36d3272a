# SPDX-License-Identifier: GPL-2.0-only
"""weir selftest: it runs, and leaves nothing behind. That its checks can fail: unit/selftest."""

import json
import os
import signal
import subprocess
from pathlib import Path

import lab


def listed():
    done = lab.weir("selftest", "--list", "--json")
    return [c["name"] for c in json.loads(done.stdout)["checks"]]


def test_every_check_is_made_and_true():
    done = lab.weir("selftest", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["trusted"], report
    assert [c["name"] for c in report["checks"]] == listed()
    assert [c for c in report["checks"] if not c.get("ok", True)] == []


def test_a_missing_right_is_no_untrue_figure():
    done = lab.weir("selftest", "--json", prefix=("setpriv", "--bounding-set=-net_raw",
                                                  "--inh-caps=-net_raw"))
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["trusted"], report
    skipped = {c["name"]: c["detail"] for c in report["checks"] if "ok" not in c}
    assert "CAP_NET_RAW" in skipped["send"]


def test_nothing_is_left():
    links = lab.sh("ip", "-o", "link").stdout
    pinned = lab.weir("status", "--json").stdout
    p = subprocess.Popen([lab.WEIR, "selftest"], stdout=subprocess.PIPE)
    p.stdout.readline()
    p.send_signal(signal.SIGKILL)
    p.wait()
    p.stdout.close()
    lab.wait_for("its children to end", lambda: not children(p.pid))
    assert lab.sh("ip", "-o", "link").stdout == links
    assert json.loads(lab.weir("status", "--json").stdout)["pinned"] == json.loads(pinned)["pinned"]


def children(pid):
    """Processes that were its own: they have its name in the namespaces that it made."""
    here = os.readlink("/proc/self/ns/net")
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text()
            if lines.startswith("Name:\tweir\n") and f"\nPPid:\t{pid}\n" in lines \
                    and os.readlink(status.parent / "ns/net") != here:
                found.append(status.parent.name)
        except OSError:
            pass
    return found
