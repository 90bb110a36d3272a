/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fragments that follow their first one: only that has ports, so what became of it is
 * remembered for the rest of its datagram. A later fragment that comes before its
 * first one is not known, and neither is one that comes too late to be reassembled.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "bpf/policy_stub.h"
#include "policy/abi.h"
#include "policy/tick.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_FRAGMENTS);
	__type(key, struct weir_fragment_key);
	__type(value, struct weir_fragment);
} weir_fragments SEC(".maps");

/* Which datagram, at which row. IPv4 tells by its header's protocol too (RFC 791):
 * that of the record, unless an authentication header was walked through, as only in
 * a first fragment it can be. IPv6 goes by addresses and identification alone (RFC 8200). */
static __always_inline void weir_fragment_key_of(const struct weir_pkt *p, __u32 row,
						 struct weir_fragment_key *k)
{
	__u32 proto = p->flags & WEIR_PKT_AH ? WEIR_IPPROTO_AH : p->proto;

	__builtin_memcpy(k->src, p->src, sizeof(k->src));
	__builtin_memcpy(k->dst, p->dst, sizeof(k->dst));
	k->id = p->frag_id;
	k->row = row;
	if (p->flags & WEIR_PKT_IP4)
		k->row |= proto << 8;
}

/* What became of the first fragment of this later one's datagram; NULL: not known. */
static __always_inline const struct weir_fragment *weir_fragment_recall(
	const struct weir_scratch *s, __u32 row)
{
	struct weir_fragment_key k;
	struct weir_fragment *f;

	weir_fragment_key_of(&s->pkt, row, &k);
	f = bpf_map_lookup_elem(&weir_fragments, &k);
	if (!f || !weir_tick_within(bpf_jiffies64(), f->at, WEIR_FRAGMENT_SECONDS))
		return NULL;
	/* It would change what the rules have read: from now on all of them are refused. */
	if (s->pkt.frag_off < f->end && !f->drop && !(s->flags & WEIR_SCRATCH_TEST)) {
		f->decision = WEIR_POLICY_DECISION(row, WEIR_POLICY_NONE, 0);
		f->drop = WEIR_DROP_FRAGMENT;
	}
	return f;
}

/* This first fragment was decided on, and dropped for @drop or passed (0). */
static __always_inline void weir_fragment_remember(const struct weir_scratch *s, __u32 row,
						   __u32 decision, __u32 drop)
{
	const struct weir_pkt *p = &s->pkt;
	__u32 end = p->l3_off + p->l3_len;
	struct weir_fragment_key k;
	struct weir_fragment f = {
		.decision = decision,
		.drop = drop,
		.at = bpf_jiffies64(),
		.end = p->frag_start < end ? end - p->frag_start : 0,
	};

	/* A datagram of one piece has no others. */
	if (!(p->flags & WEIR_PKT_FRAG_MORE) || s->flags & WEIR_SCRATCH_TEST)
		return;
	weir_fragment_key_of(p, row, &k);
	bpf_map_update_elem(&weir_fragments, &k, &f, BPF_ANY);
}
