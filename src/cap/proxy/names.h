/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names and their addresses: a cache in an eBPF LRU hash map (proxy.h), which any
 * program and any privileged process may read, and the resolver that fills it.
 *
 * An answer is good for its TTL (within ttl_min and ttl_max). After that it may still
 * be used for `stale` while one question for the name is under way (RFC 8767); names
 * that do not exist or have no address are kept for their SOA's time, at most
 * `negative_ttl`; failures and time-outs for 1 s, and do not displace an answer that
 * may still be used: that one is asked for again at most once a second. Nothing is kept
 * for less than 1 s, so that who waited for an answer finds it.
 *
 * weir_names_lookup() and weir_names_want() are for every thread. The rest belongs to
 * the thread of the loop that weir_names_new() was given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/proxy/config.h"
#include "cap/proxy/proxy.h"
#include "net/loop.h"

enum weir_name_state {
	WEIR_NAME_FRESH,
	WEIR_NAME_STALE, /* use it, and let weir_names_want() ask anew */
	WEIR_NAME_NONE,	 /* known to have no address, or just failed: code says which */
	WEIR_NAME_MISSING, /* weir_names_want(), and look again */
};

struct weir_names;

/* @map_fd: the pinned map `names`. */
struct weir_names *weir_names_new(struct weir_loop *l, int map_fd,
				  const struct weir_proxy_config *c, struct weir_error *err);
/* When its loop has ended, and after every thread that wants names: nobody is told any
 * more, and no loop of a waiter is touched. */
void weir_names_free(struct weir_names *n);
/* After a reload: servers and times of the new configuration. What is cached stays. */
int weir_names_reload(struct weir_names *n, const struct weir_proxy_config *c,
		      struct weir_error *err);

/* Any thread. @name in lower case. @now: weir_clock_mono(). @ret holds nothing of use
 * where it is MISSING. */
enum weir_name_state weir_names_lookup(const struct weir_names *n, const char *name, uint64_t now,
				       struct weir_proxy_name *ret);
/* Any thread: see to it that @name is asked; many at once ask once. When the answer is
 * in the map, @done (NULL: nobody waits) is posted to @to: the waiter's message, which
 * is its own again then, and not before. @to lives until then; when it has ended, the
 * message is dropped. A name that is MISSING still could not be asked for (no host name;
 * WEIR_NAMES_OPEN_MAX questions are open; no memory), or the map let go of it again: a
 * failure, too. */
#define WEIR_NAMES_OPEN_MAX 4096
void weir_names_want(struct weir_names *n, const char *name, struct weir_loop *to,
		     struct weir_post *done);
/* Any thread: how many names were not asked for because too many were, and how many
 * questions are open. */
struct weir_names_stats {
	uint64_t refused;
	uint32_t open;
};
void weir_names_stats(const struct weir_names *n, struct weir_names_stats *ret);

/* For `weir proxy resolver list|flush`, by the map's descriptor, without a proxy. What is
 * of no use any more, and only waits to be evicted, is not listed. */
int weir_names_list(int map_fd, bool json, struct weir_buf *out, struct weir_error *err);
int weir_names_flush(int map_fd, const char *name, struct weir_error *err); /* NULL: all; returns
									      * how many */
