/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the filter's programs and user space share. Outside of generations, hence
 * lasting across changes of policy: account, hits (bpf/store.h), buckets,
 * replies, fragments. Inside of one: the compiled policy, rows, limits, sets,
 * the deadline and the way back.
 */
#pragma once

#include <linux/types.h>

#include "bpf/reason.h"

#define WEIR_FILTER_ABI 2
#define WEIR_FILTER_ROWS 64 /* interface x hook x direction, of one namespace */

enum weir_filter_fragments {
	WEIR_FRAGMENTS_FOLLOW, /* a later fragment goes as its first one went */
	WEIR_FRAGMENTS_PASS,   /* what no rule decides passes, whatever the default */
	WEIR_FRAGMENTS_DROP,   /* every fragment is dropped, the first one too */
};

/* One row of read-only data: how an interface is filtered at a hook. */
struct weir_filter_row {
	__u8 drop;	  /* the default: 1 drop, 0 pass */
	__u8 fragments;	  /* enum weir_filter_fragments */
	__u8 unread_pass; /* 1: packets that can't be read to their end are judged all the same */
	__u8 pad;
};

/* Per CPU and row, packets as on the wire. seen = passed + sum of dropped. */
struct weir_filter_account {
	__u64 seen, seen_bytes;
	__u64 passed;
	__u64 replies;	 /* of the passed: replies, past a default of drop */
	__u64 essential; /* of the passed: ARP, neighbour discovery, DHCP, ICMP errors, likewise */
	__u64 dropped[WEIR_DROP_REASONS];
	__u64 dropped_bytes[WEIR_DROP_REASONS];
};

/* ---- Limits: the generic cell rate algorithm (ITU-T I.371): a bucket is the one
 * time at which it would be full again. */
enum weir_limit_per {
	WEIR_PER_RULE,
	WEIR_PER_SOURCE, /* the source under the prefix lengths below */
};

struct weir_limit {
	__u32 rule;	/* id: buckets outlive the generation */
	__u32 per;	/* enum weir_limit_per */
	__u64 cost;	/* ns << WEIR_LIMIT_COST_SHIFT: what one packet, or one bit, takes */
	__u64 depth;	/* ns: the whole burst */
	__u32 bits;	/* 1: the rate counts bits of the frame */
	__u8 len4, len6; /* of the source that shares a bucket */
	__u16 pad;
};
#define WEIR_LIMIT_COST_SHIFT 12 /* 400 Gbit/s is still told within 3 % */
#define WEIR_LIMITS_MAX 1024

/*
 * The buckets of sources lie four to a cache line, found by a keyed hash of rule and
 * prefix. One that is full again says nothing, so it can be forgotten without loss:
 * under a flood of forged sources those go first, and where none is, the fullest.
 * A packet larger than the whole burst passes when its bucket is full, and the debt
 * is paid off: else it never would.
 */
#define WEIR_BUCKET_WAYS 4
struct weir_bucket {
	__u64 key;  /* the hash; 0 = unused */
	__u64 full; /* CLOCK_MONOTONIC ns at which it is full again */
};

/*
 * A bucket that several sources share (--per rule, --per source/24) could be emptied
 * by a flood of forged ones, to the harm of who was there before. So sources are
 * known by their past at each such limit: one that keeps getting packets through
 * gains a level in every interval of 2^29 ns (0.54 s) in which it does, up to
 * WEIR_KNOWN_MAX, and loses one for every WEIR_KNOWN_IDLE intervals without. From
 * level WEIR_KNOWN_LEVEL on it may overdraw the shared bucket by a quarter of the
 * burst, at least one packet, which strangers may not: when the bucket is empty,
 * what drains goes to the known ones first. The rate granted in all stays the same.
 * A source is an IPv4 address, or an IPv6 /64.
 *
 * An entry: 32 bits of the hash, 24 of the interval of its last packet, 8 of level.
 * Eight to a line; a stranger takes the place of the lowest level, never that of a
 * known one.
 */
