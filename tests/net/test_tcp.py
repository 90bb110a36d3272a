# SPDX-License-Identifier: GPL-2.0-only
"""`weir tcp` against what the kernel says of the same sockets (TCP_INFO), on real
connections whose losses, windows and ends are made on purpose."""

import contextlib
import json
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import lab
import prometheus

LONG = bool(os.environ.get("WEIR_LONG"))
A, B = "10.77.0.1", "10.77.0.2"
CLOSED = 7
PORT = 5201

INFO = struct.Struct("8B24I4Q6I4Q2I2Q4I")
NAMES = ("state ca_state retransmits probes backoff options wscale flags "
         "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent "
         "last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh "
         "snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans pacing_rate "
         "max_pacing_rate bytes_acked bytes_received segs_out segs_in notsent_bytes min_rtt "
         "data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited "
         "delivered delivered_ce bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack "
         "snd_wnd").split()

# weir's member: the kernel's, and how many of weir's units it has.
SAME = {
    "bytes_received": ("bytes_received", 1), "bytes_acked": ("bytes_acked", 1),
    "bytes_sent": ("bytes_sent", 1), "bytes_retransmitted": ("bytes_retrans", 1),
    "segments_in": ("segs_in", 1), "segments_out": ("segs_out", 1),
    "data_segments_in": ("data_segs_in", 1), "data_segments_out": ("data_segs_out", 1),
    "retransmits": ("total_retrans", 1), "out_of_order": ("rcv_ooopack", 1),
    "reordering": ("reordering", 1), "reordering_seen": ("reord_seen", 1),
    "dsack_duplicates": ("dsack_dups", 1), "delivered": ("delivered", 1),
    "delivered_ce": ("delivered_ce", 1), "cwnd": ("snd_cwnd", 1),
    "ssthresh": ("snd_ssthresh", 1), "mss": ("snd_mss", 1), "rcv_mss": ("rcv_mss", 1),
    "unacked": ("unacked", 1), "lost_segments": ("lost", 1), "not_sent_bytes": ("notsent_bytes", 1),
    "rtt_ns": ("rtt", 1000), "rtt_var_ns": ("rttvar", 1000), "min_rtt_ns": ("min_rtt", 1000),
    "delivery_rate": ("delivery_rate", 1), "send_window": ("snd_wnd", 1), "rto_ns": ("rto", 1000),
    "busy_ns": ("busy_time", 1000), "rwnd_limited_ns": ("rwnd_limited", 1000),
    "sndbuf_limited_ns": ("sndbuf_limited", 1000),
}


def info(s):
    raw = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size)
    return dict(zip(NAMES, INFO.unpack(raw)))


