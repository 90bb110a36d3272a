/* SPDX-License-Identifier: GPL-2.0-only */
/* The engine's own view of its maps. Any thread; a relay's place is its own. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "cap/proxy/relay.h"
#include "cap/proxy/sockmap_way.h"

/* A place for a relay: 0, -ENOSPC (all are taken), -EOPNOTSUPP (not open). */
int weir_sockmap_take(uint32_t *ret);
/* When no program can be at work on it any more. */
void weir_sockmap_put(uint32_t place);
/* The record of the direction that begins at @from. */
struct weir_way *weir_sockmap_way(uint32_t place, enum weir_end_of from);

/* Make @fd a target; make it a source of the direction that begins there. 0 or -errno;
 * -EOPNOTSUPP: the socket is not established any more. Both go with the socket. */
int weir_sockmap_join_target(uint32_t place, enum weir_end_of which, int fd);
int weir_sockmap_join_source(uint32_t place, enum weir_end_of which, int fd, uint64_t cookie);
/* The program finds @cookie no more. */
void weir_sockmap_forget(uint64_t cookie);

/* How the program tells a loop that it has stopped somewhere. */
struct weir_sockmap_bell;
/* @rung is called from the loop with the tokens of the ways in question. NULL: there are
 * as many loops as there are bells. */
struct weir_sockmap_bell *weir_sockmap_bell_new(struct weir_loop *l, void (*rung)(uint64_t token));
uint32_t weir_sockmap_bell_number(const struct weir_sockmap_bell *b);
/* Call @rung for what has come up to now: where a token is about to mean nothing. */
void weir_sockmap_bell_look(struct weir_sockmap_bell *b);
void weir_sockmap_bell_free(struct weir_sockmap_bell *b); /* NULL: nothing happens */

/* sockmap_check.c: relays on loopback sockets; 0, or -errno and what went wrong. */
int weir_sockmap_check(struct weir_error *err);
