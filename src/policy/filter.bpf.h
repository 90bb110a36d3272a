/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter's road, the same at every hook: ask the compiled policy, settle what
 * rules cannot (packets that can't be read, fragments, the default and what may
 * pass it), count.
 *
 * A program includes this behind its definition of weir_load_bytes()
 * (policy/reply.bpf.h).
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "bpf/set.bpf.h"
#include "bpf/store.h"
#include "policy/abi.h"
#include "policy/fragment.bpf.h"
#include "policy/limit.bpf.h"
#include "policy/reply.bpf.h"

#include "bpf/policy_stub.bpf.h"

const volatile struct weir_filter_row weir_filter_rows[WEIR_FILTER_ROWS] = {};
const volatile __u8 weir_filter_confirm = 0; /* look at the deadline */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_FILTER_ROWS);
	__type(key, __u32);
	__type(value, struct weir_filter_account);
} weir_account SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX + 1);
	__type(key, __u32);
	__type(value, struct weir_rule_hits);
} weir_hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_filter_generation);
} weir_generation SEC(".maps");

/* The previous generation's program, while this one waits to be confirmed. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_back SEC(".maps");

/* What became of a packet. */
struct weir_ruling {
	__u32 decision; /* of the policy: row, action, rule */
	__u32 reason;	/* enum weir_filter_reason; 0 = it passes */
	__u32 flags;	/* WEIR_TEST_* */
};

/* Has the time to confirm run out? */
static __always_inline bool weir_filter_is_over(void)
{
	const struct weir_filter_generation *g;
	__u32 zero = 0;

	if (!weir_filter_confirm)
		return false;
	g = bpf_map_lookup_elem(&weir_generation, &zero);
	return g && g->deadline && bpf_jiffies64() >= g->deadline;
}

/* No rule decided and the default is to drop: what still passes? */
static __always_inline void weir_past_default(void *ctx, const struct weir_scratch *s, bool out,
					      struct weir_ruling *r)
{
	if (weir_is_essential(&s->pkt, out))
		r->flags |= WEIR_TEST_ESSENTIAL;
	else if (weir_reply_known(ctx, s, out))
		r->flags |= WEIR_TEST_REPLY;
	else
		r->reason = WEIR_DROP_DEFAULT;
}

static __always_inline __u32 weir_unread_reason(__u32 flags)
{
	if (flags & WEIR_PKT_MALFORMED)
		return WEIR_DROP_MALFORMED;
	if (flags & WEIR_PKT_TRUNCATED)
		return WEIR_DROP_TRUNCATED;
	return flags & (WEIR_PKT_MORE_VLANS | WEIR_PKT_MORE_EXT) ? WEIR_DROP_HEADERS :
								   WEIR_DROP_NONE;
}

/* The rules decide nothing here: leave the row alone. */
static __always_inline void weir_drop_for(struct weir_ruling *r, __u32 reason)
{
	r->decision = WEIR_POLICY_DECISION(WEIR_POLICY_ROW(r->decision), WEIR_POLICY_NONE, 0);
	r->reason = reason;
}

/* A later fragment: it goes as its first one went, whatever rules say of it alone.
 * Returns whether that is known. */
static __always_inline bool weir_follow(const struct weir_scratch *s, struct weir_ruling *r)
{
	const struct weir_fragment *first = weir_fragment_recall(s, WEIR_POLICY_ROW(r->decision));

	if (!first)
		return false;
	r->decision = first->decision;
	r->reason = first->drop;
	/* A test run has told the record nothing. */
	if (!first->drop && s->pkt.frag_off < first->end)
		weir_drop_for(r, WEIR_DROP_FRAGMENT);
	return true;
}

/* Why nothing but the packet itself stands against it; WEIR_DROP_NONE: it does not. */
static __always_inline __u32 weir_odd_reason(__u32 flags, __u32 row)
{
	__u32 unread = weir_unread_reason(flags);

	if (unread && !weir_filter_rows[row].unread_pass)
		return unread;
	if (flags & WEIR_PKT_FRAGMENT && weir_filter_rows[row].fragments == WEIR_FRAGMENTS_DROP)
		return WEIR_DROP_FRAGMENT;
	return WEIR_DROP_NONE;
}

/* A fragment or an unread packet whose rule, if any, is in *r already. */
static __always_inline void weir_settle(void *ctx, const struct weir_scratch *s, bool out,
					__u32 row, struct weir_ruling *r)
{
	__u32 action = WEIR_POLICY_ACTION(r->decision), odd = weir_odd_reason(s->pkt.flags, row);
	__u32 how = weir_filter_rows[row].fragments;

	if (odd) {
		if (!r->reason)
			weir_drop_for(r, odd);
		return;
	}
	if (s->pkt.flags & WEIR_PKT_FRAG_LATER) {
		if (how == WEIR_FRAGMENTS_FOLLOW && action != WEIR_POLICY_LIMIT &&
		    weir_follow(s, r))
			return;
		if (how == WEIR_FRAGMENTS_PASS)
			return;
	}
	if (action == WEIR_POLICY_NONE && weir_filter_rows[row].drop)
		weir_past_default(ctx, s, out, r);
}

