/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parser as the hooks use it: over packet pointers, and over a per-CPU copy
 * of the first bytes. What it finds goes where parse.c reads it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/hash.bpf.h"
#include "bpf/parse.bpf.h"

struct parse_copy {
	__u8 head[WEIR_PKT_HDR_MAX];
	struct weir_pkt pkt;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parse_copy);
} scratch SEC(".maps");

/* Set by the test. */
__u64 head[WEIR_PKT_HDR_MAX / 8]; /* the frame's first bytes, for parse_copied */
__u32 head_len;
__u32 l2, vlan_meta, wire_len, seed, gso_size;

/* Found. */
struct weir_pkt found;
__u32 hash, wire_packets;

static __always_inline void tell(const struct weir_pkt *p)
{
	found = *p;
	hash = weir_pkt_hash(p, seed);
	wire_packets = weir_wire_packets(p, gso_size);
}

SEC("xdp")
int parse_packet(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct parse_copy *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return XDP_ABORTED;
	if (l2 == WEIR_L2_NONE)
		weir_parse(&s->pkt, data, end, WEIR_L2_NONE, vlan_meta, wire_len);
	else
		weir_parse(&s->pkt, data, end, WEIR_L2_ETHER, vlan_meta, wire_len);
	tell(&s->pkt);
	return XDP_PASS;
}

SEC("xdp")
int parse_copied(struct xdp_md *ctx)
{
	__u32 zero = 0, n = head_len;
	struct parse_copy *s;

	(void)ctx;
	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return XDP_ABORTED;
	for (__u32 i = 0; i < WEIR_PKT_HDR_MAX / 8; i++)
		((__u64 *)s->head)[i] = head[i];
	if (n > WEIR_PKT_HDR_MAX)
		n = WEIR_PKT_HDR_MAX;
	if (l2 == WEIR_L2_NONE)
		weir_parse(&s->pkt, s->head, s->head + n, WEIR_L2_NONE, vlan_meta, wire_len);
	else
		weir_parse(&s->pkt, s->head, s->head + n, WEIR_L2_ETHER, vlan_meta, wire_len);
	tell(&s->pkt);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
