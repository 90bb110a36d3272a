# SPDX-License-Identifier: GPL-2.0-only
"""`weir path` on real sockets over veth: exact counts by stage, the stage that grows when
something is slow and no other, single journeys, and what could not be followed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path as Path_

import pytest

import lab
import prometheus

NOBODY = 65534
N = 100
BUSY = 20000  # packets a second that are more than are all followed
ADDRESSES = {socket.AF_INET: "10.77.0.2", socket.AF_INET6: "fd77::2"}


# Kernels before 6.3 do not tell of socket queues and readers.
TOLD = b"btf_trace_sk_data_ready" in Path_("/sys/kernel/btf/vmlinux").read_bytes()
needs_told = pytest.mark.skipif(not TOLD, reason="this kernel does not tell of readers")


def known(*stages):
    """Those of @stages that this kernel tells of."""
    return [s for s in stages if TOLD or s not in ("queue", "wake")]


class Path:
    """`weir path ARGS --json` in a namespace, from the moment that it follows."""

    def __init__(self, ns, *args, json=True, sample="1/1"):
        self.err = tempfile.TemporaryFile()
        self.out = tempfile.TemporaryFile()
        words = [*args, *(["--json"] if json else []), *(["--sample", sample] if sample else [])]
        self.process = subprocess.Popen(ns.command(lab.WEIR, "path", *words),
                                        stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.err)
        lab.wait_for(f"weir path {words} to follow",
                     lambda: b"following" in self.read(self.err) or self.process.poll() is not None)
        assert self.process.poll() is None, self.read(self.err)

    @staticmethod
    def read(file):
        file.seek(0)
        return file.read()

    def text(self):
        return self.read(self.out).decode()

    def wait(self):
        assert self.process.wait(lab.PATIENCE) == 0, self.read(self.err)
        return [json.loads(line) for line in self.text().splitlines()]

    def stop(self):
        """The journeys, and the road."""
        self.process.send_signal(signal.SIGINT)
        *self.journeys, self.road = self.wait()
        self.stages = {s["name"]: s for s in self.road["stages"]}
        return self

    def count(self, stage):
        return self.stages[stage]["count"]

    def lost(self):
        """What was lost of these packets. A program that was interrupted by its own event may
        have been so by another namespace's."""
        return sum(n for reason, n in self.road["lost"].items() if reason != "missed")

    def check_account(self):
        r = self.road
        assert r["seen"] == r["unmatched"] + r["sampled_out"] + r["matched"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.err.close()
        self.out.close()


@contextlib.contextmanager
def path(ns, *args, **options):
    p = Path(ns, *args, **options)
    try:
        yield p
    finally:
        p.kill()


class Talk:
    """Sockets of a pair of namespaces: from `a` to `b`, whose road is watched."""

    def __init__(self, hosts, kind, family=socket.AF_INET, address=None):
        address = address or ADDRESSES[family]
        with hosts.b:
            server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        server.bind((address, 0))
        self.port = server.getsockname()[1]
        with hosts.a:
            self.sender = socket.socket(family, kind)
        self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if kind == socket.SOCK_STREAM:
            server.listen()
            self.sender.connect((address, self.port))
            self.sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader, _ = server.accept()
            server.close()
        else:
            self.sender.connect((address, self.port))
            self.reader = server
        self.reader.settimeout(lab.PATIENCE)

    def exchange(self, n, size=100, before_read=lambda: None):
        for _ in range(n):
            self.sender.send(bytes(size))
            before_read()
            assert len(self.reader.recv(65536)) == size

    def close(self):
        self.sender.close()
        self.reader.close()


@pytest.fixture
def talk(hosts):
    made = []

    def make(kind, family=socket.AF_INET):
        made.append(Talk(hosts, kind, family))
        return made[-1]
    yield make
    for t in made:
        t.close()


TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6],
                                   ids=["ip4", "ip6"])


