# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --names`: real name servers, TLS and HTTP peers; tshark as the judge of files."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

import hellos
import lab

pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("unbound", "dig", "openssl", "curl"))),
                                reason="no unbound, dig, openssl or curl")

HERE = "10.77.0.2"
TLS, HTTP, SINK = 443, 80, 8443
SNI, HOST = "tls.names.test", "web.names.test"

UNBOUND = """
server:
    interface: %s
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "%s"
    pidfile: "%s/pid"
    use-syslog: no
    local-zone: "names.test." static
    local-data: "host.names.test. 5 IN A 10.77.0.2"
    local-data: "host.names.test. 5 IN AAAA fd77::2"
    local-data: "mail.names.test. 5 IN MX 10 host.names.test."
remote-control:
    control-enable: no
"""

ENGINES = {
    "tc": ["--capture", "tc"],
    "xdp": ["--capture", "xdp"],
    "af_packet": ["--capture", "af_packet"],
    "af_packet fanout": ["--capture", "af_packet", "--fanout", "2"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "perf": ["--capture", "tc", "--transport", "perf"],
    "pcap": ["--capture", "pcap"],
    "user": ["--filter-at", "user"],
}


class Peers:
    """Servers in @pair.b; what is watched is its interface."""

    def __init__(self, pair):
        self.pair, self.programs = pair, []
        self.directory = tempfile.TemporaryDirectory(prefix=f"weir{pair.b.name}-")
        top = Path(self.directory.name)
        (top / "unbound.conf").write_text(UNBOUND % (HERE, top, top))
        lab.sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", top / "key",
               "-out", top / "cert", "-days", "2", "-subj", "/CN=names.test")
        self.run("unbound", "-d", "-c", top / "unbound.conf")
        self.run("openssl", "s_server", "-quiet", "-accept", TLS, "-key", top / "key", "-cert",
                 top / "cert", "-www", "-alpn", "h2,http/1.1")
        self.run("/usr/bin/python3", "-m", "http.server", "-d", top, HTTP)
        with pair.b:
            self.sink = socket.create_server((HERE, SINK))
        lab.wait_for("unbound", lambda: "10.77.0.2" in self.dig("+short", "host.names.test"))
        for port in (TLS, HTTP):
            lab.wait_for(f"port {port}", lambda port=port: self.connects(port))

    def run(self, *words):
        self.programs.append(subprocess.Popen(
            self.pair.b.command(*words), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL))

    def connects(self, port):
        with self.pair.a, contextlib.suppress(OSError):
            socket.create_connection((HERE, port), 1).close()
            return True
        return False

    def dig(self, *words):
        return self.pair.a.sh("dig", "+tries=3", "+time=10", f"@{HERE}", *words, check=False).stdout

    def traffic(self):
        self.dig("host.names.test")
        self.dig("+tcp", "mail.names.test", "MX")
        self.dig("gone.names.test", "AAAA")
        self.pair.a.sh("openssl", "s_client", "-connect", f"{HERE}:{TLS}", "-servername", SNI,
                       "-alpn", "h2,http/1.1", check=False)
        self.pair.a.sh("curl", "-s", "-o", "/dev/null", "-H", f"Host: {HOST}",
                       f"http://{HERE}:{HTTP}/a/b?c")
        self.big_hello()

    def big_hello(self):
        """As browsers send it, in two segments, cut within the name."""
        hello = hellos.records(hellos.message(b"big.names.test", grease=True, key_share=1216,
                                              pad=300))
        cut = hello.index(b"big.") + 2
        with self.pair.a:
            client = socket.create_connection((HERE, SINK))
        server, _ = self.sink.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(hello[:cut])
        assert server.recv(cut, socket.MSG_WAITALL) == hello[:cut]
        client.sendall(hello[cut:])
        server.recv(len(hello) - cut, socket.MSG_WAITALL)
        client.close()
        server.close()

    def remove(self):
        self.sink.close()
        for program in self.programs:
            program.kill()
            program.wait(lab.PATIENCE)
        self.directory.cleanup()


@pytest.fixture(scope="module")
def peers():
    pair = lab.Pair(addresses=True)
    p = Peers(pair)
    yield p
    p.remove()
    pair.remove()


def names_account(watch):
    return [json.loads(line) for line in watch.err.splitlines() if '"names"' in line][-1]["names"]


def wait_names(watch, **wanted):
    """Until the account says that so many messages were told of."""
    def enough():
        watch.ask()
        told = names_account(watch)
        return all(told[kind] >= n for kind, n in wanted.items())

    lab.wait_for(lambda: f"{wanted} in {watch.err}", enough)


def run(peers, *args, traffic=None, **wanted):
    watch = peers.pair.b.watch("-i", "vb", "--names", "--stats", "json", *args)
    (traffic or peers.traffic)()
    wait_names(watch, **wanted)
    assert watch.stop().status == 0, watch.err
    watch.check_account()
    return watch


