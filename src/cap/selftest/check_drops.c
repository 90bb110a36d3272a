/* SPDX-License-Identifier: GPL-2.0-only */
/* Is what was sent what was received and what the ledger of losses says? */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"
#include "dataplane/probe.h"

#define PACKETS 500
#define SIZE 100
#define SMALL 8192 /* bytes of a socket's buffer that @PACKETS do not fit in */

uint64_t weir_check_lost_for(const json_t *ledger, const char *reason)
{
	const json_t *rows = json_object_get(ledger, "rows"), *row;
	uint64_t n = 0;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const char *its = json_string_value(json_object_get(row, "reason"));

		if (its && strcmp(its, reason) == 0)
			n += weir_json_number(row, "count");
	}
	return n;
}

static void compare(json_t *ledger, const char *reason, uint64_t sent, uint64_t received,
		    struct weir_check_result *r)
{
	uint64_t dropped = weir_json_number(ledger, "dropped");

	if (weir_check_equal(r, reason, weir_check_lost_for(ledger, reason), sent - received) &&
	    weir_check_equal(r, "received and lost", received + dropped, sent))
		weir_check_ok(r, "%llu packets sent = %llu received + %llu %s",
			      (unsigned long long)sent, (unsigned long long)received,
			      (unsigned long long)dropped, reason);
}

/* @closed: nobody has the port; else somebody who does not read in time. */
static void drops(struct weir_selftest *t, const char *reason, bool closed,
		  struct weir_check_result *r)
{
	char expression[32];
	const char *const words[] = { "drops", "--json", "--interval", "1h", expression, NULL };
	const int small = SMALL;
	uint64_t sent, received = 0;
	json_t *ledger = NULL;
	struct weir_child c;
	struct weir_udp u;

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
	if (closed)
		weir_closep(&u.to);
	else
		setsockopt(u.to, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (weir_child_says(&c, false, "listening")) {
		sent = weir_udp_send(&u, PACKETS, SIZE);
		if (!closed)
			received = weir_udp_count(&u);
		weir_child_stop(&c, SIGINT);
		ledger = weir_child_last_json(c.out);
		compare(ledger, reason, sent, received, r);
	} else {
		weir_child_blame(&c, r);
	}
	json_decref(ledger);
	weir_child_end(&c);
	if (closed)
		u.to = -1;
	weir_udp_close(&u);
}

void weir_check_drops_closed(struct weir_selftest *t, struct weir_check_result *r)
{
	drops(t, "NO_SOCKET", true, r);
}

void weir_check_drops_full(struct weir_selftest *t, struct weir_check_result *r)
{
	drops(t, "SOCKET_RCVBUFF", false, r);
}
