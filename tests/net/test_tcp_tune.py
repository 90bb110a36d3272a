# SPDX-License-Identifier: GPL-2.0-only
"""`weir tcp tune` on real connections: what getsockopt(2) says of both ends. Programs are only
ever attached to cgroups that the test made, in which this process is meanwhile."""

import ctypes
import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

import kernel
import lab
import prometheus

V4, V6 = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")
BOTH = pytest.mark.parametrize("end", [V4, V6], ids=["v4", "v6"])
TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT = 13, 18, 25

# ---- bpf(2), for programs that are not weir's

MAP_CREATE, LOOKUP, PROG_LOAD, ATTACH, DETACH = 0, 1, 5, 8, 9
SOCK_OPS, CGROUP_SOCK_OPS = 13, 3
OVERRIDE, MULTI = 1, 2


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


class Foreign:
    """A sockops program that counts how often it runs."""

    def __init__(self, cgroup, flags):
        self.cgroup = os.open(cgroup, os.O_RDONLY)
        self.map = kernel.bpf(MAP_CREATE, "=IIII", 2, 4, 8, 1)
        code = b"".join([
            insn(0x62, 10, 0, -4, 0),                       # *(u32 *)(r10 - 4) = 0
            insn(0xbf, 2, 10), insn(0x07, 2, 0, 0, -4),     # r2 = r10 - 4
            insn(0x18, 1, 1, 0, self.map), insn(0),         # r1 = map
            insn(0x85, 0, 0, 0, 1),                         # call map_lookup_elem
            insn(0x15, 0, 0, 2, 0),                         # if r0 == 0 skip
            insn(0xb7, 1, 0, 0, 1), insn(0xdb, 0, 1, 0, 0),  # lock *(u64 *)r0 += 1
            insn(0xb7, 0, 0, 0, 1), insn(0x95),             # return 1
        ])
        self._code, self._license = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        self.prog = kernel.bpf(PROG_LOAD, "=IIQQIIQII16s", SOCK_OPS, len(code) // 8,
                               ctypes.addressof(self._code), ctypes.addressof(self._license),
                               0, 0, 0, 0, 0, b"someone_elses")
        self.flags = flags
        self.attached = False

    def attach(self):
        kernel.bpf(ATTACH, "=IIII", self.cgroup, self.prog, CGROUP_SOCK_OPS, self.flags)
        self.attached = True

    def runs(self):
        key, value = ctypes.c_uint32(0), ctypes.c_uint64(0)
        kernel.bpf(LOOKUP, "=IIQQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        return value.value

    def close(self):
        if self.attached:
            kernel.bpf(DETACH, "=IIII", self.cgroup, self.prog, CGROUP_SOCK_OPS, 0)
        for fd in (self.cgroup, self.map, self.prog):
            os.close(fd)


# ---- The place

def cgroup_root():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return None


ROOT = cgroup_root()
pytestmark = pytest.mark.skipif(ROOT is None, reason="cgroup v2 is not mounted")


def own_cgroup():
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return ROOT / line[3:].lstrip("/")
    return ROOT


def enter(cgroup):
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


class Tune:
    """A namespace with its own bpffs, and cgroups of its own."""

    def __init__(self):
        self.ns = lab.Host(quiet=False)
        self.ns.ip("link", "set", "lo", "up")
        self.home = own_cgroup()
        self.cgroup = ROOT / f"weirtest{os.getpid()}"
        self.inner = self.cgroup / "inner"
        self.cgroup.mkdir()
        self.inner.mkdir()
        enter(self.cgroup)
        self.open = []

    def weir(self, *words, check=True, **options):
        return self.ns.sh(lab.WEIR, *words, check=check, **options)

    def __call__(self, *words, **options):
        return self.weir("tcp", "tune", *words, **options)

    def add(self, name, *words, cgroup=None, **options):
        return self("add", name, "--cgroup", cgroup or self.cgroup, *words, **options)

    def list(self):
        return json.loads(self("list", "--json").stdout)

    def rule(self, name):
        return next(r for r in self.list()["rules"] if r["name"] == name)

    def option(self, rule, name):
        return next(o for o in self.rule(rule)["options"] if o["name"] == name)

    def listener(self, end, port=0, dual=False, ns=None):
        family, address = end
        with ns or self.ns:
            s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        s.bind(("::" if dual else address, port))
        s.listen(64)
        self.open.append(s)
        return s

    def pair(self, listener, end=None, to=None, ns=None):
        """A connection: (who began it, who accepted it)."""
        family, address = end or V4
        with ns or self.ns:
            client = socket.socket(family)
        client.settimeout(lab.PATIENCE)
        client.connect((to or address, listener.getsockname()[1]))
        server, _ = listener.accept()
        self.open += [client, server]
        return client, server

    def remove(self):
        for s in self.open:
            s.close()
        self.weir("unload", check=False)
        enter(self.home)
        self.ns.remove()
        for cgroup in (self.inner, self.cgroup):
            if cgroup.exists():
                lab.wait_for("the cgroup to be empty", lambda: not (cgroup / "cgroup.procs").read_text())
                cgroup.rmdir()


@pytest.fixture
def tune():
    t = Tune()
    try:
        yield t
    finally:
        t.remove()


def congestion(s):
    return s.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode()


def info(s, offset):
    """A 32-bit word of struct tcp_info."""
    return struct.unpack_from("=I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), offset)[0]


def cwnd(s):
    return info(s, 80)


def tcp(s, option):
    return s.getsockopt(socket.IPPROTO_TCP, option)


def sol(s, option):
    return s.getsockopt(socket.SOL_SOCKET, option)


# What is set, and how it is read: (words, function, value; None: another than without the rule).
OPTIONS = {
    "congestion": ("reno", congestion, "reno"),
    "rcvbuf": ("20k", lambda s: sol(s, socket.SO_RCVBUF), 40960),
    "sndbuf": ("30k", lambda s: sol(s, socket.SO_SNDBUF), 61440),
    "initcwnd": ("23", cwnd, 23),
    "cwnd-clamp": ("37", lambda s: info(s, 76), 37),  # tcpi_snd_ssthresh
    "window-clamp": ("9k", lambda s: tcp(s, socket.TCP_WINDOW_CLAMP), 9216),
    "nodelay": ("on", lambda s: bool(tcp(s, socket.TCP_NODELAY)), True),
    "maxseg": ("700", lambda s: tcp(s, socket.TCP_MAXSEG), None),
    "notsent-lowat": ("5000", lambda s: tcp(s, TCP_NOTSENT_LOWAT), 5000),
    "user-timeout": ("7s", lambda s: tcp(s, TCP_USER_TIMEOUT), 7000),
    "keepidle": ("61s", lambda s: tcp(s, socket.TCP_KEEPIDLE), 61),
    "keepintvl": ("11s", lambda s: tcp(s, socket.TCP_KEEPINTVL), 11),
    "keepcnt": ("4", lambda s: tcp(s, socket.TCP_KEEPCNT), 4),
    "keepalive": ("on", lambda s: bool(sol(s, socket.SO_KEEPALIVE)), True),
    "tos": ("16", lambda s: (s.getsockopt(socket.IPPROTO_IPV6, 67) if s.family == socket.AF_INET6
                             else s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)), 16),
}


@BOTH
def test_each_option_on_both_ends(tune, end):
    listener = tune.listener(end)
    port = listener.getsockname()[1]
    other = tune.listener(end)
    plain = tune.pair(listener, end)
    for name, (word, read, expected) in OPTIONS.items():
        # BBR takes the slow start's threshold back, by which the clamp is seen.
        more = ["--congestion", "reno"] if name == "cwnd-clamp" else []
        tune.add("r", "--dst-port", port, f"--{name}", word, *more)
        # So that a connection that has nothing to do with it is seen to be left alone.
        bystander = tune.pair(other, end)
        for one, before, far in zip(tune.pair(listener, end), plain, bystander):
            if expected is None:
                assert read(one) < 700 < read(before), name
            else:
                assert read(one) == expected, name
                assert read(before) != expected, name
            assert read(far) != expected, name
        counted = tune.option("r", name)
        # An accepted connection has its segment size already.
        assert counted["set"] >= (1 if name == "maxseg" else 2), name
        assert counted["failed"] == counted["limited"] == 0, name


def test_all_at_once(tune):
    listener = tune.listener(V4)
    words = [w for name, (word, _, _) in OPTIONS.items() for w in (f"--{name}", word)]
    tune.add("all", "--dst-port", listener.getsockname()[1], *words)
    for one in tune.pair(listener):
        for name, (_, read, expected) in OPTIONS.items():
            assert expected is None or read(one) == expected, name
    rule = tune.rule("all")
    assert rule["hits"] == 2 and rule["errors"] == 0 and rule["attached"]
    assert "last_hit_ts" in rule


def test_timers(tune):
    """The first timeout of the one who began it, of which the handshake is a sample already."""
    listener = tune.listener(V4)
    tune.add("t", "--dst-port", listener.getsockname()[1], "--rto-min", "20ms", "--delack-max", "20ms")
    client, server = tune.pair(listener)
    plain, _ = tune.pair(tune.listener(V4))
    assert info(client, 8) < 100_000 < info(plain, 8)  # tcpi_rto, us
    for _ in range(40):  # the other end gets there by more samples
        client.sendall(b"x")
        server.recv(1)
        server.sendall(b"y")
        client.recv(1)
    assert info(server, 8) < 100_000
    assert tune.option("t", "rto-min")["set"] == tune.option("t", "delack-max")["set"] == 2


def test_the_first_windows_are_in_the_handshake(tune):
    tune.ns.ip("link", "set", "lo", "mtu", "1500")
    listener = tune.listener(V4)
    port = listener.getsockname()[1]

    def windows():
        """Of a SYN and the answer to it, in segments."""
        wire = tune.ns.packet_socket("lo", lab.ETH_P_ALL)
        wire.settimeout(lab.PATIENCE)
        tune.pair(listener)
        seen = {}
        while len(seen) < 2:
            ip = wire.recv(200)[14:]
            header = ip[(ip[0] & 15) * 4:]
            if len(ip) > 40 and ip[9] == 6 and header[13] & 2 and port in struct.unpack_from("!HH", header):
                seen[header[13] & 0x12] = round(struct.unpack_from("!H", header, 14)[0] / 1460)
        wire.close()
        return seen[2], seen[0x12]

    before = windows()
    tune.add("w", "--dst-port", port, "--initrwnd", "3")
    assert windows() == (3, 3)
    assert before[0] > 3 and before[1] > 3
    assert tune.option("w", "initrwnd")["set"] == 2


def test_which_end(tune):
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    tune.add("accepts", "--local-port", port, "--keepcnt", "3")
    tune.add("begins", "--remote-port", port, "--keepcnt", "5")
    client, server = tune.pair(listener)
    assert (tcp(client, socket.TCP_KEEPCNT), tcp(server, socket.TCP_KEEPCNT)) == (5, 3)
    assert tune.rule("accepts")["hits"] == tune.rule("begins")["hits"] == 1


def test_the_first_rule_that_matches_decides(tune):
    a, b, c = (tune.listener(V4) for _ in range(3))
    pa, pb = a.getsockname()[1], b.getsockname()[1]
    tune.add("one", f"tcp dst port {pa}", "--keepcnt", "3")
    many = ",".join(f"10.{i}.0.0/16" for i in range(40))  # a set of its own in the program
    tune.add("none", "--src-ip", many, "--keepcnt", "9")
    tune.add("two", "--dst-port", f"{pa},{pb}", "--keepcnt", "5")
    assert [[tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(x)] for x in (a, b)] == [[3, 3], [5, 5]]
    default = tcp(tune.pair(c)[0], socket.TCP_KEEPCNT)
    assert default not in (3, 5)
    assert [tune.rule(n)["hits"] for n in ("one", "none", "two")] == [2, 0, 2]
    tune("del", "one")
    assert tcp(tune.pair(a)[0], socket.TCP_KEEPCNT) == 5
    tune.add("none", "--src-ip", many + ",127.0.0.1", "--keepcnt", "8")
    assert tcp(tune.pair(c)[0], socket.TCP_KEEPCNT) == 8


def test_a_dual_stack_listener(tune):
    listener = tune.listener(V6, dual=True)
    port = listener.getsockname()[1]
    tune.add("four", "--dst-port", port, "--src-ip", "127.0.0.0/8", "--keepcnt", "4")
    tune.add("six", "--dst-port", port, "--src-ip", "::1", "--keepcnt", "6")
    assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener, V4)] == [4, 4]
    assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener, V6)] == [6, 6]


