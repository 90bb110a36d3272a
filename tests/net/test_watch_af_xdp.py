# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --capture af_xdp`: what matches is taken off the interface, and only that;
every packet is in the account; nothing is taken unasked; nothing stays."""

import contextlib
import signal
import socket
import struct
import time

import pytest

import kernel
import lab
import packets

TAKE = ["--capture", "af_xdp"]
MODES = ["native", "generic"]


def frames(n, seed=3, size=64, port=7777):
    maker = packets.Maker(seed)
    out = []
    for _ in range(n):
        udp = struct.pack("!HHHH", 4000, port, 8 + size, 0) + maker.payload(size)
        out.append(b"\xff" * 6 + b"\x02\0\0\0\0\x09" + maker.ether([], *maker.ip4(17, udp))[12:])
    return out


@contextlib.contextmanager
def stack_of(ns, dev):
    """What the stack gets: read() gives the frames so far."""
    s = ns.packet_socket(dev, lab.ETH_P_ALL)
    s.setblocking(False)
    got = []

    def read():
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = s.recvfrom(65536)
                if where[2] != socket.PACKET_OUTGOING:
                    got.append(frame)
        return got
    yield read
    s.close()


@pytest.fixture
def jumbo():
    p = lab.Pair(mtu=9000)
    yield p
    p.remove()


@pytest.mark.parametrize("mode", MODES)
def test_matching_packets_are_taken(pair, tmp_path, mode):
    """They are in the file, byte for byte and in order; the others reach the stack."""
    path = tmp_path / "taken"
    ours, others = frames(30, 1, 64), frames(20, 2, 64, port=8888)
    mixed = [f for two in zip(ours, others) for f in two] + ours[20:]
    with stack_of(pair.b, "vb") as stack:
        watch = pair.b.watch("-i", "vb", *TAKE, "--xdp-mode", mode, "--stats", "json", "-w", path,
                             "udp dst port 7777")
        pair.a.inject("va", mixed)
        watch.wait_seen(50)
        lab.wait_for("the stack to get the others", lambda: len(stack()) >= 20)
        assert watch.stop().status == 0, watch.err
        assert stack() == others
    account = watch.check_account()
    assert (account["seen"], account["unmatched"], account["delivered"]) == (50, 20, 30), account
    assert lab.packets_of(path) == ours
    blocks = [b for b in lab.read_pcapng(path) if b.kind == lab.PACKET]
    assert all(b.options[6] == [struct.pack("<I", 0)] for b in blocks)  # the queue
    times = [b.ts for b in blocks]
    # Of each packet as it came, not of the batch that was read.
    assert times == sorted(times) and len(set(times)) == len(times)
    assert abs(times[0] / 1e9 - time.time()) < lab.PATIENCE * 2


def test_formats_and_ends(pair, tmp_path):
    """-c, --flows, --count, JSON, -s and rotation are as with other engines."""
    def run(*args, n=10, status=0, seen=10):
        watch = pair.b.watch("-i", "vb", *TAKE, "--stats", "json", *args)
        pair.a.inject("va", frames(n))
        if "-c" not in args:
            watch.wait_seen(seen)
            watch.send(signal.SIGINT)
        assert watch.wait() == status, watch.err
        return watch
    watch = run("-c", "4", "--format", "json")
    assert len(watch.json) == 4 and watch.account["delivered"] == 4
    assert watch.account["imbalance"] == 0
    flows = run("--flows", "--format", "json").json
    assert sum(f["packets"] for f in flows) == sum(f["packets_in"] for f in flows) == 10
    assert run("--count").out == b"10 packets\n"
    assert run("-s", "20", "-w", tmp_path / "cut").check_account()["delivered"] == 10
    assert [len(f) for f in lab.packets_of(tmp_path / "cut")] == [20] * 10
    assert run("--sample", "1/1000000000").account["sampled_out"] in (0, 10)
    run("-w", tmp_path / "r", "-C", "1k", n=40, seen=40).check_account()
    parts = sorted(tmp_path.glob("r*"), key=lambda p: int(p.name[1:] or 0))
    assert len(parts) > 1 and [f for p in parts for f in lab.packets_of(p)] == frames(40)


@pytest.mark.parametrize("mode", MODES)
def test_reader_stopped(flood, mode):
    """While nobody reads, buffers run out: each packet that found none is counted."""
    p = lab.Pair()
    try:
        watch = p.b.watch("-i", "vb", *TAKE, "--xdp-mode", mode, "--stats", "json", "-B", "256k",
                          "--fail-on-loss")
        before = p.b.received("vb")[0]
        watch.send(signal.SIGSTOP)
        p.a.sh(flood, "va", p.mac_b, 5000, 0, 100, 200)
        lab.wait_for("the flood to be over", lambda: p.b.received("vb")[0] - before >= 5000)
        watch.send(signal.SIGCONT)
        lab.wait_for("what was taken", lambda: watch.ask()["delivered"] >= 64)
        p.a.inject("va", frames(3))
        watch.wait_seen(5003)
        watch.send(signal.SIGINT)
        assert watch.wait() == 3, watch.err
        account = watch.check_account()
        # 64 buffers before the reader went on; it got all that came then.
        assert account["seen"] == 5003 and account["delivered"] == 64 + 3, account
        assert account["lost"] == {"no_frame": 5000 - 64}, account
    finally:
        p.remove()


@pytest.mark.parametrize("mode", MODES)
def test_long_frames(jumbo, tmp_path, mode):
    """Those of several buffers come whole; where the kernel has none of that, they stay
    with the host and are counted."""
    sent = frames(4, 1, 8900) + frames(4, 2, 100) + frames(4, 3, 3900)
    path = tmp_path / "long"
    with stack_of(jumbo.b, "vb") as stack:
        watch = jumbo.b.watch("-i", "vb", *TAKE, "--xdp-mode", mode, "--stats", "json", "-w", path)
        jumbo.a.inject("va", sent)
        watch.wait_seen(12)
        assert watch.stop().status == 0
        account = watch.check_account()
        got, left = lab.packets_of(path), stack()
    if account["lost"]:
        assert account["lost"] == {"too_big": 8} and got == sent[4:8]
        assert sorted(left) == sorted(sent[:4] + sent[8:])
    else:
        assert got == sent and left == []


def test_several_queues(tmp_path):
    ns, out = lab.Netns(), lab.Netns()
    try:
        out.ip("link", "add", "va", "numtxqueues", 4, "numrxqueues", 4, "type", "veth",
               "peer", "name", "vb", "numtxqueues", 4, "numrxqueues", 4, "netns", ns.name)
        for where, dev in ((out, "va"), (ns, "vb")):
            where.ip("link", "set", dev, "up")
        path = tmp_path / "queues"
        watch = ns.watch("-i", "vb", *TAKE, "--stats", "json", "-w", path)
        s = out.packet_socket("va")
        sent = []
        for queue in range(4):
            for frame in frames(25, queue + 1):
                s.send(frame)
                sent.append(frame)
        s.close()
        watch.wait_seen(100)
        assert watch.stop().status == 0
        assert watch.check_account()["delivered"] == 100
        assert sorted(lab.packets_of(path)) == sorted(sent)
        second = ns.watch("-i", "vb", *TAKE)
        third = lab.weir("watch", "-i", "vb", *TAKE, ns=ns)
        assert third.returncode == 1 and third.stderr == (
            "weir watch: receive queue 0 of vb has an AF_XDP socket already: stop its owner, or "
            "use --capture xdp\n")
        assert second.stop().status == 0
    finally:
        ns.remove()
        out.remove()


def test_two_interfaces():
    ns, out = lab.Netns(), lab.Netns()
    try:
        for i in (1, 2):
            out.ip("link", "add", f"a{i}", "type", "veth", "peer", "name", f"b{i}",
                   "netns", ns.name)
            out.ip("link", "set", f"a{i}", "up")
            ns.ip("link", "set", f"b{i}", "up")
        watch = ns.watch("-i", "b1", "-i", "b2", *TAKE, "--json")
        for i in (1, 2):
            out.inject(f"a{i}", frames(5 * i))
        lab.wait_for("both", lambda: len(watch.json) == 15)
        assert watch.stop().status == 0
        assert sorted(p["iface"] for p in watch.json) == ["b1"] * 5 + ["b2"] * 10
        assert {a["iface"]: a["delivered"] for a in watch.accounts[-2:]} == {"b1": 5, "b2": 10}
    finally:
        ns.remove()
        out.remove()


def test_beside_others_at_the_gate(pair):
    """An observer behind it sees that the packet was taken, one before it that it passed;
    both see it."""
    before = pair.b.watch("-i", "vb", "--capture", "xdp", "--format", "json", "-n")
    taker = pair.b.watch("-i", "vb", *TAKE, "--stats", "json", "udp")
    behind = pair.b.watch("-i", "vb", "--capture", "xdp", "--format", "json", "-n")
    text = pair.b.watch("-i", "vb", "--capture", "xdp", "-n")
    pair.a.inject("va", frames(3))
    for watch in (before, behind):
        lab.wait_for("three", lambda w=watch: len(w.json) == 3)
    lab.wait_for("three lines", lambda: text.out.count(b"\n") == 3)
    for watch in (before, taker, behind, text):
        assert watch.stop().status == 0
    assert [p["verdict"] for p in before.json] == ["pass"] * 3
    assert [p["verdict"] for p in behind.json] == ["taken"] * 3
    assert text.out.count(b"  TAKEN\n") == 3
    assert taker.check_account()["delivered"] == 3


def test_what_a_filter_drops_is_not_taken():
    p = lab.Pair(host=True)
    try:
        done = lab.weir("filter", "deny", "udp dst port 8888", "-i", "vb", ns=p.b)
        assert done.returncode == 0, done.stderr
        watch = p.b.watch("-i", "vb", *TAKE, "--stats", "json", "udp")
        p.a.inject("va", frames(5) + frames(7, 4, port=8888))
        watch.wait_seen(12)
        assert watch.stop().status == 0
        account = watch.check_account()
        assert (account["unmatched"], account["delivered"]) == (7, 5), account
    finally:
        lab.weir("unload", "all", ns=p.b)
        p.remove()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays(pair, number):
    before = kernel.state(pair.b, "vb")
    watch = pair.b.watch("-i", "vb", *TAKE, "-w", "/dev/null")
    held = kernel.Objects(watch.pid)
    assert "weir_watch_take"[:15] in held.names and pair.b.link("vb")["xdp"]["attached"]
    watch.stop(number)
    held.wait_gone()
    lab.wait_for("the interface to be as before", lambda: kernel.state(pair.b, "vb") == before)
    with stack_of(pair.b, "vb") as stack:
        pair.a.inject("va", frames(5))
        lab.wait_for("the stack to get packets again", lambda: len(stack()) == 5)


def refused(ns, dev, *words):
    done = lab.weir("watch", "-i", dev, *TAKE, "--for", "1s", ns=ns)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.endswith("or say --take\n")


def test_an_interface_in_use_is_refused():
    p = lab.Pair()
    ip = p.b.ip
    try:
        for where in ("all", "default", "vb"):
            with p.b:
                open(f"/proc/sys/net/ipv6/conf/{where}/disable_ipv6", "w").write("0")
        ip("link", "set", "vb", "down")
        ip("link", "set", "vb", "up")
        lab.wait_for("a link-local address", lambda: "fe80" in ip("addr", "show", "vb").stdout)
        assert p.b.watch("-i", "vb", *TAKE).stop().status == 0  # that one does not count
        cases = [
            (("addr", "add", "192.0.2.1/24", "dev", "vb"), "address 192.0.2.1"),
            (("-6", "addr", "add", "2001:db8::1/64", "dev", "vb", "nodad"), "address 2001:db8::1"),
            (("route", "add", "198.51.100.0/24", "dev", "vb"), "route 198.51.100.0/24"),
            (("-6", "route", "add", "2001:db8:5::/48", "dev", "vb"), "route 2001:db8:5::/48"),
            (("-6", "route", "add", "default", "dev", "vb"), "route ::/0"),
            (("route", "add", "198.51.100.0/24", "nexthop", "dev", "vb", "nexthop", "dev", "lo"),
             "route 198.51.100.0/24"),
        ]
        ip("link", "set", "lo", "up")
        for words, told in cases:
            ip(*words)
            refused(p.b, "vb", "vb carries the " + told)
            ip(*["del" if w == "add" else w for w in words])
        refused(p.b, "lo", "lo carries the address 127.0.0.1")
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "vb", "master", "br0")
        ip("link", "set", "br0", "up")
        assert p.b.watch("-i", "vb", *TAKE).stop().status == 0
        ip("addr", "add", "192.0.2.1/24", "dev", "br0")
        refused(p.b, "vb", "vb is below br0, which carries the address 192.0.2.1")
        watch = p.b.watch("-i", "vb", *TAKE, "--take", "--stats", "json", "udp")
        p.a.inject("va", frames(4))
        lab.wait_for("four", lambda: watch.ask()["delivered"] == 4)
        assert watch.stop().status == 0
    finally:
        p.remove()
