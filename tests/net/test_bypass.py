# SPDX-License-Identifier: GPL-2.0-only
"""`weir bypass` with real programs: what goes by it, what does not, and what becomes of a
connection when the rule, the reader or the command goes."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import threading
from pathlib import Path

import pytest

import kernel
import lab
import prometheus

HERE4, HERE6 = "127.0.0.1", "::1"

SERVER = """
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()
class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
s = Server(("::", 0), lambda *a: Quiet(*a, directory=sys.argv[1]))
print(s.server_address[1], flush=True)
s.serve_forever()
"""

# Both ends of a connection in one process, told what to do line by line.
PAIR = """
import hashlib, os, socket, sys
here = sys.argv[1]
l = socket.create_server((here, 0), family=socket.AF_INET6 if ":" in here else socket.AF_INET)
a = socket.create_connection(l.getsockname()[:2])
b, _ = l.accept()
def fill():
    a.setblocking(False)
    n, h, block = 0, hashlib.sha256(), os.urandom(65536)
    try:
        while n < 512 << 20:
            k = a.send(block)
            h.update(block[:k])
            n += k
    except BlockingIOError:
        pass
    a.setblocking(True)
    return n, h.hexdigest()
def drain(n):
    h = hashlib.sha256()
    while n:
        data = b.recv(min(n, 1 << 20))
        if not data:
            break
        h.update(data)
        n -= len(data)
    return n, h.hexdigest()
def echo(n):
    for i in range(n):
        a.sendall(b"%8d" % i)
        assert b.recv(8) == b"%8d" % i
        b.sendall(b"%7d" % i)
        assert a.recv(8) == b"%7d" % i
    return n
