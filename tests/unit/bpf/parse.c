/* SPDX-License-Identifier: GPL-2.0-only */
/* Each rule of the parser by an example, then every cut of every combination. */
#include "bpf/parse.bpf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../fuzz/oracle_parse.h"
#include "frames.h"

#define IP4_SRC                                                      \
	{                                                            \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1 \
	}
#define IP4_DST                                                         \
	{                                                               \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 198, 51, 100, 2 \
	}
#define IP6_SRC                               \
	{                                     \
		0x20, 1, 0x0d, 0xb8, [15] = 1 \
	}
#define IP6_DST                               \
	{                                     \
		0x20, 1, 0x0d, 0xb8, [15] = 2 \
	}

#define WANT_ETHER .eth_dst = { 0x02, 0, 0, 0, 0, 0x0d }, .eth_src = { 0x06, 0, 0, 0, 0, 0x05 }
#define WANT_IP4 .src = IP4_SRC, .dst = IP4_DST, .ttl = 61, .tos = 0x28
#define WANT_IP6 .src = IP6_SRC, .dst = IP6_DST, .ttl = 62, .tos = 0xb8
#define WANT_PORTS .sport = 0x1234, .dport = 443

#define ETHER WEIR_PKT_ETHER
#define ETHER4 (WEIR_PKT_ETHER | WEIR_PKT_IP4)
#define ETHER6 (WEIR_PKT_ETHER | WEIR_PKT_IP6)
#define EXT6 (ETHER6 | WEIR_PKT_IP_OPTIONS)

static void print_pkt(const char *who, const struct weir_pkt *p)
{
	const uint8_t *b = (const uint8_t *)p;

	fprintf(stderr, "%s", who);
	for (size_t i = 0; i < sizeof(*p); i++)
		fprintf(stderr, "%s%02x", i % 8 ? "" : " ", b[i]);
	fprintf(stderr, "\n  flags %#x type %#x l3 %u+%u l4 %u payload %u proto %u len %u\n",
		p->flags, p->eth_type, p->l3_off, p->l3_len, p->l4_off, p->payload_off, p->proto,
		p->len);
}

static void parse_wire(struct weir_pkt *p, const struct frame *f, size_t n, uint32_t wire)
{
	uint8_t *exact = malloc(n ? n : 1); /* so that a byte too far is found */

	assert_non_null(exact);
	memcpy(exact, f->bytes, n);
	memset(p, 0xa5, sizeof(*p));
	weir_parse(p, exact, exact + n, f->l2, f->vlan_meta, wire);
	free(exact);
}

static void same(const struct weir_pkt *got, const struct weir_pkt *want, const char *what,
		 int line)
{
	if (!memcmp(got, want, sizeof(*got)))
		return;
	print_pkt("got ", got);
	print_pkt("want", want);
	fail_msg("line %d: %s", line, what);
}

static void expect_wire(const struct frame *f, uint32_t wire, const struct weir_pkt *want, int line)
{
	struct weir_pkt p;

	parse_wire(&p, f, f->n, wire);
	same(&p, want, "the record differs", line);
}

/* .len need not be told. */
#define EXPECT(f, ...)                                         \
	do {                                                   \
		struct weir_pkt want_ = { __VA_ARGS__ };       \
		want_.len = (f)->n + ((f)->vlan_meta ? 4 : 0); \
		expect_wire(f, (f)->n, &want_, __LINE__);      \
	} while (0)

/* ---- Ethernet and tags */

static void ether(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x88cc);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x88cc, .flags = ETHER);
	frame_zeros(&f, 40);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x88cc, .flags = ETHER);
	f.n = 13;
	EXPECT(&f, .flags = WEIR_PKT_TRUNCATED);
	f.n = 0;
	EXPECT(&f, .flags = WEIR_PKT_TRUNCATED);
}

static void ether_length(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0026);
	PUT(&f, 0x42, 0x42, 3);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0026, .flags = ETHER);
}

