# SPDX-License-Identifier: GPL-2.0-only
"""Ground truth: what tshark dissects, and a model of the match language over it
that shares no code with weir."""

import ipaddress
import operator
import random

import lab

TSHARK_OPTIONS = ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE",
                  "tcp.analyze_sequence_numbers:FALSE", "tcp.relative_sequence_numbers:FALSE")
FIELDS = ["frame.len", "eth.dst", "eth.src", "eth.type", "vlan.etype", "vlan.id", "ieee8021ad.id",
          "ieee8021ad.cvid", "ip.src", "ip.dst", "ip.proto", "ip.ttl", "ip.flags.mf",
          "ip.frag_offset", "ip.id", "ip.dsfield", "ipv6.src", "ipv6.dst", "ipv6.nxt",
          "ipv6.hlim", "ipv6.tclass", "ipv6.flow", "ipv6.hopopts.nxt", "ipv6.dstopts.nxt",
          "ipv6.routing.nxt", "ipv6.fraghdr.nxt", "ipv6.fraghdr.offset", "ipv6.fraghdr.more",
          "ipv6.fraghdr.ident", "ah.next_header", "arp.src.proto_ipv4", "arp.dst.proto_ipv4",
          "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.seq_raw", "tcp.ack_raw",
          "tcp.window_size_value", "tcp.urgent_pointer", "udp.srcport", "udp.dstport",
          "sctp.srcport", "sctp.dstport", "dccp.srcport", "dccp.dstport",
          "icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code"]
EXTENSIONS = {0: "ipv6.hopopts.nxt", 60: "ipv6.dstopts.nxt", 43: "ipv6.routing.nxt",
              44: "ipv6.fraghdr.nxt", 51: "ah.next_header"}
PORT_FIELDS = {6: "tcp", 17: "udp", 132: "sctp", 33: "dccp", 136: "udp"}


class Record:
    """One packet as tshark has it. Of tunnels, the outer headers."""

    def __init__(self, row):
        self.raw = raw = {name: (value.split(";") if value else [])
                          for name, value in zip(FIELDS, row)}
        self.len = int(raw["frame.len"][0])
        self.dst_mac, self.src_mac = raw["eth.dst"][0], raw["eth.src"][0]
        types = raw["eth.type"] + raw["vlan.etype"]
        self.etype = int(types[-1], 0) if types else None
        self.vlans = [int(v) for f in ("ieee8021ad.id", "ieee8021ad.cvid", "vlan.id")
                      for v in raw[f]]
        self.fam = {0x0800: 4, 0x86dd: 6}.get(self.etype)
        self.arp = self.etype == 0x0806
        self.src = self.dst = self.proto = self.ttl = self.tos = self.ports = self.flags = None
        self.icmp = self.id = None
        self.frag = self.later = self.more = self.ah = False
        self.offset = 0
        if self.fam == 4:
            self.ip4()
        elif self.fam == 6:
            self.ip6()
        elif self.arp:
            self.src = ipaddress.ip_address(raw["arp.src.proto_ipv4"][0])
            self.dst = ipaddress.ip_address(raw["arp.dst.proto_ipv4"][0])
        if self.fam and not self.later:
            self.layer4()

    def number(self, field):
        text = self.raw[field][0]
        return {"True": 1, "False": 0}.get(text) if text in ("True", "False") else int(text, 0)

    def ip4(self):
        self.src = ipaddress.ip_address(self.raw["ip.src"][0])
        self.dst = ipaddress.ip_address(self.raw["ip.dst"][0])
        self.ttl, self.tos = self.number("ip.ttl"), self.number("ip.dsfield")
        self.proto, self.id = self.number("ip.proto"), self.number("ip.id")
        self.more = bool(self.number("ip.flags.mf"))
        self.offset = 8 * self.number("ip.frag_offset")
        self.later = self.offset > 0
        self.frag = self.more or self.later
        if not self.later:
            self.walk({51})

    def ip6(self):
        self.src = ipaddress.ip_address(self.raw["ipv6.src"][0])
        self.dst = ipaddress.ip_address(self.raw["ipv6.dst"][0])
        self.ttl, self.tos = self.number("ipv6.hlim"), self.number("ipv6.tclass")
        self.proto = self.number("ipv6.nxt")
        self.walk(set(EXTENSIONS))

    def walk(self, known):
        left = {field: list(self.raw[field]) for field in EXTENSIONS.values()}
        while self.proto in known and not self.later:
            if self.proto == 44:
                self.frag, self.offset = True, 8 * self.number("ipv6.fraghdr.offset")
                self.more, self.later = bool(self.number("ipv6.fraghdr.more")), self.offset > 0
                self.id = self.number("ipv6.fraghdr.ident")
            self.ah = self.ah or self.proto == 51
            self.proto = int(left[EXTENSIONS[self.proto]].pop(0), 0)

    def layer4(self):
        name = PORT_FIELDS.get(self.proto)
        if name:
            self.ports = (self.number(f"{name}.srcport"), self.number(f"{name}.dstport"))
        if self.proto == 6:
            self.flags = self.number("tcp.flags") & 0x1ff
        if (self.fam, self.proto) in ((4, 1), (6, 58)):
            name = "icmp" if self.fam == 4 else "icmpv6"
            self.icmp = (self.number(f"{name}.type"), self.number(f"{name}.code"))


