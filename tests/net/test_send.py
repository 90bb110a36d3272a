# SPDX-License-Identifier: GPL-2.0-only
"""weir send: what was asked for arrives, as often, as it was described, and no more."""

import json
import signal
import socket
import struct
import subprocess

import pytest

import lab


class Wire:
    """Every frame that arrives at `vb`, as it is."""

    def __init__(self, pair):
        self.socket = pair.b.packet_socket("vb", lab.ETH_P_ALL)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.settimeout(lab.PATIENCE)

    def take(self, n):
        return [self.socket.recv(65536) for _ in range(n)]

    def nothing_more(self):
        self.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.socket.recv(65536)


@pytest.fixture
def wire(pair):
    w = Wire(pair)
    yield w
    w.socket.close()


def send(pair, *args, status=0):
    done = lab.weir("send", *args, "--json", ns=pair.a)
    assert done.returncode == status, (args, done)
    return json.loads(done.stdout) if done.stdout else done.stderr


def frames(n, size=60):
    return [struct.pack("!6s6sH", b"\2\0\0\0\0\2", b"\2\0\0\0\0\1", 0x88b5) +
            i.to_bytes(4, "big") + bytes(size - 18) for i in range(n)]


TO = ("--eth-dst", "02:00:00:00:00:09")


def test_as_many_as_asked_for(pair, wire):
    report = send(pair, "udp", "10.0.0.1:1000", "10.0.0.2:2000", "-i", "va", "-c", 500, *TO)
    got = wire.take(500)
    wire.nothing_more()
    assert report["sent"] == report["asked"] == 500
    assert report["bytes"] == sum(len(f) for f in got)
    assert set(got) == {got[0]}
    dst, src, kind = struct.unpack("!6s6sH", got[0][:14])
    assert dst == b"\2\0\0\0\0\x09" and kind == 0x800
    assert src.hex(":") == pair.mac_a
    assert got[0][26:34] == bytes([10, 0, 0, 1, 10, 0, 0, 2])
    assert struct.unpack("!HH", got[0][34:38]) == (1000, 2000)


def test_the_kernel_writes_the_header_by_dgram(pair, wire):
    raw, dgram = [], []
    for to, kind in ((raw, "raw"), (dgram, "dgram")):
        send(pair, "tcp", "fd00::1", "[fd00::2]:443", "--flags", "S.", "-i", "va", "-c", 1,
             "--socket", kind, *TO)
        to += wire.take(1)
    assert raw == dgram


def test_a_group_has_an_address_of_its_own(pair, wire):
    send(pair, "udp", "10.0.0.1", "224.0.0.251:5353", "-i", "va", "-c", 1)
    assert wire.take(1)[0][:6] == bytes.fromhex("01005e0000fb")


def test_the_next_hop_is_found(hosts):
    hosts.a.sh("ping", "-c", 1, "-W", lab.PATIENCE, "10.77.0.2")
    hosts.a.ip("route", "replace", "198.51.100.0/24", "via", "10.77.0.2")
    for dst in ("10.77.0.2", "198.51.100.7"):
        w = Wire(hosts)
        assert send(hosts, "udp", "10.77.0.1", f"{dst}:9", "-i", "va", "-c", 1)["sent"] == 1
        while True:
            frame = w.take(1)[0]
            if frame[12:14] == b"\x08\0" and frame[30:34] == socket.inet_aton(dst):
                break
        assert frame[:6].hex(":") == hosts.mac_b
        w.socket.close()


def test_an_unknown_next_hop_is_said(hosts):
    err = send(hosts, "udp", "10.77.0.1", "10.77.9.9:9", "-i", "va", "-c", 1, status=1)
    assert err == ("weir send: the Ethernet address of 10.77.9.9 is not known on va: "
                   "ping it first, or give --eth-dst\n")


def test_a_capture_is_sent_as_it_is(pair, wire, tmp_path):
    sent = frames(300)
    lab.write_pcap(tmp_path / "x.pcap", sent)
    assert send(pair, "-r", tmp_path / "x.pcap", "-i", "va")["sent"] == 300
    assert wire.take(300) == sent
    wire.nothing_more()


def test_a_short_file_begins_again(pair, wire, tmp_path):
    sent = frames(3)
    lab.write_pcap(tmp_path / "x.pcap", sent)
    report = send(pair, "-r", tmp_path / "x.pcap", "-i", "va", "-c", 8, "--rate", "10000/s")
    assert report["sent"] == 8
    assert wire.take(8) == (sent * 3)[:8]


def test_raw_ip_gets_a_header(pair, wire, tmp_path):
    packet = bytes.fromhex("4500001400000000400066e70a0000010a000002")
    lab.write_pcap(tmp_path / "x.pcap", [packet], linktype=101)
    send(pair, "-r", tmp_path / "x.pcap", "-i", "va", *TO)
    frame = wire.take(1)[0]
    assert frame[:6] == b"\2\0\0\0\0\x09" and frame[12:14] == b"\x08\0" and frame[14:] == packet


