/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "match/ast.h"

/* Expression -> canonical text, which parses back to the same AST. */
static const struct {
	const char *text, *canonical;
} accepted[] = {
	{ "", "" },
	{ " \t\n", "" },
	/* words of their own */
	{ "ip", "ip" },
	{ "ipv6", "ip6" },
	{ "arp", "arp" },
	{ "rarp", "rarp" },
	{ "tcp", "tcp" },
	{ "icmpv6", "icmp6" },
	{ "ah or esp", "proto esp,ah" },
	{ "proto \\tcp", "tcp" },
	{ "ip proto tcp", "ip proto tcp" },
	{ "ip proto 1", "icmp" },
	{ "ip6 proto ipv6-icmp", "icmp6" },
	{ "proto 1", "proto icmp" },
	{ "proto 6 or 17 or 132", "proto tcp,udp,sctp" },
	{ "ip proto 44", "ip proto 44" },
	{ "ether proto 0x0800", "ip" },
	{ "ether proto \\arp", "arp" },
	{ "ether proto 0x88cc", "ether proto lldp" },
	{ "ether proto 2048 or 2054", "ether proto ip,arp" },
	{ "ether proto 0x1234-0x1240", "ether proto 0x1234-0x1240" },
	/* addresses */
	{ "host 10.0.0.1", "host 10.0.0.1" },
	{ "host 2001:DB8:0:0::1", "host 2001:db8::1" },
	{ "src 10.0.0.1", "src host 10.0.0.1" },
	{ "src 10.0.0.0/8", "src net 10.0.0.0/8" },
	{ "src or dst host 10.0.0.1", "host 10.0.0.1" },
	{ "dst or src host 10.0.0.1", "host 10.0.0.1" },
	{ "src and dst net 10", "src and dst net 10.0.0.0/8" },
	{ "net 10.1", "net 10.1.0.0/16" },
	{ "net 10.1.2.3", "host 10.1.2.3" },
	{ "net 192.0.2.0 mask 255.255.255.0", "net 192.0.2.0/24" },
	{ "net 192.0.2 mask 255.255.255.128", "net 192.0.2.0/25" },
	{ "dst net 0.0.0.0/0", "dst net 0.0.0.0/0" },
	{ "net ::/0", "net ::/0" },
	{ "net 2001:db8::/33", "net 2001:db8::/33" },
	/* sets */
	{ "net @bad", "net @bad" },
	{ "host @bad", "net @bad" },
	{ "src @bad", "src net @bad" },
	{ "dst or src net @bad", "net @bad" },
	{ "src and dst host @A-z_9", "src and dst net @A-z_9" },
	{ "ip src net @bad", "ip src net @bad" },
	{ "ip6 host @bad", "ip6 net @bad" },
	{ "arp dst @bad", "arp dst net @bad" },
	{ "not src net @bad", "not src net @bad" },
	{ "src net @bad or @worse", "src net @bad or src net @worse" },
	{ "net (@bad or not 10.0.0.0/8)", "net @bad or not net 10.0.0.0/8" },
	{ "src net 10.0.0.0/8,@bad,::1,11.0.0.0/8",
	  "src net 10.0.0.0/8,11.0.0.0/8,::1 or src net @bad" },
	{ "net @a23456789012345 and tcp", "net @a23456789012345 and tcp" },
	{ "ip host 10.0.0.1", "ip host 10.0.0.1" },
	{ "ip6 src net fe80::/10", "ip6 src net fe80::/10" },
	{ "arp dst 10.0.0.1", "arp dst host 10.0.0.1" },
	{ "ip multicast", "ip dst net 224.0.0.0/4" },
	{ "ip6 multicast", "ip6 dst net ff00::/8" },
	/* lists: sorted, merged, what is covered left out */
	{ "host 10.0.0.2 or host 10.0.0.1 or 10.0.0.1", "host 10.0.0.1,10.0.0.2" },
	{ "net 10.1.0.0/16,10.0.0.0/8,2001:db8::/32", "net 10.0.0.0/8,2001:db8::/32" },
	{ "net ::/0 or 10.0.0.0/8", "net 10.0.0.0/8,::/0" },
	{ "src and dst net 10.0.0.0/8 or 11.0.0.0/8",
	  "src and dst net 10.0.0.0/8 or src and dst net 11.0.0.0/8" },
	{ "port 443,80,81,79-80", "port 79-81,443" },
	{ "port 80 or tcp or port 443", "port 80,443 or tcp" },
	{ "src port 80 or dst port 443", "src port 80 or dst port 443" },
	/* ports */
	{ "tcp port 80", "tcp port 80" },
	{ "udp dst portrange 1-5", "udp dst portrange 1-5" },
	{ "portrange 1-5", "portrange 1-5" },
	{ "port 1-5", "portrange 1-5" },
	{ "portrange 22", "port 22" },
	{ "src and dst port 5", "src and dst port 5" },
	{ "sctp port 0x10", "sctp port 16" },
	{ "port ssh", "tcp port 22" },
	{ "port domain", "port 53" },
	{ "udp port domain", "udp port 53" },
	{ "portrange ftp-data-ssh", "tcp portrange 20-22" },
	{ "portrange 0-65535", "portrange 0-65535" },
	/* implied qualifiers */
	{ "port 80 or 443", "port 80,443" },
	{ "tcp dst port 80 or 443 or ssh", "tcp dst port 22,80,443" },
	{ "not host 10.0.0.1 and 10.0.0.2", "not host 10.0.0.1 and host 10.0.0.2" },
	{ "port (80 or 443)", "port 80,443" },
	{ "port not 80", "not port 80" },
	{ "port 80 or not 443", "port 80 or not port 443" },
	{ "port 80 or (443 or 8080)", "port 80,443,8080" },
	{ "ip proto (tcp or udp)", "ip proto tcp,udp" },
	{ "tcp port 80 or udp port 53 or 123", "tcp port 80 or udp port 53,123" },
	/* precedence: alike, from the left; not binds tightest */
	{ "tcp or udp and ip", "proto tcp,udp and ip" },
	{ "ip and tcp or udp", "(ip and tcp) or udp" },
	{ "ip and (tcp or vlan)", "ip and (tcp or vlan)" },
	{ "tcp or (udp and port 80)", "tcp or (udp and port 80)" },
	{ "ip and (tcp and port 80)", "ip and tcp and port 80" },
	{ "not tcp and udp", "not tcp and udp" },
	{ "not (tcp and udp)", "not (tcp and udp)" },
	{ "! tcp && ! udp || ip", "(not tcp and not udp) or ip" },
	{ "not not tcp", "tcp" },
	{ "!!!tcp", "not tcp" },
	{ "((((tcp))))", "tcp" },
	/* Ethernet */
	{ "ether host 02:00:00:00:00:01", "ether host 02:00:00:00:00:01" },
	{ "ether src 2-0-0-0-0-1", "ether src host 02:00:00:00:00:01" },
	{ "ether src and dst 02:00:00:00:00:01", "ether src and dst host 02:00:00:00:00:01" },
	{ "ether dst ff:ff:ff:ff:ff:ff", "ether broadcast" },
	{ "broadcast or multicast", "ether broadcast or ether multicast" },
	{ "vlan", "vlan" },
	{ "vlan 5", "vlan 5" },
	{ "vlan 5 and vlan 6", "vlan 5 and vlan 6" },
	{ "vlan 5,6,100-200", "vlan 5-6,100-200" },
	/* measures */
	{ "less 100", "len <= 100" },
	{ "greater 100", "len >= 100" },
	{ "len > 1000", "len >= 1001" },
	{ "len = 64", "len 64" },
	{ "len != 64", "len 0-63,65-4294967295" },
	{ "ttl 64", "ttl 64" },
	{ "ttl < 5", "ttl <= 4" },
	{ "ttl<=5", "ttl <= 5" },
	{ "ttl >= 0", "ttl >= 0" },
	{ "ttl != 0", "ttl >= 1" },
	{ "ttl < 5 or ttl > 200", "ttl 0-4,201-255" },
	{ "frag", "frag" },
	{ "frag first or frag later", "frag first or frag later" },
	/* TCP flags */
	{ "tcp flags syn", "tcp flags syn" },
	{ "tcp flags ack,syn", "tcp flags syn,ack" },
	{ "tcp flags syn/syn,ack", "tcp flags syn/syn,ack" },
	{ "tcp flags any syn,fin", "tcp flags any fin,syn" },
	{ "tcp flags != syn", "tcp flags none/syn" },
	{ "tcp flags != syn,ack", "tcp flags != syn,ack" },
	{ "tcp flags != syn/syn,push", "tcp flags != syn/syn,psh" },
	{ "tcp flags none", "tcp flags none/fin,syn,rst,psh,ack,urg,ece,cwr,ae" },
	{ "tcp flags none/ack,rst", "tcp flags none/rst,ack" },
	{ "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp flags any fin,syn" },
	{ "tcp[13] & 2 != 0", "tcp flags syn" },
	{ "tcp[13:1]&2!=0", "tcp flags syn" },
	{ "(tcp[13] & 2) != 0", "tcp flags syn" },
	{ "((tcp[13] & 0x12) = 2)", "tcp flags syn/syn,ack" },
	{ "(tcp[13] & 2 != 0) or udp", "tcp flags syn or udp" },
	{ "tcp[tcpflags] & (tcp-rst|tcp-ack) == (tcp-rst|tcp-ack)", "tcp flags rst,ack" },
	{ "tcp[tcpflags] & (tcp-rst|tcp-ack) == tcp-rst|tcp-ack", "tcp flags rst,ack" },
	{ "tcp[tcpflags] == tcp-syn", "tcp flags syn/fin,syn,rst,psh,ack,urg,ece,cwr" },
	{ "tcp[13] != 0", "tcp flags any fin,syn,rst,psh,ack,urg,ece,cwr" },
	{ "tcp[tcpflags] & tcp-syn == 0", "tcp flags none/syn" },
};

