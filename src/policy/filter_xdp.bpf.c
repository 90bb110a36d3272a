/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter at XDP: a resident stage of the gate, which has parsed the packet. */
#include "bpf/gate.bpf.h"

static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
{
	return bpf_xdp_load_bytes(ctx, off, to, n);
}

#include "policy/filter.bpf.h"

/* The answer to a test run, into the metadata that asked. */
static __always_inline void answer_test(const struct xdp_md *ctx, const struct weir_ruling *r)
{
	struct weir_filter_test *t = (void *)(long)ctx->data_meta;

	if ((void *)(t + 1) > (void *)(long)ctx->data)
		return;
	t->decision = r->decision;
	t->reason = r->reason;
	t->flags = r->flags;
}

SEC("xdp.frags")
int weir_filter(struct xdp_md *ctx)
{
	struct weir_scratch *s = weir_gate_scratch();
	struct weir_ruling r;

	if (!s)
		return XDP_PASS;
	if (weir_filter_is_over()) {
		bpf_tail_call_static(ctx, &weir_back, 0);
		/* Nothing was filtered here before. */
		return weir_gate_next_resident(ctx, s, WEIR_GATE_FILTER);
	}
	if (!weir_filter_judge(ctx, s, ctx->ingress_ifindex, false, &r))
		return weir_gate_next_resident(ctx, s, WEIR_GATE_FILTER);
	if (s->flags & WEIR_SCRATCH_TEST)
		answer_test(ctx, &r);
	if (!r.reason)
		return weir_gate_next_resident(ctx, s, WEIR_GATE_FILTER);
	/* Dropped: there is nothing left to decide, but observers come yet. */
	s->verdict = XDP_DROP;
	return weir_gate_next_guest(ctx, s);
}

char LICENSE[] SEC("license") = "GPL";
