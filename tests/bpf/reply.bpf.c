/* SPDX-License-Identifier: GPL-2.0-only */
/* What the filter asks about a packet that no rule decided on, one question a run. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"

static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
{
	return bpf_xdp_load_bytes(ctx, off, to, n);
}

#include "policy/fragment.bpf.h"
#include "policy/reply.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_scratch);
} scratch SEC(".maps");

/* Set by the test. */
__u32 flags, row, decision, drop;
__u8 out;

/* Found. */
__u64 now;
__u8 known, essential, recalled;
struct weir_fragment first;

static __always_inline struct weir_scratch *parse(const struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct weir_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;

	if (!s)
		return NULL;
	s->flags = flags;
	weir_parse(&s->pkt, data, end, WEIR_L2_ETHER, 0, end - data);
	now = bpf_jiffies64();
	return s;
}

SEC("xdp.frags")
int ask_reply(struct xdp_md *ctx)
{
	struct weir_scratch *s = parse(ctx);

	if (s) {
		known = weir_reply_known(ctx, s, out);
		essential = weir_is_essential(&s->pkt, out);
	}
	return XDP_PASS;
}

SEC("xdp.frags")
int remember_first(struct xdp_md *ctx)
{
	struct weir_scratch *s = parse(ctx);

	if (s)
		weir_fragment_remember(s, row, decision, drop);
	return XDP_PASS;
}

SEC("xdp.frags")
int recall_first(struct xdp_md *ctx)
{
	struct weir_scratch *s = parse(ctx);
	const struct weir_fragment *f;

	if (!s)
		return XDP_PASS;
	f = weir_fragment_recall(s, row);
	recalled = !!f;
	if (f)
		first = *f;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
