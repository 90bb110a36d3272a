/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PROXY protocol, versions 1 and 2, as of
 * https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "net/endpoint.h"

#define WEIR_PP_MAX 1024     /* longest header that is read or made */
#define WEIR_PP_NAME_MAX 255 /* of an AUTHORITY that is made */

/* Read a header from the first @n bytes. Returns its length; 0: more is needed;
 * -EINVAL: none, or a bad one; -E2BIG. LOCAL, UNKNOWN and UNSPEC leave *src and *dst
 * alone, and so do datagrams. A checksum (PP2_TYPE_CRC32C) is checked where it is there. IPv4
 * mapped into IPv6 becomes AF_INET; a Unix socket without a path an unnamed one. */
int weir_pp_read(const void *data, size_t n, struct weir_endpoint *src, struct weir_endpoint *dst);

/* Make one; version 1 or 2. Version 2 carries the TLVs ALPN (the first of @alpn, a list
 * as in weir_hello; @alpn_len 0: none) and AUTHORITY (@name; "" : none). Two different
 * families, or Unix: UNKNOWN, LOCAL. Returns the length, at most WEIR_PP_MAX. */
size_t weir_pp_make(int version, const struct weir_endpoint *src, const struct weir_endpoint *dst,
		    const char *name, const uint8_t *alpn, size_t alpn_len,
		    uint8_t ret[WEIR_PP_MAX]);
