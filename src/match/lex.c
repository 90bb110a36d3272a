/* SPDX-License-Identifier: GPL-2.0-only */
#include "match/lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BLANKS " \t\r\n\v\f"
/* Addresses, prefixes, sets, ranges, lists and escaped names are single words. */
#define WORD_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-/,\\@"

/* Longer ones first: the first that fits is taken. */
static const struct {
	const char *text;
	enum weir_tok_kind kind;
} operators[] = {
	{ "&&", WEIR_TOK_AND },	 { "||", WEIR_TOK_OR },	    { "==", WEIR_TOK_EQ },
	{ "!=", WEIR_TOK_NE },	 { "<<", WEIR_TOK_ARITH },  { ">>", WEIR_TOK_ARITH },
	{ "<=", WEIR_TOK_LE },	 { ">=", WEIR_TOK_GE },	    { "(", WEIR_TOK_OPEN },
	{ ")", WEIR_TOK_CLOSE }, { "[", WEIR_TOK_INDEX },   { "]", WEIR_TOK_INDEX_END },
	{ "=", WEIR_TOK_EQ },	 { "!", WEIR_TOK_NOT },	    { "<", WEIR_TOK_LT },
	{ ">", WEIR_TOK_GT },	 { "&", WEIR_TOK_BIT_AND }, { "|", WEIR_TOK_BIT_OR },
	{ "+", WEIR_TOK_ARITH }, { "*", WEIR_TOK_ARITH },   { "%", WEIR_TOK_ARITH },
	{ "^", WEIR_TOK_ARITH },
};

static const struct {
	const char *text;
	enum weir_tok_kind kind;
} operator_words[] = { { "and", WEIR_TOK_AND }, { "or", WEIR_TOK_OR }, { "not", WEIR_TOK_NOT } };

static void lex_word(struct weir_tok *t)
{
	t->kind = WEIR_TOK_WORD;
	t->w.n = strspn(t->w.s, WORD_CHARS);
	t->literal = *t->w.s == '\\';
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(operator_words); i++)
		if (weir_word_is(&t->w, operator_words[i].text))
			t->kind = operator_words[i].kind;
}

static int lex_operator(struct weir_tok *t, struct weir_error *err)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(operators); i++) {
		t->w.n = strlen(operators[i].text);
		if (!strncmp(t->w.s, operators[i].text, t->w.n)) {
			t->kind = operators[i].kind;
			return 0;
		}
	}
	t->w.n = 1;
	return weir_word_fail(err, -EINVAL, &t->w,
			      "not a character of the match language: see weir-match(7)");
}

int weir_lex(const char *text, struct weir_tok **ret, struct weir_error *err)
{
	/* Every token has a character of its own. */
	weir_autofree struct weir_tok *list = calloc(strlen(text) + 1, sizeof(*list));
	const char *s = text + strspn(text, BLANKS);
	struct weir_tok *t = list;
	int r;

	if (!list)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (; *s; t++, s += strspn(s, BLANKS)) {
		t->w = (struct weir_word){ .s = s, .at = (size_t)(s - text) + 1 };
		if (strchr(WORD_CHARS, *s)) {
			lex_word(t);
		} else {
			r = lex_operator(t, err);
			if (r < 0)
				return r;
		}
		s += t->w.n;
	}
	t->kind = WEIR_TOK_END;
	t->w = (struct weir_word){ .s = s, .at = (size_t)(s - text) + 1 };
	*ret = WEIR_TAKE_PTR(list);
	return 0;
}
