// SPDX-License-Identifier: GPL-2.0-only
/* What the subjects are measured against, and a decider for them to look at. */
#include "bpf/gate.bpf.h"

SEC("xdp.frags")
int bare_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("xdp.frags")
int bare_drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

/* A stage of the gate that drops everything, as a filter under attack would. */
SEC("xdp.frags")
int gate_drop(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_gate_scratch();

	if (!s)
		return XDP_PASS;
	s->verdict = XDP_DROP;
	return weir_gate_next_resident(ctx, s, WEIR_GATE_FILTER);
}

char LICENSE[] SEC("license") = "GPL";
