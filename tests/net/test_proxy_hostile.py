# SPDX-License-Identifier: GPL-2.0-only
"""Clients and backends that mean harm, or have broken down: each is counted for what it
did, nobody else waits for it, and nothing of it stays."""

import contextlib
import fcntl
import json
import math
import os
import random
import re
import socket
import struct
import termios
import threading
import time
from pathlib import Path

import pytest

import hellos
import lab
import proxies

LONG = os.environ.get("WEIR_LONG") == "1"
TIMES = 5 if LONG else 1
CLIENT, HERE = "10.77.0.1", "10.77.0.2"
TLS, HTTP, TRUST = 33443, 33080, 33444
ECHO, RESETTER, CLOSER, ANSWERER, SILENT, DEAD = range(33500, 33506)
ANSWER = b"no" * 50
HELLO_TIMEOUT = 2
MIB = 1 << 20
KERNEL_MOST = 16 * MIB  # of one connection whose reader has stopped
ENGINES = ["splice", "copy", "sockmap"]
SOURCES = 40
TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def place():
    """a has the clients, b the proxy and the backends."""
    proxies.raise_files()
    pair = lab.Pair(addresses=True, host=True)
    for ns in (pair.a, pair.b):
        with ns:
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 32000")
            Path("/proc/sys/net/core/somaxconn").write_text("8192")
    for i in range(SOURCES):
        pair.a.ip("addr", "add", f"10.77.9.{i + 1}/16", "dev", "va")
        pair.a.ip("addr", "add", f"fd77:0:0:{i + 1:x}::1/128", "dev", "va", "nodad")
    pair.a.ip("addr", "add", "fd77:0:0:1::2/128", "dev", "va", "nodad")
    pair.b.ip("route", "add", "fd77::/32", "dev", "vb")
    pair.echo = proxies.Echo(pair.b, HERE, ECHO)
    pair.more = [Rude(pair.b, RESETTER, reset=True), Rude(pair.b, CLOSER),
                 Rude(pair.b, ANSWERER, answers=True)]
    with pair.b:
        # Nobody accepts, and the queue is full at once: connecting to it never ends.
        pair.silent = socket.create_server((HERE, SILENT), backlog=0)
        pair.full = [socket.socket() for _ in range(4)]
    for s in pair.full:
        s.setblocking(False)
        s.connect_ex((HERE, SILENT))
    try:
        yield pair
    finally:
        for s in (pair.silent, *pair.full):
            s.close()
        for one in (pair.echo, *pair.more):
            one.close()
        pair.remove()


class Rude:
    """A backend that ends every connection as soon as it is there, or as it has said
    ANSWER to a hello that it has not read."""

    def __init__(self, ns, port, reset=False, answers=False):
        self.reset, self.answers = reset, answers
        with ns:
            self.listener = socket.create_server((HERE, port), backlog=4096)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                if self.answers:
                    s.recv(1)
                    s.sendall(ANSWER)
                if self.reset:
                    reset(s)
                s.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def config(place, engine="auto", **more):
    return json.dumps({
        "listen": [{"address": f"[::]:{TLS}", "backlog": 8192},
                   {"address": f"[::]:{HTTP}", "protocol": "http", "backlog": 8192},
                   {"address": f"[::]:{TRUST}", "accept_proxy": [CLIENT], "backlog": 8192}],
        "engine": engine,
        "workers": 2,
        "default": "alert",
        "actions": {"no_sni": "reset", "not_tls": "drop"},
        "log": str(place.directory / "log"),
        "drain": "1s",
        "routes": [{"match": f"{name}.test", "backends": [f"{HERE}:{port}"],
                    "connect_timeout": "300ms"}
                   for name, port in (("a", ECHO), ("resetter", RESETTER), ("closer", CLOSER),
                                      ("answerer", ANSWERER),
                                      ("silent", SILENT), ("dead", DEAD))],
        **more,
        "limits": {"connections": 10000, "hello_timeout": f"{HELLO_TIMEOUT}s",
                   **more.get("limits", {})},
    })


@pytest.fixture
def start(place):
    started = []
    with lab.public_dir() as place.directory:
        def begin(engine="auto", prefix=(), **more):
            started.append(proxies.Proxy(place.b, config(place, engine, **more), prefix=prefix))
            return started[-1]

        yield begin
        for proxy in started:
            proxy.remove()


# --- what is looked at --------------------------------------------------------------

