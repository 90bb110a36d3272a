/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --metrics ADDRESS: Prometheus text over HTTP, served in the main loop. How many series
 * there are depends on the interfaces and on --metrics-top, never on the traffic.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/prom.h"
#include "base/units.h"
#include "base/verb.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/observe.h"
#include "cap/watch/stats.bpf.h"
#include "cap/watch/stats.h"
#include "cap/watch/heavy.h"
#include "net/http_metrics.h"
#include "net/sock.h"

#define BACKLOG 16
#define IFACES_MAX 16 /* that have series of their own */

struct metrics {
	struct weir_watch *w;
	struct weir_watch_stats own; /* packets of user space */
	uint64_t new_flows;
	struct weir_heavy *hosts, *ports; /* NULL: not asked for */
	struct weir_http_metrics *http;
};

/* ---- The account, by interface */

static uint64_t get_seen(const struct weir_watch_account *a)
{
	return a->k.seen;
}

static uint64_t get_seen_bytes(const struct weir_watch_account *a)
{
	return a->k.seen_bytes;
}

static uint64_t get_unmatched(const struct weir_watch_account *a)
{
	return a->unmatched;
}

static uint64_t get_sampled_out(const struct weir_watch_account *a)
{
	return a->sampled_out;
}

/* A counter may not go down: what is queued may yet turn out not to match. */
static uint64_t get_matched(const struct weir_watch_account *a)
{
	return a->matched - a->queued;
}

static uint64_t get_delivered(const struct weir_watch_account *a)
{
	return a->delivered;
}

static uint64_t get_delivered_bytes(const struct weir_watch_account *a)
{
	return a->u.delivered_bytes;
}

static const struct {
	const char *name, *help;
	uint64_t (*get)(const struct weir_watch_account *a);
} of_iface[] = {
	{ "seen_total", "Packets that reached weir's program.", get_seen },
	{ "seen_bytes_total", "Bytes of them.", get_seen_bytes },
	{ "unmatched_total", "Packets left out by the match.", get_unmatched },
	{ "sampled_out_total", "Packets left out by the sampling.", get_sampled_out },
	{ "matched_total", "Packets that matched.", get_matched },
	{ "delivered_total", "Packets shown, written or added up.", get_delivered },
	{ "delivered_bytes_total", "Bytes of them.", get_delivered_bytes },
};

/* An interface, or those that have no series of their own. */
struct row {
	const char *name;
	struct weir_watch_account account;
};

static void add_account(struct weir_watch_account *to, const struct weir_watch_account *a)
{
	to->k.seen += a->k.seen;
	to->k.seen_bytes += a->k.seen_bytes;
	to->unmatched += a->unmatched;
	to->sampled_out += a->sampled_out;
	to->matched += a->matched;
	to->delivered += a->delivered;
	to->queued += a->queued;
	to->u.delivered_bytes += a->u.delivered_bytes;
	for (int r = 0; r < WEIR_WATCH_LOST_MAX; r++)
		to->lost_by[r] += a->lost_by[r];
}

/* Of many interfaces the first have series, and the others one of all. */
static size_t make_rows(struct weir_watch *w, struct row rows[IFACES_MAX])
{
	struct weir_watch_account a;
	size_t n = 0;

	memset(rows, 0, IFACES_MAX * sizeof(*rows));
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		bool rest = w->n_ifaces > IFACES_MAX && i >= IFACES_MAX - 1;
		struct row *row = &rows[rest ? IFACES_MAX - 1 : i];

		weir_account_get(w, i, &a);
		add_account(&row->account, &a);
		row->name = rest ? "other" : w->ifaces[i].name;
		n = (size_t)(row - rows) + 1;
	}
	return n;
}

static void print_account(const struct row *rows, size_t n, const struct weir_prom *p)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(of_iface); i++) {
		weir_prom_head(p, of_iface[i].name, "counter", of_iface[i].help);
		for (size_t k = 0; k < n; k++) {
			const struct weir_prom_label labels[] = { { "iface", rows[k].name },
								  { NULL, NULL } };

			weir_prom_value(p, of_iface[i].name, labels,
					of_iface[i].get(&rows[k].account));
		}
	}
	weir_prom_head(p, "lost_total", "counter", "Packets that matched and were lost.");
	for (size_t k = 0; k < n; k++)
		for (int r = 0; r < WEIR_WATCH_LOST_MAX; r++) {
			const struct weir_prom_label labels[] = {
				{ "iface", rows[k].name },
				{ "reason", weir_account_reason(r) },
				{ NULL, NULL },
			};

			weir_prom_value(p, "lost_total", labels, rows[k].account.lost_by[r]);
		}
}

