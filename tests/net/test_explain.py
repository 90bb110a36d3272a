# SPDX-License-Identifier: GPL-2.0-only
"""weir explain: the programs in force are asked in the road's order, and count nothing."""

import json
import os
import socket
import struct
from pathlib import Path

import pytest

import lab
import packets


@pytest.fixture(scope="module")
def host():
    """`b` has addresses, bpffs, and a listener on 10.77.0.2:5201."""
    pair = lab.Pair(addresses=True, host=True)
    with pair.b:
        listener = socket.create_server(("10.77.0.2", 5201))
    yield pair
    listener.close()
    pair.remove()


@pytest.fixture
def clean(host):
    yield host
    lab.weir("unload", ns=host.b)


def weir(host, *args, status=0):
    done = lab.weir(*args, ns=host.b)
    assert done.returncode == status, (args, done)
    return done


def explain(host, *args, status=0):
    road = json.loads(weir(host, "explain", *args, "--json", status=status).stdout)
    assert road["verdict"] == ("drop" if status == 4 else "pass")
    return road


def steps(road):
    return [(s["stage"], s.get("verb"), s["verdict"]) for s in road["steps"] if s["reached"]]


def test_the_kernels_own_road(clean):
    road = explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5201")
    assert road["iface"] == "vb" and road["direction"] == "in"
    assert steps(road) == [("route", None, "pass"), ("socket", None, "pass")]
    road = explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5299", status=4)
    assert steps(road)[-1] == ("socket", None, "drop")


def test_a_connection_that_is_there(clean):
    with clean.a:
        client = socket.create_connection(("10.77.0.2", 5201), timeout=lab.PATIENCE)
    port = client.getsockname()[1]
    road = explain(clean, "tcp", f"10.77.0.1:{port}", "10.77.0.2:5201")
    assert "a connection that is there" in road["steps"][-1]["detail"]
    client.close()


@pytest.mark.parametrize("hook, stage", [("xdp", "XDP"), ("tc", "tc"), ("netfilter", "netfilter")])
def test_the_filter_names_its_rule_and_counts_nothing(clean, hook, stage):
    weir(clean, "filter", "on", "vb", "--hook", hook)
    weir(clean, "filter", "deny", "--src-ip", "10.77.0.66")
    road = explain(clean, "tcp", "10.77.0.66", "10.77.0.2:5201", "-i", "vb", status=4)
    assert steps(road) == [(stage, "filter", "drop")]
    assert "10.77.0.66" in road["steps"][0]["text"]
    assert [s["stage"] for s in road["steps"] if not s["reached"]] == ["route", "socket"]
    assert steps(explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5201")) == [
        (stage, "filter", "pass"), ("route", None, "pass"), ("socket", None, "pass")]
    listed = json.loads(weir(clean, "filter", "list", "--json").stdout)
    assert [r["hits"] for r in listed["rules"]] == [0]


def test_steering_comes_before_the_socket(clean):
    weir(clean, "steer", "add", "demo", "--protocol", "tcp", "--dst-port", "5202", "--to",
         "listen:10.77.0.2:5201")
    road = explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5202")
    assert steps(road) == [("route", None, "pass"), ("sk_lookup", "steer", "take")]
    assert road["steps"][-1]["rule"] == "demo" and "port 5201" in road["steps"][-1]["detail"]
    assert steps(explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5203", status=4)) == [
        ("route", None, "pass"), ("sk_lookup", "steer", "pass"), ("socket", None, "drop")]


