# SPDX-License-Identifier: GPL-2.0-only
"""What the proxy tells of itself agrees with what was done to it, and with itself: the
account, the access log, the metrics, the lists, the status."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

import lab
import proxies

PROXY, FRONT, BACK = "10.77.0.2", 30443, 30900
METRICS = 30910
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.fixture
def pair():
    p = lab.Pair(addresses=True, host=True)
    yield p
    p.remove()


@pytest.fixture
def echo(pair):
    e = proxies.Echo(pair.b, PROXY, BACK)
    yield e
    e.close()


@pytest.fixture
def start(pair, tmp_path):
    """A function: configuration lines more than the usual ones -> a running proxy with its
    log at tmp_path/"log"."""
    started = []

    def begin(*lines, engine="auto", log_format=None, workers=2):
        log = f'{{file: "{tmp_path}/log"' + (f", format: '{log_format}'" if log_format else "") + "}"
        proxy = proxies.Proxy(pair.b, "\n".join([
            "listen:",
            f'  - {{address: "{PROXY}:{FRONT}", name: front}}',
            f"engine: {engine}",
            f"workers: {workers}",
            "routes:",
            f'  - {{match: a.test, name: echo, backends: ["{PROXY}:{BACK}"]}}',
            f'  - {{match: dead.test, backends: ["{PROXY}:1"]}}',
            f"metrics: 127.0.0.1:{METRICS}",
            f"log: {log}",
            "drain: 1s",
            *lines]) + "\n")
        started.append(proxy)
        return proxy
    yield begin
    for proxy in started:
        proxy.remove()


def told(proxy):
    return json.loads(proxy.command("status", "--json").stdout)["proxy"]


def account(proxy):
    """The account, which keeps its law whenever it is looked at."""
    a = told(proxy)["account"]
    assert a["seen"] == a["passed"] + sum(a["dropped"].values()) + a["open"], a
    assert a["seen"] == sum(a["ended"].values()) + a["open"], a
    return a


def settled(proxy, seen):
    """The account when @seen connections have come and gone."""
    lab.wait_for(lambda: f"{seen} ended connections in {account(proxy)}",
                 lambda: sum(account(proxy)["ended"].values()) >= seen)
    a = account(proxy)
    assert (a["seen"], a["open"]) == (seen, 0), a
    return a


def log_lines(path, n):
    """The @n lines of the log, which are whole."""
    lab.wait_for(lambda: f"{n} lines in {path}",
                 lambda: path.exists() and path.read_bytes().count(b"\n") >= n)
    text = path.read_text()
    assert text.endswith("\n")
    lines = text.splitlines()
    assert len(lines) == n, lines
    return lines


def send_only(ns, data, linger=None):
    """A connection that says @data, and ends when the proxy does, or, with @linger, by
    itself."""
    with ns:
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(lab.PATIENCE)
    s.connect((PROXY, FRONT))
    s.sendall(data)
    if linger is None:
        with contextlib.suppress(ConnectionError):
            while s.recv(65536):
                pass
    else:
        time.sleep(linger)
    s.close()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


NO_SNI = proxies.hello("a.test").replace(b"\x00\x00\x00\x0b\x00\x09\x00\x00\x06a.test",
                                         b"\xfa\xfa\x00\x0b\x00\x09\x00\x00\x06a.test")


def mixed_traffic(ns):
    """Connections of many kinds; returns what must be counted: by reason, and the bytes
    each way."""
    bytes_each, ended = 0, dict.fromkeys(("done", "client_reset"), 0)
    for i in range(40):
        c = proxies.Client(ns, PROXY, FRONT)
        payload = os.urandom(1 + 7919 * i)
        c.say(payload)
        bytes_each += len(c.hello) + len(payload)
        if i % 8 == 7:
            reset(c.s)
            ended["client_reset"] += 1
            continue
        c.s.shutdown(socket.SHUT_WR)
        assert c.ended()
        c.close()
        ended["done"] += 1
    for reason, n, data in (("no_match", 5, proxies.hello("other.test")),
                            ("no_sni", 3, NO_SNI),
                            ("not_tls", 4, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
                            ("connect", 2, proxies.hello("dead.test"))):
        for _ in range(n):
            send_only(ns, data)
        ended[reason] = n
    for _ in range(3):
        send_only(ns, proxies.hello("a.test")[:20], linger=0.05)
    ended["client_gone"] = 3
    return ended, bytes_each


def scrape(pair, path="/metrics", options=()):
    done = pair.b.sh("curl", "-sS", "--max-time", "20", *options,
                     f"http://127.0.0.1:{METRICS}{path}")
    return done.stdout


SERIES = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
                    r',?)+)\})? (\d+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')


def parse_metrics(text):
    """{(name, ((label, value), ...)): number}, by the grammar of version 0.0.4, and no
    more freedom than that: each family once, HELP and TYPE first, no series twice."""
    assert text.endswith("\n")
    found, families, lines = {}, {}, text.splitlines()
    while lines:
        line = lines.pop(0)
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            kind = re.fullmatch(rf"# TYPE {name} (counter|gauge)", lines.pop(0))
            assert kind and name not in families, line
            families[name] = 0
            assert name.endswith("_total") == (kind[1] == "counter"), line
            continue
        series = SERIES.fullmatch(line)
        assert series, line
        assert series[1] == list(families)[-1], line
        families[series[1]] += 1
        key = (series[1], tuple(LABEL.findall(series[2] or "")))
        assert key not in found, line
        found[key] = int(series[3])
    assert all(families.values()), families
    return found


# --- the account ------------------------------------------------------------

@pytest.mark.parametrize("engine", ["splice", "copy"])
def test_everything_that_counts_agrees(pair, echo, start, tmp_path, engine):
    proxy = start(engine=engine)
    ended, size = mixed_traffic(pair.a)
    n = sum(ended.values())
    a = settled(proxy, n)
    assert a["ended"] == ended
    assert a["dropped"] == {r: k for r, k in ended.items() if r not in ("done", "client_reset")}
    assert (a["bytes_in"], a["bytes_out"]) == (size, size)
    assert a["engines"] == {engine: {"connections": 40, "bytes_in": size, "bytes_out": size}}
    assert a["log_lost"] == 0 and told(proxy)["account_lost"] == 0

    lines = [json.loads(line) for line in log_lines(tmp_path / "log", n)]
    assert sum(line["bytes_in"] for line in lines) == size
    assert sum(line["bytes_out"] for line in lines) == size
    assert {r: sum(line["reason"] == r for line in lines) for r in ended} == ended

    sources = json.loads(proxy.command("top", "--json").stdout)["sources"]
    assert [s["source"] for s in sources] == ["10.77.0.1"]
    assert (sources[0]["connections"], sources[0]["bytes_in"]) == (n, size)
    assert sources[0]["refused"] == n - 40 - ended["client_gone"]

    m = parse_metrics(scrape(pair))
    assert m["weir_proxy_connections_total", ()] == n
    assert m["weir_proxy_open_connections", ()] == 0
    assert {r: m["weir_proxy_ended_total", (("reason", r),)] for r in ended} == ended
    assert m["weir_proxy_bytes_total", (("direction", "in"),)] == size
    assert m["weir_proxy_engine_bytes_total", (("engine", engine), ("direction", "out"))] == size
    assert m["weir_proxy_backend_bytes_in_total", (("backend", f"{PROXY}:{BACK}"),)] == size
    assert m["weir_proxy_backend_connect_failures_total", (("backend", f"{PROXY}:1"),)] == 2

    # All of it was done by a process that may do nothing.
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    assert re.search(r"^CapEff:\t0+$", status, re.M) and not re.search(r"^Uid:\t0\t", status, re.M)
    proxy.stop()


def test_the_law_holds_while_traffic_runs(pair, echo, start):
    proxy = start()
    end = threading.Event()

    def load():
        while not end.is_set():
            proxies.reaches(pair.a, PROXY, FRONT)
            proxies.reaches(pair.a, PROXY, FRONT, name="other.test")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(30):
        a = account(proxy)
        assert a["open"] >= 0
        m = parse_metrics(scrape(pair))
        assert (m["weir_proxy_connections_total", ()] ==
                m["weir_proxy_open_connections", ()] +
                sum(v for k, v in m.items() if k[0] == "weir_proxy_ended_total"))
    end.set()
    for t in threads:
        t.join()
    lab.wait_for("the end of all", lambda: account(proxy)["open"] == 0)
    proxy.stop()


# --- the access log ---------------------------------------------------------

def test_log_tells_what_happened(pair, echo, start, tmp_path):
    proxy = start()
    c = proxies.Client(pair.a, PROXY, FRONT)
    c.say(b"x" * 1000)
    port = c.s.getsockname()[1]
    c.s.shutdown(socket.SHUT_WR)
    c.ended()
    c.close()
    done = json.loads(log_lines(tmp_path / "log", 1)[0])
    for key in ("ts", "began_ts"):
        assert ISO.fullmatch(done.pop(key))
    times = [done.pop(f"{key}_ns") for key in ("duration", "hello", "connect", "first_byte")]
    assert times[0] >= sum(times[1:]) and times[2] > 0 and times[0] < 20e9
    assert done.pop("proxy_port") > 0
    size = 1000 + len(c.hello)
    assert done == {
        "v": 1, "id": done["id"], "local_ip": PROXY, "local_port": FRONT, "remote_ip": "10.77.0.1",
        "remote_port": port, "sni": "a.test", "ech": False, "listener": "front", "route": "echo",
        "target": f"{PROXY}:{BACK}", "backend": f"{PROXY}:{BACK}", "proxy_ip": PROXY,
        "engine": "splice", "reason": "done", "attempts": 1, "bytes_in": size, "bytes_out": size}
    # Of one that had no backend, what is known: the name, whatever came of it.
    send_only(pair.a, proxies.hello("dead.test"))
    failed = json.loads(log_lines(tmp_path / "log", 2)[1])
    assert (failed["sni"], failed["route"], failed["reason"], failed["error"]) == (
        "dead.test", "dead.test", "connect", "ECONNREFUSED")
    assert "engine" not in failed and "first_byte_ns" not in failed
    proxy.stop()


def test_log_by_a_template(pair, echo, start, tmp_path):
    proxy = start(log_format="%{remote_ip} [%{sni}] %{engine} %{reason} 100%%")
    assert proxies.reaches(pair.a, PROXY, FRONT)
    send_only(pair.a, NO_SNI)
    lines = log_lines(tmp_path / "log", 2)
    assert sorted(re.sub(r"done|\w+_reset", "END", line) for line in lines) == [
        "10.77.0.1 [-] - no_sni 100%", "10.77.0.1 [a.test] splice END 100%"]
    proxy.stop()


def test_log_on_standard_output(pair, echo, start):
    proxy = start()
    proxy.reload(re.sub(r"log: .*", 'log: {file: "-"}', proxy.path.read_text()))
    for _ in range(3):
        assert proxies.reaches(pair.a, PROXY, FRONT)
    lab.wait_for("three lines", lambda: proxy.out.count("\n") == 3)
    assert {json.loads(line)["sni"] for line in proxy.out.splitlines()} == {"a.test"}
    proxy.stop()


@pytest.mark.parametrize("by", ["signal", "command"])
def test_no_line_is_lost_by_rotation(pair, echo, start, tmp_path, by):
    proxy = start(log_format="%{id}", workers=4)
    counts, end, files = [0] * 4, threading.Event(), []

    def load(which):
        while not end.is_set():
            proxies.reaches(pair.a, PROXY, FRONT)
            counts[which] += 1

    threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for i in range(15):
        lab.wait_for("a line", lambda: (tmp_path / "log").stat().st_size)
        files.append(tmp_path / f"log.{i}")
        (tmp_path / "log").rename(files[-1])
        if by == "signal":
            proxy.send(signal.SIGUSR1)
        else:
            with pair.b, socket.socket(socket.AF_UNIX) as s:
                s.connect(str(proxies.control_socket(pair.b)))
                s.sendall(b"reopen\n")
                assert s.recv(100) == b"ok\n"
        lab.wait_for("the new file", (tmp_path / "log").exists)
    end.set()
    for t in threads:
        t.join()
    a = settled(proxy, sum(counts))
    assert a["log_lost"] == 0
    ids = []
    for path in [*files, tmp_path / "log"]:
        text = path.read_text()
        assert not text or text.endswith("\n")
        ids += text.split()
    assert len(ids) == len(set(ids)) == sum(counts)
    proxy.stop()


def test_log_without_space_is_counted(pair, echo, start, tmp_path):
    """A log that nobody can write to keeps nobody waiting, and loses nothing silently."""
    proxy = start()
    config = proxy.path.read_text()
    proxy.reload(re.sub(r"log: .*", 'log: {file: /dev/full}', config))
    for _ in range(40):
        assert proxies.reaches(pair.a, PROXY, FRONT)
    settled(proxy, 40)
    # What was kept for better times goes with the file that is left, and is told then.
    proxy.reload(config)
    assert proxies.reaches(pair.a, PROXY, FRONT)
    lab.wait_for("the lost lines", lambda: account(proxy)["log_lost"] == 40)
    assert len(log_lines(tmp_path / "log", 1)) == 1
    proxy.stop()


def test_log_to_a_slow_reader(pair, echo, start, tmp_path):
    """What a pipe had no room for comes when it has, although no connection comes any more."""
    fifo, n = tmp_path / "fifo", 60
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    proxy = start()
    proxy.reload(re.sub(r"log: .*", f"log: {fifo}", proxy.path.read_text()))
    for _ in range(n):
        send_only(pair.a, b"no hello")
    assert settled(proxy, n)["log_lost"] == 0
    got = b""

    def read():
        nonlocal got
        with contextlib.suppress(BlockingIOError):
            got += os.read(reader, 65536)
        return got.count(b"\n") == n

    lab.wait_for("the rest of the lines", read)
    assert {json.loads(line)["reason"] for line in got.splitlines()} == {"not_tls"}
    os.close(reader)
    proxy.stop()


# --- metrics ----------------------------------------------------------------

def test_metrics_serve_only_what_they_are(pair, echo, start):
    proxy = start()
    head = scrape(pair, options=("-I",))
    assert head.startswith("HTTP/1.1 200 ")
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    for path in ("/", "/metric", "/metrics/", "/metrics.json"):
        assert scrape(pair, path, ("-i",)).startswith("HTTP/1.1 404 "), path
    for method in ("POST", "DELETE"):
        assert scrape(pair, options=("-i", "-X", method)).startswith("HTTP/1.1 405 ")
    parse_metrics(scrape(pair, "/metrics?x=1"))
    proxy.stop()


def test_idle_scrapers_stop_nobody(pair, echo, start):
    proxy = start()
    idle = []
    for _ in range(12):
        with pair.b:
            s = socket.socket()
        s.connect(("127.0.0.1", METRICS))
        s.sendall(b"GET /metr")
        idle.append(s)
    for _ in range(5):
        assert proxies.reaches(pair.a, PROXY, FRONT, seconds=5)
        parse_metrics(scrape(pair))
    account(proxy)
    for s in idle:
        s.close()
    proxy.stop()


def test_a_backend_that_is_down_is_told(pair, echo, start):
    proxy = start()
    config = proxy.path.read_text().replace(
        "metrics:", f'  - {{match: c.test, backends: ["{PROXY}:2"], '
        "health: {interval: 100ms, timeout: 100ms, rise: 1, fall: 1}}\nmetrics:")
    proxy.reload(config)
    down = ("weir_proxy_backend_up", (("backend", f"{PROXY}:2"),))
    lab.wait_for("it to be down", lambda: parse_metrics(scrape(pair)).get(down) == 0)
    states = {b["backend"]: b.get("state") for b in told(proxy)["backends"]}
    assert states[f"{PROXY}:2"] == "down" and states[f"{PROXY}:{BACK}"] is None
    assert parse_metrics(scrape(pair))["weir_proxy_reloads_total", ()] == 1
    proxy.stop()


# --- lists and commands -----------------------------------------------------

def test_connections_and_kill(pair, echo, start, tmp_path):
    proxy = start()
    clients = [proxies.Client(pair.a, PROXY, FRONT) for _ in range(3)]
    with pair.a:
        waiting = socket.create_connection((PROXY, FRONT))
    lab.wait_for("all to be open", lambda: told(proxy)["connections"] == 4)
    rows = json.loads(proxy.command("connections", "--json").stdout)["connections"]
    assert sorted(r["state"] for r in rows) == ["hello", "relay", "relay", "relay"]
    by_port = {r["remote_port"]: r for r in rows}
    for c in clients:
        row = by_port[c.s.getsockname()[1]]
        assert (row["sni"], row["engine"], row["bytes_in"]) == ("a.test", "splice", len(c.hello))
        assert "ts" not in row and "reason" not in row and row["idle_ns"] <= row["duration_ns"]
    assert "sni" not in by_port[waiting.getsockname()[1]]
    text = proxy.command("connections").stdout.splitlines()
    assert text[0].split()[:3] == ["ID", "STATE", "CLIENT"] and len(text) == 5

    for s in (clients[0].s, waiting):
        proxy.command("kill", by_port[s.getsockname()[1]]["id"])
        s.settimeout(lab.PATIENCE)
        with contextlib.suppress(ConnectionError):
            assert s.recv(1) == b""
    clients[1].say(b"still here")
    killed = [json.loads(line) for line in log_lines(tmp_path / "log", 2)]
    assert {k["reason"] for k in killed} == {"killed"}
    done = proxy.command("kill", "999999999", status=1)
    assert "no connection 999999999 is open" in done.stderr
    lab.wait_for("two to be open", lambda: account(proxy)["open"] == 2)
    assert account(proxy)["ended"] == {"killed": 2}
    waiting.close()
    for c in clients:
        c.close()
    proxy.stop()


# --- status -----------------------------------------------------------------

def test_status_of_a_proxy(pair, echo, start):
    proxy = start()
    c = proxies.Client(pair.a, PROXY, FRONT)
    lab.wait_for("one to be open", lambda: account(proxy)["open"] == 1)
    for words in (("status", "proxy"), ("proxy", "status"), ("status",)):
        text = pair.b.sh(lab.WEIR, *words).stdout
        assert re.search(rf"^Proxy: pid {proxy.pid}, up \S+, 2 workers, engine auto, "
                         r"1 connection open$", text, re.M), text
        assert re.search(rf"^  front +{PROXY}:{FRONT} +tls$", text, re.M), text
        assert "\n1 connection seen = 0 passed + 0 dropped + 1 open\n" in text
        assert re.search(rf"^  {PROXY}:{BACK} +1 ", text, re.M), text
        assert "  proxy  totals " in text
    doc = json.loads(pair.b.sh(lab.WEIR, "status", "proxy", "--json").stdout)
    assert {o["name"] for o in doc["pinned"]} == {"meta", "names", "sources", "totals"}
    p = doc["proxy"]
    assert (p["pid"], p["workers"], p["connections"], p["draining"]) == (proxy.pid, 2, 1, False)
    assert p["listeners"] == [{"name": "front", "address": f"{PROXY}:{FRONT}", "protocol": "tls"}]
    assert sum(w["connections"] for w in p["pools"]) == 1 and len(p["pools"]) == 2
    other = json.loads(pair.b.sh(lab.WEIR, "status", "filter", "--json").stdout)
    assert "proxy" not in other
    c.close()
    proxy.stop()


def test_status_is_up_to_date(pair, echo, start):
    """Whoever has seen a connection end finds it ended: one that looks does not have to know
    how long sums may wait. A worker that gets no CPU is not waited for: so nearly always."""
    proxy = start()
    right, rounds = 0, 20
    for i in range(rounds):
        c = proxies.Client(pair.a, PROXY, FRONT)
        c.s.shutdown(socket.SHUT_WR)
        assert c.ended()
        a = account(proxy)
        right += (a["seen"], a["passed"], a["open"]) == (i + 1, i + 1, 0)
        c.close()
    assert right >= rounds * 3 // 4, right
    proxy.stop()


def test_status_without_a_proxy(pair):
    doc = json.loads(pair.b.sh(lab.WEIR, "status", "proxy", "--json").stdout)
    assert "proxy" not in doc and doc["pinned"] == []
    done = pair.b.sh(lab.WEIR, "proxy", "status")
    assert "Proxy:" not in done.stdout and done.stderr == ""
    for words in (("connections",), ("top",), ("kill", "1"), ("reload",), ("resolver", "list")):
        done = pair.b.sh(lab.WEIR, "proxy", *words, check=False)
        assert done.returncode == 1 and "no proxy runs in this network namespace" in done.stderr


def test_only_one_per_namespace(pair, echo, start):
    proxy = start()
    second = pair.b.sh(lab.WEIR, "proxy", "--listen", f"{PROXY}:{FRONT + 1}", "--route",
                       f"a.test={PROXY}:{BACK}", check=False)
    assert second.returncode == 1
    assert "a proxy runs in this network namespace already" in second.stderr
    assert proxies.reaches(pair.a, PROXY, FRONT)
    assert account(proxy)["seen"] >= 0 and proxies.pins(pair.b)
    proxy.stop()
    assert proxies.pins(pair.b) == []
    assert not proxies.control_socket(pair.b).exists()
    assert not proxies.control_socket(pair.b).with_suffix(".lock").exists()


def test_unload_takes_the_pins_and_nothing_else(pair, echo, start):
    proxy = start()
    text = pair.b.sh(lab.WEIR, "unload", "proxy").stdout
    assert "totals" in text and proxies.pins(pair.b) == []
    assert proxies.reaches(pair.a, PROXY, FRONT)
    lab.wait_for("the account", lambda: account(proxy)["seen"] == 1)
    proxy.stop()


def test_what_a_killed_proxy_left_is_replaced(pair, echo, start):
    proxy = start()
    keeper = proxy.keeper
    os.kill(keeper, signal.SIGKILL)
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.process.wait(lab.PATIENCE)
    left = proxies.pins(pair.b)
    assert left
    done = pair.b.sh(lab.WEIR, "proxy", "status")
    assert "Proxy:" not in done.stdout and done.stderr == ""
    fresh = start()
    assert len(proxies.pins(pair.b)) == len(left)
    assert proxies.reaches(pair.a, PROXY, FRONT)
    lab.wait_for("a new account", lambda: account(fresh)["seen"] == 1)
    fresh.stop()
    assert proxies.pins(pair.b) == []