/* ---- Statistics */

static uint64_t get_packets(const struct weir_watch_sum *s)
{
	return s->packets;
}

static uint64_t get_wire(const struct weir_watch_sum *s)
{
	return s->wire_packets;
}

static uint64_t get_bytes(const struct weir_watch_sum *s)
{
	return s->bytes;
}

static const struct {
	const char *name, *help;
	uint64_t (*get)(const struct weir_watch_sum *s);
} of_protocol[] = {
	{ "packets_total", "Packets delivered, by protocol.", get_packets },
	{ "wire_packets_total", "The same with segmentation offload unfolded.", get_wire },
	{ "bytes_total", "Bytes of them.", get_bytes },
};

static void print_stats(const struct weir_watch_stats *s, const struct weir_prom *p)
{
	struct weir_watch_sum all = weir_stats_total(s);
	uint64_t below = 0;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(of_protocol); i++) {
		weir_prom_head(p, of_protocol[i].name, "counter", of_protocol[i].help);
		for (int k = 0; k < WEIR_WATCH_PROTOCOL_MAX; k++) {
			const struct weir_prom_label labels[] = {
				{ "protocol", weir_stats_protocols[k] },
				{ NULL, NULL },
			};

			weir_prom_value(p, of_protocol[i].name, labels,
					of_protocol[i].get(&s->protocol[k]));
		}
	}
	weir_prom_head(p, "packet_size_bytes", "histogram", "Sizes of the packets delivered.");
	for (int i = 0; i < WEIR_WATCH_SIZE_LARGER; i++) {
		below += s->size[i].packets;
		weir_prom_bucket(p, "packet_size_bytes", weir_stats_sizes[i], below);
	}
	weir_prom_histogram_end(p, "packet_size_bytes", (double)all.bytes, all.packets);
	weir_prom_head(p, "tcp_flags_total", "counter", "Packets of TCP that have the flag set.");
	for (int i = 0; i < WEIR_WATCH_TCP_FLAGS; i++) {
		const struct weir_prom_label labels[] = { { "flag", weir_stats_flags[i] },
							  { NULL, NULL } };

		weir_prom_value(p, "tcp_flags_total", labels, s->tcp_flags[i]);
	}
}

/* ---- --metrics-top */

static void print_top(const struct weir_prom *p, const struct weir_heavy_entry *v, size_t n,
		      bool ports, bool bytes)
{
	const char *name = ports ? (bytes ? "top_port_bytes" : "top_port_packets") :
				   (bytes ? "top_host_bytes" : "top_host_packets");

	if (!n)
		return;
	weir_prom_head(p, name, "gauge",
		       ports ? "Of the ports with the most bytes so far." :
			       "Of the hosts with the most bytes so far.");
	for (size_t i = 0; i < n; i++) {
		weir_autobuf struct weir_buf text = { 0 };
		char port[8];
		const struct weir_prom_label of_port[] = { { "protocol", NULL },
							   { "port", port },
							   { NULL, NULL } };
		struct weir_prom_label labels[3];

		if (ports)
			weir_format_proto_name(&text, v[i].key.proto);
		else
			weir_buf_add_addr(&text, v[i].key.addr);
		snprintf(port, sizeof(port), "%u", v[i].key.port);
		memcpy(labels, of_port, sizeof(labels));
		labels[0].val = text.data ? text.data : "";
		if (!ports)
			labels[0].key = "host", labels[1].key = NULL;
		weir_prom_value(p, name, labels, bytes ? v[i].bytes : v[i].packets);
	}
}

static void print_tops(const struct metrics *m, const struct weir_prom *p)
{
	struct weir_heavy_entry v[WEIR_METRICS_TOP_MAX];
	size_t n;

	if (!m->hosts)
		return;
	n = weir_heavy_largest(m->hosts, v, m->w->opt.metrics_top);
	print_top(p, v, n, false, true);
	print_top(p, v, n, false, false);
	n = weir_heavy_largest(m->ports, v, m->w->opt.metrics_top);
	print_top(p, v, n, true, true);
	print_top(p, v, n, true, false);
}

/* ---- The whole */

