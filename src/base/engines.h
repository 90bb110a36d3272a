/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What each capture engine of `weir watch` can see: one table that its help and
 * `weir doctor` print. It is data, in the lowest layer, because two
 * capabilities tell it and neither may include the other.
 */
#pragma once

#include "base/buf.h"
#include "base/json.h"

struct weir_engine_view {
	const char *name;	     /* as in --capture */
	const char *directions;	     /* what -Q may ask for: "in" or "in, out" */
	const char *gro;	     /* incoming: "before" or "after" GRO merged packets */
	const char *gso;	     /* outgoing: are large packets split already? */
	const char *sees_xdp_drops;  /* "yes" or "no": what a filter dropped at XDP */
	const char *sees_nft_in;     /* likewise: what nft drops on the way in */
	const char *sees_nft_out;    /* likewise: what nft drops on the way out */
	const char *loopback_copies; /* how often a packet on lo is seen */
	const char *takes;	     /* does it take packets off the interface: "yes" or "no" */
	const char *match;	     /* where the match is decided: "kernel" or "user space" */
	const char *needs;	     /* capabilities */
	const char *kernel;	     /* what the kernel must have */
};

#define WEIR_ENGINES 5
extern const struct weir_engine_view weir_engines[WEIR_ENGINES];

/* One column an engine, one line a property. */
void weir_engines_table(struct weir_buf *out);
/* The same as an array of objects named @key; "yes" and "no" become booleans,
 * digits numbers; what an engine has not is absent. */
void weir_engines_json(struct weir_json *j, const char *key);
