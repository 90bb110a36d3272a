# SPDX-License-Identifier: GPL-2.0-only
"""`weir steer` on real sockets: TCP and UDP, IPv4 and IPv6, listeners that restart under
load, and connections that survive what becomes of the rules."""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import lab
import prometheus

HERE4, HERE6 = "127.0.0.1", "::1"

SERVER = """
import os, socket, sys
family, address, port, word = sys.argv[1:5]
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((address, int(port)))
s.listen(512)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall((word + " " + str(c.getsockname()[1])).encode())
    c.close()
"""


class Steer:
    """A namespace with its own bpffs, in which `weir steer` acts."""

    def __init__(self):
        self.ns = lab.Host(quiet=False)
        self.ns.ip("link", "set", "lo", "up")
        self.weir("unload", check=False)

    def weir(self, *words, check=True, **options):
        return self.ns.sh(lab.WEIR, *words, check=check, **options)

    def __call__(self, *words, **options):
        return self.weir("steer", *words, **options)

    def rules(self):
        return {r["name"]: r for r in json.loads(self("list", "--json").stdout)["rules"]}

    def account(self):
        return json.loads(self("list", "--json").stdout)["account"]

    @contextlib.contextmanager
    def server(self, port, word, address=HERE4):
        family = "6" if ":" in address else "4"
        p = subprocess.Popen(
            self.ns.command(sys.executable, "-c", SERVER, family, address, port, word),
            stdout=subprocess.PIPE, text=True)
        try:
            assert p.stdout.readline() == "ready\n"
            yield p
        finally:
            p.kill()
            p.wait()
            p.stdout.close()

    def socket(self, kind=socket.SOCK_STREAM, family=socket.AF_INET):
        with self.ns:
            s = socket.socket(family, kind)
        s.settimeout(lab.PATIENCE)
        return s

    def ask(self, port, address=HERE4):
        """What a server says to a new connection, or the error's number."""
        s = self.socket(family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            s.connect((address, port))
            return s.recv(100).decode()
        except OSError as e:
            return e.errno
        finally:
            s.close()

    def remove(self):
        self.weir("unload", check=False)
        self.ns.remove()


@pytest.fixture
def steer():
    s = Steer()
    try:
        yield s
    finally:
        s.remove()


def test_any_port_to_one_listener(steer):
    with steer.server(5201, "a"):
        assert steer.ask(5202) == errno.ECONNREFUSED
        steer("add", "demo", "--protocol", "tcp", "--dst-port", "5202",
              "--to", f"listen:{HERE4}:5201")
        assert steer.ask(5202) == "a 5202"
        assert steer.ask(5201) == "a 5201"
        steer("del", "demo")
        assert steer.ask(5202) == errno.ECONNREFUSED


def test_both_families_and_a_range(steer):
    with steer.server(5201, "a", "::"):
        steer("add", "wide", "--protocol", "tcp", "--dst-port", "6000-6999",
              "--to", "listen:[::]:5201")
        for port in (6000, 6500, 6999):
            assert steer.ask(port) == f"a {port}"
            assert steer.ask(port, HERE6) == f"a {port}"
        assert steer.ask(7000) == errno.ECONNREFUSED
        assert steer.account()["steered"] == 6
        assert steer.rules()["wide"]["hits"] == 6


def test_precedence(steer):
    with steer.server(5201, "a"), steer.server(5202, "b"), steer.server(5203, "c"):
        steer("add", "far", "--protocol", "tcp", "--dst-ip", "127.0.0.0/8", "--dst-port", "99",
              "--to", f"listen:{HERE4}:5201")
        steer("add", "near", "--protocol", "tcp", "--dst-ip", "127.5.0.0/16",
              "--to", f"listen:{HERE4}:5202")
        steer("add", "from", "--protocol", "tcp", "--dst-ip", "127.5.0.0/16", "--src-ip",
              "127.5.0.9", "--to", f"listen:{HERE4}:5203")
        assert steer.ask(99, "127.4.0.1") == "a 99"
        assert steer.ask(99, "127.5.0.1") == "b 99"
        s = steer.socket()
        s.bind(("127.5.0.9", 0))
        s.connect(("127.5.0.1", 99))
        assert s.recv(100) == b"c 99"
        s.close()


def test_group_spreads_and_heals(steer):
    with steer.server(5201, "a"):
        with steer.server(5202, "b") as b:
            steer("group", "pool", f"listen:{HERE4}:5201", f"listen:{HERE4}:5202")
            steer("add", "g", "--protocol", "tcp", "--dst-port", "99", "--to", "group:pool")
            said = [steer.ask(99) for _ in range(100)]
            assert {"a 99", "b 99"} == set(said)
            assert 20 <= said.count("a 99") <= 80
            b.kill()
            b.wait()
        # All go to the member that is left.
        assert {steer.ask(99) for _ in range(40)} == {"a 99"}


@pytest.mark.parametrize("on_miss", ["drop", "pass"])
def test_a_listener_that_is_gone(steer, on_miss):
    # On the port itself listens another one, which must not get what is dropped.
    with steer.server(99, "wrong"):
        with steer.server(5201, "a"):
            steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--on-miss", on_miss,
                  "--to", f"listen:{HERE4}:5201")
            assert steer.ask(99) == "a 99"
        expected = errno.ECONNREFUSED if on_miss == "drop" else "wrong 99"
        assert lab.wait_for("the listener to go", lambda: steer.ask(99) == expected)
        assert steer.rules()["r"]["misses"] >= 1
        done = steer("register", "r", check=False)
        assert done.returncode == 1 and "no tcp socket listens" in done.stderr
        with steer.server(5201, "again"):
            steer("register", "r")
            assert steer.ask(99) == "again 99"
    account = steer.account()
    assert account["seen"] == account["passed"] + account["steered"] + sum(
        account["dropped"].values())


