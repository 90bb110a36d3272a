/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir drops`: from the words of the command line to a run, and the run itself. */
#include "cap/drops/cmd.h"

#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/live.h"
#include "base/term.h"
#include "cap/drops/ledger.h"
#include "cap/drops/show.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"

#define RING_BYTES (1024 * 1024) /* a CPU */
#define LEAST_INTERVAL (WEIR_NSEC_PER_SEC / 10)
#define FLUSH_BYTES 65536

static const char *const bys[] = { "place", "reason", "function", "flow", NULL };

struct drops {
	struct weir_match_spec spec;
	const char *iface;
	bool all_netns, once, account, json, prometheus, events, fail_on_loss;
	int by;
	uint64_t for_ns, interval;

	struct weir_match *match;
	struct weir_drops_scope scope;
	struct weir_drops_words words;
	struct weir_drops_sources sources;
	struct weir_drops_look first, before, now;
	int64_t clock_offset;
	struct weir_buf out;
	uint64_t told; /* events */
};

#define AT(field) offsetof(struct drops, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(spec.protocol), "LIST", .group = "MATCH",
	  .help = "tcp, udp, icmp, arp, ip, ip6, ..., or a number" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(spec.src_ip), "LIST",
	  .help = "source address or prefix; commas separate alternatives" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(spec.dst_ip), "LIST", .help = "destination likewise" },
	{ "src-port", 0, WEIR_OPT_STR, AT(spec.src_port), "LIST",
	  .help = "source port, range (8000-8999) or service name" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(spec.dst_port), "LIST", .help = "destination likewise" },
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE",
	  .help = "only packets of this interface", .complete = "iface" },
	{ "all-netns", 0, WEIR_OPT_FLAG, AT(all_netns),
	  .help = "freed packets of every network namespace; counters are this one's" },

	{ "by", 0, WEIR_OPT_CHOICE, AT(by), "WHAT", bys, .group = "Output",
	  .help = "rows by place (default), reason, function or flow" },
	{ "events", 0, WEIR_OPT_FLAG, AT(events), .help = "a line for each dropped packet" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once),
	  .help = "one table at the end of --for (default then: 1s)" },
	{ "account", 0, WEIR_OPT_FLAG, AT(account),
	  .help = "at the end: what was received or is to be sent, against what was lost" },
	{ "for", 0, WEIR_OPT_DURATION, AT(for_ns), "TIME", .min = 1,
	  .help = "end after this time" },
	{ "interval", 0, WEIR_OPT_DURATION, AT(interval), "TIME",
	  .help = "between two looks (default: 1s)" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "metrics at the end, by stage and reason" },
	{ "fail-on-loss", 0, WEIR_OPT_FLAG, AT(fail_on_loss),
	  .help = "exit with 3 if weir could not tell every drop" },
	{ 0 },
};

/* ---- What is asked for */

static int check_options(struct drops *d, struct weir_error *err)
{
	if (d->events && d->by)
		return weir_fail(err, -EINVAL, "--by does not go with --events: leave one out");
	if (d->events && d->once)
		return weir_fail(err, -EINVAL, "--once does not go with --events: use --for");
	if (d->events && d->interval)
		return weir_fail(err, -EINVAL,
				 "--interval does not go with --events: leave it "
				 "out");
	if (d->all_netns && d->iface)
		return weir_fail(err, -EINVAL,
				 "-i does not go with --all-netns: run weir drops "
				 "in the interface's namespace");
	if (d->account && (d->events || d->iface || d->all_netns))
		return weir_fail(err, -EINVAL,
				 "--account is of this whole network namespace: leave %s out",
				 d->events ? "--events" :
				 d->iface  ? "-i" :
					     "--all-netns");
	if (d->prometheus && (d->json || d->events || d->by || d->account))
		return weir_fail(err, -EINVAL, "--prometheus does not go with %s: leave one out",
				 d->json   ? "--json" :
				 d->events ? "--events" :
				 d->by	   ? "--by" :
					     "--account");
	if (d->account || d->prometheus)
		d->once = true;
	if (d->interval && d->interval < LEAST_INTERVAL)
		return weir_fail(err, -EINVAL, "--interval: at least 100ms");
	if (!d->interval)
		d->interval = WEIR_NSEC_PER_SEC;
	if (d->once && !d->for_ns)
		d->for_ns = WEIR_NSEC_PER_SEC;
	return 0;
}

static int parse_match(struct drops *d, const struct weir_strv *words, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int ret;

	for (unsigned int i = 0; i < words->n; i++)
		weir_buf_addf(&text, "%s%s", i ? " " : "", words->v[i]);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "out of memory");
	d->spec.expression = text.data;
	ret = weir_match_parse(&d->spec, &d->match, err);
	d->spec.expression = NULL;
	if (ret)
		return ret;
	/* The tag is no longer in the frame where packets are freed. */
	if (weir_match_fields(d->match) & 1U << WEIR_FIELD_VLAN)
		return weir_fail(err, -EINVAL,
				 "a freed packet has no %s any more: leave that part "
				 "out",
				 weir_match_field_name(WEIR_FIELD_VLAN));
	d->scope.matched = !weir_match_is_all(d->match);
	if (d->scope.matched && d->account)
		return weir_fail(err, -EINVAL,
				 "--account is of all packets, since counters know no flows: leave "
				 "the match out");
	return 0;
}

static int find_scope(struct drops *d, struct weir_error *err)
{
	int ret = weir_sys_netns_cookie(&d->scope.netns);

	if (ret)
		return weir_fail(err, ret,
				 "cannot tell the network namespace: %s: see `weir "
				 "doctor`",
				 strerror(-ret));
	d->scope.all = d->all_netns;
	d->scope.flows = d->by == WEIR_DROPS_BY_FLOW;
	if (!d->iface)
		return 0;
	d->scope.ifindex = if_nametoindex(d->iface);
	if (!d->scope.ifindex)
		return weir_fail(err, -ENODEV, "no interface is called %s: `ip link` lists them",
				 d->iface);
	snprintf(d->scope.iface, sizeof(d->scope.iface), "%s", d->iface);
	return 0;
}

