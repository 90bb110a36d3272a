/* SPDX-License-Identifier: GPL-2.0-only */
/* Pictures of the flow table: a table in place, or JSON lines. */
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

static void add_protocol(struct weir_buf *out, uint8_t proto, uint16_t eth_type)
{
	if (proto || eth_type == 0x0800 || eth_type == 0x86dd)
		weir_format_proto_name(out, proto);
	else if (eth_type == 0x0806)
		weir_buf_adds(out, "arp");
	else
		weir_buf_addf(out, "ether-0x%04x", eth_type);
}

static void json_ends(const struct weir_watch *w, struct weir_json *j, const struct weir_flow *x)
{
	bool guessed, b = weir_flow_initiator_is_b(w->flows, x, &guessed),
		      ip = x->key.proto || x->key.eth_type == 0x0800 || x->key.eth_type == 0x86dd ||
			   x->key.eth_type == 0x0806;
	const uint8_t *ends[2] = { b ? x->key.addr_b : x->key.addr_a,
				   b ? x->key.addr_a : x->key.addr_b };
	uint16_t ports[2] = { b ? x->key.port_b : x->key.port_a,
			      b ? x->key.port_a : x->key.port_b };
	static const char *const names[2][2] = { { "src_ip", "src_port" },
						 { "dst_ip", "dst_port" } };
	static const uint8_t none[16];
	char name[IF_NAMESIZE];

	for (int i = 0; i < 2; i++) {
		weir_autobuf struct weir_buf text = { 0 };

		if (x->key.eth_type == 0x86dd)
			weir_buf_add_addr6(&text, ends[i]);
		else
			weir_buf_add_addr(&text, ends[i]);
		if (ip && memcmp(ends[i], none, 16))
			weir_json_str(j, names[i][0], text.data);
		if (ports[i])
			weir_json_uint(j, names[i][1], ports[i]);
	}
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (w->ifaces[i].ifindex == x->key.ifindex) {
			snprintf(name, sizeof(name), "%s", w->ifaces[i].name);
			weir_json_str(j, "iface", name);
			break;
		}
	if (guessed)
		weir_json_bool(j, "initiator_guessed", true);
	if (x->key.fragment)
		weir_json_bool(j, "fragment", true);
}

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

/* The TCP flags seen in either direction. */
static bool flags_of(const struct weir_flow *x, char ret[WEIR_TCP_LETTERS])
{
	if (x->key.proto != 6 || x->key.fragment)
		return false;
	weir_format_tcp_letters(x->val.tcp_flags[0] | x->val.tcp_flags[1], ret);
	return true;
}

static void json_row(const struct weir_watch *w, const struct weir_flow_row *r,
		     struct weir_buf *out)
{
	const struct weir_flow *x = r->flow;
	weir_autobuf struct weir_buf text = { 0 };
	char letters[WEIR_TCP_LETTERS];
	struct weir_packet_owners owners;
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (w->opt.by == WEIR_BY_HOST) {
		weir_buf_add_addr(&text, r->addr);
		weir_json_str(&j, "host", text.data);
	} else {
		add_protocol(&text, x ? x->key.proto : r->proto, x ? x->key.eth_type : r->eth_type);
		weir_json_str(&j, "protocol", text.data);
	}
	if (x)
		json_ends(w, &j, x);
	if (x && flags_of(x, letters))
		weir_json_str(&j, "tcp_flags", letters);
	if (w->opt.by == WEIR_BY_PORT && r->port)
		weir_json_uint(&j, "port", r->port);
	json_sums(&j, r);
	if (x && weir_flow_owner(w, x, &owners))
		weir_owner_json(&j, &owners);
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

static void add_flags(const struct weir_flow *x, struct weir_buf *out)
{
	char letters[WEIR_TCP_LETTERS];

	if (flags_of(x, letters))
		weir_buf_addf(out, " [%s]", letters);
}

static void add_owners(const struct weir_watch *w, const struct weir_flow *x, struct weir_buf *out)
{
	struct weir_packet_owners o;

	if (!weir_flow_owner(w, x, &o))
		return;
	ADD(out, " (");
	weir_owner_add(out, &o.owner);
	if (o.peer.pid) {
		ADD(out, ", peer ");
		weir_owner_add(out, &o.peer);
	}
	ADD(out, ")");
}

static void add_name(const struct weir_watch *w, const struct weir_flow_row *r,
		     struct weir_buf *out)
{
	const struct weir_flow *x = r->flow;
	bool guessed, numeric = w->opt.numeric, b;
	uint16_t pa, pb;

