# SPDX-License-Identifier: GPL-2.0-only
"""`weir drops`: N losses of a kind are N in the row of that kind, and nothing else is; what
is sent is what is received and what the ledger says."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

import lab
import prometheus
import proxies

NOBODY = "10.77.0.77"
BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]  # bpf(2)
A4, B4, A6, B6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"


def names():
    """The reasons that this kernel knows, without weir."""
    dump = lab.sh("bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux").stdout
    return set(re.findall(r"'SKB_DROP_REASON_(\w+)'", dump))


@pytest.fixture(scope="module")
def known():
    return names()


class Drops:
    """`weir drops ARGS` in a namespace, from its first look until it is stopped."""

    def __init__(self, ns, *words):
        self.ns, self.words = ns, words
        self.process = subprocess.Popen(
            ns.command(lab.WEIR, "drops", *words), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert line == "weir drops: listening\n", (line, self.process.stderr.read())

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.out, self.err = self.process.communicate(timeout=lab.PATIENCE)
        return self.out

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Ledger:
    def __init__(self, text):
        self.all = json.loads(text.splitlines()[-1])
        self.rows = self.all["rows"]

    def count(self, **wanted):
        return sum(r["count"] for r in self.rows
                   if all(r.get(k) == v for k, v in wanted.items()))

    def freed(self, **wanted):
        return sum(r["count"] for r in self.all["freed"]
                   if all(r.get(k) == v for k, v in wanted.items()))

    def view(self, name, key="count"):
        return sum(v[key] for v in self.all["also_counted_by"] if v["name"] == name)

    def brief(self):
        return [(r["stage"], r["reason"], r.get("function"), r.get("protocol"), r["count"])
                for r in self.rows]

    def check(self):
        """What holds always."""
        account = self.all["account"]
        assert self.all["dropped"] == sum(r["count"] for r in self.rows), self.all
        assert account["seen"] == account["elsewhere"] + account["local"] \
            + account["unmatched"] + account["matched"], account
        assert not any(account["lost"].values()), account
        return self


@contextlib.contextmanager
def ledger(ns, *words):
    """The ledger of what happens inside, in .result."""
    drops = Drops(ns, "--json", "--interval", "1h", *words)

    class Box:
        result = None
    try:
        yield Box
        Box.result = Ledger(drops.stop()).check()
    finally:
        drops.kill()


@pytest.fixture(scope="module")
def net():
    """A pair with addresses; `b` may be filtered. Neighbours are known before."""
    p = lab.Pair(addresses=True, host=True)
    for ns, dev, mac, addresses in ((p.a, "va", p.mac_b, (B4, B6)),
                                    (p.b, "vb", p.mac_a, (A4, A6))):
        for address in addresses:
            ns.ip("neigh", "replace", address, "lladdr", mac, "dev", dev, "nud", "permanent")
        ns.sh("sysctl", "-qw", f"net.ipv6.conf.{dev}.router_solicitations=0")
    quiet(p)
    yield p
    p.remove()


def quiet(net):
    """Until the hosts have told each other which groups they listen to: they repeat it for a
    while, and it would be among what is counted."""
    def told():
        return [ns.sh("grep", "-E", "Icmp6(Out|In)Msgs", "/proc/net/snmp6").stdout
                for ns in (net.a, net.b)]
    seen = [told(), time.monotonic()]

    def rests():
        now = told()
        if now != seen[0]:
            seen[:] = [now, time.monotonic()]
        time.sleep(0.1)
        return time.monotonic() - seen[1] > 2
    lab.wait_for("silence", rests)


def udp(ns, to, port, n, family=socket.AF_INET, size=10):
    """Send @n datagrams; a port that answers unreachable does not stop it."""
    with ns:
        s = socket.socket(family, socket.SOCK_DGRAM)
    with s:
        for _ in range(n):
            with contextlib.suppress(ConnectionRefusedError):
                s.sendto(b"x" * size, (to, port))


def frames(net, n, **change):
    """@n UDP frames from a to b, made by hand."""
    import scapy.all as scapy
    ip = scapy.IP(**{"src": A4, "dst": B4, **change.get("ip", {})})
    frame = scapy.Ether(src=net.mac_a, dst=net.mac_b) / ip \
        / scapy.UDP(**{"sport": 1234, "dport": 5678, **change.get("udp", {})}) / (b"y" * 20)
    return [bytes(frame)] * n


def arrive_all(net, n):
    """Until b has taken @n UDP packets for which there is no port."""
    def no_ports():
        text = net.b.sh("cat", "/proc/net/snmp", "/proc/net/snmp6").stdout
        v4 = re.findall(r"^Udp: (\d+ \d+) ", text, re.M)[0].split()[1]
        v6 = re.search(r"Udp6NoPorts\s+(\d+)", text)
        return int(v4) + int(v6[1])
    if not hasattr(net, "no_ports"):
        net.no_ports = 0
    net.no_ports += n
    lab.wait_for("the datagrams", lambda: no_ports() >= net.no_ports)


@pytest.mark.parametrize("family, to", [(socket.AF_INET, B4), (socket.AF_INET6, B6)])
def test_closed_udp_port(net, family, to):
    with ledger(net.b) as box:
        udp(net.a, to, 9, 137, family)
        arrive_all(net, 137)
    got = box.result
    assert got.count(reason="NO_SOCKET", protocol="udp", stage="socket", iface="vb") == 137
    assert got.all["dropped"] == 137, got.brief()
    assert got.view("UdpNoPorts") == 137 and got.view("UdpNoPorts", "more") == 0
    row = next(r for r in got.rows if r["reason"] == "NO_SOCKET")
    assert "udp" in row["function"] and row["advice"]


@pytest.mark.parametrize("family, to", [(socket.AF_INET, B4), (socket.AF_INET6, B6)])
def test_closed_tcp_port(net, family, to):
    with ledger(net.b) as box:
        with net.a:
            for _ in range(31):
                with socket.socket(family) as s, pytest.raises(ConnectionRefusedError):
                    s.connect((to, 9))
    assert box.result.count(reason="NO_SOCKET", protocol="tcp") == 31
    assert box.result.all["dropped"] == 31, box.result.brief()


def test_full_socket_buffer(net):
    with net.b:
        r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with r:
        r.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        r.bind((B4, 7000))
        r.setblocking(False)
        with ledger(net.b) as box:
            udp(net.a, B4, 7000, 200, size=500)
            udp(net.a, B4, 9, 1)  # behind the others: once it is there, they are
            arrive_all(net, 1)
        got = 0
        with contextlib.suppress(BlockingIOError):
            while r.recv(2000):
                got += 1
    led = box.result
    assert 0 < got < 200
    assert led.count(reason="SOCKET_RCVBUFF", protocol="udp", stage="socket") == 200 - got
    assert led.all["dropped"] == 200 - got + 1
    assert led.view("UdpRcvbufErrors") == 200 - got
    assert led.view("UdpRcvbufErrors", "more") == 0


def test_full_accept_queue(net):
    with net.b:
        server = socket.socket()
    with server, contextlib.ExitStack() as stack:
        server.bind((B4, 7001))
        server.listen(0)
        with ledger(net.b) as box:
            with net.a:
                for _ in range(6):
                    c = stack.enter_context(socket.socket())
                    c.setblocking(False)
                    c.connect_ex((B4, 7001))

            def overflows():
                text = net.b.sh("cat", "/proc/net/netstat").stdout.splitlines()
                at = text[0].split().index("ListenOverflows")
                return int(text[1].split()[at])
            lab.wait_for("overflows", lambda: overflows() >= 5)
            end = overflows()
    led = box.result
    # A SYN that is sent again may be refused again, so the kernel's own count decides.
    full = led.count(reason="ListenOverflows") + led.count(reason="TCP_LISTEN_OVERFLOW")
    assert end <= full <= overflows_now(net)
    assert led.all["dropped"] == full, led.brief()


def overflows_now(net):
    text = net.b.sh("cat", "/proc/net/netstat").stdout.splitlines()
    return int(text[1].split()[text[0].split().index("ListenOverflows")])


def test_bad_checksums(net, known):
    with net.b:
        r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with r, ledger(net.b) as box:
        r.bind((B4, 5678))
        r.settimeout(lab.PATIENCE)
        net.a.inject("va", frames(net, 23, udp={"chksum": 0x1234}))
        net.a.inject("va", frames(net, 17, ip={"chksum": 0x1234}))
        net.a.inject("va", frames(net, 1))
        assert r.recv(100) == b"y" * 20
    led = box.result
    assert led.count(stage="udp", protocol="udp") == 23, led.brief()
    assert led.count(stage="ip", protocol="udp") == 17, led.brief()
    if "UDP_CSUM" in known:
        assert led.count(reason="UDP_CSUM") == 23
    assert led.count(reason="IP_CSUM") == 17
    assert led.all["dropped"] == 40, led.brief()


def test_bad_checksums_of_other_protocols(net):
    """TCP of both families, UDP over IPv6 and ICMP of both: each in its own stage, exact."""
    import scapy.all as scapy
    v4, v6 = scapy.IP(src=A4, dst=B4), scapy.IPv6(src=A6, dst=B6)
    bad = [(13, v4 / scapy.TCP(sport=1, dport=9, chksum=0x1234)),
           (11, v6 / scapy.TCP(sport=1, dport=9, chksum=0x1234)),
           (7, v6 / scapy.UDP(sport=1, dport=9, chksum=0x1234) / b"y"),
           (5, v4 / scapy.ICMP(chksum=0x1234) / b"y"),
           (3, v6 / scapy.ICMPv6EchoRequest(cksum=0x1234) / b"y")]
    with net.b:  # an IPv6 datagram's is verified when it is read, unless nobody listens
        r = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with r:
        r.bind((B6, 9))
        with ledger(net.b) as box:
            for n, packet in bad:
                net.a.inject("va", [bytes(scapy.Ether(src=net.mac_a, dst=net.mac_b) / packet)] * n)
            udp(net.a, B6, 9, 1, socket.AF_INET6)
            r.settimeout(lab.PATIENCE)
            assert r.recv(100) == b"x" * 10
    led = box.result
    assert led.count(stage="tcp", protocol="tcp") == 24, led.brief()
    assert led.count(protocol="udp", stage="udp") == 7, led.brief()
    assert led.count(stage="ip") == 8, led.brief()
    assert led.all["dropped"] == 39, led.brief()


def test_expired_hop_limit_and_no_neighbour(net):
    """IPv6 that would be forwarded; and datagrams to an address that nobody answers for."""
    import scapy.all as scapy
    net.b.sh("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv4.neigh.vb.mcast_solicit=1")
    net.b.ip("-6", "route", "replace", "2001:db8::/64", "via", A6)
    frame = bytes(scapy.Ether(src=net.mac_a, dst=net.mac_b)
                  / scapy.IPv6(src=A6, dst="2001:db8::1", hlim=1) / scapy.UDP(sport=1, dport=9))
    try:
        with ledger(net.b) as box:
            net.a.inject("va", [frame] * 21)
            udp(net.b, NOBODY, 9, 4)
            lab.wait_for("the neighbour to fail", lambda: "FAILED" in net.b.sh(
                "ip", "neigh", "show", NOBODY).stdout)
    finally:
        net.b.ip("-6", "route", "del", "2001:db8::/64", check=False)
        net.b.sh("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0")
        net.b.ip("neigh", "flush", "to", NOBODY, check=False)
    led = box.result
    assert led.count(stage="ip") == 21, led.brief()
    assert led.count(stage="neighbour") == 4, led.brief()
    assert led.all["dropped"] == 25, led.brief()


def load_xdp(name, verdict):
    """A program of two instructions: `return VERDICT`; its descriptor."""
    code = struct.pack("<BBhiBBhi", 0xb7, 0, 0, verdict, 0x95, 0, 0, 0)
    insns, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("<IIQQIIQII16sII", 6, 2, ctypes.addressof(insns),
                       ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode(), 0, 37)
    fd = ctypes.CDLL(None, use_errno=True).syscall(BPF, 5, attr, len(attr))
    assert fd >= 0, ctypes.get_errno()
    return fd


@contextlib.contextmanager
def foreign_xdp(net, name, verdict):
    """Somebody else's program on vb, by a link that goes with its descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    prog = load_xdp(name, verdict)
    attr = struct.pack("<IIII", prog, net.b.link("vb")["ifindex"], 37, 0).ljust(48, b"\0")
    with net.b:
        link = libc.syscall(BPF, 28, attr, len(attr))
    assert link >= 0, ctypes.get_errno()
    try:
        yield
    finally:
        os.close(link)
        os.close(prog)


