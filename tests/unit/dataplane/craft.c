/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets from words, parsed back; their checksums are judged by the code that
 * watch judges others' with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "cap/watch/packet.h"
#include "dataplane/craft.h"

#define ETHER4 (WEIR_PKT_ETHER | WEIR_PKT_IP4)
#define ETHER6 (WEIR_PKT_ETHER | WEIR_PKT_IP6)
#define TCP (WEIR_PKT_PORTS | WEIR_PKT_TCP)
#define FILE_MAX 128

struct given {
	const char *words; /* with blanks between */
	const char *flags, *vlan[3];
	uint64_t ttl, size, type, code; /* IS(n), 0: not given */
};
#define GIVEN(text, ...) { .words = text, ##__VA_ARGS__ }
#define IS(number) ((number) + 1ull)

static struct weir_craft made;
static struct weir_error err;

/* Options and words of @g; @buf holds the words. */
static int craft(const struct given *g, const char *pcap, const char *hex)
{
	weir_autofree char *text = strdup(g->words);
	struct weir_strv words = { 0 };
	struct weir_craft_opts o;
	char *rest = NULL;

	weir_craft_opts_init(&o);
	o.pcap = pcap;
	o.hex = hex;
	o.flags = g->flags;
	o.ttl = g->ttl - 1;
	o.size = g->size - 1;
	o.icmp_type = g->type - 1;
	o.icmp_code = g->code - 1;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(g->vlan) && g->vlan[i]; i++)
		o.vlan.v[o.vlan.n++] = g->vlan[i];
	for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		words.v[words.n++] = w;
	memset(&made, 0xa5, sizeof(made));
	err.msg[0] = '\0';
	return weir_craft(&o, &words, &made, &err);
}

static struct weir_packet parse(void)
{
	struct weir_packet p = {
		.ev = { .len = (uint32_t)made.len, .caplen = (uint32_t)made.len },
		.data = made.frame,
		.iface = "?",
	};

	weir_parse(&p.hdr, made.frame, made.frame + made.len, WEIR_L2_ETHER, 0, (uint32_t)made.len);
	return p;
}

static void set_addrs(struct weir_pkt *p, const char *src, const char *dst)
{
	struct weir_addr a;

	assert_int_equal(weir_addr_parse(src, &a), 0);
	memcpy(p->src, a.b, sizeof(p->src));
	assert_int_equal(weir_addr_parse(dst, &a), 0);
	memcpy(p->dst, a.b, sizeof(p->dst));
}

/* Everything that the parser tells, but for the Ethernet addresses. */
static void expect(const char *what, const struct weir_pkt *want)
{
	struct weir_packet p = parse();
	struct weir_pkt got = p.hdr;

	memset(got.eth_dst, 0, sizeof(got.eth_dst));
	memset(got.eth_src, 0, sizeof(got.eth_src));
	if (memcmp(&got, want, sizeof(got)) != 0)
		fail_msg("%s: flags %#x proto %u ports %u,%u len %u,%u l4 %u payload %u ttl %u",
			 what, got.flags, got.proto, got.sport, got.dport, got.len, got.l3_len,
			 got.l4_off, got.payload_off, got.ttl);
}

