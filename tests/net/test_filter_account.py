# SPDX-License-Identifier: GPL-2.0-only
"""What the filter counts: every packet once, by rule and by reason, whatever happens
to the policy meanwhile; and that observers show what it dropped."""

import json
import re

import pytest

import filters
import lab
import packets
import prometheus

POLICY = ["denied: deny --src-ip 10.0.0.0/16", "udps: deny --protocol udp --dst-port 7000-7999",
          "ok: allow --dst-port 22", "slow: limit --protocol icmp --rate 1/s --burst 5 --per rule"]


def frame(maker, src="192.0.2.1", proto=packets.UDP, dport=9, size=64):
    body = maker.udp(size) if proto == packets.UDP else \
        maker.tcp(size) if proto == packets.TCP else maker.icmp(size)
    if proto != packets.ICMP:
        body = body[:2] + dport.to_bytes(2, "big") + body[4:]
    ethertype, packet = maker.ip4(proto, body)
    packet = packet[:12] + lab.socket.inet_aton(src) + packet[16:]
    return maker.ether([], ethertype, packet, dst=packets.MACS[0])


def odd(maker, proto, body, frag=0):
    """A packet whose ports no rule may read, from an address that none denies."""
    ethertype, packet = maker.ip4(proto, body, frag=frag)
    packet = packet[:12] + lab.socket.inet_aton("192.0.2.1") + packet[16:]
    return maker.ether([], ethertype, packet, dst=packets.MACS[0])


def mixture(maker):
    """[(frames, rule or None, reason or None)]"""
    later = odd(maker, packets.UDP, maker.payload(64), 0x2000 | 8)
    cut = odd(maker, packets.TCP, bytes(6))
    return [
        ([frame(maker, "10.0.0.7") for _ in range(40)], "denied", "rule"),
        ([frame(maker, dport=7000 + i) for i in range(30)], "udps", "rule"),
        ([frame(maker, proto=packets.TCP, dport=22) for _ in range(20)], "ok", None),
        ([frame(maker, dport=53) for _ in range(17)], None, None),
        ([cut] * 9, None, "truncated"),
        ([later] * 3, None, None),
    ]


@pytest.fixture(scope="module")
def road():
    r = filters.Road()
    yield r
    r.remove()


@pytest.mark.parametrize("mode", filters.MODES)
def test_conservation(road, mode):
    """seen = passed + all the drops, is what was sent, and what passed arrived."""
    road.filter("off")
    road.filter.apply(filters.interface_line("vb", mode), *POLICY)
    before, hits = road.filter.account("vb"), road.filter.rules()
    kinds = mixture(packets.Maker(seed=3))
    came = road.send([f for frames, _, _ in kinds for f in frames])
    after, now = road.filter.account("vb"), road.filter.rules()
    assert came == [reason is None for frames, _, reason in kinds for _ in frames]
    sent = sum(len(frames) for frames, _, _ in kinds)
    assert after["seen"] - before["seen"] == sent
    assert after["passed"] - before["passed"] == sum(came)
    for name in ("rule", "truncated", "limit"):
        expected = sum(len(frames) for frames, _, reason in kinds if reason == name)
        assert after["dropped"].get(name, 0) - before["dropped"].get(name, 0) == expected
    for name in ("denied", "udps", "ok"):
        mine = [f for frames, rule, _ in kinds if rule == name for f in frames]
        # On the wire each is as long as its number and the padding make it.
        octets = sum(len(filters.marked(f, 0)) for f in mine)
        assert now[name]["hits"] - hits[name]["hits"] == len(mine)
        assert now[name]["bytes"] - hits[name]["bytes"] == octets
        assert "last_hit_ts" in now[name]
    assert now["slow"]["hits"] == hits["slow"]["hits"]