def test_restart_under_load(steer):
    """Whatever is answered is answered by the right listener."""
    said, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            said.append(steer.ask(99))

    with steer.server(99, "wrong"):
        server = contextlib.ExitStack()
        server.enter_context(steer.server(5201, "v0"))
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to", f"listen:{HERE4}:5201")
        # Namespaces belong to threads.
        threads = [threading.Thread(target=load) for _ in range(2)]
        for t in threads:
            t.start()
        for i in range(1, 6):
            server.close()
            server.enter_context(steer.server(5201, f"v{i}"))
            steer("register", "r")
            before = len(said)
            lab.wait_for("connections", lambda: f"v{i} 99" in said[before:])
        stop.set()
        for t in threads:
            t.join()
        server.close()
    answered = [s for s in said if isinstance(s, str) and s]
    assert len(answered) > 20
    assert "wrong 99" not in said
    assert {s.split()[0] for s in answered} <= {f"v{i}" for i in range(6)}


def test_connections_survive(steer):
    listener = steer.socket()
    listener.bind((HERE4, 5201))
    listener.listen(8)
    steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to",
          f"pid:{os.getpid()}/fd:{listener.fileno()}")
    a = steer.socket()
    a.connect((HERE4, 99))
    b, _ = listener.accept()
    for undo in (["steer", "del", "r"], ["unload"]):
        steer.weir(*undo)
        a.sendall(b"still here")
        assert b.recv(100) == b"still here"
        b.sendall(b"and back")
        assert a.recv(100) == b"and back"
    listener.close()
    a.sendall(b"x")
    assert b.recv(1) == b"x"
    a.close()
    b.close()


