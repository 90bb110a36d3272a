/* SPDX-License-Identifier: GPL-2.0-only */
/* The text of an expression as a list of tokens. */
#pragma once

#include "match/words.h"

enum weir_tok_kind {
	WEIR_TOK_END,
	WEIR_TOK_WORD, /* a name, number, address or list of them */
	WEIR_TOK_AND,
	WEIR_TOK_OR,
	WEIR_TOK_NOT,
	WEIR_TOK_OPEN, /* ( */
	WEIR_TOK_CLOSE,
	WEIR_TOK_INDEX, /* [ */
	WEIR_TOK_INDEX_END,
	WEIR_TOK_EQ,
	WEIR_TOK_NE,
	WEIR_TOK_LT,
	WEIR_TOK_LE,
	WEIR_TOK_GT,
	WEIR_TOK_GE,
	WEIR_TOK_BIT_AND,
	WEIR_TOK_BIT_OR,
	WEIR_TOK_ARITH, /* an operator that weir does not have */
};

struct weir_tok {
	enum weir_tok_kind kind;
	bool literal; /* a word behind a backslash: never a keyword */
	struct weir_word w;
};

/* *ret ends in WEIR_TOK_END and points into @text; free() it. */
int weir_lex(const char *text, struct weir_tok **ret, struct weir_error *err);
