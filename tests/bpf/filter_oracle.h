/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the filter should do with a frame, written from its documents (weir-filter(8),
 * policy/abi.h) and in user space, with nothing shared but the policy's rules: the
 * parser is tests/fuzz/oracle_parse.h, sets are lists that are read from end to end,
 * memories are plain tables.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz/oracle_parse.h"
#include "base/clock.h"
#include "bpf/policy_stub.h"
#include "match/match.h"
#include "policy/policy.h"

#define ORACLE_RULES 512
#define ORACLE_SETS 8
#define ORACLE_TABLE (1U << 16)
#define ORACLE_REPLIES 64
#define ORACLE_SECOND 1000000000ULL

struct oracle_prefix {
	uint64_t hi, lo, mask_hi, mask_lo;
	bool is_v4;
};

struct oracle_set {
	char name[WEIR_SET_NAME_MAX];
	struct oracle_prefix *v;
	size_t n;
};

/* A limit that grants nothing while a test runs (what it drains in a few seconds
 * is less than one byte), or one that never ends. */
enum oracle_limit { LIMIT_ENDLESS, LIMIT_BITS, LIMIT_PACKETS };

struct oracle_rule {
	const struct weir_policy_rule *rule;
	uint32_t id;
	bool holds; /* here, and has not expired */
	enum oracle_limit limit;
	uint64_t hits, bytes;
};

struct oracle_ruling {
	uint32_t reason; /* enum weir_filter_reason */
	uint32_t rule;	 /* id; 0 = none */
	uint32_t flags;	 /* WEIR_TEST_REPLY, WEIR_TEST_ESSENTIAL */
};

struct oracle_datagram {
	uint8_t key[40];
	bool used;
	struct oracle_ruling first;
	uint32_t end;  /* bytes of the datagram that the first fragment has */
	uint64_t seen; /* CLOCK_MONOTONIC ns */
};

struct oracle_bucket {
	uint8_t key[40];
	bool used;
	uint64_t spent;
};

struct oracle_reply {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint8_t proto;
};

/* A frame as the hook sees it. */
struct oracle_frame {
	const uint8_t *bytes;
	size_t n;
	bool ether;	    /* it begins with an Ethernet header */
	uint32_t vlan_meta; /* a tag that the kernel took out */
	uint32_t wire;	    /* its length, where only its beginning is at hand; 0: n */
	struct weir_pkt pkt;
};

struct judge {
	struct weir_filter_row row;
	bool out;
	struct oracle_rule rules[ORACLE_RULES];
	size_t n_rules;
	struct oracle_set sets[ORACLE_SETS];
	size_t n_sets;
	struct oracle_reply replies[ORACLE_REPLIES];
	size_t n_replies;
	struct weir_filter_account account; /* of what was judged live */
	/* Memories: datagrams outlive a policy. */
	struct oracle_datagram datagrams[ORACLE_TABLE];
	size_t n_datagrams;
	struct oracle_bucket buckets[ORACLE_TABLE];
	size_t n_buckets;
};

/* ---- Sets, from end to end */

static inline uint64_t oracle_half(const uint8_t *b)
{
	return (uint64_t)oracle_number(b, 4) << 32 | oracle_number(b + 4, 4);
}

static inline uint64_t oracle_mask(unsigned int bits)
{
	return bits >= 64 ? ~0ULL : ~(~0ULL >> bits);
}

static inline struct oracle_prefix oracle_prefix_of(const struct weir_prefix *p)
{
	return (struct oracle_prefix){
		.hi = oracle_half(p->addr.b),
		.lo = oracle_half(p->addr.b + 8),
		.mask_hi = oracle_mask(p->len),
		.mask_lo = p->len > 64 ? oracle_mask(p->len - 64U) : 0,
		.is_v4 = p->is_v4,
	};
}

static inline void oracle_set_fill(struct oracle_set *s, const struct weir_prefix *v, size_t n)
{
	s->v = realloc(s->v, (n + 1) * sizeof(*s->v));
	assert(s->v);
	s->n = n;
	for (size_t i = 0; i < n; i++)
		s->v[i] = oracle_prefix_of(&v[i]);
}

