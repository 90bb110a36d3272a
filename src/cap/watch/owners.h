/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --owners, --pid, --comm, --cgroup: whose packets and flows are these? A packet or a flow
 * has two ends, and each may be a socket of this machine, in this network namespace or in
 * another. The owner is that of the end that is here; the peer, where it is known, too, that
 * of the other.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cap/watch/flows.h"
#include "cap/watch/packet.h"
#include "dataplane/owner_table.h"

struct weir_watch;
struct weir_watch_options;
struct weir_watch_owners;

/* Of a flow: end A and end B; pid 0 = not known. */
struct weir_flow_owners {
	struct weir_owner end[2];
	bool mixed[2]; /* one after the other, of several processes */
};

/* An owner in words; the texts live as long as the run. */
struct weir_owner_text {
	uint32_t pid;
	bool guessed;
	char comm[WEIR_OWNER_COMM];
	const char *cgroup;	/* NULL: not known */
	const char *netns_name; /* NULL: it has none */
	uint64_t netns;
	bool elsewhere; /* in another namespace than this command's */
};

/* A packet's, filled by weir_watch_owners_packet(). */
struct weir_packet_owners {
	struct weir_owner_text owner, peer;
};

/* Is any of these options given? And one that leaves packets out? */
bool weir_watch_owners_wanted(const struct weir_watch_options *o);
bool weir_watch_owners_match(const struct weir_watch_options *o);

/* With all privileges, before anything is captured. */
int weir_watch_owners_open(struct weir_watch *w, struct weir_error *err);
void weir_watch_owners_close(struct weir_watch *w);
int weir_watch_owners_fd(const struct weir_watch *w);
void weir_watch_owners_tick(struct weir_watch *w);
/* What it could not follow, to standard error. */
void weir_watch_owners_account(const struct weir_watch *w);

/* Look both ends of @p up; false: it is not one of those wanted. @room: where p->owner and
 * p->peer may point. */
bool weir_watch_owners_packet(struct weir_watch *w, struct weir_packet *p,
			      struct weir_packet_owners *room);

/* @d was added to @x: note whose it is, and whether it is one of those wanted. */
void weir_watch_owners_flow(struct weir_watch *w, struct weir_flow *x,
			    const struct weir_flow_val *d);
/* Look again for those that are not known yet: the run ends. */
void weir_watch_owners_last(struct weir_watch *w);
/* The owner and the peer of a flow; false: not known. */
bool weir_flow_owner(const struct weir_watch *w, const struct weir_flow *x,
		     struct weir_packet_owners *ret);

/* End A (0) or B (1); NULL: not known. As long as the flow is in the table. */
const struct weir_owner *weir_flow_owner_end(const struct weir_flow *x, int side);
/* The path of its cgroup, NULL: not known. As long as the run. */
const char *weir_watch_owner_cgroup(const struct weir_watch *w, const struct weir_owner *o);
/* "curl 1234", with its cgroup and namespace; control characters are dots. */
void weir_owner_add(struct weir_buf *out, const struct weir_owner_text *o);
/* `pid, comm, cgroup, netns ...`, the peer's with "peer_" before. */
void weir_owner_json(struct weir_json *j, const struct weir_packet_owners *o);
