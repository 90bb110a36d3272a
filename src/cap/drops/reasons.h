/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What weir knows about a reason, by its name: where on the packet's road it belongs, and
 * what to do about it. The names themselves come from the running kernel (names.h); one
 * that is not listed here is shown with nothing but its name.
 */
#pragma once

#include <stdbool.h>

enum weir_drops_stage { /* in the road's order */
			WEIR_STAGE_NIC,
			WEIR_STAGE_DRIVER,
			WEIR_STAGE_XDP,
			WEIR_STAGE_BACKLOG,
			WEIR_STAGE_TC_IN,
			WEIR_STAGE_LINK,
			WEIR_STAGE_NETFILTER,
			WEIR_STAGE_IP,
			WEIR_STAGE_TCP,
			WEIR_STAGE_UDP,
			WEIR_STAGE_SOCKET,
			WEIR_STAGE_NEIGHBOUR,
			WEIR_STAGE_TC_OUT,
			WEIR_STAGE_QDISC,
			WEIR_STAGE_TX,
			WEIR_STAGE_STACK, /* somewhere in the kernel */
			WEIR_STAGES,
};

extern const char *const weir_drops_stages[WEIR_STAGES];

struct weir_drops_reason {
	const char *name;
	enum weir_drops_stage stage;
	/* Freed, not lost: what it carried had arrived already, it had done its work, or it
	 * was never meant for this host. */
	bool harmless;
	const char *advice;
};

/* NULL: nothing is known about it. */
const struct weir_drops_reason *weir_drops_reason(const char *name);

/* What is no loss by the function that freed it, where the reason does not tell; @bare: a TCP
 * segment that brought nothing. The sentence, or NULL. */
const char *weir_drops_done(const char *reason, const char *function, bool bare);

/* For what has no telling reason: the stage that @function belongs to. */
enum weir_drops_stage weir_drops_stage_of(const char *function);
