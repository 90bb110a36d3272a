/* SPDX-License-Identifier: GPL-2.0-only */
/* Why the filter dropped a packet: scratch->reason, its counters, and what
 * observers show. */
#pragma once

/* X(constant, word, sentence) in the order of the values from 1 on. */
#define WEIR_DROP_TABLE(X)                                                                      \
	X(RULE, "rule", "a deny rule matched")                                                  \
	X(LIMIT, "limit", "a limit was exceeded")                                               \
	X(DEFAULT, "default",                                                                   \
	  "no rule decided, it is no reply, and the interface's default is to drop")            \
	X(FRAGMENT, "fragment", "it is a fragment, and fragments are dropped here")             \
	X(MALFORMED, "malformed", "a header contradicts itself")                                \
	X(TRUNCATED, "truncated", "a header runs past the end of the packet, or lies too deep") \
	X(HEADERS, "headers", "more VLAN tags or IPv6 extension headers than are read")

enum weir_filter_reason {
	WEIR_DROP_NONE,
#define WEIR_DROP_ENUM(name, word, text) WEIR_DROP_##name,
	WEIR_DROP_TABLE(WEIR_DROP_ENUM)
#undef WEIR_DROP_ENUM
	WEIR_DROP_REASONS,
};

/* scratch->rule where no rule decided, with the reason in the low bits: observers
 * show `filter/default`. */
#define WEIR_RULE_BUILTIN 0x80000000U
