# SPDX-License-Identifier: GPL-2.0-only
"""DPDK's ports as a source, on its drivers that need no hardware: af_packet and pcap."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

import lab
import packets

EAL = ["--dpdk-args", "--no-huge -m 96"]
PORTS = {
    "af_packet": "net_af_packet0,iface=vb",
    "pcap": "net_pcap0,rx_iface_in=vb",
}


@pytest.fixture
def pair():
    pair = lab.Pair()
    yield pair
    pair.remove()


@pytest.fixture(scope="module")
def frames():
    """Without what DPDK's af_packet driver changes: tags of 802.1ad, which it puts back as
    802.1Q, and IPv4 fragments, which it lets the kernel join."""
    return [f for name, f in packets.Maker(seed=5).frames()
            if f[12:14] not in (b"\x88\xa8", b"\x91\0") and "fragment" not in name]


def dpdk(ns, port, *words, **options):
    return ns.watch("--capture", "dpdk", "-i", port, *EAL, *words, **options)


def left_behind():
    return list(Path("/run").glob("dpdk*"))


@pytest.mark.parametrize("driver", PORTS)
def test_every_packet(pair, frames, driver):
    watch = dpdk(pair.b, PORTS[driver], "-w", "-", "--stats", "json")
    pair.a.inject("va", frames)
    watch.wait_seen(len(frames))
    assert watch.stop().status == 0, watch.err
    account = watch.check_account()
    assert account["seen"] == account["delivered"] == len(frames)
    assert account["iface"] == PORTS[driver].split(",")[0]
    got, want = Counter(lab.packets_of(watch.out)), Counter(frames)
    assert got == want, [f.hex() for f in (got - want) + (want - got)][:4]
    assert not left_behind()


@pytest.mark.parametrize("words", [["udp"], ["vlan"], ["--strict-pcap", "tcp[0:2] > 100"],
                                   ["--strict-pcap", "vlan and ip"]])
def test_match_agrees_with_a_file(pair, frames, tmp_path, words):
    path = tmp_path / "frames.pcap"
    lab.write_pcap(path, frames)
    want = lab.weir("watch", "-r", path, "-w", "-", *words, text=False)
    assert want.returncode == 0 and lab.packets_of(want.stdout), want.stderr
    watch = dpdk(pair.b, PORTS["af_packet"], "-w", "-", "--stats", "json", *words)
    pair.a.inject("va", frames)
    watch.wait_seen(len(frames))
    assert watch.stop().status == 0, watch.err
    watch.check_account()
    assert Counter(lab.packets_of(watch.out)) == Counter(lab.packets_of(want.stdout))


def test_two_ports(pair, frames):
    pair.b.ip("link", "add", "vc", "type", "veth", "peer", "name", "vd")
    for dev in ("vc", "vd"):
        pair.b.ip("link", "set", dev, "up")
    watch = pair.b.watch("--capture", "dpdk", "-i", PORTS["af_packet"],
                         "-i", "net_af_packet1,iface=vd", *EAL, "--count", "--json")
    pair.a.inject("va", frames[:20])
    pair.b.inject("vc", frames[:30])
    lab.wait_for("both", lambda: watch.ask() and
                 sum(a["seen"] for a in watch.accounts[-2:]) == 50)
    assert sorted(a["seen"] for a in watch.accounts[-2:]) == [20, 30]
    assert watch.stop().status == 0
    assert json.loads(watch.out)["packets"] == 50


def test_flows(pair):
    watch = dpdk(pair.b, PORTS["af_packet"], "--flows", "--json")
    frame = udp(1000)
    pair.a.inject("va", [frame] * 7)
    watch.wait_seen(7)
    assert watch.stop().status == 0, watch.err
    assert b'"packets":7' in watch.out, watch.out


def udp(port):
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                 / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=port, dport=9) / bytes(40))


def test_a_file_as_a_port(pair, frames, tmp_path):
    path = tmp_path / "in.pcap"
    lab.write_pcap(path, frames)
    done = lab.weir("watch", "--capture", "dpdk", "-i", f"net_pcap0,rx_pcap={path}", *EAL,
                    "-c", len(frames), "-w", "-", "--stats", "json", ns=pair.b, text=False)
    assert done.returncode == 0, done.stderr
    assert lab.packets_of(done.stdout) == frames


def test_enough(pair, frames, tmp_path):
    """What -c leaves of a burst is accounted for."""
    path = tmp_path / "in.pcap"
    lab.write_pcap(path, frames)
    done = lab.weir("watch", "--capture", "dpdk", "-i", f"net_pcap0,rx_pcap={path}", *EAL,
                    "-c", 5, "-w", "-", "--stats", "json", ns=pair.b, text=False)
    account = json.loads(done.stderr.splitlines()[-1])
    assert account["delivered"] == 5 and account["queued"] > 0 and account["imbalance"] == 0
    assert account["matched"] == 5 + account["queued"] + sum(account["lost"].values())


def test_losses_are_counted(pair):
    """The reader stands still, the port's ring overflows: what is missing is lost."""
    n = 10000
    watch = dpdk(pair.b, PORTS["pcap"], "--count", "--json")
    watch.send(signal.SIGSTOP)
    pair.a.inject("va", [udp(7) + bytes(1400)] * n)
    watch.send(signal.SIGCONT)
    lab.wait_for("the losses", lambda: watch.ask()["lost"])
    assert watch.stop().status == 0
    account = watch.check_account()
    assert account["seen"] == n and account["lost"]["ring_full"] > 0, account


