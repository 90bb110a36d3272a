# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --owners` against processes that know whose their sockets are: right, wrong and
unknown are counted one by one. None may be wrong, ever."""

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

import lab

A, B = "10.77.0.1", "10.77.0.2"
A6 = "fd77::1"
PORT = 5300
PEERS = Path(__file__).with_name("owners.py")


class Process:
    """owners.py in a namespace; what it has told is {port: process}."""

    def __init__(self, ns, *words, prefix=()):
        self.out = tempfile.TemporaryFile("a+b")  # several write
        self.process = subprocess.Popen(
            ns.command(*prefix, sys.executable, PEERS, *words), stdin=subprocess.PIPE,
            stdout=self.out)

    @property
    def lines(self):
        size = os.fstat(self.out.fileno()).st_size
        return [tuple(map(int, line.split()))
                for line in os.pread(self.out.fileno(), size, 0).decode().splitlines()]

    @property
    def told(self):
        """Without ports that the kernel gave out twice."""
        times = Counter(port for _, port in self.lines)
        return {port: pid for pid, port in self.lines if times[port] == 1}

    def wait_told(self, n):
        lab.wait_for(f"{n} lines", lambda: len(self.lines) >= n or self.process.poll() is not None)
        assert len(self.lines) >= n, (self.process.args, self.process.poll())
        return self

    def say(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def wait(self):
        self.process.stdin.close()
        assert self.process.wait(lab.PATIENCE) == 0
        return self


@contextlib.contextmanager
def process(*args, n=1, **options):
    p = Process(*args, **options)
    try:
        yield p.wait_told(n)
    finally:
        p.process.kill()
        p.process.wait()


def owners(line):
    """{namespace's name: process} of a flow or a packet."""
    return {line.get(f"{of}netns_name"): line[f"{of}pid"] for of in ("", "peer_")
            if f"{of}pid" in line}


def client_port(line, server):
    return line["src_port"] if line["dst_port"] == server else line["dst_port"]


def judge(lines, truth, ns, server=PORT):
    """How many of @lines name the process that @truth knows for the client's end."""
    verdicts = Counter()
    for line in lines:
        if server not in (line.get("src_port"), line.get("dst_port")):
            continue
        told = owners(line).get(ns.name)
        right = truth.get(client_port(line, server))
        if right is None:
            continue
        verdicts["unknown" if told is None else "right" if told == right else "wrong"] += 1
    return verdicts


def test_a_thousand_and_a_hundred_in_another_namespace(hosts):
    """1,000 connections of a process each, and 100 that are older than the watch."""
    with process(hosts.a, "serve", "tcp", A, PORT) as server, \
            process(hosts.b, "old", A, PORT, 100, n=100) as old:
        watch = hosts.a.watch("-i", "va", "--flows", "--owners", "--json")
        old.say()
        new = Process(hosts.b, "clients", "tcp", A, PORT, 1000).wait()
        old.say()
        old.process.wait(lab.PATIENCE)
        watch.stop()
    truth = {**old.told, **new.told}
    assert len(truth) >= 1090
    lines = [line for line in watch.json if PORT in (line.get("src_port"), line.get("dst_port"))]
    assert len(lines) >= 1090
    verdicts = judge(lines, truth, hosts.b)
    assert verdicts["wrong"] == 0, verdicts
    assert verdicts["right"] >= 0.99 * len(truth), verdicts
    listens = Counter(owners(line).get(hosts.a.name) for line in lines)
    assert set(listens) <= {server.told[PORT], None}, listens
    assert listens[server.told[PORT]] >= 0.99 * len(lines), listens
    watch.check_account()
    assert "owners" not in watch.err


def test_every_packet_its_owner(hosts):
    """Each of them, the first of a connection included."""
    with process(hosts.a, "serve", "tcp", A, PORT):
        watch = hosts.b.watch("-i", "vb", "--owners", "--json", "tcp")
        new = Process(hosts.b, "clients", "tcp", A, PORT, 100).wait()
        watch.stop()
    verdicts = judge(watch.json, new.told, hosts.b)
    assert verdicts["wrong"] == 0, verdicts
    assert verdicts["unknown"] * 100 <= verdicts["right"], verdicts
    first = judge([line for line in watch.json if line["tcp_flags"] == "S"], new.told, hosts.b)
    assert first["wrong"] == 0 and first["right"] >= 99, first


@pytest.mark.parametrize("engine", [["--capture", "af_packet"], ["--capture", "xdp"],
                                    ["--capture", "pcap", "-Q", "inout"],
                                    ["--capture", "af_packet", "--fanout", "2"]])
def test_every_engine(hosts, engine):
    with process(hosts.a, "serve", "tcp", A, PORT):
        watch = hosts.b.watch("-i", "vb", "--owners", "--json", "tcp", *engine)
        new = Process(hosts.b, "clients", "tcp", A, PORT, 20).wait()
        lab.wait_for("the last packets", lambda: len(watch.json) >= 20 * 4)
        watch.stop()
    verdicts = judge(watch.json, new.told, hosts.b)
    assert verdicts["wrong"] == 0 and verdicts["right"] > 9 * verdicts["unknown"], verdicts


@pytest.mark.parametrize("kind", ["--flows", "--format=json"])
def test_udp(hosts, kind):
    with process(hosts.a, "serve", "udp", A, PORT) as server:
        watch = hosts.a.watch("-i", "va", "--owners", kind, "--json", "udp", "and", "port", PORT)
        new = Process(hosts.b, "clients", "udp", A, PORT, 100).wait()
        watch.stop()
    verdicts = judge(watch.json, new.told, hosts.b)
    assert verdicts["wrong"] == 0, verdicts
    assert verdicts["right"] >= 99 * verdicts["unknown"], verdicts
    assert {owners(line).get(hosts.a.name) for line in watch.json} == {server.told[PORT]}


def test_ipv6_and_a_listener_of_both(hosts):
    with process(hosts.a, "serve", "tcp", "::", PORT) as server:
        watch = hosts.a.watch("-i", "va", "--owners", "--json", "tcp")
        new = {address: Process(hosts.b, "clients", "tcp", address, PORT, 20).wait().told
               for address in (A, A6)}
        watch.stop()
    verdicts = Counter()
    for address, told in new.items():  # a port of the one may be one of the other, too
        verdicts += judge([line for line in watch.json
                           if address in (line.get("src_ip"), line.get("dst_ip"))], told, hosts.b)
    assert sum(verdicts.values()) > 40 * 6, verdicts
    assert verdicts["wrong"] == 0 and verdicts["right"] > 99 * verdicts["unknown"], verdicts
    assert {owners(line).get(hosts.a.name) for line in watch.json} == {server.told[PORT]}


def guesses(watch):
    return [line for line in watch.json if line.get("owner_guessed")]


def test_who_listens_takes_it(hosts):
    """Nobody has read from it yet: it is the listener's, and said to be a guess."""
    for early in (True, False):
        with contextlib.ExitStack() as stack:
            def listen():
                return stack.enter_context(process(hosts.a, "serve", "tcp", A, PORT))
            if early:
                server = listen()
            watch = hosts.a.watch("-i", "va", "--owners", "--json", "tcp")
            if not early:
                server = listen()
            # Who looks at it at that moment, as another scan does, holds it, too; a second
            # later it is looked at again.
            lab.wait_for("a guess", lambda w=watch: Process(
                hosts.b, "clients", "tcp", A, PORT, 1).wait() and guesses(w))
            watch.stop()
            assert {line["tcp_flags"] for line in guesses(watch)} <= {"S", "S.", ".", "P."}
            assert {line["pid"] for line in guesses(watch)} == {server.told[PORT]}
            assert "owner_guessed" not in watch.json[-1]


def test_fork_after_accept(hosts):
    """It is the child's that reads it; until then it is nobody's, for two could."""
    with process(hosts.a, "forks", A, PORT) as server:
        watch = hosts.a.watch("-i", "va", "--owners", "--json", "tcp")
        Process(hosts.b, "clients", "tcp", A, PORT, 50).wait()
        lab.wait_for("the children", lambda: len(server.lines) >= 51)
        watch.stop()
        children = {port: pid for pid, port in server.lines[1:]}
        verdicts, parent, odd, answered = Counter(), server.lines[0][0], [], set()
        for line in watch.json:
            told = owners(line).get(hosts.a.name)
            right = children[client_port(line, PORT)]
            # Between its accept and its fork a look at all processes finds it with the parent.
            guess = told == parent and (line.get("owner_guessed") or
                                        client_port(line, PORT) not in answered)
            verdict = "unknown" if told is None else "right" if told == right else \
                "guess" if guess else "wrong"
            verdicts[verdict] += 1
            if verdict == "wrong":
                odd.append((right, parent, line))
            if line["src_port"] == PORT and line["tcp_flags"] == "P.":
                assert told == right, line
                answered.add(client_port(line, PORT))
    assert not odd and verdicts["right"] > 50, (verdicts, odd)


def test_port_reuse(hosts):
    """One process after the other with the same port, at once: never the other's."""
    with process(hosts.a, "serve", "udp", A, PORT):
        watch = hosts.b.watch("-i", "vb", "--owners", "--json", "udp")
        flows = hosts.b.watch("-i", "vb", "--owners", "--json", "--flows", "udp")
        pids = []
        for _ in range(20):
            pids += [pid for pid, _ in Process(hosts.b, "bound", A, PORT, 4000).wait().lines]
        watch.stop()
        flows.stop()
    sent = [line for line in watch.json if line["dst_port"] == PORT]
    assert len(sent) == 40
    assert [line.get("pid", pid) for line, pid in zip(sent, pids)] == pids
    assert sum("pid" in line for line in sent) >= 39
    answers = [line for line in watch.json if line["src_port"] == PORT]
    assert all(line.get("pid", pid) == pid for line, pid in zip(answers, pids))
    # One flow of forty processes is nobody's.
    assert [line["packets"] for line in flows.json] == [80]
    assert "pid" not in flows.json[0]


def test_what_a_process_wants(hosts):
    """--pid, --comm and --cgroup leave out what is others', and the account says so."""
    with process(hosts.a, "serve", "tcp", A, PORT), \
            process(hosts.b, "old", A, PORT, 3, n=3) as old:
        pid, port = old.lines[1]
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        watches = hosts.b.watches("-i", "vb", "--json", "tcp", each=[
            ["--pid", pid], ["--comm", comm], ["--comm", "another"], ["--cgroup", "/"]])
        flows = hosts.b.watch("-i", "vb", "--flows", "--pid", pid, "--json")
        count = hosts.b.watch("-i", "vb", "--count", "--pid", pid, "--json", "tcp")
        old.say()
        old.say()
        old.process.wait(lab.PATIENCE)
        one, all_, none, group = [watch.stop() for watch in watches]
        flows.stop()
        count.stop()
    assert one.json and {client_port(line, PORT) for line in one.json} == {port}
    assert {client_port(line, PORT) for line in all_.json} == set(old.told)
    assert len(group.json) == len(all_.json)
    assert none.json == []
    assert [client_port(line, PORT) for line in flows.json] == [port]
    assert count.json == [{"v": 1, "packets": len(one.json)}]
    for watch in (one, all_, none, group, flows, count):
        watch.check_account()
    assert one.account["unmatched"] == one.account["seen"] - len(one.json) > 0
    assert none.account["matched"] == 0


def test_cgroup_by_its_path(hosts):
    """Made after the watch began: it is told by its path, and so are those below."""
    root = next(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
                if line.split()[2] == "cgroup2")
    top = Path(root, f"weir-owners-{os.getpid()}")
    top.mkdir()
    try:
        with process(hosts.a, "serve", "tcp", A, PORT):
            watch = hosts.b.watch("-i", "vb", "--cgroup", top, "--json", "tcp")
            below = top / "below"
            below.mkdir()
            enter = ("sh", "-c", f'echo $$ > {below}/cgroup.procs; exec "$@"', "-")
            inside = Process(hosts.b, "clients", "tcp", A, PORT, 5, prefix=enter).wait()
            Process(hosts.b, "clients", "tcp", A, PORT, 5).wait()
            watch.stop()
    finally:
        for directory in (top / "below", top):
            if directory.exists():
                lab.wait_for("the group to be empty",
                             lambda d=directory: not (d / "cgroup.procs").read_text())
                directory.rmdir()
    assert {client_port(line, PORT) for line in watch.json} == set(inside.told)
    assert {line["cgroup"] for line in watch.json} == {f"/{top.name}/below"}


def test_pcapng_names_the_process(hosts, tmp_path):
    """epb_processid_threadid (8): the process, thread 0; and a comment, for people."""
    file = tmp_path / "owners.pcapng"
    with process(hosts.a, "serve", "tcp", A, PORT) as server:
        watch = hosts.a.watch("-i", "va", "--owners", "-w", file, "tcp")
        Process(hosts.b, "clients", "tcp", A, PORT, 10).wait()
        watch.stop()
    packets = [b for b in lab.read_pcapng(file) if b.kind == lab.PACKET]
    processes = {struct.unpack("<II", value) for b in packets for value in b.options.get(8, [])}
    assert processes == {(server.told[PORT], 0)}
    rows = lab.tshark(file, "frame.comment", "tcp.port")
    assert len(rows) == len(packets)
    comments = {comment for comment, _ in rows}
    assert any(f"owner {Path(sys.executable).resolve().name[:15]}" in comment or
               f" {server.told[PORT]}" in comment for comment in comments), comments
    assert "pcapng" in lab.sh("capinfos", file).stdout


def test_text(hosts):
    with process(hosts.a, "serve", "tcp", A, PORT) as server:
        watch = hosts.a.watch("-i", "va", "--owners", "-n", "tcp")
        new = Process(hosts.b, "clients", "tcp", A, PORT, 1).wait()
        watch.stop()
    line = watch.out.decode().splitlines()[-1]
    assert f" {server.told[PORT]} " in line.split("  owner ")[1]
    assert f" {new.lines[0][0]} " in line.split(", peer ")[1]
    assert f"netns {hosts.b.name}" in line


def hooks():
    """Programs at the root of cgroup v2 that are of some weir watch, by their ids."""
    root = next(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
                if line.split()[2] == "cgroup2")
    shown = lab.sh("bpftool", "-j", "cgroup", "show", root, check=False).stdout
    return {p["id"] for p in json.loads(shown.strip() or "[]") if p["name"].startswith("weir_owner")}


def held(pid):
    """The programs that a process holds, itself or by a link."""
    ids = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        ids.update(int(n) for n in re.findall(r"^prog_id:\s*(\d+)", path.read_text(), re.M))
    return ids


def test_nothing_is_left(hosts):
    """Killed in the middle, it takes its programs along; others' go on."""
    watch = hosts.a.watch("-i", "va", "--owners")
    mine = hooks() & held(watch.pid)
    assert len(mine) == 4
    watch.kill()
    lab.wait_for("the programs to go", lambda: not hooks() & mine)
    assert socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno() >= 0


@pytest.mark.parametrize("words, what", [
    (["-r", "file", "--owners"], "a file's packets"),
    (["--count", "--owners"], "--count shows no owners"),
    (["--summary", "1s", "--owners"], "--owners is of packets and flows"),
    (["--pid", "0"], "--pid"),
    (["--cgroup", "/no/such/group"], "no cgroup"),
])
def test_refusals(hosts, words, what):
    done = lab.weir("watch", "-i", "va", *words, ns=hosts.a)
    assert done.returncode in (1, 2), done
    assert what in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
