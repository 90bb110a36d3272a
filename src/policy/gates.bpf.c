/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixed gates of the filter at tc: they stay attached while the program behind
 * them is switched, for all interfaces and both directions at once, by one slot.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/policy_stub.h"

#define TCX_NEXT (-1) /* = TC_ACT_UNSPEC: the next program, or the default, decides */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_tc_slot SEC(".maps");

/* The direction goes along in skb->cb (policy/abi.h); what was there could be taken
 * for a test run. */
SEC("tcx/ingress")
int weir_filter_tci(struct __sk_buff *skb)
{
	skb->cb[0] = 0;
	skb->cb[1] = 0;
	bpf_tail_call_static(skb, &weir_tc_slot, 0);
	return TCX_NEXT;
}

SEC("tcx/egress")
int weir_filter_tco(struct __sk_buff *skb)
{
	skb->cb[0] = WEIR_POLICY_OUT;
	skb->cb[1] = 0;
	bpf_tail_call_static(skb, &weir_tc_slot, 0);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
