# SPDX-License-Identifier: GPL-2.0-only
"""What `weir watch` prints and writes, read by those who will read it: tshark,
capinfos, jq, tcpdump's users."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import termios

import pytest

import lab
import packets

NOBODY = 65534


def frames(n, seed=5, size=64):
    maker = packets.Maker(seed)
    out = []
    for i in range(n):
        l4 = maker.tcp(size) if i % 2 else maker.udp(size)
        body = maker.ip4(packets.TCP if i % 2 else packets.UDP, l4) if i % 3 else \
            maker.ip6(packets.TCP if i % 2 else packets.UDP, l4)
        out.append(maker.ether([(0x8100, 100)] if i % 5 == 0 else [], *body))
    return out


@pytest.fixture(scope="module")
def pcap(tmp_path_factory):
    return lab.write_pcap(tmp_path_factory.mktemp("pcap") / "some.pcap", frames(30))


def capture(pair, *args, n=20, **options):
    """A live run that sees @n packets and ends by SIGINT."""
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", *args, **options)
    pair.a.inject("va", frames(n))
    watch.wait_seen(n)
    assert watch.stop().status == 0, watch.err
    watch.check_account()
    return watch


def check_readable(path, packets_inside):
    """tshark and capinfos, without a word of complaint."""
    assert len(lab.tshark(path)) == packets_inside
    done = lab.sh("capinfos", "-M", "-c", path)
    assert done.stderr == ""
    assert re.search(rf"Number of packets:\s+{packets_inside}\b", done.stdout), done.stdout


def numbers(block):
    return {code: int.from_bytes(values[0], "little") for code, values in block.options.items()}


# --- pcapng -----------------------------------------------------------------

LIVE = {
    "tc": ["--capture", "tc"],
    "xdp": ["--capture", "xdp"],
    "af_packet": ["--capture", "af_packet"],
    "af_packet ring": ["--capture", "af_packet", "--transport", "ring"],
    "pcap": ["--capture", "pcap"],
}


@pytest.mark.parametrize("how", LIVE)
def test_pcapng(pair, tmp_path, how):
    path = tmp_path / "a.pcapng"
    watch = capture(pair, *LIVE[how], "-w", path, "vlan or not vlan")
    check_readable(path, 20)
    blocks = lab.read_pcapng(path)
    assert [b.kind for b in blocks] == [lab.SECTION, lab.INTERFACE, *[lab.PACKET] * 20, lab.STATISTICS]
    section, interface, statistics = blocks[0], blocks[1], blocks[-1]
    assert set(section.options) == {2, 3, 4} and section.options[4][0].startswith(b"weir ")
    assert interface.options[2] == [b"vb"] and interface.options[9] == [b"\x09"]
    assert interface.options[11] == [b"\0vlan or not vlan"]
    told = numbers(statistics)
    account = watch.account
    assert (told[4], told[6], told[7], told[8]) == (account["seen"], account["matched"], 0,
                                                    account["delivered"]) == (20, 20, 0, 20)
    # The two times have their halves in the order of the packet block's.
    start, end = (struct.unpack("<II", statistics.options[code][0]) for code in (2, 3))
    times = [b.ts for b in blocks if b.kind == lab.PACKET]
    assert start[0] << 32 | start[1] <= min(times) and max(times) <= end[0] << 32 | end[1]
    for packet in blocks[2:-1]:
        if how != "pcap":  # libpcap tells no direction
            assert numbers(packet)[2] & 3 == 1
        if how == "xdp":
            assert packet.options[7] == [b"\x02" + struct.pack("<Q", 2)]  # XDP_PASS
            assert numbers(packet)[6] == 0
        assert packet.caplen == packet.len == len(packet.data)
    assert [b.data for b in blocks[2:-1]] == frames(20)


def test_pcapng_directions(pair, tmp_path):
    """Both ways in one file; two interfaces; what was cut says so."""
    path = tmp_path / "b.pcapng"
    pair.b.ip("link", "add", "vc", "type", "veth", "peer", "name", "vd")
    try:
        for dev in ("vc", "vd"):
            pair.b.ip("link", "set", dev, "up")
        watch = pair.b.watch("-i", "vb", "-i", "vc", "-s", "60", "-w", path, "--stats", "json")
        pair.a.inject("va", frames(10))
        pair.b.inject("vb", frames(7))
        pair.b.inject("vc", frames(3))
        lab.wait_for("20 packets", lambda: watch.ask() and
                     sum(a["seen"] for a in watch.accounts[-2:]) == 20)
        assert watch.stop().status == 0
        check_readable(path, 20)
        blocks = lab.read_pcapng(path)
        names = [b.options[2][0] for b in blocks if b.kind == lab.INTERFACE]
        assert names == [b"vb", b"vc"]
        seen = [(b.iface, numbers(b)[2] & 3) for b in blocks if b.kind == lab.PACKET]
        assert sorted(seen) == [(0, 1)] * 10 + [(0, 2)] * 7 + [(1, 2)] * 3
        assert all(b.caplen == 60 < b.len for b in blocks if b.kind == lab.PACKET)
        assert len([b for b in blocks if b.kind == lab.STATISTICS]) == 2
        rows = lab.tshark(path, "frame.interface_name", "frame.packet_flags_direction")
        assert sorted(map(tuple, rows))[0][0] == "vb"
    finally:
        pair.b.ip("link", "del", "vc")


def test_pcapng_to_a_pipe(pair):
    """weir watch -w - | tshark -r -"""
    reader = subprocess.Popen(["tshark", "-n", "-l", "-r", "-", "-T", "fields", "-e", "frame.len"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = pair.b.watch("-i", "vb", "-Q", "in", "-w", "-", "--stats", "json", out=reader.stdin)
    reader.stdin.close()
    reader.stdin = None
    pair.a.inject("va", frames(25))
    watch.wait_seen(25)
    assert watch.stop().status == 0
    watch._out.close()
    out, err = reader.communicate(timeout=lab.PATIENCE)
    assert list(map(int, out.split())) == [len(f) for f in frames(25)]
    assert [line for line in err.decode().splitlines() if "Running as user" not in line] == []


def test_pcapng_read_back(pair, tmp_path):
    """What weir has written weir reads, and writes again the same."""
    one, two = tmp_path / "one.pcapng", tmp_path / "two.pcapng"
    capture(pair, "-w", one)
    done = lab.weir("watch", "-r", one, "-w", two)
    assert done.returncode == 0, done.stderr
    check_readable(two, 20)
    assert lab.packets_of(two) == lab.packets_of(one) == frames(20)
    times = [[b.ts for b in lab.read_pcapng(p) if b.kind == lab.PACKET] for p in (one, two)]
    assert times[0] == times[1]


# --- rotation ---------------------------------------------------------------

def blocks_of_all(directory):
    return {p.name: len(lab.packets_of(p)) for p in sorted(directory.iterdir())}


def test_rotation_by_size(pair, tmp_path):
    watch = capture(pair, "-w", tmp_path / "r.pcapng", "-C", "20k", n=600)
    inside = blocks_of_all(tmp_path)
    assert len(inside) > 3 and sum(inside.values()) == 600
    assert sorted(inside, key=lambda n: int(n[len("r.pcapng"):] or 0))[:3] == \
        ["r.pcapng", "r.pcapng1", "r.pcapng2"]
    for name, n in inside.items():
        check_readable(tmp_path / name, n)
        assert (tmp_path / name).stat().st_size < 2 * 20 * 1024
    assert watch.account["delivered"] == 600


def test_rotation_ring(pair, tmp_path):
    capture(pair, "-w", tmp_path / "r", "-C", "10k", "-W", "3", n=900)
    inside = blocks_of_all(tmp_path)
    assert list(inside) == ["r0", "r1", "r2"]
    assert 0 < sum(inside.values()) < 900
    for name, n in inside.items():
        check_readable(tmp_path / name, n)


def test_rotation_by_time(pair, tmp_path):
    """-G with strftime names and -W: a run of two seconds in files of one."""
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", "-w", tmp_path / "t-%s.pcapng",
                         "-G", "1", "-W", "2")
    while watch.process.poll() is None:
        pair.a.inject("va", frames(10))
        lab.time.sleep(0.05)
    assert watch.wait() == 0, watch.err
    inside = blocks_of_all(tmp_path)
    assert len(inside) == 2 and all(re.fullmatch(r"t-\d{10}\.pcapng", name) for name in inside)
    # What comes when the last file is full is in none, as after -c.
    account = watch.account
    assert account["imbalance"] == 0 == len(account["lost"]), account
    assert account["matched"] == account["delivered"] + account["queued"], account
    assert sum(inside.values()) == account["delivered"] > 0
    for name, n in inside.items():
        check_readable(tmp_path / name, n)


def as_user(*caps):
    words = ",".join(f"+{c}" for c in caps)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            f"--inh-caps=-all,{words}", f"--ambient-caps=-all,{words}",
            f"--bounding-set=-all,{words}"]


@contextlib.contextmanager
def for_everyone():
    """(directory of nobody's, the program where nobody can run it)"""
    with lab.public_dir() as top:
        program = top / "weir"
        shutil.copy(lab.WEIR, program)
        program.chmod(0o755)
        place = top / "mine"
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
        yield place, program


@pytest.mark.parametrize("how,caps", [
    ("tc", ["bpf", "net_admin", "perfmon"]), ("xdp", ["bpf", "net_admin", "perfmon"]),
    ("af_packet", ["bpf", "net_admin", "perfmon", "net_raw"]),
    ("pcap", ["net_raw"]),
])
def test_rotation_without_root(pair, how, caps):
    """A plain user with a few capabilities; they are dropped, rotation goes on."""
    with for_everyone() as (place, program):
        watch = pair.b.watch("-i", "vb", "-Q", "in", *LIVE[how], "--stats", "json",
                             "-w", place / "u.pcapng", "-C", "20k",
                             prefix=as_user(*caps), program=program)
        status = open(f"/proc/{watch.pid}/status").read()
        assert re.search(r"^CapEff:\s+0+$", status, re.M), status
        assert re.search(rf"^Uid:\s+{NOBODY}\b", status, re.M)
        pair.a.inject("va", frames(600))
        watch.wait_seen(600)
        assert watch.stop().status == 0, watch.err
        inside = blocks_of_all(place)
        assert len(inside) > 3 and sum(inside.values()) == watch.check_account()["delivered"] == 600
        for name, n in inside.items():
            check_readable(place / name, n)
            assert (place / name).stat().st_uid == NOBODY


def test_rotation_of_root_into_a_users_directory(pair):
    """Root drops its privileges too, and keeps what the next file needs."""
    with for_everyone() as (place, _):
        place.chmod(0o755)
        watch = capture(pair, "-w", place / "r.pcapng", "-C", "20k", n=300)
        inside = blocks_of_all(place)
        assert len(inside) > 1 and sum(inside.values()) == watch.account["delivered"] == 300


def test_missing_capability(pair):
    """It says which one is missing, and how to give it."""
    with for_everyone() as (_, program):
        for caps, args, missing in ((["net_raw"], ["--capture", "tc"], "CAP_BPF"),
                                    (["bpf", "net_admin", "perfmon"], ["--capture", "af_packet"],
                                     "CAP_NET_RAW"),
                                    (["net_admin"], ["--capture", "pcap"], "CAP_NET_RAW")):
            watch = pair.b.watch("-i", "vb", *args, listening=False, prefix=as_user(*caps),
                                 program=program)
            assert watch.wait() == 1, (args, watch.err)
            assert watch.err.count("\n") == 1 and missing in watch.err, (args, watch.err)
    assert "xdp" not in pair.b.link("vb")


# --- JSON and text ----------------------------------------------------------

def test_json_by_jq(pair, tmp_path):
    watch = capture(pair, "--format", "json", n=50)
    path = tmp_path / "lines"
    path.write_bytes(watch.out)
    done = lab.sh("jq", "-e", "-c", "select(.v == 1 and .iface == \"vb\" and .direction == \"in\""
                  " and (.packet_size | type) == \"number\" and (.ts | test(\"T.*\\\\.[0-9]{9}Z$\")))",
                  path)
    assert len(done.stdout.splitlines()) == 50
    assert sum(line.get("vlan") == 100 for line in watch.json) == 10
    # Absent when unknown: never empty, never null.
    assert not [line for line in watch.json if None in line.values() or "" in line.values()]


@pytest.mark.parametrize("by", ["flow", "host", "port", "protocol"])
def test_flows_by(pair, by):
    watch = capture(pair, "--flows", "--by", by, "--json", n=60)
    lines = watch.json
    assert lines and all(line["v"] == 1 for line in lines)
    total = sum(map(len, frames(60)))
    assert sum(line["bytes"] for line in lines) >= total
    if by != "host":  # a flow has two hosts
        assert sum(line["bytes"] for line in lines) == total
        assert sum(line["packets"] for line in lines) == 60
    assert [line["bytes"] for line in lines] == sorted((line["bytes"] for line in lines), reverse=True)


def test_exactly_c(pair):
    for how in LIVE.values():
        watch = pair.b.watch("-i", "vb", "-Q", "in", *how, "-c", "7", "--json")
        pair.a.inject("va", frames(40))
        assert watch.wait() == 0
        assert len(watch.json) == 7 == watch.account["delivered"]
        assert watch.account["imbalance"] == 0


def test_c_of_a_file(pcap):
    done = lab.weir("watch", "-r", pcap, "-c", "7", "--json")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 7


def test_count(pair, pcap):
    assert capture(pair, "--count").out == b"20 packets\n"
    assert capture(pair, "--count", "--filter-at", "user", "vlan").out == b"4 packets\n"
    done = lab.weir("watch", "-r", pcap, "--count", "vlan 100")
    assert done.stdout == "6 packets\n"
    done = lab.weir("watch", "-r", pcap, "--count", "--format", "json", "vlan 100")
    assert json.loads(done.stdout)["packets"] == 6


def lines_of(pcap, *args):
    done = lab.weir("watch", "-r", pcap, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def one_file(tmp_path, *bodies):
    maker = packets.Maker(seed=1)
    made = [maker.ether([], *body, dst=packets.MACS[0]) for body in bodies]
    return lab.write_pcap(tmp_path / "one.pcap", made)


def udp(source, dest, payload):
    data = struct.pack("!HHHH", source, dest, 8 + len(payload), 0) + payload
    head = bytes.fromhex("4500") + struct.pack("!H", 20 + len(data)) + bytes.fromhex(
        "000140004011") + b"\0\0" + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return 0x0800, head[:10] + struct.pack("!H", packets.csum(head)) + head[12:] + data


def test_line_options(tmp_path):
    """-n -q -e -t..., -s: as tcpdump's users know them."""
    path = one_file(tmp_path, udp(40000, 123, b"hello, river\n" * 30))
    line, = lines_of(path)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} IP 10\.0\.0\.1\.40000 > 10\.0\.0\.2\.ntp: UDP, "
                        r"length 390\b.*", line), line
    assert "10.0.0.2.123:" in lines_of(path, "-n")[0]
    assert len(lines_of(path, "-q")[0]) <= len(line)
    linked, = lines_of(path, "-e")
    assert "> 02:00:5e:10:00:01, ethertype IPv4 (0x0800), length 432: " in linked
    stamps = [r"IP 10\.", r"1700000000\.000000 IP", r" ?00:00:00\.000000 IP",
              r"2023-11-1\d \d\d:\d\d:\d\d\.000000 IP", r" ?00:00:00\.000000 IP"]
    for i, stamp in enumerate(stamps, 1):
        assert re.match(stamp, lines_of(path, "-" + "t" * i)[0]), i


