/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs of weir drops, loaded and attached, and what they have counted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/drops/drops.h"
#include "dataplane/ring.h"
#include "match/match.h"

struct weir_drops_kernel;

struct weir_drops_ask {
	const struct weir_match *match; /* NULL: everything */
	uint64_t netns;			/* 0: all */
	uint32_t ifindex;		/* 0: any */
	bool flows;
	size_t ring; /* bytes a CPU; 0: no events */
	weir_ring_fn on_event;
	void *arg;
};

int weir_drops_kernel_open(struct weir_drops_kernel **ret, const struct weir_drops_ask *ask,
			   struct weir_error *err);
void weir_drops_kernel_close(struct weir_drops_kernel *k);
/* No more drops are counted from here on. */
void weir_drops_kernel_detach(struct weir_drops_kernel *k);

/* Does the kernel tell what befalls XDP packets (xdp_exception, xdp_redirect_err)? */
bool weir_drops_kernel_has_xdp(const struct weir_drops_kernel *k);
/* NULL without events. */
struct weir_ring *weir_drops_kernel_ring(const struct weir_drops_kernel *k);

struct weir_drops_row_count {
	struct weir_drops_key key;
	struct weir_drops_val val;
};
struct weir_drops_flow_count {
	struct weir_drops_flow key;
	struct weir_drops_val val;
};
struct weir_drops_xdp_count {
	struct weir_drops_xdp_key key;
	uint64_t packets;
};

/* Each in *@ret, to be freed; the number of them, or a negative errno. */
int weir_drops_kernel_rows(const struct weir_drops_kernel *k, struct weir_drops_row_count **ret);
int weir_drops_kernel_flows(const struct weir_drops_kernel *k, struct weir_drops_flow_count **ret);
int weir_drops_kernel_xdp(const struct weir_drops_kernel *k, struct weir_drops_xdp_count **ret);
/* @ret_missed: drops for which the kernel left the program out, since it ran already. */
void weir_drops_kernel_counters(const struct weir_drops_kernel *k, struct weir_drops_counters *ret,
				uint64_t *ret_missed);
