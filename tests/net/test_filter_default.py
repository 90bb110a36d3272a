# SPDX-License-Identifier: GPL-2.0-only
"""A default of drop on a host that goes on working: what the network needs passes,
what was asked for comes in, and nothing else does."""

import contextlib
import errno
import shutil
import socket
import struct
import subprocess

import pytest

import filters
import lab
import packets

OUT4, IN4, OUT6, IN6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"
MODES = ["native", "tc"]


@pytest.fixture(scope="module", params=MODES)
def closed(request):
    """a is the world, b a host that lets nothing in by vb."""
    pair = lab.Pair(addresses=True, host=True)
    pair.filter = filters.Filter(pair.b)
    pair.line = filters.interface_line("vb", request.param, "default", "drop")
    try:
        pair.filter.apply(pair.line)
        yield pair
    finally:
        pair.filter.remove()
        pair.remove()


@contextlib.contextmanager
def sockets(*wanted):
    """(namespace, kind, address, port) each, bound; port 0 is any."""
    made = []
    try:
        for ns, kind, address, port in wanted:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with ns:
                s = socket.socket(family, kind)
            made.append(s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.settimeout(lab.PATIENCE)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM and port:
                s.listen(16)
        yield made
    finally:
        for s in made:
            s.close()


def dropped(closed):
    return closed.filter.account("vb")["dropped"].get("default", 0)


def refused(closed, frames):
    """Each of @frames from outside is dropped by the default."""
    before = dropped(closed)
    # One at a time, so that each is known to be: others may add to the count.
    for frame in frames:
        told = closed.filter.rule_of(frame, "vb")
        assert told == "!default", (told, frame.hex())
    closed.a.inject("va", frames)
    lab.wait_for("the frames to be dropped", lambda: dropped(closed) >= before + len(frames))


def ether(closed, ethertype, packet):
    macs = bytes.fromhex((closed.mac_b + closed.mac_a).replace(":", ""))
    return macs + struct.pack("!H", ethertype) + packet


def ip4(closed, proto, body, src=OUT4, dst=IN4):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    head = head[:10] + struct.pack("!H", packets.csum(head)) + head[12:]
    return ether(closed, 0x0800, head + body)


def udp(sport, dport, data=b"data"):
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def tcp(sport, dport, flags):
    return struct.pack("!HHIIHHHH", sport, dport, 1, 1, 5 << 12 | flags, 1000, 0, 0)


# --- what the network needs ---------------------------------------------------

def test_neighbours(closed):
    """ARP and neighbour discovery in both directions, with caches that are empty."""
    for ns in (closed.a, closed.b):
        for family in ("-4", "-6"):
            ns.ip(family, "neigh", "flush", "all")
    for to in (OUT4, OUT6):
        lab.sh(*closed.b.command("ping", "-c", "2", "-i", "0.05", "-W", "5", to))
    for family in ("-4", "-6"):
        closed.a.ip(family, "neigh", "flush", "all")
    for to in (IN4, IN6):
        # The question who has the address is answered, the echo request is not.
        lost = closed.a.sh("ping", "-c", "1", "-W", "1", to, check=False)
        assert lost.returncode == 1, lost.stdout
        told = lab.json.loads(closed.a.ip("-j", "neigh", "show", to).stdout)
        assert told and told[0]["lladdr"] == closed.mac_b, told
    assert closed.filter.account("vb")["essential"] > 0


def test_flushed_under_a_connection(closed):
    with sockets((closed.a, socket.SOCK_STREAM, OUT4, 8080),
                 (closed.b, socket.SOCK_STREAM, IN4, 0)) as (server, client):
        client.connect((OUT4, 8080))
        peer = server.accept()[0]
        for i in range(5):
            client.sendall(b"%d" % i)
            assert peer.recv(1) == b"%d" % i
            for ns in (closed.a, closed.b):
                ns.ip("neigh", "flush", "all")
            peer.sendall(b"x")
            assert client.recv(1) == b"x"
        peer.close()


def test_dhcp_packets(closed):
    """Offers by broadcast and to the address, of IPv4 and IPv6; the same source port
    to any other port is nothing that a client asked for."""
    ends = (socket.inet_pton(socket.AF_INET6, f"fe80::{n}") for n in (1, 2))
    v6 = struct.pack("!IHBB16s16s", 6 << 28, 12, 17, 64, *ends)
    passes = [ip4(closed, 17, udp(67, 68), dst="255.255.255.255"), ip4(closed, 17, udp(67, 68)),
              ether(closed, 0x86dd, v6 + udp(547, 546))]
    for frame in passes:
        assert closed.filter.rule_of(frame, "vb") is None
    refused(closed, [ip4(closed, 17, udp(67, 1234)), ip4(closed, 17, udp(68, 67)),
                     ether(closed, 0x86dd, v6 + udp(547, 1234))])


@pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox: tools/setup test")
def test_dhcp(closed, tmp_path):
    """A lease by broadcast, from nothing to the acknowledgement."""
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\n[ "$1" = bound ] && echo "$ip" >{tmp_path}/lease\nexit 0\n')
    script.chmod(0o755)
    (tmp_path / "leases").touch()
    conf = tmp_path / "udhcpd.conf"
    conf.write_text(f"start 10.77.9.1\nend 10.77.9.9\ninterface va\nmax_leases 9\n"
                    f"lease_file {tmp_path}/leases\npidfile {tmp_path}/pid\n"
                    f"option subnet 255.255.0.0\noption lease 600\n")
    server = subprocess.Popen(closed.a.command("busybox", "udhcpd", "-f", conf),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        done = closed.b.sh("busybox", "udhcpc", "-i", "vb", "-n", "-q", "-f", "-t", "10", "-T", "1",
                           "-s", script, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "lease").read_text().startswith("10.77.9.")
    finally:
        server.kill()
        server.wait()


# --- replies ------------------------------------------------------------------

def test_http(closed, tmp_path):
    """curl and a web server, over both families."""
    (tmp_path / "page").write_bytes(bytes(range(256)) * 2000)
    for family, to in (("0.0.0.0", OUT4), ("::", f"[{OUT6}]")):
        server = subprocess.Popen(
            closed.a.command("/usr/bin/python3", "-m", "http.server", "8000", "--bind", family,
                             "--directory", tmp_path),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = closed.b.sh("curl", "-sS", "--retry", "50", "--retry-connrefused",
                               "--retry-delay", "0", "--max-time", "60",
                               "-o", tmp_path / "copy", f"http://{to}:8000/page", check=False)
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "copy").read_bytes() == (tmp_path / "page").read_bytes()
        finally:
            server.kill()
            server.wait()
    assert closed.filter.account("vb")["replies"] > 0


@pytest.mark.parametrize("outside,inside", [(OUT4, IN4), (OUT6, IN6)])
def test_udp_and_echo_replies(closed, outside, inside):
    with sockets((closed.a, socket.SOCK_DGRAM, outside, 5300),
                 (closed.b, socket.SOCK_DGRAM, inside, 0)) as (server, client):
        client.sendto(b"question", (outside, 5300))
        data, back = server.recvfrom(100)
        for n in range(3):
            server.sendto(data + b"%d" % n, back[:2])
            assert client.recv(100) == b"question%d" % n
    lab.sh(*closed.b.command("ping", "-c", "3", "-i", "0.05", "-W", "5", outside))


def test_not_what_was_asked_for(closed):
    """An answer is from where the question went, to where it came from."""
    with sockets((closed.a, socket.SOCK_DGRAM, OUT4, 5301),
                 (closed.b, socket.SOCK_DGRAM, IN4, 41000)) as (server, client):
        client.sendto(b"question", (OUT4, 5301))
        assert server.recv(100) == b"question"
        assert closed.filter.rule_of(ip4(closed, 17, udp(5301, 41000)), "vb") is None
        refused(closed, [ip4(closed, 17, udp(5302, 41000)), ip4(closed, 17, udp(5301, 41001)),
                         ip4(closed, 6, tcp(5301, 41000, 0x12)),
                         ip4(closed, 17, udp(5301, 41000), src="10.77.0.9"),
                         ip4(closed, 17, udp(5301, 41000), dst="10.77.0.9")])
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_unsolicited(closed):
    """From any source port that answers have elsewhere, with any flags."""
    refused(closed, [
        *(ip4(closed, 17, udp(port, 9999)) for port in (53, 67, 123, 443, 547, 5353)),
        *(ip4(closed, 6, tcp(port, 22, 0x02)) for port in (20, 53, 80, 443, 50000)),
        *(ip4(closed, 6, tcp(50001, 22, flags)) for flags in (0x10, 0x12, 0x11, 0x04, 0, 0x29)),
        ip4(closed, 1, struct.pack("!BBHHH", 8, 0, 0, 77, 1) + bytes(8)),
        ip4(closed, 1, struct.pack("!BBHHH", 0, 0, 0, 77, 1) + bytes(8)),
        ip4(closed, 47, bytes(16)), ip4(closed, 50, bytes(16)), ip4(closed, 132, bytes(16)),
        ether(closed, 0x88b5, bytes(46)),
    ])


def test_unsolicited_connection(closed):
    """A real connect() to a port where somebody listens."""
    for inside, outside in ((IN4, OUT4), (IN6, OUT6)):
        with sockets((closed.b, socket.SOCK_STREAM, inside, 2222),
                     (closed.a, socket.SOCK_STREAM, outside, 0)) as (server, client):
            before = dropped(closed)
            client.setblocking(False)
            assert client.connect_ex((inside, 2222)) == errno.EINPROGRESS
            lab.wait_for("the SYN to be dropped", lambda: dropped(closed) > before)
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
            # A rule lets it in; its answer needs none.
            closed.filter("allow", "--name", "in", "--protocol", "tcp", "--dst-port", "2222")
            server.settimeout(lab.PATIENCE)
            server.accept()[0].close()
            closed.filter("del", "in")


def test_connections_from_before():
    """Open already when the filter is turned on, in both directions, and silent since."""
    pair = lab.Pair(addresses=True, host=True)
    weir_filter = filters.Filter(pair.b)
    try:
        with sockets((pair.a, socket.SOCK_STREAM, OUT4, 8081), (pair.b, socket.SOCK_STREAM, IN4, 0),
                     (pair.b, socket.SOCK_STREAM, IN6, 8082), (pair.a, socket.SOCK_STREAM, OUT6, 0),
                     ) as (out_server, out_client, in_server, in_client):
            out_client.connect((OUT4, 8081))
            in_client.connect((IN6, 8082))
            outer, inner = out_server.accept()[0], in_server.accept()[0]
            inner.settimeout(lab.PATIENCE)
            weir_filter("on", "vb", "--default", "drop")
            # The world speaks first: nothing has left by which this was learnt.
            outer.sendall(b"to the client")
            assert out_client.recv(100) == b"to the client"
            in_client.sendall(b"to the server")
            assert inner.recv(100) == b"to the server"
            outer.close()
            inner.close()
    finally:
        weir_filter.remove()
        pair.remove()


# --- routers ------------------------------------------------------------------

class Router:
    """lan -- b (forwards, filters by vw) -- wan. With @narrow less fits into b's end
    of the last link, which nobody else knows."""

    def __init__(self, narrow=None):
        self.lan, self.wan, self.b = lab.Netns(quiet=False), lab.Netns(quiet=False), \
            lab.Host(quiet=False)
        self.filter = filters.Filter(self.b)
        for ns, dev, end, net, mtu in ((self.lan, "vx", "vl", 1, 1500),
                                       (self.wan, "vx", "vw", 2, narrow or 1500)):
            self.b.ip("link", "add", end, "mtu", mtu, "type", "veth",
                      "peer", "name", dev, "mtu", 1500, "netns", ns.name)
            for where, name, n in ((self.b, end, 1), (ns, dev, 2)):
                where.ip("addr", "add", f"10.78.{net}.{n}/24", "dev", name)
                where.ip("addr", "add", f"fd78:{net}::{n}/64", "dev", name, "nodad")
                where.ip("link", "set", name, "up")
            ns.ip("route", "add", "default", "via", f"10.78.{net}.1")
            ns.ip("-6", "route", "add", "default", "via", f"fd78:{net}::1")
        self.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def masquerade(self):
        self.b.sh("nft", "add table inet nat; add chain inet nat out "
                  "{ type nat hook postrouting priority srcnat; }; "
                  'add rule inet nat out oifname "vw" masquerade')

    def remove(self):
        self.filter.remove()
        for ns in (self.lan, self.wan, self.b):
            ns.remove()


def exchange(server_ns, client_ns, to, octets=300_000):
    """@octets from server to client over TCP. Returns the client as the server saw it."""
    kind = socket.SOCK_STREAM
    any_address = "::" if ":" in to else "0.0.0.0"
    with sockets((server_ns, kind, any_address, 8090), (client_ns, kind, any_address, 0)) \
            as (server, client):
        client.connect((to, 8090))
        peer, name = server.accept()
        sender = filters.Background(lambda: (peer.sendall(bytes(octets)), peer.close()))
        got = 0
        while data := client.recv(1 << 16):
            got += len(data)
        sender.join()
        assert got == octets
        return name[0]


@pytest.mark.parametrize("nat", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_forwarded(mode, nat):
    """Replies to what others send through this host, with and without NAT."""
    router = Router()
    try:
        if nat:
            router.masquerade()
        router.filter.apply(filters.interface_line("vw", mode, "default", "drop"))
        for net, seen in (("10.78.2.2", "10.78.1.2"), ("fd78:2::2", "fd78:1::2")):
            peer = exchange(router.wan, router.lan, net)
            assert peer == (seen.replace("8.1", "8.2").replace("8:1", "8:2")[:-1] + "1"
                            if nat else seen)
            lab.sh(*router.lan.command("ping", "-c", "2", "-i", "0.05", "-W", "5", net))
        # Nothing begins from outside.
        with sockets((router.lan, socket.SOCK_STREAM, "10.78.1.2", 8091),
                     (router.wan, socket.SOCK_STREAM, "10.78.2.2", 0)) as (_, client):
            client.setblocking(False)
            client.connect_ex(("10.78.1.2", 8091))
            lab.wait_for("the SYN to be dropped",
                         lambda: router.filter.account("vw")["dropped"].get("default", 0) > 0)
    finally:
        router.remove()


@pytest.mark.parametrize("to", ["10.78.2.2", "fd78:2::2"])
def test_path_mtu(to):
    """The error by which a sender learns that a link on the way is narrow. It goes
    to a host behind the default of drop, which would send into the void without."""
    router = Router(narrow=1280)
    host = lab.Host(quiet=False)
    try:
        # The host with the filter stands in the lan's place.
        router.b.ip("link", "del", "vl")
        router.b.ip("link", "add", "vl", "type", "veth", "peer", "name", "vh", "netns", host.name)
        for where, name, n in ((router.b, "vl", 1), (host, "vh", 2)):
            where.ip("addr", "add", f"10.78.1.{n}/24", "dev", name)
            where.ip("addr", "add", f"fd78:1::{n}/64", "dev", name, "nodad")
            where.ip("link", "set", name, "up")
        host.ip("route", "add", "default", "via", "10.78.1.1")
        host.ip("-6", "route", "add", "default", "via", "fd78:1::1")
        weir_filter = filters.Filter(host)
        weir_filter("on", "vh", "--default", "drop")
        any_address = "::" if ":" in to else "0.0.0.0"
        with sockets((router.wan, socket.SOCK_STREAM, any_address, 8092),
                     (host, socket.SOCK_STREAM, any_address, 0)) as (server, client):
            client.connect((to, 8092))
            peer = server.accept()[0]
            sender = filters.Background(
                lambda: (client.sendall(bytes(200_000)), client.shutdown(socket.SHUT_WR)))
            got = 0
            while data := peer.recv(1 << 16):
                got += len(data)
            sender.join()
            assert got == 200_000
            peer.close()
        family = "-6" if ":" in to else "-4"
        assert "mtu 1280" in host.ip(family, "route", "get", to).stdout
        weir_filter.remove()
    finally:
        host.remove()
        router.remove()


# --- fragments ----------------------------------------------------------------

@pytest.mark.parametrize("how", ["follow", "pass", "drop"])
@pytest.mark.parametrize("outside,inside", [(OUT4, IN4), (OUT6, IN6)])
def test_fragmented_datagrams(closed, outside, inside, how):
    """4000 bytes of UDP: where a rule allows the port, and as an answer."""
    closed.filter.apply(f"{closed.line} fragments {how}", "port: allow udp dst port 5400")
    before = closed.filter.account("vb")["dropped"].get("fragment", 0)
    with sockets((closed.a, socket.SOCK_DGRAM, outside, 5401),
                 (closed.b, socket.SOCK_DGRAM, inside, 5400)) as (world, host):
        world.sendto(bytes(4000), (inside, 5400))
        host.sendto(b"question", (outside, 5401))
        assert world.recv(100) == b"question"
        world.sendto(bytes(3999), (inside, 5400))
        # Whatever became of them, a small one still comes.
        world.sendto(b"end", (inside, 5400))
        got = [len(host.recv(5000))]
        while got[-1] != 3:
            got.append(len(host.recv(5000)))
    lost = closed.filter.account("vb")["dropped"].get("fragment", 0) - before
    assert (got, lost) == (([3], 6) if how == "drop" else ([4000, 3999, 3], 0))
    closed.filter.apply(closed.line)


@pytest.mark.parametrize("outside,inside", [(OUT4, IN4), (OUT6, IN6)])
def test_fragmented_answers(closed, outside, inside):
    """Later fragments of an answer have no ports: they go as the first one went."""
    closed.filter.apply(f"{closed.line} fragments follow")
    with sockets((closed.a, socket.SOCK_DGRAM, outside, 5402),
                 (closed.b, socket.SOCK_DGRAM, inside, 0)) as (world, host):
        host.sendto(b"question", (outside, 5402))
        _, back = world.recvfrom(100)
        world.sendto(bytes(4000), back[:2])
        assert len(host.recv(5000)) == 4000
        # Not asked for: none of its parts.
        before = dropped(closed)
        world.sendto(bytes(4000), (inside, back[1] ^ 1))
        lab.wait_for("its three fragments to be dropped", lambda: dropped(closed) >= before + 3)
    closed.filter.apply(closed.line)


def test_fragments_follow_a_deny(closed):
    """The rule that dropped the first fragment counts the later ones too."""
    line = closed.line.replace("default drop", "default pass")
    for how, hits in (("follow", 3), ("pass", 1)):
        closed.filter.apply(f"{line} fragments {how}", "port: deny udp dst port 5500")
        before = closed.filter.hits()["port"]
        with sockets((closed.a, socket.SOCK_DGRAM, OUT4, 0)) as (world,):
            world.sendto(bytes(4000), (IN4, 5500))
            lab.wait_for("the fragments", lambda n=hits: closed.filter.hits()["port"] >= before + n)
        assert closed.filter.hits()["port"] == before + hits
    closed.filter.apply(closed.line)


def test_fragments_out_of_order(closed):
    """A later fragment that comes before the first one is nobody's: the default."""
    def part(offset, more, body):
        packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 4242,
                             offset // 8 | (0x2000 if more else 0), 64, 17, 0,
                             socket.inet_aton(OUT4), socket.inet_aton(IN4))
        return ether(closed, 0x0800, packet[:10] + struct.pack("!H", packets.csum(packet))
                     + packet[12:] + body)

    closed.filter.apply(f"{closed.line} fragments follow", "port: allow udp dst port 5400")
    refused(closed, [part(64, False, bytes(64))])
    closed.filter.apply(closed.line)


# --- what leaves --------------------------------------------------------------

def test_default_drop_going_out():
    """The other way round: what comes in is answered, nothing else leaves."""
    pair = lab.Pair(addresses=True, host=True)
    weir_filter = filters.Filter(pair.b)
    try:
        weir_filter("on", "vb", "-Q", "out", "--default", "drop")
        exchange(pair.b, pair.a, IN4)
        exchange(pair.b, pair.a, IN6)
        lab.sh(*pair.a.command("ping", "-c", "2", "-i", "0.05", "-W", "5", IN4))
        assert pair.b.sh("ping", "-c", "1", "-W", "1", OUT4, check=False).returncode == 1
        with sockets((pair.b, socket.SOCK_STREAM, IN4, 0)) as (client,):
            client.setblocking(False)
            client.connect_ex((OUT4, 8080))
            lab.wait_for("the SYN to be dropped", lambda: weir_filter.account(
                "vb", direction="out")["dropped"].get("default", 0) > 0)
    finally:
        weir_filter.remove()
        pair.remove()
