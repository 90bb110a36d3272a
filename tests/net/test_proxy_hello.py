# SPDX-License-Identifier: GPL-2.0-only
"""The ClientHello, however it comes and whatever is in it: the right backend gets
exactly what the client sent, and who sends none gets a counted refusal."""

import contextlib
import random
import ssl
import time

import pytest

import hellos
import lab
import servers

NAME = b"one.example.com"
ROUTES = {
    "one.example.com": "one",
    "*.wild.example": "wild",
    "/^re[0-9]+\\.example$/": "expression",
}
TLS_PORT, STRICT_PORT, HTTP_PORT, TRUST_PORT = 443, 8443, 80, 9443
STRICT_TIMEOUT = 0.5


class Site:
    """A proxy with recorders behind it."""

    def __init__(self):
        self.pair = lab.Pair(addresses=True, host=True)
        self.servers, at = {}, {}
        for i, name in enumerate(("one", "wild", "expression", "acme", "nameless", "web")):
            at[name] = f"127.0.0.1:{9101 + i}"
            self.servers[name] = servers.Recorder(self.pair.b, 9101 + i, name)
        self.proxy = servers.Proxy(self.pair.b, {
            "listen": [{"address": f"[::]:{TLS_PORT}", "name": "tls"},
                       {"address": f"[::]:{HTTP_PORT}", "name": "http", "protocol": "http"},
                       {"address": f"[::]:{TRUST_PORT}", "name": "trust",
                        "accept_proxy": [servers.CLIENT]}],
            "actions": {"no_sni": at["nameless"]},
            "limits": {"hello_timeout": "20s"},
            "workers": 2,
            "routes": [{"match": "one.example.com", "alpn": ["acme-tls/1"], "name": "acme",
                        "backends": [at["acme"]]},
                       {"match": "web.example.com", "listener": ["http"],
                        "backends": [at["web"]]},
                       *({"match": match, "backends": [at[name]]}
                         for match, name in ROUTES.items())],
        })

    def say(self, segments, port=TLS_PORT, address=servers.HERE):
        """(what came back, the port that it was sent from)"""
        with servers.connect(self.pair.a, port, address) as s:
            local = s.getsockname()[1]
            pause = 0.02 if len(segments) < 10 else 0.0002
            try:
                for segment in segments:
                    s.sendall(segment)
                    time.sleep(pause)
                s.shutdown(1)
            except OSError:
                pass  # refused before all was said
            answer, _ = servers.read_end(s)
        return answer.decode(), local

    def send(self, segments, **where):
        """(what came back, the line of the log)"""
        answer, local = self.say(segments, **where)
        return answer, self.proxy.logged(local)

    def reaches(self, segments, server, sni, **where):
        """@segments get to @server unchanged, and nobody else."""
        before = {name: len(s.seen) for name, s in self.servers.items()}
        answer, line = self.send(segments, **where)
        assert answer == server, (answer, line)
        seen = self.servers[server].seen
        lab.wait_for("the server to see its end", lambda: len(seen) > before[server])
        assert seen[-1] == b"".join(segments)
        assert {name: len(s.seen) for name, s in self.servers.items()} \
            == {**before, server: before[server] + 1}
        assert line["reason"] == "done" and line.get("sni") == sni, line
        assert line["bytes_in"] == sum(map(len, segments)), line
        assert line["bytes_out"] == len(server), line
        return line

    def remove(self):
        self.proxy.remove()
        for server in self.servers.values():
            server.remove()
        self.pair.remove()


@pytest.fixture(scope="module")
def site():
    s = Site()
    yield s
    s.remove()


# ---- However it comes

WAYS = hellos.ways(NAME)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["usual", "browser"])
def test_segments_and_records(site, kind, way):
    browser = {"grease": True, "ech": True, "key_share": 1216} if kind == "browser" else {}
    segments = WAYS[way](hellos.message(NAME, **browser))
    line = site.reaches(segments, "one", NAME.decode())
    assert line["ech"] == (kind == "browser") and line["alpn"] == "h2", line


def test_split_anywhere(site):
    data = hellos.records(hellos.message(NAME))
    for at in range(1, len(data), 7):
        site.reaches(hellos.cut(data, at), "one", NAME.decode())


def test_sixty_four_kib(site):
    data = hellos.longest(NAME)
    site.reaches([data], "one", NAME.decode())
    site.reaches(hellos.cut(data, *range(1400, len(data), 1400)), "one", NAME.decode())


def test_sixty_four_kib_and_what_follows(site):
    site.reaches([hellos.longest(NAME) + bytes(300000)], "one", NAME.decode())


def test_early_data_in_the_same_segment(site):
    data = hellos.records(hellos.message(NAME)) + b"\x14\3\3\0\1\1" \
        + b"\x17\3\3\x10\0" + bytes(4096)
    site.reaches([data], "one", NAME.decode())


