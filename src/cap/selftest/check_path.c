/* SPDX-License-Identifier: GPL-2.0-only */
/* Is each packet followed to the end of the receive path? */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"
#include "dataplane/probe.h"

#define PACKETS 500
#define SIZE 100

static uint64_t count_of(const json_t *road, const char *name)
{
	const json_t *stages = json_object_get(road, "stages"), *stage;
	size_t i;

	json_array_foreach(stages, i, stage)
	{
		const char *its = json_string_value(json_object_get(stage, "name"));

		if (its && strcmp(its, name) == 0)
			return weir_json_number(stage, "count");
	}
	return 0;
}

static uint64_t lost(const json_t *road)
{
	json_t *reasons = json_object_get(road, "lost"), *value;
	const char *reason;
	uint64_t n = 0;

	json_object_foreach(reasons, reason, value) n += (uint64_t)json_integer_value(value);
	return n;
}

/* What was not followed to its reader has been counted as lost. */
static void compare(const json_t *road, uint64_t sent, struct weir_check_result *r)
{
	uint64_t copied = count_of(road, "copy"), others = lost(road);

	if (!weir_check_equal(r, "packets matched", weir_json_number(road, "matched"), sent))
		return;
	if (copied > sent || copied + others < sent)
		weir_check_fail(r, "%llu followed and %llu lost, and not %llu",
				(unsigned long long)copied, (unsigned long long)others,
				(unsigned long long)sent);
	else
		weir_check_ok(r, "%llu packets sent, %llu followed to their reader",
			      (unsigned long long)sent, (unsigned long long)copied);
}

void weir_check_path(struct weir_selftest *t, struct weir_check_result *r)
{
	char expression[32];
	const char *const words[] = { "path",	  expression, "-i",	"lab-b",
				      "--sample", "1/1",      "--json", NULL };
	json_t *road = NULL;
	struct weir_child c;
	struct weir_udp u;
	uint64_t sent;

	if (!weir_has(WEIR_FEATURE_TP_BTF)) {
		weir_check_skip(r, "tp_btf: %s", weir_probe(WEIR_FEATURE_TP_BTF)->detail);
		return;
	}
	snprintf(expression, sizeof(expression), "udp dst port %u", t->port);
	if (weir_udp_open(&u, t, t->port) || weir_child_start(&c, t, WEIR_LAB_B, words)) {
		weir_check_fail(r, "no socket, or no process");
		weir_udp_close(&u);
		return;
	}
	if (weir_child_says(&c, false, "following")) {
		sent = weir_udp_one_by_one(&u, PACKETS, SIZE);
		weir_check_equal(r, "datagrams received", sent, PACKETS);
		weir_child_stop(&c, SIGINT);
		road = weir_child_last_json(c.out);
		compare(road, sent, r);
	} else {
		weir_child_blame(&c, r);
	}
	json_decref(road);
	weir_child_end(&c);
	weir_udp_close(&u);
}
