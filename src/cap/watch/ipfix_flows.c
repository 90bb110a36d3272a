/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IPFIX export: what a flow has had since its last record goes out when the flow ends, when
 * it has gone on for the active timeout, and at the end of the run. Each side of the flow,
 * in each direction through the interface, is one record.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cap/watch/ipfix.h"
#include "cap/watch/observe.h"
#include "cap/watch/session.h"

#define DEFAULT_ACTIVE_NS (60 * WEIR_NSEC_PER_SEC)

/* What is not exported yet of one flow. Those that have something stand in a list, the
 * longest waiting first. */
struct weir_ipfix_flow {
	struct weir_ipfix_flow *prev, *next;
	struct weir_flow_key key;
	struct weir_flow_sides sum;
	uint16_t tcp_flags[2];
	uint64_t first, last; /* ns since the epoch */
	bool waits;	      /* in the list; a file may have times of 0 */
};

struct exporter {
	struct weir_watch *w;
	struct weir_ipfix_sender *sender;
	struct weir_ipfix_message m;
	struct weir_ipfix_losses lost;
	struct weir_ipfix_flow *head, *tail;
	uint64_t active_ns;
	size_t swept; /* of the table, for ended flows that it keeps */
	uint64_t flows, messages, not_ip; /* for the account */
};

static bool wanted(const struct weir_watch_options *o)
{
	return o->ipfix;
}

static int open_exporter(struct weir_watch *w, void **ret, struct weir_error *err)
{
	struct exporter *e = calloc(1, sizeof(*e));

	if (!e)
		return weir_fail(err, -ENOMEM, "out of memory");
	*ret = e;
	e->w = w;
	e->m.domain = (uint32_t)w->opt.ipfix_domain;
	e->active_ns = w->opt.ipfix_active_ns ? w->opt.ipfix_active_ns : DEFAULT_ACTIVE_NS;
	return weir_ipfix_sender_new(&e->sender, w->opt.ipfix, err);
}

static void send_message(struct exporter *e)
{
	if (!e->m.len)
		return;
	weir_ipfix_finish(&e->m, (uint32_t)(weir_clock_real() / WEIR_NSEC_PER_SEC));
	if (weir_ipfix_send(e->sender, &e->m)) {
		e->messages++;
	} else {
		e->lost.unsent_flows += e->m.records;
		e->lost.unsent_packets += e->m.packets;
		e->lost.unsent_octets += e->m.octets;
	}
	weir_ipfix_reset(&e->m);
}

static void add_record(struct exporter *e, const struct weir_ipfix_flow *p, int side, int dir,
		       enum weir_ipfix_end end)
{
	const struct weir_flow_key *k = &p->key;
	struct weir_ipfix_record r = {
		.sport = side == WEIR_FLOW_A ? k->port_a : k->port_b,
		.dport = side == WEIR_FLOW_A ? k->port_b : k->port_a,
		.tcp_flags = p->tcp_flags[side],
		.proto = k->proto,
		.v6 = k->eth_type == ETH_P_IPV6,
		.out = dir == WEIR_FLOW_OUT,
		.end = (uint8_t)end,
		.ifindex = k->ifindex,
		.octets = p->sum.by[side][dir].octets,
		.packets = p->sum.by[side][dir].packets,
		.first_ms = p->first / 1000000,
		.last_ms = p->last / 1000000,
	};

	memcpy(r.src, side == WEIR_FLOW_A ? k->addr_a : k->addr_b, sizeof(r.src));
	memcpy(r.dst, side == WEIR_FLOW_A ? k->addr_b : k->addr_a, sizeof(r.dst));
	if (weir_ipfix_full(&e->m))
		send_message(e);
	weir_ipfix_add_flow(&e->m, &r);
	e->flows++;
}

static void export_flow(struct exporter *e, const struct weir_ipfix_flow *p,
			enum weir_ipfix_end end)
{
	for (int side = 0; side < 2; side++)
		for (int dir = 0; dir < 2; dir++)
			if (p->sum.by[side][dir].packets)
				add_record(e, p, side, dir, end);
}

static void unlink_flow(struct exporter *e, struct weir_ipfix_flow *p)
{
	*(p->prev ? &p->prev->next : &e->head) = p->next;
	*(p->next ? &p->next->prev : &e->tail) = p->prev;
	p->prev = p->next = NULL;
	p->waits = false;
}

static void append_flow(struct exporter *e, struct weir_ipfix_flow *p)
{
	p->prev = e->tail;
	*(e->tail ? &e->tail->next : &e->head) = p;
	e->tail = p;
	p->waits = true;
}

static void add_delta(struct weir_ipfix_flow *p, const struct weir_flow_val *d,
		      const struct weir_flow_sides *sides)
{
	if (!p->first || d->first < p->first)
		p->first = d->first;
	if (d->last > p->last)
		p->last = d->last;
	for (int side = 0; side < 2; side++) {
		p->tcp_flags[side] |= d->tcp_flags[side];
		for (int dir = 0; dir < 2; dir++) {
			p->sum.by[side][dir].packets += sides->by[side][dir].packets;
			p->sum.by[side][dir].octets += sides->by[side][dir].octets;
		}
	}
}

static bool is_ip(const struct weir_flow_key *k)
{
	return k->eth_type == ETH_P_IP || k->eth_type == ETH_P_IPV6;
}

