# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --alert`: replays against a model that counts packet by packet, and live
on every engine; what is told, where, and the commands that are run."""

import json
import os
import random
import socket
import stat
import threading

import pytest
import traffic
from lab import PATIENCE, Pair, public_dir, wait_for, weir
from traffic import nanoseconds, packet

S = 10**9
TICK = S // 2
BEGIN = 1_700_000_000 * S
SYN, ACK = 0x02, 0x10


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.remove()


# --- a model ----------------------------------------------------------------

class Model:
    """One rule, the slow way: each tick looks at all packets of its window again."""

    def __init__(self, quantity, above, value, match, over=S, hold=0, clear=None, cooldown=0,
                 strict=True, per_second=True):
        self.quantity, self.above, self.value, self.match = quantity, above, value, match
        self.over, self.hold, self.clear, self.cooldown = over, hold, clear, cooldown
        self.strict, self.per_second = strict, per_second

    def events_of(self, packets):
        """What each packet adds: (time, amount or key)."""
        seen = set()
        for p in packets:
            if not self.match(p):
                continue
            if self.quantity == "packets":
                yield p.ts, 1
            elif self.quantity == "bytes":
                yield p.ts, len(p.frame)
            elif self.quantity == "flows":
                key = (p.protocol, frozenset([(p.src, p.sport), (p.dst, p.dport)]))
                yield p.ts, int(key not in seen)
                seen.add(key)
            elif self.quantity == "new hosts":
                yield p.ts, len({p.src, p.dst} - seen)
                seen |= {p.src, p.dst}

    def ports(self, packets, begin, end):
        found = {}
        for p in packets:
            if begin <= p.ts < end and self.match(p):
                found.setdefault(p.src, set()).add((p.protocol, p.dport))
        return max((len(v) for v in found.values()), default=0)

    def value_at(self, packets, added, start, n, end):
        begin = start + n * TICK - self.over
        if self.quantity == "ports per host":
            return self.ports(packets, begin, end)
        total = sum(amount for ts, amount in added if begin <= ts < end)
        return total / (self.over / S) if self.per_second else total

    def holds(self, value):
        if self.above:
            return value > self.value if self.strict else value >= self.value
        return value < self.value if self.strict else value <= self.value

    def is_over(self, value):
        if self.clear is None:
            return not self.holds(value)
        return value <= self.clear if self.above else value >= self.clear

    def run(self, packets):
        start, last = packets[0].ts, packets[-1].ts
        added = list(self.events_of(packets))
        raised, first, cleared, out = False, None, None, []
        n = 1
        while True:
            at, final = start + n * TICK, start + n * TICK > last
            end = last + 1 if final else at
            value = self.value_at(packets, added, start, n, end)
            if self.above and final and raised:
                break
            if self.above or (not final and n * TICK >= self.over):
                if not self.holds(value):
                    first = None
                elif first is None:
                    first = n
                if raised and self.is_over(value):
                    raised, first, cleared = False, None, n
                    out.append(("cleared", min(at, last), value))
                elif not raised and first is not None and (n - first) * TICK >= self.hold \
                        and (cleared is None or (n - cleared) * TICK >= self.cooldown):
                    raised = True
                    out.append(("raised", min(at, last), value))
            if final:
                break
            n += 1
        return out


def everything(_):
    return True


def is_syn(p):
    return p.protocol == "tcp" and p.flags & 0x3f == SYN


RULES = {
    "syn: tcp flags syn rate > 100/s": Model("packets", True, 100, is_syn),
    "held: rate >= 150/s for 2s": Model("packets", True, 150, everything, hold=2 * S, strict=False),
    "hyst: packets > 120 over 1s clear 60 cooldown 3s":
        Model("packets", True, 120, everything, clear=60, cooldown=3 * S, per_second=False),
    "bits: udp rate > 200kbit over 2s":
        Model("bytes", True, 25000, lambda p: p.protocol == "udp", over=2 * S),
    "bytes: bytes > 20k/s cooldown 1s": Model("bytes", True, 20 << 10, everything, cooldown=S),
    "quiet: rate < 120/s over 3s": Model("packets", False, 120, everything, over=3 * S),
    "low: icmp packets <= 2 over 1s for 1s clear 5":
        Model("packets", False, 2, lambda p: p.protocol == "icmp", hold=S, clear=5, strict=False,
              per_second=False),
    "flows: flows > 60/s": Model("flows", True, 60, everything),
    "news: src net 10.0.0.0/8 new hosts > 15 over 2s":
        Model("new hosts", True, 15, lambda p: p.src.startswith("10."), over=2 * S,
              per_second=False),
    "scan: tcp flags syn ports per host > 25 over 5s":
        Model("ports per host", True, 25, is_syn, over=5 * S, per_second=False),
}


def bursts(seed, seconds=40):
    """Bursts of SYNs, scans, datagrams and pings with quiet in between."""
    r = random.Random(seed)
    out = []
    for i in range(seconds * 2):
        kind = r.choice(["syn", "scan", "udp", "ping", "none", "mix"])
        for _ in range({"none": 3, "ping": 40}.get(kind, r.randrange(20, 160))):
            ts = BEGIN + i * TICK + r.randrange(TICK)
            what = r.choice(["syn", "udp", "ping"]) if kind in ("mix", "none") else kind
            src = f"10.0.{r.randrange(4)}.{r.randrange(1, 60)}"
            if what in ("syn", "scan"):
                out.append(packet(ts, "tcp", "10.9.9.9" if what == "scan" else src, "192.0.2.1",
                                  30000 + r.randrange(100),
                                  1 + r.randrange(60) if what == "scan" else 443, SYN))
            elif what == "udp":
                out.append(packet(ts, "udp", src, "192.0.2.2", 20000, 53, size=r.randrange(500)))
            else:
                out.append(packet(ts, "icmp", src, "192.0.2.3"))
    return sorted(out, key=lambda p: p.ts)


def replay(tmp_path, packets, *words):
    path = traffic.write(tmp_path / "x.pcap", packets)
    done = weir("watch", "-r", path, "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("seed", range(4))
def test_replay_is_exact(tmp_path, seed):
    """Which alerts, when, and with what value: as counted by hand."""
    packets = bursts(seed)
    rules = [word for rule in RULES for word in ("--alert", rule)]
    told = replay(tmp_path, packets, *rules)
    assert [x["ts"] for x in told] == sorted(x["ts"] for x in told)
    for rule, model in RULES.items():
        name = rule.split(":")[0]
        got = [(x["event"], nanoseconds(x["ts"]), x["value"] / (8 if x["unit"] == "bits/s" else 1))
               for x in told if x["alert"] == name]
        assert got == model.run(packets), rule
    assert {x["alert"] for x in told} == {rule.split(":")[0] for rule in RULES}


@pytest.mark.parametrize("begins", [0, 2, 2.5, 4.5])
def test_a_scan_is_seen_whole(tmp_path, begins):
    """60 ports within the window, wherever in it they begin."""
    packets = [packet(BEGIN, "icmp", src="10.0.0.9")]
    packets += [packet(BEGIN + int(begins * S) + i * S // 15, "tcp", sport=40000, dport=1 + i,
                       flags=SYN) for i in range(60)]
    packets.append(packet(BEGIN + 30 * S, "icmp", src="10.0.0.9"))
    told = replay(tmp_path, packets, "--alert", "scan: tcp ports per host > 50 over 5s")
    assert [t["event"] for t in told] == ["raised", "cleared"]
    assert {t["host"] for t in told} == {"10.0.0.1"}
    assert told[1]["peak"] == 60


def test_facts(tmp_path):
    packets = [packet(BEGIN + i * S // 100, "tcp", "10.0.0.7", "10.0.0.8", 4000, 1 + i, SYN)
               for i in range(100)] + [packet(BEGIN + 20 * S, "icmp")]
    raised, cleared = replay(tmp_path, packets, "--alert", "scan: ports per host > 49 over 5s")
    assert raised == {
        "v": 1, "ts": "2023-11-14T22:13:20.500000000Z", "verb": "watch", "event": "raised",
        "alert": "scan", "rule": "ports per host > 49 over 5s", "quantity": "ports_per_host",
        "unit": "ports", "value": 50, "threshold": 49, "host": "10.0.0.7"}
    assert cleared["raised_ts"] == raised["ts"] and cleared["peak"] == 100
    assert cleared["duration_ns"] == nanoseconds(cleared["ts"]) - nanoseconds(raised["ts"])


def test_text(tmp_path):
    packets = [packet(BEGIN + i * S // 100, "udp", sport=1, dport=53) for i in range(100)] \
        + [packet(BEGIN + 5 * S, "icmp")]
    path = traffic.write(tmp_path / "x.pcap", packets)
    lines = weir("watch", "-r", path, "--alert", "dns: port 53 rate > 30/s").stdout.splitlines()
    assert len(lines) == 2
    assert " RAISED dns: 50 packets/s (port 53 rate > 30/s)" in lines[0]
    assert " cleared dns: 0 packets/s after 1.50s, at most 100 (" in lines[1]


def test_a_long_silence(tmp_path):
    """A year of it takes no time, and ends what was raised where it began."""
    packets = [packet(BEGIN + i * S // 100, "udp", sport=1, dport=53) for i in range(100)] \
        + [packet(BEGIN + 365 * 86400 * S, "icmp")]
    told = replay(tmp_path, packets, "--alert", "a: rate > 30/s")
    assert [(x["event"], nanoseconds(x["ts"]) - BEGIN) for x in told] == [
        ("raised", TICK), ("cleared", 2 * S)]


def test_rules_of_a_file(tmp_path):
    packets = bursts(9)
    rules = tmp_path / "alerts"
    rules.write_text("# what to tell\n\n" + "\n".join(
        rule.replace(" > ", " \\\n  > ") + "  # why" for rule in RULES))
    words = [word for rule in RULES for word in ("--alert", rule)]
    assert replay(tmp_path, packets, "--alert-file", rules) == replay(tmp_path, packets, *words)
    rules.write_text("ok: rate > 1/s\n\nbad: tcp \\\n  rate > fast\n")
    done = weir("watch", "-r", tmp_path / "x.pcap", "--alert-file", rules)
    assert done.returncode == 2 and done.stdout == ""
    assert f'{rules}:3: alert bad: "fast" is no value here' in done.stderr


# --- live -------------------------------------------------------------------

LIVE = [("syn", "tcp flags syn packets > 500 over 1h", 501), ("all", "packets > 0 over 1h", 1),
        ("dns", "udp port 53 bytes > 1 over 1h", 2), ("none", "sctp packets > 0 over 1h", None),
        ("flows", "flows >= 300 over 1h", 300), ("news", "new hosts >= 40 over 1h", 40),
        ("scan", "tcp ports per host >= 100 over 1h", 100),
        ("set", "src host " + " or src host ".join(f"10.0.0.{i}" for i in range(20, 60))
         + " packets >= 20 over 1h", 20)]


@pytest.mark.parametrize("how", [(), ("--capture", "xdp"), ("--capture", "af_packet"),
                                 ("--filter-at", "user"), ("--capture", "pcap", "-Q", "in"),
                                 ("--strict-pcap", "greater 1")],
                         ids=["tc", "xdp", "af_packet", "user", "pcap", "strict"])
def test_live(pair, how):
    """Each quantity, matched by the kernel's programs or in user space."""
    packets = [packet(0, "tcp", "10.0.0.9", "10.0.0.1", 5000, 1 + i % 100, SYN) for i in range(501)]
    packets += [packet(0, "udp", f"10.0.0.{20 + i % 40}", "10.0.0.1", 6000 + i % 200, 53)
                for i in range(400)]
    rules = [word for name, rule, _ in LIVE for word in ("--alert", f"{name}: {rule}")]
    watch = pair.b.watch("-i", "vb", "--json", *rules, *how)
    pair.a.inject("va", [p.frame for p in packets])
    watch.wait_seen(len(packets))
    wait_for("the alerts", lambda: len(watch.json) >= len(LIVE) - 1)
    watch.stop()
    assert watch.status == 0, watch.err
    assert watch.check_account()["delivered"] == len(packets)
    told = {x["alert"]: x for x in watch.json}
    assert len(watch.json) == len(told) and {x["event"] for x in told.values()} == {"raised"}
    assert set(told) == {name for name, _, least in LIVE if least}
    for name, _, least in LIVE:
        assert not least or told[name]["value"] >= least, name
    assert told["scan"]["host"] == "10.0.0.9" and told["scan"]["value"] == 100


