# SPDX-License-Identifier: GPL-2.0-only
"""--ipfix: what collectors read is what went over the wire."""

import json
import re
import shutil
import signal
import socket
import struct
import subprocess
from collections import Counter

import pytest

import lab
import traffic
from traffic import packet

UDP_SEGMENT = 103
V4, V6, METERING, EXPORTING = 256, 257, 258, 259
NAMES = {8: "src", 12: "dst", 27: "src", 28: "dst", 7: "sport", 11: "dport", 4: "proto",
         61: "out", 136: "end", 6: "flags", 10: "in_if", 14: "out_if", 1: "octets",
         2: "packets", 152: "first", 153: "last", 149: "domain", 135: "dropped",
         164: "ignored_packets", 165: "ignored_octets", 166: "unsent_flows",
         167: "unsent_packets", 168: "unsent_octets"}
IDLE, ACTIVE, FORCED = 1, 2, 4
S = 10**9
BEGIN = 1_700_000_000 * S


class Reader:
    """An IPFIX collector of its own: knows nothing but RFC 7011 and the numbers above."""

    def __init__(self):
        self.templates, self.records, self.messages = {}, [], 0
        self.sequence = None

    def message(self, data):
        version, length, _, sequence, _ = struct.unpack_from("!HHIII", data)
        assert version == 10 and length == len(data) <= 1392
        assert self.sequence is None or sequence == self.sequence, (sequence, self.sequence)
        self.sequence, self.messages, at = sequence, self.messages + 1, 16
        while at < length:
            kind, size = struct.unpack_from("!HH", data, at)
            assert size > 4 and at + size <= length
            self.set(kind, data[at + 4:at + size])
            at += size

    def set(self, kind, body):
        if kind in (2, 3):
            at = 0
            while at < len(body):
                template, n = struct.unpack_from("!HH", body, at)
                at += 4
                if kind == 3:
                    assert struct.unpack_from("!H", body, at) == (1,)
                    at += 2
                self.templates[template] = [struct.unpack_from("!HH", body, at + 4 * i)
                                            for i in range(n)]
                at += 4 * n
            return
        fields = self.templates[kind]  # sent before the first of its records
        size = sum(length for _, length in fields)
        assert len(body) % size == 0
        for at in range(0, len(body), size):
            record = {"template": kind}
            for number, length in fields:
                value = body[at:at + length]
                name = NAMES[number]
                record[name] = (socket.inet_ntop(socket.AF_INET6 if length == 16
                                                 else socket.AF_INET, value)
                                if name in ("src", "dst") else int.from_bytes(value, "big"))
                at += length
            self.records.append(record)
            self.sequence += 1

    def stream(self, data):
        while len(data) >= 4:
            length = struct.unpack_from("!H", data, 2)[0]
            self.message(data[:length])
            data = data[length:]
        assert not data

    @property
    def flows(self):
        return [r for r in self.records if r["template"] in (V4, V6)]

    def last(self, template):
        return [r for r in self.records if r["template"] == template][-1]

    def sums(self):
        """{(src, dst, proto, sport, dport, out): (packets, octets)}"""
        total = {}
        for r in self.flows:
            key = tuple(r[k] for k in ("src", "dst", "proto", "sport", "dport", "out"))
            packets, octets = total.get(key, (0, 0))
            total[key] = packets + r["packets"], octets + r["octets"]
        return total


def udp_collector(ns):
    with ns:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.settimeout(0.2)
    return s, s.getsockname()[1]


def read_all(s):
    reader = Reader()
    try:
        while True:
            reader.message(s.recv(65536))
    except TimeoutError:
        return reader


SENDS, SENDS_IN = 2 * (5 + 3 + 10 + 2 + 7), 2 * (5 + 3 + 10 + 2)


def wait_delivered(watch, n):
    lab.wait_for(f"{n} packets", lambda: watch.ask()["delivered"] >= n)


