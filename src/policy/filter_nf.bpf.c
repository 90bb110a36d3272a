/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter at netfilter, in both directions: behind the fixed gate of
 * gates_nf.bpf.c. */
#include "policy/nf.bpf.h"

static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
{
	return weir_nf_load_bytes(ctx, off, to, n);
}

#define WEIR_LIMIT_ONE_CLOCK
#define WEIR_COUNT_ATOMIC
#include "policy/filter.bpf.h"

static __always_inline int filter_packet(struct bpf_nf_ctx *ctx, struct weir_scratch *s)
{
	struct weir_ruling r;
	__u32 ifindex, len;

	if (weir_nf_parse(ctx, s, &ifindex, &len)) {
		s->pkt.flags = WEIR_PKT_TRUNCATED;
		s->pkt.len = len;
	}
	if (!weir_filter_judge(ctx, s, ifindex, weir_nf_is_out(ctx), &r))
		return WEIR_NF_ACCEPT;
	return r.reason ? WEIR_NF_DROP : WEIR_NF_ACCEPT;
}

SEC("netfilter")
int weir_filter_nf(struct bpf_nf_ctx *ctx)
{
	struct weir_scratch *s;
	int verdict;

	if (weir_filter_is_over()) {
		bpf_tail_call_static(ctx, &weir_back, 0);
		return WEIR_NF_ACCEPT; /* nothing was filtered here before */
	}
	s = weir_nf_enter();
	if (!s)
		return WEIR_NF_DROP;
	verdict = filter_packet(ctx, s);
	weir_nf_leave(s);
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