static void makes_what_is_said(void **state)
{
	static const struct {
		struct given given;
		const char *src, *dst;
		struct weir_pkt want; /* without what follows from it: see below */
		enum weir_csum csum;
	} cases[] = {
		{ GIVEN("192.0.2.1 198.51.100.2"), "192.0.2.1", "198.51.100.2",
		  { .flags = ETHER4 | TCP, .proto = 6, .sport = 40000, .dport = 80,
		    .tcp_flags = WEIR_TCP_SYN, .payload_off = 54 }, WEIR_CSUM_OK },
		{ GIVEN("tcp 192.0.2.1:1 -> 198.51.100.2:65535", .flags = "FSRP.UEWe",
			.ttl = IS(0)),
		  "192.0.2.1", "198.51.100.2",
		  { .flags = ETHER4 | TCP, .proto = 6, .sport = 1, .dport = 65535,
		    .tcp_flags = 0x1ff, .payload_off = 54 }, WEIR_CSUM_OK },
		{ GIVEN("6 [2001:db8::1]:22 [::2]:0", .flags = "none", .ttl = IS(255)),
		  "2001:db8::1", "::2",
		  { .flags = ETHER6 | TCP, .proto = 6, .sport = 22, .ttl = 255,
		    .payload_off = 74 }, WEIR_CSUM_OK },
		{ GIVEN("tcp ::1 -> [::2]", .flags = "S."), "::1", "::2",
		  { .flags = ETHER6 | TCP, .proto = 6, .sport = 40000, .dport = 80,
		    .tcp_flags = WEIR_TCP_SYN | WEIR_TCP_ACK, .payload_off = 74 }, WEIR_CSUM_OK },
		{ GIVEN("udp 10.0.0.1:53 10.0.0.2", .size = IS(101)), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4 | WEIR_PKT_PORTS, .proto = 17, .sport = 53, .dport = 80,
		    .len = 101, .payload_off = 42 }, WEIR_CSUM_OK },
		{ GIVEN("udp fe80::1 [ff02::fb]:5353", .vlan = { "5" }, .size = IS(1500)),
		  "fe80::1", "ff02::fb",
		  { .flags = ETHER6 | WEIR_PKT_PORTS, .proto = 17, .sport = 40000, .dport = 5353,
		    .len = 1500, .vlan = { 5 }, .vlans = 1, .payload_off = 66 }, WEIR_CSUM_OK },
		{ GIVEN("icmp 10.0.0.1 -> 10.0.0.2"), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4 | WEIR_PKT_ICMP, .proto = 1, .icmp_type = 8,
		    .payload_off = 42 }, WEIR_CSUM_OK },
		{ GIVEN("icmp 10.0.0.1 10.0.0.2", .type = IS(3), .code = IS(4),
			.vlan = { "100", "4095" }, .size = IS(9216)), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4 | WEIR_PKT_ICMP, .proto = 1, .icmp_type = 3, .icmp_code = 4,
		    .vlan = { 100, 4095 }, .vlans = 2, .len = 9216, .payload_off = 50 },
		  WEIR_CSUM_OK },
		{ GIVEN("icmpv6 fe80::1 ff02::1"), "fe80::1", "ff02::1",
		  { .flags = ETHER6 | WEIR_PKT_ICMP, .proto = 58, .icmp_type = 128,
		    .payload_off = 62 }, WEIR_CSUM_OK },
		{ GIVEN("58 fe80::1 ff02::1", .type = IS(0), .ttl = IS(255)), "fe80::1", "ff02::1",
		  { .flags = ETHER6 | WEIR_PKT_ICMP, .proto = 58, .ttl = 255, .payload_off = 62 },
		  WEIR_CSUM_OK },
		{ GIVEN("sctp 10.0.0.1 10.0.0.2:3868"), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4 | WEIR_PKT_PORTS, .proto = 132, .sport = 40000, .dport = 3868,
		    .payload_off = 46 }, WEIR_CSUM_OK },
		{ GIVEN("udplite ::1 [::2]:9"), "::1", "::2",
		  { .flags = ETHER6 | WEIR_PKT_PORTS, .proto = 136, .sport = 40000, .dport = 9,
		    .payload_off = 62 }, WEIR_CSUM_OK },
		{ GIVEN("dccp 10.0.0.1 10.0.0.2"), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4 | WEIR_PKT_PORTS, .proto = 33, .sport = 40000, .dport = 80,
		    .payload_off = 54 }, WEIR_CSUM_OK },
		{ GIVEN("gre 10.0.0.1 10.0.0.2", .size = IS(80)), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4, .proto = 47, .len = 80 }, WEIR_CSUM_NONE },
		{ GIVEN("255 ::1 ::2"), "::1", "::2",
		  { .flags = ETHER6, .proto = 255 }, WEIR_CSUM_NONE },
		/* ICMPv6 in IPv4, which a name would not get. */
		{ GIVEN("58 10.0.0.1 10.0.0.2"), "10.0.0.1", "10.0.0.2",
		  { .flags = ETHER4, .proto = 58 }, WEIR_CSUM_OK },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		const struct given *g = &cases[i].given;
		struct weir_pkt want = cases[i].want;
		bool v6 = want.flags & WEIR_PKT_IP6;
		struct weir_packet p;

		if (craft(g, NULL, NULL) != 0)
			fail_msg("%s: %s", g->words, err.msg);
		set_addrs(&want, cases[i].src, cases[i].dst);
		want.eth_type = v6 ? 0x86dd : 0x0800;
		want.l3_off = (uint16_t)(14 + 4 * want.vlans);
		want.l4_off = (uint16_t)(want.l3_off + (v6 ? 40 : 20));
		if (!want.ttl && !g->ttl)
			want.ttl = 64;
		if (!want.len)
			want.len = (uint32_t)made.len;
		want.l3_len = want.len - want.l3_off;
		assert_int_equal(made.len, want.len);
		expect(g->words, &want);
		p = parse();
		if (weir_packet_csum(&p) != cases[i].csum)
			fail_msg("%s: the checksum is %d", g->words, (int)weir_packet_csum(&p));
		assert_int_equal(weir_packet_ip_csum(&p), v6 ? WEIR_CSUM_NONE : WEIR_CSUM_OK);
	}
}

