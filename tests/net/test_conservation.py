# SPDX-License-Identifier: GPL-2.0-only
"""Nothing vanishes: under a flood, with the reader stopped, every packet that the
interface counted is delivered, or named as lost."""

import json
import re
import signal
import struct
import subprocess
import time

import pytest

import lab
import packets

STOPPED = 5.0  # seconds without a reader
RATE = 25000   # a second; more than the small rings below hold for that long
SIZE = 150

# As many captures on one interface as leave it alone; XDP has interfaces of its own.
SKB = {
    "tc ring": ["--capture", "tc"],
    "tc perf": ["--capture", "tc", "--transport", "perf"],
    "tc user": ["--capture", "tc", "--filter-at", "user"],
    "af_packet mmap": ["--capture", "af_packet"],
    "af_packet fanout": ["--capture", "af_packet", "--fanout", "2", "--fanout-mode", "lb"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "af_packet perf": ["--capture", "af_packet", "--transport", "perf"],
    # More than libpcap hands out at a time.
    "pcap": ["--capture", "pcap", "-B", "12m"],
}
GENERIC = {
    "xdp generic ring": ["--capture", "xdp", "--xdp-mode", "generic"],
    "xdp generic perf": ["--capture", "xdp", "--xdp-mode", "generic", "--transport", "perf"],
}
NATIVE = {
    "xdp native ring": ["--capture", "xdp", "--xdp-mode", "native"],
    "xdp native perf": ["--capture", "xdp", "--xdp-mode", "native", "--transport", "perf"],
    "xdp native flows": ["--capture", "xdp", "--xdp-mode", "native", "--flows"],
    "xdp native count": ["--capture", "xdp", "--xdp-mode", "native", "--count"],
}
NEVER_LOSES = {"xdp native flows", "xdp native count"}
# The kernel tells how many packets did not fit into these, not how large they were.
SIZE_UNKNOWN = {"pcap", "af_packet mmap", "af_packet fanout"}


class Flood:
    """A flood into a pair, and what arrived by the interface's own statistics."""

    def __init__(self, pair, program, count, rate, flows=1000, size=SIZE):
        self.pair = pair
        self.before = pair.b.received("vb")
        self.process = subprocess.Popen(
            pair.a.command(program, "va", pair.mac_b, count, rate, flows, size),
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def finish(self):
        """(packets, bytes) that the receiving interface has counted."""
        sent = int(self.process.communicate(timeout=120)[0])
        assert self.process.returncode == 0 and sent > 0
        # The last ones may still be on their way through a softirq, which may have to wait.
        last, same = None, 0
        while same < 5:
            now = self.pair.b.received("vb")
            same, last = same + 1 if now == last else 0, now
            time.sleep(0.1)
        return tuple(now - then for now, then in zip(last, self.before))


@pytest.fixture(scope="module")
def run(flood):
    """name -> (watch, (packets, bytes) the interface counted), after one flood for all."""
    places = [(lab.Pair(), captures) for captures in (SKB, GENERIC, NATIVE)]
    watches = {}
    for pair, captures in places:
        started = pair.b.watches("-i", "vb", "-Q", "in", "--stats", "json", "-B", "1m",
                                 each=captures.values())
        watches.update(zip(captures, started))
    for watch in watches.values():
        watch.send(signal.SIGSTOP)
    floods = [Flood(pair, flood, int(RATE * STOPPED), RATE) for pair, _ in places]
    time.sleep(STOPPED)
    counted = {}
    for one, (_, captures) in zip(floods, places):
        counted.update(dict.fromkeys(captures, one.finish()))
    for watch in watches.values():
        watch.send(signal.SIGCONT)
        watch.send(signal.SIGINT)
    for watch in watches.values():
        watch.wait()
    yield {name: (watch, counted[name]) for name, watch in watches.items()}
    for pair, _ in places:
        pair.remove()


@pytest.mark.parametrize("capture", [*SKB, *GENERIC, *NATIVE])
def test_reader_stopped(run, capture):
    watch, (counted, octets) = run[capture]
    assert watch.status == 0, watch.err
    account = watch.check_account()
    assert account["seen"] == counted, account
    if capture in NATIVE:
        octets += counted * 14  # a driver that runs XDP counts behind the Ethernet header
    if capture != "pcap":
        assert account["seen_bytes"] == octets
    if capture not in SIZE_UNKNOWN:
        assert account["delivered_bytes"] + sum(account["lost_bytes"].values()) == octets
    if capture in NEVER_LOSES:
        assert account["lost"] == {}, account
        return
    # The rings were full, and that has a name.
    assert set(account["lost"]) == {"ring_full"}, account
    assert account["delivered"] > 0
    assert len(watch.out.splitlines()) == account["delivered"]


def test_bytes_of_tagged_frames(pair):
    """A tag that the stack has taken out of the frame was on the wire all the same."""
    maker = packets.Maker(seed=4)
    frames = [maker.ether([(0x8100, 100)] * (i % 3), *maker.ip4(packets.UDP, maker.udp(60)))
              for i in range(30)]
    captures = {"tc": [], "af_packet": ["--capture", "af_packet"], "pcap": ["--capture", "pcap"],
                "ring": ["--capture", "af_packet", "--transport", "ring"], "flows": ["--flows"]}
    watches = pair.b.watches("-i", "vb", "-Q", "in", "--json", each=captures.values())
    before = pair.b.received("vb")
    pair.a.inject("va", frames)
    for watch in watches:
        watch.wait_seen(30)
    octets = pair.b.received("vb")[1] - before[1]
    assert octets == sum(map(len, frames))
    for capture, watch in zip(captures, watches):
        assert watch.stop().status == 0
        account = watch.check_account()
        assert account["seen_bytes"] == account["delivered_bytes"] == octets, (capture, account)
        size = "bytes" if capture == "flows" else "packet_size"
        assert sum(line[size] for line in watch.json) == octets, capture


def test_unmatched_is_no_loss(pair, flood):
    """With the reader stopped, what does not match costs no room in the ring."""
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", "-B", "64k", "src port 1030")
    watch.send(signal.SIGSTOP)
    counted, _ = Flood(pair, flood, 30000, 0, flows=1000).finish()
    watch.send(signal.SIGCONT)
    assert watch.stop().status == 0
    account = watch.check_account()
    assert account["seen"] == counted and account["lost"] == {}
    assert 0 < account["matched"] <= 30
    assert account["unmatched"] == counted - account["matched"]


def test_sample_keeps_whole_flows(pair, flood):
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--json", "--sample", "1/10")
    counted, _ = Flood(pair, flood, 20000, 20000, flows=2000).finish()
    assert watch.stop().status == 0
    account = watch.check_account()
    assert account["seen"] == counted and account["lost"] == {}
    assert account["sampled_out"] + account["matched"] == counted
    flows = {}
    for packet in watch.json:
        flows[packet["src_port"]] = flows.get(packet["src_port"], 0) + 1
    # Whole flows: each as often as the flood has gone round.
    assert set(flows.values()) <= {counted // 2000, -(-counted // 2000)}
    assert 100 <= len(flows) <= 320


def check_flows(watch, counted, size):
    """Every byte is in a flow's line or counted as lost. The lines' packets too."""
    account = watch.check_account()
    assert account["seen"] == counted, account
    assert account["seen_bytes"] == counted * size
    # There may be a million lines: look for two numbers instead of reading them.
    total = {key: sum(map(int, re.findall(f'"{key}":([0-9]+)'.encode(), watch.out)))
             for key in ("bytes", "packets")}
    assert total["bytes"] + sum(account["lost_bytes"].values()) == account["seen_bytes"], account
    assert total["packets"] + sum(account["lost"].values()) == counted, account
    return account


def test_million_flows(flood):
    """1,000,000 flows against flow tables of 65,536."""
    pair = lab.Pair()
    try:
        captures = ["tc", "xdp"]
        watches = pair.b.watches("-i", "vb", "-Q", "in", "--flows", "--json",
                                 each=[["--capture", c] for c in captures])
        counted, octets = Flood(pair, flood, 1000000, 0, flows=1000000, size=64).finish()
        # A driver that runs XDP counts its bytes behind the Ethernet header.
        assert octets == counted * (64 - 14)
        for watch in watches:
            assert watch.stop().status == 0, watch.err
        for capture, watch in zip(captures, watches):
            account = check_flows(watch, counted, 64)
            assert set(account["lost"]) <= {"map_full"}, capture
            assert account["delivered"] > 65536
    finally:
        pair.remove()


def test_small_flow_table(pair, flood):
    """A table of 16: the losses are counted in bytes too."""
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--flows", "--flows-max", "16", "--json")
    watch.send(signal.SIGSTOP)
    counted, octets = Flood(pair, flood, 20000, 0, flows=500, size=100).finish()
    watch.send(signal.SIGCONT)
    assert watch.stop().status == 0
    account = check_flows(watch, counted, 100)
    assert octets == account["seen_bytes"]
    assert account["lost"]["map_full"] > 0
    assert account["lost_bytes"]["map_full"] == account["lost"]["map_full"] * 100


def test_flows_of_a_file(tmp_path):
    """More flows than --flows-max allows for: the rest is summed up, not forgotten."""
    maker = packets.Maker(seed=3)
    frames = []
    for i in range(3000):
        body = struct.pack("!HHHH", 1 + i, 53, 12, 0) + maker.payload(8)
        frames.append(maker.ether([], *maker.ip4(17, body)))
    path = lab.write_pcap(tmp_path / "flows.pcap", frames)
    for limit in ("16", "65536"):
        done = lab.weir("watch", "-r", path, "--flows", "--flows-max", limit, "--json")
        assert done.returncode == 0, done.stderr
        account = json.loads(done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert account["seen"] == 3000 and account["imbalance"] == 0
        assert sum(line["bytes"] for line in lines) + sum(account["lost_bytes"].values()) \
            == sum(map(len, frames)), limit
        assert sum(line["packets"] for line in lines) + sum(account["lost"].values()) == 3000


def test_fail_on_loss(pair, flood):
    """Exit status 3, and only when something was lost."""
    for capture, lossy in (("tc", True), ("tc", False), ("af_packet", True)):
        watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", "--capture", capture,
                             "-B", "64k" if lossy else "16m", "--fail-on-loss")
        watch.send(signal.SIGSTOP)
        Flood(pair, flood, 60000 if lossy else 100, 0, size=1000).finish()
        watch.send(signal.SIGCONT)
        assert watch.stop().status == (3 if lossy else 0), (capture, lossy, watch.err)
        assert bool(watch.check_account()["lost"]) == lossy


def test_pcapng_tells_the_losses(pair, flood, tmp_path):
    """Interface statistics and the drop counts of the packets add up to the account's."""
    path = tmp_path / "lossy.pcapng"
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", "-B", "64k", "-w", path)
    for _ in range(3):
        watch.send(signal.SIGSTOP)
        Flood(pair, flood, 5000, 0).finish()
        watch.send(signal.SIGCONT)
        watch.ask()
    Flood(pair, flood, 10, 0).finish()
    assert watch.stop().status == 0
    account = watch.check_account()
    blocks = lab.read_pcapng(path)
    number = {code: int.from_bytes(blocks[-1].options[code][0], "little") for code in (4, 6, 7, 8)}
    assert blocks[-1].kind == lab.STATISTICS
    assert number == {4: account["seen"], 6: account["matched"],
                      7: sum(account["lost"].values()), 8: account["delivered"]}
    dropped = sum(int.from_bytes(b.options[4][0], "little") for b in blocks
                  if b.kind == lab.PACKET and 4 in b.options)
    assert dropped == sum(account["lost"].values())
    assert sum(b.kind == lab.PACKET for b in blocks) == account["delivered"]