@families
def test_udp_counts_are_exact(hosts, talk, family):
    t = talk(UDP, family)
    with path(hosts.b, "--protocol", "udp", "--dst-port", str(t.port)) as p:
        t.exchange(N)
        p.stop()
    p.check_account()
    assert p.road["matched"] == N
    for stage in known("backlog", "stack", "queue", "copy"):
        assert p.count(stage) == N, stage
        assert p.stages[stage].get("samples", N) == N, stage
    assert p.count("tcp") == 0
    assert not p.lost()
    assert 0 < p.count("softirq") <= N and 0 < p.count("poll") <= N


def test_what_no_reader_took_is_not_copied(hosts, talk):
    """Refused, answered by the kernel, or of a socket that is closed with them unread."""
    t, unread = talk(UDP), talk(UDP)
    with hosts.a:
        nowhere = socket.socket(socket.AF_INET, UDP)
    with path(hosts.b) as p:
        for _ in range(20):
            nowhere.sendto(bytes(100), (ADDRESSES[socket.AF_INET], 9))
            unread.sender.send(bytes(100))
        hosts.a.sh("ping", "-c", "20", "-i", "0.01", "-q", ADDRESSES[socket.AF_INET])
        unread.close()
        t.exchange(N)
        p.stop()
    nowhere.close()
    p.check_account()
    assert p.count("stack") >= N + 60
    assert p.count("copy") == N


@families
def test_tcp_counts_are_exact(hosts, talk, family):
    t = talk(TCP, family)
    with path(hosts.b, "--protocol", "tcp", "--dst-port", str(t.port)) as p:
        t.exchange(N)
        p.stop()
    p.check_account()
    # Besides the data there may be an acknowledgement or two, which go no further.
    assert p.count("tcp") >= N and p.count("stack") >= p.count("tcp")
    for stage in known("queue", "copy"):
        assert p.count(stage) == N, stage
        assert p.stages[stage]["samples"] == N, stage
    assert not p.lost()


def test_without_a_match_everything_counts(hosts, talk):
    udp, tcp = talk(UDP), talk(TCP)
    with path(hosts.b) as p:
        udp.exchange(N)
        tcp.exchange(N)
        p.stop()
    p.check_account()
    assert [p.count(s) for s in known("queue", "copy")] == [2 * N] * len(known("queue", "copy"))
    assert p.road["unmatched"] == 0


def test_bulk_bytes_that_tcp_coalesces_are_all_followed(hosts, talk):
    """Many segments in one read, and one segment in many: TCP keeps no sk_buff of its own
    for each, and every one is told once."""
    t = talk(TCP)
    with path(hosts.b, "--dst-port", str(t.port)) as p:
        for _ in range(20):
            for _ in range(30):
                t.sender.send(bytes(50))
            left = 30 * 50
            while left:
                left -= len(t.reader.recv(min(left, 333)))
        p.stop()
    assert "queue" not in p.stages or \
        p.count("queue") == p.count("copy") + p.lost()
    assert 0 < p.count("copy") == p.stages["copy"]["samples"]


def test_other_packets_are_unmatched(hosts, talk):
    t, other = talk(UDP), talk(UDP)
    with path(hosts.b, f"udp and dst port {t.port}") as p:
        t.exchange(N)
        other.exchange(N)
        p.stop()
    p.check_account()
    assert p.road["matched"] == N and p.road["unmatched"] >= N
    for stage in known("stack", "queue", "copy"):
        assert p.count(stage) == N, stage


def test_only_one_interface(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "-i", "lo") as p:
        t.exchange(N)
        p.stop()
    p.check_account()
    assert p.count("stack") == p.count("copy") == 0 and p.road["unmatched"] >= N
    with path(hosts.b, "-i", "vb") as p:
        t.exchange(N)
        p.stop()
    assert [p.count(s) for s in known("queue", "copy")] == [N] * len(known("queue", "copy"))


def test_other_namespaces_are_not_seen(hosts, talk):
    t = talk(UDP)
    with path(hosts.a, "--dst-port", str(t.port)) as p:
        t.exchange(N)
        p.stop()
    assert p.road["matched"] == 0