def send_traffic(hosts, segment=True):
    """Known packets from a to b and back: SENDS, and two that are segmented. Returns what
    must be counted at vb."""
    expected = Counter()
    packets = Counter()

    def count(src, dst, sport, dport, out, size, n, header):
        key = (src, dst, 17, sport, dport, out)
        packets[key] += n
        expected[key] += n * (header + 8 + size)

    for family, a, b, header in ((socket.AF_INET, "10.77.0.1", "10.77.0.2", 20),
                                 (socket.AF_INET6, "fd77::1", "fd77::2", 40)):
        with hosts.a:
            one = socket.socket(family, socket.SOCK_DGRAM)
        with hosts.b:
            two = socket.socket(family, socket.SOCK_DGRAM)
        one.bind((a, 5001))
        two.bind((b, 5002))
        for size, n in ((1, 5), (18, 3), (700, 10), (1400, 2)):  # 1: a padded frame
            for _ in range(n):
                one.sendto(bytes(size), (b, 5002))
            count(a, b, 5001, 5002, 0, size, n, header)
        for _ in range(7):
            two.sendto(bytes(100), (a, 5001))
        count(b, a, 5002, 5001, 1, 100, 7, header)
        if segment:  # one send, eleven packets: the last has a byte
            one.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500)
            one.sendto(bytes(5001), (b, 5002))
            count(a, b, 5001, 5002, 0, 500, 10, header)
            count(a, b, 5001, 5002, 0, 1, 1, header)
        one.close()
        two.close()
    return {key: (packets[key], expected[key]) for key in packets}


def only_udp(sums):
    return {key: value for key, value in sums.items() if 5001 in key[3:5]}


@pytest.mark.parametrize("engine", [[], ["--capture", "af_packet"], ["--filter-at", "user"],
                                    ["--capture", "xdp", "--xdp-mode", "generic"]])
def test_udp_totals(hosts, engine):
    s, port = udp_collector(hosts.b)
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--ipfix-domain", 7,
                          "--stats", "json", *engine, "udp")
    # A device says nothing of segments at XDP, where a veth hands on what it was given.
    expected = send_traffic(hosts, segment="xdp" not in engine)
    wait_delivered(watch, SENDS_IN if "xdp" in engine else SENDS + 2)
    assert watch.stop().status == 0, watch.err
    account = watch.check_account()
    reader = read_all(s)
    if "xdp" in engine:  # what goes out is not seen there
        expected = {key: value for key, value in expected.items() if key[5] == 0}
    assert only_udp(reader.sums()) == expected
    assert all(r["end"] == FORCED for r in reader.flows)
    assert all(r["first"] <= r["last"] for r in reader.flows)
    index = hosts.b.link("vb")["ifindex"]
    assert all((r["in_if"], r["out_if"]) == ((0, index) if r["out"] else (index, 0))
               for r in reader.flows)
    assert reader.last(METERING)["domain"] == 7
    assert reader.last(METERING)["ignored_packets"] == sum(account["lost"].values()) == 0
    assert reader.last(EXPORTING)["unsent_flows"] == 0
    told = [json.loads(line) for line in watch.err.splitlines() if '"ipfix"' in line]
    assert [(t["records"], t["messages"], t["not_sent"]) for t in told] == \
        [(len(reader.flows), reader.messages, 0)]


def test_tcp_totals(hosts):
    with hosts.b:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"tcp:127.0.0.1:{port}", "--stats", "json",
                          "udp")
    conn, _ = listener.accept()
    expected = send_traffic(hosts)
    wait_delivered(watch, SENDS + 2)
    watch.send(signal.SIGINT)
    data = b""
    while chunk := conn.recv(65536):
        data += chunk
    assert watch.wait() == 0, watch.err
    reader = Reader()
    reader.stream(data)
    assert only_udp(reader.sums()) == expected
    listener.close()


def test_tcp_collector_comes_back(hosts):
    """A lost connection begins anew, with templates and a sequence from 0; what could not be
    sent in between is told of."""
    with hosts.b:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"tcp:127.0.0.1:{port}", "--ipfix-active", "1s",
                          "--stats", "json")
    first, _ = listener.accept()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.close()  # a reset
    listener.settimeout(0.05)
    conn = None

    def again():
        nonlocal conn
        send_traffic(hosts)
        try:
            conn, _ = listener.accept()
        except TimeoutError:
            return False
        return True

    lab.wait_for("the connection to come back", again)
    send_traffic(hosts)
    watch.send(signal.SIGINT)
    data = b""
    while chunk := conn.recv(65536):
        data += chunk
    assert watch.wait() == 0, watch.err
    reader = Reader()
    reader.sequence = 0
    reader.stream(data)
    assert set(reader.templates) == {V4, V6, METERING, EXPORTING}
    assert reader.flows
    conn.close()
    listener.close()


