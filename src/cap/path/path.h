/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI between path.bpf.c and user space: the stages of the receive path, what is summed up
 * of each, and the record of one packet's journey.
 */
#pragma once

#include <linux/types.h>

/*
 * The road, from top to bottom. A stage's time is what has passed since the stage before
 * it, so that what takes long shows in one row only:
 *	X(id, name, title, since)
 */
#define WEIR_PATH_STAGES(X)                                                                     \
	X(IRQ, irq, "hard interrupt", "")                                                       \
	X(BACKLOG, backlog, "put on a CPU's backlog", "")                                       \
	X(RAISE, raise, "softirq raised", "since the interrupt began")                          \
	X(RUN, softirq, "softirq run", "since it was raised")                                   \
	X(POLL, poll, "NAPI poll", "how long it took")                                          \
	X(GRO, gro, "given to GRO", "since its poll began")                                     \
	X(STACK, stack, "sk_buff in the stack", "since GRO, or since the backlog's poll began") \
	X(TCP, tcp, "TCP", "since the stack")                                                   \
	X(QUEUE, queue, "socket queue", "since TCP, or since the stack (UDP)")                  \
	X(WAKE, wake, "reader woken", "until it runs")                                          \
	X(COPY, copy, "copied to user space", "since the queue, or since its reader ran")

enum weir_path_stage {
#define X(id, name, title, since) WEIR_PATH_##id,
	WEIR_PATH_STAGES(X)
#undef X
		WEIR_PATH_STAGES_MAX
};

/*
 * Latencies in ns: four buckets for each power of two, so that a bucket's middle is within
 * 12 % of whatever fell into it. The first four are exact.
 */
#define WEIR_PATH_SUB_BITS 2
#define WEIR_PATH_SUB (1U << WEIR_PATH_SUB_BITS)
#define WEIR_PATH_EXP_MAX 36 /* 68 s and more share the last bucket */
#define WEIR_PATH_BUCKETS ((WEIR_PATH_EXP_MAX - WEIR_PATH_SUB_BITS + 2) * WEIR_PATH_SUB)

struct weir_path_sum {
	__u64 count;	  /* every one */
	__u64 samples;	  /* those whose time was taken */
	__u64 total, max; /* ns */
	__u64 bucket[WEIR_PATH_BUCKETS];
};

/* What weir saw and could not follow. */
#define WEIR_PATH_LOST(X)                                                                     \
	X(DISPLACED, displaced, "its place in the table was taken by a later packet")         \
	X(SOCKET_FULL, socket_full, "its socket holds more unread packets than are followed") \
	X(NO_MEMORY, no_memory, "no memory for its socket")                                   \
	X(JOURNEYS, journeys, "more journeys at once than are followed")                      \
	X(CUT_OFF, cut_off, "not read yet when its slice of time was over")                   \
	X(RING_FULL, ring_full, "no room in the ring: the reader is too slow")                \
	X(MISSED, missed, "a program was interrupted by its own event")

enum weir_path_lost {
#define X(id, name, text) WEIR_PATH_LOST_##id,
	WEIR_PATH_LOST(X)
#undef X
		WEIR_PATH_LOST_MAX
};

/*
 * seen = unmatched + sampled_out + matched; packets of other namespaces are not seen.
 * `sampled_out`: nothing but that they came is known.
 */
struct weir_path_account {
	__u64 seen, unmatched, sampled_out, matched;
	__u64 poll_packets; /* that the polls of the row brought, of whatever kind */
	__u64 journeys;	    /* sent to user space */
	__u64 lost[WEIR_PATH_LOST_MAX];
};

/* One a CPU. */
struct weir_path_figures {
	struct weir_path_sum stage[WEIR_PATH_STAGES_MAX];
	struct weir_path_account account;
};

/* Read-only data of the programs, written before load. */
struct weir_path_config {
	__u64 netns;   /* cookie: only packets of this namespace */
	__u32 ifindex; /* 0: of every interface */
	__u32 sample;  /* take the time of one packet in so many, >= 1 */
	__u32 slices;  /* what lies before the stack is watched from time to time */
	__u32 untold;  /* the kernel does not tell of reads */
	__u32 match_kind;  /* enum weir_match_kind */
	__u32 journeys;	   /* follow single packets */
	__u64 slower_than; /* ns: only journeys that took so long */
};

/*
 * Each tracepoint costs, also where the program at it does nothing. So with --sample 1/N
 * all but one are attached for a slice of time, in which every packet's time is taken,
 * those behind the stack until these packets have been read, and then none for N - 1 times
 * as long. Written by user space.
 */
struct weir_path_slice {
	__u64 began; /* CLOCK_MONOTONIC ns; 0: no new packet is followed */
	__u64 epoch; /* the same until its packets are followed no more; 0: none is */
};

/* A journey: CLOCK_MONOTONIC ns at each stage, 0 = it did not pass there. Those before
 * `gro` are its CPU's: the interrupt, softirq and poll that brought it. */
struct weir_path_journey {
	__u64 ts; /* of the last stage: what rings are read in order of */
	__u64 at[WEIR_PATH_STAGES_MAX];
	__u64 total;	       /* ns, from the packet's own first stage to the last */
	__u64 cookie;	       /* of the socket; 0 = unknown */
	__u8 src[16], dst[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 sport, dport;
	__u8 proto;
	__u8 pad;
	__u16 cpu; /* that received it */
	__u32 reader_cpu;
	__u32 ifindex;
	__u32 len; /* bytes from the network header on */
	__u32 pid; /* of the reader: the process, and its thread's name */
	char comm[16];
};

_Static_assert(sizeof(struct weir_path_journey) == 184, "ABI: struct weir_path_journey");
