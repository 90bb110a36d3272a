/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir version`: what a report of a problem must name. */
#pragma once

#include "base/verb.h"

extern const struct weir_verb weir_version_verb;