def test_active_timeout(hosts):
    """A flow that goes on is told of in parts, which add up."""
    s, port = udp_collector(hosts.b)
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--ipfix-active", "1s",
                          "--stats", "json", "udp")
    expected = send_traffic(hosts)
    reader = Reader()

    def active():
        try:
            reader.message(s.recv(65536))
        except TimeoutError:
            pass
        return any(r["end"] == ACTIVE for r in reader.flows)

    lab.wait_for("a record of a flow that goes on", active)
    more = send_traffic(hosts)
    wait_delivered(watch, 2 * (SENDS + 2))
    assert watch.stop().status == 0, watch.err
    try:
        while True:
            reader.message(s.recv(65536))
    except TimeoutError:
        pass
    assert only_udp(reader.sums()) == {key: (2 * value[0], 2 * value[1])
                                       for key, value in expected.items()}
    # Of the second part, too, where the end comes late.
    assert ACTIVE in {r["end"] for r in reader.flows} <= {ACTIVE, FORCED}
    assert more == expected


@pytest.mark.parametrize("by", [[], ["--flows"], ["--flows", "--by", "host"]])
def test_idle_flows_end(tmp_path, by):
    """A flow that has been silent for a minute has ended, also where a picture keeps it; what
    comes later is told of anew."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.settimeout(0.2)
    packets = [packet(BEGIN + at * S, "udp", sport=5001, dport=5002, size=10)
               for at in (0, 1, 100, 101)]
    packets += [packet(BEGIN + at * S, "icmp") for at in range(0, 200, 10)]
    path = traffic.write(tmp_path / "x.pcap", sorted(packets, key=lambda p: p.ts))
    done = lab.weir("watch", "-r", path, "--ipfix", f"127.0.0.1:{s.getsockname()[1]}",
                    "--ipfix-active", "10m", *by)
    assert done.returncode == 0, done.stderr
    flows = read_all(s).flows
    s.close()
    assert [(r["packets"], r["end"]) for r in flows if r["proto"] == 17] == [(2, IDLE), (2, IDLE)]
    assert [(r["packets"], r["end"]) for r in flows if r["proto"] == 1] == [(20, FORCED)]


def test_losses_are_told(hosts):
    """Flows beyond the kernel's table: 164 is what the account calls lost."""
    s, port = udp_collector(hosts.b)
    watch = hosts.b.watch("-i", "vb", "-Q", "in", "--ipfix", f"127.0.0.1:{port}", "--flows-max", 16,
                          "--stats", "json", "udp dst port 6000")
    with hosts.a:
        for source in range(200):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind(("10.77.0.1", 20000 + source))
            one.sendto(bytes(32), ("10.77.0.2", 6000))
            one.close()
    watch.wait_seen(200)
    assert watch.stop().status == 0, watch.err
    account = watch.check_account()
    lost = sum(account["lost"].values())
    assert lost
    reader = read_all(s)
    assert reader.last(METERING)["ignored_packets"] == lost
    assert reader.last(METERING)["ignored_octets"] == sum(account["lost_bytes"].values())
    assert sum(r["packets"] for r in reader.flows) == account["delivered"] == 200 - lost


def test_only_whose_it_is(hosts):
    """What --pid leaves out goes to no collector."""
    s, port = udp_collector(hosts.b)
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--pid", 1, "--stats", "json",
                          "udp")
    send_traffic(hosts)
    lab.wait_for("all packets", lambda: watch.ask()["unmatched"] >= SENDS)
    assert watch.stop().status == 0, watch.err
    assert watch.check_account()["delivered"] == 0
    assert read_all(s).flows == []


def test_nobody_listens(hosts):
    """A collector that is away ends no capture; what it missed is counted."""
    s, port = udp_collector(hosts.b)
    s.close()
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--ipfix-active", "1s",
                          "--stats", "json", "udp")
    send_traffic(hosts)
    wait_delivered(watch, SENDS + 2)
    assert watch.stop().status == 0, watch.err
    refused = lab.weir("watch", "-i", "vb", "--ipfix", f"tcp:127.0.0.1:{port}", ns=hosts.b)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1 and "Connection refused" in refused.stderr


