#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tests/vm-smoke.sh [all]: every verb once, on whatever kernel this runs; with
# `all` the programs of tests/bpf before it. Needs root, writes only to /tmp,
# brings its own namespace. Prints `ok NAME`, `not ok NAME: why`, `skip NAME: why`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
weir=$PWD/build/weir
work=$(mktemp -d)
peer=weir-vm-$$
out=wv$$
status=0

cleanup() {
	ip link del "$out" 2>/dev/null
	ip netns del "$peer" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT

# check NAME COMMAND...: ok when COMMAND succeeds; its words are the reason when not.
check() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then
		echo "ok $name"
	else
		echo "not ok $name: $(tail -n 3 <<<"$said" | tr '\n' ' ')"
		status=1
	fi
}

programs() {
	local source name code
	for source in tests/bpf/*.c; do
		name=$(basename "$source" .c)
		case $name in *.bpf) continue ;; esac
		"build/tests/bpf.$name" >"$work/bpf" 2>&1
		code=$?
		sed -n "s#^\(ok\|not ok\|skip\) #&bpf/$name/#p" "$work/bpf"
		case $code in
		0 | 1) grep -q '^\(ok\|not ok\|skip\) ' "$work/bpf" || {
			echo "not ok bpf/$name: told no result"
			status=1
		} ;;
		77) grep -q '^skip ' "$work/bpf" || echo "skip bpf/$name: $(tail -n 1 "$work/bpf")" ;;
		*)
			echo "not ok bpf/$name: exit status $code: $(tail -n 1 "$work/bpf")"
			status=1
			;;
		esac
	done
}

network() {
	ip netns add "$peer" &&
		ip link add "$out" type veth peer name in0 netns "$peer" &&
		ip addr add 192.0.2.1/24 dev "$out" && ip link set "$out" up &&
		ip -n "$peer" addr add 192.0.2.2/24 dev in0 && ip -n "$peer" link set in0 up &&
		ip -n "$peer" link set lo up
}

# Wait until ping gets through: links take a moment to come up.
settled() {
	local i
	for i in $(seq 30); do
		ping -c 1 -W 1 192.0.2.2 >/dev/null && return 0
	done
	echo "no answer from the peer after $i pings"
	return 1
}

# What weir may have left: programs, maps, filters, promiscuity.
state() {
	bpftool prog list | sed -n 's/^[0-9]*: \([a-z_]*\)  name \(weir[a-z_]*\).*/prog \1 \2/p'
	bpftool map list | sed -n 's/^[0-9]*: \([a-z_]*\)  name \(weir[a-z_]*\).*/map \1 \2/p'
	ip -d link show dev "$out" | grep -o 'xdp[a-z/]*\|promiscuity [0-9]*'
	tc qdisc show dev "$out" | grep -o 'clsact'
	tc filter show dev "$out" ingress 2>/dev/null
	tc filter show dev "$out" egress 2>/dev/null
}

# The kernel frees maps and programs a moment after their last user has gone.
left_nothing() {
	local i
	for i in $(seq 60); do
		state >"$work/after"
		cmp -s "$work/before" "$work/after" && return 0
		sleep 0.5
	done
	echo "after $i looks: $(diff "$work/before" "$work/after" | grep '^[<>]')"
	return 1
}

# watch OPTION...: three pings to the peer must be seen, as JSON, and the account even.
watch() {
	pings -i "$out" --protocol icmp "$@"
}

# pings OPTION...: the same, where OPTION says what they are and where they pass.
pings() {
	ping -i 0.3 -c 400 192.0.2.2 >/dev/null &
	local ping=$! code
	timeout 120 "$weir" watch -c 3 --format json "$@" >"$work/json" 2>"$work/err"
	code=$?
	kill $ping
	wait $ping 2>/dev/null
	if [ $code != 0 ]; then
		echo "exit status $code: $(cat "$work/err")"
		return 1
	fi
	jq -s -e 'length == 3 and all(.[]; .v == 1 and .protocol == "icmp" and
		([.src_ip, .dst_ip] | sort) == ["192.0.2.1", "192.0.2.2"])' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 300 "$work/json")"; return 1; }
}