def test_what_is_for_others_reaches_no_socket(clean):
    clean.b.ip("route", "add", "198.51.100.0/24", "via", "10.77.0.1")
    weir(clean, "steer", "add", "all", "--protocol", "tcp", "--dst-port", "1-65535", "--to",
         "listen:10.77.0.2:5201")
    asked = ("tcp", "10.77.0.1", "198.51.100.1:80")
    road = explain(clean, *asked, status=4)
    assert steps(road) == [("route", None, "drop")]
    assert "forwarding is off" in road["steps"][0]["detail"]
    with clean.b:
        forward = Path("/proc/sys/net/ipv4/ip_forward")
        forward.write_text("1")
        try:
            road = explain(clean, *asked)
            assert steps(road) == [("route", None, "pass")]
            assert "forwarded by vb" in road["steps"][0]["detail"]
            assert "TTL" in explain(clean, *asked, "--ttl", "1", status=4)["steps"][0]["detail"]
        finally:
            forward.write_text("0")
    clean.b.ip("route", "replace", "blackhole", "198.51.100.0/24")
    road = explain(clean, *asked, status=4)
    assert "throws it away" in road["steps"][0]["detail"]
    clean.b.ip("route", "del", "198.51.100.0/24")


def test_leaving(clean):
    weir(clean, "filter", "on", "vb", "--hook", "tc", "-Q", "out")
    weir(clean, "filter", "deny", "--dst-port", "25", "-Q", "out")
    road = explain(clean, "tcp", "10.77.0.2", "10.77.0.1:25", "-Q", "out", status=4)
    assert steps(road) == [("tc", "filter", "drop")]
    assert steps(explain(clean, "tcp", "10.77.0.2", "10.77.0.1:26", "-Q", "out")) == [
        ("tc", "filter", "pass")]


def test_the_picture(clean):
    weir(clean, "filter", "on", "vb", "--hook", "tc")
    weir(clean, "filter", "deny", "--src-ip", "10.77.0.66")
    text = weir(clean, "explain", "udp", "10.77.0.66:1", "10.77.0.2:53", "-i", "vb",
                status=4).stdout.splitlines()
    assert text[0] == "udp 10.77.0.66:1 → 10.77.0.2:53, 42 bytes, coming in by vb"
    assert text[2].split() == ["✗", "tc", "filter", "drop", "a", "deny", "rule", "matched"]
    assert text[4] == "dropped at tc by weir filter; not reached: route, socket"
    assert "\033" not in "".join(text)


@pytest.mark.parametrize("args, status, says", [
    (["tcp", "10.77.0.1"], 2, "weir explain: "),
    (["tcp", "10.77.0.1", "10.77.0.2", "-i", "nope"], 2, "no interface nope"),
    (["tcp", "192.0.2.1", "10.77.0.2"], 1, "no route to 192.0.2.1: say by which interface"),
    (["tcp", "10.77.0.1", "10.77.0.2", "-Q", "inout"], 2, "-Q"),
])
def test_wrong_input(clean, args, status, says):
    done = weir(clean, "explain", *args, status=status)
    assert says in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


def test_a_fault_that_may_hit(clean):
    weir(clean, "fault", "add", "loss", "--protocol", "udp", "--dst-port", "53", "-i", "vb", "-Q",
         "in", "--drop", "10%", "--ttl", "60s")
    road = explain(clean, "udp", "10.77.0.1", "10.77.0.2:53", status=4)
    assert steps(road)[0] == ("tc", "fault", "unknown") and road["steps"][0]["rule"] == "loss"
    assert "10%" in road["steps"][0]["text"]
    assert steps(explain(clean, "udp", "10.77.0.1", "10.77.0.2:54", status=4))[0][1] is None
    listed = json.loads(weir(clean, "fault", "list", "--json").stdout)
    assert listed["rules"][0]["matched"] == 0


