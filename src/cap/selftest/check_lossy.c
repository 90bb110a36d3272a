/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fault as the ground truth: each 7th packet is lost on purpose, so that what watch, path
 * and drops have to tell is known beforehand, and is not simply everything.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"
#include "dataplane/probe.h"

#define NTH 7
#define PACKETS 700
#define FEW 70 /* where each lost one is waited for */
#define SIZE 100

/* A verb that looks, on side B, while packets are lost on @side. */
struct look {
	const char *const *words;
	const char *ready; /* what it says on standard error when it looks */
	enum weir_lab_side side;
	bool one_by_one, on_err; /* on_err: its last words are its account */
	void (*compare)(const json_t *told, uint64_t sent, uint64_t got,
			struct weir_check_result *r);
};

static bool lose(struct weir_selftest *t, enum weir_lab_side side, struct weir_check_result *r)
{
	char port[8], nth[8];
	const char *const add[] = { "fault",
				    "add",
				    "selftest",
				    "--protocol",
				    "udp",
				    "--dst-port",
				    port,
				    "-i",
				    weir_lab_iface[side],
				    "-Q",
				    side == WEIR_LAB_A ? "out" : "in",
				    "--nth",
				    nth,
				    NULL };

	snprintf(port, sizeof(port), "%u", t->port);
	snprintf(nth, sizeof(nth), "%d", NTH);
	return weir_child_do(t, side, add, r);
}

/* What was sent = what was received + each 7th; then what was told of it. */
static void send_and_compare(const struct look *k, struct weir_child *c, const struct weir_udp *u,
			     struct weir_check_result *r)
{
	uint64_t sent = k->one_by_one ? FEW : PACKETS, got;
	json_t *told;

	if (k->one_by_one) {
		got = weir_udp_one_by_one(u, sent, SIZE);
	} else {
		sent = weir_udp_send(u, sent, SIZE);
		got = weir_udp_count(u);
	}
	weir_check_equal(r, "datagrams received", got, sent - sent / NTH);
	weir_child_stop(c, SIGINT);
	told = weir_child_last_json(k->on_err ? c->err : c->out);
	k->compare(told, sent, got, r);
	json_decref(told);
}

static void look(struct weir_selftest *t, const struct look *k, struct weir_check_result *r)
{
	const char *const clear[] = { "fault", "clear", NULL };
	struct weir_child c;
	struct weir_udp u;

	if (weir_udp_open(&u, t, t->port)) {
		weir_check_fail(r, "no sockets");
		weir_udp_close(&u);
		return;
	}
	if (lose(t, k->side, r)) {
		if (weir_child_start(&c, t, WEIR_LAB_B, k->words))
			weir_check_fail(r, "no process");
		else if (weir_child_says(&c, false, k->ready))
			send_and_compare(k, &c, &u, r);
		else
			weir_child_blame(&c, r);
		weir_child_end(&c);
		weir_child_do(t, k->side, clear, r);
	}
	weir_udp_close(&u);
}

/* ---- The verbs */

static void compare_watch(const json_t *told, uint64_t sent, uint64_t got,
			  struct weir_check_result *r)
{
	if (weir_check_equal(r, "packets matched", weir_json_number(told, "matched"), got))
		weir_check_ok(r, "%llu packets sent, %llu lost on the way, the others seen",
			      (unsigned long long)sent, (unsigned long long)(sent - got));
}

void weir_check_watch_fault(struct weir_selftest *t, struct weir_check_result *r)
{
	char expression[32];
	const char *const words[] = { "watch",	 "-i",	 "lab-b",  "-Q",       "in", "--count",
				      "--stats", "json", "--self", expression, NULL };
	const struct look k = { .words = words,
				.ready = "listening on",
				.side = WEIR_LAB_A,
				.on_err = true,
				.compare = compare_watch };

	snprintf(expression, sizeof(expression), "udp dst port %u", t->port);
	look(t, &k, r);
}

static void compare_path(const json_t *told, uint64_t sent, uint64_t got,
			 struct weir_check_result *r)
{
	if (weir_check_equal(r, "packets matched", weir_json_number(told, "matched"), got))
		weir_check_ok(r, "%llu packets sent, %llu lost on the way, %llu matched",
			      (unsigned long long)sent, (unsigned long long)(sent - got),
			      (unsigned long long)got);
}

void weir_check_path_fault(struct weir_selftest *t, struct weir_check_result *r)
{
	char expression[32];
	const char *const words[] = { "path",	  expression, "-i",	"lab-b",
				      "--sample", "1/1",      "--json", NULL };
	const struct look k = { .words = words,
				.ready = "following",
				.side = WEIR_LAB_A,
				.one_by_one = true,
				.compare = compare_path };

	if (!weir_has(WEIR_FEATURE_TP_BTF)) {
		weir_check_skip(r, "tp_btf: %s", weir_probe(WEIR_FEATURE_TP_BTF)->detail);
		return;
	}
	snprintf(expression, sizeof(expression), "udp dst port %u", t->port);
	look(t, &k, r);
}

static void compare_drops(const json_t *told, uint64_t sent, uint64_t got,
			  struct weir_check_result *r)
{
	uint64_t hit = sent / NTH;

	if (weir_check_equal(r, "weir fault: selftest",
			     weir_check_lost_for(told, "weir fault: selftest"), hit) &&
	    weir_check_equal(r, "received and lost", got + weir_json_number(told, "dropped"), sent))
		weir_check_ok(r, "%llu packets sent = %llu received + %llu of the fault",
			      (unsigned long long)sent, (unsigned long long)got,
			      (unsigned long long)hit);
}

void weir_check_drops_fault(struct weir_selftest *t, struct weir_check_result *r)
{
	static const char *const words[] = { "drops", "--json", "--interval", "1h", NULL };
	static const struct look k = {
		.words = words, .ready = "listening", .side = WEIR_LAB_B, .compare = compare_drops
	};

	if (weir_has(WEIR_FEATURE_TP_BTF))
		look(t, &k, r);
	else
		weir_check_skip(r, "tp_btf: %s", weir_probe(WEIR_FEATURE_TP_BTF)->detail);
}
