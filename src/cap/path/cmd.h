/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_path_verb;
