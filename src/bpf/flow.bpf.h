/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow: one record for both directions of a conversation. Side A is the
 * lower of the two ends; who initiated is told by the flags, or guessed by user
 * space. The same code adds a packet in the kernel and in user space.
 */
#pragma once

#include "bpf/hash.bpf.h"
#include "bpf/pkt.h"

struct weir_flow_key {
	__u8  addr_a[16], addr_b[16]; /* IPv4 as ::ffff:a.b.c.d; zero when not IP or ARP */
	__u16 port_a, port_b; /* host order; 0 for a later fragment or no ports */
	__u32 ifindex;
	__u16 eth_type;	      /* behind the tags */
	__u8  proto;	      /* IANA number; 0 when not IP */
	__u8  fragment;	      /* 1: later fragments, ports unknown */
};

/* The kernel's table has one record for each CPU that saw the flow, so that no
 * two ever write to the same; user space merges them. */
struct weir_flow_part {
	struct weir_flow_key key;
	__u32 cpu;
};

#define WEIR_FLOW_FIRST_B (1U << 0) /* the first packet came from side B */
#define WEIR_FLOW_SYN_A	  (1U << 1) /* side A opened: its SYN, or B's SYN-ACK, was seen */
#define WEIR_FLOW_SYN_B	  (1U << 2)

#define WEIR_FLOW_ALERT_SHIFT 16 /* above: a bit for each rule that a packet matched */

/* Index of packets, wire and bytes */
#define WEIR_FLOW_IN 0	/* received by this host */
#define WEIR_FLOW_OUT 1 /* sent by it */

struct weir_flow_val {
	__u64 first, last;	/* ns: CLOCK_MONOTONIC in the kernel */
	__u64 packets[2];	/* as the hook saw them (skbs) */
	__u64 wire[2];		/* packets on the wire: segmentation offload unfolded */
	__u64 bytes[2];		/* of the frames as the hook saw them */
	__u16 tcp_flags[2];	/* or-ed; [0] sent by side A, [1] by side B */
	__u32 flags;		/* WEIR_FLOW_* */
};

/* Who sent what, for those who must know (IPFIX): behind the value in the same record. As
 * the IP layer has it, segmentation offload unfolded. */
#define WEIR_FLOW_A 0
#define WEIR_FLOW_B 1

struct weir_flow_sum {
	__u64 packets; /* on the wire */
	__u64 octets;  /* of their IP headers and payload */
};

struct weir_flow_sides {
	struct weir_flow_sum by[2][2]; /* [WEIR_FLOW_A, _B][WEIR_FLOW_IN, _OUT] */
};

struct weir_flow_full {
	struct weir_flow_val val;
	struct weir_flow_sides sides;
};

_Static_assert(sizeof(struct weir_flow_key) == 44, "ABI: struct weir_flow_key");
_Static_assert(sizeof(struct weir_flow_part) == 48, "ABI: struct weir_flow_part");
_Static_assert(sizeof(struct weir_flow_val) == 72, "ABI: struct weir_flow_val");
_Static_assert(sizeof(struct weir_flow_full) == 136, "ABI: struct weir_flow_full");

/* Is the source side A? Any total order does as long as both directions agree:
 * compare the addresses as the CPU reads them, then the ports. */
static inline int weir_flow_src_is_a(const struct weir_pkt *p)
{
	__u64 src[2], dst[2];

	__builtin_memcpy(src, p->src, sizeof(src));
	__builtin_memcpy(dst, p->dst, sizeof(dst));
	if (src[1] != dst[1])
		return src[1] < dst[1];
	if (src[0] != dst[0])
		return src[0] < dst[0];
	return p->sport <= p->dport;
}

static inline void weir_flow_key_of(const struct weir_pkt *p, __u32 ifindex, int src_a,
				    struct weir_flow_key *k)
{
	__builtin_memcpy(k->addr_a, src_a ? p->src : p->dst, sizeof(k->addr_a));
	__builtin_memcpy(k->addr_b, src_a ? p->dst : p->src, sizeof(k->addr_b));
	k->port_a = src_a ? p->sport : p->dport;
	k->port_b = src_a ? p->dport : p->sport;
	k->ifindex = ifindex;
	k->eth_type = p->eth_type;
	k->proto = p->proto;
	k->fragment = !!(p->flags & WEIR_PKT_FRAG_LATER);
}

/* Add one packet of @len bytes; @dir is WEIR_FLOW_IN or _OUT. */
static inline void weir_flow_add(struct weir_flow_val *v, const struct weir_pkt *p, int src_a,
				 __u32 dir, __u32 len, __u32 gso_size, __u64 now)
{
	v->last = now;
	if (!v->first) {
		v->first = now;
		v->flags = src_a ? 0 : WEIR_FLOW_FIRST_B;
	}
	v->packets[dir]++;
	v->wire[dir] += weir_wire_packets(p, gso_size);
	v->bytes[dir] += len;
	v->tcp_flags[!src_a] |= p->tcp_flags;
	if (p->tcp_flags & WEIR_TCP_SYN)
		v->flags |= !(p->tcp_flags & WEIR_TCP_ACK) == !!src_a ? WEIR_FLOW_SYN_A :
									WEIR_FLOW_SYN_B;
}

/* Of an IP packet only; of others nothing is added. */
static inline void weir_flow_add_sides(struct weir_flow_sides *s, const struct weir_pkt *p,
				       int src_a, __u32 dir, __u32 gso_size)
{
	struct weir_flow_sum *sum = &s->by[src_a ? WEIR_FLOW_A : WEIR_FLOW_B][dir];
	__u32 there = p->len - p->l3_off, n;

	if (!(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return;
	/* Padding of short frames is no part of the packet; a length that was not yet set
	 * for large ones, or that goes beyond the frame, says nothing. */
	if (!gso_size && p->l3_len && p->l3_len < there)
		there = p->l3_len;
	n = weir_wire_packets(p, gso_size);
	sum->packets += n;
	sum->octets += there;
	if (p->payload_off > p->l3_off)
		sum->octets += (__u64)(n - 1) * (__u32)(p->payload_off - p->l3_off);
}
