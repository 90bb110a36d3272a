# SPDX-License-Identifier: GPL-2.0-only
"""`weir filter` as its user meets it: words, messages, exit statuses, files. What the
programs do with packets is tested elsewhere; here it is enough that a ping is dropped."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
WEIR = os.environ.get("WEIR", str(TOP / "build" / "weir"))
PAGE = TOP / "src/cap/filter/weir-filter.8.scd"
PATIENCE = 30  # seconds

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def weir(*args, **options):
    return subprocess.run([WEIR, "filter", *args], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **options)


def actions():
    rows = subprocess.run([WEIR, "help", "--complete", "filter"], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    hint = [row.split("\t")[3] for row in rows if row.startswith("-\t-\tWORD\t")]
    return hint[0].removeprefix("words:").split()


def one_error(run, status=2):
    assert run.returncode == status, run
    assert run.stdout == ""
    line, = run.stderr.splitlines()
    assert line.startswith("weir filter: ")
    return line.removeprefix("weir filter: ")


# --- words ------------------------------------------------------------------

@pytest.mark.parametrize("words, told", [
    ("", 'no action given: "weir help filter" lists them'),
    ("frob", 'unknown action "frob": "weir help filter" lists them'),
    ("lst", 'unknown action "lst": did you mean list?'),
    ("on", "on needs more words: weir filter on IFACE..."),
    ("on no-such-iface", "no interface no-such-iface: `ip link` lists them"),
    ("on lo -Q inout", "-Q inout: one direction at a time, give -Q in or -Q out"),
    ("on lo -Q out --hook xdp",
     "XDP sees only packets coming in: use --hook tc or netfilter with -Q out"),
    ("on lo --hook tc --mode native", "--mode is for XDP: leave it out, or use --hook xdp"),
    ("on lo --default maybe", '--default "maybe" is not known: give pass or drop'),
    ("off --json", "--json does not go with off: it is for set, list, drops or test"),
    ("deny --rate 10/s", "--rate does not go with deny: it is for limit"),
    ("limit udp", "a limit without a rate: give --rate 1000/s or --rate 10mbit"),
    ("deny --name -x", None),
    ("deny --dst-port 99999", None),
    ("deny --src-ip 10.0.0.1/8", None),
    ("deny --ttl soon", None),
    ("limit --rate 5", None),
    ("limit --rate 5/s --per host", None),
    ("list all", '"all" is one argument too many: leave it out'),
    ("del", "del needs more words: weir filter del NAME..."),
    ("set bad", "set needs to know what to do: weir filter set NAME load, add, del, list or "
                "unload, or weir filter set list"),
    ("set bad frob", "set needs to know what to do: weir filter set NAME load, add, del, list "
                     "or unload, or weir filter set list"),
    ("set bad del", "wrong number of words: weir filter set NAME del PREFIX..."),
    ("set bad load", "wrong number of words: weir filter set NAME load FILE"),
    ("set bad load a b", "wrong number of words: weir filter set NAME load FILE"),
    ("set bad unload now", "wrong number of words: weir filter set NAME unload"),
    ("set bad add 10.0.0.1/8",
     '"10.0.0.1/8": bits are set behind the prefix length: clear them'),
    ("set bad add ten", '"ten" is no prefix: give one such as 192.0.2.0/24 or 2001:db8::1'),
    ("set bad add 192.0.2.1 --confirm 5", None),
    ("set bad add 192.0.2.1 --json", "--json does not go with set add: it is for set list"),
    ("set bad list --force", "--force does not go with set list, which changes nothing"),
    ("set list --confirm 5", "--confirm does not go with set list, which changes nothing"),
    ("apply", "apply needs more words: weir filter apply FILE"),
    ("apply a b", '"b" is one argument too many: leave it out'),
    ("apply a --confirm 0",
     '--confirm "0": give seconds, or a time such as 5m, up to 24h'),
    ("apply a --confirm 25h",
     '--confirm "25h": give seconds, or a time such as 5m, up to 24h'),
    ("apply /no/such/file", None),
    ("save -", '"-" is no file: `weir filter show` prints the policy'),
    ("save a --boot", "--boot has its place, /etc/weir/filter.conf: leave FILE out"),
    ("show --force", None),
    ("test tcp 192.0.2.1 192.0.2.2 --ttl 1h",
     '--ttl "1h": a packet\'s is a number from 0 to 255'),
    ("test tcp 192.0.2.1 192.0.2.2 -Q inout",
     "a packet comes in or goes out: give -Q in or -Q out"),
    ("test", None),
    ("test tcp here there", None),
    ("drops --for ever", None),
])
def test_wrong_words(words, told):
    message = one_error(weir(*words.split()))
    assert message == told if told else ": " in message


def test_an_option_of_another_action_is_refused_everywhere():
    """None is parsed and ignored: each action refuses what it does not take."""
    rows = subprocess.run([WEIR, "help", "--complete", "filter"], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    flags = [row.split("\t")[0] for row in rows if row.split("\t")[2] == "-"
             and row.split("\t")[0] not in ("--help", "-")]
    assert {"--json", "--force", "--boot", "--once"} <= set(flags)
    for flag in flags:
        assert f"{flag} does not go with confirm: it is for" in one_error(weir("confirm", flag))


def test_help_page_and_completion_name_the_same_actions():
    shown = subprocess.run([WEIR, "help", "filter"], capture_output=True, text=True,
                           check=True).stdout
    page = re.search(r"^# ACTIONS\n(.*?)^# ", PAGE.read_text(), re.M | re.S)[1]
    for action in actions():
        assert re.search(rf"^  {action}\b", shown, re.M), action
        assert re.search(rf"^\*(\w+\*, \*)*{action}\*", page, re.M), action
        if action != "status":
            assert "unknown action" not in weir(action, "--json=no").stderr


def test_policy_file_errors_name_file_line_and_word(tmp_path):
    path = tmp_path / "policy"
    for text, line, word in [
        ("interface lo\ndenny --protocol tcp\n", 2, "denny"),
        ("interface lo mode fast\n", 1, "fast"),
        ("interface lo\n\nx: deny --dst-port 80x\n", 3, "80x"),
        ("interface lo\ndeny src net @bad\n", 2, "@bad"),
        ("interface lo\na: deny tcp\na: deny udp\n", 3, "a"),
        ("interface lo\nlimit udp --rate 10\n", 2, "10"),
        ("deny -i eth9 tcp\n", 1, "eth9"),
    ]:
        path.write_text(text)
        message = one_error(weir("apply", str(path)))
        assert message.startswith(f"{path}:{line}: "), message
        assert f'"{word}"' in message, message


# --- in the kernel ------------------------------------------------------------

class Host:
    """A network namespace with an own bpffs and an own /etc/weir: lo, and eth0 with its
    peer."""

    def __init__(self, directory):
        self.directory = directory
        script = """
            mount --make-rprivate /
            mount -t bpf bpf /sys/fs/bpf
            mount -t sysfs sysfs /sys 2>/dev/null && mount -t bpf bpf /sys/fs/bpf
            [ -d /etc/weir ] && mount -t tmpfs tmpfs /etc/weir
            ip link set lo up
            ip link add eth0 type veth peer name peer0
            ip link set eth0 up
            ip link set peer0 up
            ip addr add 192.0.2.1/24 dev eth0
            echo $$
            exec sleep 600
        """
        self.process = subprocess.Popen(["unshare", "--net", "--mount", "bash", "-c", script],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                        text=True)
        self.pid = self.process.stdout.readline().strip()

    def run(self, *words, **options):
        return subprocess.run(["nsenter", "-t", self.pid, "--net", "--mount",
                               f"--wd={self.directory}", "--", *[str(word) for word in words]],
                              capture_output=True, text=True, timeout=60,
                              **({} if "input" in options else {"stdin": subprocess.DEVNULL}),
                              **options)

    def filter(self, *words, status=0, **options):
        """What it says; (standard output, standard error)."""
        done = self.run(WEIR, "filter", *words, **options)
        assert done.returncode == status, done
        return done.stdout, done.stderr

    def error(self, *words, status=2):
        return one_error(self.run(WEIR, "filter", *words), status)

    def list(self):
        return json.loads(self.filter("list", "--json")[0])

    def pings(self, address="127.0.0.1"):
        return self.run("ping", "-q", "-c", 1, "-W", 1, address).returncode == 0

    def verdict(self, *words, status=0):
        out = json.loads(self.filter("test", *words, "--json", status=status)[0])
        assert out["v"] == 1 and out["verdict"] == ("drop" if status else "pass")
        return out

    def remove(self):
        self.run(WEIR, "unload")
        self.process.kill()
        self.process.wait()


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    made.remove()


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@ROOT
def test_nothing_is_filtered(host):
    assert host.filter("list")[0] == "Nothing is filtered in this network namespace.\n"
    assert host.list() == {"v": 1, "interfaces": [], "rules": []}
    assert host.filter("show") == ("", "")
    assert host.filter("reattach") == ("", "")
    assert host.filter("set", "list")[0] == "There is no set.\n"
    assert "Nothing is filtered" in host.filter("drops", "--once")[0]
    assert "nothing was filtered" in host.filter("off")[1]
    assert "nothing is filtered" in host.error("del", "x", status=1)
    assert host.error("confirm", status=1) == "nothing waits to be confirmed"
    assert "nothing is filtered" in host.error("test", "tcp", "192.0.2.1", "192.0.2.2", status=1)
    assert "nothing to save" in host.error("save", "policy", status=1)
    assert not (host.directory / "policy").exists()
    message = host.error("deny", "--protocol", "icmp")
    assert message.endswith("add -i IFACE, or first `weir filter on IFACE`")
    assert not host.run("ls", "/sys/fs/bpf/weir").stdout


@ROOT
def test_deny_turns_the_filter_on_and_says_so(host):
    assert host.pings()
    _, told = host.filter("deny", "--protocol", "icmp", "-i", "lo")
    assert re.search(r"^weir filter: rule (\S+): deny -i lo .*\(lo is filtered from now on, "
                     r"default pass\)$", told, re.M)
    name = re.search(r"rule (\S+):", told)[1]
    assert "generic" in told
    assert not host.pings()
    assert host.pings("192.0.2.1") is False  # the same lo
    rule, = host.list()["rules"]
    assert rule["name"] == name and rule["action"] == "deny" and rule["owner"] == "filter"
    assert rule["hits"] >= 1 and rule["bytes"] >= 84 * rule["hits"] and rule["last_hit_ts"]
    place, = host.list()["interfaces"]
    assert (place["iface"], place["state"], place["mode"]) == ("lo", "on", "generic")
    assert place["seen"] == place["passed"] + sum(place["dropped"].values())
    assert host.filter("del", name)[1].startswith(f"weir filter: deleted: {name}")
    assert host.pings()


@ROOT
def test_order_names_and_before(host):
    host.filter("on", "lo")
    host.filter("deny", "--protocol", "icmp", "--name", "no-ping")
    assert not host.pings()
    host.filter("allow", "--protocol", "icmp", "--src-ip", "127.0.0.1", "--name", "own")
    assert not host.pings(), "behind the deny it decides nothing"
    host.filter("del", "own")
    host.filter("allow", "--protocol", "icmp", "--src-ip", "127.0.0.1", "--name", "own",
                "--before", "no-ping")
    assert host.pings()
    assert [rule["name"] for rule in host.list()["rules"]] == ["own", "no-ping"]
    assert "own" in host.error("allow", "udp", "--name", "own")
    assert "did you mean own?" in host.error("del", "onw")
    assert "did you mean own?" in host.error("allow", "udp", "--before", "onw")
    assert len(host.list()["rules"]) == 2


@ROOT
def test_wrong_rules_change_nothing(host):
    host.filter("on", "lo")
    before = host.list()["rules"], host.filter("show")
    host.error("deny", "src net @bad")
    host.error("deny", "-i", "eth9", "tcp")
    host.error("deny", "tcp", "-Q", "out")
    host.error("off", "eth0")
    assert (host.list()["rules"], host.filter("show")) == before


@ROOT
def test_off_names_the_rules_that_go(host):
    host.filter("on", "lo", "eth0")
    host.filter("deny", "-i", "lo", "udp", "--name", "mine")
    host.filter("deny", "tcp", "--name", "all")
    assert "gone with it: mine" in host.filter("off", "lo")[1]
    out = host.list()
    assert [place["iface"] for place in out["interfaces"]] == ["eth0"]
    assert [rule["name"] for rule in out["rules"]] == ["all"]
    assert "lo is not filtered" in host.error("off", "lo")
    host.filter("off")
    assert host.filter("list")[0].startswith("No interface is filtered.\n\nRULE ")


@ROOT
def test_show_apply_diff_save(host):
    host.filter("on", "lo", "--default", "drop", "--fragments", "drop")
    host.filter("set", "bad", "add", "198.51.100.0/24", "2001:db8::/32")
    host.filter("deny", "src net @bad", "--name", "feed", "--note", "a feed")
    host.filter("limit", "--protocol", "udp", "--rate", "1000/s", "--per", "source/24")
    host.filter("allow", "-i", "lo")
    shown = host.filter("show")[0]
    assert "interface lo default drop fragments drop\n" in shown
    assert "set bad\n" in shown and "feed: deny src net @bad" in shown

    _, told = host.filter("save", "policy")
    assert "set bad: 2 prefixes written to" in told
    saved = (host.directory / "policy").read_text()
    assert f"set bad file {host.directory}/bad.set\n" in saved
    lines = (host.directory / "bad.set").read_text().splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == \
        ["198.51.100.0/24", "2001:db8::/32"]
    assert {path.name for path in host.directory.iterdir()} == {"policy", "bad.set"}

    assert host.filter("diff", "policy") == ("", ""), "what the set holds counts"
    host.filter("apply", "policy")
    assert host.filter("diff", "policy") == ("", "")
    assert host.filter("save", "again")[1].count("\n") == 1, "the set is in its file already"
    strip = lambda text: [line for line in text.splitlines() if not line.startswith("#")]
    assert strip((host.directory / "again").read_text()) == strip(saved)

    host.filter("set", "bad", "add", "203.0.113.7")
    out, _ = host.filter("diff", "policy", status=4)
    assert out == f"- set bad: 1 prefix that {host.directory}/bad.set does not have\n"
    host.filter("deny", "icmp", "--name", "ping")
    out, _ = host.filter("diff", "policy", status=4)
    assert "- ping: deny icmp\n" in out
    host.filter("apply", "policy")
    assert host.filter("diff", "policy") == ("", "")
    assert "203.0.113.7" not in host.filter("set", "bad", "list")[0]
    (host.directory / "bad.set").unlink()
    assert re.match(r"policy:\d: cannot open .*/bad.set: ", host.error("diff", "policy", status=1))


@ROOT
def test_apply_is_whole_or_not_at_all(host):
    host.filter("on", "lo")
    host.filter("deny", "icmp", "--name", "ping")
    before = host.filter("show")
    policy, feed = host.directory / "policy", host.directory / "feed"
    feed.write_text("192.0.2.0/24\n# fine\n192.0.2.1/24\n")
    policy.write_text("interface lo\nset good file /dev/null\nset bad file feed\n"
                      "deny src net @bad\n")
    message = host.error("apply", "policy")
    assert message.startswith(f"{feed}:3: ") and "192.0.2.1/24" in message
    policy.write_text("interface lo\nset bad file nowhere\ndeny src net @bad\n")
    assert host.error("apply", "policy") == \
        f"policy:2: cannot open {host.directory}/nowhere: No such file or directory"
    assert host.filter("show") == before and not host.pings()
    out, told = host.filter("apply", "-", input="interface lo\nallow icmp\n")
    assert out == "" and "applied standard input: 1 interface, 0 sets, 1 rule" in told
    assert host.pings()


@ROOT
def test_sets(host):
    feed = host.directory / "feed"
    feed.write_text("# a feed\n127.0.0.1 ; this host\r\n\n2001:db8::/32\n")
    host.filter("on", "lo")
    _, told = host.filter("set", "bad", "load", "feed")
    assert told.startswith("weir filter: set bad: 2 prefixes, ")
    host.filter("deny", "src net @bad", "--name", "feed")
    assert not host.pings()
    assert "used by the rule feed" in host.error("set", "bad", "unload", status=1)
    assert host.filter("set", "bad", "del", "127.0.0.1")[1] == \
        "weir filter: set bad: 1 prefix\n"
    assert host.pings()
    assert "127.0.0.1" in host.error("set", "bad", "del", "127.0.0.1", status=1)
    host.filter("set", "bad", "add", "127.0.0.0/8", "198.51.100.1")
    assert not host.pings()
    assert host.filter("set", "bad", "list")[0].splitlines() == \
        ["2001:db8::/32", "127.0.0.0/8", "198.51.100.1"]
    out = json.loads(host.filter("set", "bad", "list", "--json")[0])
    assert out["v"] == 1 and out["name"] == "bad" and len(out["prefixes"]) == 3
    one, = json.loads(host.filter("set", "list", "--json")[0])["sets"]
    assert one["name"] == "bad" and one["prefixes"] == 3 and one["memory"] > 0
    assert one["file"] == str(feed)
    host.filter("set", "bad", "load", "-", input="192.0.2.0/24\n")
    assert host.pings()
    assert "file" not in json.loads(host.filter("set", "list", "--json")[0])["sets"][0]
    host.filter("del", "feed")
    host.filter("set", "bad", "unload")
    assert host.filter("set", "list")[0] == "There is no set.\n"
    assert "no set bad" in host.error("set", "bad", "list")
    assert "no set bad" in host.error("set", "bad", "del", "192.0.2.1")
    feed.write_text("192.0.2.0/24\n300.0.2.0/24\n")
    message = host.error("set", "bad", "load", "feed")
    assert message.startswith("feed:2: ") and "300.0.2.0/24" in message
    assert host.filter("set", "list")[0] == "There is no set.\n"


@ROOT
def test_confirm(host):
    host.filter("on", "lo")
    _, told = host.filter("deny", "icmp", "--name", "ping", "--confirm", "6")
    assert re.search(r"in force until \d\d:\d\d:\d\d, then what was before it: keep it with "
                     r"`weir filter confirm`$", told, re.M)
    assert not host.pings()
    assert "confirm_until_ts" in host.list()
    assert "confirm" in host.error("deny", "udp", status=1)
    wait_for("the way back", host.pings)
    out, told = host.filter("list")
    assert "not confirmed in time" in told and "ping" not in out
    assert host.filter("list")[1] == "", "told once"
    host.error("confirm", status=1)
    host.filter("deny", "icmp", "--name", "ping", "--confirm", "5s")
    assert "confirmed" in host.filter("confirm")[1]
    time.sleep(5.5)
    assert not host.pings()
    assert "confirm_until_ts" not in host.list()


@ROOT
def test_messages_of_sets_are_the_filters(host):
    """No advice of another verb's options."""
    feed = host.directory / "feed"
    feed.write_text("".join(f"2001:db8:{i // 65536:x}:{i % 65536:x}::/64\n"
                            for i in range(300000)))
    run = host.run("prlimit", f"--as={40 << 20}", WEIR, "filter", "set", "bad", "load", "feed")
    message = one_error(run, status=1)
    assert "memory" in message
    assert "--" not in message and "-B" not in message


