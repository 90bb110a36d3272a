/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Before and behind the filter at netfilter, for its oracle: what the stack hands to
 * the hook, which is not all that was sent and not as it was sent, by the packets'
 * marks; and which of it came through.
 */
#include "policy/nf.bpf.h"

#define SINK_FRAMES 4096

struct sk_buff___marked {
	__u32 mark;
} __attribute__((preserve_access_index));

struct weir_noted {
	__u32 len;   /* of the packet; 0: it did not come */
	__u32 n;     /* bytes kept */
	__u32 times; /* that it came through the filter */
	__u32 pad;
	__u8 bytes[WEIR_PKT_HDR_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SINK_FRAMES);
	__type(key, __u32);
	__type(value, struct weir_noted);
} weir_noted SEC(".maps");

/* The record of a packet with a mark, or NULL. */
static __always_inline struct weir_noted *record(const struct bpf_nf_ctx *ctx)
{
	__u32 mark = ((struct sk_buff___marked *)ctx->skb)->mark;

	return mark ? bpf_map_lookup_elem(&weir_noted, &mark) : NULL;
}

SEC("netfilter")
int weir_nf_note(struct bpf_nf_ctx *ctx)
{
	struct weir_noted *r = record(ctx);
	__u32 len, n, last;

	if (!r)
		return WEIR_NF_ACCEPT;
	len = ctx->skb->len;
	n = len < WEIR_PKT_HDR_MAX ? len : WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last < WEIR_PKT_HDR_MAX && !weir_nf_load_bytes(ctx, 0, r->bytes, weir_size(last)))
		r->n = n;
	r->len = len;
	return WEIR_NF_ACCEPT;
}

SEC("netfilter")
int weir_nf_sink(struct bpf_nf_ctx *ctx)
{
	struct weir_noted *r = record(ctx);

	if (!r)
		return WEIR_NF_ACCEPT;
	r->times++;
	return weir_nf_is_out(ctx) ? WEIR_NF_ACCEPT : WEIR_NF_DROP;
}

char LICENSE[] SEC("license") = "GPL";