def test_over_ipv6(site):
    site.reaches([hellos.records(hellos.message(NAME))], "one", NAME.decode(), address="fd77::2")


def test_random_cuts(site):
    chance = random.Random(4)
    for _ in range(40):
        m = hellos.message(NAME, grease=chance.random() < .5, ech=chance.random() < .5,
                           key_share=chance.choice([32, 1216]), pad=chance.randrange(3000))
        data = hellos.records(m, *(chance.randrange(1, 700) for _ in range(5)))
        cuts = (chance.randrange(len(data)) for _ in range(chance.randrange(8)))
        site.reaches(hellos.cut(data, *cuts), "one", NAME.decode())


# ---- Whatever is in it

@pytest.mark.parametrize("name,server,sni", [
    (b"ONE.Example.COM", "one", "one.example.com"),
    (b"one.example.com.", "one", "one.example.com"),
    (b"ONE.EXAMPLE.COM.", "one", "one.example.com"),
    (b"a.wild.example", "wild", "a.wild.example"),
    (b"B.A.wild.Example.", "wild", "b.a.wild.example"),
    (b"re17.example", "expression", "re17.example"),
    (None, "nameless", None),
])
def test_names(site, name, server, sni):
    site.reaches([hellos.records(hellos.message(name))], server, sni)


def test_alpn_chooses(site):
    data = hellos.records(hellos.message(NAME, alpn=("h2", "acme-tls/1")))
    line = site.reaches([data], "acme", NAME.decode())
    assert line["route"] == "acme", line
    data = hellos.records(hellos.message(NAME, alpn=("acme-tls/2",)))
    site.reaches([data], "one", NAME.decode())


# ---- Refused

@pytest.fixture(scope="module")
def strict():
    """No backend for anything but NAME, and little patience."""
    s = Site.__new__(Site)
    s.pair = lab.Pair(addresses=True, host=True)
    s.servers = {"one": servers.Recorder(s.pair.b, 9101, "one")}
    s.proxy = servers.Proxy(s.pair.b, {
        "listen": [f"[::]:{STRICT_PORT}"],
        "default": "alert",
        "limits": {"hello_timeout": f"{int(STRICT_TIMEOUT * 1000)}ms"},
        "routes": [{"match": NAME.decode(), "backends": ["127.0.0.1:9101"]}],
    })
    yield s
    s.remove()


def refuse(site, segments, reason, answer=""):
    before = site.proxy.dropped().get(reason, 0)
    told, line = site.send(segments, port=STRICT_PORT)
    assert told == answer, (told, line)
    assert line["reason"] == reason, line
    assert "backend" not in line and line["bytes_in"] == 0, line
    assert not site.servers["one"].seen
    lab.wait_for(f"one {reason} more in the account",
                 lambda: site.proxy.dropped().get(reason, 0) == before + 1)
    return line


ALERT = "\x15\x03\x03\x00\x02\x02\x70"  # fatal, unrecognized_name


@pytest.mark.parametrize("name,answer", [(b"two.example.com", ALERT), (b"xone.example.com", ALERT),
                                         (b"one.example.com.evil.example", ALERT)])
def test_no_route(strict, name, answer):
    line = refuse(strict, [hellos.records(hellos.message(name))], "no_match", answer)
    assert line["sni"] == name.decode(), line


def test_no_name(strict):
    refuse(strict, [hellos.records(hellos.message(None))], "no_sni")


def test_no_name_is_told():
    """By the alert that TLS has for an extension that is missing."""
    s = Site.__new__(Site)
    s.pair, s.servers = lab.Pair(addresses=True, host=True), {}
    try:
        s.proxy = servers.Proxy(s.pair.b, {
            "listen": [f"[::]:{STRICT_PORT}"], "actions": {"no_sni": "alert"},
            "routes": [{"match": NAME.decode(), "backends": ["127.0.0.1:9101"]}]})
        told, line = s.send([hellos.records(hellos.message(None))], port=STRICT_PORT)
        assert told == ALERT[:-1] + "\x6d" and line["reason"] == "no_sni", (told, line)
    finally:
        s.remove()


@pytest.mark.parametrize("name", [
    b"one.example.com\0.evil.example", b"one.example.com\0", b"\0", b"one example.com",
    b"one.example.com\n", b"one..example.com", b".one.example.com", b".", b"",
    b"\xc3\xbc.example.com", b"a" * 254, b"one.example.com.."], ids=repr)
def test_bad_names(strict, name):
    refuse(strict, [hellos.records(hellos.message(name))], "malformed")


def changed(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1:]


GOOD = hellos.records(hellos.message(NAME))


