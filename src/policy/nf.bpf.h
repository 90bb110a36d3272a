/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet of a netfilter program (kernel 6.4), parsed.
 *
 * There are no packet pointers at this hook and no helper for an skb, only dynptrs.
 * The packet begins with its IP header: what layer 2 had, tags too, is gone. It may
 * be non-linear and, before segmentation, longer than the wire takes.
 *
 * A program on the way out runs for a process, which may be interrupted in the
 * middle of it by a packet that comes in, or by one that leaves for a timer. So a
 * record is taken for each packet and given back:
 *
 *	struct weir_scratch *s = weir_nf_enter();
 *
 *	if (!s)
 *		return WEIR_NF_DROP;
 *	if (weir_nf_parse(ctx, s, &ifindex, &len))
 *		...unread...
 *	weir_nf_leave(s);
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/core_types.h"
#include "bpf/gate.h"
#include "bpf/parse.bpf.h"

/* What such a program may return. */
#define WEIR_NF_DROP 0
#define WEIR_NF_ACCEPT 1

/* enum nf_inet_hooks */
#define WEIR_NF_POST_ROUTING 4

/* Packets on one CPU that are under way at the same time: one of a process, one that
 * interrupts it; more only where the kernel preempts itself. */
#define WEIR_NF_RECORDS 16

/* No longer than the least MTU of IPv4 hosts: surely one packet. */
#define WEIR_NF_SINGLE 576

struct weir_nf_record {
	struct weir_scratch scratch; /* first: weir_nf_leave() goes back from it */
	__u8 head[WEIR_PKT_HDR_MAX];
	__u32 taken;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_NF_RECORDS);
	__type(key, __u32);
	__type(value, struct weir_nf_record);
} weir_nf_records SEC(".maps");

extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *ret) __ksym;

/* A free record, or NULL, which calls for a drop: the packet can't be judged. */
static __always_inline struct weir_scratch *weir_nf_enter(void)
{
	for (__u32 i = 0; i < WEIR_NF_RECORDS; i++) {
		__u32 key = i;
		struct weir_nf_record *r = bpf_map_lookup_elem(&weir_nf_records, &key);

		if (r && !__sync_lock_test_and_set(&r->taken, 1))
			return &r->scratch;
	}
	return NULL;
}

static __always_inline void weir_nf_leave(struct weir_scratch *s)
{
	struct weir_nf_record *r = (struct weir_nf_record *)s;

	__sync_lock_test_and_set(&r->taken, 0);
}

static __always_inline bool weir_nf_is_out(const struct bpf_nf_ctx *ctx)
{
	return ctx->state->hook == WEIR_NF_POST_ROUTING;
}

/* Copy @n bytes from @off on; 0, or a negative errno where they are not there. */
static __always_inline long weir_nf_load_bytes(struct bpf_nf_ctx *ctx, __u32 off, void *to, __u32 n)
{
	struct bpf_dynptr d;
	long ret = bpf_dynptr_from_skb(ctx->skb, 0, &d);

	return ret ? ret : bpf_dynptr_read(to, n, &d, off, 0);
}

/* Segments that offload has put together, or will cut. Small packets need not be
 * asked, which costs a call. */
static __always_inline __u32 weir_nf_packets(const struct sk_buff *skb)
{
	const struct skb_shared_info *shared;
	__u16 segments = 0;

	if (skb->len <= WEIR_NF_SINGLE)
		return 1;
	shared = (const void *)(skb->head + skb->end);
	bpf_probe_read_kernel(&segments, sizeof(segments), &shared->gso_segs);
	return segments ? segments : 1;
}

/*
 * Fill @s, which weir_nf_enter() gave, from the packet, and tell the interface by
 * which it came or leaves and its length. Returns 0, or -1 where the kernel refuses
 * its bytes; then s->pkt has no field.
 *
 * Only a test run has no network namespace: it is marked as one.
 */
static __always_inline int weir_nf_parse(struct bpf_nf_ctx *ctx, struct weir_scratch *s,
					 __u32 *ifindex, __u32 *len)
{
	struct weir_nf_record *r = (struct weir_nf_record *)s;
	const struct nf_hook_state *state = ctx->state;
	const struct net_device *dev = weir_nf_is_out(ctx) ? state->out : state->in;
	__u32 n, last;

	*ifindex = dev ? (__u32)dev->ifindex : 0;
	*len = ctx->skb->len;
	s->verdict = 0;
	s->rule = 0;
	s->reason = 0;
	s->flags = state->net ? 0 : WEIR_SCRATCH_TEST;
	s->packets = weir_nf_packets(ctx->skb);
	n = *len < WEIR_PKT_HDR_MAX ? *len : WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last >= WEIR_PKT_HDR_MAX || weir_nf_load_bytes(ctx, 0, r->head, weir_size(last))) {
		__builtin_memset(&s->pkt, 0, sizeof(s->pkt));
		return -1;
	}
	weir_parse(&s->pkt, r->head, r->head + n, WEIR_L2_NONE, 0, *len);
	return 0;
}
