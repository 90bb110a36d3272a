/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of allow.h share. */
#pragma once

#include <stddef.h>

#include "base/addr.h"
#include "base/error.h"

#define WEIR_ALLOW_SET "proxy-allow"   /* allow_sources */
#define WEIR_ALLOW_LOCAL "proxy-local" /* the namespace's own addresses */

/* What this namespace delivers locally: its addresses, and networks that are routed
 * to itself. *ret is malloc'ed. */
int weir_allow_local(struct weir_prefix **ret, size_t *ret_n, struct weir_error *err);