/* Expression -> what the message has to hold. */
static const struct {
	const char *text, *message;
} refused[] = {
	/* words of pcap-filter, each by its name */
	{ "gateway foo", "\"gateway\" at character 1" },
	{ "tcp and inbound", "\"inbound\" at character 9" },
	{ "inbound", "-Q in" },
	{ "outbound", "use --strict-pcap" },
	{ "ip protochain 6", "\"protochain\"" },
	{ "protochain 6", "use --strict-pcap" },
	{ "mpls", "use --strict-pcap" },
	{ "mpls 5", "\"mpls\"" },
	{ "pppoes 5", "use --strict-pcap" },
	{ "pppoed", "use --strict-pcap" },
	{ "geneve 5", "use --strict-pcap" },
	{ "vxlan", "use --strict-pcap" },
	{ "llc", "use --strict-pcap" },
	{ "wlan host 2:0:0:0:0:1", "use --strict-pcap" },
	{ "type mgt", "use --strict-pcap" },
	{ "ifname eth0", "use --strict-pcap" },
	{ "on eth0", "-i IFACE" },
	{ "rulenum 5", "use --strict-pcap" },
	{ "vpi 5", "use --strict-pcap" },
	{ "lane", "use --strict-pcap" },
	{ "stp", "use --strict-pcap" },
	{ "isis", "use --strict-pcap" },
	{ "decnet host 1.2", "use --strict-pcap" },
	{ "rarp host 10.0.0.1", "use --strict-pcap" },
	{ "ip[8] < 5", "use --strict-pcap" },
	{ "icmp[icmptype] == icmp-echo", "use --strict-pcap" },
	{ "ether[0] & 1 != 0", "use --strict-pcap" },
	{ "tcp[0:2] == 80", "use --strict-pcap" },
	{ "tcp[13] & 2 > 0", "use --strict-pcap" },
	{ "tcp[13] + 2 == 5", "use --strict-pcap" },
	{ "tcp[13] & 300 == 5", "use --strict-pcap" },
	{ "len + 5 > 7", "use --strict-pcap" },
	{ "5 < len", "use --strict-pcap" },
	{ "1 = 1", "use --strict-pcap" },
	{ "net 10.0.0.0 mask 255.0.255.0", "use --strict-pcap" },
	{ "ip broadcast", "use --strict-pcap" },
	{ "ether proto 0x8100", "use --strict-pcap" },
	{ "ether proto 5", "use --strict-pcap" },
	{ "ip6 proto 44", "write frag" },
	{ "proto 60", "use --strict-pcap" },
	{ "carp", "use --strict-pcap" },
	/* values */
	{ "host example.com", "\"example.com\" at character 6: not an address: weir does not" },
	{ "host 10.0.0", "write it whole" },
	{ "net 192.0.2.0.1/24", "not a network" },
	{ "host 10.0.0.256", "write it whole" },
	{ "host 1::2::3", "write it whole" },
	{ "host 10.0.0.0/8", "write net" },
	{ "net 10.0.0.1/8", "write 10.0.0.0/8" },
	{ "net 10.0.0.1 mask 255.0.0.0", "write 10.0.0.0/8" },
	{ "net 2001:db8::1/32", "write 2001:db8::/32" },
	{ "net ::ffff:0:0/95", "write ::fffe:0:0/95" },
	{ "net 10.0.0.0/33", "not a network" },
	{ "net 10.0.0.0 mask", "at the end" },
	{ "net 10.0.0.0 mask 8", "\"8\" at character 19" },
	{ "net 2001:db8:: mask 255.0.0.0", "NET/LENGTH" },
	{ "host 02:00:00:00:00:01", "write ether host" },
	{ "ether host 10.0.0.1", "not a MAC address" },
	{ "ip host ::1", "ip has no IPv6 addresses" },
	{ "ip6 host 10.0.0.1", "ip6 has no IPv4 addresses" },
	{ "arp host ::1", "arp has no IPv6 addresses" },
	{ "dst 443", "write dst port 443" },
	{ "10.0.0.1", "write host before it" },
	{ "10.0.0.0/8", "write net before it" },
	{ "port 65536", "0 to 65535" },
	{ "port 080", "not a port" },
	{ "port nosuchservice", "\"nosuchservice\" at character 6" },
	{ "tcp port tftp", "not a tcp port" },
	{ "port 90-80", "write 80-90" },
	{ "port 80,,90", "take out the comma" },
	{ "port 80,", "take out the comma" },
	{ "port 80,x9", "\"x9\" at character 9" },
	{ "proto 256", "0 to 255" },
	{ "proto nosuch", "not a protocol" },
	{ "ether proto nosuch", "not an Ethernet type" },
	{ "vlan 4096", "0 to 4095" },
	{ "vlan x", "not a VLAN identifier" },
	{ "ttl 256", "0 to 255" },
	{ "ttl < 256", "0 to 255" },
	{ "ttl < 0", "never true" },
	{ "ttl", "write ttl 64" },
	{ "len > 4294967296", "0 to 4294967295" },
	{ "less", "at the end" },
	{ "frag second", "\"second\" at character 6" },
	{ "tcp flags", "write tcp flags syn,ack" },
	{ "tcp flags foo", "\"foo\" at character 11: not a TCP flag" },
	{ "tcp flags syn,foo", "\"foo\" at character 15" },
	{ "tcp flags syn/", "not a TCP flag" },
	{ "tcp flags syn/ack", "mask" },
	{ "tcp flags any none", "any needs" },
	{ "tcp[13] & 2 == 4", "mask" },
	{ "tcp[13] & 0 == 0", "mask of 0" },
	{ "tcp[13] & 2", "needs a comparison" },
	{ "tcp[13] & tcp-syn|tcp-fin != 0", "parentheses" },
	{ "tcp[tcpflags] & tcp-foo != 0", "\"tcp-foo\"" },
	/* grammar */
	{ "ip port 80", "ip port does not exist" },
	{ "tcp host 10.0.0.1", "tcp host does not exist" },
	{ "tcp src 10.0.0.1", "tcp src does not exist" },
	{ "ether port 5", "ether port does not exist" },
	{ "src proto tcp", "no direction" },
	{ "nonsense", "see weir-match(7)" },
	{ "vlan 5 or 6", "\"6\" at character 11" },
	{ "tcp or 80", "\"80\" at character 8" },
	{ "port", "needs a value" },
	{ "src and", "needs a value" },
	{ "tcp and", "at the end" },
	{ "and tcp", "\"and\" at character 1" },
	{ "not", "at the end" },
	{ "(tcp", "add )" },
	{ "tcp)", "\")\" at character 4" },
	{ "()", "a test is missing" },
	{ "tcp udp", "put and or or between them" },
	{ "tcp (udp)", "at character 5" },
	{ "port (tcp or 80)", "\"tcp\" at character 7" },
	{ "port (tcp[13] & 2 != 0)", "\"tcp\" at character 7" },
	{ "tcp $", "\"$\" at character 5" },
	{ "tcp\"", "not a character" },
};