def test_a_veth_has_no_interrupt(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "-i", "vb") as p:
        t.exchange(N)
        p.stop()
    assert "irq" not in p.stages and "gro" not in p.stages
    with path(hosts.b, "-i", "vb", "--once", json=False) as p:
        t.exchange(N)
        assert p.process.wait(lab.PATIENCE) == 0
        rows = [line for line in p.text().splitlines() if "hard interrupt" in line]
    assert [row.split()[3:] for row in rows] == [["–"] * 4]


def test_gro(hosts, talk):
    """A veth with GRO is polled, for what its peer does not segment later."""
    hosts.b.sh("ethtool", "-K", "vb", "gro", "on")
    hosts.a.sh("ethtool", "-K", "va", "tso", "off")
    try:
        t = talk(UDP)
        with path(hosts.b, "--protocol", "udp", "--dst-port", str(t.port)) as p:
            t.exchange(N)
            p.stop()
    finally:
        hosts.b.sh("ethtool", "-K", "vb", "gro", "off")
        hosts.a.sh("ethtool", "-K", "va", "tso", "on")
    assert p.count("gro") == p.count("copy") == N
    assert "backlog" not in p.stages


def grew(slow, usual, factor=20):
    """The stages whose usual packet took @factor times as long."""
    return {s for s in slow if slow[s].get("samples") and usual.get(s, {}).get("samples") and
            slow[s]["p50_ns"] > factor * usual[s]["p50_ns"]}


def took(road, seconds):
    """The stages whose usual packet took that long."""
    return {s for s in road if road[s].get("samples") and road[s]["p50_ns"] >= seconds * 1e9}


@pytest.mark.parametrize("kind", [UDP, TCP], ids=["udp", "tcp"])
def test_a_reader_that_stops_shows_in_the_copy_only(hosts, talk, kind):
    t = talk(kind)
    roads = []
    for pause in (0, 0.1):
        with path(hosts.b, "--dst-port", str(t.port)) as p:
            t.exchange(20, before_read=lambda: time.sleep(pause))
            roads.append(p.stop().stages)
    assert [took(road, 0.05) for road in roads] == [set(), {"copy"}]


FILTERS = 3000


def test_a_busy_softirq_shows_in_the_time_until_it_runs_only(tmp_path):
    """A bridge hands a broadcast on to `va`, which raises the softirq, and then, still with
    softirqs off, to a port with very many filters."""
    hosts = lab.Pair(addresses=True)
    ns, t = hosts.a, None
    try:
        ns.ip("link", "add", "name", "vd", "type", "veth", "peer", "name", "ve")
        ns.ip("link", "add", "name", "br0", "type", "bridge")
        ns.ip("addr", "flush", "dev", "va")
        ns.ip("addr", "add", "10.77.0.1/16", "broadcast", "10.77.255.255", "dev", "br0")
        for dev in ("vd", "va"):
            # The newest port is the first to get a copy.
            ns.ip("link", "set", dev, "up", "master", "br0")
        for dev in ("ve", "br0"):
            ns.ip("link", "set", dev, "up")
        ns.sh("tc", "qdisc", "add", "dev", "vd", "clsact")
        lab.wait_for("the ports to forward", lambda: ns.sh(
            "bridge", "link").stdout.count("state forwarding") == 2)
        batch = tmp_path / "filters"
        batch.write_text("filter add dev vd egress prio 1 protocol ip u32 "
                         "match ip src 192.0.2.1/32 flowid 1:1\n" * FILTERS)
        t = Talk(hosts, UDP, address="10.77.255.255")
        roads = []
        for busy in (False, True):
            if busy and ns.sh("tc", "-batch", batch, check=False).returncode:
                pytest.skip("this kernel has no u32 classifier")
            with path(hosts.b, "--dst-port", str(t.port)) as p:
                t.exchange(50)
                roads.append(p.stop().stages)
    finally:
        if t:
            t.close()
        hosts.remove()
    assert roads[1]["softirq"]["count"] == 50
    assert grew(roads[1], roads[0]) == {"softirq"}


READER = """
import os, socket, sys
s = socket.socket(fileno=int(sys.argv[1]))
s.setblocking(True)
os.sched_setaffinity(0, [int(sys.argv[2])])
# Before all that has no real-time priority: only the other one below makes it wait.
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("ready", flush=True)
while s.recv(1000) != b"end":
    print("read", flush=True)
"""