def test_replay(hosts, tmp_path):
    """A file is exported by its own clock."""
    del hosts
    frame = bytes.fromhex("02005e100001 02005e100002 0800".replace(" ", ""))
    udp = struct.pack("!HHHH", 7, 9, 8 + 10, 0) + bytes(10)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                     socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2"))
    path = tmp_path / "long.pcap"
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for second in range(0, 300, 10):
            data = frame + ip + udp
            f.write(struct.pack("<IIII", 1700000000 + second, 0, len(data), len(data)) + data)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.settimeout(0.2)
    done = lab.weir("watch", "-r", path, "--ipfix", f"127.0.0.1:{s.getsockname()[1]}")
    assert done.returncode == 0, done.stderr
    reader = read_all(s)
    assert reader.sums() == {("192.0.2.1", "192.0.2.2", 17, 7, 9, 0): (30, 30 * 38)}
    # 60 s of the file each.
    assert [r["packets"] for r in reader.flows] == [6] * 5, reader.flows
    assert [r["end"] for r in reader.flows] == [ACTIVE] * 4 + [FORCED]
    assert reader.flows[0]["first"] == 1700000000000
    assert reader.flows[0]["last"] == 1700000050000


@pytest.mark.skipif(not shutil.which("nfcapd"), reason="nfcapd is not installed (package nfdump)")
def test_nfdump_reads_it(hosts, tmp_path):
    with hosts.b:
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    collector = subprocess.Popen(hosts.b.command("nfcapd", "-b", "127.0.0.1", "-p", port, "-w",
                                                 tmp_path, "-t", 3600),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lab.wait_for("nfcapd to listen", lambda: f":{port} " in hosts.b.sh("ss", "-uln").stdout)
        watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--stats", "json", "udp")
        expected = send_traffic(hosts)
        wait_delivered(watch, SENDS + 2)
        assert watch.stop().status == 0, watch.err
        lab.wait_for("nfcapd to read it", lambda: " 127.0.0.1:" not in "".join(
            line for line in hosts.b.sh("ss", "-uanH").stdout.splitlines()
            if f":{port}" in line and not line.split()[1] == "0"))
    finally:
        collector.send_signal(signal.SIGINT)
        collector.wait(lab.PATIENCE)
    done = lab.sh("nfdump", "-R", tmp_path, "-o", "json", "-q")
    total = {}
    for r in json.loads("[" + re.sub(r"\n}\s*,?\s*(?={)", "\n},", done.stdout.strip(" \n[],")) + "]"):
        key = (r.get("src4_addr") or r["src6_addr"], r.get("dst4_addr") or r["dst6_addr"],
               r["proto"], r["src_port"], r["dst_port"])
        packets, octets = total.get(key, (0, 0))
        total[key] = packets + r["in_packets"], octets + r["in_bytes"]
    assert total == {key[:5]: value for key, value in expected.items()}


def test_tshark_reads_it(hosts, tmp_path):
    s, port = udp_collector(hosts.b)
    watch = hosts.b.watch("-i", "vb", "--ipfix", f"127.0.0.1:{port}", "--stats", "json", "udp")
    send_traffic(hosts)
    wait_delivered(watch, SENDS + 2)
    assert watch.stop().status == 0, watch.err
    frames = []
    try:
        while True:
            data = s.recv(65536)
            udp = struct.pack("!HHHH", 5555, 4739, 8 + len(data), 0) + data
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                             socket.inet_aton("127.0.0.1"), socket.inet_aton("127.0.0.1"))
            frames.append(bytes(12) + b"\x08\x00" + ip + udp)
    except TimeoutError:
        pass
    path = lab.write_pcap(tmp_path / "ipfix.pcap", frames)
    rows = lab.tshark(path, "cflow.packets", "cflow.octets", "_ws.malformed", "_ws.expert")
    assert rows and all(row[2] == row[3] == "" for row in rows), rows
    packets = sum(int(n) for row in rows for n in row[0].split(";") if n)
    assert packets >= 76


@pytest.mark.parametrize("words, said", [
    (["--ipfix", "nowhere"], "write [udp:|tcp:]HOST:PORT"),
    (["--ipfix", "192.0.2.1"], "write [udp:|tcp:]HOST:PORT"),
    (["--ipfix", "unix:/run/x"], "write [udp:|tcp:]HOST:PORT"),
    (["--ipfix", "192.0.2.1:99999"], "write [udp:|tcp:]HOST:PORT"),
    (["--ipfix", "127.0.0.1:9", "--sample", "1/10"], "leave --sample out"),
    (["--ipfix", "127.0.0.1:9", "--count"], "leave --ipfix out"),
    (["--ipfix-active", "5s"], "say where to with --ipfix"),
])
def test_wrong_words(words, said):
    run = lab.weir("watch", "-i", "lo", *words)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.count("\n") == 1 and said in run.stderr, run.stderr