@pytest.mark.parametrize("data,reason", [
    (b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n", "not_tls"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
    (b"\x80\x2e\1\3\1\0\x15\0\0\0\x10", "not_tls"),  # SSL 2
    (b"\x15\3\1\0\2\1\0", "not_tls"),                  # an alert
    (b"\x14\3\3\0\1\1", "not_tls"),
    (b"\x16\2" + GOOD[2:], "not_tls"),
    (b"\x16\3\1\0\0", "malformed"),
    (b"\x16\3\1\x40\1" + bytes(20), "malformed"),
    (b"\x16\3\1\0\4\2\0\0\0", "malformed"),            # a ServerHello
    (changed(GOOD, 43, 33), "malformed"),              # session_id too long
    (hellos.records(hellos.message(NAME), 50)[:55] + b"\x15\3\1\0\2\1\0", "malformed"),
    (hellos.records(hellos.message(NAME)[:4] + b"\3\3"), "client_gone"),
    (b"\x16\3\1\x40\0\1\1\0\0" + bytes(5000), "hello_too_long"),
    (hellos.records(hellos.message(NAME, pad=60000), 16), "hello_too_long"),
], ids=lambda v: v if isinstance(v, str) else v[:12].hex())
def test_no_hello(strict, data, reason):
    refuse(strict, [data], reason)


def test_garbage(strict):
    chance = random.Random(5)
    said = []
    for _ in range(100):
        data = chance.randbytes(chance.randrange(2, 2000))
        if data[:2] != b"\x16\3":
            said.append((data, *strict.say([data], port=STRICT_PORT)))
    for data, told, port in said:
        line = strict.proxy.logged(port)
        assert not told and line["reason"] == "not_tls", (data, told, line)
        assert "backend" not in line and line["bytes_in"] == 0, line


def test_a_byte_changed(strict):
    """Any byte of a good hello made another: routed, or refused for what it is."""
    chance = random.Random(6)
    reasons = {"done", "malformed", "not_tls", "no_match", "no_sni", "client_gone",
               "hello_too_long"}
    said = []
    for at in range(len(GOOD)):
        data = changed(GOOD, at, chance.randrange(256))
        said.append((data, *strict.say([data], port=STRICT_PORT)))
    reached = 0
    for data, told, port in said:
        line = strict.proxy.logged(port)
        assert line["reason"] in reasons, (data, line)
        assert told == {"done": "one", "no_match": ALERT}.get(line["reason"], ""), (data, line)
        reached += line["reason"] == "done"
    seen = strict.servers["one"].seen
    lab.wait_for("the server to see all ends", lambda: len(seen) == reached)
    assert sorted(seen) == sorted(data for data, told, _ in said if told == "one")
    seen.clear()


@pytest.mark.parametrize("data", [b"", b"\x16", GOOD[:-1],
                                  b"\x16\3\1\x3f\xff\1\0\x3f\xf0" + bytes(9000)],
                         ids=["nothing", "a byte", "all but one byte", "9 KB of nothing"])
def test_half_a_hello(strict, data):
    with servers.connect(strict.pair.a, STRICT_PORT) as s:
        began = time.monotonic()
        s.sendall(data)
        answer, _ = servers.read_end(s)
        took = time.monotonic() - began
        line = strict.proxy.logged(s.getsockname()[1])
    assert not answer and line["reason"] == "hello_timeout", line
    assert took >= STRICT_TIMEOUT - 0.05, took


def test_a_drip_does_not_push_the_deadline(strict):
    with servers.connect(strict.pair.a, STRICT_PORT) as s:
        sent = 0
        with contextlib.suppress(OSError):
            for byte in GOOD:
                s.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.05)
        line = strict.proxy.logged(s.getsockname()[1])
    assert line["reason"] == "hello_timeout", line
    # A deadline that each byte moves would be met by all of them.
    assert sent < len(GOOD)


def test_gone_half_way(strict):
    for n in (0, 1, 5, 100, len(GOOD) - 1):
        refuse(strict, [GOOD[:n]], "client_gone")


# ---- A real handshake, to see that not a byte of it suffers

@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    s = Site.__new__(Site)
    s.pair = lab.Pair(addresses=True, host=True)
    directory = tmp_path_factory.mktemp("certificates")
    s.servers = {}
    for i, name in enumerate(("one", "two")):
        cert = servers.certificate(directory, f"{name}.example.com")
        s.servers[name] = servers.Tls(s.pair.b, 9201 + i, name, cert, ["h2", "http/1.1"])
    s.proxy = servers.Proxy(s.pair.b, {
        "listen": [f"[::]:{TLS_PORT}"],
        "routes": [{"match": f"{name}.example.com", "backends": [s.servers[name].address]}
                   for name in s.servers],
    })
    yield s
    s.remove()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
                         ids=["tls12", "tls13"])
