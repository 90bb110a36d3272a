/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a connection can be made to or accepted at: "192.0.2.1:443", "[2001:db8::1]:443",
 * "[::]:443", "unix:/run/app.sock".
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/addr.h"

#define WEIR_ENDPOINT_STRLEN 128 /* longest text of one, with NUL */

struct weir_endpoint {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len; /* 0: none */
};

/* -EINVAL: not an address with a port, nor "unix:/PATH". An IPv6 address stands in
 * brackets. Names are not looked up. */
int weir_endpoint_parse(const char *s, struct weir_endpoint *ret);
const char *weir_endpoint_str(const struct weir_endpoint *e, char buf[WEIR_ENDPOINT_STRLEN]);
/* From an address (IPv4 as mapped: becomes AF_INET) and a port in host byte order. */
void weir_endpoint_set(struct weir_endpoint *e, const struct weir_addr *a, uint16_t port);
/* Its address as IPv6 (IPv4 mapped); of a Unix socket: "::". */
struct weir_addr weir_endpoint_addr(const struct weir_endpoint *e);
uint16_t weir_endpoint_port(const struct weir_endpoint *e); /* host byte order; Unix: 0 */
/* Same family after unmapping, same address, same port (same path). */
bool weir_endpoint_equal(const struct weir_endpoint *a, const struct weir_endpoint *b);
