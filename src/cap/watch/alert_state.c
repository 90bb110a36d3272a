/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/alert_state.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cap/watch/observe.h"

int weir_alert_state_init(struct weir_alert_state *s, const struct weir_alert_rule *r)
{
	*s = (struct weir_alert_state){ 0 };
	if (r->quantity == WEIR_ALERT_PORTS_PER_HOST)
		return 0;
	s->ring = calloc(r->over, sizeof(*s->ring));
	return s->ring ? 0 : -ENOMEM;
}

void weir_alert_state_free(struct weir_alert_state *s)
{
	free(s->ring);
	s->ring = NULL;
}

static bool compare(enum weir_alert_op op, double a, double b)
{
	switch (op) {
	case WEIR_ALERT_GT:
		return a > b;
	case WEIR_ALERT_GE:
		return a >= b;
	case WEIR_ALERT_LT:
		return a < b;
	case WEIR_ALERT_LE:
		return a <= b;
	}
	return false;
}

/* Move the window on by the tick that has ended. */
static void take_value(struct weir_alert_state *s, const struct weir_alert_rule *r)
{
	double seconds = (double)r->over * (double)WEIR_OBSERVE_TICK_NS / (double)WEIR_NSEC_PER_SEC;
	uint64_t *oldest;

	if (!s->ring) {
		s->value = (double)s->bucket;
		return;
	}
	oldest = &s->ring[(s->tick - 1) % r->over];
	s->sum += s->bucket - *oldest;
	*oldest = s->bucket;
	s->bucket = 0;
	s->value = (double)s->sum;
	if (r->unit == WEIR_ALERT_PER_SECOND)
		s->value = s->value / seconds;
	else if (r->unit == WEIR_ALERT_BITS)
		s->value = s->value * 8 / seconds;
}

/* Far enough back for the alert to be over: at `clear`, or where the condition fails. */
static bool is_over(const struct weir_alert_state *s, const struct weir_alert_rule *r)
{
	if (!r->has_clear)
		return !compare(r->op, s->value, r->value);
	return weir_alert_is_above(r) ? s->value <= r->clear : s->value >= r->clear;
}

static enum weir_alert_event while_raised(struct weir_alert_state *s,
					  const struct weir_alert_rule *r)
{
	if (weir_alert_is_above(r) ? s->value > s->peak : s->value < s->peak)
		s->peak = s->value;
	if (!is_over(s, r))
		return WEIR_ALERT_NOTHING;
	s->raised = false;
	s->held = 0;
	s->cooling = r->cooldown;
	return WEIR_ALERT_CLEARED;
}

static enum weir_alert_event while_down(struct weir_alert_state *s, const struct weir_alert_rule *r)
{
	if (s->cooling && s->since >= r->cooldown)
		s->cooling = false;
	/* Held at the tick before and for `holds` more: from the first to the last. */
	if (s->held <= r->holds) {
		s->told_suppressed = false;
		return WEIR_ALERT_NOTHING;
	}
	if (s->cooling) {
		s->suppressed += !s->told_suppressed;
		s->told_suppressed = true;
		return WEIR_ALERT_NOTHING;
	}
	s->raised = true;
	s->told_suppressed = false;
	s->peak = s->value;
	s->times++;
	return WEIR_ALERT_RAISED;
}

enum weir_alert_event weir_alert_state_tick(struct weir_alert_state *s,
					    const struct weir_alert_rule *r, bool partial)
{
	enum weir_alert_event event;

	s->tick++;
	s->since++;
	take_value(s, r);
	/* What is too little is known only once a whole window has been seen. */
	if (!weir_alert_is_above(r) && (partial || s->tick < r->over))
		return WEIR_ALERT_NOTHING;
	if (weir_alert_is_above(r) && partial && s->raised)
		return WEIR_ALERT_NOTHING;
	s->held = compare(r->op, s->value, r->value) ? s->held + 1 : 0;
	event = s->raised ? while_raised(s, r) : while_down(s, r);
	if (event != WEIR_ALERT_NOTHING)
		s->since = 0;
	return event;
}
