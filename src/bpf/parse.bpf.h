/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet parser: one source for every hook, for user space, for the unit
 * tests and for the fuzzer. It calls no helper and keeps all bounds inside.
 *
 * Each layer is a function that fills its fields, moves the cursor behind its
 * header and returns the WEIR_PKT_* flags it found; the first flag that stops
 * the walk (TRUNCATED, MALFORMED, ...) leaves every deeper field zero. So:
 *
 *  - An offset is set only when everything before it is at hand: l4_off != 0
 *    means that the IP header with its options and extension headers is,
 *    payload_off != 0 that the layer-4 header with its options is.
 *  - The bytes at hand end at the end of the data, at WEIR_PKT_HDR_MAX and at
 *    the end of the IP packet, whichever comes first: Ethernet padding is
 *    never taken for a header.
 *  - MALFORMED with IP4 or IP6 set is a length shorter than its own header;
 *    without, it is a wrong version or IHL, and nothing of the header is told.
 *  - Where the walk stops early, proto is the header it stopped at.
 *  - Ports are told as soon as the first four bytes of layer 4 are at hand.
 */
#pragma once

#include "bpf/pkt.h"

/* @l2 of weir_parse */
enum weir_l2 {
	WEIR_L2_ETHER,
	WEIR_L2_NONE, /* the first byte is the IP header's (tun) */
};

#ifndef WEIR_INLINE
#define WEIR_INLINE inline __attribute__((always_inline))
#endif

/* Headers lie behind 14 bytes of Ethernet, so wide loads are unaligned. The
 * verifier allows that on packets and map values of machines that can do it;
 * natively the type has to say so. */
#ifdef __bpf__
typedef __u16 __attribute__((may_alias)) weir_una16;
typedef __u32 __attribute__((may_alias)) weir_una32;
typedef __u64 __attribute__((may_alias)) weir_una64;
/* Keeps the compiler from dropping a bound that only the verifier needs. */
#define WEIR_OPAQUE(x) asm volatile("" : "+r"(x))
/* Makes the compiler read memory again instead of what it wrote there. */
#define WEIR_FORGET() asm volatile("" : : : "memory")
#define WEIR_NATIVE 0
#else
typedef __u16 __attribute__((may_alias, aligned(1))) weir_una16;
typedef __u32 __attribute__((may_alias, aligned(1))) weir_una32;
typedef __u64 __attribute__((may_alias, aligned(1))) weir_una64;
#define WEIR_OPAQUE(x) ((void)(x))
#define WEIR_FORGET() ((void)0)
#define WEIR_NATIVE 1
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WEIR_BE16(x) __builtin_bswap16(x)
#define WEIR_BE32(x) __builtin_bswap32(x)
#else
#define WEIR_BE16(x) (x)
#define WEIR_BE32(x) (x)
#endif

#define WEIR_ETH_HLEN 14
#define WEIR_ETH_TYPE_MIN 0x600 /* below it is the length of an 802.3 frame */
#define WEIR_ETH_IP4 0x0800
#define WEIR_ETH_ARP 0x0806
#define WEIR_ETH_IP6 0x86dd
#define WEIR_ETH_8021Q 0x8100
#define WEIR_ETH_8021AD 0x88a8
#define WEIR_ETH_QINQ_OLD 0x9100
#define WEIR_VLAN_HLEN 4

#define WEIR_ARP_FIXED 8
#define WEIR_ARP_IP4_HLEN 28
#define WEIR_ARP_IP4_MAGIC_0 0x00010800U /* hardware Ethernet, protocol IPv4 */
#define WEIR_ARP_IP4_MAGIC_1 0x0604	 /* their address lengths */

#define WEIR_IP4_HLEN 20
#define WEIR_IP4_PLAIN 0x45 /* version 4, no options */
#define WEIR_IP4_MF 0x2000
#define WEIR_IP4_OFFSET 0x1fff
#define WEIR_IP6_HLEN 40
#define WEIR_IP6_EXT_MIN 8
#define WEIR_IP6_FRAG_MORE 0x0001
#define WEIR_IP6_FRAG_OFFSET 0xfff8

