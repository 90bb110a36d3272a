/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * POSIX extended regular expressions on host names, without regard to case.
 *
 * regexec(3) keeps what it finds out about an expression, under a lock, for as long as
 * the expression lives: some expressions let a client's name cost it tens of
 * milliseconds and megabytes that never come back. Here a name costs at most its length
 * times the expression's, and no memory, and nothing is shared that changes.
 *
 * Left out are back references, collating elements, and what libraries add ("\d", "\w",
 * "\b"): each is refused, not taken for something else.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define WEIR_EXPR_STEPS_MAX 2048 /* instructions that it becomes */
#define WEIR_EXPR_REPEAT_MAX 255 /* of "{N}" */
#define WEIR_EXPR_DEPTH_MAX 32	 /* of parentheses */

struct weir_expr;

/* -EINVAL with what is wrong, in regerror(3)'s words where it has some, without a remedy. */
int weir_expr_new(const char *pattern, struct weir_expr **ret, struct weir_error *err);
void weir_expr_free(struct weir_expr *e);
/* Is there a match anywhere in @text? Any thread. */
bool weir_expr_match(const struct weir_expr *e, const char *text);
