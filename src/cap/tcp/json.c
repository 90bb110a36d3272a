/* SPDX-License-Identifier: GPL-2.0-only */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/tcp/show.h"

#define NS_PER_US 1000ULL

static void addr_member(struct weir_json *j, const char *key, const uint8_t addr[16])
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr a;

	memcpy(a.b, addr, sizeof(a.b));
	weir_json_str(j, key, weir_addr_str(&a, text));
}

void weir_tcp_json_ends(struct weir_json *j, const struct weir_ends *e)
{
	weir_json_uint(j, "netns", e->netns);
	addr_member(j, "local_ip", e->local);
	if (e->lport)
		weir_json_uint(j, "local_port", e->lport);
	addr_member(j, "remote_ip", e->remote);
	weir_json_uint(j, "remote_port", e->rport);
	weir_json_str(j, "initiator", e->flags & WEIR_ENDS_INITIATED ? "local" : "remote");
	if (e->flags & WEIR_ENDS_GUESSED)
		weir_json_bool(j, "guessed", true);
	if (e->cookie)
		weir_json_uint(j, "cookie", e->cookie);
}

void weir_tcp_json_process(struct weir_json *j, const char *comm, uint32_t pid)
{
	if (!pid)
		return;
	weir_json_uint(j, "pid", pid);
	weir_json_strn(j, "comm", comm, strnlen(comm, WEIR_TCP_COMM));
}

void weir_tcp_json_lost(struct weir_json *j, const uint64_t lost[WEIR_TCP_LOSTS])
{
	weir_json_object(j, "lost");
	for (int i = 0; i < WEIR_TCP_LOSTS; i++)
		if (lost[i])
			weir_json_uint(j, weir_tcp_losts[i], lost[i]);
	weir_json_end_object(j);
}

static void causes_member(struct weir_json *j, const uint64_t cause[WEIR_TCP_CAUSES])
{
	weir_json_object(j, "retransmit_causes");
	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		weir_json_uint(j, weir_tcp_causes[i], cause[i]);
	weir_json_end_object(j);
}

