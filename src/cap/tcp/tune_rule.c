/* SPDX-License-Identifier: GPL-2.0-only */
/* One rule: from its words, and into words. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/tcp/tune_conf.h"
#include "policy/rule_text.h"

const struct weir_tune_info weir_tune_info[] = {
#define ROW(opt, name, kind, level, number, when, min, max) \
	[WEIR_TUNE_##opt] = { name, WEIR_TUNE_##kind, min, max },
	WEIR_TUNE_LIST(ROW)
#undef ROW
};

/* The words of MATCH, as they are written and read back. The expression is the last. */
static const struct {
	const char *name;
	size_t at;
} match_words[WEIR_TUNE_MATCH_WORDS] = {
	{ "--protocol ", offsetof(struct weir_conn_spec, match.protocol) },
	{ "--src-ip ", offsetof(struct weir_conn_spec, match.src_ip) },
	{ "--src-port ", offsetof(struct weir_conn_spec, match.src_port) },
	{ "--dst-ip ", offsetof(struct weir_conn_spec, match.dst_ip) },
	{ "--dst-port ", offsetof(struct weir_conn_spec, match.dst_port) },
	{ "--local-ip ", offsetof(struct weir_conn_spec, local_ip) },
	{ "--local-port ", offsetof(struct weir_conn_spec, local_port) },
	{ "--remote-ip ", offsetof(struct weir_conn_spec, remote_ip) },
	{ "--remote-port ", offsetof(struct weir_conn_spec, remote_port) },
	{ "", offsetof(struct weir_conn_spec, match.expression) },
};
#define EXPRESSION (WEIR_TUNE_MATCH_WORDS - 1)

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

void weir_tune_spec_free(struct weir_tune_spec *r)
{
	for (size_t i = 0; i < WEIR_TUNE_MATCH_WORDS; i++)
		free(r->words[i]);
	weir_match_free(r->match);
	*r = (struct weir_tune_spec){ 0 };
}

/* ---- The match */

static int set_match(const struct weir_tune_words *w, struct weir_tune_spec *r,
		     struct weir_error *err)
{
	int ret = weir_conn_match_parse_tcp(&w->match, &r->match, err);

	for (size_t i = 0; !ret && i < WEIR_TUNE_MATCH_WORDS; i++) {
		const char *word =
			*(const char *const *)((const char *)&w->match + match_words[i].at);

		if (!word || !word[strspn(word, " \t\n")])
			continue;
		r->words[i] = strdup(word);
		ret = r->words[i] ? 0 : oom(err);
	}
	return ret;
}

/* ---- What it sets */

/* How a kind of value is asked for, what is behind a number, and of times how long that is. */
static const struct {
	const char *form, *unit;
	uint64_t ns;
} kinds[] = {
	[WEIR_TUNE_SIZE] = { "a size such as 64k", "", 0 },
	[WEIR_TUNE_COUNT] = { "a number", "", 0 },
	[WEIR_TUNE_US] = { "a time such as 20ms", "us", 1000 },
	[WEIR_TUNE_MS] = { "a time such as 30s", "ms", 1000000 },
	[WEIR_TUNE_S] = { "a time such as 60s", "s", 1000000000 },
	[WEIR_TUNE_SWITCH] = { "on or off", "", 0 },
	[WEIR_TUNE_WORD] = { "a name of up to 15 letters, digits, _, - and .", "", 0 },
};

static int bad_value(const struct weir_tune_info *o, const char *word, struct weir_error *err)
{
	if (o->kind == WEIR_TUNE_SWITCH || o->kind == WEIR_TUNE_WORD)
		return weir_fail(err, -EINVAL, "--%s \"%s\": give %s", o->name, word,
				 kinds[o->kind].form);
	return weir_fail(err, -EINVAL, "--%s \"%s\": give %s, from %u%s to %u%s", o->name, word,
			 kinds[o->kind].form, o->min, kinds[o->kind].unit, o->max,
			 kinds[o->kind].unit);
}

static int parse_value(const struct weir_tune_info *o, const char *word, uint64_t *ret)
{
	int code;

	switch (o->kind) {
	case WEIR_TUNE_SIZE:
		return weir_parse_size(word, ret);
	case WEIR_TUNE_COUNT:
		return weir_parse_u64(word, o->min, o->max, ret);
	case WEIR_TUNE_SWITCH:
		*ret = !strcmp(word, "on");
		return *ret || !strcmp(word, "off") ? 0 : -EINVAL;
	case WEIR_TUNE_US:
	case WEIR_TUNE_MS:
	case WEIR_TUNE_S:
		code = weir_parse_duration(word, ret);
		if (code || *ret % kinds[o->kind].ns)
			return -EINVAL;
		*ret /= kinds[o->kind].ns;
		return 0;
	case WEIR_TUNE_WORD:
		break;
	}
	return -EINVAL;
}

static bool is_congestion_name(const char *s)
{
	size_t n = strlen(s);

	return n && n < WEIR_TUNE_CA_MAX &&
	       n == strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
}

