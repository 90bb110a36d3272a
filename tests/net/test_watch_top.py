# SPDX-License-Identifier: GPL-2.0-only
"""The full-screen view of `weir watch --flows`, as someone at a real terminal (tmux) has it."""

import os
import shlex
import shutil
import signal
import socket
import time

import pytest

import lab

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")

SERVER, CLIENT = "10.77.0.2", "10.77.0.1"


class Terminal:
    """A shell in a terminal of its own, in the namespace of `vb`."""

    def __init__(self, ns, tmp_path, width=80, height=24):
        self.name = f"weir-top-{os.getpid()}-{next(lab._serial)}"
        self.files = {name: tmp_path / name for name in ("before", "after", "status", "pid")}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height,
                  shlex.join(ns.command("env", "PS1=ready>", "ENV=", "HISTFILE=", "sh")))
        self.wait("ready>")

    def tmux(self, *words, check=True):
        return lab.sh("tmux", "-L", self.name, *words, check=check).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def wait(self, *texts, without=()):
        """Until the screen shows all of @texts and none of @without; returns it."""
        seen = {}

        def there():
            seen["it"] = self.screen()
            return all(t in seen["it"] for t in texts) and not any(t in seen["it"] for t in without)
        lab.wait_for(lambda: f"{texts} without {without} on\n{seen['it']}", there)
        return seen["it"]

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def watch(self, *args, env=""):
        """Begin `weir watch --flows`, with what the terminal is before and after."""
        f = self.files
        command = shlex.join([lab.WEIR, "watch", "-n", "-i", "vb", "--flows", *args])
        # The shell's own pid is weir's once it is replaced: no guess which one to signal.
        inner = shlex.quote(f"echo $$ > {f['pid']}; exec env {env} {command}")
        self.type(f"clear; stty -a > {f['before']}; sh -c {inner}; "
                  f"echo $? > {f['status']}; stty -a > {f['after']}")
        self.keys("Enter")

    def pid(self):
        return int(self.files["pid"].read_text())

    def ended(self, status=0):
        """It has ended so, and left the terminal as it was."""
        f = self.files
        lab.wait_for(lambda: f"the end, on\n{self.screen()}",
                     lambda: f["after"].exists() and f["after"].read_text().endswith("\n"))
        assert int(f["status"].read_text()) == status, self.screen()
        assert f["after"].read_text() == f["before"].read_text()
        assert self.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
        self.type("echo it $((40+2))")
        self.keys("Enter")
        return self.wait("it 42")

    def close(self):
        self.tmux("kill-server", check=False)


@pytest.fixture
def terminal(hosts, tmp_path):
    t = Terminal(hosts.b, tmp_path)
    yield t
    t.close()


def send(hosts, port, n=1, size=100, to=SERVER):
    with hosts.a, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((CLIENT, 30000 + port % 1000))
        for _ in range(n):
            s.sendto(bytes(size), (to, port))


def rows(screen):
    """What stands first in each row."""
    return [line.rstrip() for line in screen.split("\n")[3:23] if line.strip()]


@pytest.fixture
def three(terminal, hosts):
    """The screen with three flows: to port 7001 few large packets, to 7002 many small ones,
    to 7003 of another address."""
    terminal.watch("udp")
    terminal.wait("by flow", "no packets yet")
    hosts.b.ip("addr", "replace", "10.77.0.3/16", "dev", "vb")
    send(hosts, 7001, 3, 1000)
    send(hosts, 7002, 20, 10)
    send(hosts, 7003, 1, 500, to="10.77.0.3")
    terminal.wait(":7001", ":7002", ":7003", "3 flows", "lost 0", "24 pkts")
    yield terminal


def order(terminal, ports):
    lab.wait_for(lambda: f"{ports} on\n{terminal.screen()}",
                 lambda: [r.split(":")[2][:4] for r in rows(terminal.screen())
                          if r.startswith("udp")] == ports)


def test_orders(three):
    order(three, ["7001", "7002", "7003"])  # 3,126, 1,040 and 542 bytes
    three.wait("order: bytes")
    three.keys("P")
    order(three, ["7002", "7001", "7003"])
    three.wait("order: packets")
    three.keys("r")
    order(three, ["7003", "7001", "7002"])
    three.keys("N")
    order(three, ["7001", "7002", "7003"])
    three.keys("s", "B")
    order(three, ["7003", "7002", "7001"])
    three.keys("q")
    # The last picture stays, whole, and so does the account.
    assert "24 matched = 24 delivered + 0 lost" in three.ended()


def test_rates_come_and_go(terminal, hosts):
    terminal.watch("udp")
    terminal.wait("no packets yet")

    def busy():
        send(hosts, 7001, 20, 1000)
        return any(r.startswith("udp") and not r.endswith(" 0") for r in rows(terminal.screen()))
    lab.wait_for("a rate", busy)
    lab.wait_for("no rate", lambda: rows(terminal.screen())[0].endswith(" 0"))
    terminal.keys("q")
    terminal.ended()


