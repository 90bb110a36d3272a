/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/observe.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/session.h"

/* A file's clock that jumps further than this is moved by so many ticks at its end. */
#define CATCH_UP_TICKS 8
/* A file may give any number as a time: beyond this, its clock stands still. */
#define CLOCK_MAX (UINT64_MAX / 2)

static const struct weir_observer *const observers[] = {
	&weir_observer_top,
	&weir_observer_summary,
	&weir_observer_metrics,
	&weir_observer_alerts,
	&weir_observer_ipfix,
};

struct weir_observers {
	void *state[WEIR_ARRAY_SIZE(observers)];
	bool open[WEIR_ARRAY_SIZE(observers)];
	uint64_t next; /* tick of a file's clock; 0: not begun */
	uint64_t now;
	int failed; /* of a tick between packets */
	struct weir_error err;
};

/* Each observer @o of the run @v, at @i. */
#define EACH_OPEN(v, o, i)                                                                  \
	for (size_t i = 0; (v) && i < WEIR_ARRAY_SIZE(observers); i++)                      \
		for (const struct weir_observer *o = (v)->open[i] ? observers[i] : NULL; o; \
		     o = NULL)

bool weir_observers_wanted(const struct weir_watch_options *o)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(observers); i++)
		if (observers[i]->wanted(o))
			return true;
	return false;
}

int weir_observers_open(struct weir_watch *w, struct weir_error *err)
{
	int ret = 0;

	if (!weir_observers_wanted(&w->opt))
		return 0;
	w->observers = calloc(1, sizeof(*w->observers));
	if (!w->observers)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(observers); i++) {
		if (!observers[i]->wanted(&w->opt))
			continue;
		ret = observers[i]->open(w, &w->observers->state[i], err);
		w->observers->open[i] = !ret || w->observers->state[i];
	}
	return ret;
}

int weir_observers_start(struct weir_watch *w, struct weir_error *err)
{
	int ret = 0;

	EACH_OPEN(w->observers, o, i)
	if (o->start && !ret)
		ret = o->start(w->observers->state[i], err);
	return ret;
}

int weir_observers_fd(struct weir_watch *w, unsigned int i)
{
	struct weir_observers *v = w->observers;

	if (!v || i >= WEIR_ARRAY_SIZE(observers))
		return -ENOENT;
	return v->open[i] && observers[i]->fd ? observers[i]->fd(v->state[i]) : -1;
}

void weir_observers_ready(struct weir_watch *w, unsigned int i)
{
	observers[i]->ready(w->observers->state[i]);
}

void weir_observers_flow(struct weir_watch *w, struct weir_flow *f, const struct weir_flow_val *d,
			 const struct weir_flow_sides *sides)
{
	EACH_OPEN(w->observers, o, i)
	if (o->flow)
		o->flow(w->observers->state[i], f, d, sides);
}

static void tick(struct weir_watch *w, uint64_t now)
{
	struct weir_observers *v = w->observers;

	v->now = now;
	EACH_OPEN(v, o, i)
	if (o->tick && !v->failed)
		v->failed = o->tick(v->state[i], now, &v->err);
	if (v->failed)
		weir_watch_stop(w);
}

/* Before a file's packet of @ts is told of, the ticks up to it are due. */
static void move_clock(struct weir_watch *w, uint64_t ts)
{
	struct weir_observers *v = w->observers;
	const uint64_t most = CATCH_UP_TICKS * WEIR_OBSERVE_TICK_NS;

	if (ts > CLOCK_MAX)
		ts = CLOCK_MAX;
	if (!v->next)
		v->next = ts + WEIR_OBSERVE_TICK_NS;
	if (ts < v->next)
		return;
	/* The picture of a file is of all that it holds. */
	if (!w->opt.flows)
		weir_flows_expire(w, ts, NULL, NULL);
	if (ts - v->next > 2 * most) {
		tick(w, v->next);
		v->next += (ts - v->next - most) / WEIR_OBSERVE_TICK_NS * WEIR_OBSERVE_TICK_NS;
	}
	for (; v->next <= ts; v->next += WEIR_OBSERVE_TICK_NS)
		tick(w, v->next);
}

void weir_observers_packet(struct weir_watch *w, const struct weir_packet *p)
{
	if (!w->observers)
		return;
	if (w->opt.read_file)
		move_clock(w, p->ev.ts);
	if (p->ev.ts > w->observers->now)
		w->observers->now = p->ev.ts;
	EACH_OPEN(w->observers, o, i)
	if (o->packet)
		o->packet(w->observers->state[i], p);
}

void weir_observers_ended(struct weir_watch *w, const struct weir_flow *f, bool last)
{
	EACH_OPEN(w->observers, o, i)
	if (o->ended)
		o->ended(w->observers->state[i], f, last);
}

static int take_error(struct weir_observers *v, struct weir_error *err)
{
	int ret = v->failed;

	if (ret)
		*err = v->err;
	v->failed = 0;
	return ret;
}

int weir_observers_tick(struct weir_watch *w, struct weir_error *err)
{
	if (!w->observers)
		return 0;
	tick(w, weir_clock_real());
	return take_error(w->observers, err);
}

int weir_observers_close(struct weir_watch *w, struct weir_error *err)
{
	struct weir_observers *v = w->observers;
	struct weir_error later;
	int ret, n;

	if (!v)
		return 0;
	if (w->running) {
		tick(w, w->opt.read_file ? v->now : weir_clock_real());
		WEIR_FLOWS_EACH(w->flows, x)
		weir_observers_ended(w, x, true);
	}
	ret = take_error(v, err);
	EACH_OPEN(v, o, i)
	{
		n = o->close(v->state[i], ret ? &later : err);
		ret = ret ? ret : n;
	}
	w->observers = NULL;
	free(v);
	return ret;
}