def account(proxy):
    """The account, which keeps its law whenever it is looked at."""
    a = proxy.status()["account"]
    assert a["seen"] == a["passed"] + sum(a["dropped"].values()) + a["open"], a
    return a


def quiet(proxy):
    """The account when nobody is connected any more."""
    lab.wait_for(lambda: f"every connection to end: {proxy.status()}",
                 lambda: not proxy.status()["connections"] and not account(proxy)["open"])
    return account(proxy)


def counted(proxy, n, before=None):
    """How the last @n connections ended, of which @before knows nothing: {reason: n}."""
    before = before or {"seen": 0, "ended": {}}
    lab.wait_for(lambda: f"{n} connections to end: {before} {proxy.status()}",
                 lambda: quiet(proxy)["seen"] >= before["seen"] + n)
    ended = quiet(proxy)["ended"]
    told = {word: ended[word] - before["ended"].get(word, 0) for word in ended}
    assert sum(told.values()) == n, told
    return {word: n for word, n in told.items() if n}


def idle_files(proxy):
    """Its descriptors, but for the pipes that it keeps for the next connection."""
    return proxy.files() - 2 * sum(pool["pipes"] for pool in proxy.status()["pools"])


def cpu_seconds(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


def check_idle(proxy, seconds=1.0):
    """It does not spin: of a while without work it uses less than a twentieth. What it was
    told before may be done a little later."""
    def rests():
        begun, used = time.monotonic(), cpu_seconds(proxy.pid)
        time.sleep(seconds)
        used = cpu_seconds(proxy.pid) - used
        return used < 0.05 * (time.monotonic() - begun) + 1 / TICK
    lab.wait_for("it to rest", rests)


def memory(pid):
    """Of its own, in bytes: what nobody shares."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(line.split()[1]) for line in told.splitlines()
                      if line.startswith(("Private_Clean:", "Private_Dirty:")))


def check_log(place, a):
    """A line for each connection, with the reason that was counted."""
    path, ended = place.directory / "log", {}
    lab.wait_for(lambda: f"{a['seen']} lines",
                 lambda: path.read_bytes().count(b"\n") >= a["seen"])
    for line in path.read_text().splitlines():
        reason = json.loads(line)["reason"]
        ended[reason] = ended.get(reason, 0) + 1
    assert ended == {word: n for word, n in a["ended"].items() if n}


# --- clients --------------------------------------------------------------------------

def connect(place, port=TLS, source=None, seconds=lab.PATIENCE):
    ipv6 = source and ":" in source
    with place.a:
        s = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
    s.settimeout(seconds)
    if source:
        s.bind((source, 0))
    s.connect(("fd77::2" if ipv6 else HERE, port))
    return s


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def say(s, data):
    """Who is refused in the middle of it has said enough."""
    with contextlib.suppress(ConnectionError):
        s.sendall(data)


def outlive(s):
    """Wait for the proxy to end it; what it said."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := s.recv(65536):
            got += part
    s.close()
    return got


def polite(place):
    """How long somebody with manners waits for an answer."""
    begun = time.monotonic()
    proxies.Client(place.a, HERE, TLS).close()
    return time.monotonic() - begun


HELLO = proxies.hello("a.test")
HUGE = hellos.records(b"\1\xff\xff\xff" + bytes(20000))
ENDLESS = hellos.records(b"\1\1\0\0" + bytes(70000))
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def garbage(chance):
    """Bytes that are no TLS from the first one on."""
    data = chance.randbytes(1 + chance.randrange(5000))
    return bytes([data[0] if data[0] != 22 else 23]) + data[1:]


# What it says, to which listener, and what it is counted as. All of them leave the end to
# the proxy.
SAID = {
    "garbage": (TLS, garbage, "not_tls"),
    "64_kib_of_nothing": (TLS, lambda _: bytes(65536), "not_tls"),
    "http_to_tls": (TLS, lambda _: b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "not_tls"),
    "declares_16_mb": (TLS, lambda _: HUGE, "hello_too_long"),
    "never_ends": (TLS, lambda _: ENDLESS, "hello_too_long"),
    "empty_records": (TLS, lambda _: b"\x16\3\1\0\0" * 14000, "malformed"),
    "server_hello": (TLS, lambda _: hellos.records(b"\2\0\0\4abcd"), "malformed"),
    "garbage_hello": (TLS, lambda c: hellos.records(b"\1\0\1\0" + c.randbytes(256)), "malformed"),
    "half_a_hello": (TLS, lambda c: HELLO[:1 + c.randrange(len(HELLO) - 1)], "hello_timeout"),
    "no_sni": (TLS, lambda _: hellos.records(hellos.message()), "no_sni"),
    "unknown_name": (TLS, lambda _: proxies.hello("who.test"), "no_match"),
    "dead_backend": (TLS, lambda _: proxies.hello("dead.test"), "connect"),
    "silent_backend": (TLS, lambda _: proxies.hello("silent.test"), "connect_timeout"),
    "tls_to_http": (HTTP, lambda _: HELLO, "not_tls"),
    "http_garbage": (HTTP, lambda _: b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", "malformed"),
    "two_hosts": (HTTP, lambda _: b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
                  "malformed"),
    "endless_head": (HTTP, lambda _: b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 9000,
                     "hello_too_long"),
    "half_a_head": (HTTP, lambda _: b"GET / HTTP/1.1\r\nHost: a.te", "hello_timeout"),
    "no_header": (TRUST, lambda _: HELLO, "bad_proxy_header"),
    "header_garbage": (TRUST, lambda c: b"PROXY TCP4 " + c.randbytes(200).replace(b"\r", b"x"),
                       "bad_proxy_header"),
    "header_without_end": (TRUST, lambda _: b"PROXY TCP6 " + b"f" * 200, "bad_proxy_header"),
    "long_v2": (TRUST, lambda _: V2 + b"\x21\x11\xff\xff" + bytes(65535), "bad_proxy_header"),
    "short_v2": (TRUST, lambda _: V2 + b"\x21\x11\0\4" + bytes(4), "bad_proxy_header"),
    "half_a_header": (TRUST, lambda _: V2 + b"\x21\x11\0\x0c\1\2", "hello_timeout"),
    "header_and_garbage": (TRUST, lambda _: b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nnonsense",
                           "not_tls"),
}


def abuse(place, each, seed):
    """@each times every one of SAID; {reason: n} as it must be counted."""
    chance, expected, held = random.Random(seed), {}, []
    for port, make, reason in SAID.values():
        for _ in range(each):
            held.append(connect(place, port))
            say(held[-1], make(chance))
        expected[reason] = expected.get(reason, 0) + each
    for s in held:
        outlive(s)
    return expected


def test_everything_is_counted_for_what_it_is(place, start):
    proxy = start()
    seed = random.randrange(1 << 32)
    files = idle_files(proxy)
    expected = abuse(place, 20 * TIMES, seed)
    assert counted(proxy, sum(expected.values())) == expected, seed
    polite(place)
    # Again, and with what malloc has now it must do.
    kept = memory(proxy.pid)
    abuse(place, 20 * TIMES, seed)
    counted(proxy, 2 * sum(expected.values()) + 1)
    assert memory(proxy.pid) < kept + 2 * MIB, (memory(proxy.pid), kept)
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    check_idle(proxy)
    check_log(place, quiet(proxy))
    proxy.stop()


@pytest.mark.parametrize("kind", SAID)
def test_each_alone(place, start, kind):
    """What it is told, and how it is logged."""
    port, make, reason = SAID[kind]
    proxy = start(limits={"hello_timeout": "300ms"})
    s = connect(place, port)
    say(s, make(random.Random(kind)))
    answer = outlive(s)
    assert counted(proxy, 1) == {reason: 1}
    if reason == "no_match":
        assert answer == b"\x15\3\3\0\2\2\x70", answer
    else:
        assert not answer, answer
    proxy.stop()


def test_reset_storm(place, start):
    proxy = start()
    files = idle_files(proxy)
    for data in (b"", HELLO[:40], HELLO, HELLO + bytes(3000)):
        before, n = account(proxy), 2000 * TIMES
        for _ in range(n):
            s = connect(place)
            if data:
                s.send(data)
            reset(s)
        allowed = {"client_gone"} | ({"client_reset"} if len(data) >= len(HELLO) else set())
        assert set(counted(proxy, n, before)) <= allowed
        polite(place)
        counted(proxy, n + 1, before)
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    check_idle(proxy)
    proxy.stop()


def test_silent_ends(place, start):
    """Connected and closed, or half closed, without a byte."""
    proxy, n = start(), 1000 * TIMES
    for _ in range(n):
        connect(place).close()
    held = [connect(place) for _ in range(100)]
    for s in held:
        s.shutdown(socket.SHUT_WR)
        assert outlive(s) == b""
    assert counted(proxy, n + 100) == {"client_gone": n + 100}
    proxy.stop()


def test_half_closed_at_once(place, start):
    """A client that has no more to say than its hello still gets its answer."""
    proxy = start()
    for _ in range(100):
        s = connect(place)
        s.sendall(HELLO)
        s.shutdown(socket.SHUT_WR)
        assert outlive(s) == HELLO
    assert counted(proxy, 100) == {"done": 100}
    proxy.stop()


def test_rude_backends(place, start):
    """A reset is handed on as one, once a byte went to the backend; an end as an end."""
    proxy, n = start(), 300

    def ends(name):
        """How many of @n clients saw a reset."""
        resets = 0
        for _ in range(n):
            s = connect(place)
            s.sendall(proxies.hello(name))
            try:
                assert s.recv(1) == b""
            except ConnectionError:
                resets += 1
            s.close()
        return resets

    resets = ends("resetter.test")
    told = counted(proxy, n)
    assert set(told) <= {"backend_reset", "connect"} and told["backend_reset"] == resets, told
    before = account(proxy)
    resets = ends("closer.test")
    told = counted(proxy, n, before)
    # The hello that it did not read, the backend's kernel answers with a reset, of which
    # a client that has seen the end before need not hear.
    assert set(told) <= {"done", "backend_reset", "connect"}, told
    assert told.get("backend_reset", 0) >= resets, (told, resets)
    check_idle(proxy)
    proxy.stop()


@pytest.mark.parametrize("engine", ENGINES)
def test_last_word_before_a_reset(place, start, engine):
    """A backend answers, and closes with the rest of what it was sent unread: the client
    gets the answer, and then the reset, as it would without a proxy."""
    proxy, n = start(engine), 200
    for _ in range(n):
        s = connect(place)
        s.sendall(proxies.hello("answerer.test"))
        assert s.recv(100, socket.MSG_WAITALL) == ANSWER
        with pytest.raises(ConnectionError):
            s.recv(1)
        s.close()
    assert counted(proxy, n) == {"backend_reset": n}
    proxy.stop()


def test_gone_while_it_is_connected(place, start):
    """The client resets while its backend is being waited for."""
    proxy = start()
    files = idle_files(proxy)
    for _ in range(200):
        s = connect(place)
        s.sendall(proxies.hello("silent.test"))
        reset(s)
    told = counted(proxy, 200)
    assert set(told) <= {"client_gone", "connect_timeout"} and told["client_gone"] > 100, told
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    proxy.stop()


@pytest.mark.parametrize("port", [TLS, HTTP])
def test_drippers(place, start, port):
    """A byte now and then keeps nobody beyond the deadline, and nobody else waiting."""
    n = 1000
    drip = HELLO + bytes(1000) if port == TLS else b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100
    proxy = start()
    files, kept = idle_files(proxy), memory(proxy.pid)
    held = {connect(place, port): 0 for _ in range(n)}
    for s in held:
        s.setblocking(False)
    end, waits, ended, at = time.monotonic() + lab.PATIENCE, [], 0, 0
    while held and time.monotonic() < end:
        for s in list(held):
            try:
                # Slow enough that none gets to its end.
                if at < 100:
                    s.send(drip[at:at + 1])
                if s.recv(1) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except ConnectionError:
                del held[s]
                s.close()
                ended += 1
        at += 1
        if len(waits) < 20:
            waits.append(polite(place))
        time.sleep(0.05)
    assert not held and ended == n
    assert sorted(waits)[len(waits) // 2] < 1, waits
    # The polite ones close when they have their answer.
    told = counted(proxy, n + len(waits))
    assert told["hello_timeout"] == n, told
    # None took as much as the longest hello that is read.
    assert memory(proxy.pid) < kept + n * 65536, (kept, memory(proxy.pid))
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    check_idle(proxy)
    proxy.stop()


def test_who_does_not_take_its_alert(place, start):
    """Neither one that never reads it, nor one that talks on, is waited for long."""
    proxy = start()
    files = idle_files(proxy)
    deaf = []
    for _ in range(300):
        s = connect(place)
        s.sendall(proxies.hello("who.test"))
        deaf.append(s)
    for _ in range(20):
        s = connect(place)
        say(s, proxies.hello("who.test"))
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                s.send(bytes(65536))
        s.close()
    assert counted(proxy, 320) == {"no_match": 320}
    for s in deaf:
        assert outlive(s) == b"\x15\3\3\0\2\2\x70"
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    check_idle(proxy)
    proxy.stop()


def test_no_descriptors(place, start):
    """All are in use: who comes is refused and counted, who is there goes on, and nothing
    spins; then there are some again."""
    proxy = start(prefix=("prlimit", "--nofile=120"))
    files = idle_files(proxy)
    live = [proxies.Client(place.a, HERE, TLS) for _ in range(10)]
    held = [connect(place) for _ in range(400)]
    for s in held[200:]:
        say(s, HELLO)
    lab.wait_for("them to be refused", lambda: proxy.dropped().get("no_descriptors", 0) > 100)
    for client in live:
        client.say(os.urandom(300000))
    # Those that wait for their hello hold descriptors until then; refusing goes on.
    lab.wait_for("the silent ones to be timed out", lambda: proxy.dropped().get("hello_timeout"))
    check_idle(proxy)
    for s in held:
        s.close()
    lab.wait_for("service as before", lambda: proxies.reaches(place.a, HERE, TLS, seconds=2))
    for client in live:
        client.say(b"still")
        client.close()
    after = quiet(proxy)
    assert set(after["ended"]) <= {"done", "client_gone", "client_reset", "hello_timeout",
                                   "no_descriptors"}, after
    lab.wait_for("the descriptors", lambda: idle_files(proxy) == files)
    check_log(place, after)
    proxy.stop()


# --- who does not read --------------------------------------------------------------------

def socket_memory(ns, port):
    """Of the kernel's buffers for sockets of @ns that have @port at either end."""
    told = ns.sh("ss", "-Htnm", f"( sport = :{port} or dport = :{port} )").stdout
    total = 0
    for words in re.findall(r"skmem:\(([^)]*)\)", told):
        fields = dict(re.match(r"([a-z]+)(\d+)", w).groups() for w in words.split(","))
        # "t" is what of "w" is on its way; "f", what is kept ready, may be less than nothing.
        kept = int(fields["f"])
        total += sum(int(fields[k]) for k in ("r", "w", "o", "bl"))
        total += kept if kept < 1 << 31 else kept - (1 << 32)
    return total


def tcp_pages(ns):
    told = ns.sh("cat", "/proc/net/sockstat").stdout
    return int(re.search(r"^TCP:.* mem (\d+)", told, re.M)[1]) * os.sysconf("SC_PAGE_SIZE")


def queued(s, request):
    return struct.unpack("i", fcntl.ioctl(s, request, bytes(4)))[0]


class Push(threading.Thread):
    """Sends for some seconds what may be sent, and knows what must come of it."""

    def __init__(self, s, seconds):
        super().__init__(daemon=True)
        self.s, self.seconds, self.sent, self.got = s, seconds, 0, 0
        self.pattern = random.Random(7).randbytes(MIB)
        self.start()

    def run(self):
        end = time.monotonic() + self.seconds
        self.s.setblocking(False)
        while time.monotonic() < end:
            at = self.sent % MIB
            try:
                self.sent += self.s.send(self.pattern[at:])
            except BlockingIOError:
                time.sleep(0.001)
        self.s.setblocking(True)
        self.s.shutdown(socket.SHUT_WR)

    def read(self, s):
        """Some of it at the other end; False: it was the end."""
        part = s.recv(MIB - self.got % MIB)
        at = self.got % MIB
        assert part == self.pattern[at:at + len(part)], self.got
        self.got += len(part)
        return bool(part)


@pytest.mark.parametrize("stalled", ["backend", "client"])
@pytest.mark.parametrize("engine", ENGINES)
def test_stalled(place, start, engine, stalled):
    """What the kernel and the proxy hold for a reader that has stopped is bounded, and
    arrives when it goes on."""
    proxy = start(engine, routes=[{"match": "a.test", "backends": [f"{CLIENT}:{ECHO}"]}])
    with place.a:
        listener = socket.create_server((CLIENT, ECHO))
    with listener:
        s = connect(place)
        s.sendall(HELLO)
        backend, _ = listener.accept()
    # The engine is at work before it begins.
    for data, one, other in ((HELLO, None, backend), (b"well", backend, s), (b"so", s, backend)):
        if one:
            one.sendall(data)
        assert other.recv(len(data), socket.MSG_WAITALL) == data
    source, sink = (s, backend) if stalled == "backend" else (backend, s)
    kept, pages = memory(proxy.pid), tcp_pages(place.b)
    push = Push(source, 4)
    sink.settimeout(lab.PATIENCE)
    # At full speed at first, so that the kernel makes its buffers large.
    fast = time.monotonic() + 1
    while time.monotonic() < fast:
        assert push.read(sink)
    most = 0
    while push.is_alive():
        most = max(most, socket_memory(place.b, TLS) + socket_memory(place.b, ECHO)
                   + memory(proxy.pid) - kept)
        inside = push.sent - push.got - queued(source, termios.TIOCOUTQ) \
            - queued(sink, termios.FIONREAD)
        most = max(most, inside)
        time.sleep(0.1)
    print(f"{engine}, {stalled} stalled behind {push.got} bytes: {most} in and for the proxy, "
          f"TCP {tcp_pages(place.b) - pages} more on this host")
    assert push.sent > push.got and most < KERNEL_MOST, most
    while push.read(sink):
        pass
    assert push.got == push.sent
    s.close()
    backend.close()
    assert counted(proxy, 1) == {"done": 1}
    proxy.stop()


# --- limits ---------------------------------------------------------------------------------

def served(place, source=None):
    """The client, or None: refused."""
    with contextlib.suppress(ConnectionError):
        s = connect(place, source=source)
        s.sendall(HELLO)
        if s.recv(1) == b"\x16":
            return s
    return None


def test_limit_of_connections(place, start):
    proxy, n = start(limits={"connections": 60}), 60
    sources = [f"10.77.9.{i + 1}" for i in range(SOURCES)]
    for again in range(1, 4):
        held = [served(place, sources[i % SOURCES]) for i in range(n)]
        assert all(held)
        assert not any(served(place, sources[i % SOURCES]) for i in range(30))
        # As many as go may come.
        for s in held[:7]:
            s.close()
        lab.wait_for("them to be gone", lambda: proxy.status()["connections"] == n - 7)
        held[:7] = [served(place) for _ in range(7)]
        assert all(held[:7]) and not any(served(place) for _ in range(5))
        for s in held:
            s.close()
        assert counted(proxy, again * (n + 42))["limit_connections"] == 35 * again
    proxy.stop()


def test_limit_of_a_source(place, start):
    proxy = start(limits={"per_source": 5})
    held = []
    for i in range(SOURCES):
        for source in (f"10.77.9.{i + 1}", f"fd77:0:0:{i + 1:x}::1"):
            mine = [served(place, source) for _ in range(9)]
            assert [bool(s) for s in mine] == [True] * 5 + [False] * 4
            held += mine[:5]
    # An IPv6 source is its /64.
    assert not served(place, "fd77:0:0:1::2")
    lab.wait_for("the account",
                 lambda: proxy.dropped().get("limit_per_source") == 2 * SOURCES * 4 + 1)
    for s in held[:5]:
        s.close()
    lab.wait_for("them to be gone", lambda: proxy.status()["connections"] == len(held) - 5)
    again = [served(place, "10.77.9.1") for _ in range(6)]
    assert [bool(s) for s in again] == [True] * 5 + [False]
    for s in held[5:] + again[:5]:
        s.close()
    quiet(proxy)
    proxy.stop()


def test_rate_of_a_source(place, start):
    """Never more than the burst and what has come back since."""
    rate, burst = 2, 8
    proxy = start(limits={"source_rate": f"{rate}/s", "source_burst": burst})
    total = 0
    for i in range(10):
        begun = time.monotonic()
        passed = 0
        for _ in range(20):
            s = served(place, f"10.77.9.{i + 1}")
            if s:
                passed += 1
                s.close()
        most = burst + math.ceil((time.monotonic() - begun) * rate)
        assert burst <= passed <= most, (passed, most)
        total += passed
    assert counted(proxy, 10 * 20)["limit_rate"] == 10 * 20 - total
    # Who waits has its burst again.
    time.sleep(burst / rate + 0.5)
    assert all(served(place, "10.77.9.1") for _ in range(burst))
    proxy.stop()


def test_limits_under_a_storm(place, start):
    """From many sources and by several threads at once: never one too many, and every
    refusal is counted."""
    proxy = start(limits={"per_source": 3, "connections": 100})
    refused, held, lock = [0], [], threading.Lock()

    def storm(which):
        chance = random.Random(which)
        for _ in range(150):
            s = served(place, f"10.77.9.{1 + chance.randrange(SOURCES)}")
            with lock:
                if s:
                    held.append(s)
                else:
                    refused[0] += 1

    threads = [threading.Thread(target=storm, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    sources = [s.getsockname()[0] for s in held]
    assert len(held) == 100 and max(map(sources.count, sources)) == 3
    for s in held:
        s.close()
    told = counted(proxy, 600)
    assert refused[0] == 500 == told["limit_per_source"] + told["limit_connections"], told
    proxy.stop()