def test_filter(three):
    three.keys("/")
    three.wait("filter:")
    three.type("udp dst port 7002 or 7003")
    three.keys("Enter")
    screen = three.wait("filter: udp dst port 7002 or 7003", "1/2", without=(":7001",))
    assert len(rows(screen)) == 2
    # What is wrong is said below, and what was typed can be mended.
    three.keys("/", "C-u")
    three.type("udp prot 7002")
    three.keys("Enter")
    three.wait("prot", "filter: udp prot 7002")
    three.keys("Escape")
    three.wait("q quit", "filter: udp dst port")
    three.keys("/", "C-u")
    three.type("vlan 3 and udp")
    three.keys("Enter")
    three.wait("a flow has no")
    three.keys("C-u")
    three.type("x7003")
    three.keys("BSpace", "BSpace", "BSpace", "BSpace", "BSpace")
    three.type("77.0.3")
    three.keys("Enter")
    three.wait('"77.0.3"', ":7003", without=(":7001", "> 10.77.0.2:7002"))
    three.keys("/", "C-u", "Enter")
    three.wait(":7001", ":7002", ":7003", without=("filter:",))
    three.keys("C-c")
    three.ended()


def test_drill_down(three, hosts):
    """From a host to its flows to their packets, and back."""
    three.keys("2")
    three.wait("by host", "HOST", "FLOWS", SERVER, "10.77.0.3")
    three.keys("N", "Down", "Down")
    three.wait("3/3")
    three.keys("Enter")  # 10.77.0.3
    screen = three.wait("10.77.0.3: its flows", ":7003", without=(":7001",))
    assert len(rows(screen)) == 1
    three.keys("Enter")
    three.wait("0 packets", "no packets of this flow yet")
    send(hosts, 7001, 5)
    send(hosts, 7003, 40, 77, to="10.77.0.3")
    screen = three.wait("40 packets", "40/40", "length 77")
    assert "7001" not in screen
    lines = rows(screen)
    assert len(lines) == 20 and all("10.77.0.3.7003: UDP, length 77" in x for x in lines), screen
    # What one looks at stays, while more of them come.
    three.keys("Home")
    three.wait("1/40")
    send(hosts, 7003, 2, 78, to="10.77.0.3")
    three.wait("1/42", "length 77")
    three.keys("End")
    three.wait("42/42", "length 78")
    three.keys("Escape")
    three.wait("its flows")
    three.keys("Left")
    three.wait("by host", "3/3")
    three.keys("3")
    three.wait("by port", "udp/7002")
    three.keys("4")
    three.wait("by protocol", "PROTOCOL")
    three.keys("b")
    three.wait("by flow")
    three.keys("q")
    three.ended()


def test_many_packets_of_one_flow(three, hosts):
    """More than are kept: those that there was no room for are told, and lost nowhere."""
    three.keys("N", "Enter")
    three.wait("no packets of this flow yet")
    send(hosts, 7001, 20000, 10)

    def told():
        text = three.screen().split("\n")[1]
        shown = int(text.split(": ")[1].split(" ")[0])
        return shown + (int(text.split("and ")[1].split(" ")[0]) if "and " in text else 0) == 20000
    lab.wait_for("20,000 packets, shown or not", told)
    three.wait("1024/1024", "lost 0")
    three.keys("q")
    assert "20,024 matched = 20,024 delivered + 0 lost" in three.ended()


def test_pause_and_help(three, hosts):
    three.keys("Space")
    three.wait("PAUSED")
    send(hosts, 7004, 1)
    three.wait("4 flows", "25 pkts", "PAUSED", without=(":7004",))
    three.keys("Space")
    three.wait(":7004", without=("PAUSED",))
    three.keys("?")
    three.wait("KEYS", "by flow, host, port", "any key: back", without=(":7001",))
    three.keys("x")
    three.wait(":7001", without=("KEYS",))
    three.keys("q")
    three.ended()


def test_resize(three):
    for width, height in ((132, 30), (60, 12), (20, 5), (30, 8), (200, 50), (80, 24)):
        three.tmux("resize-window", "-x", width, "-y", height)
        if width < 24:
            three.wait("too small")
            continue

        def drawn():
            lines = three.screen().rstrip("\n").split("\n")
            heads = lines[2] if len(lines) > 2 else ""
            return len(lines) == height and lines[-1].startswith("1/3  q quit") \
                and lines[3].startswith("udp 10.77.0.1:30001") \
                and ("PKTS OUT" in heads) == (width >= 132) and ("AGE" in heads) == (width >= 60) \
                and heads.endswith("BITS/S") and len(heads) == width
        lab.wait_for(lambda: f"{width}x{height} on\n{three.screen()}", drawn)
    three.keys("q")
    three.ended()


