/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parsed packet: what the parser (bpf/parse.bpf.h) fills and what the
 * match language, the observers and the deciders read. The same bytes in the
 * kernel and in user space.
 *
 * A field is meaningful only where its flag says so; otherwise it is zero.
 * Addresses are in network order; every number is in host order.
 */
#pragma once

#include <linux/types.h>

/* Headers are looked for in the first WEIR_PKT_HDR_MAX bytes of a frame, at
 * every hook and in user space alike, so that all of them agree. What lies
 * deeper sets WEIR_PKT_TRUNCATED. */
#define WEIR_PKT_HDR_MAX 512
#define WEIR_PKT_VLANS 2    /* tags understood: 802.1Q in 802.1ad or 802.1Q */
#define WEIR_PKT_EXT_MAX 6  /* IPv6 extension headers walked */

/* struct weir_pkt.flags */
#define WEIR_PKT_ETHER     (1U << 0)  /* eth_dst, eth_src (absent on tun) */
#define WEIR_PKT_IP4       (1U << 1)  /* src, dst (mapped), proto, ttl, tos, l4_off */
#define WEIR_PKT_IP6       (1U << 2)  /* the same for IPv6 */
#define WEIR_PKT_ARP       (1U << 3)  /* src, dst = sender, target (IPv4 over Ethernet) */
#define WEIR_PKT_FRAGMENT  (1U << 4)  /* any fragment: frag_off, frag_id, frag_start */
#define WEIR_PKT_FRAG_LATER (1U << 5) /* offset > 0: no layer-4 header inside */
#define WEIR_PKT_FRAG_MORE (1U << 6)  /* more fragments follow */
#define WEIR_PKT_PORTS     (1U << 7)  /* sport, dport: TCP, UDP, UDP-Lite, SCTP, DCCP */
#define WEIR_PKT_TCP       (1U << 8)  /* tcp_flags; the fixed TCP header is there */
#define WEIR_PKT_ICMP      (1U << 9)  /* icmp_type, icmp_code (ICMP or ICMPv6) */
#define WEIR_PKT_IP_OPTIONS (1U << 10) /* IPv4 options or IPv6 extension headers */
#define WEIR_PKT_TRUNCATED (1U << 11) /* a header runs past the bytes at hand */
#define WEIR_PKT_MALFORMED (1U << 12) /* a header contradicts itself */
#define WEIR_PKT_MORE_VLANS (1U << 13) /* a third tag: nothing behind it is read */
#define WEIR_PKT_MORE_EXT  (1U << 14) /* a seventh extension header: likewise */
#define WEIR_PKT_AH        (1U << 15) /* an Authentication Header was walked through */

/* tcp_flags: the 9 flag bits of RFC 9293 and RFC 9768 (AE) */
#define WEIR_TCP_FIN 0x001
#define WEIR_TCP_SYN 0x002
#define WEIR_TCP_RST 0x004
#define WEIR_TCP_PSH 0x008
#define WEIR_TCP_ACK 0x010
#define WEIR_TCP_URG 0x020
#define WEIR_TCP_ECE 0x040
#define WEIR_TCP_CWR 0x080
#define WEIR_TCP_AE  0x100

struct weir_pkt {
	__u8  src[16];	    /* IPv4 and ARP as ::ffff:a.b.c.d */
	__u8  dst[16];
	__u8  eth_dst[6];
	__u8  eth_src[6];
	__u16 eth_type;	    /* behind the tags; on tun 0x0800 or 0x86dd */
	__u16 flags;	    /* WEIR_PKT_* */
	__u16 sport, dport;
	__u16 vlan[WEIR_PKT_VLANS]; /* whole TCI, outermost first */
	__u16 tcp_flags;
	__u16 frag_off;	    /* bytes */
	__u16 l3_off;	    /* from the frame's first byte, 0 = none (tun: 0 and IP4/IP6 set) */
	__u16 l4_off;	    /* 0 = none (later fragments: where their data starts) */
	__u16 payload_off;  /* behind the layer-4 header; 0 = unknown */
	__u8  vlans;	    /* tags seen, 0..WEIR_PKT_VLANS */
	__u8  proto;	    /* IANA protocol number behind the extension headers */
	__u8  ttl;	    /* or hop limit */
	__u8  tos;	    /* or traffic class */
	__u8  icmp_type, icmp_code;
	__u32 len;	    /* bytes on the wire from the first byte, tags included */
	__u32 l3_len;	    /* IPv4 total length; IPv6 payload length + 40; 0 = none */
	__u32 frag_id;	    /* identification, of the IPv4 header or IPv6's Fragment header */
	__u16 frag_start;   /* where the datagram's own bytes begin; 0 = no fragment */
	__u16 pad;	    /* zero */
} __attribute__((aligned(8))); /* written in 8-byte words, on the BPF stack too */

_Static_assert(sizeof(struct weir_pkt) == 88, "ABI: struct weir_pkt");