/* Only buckets with samples; each says where it ends. */
static void rtt_member(struct weir_json *j, const struct weir_tcp_rtt *r)
{
	if (!r->count)
		return;
	weir_json_object(j, "rtt");
	weir_json_uint(j, "samples", r->count);
	weir_json_uint(j, "mean_ns", r->sum_us * NS_PER_US / r->count);
	weir_json_uint(j, "p50_ns", weir_tcp_percentile(r, 50) * NS_PER_US);
	weir_json_uint(j, "p90_ns", weir_tcp_percentile(r, 90) * NS_PER_US);
	weir_json_uint(j, "p99_ns", weir_tcp_percentile(r, 99) * NS_PER_US);
	weir_json_uint(j, "max_ns", r->max_us * NS_PER_US);
	weir_json_array(j, "histogram");
	for (uint32_t i = 0; i < WEIR_TCP_BUCKETS; i++) {
		if (!r->bucket[i])
			continue;
		weir_json_object(j, NULL);
		weir_json_uint(j, "from_ns", weir_tcp_bucket_floor(i) * NS_PER_US);
		if (i + 1 < WEIR_TCP_BUCKETS)
			weir_json_uint(j, "below_ns", weir_tcp_bucket_floor(i + 1) * NS_PER_US);
		weir_json_uint(j, "count", r->bucket[i]);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
	weir_json_end_object(j);
}

static void kernel_members(struct weir_json *j, const struct weir_tcp_figures *f)
{
	const struct {
		const char *name;
		uint64_t value;
	} members[] = {
		{ "bytes_received", f->bytes_received },
		{ "bytes_acked", f->bytes_acked },
		{ "bytes_sent", f->bytes_sent },
		{ "bytes_retransmitted", f->bytes_retrans },
		{ "segments_in", f->segs_in },
		{ "segments_out", f->segs_out },
		{ "data_segments_in", f->data_segs_in },
		{ "data_segments_out", f->data_segs_out },
		{ "delivered", f->delivered },
		{ "delivered_ce", f->delivered_ce },
		{ "dsack_duplicates", f->dsack_dups },
		{ "out_of_order", f->out_of_order },
		{ "reordering", f->reordering },
		{ "reordering_seen", f->reord_seen },
		{ "unacked", f->unacked },
		{ "sacked", f->sacked },
		{ "lost_segments", f->lost },
		{ "retransmits_out", f->retrans_out },
		{ "not_sent_bytes", f->notsent },
		{ "cwnd", f->cwnd },
		{ "ssthresh", f->ssthresh },
		{ "mss", f->mss },
		{ "rcv_mss", f->rcv_mss },
		{ "send_window", f->snd_wnd },
		{ "receive_window", f->rcv_wnd },
		{ "busy_ns", f->busy_us * NS_PER_US },
		{ "rwnd_limited_ns", f->rwnd_limited_us * NS_PER_US },
		{ "sndbuf_limited_ns", f->sndbuf_limited_us * NS_PER_US },
		{ "rto_ns", f->rto_us * NS_PER_US },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(members); i++)
		weir_json_uint(j, members[i].name, members[i].value);
}

static void time_members(struct weir_json *j, const struct weir_tcp_figures *f)
{
	if (f->srtt_us) {
		weir_json_uint(j, "rtt_ns", f->srtt_us * NS_PER_US);
		weir_json_uint(j, "rtt_var_ns", f->rttvar_us * NS_PER_US);
		weir_json_uint(j, "min_rtt_ns", f->min_rtt_us * NS_PER_US);
	}
	if (f->rcv_rtt_us)
		weir_json_uint(j, "rcv_rtt_ns", f->rcv_rtt_us * NS_PER_US);
	if (f->delivery_rate)
		weir_json_uint(j, "delivery_rate", f->delivery_rate);
	if (f->pacing_rate != ~0ULL)
		weir_json_uint(j, "pacing_rate", f->pacing_rate);
}

void weir_tcp_json_conn(struct weir_json *j, const struct weir_tcp_conn *c, int64_t offset)
{
	uint64_t cause[WEIR_TCP_CAUSES];
	struct weir_tcp_rtt rtt;

	weir_tcp_json_ends(j, &c->ends);
	weir_tcp_json_process(j, c->comm, c->pid);
	weir_json_str(j, "state", weir_tcp_state(c->now.state));
	weir_json_strn(j, "congestion", c->now.congestion,
		       strnlen(c->now.congestion, WEIR_TCP_CONGESTION));
	if (c->start)
		weir_json_time(j, "start_ts", c->start + (uint64_t)offset);
	if (c->handshake)
		weir_json_uint(j, "handshake_ns", c->handshake);
	weir_json_uint(j, "bytes_in", weir_tcp_bytes_in(c));
	weir_json_uint(j, "bytes_out", weir_tcp_bytes_out(c));
	if (c->flags & WEIR_TCP_F_BYPASS) {
		weir_json_uint(j, "bypass_bytes_in", c->bypass_in);
		weir_json_uint(j, "bypass_bytes_out", c->bypass_out);
	}
	weir_tcp_retransmits(c, cause);
	weir_json_uint(j, "retransmits", c->now.total_retrans);
	if (c->flags & WEIR_TCP_F_OLD)
		weir_json_uint(j, "retransmits_before", c->retrans_before);
	causes_member(j, cause);
	weir_json_uint(j, "zero_window_in", c->zero_window_in);
	weir_json_uint(j, "zero_window_out", c->zero_window_out);
	time_members(j, &c->now);
	if (c->now.delivery_rate)
		weir_json_bool(j, "app_limited", c->flags & WEIR_TCP_F_APP_LIMITED);
	kernel_members(j, &c->now);
	weir_tcp_rtt_of(c, &rtt);
	rtt_member(j, &rtt);
	weir_json_str(j, "closed_by", weir_tcp_who(c->closed_by));
	weir_json_str(j, "closed_how", weir_tcp_hows[c->closed_how]);
	if (c->error)
		weir_json_str(j, "error", strerror(c->error));
}

static void json_retransmits(struct weir_json *j, const struct weir_tcp_sum *s)
{
	uint64_t all = s->retrans_before;

	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		all += s->cause[i];
	weir_json_uint(j, "retransmits", all);
	if (s->retrans_before)
		weir_json_uint(j, "retransmits_before", s->retrans_before);
	causes_member(j, s->cause);
}

static void sum_members(struct weir_json *j, const struct weir_tcp_table *t,
			const struct weir_tcp_sum *s)
{
	if (weir_tcp_is_others(t, &s->name))
		weir_json_bool(j, "other", true);
	else if (t->by == WEIR_TCP_BY_HOST)
		addr_member(j, "host", s->name.host.b);
	else
		weir_tcp_json_process(j, s->name.comm, s->name.pid);
	weir_json_uint(j, "connections", s->live);
	weir_json_uint(j, "closed", s->closed);
	weir_json_uint(j, "closed_not_by_fin", s->failed);
	weir_json_uint(j, "bytes_in", s->bytes_in);
	weir_json_uint(j, "bytes_out", s->bytes_out);
	if (s->bypass_in || s->bypass_out) {
		weir_json_uint(j, "bypass_bytes_in", s->bypass_in);
		weir_json_uint(j, "bypass_bytes_out", s->bypass_out);
	}
	weir_json_uint(j, "data_segments_out", s->segments_out);
	json_retransmits(j, s);
	weir_json_uint(j, "out_of_order", s->out_of_order);
	weir_json_uint(j, "zero_window_in", s->zero_window_in);
	weir_json_uint(j, "zero_window_out", s->zero_window_out);
	if (t->before_at)
		weir_json_uint(j, "bytes_per_second", s->rate);
	if (s->min_rtt_us)
		weir_json_uint(j, "min_rtt_ns", s->min_rtt_us * NS_PER_US);
	rtt_member(j, &s->rtt);
}

/* ---- The two forms: one document, or an object a line */

struct writer {
	struct weir_json j;
	struct weir_buf *out;
	uint64_t now;
	bool document;
};

static void begin_item(struct writer *w)
{
	if (!w->document)
		weir_json_init(&w->j, w->out);
	weir_json_object(&w->j, NULL);
	if (!w->document) {
		weir_json_uint(&w->j, "v", 1);
		weir_json_time(&w->j, "ts", w->now);
	}
}

static void end_item(struct writer *w)
{
	weir_json_end_object(&w->j);
	if (!w->document)
		weir_buf_addc(w->out, '\n');
}

static void write_flows(struct writer *w, const struct weir_tcp_table *t)
{
	int64_t offset = weir_clock_offset();

	for (size_t i = 0; i < t->n; i++) {
		begin_item(w);
		weir_tcp_json_conn(&w->j, &t->rows[i].c, offset);
		if (t->rows[i].rated)
			weir_json_uint(&w->j, "bytes_per_second", t->rows[i].rate);
		end_item(w);
	}
}

static void begin_document(struct writer *w, const struct weir_tcp_table *t,
			   const struct weir_tcp_view *v)
{
	static const char *const names[] = { "connections", "hosts", "processes" };

	weir_json_init(&w->j, w->out);
	weir_json_object(&w->j, NULL);
	weir_json_uint(&w->j, "v", 1);
	weir_json_time(&w->j, "ts", w->now);
	weir_json_uint(&w->j, "namespaces", t->spaces.n);
	weir_json_bool(&w->j, "namespaces_hidden", t->spaces.hidden);
	weir_json_uint(&w->j, "closed", t->closed);
	weir_tcp_json_lost(&w->j, v->lost);
	weir_json_array(&w->j, names[v->by]);
}

int weir_tcp_show_json(struct weir_tcp_table *t, const struct weir_tcp_view *v, bool document,
		       struct weir_buf *out)
{
	struct writer w = { .out = out, .now = weir_clock_real(), .document = document };
	weir_autofree struct weir_tcp_sum *sums = NULL;
	size_t n = 0;
	int ret = 0;

	if (document)
		begin_document(&w, t, v);
	if (v->by == WEIR_TCP_BY_FLOW) {
		weir_tcp_table_sort(t, v->sort);
		write_flows(&w, t);
	} else {
		ret = weir_tcp_table_sums(t, v->sort, &sums, &n);
	}
	for (size_t i = 0; i < n; i++) {
		begin_item(&w);
		sum_members(&w.j, t, &sums[i]);
		end_item(&w);
	}
	if (document) {
		weir_json_end_array(&w.j);
		weir_json_end_object(&w.j);
		weir_buf_addc(out, '\n');
	}
	return ret;
}
