/* SPDX-License-Identifier: GPL-2.0-only */
/* Every verb of the program, ended by NULL, in the order of `weir help`. */
#pragma once

#include "base/verb.h"

extern const struct weir_verb *const weir_verbs[];
