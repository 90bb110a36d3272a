/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI between watch.bpf.c and user space.
 *
 * A packet that matches becomes one event: this header and the frame's first
 * `caplen` bytes. Every capture engine, also those without BPF (TPACKET_V3,
 * libpcap), fills the same header, so that there is one output path.
 */
#pragma once

#include <linux/types.h>

#include "bpf/flow.bpf.h"

#define WEIR_WATCH_IFACES 256	/* interfaces watched by one process; a slot is a byte */
#define WEIR_WATCH_IFACES_FEW 16 /* up to so many are compared one by one */
#define WEIR_WATCH_SNAPLEN 262144 /* the largest --snaplen, as tcpdump's */
#define WEIR_WATCH_CPUS 1024

enum weir_watch_dir {
	WEIR_WATCH_UNKNOWN = 0, /* a file without direction */
	WEIR_WATCH_IN = 1,
	WEIR_WATCH_OUT = 2,
};

enum weir_watch_verdict {
	WEIR_WATCH_NO_VERDICT = 0, /* the hook gives none (everything but XDP) */
	WEIR_WATCH_PASS = 1,
	WEIR_WATCH_DROP = 2,
	WEIR_WATCH_TX = 3,	   /* answered or sent back by a stage */
	WEIR_WATCH_TAKEN = 4,	   /* taken off the interface: an AF_XDP socket has it */
};

/* struct weir_watch_event.flags */
#define WEIR_WATCH_VLAN_META (1U << 0) /* vlan_tci/vlan_proto hold a stripped tag */
#define WEIR_WATCH_NO_L2     (1U << 1) /* data begins at the IP header (tun) */
#define WEIR_WATCH_CSUM_UNDONE (1U << 2) /* known: the L4 checksum is left to the device */
#define WEIR_WATCH_CSUM_OK   (1U << 3) /* known: the device has verified it */
#define WEIR_WATCH_QUEUE     (1U << 4) /* queue is known */
#define WEIR_WATCH_ISN	     (1U << 5) /* rule is the sequence number of the sender's SYN */
#define WEIR_WATCH_FOLLOWED  (1U << 6) /* beside flows: of the one that is looked at */

struct weir_watch_event {
	__u64 ts;	  /* ns since the epoch once user space has it; CLOCK_MONOTONIC in a ring */
	__u32 len;	  /* bytes of the frame; without the stripped tag */
	__u32 caplen;	  /* bytes that follow this header */
	__u32 ifindex;	  /* or the pcapng interface number for files */
	__u32 rule;	  /* id of the rule that gave the verdict; 0 = none */
	__u16 queue;
	__u16 vlan_tci;
	__u16 vlan_proto; /* host order: 0x8100, 0x88a8 */
	__u16 gso_size;	  /* payload bytes a segment; 0 = not segmented */
	__u8  dir;	  /* enum weir_watch_dir */
	__u8  verdict;	  /* enum weir_watch_verdict */
	__u8  flags;	  /* WEIR_WATCH_* */
	__u8  slot;	  /* index of the interface among those watched */
	__u16 eth_type;	  /* with NO_L2: the type behind the tags, 0 = by the IP version */
	__u16 pad;	  /* 0; keeps the data 8-byte aligned */
};

_Static_assert(sizeof(struct weir_watch_event) == 40, "ABI: weir_watch_event");

/* What stands right before a frame in an AF_XDP socket's memory, as XDP metadata. Not every
 * driver has room for it: magic tells. */
struct weir_watch_note {
	__u64 ts;    /* CLOCK_MONOTONIC */
	__u32 magic; /* WEIR_WATCH_NOTE_MAGIC */
	__u32 pad;
};
/* Bytes of a frame that one buffer of an AF_XDP socket holds: a page without the room that the
 * kernel keeps before it. Where take_max is no more, frames are taken that are in one piece. */
#define WEIR_WATCH_XSK_PIECE (4096 - 256)
#define WEIR_WATCH_NOTE_MAGIC 0x65746f6eU

_Static_assert(sizeof(struct weir_watch_note) == 16, "ABI: weir_watch_note");

/* What the programs do with a packet that matches. */
enum weir_watch_mode {
	WEIR_WATCH_RING,  /* write an event to this CPU's ring buffer */
	WEIR_WATCH_PERF,  /* write an event to the perf event array */
	WEIR_WATCH_FLOWS, /* add it to the flow map */
	WEIR_WATCH_COUNT, /* only count */
	WEIR_WATCH_MMAP,  /* socket filter: let it into the socket's own ring */
	WEIR_WATCH_XSK,	  /* XDP: take it off the interface, into an AF_XDP socket */
};

/* struct weir_watch_config.flags[]; in weir_slots they stand above the slot. */
#define WEIR_WATCH_SLOT_BITS 8
#define WEIR_WATCH_IFACE_NO_L2 (1U << 0) /* no link-level header */
#define WEIR_WATCH_IFACE_OUT_ONLY (1U << 1) /* only what goes out is looked at */
#define WEIR_WATCH_IFACE_IN_ONLY (1U << 2)

/* Read-only data of the programs, written before load: the verifier removes
 * what it switches off. */
