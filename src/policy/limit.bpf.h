/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rate limits, as the compiled policy asks for them: is this packet over limit
 * @index of weir_limits? policy/abi.h says how a bucket works and where it lies.
 *
 * User space sets before load: max_entries of weir_limits to the number in use, the
 * seed, which must last as long as the buckets, and the map weir_buckets itself.
 * A policy without a limit may load with a weir_buckets of one line.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "bpf/siphash.bpf.h"
#include "policy/abi.h"

/* A bucket that others keep changing under us is charged without looking after so
 * many tries: the packet passes, the sum stays right. */
#define WEIR_BUCKET_TRIES 4
/* Bits of the largest packet that is charged in full; with a rate of 1 a second its
 * cost still fits 64 bits. */
#define WEIR_LIMIT_UNITS_MAX (1U << 22)
#define WEIR_LIMIT_SEGMENTS_MAX 512 /* of one packet that offload has put together */
#define WEIR_LIMIT_SLOW_SHIFT (35 + WEIR_LIMIT_COST_SHIFT)
/* A burst this long (ns; the default is) is told by the clock that moves once a tick,
 * since the exact one takes more time than all the rest. The rate stays exact; a
 * bucket that is not full may seem to lack what drains in one tick. */
#define WEIR_LIMIT_COARSE 100000000ULL

const volatile __u64 weir_bucket_seed[2] = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_LIMITS_MAX);
	__type(key, __u32);
	__type(value, struct weir_limit);
} weir_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BUCKET_LINES);
	__type(key, __u32);
	__type(value, struct weir_bucket_line);
} weir_buckets SEC(".maps");

/* One packet at one limit. All times in ns. */
struct weir_charge {
	__u64 now;
	__u64 cost;
	__u64 depth;
	__u64 more;	/* beyond the depth, for known sources */
	__u64 possible; /* the longest that a bucket may take to fill, with any debt */
	__u64 usual;	/* and without */
	bool look;	/* a test run: write nothing */
};

/* What a hash is of, told in its first word, so that no input is the beginning of
 * another. Neither address: packets without, who share one bucket. */
#define WEIR_LIMIT_IP4 (1U << 0)
#define WEIR_LIMIT_IP6 (1U << 1)      /* one word of address follows */
#define WEIR_LIMIT_IP6_LONG (1U << 2) /* and another: more than 64 bits of prefix */
#define WEIR_LIMIT_KNOWN (1U << 3)    /* no bucket, but who is known there */

/* Hash of rule and source under these prefix lengths; never 0. @kind: WEIR_LIMIT_KNOWN
 * or 0. */
static __always_inline __u64 weir_limit_hash(const struct weir_pkt *p, __u32 rule, __u32 kind,
					     __u32 len4, __u32 len6)
{
	__u64 high = 0, low = 0, addr4 = 0;
	struct weir_sip v;

	if (p->flags & WEIR_PKT_IP6) {
		kind |= WEIR_LIMIT_IP6;
		high = (__u64)weir_load32(p->src) << 32 | weir_load32(p->src + 4);
		if (len6 > 64) {
			kind |= WEIR_LIMIT_IP6_LONG;
			low = (__u64)weir_load32(p->src + 8) << 32 | weir_load32(p->src + 12);
			low = low >> (128 - len6) << (128 - len6);
		} else {
			high = len6 ? high >> (64 - len6) << (64 - len6) : 0;
		}
	} else if (p->flags & (WEIR_PKT_IP4 | WEIR_PKT_ARP)) {
		kind |= WEIR_LIMIT_IP4;
		addr4 = weir_load32(p->src + 12) & (__u32)(0xffffffff00000000ULL >> (len4 & 63));
	}
	weir_sip_begin(&v, weir_bucket_seed[0], weir_bucket_seed[1]);
	weir_sip_word(&v, addr4 | (__u64)(rule & 0xffff) << 32 | (__u64)kind << 48, 1);
	if (kind & WEIR_LIMIT_IP6)
		weir_sip_word(&v, high, 1);
	if (kind & WEIR_LIMIT_IP6_LONG)
		weir_sip_word(&v, low, 1);
	return weir_sip_end(&v, 3) | 1;
}

