/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>

#include "cap/watch/format.h"
#include "samples.h"

/* What `tcpdump -nn -S -t` says too, but for what it decodes of DNS and SCTP. */
static const struct {
	const char *name, *line;
} lines[] = {
	{ "tcp_data",
	  "IP 10.0.0.1.443 > 10.0.0.2.51234: Flags [P.], seq 1000:1009, ack 77, win "
	  "502, options [nop,nop,TS val 1 ecr 2], length 9" },
	{ "tcp_syn",
	  "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [S], seq 5, win 64240, options [mss "
	  "1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0" },
	{ "tcp_sack",
	  "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [.], ack 9, win 8192, options "
	  "[nop,nop,sack 2 {10:20}{30:40}], length 0" },
	{ "tcp_bad",
	  "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [R], seq 5, win 8192, length 0 [bad "
	  "tcp cksum 0x1234]" },
	{ "tcp_flags",
	  "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [FPUEW], seq 5, win 8192, urg 9, "
	  "length 0" },
	{ "tcp_null",
	  "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [none], win 8192, length 0" },
	{ "tcp_md5",
	  "IP 10.0.0.1.179 > 10.0.0.2.40000: Flags [.], ack 1, win 8192, options "
	  "[md5,nop,nop], length 0" },
	{ "tcp_rare",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [S], seq 0, win 8192, options [tfo "
	  "0102030405060708,mptcp 4 join,tcp-ao keyid 1,unknown-77 0x09,unknown-28 "
	  "0x8005,nop], length 0" },
	{ "tcp_bad_option",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [S], seq 0, win 8192, options [bad opt], "
	  "length 0" },
	{ "udp",
	  "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 5" },
	{ "udp_no_sum",
	  "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 5" },
	{ "udp_bad_length",
	  "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, bad length 100 of 13" },
	{ "udp6",
	  "IP6 2001:db8::1.5353 > 2001:db8::2.53: UDP, length 5" },
	{ "udp_padded",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1" },
	{ "udplite",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP-Lite, length 4" },
	{ "icmp_echo",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 2, length 11" },
	{ "icmp_reply",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 1, seq 2, length 11" },
	{ "icmp_port",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.1 udp port 53 unreachable, length 38" },
	{ "icmp_host",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.9 unreachable, length 48" },
	{ "icmp_frag",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.9 unreachable - need to frag (mtu "
	  "1400), length 48" },
	{ "icmp_admin",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.9 unreachable - admin prohibited, "
	  "length 48" },
	{ "icmp_time",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP time exceeded in-transit, length 48" },
	{ "icmp_redirect",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP redirect 10.0.0.9 to host 10.0.0.7, length 48" },
	{ "icmp6_echo",
	  "IP6 2001:db8::1 > 2001:db8::2: ICMP6, echo request, id 3, seq 4, length 11" },
	{ "icmp6_port",
	  "IP6 2001:db8::1 > 2001:db8::2: ICMP6, destination unreachable, unreachable "
	  "port, 2001:db8::1 udp port 53, length 57" },
	{ "icmp6_big",
	  "IP6 2001:db8::1 > 2001:db8::2: ICMP6, packet too big, mtu 1280, length 57" },
	{ "nd_ns",
	  "IP6 fe80::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has "
	  "fe80::2, length 32" },
	{ "nd_na",
	  "IP6 fe80::2 > fe80::1: ICMP6, neighbor advertisement, tgt is fe80::2, "
	  "length 32" },
	{ "nd_ra",
	  "IP6 fe80::2 > ff02::1: ICMP6, router advertisement, hop limit 64, lifetime "
	  "1800s, length 80" },
	{ "nd_redirect",
	  "IP6 fe80::2 > fe80::1: ICMP6, redirect, 2001:db8::9 to fe80::9, length 40" },
	{ "mld2",
	  "IP6 fe80::2 > ff02::16: HBH ICMP6, multicast listener report v2, group "
	  "records 1, length 28" },
	{ "arp_request",
	  "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28" },
	{ "arp_reply",
	  "ARP, Reply 10.0.0.2 is-at 02:00:00:00:00:02, length 28" },
	{ "vlan",
	  "vlan 10, p 3, IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1" },
	{ "qinq",
	  "vlan 100, p 1, vlan 20, p 0, DEI, IP6 2001:db8::1.1 > 2001:db8::2.2: Flags "
	  "[S.], seq 0, ack 1, win 8192, length 0" },
	{ "frag_first",
	  "IP 10.0.0.1.1 > 10.0.0.2.53: frag (id 77, offset 0, more) UDP, length 32" },
	{ "frag_last",
	  "IP 10.0.0.1 > 10.0.0.2: frag (id 77, offset 24) udp, length 16" },
	{ "frag6_first",
	  "IP6 2001:db8::1.1 > 2001:db8::2.53: frag (id 5, offset 0, more) UDP, length "
	  "32" },
	{ "frag6_middle",
	  "IP6 2001:db8::1 > 2001:db8::2: frag (id 5, offset 24, more) udp, length 16" },
	{ "ip6_routing",
	  "IP6 2001:db8::1.1 > 2001:db8::2.2: DSTOPT RT (type 0, segleft 1) UDP, "
	  "length 1" },
	{ "ip6_srv6",
	  "IP6 2001:db8::1.1 > 2001:db8::2.2: RT (type 4, segleft 1) UDP, length 1" },
	{ "ip_options",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1" },
	{ "ip_lsrr",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1" },
	{ "ip_timestamp",
	  "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 0, seq 0, length 8" },
	{ "ah6",
	  "IP6 2001:db8::1.1 > 2001:db8::2.2: AH UDP, length 1" },
	{ "esp",
	  "IP 10.0.0.1 > 10.0.0.2: esp spi 0x00000009, seq 10, length 24" },
	{ "ipip",
	  "IP 10.0.0.1 > 10.0.0.2: IP 192.168.0.1.7 > 192.168.0.2.8: UDP, length 2" },
	{ "sctp_init",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: sctp [INIT], length 32" },
	{ "sctp_data",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: sctp [DATA], length 36" },
	{ "dccp",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: dccp request, length 20" },
	{ "igmp",
	  "IP 10.0.0.1 > 224.0.0.251: igmp v2 membership report 224.0.0.251, length 8" },
	{ "proto_253",
	  "IP 10.0.0.1 > 10.0.0.2: proto-253, length 7" },
	{ "bad_ip_sum",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 5 [bad ip cksum 0x1111]" },
	{ "bad_ihl",
	  "ethertype IPv4 (0x0800), length 36 [malformed]" },
	{ "lldp",
	  "ethertype LLDP (0x88cc), length 7" },
	{ "stp",
	  "LLC, dsap 0x42, ssap 0x42, control 0x03, length 9" },
	{ "escapes",
	  "IP 10.0.0.1.80 > 10.0.0.2.1234: Flags [P.], seq 1:34, ack 1, win 8192, "
	  "length 33" },
	{ "tun_udp",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3" },
	{ "tcp_undone",
	  "IP 10.0.0.1.443 > 10.0.0.2.51234: Flags [P.], seq 1000:1009, ack 77, win "
	  "502, options [nop,nop,TS val 1 ecr 2], length 9" },
	{ "udp6_undone",
	  "IP6 2001:db8::1.5353 > 2001:db8::2.53: UDP, length 5" },
	{ "sctp_undone",
	  "IP 10.0.0.1.1 > 10.0.0.2.2: sctp [INIT], length 32" },
};

static void format(struct weir_formatter *f, const struct weir_packet *p, const char *expected)
{
	struct weir_buf out = { 0 };

	weir_format_packet(f, p, &out);
	assert_false(out.failed);
	assert_string_equal(out.data, expected);
	weir_buf_free(&out);
}

static void sample_formats(struct weir_formatter f, const char *name, const char *expected)
{
	struct sample_packet s;

	sample_open(&s, sample_find(name));
	format(&f, &s.p, expected);
	sample_close(&s);
}

static void every_sample(void **state)
{
	(void)state;
	assert_int_equal(sizeof(lines) / sizeof(lines[0]), SAMPLES);
	for (size_t i = 0; i < SAMPLES; i++) {
		struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_NONE };
		char expected[512];

		snprintf(expected, sizeof(expected), "%s\n", lines[i].line);
		sample_formats(f, lines[i].name, expected);
	}
}

static void link_header(void **state)
{
	struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_NONE, .link = true };

	(void)state;
	sample_formats(f, "udp",
		       "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4 (0x0800), "
		       "length 47: 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 5\n");
	sample_formats(f, "vlan",
		       "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 802.1Q (0x8100), "
		       "length 47: vlan 10, p 3, ethertype IPv4 (0x0800), "
		       "10.0.0.1.1 > 10.0.0.2.2: UDP, length 1\n");
	sample_formats(f, "arp_request",
		       "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), "
		       "length 42: Request who-has 10.0.0.2 tell 10.0.0.1, length 28\n");
	sample_formats(f, "tun_udp",
		       "ethertype IPv4 (0x0800), length 31: 10.0.0.1.1 > 10.0.0.2.2: "
		       "UDP, length 3\n");
	f.quiet = true;
	sample_formats(f, "tcp_data",
		       "02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4, length 75: "
		       "10.0.0.1.443 > 10.0.0.2.51234: tcp 9\n");
}

static const uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

static void service_names(void **state)
{
	struct weir_buf out = { 0 };
	struct weir_formatter f = { .time = WEIR_TIME_NONE };

	(void)state;
	if (!weir_format_service(53, IPPROTO_UDP))
		skip(); /* no /etc/services here */
	assert_null(weir_format_service(2, IPPROTO_UDP));
	weir_format_end(&out, v6, 53, true, IPPROTO_UDP, false);
	assert_string_equal(out.data, "[2001:db8::1]:domain");
	weir_buf_free(&out);
	sample_formats(f, "udp", "IP 10.0.0.1.mdns > 10.0.0.2.domain: UDP, length 5\n");
	sample_formats(f, "icmp_port",
		       "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.1 udp port domain unreachable, "
		       "length 38\n");
}

static void times(void **state)
{
	struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_EPOCH };
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("tun_udp"));
	format(&f, &s.p, "1767323045.123456 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.time = WEIR_TIME_CLOCK;
	format(&f, &s.p, "03:04:05.123456 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.time = WEIR_TIME_DATE;
	format(&f, &s.p, "2026-01-02 03:04:05.123456 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.time = WEIR_TIME_DELTA;
	format(&f, &s.p, " 00:00:00.000000 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	s.p.ev.ts += 3723000001000ULL;
	format(&f, &s.p, " 01:02:03.000001 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	s.p.ev.ts -= 1000;
	format(&f, &s.p, "-00:00:00.000001 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.time = WEIR_TIME_FIRST;
	format(&f, &s.p, " 01:02:03.000000 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	sample_close(&s);
}

static void where_and_verdict(void **state)
{
	struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_NONE };
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("tun_udp"));
	s.p.ev.dir = WEIR_WATCH_IN;
	format(&f, &s.p, "In  IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.show_iface = true;
	s.p.ev.dir = WEIR_WATCH_OUT;
	format(&f, &s.p, "eth0 Out IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	s.p.iface = "e\033[2J";
	s.p.ev.dir = WEIR_WATCH_UNKNOWN;
	format(&f, &s.p, "e.[2J IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	f.show_iface = false;
	s.p.ev.verdict = WEIR_WATCH_PASS;
	s.p.rule = "filter/bad";
	format(&f, &s.p, "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3\n");
	s.p.ev.verdict = WEIR_WATCH_DROP;
	format(&f, &s.p, "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3  DROP filter/bad\n");
	f.colour = true;
	format(&f, &s.p,
	       "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3  \033[1;31mDROP filter/bad\033[0m\n");
	f.colour = false;
	s.p.ev.verdict = WEIR_WATCH_TX;
	s.p.rule = "dns";
	format(&f, &s.p, "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 3  TX dns\n");
	sample_close(&s);
}

/* An offloaded checksum is never called bad. */
static void offloaded(void **state)
{
	struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_NONE };
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("tcp_bad"));
	s.p.ev.gso_size = 1448;
	format(&f, &s.p,
	       "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [R], seq 5, win 8192, length 0\n");
	s.p.ev.gso_size = 0;
	s.p.ev.flags |= WEIR_WATCH_CSUM_UNDONE;
	format(&f, &s.p,
	       "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [R], seq 5, win 8192, length 0\n");
	sample_close(&s);
}

static void cut(void **state)
{
	static const struct {
		const char *name, *line;
		uint32_t caplen;
	} cuts[] = {
		{ "udp", "[|ether]\n", 13 },
		{ "udp", "IPv4 [|ip]\n", 33 },
		{ "udp", "IP 10.0.0.1 > 10.0.0.2: [|udp]\n", 37 },
		{ "udp", "IP 10.0.0.1.5353 > 10.0.0.2.53: [|udp]\n", 41 },
		{ "udp", "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 5\n", 42 },
		{ "tcp_syn", "IP 10.0.0.1.51234 > 10.0.0.2.443: [|tcp]\n", 53 },
		{ "tcp_syn", "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [S], seq 5, win 64240, "
			     "options [|tcp], length 0\n", 60 },
		{ "icmp_port", "IP 10.0.0.1 > 10.0.0.2: ICMP unreachable [|icmp], "
			       "length 38\n", 45 },
		{ "nd_ns", "IP6 fe80::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation "
			   "[|icmp6], length 32\n", 62 },
		{ "mld2", "IP6 fe80::2 > ff02::16: [|ip6]\n", 58 },
		{ "sctp_data", "IP 10.0.0.1.1 > 10.0.0.2.2: sctp [|sctp], length 36\n", 48 },
		{ "arp_reply", "ARP, [|arp]\n", 30 },
		{ "vlan", "802.1Q [|vlan]\n", 16 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct weir_formatter f = { .numeric = true, .time = WEIR_TIME_NONE };
		uint8_t bytes[SAMPLE_MAX];
		uint32_t n = sample_bytes(sample_find(cuts[i].name), bytes);
		struct sample_packet s;

		sample_cut(&s, bytes, n, cuts[i].caplen, true);
		format(&f, &s.p, cuts[i].line);
		sample_close(&s);
	}
}

static void ends_and_names(void **state)
{
	static const uint8_t v4[16] = { [10] = 0xff, 0xff, 10, 0, 0, 1 };
	struct weir_buf out = { 0 };

	(void)state;
	weir_format_end(&out, v4, 443, true, IPPROTO_TCP, true);
	weir_buf_addc(&out, ' ');
	weir_format_end(&out, v6, 53, true, IPPROTO_UDP, true);
	weir_buf_addc(&out, ' ');
	weir_format_end(&out, v6, 0, false, IPPROTO_UDP, false);
	weir_buf_addc(&out, ' ');
	weir_format_proto_name(&out, IPPROTO_ICMPV6);
	weir_buf_addc(&out, ' ');
	weir_format_proto_name(&out, 253);
	assert_string_equal(out.data,
			    "10.0.0.1:443 [2001:db8::1]:53 2001:db8::1 icmpv6 proto-253");
	weir_buf_free(&out);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_sample),
		cmocka_unit_test(link_header),
		cmocka_unit_test(service_names),
		cmocka_unit_test(times),
		cmocka_unit_test(where_and_verdict),
		cmocka_unit_test(offloaded),
		cmocka_unit_test(cut),
		cmocka_unit_test(ends_and_names),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