def dissect(pcap):
    return [Record(row) for row in lab.tshark(pcap, *FIELDS, options=TSHARK_OPTIONS)]


# --- the model: each test of the language as a function over a record --------

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = (1 << i for i in range(9))


def ends(r, direction, test, pair):
    if pair is None or pair[0] is None:
        return False
    src, dst = test(pair[0]), test(pair[1])
    return {"src": src, "dst": dst, "src or dst": src or dst, "": src or dst,
            "src and dst": src and dst}[direction]


def addr(direction, *nets, fam=(4, 6), arp=True):
    nets = [ipaddress.ip_network(n) for n in nets]

    def test(r):
        if r.fam not in fam and not (arp and r.arp):
            return False
        return ends(r, direction, lambda a: any(a in n for n in nets if n.version == a.version),
                    (r.src, r.dst))
    return test


def port(direction, *ranges, protos=(6, 17, 132)):
    return lambda r: r.proto in protos and ends(
        r, direction, lambda p: any(lo <= p <= hi for lo, hi in ranges), r.ports)


def proto(*numbers, fam=(4, 6)):
    return lambda r: r.fam in fam and (r.proto in numbers or (r.ah and 51 in numbers))


def etype(*numbers):
    return lambda r: r.etype in numbers


def mac(direction, value):
    return lambda r: ends(r, direction, lambda m: m == value, (r.src_mac, r.dst_mac))


def vlan(*ids):
    return lambda r: any(v in ids for v in r.vlans) if ids else bool(r.vlans)


def length(op, n):
    return lambda r: op(r.len, n)


def ttl(op, n):
    return lambda r: r.ttl is not None and op(r.ttl, n)


def tcp_flags(value, mask, differs=False):
    return lambda r: r.flags is not None and ((r.flags & mask) == value) != differs


def every(r):
    return True


OPS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
       "==": operator.eq, "=": operator.eq, "!=": operator.ne}

