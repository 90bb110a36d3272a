/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter at tc, in both directions: behind the fixed gate of gates.bpf.c. For
 * test runs it stands in for the one at netfilter. */
#include "bpf/skb.bpf.h"

#include "bpf/gate.h"
#include "bpf/hash.bpf.h"

/* Judge what netfilter would see of the packet: it begins with the IP header, and of
 * layer 2 nothing is known. */
const volatile __u8 weir_filter_ip_only = 0;

static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
{
	if (weir_filter_ip_only)
		return bpf_skb_load_bytes_relative(ctx, off, to, n, BPF_HDR_START_NET);
	return weir_skb_load(ctx, off, to, n);
}

#include "policy/filter.bpf.h"

/* The record that at XDP the gate has; one a direction, as the copies of the head. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_scratch);
} weir_tc_scratch SEC(".maps");

/* skb->cb, which nothing on the wire can reach: from the gate, the direction in the
 * first word; in a test run, struct weir_filter_test, with the direction where the
 * decision will be. */
static __always_inline bool is_test(const struct __sk_buff *skb)
{
	return skb->cb[0] == (__u32)WEIR_FILTER_TEST_MAGIC &&
	       skb->cb[1] == (__u32)(WEIR_FILTER_TEST_MAGIC >> 32);
}

/* As weir_nf_parse() does. */
static __always_inline bool parse_ip(struct __sk_buff *skb, bool out, struct weir_pkt *p)
{
	__u32 which = out, len = skb->len - WEIR_ETH_HLEN, n, last;
	struct weir_skb_head *head = bpf_map_lookup_elem(&weir_skb_heads, &which);

	if (!head)
		return false;
	n = len < WEIR_PKT_HDR_MAX ? len : WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last >= WEIR_PKT_HDR_MAX ||
	    weir_load_bytes(skb, 0, head->bytes, weir_size(last)))
		return false;
	weir_parse(p, head->bytes, head->bytes + n, WEIR_L2_NONE, 0, len);
	return true;
}

/* Global, hence verified by itself: the verifier would else follow the rest of the
 * road once for every way through the parser. */
__attribute__((noinline)) int weir_tc_parse(struct __sk_buff *skb, __u32 out)
{
	struct weir_scratch *s = bpf_map_lookup_elem(&weir_tc_scratch, &out);

	if (!s)
		return 0;
	return weir_filter_ip_only ? parse_ip(skb, out, &s->pkt) :
				     weir_skb_parse(skb, out, &s->pkt);
}

static __always_inline int filter_skb(struct __sk_buff *skb)
{
	bool test = is_test(skb), out = skb->cb[test ? 2 : 0] == WEIR_POLICY_OUT;
	__u32 which = out;
	struct weir_scratch *s = bpf_map_lookup_elem(&weir_tc_scratch, &which);
	struct weir_ruling r;

	if (!s)
		return WEIR_TCX_NEXT;
	s->flags = test ? WEIR_SCRATCH_TEST : 0;
	s->rule = 0;
	s->reason = 0;
	if (!weir_tc_parse(skb, out)) {
		s->pkt.flags = WEIR_PKT_TRUNCATED;
		s->pkt.len = skb->len;
	}
	s->packets = weir_wire_packets(&s->pkt, skb->gso_size);
	if (!weir_filter_judge(skb, s, skb->ifindex, out, &r))
		return WEIR_TCX_NEXT;
	if (test) {
		skb->cb[2] = r.decision;
		skb->cb[3] = r.reason;
		skb->cb[4] = r.flags;
	}
	return r.reason ? WEIR_TCX_DROP : WEIR_TCX_NEXT;
}

SEC("tcx/ingress")
int weir_filter_tc(struct __sk_buff *skb)
{
	if (weir_filter_is_over()) {
		bpf_tail_call_static(skb, &weir_back, 0);
		return WEIR_TCX_NEXT; /* nothing was filtered here before */
	}
	return filter_skb(skb);
}

char LICENSE[] SEC("license") = "GPL";
