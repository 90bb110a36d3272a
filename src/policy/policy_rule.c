/* SPDX-License-Identifier: GPL-2.0-only */
/* A rule from its words, which are those of the command line. */
#include "policy/policy_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/opt.h"
#include "base/units.h"
#include "base/utf8.h"

/* Above this rate the time that one bit takes (struct weir_limit.cost) is a number too
 * small to be near enough to the truth. */
#define RATE_MAX 25000000000ULL
#define BURST_SECONDS_MAX 86400U
#define FRAME_BITS (1518U * 8)
#define TTL_MIN (WEIR_NSEC_PER_SEC / 1000)
#define TTL_MAX (3650ULL * 86400 * WEIR_NSEC_PER_SEC)
#define LEN4_MAX 32U
#define LEN6_MAX 64U

const char *const weir_policy_actions[] = {
	[WEIR_POLICY_ALLOW] = "allow",
	[WEIR_POLICY_DENY] = "deny",
	[WEIR_POLICY_LIMIT] = "limit",
};

const char *const weir_policy_directions[] = {
	[WEIR_DIRECTION_INOUT] = "inout",
	[WEIR_DIRECTION_IN] = "in",
	[WEIR_DIRECTION_OUT] = "out",
	NULL,
};

struct rule_words {
	struct weir_match_spec spec;
	const char *iface, *direction;
	const char *rate, *burst, *per;
	const char *name, *ttl, *note;
	const char *owner, *until; /* of the kernel's text */
	struct weir_buf expression;
};

#define AT(field) .offset = offsetof(struct rule_words, field)
/* Words, not numbers or choices: what is given twice is an error then. */
#define WORD WEIR_OPT_STR

#define KERNEL_OPTIONS 2 /* of the kernel's text only */
static const struct weir_opt options[] = {
	{ "owner", 0, WORD, AT(owner), "OWNER", .help = "" },
	{ "until", 0, WORD, AT(until), "NS", .help = "" },

	{ "protocol", 0, WORD, AT(spec.protocol), "LIST", .help = "" },
	{ "src-ip", 0, WORD, AT(spec.src_ip), "LIST", .help = "" },
	{ "dst-ip", 0, WORD, AT(spec.dst_ip), "LIST", .help = "" },
	{ "src-port", 0, WORD, AT(spec.src_port), "LIST", .help = "" },
	{ "dst-port", 0, WORD, AT(spec.dst_port), "LIST", .help = "" },
	{ "interface", 'i', WORD, AT(iface), "IFACE", .help = "" },
	{ "direction", 'Q', WORD, AT(direction), "in|out|inout", .help = "" },
	{ "rate", 0, WORD, AT(rate), "RATE", .help = "" },
	{ "burst", 0, WORD, AT(burst), "N", .help = "" },
	{ "per", 0, WORD, AT(per), "source|source/LENGTH|rule", .help = "" },
	{ "name", 0, WORD, AT(name), "NAME", .help = "" },
	{ "ttl", 0, WORD, AT(ttl), "TIME", .help = "" },
	{ "note", 0, WORD, AT(note), "TEXT", .help = "" },
	{ 0 },
};

/* ---- Values */

static int set_place(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	size_t dir = 0;

	if (o->iface && !weir_policy_is_iface_name(o->iface))
		return weir_fail(err, -EINVAL,
				 "-i \"%s\": cannot be the name of an interface: give one of up "
				 "to %zu characters",
				 o->iface, sizeof(r->iface) - 1);
	snprintf(r->iface, sizeof(r->iface), "%s", o->iface ? o->iface : "");
	while (o->direction && weir_policy_directions[dir] &&
	       strcmp(o->direction, weir_policy_directions[dir]) != 0)
		dir++;
	if (!weir_policy_directions[dir])
		return weir_fail(err, -EINVAL, "-Q \"%s\": not a direction: give in, out or inout",
				 o->direction);
	r->dir = (enum weir_policy_dir)dir;
	return 0;
}

static int set_rate(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	int ret = weir_parse_rate(o->rate, &r->rate, &r->bits);

	if (ret == -EINVAL)
		return weir_fail(err, ret,
				 "--rate \"%s\": not a rate: give packets such as 1000/s, or bits "
				 "such as 10mbit",
				 o->rate);
	if (ret || !r->rate || r->rate > RATE_MAX)
		return weir_fail(
			err, -EINVAL,
			"--rate \"%s\": out of range: give a whole number a second, from 1 "
			"to %llu (25gbit)",
			o->rate, RATE_MAX);
	return 0;
}

uint64_t weir_policy_default_burst(uint64_t rate, bool bits)
{
	const uint64_t least = bits ? FRAME_BITS : 1;

	return rate / 10 > least ? rate / 10 : least;
}

/* The units of bits are those of the rate, whose "bit" may be left out. */
static int parse_burst(const char *s, bool bits, uint64_t *ret)
{
	const size_t n = strlen(s);
	const bool unit = n >= 3 && !strcasecmp(s + n - 3, "bit");
	char text[40];
	bool ignored;

	if (!bits)
		return weir_parse_u64(s, 0, UINT64_MAX, ret);
	if (n > sizeof(text) - sizeof("bit"))
		return -EINVAL;
	snprintf(text, sizeof(text), "%s%s", s, unit ? "" : "bit");
	return weir_parse_rate(text, ret, &ignored);
}