#define WEIR_IPPROTO_HOPOPTS 0
#define WEIR_IPPROTO_ICMP 1
#define WEIR_IPPROTO_TCP 6
#define WEIR_IPPROTO_UDP 17
#define WEIR_IPPROTO_DCCP 33
#define WEIR_IPPROTO_ROUTING 43
#define WEIR_IPPROTO_FRAGMENT 44
#define WEIR_IPPROTO_AH 51
#define WEIR_IPPROTO_ICMP6 58
#define WEIR_IPPROTO_DSTOPTS 60
#define WEIR_IPPROTO_SCTP 132
#define WEIR_IPPROTO_MOBILITY 135
#define WEIR_IPPROTO_UDPLITE 136
#define WEIR_IPPROTO_HIP 139
#define WEIR_IPPROTO_SHIM6 140

#define WEIR_L4_FIRST 4 /* ports; or ICMP type, code, checksum */
#define WEIR_TCP_HLEN 20
#define WEIR_TCP_FLAGS 0x1ff
#define WEIR_UDP_HLEN 8
#define WEIR_ICMP_HLEN 8
#define WEIR_SCTP_HLEN 12
#define WEIR_DCCP_HLEN 12
#define WEIR_DCCP_X 0x01
#define WEIR_DCCP_HLEN_X 16 /* with the long sequence number that the X bit tells */

/* The walk stops here: what lies behind is not at hand or not to be trusted. */
#define WEIR_PKT_STOP \
	(WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED | WEIR_PKT_MORE_VLANS | WEIR_PKT_MORE_EXT)

struct weir_cursor {
	const __u8 *data;
	const __u8 *end;
	__u64 off;	/* of the next header */
	__u64 limit;	/* end of the IP packet or WEIR_PKT_HDR_MAX */
	__u32 wire_len; /* without a stripped tag */
	__u8 proto;	/* what the next header is, once in IP */
};

static WEIR_INLINE __u16 weir_load16(const __u8 *h)
{
	return WEIR_BE16(*(const weir_una16 *)h);
}

static WEIR_INLINE __u32 weir_load32(const __u8 *h)
{
	return WEIR_BE32(*(const weir_una32 *)h);
}

/* Do @n bytes from @h on lie before @end? The verifier learns it from a pointer
 * behind them; C does not allow to form one beyond its object. */
static WEIR_INLINE int weir_fits(const __u8 *h, __u64 n, const __u8 *end)
{
#ifdef __bpf__
	return h + n <= end;
#else
	return n <= (__u64)(end - h);
#endif
}

/* The next @n bytes, or NULL when they are not at hand. Over a map value the
 * verifier wants a constant bound of the offset, over a packet a comparison
 * with its end; the result satisfies both. */
static WEIR_INLINE const __u8 *weir_cursor_at(const struct weir_cursor *c, __u64 n)
{
	__u64 off = c->off;
	const __u8 *h;

	if (off + n > c->limit)
		return 0;
	WEIR_OPAQUE(off);
	if (off > WEIR_PKT_HDR_MAX - n)
		return 0;
	if (WEIR_NATIVE && !weir_fits(c->data, off, c->end))
		return 0;
	h = c->data + off;
	return weir_fits(h, n, c->end) ? h : 0;
}

/* IPv4 address at @h as ::ffff:a.b.c.d; @addr was zeroed before. */
static WEIR_INLINE void weir_parse_mapped(__u8 *addr, const __u8 *h)
{
	*(weir_una32 *)(addr + 8) = WEIR_BE32(0xffffU);
	*(weir_una32 *)(addr + 12) = *(const weir_una32 *)h;
}

/* Ports of a layer-4 header that is cut behind them. */
static WEIR_INLINE __u32 weir_parse_cut(struct weir_pkt *p, const struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_L4_FIRST);

	if (!h)
		return WEIR_PKT_TRUNCATED;
	p->sport = weir_load16(h);
	p->dport = weir_load16(h + 2);
	return WEIR_PKT_PORTS | WEIR_PKT_TRUNCATED;
}

/* Sets payload_off behind a layer-4 header that says its own length, at least
 * @min; @seen bytes of it are known to be at hand. */
static WEIR_INLINE __u32 weir_parse_sized(struct weir_pkt *p, const struct weir_cursor *c,
					  __u32 len, __u32 min, __u32 seen)
{
	__u64 off = c->off + len;

	if (len < min)
		return WEIR_PKT_MALFORMED;
	if (len > seen && (off > c->limit || !weir_fits(c->data, off, c->end)))
		return WEIR_PKT_TRUNCATED;
	p->payload_off = off;
	return 0;
}

