# SPDX-License-Identifier: GPL-2.0-only
"""Every known way to slip past a filter's parser, by name: a source or a port that
a rule denies, inside of packets that other filters misread. At XDP in the driver,
behind it, and at tc."""

import logging
import struct

import pytest

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
# pylint: disable=wrong-import-position
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP  # noqa: E402
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6PacketTooBig,  # noqa: E402
                                IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting)
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

import filters  # noqa: E402
import lab  # noqa: E402

BAD4, GOOD4, TO4 = "198.51.100.9", "192.0.2.1", "203.0.113.5"
BAD6, GOOD6, TO6 = "2001:db8:bad::9", "2001:db8:1::1", "2001:db8:2::1"
TELNET, WEB, TFTP, OTHER = 23, 80, 69, 9  # 23/tcp and 69/udp are denied

RULES = [
    "src4: deny --src-ip 198.51.100.0/24",
    "src6: deny --src-ip 2001:db8:bad::/48",
    f"telnet: deny --protocol tcp --dst-port {TELNET}",
    f"tftp: deny --protocol udp --dst-port {TFTP}",
]


def ether(payload, *tags):
    frame = Ether(dst="02:00:5e:00:00:77", src="02:00:5e:00:00:01")
    for tag in tags:
        frame = frame / tag
    return bytes(frame / payload)


def v4(src=GOOD4, **fields):
    return IP(src=src, dst=TO4, **fields)


def v6(src=GOOD6, **fields):
    return IPv6(src=src, dst=TO6, **fields)


def tcp(port=WEB, sport=40000, **fields):
    return TCP(sport=sport, dport=port, flags="S", **fields)


def udp(port=OTHER, sport=40000):
    return UDP(sport=sport, dport=port) / Raw(b"datagram")


def q(vlan=100):
    return Dot1Q(vlan=vlan)


def ad(vlan=200):
    return Dot1AD(vlan=vlan)


def ah(proto, payload):
    return struct.pack("!BBHII", proto, 4, 0, 0x1000, 1) + bytes(12) + bytes(payload)


def esp():
    return struct.pack("!II", 0x1000, 1) + bytes(range(40))


