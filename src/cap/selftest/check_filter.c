/* SPDX-License-Identifier: GPL-2.0-only */
/* Does the filter drop what a rule says, count each, and nothing else? */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"

#define PACKETS 1000
#define SIZE 100

/* Dropped by the interface's hook, and hits of the only rule. */
static void compare(json_t *list, uint64_t sent, struct weir_check_result *r)
{
	const json_t *rules = json_object_get(list, "rules"), *rule = json_array_get(rules, 0);
	const json_t *ifaces = json_object_get(list, "interfaces");
	const json_t *iface = json_array_get(ifaces, 0);

	if (weir_check_equal(r, "packets dropped", weir_json_number(iface, "dropped.rule"), sent) &&
	    weir_check_equal(r, "hits of the rule", weir_json_number(rule, "hits"), sent))
		weir_check_ok(r, "%llu packets sent, each dropped and counted once",
			      (unsigned long long)sent);
}

static void filter(struct weir_selftest *t, const char *hook, struct weir_check_result *r)
{
	char port[8];
	const char *const on[] = { "filter", "on", "lab-b", "--hook", hook, NULL };
	const char *const deny[] = {
		"filter", "deny", "--protocol", "udp", "--dst-port", port, NULL
	};
	const char *const list[] = { "filter", "list", "--json", NULL };
	const char *const off[] = { "unload", "filter", NULL };
	struct weir_udp denied, free_way;
	struct weir_error err;
	uint64_t sent, others;
	json_t *j = NULL;
	int status;

	snprintf(port, sizeof(port), "%u", t->port);
	if (weir_udp_open(&denied, t, t->port) ||
	    weir_udp_open(&free_way, t, (uint16_t)(t->port + 1))) {
		weir_check_fail(r, "no sockets");
		return;
	}
	if (weir_child_do(t, WEIR_LAB_B, on, r) && weir_child_do(t, WEIR_LAB_B, deny, r)) {
		sent = weir_udp_send(&denied, PACKETS, SIZE);
		others = weir_udp_send(&free_way, PACKETS, SIZE);
		weir_check_equal(r, "datagrams that passed", weir_udp_count(&denied), 0);
		weir_check_equal(r, "datagrams of the other port", weir_udp_count(&free_way),
				 others);
		j = weir_child_ask(t, WEIR_LAB_B, list, &status, &err);
		compare(j, sent, r);
	}
	json_decref(j);
	weir_child_do(t, WEIR_LAB_B, off, r);
	weir_udp_close(&denied);
	weir_udp_close(&free_way);
}

void weir_check_filter_xdp(struct weir_selftest *t, struct weir_check_result *r)
{
	filter(t, "xdp", r);
}

void weir_check_filter_tc(struct weir_selftest *t, struct weir_check_result *r)
{
	filter(t, "tc", r);
}
