# SPDX-License-Identifier: GPL-2.0-only
"""A policy as a whole: it enters force whole or not at all, reads back what it wrote,
and leaves by itself what was given for a time."""

import ipaddress
import random
import re
import signal
import subprocess
import time

import pytest

import filters
import kernel
import lab

POLICY = """\
# A comment, and a line that goes on
interface vb mode native default pass
set bad file {bad}
set own
feed: deny src net @bad
ssh: allow --protocol tcp --src-ip 10.0.0.0/8 \\
     --dst-port 22 --note "the way in"
limit --protocol udp --rate 1000/s --burst 200 --per source/24
never: deny tcp flags syn and not dst port (80 or 443) and src net @own
"""


@pytest.fixture
def host():
    h = lab.Pair(host=True)
    h.filter = filters.Filter(h.b)
    yield h
    h.filter.remove()
    h.remove()


@pytest.fixture
def policy(tmp_path):
    """A policy file, and the file of its set."""
    bad = tmp_path / "bad.txt"
    bad.write_text("192.0.2.0/24  # a network\n\n; nothing\n2001:db8:bad::/48\r\n198.51.100.7\n")
    path = tmp_path / "filter.conf"
    path.write_text(POLICY.format(bad=bad))
    return path


def names(host):
    return [rule["name"] for rule in host.filter.list()["rules"]]


# --- errors -------------------------------------------------------------------

# name: (the line put in place of "never", its number, the word)
BAD_LINES = {
    "prefix": ("x: deny --src-ip 192.0.2.0/33", 9, "192.0.2.0/33"),
    "host bits": ("x: deny --src-ip 192.0.2.1/24", 9, "192.0.2.1/24"),
    "address": ("x: deny --src-ip 192.0.2.256", 9, "192.0.2.256"),
    "port": ("x: deny --dst-port 80x", 9, "80x"),
    "port range": ("x: deny --dst-port 70000", 9, "70000"),
    "rate": ("x: limit --rate 10/x", 9, "10/x"),
    "rate, none": ("x: limit --protocol udp", 9, "--rate"),
    "burst": ("x: limit --rate 10/s --burst many", 9, "many"),
    "per": ("x: limit --rate 10/s --per planet", 9, "planet"),
    "time": ("x: deny --ttl 5parsecs", 9, "5parsecs"),
    "action": ("x: forbid --dst-port 80", 9, "forbid"),
    "option": ("x: deny --dst-prot 80", 9, "--dst-prot"),
    "protocol": ("x: deny --protocol tpc", 9, "tpc"),
    "expression": ("x: deny tcp port 80 or", 9, "expression: at the end"),
    "set that is not there": ("x: deny src net @nowhere", 9, "nowhere"),
    "interface that is not there": ("x: deny -i eth7 --dst-port 80", 9, "eth7"),
    "name twice": ("ssh: deny --dst-port 80", 9, "ssh"),
    "name": ("x y: deny --dst-port 80", 9, "y"),
    "default": ("interface vc default maybe", 9, "maybe"),
    "interface twice": ("interface vb default drop", 9, "vb"),
    "quote": ('x: deny --note "never ends', 9, "quote"),
    "nonsense": ("\x01\x02", 9, ""),
}


def test_a_bad_line_changes_nothing(host, policy):
    host.filter("apply", policy)
    before = host.filter.state()
    good = policy.read_text()
    for name, (line, number, word) in BAD_LINES.items():
        lines = good.splitlines()
        lines[8] = line
        policy.write_text("\n".join(lines) + "\n")
        done = lab.weir("filter", "apply", policy, ns=host.b)
        assert done.returncode in (1, 2), (name, done)
        assert done.stderr.count("\n") == 1 and f"{policy}:{number}:" in done.stderr, \
            (name, done.stderr)
        assert word in done.stderr, (name, done.stderr)
        assert host.filter.state() == before, name
    # And what else can be wrong with a file.
    for text in (b"\0" * 100, b"interface vb\n" + b"x" * 100_000, bytes(range(128, 256)) * 9):
        policy.write_bytes(text)
        done = lab.weir("filter", "apply", policy, ns=host.b, errors="replace")
        assert done.returncode in (1, 2) and str(policy) in done.stderr
        assert host.filter.state() == before
    policy.write_text(good.replace("bad.txt", "other.txt"))
    for path, missing in ((policy.parent / "nonexistent", "nonexistent"), (policy, "other.txt")):
        done = lab.weir("filter", "apply", path, ns=host.b)
        assert done.returncode in (1, 2) and missing in done.stderr
        assert host.filter.state() == before


