# SPDX-License-Identifier: GPL-2.0-only
"""However a watch ends, nothing of it stays: no program, map, link, qdisc, offload
or promiscuous flag; and what others have on the interface stays theirs."""

import os
import re
import signal

import pytest

import kernel
import lab
import packets

SIGNALS = {"SIGINT": 0, "SIGTERM": 0, "SIGHUP": 0, "SIGKILL": -9}
ON_B = {
    "tc": ["--capture", "tc"],
    "tc perf": ["--capture", "tc", "--transport", "perf"],
    "tc flows": ["--capture", "tc", "--flows"],
    "tc count": ["--capture", "tc", "--count"],
    "tc promisc": ["--capture", "tc", "--promisc"],
    "xdp generic": ["--capture", "xdp", "--xdp-mode", "generic"],
    "af_packet": ["--capture", "af_packet", "--promisc"],
    "af_packet fanout": ["--capture", "af_packet", "--fanout", "2"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "pcap": ["--capture", "pcap", "--promisc"],
}
ON_A = {
    "xdp native": ["--capture", "xdp", "--xdp-mode", "native"],
    "xdp native flows": ["--capture", "xdp", "--xdp-mode", "native", "--flows", "--promisc"],
}
NAME = re.compile(r"weir_(watch|gate)\w*$")


def frames(n):
    maker = packets.Maker(seed=9)
    return [maker.ether([], *maker.ip4(packets.UDP, maker.udp(64))) for _ in range(n)]


@pytest.mark.parametrize("name", SIGNALS)
def test_signal(name):
    """Every capture at once, all ended by the same signal."""
    pair = lab.Pair()
    try:
        ends = [(pair.b, "vb", ON_B), (pair.a, "va", ON_A)]
        before = [kernel.state(ns, dev) for ns, dev, _ in ends]
        watches = {}
        for ns, dev, captures in ends:
            watches.update(zip(captures, ns.watches("-i", dev, "--stats", "json", "net ::/0 or ip",
                                                    each=captures.values())))
        pair.a.inject("va", frames(200))
        pair.b.inject("vb", frames(200))
        for watch in watches.values():
            watch.wait_seen(200)
        assert [ns.link(dev)["promiscuity"] for ns, dev, _ in ends] == [3, 1]
        assert pair.b.link("vb")["xdp"]["attached"] and pair.a.link("va")["xdp"]["attached"]
        objects = {capture: kernel.Objects(watch.pid) for capture, watch in watches.items()}
        for capture, held in objects.items():
            assert capture == "pcap" or held.prog, capture
            assert all(NAME.match(n) for n in held.names), (capture, held.names)
        for watch in watches.values():
            watch.send(getattr(signal, name))
        for capture, watch in watches.items():
            assert watch.wait() == SIGNALS[name], (capture, watch.err)
            if name != "SIGKILL":
                account = watch.check_account()
                assert account["lost"] == {} and account["seen"] >= 200, (capture, account)
        for held in objects.values():
            held.wait_gone()
        lab.wait_for("the interfaces to be as before",
                     lambda: [kernel.state(ns, dev) for ns, dev, _ in ends] == before)
    finally:
        pair.remove()


def test_signal_while_starting(pair):
    """A signal at any moment of the start ends it as cleanly."""
    before = kernel.state(pair.b, "vb")
    for delay in range(0, 160, 10):
        number = (signal.SIGINT, signal.SIGTERM)[delay % 20 == 0]
        capture = (["--capture", "tc"], ["--capture", "xdp"])[delay % 40 < 20]
        watch = pair.b.watch("-i", "vb", *capture, listening=False)
        try:
            watch.process.wait(delay / 1000)
        except lab.subprocess.TimeoutExpired:
            pass
        watch.send(number)
        # Before the signals are taken over, it is the signal that ends it.
        assert watch.wait() in (0, -number), watch.err
    lab.wait_for("the interface to be as before", lambda: kernel.state(pair.b, "vb") == before)


def test_output_that_blocks(pair):
    """A reader that has stopped reading does not keep the watch alive."""
    read, write = os.pipe()
    try:
        watch = pair.b.watch("-i", "vb", "-Q", "in", "--format", "hex", "--stats", "json",
                             out=os.fdopen(write, "wb"))
        for _ in range(10):
            pair.a.inject("va", frames(500))
        assert watch.stop().status == 0
        account = watch.check_account()
        assert account["seen"] == 5000 and account["lost"].get("writer", 0) > 0
    finally:
        os.close(read)


def test_output_that_goes_away(pair):
    """As `weir watch | head -1`: it ends by itself."""
    read, write = os.pipe()
    out = os.fdopen(write, "wb")
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", out=out)
    os.close(read)
    out.close()
    pair.a.inject("va", frames(100))
    assert watch.wait() in (0, 1)
    watch.check_account()


@pytest.mark.parametrize("capture", ["tc", "xdp", "af_packet", "pcap"])
@pytest.mark.parametrize("first", [0, 1])
def test_two_watches(pair, capture, first):
    """Two on one interface see the same; killing either leaves the other at work."""
    before = kernel.state(pair.b, "vb")
    watches = [pair.b.watch("-i", "vb", "-Q", "in", "--capture", capture, "--stats", "json")
               for _ in range(2)]
    pair.a.inject("va", frames(50))
    for watch in watches:
        watch.wait_seen(50)
    killed, other = watches[first], watches[1 - first]
    held = kernel.Objects(killed.pid)
    kept = kernel.Objects(other.pid)
    killed.kill()
    # What the other does not use goes at once.
    held.prog -= kept.prog
    held.map -= kept.map
    held.link -= kept.link
    lab.wait_for("the killed one's objects to go", lambda: not (held.prog & kernel.ids("prog")))
    pair.a.inject("va", frames(50))
    other.wait_seen(100)
    assert other.stop().status == 0
    assert other.check_account()["seen"] == 100
    held.wait_gone()
    kept.wait_gone()
    assert kernel.state(pair.b, "vb") == before


def test_guests_come_and_go(pair):
    """Eight guests of one gate; the ninth is told so; a place that is left is free."""
    args = ("-i", "vb", "--capture", "xdp", "--stats", "json")
    watches = pair.b.watches(*args, each=[[]] * 8)
    ninth = lab.weir("watch", *args, ns=pair.b)
    assert ninth.returncode == 1 and ninth.stderr.count("\n") == 1, ninth.stderr
    watches[3].kill()
    watches[0].stop()
    watches += pair.b.watches(*args, each=[[]] * 2)
    alive = [w for i, w in enumerate(watches) if i not in (0, 3)]
    pair.a.inject("va", frames(20))
    for watch in alive:
        watch.wait_seen(20)
        held = kernel.Objects(watch.pid)
    for watch in alive:
        assert watch.stop().status == 0
        assert watch.check_account()["seen"] == 20
    held.wait_gone()
    assert "xdp" not in pair.b.link("vb")


def test_modes_do_not_mix(pair):
    """A gate in one mode, a watch that insists on the other: told, nothing changed."""
    first = pair.b.watch("-i", "vb", "--capture", "xdp", "--xdp-mode", "generic")
    attached = pair.b.link("vb")["xdp"]
    second = lab.weir("watch", "-i", "vb", "--capture", "xdp", "--xdp-mode", "native", ns=pair.b)
    assert second.returncode == 1 and second.stderr.count("\n") == 1, second.stderr
    assert pair.b.link("vb")["xdp"] == attached
    assert first.stop().status == 0


def test_tc_beside_generic_xdp(pair):
    """Generic XDP hands on a copy of the packet that has forgotten how long its
    Ethernet header is. tc sees the frame all the same."""
    gate = pair.b.watch("-i", "vb", "--capture", "xdp", "--xdp-mode", "generic", "-w", "-")
    watches = pair.b.watches("-i", "vb", "-Q", "in", "-w", "-", "--stats", "json",
                             each=[["--capture", c] for c in ("tc", "af_packet", "pcap")])
    sent = frames(20)
    pair.a.inject("va", sent)
    for watch in watches:
        watch.wait_seen(20)
    for watch in (*watches, gate):
        assert watch.stop().status == 0
        assert lab.packets_of(watch.out) == sent, watch.args
    assert {watch.account["seen_bytes"] for watch in watches} == {sum(map(len, sent))}


BPF_FLAGS = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror", "-fno-stack-protector",
             f"-I/usr/include/{os.uname().machine}-linux-gnu", f"-I{lab.TOP}/src"]