@ROOT
def test_renamed_interface(host):
    """It stays filtered, and every command says how it is called now."""
    packet = ("tcp", "198.51.100.7", "192.0.2.1:22", "-i", "eth0")
    host.filter("deny", "-i", "eth0", "tcp dst port 22", "--name", "ssh")
    host.run("ip", "link", "set", "eth0", "down")
    host.run("ip", "link", "set", "eth0", "name", "lan9")
    host.run("ip", "link", "set", "lan9", "up")
    place, = host.list()["interfaces"]
    assert (place["iface"], place["state"], place["called"]) == ("eth0", "on", "lan9")
    assert "(now called lan9)" in host.filter("list")[0]
    assert re.search(r"eth0 +xdp +in +on \(now called lan9\)",
                     host.run(WEIR, "status", "filter").stdout)
    place, = json.loads(host.run(WEIR, "status", "filter", "--json").stdout)["filtered"]
    assert (place["state"], place["called"]) == ("on", "lan9")
    host.verdict(*packet, status=4)
    assert host.filter("reattach")[0] == ""

    _, told = host.filter("deny", "udp", "--name", "udp")
    assert "eth0 is called lan9 now, and filtered all the same" in told
    assert host.list()["interfaces"][0]["state"] == "on"
    host.verdict(*packet, status=4)
    for words in [("on", "lan9"), ("on", "lan9", "--hook", "tc"), ("deny", "-i", "lan9", "icmp")]:
        message = host.error(*words, status=1)
        assert message.startswith("lan9 is the interface that is filtered as eth0: put the one ")

    policy = host.filter("show")[0].replace("eth0", "lan9")
    _, told = host.filter("apply", "-", input=policy)
    assert "called" not in told
    place, = host.list()["interfaces"]
    assert (place["iface"], place["state"]) == ("lan9", "on") and "called" not in place
    host.verdict(*packet[:-1], "lan9", status=4)


