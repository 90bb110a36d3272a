/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ends of a socket's connection, as this host sees them, and the packet by which
 * the match language looks at them: from the initiator to the listener, the same seen from
 * both ends. The same bytes in the kernel and in user space.
 */
#pragma once

#include "bpf/pkt.h"

#define WEIR_ENDS_INITIATED (1U << 0) /* this end began the connection */
#define WEIR_ENDS_GUESSED (1U << 1)   /* ...or so it seems: nobody saw it begin */

struct weir_ends {
	__u64 netns;		    /* cookie of the network namespace */
	__u64 cookie;		    /* of the socket; 0 = unknown */
	__u8 local[16], remote[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
	__u16 lport, rport;	    /* host order */
	__u8 proto;		    /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 flags;		    /* WEIR_ENDS_* */
	__u16 pad;		    /* zero */
};

_Static_assert(sizeof(struct weir_ends) == 56, "ABI: struct weir_ends");

/*
 * @p: all of it is written. Only addresses, protocol and ports mean something; whether this
 * end initiated stands in tcp_flags (SYN: it did), where match/conn.h looks for it.
 */
static inline void weir_ends_pkt(const struct weir_ends *e, struct weir_pkt *p)
{
	const __u32 *remote = (const __u32 *)e->remote;
	int out = e->flags & WEIR_ENDS_INITIATED;
	int v4 = !remote[0] && !remote[1] && remote[2] == __builtin_bswap32(0xffff);

	__builtin_memset(p, 0, sizeof(*p));
	__builtin_memcpy(p->src, out ? e->local : e->remote, sizeof(p->src));
	__builtin_memcpy(p->dst, out ? e->remote : e->local, sizeof(p->dst));
	p->sport = out ? e->lport : e->rport;
	p->dport = out ? e->rport : e->lport;
	p->proto = e->proto;
	p->eth_type = v4 ? 0x0800 : 0x86dd;
	p->flags = (v4 ? WEIR_PKT_IP4 : WEIR_PKT_IP6) | WEIR_PKT_PORTS | WEIR_PKT_TCP;
	p->tcp_flags = out ? WEIR_TCP_SYN : 0;
}
