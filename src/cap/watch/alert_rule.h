/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rule of `weir watch --alert`:
 *
 *   NAME: [EXPRESSION] QUANTITY OP VALUE [over T] [for T] [clear V] [cooldown T]
 *
 *   syn: tcp flags syn rate > 1000/s for 5s clear 500/s cooldown 1m
 *
 * Times count in ticks (WEIR_OBSERVE_TICK_NS), rounded up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/watch/watch.h"
#include "match/match.h"

#define WEIR_ALERT_NAME_MAX 32	       /* with NUL; [A-Za-z0-9_-]+ */
#define WEIR_ALERT_FILE_MAX (1u << 20) /* bytes of a file of rules */

enum weir_alert_quantity {
	WEIR_ALERT_PACKETS,
	WEIR_ALERT_BYTES,
	WEIR_ALERT_FLOWS,	   /* new ones */
	WEIR_ALERT_NEW_HOSTS,	   /* not seen before in this run */
	WEIR_ALERT_PORTS_PER_HOST, /* that one host connected to; the largest number */
	WEIR_ALERT_LOST,
	WEIR_ALERT_QUANTITY_MAX
};
extern const char *const weir_alert_quantities[WEIR_ALERT_QUANTITY_MAX]; /* as in JSON */

enum weir_alert_unit {
	WEIR_ALERT_COUNT, /* in the window */
	WEIR_ALERT_PER_SECOND,
	WEIR_ALERT_BITS, /* a second */
};

enum weir_alert_op { WEIR_ALERT_GT, WEIR_ALERT_GE, WEIR_ALERT_LT, WEIR_ALERT_LE };

struct weir_alert_rule {
	char name[WEIR_ALERT_NAME_MAX];
	char *text;		  /* behind the name, single blanks between the words */
	struct weir_match *match; /* NULL: of WEIR_ALERT_LOST */
	enum weir_alert_quantity quantity;
	enum weir_alert_unit unit;
	enum weir_alert_op op;
	double value;
	double clear;	/* the value at which it is over ... */
	bool has_clear; /* ... if it was given; else when the condition does not hold */
	uint32_t over;	/* ticks: the window, >= 1 */
	uint32_t holds; /* ticks that the condition must hold */
	uint32_t cooldown;
};

static inline bool weir_alert_is_above(const struct weir_alert_rule *r)
{
	return r->op == WEIR_ALERT_GT || r->op == WEIR_ALERT_GE;
}

struct weir_alert_rules {
	struct weir_alert_rule v[WEIR_WATCH_ALERTS];
	size_t n;
};

/* Parse @text, one rule, and add it. A name that is there is refused. */
int weir_alert_add(struct weir_alert_rules *r, const char *text, struct weir_error *err);
/* The same with each line of @text, a file called @name: # begins a comment, a \ at the end
 * of a line continues it. Errors name file and line. */
int weir_alert_add_file(struct weir_alert_rules *r, const char *name, const char *text, size_t n,
			struct weir_error *err);
void weir_alert_rules_free(struct weir_alert_rules *r);
/* "packets/s", "bits/s", "flows". */
const char *weir_alert_unit_name(const struct weir_alert_rule *r, char buf[32]);