static inline bool oracle_is_mapped(const uint8_t *addr)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(addr, prefix, sizeof(prefix));
}

struct oracle_question {
	const struct judge *o;
	const struct weir_match *match;
};

static bool oracle_in_set(void *arg, size_t i, const uint8_t addr[16])
{
	const struct oracle_question *q = arg;
	const char *name = weir_match_name(q->match, i);
	uint64_t hi = oracle_half(addr), lo = oracle_half(addr + 8);
	bool v4 = oracle_is_mapped(addr);

	for (size_t k = 0; k < q->o->n_sets; k++) {
		const struct oracle_set *s = &q->o->sets[k];

		if (strcmp(s->name, name) != 0)
			continue;
		for (size_t j = 0; j < s->n; j++)
			if (((hi ^ s->v[j].hi) & s->v[j].mask_hi) == 0 &&
			    ((lo ^ s->v[j].lo) & s->v[j].mask_lo) == 0 && s->v[j].is_v4 == v4)
				return true;
	}
	return false;
}

/* ---- Tables: open addressing, never full */

static inline uint32_t oracle_hash(const uint8_t key[40])
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (int i = 0; i < 40; i++)
		h = (h ^ key[i]) * 0x100000001b3ULL;
	return (uint32_t)(h >> 24) & (ORACLE_TABLE - 1);
}

/* ---- Limits */

