/* SPDX-License-Identifier: GPL-2.0-only */
/* Does a fault hit what it says, no more and no less, and end? */
#include <stdio.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"

#define PACKETS 2100
#define NTH 7
#define SIZE 100

static void compare(json_t *list, uint64_t sent, uint64_t received, struct weir_check_result *r)
{
	const json_t *rule = json_array_get(json_object_get(list, "rules"), 0);

	if (weir_check_equal(r, "packets matched", weir_json_number(rule, "matched"), sent) &&
	    weir_check_equal(r, "packets hit", weir_json_number(rule, "hits"), sent / NTH) &&
	    weir_check_equal(r, "datagrams received", received, sent - sent / NTH))
		weir_check_ok(r, "%llu packets sent, each %dth of them dropped, none else",
			      (unsigned long long)sent, NTH);
}

void weir_check_fault_nth(struct weir_selftest *t, struct weir_check_result *r)
{
	char port[8], nth[8];
	const char *const add[] = { "fault",	  "add",   "selftest", "--protocol", "udp",
				    "--dst-port", port,	   "-i",       "lab-b",	     "-Q",
				    "in",	  "--nth", nth,	       NULL };
	const char *const list[] = { "fault", "list", "--json", NULL };
	const char *const clear[] = { "fault", "clear", NULL };
	struct weir_error err;
	uint64_t sent, again;
	struct weir_udp u;
	json_t *j;
	int status;

	snprintf(port, sizeof(port), "%u", t->port);
	snprintf(nth, sizeof(nth), "%d", NTH);
	if (weir_udp_open(&u, t, t->port)) {
		weir_check_fail(r, "no sockets");
		return;
	}
	if (weir_child_do(t, WEIR_LAB_B, add, r)) {
		sent = weir_udp_send(&u, PACKETS, SIZE);
		again = weir_udp_count(&u);
		j = weir_child_ask(t, WEIR_LAB_B, list, &status, &err);
		compare(j, sent, again, r);
		json_decref(j);
		weir_child_do(t, WEIR_LAB_B, clear, r);
		sent = weir_udp_send(&u, PACKETS, SIZE);
		weir_check_equal(r, "datagrams after its end", weir_udp_count(&u), sent);
	}
	weir_udp_close(&u);
}