@pytest.mark.parametrize("verdict, told", [
    (0, ("xdp_exception 0", "aborted")), (1, None), (77, ("xdp_exception 77", "aborted"))])
def test_foreign_xdp(net, verdict, told):
    """Each packet that another's XDP program drops is lost at XDP, once: told by the kernel's
    tracepoint where it gave up on it, with the program's name; else by the freed packet or by
    the driver's counter, which say the same. That its queue is made and goes is no loss."""
    rx = received(net)
    with ledger(net.b) as box, foreign_xdp(net, "aborted", verdict):
        udp(net.a, B4, 9, 53)
        lab.wait_for("the datagrams", lambda: received(net) >= rx + 53)
    led = box.result
    assert led.count(stage="xdp", iface="vb") == 53, led.brief()
    if told:
        assert led.count(reason=told[0], function=told[1], origin="xdp") == 53, led.brief()
    elif led.count(reason="xdp_drops", origin="counter") != 53:
        assert led.view("xdp_drops") == 53 and led.view("xdp_drops", "more") == 0, led.brief()
    assert led.all["dropped"] == 53, led.brief()


def test_nft_drop(net):
    net.b.sh("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; };"
             " add rule inet t c udp dport 6000 drop")
    try:
        with ledger(net.b) as box:
            udp(net.a, B4, 6000, 77)
            udp(net.a, B6, 6000, 11, socket.AF_INET6)
            udp(net.a, B4, 9, 1)
            arrive_all(net, 1)
    finally:
        net.b.sh("nft", "delete table inet t")
    led = box.result
    assert led.count(reason="NETFILTER_DROP", stage="netfilter") == 88, led.brief()
    assert led.all["dropped"] == 89


