/* SPDX-License-Identifier: GPL-2.0-only */
/* The connections that weir's proxy in this network namespace has refused: none of them is a
 * packet, so that they stand beside the ledger and not in its sum. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WEIR_DROPS_PROXIES_MAX 8
#define WEIR_DROPS_REFUSALS_MAX 32

/* The tables that have been seen. They are kept: what a proxy refused does not go with it. */
struct weir_drops_proxies {
	int fd[WEIR_DROPS_PROXIES_MAX];
	uint32_t id[WEIR_DROPS_PROXIES_MAX];
	size_t n;
};

struct weir_drops_refusal {
	const char *word, *sentence; /* the reason; NULL: none, behind the last one */
	uint64_t connections;
};

/* Up to WEIR_DROPS_REFUSALS_MAX, always the same reasons in the same order; how many. No
 * proxy, and no right to see it, has refused nothing. */
size_t weir_drops_refusals(struct weir_drops_proxies *p, struct weir_drops_refusal *ret);
void weir_drops_proxies_close(struct weir_drops_proxies *p);