def hex_bytes(lines):
    """The bytes of a dump's lines."""
    out = ""
    for line in lines:
        match = re.match(r"\s+0x[0-9a-f]{4}:\s{1,2}((?:[0-9a-f]{2,4} ?)+)", line)
        if match:
            out += match[1].replace(" ", "")
    return bytes.fromhex(out)


def test_dumps(tmp_path):
    path = one_file(tmp_path, udp(40000, 9, b"hello, river!"))
    frame = path.read_bytes()[40:]
    for option, start, shows_text in (("-x", 14, False), ("-xx", 0, False), ("-X", 14, True),
                                      ("-XX", 0, True)):
        lines = lines_of(path, option)
        assert hex_bytes(lines[1:])[:len(frame) - start] == frame[start:], option
        assert ("river" in "".join(lines)) == shows_text
    assert hex_bytes(lines_of(path, "--format", "hex")[1:]) == frame
    assert "hello, river!" in "".join(lines_of(path, "-A")[1:])
    assert "hello, river!" in "".join(lines_of(path, "--format", "text")[1:])
    # -s cuts what is dumped, not what the packet says of itself.
    assert hex_bytes(lines_of(path, "-xx", "-s", "20")[1:]) == frame[:20]
    assert json.loads(lines_of(path, "--format", "json", "-s", "20")[0])["packet_size"] == len(frame)


