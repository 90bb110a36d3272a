/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The accounts of `weir bypass`, which whoever shows connections reads too: TCP does not
 * know of bytes that go past it. They are pinned with each rule, in `rules/NAME`: `conns` of
 * the connections that are there, and `ended` of the last sockets that have closed.
 */
#pragma once

#include <linux/types.h>

#define WEIR_BYPASS_ABI 2
#define WEIR_BYPASS_RULES "rules"
#define WEIR_BYPASS_CONNS "conns"
#define WEIR_BYPASS_ENDED "ended"

#define WEIR_BYPASS_CONNS_MAX 65536

/* A connection by its ends. */
struct weir_bypass_pair {
	__u8 src[16], dst[16]; /* initiator, listener; IPv4 as ::ffff:a.b.c.d */
	__u16 sport, dport;    /* host order */
};

_Static_assert(sizeof(struct weir_bypass_pair) == 36, "ABI: struct weir_bypass_pair");

enum weir_bypass_side { WEIR_BYPASS_INITIATOR, WEIR_BYPASS_LISTENER, WEIR_BYPASS_SIDES };

/* Why a direction goes by TCP. */
enum weir_bypass_why {
	WEIR_BYPASS_ON,	      /* it does not */
	WEIR_BYPASS_EARLY,    /* its first bytes were sent before the other end was there */
	WEIR_BYPASS_FULL,     /* the reader's buffer is full */
	WEIR_BYPASS_MESSAGES, /* too many small messages are unread */
	WEIR_BYPASS_GONE,     /* the other end does not take any more */
	WEIR_BYPASS_STOPPED,  /* the rule was switched off */
	WEIR_BYPASS_WHYS,
};

/* One direction, from the side it is the index of. Written under that socket's lock. */
struct weir_bypass_way {
	__u64 bytes, messages; /* by the bypass */
	__u64 tcp_bytes;       /* by TCP, up to the byte `last_seq` */
	__u64 peak;	       /* bytes unread at most, as seen before a message */
	__u64 mark;	       /* `bytes` when `since` was 0 */
	__u32 before, since;   /* messages that may be unread: before and since the mark */
	__u32 first_seq, last_seq;
	__u32 tcp_pending; /* bytes given to TCP since; a writer may have had some back */
	__u32 why;	   /* enum weir_bypass_why */
};

#define WEIR_BYPASS_IN(side) (1U << (side))
#define WEIR_BYPASS_BOTH 3U
#define WEIR_BYPASS_CLOSED(side) (4U << (side))
#define WEIR_BYPASS_ALL_CLOSED 12U

/* map `conns`: key = id */
struct weir_bypass_conn {
	struct weir_bypass_pair pair;
	__u32 state; /* WEIR_BYPASS_IN, _CLOSED */
	__u64 since; /* ns of the monotonic clock */
	__u64 netns[WEIR_BYPASS_SIDES];
	__u64 cookie[WEIR_BYPASS_SIDES];
	__u64 sock[WEIR_BYPASS_SIDES]; /* where they lie in the kernel; never shown */
	struct weir_bypass_way way[WEIR_BYPASS_SIDES];
};

/* map `ended`, the least recently used go: key = cookie of a socket */
struct weir_bypass_ended {
	__u64 in, out; /* bytes by the bypass, unread ones too */
};
