# SPDX-License-Identifier: GPL-2.0-only
"""--by process, cgroup, sni and domain: sums by what is known of flows."""

import os
import socket

import pytest

import hellos
import lab

PORT = 8443


def connect(hosts, port, data):
    """A connection that carries @data from a to b, and what it was answered."""
    with hosts.b:
        listener = socket.create_server(("10.77.0.2", port))
    with hosts.a:
        client = socket.create_connection(("10.77.0.2", port))
    server, _ = listener.accept()
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        got += server.recv(65536)
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"
    for s in (client, server, listener):
        s.close()


def hello(name):
    return hellos.records(hellos.message(name.encode()))


def watched(hosts, by, traffic, *more):
    watch = hosts.b.watch("-i", "vb", "--flows", "--by", by, "--json", *more, "tcp")
    traffic()
    # Ten packets at the least of each connection are there once its last FIN is.
    lab.wait_for("the connections to end", lambda: watch.ask()["delivered"] >= 10)
    assert watch.stop().status == 0, watch.err
    watch.check_account()
    return watch.json


def test_sni(hosts):
    def traffic():
        for name in ("one.test", "two.test", "one.test"):
            connect(hosts, PORT, hello(name))
        connect(hosts, PORT, b"no names here\n")

    found = {row.get("sni"): row["flows"] for row in watched(hosts, "sni", traffic)}
    assert found == {"one.test": 2, "two.test": 1, None: 1}


def test_domain(hosts):
    def traffic():
        connect(hosts, PORT, hello("tls.test"))
        connect(hosts, 80, b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
        connect(hosts, 80, b"GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n")

    found = {row.get("domain"): row["flows"] for row in watched(hosts, "domain", traffic)}
    assert found == {"tls.test": 1, "web.test": 2}


def test_process(hosts):
    """Both ends are this process's: a flow counts once for it."""
    lines = watched(hosts, "process", lambda: connect(hosts, PORT, b"x"))
    found = [line for line in lines if line.get("pid") == os.getpid()]
    assert len(found) == 1 and found[0]["flows"] == 1, lines
    assert found[0]["comm"] == open(f"/proc/{os.getpid()}/comm").read().strip()


def test_cgroup(hosts):
    lines = watched(hosts, "cgroup", lambda: connect(hosts, PORT, b"x"))
    with open("/proc/self/cgroup") as f:
        path = [line.split(":", 2)[2].strip() for line in f if line.startswith("0::")]
    if not path:
        pytest.skip("this process is in no cgroup of version 2")
    assert {line.get("cgroup") for line in lines} == {path[0]}, lines


@pytest.mark.parametrize("by", ["process", "cgroup"])
def test_a_file_has_no_processes(tmp_path, by):
    path = lab.write_pcap(tmp_path / "empty.pcap", [])
    run = lab.weir("watch", "-r", path, "--flows", "--by", by)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.count("\n") == 1 and "processes" in run.stderr