# Has a CPU for itself, until a twentieth of a second after it was told so.
HOG = """
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
os.set_blocking(0, False)
print("ready", flush=True)
told = b""
while not told:
    try:
        told = os.read(0, 1)
    except BlockingIOError:
        pass
end = time.monotonic() + 0.05
while time.monotonic() < end:
    pass
"""


@contextlib.contextmanager
def script(text, *words, fds=()):
    """A process that has said that it is ready."""
    p = subprocess.Popen([sys.executable, "-c", text, *map(str, words)], pass_fds=fds,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        yield p
    finally:
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()


def asleep(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S"


@needs_told
def test_a_reader_that_gets_no_cpu_shows_in_its_waking_only(hosts, talk):
    """It is told of the packet, and something else has its CPU."""
    t = talk(UDP)
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus)
    if len(cpus) == 1:
        pytest.skip("it takes two CPUs")
    os.sched_setaffinity(0, cpus - {cpu})
    roads = []
    try:
        for busy in (False, True):
            with script(READER, t.reader.fileno(), cpu, fds=[t.reader.fileno()]) as r, \
                    path(hosts.b, "--dst-port", str(t.port)) as p:
                for _ in range(10):
                    lab.wait_for("the reader to wait", lambda: asleep(r.pid))
                    with script(HOG, cpu) if busy else contextlib.nullcontext() as hog:
                        t.sender.send(bytes(100))
                        if hog:
                            hog.stdin.write("!")
                            hog.stdin.flush()
                        assert r.stdout.readline() == "read\n"
                roads.append(p.stop().stages)
    finally:
        os.sched_setaffinity(0, cpus)
    # One that was about to sleep when it was told never left its CPU.
    assert all(5 <= r["wake"]["count"] <= 10 for r in roads), [r["wake"] for r in roads]
    assert [took(road, 0.025) for road in roads] == [set(), {"wake"}]


@needs_told
def test_a_reader_of_another_namespace_is_none_of_these():
    """A bridge hands a broadcast on to `va` and then to a port of a third host: both copies
    are received in one softirq, where each wakes somebody."""
    hosts, third, t = lab.Pair(addresses=True), lab.Netns(), None
    ns, cpu = hosts.a, max(os.sched_getaffinity(0))
    try:
        ns.ip("link", "add", "name", "vd", "type", "veth", "peer", "name", "ve", "netns", third.name)
        third.ip("link", "set", "ve", "up")
        ns.ip("link", "add", "name", "br0", "type", "bridge")
        ns.ip("addr", "flush", "dev", "va")
        ns.ip("addr", "add", "10.77.0.1/16", "broadcast", "10.77.255.255", "dev", "br0")
        for dev in ("vd", "va"):
            # The newest port is the first to get a copy.
            ns.ip("link", "set", dev, "up", "master", "br0")
        ns.ip("link", "set", "br0", "up")
        lab.wait_for("the ports to forward", lambda: ns.sh(
            "bridge", "link").stdout.count("state forwarding") == 2)
        t, tap = Talk(hosts, UDP, address="10.77.255.255"), third.packet_socket("ve", lab.ETH_P_ALL)
        with tap, script(READER, tap.fileno(), cpu, fds=[tap.fileno()]) as other, \
                script(READER, t.reader.fileno(), cpu, fds=[t.reader.fileno()]) as r, \
                path(hosts.b, "--dst-port", str(t.port)) as p:
            for _ in range(10):
                lab.wait_for("the readers to wait", lambda: asleep(r.pid) and asleep(other.pid))
                t.sender.send(bytes(100))
                assert r.stdout.readline() == other.stdout.readline() == "read\n"
            woken = p.stop().stages["wake"]
    finally:
        if t:
            t.close()
        hosts.remove()
        third.remove()
    assert 5 <= woken["count"] <= 10, woken


@pytest.mark.parametrize("kind,own", [(UDP, ["backlog", "stack", "queue", "copy"]),
                                      (TCP, ["backlog", "stack", "tcp", "queue", "copy"])],
                         ids=["udp", "tcp"])
def test_journeys_are_complete_and_in_order(hosts, talk, kind, own):
    t = talk(kind)
    with path(hosts.b, "--journeys", "20", f"dst port {t.port} and greater 100",
              sample=None) as p:
        t.exchange(30)
        *journeys, road = p.wait()
    assert len(journeys) == 20
    for j in journeys:
        at = [s["at_ns"] for s in j["stages"]]
        assert at == sorted(at) and at[0] == 0
        assert [s["name"] for s in j["stages"] if s["of"] == "packet"] == known(*own)
        assert {"softirq", "poll"} <= {s["name"] for s in j["stages"] if s["of"] == "cpu"}
        assert j["dst_port"] == t.port and j["dst_ip"] == "10.77.0.2" and j["iface"] == "vb"
        assert j["pid"] == os.getpid()
        # From the packet's own first stage to the last.
        first = next(s for s in j["stages"] if s["of"] == "packet")["at_ns"]
        assert j["total_ns"] == at[-1] - first


def test_slower_than_shows_those_only(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "--slower-than", "100ms", "--dst-port", str(t.port), sample=None) as p:
        for _ in range(5):
            t.exchange(10, size=100)
            t.exchange(1, size=200, before_read=lambda: time.sleep(0.2))
        p.stop()
    assert p.count("copy") == 55
    assert [j["packet_size"] - 28 for j in p.journeys if j["packet_size"] != 128] == [200] * 5
    assert all(j["total_ns"] >= 100_000_000 for j in p.journeys)


@needs_told
def test_what_cannot_be_followed_is_counted(hosts, talk):
    """More unread packets than are followed for one socket."""
    t = talk(UDP)
    with path(hosts.b, "--dst-port", str(t.port)) as p:
        for _ in range(200):
            t.sender.send(bytes(10))
        for _ in range(200):
            t.reader.recv(100)
        p.stop()
    lost = p.road["lost"]
    assert p.count("queue") == 200
    assert p.count("copy") + lost["socket_full"] == 200 and lost["socket_full"] > 0


@needs_told
def test_fail_on_loss(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "--dst-port", str(t.port), "--fail-on-loss") as p:
        for _ in range(200):
            t.sender.send(bytes(10))
        p.process.send_signal(signal.SIGINT)
        assert p.process.wait(lab.PATIENCE) == 3


def test_a_peek_takes_nothing(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "--dst-port", str(t.port)) as p:
        for _ in range(N):
            t.sender.send(bytes(100))
            t.reader.recv(1000, socket.MSG_PEEK)
            t.reader.recv(1000)
        p.stop()
    assert [p.count(s) for s in known("queue", "copy")] == [N] * len(known("queue", "copy"))


def test_cpus_add_up(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "--cpu", "--dst-port", str(t.port)) as p:
        t.exchange(N)
        p.stop()
    for stage in known("stack", "queue", "copy"):
        assert sum(s["count"] for c in p.road["cpus"] for s in c["stages"]
                   if s["name"] == stage) == N


@pytest.mark.parametrize("words", [[], ["--cpu"]], ids=["all", "cpu"])
def test_prometheus(hosts, talk, words):
    t = talk(UDP)
    with path(hosts.b, "--prometheus", "--for", "1h", "--dst-port", str(t.port), *words,
              json=False) as p:
        t.exchange(N)
        p.process.send_signal(signal.SIGINT)
        assert p.process.wait(lab.PATIENCE) == 0
        series = prometheus.parse(p.text(), "weir_path_")

    def of_stage(name, stage):
        return sum(n for (of, labels), n in series.items()
                   if of == f"weir_path_{name}" and ("stage", stage) in labels
                   and ("cpu" in dict(labels)) == bool(words))
    for stage in known("backlog", "stack", "queue", "copy"):
        assert of_stage("stage_events", stage) == N
    assert of_stage("stage_seconds_count", "copy") == N
    assert of_stage("stage_seconds_sum", "copy") > 0
    assert of_stage("stage_max_nanoseconds", "copy") > 0
    assert not of_stage("stage_events", "irq")
    assert prometheus.value(series, "weir_path_matched") == N
    assert prometheus.value(series, "weir_path_lost", reason="socket_full") == 0
    run_ns = prometheus.value(series, "weir_path_run_nanoseconds")
    assert prometheus.value(series, "weir_path_followed_nanoseconds") == run_ns


def test_the_picture_says_whose_counts_it_shows(hosts, talk, flood_udp):
    t = talk(UDP)
    with path(hosts.b, "--for", "1h", json=False, sample=None) as p:
        t.exchange(N)
        p.process.send_signal(signal.SIGINT)
        p.process.wait(lab.PATIENCE)
        quiet = p.text()
    with path(hosts.b, "--for", "1h", json=False, sample="1/4") as p:
        sent = flood_udp(hosts, seconds=0.5)
        p.process.send_signal(signal.SIGINT)
        p.process.wait(lab.PATIENCE)
        busy = p.text()
    assert quiet.split()[:2] == ["STAGE", "COUNT"] and "slices" not in quiet
    if sent < BUSY * 0.5:
        pytest.skip("this machine is too slow to be busy")
    assert busy.split()[:2] == ["STAGE", "SAMPLED"] and "taken in slices" in busy


def test_a_burst_on_a_quiet_host_is_followed_whole(hosts, talk):
    t = talk(UDP)
    with path(hosts.b, "--dst-port", str(t.port), sample=None) as p:
        for _ in range(20):
            for _ in range(50):
                t.sender.send(bytes(10))
            for _ in range(50):
                t.reader.recv(100)
        p.stop()
    assert p.road["matched"] == p.count("copy") == 1000


def test_slices_follow_some_and_count_all(hosts, flood_udp):
    """Many packets: all are seen, a part is followed, and the account adds up."""
    with path(hosts.b, sample="1/4", json=True) as p:
        sent = flood_udp(hosts, seconds=1.5)
        p.stop()
    p.check_account()
    assert p.road["seen"] >= sent
    assert 0 < p.road["matched"]
    if sent < BUSY * 1.5:
        pytest.skip("this machine is too slow to be busy")
    assert p.road["matched"] < p.road["seen"]
    assert p.road["slices_ns"] < p.road["duration_ns"]
    assert p.count("stack") == p.road["matched"]


@pytest.fixture
def flood_udp(talk):
    def send(hosts, seconds):
        t = talk(UDP)
        end = time.monotonic() + seconds
        n = 0
        while time.monotonic() < end:
            for _ in range(64):
                t.sender.send(b"x")
            for _ in range(64):
                t.reader.recv(10)
            n += 64
        return n
    return send


def loaded():
    """The programs of weir path in the kernel, by id."""
    out = lab.sh("bpftool", "-j", "prog", "show",
                 env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}).stdout
    return {p["id"] for p in json.loads(out) if p.get("name", "").startswith("weir_path")}


def test_kill_leaves_nothing(hosts):
    others = loaded()
    with path(hosts.b) as p:
        mine = loaded() - others
        assert mine
        p.process.send_signal(signal.SIGKILL)
        p.process.wait(lab.PATIENCE)
        lab.wait_for("the programs to go", lambda: not mine & loaded())


def test_a_plain_user_is_told_what_is_missing(hosts):
    with lab.public_dir() as d:
        program = os.path.join(d, "weir")
        lab.sh("cp", lab.WEIR, program)
        done = hosts.b.sh("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                          program, "path", "--once", check=False)
    assert done.returncode == 1
    assert "CAP_BPF" in done.stderr and "CAP_PERFMON" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words,said", [
    (["--sample", "0"], "1/16"),
    (["--sample", "1/x"], "1/16"),
    (["-i", "nothere0"], "no interface nothere0"),
    (["--for", "soon"], "soon"),
    (["port"], "port"),
    (["--journeys", "0"], "journeys"),
    (["--prometheus", "--json"], "--prometheus"),
    (["--prometheus", "--journeys", "3"], "--journeys"),
])
def test_bad_words(hosts, words, said):
    done = hosts.b.sh(lab.WEIR, "path", *words, check=False)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert not done.stdout