static WEIR_INLINE __u32 weir_parse_tcp(struct weir_pkt *p, const struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_TCP_HLEN);
	__u32 doff_flags;

	if (!h)
		return weir_parse_cut(p, c);
	p->sport = weir_load16(h);
	p->dport = weir_load16(h + 2);
	doff_flags = weir_load16(h + 12);
	p->tcp_flags = doff_flags & WEIR_TCP_FLAGS;
	return WEIR_PKT_TCP | WEIR_PKT_PORTS |
	       weir_parse_sized(p, c, (doff_flags >> 12) * 4, WEIR_TCP_HLEN, WEIR_TCP_HLEN);
}

static WEIR_INLINE __u32 weir_parse_dccp(struct weir_pkt *p, const struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_DCCP_HLEN);
	__u32 min = WEIR_DCCP_HLEN;

	if (!h)
		return weir_parse_cut(p, c);
	p->sport = weir_load16(h);
	p->dport = weir_load16(h + 2);
	if (h[8] & WEIR_DCCP_X)
		min = WEIR_DCCP_HLEN_X;
	return WEIR_PKT_PORTS | weir_parse_sized(p, c, h[4] * 4U, min, WEIR_DCCP_HLEN);
}

/* UDP, UDP-Lite and SCTP: ports, then a fixed rest. */
static WEIR_INLINE __u32 weir_parse_fixed(struct weir_pkt *p, const struct weir_cursor *c,
					  __u32 len)
{
	const __u8 *h = weir_cursor_at(c, len);

	if (!h)
		return weir_parse_cut(p, c);
	p->sport = weir_load16(h);
	p->dport = weir_load16(h + 2);
	p->payload_off = c->off + len;
	return WEIR_PKT_PORTS;
}

static WEIR_INLINE __u32 weir_parse_icmp(struct weir_pkt *p, const struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_L4_FIRST);

	if (!h)
		return WEIR_PKT_TRUNCATED;
	p->icmp_type = h[0];
	p->icmp_code = h[1];
	if (!weir_cursor_at(c, WEIR_ICMP_HLEN))
		return WEIR_PKT_ICMP | WEIR_PKT_TRUNCATED;
	p->payload_off = c->off + WEIR_ICMP_HLEN;
	return WEIR_PKT_ICMP;
}

static WEIR_INLINE __u32 weir_parse_l4(struct weir_pkt *p, const struct weir_cursor *c, __u32 flags)
{
	p->l4_off = c->off;
	if (c->proto == WEIR_IPPROTO_TCP)
		return weir_parse_tcp(p, c);
	if (c->proto == WEIR_IPPROTO_UDP || c->proto == WEIR_IPPROTO_UDPLITE)
		return weir_parse_fixed(p, c, WEIR_UDP_HLEN);
	if (c->proto == (flags & WEIR_PKT_IP6 ? WEIR_IPPROTO_ICMP6 : WEIR_IPPROTO_ICMP))
		return weir_parse_icmp(p, c);
	if (c->proto == WEIR_IPPROTO_SCTP)
		return weir_parse_fixed(p, c, WEIR_SCTP_HLEN);
	if (c->proto == WEIR_IPPROTO_DCCP)
		return weir_parse_dccp(p, c);
	return 0;
}

/* Does the walk go through a header of this number? IPv4 knows only AH. */
static WEIR_INLINE int weir_is_ext(__u8 proto, __u32 is_ip6)
{
	__u64 set = 1ULL << WEIR_IPPROTO_HOPOPTS | 1ULL << WEIR_IPPROTO_ROUTING |
		    1ULL << WEIR_IPPROTO_FRAGMENT | 1ULL << WEIR_IPPROTO_AH |
		    1ULL << WEIR_IPPROTO_DSTOPTS;

	if (!is_ip6)
		return proto == WEIR_IPPROTO_AH;
	if (proto & 0x80)
		set = 1ULL << (WEIR_IPPROTO_MOBILITY - 128) | 1ULL << (WEIR_IPPROTO_HIP - 128) |
		      1ULL << (WEIR_IPPROTO_SHIM6 - 128);
	return !(proto & 0x40) && (set >> (proto & 0x3f) & 1);
}

/* One extension header: its successor into c->proto, its length behind the
 * cursor. */
