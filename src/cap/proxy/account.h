/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proxy's account: totals and sources in pinned maps, which the kernel adds up
 * (account.bpf.c), and every open connection as its worker knows it.
 */
#pragma once

#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cap/proxy/proxy.h"
#include "dataplane/proxy_ends.h"

/* The maps and the program, made and pinned (by weir_account_open()), or found by a
 * command that asks (weir_account_find()). */
struct weir_proxy_maps {
	int names_fd, totals_fd, sources_fd;
	int account_fd; /* -1 when found */
	int lock_fd;	/* -1 when found: see weir_account_open() */
};
/* For the proxy itself. Only one runs per network namespace: -EBUSY. What tells is a
 * lock which lasts until the last process that has lock_fd (a child, too) has ended
 * or closed it, so that no new proxy begins while the old one's keeper still cleans
 * up. What a proxy left that was killed with its keeper is replaced. */
int weir_account_open(struct weir_proxy_maps *m, uint64_t cache, struct weir_error *err);
int weir_account_find(struct weir_proxy_maps *m, struct weir_error *err); /* -ENOENT: no proxy */
void weir_account_close(struct weir_proxy_maps *m);
/* Remove the pins and the lock's file: the proxy ends. For who holds the lock. */
void weir_account_unpin(void);
/* The same for everybody else, what a dead proxy left: waits until nobody holds the
 * lock. -EBUSY: somebody still does after 10 s. */
int weir_account_sweep(struct weir_error *err);

/* One worker's (or the main thread's) sums that wait. Not shared. */
struct weir_account {
	int prog_fd;
	struct weir_proxy_deltas deltas;
	/* Sources that found no room in the map, and flushes that the kernel refused
	 * (their totals go with the next one): told by status, never silent. */
	uint64_t lost;
};
static inline void weir_account_add(struct weir_account *a, unsigned int total, uint64_t n)
{
	a->deltas.totals[total] += n;
}
/* Of one source, by weir_limiter_key(). Flushes when full. */
void weir_account_source(struct weir_account *a, const struct weir_addr *source,
			 uint32_t connections, uint32_t refused, uint64_t bytes_in,
			 uint64_t bytes_out);
void weir_account_flush(struct weir_account *a, uint64_t now); /* nothing waits: nothing done */

/* Summed over CPUs, with no end of a connection that was not seen to begin. */
int weir_account_totals(int totals_fd, uint64_t ret[WEIR_TOTALS], struct weir_error *err);
/* "verb":"proxy","seen":...,"passed":...,"dropped":{...}, ... into the open object; the
 * same as text and as Prometheus text: one table in account_text.c is the source of
 * all three. seen = passed + sum of dropped + open. */
void weir_account_json(const uint64_t totals[WEIR_TOTALS], struct weir_json *j);
void weir_account_text(const uint64_t totals[WEIR_TOTALS], struct weir_buf *out);
void weir_account_prometheus(const uint64_t totals[WEIR_TOTALS], struct weir_buf *out);
/* The @n sources with most bytes, both ways; as one JSON document, or as a table. */
int weir_account_top(int sources_fd, unsigned int n, bool json, struct weir_buf *out,
		     struct weir_error *err);
