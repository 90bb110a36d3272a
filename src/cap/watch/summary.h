/* SPDX-License-Identifier: GPL-2.0-only */
/* --summary: what one interval was, for its two renderers. */
#pragma once

#include "cap/watch/stats.h"
#include "cap/watch/heavy.h"

#define WEIR_SUMMARY_TOP 10 /* hosts and ports told of */

struct weir_summary {
	uint64_t start, end; /* ns since the epoch */
	struct weir_watch_stats stats;
	struct weir_stats_account account;
	uint64_t flows;	    /* in the table at its end */
	uint64_t new_flows; /* begun in it */
	struct weir_heavy_entry hosts[WEIR_SUMMARY_TOP], ports[WEIR_SUMMARY_TOP];
	size_t n_hosts, n_ports;
};

/* One JSON object, or the lines of a screen. */
void weir_summary_json(const struct weir_summary *s, struct weir_buf *out);
void weir_summary_text(const struct weir_watch *w, const struct weir_summary *s,
		       struct weir_buf *out);