def test_handshakes(tls, version, way):
    for name in ("one", "two"):
        host = f"{name}.example.com"
        with servers.connect(tls.pair.a, TLS_PORT) as s:
            client = hellos.Client(s, host, hellos.ways(host.encode())[way], version, ["h2"])
            assert client.ask(b"hello") == f"{name} h2 hello".encode()
            assert client.tls.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2",
                                            ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
            port = s.getsockname()[1]
        line = tls.proxy.logged(port)
        assert line["sni"] == host and line["route"] == host, line


# ---- HTTP

HEAD = b"GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: Web.Example.COM:80\r\nAccept: */*\r\n\r\n"


@pytest.mark.parametrize("segments", [
    [HEAD], [bytes([b]) for b in HEAD], hellos.cut(HEAD, HEAD.index(b"Example")),
    [HEAD.replace(b"\r\n", b"\n")], [b"\r\n" + HEAD],
    [b"GET http://web.example.com/ HTTP/1.1\r\nHost: other.example\r\n\r\n"],
    [HEAD + bytes(100000)]],
    ids=["at once", "bytes", "in the host", "bare LF", "an empty line", "absolute", "a body"])
def test_http_host(site, segments):
    line = site.reaches(segments, "web", None, port=HTTP_PORT)
    assert line["host"] == "web.example.com", line


@pytest.mark.parametrize("head,reason", [
    (b"GET / HTTP/1.1\r\nHost: web.example.com\r\nHost: web.example.com\r\n\r\n", "malformed"),
    (b"GET / HTTP/1.1\r\nHost: web.example.com\r\n folded\r\n\r\n", "malformed"),
    (b"GET / HTTP/1.1\r\nHost : web.example.com\r\n\r\n", "malformed"),
    (b"GET / HTTP/1.1\r\nHost: web.example.com\0\r\n\r\n", "malformed"),
    (b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n", "no_match"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not_tls"),
    (GOOD, "not_tls"),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * 40000, "hello_too_long"),
    (b"GET / HTTP/1.1\r\nHost: web.example.com\r\n", "client_gone"),
], ids=lambda v: v if isinstance(v, str) else None)
def test_http_refused(site, head, reason):
    seen = {name: len(s.seen) for name, s in site.servers.items()}
    _, line = site.send([head], port=HTTP_PORT)
    if reason == "no_match":
        # one.example.com has a route for every listener.
        assert line["reason"] == "done" and line["host"] == NAME.decode(), line
        return
    assert line["reason"] == reason and "backend" not in line, line
    assert seen == {name: len(s.seen) for name, s in site.servers.items()}


# ---- Behind another proxy

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) \
    + b"\xdc\x04\x01\xbb" + b"\x04\0\4abcd"


def trusted(site, segments):
    """What the log says of a connection that claims to be another one."""
    before = len(site.proxy.log())
    with servers.connect(site.pair.a, TRUST_PORT) as s:
        for segment in segments:
            s.sendall(segment)
            time.sleep(0.001)
        s.shutdown(1)
        answer, _ = servers.read_end(s)
    lab.wait_for("a line of the log", lambda: len(site.proxy.log()) > before)
    return answer.decode(), site.proxy.log()[-1]


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("cut", ["at once", "bytes", "apart"])
def test_proxy_header(site, header, cut):
    segments = {"at once": [header + GOOD], "bytes": [bytes([b]) for b in header + GOOD],
                "apart": [header, GOOD]}[cut]
    answer, line = trusted(site, segments)
    assert answer == "one", line
    assert (line["remote_ip"], line["remote_port"]) == ("192.0.2.7", 56324), line
    assert (line["local_ip"], line["local_port"]) == ("198.51.100.1", 443), line
    seen = site.servers["one"].seen
    lab.wait_for("the server to see its end", lambda: seen and seen[-1] == GOOD)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"],
                         ids=["v1", "v2"])
def test_proxy_header_of_nobody(site, header):
    answer, line = trusted(site, [header + GOOD])
    assert answer == "one" and line["remote_ip"] == servers.CLIENT, line


@pytest.mark.parametrize("data", [GOOD, V1[:-2] + b" \r\n" + GOOD, changed(V2, 12, 0x31) + GOOD,
                                  b"PROXY" + bytes(200), changed(V2, 14, 0xff) + bytes(300)],
                         ids=["none", "bad v1", "bad v2", "garbage", "too long"])
def test_bad_proxy_header(site, data):
    answer, line = trusted(site, [data])
    assert not answer and line["reason"] == "bad_proxy_header" and "backend" not in line, line


def test_nothing_is_left(site, strict, tls):
    """Every connection has ended, and the account says so."""
    for s in (site, strict, tls):
        s.proxy.check_account()
        s.proxy.stop()