ATOMS = [
    ("ip", etype(0x0800)), ("ip6", etype(0x86dd)), ("arp", etype(0x0806)),
    ("rarp", etype(0x8035)),
    ("tcp", proto(6)), ("udp", proto(17)), ("sctp", proto(132)), ("icmp", proto(1, fam=(4,))),
    ("icmp6", proto(58, fam=(6,))), ("gre", proto(47)), ("esp", proto(50)), ("ah", proto(51)),
    ("dccp", proto(33)), ("udplite", proto(136)),
    ("ip proto 6", proto(6, fam=(4,))), ("ip6 proto 17", proto(17, fam=(6,))),
    ("proto 253", proto(253)), ("proto 50,47", proto(50, 47)), ("proto 0-20", proto(*range(21))),
    ("ip proto 58", proto(58, fam=(4,))), ("ip6 proto 1", proto(1, fam=(6,))),
    ("ip proto 4", proto(4, fam=(4,))), ("ip proto 51", proto(51, fam=(4,))),
    ("host 10.0.0.1", addr("", "10.0.0.1")), ("src host 10.0.0.1", addr("src", "10.0.0.1")),
    ("dst host 192.0.2.77", addr("dst", "192.0.2.77")),
    ("src 192.0.2.1", addr("src", "192.0.2.1")),
    ("host 2001:db8::1", addr("", "2001:db8::1")),
    ("dst 2001:db8::2", addr("dst", "2001:db8::2")),
    ("src or dst host 10.1.2.3", addr("src or dst", "10.1.2.3")),
    ("src and dst host 10.0.0.2", addr("src and dst", "10.0.0.2")),
    ("host 10.0.0.1 or 10.0.0.2", addr("", "10.0.0.1", "10.0.0.2")),
    ("host 10.0.0.1,2001:db8::1", addr("", "10.0.0.1", "2001:db8::1")),
    ("ip host 10.0.0.1", addr("", "10.0.0.1", fam=(4,), arp=False)),
    ("arp host 10.0.0.1", addr("", "10.0.0.1", fam=())),
    ("arp src host 192.0.2.1", addr("src", "192.0.2.1", fam=())),
    ("host ::1", addr("", "::1")), ("host 0.0.0.0", addr("", "0.0.0.0")),
    ("net 10.0.0.0/8", addr("", "10.0.0.0/8")), ("src net 192.0.2.0/24", addr("src", "192.0.2.0/24")),
    ("dst net 10.0.0.0/30", addr("dst", "10.0.0.0/30")),
    ("net 0.0.0.0/0", addr("", "0.0.0.0/0")), ("net ::/0", addr("", "::/0")),
    ("net 2001:db8::/32", addr("", "2001:db8::/32")),
    ("src net 2001:db8:0:1::/64", addr("src", "2001:db8:0:1::/64")),
    ("net fe80::/10", addr("", "fe80::/10")), ("net 192.0.2.64/26", addr("", "192.0.2.64/26")),
    ("src and dst net 10.0.0.0/8", addr("src and dst", "10.0.0.0/8")),
    ("net 10.0.0.0 mask 255.0.0.0", addr("", "10.0.0.0/8")),
    ("net 64:ff9b::/96", addr("", "64:ff9b::/96")), ("net 128.0.0.0/1", addr("", "128.0.0.0/1")),
    ("ip net 172.16.0.0/12", addr("", "172.16.0.0/12", fam=(4,), arp=False)),
    ("port 80", port("", (80, 80))), ("src port 53", port("src", (53, 53))),
    ("dst port 443", port("dst", (443, 443))), ("tcp port 22", port("", (22, 22), protos=(6,))),
    ("udp port 5353", port("", (5353, 5353), protos=(17,))),
    ("sctp port 80", port("", (80, 80), protos=(132,))),
    ("tcp dst port 8080", port("dst", (8080, 8080), protos=(6,))),
    ("udp src port 123", port("src", (123, 123), protos=(17,))),
    ("portrange 8000-8999", port("", (8000, 8999))),
    ("src portrange 0-1023", port("src", (0, 1023))),
    ("tcp portrange 1024-65535", port("", (1024, 65535), protos=(6,))),
    ("port 80 or 443", port("", (80, 80), (443, 443))),
    ("port 22,53,80,8000-8999", port("", (22, 22), (53, 53), (80, 80), (8000, 8999))),
    ("port 0", port("", (0, 0))), ("port 65535", port("", (65535, 65535))),
    ("src and dst portrange 1-1024", port("src and dst", (1, 1024))),
    ("port domain", port("", (53, 53))), ("tcp port https", port("", (443, 443), protos=(6,))),
    ("ether host 02:00:5e:10:00:01", mac("", "02:00:5e:10:00:01")),
    ("ether src 02:00:5e:10:00:02", mac("src", "02:00:5e:10:00:02")),
    ("ether dst ff:ff:ff:ff:ff:ff", mac("dst", "ff:ff:ff:ff:ff:ff")),
    ("ether src and dst 0a:1b:2c:3d:4e:5f", mac("src and dst", "0a:1b:2c:3d:4e:5f")),
    ("ether broadcast", mac("dst", "ff:ff:ff:ff:ff:ff")),
    ("ether multicast", lambda r: int(r.dst_mac[:2], 16) & 1 == 1),
    ("broadcast", mac("dst", "ff:ff:ff:ff:ff:ff")),
    ("multicast", lambda r: int(r.dst_mac[:2], 16) & 1 == 1),
    ("ip multicast", addr("dst", "224.0.0.0/4", fam=(4,), arp=False)),
    ("ip6 multicast", addr("dst", "ff00::/8", fam=(6,), arp=False)),
    ("ether proto 0x88b5", etype(0x88b5)), ("ether proto 0x0800", etype(0x0800)),
    ("ether proto \\ip6", etype(0x86dd)), ("ether proto 0x8000-0x9fff", etype(*range(0x8000, 0xa000))),
    ("vlan", vlan()), ("vlan 100", vlan(100)), ("vlan 0", vlan(0)),
    ("vlan 1-100", vlan(*range(1, 101))), ("vlan 10,300", vlan(10, 300)),
    ("vlan 4094", vlan(4094)),
    ("less 100", length(operator.le, 100)), ("greater 500", length(operator.ge, 500)),
    ("len > 200", length(operator.gt, 200)), ("len <= 60", length(operator.le, 60)),
    ("len != 60", length(operator.ne, 60)), ("len 60-150", lambda r: 60 <= r.len <= 150),
    ("ttl 64", ttl(operator.eq, 64)), ("ttl < 32", ttl(operator.lt, 32)),
    ("ttl 1-5", lambda r: r.ttl is not None and 1 <= r.ttl <= 5),
    ("ttl != 255", ttl(operator.ne, 255)), ("ttl >= 128", ttl(operator.ge, 128)),
    ("frag", lambda r: r.frag), ("frag first", lambda r: r.frag and not r.later),
    ("frag later", lambda r: r.later),
    ("tcp flags syn", tcp_flags(SYN, SYN)), ("tcp flags syn,ack", tcp_flags(SYN | ACK, SYN | ACK)),
    ("tcp flags any syn,fin", tcp_flags(0, SYN | FIN, True)),
    ("tcp flags syn/syn,ack", tcp_flags(SYN, SYN | ACK)),
    ("tcp flags != ack/syn,ack", tcp_flags(ACK, SYN | ACK, True)),
    ("tcp flags none", tcp_flags(0, 0x1ff)), ("tcp flags none/psh,urg", tcp_flags(0, PSH | URG)),
    ("tcp flags ae", tcp_flags(AE, AE)), ("tcp flags ece,cwr", tcp_flags(ECE | CWR, ECE | CWR)),
    ("tcp[tcpflags] & tcp-syn != 0", tcp_flags(0, SYN, True)),
    ("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", tcp_flags(SYN, SYN | ACK)),
    ("tcp[13] == 18", tcp_flags(18, 0xff)), ("tcp[13] & 4 != 0", tcp_flags(0, 4, True)),
    ("(tcp[tcpflags] & tcp-rst) != 0", tcp_flags(0, RST, True)),
    ("tcp flags != syn", tcp_flags(SYN, SYN, True)),
    ("net 10.1", addr("", "10.1.0.0/16")), ("net 192.0.2", addr("", "192.0.2.0/24")),
    ("src net 10", addr("src", "10.0.0.0/8")),
    ("port (80 or 443)", port("", (80, 80), (443, 443))),
    ("tcp dst port 80 or 443", port("dst", (80, 80), (443, 443), protos=(6,))),
    ("src portrange 0x1-0x1f", port("src", (1, 31))),
]

