/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who owned which ends, and when: the events of dataplane/owners.bpf.c as intervals of time,
 * so that a packet that is looked up late still finds the owner that it had. What cannot be
 * told for sure is unknown: two sockets of different processes on the same ends, a socket
 * that several hold and none has used, ends that were closed before the packet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/owner.h"

/* What has been closed is kept so long. */
#define WEIR_OWNER_GRACE_NS 10000000000ULL

struct weir_owner {
	uint32_t pid; /* of the process; 0: not known */
	bool several; /* of none: sockets of several processes had these ends */
	bool guessed; /* it listens, and nobody else could take the connection */
	char comm[WEIR_OWNER_COMM];
	uint64_t cgroup; /* id of the process's cgroup; 0: not known */
	uint64_t netns;	 /* cookie of the socket's namespace */
	uint64_t cookie; /* of the socket, or of the listener */
};

struct weir_owner_query {
	uint64_t netns; /* where it is looked for first */
	uint8_t local[16], remote[16];
	uint16_t lport, rport;
	uint8_t proto;
	bool here;	      /* local is an address of that namespace: wildcards count */
	bool syn;	      /* of TCP: a connection begins with it */
	bool out;	      /* one packet, which the local end has sent */
	uint64_t first, last; /* monotonic ns */
	uint64_t slack;	      /* so much later than told it may have been; 0: exact */
};

struct weir_owner_table;

struct weir_owner_table *weir_owner_table_new(size_t max);
void weir_owner_table_free(struct weir_owner_table *t);
/* OPEN, USE, CLOSE, FORK, and HELD between the two below. */
void weir_owner_table_event(struct weir_owner_table *t, const struct weir_owner_event *ev);
void weir_owner_table_group(struct weir_owner_table *t, const struct weir_owner_group *g);
/* A scan, begun at @since, tells of every socket that a process holds. @whole: forget what
 * it did not tell of, since events are missing. */
void weir_owner_table_scan(struct weir_owner_table *t);
void weir_owner_table_scanned(struct weir_owner_table *t, uint64_t since, bool whole);
void weir_owner_table_expire(struct weir_owner_table *t, uint64_t now);
/* False: not known. Then *@ret is zero, but for cgroup and netns where they are known. */
bool weir_owner_table_find(struct weir_owner_table *t, const struct weir_owner_query *q,
			   struct weir_owner *ret);
/* The path below the root of cgroup v2 ("/" is that), or NULL: not known. */
const char *weir_owner_table_path(struct weir_owner_table *t, uint64_t cgroup);
/* Is @cgroup the one of id @top, or below it? */
bool weir_owner_table_below(const struct weir_owner_table *t, uint64_t cgroup, uint64_t top);
/* The inode of the namespace of that cookie; 0: not known. */
uint32_t weir_owner_table_inode(const struct weir_owner_table *t, uint64_t netns);
/* Has a look-up ended at a socket whose owner a scan might find? Asking takes it back. */
bool weir_owner_table_wants_scan(struct weir_owner_table *t);
/* Sockets that found no room. */
uint64_t weir_owner_table_refused(const struct weir_owner_table *t);
