# SPDX-License-Identifier: GPL-2.0-only
"""allow_sources at XDP: what other sources send to a listener's own address and port
never reaches the stack, nothing else is touched, and it goes with the proxy."""

import contextlib
import json
import signal
import socket
import struct
import time

import pytest

import filters
import lab
import packets
import proxies

# The client's addresses: the ones that may, and the ones that may not.
MAY4, NOT4, MAY6, NOT6 = "10.77.0.1", "10.77.0.3", "fd77::1", "fd77::3"
HERE4, ALSO4, HERE6 = "10.77.0.2", "10.77.0.4", "fd77::2"
PORT, OTHER, BACKEND = 30443, 30444, 30555

CONFIG = """
listen:
%s
allow_sources: [%s]
routes:
  - match: "*"
    backends: [127.0.0.1:%d]
"""


def config(*listen, allow=(MAY4, MAY6)):
    return CONFIG % ("\n".join(f'  - {{address: "{address}"}}' for address in listen),
                     ", ".join(f'"{prefix}"' for prefix in allow), BACKEND)


BOTH = config(f"[::]:{PORT}")


@pytest.fixture(scope="module")
def place():
    """a has the clients, b the proxy and a backend on its loopback."""
    pair = lab.Pair(addresses=True, host=True)
    for ns, dev, address in ((pair.a, "va", NOT4), (pair.b, "vb", ALSO4)):
        ns.ip("addr", "add", f"{address}/16", "dev", dev)
    pair.a.ip("addr", "add", f"{NOT6}/64", "dev", "va", "nodad")
    pair.filter = filters.Filter(pair.b)
    pair.echo = proxies.Echo(pair.b, "127.0.0.1", BACKEND)
    try:
        yield pair
    finally:
        pair.echo.close()
        pair.remove()


@pytest.fixture
def run(place):
    """Start a proxy that is gone after the test, with what it left."""
    started = []

    def start(*args, **options):
        started.append(proxies.Proxy(place.b, *args, **options))
        return started[-1]

    yield start
    for proxy in started:
        proxy.remove()
    lab.wait_for("the rules to go", lambda: not place.filter.list()["rules"])


def ours(place):
    return {r["name"]: r for r in place.filter.list()["rules"] if r["owner"] == "proxy"}


def ifaces(place):
    return {i["iface"]: i for i in place.filter.list()["interfaces"]}


def opens(place):
    """Connections that the stack of b has seen begin."""
    with place.b:
        lines = [line.split() for line in open("/proc/thread-self/net/snmp", encoding="ascii")
                 if line.startswith("Tcp:")]
    return int(lines[1][lines[0].index("PassiveOpens")])


def refused(place, address, port, source):
    """A connection from @source does not begin, and the stack does not know of it."""
    before = opens(place)
    assert not proxies.reaches(place.a, address, port, source=source, seconds=0.3)
    assert opens(place) == before


def passes(place, address, port, source):
    assert proxies.reaches(place.a, address, port, source=source)


def gone(place):
    """Nothing of the proxy's is left in the filter."""
    told = place.filter.list()
    return not any(x["owner"] == "proxy" for x in told["rules"] + told["interfaces"])


def syn(place, source, to, port):
    macs = bytes.fromhex((place.mac_b + place.mac_a).replace(":", ""))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, packets.TCP, 0,
                       socket.inet_aton(source), socket.inet_aton(to))
    head = head[:10] + struct.pack("!H", packets.csum(head)) + head[12:]
    body = struct.pack("!HHIIHHHH", 40000, port, 1, 0, 5 << 12 | 2, 1000, 0, 0)
    return macs + struct.pack("!H", 0x0800) + head + body


# --- what is dropped, and what is not -------------------------------------------

def test_sources(place, run):
    run(BOTH)
    for here, may, other in ((HERE4, MAY4, NOT4), (HERE6, MAY6, NOT6)):
        passes(place, here, PORT, may)
        hits = ours(place)[f"allow_sources:{PORT}"]["hits"]
        refused(place, here, PORT, other)
        assert ours(place)[f"allow_sources:{PORT}"]["hits"] > hits
    # All addresses of this host are the wildcard's.
    refused(place, ALSO4, PORT, NOT4)
    passes(place, ALSO4, PORT, MAY4)


def test_packets(place, run):
    """One SYN, seen on the wire, dropped in front of the stack."""
    run(BOTH)
    before, seen = opens(place), place.filter.account("vb")
    place.a.inject("va", [syn(place, NOT4, HERE4, PORT)])
    lab.wait_for("the packet to be dropped", lambda: place.filter.account("vb")["dropped"].get(
        "rule", 0) == seen["dropped"].get("rule", 0) + 1)
    time.sleep(0.1)
    assert opens(place) == before


