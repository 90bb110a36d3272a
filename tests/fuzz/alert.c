/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules of `weir watch --alert`, as a file. What parses has a window, a unit and a value that
 * the state can be asked of, and its text parses to the same rule; what does not has a
 * message of one line.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/watch/alert_state.h"

#define TICKS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static bool same(const struct weir_alert_rule *a, const struct weir_alert_rule *b)
{
	return !strcmp(a->text, b->text) && a->quantity == b->quantity && a->unit == b->unit &&
	       a->op == b->op && !memcmp(&a->value, &b->value, sizeof(a->value)) &&
	       !memcmp(&a->clear, &b->clear, sizeof(a->clear)) && a->has_clear == b->has_clear &&
	       a->over == b->over && a->holds == b->holds && a->cooldown == b->cooldown;
}

/* An alert is raised and cleared in turns, whatever comes. */
static void run(const struct weir_alert_rule *r, const uint8_t *data, size_t size)
{
	struct weir_alert_state s;
	bool raised = false;

	need(!weir_alert_state_init(&s, r));
	for (size_t i = 0; i < TICKS && i < size; i++) {
		enum weir_alert_event event;

		if (s.ring)
			weir_alert_state_add(&s, (uint64_t)data[i] << data[i] % 40);
		else
			s.bucket = data[i];
		event = weir_alert_state_tick(&s, r, i + 1 == TICKS);
		need(isfinite(s.value) && s.value >= 0);
		need(event != WEIR_ALERT_RAISED || !raised);
		need(event != WEIR_ALERT_CLEARED || raised);
		if (event != WEIR_ALERT_NOTHING)
			raised = event == WEIR_ALERT_RAISED;
	}
	weir_alert_state_free(&s);
}

static void check(const struct weir_alert_rule *r, const uint8_t *data, size_t size)
{
	weir_autofree char *text = malloc(strlen(r->name) + strlen(r->text) + 3);
	struct weir_alert_rules again = { 0 };
	struct weir_error err = { "" };

	need(text && r->over >= 1 && isfinite(r->value) && isfinite(r->clear));
	sprintf(text, "%s: %s", r->name, r->text);
	need(!weir_alert_add(&again, text, &err) && again.n == 1 && same(r, &again.v[0]));
	weir_alert_rules_free(&again);
	run(r, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_alert_rules r = { 0 };
	struct weir_error err = { "" };
	int ret = weir_alert_add_file(&r, "file", (const char *)data, size, &err);

	need(ret == 0 || (*err.msg && (ret == -EINVAL || ret == -E2BIG)));
	need(!strchr(err.msg, '\n'));
	for (size_t i = 0; i < r.n; i++)
		check(&r.v[i], data, size);
	weir_alert_rules_free(&r);
	return 0;
}
