/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames by the dice, for the filter's oracle: real bytes of every kind that the
 * parser tells apart, whole and broken, with few addresses, ports and datagrams, so
 * that rules, sets and memories hit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"
#include "dataplane/craft.h"

struct dice {
	uint64_t state;
};

/* 0 to @n - 1 */
static inline uint32_t roll(struct dice *d, uint32_t n)
{
	d->state ^= d->state << 13;
	d->state ^= d->state >> 7;
	d->state ^= d->state << 17;
	return (uint32_t)((d->state * 0x2545f4914f6cdd1dULL >> 33) % n);
}

static inline bool chance(struct dice *d, uint32_t percent)
{
	return roll(d, 100) < percent;
}

#define PICK(d, v) ((v)[roll(d, sizeof(v) / sizeof((v)[0]))])

/* ---- The world that frames come from */

enum frame_piece { PIECE_WHOLE, PIECE_FIRST, PIECE_MIDDLE, PIECE_LAST };

/* What a frame shall carry; -1: whatever the dice say. */
struct frame_plan {
	bool v6;
	uint8_t src[16], dst[16]; /* IPv4: the first four bytes */
	int proto;
	uint16_t sport, dport; /* ICMP echo: the identifier in both */
	int icmp_type, tcp_flags;
	enum frame_piece piece;
	uint32_t id;
	uint16_t offset;
	bool plain; /* no extension header, no break */
};

#define FRAME_DATAGRAMS 12
#define FRAME_QUESTIONS 24

struct frame_world {
	struct dice dice;
	const struct weir_prefix *near; /* of the sets: addresses at their edges */
	size_t n_near;
	struct frame_plan datagrams[FRAME_DATAGRAMS];
	struct frame_plan questions[FRAME_QUESTIONS]; /* whose answers come too */
	uint32_t next_id;
	bool displaced;	   /* a program at XDP comes first */
	bool bare;	   /* for netfilter: mostly what the stack takes for IP */
	uint8_t target[6]; /* the MAC address that the stack takes for its own */
};

static const uint8_t frame_addr4[][4] = {
	{ 10, 0, 0, 1 },   { 10, 0, 0, 2 },	   { 10, 1, 2, 3 },	 { 192, 0, 2, 1 },
	{ 192, 0, 2, 77 }, { 198, 51, 100, 7 },	   { 203, 0, 113, 250 }, { 172, 16, 5, 9 },
	{ 224, 0, 0, 5 },  { 255, 255, 255, 255 }, { 8, 0, 69, 0 },	 { 100, 64, 0, 1 },
	{ 0, 0, 0, 0 },
};