def test_main_match_comes_first(pair):
    """What the run leaves out is in no alert, and lost packets are counted by rate."""
    watch = pair.b.watch("-i", "vb", "--json", "--flows-max", 16, "--alert", "tcp: tcp packets > 0",
                         "--alert", "udp: udp packets >= 2000 over 1h", "--alert", "lost: lost > 0",
                         "udp")
    pair.a.inject("va", [packet(0, "tcp", sport=1, dport=2).frame] * 50
                  + [packet(0, "udp", sport=1 + i, dport=2).frame for i in range(2000)])
    watch.wait_seen(2050)
    wait_for("two alerts", lambda: {x["alert"] for x in watch.json} >= {"udp", "lost"})
    watch.stop()
    assert watch.check_account()["lost"]["map_full"] > 0
    assert {x["alert"] for x in watch.json} == {"udp", "lost"}


def test_owners_are_asked_first(pair):
    """Packets of no process of this host are nobody's that is asked for, and in no sum."""
    watch = pair.b.watch("-i", "vb", "--json", "--pid", os.getpid(), "--summary", "500ms",
                         "--alert", "a: packets > 0", "--alert-log", "/dev/stderr")
    pair.a.inject("va", [packet(0, "udp", sport=1, dport=2).frame] * 20)
    watch.wait_seen(20)
    watch.stop()
    assert watch.status == 0 and '"raised"' not in watch.err
    assert watch.check_account()["unmatched"] == 20
    assert sum(x["seen"] for x in watch.json) == 20 and not any(x["packets"] for x in watch.json)