def test_other_ports_are_untouched(place, run):
    run(BOTH)
    echo = proxies.Echo(place.b, "::", OTHER)
    try:
        for here, other in ((HERE4, NOT4), (HERE6, NOT6)):
            passes(place, here, OTHER, other)
        # A port where nobody listens answers with a reset, as before.
        with place.a, pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE4, OTHER + 1), lab.PATIENCE, (NOT4, 0))
        assert place.a.sh("ping", "-c", "1", "-W", "5", "-I", NOT4, HERE4)
    finally:
        echo.close()


def test_one_address(place, run):
    """A listener on one address is not one on another."""
    run(config(f"{HERE4}:{PORT}"))
    echo = proxies.Echo(place.b, ALSO4, PORT)
    try:
        passes(place, HERE4, PORT, MAY4)
        refused(place, HERE4, PORT, NOT4)
        passes(place, ALSO4, PORT, NOT4)
    finally:
        echo.close()


def judged(place, source, to, port):
    done = lab.weir("filter", "test", "tcp", f"{source}:40000", "->", f"{to}:{port}", "--flags", "S",
                    "-i", "vb", "--json", ns=place.b)
    return json.loads(done.stdout)


def test_forwarded_is_not_ours(place, run):
    """What only passes through this host is none of a wildcard's business."""
    run(BOTH)
    told = judged(place, NOT4, "192.0.2.9", PORT)
    assert told["verdict"] == "pass", told
    told = judged(place, NOT4, HERE4, PORT)
    assert told["verdict"] == "drop" and told["owner"] == "proxy", told


def test_loopback_is_checked_at_accept(place, run):
    """XDP is not put on lo; there the proxy itself refuses."""
    run(BOTH)
    assert "lo" not in ifaces(place)
    assert not proxies.reaches(place.b, "127.0.0.1", PORT)


def test_many_prefixes(place, run):
    """As many as a configuration takes."""
    prefixes = [f"10.{100 + i // 256}.{i % 256}.0/24" for i in range(1000)]
    run(config(f"[::]:{PORT}", allow=(*prefixes, MAY4)))
    passes(place, HERE4, PORT, MAY4)
    refused(place, HERE4, PORT, NOT4)
    sets = {s["name"]: s for s in json.loads(
        place.filter("set", "list", "--json").stdout)["sets"]}
    assert sets["proxy-allow"]["prefixes"] == 1001 and sets["proxy-allow"]["owner"] == "proxy"


# --- shown, and the user's own ---------------------------------------------------

def test_told(place, run):
    proxy = run(BOTH)
    assert "allow_sources: enforced on vb (native)" in proxy.err, proxy.err
    assert ifaces(place)["vb"]["owner"] == "proxy" and ifaces(place)["vb"]["default"] == "pass"
    told = place.filter("list").stdout
    assert f"allow_sources:{PORT}  proxy  deny" in told, told
    assert "native (for weir proxy)" in told, told
    # It is no part of the user's policy.
    assert place.filter("show").stdout == ""


def test_beside_the_users_filter(place, run):
    """Rules and interfaces of the user's stay as they are, and theirs are not the proxy's."""
    place.filter.apply("interface vb default pass malformed pass",
                       f"mine: deny tcp dst port {OTHER}", "set bad")
    before = place.filter.show()
    echo = proxies.Echo(place.b, "0.0.0.0", OTHER)
    try:
        proxy = run(BOTH)
        assert place.filter.show() == before
        assert ifaces(place)["vb"]["owner"] == "filter"
        refused(place, HERE4, PORT, NOT4)
        refused(place, HERE4, OTHER, MAY4)
        proxy.stop()
        assert place.filter.show() == before and gone(place)
        refused(place, HERE4, OTHER, MAY4)
    finally:
        echo.close()
        place.filter.apply()


def test_users_rules_do_not_reach_the_proxys_interfaces(place, run):
    """A rule for "all of the filter" means where the user has put it on."""
    place.b.ip("link", "add", "vx", "type", "veth", "peer", "name", "vy")
    place.b.ip("link", "set", "vx", "up")
    echo = proxies.Echo(place.b, "0.0.0.0", OTHER)
    try:
        place.filter.apply("interface vx default drop", f"mine: deny tcp dst port {OTHER}")
        run(BOTH)
        assert ifaces(place)["vb"]["owner"] == "proxy"
        passes(place, HERE4, OTHER, NOT4)
        refused(place, HERE4, PORT, NOT4)
        # The user puts it on, too: now it does.
        place.filter("on", "vb")
        assert ifaces(place)["vb"]["owner"] == "filter"
        refused(place, HERE4, OTHER, NOT4)
        # ...and off: the proxy's rules stay in force there.
        told = place.filter("off", "vb").stderr
        assert "vb stays on for the rules of weir proxy" in told, told
        passes(place, HERE4, OTHER, NOT4)
        refused(place, HERE4, PORT, NOT4)
        done = place.filter("off", "vb", status=2)
        assert "vb is filtered for the rules of weir proxy alone" in done.stderr, done.stderr
    finally:
        echo.close()
        place.filter("off")
        place.filter.apply()
        place.b.ip("link", "del", "vx")