/* Is the bucket at @full ns over its limit with one charge more, which leaves it at
 * *@to? A bucket that is full lets anything through. */
static __always_inline bool weir_bucket_over(const struct weir_charge *c, __u64 full, __u64 depth,
					     __u64 *to)
{
	*to = (full > c->now ? full : c->now) + c->cost;
	return full > c->now && *to - c->now > depth;
}

/* Charge it unless that would be over; returns whether it would. */
static __always_inline bool weir_bucket_charge(const struct weir_charge *c, struct weir_bucket *b,
					       __u64 depth)
{
	__u64 full = *(volatile __u64 *)&b->full, to, seen;

	for (int i = 0; i < WEIR_BUCKET_TRIES; i++) {
		/* Left by a slower limit that the rule had before. */
		if (full > c->now + c->possible) {
			if (!c->look)
				__sync_val_compare_and_swap(&b->full, full, c->now + c->usual);
			return true;
		}
		if (weir_bucket_over(c, full, depth, &to))
			return true;
		if (c->look)
			return false;
		seen = __sync_val_compare_and_swap(&b->full, full, to);
		if (seen == full)
			return false;
		full = seen;
	}
	__sync_fetch_and_add(&b->full, c->cost);
	return false;
}

/* The bucket of @key in @line, or NULL where there was none; then a new one takes the
 * place of that which has least to forget, and this packet is its first. */
static __always_inline struct weir_bucket *weir_bucket_find(const struct weir_charge *c,
							    struct weir_bucket_line *line,
							    __u64 key)
{
	struct weir_bucket *victim = &line->way[0];
	__u64 old;

	for (int i = 0; i < WEIR_BUCKET_WAYS; i++)
		if (line->way[i].key == key)
			return &line->way[i];
	if (c->look)
		return NULL;
	for (int i = 1; i < WEIR_BUCKET_WAYS; i++)
		if (line->way[i].full < victim->full)
			victim = &line->way[i];
	old = victim->key;
	if (__sync_val_compare_and_swap(&victim->key, old, key) == old)
		victim->full = c->now + c->cost;
	return NULL;
}

/* ---- Known sources */

static __always_inline __u32 weir_known_interval(__u64 now)
{
	return now >> WEIR_KNOWN_INTERVAL_SHIFT & 0xffffff;
}

static __always_inline __u32 weir_known_level(__u64 entry, __u32 interval)
{
	__u32 lost = ((interval - (__u32)(entry >> 8)) & 0xffffff) / WEIR_KNOWN_IDLE;
	__u32 level = entry & 0xff;

	return level > lost ? level - lost : 0;
}

static __always_inline bool weir_known(const struct weir_charge *c,
				       const struct weir_bucket_line *line, __u32 tag)
{
	for (int i = 0; i < WEIR_KNOWN_WAYS; i++)
		if (line->known[i] >> 32 == tag)
			return weir_known_level(line->known[i], weir_known_interval(c->now)) >=
			       WEIR_KNOWN_LEVEL;
	return false;
}

/* The packet of this source passes: it gains a level, once an interval. */
static __always_inline void weir_known_learn(const struct weir_charge *c,
					     struct weir_bucket_line *line, __u32 tag)
{
	__u32 interval = weir_known_interval(c->now), lowest = WEIR_KNOWN_LEVEL, level;
	__u64 entry, begin = (__u64)tag << 32 | (__u64)interval << 8, *place = NULL;

	for (int i = 0; i < WEIR_KNOWN_WAYS; i++) {
		entry = line->known[i];
		level = weir_known_level(entry, interval);
		if (entry >> 32 == tag) {
			if (((entry ^ begin) >> 8 & 0xffffff) && level < WEIR_KNOWN_MAX)
				level++;
			if ((begin | level) != entry)
				line->known[i] = begin | level;
			return;
		}
		if (level < lowest) {
			lowest = level;
			place = &line->known[i];
		}
	}
	if (place)
		*place = begin | 1;
}

/* ---- The call of the policy */