FLAG_SETS = [
    (["--protocol", "tcp"], proto(6)), (["--protocol", "udp,icmp"], lambda r: proto(17)(r) or proto(1, fam=(4,))(r)),
    (["--protocol", "icmpv6"], proto(58, fam=(6,))), (["--protocol", "all"], every),
    (["--protocol", "arp"], etype(0x0806)), (["--protocol", "sctp"], proto(132)),
    (["--protocol", "253"], proto(253)),
    (["--src-ip", "10.0.0.1"], addr("src", "10.0.0.1")),
    (["--src-ip", "10.0.0.0/8,2001:db8::/32"], addr("src", "10.0.0.0/8", "2001:db8::/32")),
    (["--dst-ip", "192.0.2.0/24"], addr("dst", "192.0.2.0/24")),
    (["--dst-ip", "ff02::1"], addr("dst", "ff02::1")),
    (["--src-port", "53"], port("src", (53, 53))),
    (["--dst-port", "80,443,8000-8999"], port("dst", (80, 80), (443, 443), (8000, 8999))),
    (["--src-port", "1024-65535"], port("src", (1024, 65535))),
]

def both(a, b):
    return lambda r: a(r) and b(r)


def either(a, b):
    return lambda r: a(r) or b(r)


def negated(a):
    return lambda r: not a(r)