# saying WORD PID: wait until $work/err has WORD, or the process is gone. What the one before
# left there would be taken for its word: begin with rm -f "$work/err".
saying() {
	until grep -qs "$1" "$work/err" || ! kill -0 "$2" 2>/dev/null; do sleep 0.1; done
}

# sums OPTION...: while a program here tells the peer a name by TLS and pings it, watch with
# OPTION writes $work/json, until $awaited is in it; ended by Ctrl-C, with nothing lost.
sums() {
	local pid talker ping code=0 i
	rm -f "$work/err" "$work/talker"
	"$weir" watch -i "$out" "$@" >"$work/json" 2>"$work/err" &
	pid=$!
	saying listening "$pid"
	ping -i 0.2 -c 40 192.0.2.2 >/dev/null &
	ping=$!
	ip netns exec "$peer" python3 -uc 'import socket
s = socket.create_server(("192.0.2.2", 8443))
print("ready")
c, _ = s.accept()
while c.recv(65536):
    pass' >"$work/talker" &
	talker=$!
	until grep -qs ready "$work/talker" || ! kill -0 "$talker" 2>/dev/null; do sleep 0.1; done
	python3 -c 'import socket, ssl, time
hello = ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="smoke.test").do_handshake()
except ssl.SSLWantReadError:
    pass
s = socket.create_connection(("192.0.2.2", 8443))
s.sendall(hello.read())
time.sleep(1)' || code=1
	wait "$talker" || code=1
	kill "$ping" 2>/dev/null
	wait "$ping" 2>/dev/null
	sleep 3
	for i in $(seq 60); do
		grep -qs "${awaited:-}" "$work/json" || [ -z "${awaited:-}" ] && break
		sleep 0.5
	done
	kill -INT "$pid" 2>/dev/null
	wait "$pid" || code=1
	[ $code = 0 ] || { echo "the watch or its traffic failed: $(cat "$work/err")"; return 1; }
	! grep -qE '[1-9][0-9,]* lost|"lost":\{"|"imbalance":-?[1-9]' "$work/err" ||
		{ echo "not an even account: $(cat "$work/err")"; return 1; }
}

# holds FILTER: what sums left, as one array, is as FILTER of jq says.
holds() {
	jq -s -e "$1" "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json") $(cat "$work/err")"; return 1; }
}

names() {
	sums --flows --names --json &&
		holds '[.[] | select(.dst_port == 8443) | .sni] == ["smoke.test"]'
}

owners() {
	sums --flows --owners --json &&
		holds 'all(.[] | select(.dst_port == 8443); .comm == "python3" and .peer_comm == "python3")
			and any(.dst_port == 8443)'
}

# Intervals without a gap, whose sum is what the account has.
summary() {
	sums --summary 500ms --json &&
		holds 'length > 3 and (map(.protocols.icmp.packets) | add) > 3 and
			(map(.packets) | add) == (map(.delivered) | add) and (map(.lost) | add) == {}'
}

alert() {
	awaited=cleared sums --alert 'pings: icmp packets > 3 over 2s clear 0' --json &&
		holds 'map(.event) == ["raised", "cleared"] and (.[0] | .alert == "pings" and .value > 3)'
}

# What comes to a collector is IPFIX: templates first, then the peer's flows.
ipfix() {
	local collector
	rm -f "$work/collector"
	timeout 120 python3 -uc 'import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 4739))
print("ready")
kinds, flows = [], 0
while not flows:
    m = s.recv(65536)
    version, length, _, _, domain = struct.unpack_from("!HHIII", m)
    assert (version, length, domain) == (10, len(m), 3), m
    at = 16
    while at < length:
        kind, size = struct.unpack_from("!HH", m, at)
        kinds.append(kind)
        flows += kind >= 256 and m[at:at + size].count(bytes([192, 0, 2, 2]))
        at += size
assert kinds[0] == 2, kinds' >"$work/collector" 2>&1 &
	collector=$!
	until grep -qs ready "$work/collector" || ! kill -0 "$collector" 2>/dev/null; do sleep 0.1; done
	sums --ipfix 127.0.0.1:4739 --ipfix-domain 3 || { kill "$collector"; return 1; }
	wait "$collector" && grep -q '^ipfix: .* records in ' "$work/err" && ! grep -q 'not sent' "$work/err" ||
		{ echo "$(cat "$work/collector") $(cat "$work/err")"; return 1; }
}

