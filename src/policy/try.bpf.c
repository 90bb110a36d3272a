/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A gate for one test run: it leads to a program of the filter that is in no slot
 * yet, so that the lock-out guard can ask before the switch. It is attached to
 * nothing.
 */
#include "bpf/bound.bpf.h"

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "policy/abi.h"

/* Interfaces whose packets begin with the IP header; the rest is 0. */
const volatile __u32 weir_try_no_l2[WEIR_FILTER_ROWS] = {};
const volatile __u32 weir_try_no_l2_count = 0;

/* The gates' own record takes its place: there the filter looks. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_scratch);
} weir_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_try SEC(".maps");

static __always_inline enum weir_l2 l2_of(__u32 ifindex)
{
	if (weir_try_no_l2_count)
		for (int i = 0; i < WEIR_FILTER_ROWS; i++)
			if (weir_try_no_l2[i] == ifindex)
				return WEIR_L2_NONE;
	return WEIR_L2_ETHER;
}

SEC("xdp.frags")
int weir_filter_try(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct weir_scratch *s = bpf_map_lookup_elem(&weir_scratch, &zero);

	if (!s)
		return XDP_PASS;
	s->verdict = XDP_PASS;
	s->rule = 0;
	s->reason = 0;
	s->packets = 1;
	s->flags = WEIR_SCRATCH_TEST;
	/* What lies behind the linear part counts in the length, too. */
	weir_parse(&s->pkt, data, end, l2_of(ctx->ingress_ifindex), 0, bpf_xdp_get_buff_len(ctx));
	bpf_tail_call_static(ctx, &weir_try, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
