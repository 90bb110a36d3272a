/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The statements of a rule file, and the names in it: the same for every verb whose
 * rules a file can hold.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* Where in a text we are. */
struct weir_policy_text {
	const char *s, *end;
	unsigned int line; /* of s, from 1 */
};

/* The words of one statement. Zero-initialise; one record serves a whole file. */
struct weir_policy_words {
	struct weir_buf store; /* the words, each with its NUL */
	const char **v;	       /* into store */
	size_t n, max;
	unsigned int line; /* of the first word */
};

void weir_policy_words_free(struct weir_policy_words *w);

/* The next statement that has words: 1, or 0 at the end of the text. An error has no
 * line in it yet: it is in @w->line. */
int weir_policy_words_next(struct weir_policy_text *t, struct weir_policy_words *w,
			   struct weir_error *err);
/* @word so that it is read back as one word: in quotes where it has to be. */
void weir_policy_words_quote(const char *word, struct weir_buf *out);

/* FNV-1a: the same for all time, since names are made from it. */
static inline uint32_t weir_policy_hash(const char *s, size_t n)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)s[i]) * 16777619U;
	return h;
}

bool weir_policy_is_rule_name(const char *name);
/* 0, or -EINVAL with the rules for names. */
int weir_policy_check_rule_name(const char *name, struct weir_error *err);
