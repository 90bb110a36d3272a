/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The BPF side of the gate: the maps through which the gate and its stages meet,
 * and the way from one stage to the next. Included by the gate itself and by
 * every stage; weir_gate_bind() (dataplane/gate.h) puts the gate's maps in place of
 * a stage's own before load, and sets the two constants.
 *
 * A stage looks like this:
 *
 *	SEC("xdp.frags") int weir_watch(struct xdp_md *ctx)
 *	{
 *		struct weir_scratch *s = weir_gate_scratch();
 *
 *		if (!s)
 *			return XDP_PASS;
 *		if (weir_gate_is_mine(ctx))
 *			...look at s->pkt...
 *		return weir_gate_next_guest(ctx, s);
 *	}
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"

/* Which guest this program is; -1: the gate or a resident stage. */
const volatile __s32 weir_gate_slot = -1;
/* The interface that a guest is for; 0 = every one (a resident stage). */
const volatile __u32 weir_gate_ifindex = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_scratch);
} weir_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, WEIR_GATE_RESIDENTS);
	__type(key, __u32);
	__type(value, __u32);
} weir_resident SEC(".maps");

struct weir_guest_slot {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct weir_guest_slot weir_guest0 SEC(".maps");
struct weir_guest_slot weir_guest1 SEC(".maps");
struct weir_guest_slot weir_guest2 SEC(".maps");
struct weir_guest_slot weir_guest3 SEC(".maps");
struct weir_guest_slot weir_guest4 SEC(".maps");
struct weir_guest_slot weir_guest5 SEC(".maps");
struct weir_guest_slot weir_guest6 SEC(".maps");
struct weir_guest_slot weir_guest7 SEC(".maps");

/* The record of the packet at hand. The verifier wants the test for NULL, which
 * never happens. */
static __always_inline struct weir_scratch *weir_gate_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weir_scratch, &zero);
}

/* Is this a packet of the interface that the stage is for? */
static __always_inline int weir_gate_is_mine(const struct xdp_md *ctx)
{
	return !weir_gate_ifindex || ctx->ingress_ifindex == weir_gate_ifindex;
}

/* Guest @n, where it is behind this program and may be there. A tail call that
 * finds its slot empty falls through. Every one has its own constant map and key,
 * so that the JIT makes a direct jump of it; those of lower slots the verifier
 * removes. */
#define WEIR_GATE_TRY_GUEST(n)                                          \
	do {                                                            \
		if (weir_gate_slot < (n) && flags & WEIR_SCRATCH_GUEST(n)) \
			bpf_tail_call_static(ctx, &weir_guest##n, 0);   \
	} while (0)

/* Go on with the guests behind this one, and behind the last return the verdict. */
static __always_inline int weir_gate_next_guest(struct xdp_md *ctx, const struct weir_scratch *s)
{
	const __u32 flags = s->flags;

	if (flags & WEIR_SCRATCH_GUESTS) {
		WEIR_GATE_TRY_GUEST(0);
		WEIR_GATE_TRY_GUEST(1);
		WEIR_GATE_TRY_GUEST(2);
		WEIR_GATE_TRY_GUEST(3);
		WEIR_GATE_TRY_GUEST(4);
		WEIR_GATE_TRY_GUEST(5);
		WEIR_GATE_TRY_GUEST(6);
		WEIR_GATE_TRY_GUEST(7);
	}
	return (int)s->verdict;
}

/* The same for resident @which, which must be a constant; -1: the gate. */
static __always_inline int weir_gate_next_resident(struct xdp_md *ctx,
						   const struct weir_scratch *s, int which)
{
	const __u32 flags = s->flags;

	if (which < WEIR_GATE_FILTER && flags & WEIR_SCRATCH_RESIDENT(WEIR_GATE_FILTER))
		bpf_tail_call_static(ctx, &weir_resident, WEIR_GATE_FILTER);
	if (which < WEIR_GATE_DNS && flags & WEIR_SCRATCH_RESIDENT(WEIR_GATE_DNS))
		bpf_tail_call_static(ctx, &weir_resident, WEIR_GATE_DNS);
	return weir_gate_next_guest(ctx, s);
}