static int set_burst(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	const uint64_t most = r->rate * BURST_SECONDS_MAX, least = r->bits ? FRAME_BITS : 1;
	int ret = 0;

	r->burst = weir_policy_default_burst(r->rate, r->bits);
	if (!o->burst)
		return 0;
	ret = parse_burst(o->burst, r->bits, &r->burst);
	if (ret == -EINVAL && r->bits)
		return weir_fail(
			err, ret,
			"--burst \"%s\": not a number of bits: give one such as 64k or 1m, "
			"since the rate is in bits",
			o->burst);
	if (ret == -EINVAL)
		return weir_fail(err, ret,
				 "--burst \"%s\": not a number of packets: give one such as 200",
				 o->burst);
	if (!ret && r->burst < least && r->bits)
		return weir_fail(err, -EINVAL,
				 "--burst \"%s\": less than one frame of 1518 bytes, which would "
				 "never pass: give at least %u",
				 o->burst, FRAME_BITS);
	if (ret || r->burst < least || r->burst > most)
		return weir_fail(err, -EINVAL,
				 "--burst \"%s\": out of range: give from %" PRIu64 " to %" PRIu64
				 ", a day of the rate",
				 o->burst, least, most);
	return 0;
}

static int set_per(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	const char *len = o->per && !strncmp(o->per, "source/", 7) ? o->per + 7 : NULL;
	uint64_t v = LEN4_MAX;

	r->per = WEIR_PER_RULE;
	if (!o->per || !strcmp(o->per, "rule"))
		return 0;
	if (!len && strcmp(o->per, "source") != 0)
		return weir_fail(err, -EINVAL,
				 "--per \"%s\": not known: give rule, source or source/LENGTH",
				 o->per);
	if (len && weir_parse_u64(len, 0, LEN4_MAX, &v))
		return weir_fail(err, -EINVAL,
				 "--per \"%s\": not a prefix length: give source/0 to source/%u, "
				 "which is twice as long for IPv6",
				 o->per, LEN4_MAX);
	r->per = WEIR_PER_SOURCE;
	r->len4 = (uint8_t)v;
	r->len6 = (uint8_t)(2 * v);
	return 0;
}

static int set_limit(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	const char *word = o->rate ? "--rate" : o->burst ? "--burst" : o->per ? "--per" : NULL;
	int ret;

	if (r->action != WEIR_POLICY_LIMIT && word)
		return weir_fail(err, -EINVAL,
				 "%s belongs to limit, not to %s: leave it out, or write limit",
				 word, weir_policy_actions[(int)r->action]);
	if (r->action != WEIR_POLICY_LIMIT)
		return 0;
	if (!o->rate)
		return weir_fail(err, -EINVAL,
				 "a limit without a rate: give --rate 1000/s or --rate 10mbit");
	ret = set_rate(o, r, err);
	if (!ret)
		ret = set_burst(o, r, err);
	return ret ? ret : set_per(o, r, err);
}

static int set_ttl(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	int ret = o->ttl ? weir_parse_duration(o->ttl, &r->ttl) : 0;

	if (ret == -EINVAL)
		return weir_fail(err, ret,
				 "--ttl \"%s\": not a duration: give one such as 10s, 5m, 1h or 2d",
				 o->ttl);
	if (ret || (o->ttl && (r->ttl < TTL_MIN || r->ttl > TTL_MAX)))
		return weir_fail(err, -EINVAL, "--ttl \"%s\": out of range: give from 1ms to 3650d",
				 o->ttl);
	if (o->until && weir_parse_u64(o->until, 1, UINT64_MAX, &r->expires))
		return weir_fail(err, -EINVAL, "--until \"%s\": not a time: give nanoseconds",
				 o->until);
	return 0;
}

/* One line of text, since lists and messages show it. */
static bool is_text(const char *s)
{
	size_t left = strlen(s);

	while (left) {
		const size_t n = weir_utf8_len((const unsigned char *)s, left);

		if (!n || (unsigned char)*s < ' ' || *s == 0x7f)
			return false;
		s += n;
		left -= n;
	}
	return true;
}

static int set_note(const struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	if (!o->note)
		return 0;
	if (strlen(o->note) >= sizeof(r->note))
		return weir_fail(err, -EINVAL,
				 "--note \"%.20s...\": longer than %zu bytes: shorten it", o->note,
				 sizeof(r->note) - 1);
	if (!is_text(o->note))
		return weir_fail(
			err, -EINVAL,
			"--note \"%s\": not one line of UTF-8: leave control characters out",
			o->note);
	snprintf(r->note, sizeof(r->note), "%s", o->note);
	return 0;
}

/* ---- Match */