def check_packets(packets, answers=True):
    """What the traffic told, each message once."""
    tls = {p["sni"]: p.get("alpn") for p in packets if "sni" in p}
    assert tls == {SNI: ["h2", "http/1.1"], "big.names.test": ["h2", "http/1.1"]}
    assert [p["http"] for p in packets if "http" in p] == \
        [{"method": "GET", "path": "/a/b?c", "host": HOST}]
    dns = [(p["protocol"], p["dns"]) for p in packets if "dns" in p]
    asked = [(proto, d["question"], d["type"]) for proto, d in dns if not d["response"]]
    assert sorted(asked) == [("tcp", "mail.names.test", "MX"), ("udp", "gone.names.test", "AAAA"),
                             ("udp", "host.names.test", "A")]
    if not answers:
        return
    answered = {d["question"]: d for _, d in dns if d["response"]}
    assert answered["host.names.test"]["answers"] == \
        [{"name": "host.names.test", "type": "A", "ttl": 5, "data": HERE}]
    assert answered["mail.names.test"]["answers"][0]["data"] == "host.names.test"
    assert answered["gone.names.test"]["rcode"] == "NXDOMAIN"
    # From the answer on the server has a name.
    web = next(p for p in packets if "http" in p)
    assert web["dst_name"] == "host.names.test" and "src_name" not in web


@pytest.mark.parametrize("engine", ENGINES)
def test_packets(peers, engine):
    one_way = engine == "xdp"
    watch = run(peers, "--format", "json", *ENGINES[engine], tls=2, http=1,
                dns=3 if one_way else 6)
    packets = watch.json
    if engine == "af_packet fanout":  # its threads write as they come
        packets.sort(key=lambda p: p["ts"])
        check_packets(packets, answers=False)
    else:
        check_packets(packets, answers=not one_way)
    told = names_account(watch)
    assert (told["tls"], told["http"], told["lost"]) == (2, 1, 0)
    assert told["given_up"] == {}


@pytest.mark.parametrize("engine", ["tc", "af_packet", "perf", "pcap"])
def test_short_packets(peers, engine):
    """Lines need 320 bytes of a packet: names come all the same, and nothing else is longer."""
    watch = run(peers, "-t", "-s", "100", *ENGINES[engine], tls=2, http=1, dns=6)
    lines = watch.out.decode().splitlines()
    text = "\n".join(lines)
    assert f": TLS SNI {SNI} ALPN h2,http/1.1" in text
    assert ": TLS SNI big.names.test ALPN h2,http/1.1" in text
    assert f": HTTP GET /a/b?c {HOST}" in text
    assert "A? host.names.test." in text and " NXDOMAIN AAAA? gone.names.test." in text
    assert f"10.77.0.1" in text and "> host.names.test.https: Flags" in text
    assert names_account(watch)["given_up"] == {}


def test_numbers(peers):
    watch = run(peers, "-t", "-n", tls=2, http=1, dns=6)
    text = watch.out.decode()
    assert f": TLS SNI {SNI}" in text
    assert "host.names.test.443" not in text and "> 10.77.0.2.443: " in text


@pytest.mark.parametrize("engine", ["tc", "af_packet", "xdp", "user"])
def test_flows(peers, engine):
    """Flows that the kernel adds up carry names; what is shipped for them counts once."""
    one_way = engine == "xdp"
    watch = run(peers, "--flows", "--json", *ENGINES[engine], tls=2, http=1,
                dns=3 if one_way else 6)
    flows = {(f["protocol"], f.get("dst_port")): f for f in watch.json if f.get("dst_ip") == HERE}
    tls = flows["tcp", TLS]
    assert (tls["sni"], tls["alpn"]) == (SNI, ["h2", "http/1.1"])
    assert flows["tcp", SINK]["sni"] == "big.names.test"
    assert flows["tcp", HTTP]["http_host"] == HOST and "sni" not in flows["tcp", HTTP]
    if not one_way:
        assert all(flows["tcp", port]["dst_name"] == "host.names.test"
                   for port in (TLS, HTTP, SINK))
    told = names_account(watch)
    assert told["given_up"] == {} and told["lost"] == 0
    # Of all packets only the few that may tell something.
    assert (told["shipped"] == 0) == (engine == "user")
    assert told["shipped"] < watch.account["seen"] / 2
    assert sum(f["packets"] for f in watch.json) == watch.account["delivered"]


def test_flows_without_names(peers):
    watch = peers.pair.b.watch("-i", "vb", "--flows", "--json")
    peers.traffic()
    watch.wait_seen(40)
    assert watch.stop().status == 0
    for flow in watch.json:
        assert not {"sni", "alpn", "http_host", "src_name", "dst_name"} & set(flow)
    assert '"names"' not in watch.err


