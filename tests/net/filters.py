# SPDX-License-Identifier: GPL-2.0-only
"""`weir filter` in a namespace: commands, accounts, rules; a road through it on
which every frame can be told from every other one."""

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import kernel
import lab
import packets

SOL_SOCKET_RCVBUFFORCE = 33
BPF_FLAGS = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror", "-fno-stack-protector",
             f"-I/usr/include/{os.uname().machine}-linux-gnu", f"-I{lab.TOP}/src"]
MODES = ["native", "generic", "tc"]


def interface_line(dev, mode, *words):
    """The policy's line for one of MODES."""
    return " ".join(["interface", dev, *(("hook", "tc") if mode == "tc" else ("mode", mode)),
                     *words])


class Filter:
    """`weir filter` of a lab.Host."""

    def __init__(self, host):
        self.host = host

    def __call__(self, *words, status=0, text=None, prefix=()):
        """Run it to its end, which has to be @status; an error is one line."""
        done = subprocess.run(self.host.command(*prefix, lab.WEIR, "filter", *words),
                              input=text, stdin=subprocess.DEVNULL if text is None else None,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        if status in (1, 2):
            assert done.stderr.rstrip("\n").count("\n") <= self.warnings(done.stderr), done.stderr
        return done

    @staticmethod
    def warnings(err):
        """Lines that may stand before the one that says what is wrong."""
        return len([line for line in err.splitlines() if "warning" in line])

    def apply(self, *lines, options=(), status=0):
        return self("apply", "-", *options, status=status, text="\n".join(lines) + "\n")

    def show(self):
        return self("show").stdout

    def list(self):
        return json.loads(self("list", "--json").stdout)

    def rules(self):
        """name -> rule"""
        return {rule["name"]: rule for rule in self.list()["rules"]}

    def hits(self):
        return {name: rule["hits"] for name, rule in self.rules().items()}

    def accounts(self):
        """Per interface what was seen; the law holds at any moment."""
        accounts = json.loads(self("drops", "--once", "--json").stdout)["interfaces"]
        for account in accounts:
            assert account["seen"] == account["passed"] + sum(account["dropped"].values()), account
        return accounts

    def account(self, dev, direction="in", hook=None):
        found = [a for a in self.accounts() if a["iface"] == dev and a["direction"] == direction
                 and hook in (None, a["hook"])]
        assert len(found) == 1, found
        return found[0]

    def wait_seen(self, dev, n, **which):
        lab.wait_for(lambda: f"{n} packets at {dev}: {self.account(dev, **which)}",
                     lambda: self.account(dev, **which)["seen"] >= n)
        return self.account(dev, **which)

    def test(self, *words, text=None):
        """The verdict as JSON: 0 passes, 4 is dropped."""
        done = subprocess.run(self.host.command(lab.WEIR, "filter", "test", "--json", *words),
                              input=text, stdin=subprocess.DEVNULL if text is None else None,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode in (0, 4), (words, done.returncode, done.stderr)
        told = json.loads(done.stdout)
        assert (told["verdict"] == "drop") == (done.returncode == 4), told
        return told

    def rule_of(self, frame, dev):
        """The rule or, with a !, the reason that drops a frame; None: it passes."""
        told = self.test("-i", dev, "--hex", "-", text=frame.hex())
        if told["verdict"] == "pass":
            return None
        name = told.get("rule")
        return name if told["reason"] in ("rule", "limit") else "!" + told["reason"]

    def state(self):
        """What a change that is refused may not touch."""
        return re.sub(r"--ttl \S+", "--ttl", self.show()), list(self.rules()), self.attached()

    def pinned(self):
        """[(type, id)] of what lasts."""
        told = json.loads(lab.weir("status", "--json", ns=self.host).stdout)["pinned"]
        return [(entry["type"], entry["id"]) for entry in told]

    def objects(self):
        """The same and all that its programs use, as kernel.Objects."""
        held = kernel.Objects(self.host.holder.pid)
        for kind, number in self.pinned():
            getattr(held, kind).add(number)
        held.prog |= set(self.attached().values())
        for number in held.prog:
            held.map |= set(kernel.program(number).get("map_ids", []))
        return held

    def attached(self):
        links = json.loads(self.host.ip("-d", "-j", "link", "show").stdout)
        return {link["ifname"]: link["xdp"]["prog"]["id"] for link in links
                if link.get("xdp", {}).get("attached")}

    def remove(self):
        lab.weir("unload", ns=self.host)


# --- what passes ------------------------------------------------------------

class Tap:
    """Every frame that an interface receives, behind XDP and before tc."""

    def __init__(self, ns, dev, room=64 << 20):
        self.s = ns.packet_socket(dev)
        self.s.setsockopt(socket.SOL_SOCKET, SOL_SOCKET_RCVBUFFORCE, room)
        self.s.bind((dev, lab.ETH_P_ALL))
        self.s.setblocking(False)

    def take(self):
        """Those that came since."""
        frames = []
        while True:
            try:
                frame, (_, _, kind, _, _) = self.s.recvfrom(65536)
            except BlockingIOError:
                return frames
            if kind != socket.PACKET_OUTGOING:
                frames.append(frame)

    def lost(self):
        return struct.unpack("II", self.s.getsockopt(263, 6, 8))[1]  # PACKET_STATISTICS

    def close(self):
        self.s.close()


MARK = 0xf0f1f2f3


def marked(frame, serial):
    """@frame, as long as Ethernet wants it, with its number behind its end."""
    return frame + bytes(max(0, 60 - len(frame))) + struct.pack("!II", MARK, serial)


def serials(frames):
    """The numbers of frames, wherever in them they are."""
    found = []
    for frame in frames:
        at = frame.rfind(struct.pack("!I", MARK))
        if at >= 0:
            found.append(struct.unpack_from("!I", frame, at + 4)[0])
    return found


@contextlib.contextmanager
def one_cpu():
    """What is sent on one CPU arrives in its order."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


class Road:
    """a sends by va; b filters what comes in by vb and bridges the rest to c, where
    a tap listens: what gets there has passed whatever hook looked at it. A bridge
    cares for no header behind Ethernet's."""

    def __init__(self, mtu=1500):
        self.pair = lab.Pair(host=True, mtu=mtu)
        self.a, self.b = self.pair.a, self.pair.b
        self.c = lab.Netns()
        self.b.ip("link", "add", "vc", "mtu", mtu, "type", "veth",
                  "peer", "name", "vd", "mtu", mtu, "netns", self.c.name)
        self.b.ip("link", "add", "name", "wbr", "type", "bridge", "mcast_snooping", 0)
        with self.b:
            for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
                path.write_text("0")
        for dev in ("vb", "vc"):
            # A bridge that learns nothing floods everything.
            self.b.ip("link", "set", dev, "master", "wbr")
            self.b.ip("link", "set", dev, "type", "bridge_slave", "learning", "off")
        for ns, dev in ((self.b, "vc"), (self.b, "wbr"), (self.c, "vd")):
            ns.ip("link", "set", dev, "up")
        self.filter = Filter(self.b)
        self.tap = Tap(self.c, "vd")
        self.serial = 0

    def send(self, frames):
        """Each with a number of its own; returns which of them came through, in
        the order of sending, as booleans."""
        first = self.serial
        self.serial += len(frames)
        hook = self.filter.accounts()[0]
        want = hook["seen"] + len(frames)
        self.tap.take()
        with one_cpu():
            self.a.inject("va", [marked(frame, first + i) for i, frame in enumerate(frames)])
        account = self.filter.wait_seen("vb", want)
        assert account["seen"] == want, account
        passed = account["passed"] - hook["passed"]
        came = set()

        def arrived():
            came.update(serials(self.tap.take()))
            return len(came) >= passed

        lab.wait_for(lambda: f"{passed} frames behind the bridge, {len(came)} came", arrived)
        assert len(came) == passed
        return [first + i in came for i in range(len(frames))]

    def remove(self):
        self.tap.close()
        self.filter.remove()
        self.pair.remove()
        self.c.remove()


def packets_to(ports, src="10.0.0.7"):
    """[(port, frame)] whose number is the port; the last one, number 0, is ARP, which
    every policy lets through that says nothing of it."""
    maker = packets.Maker(seed=1)
    found = []
    for port in ports:
        body = maker.udp(16)
        ethertype, packet = maker.ip4(packets.UDP, body[:2] + struct.pack("!H", port) + body[4:])
        packet = packet[:12] + socket.inet_aton(src) + packet[16:]
        found.append((port, marked(maker.ether([], ethertype, packet, packets.MACS[0]), port)))
    return [*found, (0, marked(maker.ether([], *maker.arp(1), packets.GROUPS[0]), 0))]


class Crossfire:
    """Traffic for two policies that disagree about everything: of each volley the
    packet to port 80 passes under one of them, that to 81 under the other, those to
    82 and from the set @bad under neither. Rules of the same names decide every
    packet in both, so that one which a half policy judged is missing somewhere."""

    BAD = "10.9.9.9"
    SHOTS = [("one", 80, "10.0.0.7"), ("two", 81, "10.0.0.7"), ("never", 82, "10.0.0.7"),
             ("feed", 80, BAD), ("feed", 81, BAD)]

    @staticmethod
    def policy(first, line, feed):
        """The policy that lets pass port 80 (@first) or 81."""
        words = ("allow", "deny") if first else ("deny", "allow")
        return "\n".join([f"{line} default drop", f"set bad file {feed}",
                          "feed: deny src net @bad", f"one: {words[0]} dst port 80",
                          f"two: {words[1]} dst port 81", "never: deny dst port 82"]) + "\n"

    def __init__(self, weir_filter, a, b, behind=True):
        """From va of @a to vb of @b; @behind: a tap at vb sees what has passed."""
        self.filter, self.a, self.dev_a, self.dev_b = weir_filter, a, "va", "vb"
        self.before = weir_filter.account(self.dev_b), weir_filter.hits()
        self.tx = a.link(self.dev_a)["stats64"]["tx"]
        self.tap = Tap(b, self.dev_b, room=1 << 30) if behind else None
        self.frames = [dict(packets_to([port], src))[port][:-4] for _, port, src in self.SHOTS]
        self.socket = a.packet_socket(self.dev_a)
        self.volleys, self._stop = 0, threading.Event()
        self._thread = Background(self._shoot)

    def _shoot(self):
        while not self._stop.is_set():
            for i, frame in enumerate(self.frames):
                serial = struct.pack("!I", self.volleys * len(self.frames) + i)
                try:
                    self.socket.send(frame + serial)
                except OSError:  # a full queue: counted by the interface
                    pass
            self.volleys += 1
            time.sleep(0.0004)

    def cease(self, switches):
        """Stop, and judge: at most @switches volleys saw a change of policy between
        their shots. Returns how many volleys there were."""
        self._stop.set()
        self._thread.join()
        self.socket.close()
        tx = self.a.link(self.dev_a)["stats64"]["tx"]
        sent = self.volleys * len(self.frames) - (tx["dropped"] - self.tx["dropped"])
        assert tx["packets"] - self.tx["packets"] == sent
        account, hits = self.filter.wait_seen(self.dev_b, self.before[0]["seen"] + sent), \
            self.filter.hits()
        # Every packet was decided by a rule, once.
        assert account["seen"] - self.before[0]["seen"] == sent
        assert account["dropped"].keys() == {"rule"}, account
        decided = {name: hits[name] - self.before[1][name] for name in hits}
        assert sum(decided.values()) == sent, (decided, sent)
        if self.tap:
            self._judge(account["passed"] - self.before[0]["passed"], switches, sent)
        return self.volleys

    def _judge(self, passed, switches, sent):
        came, lost, n = set(serials(self.tap.take())), self.tap.lost(), len(self.frames)
        self.tap.close()
        assert passed == len(came) + lost
        assert not [s for s in came if s % n >= 2], "a packet passed that no policy lets pass"
        # Unless something was lost on the way, exactly one of a volley's first two passes.
        odd = [v for v in range(self.volleys) if (v * n in came) == (v * n + 1 in came)]
        lossless = sent == self.volleys * n and not lost
        assert len(odd) <= switches or not lossless, (len(odd), switches, odd[:20])


# --- programs of others -----------------------------------------------------

def compile_bpf(directory, name, text):
    source, target = Path(directory) / f"{name}.c", Path(directory) / f"{name}.o"
    source.write_text(text)
    lab.sh("clang", *BPF_FLAGS, "-c", source, "-o", target)
    return target


class Background:
    """A function in a thread; join() gives its value or raises what it raised."""

    def __init__(self, fn, *args):
        self._out, self._error = None, None

        def run():
            try:
                self._out = fn(*args)
            except BaseException as error:  # pylint: disable=broad-except
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def join(self):
        self._thread.join(lab.PATIENCE * 4)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error
        return self._out

