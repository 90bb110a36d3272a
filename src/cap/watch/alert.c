/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The observer of --alert. In the kernel a packet's matches are bits: sums are counted by
 * rule there, and the bits go to its flow, whose additions tell of new flows, hosts and
 * ports. In user space each packet is such an addition by itself.
 */
#include "cap/watch/alert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/verb.h"
#include "cap/watch/alert_hosts.h"
#include "cap/watch/alert_state.h"
#include "cap/watch/observe.h"
#include "cap/watch/session.h"

/* Of a silence, so many ticks are lived through; nothing changes after those. */
#define SILENT_TICKS_MAX 200000

struct alert {
	const struct weir_alert_rule *rule;
	struct weir_alert_state state;
	struct weir_alert_set hosts;
	struct weir_alert_scan scan;
	uint64_t before; /* the kernel's sum, or the lost packets, at the previous tick */
	uint64_t raised_ts;
	uint8_t host[16]; /* that raised it: of ports per host */
};

struct alerts {
	struct weir_watch *w;
	struct alert v[WEIR_WATCH_ALERTS];
	size_t n;
	uint32_t mask;	/* of the packet at hand, in user space */
	uint64_t start; /* of the first tick; 0: no packet yet (a file) */
	uint64_t ticks;
	struct weir_alert_log *log;
	struct weir_alert_exec *exec; /* NULL: none */
};

bool weir_alerts_wanted(const struct weir_watch_options *o)
{
	return o->alert.n || o->alert_file;
}

bool weir_alerts_in_kernel(const struct weir_watch *w)
{
	return w->mode == WEIR_WATCH_FLOWS && w->alerts.n;
}

static int check_options(const struct weir_watch *w, struct weir_error *err)
{
	const struct weir_watch_options *o = &w->opt;
	bool wanted = weir_alerts_wanted(o), taken = o->flows || o->summary_ns || w->shows_packets;

	if (!wanted && (o->alert_log || o->exec))
		return weir_fail(err, -EINVAL,
				 "--alert-log and --exec without an alert: add --alert "
				 "or --alert-file");
	if (wanted && o->count_only)
		return weir_fail(err, -EINVAL, "--count shows only a number: leave --alert out");
	if (wanted && taken && !o->alert_log && (!o->write_file || !strcmp(o->write_file, "-")))
		return weir_fail(err, -EINVAL,
				 "something else has standard output: tell alerts "
				 "elsewhere with --alert-log");
	return 0;
}

int weir_alerts_parse(struct weir_watch *w, struct weir_error *err)
{
	const struct weir_watch_options *o = &w->opt;
	weir_autobuf struct weir_buf text = { 0 };
	int ret = check_options(w, err);

	if (ret)
		return ret;
	if (o->alert_file) {
		ret = weir_file_read(o->alert_file, WEIR_ALERT_FILE_MAX, &text);
		if (ret)
			return weir_fail(err, ret == -ENOMEM ? ret : -EINVAL,
					 "cannot read %s: %s: give a file of alerts",
					 weir_file_name(o->alert_file), strerror(-ret));
		if (text.len > WEIR_ALERT_FILE_MAX)
			return weir_fail(err, -EINVAL,
					 "%s is larger than 1 MiB: give a file of "
					 "alerts",
					 weir_file_name(o->alert_file));
		ret = weir_alert_add_file(&w->alerts, weir_file_name(o->alert_file), text.data,
					  text.len, err);
		if (!ret && !w->alerts.n)
			ret = weir_fail(err, -EINVAL, "%s has no alert: write NAME: and a rule",
					weir_file_name(o->alert_file));
	}
	for (unsigned int i = 0; !ret && i < o->alert.n; i++)
		ret = weir_alert_add(&w->alerts, o->alert.v[i], err);
	return ret;
}

static bool is_scan(const struct weir_alert_rule *r)
{
	return r->quantity == WEIR_ALERT_PORTS_PER_HOST;
}

