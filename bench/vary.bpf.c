// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gives the packet of a test run another source and hands it on to the program that
 * is measured. Programs with and without fragments can't share a prog array, so there
 * are two of each; what they do is the same. And the kernel's own maps, as peers.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vary.h"

#define ETH_BYTES 14
#define V4_SOURCE (ETH_BYTES + 12)
#define V4_PORT (ETH_BYTES + 20)
#define V6_SOURCE (ETH_BYTES + 8)

const volatile __u8 lengths4[VARY_LENGTHS] = {};
const volatile __u8 lengths6[VARY_LENGTHS] = {};

struct vary_state state = {};

struct key4 {
	__u32 len;
	__be32 addr;
};

struct key6 {
	__u32 len;
	__be64 addr[2];
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next_frags SEC(".maps"), next_plain SEC(".maps"), next_tc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key4);
	__type(value, __u32);
} lpm4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key6);
	__type(value, __u32);
} lpm6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, __u32);
} hash4 SEC(".maps");

struct packet4 {
	__u8 before[V4_SOURCE];
	__be32 source, destination;
	__be16 port;
} __attribute__((packed));

struct packet6 {
	__u8 before[V6_SOURCE];
	__be64 source[2];
} __attribute__((packed));

static __always_inline __u32 source4(__u64 r)
{
	__u32 draw, len, addr;

	if (state.kind == VARY_RANDOM)
		return vary_unicast4((__u32)(r >> 32));
	addr = vary_prefix4((__u32)((r >> 32) * state.n >> 32), &draw);
	len = lengths4[draw & (VARY_LENGTHS - 1)];
	addr &= vary_mask4(len);
	if (state.kind == VARY_FIRST)
		return addr;
	if (state.kind == VARY_NEAR)
		addr ^= 1U << ((32 - len) & 31);
	return addr | ((__u32)r & ~vary_mask4(len));
}

static __always_inline struct vary_v6 source6(__u64 r)
{
	struct vary_v6 a;
	__u32 draw, len;

	if (state.kind == VARY_RANDOM)
		return (struct vary_v6){ vary_unicast6(r), r };
	a = vary_prefix6((__u32)((r >> 32) * state.n >> 32), &draw);
	len = lengths6[draw & (VARY_LENGTHS - 1)];
	if (state.kind == VARY_NEAR) {
		if (len > 64)
			a.low ^= 1ULL << ((128 - len) & 63);
		else
			a.high ^= 1ULL << ((64 - len) & 63);
	}
	/* Other host bits each time; lengths are 32 to 64, or 128. */
	if (len <= 64) {
		a.low = r;
		a.high ^= r >> 7 & (1ULL << ((64 - len) & 63)) - 1;
	}
	return a;
}

/* Change the packet's source as state.kind says. */
static __always_inline void vary(void *data, void *end)
{
	struct packet4 *v4 = data;
	struct packet6 *v6 = data;
	struct vary_v6 a;

	if ((void *)(v4 + 1) > end)
		return;
	state.random = vary_next(state.random);
	if (state.kind == VARY_FLOW) {
		v4->port = bpf_htons(1024 + ((state.random >> 32) * state.n >> 32));
	} else if (v4->before[12] == 0x08) {
		v4->source = bpf_htonl(source4(state.random));
	} else if ((void *)(v6 + 1) <= end) {
		a = source6(state.random);
		v6->source[0] = bpf_cpu_to_be64(a.high);
		v6->source[1] = bpf_cpu_to_be64(a.low);
	}
}

SEC("xdp.frags")
int vary_frags(struct xdp_md *ctx)
{
	vary((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_tail_call_static(ctx, &next_frags, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int vary_plain(struct xdp_md *ctx)
{
	vary((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_tail_call_static(ctx, &next_plain, 0);
	return XDP_ABORTED;
}

SEC("tc")
int vary_tc(struct __sk_buff *skb)
{
	vary((void *)(long)skb->data, (void *)(long)skb->data_end);
	bpf_tail_call_static(skb, &next_tc, 0);
	return TC_ACT_SHOT;
}

/* ---- What the others are measured against */

SEC("xdp.frags")
int bare_frags(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("tc")
int bare_tc(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

/* ---- The kernel's maps, with no more around them than they need */

SEC("xdp.frags")
int drop_lpm4(struct xdp_md *ctx)
{
	struct packet4 *p = (void *)(long)ctx->data;
	struct key4 key = { .len = 32 };

	if ((void *)(p + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	key.addr = p->source;
	return bpf_map_lookup_elem(&lpm4, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp.frags")
int drop_lpm6(struct xdp_md *ctx)
{
	struct packet6 *p = (void *)(long)ctx->data;
	struct key6 key = { .len = 128 };

	if ((void *)(p + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	key.addr[0] = p->source[0];
	key.addr[1] = p->source[1];
	return bpf_map_lookup_elem(&lpm6, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp.frags")
int drop_hash4(struct xdp_md *ctx)
{
	struct packet4 *p = (void *)(long)ctx->data;
	__be32 key;

	if ((void *)(p + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	key = p->source;
	return bpf_map_lookup_elem(&hash4, &key) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
