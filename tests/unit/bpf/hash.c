/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow hash and the count of packets on the wire. */
#include "bpf/hash.bpf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frames.h"

#define ROUNDS 2000

/* A generator of its own, so that every run sees the same. */
static uint64_t random_state = 42;

static uint32_t random32(void)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return random_state >> 32;
}

static void random_bytes(void *to, size_t n)
{
	uint8_t *b = to;

	while (n-- > 0)
		*b++ = random32();
}

static struct weir_pkt random_flow(uint32_t family)
{
	struct weir_pkt p = { .flags = WEIR_PKT_ETHER | WEIR_PKT_PORTS | family, .proto = 6 };

	random_bytes(p.src, sizeof(p.src));
	random_bytes(p.dst, sizeof(p.dst));
	if (family == WEIR_PKT_IP4) {
		memset(p.src, 0, 10);
		memset(p.src + 10, 255, 2);
		memcpy(p.dst, p.src, 12);
	}
	p.sport = random32();
	p.dport = random32();
	return p;
}

static struct weir_pkt reversed(const struct weir_pkt *p)
{
	struct weir_pkt back = *p;

	memcpy(back.src, p->dst, sizeof(back.src));
	memcpy(back.dst, p->src, sizeof(back.dst));
	memcpy(back.eth_src, p->eth_dst, sizeof(back.eth_src));
	memcpy(back.eth_dst, p->eth_src, sizeof(back.eth_dst));
	back.sport = p->dport;
	back.dport = p->sport;
	return back;
}

static void symmetric(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct weir_pkt p = random_flow(i & 1 ? WEIR_PKT_IP4 : WEIR_PKT_IP6);
		struct weir_pkt back = reversed(&p);
		uint32_t seed = random32();

		assert_int_equal(weir_pkt_hash(&p, seed), weir_pkt_hash(&back, seed));
	}
}

/* Only the ends together name the flow: which port belongs to which address,
 * and which addresses belong together, matters. */
static void ends_are_not_mixed(void **state)
{
	struct weir_pkt p = random_flow(WEIR_PKT_IP4), q = p;

	(void)state;
	q.sport = p.dport;
	q.dport = p.sport;
	assert_int_not_equal(weir_pkt_hash(&p, 0), weir_pkt_hash(&q, 0));
	q = p;
	q.src[15] ^= 1;
	q.dst[15] ^= 1;
	assert_int_not_equal(weir_pkt_hash(&p, 0), weir_pkt_hash(&q, 0));
	q = p;
	q.sport++;
	q.dport--;
	assert_int_not_equal(weir_pkt_hash(&p, 0), weir_pkt_hash(&q, 0));
	q = p;
	q.proto = 17;
	assert_int_not_equal(weir_pkt_hash(&p, 0), weir_pkt_hash(&q, 0));
	assert_int_not_equal(weir_pkt_hash(&p, 0), weir_pkt_hash(&p, 1));
}

static void only_the_flow_counts(void **state)
{
	struct weir_pkt p = random_flow(WEIR_PKT_IP6), q = p;

	(void)state;
	q.tcp_flags = 0x12;
	q.len = 1514;
	q.ttl = 3;
	q.vlans = 1;
	q.vlan[0] = 7;
	q.eth_src[2] = 9;
	q.payload_off = 99;
	assert_int_equal(weir_pkt_hash(&p, 5), weir_pkt_hash(&q, 5));
}

/* Also where the first fragment tells a protocol that the later ones cannot. */
static void fragments_alike(void **state)
{
	static const uint16_t offsets[] = { 0, 8, 16 };
	uint32_t first = 0;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct frame f = { 0 };
		struct weir_pkt p;

		frame_ether(&f, 0x86dd);
		frame_ip6(&f, 24, 44);
		frame_frag6(&f, 60, offsets[i], i < 2);
		frame_ext(&f, 60, 17, 8);
		frame_ports(&f, 8);
		weir_parse(&p, f.bytes, f.bytes + f.n, f.l2, 0, f.n);
		assert_int_equal(p.proto, i ? 60 : 17);
		if (i == 0)
			first = weir_pkt_hash(&p, 7);
		assert_int_equal(weir_pkt_hash(&p, 7), first);
	}
}

static void frames_without_addresses(void **state)
{
	struct weir_pkt p = { .flags = WEIR_PKT_ETHER, .eth_type = 0x88cc }, q, back;

	(void)state;
	random_bytes(p.eth_src, 6);
	random_bytes(p.eth_dst, 6);
	back = reversed(&p);
	assert_int_equal(weir_pkt_hash(&p, 1), weir_pkt_hash(&back, 1));
	q = p;
	q.eth_type = 0x8847;
	assert_int_not_equal(weir_pkt_hash(&p, 1), weir_pkt_hash(&q, 1));
	q = p;
	q.eth_src[5] ^= 1;
	assert_int_not_equal(weir_pkt_hash(&p, 1), weir_pkt_hash(&q, 1));
}