def test_a_fault_that_always_hits(clean):
    """Nothing is open there: the packet is dropped."""
    for name, how in (("all", ("--drop", "100%")), ("each", ("--nth", "1"))):
        weir(clean, "fault", "add", name, "--protocol", "udp", "--dst-port", "53", "-Q", "in", *how)
        road = explain(clean, "udp", "10.77.0.1", "10.77.0.2:53", status=4)
        assert steps(road) == [("tc", "fault", "drop")] and road["steps"][0]["rule"] == name
        weir(clean, "fault", "del", name)
    weir(clean, "fault", "add", "some", "--protocol", "tcp", "-i", "vb", "-Q", "in", "--nth", "2")
    weir(clean, "fault", "add", "garbled", "--protocol", "tcp", "-i", "vb", "--corrupt")
    assert steps(explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5201"))[0] == \
        ("tc", "fault", "unknown")


def test_a_fault_of_the_socket(clean):
    weir(clean, "fault", "add", "cut", "--listen", "10.77.0.2:5201", "--truncate", "5")
    road = explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5201")
    assert steps(road)[-1] == ("session", "fault", "unknown")
    assert (road["steps"][-1]["rule"], road["steps"][-1]["text"]) == ("cut", "--truncate 5")
    assert ("session", "fault", "unknown") not in \
        steps(explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5299", status=4))


@pytest.fixture
def cgroup():
    """One of this test's own: rules on the root would be everybody's."""
    mount = next(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
                 if line.split()[2] == "cgroup2")
    made = Path(mount) / f"weir{os.getpid()}-explain"
    made.mkdir()
    yield made
    made.rmdir()


def test_what_a_connection_would_get(clean, cgroup):
    weir(clean, "tcp", "tune", "add", "wide", "--cgroup", cgroup, "--local-port", "5201",
         "--notsent-lowat", "64k")
    weir(clean, "bypass", "on", "short", "--cgroup", cgroup, "--force", "--dst-port", "5201")
    road = explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5201")
    told = {s["verb"]: s for s in road["steps"] if s["stage"] == "session"}
    assert set(told) == {"tcp tune", "bypass"}
    assert told["tcp tune"]["rule"] == "wide" and "notsent-lowat" in told["tcp tune"]["text"]
    assert told["bypass"]["rule"] == "short" and str(cgroup) in told["bypass"]["detail"]
    assert [s for s in explain(clean, "tcp", "10.77.0.1", "10.77.0.2:5202", status=4)["steps"]
            if s["stage"] == "session"] == []


# --- what it says, beside what happens ---------------------------------------

PORT = 5300
A, B = "10.77.0.1", "10.77.0.2"


def udp4(checksum=None, ip_checksum=None, fragment=0, length=32, udp_length=12):
    """A frame to the socket on @PORT, with these fields spoilt."""
    ends = socket.inet_aton(A) + socket.inet_aton(B)
    datagram = struct.pack(">HHHH", 40000, PORT, udp_length, 0) + b"same"
    if checksum is None:
        checksum = packets.csum(ends + struct.pack(">HH", 17, 12) + datagram)
    datagram = datagram[:6] + struct.pack(">H", checksum) + datagram[8:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, length, 7, fragment, 64, 17, 0) + ends
    if ip_checksum is None:
        ip_checksum = packets.csum(head)
    head = head[:10] + struct.pack(">H", ip_checksum) + head[12:]
    return head + datagram


@pytest.fixture(scope="module")
def receiver(host):
    """A socket for everything on @PORT; interface `other` has a network of its own."""
    host.b.ip("link", "add", "other", "type", "veth", "peer", "name", "end")
    host.b.ip("addr", "add", "10.90.0.1/24", "dev", "other")
    for dev in ("other", "end"):
        host.b.ip("link", "set", dev, "up")
    with host.b:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", PORT))
        s.settimeout(lab.PATIENCE)
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
    yield s
    s.close()
    with host.b:
        Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
    host.b.ip("link", "del", "other")


def arrives(host, receiver, *packet):
    """Does the socket get it? What is sent behind it, it gets for certain."""
    to = ("-i", "va", "-c", 1, "--eth-dst", host.mac_b)
    for words in (packet, ("udp", f"{A}:9", f"{B}:{PORT}")):
        done = lab.weir("send", *words, *to, ns=host.a)
        assert done.returncode == 0, done
    got = 0
    while receiver.recvfrom(100)[1][1] != 9:
        got += 1
    return got


@pytest.mark.parametrize("src, dst, verdict", [
    (A, B, "pass"),
    ("192.0.2.1", B, "drop"),        # rp_filter: no route back
    ("10.90.0.7", B, "drop"),        # rp_filter: the route back is another
    (B, B, "drop"),                  # this host's own
    ("127.0.0.1", B, "drop"),
    (A, "127.0.0.1", "drop"),
    (A, "10.77.255.255", "pass"),    # the network's broadcast
    (A, "255.255.255.255", "pass"),
    (A, "224.0.0.1", "pass"),        # all hosts have joined it
    (A, "224.0.0.77", "drop"),
    (A, "10.90.0.7", "drop"),        # nothing is forwarded
    (A, "198.51.100.1", "drop"),
])
def test_its_route_is_the_kernels(clean, receiver, src, dst, verdict):
    packet = ("udp", f"{src}:40000", f"{dst}:{PORT}")
    road = explain(clean, *packet, "-i", "vb", status=4 if verdict == "drop" else 0)
    assert arrives(clean, receiver, *packet) == (verdict == "pass"), road


@pytest.mark.parametrize("spoilt, verdict, says", [
    ({}, "pass", "gets it"),
    ({"checksum": 0}, "pass", "gets it"),  # it has none
    ({"checksum": 1}, "unknown", "UDP checksum is wrong"),
    ({"ip_checksum": 1}, "drop", "IPv4 header is wrong"),
    ({"fragment": 0x2000}, "unknown", "fragment"),
    ({"length": 33}, "drop", "IP header tells"),
    ({"udp_length": 13}, "drop", "UDP header tells"),
])
def test_a_packet_that_is_not_whole(clean, receiver, tmp_path, spoilt, verdict, says):
    frame = bytes.fromhex(clean.mac_b.replace(":", "") + clean.mac_a.replace(":", "")) \
        + b"\x08\0" + udp4(**spoilt)
    file = tmp_path / "frame"
    file.write_text(frame.hex())
    road = explain(clean, "--hex", file, "-i", "vb", status=4 if verdict == "drop" else 0)
    assert any(says in s["detail"] for s in road["steps"]), road
    assert (verdict == "unknown") == any(s["verdict"] == "unknown" for s in road["steps"])
    assert arrives(clean, receiver, "--hex", file) == (verdict == "pass")


@pytest.mark.parametrize("flags, status", [("S", 0), (".", 4), ("R", 4), ("F", 4), ("SF", 4)])
def test_a_listener_takes_syns(clean, flags, status):
    road = explain(clean, "tcp", A, f"{B}:5201", "--flags", flags, status=status)
    assert ("takes" in road["steps"][-1]["detail"] or "RST" in road["steps"][-1]["detail"]) == \
        (status == 4)


def test_a_socket_of_another_interface_or_family(clean):
    with clean.b:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        bound.bind(("0.0.0.0", 5400))
        six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", 5401))
    for port in (5400, 5401):
        assert steps(explain(clean, "udp", A, f"{B}:{port}", status=4))[-1] == \
            ("socket", None, "drop")
    explain(clean, "udp", "fd77::1", "[fd77::2]:5401")
    bound.close()
    six.close()


def test_without_the_right_to_ask(clean):
    """What nobody could say is said where it belongs, and is no "passes"."""
    weir(clean, "filter", "on", "vb", "--hook", "tc")
    with lab.public_dir() as where:
        program = where / "weir"
        program.write_bytes(Path(lab.WEIR).read_bytes())
        program.chmod(0o755)
        done = clean.b.sh("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all",
                          program, "explain", "tcp", A, f"{B}:5201", "--json", check=False)
    road = json.loads(done.stdout)
    assert done.returncode == 1 and road["steps"][0]["stage"] == "XDP"
    assert (road["steps"][0]["verb"], road["steps"][0]["verdict"]) == ("filter", "unknown")
    assert "needs CAP_DAC_OVERRIDE" in road["steps"][0]["detail"]


def test_a_protocol_that_nobody_has(clean):
    assert steps(explain(clean, 253, A, B))[-1] == ("socket", None, "unknown")
    assert steps(explain(clean, "icmp", A, B))[-1] == ("route", None, "pass")


def test_what_is_no_ip_has_no_road(clean, tmp_path):
    file = tmp_path / "arp"
    file.write_text("ff" * 6 + clean.mac_a.replace(":", "") + "0806" + "00" * 28)
    assert explain(clean, "--hex", file, "-i", "vb")["steps"] == []
