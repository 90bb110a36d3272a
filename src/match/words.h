/* SPDX-License-Identifier: GPL-2.0-only */
/* The names of the match language, as data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A piece of the user's text; not NUL-terminated. */
struct weir_word {
	const char *s;
	size_t n;
	size_t at; /* the first character of the text is 1 */
};

bool weir_word_is(const struct weir_word *w, const char *s);
/* A NUL-terminated copy; false if it is longer than any value can be. */
#define WEIR_WORD_MAX 64
bool weir_word_copy(const struct weir_word *w, char ret[WEIR_WORD_MAX]);
/* Store `"WORD" at character N: MESSAGE` and return @code. */
int weir_word_fail(struct weir_error *err, int code, const struct weir_word *w, const char *fmt,
		   ...) __attribute__((format(printf, 4, 5)));

/* An Ethernet type or an IP protocol. Where a number has several names the
 * first one is printed. */
struct weir_name {
	const char *name;
	uint16_t number;
	uint16_t guard; /* as a word of its own: the families it is for; 0: no such word */
};
extern const struct weir_name weir_words_ether[]; /* guard: non-zero where bare */
extern const struct weir_name weir_words_proto[];
extern const struct weir_name weir_words_tcp[]; /* TCP flags */

const struct weir_name *weir_name_find(const struct weir_name *table, const struct weir_word *w);
const struct weir_name *weir_name_of(const struct weir_name *table, unsigned int number);

/* Is @w a word of pcap-filter that weir does not have? Then @err says so. */
bool weir_word_refuse(const struct weir_word *w, struct weir_error *err);
