/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The heaviest hosts or ports of a run, in bounded memory. Exact as long as there is room;
 * then the smallest of a neighbourhood leaves its place and its count to the newcomer
 * (Space-Saving, Metwally et al. 2005): a heavy one is never missed, at worst overestimated
 * by what it was left.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_watch;
struct weir_flow;
struct weir_flow_val;

struct weir_heavy_key { /* without holes: it is compared as bytes */
	uint8_t addr[16];
	uint16_t port;
	uint8_t proto;
	uint8_t pad[5];
};

struct weir_heavy_entry {
	struct weir_heavy_key key;
	uint64_t packets, bytes;
	uint64_t left; /* packets of these that others have left to it */
};

struct weir_heavy;
struct weir_heavy *weir_heavy_new(void);
void weir_heavy_free(struct weir_heavy *t);
void weir_heavy_clear(struct weir_heavy *t);
void weir_heavy_add(struct weir_heavy *t, const struct weir_heavy_key *k, uint64_t packets,
		    uint64_t bytes);
/* The @n largest by bytes, largest first; returns how many there are. */
size_t weir_heavy_largest(const struct weir_heavy *t, struct weir_heavy_entry *ret, size_t n);

/* What was added to flow @f: for both of its hosts, and for the port that was connected
 * to. What is neither IP nor ARP has no hosts. */
void weir_heavy_add_flow(const struct weir_watch *w, struct weir_heavy *hosts,
			 struct weir_heavy *ports, const struct weir_flow *f,
			 const struct weir_flow_val *d);
