/* SPDX-License-Identifier: GPL-2.0-only */
/* One interval of --summary as a screen of text or as a JSON object. */
#include <string.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/summary.h"

#define BAR_WIDTH 40
#define TEXT_TOP 5 /* rows of hosts and ports */

/* ---- JSON */

static void json_sum(struct weir_json *j, const char *key, const struct weir_watch_sum *s)
{
	weir_json_object(j, key);
	weir_json_uint(j, "packets", s->packets);
	weir_json_uint(j, "wire_packets", s->wire_packets);
	weir_json_uint(j, "bytes", s->bytes);
	weir_json_end_object(j);
}

static void json_stats(struct weir_json *j, const struct weir_watch_stats *s)
{
	weir_json_object(j, "protocols");
	for (int i = 0; i < WEIR_WATCH_PROTOCOL_MAX; i++)
		json_sum(j, weir_stats_protocols[i], &s->protocol[i]);
	weir_json_end_object(j);
	weir_json_array(j, "sizes");
	for (int i = 0; i < WEIR_WATCH_SIZE_MAX; i++) {
		weir_json_object(j, NULL);
		if (i < WEIR_WATCH_SIZE_LARGER)
			weir_json_uint(j, "up_to", weir_stats_sizes[i]);
		weir_json_uint(j, "packets", s->size[i].packets);
		weir_json_uint(j, "bytes", s->size[i].bytes);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
	weir_json_object(j, "tcp_flags");
	for (int i = 0; i < WEIR_WATCH_TCP_FLAGS; i++)
		weir_json_uint(j, weir_stats_flags[i], s->tcp_flags[i]);
	weir_json_end_object(j);
}

static void json_top(struct weir_json *j, const struct weir_heavy_entry *v, size_t n, bool ports)
{
	weir_json_array(j, ports ? "top_ports" : "top_hosts");
	for (size_t i = 0; i < n; i++) {
		weir_autobuf struct weir_buf name = { 0 };

		weir_json_object(j, NULL);
		if (ports)
			weir_format_proto_name(&name, v[i].key.proto);
		else
			weir_buf_add_addr(&name, v[i].key.addr);
		weir_json_str(j, ports ? "protocol" : "host", name.data);
		if (ports)
			weir_json_uint(j, "port", v[i].key.port);
		weir_json_uint(j, "packets", v[i].packets);
		weir_json_uint(j, "bytes", v[i].bytes);
		if (v[i].left)
			weir_json_bool(j, "approximate", true);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_account(struct weir_json *j, const struct weir_stats_account *a)
{
	weir_json_uint(j, "seen", a->seen);
	weir_json_uint(j, "unmatched", a->unmatched);
	weir_json_uint(j, "sampled_out", a->sampled_out);
	weir_json_uint(j, "matched", a->matched);
	weir_json_uint(j, "delivered", a->delivered);
	weir_json_object(j, "lost");
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		if (a->lost[i])
			weir_json_uint(j, weir_account_reason(i), a->lost[i]);
	weir_json_end_object(j);
}

void weir_summary_json(const struct weir_summary *s, struct weir_buf *out)
{
	struct weir_watch_sum all = weir_stats_total(&s->stats);
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (s->start)
		weir_json_time(&j, "ts", s->start);
	weir_json_uint(&j, "interval_ns", s->end - s->start);
	weir_json_uint(&j, "packets", all.packets);
	weir_json_uint(&j, "wire_packets", all.wire_packets);
	weir_json_uint(&j, "bytes", all.bytes);
	weir_json_uint(&j, "flows", s->flows);
	weir_json_uint(&j, "new_flows", s->new_flows);
	json_stats(&j, &s->stats);
	json_top(&j, s->hosts, s->n_hosts, false);
	json_top(&j, s->ports, s->n_ports, true);
	json_account(&j, &s->account);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

/* ---- Text */

static void add_rate(struct weir_buf *out, uint64_t n, double seconds)
{
	weir_buf_add_si(out, seconds > 0 ? (double)n / seconds : 0);
}

static void text_head(const struct weir_summary *s, double seconds, struct weir_buf *out)
{
	uint64_t lost = 0;

	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		lost += s->account.lost[i];
	if (s->start)
		weir_buf_add_clock(out, s->start);
	weir_buf_addf(out, " +%.1fs: ", seconds);
	weir_buf_add_grouped(out, s->account.seen);
	weir_buf_adds(out, " seen, ");
	weir_buf_add_grouped(out, s->account.matched);
	weir_buf_adds(out, " matched, ");
	weir_buf_add_grouped(out, lost);
	weir_buf_adds(out, " lost; ");
	weir_buf_add_grouped(out, s->flows);
	weir_buf_adds(out, s->flows == 1 ? " flow, " : " flows, ");
	weir_buf_add_grouped(out, s->new_flows);
	weir_buf_adds(out, " new\n");
}

static void add_grouped(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf cell = { 0 };

	weir_buf_add_grouped(&cell, v);
	weir_table_add(t, cell.data);
}

static void text_sum(struct weir_table *t, const char *name, const struct weir_watch_sum *v,
		     double seconds)
{
	weir_autobuf struct weir_buf packets = { 0 }, bits = { 0 };

	weir_table_add(t, name);
	add_grouped(t, v->packets);
	add_grouped(t, v->bytes);
	add_rate(&packets, v->packets, seconds);
	weir_table_add(t, packets.data);
	add_rate(&bits, v->bytes * 8, seconds);
	weir_table_add(t, bits.data);
}

static void text_protocols(const struct weir_summary *s, double seconds, struct weir_buf *out)
{
	static const char *const head[] = { "PROTOCOL", "PACKETS", "BYTES", "PACKETS/S", "BITS/S" };
	struct weir_watch_sum all = weir_stats_total(&s->stats);
	weir_autotable struct weir_table t;

	weir_table_init(&t, 5, head);
	for (int i = 0; i < WEIR_WATCH_PROTOCOL_MAX; i++)
		if (s->stats.protocol[i].packets)
			text_sum(&t, weir_stats_protocols[i], &s->stats.protocol[i], seconds);
	text_sum(&t, "all", &all, seconds);
	weir_table_render(&t, 0, out);
}

/* Classes between the smallest and the largest that occur, each a bar of its share. */
static void text_sizes(const struct weir_watch_stats *s, struct weir_buf *out)
{
	static const char *const head[] = { "SIZE", "PACKETS", "SHARE" };
	int first = WEIR_WATCH_SIZE_MAX, last = -1;
	weir_autotable struct weir_table t;
	uint64_t most = 0;

	for (int i = 0; i < WEIR_WATCH_SIZE_MAX; i++) {
		if (s->size[i].packets && first > i)
			first = i;
		if (s->size[i].packets)
			last = i;
		if (s->size[i].packets > most)
			most = s->size[i].packets;
	}
	if (last < 0)
		return;
	weir_table_init(&t, 3, head);
	for (int i = first; i <= last; i++) {
		weir_autobuf struct weir_buf bar = { 0 };
		size_t n = (size_t)((s->size[i].packets * BAR_WIDTH + most - 1) / most);

		weir_table_addf(&t, "%s%u", i < WEIR_WATCH_SIZE_LARGER ? "up to " : "over ",
				weir_stats_sizes[i < WEIR_WATCH_SIZE_LARGER ? i : i - 1]);
		add_grouped(&t, s->size[i].packets);
		for (size_t k = 0; k < n; k++)
			weir_buf_addc(&bar, '#');
		weir_table_add(&t, bar.data);
	}
	weir_buf_addc(out, '\n');
	weir_table_render(&t, 0, out);
}

static void text_flags(const struct weir_watch_stats *s, struct weir_buf *out)
{
	bool any = false;

	for (int i = 0; i < WEIR_WATCH_TCP_FLAGS; i++) {
		if (!s->tcp_flags[i])
			continue;
		weir_buf_addf(out, "%s%s ", any ? ", " : "\nTCP FLAGS  ", weir_stats_flags[i]);
		weir_buf_add_grouped(out, s->tcp_flags[i]);
		any = true;
	}
	if (any)
		weir_buf_addc(out, '\n');
}

static void add_port(const struct weir_watch *w, const struct weir_heavy_key *k,
		     struct weir_buf *out)
{
	const char *service = w->opt.numeric ? NULL : weir_format_service(k->port, k->proto);

	weir_format_proto_name(out, k->proto);
	weir_buf_addf(out, "/%u", k->port);
	if (service)
		weir_buf_addf(out, " %s", service);
}

static void add_end(struct weir_table *t, const struct weir_buf *name,
		    const struct weir_heavy_entry *x)
{
	weir_autobuf struct weir_buf bytes = { 0 };

	if (name->len) {
		weir_buf_adds(&bytes, x->left ? "~" : "");
		weir_buf_add_si(&bytes, (double)x->bytes);
	}
	weir_table_add(t, name->data);
	weir_table_add(t, bytes.data);
}

static void text_top(const struct weir_watch *w, const struct weir_summary *s, struct weir_buf *out)
{
	static const char *const head[] = { "HOST", "BYTES", "PORT", "BYTES" };
	weir_autotable struct weir_table t;

	if (!s->n_hosts)
		return;
	weir_table_init(&t, 4, head);
	for (size_t i = 0; i < TEXT_TOP && (i < s->n_hosts || i < s->n_ports); i++) {
		weir_autobuf struct weir_buf host = { 0 }, port = { 0 };

		if (i < s->n_hosts)
			weir_buf_add_addr(&host, s->hosts[i].key.addr);
		if (i < s->n_ports)
			add_port(w, &s->ports[i].key, &port);
		add_end(&t, &host, &s->hosts[i]);
		add_end(&t, &port, &s->ports[i]);
	}
	weir_buf_addc(out, '\n');
	weir_table_render(&t, 0, out);
}

void weir_summary_text(const struct weir_watch *w, const struct weir_summary *s,
		       struct weir_buf *out)
{
	double seconds = (double)(s->end - s->start) / (double)WEIR_NSEC_PER_SEC;

	text_head(s, seconds, out);
	text_protocols(s, seconds, out);
	text_sizes(&s->stats, out);
	text_flags(&s->stats, out);
	text_top(w, s, out);
	weir_buf_addc(out, '\n');
}
