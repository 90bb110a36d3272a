/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir help`: everything it prints is derived from the verbs' tables. */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_help_verb;

/* What `weir help VERB` and `weir VERB --help` print. Returns the exit status. */
int weir_help_print(const struct weir_verb *verb);
