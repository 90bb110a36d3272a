/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/tcp/show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

#define BAR_WIDTH 40
#define OCTAVES (WEIR_TCP_BUCKETS / 4 + 1)
#define LINE_OCTAVES 12 /* of the picture in one cell */

static void add_us(struct weir_buf *b, uint64_t us)
{
	weir_buf_add_duration(b, us * 1000);
}

static void cell_us(struct weir_table *t, uint64_t us, bool known)
{
	weir_autobuf struct weir_buf text = { 0 };

	if (known)
		add_us(&text, us);
	weir_table_add(t, text.data);
}

static void cell_si(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_si(&text, (double)v);
	weir_table_add(t, text.data);
}

static void cell_rate(struct weir_table *t, uint64_t v, bool known)
{
	if (known)
		cell_si(t, v);
	else
		weir_table_add(t, NULL);
}

static void cell_causes(struct weir_table *t, const uint64_t cause[WEIR_TCP_CAUSES],
			uint64_t before)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_tcp_add_causes(&text, cause, before);
	weir_table_add(t, text.data);
}

static void cell_windows(struct weir_table *t, uint64_t in, uint64_t out)
{
	if (in || out)
		weir_table_addf(t, "%" PRIu64 "/%" PRIu64, in, out);
	else
		weir_table_add(t, "0");
}

/* ---- Round trips as pictures: an octave a column, or a row */

static void octaves_of(const struct weir_tcp_rtt *r, uint64_t ret[OCTAVES])
{
	memset(ret, 0, OCTAVES * sizeof(*ret));
	for (int i = 0; i < WEIR_TCP_BUCKETS; i++)
		ret[i / 4] += r->bucket[i];
}

/* The first and the last octave with a sample; false: there is none. */
static bool range_of(const uint64_t octave[OCTAVES], int *first, int *last)
{
	for (*first = 0; *first < OCTAVES && !octave[*first]; (*first)++)
		;
	for (*last = OCTAVES - 1; *last >= 0 && !octave[*last]; (*last)--)
		;
	return *first < OCTAVES;
}

static uint64_t octave_floor(int i)
{
	return i ? weir_tcp_bucket_floor((uint32_t)i * 4) : 0;
}

static void cell_picture(struct weir_table *t, const struct weir_tcp_rtt *r)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	const uint64_t levels = WEIR_ARRAY_SIZE(blocks);
	weir_autobuf struct weir_buf text = { 0 };
	uint64_t octave[OCTAVES], most = 0;
	int first, last;
	size_t width;

	octaves_of(r, octave);
	if (!range_of(octave, &first, &last)) {
		weir_table_add(t, NULL);
		return;
	}
	if (last - first >= LINE_OCTAVES)
		first = last - LINE_OCTAVES + 1;
	for (int i = first; i <= last; i++)
		most = octave[i] > most ? octave[i] : most;
	add_us(&text, octave_floor(first));
	weir_buf_addc(&text, ' ');
	width = text.len + (size_t)(last - first) + 1;
	for (int i = first; i <= last; i++)
		weir_buf_adds(&text, octave[i] ? blocks[(octave[i] * levels - 1) / most] : " ");
	weir_table_add_wide(t, text.data, width);
}

static void add_histogram(const char *name, const struct weir_tcp_rtt *r, struct weir_buf *out)
{
	weir_autotable struct weir_table t;
	uint64_t octave[OCTAVES], most = 0;
	int first, last;

	weir_table_init(&t, 3, NULL);
	octaves_of(r, octave);
	if (!range_of(octave, &first, &last))
		return;
	for (int i = first; i <= last; i++)
		most = octave[i] > most ? octave[i] : most;
	for (int i = first; i <= last; i++) {
		weir_autobuf struct weir_buf bar = { 0 };
		uint64_t n = (octave[i] * BAR_WIDTH + most - 1) / most;

		cell_us(&t, octave_floor(i), true);
		weir_table_addf(&t, "%" PRIu64, octave[i]);
		while (n--)
			weir_buf_addc(&bar, '#');
		weir_table_add_wide(&t, bar.data ? bar.data : "", bar.len);
	}
	weir_buf_addf(out, "\nround trips of %s: %" PRIu64 ", mean ", name, r->count);
	add_us(out, r->sum_us / r->count);
	weir_buf_adds(out, ", largest ");
	add_us(out, r->max_us);
	weir_buf_addc(out, '\n');
	weir_table_render(&t, 2, out);
}

/* ---- Tables */

static void add_head(const struct weir_tcp_table *t, const struct weir_tcp_view *v, size_t live,
		     struct weir_buf *out)
{
	uint64_t lost = 0;

	for (int i = 0; i < WEIR_TCP_LOSTS; i++)
		lost += v->lost[i];
	weir_buf_add_clock(out, weir_clock_real());
	weir_buf_addf(out, "  %zu connection%s in %u network namespace%s%s, %" PRIu64 " closed, ",
		      live, live == 1 ? "" : "s", t->spaces.n, t->spaces.n == 1 ? "" : "s",
		      t->spaces.hidden ? " (others may not be entered)" : "", t->closed);
	weir_buf_addf(out, "lost %" PRIu64 "\n", lost);
}