def test_foreign_program(pair, tmp_path):
    """Somebody else's XDP program stays, and is named."""
    source = tmp_path / "foreign.c"
    source.write_text('int somebody(void *ctx) __attribute__((section("xdp"), used));\n'
                      'int somebody(void *ctx) { (void)ctx; return 2; }\n'
                      'char LICENSE[] __attribute__((section("license"), used)) = "GPL";\n')
    lab.sh("clang", *BPF_FLAGS, "-c", source, "-o", tmp_path / "foreign.o")
    pair.b.ip("link", "set", "vb", "xdpgeneric", "obj", tmp_path / "foreign.o", "sec", "xdp")
    try:
        attached = pair.b.link("vb")["xdp"]
        done = lab.weir("watch", "-i", "vb", "--capture", "xdp", ns=pair.b)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "somebody" in done.stderr
        assert pair.b.link("vb")["xdp"] == attached
        watch = pair.b.watch("-i", "vb", "-Q", "in", "--capture", "tc", "--stats", "json")
        pair.a.inject("va", frames(5))
        watch.wait_seen(5)
        assert watch.stop().status == 0
        assert pair.b.link("vb")["xdp"] == attached
    finally:
        pair.b.ip("link", "set", "vb", "xdpgeneric", "off")


def maps_by_name(program):
    """name -> descriptor of the maps of a program. Held before anybody looks at them:
    a program array is cleared, some time later, when its last descriptor closes."""
    found = {}
    for number in kernel.program(program)["map_ids"]:
        fd = kernel.map_by_id(number)
        told = kernel.json.loads(lab.sh("bpftool", "-j", "map", "show", "id", number).stdout)
        found[told["name"]] = fd
    return found


