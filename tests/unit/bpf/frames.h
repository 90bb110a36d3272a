/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames for the tests of the parser: pieces to build one by hand, and all
 * combinations of layers that the parser tells apart.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bpf/parse.bpf.h"

#define FRAME_MAX 1024

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t n;
	enum weir_l2 l2;
	uint32_t vlan_meta;
};

static inline void frame_put(struct frame *f, const void *bytes, size_t n)
{
	assert(f->n + n <= sizeof(f->bytes));
	memcpy(f->bytes + f->n, bytes, n);
	f->n += n;
}

#define PUT(f, ...) \
	frame_put(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define PUT16(f, x) PUT(f, (x) >> 8 & 255, (x)&255)

static inline void frame_zeros(struct frame *f, size_t n)
{
	while (n-- > 0)
		PUT(f, 0);
}

static inline void frame_ether(struct frame *f, unsigned int type)
{
	PUT(f, 0x02, 0, 0, 0, 0, 0x0d, 0x06, 0, 0, 0, 0, 0x05);
	PUT16(f, type);
}

/* 192.0.2.1 > 198.51.100.2, ttl 61, tos 0x28; 4 * @ihl bytes of header (for 5..15). */
static inline void frame_ip4(struct frame *f, unsigned int ihl, unsigned int total,
			     unsigned int frag, unsigned int proto)
{
	PUT(f, 0x40 | ihl, 0x28);
	PUT16(f, total);
	PUT16(f, 0x1234);
	PUT16(f, frag);
	PUT(f, 61, proto, 0xab, 0xcd, 192, 0, 2, 1, 198, 51, 100, 2);
	for (unsigned int i = 5; i < ihl; i++)
		PUT(f, 1, 1, 1, 1);
}

/* 2001:db8::1 > 2001:db8::2, hop limit 62, traffic class 0xb8 */
static inline void frame_ip6(struct frame *f, unsigned int payload, unsigned int next)
{
	PUT(f, 0x6b, 0x81, 0x23, 0x45);
	PUT16(f, payload);
	PUT(f, next, 62);
	PUT(f, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
	PUT(f, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
}

/* An extension header of @len bytes (8, 16, ...; AH: 12, 16, ...). */
static inline void frame_ext(struct frame *f, unsigned int type, unsigned int next, size_t len)
{
	PUT(f, next, type == 51 ? len / 4 - 2 : len / 8 - 1);
	frame_zeros(f, len - 2);
}

static inline void frame_frag6(struct frame *f, unsigned int next, unsigned int offset, bool more)
{
	PUT(f, next, 0);
	PUT16(f, offset | more);
	PUT(f, 0x89, 0xab, 0xcd, 0xef);
}

/* 4660 > 443, @doff words, 0x1ff & @flags */
static inline void frame_tcp(struct frame *f, unsigned int doff, unsigned int flags)
{
	PUT(f, 0x12, 0x34, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2);
	PUT(f, doff << 4 | flags >> 8, flags & 255, 0xff, 0xff, 0, 0, 0, 0);
	for (unsigned int i = 5; i < doff; i++)
		PUT(f, 1, 1, 1, 1);
}

/* Ports 4660 > 443 and @len - 4 bytes more, as UDP and SCTP have them. */
static inline void frame_ports(struct frame *f, size_t len)
{
	PUT(f, 0x12, 0x34, 0x01, 0xbb);
	frame_zeros(f, len - 4);
}

static inline void frame_arp(struct frame *f)
{
	PUT(f, 0, 1, 8, 0, 6, 4, 0, 1);
	PUT(f, 0x06, 0, 0, 0, 0, 0x05, 192, 0, 2, 1);
	PUT(f, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2);
}

/* ---- All combinations */

enum frames_l2 {
	L2_PLAIN,
	L2_TAG,
	L2_QINQ,
	L2_PRIORITY,
	L2_THREE,
	L2_STRIPPED,	 /* the only tag in metadata */
	L2_STRIPPED_TAG, /* the outer of two in metadata */
	L2_NONE,
	L2_KINDS,
};

enum frames_l3 {
	L3_IP4,
	L3_IP4_OPTIONS,
	L3_IP4_FIRST,
	L3_IP4_MIDDLE,
	L3_IP4_LAST,
	L3_IP4_AH,
	L3_IP4_NO_LEN,
	L3_ARP,
	L3_OTHER,
	L3_IP6, /* from here on IPv6 */
	L3_IP6_NO_LEN,
	L3_IP6_HOP,
	L3_IP6_DST,
	L3_IP6_ROUTING,
	L3_IP6_FIRST,
	L3_IP6_MIDDLE,
	L3_IP6_LAST,
	L3_IP6_ATOMIC,
	L3_IP6_AH,
	L3_IP6_MOBILITY,
	L3_IP6_HIP,
	L3_IP6_SHIM6,
	L3_IP6_SIX,
	L3_IP6_SEVEN,
	L3_IP6_DEEP, /* layer 4 behind WEIR_PKT_HDR_MAX */
	L3_KINDS,
};

static const struct frames_l4 {
	uint8_t proto, len;
	uint8_t bytes[24];
} frames_l4[] = {
	{ 6, 24, { 0x12, 0x34, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x61, 0xd8, [20] = 1, 1, 1, 1 } },
	{ 6, 20, { 0x12, 0x34, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x02 } },
	{ 6, 20, { 0x12, 0x34, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x40, 0x02 } },
	{ 17, 8, { 0x12, 0x34, 0, 53, 0, 8 } },
	{ 136, 8, { 0x12, 0x34, 0, 53, 0, 8 } },
	{ 132, 12, { 0x12, 0x34, 0, 53 } },
	{ 33, 16, { 0x12, 0x34, 0, 53, 4, [8] = 1 } },
	{ 33, 16, { 0x12, 0x34, 0, 53, 3, [8] = 1 } },
	{ 1, 8, { 8, 0 } },
	{ 58, 8, { 128, 0 } },
	{ 50, 16, { 0, 0, 0, 9 } },
	{ 59, 0, { 0 } },
	{ 47, 4, { 0, 0, 8, 0 } },
};
#define L4_KINDS (sizeof(frames_l4) / sizeof(frames_l4[0]))
#define FRAMES (L2_KINDS * L3_KINDS * L4_KINDS)
#define FRAMES_PAYLOAD 9
#define FRAMES_PADDING 6

/* The chain of headers between IPv6 and layer 4. */
static const struct frames_chain {
	uint8_t n;
	struct {
		uint8_t type, len;
	} ext[7];
} frames_chains[L3_KINDS] = {
	[L3_IP4_AH] = { 1, { { 51, 24 } } },
	[L3_IP6_HOP] = { 1, { { 0, 8 } } },
	[L3_IP6_DST] = { 1, { { 60, 16 } } },
	[L3_IP6_ROUTING] = { 1, { { 43, 24 } } },
	[L3_IP6_FIRST] = { 2, { { 0, 8 }, { 44, 8 } } },
	[L3_IP6_MIDDLE] = { 1, { { 44, 8 } } },
	[L3_IP6_LAST] = { 1, { { 44, 8 } } },
	[L3_IP6_ATOMIC] = { 1, { { 44, 8 } } },
	[L3_IP6_AH] = { 1, { { 51, 28 } } },
	[L3_IP6_MOBILITY] = { 1, { { 135, 8 } } },
	[L3_IP6_HIP] = { 1, { { 139, 40 } } },
	[L3_IP6_SHIM6] = { 1, { { 140, 8 } } },
	[L3_IP6_SIX] = { 6, { { 0, 8 }, { 60, 8 }, { 43, 8 }, { 44, 8 }, { 51, 12 }, { 60, 8 } } },
	[L3_IP6_SEVEN] = { 7,
			   { { 0, 8 },
			     { 60, 8 },
			     { 43, 8 },
			     { 44, 8 },
			     { 51, 12 },
			     { 60, 8 },
			     { 60, 8 } } },
	[L3_IP6_DEEP] = { 3, { { 0, 160 }, { 60, 160 }, { 60, 136 } } },
};

static inline void frames_make_l2(struct frame *f, enum frames_l2 kind, unsigned int type)
{
	static const struct {
		uint8_t n;
		uint16_t tags[3][2]; /* TPID, TCI */
	} kinds[L2_KINDS] = {
		[L2_TAG] = { 1, { { 0x8100, 0x2064 } } },
		[L2_QINQ] = { 2, { { 0x88a8, 0x0064 }, { 0x8100, 0xe065 } } },
		[L2_PRIORITY] = { 1, { { 0x8100, 0xa000 } } },
		[L2_THREE] = { 3, { { 0x9100, 1 }, { 0x8100, 2 }, { 0x8100, 3 } } },
		[L2_STRIPPED_TAG] = { 1, { { 0x8100, 0x0065 } } },
	};
	unsigned int n = kinds[kind].n;

	if (kind == L2_NONE) {
		f->l2 = WEIR_L2_NONE;
		return;
	}
	if (kind == L2_STRIPPED || kind == L2_STRIPPED_TAG)
		f->vlan_meta = 0x88a80064;
	frame_ether(f, n ? kinds[kind].tags[0][0] : type);
	for (unsigned int i = 0; i < n; i++) {
		PUT16(f, kinds[kind].tags[i][1]);
		PUT16(f, i + 1 < n ? kinds[kind].tags[i + 1][0] : type);
	}
}

static inline void frames_make_exts(struct frame *f, enum frames_l3 kind, unsigned int proto)
{
	const struct frames_chain *c = &frames_chains[kind];
	unsigned int offset = 0;
	bool more = false;

	if (kind == L3_IP6_MIDDLE || kind == L3_IP6_LAST)
		offset = 1232;
	if (kind == L3_IP6_MIDDLE || kind == L3_IP6_FIRST)
		more = true;
	for (unsigned int i = 0; i < c->n; i++) {
		unsigned int next = i + 1 < c->n ? c->ext[i + 1].type : proto;

		if (c->ext[i].type == 44)
			frame_frag6(f, next, offset, more);
		else
			frame_ext(f, c->ext[i].type, next, c->ext[i].len);
	}
}

static inline void frames_make_l3(struct frame *f, enum frames_l3 kind, const struct frames_l4 *l4)
{
	static const uint16_t frag4[L3_KINDS] = {
		[L3_IP4] = 0x4000,
		[L3_IP4_FIRST] = 0x2000,
		[L3_IP4_MIDDLE] = 0x2000 | 185,
		[L3_IP4_LAST] = 370,
	};
	const struct frames_chain *c = &frames_chains[kind];
	unsigned int len = l4->len + FRAMES_PAYLOAD, ihl = kind == L3_IP4_OPTIONS ? 8 : 5;
	unsigned int first = c->n ? c->ext[0].type : l4->proto;

	for (unsigned int i = 0; i < c->n; i++)
		len += c->ext[i].len;
	if (kind == L3_ARP) {
		frame_arp(f);
		return;
	}
	if (kind >= L3_IP6)
		frame_ip6(f, kind == L3_IP6_NO_LEN ? 0 : len, first);
	else
		frame_ip4(f, ihl, kind == L3_IP4_NO_LEN ? 0 : 4 * ihl + len, frag4[kind], first);
	frames_make_exts(f, kind, l4->proto);
	frame_put(f, l4->bytes, l4->len);
	frame_zeros(f, FRAMES_PAYLOAD);
}

/* Frame @i of FRAMES. */
static inline void frames_make(struct frame *f, size_t i)
{
	enum frames_l3 l3 = i / L4_KINDS % L3_KINDS;
	unsigned int type = l3 >= L3_IP6 ? 0x86dd : 0x0800;

	if (l3 == L3_ARP)
		type = 0x0806;
	if (l3 == L3_OTHER)
		type = 0x88cc;
	memset(f, 0, sizeof(*f));
	frames_make_l2(f, i / L4_KINDS / L3_KINDS, type);
	frames_make_l3(f, l3, &frames_l4[i % L4_KINDS]);
	frame_zeros(f, FRAMES_PADDING);
}
