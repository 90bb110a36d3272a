/* SPDX-License-Identifier: GPL-2.0-only */
/* What `weir tcp` and its programs in the kernel tell each other. */
#pragma once

#include <linux/types.h>

#include "bpf/ends.h"

#define WEIR_TCP_COMM 16
#define WEIR_TCP_CONGESTION 16

/*
 * Round trips in microseconds: below 4 each its own bucket, above that four to an octave,
 * so that a bucket is at most a quarter wider than its lower bound. The last takes the rest.
 */
#define WEIR_TCP_BUCKETS 96

#define WEIR_TCP_LOCAL 1 /* who ended a connection: these bits */
#define WEIR_TCP_REMOTE 2

/* Why segments were sent again. */
enum weir_tcp_cause {
	WEIR_TCP_CAUSE_RTO,
	WEIR_TCP_CAUSE_FAST,  /* by selective acknowledgements or three equal ones */
	WEIR_TCP_CAUSE_TLP,   /* tail loss probe */
	WEIR_TCP_CAUSE_SYN,   /* of the handshake, SYN or SYN-ACK */
	WEIR_TCP_CAUSE_OTHER, /* path MTU, and what no hook told of */
	WEIR_TCP_CAUSES,
};

/* How a connection ended. */
enum weir_tcp_how {
	WEIR_TCP_HOW_NONE, /* it lives */
	WEIR_TCP_HOW_FIN,
	WEIR_TCP_HOW_RESET_SENT,
	WEIR_TCP_HOW_RESET_RECEIVED,
	WEIR_TCP_HOW_REFUSED, /* a reset, or ICMP, in answer to the SYN */
	WEIR_TCP_HOW_TIMEOUT,
	WEIR_TCP_HOW_UNREACHABLE,
	WEIR_TCP_HOW_ABORTED, /* by this host, while connecting or by hand */
	WEIR_TCP_HOWS,
};

enum weir_tcp_kind {
	WEIR_TCP_CONNECT,     /* a SYN was sent */
	WEIR_TCP_ACCEPT,      /* the handshake is done, the peer began it */
	WEIR_TCP_ESTABLISHED, /* the handshake is done, this end began it */
	WEIR_TCP_RETRANSMIT,
	WEIR_TCP_RESET,
	WEIR_TCP_CLOSE, /* struct weir_tcp_closed */
	WEIR_TCP_KINDS,
};

enum weir_tcp_lost {
	WEIR_TCP_LOST_RING,    /* an event: the ring was full */
	WEIR_TCP_LOST_STORAGE, /* a connection: the kernel had no memory for its record */
	WEIR_TCP_LOSTS,
};

#define WEIR_TCP_F_OLD (1U << 0)     /* older than this run: its beginning was not seen */
#define WEIR_TCP_F_PENDING (1U << 1) /* its local port, hence the match, is not known yet */
#define WEIR_TCP_F_RST_IN (1U << 2)
#define WEIR_TCP_F_RST_OUT (1U << 3)
#define WEIR_TCP_F_APP_LIMITED (1U << 4) /* the delivery rate is what the application asked for */
#define WEIR_TCP_F_BYPASS (1U << 5)	 /* by user space: `weir bypass` has it in its account */
#define WEIR_TCP_F_FIN_IN (1U << 6)	 /* the peer's FIN has come */

/* What the kernel's TCP keeps itself, as TCP_INFO has it. Times in microseconds. */
struct weir_tcp_figures {
	__u64 bytes_received, bytes_acked, bytes_sent, bytes_retrans; /* received: the FIN too */
	__u64 delivery_rate; /* bytes a second */
	__u64 pacing_rate;   /* likewise; ~0: no limit */
	__u64 busy_us, rwnd_limited_us, sndbuf_limited_us;
	__u32 segs_in, segs_out, data_segs_in, data_segs_out;
	__u32 srtt_us, rttvar_us, min_rtt_us, rcv_rtt_us, rto_us;
	__u32 cwnd, ssthresh, mss, rcv_mss, snd_wnd, rcv_wnd;
	__u32 unacked, sacked, lost, retrans_out, notsent;
	__u32 total_retrans, out_of_order, reordering, reord_seen, dsack_dups, delivered,
		delivered_ce;
	__u8 state, ca_state, backoff, pad;
	char congestion[WEIR_TCP_CONGESTION];
};