@ROOT
def test_netfilter_has_no_link_layer(host):
    on = host.run(WEIR, "filter", "on", "eth0", "--hook", "netfilter")
    if "kernel 6.4" in on.stderr:
        pytest.skip("no netfilter programs")
    assert on.returncode == 0, on
    packet = ("tcp", "192.0.2.9", "192.0.2.1:22")
    _, told = host.filter("deny", "vlan 5", "--name", "tag")
    assert "warning: rule 'tag' asks for a VLAN tag, which no packet has at netfilter" in told
    _, told = host.filter("deny", "arp", "--name", "arp")
    assert "rule 'arp' asks for the link layer" in told and "'tag'" not in told
    _, told = host.filter("deny", "--protocol", "tcp", "--dst-port", "22", "--name", "ssh")
    assert "warning" not in told
    assert host.verdict(*packet, status=4)["rule"] == "ssh"
    out = host.verdict(*packet, "--vlan", "5")
    assert out["seen"] is False and "VLAN" in out["detail"]
    (host.directory / "arp").write_text("ffffffffffff0200000000010806" + "00" * 28)
    assert host.filter("test", "--hex", "arp") == \
        ("PASS at eth0 netfilter, in: not seen there: it is not IP\n", "")
    host.filter("on", "eth0")
    assert host.verdict(*packet, "--vlan", "5", status=4)["hook"] == "xdp"
    assert host.verdict("--hex", "arp", status=4)["rule"] == "arp"