def test_a_bad_set_changes_nothing(host, policy):
    """File, line and word of a set's file, too; a rule of the same policy is not
    applied either."""
    host.filter("apply", policy)
    before = host.filter.state()
    bad = policy.parent / "bad.txt"
    policy.write_text(policy.read_text() + "more: deny --dst-port 99\n")
    for line in ("192.0.2.0/33", "not-an-address", "10.0.0.1/8", "2001:db8::/129",
                 "1.2.3.4 5.6.7.8"):
        bad.write_text(f"203.0.113.0/24\n# good so far\n{line}\n")
        done = lab.weir("filter", "apply", policy, ns=host.b)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1
        assert f"{bad}:3:" in done.stderr and line.split()[-1] in done.stderr, done.stderr
        for words in (("set", "bad", "load", bad), ("set", "own", "add", "203.0.113.0/24", line)):
            done = lab.weir("filter", *words, ns=host.b)
            assert done.returncode in (1, 2) and line.split()[-1] in done.stderr, done.stderr
        assert host.filter.state() == before
        assert host.filter("set", "own", "list").stdout == ""


WRONG_USAGE = [
    ("deny", "--src-ip", "1.2.3.4/99"), ("deny", "--rate", "10/s"), ("limit", "--dst-port", "5"),
    ("deny", "--src-ip", "@nowhere"), ("allow", "--before", "nobody"), ("on",), ("on", "nosuchdev"),
    ("del", "nobody"), ("set", "bad", "frobnicate"), ("set", "no such name", "add", "1.2.3.4"),
    ("on", "vb", "-Q", "out", "--hook", "xdp"), ("on", "vb", "--hook", "tc", "--mode", "native"),
    ("confirm", "now"), ("apply",), ("off", "va"), ("test", "tcp", "1.2.3.4"), ("frobnicate",),
    ("deny", "--name", "feed", "--dst-port", "1"), ("deny", "--name", "a b", "--dst-port", "1"),
]


@pytest.mark.parametrize("words", WRONG_USAGE, ids=" ".join)
def test_wrong_usage(used, words):
    before = used.filter.state()
    done = used.filter(*words, status=2)
    assert done.stderr.startswith("weir filter: ") and done.stdout == ""
    assert used.filter.state() == before


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """One policy for the tests that change nothing."""
    h = lab.Pair(host=True)
    h.filter = filters.Filter(h.b)
    directory = tmp_path_factory.mktemp("policy")
    (directory / "bad.txt").write_text("192.0.2.0/24\n")
    path = directory / "filter.conf"
    path.write_text(POLICY.format(bad=directory / "bad.txt"))
    h.filter("apply", path)
    h.path = path
    yield h
    h.filter.remove()
    h.remove()


# --- files --------------------------------------------------------------------

def test_show_save_diff(host, policy):
    """What is shown applies to the same; 4 says that a file is different."""
    host.filter("apply", policy)
    assert names(host) == [*("feed", "ssh"), names(host)[2], "never"]
    shown = host.filter.show()
    assert host.filter("diff", policy).stdout == ""
    saved = policy.parent / "saved.conf"
    host.filter("save", saved)
    host.filter("diff", saved)
    again = policy.parent / "again.conf"
    again.write_text(shown)
    host.filter("diff", again)

    host.filter("deny", "--name", "late", "--before", "ssh", "--dst-port", "99")
    told = host.filter("diff", policy, status=4).stdout.splitlines()
    assert len(told) == 1 and told[0][0] in "+-" and "late" in told[0], told
    host.filter("off")
    assert not host.filter.attached()
    host.filter("apply", saved)
    # A set that had no file has the one that it was saved to.
    now = shown.replace("set own\n", f"set own file {saved.parent}/own.set\n")
    assert host.filter.show() == now
    host.filter("apply", again)
    assert host.filter.show() == shown
    # Another order is another policy.
    lines = shown.splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith(("feed:", "ssh:"))]
    lines[at[0]], lines[at[1]] = lines[at[1]], lines[at[0]]
    again.write_text("\n".join(lines) + "\n")
    assert host.filter("diff", again, status=4).stdout