print("ready", a.getsockname()[1], flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


def cgroup_root():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, kind = line.split(" - ")
        if kind.startswith("cgroup2 ") and fields.split()[3] == "/":
            return Path(fields.split()[4])
    return None


class Cgroup:
    def __init__(self, name):
        self.path = cgroup_root() / f"weirtest{os.getpid()}-{name}"
        self.path.mkdir()

    def enter(self):
        (self.path / "cgroup.procs").write_text("0")

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            lab.wait_for("the cgroup to be empty", self.try_remove)

    def try_remove(self):
        try:
            self.path.rmdir()
        except OSError as e:
            if isinstance(e, FileNotFoundError):
                raise
            return False
        return True


class Process:
    """The process of PAIR, in a cgroup or (None) in none of ours."""

    def __init__(self, ns, cgroup, here=HERE4):
        self.p = subprocess.Popen(ns.command(sys.executable, "-c", PAIR, here),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  preexec_fn=cgroup.enter if cgroup else None)
        word, port = self.p.stdout.readline().split()
        assert word == "ready"
        self.port = int(port)

    def __call__(self, what):
        self.p.stdin.write(what + "\n")
        self.p.stdin.flush()
        return eval(self.p.stdout.readline())

    def close(self):
        self.p.stdin.close()
        self.p.wait(10)
        self.p.stdout.close()


@contextlib.contextmanager
def process(*args):
    p = Process(*args)
    try:
        yield p
    finally:
        p.close()


class Bypass:
    def __init__(self):
        self.ns = lab.Host(quiet=False)
        self.ns.ip("link", "set", "lo", "up")
        self.cgroup = Cgroup("a")
        self.empty = Cgroup("empty")

    def weir(self, *words, **options):
        return self.ns.sh(lab.WEIR, *words, **options)

    def __call__(self, *words, **options):
        return self.weir("bypass", *words, **options)

    def on(self, name, *words, **options):
        return self("on", name, *words, "--cgroup", self.cgroup.path, "--force", **options)

    def keep(self):
        """A rule for nobody: what the check said is kept as long as there is a rule."""
        self("on", "keep", "--cgroup", self.empty.path, "--force")

    def rules(self):
        rules = {r["name"]: r for r in json.loads(self("list", "--json").stdout)["rules"]}
        rules.pop("keep", None)
        return rules

    def connection(self, name, port):
        return next(c for c in self.rules()[name]["connections"] if c["src_port"] == port)

    def pair(self, cgroup=True, here=HERE4):
        return process(self.ns, self.cgroup if cgroup is True else cgroup, here)

    def remove(self):
        self.weir("unload", check=False)
        self.cgroup.remove()
        self.empty.remove()
        self.ns.remove()


@pytest.fixture(scope="module")
def host():
    if not cgroup_root():
        pytest.skip("cgroup v2 is not mounted")
    h = Bypass()
    yield h
    h.remove()


@pytest.fixture(scope="module")
def bypass(host):
    """With one rule for everything, the refusals of which come first."""
    host.keep()
    host.on("all")
    yield host
    host("off", "all", check=False)


def test_check_says_what_is_not_ok(host):
    done = host("check", "--json", check=False)
    checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
    bad = [name for name, c in checks.items() if not c["ok"]]
    assert done.returncode == (4 if bad else 0)
    for name in ("exact", "ipv6", "namespaces", "stopped", "half-close", "writers"):
        assert checks[name]["ok"], checks[name]
    assert all(checks[name]["harm"] and checks[name]["detail"] for name in bad)
    if bad:
        done = host("on", "x", "--cgroup", host.cgroup.path, check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert ", ".join(bad) in done.stderr and "--force" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert host.rules() == {}
    assert not list(cgroup_root().glob("weir-bypass-*"))


@pytest.mark.parametrize("words, told", [
    ([], "an action is missing"),
    (["onn"], "did you mean on?"),
    (["on"], "needs more words"),
    (["on", "x"], "--cgroup"),
    (["on", "a/b", "--cgroup", "/"], "cannot be a name"),
    (["on", "x", "--cgroup", "/tmp"], "is not in cgroup v2"),
    (["on", "x", "--cgroup", "/", "vlan"], "vlan"),
    (["on", "x", "--cgroup", "/", "--dst-port", "70000"], "70000"),
    (["check", "--force"], "does not take --force"),
    (["list", "x"], "one argument too many"),
    (["list", "--json", "--prometheus"], "give one of both"),
    (["bench", "--prometheus"], "does not take --prometheus"),
])
def test_bad_words_are_one_line(host, words, told):
    done = host(*words, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("weir bypass: ") and told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_rights(host):
    for words in (["check"], ["bench"], ["list"], ["on", "x", "--cgroup", "/"]):
        done = host.ns.sh("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                          lab.WEIR, "bypass", *words, check=False)
        assert done.returncode == 1 and "CAP_" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_forced_tells_what_breaks(bypass):
    rule = bypass.rules()["all"]
    assert rule["forced"] and (rule["verb"], rule["owner"]) == ("bypass", "bypass")
    assert "match" not in rule  # it takes everything
    status = bypass.weir("status", "bypass").stdout
    assert "rules/all/link" in status and "on cgroup" in status


@pytest.mark.parametrize("here", [HERE4, HERE6])
def test_only_the_handshake_is_on_the_wire(bypass, here):
    """And every byte is in the account."""
    sniffer = bypass.ns.packet_socket("lo", lab.ETH_P_ALL)
    with bypass.pair(here=here) as p:
        assert p("echo(500)") == 500
        c = bypass.connection("all", p.port)
        assert (c["bypass_bytes_out"], c["bypass_bytes_in"]) == (4000, 3500)
        assert (c["tcp_bytes_out"], c["tcp_bytes_in"]) == (0, 0)
        assert (c["bypass_messages_out"], c["bypass_messages_in"]) == (500, 500)
        assert "tcp_reason_out" not in c and "tcp_reason_in" not in c
    sniffer.setblocking(False)
    payload = frames = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = sniffer.recv(65536)
            frames += 1
            header = 14 + (40 if here == HERE6 else 4 * (frame[14] & 15))
            size = (40 + int.from_bytes(frame[18:20], "big") if here == HERE6 else
                    int.from_bytes(frame[16:18], "big"))
            payload += 14 + size - header - 4 * (frame[header + 12] >> 4)
    sniffer.close()
    assert frames >= 6 and payload == 0


def test_a_stopped_reader_is_bounded(bypass):
    """512 MB offered: what is taken stays within 16 MiB, and arrives as it was."""
    before = bypass.rules()["all"]
    with bypass.pair() as p:
        n, digest = p("fill()")
        assert 65536 <= n <= 16 << 20
        c = bypass.connection("all", p.port)
        assert c["tcp_reason_out"] == "full" and c["bypass_bytes_out"] > 0
        assert c["peak_unread_out"] <= 8 << 20
        assert p(f"drain({n})") == (0, digest)
        # The other direction is still by the bypass.
        assert p("b.send(b'x')") == 1 and p("a.recv(9)") == b"x"
        assert bypass.connection("all", p.port)["bypass_bytes_in"] == 1
    after = lab.wait_for("the connection to end", lambda: (
        r if (r := bypass.rules()["all"])["closed"] == before["closed"] + 1 else None))
    assert after["bytes_out"] - before["bytes_out"] == n
    assert after["bytes_in"] - before["bytes_in"] == 1
    assert after["left"]["full"] == before["left"].get("full", 0) + 1


def test_http_is_byte_exact(bypass, tmp_path):
    """curl and a web server, over both families, at once."""
    sizes = (1, 1000, 65536, 3_000_000)
    for size in sizes:
        (tmp_path / str(size)).write_bytes(os.urandom(size))
    server = subprocess.Popen(
        bypass.ns.command(sys.executable, "-c", SERVER, tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, preexec_fn=bypass.cgroup.enter)
    before = bypass.rules()["all"]
    try:
        port = server.stdout.readline().strip()
        wrong = []

        def fetch(address, size):
            for _ in range(5):
                got = subprocess.run(
                    bypass.ns.command("curl", "-sS", "-m", "20",
                                      f"http://{address}:{port}/{size}"),
                    capture_output=True, preexec_fn=bypass.cgroup.enter)
                if got.stdout != (tmp_path / str(size)).read_bytes():
                    wrong.append((address, size, len(got.stdout), got.stderr))

        threads = [threading.Thread(target=fetch, args=(a, s))
                   for a in (HERE4, f"[{HERE6}]") for s in sizes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    after = lab.wait_for("all connections to end", lambda: (
        r if (r := bypass.rules()["all"])["live"] == 0 else None))
    assert after["joined"] - before["joined"] == 40
    assert after["bypass_bytes_out"] > before["bypass_bytes_out"]
    # The bodies, and headers.
    assert after["bytes_in"] - before["bytes_in"] > 10 * sum(sizes)


def test_who_is_not_meant_is_left_alone(bypass):
    before = bypass.rules()["all"]
    with bypass.pair(cgroup=None) as p:
        assert p("echo(10)") == 10
        after = bypass.rules()["all"]
        assert after["hits"] == before["hits"] and after["joined"] == before["joined"]


# One end of a connection each.
LISTENER = f"""
import socket
l = socket.create_server(("{HERE4}", 0))
print(l.getsockname()[1], flush=True)
c, _ = l.accept()
for _ in range(100):
    c.sendall(c.recv(3, socket.MSG_WAITALL)[::-1])
assert not c.recv(1)
"""
INITIATOR = f"""
import socket, sys
s = socket.create_connection(("{HERE4}", int(sys.argv[1])), 5)
for _ in range(100):
    s.sendall(b"abc")
    assert s.recv(3, socket.MSG_WAITALL) == b"cba"
print(s.getsockname()[1], flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("inside", ["initiator", "listener"])
def test_one_end_only(bypass, inside):
    """With the other end in no cgroup of ours the connection works, goes by TCP with every
    byte, and no socket of it is touched."""
    enter = lambda end: bypass.cgroup.enter if end == inside else None  # noqa: E731
    before = bypass.rules()["all"]
    command = bypass.ns.command(sys.executable, "-c", LISTENER)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          preexec_fn=enter("listener")) as listener:
        to = listener.stdout.readline().strip()
        command = bypass.ns.command(sys.executable, "-c", INITIATOR, to)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              preexec_fn=enter("initiator")) as initiator:
            port = int(initiator.stdout.readline())
            after = bypass.rules()["all"]
            seen = connections(bypass, port)
            initiator.stdin.close()
            assert initiator.wait(10) == 0
        assert listener.wait(10) == 0
    # It did come to the rule, where its initiator is in the cgroup, and was given up there.
    asked = 1 if inside == "initiator" else 0
    assert after["hits"] - before["hits"] == asked
    assert after["unpaired"] - before["unpaired"] == asked
    assert after["joined"] == before["joined"] and after["live"] == before["live"]
    assert len(seen) == 2
    for c in seen:
        assert (c["bytes_in"], c["bytes_out"]) == (300, 300) and "bypass_bytes_in" not in c


def connections(bypass, port):
    """Both ends of it as `weir tcp` has them, the initiator first."""
    found = json.loads(bypass.weir("tcp", "--once", "--json", "port", port).stdout)
    return sorted(found["connections"], key=lambda c: c["local_port"] != port)


@pytest.mark.parametrize("here", [HERE4, HERE6])
def test_tcp_is_not_blind(bypass, here):
    """`weir tcp` has what went by the bypass: what `weir bypass list` says, and both ends
    the same; the kernel's own TCP has none of it."""
    with bypass.pair(here=here) as p:
        assert p("echo(500)") == 500
        ours = bypass.connection("all", p.port)
        a, b = connections(bypass, p.port)
        assert (a["cookie"], b["cookie"]) == (ours["src_cookie"], ours["dst_cookie"])
        assert (a["bypass_bytes_out"], a["bypass_bytes_in"]) == (4000, 3500)
        assert (b["bypass_bytes_out"], b["bypass_bytes_in"]) == (3500, 4000)
        for c in (a, b):
            assert (c["bytes_out"], c["bytes_in"]) == (c["bypass_bytes_out"],
                                                       c["bypass_bytes_in"])
            assert c["bytes_sent"] == c["data_segments_in"] == 0
        table = bypass.weir("tcp", "--once", "port", p.port).stdout
        assert len(re.findall(r"established, bypass .* 3\.50k +4\.00k|"
                              r"established, bypass .* 4\.00k +3\.50k", table)) == 2
        sums = json.loads(bypass.weir("tcp", "--once", "--json", "--by", "host", "port",
                                      p.port).stdout)["hosts"]
        assert [(s["host"], s["bytes_in"], s["bypass_bytes_in"], s["bypass_bytes_out"])
                for s in sums] == [(here, 7500, 7500, 7500)]
        series = prometheus.parse(bypass.weir("tcp", "--prometheus", "port",
                                              p.port).stdout, "weir_tcp_")
        for way in ("in", "out"):
            for name in ("weir_tcp_bytes", "weir_tcp_bypass_bytes"):
                assert prometheus.value(series, name, direction=way) == 7500
        # What TCP carries comes on top.
        n, digest = p("fill()")
        assert p(f"drain({n})") == (0, digest)
        a, b = connections(bypass, p.port)
        assert a["bytes_out"] == b["bytes_in"] == 4000 + n
        assert 4000 < a["bypass_bytes_out"] == b["bypass_bytes_in"] < 4000 + n


def test_watch_is_not_blind(bypass):
    """`weir watch --flows` has them beside the packets of handshake and end: while the
    connection lives, and all of them once it has ended."""
    watch = lab.Watch("-i", "lo", "--flows", "--json", "--stats", "json", "tcp", ns=bypass.ns)
    with bypass.pair() as p, bypass.pair() as q:
        ports = {p.port: 7500, q.port: 150}
        assert p("echo(500)") == 500 and q("echo(10)") == 10
        watch.wait_seen(6)
        # It looks once a second: at connections that are there then.
        time.sleep(5)
        p("a.close()")
        watch.stop()
    flows = {f["src_port"]: f for f in watch.json if f.get("src_port") in ports}
    assert {port: f.get("bypass_bytes") for port, f in flows.items()} == ports
    for f in flows.values():
        assert f["bytes"] < 2000 and not f.get("initiator_guessed")


def test_tcp_tells_it_at_the_end(bypass):
    """Whoever closes first: the close event of either end has all of its bytes."""
    watch = subprocess.Popen(
        bypass.ns.command(lab.WEIR, "tcp", "--events", "close", "--json", "--for", "30s",
                          "--local-ip", "127.0.0.1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "listening" in watch.stderr.readline()
        ports = []
        for last in ("a.close()", "b.close()"):
            with bypass.pair() as p:
                ports.append(p.port)
                assert p("echo(100)") == 100
                # Unread when its writer goes.
                assert p("a.send(b'x' * 50)") == 50
                p(last)
        events = []
        while len(events) < 4:
            e = json.loads(watch.stdout.readline())
            if {e["local_port"], e["remote_port"]} & set(ports):
                events.append(e)
    finally:
        watch.terminate()
        watch.communicate(timeout=lab.PATIENCE)
    for e in events:
        out, in_ = (850, 700) if e["initiator"] == "local" else (700, 850)
        assert (e["bypass_bytes_out"], e["bypass_bytes_in"]) == (out, in_)
        # TCP's own counter has the peer's FIN too.
        assert e["bytes_out"] == out and e["bytes_in"] - in_ in (0, 1)


def test_tcp_keeps_what_it_has_shown(bypass):
    """A rule that goes takes its account along; a connection's bytes never become fewer."""
    bypass.on("short", "--dst-port", "1-65535")
    bypass("off", "all")
    try:
        with bypass.pair() as p:
            assert p("echo(10)") == 10
            watch = subprocess.Popen(
                bypass.ns.command(lab.WEIR, "tcp", "--json", "--interval", "100ms", "--for",
                                  "30s", "--local-port", str(p.port)),
                stdout=subprocess.PIPE, text=True)
            try:
                assert json.loads(watch.stdout.readline())["bytes_out"] == 80
                bypass("off", "short")
                assert p("echo(10)") == 10
                for line in watch.stdout:
                    now = json.loads(line)
                    assert now["bytes_out"] >= 80 and now["bypass_bytes_out"] == 80
                    if now["bytes_out"] == 160:
                        break
            finally:
                watch.terminate()
                watch.communicate(timeout=lab.PATIENCE)
    finally:
        bypass.on("all")


def test_another_cgroup_program_stays(bypass):
    """A second rule on the same cgroup: whoever comes first has the sockets."""
    bypass.on("second", "--dst-port", "1-65535")
    try:
        with bypass.pair() as p:
            assert p("echo(10)") == 10
            rules = bypass.rules()
            assert rules["all"]["live"] == 1 and rules["second"]["live"] == 0
            assert rules["second"]["refused"]["sockmap"] >= 1
    finally:
        bypass("off", "second")
    assert list(bypass.rules()) == ["all"]


def test_off_lets_live_connections_finish(bypass):
    bypass.on("short", "--dst-port", "1-65535")
    bypass("off", "all")
    try:
        with bypass.pair() as p, bypass.pair() as stopped:
            assert p("echo(10)") == 10
            assert bypass.rules()["short"]["live"] == 2
            # Unread bytes lie in the queue when the rule goes.
            assert stopped("a.send(b'x' * 5000)") == 5000
            done = bypass("off", "short")
            assert "2 connections go on by TCP" in done.stderr
            assert bypass.rules() == {}
            sniffer = bypass.ns.packet_socket("lo", lab.ETH_P_ALL)
            assert p("echo(10)") == 10
            assert sniffer.recv(2048)
            sniffer.close()
            assert stopped("a.send(b'y' * 5000)") == 5000
            assert stopped("drain(10000)") == (
                0, hashlib.sha256(b"x" * 5000 + b"y" * 5000).hexdigest())
        with bypass.pair() as p:
            assert p("echo(10)") == 10
    finally:
        bypass.on("all")


def test_unload(bypass):
    """The same, by the verb that removes everything."""
    with bypass.pair() as p:
        assert p("a.send(b'x' * 5000)") == 5000
        assert "rules/all/link" in bypass.weir("unload", "bypass").stdout
        assert bypass.rules() == {}
        assert p("a.send(b'y' * 5000)") == 5000
        assert p("drain(10000)") == (0, hashlib.sha256(b"x" * 5000 + b"y" * 5000).hexdigest())


def test_killed_commands_leave_nothing_half(bypass):
    """`on` that is killed while it checks: no rule, and what it made goes with the next."""
    bypass("off")
    p = subprocess.Popen(
        bypass.ns.command(lab.WEIR, "bypass", "on", "killed", "--cgroup", bypass.cgroup.path,
                          "--force"), stderr=subprocess.DEVNULL)
    ours = lambda: [d for d in cgroup_root().glob("weir-bypass-*")  # noqa: E731
                    if re.search(r"-(\d+)$", d.name)[1] == str(p.pid)]
    lab.wait_for("the check to begin", ours)
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert "killed" not in bypass.rules()
    bypass.on("all")
    assert not ours()
    assert list(bypass.rules()) == ["all"]


def test_a_killed_change_is_whole_or_swept(bypass):
    """`on` in place of a rule, killed at any moment: the old rule or the new one is in force.
    What is being removed when a command is killed is in force no longer, and goes with the
    next one."""
    started = time.monotonic()
    bypass.on("all")
    whole = time.monotonic() - started
    for i in range(20):
        p = subprocess.Popen(
            bypass.ns.command(lab.WEIR, "bypass", "on", "all", "--dst-port", "1-65535", "--cgroup",
                              bypass.cgroup.path, "--force"), stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(whole * (i + 1) / 18)
        p.kill()
        p.wait()
        assert list(bypass.rules()) == ["all"]
    status = lambda: [o["name"] for o in json.loads(  # noqa: E731
        bypass.weir("bypass", "status", "--json").stdout)["pinned"]]
    path = bypass.ns.sh("sh", "-c", "echo /sys/fs/bpf/weir/*/bypass").stdout.strip()
    bypass.on("other")
    bypass.ns.sh("mv", f"{path}/rules/other", f"{path}/next")
    assert "next/link" in status()
    assert list(bypass.rules()) == ["all"]
    assert not [n for n in status() if n.startswith("next")]
    bypass.on("all")


def test_names_do_not_meet(bypass):
    """Whatever words are a part of them."""
    names = ["web", "web-new", "new", "next", "stop", "rules", "link"]
    try:
        for n in reversed(names):
            bypass.on(n)
        bypass.on("web")
        assert sorted(bypass.rules()) == sorted([*names, "all"])
        bypass("off", "web")
        assert sorted(bypass.rules()) == sorted([*names[1:], "all"])
    finally:
        for n in names:
            bypass("off", n, check=False)


class Deaf:
    """Somebody's sockops program that switches all callbacks of each socket off."""

    LOAD, ATTACH, DETACH = 5, 8, 9
    SOCK_OPS, CGROUP_SOCK_OPS, MULTI = 13, 3, 2
    CB_FLAGS_SET = 59

    def __init__(self, cgroup):
        insns = [(0xb7, 2, 0), (0x85, 0, self.CB_FLAGS_SET),  # r2 = 0, bpf_sock_ops_cb_flags_set()
                 (0xb7, 0, 1), (0x95, 0, 0)]                  # return 1
        code = ctypes.create_string_buffer(b"".join(
            struct.pack("<BBhi", op, dst, 0, imm) for op, dst, imm in insns))
        gpl = ctypes.create_string_buffer(b"GPL")
        self.cgroup = os.open(cgroup, os.O_RDONLY)
        self.prog = kernel.bpf(self.LOAD, "=IIQQIIQII16s", self.SOCK_OPS, len(insns),
                               ctypes.addressof(code), ctypes.addressof(gpl), 0, 0, 0, 0, 0,
                               b"deaf")
        kernel.bpf(self.ATTACH, "=IIII", self.cgroup, self.prog, self.CGROUP_SOCK_OPS, self.MULTI)

    def close(self):
        kernel.bpf(self.DETACH, "=IIII", self.cgroup, self.prog, self.CGROUP_SOCK_OPS, 0)
        os.close(self.prog)
        os.close(self.cgroup)


def test_an_end_that_is_not_told_of_is_found(bypass):
    """With the bytes of the connection, and while others go on."""
    bypass.on("all")
    deaf = Deaf(bypass.cgroup.path)
    try:
        with bypass.pair() as stays:
            assert stays("echo(3)") == 3
            with bypass.pair() as p:
                assert p("echo(10)") == 10
                assert bypass.rules()["all"]["live"] == 2
            rule = lab.wait_for("the end to be found", lambda: (
                r if (r := bypass.rules()["all"])["live"] == 1 else None))
            assert (rule["closed"], rule["bytes_out"], rule["bytes_in"]) == (1, 104, 91)
            assert stays("echo(3)") == 3
            assert bypass.rules()["all"]["bypass_bytes_out"] == 128
    finally:
        deaf.close()
        bypass.on("all")


@pytest.mark.parametrize("action", ["check", "bench"])
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_cgroup(host, action, sig):
    """In the middle, as Ctrl-C sends it: to the command and its children."""
    p = subprocess.Popen(host.ns.command(lab.WEIR, "bypass", action), stdout=subprocess.DEVNULL,
                         start_new_session=True)
    ours = lambda: (cgroup_root() / f"weir-bypass-{p.pid}").exists()  # noqa: E731
    lab.wait_for("it to begin", ours)
    os.killpg(p.pid, sig)
    assert p.wait(20) == -sig
    assert not ours()


def test_a_cgroup_that_goes_is_told(bypass):
    """The program stays with the sockets that it has, and counts them to their end."""
    other = Cgroup("b")
    bypass("on", "gone", "--cgroup", other.path, "--force")
    bypass("off", "all")
    with process(bypass.ns, other) as p:
        assert p("echo(10)") == 10
        assert bypass.rules()["gone"]["live"] == 1
        (bypass.cgroup.path / "cgroup.procs").write_text(str(p.p.pid))
        other.remove()
        assert p("echo(10)") == 10
    rule = lab.wait_for("the rule to be detached", lambda: (
        r if not (r := bypass.rules()["gone"])["attached"] else None))
    assert (rule["bytes_out"], rule["bytes_in"]) == (160, 140)
    assert rule["closed"] == 1 and rule["live"] == 0
    assert "(gone)" in bypass("list").stdout
    bypass.on("all")
    bypass("off", "gone")


def test_prometheus(bypass):
    """What list tells, rule by rule, as metrics; without rules that there are none."""
    with bypass.pair() as p:
        assert p("echo(10)") == 10
        rule = bypass.rules()["all"]
        series = prometheus.parse(bypass("list", "--prometheus").stdout, "weir_bypass_")

        def value(name, **labels):
            return prometheus.value(series, f"weir_bypass_{name}", **labels)

        assert value("rules") >= 1
        for key, name in (("hits", "matched_total"), ("joined", "joined_total"),
                          ("closed", "closed_total"), ("unpaired", "unpaired_total"),
                          ("live", "live")):
            assert value(f"rule_{name}", rule="all") == rule[key], name
        assert rule["live"] == 1 and rule["joined"] >= 1
        assert value("rule_attached", rule="all") == 1
        for way in ("out", "in"):
            for road in ("bypass", "tcp"):
                assert value("rule_bytes", rule="all", direction=way, road=road) == \
                    rule[f"{road}_bytes_{way}"]
        for reason in ("sockmap", "ulp", "mismatch", "no_room"):
            assert value("rule_refused_total", rule="all", reason=reason) == \
                rule["refused"].get(reason, 0)
        for reason in ("early", "full", "messages", "gone", "stopped"):
            assert value("rule_left_total", rule="all", reason=reason) == \
                rule["left"].get(reason, 0)
    bypass("off")
    try:
        series = prometheus.parse(bypass("list", "--prometheus").stdout, "weir_bypass_")
        assert series == {("weir_bypass_rules", ()): 0}
    finally:
        bypass.keep()
        bypass.on("all")


def test_bench_tells_of_all_three(host):
    roads = {r["name"]: r for r in json.loads(host("bench", "--json").stdout)["roads"]}
    assert list(roads) == ["tcp", "bypass", "unix"]
    for road in roads.values():
        assert 0 < road["p50_ns"] <= road["p99_ns"] <= road["p999_ns"]
        assert road["bytes_per_s_1k"] > 0 and road["bytes_per_s_64k"] > 0
