# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --netns`: packets there, files and messages here."""

import os
import socket
import struct
import subprocess

import pytest

import lab
import packets


def frames(n):
    maker = packets.Maker(seed=6)
    return [maker.ether([], *maker.ip4(packets.UDP, maker.udp(64))) for _ in range(n)]


def cookie(ns):
    """SO_NETNS_COOKIE"""
    with ns, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, 71, 8))[0]


def names(ns):
    """The three ways to say which one it is."""
    holder = subprocess.Popen(ns.command("sleep", "120"), stdin=subprocess.DEVNULL)
    lab.wait_for("a process to be there", lambda: os.readlink(f"/proc/{holder.pid}/ns/net")
                 == f"net:[{os.stat(ns.path).st_ino}]")
    return holder, [ns.name, ns.path, str(holder.pid)]


@pytest.mark.parametrize("how", ["auto", "xdp", "af_packet", "pcap", "af_xdp"])
def test_every_capture(pair, tmp_path, how):
    """From outside, by name, path and process, at the same time where that may be."""
    holder, words = names(pair.b)
    try:
        for word in words:
            path = tmp_path / f"{how}.pcapng"
            watch = lab.Watch("--netns", word, "-i", "vb", "--capture", how, "-Q", "in", "--stats",
                              "json", "-w", path, *(["--take"] if how == "af_xdp" else []))
            pair.a.inject("va", frames(10))
            watch.wait_seen(10)
            assert watch.stop().status == 0, watch.err
            assert lab.packets_of(path) == frames(10)
            assert watch.check_account()["netns"] == cookie(pair.b)
    finally:
        holder.kill()
        holder.wait()


def test_names_and_interfaces_are_of_that_namespace(pair):
    done = lab.weir("watch", "--netns", pair.b.name, "-i", "va", "--for", "1s")
    assert done.returncode == 2 and "no interface va" in done.stderr
    watch = lab.Watch("--netns", pair.b.name, "-i", "any", "-w", "/dev/null")
    assert f"of network namespace {pair.b.name}, capture " in watch.err
    assert watch.stop().status == 0


@pytest.mark.parametrize("word, status, told", [
    ("no-such", 2, "cannot enter the network namespace /run/netns/no-such (No such file or "
                   "directory): name one of `ip netns`, a path or a process"),
    ("/dev/null", 2, "/dev/null is no network namespace: name one of `ip netns`, a path or a "
                     "process"),
    ("/proc/self/ns/mnt", 2, "/proc/self/ns/mnt is no network namespace: name one of `ip "
                             "netns`, a path or a process"),
    ("4000000000", 2, "cannot enter the network namespace /proc/4000000000/ns/net (No such file "
                      "or directory): name one of `ip netns`, a path or a process"),
])
def test_none_of_that(word, status, told):
    done = lab.weir("watch", "--netns", word, "-i", "lo", "--for", "1s")
    assert (done.returncode, done.stderr) == (status, f"weir watch: {told}\n")


def test_needs_a_right(pair):
    words = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    done = lab.weir("watch", "--netns", pair.b.path, "-i", "vb", "--for", "1s", prefix=words)
    assert done.returncode == 1 and done.stderr.startswith(
        "weir watch: needs CAP_SYS_ADMIN to enter a network namespace: "), done.stderr


def test_what_reaches_others_is_of_the_caller(pair):
    """Packets there, the collector here; and an interface that goes is still missed."""
    with pair.a:
        collector = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(lab.PATIENCE)
    pair.b.ip("link", "add", "vx", "type", "veth", "peer", "name", "vy")
    for dev in ("vx", "vy"):
        pair.b.ip("link", "set", dev, "up")
    watch = pair.a.watch("--netns", pair.b.path, "-i", "vy", "--stats", "json", "--ipfix",
                         f"127.0.0.1:{collector.getsockname()[1]}")
    pair.b.inject("vx", frames(10))
    watch.wait_seen(10)
    pair.b.ip("link", "del", "vx")
    lab.wait_for("the end", lambda: watch.process.poll() is not None)
    assert watch.wait() == 1 and "the interface is gone" in watch.err
    assert struct.unpack_from("!H", collector.recv(65536))[0] == 10  # IPFIX
    collector.close()