def header_errors(net):
    text = net.b.sh("cat", "/proc/net/snmp").stdout.splitlines()
    return int(text[1].split()[text[0].split().index("InHdrErrors")])


def test_expired_ttl(net):
    """TTLs that end here, of packets that would go on; one that is for this host does not."""
    before = header_errors(net)
    net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=1")
    net.b.ip("route", "replace", "192.0.2.0/24", "via", A4)
    try:
        with ledger(net.b) as box:
            net.a.inject("va", frames(net, 19, ip={"ttl": 1}))
            net.a.inject("va", frames(net, 29, ip={"ttl": 1, "dst": "192.0.2.1"}))
            arrive_all(net, 19)
            lab.wait_for("the TTLs", lambda: header_errors(net) >= before + 29)
    finally:
        net.b.ip("route", "del", "192.0.2.0/24", check=False)
        net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=0")
    led = box.result
    assert led.count(stage="ip") == 29, led.brief()
    assert led.count(reason="NO_SOCKET") == 19
    assert led.all["dropped"] == 48, led.brief()


@pytest.mark.parametrize("hook, stage", [("xdp", "xdp"), ("tc", "tc-in")])
def test_filter_drop(net, hook, stage):
    """Weir's filter says how many by which rule; what the kernel frees is the same."""
    net.b.sh(lab.WEIR, "filter", "on", "vb", "--hook", hook)
    try:
        net.b.sh(lab.WEIR, "filter", "deny", "--name", "no", "--protocol", "udp",
                 "--dst-port", "6100")
        with ledger(net.b) as box:
            udp(net.a, B4, 6100, 64)
            udp(net.a, B4, 9, 3)
            arrive_all(net, 3)
    finally:
        net.b.sh(lab.WEIR, "unload")
    led = box.result
    assert led.count(reason="weir filter: rule", stage=stage, iface="vb") == 64, led.brief()
    assert led.count(reason="NO_SOCKET") == 3
    assert led.all["dropped"] == 67, led.brief()
    assert led.view("filter/no") == 64


