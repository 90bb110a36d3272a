/* SPDX-License-Identifier: GPL-2.0-only */
/* Who a socket talks to, read from the kernel's struct sock (CO-RE). */
#pragma once

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/ends.h"

#define WEIR_AF_INET 2
#define WEIR_AF_INET6 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net___weir {
	__u64 net_cookie;
};

struct weir_possible_net___weir {
	struct net___weir *net;
};

struct in6_addr___weir {
	__u8 in6_u[16];
};

struct sock_common___weir {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct weir_possible_net___weir skc_net;
	struct in6_addr___weir skc_v6_daddr;
	struct in6_addr___weir skc_v6_rcv_saddr;
};

#pragma clang attribute pop

static __always_inline void weir_sock_addr(__u8 to[16], int family, const void *v4, const void *v6)
{
	if (family == WEIR_AF_INET6) {
		bpf_probe_read_kernel(to, 16, v6);
		return;
	}
	__builtin_memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	bpf_probe_read_kernel(to + 12, 4, v4);
}

/* @skc: a struct sock_common *, or what begins with one. Everything but cookie and flags,
 * which depend on the hook, is filled in. */
static __always_inline void weir_sock_ends(const void *skc, __u8 proto, struct weir_ends *e)
{
	const struct sock_common___weir *c = skc;
	int family = BPF_CORE_READ(c, skc_family);

	__builtin_memset(e, 0, sizeof(*e));
	e->netns = BPF_CORE_READ(c, skc_net.net, net_cookie);
	weir_sock_addr(e->local, family, &c->skc_rcv_saddr, &c->skc_v6_rcv_saddr);
	weir_sock_addr(e->remote, family, &c->skc_daddr, &c->skc_v6_daddr);
	e->lport = BPF_CORE_READ(c, skc_num);
	e->rport = bpf_ntohs(BPF_CORE_READ(c, skc_dport));
	e->proto = proto;
}
