/* SPDX-License-Identifier: GPL-2.0-only */
/* Round trips as the kernel tells a sockops program: one a round, where weir tcp takes
 * every sample. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ROUNDS_MAX 4096

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROUNDS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} rtt_rounds SEC(".maps");

__u32 rounds = 0;
__u32 told = 0; /* the kernel says how long a round took, which old ones do not */
__u32 port = 0; /* of the end that is listened to */

SEC("sockops")
int rtt_oracle(struct bpf_sock_ops *ops)
{
	__u32 us, i;

	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_RTT_CB_FLAG);
	if (ops->op != BPF_SOCK_OPS_RTT_CB || ops->local_port != port)
		return 1;
	us = ops->args[0];
	if (us)
		told = 1;
	i = rounds;
	if (i < ROUNDS_MAX && !bpf_map_update_elem(&rtt_rounds, &i, &us, BPF_ANY))
		rounds = i + 1;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
