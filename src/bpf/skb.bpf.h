/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet of a tc program, parsed. Where the headers lie in the linear part, as
 * they mostly do, they are read in place; else from a copy of the packet's head.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/parse.bpf.h"

#define WEIR_TCX_NEXT (-1) /* = TC_ACT_UNSPEC: the next program, or the default, decides */
#define WEIR_TCX_DROP 2	   /* = TC_ACT_SHOT */

struct weir_skb_head {
	__u8 bytes[WEIR_PKT_HDR_MAX];
};

/* One a direction: what leaves may be interrupted by what comes in, never by
 * itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_skb_head);
} weir_skb_heads SEC(".maps");

enum weir_skb_place {
	WEIR_SKB_AT_DATA,
	WEIR_SKB_BEFORE_DATA, /* by the Ethernet header: skb->data is the network header */
	WEIR_SKB_PLAIN,	      /* no Ethernet header: the device has none (tun, WireGuard) */
};

/* Does the linear part reach @n bytes further from header @start on than from
 * skb->data on? Where it ends is the one thing that both are measured by, so that no
 * byte of the packet has a say. */
static __always_inline bool weir_skb_reaches(struct __sk_buff *skb, __u32 n, __u32 start)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	__u64 linear = end - data;
	__u8 byte;

	WEIR_OPAQUE(linear);
	return !bpf_skb_load_bytes_relative(skb, (__u32)linear + n - 1, &byte, 1, start);
}

/* Where the packet begins. Generic XDP on some kernels hands on an skb that has
 * forgotten how long its Ethernet header is. What is IP by the type in its frame at
 * skb->data, and does not begin as IP does, is neither displaced nor without a
 * header. */
static __always_inline enum weir_skb_place weir_skb_find(struct __sk_buff *skb)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	bool ip = skb->protocol == bpf_htons(WEIR_ETH_IP4) ||
		  skb->protocol == bpf_htons(WEIR_ETH_IP6);

	if (ip && data + ETH_HLEN <= end && *(const weir_una16 *)(data + 12) == skb->protocol &&
	    data[0] >> 4 != 4 && data[0] >> 4 != 6)
		return WEIR_SKB_AT_DATA;
	if (weir_skb_reaches(skb, ETH_HLEN, BPF_HDR_START_MAC))
		return WEIR_SKB_BEFORE_DATA;
	return ip && weir_skb_reaches(skb, 0, BPF_HDR_START_NET) ? WEIR_SKB_PLAIN :
								   WEIR_SKB_AT_DATA;
}

/* Bytes of the packet, counted from its first one, wherever they lie. */
static __always_inline long weir_skb_load(struct __sk_buff *skb, __u32 off, void *to, __u32 n)
{
	if (!bpf_skb_load_bytes_relative(skb, off, to, n, BPF_HDR_START_MAC))
		return 0;
	if (weir_skb_reaches(skb, ETH_HLEN, BPF_HDR_START_MAC))
		off -= ETH_HLEN;
	return bpf_skb_load_bytes(skb, off, to, n);
}

/* Parse @skb into @p. @out: which of the copies to use. Returns false where the
 * kernel refuses the bytes, which leaves *p without a flag. */
static __always_inline bool weir_skb_parse(struct __sk_buff *skb, bool out, struct weir_pkt *p)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	__u32 which = out, len = skb->len, linear, n, last, vlan = 0;
	struct weir_skb_head *head = bpf_map_lookup_elem(&weir_skb_heads, &which);
	enum weir_skb_place place;
	enum weir_l2 l2;
	bool displaced;
	long ret;

	if (!head)
		return false;
	place = weir_skb_find(skb);
	displaced = place == WEIR_SKB_BEFORE_DATA;
	l2 = place == WEIR_SKB_PLAIN ? WEIR_L2_NONE : WEIR_L2_ETHER;
	if (skb->vlan_present)
		vlan = bpf_ntohs(skb->vlan_proto) << 16 | (skb->vlan_tci & 0xffff);
	linear = (__u32)(end - data);
	if (!displaced) {
		weir_parse(p, data, end, l2, vlan, len);
		if (linear >= len || !(p->flags & WEIR_PKT_TRUNCATED))
			return true;
	} else {
		len += ETH_HLEN;
	}
	n = displaced && len > linear + ETH_HLEN ? linear + ETH_HLEN : len;
	if (n > WEIR_PKT_HDR_MAX)
		n = WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last >= WEIR_PKT_HDR_MAX)
		return false;
	n = weir_size(last);
	ret = displaced ? bpf_skb_load_bytes_relative(skb, 0, head->bytes, n, BPF_HDR_START_MAC) :
			  bpf_skb_load_bytes(skb, 0, head->bytes, n);
	if (ret)
		return false;
	weir_parse(p, head->bytes, head->bytes + n, l2, vlan, len);
	return true;
}
