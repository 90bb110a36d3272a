/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of `weir bypass` and user space share.
 *
 * Which connections go by the bypass is decided while they are made: the initiator's end
 * asks when it sends its SYN, the listener's end hears it, and both give themselves up once
 * they are established, if their sequence numbers say that they are each other's ends.
 * From then on a message is put into the other end's queue where it was sent. A direction
 * that cannot go on so goes on by TCP, from its next message to its last one: the reader
 * finds what lies in that queue before what TCP brings, so that nothing changes places.
 */
#pragma once

#include <linux/types.h>

#include "bpf/bypass.h"

#define WEIR_BYPASS_PENDING_MAX 16384
#define WEIR_BYPASS_ENDED_MAX 8192
#define WEIR_BYPASS_NAME_MAX 32
#define WEIR_BYPASS_MATCH_MAX 512
#define WEIR_BYPASS_CGROUP_MAX 256

/* What a message costs the kernel besides its bytes: struct sk_msg, as allocated. */
#define WEIR_BYPASS_MESSAGE_COST 1024
#define WEIR_BYPASS_MESSAGES_COST_MAX (8U << 20) /* of a direction's unread messages */
#define WEIR_BYPASS_UNREAD_MAX (8U << 20)	 /* bytes, whatever SO_RCVBUF says */

/* map `pending`: connections that are being made, by their ends */
struct weir_bypass_pending {
	__u64 id;    /* cookie of the initiator's socket */
	__u32 heard; /* a listener under the same program has the SYN */
	__u32 pad;
};

/* Why a connection that matched is left alone. */
enum weir_bypass_refusal {
	WEIR_BYPASS_SOCKMAP,  /* a socket is in another sockmap */
	WEIR_BYPASS_ULP,      /* a socket has an upper protocol: kernel TLS, MPTCP */
	WEIR_BYPASS_MISMATCH, /* the ends do not agree: data in the SYN, address translation */
	WEIR_BYPASS_NO_ROOM,  /* a map is full */
	WEIR_BYPASS_REFUSALS,
};

/* map `socks`: the sockets by connection and side */
struct weir_bypass_end {
	__u64 id;
	__u32 side;
	__u32 pad;
};

/* map `rule`: one element */
struct weir_bypass_sum {
	__u64 bytes, messages, tcp_bytes;
};
struct weir_bypass_rule {
	char name[WEIR_BYPASS_NAME_MAX];
	char match[WEIR_BYPASS_MATCH_MAX];
	char cgroup[WEIR_BYPASS_CGROUP_MAX];
	__u64 cgroup_id;
	__u64 forced;	/* switched on in spite of what the check said */
	__u64 matched;	/* connects that the match takes */
	__u64 unpaired; /* ...whose listener is not under this program */
	__u64 refused[WEIR_BYPASS_REFUSALS];
	__u64 joined, closed;	      /* connections */
	__u64 folds;		      /* how often a connection was added to `sum` */
	__u64 left[WEIR_BYPASS_WHYS]; /* directions that went over to TCP */
	struct weir_bypass_sum sum[WEIR_BYPASS_SIDES]; /* of closed connections */
};

/* map `checked`: what the check said since the start of this kernel, of these programs */
struct weir_bypass_checked {
	__u64 programs; /* hash */
	char bad[1024]; /* names of rows, each behind a blank */
};