def faults(net):
    """The faults by their names."""
    rules = json.loads(net.b.sh(lab.WEIR, "fault", "list", "--json").stdout)["rules"]
    return {r["name"]: r for r in rules}


@pytest.mark.parametrize("how", [["--drop", "30%", "--seed", "7"], ["--nth", "7"],
                                 ["--rate", "1mbit"]])
def test_fault_drop(net, how):
    """A fault's drops stand under its name, once: beside those of weir's filter at the same
    hook, and what tc tells of both is no more. Where nothing is dropped nothing is told."""
    net.b.sh(lab.WEIR, "filter", "on", "vb", "--hook", "tc")
    net.b.sh(lab.WEIR, "filter", "deny", "--protocol", "udp", "--dst-port", "6100")
    net.b.sh(lab.WEIR, "fault", "add", "lossy", "udp dst port 6200", "-Q", "in", *how)
    net.b.sh(lab.WEIR, "fault", "add", "bad", "udp dst port 6300", "-Q", "in", "--corrupt",
             "--fix-checksum")
    try:
        with ledger(net.b) as box:
            udp(net.a, B4, 6100, 30)
            udp(net.a, B4, 6200, 400, size=1000)
            udp(net.a, B4, 6300, 5)
            udp(net.a, B4, 9, 3)
            lab.wait_for("the datagrams", lambda: faults(net)["lossy"]["matched"] == 400)
            n = faults(net)["lossy"]["hits"]
            arrive_all(net, 408 - n)
            corrupted = faults(net)["bad"]["hits"]
    finally:
        net.b.sh(lab.WEIR, "unload")
    led = box.result
    assert 0 < n < 400 and corrupted == 5
    assert n == 400 // 7 or how[0] != "--nth"
    assert led.count(reason="weir fault: lossy", stage="tc-in", iface="vb", origin="fault") == n
    assert led.count(reason="weir filter: rule", stage="tc-in") == 30
    assert led.count(stage="tc-in") == 30 + n, led.brief()
    assert led.count(reason="NO_SOCKET") == 408 - n
    assert led.all["dropped"] == 438, led.brief()
    assert led.view("TC_INGRESS") == 30 + n and led.view("TC_INGRESS", "more") == 0
    # What a fault does but for dropping is told by its rule, beside the table.
    assert led.view("fault/lossy") == n and led.view("fault/bad") == 5


def test_fault_drop_out_and_cleared(net):
    """Also on sending; and `weir fault clear` takes nothing back, nor does a rule that comes
    after it under the same name."""
    net.b.sh(lab.WEIR, "fault", "add", "gone", "udp dst port 6200", "-Q", "out", "--drop", "100%")
    try:
        with ledger(net.b) as box:
            udp(net.b, A4, 6200, 40)
            net.b.sh(lab.WEIR, "fault", "clear")
            net.b.sh(lab.WEIR, "fault", "add", "gone", "udp dst port 6200", "-Q", "out",
                     "--drop", "100%")
            udp(net.b, A4, 6200, 2)
        with ledger(net.b, "--dst-port", "6200") as matched:
            udp(net.b, A4, 6200, 3)
    finally:
        net.b.sh(lab.WEIR, "unload")
    led = box.result
    assert led.count(reason="weir fault: gone", stage="tc-out", iface="vb") == 42, led.brief()
    assert led.all["dropped"] == 42, led.brief()
    # With a match there are only freed packets, whatever freed them.
    assert matched.result.count(stage="tc-out", origin="kfree_skb") == 3
    assert matched.result.all["dropped"] == 3


def test_mixed_flood_adds_up(net):
    """Sent less received is the sum of the ledger, to the last packet."""
    with net.b:
        r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    net.b.sh("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; };"
             " add rule inet t c udp dport 6000 drop")
    net.b.sh(lab.WEIR, "filter", "on", "vb")
    net.b.sh(lab.WEIR, "filter", "deny", "--protocol", "udp", "--dst-port", "6100")
    sent = 0
    try:
        r.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        r.bind((B4, 5678))
        r.setblocking(False)
        with ledger(net.b) as box:
            for _ in range(40):
                for port, n in ((6000, 31), (6100, 17), (5678, 60), (9, 11)):
                    udp(net.a, B4, port, n, size=200)
                    sent += n
                for change in ({"udp": {"chksum": 1}}, {"ip": {"chksum": 1}}):
                    net.a.inject("va", frames(net, 5, **change))
                    sent += 5
            arrive_all(net, 40 * 11)
            got = 0
            with contextlib.suppress(BlockingIOError):
                while r.recv(2000):
                    got += 1
    finally:
        r.close()
        net.b.sh("nft", "delete table inet t")
        net.b.sh(lab.WEIR, "unload")
    led = box.result
    assert sent - got == led.all["dropped"], (sent, got, led.brief()[-5:])
    assert led.count(reason="NETFILTER_DROP") == 40 * 31
    assert led.count(reason="weir filter: rule") == 40 * 17
    assert led.count(reason="NO_SOCKET") == 40 * 11
    assert led.count(stage="ip") == 200 and led.count(stage="udp") == 200