static struct weir_match *parse(const char *text)
{
	const struct weir_match_spec spec = { .expression = text, .named_sets = true };
	struct weir_error err = { 0 };
	struct weir_match *m = NULL;

	if (weir_match_parse(&spec, &m, &err) < 0) {
		print_error("%s: %s\n", text, err.msg);
		fail();
	}
	return m;
}

static bool same_list(const void *a, size_t n_a, const void *b, size_t n_b, size_t size)
{
	return n_a == n_b && !memcmp(a, b, n_a * size);
}

static bool same(const struct weir_ast *a, const struct weir_ast *b)
{
	if (a->kind != b->kind || a->dir != b->dir || a->guard != b->guard ||
	    a->depth != b->depth || a->nodes != b->nodes)
		return false;
	switch (a->kind) {
	case WEIR_AST_ALL:
		return true;
	case WEIR_AST_AND:
	case WEIR_AST_OR:
	case WEIR_AST_NOT:
		if (a->sub.n != b->sub.n)
			return false;
		for (size_t i = 0; i < a->sub.n; i++)
			if (!same(a->sub.v[i], b->sub.v[i]))
				return false;
		return true;
	case WEIR_AST_NUM:
		return a->num.what == b->num.what && a->num.l4 == b->num.l4 &&
		       same_list(a->num.v, a->num.n, b->num.v, b->num.n, sizeof(*a->num.v));
	case WEIR_AST_ADDR:
		return a->addr.n_v4 == b->addr.n_v4 && a->addr.set_v4 == b->addr.set_v4 &&
		       a->addr.set_v6 == b->addr.set_v6 &&
		       same_list(a->addr.v, a->addr.n, b->addr.v, b->addr.n, sizeof(*a->addr.v));
	case WEIR_AST_SET:
		return !strcmp(a->set.name, b->set.name) && a->set.index == b->set.index;
	case WEIR_AST_MAC:
		return !memcmp(&a->mac, &b->mac, sizeof(a->mac));
	case WEIR_AST_TCP_FLAGS:
	case WEIR_AST_STATE:
		return a->bits.value == b->bits.value && a->bits.mask == b->bits.mask &&
		       a->bits.differs == b->bits.differs;
	}
	return false;
}

