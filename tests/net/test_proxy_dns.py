# SPDX-License-Identifier: GPL-2.0-only
"""Names as backends, with unbound as the real server: times to live, negative and stale
answers, failures, families, and the cache as an operator sees it."""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

import lab
import proxies

pytestmark = pytest.mark.skipif(not shutil.which("unbound"), reason="no unbound")

HERE, PORT, DNS, OTHER_DNS = "127.0.0.1", 32443, 5300, 5301
# Backends: the same port on other addresses, as target `dns` wants it.
ONE, TWO, SIX = "127.0.0.2", "127.0.0.3", "::1"
OWN = "192.0.2.7"
TRY = 0.3  # s: resolver.timeout; a name nobody answers for takes three times that

ZONE = """$ORIGIN test.
@ 3600 SOA ns.test. root.test. 1 3600 600 86400 40
@ 3600 NS ns.test.
ns 3600 A 127.0.0.1
four 300 A 127.0.0.2
six 250 AAAA ::1
both 300 A 127.0.0.2
both 200 AAAA ::1
half 300 A 127.0.0.2
half 300 AAAA ::2
alias 50 CNAME next
next 20 CNAME four
text 300 TXT "no address"
moving 1 A %s
UPPER 300 A 127.0.0.2
link 300 A 169.254.1.2
link6 300 AAAA fe80::1
own 300 A 192.0.2.7
self 300 A 127.0.0.1
big 300 A 127.0.0.2
%s
"""
# More than fits into a packet without fragments.
BIG = "\n".join(f"big 300 AAAA 2001:db8::{i:x}:0:0:1" for i in range(1, 60))

UNBOUND = """
server:
  interface: 127.0.0.1@%d
  do-daemonize: no
  use-syslog: no
  logfile: ""
  verbosity: 0
  chroot: ""
  username: ""
  directory: "%s"
  pidfile: ""
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "test." nodefault
  local-zone: "silent." deny
  local-zone: "refused." refuse
auth-zone:
  name: "test."
  zonefile: "%s/test.zone"
  for-downstream: yes
  for-upstream: no
auth-zone:
  name: "broken."
  zonefile: "%s/empty.zone"
  for-downstream: yes
remote-control:
  control-enable: no
"""

CONFIG = """
listen:
  - {address: "127.0.0.1:%d"}
resolver:
  servers: ["127.0.0.1:%d"]
  timeout: 300ms
  local: true
%slog: "-"
workers: 2
routes:
  - match: named.example
    backends: ["four.test:%d"]
  - match: "*"
    backends: [dns]
"""


def config(resolver="", dns=DNS):
    return CONFIG % (PORT, dns, resolver, PORT)