@contextlib.contextmanager
def balanced(net):
    """The account of what b receives inside, in .result.balance; its ledger in .result."""
    drops = Drops(net.b, "--json", "--account", "--for", "1h")

    class Box:
        result = None
    try:
        yield Box
        Box.result = Ledger(drops.stop()).check()
    finally:
        drops.kill()
    b = Box.result.balance = Box.result.all["balance"]
    assert b["received"] == b["lost_before_ip"] + b["freed_before_ip"] + b["residue_before_ip"] \
        + b["ip"], b
    assert b["ip"] == b["lost_in_ip"] + b["freed_in_ip"] + b["fragments"] + b["forwarded"] \
        + b["residue_in_ip"] + b["delivered"], b
    assert b["delivered"] == b["lost_in_protocols"] + b["freed_in_protocols"] + b["tcp"] \
        + b["icmp"] + b["udp_read"] + b["udp_waiting"] + b["residue_in_protocols"], b
    assert b["requests"] + b["forwarded"] + b["fragments_made"] == b["lost_on_sending"] \
        + b["freed_on_sending"] + b["queued"] + b["residue_on_sending"] + b["sent"], b
    assert b["residue"] == b["residue_before_ip"] + b["residue_in_ip"] \
        + b["residue_in_protocols"] + b["residue_on_sending"], b


def received(net, dev="vb", ns=None):
    return (ns or net.b).link(dev)["stats64"]["rx"]["packets"]


def test_account_of_a_flood(net):
    """Datagrams read, left unread, refused by weir's filter and fault, by nft, for a bad
    checksum, a closed port and a full socket: what the interface received is all of them,
    each once, and nothing is left."""
    net.b.sh("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; };"
             " add rule inet t c udp dport 6000 drop")
    net.b.sh(lab.WEIR, "filter", "on", "vb", "--hook", "xdp")
    net.b.sh(lab.WEIR, "filter", "deny", "--protocol", "udp", "--dst-port", "6100")
    net.b.sh(lab.WEIR, "fault", "add", "lossy", "udp dst port 6200", "-Q", "in", "--nth", "2")
    with net.b:
        read, unread, full = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3))
    try:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for s, port in ((read, 7300), (unread, 7301), (full, 7302)):
            s.bind((B4, port))
            s.setblocking(False)
        udp(net.a, B4, 7301, 3)  # before the run: none of its own
        before = received(net)
        with balanced(net) as box:
            got = 0
            for _ in range(30):
                for port, n in ((6000, 31), (6100, 17), (6200, 10), (7300, 20), (7302, 9), (9, 4)):
                    udp(net.a, B4, port, n, size=200)
                net.a.inject("va", frames(net, 5, udp={"chksum": 1, "dport": 7300}))
                net.a.inject("va", frames(net, 3, ip={"chksum": 1}))
                with contextlib.suppress(BlockingIOError):
                    while read.recv(2000):
                        got += 1
            udp(net.a, B4, 7301, 8)
            arrive_all(net, 30 * (4 + 5))
            with contextlib.suppress(BlockingIOError):
                while read.recv(2000):
                    got += 1
        sent = received(net) - before
    finally:
        for s in (read, unread, full):
            s.close()
        net.b.sh("nft", "delete table inet t")
        net.b.sh(lab.WEIR, "unload")
    led, b = box.result, box.result.balance
    assert not any(v for k, v in b.items() if "residue" in k), (b, led.brief())
    assert b["received"] == sent == 30 * 99 + 8, (sent, b)
    waits = 30 * 9 - led.count(reason="SOCKET_RCVBUFF")
    assert 0 < waits < 30 * 9
    assert (b["udp_read"], b["udp_waiting"]) == (got, 8 + waits), b
    assert got == 30 * 20
    assert b["lost_before_ip"] == 30 * (17 + 5), b
    assert b["lost_in_ip"] == 30 * (31 + 3), b
    assert led.all["dropped"] == sent - got - 8 - waits
    assert led.all["dropped"] == b["lost_before_ip"] + b["lost_in_ip"] + b["lost_in_protocols"]


def out_of(net, ns, to, port, n, size=100):
    """@n datagrams that netfilter may refuse to take."""
    with ns:
        s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for _ in range(n):
            with contextlib.suppress(OSError):
                s.sendto(b"x" * size, (to, port))


