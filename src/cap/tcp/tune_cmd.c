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
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "list: as metrics, for a textfile collector" },
	{ 0 },
};

#define MANY WEIR_STRV_MAX

#define RULE                                                                                   \
	" protocol src-ip dst-ip src-port dst-port local-ip local-port remote-ip remote-port " \
	"cgroup all-netns congestion rcvbuf sndbuf window-clamp initcwnd initrwnd cwnd-clamp " \
	"rto-min delack-max nodelay maxseg notsent-lowat user-timeout keepalive keepidle "     \
	"keepintvl keepcnt tos "

static const struct weir_tune_action actions[] = {
	{ { "add", "NAME [MATCH] --OPTION VALUE...", RULE, 1, MANY }, weir_tune_do_add },
	{ { "del", "NAME...", " ", 1, MANY }, weir_tune_do_del },
	{ { "clear", "", " ", 0, 0 }, weir_tune_do_clear },
	{ { "apply", "FILE", " ", 1, 1 }, weir_tune_do_apply },
	{ { "show", "", " ", 0, 0 }, weir_tune_do_show },
	{ { "save", "[FILE]", " boot ", 0, 1 }, weir_tune_do_save },
	{ { "list", "", " json prometheus ", 0, 0 }, weir_tune_do_list },
	{ { "failures", "", " json ", 0, 0 }, weir_tune_do_failures },
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

static int unknown_word(const char *word, struct weir_error *err)
{
	return weir_fail(err, -EINVAL, "unknown action \"%s\": see weir-tcp-tune(8)", word);
}

/* As the messages name it. */
static const struct weir_verb tune = { .name = "tcp tune", .options = weir_tcp_tune_options };

static const struct weir_actions table = {
	.verb = &tune,
	.rows = actions,
	.n = WEIR_ARRAY_SIZE(actions),
	.stride = sizeof(actions[0]),
	.unknown = unknown_word,
};

static int find_action(struct weir_tune_cmd *c, const struct weir_strv *words,
		       struct weir_error *err)
{
	static const struct weir_tune_cmd fresh = { .status = WEIR_EXIT_FAILED };
	int at;

	if (!words->n)
		return weir_fail(err, -EINVAL,
				 "no action given: add, del, clear, apply, show, save, list or "
				 "failures");
	at = weir_action_choose(&table, words, c, &fresh, &c->words, err);
	if (at < 0)
		return at;
	c->action = &actions[at];
	return c->json && c->prometheus ?
		       weir_fail(err, -EINVAL, "--json and --prometheus: give one of both") :
		       0;
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
	if (ret)
		return weir_verb_fail("tcp tune", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("tcp tune", &err, c.status) : ret;
}