static WEIR_INLINE __u32 weir_parse_ext(struct weir_pkt *p, struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_IP6_EXT_MIN);
	__u32 flags = 0, len;
	__u16 frag;

	if (!h)
		return WEIR_PKT_TRUNCATED;
	len = (h[1] + 1U) * 8;
	if (c->proto == WEIR_IPPROTO_AH) {
		len = (h[1] + 2U) * 4;
		flags = WEIR_PKT_AH;
	} else if (c->proto == WEIR_IPPROTO_FRAGMENT) {
		len = WEIR_IP6_EXT_MIN;
		frag = weir_load16(h + 2);
		p->frag_off = frag & WEIR_IP6_FRAG_OFFSET;
		p->frag_id = weir_load32(h + 4);
		p->frag_start = c->off + WEIR_IP6_EXT_MIN;
		flags = WEIR_PKT_FRAGMENT;
		if (frag & WEIR_IP6_FRAG_OFFSET)
			flags |= WEIR_PKT_FRAG_LATER;
		if (frag & WEIR_IP6_FRAG_MORE)
			flags |= WEIR_PKT_FRAG_MORE;
	}
	c->off += len;
	c->proto = h[0];
	return flags;
}

/* The state of the walk lies in *p from one header to the next: what the
 * verifier reads back from there it takes for any number, so it sees one
 * iteration where it would otherwise try all the combinations of headers. */
static WEIR_INLINE void weir_parse_pause(struct weir_pkt *p, const struct weir_cursor *c,
					 __u32 flags)
{
	p->flags = flags;
	p->proto = c->proto;
	p->l4_off = c->off;
	p->payload_off = c->limit;
	WEIR_FORGET();
}

static WEIR_INLINE __u32 weir_parse_resume(const struct weir_pkt *p, struct weir_cursor *c)
{
	c->proto = p->proto;
	c->off = p->l4_off;
	c->limit = p->payload_off;
	return p->flags;
}

/* The headers between IP and layer 4. */
static WEIR_INLINE __u32 weir_parse_exts(struct weir_pkt *p, struct weir_cursor *c, __u32 flags)
{
	int i;

	for (i = 0; i <= WEIR_PKT_EXT_MAX; i++) {
		weir_parse_pause(p, c, flags);
		flags = weir_parse_resume(p, c);
		if ((flags & (WEIR_PKT_STOP | WEIR_PKT_FRAG_LATER)) ||
		    !weir_is_ext(c->proto, flags & WEIR_PKT_IP6))
			break;
		if (flags & WEIR_PKT_IP6)
			flags |= WEIR_PKT_IP_OPTIONS;
		if (i == WEIR_PKT_EXT_MAX)
			flags |= WEIR_PKT_MORE_EXT;
		else
			flags |= weir_parse_ext(p, c);
	}
	if (!(flags & WEIR_PKT_STOP) && !weir_cursor_at(c, 0))
		flags |= WEIR_PKT_TRUNCATED;
	p->proto = c->proto;
	p->l4_off = 0;
	p->payload_off = 0;
	return flags;
}

/* The length that the IP header at the cursor tells; 0 (a packet too big for
 * the field) reaches to the end of the frame. */
static WEIR_INLINE void weir_parse_l3_len(struct weir_pkt *p, struct weir_cursor *c, __u32 len)
{
	if (!len && c->wire_len > c->off)
		len = c->wire_len - c->off;
	p->l3_off = c->off;
	p->l3_len = len;
	if (c->off + len < c->limit)
		c->limit = c->off + len;
}

static WEIR_INLINE __u32 weir_parse_ip4(struct weir_pkt *p, struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_IP4_HLEN);
	__u32 flags = WEIR_PKT_IP4;
	__u32 hlen, frag;

	if (!h)
		return WEIR_PKT_TRUNCATED;
	hlen = (h[0] & 0xfU) * 4;
	if (h[0] >> 4 != 4 || hlen < WEIR_IP4_HLEN)
		return WEIR_PKT_MALFORMED;
	weir_parse_l3_len(p, c, weir_load16(h + 2));
	p->tos = h[1];
	p->ttl = h[8];
	c->proto = h[9];
	p->proto = c->proto;
	weir_parse_mapped(p->src, h + 12);
	weir_parse_mapped(p->dst, h + 16);
	frag = weir_load16(h + 6);
	if (frag & (WEIR_IP4_MF | WEIR_IP4_OFFSET)) {
		p->frag_off = (frag & WEIR_IP4_OFFSET) << 3;
		p->frag_id = weir_load16(h + 4);
		p->frag_start = c->off + hlen;
		flags |= WEIR_PKT_FRAGMENT;
		if (frag & WEIR_IP4_OFFSET)
			flags |= WEIR_PKT_FRAG_LATER;
		if (frag & WEIR_IP4_MF)
			flags |= WEIR_PKT_FRAG_MORE;
	}
	if (p->l3_len < hlen)
		flags |= WEIR_PKT_MALFORMED;
	c->off += hlen;
	if (hlen > WEIR_IP4_HLEN) {
		flags |= WEIR_PKT_IP_OPTIONS;
		if (!(flags & WEIR_PKT_MALFORMED) && !weir_cursor_at(c, 0))
			flags |= WEIR_PKT_TRUNCATED;
	}
	return flags;
}

