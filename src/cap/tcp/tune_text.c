/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules from a text, and as a text. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/opt.h"
#include "base/units.h"
#include "cap/tcp/tune_conf.h"
#include "policy/rule_text.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- The rules */

void weir_tune_conf_free(struct weir_tune_conf *c)
{
	for (size_t i = 0; i < c->n; i++)
		weir_tune_spec_free(&c->rules[i]);
	free(c->rules);
	*c = (struct weir_tune_conf){ 0 };
}

struct weir_tune_spec *weir_tune_conf_rule(const struct weir_tune_conf *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->rules[i].name, name))
			return &c->rules[i];
	return NULL;
}

static int grow(struct weir_tune_conf *c, struct weir_error *err)
{
	size_t room = c->room ? 2 * c->room : 16;
	void *v;

	if (c->n == WEIR_TUNE_RULES_MAX)
		return weir_fail(err, -E2BIG, "more than %d rules: leave some out",
				 WEIR_TUNE_RULES_MAX);
	if (c->n < c->room)
		return 0;
	v = reallocarray(c->rules, room, sizeof(*c->rules));
	if (!v)
		return oom(err);
	c->rules = v;
	c->room = room;
	return 0;
}

int weir_tune_conf_add(struct weir_tune_conf *c, struct weir_tune_spec *r, bool replace,
		       struct weir_error *err)
{
	struct weir_tune_spec *old = weir_tune_conf_rule(c, r->name);
	int ret = 0;

	if (old && !replace)
		ret = weir_fail(err, -EINVAL, "there are two rules \"%s\": give one another name",
				r->name);
	else if (!old)
		ret = grow(c, err);
	if (ret) {
		weir_tune_spec_free(r);
		return ret;
	}
	if (!old) {
		c->rules[c->n++] = *r;
		return 0;
	}
	r->set.id = old->set.id;
	weir_tune_spec_free(old);
	*old = *r;
	return 0;
}

int weir_tune_conf_del(struct weir_tune_conf *c, const char *name, struct weir_error *err)
{
	struct weir_tune_spec *r = weir_tune_conf_rule(c, name);

	if (!r)
		return weir_fail(err, -ENOENT, "there is no rule '%s': see `weir tcp tune list`",
				 name);
	weir_tune_spec_free(r);
	memmove(r, r + 1, (size_t)(&c->rules[--c->n] - r) * sizeof(*r));
	return 0;
}

/* ---- Statements */

#define AT(field) offsetof(struct weir_tune_words, field)

/* The kernel's own stands first, and is left out for people's files. */
#define KERNEL_OPTIONS 1
static const struct weir_opt options[] = {
	{ "id", 0, WEIR_OPT_STR, AT(id), "N", .help = "" },
	WEIR_CONN_OPTIONS(struct weir_tune_words, match),
#define ROW(opt, name, ...) \
	{ name, 0, WEIR_OPT_STR, AT(set[WEIR_TUNE_##opt]), "VALUE", .help = "" },
	WEIR_TUNE_LIST(ROW)
#undef ROW
		{ "cgroup", 0, WEIR_OPT_STR, AT(cgroup), "PATH", .help = "" },
	{ "all-netns", 0, WEIR_OPT_FLAG, AT(all_netns), .help = "" },
	{ 0 },
};

struct parser {
	struct weir_tune_conf *conf;
	unsigned int flags;
};

static int take_rule(struct parser *x, const struct weir_policy_words *words,
		     struct weir_error *err)
{
	const struct weir_opt *table = x->flags & WEIR_TUNE_KERNEL ? options :
								     options + KERNEL_OPTIONS;
	weir_autobuf struct weir_buf expression = { 0 };
	char name[WEIR_RULE_NAME_MAX + 1];
	size_t named = weir_rule_text_name(words, name);
	struct weir_tune_words w = { 0 };
	struct weir_tune_spec r;
	int ret = weir_rule_text_options(words, named, "tcp", table, &w, &expression, err);

	if (ret)
		return ret;
	w.match.match.expression = expression.data;
	ret = weir_tune_spec_make(&w, named ? name : NULL, &r, err);
	return ret ? ret : weir_tune_conf_add(x->conf, &r, false, err);
}

/* cgroup SLOT ID PATH */
static int take_cgroup(struct parser *x, const struct weir_policy_words *words,
		       struct weir_error *err)
{
	struct weir_tune_conf *c = x->conf;
	struct weir_tune_cgroup g = { 0 };
	uint64_t slot;

	if (words->n != 4 || c->n_cgroups == WEIR_TUNE_CGROUPS_MAX ||
	    weir_parse_u64(words->v[1], 0, WEIR_TUNE_SLOTS - 1, &slot) ||
	    weir_parse_u64(words->v[2], 0, UINT64_MAX, &g.id) || *words->v[3] != '/' ||
	    strlen(words->v[3]) >= sizeof(g.path))
		return weir_fail(err, -EINVAL, "\"%s\": not a line of the kernel's text",
				 words->v[0]);
	snprintf(g.path, sizeof(g.path), "%s", words->v[3]);
	g.slot = (uint32_t)slot;
	c->cgroups[c->n_cgroups++] = g;
	return 0;
}

static int take_statement(void *arg, const struct weir_policy_words *words, struct weir_error *err)
{
	struct parser *x = arg;

	if (x->flags & WEIR_TUNE_KERNEL && !strcmp(words->v[0], "cgroup"))
		return take_cgroup(x, words, err);
	return take_rule(x, words, err);
}

int weir_tune_parse(const char *text, size_t len, const char *source, unsigned int flags,
		    struct weir_tune_conf *ret, struct weir_error *err)
{
	const struct weir_rule_text t = { source, WEIR_TUNE_TEXT_MAX, take_statement };
	weir_auto_tune_conf conf = { 0 };
	struct parser x = { .conf = &conf, .flags = flags };
	int r = weir_rule_text_parse(&t, text, len, &x, err);

	if (r)
		return r;
	*ret = conf;
	conf = (struct weir_tune_conf){ 0 };
	return 0;
}

int weir_tune_read(const char *path, struct weir_tune_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_rule_text_read(path, WEIR_TUNE_TEXT_MAX, &text, err);

	return code ? code :
		      weir_tune_parse(text.data, text.len, weir_file_name(path), 0, ret, err);
}

/* ---- Printing */

void weir_tune_print(const struct weir_tune_conf *c, unsigned int flags, struct weir_buf *out)
{
	for (size_t i = 0; flags & WEIR_TUNE_KERNEL && i < c->n_cgroups; i++) {
		weir_buf_addf(out, "cgroup %u %llu ", c->cgroups[i].slot,
			      (unsigned long long)c->cgroups[i].id);
		weir_policy_words_quote(c->cgroups[i].path, out);
		weir_buf_addc(out, '\n');
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->rules[i].named || flags & WEIR_TUNE_KERNEL)
			weir_buf_addf(out, "%s: ", c->rules[i].name);
		weir_tune_print_rule(&c->rules[i], flags, out);
		weir_buf_addc(out, '\n');
	}
}