def test_prometheus_tells_the_same(road):
    """Every counter of list and drops, by the same names, and every reason from 0 on."""
    road.filter.apply("interface vb", *POLICY)
    maker = packets.Maker(seed=5)
    road.send([frame(maker, "10.0.0.7"), frame(maker, proto=packets.TCP, dport=22),
               odd(maker, packets.TCP, bytes(6))])
    series = prometheus.parse(road.filter("list", "--prometheus").stdout, "weir_filter_")
    account, rules = road.filter.account("vb"), road.filter.rules()
    place = {"iface": "vb", "hook": account["hook"], "direction": "in"}
    for key in ("seen", "seen_bytes", "passed", "replies", "essential"):
        assert prometheus.value(series, f"weir_filter_{key}_total", **place) == account[key]
    reasons = {dict(labels)["reason"]: n for (name, labels), n in series.items()
               if name == "weir_filter_dropped_total"}
    assert {k: n for k, n in reasons.items() if n} == account["dropped"]
    assert {"rule", "limit", "truncated"} <= set(reasons)
    assert prometheus.value(series, "weir_filter_attached", **place) == 1
    for name, rule in rules.items():
        who = {"rule": name, "owner": rule["owner"], "action": rule["action"]}
        assert prometheus.value(series, "weir_filter_rule_hits_total", **who) == rule["hits"]
        assert prometheus.value(series, "weir_filter_rule_bytes_total", **who) == rule["bytes"]
    road.filter("off")
    nothing = prometheus.parse(road.filter("list", "--prometheus").stdout, "weir_filter_")
    assert prometheus.value(nothing, "weir_filter_interfaces") == 0


def test_limit_counts_what_it_drops(road):
    road.filter.apply("interface vb", *POLICY)
    before = road.filter.hits()["slow"]
    dropped = road.filter.account("vb")["dropped"].get("limit", 0)
    maker = packets.Maker(seed=4)
    came = road.send([frame(maker, proto=packets.ICMP) for _ in range(30)])
    # Five at once; of the rest at most one in every second that it took.
    assert came[:5] == [True] * 5 and 5 <= sum(came) < 30
    assert road.filter.hits()["slow"] - before == 30 - sum(came)
    assert road.filter.account("vb")["dropped"]["limit"] - dropped == 30 - sum(came)


def test_hits_survive_a_change(road):
    """By the rule's name: neither its place nor its neighbours matter. A rule that
    went and came begins anew."""
    maker = packets.Maker(seed=5)
    road.filter.apply("interface vb", *POLICY)
    before = road.filter.hits()
    road.send([frame(maker, "10.0.0.7") for _ in range(11)])
    road.filter("allow", "--name", "first", "--before", "denied", "--dst-port", "443")
    road.send([frame(maker, "10.0.0.7") for _ in range(7)])
    road.filter.apply("interface vb default drop", POLICY[2], POLICY[0])
    road.send([frame(maker, "10.0.0.7") for _ in range(5)])
    assert road.filter.hits() == {"denied": before["denied"] + 23, "ok": before["ok"]}
    # Its words may change, as long as it has its name.
    road.filter.apply("interface vb", "denied: deny --src-ip 10.0.0.0/24 --note narrower")
    road.send([frame(maker, "10.0.0.7"), frame(maker, "10.0.9.7")])
    assert road.filter.hits() == {"denied": before["denied"] + 24}
    road.filter("del", "denied")
    road.filter("deny", "--name", "denied", "--src-ip", "10.0.0.0/16")
    assert road.filter.hits() == {"denied": 0}


def test_the_account_survives_a_change(road):
    """Of mode, default and hook alike; `off` ends it."""
    maker = packets.Maker(seed=6)
    road.filter("off")
    road.filter.apply("interface vb mode native", *POLICY)
    for n, line in enumerate(("interface vb mode native default drop", "interface vb")):
        road.send([frame(maker, "10.0.0.7") for _ in range(10)])
        road.filter.apply(line, *POLICY)
        assert road.filter.account("vb")["seen"] == 10 * (n + 1)
    road.filter("off")
    road.filter("on", "vb")
    assert road.filter.account("vb")["seen"] == 0


