/* SPDX-License-Identifier: GPL-2.0-only */
/* Somebody else's program on a cgroup: it lets nobody open a UDP socket. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SOCK_DGRAM 2

SEC("cgroup/sock_create")
int deny_udp(struct bpf_sock *ctx)
{
	return ctx->type != SOCK_DGRAM;
}

char LICENSE[] SEC("license") = "GPL";
