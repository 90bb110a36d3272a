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

/* Which slots may be filled; user space maps it to set its bits atomically. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_gate_used SEC(".maps");

struct weir_gate_head {
	__u8 bytes[WEIR_PKT_HDR_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_gate_head);
} weir_gate_head SEC(".maps");

/* Parse a frame of @len bytes once more, from a copy of its head: part of it lies
 * in fragments, which packet pointers do not reach. */
static __always_inline void parse_copy(struct xdp_md *ctx, struct weir_scratch *s, __u32 len)
{
	struct weir_gate_head *head;
	__u32 zero = 0, last = weir_last(len), n;

	if (last >= sizeof(head->bytes))
		last = sizeof(head->bytes) - 1;
	n = weir_size(last);
	head = bpf_map_lookup_elem(&weir_gate_head, &zero);
	if (!head || bpf_xdp_load_bytes(ctx, 0, head->bytes, n))
		return;
	weir_parse(&s->pkt, head->bytes, head->bytes + n, weir_gate_l2, 0, len);
}

/* A linear part as long as this may have fragments behind it. */
#define LONG_LINEAR 2048

/* Does the packet end inside the linear part of @linear bytes, by its own word?
 * Asking the kernel for the frame's length costs as much as all the parsing. */
static __always_inline int is_whole(const struct weir_pkt *p, __u32 linear)
{
	return linear < LONG_LINEAR && p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6) &&
	       !(p->flags & (WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED)) &&
	       p->l3_off + p->l3_len <= linear;
}

SEC("xdp.frags")
int weir_gate(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct weir_scratch *s = weir_gate_scratch();
	__u32 zero = 0, linear = end - data, len;
	const __u32 *used = bpf_map_lookup_elem(&weir_gate_used, &zero);

	if (!s || !used)
		return XDP_PASS;
	s->verdict = XDP_PASS;
	s->rule = 0;
	s->reason = 0;
	s->packets = 1;
	s->flags = *used;
	weir_parse(&s->pkt, data, end, weir_gate_l2, 0, linear);
	if (!is_whole(&s->pkt, linear)) {
		len = bpf_xdp_get_buff_len(ctx);
		if (len > linear)
			parse_copy(ctx, s, len);
	}
	return weir_gate_next_resident(ctx, s, -1);
}

char LICENSE[] SEC("license") = "GPL";