# libpcap's filter as eBPF; refused if it were not.
strict() {
	pings -i "$out" --strict-pcap --filter-at kernel icmp
}

# killed SIGNAL: a running watch told to stop leaves nothing.
killed() {
	"$weir" watch -i "$out" --format json >/dev/null 2>"$work/err" &
	local pid=$! i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		state | grep -q 'prog .*weir_watch' && break
		sleep 1
		kill -0 $pid 2>/dev/null || { echo "ended early: $(cat "$work/err")"; return 1; }
	done
	[ "$i" != 10 ] || { echo "runs without a program"; kill $pid; return 1; }
	sleep 1
	kill "-$1" $pid
	wait $pid 2>/dev/null
	left_nothing
}

# Pings into a full stop: each one is in the row of its reason, and the sum is theirs.
drops() {
	rm -f "$work/err"
	"$weir" drops --json --once --for 1h --dst-ip 192.0.2.2 --by flow >"$work/json" 2>"$work/err" &
	local pid=$!
	saying listening "$pid"
	nft 'add table ip t; add chain ip t c { type filter hook output priority 0; };
		add rule ip t c icmp type echo-request drop' || return 1
	ping -c 5 -i 0.3 -W 1 192.0.2.2 >/dev/null
	nft delete table ip t
	kill -INT "$pid"
	wait "$pid" || { cat "$work/err"; return 1; }
	jq -s -e 'last | .dropped == 5 and (.rows[0] | .reason == "NETFILTER_DROP" and .count == 5) and
		.account.lost == {}' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json")"; return 1; }
}

# Pings to the peer and back are in every step of the account, which adds up.
balance() {
	rm -f "$work/err"
	"$weir" drops --account --json --for 1h >"$work/json" 2>"$work/err" &
	local pid=$!
	saying listening "$pid"
	ping -c 5 -i 0.2 -W 5 192.0.2.2 >/dev/null
	kill -INT "$pid"
	wait "$pid" || { cat "$work/err"; return 1; }
	jq -s -e 'last | .balance | .icmp >= 5 and .sent >= 5 and .lost_on_sending == 0 and
		.received == .lost_before_ip + .freed_before_ip + .residue_before_ip + .ip and
		.delivered == .lost_in_protocols + .freed_in_protocols + .tcp + .icmp + .udp_read +
			.udp_waiting + .residue_in_protocols' "$work/json" >/dev/null ||
		{ echo "wrong output: $(jq -c .balance "$work/json")"; return 1; }
}

# Of the pings that come back each is at its stages, and in the account.
road() {
	rm -f "$work/err"
	"$weir" path --json --once --for 1h --protocol icmp >"$work/json" 2>"$work/err" &
	local pid=$!
	saying following "$pid"
	ping -c 5 -i 0.2 -W 5 192.0.2.2 >/dev/null
	kill -INT "$pid"
	wait "$pid" || { cat "$work/err"; return 1; }
	jq -s -e 'last | .matched == 5 and .seen == .matched + .unmatched + .sampled_out and .lost == {} and
		(.stages[] | select(.name == "stack") | .count) == 5' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json")"; return 1; }
}

doctor() {
	local code
	"$weir" doctor --json >"$work/json" 2>"$work/err"
	code=$?
	# 4 says that something optional is missing, which is doctor's own business.
	[ $code = 0 ] || [ $code = 4 ] || { echo "exit status $code: $(cat "$work/err")"; return 1; }
	jq -e '.v == 1 and (.checks | length) > 5' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 300 "$work/json")"; return 1; }
}

