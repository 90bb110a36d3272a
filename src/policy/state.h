/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI of the map `state` and of the maps gN_text. It is the one part that never
 * changes: by it every version reads what another one has left, and builds it anew.
 */
#pragma once

#include <linux/types.h>

#define WEIR_STATE_ROWS 64 /* at least WEIR_FILTER_ROWS */

/* Where a row of a generation is, or was: what to detach when it goes. */
struct weir_filter_place {
	__u32 ifindex; /* 0 = the interface was not there */
	__u8 hook;     /* enum weir_policy_hook */
	__u8 flags;    /* WEIR_PLACE_* */
	__u16 pad;
};
#define WEIR_PLACE_OUT (1U << 0)   /* packets that leave */
#define WEIR_PLACE_LEARN (1U << 1) /* replies are learnt there, in the other direction */
#define WEIR_PLACE_GONE (1U << 2)  /* ifindex is what it was before the interface went */

struct weir_filter_places {
	__u32 number; /* of the generation; 0 = unused */
	__u32 pad;
	struct weir_filter_place row[WEIR_STATE_ROWS];
};
/* Those in force, to go back to, and the same two that are about to replace them. */
#define WEIR_STATE_PLACES 4

/* What was found to be attached, by a build whose object file has this hash: to know it
 * again without loading it once more. */
struct weir_filter_build {
	__u64 hash;
	__u64 tag[2]; /* of its programs; learners: what leaves, what comes in */
};

struct weir_filter_state {
	__u32 current;	/* generation in force; 0 = none */
	__u32 abi;	/* WEIR_FILTER_ABI of it */
	__u32 previous; /* to which it goes back at the deadline; 0 = none */
	__u32 next;	/* about to enter force; 0 = none. In force: see the slots */
	__u32 next_previous;
	__u32 generations; /* the number given last */
	__u32 sets;	   /* likewise */
	__u32 previous_abi;
	__u64 deadline; /* jiffies; 0 = none */
	__u64 next_deadline;
	__u64 seed[2]; /* of the buckets' hash, which outlive generations */
	struct weir_filter_build gate, learner;
	__u64 reserved[2];
	struct weir_filter_places places[WEIR_STATE_PLACES];
};

_Static_assert(sizeof(struct weir_filter_state) ==
		       128 + WEIR_STATE_PLACES * (8 + WEIR_STATE_ROWS * 8),
	       "ABI: struct weir_filter_state");

/* gN_text: the policy's text in lines of this size; it ends at the first NUL. */
#define WEIR_TEXT_LINE 4096
struct weir_filter_text {
	char bytes[WEIR_TEXT_LINE];
};
