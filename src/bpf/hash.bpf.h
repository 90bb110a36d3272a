/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two figures about a parsed packet that the kernel and user space have to
 * agree on. Neither calls a helper.
 */
#pragma once

#include "bpf/pkt.h"

#ifndef WEIR_INLINE
#define WEIR_INLINE inline __attribute__((always_inline))
#endif

/* Odd and without pattern: the fractions of the golden ratio and of the square
 * roots of 2 and 3. */
#define WEIR_HASH_K0 0x9e3779b97f4a7c15ULL
#define WEIR_HASH_K1 0x6a09e667f3bcc909ULL
#define WEIR_HASH_K2 0xbb67ae8584caa73bULL

/* What segmentation can make of one packet at most (16 bits in the kernel). */
#define WEIR_WIRE_PACKETS_MAX 65535U

static WEIR_INLINE __u64 weir_hash_mix(__u64 h, __u64 word)
{
	h = (h ^ word) * WEIR_HASH_K0;
	return h ^ h >> 32;
}

/* One end of the flow: address (or MAC address) and port. */
static WEIR_INLINE __u64 weir_hash_end(__u64 seed, const __u8 *addr, __u32 port)
{
	__u64 high, low;

	__builtin_memcpy(&high, addr, sizeof(high));
	__builtin_memcpy(&low, addr + sizeof(high), sizeof(low));
	return weir_hash_mix(weir_hash_mix(seed ^ port * WEIR_HASH_K1, high), low);
}

/*
 * Hash of the packet's flow, the same for both directions: addresses, protocol
 * and ports; without IP and ARP the Ethernet addresses and the type instead.
 *
 * All fragments of a datagram have to hash alike and only the first one has
 * the ports and, behind extension headers, the protocol: of any fragment only
 * the addresses count. (So a fragmented datagram is another flow than the rest
 * of its connection.)
 */
static WEIR_INLINE __u32 weir_pkt_hash(const struct weir_pkt *p, __u32 seed)
{
	__u64 start = seed * WEIR_HASH_K2;
	__u64 kind, src, dst, h;
	__u64 mac = 0;

	if (p->flags & WEIR_PKT_FRAGMENT) {
		kind = WEIR_PKT_FRAGMENT;
		src = weir_hash_end(start, p->src, 0);
		dst = weir_hash_end(start, p->dst, 0);
	} else if (p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6 | WEIR_PKT_ARP)) {
		kind = (__u64)p->proto << 16 | (p->flags & WEIR_PKT_ARP);
		src = weir_hash_end(start, p->src, p->sport);
		dst = weir_hash_end(start, p->dst, p->dport);
	} else {
		kind = (__u64)p->eth_type << 32;
		__builtin_memcpy(&mac, p->eth_src, sizeof(p->eth_src));
		src = weir_hash_mix(start, mac);
		__builtin_memcpy(&mac, p->eth_dst, sizeof(p->eth_dst));
		dst = weir_hash_mix(start, mac);
	}
	/* Sum and exclusive or keep both ends in, whichever comes first. */
	h = weir_hash_mix(src + dst, kind);
	h = weir_hash_mix(h, (src ^ dst) * WEIR_HASH_K1);
	h *= WEIR_HASH_K2;
	return h >> 32;
}

/* Bytes behind the layer-4 header, or behind what of it is known. */
static WEIR_INLINE __u32 weir_wire_payload(const struct weir_pkt *p)
{
	__u32 head = p->payload_off ? p->payload_off : p->l4_off;
	__u32 tags_inside = 0;

	/* A tag in metadata counts in len, but not in the offsets. */
	if (p->flags & WEIR_PKT_ETHER && p->l3_off)
		tags_inside = (p->l3_off - 14U) / 4;
	head += (p->vlans - tags_inside) * 4U;
	return head && head < p->len ? p->len - head : 0;
}

/* Packets on the wire that a packet of @gso_size makes: the payload in pieces
 * of that size. 1 where it is 0. (In a tunnel the pieces are the inner payload's,
 * whose headers are not parsed: the last piece may then be counted as two.) */
static WEIR_INLINE __u32 weir_wire_packets(const struct weir_pkt *p, __u32 gso_size)
{
	__u32 payload, n;

	if (!gso_size)
		return 1;
	payload = weir_wire_payload(p);
	n = payload / gso_size + !!(payload % gso_size);
	if (n > WEIR_WIRE_PACKETS_MAX)
		return WEIR_WIRE_PACKETS_MAX;
	return n ? n : 1;
}
