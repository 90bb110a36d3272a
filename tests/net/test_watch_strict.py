# SPDX-License-Identifier: GPL-2.0-only
"""--strict-pcap: live, at every place where it can run, it matches what tcpdump's
libpcap matches in a file of the same packets."""

import json
import os
import struct
from collections import Counter

import pytest

import lab
import packets

EXPRESSIONS = [
    "tcp port 80 or udp port 53", "vlan", "vlan and ip", "not vlan and ether[12:2] > 1500",
    "tcp[(tcp[12] >> 4) * 4:2] != 0", "ip6 and ip6[6] != 6 or arp", "len % 3 = 1",
    "ether[len - 1] & 1 = 0", "ether[600:2] & 1 = 0", "ip[2:2] / ip[8] > 5",
]

LIVE = {
    "tc": ["--capture", "tc"],
    "tc perf": ["--capture", "tc", "--transport", "perf"],
    "tc user": ["--capture", "tc", "--filter-at", "user"],
    "xdp generic": ["--capture", "xdp", "--xdp-mode", "generic"],
    "xdp native": ["--capture", "xdp", "--xdp-mode", "native"],
    "af_packet": ["--capture", "af_packet"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "af_packet user": ["--capture", "af_packet", "--filter-at", "user"],
    "pcap": ["--capture", "pcap"],
}


def frames_of_pcap(data):
    frames, at = [], 24
    while at < len(data):
        n = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16:at + 16 + n])
        at += 16 + n
    return frames


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """(frames, {expression: those that libpcap matches})"""
    path = tmp_path_factory.mktemp("strict") / "packets.pcap"
    frames = [frame for _, frame in packets.Maker(seed=3).frames()]
    # Long ones too: what is behind the bytes that are copied at first, and tags there.
    frames += [bytes(12) + tag + b"\x08\x00" + bytes((i + n) % 256 for n in range(size))
               for i, size in enumerate(range(500, 1400, 45))
               for tag in (b"", b"\x81\x00\x00\x05")]
    lab.write_pcap(path, frames)
    number = {}
    for text in EXPRESSIONS:
        got = path.with_suffix(".out")
        lab.sh("tcpdump", "-r", path, "-w", got, text)
        number[text] = Counter(frames_of_pcap(got.read_bytes()))
    assert all(0 < sum(c.values()) < len(frames) for c in number.values()), \
        {text: sum(c.values()) for text, c in number.items()}
    return frames, number


@pytest.fixture
def pair():
    pair = lab.Pair()
    yield pair
    pair.remove()


def is_in_kernel(capture):
    return "user" not in capture and capture != "pcap"


def announced(watch):
    return json.loads(watch.err.splitlines()[0])


@pytest.mark.parametrize("capture", LIVE)
def test_live_agrees_with_libpcap(pair, truth, capture):
    frames, want = truth
    texts = EXPRESSIONS[:7] if "xdp" in capture else EXPRESSIONS
    watches = pair.b.watches("-i", "vb", "-Q", "in", *LIVE[capture], "--strict-pcap", "-w", "-",
                             "--stats", "json", each=[[text] for text in texts])
    pair.a.inject("va", frames)
    for watch in watches:
        watch.wait_seen(len(frames))
    for watch, text in zip(watches, texts):
        assert watch.stop().status == 0, (text, watch.err)
        account = watch.check_account()
        assert account["lost"] == {} and account["seen"] == len(frames), (text, account)
        live = Counter(lab.packets_of(watch.out))
        assert live == want[text], (text, live - want[text], want[text] - live)
        assert announced(watch)["match_at"] == ("kernel" if is_in_kernel(capture) else "user")


def test_outgoing(pair, truth):
    frames, want = truth
    texts = EXPRESSIONS[:5]
    watches = pair.a.watches("-i", "va", "-Q", "out", "--strict-pcap", "-w", "-",
                             "--stats", "json", each=[[text] for text in texts])
    pair.a.inject("va", frames)
    for watch, text in zip(watches, texts):
        watch.wait_seen(len(frames))
        assert watch.stop().status == 0, watch.err
        watch.check_account()
        assert Counter(lab.packets_of(watch.out)) == want[text], text


@pytest.mark.parametrize("mode", ["--flows", "--count"])
def test_sums_are_of_the_same_packets(pair, truth, mode):
    frames, want = truth
    text = "ip and ip[2:2] > 40"
    watches = pair.b.watches("-i", "vb", "-Q", "in", "--strict-pcap", mode, "--json", text,
                             each=[["--filter-at", place] for place in ("kernel", "user")])
    pair.a.inject("va", frames)
    matched = []
    for watch in watches:
        watch.wait_seen(len(frames))
        assert watch.stop().status == 0, watch.err
        matched.append(watch.check_account()["matched"])
    assert matched[0] == matched[1] > 0
    assert [announced(w)["match_at"] for w in watches] == ["kernel", "user"]


def test_raw_ip():
    """A device without a link level: libpcap's link type is raw IP."""
    ns = lab.Netns()
    fd = lab.tun(ns, "wtun")
    try:
        watches = ns.watches("-i", "wtun", "-Q", "in", "--strict-pcap", "--count", "--json",
                             each=[["udp and ip[8] = 9"], ["ip6"], ["link[0] = 0x45"]])
        for ttl in (9, 9, 10):
            os.write(fd, packets_udp(ttl))
        matched = []
        for watch in watches:
            watch.wait_seen(3)
            assert watch.stop().status == 0, watch.err
            matched.append(watch.check_account()["matched"])
        assert matched == [2, 0, 3]
    finally:
        os.close(fd)
        ns.remove()


def packets_udp(ttl):
    from scapy.layers.inet import IP, UDP
    return bytes(IP(src="10.0.0.1", dst="10.0.0.2", ttl=ttl) / UDP(sport=1, dport=2) / b"x")


def test_what_the_kernel_cannot_run(pair):
    """A loop: matched in user space, and said so; refused if the kernel was asked for."""
    watch = pair.b.watch("-i", "vb", "--strict-pcap", "--count", "ip6 protochain 17")
    assert "in user space" in watch.err.splitlines()[0] and "loop" in watch.err.splitlines()[0]
    assert "strict match in user space" in watch.err.splitlines()[1]
    assert watch.stop().status == 0
    done = lab.weir("watch", "-i", "vb", "--strict-pcap", "--filter-at", "kernel",
                    "ip6 protochain 17", ns=pair.b)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "leave --filter-at kernel out" in done.stderr


def test_too_large_for_the_kernel(pair):
    """More instructions than there is room for."""
    text = " or ".join(f"ether[{i}:4] = {i * 77777}" for i in range(1, 900))
    watch = pair.b.watch("-i", "vb", "--strict-pcap", "--count", "--json", text)
    assert "instructions" in watch.err.splitlines()[0]
    assert '"match_at":"user"' in watch.err
    assert watch.stop().status == 0


def test_code_is_shown(pair):
    done = lab.weir("watch", "-i", "vb", "--strict-pcap", "-d", "ether[700] = 1", ns=pair.b)
    assert done.returncode == 0 and "call weir_strict_load" in done.stdout
    assert ".insn" not in done.stdout
