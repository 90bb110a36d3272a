/* SPDX-License-Identifier: GPL-2.0-only */
/* The line format's parts. */
#pragma once

#include "cap/watch/fields.h"
#include "cap/watch/format.h"

#define WEIR_SCTP_CHUNKS_MAX 8 /* chunks named in a line or listed */

struct weir_line {
	const struct weir_formatter *f;
	const struct weir_packet *p;
	struct weir_buf *out;
	bool inner; /* of a tunnel: no further one is opened */
};

/* Each begins with a blank: the part before ends in a colon or a word. */
void weir_line_icmp(const struct weir_line *l);
void weir_line_icmp6(const struct weir_line *l);
void weir_line_length(const struct weir_line *l, uint32_t len);
