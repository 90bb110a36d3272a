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

#include "base/action.h"
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
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "metrics for node_exporter's textfile collector" },
	{ 0 },
};

#define MANY WEIR_STRV_MAX
#define MATCH                                                                                \
	" protocol src-ip dst-ip src-port dst-port interface direction local-ip local-port " \
	"remote-ip remote-port "
#define RULE                                                                              \
	MATCH "drop corrupt fix-checksum rate delay jitter truncate reset listen pid fd " \
	      "probability nth seed ttl force "

static const struct weir_fault_action actions[] = {
	{ { "add", "NAME MATCH FAULT", RULE, 1, MANY }, weir_fault_do_add },
	{ { "del", "NAME...", " ", 1, MANY }, weir_fault_do_del },
	{ { "clear", "", " ", 0, 0 }, weir_fault_do_clear },
	{ { "apply", "FILE", " force ", 1, 1 }, weir_fault_do_apply },
	{ { "show", "", " ", 0, 0 }, weir_fault_do_show },
	{ { "save", "FILE", " ", 1, 1 }, weir_fault_do_save },
	{ { "list", "", " json prometheus ", 0, 0 }, weir_fault_do_list },
};

int weir_fault_cmd_usage(struct weir_fault_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

void weir_fault_cmd_tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir_verb_tell("fault", fmt, ap);
	va_end(ap);
}

static const struct weir_actions table = {
	.verb = &weir_fault_verb,
	.rows = actions,
	.n = WEIR_ARRAY_SIZE(actions),
	.stride = sizeof(actions[0]),
};

static int run(int argc, char **argv)
{
	static const struct weir_fault_cmd fresh = { .status = WEIR_EXIT_FAILED };
	struct weir_fault_cmd c = fresh;
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	int ret;

	ret = weir_verb_parse(&weir_fault_verb, argc, argv, &c, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	ret = weir_action_choose(&table, &words, &c, &fresh, &c.words, &err);
	if (ret >= 0 && c.json && c.prometheus)
		ret = weir_fail(&err, -EINVAL, "--json and --prometheus: give one of both");
	if (ret < 0)
		return weir_verb_fail("fault", &err, WEIR_EXIT_USAGE);
	c.action = &actions[ret];
	weir_load_setup();
	ret = c.action->run(&c, &err);
	if (ret == -ENODEV) /* as wherever an interface is named that is not there */
		c.status = WEIR_EXIT_USAGE;
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
	"  save FILE        write that file, with the time that is left to each\n"
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
	.complete = "words:add del clear apply show save list status",
	.run = run,
	.status_more = weir_fault_status,
	.explain = weir_fault_explain,
	.explain_from = WEIR_ROAD_TC,
};