#define WEIR_KNOWN_WAYS 8
#define WEIR_KNOWN_INTERVAL_SHIFT 29
#define WEIR_KNOWN_LEVEL 8  /* after about 4 s */
#define WEIR_KNOWN_IDLE 4
#define WEIR_KNOWN_MAX 120 /* then forgotten after about 4 minutes */

struct weir_bucket_line {
	union {
		struct weir_bucket way[WEIR_BUCKET_WAYS];
		__u64 known[WEIR_KNOWN_WAYS];
	};
};

/* The lines of the map: those of sources; one for each rule (--per rule), by its id,
 * in way[0]; those of known sources. 24 MB. */
#define WEIR_BUCKET_SOURCES (1U << 18) /* a million sources */
#define WEIR_BUCKET_RULES (1U << 16)   /* WEIR_RULES_MAX */
#define WEIR_BUCKET_KNOWN (1U << 16)   /* half a million */
#define WEIR_BUCKET_LINES (WEIR_BUCKET_SOURCES + WEIR_BUCKET_RULES + WEIR_BUCKET_KNOWN)

/* ---- Replies: learnt from what leaves (comes in, where the default drops what leaves),
 * by the tuple that an answer has */
struct weir_reply_key {
	__u8 src[16], dst[16];
	__u16 sport, dport; /* ICMP echo: the identifier in both */
	__u8 proto;
	__u8 out; /* 1: the answer leaves, to what came in */
	__u8 pad[2];
};
struct weir_reply {
	__u64 last; /* jiffies of the last packet that it would answer */
};
#define WEIR_REPLIES 65536

/* ---- Fragments that follow their first one */
struct weir_fragment_key {
	__u8 src[16], dst[16];
	__u32 id; /* of the datagram, struct weir_pkt.frag_id */
	__u32 row; /* IPv4: and the header's protocol << 8 */
};
struct weir_fragment {
	__u32 decision; /* WEIR_POLICY_DECISION of the first fragment */
	__u32 drop;	/* enum weir_filter_reason; 0 = it passed */
	__u64 at;	/* jiffies */
	__u32 end;	/* bytes of the datagram that the first one has: a later one that
			 * begins before is refused, and with it the datagram (RFC 5722) */
	__u32 pad;
};
#define WEIR_FRAGMENTS 8192
#define WEIR_FRAGMENT_SECONDS 30 /* RFC 791, RFC 8200: reassembly gives up after 15..60 s */

/* ---- A generation's own state, one element, written by user space */
struct weir_filter_generation {
	__u64 deadline; /* jiffies: from then on the previous generation decides; 0 = never */
	__u64 number;
};

/* The fixed gates at tc tell the direction in skb->cb[0] (0 or WEIR_POLICY_OUT, with
 * cb[1] = 0) before they tail-call the program in weir_tc_slot, which is the same for
 * both. */

/* What a test run asks and is told: at XDP in the packet's metadata, at tc in skb->cb,
 * which has 20 bytes. At tc it is known by the magic, which no packet can bring along,
 * since the gates there clear it; at XDP by the gate that leads to it (policy/try.bpf.c). */
#define WEIR_FILTER_TEST_MAGIC 0x5445535452494557ULL
struct weir_filter_test {
	__u32 magic[2]; /* WEIR_FILTER_TEST_MAGIC, low half first */
	/* In: at XDP WEIR_POLICY_DECISION(WEIR_POLICY_NO_ROW, 0, 0), at tc the
	 * direction, 0 or WEIR_POLICY_OUT. Out: the decision. */
	__u32 decision;
	__u32 reason;	/* out: enum weir_filter_reason; 0 = passed */
	__u32 flags;	/* out: WEIR_TEST_* */
};

_Static_assert(sizeof(struct weir_filter_test) == 20, "ABI: struct weir_filter_test");
#define WEIR_TEST_DONE (1U << 0)      /* the filter has decided */
#define WEIR_TEST_REPLY (1U << 1)     /* past the default as a reply */
#define WEIR_TEST_ESSENTIAL (1U << 2) /* past the default as something the network needs */
