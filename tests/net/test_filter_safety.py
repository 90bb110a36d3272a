# SPDX-License-Identifier: GPL-2.0-only
"""Nobody is locked out, nobody else's program is replaced, and nothing that happens
to a command, to an interface or to the bpffs opens the filter or leaves half of it."""

import json
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

import filters
import lab

HERE, THERE = "10.77.0.2", "10.77.0.1"

# Its name is what the guard knows it by, as the kernel tells it (comm).
STAND_IN = """#!/usr/bin/python3
import os, socket
server = socket.create_server(("", 22))
print("ready", flush=True)
peer = server.accept()[0]
if os.fork():  # as sshd does: a child serves the session
    peer.close()
    os.wait()
else:
    while data := peer.recv(100):
        peer.sendall(data)
"""


class Session:
    """A host with an open session of something called @name."""

    def __init__(self, directory, name="sshd"):
        self.pair = lab.Pair(addresses=True, host=True)
        self.b = self.pair.b
        self.filter = filters.Filter(self.b)
        program = directory / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
        self.server = subprocess.Popen(self.b.command(program), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE)
        assert self.server.stdout.readline() == b"ready\n"
        with self.pair.a:
            self.client = socket.socket()
        self.client.settimeout(lab.PATIENCE)
        self.client.connect((HERE, 22))
        self.check()

    def check(self):
        """It goes on."""
        self.client.sendall(b"ping")
        assert self.client.recv(100) == b"ping"

    def refused(self, *words, rule=None, text=None, prefix=()):
        """Refused, naming the rule and the session; nothing has changed."""
        before = self.filter.state()
        done = self.filter(*words, status=1, text=text, prefix=prefix)
        assert THERE in done.stderr and "--force" in done.stderr, done.stderr
        assert rule is None or rule in done.stderr, done.stderr
        assert self.filter.state() == before
        self.check()

    def remove(self):
        self.filter.remove()
        self.client.close()
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        self.pair.remove()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    s = Session(tmp_path_factory.mktemp("session"))
    yield s
    s.remove()


@pytest.fixture
def fresh(session):
    """Nothing filtered yet."""
    session.filter.remove()
    return session


# --- the lock-out guard -------------------------------------------------------

def test_guard_default_drop(fresh):
    """The session itself would go on as a reply; a new one could not begin."""
    for hook in ("xdp", "tc", "netfilter"):
        fresh.refused("on", "vb", "--default", "drop", "--hook", hook, rule="default")
    fresh.filter("on", "vb")
    fresh.filter("allow", "--name", "ssh", "--protocol", "tcp", "--dst-port", "22")
    fresh.filter("on", "vb", "--default", "drop")
    fresh.check()
    fresh.refused("del", "ssh")
    fresh.refused("apply", "-", text="interface vb default drop\nweb: allow --dst-port 80\n")


DENIALS = {
    "port": ("deny", "--name", "cut", "--dst-port", "22"),
    "source": ("deny", "--name", "cut", "--src-ip", THERE),
    "net": ("deny", "--name", "cut", "src net 10.77.0.0/16"),
    "everything": ("deny", "--name", "cut"),
    "protocol": ("deny", "--name", "cut", "--protocol", "tcp"),
    "syn": ("deny", "--name", "cut", "tcp flags syn/syn,ack"),
    "limit": ("limit", "--name", "cut", "--protocol", "tcp", "--rate", "10/s"),
    "limit per source": ("limit", "--name", "cut", "--rate", "1/s", "--per", "source"),
    "limit in bits": ("limit", "--name", "cut", "--rate", "10kbit"),
    "ttl": ("deny", "--name", "cut", "--dst-port", "22", "--ttl", "1h"),
    "before": ("deny", "--name", "cut", "--dst-port", "22", "--before", "ok"),
}


