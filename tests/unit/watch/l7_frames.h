/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets of TCP and UDP made byte by byte, as a capture hands them over. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/packet.h"

#define FRAME_TCP 54 /* bytes before the payload */
#define FRAME_UDP 42
#define FRAME_TS 1767323045000000000ULL

struct frame {
	uint8_t client[4], server[4];
	uint16_t client_port, server_port;
	bool answers; /* from the server */
	uint32_t seq;
	uint8_t tcp_flags;
	uint32_t caplen; /* of the payload; UINT32_MAX: all of it */
	uint64_t later;	 /* ns */
};

static inline struct frame frame_of(uint16_t client_port, uint16_t server_port)
{
	return (struct frame){ .client = { 10, 0, 0, 1 },
			       .server = { 10, 0, 0, 2 },
			       .client_port = client_port,
			       .server_port = server_port,
			       .tcp_flags = 0x18,
			       .caplen = UINT32_MAX };
}

static inline void frame_u16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* The packet's bytes are to be freed; they end where the capture ends. */
static inline void frame_make(const struct frame *f, bool udp, const void *payload, uint32_t n,
			      struct weir_packet *ret)
{
	const uint32_t head = udp ? FRAME_UDP : FRAME_TCP, have = n < f->caplen ? n : f->caplen;
	uint8_t *b = calloc(1, head + have);

	b[12] = 8;
	b[14] = 0x45;
	frame_u16(b + 16, head - 14 + n);
	b[22] = 64;
	b[23] = udp ? 17 : 6;
	memcpy(b + 26, f->answers ? f->server : f->client, 4);
	memcpy(b + 30, f->answers ? f->client : f->server, 4);
	frame_u16(b + 34, f->answers ? f->server_port : f->client_port);
	frame_u16(b + 36, f->answers ? f->client_port : f->server_port);
	if (udp) {
		frame_u16(b + 38, 8 + n);
	} else {
		frame_u16(b + 38, f->seq >> 16);
		frame_u16(b + 40, f->seq);
		b[46] = 0x50;
		b[47] = f->tcp_flags;
	}
	if (have)
		memcpy(b + head, payload, have);
	*ret = (struct weir_packet){ .data = b, .iface = "eth0", .wire_packets = 1 };
	ret->ev.len = head + n;
	ret->ev.caplen = head + have;
	ret->ev.ts = FRAME_TS + f->later;
	weir_parse(&ret->hdr, b,
		   b + (ret->ev.caplen < WEIR_PKT_HDR_MAX ? ret->ev.caplen : WEIR_PKT_HDR_MAX),
		   WEIR_L2_ETHER, 0, ret->ev.len);
}
