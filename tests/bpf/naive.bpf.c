/* SPDX-License-Identifier: GPL-2.0-only */
/* A bypass as it is mostly written, for the check to find out: both ends into a sockhash by
 * their addresses, and every message redirected. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

enum naive_kind { NAIVE, NAIVE_OVERTAKES, NAIVE_DROPS };

const volatile __u32 kind = NAIVE;

struct naive_key {
	__u32 local_ip, remote_ip, local_port, remote_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1024);
	__type(key, struct naive_key);
	__type(value, __u64);
} weir_naive_map SEC(".maps");

__u64 messages;

SEC("sockops")
int weir_naive_ops(struct bpf_sock_ops *ctx)
{
	struct naive_key key = {};

	if (ctx->family != AF_INET || (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
				       ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB))
		return 1;
	key.local_ip = ctx->local_ip4;
	key.remote_ip = ctx->remote_ip4;
	key.local_port = ctx->local_port;
	key.remote_port = __builtin_bswap32(ctx->remote_port);
	bpf_sock_hash_update(ctx, &weir_naive_map, &key, BPF_NOEXIST);
	return 1;
}

SEC("sk_msg")
int weir_naive_msg(struct sk_msg_md *msg)
{
	struct naive_key key = {};
	__u64 n = __sync_fetch_and_add(&messages, 1);

	if (kind == NAIVE_OVERTAKES && n % 3 == 2)
		return SK_PASS;
	if (kind == NAIVE_DROPS && n % 3 == 2)
		return SK_DROP;
	key.local_ip = msg->remote_ip4;
	key.remote_ip = msg->local_ip4;
	key.local_port = __builtin_bswap32(msg->remote_port);
	key.remote_port = msg->local_port;
	bpf_msg_redirect_hash(msg, &weir_naive_map, &key, BPF_F_INGRESS);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
