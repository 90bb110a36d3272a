# SPDX-License-Identifier: GPL-2.0-only
"""Private network namespaces, `weir watch` in the background, and readers of
what it leaves behind. Every name carries this process's id."""

import atexit
import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
PATIENCE = 30  # seconds: the limit of every wait, never what is measured

ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()
_namespaces = {}
_watches = {}


def wait_for(what, condition):
    """Until @condition() is true; returns its value. @what may be a function."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what() if callable(what) else what}"
        time.sleep(0.01)


def sh(*command, check=True, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, **options)
    assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done


class Netns:
    """A network namespace. `with ns:` makes it this thread's own."""

    def __init__(self, quiet=True):
        self.name = f"weir{os.getpid()}-{next(_serial)}"
        self.path = f"/run/netns/{self.name}"
        sh("ip", "netns", "add", self.name)
        _namespaces[self.name] = self
        self._home = []
        if quiet:
            # No neighbour discovery, so that nothing is on the wire but what is sent.
            with self:
                for where in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{where}/disable_ipv6").write_text("1")

    def __enter__(self):
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            if _libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(there)
        self._home.append(home)
        return self

    def __exit__(self, *_):
        home = self._home.pop()
        try:
            if _libc.setns(home, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(home)

    def command(self, *words):
        return ["nsenter", f"--net={self.path}", *[str(w) for w in words]]

    def sh(self, *words, **options):
        return sh(*self.command(*words), **options)

    def ip(self, *words, **options):
        return sh("ip", "-n", self.name, *words, **options)

    def link(self, dev):
        """`ip -d -s -j link show` of one device."""
        return json.loads(self.ip("-d", "-s", "-j", "link", "show", "dev", dev).stdout)[0]

    def received(self, dev):
        """(packets, bytes) that the interface statistics count."""
        rx = self.link(dev)["stats64"]["rx"]
        return rx["packets"], rx["bytes"]

    def packet_socket(self, dev, proto=0):
        with self:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.bind((dev, proto))
        return s

    def inject(self, dev, frames):
        s = self.packet_socket(dev)
        try:
            for frame in frames:
                s.send(frame)
        finally:
            s.close()

    def watch(self, *args, **options):
        return Watch(*args, ns=self, **options)

    def watches(self, *args, each):
        """Several at once: with @args and, for each, these words too."""
        started = [Watch(*args, *words, ns=self, listening=False) for words in each]
        for watch in started:
            watch.wait_listening()
        return started

    def remove(self):
        if _namespaces.pop(self.name, None):
            sh("ip", "netns", "del", self.name, check=False)


class Host(Netns):
    """A namespace that has a bpffs of its own too, for what weir pins. The mount
    namespace lasts as long as the process that holds it, which ends with this one."""

    def __init__(self, quiet=True):
        super().__init__(quiet)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c",
             "while umount /sys/fs/bpf 2>/dev/null; do :; done; "
             "mount -t bpf -o mode=0700 bpf /sys/fs/bpf && echo made && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.holder.stdout.readline() == b"made\n"

    def command(self, *words):
        return ["nsenter", f"--net={self.path}", f"--mount=/proc/{self.holder.pid}/ns/mnt",
                *[str(w) for w in words]]

    def remove(self):
        super().remove()
        self.holder.stdin.close()
        self.holder.wait(PATIENCE)


class Pair:
    """Two namespaces joined by a veth pair: `va` in `a`, `vb` in `b`. With @host `b`
    is one that weir may pin things in."""

    def __init__(self, addresses=False, mtu=1500, host=False):
        self.a = Netns(quiet=not addresses)
        self.b = (Host if host else Netns)(quiet=not addresses)
        self.a.ip("link", "add", "va", "mtu", mtu, "type", "veth",
                  "peer", "name", "vb", "mtu", mtu, "netns", self.b.name)
        for ns, dev, n in ((self.a, "va", 1), (self.b, "vb", 2)):
            if addresses:
                ns.ip("addr", "add", f"10.77.0.{n}/16", "dev", dev)
                ns.ip("addr", "add", f"fd77::{n}/64", "dev", dev, "nodad")
            ns.ip("link", "set", "lo", "up")
            ns.ip("link", "set", dev, "up")
        self.mac_a = self.a.link("va")["address"]
        self.mac_b = self.b.link("vb")["address"]

    def remove(self):
        self.a.remove()
        self.b.remove()


class Watch:
    """`weir watch ARGS` in the background; returns once it listens."""

    def __init__(self, *args, ns=None, listening=True, out=None, prefix=(), program=None):
        self.args = [str(a) for a in args]
        command = [*prefix, program or WEIR, "watch", *self.args]
        if ns:
            command = ns.command(*command)
        self._err = tempfile.TemporaryFile()
        self._out = out or tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._out,
                                        stderr=self._err)
        self.pid = self.process.pid
        self.status = None
        _watches[self.pid] = self
        if listening:
            self.wait_listening()

    def wait_listening(self):
        wait_for(f"weir watch {self.args} to listen",
                 lambda: "listening on" in self.err or self.process.poll() is not None)
        assert self.process.poll() is None, (self.args, self.process.returncode, self.err)

    @staticmethod
    def _text(f):
        size = os.fstat(f.fileno()).st_size
        return os.pread(f.fileno(), size, 0)

    @property
    def err(self):
        return self._text(self._err).decode(errors="replace")

    @property
    def out(self):
        return self._text(self._out)

    @property
    def accounts(self):
        """Every account printed so far (--stats json), whole lines only."""
        lines = self.err.split("\n")[:-1]
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if "seen" in line]

    @property
    def account(self):
        """The last account; it needs --stats json and one interface."""
        accounts = self.accounts
        assert accounts, (self.args, self.status, self.err)
        return accounts[-1]

    @property
    def json(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def send(self, number):
        self.process.send_signal(number)

    def ask(self):
        """The account of this moment, by SIGUSR1."""
        before = len(self.accounts)
        self.send(signal.SIGUSR1)
        wait_for(f"an account of {self.args}", lambda: len(self.accounts) > before
                 or self.process.poll() is not None)
        return self.account

    def wait_seen(self, n):
        wait_for(f"{n} packets to be seen by {self.args}", lambda: self.ask()["seen"] >= n)

    def wait(self):
        self.status = self.process.wait(PATIENCE)
        _watches.pop(self.pid, None)
        return self.status

    def stop(self, number=signal.SIGINT):
        self.send(number)
        self.wait()
        return self

    def kill(self):
        if _watches.pop(self.pid, None):
            self.process.kill()
            self.process.wait()

    def check_account(self):
        """The law, from the account's own words. Returns the account."""
        account = self.account
        assert account["imbalance"] == 0, account
        assert account["queued"] == 0, account
        assert account["seen"] == account["unmatched"] + account["sampled_out"] \
            + account["matched"], account
        assert account["matched"] == account["delivered"] + sum(account["lost"].values()), account
        return account


def clean_up():
    for watch in list(_watches.values()):
        watch.kill()
    for ns in list(_namespaces.values()):
        ns.remove()


atexit.register(clean_up)


def weir(*args, ns=None, prefix=(), **options):
    """Run `weir ARGS` to its end."""
    command = [*prefix, WEIR, *[str(a) for a in args]]
    options.setdefault("text", True)
    return subprocess.run(ns.command(*command) if ns else command, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=120, **options)


@contextlib.contextmanager
def public_dir(owner=None):
    """A directory that another user may reach; pytest's own are private."""
    path = Path(tempfile.mkdtemp(prefix=f"weir{os.getpid()}-", dir="/tmp"))
    path.chmod(0o755)
    if owner is not None:
        os.chown(path, owner, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def tun(ns, name, tap=False, vnet_hdr=False):
    """A tun (no layer 2) or tap device in @ns; what is written to the descriptor
    is received by the kernel."""
    flags = (2 if tap else 1) | 0x1000 | (0x4000 if vnet_hdr else 0)  # IFF_NO_PI, IFF_VNET_HDR
    with ns:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
    ns.ip("link", "set", name, "up")
    return fd


def compile_c(name, directory):
    program = Path(directory) / Path(name).stem
    if not program.exists():
        sh("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", program,
           Path(__file__).parent / name)
    return program


# --- capture files ----------------------------------------------------------

def write_pcap(path, frames, linktype=1, nanoseconds=False):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b23c4d if nanoseconds else 0xa1b2c3d4, 2, 4, 0, 0,
                            262144, linktype))
        for i, frame in enumerate(frames):
            f.write(struct.pack("<IIII", 1700000000 + i // 1000, i % 1000, len(frame), len(frame)))
            f.write(frame)
    return path


class Block:
    """One block of a pcapng file: type, body, and its options by code."""

    FIXED = {0x0a0d0d0a: 16, 1: 8, 5: 12, 6: 20}

    def __init__(self, kind, body):
        self.kind, self.body, self.data, self.options = kind, body, b"", {}
        at = self.FIXED[kind]
        if kind == 6:
            self.iface, high, low, self.caplen, self.len = struct.unpack_from("<IIIII", body)
            self.ts = high << 32 | low
            self.data = body[20:20 + self.caplen]
            at += self.caplen + (-self.caplen & 3)
        while at < len(body):
            code, size = struct.unpack_from("<HH", body, at)
            if code == 0:
                break
            self.options.setdefault(code, []).append(body[at + 4:at + 4 + size])
            at += 4 + size + (-size & 3)


SECTION, INTERFACE, STATISTICS, PACKET = 0x0a0d0d0a, 1, 5, 6


def read_pcapng(source):
    """The blocks of a little-endian pcapng file (bytes or a path)."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    at, blocks = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size >= 12 and size % 4 == 0 and at + size <= len(data), (hex(kind), size, at)
        assert struct.unpack_from("<I", data, at + size - 4)[0] == size
        blocks.append(Block(kind, data[at + 8:at + size - 4]))
        at += size
    return blocks


def packets_of(source):
    return [b.data for b in read_pcapng(source) if b.kind == PACKET]


def tshark(path, *fields, options=()):
    """Rows of fields over a file; fails on any complaint."""
    command = ["tshark", "-n", "-r", str(path)]
    for option in options:
        command += ["-o", option]
    if fields:
        command += ["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a",
                    "-E", "aggregator=;"]
        for field in fields:
            command += ["-e", field]
    done = sh(*command)
    complaints = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert not complaints, complaints
    lines = done.stdout.split("\n")[:-1]
    return [line.split("\t") for line in lines] if fields else lines
