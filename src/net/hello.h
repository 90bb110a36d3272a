/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TLS ClientHello (RFC 8446, 4.1.2; RFC 6066, 3; RFC 7301; RFC 9849), read without
 * terminating TLS: over any number of segments and records (RFC 8446, 5.1), up to
 * WEIR_HELLO_MAX bytes of them.
 *
 * Bytes are fed as they come, each once, so that a client that drips single bytes
 * costs no more than its bytes. Nothing of it is trusted; nothing is kept but what
 * this struct shows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_HELLO_MAX	65536 /* bytes of records that are read to find the hello's end */
#define WEIR_HELLO_NAME 256   /* a host name with NUL */
#define WEIR_HELLO_ALPN 256   /* bytes of the protocol list that are kept */

enum weir_hello_state {
	WEIR_HELLO_MORE,      /* feed more */
	WEIR_HELLO_DONE,
	WEIR_HELLO_NOT_TLS,   /* its first bytes are not those of a handshake record */
	WEIR_HELLO_MALFORMED, /* a handshake record, but no well-formed ClientHello */
	WEIR_HELLO_TOO_LONG,
};

struct weir_hello {
	enum weir_hello_state state;
	/* With DONE: */
	char name[WEIR_HELLO_NAME]; /* SNI as weir_hello_name() makes it; "" = none. One
				     * that it refuses is MALFORMED */
	bool ech;		    /* carries encrypted_client_hello, GREASE or not */
	bool early_data;	    /* 0-RTT follows */
	uint16_t version;	    /* the highest that it offers: 0x0304; GREASE left out.
				     * 0: none of TLS */
	uint8_t alpn_len;
	uint8_t alpn[WEIR_HELLO_ALPN]; /* one length byte and that many bytes each; whole
					* names only */
	/* What the parser keeps. */
	uint8_t *body; /* of the handshake message */
	uint32_t need, have, cap;
	uint32_t record_left, fed;
	uint8_t head[9], head_len;
};

void weir_hello_init(struct weir_hello *h);
void weir_hello_free(struct weir_hello *h); /* its memory; the answer stays readable */
/* Feed the next @n bytes. Bytes behind the hello's end are not looked at. -ENOMEM. */
int weir_hello_feed(struct weir_hello *h, const void *data, size_t n);
/* The name that is routed by: @name in lower case, without one trailing dot. False: empty,
 * longer than 253 without that dot, with an empty label, or with a blank, NUL, control
 * character or byte beyond ASCII. Any other character is kept, and so is an IP address. */
bool weir_hello_name(const void *name, size_t n, char ret[WEIR_HELLO_NAME]);
/* Is @proto ("h2", "http/1.1") among the ALPN names? */
bool weir_hello_has_alpn(const struct weir_hello *h, const char *proto);
