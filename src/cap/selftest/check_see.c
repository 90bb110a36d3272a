/* SPDX-License-Identifier: GPL-2.0-only */
/* Does watch see each packet once, and do the commands that send send what they say? */
#include <signal.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"
#include "dataplane/caps.h"
#include "dataplane/probe.h"

#define PACKETS 2000
#define SIZE 100

void weir_check_send(struct weir_selftest *t, struct weir_check_result *r)
{
	char to[32], count[16];
	const char *const words[] = {
		"send", "udp",	     "10.213.0.1",	  to,	    "-i", "lab-a", "-c",
		count,	"--eth-dst", "ff:ff:ff:ff:ff:ff", "--json", NULL
	};
	uint64_t before, after, sent;
	struct weir_error err;
	json_t *j;
	int status;

	if (weir_caps_need(WEIR_CAP_NET_RAW, "send packets", &err)) {
		weir_check_skip(r, "%.200s", err.msg);
		return;
	}
	snprintf(to, sizeof(to), "10.213.0.2:%u", t->port);
	snprintf(count, sizeof(count), "%d", PACKETS);
	if (weir_lab_packets(&t->lab, WEIR_LAB_B, &before, &sent)) {
		weir_check_fail(r, "the interface's counters cannot be read");
		return;
	}
	j = weir_child_ask(t, WEIR_LAB_A, words, &status, &err);
	weir_lab_packets(&t->lab, WEIR_LAB_B, &after, &sent);
	if (status)
		weir_check_fail(r, "%.200s", err.msg);
	if (weir_check_equal(r, "packets sent", weir_json_number(j, "sent"), PACKETS) &&
	    weir_check_equal(r, "packets that arrived", after - before, PACKETS))
		weir_check_ok(r, "%d packets asked for, sent and arrived", PACKETS);
	json_decref(j);
}

/* The account of a run of watch over what was sent. */
static void compare(json_t *account, uint64_t sent, struct weir_check_result *r)
{
	uint64_t matched = weir_json_number(account, "matched");

	if (weir_check_equal(r, "packets matched", matched, sent) &&
	    weir_check_equal(r, "seen", weir_json_number(account, "seen"),
			     weir_json_number(account, "unmatched") +
				     weir_json_number(account, "sampled_out") + matched))
		weir_check_ok(r, "%llu packets sent, each seen once", (unsigned long long)sent);
}

static void watch(struct weir_selftest *t, const char *capture, enum weir_feature needs,
		  struct weir_check_result *r)
{
	char expression[32];
	const char *const words[] = { "watch",	   "-i",       "lab-b",	  "-Q",	     "in",
				      "--capture", capture,    "--count", "--stats", "json",
				      "--self",	   expression, NULL };
	struct weir_udp u;
	struct weir_child c;
	json_t *account = NULL;
	uint64_t sent;

	if (!weir_has(needs)) {
		weir_check_skip(r, "%s: %s", weir_probe(needs)->name, weir_probe(needs)->detail);
		return;
	}
	snprintf(expression, sizeof(expression), "udp dst port %u", t->port);
	if (weir_udp_open(&u, t, t->port) || weir_child_start(&c, t, WEIR_LAB_B, words)) {
		weir_check_fail(r, "no socket, or no process");
		weir_udp_close(&u);
		return;
	}
	if (!weir_child_says(&c, false, "listening on")) {
		weir_child_blame(&c, r);
	} else {
		sent = weir_udp_send(&u, PACKETS, SIZE);
		weir_check_equal(r, "datagrams received", weir_udp_count(&u), sent);
		weir_child_stop(&c, SIGINT);
		account = weir_child_last_json(c.err);
		compare(account, sent, r);
	}
	json_decref(account);
	weir_child_end(&c);
	weir_udp_close(&u);
}

void weir_check_watch_tc(struct weir_selftest *t, struct weir_check_result *r)
{
	watch(t, "tc", WEIR_FEATURE_TCX, r);
}

void weir_check_watch_xdp(struct weir_selftest *t, struct weir_check_result *r)
{
	watch(t, "xdp", WEIR_FEATURE_XDP_LINK, r);
}

void weir_check_watch_af_packet(struct weir_selftest *t, struct weir_check_result *r)
{
	watch(t, "af_packet", WEIR_FEATURE_SOCKET_FILTER, r);
}
