# SPDX-License-Identifier: GPL-2.0-only
"""`weir fault` on real sockets and packets: what is hit, what is not, and that every fault
ends, whatever becomes of the command."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import lab
import prometheus

HERE, THERE = "10.77.0.2", "10.77.0.1"
PORT = 5201
SO_ATTACH_FILTER, SO_LOCK_FILTER = 26, 44
TCP_CORK, TCP_INFO = 3, 11

# Its name is what the guard knows it by, as the kernel tells it (comm).
STAND_IN = """#!/usr/bin/python3
import socket
server = socket.create_server(("", 22))
print("ready", flush=True)
peer = server.accept()[0]
while data := peer.recv(100):
    peer.sendall(data)
"""


class Lab:
    """Two hosts, `b` with weir; packets have the size of the wire."""

    def __init__(self):
        self.pair = lab.Pair(addresses=True, host=True)
        self.a, self.b = self.pair.a, self.pair.b
        for ns, dev in ((self.a, "va"), (self.b, "vb")):
            ns.sh("ethtool", "-K", dev, "gso", "off", "tso", "off", "gro", "off")

    def checksums(self, on):
        """Whether senders leave checksums to the card, which for veth means: to nobody."""
        for ns, dev in ((self.a, "va"), (self.b, "vb")):
            ns.sh("ethtool", "-K", dev, "tx", "on" if on else "off")
            ns.sh("ethtool", "-K", dev, "gso", "off", "tso", "off", "gro", "off")

    def weir(self, *words, check=True, **options):
        return self.b.sh(lab.WEIR, *words, check=check, **options)

    def __call__(self, *words, **options):
        return self.weir("fault", *words, **options)

    def refused(self, *words, says, status=1, text=None):
        before = self.rules()
        done = self.weir("fault", *words, check=False) if text is None else subprocess.run(
            self.b.command(lab.WEIR, "fault", *words), input=text, capture_output=True,
            text=True, timeout=60)
        assert done.returncode == status and says in done.stderr, (words, done)
        assert done.stderr.count("\n") == 1, done.stderr
        assert {n: r["action"] for n, r in self.rules().items()} == \
            {n: r["action"] for n, r in before.items()}

    def rules(self):
        """Those in force, and the law of each."""
        rules = {r["name"]: r for r in json.loads(self("list", "--json").stdout)["rules"]}
        for r in rules.values():
            assert r["matched"] == r["hits"] + r["passed"], r
        return rules

    def sockets(self):
        return json.loads(self.weir("status", "--json").stdout).get("fault_sockets", [])

    def listen(self, port=PORT, address=HERE):
        with self.b:
            s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        s.listen(64)
        s.settimeout(lab.PATIENCE)
        return s

    def connect(self, port=PORT, address=HERE, ns=None):
        with ns or self.a:
            s = socket.socket()
        s.settimeout(lab.PATIENCE)
        s.connect((address, port))
        return s

    def udp(self, ns, address=None):
        with ns:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if address:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            s.bind(address)
        return s

    def count(self, ns, name):
        for line in ns.sh("nstat", "-asz", name).stdout.splitlines():
            if line.startswith(name):
                return int(line.split()[1])
        raise AssertionError(name)

    def datagrams(self, n, size=4):
        """Send n from a to b, numbered; the numbers of those that arrive."""
        sender, receiver = self.udp(self.a), self.udp(self.b, (HERE, PORT))
        got = []
        with contextlib.closing(sender), contextlib.closing(receiver):
            receiver.setblocking(False)
            for i in range(n):
                sender.sendto(struct.pack("!I", i).ljust(size, b"."), (HERE, PORT))
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.append(struct.unpack_from("!I", receiver.recv(9000))[0])
            # What the veth still carries: the last one says that all have come.
            fence = self.udp(self.b, (HERE, PORT + 1))
            with contextlib.closing(fence):
                fence.settimeout(lab.PATIENCE)
                sender.sendto(b"end", (HERE, PORT + 1))
                fence.recv(10)
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(struct.unpack_from("!I", receiver.recv(9000))[0])
        return got

    def remove(self):
        self.weir("unload", check=False)
        self.pair.remove()


@pytest.fixture(scope="module")
def whole():
    f = Lab()
    yield f
    f.remove()


@pytest.fixture
def fault(whole):
    whole("clear")
    whole.checksums(True)
    yield whole
    whole("clear")


# --- truncation -----------------------------------------------------------------

def read_all(s):
    data = bytearray()
    while more := s.recv(65536):
        data += more
    return bytes(data)


def transfer(fault, data, server):
    """Through a connection to @server; what arrived."""
    client = fault.connect(server.getsockname()[1])

    def send():
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    peer = server.accept()[0]
    peer.settimeout(lab.PATIENCE)
    thread = threading.Thread(target=send)
    thread.start()
    with contextlib.closing(peer), contextlib.closing(client):
        got = read_all(peer)
        thread.join(lab.PATIENCE)
        return got


def test_hello_world(fault):
    with contextlib.closing(fault.listen()) as server:
        fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", 5)
        client = fault.connect()
        peer = server.accept()[0]
        peer.settimeout(lab.PATIENCE)
        with contextlib.closing(peer), contextlib.closing(client):
            client.sendall(b"hello world")
            assert peer.recv(100) == b"hello"
            assert peer.recv(100) == b" world"
        r = fault.rules()["t"]
        assert (r["hits"], r["bytes"], r["matched"], r["again"]) == (1, 6, 2, 1), r


@pytest.mark.parametrize("offload", [True, False])
def test_truncation_is_byte_exact(fault, offload):
    """Also where the receiver verifies checksums itself, and so drops what was cut."""
    fault.checksums(offload)
    data = random.Random(1).randbytes(4 << 20)
    with contextlib.closing(fault.listen()) as server:
        fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", 100,
              "--probability", "10%", "--seed", 7)
        got = transfer(fault, data, server)
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        r = fault.rules()["t"]
        assert r["hits"] > 20 and r["matched"] >= len(data) // 1460, r


def test_random_truncation_of_many_connections(fault):
    """Lengths, parts and seeds at random, several connections at a time: every byte arrives
    once, in its place, and what was cut off is what the rule says and was sent again."""
    rng = random.Random(5)
    with contextlib.closing(fault.listen()) as server:
        for _ in range(8):
            keep = rng.randint(1, 1447)
            fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", keep, "--probability",
                  f"{rng.randint(2, 30)}%", "--seed", rng.getrandbits(32))
            sent = {}
            clients, peers, threads, sums = [], [], [], {}
            for i in range(5):
                client = fault.connect()
                peer = server.accept()[0]
                peer.settimeout(lab.PATIENCE)
                clients.append(client)
                peers.append(peer)
                sent[i] = rng.randbytes(rng.randint(20_000, 150_000))

            def send(i):
                clients[i].sendall(sent[i])
                clients[i].shutdown(socket.SHUT_WR)

            def receive(i):
                sums[i] = hashlib.sha256(read_all(peers[i])).digest()

            for work in (send, receive):
                threads += [threading.Thread(target=work, args=(i,)) for i in sent]
            for t in threads:
                t.start()
            for t in threads:
                t.join(lab.PATIENCE)
            # struct tcp_info: tcpi_total_retrans
            again = sum(struct.unpack_from("I", c.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104),
                                           100)[0] for c in clients)
            for s in clients + peers:
                s.close()
            assert sums == {i: hashlib.sha256(d).digest() for i, d in sent.items()}
            r = fault.rules()["t"]
            assert 0 < r["hits"] <= r["bytes"] <= r["hits"] * (1448 - keep), r
            assert r["matched"] >= sum(map(len, sent.values())) // 1448, r
            assert again > 0


def test_every_segment_of_loopback(fault):
    """With 64 KB each, all cut: a byte is cut off once at most, so that it ends."""
    data = random.Random(2).randbytes(1 << 20)
    with contextlib.closing(fault.listen(address="127.0.0.1")) as server:
        fault("add", "t", "--listen", f"127.0.0.1:{PORT}", "--truncate", 1000)
        client = fault.connect(address="127.0.0.1", ns=fault.b)
        peer = server.accept()[0]
        peer.settimeout(lab.PATIENCE)
        thread = threading.Thread(target=lambda: (client.sendall(data),
                                                  client.shutdown(socket.SHUT_WR)))
        thread.start()
        with contextlib.closing(peer), contextlib.closing(client):
            assert read_all(peer) == data
            thread.join(lab.PATIENCE)
    assert fault.rules()["t"]["hits"] > 0


def test_a_segment_with_fin_is_never_cut(fault):
    """Its data would be lost for good: the kernel takes the FIN as read."""
    with contextlib.closing(fault.listen()) as server:
        fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", 1)
        for i in range(100):
            client = fault.connect()
            peer = server.accept()[0]
            peer.settimeout(lab.PATIENCE)
            with contextlib.closing(peer), contextlib.closing(client):
                client.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 1)
                client.sendall(b"%04d" % i)
                client.shutdown(socket.SHUT_WR)
                assert read_all(peer) == b"%04d" % i
        assert fault.rules()["t"]["hits"] == 0


def test_accepted_sockets_inherit_and_del_is_at_once(fault):
    with contextlib.closing(fault.listen()) as server, contextlib.ExitStack() as stack:
        fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", 5)
        client = stack.enter_context(contextlib.closing(fault.connect()))
        peer = stack.enter_context(contextlib.closing(server.accept()[0]))
        peer.settimeout(lab.PATIENCE)
        client.sendall(b"hello world")
        assert peer.recv(5) + peer.recv(6) == b"hello world"
        # A connection that nobody has accepted yet: its filter can't be taken off.
        waiting = stack.enter_context(contextlib.closing(fault.connect()))
        lab.wait_for("the third socket", lambda: len(fault.sockets()) == 3)
        assert {s["rule"] for s in fault.sockets()} == {"t"}
        fault("del", "t")
        assert fault.rules() == {}
        left = fault.sockets()
        assert [(s["state"], s["inert"]) for s in left] == [("established", True)], left
        assert "inert" in fault.weir("status").stdout
        client.sendall(b"hello world")
        assert peer.recv(100) == b"hello world"
        waiting.sendall(b"hello world")
        late = stack.enter_context(contextlib.closing(server.accept()[0]))
        late.settimeout(lab.PATIENCE)
        assert late.recv(100) == b"hello world"
        # An inert filter is no obstacle, nor does it wake up.
        fault("add", "other", "--listen", f"{HERE}:{PORT}", "--truncate", 3)
        waiting.sendall(b"hello world")
        assert late.recv(100) == b"hello world"
        late.close()
        waiting.close()
        lab.wait_for("the socket to go", lambda: all(s["rule"] for s in fault.sockets()))


def test_by_process_and_descriptor(fault):
    with contextlib.closing(fault.listen()) as server:
        client = fault.connect()
        peer = server.accept()[0]
        peer.settimeout(lab.PATIENCE)
        with contextlib.closing(peer), contextlib.closing(client):
            fault("add", "t", "--pid", os.getpid(), "--fd", peer.fileno(), "--truncate", 5,
                  "--nth", 2)
            for want in ((b"hello world",), (b"hello", b" world"), (b"hello world",)):
                client.sendall(b"hello world")
                for part in want:
                    assert peer.recv(100) == part
            assert fault.rules()["t"]["hits"] == 1
            fault("del", "t")
            assert fault.sockets() == []


def test_unload_leaves_no_fault_in_force(fault):
    with contextlib.closing(fault.listen()) as server:
        fault("add", "t", "--listen", f"{HERE}:{PORT}", "--truncate", 5)
        client = fault.connect()
        peer = server.accept()[0]
        peer.settimeout(lab.PATIENCE)
        with contextlib.closing(peer), contextlib.closing(client):
            fault.weir("unload")
            assert all(s["inert"] for s in fault.sockets())
            client.sendall(b"hello world")
            assert peer.recv(100) == b"hello world"


def test_sockets_that_are_refused(fault):
    with contextlib.closing(fault.listen()) as server, \
            contextlib.closing(fault.udp(fault.b, (HERE, PORT))) as datagrams:
        # `ret #-1`, which lets everything through
        code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xffffffff))
        program = struct.pack("HL", 1, ctypes.addressof(code))
        server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        words = ("--listen", f"{HERE}:{PORT}", "--truncate", 5)
        fault.refused("add", "t", *words, says="has a filter already")
        server.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        fault.refused("add", "t", *words, says="locked")
        fault.refused("add", "t", "--pid", os.getpid(), "--fd", datagrams.fileno(),
                      "--truncate", 5, says="not a TCP socket")
    fault.refused("add", "t", *words, says="nothing listens")
    fault.refused("add", "t", "--pid", 2 ** 31 - 1, "--fd", 0, "--truncate", 5,
                  says="no such process")
    fault.refused("add", "t", "--pid", os.getpid(), "--fd", 99999, "--truncate", 5,
                  says="no such descriptor")
    with contextlib.closing(fault.listen()) as server:
        fault("add", "t", *words)
        fault.refused("add", "u", *words, says="'t' already")
        # A filter of another's in place of weir's: it stays.
        server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        fault("del", "t")
        size = ctypes.c_uint32(0)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.getsockopt(server.fileno(), socket.SOL_SOCKET, SO_ATTACH_FILTER, None,
                               ctypes.byref(size)) == 0 and size.value == 1


# --- packets --------------------------------------------------------------------

UDP = ("--protocol", "udp", "--dst-port", PORT)


def test_drop_a_part(fault):
    n = 5000
    fault("add", "d", *UDP, "-i", "vb", "-Q", "in", "--drop", "10%", "--seed", 42)
    got = fault.datagrams(n)
    r = fault.rules()["d"]
    assert r["matched"] == n and len(got) == r["passed"], r
    # 4.4 standard deviations: wrong once in 100,000 seeds, and this seed is fixed.
    assert abs(r["hits"] - n / 10) < 4.4 * (n * 0.1 * 0.9) ** 0.5, r


def test_the_same_seed_hits_the_same_packets(fault):
    runs = []
    for seed in (1, 1, 2):
        fault("clear")
        fault("add", "d", *UDP, "-Q", "in", "--drop", "30%", "--seed", seed)
        runs.append(fault.datagrams(500))
    assert runs[0] == runs[1] != runs[2]


def test_each_nth(fault):
    fault("add", "d", *UDP, "-Q", "in", "--nth", 7)
    assert fault.datagrams(700) == [i for i in range(700) if (i + 1) % 7]
    assert fault.rules()["d"]["hits"] == 100


def test_first_rule_wins_and_an_expired_one_lets_the_next(fault):
    fault("add", "first", *UDP, "-Q", "in", "--nth", 2, "--ttl", "2s")
    fault("add", "second", *UDP, "-Q", "in", "--drop", "100%")
    assert len(fault.datagrams(10)) in (0, 5)
    lab.wait_for("the end of the first", lambda: fault.datagrams(10) == [])
    assert list(fault.rules()) == ["second"]


def test_directions_and_interfaces(fault):
    """What comes in, what leaves, and loopback once."""
    fault("add", "out", "--protocol", "udp", "--src-port", PORT, "-Q", "out", "--drop", "100%")
    assert len(fault.datagrams(10)) == 10
    assert fault.rules()["out"]["matched"] == 0
    with contextlib.closing(fault.udp(fault.b, (HERE, PORT))) as s:
        s.sendto(b"x", (THERE, 9))
    assert fault.rules()["out"]["hits"] == 1
    fault("clear")
    fault("add", "lo", *UDP, "--rate", "1gbit")
    with contextlib.closing(fault.udp(fault.b)) as s:
        for _ in range(10):
            s.sendto(b"x", ("127.0.0.1", PORT))
    assert fault.rules()["lo"]["matched"] == 10
    fault.refused("add", "x", "-i", "nosuch", "--drop", "1%", says="no such interface",
                  status=2)


def test_corrupt_with_a_wrong_checksum(fault):
    """Dropped by the receiver, on both roads; where senders make the checksums."""
    fault.checksums(False)
    for way, source in (("in", fault.a), ("out", fault.b)):
        fault("clear")
        fault("add", "c", "--protocol", "udp", "--dst-port", 5300, "-Q", way, "--corrupt")
        to, ns = (HERE, fault.b) if way == "in" else (THERE, fault.a)
        before = fault.count(ns, "UdpInCsumErrors")
        with contextlib.closing(fault.udp(ns, (to, 5300))) as receiver, \
                contextlib.closing(fault.udp(source)) as sender:
            for i in range(50):
                sender.sendto(b"payload %d" % i, (to, 5300))
            lab.wait_for("the errors", lambda: fault.count(ns, "UdpInCsumErrors") >= before + 50)
            receiver.setblocking(False)
            with pytest.raises(BlockingIOError):
                receiver.recv(100)
        assert fault.rules()["c"]["hits"] == 50


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("way", ["in", "out"])
def test_corrupt_with_a_right_checksum(fault, offload, way):
    fault.checksums(offload)
    fault("add", "c", "--protocol", "udp", "--dst-port", 5300, "-Q", way, "--corrupt",
          "--fix-checksum", "--nth", 2)
    to, ns, source = (HERE, fault.b, fault.a) if way == "in" else (THERE, fault.a, fault.b)
    sent = [random.Random(i).randbytes(2 + i) for i in range(100)]
    with contextlib.closing(fault.udp(ns, (to, 5300))) as receiver, \
            contextlib.closing(fault.udp(source)) as sender:
        receiver.settimeout(lab.PATIENCE)
        for i, data in enumerate(sent):
            sender.sendto(data, (to, 5300))
            got = receiver.recv(1000)
            assert len(got) == len(data)
            flipped = sum(bin(x ^ y).count("1") for x, y in zip(got, data))
            assert flipped == i % 2, (i, data, got)


def test_corrupted_tcp_is_sent_again(fault):
    fault.checksums(False)
    data = random.Random(3).randbytes(1 << 20)
    with contextlib.closing(fault.listen()) as server:
        fault("add", "c", "--dst-port", PORT, "-Q", "in", "--corrupt", "--probability", "2%",
              "--seed", 5)
        assert transfer(fault, data, server) == data
        assert fault.rules()["c"]["hits"] > 0


def test_rate(fault):
    """A bucket: no more than the burst and what drains meanwhile."""
    size, rate = 1000, 1_000_000
    frame = (size + 42) * 8
    start = time.monotonic()
    fault("add", "r", *UDP, "-Q", "in", "--rate", "1mbit")
    got = fault.datagrams(1000, size)
    elapsed = time.monotonic() - start
    r = fault.rules()["r"]
    assert r["passed"] == len(got) and r["matched"] == 1000
    assert len(got) * frame <= 65536 * 8 + rate * elapsed + frame
    assert len(got) * frame >= 65536 * 8 - frame


def test_delay(fault):
    """Where the kernel has fq; where the interface has not, refused."""
    words = ("--protocol", "udp", "--dst-port", 5300, "--delay", "300ms", "--jitter", "100ms")
    fault.refused("add", "d", "-i", "vb", *words, says="only fq can")
    fault.refused("add", "d", *words, says="-i", status=2)
    fault.refused("add", "d", "-i", "vb", "-Q", "in", *words, says="-Q out", status=2)
    if fault.b.sh("tc", "qdisc", "replace", "dev", "vb", "root", "fq", check=False).returncode:
        return
    try:
        fault("add", "d", "-i", "vb", *words, "--nth", 2)
        with contextlib.closing(fault.udp(fault.a, (THERE, 5300))) as receiver, \
                contextlib.closing(fault.udp(fault.b)) as sender:
            receiver.settimeout(lab.PATIENCE)
            for i in range(20):
                start = time.monotonic()
                sender.sendto(b"x", (THERE, 5300))
                receiver.recv(10)
                # No less; how much more is the machine's affair.
                assert not i % 2 or time.monotonic() - start >= 0.2
        assert fault.rules()["d"]["hits"] == 10
    finally:
        fault.b.sh("tc", "qdisc", "del", "dev", "vb", "root")


def test_unmatched_flows_are_left_alone(fault):
    """No retransmission at all while faults come, act and go beside it."""
    # Nor a probe for a lost tail, which a sender sends after some milliseconds without an
    # acknowledgement: on a busy machine it may take that long.
    fault.a.sh("sysctl", "-qw", "net.ipv4.tcp_early_retrans=0")
    with contextlib.closing(fault.listen()) as server:
        client = fault.connect()
        peer = server.accept()[0]
        stop = threading.Event()

        def send():
            while not stop.is_set():
                client.sendall(bytes(1000))
                time.sleep(0.0005)
            client.close()

        sender = threading.Thread(target=send)
        reader = threading.Thread(target=lambda: read_all(peer))
        sender.start()
        reader.start()
        for i in range(5):
            fault("add", f"d{i}", "--protocol", "udp", "--dst-port", 5400, "--drop", "50%")
            fault("add", f"e{i}", "--dst-port", 5401, "--corrupt")
            fault("del", f"d{i}")
        fault("clear")
        # struct tcp_info: tcpi_total_retrans
        info = client.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)
        stop.set()
        sender.join(lab.PATIENCE)
        reader.join(lab.PATIENCE)
        peer.close()
        fault.a.sh("sysctl", "-qw", "net.ipv4.tcp_early_retrans=3")
        assert struct.unpack_from("I", info, 100)[0] == 0


# --- the end --------------------------------------------------------------------

def test_ends_without_a_command(fault):
    fault("add", "d", *UDP, "--drop", "100%", "--ttl", "1s")
    lab.wait_for("the end of the fault", lambda: len(fault.datagrams(10)) == 10)
    assert fault.rules() == {}


def test_killed_commands_leave_nothing_that_lasts(fault):
    """At any moment: then the fault is in force or not, and ends by itself."""
    rng = random.Random(4)
    with contextlib.closing(fault.listen()):
        for i in range(25):
            what = (*UDP, "--drop", "100%") if i % 2 else \
                ("--listen", f"{HERE}:{PORT}", "--truncate", 5)
            p = subprocess.Popen(
                fault.b.command(lab.WEIR, "fault", "add", f"k{i % 5}", *map(str, what),
                                "--ttl", "2s"),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.12)
            p.send_signal(signal.SIGKILL)
            p.wait()
    lab.wait_for("the end of the faults", lambda: not fault.rules())
    assert len(fault.datagrams(10)) == 10
    fault("add", "d", *UDP, "--drop", "100%")
    assert fault.datagrams(10) == []
    fault("del", "d")
    assert len(fault.datagrams(10)) == 10
    assert fault.sockets() == []
    assert "Nothing is pinned" in fault.weir("status", "fault").stdout


# --- reset ----------------------------------------------------------------------

def test_reset(fault):
    with contextlib.closing(fault.listen()) as server, \
            contextlib.closing(fault.listen(PORT + 1)) as other:
        client, bystander = fault.connect(), fault.connect(PORT + 1)
        peer, friend = server.accept()[0], other.accept()[0]
        for s in (peer, friend):
            s.settimeout(lab.PATIENCE)
        assert "reset 0 connections" in fault("add", "r", "--dst-port", PORT + 7,
                                              "--reset").stderr
        assert "reset 1 connection\n" in fault("add", "r", "--local-port", PORT,
                                               "--remote-ip", THERE, "--reset").stderr
        for s, want in ((client, errno.ECONNRESET), (peer, errno.ECONNABORTED)):
            with pytest.raises(OSError) as caught:
                s.recv(1)
            assert caught.value.errno == want
        bystander.sendall(b"hello")
        assert friend.recv(5) == b"hello"
        for s in (client, peer, bystander, friend):
            s.close()
    assert fault.rules() == {}


# --- who is logged in -----------------------------------------------------------

def test_guard(fault, tmp_path):
    program = tmp_path / "sshd"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    server = subprocess.Popen(fault.b.command(program), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == b"ready\n"
        client = fault.connect(22)
        for words in (("--dst-port", 22, "--drop", "1%"), ("-i", "vb", "--corrupt"),
                      ("--src-ip", THERE, "--rate", "1mbit"), ("--src-port", 22, "-Q", "out",
                                                               "--drop", "1%"),
                      ("--dst-port", 22, "--reset"),
                      ("--listen", "0.0.0.0:22", "--truncate", 5)):
            fault.refused("add", "x", *words, says="--force")
        fault("add", "y", "--dst-port", 22, "-Q", "out", "--drop", "100%")
        fault("add", "z", "-i", "lo", "--drop", "100%")
        client.sendall(b"ping")
        assert client.recv(100) == b"ping"
        fault("add", "x", "--dst-port", 22, "--drop", "1%", "--force")
        client.close()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


# --- words and files ------------------------------------------------------------

@pytest.mark.parametrize("words,says", [
    ((), "no action"), (("ad",), "did you mean add"), (("add",), "needs more words"),
    (("add", "x", "--drop", "10%"), "every packet"),
    (("add", "x", "--dst-port", "1", "--drop", "10"), "not a part"),
    (("add", "x", "--dst-port", "1", "--drop", "0%"), "hits no packet"),
    (("add", "x", "--dst-port", "1"), "no fault given"),
    (("add", "x", "--dst-port", "1", "--drop", "1%", "--corrupt"), "one rule has one fault"),
    (("add", "x", "--dst-port", "1", "--drop", "1%", "--nth", "2"), "leave one out"),
    (("add", "x", "--dst-port", "1", "--nth", "0"), "--nth"),
    (("add", "x", "--dst-port", "1", "--drop", "1%", "--fix-checksum"), "for --corrupt"),
    (("add", "x", "--dst-port", "1", "--drop", "1%", "--ttl", "0s"), "--ttl"),
    (("add", "x", "--dst-port", "1", "--rate", "1000/s"), "--rate"),
    (("add", "x", "--truncate", "5"), "--listen"),
    (("add", "x", "--dst-port", "1", "--truncate", "5"), "--listen"),
    (("add", "x", "--listen", "127.0.0.1", "--truncate", "5"), "ADDR:PORT"),
    (("add", "x", "--listen", "127.0.0.1:1", "--truncate", "0"), "--truncate"),
    (("add", "x", "--pid", "1", "--truncate", "5"), "give both"),
    (("add", "x", "--dst-port", "1", "--reset", "--drop", "1%"), "leave --drop out"),
    (("add", "x", "--reset"), "every connection"),
    (("add", "x", "--local-port", "1", "--drop", "1%"), "for --reset"),
    (("add", "a b", "--dst-port", "1", "--drop", "1%"), "name of a rule"),
    (("list", "--drop", "1%"), "does not go with list"), (("clear", "now"), "one argument"),
    (("add", "x", "--dst-port", "99999", "--drop", "1%"), "99999"),
])
def test_usage(fault, words, says):
    fault.refused(*words, says=says, status=2)


def test_files(fault):
    fault("add", "keep", *UDP, "--drop", "1%")
    for text, says in (("a: --dst-port 1 --drop 10%\nb: --dst-port 2 --drop x\n",
                        "standard input:2: --drop \"x\""),
                       ("\n\na: --dst-port 1 --frobnicate\n", "standard input:3"),
                       ("a: --dst-port 1 --nth 2\na: --dst-port 2 --nth 2\n", "two rules")):
        fault.refused("apply", "-", says=says, status=2, text=text)
    # The second rule cannot be: neither is the first.
    fault.refused("apply", "-", says="nothing listens",
                  text="a: --dst-port 1 --nth 2\nb: --listen 127.0.0.1:1 --truncate 5\n")
    assert list(fault.rules()) == ["keep"]
    text = "loss: tcp and dst port 443 --drop 10% --seed 1 --ttl 1h\n" \
           "--dst-port 80 --nth 3 --seed 2 --ttl 1h\n"
    done = subprocess.run(fault.b.command(lab.WEIR, "fault", "apply", "-"), input=text,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "2 rules" in done.stderr, done
    names = list(fault.rules())
    assert names[0] == "loss" and names[1].startswith("fault-")
    shown = fault("show").stdout
    again = subprocess.run(fault.b.command(lab.WEIR, "fault", "apply", "-"), input=shown,
                           capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again
    assert list(fault.rules()) == names


def test_save(fault, tmp_path):
    """What it writes is what `apply` reads, as `show` prints it; the file changes in one step."""
    path = tmp_path / "faults"
    fault("add", "loss", *UDP, "--drop", "10%", "--seed", 7, "--ttl", "1h")
    fault("add", "slow", "--dst-port", 80, "--rate", "1mbit", "--ttl", "1h")
    fault("save", path)
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# weir fault, saved 20") and path.stat().st_mode & 0o777 == 0o644
    ttl = re.compile(r" --ttl \d+ms$")
    assert [ttl.sub("", x) for x in lines] == \
        [ttl.sub("", x) for x in fault("show").stdout.splitlines()]
    assert all(3_000_000 < int(x.split()[-1].rstrip("ms")) <= 3_600_000 for x in lines)
    before = {n: (r["match"], r["action"], r.get("seed")) for n, r in fault.rules().items()}
    fault("clear")
    fault("apply", path)
    assert {n: (r["match"], r["action"], r.get("seed")) for n, r in fault.rules().items()} == before
    fault.refused("save", "-", says="weir fault show", status=2)
    fault.refused("save", tmp_path / "no" / "where", says="no/where")
    fault("clear")
    before = path.read_bytes()
    fault.refused("save", path, says="no fault is in force")
    assert path.read_bytes() == before


def test_prometheus(fault):
    series = prometheus.parse(fault("list", "--prometheus").stdout, "weir_fault_")
    assert series == {("weir_fault_rules", ()): 0, ("weir_fault_unmatched_total", ()): 0}
    fault("add", "d", *UDP, "-Q", "in", "--nth", 4)
    fault("add", 'other', "--protocol", "udp", "--dst-port", 1, "--corrupt", "--ttl", "1h")
    assert len(fault.datagrams(100, size=8)) == 75
    series = prometheus.parse(fault("list", "--prometheus").stdout, "weir_fault_")

    def value(name, rule="d", kind="drop"):
        return prometheus.value(series, f"weir_fault_{name}", rule=rule, kind=kind)
    assert prometheus.value(series, "weir_fault_rules") == 2
    assert prometheus.value(series, "weir_fault_unmatched_total") > 0
    assert [value(f"rule_{x}_total") for x in ("matched", "hits", "passed", "bytes")] == \
        [100, 25, 75, 25 * (8 + 42)]
    assert value("rule_hits_total", "other", "corrupt") == 0
    assert 0 < value("rule_left_seconds") <= 60 < value("rule_left_seconds", "other", "corrupt")
    fault.refused("list", "--json", "--prometheus", says="one of both", status=2)


def test_a_rule_is_replaced_by_name(fault):
    fault("add", "d", *UDP, "-Q", "in", "--drop", "100%")
    assert fault.datagrams(10) == []
    fault("add", "d", *UDP, "-Q", "in", "--nth", 2)
    assert len(fault.datagrams(10)) == 5
    assert list(fault.rules()) == ["d"]
    fault.refused("del", "nosuch", says="no rule")


def test_many_rules_and_long_lists(fault):
    sources = ",".join(f"192.0.2.{i}" for i in range(100, 116))
    fault("add", "long", *UDP, "--src-ip", f"{sources},{THERE},2001:db8::/32", "--drop", "100%")
    assert fault.datagrams(10) == []
    text = "".join(f"r{i}: --protocol udp --dst-port {PORT + i} -Q in --drop 100%\n"
                   for i in range(64))
    done = subprocess.run(fault.b.command(lab.WEIR, "fault", "apply", "-"), input=text,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "more than 64" in done.stderr, done
    fault("clear")
    done = subprocess.run(fault.b.command(lab.WEIR, "fault", "apply", "-"), input=text,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    with contextlib.closing(fault.udp(fault.a)) as s:
        for i in range(64):
            s.sendto(b"x", (HERE, PORT + i))
    lab.wait_for("all", lambda: all(r["hits"] == 1 for r in fault.rules().values()))
    fault.refused("add", "more", "--dst-port", 1, "--nth", 1, says="more than 64")


def test_without_rights(fault):
    done = fault.b.sh("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                      "--bounding-set=-all", "--inh-caps=-all", lab.WEIR, "fault", "add", "x",
                      "--dst-port", 1, "--drop", "1%", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert fault.rules() == {}


def test_status_tells_each_interface(fault):
    """A program is at several: one that has gone hides none of the others."""
    fault.b.ip("link", "add", "gone", "type", "veth", "peer", "name", "gone2")
    try:
        fault("add", "all", "--protocol", "udp", "--dst-port", "9", "-Q", "in", "--drop", "10%")
    finally:
        fault.b.ip("link", "del", "gone")
    told = json.loads(fault.weir("status", "fault", "--json").stdout)
    mine = {e["id"] for e in told["pinned"] if e["name"] == "packets_in"}
    attached = [p.get("attached", "") for p in told["running"] if p["id"] in mine]
    assert len(attached) == 1 and "tcx ingress on vb" in attached[0].split(", "), told
    assert "detached" not in attached[0]