def test_account_of_sending(net):
    """What IP was given to send is what left, what waits in a queue, and what was lost on
    the way: to netfilter before routing and behind it, to weir's fault, to a full qdisc;
    fragments and forwarded packets among them. What left is what the other host received."""
    net.b.sh("nft", "add table inet t;"
             "add chain inet t o { type filter hook output priority 0; };"
             "add rule inet t o udp dport 6000 drop;"
             "add chain inet t p { type filter hook postrouting priority 0; };"
             "add rule inet t p udp dport 6001 drop")
    net.b.sh(lab.WEIR, "fault", "add", "out", "udp dst port 6200", "-i", "vb", "-Q", "out",
             "--nth", "3")
    net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=1")
    net.b.ip("link", "add", "slow0", "type", "veth", "peer", "name", "slow1", "netns", net.a.name)
    for ns, dev in ((net.b, "slow0"), (net.a, "slow1")):
        ns.sh("sysctl", "-qw", f"net.ipv6.conf.{dev}.disable_ipv6=1")
        ns.ip("link", "set", dev, "up")
    net.b.ip("addr", "add", "192.0.2.1/24", "dev", "slow0")
    net.b.ip("neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:01", "dev", "slow0")
    # One packet at once, then two a minute at most; four may wait.
    net.b.sh("tc", "qdisc", "add", "dev", "slow0", "root", "tbf", "rate", "64bit", "burst", "1540",
             "limit", "5000")
    try:
        before = received(net, "va", net.a), received(net, "slow1", net.a)
        with balanced(net) as box:
            for to in (B4, A4):  # loopback and out
                out_of(net, net.b, to, 6000, 7)
                out_of(net, net.b, to, 6001, 11)
            out_of(net, net.b, A6, 6000, 5)
            out_of(net, net.b, A4, 6200, 30)
            out_of(net, net.b, A6, 9, 4)
            out_of(net, net.b, A4, 9, 3, size=5000)
            out_of(net, net.b, "192.0.2.2", 9, 20, size=1200)
            net.a.inject("va", frames(net, 6, ip={"dst": "192.0.2.2"}))
            udp(net.a, B4, 9, 2)
            arrive_all(net, 2)
            lab.wait_for("what is to be forwarded", lambda: qdisc(net)["drops"] > 20)
            stats = qdisc(net)
        sent = received(net, "va", net.a) - before[0] + received(net, "slow1", net.a) - before[1]
    finally:
        net.b.ip("link", "del", "slow0")
        net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=0")
        net.b.sh("nft", "delete table inet t")
        net.b.sh(lab.WEIR, "unload")
    led, b = box.result, box.result.balance
    assert b["residue_on_sending"] == 0, (b, led.brief())
    assert b["sent"] == sent, (b, sent)
    assert (b["forwarded"], b["fragments_made"]) == (6, 3 * 3)
    assert b["queued"] == stats["qlen"] > 0
    assert led.count(stage="netfilter") == 2 * (7 + 11) + 5, led.brief()
    assert led.count(reason="weir fault: out", stage="tc-out") == 10
    assert led.count(stage="qdisc") == stats["drops"] == 26 - stats["packets"] - stats["qlen"]
    assert led.view("qdisc drops") == stats["drops"] and led.view("qdisc drops", "more") == 0
    assert b["lost_on_sending"] == 2 * (7 + 11) + 5 + 10 + stats["drops"], (b, led.brief())


def qdisc(net):
    """What the kernel tells of slow0's queue."""
    found = json.loads(net.b.sh("tc", "-s", "-j", "qdisc", "show", "dev", "slow0", "root").stdout)
    return found[0]


def test_account_of_other_protocols(net):
    """TCP, pings of both families, fragments, what is forwarded and local traffic: nothing is
    left but what a UDP socket had unread when it closed. What was forwarded and then lost has
    left this road."""
    net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=1")
    net.b.ip("link", "add", "out0", "type", "veth", "peer", "name", "out1", "netns", net.a.name)
    net.b.ip("link", "set", "out0", "up")
    net.b.ip("route", "add", "192.0.2.0/24", "dev", "out0")
    net.b.ip("neigh", "replace", "192.0.2.1", "lladdr", "02:00:00:00:00:01", "dev", "out0")
    try:
        with net.b:
            server = socket.create_server((B4, 7400))
            left = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            left.bind((B4, 7401))
            left.setblocking(False)
        with balanced(net) as box:
            with net.a:
                client = socket.create_connection((B4, 7400))
            peer = server.accept()[0]
            client.sendall(b"q" * 3000)
            assert len(peer.recv(3000, socket.MSG_WAITALL)) == 3000
            peer.close()
            assert client.recv(10) == b""
            client.close()
            net.a.sh("ping", "-qc", "3", "-i", "0.01", B4)
            net.a.sh("ping", "-qc", "3", "-i", "0.01", "-s", "5000", B4)
            net.a.sh("ping", "-qc", "2", "-i", "0.01", B6)
            net.b.sh("ping", "-qc", "2", "-i", "0.01", "127.0.0.1")
            net.a.inject("va", frames(net, 6, ip={"dst": "192.0.2.1"}))
            udp(net.a, B4, 7401, 5)
            udp(net.a, B4, 9, 2)  # behind the others: once they are there, so are those
            arrive_all(net, 2)
            left.close()
            server.close()
    finally:
        net.b.ip("link", "del", "out0")
        net.b.sh("sysctl", "-qw", "net.ipv4.ip_forward=0")
    led, b = box.result, box.result.balance
    assert b["residue"] == b["residue_in_protocols"] == 5, (b, led.brief())
    assert b["forwarded"] == 6 and b["fragments"] == 3 * 3
    assert b["icmp"] == 3 + 3 + 2 + 4 and b["tcp"] >= 4
    assert (b["udp_read"], b["udp_waiting"]) == (0, 0)
    assert b["lost_in_protocols"] == 2, led.brief()
    assert led.count(stage="qdisc") == 6 and led.all["dropped"] == 8, led.brief()


def test_account_residue(net):
    """What is no IP is in none of the counters, and is shown as the residue."""
    import scapy.all as scapy
    frame = bytes(scapy.Ether(src=net.mac_a, dst=net.mac_b)
                  / scapy.ARP(op=2, psrc=A4, pdst=B4, hwsrc=net.mac_a, hwdst=net.mac_b))
    with balanced(net) as box:
        net.a.inject("va", [frame] * 7)
        udp(net.a, B4, 9, 2)
        arrive_all(net, 2)
    assert box.result.balance["residue_before_ip"] == box.result.balance["residue"] == 7
    drops = Drops(net.b, "--account", "--for", "1h")
    try:
        udp(net.a, B4, 9, 2)
        arrive_all(net, 2)
        text = drops.stop()
    finally:
        drops.kill()
    assert re.search(r"^Received by interfaces +2 ", text, re.M), text
    assert re.search(r"^Residue +0 ", text, re.M), text


