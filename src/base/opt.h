/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Command-line options as data: parsing, usage text, shell completion and the
 * man page's synopsis all derive from one table.
 *
 * Accepted forms: `--name value`, `--name=value`, `-n value`, `-nvalue`,
 * clusters of short flags, and `--` to end the options. Options and positional
 * arguments may be mixed. A lone "-" is positional, and so is the "->" of a packet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

enum weir_opt_kind {
	WEIR_OPT_FLAG,	 /* bool */
	WEIR_OPT_COUNT,	 /* unsigned int, times given */
	WEIR_OPT_STR,	 /* const char *; given twice is an error */
	WEIR_OPT_LIST,	 /* struct weir_strv: repeatable */
	WEIR_OPT_U64,	 /* uint64_t, decimal within [min, max] */
	WEIR_OPT_SIZE,	 /* uint64_t bytes, weir_parse_size, within [min, max] */
	WEIR_OPT_DURATION, /* uint64_t nanoseconds, weir_parse_duration */
	WEIR_OPT_CHOICE, /* int: index into choices */
};

#define WEIR_STRV_MAX 256

struct weir_strv {
	const char *v[WEIR_STRV_MAX];
	unsigned int n;
};

struct weir_opt {
	const char *name;	   /* long name without dashes, or NULL */
	char short_name;	   /* or 0 */
	enum weir_opt_kind kind;
	size_t offset;		   /* into the options struct */
	const char *arg;	   /* placeholder in usage, e.g. "IFACE" */
	const char *const *choices; /* NULL-terminated, for WEIR_OPT_CHOICE */
	unsigned long long min, max; /* of numbers; max 0: no bound */
	const char *help;	   /* one line; NULL hides it (an alias) */
	const char *group;	   /* heading in the usage text; NULL = previous */
	const char *complete;	   /* hint: "iface", "file", "words:a b c", NULL */
};

#define WEIR_OPT_MAX 128 /* rows of a table */

/* Terminate the table with {0}. argv[0] is the verb, for the messages. @opts
 * points at the options struct, holding the defaults. Positional arguments go
 * to @pos. Returns 0 or -EINVAL with a message that names the word and the
 * remedy (a near name is suggested). */
int weir_opt_parse(const struct weir_opt *table, int argc, char **argv,
		   void *opts, struct weir_strv *pos, struct weir_error *err);

/* The name in @table nearest to the @n characters at @word, or NULL when none
 * is near: for "did you mean". */
const char *weir_opt_nearest(const struct weir_opt *table, const char *word, size_t n);

/* The options part of `weir help VERB`. */
void weir_opt_usage(const struct weir_opt *table, struct weir_buf *out);

/* For shell completion, one line an option: "--name<TAB>-s<TAB>ARG<TAB>HINT",
 * an empty column is "-". HINT is `complete`, or "words:..." of the choices. */
void weir_opt_complete(const struct weir_opt *table, struct weir_buf *out);
