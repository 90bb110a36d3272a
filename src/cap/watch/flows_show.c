/* SPDX-License-Identifier: GPL-2.0-only */
/* Pictures of the flow table: a plain table, or JSON lines. */
#include "cap/watch/flows.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"

#define CELLS_WIDTH 47 /* the columns of numbers */
/* Columns of a table that goes to no terminal. */
#define COLUMNS 120
#define COLUMNS_NAMED 240 /* names and owners in it */

static void json_sums(struct weir_json *j, const struct weir_flow_row *r)
{
	if (!r->flow)
		weir_json_uint(j, "flows", r->flows);
	weir_json_uint(j, "packets", r->packets[0] + r->packets[1]);
	weir_json_uint(j, "packets_in", r->packets[0]);
	weir_json_uint(j, "packets_out", r->packets[1]);
	weir_json_uint(j, "wire_packets", r->wire);
	weir_json_uint(j, "bytes", r->bytes[0] + r->bytes[1]);
	weir_json_uint(j, "bytes_in", r->bytes[0]);
	weir_json_uint(j, "bytes_out", r->bytes[1]);
	if (r->bypassed)
		weir_json_uint(j, "bypass_bytes", r->bypassed);
	weir_json_time(j, "first_ts", r->first);
	weir_json_time(j, "last_ts", r->last);
}

static void json_row(struct weir_watch *w, enum weir_by by, const struct weir_flow_row *r,
		     struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_groupings[by].json(w, r, &j);
	json_sums(&j, r);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

/* What is in no other line: flows that the table had no room for. */
static void json_other(const struct weir_flows *f, struct weir_buf *out)
{
	struct weir_flow_row r = weir_flow_row_other(f);
	struct weir_json j;

	if (!r.flows)
		return;
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_bool(&j, "other", true);
	json_sums(&j, &r);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void pad_to(struct weir_buf *out, size_t start, size_t width)
{
	for (size_t n = out->len - start; n < width; n++)
		weir_buf_addc(out, ' ');
}

static void add_cell(struct weir_buf *out, double v, size_t width)
{
	weir_autobuf struct weir_buf cell = { 0 };

	weir_buf_add_si(&cell, v);
	for (size_t n = cell.len; n < width; n++)
		weir_buf_addc(out, ' ');
	weir_buf_add(out, cell.data, cell.len);
}

static void text_cells(const struct weir_flow_row *r, double seconds, struct weir_buf *out)
{
	add_cell(out, (double)r->packets[0], 9);
	add_cell(out, (double)r->packets[1], 9);
	add_cell(out, (double)r->bytes[0], 9);
	add_cell(out, (double)r->bytes[1], 10);
	add_cell(out, seconds > 0 ? (double)r->recent * 8 / seconds : 0, 10);
	weir_buf_addc(out, '\n');
}

/* The numbers stay in their columns: names may be long. */
static void cut_to(struct weir_buf *out, size_t start, size_t width)
{
	if (out->len - start < width || out->failed)
		return;
	out->len = start + width - 4;
	weir_buf_adds(out, "...");
}

static void text_row(struct weir_watch *w, const struct weir_flow_row *r, double seconds,
		     size_t width, struct weir_buf *out)
{
	size_t start = out->len;

	weir_row_name(w, (enum weir_by)w->opt.by, r, out);
	if (w->l7 || w->owners)
		cut_to(out, start, width);
	pad_to(out, start, width);
	text_cells(r, seconds, out);
}

static void text_other(const struct weir_flows *f, size_t width, struct weir_buf *out)
{
	struct weir_flow_row r = weir_flow_row_other(f);
	size_t start = out->len;

	if (!r.flows)
		return;
	weir_buf_adds(out, "other: ended, or beyond the table");
	pad_to(out, start, width);
	text_cells(&r, 0, out);
}

static void text_table(struct weir_watch *w, const struct weir_flow_row *rows, size_t n,
		       size_t most, int cols, struct weir_buf *out)
{
	struct weir_flows *f = w->flows;
	double seconds = (double)f->period_ns / (double)WEIR_NSEC_PER_SEC;
	size_t width = (size_t)cols - CELLS_WIDTH, start;

	weir_buf_addf(out, "%zu flow%s", f->used, f->used == 1 ? "" : "s");
	weir_buf_addf(out, ", lost %llu\n", (unsigned long long)weir_account_lost(w));
	start = out->len;
	weir_buf_adds(out, weir_groupings[w->opt.by].title);
	pad_to(out, start, width);
	weir_buf_adds(out, "  pkts in pkts out bytes in bytes out    bits/s\n");
	for (size_t i = 0; i < n && i < most; i++)
		text_row(w, &rows[i], seconds, width, out);
	text_other(f, width, out);
	if (n > most)
		weir_buf_addf(out, "(%zu more)\n", n - most);
}

struct gone {
	struct weir_watch *w;
	struct weir_buf *out; /* NULL: a picture is the output */
};

/* An ended flow: a JSON line where lines are the output, into the sum of the others where
 * a picture is. */
static void on_gone(void *arg, const struct weir_flow *x)
{
	struct gone *g = arg;
	struct weir_flow_row r = weir_flow_row_of(g->w->flows, x);

	if (g->out) {
		if (!x->hidden)
			json_row(g->w, WEIR_BY_FLOW, &r, g->out);
		return;
	}
	weir_flow_val_merge(&g->w->flows->other, &x->val);
	g->w->flows->other_flows++;
}

static int compare_bytes(const void *a, const void *b)
{
	const struct weir_flow_row *x = a, *y = b;
	uint64_t bx = x->bytes[0] + x->bytes[1], by = y->bytes[0] + y->bytes[1];

	return bx != by ? (bx < by) - (bx > by) : weir_row_compare(x, y);
}

static int add_picture(struct weir_watch *w, struct weir_buf *out)
{
	enum weir_by by = (enum weir_by)w->opt.by;
	struct weir_groups g = { 0 };
	bool tty = isatty(STDOUT_FILENO), json = w->opt.format == WEIR_FORMAT_JSON;
	int lines = 24, cols = w->l7 || w->owners ? COLUMNS_NAMED : COLUMNS, ret;

	ret = weir_groups_fill(&g, w, by, NULL, NULL);
	if (!ret && g.n)
		qsort(g.rows, g.n, sizeof(*g.rows), compare_bytes);
	if (tty)
		weir_term_size(STDOUT_FILENO, &cols, &lines);
	for (size_t i = 0; !ret && json && i < g.n; i++)
		json_row(w, by, &g.rows[i], out);
	if (!ret && json)
		json_other(w->flows, out);
	else if (!ret)
		text_table(w, g.rows, g.n, tty && lines > 6 ? (size_t)lines - 5 : SIZE_MAX, cols,
			   out);
	weir_groups_free(&g);
	return ret;
}

int weir_flows_show(struct weir_watch *w, bool last)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct gone g = { .w = w, .out = w->opt.format == WEIR_FORMAT_JSON ? &out : NULL };
	int ret = 0;

	weir_watch_bypass_look(w);
	if (!weir_flows_keep_ended(w) && !last)
		weir_flows_expire(w, weir_clock_real(), on_gone, &g);
	if (last && !w->full_screen)
		weir_flows_period(w->flows); /* of all the time */
	if (last)
		ret = add_picture(w, &out);
	if (!ret && out.len)
		ret = weir_writer_write(w, &out);
	return ret;
}
