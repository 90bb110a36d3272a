/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet parser against an oracle, and what must hold for any packet.
 * Input: a byte of switches, four of stripped tag, one of missing wire length,
 * then the frame.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/hash.bpf.h"
#include "bpf/parse.bpf.h"

#include "oracle_parse.h"

#define SWITCH_BARE 0x01 /* no layer 2 */
#define SWITCH_TAG 0x02	 /* a stripped tag */
#define SWITCH_LIE 0x04	 /* a wire length of its own, also below the bytes at hand */
#define PREFIX 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show(const char *who, const struct weir_pkt *p)
{
	const uint8_t *b = (const uint8_t *)p;

	fprintf(stderr, "%s:", who);
	for (size_t i = 0; i < sizeof(*p); i++)
		fprintf(stderr, "%s%02x", i % 8 ? "" : " ", b[i]);
	fputc('\n', stderr);
}

static void same(const char *what, const struct weir_pkt *a, const struct weir_pkt *b)
{
	if (!memcmp(a, b, sizeof(*a)))
		return;
	fprintf(stderr, "%s differs\n", what);
	show("parser", a);
	show("other ", b);
	abort();
}

static void require(int holds, const char *what, const struct weir_pkt *p)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	show("parser", p);
	abort();
}

static void check_hash(const struct weir_pkt *p, uint32_t seed)
{
	struct weir_pkt back = *p;

	memcpy(back.src, p->dst, sizeof(back.src));
	memcpy(back.dst, p->src, sizeof(back.dst));
	memcpy(back.eth_src, p->eth_dst, sizeof(back.eth_src));
	memcpy(back.eth_dst, p->eth_src, sizeof(back.eth_dst));
	back.sport = p->dport;
	back.dport = p->sport;
	require(weir_pkt_hash(p, seed) == weir_pkt_hash(&back, seed), "hash is symmetric", p);
}

static void check_fields(const struct weir_pkt *p, size_t n, uint32_t gso_size)
{
	size_t have = n < WEIR_PKT_HDR_MAX ? n : WEIR_PKT_HDR_MAX;
	uint32_t wire = weir_wire_packets(p, gso_size);

	require(p->l4_off <= have && p->payload_off <= have, "offsets lie inside", p);
	require(!p->payload_off || p->l4_off, "no payload without layer 4", p);
	require(!p->l4_off || p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6), "no layer 4 without IP", p);
	require(!(p->flags & WEIR_PKT_FRAG_LATER) || !(p->flags & WEIR_PKT_PORTS),
		"no ports in later fragments", p);
	require(wire >= 1 && wire <= WEIR_WIRE_PACKETS_MAX, "wire packets are bounded", p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t copy[WEIR_PKT_HDR_MAX];
	struct weir_pkt p, other;
	uint32_t meta = 0, wire;
	enum weir_l2 l2;
	size_t n;

	if (size < PREFIX)
		return 0;
	n = size - PREFIX;
	l2 = data[0] & SWITCH_BARE ? WEIR_L2_NONE : WEIR_L2_ETHER;
	if (data[0] & SWITCH_TAG)
		memcpy(&meta, data + 1, sizeof(meta));
	wire = data[0] & SWITCH_LIE ? data[5] : n + data[5];

	memset(&p, 0xa5, sizeof(p));
	weir_parse(&p, data + PREFIX, data + size, l2, meta, wire);
	oracle_parse(&other, data + PREFIX, n, l2 == WEIR_L2_ETHER, meta, wire);
	same("oracle", &p, &other);

	/* The hooks that copy only WEIR_PKT_HDR_MAX bytes see the same. */
	n = n < sizeof(copy) ? n : sizeof(copy);
	memcpy(copy, data + PREFIX, n);
	weir_parse(&other, copy, copy + n, l2, meta, wire);
	same("copy", &p, &other);

	check_hash(&p, meta);
	check_fields(&p, size - PREFIX, meta);
	return 0;
}
