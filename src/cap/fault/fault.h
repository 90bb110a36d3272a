/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of `weir fault` and user space share.
 *
 * A rule has a slot in force. Programs find it there by slot and stamp: a program that
 * outlives its rule, as an inherited socket filter does, meets another stamp, or nothing,
 * and does nothing. Pinned are
 *
 *	switch	 struct weir_fault_rule by slot: what is in force. Unloading zeroes it.
 *	run	 struct weir_fault_run by slot
 *	account	 struct weir_fault_account by slot, per CPU; slot 0: packets of no rule
 *	dropped	 what was dropped, by rule and place (bpf/fault_drops.h)
 *	sk_SLOT	 the socket filter of a rule
 *	packets	 the program at tc, tc_IFINDEX_in ... its links
 *
 * Names and words of the rules are in the rule store (bpf/store.h), with owner and verb
 * "fault"; its hits are the packets that a fault befell.
 */
#pragma once

#include <linux/types.h>

#include "bpf/fault_drops.h"
#include "bpf/pkt.h"

#define WEIR_FAULT_RULES_MAX 64
#define WEIR_FAULT_SLOTS (WEIR_FAULT_RULES_MAX + 1) /* slot 0: no rule */

enum weir_fault_kind {
	WEIR_FAULT_OFF,
	WEIR_FAULT_DROP,
	WEIR_FAULT_CORRUPT,
	WEIR_FAULT_RATE,     /* over it packets are dropped */
	WEIR_FAULT_DELAY,    /* what leaves waits in the fq qdisc */
	WEIR_FAULT_TRUNCATE, /* by socket filter; all others at tc */
	WEIR_FAULT_KINDS,
};

#define WEIR_FAULT_ALWAYS (1ULL << 32) /* threshold of 100 % */
#define WEIR_FAULT_FIX_CHECKSUM (1U << 0)

/* map `switch` */
struct weir_fault_rule {
	__u64 stamp;
	__u64 expires;	 /* CLOCK_BOOTTIME ns; never 0 */
	__u64 threshold; /* of 2^32: the part of the packets that is hit */
	__u64 seed;
	__u64 cost;	     /* RATE: ns << WEIR_FAULT_COST_SHIFT that a bit takes */
	__u64 depth;	     /* RATE: ns, the burst */
	__u64 delay, jitter; /* DELAY: ns */
	__u32 kind;	     /* enum weir_fault_kind */
	__u32 id;	     /* in the rule store */
	__u32 nth;	     /* not 0: each nth is hit, whatever the threshold */
	__u32 keep;	     /* TRUNCATE: bytes of payload */
	__u32 flags;	     /* WEIR_FAULT_FIX_CHECKSUM */
	__u32 pad;
	char name[WEIR_RULE_NAME_MAX];
};

_Static_assert(sizeof(struct weir_fault_rule) == 120, "ABI: struct weir_fault_rule");

#define WEIR_FAULT_COST_SHIFT 12

/* map `run`: one for all CPUs, so that the same seed hits the same packets */
struct weir_fault_run {
	__u64 count; /* packets that could be hit */
	__u64 full;  /* RATE: CLOCK_MONOTONIC ns at which the bucket is full again */
	__u64 pad[6];
};

_Static_assert(sizeof(struct weir_fault_run) == 64, "one cache line a rule");

/* map `account`: matched = hit + passed */
struct weir_fault_account {
	__u64 matched, matched_bytes; /* frames; TRUNCATE: payload of segments that have some */
	__u64 hit, hit_bytes;	      /* likewise; TRUNCATE: bytes that were cut off */
	__u64 passed;
	__u64 unable; /* of the passed: their turn it was, but there was nothing to corrupt */
	__u64 again;  /* of the passed: TRUNCATE, segments that had come before */
};

/* What the compiled rules read: the packet first. They answer WEIR_FAULT_ANSWER of the
 * first rule that matches, or 0. */
struct weir_fault_packet {
	struct weir_pkt pkt;
	__u64 now; /* CLOCK_BOOTTIME ns */
	__u32 key; /* WEIR_FAULT_KEY */
	__u32 pad;
};
#define WEIR_FAULT_OUT 0x80000000U
#define WEIR_FAULT_KEY(ifindex, out) ((ifindex) | ((out) ? WEIR_FAULT_OUT : 0))
#define WEIR_FAULT_ANSWER(slot, stamp) ((__u32)(slot) | (__u32)(stamp) << 8)
#define WEIR_FAULT_ANSWER_SLOT(answer) ((answer)&0xff)

/* One socket with a filter of weir's, as the iterator tells it. */
struct weir_fault_socket {
	__u64 cookie; /* 0: nobody has asked for it yet */
	__u8 local[16], remote[16];
	__u16 lport, rport;
	__u32 prog_id;
	__u32 state; /* TCP_* */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_fault_socket) == 56, "ABI: struct weir_fault_socket");
#define WEIR_FAULT_SK_NAME "weir_fault_sk" /* the socket filter's name */