def udp(steer, family, address, port):
    s = steer.socket(socket.SOCK_DGRAM, family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    return s


@pytest.mark.parametrize("family,address", [(socket.AF_INET, "127.7.7.7"),
                                            (socket.AF_INET6, HERE6)])
def test_udp_reply_comes_from_the_right_address(steer, family, address):
    """With the port as it is, IP_PKTINFO gives a reply its source, for clients that are
    connected too."""
    v4 = family == socket.AF_INET
    server = udp(steer, family, "0.0.0.0" if v4 else "::", 53)
    other = udp(steer, family, address, 53)  # more specific: gets it without a rule
    if v4:
        level, name = socket.IPPROTO_IP, 8  # IP_PKTINFO
    else:
        level, name = socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO
    server.setsockopt(level, name, 1)
    steer("add", "r", "--protocol", "udp", "--dst-ip", address, "--dst-port", "53", "--to",
          f"pid:{os.getpid()}/fd:{server.fileno()}")
    for connect in (True, False):
        client = steer.socket(socket.SOCK_DGRAM, family)
        if connect:
            client.connect((address, 53))
            client.send(b"q")
        else:
            client.sendto(b"q", (address, 53))
        data, control, _, peer = server.recvmsg(100, 1000)
        assert data == b"q"
        info = [c[2] for c in control if c[0] == level][0]
        if v4:
            # struct in_pktinfo: the source is taken from ipi_spec_dst.
            info = bytes(4) + info[8:12] + bytes(4)
        server.sendmsg([b"r"], [(level, 8 if v4 else socket.IPV6_PKTINFO, info)], 0, peer)
        got, source = client.recvfrom(100)
        assert got == b"r" and source[:2] == (address, 53)
        client.close()
    other.close()
    server.close()


def test_udp_of_another_port_is_answered_from_the_sockets_own(steer):
    """What sk_lookup cannot change: a reply's source port. A socket bound to the original
    address answers rightly."""
    server = udp(steer, socket.AF_INET, HERE4, 5300)
    server.setsockopt(socket.IPPROTO_IP, 20, 1)  # IP_RECVORIGDSTADDR
    steer("add", "r", "--protocol", "udp", "--dst-port", "53", "--to",
          f"listen:{HERE4}:5300")
    client = steer.socket(socket.SOCK_DGRAM)
    client.sendto(b"q", (HERE4, 53))
    _, control, _, peer = server.recvmsg(100, 1000)
    original = [c[2] for c in control if c[1] == 20][0]
    assert int.from_bytes(original[2:4], "big") == 53
    server.sendto(b"r", peer)
    assert client.recvfrom(100)[1] == (HERE4, 5300)
    answering = udp(steer, socket.AF_INET, HERE4, 53)
    answering.sendto(b"r", peer)
    assert client.recvfrom(100)[1] == (HERE4, 53)
    for s in (client, server, answering):
        s.close()


def test_ttl_ends_by_itself(steer):
    with steer.server(5201, "a"):
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--ttl", "6s",
              "--to", f"listen:{HERE4}:5201")
        assert steer.ask(99) == "a 99"
        lab.wait_for("its end", lambda: steer.ask(99) == errno.ECONNREFUSED)
        assert steer.rules() == {}


def test_asking_counts_nothing(steer):
    with steer.server(5201, "a"):
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to",
              f"listen:{HERE4}:5201")
        answer = json.loads(steer("test", "tcp", HERE4, f"{HERE4}:99", "--json").stdout)
        assert answer["verdict"] == "steer" and answer["rule"] == "r"
        assert answer["local_port"] == 5201
        who = json.loads(steer("who", "99", "--json").stdout)
        assert [(s["local_port"], s["rule"]) for s in who["sockets"]] == [(5201, "r")]
        assert who["sockets"][0]["cookie"] == answer["cookie"]
        assert steer.account()["seen"] == 0
    assert lab.wait_for("a drop", lambda: steer("test", "tcp", HERE4, f"{HERE4}:99",
                                                check=False).returncode == 4)