static inline void oracle_mask_addr(uint8_t *addr, unsigned int len)
{
	for (unsigned int bit = len; bit < 128; bit++)
		addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static inline struct oracle_bucket *oracle_bucket_of(struct judge *o, size_t rule,
						     const struct weir_pkt *p, bool make)
{
	const struct weir_policy_rule *r = o->rules[rule].rule;
	uint8_t key[40] = { (uint8_t)rule, (uint8_t)(rule >> 8) };
	uint32_t at;

	if (r->per == WEIR_PER_SOURCE) {
		bool v4 = p->flags & (WEIR_PKT_IP4 | WEIR_PKT_ARP);

		key[2] = v4 ? 4 : p->flags & WEIR_PKT_IP6 ? 6 : 1;
		memcpy(key + 8, p->src, 16);
		oracle_mask_addr(key + 8, v4 ? 96U + r->len4 : r->len6);
		if (v4) /* a strange ARP has no address at all */
			memset(key + 8, 0, 12);
	}
	at = oracle_hash(key);
	while (o->buckets[at].used && memcmp(o->buckets[at].key, key, sizeof(key)) != 0)
		at = (at + 1) % ORACLE_TABLE;
	if (!o->buckets[at].used && make) {
		assert(++o->n_buckets < ORACLE_TABLE / 2);
		memcpy(o->buckets[at].key, key, sizeof(key));
		o->buckets[at].used = true;
		o->buckets[at].spent = 0;
	}
	return o->buckets[at].used ? &o->buckets[at] : NULL;
}

/* A bucket that is full lets anything through; else the burst must hold. */
static inline bool oracle_over(struct judge *o, size_t rule, const struct weir_pkt *p, bool live)
{
	const struct oracle_rule *r = &o->rules[rule];
	struct oracle_bucket *b;
	uint64_t cost = r->limit == LIMIT_BITS ? (uint64_t)p->len * 8 : 1;

	if (r->limit == LIMIT_ENDLESS)
		return false;
	b = oracle_bucket_of(o, rule, p, live);
	if (b && b->spent && b->spent + cost > r->rule->burst)
		return true;
	if (live)
		b->spent += cost;
	return false;
}

/* ---- Rules */

/* The first allow or deny that fits decides; a limit drops what exceeds it. */
static inline enum weir_policy_action oracle_rules(struct judge *o, const struct weir_pkt *p,
						   bool live, struct oracle_ruling *ret)
{
	for (size_t i = 0; i < o->n_rules; i++) {
		const struct weir_policy_rule *r = o->rules[i].rule;
		struct oracle_question q = { o, r->match };

		if (!o->rules[i].holds || !weir_match_eval_sets(r->match, p, oracle_in_set, &q))
			continue;
		if (r->action == WEIR_POLICY_LIMIT && !oracle_over(o, i, p, live))
			continue;
		ret->rule = o->rules[i].id;
		if (r->action == WEIR_POLICY_DENY)
			ret->reason = WEIR_DROP_RULE;
		if (r->action == WEIR_POLICY_LIMIT)
			ret->reason = WEIR_DROP_LIMIT;
		return (enum weir_policy_action)r->action;
	}
	return WEIR_POLICY_NONE;
}

/* ---- Packets that can't be read to their end */

#define ORACLE_UNREAD \
	(WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED | WEIR_PKT_MORE_VLANS | WEIR_PKT_MORE_EXT)

static inline uint32_t oracle_unread(const struct weir_pkt *p)
{
	if (p->flags & WEIR_PKT_MALFORMED)
		return WEIR_DROP_MALFORMED;
	if (p->flags & WEIR_PKT_TRUNCATED)
		return WEIR_DROP_TRUNCATED;
	return p->flags & ORACLE_UNREAD ? WEIR_DROP_HEADERS : WEIR_DROP_NONE;
}

/* ---- Default drop: what passes it */

static inline bool oracle_is_dhcp(const struct weir_pkt *p, bool out)
{
	uint16_t server = p->flags & WEIR_PKT_IP6 ? 547 : 67;
	uint16_t client = p->flags & WEIR_PKT_IP6 ? 546 : 68;

	if (p->proto != 17 || !(p->flags & WEIR_PKT_PORTS))
		return false;
	return out ? p->sport == client && p->dport == server :
		     p->sport == server && p->dport == client;
}

static inline bool oracle_is_link_local_group(const uint8_t *mac)
{
	static const uint8_t group[5] = { 0x01, 0x80, 0xc2, 0, 0 };

	return !memcmp(mac, group, sizeof(group)) && mac[5] <= 0x0f;
}

static inline bool oracle_is_essential6(const struct weir_pkt *p)
{
	switch (p->icmp_type) {
	case 1: /* errors */
	case 2:
	case 3:
	case 4:
		return true;
	case 130: /* who listens: without it a switch keeps solicitations back */
	case 131:
	case 132:
	case 143:
		return p->ttl == 1;
	case 133: /* neighbour discovery, from this link */
	case 134:
	case 135:
	case 136:
	case 137:
		return p->ttl == 255 && p->icmp_code == 0;
	default:
		return false;
	}
}

static inline bool oracle_is_essential(const struct weir_pkt *p, bool out)
{
	if (p->flags & (ORACLE_UNREAD | WEIR_PKT_FRAG_LATER))
		return false;
	if (p->flags & WEIR_PKT_ARP)
		return true;
	if (p->flags & WEIR_PKT_ICMP && p->flags & WEIR_PKT_IP6)
		return oracle_is_essential6(p);
	if (p->flags & WEIR_PKT_ICMP)
		return p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12;
	if (p->flags & WEIR_PKT_IP4 && p->proto == 2) /* IGMP: who listens */
		return p->ttl == 1;
	if (p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6))
		return oracle_is_dhcp(p, out);
	return p->eth_type == 0x888e || oracle_is_link_local_group(p->eth_dst);
}

/* The tuple of an answer: of @p itself, or of what would answer it. */
static inline bool oracle_tuple(const struct oracle_frame *f, bool question,
				struct oracle_reply *ret)
{
	const struct weir_pkt *p = &f->pkt;

