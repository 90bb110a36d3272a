/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules to the contents of maps: every port gets a class, every class and local
 * prefix a chain of candidates (steer.h).
 *
 * Of the rules that name a connection the one decides that has the longest local
 * prefix; of those, the narrowest range of ports; of those, the longest remote prefix;
 * of those, the one that stands first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/steer/conf.h"
#include "cap/steer/steer.h"

struct weir_steer_code {
	struct weir_steer_ports *ports;		 /* WEIR_STEER_PROTOS * 16384 */
	struct weir_steer_candidate *candidates; /* from 1 on */
	struct weir_steer_root *roots;		 /* from 1 on, as those below */
	struct weir_steer_node *nodes;
	struct weir_steer_lone *lones;
	size_t n_candidates, n_roots, n_nodes, n_lones;
	size_t room_candidates, room_roots, room_nodes, room_lones;
};

/* What a clock of the kernel says, to make jiffies of an end in time. */
struct weir_steer_clock {
	uint64_t jiffies, boot, tick;
};

/* @c has ids and targets. -E2BIG: more combinations than maps hold. */
int weir_steer_compile(const struct weir_steer_conf *c, const struct weir_steer_clock *clock,
		       struct weir_steer_code *ret, struct weir_error *err);
void weir_steer_code_free(struct weir_steer_code *code);
