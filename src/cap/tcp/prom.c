/* SPDX-License-Identifier: GPL-2.0-only */
/* The text format of Prometheus: sums over all connections that were looked at. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/tcp/show.h"

#define STATES 16

static void head(struct weir_buf *out, const char *name, const char *type, const char *help)
{
	weir_buf_addf(out, "# HELP weir_tcp_%s %s\n# TYPE weir_tcp_%s %s\n", name, help, name,
		      type);
}

static void value(struct weir_buf *out, const char *name, const char *key, const char *label,
		  uint64_t v)
{
	weir_buf_addf(out, "weir_tcp_%s", name);
	if (key)
		weir_buf_addf(out, "{%s=\"%s\"}", key, label);
	weir_buf_addf(out, " %" PRIu64 "\n", v);
}

static void add_states(const struct weir_tcp_table *t, struct weir_buf *out)
{
	uint64_t n[STATES] = { 0 };

	for (size_t i = 0; i < t->n; i++)
		if (!t->rows[i].gone)
			n[t->rows[i].c.now.state % STATES]++;
	head(out, "connections", "gauge", "Connections that are there.");
	for (unsigned int i = 1; i < STATES; i++)
		if (weir_tcp_state(i) && strcmp(weir_tcp_state(i), "listen") != 0)
			value(out, "connections", "state", weir_tcp_state(i), n[i]);
}

static void add_histogram(const struct weir_tcp_rtt *r, struct weir_buf *out)
{
	uint64_t below = 0;

	head(out, "rtt_seconds", "histogram", "Round trips of connections there and closed.");
	for (uint32_t i = 0; i < WEIR_TCP_BUCKETS; i++) {
		below += r->bucket[i];
		if (i % 4 == 3 && i + 1 < WEIR_TCP_BUCKETS)
			weir_buf_addf(out, "weir_tcp_rtt_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
				      (double)weir_tcp_bucket_floor(i + 1) / 1e6, below);
	}
	weir_buf_addf(out, "weir_tcp_rtt_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", r->count);
	weir_buf_addf(out, "weir_tcp_rtt_seconds_sum %g\n", (double)r->sum_us / 1e6);
	weir_buf_addf(out, "weir_tcp_rtt_seconds_count %" PRIu64 "\n", r->count);
}

void weir_tcp_show_prometheus(struct weir_tcp_table *t, const struct weir_tcp_view *v,
			      struct weir_buf *out)
{
	weir_autofree struct weir_tcp_sum *sums = NULL;
	struct weir_tcp_sum all = { 0 };
	size_t n = 0;

	if (weir_tcp_table_sums(t, v->sort, &sums, &n)) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		weir_tcp_sum_add(&all, &sums[i]);
	add_states(t, out);
	head(out, "closed_total", "counter", "Connections that have ended.");
	value(out, "closed_total", NULL, NULL, t->closed);
	head(out, "bytes", "gauge", "Payload of connections there and closed.");
	value(out, "bytes", "direction", "in", all.bytes_in);
	value(out, "bytes", "direction", "out", all.bytes_out);
	head(out, "retransmits_total", "counter", "Segments sent again, since this run began.");
	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		value(out, "retransmits_total", "cause", weir_tcp_causes[i], all.cause[i]);
	head(out, "zero_windows_total", "counter", "Times that a receive window was shut.");
	value(out, "zero_windows_total", "of", "remote", all.zero_window_in);
	value(out, "zero_windows_total", "of", "local", all.zero_window_out);
	head(out, "out_of_order", "gauge", "Segments that came out of order.");
	value(out, "out_of_order", NULL, NULL, all.out_of_order);
	add_histogram(&all.rtt, out);
	head(out, "lost_total", "counter", "What weir saw and could not report.");
	for (int i = 0; i < WEIR_TCP_LOSTS; i++)
		value(out, "lost_total", "reason", weir_tcp_losts[i], v->lost[i]);
}