def test_ordinary_traffic_loses_nothing(net):
    """Connections that come and go, of both families, and datagrams that are read."""
    with net.b:
        listeners = [socket.create_server((B4, 7100), backlog=64),
                     socket.create_server((B6, 7100), family=socket.AF_INET6, backlog=64)]
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.bind((B4, 7100))
    with ledger(net.b) as here, ledger(net.a) as there:
        for listener, to in zip(listeners, (B4, B6)):
            for i in range(60):
                with net.a:
                    c = socket.create_connection((to, 7100))
                s, _ = listener.accept()
                c.sendall(b"q" * 3000)
                assert len(s.recv(3000, socket.MSG_WAITALL)) == 3000
                s.sendall(b"r" * 3000)
                assert len(c.recv(3000, socket.MSG_WAITALL)) == 3000
                for end in ((s, c) if i % 2 else (c, s)):
                    end.close()
        with net.a:
            c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(50):
            c.sendto(b"d", (B4, 7100))
            assert u.recv(10) == b"d"
        c.close()
    for s in (*listeners, u):
        s.close()
    assert here.result.rows == [], here.result.brief()
    assert there.result.rows == [], there.result.brief()


def test_match_interface_and_flows(net):
    with ledger(net.b, "--dst-port", "9", "--by", "flow") as narrow, ledger(net.b, "-i", "lo") \
            as elsewhere, ledger(net.b, "udp and not port 9") as other:
        udp(net.a, B4, 9, 25)
        udp(net.a, B4, 10, 4)
        arrive_all(net, 29)
    assert narrow.result.all["dropped"] == 25
    assert narrow.result.all["account"]["unmatched"] >= 4
    assert [(f["src_ip"], f["dst_ip"], f["dst_port"], f["protocol"], f["reason"], f["count"])
            for f in narrow.result.all["flows"]] == [(A4, B4, 9, "udp", "NO_SOCKET", 25)]
    assert {f["function"] for f in narrow.result.all["flows"]} == {"__udp4_lib_rcv"}
    assert elsewhere.result.all["dropped"] == 0
    assert other.result.all["dropped"] == 4, other.result.brief()


def test_flows_are_what_was_lost(net):
    """What was freed but not lost is apart: the flows' sum is that of the ledger's freed rows."""
    with ledger(net.b, "--by", "flow") as by_flow:
        udp(net.a, B4, 9, 25)
        with net.b, socket.create_server((B4, 81)) as server, net.a:
            for _ in range(5):
                with socket.create_connection((B4, 81)) as c:
                    server.accept()[0].close()
                    c.recv(1)
        arrive_all(net, 25)
    told = by_flow.result.all
    assert sum(f["count"] for f in told["flows"]) == 25 == told["dropped"], told
    assert sum(f["count"] for f in told["freed_flows"]) == sum(r["count"] for r in told["freed"])


def test_events(net):
    drops = Drops(net.b, "--events", "--json")
    try:
        with net.a:
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with s:
            s.bind((A6, 4321))
            for _ in range(12):
                with contextlib.suppress(ConnectionRefusedError):
                    s.sendto(b"e", (B6, 9))
        arrive_all(net, 12)
        events = [json.loads(line) for line in drops.stop().splitlines()]
    finally:
        drops.kill()
    mine = [e for e in events if e.get("src_port") == 4321]
    assert len(mine) == 12
    assert {(e["reason"], e["src_ip"], e["dst_ip"], e["dst_port"], e["protocol"], e["iface"],
             e["lost"]) for e in mine} == {("NO_SOCKET", A6, B6, 9, "udp", "vb", True)}
    told = json.loads(drops.err.splitlines()[-1])
    assert told["delivered"] == len(events) and told["account"]["lost"] == {}


def test_lost_events_are_told(net):
    """A reader that sleeps loses events, and they are counted."""
    drops = Drops(net.b, "--events", "--json", "--fail-on-loss")
    try:
        drops.process.send_signal(signal.SIGSTOP)
        for _ in range(20):
            udp(net.a, B4, 9, 1000)
        arrive_all(net, 20000)
        drops.process.send_signal(signal.SIGCONT)
        events = drops.stop().splitlines()
    finally:
        drops.kill()
    told = json.loads(drops.err.splitlines()[-1])
    assert told["account"]["lost"]["ring"] > 0
    assert told["delivered"] == len(events)
    assert told["delivered"] + told["account"]["lost"]["ring"] == told["account"]["matched"]
    assert drops.process.returncode == 3


def test_capture_copies_are_no_loss(net):
    """A packet socket whose queue is full loses copies, not packets."""
    with net.b:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        r.bind((B4, 7200))
    with tap, r, ledger(net.b) as box:
        for _ in range(100):
            udp(net.a, B4, 7200, 1)
            r.recv(100)
    assert box.result.rows == [], box.result.brief()


