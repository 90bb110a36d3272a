/* SPDX-License-Identifier: GPL-2.0-only */
/* One line for each thing that happens to a connection. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cap/tcp/show.h"

static void add_duration(struct weir_buf *b, const char *what, uint64_t ns)
{
	weir_buf_addf(b, ", %s ", what);
	weir_buf_add_duration(b, ns);
}

static void add_bytes(struct weir_buf *b, const char *what, uint64_t n)
{
	weir_buf_addf(b, ", %s ", what);
	weir_buf_add_si(b, (double)n);
}

static void close_text(const struct weir_tcp_conn *c, uint64_t ts, struct weir_buf *b)
{
	const char *who = weir_tcp_who(c->closed_by), *how = weir_tcp_hows[c->closed_how];
	uint64_t cause[WEIR_TCP_CAUSES];

	weir_buf_addf(b, ": %s%s%s", how ? how : "", who ? " by " : "", who ? who : "");
	if (c->start && ts > c->start)
		add_duration(b, "lasted", ts - c->start);
	if (c->handshake)
		add_duration(b, "handshake", c->handshake);
	add_bytes(b, "in", weir_tcp_bytes_in(c));
	add_bytes(b, "out", weir_tcp_bytes_out(c));
	if (c->flags & WEIR_TCP_F_BYPASS) {
		add_bytes(b, "by bypass in", c->bypass_in);
		add_bytes(b, "out", c->bypass_out);
	}
	weir_tcp_retransmits(c, cause);
	weir_buf_adds(b, ", retransmits ");
	weir_tcp_add_causes(b, cause, c->retrans_before);
	if (c->now.out_of_order)
		weir_buf_addf(b, ", out of order %u", c->now.out_of_order);
	if (c->zero_window_in || c->zero_window_out)
		weir_buf_addf(b, ", zero windows %u in %u out", c->zero_window_in,
			      c->zero_window_out);
	if (c->now.srtt_us) {
		add_duration(b, "rtt", c->now.srtt_us * 1000ULL);
		add_duration(b, "least", c->now.min_rtt_us * 1000ULL);
	}
}

void weir_tcp_event_text(const struct weir_tcp_event *ev, int64_t offset, struct weir_buf *out)
{
	const struct weir_tcp_closed *closed = (const void *)ev;

	weir_buf_add_clock(out, ev->ts + (uint64_t)offset);
	weir_buf_addf(out, " %s ", weir_tcp_kinds[ev->kind]);
	weir_tcp_add_ends(out, &ev->ends);
	if (ev->pid) {
		weir_buf_addc(out, ' ');
		weir_tcp_add_process(out, ev->comm, ev->pid);
	}
	switch (ev->kind) {
	case WEIR_TCP_ACCEPT:
	case WEIR_TCP_ESTABLISHED:
		if (ev->handshake) {
			weir_buf_adds(out, ": handshake ");
			weir_buf_add_duration(out, ev->handshake);
		}
		break;
	case WEIR_TCP_RETRANSMIT:
		weir_buf_addf(out, ": %s, %u segment%s, %s", weir_tcp_causes[ev->cause],
			      ev->segments, ev->segments == 1 ? "" : "s",
			      weir_tcp_state(ev->state));
		break;
	case WEIR_TCP_RESET:
		weir_buf_addf(out, ": by %s, %s", weir_tcp_who(ev->by), weir_tcp_state(ev->state));
		break;
	case WEIR_TCP_CLOSE:
		close_text(&closed->conn, ev->ts, out);
		break;
	}
	weir_buf_addc(out, '\n');
}

void weir_tcp_event_json(const struct weir_tcp_event *ev, int64_t offset, struct weir_buf *out)
{
	const struct weir_tcp_closed *closed = (const void *)ev;
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_time(&j, "ts", ev->ts + (uint64_t)offset);
	weir_json_str(&j, "event", weir_tcp_kinds[ev->kind]);
	if (ev->kind == WEIR_TCP_CLOSE) {
		weir_tcp_json_conn(&j, &closed->conn, offset);
		weir_json_str(&j, "closed_in", weir_tcp_state(ev->state));
		if (closed->conn.start && ev->ts > closed->conn.start)
			weir_json_uint(&j, "lasted_ns", ev->ts - closed->conn.start);
	} else {
		weir_tcp_json_ends(&j, &ev->ends);
		weir_tcp_json_process(&j, ev->comm, ev->pid);
		weir_json_str(&j, "state", weir_tcp_state(ev->state));
		if (ev->handshake)
			weir_json_uint(&j, "handshake_ns", ev->handshake);
	}
	if (ev->kind == WEIR_TCP_RETRANSMIT) {
		weir_json_str(&j, "cause", weir_tcp_causes[ev->cause]);
		weir_json_uint(&j, "segments", ev->segments);
	}
	if (ev->kind == WEIR_TCP_RESET)
		weir_json_str(&j, "by", weir_tcp_who(ev->by));
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}
