/* SPDX-License-Identifier: GPL-2.0-only */
/* What expressions mean, on a table of packets; each has a letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "match/match.h"

#define ETHER WEIR_PKT_ETHER
#define V4 (WEIR_PKT_ETHER | WEIR_PKT_IP4)
#define V6 (WEIR_PKT_ETHER | WEIR_PKT_IP6)
#define TCP (WEIR_PKT_PORTS | WEIR_PKT_TCP)
#define FIRST (WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_MORE)
#define LATER (WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER)

static const struct {
	char letter;
	const char *src, *dst;
	struct weir_pkt p;
} table[] = {
	{ 'a', "10.0.0.1", "192.0.2.1",
	  { .flags = V4 | TCP, .eth_type = 0x0800, .proto = 6, .sport = 1234, .dport = 80,
	    .tcp_flags = WEIR_TCP_SYN, .ttl = 64, .len = 74, .eth_src = { 2, 0, 0, 0, 0, 1 },
	    .eth_dst = { 2, 0, 0, 0, 0, 2 } } },
	{ 'b', "10.0.0.2", "10.0.0.1",
	  { .flags = V4 | WEIR_PKT_PORTS, .eth_type = 0x0800, .proto = 17, .sport = 53,
	    .dport = 5353, .ttl = 64, .len = 100, .vlans = 1, .vlan = { 0x6005 },
	    .eth_src = { 2, 0, 0, 0, 0, 2 }, .eth_dst = { 2, 0, 0, 0, 0, 1 } } },
	{ 'c', "2001:db8::1", "fe80::1",
	  { .flags = V6 | TCP, .eth_type = 0x86dd, .proto = 6, .sport = 443, .dport = 40000,
	    .tcp_flags = WEIR_TCP_SYN | WEIR_TCP_ACK, .ttl = 1, .len = 1514, .vlans = 2,
	    .vlan = { 100, 5 } } },
	{ 'd', "10.0.0.1", "224.0.0.5",
	  { .flags = V4 | WEIR_PKT_ICMP, .eth_type = 0x0800, .proto = 1, .ttl = 5, .len = 98,
	    .eth_dst = { 1, 0, 0x5e, 0, 0, 5 } } },
	{ 'e', "fe80::1", "ff02::1",
	  { .flags = V6 | WEIR_PKT_ICMP, .eth_type = 0x86dd, .proto = 58, .ttl = 255, .len = 86,
	    .eth_dst = { 0x33, 0x33, 0, 0, 0, 1 } } },
	{ 'f', "10.0.0.1", "10.0.0.2",
	  { .flags = ETHER | WEIR_PKT_ARP, .eth_type = 0x0806, .len = 60,
	    .eth_dst = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } } },
	{ 'g', "10.0.0.1", "192.0.2.1",
	  { .flags = V4 | LATER, .eth_type = 0x0800, .proto = 6, .frag_off = 1480, .ttl = 64,
	    .len = 500 } },
	{ 'h', "10.0.0.2", "10.0.0.1",
	  { .flags = V4 | FIRST | WEIR_PKT_PORTS, .eth_type = 0x0800, .proto = 17, .sport = 53,
	    .dport = 53, .ttl = 64, .len = 1514 } },
	{ 'i', "2001:db8::1", "2001:db8:1::1",
	  { .flags = V6 | TCP | WEIR_PKT_AH, .eth_type = 0x86dd, .proto = 6, .sport = 22,
	    .dport = 22, .tcp_flags = WEIR_TCP_FIN | WEIR_TCP_AE, .ttl = 64, .len = 120 } },
	{ 'j', "172.16.0.1", "10.0.0.1",
	  { .flags = WEIR_PKT_IP4 | WEIR_PKT_PORTS, .eth_type = 0x0800, .proto = 132, .sport = 80,
	    .dport = 80, .ttl = 64, .len = 60 } },
	{ 'k', "::", "::",
	  { .flags = ETHER, .eth_type = 0x88cc, .len = 60,
	    .eth_dst = { 1, 0x80, 0xc2, 0, 0, 0xe } } },
	{ 'l', "10.0.0.9", "10.0.0.8",
	  { .flags = V4 | WEIR_PKT_PORTS, .eth_type = 0x0800, .proto = 33, .sport = 80, .dport = 80,
	    .ttl = 64, .len = 60 } },
	{ 'm', "10.0.0.9", "10.0.0.8",
	  { .flags = V4 | WEIR_PKT_TRUNCATED, .eth_type = 0x0800, .proto = 17, .ttl = 64,
	    .len = 60 } },
	{ 'n', "::ffff:10.0.0.1", "2001:db8::2",
	  { .flags = V6 | WEIR_PKT_PORTS, .eth_type = 0x86dd, .proto = 17, .sport = 53,
	    .dport = 53, .ttl = 64, .len = 60 } },
	{ 'o', "::", "::", { .flags = ETHER | WEIR_PKT_ARP, .eth_type = 0x0806, .len = 60 } },
};

static const struct {
	const char *text, *letters;
} cases[] = {
	{ "", "abcdefghijklmno" },
	/* families and protocols: a later fragment has one, a cut packet too */
	{ "ip", "abdghjlm" },
	{ "ip6", "cein" },
	{ "arp", "fo" },
	{ "ether proto lldp", "k" },
	{ "tcp", "acgi" },
	{ "udp", "bhmn" },
	{ "ip proto tcp", "ag" },
	{ "ip6 proto tcp", "ci" },
	{ "icmp", "d" },
	{ "icmp6", "e" },
	{ "sctp", "j" },
	{ "dccp", "l" },
	{ "ah", "i" },
	{ "proto 51", "i" },
	{ "ip proto ah", "" },
	{ "esp or ah", "i" },
	{ "proto 0-5", "d" },
	/* addresses: ARP's too; an IPv4 address in an IPv6 packet is none */
	{ "host 10.0.0.1", "abdfghj" },
	{ "src host 10.0.0.1", "adfg" },
	{ "dst host 10.0.0.1", "bhj" },
	{ "src and dst net 10.0.0.0/8", "bfhlm" },
	{ "ip host 10.0.0.1", "abdghj" },
	{ "arp host 10.0.0.1", "f" },
	{ "arp src host 10.0.0.2", "" },
	{ "host 0.0.0.0", "" },
	{ "net 0.0.0.0/0", "abdfghjlm" },
	{ "net ::/0", "cein" },
	{ "net ::fffe:0:0/95", "n" },
	{ "host fe80::1", "ce" },
	{ "src host fe80::1 or 192.0.2.1", "e" },
	{ "host fe80::1 or 192.0.2.1", "aceg" },
	{ "net 2001:db8::/47", "cin" },
	{ "net 2001:db8::/48", "cin" },
	{ "dst net 2001:db8:1::/48", "i" },
	{ "ip multicast", "d" },
	{ "ip6 multicast", "e" },
	/* ports: of TCP, UDP and SCTP, and not in later fragments */
	{ "port 80", "aj" },
	{ "tcp port 80", "a" },
	{ "sctp port 80", "j" },
	{ "not port 80", "bcdefghiklmno" },
	{ "src port 53", "bhn" },
	{ "src and dst port 53", "hn" },
	{ "port 0", "" },
	{ "portrange 0-65535", "abchijn" },
	{ "port 22 or 443", "ci" },
	/* VLAN: any tag, and nothing else changes */
	{ "vlan", "bc" },
	{ "vlan 5", "bc" },
	{ "vlan 100", "c" },
	{ "vlan 100 and vlan 5", "c" },
	{ "vlan and udp port 53", "b" },
	{ "vlan 0", "" },
	/* Ethernet */
	{ "ether host 02:00:00:00:00:01", "ab" },
	{ "ether src 02:00:00:00:00:01", "a" },
	{ "ether dst 02:00:00:00:00:01", "b" },
	{ "ether broadcast", "f" },
	{ "ether multicast", "defk" },
	{ "ether host 0:0:0:0:0:0", "cdefghiklmno" },
	/* measures */
	{ "less 60", "fjklmno" },
	{ "greater 1514", "ch" },
	{ "len 74", "a" },
	{ "len > 98 and len < 500", "bi" },
	{ "ttl 1", "c" },
	{ "ttl < 5", "c" },
	{ "ttl <= 5", "cd" },
	{ "ttl != 64", "cde" },
	{ "ttl >= 0", "abcdeghijlmn" },
	{ "not ttl >= 0", "fko" },
	/* fragments */
	{ "frag", "gh" },
	{ "frag first", "h" },
	{ "frag later", "g" },
	{ "udp and not frag", "bmn" },
	/* TCP flags */
	{ "tcp flags syn", "ac" },
	{ "tcp flags syn,ack", "c" },
	{ "tcp flags syn/syn,ack", "a" },
	{ "tcp flags any fin,ack", "ci" },
	{ "tcp flags none/syn", "i" },
	{ "not tcp flags syn", "bdefghijklmno" },
	{ "tcp flags ae", "i" },
	{ "tcp flags != syn,ack", "ai" },
	{ "tcp[tcpflags] == tcp-fin", "i" },
	{ "tcp flags fin/fin,syn,rst,psh,ack,urg,ece,cwr,ae", "" },
	{ "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "aci" },
	/* together */
	{ "tcp or udp and port 53", "bhn" },
	{ "tcp or (udp and port 53)", "abcghin" },
	{ "not (ip or ip6)", "fko" },
	{ "not ip and not ip6", "fko" },
	{ "not host 10.0.0.1 and 10.0.0.2", "" },
	{ "not (host 10.0.0.1 or 10.0.0.2)", "ceiklmno" },
};