@ROOT
def test_guard(host):
    """A session of a process called sshd: each kind of change that would cut it is
    refused, naming rule and session; --force warns."""
    shutil.copy(os.path.realpath("/usr/bin/python3"), host.directory / "sshd")
    script = ("import socket, sys\n"
              "a = socket.socket(); a.bind(('127.0.0.1', 22)); a.listen()\n"
              "b = socket.create_connection(('127.0.0.1', 22)); c, _ = a.accept()\n"
              "print('up', flush=True); sys.stdin.read()\n")
    words = ["nsenter", "-t", host.pid, "--net", "--mount", host.directory / "sshd", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sshd:
        assert sshd.stdout.readline() == b"up\n"
        deny = ("deny", "-i", "lo", "tcp dst port 22", "--name", "no-ssh")
        message = host.error(*deny, status=1)
        assert "rule 'no-ssh' would cut the ssh session 127.0.0.1 port" in message
        assert "--force" in message
        assert host.filter("list")[0] == "Nothing is filtered in this network namespace.\n"
        host.filter("set", "bad", "add", "192.0.2.1")
        host.filter("deny", "-i", "lo", "src net @bad", "--name", "feed")
        before = host.filter("show"), host.filter("set", "bad", "list")
        (host.directory / "feed").write_text("127.0.0.0/8\n")
        (host.directory / "policy").write_text("interface lo default drop\n")
        for words in [("set", "bad", "add", "127.0.0.1"), ("set", "bad", "load", "feed"),
                      ("on", "lo", "--default", "drop"), ("limit", "tcp", "--rate", "5/s"),
                      ("apply", "policy"), ("apply", "policy", "--confirm", "60")]:
            assert "would cut the ssh session" in host.error(*words, status=1)
            assert (host.filter("show"), host.filter("set", "bad", "list")) == before
        _, told = host.filter(*deny, "--force")
        assert "warning: rule 'no-ssh' cuts the ssh session" in told
        host.filter("off")
        sshd.stdin.close()


@ROOT
def test_rule_that_expires(host):
    host.filter("on", "lo")
    host.filter("deny", "icmp", "--name", "ping", "--ttl", "6s")
    assert not host.pings()
    assert host.list()["rules"][0]["expires_ts"]
    assert re.search(r"in \d", host.filter("list")[0])
    wait_for("its end", host.pings)
    wait_for("it to leave the list", lambda: not host.list()["rules"])


@ROOT
def test_verdicts(host):
    packet = ("tcp", "198.51.100.7:1234", "->", "192.0.2.1:22")
    host.filter("on", "eth0", "--default", "drop")
    out = host.verdict(*packet, status=4)
    assert out["reason"] == "default" and out["iface"] == "eth0" and "rule" not in out
    host.filter("allow", "--protocol", "tcp", "--dst-port", "22", "--name", "ssh")
    out = host.verdict(*packet)
    assert out["rule"] == "ssh" and out["owner"] == "filter" and out["text"].startswith("allow")
    host.filter("deny", "--src-ip", "198.51.100.0/24", "--name", "net", "--before", "ssh")
    out = host.verdict(*packet, status=4)
    assert out["rule"] == "net" and out["reason"] == "rule"
    text, _ = host.filter("test", *packet, status=4)
    assert text == ("DROP at eth0 xdp, in: a deny rule matched\n"
                    "net: deny src net 198.51.100.0/24\n")
    host.filter("test", "tcp", "192.0.2.9", "192.0.2.1", "--flags", ".", status=4)
    host.filter("test", "tcp", "192.0.2.9", "192.0.2.1:22", "--vlan", "7", "--ttl", "3")
    rules = host.list()
    assert all(rule["hits"] == 0 for rule in rules["rules"]), "a test counts nothing"
    host.filter("on", "lo")
    assert "say by which the packet comes with -i" in host.error("test", *packet)
    assert host.verdict(*packet, "-i", "eth0", status=4)["iface"] == "eth0"
    assert "going out" in host.error("test", *packet, "-Q", "out", status=1)


@ROOT
def test_drops(host):
    host.filter("on", "lo")
    host.filter("deny", "icmp", "--name", "ping")
    assert not host.pings()
    text, _ = host.filter("drops", "--once")
    assert re.search(r"^rule +1 +\d+ ", text, re.M) and re.search(r"^ping +filter +deny +1 ", text, re.M)
    out = json.loads(host.filter("drops", "--once", "--json")[0])
    assert out["v"] == 1 and out["ts"] and out["interfaces"][0]["dropped"] == {"rule": 1}
    assert out["rules"][0]["hits"] == 1
    words = ["nsenter", "-t", host.pid, "--net", "--mount", WEIR, "filter", "drops", "--for", "3s"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as stream:
        # Nothing is held meanwhile: others can change the filter.
        host.filter("deny", "udp", "--name", "udp")
        while stream.poll() is None: # one a second: it may be late in taking its first look
            host.pings()
        lines = stream.communicate(timeout=PATIENCE)[0].splitlines()
    once_or_twice = "(1 packet, 98|2 packets, 196) bytes$"
    for what in ("lo xdp in rule", "deny ping"):
        assert any(re.search(f" {what}: {once_or_twice}", line) for line in lines), lines
    many = [json.loads(line) for line in
            host.filter("drops", "--for", "2500ms", "--json")[0].splitlines()]
    assert 2 <= len(many) <= 4  # the first and the last one at least


@ROOT
def test_foreign_words_in_the_terminal(host):
    host.filter("on", "lo")
    assert "\033" not in host.run(WEIR, "filter", "deny", "tcp", "--note", "a\033[31m").stderr


# --- boot -------------------------------------------------------------------------

def unit(name):
    text = (TOP / "packaging" / f"{name}.in").read_text()
    return text.replace("@bindir@/weir", WEIR)


def exec_start(name):
    return re.search(r"^ExecStart=(.*)$", unit(name), re.M)[1].split()


@ROOT
def test_boot_needs_a_place(host):
    if not os.path.isdir("/etc/weir"):
        # A private /etc, with what programs look up in it.
        host.run("sh", "-c", "cp -a /etc/services /etc/protocols /etc/ld.so.cache /run/; "
                             "mount -t tmpfs tmpfs /etc; true")
    host.filter("on", "lo")
    host.filter("set", "bad", "add", "127.0.0.1")
    host.filter("deny", "src net @bad", "--name", "feed")
    _, told = host.filter("save", "--boot")
    assert "systemctl enable weir-filter.service" in told
    assert "file /etc/weir/bad.set" in host.run("cat", "/etc/weir/filter.conf").stdout

    # The host starts again: nothing is left of bpffs.
    host.run(WEIR, "unload")
    assert host.pings()
    done = host.run(*exec_start("weir-filter.service"))
    assert done.returncode == 0, done
    assert not host.pings()
    # The unit's command run again, on what is in force.
    assert host.run(*exec_start("weir-filter.service")).returncode == 0
    assert not host.pings()


@ROOT
def test_interface_that_goes_and_comes_back(host):
    def state(iface):
        return {place["iface"]: place["state"] for place in host.list()["interfaces"]}[iface]

    policy = "interface eth0\ninterface eth7 default drop\nx: deny tcp\n"
    _, told = host.filter("apply", "-", input=policy)
    assert "eth7" in told
    assert state("eth0") == "on" and state("eth7") == "detached: interface gone"
    assert "detached: interface gone" in host.run(WEIR, "status", "filter").stdout
    host.filter("test", "tcp", "192.0.2.9", "192.0.2.1", "-i", "eth0", status=4)

    host.run("ip", "link", "del", "eth0")
    assert state("eth0") == "detached: interface gone"
    out = json.loads(host.run(WEIR, "status", "filter", "--json").stdout)
    assert {place["state"] for place in out["filtered"]} == {"detached: interface gone"}
    assert host.filter("reattach") == ("", "")

    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    host.run("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "peer7")
    assert state("eth0") != "on"
    words = exec_start("weir-filter-reattach@.service")
    done = host.run(*words)
    assert done.returncode == 0 and "reattached: eth0, eth7" in done.stderr, done
    assert state("eth0") == "on" and state("eth7") == "on"
    assert re.search(r"^  eth7 +xdp +in +on ", host.run(WEIR, "filter", "status").stdout, re.M)
    host.filter("test", "tcp", "192.0.2.9", "192.0.2.1", "-i", "eth0", status=4)


def test_units_are_well_formed(tmp_path):
    """systemd reads them without a complaint."""
    for name in ("weir-filter.service", "weir-filter-reattach@.service"):
        (tmp_path / name).write_text(unit(name))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                           tmp_path / "weir-filter.service",
                           tmp_path / "weir-filter-reattach@eth0.service"],
                          capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "weir" in line]
    assert not complaints, complaints
