/* SPDX-License-Identifier: GPL-2.0-only */
/* One packet into the statistics: the same code in the kernel and in user space. */
#pragma once

#include "bpf/hash.bpf.h"
#include "bpf/pkt.h"
#include "cap/watch/watch.h"

#define WEIR_STATS_INLINE static inline __attribute__((always_inline))

WEIR_STATS_INLINE enum weir_watch_protocol weir_watch_protocol_of(const struct weir_pkt *p)
{
	if (p->flags & WEIR_PKT_ARP)
		return WEIR_WATCH_PROTOCOL_ARP;
	if (!(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return WEIR_WATCH_PROTOCOL_OTHER;
	switch (p->proto) {
	case 6:
		return WEIR_WATCH_PROTOCOL_TCP;
	case 17:
		return WEIR_WATCH_PROTOCOL_UDP;
	case 1: /* over IPv6 it means nothing, and so does the other over IPv4 */
		return p->flags & WEIR_PKT_IP4 ? WEIR_WATCH_PROTOCOL_ICMP :
						 WEIR_WATCH_PROTOCOL_OTHER_IP;
	case 58:
		return p->flags & WEIR_PKT_IP6 ? WEIR_WATCH_PROTOCOL_ICMPV6 :
						 WEIR_WATCH_PROTOCOL_OTHER_IP;
	}
	return WEIR_WATCH_PROTOCOL_OTHER_IP;
}

WEIR_STATS_INLINE __u32 weir_watch_size_of(__u32 bytes)
{
#define X(most)              \
	if (bytes <= (most)) \
		return WEIR_WATCH_SIZE_##most;
	WEIR_WATCH_SIZES(X)
#undef X
	return WEIR_WATCH_SIZE_LARGER;
}

WEIR_STATS_INLINE void weir_watch_sum_add(struct weir_watch_sum *s, __u32 wire, __u32 bytes)
{
	s->packets++;
	s->wire_packets += wire;
	s->bytes += bytes;
}

/* A packet of @bytes on the wire. */
WEIR_STATS_INLINE void weir_watch_stats_add(struct weir_watch_stats *s, const struct weir_pkt *p,
					    __u32 bytes, __u32 gso_size)
{
	__u32 wire = weir_wire_packets(p, gso_size);

	weir_watch_sum_add(&s->protocol[weir_watch_protocol_of(p)], wire, bytes);
	weir_watch_sum_add(&s->size[weir_watch_size_of(bytes)], wire, bytes);
	if (!(p->flags & WEIR_PKT_TCP))
		return;
	for (__u32 i = 0; i < WEIR_WATCH_TCP_FLAGS; i++)
		s->tcp_flags[i] += p->tcp_flags >> i & 1;
}
