# SPDX-License-Identifier: GPL-2.0-only
"""`weir proxy` in a namespace, clients that say a hello, and a backend that answers."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

import lab

HIGH = 30000  # where the ports of these tests begin


def raise_files(wanted=0):
    """As many descriptors as may be had, for many connections in one process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < wanted:
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def hello(name, extra=b""):
    """A record with a small ClientHello that names @name."""
    host = name.encode()
    sni = struct.pack("!HHHBH", 0, len(host) + 5, len(host) + 3, 0, len(host)) + host
    extensions = sni + extra
    body = (b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
            + struct.pack("!H", len(extensions)) + extensions)
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


class Echo:
    """Listens on @address:@port in @ns and gives back what it gets, hello and all; many
    connections in one thread."""

    def __init__(self, ns, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with ns:
            self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.accepted, self.open = 0, {}
        self._end = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        poll.register(self._end, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._end:
                    return
                if fd == self.listener.fileno():
                    self._accept(poll)
                else:
                    self._answer(poll, fd)

    def _accept(self, poll):
        with contextlib.suppress(BlockingIOError):
            while True:
                s, _ = self.listener.accept()
                self.accepted += 1
                self.open[s.fileno()] = s
                poll.register(s, select.EPOLLIN)

    def _answer(self, poll, fd):
        s = self.open[fd]
        data = b""
        with contextlib.suppress(ConnectionError):
            data = s.recv(65536)
            s.sendall(data)
        if not data:
            poll.unregister(fd)
            del self.open[fd]
            s.close()

    def close(self):
        os.eventfd_write(self._end, 1)
        self._thread.join(lab.PATIENCE)
        for s in [self.listener, *self.open.values()]:
            s.close()
        os.close(self._end)


class Client:
    """One connection through the proxy, by name."""

    def __init__(self, ns, address, port, name="a.test", source=None, wait=True):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with ns:
            self.s = socket.socket(family, socket.SOCK_STREAM)
        self.s.settimeout(lab.PATIENCE)
        if source:
            self.s.bind((source, 0))
        self.s.connect((address, port))
        self.hello = hello(name)
        self.s.sendall(self.hello)
        if wait:
            self.expect(self.hello)

    def expect(self, data):
        got = b""
        while len(got) < len(data):
            part = self.s.recv(len(data) - len(got))
            assert part, ("the end after", got)
            got += part
        assert got == data, got

    def say(self, data):
        self.s.sendall(data)
        self.expect(data)

    def ended(self):
        """True: with FIN; False: with a reset."""
        try:
            while self.s.recv(65536):
                pass
            return True
        except ConnectionError:
            return False

    def close(self):
        self.s.close()


def reaches(ns, address, port, name="a.test", source=None, seconds=lab.PATIENCE):
    """Does a connection with @name get its answer within @seconds?"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ns:
        s = socket.socket(family, socket.SOCK_STREAM)
    try:
        s.settimeout(seconds)
        if source:
            s.bind((source, 0))
        s.connect((address, port))
        s.sendall(hello(name))
        return s.recv(1) == b"\x16"
    except (ConnectionError, TimeoutError):
        return False
    finally:
        s.close()


class Proxy:
    """`weir proxy` with a configuration in a file that may be changed; returns once it
    listens."""

    def __init__(self, host, config=None, *args, prefix=(), env=None, listening=True,
                 pass_fds=()):
        self.host = host
        self.directory = tempfile.TemporaryDirectory(prefix=f"weir{os.getpid()}-")
        self.path = Path(self.directory.name) / "proxy.yaml"
        words = [str(a) for a in args]
        if config is not None:
            self.configure(config)
            words = ["-c", str(self.path), *words]
        self._err = tempfile.TemporaryFile()
        self._out = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            host.command(*prefix, lab.WEIR, "proxy", *words), stdin=subprocess.DEVNULL,
            stdout=self._out, stderr=self._err, env={**os.environ, **(env or {})},
            pass_fds=pass_fds)
        self.pid = self.process.pid
        if listening:
            self.wait_told("listening on")

    def configure(self, config):
        self.path.write_text(config)

    @staticmethod
    def _text(f):
        return os.pread(f.fileno(), os.fstat(f.fileno()).st_size, 0).decode(errors="replace")

    @property
    def err(self):
        return self._text(self._err)

    @property
    def out(self):
        return self._text(self._out)

    def wait_told(self, text, since=0):
        """...on standard error, behind its first @since characters."""
        lab.wait_for(lambda: f"{text!r} in {self.err!r}",
                     lambda: text in self.err[since:] or self.process.poll() is not None)
        assert text in self.err[since:], (self.process.returncode, self.err)

    def send(self, number):
        self.process.send_signal(number)

    def command(self, *words, status=0):
        done = subprocess.run(self.host.command(lab.WEIR, "proxy", *words), capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout,
                                                             done.stderr)
        return done

    def status(self):
        return json.loads(self.command("status", "--json").stdout)["proxy"]

    def dropped(self):
        return self.status()["account"]["dropped"]

    def reload(self, config=None, told="reloaded:"):
        """By SIGHUP; @told: how it ends."""
        before = len(self.err)
        if config is not None:
            self.configure(config)
        self.send(signal.SIGHUP)
        self.wait_told(told, since=before)

    @property
    def keeper(self):
        """The keeper's process id, or None."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "weir-keeper":
                    return int(child)
        return None

    def files(self):
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def wait(self, status=0):
        ended = self.process.wait(lab.PATIENCE)
        assert ended == status, (ended, self.err)

    def stop(self, status=0):
        self.send(signal.SIGTERM)
        self.wait(status)

    def remove(self):
        """However the test ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(lab.PATIENCE)
        self.directory.cleanup()
        self._err.close()
        self._out.close()


def pins(host):
    """What is pinned in the host's bpffs, without directories."""
    found = host.sh("sh", "-c", "find /sys/fs/bpf/weir ! -type d 2>/dev/null || true").stdout
    return sorted(found.split())


def control_socket(host):
    """Where the socket of this namespace's proxy would be."""
    with host, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        cookie = struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, 71, 8))[0]
    return Path(f"/run/weir/proxy-{cookie:016x}.sock")