def test_raised_and_cleared_live(pair):
    watch = pair.b.watch("-i", "vb", "--json", "--alert", "a: packets > 10 over 500ms")
    for n in (1, 2):
        # More than enough, so that they are even where an end of the time is among them.
        pair.a.inject("va", [packet(0, "icmp").frame] * 200)
        wait_for("it to be over", lambda: len(watch.json) == 2 * n)
    watch.stop()
    assert [x["event"] for x in watch.json] == ["raised", "cleared"] * 2


def test_beside_others(pair, tmp_path):
    """With packets in a file, --summary or --flows the alerts have a place of their own."""
    log = tmp_path / "log"
    out = tmp_path / "x.pcapng"
    watches = [pair.b.watch("-i", "vb", "--alert", "a: icmp packets > 9 over 1h", *words)
               for words in (("-w", out), ("--summary", "500ms", "--alert-log", log),
                             ("--flows", "--alert-log", f"{log}2"),
                             ("--format", "line", "--alert-log", f"{log}3"))]
    pair.a.inject("va", [packet(0, "icmp").frame] * 10)
    wait_for("the first", lambda: b" RAISED a: " in watches[0].out)
    for path in (log, f"{log}2", f"{log}3"):
        wait_for(f"an alert in {path}", lambda p=path: os.path.getsize(p))
        assert json.loads(open(path).read())["alert"] == "a"
    for watch in watches:
        assert watch.stop().status == 0, watch.err
    assert b"RAISED" not in watches[1].out + watches[2].out + watches[3].out
    assert weir("watch", "-r", out, "--count").stdout == "10 packets\n"