answers() {
	ping -c 2 -i 0.3 -W 1 192.0.2.2 >/dev/null
}

# filter HOOK: a rule in a set drops what comes back, its hits and the account say so,
# `filter test` tells it beforehand, and it all goes again.
filter() {
	"$weir" filter on "$out" --hook "$1" &&
		"$weir" filter set peers add 192.0.2.2 2001:db8::/32 &&
		"$weir" filter deny --name peer src net @peers &&
		"$weir" filter limit --protocol udp --rate 10/s --per source || return 1
	if answers; then
		echo "the peer is not blocked"
		return 1
	fi
	"$weir" filter test icmp 192.0.2.2 192.0.2.1 -i "$out"
	[ $? = 4 ] || { echo "the test passed"; return 1; }
	"$weir" filter list --json >"$work/json" &&
		jq -e '(.rules[] | select(.name == "peer") | .hits) > 0 and
			(.interfaces[0] | .seen == .passed + ([.dropped[]] | add))' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json")"; return 1; }
	"$weir" filter del peer && answers || { echo "still blocked"; return 1; }
	"$weir" unload >/dev/null
}

# A default of drop: replies and what the network needs pass, a stranger does not.
default_drop() {
	"$weir" filter on "$out" --default drop --confirm 60 && answers &&
		"$weir" filter confirm || return 1
	if ip netns exec "$peer" ping -c 1 -W 1 192.0.2.1 >/dev/null; then
		echo "a stranger got in"
		return 1
	fi
	"$weir" unload >/dev/null && ip netns exec "$peer" ping -c 1 -W 1 192.0.2.1 >/dev/null
}

# A port where nothing listens is answered by the listener of another one, for the peer and
# over UDP too; `steer test` tells it, the hits say so, and it all goes again.
greet() {
	exec python3 -c 'import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6, kind)
s.bind(("::", 5201))
if kind == socket.SOCK_STREAM:
    s.listen(8)
    while True:
        c, _ = s.accept()
        c.sendall(b"hello from 5201")
        c.close()
while True:
    _, peer = s.recvfrom(99)
    s.sendto(b"hello from 5201", peer)' "$1"
}

asked() {
	ip netns exec "$peer" python3 -c 'import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.settimeout(20)
s.sendto(b"q", ("192.0.2.1", 5202)) if kind == socket.SOCK_DGRAM else s.connect(("192.0.2.1", 5202))
sys.exit(s.recv(99) != b"hello from 5201")' "$1" 2>/dev/null
}

steer() {
	local pid i code=0
	greet "$1" &
	pid=$!
	for i in 1 2 3 4 5 6 7 8 9 10; do
		"$weir" steer add smoke --protocol "$1" --dst-port 5202 --to 'listen:[::]:5201' && break
		sleep 0.5
	done
	asked "$1" || code=1
	"$weir" steer test "$1" 192.0.2.2:9 192.0.2.1:5202 | grep -q ^STEER || code=2
	"$weir" steer list --json |
		jq -e '.rules[0].hits > 0 and (.account | .seen == .passed + .steered + ([.dropped[]] | add // 0))' \
			>/dev/null || code=3
	kill $pid
	wait $pid 2>/dev/null
	[ "$1" = udp ] || ! asked "$1" || code=4
	"$weir" unload >/dev/null || code=5
	[ $code = 0 ] || echo "step $code failed"
	return $code
}

