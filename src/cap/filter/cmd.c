/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir filter`: from the words of the command line to an action. Which options
 * an action takes is data: one that it does not take is refused, never ignored.
 */
#include "cap/filter/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/action.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"
#include "dataplane/load.h"

#define CONFIRM_MAX (86400 * WEIR_NSEC_PER_SEC)

static const char *const modes[] = { "auto", "native", "generic", NULL };
const char *const weir_filter_defaults[] = { "pass", "drop", NULL };
static const char *const fragments[] = { "follow", "pass", "drop", NULL };
static const char *const malformed[] = { "drop", "pass", NULL };
const char *const weir_filter_directions[] = { "in", "out", "inout", NULL };

#define AT(field) offsetof(struct weir_filter_cmd, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(protocol), "LIST", .group = "MATCH",
	  .help = "tcp, udp, icmp, icmpv6, arp, sctp, ip, ip6, ..., a number, or all" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(src_ip), "LIST",
	  .help = "source address, prefix or @SET; commas separate alternatives" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(dst_ip), "LIST", .help = "destination likewise" },
	{ "src-port", 0, WEIR_OPT_STR, AT(src_port), "LIST",
	  .help = "source port, range (8000-8999) or service name" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(dst_port), "LIST", .help = "destination likewise" },
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE",
	  .help = "only packets of this interface (default: of every one that is filtered)",
	  .complete = "iface" },
	{ "direction", 'Q', WEIR_OPT_CHOICE, AT(direction), "DIR", weir_filter_directions,
	  .help = "packets coming in, going out, or both (a rule's default: both; else in)" },

	{ "name", 0, WEIR_OPT_STR, AT(name), "NAME", .group = "A rule",
	  .help = "how the rule is called (default: a name made from its words)" },
	{ "before", 0, WEIR_OPT_STR, AT(before), "NAME",
	  .help = "put it before this rule (default: at the end)" },
	{ "ttl", 0, WEIR_OPT_STR, AT(ttl), "TTL",
	  .help = "of a rule: how long it lasts (1h); of a PACKET: its TTL or hop limit" },
	{ "note", 0, WEIR_OPT_STR, AT(note), "TEXT", .help = "a remark that is kept with it" },
	{ "rate", 0, WEIR_OPT_STR, AT(rate), "RATE",
	  .help = "limit: packets (1000/s, 60/m) or bits (10mbit) that may pass" },
	{ "burst", 0, WEIR_OPT_STR, AT(burst), "N",
	  .help = "limit: packets or bits at once (default: a tenth of a second's worth)" },
	{ "per", 0, WEIR_OPT_STR, AT(per), "WHAT",
	  .help = "limit: for the whole rule, or for each source address or prefix "
		  "(default: rule)",
	  .complete = "words:rule source source/24" },

	{ "mode", 0, WEIR_OPT_CHOICE, AT(mode), "MODE", modes, .group = "An interface",
	  .help = "on, at XDP: in the driver or behind it (default: auto)" },
	{ "default", 0, WEIR_OPT_CHOICE, AT(preset), "WHAT", weir_filter_defaults,
	  .help = "on: what becomes of packets that no rule decides (default: pass)" },
	{ "hook", 0, WEIR_OPT_CHOICE, AT(hook), "HOOK", weir_policy_hook_names,
	  .help = "on: where in the kernel (default: xdp; going out: tc)" },
	{ "fragments", 0, WEIR_OPT_CHOICE, AT(fragments), "WHAT", fragments,
	  .help = "on: what becomes of later fragments (default: follow their first one)" },
	{ "malformed", 0, WEIR_OPT_CHOICE, AT(malformed), "WHAT", malformed,
	  .help = "on: what becomes of packets that cannot be read to their end "
		  "(default: drop)" },

	{ "confirm", 0, WEIR_OPT_STR, AT(confirm), "TIME", .group = "A change",
	  .help = "go back unless \"weir filter confirm\" comes within so many seconds (or 5m)" },
	{ "force", 0, WEIR_OPT_FLAG, AT(force),
	  .help = "warn instead of refusing what would cut an open ssh session" },
	{ "boot", 0, WEIR_OPT_FLAG, AT(boot),
	  .help = "save: for weir-filter.service, sets included" },

	{ "json", 0, WEIR_OPT_FLAG, AT(json), .group = "Output", .help = "JSON" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "list: as metrics, for a textfile collector" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once), .help = "drops: one picture" },
	{ "for", 0, WEIR_OPT_DURATION, AT(for_ns), "TIME", .min = 1,
	  .help = "drops: stop after so long (10s, 5m)" },

	WEIR_CRAFT_OPTIONS(AT(craft)),
	{ 0 },
};

#define PLACE " interface direction "
#define RULE " protocol src-ip dst-ip src-port dst-port interface direction name ttl note "
#define CHANGE " confirm force "
#define MANY WEIR_STRV_MAX

static const struct weir_filter_action actions[] = {
	{ { "on", "IFACE...", " direction mode default hook fragments malformed " CHANGE, 1, MANY },
	  weir_filter_do_on },
	{ { "off", "[IFACE...]", " confirm ", 0, MANY }, weir_filter_do_off },
	{ { "allow", "MATCH...", RULE " before " CHANGE, 0, MANY }, weir_filter_do_rule },
	{ { "deny", "MATCH...", RULE " before " CHANGE, 0, MANY }, weir_filter_do_rule },
	{ { "limit", "MATCH... --rate RATE", RULE " before rate burst per " CHANGE, 0, MANY },
	  weir_filter_do_rule },
	{ { "del", "NAME...", CHANGE, 1, MANY }, weir_filter_do_del },
	{ { "set", "NAME load FILE | add PREFIX... | del PREFIX... | list | unload, or set list",
	    " json " CHANGE, 1, MANY },
	  weir_filter_do_set },
	{ { "apply", "FILE", CHANGE, 1, 1 }, weir_filter_do_apply },
	{ { "confirm", "", " ", 0, 0 }, weir_filter_do_confirm },
	{ { "show", "", " ", 0, 0 }, weir_filter_do_show },
	{ { "diff", "FILE", " ", 1, 1 }, weir_filter_do_diff },
	{ { "save", "[FILE]", " boot ", 0, 1 }, weir_filter_do_save },
	{ { "list", "", " json prometheus ", 0, 0 }, weir_filter_do_list },
	{ { "drops", "", " json once for ", 0, 0 }, weir_filter_do_drops },
	{ { "test", "PACKET", PLACE " ttl json flags vlan size icmp-type icmp-code pcap hex ", 0,
	    MANY },
	  weir_filter_do_test },
	{ { "reattach", "", " ", 0, 0 }, weir_filter_do_reattach },
};

int weir_filter_cmd_usage(struct weir_filter_cmd *c, int code)
{
	c->status = WEIR_EXIT_USAGE;
	return code;
}

void weir_filter_cmd_tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weir_verb_tell("filter", fmt, ap);
	va_end(ap);
}

static void init(struct weir_filter_cmd *c)
{
	*c = (struct weir_filter_cmd){ .direction = -1,
				       .mode = -1,
				       .preset = -1,
				       .hook = -1,
				       .fragments = -1,
				       .malformed = -1,
				       .status = WEIR_EXIT_FAILED };
	weir_craft_opts_init(&c->craft);
}

/* Seconds, as people say it, or a duration. */
static int parse_confirm(struct weir_filter_cmd *c, struct weir_error *err)
{
	uint64_t v;

	if (!c->confirm)
		return 0;
	if (!weir_parse_u64(c->confirm, 1, CONFIRM_MAX / WEIR_NSEC_PER_SEC, &v)) {
		c->confirm_ns = v * WEIR_NSEC_PER_SEC;
		return 0;
	}
	if (weir_parse_duration(c->confirm, &v) || v < WEIR_NSEC_PER_SEC || v > CONFIRM_MAX)
		return weir_fail(err, -EINVAL,
				 "--confirm \"%s\": give seconds, or a time such as 5m, up to 24h",
				 c->confirm);
	c->confirm_ns = v;
	return 0;
}

static const struct weir_actions table = {
	.verb = &weir_filter_verb,
	.rows = actions,
	.n = WEIR_ARRAY_SIZE(actions),
	.stride = sizeof(actions[0]),
};

static int prepare(struct weir_filter_cmd *c, const struct weir_strv *words, struct weir_error *err)
{
	struct weir_filter_cmd fresh;
	int ret;

	init(&fresh);
	ret = weir_action_choose(&table, words, c, &fresh, &c->words, err);
	if (ret < 0)
		return ret;
	c->action = &actions[ret];
	if (c->json && c->prometheus)
		return weir_fail(err, -EINVAL, "--json and --prometheus: give one of both");
	return parse_confirm(c, err);
}

/* "--name=value", which no value can be mistaken in. */
static void add_option(const struct weir_opt *o, const struct weir_filter_cmd *c,
		       struct weir_buf *text)
{
	const char *at = (const char *)c + o->offset;

	weir_buf_addf(text, "--%s=%s", o->name,
		      o->kind == WEIR_OPT_CHOICE ? o->choices[*(const int *)at] :
						   *(const char *const *)at);
	weir_buf_addc(text, '\0');
}

int weir_filter_cmd_rule_words(const struct weir_filter_cmd *c, struct weir_strv *ret,
			       struct weir_buf *text)
{
	static const struct weir_action rule = { .takes = RULE " rate burst per " };
	struct weir_filter_cmd fresh;
	unsigned int n = 0;
	const char *at;

	init(&fresh);
	for (const struct weir_opt *o = options; o->name; o++) {
		if (!weir_action_takes(&rule, o->name) || !weir_action_given(o, c, &fresh))
			continue;
		add_option(o, c, text);
		n++;
	}
	if (text->failed || 2 + n + c->words.n > WEIR_STRV_MAX)
		return text->failed ? -ENOMEM : -E2BIG;
	ret->n = 0;
	ret->v[ret->n++] = c->action->a.name;
	at = text->data;
	for (unsigned int i = 0; i < n; i++, at += strlen(at) + 1)
		ret->v[ret->n++] = at;
	ret->v[ret->n++] = "--";
	for (unsigned int i = 0; i < c->words.n; i++)
		ret->v[ret->n++] = c->words.v[i];
	return 0;
}

static int run(int argc, char **argv)
{
	struct weir_strv words = { 0 };
	struct weir_filter_cmd c;
	struct weir_error err = { "" };
	int ret;

	init(&c);
	ret = weir_verb_parse(&weir_filter_verb, argc, argv, &c, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	ret = prepare(&c, &words, &err);
	if (ret)
		return weir_verb_fail("filter", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	ret = c.action->run(&c, &err);
	return ret < 0 ? weir_verb_fail("filter", &err, c.status) : ret;
}

static const char details[] =
	"Interfaces:\n"
	"  on IFACE...      filter it; on one that is filtered: change what is given\n"
	"  off [IFACE...]   no longer (default: any); the interface's own rules go too\n"
	"Rules, tried in order; the first allow or deny decides:\n"
	"  allow MATCH...   it passes\n"
	"  deny MATCH...    it is dropped; -i turns the filter on where it is not\n"
	"  limit MATCH...   what exceeds --rate is dropped, the rest goes on\n"
	"  del NAME...      delete rules\n"
	"Sets of prefixes, @NAME in a rule:\n"
	"  set NAME load FILE | add PREFIX... | del PREFIX... | list | unload\n"
	"  set list\n"
	"The whole policy:\n"
	"  apply FILE       in its place, whole or not at all; - is standard input\n"
	"  confirm          keep what --confirm made\n"
	"  show             as a file that apply reads\n"
	"  diff FILE        exit status 4 when it is different\n"
	"  save [FILE]      write it (default: " WEIR_FILTER_CONF ")\n"
	"  reattach         put it on interfaces that have come back\n"
	"What it does:\n"
	"  list             interfaces and rules with what they counted\n"
	"  drops            by reason and by rule, live\n"
	"  test PACKET      the verdict, without sending it; exit status 4 when dropped\n"
	"  status           the same as \"weir status filter\"\n"
	"\n"
	"MATCH may also be an expression, see weir-match(7), with @NAME for a set. PACKET is\n"
	"[tcp|udp|icmp|icmp6|NUMBER] SRC[:PORT] ['->'] DST[:PORT], or --pcap, or --hex.";

const struct weir_verb weir_filter_verb = {
	.name = "filter",
	.group = "Control",
	.summary = "drop what must not enter, without locking anyone out",
	.synopsis = "ACTION [WORDS] [OPTIONS]",
	.options = options,
	.details = details,
	.complete = "words:on off allow deny limit del set apply confirm show diff save list drops "
		    "test reattach status",
	.run = run,
	.explain = weir_filter_explain,
	.explain_from = WEIR_ROAD_XDP,
};
