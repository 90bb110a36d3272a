/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir tcp tune`: from the words of the command line to an action. */
#include "cap/tcp/tune_cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/tcp/tune.h"
#include "dataplane/load.h"

#define AT(field) offsetof(struct weir_tune_cmd, field)
#define SET(opt) AT(rule.set[WEIR_TUNE_##opt])

const struct weir_opt weir_tcp_tune_options[] = {
	WEIR_CONN_OPTIONS(struct weir_tune_cmd, rule.match),
	{ "cgroup", 0, WEIR_OPT_STR, AT(rule.cgroup), "PATH",
	  .help = "of processes in this cgroup (default: all)", .complete = "file" },
	{ "all-netns", 0, WEIR_OPT_FLAG, AT(rule.all_netns),
	  .help = "of every network namespace, not only this one" },

	{ "congestion", 0, WEIR_OPT_STR, SET(CONGESTION), "NAME", .group = "What they get",
	  .help = "congestion control" },
	{ "rcvbuf", 0, WEIR_OPT_STR, SET(RCVBUF), "SIZE",
	  .help = "receive buffer (SO_RCVBUF), which then is of fixed size" },
	{ "sndbuf", 0, WEIR_OPT_STR, SET(SNDBUF), "SIZE",
	  .help = "send buffer (SO_SNDBUF), likewise" },
	{ "window-clamp", 0, WEIR_OPT_STR, SET(WINDOW_CLAMP), "SIZE",
	  .help = "largest receive window" },
	{ "initcwnd", 0, WEIR_OPT_STR, SET(INITCWND), "N",
	  .help = "first congestion window, in segments" },
	{ "initrwnd", 0, WEIR_OPT_STR, SET(INITRWND), "N",
	  .help = "first receive window, in segments" },
	{ "cwnd-clamp", 0, WEIR_OPT_STR, SET(CWND_CLAMP), "N",
	  .help = "largest congestion window, in segments" },
	{ "rto-min", 0, WEIR_OPT_STR, SET(RTO_MIN), "TIME",
	  .help = "shortest retransmission timeout" },
	{ "delack-max", 0, WEIR_OPT_STR, SET(DELACK_MAX), "TIME",
	  .help = "longest delay of an acknowledgement" },
	{ "nodelay", 0, WEIR_OPT_STR, SET(NODELAY), "on|off", .help = "no waiting for more to send",
	  .complete = "words:on off" },
	{ "maxseg", 0, WEIR_OPT_STR, SET(MAXSEG), "SIZE",
	  .help = "largest segment; only of connections that this host begins" },
	{ "notsent-lowat", 0, WEIR_OPT_STR, SET(NOTSENT_LOWAT), "SIZE",
	  .help = "unsent bytes up to which a socket can be written" },
	{ "user-timeout", 0, WEIR_OPT_STR, SET(USER_TIMEOUT), "TIME",
	  .help = "how long sent data may stay without answer" },
	{ "keepalive", 0, WEIR_OPT_STR, SET(KEEPALIVE), "on|off", .help = "keepalive probes",
	  .complete = "words:on off" },
	{ "keepidle", 0, WEIR_OPT_STR, SET(KEEPIDLE), "TIME",
	  .help = "idle time before the first probe" },
	{ "keepintvl", 0, WEIR_OPT_STR, SET(KEEPINTVL), "TIME", .help = "time between probes" },
	{ "keepcnt", 0, WEIR_OPT_STR, SET(KEEPCNT), "N", .help = "probes without answer" },
	{ "tos", 0, WEIR_OPT_STR, SET(TOS), "N", .help = "class of service, with IPv6 too" },

	{ "boot", 0, WEIR_OPT_FLAG, AT(boot), .group = "Output",
	  .help = "save: for weir-tcp-tune.service" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },
	{ 0 },
};

#define MANY WEIR_STRV_MAX

static const struct weir_tune_action actions[] = {
	{ "add", "NAME [MATCH] --OPTION VALUE...", true, false, false, 1, MANY, weir_tune_do_add },
	{ "del", "NAME...", false, false, false, 1, MANY, weir_tune_do_del },
	{ "clear", "", false, false, false, 0, 0, weir_tune_do_clear },
	{ "apply", "FILE", false, false, false, 1, 1, weir_tune_do_apply },
	{ "show", "", false, false, false, 0, 0, weir_tune_do_show },
	{ "save", "[FILE]", false, true, false, 0, 1, weir_tune_do_save },
	{ "list", "", false, false, true, 0, 0, weir_tune_do_list },
	{ "failures", "", false, false, true, 0, 0, weir_tune_do_failures },
};

int weir_tune_cmd_usage(struct weir_tune_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

void weir_tune_cmd_tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir_verb_tell("tcp tune", fmt, ap);
	va_end(ap);
}

/* The actions as an option table: one judgement of what is near. */
static int unknown_action(const char *word, struct weir_error *err)
{
	struct weir_opt names[WEIR_ARRAY_SIZE(actions) + 1] = { 0 };
	const char *near;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++) {
		names[i].name = actions[i].name;
		names[i].help = actions[i].words;
	}
	near = weir_opt_nearest(names, word, strlen(word));
	if (near)
		return weir_fail(err, -EINVAL, "unknown action \"%s\": did you mean %s?", word,
				 near);
	return weir_fail(err, -EINVAL, "unknown action \"%s\": see weir-tcp-tune(8)", word);
}

static int find_action(struct weir_tune_cmd *c, const struct weir_strv *words,
		       struct weir_error *err)
{
	if (!words->n)
		return weir_fail(err, -EINVAL,
				 "no action given: add, del, clear, apply, show, save, list or "
				 "failures");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].name, words->v[0]) == 0)
			c->action = &actions[i];
	if (!c->action)
		return unknown_action(words->v[0], err);
	c->words.n = words->n - 1;
	memcpy(c->words.v, words->v + 1, c->words.n * sizeof(c->words.v[0]));
	return 0;
}

/* Each default is all zeros. */
static bool is_given(const struct weir_tune_cmd *c, const struct weir_opt *o)
{
	const char *at = (const char *)c + o->offset;

	return o->kind == WEIR_OPT_FLAG ? *(const bool *)at : *(const char *const *)at != NULL;
}

static bool takes(const struct weir_tune_action *a, const struct weir_opt *o)
{
	if (o->offset == AT(boot))
		return a->boot;
	return o->offset == AT(json) ? a->json : a->rule;
}

static int check(struct weir_tune_cmd *c, struct weir_error *err)
{
	const struct weir_tune_action *a = c->action;

	for (const struct weir_opt *o = weir_tcp_tune_options; o->name; o++)
		if (is_given(c, o) && !takes(a, o))
			return weir_fail(err, -EINVAL, "--%s does not go with %s: it is for %s",
					 o->name, a->name,
					 o->offset == AT(boot) ? "save" :
					 o->offset == AT(json) ? "list or failures" :
								 "add");
	if (c->words.n < a->min_words)
		return weir_fail(err, -EINVAL, "%s needs more words: weir tcp tune %s %s", a->name,
				 a->name, a->words);
	if (c->words.n > a->max_words)
		return weir_fail(err, -EINVAL, "\"%s\" is one argument too many: leave it out",
				 c->words.v[a->max_words]);
	return 0;
}

int weir_tcp_tune_run(int argc, char **argv)
{
	struct weir_tune_cmd c = { .status = WEIR_EXIT_FAILED };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	int ret;

	argv[0] = (char *)"tcp"; /* whose help the messages name */
	ret = weir_opt_parse(weir_tcp_tune_options, argc, argv, &c, &words, &err);
	if (!ret)
		ret = find_action(&c, &words, &err);
	if (!ret)
		ret = check(&c, &err);
	if (ret)
		return weir_verb_fail("tcp tune", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("tcp tune", &err, c.status) : ret;
}