# Two names at one port, each with a certificate of its own that the client checks; a name
# without a route, and a source that is not allowed, get nothing.
proxy() {
	local name pids="" port=8441 said proxy
	rm -f "$work/log" "$work/err"
	for name in one two; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
			-subj "/CN=$name.test" -addext "subjectAltName=DNS:$name.test" -keyout "$work/$name.key" -out "$work/$name.crt" \
			2>/dev/null || return 1
		openssl s_server -quiet -accept "127.0.0.1:$port" -cert "$work/$name.crt" \
			-key "$work/$name.key" -www >/dev/null 2>&1 &
		pids="$pids $!"
		port=$((port + 1))
	done
	"$weir" proxy --listen 192.0.2.1:443 --allow-source 192.0.2.2 --engine "$1" --log "$work/log" \
		--route "one.test=127.0.0.1:8441" --route "two.test=127.0.0.1:8442" \
		2>"$work/err" &
	proxy=$!
	saying listening "$proxy"
	settled
	said=0
	for name in one two three; do
		visit "$name" || said=$((said + 1))
	done
	"$weir" proxy status >/dev/null && kill "$proxy" && wait "$proxy"
	# The rule store of the allowlist stays for the next one.
	"$weir" unload >/dev/null
	# shellcheck disable=SC2086 # a list
	kill $pids
	cat "$work/err"
	[ "$said" = 1 ] && grep -q '"reason":"no_match"' "$work/log" &&
		[ "$(grep -c '"reason":"done"' "$work/log")" = 2 ]
}