@pytest.mark.parametrize("way", ["apply", "off", "apply nothing"])
def test_the_user_does_not_remove_it(place, run, way):
    run(BOTH)
    if way == "apply":
        place.filter.apply("interface vb default drop", f"allow tcp dst port {PORT}",
                           "allow icmp")
        assert ifaces(place)["vb"]["owner"] == "filter"
        # The user's allow comes first; the proxy checks at accept.
        assert not proxies.reaches(place.a, HERE4, PORT, source=NOT4)
        place.filter.apply()
    elif way == "off":
        place.filter("on", "vb")
        place.filter("off")
    else:
        place.filter.apply()
    assert ifaces(place)["vb"]["owner"] == "proxy"
    refused(place, HERE4, PORT, NOT4)
    passes(place, HERE4, PORT, MAY4)


def test_what_the_user_put_on_meanwhile_stays(place, run):
    proxy = run(BOTH)
    place.filter("on", "vb", "--default", "pass")
    proxy.stop()
    try:
        assert gone(place) and ifaces(place)["vb"]["owner"] == "filter"
    finally:
        place.filter("off")


def test_its_sets_are_its_own(place, run):
    run(BOTH)
    for words in (("set", "proxy-allow", "add", NOT4), ("set", "proxy-allow", "unload")):
        done = place.filter(*words, status=1)
        assert "the set proxy-allow is weir proxy's" in done.stderr, done.stderr
    done = place.filter("deny", "src", "net", "@proxy-allow", "-i", "vb", status=2)
    assert "a set for the rules of weir proxy alone" in done.stderr, done.stderr
    refused(place, HERE4, PORT, NOT4)


def test_users_set_of_the_same_name(place, run):
    place.filter.apply("interface vb", "set proxy-allow", "deny src net @proxy-allow")
    place.filter("set", "proxy-allow", "add", "192.0.2.9")
    try:
        proxy = run(BOTH)
        refused(place, HERE4, PORT, NOT4)
        passes(place, HERE4, PORT, MAY4)
        proxy.stop()
        assert place.filter("set", "proxy-allow", "list").stdout == "192.0.2.9\n"
    finally:
        place.filter("off")
        place.filter.apply()


# --- reload ------------------------------------------------------------------------

def test_reload(place, run):
    proxy = run(BOTH)
    before = ours(place)
    refused(place, HERE4, PORT, NOT4)
    hits = ours(place)[f"allow_sources:{PORT}"]["hits"]
    # The same once more: the same rules, with what they counted.
    proxy.reload()
    assert ours(place).keys() == before.keys()
    assert ours(place)[f"allow_sources:{PORT}"]["hits"] == hits
    # Another source, another port.
    proxy.reload(config(f"[::]:{PORT}", f"{HERE4}:{OTHER}", allow=(NOT4,)))
    assert set(ours(place)) == {f"allow_sources:{PORT}", f"allow_sources:{OTHER}"}
    for port in (PORT, OTHER):
        passes(place, HERE4, port, NOT4)
        refused(place, HERE4, port, MAY4)
    # None of it any more.
    proxy.reload(BOTH.replace("allow_sources", "# allow_sources"))
    assert gone(place)
    passes(place, HERE4, PORT, NOT4)
    proxy.reload(BOTH)
    refused(place, HERE4, PORT, NOT4)


def test_reload_that_fails(place, run):
    """The allowlist is again that of the configuration which stays in force."""
    proxy = run(BOTH)
    proxy.reload(config(f"[::]:{PORT}", "192.0.2.77:443", allow=(NOT4,)),
                 told="stays in force")
    refused(place, HERE4, PORT, NOT4)
    passes(place, HERE4, PORT, MAY4)


def test_waiting_policy(place, run):
    """With a policy that waits to be confirmed, nothing can be changed, and it says so."""
    place.filter.apply("interface vb", options=("--confirm", "20"))
    try:
        proxy = run(BOTH)
        assert "checked at accept only: a policy waits to be confirmed" in proxy.err, proxy.err
        assert not ours(place)
        assert not proxies.reaches(place.a, HERE4, PORT, source=NOT4)
        passes(place, HERE4, PORT, MAY4)
        place.filter("confirm")
        proxy.reload()
        refused(place, HERE4, PORT, NOT4)
        # Now the rules are there; a change of them is refused while a policy waits.
        place.filter("deny", "tcp", "dst", "port", "1", "--confirm", "20")
        proxy.reload(config(f"[::]:{PORT}", allow=(NOT4,)), told="stays in force")
        refused(place, HERE4, PORT, NOT4)
        place.filter("confirm")
    finally:
        with contextlib.suppress(AssertionError):
            place.filter("confirm")
        place.filter.apply()