static WEIR_INLINE __u32 weir_parse_ip6(struct weir_pkt *p, struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_IP6_HLEN);
	__u32 len;

	if (!h)
		return WEIR_PKT_TRUNCATED;
	if (h[0] >> 4 != 6)
		return WEIR_PKT_MALFORMED;
	len = weir_load16(h + 4);
	weir_parse_l3_len(p, c, len ? len + WEIR_IP6_HLEN : 0);
	p->tos = weir_load16(h) >> 4;
	p->ttl = h[7];
	c->proto = h[6];
	p->proto = c->proto;
	*(weir_una64 *)p->src = *(const weir_una64 *)(h + 8);
	*(weir_una64 *)(p->src + 8) = *(const weir_una64 *)(h + 16);
	*(weir_una64 *)p->dst = *(const weir_una64 *)(h + 24);
	*(weir_una64 *)(p->dst + 8) = *(const weir_una64 *)(h + 32);
	c->off += WEIR_IP6_HLEN;
	if (p->l3_len < WEIR_IP6_HLEN)
		return WEIR_PKT_IP6 | WEIR_PKT_MALFORMED;
	return WEIR_PKT_IP6;
}

/* IP and what it carries; @flags are those of layer 2. */
static WEIR_INLINE __u32 weir_parse_ip(struct weir_pkt *p, struct weir_cursor *c, __u32 flags)
{
	if (p->eth_type == WEIR_ETH_IP4)
		flags |= weir_parse_ip4(p, c);
	else
		flags |= weir_parse_ip6(p, c);
	if (flags & WEIR_PKT_STOP)
		return flags;
	if (!(flags & WEIR_PKT_FRAG_LATER) && weir_is_ext(c->proto, flags & WEIR_PKT_IP6)) {
		flags = weir_parse_exts(p, c, flags);
		if (flags & WEIR_PKT_STOP)
			return flags;
	}
	if (flags & WEIR_PKT_FRAG_LATER) {
		p->l4_off = c->off;
		return flags;
	}
	return flags | weir_parse_l4(p, c, flags);
}

static WEIR_INLINE __u32 weir_parse_arp(struct weir_pkt *p, struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, WEIR_ARP_FIXED);

	if (!h)
		return WEIR_PKT_TRUNCATED;
	p->l3_off = c->off;
	if (weir_load32(h) != WEIR_ARP_IP4_MAGIC_0 || weir_load16(h + 4) != WEIR_ARP_IP4_MAGIC_1)
		return WEIR_PKT_ARP;
	h = weir_cursor_at(c, WEIR_ARP_IP4_HLEN);
	if (!h)
		return WEIR_PKT_ARP | WEIR_PKT_TRUNCATED;
	weir_parse_mapped(p->src, h + 14);
	weir_parse_mapped(p->dst, h + 24);
	return WEIR_PKT_ARP;
}

/* The tags behind the addresses; *@type becomes the type behind them. */
static WEIR_INLINE __u32 weir_parse_vlans(struct weir_pkt *p, struct weir_cursor *c, __u16 *type,
					  __u32 tags)
{
	const __u8 *h;
	int i;

	for (i = 0; i <= WEIR_PKT_VLANS; i++) {
		if (*type != WEIR_ETH_8021Q && *type != WEIR_ETH_8021AD &&
		    *type != WEIR_ETH_QINQ_OLD)
			break;
		if (tags == WEIR_PKT_VLANS)
			return WEIR_PKT_MORE_VLANS;
		h = weir_cursor_at(c, WEIR_VLAN_HLEN);
		if (!h)
			return WEIR_PKT_TRUNCATED;
		if (tags)
			p->vlan[1] = weir_load16(h);
		else
			p->vlan[0] = weir_load16(h);
		p->vlans = ++tags;
		*type = weir_load16(h + 2);
		c->off += WEIR_VLAN_HLEN;
	}
	return 0;
}