def test_names_and_order(host):
    """A name of its own or a stable one of its words; the first match decides."""
    host.filter("on", "vb")
    host.filter("deny", "--dst-port", "80")
    host.filter("deny", "--dst-port", "80", "--name", "mine")
    host.filter("deny", "--dst-port", "81")
    [made, mine, other] = names(host)
    assert mine == "mine" and made != other
    host.filter("allow", "--src-ip", "192.0.2.1", "--before", "mine", "--name", "first")
    host.filter("allow", "--src-ip", "192.0.2.2", "--before", made, "--name", "zero")
    assert names(host) == ["zero", made, "first", "mine", other]
    for source, rule in (("192.0.2.1", made), ("192.0.2.2", "zero"), ("192.0.2.3", made)):
        assert host.filter.test("-i", "vb", "tcp", source, "203.0.113.1:80")["rule"] == rule
    host.filter("del", made)
    assert host.filter.test("-i", "vb", "tcp", "192.0.2.1", "203.0.113.1:80")["rule"] == "first"
    host.filter("deny", "--dst-port", "80")
    assert made in names(host)
    host.filter("del", "zero", "first", "mine", other, made)
    assert names(host) == []
    assert host.filter.test("-i", "vb", "tcp", "192.0.2.1", "203.0.113.1:80")["verdict"] == "pass"


def test_unload_leaves_nothing(host, policy):
    """Neither program nor map, link, qdisc nor pin, of any hook, replies included."""
    before = kernel.state(host.b, "vb")
    policy.write_text(policy.read_text()
                      + "interface vb hook tc direction in default drop\n"
                      "interface vb hook tc direction out default drop\n"
                      "interface lo default drop\n")
    host.b.ip("link", "set", "lo", "up")
    host.filter("apply", policy, "--confirm", "60")
    assert kernel.state(host.b, "vb") != before
    held = host.filter.objects()
    assert held.prog and held.map and held.link
    assert lab.weir("unload", ns=host.b).returncode == 0
    lab.wait_for("the interface to be as before", lambda: kernel.state(host.b, "vb") == before)
    held.wait_gone()
    assert "xdp" not in host.b.link("lo")
    # The kernel itself has put two iterators there.
    assert host.b.sh("find", "/sys/fs/bpf", "-mindepth", "1", "-not",
                     "-name", "*.debug").stdout == ""
    assert host.filter.list()["interfaces"] == []


def test_off(host, policy):
    """Rules without an interface stay, those of the interface go; the filter too."""
    policy.write_text(policy.read_text() + "here: deny -i vb --dst-port 77\n")
    host.filter("apply", policy)
    assert host.filter.attached().keys() == {"vb"}
    done = host.filter("off", "vb")
    assert "here" in done.stdout + done.stderr
    assert not host.filter.attached() and host.filter.list()["interfaces"] == []
    assert "here" not in names(host) and "ssh" in names(host)
    host.filter("on", "vb")
    assert host.filter.test("-i", "vb", "tcp", "10.0.0.1", "203.0.113.1:22")["rule"] == "ssh"
    host.filter("off")
    host.filter("off")


# --- sets ---------------------------------------------------------------------

def random_prefixes(n, seed=1):
    r = random.Random(seed)
    found = set()
    while len(found) < n:
        if r.random() < 0.8:
            length = r.choice([32, 32, 32, 24, 28, 22, 16])
            address = r.getrandbits(32) >> (32 - length) << (32 - length)
            found.add(ipaddress.IPv4Network((address, length)))
        else:
            length = r.choice([128, 64, 48, 56])
            address = (0x20010db8 << 96 | r.getrandbits(96)) >> (128 - length) << (128 - length)
            found.add(ipaddress.IPv6Network((address, length)))
    return sorted(found, key=str)


def whole(line):
    """A line of `set list` as the address module writes a network."""
    return line if "/" in line else line + ("/128" if ":" in line else "/32")


def listed(host, name):
    return {whole(line) for line in host.filter("set", name, "list").stdout.split()}


