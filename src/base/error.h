/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Errors that reach the user.
 *
 * A function that can fail for a reason worth telling takes a struct
 * weir_error and returns 0 or a negative errno. It never prints: the command
 * at the top prints `weir VERB: MESSAGE` once. MESSAGE has the form
 * "what is wrong: what to do", one line, no full stop, no newline.
 */
#pragma once

#include <stdarg.h>

#define WEIR_ERROR_MAX 512

struct weir_error {
	char msg[WEIR_ERROR_MAX];
};

/* Store the message and return @code (a negative errno), so that callers can
 * write `return weir_fail(err, -EINVAL, "...")`. @err may be NULL. Control
 * characters in the result become '?' so that hostile input stays one line. */
int weir_fail(struct weir_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "PREFIX: " before the message that is there; returns @code. */
int weir_fail_prefix(struct weir_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
