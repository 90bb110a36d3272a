/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI of the XDP gate: one program per interface that parses each packet once
 * into a per-CPU scratch record and hands it on by tail calls.
 *
 *   resident stages (filter, dns): slots of one prog array, pinned by a verb
 *   guest stages (watch): WEIR_GATE_GUESTS one-slot prog arrays, never pinned,
 *     each kept alive by the descriptor of the guest that fills it
 *
 * Every gate of a network namespace has the same slots, so a guest is called for
 * packets of other gated interfaces too and must look (weir_gate_is_mine()).
 *
 * Order: resident slots ascending, then guests ascending, so observers come
 * last and see the verdict. A stage returns by calling the next one (bpf/gate.bpf.h);
 * behind the last, the verdict is returned.
 */
#pragma once

#include <linux/types.h>

#include "bpf/pkt.h"

#define WEIR_GATE_ABI 2
#define WEIR_GATE_GUESTS 8

enum weir_gate_resident {
	WEIR_GATE_FILTER = 0,
	WEIR_GATE_DNS = 1,
	WEIR_GATE_RESIDENTS = 2,
};

/* weir_scratch.flags */
/* A test run: decide, but count, spend, learn, emit nothing. Only a gate that is attached
 * nowhere sets it (policy/try.bpf.c): a mark in the packet's metadata could come with a
 * frame that another XDP program redirected. */
#define WEIR_SCRATCH_TEST (1U << 0)
/* Slots that may be filled, as in the map weir_gate_used: the rest need not be
 * tried. A guest that was killed leaves its bit behind, which costs a no-op. */
#define WEIR_SCRATCH_GUEST(n) (1U << (8 + (n)))
#define WEIR_SCRATCH_GUESTS (0xffU << 8)
#define WEIR_SCRATCH_RESIDENT(n) (1U << (16 + (n)))

/* One packet's way through one hook. Nothing reads it after the program has
 * returned or after a clone-redirect. */
struct weir_scratch {
	struct weir_pkt pkt;
	__u32 verdict;	/* XDP_PASS, XDP_DROP, XDP_TX; begins as XDP_PASS */
	__u32 rule;	/* id of the rule that decided; 0 = none */
	__u32 flags;	/* WEIR_SCRATCH_* */
	__u32 reason;	/* the deciding verb's drop reason; 0 = none */
	__u32 packets;	/* on the wire: more than 1 where offload has put segments together */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_scratch) == 112, "ABI: struct weir_scratch");

/* One element, written before attach: says what a gate found by id is. */
struct weir_gate_meta {
	__u32 magic;	 /* WEIR_GATE_MAGIC */
	__u32 abi;	 /* WEIR_GATE_ABI */
	__u64 netns;	 /* cookie */
	__u32 ifindex;
	__u32 native;	 /* 1 native, 0 generic */
};
#define WEIR_GATE_MAGIC 0x52494557U

/* Map names inside the gate object, by which a joining stage finds them:
 * weir_gate_meta, weir_gate_used, weir_scratch, weir_resident, weir_guest0 .. weir_guest7. */
