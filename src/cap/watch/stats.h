/* SPDX-License-Identifier: GPL-2.0-only */
/* The statistics of a run (struct weir_watch_stats), for --summary and --metrics. */
#pragma once

#include <stdbool.h>

#include "cap/watch/session.h"

extern const char *const weir_stats_protocols[WEIR_WATCH_PROTOCOL_MAX];
extern const char *const weir_stats_flags[WEIR_WATCH_TCP_FLAGS];
/* The largest frame of each class but the last. */
extern const uint32_t weir_stats_sizes[WEIR_WATCH_SIZE_MAX - 1];

/* Do the options of --summary and --metrics go with the others? */
int weir_stats_check(const struct weir_watch_options *o, struct weir_error *err);
bool weir_stats_wanted(const struct weir_watch_options *o);
/* Are they kept by the kernel's programs? Otherwise packets come to user space. */
bool weir_stats_in_kernel(const struct weir_watch *w);
/* Everything so far: the kernel's and @own, which an observer has added up itself. */
void weir_stats_get(struct weir_watch *w, const struct weir_watch_stats *own,
		    struct weir_watch_stats *ret);
/* @ret = @a - @b, all of its numbers. */
void weir_stats_minus(const struct weir_watch_stats *a, const struct weir_watch_stats *b,
		      struct weir_watch_stats *ret);
struct weir_watch_sum weir_stats_total(const struct weir_watch_stats *s);

/* The account of all interfaces as one. */
struct weir_stats_account {
	uint64_t seen, unmatched, sampled_out, matched, delivered, queued;
	uint64_t lost[WEIR_WATCH_LOST_MAX];
};
void weir_stats_account(struct weir_watch *w, struct weir_stats_account *ret);

/* Is @f the flow's first addition @d: is the flow new? */
static inline bool weir_stats_new_flow(const struct weir_flow *f, const struct weir_flow_val *d)
{
	return f->val.packets[0] + f->val.packets[1] == d->packets[0] + d->packets[1];
}
