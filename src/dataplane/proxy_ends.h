/* SPDX-License-Identifier: GPL-2.0-only */
/* Why the proxy ended a connection, in words. */
#pragma once

#include "bpf/proxy_totals.h"

struct weir_proxy_end_name {
	const char *word;     /* "hello_timeout": in JSON, logs, metrics */
	const char *sentence; /* "the hello did not come within hello_timeout" */
};
extern const struct weir_proxy_end_name weir_proxy_ends[WEIR_ENDS];
