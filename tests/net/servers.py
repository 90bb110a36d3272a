# SPDX-License-Identifier: GPL-2.0-only
"""Servers for `weir proxy` to find, and the proxy with an access log that is read."""

import itertools
import json
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import lab
import proxies

CLIENT, HERE = "10.77.0.1", "10.77.0.2"  # lab.Pair's; the proxy is HERE
# No two connections come from the same port, so that the log's lines can be told apart.
PORTS = itertools.count(10000)


class Proxy(proxies.Proxy):
    """@config is the file, as Python values: JSON is YAML."""

    def __init__(self, host, config):
        super().__init__(host, config)

    def configure(self, config):
        self.log_file = Path(self.directory.name) / "access.log"
        super().configure(json.dumps({"log": str(self.log_file), "drain": "5s", **config}))

    def log(self):
        """A dict for each connection that ended; whole lines only."""
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text().split("\n")[:-1]]

    def logged(self, port):
        """The line of the client that came from @port, which came once only."""
        def look():
            return [line for line in self.log() if line.get("remote_port") == port]

        lab.wait_for(lambda: f"port {port} in {self.log()[-3:]}, {self.err}", look)
        found = look()
        assert len(found) == 1, found
        return found[0]

    def check_account(self):
        """Every connection has ended, and each is counted for one reason."""
        lab.wait_for("every connection to end", lambda: not self.status()["account"]["open"])
        account = self.status()["account"]
        assert account["seen"] == account["passed"] + sum(account["dropped"].values()), account
        ended = {}
        for line in self.log():
            ended[line["reason"]] = ended.get(line["reason"], 0) + 1
        assert account["seen"] == sum(ended.values()), (account, ended)
        for reason, n in account["dropped"].items():
            assert ended[reason] == n, (account, ended)


class Server:
    """A TCP server on threads, one a connection; made in @ns."""

    def __init__(self, ns, port, address="127.0.0.1"):
        with ns:
            self.socket = socket.create_server((address, port), backlog=128)
        self.address = f"{address}:{port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer = self.socket.accept()[0]
            except OSError:
                return
            peer.settimeout(lab.PATIENCE)
            threading.Thread(target=self.guard, args=(peer,), daemon=True).start()

    def guard(self, peer):
        with peer:
            try:
                self.serve(peer)
            except OSError:
                pass

    def serve(self, peer):
        raise NotImplementedError

    def remove(self):
        # A thread that waits in accept() holds on to a socket that is only closed.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Recorder(Server):
    """Says its name, keeps what it is sent up to the FIN."""

    def __init__(self, ns, port, name):
        self.name, self.seen = name, []
        super().__init__(ns, port)

    def serve(self, peer):
        peer.sendall(self.name.encode())
        data = b""
        while part := peer.recv(65536):
            data += part
        self.seen.append(data)


class Tls(Server):
    """A TLS server with a certificate of its own: says its name, then echoes."""

    def __init__(self, ns, port, name, cert, alpn=()):
        self.name = name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert)
        if alpn:
            self.context.set_alpn_protocols(alpn)
        super().__init__(ns, port)

    def serve(self, peer):
        with self.context.wrap_socket(peer, server_side=True) as tls:
            protocol = tls.selected_alpn_protocol() or "-"
            while data := tls.recv(65536):
                tls.sendall(f"{self.name} {protocol} ".encode() + data)


def certificate(directory, name, names=None):
    """A key and a certificate of @name (or of @names: "DNS:a,DNS:b") in one file."""
    path = Path(directory) / f"{name}.pem"
    key, crt = path.with_suffix(".key"), path.with_suffix(".crt")
    lab.sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
           "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
           f"subjectAltName={names or 'DNS:' + name}", "-keyout", key, "-out", crt)
    path.write_bytes(key.read_bytes() + crt.read_bytes())
    path.chmod(0o644)
    return path


class Program:
    """A server that is a program; ready when it listens on @port of @ns."""

    def __init__(self, ns, port, *words, directory, stdin=subprocess.DEVNULL):
        self.out = open(Path(directory) / f"{Path(words[0]).name}-{port}.out", "w+b")
        self.process = subprocess.Popen(ns.command(*words), stdin=stdin, stdout=self.out,
                                        stderr=subprocess.STDOUT)

        def listens():
            listening = ns.sh("ss", "-Hltn", f"sport = :{port}").stdout
            return listening or self.process.poll() is not None

        lab.wait_for(f"{words[0]} to listen", listens)
        assert self.process.poll() is None, self.text

    @property
    def text(self):
        return Path(self.out.name).read_text(errors="replace")

    def remove(self):
        if self.process.stdin:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.out.close()


def connect(ns, port, address=HERE):
    with ns:
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(lab.PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.bind(("", next(PORTS)))
    s.connect((address, port))
    return s


def read_end(s):
    """What comes up to the end, which may be a reset; (bytes, was it a FIN)."""
    data = b""
    try:
        while part := s.recv(65536):
            data += part
    except ConnectionResetError:
        return data, False
    return data, True
