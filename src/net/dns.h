/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DNS messages (RFC 1035), as far as a host's addresses need them: the answer to one
 * question for A or AAAA, its chain of CNAMEs, and how long a negative one is good
 * (RFC 2308). Reads bytes from strangers and calls nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define WEIR_DNS_NAME_MAX 253 /* characters of a name, without trailing dot */
#define WEIR_DNS_LABEL_MAX 63
#define WEIR_DNS_ADDRS 8 /* addresses that are kept of one answer */

enum weir_dns_type { WEIR_DNS_A = 1, WEIR_DNS_AAAA = 28 };

enum weir_dns_says {
	WEIR_DNS_ADDRESSES,
	WEIR_DNS_NO_NAME, /* NXDOMAIN */
	WEIR_DNS_NO_DATA,
	WEIR_DNS_FAILURE, /* any other response code */
};

struct weir_dns_answer {
	enum weir_dns_says says;
	struct weir_addr addr[WEIR_DNS_ADDRS]; /* in the order of the message */
	size_t n;
	uint32_t ttl; /* s: the least of the addresses' and of the CNAMEs' that lead to
		       * them; of NO_NAME and NO_DATA: by the SOA, 0 where there is none */
};

/* A host name that may be asked for: letters, digits, '-' and '_' in labels of 1 to 63,
 * at most 253 in all, no trailing dot, and no IPv4 address (RFC 1123, 2.1: the last
 * label is not a number). */
bool weir_dns_name_ok(const char *name);

/* Read @msg, which must be the answer to the one question @name, @type. Records of
 * other names are passed over. -EBADMSG: it is not, or is malformed. */
int weir_dns_read(const uint8_t *msg, size_t len, const char *name, enum weir_dns_type type,
		  struct weir_dns_answer *ret);
