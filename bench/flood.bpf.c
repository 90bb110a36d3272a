// SPDX-License-Identifier: GPL-2.0-only
/*
 * The generator's program: gives each frame of a test run its flow and sends it
 * out. It is also attached to the generator's end of the veth pair (bench/flood.c
 * says why), so a frame that is not its own passes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flood.h"

const volatile __u32 flows = 1;
const volatile __u32 by_source = 0; /* a flow has its own address, not port */
const volatile __u32 sum = 0;	    /* of the IPv4 header without checksum and source */

__u32 turn, turns; /* one generator, on one CPU */

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	struct flood_frame *f = (void *)(long)ctx->data;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end || f->magic != FLOOD_MAGIC)
		return XDP_PASS;
	if (by_source) {
		__u32 source = FLOOD_NET + turn, csum = sum + (source >> 16) + (source & 0xffff);

		csum = (csum & 0xffff) + (csum >> 16);
		csum = (csum & 0xffff) + (csum >> 16);
		f->ip_csum = bpf_htons((__u16)~csum);
		f->src_be = bpf_htonl(source);
	} else {
		/* Only the ports change: no checksum has to follow them. */
		f->sport_be = bpf_htons(FLOOD_PORT + turn);
		f->dport_be = bpf_htons(FLOOD_DPORT + turns);
	}
	if (++turn >= FLOOD_TURN) {
		turn = 0;
		turns++;
	}
	if (turns * FLOOD_TURN + turn >= flows)
		turn = turns = 0;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
