# SPDX-License-Identifier: GPL-2.0-only
"""Programs of others on both sides: curl, OpenSSL and GnuTLS as clients; nginx,
OpenSSL and HAProxy as servers; the PROXY protocol from and to HAProxy and nginx."""

import re
import socket
import subprocess
import tempfile

import pytest

import hellos
import lab
import servers

TLS_PORT, TRUST_PORT = 443, 9443
NAMES = {  # host name -> port of its server
    "plain.example.com": 9301,
    "nginx1.example.com": 9302,
    "nginx2.example.com": 9302,
    "haproxy.example.com": 9303,
    "openssl.example.com": 9304,
    "raw1.example.com": 9305,
    "raw2.example.com": 9305,
}
FROM_HAPROXY = {9601: "send-proxy", 9602: "send-proxy-v2",
                9603: "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"}

NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {cert}; default_type text/plain;
    server {{
        listen 127.0.0.1:9301 ssl http2;
        location /big {{ alias {dir}/big; }}
        location / {{ return 200 "$ssl_server_name $ssl_protocol $server_protocol\\n"; }}
    }}
    server {{
        listen 127.0.0.1:9302 ssl http2 proxy_protocol;
        location / {{
            return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $ssl_server_name\\n";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 5s
frontend behind
    bind 127.0.0.1:9303 accept-proxy ssl crt {cert} alpn h2,http/1.1
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[ssl_fc_sni]\\n"
"""

HAPROXY_IN_FRONT = """
defaults
    mode tcp
    timeout client 20s
    timeout server 20s
    timeout connect 5s
"""


class Peers:
    def __init__(self, directory):
        self.dir = directory
        self.pair = lab.Pair(addresses=True, host=True)
        names = ",".join(f"DNS:{name}" for name in NAMES)
        self.cert = servers.certificate(directory, "plain.example.com", names)
        self.ca = self.cert.with_suffix(".crt")
        self.left = []
        self.start_servers()
        self.proxy = servers.Proxy(self.pair.b, {
            "listen": [f"[::]:{TLS_PORT}", {"address": f"[::]:{TRUST_PORT}", "name": "trust",
                                            "accept_proxy": [servers.CLIENT, "fd77::1"]}],
            "routes": [{"match": name, "backends": [f"127.0.0.1:{port}"], "send_proxy": {
                "nginx1": "v1", "nginx2": "v2", "haproxy": "v2", "raw1": "v1", "raw2": "v2",
            }.get(name.split(".")[0], "off")} for name, port in NAMES.items()],
        })
        self.left.append(self.proxy)

    def program(self, ns, port, *words, **options):
        made = servers.Program(ns, port, *words, directory=self.dir, **options)
        self.left.append(made)
        return made

    def start_servers(self):
        a, b, d = self.pair.a, self.pair.b, self.dir
        (d / "big").write_bytes(bytes(range(256)) * (1 << 15))
        (d / "nginx.conf").write_text(NGINX.format(dir=d, cert=self.cert))
        self.program(b, 9301, "nginx", "-p", d, "-c", d / "nginx.conf")
        (d / "haproxy.cfg").write_text(HAPROXY.format(cert=self.cert))
        self.program(b, 9303, "haproxy", "-db", "-f", d / "haproxy.cfg")
        self.openssl = self.program(
            b, 9304, "openssl", "s_server", "-accept", "127.0.0.1:9304", "-cert", self.cert,
            "-key", self.cert, "-alpn", "h2,http/1.1", "-early_data", stdin=subprocess.PIPE)
        self.raw = servers.Recorder(b, 9305, "raw")
        self.left.append(self.raw)
        front = HAPROXY_IN_FRONT
        for port, words in FROM_HAPROXY.items():
            front += f"listen l{port}\n    bind 127.0.0.1:{port}\n" \
                f"    unique-id-format %{{+X}}o%ci%cp%rt\n" \
                f"    tcp-request inspect-delay 5s\n" \
                f"    tcp-request content accept if {{ req.ssl_hello_type 1 }}\n" \
                f"    server w {servers.HERE}:{TRUST_PORT} {words}\n"
        (d / "front.cfg").write_text(front)
        self.program(a, 9603, "haproxy", "-db", "-f", d / "front.cfg")

    def curl(self, name, *words, path="/", address=servers.HERE, status=0):
        """(what it printed, the line of the log)"""
        where = f"[{address}]" if ":" in address else address
        port = next(servers.PORTS)
        done = self.pair.a.sh("curl", "-sS", "--max-time", "20", "--cacert", self.ca, "--resolve",
                              f"{name}:{TLS_PORT}:{where}", "--local-port", port, *words,
                              f"https://{name}:{TLS_PORT}{path}", check=False)
        assert done.returncode == status, done
        return done.stdout, self.proxy.logged(port)

    def talk(self, *command, say="", until=lambda: False):
        """What a client prints that is told @say, and to leave when @until() is true, unless
        it does so by itself."""
        with tempfile.TemporaryFile() as out:
            p = subprocess.Popen(self.pair.a.command(*command), stdin=subprocess.PIPE, stdout=out,
                                 stderr=subprocess.STDOUT)
            try:
                p.stdin.write(say.encode())
                p.stdin.flush()
                lab.wait_for(f"{command}", lambda: until() or p.poll() is not None)
                p.stdin.close()
                status = p.wait(lab.PATIENCE)
            finally:
                p.kill()
                p.wait()
            out.seek(0)
            text = out.read().decode(errors="replace")
        assert status == 0, text
        return text

    def s_client(self, *words, **options):
        return self.talk("openssl", "s_client", "-connect", f"{servers.HERE}:{TLS_PORT}",
                         "-servername", "openssl.example.com", "-CAfile", self.ca,
                         "-verify_return_error", *words, **options)

    def lines(self, sni):
        return [line for line in self.proxy.log() if line.get("sni") == sni]

    def remove(self):
        for thing in reversed(self.left):
            thing.remove()
        self.pair.remove()


@pytest.fixture(scope="module")
def peers():
    # nginx wants a directory that it may reach as whoever it becomes.
    with lab.public_dir() as directory:
        p = Peers(directory)
        yield p
        p.remove()


# ---- curl and nginx

@pytest.mark.parametrize("words,want", [
    (("--http2",), "TLSv1.3 HTTP/2.0"),
    (("--http1.1",), "TLSv1.3 HTTP/1.1"),
    (("--http2", "--tls-max", "1.2"), "TLSv1.2 HTTP/2.0"),
    (("--http1.1", "--tls-max", "1.2"), "TLSv1.2 HTTP/1.1"),
])
def test_curl_to_nginx(peers, words, want):
    told, line = peers.curl("plain.example.com", *words)
    assert told == f"plain.example.com {want}\n"
    assert line["alpn"] == ("h2" if "--http2" in words else "http/1.1"), line


def test_curl_gets_every_byte(peers):
    out = peers.dir / "got"
    for words in ("--http2",), ("--http1.1",):
        _, line = peers.curl("plain.example.com", *words, "-o", out, path="/big")
        assert out.read_bytes() == (peers.dir / "big").read_bytes()
        assert line["bytes_out"] > out.stat().st_size, line


def test_curl_is_refused_what_has_no_route(peers):
    _, line = peers.curl("no.example.com", status=35)  # no TLS connection
    assert line["sni"] == "no.example.com" and line["reason"] == "no_match", line


# ---- GnuTLS

@pytest.mark.parametrize("priority", ["NORMAL", "NORMAL:-VERS-TLS1.3"])
def test_gnutls_to_nginx(peers, priority):
    name = "plain.example.com"
    before = len(peers.lines(name))
    got = peers.talk(
        "gnutls-cli", "--x509cafile", peers.ca, "--sni-hostname", name, "--verify-hostname", name,
        "--alpn", "http/1.1", "--priority", priority, "-p", TLS_PORT, servers.HERE,
        say="GET / HTTP/1.0\r\n\r\n")
    version = "TLSv1.2" if "-VERS" in priority else "TLSv1.3"
    assert f"{name} {version} HTTP/1.0" in got and "certificate is trusted" in got, got
    lab.wait_for("its line", lambda: len(peers.lines(name)) > before)
    assert peers.lines(name)[-1]["alpn"] == "http/1.1"


# ---- OpenSSL at both ends

@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_openssl(peers, version, protocol):
    word = f"said{version}{protocol}".replace("/", "")
    out = peers.s_client(version, "-alpn", protocol, say=f"{word}\n",
                         until=lambda: word in peers.openssl.text)
    assert "Verify return code: 0 (ok)" in out and f"ALPN protocol: {protocol}" in out, out
    assert version[-1] in re.search(r"New, TLSv1\.(\d)", out)[1], out
    assert word in peers.openssl.text


def test_openssl_early_data(peers):
    session, early = peers.dir / "session", peers.dir / "early"
    early.write_text("this came before the handshake was over\n" * 50)
    out = peers.s_client("-tls1_3", "-sess_out", session,
                         until=lambda: session.exists() and session.read_text())
    assert session.exists(), out

    def there():
        return early.read_text() in peers.openssl.text.replace("\r", "")
    out = peers.s_client("-tls1_3", "-sess_in", session, "-early_data", early, until=there)
    assert "Early data was accepted" in out and there(), out


# ---- PROXY out

@pytest.mark.parametrize("name", ["nginx1.example.com", "nginx2.example.com",
                                  "haproxy.example.com"])
@pytest.mark.parametrize("client,here", [(servers.CLIENT, servers.HERE), ("fd77::1", "fd77::2")])
def test_proxy_out(peers, name, client, here):
    told, line = peers.curl(name, address=here)
    assert (line["remote_ip"], line["local_ip"]) == (client, here), line
    want = [client, str(line["remote_port"]), here, str(TLS_PORT)]
    if name.startswith("haproxy"):
        want.append(name)  # AUTHORITY
    assert told.split() == [*want, name], (told, line)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_proxy_out_byte_by_byte(peers, version, family):
    name = f"raw{version}.example.com"
    client, here = {socket.AF_INET: (servers.CLIENT, servers.HERE),
                    socket.AF_INET6: ("fd77::1", "fd77::2")}[family]
    hello = hellos.records(hellos.message(name.upper().encode() + b"."))
    before = len(peers.raw.seen)
    with servers.connect(peers.pair.a, TLS_PORT, here) as s:
        port = s.getsockname()[1]
        s.sendall(hello + b"and more")
        s.shutdown(1)
        assert servers.read_end(s) == (b"raw", True)
    lab.wait_for("its end", lambda: len(peers.raw.seen) > before)
    if version == 1:
        kind = "TCP4" if family == socket.AF_INET else "TCP6"
        header = f"PROXY {kind} {client} {here} {port} {TLS_PORT}\r\n".encode()
    else:
        rest = socket.inet_pton(family, client) + socket.inet_pton(family, here) \
            + port.to_bytes(2, "big") + TLS_PORT.to_bytes(2, "big") \
            + b"\1\0\2h2\2" + len(name).to_bytes(2, "big") + name.encode()
        header = b"\r\n\r\n\0\r\nQUIT\n\x21" + (b"\x11" if family == socket.AF_INET else b"\x21") \
            + len(rest).to_bytes(2, "big") + rest
    assert peers.raw.seen[-1] == header + hello + b"and more"
    line = peers.proxy.logged(port)
    assert line["bytes_in"] == len(hello) + 8, line  # the header is not the client's


# ---- PROXY in

@pytest.mark.parametrize("port", FROM_HAPROXY, ids=lambda port: FROM_HAPROXY[port].split()[-1])
def test_proxy_in_from_haproxy(peers, port):
    name = "plain.example.com"
    with servers.connect(peers.pair.a, port, "127.0.0.1") as s:
        client = hellos.Client(s, name, hellos.ways(name.encode())["at_once"])
        got = client.ask(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        assert b"plain.example.com TLSv1.3 HTTP/1.0" in got, got
        local = s.getsockname()[1]
    line = peers.proxy.logged(local)
    assert (line["remote_ip"], line["local_ip"], line["local_port"], line["listener"]) \
        == ("127.0.0.1", "127.0.0.1", port, "trust"), line


def test_proxy_in_and_out(peers):
    """Through HAProxy, through the proxy, to HAProxy: it knows the first one."""
    name = "haproxy.example.com"
    with servers.connect(peers.pair.a, 9602, "127.0.0.1") as s:
        client = hellos.Client(s, name, hellos.ways(name.encode())["at_once"])
        got = client.ask(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        while not got.endswith(b"\n"):
            got += client.call(client.tls.read, 65536)
        local = s.getsockname()[1]
    assert got.split(b"\r\n\r\n")[1].decode().split() \
        == ["127.0.0.1", str(local), "127.0.0.1", "9602", name, name], got


def test_proxy_in_from_others_is_refused(peers):
    with servers.connect(peers.pair.b, TRUST_PORT, "127.0.0.1") as s:
        port = s.getsockname()[1]
        try:
            s.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n")
        except OSError:
            pass
        assert servers.read_end(s)[0] == b""
    line = peers.proxy.logged(port)
    assert line["remote_ip"] == "127.0.0.1" and line["reason"] == "source", line
    assert "backend" not in line, line


def test_all_are_accounted_for(peers):
    peers.proxy.check_account()
    peers.proxy.stop()