def test_apply_is_whole_or_not_at_all(steer, tmp_path):
    with steer.server(5201, "a"):
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to",
              f"listen:{HERE4}:5201")
        bad = tmp_path / "bad"
        bad.write_text(f"s: --protocol tcp --dst-port 98 --to listen:{HERE4}:5201\n"
                       "t: --protocol tcp --dst-port 97 --to nowhere\n")
        done = steer("apply", bad, check=False)
        assert done.returncode == 2 and f"{bad}:2: " in done.stderr and "nowhere" in done.stderr
        assert steer.ask(98) == errno.ECONNREFUSED and steer.ask(99) == "a 99"
        good = tmp_path / "good"
        good.write_text(bad.read_text().replace("nowhere", f"listen:{HERE4}:5201"))
        steer("apply", good)
        assert [steer.ask(p) for p in (97, 98, 99)] == ["a 97", "a 98", errno.ECONNREFUSED]
        saved = tmp_path / "saved"
        steer("save", saved)
        shown = steer("show").stdout
        steer("off")
        assert steer.ask(97) == errno.ECONNREFUSED
        steer("apply", saved)
        assert steer("show").stdout == shown


def test_killed_half_way(steer):
    """Either the old rules are in force or the new ones, and the next command works."""
    with steer.server(5201, "a"):
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to",
              f"listen:{HERE4}:5201")
        for i in range(12):
            p = subprocess.Popen(
                steer.ns.command(lab.WEIR, "steer", "add", f"k{i}", "--protocol", "tcp",
                                 "--dst-port", 200 + i, "--to", f"listen:{HERE4}:5201"),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(i * 0.01)
            p.send_signal(signal.SIGKILL)
            p.wait()
            assert steer.ask(99) == "a 99"
            there = f"k{i}" in steer.rules()
            assert steer.ask(200 + i) == (f"a {200 + i}" if there else errno.ECONNREFUSED)


def test_two_rules_and_a_member_that_is_missing(steer):
    """One member restarts while the other is down: it can be registered."""
    with steer.server(5201, "a"):
        with steer.server(5202, "b"):
            steer("group", "pool", f"listen:{HERE4}:5201", f"listen:{HERE4}:5202")
            steer("add", "g", "--protocol", "tcp", "--dst-port", "99", "--to", "group:pool")
    lab.wait_for("both to go", lambda: steer.rules()["g"]["sockets_present"] == 0)
    done = steer("register", "g", check=False)
    assert done.returncode == 1 and "rule g: no tcp socket listens" in done.stderr
    with steer.server(5202, "again"):
        done = steer("register", "g")
        assert "g: 1 new socket" in done.stderr
        assert f"no tcp socket listens on {HERE4}:5201" in done.stderr
        assert {steer.ask(99) for _ in range(20)} == {"again 99"}
        # The group may change meanwhile, and others of its rules.
        steer("group", "pool", f"listen:{HERE4}:5202", f"listen:{HERE4}:5203")
        assert {steer.ask(99) for _ in range(20)} == {"again 99"}


def test_a_flow_stays_with_its_member(steer):
    """Packets of one unconnected UDP client come to one socket of a group; those of one
    client to many addresses are spread."""
    with contextlib.ExitStack() as close:
        members = [close.enter_context(udp(steer, socket.AF_INET, HERE4, p))
                   for p in (5301, 5302)]
        steer("group", "pool", *(f"listen:{HERE4}:{p}" for p in (5301, 5302)))
        steer("add", "g", "--protocol", "udp", "--dst-port", "53", "--to", "group:pool")
        client = close.enter_context(steer.socket(socket.SOCK_DGRAM))

        def got(address):
            client.sendto(b"q", (address, 53))
            ready = []
            lab.wait_for("the packet", lambda: ready.extend(
                m for m in select.select(members, [], [], 0)[0]) or ready)
            assert len(ready) == 1
            ready[0].recv(10)
            return members.index(ready[0])

        assert len({got(HERE4) for _ in range(20)}) == 1
        assert {got(f"127.0.1.{i}") for i in range(40)} == {0, 1}


@pytest.mark.parametrize("v6only", [False, True])
def test_dual_stack(steer, v6only):
    """An IPv6 socket gets IPv4 packets, unless it says otherwise, which is told at once."""
    with contextlib.ExitStack() as close:
        server = close.enter_context(steer.socket(socket.SOCK_DGRAM, socket.AF_INET6))
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        server.bind(("::", 5300))
        words = ["add", "r", "--protocol", "udp", "--dst-port", "53", "--to", "listen:[::]:5300"]
        done = steer(*words, check=not v6only)
        if v6only:
            assert done.returncode == 1 and "takes IPv6 only" in done.stderr
            steer(*words, "--dst-ip", "::/0")
        for family, address, source in ((socket.AF_INET6, HERE6, HERE6),
                                        (socket.AF_INET, HERE4, "::ffff:" + HERE4)):
            client = close.enter_context(steer.socket(socket.SOCK_DGRAM, family))
            client.connect((address, 53))
            client.send(b"q")
            if family == socket.AF_INET and v6only:
                with pytest.raises(ConnectionRefusedError):
                    client.recv(10)
                continue
            assert server.recvfrom(10)[1][0] == source
        # Where no rule says anything, `test` knows who takes what.
        said = json.loads(steer("test", "udp", HERE4, f"{HERE4}:5300", "--json").stdout)
        assert ("cookie" in said) == (not v6only)


def test_a_connected_udp_socket_is_refused(steer):
    with steer.socket(socket.SOCK_DGRAM) as s:
        s.bind((HERE4, 5300))
        s.connect((HERE4, 9))
        done = steer("add", "r", "--protocol", "udp", "--dst-port", "53", "--to",
                     f"pid:{os.getpid()}/fd:{s.fileno()}", check=False)
        assert done.returncode == 1 and "is connected" in done.stderr


def test_a_descriptor_that_became_another_socket(steer):
    """What a descriptor was before gets nothing more, wherever in the slots it lay."""
    with contextlib.ExitStack() as close:
        old = []
        for _ in range(2):
            s = close.enter_context(steer.socket())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind((HERE4, 5201))
            s.listen(8)
            s.setblocking(False)
            old.append(s)
        new = steer.socket()
        new.bind((HERE4, 5202))
        new.listen(8)
        fd = os.dup(old[0].fileno())
        words = ["add", "r", "--protocol", "tcp", "--dst-port", "99", "--to",
                 f"pid:{os.getpid()}/fd:{fd}"]
        steer(*words)
        steer("register", "r")  # both of the old address
        os.dup2(new.fileno(), fd)
        steer(*words)
        client = steer.socket()
        client.connect((HERE4, 99))
        client.close()
        new.close()
        os.close(fd)
        lab.wait_for("the socket to go", lambda: steer.ask(99) == errno.ECONNREFUSED)
        for s in old:
            with pytest.raises(BlockingIOError):
                s.accept()


def test_a_manager_holds_the_socket(steer):
    """As a service manager does: it listens, its services come and go, and no connection
    is refused meanwhile."""
    with steer.socket() as listener:
        listener.bind((HERE4, 5201))
        listener.listen(64)
        steer("add", "r", "--protocol", "tcp", "--dst-port", "99", "--to", f"listen:{HERE4}:5201")
        for word in ("one", "two"):
            waiting = steer.socket()
            waiting.connect((HERE4, 99))  # nobody serves it yet
            service = subprocess.Popen(
                [sys.executable, "-c", "import socket, sys\n"
                 "s = socket.socket(fileno=int(sys.argv[1]))\n"
                 "c, _ = s.accept()\nc.sendall(sys.argv[2].encode())\n",
                 str(listener.fileno()), word], pass_fds=[listener.fileno()])
            assert waiting.recv(10).decode() == word
            waiting.close()
            assert service.wait(lab.PATIENCE) == 0
        assert steer.rules()["r"]["misses"] == 0


def test_commands_at_once(steer):
    with steer.server(5201, "a"):
        running = [subprocess.Popen(
            steer.ns.command(lab.WEIR, "steer", "add", f"r{i}", "--protocol", "tcp", "--dst-port",
                             str(100 + i), "--to", f"listen:{HERE4}:5201"))
            for i in range(8)]
        assert [p.wait(lab.PATIENCE) for p in running] == [0] * 8
        assert [steer.ask(100 + i) for i in range(8)] == [f"a {100 + i}" for i in range(8)]
        assert len(steer.rules()) == 8


def test_apply_under_load_is_never_half(steer, tmp_path):
    """Two files in turn, each of which sends both ports to one server: whoever asks both
    ports, one after the other, meets whole files only."""
    files = {}
    for word, port in (("a", 5201), ("b", 5202)):
        files[word] = tmp_path / word
        files[word].write_text("".join(
            f"r{i}: --protocol tcp --dst-port {i} --to listen:{HERE4}:{port}\n"
            for i in range(90, 110)))
    said, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            said.append(steer.ask(99))

    with steer.server(5201, "a"), steer.server(5202, "b"):
        steer("apply", files["a"])
        thread = threading.Thread(target=load)
        thread.start()
        for _ in range(4):
            for word in "ba":
                steer("apply", files[word])
                assert steer.ask(95) == f"{word} 95" and steer.ask(105) == f"{word} 105"
        stop.set()
        thread.join()
    assert set(said) <= {"a 99", "b 99"} and len(said) > 20


def test_many_rules(steer, tmp_path):
    """Fifty thousand are applied, found, counted and shown as they were written."""
    text = "".join(
        f"r{i}: --protocol tcp --dst-ip 127.{i >> 16}.{i >> 8 & 255}.{i & 255} --dst-port "
        f"{1000 + i % 100 * 10}-{1009 + i % 100 * 10} --to listen:{HERE4}:5201\n"
        for i in range(50000))
    (tmp_path / "rules").write_text(text)
    with steer.server(5201, "a"):
        steer("apply", tmp_path / "rules")
        assert steer("show").stdout == text
        for i in (1, 255, 40000, 49999):
            port, address = 1005 + i % 100 * 10, f"127.{i >> 16}.{i >> 8 & 255}.{i & 255}"
            assert steer.ask(port, address) == f"a {port}"
        rules = steer.rules()
        assert len(rules) == 50000 and sum(r["hits"] for r in rules.values()) == 4
        assert rules["r49999"]["hits"] == 1


def test_killed_while_many_are_applied(steer, tmp_path):
    """At any moment: the rules before or those after, never a mixture."""
    (tmp_path / "rules").write_text("".join(
        f"r{i}: --protocol tcp --dst-port {10000 + i} --to listen:{HERE4}:5201\n"
        for i in range(20000)))
    with steer.server(5201, "a"):
        for i in range(8):
            steer("off")
            steer("add", "old", "--protocol", "tcp", "--dst-port", "99",
                  "--to", f"listen:{HERE4}:5201")
            p = subprocess.Popen(steer.ns.command(lab.WEIR, "steer", "apply", tmp_path / "rules"),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.03 * i)
            p.send_signal(signal.SIGKILL)
            p.wait()
            both = steer.ask(99), steer.ask(10000), steer.ask(29999)
            assert both in (("a 99", errno.ECONNREFUSED, errno.ECONNREFUSED),
                            (errno.ECONNREFUSED, "a 10000", "a 29999"))
            assert len(steer.rules()) == (1 if both[0] == "a 99" else 20000)


def test_who_tells_only_what_decides(steer):
    with steer.server(5201, "a"):
        to = ["--to", f"listen:{HERE4}:5201"]
        steer("add", "wide", "--protocol", "tcp", "--dst-port", "90-110", *to)
        steer("add", "far", "--protocol", "tcp", "--dst-ip", "127.9.0.0/16", "--dst-port", "1-999",
              *to)
        steer("add", "some", "--protocol", "tcp", "--dst-port", "99", "--src-ip", HERE4, *to)
        who = lambda port: json.loads(steer("who", port, "--json").stdout)["rules"]
        assert who(99) == ["wide", "far", "some"]
        steer("add", "narrow", "--protocol", "tcp", "--dst-port", "98-99", *to)
        # Of all addresses the narrower range decides; what names fewer still has its own.
        assert who(99) == ["far", "some", "narrow"]
        assert who(97) == ["wide", "far"]
        assert who(5201) == []


def test_prometheus(steer):
    series = prometheus.parse(steer("list", "--prometheus").stdout, "weir_steer_")
    assert prometheus.value(series, "weir_steer_rules") == 0
    with steer.server(5201, "a"):
        steer("add", "r.x:1", "--protocol", "tcp", "--dst-port", "99", "--to",
              f"listen:{HERE4}:5201")
        steer("add", "unused", "--protocol", "tcp", "--dst-port", "98", "--on-miss", "pass",
              "--to", f"listen:{HERE4}:5201")
        assert steer.ask(99) == "a 99"
    lab.wait_for("a miss", lambda: steer.ask(99) == errno.ECONNREFUSED)
    series = prometheus.parse(steer("list", "--prometheus").stdout, "weir_steer_")
    rules, account = steer.rules(), steer.account()
    for key in ("hits", "misses", "errors"):
        for name, rule in rules.items():
            assert prometheus.value(series, f"weir_steer_rule_{key}_total",
                                    rule=name) == rule[key]
    assert prometheus.value(series, "weir_steer_rule_sockets_present", rule="unused") == 0
    for key in ("seen", "passed", "steered"):
        assert prometheus.value(series, f"weir_steer_{key}_total") == account[key]
    assert prometheus.value(series, "weir_steer_dropped_total", reason="miss") == \
        account["dropped"]["miss"] > 0
    assert prometheus.value(series, "weir_steer_dropped_total", reason="error") == 0
    done = steer("list", "--prometheus", "--json", check=False)
    assert done.returncode == 2 and "give one of both" in done.stderr


def test_a_rule_of_a_file_is_named_with_its_line(steer, tmp_path):
    bad = tmp_path / "bad"
    bad.write_text(f"# two lines\nr: --dst-port 1 --to listen:{HERE4}:1\n"
                   "s: --dst-port 2 --to group:none\n")
    done = steer("apply", bad, check=False)
    assert done.returncode == 2 and f"{bad}:3: rule s: there is no group:none" in done.stderr


def test_the_protocol_that_was_meant_is_told(steer):
    with steer.server(5201, "a"):
        done = steer("add", "r", "--dst-port", "99", "--to", f"listen:{HERE4}:5201", check=False)
        assert done.returncode == 1
        assert "only a tcp one: give --protocol tcp" in done.stderr


@pytest.mark.parametrize("words,status,told", [
    (["add", "x", "--dst-port", "1", "--src-port", "2", "--to", "listen:127.0.0.1:1"], 2,
     "--src-port: weir steer cannot match it"),
    (["add", "x", "--dst-port", "1", "-i", "lo", "--to", "listen:127.0.0.1:1"], 2,
     "-i: weir steer cannot match it"),
    (["add", "x", "--dst-port", "1"], 2, "no socket given"),
    (["add", "x", "--to", "listen:127.0.0.1:1"], 2, "every connection"),
    (["add", "x", "--protocol", "sctp", "--dst-port", "1", "--to", "listen:127.0.0.1:1"], 2,
     "only tcp and udp"),
    (["add", "x", "--protocol", "tcp", "--dst-port", "1", "--to", "listen:127.0.0.1:1"], 1,
     "no tcp socket listens"),
    (["add", "x", "--protocol", "tcp", "--dst-port", "1", "--to", "group:none"], 1,
     "there is no group:none"),
    (["add", "x", "--protocol", "tcp", "--dst-port", "1", "--to", "pid:1/fd:9999"], 1, "pid"),
    (["del", "none"], 1, "nothing is steered"),
    (["who", "0"], 2, "not a port"),
    (["ad"], 2, "did you mean add?"),
])
def test_errors_leave_nothing(steer, words, status, told):
    done = steer(*words, check=False)
    assert done.returncode == status and told in done.stderr
    assert done.stderr.count("\n") == 1
    assert "link" not in steer.weir("status", "steer").stdout