# --- where events go --------------------------------------------------------

def ten_pings(tmp_path):
    return traffic.write(tmp_path / "x.pcap", [packet(BEGIN + i * S, "icmp") for i in range(10)])


def test_log_is_appended_to(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    for _ in range(2):
        done = weir("watch", "-r", ten_pings(tmp_path), "--alert", "a: packets > 0 over 500ms",
                    "--alert-log", log)
        assert done.returncode == 0 and done.stdout == ""
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert [json.loads(x)["event"] for x in lines[1:]] == (["raised", "cleared"] * 9 + ["raised"]) * 2


def test_log_that_fails_is_told(tmp_path):
    done = weir("watch", "-r", ten_pings(tmp_path), "--alert", "a: packets > 0 over 500ms",
                "--alert-log", "/dev/full")
    assert done.returncode == 1
    assert "19 alerts could not be written to /dev/full: No space left" in done.stderr


def test_syslog(tmp_path):
    with public_dir() as place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(place / "log"))
            log.settimeout(PATIENCE)
            told = []
            reader = threading.Thread(target=lambda: [told.append(log.recv(65536).decode())
                                                      for _ in range(19)])
            reader.start()
            script = f"mount -t tmpfs none /dev && ln -s {place}/log /dev/log && exec \"$@\""
            done = weir("watch", "-r", ten_pings(tmp_path), "--alert", "a: packets > 0 over 500ms",
                        "--alert-log", "syslog", prefix=["unshare", "--mount", "sh", "-c", script,
                                                         "sh"])
            assert done.returncode == 0 and done.stdout == "", done
            reader.join(PATIENCE)
    assert len(told) == 19
    assert told[0].startswith("<28>") and told[1].startswith("<29>")  # daemon: warning, notice
    assert " weir[" in told[0]
    assert json.loads(told[0].split("]: ", 1)[1])["event"] == "raised"
    script = "mount -t tmpfs none /dev && exec \"$@\""
    done = weir("watch", "-r", ten_pings(tmp_path), "--alert", "a: rate > 0/s", "--alert-log",
                "syslog", prefix=["unshare", "--mount", "sh", "-c", script, "sh"])
    assert done.returncode == 2 and "cannot reach the system log" in done.stderr