def test_a_set_of_100000(host, tmp_path):
    """Loaded, listed, changed one by one and in lots; the programs follow each time."""
    prefixes = random_prefixes(100_000)
    feed = tmp_path / "feed"
    feed.write_text("# a feed\n" + "".join(f"{p}\n" for p in prefixes))
    host.filter("on", "vb")
    host.filter("set", "bad", "load", feed)
    host.filter("deny", "--name", "feed", "src net @bad")
    assert listed(host, "bad") == {str(p) for p in prefixes}

    def verdict(address):
        return host.filter.test("-i", "vb", "udp", str(address),
                                "203.0.113.1:9" if "." in str(address)
                                else "[2001:db8:ffff::1]:9")["verdict"]

    r = random.Random(2)
    for p in r.sample(prefixes, 20):
        assert verdict(p[0]) == verdict(p[-1]) == "drop", p
    four = [(int(p.network_address), int(p.broadcast_address)) for p in prefixes if p.version == 4]
    misses = 0
    while misses < 20:
        address = r.getrandbits(32)
        if not any(low <= address <= high for low, high in four):
            assert verdict(ipaddress.IPv4Address(address)) == "pass", address
            misses += 1

    free = "240.1.2.3"
    for family, one in ((4, f"{free}/32"), (6, "2001:db9::7/128")):
        address = one.split("/")[0]
        assert verdict(address) == "pass", family
        host.filter("set", "bad", "add", one)
        assert verdict(address) == "drop", family
        host.filter("set", "bad", "add", one)  # is there already: no error
        host.filter("set", "bad", "del", one)
        assert verdict(address) == "pass", family
    # Not there, and a part of what is there: told, and nothing is changed.
    count = len(listed(host, "bad"))
    host.filter("set", "bad", "del", str(prefixes[0]), free, status=1)
    wide = next(p for p in prefixes if p.prefixlen == 16 and p.version == 4)
    host.filter("set", "bad", "del", str(wide[5]) + "/32", status=1)
    assert len(listed(host, "bad")) == count and verdict(prefixes[0][0]) == "drop"
    # A wider one over the hole of a narrower: the union stays when either goes.
    inside = wide[256]
    host.filter("set", "bad", "add", f"{inside}/32")
    host.filter("set", "bad", "del", str(wide))
    assert verdict(inside) == "drop"
    host.filter("set", "bad", "del", f"{inside}/32")
    if sum(low <= int(inside) <= high for low, high in four) == 1:
        assert verdict(inside) == "pass"
    # Loaded anew, from standard input: nothing of the old one is left.
    host.filter("set", "bad", "load", "-", text=f"{free}\n")
    assert listed(host, "bad") == {f"{free}/32"}
    assert verdict(free) == "drop" and verdict(prefixes[0][0]) == "pass"
    done = host.filter("set", "bad", "unload", status=1)
    assert "feed" in done.stderr
    host.filter("del", "feed")
    host.filter("set", "bad", "unload")
    assert "bad" not in host.filter("set", "list").stdout


def test_the_set_is_of_the_policy(host, policy):
    """apply, save and diff take sets along; a change of the feed's file shows."""
    host.filter("apply", policy)
    assert listed(host, "bad") == {"192.0.2.0/24", "2001:db8:bad::/48", "198.51.100.7/32"}
    host.filter("set", "own", "add", "203.0.113.0/24", "2001:db8:1::/48")
    saved = policy.parent / "saved.conf"
    host.filter("save", saved)
    host.filter("off")
    lab.weir("unload", ns=host.b)
    host.filter("apply", saved)
    assert listed(host, "own") == {"203.0.113.0/24", "2001:db8:1::/48"}
    assert host.filter.test("-i", "vb", "udp", "192.0.2.77", "203.0.113.1:9")["rule"] == "feed"
    (policy.parent / "bad.txt").write_text("198.51.100.0/24\n")
    host.filter("apply", policy)
    assert listed(host, "bad") == {"198.51.100.0/24"}
    assert host.filter.test("-i", "vb", "tcp", "192.0.2.77", "203.0.113.1:9")["verdict"] == "pass"


# --- for a time ---------------------------------------------------------------

def test_a_rule_for_some_seconds(host):
    """The program itself ends it. No process of weir runs meanwhile, so that the
    verdict is seen on the wire."""
    host.filter("on", "vb", "--default", "drop")
    host.filter("deny", "--name", "short", "--ttl", "6s", "--dst-port", "80")
    host.filter("allow", "--name", "long", "--ttl", "1h", "--dst-port", "80")
    host.filter("allow", "--name", "gone", "--ttl", "6s", "--dst-port", "81")
    rules = host.filter.rules()
    assert all("expires_ts" in rules[n] for n in ("short", "long", "gone"))
    tap = filters.Tap(host.b, "vb")
    came = ports_that_pass(host, tap)
    assert came == {81}
    lab.wait_for("the rules to expire", lambda: ports_that_pass(host, tap) == {80})
    tap.close()
    assert names(host) == ["long"]
    left = re.search(r"--ttl (\d+)", host.filter.show())
    assert left, host.filter.show()


