/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The XDP gate: parse the packet once, then let the stages look and decide.
 */
#include "bpf/bound.bpf.h"
#include "bpf/gate.bpf.h"
#include "bpf/parse.bpf.h"

const volatile __u32 weir_gate_l2 = WEIR_L2_ETHER;

/* The gate does not read it: user space binds it to the program, so that who
 * finds the program by id finds out what it is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_gate_meta);
} weir_gate_meta SEC(".maps");

struct weir_gate_head {
	__u8 bytes[WEIR_PKT_HDR_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_gate_head);
} weir_gate_head SEC(".maps");

/* Parse once more, from a copy, when the headers lie partly in a fragment, which
 * packet pointers do not reach. */
static __always_inline void parse_copy(struct xdp_md *ctx, struct weir_scratch *s, __u32 len)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct weir_gate_head *head;
	__u32 zero = 0, n = len < sizeof(head->bytes) ? len : sizeof(head->bytes);
	__u32 last = weir_last(n);

	if (last >= sizeof(head->bytes) || data + last < end)
		return;
	head = bpf_map_lookup_elem(&weir_gate_head, &zero);
	if (!head || bpf_xdp_load_bytes(ctx, 0, head->bytes, weir_size(last)))
		return;
	weir_parse(&s->pkt, head->bytes, head->bytes + n, weir_gate_l2, 0, len);
}

static __always_inline __u32 test_flag(const struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *meta = (const void *)(long)ctx->data_meta;
	const __u64 *magic = meta;

	if (meta + sizeof(*magic) > data)
		return 0;
	return *magic == WEIR_GATE_TEST_MAGIC ? WEIR_SCRATCH_TEST : 0;
}

SEC("xdp.frags")
int weir_gate(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct weir_scratch *s = weir_gate_scratch();
	__u32 len = bpf_xdp_get_buff_len(ctx);

	if (!s)
		return XDP_PASS;
	s->verdict = XDP_PASS;
	s->rule = 0;
	s->reason = 0;
	s->flags = test_flag(ctx);
	weir_parse(&s->pkt, data, end, weir_gate_l2, 0, len);
	if (s->pkt.flags & WEIR_PKT_TRUNCATED)
		parse_copy(ctx, s, len);
	return weir_gate_next_resident(ctx, s, -1);
}

char LICENSE[] SEC("license") = "GPL";
