# SPDX-License-Identifier: GPL-2.0-only
"""Files whose clock is odd: beside an observer a run goes by that clock."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

WEIR = os.environ.get("WEIR", str(Path(__file__).resolve().parents[2] / "build" / "weir"))
NOWHERE = "127.0.0.1:9"


def weir(*args):
    return subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)


def frame(sport):
    udp = struct.pack("!HHHH", sport, 9, 9, 0) + b"x"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                     socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2"))
    return bytes.fromhex("02005e100001" "02005e100002" "0800") + ip + udp


def block(kind, body):
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def write_pcapng(path, stamps, resolution=9):
    """A packet of a flow of its own at each of @stamps, in units of 10^-@resolution s."""
    with open(path, "wb") as f:
        f.write(block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)))
        f.write(block(1, struct.pack("<HHI", 1, 0, 262144)
                      + struct.pack("<HHB3x", 9, 1, resolution) + struct.pack("<HH", 0, 0)))
        for i, ts in enumerate(stamps):
            data = frame(1000 + i)
            f.write(block(6, struct.pack("<IIIII", 0, ts >> 32, ts & 0xffffffff, len(data),
                                         len(data)) + data))
    return path


CLOCKS = {
    "to its end": [1, (1 << 64) - 5, (1 << 64) - 1],
    "from nothing": [0, 0, 1],
    "backwards": [10 ** 18, 5, 10 ** 18 + 1],
    "with gaps": [10 ** 18, 10 ** 18 + 100 * 10 ** 9, 10 ** 18 + 200 * 10 ** 9],
}


@pytest.mark.parametrize("observer", [["--summary", "10s"], ["--ipfix", NOWHERE],
                                      ["--alert", "any: packets > 2 over 10s"]],
                         ids=lambda words: words[0])
@pytest.mark.parametrize("clock", CLOCKS)
def test_any_clock(tmp_path, clock, observer):
    path = write_pcapng(tmp_path / "odd.pcapng", CLOCKS[clock])
    run = weir("watch", "-r", path, *observer, "--stats", "json")
    assert run.returncode == 0, run
    account = [json.loads(line) for line in run.stderr.splitlines() if '"seen"' in line][-1]
    assert account["delivered"] == 3 and account["imbalance"] == 0


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_picture_keeps_its_flows(tmp_path, clock):
    """Flows that have ended by the file's clock are in the picture all the same."""
    path = write_pcapng(tmp_path / "odd.pcapng", CLOCKS[clock])
    run = weir("watch", "-r", path, "--flows", "--json", "--ipfix", NOWHERE)
    assert run.returncode == 0, run
    assert sorted(json.loads(line)["src_port"] for line in run.stdout.splitlines()) == \
        [1000, 1001, 1002]


def test_interrupted_between_slow_bytes():
    """A signal ends the run though the file is not at its end, and never waits for one."""
    unread = bytearray(4)
    data = frame(1000)
    header = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1)
    packet = struct.pack("<IIII", 1, 0, len(data), len(data)) + data
    with subprocess.Popen([WEIR, "watch", "-r", "-", "--stats", "json"], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        out, written, deadline = run.stdin.fileno(), 0, time.monotonic() + 60
        try:
            os.write(out, header + packet[:20])
            while written < 20000 and time.monotonic() < deadline:
                # Never a moment at which no packet is half read.
                os.write(out, packet[20:] + packet[:20])
                written += 1
                if written == 100:
                    run.send_signal(signal.SIGINT)
                # What it has left unread when it ended stays there.
                while not fcntl.ioctl(out, termios.FIONREAD, unread) and unread[0] \
                        and run.poll() is None and time.monotonic() < deadline:
                    time.sleep(0)
        except BrokenPipeError:
            pass
        err = run.communicate(timeout=60)[1]
    assert run.returncode == 0, err
    account = json.loads(err.splitlines()[-1])
    assert 0 < account["seen"] < 1000, err