static int print_all(void *arg, struct weir_buf *out)
{
	const struct metrics *m = arg;
	struct weir_watch *w = m->w;
	const struct weir_prom p = { out, "watch" };
	const struct weir_prom_label version[] = { { "version", WEIR_VERSION }, { NULL, NULL } };
	struct row rows[IFACES_MAX];
	struct weir_watch_stats s;

	weir_stats_get(w, &m->own, &s);
	weir_prom_head(&p, "info", "gauge", "Always 1; which version it is.");
	weir_prom_value(&p, "info", version, 1);
	weir_prom_one(&p, "start_time_seconds", "gauge", "When it was started, since the epoch.",
		      w->started / WEIR_NSEC_PER_SEC);
	print_account(rows, make_rows(w, rows), &p);
	print_stats(&s, &p);
	weir_prom_one(&p, "flows", "gauge", "Flows in the table.", w->flows->used);
	weir_prom_one(&p, "new_flows_total", "counter", "Flows begun.", m->new_flows);
	weir_prom_one(&p, "flows_beyond_total", "counter",
		      "Flows that the table had no room for, told of at each look.",
		      w->flows->other_flows);
	print_tops(m, &p);
	return out->failed ? -ENOMEM : 0;
}

static bool metrics_wanted(const struct weir_watch_options *o)
{
	return o->metrics;
}

/* Without an address, nobody but this host may ask. */
static int parse_address(const char *s, struct weir_endpoint *ret, struct weir_error *err)
{
	const char *port = *s == ':' ? s + 1 : s;
	char text[sizeof("127.0.0.1:65535")];
	uint64_t number;

	if (!weir_parse_u64(port, 1, UINT16_MAX, &number)) {
		snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned int)number);
		return weir_endpoint_parse(text, ret);
	}
	if (!weir_endpoint_parse(s, ret) && ret->sa.sa_family != AF_UNIX)
		return 0;
	return weir_fail(err, -EINVAL,
			 "--metrics %s: give a port, or an address with one, such as 9100, "
			 "192.0.2.1:9100 or [::1]:9100",
			 s);
}

static int metrics_open(struct weir_watch *w, void **ret, struct weir_error *err)
{
	struct metrics *m = calloc(1, sizeof(*m));
	struct weir_endpoint at;
	int code;

	if (!m)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	*ret = m;
	m->w = w;
	code = parse_address(w->opt.metrics, &at, err);
	if (code) {
		w->status = WEIR_EXIT_USAGE;
		return code;
	}
	if (w->opt.metrics_top) {
		m->hosts = weir_heavy_new();
		m->ports = weir_heavy_new();
		if (!m->hosts || !m->ports)
			return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	}
	code = weir_sock_listen(&at, 0, BACKLOG, err);
	return code < 0 ? code : weir_http_metrics_new(code, print_all, m, &m->http, err);
}

static void metrics_flow(void *state, struct weir_flow *f, const struct weir_flow_val *d,
			 const struct weir_flow_sides *sides)
{
	struct metrics *m = state;

	(void)sides;
	m->new_flows += weir_stats_new_flow(f, d);
	if (m->hosts)
		weir_heavy_add_flow(m->w, m->hosts, m->ports, f, d);
}

static void metrics_packet(void *state, const struct weir_packet *p)
{
	struct metrics *m = state;

	weir_watch_stats_add(&m->own, &p->hdr, p->ev.len, p->ev.gso_size);
}

static int metrics_fd(void *state)
{
	return weir_http_metrics_fd(((struct metrics *)state)->http);
}

static void metrics_ready(void *state)
{
	weir_http_metrics_serve(((struct metrics *)state)->http);
}

/* The server's own times are as coarse as the ticks. */
static int metrics_tick(void *state, uint64_t now, struct weir_error *err)
{
	(void)now;
	(void)err;
	metrics_ready(state);
	return 0;
}

static int metrics_close(void *state, struct weir_error *err)
{
	struct metrics *m = state;

	(void)err;
	weir_http_metrics_free(m->http);
	weir_heavy_free(m->hosts);
	weir_heavy_free(m->ports);
	free(m);
	return 0;
}

const struct weir_observer weir_observer_metrics = {
	.name = "metrics",
	.wanted = metrics_wanted,
	.open = metrics_open,
	.flow = metrics_flow,
	.packet = metrics_packet,
	.tick = metrics_tick,
	.fd = metrics_fd,
	.ready = metrics_ready,
	.close = metrics_close,
};
