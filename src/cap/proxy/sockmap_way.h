/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the engine sockmap and its program (relay.bpf.c) share: a record for each
 * direction of a relay, in an array that both have mapped.
 *
 * A direction's program runs under the lock of the socket that it reads from, always. So
 * whatever user space does that takes that lock (getsockopt(TCP_INFO)) comes either
 * before a run of the program, or behind it with all that it wrote.
 */
#pragma once

#include <linux/types.h>

/* Values of `stop`: who moves the bytes that come from now on. 0: the program. */
enum weir_way_stop {
	WEIR_WAY_ROOM = 1, /* the target has no room for them */
	WEIR_WAY_UNSENT,   /* the target has too much that it could not send */
	WEIR_WAY_TARGET,   /* there is no target to give them to */
	WEIR_WAY_BROKEN,   /* nobody can: a repetition could not be cut off */
};

struct weir_way {
	__u64 redirected;  /* bytes given to the target's queue */
	__u32 begun;	   /* the program has run: `next` is set */
	__u32 next;	   /* sequence number of the byte that comes next */
	__u64 first, last; /* bpf_ktime_get_ns() of redirects (last: coarse); 0: none */
	__u32 stop;	   /* enum weir_way_stop; once set, stays */
	__u32 base;	   /* the target's write_seq when `redirected` was 0 */
	/* Memory of what waits in the target's queue, at most: skbs since `mark` and
	 * those of the stretch before it. When the target has written up to `mark`, the
	 * stretch before it is gone, and a new one begins. */
	__u32 mark, cost, cost_before;
	__u32 bell;  /* index into weir_bells: whom to tell of a stop */
	__u64 token; /* ...and what */
} __attribute__((aligned(64)));

enum { WEIR_BELLS_MAX = 64 }; /* loops that have relays at a time */
enum { WEIR_WAYS = 2 };	      /* of a relay, by enum weir_end_of of their source */

/* Key of the sockets' maps and of `weir_ends`: a socket's cookie. */
struct weir_way_end {
	__u32 way;    /* its own: index into weir_ways */
	__u32 target; /* index of the other socket in weir_targets */
};

struct weir_way_limits {
	__u32 unsent; /* bytes that a target may have and could not send yet */
};