/* Packets with a flag that rules cannot settle: a function of its own, since few are,
 * and the rest should not pay for its registers. Returns the reason to drop it. */
static __attribute__((noinline)) int weir_settle_odd(void *ctx, const struct weir_scratch *s,
						     struct weir_ruling *r, __u32 out)
{
	__u32 row = WEIR_POLICY_ROW(r->decision), flags = s->pkt.flags;

	if (row >= WEIR_FILTER_ROWS)
		return WEIR_DROP_NONE;
	weir_settle(ctx, s, out, row, r);
	if (flags & WEIR_PKT_FRAGMENT && !(flags & WEIR_PKT_FRAG_LATER) &&
	    weir_filter_rows[row].fragments == WEIR_FRAGMENTS_FOLLOW)
		weir_fragment_remember(s, row, r->decision, r->reason);
	return (int)r->reason;
}

/* Per-CPU counters: at XDP and tc nothing else counts on this CPU meanwhile. At
 * netfilter a process may be interrupted, or moved to another CPU (WEIR_COUNT_ATOMIC). */
#ifdef WEIR_COUNT_ATOMIC
#define WEIR_COUNT(counter, n) __sync_fetch_and_add(&(counter), n)
#else
#define WEIR_COUNT(counter, n) ((counter) += (n))
#endif

static __always_inline void weir_count_row(const struct weir_scratch *s,
					   const struct weir_ruling *r)
{
	__u32 row = WEIR_POLICY_ROW(r->decision), reason = r->reason;
	struct weir_filter_account *a = bpf_map_lookup_elem(&weir_account, &row);

	if (!a)
		return;
	WEIR_COUNT(a->seen, s->packets);
	WEIR_COUNT(a->seen_bytes, s->pkt.len);
	/* Compared on its own: the 6.1 verifier learns nothing of `reason` from
	 * the compiler's reason - 1 < max - 1. */
	WEIR_OPAQUE(reason);
	if (!r->reason) {
		WEIR_COUNT(a->passed, s->packets);
	} else if (reason < WEIR_DROP_REASONS) {
		WEIR_COUNT(a->dropped[reason], s->packets);
		WEIR_COUNT(a->dropped_bytes[reason], s->pkt.len);
	}
	if (r->flags & WEIR_TEST_REPLY)
		WEIR_COUNT(a->replies, s->packets);
	if (r->flags & WEIR_TEST_ESSENTIAL)
		WEIR_COUNT(a->essential, s->packets);
}

static __always_inline void weir_count_rule(const struct weir_scratch *s,
					    const struct weir_ruling *r)
{
	__u32 rule = WEIR_POLICY_RULE(r->decision);
	struct weir_rule_hits *h;

	if (!rule)
		return;
	h = bpf_map_lookup_elem(&weir_hits, &rule);
	if (!h)
		return;
	WEIR_COUNT(h->hits, s->packets);
	WEIR_COUNT(h->bytes, s->pkt.len);
	h->last = bpf_jiffies64();
}

/*
 * Judge the packet of @s, which came in (@out: leaves) by @ifindex. Returns false
 * where the interface is none of the filter's; then *r says nothing. Sets s->rule and
 * s->reason.
 */
static __always_inline bool weir_filter_judge(void *ctx, struct weir_scratch *s, __u32 ifindex,
					      bool out, struct weir_ruling *r)
{
	__u32 row, action;

	r->decision = weir_policy(s, WEIR_POLICY_KEY(ifindex, out));
	r->flags = WEIR_TEST_DONE;
	r->reason = WEIR_DROP_NONE;
	row = WEIR_POLICY_ROW(r->decision);
	if (row >= WEIR_FILTER_ROWS)
		return false;
	action = WEIR_POLICY_ACTION(r->decision);
	if (action == WEIR_POLICY_DENY)
		r->reason = WEIR_DROP_RULE;
	else if (action == WEIR_POLICY_LIMIT)
		r->reason = WEIR_DROP_LIMIT;
	if (s->pkt.flags & (WEIR_PKT_STOP | WEIR_PKT_FRAGMENT))
		r->reason = (__u32)weir_settle_odd(ctx, s, r, out);
	else if (action == WEIR_POLICY_NONE && weir_filter_rows[row].drop)
		weir_past_default(ctx, s, out, r);

	s->reason = r->reason;
	s->rule = WEIR_POLICY_RULE(r->decision);
	if (r->reason && !s->rule)
		s->rule = WEIR_RULE_BUILTIN | r->reason;
	if (!(s->flags & WEIR_SCRATCH_TEST)) {
		weir_count_row(s, r);
		weir_count_rule(s, r);
	}
	return true;
}
