/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of backends, by their text ("10.0.0.5:443") and the health options of their
 * route, kept across reloads for as long as a configuration that lives names them: open
 * connections, failures, health. And the choice among a
 * route's targets.
 *
 * A check is a TCP connect (or a Unix socket's); a name's is one to each of its
 * addresses, of which one has to answer. `dns` and names without a port are not checked.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "cap/proxy/config.h"
#include "cap/proxy/names.h"
#include "net/loop.h"

struct weir_proxy_backend {
	char *text;
	_Atomic uint32_t targets; /* of all configurations that live, of which this is the state */
	_Atomic uint32_t open;	/* connections to it now */
	_Atomic uint64_t connected, failed, bytes_in, bytes_out;
	_Atomic bool down;	/* by its health checks */
	_Atomic uint64_t changed; /* when `down` last changed, weir_clock_mono() */
};

struct weir_backends;

/* In the thread of @l, where the health checks run (they resolve names with @n). NULL: no
 * memory. Freed when @l has ended, before it is freed. */
struct weir_backends *weir_backends_new(struct weir_loop *l, struct weir_names *n);
void weir_backends_free(struct weir_backends *b);
/* Give every target of @c its state and begin the checks that it wants; those that @c does
 * not want end, and states that no configuration has any more are freed. @err: no memory. */
int weir_backends_take(struct weir_backends *b, struct weir_proxy_config *c,
		       struct weir_error *err);

/* A target is freed with its configuration, in any thread: its state is needed once less. */
static inline void weir_backend_leave(struct weir_proxy_backend *b)
{
	atomic_fetch_sub(&b->targets, 1);
}
/* States that are kept, those of configurations before included. */
uint64_t weir_backends_count(const struct weir_backends *b);

/* Choose. @tried: a mask of targets (by position, the first 64) that failed already.
 * Targets that are down are passed over unless all that are left are. -1: none left. Any
 * thread. */
int weir_backend_choose(struct weir_proxy_route *r, uint64_t tried);

/* One object per backend, in order, into the open array; as a table. Those that no
 * configuration wants any more are shown as long as connections to them are open. */
void weir_backends_json(struct weir_backends *b, struct weir_json *j);
void weir_backends_table(struct weir_backends *b, struct weir_buf *out);