static int set_match(struct rule_words *o, struct weir_policy_rule *r, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int ret;

	o->spec.named_sets = true;
	o->spec.expression = o->expression.data;
	if (o->expression.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	ret = weir_match_parse(&o->spec, &r->match, err);
	if (ret)
		return ret;
	weir_match_print(r->match, &text);
	/* A policy is stored as text, hence has to be read again. */
	if (text.len > WEIR_MATCH_TEXT_MAX)
		return weir_fail(err, -E2BIG,
				 "the match is longer than %d characters written in full: put the "
				 "addresses into a set",
				 WEIR_MATCH_TEXT_MAX);
	return text.failed ? weir_fail(err, -ENOMEM, "out of memory: free some and try again") : 0;
}

int weir_policy_rule_copy(const struct weir_policy_rule *r, struct weir_policy_rule *ret)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_match_spec spec = { .named_sets = true };
	struct weir_match *m = NULL;
	int err;

	weir_match_print(r->match, &text);
	spec.expression = text.data;
	err = text.failed ? -ENOMEM : weir_match_parse(&spec, &m, NULL);
	if (err)
		return err;
	*ret = *r;
	ret->match = m;
	return 0;
}

/* ---- Name */

void weir_policy_rule_make_name(const struct weir_policy_rule *r, char ret[WEIR_RULE_NAME_MAX])
{
	weir_autobuf struct weir_buf words = { 0 };
	struct weir_policy_rule plain = *r;
	uint32_t h;

	/* How long it lasts and what is told about it make no other rule of it. */
	plain.ttl = plain.expires = 0;
	plain.note[0] = '\0';
	weir_policy_print_rule(&plain, 0, &words);
	h = weir_policy_hash(words.data, words.len);
	snprintf(ret, WEIR_RULE_NAME_MAX, "%s-%08x", weir_policy_actions[(int)r->action], h);
}

static int set_name(const struct rule_words *o, const char *front, struct weir_policy_rule *r,
		    struct weir_error *err)
{
	const char *name = front ? front : o->name;

	if (front && o->name)
		return weir_fail(err, -EINVAL,
				 "--name \"%s\": the rule is called %s already: leave one out",
				 o->name, front);
	if (name && weir_policy_check_rule_name(name, err))
		return -EINVAL;
	if (o->owner && !weir_policy_is_rule_name(o->owner))
		return weir_fail(err, -EINVAL, "--owner \"%s\": not an owner: give filter or proxy",
				 o->owner);
	snprintf(r->owner, sizeof(r->owner), "%s", o->owner ? o->owner : WEIR_POLICY_OWNER);
	if (name)
		snprintf(r->name, sizeof(r->name), "%s", name);
	else
		weir_policy_rule_make_name(r, r->name);
	r->named = name;
	return 0;
}

/* ---- The words */

static int set_action(const char *word, struct weir_policy_rule *r, struct weir_error *err)
{
	for (int i = WEIR_POLICY_ALLOW; i <= WEIR_POLICY_LIMIT; i++) {
		if (word && !strcmp(word, weir_policy_actions[i])) {
			r->action = (char)i;
			return 0;
		}
	}
	return weir_fail(err, -EINVAL, "\"%s\": not a rule: begin with allow, deny or limit",
			 word ? word : "");
}

static int sort_words(int argc, const char *const *argv, unsigned int flags, struct rule_words *o,
		      struct weir_error *err)
{
	const struct weir_opt *table = flags & WEIR_POLICY_KERNEL ? options :
								    options + KERNEL_OPTIONS;
	weir_autofree struct weir_strv *rest = calloc(1, sizeof(*rest));
	weir_autofree char **words = calloc((size_t)argc, sizeof(*words));
	int ret;

	if (!rest || !words)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	words[0] = (char *)"filter"; /* whose help the messages name */
	for (int i = 1; i < argc; i++)
		words[i] = (char *)argv[i];
	ret = weir_opt_parse(table, argc, words, o, rest, err);
	for (unsigned int i = 0; !ret && i < rest->n; i++) {
		if (i)
			weir_buf_addc(&o->expression, ' ');
		weir_buf_adds(&o->expression, rest->v[i]);
	}
	return ret;
}

int weir_policy_rule_words(int argc, const char *const *argv, const char *name, unsigned int flags,
			   struct weir_policy_rule *ret, struct weir_error *err)
{
	struct weir_policy_rule r = { 0 };
	struct rule_words o = { 0 };
	int code = set_action(argc > 0 ? argv[0] : NULL, &r, err);

	if (!code)
		code = sort_words(argc, argv, flags, &o, err);
	if (!code)
		code = set_place(&o, &r, err);
	if (!code)
		code = set_limit(&o, &r, err);
	if (!code)
		code = set_ttl(&o, &r, err);
	if (!code)
		code = set_note(&o, &r, err);
	if (!code)
		code = set_match(&o, &r, err);
	if (!code)
		code = set_name(&o, name, &r, err);
	weir_buf_free(&o.expression);
	if (code)
		weir_policy_rule_free(&r);
	else
		*ret = r;
	return code;
}

int weir_policy_parse_rule(int argc, const char *const *argv, struct weir_policy_rule *ret,
			   struct weir_error *err)
{
	return weir_policy_rule_words(argc, argv, NULL, 0, ret, err);
}
