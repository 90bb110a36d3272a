# SPDX-License-Identifier: GPL-2.0-only
"""`weir watch --summary` and `--metrics`: each figure against the packets that were sent,
live in the kernel and in user space, and from files."""

import json
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import prometheus
import pytest
import traffic
from lab import Pair, wait_for, weir
from traffic import packet

S = 10**9
BEGIN = 1_700_000_000 * S


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.remove()


def mix(seed, n, step):
    """@n packets of all kinds, @step ns apart; who connects has the higher port."""
    r = random.Random(seed)
    out = []
    for i in range(n):
        kind = r.choice(["tcp", "tcp", "udp", "icmp", "icmpv6", "arp", "other_ip", "other"])
        six = kind == "icmpv6" or (kind in ("tcp", "udp") and r.random() < 0.3)
        net = "2001:db8::" if six else "10.0.0."
        ports = {"sport": 40000 + r.randrange(50), "dport": r.choice([22, 53, 443, 8080])} \
            if kind in ("tcp", "udp") else {}
        out.append(packet(BEGIN + i * step, kind, src=f"{net}{r.randrange(100, 140)}",
                          dst=f"{net}{r.randrange(1, 30)}", size=r.choice([0, 1, 40, 300, 1400]),
                          flags=r.choice([0x02, 0x10, 0x18, 0x11, 0x14, 0x1fd]), **ports))
    return out


def summaries(text):
    return [json.loads(line) for line in text.splitlines()]


def check_sums(told, account):
    """All intervals together are the run."""
    for key in ("seen", "unmatched", "sampled_out", "matched", "delivered"):
        assert sum(one[key] for one in told) == account[key], key
    assert sum(one["packets"] for one in told) == account["delivered"]
    assert sum(one["bytes"] for one in told) == account["delivered_bytes"]
    lost = {}
    for one in told:
        for why, n in one["lost"].items():
            lost[why] = lost.get(why, 0) + n
    assert lost == account["lost"]