struct weir_watch_config {
	__u32 mode;		/* enum weir_watch_mode */
	__u32 ifaces;		/* slots that may be in use */
	/* By slot; with more than a few the map weir_slots has both. */
	__u32 ifindex[WEIR_WATCH_IFACES_FEW];
	__u8  flags[WEIR_WATCH_IFACES_FEW]; /* WEIR_WATCH_IFACE_* */
	__u32 snaplen;		/* bytes of each packet to ship, >= 1 */
	__u32 sample;		/* keep one flow in so many; 0 or 1 = all */
	__u32 seed;		/* of the sampling hash */
	__u32 directions;	/* bit set: 1 << enum weir_watch_dir (socket filter) */
	__u32 verdicts;		/* bit set: 1 << enum weir_watch_verdict (XDP) */
	__u32 wake_events;	/* wake the reader after so many events ... */
	__u32 match_kind;	/* enum weir_match_kind */
	__u32 follow;		/* 1: with FLOWS, packets of one flow may be asked for, too */
	__u32 take_max;		/* longest frame that an AF_XDP socket takes */
	__u32 one_point;	/* flows are of the namespace, not of an interface */
	__u32 sides;		/* flow records are struct weir_flow_full */
	__u32 strict_head;	/* --strict-pcap: bytes of the head that it reads; 0 = not here */
	__u32 names;		/* packets that may tell a name are shipped whole: with
				 * WEIR_WATCH_FLOWS to the rings, beside the flow map */
	__u32 stats;		/* 1: keep struct weir_watch_stats, too */
	__u32 alerts;		/* rules of --alert: struct weir_watch_alerts */
	__u64 wake_ns;		/* ... or when the last wake-up is this long ago */
};

/* The flow whose packets are shipped beside the sums, for a look at them. They are no part
 * of the account: what there was no room for has been added up all the same. */
struct weir_watch_followed {
	struct weir_flow_key key;
	__u32 on; /* 0: none */
};

_Static_assert(sizeof(struct weir_watch_followed) == 48, "ABI: weir_watch_followed");

/*
 * Counters: per CPU and interface slot. The law, checked at exit:
 *   seen = unmatched + sampled_out + matched
 *   matched = sent + sum(lost)        (sent: handed to a ring or a flow map)
 * and in user space  sent = delivered + queued.
 */
#define WEIR_WATCH_LOST(X)                                             \
	X(RING_FULL, ring_full, "no room in the ring: the reader is too slow") \
	X(MAP_FULL, map_full, "no room in the flow table: raise --flows-max")  \
	X(TOO_BIG, too_big, "larger than the largest record")                  \
	X(COPY, copy, "the kernel could not copy the packet")                  \
	X(NO_BUFFER, no_buffer, "no buffer to receive into: raise -B")            \
	X(PORT, port, "the port received it with an error")                       \
	X(NO_FRAME, no_frame, "no free buffer for AF_XDP: the reader is too slow") \
	X(NO_QUEUE, no_queue, "came by a receive queue without AF_XDP socket: passed on") \
	X(REDIRECT, redirect, "the kernel could not hand it to the AF_XDP socket") \
	X(WRITER, writer, "the output could not take it")

enum weir_watch_lost {
#define X(id, name, text) WEIR_WATCH_LOST_##id,
	WEIR_WATCH_LOST(X)
#undef X
	WEIR_WATCH_LOST_MAX
};

struct weir_watch_counters {
	__u64 seen;
	__u64 seen_bytes;
	__u64 unmatched;
	__u64 sampled_out;
	__u64 matched;
	__u64 matched_bytes;
	__u64 dropped; /* of matched: another stage's verdict (XDP only) */
	__u64 sent;
	__u64 lost[WEIR_WATCH_LOST_MAX];
	__u64 lost_bytes[WEIR_WATCH_LOST_MAX];
	/* Of WEIR_WATCH_FLOWS: packets shipped for their names, and such for which a ring had
	 * no room. The law above has counted them as parts of their flows. */
	__u64 names_sent;
	__u64 names_lost;
};

/*
 * Statistics: what the delivered packets were. Per CPU in the kernel where flows are added
 * up there, one in user space where packets are read: stats.bpf.h fills both.
 */
#define WEIR_WATCH_PROTOCOLS(X) \
	X(TCP, tcp)             \
	X(UDP, udp)             \
	X(ICMP, icmp)           \
	X(ICMPV6, icmpv6)       \
	X(ARP, arp)             \
	X(OTHER_IP, other_ip)   \
	X(OTHER, other)

enum weir_watch_protocol {
#define X(id, name) WEIR_WATCH_PROTOCOL_##id,
	WEIR_WATCH_PROTOCOLS(X)
#undef X
	WEIR_WATCH_PROTOCOL_MAX
};

/* The classes of frame sizes end at these; the last class has no end. Those up to 1518 are
 * RMON's (RFC 2819), the others jumbo frames and what segmentation offload makes. */
#define WEIR_WATCH_SIZES(X) X(64) X(127) X(255) X(511) X(1023) X(1518) X(9018) X(65535)

enum {
#define X(most) WEIR_WATCH_SIZE_##most,
	WEIR_WATCH_SIZES(X)
#undef X
	WEIR_WATCH_SIZE_LARGER,
	WEIR_WATCH_SIZE_MAX
};

#define WEIR_WATCH_TCP_FLAGS 9 /* the bits of struct weir_pkt.tcp_flags */

struct weir_watch_sum {
	__u64 packets;	    /* as the hook saw them (skbs) */
	__u64 wire_packets; /* segmentation offload unfolded */
	__u64 bytes;
};

struct weir_watch_stats {
	struct weir_watch_sum protocol[WEIR_WATCH_PROTOCOL_MAX];
	struct weir_watch_sum size[WEIR_WATCH_SIZE_MAX];
	__u64 tcp_flags[WEIR_WATCH_TCP_FLAGS]; /* packets with the bit set */
};

/* What matched each rule of --alert, also packets that the flow table had no room for. Per
 * CPU. Which flows had such packets is told by bits of struct weir_flow_val.flags. */
#define WEIR_WATCH_ALERTS 16

struct weir_watch_alerts {
	struct {
		__u64 packets, bytes;
	} rule[WEIR_WATCH_ALERTS];
};