static int set_values(const struct weir_tune_words *w, struct weir_tune_spec *r,
		      struct weir_error *err)
{
	for (uint32_t i = 0; i < WEIR_TUNE_OPTS; i++) {
		const struct weir_tune_info *o = &weir_tune_info[i];
		uint64_t v = 0;

		if (!w->set[i])
			continue;
		if (o->kind == WEIR_TUNE_WORD) {
			if (!is_congestion_name(w->set[i]))
				return bad_value(o, w->set[i], err);
			snprintf(r->set.congestion, sizeof(r->set.congestion), "%s", w->set[i]);
		} else if (parse_value(o, w->set[i], &v) || v < o->min || v > o->max) {
			return bad_value(o, w->set[i], err);
		}
		r->set.value[i] = (int32_t)v;
		r->set.mask |= 1U << i;
	}
	if (!r->set.mask)
		return weir_fail(err, -EINVAL,
				 "nothing to set: give an option such as --congestion or --rcvbuf");
	return 0;
}

/* ---- The rest */

static int set_place(const struct weir_tune_words *w, struct weir_tune_spec *r,
		     struct weir_error *err)
{
	uint64_t id = 0;

	if (w->cgroup && (*w->cgroup != '/' || strlen(w->cgroup) >= sizeof(r->cgroup)))
		return weir_fail(
			err, -EINVAL,
			"--cgroup \"%s\": give the whole path of a directory of cgroup v2, "
			"below %d bytes",
			w->cgroup, WEIR_CGROUP_PATH_MAX);
	if (w->cgroup)
		snprintf(r->cgroup, sizeof(r->cgroup), "%s", w->cgroup);
	if (w->id && weir_parse_u64(w->id, 1, WEIR_RULES_MAX, &id))
		return weir_fail(err, -EINVAL, "--id \"%s\": not a number", w->id);
	r->set.id = (uint32_t)id;
	r->all_netns = w->all_netns;
	return 0;
}

static int set_name(const char *name, struct weir_tune_spec *r, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	r->named = name;
	if (!name)
		weir_tune_print_rule(r, 0, &text);
	return weir_rule_text_set_name(name, "tune", &text, r->name, err);
}

int weir_tune_spec_make(const struct weir_tune_words *w, const char *name,
			struct weir_tune_spec *ret, struct weir_error *err)
{
	struct weir_tune_spec r = { 0 };
	int code = set_match(w, &r, err);

	if (!code)
		code = set_values(w, &r, err);
	if (!code)
		code = set_place(w, &r, err);
	if (!code)
		code = set_name(name, &r, err);
	if (code)
		weir_tune_spec_free(&r);
	else
		*ret = r;
	return code;
}

/* ---- Printing */

/* An expression's words one by one: read back they are the same expression. */
static void print_expression(const char *s, struct weir_buf *out)
{
	while (*(s += strspn(s, " \t\n"))) {
		size_t n = strcspn(s, " \t\n");
		weir_autofree char *word = strndup(s, n);

		if (!word) {
			out->failed = true;
			return;
		}
		weir_policy_words_quote(word, out);
		s += n;
		if (s[strspn(s, " \t\n")])
			weir_buf_addc(out, ' ');
	}
}

void weir_tune_print_match(const struct weir_tune_spec *r, struct weir_buf *out)
{
	const char *blank = "";

	for (size_t i = 0; i < WEIR_TUNE_MATCH_WORDS; i++) {
		if (!r->words[i])
			continue;
		weir_buf_addf(out, "%s%s", blank, match_words[i].name);
		if (i == EXPRESSION)
			print_expression(r->words[i], out);
		else
			weir_policy_words_quote(r->words[i], out);
		blank = " ";
	}
}

void weir_tune_print_value(const struct weir_tune_spec *r, enum weir_tune_opt opt,
			   struct weir_buf *out)
{
	enum weir_tune_kind kind = weir_tune_info[opt].kind;
	int v = r->set.value[opt];

	if (kind == WEIR_TUNE_WORD) {
		weir_buf_adds(out, r->set.congestion);
		return;
	}
	if (kind == WEIR_TUNE_SWITCH) {
		weir_buf_adds(out, v ? "on" : "off");
		return;
	}
	if (kind == WEIR_TUNE_US && v % 1000 == 0) {
		kind = WEIR_TUNE_MS;
		v /= 1000;
	}
	if (kind == WEIR_TUNE_MS && v % 1000 == 0) {
		kind = WEIR_TUNE_S;
		v /= 1000;
	}
	weir_buf_addf(out, "%d%s", v, kinds[kind].unit);
}

void weir_tune_print_set(const struct weir_tune_spec *r, struct weir_buf *out)
{
	const char *blank = "";

	for (enum weir_tune_opt i = 0; i < WEIR_TUNE_OPTS; i++) {
		if (!(r->set.mask & 1U << i))
			continue;
		weir_buf_addf(out, "%s--%s ", blank, weir_tune_info[i].name);
		weir_tune_print_value(r, i, out);
		blank = " ";
	}
}

void weir_tune_print_rule(const struct weir_tune_spec *r, unsigned int flags, struct weir_buf *out)
{
	size_t start = out->len;

	weir_tune_print_match(r, out);
	if (out->len > start)
		weir_buf_addc(out, ' ');
	weir_tune_print_set(r, out);
	if (*r->cgroup) {
		weir_buf_adds(out, " --cgroup ");
		weir_policy_words_quote(r->cgroup, out);
	}
	if (r->all_netns)
		weir_buf_adds(out, " --all-netns");
	if (flags & WEIR_TUNE_KERNEL && r->set.id)
		weir_buf_addf(out, " --id %u", r->set.id);
}