def test_file_by_its_own_clock(tmp_path):
    packets = mix(1, 3000, S // 100)  # 30 s
    path = traffic.write(tmp_path / "x.pcap", packets)
    done = weir("watch", "-r", path, "--summary", "10s", "--json")
    assert done.returncode == 0, done.stderr
    told = summaries(done.stdout)
    assert len(told) == 3
    for i, one in enumerate(told):
        assert traffic.nanoseconds(one["ts"]) == BEGIN + i * 10 * S
        traffic.check(one, packets[i * 1000:(i + 1) * 1000])
    assert [one["interval_ns"] for one in told] == [10 * S, 10 * S, 10 * S - S // 100]
    check_sums(told, json.loads(done.stderr))


def test_file_with_silence_and_a_match(tmp_path):
    """A silence is one interval of several lengths; what does not match is only counted."""
    packets = [packet(BEGIN, "udp", sport=9, dport=53), packet(BEGIN + 3 * S, "tcp", dport=80),
               packet(BEGIN + 1000 * S, "udp", sport=9, dport=53),
               packet(BEGIN + 1001 * S, "icmp")]
    path = traffic.write(tmp_path / "x.pcap", packets)
    done = weir("watch", "-r", path, "--summary", "2s", "--json", "udp")
    told = summaries(done.stdout)
    assert [one["interval_ns"] for one in told] == [2 * S, 994 * S, 2 * S, 2 * S, 0]
    assert [one["packets"] for one in told] == [1, 0, 0, 0, 1]
    check_sums(told, json.loads(done.stderr))
    none = weir("watch", "-r", path, "--summary", "2s", "--json", "sctp")
    told = summaries(none.stdout)
    assert len(told) == 1 and "ts" not in told[0] and told[0]["unmatched"] == 4
    check_sums(told, json.loads(none.stderr))


def test_text(tmp_path):
    path = traffic.write(tmp_path / "x.pcap", mix(2, 200, S // 100))
    done = weir("watch", "-r", path, "--summary", "1s")
    assert done.returncode == 0
    assert done.stdout.count("PROTOCOL") == 2 and "TCP FLAGS" in done.stdout
    assert done.stdout.count("+1.0s: 100 seen, 100 matched, 0 lost") == 2
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize("how", [(), ("--capture", "xdp"), ("--capture", "af_packet"),
                                 ("--filter-at", "user"), ("--capture", "pcap", "-Q", "in"),
                                 ("--strict-pcap", "greater 1")],
                         ids=["tc", "xdp", "af_packet", "user", "pcap", "strict"])
def test_live(pair, how):
    """In the kernel or not, the figures are those of the packets."""
    packets = mix(3, 1500, 0)
    watch = pair.b.watch("-i", "vb", "--summary", "500ms", "--json", *how)
    frames = [p.frame for p in packets]
    pair.a.inject("va", frames[:700])
    watch.wait_seen(700)
    pair.a.inject("va", frames[700:])
    watch.wait_seen(1500)
    watch.stop()
    assert watch.status == 0, watch.err
    account = watch.check_account()
    check_sums(watch.json, account)
    assert account["delivered"] == 1500
    # Together they are one interval: the sums are exact, whatever fell into which.
    sums, sizes, flags, _, _ = traffic.expected(packets)
    for name, want in sums.items():
        for key in ("packets", "wire_packets", "bytes"):
            assert sum(one["protocols"][name][key] for one in watch.json) == want[key], name
    for i, want in enumerate(sizes):
        assert sum(one["sizes"][i]["packets"] for one in watch.json) == want["packets"]
        assert sum(one["sizes"][i]["bytes"] for one in watch.json) == want["bytes"]
    for name in traffic.FLAGS:
        assert sum(one["tcp_flags"][name] for one in watch.json) == flags[name], name


@pytest.mark.parametrize("where", ["kernel", "user"])
def test_live_reader_that_lags(pair, where):
    """An interval that ends while packets are queued, and perhaps do not match."""
    packets = mix(8, 1000, 0)
    watch = pair.b.watch("-i", "vb", "--summary", "500ms", "--json", "--filter-at", where,
                         "not host 10.0.0.1")
    for i in range(0, 1000, 250):
        watch.send(signal.SIGSTOP)
        pair.a.inject("va", [p.frame for p in packets[i:i + 250]])
        time.sleep(0.55)
        watch.send(signal.SIGCONT)
        watch.wait_seen(i + 250)
    watch.stop()
    assert watch.status == 0, watch.err
    account = watch.check_account()
    kept = [p for p in packets if "10.0.0.1" not in (p.src, p.dst)]
    assert account["delivered"] == len(kept) < 1000
    check_sums(watch.json, account)


def test_beside_packets_in_a_file(pair, tmp_path):
    packets = mix(4, 300, 0)
    out = tmp_path / "x.pcapng"
    watch = pair.b.watch("-i", "vb", "--summary", "500ms", "-w", out, "--json")
    pair.a.inject("va", [p.frame for p in packets])
    watch.wait_seen(300)
    watch.stop()
    assert watch.status == 0, watch.err
    check_sums(watch.json, watch.check_account())
    assert weir("watch", "-r", out, "--count").stdout == "300 packets\n"


def test_full_table_is_told(pair):
    """What the flow table has no room for is in no sum, but in `lost`."""
    packets = [packet(0, "udp", sport=1000 + i, dport=53) for i in range(3000)]
    watch = pair.b.watch("-i", "vb", "--summary", "500ms", "--flows-max", 16, "--json")
    pair.a.inject("va", [p.frame for p in packets])
    watch.wait_seen(3000)
    watch.stop()
    account = watch.check_account()
    assert account["lost"]["map_full"] > 0
    check_sums(watch.json, account)


# --- --metrics --------------------------------------------------------------

def scrape(pair, port, path="/metrics"):
    with pair.b:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture
def up(pair):
    pair.b.ip("link", "set", "lo", "up")
    return pair


def promtool(text):
    """The real judge, where it is installed."""
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0 and not done.stdout and not done.stderr, done


def test_metrics_are_the_account(up):
    packets = mix(5, 1000, 0)
    watch = up.b.watch("-i", "vb", "--metrics", "9100", "--stats", "json", "not host 10.0.0.1")
    up.a.inject("va", [p.frame for p in packets])
    watch.wait_seen(1000)
    text = scrape(up, 9100)
    series = prometheus.parse(text, "weir_watch_")
    promtool(text)
    account = watch.ask()
    for name in ("seen", "unmatched", "matched", "delivered", "delivered_bytes", "seen_bytes"):
        assert prometheus.value(series, f"weir_watch_{name}_total", iface="vb") == account[name]
    kept = [p for p in packets if "10.0.0.1" not in (p.src, p.dst)]
    assert 0 < len(kept) < 1000
    sums, sizes, flags, _, _ = traffic.expected(kept)
    for name, want in sums.items():
        for key in ("packets", "wire_packets", "bytes"):
            assert prometheus.value(series, f"weir_watch_{key}_total",
                                    protocol=name) == want[key], name
    below = 0
    for most, size in zip(traffic.SIZES, sizes):
        below += size["packets"]
        assert prometheus.value(series, "weir_watch_packet_size_bytes_bucket", le=str(most)) == below
    assert prometheus.value(series, "weir_watch_packet_size_bytes_sum") == \
        sum(len(p.frame) for p in kept)
    for name in traffic.FLAGS:
        assert prometheus.value(series, "weir_watch_tcp_flags_total", flag=name) == flags[name]
    assert not any("top" in name or "10.0.0" in str(labels) for name, labels in series)
    assert watch.stop().status == 0


def test_metrics_are_bounded(up):
    """Many flows, hosts and ports: no more series than before, and at most 500."""
    watch = up.b.watch("-i", "vb", "--metrics", "127.0.0.1:9100", "--metrics-top", 50, "--stats",
                       "json")
    up.a.inject("va", [packet(0, "udp", src=f"10.{i % 7}.{i // 250}.{i % 250}", sport=1024 + i,
                              dport=1 + i % 900).frame for i in range(20000)])
    watch.wait_seen(20000)

    def counted():
        text = scrape(up, 9100)
        series = prometheus.parse(text, "weir_watch_")
        return series if prometheus.value(series, "weir_watch_flows") > 15000 else None
    series = wait_for("the flows to be told of", counted)
    assert len(series) <= 500
    for name in ("top_host_bytes", "top_host_packets", "top_port_bytes", "top_port_packets"):
        assert sum(of == f"weir_watch_{name}" for of, _ in series) == 50
    assert prometheus.value(series, "weir_watch_top_host_packets", host="10.0.0.2") > 0
    assert watch.stop().status == 0


def test_metrics_and_hostile_clients(up):
    watch = up.b.watch("-i", "vb", "--metrics", ":9100", "--stats", "json")
    with pytest.raises(urllib.error.HTTPError) as answer:
        scrape(up, 9100, "/")
    assert answer.value.code == 404
    answer.value.close()
    held = []
    with up.b:
        for _ in range(40):  # more than it takes, each with half a request
            s = socket.create_connection(("127.0.0.1", 9100), timeout=20)
            held.append(s)
            s.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")
        for s in held[:4]:
            try:
                s.send(b"y" * 200000)
            except OSError:
                pass
    up.a.inject("va", [p.frame for p in mix(6, 100, 0)])
    watch.wait_seen(100)  # what it is for goes on
    for s in held:
        s.close()
    assert "weir_watch_info" in wait_for("an answer", lambda: try_scrape(up))
    watch.stop()
    assert watch.status == 0 and watch.check_account()["delivered"] == 100


def try_scrape(pair):
    try:
        return scrape(pair, 9100)
    except OSError:
        return None


def test_metrics_address_in_use(up):
    with up.b:
        s = socket.create_server(("127.0.0.1", 9100))
    done = weir("watch", "-i", "vb", "--metrics", "9100", ns=up.b)
    assert done.returncode == 1 and "another program listens there" in done.stderr
    s.close()


@pytest.mark.parametrize("words", [
    ("--summary", "1s", "--flows"), ("--summary", "1s", "--count"),
    ("--summary", "1s", "--format", "line"), ("--summary", "1s", "-w", "-"),
    ("--summary", "1"), ("--summary", "100ms"), ("--summary", "x"),
    ("--metrics", "9100", "-r", "x"), ("--metrics", "9100", "--count"),
    ("--metrics", "localhost:9100"), ("--metrics", "65536"), ("--metrics", "unix:/tmp/x"),
    ("--metrics-top", "5"), ("--metrics", "9100", "--metrics-top", "51"),
])
def test_usage(pair, words):
    done = weir("watch", *words, *(() if "-r" in words else ("-i", "vb")), ns=pair.b)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done


def test_many_interfaces_are_bounded(up):
    """Fifteen by name and the others as one, and nothing is missing."""
    for i in range(15):
        up.b.ip("link", "add", f"d{i}", "type", "veth", "peer", "name", f"e{i}")
        up.b.ip("link", "set", f"d{i}", "up")
        up.b.ip("link", "set", f"e{i}", "up")
    watch = up.b.watch("-i", "any", "--metrics", "9100", "--metrics-top", 50, "--stats", "json",
                       "udp")
    up.a.inject("va", [packet(0, "udp", src=f"10.1.0.{i % 250}", sport=1024 + i,
                              dport=1 + i % 900).frame for i in range(1000)])

    def counted():
        text = scrape(up, 9100)
        series = prometheus.parse(text, "weir_watch_")
        seen = {dict(labels)["iface"]: n for (name, labels), n in series.items()
                if name == "weir_watch_matched_total"}
        return (series, seen, text) if sum(seen.values()) == 1000 else None
    series, seen, text = wait_for("the packets to be told of", counted)
    promtool(text)
    assert len(series) <= 500 and len(seen) == 16 and "other" in seen
    assert watch.stop().status == 0
