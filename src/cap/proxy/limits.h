/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How many connections may be open, in all and per source, and how many a source may
 * begin per second. Shared by all workers. IPv6 counts by /64.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "cap/proxy/config.h"

struct weir_proxy_limiter;

struct weir_proxy_limiter *weir_limiter_new(void);
void weir_limiter_free(struct weir_proxy_limiter *l);
/* May @source begin one more connection now? WEIR_ENDS: yes, and it is counted until
 * weir_limiter_leave(); else the reason, and nothing is. Memory is bounded by the open
 * connections and by the sources of the last burst: a source whose bucket is full again
 * and that has no connection is forgotten. */
enum weir_proxy_end weir_limiter_enter(struct weir_proxy_limiter *l,
				       const struct weir_proxy_limits *limits,
				       const struct weir_addr *source, uint64_t now);
void weir_limiter_leave(struct weir_proxy_limiter *l, const struct weir_addr *source);
/* A place among the open connections while it is not known yet whose it is (behind a PROXY
 * header); given back before weir_limiter_enter(). */
bool weir_limiter_hold(struct weir_proxy_limiter *l, const struct weir_proxy_limits *limits);
void weir_limiter_let_go(struct weir_proxy_limiter *l);
uint64_t weir_limiter_open(const struct weir_proxy_limiter *l);
/* How a source is counted: itself, or its /64. */
struct weir_addr weir_limiter_key(const struct weir_addr *source);