class Unbound:
    """unbound with one zone, in @ns."""

    def __init__(self, ns, port=DNS, moving=ONE):
        self.ns, self.port, self.process, self.moving = ns, port, None, None
        self.directory = tempfile.TemporaryDirectory(prefix=f"weir{ns.name}-")
        self.top = Path(self.directory.name)
        (self.top / "unbound.conf").write_text(
            UNBOUND % (port, self.top, self.top, self.top))
        (self.top / "empty.zone").write_text("; nothing: SERVFAIL\n")
        self.start(moving)

    def start(self, moving=ONE):
        self.moving = moving
        (self.top / "test.zone").write_text(ZONE % (moving, BIG))
        self.process = subprocess.Popen(
            self.ns.command("unbound", "-d", "-c", self.top / "unbound.conf"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            lab.wait_for("unbound to answer", lambda: "127." in self.dig("moving.test"))
        except AssertionError:
            self.remove()
            raise

    def dig(self, *words):
        return self.ns.sh("dig", "+short", "+tries=1", "+time=1", "-p", self.port, "@127.0.0.1",
                          *words, check=False).stdout

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(lab.PATIENCE)
            self.process = None

    def remove(self):
        self.stop()
        self.directory.cleanup()


class Place:
    """One host: name server, proxy, backends and clients."""

    def __init__(self):
        self.host = lab.Host(quiet=False)
        self.host.ip("link", "set", "lo", "up")
        self.host.ip("addr", "add", f"{OWN}/32", "dev", "lo")
        self.echoes = {a: proxies.Echo(self.host, a, PORT) for a in (ONE, TWO, SIX, OWN)}
        self.dns = Unbound(self.host)
        self.proxy = None

    def run(self, resolver="", **options):
        self.proxy = proxies.Proxy(self.host, config(resolver, **options))
        return self.proxy

    def end_proxy(self):
        if self.proxy:
            self.proxy.stop()
            self.proxy.remove()
            self.proxy = None

    def remove(self):
        if self.proxy:
            self.proxy.remove()
        self.dns.remove()
        for echo in self.echoes.values():
            echo.close()
        self.host.remove()

    def reaches(self, name):
        """The address of the backend that a client with @name gets to, or None."""
        before = {a: e.accepted for a, e in self.echoes.items()}
        if not proxies.reaches(self.host, HERE, PORT, name):
            return None
        (address,) = [a for a, e in self.echoes.items() if e.accepted > before[a]]
        return address

    def names(self):
        done = self.proxy.command("resolver", "list", "--json")
        told = json.loads(done.stdout)
        assert told["v"] == 1
        return {n["name"]: n for n in told["names"]}

    def lines(self):
        """The access log."""
        return [json.loads(line) for line in self.proxy.out.splitlines()]

    def reason(self, name):
        """Why the last connection with @name ended."""
        lab.wait_for(f"a line of {name}", lambda: any(x.get("sni") == name for x in self.lines()))
        return [x["reason"] for x in self.lines() if x.get("sni") == name][-1]


@pytest.fixture(scope="module")
def place():
    here = Place()
    try:
        yield here
    finally:
        here.remove()


@pytest.fixture
def run(place):
    """Start the proxy; the name server is there before and after, with its zone as it was."""
    yield place.run
    place.end_proxy()
    if not place.dns.process or place.dns.moving != ONE:
        place.dns.stop()
        place.dns.start()


def seconds(ns):
    return ns / 1e9


# --- answers ------------------------------------------------------------------

@pytest.mark.parametrize("name, to, addresses, ttl", [
    ("four.test", ONE, [ONE], 300),
    ("six.test", SIX, [SIX], 250),
    ("both.test", SIX, [SIX, ONE], 200),
    ("alias.test", ONE, [ONE], 20),
    ("upper.test", ONE, [ONE], 300),
])
def test_addresses(place, run, name, to, addresses, ttl):
    run()
    assert place.reaches(name) == to
    told = place.names()[name]
    assert told["state"] == "fresh" and told["code"] == "ok"
    assert told["addresses"] == addresses
    assert ttl - 10 <= seconds(told["ttl_ns"]) <= ttl
    assert seconds(told["age_ns"]) < 10


def test_dead_family(place, run):
    """An address that does not answer stands first."""
    run()
    assert place.reaches("half.test") == ONE


def test_upper_case(place, run):
    """However a client writes it, it is one name."""
    run()
    for name in ("four.test", "FOUR.test", "Four.Test."):
        assert place.reaches(name) == ONE
    assert list(place.names()) == ["four.test"]


def test_named_backend(place, run):
    run()
    assert place.reaches("named.example") == ONE
    assert list(place.names()) == ["four.test"]


def test_more_than_a_packet(place, run):
    """The server says that it is cut, and it is asked by TCP."""
    run()
    told = place.host.sh("dig", "+ignore", "+bufsize=1232", "-p", DNS, "@127.0.0.1", "big.test",
                         "AAAA").stdout
    assert " tc" in told, told
    proxies.reaches(place.host, HERE, PORT, "big.test", seconds=1)
    told = place.names()["big.test"]
    assert len(told["addresses"]) == 8 and told["addresses"][1] == ONE


def test_no_way_to_loopback(place, run):
    """The owner of a name does not lead clients to what listens here; the operator may."""
    run()
    place.proxy.reload(config().replace("local: true", "local: false"))
    for name in ("four.test", "six.test", "both.test", "link.test", "link6.test",
                 "own.test"):
        before = {a: e.accepted for a, e in place.echoes.items()}
        assert not proxies.reaches(place.host, HERE, PORT, name)
        assert place.reason(name) == "resolve", name
        assert before == {a: e.accepted for a, e in place.echoes.items()}
    line = [x for x in place.lines() if x.get("sni") == "both.test"][-1]
    assert line["error"] == "EACCES" and "backend" not in line, line
    assert place.reaches("named.example") == ONE
    # Its own listener is told as what it is.
    assert not proxies.reaches(place.host, HERE, PORT, "self.test")
    assert place.reason("self.test") == "loop"
    place.proxy.reload(config())
    assert place.reaches("own.test") == OWN


# --- none ---------------------------------------------------------------------

@pytest.mark.parametrize("name, code, ttl", [
    ("nowhere.test", "nxdomain", 5),
    ("text.test", "nodata", 5),
])
def test_negative(place, run, name, code, ttl):
    """For the SOA's 40 s, at most negative_ttl; then it is asked for anew."""
    run("  negative_ttl: 5s\n")
    assert place.reaches(name) is None
    assert place.reason(name) == "resolve"
    told = place.names()[name]
    assert told["state"] == "negative" and told["code"] == code
    assert "addresses" not in told
    assert ttl - 2 <= seconds(told["ttl_ns"]) <= ttl
    # From the cache, however many come.
    for _ in range(20):
        assert place.reaches(name) is None
    again = place.names()[name]
    assert again["age_ns"] > told["age_ns"]
    assert abs(again["age_ns"] + again["ttl_ns"] - told["age_ns"] - told["ttl_ns"]) < 1e6


def test_negative_by_the_soa(place, run):
    run("  negative_ttl: 1h\n")
    assert place.reaches("nowhere.test") is None
    assert 35 <= seconds(place.names()["nowhere.test"]["ttl_ns"]) <= 40


@pytest.mark.parametrize("name", ["a.broken", "a.refused"])
def test_failure(place, run, name):
    """Kept for a second, no longer."""
    run()
    assert place.reaches(name) is None
    assert place.reason(name) == "resolve"
    assert place.names()[name]["code"] == "servfail"
    time.sleep(1.1)
    assert name not in place.names()


def test_time_out(place, run):
    """A client whose name nobody answers for is told after both tries, and many at once
    wait no longer than one."""
    run()
    ends = []

    def client():
        begin = time.monotonic()
        assert not proxies.reaches(place.host, HERE, PORT, "a.silent")
        ends.append(time.monotonic() - begin)

    threads = [threading.Thread(target=client) for _ in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(lab.PATIENCE)
    assert len(ends) == 30
    assert min(ends) >= 3 * TRY - 0.35 and max(ends) < 3 * TRY + 2, (min(ends), max(ends))
    assert place.reason("a.silent") == "resolve"
    # The proxy serves others meanwhile.
    with place.host, socket.create_connection((HERE, PORT)) as waits:
        waits.sendall(proxies.hello("b.silent"))
        assert place.reaches("four.test") == ONE


def test_next_target_behind_a_silent_name(place, run):
    """A name that is still being asked for keeps nobody from another that is not known yet."""
    run()
    place.proxy.reload(config().replace("timeout: 300ms", "timeout: 5s").replace(
        '["four.test', '["a.silent:%d", "four.test' % PORT).replace(
        "workers:", "limits: {connect_timeout: 500ms}\nworkers:"))
    assert place.reaches("named.example") == ONE


@pytest.mark.parametrize("name", ["a..test", "1.2.3.4", "x" * 64 + ".test", "a b.test"])
def test_no_name(place, run, name):
    """What is no host name is not asked for, and leaves nothing behind."""
    run()
    assert not proxies.reaches(place.host, HERE, PORT, name)
    assert place.reaches("four.test") == ONE
    assert list(place.names()) == ["four.test"]


# --- time ---------------------------------------------------------------------

def test_short_ttl_moves(place, run):
    """A name with a TTL of 1 s moves: no client is refused, and all are there soon."""
    run()
    assert place.reaches("moving.test") == ONE
    place.dns.stop()
    place.dns.start(moving=TWO)
    time.sleep(1.1)
    # The first one after the TTL may still be led by the old answer.
    assert place.reaches("moving.test") in (ONE, TWO)
    lab.wait_for("the name to move", lambda: place.reaches("moving.test") == TWO)
    for _ in range(5):
        assert place.reaches("moving.test") == TWO


def test_ttl_min(place, run):
    run("  ttl_min: 30s\n")
    assert place.reaches("moving.test") == ONE
    assert 25 <= seconds(place.names()["moving.test"]["ttl_ns"]) <= 30


def test_stale_while_the_server_is_away(place, run):
    """The answer goes on being used, at once, and is renewed when the server is back."""
    run()
    assert place.reaches("moving.test") == ONE
    place.dns.stop()
    time.sleep(1.1)
    for _ in range(12):
        begin = time.monotonic()
        assert place.reaches("moving.test") == ONE
        assert time.monotonic() - begin < TRY
        time.sleep(0.25)
    assert place.names()["moving.test"]["state"] == "stale"
    assert "ttl_ns" not in place.names()["moving.test"]
    # A name that was never known fails, and is told so.
    assert place.reaches("four.test") is None
    place.dns.start(moving=TWO)
    lab.wait_for("the new answer", lambda: place.reaches("moving.test") == TWO)
    assert place.names()["moving.test"]["state"] in ("fresh", "stale")


def test_stale_ends(place, run):
    run("  stale: 1s\n")
    assert place.reaches("moving.test") == ONE
    place.dns.stop()
    time.sleep(1.2)
    assert place.reaches("moving.test") == ONE
    time.sleep(1.2)
    assert place.reaches("moving.test") is None
    assert place.names()["moving.test"]["code"] in ("timeout", "servfail")


# --- the operator -------------------------------------------------------------

def test_list_and_flush(place, run):
    proxy = run()
    for name in ("four.test", "six.test", "both.test", "nowhere.test"):
        proxies.reaches(place.host, HERE, PORT, name)
    table = proxy.command("resolver", "list").stdout.splitlines()
    assert table[0].split() == ["NAME", "ADDRESSES", "TTL", "STATE", "AGE"]
    assert [line.split()[0] for line in table[1:]] == ["both.test", "four.test", "nowhere.test",
                                                      "six.test"]
    assert f"{SIX},{ONE}" in table[1] and "fresh" in table[1]
    assert "negative (nxdomain)" in table[3]
    proxy.command("resolver", "flush", "four.test")
    assert sorted(place.names()) == ["both.test", "nowhere.test", "six.test"]
    proxy.command("resolver", "flush", "four.test", status=1)
    told = proxy.command("dns", "flush")
    assert "3 names flushed" in told.stdout + told.stderr
    assert not place.names()
    # And all is asked for again.
    assert place.reaches("four.test") == ONE
    assert list(place.names()) == ["four.test"]


def test_flush_takes_effect(place, run):
    """A long TTL, and the name has moved: the next client is there."""
    proxy = run("  ttl_min: 1h\n")
    assert place.reaches("moving.test") == ONE
    place.dns.stop()
    place.dns.start(moving=TWO)
    assert place.reaches("moving.test") == ONE
    proxy.command("resolver", "flush", "moving.test")
    assert place.reaches("moving.test") == TWO


def test_reload_to_another_server(place, run):
    """Names that are being asked for go on with the new one; what is known stays."""
    proxy = run()
    other = Unbound(place.host, port=OTHER_DNS, moving=TWO)
    try:
        assert place.reaches("four.test") == ONE
        place.dns.stop()
        answers = []
        proxy.configure(config(dns=OTHER_DNS))
        t = threading.Thread(target=lambda: answers.append(place.reaches("moving.test")))
        t.start()
        proxy.reload(config(dns=OTHER_DNS))
        t.join(lab.PATIENCE)
        lab.wait_for("the name", lambda: place.reaches("moving.test") == TWO)
        assert "four.test" in place.names()
    finally:
        other.remove()


def test_wrong_server(place, run):
    """A configuration that cannot be had leaves the running one alone."""
    proxy = run()
    bad = config().replace(f"127.0.0.1:{DNS}", "localhost")
    proxy.reload(bad, told="localhost")
    assert place.reaches("four.test") == ONE


def test_bpf_programs_may_read_it(place, run):
    """The cache is a pinned map with types, which bpftool shows."""
    run()
    assert place.reaches("four.test") == ONE
    (pin,) = [p for p in proxies.pins(place.host) if p.endswith("/proxy/names")]
    with contextlib.suppress(FileNotFoundError):
        told = place.host.sh("bpftool", "-j", "map", "show", "pinned", pin).stdout
        assert json.loads(told)["type"] == "lru_hash"
