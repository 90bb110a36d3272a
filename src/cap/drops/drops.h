/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI between weir drops and its programs, which sit on the tracepoint where the kernel
 * frees a packet that it did not deliver (kfree_skb): nothing runs for any other packet.
 *
 *	seen = elsewhere + local + unmatched + matched
 *	matched = sum of the rows + lost[ROWS]
 */
#pragma once

#include <linux/types.h>

#include "bpf/pkt.h"

#define WEIR_DROPS_ROWS 8192
#define WEIR_DROPS_FLOWS 16384

/* What was freed. */
enum weir_drops_kind {
	WEIR_DROPS_PACKET,
	WEIR_DROPS_COPY,  /* the copy that a packet socket (a capture) would have got */
	WEIR_DROPS_STRAY, /* nothing at it tells its network namespace any more */
	WEIR_DROPS_KINDS,
};

enum weir_drops_lost {
	WEIR_DROPS_LOST_ROWS,  /* the table of reasons and places was full */
	WEIR_DROPS_LOST_FLOWS, /* the table of flows was full */
	WEIR_DROPS_LOST_RING,  /* no room for the event */
	WEIR_DROPS_LOSSES,
};

struct weir_drops_config {
	__u64 netns;	  /* cookie; 0 = all namespaces */
	__u32 ifindex;	  /* only packets of this one; 0 = any */
	__u32 match_kind; /* enum weir_match_kind */
	__u8 socket;	  /* the tracepoint tells the receiving socket too (kernel 6.11) */
	__u8 flows;	  /* count by flow */
	__u8 events;	  /* ship an event each */
	__u8 pad[5];
};

_Static_assert(sizeof(struct weir_drops_config) == 24, "ABI: struct weir_drops_config");

struct weir_drops_key {
	__u64 netns;
	__u64 place;	/* the instruction that freed it: an address in the kernel's text */
	__u32 reason;	/* enum skb_drop_reason of the kernel at hand */
	__u32 ifindex;	/* where it was, or came in; 0 = neither is known */
	__u16 eth_type; /* as struct weir_pkt has it */
	__u8 proto;
	__u8 kind;     /* enum weir_drops_kind */
	__u8 received; /* it had come in by an interface */
	__u8 bare;     /* a TCP segment that brings nothing: no data, no SYN */
	__u8 pad[2];
};

_Static_assert(sizeof(struct weir_drops_key) == 32, "ABI: struct weir_drops_key");

struct weir_drops_val {
	__u64 packets; /* as the kernel's own counters count: buffers */
	__u64 wire;    /* frames on the wire, where offload has put several into one */
	__u64 bytes;
};

struct weir_drops_flow {
	__u8 src[16], dst[16]; /* as in struct weir_pkt */
	__u64 netns;
	__u64 place; /* and the rest as in struct weir_drops_key */
	__u32 reason;
	__u16 sport, dport;
	__u8 proto;
	__u8 kind;
	__u8 bare;
	__u8 pad[5];
};

_Static_assert(sizeof(struct weir_drops_flow) == 64, "ABI: struct weir_drops_flow");

struct weir_drops_event {
	__u64 ts; /* CLOCK_MONOTONIC */
	struct weir_drops_key key;
	struct weir_pkt pkt; /* flags 0: its headers could not be read */
};

_Static_assert(sizeof(struct weir_drops_event) == 128, "ABI: struct weir_drops_event");

struct weir_drops_counters {
	__u64 seen;
	__u64 elsewhere; /* in other network namespaces */
	__u64 local;	 /* no packets: messages of AF_UNIX, netlink and the like */
	__u64 unmatched;
	__u64 matched;
	__u64 sent; /* events in the ring */
	__u64 lost[WEIR_DROPS_LOSSES];
};

/* XDP verdicts that are none, and redirects that went nowhere. */
struct weir_drops_xdp_key {
	__u64 netns;
	__u32 ifindex;
	__u32 what; /* XDP_ABORTED ... : the verdict; WEIR_DROPS_XDP_REDIRECT: a redirect */
	char prog[16];
};
#define WEIR_DROPS_XDP_REDIRECT 0x100U
#define WEIR_DROPS_XDP_ROWS 1024

_Static_assert(sizeof(struct weir_drops_xdp_key) == 32, "ABI: struct weir_drops_xdp_key");