def test_proto(tmp_path):
    """Every header field by name."""
    path = one_file(tmp_path, udp(40000, 9, b"hello, river!"), packets.Maker(3).ip4(6, packets.Maker(4).tcp(9)))
    text = "\n".join(lines_of(path, "--format", "proto"))
    for word in ("Ethernet", "IPv4", "time to live: 64", "header checksum", "correct", "UDP",
                 "source port: 40000", "destination port: 9", "TCP", "sequence number", "window"):
        assert word in text, word


def test_controls_are_not_shown(tmp_path):
    """What a packet carries never reaches the terminal as it is."""
    path = one_file(tmp_path, udp(1, 2, b"\x1b[31mred\x07\x9b0m" + bytes(range(32))))
    for option in (["-A"], ["-X"], ["--format", "text"], ["--format", "proto"], ["--format", "json"]):
        done = lab.weir("watch", "-r", path, *option, text=False)
        assert done.returncode == 0
        assert not set(done.stdout) & (set(range(32)) - {9, 10}), option
        assert not set(done.stdout) & set(range(0x7f, 0xa0)), option


def test_colour_only_on_demand(pcap):
    assert "\x1b" not in "".join(lines_of(pcap))
    assert "\x1b[" in "".join(lines_of(pcap, "--color", "always"))