def test_a_test_run_touches_nothing(road):
    """Neither counters, nor buckets, nor what fragments and replies are known by."""
    road.filter.apply("interface vb default drop", *POLICY,
                      "few: limit --protocol tcp --rate 1/s --burst 1 --per rule",
                      "rest: allow --protocol tcp")
    before = road.filter.hits(), road.filter.accounts()
    for _ in range(5):
        assert road.filter.test("-i", "vb", "tcp", "192.0.2.1", "192.0.2.2:80")["verdict"] == "pass"
    told = road.filter.test("-i", "vb", "udp", "10.0.0.1", "192.0.2.2:80")
    assert (told["verdict"], told["rule"], told["reason"]) == ("drop", "denied", "rule")
    told = road.filter.test("-i", "vb", "udp", "192.0.2.1:53", "192.0.2.2:80")
    assert (told["verdict"], told["reason"]) == ("drop", "default")
    told = road.filter.test("-i", "vb", "tcp", "192.0.2.1", "192.0.2.2:22")
    assert (told["verdict"], told["rule"]) == ("pass", "ok")
    assert (road.filter.hits(), road.filter.accounts()) == before
    # The bucket is as full as it was: the one packet that it holds gets through.
    maker = packets.Maker(seed=8)
    assert road.send([frame(maker, proto=packets.TCP, dport=80)] * 2) == [True, False]
    done = road.filter("test", "-i", "vb", "tcp", "192.0.2.1", "192.0.2.2:80", status=4)
    assert "few" in done.stdout and "drop" in done.stdout.lower()


def test_watch_shows_the_drops(road):
    """`weir watch --capture xdp`: DROP and the rule, or what else it was."""
    road.filter.apply("interface vb default drop", *POLICY)
    maker = packets.Maker(seed=7)
    kinds = {"filter/denied": frame(maker, "10.0.0.7"), "filter/udps": frame(maker, dport=7001),
             "filter/default": frame(maker, dport=5),
             "filter/truncated": odd(maker, packets.TCP, bytes(6))}
    watches = road.b.watches("-i", "vb", "--capture", "xdp",
                             each=[["--json"], ["--verdict", "drop"]])
    road.send([*kinds.values(), frame(maker, proto=packets.TCP, dport=22)])
    for watch in watches:
        lab.wait_for("the packets", lambda w=watch: len(w.out.splitlines()) >= len(kinds))
        assert watch.stop().status == 0, watch.err
    told = [(line["verdict"], line.get("rule")) for line in watches[0].json]
    assert told == [*(("drop", name) for name in kinds), ("pass", "filter/ok")]
    text = watches[1].out.decode()
    assert re.findall(r"DROP (\S+)", text) == list(kinds), text


def test_watch_names_rules_of_a_store_that_came_later():
    """The watch runs before there is anything of the filter."""
    pair = lab.Pair(host=True)
    watch = None
    try:
        watch = pair.b.watch("-i", "vb", "--capture", "xdp", "--json")
        filters.Filter(pair.b).apply("interface vb", "no: deny --src-ip 10.0.0.0/16")
        pair.a.inject("va", [frame(packets.Maker(seed=10), "10.0.0.7")])
        lab.wait_for("the packet", lambda: watch.out.count(b"\n") == 1)
        assert watch.stop().status == 0 and watch.json[0]["rule"] == "filter/no"
    finally:
        if watch:
            watch.kill()
        pair.remove()


def test_drops_live(road):
    """A row a reason, in the formats that are read by people and by programs."""
    road.filter.apply("interface vb", *POLICY)
    maker = packets.Maker(seed=9)
    road.send([frame(maker, "10.0.0.7") for _ in range(3)])
    text = road.filter("drops", "--once").stdout
    assert "denied" in text and "rule" in text
    stream = road.filter("drops", "--json", "--for", "1s").stdout.splitlines()
    assert stream and all(json.loads(line)["v"] == 1 for line in stream)


def test_icmp_on_loopback():
    """The first thing that anybody tries."""
    host = lab.Host(quiet=False)
    try:
        weir_filter = filters.Filter(host)
        host.ip("link", "set", "lo", "up")
        ping = host.command("ping", "-c", "3", "-i", "0.05", "-W", "1")
        assert lab.sh(*ping, "127.0.0.1").returncode == 0
        done = weir_filter("deny", "--protocol", "icmp", "-i", "lo")
        assert re.search(r"\blo\b.*\bon\b", done.stdout + done.stderr), done
        lost = lab.sh(*ping, "127.0.0.1", check=False)
        assert lost.returncode == 1 and "100% packet loss" in lost.stdout
        assert lab.sh(*ping, "::1").returncode == 0
        [rule] = weir_filter.rules().values()
        assert rule["hits"] == 3 and weir_filter.account("lo")["dropped"] == {"rule": 3}
        weir_filter("deny", "--protocol", "icmp6", "-i", "lo", "--name", "six")
        assert lab.sh(*ping, "::1", check=False).returncode == 1
        weir_filter("del", "six", rule["name"])
        for to in ("127.0.0.1", "::1"):
            assert lab.sh(*ping, to).returncode == 0
        assert weir_filter("off").returncode == 0
        assert not weir_filter.attached()
    finally:
        host.remove()


