/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of one alert: a sliding window of ticks, and whether it is raised. It knows no
 * clock but the number of ticks, so that a replay comes to what the live run came to.
 */
#pragma once

#include "cap/watch/alert_rule.h"

enum weir_alert_event { WEIR_ALERT_NOTHING, WEIR_ALERT_RAISED, WEIR_ALERT_CLEARED };

struct weir_alert_state {
	uint64_t *ring;	 /* one number a tick of the window; NULL: WEIR_ALERT_PORTS_PER_HOST */
	uint64_t sum;	 /* of the ring */
	uint64_t bucket; /* of the tick that goes on; or, of a ports rule, the value */
	uint64_t tick;	 /* ticks so far */
	uint64_t held;	 /* of these, the last ones at which the condition held */
	uint64_t since;	 /* ticks since it was raised, or cleared */
	bool raised, cooling;
	double value, peak;  /* at the last tick; the furthest since it was raised */
	uint64_t times;	     /* raised */
	uint64_t suppressed; /* times that only the cool-down has kept it down */
	bool told_suppressed;
};

int weir_alert_state_init(struct weir_alert_state *s, const struct weir_alert_rule *r);
void weir_alert_state_free(struct weir_alert_state *s);
/* @n more in the tick that goes on. */
static inline void weir_alert_state_add(struct weir_alert_state *s, uint64_t n)
{
	s->bucket += n;
}
/* The tick ends. @partial: early, since the run does, so that what is too little proves
 * nothing. */
enum weir_alert_event weir_alert_state_tick(struct weir_alert_state *s,
					    const struct weir_alert_rule *r, bool partial);