/* ---- The live table */

static int show(struct drops *d, struct weir_live *l, struct weir_error *err)
{
	struct weir_drops_ledger whole = { 0 }, recent = { 0 };
	struct weir_drops_balance balance;
	struct weir_drops_view v = { .scope = &d->scope,
				     .words = &d->words,
				     .first = &d->first,
				     .before = &d->before,
				     .now = &d->now,
				     .whole = &whole,
				     .recent = &recent,
				     .by = (enum weir_drops_by)d->by,
				     .most = SIZE_MAX };
	weir_autobuf struct weir_buf out = { 0 };
	int rows, columns;
	int ret = weir_drops_ledger_make(&whole, &d->now, &d->first, &d->scope, &d->words);

	if (!ret)
		ret = weir_drops_ledger_make(&recent, &d->now, &d->before, &d->scope, &d->words);
	if (ret)
		weir_fail(err, ret, "out of memory");
	if (!ret && d->account) {
		weir_drops_balance_make(&balance, &whole, &d->now.totals, &d->first.totals);
		v.balance = &balance;
	}
	weir_term_size(STDOUT_FILENO, &columns, &rows);
	if (l->screen)
		v.most = rows > 10 ? (size_t)rows - 8 : 2;
	if (!ret && d->prometheus)
		weir_drops_show_prometheus(&v, &out);
	else if (!ret && d->json)
		weir_drops_show_json(&v, &out);
	else if (!ret && (l->screen || d->once))
		weir_drops_show_text(&v, &out);
	else if (!ret)
		weir_drops_show_lines(&v, &out);
	weir_drops_ledger_free(&whole);
	weir_drops_ledger_free(&recent);
	return ret ? ret : weir_live_show(l, &out, err);
}

/* There is one more look at the end, so that nothing counted is left out. */
static int run_table(struct drops *d, struct weir_live *l, struct weir_error *err)
{
	struct weir_drops_look last = { 0 };
	bool more = true;
	int ret = 0;

	d->before = d->first;
	while (!ret && more) {
		more = weir_live_wait(l, -1) == WEIR_LIVE_LOOK;
		if (d->once && more)
			continue;
		/* Else sums that are read one after the other would not be of one moment. */
		if (!more)
			weir_drops_kernel_detach(d->sources.kernel);
		ret = weir_drops_look(&d->sources, &d->scope, false, &d->now, err);
		if (!ret)
			ret = show(d, l, err);
		weir_drops_look_free(&last);
		last = d->before = d->now;
		d->now = (struct weir_drops_look){ 0 };
	}
	d->now = last;
	return ret;
}

/* ---- Events */

static int on_event(void *arg, const void *data, size_t size)
{
	struct drops *d = arg;
	struct weir_drops_event ev;

	if (size < sizeof(ev))
		return 0;
	memcpy(&ev, data, sizeof(ev));
	weir_drops_show_event(&ev, ev.ts + (uint64_t)d->clock_offset, &d->scope, &d->words, d->json,
			      &d->out);
	d->told++;
	return d->out.len > FLUSH_BYTES ? weir_buf_flush(&d->out, STDOUT_FILENO) : 0;
}

static int run_events(struct drops *d, struct weir_live *l, struct weir_error *err)
{
	struct weir_ring *ring = weir_drops_kernel_ring(d->sources.kernel);
	enum weir_live_event event;
	int ret;

	do {
		event = weir_live_wait(l, weir_ring_fd(ring));
		if (event == WEIR_LIVE_END)
			weir_drops_kernel_detach(d->sources.kernel);
		ret = weir_ring_consume(ring);
		if (ret >= 0)
			ret = weir_buf_flush(&d->out, STDOUT_FILENO);
	} while (!ret && event != WEIR_LIVE_END);
	/* A reader that has gone is no error; what became of the rest is told all the same. */
	if (ret && ret != -EPIPE)
		return weir_fail(err, ret,
				 "cannot write to standard output (%s): send it elsewhere",
				 strerror(-ret));
	return weir_drops_look(&d->sources, &d->scope, false, &d->now, err);
}

