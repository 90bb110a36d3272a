/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/tcp/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/live.h"
#include "cap/tcp/show.h"
#include "cap/tcp/tune.h"
#include "dataplane/cgroup.h"
#include "dataplane/netns.h"
#include "match/conn.h"

#define EVERY_MIN_NS (100 * 1000 * 1000ULL)
#define PATH_ROOM 4096

struct tcp_opts {
	struct weir_conn_spec conn;
	const char *cgroup, *netns, *events;
	int by, sort;
	uint64_t for_ns, every_ns;
	bool once, json, prometheus, histogram, fail_on_loss;
};

static const char *const by_words[] = { "flow", "host", "process", NULL };
static const char *const sort_words[] = { "rate", "bytes", "rtt", "retransmits", "age", NULL };

#define AT(member) offsetof(struct tcp_opts, member)

static const struct weir_opt options[] = {
	WEIR_CONN_OPTIONS(struct tcp_opts, conn),
	{ "cgroup", 0, WEIR_OPT_STR, AT(cgroup), "PATH",
	  .help = "sockets made in this cgroup (v2), or below it", .complete = "file" },
	{ "netns", 0, WEIR_OPT_STR, AT(netns), "N",
	  .help = "one network namespace: NAME, PATH or PID (default: all that may be entered)" },
	{ "by", 0, WEIR_OPT_CHOICE, AT(by), "WHAT", .choices = by_words, .group = "What to show",
	  .help = "a row for each flow, remote host or process" },
	{ "events", 0, WEIR_OPT_STR, AT(events), "LIST",
	  .help = "a line for each event instead: all, or some, separated by commas",
	  .complete = "words:all connect accept established retransmit reset close" },
	{ "histogram", 0, WEIR_OPT_FLAG, AT(histogram), .help = "pictures of the round trips too" },
	{ "sort", 0, WEIR_OPT_CHOICE, AT(sort), "KEY", .choices = sort_words,
	  .help = "largest first (default: rate, with --once bytes)" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .group = "How",
	  .help = "one object a line; with --once one document" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "sums in the text format of Prometheus, once" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once), .help = "one look: now, or at the end of --for" },
	{ "for", 0, WEIR_OPT_DURATION, AT(for_ns), "TIME", .min = 1,
	  .help = "end after this time" },
	{ "interval", 0, WEIR_OPT_DURATION, AT(every_ns), "TIME",
	  .help = "time between two looks (default: 1s)" },
	{ "fail-on-loss", 0, WEIR_OPT_FLAG, AT(fail_on_loss),
	  .help = "exit status 3 when something could not be reported" },
	{ 0 },
};

/* ---- What is wanted */

struct run {
	struct tcp_opts opt;
	struct weir_tcp_engine *engine;
	struct weir_tcp_table table;
	struct weir_live live;
	struct weir_buf out;
	uint64_t lost[WEIR_TCP_LOSTS];
	int64_t offset;
	int failed; /* -ENOMEM in a callback */
};

static int parse_events(const char *list, uint32_t *ret, struct weir_error *err)
{
	while (*list) {
		size_t n = strcspn(list, ",");
		int kind = 0;

		if (n == 3 && !strncmp(list, "all", n))
			*ret |= (1U << WEIR_TCP_KINDS) - 1;
		else
			for (; kind < WEIR_TCP_KINDS; kind++)
				if (strlen(weir_tcp_kinds[kind]) == n &&
				    !strncmp(weir_tcp_kinds[kind], list, n))
					break;
		if (kind == WEIR_TCP_KINDS)
			return weir_fail(err, -EINVAL,
					 "--events: \"%.*s\" is no event: all, or of connect, "
					 "accept, established, retransmit, reset, close",
					 (int)n, list);
		if (n != 3 || strncmp(list, "all", n) != 0)
			*ret |= 1U << kind;
		list += n + (list[n] == ',');
	}
	return *ret ? 0 : weir_fail(err, -EINVAL, "--events: names no event: say all");
}

#define FIRST_OF_ROWS 2 /* below, what is about rows */