def test_expression_file(pcap, tmp_path):
    rule = tmp_path / "expression"
    rule.write_text("tcp   # the\nand not vlan\n")
    words = lines_of(pcap, "tcp and not vlan")
    assert words and lines_of(pcap, "-F", rule) == words


def test_dump_code(tmp_path):
    done = lab.weir("watch", "-d", "-i", "lo", "tcp port 80")
    assert done.returncode == 0 and done.stderr == ""
    assert re.match(r"\s*0: ", done.stdout) and "exit" in done.stdout.splitlines()[-1]


def test_strict_pcap(pair, pcap):
    """libpcap's meaning, live and of files: `vlan` changes what follows there."""
    for expression in ("vlan and udp", "udp or vlan", "ether[0] & 1 = 1", "ip[8] < 64"):
        want = len(lab.sh("tcpdump", "-n", "-r", pcap, expression).stdout.splitlines())
        done = lab.weir("watch", "-r", pcap, "--count", "--strict-pcap", expression)
        assert done.stdout == f"{want} packets\n", expression
        live = capture(pair, "--count", "--strict-pcap", expression, n=30)
        assert live.out == f"{want} packets\n".encode(), expression


# --- signals and ends -------------------------------------------------------

def test_usr1(pair):
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json")
    for n in (10, 20, 30):
        pair.a.inject("va", frames(10))
        watch.wait_seen(n)
        assert watch.process.poll() is None
    assert watch.stop().status == 0
    assert [a["seen"] for a in watch.accounts if a["seen"]][-1] == 30


