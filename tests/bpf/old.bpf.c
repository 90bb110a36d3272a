/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What another build left attached: programs of the same names and maps as the gates
 * and the learner have, which get everything wrong. The gate reads no packet, and
 * those at tc lead nowhere.
 */
#include "bpf/gate.bpf.h"

#define TCX_NEXT (-1)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_gate_meta);
} weir_gate_meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_gate_used SEC(".maps");

SEC("xdp.frags")
int weir_gate(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_gate_scratch();
	__u32 zero = 0;
	const __u32 *used = bpf_map_lookup_elem(&weir_gate_used, &zero);

	if (!s || !used)
		return XDP_PASS;
	s->verdict = XDP_PASS;
	s->rule = 0;
	s->reason = 0;
	s->flags = *used;
	__builtin_memset(&s->pkt, 0, sizeof(s->pkt));
	return weir_gate_next_resident(ctx, s, -1);
}

SEC("tcx/ingress")
int weir_filter_tci(struct __sk_buff *skb)
{
	(void)skb;
	return TCX_NEXT;
}

SEC("tcx/egress")
int weir_filter_out(struct __sk_buff *skb)
{
	skb->cb[4] = 1;
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