static int check(const struct tcp_opts *o, struct weir_error *err)
{
	const struct {
		bool given;
		const char *name;
	} pictures[] = {
		{ o->once, "--once" },
		{ o->prometheus, "--prometheus" },
		{ o->histogram, "--histogram" },
		{ o->sort >= 0, "--sort" },
		{ o->by != WEIR_TCP_BY_FLOW, "--by" },
	};

	for (size_t i = 0; o->events && i < WEIR_ARRAY_SIZE(pictures); i++)
		if (pictures[i].given)
			return weir_fail(err, -EINVAL,
					 "%s does not go with --events: leave one out",
					 pictures[i].name);
	/* Sums over all have no rows to sort, and pictures have no place in them. */
	for (size_t i = FIRST_OF_ROWS; o->prometheus && i < WEIR_ARRAY_SIZE(pictures); i++)
		if (pictures[i].given)
			return weir_fail(err, -EINVAL,
					 "%s does not go with --prometheus: leave one out",
					 pictures[i].name);
	if (o->json && o->histogram)
		return weir_fail(err, -EINVAL,
				 "--histogram does not go with --json, which has them anyway: "
				 "leave one out");
	if (o->prometheus && o->json)
		return weir_fail(err, -EINVAL,
				 "--prometheus does not go with --json: leave one out");
	if (o->every_ns < EVERY_MIN_NS)
		return weir_fail(err, -EINVAL, "--interval: shorter than 100ms: ask for more");
	return 0;
}

/* ---- Events */

static void on_event(void *arg, const struct weir_tcp_event *ev)
{
	struct run *r = arg;

	if (!r->opt.events) {
		const struct weir_tcp_closed *closed = (const void *)ev;

		if (ev->kind == WEIR_TCP_CLOSE && weir_tcp_table_closed(&r->table, &closed->conn))
			r->failed = -ENOMEM;
	} else if (r->opt.json) {
		weir_tcp_event_json(ev, r->offset, &r->out);
	} else {
		weir_tcp_event_text(ev, r->offset, &r->out);
	}
}

static int drain(struct run *r, struct weir_error *err)
{
	int ret = weir_tcp_engine_consume(r->engine, err);

	if (!ret && r->failed)
		ret = weir_fail(err, r->failed, "out of memory: match fewer connections");
	return ret;
}

static int run_events(struct run *r, struct weir_error *err)
{
	enum weir_live_event what;
	int ret;

	/* What was begun before is heard of from now on: the reader may be told. */
	if (!isatty(STDERR_FILENO) || !isatty(STDOUT_FILENO))
		fprintf(stderr, "weir tcp: listening\n");
	do {
		what = weir_live_wait(&r->live, weir_tcp_engine_fd(r->engine));
		ret = drain(r, err);
		if (!ret && r->out.len)
			ret = weir_live_show(&r->live, &r->out, err);
	} while (!ret && what != WEIR_LIVE_END);
	return ret;
}

/* ---- Tables */

static int show(struct run *r, struct weir_error *err)
{
	const struct tcp_opts *o = &r->opt;
	struct weir_tcp_view view = {
		.by = (enum weir_tcp_by)o->by,
		.sort = (enum weir_tcp_sort)(o->sort >= 0 ? o->sort :
					     o->once	  ? WEIR_TCP_SORT_BYTES :
							    WEIR_TCP_SORT_RATE),
		.histogram = o->histogram,
		.lost = r->lost,
	};
	int ret = 0;

	weir_tcp_engine_lost(r->engine, r->lost);
	if (o->prometheus)
		weir_tcp_show_prometheus(&r->table, &view, &r->out);
	else if (o->json)
		ret = weir_tcp_show_json(&r->table, &view, o->once, &r->out);
	else
		ret = weir_tcp_show(&r->table, &view, &r->out);
	if (ret)
		return weir_fail(err, ret, "out of memory: match fewer connections");
	return weir_live_show(&r->live, &r->out, err);
}

static int run_tables(struct run *r, struct weir_error *err)
{
	bool single = r->opt.once || r->opt.prometheus, more = !single || r->live.end;
	enum weir_live_event what = WEIR_LIVE_LOOK;
	int ret;

	for (;;) {
		ret = drain(r, err);
		if (!ret && what != WEIR_LIVE_READY)
			ret = weir_tcp_table_look(&r->table, r->engine, err);
		if (!ret && what != WEIR_LIVE_READY)
			ret = drain(r, err);
		if (!ret && what != WEIR_LIVE_READY && (!single || !more))
			ret = show(r, err);
		if (ret || !more)
			return ret;
		what = weir_live_wait(&r->live, weir_tcp_engine_fd(r->engine));
		more = what != WEIR_LIVE_END;
	}
}

/* ---- The run */

static uint64_t tell_losses(struct run *r)
{
	weir_tcp_engine_lost(r->engine, r->lost);
	if (r->lost[WEIR_TCP_LOST_RING])
		fprintf(stderr, "weir tcp: lost %" PRIu64 " events: the rings were full\n",
			r->lost[WEIR_TCP_LOST_RING]);
	if (r->lost[WEIR_TCP_LOST_STORAGE])
		fprintf(stderr, "weir tcp: lost %" PRIu64 " connections: no memory in the kernel\n",
			r->lost[WEIR_TCP_LOST_STORAGE]);
	return r->lost[WEIR_TCP_LOST_RING] + r->lost[WEIR_TCP_LOST_STORAGE];
}

