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

__u32 turn; /* one generator, on one CPU */

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	struct flood_frame *f = (void *)(long)ctx->data;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end || f->magic != FLOOD_MAGIC)
		return XDP_PASS;
	/* Only the source port changes: no checksum has to follow it. */
	f->sport_be = bpf_htons(FLOOD_PORT + turn);
	if (++turn >= flows)
		turn = 0;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
