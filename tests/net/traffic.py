# SPDX-License-Identifier: GPL-2.0-only
"""Packets whose every figure is known, and what --summary has to say of them."""

import collections
import datetime
import ipaddress
import struct

from packets import csum

SIZES = (64, 127, 255, 511, 1023, 1518, 9018, 65535)
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae")
MAC_A, MAC_B = bytes.fromhex("02005e100001"), bytes.fromhex("02005e100002")
Packet = collections.namedtuple("Packet", "ts frame protocol flags src dst sport dport")


def nanoseconds(ts):
    whole, fraction = ts.rstrip("Z").split(".")
    at = datetime.datetime.fromisoformat(whole + "+00:00")
    return int(at.timestamp()) * 10**9 + int(fraction)


def ether(kind, body):
    return MAC_B + MAC_A + struct.pack("!H", kind) + body


def ip(src, dst, proto, body):
    a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if a.version == 6:
        return ether(0x86dd, struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + a.packed
                     + b.packed + body)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0) + a.packed \
        + b.packed
    return ether(0x0800, head[:10] + struct.pack("!H", csum(head)) + head[12:] + body)


def packet(ts, protocol, src="10.0.0.1", dst="10.0.0.2", sport=0, dport=0, flags=0, size=0):
    """One of @protocol, a word of the statistics, with @size bytes of payload."""
    load = bytes(size)
    if protocol == "tcp":
        frame = ip(src, dst, 6, struct.pack("!HHIIHHHH", sport, dport, 1, 1, 5 << 12 | flags, 512,
                                            0, 0) + load)
    elif protocol == "udp":
        frame = ip(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + size, 0) + load)
    elif protocol in ("icmp", "icmpv6"):
        kind = (8, 1) if protocol == "icmp" else (128, 58)
        frame = ip(src, dst, kind[1], struct.pack("!BBHHH", kind[0], 0, 0, 1, 1) + load)
    elif protocol == "arp":
        frame = ether(0x0806, struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, MAC_A,
                                          ipaddress.ip_address(src).packed, bytes(6),
                                          ipaddress.ip_address(dst).packed))
    elif protocol == "other_ip":
        frame = ip(src, dst, 253, load)
    else:
        frame = ether(0x88b5, bytes(46 + size))
        src = dst = None
    return Packet(ts, frame, protocol, flags, src, dst, sport, dport)


def expected(packets):
    """What an interval with these packets says, as far as it is theirs alone."""
    sums = {name: collections.Counter() for name in
            ("tcp", "udp", "icmp", "icmpv6", "arp", "other_ip", "other")}
    sizes = [collections.Counter() for _ in range(len(SIZES) + 1)]
    flags, hosts, ports = collections.Counter(), {}, {}
    for p in packets:
        n = len(p.frame)
        sums[p.protocol].update(packets=1, wire_packets=1, bytes=n)
        sizes[sum(n > most for most in SIZES)].update(packets=1, bytes=n)
        if p.protocol == "tcp":
            flags.update(name for i, name in enumerate(FLAGS) if p.flags >> i & 1)
        for host in {p.src, p.dst} - {None}:
            hosts.setdefault(host, collections.Counter()).update(packets=1, bytes=n)
        if p.dport:
            ports.setdefault((p.protocol, p.dport), collections.Counter()).update(
                packets=1, bytes=n)
    return sums, sizes, flags, hosts, ports


def check(got, packets):
    """The JSON object @got is what @packets are."""
    sums, sizes, flags, hosts, ports = expected(packets)
    assert got["v"] == 1
    assert got["packets"] == got["delivered"] == len(packets)
    assert got["bytes"] == sum(len(p.frame) for p in packets)
    for name, want in sums.items():
        assert got["protocols"][name] == {k: want[k] for k in ("packets", "wire_packets", "bytes")}
    assert set(got["protocols"]) == set(sums)
    assert [(x.get("up_to"), x["packets"], x["bytes"]) for x in got["sizes"]] == [
        (most, size["packets"], size["bytes"]) for most, size in zip((*SIZES, None), sizes)]
    assert got["tcp_flags"] == {name: flags[name] for name in FLAGS}

    def by_bytes(found):
        return sorted(((c["bytes"], c["packets"]) for c in found.values()), reverse=True)[:10]
    assert [(x["bytes"], x["packets"]) for x in got["top_hosts"]] == by_bytes(hosts)
    assert [(x["bytes"], x["packets"]) for x in got["top_ports"]] == by_bytes(ports)
    for x in got["top_hosts"]:
        assert hosts[x["host"]]["bytes"] == x["bytes"] and "approximate" not in x
    for x in got["top_ports"]:
        assert ports[(x["protocol"], x["port"])]["bytes"] == x["bytes"]


def write(path, packets):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, 1))
        for p in packets:
            f.write(struct.pack("<IIII", p.ts // 10**9, p.ts % 10**9, len(p.frame), len(p.frame)))
            f.write(p.frame)
    return path
