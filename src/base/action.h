/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A verb's actions as data: `weir VERB ACTION WORDS OPTIONS`. Which options an action takes
 * is in its row: one that it does not take is refused by name, never ignored.
 */
#pragma once

#include <stddef.h>

#include "base/opt.h"
#include "base/verb.h"

struct weir_action {
	const char *name;  /* "": what happens without an action */
	const char *words; /* its synopsis, for messages */
	const char *takes; /* the long names of its options, each between blanks */
	unsigned int min_words, max_words; /* behind the action */
};

/* @rows: @n structs of @stride bytes that begin with a struct weir_action each. */
struct weir_actions {
	const struct weir_verb *verb;
	const void *rows;
	size_t n, stride;
	/* What is special about a word that is no action: a message, or 0 for the usual
	 * one. NULL: nothing is. */
	int (*unknown)(const char *word, struct weir_error *err);
};

/*
 * The action that @words ask for: its position, with what stands behind it in @ret_words;
 * or -EINVAL, a wrong use. @opts: the options as parsed; @fresh: as they were before, each
 * default being a value that no option can give.
 */
int weir_action_choose(const struct weir_actions *t, const struct weir_strv *words,
		       const void *opts, const void *fresh, struct weir_strv *ret_words,
		       struct weir_error *err);

bool weir_action_takes(const struct weir_action *a, const char *option);
/* Was option @o given? */
bool weir_action_given(const struct weir_opt *o, const void *opts, const void *fresh);
