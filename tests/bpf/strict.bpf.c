// SPDX-License-Identifier: GPL-2.0-only
/* Run a translated classic filter on the packet of a test run; the answer is the
 * return value. At tc also with a VLAN tag that lies beside the frame. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/strict.bpf.h"

const volatile __u32 want = WEIR_STRICT_HEAD_MIN;

SEC("xdp.frags")
int ask_xdp(struct xdp_md *ctx)
{
	__u64 len = bpf_xdp_get_buff_len(ctx);
	struct weir_strict_at at = {.ctx = ctx, .from = WEIR_STRICT_XDP, .caplen = len};

	return weir_strict(&at, 0, len, want);
}

static __always_inline int ask(struct __sk_buff *skb, __u64 from)
{
	struct weir_strict_at at = {.ctx = skb, .from = from, .caplen = skb->len};

	if (skb->vlan_present) {
		at.tag = bpf_ntohs(skb->vlan_proto) << 16 | (skb->vlan_tci & 0xffff);
		at.caplen += WEIR_STRICT_TAG_LEN;
	}
	return weir_strict(&at, 0, at.caplen, want);
}

SEC("tcx/ingress")
int ask_tc(struct __sk_buff *skb)
{
	return ask(skb, WEIR_STRICT_SKB);
}

SEC("tcx/ingress")
int ask_mac(struct __sk_buff *skb)
{
	return ask(skb, WEIR_STRICT_SKB_MAC);
}

/* The mark of the test run is the tag. */
SEC("tcx/ingress")
int ask_tagged(struct __sk_buff *skb)
{
	if (bpf_skb_vlan_push(skb, bpf_htons(skb->mark >> 16), skb->mark & 0xffff))
		return -2;
	return ask(skb, WEIR_STRICT_SKB);
}

char LICENSE[] SEC("license") = "GPL";
