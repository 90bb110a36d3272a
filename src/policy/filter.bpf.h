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

/* A later fragment that nothing dropped yet. Returns whether it is settled. */
static __always_inline bool weir_later_fragment(const struct weir_scratch *s, __u32 how,
						struct weir_ruling *r)
{
	__u32 row = WEIR_POLICY_ROW(r->decision);
	const struct weir_fragment *first;

	if (how == WEIR_FRAGMENTS_PASS)
		return true;
	first = weir_fragment_recall(s, row);
	if (!first)
		return WEIR_POLICY_ACTION(r->decision) != WEIR_POLICY_NONE;
	r->decision = first->decision;
	r->reason = first->drop;
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

/* Packets with a flag that rules cannot settle: a function of its own, since few
 * are, and the rest should not pay for its registers. */
static __attribute__((noinline)) int weir_settle_odd(void *ctx, const struct weir_scratch *s,
						     struct weir_ruling *r, __u32 out)
{
	__u32 row = WEIR_POLICY_ROW(r->decision), flags = s->pkt.flags, how, odd;
	bool later = flags & WEIR_PKT_FRAG_LATER, settled = r->reason != WEIR_DROP_NONE;

	if (row >= WEIR_FILTER_ROWS)
		return 0;
	how = weir_filter_rows[row].fragments;
	odd = weir_odd_reason(flags, row);
	if (!settled && odd) {
		weir_drop_for(r, odd);
		settled = true;
	}
	if (!settled && later)
		settled = weir_later_fragment(s, how, r);
	if (!settled && WEIR_POLICY_ACTION(r->decision) == WEIR_POLICY_NONE &&
	    weir_filter_rows[row].drop)
		weir_past_default(ctx, s, out, r);
	if (flags & WEIR_PKT_FRAGMENT && !later && how == WEIR_FRAGMENTS_FOLLOW)
		weir_fragment_remember(s, row, r->decision, r->reason);
	return 0;
}

static __always_inline void weir_count_ruling(const struct weir_scratch *s,
					      const struct weir_ruling *r)
{
	__u32 row = WEIR_POLICY_ROW(r->decision), rule = WEIR_POLICY_RULE(r->decision);
	struct weir_filter_account *a = bpf_map_lookup_elem(&weir_account, &row);
	__u32 reason = r->reason;

	if (a) {
		a->seen++;
		a->seen_bytes += s->pkt.len;
		/* Compared on its own: the 6.1 verifier learns nothing of `reason` from
		 * the compiler's reason - 1 < max - 1. */
		WEIR_OPAQUE(reason);
		if (!r->reason) {
			a->passed++;
		} else if (reason < WEIR_DROP_REASONS) {
			a->dropped[reason]++;
			a->dropped_bytes[reason] += s->pkt.len;
		}
		if (r->flags & WEIR_TEST_REPLY)
			a->replies++;
		if (r->flags & WEIR_TEST_ESSENTIAL)
			a->essential++;
	}
	if (rule) {
		struct weir_rule_hits *h = bpf_map_lookup_elem(&weir_hits, &rule);

		if (!h)
			return;
		h->hits++;
		h->bytes += s->pkt.len;
		h->last = bpf_jiffies64();
	}
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
		weir_settle_odd(ctx, s, r, out);
	else if (action == WEIR_POLICY_NONE && weir_filter_rows[row].drop)
		weir_past_default(ctx, s, out, r);

	s->reason = r->reason;
	s->rule = WEIR_POLICY_RULE(r->decision);
	if (r->reason && !s->rule)
		s->rule = WEIR_RULE_BUILTIN | r->reason;
	if (!(s->flags & WEIR_SCRATCH_TEST))
		weir_count_ruling(s, r);
	return true;
}