static void accepts_and_prints(void **state)
{
	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(accepted); i++) {
		struct weir_match *m = parse(accepted[i].text), *again;
		struct weir_buf text = { 0 };

		weir_buf_adds(&text, "");
		weir_match_print(m, &text);
		assert_string_equal(text.data, accepted[i].canonical);
		again = parse(text.data);
		if (!same(m->ast, again->ast))
			fail_msg("%s: not the same again as %s", accepted[i].text, text.data);
		weir_match_free(again);
		weir_match_free(m);
		weir_buf_free(&text);
	}
}

static void refuses_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(refused); i++) {
		const struct weir_match_spec spec = { .expression = refused[i].text };
		struct weir_error err = { 0 };
		struct weir_match *m = NULL;

		if (weir_match_parse(&spec, &m, &err) != -EINVAL)
			fail_msg("%s: accepted", refused[i].text);
		assert_null(m);
		if (!strstr(err.msg, refused[i].message) ||
		    strncmp(err.msg, "expression: ", 12) != 0)
			fail_msg("%s: got: %s; want: %s", refused[i].text, err.msg,
				 refused[i].message);
	}
}

static void reads_flags(void **state)
{
	static const struct {
		struct weir_match_spec spec;
		const char *canonical;
	} cases[] = {
		{ { 0 }, "" },
		{ { .protocol = "all" }, "" },
		{ { .protocol = "tcp,all" }, "" },
		{ { .protocol = "tcp" }, "tcp" },
		{ { .protocol = "tcp,udp,sctp" }, "proto tcp,udp,sctp" },
		{ { .protocol = "icmp,icmpv6,icmp6" }, "icmp or icmp6" },
		{ { .protocol = "arp,ip6" }, "ether proto arp,ip6" },
		{ { .protocol = "igmp,esp,gre,ah" }, "igmp or proto gre,esp,ah" },
		{ { .protocol = "200" }, "proto 200" },
		{ { .src_ip = "10.0.0.0/8,2001:db8::/32" }, "src net 10.0.0.0/8,2001:db8::/32" },
		{ { .dst_ip = "192.0.2.1" }, "dst host 192.0.2.1" },
		{ { .src_port = "80,443,8000-8999" }, "src port 80,443,8000-8999" },
		{ { .dst_port = "ssh" }, "tcp dst port 22" },
		{ { .protocol = "tcp,arp", .src_ip = "10.0.0.1", .dst_port = "80",
		    .expression = "vlan or ttl 1" },
		  "(tcp or arp) and src host 10.0.0.1 and dst port 80 and (vlan or ttl 1)" },
		{ { .protocol = "all", .expression = "tcp" }, "tcp" },
		{ { .protocol = "tcp", .expression = "  " }, "tcp" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_error err = { 0 };
		struct weir_buf text = { 0 };
		struct weir_match *m, *again;

		assert_int_equal(weir_match_parse(&cases[i].spec, &m, &err), 0);
		weir_buf_adds(&text, "");
		weir_match_print(m, &text);
		assert_string_equal(text.data, cases[i].canonical);
		assert_int_equal(weir_match_is_all(m), !*text.data);
		again = parse(text.data);
		if (!same(m->ast, again->ast))
			fail_msg("%s: not the same again", text.data);
		weir_match_free(again);
		weir_match_free(m);
		weir_buf_free(&text);
	}
}

static void refuses_flags(void **state)
{
	static const struct {
		struct weir_match_spec spec;
		const char *message;
	} cases[] = {
		{ { .protocol = "foo" }, "--protocol: \"foo\" at character 1: not a protocol" },
		{ { .protocol = "" }, "--protocol: the value is empty" },
		{ { .protocol = "tcp,256" }, "--protocol: \"256\" at character 5: out of range" },
		{ { .src_ip = "example.com" }, "--src-ip: \"example.com\" at character 1: not an" },
		{ { .dst_ip = "10.0.0.1/8" }, "--dst-ip: \"10.0.0.1/8\" at character 1: bits" },
		{ { .dst_ip = "10" }, "--dst-ip: \"10\" at character 1: not an address" },
		{ { .src_port = "80-" }, "--src-port: \"80-\" at character 1: not a port" },
		{ { .dst_port = "80, 90" }, "--dst-port: \" 90\" at character 4" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_error err = { 0 };
		struct weir_match *m = NULL;

		assert_int_equal(weir_match_parse(&cases[i].spec, &m, &err), -EINVAL);
		if (strncmp(err.msg, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("got: %s; want: %s", err.msg, cases[i].message);
	}
}

/* The names of @text, with blanks between. */
static void expect_names(const char *text, const char *names)
{
	struct weir_match *m = parse(text);
	struct weir_buf list = { 0 };

	weir_buf_adds(&list, "");
	for (size_t i = 0; i < weir_match_names(m); i++)
		weir_buf_addf(&list, "%s%s", i ? " " : "", weir_match_name(m, i));
	assert_string_equal(list.data, names);
	weir_buf_free(&list);
	weir_match_free(m);
}

static void names_sets(void **state)
{
	static const struct {
		struct weir_match_spec spec;
		const char *message;
	} cases[] = {
		{ { .expression = "src net @bad" },
		  "expression: \"@bad\" at character 9: sets exist only in `weir filter`: " },
		{ { .dst_ip = "10.0.0.1,@bad" },
		  "--dst-ip: \"@bad\" at character 10: sets exist only in `weir filter`: " },
		{ { .src_ip = "@", .named_sets = true }, "1 to 15 letters" },
		{ { .src_ip = "@a234567890123456", .named_sets = true }, "1 to 15 letters" },
		{ { .src_ip = "@a/8", .named_sets = true }, "1 to 15 letters" },
		{ { .src_ip = "@a@b", .named_sets = true }, "1 to 15 letters" },
		{ { .src_port = "@bad", .named_sets = true }, "not a port" },
		{ { .expression = "@bad", .named_sets = true }, "write src net or dst net" },
		{ { .expression = "port 80 or @bad", .named_sets = true }, "not a port" },
		{ { .expression = "ether host @bad", .named_sets = true }, "not a MAC address" },
		{ { .expression = "net @bad mask 255.0.0.0", .named_sets = true },
		  "not an IPv4 network" },
	};
	const struct weir_match_spec flags = { .src_ip = "@bad,10.0.0.0/8",
					       .dst_ip = "@x",
					       .expression = "not net @bad",
					       .named_sets = true };
	struct weir_error err = { 0 };
	struct weir_buf text = { 0 };
	struct weir_match *m = NULL;

	(void)state;
	expect_names("tcp", "");
	expect_names("src net @b or (dst net @a and not net @b) or ip6 host @c", "b a c");
	assert_int_equal(weir_match_parse(&flags, &m, &err), 0);
	weir_match_print(m, &text);
	assert_string_equal(text.data,
			    "(src net @bad or src net 10.0.0.0/8) and dst net @x and not net @bad");
	weir_buf_free(&text);
	weir_match_free(m);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		m = NULL;
		assert_int_equal(weir_match_parse(&cases[i].spec, &m, &err), -EINVAL);
		assert_null(m);
		if (!strstr(err.msg, cases[i].message))
			fail_msg("%s instead of %s", err.msg, cases[i].message);
	}
}

static void tells_fields(void **state)
{
#define F(name) (1U << WEIR_FIELD_##name)
	static const struct {
		const char *text;
		uint32_t fields;
	} cases[] = {
		{ "", 0 },
		{ "ip or ip6", F(IP) },
		{ "arp", F(ETHER) },
		{ "ether proto lldp", F(ETHER) },
		{ "ether host 2:0:0:0:0:1", F(ETHER) },
		{ "vlan", F(VLAN) },
		{ "host 10.0.0.1", F(IP) },
		{ "arp host 10.0.0.1", F(ETHER) | F(IP) },
		{ "net @bad", F(IP) },
		{ "arp net @bad", F(ETHER) | F(IP) },
		{ "tcp", F(PROTO) },
		{ "icmp", F(PROTO) | F(IP) },
		{ "tcp port 80", F(PORTS) },
		{ "tcp flags syn", F(TCP_FLAGS) },
		{ "less 5", F(LEN) },
		{ "not ttl 5", F(TTL) },
		{ "frag and vlan", F(FRAG) | F(VLAN) },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_match *m = parse(cases[i].text);

		assert_int_equal(weir_match_fields(m), cases[i].fields);
		weir_match_free(m);
	}
	for (unsigned int f = 0; f < WEIR_FIELD_MAX; f++)
		assert_non_null(weir_match_field_name(f));
}

/* @n prefixes of each family */
static void add_nets(struct weir_buf *text, const char *word, unsigned int n)
{
	weir_buf_adds(text, word);
	for (unsigned int i = 0; i < n; i++)
		weir_buf_addf(text, "%s10.%u.0.0/16,2001:db8:%x::/48", i ? "," : "", i, i);
}

static void makes_sets(void **state)
{
	struct weir_buf text = { 0 };
	const struct weir_prefix *list;
	struct weir_match *m;

	(void)state;
	add_nets(&text, "src net ", WEIR_MATCH_SET_MIN - 1);
	m = parse(text.data);
	assert_int_equal(weir_match_sets(m), 0);
	weir_match_free(m);
	weir_buf_reset(&text);
	add_nets(&text, "src net ", WEIR_MATCH_SET_MIN);
	add_nets(&text, " and not dst net ", WEIR_MATCH_SET_MIN);
	m = parse(text.data);
	assert_int_equal(weir_match_sets(m), 4);
	assert_int_equal(weir_match_set(m, 0, &list), WEIR_MATCH_SET_MIN);
	assert_true(list[0].is_v4);
	assert_int_equal(list[0].len, 96 + 16);
	assert_int_equal(weir_match_set(m, 1, &list), WEIR_MATCH_SET_MIN);
	assert_false(list[0].is_v4);
	assert_int_equal(list[0].len, 48);
	weir_match_free(m);
	weir_buf_free(&text);
}

static int try(const struct weir_buf *text, struct weir_error *err)
{
	const struct weir_match_spec spec = { .expression = text->data };
	struct bpf_insn *insns = NULL;
	struct weir_match *m = NULL;
	size_t n;
	int r = weir_match_parse(&spec, &m, err);

	if (!r)
		r = weir_match_codegen(m, NULL, &insns, &n, err);
	free(insns);
	weir_match_free(m);
	return r;
}

static void has_bounds(void **state)
{
	struct weir_error err = { 0 };
	struct weir_buf text = { 0 };

	(void)state;
	/* depth of parentheses, of "not", of alternation */
	for (unsigned int i = 0; i < 100000; i++)
		weir_buf_addc(&text, '(');
	assert_int_equal(try(&text, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "levels"));
	weir_buf_reset(&text);
	for (unsigned int i = 0; i < 30000; i++)
		weir_buf_adds(&text, "not ");
	assert_int_equal(try(&text, &err), -E2BIG);
	weir_buf_reset(&text);
	weir_buf_adds(&text, "tcp");
	for (unsigned int i = 0; i < 100; i++)
		weir_buf_adds(&text, " or vlan and ip6");
	assert_int_equal(try(&text, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "levels"));
	/* tests */
	weir_buf_reset(&text);
	weir_buf_adds(&text, "tcp");
	for (unsigned int i = 0; i < WEIR_AST_NODES_MAX; i++)
		weir_buf_adds(&text, " and ip");
	assert_int_equal(try(&text, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "tests"));
	/* instructions */
	weir_buf_reset(&text);
	weir_buf_adds(&text, "port 1");
	for (unsigned int i = 3; i < 2 * WEIR_MATCH_INSNS_MAX; i += 2)
		weir_buf_addf(&text, ",%u", i);
	assert_int_equal(try(&text, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "--filter-at user"));
	/* text */
	weir_buf_reset(&text);
	for (unsigned int i = 0; i < WEIR_MATCH_TEXT_MAX; i++)
		weir_buf_addc(&text, ' ');
	assert_int_equal(try(&text, &err), 0);
	weir_buf_addc(&text, ' ');
	assert_int_equal(try(&text, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "characters"));
	weir_buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		cmocka_unit_test(accepts_and_prints), cmocka_unit_test(refuses_by_name),
		cmocka_unit_test(reads_flags),	      cmocka_unit_test(refuses_flags),
		cmocka_unit_test(tells_fields),	      cmocka_unit_test(makes_sets),
		cmocka_unit_test(has_bounds),	      cmocka_unit_test(names_sets),
	};

	return cmocka_run_group_tests_name("match.parse", cases, NULL, NULL);
}