static WEIR_INLINE __u32 weir_parse_ether(struct weir_pkt *p, struct weir_cursor *c, __u32 tags)
{
	const __u8 *h = weir_cursor_at(c, WEIR_ETH_HLEN);
	__u32 flags;
	__u16 type;

	if (!h)
		return WEIR_PKT_TRUNCATED;
	*(weir_una64 *)p->eth_dst = *(const weir_una64 *)h; /* and half of eth_src */
	*(weir_una32 *)(p->eth_src + 2) = *(const weir_una32 *)(h + 8);
	type = weir_load16(h + 12);
	c->off = WEIR_ETH_HLEN;
	flags = WEIR_PKT_ETHER | weir_parse_vlans(p, c, &type, tags);
	p->eth_type = type;
	if (flags & WEIR_PKT_STOP)
		return flags;
	if (type == WEIR_ETH_IP4 || type == WEIR_ETH_IP6)
		return weir_parse_ip(p, c, flags);
	if (type == WEIR_ETH_ARP)
		return flags | weir_parse_arp(p, c);
	return flags;
}

/* A packet without layer 2 tells its family by its first four bits. */
static WEIR_INLINE __u32 weir_parse_bare(struct weir_pkt *p, struct weir_cursor *c)
{
	const __u8 *h = weir_cursor_at(c, 1);

	if (!h)
		return WEIR_PKT_TRUNCATED;
	if (h[0] >> 4 == 4)
		p->eth_type = WEIR_ETH_IP4;
	else if (h[0] >> 4 == 6)
		p->eth_type = WEIR_ETH_IP6;
	else
		return WEIR_PKT_MALFORMED;
	return weir_parse_ip(p, c, 0);
}

/* Four 16-bit fields, or two 8-bit ones, that follow each other in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WEIR_WORD(a, b, c, d) ((__u64)(a) | (__u64)(b) << 16 | (__u64)(c) << 32 | (__u64)(d) << 48)
#define WEIR_WORD32(a, b) ((__u64)(a) | (__u64)(b) << 32)
#define WEIR_PAIR(a, b) ((__u32)(a) | (__u32)(b) << 8)
#else
#define WEIR_WORD(a, b, c, d) ((__u64)(a) << 48 | (__u64)(b) << 32 | (__u64)(c) << 16 | (__u64)(d))
#define WEIR_WORD32(a, b) ((__u64)(a) << 32 | (__u64)(b))
#define WEIR_PAIR(a, b) ((__u32)(a) << 8 | (__u32)(b))
#endif

#define WEIR_QUICK_L4 (WEIR_ETH_HLEN + WEIR_IP4_HLEN)

_Static_assert(__builtin_offsetof(struct weir_pkt, eth_dst) == 32 &&
		       __builtin_offsetof(struct weir_pkt, eth_src) == 38 &&
		       __builtin_offsetof(struct weir_pkt, eth_type) == 44 &&
		       __builtin_offsetof(struct weir_pkt, sport) == 48 &&
		       __builtin_offsetof(struct weir_pkt, vlan) == 52 &&
		       __builtin_offsetof(struct weir_pkt, tcp_flags) == 56 &&
		       __builtin_offsetof(struct weir_pkt, l3_off) == 60 &&
		       __builtin_offsetof(struct weir_pkt, payload_off) == 64 &&
		       __builtin_offsetof(struct weir_pkt, vlans) == 66 &&
		       __builtin_offsetof(struct weir_pkt, ttl) == 68 &&
		       __builtin_offsetof(struct weir_pkt, icmp_type) == 70 &&
		       __builtin_offsetof(struct weir_pkt, len) == 72 &&
		       __builtin_offsetof(struct weir_pkt, l3_len) == 76 &&
		       __builtin_offsetof(struct weir_pkt, frag_id) == 80,
	       "weir_parse_quick writes these in words");

/* The common packet in constant offsets and eleven stores: Ethernet, IPv4 without
 * options, TCP or UDP, whole. Returns 0 without a trace for any other; the
 * result is what the general way would give. */