static void one_tag(void **state)
{
	static const uint16_t tpids[] = { 0x8100, 0x88a8, 0x9100 };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct frame f = { 0 };

		frame_ether(&f, tpids[i]);
		PUT16(&f, 0xa000); /* a priority tag counts */
		PUT16(&f, 0x0800);
		frame_ip4(&f, 5, 28, 0, 17);
		frame_ports(&f, 8);
		EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .vlans = 1,
		       .vlan = { 0xa000 }, .proto = 17, .flags = ETHER4 | WEIR_PKT_PORTS,
		       .l3_off = 18, .l3_len = 28, .l4_off = 38, .payload_off = 46);
	}
}

static void many_tags(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x88a8);
	PUT(&f, 0x00, 0x64, 0x81, 0x00, 0x00, 0x65, 0x86, 0xdd);
	frame_ip6(&f, 0, 59);
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .vlans = 2, .vlan = { 0x64, 0x65 },
	       .proto = 59, .flags = ETHER6, .l3_off = 22, .l3_len = 40, .l4_off = 62);
	f.n = 21;
	EXPECT(&f, WANT_ETHER, .eth_type = 0x8100, .vlans = 1, .vlan = { 0x64 },
	       .flags = ETHER | WEIR_PKT_TRUNCATED);
	f.n = 20;
	PUT(&f, 0x91, 0x00, 0x00, 0x66, 0x08, 0x00);
	frame_ip4(&f, 5, 28, 0, 17);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x9100, .vlans = 2, .vlan = { 0x64, 0x65 },
	       .flags = ETHER | WEIR_PKT_MORE_VLANS);
}

static void stripped_tag(void **state)
{
	struct frame f = { .vlan_meta = 0x8100a00b };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 28, 0, 17);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .vlans = 1,
	       .vlan = { 0xa00b }, .proto = 17, .flags = ETHER4 | WEIR_PKT_PORTS, .l3_off = 14,
	       .l3_len = 28, .l4_off = 34, .payload_off = 42);
	f.n = 3;
	EXPECT(&f, .vlans = 1, .vlan = { 0xa00b }, .flags = WEIR_PKT_TRUNCATED);
	f.n = 0;
	frame_ether(&f, 0x8100);
	PUT(&f, 0x00, 0x0c, 0x81, 0x00, 0x00, 0x0d, 0x08, 0x00);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x8100, .vlans = 2, .vlan = { 0xa00b, 0x0c },
	       .flags = ETHER | WEIR_PKT_MORE_VLANS);
}

static void arp(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0806);
	frame_arp(&f);
	EXPECT(&f, WANT_ETHER, .src = IP4_SRC, .dst = IP4_DST, .eth_type = 0x0806, .l3_off = 14,
	       .flags = ETHER | WEIR_PKT_ARP);
	f.n--;
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0806, .l3_off = 14,
	       .flags = ETHER | WEIR_PKT_ARP | WEIR_PKT_TRUNCATED);
	f.n = 14 + 7;
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0806, .flags = ETHER | WEIR_PKT_TRUNCATED);
	f.n = 14;
	PUT(&f, 0, 6, 8, 0, 6, 4, 0, 1); /* not Ethernet */
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0806, .l3_off = 14, .flags = ETHER | WEIR_PKT_ARP);
}

static void bare(void **state)
{
	struct frame f = { .l2 = WEIR_L2_NONE };

	(void)state;
	EXPECT(&f, .flags = WEIR_PKT_TRUNCATED);
	frame_ip4(&f, 5, 40, 0, 6);
	frame_tcp(&f, 5, WEIR_TCP_SYN);
	EXPECT(&f, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 6, .tcp_flags = 2,
	       .flags = WEIR_PKT_IP4 | WEIR_PKT_PORTS | WEIR_PKT_TCP, .l3_len = 40, .l4_off = 20,
	       .payload_off = 40);
	f.n = 19;
	EXPECT(&f, .eth_type = 0x0800, .flags = WEIR_PKT_TRUNCATED);
	f.n = 0;
	frame_ip6(&f, 8, 17);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 17,
	       .flags = WEIR_PKT_IP6 | WEIR_PKT_PORTS, .l3_len = 48, .l4_off = 40,
	       .payload_off = 48);
	f.bytes[0] = 0x50;
	EXPECT(&f, .flags = WEIR_PKT_MALFORMED);
}

