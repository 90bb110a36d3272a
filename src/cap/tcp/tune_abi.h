/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of `weir tcp tune` and user space share.
 *
 * A change loads, for each cgroup that rules name, a program with that cgroup's rules, and one
 * for sockets of other network namespaces where rules have --all-netns. What is attached to
 * the cgroups is a gate, which never changes: it leads to the programs of the letter in
 * `current`. So one store of a word puts the rules of all cgroups in force at once.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include "bpf/ends.h"

#define WEIR_TUNE_ABI 1

#define WEIR_TUNE_RULES_MAX 512
#define WEIR_TUNE_CGROUPS_MAX 8
#define WEIR_TUNE_SLOTS 16     /* of cgroups: of the rules in force and of those to come */
#define WEIR_TUNE_FAILURES 256 /* the last ones are kept */
#define WEIR_TUNE_CA_MAX 16    /* of a congestion control's name, with NUL */

/* Of the kernel; <netinet/tcp.h> lacks some, and BPF has no C library. */
#define WEIR_SOL_IP 0
#define WEIR_SOL_SOCKET 1
#define WEIR_SOL_TCP 6
#define WEIR_SOL_IPV6 41
#define WEIR_IPV6_TCLASS 67

/*
 * When an option is set. A connection that this host begins is seen before its SYN and when
 * it is established, one that it accepts only when it is established.
 *
 * EARLY: before the SYN where there is one, else at establishment: what the SYN tells (the
 *	window, its scale, the class of service) or the handshake uses (the first RTO).
 * LATE: at establishment, for the kernel writes it itself just before (the congestion
 *	window), or would take it from the route (congestion control).
 * SYN: before the SYN alone, for later it changes nothing.
 * REPLY: the kernel asks for it, on either side, when it chooses the first window.
 */
enum weir_tune_when { WEIR_TUNE_EARLY, WEIR_TUNE_LATE, WEIR_TUNE_SYN, WEIR_TUNE_REPLY };

/*
 * WEIR_TUNE_LIST(X): X(enum, name, kind of value, level, option, when, min, max). They are set
 * in this order: the first window before the congestion control, some of which (BBR) take
 * their first rate from it; the times of keepalive before that is switched on.
 */
#define WEIR_TUNE_LIST(X)                                                            \
	X(RCVBUF, "rcvbuf", SIZE, WEIR_SOL_SOCKET, 8, EARLY, 1, 1U << 30)            \
	X(SNDBUF, "sndbuf", SIZE, WEIR_SOL_SOCKET, 7, EARLY, 1, 1U << 30)            \
	X(WINDOW_CLAMP, "window-clamp", SIZE, WEIR_SOL_TCP, 10, EARLY, 1, 1U << 30)  \
	X(INITRWND, "initrwnd", COUNT, WEIR_SOL_TCP, 0, REPLY, 1, 1000)              \
	X(INITCWND, "initcwnd", COUNT, WEIR_SOL_TCP, 1001, LATE, 1, 1000)            \
	X(CWND_CLAMP, "cwnd-clamp", COUNT, WEIR_SOL_TCP, 1002, LATE, 1, 1U << 30)    \
	X(CONGESTION, "congestion", WORD, WEIR_SOL_TCP, 13, LATE, 0, 0)              \
	X(RTO_MIN, "rto-min", US, WEIR_SOL_TCP, 1004, EARLY, 1, 200000)              \
	X(DELACK_MAX, "delack-max", US, WEIR_SOL_TCP, 1003, EARLY, 1, 200000)        \
	X(NODELAY, "nodelay", SWITCH, WEIR_SOL_TCP, 1, EARLY, 0, 1)                  \
	X(MAXSEG, "maxseg", SIZE, WEIR_SOL_TCP, 2, SYN, 1, 65535)                    \
	X(NOTSENT_LOWAT, "notsent-lowat", SIZE, WEIR_SOL_TCP, 25, LATE, 1, 1U << 30) \
	X(USER_TIMEOUT, "user-timeout", MS, WEIR_SOL_TCP, 18, EARLY, 1, 1U << 30)    \
	X(KEEPIDLE, "keepidle", S, WEIR_SOL_TCP, 4, LATE, 1, 32767)                  \
	X(KEEPINTVL, "keepintvl", S, WEIR_SOL_TCP, 5, LATE, 1, 32767)                \
	X(KEEPCNT, "keepcnt", COUNT, WEIR_SOL_TCP, 6, LATE, 1, 127)                  \
	X(KEEPALIVE, "keepalive", SWITCH, WEIR_SOL_SOCKET, 9, LATE, 0, 1)            \
	X(TOS, "tos", COUNT, WEIR_SOL_IP, 1, EARLY, 0, 255)

enum weir_tune_opt {
#define WEIR_TUNE_ENUM(opt, ...) WEIR_TUNE_##opt,
	WEIR_TUNE_LIST(WEIR_TUNE_ENUM)
#undef WEIR_TUNE_ENUM
		WEIR_TUNE_OPTS
};

/* map `weir_tune_rules`: key = place among the program's rules */
struct weir_tune_rule {
	__u32 id;   /* of the rule store */
	__u32 mask; /* 1 << enum weir_tune_opt: what it sets */
	__s32 value[WEIR_TUNE_OPTS];
	char congestion[WEIR_TUNE_CA_MAX];
};

/* map `weir_tune_counts`: per CPU, key = id. Connections are in the rule store's hits. */
struct weir_tune_counts {
	__u64 set[WEIR_TUNE_OPTS];
	__u64 failed[WEIR_TUNE_OPTS];
	__u64 limited[WEIR_TUNE_OPTS];	 /* of those set: to less than was asked for */
	__u64 failed_at[WEIR_TUNE_OPTS]; /* CLOCK_BOOTTIME, ns */
	__s32 error[WEIR_TUNE_OPTS];	 /* of the last failure: a negative errno */
};

/* map `weir_tune_failures`: key = number % WEIR_TUNE_FAILURES */
struct weir_tune_failure {
	struct bpf_spin_lock lock;
	__u32 rule; /* id */
	__u32 opt;  /* enum weir_tune_opt */
	__s32 error;
	__u64 number; /* from 1 on; 0 = none */
	__u64 at;     /* CLOCK_BOOTTIME, ns */
	struct weir_ends ends;
};

_Static_assert(sizeof(struct weir_tune_failure) == 88, "ABI: struct weir_tune_failure");

/* map `weir_tune_current`: 0 = nothing is in force, else 1 or 2 */
/* map `weir_tune_programs`: by letter, slot of the cgroup, and whether the socket is of
 * another network namespace */
#define WEIR_TUNE_PROGRAMS (2 * WEIR_TUNE_SLOTS * 2)
#define WEIR_TUNE_PROGRAM(letter, slot, foreign) \
	((((letter)-1) * WEIR_TUNE_SLOTS + (slot)) * 2 + (foreign))
