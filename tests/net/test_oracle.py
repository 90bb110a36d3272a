# SPDX-License-Identifier: GPL-2.0-only
"""One truth in three places: what tshark dissects, what weir matches in user
space (-r), and what it matches in the kernel, live, in every capture."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import lab
import oracle
import packets

EXPRESSIONS = oracle.expressions()
GUESTS = 7  # watches at once on one interface, beside one of everything


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """(path, [(name, frame)], [Record])"""
    path = tmp_path_factory.mktemp("oracle") / "packets.pcap"
    named = packets.Maker(seed=1).frames()
    lab.write_pcap(path, [frame for _, frame in named])
    records = oracle.dissect(path)
    assert len(records) == len(named)
    return path, named, records


def test_enough():
    assert len({json.dumps(words) for words, _ in EXPRESSIONS}) >= 200


def short(frame):
    return frame.hex()[:160]


def explain(named, got, want):
    """The first few packets on which two sides differ."""
    odd = [f"{'not wanted' if i in got else 'missing'}: {i} {named[i][0]} {short(named[i][1])}"
           for i in sorted(set(got) ^ set(want))]
    return "\n".join([f"{len(odd)} packets differ"] + odd[:5])


def test_file_agrees_with_tshark(truth):
    path, named, records = truth
    number = {frame: i for i, (_, frame) in enumerate(named)}

    def one(words):
        done = lab.weir("watch", "-r", path, "-w", "-", *words, text=False)
        if done.returncode:
            return done.stderr.decode()
        return [number[data] for data in lab.packets_of(done.stdout)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, [words for words, _ in EXPRESSIONS]))
    wrong = []
    for (words, test), got in zip(EXPRESSIONS, results):
        want = [i for i, r in enumerate(records) if test(r)]
        if got != want:
            wrong.append(f"{words}: {got if isinstance(got, str) else explain(named, got, want)}")
    assert not wrong, f"{len(wrong)} of {len(EXPRESSIONS)} expressions:\n" + "\n".join(wrong[:20])


def test_expressions_are_worth_asking(truth):
    """Most of them split the packets; none is the same to every packet by mistake."""
    _, _, records = truth
    splits = sum(0 < sum(map(bool, map(test, records))) < len(records) for _, test in EXPRESSIONS)
    assert splits > 0.8 * len(EXPRESSIONS)


def expected_json(r):
    """What tshark says, in the words of --format json."""
    e = {"packet_size": r.len, "eth_src": r.src_mac, "eth_dst": r.dst_mac, "ethertype": r.etype,
         "src_ip": str(r.src) if r.src else None, "dst_ip": str(r.dst) if r.dst else None,
         "vlan": r.vlans[0] if r.vlans else None, "ttl": r.ttl, "tos": r.tos, "ip_id": r.id}
    e["src_port"], e["dst_port"] = r.ports or (None, None)
    e["icmp_type"], e["icmp_code"] = r.icmp or (None, None)
    e["frag_offset"] = r.offset if r.frag else None
    e["fragment"] = None if not r.frag else \
        ("middle" if r.more else "last") if r.later else "first" if r.more else "only"
    e["flow_label"] = r.number("ipv6.flow") if r.fam == 6 else None
    tcp = r.flags is not None
    e["seq"] = r.number("tcp.seq_raw") if tcp else None
    e["ack"] = r.number("tcp.ack_raw") if tcp and r.flags & oracle.ACK else None
    e["window"] = r.number("tcp.window_size_value") if tcp else None
    e["urgent"] = r.number("tcp.urgent_pointer") if tcp and r.flags & oracle.URG else None
    return e


def canonical(name, value):
    if name in ("src_ip", "dst_ip") and value is not None:
        return str(oracle.ipaddress.ip_address(value))
    return value


def test_fields_agree_with_tshark(truth):
    path, named, records = truth
    done = lab.weir("watch", "-r", path, "--format", "json")
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(shown) == len(records)
    wrong = []
    for (name, frame), record, have in zip(named, records, shown):
        for field, want in expected_json(record).items():
            if canonical(field, have.get(field)) != canonical(field, want):
                wrong.append(f"{name}: {field} {have.get(field)}, tshark {want}: {short(frame)}")
    assert not wrong, f"{len(wrong)} fields differ\n" + "\n".join(wrong[:20])


LIVE = {
    "tc": ["--capture", "tc"],
    "tc perf": ["--capture", "tc", "--transport", "perf"],
    "tc user": ["--capture", "tc", "--filter-at", "user"],
    "xdp generic": ["--capture", "xdp", "--xdp-mode", "generic"],
    "xdp native": ["--capture", "xdp", "--xdp-mode", "native"],
    "xdp user": ["--capture", "xdp", "--filter-at", "user"],
    "af_packet": ["--capture", "af_packet"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "af_packet user": ["--capture", "af_packet", "--filter-at", "user"],
    "pcap": ["--capture", "pcap"],
}


@pytest.mark.parametrize("capture", LIVE)
def test_live_agrees_with_file(pair, truth, capture):
    """The packets that arrive, byte by byte, are those that -r shows."""
    path, named, _ = truth
    frames = [frame for _, frame in named]
    step = len(LIVE)
    mine = EXPRESSIONS[1:][list(LIVE).index(capture)::step]
    mine = [EXPRESSIONS[0][0]] + [words for words, _ in mine[::max(1, len(mine) // GUESTS)]][:GUESTS]
    watches = pair.b.watches("-i", "vb", "-Q", "in", *LIVE[capture], "-w", "-", "--stats", "json",
                             each=mine)
    pair.a.inject("va", frames)
    for watch in watches:
        watch.wait_seen(len(frames))
    wrong = []
    for watch, words in zip(watches, mine):
        assert watch.stop().status == 0, (words, watch.err)
        account = watch.check_account()
        assert account["lost"] == {} and account["seen"] == len(frames), (words, account)
        want = lab.weir("watch", "-r", path, "-w", "-", *words, text=False)
        assert want.returncode == 0, want.stderr
        live, file = (Counter(lab.packets_of(data)) for data in (watch.out, want.stdout))
        if live != file:
            odd = (live - file) + (file - live)
            names = {frame: name for name, frame in named}
            wrong.append(f"{words}: {sum(live.values())} live, {sum(file.values())} in the file: "
                         + "; ".join(f"{names.get(f, 'changed')} {short(f)}" for f in list(odd)[:3]))
    assert not wrong, "\n".join(wrong)


def test_outgoing_agrees_with_file(pair, truth):
    """On the way out, at the sender: every capture that has one."""
    path, named, _ = truth
    frames = [frame for _, frame in named]
    words = ["vlan or frag or tcp"]
    watches = pair.a.watches("-i", "va", "-Q", "out", "-w", "-", "--stats", "json", *words,
                             each=[LIVE[c] for c in ("tc", "af_packet", "af_packet ring", "pcap")])
    pair.a.inject("va", frames)
    want = Counter(lab.packets_of(
        lab.weir("watch", "-r", path, "-w", "-", *words, text=False).stdout))
    for watch in watches:
        watch.wait_seen(len(frames))
        assert watch.stop().status == 0, watch.err
        watch.check_account()
        assert Counter(lab.packets_of(watch.out)) == want, watch.args
