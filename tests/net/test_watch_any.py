# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch -i any`: what was sent once is shown once, wherever it passes."""

import collections
import functools

import pytest

import lab
import packets

HOW = {
    "auto": [],  # tc, or a socket filter where the kernel has no tcx
    "tap": ["--capture", "af_packet"],
    "mmap": ["--capture", "af_packet", "--transport", "mmap"],
    "pcap": ["--capture", "pcap"],
}
BROADCAST = b"\xff" * 6
OURS = b"\x02\0\xee" # how the source addresses of what is sent here begin


def frames(n, seed, to=BROADCAST):
    """Frames that differ from one another, and from those of another seed."""
    maker = packets.Maker(seed)
    return [to + OURS + bytes([seed]) + i.to_bytes(2, "big")
            + maker.ether([], *maker.ip4(packets.UDP, maker.udp(64)))[12:] for i in range(n)]


@pytest.fixture
def space():
    spaces = []

    def make():
        spaces.append(lab.Netns())
        return spaces[-1]
    yield make
    for ns in spaces:
        ns.remove()


def veth(ns, name, other, peer):
    ns.ip("link", "add", name, "type", "veth", "peer", "name", peer, "netns", other.name)
    ns.ip("link", "set", name, "up")
    other.ip("link", "set", peer, "up")


def total(watch, key="seen"):
    watch.ask()
    last = {a["iface"]: a[key] for a in watch.accounts}
    return sum(last.values())


def ours(path):
    """What was sent here; a bridge has words of its own now and then."""
    return collections.Counter(f for f in lab.packets_of(path) if f[6:9] == OURS)


def check(ns, path, send, sent, *args, times=1):
    """Everything that @send makes happen is written @times, and nothing else."""
    watch = ns.watch("-i", "any", "--stats", "json", "-w", path, *args)
    send()
    lab.wait_for(lambda: f"{len(sent) * times} packets, of which there are {total(watch)}",
                 lambda: total(watch) >= len(sent) * times)
    assert watch.stop().status == 0, watch.err
    for account in watch.accounts[-len({a["iface"] for a in watch.accounts}):]:
        assert account["imbalance"] == account["queued"] == 0 == len(account["lost"]), account
    assert ours(path) == collections.Counter(sent * times)
    return watch


@pytest.mark.parametrize("how", HOW)
def test_pair_in_one_namespace(space, tmp_path, how):
    ns = space()
    veth(ns, "va", ns, "vb")
    there, back = frames(10, 1), frames(7, 2)

    def send():
        ns.inject("va", there)
        ns.inject("vb", back)
    check(ns, tmp_path / "one", send, there + back, *HOW[how])
    check(ns, tmp_path / "all", send, there + back, *HOW[how], "--points", "all", times=2)
    check(ns, tmp_path / "in", send, there + back, *HOW[how], "-Q", "in")
    check(ns, tmp_path / "out", send, there + back, *HOW[how], "-Q", "out")


@pytest.mark.parametrize("how", HOW)
def test_loopback(space, how):
    ns = space()
    ns.ip("link", "set", "lo", "up")
    for points, n in (("one", 6), ("all", 6 if how == "pcap" else 12)):
        watch = ns.watch("-i", "any", "--stats", "json", "-w", "/dev/null", "--points", points,
                         *HOW[how], "icmp")
        ns.sh("ping", "-c", "3", "-i", "0.01", "127.0.0.1")
        lab.wait_for(f"{n} packets", lambda w=watch, k=n: total(w, "matched") >= k)
        assert watch.stop().status == 0
        assert watch.account["matched"] == n


@pytest.fixture
def bridge(space):
    """A host with a bridge of two ports, and who is plugged into them."""
    host, out = space(), space()
    host.ip("link", "add", "br0", "type", "bridge")
    for i in (1, 2):
        veth(host, f"p{i}", out, f"q{i}")
        host.ip("link", "set", f"p{i}", "master", "br0")
    host.ip("link", "set", "br0", "up")
    for i in (1, 2):
        lab.wait_for("the port to forward",
                     lambda n=i: "state forwarding" in
                     host.sh("bridge", "-d", "link", "show", "dev", f"p{n}").stdout)
    return host, out


@pytest.mark.parametrize("how", HOW)
def test_bridge(bridge, tmp_path, how):
    host, out = bridge
    mac = bytes.fromhex(host.link("br0")["address"].replace(":", ""))
    flooded, to_host, from_host = frames(5, 1), frames(6, 2, mac), frames(7, 3)

    def send():
        out.inject("q1", flooded + to_host)
        host.inject("br0", from_host)
    check(host, tmp_path / "one", send, flooded + to_host + from_host, *HOW[how])
    path = tmp_path / "all"
    watch = host.watch("-i", "any", "--points", "all", "--stats", "json", "-w", path, *HOW[how])
    send()
    # In by p1, up to br0, out by p2; in by p1, up; out by br0, p1, p2.
    lab.wait_for("all points", lambda: total(watch) >= 3 * 5 + 2 * 6 + 3 * 7)
    assert watch.stop().status == 0
    assert ours(path) == collections.Counter(3 * flooded + 2 * to_host + 3 * from_host)


