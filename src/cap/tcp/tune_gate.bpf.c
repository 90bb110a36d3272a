/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir tcp tune: what is attached to a cgroup. It always returns 1: another value would
 * take the answers of all other programs on the cgroup back.
 */
#include <stdbool.h>

#include "cap/tcp/tune_maps.bpf.h"

const volatile __u32 weir_tune_slot = 0;  /* of the cgroup */
const volatile __u64 weir_tune_netns = 0; /* cookie of the namespace that the rules are of */

SEC("sockops")
int weir_tcp_gate(struct bpf_sock_ops *ctx)
{
	__u32 zero = 0, *letter;
	bool foreign;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_RWND_INIT &&
	    ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	letter = bpf_map_lookup_elem(&weir_tune_current, &zero);
	if (!letter || !*letter)
		return 1;
	foreign = bpf_get_netns_cookie(ctx) != weir_tune_netns;
	bpf_tail_call(ctx, &weir_tune_programs,
		      WEIR_TUNE_PROGRAM(*letter, weir_tune_slot, foreign));
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