/* @ten is 10.0.0.0/8 and fe80::1, @all is everything. */
static bool in_set(void *arg, size_t i, const uint8_t addr[16])
{
	static const uint8_t ten[13] = { [10] = 0xff, 0xff, 10 };
	static const uint8_t link_local[16] = { 0xfe, 0x80, [15] = 1 };
	const struct weir_match *m = arg;

	return !strcmp(weir_match_name(m, i), "all") || !memcmp(addr, ten, sizeof(ten)) ||
	       !memcmp(addr, link_local, sizeof(link_local));
}

static void find(const struct weir_match_spec *spec, char *ret)
{
	weir_cleanup(weir_match_freep) struct weir_match *m = NULL;
	struct weir_error err = { 0 };

	if (weir_match_parse(spec, &m, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(table); i++) {
		struct weir_pkt p = table[i].p;
		struct weir_addr src, dst;

		assert_int_equal(weir_addr_parse(table[i].src, &src), 0);
		assert_int_equal(weir_addr_parse(table[i].dst, &dst), 0);
		memcpy(p.src, src.b, sizeof(p.src));
		memcpy(p.dst, dst.b, sizeof(p.dst));
		if (spec->named_sets ? weir_match_eval_sets(m, &p, in_set, m) :
				       weir_match_eval(m, &p))
			*ret++ = table[i].letter;
	}
	*ret = '\0';
}

static void means(void **state)
{
	char got[WEIR_ARRAY_SIZE(table) + 1];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		const struct weir_match_spec spec = { .expression = cases[i].text };

		find(&spec, got);
		if (strcmp(got, cases[i].letters) != 0)
			fail_msg("%s: got %s, want %s", cases[i].text, got, cases[i].letters);
	}
}