def test_other_namespaces(net):
    with ledger(net.a) as quiet, ledger(net.a, "--all-netns") as loud:
        udp(net.a, B4, 9, 9)
        arrive_all(net, 9)
    assert quiet.result.count(reason="NO_SOCKET", protocol="udp") == 0
    assert loud.result.count(reason="NO_SOCKET", protocol="udp") >= 9


def test_text(net):
    out = net.b.command(lab.WEIR, "drops", "--once", "--for", "1500ms")
    p = subprocess.Popen(out, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stderr.readline() == "weir drops: listening\n"
    udp(net.a, B4, 9, 5)
    arrive_all(net, 5)
    text, _ = p.communicate(timeout=lab.PATIENCE)
    assert re.search(r"^socket +NO_SOCKET +\S*udp\S* +vb +5 +\S+ +nothing listens there", text,
                     re.M), text
    assert re.search(r"^UdpNoPorts +- +5 +5 +0 ", text, re.M), text
    assert "Lost: 5 packets" in text


def test_refused_by_the_proxy(net):
    """Connections that weir's proxy refused stand beside the ledger, by reason, also after it
    has gone; they are no packets, and what it refused before the run is none of it."""
    proxy = proxies.Proxy(net.b, "\n".join([
        "listen:", f'  - {{address: "{B4}:7443"}}', "routes:",
        f'  - {{match: a.test, backends: ["{B4}:7444"]}}', "drain: 1s"]) + "\n")

    def refused(*names):
        """Each ends without a backend; until the proxy has it in its account."""
        before = sum(proxy.dropped().values())
        for name in names:
            client = proxies.Client(net.a, B4, 7443, name, wait=False)
            client.ended()
            client.close()
        lab.wait_for("the account", lambda: sum(proxy.dropped().values()) == before + len(names))
    try:
        refused("other.test")
        with ledger(net.b) as box:
            refused("other.test", "other.test", "a.test", "other.test")
            proxy.remove()
    finally:
        proxy.remove()
    refusals = box.result.all["refused_connections"]
    assert {r["reason"]: r["count"] for r in refusals if r["verb"] == "proxy" and r["advice"]} == \
        {"no_match": 3, "connect": 1}


def test_prometheus(net):
    net.b.sh(lab.WEIR, "fault", "add", "m", "udp dst port 6200", "-Q", "in", "--drop", "100%")
    drops = Drops(net.b, "--prometheus", "--for", "1h")
    try:
        udp(net.a, B4, 6200, 11)
        udp(net.a, B6, 9, 4, socket.AF_INET6)
        udp(net.a, B4, 9, 5)
        arrive_all(net, 9)
        series = prometheus.parse(drops.stop(), "weir_drops_")
    finally:
        drops.kill()
        net.b.sh(lab.WEIR, "unload")
    packets = {labels: n for (name, labels), n in series.items() if name == "weir_drops_packets"}
    assert packets == {(("reason", "NO_SOCKET"), ("stage", "socket")): 9,
                       (("reason", "weir fault: m"), ("stage", "tc-in")): 11}
    assert prometheus.value(series, "weir_drops_lost") == 20
    assert prometheus.value(series, "weir_drops_untold") == 0
    assert prometheus.value(series, "weir_drops_run_nanoseconds") > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(net, number):
    import kernel
    drops = Drops(net.b, "--json")
    objects = kernel.Objects(drops.process.pid)
    assert "weir_drops_free" in " ".join(objects.names)
    drops.process.send_signal(number)
    drops.process.communicate(timeout=lab.PATIENCE)
    objects.wait_gone()


def unprivileged(*caps):
    words = ",".join(["-all", *[f"+{c}" for c in caps]])
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={words}",
            f"--ambient-caps={words}", f"--bounding-set={words}"]


def test_rights(net):
    with lab.public_dir() as path:
        program = path / "weir"
        program.write_bytes(Path(lab.WEIR).read_bytes())
        program.chmod(0o755)
        done = subprocess.run(net.b.command(*unprivileged("net_admin"), program, "drops", "--once"),
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert "CAP_BPF, CAP_PERFMON" in done.stderr, done.stderr
        command = net.b.command(*unprivileged("bpf", "perfmon"), program, "drops", "--json",
                                "--once", "--for", "1500ms")
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert p.stderr.readline() == "weir drops: listening\n"
        udp(net.a, B4, 9, 6)
        arrive_all(net, 6)
        led = Ledger(p.communicate(timeout=lab.PATIENCE)[0])
    assert led.count(reason="NO_SOCKET") == 6
    if int(Path("/proc/sys/kernel/kptr_restrict").read_text()) or \
            int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 1:
        assert led.rows[0]["function"].startswith("0x"), led.brief()


@pytest.mark.parametrize("words, text", [
    (["--by", "colour"], "--by"),
    (["--events", "--once"], "--once"),
    (["--events", "--by", "flow"], "--by"),
    (["--interval", "1ms"], "--interval"),
    (["-i", "nosuch0"], "nosuch0"),
    (["vlan", "5"], "vlan"),
    (["--all-netns", "-i", "lo"], "--all-netns"),
    (["tcp", "and", "bogus"], "bogus"),
    (["--account", "-i", "lo"], "--account"),
    (["--account", "--events"], "--account"),
    (["--prometheus", "--json"], "--prometheus"),
    (["--prometheus", "--by", "flow"], "--prometheus"),
    (["--account", "tcp"], "--account"),
])
def test_wrong_usage(net, words, text):
    done = net.b.sh(lab.WEIR, "drops", *words, check=False)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and text in done.stderr, done.stderr