def test_text_account(pair):
    watch = pair.b.watch("-i", "vb", "-Q", "in", "vlan")
    pair.a.inject("va", frames(20))
    lab.wait_for("the packets", lambda: len(watch.out.splitlines()) == 4)
    assert watch.stop().status == 0
    assert "vb: 20 packets seen = 16 unmatched + 4 matched\n" in watch.err
    assert "vb: 4 matched = 4 delivered + 0 lost\n" in watch.err


def test_for_a_while(pair):
    watch = pair.b.watch("-i", "vb", "--for", "300ms", "--stats", "json")
    assert watch.wait() == 0
    watch.check_account()


# --- where ------------------------------------------------------------------

@pytest.mark.parametrize("how", ["tc", "af_packet", "af_packet ring", "pcap", "xdp"])
def test_tun(pair, tmp_path, how):
    """A device without layer 2."""
    fd = lab.tun(pair.b, "wtun")
    try:
        bare = [f[14:] for f in frames(20) if f[12:14] != b"\x81\0"]
        path = tmp_path / "tun.pcapng"
        args = [*LIVE[how], "--xdp-mode", "generic"] if how == "xdp" else LIVE[how]
        watches = pair.b.watches("-i", "wtun", "-Q", "in", *args, "--stats", "json",
                                 each=[["-w", path], ["--format", "json"], ["-t", "ip6"]])
        for packet in bare:
            os.write(fd, packet)
        for watch in watches:
            watch.wait_seen(len(bare))
            assert watch.stop().status == 0, watch.err
            watch.check_account()
        check_readable(path, len(bare))
        # Short packets of IPv4 may carry a trailer of the frame they were made of.
        assert lab.packets_of(path) == bare
        lines = watches[1].json
        assert len(lines) == len(bare)
        assert all("eth_src" not in line and line["src_ip"] for line in lines)
        six = sum(packet[0] >> 4 == 6 for packet in bare)
        shown = watches[2].out.decode().splitlines()
        assert len(shown) == six and all(re.match(r"(In +)?IP6 ", line) for line in shown)
        refused = lab.weir("watch", "-i", "wtun", *args, "ether host 02:00:5e:10:00:01", ns=pair.b)
        if how != "pcap":
            assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    finally:
        os.close(fd)


