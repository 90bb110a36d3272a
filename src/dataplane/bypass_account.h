/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The accounts of `weir bypass`, socket by socket: for verbs that show sockets, whose TCP
 * does not know of these bytes. Rules of every network namespace are read, since a rule's
 * cgroup may have processes in any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/bypass.h"

/* Every connection in a map `conns`, half-made ones too, until @fn does not return 0.
 * 0, or what @fn returned, or a negative errno. */
int weir_bypass_conns_each(int conns_fd, int (*fn)(void *arg, const struct weir_bypass_conn *c),
			   void *arg);

struct weir_bypass_account;

/* Empty; NULL: no memory. */
struct weir_bypass_account *weir_bypass_account_new(void);
void weir_bypass_account_free(struct weir_bypass_account *a);

/* Read all that is pinned. Who may not read bpffs finds nothing there, and rules of another
 * version are left out. What live() has told since the time before stays when its rule has
 * been removed: a connection's bytes never become fewer. */
int weir_bypass_account_read(struct weir_bypass_account *a, struct weir_error *err);

/* The connections that were there when it was read last, by their ends. */
struct weir_bypass_seen {
	struct weir_bypass_pair pair;
	uint64_t netns[WEIR_BYPASS_SIDES];
	uint64_t cookie; /* of the initiator's socket */
	uint64_t bytes;	 /* both ways */
};
void weir_bypass_account_conns(const struct weir_bypass_account *a,
			       void (*fn)(void *arg, const struct weir_bypass_seen *c), void *arg);

/* What the socket had when it was read last; false: it does not go by the bypass. */
bool weir_bypass_account_live(struct weir_bypass_account *a, uint64_t cookie,
			      struct weir_bypass_ended *ret);
/* The same of a socket that has closed, at its end; reads again where that is long ago. */
bool weir_bypass_account_ended(struct weir_bypass_account *a, uint64_t cookie,
			       struct weir_bypass_ended *ret);
