/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does a connection by the bypass do what a connection by TCP does? Each row is tried by
 * TCP first, which must pass, then by the bypass, each in a process, a network namespace
 * and (the second) a cgroup of its own, with a limit in time and in bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum weir_bypass_verdict {
	WEIR_BYPASS_OK,
	WEIR_BYPASS_BROKEN, /* by TCP it works, by the bypass it does not */
	WEIR_BYPASS_UNSURE, /* it could not be tried, or fails by TCP too: not ok either */
};

struct weir_bypass_row {
	const char *name;
	const char *about; /* what works where it is ok */
	const char *harm;  /* what happens to whom where it is not */
	enum weir_bypass_verdict verdict;
	char detail[160];
};

#define WEIR_BYPASS_ROWS_MAX 40

/* What is tried; weir's own programs are one, those of tests are others. */
struct weir_bypass_subject {
	void *arg;
	int (*open)(void *arg, int cgroup_fd, struct weir_error *err);
	void (*close)(void *arg);
	/* Bytes sent so far on connections that were bypassed: by the bypass, and in all;
	 * NULL: nobody counts. */
	int (*count)(void *arg, uint64_t *ret_bypass, uint64_t *ret_all);
};
/* What happens where the row called @name (@n characters) is not ok, or NULL. */
const char *weir_bypass_harm(const char *name, size_t n);

struct weir_bypass_subject weir_bypass_own_subject(void);

/* Try the rows called @only (NULL: all). Returns how many are not ok, or a negative
 * errno. */
int weir_bypass_check(const struct weir_bypass_subject *s, const char *only,
		      struct weir_bypass_row rows[WEIR_BYPASS_ROWS_MAX], size_t *ret_n,
		      struct weir_error *err);