@pytest.mark.parametrize("how", LIVE)
def test_jumbo(how):
    pair = lab.Pair(mtu=9000)
    try:
        big = frames(6, size=8800)
        watch = pair.b.watch("-i", "vb", "-Q", "in", *LIVE[how], "-w", "-", "--stats", "json",
                             "greater 8800")
        pair.a.inject("va", big + frames(3))
        watch.wait_seen(9)
        assert watch.stop().status == 0, watch.err
        assert watch.check_account()["delivered"] == 6
        assert lab.packets_of(watch.out) == big
    finally:
        pair.remove()


@pytest.mark.parametrize("how", ["tc", "af_packet", "af_packet ring", "pcap", "xdp"])
def test_loopback(hosts, how):
    """On lo a packet goes out and comes in; it is shown once."""
    watch = hosts.a.watch("-i", "lo", *LIVE[how], "--json", "icmp")
    hosts.a.sh("ping", "-c", "3", "-i", "0.01", "127.0.0.1")
    watch.wait_seen(6)
    assert watch.stop().status == 0, watch.err
    assert [line["icmp_type"] for line in watch.json] == [8, 0] * 3
    assert not [line for line in watch.json if line.get("checksum_ok") is False]


def test_offloaded_checksums_are_not_bad(hosts):
    """TCP and UDP of this host: the checksum is left to the device, so nothing is said."""
    watches = hosts.a.watches("-i", "va", "--format", "json", each=[
        ["--capture", "tc"], ["--capture", "af_packet"], ["--capture", "af_packet", "--transport", "ring"]])
    with hosts.b:
        server = lab.socket.create_server(("10.77.0.2", 5010))
    with hosts.a:
        client = lab.socket.create_connection(("10.77.0.2", 5010))
    client.sendall(bytes(100))
    server.accept()[0].close()
    client.close()
    server.close()
    for watch in watches:
        lab.wait_for("the handshake", lambda: len([p for p in watch.json if p["protocol"] == "tcp"]) > 4)
        assert watch.stop().status == 0
        assert not [p for p in watch.json if p.get("checksum_ok") is False]


def test_promisc(pair):
    """Set while it runs, taken back however it ends; not set unasked."""
    assert pair.b.link("vb")["promiscuity"] == 0
    for how in LIVE.values():
        plain = pair.b.watch("-i", "vb", *how)
        assert pair.b.link("vb")["promiscuity"] == 0, how
        asked = pair.b.watch("-i", "vb", *how, "--promisc")
        assert pair.b.link("vb")["promiscuity"] == 1, how
        plain.stop()
        asked.stop(signal.SIGKILL if how is LIVE["tc"] else signal.SIGINT)
        lab.wait_for("the flag to go", lambda: pair.b.link("vb")["promiscuity"] == 0)


def test_fanout(pair):
    """Two threads share the packets; together they see each once."""
    for mode in ("hash", "cpu", "lb"):
        watch = capture(pair, "--capture", "af_packet", "--fanout", "2", "--fanout-mode", mode,
                        "-w", "-", n=200)
        assert sorted(lab.packets_of(watch.out)) == sorted(frames(200)), mode


def test_datagram_socket(pair):
    watch = capture(pair, "--capture", "af_packet", "--socket", "dgram", "--format", "json", n=30)
    assert len(watch.json) == 30
    assert all("eth_src" not in line and line["src_ip"] for line in watch.json)
    assert sum(line["protocol"] == "udp" for line in watch.json) == 15


def test_offloads_are_told(tmp_path):
    """Native XDP on one end turns offloads of the other off, and says so."""
    ns = lab.Netns()
    try:
        ns.ip("link", "add", "vx", "type", "veth", "peer", "name", "vy")
        for dev in ("vx", "vy"):
            ns.ip("link", "set", dev, "up")
        watch = ns.watch("-i", "vx", "--capture", "xdp", "--xdp-mode", "native")
        features = ns.sh("ethtool", "-k", "vy").stdout
        assert "tcp-segmentation-offload: off" in features
        assert re.search(r"turned off: .*tx-tcp-segmentation.*peer", watch.err), watch.err
        assert watch.stop().status == 0
        assert "tcp-segmentation-offload: on" in ns.sh("ethtool", "-k", "vy").stdout
    finally:
        ns.remove()


# --- damaged and wrong ------------------------------------------------------

def whole_packets(pcap, n):
    """Where the first @n packets of a classic file end."""
    data, at = pcap.read_bytes(), 24
    for _ in range(n):
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    return data[:at], data[at:]


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 20, 60])
def test_cut_pcap(pcap, tmp_path, cut):
    head, rest = whole_packets(pcap, 12)
    path = tmp_path / "cut.pcap"
    path.write_bytes(head + rest[:cut])
    check_damaged(path, 12)