@pytest.mark.parametrize("name", DENIALS)
def test_guard_rules(fresh, name):
    fresh.filter("on", "vb")
    fresh.filter("allow", "--name", "ok", "--dst-port", "80")
    fresh.refused(*DENIALS[name], rule="cut")


def test_guard_going_out(fresh):
    fresh.filter("on", "vb", "-Q", "out")
    fresh.refused("deny", "--name", "cut", "-Q", "out", "--src-port", "22", rule="cut")


def test_guard_lets_through_what_does_no_harm(fresh):
    fresh.filter("on", "vb")
    fresh.filter("deny", "--dst-port", "23")
    fresh.filter("limit", "--protocol", "tcp", "--rate", "100000/s")
    fresh.filter("deny", "--src-ip", "192.0.2.0/24")
    fresh.filter("deny", "-i", "lo", "--dst-port", "22")
    fresh.check()


def test_guard_sets(fresh, tmp_path):
    """Loading or adding to a set that a rule denies; taking from one that is allowed."""
    feed = tmp_path / "feed"
    feed.write_text("192.0.2.0/24\n10.77.0.0/24\n")
    fresh.filter("on", "vb")
    fresh.filter("set", "bad", "add", "192.0.2.0/24")
    fresh.filter("deny", "--name", "feed", "src net @bad")
    fresh.refused("set", "bad", "add", "203.0.113.0/24", THERE, rule="feed")
    fresh.refused("set", "bad", "load", feed, rule="feed")
    assert fresh.filter("set", "bad", "list").stdout.split() == ["192.0.2.0/24"]
    fresh.filter("del", "feed")
    fresh.filter("set", "good", "add", THERE)
    fresh.filter("allow", "--name", "friends", "src net @good")
    fresh.filter("on", "vb", "--default", "drop")
    fresh.refused("set", "good", "del", THERE)
    fresh.filter("set", "good", "add", "10.77.0.0/24")
    fresh.filter("set", "good", "del", THERE)
    fresh.check()


def test_guard_apply(fresh):
    fresh.filter("on", "vb")
    for text, rule in (("interface vb\ncut: deny --dst-port 22\n", "cut"),
                       ("interface vb\ncut: deny --dst-port 20-30\nssh: allow --dst-port 22\n",
                        "cut"),
                       ("interface vb default drop\n", "default")):
        fresh.refused("apply", "-", text=text, rule=rule)
        fresh.refused("apply", "-", "--confirm", "60", text=text, rule=rule)
    fresh.filter("apply", "-", text="interface vb default drop\n"
                 "ssh: allow --dst-port 22\ncut: deny --dst-port 20-30\n")
    fresh.check()


def test_guard_an_allow_that_expires(fresh):
    """What will be when it has is refused now: then nobody is there to refuse it."""
    fresh.filter("on", "vb")
    fresh.refused("apply", "-", text="interface vb default drop\n"
                  "soon: allow --dst-port 22 --ttl 1h\n")
    fresh.filter("allow", "--name", "soon", "--dst-port", "22", "--ttl", "1h")
    fresh.refused("on", "vb", "--default", "drop")
    fresh.refused("deny", "--name", "cut", "--dst-port", "22", rule="cut")


@pytest.mark.parametrize("prefix", [["env", "-i"], ["setsid"],
                                    ["su", "-s", "/bin/sh", "-c", 'exec "$@"', "--", "root", "sh"],
                                    ["sudo", "-n"]], ids=lambda words: words[0])