static void on_flow(void *state, struct weir_flow *f, const struct weir_flow_val *d,
		    const struct weir_flow_sides *sides)
{
	struct exporter *e = state;
	struct weir_ipfix_flow once = {.key = f->key};

	if (!is_ip(&f->key)) {
		e->not_ip += d->packets[0] + d->packets[1];
		return;
	}
	if (!f->ipfix && !f->beyond) {
		f->ipfix = calloc(1, sizeof(*f->ipfix));
		if (f->ipfix)
			f->ipfix->key = f->key;
	}
	if (!f->ipfix) { /* no room to wait in */
		add_delta(&once, d, sides);
		export_flow(e, &once, WEIR_IPFIX_END_RESOURCES);
		return;
	}
	if (!f->ipfix->waits)
		append_flow(e, f->ipfix);
	add_delta(f->ipfix, d, sides);
}

static void on_ended(void *state, const struct weir_flow *f, bool last)
{
	struct exporter *e = state;

	if (!f->ipfix)
		return;
	if (f->ipfix->waits) {
		export_flow(e, f->ipfix, last ? WEIR_IPFIX_END_FORCED : WEIR_IPFIX_END_IDLE);
		unlink_flow(e, f->ipfix);
	}
	free(f->ipfix);
}

/* What the capture did not count, as far as it has told. */
static void read_losses(struct exporter *e)
{
	struct weir_watch_account a;

	e->lost.dropped = e->lost.ignored_packets = e->lost.ignored_octets = 0;
	for (unsigned int i = 0; i < e->w->n_ifaces; i++) {
		weir_account_get(e->w, i, &a);
		e->lost.dropped += a.k.dropped;
		e->lost.ignored_packets += a.lost;
		for (int j = 0; j < WEIR_WATCH_LOST_MAX; j++)
			e->lost.ignored_octets += a.k.lost_bytes[j];
	}
	weir_ipfix_sender_unsent(e->sender, &e->lost);
}

static void begin_session(struct exporter *e, bool restarted)
{
	send_message(e);
	if (restarted)
		e->m.sequence = 0;
	weir_ipfix_add_templates(&e->m);
	read_losses(e);
	weir_ipfix_add_losses(&e->m, &e->lost);
}

static void look_at_session(struct exporter *e)
{
	bool restarted;

	if (weir_ipfix_sender_wants_templates(e->sender, weir_clock_mono(), &restarted))
		begin_session(e, restarted);
}

/* What waits goes out; the flow stays. */
static void export_waiting(struct exporter *e, struct weir_ipfix_flow *p, enum weir_ipfix_end end)
{
	unlink_flow(e, p);
	export_flow(e, p, end);
	memset(&p->sum, 0, sizeof(p->sum));
	p->first = p->last = 0;
	p->tcp_flags[0] = p->tcp_flags[1] = 0;
}

/* Where the table keeps flows that have ended, nobody tells of their end. */
static void export_idle(struct exporter *e, uint64_t now)
{
	const struct weir_flows *f = e->w->flows;

	if (!weir_flows_keep_ended(e->w))
		return;
	for (size_t end = e->swept + weir_flows_part(f); e->swept < end; e->swept++) {
		const struct weir_flow *x = &f->slots[e->swept & (f->size - 1)];

		if (x->used && x->ipfix && x->ipfix->waits && weir_flow_is_idle(x, now))
			export_waiting(e, x->ipfix, WEIR_IPFIX_END_IDLE);
	}
	e->swept &= f->size - 1;
}

static int on_tick(void *state, uint64_t now, struct weir_error *err)
{
	struct exporter *e = state;
	struct weir_ipfix_flow *p;

	(void)err; /* a collector that is away ends no capture: it is counted */
	look_at_session(e);
	export_idle(e, now);
	while ((p = e->head) && p->first + e->active_ns <= now)
		export_waiting(e, p, WEIR_IPFIX_END_ACTIVE);
	send_message(e);
	return 0;
}

static void tell(const struct exporter *e)
{
	weir_autobuf struct weir_buf out = {0};
	struct weir_json j;

	if (e->w->opt.stats == 1) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_str(&j, "verb", "watch");
		weir_json_str(&j, "event", "ipfix");
		weir_json_uint(&j, "records", e->flows);
		weir_json_uint(&j, "messages", e->messages);
		weir_json_uint(&j, "not_sent", e->lost.unsent_flows);
		weir_json_uint(&j, "not_ip", e->not_ip);
		weir_json_end_object(&j);
	} else {
		weir_buf_addf(&out, "ipfix: %llu records in %llu messages to %s",
			      (unsigned long long)(e->flows - e->lost.unsent_flows),
			      (unsigned long long)e->messages, e->w->opt.ipfix);
		if (e->lost.unsent_flows)
			weir_buf_addf(&out, ", %llu records not sent",
				      (unsigned long long)e->lost.unsent_flows);
		if (e->not_ip)
			weir_buf_addf(&out, ", %llu packets are not IP",
				      (unsigned long long)e->not_ip);
	}
	weir_buf_addc(&out, '\n');
	weir_buf_flush(&out, 2);
}

static int close_exporter(void *state, struct weir_error *err)
{
	struct exporter *e = state;

	(void)err;
	if (e->sender && e->w->running) {
		look_at_session(e);
		/* The last word on losses, with all that was given up before it. */
		read_losses(e);
		if (sizeof(e->m.data) - e->m.len < 2 * WEIR_IPFIX_RECORD_MAX)
			send_message(e);
		weir_ipfix_add_losses(&e->m, &e->lost);
		send_message(e);
		weir_ipfix_sender_flush(e->sender);
		weir_ipfix_sender_unsent(e->sender, &e->lost);
		tell(e);
	}
	weir_ipfix_sender_free(e->sender);
	free(e);
	return 0;
}

const struct weir_observer weir_observer_ipfix = {
	.name = "ipfix",
	.wanted = wanted,
	.open = open_exporter,
	.flow = on_flow,
	.tick = on_tick,
	.ended = on_ended,
	.close = close_exporter,
};
