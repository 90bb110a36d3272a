/* SPDX-License-Identifier: GPL-2.0-only */
/* Ask a compiled policy about a table of packets, one a run. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/set.bpf.h"
#include "policy/limit.bpf.h"
#include "policy_packets.h"

#include "bpf/policy_stub.bpf.h"

struct weir_scratch packets[POLICY_PACKETS];
__u32 keys[POLICY_PACKETS];
__u32 decisions[POLICY_PACKETS];
__u32 next;

SEC("xdp.frags")
int ask_policy(struct xdp_md *ctx)
{
	__u32 i = next++;

	(void)ctx;
	if (i < POLICY_PACKETS)
		decisions[i] = weir_policy(&packets[i], keys[i]);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