def test_bridge_within(space, tmp_path):
    """Ports, their other ends and the bridge in one namespace: three interfaces on the
    way, one place."""
    ns = space()
    ns.ip("link", "add", "br0", "type", "bridge")
    for i in (1, 2):
        veth(ns, f"p{i}", ns, f"q{i}")
        ns.ip("link", "set", f"p{i}", "master", "br0")
    ns.ip("link", "set", "br0", "up")
    lab.wait_for("the ports to forward",
                 lambda: ns.sh("bridge", "-d", "link").stdout.count("state forwarding") == 2)
    sent = frames(8, 1)
    check(ns, tmp_path / "one", lambda: ns.inject("q1", sent), sent)
    host = frames(4, 2)
    check(ns, tmp_path / "host", lambda: ns.inject("br0", host), host)


def add_or_skip(ns, *words):
    if ns.ip("link", "add", *words, check=False).returncode:
        pytest.skip(f"this kernel has no such device: {' '.join(words)}")


def test_macvlan(space, tmp_path):
    host, out = space(), space()
    veth(host, "vb", out, "va")
    add_or_skip(host, "mv", "link", "vb", "type", "macvlan", "mode", "bridge")
    host.ip("link", "set", "mv", "up")
    mac = bytes.fromhex(host.link("mv")["address"].replace(":", ""))
    came, went = frames(5, 1, mac), frames(6, 2)

    def send():
        out.inject("va", came)
        host.inject("mv", went)
    check(host, tmp_path / "one", send, came + went)
    check(host, tmp_path / "all", send, came + went, "--points", "all", times=2)


def test_bond(space, tmp_path):
    host, out = space(), space()
    add_or_skip(host, "bond0", "type", "bond")
    host.sh("sh", "-c", "ip link set bond0 type bond mode active-backup")
    for i in (1, 2):
        veth(host, f"s{i}", out, f"t{i}")
        host.ip("link", "set", f"s{i}", "down")
        host.ip("link", "set", f"s{i}", "master", "bond0")
        host.ip("link", "set", f"s{i}", "up")
    host.ip("link", "set", "bond0", "up")
    came, went = frames(5, 1), frames(6, 2)

    def send():
        out.inject("t1", came)
        host.inject("bond0", went)
    check(host, tmp_path / "one", send, came + went)


def test_vlan(space, tmp_path):
    host, out = space(), space()
    veth(host, "vb", out, "va")
    add_or_skip(host, "link", "vb", "name", "vb.7", "type", "vlan", "id", "7")
    host.ip("link", "set", "vb.7", "up")
    tagged = [f[:12] + b"\x81\0\0\x07" + f[12:] for f in frames(5, 1)]
    upper, own = frames(6, 2), frames(3, 3)

    def send():
        out.inject("va", tagged)
        host.inject("vb.7", upper)
        host.inject("vb", own)
    check(host, tmp_path / "one", send,
          tagged + [f[:12] + b"\x81\0\0\x07" + f[12:] for f in upper] + own)


@pytest.mark.parametrize("how", HOW)
def test_many_interfaces(space, tmp_path, how):
    """More than are compared one by one in the kernel."""
    host, out = space(), space()
    sent = []
    for i in range(20):
        veth(host, f"h{i}", out, f"o{i}")
        sent += frames(1, i + 1)

    def send():
        for i, frame in enumerate(sent):
            (out.inject if i % 2 else host.inject)(f"{'o' if i % 2 else 'h'}{i}", [frame])
    watch = check(host, tmp_path / "many", send, sent, *HOW[how])
    seen = {a["iface"]: a["seen"] for a in watch.accounts}
    assert seen == {f"h{i}": 1 for i in range(20)}


def joined(watch, name, word="joined"):
    told = f'"event":"{word}","iface":"{name}"'
    lab.wait_for(told, lambda: told in watch.err)


@pytest.mark.parametrize("how", ["auto", "tap"])
def test_one_that_comes_up_later_joins(space, tmp_path, how):
    """Before, beside and after another; what has gone keeps its account."""
    host, out = space(), space()
    veth(host, "vb", out, "va")
    path = tmp_path / "file"
    watch = host.watch("-i", "any", "-w", path, "--stats", "json", *HOW[how])
    before, later, last, again = (frames(n, n) for n in (3, 4, 5, 6))
    out.inject("va", before)
    veth(host, "vc", out, "vd")
    joined(watch, "vc")
    out.inject("vd", later)
    lab.wait_for("the packets", lambda: total(watch) >= 7)
    host.ip("link", "del", "vc")
    joined(watch, "vc", "gone")
    out.inject("va", last)
    veth(host, "vc", out, "vd")
    lab.wait_for("vc again", lambda: watch.err.count('"event":"joined","iface":"vc"') == 2)
    host.inject("vc", again)
    lab.wait_for("all packets", lambda: total(watch) >= 18)
    assert watch.stop().status == 0, watch.err
    seen = {a["iface"]: a for a in watch.accounts}
    assert {k: a["seen"] for k, a in seen.items()} == {"vb": 8, "vc": 10}
    assert all(a["imbalance"] == a["queued"] == 0 == len(a["lost"]) for a in seen.values())
    assert ours(path) == collections.Counter(before + later + last + again)
    names = collections.Counter(name for name, in lab.tshark(path, "frame.interface_name"))
    assert names == {"vb": 8, "vc": 10}


