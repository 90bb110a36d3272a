/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stages for the tests of the gate: a guest that keeps what it saw, and a
 * resident that decides.
 */
#include "bpf/gate.bpf.h"

struct weir_seen {
	__u64 packets;
	struct weir_scratch last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_seen);
} weir_seen SEC(".maps");

const volatile __u32 resident_verdict = XDP_DROP;
const volatile __u32 resident_rule = 7;

SEC("xdp.frags")
int weir_test_guest(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_gate_scratch();
	__u32 zero = 0;
	struct weir_seen *seen = bpf_map_lookup_elem(&weir_seen, &zero);

	if (!s || !seen)
		return XDP_PASS;
	/* Neighbour discovery and the like come at any time. */
	if (weir_gate_is_mine(ctx) && s->pkt.flags & WEIR_PKT_PORTS) {
		__sync_fetch_and_add(&seen->packets, 1);
		seen->last = *s;
	}
	return weir_gate_next_guest(ctx, s);
}

SEC("xdp.frags")
int weir_test_resident(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_gate_scratch();

	if (!s)
		return XDP_PASS;
	s->verdict = resident_verdict;
	s->rule = resident_rule;
	return weir_gate_next_resident(ctx, s, WEIR_GATE_FILTER);
}

char LICENSE[] SEC("license") = "GPL";