def test_guard_whoever_asks(fresh, prefix):
    """By the socket and its owner: not by an environment, a terminal or a parent."""
    if not shutil.which(prefix[0]):
        pytest.skip(f"{prefix[0]} is not installed")
    fresh.filter("on", "vb")
    fresh.refused("deny", "--name", "cut", "--dst-port", "22", rule="cut", prefix=prefix)


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_guard_in_tmux(fresh, tmp_path):
    """A server of its own, which is nobody's child."""
    fresh.filter("on", "vb")
    command = " ".join(fresh.b.command(lab.WEIR, "filter", "deny", "--dst-port", "22"))
    name, status = f"weir{os.getpid()}", tmp_path / "status"
    lab.sh("tmux", "-L", name, "-f", "/dev/null", "new-session", "-d",
           f"{command} 2>{tmp_path}/err; echo $? >{status}.part; mv {status}.part {status}")
    lab.wait_for("the command in tmux", status.exists)
    lab.sh("tmux", "-L", name, "kill-server", check=False)
    assert status.read_text() == "1\n" and THERE in (tmp_path / "err").read_text()
    fresh.check()


def test_guard_by_a_bridge(tmp_path):
    """The route names the bridge that has the address; the packets come by its port."""
    s = Session(tmp_path)
    try:
        s.b.ip("link", "add", "name", "wbr", "type", "bridge")
        s.b.ip("addr", "del", f"{HERE}/16", "dev", "vb")
        s.b.ip("link", "set", "vb", "master", "wbr")
        s.b.ip("addr", "add", f"{HERE}/16", "dev", "wbr")
        s.b.ip("link", "set", "wbr", "up")
        s.pair.a.ip("neigh", "flush", "all")
        s.check()
        s.filter("on", "vb", "wbr")
        for dev in ("vb", "wbr"):
            s.refused("deny", "--name", "cut", "-i", dev, "--dst-port", "22", rule="cut")
    finally:
        s.remove()


def test_guard_sshd_session(tmp_path):
    """As the process of a session is called since OpenSSH 9.8; another name is no
    session: there is nobody to lock out."""
    for name in ("sshd-session", "telnetd"):
        s = Session(tmp_path, name)
        try:
            s.filter("on", "vb")
            if name == "telnetd":
                s.filter("deny", "--name", "cut", "--dst-port", "22")
                assert s.filter.test("-i", "vb", "tcp", THERE, f"{HERE}:22")["rule"] == "cut"
            else:
                s.refused("deny", "--name", "cut", "--dst-port", "22", rule="cut")
        finally:
            s.remove()


def test_force(tmp_path):
    """It goes through, with a warning, and it is as it says."""
    s = Session(tmp_path)
    try:
        s.filter("on", "vb")
        done = s.filter("deny", "--name", "cut", "--dst-port", "22", "--force")
        assert "cut" in done.stderr and THERE in done.stderr
        before = s.filter.hits()["cut"]
        s.client.sendall(b"ping")
        lab.wait_for("the rule to drop it", lambda: s.filter.hits()["cut"] > before)
        s.client.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.client.recv(100)
        # Once it is cut off, the way back is not refused.
        s.filter("del", "cut")
        s.client.settimeout(lab.PATIENCE)
        assert s.client.recv(100) == b"ping"
    finally:
        s.remove()