/*
 * A connection: its record beside the kernel's socket, what the iterator writes, and what
 * goes with its end. Times are CLOCK_MONOTONIC nanoseconds.
 */
struct weir_tcp_conn {
	struct weir_ends ends;
	__u64 start;	 /* of the handshake; 0 = not seen */
	__u64 handshake; /* how long it took; 0 = not known */
	__u64 rtt_sum;	 /* of all samples, us */
	__u32 rtt_count, rtt_max;
	__u32 flags; /* WEIR_TCP_F_* */
	__u32 pid;   /* who holds it; 0 = not known */
	char comm[WEIR_TCP_COMM];
	__u32 cause[WEIR_TCP_CAUSES];
	__u32 retrans_before;		       /* when this run first saw it */
	__u32 zero_window_in, zero_window_out; /* times that the peer's, our window was shut */
	__u8 closed_by;			       /* WEIR_TCP_LOCAL | WEIR_TCP_REMOTE */
	__u8 closed_how;		       /* enum weir_tcp_how */
	__u16 error;			       /* sk_err at its end */
	/* For the programs: what they saw last. */
	__u32 seen_retrans, seen_srtt, seen_mdev, seen_snd_una, seen_rcv_nxt, seen_data_segs;
	__u64 seen_rack;
	struct weir_tcp_figures now;
	__u64 bypass_in, bypass_out; /* by user space: bytes that TCP has not seen */
	__u32 rtt[WEIR_TCP_BUCKETS];
};

struct weir_tcp_event {
	__u64 ts; /* first, for the ring's reader */
	struct weir_ends ends;
	__u64 handshake;
	__u32 kind;	/* enum weir_tcp_kind */
	__u32 segments; /* sent again */
	__u32 pid;
	char comm[WEIR_TCP_COMM];
	__u8 cause; /* enum weir_tcp_cause */
	__u8 by;    /* of a reset: WEIR_TCP_LOCAL, WEIR_TCP_REMOTE */
	__u8 state; /* TCP_* in which it happened */
	__u8 pad;
};

struct weir_tcp_closed {
	struct weir_tcp_event event;
	struct weir_tcp_conn conn;
};

/* Which ports this host listens on, per namespace. */
struct weir_tcp_port {
	__u64 netns;
	__u32 port;
	__u32 pad;
};

struct weir_tcp_config {
	__u64 netns;  /* 0 = all */
	__u64 cgroup; /* id of the uppermost one wanted; 0 = all */
	__u32 match_kind;
	__u32 events;  /* mask of 1 << enum weir_tcp_kind */
	__u32 tick_us; /* of jiffies */
	__u32 watch;   /* what happens between two looks is seen */
};

_Static_assert(sizeof(struct weir_tcp_figures) == 9 * 8 + 27 * 4 + 4 + 16, "ABI: figures");
_Static_assert(sizeof(struct weir_tcp_event) == 8 + 56 + 8 + 12 + 16 + 4, "ABI: event");
_Static_assert(sizeof(struct weir_tcp_port) == 16, "ABI: port");

static inline __u32 weir_tcp_bucket(__u32 us)
{
	__u32 octave = 0, top = us, i;

	if (us < 4)
		return us;
	/* A binary search for the highest bit, since BPF has no instruction for it. */
	if (top >= 1U << 16) {
		octave += 16;
		top >>= 16;
	}
	if (top >= 1U << 8) {
		octave += 8;
		top >>= 8;
	}
	if (top >= 1U << 4) {
		octave += 4;
		top >>= 4;
	}
	if (top >= 1U << 2) {
		octave += 2;
		top >>= 2;
	}
	octave += top >> 1;
	i = (octave - 1) * 4 + ((us >> (octave - 2)) & 3);
	return i < WEIR_TCP_BUCKETS ? i : WEIR_TCP_BUCKETS - 1;
}

/* The smallest value of bucket @i; of WEIR_TCP_BUCKETS: where the last one would end. */
static inline __u64 weir_tcp_bucket_floor(__u32 i)
{
	return i < 4 ? i : (4ULL + i % 4) << (i / 4 - 1);
}