@pytest.mark.parametrize("size", [0xffffffff, 0x7fffffff, 10_000_000])
def test_corrupt_pcap(pcap, tmp_path, size):
    head, rest = whole_packets(pcap, 12)
    path = tmp_path / "corrupt.pcap"
    path.write_bytes(head + rest[:8] + struct.pack("<II", size, size) + rest[16:])
    check_damaged(path, 12)


@pytest.mark.parametrize("cut", [2, 4, 8, 28, 31, 70])
def test_cut_pcapng(pair, tmp_path, cut):
    path = tmp_path / "cut.pcapng"
    capture(pair, "-w", path)
    data, at, seen = path.read_bytes(), 0, 0
    while seen < 12:
        kind, size = struct.unpack_from("<II", data, at)
        seen += kind == lab.PACKET
        at += size
    path.write_bytes(data[:at + cut])
    check_damaged(path, 12)


@pytest.mark.parametrize("length", [0, 3, 13, 0xfffffff0])
def test_corrupt_pcapng(pair, tmp_path, length):
    path = tmp_path / "corrupt.pcapng"
    capture(pair, "-w", path)
    data, at, seen = bytearray(path.read_bytes()), 0, 0
    while seen < 12:
        kind, size = struct.unpack_from("<II", data, at)
        seen += kind == lab.PACKET
        at += size
    struct.pack_into("<I", data, at + 4, length)
    path.write_bytes(data)
    check_damaged(path, 12)


def check_damaged(path, packets_before):
    """Every whole packet, then one line and status 1."""
    done = lab.weir("watch", "-r", path, "--json")
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert len(done.stdout.splitlines()) == packets_before, done.stderr
    account, *errors = sorted(done.stderr.splitlines(), key=lambda s: not s.startswith("{"))
    account = json.loads(account)
    assert account["delivered"] == packets_before and account["imbalance"] == 0
    assert len(errors) == 1 and errors[0].startswith("weir watch: ")


WRONG = [
    ["-i", "nosuch"], ["-i", "lo", "-i", "lo"], ["host 10.0.0"], ["host 10.0.0.300"],
    ["net 10.0.0.0/33"], ["net 10.0.0.1/8"], ["net 2001:db8::/129"], ["port 65536"],
    ["port 80-"], ["portrange 90-80"], ["port nosuchservice"], ["tcp flags lunch"], ["vlan 4096"],
    ["ttl 256"], ["frob"], ["tcp and"], ["(tcp"], ["tcp)"], ["not"], ["host"],
    ["ether host 1:2"], ["inbound"], ["gateway x"], ["ip[0] = 4"], ["ip protochain 6"],
    ["--protocol", "nosuch"], ["--src-ip", "10.0.0.0/8,"], ["--dst-ip", "example.org"],
    ["--src-port", "-1"], ["--dst-port", "99999"], ["--src-port", ""], ["--sample", "1/0"],
    ["-F", "/nonexistent/file"], ["-r", "/nonexistent/file"], ["-r", "/dev/null"],
    ["--capture", "xdp", "-Q", "out"], ["--capture", "tc", "--verdict", "drop"],
    ["--fanout", "2", "--capture", "tc"], ["-Q", "sideways"], ["-c", "0"], ["-s", "x"],
    ["-C", "0"], ["-W", "3"], ["--format", "xml"], ["--by", "host"], ["--nosuch"],
    ["--strict-pcap", "host and and"], ["-C", "1", "-w", "-"],
    ["--flows", "--transport", "perf"], ["--count", "-c", "5"],
]


@pytest.mark.parametrize("words", WRONG, ids=lambda w: " ".join(w))
def test_wrong(pair, tmp_path, words):
    """One line that says what is wrong and what to do; nothing attached, nothing
    written."""
    target = tmp_path / "precious.pcapng"
    target.write_text("precious")
    options = [] if {"-i", "-r"} & set(words) else ["-i", "vb"]
    # A -w of the words' own comes later and counts.
    done = lab.weir("watch", "-w", target, *options, *words, ns=pair.b)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and re.match(r"weir watch: .+: .+\n", done.stderr), done.stderr
    assert target.read_text() == "precious"
    assert "xdp" not in pair.b.link("vb")


def test_wrong_output(pair, tmp_path):
    """A directory that is not there; a file that may not be written."""
    done = lab.weir("watch", "-i", "vb", "-w", tmp_path / "no" / "x.pcapng", ns=pair.b)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("weir watch: "), done.stderr


