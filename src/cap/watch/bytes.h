/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a packet's bytes: every access names how much it needs and gets NULL
 * where that much was not captured.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cap/watch/packet.h"

static inline const uint8_t *weir_packet_at(const struct weir_packet *p,
					    uint32_t off, uint32_t n)
{
	if (off > p->ev.caplen || n > p->ev.caplen - off)
		return NULL;
	return p->data + off;
}

/* Captured bytes from @off on. */
static inline uint32_t weir_packet_left(const struct weir_packet *p, uint32_t off)
{
	return off < p->ev.caplen ? p->ev.caplen - off : 0;
}

static inline uint16_t weir_be16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t weir_be32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 |
	       b[3];
}

static inline uint64_t weir_be64(const uint8_t *b)
{
	return (uint64_t)weir_be32(b) << 32 | weir_be32(b + 4);
}

/* Where the network layer ends in the frame: what lies behind is padding.
 * Frames without a length of their own (BIG TCP leaves it 0) end with the
 * frame. */
static inline uint32_t weir_packet_l3_end(const struct weir_packet *p)
{
	uint32_t end = p->hdr.l3_off + p->hdr.l3_len;

	return p->hdr.l3_len && end < p->ev.len ? end : p->ev.len;
}

/* Bytes of the transport header and its payload, as the network layer says;
 * 0 where there is none. */
static inline uint32_t weir_packet_l4_len(const struct weir_packet *p)
{
	uint32_t end = p->hdr.l3_len ? p->hdr.l3_off + p->hdr.l3_len : p->ev.len;

	return p->hdr.l4_off && end > p->hdr.l4_off ? end - p->hdr.l4_off : 0;
}

/* A header between IP and the transport: IPv6 extension headers, or AH. */
struct weir_ext {
	uint32_t off;	/* in the frame */
	uint32_t len;
	uint8_t type;	/* protocol number of this header */
	uint8_t next;
	uint8_t index;	/* of WEIR_PKT_EXT_MAX */
	bool last;	/* a later fragment: what follows is not a header */
};

/* The headers that weir_parse() walks, where they are wholly captured. Start
 * with a zeroed @e; at the end @e->next is what follows. */
bool weir_packet_next_ext(const struct weir_packet *p, struct weir_ext *e);

/* The IP packet inside this one at @off (quoted by an ICMP error, or in a
 * tunnel) as a packet of its own, without layer 2; false where there is none. */
bool weir_packet_inner(const struct weir_packet *p, uint32_t off,
		       struct weir_packet *ret);