def test_the_class_of_service_of_an_ipv4_peer_on_a_socket_of_ipv6(tune):
    """Its packets are of IPv4. Where the kernel refuses that it is told."""
    listener = tune.listener(V6, dual=True)
    tune.add("tos", "--local-port", listener.getsockname()[1], "--tos", "16", "--keepcnt", "3")
    _, server = tune.pair(listener, V4)
    assert tcp(server, socket.TCP_KEEPCNT) == 3
    failed = [f["error"] for f in tune.list()["failures"]]
    assert (server.getsockopt(socket.IPPROTO_IP, socket.IP_TOS), failed) in ((16, []), (0, ["EINVAL"]))
    _, server = tune.pair(listener, V6)
    assert server.getsockopt(socket.IPPROTO_IPV6, 67) == 16
    assert tune.option("tos", "tos")["set"] == 2 - len(failed)


def test_replaced_while_connections_come(tune):
    """Each has the old value or the new one, on both ends, and the new one as soon as the
    command is back."""
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    tune.add("r", "--dst-port", port, "--keepcnt", "1")
    seen, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            for s in tune.pair(listener):
                seen.append(tcp(s, socket.TCP_KEEPCNT))
                s.close()

    t = threading.Thread(target=load)
    t.start()
    try:
        for value in range(2, 9):
            done = len(seen)
            lab.wait_for("connections", lambda: len(seen) > done + 4)
            tune.add("r", "--dst-port", port, "--keepcnt", value)
            done = len(seen)
            lab.wait_for("connections", lambda: len(seen) > done + 8)
            # The one that was under way, of both ends, may be older.
            assert set(seen[done + 4:]) == {value}
    finally:
        stop.set()
        t.join()
    assert seen == sorted(seen) and set(seen) == set(range(1, 9))
    assert tune.rule("r")["hits"] == len(seen)


