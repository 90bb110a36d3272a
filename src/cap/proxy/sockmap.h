/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the engine sockmap (weir_engine_sockmap of relay.h) has in the kernel, for the
 * whole process: maps, the program, and whether they do here what they should.
 *
 * The service calls weir_sockmap_open() once, as root, before threads and before it
 * gives up privileges, when `engine: sockmap` stands anywhere in its configuration
 * (weir_proxy_config.engine or a route's). It is no error of the service when it fails:
 * the engine's start() refuses every relay then, which goes by splice, and
 * weir_sockmap_why_not() is what the operator is told. A reload that asks for sockmap for
 * the first time finds it closed: to be told likewise.
 *
 * Afterwards no capability is needed: sockets are put into the maps by descriptor.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define WEIR_SOCKMAP_RELAYS_MIN 16 /* as many as are tried at once */
#define WEIR_SOCKMAP_RELAYS_MAX 65536

/* Room for @connections relays, within the bounds above; what is more goes by splice.
 * Loads, and tries on loopback sockets of its own, in some hundred milliseconds at most,
 * what the engine needs; 0 or -errno, which weir_sockmap_why_not() then keeps. */
int weir_sockmap_open(uint64_t connections, struct weir_error *err);
/* After the last relay. */
void weir_sockmap_close(void);
/* NULL: it is open. Else one line that says why not, and what to do. */
const char *weir_sockmap_why_not(void);

/* Entries in use in each map, for leak tests and `status`. */
struct weir_sockmap_use {
	uint32_t relays, ends, targets, sources;
};
int weir_sockmap_use(struct weir_sockmap_use *ret);