ENDS = {
    "q": ("q", None, 0),
    "Ctrl-C": ("C-c", None, 0),
    "SIGTERM": (None, signal.SIGTERM, 0),
    "SIGHUP": (None, signal.SIGHUP, 0),
    "SIGQUIT": (None, signal.SIGQUIT, 131),
    "Ctrl-backslash": ("C-\\", None, 131),
    "SIGSEGV": (None, signal.SIGSEGV, 139),
    "SIGUSR2": (None, signal.SIGUSR2, 128 + signal.SIGUSR2),
    "SIGALRM": (None, signal.SIGALRM, 128 + signal.SIGALRM),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_terminal_is_as_it_was(terminal, how):
    key, number, status = ENDS[how]
    terminal.type("ulimit -c 0; echo what was there")
    terminal.keys("Enter")
    terminal.watch()
    terminal.wait("by flow", "q quit", without=("ready>",))
    if key:
        terminal.keys(key)
    else:
        os.kill(terminal.pid(), number)
    terminal.ended(status)


def test_the_end_of_time_and_of_the_interface(terminal, hosts):
    terminal.watch("--for", "1s")
    terminal.ended()
    hosts.b.ip("link", "add", "vx", "type", "veth", "peer", "name", "vy")
    hosts.b.ip("link", "set", "vx", "up")
    terminal.files["after"].unlink()
    terminal.watch("-i", "vx")
    terminal.wait("vb,vx: ", "by flow")
    hosts.b.ip("link", "del", "vx")
    # Nobody is told of it on the screen: it is looked for twice a second.
    lab.wait_for("two looks", lambda: time.sleep(3) or True)
    assert "gone" not in terminal.screen()
    terminal.keys("q")
    # What standard error was told meanwhile comes behind the screen.
    assert "vx is gone" in terminal.ended()


def test_stop_and_go_on(three):
    """Ctrl-Z gives the terminal back; fg brings the screen back."""
    three.keys("C-z")
    three.wait("Stopped", without=("by flow",))
    three.keys("C-u")
    three.type("fg")
    three.keys("Enter")
    three.wait("by flow", ":7001", ":7003", "q quit")
    three.keys("q")
    three.wait("24 matched = 24 delivered + 0 lost")


def test_a_terminal_that_takes_nothing(three, hosts):
    """Ctrl-S holds up the picture, and nothing else."""
    three.keys("C-s")
    for i in range(200):
        send(hosts, 7100 + i, 5)
    os.kill(three.pid(), signal.SIGTERM)
    lab.wait_for("the end", lambda: not os.path.exists(f"/proc/{three.pid()}")
                 or three.keys("C-q") or not os.path.exists(f"/proc/{three.pid()}"))
    assert "1,024 matched = 1,024 delivered + 0 lost" in three.ended()


@pytest.mark.parametrize("env", ["NO_COLOR=1", "TERM=vt100", "TERM=xterm-256color LC_ALL=C"])
def test_terminals(terminal, hosts, env):
    terminal.watch("udp", env=env)
    terminal.wait("no packets yet")
    send(hosts, 7001, 3)
    terminal.wait("udp 10.77.0.1:30001 > 10.77.0.2:7001", "1/1")
    coloured = "\x1b[31m" in terminal.tmux("capture-pane", "-p", "-e")
    assert not coloured
    terminal.keys("2", "Down")
    terminal.wait("by host", "2/2")
    terminal.keys("q")
    terminal.ended()


@pytest.mark.parametrize("term, why", [("dumb", "cannot move its cursor"),
                                       ("no-such", "is not known")])
def test_no_screen(terminal, hosts, term, why):
    """Where there is no screen, the plain table comes at the end."""
    terminal.watch("udp", env=f"TERM={term}")
    terminal.wait(why, "listening on vb")
    send(hosts, 7001, 3)
    terminal.keys("C-c")
    screen = terminal.ended()
    assert "FLOW" in screen and "10.77.0.2:7001" in screen and "by flow" not in screen


def test_once_and_pipes_have_no_screen(terminal, hosts):
    terminal.watch("--once", "udp")
    screen = terminal.ended()
    assert "FLOW" in screen and "by flow" not in screen
    terminal.files["after"].unlink()
    terminal.watch("--for", "1s", "--json", "udp")
    assert "by flow" not in terminal.ended()


def test_background(terminal, hosts):
    """Not ours to draw on."""
    terminal.type(f"clear; {lab.WEIR} watch -n -i vb --flows --for 1s udp & wait; echo done $?")
    terminal.keys("Enter")
    screen = terminal.wait("done 0")
    assert "FLOW" in screen and "by flow" not in screen


@pytest.mark.parametrize("args", [["--capture", "xdp"], ["--capture", "af_packet"],
                                  ["--capture", "pcap", "-Q", "in"], ["--filter-at", "user"]])
def test_packets_by_every_engine(terminal, hosts, args):
    terminal.watch(*args, "udp")
    terminal.wait("no packets yet")
    send(hosts, 7001, 3)
    terminal.wait(":7001", "1/1")
    terminal.keys("Enter")
    terminal.wait("no packets of this flow yet")
    send(hosts, 7001, 3, 55)
    send(hosts, 7002, 3, 56)
    screen = terminal.wait("3 packets", "length 55")
    assert "length 56" not in screen
    terminal.keys("q")
    terminal.ended()
