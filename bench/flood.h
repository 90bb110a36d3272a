/* SPDX-License-Identifier: GPL-2.0-only */
/* The frame that the generator sends, for both its halves. */
#pragma once

#include <linux/types.h>

#define FLOOD_PORT 1024		/* source port of the first flow */
#define FLOOD_NET 0xc6120000U	/* 198.18.0.0, where the sources begin */
#define FLOOD_TURN 60000	/* flows that the source port, or address, tells apart */
#define FLOOD_DPORT 9		/* of the first so many; the next have the next */
#define FLOOD_FLOWS_MAX (64 * FLOOD_TURN)
#define FLOOD_MAGIC 0x776c6600U /* in the payload, so that the frame is known */

/* Ethernet, IPv4, UDP. */
struct flood_frame {
	__u8 eth_dst[6], eth_src[6];
	__be16 eth_type_be;
	__u8 version_ihl, tos;
	__be16 ip_len_be;
	__be16 id_be, frag_be;
	__u8 ttl, proto;
	__u16 ip_csum;
	__be32 src_be, dst_be;
	__be16 sport_be, dport_be;
	__be16 udp_len_be;
	__u16 udp_csum; /* 0: none, which IPv4 allows */
	__u32 magic;
} __attribute__((packed));
