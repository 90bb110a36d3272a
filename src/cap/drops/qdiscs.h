/* SPDX-License-Identifier: GPL-2.0-only */
/* What the queueing disciplines at the roots of the interfaces count. What stands below a
 * root is counted by it too. */
#pragma once

#include <stdint.h>

#include "cap/drops/counters.h"

/* Add what they dropped; @ifindex: of one interface only, 0: of all. 0 or a negative errno. */
int weir_drops_read_qdiscs(struct weir_drops_counters_now *c, uint32_t ifindex);
/* Packets that wait in them. */
int weir_drops_qdiscs_waiting(uint64_t *ret);
