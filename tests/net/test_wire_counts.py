# SPDX-License-Identifier: GPL-2.0-only
"""wire_packets: what leaves the machine behind segmentation offload, counted
where packets are still large."""

import os
import socket
import struct
import threading

import pytest

import lab
import packets

SOL_UDP, UDP_SEGMENT = 17, 103
SOL_PACKET, PACKET_VNET_HDR = 263, 15
GSO_TCPV4, GSO_UDP_L4, GSO_TCPV6 = 1, 5, 4
CAPTURES = ["tc", "af_packet"]


def ceil(a, b):
    return -(-a // b)


def flow(lines, **ends):
    found = [line for line in lines if all(line.get(k) == v for k, v in ends.items())]
    assert len(found) == 1, (ends, lines)
    return found[0]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("family,to", [(socket.AF_INET, "10.77.0.2"), (socket.AF_INET6, "fd77::2")])
def test_udp_segment(hosts, capture, family, to):
    """UDP_SEGMENT: n sends of one large datagram each, at the sender and at the receiver."""
    sends = [(500, 4800), (500, 500), (500, 501), (1000, 40000), (1400, 1399), (100, 6400), (0, 1000)]
    watches = [ns.watch("-i", dev, "-Q", way, "--capture", capture, "--flows", "--json",
                        "udp dst port 5001")
               for ns, dev, way in ((hosts.a, "va", "out"), (hosts.b, "vb", "in"))]
    with hosts.b:
        sink = socket.socket(family, socket.SOCK_DGRAM)
    sink.bind((to, 5001))
    ports = {}
    for size, total in sends:
        with hosts.a:
            s = socket.socket(family, socket.SOCK_DGRAM)
        if size:
            s.setsockopt(SOL_UDP, UDP_SEGMENT, size)
        s.connect((to, 5001))
        for _ in range(3):
            s.send(bytes(total))
        ports[s.getsockname()[1]] = 3 * (ceil(total, size) if size else 1)
        s.close()
    sink.close()
    for watch in watches:
        watch.wait_seen(3 * len(sends))
        assert watch.stop().status == 0, watch.err
        assert watch.check_account()["lost"] == {}
        lines = watch.json
        assert {line["src_port"]: line["wire_packets"] for line in lines} == ports
        assert all(line["packets"] == 3 for line in lines)


def test_udp_segment_behind_segmentation(hosts):
    """Where XDP runs, the large datagrams arrive cut: as many as were foretold."""
    out = hosts.a.watch("-i", "va", "-Q", "out", "--flows", "--json", "udp dst port 5002")
    xdp = hosts.b.watch("-i", "vb", "--capture", "xdp", "--xdp-mode", "native", "--flows", "--json",
                        "udp dst port 5002")
    with hosts.a:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(SOL_UDP, UDP_SEGMENT, 700)
    s.connect(("10.77.0.2", 5002))
    for total in (7000, 7001, 699, 1400):
        try:
            s.send(bytes(total))
        except ConnectionRefusedError:  # nobody listens: an earlier one's answer
            s.send(bytes(total))
    s.close()
    xdp.wait_seen(10 + 11 + 1 + 2)
    for watch in (out, xdp):
        assert watch.stop().status == 0, watch.err
    sent, arrived = flow(out.json, dst_port=5002), flow(xdp.json, dst_port=5002)
    assert sent["packets"] == 4
    assert sent["wire_packets"] == arrived["wire_packets"] == arrived["packets"] == 24


def gso_frame(kind, size, payload, port, dst, src):
    """(virtio_net_hdr, frame) of one large packet that nothing has cut yet."""
    maker = packets.Maker(seed=port)
    data = bytes(payload)
    if kind == GSO_UDP_L4:
        l4, proto, at = struct.pack("!HHHH", 40000, port, 8 + payload, 0), 17, 6
    else:
        l4 = struct.pack("!HHIIHHHH", 40000, port, 1, 1, 5 << 12 | 0x10, 1000, 0, 0)
        proto, at = 6, 16
    if kind == GSO_TCPV6:
        ethertype, packet = maker.ip6(proto, l4 + data)
    else:
        ethertype, packet = maker.ip4(proto, l4 + data)
    frame = dst + src + struct.pack("!H", ethertype) + packet
    start = len(frame) - len(l4) - payload
    # flags NEEDS_CSUM, gso_type, hdr_len, gso_size, csum_start, csum_offset
    return struct.pack("<BBHHHH", 1, kind, start + len(l4), size, start, at) + frame


FIXED = [(GSO_TCPV4, 1000, 4000), (GSO_TCPV4, 1000, 4001), (GSO_TCPV6, 1440, 30000),
         (GSO_UDP_L4, 1200, 12000), (GSO_UDP_L4, 1200, 11999), (GSO_TCPV4, 100, 250)]


def wire_by_port(watch):
    return {line["dst_port"]: line["wire_packets"] for line in watch.json}


@pytest.mark.parametrize("capture", CAPTURES)
def test_fixed_frames_of_a_packet_socket(pair, capture):
    watch = pair.a.watch("-i", "va", "-Q", "out", "--capture", capture, "--flows", "--json")
    s = pair.a.packet_socket("va")
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    mac_a, mac_b = (bytes.fromhex(m.replace(":", "")) for m in (pair.mac_a, pair.mac_b))
    for i, (kind, size, payload) in enumerate(FIXED):
        s.send(gso_frame(kind, size, payload, 7000 + i, mac_b, mac_a))
    s.close()
    watch.wait_seen(len(FIXED))
    assert watch.stop().status == 0, watch.err
    assert wire_by_port(watch) == {7000 + i: ceil(payload, size)
                                   for i, (_, size, payload) in enumerate(FIXED)}


@pytest.mark.parametrize("capture", CAPTURES)
def test_fixed_frames_of_a_tap(pair, capture):
    """What a virtual machine hands over: gso_segs is 0 there, only gso_size is true."""
    fd = lab.tun(pair.a, "wtap", tap=True, vnet_hdr=True)
    try:
        mac = bytes.fromhex(pair.a.link("wtap")["address"].replace(":", ""))
        watch = pair.a.watch("-i", "wtap", "-Q", "in", "--capture", capture, "--flows", "--json")
        for i, (kind, size, payload) in enumerate(FIXED[:3]):
            os.write(fd, gso_frame(kind, size, payload, 7100 + i, mac, packets.MACS[0]))
        watch.wait_seen(3)
        assert watch.stop().status == 0, watch.err
        assert wire_by_port(watch) == {7100 + i: ceil(payload, size)
                                       for i, (_, size, payload) in enumerate(FIXED[:3])}
    finally:
        os.close(fd)


def transfer(hosts, to, octets):
    """@octets over TCP from a to b; returns when b has them all."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with hosts.b:
        server = socket.create_server((to, 5003), family=family)
    got = []

    def receive():
        connection = server.accept()[0]
        n = 0
        while True:
            data = connection.recv(1 << 18)
            if not data:
                break
            n += len(data)
        connection.close()
        got.append(n)

    thread = threading.Thread(target=receive)
    thread.start()
    with hosts.a:
        client = socket.socket(family, socket.SOCK_STREAM)
    client.connect((to, 5003))
    client.sendall(bytes(octets))
    client.shutdown(socket.SHUT_WR)
    thread.join(lab.PATIENCE)
    client.close()
    server.close()
    assert got == [octets]


@pytest.mark.parametrize("to", ["10.77.0.2", "fd77::2"])
def test_live_tcp(hosts, to):
    """A transfer: the wire packets at the sender's tc are the packets that come out
    of segmentation, as native XDP at the other end sees them."""
    xdp = hosts.b.watch("-i", "vb", "--capture", "xdp", "--xdp-mode", "native", "--flows", "--json",
                        "tcp dst port 5003")
    out = hosts.a.watch("-i", "va", "-Q", "out", "--capture", "tc", "--flows", "--json",
                        "tcp dst port 5003")
    dropped = hosts.a.link("va")["stats64"]["tx"]["dropped"]
    transfer(hosts, to, 20_000_000)
    dropped = hosts.a.link("va")["stats64"]["tx"]["dropped"] - dropped
    for watch in (out, xdp):
        assert watch.stop().status == 0, watch.err
        assert watch.check_account()["lost"] == {}
    sent, arrived = flow(out.json, dst_port=5003), flow(xdp.json, dst_port=5003)
    # Large packets went through tc, and none of them reached the other end whole.
    assert sent["packets"] < sent["wire_packets"] / 2
    assert arrived["packets"] == arrived["wire_packets"]
    # The pair's queue is short: what did not fit the sender has counted.
    assert sent["wire_packets"] == arrived["packets"] + dropped


def test_directions(hosts):
    """Both directions of one transfer are one flow, with each end's own view."""
    watches = [ns.watch("-i", dev, "--flows", "--json", "tcp port 5003")
               for ns, dev in ((hosts.a, "va"), (hosts.b, "vb"))]
    transfer(hosts, "10.77.0.2", 300_000)
    for watch in watches:
        assert watch.stop().status == 0, watch.err
    a, b = (flow(watch.json, dst_port=5003) for watch in watches)
    for line in (a, b):
        assert (line["src_ip"], line["dst_ip"], line["protocol"]) == ("10.77.0.1", "10.77.0.2", "tcp")
        assert line["packets"] == line["packets_in"] + line["packets_out"]
        assert line["bytes"] == line["bytes_in"] + line["bytes_out"]
        assert "initiator_guessed" not in line and line["first_ts"] <= line["last_ts"]
    assert a["src_port"] == b["src_port"]
    assert a["bytes_out"] > 300_000 and b["bytes_in"] > 300_000
    assert a["bytes_in"] < 100_000 and b["bytes_out"] < 100_000
