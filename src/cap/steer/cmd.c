/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir steer`: from the words of the command line to an action. Which options an action
 * takes is data: one that it does not take is refused, never ignored.
 */
#include "cap/steer/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/action.h"
#include "base/cleanup.h"
#include "cap/steer/steer_cmd.h"
#include "dataplane/load.h"

#define AT(field) offsetof(struct weir_steer_cmd, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(rule.protocol), "LIST", .group = "MATCH",
	  .help = "tcp or udp (default: both)" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(rule.dst_ip), "LIST",
	  .help = "local address or prefix; commas separate alternatives" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(rule.dst_port), "LIST",
	  .help = "local port, range (8000-8999) or service name" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(rule.src_ip), "LIST", .help = "remote address or prefix" },
	/* Read to be refused by name: a look-up of sockets does not see them. */
	{ "src-port", 0, WEIR_OPT_STR, AT(rule.src_port), "LIST", .help = NULL },
	{ "interface", 'i', WEIR_OPT_STR, AT(rule.iface), "IFACE", .help = NULL },
	{ "direction", 'Q', WEIR_OPT_STR, AT(rule.direction), "DIR", .help = NULL },

	{ "to", 0, WEIR_OPT_STR, AT(rule.to), "SOCKET", .group = "A rule",
	  .help = "listen:ADDR:PORT, pid:N/fd:M or group:NAME" },
	{ "on-miss", 0, WEIR_OPT_STR, AT(rule.on_miss), "WHAT",
	  .help = "what becomes of it while the socket is gone: drop or pass (default: drop)",
	  .complete = "words:drop pass" },
	{ "ttl", 0, WEIR_OPT_STR, AT(rule.ttl), "TTL",
	  .help = "of a rule: how long it lasts (1h); of a PACKET: its TTL or hop limit" },

	{ "boot", 0, WEIR_OPT_FLAG, AT(boot), .group = "Output",
	  .help = "save: for weir-steer.service" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "list: as metrics, for a textfile collector" },

	WEIR_CRAFT_OPTIONS(AT(craft)),
	{ 0 },
};

#define MANY WEIR_STRV_MAX
#define PACKET " flags vlan ttl size icmp-type icmp-code pcap hex "
/* Of a rule, with those that are refused by name. */
#define MATCH " protocol dst-ip dst-port src-ip src-port interface direction "

static const struct weir_steer_action actions[] = {
	{ { "add", "NAME MATCH --to SOCKET", MATCH " to on-miss ttl ", 1, MANY },
	  weir_steer_do_add },
	{ { "del", "NAME...", " ", 1, MANY }, weir_steer_do_del },
	{ { "group", "NAME SOCKET...", " ", 2, MANY }, weir_steer_do_group },
	{ { "register", "NAME...", " ", 1, MANY }, weir_steer_do_register },
	{ { "off", "", " ", 0, 0 }, weir_steer_do_off },
	{ { "apply", "FILE", " ", 1, 1 }, weir_steer_do_apply },
	{ { "show", "", " ", 0, 0 }, weir_steer_do_show },
	{ { "save", "[FILE]", " boot ", 0, 1 }, weir_steer_do_save },
	{ { "list", "", " json prometheus ", 0, 0 }, weir_steer_do_list },
	{ { "test", "PACKET", " json " PACKET, 0, MANY }, weir_steer_do_test },
	{ { "who", "PORT", " json ", 1, 1 }, weir_steer_do_who },
};

int weir_steer_cmd_usage(struct weir_steer_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

void weir_steer_cmd_tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir_verb_tell("steer", fmt, ap);
	va_end(ap);
}

static void init(struct weir_steer_cmd *c)
{
	*c = (struct weir_steer_cmd){ .status = WEIR_EXIT_FAILED };
	weir_craft_opts_init(&c->craft);
}

static const struct weir_actions table = {
	.verb = &weir_steer_verb,
	.rows = actions,
	.n = WEIR_ARRAY_SIZE(actions),
	.stride = sizeof(actions[0]),
};

static int run(int argc, char **argv)
{
	struct weir_strv words = { 0 };
	struct weir_steer_cmd c, fresh;
	struct weir_error err = { "" };
	int ret;

	init(&c);
	ret = weir_verb_parse(&weir_steer_verb, argc, argv, &c, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	init(&fresh);
	ret = weir_action_choose(&table, &words, &c, &fresh, &c.words, &err);
	if (ret >= 0 && c.json && c.prometheus)
		ret = weir_fail(&err, -EINVAL, "--json and --prometheus: give one of both");
	if (ret < 0)
		return weir_verb_fail("steer", &err, WEIR_EXIT_USAGE);
	c.action = &actions[ret];
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("steer", &err, c.status) : ret;
}

static const char details[] =
	"Rules; the longest local prefix decides, then the narrowest port range, then the\n"
	"longest remote prefix:\n"
	"  add NAME MATCH   connections that match go to --to; a rule of that name is replaced\n"
	"  del NAME...      delete rules, or groups (group:NAME)\n"
	"  group NAME SOCKET...\n"
	"                   several sockets, one of which each connection goes to, by hash\n"
	"  register NAME... find a rule's sockets anew, once what listens has restarted\n"
	"  off              delete everything\n"
	"All of them:\n"
	"  apply FILE       in place of those in force, whole or not at all; - is standard input\n"
	"  show             as a file that apply reads\n"
	"  save [FILE]      write it (default: " WEIR_STEER_CONF ")\n"
	"What it does:\n"
	"  list             rules with what they counted\n"
	"  test PACKET      which socket would get it; exit status 4 when it is dropped\n"
	"  who PORT         the sockets on a port, and the rules that take connections to it\n"
	"  status           the same as \"weir status steer\"\n"
	"\n"
	"MATCH may also be an expression, see weir-match(7). PACKET is\n"
	"[tcp|udp] SRC[:PORT] ['->'] DST[:PORT], or --pcap, or --hex.";

const struct weir_verb weir_steer_verb = {
	.name = "steer",
	.group = "Forward",
	.summary = "give connections to any address and port to a socket",
	.synopsis = "ACTION [WORDS] [OPTIONS]",
	.options = options,
	.details = details,
	.complete = "words:add del group register off apply show save list test who status",
	.run = run,
	.explain = weir_steer_explain,
	.explain_from = WEIR_ROAD_LOOKUP,
};