static int run_open(struct run *r, const struct weir_match *match, uint32_t events,
		    struct weir_error *err)
{
	const struct tcp_opts *o = &r->opt;
	char path[PATH_ROOM];
	const struct weir_tcp_want want = {
		.match = match,
		.netns_path = o->netns ? weir_netns_path(o->netns, path, sizeof(path)) : NULL,
		.cgroup = o->cgroup,
		.events = events,
		.watch = (!o->once && !o->prometheus) || o->for_ns,
	};
	bool screen = isatty(STDOUT_FILENO) && !o->json && !o->once && !o->prometheus && !o->events;
	int ret = weir_tcp_engine_open(&r->engine, &want, on_event, r, err);

	if (ret)
		return ret;
	ret = weir_live_open(&r->live, screen, o->every_ns, o->for_ns, err);
	if (!ret) {
		ret = o->events ? run_events(r, err) : run_tables(r, err);
		weir_live_close(&r->live);
	}
	if (tell_losses(r) && !ret && o->fail_on_loss)
		ret = WEIR_EXIT_LOSS;
	weir_tcp_engine_close(r->engine);
	return ret == -EPIPE ? WEIR_EXIT_DONE : ret;
}

static int prepare(struct run *r, const struct weir_strv *words, struct weir_buf *expression,
		   struct weir_match **match, uint32_t *events, struct weir_error *err)
{
	int ret = check(&r->opt, err);

	if (!ret && r->opt.cgroup) {
		weir_autoclose int fd = weir_cgroup_open(r->opt.cgroup, NULL, err);

		ret = fd < 0 ? fd : 0;
	}
	*events = 1U << WEIR_TCP_CLOSE;
	if (!ret && r->opt.events) {
		*events = 0;
		ret = parse_events(r->opt.events, events, err);
	}
	if (ret)
		return ret;
	for (unsigned int i = 0; i < words->n; i++)
		weir_buf_addf(expression, "%s%s", i ? " " : "", words->v[i]);
	if (expression->failed)
		return weir_fail(err, -ENOMEM, "out of memory: shorten the match");
	r->opt.conn.match.expression = expression->data;
	return weir_conn_match_parse_tcp(&r->opt.conn, match, err);
}

static int run_tcp(int argc, char **argv)
{
	struct run r = { .opt = { .sort = -1, .every_ns = WEIR_NSEC_PER_SEC } };
	weir_autobuf struct weir_buf expression = { 0 };
	struct weir_match *match = NULL;
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	uint32_t events;
	int ret = weir_verb_parse(&weir_tcp_verb, argc, argv, &r.opt, &words, WEIR_STRV_MAX);

	if (ret)
		return ret;
	ret = prepare(&r, &words, &expression, &match, &events, &err);
	if (ret)
		return weir_verb_fail("tcp", &err, WEIR_EXIT_USAGE);
	r.offset = weir_clock_offset();
	r.table.by = (enum weir_tcp_by)r.opt.by;
	ret = run_open(&r, match, events, &err);
	weir_match_free(match);
	weir_tcp_table_free(&r.table);
	weir_buf_free(&r.out);
	return ret < 0 ? weir_verb_fail("tcp", &err, WEIR_EXIT_FAILED) : ret;
}

static int run(int argc, char **argv)
{
	return argc > 1 && !strcmp(argv[1], "tune") ? weir_tcp_tune_run(argc - 1, argv + 1) :
						      run_tcp(argc, argv);
}

static void help_tune(struct weir_buf *out)
{
	weir_buf_adds(out, "\nweir tcp tune ACTION [WORDS] [OPTIONS], see weir-tcp-tune(8):\n");
	weir_opt_usage(weir_tcp_tune_options, out);
}

static const char details[] =
	"tune ACTION gives connections options by rules, from their first moment on.\n\n"
	"MATCH may also be an expression, see weir-match(7). In the tables \">\" stands behind\n"
	"the end that began a connection, \"?\" marks a guess; ZWIN is how often the peer's and\n"
	"this host's receive windows were shut. Retransmissions, round trips and zero windows\n"
	"of connections that are older than this run are counted from its beginning.";

const struct weir_verb weir_tcp_verb = {
	.name = "tcp",
	.group = "See",
	.summary = "show what TCP knows of every connection, and why it is slow",
	.synopsis = "[MATCH] [OPTIONS], or tune ACTION",
	.options = options,
	.details = details,
	.complete = "words:tune status",
	.help_more = help_tune,
	.explain = weir_tune_explain,
	.explain_from = WEIR_ROAD_SESSION,
	.run = run,
};