SSHD = os.environ.get("WEIR_SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.skipif(not SSHD, reason="sshd is not installed")
def test_guard_a_real_sshd(tmp_path):
    """Inside of a session of sshd: the same, and the session goes on."""
    pair = lab.Pair(addresses=True, host=True)
    weir_filter = filters.Filter(pair.b)
    lab.sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    lab.sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host")
    pair.b.sh("mount", "-t", "tmpfs", "tmpfs", "/run")
    pair.b.sh("mkdir", "-m", "755", "/run/sshd")
    try:
        pwd.getpwnam("sshd")
    except KeyError:  # not installed but given: it wants a user to be, and so gets one
        (tmp_path / "passwd").write_text(open("/etc/passwd", encoding="utf-8").read()
                                         + "sshd:x:65534:65534::/run/sshd:/bin/false\n")
        pair.b.sh("mount", "--bind", tmp_path / "passwd", "/etc/passwd")
    server = subprocess.Popen(pair.b.command(
        SSHD, "-D", "-e", "-f", "/dev/null", "-h", tmp_path / "host", "-o", f"ListenAddress={HERE}",
        "-o", f"AuthorizedKeysFile={tmp_path}/key.pub", "-o", "StrictModes=no",
        "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "PermitRootLogin=yes"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    client = None
    try:
        ssh = pair.a.command("ssh", "-F", "/dev/null", "-i", tmp_path / "key", "-T",
                             "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
                             "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "LogLevel=ERROR",
                             "-o", "ConnectionAttempts=50", f"root@{HERE}", "exec /bin/sh")
        client = subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)

        def ask(command):
            client.stdin.write(f"{command}; echo status=$?\n".encode())
            client.stdin.flush()
            told = b""
            while not (end := re.search(rb"(?s)^(.*?)\n?(status=\d+)\n$", told)):
                assert select.select([client.stdout], [], [], lab.PATIENCE)[0], (command, told)
                data = os.read(client.stdout.fileno(), 65536)
                assert data, (command, told)
                told += data
            return end[2].decode(), end[1].decode()

        assert ask("true") == ("status=0", "")
        weir_filter("on", "vb")
        for words in ("deny --name cut --dst-port 22", "on vb --default drop",
                      "limit --rate 1/s --name cut"):
            for parent in ("", "env -i ", "su -s /bin/sh -c 'exec \"$@\"' -- root sh "):
                status, text = ask(f"{parent}{lab.WEIR} filter {words} 2>&1 </dev/null")
                assert status == "status=1" and THERE in text, (words, parent, text)
        assert weir_filter.rules() == {}
        assert ask(f"{lab.WEIR} filter deny --dst-port 23 2>&1")[0] == "status=0"
    finally:
        if client:
            client.kill()
            client.communicate()
        server.kill()
        server.communicate()
        weir_filter.remove()
        pair.remove()


# --- others' programs ---------------------------------------------------------

FOREIGN = """
int somebody(void *ctx) __attribute__((section("xdp"), used));
int somebody(void *ctx) { (void)ctx; return 2; }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture
def quiet():
    pair = lab.Pair(host=True)
    pair.filter = filters.Filter(pair.b)
    yield pair
    pair.filter.remove()
    pair.remove()


@pytest.mark.parametrize("how", ["xdpgeneric", "xdpdrv"])
def test_a_foreign_program_stays(quiet, tmp_path, how):
    program = filters.compile_bpf(tmp_path, "foreign", FOREIGN)
    quiet.b.ip("link", "set", "vb", how, "obj", program, "sec", "xdp")
    before = quiet.b.link("vb")["xdp"]
    for words in (("on", "vb"), ("on", "vb", "--mode", "generic"), ("on", "vb", "--mode", "native"),
                  ("deny", "-i", "vb", "--dst-port", "80")):
        done = quiet.filter(*words, status=1)
        assert "somebody" in done.stderr, done.stderr
        assert quiet.b.link("vb")["xdp"] == before
    done = quiet.filter("apply", "-", status=1, text="interface vb\ninterface lo\n")
    assert quiet.b.link("vb")["xdp"] == before and "xdp" not in quiet.b.link("lo")
    # tc is free; and while the filter is on XDP, others are kept out in turn.
    quiet.filter("on", "vb", "--hook", "tc")
    quiet.b.ip("link", "set", "vb", how, "off")
    quiet.filter("on", "vb")
    done = quiet.b.ip("link", "set", "vb", how, "obj", program, "sec", "xdp", check=False)
    assert done.returncode != 0
    assert quiet.filter.list()["interfaces"][1]["state"] == "on"


def test_the_other_mode(quiet):
    """Of an interface that is on already: that mode, or a refusal that says how."""
    quiet.filter.apply("interface vb mode native", "no: deny --dst-port 80")
    before = quiet.filter.state()
    done = lab.weir("filter", "on", "vb", "--mode", "generic", ns=quiet.b)
    if done.returncode:
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "off" in done.stderr
        assert quiet.filter.state() == before
        quiet.filter("off", "vb")
        quiet.filter("on", "vb", "--mode", "generic")
    assert quiet.filter.list()["interfaces"][0]["mode"] == "generic"
    assert quiet.filter.test("-i", "vb", "udp", "1.2.3.4", "5.6.7.8:80")["rule"] == "no"


def test_beside_a_watch(quiet):
    """A watch's gate is joined, and outlives neither: the filter stays when the watch
    is killed, the watch goes on when the filter is turned off."""
    watch = quiet.b.watch("-i", "vb", "--capture", "xdp", "--stats", "json")
    gate = quiet.filter.attached()
    quiet.filter("deny", "--name", "no", "-i", "vb", "--dst-port", "80")
    assert quiet.filter.attached() == gate
    quiet.a.inject("va", [frame for _, frame in filters.packets_to([80, 81])])
    watch.wait_seen(3)
    watch.kill()
    assert quiet.filter.attached() == gate
    quiet.a.inject("va", [frame for _, frame in filters.packets_to([80])])
    quiet.filter.wait_seen("vb", 5)
    assert quiet.filter.hits() == {"no": 2}
    watch = quiet.b.watch("-i", "vb", "--capture", "xdp", "--stats", "json")
    quiet.filter("off")
    quiet.a.inject("va", [frame for _, frame in filters.packets_to([80])])
    watch.wait_seen(2)
    assert watch.stop().status == 0
    assert not quiet.filter.attached()


# --- several commands, killed commands ------------------------------------------

def test_commands_at_once(quiet):
    """They wait for each other; every one of them is done."""
    quiet.filter("on", "vb")
    started = [subprocess.Popen(quiet.b.command(lab.WEIR, "filter", "deny", "--name", f"n{i}",
                                                "--dst-port", str(i)),
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
               for i in range(1, 7)]
    for p in started:
        err = p.communicate(timeout=60)[1]
        assert p.returncode == 0, err
    assert sorted(quiet.filter.rules()) == [f"n{i}" for i in range(1, 7)]


def test_killed_commands_under_traffic(quiet, tmp_path):
    """50 times kill -9 at some moment of an apply: the old policy or the new one is in
    force, whole, all the time; and the next command works."""
    feed = tmp_path / "feed"
    feed.write_text("".join(f"192.{i // 250}.{i % 250}.0/24\n" for i in range(2000))
                    + filters.Crossfire.BAD + "\n")
    paths, shown = [], []
    for first in (False, True):
        paths.append(tmp_path / f"policy{first}")
        paths[-1].write_text(filters.Crossfire.policy(first, "interface vb", feed))
        quiet.filter("apply", paths[-1])
        shown.append(quiet.filter.show())
    start = time.monotonic()
    quiet.filter("apply", paths[1])
    usual = time.monotonic() - start
    pinned = len(quiet.filter.pinned())
    fire = filters.Crossfire(quiet.filter, quiet.a, quiet.b)
    r = random.Random(11)
    killed = 0
    for n in range(50):
        p = subprocess.Popen(quiet.b.command(lab.WEIR, "filter", "apply", paths[n % 2]),
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(r.uniform(0, usual * 1.2))
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
        killed += p.wait() == -signal.SIGKILL
        if n % 10 == 9:
            assert quiet.filter.show() in shown
    assert fire.cease(50) > 50 and killed > 10
    for path in paths:
        quiet.filter("apply", path)
    # Nothing that a killed command began is left.
    assert len(quiet.filter.pinned()) == pinned


def test_everything_killed(quiet):
    """No process of weir is left in the namespace, and it still drops."""
    quiet.filter("deny", "--name", "no", "-i", "vb", "--dst-port", "80")
    watch = quiet.b.watch("-i", "vb", "--capture", "xdp")
    drops = subprocess.Popen(quiet.b.command(lab.WEIR, "filter", "drops", "--json"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert drops.stdout.readline()
    watch.kill()
    drops.kill()
    drops.communicate()
    tap = filters.Tap(quiet.b, "vb")
    quiet.a.inject("va", [frame for _, frame in filters.packets_to([80, 81])])
    came = set()
    lab.wait_for("the packet that passes",
                 lambda: came.update(filters.serials(tap.take())) or 0 in came)
    assert came == {81, 0}
    tap.close()


# --- interfaces and the bpffs ---------------------------------------------------

def plug(pair):
    pair.a.ip("link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", pair.b.name)
    pair.a.ip("link", "set", "va", "up")
    pair.b.ip("link", "set", "vb", "up")


@pytest.mark.parametrize("hook", ["xdp", "tc", "netfilter"])
def test_an_interface_that_comes_back(quiet, hook):
    quiet.filter.apply(f"interface vb hook {hook} default drop", "web: allow --dst-port 80")
    quiet.b.ip("link", "del", "vb")
    [told] = quiet.filter.list()["interfaces"]
    assert told["state"] == "detached: interface gone" and "mode" not in told
    status = lab.weir("status", ns=quiet.b).stdout
    assert "detached: interface gone" in status, status
    # Other changes are possible meanwhile; they are in force when it is back.
    quiet.filter("allow", "--name", "more", "--dst-port", "443")
    plug(quiet)
    [told] = quiet.filter.list()["interfaces"]
    assert told["state"] != "on", told
    done = quiet.filter("reattach")
    assert "vb" in done.stderr
    [told] = quiet.filter.list()["interfaces"]
    assert told["state"] == "on"
    for port, verdict in ((80, "pass"), (443, "pass"), (81, "drop")):
        assert quiet.filter.test("-i", "vb", "udp", "10.0.0.1",
                                 f"192.0.2.1:{port}")["verdict"] == verdict
    assert quiet.filter("reattach").stderr == ""
    told = json.loads(lab.weir("status", "--json", ns=quiet.b).stdout)["pinned"]
    assert not [entry for entry in told if "gone" in entry.get("detail", "")], told
    if hook == "xdp":
        tap = filters.Tap(quiet.b, "vb")
        quiet.a.inject("va", [frame for _, frame in filters.packets_to([81, 80])])
        came = set()
        lab.wait_for("the packets that pass",
                     lambda: came.update(filters.serials(tap.take())) or {0, 80} <= came)
        assert came == {0, 80}
        tap.close()


def test_a_bpffs_that_is_lost(quiet):
    """Whoever unmounts it takes the filter away; told, and one command puts it back,
    of the saved policy."""
    policy = ["interface vb default drop", "interface vb hook tc direction out",
              "web: allow --dst-port 80"]
    quiet.filter.apply(*policy)
    held = quiet.filter.objects()
    quiet.b.sh("umount", "/sys/fs/bpf")
    held.wait_gone()
    assert quiet.filter.list() == {"v": 1, "interfaces": [], "rules": []}
    quiet.b.sh("mount", "-t", "bpf", "-o", "mode=0700", "bpf", "/sys/fs/bpf")
    assert quiet.filter.list()["interfaces"] == []
    quiet.filter.apply(*policy)
    assert quiet.filter.list()["interfaces"][0]["state"] == "on"
    assert quiet.filter.test("-i", "vb", "-Q", "in", "udp", "10.0.0.1",
                             "192.0.2.1:81")["reason"] == "default"


# --- too much -------------------------------------------------------------------

def test_too_many_rules(quiet, tmp_path):
    """Refused before anything changes, with the bound that was met."""
    quiet.filter.apply("interface vb", "old: deny --dst-port 80")
    before = quiet.filter.state()
    path = tmp_path / "policy"
    rules = [f"r{i}: deny ttl {i % 250}" for i in range(4097)]
    path.write_text("\n".join(["interface vb", *rules]) + "\n")
    done = lab.weir("filter", "apply", path, ns=quiet.b)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and "4096" in done.stderr
    assert quiet.filter.state() == before
    # As many as a program has room for, of this kind.
    path.write_text("\n".join(["interface vb", *rules[:3500], "last: deny --dst-port 81"]) + "\n")
    quiet.filter("apply", path)
    assert quiet.filter.test("-i", "vb", "udp", "1.2.3.4", "5.6.7.8:81", "--ttl", "255")["rule"] \
        == "last"
    assert len(quiet.filter.rules()) == 3501


def test_too_long_a_policy(quiet, tmp_path):
    """Few rules, but more code than a program has room for."""
    quiet.filter.apply("interface vb", "old: deny --dst-port 80")
    before = quiet.filter.state()
    path = tmp_path / "policy"
    ports = " or ".join(f"(src port {2 * i} and dst port {2 * i + 1})" for i in range(200))
    path.write_text("interface vb\n" + "".join(f"r{i}: deny udp and ttl {i} and ({ports})\n"
                                               for i in range(100)))
    done = lab.weir("filter", "apply", path, ns=quiet.b)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done
    assert quiet.filter.state() == before


def test_too_many_branches(quiet, tmp_path):
    """Code that the program has room for, but the verifier not, which says so as EFAULT."""
    quiet.filter.apply("interface vb", "old: deny --dst-port 80")
    before = quiet.filter.state()
    path = tmp_path / "policy"
    path.write_text("interface vb\n" + "".join(
        f"deny udp and src net 10.{i >> 8}.{i & 255}.0/24 and dst port 9\n" for i in range(930)))
    done = lab.weir("filter", "apply", path, ns=quiet.b)
    assert done.returncode == 1 and "put addresses into sets" in done.stderr, done
    assert quiet.filter.state() == before


def test_rule_ids_come_back(quiet, tmp_path):
    """The store has room for 16,384 rules; those that are gone make room."""
    path = tmp_path / "policy"
    for lot in range(6):
        rules = [f"lot{lot}_{i}: deny ttl {i % 250}" for i in range(2800)]
        path.write_text("\n".join(["interface vb", *rules, "last: deny dst port 81"]) + "\n")
        quiet.filter("apply", path)
    rules = quiet.filter.rules()
    assert len(rules) == 2801 and "lot5_2799" in rules
    assert quiet.filter.test("-i", "vb", "udp", "1.2.3.4", "5.6.7.8:81", "--ttl", "255")["rule"] \
        == "last"


def test_a_set_that_does_not_fit(quiet, tmp_path):
    """Refused with what it needs, before anything changes: the address space of the
    command is bounded, as a container's memory is."""
    feed = tmp_path / "feed"
    r = random.Random(3)
    feed.write_text("".join(f"2001:db8:{r.randrange(65536):x}:{r.randrange(65536):x}::/64\n"
                            for _ in range(300_000)))
    quiet.filter("on", "vb")
    quiet.filter("set", "bad", "add", "192.0.2.1")
    quiet.filter("deny", "--name", "feed", "src net @bad")
    before = quiet.filter.state()
    done = quiet.filter("set", "bad", "load", feed, status=1,
                        prefix=("prlimit", f"--as={40 << 20}"))
    assert done.stderr.count("\n") == 1 and "emory" in done.stderr, done.stderr
    assert quiet.filter.state() == before
    assert quiet.filter("set", "bad", "list").stdout.split() == ["192.0.2.1"]


def test_status_tells_it(quiet):
    quiet.filter("deny", "-i", "vb", "--dst-port", "80")
    told = json.loads(lab.weir("status", "filter", "--json", ns=quiet.b).stdout)["pinned"]
    assert any(entry["type"] == "link" and "vb" in entry.get("detail", "") for entry in told), told
    assert lab.weir("filter", "status", ns=quiet.b).stdout == \
        lab.weir("status", "filter", ns=quiet.b).stdout
