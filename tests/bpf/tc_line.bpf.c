/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs for the tests of attaching to tc. Each writes itself down behind those
 * that saw the packet before it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PROTOCOL 0x88b5 /* for experiments (IEEE 802): nothing else sends it */
#define TCX_NEXT (-1)
#define TCX_DROP 2

struct weir_line {
	__u64 seen; /* decimal digits, the first program's first */
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_line);
} weir_line SEC(".maps");

static __always_inline int pass_by(const struct __sk_buff *skb, __u32 digit, int verdict)
{
	__u32 zero = 0;
	struct weir_line *l = bpf_map_lookup_elem(&weir_line, &zero);

	if (!l || skb->protocol != bpf_htons(PROTOCOL))
		return TCX_NEXT;
	l->seen = l->seen * 10 + digit;
	__sync_fetch_and_add(&l->packets, 1);
	return verdict;
}

/* Two filters that let pass, known by their names as what WEIR_TC_FILTER holds. */
SEC("tcx/ingress")
int weir_filter_tc1(struct __sk_buff *skb)
{
	return pass_by(skb, 1, TCX_NEXT);
}

SEC("tcx/ingress")
int weir_filter_tc2(struct __sk_buff *skb)
{
	return pass_by(skb, 2, TCX_NEXT);
}

/* One that drops without a word. */
SEC("tcx/ingress")
int weir_filter_tcd(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(PROTOCOL) ? TCX_DROP : TCX_NEXT;
}

SEC("tcx/ingress")
int weir_learn(struct __sk_buff *skb)
{
	return pass_by(skb, 3, TCX_NEXT);
}

/* Not weir's; it ends the line. */
SEC("tcx/ingress")
int other(struct __sk_buff *skb)
{
	return pass_by(skb, 4, 0);
}

char LICENSE[] SEC("license") = "GPL";