# ---- What fails

def test_what_the_kernel_refuses_is_refused_at_once(tune):
    for words, what in ((["--congestion", "nosuch"], "none of that name"),
                        (["--rto-min", "1us"], "Invalid argument"),
                        (["--rto-min", "1s"], "from 1us to 200000us"),
                        (["--maxseg", "20"], "Invalid argument")):
        done = tune.add("x", *words, check=False)
        assert done.returncode == 2 and what in done.stderr and done.stderr.count("\n") == 1
    assert tune.list()["rules"] == []


def test_a_failure_of_one_connection(tune):
    """The route to one address locks its congestion control."""
    tune.ns.ip("route", "add", "local", "127.9.9.9", "dev", "lo", "table", "local", "congctl", "lock", "reno")
    listener = tune.listener((socket.AF_INET, "0.0.0.0"))
    port = listener.getsockname()[1]
    tune.add("cc", "--dst-port", port, "--congestion", "cubic", "--keepcnt", "3")
    client, _ = tune.pair(listener, to="127.9.9.9")
    assert congestion(client) == "reno"
    assert tcp(client, socket.TCP_KEEPCNT) == 3  # the others are set all the same
    assert [congestion(s) for s in tune.pair(listener)] == ["cubic", "cubic"]
    failures = tune.list()["failures"]
    mine = [f for f in failures if f["local_port"] == client.getsockname()[1]]
    assert [(f["rule"], f["option"], f["error"], f["remote_ip"], f["remote_port"]) for f in mine] == [
        ("cc", "congestion", "EPERM", "127.9.9.9", port)]
    option = tune.option("cc", "congestion")
    assert option["failed"] == len(failures) and option["last_error"] == "EPERM"
    assert option["set"] + option["failed"] == 4
    shown = tune("failures").stdout
    assert "127.9.9.9" in shown and "Operation not permitted" in shown
    assert "--congestion failed" in tune("list").stdout


