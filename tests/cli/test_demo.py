# SPDX-License-Identifier: GPL-2.0-only
"""The demo runs to its end, shows what it promises, and leaves nothing behind."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLOOD = os.path.join(TOP, "build", "bench", "flood")


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not os.path.exists(FLOOD), reason="bench programs are not built")
@pytest.mark.skipif(not shutil.which("tcpdump"), reason="no tcpdump")
def test_demo(tmp_path):
    picture = tmp_path / "demo.svg"
    before = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    run = subprocess.run([os.path.join(TOP, "tools", "demo"), "--svg", picture],
                         capture_output=True, text=True, timeout=600)
    out = plain(run.stdout)
    assert run.returncode == 0, run.stderr
    # Each command is printed before what it printed.
    for command in ("$ weir watch -i eth0 -n -c 4", "$ tcpdump -i eth0 -w /dev/null",
                    "$ weir watch -i eth0 --capture xdp --flows", "$ weir filter set feed load"):
        assert command in out
    assert out.index("$ weir watch -i eth0 -n -c 4") < out.index("ICMP echo request")
    # Each name with its process, unless the rest of the machine is so busy with sockets that
    # events of theirs are lost; and the scan, by all of its ports or those so far.
    for port, name in ((443, "shop.example"), (80, "news.example")):
        assert re.search(rf'^\[("python3"|null),{port},"{name}"\]$', out, re.M)
    assert re.search(r"RAISED scan: (\d+) ports by 10\.0\.0\.2", out)
    sums = {line.split()[0]: line.split()[1:] for line in out.splitlines()
            if re.match(r"(tcpdump|weir) +\d", line)}
    assert int(sums["tcpdump"][0]) > 0 and int(sums["weir"][0]) > 0
    assert re.search(r"^\$ .*kill -9 \$!.*\n0$", out, re.M), "kill -9 left a program"
    # Dropped before and after the command was killed; what is not in the feed passes.
    hits = re.search(r"^feed .*net @feed +([\d,]+)", out, re.M)
    assert hits and int(hits[1].replace(",", "")) > 0
    assert "1 received" in out
    assert re.search(r"^[\d:.]+ close .*:81 .*: refused by remote", out, re.M)
    # 20 packets; what a reader is late for is at least what it slept.
    assert re.findall(r"sk_buff in the stack +(\d+)", out) == ["20"]
    late = re.findall(r"copied to user space +20 +\S+ +\S+ +([\d.]+)ms", out)
    assert late and float(late[-1]) >= 50
    if "$ weir bypass on" in out:  # there is a cgroup v2
        assert "bytes out 128,000 by bypass, 0 by TCP" in out
    # Of a hundred, twenty by the fault, eighty by the closed port; then a road that ends.
    assert re.search(r"^tc-in +weir fault: loss .* 20 ", out, re.M)
    assert re.search(r"^socket +NO_SOCKET .* 80 ", out, re.M)
    assert re.search(r"✗ +XDP +filter drop .*\n.*stranger: deny .*src host 10\.0\.0\.2", out)
    root = xml.etree.ElementTree.parse(picture).getroot()
    drawn = "".join(root.itertext())
    assert root.tag.endswith("svg") and "tcpdump" in drawn and "stranger: deny" in drawn
    assert "/tmp/" not in drawn and "\u2026" not in drawn
    after = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert [n for n in after.split() if n.startswith("weirdemo")] == \
           [n for n in before.split() if n.startswith("weirdemo")]