/* ---- IPv4 */

static void ip4_tcp(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 48, 0x4000, 6);
	frame_tcp(&f, 6, WEIR_TCP_AE | WEIR_TCP_CWR | WEIR_TCP_ACK);
	frame_zeros(&f, 4);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 6,
	       .tcp_flags = 0x190, .flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_TCP, .l3_off = 14,
	       .l3_len = 48, .l4_off = 34, .payload_off = 58);
}

static void ip4_options(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 7, 36, 0, 17);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_IP_OPTIONS, .l3_off = 14, .l3_len = 36,
	       .l4_off = 42, .payload_off = 50);
	f.n = 14 + 27;
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_IP_OPTIONS | WEIR_PKT_TRUNCATED, .l3_off = 14,
	       .l3_len = 36);
	f.n++; /* the header is whole, layer 4 missing */
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_IP_OPTIONS | WEIR_PKT_TRUNCATED, .l3_off = 14,
	       .l3_len = 36, .l4_off = 42);
}

static void ip4_malformed(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 19, 0, 17);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_MALFORMED, .l3_off = 14, .l3_len = 19);
	f.bytes[14] = 0x44;
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0800, .flags = ETHER | WEIR_PKT_MALFORMED);
	f.bytes[14] = 0x65;
	EXPECT(&f, WANT_ETHER, .eth_type = 0x0800, .flags = ETHER | WEIR_PKT_MALFORMED);
	f.bytes[12] = 0x86;
	f.bytes[13] = 0xdd;
	f.bytes[14] = 0x45;
	frame_zeros(&f, 40);
	EXPECT(&f, WANT_ETHER, .eth_type = 0x86dd, .flags = ETHER | WEIR_PKT_MALFORMED);
}

static void ip4_padding(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 26, 0, 17); /* ends within the UDP header */
	frame_ports(&f, 26);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 26,
	       .l4_off = 34);
	f.bytes[17] = 23; /* within the ports */
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 23, .l4_off = 34);
}

static void ip4_no_length(void **state)
{
	struct frame f = { 0 };
	struct weir_pkt want = {
		WANT_ETHER,
		WANT_IP4,
		WANT_PORTS,
		.eth_type = 0x0800,
		.proto = 6,
		.tcp_flags = 0x10,
		.flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_TCP,
		.l3_off = 14,
		.l3_len = 184986,
		.l4_off = 34,
		.payload_off = 54,
		.len = 185000,
	};

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 0, 0, 6);
	frame_tcp(&f, 5, WEIR_TCP_ACK);
	expect_wire(&f, 185000, &want, __LINE__);
}

static void ip4_fragments(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 28, 0x2000, 17);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 17,
	       .flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_MORE,
	       .frag_id = 0x1234, .frag_start = 34, .l3_off = 14, .l3_len = 28, .l4_off = 34,
	       .payload_off = 42);
	f.bytes[20] = 0x20;
	f.bytes[21] = 185;
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17, .frag_off = 1480,
	       .frag_id = 0x1234, .frag_start = 34,
	       .flags = ETHER4 | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER | WEIR_PKT_FRAG_MORE,
	       .l3_off = 14, .l3_len = 28, .l4_off = 34);
	f.bytes[20] = 0x1f;
	f.bytes[21] = 0xff;
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 17, .frag_off = 65528,
	       .frag_id = 0x1234, .frag_start = 34,
	       .flags = ETHER4 | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER, .l3_off = 14,
	       .l3_len = 28, .l4_off = 34);
}

static void ip4_ah(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 20 + 24 + 20, 0, 51);
	frame_ext(&f, 51, 6, 24);
	frame_tcp(&f, 5, WEIR_TCP_FIN);
	EXPECT(&f, WANT_ETHER, WANT_IP4, WANT_PORTS, .eth_type = 0x0800, .proto = 6, .tcp_flags = 1,
	       .flags = ETHER4 | WEIR_PKT_PORTS | WEIR_PKT_TCP | WEIR_PKT_AH, .l3_off = 14,
	       .l3_len = 64, .l4_off = 58, .payload_off = 78);
	f.bytes[20] = 0x20; /* a middle fragment begins with data, not with AH */
	f.bytes[21] = 1;
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 51, .frag_off = 8,
	       .frag_id = 0x1234, .frag_start = 34,
	       .flags = ETHER4 | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER | WEIR_PKT_FRAG_MORE,
	       .l3_off = 14, .l3_len = 64, .l4_off = 34);
	f.bytes[20] = f.bytes[21] = 0;
	f.bytes[23] = 60; /* IPv6's other extension headers are none in IPv4 */
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 60, .flags = ETHER4,
	       .l3_off = 14, .l3_len = 64, .l4_off = 34);
}