static const uint8_t frame_addr6[][16] = {
	{ 0x20, 1, 0x0d, 0xb8, [15] = 1 },
	{ 0x20, 1, 0x0d, 0xb8, [15] = 2 },
	{ 0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2, [15] = 0x77 },
	{ 0x20, 1, 0x0d, 0xb8, 0xff, 0xff, [8] = 1, [15] = 9 },
	{ 0xfe, 0x80, [8] = 2, [15] = 0x11 },
	{ 0xfe, 0x80, [8] = 2, [15] = 0x12 },
	{ 0xff, 2, [15] = 1 },
	{ 0xff, 2, [13] = 1, [14] = 0, [15] = 2 },
	{ 0x26, 6, 0x47, 0, 0x47, [15] = 0x11 },
	{ 0x20, 1, 0x0d, 0xb8, 0x86, 0xdd, [15] = 3 }, /* like an Ethernet type, at its place */
	{ [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 },     /* mapped, yet in IPv6 */
	{ [15] = 0 },
};

static const uint16_t frame_ports[] = { 22,   53,   80,	  443,	67,  68,  546,	 547,
					8000, 8001, 8005, 9000, 123, 500, 40000, 65535 };

static inline uint16_t frame_port(struct frame_world *w)
{
	if (chance(&w->dice, 6))
		return (uint16_t)roll(&w->dice, 65536);
	return PICK(&w->dice, frame_ports);
}

/* An address in a prefix of the sets, or just beside it. */
static inline bool frame_near(struct frame_world *w, bool v6, uint8_t *to)
{
	uint8_t a[16];
	const struct weir_prefix *p;
	uint32_t how = roll(&w->dice, 4);

	if (!w->n_near)
		return false;
	p = &w->near[roll(&w->dice, (uint32_t)w->n_near)];
	if (p->is_v4 == v6)
		return false;
	memcpy(a, p->addr.b, sizeof(a));
	for (unsigned int bit = p->len; bit < 128; bit++)
		if (how == 1 || (how >= 2 && chance(&w->dice, 50)))
			a[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	if (chance(&w->dice, 30) && p->len > (v6 ? 0 : 96))
		a[(p->len - 1) / 8] ^= (uint8_t)(0x80 >> (p->len - 1) % 8);
	memcpy(to, v6 ? a : a + 12, v6 ? 16 : 4);
	return true;
}

static inline void frame_addr(struct frame_world *w, bool v6, uint8_t *to)
{
	uint32_t r = roll(&w->dice, 100);

	if (r < 25 && frame_near(w, v6, to))
		return;
	if (v6)
		memcpy(to, PICK(&w->dice, frame_addr6), 16);
	else
		memcpy(to, PICK(&w->dice, frame_addr4), 4);
	if (r >= 92)
		for (size_t i = r % 3; i < (v6 ? 16 : 4); i++)
			to[i] = (uint8_t)roll(&w->dice, 256);
}

static const uint8_t frame_protos[] = { 6,  6,	6,  6, 17, 17, 17, 17, 1,   58, 132, 136,
					33, 47, 50, 4, 41, 59, 2,  89, 112, 51, 0 };

static inline uint8_t frame_proto(struct frame_world *w, bool v6)
{
	uint32_t r = roll(&w->dice, 100);

	if (r < 12)
		return v6 ? 58 : 1;
	if (r < 15)
		return (uint8_t)roll(&w->dice, 256);
	return PICK(&w->dice, frame_protos);
}

/* ---- Bytes */

static inline void put(struct weir_craft *f, const void *bytes, size_t n)
{
	memcpy(f->frame + f->len, bytes, n);
	f->len += n;
}

static inline void put8(struct weir_craft *f, uint32_t x)
{
	f->frame[f->len++] = (uint8_t)x;
}

static inline void put16(struct weir_craft *f, uint32_t x)
{
	put8(f, x >> 8);
	put8(f, x & 255);
}

static inline void put_dice(struct frame_world *w, struct weir_craft *f, size_t n)
{
	while (n-- > 0)
		put8(f, roll(&w->dice, 256));
}

static inline void set16(struct weir_craft *f, size_t at, uint32_t x)
{
	f->frame[at] = (uint8_t)(x >> 8);
	f->frame[at + 1] = (uint8_t)x;
}

/* ---- Layer 2 */

static const uint8_t frame_macs[][6] = {
	{ 0x02, 0, 0, 0, 0, 1 },	  { 0x02, 0, 0, 0, 0, 2 },
	{ 0x45, 0, 0, 0x40, 0, 1 },	  { 0x60, 0, 0, 0, 0, 0x28 }, /* like IP headers */
	{ 0x48, 0x2c, 6, 7, 8, 9 },	  { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	{ 0x01, 0x80, 0xc2, 0, 0, 0 },	  { 0x01, 0x80, 0xc2, 0, 0, 0x0e },
	{ 0x01, 0x80, 0xc2, 0, 0, 0x10 }, { 0x01, 0, 0x5e, 0, 0, 5 },
};

static const uint16_t frame_vlan_ids[] = { 0, 5, 100, 101, 4095 };
static const uint16_t frame_tags[] = { 0x8100, 0x8100, 0x88a8, 0x9100 };
static const uint16_t frame_types[] = { 0x88cc, 0x888e, 0x8847, 0x8863, 0x8864,
					0x0026, 0x88b5, 0x8035, 0x8809 };

static inline unsigned int frame_tag_count(struct frame_world *w)
{
	uint32_t r = roll(&w->dice, 100);

	if (w->bare)
		return r < 97 ? 0 : 1;
	return r < 66 ? 0 : r < 83 ? 1 : r < 95 ? 2 : 3;
}

static inline void put_ether(struct frame_world *w, struct weir_craft *f, uint32_t type, bool plain)
{
	unsigned int tags = plain ? 0 : frame_tag_count(w);

	if (w->bare && chance(&w->dice, 97))
		put(f, w->target, 6);
	else
		put(f, plain ? frame_macs[0] : PICK(&w->dice, frame_macs), 6);
	put(f, PICK(&w->dice, frame_macs), 6);
	for (unsigned int i = 0; i < tags; i++) {
		put16(f, PICK(&w->dice, frame_tags));
		put16(f, roll(&w->dice, 8) << 13 | PICK(&w->dice, frame_vlan_ids));
	}
	put16(f, type);
}

/* ---- Layer 4 */

static inline void put_tcp(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p)
{
	static const uint16_t common[] = { 0x02, 0x12, 0x10, 0x18,  0x11, 0x04,
					   0x14, 0x00, 0x29, 0x1ff, 0xc2, 0x06 };
	uint32_t words = chance(&w->dice, 80) ? 5 : roll(&w->dice, 16);
	uint32_t flags = p->tcp_flags >= 0    ? (uint32_t)p->tcp_flags :
			 chance(&w->dice, 15) ? roll(&w->dice, 512) :
						PICK(&w->dice, common);

	if (p->plain)
		words = 5;
	put16(f, p->sport);
	put16(f, p->dport);
	put_dice(w, f, 8);
	put16(f, words << 12 | flags);
	put_dice(w, f, 6);
	if (words > 5)
		put_dice(w, f, (words - 5) * 4);
}

static inline void put_icmp(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p)
{
	static const uint8_t types4[] = { 0, 8, 3, 11, 12, 5, 4, 13, 14 };
	static const uint8_t types6[] = { 128, 129, 1,	 2,   3,   4,	130, 131, 132,
					  133, 134, 135, 136, 137, 138, 143, 100 };
	uint32_t type = p->v6 ? PICK(&w->dice, types6) : PICK(&w->dice, types4);

	if (p->icmp_type >= 0)
		type = (uint32_t)p->icmp_type;
	put8(f, type);
	put8(f, chance(&w->dice, 80) ? 0 : roll(&w->dice, 6));
	put16(f, roll(&w->dice, 65536));
	put16(f, p->sport);
	put16(f, roll(&w->dice, 65536));
}

static inline void put_dccp(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p)
{
	put16(f, p->sport);
	put16(f, p->dport);
	put8(f, roll(&w->dice, 7));
	put_dice(w, f, 3);
	put8(f, roll(&w->dice, 256));
	put_dice(w, f, 7);
}

static inline void put_layer4(struct frame_world *w, struct weir_craft *f,
			      const struct frame_plan *p, int proto)
{
	switch (proto) {
	case 6:
		put_tcp(w, f, p);
		break;
	case 1:
	case 58:
		put_icmp(w, f, p);
		break;
	case 33:
		put_dccp(w, f, p);
		break;
	case 17:
	case 136:
	case 132:
		put16(f, p->sport);
		put16(f, p->dport);
		put_dice(w, f, proto == 132 ? 8 : 4);
		break;
	default:
		put_dice(w, f, roll(&w->dice, 24));
	}
	put_dice(w, f, roll(&w->dice, 4) ? roll(&w->dice, 40) : 0);
}

/* Data of a later fragment: at the place of the ports, ports. */
static inline void put_later(struct frame_world *w, struct weir_craft *f,
			     const struct frame_plan *p)
{
	put16(f, p->sport);
	put16(f, p->dport);
	put_dice(w, f, 4 + 8 * roll(&w->dice, 6));
}

/* ---- Layer 3 */

static inline uint32_t frame_wrong_length(struct frame_world *w, uint32_t right, bool plain)
{
	uint32_t r = roll(&w->dice, 100);

	if (plain || r < 91)
		return right;
	if (r < 93)
		return 0;
	if (r < 95)
		return roll(&w->dice, 65536);
	return right > 16 ? right - roll(&w->dice, 16) : right;
}

static inline void put_rest(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p,
			    int proto)
{
	if (p->piece == PIECE_MIDDLE || p->piece == PIECE_LAST)
		put_later(w, f, p);
	else
		put_layer4(w, f, p, proto);
}

static inline void put_ip4(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p)
{
	static const uint8_t ttls[] = { 64, 64, 1, 255, 2, 128 };
	uint32_t r = roll(&w->dice, 100), words = r < 78 ? 5 : r < 97 ? 6 + r % 10 : r % 5;
	size_t at = f->len;
	uint32_t frag = chance(&w->dice, 30) ? 0x4000 : 0;
	bool ah = !p->plain && chance(&w->dice, 4);

	if (p->plain)
		words = 5;
	if (p->piece != PIECE_WHOLE)
		frag = p->offset / 8 | (p->piece == PIECE_LAST ? 0 : 0x2000);
	put8(f, (r == 99 && !p->plain ? 0x60 : 0x40) | words);
	put8(f, chance(&w->dice, 70) ? 0 : roll(&w->dice, 256));
	put16(f, 0);
	put16(f, p->id);
	put16(f, frag);
	put8(f, PICK(&w->dice, ttls));
	put8(f, ah ? 51 : (uint32_t)p->proto);
	put16(f, 0);
	put(f, p->src, 4);
	put(f, p->dst, 4);
	if (words > 5)
		put_dice(w, f, (words - 5) * 4);
	if (ah && p->piece != PIECE_MIDDLE && p->piece != PIECE_LAST) {
		put8(f, (uint32_t)p->proto);
		put8(f, chance(&w->dice, 90) ? 4 : roll(&w->dice, 256));
		put_dice(w, f, 22);
	}
	put_rest(w, f, p, p->proto);
	set16(f, at + 2, frame_wrong_length(w, (uint32_t)(f->len - at), p->plain));
}

/* One extension header of @type, with @next behind it. */
static inline void put_ext(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p,
			   uint32_t type, uint32_t next)
{
	uint32_t units = chance(&w->dice, 80) ? 0 : roll(&w->dice, 4);

	put8(f, next);
	if (type == 44) {
		put8(f, 0);
		put16(f, p->piece == PIECE_WHOLE ? 0 : p->offset | (p->piece != PIECE_LAST));
		put16(f, p->id >> 16);
		put16(f, p->id & 0xffff);
		return;
	}
	if (chance(&w->dice, 1))
		put8(f, roll(&w->dice, 256));
	else
		put8(f, type == 51 ? units + 1 : units);
	put_dice(w, f, (type == 51 ? (units + 3) * 4 : (units + 1) * 8) - 2);
}

/* How many there are, and where among them the Fragment header is (-1: nowhere). */
static inline uint32_t frame_chain(struct frame_world *w, const struct frame_plan *p, int *fragment)
{
	uint32_t r = roll(&w->dice, 100), n = r < 58 ? 0 : r < 78 ? 1 : r < 88 ? 2 : 3 + r % 5;

	if (p->plain)
		n = 0;
	*fragment = -1;
	if (p->piece == PIECE_WHOLE && !chance(&w->dice, 3))
		return n;
	n += n < 7;
	*fragment = (int)(chance(&w->dice, 70) ? roll(&w->dice, n) : 0);
	if (p->piece == PIECE_MIDDLE || p->piece == PIECE_LAST)
		n = (uint32_t)*fragment + 1;
	return n;
}

static inline void put_ip6(struct frame_world *w, struct weir_craft *f, const struct frame_plan *p)
{
	static const uint8_t kinds[] = { 0, 43, 51, 60, 60, 135, 139, 140, 44 };
	static const uint8_t hops[] = { 64, 255, 255, 1, 1, 2 };
	uint8_t chain[9];
	size_t at = f->len;
	int fragment;
	uint32_t n = frame_chain(w, p, &fragment);

	for (uint32_t i = 0; i < n; i++) /* seldom a second Fragment header */
		chain[i] = kinds[roll(&w->dice, roll(&w->dice, 40) ? 8 : 9)];
	if (fragment >= 0)
		chain[fragment] = 44;
	chain[n] = (uint8_t)p->proto;
	put8(f, (chance(&w->dice, 1) && !p->plain ? 0x40 : 0x60) | roll(&w->dice, 16));
	put_dice(w, f, 3);
	put16(f, 0);
	put8(f, chain[0]);
	put8(f, PICK(&w->dice, hops));
	put(f, p->src, 16);
	put(f, p->dst, 16);
	for (uint32_t i = 0; i < n; i++)
		put_ext(w, f, p, chain[i], chain[i + 1]);
	put_rest(w, f, p, p->proto);
	set16(f, at + 4, frame_wrong_length(w, (uint32_t)(f->len - at - 40), p->plain));
}

static inline void put_arp(struct frame_world *w, struct weir_craft *f)
{
	put16(f, chance(&w->dice, 90) ? 1 : 6);
	put16(f, chance(&w->dice, 95) ? 0x0800 : 0x86dd);
	put16(f, 0x0604);
	put16(f, 1 + roll(&w->dice, 2));
	put(f, frame_macs[0], 6);
	put(f, PICK(&w->dice, frame_addr4), 4);
	put(f, frame_macs[1], 6);
	put(f, PICK(&w->dice, frame_addr4), 4);
}

/* ---- Plans */

static inline void frame_any(struct frame_world *w, struct frame_plan *p)
{
	*p = (struct frame_plan){ .v6 = chance(&w->dice, 46), .icmp_type = -1, .tcp_flags = -1 };
	frame_addr(w, p->v6, p->src);
	frame_addr(w, p->v6, p->dst);
	p->proto = frame_proto(w, p->v6);
	p->sport = frame_port(w);
	p->dport = frame_port(w);
	p->id = 1 + roll(&w->dice, 65535);
}

/* The datagrams of which fragments come. Their identifications do not come again. */
static inline void frame_new_datagram(struct frame_world *w, struct frame_plan *p)
{
	frame_any(w, p);
	p->id = ++w->next_id & 0xffff;
	if (!p->id)
		p->id = ++w->next_id & 0xffff;
	if (p->v6)
		p->id |= 0xabc0000;
}

static inline void frame_piece_of(struct frame_world *w, struct frame_plan *p)
{
	static const uint16_t offsets[] = { 8, 16, 24, 24, 32, 40, 64, 1024, 1480, 1480, 8192 };
	uint32_t r = roll(&w->dice, 100), i = roll(&w->dice, FRAME_DATAGRAMS);

	if (r < 12)
		frame_new_datagram(w, &w->datagrams[i]);
	*p = w->datagrams[i];
	p->piece = r < 45 ? PIECE_FIRST : r < 80 ? PIECE_MIDDLE : PIECE_LAST;
	p->offset = p->piece == PIECE_FIRST ? 0 : PICK(&w->dice, offsets);
	if (chance(&w->dice, 5)) /* a liar, or the other end of the pair */
		frame_addr(w, p->v6, p->src);
}

/* What a host sends so that answers to it are known. */
static inline void frame_ask(struct frame_world *w, struct frame_plan *p)
{
	static const uint8_t protos[] = { 6, 6, 6, 17, 17, 1, 47, 50, 132, 136 };

	frame_any(w, p);
	p->proto = PICK(&w->dice, protos);
	if (p->proto == 1 && p->v6)
		p->proto = 58;
	if (p->proto == 1 || p->proto == 58)
		p->dport = p->sport;
	p->icmp_type = p->v6 ? 128 : 8;
	p->tcp_flags = chance(&w->dice, 90) ? 0x02 : 0x04;
	p->plain = true;
}

static inline void frame_answer(struct frame_world *w, struct frame_plan *p)
{
	const struct frame_plan *q = &PICK(&w->dice, w->questions);

	*p = *q;
	memcpy(p->src, q->dst, sizeof(p->src));
	memcpy(p->dst, q->src, sizeof(p->dst));
	p->sport = q->dport;
	p->dport = q->sport;
	p->icmp_type = q->v6 ? 129 : 0;
	p->tcp_flags = -1;
	p->plain = chance(&w->dice, 60);
	if (chance(&w->dice, 8))
		p->dport ^= 1;
	if (chance(&w->dice, 5))
		p->piece = PIECE_FIRST;
	if (chance(&w->dice, 5))
		p->icmp_type = -1;
}

static inline void frame_put_plan(struct frame_world *w, struct weir_craft *f,
				  const struct frame_plan *p)
{
	f->len = 0;
	put_ether(w, f, p->v6 ? 0x86dd : 0x0800, p->plain);
	if (p->v6)
		put_ip6(w, f, p);
	else
		put_ip4(w, f, p);
}

/* ---- Whole frames */

/* An Ethernet header and an IP header that are the same 14 bytes: who looks for the
 * beginning of the frame should not be deceived. */
static inline void frame_twin(struct weir_craft *f, bool v6)
{
	if (f->len > 28 && !memcmp(f->frame + 12, f->frame + 26, 2) &&
	    f->frame[14] >> 4 == (v6 ? 6 : 4))
		memcpy(f->frame, f->frame + 14, 12);
}

static inline void frame_break(struct frame_world *w, struct weir_craft *f)
{
	uint32_t r = roll(&w->dice, 100);

	if (r < 6 && f->len > 14) {
		f->len -= roll(&w->dice, (uint32_t)f->len - 13);
	} else if (r < 12) {
		for (uint32_t n = 1 + roll(&w->dice, 3); n; n--)
			f->frame[roll(&w->dice, (uint32_t)(f->len < 80 ? f->len : 80))] ^=
				(uint8_t)(1 << roll(&w->dice, 8));
	} else if (r < 30) {
		put_dice(w, f, roll(&w->dice, 30)); /* padding */
	}
	while (f->len < 14)
		put8(f, 0);
}

/* Far more than a page, so that the kernel keeps it in fragments. */
static inline void frame_grow(struct frame_world *w, struct weir_craft *f)
{
	size_t to = 4300 + roll(&w->dice, 4000);

	memset(f->frame + f->len, 0xee, to - f->len);
	f->len = to;
	if (f->frame[12] == 8 && f->frame[13] == 0)
		set16(f, 16, (uint32_t)to - 14);
	else if (f->frame[12] == 0x86 && f->frame[13] == 0xdd)
		set16(f, 18, (uint32_t)to - 54);
}

/* Of an untagged IPv4 header, so that the stack takes it. */
static inline void frame_checksum(struct weir_craft *f)
{
	size_t n = f->len < 34 ? 0 : (f->frame[14] & 15U) * 4;
	uint32_t sum = 0;

	if (n < 20 || 14 + n > f->len || f->frame[12] != 8 || f->frame[13] != 0)
		return;
	set16(f, 24, 0);
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)f->frame[14 + i] << 8 | f->frame[15 + i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	set16(f, 24, ~sum & 0xffff);
}

/* Where the stack has forgotten where the frame begins, what is called IP, does not
 * begin so and has its type once more inside may be taken for a frame: both are broken. */
static inline void frame_mend(struct weir_craft *f)
{
	size_t at = 12, ip;
	bool v6;

	while (at + 6 <= f->len && ((f->frame[at] == 0x81 && f->frame[at + 1] == 0) ||
				    (f->frame[at] == 0x88 && f->frame[at + 1] == 0xa8)))
		at += 4;
	ip = at + 2;
	v6 = f->frame[at] == 0x86 && f->frame[at + 1] == 0xdd;
	if (ip + 14 <= f->len && (v6 || (f->frame[at] == 8 && f->frame[at + 1] == 0)) &&
	    !memcmp(f->frame + at, f->frame + ip + 12, 2))
		f->frame[ip] = (uint8_t)((f->frame[ip] & 15) | (v6 ? 0x60 : 0x40));
}

static inline void frame_make(struct frame_world *w, struct weir_craft *f)
{
	uint32_t r = roll(&w->dice, 100);
	struct frame_plan p;

	f->len = 0;
	if (r < 5 && !w->bare) {
		put_ether(w, f, 0x0806, false);
		put_arp(w, f);
	} else if (r < 10 && !w->bare) {
		put_ether(w, f, PICK(&w->dice, frame_types), false);
		put_dice(w, f, roll(&w->dice, 60));
	} else {
		if (r < 32)
			frame_piece_of(w, &p);
		else if (r < 42)
			frame_answer(w, &p);
		else
			frame_any(w, &p);
		frame_put_plan(w, f, &p);
		if (chance(&w->dice, 10))
			frame_twin(f, p.v6);
	}
	if (roll(&w->dice, 100) == 0)
		frame_grow(w, f);
	else
		frame_break(w, f);
	if (w->bare)
		frame_checksum(f);
	if (w->displaced)
		frame_mend(f);
}

static inline void frame_dice(struct frame_world *w, uint64_t seed)
{
	w->dice.state = seed * 0x9e3779b97f4a7c15ULL | 1;
	for (int i = 0; i < 8; i++)
		roll(&w->dice, 1);
}

/* The dice of policy @number, whose datagrams are its own. */
static inline void frame_world_policy(struct frame_world *w, uint64_t seed, uint32_t number)
{
	frame_dice(w, seed << 20 | number);
	w->next_id = number * 256;
	for (int i = 0; i < FRAME_DATAGRAMS; i++)
		frame_new_datagram(w, &w->datagrams[i]);
}

static inline void frame_world_init(struct frame_world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	frame_dice(w, seed);
	for (int i = 0; i < FRAME_QUESTIONS; i++)
		frame_ask(w, &w->questions[i]);
}
