# SPDX-License-Identifier: GPL-2.0-only
"""Packets of every shape that the match language distinguishes, made byte by
byte from a fixed seed. No two are equal, so that a frame names itself."""

import ipaddress
import random
import struct

TCP, UDP, ICMP, ICMP6, SCTP, GRE, ESP, AH, UDPLITE, DCCP = 6, 17, 1, 58, 132, 47, 50, 51, 136, 33

MACS = [bytes.fromhex(m) for m in ("02005e100001", "02005e100002", "0a1b2c3d4e5f")]
GROUPS = [bytes.fromhex(m) for m in ("ffffffffffff", "01005e000001", "333300000001")]
V4 = ["10.0.0.1", "10.0.0.2", "10.1.2.3", "192.0.2.1", "192.0.2.77", "198.51.100.9",
      "172.16.5.4", "127.0.0.1", "0.0.0.0"]
V4_DST = V4[:-1] + ["224.0.0.251", "255.255.255.255", "239.1.2.3"]
V6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::5", "fe80::1", "fe80::ffff:1",
      "2001:db8:ffff::9", "64:ff9b::c000:201", "::1", "::ffff:10.0.0.1"]
V6_DST = V6 + ["ff02::1", "ff05::2"]
PORTS = [22, 53, 80, 123, 443, 1024, 5353, 8000, 8080, 8999, 33000, 40000, 65535, 0]
TTLS = [1, 2, 5, 32, 63, 64, 128, 255]
TCP_FLAGS = [0x002, 0x012, 0x010, 0x018, 0x011, 0x004, 0x014, 0x000, 0x029, 0x1ff, 0x0c2, 0x030,
             0x100, 0x052, 0x001, 0x008]

TAGS = {
    "untagged": lambda r: [],
    "802.1Q": lambda r: [(0x8100, r.choice([1, 100, 200, 4094]) | r.choice([0, 0x2000, 0x1000]))],
    "QinQ": lambda r: [(0x88a8, r.choice([10, 100, 300])), (0x8100, r.choice([1, 100, 200]))],
    "priority": lambda r: [(0x8100, r.choice([1, 5, 7]) << 13)],
}