static WEIR_INLINE int weir_parse_quick(struct weir_pkt *p, const __u8 *h, const __u8 *end,
					__u32 vlan_meta, __u32 wire_len)
{
	const __u32 flags = WEIR_PKT_ETHER | WEIR_PKT_IP4 | WEIR_PKT_PORTS;
	const __u8 *ip, *l4;
	__u32 payload = WEIR_QUICK_L4 + WEIR_UDP_HLEN, tcp_flags = 0, is_tcp = 0, l3_len;
	weir_una64 *word = (weir_una64 *)p;

	if (!weir_fits(h, WEIR_QUICK_L4 + WEIR_UDP_HLEN, end))
		return 0;
	ip = h + WEIR_ETH_HLEN;
	l4 = h + WEIR_QUICK_L4;
	if (weir_load16(h + 12) != WEIR_ETH_IP4 || ip[0] != WEIR_IP4_PLAIN ||
	    weir_load16(ip + 6) & (WEIR_IP4_MF | WEIR_IP4_OFFSET))
		return 0;
	if (ip[9] == WEIR_IPPROTO_TCP) {
		if (!weir_fits(h, WEIR_QUICK_L4 + WEIR_TCP_HLEN, end))
			return 0;
		tcp_flags = weir_load16(l4 + 12);
		payload = WEIR_QUICK_L4 + (tcp_flags >> 12) * 4;
		if (payload < WEIR_QUICK_L4 + WEIR_TCP_HLEN || !weir_fits(h, payload, end))
			return 0;
		tcp_flags &= WEIR_TCP_FLAGS;
		is_tcp = WEIR_PKT_TCP;
	} else if (ip[9] != WEIR_IPPROTO_UDP) {
		return 0;
	}
	l3_len = weir_load16(ip + 2);
	if (payload > WEIR_ETH_HLEN + l3_len)
		return 0;
	word[0] = 0;
	word[1] = WEIR_WORD32(WEIR_BE32(0xffffU), *(const weir_una32 *)(ip + 12));
	word[2] = 0;
	word[3] = WEIR_WORD32(WEIR_BE32(0xffffU), *(const weir_una32 *)(ip + 16));
	word[4] = *(const weir_una64 *)h;
	word[5] = WEIR_WORD32(*(const weir_una32 *)(h + 8), 0) |
		  WEIR_WORD(0, 0, WEIR_ETH_IP4, flags | is_tcp);
	word[6] = WEIR_WORD(weir_load16(l4), weir_load16(l4 + 2), vlan_meta & 0xffff, 0);
	word[7] = WEIR_WORD(tcp_flags, 0, WEIR_ETH_HLEN, WEIR_QUICK_L4);
	word[8] = WEIR_WORD(payload, WEIR_PAIR(!!vlan_meta, ip[9]), WEIR_PAIR(ip[8], ip[1]), 0);
	word[9] = WEIR_WORD32(wire_len + (vlan_meta ? WEIR_VLAN_HLEN : 0), l3_len);
	word[10] = 0;
	return 1;
}

/*
 * Fill @p from the frame at @data. In BPF @p is (in) a map value: were it on the
 * stack, the verifier would know what it holds and try every combination.
 *
 * @data..@end  the bytes at hand: a packet, or a map value of at least
 *              WEIR_PKT_HDR_MAX bytes with @end behind the valid ones
 * @vlan_meta   a tag that the device or the stack took out of the frame into
 *              metadata: tpid << 16 | tci; 0 = none. It counts as the outermost
 *              tag; offsets are those of the given bytes, without it.
 * @wire_len    the frame's whole length, without that tag
 */
static WEIR_INLINE void weir_parse(struct weir_pkt *p, const void *data, const void *end,
				   enum weir_l2 l2, __u32 vlan_meta, __u32 wire_len)
{
	struct weir_cursor c = {
		.data = data,
		.end = end,
		.limit = WEIR_PKT_HDR_MAX,
		.wire_len = wire_len,
	};

	if (l2 == WEIR_L2_ETHER && weir_parse_quick(p, data, end, vlan_meta, wire_len))
		return;
	__builtin_memset(p, 0, sizeof(*p));
	p->len = wire_len;
	if (vlan_meta) {
		p->len += WEIR_VLAN_HLEN;
		p->vlan[0] = vlan_meta;
		p->vlans = 1;
	}
	if (l2 == WEIR_L2_ETHER)
		p->flags = weir_parse_ether(p, &c, !!vlan_meta);
	else
		p->flags = weir_parse_bare(p, &c);
}