static int alerts_open(struct weir_watch *w, void **ret, struct weir_error *err)
{
	struct alerts *a = calloc(1, sizeof(*a));
	int r = 0;

	if (!a)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	*ret = a;
	a->w = w;
	a->start = w->opt.read_file ? 0 : w->started;
	for (a->n = 0; !r && a->n < w->alerts.n; a->n++) {
		a->v[a->n].rule = &w->alerts.v[a->n];
		r = weir_alert_state_init(&a->v[a->n].state, a->v[a->n].rule);
		if (!r && is_scan(a->v[a->n].rule))
			r = weir_alert_scan_init(&a->v[a->n].scan, a->v[a->n].rule->over);
	}
	if (r)
		return weir_fail(err, r, "out of memory: free some and try again");
	r = weir_alert_log_open(w, &a->log, err);
	if (!r && w->opt.exec)
		r = weir_alert_exec_open(w->opt.exec, &a->exec, err);
	if (r && r != -ENOMEM)
		w->status = WEIR_EXIT_USAGE;
	return r;
}

/* ---- What is seen */

static void alerts_packet(void *state, const struct weir_packet *p)
{
	struct alerts *a = state;

	if (!a->start)
		a->start = p->ev.ts;
	a->mask = 0;
	for (size_t i = 0; i < a->n; i++) {
		struct alert *x = &a->v[i];

		if (!x->rule->match || !weir_match_eval(x->rule->match, &p->hdr))
			continue;
		a->mask |= 1U << i;
		if (x->rule->quantity == WEIR_ALERT_PACKETS)
			weir_alert_state_add(&x->state, 1);
		else if (x->rule->quantity == WEIR_ALERT_BYTES)
			weir_alert_state_add(&x->state, p->ev.len);
	}
}

static void add_host(struct alert *x, const uint8_t addr[16])
{
	static const uint8_t none[16];
	struct weir_alert_key k = { .port = 0 };
	bool new;

	if (!memcmp(addr, none, 16))
		return;
	memcpy(k.addr, addr, 16);
	weir_alert_set_get(&x->hosts, &k, &new);
	weir_alert_state_add(&x->state, new);
}

/* The host that connects, and the port that it connects to. */
static void add_port(struct alerts *a, struct alert *x, const struct weir_flow *f)
{
	bool guessed, b = weir_flow_initiator_is_b(a->w->flows, f, &guessed);
	uint16_t port = b ? f->key.port_a : f->key.port_b;

	if (port)
		weir_alert_scan_add(&x->scan, b ? f->key.addr_b : f->key.addr_a, f->key.proto,
				    port);
}

static void alerts_flow(void *state, struct weir_flow *f, const struct weir_flow_val *d,
			const struct weir_flow_sides *sides)
{
	struct alerts *a = state;
	/* Where they are matched is known only once the programs are loaded. */
	uint32_t mask = weir_alerts_in_kernel(a->w) ? d->flags >> WEIR_FLOW_ALERT_SHIFT : a->mask;

	(void)sides;
	for (size_t i = 0; i < a->n; i++) {
		struct alert *x = &a->v[i];

		if (!(mask >> i & 1))
			continue;
		if (x->rule->quantity == WEIR_ALERT_FLOWS) {
			weir_alert_state_add(&x->state, !(f->alerted >> i & 1));
		} else if (x->rule->quantity == WEIR_ALERT_NEW_HOSTS) {
			add_host(x, f->key.addr_a);
			add_host(x, f->key.addr_b);
		} else if (is_scan(x->rule)) {
			add_port(a, x, f);
		}
	}
	f->alerted |= mask;
}

/* What is counted elsewhere, as far as it grew. */
static void take_sums(struct alerts *a)
{
	struct weir_watch_alerts sums = { 0 };
	uint64_t lost = weir_account_lost(a->w);

	if (weir_alerts_in_kernel(a->w))
		weir_bpf_alerts(a->w, &sums);
	for (size_t i = 0; i < a->n; i++) {
		struct alert *x = &a->v[i];
		enum weir_alert_quantity q = x->rule->quantity;
		uint64_t now = q == WEIR_ALERT_LOST    ? lost :
			       q == WEIR_ALERT_PACKETS ? sums.rule[i].packets :
			       q == WEIR_ALERT_BYTES   ? sums.rule[i].bytes :
							 0;

		if (now > x->before) {
			weir_alert_state_add(&x->state, now - x->before);
			x->before = now;
		}
	}
}