def compounds(rng, n):
    """Expressions of several tests. "and" and "or" bind alike, from the left;
    not binds tighter; parentheses as usual."""
    def primary(depth):
        roll = rng.random()
        if roll < 0.2:
            text, test = primary(depth)
            return f"{rng.choice(['not', '!'])} {text}", negated(test)
        if depth and roll < 0.45:
            text, test = chain(depth - 1, rng.randint(2, 3))
            return f"({text})", test
        return rng.choice(plain)

    def chain(depth, terms):
        text, test = primary(depth)
        for _ in range(terms - 1):
            word = rng.choice(["and", "or", "&&", "||"])
            more, second = primary(depth)
            text += f" {word} {more}"
            test = (both if word in ("and", "&&") else either)(test, second)
        return text, test

    # A list of values continues over "or": those atoms stand alone.
    plain = [(text, test) for text, test in ATOMS if " or " not in text and " and " not in text]
    return [chain(3, rng.randint(2, 5)) for _ in range(n)]


def expressions():
    """[(arguments of weir watch, test)]: more than 200 of them."""
    rng = random.Random(20)
    out = [([], every)] + [([text], test) for text, test in ATOMS] + list(FLAG_SETS)
    out += [([text], test) for text, test in compounds(rng, 120)]
    for _ in range(25):  # flags and-ed with each other and with an expression
        words, test = [], every
        for flag, second in rng.sample(FLAG_SETS, 2):
            if flag[0] not in words:
                words, test = words + flag, both(test, second)
        if rng.random() < 0.6:
            text, second = rng.choice(compounds(rng, 1))
            words, test = words + [text], both(test, second)
        out.append((words, test))
    out.append((["--src-ip", ",".join(f"10.{i}.0.0/16" for i in range(64)) + ",2001:db8::/64"],
                addr("src", *[f"10.{i}.0.0/16" for i in range(64)], "2001:db8::/64")))
    out.append((["net " + ",".join(f"192.0.2.{i}/32" for i in range(0, 128, 7)) + ",10.0.0.0/31"],
                addr("", *[f"192.0.2.{i}/32" for i in range(0, 128, 7)], "10.0.0.0/31")))
    out.append((["host 10.0.0.1 and not 10.0.0.2"],
                both(addr("", "10.0.0.1"), negated(addr("", "10.0.0.2")))))
    out.append((["tcp or udp and port 53"],
                both(either(proto(6), proto(17)), port("", (53, 53)))))
    out.append((["vlan 100 and vlan 10"], both(vlan(100), vlan(10))))
    out.append((["--src-port", "ssh,domain,1024-9000"],
                either(port("src", (22, 22), protos=(6,)),  # a name of TCP's only
                       port("src", (53, 53), (1024, 9000)))))
    out.append((["vlan and tcp port 443 or vlan 100 and udp"],
                both(either(both(vlan(), port("", (443, 443), protos=(6,))), vlan(100)), proto(17))))
    return out
