/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir fault`: from the words of the command line to an action. Which options an action
 * takes is data: one that it does not take is refused, never ignored.
 */
#include "cap/fault/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/fault/fault_cmd.h"
#include "dataplane/load.h"

#define AT(field) offsetof(struct weir_fault_cmd, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(rule.protocol), "LIST", .group = "MATCH",
	  .help = "tcp, udp, icmp, arp, ip, ip6 ..., or a number" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(rule.src_ip), "LIST", .help = "addresses and prefixes" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(rule.dst_ip), "LIST", .help = "likewise" },
	{ "src-port", 0, WEIR_OPT_STR, AT(rule.src_port), "LIST", .help = "ports and ranges" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(rule.dst_port), "LIST", .help = "likewise" },
	{ "interface", 'i', WEIR_OPT_STR, AT(rule.iface), "IFACE",
	  .help = "packets on this interface (default: on all)", .complete = "iface" },
	{ "direction", 'Q', WEIR_OPT_STR, AT(rule.direction), "DIR",
	  .help = "in, out or inout (default: inout)", .complete = "words:in out inout" },
	{ "local-ip", 0, WEIR_OPT_STR, AT(local_ip), "LIST",
	  .help = "of --reset: this host's end of a connection" },
	{ "local-port", 0, WEIR_OPT_STR, AT(local_port), "LIST", .help = "likewise" },
	{ "remote-ip", 0, WEIR_OPT_STR, AT(remote_ip), "LIST", .help = "the other end" },
	{ "remote-port", 0, WEIR_OPT_STR, AT(remote_port), "LIST", .help = "likewise" },

	{ "drop", 0, WEIR_OPT_STR, AT(rule.drop), "P", .group = "Faults",
	  .help = "drop this part of the packets (10%)" },
	{ "corrupt", 0, WEIR_OPT_FLAG, AT(rule.corrupt),
	  .help = "flip a bit of the payload; the checksum is wrong then" },
	{ "fix-checksum", 0, WEIR_OPT_FLAG, AT(rule.fix_checksum),
	  .help = "...and made right, so that the program gets it" },
	{ "rate", 0, WEIR_OPT_STR, AT(rule.rate), "R",
	  .help = "drop what is over this rate (1mbit)" },
	{ "delay", 0, WEIR_OPT_STR, AT(rule.delay), "T",
	  .help = "hold what leaves by -i for this long (50ms); needs the fq qdisc there" },
	{ "jitter", 0, WEIR_OPT_STR, AT(rule.jitter), "T",
	  .help = "...more or less by this, at random" },
	{ "truncate", 0, WEIR_OPT_STR, AT(rule.truncate), "N",
	  .help = "let only the first N bytes of a segment through" },
	{ "reset", 0, WEIR_OPT_FLAG, AT(reset), .help = "end the TCP connections that match now" },

	{ "listen", 0, WEIR_OPT_STR, AT(rule.listen), "ADDR:PORT", .group = "Of --truncate",
	  .help = "the socket that listens there, and those that it accepts" },
	{ "pid", 0, WEIR_OPT_STR, AT(rule.pid), "N", .help = "a process's socket ..." },
	{ "fd", 0, WEIR_OPT_STR, AT(rule.fd), "M", .help = "...by its descriptor" },

	{ "probability", 0, WEIR_OPT_STR, AT(rule.probability), "P", .group = "When",
	  .help = "hit this part of the packets (default: 100%)" },
	{ "nth", 0, WEIR_OPT_STR, AT(rule.nth), "K",
	  .help = "hit each K-th packet; alone: drop it" },
	{ "seed", 0, WEIR_OPT_STR, AT(rule.seed), "S",
	  .help = "the same seed hits the same packets (default: any)" },
	{ "ttl", 0, WEIR_OPT_STR, AT(rule.ttl), "T", .help = "how long it lasts (default: 60s)" },
	{ "force", 0, WEIR_OPT_FLAG, AT(force), .help = "also on your own ssh session" },

	{ "json", 0, WEIR_OPT_FLAG, AT(json), .group = "Output", .help = "JSON" },
	{ 0 },
};

#define MANY WEIR_STRV_MAX
#define MATCH                                                                            \
	" protocol src-ip dst-ip src-port dst-port interface direction local-ip local-port " \
	"remote-ip remote-port "
#define RULE                                                                               \
	MATCH "drop corrupt fix-checksum rate delay jitter truncate reset listen pid fd " \
	      "probability nth seed ttl force "

static const struct weir_fault_action actions[] = {
	{ "add", "NAME MATCH FAULT", RULE, 1, MANY, weir_fault_do_add },
	{ "del", "NAME...", " ", 1, MANY, weir_fault_do_del },
	{ "clear", "", " ", 0, 0, weir_fault_do_clear },
	{ "apply", "FILE", " force ", 1, 1, weir_fault_do_apply },
	{ "show", "", " ", 0, 0, weir_fault_do_show },
	{ "list", "", " json ", 0, 0, weir_fault_do_list },
};

int weir_fault_cmd_usage(struct weir_fault_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

void weir_fault_cmd_tell(const char *fmt, ...)
{
	struct weir_error line; /* for its care of control characters */
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	weir_fail(&line, 0, "%s", text);
	weir_verb_fail("fault", &line, 0);
}

/* Every default is zero, which no option can give. */
static bool is_given(const struct weir_fault_cmd *c, const struct weir_opt *o)
{
	const char *at = (const char *)c + o->offset;

	return o->kind == WEIR_OPT_FLAG ? *(const bool *)at :
					  *(const char *const *)(const void *)at != NULL;
}

static bool takes(const struct weir_fault_action *a, const char *name)
{
	char word[32];

	snprintf(word, sizeof(word), " %s ", name);
	return strstr(a->takes, word) != NULL;
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
	return weir_fail(err, -EINVAL, "unknown action \"%s\": \"weir help fault\" lists them",
			 word);
}

static int find_action(struct weir_fault_cmd *c, const struct weir_strv *words,
		       struct weir_error *err)
{
	if (!words->n)
		return weir_fail(err, -EINVAL, "no action given: \"weir help fault\" lists them");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].name, words->v[0]) == 0)
			c->action = &actions[i];
	if (!c->action)
		return unknown_action(words->v[0], err);
	c->words.n = words->n - 1;
	memcpy(c->words.v, words->v + 1, c->words.n * sizeof(c->words.v[0]));
	return 0;
}

/* Who takes it instead, as "add or apply". */
static void add_takers(const char *name, struct weir_buf *out)
{
	bool any = false;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++) {
		if (!takes(&actions[i], name))
			continue;
		weir_buf_addf(out, "%s%s", any ? " or " : "", actions[i].name);
		any = true;
	}
}

static int check(struct weir_fault_cmd *c, struct weir_error *err)
{
	const struct weir_fault_action *a = c->action;
	weir_autobuf struct weir_buf takers = { 0 };

	for (const struct weir_opt *o = options; o->name; o++) {
		if (!is_given(c, o) || takes(a, o->name))
			continue;
		add_takers(o->name, &takers);
		return weir_fail(err, -EINVAL, "--%s does not go with %s: it is for %s", o->name,
				 a->name, takers.failed ? "others" : takers.data);
	}
	if (c->words.n < a->min_words)
		return weir_fail(err, -EINVAL, "%s needs more words: weir fault %s %s", a->name,
				 a->name, a->words);
	if (c->words.n > a->max_words)
		return weir_fail(err, -EINVAL, "\"%s\" is one argument too many: leave it out",
				 c->words.v[a->max_words]);
	return 0;
}

static int run(int argc, char **argv)
{
	struct weir_fault_cmd c = { .status = WEIR_EXIT_FAILED };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	int ret;

	ret = weir_verb_parse(&weir_fault_verb, argc, argv, &c, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	ret = find_action(&c, &words, &err);
	if (!ret)
		ret = check(&c, &err);
	if (ret)
		return weir_verb_fail("fault", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("fault", &err, c.status) : ret;
}

static const char details[] =
	"Rules; the first that matches a packet has it, in the order in which they were given:\n"
	"  add NAME MATCH FAULT   put a rule in force; one of that name is replaced\n"
	"  add NAME --listen ADDR:PORT | --pid N --fd M --truncate N\n"
	"                         cut segments short at a running program's TCP socket\n"
	"  add NAME MATCH --reset end connections, once\n"
	"  del NAME...            take rules out\n"
	"  clear                  take all of them out\n"
	"All of them:\n"
	"  apply FILE       in place of those in force, whole or not at all; - is standard input\n"
	"  show             as a file that apply reads\n"
	"  list             rules with what they counted\n"
	"  status           the same as \"weir status fault\"\n"
	"\n"
	"A fault ends by itself, in the kernel: after 60 s, unless --ttl says otherwise. MATCH may\n"
	"also be an expression, see weir-match(7).";

const struct weir_verb weir_fault_verb = {
	.name = "fault",
	.group = "Control",
	.summary = "lose, spoil, slow down, cut short or reset chosen traffic, for a while",
	.synopsis = "ACTION [WORDS] [OPTIONS]",
	.options = options,
	.details = details,
	.complete = "words:add del clear apply show list status",
	.run = run,
	.status_more = weir_fault_status,
};