	memset(ret, 0, sizeof(*ret));
	if (!(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)) ||
	    p->flags & (ORACLE_UNREAD | WEIR_PKT_FRAG_LATER))
		return false;
	memcpy(ret->src, question ? p->dst : p->src, 16);
	memcpy(ret->dst, question ? p->src : p->dst, 16);
	ret->proto = p->proto;
	if (p->flags & WEIR_PKT_ICMP) {
		unsigned int echo = p->flags & WEIR_PKT_IP6 ? (question ? 128 : 129) :
							      (question ? 8 : 0);

		ret->sport = ret->dport = (uint16_t)oracle_number(f->bytes + p->l4_off + 4, 2);
		return p->icmp_type == echo;
	}
	ret->sport = question ? p->dport : p->sport;
	ret->dport = question ? p->sport : p->dport;
	if (!(p->flags & WEIR_PKT_TCP))
		return true;
	if (question)
		return !(p->tcp_flags & WEIR_TCP_RST);
	/* What opens a connection answers nothing. */
	return p->tcp_flags & WEIR_TCP_ACK ||
	       (p->tcp_flags & WEIR_TCP_RST && !(p->tcp_flags & WEIR_TCP_SYN));
}

static inline bool oracle_is_reply(const struct judge *o, const struct oracle_frame *f)
{
	struct oracle_reply r;

	if (!oracle_tuple(f, false, &r))
		return false;
	for (size_t i = 0; i < o->n_replies; i++)
		if (!memcmp(&o->replies[i], &r, sizeof(r)))
			return true;
	return false;
}

/* ---- Fragments */

/* Where the datagram's own bytes begin, of which fragments are made: behind the IPv4
 * header, behind IPv6's Fragment header. */
static inline uint64_t oracle_data_start(const struct oracle_frame *f)
{
	const uint8_t *ip = f->bytes + f->pkt.l3_off;
	uint64_t at = f->pkt.l3_off + 40U, start = at;
	uint8_t next;
	int walked = 0;

	if (f->pkt.flags & WEIR_PKT_IP4)
		return f->pkt.l3_off + (ip[0] & 15U) * 4;
	next = ip[6];
	while (walked++ < WEIR_PKT_EXT_MAX && at + 8 <= f->n) {
		const uint8_t *h = f->bytes + at;

		if (next == 44) {
			start = at + 8;
			at += 8;
		} else if (next == 51) {
			at += (h[1] + 2U) * 4;
		} else if (next == 0 || next == 43 || next == 60 || next == 135 || next == 139 ||
			   next == 140) {
			at += (h[1] + 1U) * 8;
		} else {
			break;
		}
		next = h[0];
	}
	return start;
}

static inline struct oracle_datagram *oracle_datagram_of(struct judge *o,
							 const struct oracle_frame *f, bool make)
{
	const struct weir_pkt *p = &f->pkt;
	uint8_t key[40];
	uint32_t at;

	memcpy(key, p->src, 16);
	memcpy(key + 16, p->dst, 16);
	memcpy(key + 32, &p->frag_id, 4);
	/* RFC 791: the header's protocol belongs to it; RFC 8200: it does not. */
	key[36] = p->flags & WEIR_PKT_IP4 ? f->bytes[p->l3_off + 9] : 0;
	key[37] = p->flags & WEIR_PKT_IP4 ? 4 : 6;
	key[38] = key[39] = 0;
	at = oracle_hash(key);
	while (o->datagrams[at].used && memcmp(o->datagrams[at].key, key, sizeof(key)) != 0)
		at = (at + 1) % ORACLE_TABLE;
	if (!o->datagrams[at].used && make) {
		assert(++o->n_datagrams < ORACLE_TABLE / 2);
		memcpy(o->datagrams[at].key, key, sizeof(key));
		o->datagrams[at].used = true;
	}
	return o->datagrams[at].used ? &o->datagrams[at] : NULL;
}

static inline void oracle_remember(struct judge *o, const struct oracle_frame *f,
				   const struct oracle_ruling *r)
{
	struct oracle_datagram *d = oracle_datagram_of(o, f, true);
	uint64_t start = oracle_data_start(f), end = (uint64_t)f->pkt.l3_off + f->pkt.l3_len;

	d->first = *r;
	d->first.flags = 0;
	d->end = end > start ? (uint32_t)(end - start) : 0;
	d->seen = weir_clock_mono();
}

