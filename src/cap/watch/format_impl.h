/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files behind format.h share. */
#pragma once

#include <string.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "cap/watch/format.h"

#define WEIR_ETHERTYPE_MIN 0x600 /* below: the length of an 802.3 frame */
#define WEIR_TCP_LETTERS 12

/* Appending a literal, its length known to the compiler. */
#define ADD(out, literal) weir_buf_add(out, "" literal, sizeof(literal) - 1)

enum weir_colour {
	WEIR_COLOUR_NONE,
	WEIR_COLOUR_DIM,
	WEIR_COLOUR_BAD,
	WEIR_COLOUR_NOTE,
};

/* One format each; time, interface and the final newline included. */
void weir_format_line(const struct weir_formatter *f, const struct weir_packet *p,
		      struct weir_buf *out);
void weir_format_proto(const struct weir_formatter *f, const struct weir_packet *p,
		       struct weir_buf *out);
void weir_format_json(const struct weir_packet *p, struct weir_buf *out);

/* Lines below the packet. */
void weir_format_dump(enum weir_dump kind, const struct weir_packet *p,
		      struct weir_buf *out);
void weir_format_payload(const struct weir_packet *p, struct weir_buf *out);

/* Nothing with -t; else the time without a separator behind it. */
void weir_format_time(const struct weir_formatter *f, uint64_t ns,
		      struct weir_buf *out);
/* "DROP filter/NAME"; nothing for a packet that passed. Returns whether
 * anything was added. */
bool weir_format_verdict(const struct weir_formatter *f, const struct weir_packet *p,
			 struct weir_buf *out);
/* "owner curl 1234, peer nginx 77"; nothing where they are not known. */
void weir_format_owners(const struct weir_formatter *f, const struct weir_packet *p,
			struct weir_buf *out);
void weir_format_colour(const struct weir_formatter *f, enum weir_colour c,
			struct weir_buf *out);
/* tcpdump's letters, "S." or "none". */
void weir_format_tcp_letters(uint16_t flags, char ret[WEIR_TCP_LETTERS]);
/* Text of someone else's: what is not printable ASCII becomes '.'. */
void weir_format_safe(struct weir_buf *out, const uint8_t *s, size_t n);
/* Four bytes of an address. */
void weir_format_ip4(struct weir_buf *out, const uint8_t b[4]);
