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

/* The first bytes of an Ethernet header, or of what is taken for one. */
struct weir_skb_start {
	__u64 a; /* bytes 0 to 7 */
	__u64 b; /* bytes 6 to 13 */
};

static __always_inline bool weir_skb_same(const __u8 *data, const struct weir_skb_start *s)
{
	return *(const weir_una64 *)data == s->a && *(const weir_una64 *)(data + 6) == s->b;
}

/* The bytes that @from (BPF_HDR_START_*) leads to. */
static __always_inline bool weir_skb_load_start(struct __sk_buff *skb, __u32 from,
						struct weir_skb_start *ret)
{
	return !bpf_skb_load_bytes_relative(skb, 0, &ret->a, sizeof(ret->a), from) &&
	       !bpf_skb_load_bytes_relative(skb, 6, &ret->b, sizeof(ret->b), from);
}

/* Where the packet begins. Generic XDP on some kernels hands on an skb that has
 * forgotten how long its Ethernet header is. Told apart by the type field, which the
 * stack knows too; an IP header could look like it by chance, and a MAC address like
 * an IP header, so then the kernel's own offsets decide: where the Ethernet header and
 * the network header are the same bytes, there is no Ethernet header. */
static __always_inline enum weir_skb_place weir_skb_find(struct __sk_buff *skb)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	struct weir_skb_start mac, net;

	if (data + ETH_HLEN > end)
		return WEIR_SKB_AT_DATA;
	if (*(const weir_una16 *)(data + 12) == skb->protocol && data[0] >> 4 != 4 &&
	    data[0] >> 4 != 6)
		return WEIR_SKB_AT_DATA;
	if (!weir_skb_load_start(skb, BPF_HDR_START_MAC, &mac))
		return WEIR_SKB_AT_DATA;
	if (!weir_skb_same(data, &mac))
		return WEIR_SKB_BEFORE_DATA;
	if (!weir_skb_load_start(skb, BPF_HDR_START_NET, &net))
		return WEIR_SKB_AT_DATA;
	return weir_skb_same(data, &net) ? WEIR_SKB_PLAIN : WEIR_SKB_AT_DATA;
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