# The congestion control of a connection that begins in a cgroup with a rule.
tune() {
	local root cgroup said
	root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	cgroup=$root/$peer
	mkdir "$cgroup" || return 1
	"$weir" tcp tune add smoke --cgroup "$cgroup" --dst-port 8088 --congestion reno --keepcnt 3 &&
		said=$(sh -c "echo \$\$ >'$cgroup/cgroup.procs' && exec python3 -c '
import socket
s = socket.create_server((\"127.0.0.1\", 8088))
c = socket.create_connection((\"127.0.0.1\", 8088))
print(c.getsockopt(6, 13, 4).decode(), s.accept()[0].getsockopt(6, 6))'")
	"$weir" unload
	rmdir "$cgroup"
	echo "said $said"
	[ "$said" = "reno 3" ]
}

visit() {
	ip netns exec "$peer" curl -s -o /dev/null --max-time 30 --cacert "$work/$1.crt" \
		--resolve "$1.test:443:192.0.2.1" "https://$1.test/"
}

# Datagrams that reached the peer whole, but no socket: of nobody else there are any.
no_port() {
	ip netns exec "$peer" awk '
		$1 == "Udp:" && !column { for (i = 2; i <= NF; i++) if ($i == "NoPorts") column = i
					  next }
		$1 == "Udp:" { print $column }' /proc/net/snmp
}

# What is sent arrives at the peer, and not one packet more.
sent() {
	local before after i
	before=$(no_port)
	"$weir" send udp 192.0.2.1 192.0.2.2:9 -i "$out" -c 20 || return 1
	for i in $(seq 50); do
		after=$(no_port)
		[ $((after - before)) -ge 20 ] && break
		sleep 0.2
	done
	[ $((after - before)) = 20 ] || { echo "$((after - before)) of 20 arrived"; return 1; }
}

# The road of a packet that the filter drops ends there, and says by which rule.
explained() {
	"$weir" filter deny --name stranger src host 192.0.2.2 -i "$out" || return 1
	"$weir" explain udp 192.0.2.2 192.0.2.1:53 -i "$out" --json >"$work/json"
	[ $? = 4 ] || { echo "it passes: $(cat "$work/json")"; return 1; }
	"$weir" unload >/dev/null
	jq -e '.steps[0].rule == "stranger"' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json")"; return 1; }
}

# bypass: two ends in a cgroup skip TCP/IP, and every byte arrives.
bypass() {
	local said
	"$weir" bypass on smoke --cgroup / --force --dst-port 5299 2>"$work/err" || {
		cat "$work/err"
		return 1
	}
	said=$(python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 5299))
c = socket.create_connection(("127.0.0.1", 5299))
a = s.accept()[0]
c.sendall(b"x" * 100000)
c.shutdown(socket.SHUT_WR)
print(sum(len(b) for b in iter(lambda: a.recv(65536), b"")))')
	"$weir" bypass list --json >"$work/json"
	"$weir" bypass off smoke >/dev/null 2>&1
	"$weir" unload >/dev/null
	[ "$said" = 100000 ] || { echo "$said of 100000 bytes"; return 1; }
	jq -e '.rules[0].name == "smoke"' "$work/json" >/dev/null ||
		{ echo "wrong output: $(head -c 600 "$work/json")"; return 1; }
}

# fault: each seventh ping is lost until the fault is taken out, in its form from a file.
faulty() {
	"$weir" fault add smoke --protocol icmp -i "$out" -Q in --nth 7 2>/dev/null &&
		"$weir" fault save "$work/faults" && "$weir" fault clear &&
		"$weir" fault apply "$work/faults" || return 1
	ping -c 14 -i 0.2 -W 1 192.0.2.2 >"$work/ping"
	"$weir" fault list --json >"$work/json" && "$weir" fault clear >/dev/null 2>&1
	"$weir" unload >/dev/null
	grep -q '12 received' "$work/ping" && jq -e '.rules[0].hits == 2' "$work/json" >/dev/null ||
		{ echo "$(tail -n 2 "$work/ping") $(head -c 300 "$work/json")"; return 1; }
}

[ "$(id -u)" = 0 ] || { echo "skip vm-smoke: needs root"; exit 77; }
[ "${1:-}" != all ] || programs
check network network
check settled settled
state >"$work/before"
check version "$weir" version
check doctor doctor
check status "$weir" status
check watch watch
check watch-left-nothing left_nothing
check watch-xdp watch --capture xdp
check watch-xdp-left-nothing left_nothing
check watch-netns pings --netns "$peer" -i in0 --protocol icmp
check watch-netns-left-nothing left_nothing
check watch-any pings -i any --protocol icmp
check watch-any-left-nothing left_nothing
check watch-strict strict
check watch-strict-left-nothing left_nothing
check watch-af-xdp watch --capture af_xdp --take
check watch-af-xdp-left-nothing left_nothing
for part in names owners summary alert ipfix; do
	check watch-$part $part
	check watch-$part-left-nothing left_nothing
done
check drops drops
check drops-left-nothing left_nothing
check drops-account balance
check drops-account-left-nothing left_nothing
for hook in xdp tc netfilter; do
	if [ $hook = netfilter ] && ! "$weir" doctor --json |
		jq -e '.checks[] | select(.name == "netfilter") | .ok' >/dev/null; then
		if "$weir" filter on "$out" --hook netfilter 2>"$work/err"; then
			echo "not ok filter-netfilter: on, without the kernel's help"
			status=1
		fi
		echo "skip filter-netfilter: $(cat "$work/err")"
		continue
	fi
	check filter-$hook filter $hook
	check filter-$hook-left-nothing left_nothing
done
check filter-default-drop default_drop
check filter-default-drop-left-nothing left_nothing
for protocol in tcp udp; do
	check steer-$protocol steer $protocol
	check steer-$protocol-left-nothing left_nothing
done
for engine in splice copy sockmap; do
	check proxy-$engine proxy $engine
	check proxy-$engine-left-nothing left_nothing
done
check fault faulty
check fault-left-nothing left_nothing
check bypass bypass
check bypass-left-nothing left_nothing
check tcp "$weir" tcp --once --json
check path road
check path-left-nothing left_nothing
check send sent
check explain explained
check explain-left-nothing left_nothing
check selftest "$weir" selftest
check selftest-left-nothing left_nothing
check tcp-tune tune
if [ "${1:-}" = all ]; then
	for capture in tc af_packet pcap; do
		if [ $capture = tc ] && ! "$weir" doctor --json |
			jq -e '.checks[] | select(.name == "tcx") | .ok' >/dev/null; then
			echo "skip watch-tc: this kernel has no tcx"
			continue
		fi
		check watch-$capture watch --capture $capture
		check watch-$capture-left-nothing left_nothing
	done
	check watch-user watch --filter-at user
	check watch-perf watch --transport perf
	check watch-sigint killed INT
	check watch-sigterm killed TERM
	check watch-sigkill killed KILL
fi
check unload "$weir" unload
exit $status
