/* SPDX-License-Identifier: GPL-2.0-only */
/* A match from its two spellings, flags and expression. */
#include "match/match.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "match/parse.h"
#include "match/value.h"

static const struct {
	const char *name;
	size_t offset; /* in struct weir_match_spec */
	struct weir_quals quals;
} flags[] = {
	{ "--protocol",
	  offsetof(struct weir_match_spec, protocol),
	  { .type = WEIR_TYPE_ANY_PROTO } },
	{ "--src-ip", offsetof(struct weir_match_spec, src_ip), { .dir = WEIR_DIR_SRC } },
	{ "--dst-ip", offsetof(struct weir_match_spec, dst_ip), { .dir = WEIR_DIR_DST } },
	{ "--src-port",
	  offsetof(struct weir_match_spec, src_port),
	  { .dir = WEIR_DIR_SRC, .type = WEIR_TYPE_PORT } },
	{ "--dst-port",
	  offsetof(struct weir_match_spec, dst_port),
	  { .dir = WEIR_DIR_DST, .type = WEIR_TYPE_PORT } },
};

static int check_text(const char *text, struct weir_error *err)
{
	if (strnlen(text, WEIR_MATCH_TEXT_MAX + 1) > WEIR_MATCH_TEXT_MAX)
		return weir_fail(err, -E2BIG, "longer than %d characters: shorten it",
				 WEIR_MATCH_TEXT_MAX);
	return 0;
}

static int parse_flag(size_t i, const char *text, bool named_sets, struct weir_ast **ret,
		      struct weir_error *err)
{
	struct weir_quals quals = flags[i].quals;
	const struct weir_word w = { text, strlen(text), 1 };
	weir_auto_ast *a = NULL;
	int r = check_text(text, err);

	quals.named_sets = named_sets;
	if (!r && !w.n)
		r = weir_fail(err, -EINVAL,
			      "the value is empty: give one, or leave the option out");
	if (!r)
		r = weir_value_parse(&quals, &w, &a, err);
	if (!r)
		r = weir_ast_check(a, err);
	if (r < 0)
		return weir_fail_prefix(err, r, "%s", flags[i].name);
	*ret = WEIR_TAKE_PTR(a);
	return 0;
}

int weir_match_parse(const struct weir_match_spec *spec, struct weir_match **ret,
		     struct weir_error *err)
{
	weir_auto_ast *all = NULL;
	struct weir_ast *one = NULL;
	int r;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(flags); i++) {
		const char *text = *(const char *const *)((const char *)spec + flags[i].offset);

		if (!text)
			continue;
		r = parse_flag(i, text, spec->named_sets, &one, err);
		if (r < 0)
			return r;
		all = weir_ast_join(WEIR_AST_AND, WEIR_TAKE_PTR(all), one);
		if (!all)
			return weir_ast_oom(err);
	}
	if (spec->expression) {
		one = NULL;
		r = check_text(spec->expression, err);
		if (!r)
			r = weir_expr_parse(spec->expression, spec->named_sets, &one, err);
		if (r < 0)
			return weir_fail_prefix(err, r, "expression");
		if (one)
			all = weir_ast_join(WEIR_AST_AND, WEIR_TAKE_PTR(all), one);
		if (one && !all)
			return weir_ast_oom(err);
	}
	if (!all)
		all = weir_ast_all();
	if (!all)
		return weir_ast_oom(err);
	r = weir_ast_check(all, err);
	if (r < 0)
		return r;
	r = weir_ast_finish(WEIR_TAKE_PTR(all), ret);
	return r < 0 ? weir_ast_oom(err) : 0;
}