def test_prometheus(tune):
    """What list tells, rule by rule and option by option."""
    tune("clear")
    done = tune("list", "--prometheus").stdout
    assert prometheus.parse(done, "weir_tcp_tune_") == {("weir_tcp_tune_rules", ()): 0}
    listener = tune.listener(V4)
    port = str(listener.getsockname()[1])
    tune.add("set", "--dst-port", port, "--sndbuf", "1g", "--nodelay", "on")
    tune.add("idle", "--dst-port", "9", "--tos", "8")
    tune.pair(listener)
    series = prometheus.parse(tune("list", "--prometheus").stdout, "weir_tcp_tune_")
    assert prometheus.value(series, "weir_tcp_tune_rules") == 2
    for name in ("set", "idle"):
        rule = tune.rule(name)
        assert (rule["hits"] > 0) == (name == "set")
        assert prometheus.value(series, "weir_tcp_tune_rule_hits_total", rule=name) == \
            rule["hits"]
        assert prometheus.value(series, "weir_tcp_tune_rule_attached", rule=name) == 1
        for o in rule["options"]:
            for key in ("set", "failed", "limited"):
                assert prometheus.value(series, f"weir_tcp_tune_{key}_total", rule=name,
                                        option=o["name"]) == o[key]
    assert tune.option("set", "sndbuf")["limited"] > 0
    assert tune.option("set", "nodelay")["set"] > 0
    done = tune("list", "--prometheus", "--json", check=False)
    assert done.returncode == 2 and "one of both" in done.stderr
    done = tune("failures", "--prometheus", check=False)
    assert done.returncode == 2 and "it is for list" in done.stderr