static void has_the_headers_of_its_road(void **state)
{
	static const struct {
		struct given given;
		uint8_t start[22]; /* of the frame */
		size_t n;
	} cases[] = {
		{ GIVEN("10.0.0.1 10.0.0.2"), { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0 }, 14 },
		{ GIVEN("10.0.0.1 10.0.0.2", .vlan = { "7" }),
		  { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 8, 0 }, 18 },
		{ GIVEN("::1 ::2", .vlan = { "7", "256" }),
		  { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0, 7, 0x81, 0, 1, 0, 0x86,
		    0xdd }, 22 },
		{ GIVEN("udp 10.0.0.1 239.129.2.3"), { 1, 0, 0x5e, 1, 2, 3 }, 6 },
		{ GIVEN("udp 10.0.0.1 255.255.255.255"), { 255, 255, 255, 255, 255, 255 }, 6 },
		{ GIVEN("udp ::1 ff02::1:2"), { 0x33, 0x33, 0, 1, 0, 2 }, 6 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		if (craft(&cases[i].given, NULL, NULL) != 0)
			fail_msg("%s: %s", cases[i].given.words, err.msg);
		assert_memory_equal(made.frame, cases[i].start, cases[i].n);
	}
}

static void names_the_wrong_word(void **state)
{
	static const struct {
		struct given given;
		const char *message;
	} cases[] = {
		{ GIVEN(""), "a packet is missing" },
		{ GIVEN("tcp"), "no addresses behind \"tcp\"" },
		{ GIVEN("tpc 10.0.0.1 10.0.0.2"), "\"tpc\": not a protocol and not an address" },
		{ GIVEN("256 10.0.0.1 10.0.0.2"), "\"256\": not a protocol: use 0 to 255" },
		{ GIVEN("99999999999999999999 ::1 ::2"), "not a protocol: use 0 to 255" },
		{ GIVEN("tcp 10.0.0 10.0.0.2"), "\"10.0.0\": not an address" },
		{ GIVEN("tcp 10.0.0.0/8 10.0.0.2"), "\"10.0.0.0/8\": not an address" },
		{ GIVEN("tcp [10.0.0.1]:5 10.0.0.2"), "\"[10.0.0.1]:5\": not an address" },
		{ GIVEN("tcp [::1 ::2"), "\"[::1\": not an address" },
		{ GIVEN("tcp [::1]5 ::2"), "\"[::1]5\": not an address" },
		{ GIVEN("tcp :5 ::2"), "\":5\": not an address" },
		{ GIVEN("tcp 11111111111111111111111111111111111111111111111111111:5 ::2"),
		  "not an address" },
		{ GIVEN("tcp 10.0.0.1:65536 10.0.0.2"), "\"10.0.0.1:65536\": not a port" },
		{ GIVEN("tcp 10.0.0.1 10.0.0.2:"), "\"10.0.0.2:\": not a port" },
		{ GIVEN("tcp ::1 [::2]:x"), "\"[::2]:x\": not a port" },
		{ GIVEN("tcp 10.0.0.1"), "no destination behind \"10.0.0.1\"" },
		{ GIVEN("10.0.0.1 ->"), "no destination behind \"->\"" },
		{ GIVEN("10.0.0.1 -> -> 10.0.0.2"), "\"->\": not an address" },
		{ GIVEN("10.0.0.1 10.0.0.2 80"), "\"80\": a word too many" },
		{ GIVEN("10.0.0.1 ::1"), "\"::1\": IPv6, but the source is IPv4" },
		{ GIVEN("::1 10.0.0.1"), "\"10.0.0.1\": IPv4, but the source is IPv6" },
		{ GIVEN("icmp 10.0.0.1:5 10.0.0.2"), "\"10.0.0.1:5\": protocol 1 has no ports" },
		{ GIVEN("gre 10.0.0.1 10.0.0.2:5"), "\"10.0.0.2:5\": protocol 47 has no ports" },
		{ GIVEN("icmp ::1 ::2"), "\"icmp\": IPv6 has no such protocol: write icmp6" },
		{ GIVEN("icmp6 10.0.0.1 10.0.0.2"), "IPv4 has no such protocol: write icmp" },
		{ GIVEN("ah 10.0.0.1 10.0.0.2"), "\"ah\": an extension header" },
		{ GIVEN("44 ::1 ::2"), "\"44\": an extension header" },
		{ GIVEN("::1 ::2", .vlan = { "1", "2", "3" }), "--vlan \"3\": a tag too many" },
		{ GIVEN("::1 ::2", .vlan = { "4096" }), "--vlan \"4096\": not an identifier" },
		{ GIVEN("::1 ::2", .flags = "SA"), "--flags \"SA\": no flag \"A\"" },
		{ GIVEN("::1 ::2", .flags = ""), "--flags is empty" },
		{ GIVEN("udp ::1 ::2", .flags = "S"), "--flags \"S\": the packet is not TCP" },
		{ GIVEN("udp ::1 ::2", .flags = "none"), "the packet is not TCP" },
		{ GIVEN("::1 ::2", .type = IS(1)), "--icmp-type: the packet is not ICMP" },
		{ GIVEN("udp ::1 ::2", .code = IS(1)), "--icmp-code: the packet is not ICMP" },
		{ GIVEN("::1 ::2", .size = IS(73)), "--size 73: such a packet has from 74" },
		{ GIVEN("::1 ::2", .size = IS(9217)), "--size 9217: such a packet has from 74" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		if (craft(&cases[i].given, NULL, NULL) != -EINVAL)
			fail_msg("%s: taken", cases[i].given.words);
		if (!strstr(err.msg, cases[i].message) || !strstr(err.msg, ": "))
			fail_msg("%s instead of %s", err.msg, cases[i].message);
	}
}

static void makes_the_guards_packet(void **state)
{
	struct weir_pkt want = { .flags = ETHER6 | TCP, .eth_type = 0x86dd, .proto = 6,
				 .sport = 50000, .dport = 22, .ttl = 64, .l3_off = 14, .l4_off = 54,
				 .payload_off = 74, .len = 74, .l3_len = 60,
				 .tcp_flags = WEIR_TCP_ACK };
	struct weir_addr src, dst;
	struct weir_packet p;

	(void)state;
	assert_int_equal(weir_addr_parse("2001:db8::1", &src), 0);
	assert_int_equal(weir_addr_parse("2001:db8::2", &dst), 0);
	weir_craft_tcp(&made, &src, 50000, &dst, 22, WEIR_TCP_ACK);
	set_addrs(&want, "2001:db8::1", "2001:db8::2");
	expect("guard", &want);
	p = parse();
	assert_int_equal(weir_packet_csum(&p), WEIR_CSUM_OK);
}

/* Files */

static const struct given no_words = GIVEN("");

static void name_file(char path[FILE_MAX])
{
	int fd;

	snprintf(path, FILE_MAX, "/tmp/weir-craft-%d-XXXXXX", (int)getpid());
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

static int craft_hex(const void *text, size_t n)
{
	char path[FILE_MAX];
	FILE *f;
	int r;

	name_file(path);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fclose(f);
	r = craft(&no_words, NULL, path);
	unlink(path);
	return r;
}

static void reads_digits(void **state)
{
	static const char *const same[] = {
		"0200000000020200000000010800ab",
		" 02 00 00 00 00 02\n02:00:00:00:00:01\t0800\r\nAb\n",
		"\t0x0000:  0200 0000 0002 0200\n\t0x0008:  0000 0001 0800 ab\n",
	};
	static const uint8_t frame[] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0xab };
	static const struct {
		const char *text, *message;
	} wrong[] = {
		{ "", "0 bytes" },
		{ "02 00 00", "3 bytes: a frame begins with an Ethernet header of 14" },
		{ "02 0z", "\"0z\": not hexadecimal" },
		{ "02 0", "\"0\": not hexadecimal: write two digits" },
		{ "020", "\"020\": not hexadecimal" },
		{ "02:", "\"02:\": not hexadecimal" },
		{ "02::02", "\"02::02\": not hexadecimal" },
		{ "0x02", "\"0x02\": not hexadecimal" },
	};
	weir_autofree char *long_text = malloc(70000);

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(same); i++) {
		if (craft_hex(same[i], strlen(same[i])) != 0)
			fail_msg("%s: %s", same[i], err.msg);
		assert_int_equal(made.len, sizeof(frame));
		assert_memory_equal(made.frame, frame, sizeof(frame));
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(wrong); i++) {
		assert_int_equal(craft_hex(wrong[i].text, strlen(wrong[i].text)), -EINVAL);
		if (!strstr(err.msg, wrong[i].message))
			fail_msg("%s instead of %s", err.msg, wrong[i].message);
	}
	assert_non_null(long_text);
	memset(long_text, '0', 70000);
	assert_int_equal(craft_hex(long_text, 2 * WEIR_CRAFT_MAX), 0);
	assert_int_equal(made.len, WEIR_CRAFT_MAX);
	assert_int_equal(craft_hex(long_text, 2 * WEIR_CRAFT_MAX + 2), -E2BIG);
	assert_int_equal(craft_hex(long_text, 70000), -E2BIG);
	assert_int_equal(craft_hex("02\0", 3), -EINVAL);
	assert_int_equal(craft(&no_words, NULL, "/nonexistent/file"), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/file"));
}

/* A capture of one packet (@caplen SIZE_MAX: of none) and what becomes of it. */
static int craft_pcap(int linktype, const uint8_t *b, size_t caplen, size_t len)
{
	const struct pcap_pkthdr h = { .caplen = (uint32_t)caplen, .len = (uint32_t)len };
	char path[FILE_MAX];
	pcap_dumper_t *d;
	pcap_t *p = pcap_open_dead(linktype, 65535);
	int r;

	name_file(path);
	d = pcap_dump_open(p, path);
	assert_non_null(d);
	if (caplen != SIZE_MAX) {
		pcap_dump((u_char *)d, &h, b);
		pcap_dump((u_char *)d, &h, b); /* the first one counts */
	}
	pcap_dump_close(d);
	pcap_close(p);
	r = craft(&no_words, path, NULL);
	unlink(path);
	return r;
}

/* @prefix bytes of another link layer instead of Ethernet's header. */
static void reads_link(int linktype, const uint8_t *prefix, size_t n, const uint8_t *mac)
{
	const struct given g = GIVEN("udp ::1 [::2]:53", .size = IS(200));
	uint8_t packet[512];
	struct weir_craft want;

	assert_int_equal(craft(&g, NULL, NULL), 0);
	want = made;
	if (mac)
		memcpy(want.frame + 6, mac, 6);
	memcpy(packet, prefix, n);
	memcpy(packet + n, want.frame + 14, want.len - 14);
	if (craft_pcap(linktype, packet, n + want.len - 14, n + want.len - 14) != 0)
		fail_msg("link type %d: %s", linktype, err.msg);
	assert_int_equal(made.len, want.len);
	assert_memory_equal(made.frame, want.frame, want.len);
	/* What was not captured is zero, as the payload is. */
	if (craft_pcap(linktype, packet, n + 48, n + want.len - 14) != 0)
		fail_msg("link type %d: %s", linktype, err.msg);
	assert_int_equal(made.len, want.len);
	assert_memory_equal(made.frame, want.frame, want.len);
	/* Where the capture ends inside a header, none is made up. */
	for (size_t cut = 0; cut < n + 48; cut++)
		assert_int_equal(craft_pcap(linktype, packet, cut, n + want.len - 14), -EINVAL);
}

static void reads_captures(void **state)
{
	static const uint8_t sll[16] = { 0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0x86, 0xdd };
	static const uint8_t sll_bare[16] = { 0, 0, 0xff, 0xfe, [14] = 0x86, 0xdd };
	static const uint8_t sll2[20] = { 0x86, 0xdd, 0, 0, 0, 0, 0, 5, 0, 1,
					  0,	6,    2, 0, 0, 0, 0, 9 };
	static const uint8_t ether[14] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd };
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
	static const uint8_t bytes[WEIR_CRAFT_MAX] = { 0x50 };

	(void)state;
	reads_link(DLT_EN10MB, ether, 14, NULL);
	reads_link(DLT_RAW, ether, 0, NULL);
	reads_link(DLT_IPV6, ether, 0, NULL);
	reads_link(DLT_LINUX_SLL, sll, sizeof(sll), mac);
	reads_link(DLT_LINUX_SLL, sll_bare, sizeof(sll_bare), NULL);
	reads_link(DLT_LINUX_SLL2, sll2, sizeof(sll2), mac);
	assert_int_equal(craft_pcap(DLT_RAW, bytes, 20, 20), -EINVAL); /* version 5 */
	assert_non_null(strstr(err.msg, "no Ethernet type"));
	assert_int_equal(craft_pcap(DLT_EN10MB, bytes, 13, 13), -EINVAL);
	assert_int_equal(craft_pcap(DLT_EN10MB, bytes, 60, WEIR_CRAFT_MAX), 0);
	assert_int_equal(craft_pcap(DLT_EN10MB, bytes, 60, WEIR_CRAFT_MAX + 1), -E2BIG);
	assert_int_equal(craft_pcap(DLT_NULL, bytes, 60, 60), -EINVAL);
	assert_non_null(strstr(err.msg, "packets of the kind NULL"));
	assert_int_equal(craft_pcap(DLT_EN10MB, bytes, SIZE_MAX, 0), -EINVAL);
	assert_non_null(strstr(err.msg, "no packet in "));
	assert_int_equal(craft(&no_words, "/nonexistent/file", NULL), -ENOENT);
	assert_int_equal(craft(&no_words, "/proc/self/status", NULL), -EINVAL);
	assert_non_null(strstr(err.msg, "give a pcap or pcapng file"));
}

/* A file has it all: nothing beside it is overlooked. */
static void takes_one_source_only(void **state)
{
	static const struct given beside[] = {
		GIVEN("10.0.0.1"), GIVEN("", .flags = "S"), GIVEN("", .vlan = { "5" }),
		GIVEN("", .ttl = IS(5)), GIVEN("", .size = IS(60)), GIVEN("", .type = IS(8)),
		GIVEN("", .code = IS(8)),
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(beside); i++) {
		assert_int_equal(craft(&beside[i], "x", NULL), -EINVAL);
		assert_non_null(strstr(err.msg, "--pcap has the whole packet: leave "));
		assert_int_equal(craft(&beside[i], NULL, "x"), -EINVAL);
		assert_non_null(strstr(err.msg, "--hex has the whole packet: leave "));
	}
	assert_int_equal(craft(&no_words, "x", "y"), -EINVAL);
	assert_non_null(strstr(err.msg, "leave --hex out"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_what_is_said),
		cmocka_unit_test(has_the_headers_of_its_road),
		cmocka_unit_test(names_the_wrong_word),
		cmocka_unit_test(makes_the_guards_packet),
		cmocka_unit_test(reads_digits),
		cmocka_unit_test(reads_captures),
		cmocka_unit_test(takes_one_source_only),
	};

	return cmocka_run_group_tests_name("dataplane.craft", tests, NULL, NULL);
}