def ports_that_pass(host, tap, ports=(80, 81)):
    maker = filters.packets_to(ports)
    tap.take()
    host.a.inject("va", [frame for _, frame in maker])
    # The last of them is one that always passes.
    came = set()
    lab.wait_for("the packet that passes",
                 lambda: came.update(filters.serials(tap.take())) or 0 in came)
    return came - {0}


def wait_policy(host, tap, wanted):
    lab.wait_for(f"{wanted} to pass", lambda: ports_that_pass(host, tap) == wanted)


def test_confirm_rolls_back_by_itself(host, policy):
    """kill -9 of the command that waits for nothing; no process takes part."""
    host.filter("on", "vb", "--default", "drop")
    host.filter("allow", "--name", "old", "--dst-port", "80")
    tap = filters.Tap(host.b, "vb")
    assert ports_that_pass(host, tap) == {80}
    shown = host.filter.show()
    policy.write_text("interface vb default drop\nnew: allow --dst-port 81\n")
    p = subprocess.Popen(host.b.command(lab.WEIR, "filter", "apply", policy, "--confirm", "8"),
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = p.stderr.read()
    assert p.wait() == 0 and "confirm" in told
    p.stderr.close()
    assert ports_that_pass(host, tap) == {81}
    # With a deadline pending nothing else is changed.
    done = host.filter("deny", "--dst-port", "82", status=1)
    assert "confirm" in done.stderr
    host.filter("set", "late", "add", "192.0.2.1", status=1)
    # From here on no command of weir runs until the wire says that it is over.
    wait_policy(host, tap, {80})
    assert host.filter.show() == shown
    done = host.filter("confirm", status=1)
    assert "waits to be confirmed" in done.stderr or "back" in done.stderr
    assert names(host) == ["old"]
    tap.close()


def test_confirm_makes_it_stay(host, policy):
    host.filter("on", "vb", "--default", "drop")
    host.filter("allow", "--name", "old", "--dst-port", "80")
    policy.write_text("interface vb default drop\nnew: allow --dst-port 81\n")
    host.filter("apply", policy, "--confirm", "5")
    host.filter("confirm")
    tap = filters.Tap(host.b, "vb")
    time.sleep(5.3)  # past the deadline that was
    assert ports_that_pass(host, tap) == {81}
    tap.close()
    assert names(host) == ["new"]
    host.filter("confirm", status=1)
    host.filter("deny", "--name", "later", "--dst-port", "82")


@pytest.mark.parametrize("hook", ["tc", "netfilter"])
def test_confirm_at_other_hooks(hook, policy):
    """Observed from behind: what an address of the host answers."""
    pair = lab.Pair(addresses=True, host=True)
    weir_filter = filters.Filter(pair.b)
    try:
        weir_filter.apply(f"interface vb hook {hook}")
        answers = ["ping", "-c", "1", "-W", "1", "10.77.0.2"]
        assert pair.a.sh(*answers).returncode == 0
        weir_filter.apply(f"interface vb hook {hook}", "no: deny --protocol icmp",
                          options=("--confirm", "5"))
        assert pair.a.sh(*answers, check=False).returncode == 1
        lab.wait_for("the answers to come back",
                     lambda: pair.a.sh(*answers, check=False).returncode == 0)
        assert weir_filter.rules() == {}
    finally:
        weir_filter.remove()
        pair.remove()


def test_confirm_of_the_first_policy(host):
    """Before it there was nothing, and to that it goes back: everything passes."""
    tap = filters.Tap(host.b, "vb")
    host.filter.apply("interface vb default drop", "new: allow --dst-port 81",
                      options=("--confirm", "5"))
    assert ports_that_pass(host, tap) == {81}
    wait_policy(host, tap, {80, 81})
    tap.close()
    assert host.filter.list()["rules"] == []


def test_commands_that_are_killed_show_whole_policies(host, policy):
    """SIGKILL at any moment of an apply: one of the two policies, by its own word."""
    texts = []
    for port in (80, 81):
        policy.write_text(f"interface vb default drop\nonly: allow --dst-port {port}\n")
        host.filter("apply", policy)
        texts.append(host.filter.show())
    for n in range(10):
        policy.write_text(texts[n % 2])
        p = subprocess.Popen(host.b.command(lab.WEIR, "filter", "apply", policy),
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(n * 0.008)
        p.send_signal(signal.SIGKILL)
        p.wait()
        assert host.filter.show() in texts
