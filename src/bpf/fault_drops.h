/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What faults have dropped, for the ledger of losses: the map `dropped` that is pinned with
 * the faults of a network namespace (verb "fault"). By name, since a count outlives its
 * rule; nothing is ever deleted from it. Packets for which it had no room are in none.
 */
#pragma once

#include "bpf/store.h"

#define WEIR_FAULT_ABI 2 /* of everything that is pinned with it */
#define WEIR_FAULT_DROPS "dropped"
#define WEIR_FAULT_DROPS_MAX 4096

struct weir_fault_drop_key {
	char name[WEIR_RULE_NAME_MAX];
	uint32_t ifindex;
	uint32_t out;
};

_Static_assert(sizeof(struct weir_fault_drop_key) == 40, "ABI: struct weir_fault_drop_key");

/* per CPU */
struct weir_fault_drop {
	uint64_t packets, bytes;
};