/* What is known of a later fragment's datagram, or NULL. One that reaches into the
 * first ends it (RFC 5722). */
static inline const struct oracle_ruling *oracle_recall(struct judge *o,
							const struct oracle_frame *f, bool live)
{
	static const struct oracle_ruling refused = { .reason = WEIR_DROP_FRAGMENT };
	struct oracle_datagram *d = oracle_datagram_of(o, f, false);

	if (!d || weir_clock_mono() - d->seen >= 30 * ORACLE_SECOND)
		return NULL;
	if (f->pkt.frag_off < d->end && !d->first.reason) {
		if (live)
			d->first = refused;
		return &refused;
	}
	return &d->first;
}

/* ---- The verdict */

static inline void oracle_drop(struct oracle_ruling *r, uint32_t reason)
{
	*r = (struct oracle_ruling){ .reason = reason };
}

static inline void oracle_settle(struct judge *o, const struct oracle_frame *f, bool live,
				 enum weir_policy_action action, struct oracle_ruling *r)
{
	const struct weir_pkt *p = &f->pkt;
	uint32_t unread = o->row.unread_pass ? WEIR_DROP_NONE : oracle_unread(p);
	const struct oracle_ruling *first;

	if (r->reason == WEIR_DROP_NONE && unread) {
		oracle_drop(r, unread);
		return;
	}
	if (r->reason == WEIR_DROP_NONE && p->flags & WEIR_PKT_FRAGMENT &&
	    o->row.fragments == WEIR_FRAGMENTS_DROP) {
		oracle_drop(r, WEIR_DROP_FRAGMENT);
		return;
	}
	if (p->flags & WEIR_PKT_FRAG_LATER && !unread && r->reason != WEIR_DROP_LIMIT) {
		if (o->row.fragments == WEIR_FRAGMENTS_PASS && action == WEIR_POLICY_NONE)
			return;
		first = o->row.fragments == WEIR_FRAGMENTS_FOLLOW ? oracle_recall(o, f, live) :
								    NULL;
		if (first) {
			*r = *first;
			return;
		}
	}
	if (action != WEIR_POLICY_NONE || !o->row.drop)
		return;
	if (oracle_is_essential(p, o->out))
		r->flags = WEIR_TEST_ESSENTIAL;
	else if (oracle_is_reply(o, f))
		r->flags = WEIR_TEST_REPLY;
	else
		oracle_drop(r, WEIR_DROP_DEFAULT);
}

static inline void oracle_count(struct judge *o, const struct weir_pkt *p,
				const struct oracle_ruling *r)
{
	struct weir_filter_account *a = &o->account;

	a->seen++;
	a->seen_bytes += p->len;
	a->passed += !r->reason;
	a->replies += r->flags == WEIR_TEST_REPLY;
	a->essential += r->flags == WEIR_TEST_ESSENTIAL;
	if (r->reason) {
		a->dropped[r->reason]++;
		a->dropped_bytes[r->reason] += p->len;
	}
	for (size_t i = 0; r->rule && i < o->n_rules; i++) {
		if (o->rules[i].id != r->rule)
			continue;
		o->rules[i].hits++;
		o->rules[i].bytes += p->len;
	}
}

/* @live: it counts, spends and is remembered; else it is a test run. */
static inline struct oracle_ruling oracle_judge(struct judge *o, struct oracle_frame *f, bool live)
{
	struct oracle_ruling r = { 0 };
	enum weir_policy_action action;

	oracle_parse(&f->pkt, f->bytes, f->n, f->ether, f->vlan_meta, f->wire ? f->wire : f->n);
	action = oracle_rules(o, &f->pkt, live, &r);
	oracle_settle(o, f, live, action, &r);
	if (live && f->pkt.flags & WEIR_PKT_FRAG_MORE && !(f->pkt.flags & WEIR_PKT_FRAG_LATER) &&
	    o->row.fragments == WEIR_FRAGMENTS_FOLLOW)
		oracle_remember(o, f, &r);
	if (live)
		oracle_count(o, &f->pkt, &r);
	return r;
}
