/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who owns a socket: what dataplane/owners.bpf.c tells user space, in the order in which it
 * happens. Times are CLOCK_MONOTONIC nanoseconds.
 */
#pragma once

#include "bpf/ends.h"

#define WEIR_OWNER_COMM 16
#define WEIR_OWNER_GROUP_NAME 128 /* of one cgroup, not its path; with NUL */

enum weir_owner_kind {
	WEIR_OWNER_OPEN,  /* a socket has ends (again), by a process if pid is known */
	WEIR_OWNER_USE,	  /* a process reads from it or writes to it */
	WEIR_OWNER_CLOSE, /* by its cookie; of TCP: state CLOSE */
	WEIR_OWNER_HELD,  /* of a scan: a process has a descriptor of it */
	WEIR_OWNER_FORK,  /* pid has a new child, which holds what it holds */
	WEIR_OWNER_GROUP, /* struct weir_owner_group: the name of a cgroup */
};

#define WEIR_OWNER_F_LISTEN (1U << 0)	/* it takes connections */
#define WEIR_OWNER_F_ACCEPTED (1U << 1) /* a listener's child */
#define WEIR_OWNER_F_SOLE (1U << 2)	/* at this moment nobody else holds it */
#define WEIR_OWNER_F_V6ONLY (1U << 3)	/* its [::] takes no IPv4 */

struct weir_owner_event {
	__u64 ts; /* first, for the ring's reader */
	__u32 kind;
	__u32 pid;	       /* of the process (tgid); 0 = not known */
	struct weir_ends ends; /* with its cookie; of a CLOSE nothing else */
	__u64 cgroup;	       /* of the process, by id; 0 = not known */
	__u32 netns_inode;     /* beside its cookie, by which it has a name; 0 = not known */
	__u32 flags;	       /* WEIR_OWNER_F_* */
	char comm[WEIR_OWNER_COMM];
};

struct weir_owner_group {
	__u64 ts;
	__u32 kind;
	__u32 pad;
	__u64 id, parent; /* parent 0: it is the root */
	char name[WEIR_OWNER_GROUP_NAME];
};

_Static_assert(sizeof(struct weir_owner_event) == 104, "ABI: struct weir_owner_event");
_Static_assert(sizeof(struct weir_owner_group) == 160, "ABI: struct weir_owner_group");
