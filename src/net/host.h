/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Host of an HTTP/1 request's head (RFC 9112, 3.2; RFC 9110, 7.2), for clear-text
 * ports. An absolute-form target's authority outweighs the field.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/hello.h"

#define WEIR_HOST_MAX 32768 /* bytes of a head that are read */

/* Look at the first @n bytes of a connection. @from: how many of them an earlier call saw
 * already (0 at first). DONE: @name is filled as weir_hello.name ("" when there is no
 * Host, or an empty one; an IPv6 address without its brackets, the port left out); NOT_TLS:
 * not HTTP/1; two Host fields, a bad one, or a head that two readers could understand
 * differently (obs-fold, bare CR, NUL): MALFORMED; no end within WEIR_HOST_MAX: TOO_LONG.
 * The whole head is awaited, for only then no second Host can come. */
enum weir_hello_state weir_host_find(const char *data, size_t n, size_t from,
				     char name[WEIR_HELLO_NAME]);

/* What a request asks for, in the bytes that it came in. */
struct weir_request {
	const char *method, *target;
	size_t method_len, target_len;
};

/* The request line at the beginning of @data. False: it is not there to its end, or is none. */
bool weir_host_request(const char *data, size_t n, struct weir_request *ret);