/* Events end with what became of them, on standard error. */
static void tell_events(const struct drops *d, const struct weir_drops_account *a)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;

	if (d->json) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_str(&j, "verb", "drops");
		weir_json_uint(&j, "delivered", d->told);
		weir_drops_json_account(&j, a);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else {
		weir_buf_addf(&out, "weir drops: %llu told, %llu lost: ring full; missed %llu\n",
			      (unsigned long long)d->told, (unsigned long long)a->lost_ring,
			      (unsigned long long)a->missed);
	}
	weir_buf_flush(&out, STDERR_FILENO);
}

/* ---- The run */

static int conclude(const struct drops *d)
{
	struct weir_drops_account a;

	weir_drops_account(&d->now, &d->first, &a);
	if (d->events)
		tell_events(d, &a);
	return d->fail_on_loss && a.lost_rows + a.lost_flows + a.lost_ring + a.missed ?
		       WEIR_EXIT_LOSS :
		       WEIR_EXIT_DONE;
}

/* Signals are blocked before anything is attached: none is missed. */
static int run_drops(struct drops *d, struct weir_error *err)
{
	bool screen = isatty(STDOUT_FILENO) && !d->json && !d->once && !d->events;
	const struct weir_drops_ask ask = {
		.match = d->match,
		.netns = d->scope.all ? 0 : d->scope.netns,
		.ifindex = d->scope.ifindex,
		.flows = d->scope.flows,
		.ring = d->events ? RING_BYTES : 0,
		.on_event = on_event,
		.arg = d,
	};
	struct weir_live l;
	int ret;

	ret = weir_drops_names_load(&d->words.names, err);
	if (ret)
		return ret;
	weir_drops_symbols_load(&d->words.symbols);
	ret = weir_live_open(&l, screen, d->interval, d->for_ns, err);
	if (ret)
		return ret;
	ret = weir_drops_kernel_open(&d->sources.kernel, &ask, err);
	if (!ret && d->account)
		ret = weir_drops_waiting_open(&d->sources.waiting, err);
	if (!ret)
		ret = weir_drops_look(&d->sources, &d->scope, true, &d->first, err);
	/* The time of the run begins where counting does. */
	l.next = weir_clock_mono() + d->interval;
	l.end = d->for_ns ? weir_clock_mono() + d->for_ns : 0;
	if (!ret && !screen)
		fprintf(stderr, "weir drops: listening\n");
	if (!ret)
		ret = d->events ? run_events(d, &l, err) : run_table(d, &l, err);
	weir_live_close(&l);
	return ret == -EPIPE || ret >= 0 ? conclude(d) : ret;
}

static void release(struct drops *d)
{
	weir_drops_kernel_close(d->sources.kernel);
	weir_drops_waiting_close(d->sources.waiting);
	weir_drops_faults_close(&d->sources.faults);
	weir_drops_proxies_close(&d->sources.proxies);
	weir_drops_look_free(&d->first);
	weir_drops_look_free(&d->now);
	weir_drops_names_free(&d->words.names);
	weir_drops_symbols_free(&d->words.symbols);
	weir_match_free(d->match);
	weir_buf_free(&d->out);
}

static int run(int argc, char **argv)
{
	struct drops d = { 0 };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	int ret = weir_verb_parse(&weir_drops_verb, argc, argv, &d, &words, WEIR_STRV_MAX);

	if (ret)
		return ret;
	weir_load_setup();
	d.clock_offset = weir_clock_offset();
	ret = check_options(&d, &err);
	if (!ret)
		ret = parse_match(&d, &words, &err);
	if (!ret)
		ret = find_scope(&d, &err);
	if (ret) {
		release(&d);
		return weir_verb_fail("drops", &err,
				      ret == -ENOMEM ? WEIR_EXIT_FAILED : WEIR_EXIT_USAGE);
	}
	ret = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_PERFMON, "see what the kernel drops", &err);
	if (!ret)
		ret = run_drops(&d, &err);
	release(&d);
	return ret < 0 ? weir_verb_fail("drops", &err, WEIR_EXIT_FAILED) : ret;
}

const struct weir_verb weir_drops_verb = {
	.name = "drops",
	.group = "See",
	.summary = "show every lost packet: where, why, and what to do",
	.synopsis = "[OPTIONS] [EXPRESSION]",
	.options = options,
	.details =
		"Every packet that is lost in this network namespace from now on, once, in the\n"
		"order of its road: NIC, driver, XDP, backlog, tc, netfilter, IP, TCP, UDP, socket,\n"
		"neighbour, queue, interface. MATCH may also be an expression, see weir-match(7);\n"
		"with one the kernel's counters, which know no flows, are left out.",
	.run = run,
};
