# SPDX-License-Identifier: GPL-2.0-only
"""Every byte arrives once, in order, and every end of a connection arrives as what it
was, through every engine; and what the proxy tells of it is what the two ends counted."""

import collections
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

import lab
import proxies

LONG = os.environ.get("WEIR_LONG") == "1"
COUNT = 10000 if LONG else 1500
AT_ONCE = 100
CLIENT4, PROXY4, PROXY6, PORT = "10.77.0.1", "10.77.0.2", "fd77::2", 32443
ENGINES = ["splice", "copy", "sockmap"]

Line = collections.namedtuple("Line", "id kind mode port up_total up_sent up_got down_total "
                                      "down_sent down_got client_saw backend_saw")
# How the log may call the end of each.
WHOLE = {"both", "client_first", "backend_first", "queued_fin"}
ENDS = {
    "reset_client": {"client_reset", "client_gone"},
    "reset_backend": {"backend_reset"},
    "abandon_client": {"done", "client_reset"},
    "abandon_backend": {"done", "backend_reset"},
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return lab.compile_c("bytes.c", tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def place():
    proxies.raise_files()
    pair = lab.Pair(addresses=True, host=True)
    for ns in (pair.a, pair.b):
        with ns:
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 60999")
    try:
        with lab.public_dir() as pair.directory:
            yield pair
    finally:
        pair.remove()


def config(place, engine):
    return json.dumps({
        "listen": [{"address": f"[::]:{PORT}"}],
        "engine": engine,
        "workers": 2,
        "limits": {"connections": 4 * AT_ONCE, "per_source": 4 * AT_ONCE},
        "log": str(place.directory / "log"),
        "drain": "1s",
        "routes": [
            {"match": "*.far.test", "backends": [f"{CLIENT4}:{PORT + 1}"]},
            {"match": "*.near.test", "backends": [f"[{PROXY6}]:{PORT + 1}"]},
            {"match": "*.unix.test", "backends": [f"unix:{place.directory}/backend"]},
        ],
    })


@pytest.fixture
def start(place):
    started = []

    def begin(engine):
        (place.directory / "log").unlink(missing_ok=True)
        started.append(proxies.Proxy(place.b, config(place, engine)))
        return started[-1]

    yield begin
    for proxy in started:
        proxy.remove()


def idle_files(proxy):
    """Its descriptors, but for the pipes that it keeps for the next connection."""
    return proxy.files() - 2 * sum(pool["pipes"] for pool in proxy.status()["pools"])


def run(place, program, count, seed, seconds=60):
    """(what the program sums up, a Line for each connection)"""
    socket, out = place.directory / "backend", place.directory / "out"
    socket.unlink(missing_ok=True)
    done = subprocess.run([program, place.a.path, place.b.path, str(seed), str(count), str(AT_ONCE),
                           out, CLIENT4, PROXY4, PROXY6, str(PORT), socket],
                          capture_output=True, text=True, check=False,
                          timeout=seconds + count / 2)
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    lines = [line.split() for line in out.read_text().splitlines()]
    told = [Line(*(int(w) if w.isdigit() else w for w in line)) for line in lines]
    assert len(told) == count
    return json.loads(done.stdout), told


def check_line(line, logged, engine):
    """What the log says of a connection, and what its ends know of it."""
    assert line.up_got <= logged["bytes_in"] <= line.up_sent, (line, logged)
    assert line.down_got <= logged["bytes_out"] <= line.down_sent, (line, logged)
    assert logged["remote_port"] == line.port, (line, logged)
    if line.mode in WHOLE:
        assert line.client_saw == line.backend_saw == "fin", line
        assert line.up_got == line.up_total and line.down_got == line.down_total, (line, logged)
        assert logged["reason"] == "done", (line, logged)
    else:
        assert logged["reason"] in ENDS[line.mode], (line, logged)
    if logged["reason"] == "client_gone":
        assert "engine" not in logged, logged
    elif engine == "sockmap":
        # A Unix socket has no place in a sockmap; a reset may come before the join.
        assert logged["engine"] in ("splice", "sockmap"), logged
    else:
        assert logged["engine"] == engine, logged


def settled(place, proxy, seen):
    """Its status and its log when @seen connections have come and all have gone."""
    lab.wait_for(lambda: f"{seen} connections to end: {proxy.status()}",
                 lambda: sum(proxy.status()["account"]["ended"].values()) >= seen
                 and not proxy.status()["connections"])
    status = proxy.status()
    account = status["account"]
    assert account["seen"] == seen == sum(account["ended"].values()), account
    assert account["seen"] == account["passed"] + sum(account["dropped"].values()), account
    assert account["open"] == account["log_lost"] == status["account_lost"] == 0, status
    assert not any(pool["relays"] or pool["connections"] for pool in status["pools"]), status
    log = [json.loads(line) for line in (place.directory / "log").read_text().splitlines()]
    assert len(log) == seen
    assert account["bytes_in"] == sum(line["bytes_in"] for line in log), account
    assert account["bytes_out"] == sum(line["bytes_out"] for line in log), account
    return log


def check(log, engine, told):
    """The @log says of each what its ends know."""
    by_name = {line["sni"]: line for line in log if "sni" in line}
    for line in told:
        logged = by_name.pop(f"c{line.id}.{line.kind}.test", None)
        if logged:
            check_line(line, logged, engine)
        else:  # Its reset took the hello's second half with it.
            assert line.mode == "reset_client", line
    assert not by_name


@pytest.mark.parametrize("engine", ENGINES)
def test_every_byte(place, program, start, engine):
    seed = random.randrange(1 << 32)
    proxy = start(engine)
    # What a worker makes for its first connections, it keeps.
    run(place, program, AT_ONCE, seed + 1)
    settled(place, proxy, AT_ONCE)
    files = idle_files(proxy)
    summed, told = run(place, program, COUNT, seed)
    log = settled(place, proxy, AT_ONCE + COUNT)[AT_ONCE:]
    check(log, engine, told)
    lab.wait_for(lambda: f"the descriptors to be {files}: {idle_files(proxy)}",
                 lambda: idle_files(proxy) == files)
    whole = [line for line in told if line.mode in WHOLE]
    assert len(whole) > COUNT / 2
    used = collections.Counter(line.get("engine") for line in log)
    ended = collections.Counter(line["reason"] for line in log)
    print(f"{engine}, seed {seed}: {COUNT} connections, {summed['up']} + {summed['down']} bytes, "
          f"{dict(used)}, {dict(ended)}, {sum('demoted' in line for line in log)} demoted")
    if engine == "sockmap":
        assert used["sockmap"] > len(whole) / 3, used
    proxy.stop()