def make_resident(gate, link, pins):
    """What a resident verb does: fill the slot, pin the array and the gate's link."""
    maps = maps_by_name(gate)
    stage = kernel.resident_stage(maps["weir_scratch"], [maps[f"weir_guest{i}"] for i in range(8)],
                                  verdict=1, rule=7)
    kernel.pin(maps["weir_resident"], pins / "resident")
    kernel.fill_slot(maps["weir_resident"], 0, stage)
    kernel.set_bit(maps["weir_gate_used"], 1 << 16)  # WEIR_SCRATCH_RESIDENT(0)
    link = kernel.link_by_id(link)
    kernel.pin(link, pins / "gate")
    for fd in (stage, link, *maps.values()):
        os.close(fd)


def test_beside_a_resident_stage(tmp_path):
    """A stage that is pinned, as a filter's: it outlives every watch, and watch shows
    what it dropped."""
    pair = lab.Pair()
    pins = tmp_path / "bpf"
    pins.mkdir()
    lab.sh("mount", "-t", "bpf", "bpf", pins)
    try:
        first = pair.b.watch("-i", "vb", "--capture", "xdp", "--stats", "json")
        gate = pair.b.link("vb")["xdp"]["prog"]["id"]
        held = kernel.Objects(first.pid)
        make_resident(gate, *held.link, pins)
        first.kill()
        assert pair.b.link("vb")["xdp"]["prog"]["id"] == gate
        watches = pair.b.watches("-i", "vb", "--capture", "xdp", "--json",
                                 each=[[], ["--verdict", "drop"], ["--verdict", "pass"]])
        behind = pair.b.watch("-i", "vb", "-Q", "in", "--capture", "tc", "--stats", "json")
        pair.a.inject("va", frames(30))
        for watch in watches:
            watch.wait_seen(30)
        mine = set.union(*(kernel.Objects(watch.pid).prog for watch in watches)) - {gate}
        assert behind.stop().status == 0 and behind.account["seen"] == 0
        for watch, delivered in zip(watches, (30, 30, 0)):
            watch.send(signal.SIGKILL if watch is watches[1] else signal.SIGINT)
            watch.wait()
            assert all(line["verdict"] == "drop" and line["rule"] == "rule/7"
                       for line in watch.json)
            if watch is not watches[1]:
                assert len(watch.json) == delivered
                watch.check_account()
        # Theirs goes, the resident's stays.
        lab.wait_for("the guests' programs to go", lambda: not mine & kernel.ids("prog"))
        assert pair.b.link("vb")["xdp"]["prog"]["id"] == gate
        (pins / "gate").unlink()
        (pins / "resident").unlink()
        held.wait_gone()
        assert "xdp" not in pair.b.link("vb")
    finally:
        lab.sh("umount", pins)
        pair.remove()


def test_interface_goes_away():
    """The interface is deleted under a watch: it still ends, with its account."""
    pair = lab.Pair()
    try:
        watches = pair.b.watches("-i", "vb", "--stats", "json",
                                 each=[["--capture", c] for c in ("tc", "xdp", "af_packet")])
        pair.a.inject("va", frames(10))
        for watch in watches:
            watch.wait_seen(10)
        held = [kernel.Objects(watch.pid) for watch in watches]
        pair.b.ip("link", "del", "vb")
        for watch in watches:
            assert watch.stop().status in (0, 1), watch.err
            assert watch.check_account()["seen"] >= 10
        for objects in held:
            objects.wait_gone()
    finally:
        pair.remove()
