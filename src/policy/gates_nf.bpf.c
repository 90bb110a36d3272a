/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixed gate of the filter at netfilter, as at tc (gates.bpf.c): a netfilter
 * link's program can't be replaced, the one behind the slot can. An object of its
 * own, since kernels before 6.4 do not know the program type.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/core_types.h"

#define NF_ACCEPT 1

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_nf_slot SEC(".maps");

SEC("netfilter")
int weir_filter_nfg(struct bpf_nf_ctx *ctx)
{
	bpf_tail_call_static(ctx, &weir_nf_slot, 0);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