def test_uploads_are_not_shipped(peers):
    """Once the other side speaks, or 64 KiB are over, a connection is left alone."""
    def upload():
        with peers.pair.a:
            client = socket.create_connection((HERE, SINK))
        server, _ = peers.sink.accept()
        sent = bytes(4 << 20)
        left = len(sent)
        client.setblocking(False)
        while left or sent:
            with contextlib.suppress(BlockingIOError):
                sent = sent[client.send(sent):] if sent else sent
            left -= len(server.recv(1 << 16)) if left else 0
        client.close()
        server.close()
        peers.dig("host.names.test")

    watch = run(peers, "--flows", "--json", "tcp or udp", traffic=upload, dns=2)
    told = names_account(watch)
    flow = next(f for f in watch.json if f["dst_port"] == SINK)
    assert flow["bytes"] > 4 << 20
    assert told["shipped"] <= 2 + 66000 // 1400  # DNS, and the window's segments
    assert told["tls"] == told["http"] == 0 and told["given_up"] == {}


def test_tshark_agrees(peers, tmp_path):
    path = tmp_path / "names.pcapng"
    run(peers, "-w", path, tls=2, http=1, dns=6)
    rows = lab.tshark(path, "tls.handshake.extensions_server_name", "http.request.uri", "http.host",
                      "dns.qry.name", "dns.flags.rcode", "frame.comment")
    with lab.Netns() as ns:
        done = lab.weir("watch", "-r", path, "--names", "--json", ns=ns)
        ns.remove()
    assert done.returncode == 0, done.stderr
    packets = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(packets) == len(rows)
    check_packets(packets)
    for packet, (sni, uri, host, question, rcode, comment) in zip(packets, rows):
        assert packet.get("sni", "") == sni, packet
        http, dns = packet.get("http", {}), packet.get("dns", {})
        if uri:
            assert (http["path"], http["host"]) == (uri, host)
        assert dns.get("question", "") == question
        if rcode:
            assert dns["rcode"] == {0: "NOERROR", 3: "NXDOMAIN"}[int(rcode)]
        assert comment == (f"TLS SNI {sni} ALPN h2,http/1.1" if sni else "")


def frames(stream, order, isn=1000):
    """A connection whose first bytes come in these (from, to) parts."""
    def tcp(seq, flags, data=b""):
        head = struct.pack("!HHIIBBHHH", 40000, 443, seq & 0xffffffff, 1, 0x50, flags, 1000, 0, 0)
        length = 20 + len(head) + len(data)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 6, 0, b"\x0a\0\0\1",
                         b"\x0a\0\0\2")
        return bytes(12) + b"\x08\0" + ip + head + data

    return [tcp(isn, 2), *(tcp(isn + 1 + a, 0x18, stream[a:b]) for a, b in order)]


HELLO = hellos.records(hellos.message(b"order.names.test", grease=True, key_share=1216), 700)
MIDDLE = HELLO.index(b"order") + 3
ORDERS = {
    "in order": [(0, MIDDLE), (MIDDLE, None)],
    "reordered": [(900, None), (MIDDLE, 900), (0, MIDDLE)],
    "sent again": [(0, MIDDLE), (0, MIDDLE), (0, MIDDLE + 9), (MIDDLE, None)],
    "overlapping": [(MIDDLE, 900), (0, 300), (200, None)],
    "single bytes": [(i, i + 1) for i in range(len(HELLO))],
}


@pytest.mark.parametrize("order", ORDERS)
def test_reassembly(tmp_path, order):
    path = tmp_path / "order.pcap"
    lab.write_pcap(path, frames(HELLO, ORDERS[order], isn=(1 << 32) - 500))
    done = lab.weir("watch", "-r", path, "--names", "--json")
    told = [json.loads(line)["sni"] for line in done.stdout.splitlines() if "sni" in line]
    assert told == ["order.names.test"]
    rows = lab.tshark(path, "tls.handshake.extensions_server_name",
                      options=["tcp.reassemble_out_of_order:TRUE"])
    if order != "overlapping":  # tshark leaves those aside
        assert [sni for (sni,) in rows if sni] == told


def test_a_hole_is_told_of(tmp_path):
    path = tmp_path / "hole.pcap"
    lab.write_pcap(path, frames(HELLO, [(0, MIDDLE), (900, None)]))
    done = lab.weir("watch", "-r", path, "--names", "--json")
    assert "sni" not in done.stdout
    assert '"given_up":{"idle":1}' in done.stderr


@pytest.mark.parametrize("words, says", [
    (["--count"], "--count shows only a number: leave --names out"),
    (["--alert", "a: tcp rate > 9/s"], "--names is of packets and flows"),
    (["--ipfix", "127.0.0.1:4739"], "--names is of packets and flows"),
    (["--summary", "1s"], "--names is of packets and flows"),
])
def test_refused(words, says):
    done = lab.weir("watch", "-i", "lo", "--names", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"weir watch: {says}") and done.stderr.count("\n") == 1
