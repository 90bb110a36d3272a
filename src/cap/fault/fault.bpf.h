/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs of `weir fault` have in common: the maps, and whose turn it is. */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/store.h"
#include "cap/fault/fault.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_FAULT_SLOTS);
	__type(key, __u32);
	__type(value, struct weir_fault_rule);
} weir_fault_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_FAULT_SLOTS);
	__type(key, __u32);
	__type(value, struct weir_fault_run);
} weir_fault_run SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_FAULT_SLOTS);
	__type(key, __u32);
	__type(value, struct weir_fault_account);
} weir_fault_account SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_FAULT_DROPS_MAX);
	__type(key, struct weir_fault_drop_key);
	__type(value, struct weir_fault_drop);
} weir_fault_dropped SEC(".maps");

/* The rule store's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX + 1);
	__type(key, __u32);
	__type(value, struct weir_rule_hits);
} weir_hits SEC(".maps");

/* Is the rule in force? Its end stands here, so that no command is needed for it. */
static __always_inline bool weir_fault_in_force(const struct weir_fault_rule *r, __u64 now)
{
	return r->kind != WEIR_FAULT_OFF && now < r->expires;
}

/* 64 bits that look random, of a number (splitmix64, S. Vigna, public domain). */
static __always_inline __u64 weir_fault_random(__u64 seed, __u64 n)
{
	__u64 z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Is it this packet's turn? They are counted over all CPUs, in the order in which they
 * come. @random: for what else depends on the packet. */
static __always_inline bool weir_fault_turn(const struct weir_fault_rule *r,
					    struct weir_fault_run *run, __u64 *random)
{
	__u64 n = __sync_fetch_and_add(&run->count, 1);

	*random = weir_fault_random(r->seed, n);
	if (r->nth)
		return (n + 1) % r->nth == 0;
	return (*random >> 32) < r->threshold;
}

static __always_inline void weir_fault_count_hit(const struct weir_fault_rule *r,
						 struct weir_fault_account *a, __u64 bytes)
{
	__u32 id = r->id;
	struct weir_rule_hits *h = bpf_map_lookup_elem(&weir_hits, &id);

	a->hit++;
	a->hit_bytes += bytes;
	if (!h)
		return;
	h->hits++;
	h->bytes += bytes;
	h->last = bpf_jiffies64();
}
