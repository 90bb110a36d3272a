/* SPDX-License-Identifier: GPL-2.0-only */
/* What `weir bypass list` tells, in all its forms. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "cap/bypass/engine.h"

#define WEIR_BYPASS_SHOWN_MAX 1000 /* connections of a rule; a table of more is of no use */

extern const char *const weir_bypass_whys[WEIR_BYPASS_WHYS];
extern const char *const weir_bypass_refusals[WEIR_BYPASS_REFUSALS];

struct weir_bypass_listed {
	struct weir_bypass_sums sums;
	struct weir_bypass_conn *conns; /* live ones */
	size_t n;
	bool attached; /* its cgroup is still there */
};

void weir_bypass_prometheus(const struct weir_bypass_listed *v, size_t n, struct weir_buf *out);
