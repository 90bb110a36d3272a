/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is next on the way, and its Ethernet address. */
#pragma once

#include <stdint.h>

#include "base/addr.h"

/* The next hop to @dst by interface @ifindex: a gateway, or @dst itself. 0 or a negative
 * errno, -ENETUNREACH where no route leads there by it. */
int weir_neigh_next_hop(uint32_t ifindex, const struct weir_addr *dst, struct weir_addr *ret);
/* The address of a neighbour that the kernel knows. -ENOENT: it does not. */
int weir_neigh_find(uint32_t ifindex, const struct weir_addr *addr, uint8_t ret[6]);
