/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Any DNS message (RFC 1035; also mDNS, RFC 6762, and LLMNR, RFC 4795), read from its first
 * byte to its last, one question or record a step. Nothing is allocated and nothing is
 * trusted: a name's pointers lead back only, and a step costs no more than its bytes and
 * one name. net/dns.h is the resolver's own reader, which answers one question.
 *
 *	weir_dnsmsg_begin(&m, msg, len);
 *	while (weir_dnsmsg_next(&m, &r) > 0)
 *		...
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define WEIR_DNSMSG_HEADER 12
/* A name's text with NUL: 253 characters, of which each may be written as \DDD. */
#define WEIR_DNSMSG_NAME (253 * 4 + 1)
#define WEIR_DNSMSG_TYPE_NAME 16 /* "TYPE65535" with NUL */

enum weir_dnsmsg_section {
	WEIR_DNSMSG_QUESTION,
	WEIR_DNSMSG_ANSWER,
	WEIR_DNSMSG_AUTHORITY,
	WEIR_DNSMSG_ADDITIONAL,
	WEIR_DNSMSG_SECTIONS,
};

enum weir_dnsmsg_type { /* those that are told apart */
			WEIR_DNSMSG_A = 1,
			WEIR_DNSMSG_NS = 2,
			WEIR_DNSMSG_CNAME = 5,
			WEIR_DNSMSG_PTR = 12,
			WEIR_DNSMSG_MX = 15,
			WEIR_DNSMSG_AAAA = 28,
			WEIR_DNSMSG_SRV = 33,
			WEIR_DNSMSG_DNAME = 39,
			WEIR_DNSMSG_OPT = 41,
			WEIR_DNSMSG_SVCB = 64,
			WEIR_DNSMSG_HTTPS = 65,
};

#define WEIR_DNSMSG_CLASS_IN 1
#define WEIR_DNSMSG_CLASS_BITS 0x7fff /* the highest bit of a class is a flag of mDNS */

struct weir_dnsmsg {
	uint16_t id;
	bool response, authoritative, truncated, recursion_desired, recursion_available;
	bool authentic;	       /* AD */
	uint8_t opcode, rcode; /* rcode: the four bits of the header */
	uint16_t counts[WEIR_DNSMSG_SECTIONS];
	/* What the reader keeps. */
	const uint8_t *msg;
	size_t len, at;
	uint8_t section;
	uint16_t done; /* of this section */
};

struct weir_dnsmsg_record {
	enum weir_dnsmsg_section section;
	/* Without trailing dot, "." for the root; in the case it has; characters that are not
	 * printable, and dots and backslashes in a label, as RFC 4343, 2.1 writes them. */
	char name[WEIR_DNSMSG_NAME];
	uint16_t type, class;
	uint32_t ttl;	  /* s; 0 of a question */
	uint16_t at, len; /* the data's place in the message */
};

/* 0, or -EBADMSG: too short for a header. */
int weir_dnsmsg_begin(struct weir_dnsmsg *m, const void *data, size_t len);
/* 1: *@ret is the next; 0: there are no more; -EBADMSG: the rest cannot be read, be it
 * malformed or cut off. */
int weir_dnsmsg_next(struct weir_dnsmsg *m, struct weir_dnsmsg_record *ret);

/* The address in an A or AAAA record. False: it is neither, or its length is wrong. */
bool weir_dnsmsg_addr(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
		      struct weir_addr *ret);
/* The name in the data of the types that have one: NS, CNAME, PTR, DNAME, MX, SRV, SVCB,
 * HTTPS. False: the type has none, or it is malformed. */
bool weir_dnsmsg_target(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
			char ret[WEIR_DNSMSG_NAME]);

/* "AAAA", "TYPE731" (RFC 3597). Returns @buf or a constant. */
const char *weir_dnsmsg_type_name(uint16_t type, char buf[WEIR_DNSMSG_TYPE_NAME]);
/* "NXDOMAIN"; NULL where the number has no name. */
const char *weir_dnsmsg_rcode_name(uint8_t rcode);

/* Over TCP a message has its length before it (RFC 1035, 4.2.2). With at least two bytes at
 * hand: how many the message has. */
static inline size_t weir_dnsmsg_tcp_len(const uint8_t *data)
{
	return (size_t)data[0] << 8 | data[1];
}
