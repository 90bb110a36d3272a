/* SPDX-License-Identifier: GPL-2.0-only */
/* A verb of the command line; cli/main.c lists them all. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/opt.h"
#include "base/road.h"

/* Exit statuses, the same for every verb (docs: weir(8), EXIT STATUS). */
enum weir_exit {
	WEIR_EXIT_DONE = 0,
	WEIR_EXIT_FAILED = 1,
	WEIR_EXIT_USAGE = 2,
	WEIR_EXIT_LOSS = 3,
	WEIR_EXIT_NO = 4, /* the answer is "no" */
};

struct weir_verb {
	const char *name;
	const char *group;		/* "See", "Control", "Forward", "Ask", "Undo" */
	const char *summary;		/* one line for `weir help` */
	const char *synopsis;		/* "[OPTIONS] [EXPRESSION]" */
	const struct weir_opt *options; /* NULL: none */
	const char *details;  /* printed behind the options by `weir help VERB`, or NULL */
	const char *complete; /* of a word: a hint as in struct weir_opt, or NULL */
	/* argv[0] is the verb. Returns the process's exit status (formats.md). */
	int (*run)(int argc, char **argv);
	/* What `weir help VERB` computes and prints last, or NULL. */
	void (*help_more)(struct weir_buf *out);
	/* What `weir status` tells of the verb besides what is in the kernel, or NULL: text
	 * into @out, or, where @j is not NULL, members into its open object. Nothing to
	 * tell is no error. */
	int (*status_more)(struct weir_buf *out, struct weir_json *j, struct weir_error *err);
	/* What the verb does to a described packet, as steps of its road, or NULL. Nothing in
	 * force adds nothing. */
	int (*explain)(struct weir_road *road, struct weir_error *err);
	enum weir_road_stage explain_from; /* the first stage of its: a failure is told there */
};

/* The options of a verb that only tells something: its table and its struct. */
struct weir_json_opts {
	bool json;
};
extern const struct weir_opt weir_json_options[];

/* The table that cli/main.c registers, ended by NULL, so that a verb that takes
 * another verb's name (status, unload) can check it without seeing cli. */
void weir_verb_register(const struct weir_verb *const *table);
/* NULL when there is none of that name. */
const struct weir_verb *weir_verb_find(const char *name);
/* The @i-th one; NULL behind the last. */
const struct weir_verb *weir_verb_at(size_t i);

/* Parse the words of @verb into @opts, and at most @max_words others into
 * @words. Returns 0, or WEIR_EXIT_USAGE once the error has been told. */
int weir_verb_parse(const struct weir_verb *verb, int argc, char **argv, void *opts,
		    struct weir_strv *words, unsigned int max_words);

/* Is @word, an argument of @verb, the name of a verb (NULL: not given)? Returns
 * 0, or WEIR_EXIT_USAGE once the error has been told, with the nearest name. */
int weir_verb_check(const char *verb, const char *word);

/* The one place where an error reaches the user: "weir VERB: MESSAGE" on
 * standard error (@verb NULL: "weir: MESSAGE"). Returns @status. */
int weir_verb_fail(const char *verb, const struct weir_error *e, int status);

/* What a command did, or what is left to do: one line "weir VERB: ..." on standard error,
 * control characters made harmless. */
void weir_verb_tell(const char *verb, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* Write @out to standard output and reset it. A reader that has gone (`| head`)
 * is no error; anything else is told. Returns @status, or WEIR_EXIT_FAILED. */
int weir_verb_print(const char *verb, struct weir_buf *out, int status);
