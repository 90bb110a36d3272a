/* SPDX-License-Identifier: GPL-2.0-only */
/* Ask a compiled match about a table of packets, one a run: in place, as a
 * hook with a scratch record does, and as a copy on the stack; in line where
 * the match allows it, and by a call always. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/match_stub.bpf.h"
#include "match_packets.h"

const volatile __u32 kind = WEIR_MATCH_CALL;

struct weir_pkt packets[MATCH_PACKETS];
__u8 in_place[MATCH_PACKETS];
__u8 on_stack[MATCH_PACKETS];
__u32 next_in_place, next_on_stack;

SEC("xdp.frags")
int ask_in_place(struct xdp_md *ctx)
{
	__u32 i = next_in_place++;

	(void)ctx;
	if (i < MATCH_PACKETS)
		in_place[i] = !!weir_match(&packets[i], kind);
	return XDP_PASS;
}

SEC("socket")
int ask_on_stack(struct __sk_buff *skb)
{
	__u32 i = next_on_stack++;
	struct weir_pkt p;

	(void)skb;
	if (i >= MATCH_PACKETS)
		return 0;
	p = packets[i];
	on_stack[i] = !!weir_match_call(&p);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
