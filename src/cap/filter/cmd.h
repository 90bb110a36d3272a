/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir filter`: drop what must not enter, and never lock anyone out. */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_filter_verb;

/* explain.c: its part of `weir explain`. */
int weir_filter_explain(struct weir_road *road, struct weir_error *err);
