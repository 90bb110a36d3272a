/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir proxy`: from the words of the command line to an action. Which options an
 * action takes is data: one that it does not take is refused, never ignored.
 */
#include "cap/proxy/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/proxy/account.h"
#include "cap/proxy/allow.h"
#include "cap/proxy/cmd_impl.h"
#include "cap/proxy/control.h"
#include "cap/proxy/names.h"
#include "cap/proxy/service.h"
#include "dataplane/load.h"

#define DRAIN_LOOK_NS 100000000L /* between two looks whether the proxy has gone */

#define AT(field) offsetof(struct weir_proxy_cmd, field)

static const struct weir_opt options[] = {
	{ "config", 'c', WEIR_OPT_STR, AT(flags.file), "FILE", .group = "The proxy",
	  .help = "the configuration, see weir-proxy(8); the options below outweigh it",
	  .complete = "file" },
	{ "listen", 0, WEIR_OPT_LIST, AT(flags.listen), "ADDRESS",
	  .help = "accept connections at ADDRESS:PORT, [::]:443 for both families; for HTTP "
		  "http://ADDRESS:PORT; may be repeated" },
	{ "route", 0, WEIR_OPT_LIST, AT(flags.route), "ROUTE",
	  .help = "NAME=BACKEND[,BACKEND]: a name, *.example.org, /expression/ or *; "
		  "ADDRESS:PORT, HOST:PORT, unix:/PATH, or dns; may be repeated" },
	{ "default", 0, WEIR_OPT_STR, AT(flags.preset), "WHAT",
	  .help = "with names that no route has: drop, reset, alert, or a backend (default: drop)",
	  .complete = "words:drop reset alert" },
	{ "engine", 0, WEIR_OPT_STR, AT(flags.engine), "ENGINE",
	  .help = "what forwards: auto, splice, copy or sockmap (default: auto)",
	  .complete = "words:auto splice copy sockmap" },
	{ "allow-source", 0, WEIR_OPT_LIST, AT(flags.allow), "PREFIX",
	  .help = "only from there, at XDP too; may be repeated (default: any)" },
	{ "server", 0, WEIR_OPT_STR, AT(flags.servers), "LIST",
	  .help = "name servers: addresses, with commas between (default: /etc/resolv.conf's)" },
	{ "log", 0, WEIR_OPT_STR, AT(flags.log), "FILE",
	  .help = "a line for each connection that ended; - is standard output (default: off)",
	  .complete = "file" },
	{ "log-format", 0, WEIR_OPT_STR, AT(flags.log_format), "FORMAT",
	  .help = "json, or a template such as '%{ts} %{sni} %{reason}' (default: json)" },
	{ "metrics", 0, WEIR_OPT_STR, AT(flags.metrics), "ADDRESS",
	  .help = "Prometheus text by HTTP at ADDRESS:PORT (default: off)" },
	{ "user", 0, WEIR_OPT_STR, AT(flags.user), "USER",
	  .help = "who it runs as, once it has started (default: weir-proxy where there is one, else nobody)" },
	{ "workers", 0, WEIR_OPT_U64, AT(flags.workers), "N", .min = 1, .max = WEIR_WORKERS_MAX,
	  .help = "threads (default: one for each CPU)" },
	{ "drain", 0, WEIR_OPT_DURATION, AT(flags.drain_ns), "TIME", .min = 1000000,
	  .max = 86400 * WEIR_NSEC_PER_SEC,
	  .help = "how long open connections have at the end (default: 30s)" },

	{ "json", 0, WEIR_OPT_FLAG, AT(json), .group = "Output", .help = "JSON" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once),
	  .help = "connections, top: one picture, also on a terminal" },
	{ 0 },
};

#define CONFIG                                                                    \
	" config listen route default engine allow-source server log log-format " \
	"metrics user workers drain "

int weir_proxy_cmd_usage(struct weir_proxy_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

static void tell(const char *text)
{
	struct weir_error line; /* for its care of control characters */

	weir_fail(&line, 0, "%s", text);
	weir_verb_fail("proxy", &line, 0);
}

/* What the proxy answered, each line for itself. */
static void tell_lines(struct weir_buf *text)
{
	char *rest = text->len ? text->data : NULL, *line;

	while ((line = strsep(&rest, "\n")))
		if (*line)
			tell(line);
}

/* ---- The actions */

static int do_run(struct weir_proxy_cmd *c, struct weir_error *err)
{
	(void)err;
	return weir_service_run(&c->flags);
}

/* A route to whatever name is asked for, open to everybody. */
static void tell_open(const struct weir_proxy_config *cfg)
{
	for (size_t i = 0; i < cfg->n_routes && !cfg->n_allow; i++) {
		const struct weir_proxy_route *r = &cfg->routes[i];

		for (size_t j = 0; j < r->n_targets; j++) {
			if (r->kind != WEIR_NAME_ANY || r->n_sources ||
			    r->targets[j].kind != WEIR_TARGET_DNS)
				continue;
			tell("warning: \"*\" to dns lets everybody reach every host through this "
			     "one: set allow_sources");
			return;
		}
	}
}

static int do_check(struct weir_proxy_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_proxy_config *cfg;
	int ret = weir_proxy_config_read(&c->flags, &cfg, err);

	if (ret)
		return ret == -ENOMEM ? ret : weir_proxy_cmd_usage(c, ret);
	weir_proxy_config_print(cfg, &out);
	tell_open(cfg);
	weir_proxy_config_unref(cfg);
	return weir_verb_print("proxy", &out, WEIR_EXIT_DONE);
}

static int do_reload(struct weir_proxy_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 };
	int ret = weir_control_ask("reload", &answer, err);

	(void)c;
	if (ret)
		return ret;
	tell_lines(&answer);
	tell("reloaded");
	return WEIR_EXIT_DONE;
}

static int do_kill(struct weir_proxy_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 };
	char request[32];
	uint64_t id;
	int ret;

	if (weir_parse_u64(c->words.v[0], 0, UINT64_MAX, &id)) {
		weir_fail(err, -EINVAL,
			  "\"%.100s\" is no connection: give an ID that `weir proxy connections` "
			  "shows",
			  c->words.v[0]);
		return weir_proxy_cmd_usage(c, -EINVAL);
	}
	snprintf(request, sizeof(request), "kill %llu", (unsigned long long)id);
	ret = weir_control_ask(request, &answer, err);
	if (ret)
		return ret;
	tell_lines(&answer);
	return WEIR_EXIT_DONE;
}

static int resolver_list(const struct weir_proxy_cmd *c, const struct weir_proxy_maps *m,
			 struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	int ret = weir_names_list(m->names_fd, c->json, &out, err);

	return ret < 0 ? ret : weir_verb_print("proxy", &out, WEIR_EXIT_DONE);
}

/* As names are kept: in lower case, without trailing dot. */
static int resolver_flush(const struct weir_proxy_cmd *c, const struct weir_proxy_maps *m,
			  struct weir_error *err)
{
	char name[WEIR_PROXY_NAME_MAX], text[WEIR_PROXY_NAME_MAX + 64];
	const char *given = c->words.n > 1 ? c->words.v[1] : NULL;
	size_t n = given ? strlen(given) : 0;
	int ret;

	if (n >= sizeof(name))
		return weir_fail(err, -EINVAL,
				 "\"%.100s\" is longer than a name can be: give one "
				 "that `weir proxy resolver list` shows",
				 given);
	for (size_t i = 0; i < n; i++)
		name[i] = (char)tolower((unsigned char)given[i]);
	if (n > 1 && name[n - 1] == '.')
		n--;
	name[n] = '\0';
	ret = weir_names_flush(m->names_fd, given ? name : NULL, err);
	if (ret < 0)
		return ret;
	if (given && !ret)
		return weir_fail(err, -ENOENT,
				 "%s is not in the cache: `weir proxy resolver list` "
				 "shows what is",
				 name);
	snprintf(text, sizeof(text), "%d name%s flushed", ret, ret == 1 ? "" : "s");
	tell(text);
	return WEIR_EXIT_DONE;
}

static int do_resolver(struct weir_proxy_cmd *c, struct weir_error *err)
{
	bool list = strcmp(c->words.v[0], "list") == 0;
	struct weir_proxy_maps m;
	int ret;

	weir_proxy_cmd_usage(c, 0);
	if (!list && strcmp(c->words.v[0], "flush") != 0)
		return weir_fail(err, -EINVAL,
				 "\"%.100s\" is nothing that %s can do: give list or "
				 "flush",
				 c->words.v[0], c->action->a.name);
	if (list && c->words.n > 1)
		return weir_fail(err, -EINVAL, "\"%.100s\" is one argument too many: leave it out",
				 c->words.v[1]);
	if (!list && c->json)
		return weir_fail(err, -EINVAL,
				 "--json does not go with %s flush: it is for %s list",
				 c->action->a.name, c->action->a.name);
	c->status = WEIR_EXIT_FAILED;
	ret = weir_account_find(&m, err);
	if (ret)
		return ret;
	ret = list ? resolver_list(c, &m, err) : resolver_flush(c, &m, err);
	weir_account_close(&m);
	return ret;
}

/* Until nobody answers any more. */
static int wait_gone(struct weir_error *err)
{
	for (;;) {
		const struct timespec pause = { .tv_nsec = DRAIN_LOOK_NS };
		weir_autobuf struct weir_buf answer = { 0 };
		struct weir_error ignored;
		int ret = weir_control_ask("status", &answer, &ignored);

		if (ret == -ENOENT)
			return 0;
		/* It may go while it answers. */
		if (ret && ret != -EPIPE && ret != -EPROTO && ret != -ECONNRESET)
			return weir_fail(err, ret, "%s", ignored.msg);
		nanosleep(&pause, NULL);
	}
}

static int do_off(struct weir_proxy_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 };
	int ret = weir_control_ask("drain", &answer, err);
	bool ran = !ret;

	(void)c;
	if (ret && ret != -ENOENT)
		return ret;
	if (ran) {
		tell_lines(&answer);
		ret = wait_gone(err);
		if (ret)
			return ret;
	}
	/* The keeper cleans up; this is for what one leaves that was killed with it. */
	ret = weir_account_sweep(err);
	if (!ret)
		ret = weir_allow_remove(err);
	if (ret < 0)
		return ret;
	tell(ran ? "off" : "no proxy runs in this network namespace");
	return WEIR_EXIT_DONE;
}

static const struct weir_proxy_cmd_action actions[] = {
	{ { "", "", CONFIG, 0, 0 }, do_run },
	{ { "check", "[-c FILE]", CONFIG, 0, 0 }, do_check },
	{ { "reload", "", " ", 0, 0 }, do_reload },
	{ { "connections", "", " json once ", 0, 0 }, weir_proxy_cmd_show },
	{ { "top", "", " json once ", 0, 0 }, weir_proxy_cmd_show },
	{ { "kill", "ID", " ", 1, 1 }, do_kill },
	{ { "resolver", "list | flush [NAME]", " json ", 1, 2 }, do_resolver },
	{ { "dns", "list | flush [NAME]", " json ", 1, 2 }, do_resolver },
	{ { "off", "", " ", 0, 0 }, do_off },
};

/* ---- Words */

static int unknown_word(const char *word, struct weir_error *err)
{
	return access(word, F_OK) ?
		       0 :
		       weir_fail(err, -EINVAL, "unknown action \"%s\": give a file as -c %s", word,
				 word);
}

static const struct weir_actions table = {
	.verb = &weir_proxy_verb,
	.rows = actions,
	.n = WEIR_ARRAY_SIZE(actions),
	.stride = sizeof(actions[0]),
	.unknown = unknown_word,
};

static int run(int argc, char **argv)
{
	static const struct weir_proxy_cmd fresh = { .status = WEIR_EXIT_FAILED };
	struct weir_proxy_cmd c = fresh;
	struct weir_error err = { "" };
	struct weir_strv words = { 0 };
	int ret = weir_verb_parse(&weir_proxy_verb, argc, argv, &c, &words, WEIR_STRV_MAX);

	if (ret)
		return ret;
	ret = weir_action_choose(&table, &words, &c, &fresh, &c.words, &err);
	if (ret < 0)
		return weir_verb_fail("proxy", &err, WEIR_EXIT_USAGE);
	c.action = &actions[ret];
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("proxy", &err, c.status) : ret;
}

static const char details[] =
	"Without an action the proxy runs, in the foreground, by the configuration's file, by\n"
	"the options, or by both. SIGHUP reloads the file, SIGUSR1 opens the log anew, SIGTERM\n"
	"drains and ends; a second one ends at once.\n"
	"\n"
	"Actions:\n"
	"  check            print the configuration as understood; exit status 2 when it is wrong\n"
	"Of the proxy that runs in this network namespace:\n"
	"  reload           read the file again; no connection is dropped\n"
	"  connections      what is open, live\n"
	"  top              the sources with most bytes, live\n"
	"  kill ID          end a connection\n"
	"  resolver list | flush [NAME]\n"
	"                   the cache of names (dns is the same)\n"
	"  off              drain, end, and remove what is left\n"
	"  status           the same as \"weir status proxy\"";

const struct weir_verb weir_proxy_verb = {
	.name = "proxy",
	.group = "Forward",
	.summary = "route TLS by name without opening it",
	.synopsis = "[ACTION] [WORDS] [OPTIONS]",
	.options = options,
	.details = details,
	.complete = "words:check reload connections top kill resolver off status",
	.run = run,
	.status_more = weir_proxy_status_more,
	.explain = weir_proxy_explain,
	.explain_from = WEIR_ROAD_SESSION,
};
