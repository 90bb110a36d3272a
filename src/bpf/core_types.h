/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fields of the kernel's structures that programs read (CO-RE finds where
 * they are in the kernel at hand).
 */
#pragma once

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net;

struct net_device {
	int ifindex;
};

struct sk_buff {
	unsigned int len;
	unsigned int end;
	unsigned char *head;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

struct nf_hook_state {
	__u8 hook;
	struct net_device *in;
	struct net_device *out;
	struct net *net;
};

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

#pragma clang attribute pop