/* Every bit of the flow turns every bit of the hash over in half of all cases:
 * between 42 and 58 % is eight standard deviations from chance. */
static void avalanche(void **state)
{
	static unsigned int turned[36 * 8][32];

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct weir_pkt p = random_flow(WEIR_PKT_IP6);
		uint32_t hash = weir_pkt_hash(&p, 3);

		for (size_t bit = 0; bit < 36 * 8; bit++) {
			struct weir_pkt q = p;
			size_t at = bit / 8; /* addresses, then ports */
			uint32_t changed;

			if (at >= 32)
				at += offsetof(struct weir_pkt, sport) - 32;
			((uint8_t *)&q)[at] ^= 1 << bit % 8;
			changed = hash ^ weir_pkt_hash(&q, 3);
			for (int k = 0; k < 32; k++)
				turned[bit][k] += changed >> k & 1;
		}
	}
	for (size_t bit = 0; bit < 36 * 8; bit++)
		for (int k = 0; k < 32; k++)
			assert_in_range(turned[bit][k], ROUNDS * 42 / 100, ROUNDS * 58 / 100);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Flows that count up, as real ones do: 1 in N must still be 1 in N, and few
 * may share a hash. */
static void neighbours_spread(void **state)
{
	enum { FLOWS = 1 << 16, N = 16 };
	static uint32_t hashes[FLOWS];
	struct weir_pkt p = random_flow(WEIR_PKT_IP4);
	unsigned int sampled = 0, shared = 0;

	(void)state;
	p.dport = 443;
	for (unsigned int i = 0; i < FLOWS; i++) {
		p.sport = 1024 + i % 4096;
		p.src[15] = i / 4096;
		hashes[i] = weir_pkt_hash(&p, 0);
		sampled += hashes[i] % N == 0;
	}
	qsort(hashes, FLOWS, sizeof(hashes[0]), by_value);
	for (unsigned int i = 1; i < FLOWS; i++)
		shared += hashes[i] == hashes[i - 1];
	assert_in_range(sampled, FLOWS / N * 9 / 10, FLOWS / N * 11 / 10);
	assert_in_range(shared, 0, 6); /* chance: half a pair */
}

static void wire_packets(void **state)
{
	static const struct {
		uint32_t len, vlans, l3_off, l4_off, payload_off, gso, want;
	} cases[] = {
		{ 1514, 0, 14, 34, 66, 0, 1 },
		{ 66, 0, 14, 34, 66, 1448, 1 },	  /* no payload */
		{ 4054, 0, 14, 34, 54, 1000, 4 }, /* exact */
		{ 4055, 0, 14, 34, 54, 1000, 5 }, /* and a byte */
		{ 4058, 1, 14, 34, 54, 1000, 4 }, /* a stripped tag */
		{ 4058, 1, 18, 38, 58, 1000, 4 }, /* one in the frame */
		{ 4062, 2, 18, 38, 58, 1000, 4 }, /* one of each */
		{ 4054, 0, 14, 34, 54, 1, 4000 },
		{ 185054, 0, 14, 34, 54, 1, WEIR_WIRE_PACKETS_MAX },
		{ 185054, 0, 14, 34, 54, 0xffffffff, 1 },
		{ 4034, 0, 14, 34, 0, 1000, 4 }, /* layer 4 unknown: all behind IP */
		{ 4000, 0, 0, 0, 0, 1000, 1 },	 /* not IP */
		{ 40, 0, 14, 34, 54, 1000, 1 },	 /* shorter than its headers */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_pkt p = {
			.flags = WEIR_PKT_ETHER,
			.len = cases[i].len,
			.vlans = cases[i].vlans,
			.l3_off = cases[i].l3_off,
			.l4_off = cases[i].l4_off,
			.payload_off = cases[i].payload_off,
		};

		assert_int_equal(weir_wire_packets(&p, cases[i].gso), cases[i].want);
	}
}

static void wire_packets_bare(void **state)
{
	struct weir_pkt p = { .flags = WEIR_PKT_IP4, .len = 3040, .l4_off = 20, .payload_off = 40 };

	(void)state;
	assert_int_equal(weir_wire_packets(&p, 1000), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symmetric),
		cmocka_unit_test(ends_are_not_mixed),
		cmocka_unit_test(only_the_flow_counts),
		cmocka_unit_test(fragments_alike),
		cmocka_unit_test(frames_without_addresses),
		cmocka_unit_test(avalanche),
		cmocka_unit_test(neighbours_spread),
		cmocka_unit_test(wire_packets),
		cmocka_unit_test(wire_packets_bare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