def test_the_last_failures_are_kept_and_all_are_counted(tune):
    tune.ns.ip("route", "add", "local", "127.9.9.9", "dev", "lo", "table", "local", "congctl", "lock", "reno")
    listener = tune.listener((socket.AF_INET, "0.0.0.0"))
    tune.add("cc", "--remote-port", listener.getsockname()[1], "--congestion", "cubic")
    for _ in range(300):
        for s in tune.pair(listener, to="127.9.9.9"):
            s.close()
    answer = json.loads(tune("failures", "--json").stdout)
    assert answer["failures_total"] == 300 and len(answer["failures"]) == 256
    assert tune.option("cc", "congestion")["failed"] == 300
    times = [f["ts"] for f in answer["failures"]]
    assert times == sorted(times)


def test_a_buffer_above_the_hosts_limit(tune):
    listener = tune.listener(V4)
    done = tune.add("big", "--dst-port", listener.getsockname()[1], "--rcvbuf", "1g")
    assert "net.core.rmem_max" in done.stderr
    tune.pair(listener)
    option = tune.option("big", "rcvbuf")
    assert option["set"] == option["limited"] == 2 and option["failed"] == 0


# ---- Other programs, other cgroups, other namespaces

def test_programs_of_others_stay(tune):
    before, after = Foreign(tune.cgroup, MULTI), Foreign(tune.cgroup, MULTI)
    listener = tune.listener(V4)
    try:
        before.attach()
        tune.add("r", "--dst-port", listener.getsockname()[1], "--keepcnt", "3")
        after.attach()
        assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener)] == [3, 3]
        ran = before.runs(), after.runs()
        assert min(ran) > 0
        tune.add("r", "--dst-port", listener.getsockname()[1], "--keepcnt", "4")
        assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener)] == [4, 4]
        tune("clear")
        tune.pair(listener)
        assert before.runs() > 2 * ran[0] and after.runs() > 2 * ran[1]
    finally:
        before.close()
        after.close()


