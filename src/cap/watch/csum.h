/* SPDX-License-Identifier: GPL-2.0-only */
/* A checksum verdict with what led to it, for the formats that spell it out. */
#pragma once

#include <stdint.h>

#include "cap/watch/packet.h"

struct weir_csum_result {
	enum weir_csum verdict;
	uint8_t width;	   /* bytes of the field: 2, or 4 for SCTP */
	uint32_t off;	   /* of the field in the frame */
	uint32_t found;
	uint32_t expected; /* meaningful for OK and BAD */
	uint32_t have, need; /* captured bytes, bytes it covers */
};

void weir_packet_csum_explain(const struct weir_packet *p,
			      struct weir_csum_result *ret);
void weir_packet_ip_csum_explain(const struct weir_packet *p,
				 struct weir_csum_result *ret);
