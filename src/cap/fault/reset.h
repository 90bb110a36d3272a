/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "match/match.h"

/* End the TCP connections of this namespace that match now (match/conn.h), and say how many.
 * -EPERM unless @force: one of them is an ssh session. @name: of the rule, for messages. */
int weir_fault_reset(const char *name, const struct weir_match *m, bool force, size_t *ret,
		     struct weir_error *err);