/* ---- Ticks */

static void tell(struct alerts *a, struct alert *x, enum weir_alert_event event, uint64_t ts)
{
	struct weir_alert_fact f = {
		.rule = x->rule,
		.raised = event == WEIR_ALERT_RAISED,
		.ts = ts,
		.value = x->state.value,
		.peak = x->state.peak,
		.suppressed = x->state.suppressed,
		.has_host = is_scan(x->rule),
	};

	if (f.raised) {
		x->raised_ts = ts;
		weir_alert_scan_who(&x->scan, x->host);
	}
	f.raised_ts = x->raised_ts;
	memcpy(f.host, x->host, sizeof(f.host));
	weir_alert_log_tell(a->log, &f);
	if (a->exec)
		weir_alert_exec_run(a->exec, &f);
}

static void end_tick(struct alerts *a, uint64_t ts, bool partial)
{
	a->ticks += !partial;
	for (size_t i = 0; i < a->n; i++) {
		struct alert *x = &a->v[i];
		enum weir_alert_event event;

		if (is_scan(x->rule))
			x->state.bucket = x->scan.most;
		event = weir_alert_state_tick(&x->state, x->rule, partial);
		if (event != WEIR_ALERT_NOTHING)
			tell(a, x, event, ts);
		if (is_scan(x->rule))
			weir_alert_scan_next(&x->scan);
	}
}

/* The ticks that have passed: by a file's clock each has its time, the live ones are as late
 * as they are. */
static int alerts_tick(void *state, uint64_t now, struct weir_error *err)
{
	struct alerts *a = state;
	bool file = a->w->opt.read_file;
	uint64_t half = file ? 0 : WEIR_OBSERVE_TICK_NS / 2, due;

	(void)err;
	if (a->exec)
		weir_alert_exec_look(a->exec);
	if (!a->start || now < a->start)
		return 0;
	take_sums(a);
	due = (now - a->start + half) / WEIR_OBSERVE_TICK_NS;
	if (a->w->detached) { /* the last one */
		end_tick(a, now, true);
		return 0;
	}
	if (due <= a->ticks && !file)
		due = a->ticks + 1;
	for (uint64_t n = 0; a->ticks < due && n < SILENT_TICKS_MAX; n++)
		end_tick(a, file ? a->start + (a->ticks + 1) * WEIR_OBSERVE_TICK_NS : now, false);
	a->ticks = due;
	return 0;
}

static int alerts_fd(void *state)
{
	struct alerts *a = state;

	return a->exec ? weir_alert_exec_fd(a->exec) : -1;
}

static void alerts_ready(void *state)
{
	weir_alert_exec_look(((struct alerts *)state)->exec);
}

static uint64_t count_beyond(const struct alerts *a)
{
	uint64_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		n += a->v[i].hosts.beyond + a->v[i].scan.beyond;
	return n;
}

static int alerts_close(void *state, struct weir_error *err)
{
	struct alerts *a = state;
	uint64_t beyond = count_beyond(a);

	(void)err;
	if (beyond)
		fprintf(stderr,
			"weir watch: alerts left out %llu hosts or ports, more than they can hold: "
			"match more narrowly\n",
			(unsigned long long)beyond);
	weir_alert_exec_close(a->exec, atomic_load(&a->w->interrupted));
	weir_alert_log_close(a->log);
	for (size_t i = 0; i < a->n; i++) {
		weir_alert_state_free(&a->v[i].state);
		weir_alert_set_free(&a->v[i].hosts);
		weir_alert_scan_free(&a->v[i].scan);
	}
	free(a);
	return 0;
}

const struct weir_observer weir_observer_alerts = {
	.name = "alerts",
	.wanted = weir_alerts_wanted,
	.open = alerts_open,
	.flow = alerts_flow,
	.packet = alerts_packet,
	.tick = alerts_tick,
	.fd = alerts_fd,
	.ready = alerts_ready,
	.close = alerts_close,
};
