/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IP addresses and prefixes. One representation: 16 bytes in network order,
 * IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2); an IPv4 prefix length is stored
 * as 96 + length.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define WEIR_ADDR_STRLEN 48 /* longest text of a prefix, with NUL */

struct weir_addr {
	uint8_t b[16];
};

struct weir_prefix {
	struct weir_addr addr; /* host bits are zero */
	uint8_t len;	       /* 0..128, IPv4: 96..128 */
	bool is_v4;
};

bool weir_addr_is_v4(const struct weir_addr *a);

/* Both return 0 or -EINVAL. An address without "/LEN" is a full-length
 * prefix. IPv4 may be abbreviated as in pcap-filter nets ("10.1" = 10.1.0.0/16)
 * only where @allow_short. Host bits set: -ERANGE, so that the caller can say
 * so. */
int weir_addr_parse(const char *s, struct weir_addr *ret);
int weir_prefix_parse(const char *s, bool allow_short, struct weir_prefix *ret);
/* An IPv6 prefix holds no IPv4 address, not even ::/0. */
bool weir_prefix_contains(const struct weir_prefix *p, const struct weir_addr *a);

/* Canonical text (RFC 5952); mapped IPv4 prints as IPv4, a full-length prefix
 * as its address. Returns @buf. */
const char *weir_addr_str(const struct weir_addr *a, char buf[WEIR_ADDR_STRLEN]);
const char *weir_prefix_str(const struct weir_prefix *p,
			    char buf[WEIR_ADDR_STRLEN]);
/* The same without a detour through a C string, for the packet formats. */
void weir_buf_add_addr(struct weir_buf *b, const uint8_t addr[16]);
/* An address of an IPv6 packet: even ::ffff:10.0.0.1 is shown as it stands there. */
void weir_buf_add_addr6(struct weir_buf *b, const uint8_t addr[16]);
/* "192.0.2.1:443", "[2001:db8::1]:443"; @port 0: the address only. */
void weir_buf_add_end(struct weir_buf *b, const uint8_t addr[16], uint16_t port);
void weir_buf_add_mac(struct weir_buf *b, const uint8_t mac[6]);

/* "aa:bb:cc:dd:ee:ff" (also '-' and '.' as separators). 0 or -EINVAL. */
int weir_mac_parse(const char *s, uint8_t ret[6]);