def test_limits_are_told(pair):
    watch = dpdk(pair.b, PORTS["af_packet"], "--count")
    assert "does not count what its ring drops" in watch.err
    watch.stop()


def test_killed(pair):
    watch = dpdk(pair.b, PORTS["af_packet"], "--count")
    watch.kill()
    assert not left_behind()


BAD = {
    "no port": (["-i", "net_af_packet0,iface=nothere"], 1, "port net_af_packet0"),
    "no driver": (["-i", "nosuchdriver0"], 1, "check -i"),
    "no name": (["-i", ",iface=vb"], 2, "give a port"),
    "twice": (["-i", PORTS["af_packet"], "-i", PORTS["af_packet"]], 2, "twice"),
    "no -i": ([], 2, "say which port"),
    "bad words": (["-i", PORTS["af_packet"], "--dpdk-args", "--no-huge --nonsense"], 1, "--dpdk-args"),
    "direction": (["-i", PORTS["af_packet"], "-Q", "out"], 2, "-Q"),
    "transport": (["-i", PORTS["af_packet"], "--transport", "ring"], 2, "--transport"),
    "kernel": (["-i", PORTS["af_packet"], "--filter-at", "kernel"], 2, "--filter-at"),
    "buffer": (["-i", PORTS["af_packet"], "-B", "1g"], 1, "smaller -B"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(pair, case):
    words, status, text = BAD[case]
    eal = [] if "--dpdk-args" in words else EAL
    done = lab.weir("watch", "--capture", "dpdk", *eal, *words, "--for", "1s", ns=pair.b)
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1 and text in done.stderr, done.stderr
    assert not left_behind()


def test_args_need_the_engine(pair):
    done = lab.weir("watch", "-i", "vb", "--dpdk-args", "-m 64", ns=pair.b)
    assert done.returncode == 2 and "--capture dpdk" in done.stderr


def test_threads_run_anywhere(pair):
    """EAL does not tie the process to one CPU, and starts no thread for each."""
    watch = dpdk(pair.b, PORTS["af_packet"], "--count")
    try:
        assert os.sched_getaffinity(watch.pid) == os.sched_getaffinity(0)
        assert not [t for t in Path(f"/proc/{watch.pid}/task").iterdir()
                    if "worker" in (t / "comm").read_text()]
    finally:
        watch.stop()