/* ---- IPv6 */

static void ip6_no_length(void **state)
{
	struct frame f = { 0 };
	struct weir_pkt want = {
		WANT_ETHER,	    WANT_IP6,	     WANT_PORTS,
		.eth_type = 0x86dd, .proto = 17,     .flags = ETHER6 | WEIR_PKT_PORTS,
		.l3_off = 14,	    .l3_len = 99986, .l4_off = 54,
		.payload_off = 62,  .len = 100000,
	};

	(void)state;
	frame_ether(&f, 0x86dd);
	frame_ip6(&f, 0, 17);
	frame_ports(&f, 8);
	expect_wire(&f, 100000, &want, __LINE__);
}

static void ip6_each_ext(void **state)
{
	static const uint8_t types[] = { 0, 43, 51, 60, 135, 139, 140 };

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		unsigned int flags = types[i] == 51 ? EXT6 | WEIR_PKT_AH : EXT6;
		struct frame f = { 0 };

		frame_ether(&f, 0x86dd);
		frame_ip6(&f, 32, types[i]);
		frame_ext(&f, types[i], 17, 24);
		frame_ports(&f, 8);
		EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 17,
		       .flags = flags | WEIR_PKT_PORTS, .l3_off = 14, .l3_len = 72, .l4_off = 78,
		       .payload_off = 86);
		f.n = 14 + 40 + 23; /* its end is missing, its successor known */
		EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 17,
		       .flags = flags | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 72);
		f.n = 14 + 40 + 7;
		EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = types[i],
		       .flags = EXT6 | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 72);
	}
}

static void ip6_fragments(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x86dd);
	frame_ip6(&f, 16, 44);
	frame_frag6(&f, 17, 0, true);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 17,
	       .frag_id = 0x89abcdef, .frag_start = 62,
	       .flags = EXT6 | WEIR_PKT_PORTS | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_MORE,
	       .l3_off = 14, .l3_len = 56, .l4_off = 62, .payload_off = 70);
	f.bytes[57] = 0; /* atomic: offset 0, none follows */
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 17,
	       .frag_id = 0x89abcdef, .frag_start = 62,
	       .flags = EXT6 | WEIR_PKT_PORTS | WEIR_PKT_FRAGMENT, .l3_off = 14, .l3_len = 56,
	       .l4_off = 62, .payload_off = 70);
	f.bytes[54] = 60; /* later: what its next header says is not there */
	f.bytes[57] = 8;
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 60, .frag_off = 8,
	       .frag_id = 0x89abcdef, .frag_start = 62,
	       .flags = EXT6 | WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER, .l3_off = 14, .l3_len = 56,
	       .l4_off = 62);
}

static void ip6_chains(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x86dd);
	frame_ip6(&f, 56, 60);
	for (int i = 0; i < 5; i++)
		frame_ext(&f, 60, 60, 8);
	frame_ext(&f, 60, 17, 8);
	frame_ports(&f, 8);
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 17,
	       .flags = EXT6 | WEIR_PKT_PORTS, .l3_off = 14, .l3_len = 96, .l4_off = 102,
	       .payload_off = 110);
	f.bytes[94] = 43; /* a seventh */
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 43,
	       .flags = EXT6 | WEIR_PKT_MORE_EXT, .l3_off = 14, .l3_len = 96);
	f.bytes[94] = 50; /* ESP ends the walk */
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 50, .flags = EXT6,
	       .l3_off = 14, .l3_len = 96, .l4_off = 102);
}