@pytest.mark.parametrize("flags", [0, OVERRIDE], ids=["alone", "override"])
def test_a_program_that_admits_no_other_is_named(tune, flags):
    foreign = Foreign(tune.cgroup, flags)
    listener = tune.listener(V4)
    try:
        foreign.attach()
        done = tune.add("r", "--keepcnt", "3", check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "someone_elses" in done.stderr and str(tune.cgroup) in done.stderr
        assert tune.list()["rules"] == []
        # Below a program that stands alone there is no place either; below one that may be
        # overridden there is.
        done = tune.add("r", "--keepcnt", "3", cgroup=tune.inner, check=False)
        assert done.returncode == (0 if flags else 1)
        assert flags or "someone_elses" in done.stderr
        tune.pair(listener)
        assert foreign.runs() > 0
    finally:
        foreign.close()


def test_the_innermost_cgroup_decides(tune):
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    tune.add("outer", "--dst-port", port, "--keepcnt", "3", "--rcvbuf", "20k")
    tune.add("inner", "--dst-port", port, "--keepcnt", "5", cgroup=tune.inner)
    assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener)] == [3, 3]
    enter(tune.inner)
    client, server = tune.pair(listener)  # whoever accepts is where its listener was made
    enter(tune.cgroup)
    assert [tcp(s, socket.TCP_KEEPCNT) for s in (client, server)] == [5, 3]
    assert sol(client, socket.SO_RCVBUF) != 40960 == sol(server, socket.SO_RCVBUF)
    assert (tune.rule("inner")["hits"], tune.rule("outer")["hits"]) == (1, 3)


def test_a_cgroup_that_is_gone(tune):
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    tune.add("inner", "--keepcnt", "5", cgroup=tune.inner)
    tune.inner.rmdir()
    lab.wait_for("its end", lambda: not tune.rule("inner")["attached"])
    assert "(gone)" in tune("list").stdout
    tune.add("outer", "--dst-port", port, "--keepcnt", "3")
    assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 3
    tune.inner.mkdir()
    tune.add("outer", "--dst-port", port, "--keepcnt", "4")
    assert tune.rule("inner")["attached"]
    done = tune.add("none", "--keepcnt", "5", cgroup=tune.cgroup / "none", check=False)
    assert done.returncode == 2 and "there is no cgroup" in done.stderr


def test_the_wrong_cgroup(tune, tmp_path):
    for wrong in (tmp_path, "/proc", tune.cgroup / "cgroup.procs"):
        done = tune.add("x", "--keepcnt", "5", cgroup=wrong, check=False)
        assert done.returncode == 2 and str(ROOT) in done.stderr, wrong
        assert done.stderr.count("\n") == 1
    assert tune.list()["rules"] == []


def test_namespaces(tune):
    """A rule is of the namespace that it was made in, unless it says --all-netns."""
    other = lab.Netns(quiet=False)
    other.ip("link", "set", "lo", "up")
    try:
        here, there = tune.listener(V4), tune.listener(V4, ns=other)
        tune.add("own", "--keepcnt", "3")
        assert tcp(tune.pair(here)[0], socket.TCP_KEEPCNT) == 3
        assert tcp(tune.pair(there, ns=other)[0], socket.TCP_KEEPCNT) != 3
        tune.add("everywhere", "--dst-port", there.getsockname()[1], "--all-netns", "--keepcnt", "5")
        assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(there, ns=other)] == [5, 5]
        assert tcp(tune.pair(here)[0], socket.TCP_KEEPCNT) == 3
        assert tune.rule("own")["hits"] == 4 and tune.rule("everywhere")["hits"] == 2
    finally:
        other.remove()


# ---- Its end

@pytest.mark.parametrize("undo", [("tcp", "tune", "clear"), ("tcp", "tune", "del", "r"), ("unload", "tcp"),
                                  ("unload",)], ids=" ".join)
def test_undone(tune, undo):
    listener = tune.listener(V4)
    default = [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener)]
    tune.add("r", "--keepcnt", "3")
    tuned = tune.pair(listener)
    tune.weir(*undo)
    assert [tcp(s, socket.TCP_KEEPCNT) for s in tuned] == [3, 3]  # they keep it
    assert [tcp(s, socket.TCP_KEEPCNT) for s in tune.pair(listener)] == default
    assert tune.list() == {"v": 1, "rules": [], "failures": [], "failures_total": 0}
    tuned[0].sendall(b"still here")
    assert tuned[1].recv(100) == b"still here"
    links = tune.ns.sh("find", "/sys/fs/bpf/weir", "-name", "link*", check=False).stdout
    assert not links
    names = tune.ns.sh("sh", "-c", "bpftool -j map dump pinned /sys/fs/bpf/weir/*/rules/rules", check=False)
    assert '"value"' not in names.stdout, names.stdout