def test_full_disk(pair):
    """/dev/full: what could not be written is lost, counted so, and the run fails."""
    watch = pair.b.watch("-i", "vb", "-Q", "in", "--stats", "json", "--format", "json",
                         out=open("/dev/full", "wb"))
    pair.a.inject("va", frames(10))
    assert watch.wait() == 1, watch.err
    account = watch.check_account()
    assert account["lost"] == {"writer": account["matched"]} and account["matched"] > 0
    errors = [line for line in watch.err.splitlines() if not line.startswith("{")]
    assert len(errors) == 1 and "cannot write" in errors[0], errors


class Terminal:
    """`weir watch ARGS` on a terminal of 20 by 100."""

    def __init__(self, ns, *args, **environment):
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
        self.process = subprocess.Popen(ns.command(lab.WEIR, "watch", *args), stdin=slave,
                                        stdout=slave, stderr=slave,
                                        env={**os.environ, "TERM": "xterm", **environment})
        os.close(slave)
        os.set_blocking(self.master, False)
        self.raw = b""

    def read(self):
        with contextlib.suppress(OSError):  # nothing there, or the other end is closed
            while data := os.read(self.master, 65536):
                self.raw += data
        return self.raw.decode(errors="replace")

    def plain(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78]", "", self.read())

    def wait(self, number):
        self.process.send_signal(number)
        lab.wait_for("the end", lambda: self.read() and self.process.poll() is not None)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(pair):
    made = []

    def start(*args, **environment):
        t = Terminal(pair.b, "-i", "vb", "-Q", "in", *args, **environment)
        made.append(t)
        lab.wait_for("the watch to listen", lambda: "listening on" in t.plain())
        return t

    yield start
    for t in made:
        t.close()


def test_terminal(pair, terminal):
    """Lines, a status bar, at the end the account and the top five talkers; the
    screen is left as it was."""
    t = terminal()
    pair.a.inject("va", frames(20))
    lab.wait_for("a status bar behind the lines",
                 lambda: re.search(r"packets/s.*bit/s\s+lost 0", t.plain()[t.plain().rfind(" > "):]))
    assert t.wait(signal.SIGINT) == 0
    text = t.plain()
    assert text.count(" > ") >= 20
    assert "20 packets seen = 0 unmatched + 20 matched" in text
    talkers = text[text.index("20 matched = 20 delivered"):].splitlines()
    assert 5 <= sum(bool(re.search(r"10\.|192\.|172\.|198\.|2001:|fe80:|::|127\.", line))
                    for line in talkers) <= 6, talkers
    assert "\x1b[?1049h" not in t.read()
    # What was turned on is off again: reverse video, a hidden cursor, a scrolling region.
    assert t.read().rfind("\x1b[7m") < t.read().rfind("\x1b[0m")
    assert t.read().count("\x1b[?25l") == t.read().count("\x1b[?25h")


def test_no_color(pair, terminal):
    """NO_COLOR is respected; without it a terminal gets colour."""
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        t = terminal(**environment)
        pair.a.inject("va", frames(3))
        lab.wait_for("the lines", lambda: t.plain().count(" > ") >= 3)
        assert t.wait(signal.SIGTERM) == 0
        assert bool(re.search(r"\x1b\[(1;)?[349][0-7]m", t.read())) == coloured, environment


def test_own_connection_is_left_out(pair, terminal):
    """The SSH connection that this terminal came by: counted, not shown, unless asked."""
    ours = udp(0, 0, b"")[1]  # addresses 10.0.0.1 and 10.0.0.2
    tcp = struct.pack("!HHIIHHHH", 50000, 22, 1, 1, 5 << 12 | 0x10, 1000, 0, 0)
    head = ours[:9] + bytes([packets.TCP]) + b"\0\0" + ours[12:20]
    head = head[:2] + struct.pack("!H", 40) + head[4:]
    frame = packets.MACS[0] + packets.MACS[1] + b"\x08\0" + head + tcp
    other = frame[:-20] + struct.pack("!H", 50001) + frame[-18:]
    for args, shown in (([], 0), (["--self"], 4)):
        t = terminal("-n", *args, SSH_CONNECTION="10.0.0.1 50000 10.0.0.2 22")
        pair.a.inject("va", [frame] * 4 + [other] * 3)
        lab.wait_for("the lines", lambda: t.plain().count(".50001 > ") >= 3)
        assert t.wait(signal.SIGTERM) == 0
        assert t.plain().count(".50000 > ") == shown
        assert "7 matched = 7 delivered" in t.plain()
        assert ("own SSH connection" in t.plain()) == (shown == 0)
