/* SPDX-License-Identifier: GPL-2.0-only */
/* The text format of Prometheus: sums over all connections that were looked at. */
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/tcp/show.h"

#define STATES 16

static void value(const struct weir_prom *p, const char *name, const char *key, const char *label,
		  uint64_t v)
{
	weir_prom_value(p, name, (struct weir_prom_label[]){ { key, label }, { NULL, NULL } }, v);
}

static void add_states(const struct weir_tcp_table *t, const struct weir_prom *p)
{
	/* Sockets in these are no connections that are looked at. */
	const uint32_t never = 1U << TCP_LISTEN | 1U << TCP_TIME_WAIT | 1U << TCP_CLOSE;
	uint64_t n[STATES] = { 0 };

	for (size_t i = 0; i < t->n; i++)
		if (!t->rows[i].gone)
			n[t->rows[i].c.now.state % STATES]++;
	weir_prom_head(p, "connections", "gauge", "Connections that are there.");
	for (unsigned int i = 1; i < STATES; i++)
		if (weir_tcp_state(i) && !(never & 1U << i))
			value(p, "connections", "state", weir_tcp_state(i), n[i]);
}

static void add_histogram(const struct weir_tcp_rtt *r, const struct weir_prom *p)
{
	uint64_t below = 0;

	weir_prom_head(p, "rtt_seconds", "histogram",
		       "Round trips of connections there and closed.");
	for (uint32_t i = 0; i < WEIR_TCP_BUCKETS; i++) {
		below += r->bucket[i];
		if (i % 4 == 3 && i + 1 < WEIR_TCP_BUCKETS)
			weir_prom_bucket(p, "rtt_seconds",
					 (double)weir_tcp_bucket_floor(i + 1) / 1e6, below);
	}
	weir_prom_histogram_end(p, "rtt_seconds", (double)r->sum_us / 1e6, r->count);
}

void weir_tcp_show_prometheus(struct weir_tcp_table *t, const struct weir_tcp_view *v,
			      struct weir_buf *out)
{
	weir_autofree struct weir_tcp_sum *sums = NULL;
	const struct weir_prom p = { out, "tcp" };
	struct weir_tcp_sum all = { 0 };
	size_t n = 0;

	if (weir_tcp_table_sums(t, v->sort, &sums, &n)) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		weir_tcp_sum_add(&all, &sums[i]);
	add_states(t, &p);
	weir_prom_one(&p, "closed_total", "counter", "Connections that have ended.", t->closed);
	weir_prom_head(&p, "bytes", "gauge", "Payload of connections there and closed.");
	value(&p, "bytes", "direction", "in", all.bytes_in);
	value(&p, "bytes", "direction", "out", all.bytes_out);
	weir_prom_head(&p, "bypass_bytes", "gauge", "Those of them that went by weir bypass.");
	value(&p, "bypass_bytes", "direction", "in", all.bypass_in);
	value(&p, "bypass_bytes", "direction", "out", all.bypass_out);
	weir_prom_head(&p, "retransmits_total", "counter",
		       "Segments sent again, since this run began.");
	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		value(&p, "retransmits_total", "cause", weir_tcp_causes[i], all.cause[i]);
	weir_prom_head(&p, "zero_windows_total", "counter",
		       "Times that a receive window was shut.");
	value(&p, "zero_windows_total", "of", "remote", all.zero_window_in);
	value(&p, "zero_windows_total", "of", "local", all.zero_window_out);
	weir_prom_one(&p, "out_of_order", "gauge", "Segments that came out of order.",
		      all.out_of_order);
	add_histogram(&all.rtt, &p);
	weir_prom_head(&p, "lost_total", "counter", "What weir saw and could not report.");
	for (int i = 0; i < WEIR_TCP_LOSTS; i++)
		value(&p, "lost_total", "reason", weir_tcp_losts[i], v->lost[i]);
}