class Tcp:
    """`weir tcp --json ARGS` in the background."""

    def __init__(self, *args):
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._events, self._read = [], 0
        self.process = subprocess.Popen([lab.WEIR, "tcp", "--json", *map(str, args)],
                                        stdin=subprocess.DEVNULL, stdout=self._out,
                                        stderr=self._err)
        lab.wait_for(lambda: f"weir tcp {args}: {self.err}",
                     lambda: "listening" in self.err or self.process.poll() is not None)
        assert self.process.poll() is None, self.err

    @property
    def err(self):
        return lab.Watch._text(self._err).decode()

    @property
    def events(self):
        size = os.fstat(self._out.fileno()).st_size
        text = os.pread(self._out.fileno(), size - self._read, self._read)
        whole = text[:text.rfind(b"\n") + 1]
        self._read += len(whole)
        self._events += [json.loads(line) for line in whole.splitlines()]
        return self._events

    def find(self, event, **members):
        return [e for e in self.events if e["event"] == event
                and all(e.get(k) == v for k, v in members.items())]

    def wait_for(self, event, n=1, **members):
        lab.wait_for(lambda: f"{n} {event} {members}: {self.events}",
                     lambda: len(self.find(event, **members)) >= n)
        return self.find(event, **members)

    def one(self, event, **members):
        """The only one of its kind, once it is there."""
        found = self.wait_for(event, **members)
        assert len(found) == 1, found
        return found[0]

    def stop(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(lab.PATIENCE)
        return status


@contextlib.contextmanager
def weir_events(*args, kinds="all"):
    t = Tcp("--events", kinds, *args)
    try:
        yield t
    finally:
        t.stop()
    assert "lost" not in t.err, t.err


def once(*args):
    done = lab.weir("tcp", "--once", "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Net:
    """Two hosts, one segment a packet."""

    def __init__(self):
        self.pair = lab.Pair(addresses=True)
        self.a, self.b = self.pair.a, self.pair.b
        for ns, dev in ((self.a, "va"), (self.b, "vb")):
            ns.ip("link", "set", dev, "gso_max_segs", "1")

    def listen(self, port=PORT, address=B, ns=None, rcvbuf=0):
        with ns or self.b:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.bind((address, port))
        s.listen(128)
        s.settimeout(lab.PATIENCE)
        return s

    def client(self, family=socket.AF_INET):
        with self.a:
            s = socket.socket(family)
        s.settimeout(lab.PATIENCE)
        return s

    def connect(self, listener):
        address = listener.getsockname()
        c = self.client(listener.family)
        c.connect(address)
        s, _ = listener.accept()
        s.settimeout(lab.PATIENCE)
        return c, s

    def drop(self, ns, rule):
        """@rule without its verdict, on what comes in."""
        for line in ("add table inet t",
                     "add chain inet t in { type filter hook prerouting priority -300 ; }",
                     f"add rule inet t in {rule} counter drop"):
            ns.sh("nft", line)

    def dropped(self, ns):
        rules = json.loads(ns.sh("nft", "-j", "list", "table", "inet", "t").stdout)["nftables"]
        return sum(e["counter"]["packets"] for r in rules for e in r.get("rule", {}).get("expr", [])
                   if "counter" in e)

    def remove(self):
        self.pair.remove()


@pytest.fixture
def net():
    n = Net()
    try:
        yield n
    finally:
        n.remove()


def send_all(c, s, n):
    """@n bytes from @c to @s, by one thread."""
    c.setblocking(False)
    data, got = memoryview(bytes(n)), 0
    end = time.monotonic() + lab.PATIENCE
    while got < n:
        assert time.monotonic() < end
        if len(data):
            with contextlib.suppress(BlockingIOError):
                data = data[c.send(data[:65536]):]
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            got += len(s.recv(1 << 20))
    c.settimeout(lab.PATIENCE)
    s.settimeout(lab.PATIENCE)


def finish(first, then):
    """Close both with FIN, @first first; TCP_INFO of each once it is closed, which no
    packet can change any more."""
    first.shutdown(socket.SHUT_WR)
    assert then.recv(1) == b""
    then.shutdown(socket.SHUT_WR)
    assert first.recv(1) == b""
    told = []
    for s in (first, then):
        lab.wait_for("the socket to be closed", lambda s=s: info(s)["state"] == CLOSED)
        told.append(info(s))
        s.close()
    return told


def assert_same(event, kernel):
    for member, (name, unit) in SAME.items():
        assert event.get(member, 0) == kernel[name] * unit, (member, event, kernel)
    causes = event["retransmit_causes"]
    assert sum(causes.values()) == event["retransmits"] - event.get("retransmits_before", 0), event
    histogram = event.get("rtt", {"histogram": [], "samples": 0})
    assert sum(b["count"] for b in histogram["histogram"]) == histogram["samples"]


@pytest.mark.parametrize("loss", [0, 3])
def test_equal_to_tcp_info(net, loss):
    """Every figure of every connection, with and without losses both ways."""
    rng, truth = random.Random(5), {}
    listeners = [net.listen(), net.listen(address="fd77::2")]
    if loss:
        for ns in (net.a, net.b):
            net.drop(ns, f"tcp dport != 0 meta length > 200 numgen random mod 100 < {loss}")
    n = (9000 if LONG else 150) if not loss else (1000 if LONG else 25)
    with weir_events("--netns", net.a.name, kinds="close") as wa, \
            weir_events("--netns", net.b.name, kinds="close") as wb:
        for i in range(n):
            c, s = net.connect(listeners[i % 2])
            port = c.getsockname()[1]
            sent = {c: 0, s: 0}
            for _ in range(rng.randrange(4)):
                one, other = (c, s) if rng.randrange(2) else (s, c)
                n_bytes = rng.choice([1, 100, 1448, 5000, 60000])
                send_all(one, other, n_bytes)
                sent[one] += n_bytes
            by = rng.randrange(2)
            told = finish(*((c, s) if by else (s, c)))
            truth[port, i] = (told if by else told[::-1], by)
            lab.wait_for("both ends to be told", lambda n=i + 1: len(wa.events) >= n
                         and len(wb.events) >= n)
            ea, eb = wa.events[i], wb.events[i]
            assert ea["local_port"] == eb["remote_port"] == port
            assert_same(ea, truth[port, i][0][0])
            assert_same(eb, truth[port, i][0][1])
            assert (ea["bytes_out"], eb["bytes_out"]) == (sent[c], sent[s])
            assert (ea["bytes_in"], eb["bytes_in"]) == (sent[s], sent[c])
            assert ea["closed_how"] == eb["closed_how"] == "fin"
            assert (ea["closed_by"], eb["closed_by"]) == (("local", "remote") if by else
                                                          ("remote", "local"))
            assert ea["initiator"] == "local" and eb["initiator"] == "remote"
        assert len(wa.events) == len(wb.events) == n
    if loss:
        assert sum(t[0][0]["total_retrans"] + t[0][1]["total_retrans"]
                   for t in truth.values()) > 0
        assert net.dropped(net.a) + net.dropped(net.b) > 0


def causes(event):
    return {k: v for k, v in event["retransmit_causes"].items() if v}


def test_cause_syn(net):
    net.drop(net.b, "tcp flags & (syn|ack) == syn numgen inc mod 2 < 1")
    listener = net.listen()
    with weir_events("--netns", net.a.name) as w:
        c, s = net.connect(listener)
        finish(c, s)
        event = w.one("close")
        assert causes(event) == {"syn": 1} and event["retransmits"] == 1
        again = w.one("retransmit")
        assert again["cause"] == "syn" and again["state"] == "syn-sent"
        # The handshake's time has the wait for the second SYN in it.
        assert event["handshake_ns"] > 10 ** 9
        assert [e["event"] for e in w.events] == ["connect", "retransmit", "established", "close"]


def test_cause_syn_ack(net):
    net.drop(net.a, "tcp flags & (syn|ack) == syn|ack numgen inc mod 3 < 1")
    listener = net.listen()
    with weir_events("--netns", net.b.name) as w:
        c, s = net.connect(listener)
        told = finish(c, s)[1]
        event = w.one("close")
        assert_same(event, told)
        assert set(causes(event)) == {"syn"} and event["retransmits"] == told["total_retrans"]
        assert {e["cause"] for e in w.find("retransmit")} == {"syn"}


def test_cause_tail_loss_probe_and_timeout(net):
    listener = net.listen()
    with weir_events("--netns", net.a.name) as w:
        c, s = net.connect(listener)
        send_all(c, s, 20000)
        send_all(s, c, 1)
        net.drop(net.b, "meta length > 500 numgen inc mod 4 < 1")
        send_all(c, s, 1000)
        event = w.one("retransmit")
        assert event["cause"] == "tlp", event
        told = finish(c, s)[0]
        assert told["total_retrans"] == 1 and causes(w.one("close")) == {"tlp": 1}

    net.b.sh("nft", "delete table inet t")
    with weir_events("--netns", net.a.name) as w:
        c, s = net.connect(listener)
        send_all(c, s, 20000)
        net.drop(net.b, "meta length > 500 numgen inc mod 4 < 3")
        send_all(c, s, 1000)
        finish(c, s)
        event = w.one("close")
        assert event["retransmits"] == 3
        assert causes(event) == {"tlp": 1, "rto": 2}, event


def test_cause_fast_and_out_of_order(net):
    listener = net.listen()
    with weir_events("--netns", net.a.name) as w, \
            weir_events("--netns", net.b.name, kinds="close") as wb:
        c, s = net.connect(listener)
        send_all(c, s, 200000)
        net.drop(net.b, "meta length > 1000 numgen inc mod 30 == 5")
        send_all(c, s, 500 * 1400)
        assert net.dropped(net.b) > 0
        mine, other = finish(c, s)
        event = w.one("close")
        # A slow machine may let a tail loss probe come first, here and there.
        assert "fast" in causes(event) and set(causes(event)) <= {"fast", "tlp"}, event
        assert event["retransmits"] == mine["total_retrans"] >= net.dropped(net.b)
        assert sum(e["segments"] for e in w.find("retransmit")) == event["retransmits"]
        assert wb.one("close")["out_of_order"] == other["rcv_ooopack"] > 0


def test_one_percent(net):
    listener = net.listen()
    net.drop(net.b, "meta length > 1000 numgen random mod 100 < 1")
    with weir_events("--netns", net.a.name, kinds="close") as w:
        c, s = net.connect(listener)
        send_all(c, s, 6_000_000)
        finish(c, s)
        event = w.one("close")
    n, drops = event["data_segments_out"], net.dropped(net.b)
    sigma = math.sqrt(n * 0.01 * 0.99)
    # What had come and was sent again all the same, the peer has told (RFC 2883).
    lost = event["retransmits"] - event["dsack_duplicates"]
    assert drops > 0 and abs(lost - drops) <= 1.96 * sigma, (lost, drops, event)
    assert lost / n == pytest.approx(0.01, abs=4 * sigma / n), (lost, n)


def test_old_connections(net):
    listener = net.listen()
    c, s = net.connect(listener)
    send_all(c, s, 5000)
    port = c.getsockname()[1]
    seen = {(r["local_port"], r["remote_port"]): r for r in once()["connections"]}
    for key, sock, initiator in (((port, PORT), c, "local"), ((PORT, port), s, "remote")):
        r = seen[key]
        assert_same(r, info(sock))
        assert r["initiator"] == initiator and r["guessed"] and "start_ts" not in r
        assert r["pid"] == os.getpid() and r["state"] == "established"
    with weir_events("--netns", net.a.name) as w:
        send_all(c, s, 1000)
        mine, _ = finish(c, s)
        event = w.one("close")
        assert_same(event, mine)
        assert event["closed_by"] == "local" and event["guessed"]


def test_zero_window(net):
    listener = net.listen(rcvbuf=4096)
    with weir_events("--netns", net.a.name, kinds="close") as wa, \
            weir_events("--netns", net.b.name, kinds="close") as wb:
        c, s = net.connect(listener)
        c.setblocking(False)
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                while True:
                    c.send(bytes(65536))
            lab.wait_for("the window to be shut", lambda: info(c)["snd_wnd"] == 0)
            s.setblocking(False)

            def arrived():
                with contextlib.suppress(BlockingIOError):
                    while s.recv(1 << 20):
                        pass
                return not info(c)["notsent_bytes"] and not info(c)["unacked"]
            lab.wait_for("all to have arrived", arrived)
        c.settimeout(lab.PATIENCE)
        s.settimeout(lab.PATIENCE)
        finish(c, s)
        ea, eb = wa.one("close"), wb.one("close")
        assert ea["zero_window_in"] >= 2 and ea["zero_window_out"] == 0, ea
        assert eb["zero_window_out"] >= 2 and eb["zero_window_in"] == 0, eb
        assert ea["rwnd_limited_ns"] > 0


def linger(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def test_who_closed_and_how(net):
    listener = net.listen()
    with weir_events("--netns", net.a.name) as wa, weir_events("--netns", net.b.name) as wb:
        def pair():
            c, s = net.connect(listener)
            return c, s, c.getsockname()[1]

        def check(port, by, how, peer_by, peer_how):
            e = wa.one("close", local_port=port)
            assert (e.get("closed_by"), e["closed_how"]) == (by, how), e
            e = wb.one("close", remote_port=port)
            assert (e.get("closed_by"), e["closed_how"]) == (peer_by, peer_how), e

        c, s, port = pair()
        linger(c)
        check(port, "local", "reset_sent", "remote", "reset_received")
        assert wa.one("reset", local_port=port)["by"] == "local"
        assert wb.one("reset", remote_port=port)["by"] == "remote"

        c, s, port = pair()
        linger(s)
        check(port, "remote", "reset_received", "local", "reset_sent")

        # Closed with data unread.
        c, s, port = pair()
        s.send(b"x")
        lab.wait_for("the byte", lambda: info(c)["bytes_received"] == 1)
        c.close()
        check(port, "local", "reset_sent", "remote", "reset_received")

        # Half closed, then the rest is given up.
        c, s, port = pair()
        c.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
        linger(s)
        check(port, "local", "reset_received", "remote", "reset_sent")

        # Closed early: the peer's data that comes then is answered by a reset. Were the FIN
        # acknowledged before, a stand-in for the socket would do that.
        c, s, port = pair()
        net.drop(net.a, "meta length < 53")
        c.close()
        assert s.recv(1) == b""
        s.send(b"xyz")
        check(port, "local", "reset_sent", "remote", "reset_received")


def test_refused_and_timed_out(net):
    with weir_events("--netns", net.a.name) as w:
        c = net.client()
        with pytest.raises(ConnectionRefusedError):
            c.connect((B, 5999))
        e = w.one("close", remote_port=5999)
        assert (e["closed_by"], e["closed_how"]) == ("remote", "refused") and "handshake_ns" not in e
        assert w.one("connect", remote_port=5999)["pid"] == os.getpid()

        listener = net.listen()
        c, s = net.connect(listener)
        port = c.getsockname()[1]
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
        net.drop(net.b, "tcp dport != 0")
        c.send(b"x")
        e = w.one("close", local_port=port)
        assert e["closed_how"] == "timeout" and "closed_by" not in e
        assert e["error"] == os.strerror(110)


def test_events_in_order(net):
    listener = net.listen()
    with weir_events("--netns", net.a.name) as wa, weir_events("--netns", net.b.name) as wb:
        c, s = net.connect(listener)
        c.send(b"x")
        s.recv(1)
        finish(c, s)
        wa.one("close")
        wb.one("close")
        assert [e["event"] for e in wa.events] == ["connect", "established", "close"]
        assert [e["event"] for e in wb.events] == ["accept", "close"]
        for e in wa.events:
            assert e["v"] == 1 and e["pid"] == os.getpid() and e["comm"] and e["local_port"]
        # Who accepted is known as soon as somebody has read.
        assert wb.one("close")["pid"] == os.getpid()
        established = wa.one("established")
        assert 0 < established["handshake_ns"] < 10 ** 9
        assert established["local_ip"] == A and established["remote_ip"] == B


def test_namespaces(net):
    listener = net.listen()
    c, s = net.connect(listener)
    port = c.getsockname()[1]

    def ends(*args):
        return {(r["local_ip"], r["local_port"]) for r in once(*args)["connections"]
                if port in (r["local_port"], r["remote_port"])}

    assert ends() == {(A, port), (B, PORT)}
    assert ends("--netns", net.a.name) == {(A, port)}
    assert ends("--netns", net.b.path) == {(B, PORT)}
    sleeper = subprocess.Popen(net.b.command("sleep", "60"))
    try:
        lab.wait_for("the process to be there", lambda: os.readlink(
            f"/proc/{sleeper.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        assert ends("--netns", sleeper.pid) == {(B, PORT)}
    finally:
        sleeper.kill()
        sleeper.wait()
    for word in ("no-such", "/etc/passwd"):
        done = lab.weir("tcp", "--once", "--netns", word)
        assert done.returncode == 1 and word in done.stderr and done.stderr.count("\n") == 1
    c.close()
    s.close()


def test_matches(net):
    one, two = net.listen(5201), net.listen(5202)
    pairs = [net.connect(one), net.connect(two)]
    ports = [c.getsockname()[1] for c, _ in pairs]

    def found(*args):
        return sorted((r["local_port"], r["remote_port"]) for r in once(*args)["connections"]
                      if set(ports) & {r["local_port"], r["remote_port"]})

    assert found("--dst-port", "5202") == sorted([(ports[1], 5202), (5202, ports[1])])
    assert found("--local-port", "5202") == [(5202, ports[1])]
    assert found("--remote-ip", B, "--dst-port", "5201") == [(ports[0], 5201)]
    assert found("port", "5201", "and", "src", "host", A) == \
        sorted([(ports[0], 5201), (5201, ports[0])])
    done = lab.weir("tcp", "--once", "--protocol", "udp")
    assert done.returncode == 2 and "this is about TCP" in done.stderr
    with weir_events("--dst-port", "5202", "--netns", net.a.name) as w:
        for c, s in pairs + [net.connect(one), net.connect(two)]:
            finish(c, s)
        w.wait_for("close", 2)
        assert {e["remote_port"] for e in w.events} == {5202}
    done = lab.weir("tcp", "--once", "vlan 3")
    assert done.returncode == 2 and "vlan" in done.stderr


def cgroup_root():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, tail = line.split(" - ")
        if tail.startswith("cgroup2 ") and head.split()[3] == "/":
            return Path(head.split()[4])
    return None


CONNECTS = """
import socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
s = socket.create_connection((sys.argv[2], int(sys.argv[3])))
print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_cgroup(net):
    root = cgroup_root()
    if not root or not os.access(root, os.W_OK):
        pytest.skip("no cgroup v2 to make a group in")
    group = root / f"weir{os.getpid()}"
    inner = group / "inner"
    inner.mkdir(parents=True)
    try:
        listener = net.listen()
        outside, s0 = net.connect(listener)
        p = subprocess.Popen(net.a.command(sys.executable, "-c", CONNECTS, inner, B, PORT),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = int(p.stdout.readline())
        s1, _ = listener.accept()
        for path in (group, inner):
            assert {r["local_port"] for r in once("--cgroup", path)["connections"]} == {port}
        done = once("--cgroup", root)["connections"]
        assert {port, outside.getsockname()[1]} <= {r["local_port"] for r in done}
        with weir_events("--cgroup", group, "--netns", net.a.name) as w:
            outside.close()
            p.communicate("")
            event = w.one("close")
            assert event["local_port"] == port and event["pid"] == p.pid
        s0.close()
        s1.close()
    finally:
        lab.wait_for("the group to be empty", lambda: not (inner / "cgroup.procs").read_text())
        inner.rmdir()
        group.rmdir()
    for wrong in ("/tmp", str(root / "no-such")):
        done = lab.weir("tcp", "--once", "--cgroup", wrong)
        assert done.returncode == 2 and str(root) in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1


def test_hosts_and_processes(net):
    listener = net.listen()
    lasting = net.connect(listener)
    command = [lab.WEIR, "tcp", "--once", "--json", "--netns", net.a.name, "--for", "2s", "--by"]
    runs = [subprocess.Popen([*command, by], stdout=subprocess.PIPE, text=True)
            for by in ("host", "process")]
    end = time.monotonic() + 4
    n = 0
    while any(r.poll() is None for r in runs):
        assert time.monotonic() < end + lab.PATIENCE
        c, s = net.connect(listener)
        send_all(c, s, 1000)
        finish(c, s)
        n += 1
    for run, key in zip(runs, ("hosts", "processes")):
        told = json.loads(run.communicate()[0])
        assert told["v"] == 1 and told["namespaces"] == 1 and not any(told["lost"].values())
        (row,) = told[key]
        assert 0 < row["closed"] <= n and row["connections"] >= 1 and row["closed_not_by_fin"] == 0
        assert row["bytes_out"] >= row["closed"] * 1000
        assert row["rtt"]["samples"] >= row["closed"]
        assert row["rtt"]["p50_ns"] <= row["rtt"]["p99_ns"] <= row["rtt"]["max_ns"]
        if key == "hosts":
            assert row["host"] == B
        else:
            assert row["pid"] == os.getpid()
    for s in lasting:
        s.close()


def test_tables(net):
    listener = net.listen()
    c, s = net.connect(listener)
    for by, head in (("flow", "CONNECTION"), ("host", "HOST"), ("process", "PROCESS")):
        done = lab.weir("tcp", "--once", "--by", by, "--netns", net.a.name, "--histogram")
        assert done.returncode == 0 and head in done.stdout and not done.stderr
        assert "1 connection in 1 network namespace" in done.stdout
    assert B in done.stdout or "python" in done.stdout
    series = prometheus.parse(
        lab.weir("tcp", "--prometheus", "--netns", net.a.name).stdout, "weir_tcp_")
    assert prometheus.value(series, "weir_tcp_connections", state="established") == 1
    assert prometheus.value(series, "weir_tcp_lost_total", reason="ring_full") == 0
    rows = [json.loads(line) for line in lab.weir(
        "tcp", "--json", "--for", "2s", "--interval", "100ms",
        "--netns", net.a.name).stdout.splitlines()]
    assert len(rows) >= 2 and all(r["remote_ip"] == B for r in rows)
    # There is no rate before a second look, and no distribution of what was not watched.
    assert "bytes_per_second" not in rows[0] and rows[-1]["bytes_per_second"] == 0
    once = json.loads(lab.weir("tcp", "--once", "--json", "--netns", net.a.name).stdout)
    assert not {"bytes_per_second", "rtt"} & set(once["connections"][0])
    c.close()
    s.close()


def ours():
    """Those of `tcp tune` last; another run may have some."""
    tune = ("weir_tcp_tune", "weir_tcp_gate", "weir_tcp_try")
    done = lab.sh("bpftool", "-j", "prog", "list")
    return {p["id"] for p in json.loads(done.stdout)
            if p.get("name", "").startswith("weir_tcp_") and p["name"] not in tune}


def test_nothing_is_left(net):
    before = ours()
    listener = net.listen()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        t = Tcp("--events", "all")
        c, s = net.connect(listener)
        c.close()
        s.close()
        assert ours() - before
        assert t.stop(number) == (-9 if number == signal.SIGKILL else 0)
        lab.wait_for("the programs to be gone", lambda: not ours() - before)


def test_wrong_usage():
    for args, word in ((("--events", "no"), "no"), (("--events", "all", "--once"), "--once"),
                       (("--by", "no"), "no"), (("--interval", "1ms"), "--interval"),
                       (("--prometheus", "--json"), "--json"),
                       (("--prometheus", "--by", "host"), "--by"),
                       (("--prometheus", "--sort", "age"), "--sort"),
                       (("--json", "--histogram"), "--histogram"),
                       (("--local-ip", "x"), "--local-ip")):
        done = lab.weir("tcp", *args)
        assert done.returncode == 2 and word in done.stderr and done.stderr.count("\n") == 1, args


def test_plain_user():
    done = lab.weir("tcp", "--once", prefix=(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert done.returncode == 1 and "CAP_BPF" in done.stderr and "CAP_PERFMON" in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_cgroup_is_a_usage_error():
    run = lab.weir("tcp", "--once", "--cgroup", "/nope")
    assert run.returncode == 2 and run.stdout == "", run
    assert run.stderr.count("\n") == 1 and "/nope" in run.stderr
