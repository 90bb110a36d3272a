/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Learns which packets will be answers: beside a filter whose default drops what
 * comes in it sees what leaves, and the other way round. Decides nothing.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/skb.bpf.h"

static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
{
	return weir_skb_load(ctx, off, to, n);
}

#include "policy/reply.bpf.h"

/* One a direction, as the copies of the head. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_pkt);
} weir_learn_pkt SEC(".maps");

/* Global, hence verified by itself: the verifier would else follow the rest of the
 * road once for every way through the parser. */
__attribute__((noinline)) int weir_learn_parse(struct __sk_buff *skb, __u32 out)
{
	struct weir_pkt *p = bpf_map_lookup_elem(&weir_learn_pkt, &out);

	return p && weir_skb_parse(skb, out, p);
}

/* @out: the packet leaves, and its answer comes in. */
static __always_inline int learn(struct __sk_buff *skb, bool out)
{
	__u32 which = out;
	struct weir_pkt *p = bpf_map_lookup_elem(&weir_learn_pkt, &which);

	if (p && weir_learn_parse(skb, out))
		weir_reply_learn(skb, p, !out);
	return WEIR_TCX_NEXT;
}

SEC("tcx/egress")
int weir_filter_out(struct __sk_buff *skb)
{
	return learn(skb, true);
}

SEC("tcx/ingress")
int weir_filter_in(struct __sk_buff *skb)
{
	return learn(skb, false);
}

char LICENSE[] SEC("license") = "GPL";