def test_a_rate_is_not_exceeded(pair, wire):
    """A lower bound of the duration is no measurement: it is what a rate means."""
    report = send(pair, "udp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 51, "--rate", "100/s", *TO)
    assert report["sent"] == 51 and report["duration_ns"] >= 500_000_000
    report = send(pair, "udp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 21, "--rate", "80kbit",
                  "--size", 500, *TO)
    assert report["sent"] == 21 and report["duration_ns"] >= 20 * 500 * 8 * 1_000_000_000 // 80_000


def test_the_times_of_a_capture_are_kept(pair, wire, tmp_path):
    with open(tmp_path / "x.pcap", "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for i, frame in enumerate(frames(4)):
            f.write(struct.pack("<IIII", 1700000000, i * 150_000, len(frame), len(frame)) + frame)
    assert send(pair, "-r", tmp_path / "x.pcap", "-i", "va")["duration_ns"] >= 450_000_000


def test_what_is_too_long_is_counted(pair, wire, tmp_path):
    lab.write_pcap(tmp_path / "x.pcap", [*frames(2), *frames(1, 1600), *frames(2)])
    report = send(pair, "-r", tmp_path / "x.pcap", "-i", "va", status=1)
    assert report["sent"] == 4 and report["failed"] == {"too_long": 1}
    assert wire.take(4) == [*frames(2), *frames(2)]
    wire.nothing_more()


def test_interrupted_it_tells_what_was_sent(pair, wire):
    p = subprocess.Popen(pair.a.command(lab.WEIR, "send", "udp", "10.0.0.1", "10.0.0.2", "-i", "va",
                                        "-c", "1000000", "--rate", "100/s", "--json", *TO),
                         stdout=subprocess.PIPE, text=True)
    wire.take(3)
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=lab.PATIENCE)[0]
    report = json.loads(out)
    assert p.returncode == 1 and report["asked"] == 1000000
    wire.take(report["sent"] - 3)
    wire.nothing_more()


def test_a_link_that_goes_down_ends_it(pair, wire):
    p = subprocess.Popen(pair.a.command(lab.WEIR, "send", "udp", "10.0.0.1", "10.0.0.2", "-i", "va",
                                        "-c", "1000000", "--rate", "100/s", *TO),
                         stderr=subprocess.PIPE, text=True)
    wire.take(1)
    try:
        pair.a.ip("link", "set", "va", "down")
        err = p.communicate(timeout=lab.PATIENCE)[1]
    finally:
        pair.a.ip("link", "set", "va", "up")
    assert p.returncode == 1
    assert "weir send: va went down: ip link set va up\n" in err


@pytest.mark.parametrize("args, status, says", [
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va"], 2, "how many? Give -c N"),
    (["-i", "va", "-c", 1], 2, "nothing to send"),
    (["tcp", "10.0.0.1", "10.0.0.2", "-c", 1], 2, "no interface given"),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 0], 2, '-c "0" is out of range'),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "nope", "-c", 1], 2, "no interface nope"),
    (["tcp", "10.0.0.1", "fd00::1", "-i", "va", "-c", 1], 2, "fd00::1"),
    (["tcp", "10.0.0.1", "10.0.0.2", "-r", "x", "-i", "va"], 2, "both a PACKET and -r"),
    (["-r", "/nonexistent", "-i", "va"], 1, "-r: cannot open /nonexistent"),
    (["-r", "/etc/passwd", "-i", "va"], 2, "-r: cannot read /etc/passwd"),
    (["-r", "/etc/passwd", "-i", "va", "--ttl", 3], 2, "are sent as they are"),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 1, "--rate", "fast"], 2, '--rate "fast"'),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 1, "--rate", "0/s"], 2, '--rate "0/s"'),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 1, "--eth-dst", "x"], 2, '--eth-dst "x"'),
    (["tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 1, "--socket", "dgram", "--eth-src",
      "02:00:00:00:00:01"], 2, "does not go with --socket dgram"),
])
def test_wrong_input_is_one_line_and_sends_nothing(pair, wire, args, status, says):
    done = lab.weir("send", *args, ns=pair.a)
    assert done.returncode == status and says in done.stderr, done
    assert done.stderr.startswith("weir send: ") and done.stderr.count("\n") == 1
    wire.nothing_more()


def test_without_the_right_it_names_the_capability(pair):
    done = lab.weir("send", "tcp", "10.0.0.1", "10.0.0.2", "-i", "va", "-c", 1, ns=pair.a,
                    prefix=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
    assert done.returncode == 1 and "needs CAP_NET_RAW" in done.stderr