static void ip6_stops(void **state)
{
	static const uint8_t types[] = { 41, 47, 50, 59, 61, 107, 179, 192, 204, 255 };

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		struct frame f = { 0 };

		frame_ether(&f, 0x86dd);
		frame_ip6(&f, 16, types[i]);
		frame_zeros(&f, 16);
		EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = types[i],
		       .flags = ETHER6, .l3_off = 14, .l3_len = 56, .l4_off = 54);
	}
}

static void deeper_than_the_limit(void **state)
{
	struct frame f = { 0 };

	(void)state;
	frame_ether(&f, 0x86dd);
	frame_ip6(&f, 472, 60);
	frame_ext(&f, 60, 60, 224);
	frame_ext(&f, 60, 6, 224); /* layer 4 at 502 */
	frame_tcp(&f, 5, 0);
	frame_zeros(&f, 4);
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 6,
	       .flags = EXT6 | WEIR_PKT_PORTS | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 512,
	       .l4_off = 502);
}

/* ---- Layer 4 */

static void l4_frame(struct frame *f, unsigned int proto, size_t len)
{
	memset(f, 0, sizeof(*f));
	frame_ether(f, 0x86dd);
	frame_ip6(f, len, proto);
}

static void tcp(void **state)
{
	struct frame f;

	(void)state;
	l4_frame(&f, 6, 24);
	frame_tcp(&f, 6, 0x1ff);
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 6,
	       .tcp_flags = 0x1ff, .flags = ETHER6 | WEIR_PKT_PORTS | WEIR_PKT_TCP, .l3_off = 14,
	       .l3_len = 64, .l4_off = 54, .payload_off = 78);
	f.n--;
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 6,
	       .tcp_flags = 0x1ff,
	       .flags = ETHER6 | WEIR_PKT_PORTS | WEIR_PKT_TCP | WEIR_PKT_TRUNCATED, .l3_off = 14,
	       .l3_len = 64, .l4_off = 54);
	f.bytes[54 + 12] = 0x41;
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 6,
	       .tcp_flags = 0x1ff,
	       .flags = ETHER6 | WEIR_PKT_PORTS | WEIR_PKT_TCP | WEIR_PKT_MALFORMED, .l3_off = 14,
	       .l3_len = 64, .l4_off = 54);
	f.n = 54 + 19;
	EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 6,
	       .flags = ETHER6 | WEIR_PKT_PORTS | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 64,
	       .l4_off = 54);
	f.n = 54 + 3;
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 6,
	       .flags = ETHER6 | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 64, .l4_off = 54);
}

static void fixed_ports(void **state)
{
	static const struct {
		uint8_t proto, len;
	} cases[] = { { 17, 8 }, { 136, 8 }, { 132, 12 } };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct frame f;

		l4_frame(&f, cases[i].proto, cases[i].len);
		frame_ports(&f, cases[i].len);
		EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd,
		       .proto = cases[i].proto, .flags = ETHER6 | WEIR_PKT_PORTS, .l3_off = 14,
		       .l3_len = 40U + cases[i].len, .l4_off = 54,
		       .payload_off = 54 + cases[i].len);
		f.n--;
		EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd,
		       .proto = cases[i].proto,
		       .flags = ETHER6 | WEIR_PKT_PORTS | WEIR_PKT_TRUNCATED, .l3_off = 14,
		       .l3_len = 40U + cases[i].len, .l4_off = 54);
	}
}