def ext(proto, body, size=8):
    """An extension header of options, or one that looks like it."""
    head = struct.pack("!BBBB", proto, size // 8 - 1, 1, min(size - 4, 255))
    return head + bytes(size - 4) + body


def chain(kinds, payload=None, proto=6):
    """(next header, bytes): extension headers of these numbers before layer 4."""
    body = bytes(payload if payload is not None else tcp(TELNET))
    for kind in reversed(kinds):
        if kind == 44:
            body = struct.pack("!BBHI", proto, 0, 0, 7) + body
        elif kind == 51:
            body = ah(proto, body)
        elif kind == 43:
            body = struct.pack("!BBBBI", proto, 0, 0, 0, 0) + body
        else:
            body = ext(proto, body)
        proto = kind
    return proto, body


def v6chain(kinds, payload=None, src=GOOD6, proto=6):
    first, body = chain(kinds, payload, proto)
    return ether(v6(src, nh=first) / Raw(body))


def fragment4(ident, offset, more, payload, proto=6, src=GOOD4):
    return ether(v4(src, id=ident, flags="MF" if more else 0, frag=offset // 8, proto=proto)
                 / Raw(bytes(payload)))


def fragment6(ident, offset, more, payload, proto=6, src=GOOD6, before=()):
    first, body = chain(before, struct.pack("!BBHI", proto, 0, offset | more, ident)
                        + bytes(payload), 44)
    return ether(v6(src, nh=first) / Raw(body))


def raw4(first_byte, total=None, payload=b"", src=GOOD4, proto=6):
    """An IPv4 header with a version, IHL or length of one's own."""
    packet = bytearray(bytes(v4(src, proto=proto) / Raw(bytes(payload))))
    packet[0] = first_byte
    if total is not None:
        packet[2:4] = struct.pack("!H", total)
    return ether(Raw(bytes(packet)))[:12] + b"\x08\x00" + bytes(packet)


def padded_header():
    """Four bytes of TCP are the packet's; behind them the frame goes on as if the
    header did, as Ethernet's padding."""
    return raw4(0x45, 24, tcp(WEB))


OVERLAP = bytes(tcp(WEB)) + bytes(44)

# In the order in which they are sent: later fragments behind their first ones.
# name: (frame, the rule or !reason that drops it; None passes)
CASES = {
    "plain source": (ether(v4(BAD4) / tcp()), "src4"),
    "plain source, udp": (ether(v4(BAD4) / udp()), "src4"),
    "plain source, icmp": (ether(v4(BAD4) / ICMP()), "src4"),
    "plain source, ipv6": (ether(v6(BAD6) / tcp()), "src6"),
    "plain port": (ether(v4() / tcp(TELNET)), "telnet"),
    "plain port, udp": (ether(v4() / udp(TFTP)), "tftp"),
    "plain port, ipv6": (ether(v6() / tcp(TELNET)), "telnet"),
    "harmless": (ether(v4() / tcp()), None),
    "harmless, ipv6": (ether(v6() / udp()), None),
    "harmless, the other protocol's port": (ether(v4() / udp(TELNET)), None),
    "harmless, source port": (ether(v4() / tcp(WEB, sport=TELNET)), None),
    "harmless, destination address": (ether(IP(src=TO4, dst=BAD4) / tcp()), None),
    # -- tags
    "source behind one tag": (ether(v4(BAD4) / tcp(), q()), "src4"),
    "source behind a priority tag": (ether(v4(BAD4) / tcp(), Dot1Q(vlan=0, prio=5)), "src4"),
    "source behind 802.1ad": (ether(v4(BAD4) / tcp(), ad()), "src4"),
    "source behind two tags, QinQ": (ether(v4(BAD4) / tcp(), ad(), q()), "src4"),
    "source behind two tags, 802.1Q": (ether(v4(BAD4) / tcp(), q(), q(101)), "src4"),
    "ipv6 source behind one tag": (ether(v6(BAD6) / udp(), q()), "src6"),
    "ipv6 source behind two tags": (ether(v6(BAD6) / udp(), ad(), q()), "src6"),
    "port behind one tag": (ether(v4() / tcp(TELNET), q()), "telnet"),
    "port behind two tags, QinQ": (ether(v4() / tcp(TELNET), ad(), q()), "telnet"),
    "ipv6 port behind two tags": (ether(v6() / udp(TFTP), ad(), q()), "tftp"),
    "harmless behind two tags": (ether(v4() / tcp(), ad(), q()), None),
    "source behind three tags": (ether(v4(BAD4) / tcp(), ad(), q(), q(101)), "!headers"),
    "port behind three tags": (ether(v4() / tcp(TELNET), q(), q(), q(101)), "!headers"),
    "arp from the source": (ether(ARP(op=1, psrc=BAD4, pdst=TO4, hwsrc="02:00:5e:00:00:01",
                                      hwdst="00:00:00:00:00:00")), "src4"),
    # -- IPv6 extension headers
    "port behind hop-by-hop": (ether(v6() / IPv6ExtHdrHopByHop() / tcp(TELNET)), "telnet"),
    "port behind routing": (ether(v6() / IPv6ExtHdrRouting(type=4, segleft=0, addresses=[TO6])
                                  / tcp(TELNET)), "telnet"),
    "port behind destination options": (ether(v6() / IPv6ExtHdrDestOpt() / tcp(TELNET)), "telnet"),
    "port behind an atomic fragment header": (ether(v6() / IPv6ExtHdrFragment(id=5)
                                                    / tcp(TELNET)), "telnet"),
    "port behind AH, ipv6": (v6chain([51]), "telnet"),
    "port behind a mobility header": (v6chain([135]), "telnet"),
    "port behind HIP": (v6chain([139]), "telnet"),
    "port behind shim6": (v6chain([140]), "telnet"),
    "udp port behind routing": (v6chain([43], udp(TFTP), proto=17), "tftp"),
    **{f"port behind {n} extension headers": (v6chain([0, 60, 43, 44, 51, 60][:n]), "telnet")
       for n in range(2, 7)},
    **{f"source behind {n} extension headers": (v6chain([0, 60, 43, 44, 51, 60][:n], tcp(),
                                                        src=BAD6), "src6")
       for n in range(1, 7)},
    "harmless behind six extension headers": (v6chain([0, 60, 43, 44, 51, 60], tcp()), None),
    "port behind seven extension headers": (v6chain([0, 60, 43, 44, 51, 60, 60]), "!headers"),
    "source behind seven extension headers": (v6chain([0, 60, 43, 44, 51, 60, 60], tcp(),
                                                      src=BAD6), "src6"),
    "port behind one extension header of 520 bytes": (
        ether(v6(nh=60) / Raw(ext(6, bytes(tcp(TELNET)), 520))), "!truncated"),
    "port behind an extension header that runs past the end": (
        ether(v6(nh=60) / Raw(struct.pack("!BB", 6, 200) + bytes(6) + bytes(tcp(TELNET)))),
        "!truncated"),
    "port behind tags and extension headers": (
        ether(v6(nh=0) / Raw(chain([0, 60, 43, 44])[1]), ad(), q()),
        "telnet"),
    "icmpv6 from the source": (ether(v6(BAD6) / ICMPv6EchoRequest()), "src6"),
    "icmpv6 error from the source": (ether(v6(BAD6) / ICMPv6PacketTooBig()), "src6"),
    "neighbour discovery from the source": (ether(v6(BAD6, hlim=255) / ICMPv6ND_NS(tgt=TO6)),
                                            "src6"),
    "icmpv6 behind hop-by-hop from the source": (
        v6chain([0], ICMPv6EchoRequest(), src=BAD6, proto=58), "src6"),
    "no next header from the source": (ether(v6(BAD6, nh=59)), "src6"),
    "ipv6 jumbogram length from the source": (
        ether(IPv6(src=BAD6, dst=TO6, plen=0, nh=6) / tcp()), "src6"),
    # -- other protocols
    "gre from the source": (ether(v4(BAD4) / GRE() / v4() / tcp()), "src4"),
    "esp from the source": (ether(v4(BAD4, proto=50) / Raw(esp())), "src4"),
    "ah from the source": (ether(v4(BAD4, proto=51) / Raw(ah(6, tcp()))), "src4"),
    "gre from the ipv6 source": (ether(v6(BAD6, nh=47) / Raw(bytes(GRE() / v4() / tcp()))), "src6"),
    "esp from the ipv6 source": (ether(v6(BAD6, nh=50) / Raw(esp())), "src6"),
    "sctp from the source": (ether(v4(BAD4, proto=132) / Raw(bytes(32))), "src4"),
    "an unknown protocol from the source": (ether(v4(BAD4, proto=253) / Raw(bytes(32))), "src4"),
    "port behind AH": (ether(v4(proto=51) / Raw(ah(6, tcp(TELNET)))), "telnet"),
    "6in4 from the source": (ether(v4(BAD4, proto=41) / v6() / tcp()), "src4"),
    "ipip from the source": (ether(v4(BAD4, proto=4) / v4() / tcp()), "src4"),
    # A tunnel's inside is not the packet: what a tunnel device here takes out of it
    # comes in a second time by that device.
    "a source inside 6in4": (ether(v4(proto=41) / v6(BAD6) / tcp()), None),
    "a source inside gre": (ether(v4() / GRE() / v4(BAD4) / tcp()), None),
    "a port inside esp": (ether(v4(proto=50) / Raw(esp())), None),
    # An IPv4-mapped source on the wire is IPv6, which no IPv4 rule is about.
    "ipv4-mapped source": (ether(IPv6(src=f"::ffff:{BAD4}", dst=TO6) / tcp()), None),
    "port from an ipv4-mapped source": (ether(IPv6(src=f"::ffff:{BAD4}", dst=TO6)
                                              / tcp(TELNET)), "telnet"),
    # -- IPv4 header
    "port behind ip options": (ether(v4(options=[IPOption_NOP()] * 4) / tcp(TELNET)), "telnet"),
    "port behind 40 bytes of ip options": (ether(v4(options=[IPOption_NOP()] * 40)
                                                 / tcp(TELNET)), "telnet"),
    "source with ip options": (ether(v4(BAD4, options=[IPOption_NOP()] * 8) / tcp()), "src4"),
    "harmless with ip options": (ether(v4(options=[IPOption_NOP()] * 4) / tcp()), None),
    "bad IHL": (raw4(0x44, payload=tcp(TELNET)), "!malformed"),
    "bad IHL, none": (raw4(0x40, payload=tcp(TELNET), src=BAD4), "!malformed"),
    "IHL beyond the packet": (raw4(0x4f, 40, tcp(TELNET)), "!malformed"),
    "bad version": (raw4(0x65, payload=tcp(TELNET)), "!malformed"),
    "length less than the header": (raw4(0x45, 19, tcp(TELNET)), "!malformed"),
    "length less than the header, from the source": (raw4(0x45, 19, tcp(), src=BAD4), "src4"),
    "length beyond the frame": (raw4(0x45, 1400, tcp(TELNET)), "telnet"),
    "ipv6 in an ipv4 frame": (ether(v4() / tcp())[:12] + b"\x08\x00" + bytes(v6(BAD6) / tcp()),
                              "!malformed"),
    "no-DF tcp port": (ether(v4(flags=0) / tcp(TELNET)), "telnet"),
    "no-DF tcp, harmless": (ether(v4(flags=0) / tcp()), None),
    "ttl 0": (ether(v4(ttl=0) / tcp(TELNET)), "telnet"),
    "reserved flag": (ether(v4(flags="evil") / tcp(TELNET)), "telnet"),
    # -- layer 4
    **{f"port from source port {n}": (ether(v4() / tcp(TELNET, sport=n)), "telnet")
       for n in (0, 20, 53, 67, 80, 123, 65535)},
    "truncated tcp header": (raw4(0x45, 20 + 12, bytes(tcp(WEB))[:12]), "!truncated"),
    "truncated tcp header of the port": (raw4(0x45, 20 + 12, bytes(tcp(TELNET))[:12]), "telnet"),
    "two bytes of tcp": (raw4(0x45, 22, bytes(tcp(TELNET))[:2]), "!truncated"),
    "ports in the padding": (raw4(0x45, 20, tcp(TELNET)), "!truncated"),
    "padding goes on as the header": (padded_header(), "!truncated"),
    "bad data offset": (ether(v4() / tcp(WEB, dataofs=4)), "!malformed"),
    "bad data offset, port": (ether(v4() / tcp(TELNET, dataofs=2)), "telnet"),
    "data offset beyond the packet": (ether(v4() / tcp(WEB, dataofs=15)), "!truncated"),
    "short frame, harmless": (ether(v4() / UDP(sport=1, dport=OTHER)), None),
    "short frame, port": (ether(v4() / UDP(sport=1, dport=TFTP)), "tftp"),
    "tcp flags none, port": (ether(v4() / TCP(sport=1, dport=TELNET, flags=0)), "telnet"),
    "tcp flags all, port": (ether(v4() / TCP(sport=1, dport=TELNET, flags=0x1ff)), "telnet"),
    # -- fragments
    "first fragment": (fragment4(70, 0, 1, bytes(tcp(TELNET)) + bytes(44)), "telnet"),
    "later fragment of it": (fragment4(70, 64, 1, bytes(64)), "telnet"),
    "last fragment of it": (fragment4(70, 128, 0, bytes(64)), "telnet"),
    "first fragment, harmless": (fragment4(71, 0, 1, bytes(tcp(WEB)) + bytes(44)), None),
    "later fragment that looks like the port": (fragment4(71, 64, 0, tcp(TELNET)), None),
    "later fragment without a first that looks like the port": (
        fragment4(72, 64, 0, tcp(TELNET)), None),
    "later fragment that looks like the port, udp": (
        fragment4(73, 64, 0, udp(TFTP), proto=17), None),
    "later fragment from the source": (fragment4(74, 64, 1, bytes(64), src=BAD4), "src4"),
    "first fragment, udp": (fragment4(75, 0, 1, bytes(udp(TFTP)) + bytes(48), proto=17), "tftp"),
    "later fragment of it, udp": (fragment4(75, 64, 0, bytes(64), proto=17), "tftp"),
    "tiny first fragment with the port": (fragment4(76, 0, 1, bytes(tcp(TELNET))[:8]), "telnet"),
    "tiny first fragment with another port": (fragment4(77, 0, 1, bytes(tcp(WEB))[:8]),
                                              "!truncated"),
    "the rest behind a tiny first fragment": (fragment4(77, 8, 0, bytes(tcp(TELNET))[8:]),
                                              "!truncated"),
    "first fragment that is overlapped": (fragment4(78, 0, 1, OVERLAP), None),
    "overlap that would change the port": (fragment4(78, 8, 0, bytes(72)), "!fragment"),
    "first fragment, ipv6": (fragment6(80, 0, 1, bytes(tcp(TELNET)) + bytes(44)), "telnet"),
    "later fragment of it, ipv6": (fragment6(80, 64, 0, bytes(64)), "telnet"),
    "first fragment, ipv6, harmless": (fragment6(81, 0, 1, bytes(tcp(WEB)) + bytes(44)), None),
    "later fragment that looks like the port, ipv6": (fragment6(81, 64, 0, tcp(TELNET)), None),
    "later fragment without a first, ipv6": (fragment6(82, 64, 0, tcp(TELNET)), None),
    "later fragment from the source, ipv6": (fragment6(83, 64, 0, bytes(64), src=BAD6), "src6"),
    "tiny first fragment, ipv6": (fragment6(84, 0, 1, bytes(tcp(TELNET))[:8]), "telnet"),
    "first fragment without its header, ipv6": (
        fragment6(85, 0, 1, bytes(8), proto=60), "!truncated"),
    "first fragment behind four headers, ipv6": (
        fragment6(86, 0, 1, bytes(tcp(TELNET)) + bytes(44), before=(0, 60, 43, 60)), "telnet"),
    "later fragment behind four headers, ipv6": (
        fragment6(86, 64, 0, bytes(64), before=(0, 60, 43, 60)), "telnet"),
}

# Of what is judged by an earlier packet, a test that learns nothing tells less.
STATEFUL = [name for name in CASES if "fragment" in name or "overlap" in name]
UNREAD = [name for name, (_, by) in CASES.items() if by and by[0] == "!" and by != "!fragment"]


@pytest.fixture(scope="module", params=filters.MODES)
def road(request):
    """The policy in force, and what became of every case."""
    r = filters.Road()
    try:
        r.filter.apply(filters.interface_line("vb", request.param), *RULES)
        r.mode = request.param
        came = r.send([frame for frame, _ in CASES.values()])
        r.came = dict(zip(CASES, came))
        r.hits, r.dropped = r.filter.hits(), r.filter.account("vb")["dropped"]
        yield r
    finally:
        r.remove()


@pytest.mark.parametrize("name", CASES)
def test_evasion(road, name):
    assert road.came[name] == (CASES[name][1] is None)


def test_every_drop_is_accounted(road):
    """By rule and by reason, as many as the cases are."""
    rules = [by for _, by in CASES.values() if by and by[0] != "!"]
    reasons = [by[1:] for _, by in CASES.values() if by and by[0] == "!"]
    assert road.hits == {name: rules.count(name) for name in ("src4", "src6", "telnet", "tftp")}
    told = {reason: n for reason, n in road.dropped.items() if n}
    assert told == {"rule": len(rules), **{r: reasons.count(r) for r in reasons}}


def test_the_test_says_the_same(road):
    """`weir filter test` of the same bytes: the same verdict, by the same rule."""
    before = road.filter.hits(), road.filter.accounts()
    told = {name: road.filter.rule_of(frame, "vb") for name, (frame, _) in CASES.items()
            if name not in STATEFUL}
    assert told == {name: by for name, (_, by) in CASES.items() if name not in STATEFUL}
    assert (road.filter.hits(), road.filter.accounts()) == before


@pytest.mark.parametrize("mode", filters.MODES)
def test_malformed_pass(mode):
    """What cannot be read to its end is judged by what was read of it."""
    road = filters.Road()
    try:
        road.filter.apply(filters.interface_line("vb", mode, "malformed", "pass"), *RULES)
        names = [n for n in CASES if n in UNREAD or CASES[n][1] == "src4"]
        came = road.send([CASES[n][0] for n in names])
        assert dict(zip(names, came)) == {n: n in UNREAD for n in names}
        assert road.filter.account("vb")["dropped"].keys() == {"rule"}
    finally:
        road.remove()


def test_what_an_ipv4_mapped_source_needs():
    """It is IPv6, and of no network that IPv6 has: a rule that says so denies it."""
    road = filters.Road()
    try:
        road.filter.apply("interface vb", "mapped: deny ip6 and not src net "
                          "(2000::/3 or fc00::/7 or fe80::/10 or ::/128)")
        names = ["ipv4-mapped source", "plain source", "harmless, ipv6", "plain source, ipv6"]
        assert road.send([CASES[name][0] for name in names]) == [False, True, True, True]
    finally:
        road.remove()


def test_an_ipv4_mapped_source_and_a_long_list():
    """A list that is long enough to become a set says the same as a short one."""
    long = ",".join(f"2001:db8:{i:x}::/48" for i in range(0x100, 0x140))
    road = filters.Road()
    try:
        names = ["ipv4-mapped source", "harmless, ipv6"]
        for words, want in [("::/29", [False, True]), (f"{long},::/29", [False, True]),
                            (f"{long},10.0.0.0/8,192.0.0.0/8", [True, True])]:
            road.filter.apply("interface vb", f"long: deny --src-ip {words}")
            assert road.send([CASES[name][0] for name in names]) == want, words
    finally:
        road.remove()


@pytest.mark.parametrize("mode", filters.MODES)
def test_jumbo_frames(mode):
    """With an MTU of 9000: one packet in several buffers, driver mode included."""
    road = filters.Road(mtu=9000)
    try:
        road.filter.apply(filters.interface_line("vb", mode), *RULES)
        assert road.filter.list()["interfaces"][0]["mode"] == {"tc": "tcx"}.get(mode, mode)
        large = Raw(bytes(8900))
        frames = {
            "harmless": (ether(v4() / UDP(sport=1, dport=OTHER) / large), None),
            "port": (ether(v4() / UDP(sport=1, dport=TFTP) / large), "tftp"),
            "source": (ether(v4(BAD4) / tcp() / large), "src4"),
            "source, ipv6": (ether(v6(BAD6) / tcp() / large), "src6"),
            "port behind two tags": (ether(v4() / tcp(TELNET) / large, ad(), q()), "telnet"),
            "ipv6, harmless": (ether(v6() / tcp() / large), None),
        }
        came = road.send([frame for frame, _ in frames.values()])
        assert dict(zip(frames, came)) == {n: by is None for n, (_, by) in frames.items()}
        sizes = road.filter.rules()["tftp"]
        assert (sizes["hits"], sizes["bytes"]) == (1, 14 + 20 + 8 + 8900 + 8)
    finally:
        road.remove()


PUSH = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
__attribute__((section("tc"), used)) int push(struct __sk_buff *skb);
int push(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 100);
	return TC_ACT_OK;
}
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.mark.parametrize("mode", filters.MODES)
def test_tag_in_metadata(mode, tmp_path):
    """A tag that the device took out of the frame. veth hands over what the sender
    left beside the frame (tx-vlan-hw-insert), as a network card does that strips
    tags. Addresses and ports are where they are; the tag itself is there at tc, and
    not at XDP, whose programs don't get it. Not stripped, it is in the frame."""
    road = filters.Road()
    try:
        push = filters.compile_bpf(tmp_path, "push", PUSH)
        road.a.sh("tc", "qdisc", "add", "dev", "va", "clsact")
        road.a.sh("tc", "filter", "add", "dev", "va", "egress", "bpf", "da", "obj", push,
                  "sec", "tc")
        road.filter.apply(filters.interface_line("vb", mode), *RULES, "tag: deny vlan 100")
        frames = [ether(v4(BAD4) / tcp()), ether(v6() / tcp(TELNET)), ether(v4() / tcp())]
        assert road.send(frames) == [False, False, mode != "tc"]
        road.a.sh("ethtool", "-K", "va", "txvlan", "off")
        assert road.send(frames) == [False, False, False]
        assert road.filter.hits() == {"src4": 2, "src6": 0, "telnet": 2, "tftp": 0,
                                      "tag": 1 + (mode == "tc")}
    finally:
        road.remove()


@pytest.mark.parametrize("place", [*filters.MODES, "tc behind generic XDP"])
def test_a_mac_that_looks_like_an_ip_header(place):
    """Nobody can take 46:... for IPv4's version, or 66:... for IPv6's: neither the
    destination's nor the source's, where a hook has to find the Ethernet header.
    Generic XDP hands on a packet that has forgotten how long that is."""
    road = filters.Road()
    watch = None
    try:
        mode, _, generic = place.partition(" ")
        road.filter.apply(filters.interface_line("vb", mode), *RULES)
        if generic:
            watch = road.b.watch("-i", "vb", "--capture", "xdp", "--xdp-mode", "generic", "--count")
        names = ["plain source", "plain source, ipv6", "plain port", "plain port, ipv6", "harmless",
                 "harmless, ipv6", "port behind two tags, QinQ", "harmless behind two tags"]
        for first in (0x42, 0x46, 0x4e, 0x62, 0x66, 0x60, 0x40):
            frames = [bytes([first]) + frame[1:] for frame, _ in (CASES[n] for n in names)]
            frames += [frame[:6] + bytes([first & 0xfe]) + frame[7:]
                       for frame, _ in (CASES[n] for n in names)]
            came = road.send(frames)
            assert came == [CASES[n][1] is None for n in names] * 2, hex(first)
    finally:
        if watch:
            watch.kill()
        road.remove()


@pytest.mark.parametrize("hook", ["xdp", "tc", "netfilter"])
def test_a_device_without_ethernet(hook):
    """On tun a packet begins with its IP header, whose bytes may look like anything:
    a source of 8.0.x.x lies where Ethernet has the type IPv4, 134.221.x.x IPv6."""
    host = lab.Host()
    weir_filter = filters.Filter(host)
    fd = lab.tun(host, "wtun")
    try:
        weir_filter.apply(f"interface wtun hook {hook}", *RULES,
                          "eights: deny --src-ip 8.0.0.0/16 --dst-port 9",
                          "ipv6s: deny --src-ip 134.221.0.0/16 --dst-port 9")
        sent = [v4(BAD4) / tcp(), v4() / tcp(TELNET), v4() / tcp(), v6(BAD6) / tcp(),
                v6() / tcp(TELNET), v6() / tcp(), v4("8.0.1.2") / udp(OTHER),
                v4("8.0.1.2") / udp(TFTP), v4("8.0.1.2") / udp(10), v4("134.221.1.2") / udp(OTHER)]
        for packet in sent:
            lab.os.write(fd, bytes(packet))
        # Netfilter sees what the stack takes for IP of its own: neither is IPv6 on.
        six = 0 if hook == "netfilter" else 1
        account = weir_filter.wait_seen("wtun", 7 + 3 * six)
        assert account["seen"] == 7 + 3 * six
        assert weir_filter.hits() == {"src4": 1, "telnet": 1 + six, "src6": six, "tftp": 1,
                                      "eights": 1, "ipv6s": 1}
        assert account["passed"] == 2 + six
    finally:
        lab.os.close(fd)
        weir_filter.remove()
        host.remove()


def test_other_encapsulations_of_layer_2():
    """What the host's own IP does not take either: no rule on addresses is about it,
    and a default of drop keeps it out."""
    frames = [ether(v4(BAD4) / tcp())[:12] + struct.pack("!H", 8 + 40) + bytes.fromhex(
        "aaaa030000000800") + bytes(v4(BAD4) / tcp()),  # 802.2 SNAP
        ether(Raw(bytes(46)))[:12] + b"\x88\xb5" + bytes(46)]
    road = filters.Road()
    try:
        road.filter.apply("interface vb", *RULES)
        assert road.send(frames) == [True, True]
        road.filter.apply("interface vb default drop", *RULES)
        assert road.send(frames) == [False, False]
    finally:
        road.remove()


