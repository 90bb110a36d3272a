/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir proxy`. */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_proxy_verb;

/* status.c: its part of `weir status`, by asking the proxy that runs; none runs: nothing. */
int weir_proxy_status_more(struct weir_buf *out, struct weir_json *j, struct weir_error *err);
/* explain.c: its part of `weir explain`, likewise. */
int weir_proxy_explain(struct weir_road *road, struct weir_error *err);
