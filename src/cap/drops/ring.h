/* SPDX-License-Identifier: GPL-2.0-only */
/* The receive rings of interfaces, where the driver tells: what a NIC misses is what had no
 * room there. */
#pragma once

#include "base/buf.h"
#include "base/json.h"
#include "cap/drops/ledger.h"

/* A line for each interface at whose NIC packets were lost. */
void weir_drops_rings_text(const struct weir_drops_ledger *l, struct weir_buf *out);
/* `rings`: all interfaces in scope whose driver tells; none is absent. */
void weir_drops_rings_json(const struct weir_drops_scope *scope, struct weir_json *j);