def test_a_killed_command_leaves_the_old_rules_or_the_new(tune):
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    tune.add("r", "--dst-port", port, "--keepcnt", "1")
    moments = random.Random(7)
    killed = 0
    for value in range(2, 26):
        old = tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT)
        # The second cgroup comes and goes.
        p = subprocess.Popen(
            tune.ns.command(lab.WEIR, "tcp", "tune", "apply", "-"), stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        p.stdin.write((f"r: --dst-port {port} --keepcnt {value} --cgroup {tune.cgroup}\n" + (
            f"i: --keepcnt 99 --cgroup {tune.inner}\n" if value % 2 else "")).encode())
        p.stdin.close()
        time.sleep(moments.random() * 0.15)
        p.send_signal(signal.SIGKILL)
        killed += p.wait() == -signal.SIGKILL
        client, server = tune.pair(listener)
        now = tcp(client, socket.TCP_KEEPCNT)
        assert now in (old, value) and tcp(server, socket.TCP_KEEPCNT) == now
        rule = tune.rule("r")
        assert rule["options"][0]["value"] == str(now) and rule["attached"]
        for s in (client, server):
            s.close()
    assert killed > 5
    tune.add("r", "--dst-port", port, "--keepcnt", "77")
    assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 77
    tune("clear")


# ---- Files and words

def test_a_killed_clear_is_swept(tune):
    """It removes the links first; what is left then is in force no longer, and in nobody's way."""
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    for left in ("text-1", "meta", "marks"):
        tune.add("r", "--dst-port", port, "--keepcnt", "3")
        path = tune.ns.sh("sh", "-c", "echo /sys/fs/bpf/weir/*/tcp").stdout.strip()
        tune.ns.sh("rm", f"{path}/link-0", f"{path}/{left}")
        assert tune.list()["rules"] == []
        tune.add("s", "--dst-port", port, "--keepcnt", "4")
        assert [r["name"] for r in tune.list()["rules"]] == ["s"]
        assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 4
        tune("clear")


def test_files(tune, tmp_path):
    listener = tune.listener(V4)
    port = listener.getsockname()[1]
    where = f"--cgroup {tune.cgroup}"
    tune.add("r", "--dst-port", port, "--keepcnt", "3")
    for text, line, word in (
            (f"a: --keepcnt 4 {where}\n\nb: --keepct 4\n", 3, "--keepct"),
            (f"a: --keepcnt many {where}\n", 1, "many"),
            (f"a: --keepcnt 4 {where}\na: --keepcnt 5 {where}\n", 2, "two rules"),
            (f"# x\na: dst prt 80 --keepcnt 4 {where}\n", 2, "prt"),
            (f"a: --dst-port 80 {where}\n", 1, "nothing to set")):
        bad = tmp_path / "bad"
        bad.write_text(text)
        done = tune("apply", bad, check=False)
        assert done.returncode == 2 and f"{bad}:{line}: " in done.stderr and word in done.stderr
        assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 3
    good = tmp_path / "good"
    good.write_text(f"one: tcp dst port {port} --keepcnt 6 --rto-min 50ms {where}\n"
                    f"--dst-port 1-9 --local-ip 127.0.0.0/8 --congestion reno {where}\n")
    assert "2 rules" in tune("apply", good).stderr
    assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 6
    shown = tune("show").stdout
    saved = tmp_path / "saved"
    tune("save", saved)
    tune("clear")
    assert tune("show").stdout == ""
    tune("apply", saved)
    assert tune("show").stdout == shown
    assert tcp(tune.pair(listener)[0], socket.TCP_KEEPCNT) == 6


def test_status_tells_of_it(tune):
    tune.add("r", "--keepcnt", "3")
    objects = json.loads(tune.weir("tcp", "status", "--json").stdout)
    link = next(o for o in objects["pinned"] if o["type"] == "link")
    assert link["verb"] == "tcp" and str(tune.cgroup.stat().st_ino) in link["detail"]
    assert {"weir_tcp_tune", "weir_tcp_gate"} <= {p["name"] for p in objects["running"]}


def test_without_rights(tune):
    done = tune.ns.sh("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                      "--bounding-set=-all", lab.WEIR, "tcp", "tune", "add", "x", "--cgroup", tune.cgroup,
                      "--keepcnt", "3", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert tune.list()["rules"] == []