def test_the_end_while_a_policy_waits(place, run):
    """The rules go as soon as they can: when the policy is confirmed or has gone back."""
    place.filter.apply("interface vb")
    try:
        proxy = run(BOTH)
        place.filter("deny", "tcp", "dst", "port", "1", "--confirm", "6")
        proxy.stop()
        assert "the rules of allow_sources wait to be removed" in proxy.err, proxy.err
        assert gone(place)
        assert ifaces(place)["vb"]["owner"] == "filter"
    finally:
        place.filter.apply()


# --- interfaces come and go -----------------------------------------------------------

def test_a_new_interface(place, run):
    run(BOTH)
    place.b.ip("link", "add", "vn", "type", "veth", "peer", "name", "vm")
    try:
        for dev in ("vn", "vm"):
            place.b.ip("link", "set", dev, "up")
        lab.wait_for("the new interface", lambda: "vn" in ifaces(place))
        place.b.ip("link", "del", "vn")
        lab.wait_for("the interface to be gone", lambda: "vn" not in ifaces(place))
        refused(place, HERE4, PORT, NOT4)
    finally:
        place.b.ip("link", "del", "vn", check=False)


def test_a_new_address(place, run):
    run(BOTH)
    address = "10.77.0.9"
    place.b.ip("addr", "add", f"{address}/16", "dev", "vb")
    try:
        lab.wait_for("the new address", lambda: f"{address}\n" in place.filter(
            "set", "proxy-local", "list").stdout)
        refused(place, address, PORT, NOT4)
        passes(place, address, PORT, MAY4)
    finally:
        place.b.ip("addr", "del", f"{address}/16", "dev", "vb")


def test_foreign_program(place, run, tmp_path):
    """Where XDP is taken, the check at accept is alone, and a line says so."""
    source = tmp_path / "foreign.bpf.c"
    source.write_text('__attribute__((section("xdp"), used)) int foreign(void *c) { return 2; }\n'
                      '__attribute__((section("license"), used)) char l[] = "GPL";\n')
    lab.sh("clang", *filters.BPF_FLAGS, "-c", source, "-o", tmp_path / "foreign.o")
    place.b.ip("link", "set", "vb", "xdpgeneric", "obj", tmp_path / "foreign.o", "sec", "xdp")
    try:
        proxy = run(BOTH)
        assert "allow_sources: vb: checked at accept only: " in proxy.err, proxy.err
        assert not proxies.reaches(place.a, HERE4, PORT, source=NOT4)
        passes(place, HERE4, PORT, MAY4)
    finally:
        place.b.ip("link", "set", "vb", "xdpgeneric", "off")


# --- the end ---------------------------------------------------------------------------

def test_drain(place, run):
    """The rules stay until draining has ended."""
    proxy = run(BOTH)
    client = proxies.Client(place.a, HERE4, PORT, source=MAY4)
    proxy.send(signal.SIGTERM)
    proxy.wait_told("draining")
    assert ours(place)
    client.say(b"still here")
    client.close()
    proxy.wait()
    assert gone(place)


def test_off(place, run):
    proxy = run(BOTH)
    proxy.command("off")
    proxy.wait()
    assert gone(place)
    assert not proxies.pins(place.b) or all("/rules/" in p for p in proxies.pins(place.b))


def test_killed(place, run):
    """The keeper cleans up behind a proxy that had no time to."""
    proxy = run(BOTH)
    keeper = proxy.keeper
    proxy.send(signal.SIGKILL)
    proxy.wait(-signal.SIGKILL)
    lab.wait_for("the keeper to end", lambda: not lab.Path(f"/proc/{keeper}").exists())
    assert gone(place)


def test_killed_with_its_keeper(place, run):
    """What nobody could remove, the next one takes over, and `off` removes."""
    proxy = run(BOTH)
    keeper = proxy.keeper
    lab.os.kill(keeper, signal.SIGKILL)
    proxy.send(signal.SIGKILL)
    proxy.wait(-signal.SIGKILL)
    assert ours(place)
    again = run(config(f"[::]:{OTHER}"))
    assert set(ours(place)) == {f"allow_sources:{OTHER}"}
    keeper = again.keeper
    lab.os.kill(keeper, signal.SIGKILL)
    again.send(signal.SIGKILL)
    again.wait(-signal.SIGKILL)
    again.command("off")
    assert gone(place)


def test_without_an_allowlist(place, run):
    run(BOTH.replace("allow_sources", "# allow_sources"))
    assert gone(place)
    passes(place, HERE4, PORT, NOT4)
