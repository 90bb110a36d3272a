/* SPDX-License-Identifier: GPL-2.0-only */
/* An XDP program that only passes: a stranger to the gate, and the measure of
 * what the gate costs. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int plain_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