def test_the_last_one_goes(space):
    host, out = space(), space()
    veth(host, "vb", out, "va")
    watch = host.watch("-i", "any", "-n", "udp")
    host.ip("link", "del", "vb")
    lab.wait_for("the word about it", lambda: "weir watch: vb is gone\n" in watch.err)
    veth(host, "vc", out, "vd")
    lab.wait_for("the next", lambda: "weir watch: vc came up and is watched\n" in watch.err)
    out.inject("vd", frames(1, 1))
    lab.wait_for("its packet", lambda: b" vc " in watch.out)
    assert watch.stop().status == 0


@pytest.mark.parametrize("how", ["auto", "tap"])
def test_one_that_becomes_a_port(space, tmp_path, how):
    """A container's veth is up before it is put into the bridge: each packet still counts
    once."""
    host, out = space(), space()
    host.ip("link", "add", "br0", "type", "bridge")
    veth(host, "p1", out, "q1")
    host.ip("link", "set", "p1", "master", "br0")
    host.ip("link", "set", "br0", "up")
    watch = host.watch("-i", "any", "-w", tmp_path / "file", "--stats", "json", *HOW[how])
    veth(host, "p2", out, "q2")
    joined(watch, "p2")
    host.ip("link", "set", "p2", "master", "br0")
    for i in (1, 2):
        lab.wait_for("the port to forward",
                     lambda n=i: "state forwarding" in
                     host.sh("bridge", "-d", "link", "show", "dev", f"p{n}").stdout)
    # That p2 is a port by now for weir, too, shows only by packets: one at a time.
    sent = []

    def looked_at_once():
        sent.append(frames(1, 100 + len(sent))[0])
        was = total(watch)
        out.inject("q1", sent[-1:])
        lab.wait_for("the packet", lambda: total(watch) > was)
        return collections.Counter(lab.packets_of(tmp_path / "file"))[sent[-1]] == 1
    lab.wait_for("the bridge to be seen", looked_at_once)
    was, more = total(watch), frames(20, 1)
    out.inject("q1", more)
    lab.wait_for("the rest", lambda: total(watch) >= was + 20)
    assert watch.stop().status == 0, watch.err
    found = ours(tmp_path / "file")
    assert all(found[f] == 1 for f in more)
    assert watch.account["imbalance"] == 0


@pytest.mark.parametrize("how", ["mmap", "pcap", "netns"])
def test_where_none_join_it_is_said(space, how):
    host, out = space(), space()
    veth(host, "vb", out, "va")
    if how == "netns":
        start = functools.partial(lab.Watch, "--netns", host.name, "--capture", "tc")
        done = host.sh(lab.WEIR, "watch", "-i", "vb", "--capture", "tc", "--for", "1ms", check=False)
        if "no tcx" in done.stderr:
            pytest.skip("no tcx: the socket filter's join")
    else:
        start = functools.partial(host.watch, *HOW[how])
    watch = start("-i", "any", "-w", "/dev/null")
    other = start("-i", "any", "-w", "/dev/null", "--stats", "json")
    assert "new ones do not join" in watch.err
    veth(host, "vc", out, "vd")
    said = "weir watch: vc came up after the start and is not watched: start again to include it"
    lab.wait_for("the word about it", lambda: said in watch.err)
    lab.wait_for("the same in JSON", lambda: '"event":"appeared","iface":"vc"' in other.err)
    assert watch.stop().status == other.stop().status == 0
    assert watch.err.count("came up") == 1


def test_flows_have_no_interface(bridge):
    """A conversation through a bridge, with an end in this host: one flow, though the two
    ways are looked at on different interfaces."""
    host, out = bridge
    host.ip("addr", "add", "10.78.0.1/24", "dev", "br0")
    out.ip("addr", "add", "10.78.0.2/24", "dev", "q1")
    watch = host.watch("-i", "any", "--flows", "--json", "icmp")
    out.sh("ping", "-c", "3", "-i", "0.01", "10.78.0.1")
    lab.wait_for("6 packets", lambda: total(watch, "matched") >= 6)
    assert watch.stop().status == 0
    assert [(f["packets"], f["packets_in"], f["packets_out"], "iface" in f)
            for f in watch.json] == [(6, 3, 3, False)]
