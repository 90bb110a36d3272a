/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --summary T: what each T brought. The intervals follow each other without a gap, and the
 * last one is shorter, so that together they are the whole run.
 */
#include "cap/watch/summary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/live.h"
#include "cap/watch/observe.h"
#include "cap/watch/stats.bpf.h"

/* A live tick may come this much early. */
#define EARLY_NS (WEIR_OBSERVE_TICK_NS / 2)

struct summary {
	struct weir_watch *w;
	uint64_t start; /* of the present interval; 0: nothing has come yet (a file) */
	uint64_t now;
	bool told; /* one at least */
	uint64_t new_flows;
	uint64_t ahead; /* packets that the account has, and the interval does not */
	bool closing;
	struct weir_watch_stats own, before; /* packets of user space; all before the interval */
	struct weir_stats_account account;   /* the same of the account */
	struct weir_heavy *hosts, *ports;
};

static bool summary_wanted(const struct weir_watch_options *o)
{
	return o->summary_ns;
}

static int summary_open(struct weir_watch *w, void **ret, struct weir_error *err)
{
	struct summary *s = calloc(1, sizeof(*s));

	*ret = s;
	if (s) {
		s->hosts = weir_heavy_new();
		s->ports = weir_heavy_new();
	}
	if (!s || !s->hosts || !s->ports)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	s->w = w;
	s->start = w->opt.read_file ? 0 : w->started;
	return 0;
}

static void summary_flow(void *state, struct weir_flow *f, const struct weir_flow_val *d,
			 const struct weir_flow_sides *sides)
{
	struct summary *s = state;

	(void)sides;
	s->new_flows += weir_stats_new_flow(f, d);
	weir_heavy_add_flow(s->w, s->hosts, s->ports, f, d);
}

static void summary_packet(void *state, const struct weir_packet *p)
{
	struct summary *s = state;

	if (!s->start)
		s->start = p->ev.ts;
	weir_watch_stats_add(&s->own, &p->hdr, p->ev.len, p->ev.gso_size);
}

/* Counters are read one after the other: what one interval has too early, the next has less. */
static uint64_t grown(uint64_t *before, uint64_t now)
{
	uint64_t d = now > *before ? now - *before : 0;

	*before += d;
	return d;
}

/* What is on its way to user space may yet turn out not to match: it is the next interval's,
 * and what remains at the end belongs to the last. */
static void get_account(const struct summary *s, struct weir_stats_account *ret)
{
	weir_stats_account(s->w, ret);
	ret->seen -= s->ahead;
	ret->matched -= s->ahead;
	ret->delivered -= s->ahead;
	if (!s->closing) {
		ret->seen -= ret->queued;
		ret->matched -= ret->queued;
	}
	ret->queued = 0;
}

/* What has been counted since the previous interval's end. */
static void take_account(struct summary *s, struct weir_stats_account *ret)
{
	struct weir_stats_account *b = &s->account, now;

	get_account(s, &now);
	ret->seen = grown(&b->seen, now.seen);
	ret->unmatched = grown(&b->unmatched, now.unmatched);
	ret->sampled_out = grown(&b->sampled_out, now.sampled_out);
	ret->matched = grown(&b->matched, now.matched);
	ret->delivered = grown(&b->delivered, now.delivered);
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		ret->lost[i] = grown(&b->lost[i], now.lost[i]);
}

static void take_interval(struct summary *s, uint64_t end, struct weir_summary *ret)
{
	struct weir_watch_stats now;

	memset(ret, 0, sizeof(*ret));
	ret->start = s->start;
	ret->end = end;
	take_account(s, &ret->account);
	weir_stats_get(s->w, &s->own, &now);
	weir_stats_minus(&now, &s->before, &ret->stats);
	s->before = now;
	ret->flows = s->w->flows->used;
	ret->new_flows = s->new_flows;
	ret->n_hosts = weir_heavy_largest(s->hosts, ret->hosts, WEIR_SUMMARY_TOP);
	ret->n_ports = weir_heavy_largest(s->ports, ret->ports, WEIR_SUMMARY_TOP);
	weir_heavy_clear(s->hosts);
	weir_heavy_clear(s->ports);
	s->new_flows = 0;
	s->start = end;
}

static void tell(struct summary *s, uint64_t end)
{
	weir_autobuf struct weir_buf out = { 0 }, text = { 0 };
	struct weir_summary one;

	take_interval(s, end, &one);
	s->told = true;
	if (s->w->opt.json)
		weir_summary_json(&one, &out);
	else
		weir_summary_text(s->w, &one, &text);
	if (!s->w->opt.json && !s->w->opt.read_file && isatty(STDOUT_FILENO))
		weir_live_picture(&text, &out);
	else if (!s->w->opt.json)
		weir_buf_add(&out, text.data, text.len);
	/* A reader that has gone, or a disk that is full, ends the run as with packets. */
	if (weir_writer_tell(s->w, &out))
		weir_watch_stop(s->w);
}

/* The clock of a file comes by each end exactly, but for a silence: that is one interval
 * of several times the length, without a packet. A live clock is as late as it is. */
static int summary_tick(void *state, uint64_t now, struct weir_error *err)
{
	struct summary *s = state;
	uint64_t every = s->w->opt.summary_ns;

	(void)err;
	s->now = now;
	if (!s->start)
		return 0;
	if (!s->w->opt.read_file) {
		if (now + EARLY_NS >= s->start + every)
			tell(s, now);
		return 0;
	}
	if (now < s->start + every)
		return 0;
	s->ahead = 1; /* the packet that moved the clock */
	tell(s, s->start + every);
	if (now >= s->start + every)
		tell(s, s->start + (now - s->start) / every * every);
	s->ahead = 0;
	return 0;
}

/* The moments between the last interval and the end are told only if they brought anything.
 * A file in which nothing matched has no clock, but an account. */
static bool is_something_left(const struct summary *s)
{
	struct weir_stats_account now;

	get_account(s, &now);
	return !s->told || memcmp(&now, &s->account, sizeof(now));
}

static int summary_close(void *state, struct weir_error *err)
{
	struct summary *s = state;

	(void)err;
	if (!s)
		return 0;
	s->closing = true;
	if (s->w && s->w->running && is_something_left(s))
		tell(s, s->now);
	weir_heavy_free(s->hosts);
	weir_heavy_free(s->ports);
	free(s);
	return 0;
}

const struct weir_observer weir_observer_summary = {
	.name = "summary",
	.wanted = summary_wanted,
	.open = summary_open,
	.flow = summary_flow,
	.packet = summary_packet,
	.tick = summary_tick,
	.close = summary_close,
};