def csum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.serial = 0

    def payload(self, size):
        """@size bytes, at least 8; the first are this packet's number."""
        self.serial += 1
        # Not text, not a length: nothing that a dissector takes for a protocol.
        return struct.pack("!II", 0xf0f1f2f3, self.serial) + bytes([0xf5]) * max(0, size - 8)

    def ports(self):
        return self.r.choice(PORTS), self.r.choice(PORTS)

    def tcp(self, size):
        flags = self.r.choice(TCP_FLAGS)
        options = self.r.choice([b"", b"\x02\x04\x05\xb4", b"\x01\x01\x08\x0a" + bytes(8)])
        offset = 5 + len(options) // 4
        return struct.pack("!HHIIHHHH", *self.ports(), self.r.getrandbits(32),
                           self.r.getrandbits(32), offset << 12 | flags, self.r.getrandbits(16),
                           self.r.getrandbits(16), self.r.choice([0, 7])) \
            + options + self.payload(size)

    def udp(self, size):
        data = self.payload(size)
        return struct.pack("!HHHH", *self.ports(), 8 + len(data), self.r.getrandbits(16)) + data

    def icmp(self, size):
        kind = self.r.choice([0, 8, 13])
        data = self.payload(max(size, 12))
        return struct.pack("!BBHHH", kind, 0, 0, self.r.getrandbits(16), 1) + data

    def icmp6(self, size):
        kind = self.r.choice([128, 129])
        return struct.pack("!BBHHH", kind, 0, 0, self.r.getrandbits(16), 1) + self.payload(size)

    def sctp(self, size):
        data = self.payload(size)
        data += bytes(-len(data) % 4)
        return struct.pack("!HHII", *self.ports(), self.r.getrandbits(32), 0) \
            + struct.pack("!BBHIHHI", 0, 3, 16 + len(data), 1, 0, 0, 0x3ffffff0) + data

    def gre(self, size):
        return struct.pack("!HH", 0, 0x88b5) + self.payload(size)

    def esp(self, size):
        return struct.pack("!II", self.r.getrandbits(32), 1) + self.payload(size)

    def udplite(self, size):
        data = self.payload(size)
        return struct.pack("!HHHH", *self.ports(), 8, self.r.getrandbits(16)) + data

    def dccp(self, size):
        # Type 2 (Data), long sequence numbers: 16 bytes.
        return struct.pack("!HHBBHBBHI", *self.ports(), 4, 0, 0, 2 << 1 | 1, 0, 0,
                           self.r.getrandbits(32)) + self.payload(size)

    def other(self, size):
        return self.payload(size)

    LAYER4 = {
        "tcp": (TCP, tcp), "udp": (UDP, udp), "icmp": (ICMP, icmp), "icmp6": (ICMP6, icmp6),
        "253": (253, other), "gre": (GRE, gre), "esp": (ESP, esp), "sctp": (SCTP, sctp),
        "udplite": (UDPLITE, udplite), "dccp": (DCCP, dccp),
    }

    def size(self):
        return self.r.choice([8, 12, 20, 46, 100, 101, 400, 900])

    # --- layer 3 ---

    def ip4(self, proto, body, options=b"", frag=0, total=None):
        hlen = 20 + len(options)
        head = struct.pack("!BBHHHBBH4s4s", 0x40 | hlen // 4, self.r.choice([0, 0x10, 0xb8]),
                           total or hlen + len(body), self.r.getrandbits(16), frag,
                           self.r.choice(TTLS), proto, 0,
                           ipaddress.IPv4Address(self.r.choice(V4)).packed,
                           ipaddress.IPv4Address(self.r.choice(V4_DST)).packed) + options
        return 0x0800, head[:10] + struct.pack("!H", csum(head)) + head[12:] + body

    def ip6(self, proto, body):
        return 0x86dd, struct.pack(
            "!IHBB16s16s", 6 << 28 | self.r.choice([0, 0x2e]) << 20 | self.r.getrandbits(20),
            len(body), proto, self.r.choice(TTLS),
            ipaddress.IPv6Address(self.r.choice(V6)).packed,
            ipaddress.IPv6Address(self.r.choice(V6_DST)).packed) + body

    def ah(self, proto, body, align):
        icv = bytes(range(12)) if align == 4 else bytes(range(12))
        return struct.pack("!BBHII", proto, (12 + len(icv)) // 4 - 2, 0, 0x1000, self.serial) \
            + icv + body

    @staticmethod
    def options6(proto, body, size=8):
        return struct.pack("!BBBB", proto, size // 8 - 1, 1, size - 4) + bytes(size - 4) + body

    def routing(self, proto, body):
        segment = ipaddress.IPv6Address("2001:db8:5::5").packed
        if self.r.random() < 0.5:  # segment routing, the last segment reached
            return struct.pack("!BBBBBBH", proto, 2, 4, 0, 0, 0, 0) + segment + body
        return struct.pack("!BBBBI", proto, 2, 0, 0, 0) + segment + body

    def frag6(self, proto, body, offset, more):
        return struct.pack("!BBHI", proto, 0, offset | more, self.r.getrandbits(32)) + body

    def shapes(self, proto, make):
        """name -> function giving (ethertype, packet) for one layer 4."""
        def body():
            return make(self, self.size())

        def part():
            return self.payload(self.r.choice([16, 64, 512]))

        def first():
            data = make(self, 200)
            return data[:max(64, len(data) // 2 // 8 * 8)]

        dst, hop, route, frag, ah = 60, 0, 43, 44, AH
        rand = self.r.choice
        return {
            "ipv4": lambda: self.ip4(proto, body()),
            "ipv4 options": lambda: self.ip4(
                proto, body(), rand([b"\x94\x04\0\0", b"\x07\x07\x04" + bytes(5), b"\x01" * 40])),
            "ipv4 first fragment": lambda: self.ip4(proto, first(), frag=0x2000),
            "ipv4 middle fragment": lambda: self.ip4(proto, part(), frag=0x2000 | rand([8, 185])),
            "ipv4 last fragment": lambda: self.ip4(proto, part(), frag=rand([16, 370, 1])),
            "ipv4 options fragment": lambda: self.ip4(proto, part(), b"\x94\x04\0\0", frag=185),
            "ipv4 ah": lambda: self.ip4(AH, self.ah(proto, body(), 4)),
            "ipv6": lambda: self.ip6(proto, body()),
            "ipv6 hop-by-hop": lambda: self.ip6(hop, self.options6(proto, body())),
            "ipv6 destination": lambda: self.ip6(dst, self.options6(proto, body(), 16)),
            "ipv6 routing": lambda: self.ip6(route, self.routing(proto, body())),
            "ipv6 first fragment": lambda: self.ip6(frag, self.frag6(proto, first(), 0, 1)),
            "ipv6 middle fragment": lambda: self.ip6(
                frag, self.frag6(proto, part(), rand([64, 1448]), 1)),
            "ipv6 last fragment": lambda: self.ip6(frag, self.frag6(proto, part(), 2896, 0)),
            "ipv6 atomic fragment": lambda: self.ip6(frag, self.frag6(proto, body(), 0, 0)),
            "ipv6 ah": lambda: self.ip6(AH, self.ah(proto, body(), 8)),
            "ipv6 chain": lambda: self.ip6(hop, self.options6(dst, self.options6(
                route, self.routing(frag, self.frag6(proto, first(), 0, 1))))),
            "ipv6 chain ah": lambda: self.ip6(route, self.routing(AH, self.ah(
                dst, self.options6(proto, body()), 8))),
            "ipv6 chain later": lambda: self.ip6(hop, self.options6(
                frag, self.frag6(proto, part(), 800, 1))),
        }

    # --- layer 2 ---

    def ether(self, tags, ethertype, body, dst=None):
        dst = dst or self.r.choice(MACS + GROUPS)
        frame = dst + self.r.choice(MACS)
        for tpid, tci in tags:
            frame += struct.pack("!HH", tpid, tci)
        frame += struct.pack("!H", ethertype) + body
        if self.r.random() < 0.2 and len(frame) < 60:
            frame += bytes(60 - len(frame))  # a trailer, as a network card pads
        return frame

    def arp(self, op):
        return 0x0806, struct.pack(
            "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, op, self.r.choice(MACS),
            ipaddress.IPv4Address(self.r.choice(V4)).packed, self.r.choice(MACS),
            ipaddress.IPv4Address(self.r.choice(V4)).packed) + self.payload(18)

    def tunnel(self):
        """Inner headers, which no test may look at."""
        inner = self.ip4(TCP, self.tcp(20))[1]
        return self.r.choice([
            lambda: self.ip4(4, inner),
            lambda: self.ip6(4, inner),
            lambda: self.ip4(41, self.ip6(UDP, self.udp(20))[1]),
            lambda: self.ip4(ICMP, struct.pack("!BBHI", 3, 3, 0, 0) + inner[:28]
                             + self.payload(8)),
        ])()

    def frames(self):
        """[(name, frame)]"""
        out = []
        for tag, tags in TAGS.items():
            for l4, (proto, make) in self.LAYER4.items():
                for shape, packet in self.shapes(proto, make).items():
                    out.append((f"{tag} {shape} {l4}", self.ether(tags(self.r), *packet())))
            for op in (1, 2):
                out.append((f"{tag} arp {op}", self.ether(tags(self.r), *self.arp(op))))
            for _ in range(4):
                out.append((f"{tag} tunnel", self.ether(tags(self.r), *self.tunnel())))
            for kind in (0x8035, 0x88b5, 0x9000):
                out.append((f"{tag} type {kind:#x}",
                            self.ether(tags(self.r), kind, self.payload(46))))
        # 802.2: the type is a length.
        llc = b"\x42\x42\x03" + self.payload(35)
        out.append(("802.2", self.ether([], len(llc), llc)))
        out.append(("802.1Q in 802.1Q",
                    self.ether([(0x8100, 100), (0x8100, 7)], *self.ip4(TCP, self.tcp(20)))))
        assert len({frame for _, frame in out}) == len(out)
        return out