static void dccp(void **state)
{
	static const struct {
		uint8_t words, x, payload_off;
		uint16_t flags;
	} cases[] = {
		{ 3, 0, 66, 0 },
		{ 2, 0, 0, WEIR_PKT_MALFORMED },
		{ 4, 1, 70, 0 },
		{ 3, 1, 0, WEIR_PKT_MALFORMED },
		{ 5, 1, 0, WEIR_PKT_TRUNCATED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame f;

		l4_frame(&f, 33, 16);
		frame_ports(&f, 16);
		f.bytes[58] = cases[i].words;
		f.bytes[62] = 0x10 | cases[i].x;
		EXPECT(&f, WANT_ETHER, WANT_IP6, WANT_PORTS, .eth_type = 0x86dd, .proto = 33,
		       .flags = ETHER6 | WEIR_PKT_PORTS | cases[i].flags, .l3_off = 14,
		       .l3_len = 56, .l4_off = 54, .payload_off = cases[i].payload_off);
	}
}

static void icmp(void **state)
{
	struct frame f;

	(void)state;
	l4_frame(&f, 58, 8);
	PUT(&f, 135, 3, 0, 0, 0, 0, 0, 0);
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 58, .icmp_type = 135,
	       .icmp_code = 3, .flags = ETHER6 | WEIR_PKT_ICMP, .l3_off = 14, .l3_len = 48,
	       .l4_off = 54, .payload_off = 62);
	f.n--;
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 58, .icmp_type = 135,
	       .icmp_code = 3, .flags = ETHER6 | WEIR_PKT_ICMP | WEIR_PKT_TRUNCATED, .l3_off = 14,
	       .l3_len = 48, .l4_off = 54);
	f.n = 54 + 3;
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 58,
	       .flags = ETHER6 | WEIR_PKT_TRUNCATED, .l3_off = 14, .l3_len = 48, .l4_off = 54);
	l4_frame(&f, 1, 8); /* ICMP of the other family is just a protocol */
	PUT(&f, 8, 0, 0, 0, 0, 0, 0, 0);
	EXPECT(&f, WANT_ETHER, WANT_IP6, .eth_type = 0x86dd, .proto = 1, .flags = ETHER6,
	       .l3_off = 14, .l3_len = 48, .l4_off = 54);
	f.n = 0;
	frame_ether(&f, 0x0800);
	frame_ip4(&f, 5, 28, 0, 1);
	PUT(&f, 3, 4, 0, 0, 0, 0, 0, 0);
	EXPECT(&f, WANT_ETHER, WANT_IP4, .eth_type = 0x0800, .proto = 1, .icmp_type = 3,
	       .icmp_code = 4, .flags = ETHER4 | WEIR_PKT_ICMP, .l3_off = 14, .l3_len = 28,
	       .l4_off = 34, .payload_off = 42);
}

/* ---- All combinations */

static void every_cut(void **state)
{
	struct weir_pkt got, want;
	struct frame f;

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		frames_make(&f, i);
		for (size_t n = 0; n <= f.n; n++) {
			parse_wire(&got, &f, n, f.n);
			oracle_parse(&want, f.bytes, n, f.l2 == WEIR_L2_ETHER, f.vlan_meta, f.n);
			if (memcmp(&got, &want, sizeof(got)))
				fprintf(stderr, "frame %zu cut at %zu\n", i, n);
			same(&got, &want, "differs from the oracle", __LINE__);
		}
	}
}

/* What the oracle says of a cut is no accident: uncut frames show all kinds. */
static void combinations_cover(void **state)
{
	unsigned int seen = 0;
	struct weir_pkt p;
	struct frame f;

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		frames_make(&f, i);
		parse_wire(&p, &f, f.n, f.n);
		seen |= p.flags;
	}
	assert_int_equal(seen, 0xffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ether),	 cmocka_unit_test(ether_length),
		cmocka_unit_test(one_tag),	 cmocka_unit_test(many_tags),
		cmocka_unit_test(stripped_tag),	 cmocka_unit_test(arp),
		cmocka_unit_test(bare),		 cmocka_unit_test(ip4_tcp),
		cmocka_unit_test(ip4_options),	 cmocka_unit_test(ip4_malformed),
		cmocka_unit_test(ip4_padding),	 cmocka_unit_test(ip4_no_length),
		cmocka_unit_test(ip4_fragments), cmocka_unit_test(ip4_ah),
		cmocka_unit_test(ip6_no_length), cmocka_unit_test(ip6_each_ext),
		cmocka_unit_test(ip6_fragments), cmocka_unit_test(ip6_chains),
		cmocka_unit_test(ip6_stops),	 cmocka_unit_test(deeper_than_the_limit),
		cmocka_unit_test(tcp),		 cmocka_unit_test(fixed_ports),
		cmocka_unit_test(dccp),		 cmocka_unit_test(icmp),
		cmocka_unit_test(every_cut),	 cmocka_unit_test(combinations_cover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