DIRECTIONS = {"tc in": ("tc", "in"), "tc out": ("tc", "out"), "netfilter in": ("netfilter", "in"),
              "netfilter out": ("netfilter", "out")}


@pytest.mark.parametrize("place", DIRECTIONS)
def test_other_hooks(place):
    """In both directions at tc and at netfilter, beside an XDP filter on the same
    interface: each counts what it sees, and rules may name a direction."""
    hook, way = DIRECTIONS[place]
    pair = lab.Pair(addresses=True, host=True)
    try:
        weir_filter = filters.Filter(pair.b)
        weir_filter.apply("interface vb",
                          f"interface vb hook {hook} direction {way}",
                          f"here: deny --protocol udp --dst-port 5000-5009 -Q {way}"
                          if way == "out" else
                          "here: deny --protocol udp --dst-port 5000-5009")
        ns, to = (pair.a, "10.77.0.2") if way == "in" else (pair.b, "10.77.0.1")
        end = (pair.b if way == "in" else pair.a)
        with end:
            sinks = {port: lab.socket.socket(lab.socket.AF_INET, lab.socket.SOCK_DGRAM)
                     for port in (5001, 6001)}
        for port, sink in sinks.items():
            sink.bind(("", port))
            sink.settimeout(lab.PATIENCE)
        with ns:
            s = lab.socket.socket(lab.socket.AF_INET, lab.socket.SOCK_DGRAM)
        for port in (5001, 5002, 6001):
            try:
                s.sendto(b"x", (to, port))
            except PermissionError:  # what netfilter says of a packet that it drops going out
                assert place == "netfilter out" and port != 6001
        assert sinks[6001].recv(10) == b"x"
        sinks[5001].setblocking(False)
        with pytest.raises(BlockingIOError):
            sinks[5001].recv(10)
        # Coming in, XDP is before: it decides alone.
        first = way == "in"
        account = weir_filter.account("vb", direction=way, hook=hook)
        assert account["dropped"].get("rule", 0) == (0 if first else 2)
        assert weir_filter.hits() == {"here": 2}
        assert weir_filter.account("vb", direction="in", hook="xdp")["seen"] > 0
        for sock in (s, *sinks.values()):
            sock.close()
    finally:
        weir_filter.remove()
        pair.remove()


@pytest.mark.parametrize("per", ["rule", "source", "source/16"])
@pytest.mark.parametrize("hook", ["xdp", "tc", "netfilter"])
def test_limit_at_every_hook(hook, per):
    """A burst of five, then one a second: what a program behind the hook receives."""
    pair = lab.Pair(addresses=True, host=True)
    try:
        weir_filter = filters.Filter(pair.b)
        weir_filter.apply(f"interface vb hook {hook}",
                          f"slow: limit udp dst port 5050 --rate 1/s --burst 5 --per {per}")
        with pair.b:
            sink = lab.socket.socket(lab.socket.AF_INET, lab.socket.SOCK_DGRAM)
        sink.bind(("", 5050))
        with pair.a:
            s = lab.socket.socket(lab.socket.AF_INET, lab.socket.SOCK_DGRAM)
        for i in range(40):
            s.sendto(b"%d" % i, ("10.77.0.2", 5050))
        lab.wait_for("the rest to be dropped", lambda: weir_filter.hits()["slow"] >= 20)
        got = []
        sink.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                got.append(int(sink.recv(10)))
        assert got[:5] == [0, 1, 2, 3, 4]
        assert weir_filter.hits() == {"slow": 40 - len(got)}
        assert weir_filter.account("vb")["dropped"] == {"limit": 40 - len(got)}
        s.close()
        sink.close()
    finally:
        weir_filter.remove()
        pair.remove()