def test_reader_that_goes(pair):
    """`| head -n 1` ends the run, and is no error."""
    read, write = os.pipe()
    watch = pair.b.watch("-i", "vb", "--alert", "a: packets > 0 over 500ms", out=os.fdopen(write, "wb"))
    watch._out.close()
    os.close(read)
    pair.a.inject("va", [packet(0, "icmp").frame])
    assert watch.wait() == 0, watch.err


# --- --exec -----------------------------------------------------------------

def script(place, text):
    path = place / "hook"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_exec_has_the_facts(tmp_path):
    hook = script(tmp_path, 'cat >"$1.$WEIR_ALERT_EVENT"; env | grep ^WEIR_ >"$1.env.$WEIR_ALERT_EVENT"; '
                            'grep ^Cap /proc/self/status >"$1.caps"; echo said; echo "$#" >"$1.n"\n')
    packets = [packet(BEGIN + i * S // 100, "tcp", "10.0.0.7", "10.0.0.8", 4000, 1 + i, SYN)
               for i in range(100)] + [packet(BEGIN + 20 * S, "icmp")]
    path = traffic.write(tmp_path / "x.pcap", packets)
    done = weir("watch", "-r", path, "--json", "--alert", "scan: ports per host > 49 over 5s",
                "--exec", f"{hook} {tmp_path}/out '$(id)' ;")
    assert done.returncode == 0
    raised, cleared = [json.loads(line) for line in done.stdout.splitlines()]  # and not "said"
    assert done.stderr.count("said\n") == 2
    assert json.loads((tmp_path / "out.raised").read_text()) == raised
    assert json.loads((tmp_path / "out.cleared").read_text()) == cleared
    facts = dict(line.split("=", 1) for line in (tmp_path / "out.env.raised").read_text().splitlines())
    assert facts["WEIR_ALERT_NAME"] == "scan" and facts["WEIR_ALERT_HOST"] == "10.0.0.7"
    assert facts["WEIR_ALERT_THRESHOLD"] == "49" and facts["WEIR_ALERT_UNIT"] == "ports"
    assert facts["WEIR_ALERT_RULE"] == "ports per host > 49 over 5s"
    for line in (tmp_path / "out.caps").read_text().splitlines():
        if line.split(":")[0] in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert int(line.split()[1], 16) == 0, line
    assert (tmp_path / "out.n").read_text() == "3\n"  # words, not a shell's


def test_exec_that_fails_is_told(tmp_path):
    path = ten_pings(tmp_path)
    done = weir("watch", "-r", path, "--alert", "a: packets > 0 over 500ms", "--exec", "false")
    assert done.returncode == 0
    assert "--exec failed 19 times, the last one with status 1" in done.stderr


def test_exec_is_bounded(tmp_path):
    """Many events at once: each is either run or told to be left out."""
    hook = script(tmp_path, f"echo >>{tmp_path}/ran\n")
    path = traffic.write(tmp_path / "x.pcap", [packet(BEGIN + i * S, "icmp") for i in range(300)])
    done = weir("watch", "-r", path, "--json", "--alert", "a: packets > 0 over 500ms", "--exec", hook)
    events = len(done.stdout.splitlines())
    assert done.returncode == 0 and events == 599
    ran = (tmp_path / "ran").read_text().count("\n")
    assert 68 <= ran < events
    assert f"--exec was not run for {events - ran} events" in done.stderr


def test_exec_that_hangs_is_ended(pair, tmp_path):
    """Ctrl-C waits for it no longer than its time, and nothing stays behind."""
    hook = script(tmp_path, f"echo $$ >{tmp_path}/pid; sleep 1000 & wait\n")
    watch = pair.b.watch("-i", "vb", "--alert", "a: packets > 0 over 1h", "--exec", hook)
    pair.a.inject("va", [packet(0, "icmp").frame])
    wait_for("the command", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    watch.stop()
    assert watch.status == 0
    assert "--exec took longer than 10 s 1 times, and was ended" in watch.err
    pid = int((tmp_path / "pid").read_text())
    assert not os.path.exists(f"/proc/{pid}")


def test_exec_ends_with_weir(pair, tmp_path):
    hook = script(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 1000\n")
    watch = pair.b.watch("-i", "vb", "--alert", "a: packets > 0 over 1h", "--exec", hook)
    pair.a.inject("va", [packet(0, "icmp").frame])
    wait_for("the command", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    watch.kill()
    wait_for("its end", lambda: not os.path.exists(f"/proc/{pid}")
             or open(f"/proc/{pid}/stat").read().split()[2] == "Z")


# --- usage ------------------------------------------------------------------

@pytest.mark.parametrize("words", [
    ("--alert", "rate > 5/s"), ("--alert", "a: tcp"), ("--alert", "a: rate > 5"),
    ("--alert", "a: rate > 5/s", "--alert", "a: rate > 6/s"), ("--alert", "a: host x rate > 5/s"),
    ("--alert-file", "/nonexistent"), ("--alert-file", "/dev/null"), ("--alert-log", "x"),
    ("--exec", "true"), ("--alert", "a: rate > 5/s", "--exec", "no-such-program"),
    ("--alert", "a: rate > 5/s", "--exec", " "), ("--alert", "a: rate > 5/s", "--count"),
    ("--alert", "a: rate > 5/s", "--flows"), ("--alert", "a: rate > 5/s", "--format", "json"),
    ("--alert", "a: rate > 5/s", "--summary", "1s"), ("--alert", "a: rate > 5/s", "-w", "-"),
    ("--alert", "a: rate > 5/s", "--alert-log", "/nonexistent/x"),
    ("--alert", "a: " + " or ".join(f"host 10.{i}.0.1 and port {i}" for i in range(2000))
     + " rate > 5/s"),
])
def test_usage(pair, words):
    done = weir("watch", *words, "-i", "vb", ns=pair.b)
    assert done.returncode in (1, 2) and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert done.returncode == 2 or "instructions" in done.stderr