	if (w->opt.by == WEIR_BY_HOST) {
		weir_buf_add_addr(out, r->addr);
	} else if (!x) {
		add_protocol(out, r->proto, r->eth_type);
		if (w->opt.by == WEIR_BY_PORT && r->port) {
			const char *service = numeric ? NULL :
							weir_format_service(r->port, r->proto);

			weir_buf_addf(out, "/%u", r->port);
			if (service)
				weir_buf_addf(out, " %s", service);
		}
	} else {
		b = weir_flow_initiator_is_b(w->flows, x, &guessed);
		pa = b ? x->key.port_b : x->key.port_a;
		pb = b ? x->key.port_a : x->key.port_b;
		add_protocol(out, x->key.proto, x->key.eth_type);
		weir_buf_addc(out, ' ');
		weir_format_end(out, b ? x->key.addr_b : x->key.addr_a, pa, pa, x->key.proto,
				numeric);
		weir_buf_adds(out, guessed ? " ?> " : " > ");
		weir_format_end(out, b ? x->key.addr_a : x->key.addr_b, pb, pb, x->key.proto,
				numeric);
		if (x->key.fragment)
			weir_buf_adds(out, " fragment");
		add_flags(x, out);
		add_owners(w, x, out);
	}
	if (!r->bypassed)
		return;
	weir_buf_adds(out, " +");
	weir_buf_add_si(out, (double)r->bypassed);
	weir_buf_adds(out, "B by bypass");
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
	uint64_t bytes = r->bytes[0] + r->bytes[1];

	add_cell(out, (double)r->packets[0], 9);
	add_cell(out, (double)r->packets[1], 9);
	add_cell(out, (double)r->bytes[0], 9);
	add_cell(out, (double)r->bytes[1], 9);
	add_cell(out, seconds > 0 ? (double)(bytes - r->shown_bytes) * 8 / seconds : 0, 10);
	weir_buf_addc(out, '\n');
}

static void text_row(const struct weir_watch *w, const struct weir_flow_row *r, double seconds,
		     size_t width, struct weir_buf *out)
{
	size_t start = out->len;

	add_name(w, r, out);
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
	static const char *const titles[] = { "FLOW", "HOST", "PORT", "PROTOCOL" };
	struct weir_flows *f = w->flows;
	uint64_t now = weir_clock_mono();
	double seconds = (double)(now - f->shown_at) / (double)WEIR_NSEC_PER_SEC;
	size_t width = (size_t)cols - CELLS_WIDTH, start;

	weir_buf_addf(out, "%zu flow%s", f->used, f->used == 1 ? "" : "s");
	weir_buf_addf(out, ", lost %llu\n", (unsigned long long)weir_account_lost(w));
	start = out->len;
	weir_buf_adds(out, titles[w->opt.by]);
	pad_to(out, start, width);
	weir_buf_adds(out, "   pkts in pkts out bytes in bytes out    bits/s\n");
	for (size_t i = 0; i < n && i < most; i++)
		text_row(w, &rows[i], seconds, width, out);
	text_other(f, width, out);
	if (n > most)
		weir_buf_addf(out, "(%zu more)\n", n - most);
}

static void remember_shown(struct weir_flows *f)
{
	for (size_t i = 0; i < f->size; i++)
		f->slots[i].shown_bytes = f->slots[i].val.bytes[0] + f->slots[i].val.bytes[1];
	f->shown_at = weir_clock_mono();
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
	struct weir_flow_row r = weir_flow_row_of(x);

	if (g->out) {
		if (x->hidden)
			return;
		json_row(g->w, &r, g->out);
		return;
	}
	weir_flow_val_merge(&g->w->flows->other, &x->val);
	g->w->flows->other_flows++;
}

int weir_flows_show(struct weir_watch *w, bool last)
{
	struct weir_flows *f = w->flows;
	weir_autobuf struct weir_buf out = { 0 };
	bool tty = isatty(STDOUT_FILENO), json = w->opt.format == WEIR_FORMAT_JSON;
	struct gone g = { .w = w, .out = json ? &out : NULL };
	int lines = 24, cols = 80;
	struct weir_flow_row *rows;
	size_t n;

	weir_watch_bypass_look(w);
	if (!w->opt.read_file && w->opt.by == WEIR_BY_FLOW && !last)
		weir_flows_expire(w, weir_clock_real(), on_gone, &g);
	if (last || (tty && !json && !w->opt.once)) {
		rows = weir_flow_rows(f, (enum weir_by)w->opt.by, &n);
		if (!rows)
			return -ENOMEM;
		if (tty)
			weir_term_size(STDOUT_FILENO, &cols, &lines);
		else
			cols = 120;
		if (tty && !json && !w->opt.once)
			weir_buf_adds(&out, "\033[H\033[2J");
		for (size_t i = 0; json && i < n; i++)
			json_row(w, &rows[i], &out);
		if (json)
			json_other(f, &out);
		else
			text_table(w, rows, n, tty && lines > 6 ? (size_t)lines - 5 : SIZE_MAX,
				   cols, &out);
		free(rows);
		remember_shown(f);
	}
	return out.len ? weir_writer_write(w, &out) : 0;
}