static void flow_row(struct weir_table *t, const struct weir_tcp_row *r)
{
	const struct weir_tcp_figures *f = &r->c.now;
	weir_autobuf struct weir_buf ends = { 0 }, process = { 0 };
	uint64_t cause[WEIR_TCP_CAUSES];

	weir_tcp_add_ends(&ends, &r->c.ends);
	weir_tcp_add_process(&process, r->c.comm, r->c.pid);
	weir_tcp_retransmits(&r->c, cause);
	weir_table_add(t, ends.data);
	weir_table_addf(t, "%s%s", weir_tcp_state(f->state),
			r->c.flags & WEIR_TCP_F_BYPASS ? ", bypass" : "");
	cell_us(t, f->srtt_us, f->srtt_us);
	cell_us(t, f->min_rtt_us, f->srtt_us);
	cell_causes(t, cause, r->c.retrans_before);
	weir_table_addf(t, "%u", f->out_of_order);
	cell_windows(t, r->c.zero_window_in, r->c.zero_window_out);
	weir_table_addf(t, "%u", f->cwnd);
	cell_si(t, f->delivery_rate);
	cell_si(t, weir_tcp_bytes_in(&r->c));
	cell_si(t, weir_tcp_bytes_out(&r->c));
	cell_rate(t, r->rate, r->rated);
	weir_table_add(t, process.data);
}

static int show_flows(struct weir_tcp_table *t, const struct weir_tcp_view *v, struct weir_buf *out)
{
	static const char *const head[] = { "CONNECTION",  "STATE",    "RTT",	    "MIN",
					    "RETRANSMITS", "OOO",      "ZWIN",	    "CWND",
					    "RATE/s",	   "BYTES IN", "BYTES OUT", "BYTES/s",
					    "PROCESS" };
	weir_autotable struct weir_table table;

	weir_tcp_table_sort(t, v->sort);
	add_head(t, v, t->n, out);
	weir_table_init(&table, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < t->n; i++)
		flow_row(&table, &t->rows[i]);
	weir_table_render(&table, 0, out);
	for (size_t i = 0; v->histogram && i < t->n; i++) {
		weir_autobuf struct weir_buf name = { 0 };
		struct weir_tcp_rtt rtt;

		weir_tcp_rtt_of(&t->rows[i].c, &rtt);
		weir_tcp_add_ends(&name, &t->rows[i].c.ends);
		if (name.data)
			add_histogram(name.data, &rtt, out);
	}
	return 0;
}

static void add_sum_name(struct weir_buf *b, const struct weir_tcp_table *t,
			 const struct weir_tcp_sum_name *s)
{
	if (weir_tcp_is_others(t, s))
		weir_buf_adds(b, "others");
	else if (t->by == WEIR_TCP_BY_HOST)
		weir_buf_add_addr(b, s->host.b);
	else if (s->pid)
		weir_tcp_add_process(b, s->comm, s->pid);
	else
		weir_buf_adds(b, "unknown");
}

static void sum_row(struct weir_table *t, const struct weir_tcp_sum *s, const char *name,
		    bool rated)
{
	bool known = s->rtt.count;

	weir_table_add(t, name);
	weir_table_addf(t, "%" PRIu64, s->live);
	if (s->failed)
		weir_table_addf(t, "%" PRIu64 " (%" PRIu64 " not by fin)", s->closed, s->failed);
	else
		weir_table_addf(t, "%" PRIu64, s->closed);
	cell_us(t, s->min_rtt_us, s->min_rtt_us);
	cell_us(t, weir_tcp_percentile(&s->rtt, 50), known);
	cell_us(t, weir_tcp_percentile(&s->rtt, 99), known);
	cell_us(t, s->rtt.max_us, known);
	cell_picture(t, &s->rtt);
	cell_causes(t, s->cause, s->retrans_before);
	weir_table_addf(t, "%" PRIu64, s->out_of_order);
	cell_windows(t, s->zero_window_in, s->zero_window_out);
	cell_si(t, s->bytes_in);
	cell_si(t, s->bytes_out);
	cell_rate(t, s->rate, rated);
}

static int show_sums(struct weir_tcp_table *t, const struct weir_tcp_view *v, struct weir_buf *out)
{
	const char *const head[] = { v->by == WEIR_TCP_BY_HOST ? "HOST" : "PROCESS",
				     "NOW",
				     "CLOSED",
				     "MIN",
				     "P50",
				     "P99",
				     "MAX",
				     "RTT",
				     "RETRANSMITS",
				     "OOO",
				     "ZWIN",
				     "BYTES IN",
				     "BYTES OUT",
				     "BYTES/s" };
	weir_autotable struct weir_table table;
	weir_autofree struct weir_tcp_sum *sums = NULL;
	size_t n, live = 0;
	int ret = weir_tcp_table_sums(t, v->sort, &sums, &n);

	if (ret)
		return ret;
	for (size_t i = 0; i < n; i++)
		live += sums[i].live;
	add_head(t, v, live, out);
	weir_table_init(&table, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < n; i++) {
		weir_autobuf struct weir_buf name = { 0 };

		add_sum_name(&name, t, &sums[i].name);
		sum_row(&table, &sums[i], name.data, t->before_at);
	}
	weir_table_render(&table, 0, out);
	for (size_t i = 0; v->histogram && i < n; i++) {
		weir_autobuf struct weir_buf name = { 0 };

		add_sum_name(&name, t, &sums[i].name);
		if (name.data)
			add_histogram(name.data, &sums[i].rtt, out);
	}
	return 0;
}

int weir_tcp_show(struct weir_tcp_table *t, const struct weir_tcp_view *v, struct weir_buf *out)
{
	return v->by == WEIR_TCP_BY_FLOW ? show_flows(t, v, out) : show_sums(t, v, out);
}