/* Do several sources share the packet's bucket? */
static __always_inline bool weir_limit_is_shared(const struct weir_limit *l, __u32 flags)
{
	if (!(flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6 | WEIR_PKT_ARP)))
		return false; /* nobody to know */
	if (l->per == WEIR_PER_RULE)
		return true;
	return flags & WEIR_PKT_IP6 ? l->len6 < 64 : l->len4 < 32;
}

/* The clock that moves with the tick is cheaper, and near enough for long bursts; a
 * netfilter program may not ask for it (WEIR_LIMIT_ONE_CLOCK). */
static __always_inline __u64 weir_limit_now(const struct weir_limit *l)
{
#ifdef WEIR_LIMIT_ONE_CLOCK
	(void)l;
#else
	if (l->depth >= WEIR_LIMIT_COARSE)
		return bpf_ktime_get_coarse_ns();
#endif
	return bpf_ktime_get_ns();
}

static __always_inline struct weir_charge weir_limit_charge(const struct weir_scratch *s,
							    const struct weir_limit *l)
{
	__u64 units = s->packets < WEIR_LIMIT_SEGMENTS_MAX ? s->packets : WEIR_LIMIT_SEGMENTS_MAX;
	__u64 most = WEIR_LIMIT_SEGMENTS_MAX;
	struct weir_charge c = {
		.now = weir_limit_now(l),
		.depth = l->depth,
		.look = s->flags & WEIR_SCRATCH_TEST,
	};

	/* At a packet in half a minute or longer one charge is enough, and more might not
	 * fit 64 bits. */
	if (l->cost >> WEIR_LIMIT_SLOW_SHIFT)
		units = most = 1;
	if (l->bits) {
		most = WEIR_LIMIT_UNITS_MAX;
		units = (__u64)s->pkt.len * 8;
		if (units > most)
			units = most;
	}
	c.cost = l->cost * units >> WEIR_LIMIT_COST_SHIFT;
	c.more = c.depth / 4 > c.cost ? c.depth / 4 : c.cost;
	/* With the debt of the largest packet that there can have been. */
	c.usual = c.depth + c.more + c.cost;
	c.possible = c.usual + (l->cost * most >> WEIR_LIMIT_COST_SHIFT);
	return c;
}

/* 1: over the limit, 0: within. Global, hence verified once and not for every call. */
__attribute__((noinline, used)) int weir_limit_over(const struct weir_scratch *s, __u32 index)
{
	const struct weir_limit *l = bpf_map_lookup_elem(&weir_limits, &index);
	struct weir_bucket_line *line;
	struct weir_bucket *bucket;
	struct weir_charge c;
	__u64 hash = 0;
	__u32 at;
	bool over;

	if (!s || !l)
		return 0;
	c = weir_limit_charge(s, l);
	at = WEIR_BUCKET_SOURCES + (l->rule & (WEIR_BUCKET_RULES - 1));
	if (l->per == WEIR_PER_SOURCE) {
		hash = weir_limit_hash(&s->pkt, l->rule, 0, l->len4, l->len6);
		at = hash >> 40 & (WEIR_BUCKET_SOURCES - 1);
	}
	line = bpf_map_lookup_elem(&weir_buckets, &at);
	if (!line)
		return 0;
	bucket = hash ? weir_bucket_find(&c, line, hash) : &line->way[0];
	over = bucket && weir_bucket_charge(&c, bucket, c.depth);
	if (!weir_limit_is_shared(l, s->pkt.flags))
		return over;

	hash = weir_limit_hash(&s->pkt, l->rule, WEIR_LIMIT_KNOWN, 32, 64);
	at = WEIR_BUCKET_SOURCES + WEIR_BUCKET_RULES + (hash >> 8 & (WEIR_BUCKET_KNOWN - 1));
	line = bpf_map_lookup_elem(&weir_buckets, &at);
	if (!line)
		return over;
	if (over)
		return !bucket || !weir_known(&c, line, hash >> 32) ||
		       weir_bucket_charge(&c, bucket, c.depth + c.more);
	if (!c.look)
		weir_known_learn(&c, line, hash >> 32);
	return 0;
}
