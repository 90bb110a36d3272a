/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_tcp_verb;

/* tune_explain.c: its part of `weir explain`. */
int weir_tune_explain(struct weir_road *road, struct weir_error *err);
