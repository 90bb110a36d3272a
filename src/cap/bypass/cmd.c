/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir bypass`: from the words of the command line to an action. Which options an action
 * takes is data: one that it does not take is refused, never ignored.
 */
#include "cap/bypass/cmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/bypass/bypass_cmd.h"
#include "cap/bypass/engine.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"

#define AT(field) offsetof(struct weir_bypass_cmd, field)

static const struct weir_opt options[] = {
	WEIR_CONN_OPTIONS(struct weir_bypass_cmd, match),
	{ "cgroup", 0, WEIR_OPT_STR, AT(cgroup), "PATH", .group = "A rule",
	  .help = "whose connections: both ends are in this cgroup or below; / is everybody",
	  .complete = "file" },
	{ "force", 0, WEIR_OPT_FLAG, AT(force),
	  .help = "on, though the check is not ok; what that breaks is told" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .group = "Output", .help = "JSON" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "list: as metrics, for a textfile collector" },
	{ 0 },
};

#define MATCH " protocol src-ip dst-ip src-port dst-port local-ip local-port remote-ip remote-port "

static const struct weir_bypass_action actions[] = {
	{ "check", "", " json ", 0, 0, weir_bypass_do_check },
	{ "bench", "", " json ", 0, 0, weir_bypass_do_bench },
	{ "on", "NAME MATCH --cgroup PATH", MATCH " cgroup force ", 1, WEIR_STRV_MAX,
	  weir_bypass_do_on },
	{ "off", "[NAME]", " ", 0, 1, weir_bypass_do_off },
	{ "list", "", " json prometheus ", 0, 0, weir_bypass_do_list },
};

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
	return weir_fail(err, -EINVAL, "unknown action \"%s\": \"weir help bypass\" lists them",
			 word);
}

static bool takes(const struct weir_bypass_action *a, const char *name)
{
	char word[32];

	snprintf(word, sizeof(word), " %s ", name);
	return strstr(a->takes, word) != NULL;
}

/* Every default is zero, which no option gives. */
static bool is_given(const struct weir_bypass_cmd *c, const struct weir_opt *o)
{
	const char *at = (const char *)c + o->offset;

	return o->kind == WEIR_OPT_FLAG ? *(const bool *)at : *(const char *const *)at != NULL;
}

static int check(const struct weir_bypass_cmd *c, struct weir_error *err)
{
	const struct weir_bypass_action *a = c->action;

	for (const struct weir_opt *o = options; o->name; o++)
		if (is_given(c, o) && !takes(a, o->name))
			return weir_fail(err, -EINVAL, "%s does not take --%s: leave it out",
					 a->name, o->name);
	if (c->json && c->prometheus)
		return weir_fail(err, -EINVAL, "--json and --prometheus: give one of both");
	if (c->words.n < a->min_words)
		return weir_fail(err, -EINVAL, "%s needs more words: weir bypass %s %s", a->name,
				 a->name, a->words);
	if (c->words.n > a->max_words)
		return weir_fail(err, -EINVAL, "\"%s\" is one argument too many: leave it out",
				 c->words.v[a->max_words]);
	return 0;
}

static int find_action(struct weir_bypass_cmd *c, const struct weir_strv *words,
		       struct weir_error *err)
{
	if (!words->n)
		return weir_fail(err, -EINVAL,
				 "an action is missing: check, bench, on, off or list");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++)
		if (!strcmp(words->v[0], actions[i].name))
			c->action = &actions[i];
	if (!c->action)
		return unknown_action(words->v[0], err);
	for (unsigned int i = 1; i < words->n; i++)
		c->words.v[c->words.n++] = words->v[i];
	return 0;
}

static int run(int argc, char **argv)
{
	struct weir_bypass_cmd c = { .status = WEIR_EXIT_FAILED };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	int ret;

	ret = weir_verb_parse(&weir_bypass_verb, argc, argv, &c, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	ret = find_action(&c, &words, &err);
	if (!ret)
		ret = check(&c, &err);
	if (ret)
		return weir_verb_fail("bypass", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	ret = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_PERFMON |
				     WEIR_CAP_SYS_ADMIN,
			     c.action->name, &err);
	if (!ret)
		ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("bypass", &err, c.status) : ret;
}

static const char details[] =
	"Before anything else:\n"
	"  check            does a bypassed connection do what TCP does, on this kernel? Exit\n"
	"                   status 4 when something is not ok\n"
	"  bench            TCP, bypass and AF_UNIX side by side on this host, some seconds\n"
	"Connections that are made from now on:\n"
	"  on NAME MATCH    those that match, with both ends in --cgroup; what the check did\n"
	"                   not pass needs --force\n"
	"  off [NAME]       no more; those that live go on by TCP\n"
	"  list             rules and connections, with the bytes of both roads\n"
	"  status           the same as \"weir status bypass\"\n"
	"\n"
	"MATCH may also be an expression, see weir-match(7).";

const struct weir_verb weir_bypass_verb = {
	.name = "bypass",
	.group = "Forward",
	.summary = "take local TCP connections past TCP/IP",
	.synopsis = "ACTION [WORDS] [OPTIONS]",
	.options = options,
	.details = details,
	.complete = "words:check bench on off list status",
	.run = run,
	.explain = weir_bypass_explain,
	.explain_from = WEIR_ROAD_SESSION,
};
