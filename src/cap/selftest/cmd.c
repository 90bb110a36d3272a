/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/selftest/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/term.h"
#include "cap/selftest/checks.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"

#define FIRST_PORT 7000
#define PORTS_EACH 10

const struct weir_check weir_checks[] = {
	{ "send", "packets that send says it sent = those that the interface received",
	  weir_check_send },
	{ "watch tc", "packets sent = packets matched at tc", weir_check_watch_tc },
	{ "watch xdp", "packets sent = packets matched at XDP", weir_check_watch_xdp },
	{ "watch af_packet", "packets sent = packets matched on AF_PACKET",
	  weir_check_watch_af_packet },
	{ "tcp", "bytes and retransmits of a lossy connection = its own TCP_INFO", weir_check_tcp },
	{ "path", "packets sent = packets followed in the receive path", weir_check_path },
	{ "filter xdp", "packets sent to a denied port = dropped = hits of the rule",
	  weir_check_filter_xdp },
	{ "filter tc", "the same at tc", weir_check_filter_tc },
	{ "drops closed", "packets sent to a closed port = NO_SOCKET in the ledger",
	  weir_check_drops_closed },
	{ "drops full", "packets sent = received + SOCKET_RCVBUFF in the ledger",
	  weir_check_drops_full },
	{ "fault nth", "of packets sent each 7th is dropped, and none once it has ended",
	  weir_check_fault_nth },
	{ "watch fault", "with each 7th lost on the way: packets received = packets matched",
	  weir_check_watch_fault },
	{ "path fault", "likewise = packets matched in the receive path", weir_check_path_fault },
	{ "drops fault", "likewise: packets sent = received + the fault's row in the ledger",
	  weir_check_drops_fault },
	{ 0 },
};

struct opts {
	bool json, list;
};

#define AT(field) offsetof(struct opts, field)

static const struct weir_opt options[] = {
	{ "list", 0, WEIR_OPT_FLAG, AT(list), .help = "what would be checked" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },
	{ 0 },
};

/* ---- Findings */

__attribute__((format(printf, 3, 0)))
static void note(struct weir_check_result *r, enum weir_check_outcome outcome, const char *fmt,
		 va_list ap)
{
	/* What went wrong first is what is told. */
	if (r->outcome == WEIR_CHECK_NOT_OK)
		return;
	r->outcome = outcome;
	vsnprintf(r->detail, sizeof(r->detail), fmt, ap);
}

void weir_check_ok(struct weir_check_result *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, WEIR_CHECK_OK, fmt, ap);
	va_end(ap);
}

void weir_check_fail(struct weir_check_result *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, WEIR_CHECK_NOT_OK, fmt, ap);
	va_end(ap);
}

void weir_check_skip(struct weir_check_result *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(r, WEIR_CHECK_SKIPPED, fmt, ap);
	va_end(ap);
}

bool weir_check_equal(struct weir_check_result *r, const char *what, uint64_t told, uint64_t done)
{
	if (told != done)
		weir_check_fail(r, "%s: %llu, and not %llu", what, (unsigned long long)told,
				(unsigned long long)done);
	return told == done;
}

/* ---- The run */

static const char *const outcomes[] = { "ok", "NOT OK", "skipped" };

static void tell(const struct weir_check *c, const struct weir_check_result *r, bool colour)
{
	static const char *const colours[] = { "\033[32m", "\033[31;1m", "\033[33m" };
	weir_autobuf struct weir_buf line = { 0 };

	weir_buf_addf(&line, "%s%-7s%s  %-16s %s\n", colour ? colours[r->outcome] : "",
		      outcomes[r->outcome], colour ? "\033[0m" : "", c->name, r->detail);
	weir_buf_flush(&line, STDOUT_FILENO);
}

static void add_json(struct weir_json *j, const struct weir_check *c,
		     const struct weir_check_result *r)
{
	weir_json_object(j, NULL);
	weir_json_str(j, "name", c->name);
	if (r->outcome != WEIR_CHECK_SKIPPED)
		weir_json_bool(j, "ok", r->outcome == WEIR_CHECK_OK);
	weir_json_str(j, "detail", r->detail);
	weir_json_end_object(j);
}

static int run_all(struct weir_selftest *t, bool json)
{
	bool colour = weir_term_colour(STDOUT_FILENO);
	weir_autobuf struct weir_buf out = { 0 };
	unsigned int count[3] = { 0 };
	struct weir_json j;
	int status;

	weir_json_init(&j, &out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "checks");
	for (const struct weir_check *c = weir_checks; c->name; c++) {
		struct weir_check_result r = { .outcome = WEIR_CHECK_OK };

		c->run(t, &r);
		t->port = (uint16_t)(t->port + PORTS_EACH);
		count[r.outcome]++;
		if (json)
			add_json(&j, c, &r);
		else
			tell(c, &r, colour);
	}
	weir_json_end_array(&j);
	weir_json_bool(&j, "trusted", !count[WEIR_CHECK_NOT_OK]);
	weir_json_end_object(&j);
	weir_buf_addc(&out, '\n');
	status = count[WEIR_CHECK_NOT_OK] ? WEIR_EXIT_NO : WEIR_EXIT_DONE;
	if (json)
		return weir_verb_print("selftest", &out, status);
	weir_buf_reset(&out);
	weir_buf_addf(&out, "\n%u ok, %u not ok, %u skipped: this host's figures %s\n",
		      count[WEIR_CHECK_OK], count[WEIR_CHECK_NOT_OK], count[WEIR_CHECK_SKIPPED],
		      count[WEIR_CHECK_NOT_OK]	? "cannot all be trusted" :
		      count[WEIR_CHECK_SKIPPED] ? "can be trusted where they were checked" :
						  "can be trusted");
	return weir_verb_print("selftest", &out, status);
}

static int list_all(bool json)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;

	weir_json_init(&j, &out);
	if (json) {
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_array(&j, "checks");
	}
	for (const struct weir_check *c = weir_checks; c->name; c++) {
		if (!json) {
			weir_buf_addf(&out, "%-16s %s\n", c->name, c->what);
			continue;
		}
		weir_json_object(&j, NULL);
		weir_json_str(&j, "name", c->name);
		weir_json_str(&j, "detail", c->what);
		weir_json_end_object(&j);
	}
	if (json) {
		weir_json_end_array(&j);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	}
	return weir_verb_print("selftest", &out, WEIR_EXIT_DONE);
}

static int run(int argc, char **argv)
{
	struct weir_selftest t = { .port = FIRST_PORT };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	struct opts o = { 0 };
	int status = weir_verb_parse(&weir_selftest_verb, argc, argv, &o, &words, 0);

	if (status)
		return status;
	if (o.list)
		return list_all(o.json);
	if (weir_caps_need(WEIR_CAP_SYS_ADMIN | WEIR_CAP_NET_ADMIN, "make private namespaces",
			   &err) ||
	    weir_lab_open(&t.lab, &err))
		return weir_verb_fail("selftest", &err, WEIR_EXIT_FAILED);
	status = run_all(&t, o.json);
	weir_lab_close(&t.lab);
	return status;
}

static const char details[] =
	"Makes two private network namespaces, sends traffic of which everything is known, and\n"
	"compares what weir's own commands tell about it. Nothing of the host is touched. Exit\n"
	"status 4: something told was not what was done.";

const struct weir_verb weir_selftest_verb = {
	.name = "selftest",
	.group = "Ask",
	.summary = "can this host's figures be trusted?",
	.synopsis = "[OPTIONS]",
	.options = options,
	.details = details,
	.run = run,
};