static void flags_mean(void **state)
{
	static const struct {
		struct weir_match_spec spec;
		const char *letters;
	} flags[] = {
		{ { .protocol = "all" }, "abcdefghijklmno" },
		{ { .protocol = "tcp,icmp" }, "acdgi" },
		{ { .protocol = "arp", .src_ip = "10.0.0.1" }, "f" },
		{ { .src_ip = "10.0.0.0/8,2001:db8::/32" }, "abcdfghilm" },
		{ { .dst_ip = "10.0.0.1", .dst_port = "53,80" }, "hj" },
		{ { .src_port = "22,53" }, "bhin" },
		{ { .protocol = "udp", .expression = "frag or vlan" }, "bh" },
	};
	char got[WEIR_ARRAY_SIZE(table) + 1];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(flags); i++) {
		find(&flags[i].spec, got);
		assert_string_equal(got, flags[i].letters);
	}
}

static void sets_mean(void **state)
{
	static const struct {
		struct weir_match_spec spec;
		const char *letters;
	} named[] = {
		{ { .expression = "net @all" }, "abcdefghijlmn" },
		{ { .expression = "net @ten" }, "abcdefghjlm" },
		{ { .expression = "src net @ten" }, "abdefghlm" },
		{ { .expression = "not dst host @ten" }, "adegikno" },
		{ { .expression = "src and dst net @ten" }, "bfhlm" },
		{ { .expression = "src and dst net @all" }, "abcdefghijlm" },
		{ { .expression = "ip net @ten" }, "abdghjlm" },
		{ { .expression = "ip6 net @ten" }, "ce" },
		{ { .expression = "arp dst @ten" }, "f" },
		{ { .src_ip = "@ten,172.16.0.1" }, "abdefghjlm" },
		{ { .src_ip = "@ten", .dst_ip = "224.0.0.5,@all", .protocol = "icmp" }, "d" },
	};
	char got[WEIR_ARRAY_SIZE(table) + 1];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(named); i++) {
		struct weir_match_spec spec = named[i].spec;

		spec.named_sets = true;
		find(&spec, got);
		if (strcmp(got, named[i].letters) != 0)
			fail_msg("case %zu: got %s, want %s", i, got, named[i].letters);
	}
}

/* Long lists are searched, short ones too: against a plain look at each. */
static void finds_in_lists(void **state)
{
	weir_autobuf struct weir_buf text = { 0 };
	weir_cleanup(weir_match_freep) struct weir_match *m = NULL;
	struct weir_match_spec spec = { 0 };
	struct weir_error err = { 0 };
	struct weir_pkt p = { .flags = WEIR_PKT_IP4, .src = { [10] = 0xff, 0xff } };

	(void)state;
	for (unsigned int i = 0; i < 256; i += 3)
		weir_buf_addf(&text, "%s10.%u.0.0/%u", i ? "," : "", i, i % 2 ? 16 : 20);
	spec.src_ip = text.data;
	assert_int_equal(weir_match_parse(&spec, &m, &err), 0);
	p.src[12] = 10;
	for (unsigned int i = 0; i < 0x10000; i++) {
		unsigned int second = i >> 8, third = i & 0xff;

		p.src[13] = (uint8_t)second;
		p.src[14] = (uint8_t)third;
		assert_int_equal(weir_match_eval(m, &p),
				 second % 3 == 0 && (second % 2 || third < 16));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(means),
		cmocka_unit_test(flags_mean),
		cmocka_unit_test(sets_mean),
		cmocka_unit_test(finds_in_lists),
	};

	return cmocka_run_group_tests_name("match.eval", tests, NULL, NULL);
}
