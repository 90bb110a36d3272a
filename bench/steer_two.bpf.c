/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What weir steer is compared with: the usual way to look a socket up by prefix, with the
 * port or port 0 in an LPM trie, hence two look-ups where the exact port has no rule.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct two_key {
	__u32 len;
	__u8 protocol, pad;
	__u16 port;
	__u32 addr_be;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct two_key);
	__type(value, __u32);
} bindings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} two_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} two_counts SEC(".maps");

SEC("sk_lookup")
int bench_steer_two(struct bpf_sk_lookup *ctx)
{
	struct two_key key = {
		.len = 64,
		.protocol = (__u8)ctx->protocol,
		.port = (__u16)ctx->local_port,
		.addr_be = ctx->local_ip4,
	};
	__u32 *at = bpf_map_lookup_elem(&bindings, &key), to;
	struct bpf_sock *sk;
	__u64 *n;
	long err;

	if (!at) {
		key.port = 0;
		at = bpf_map_lookup_elem(&bindings, &key);
	}
	if (!at)
		return SK_PASS;
	to = *at;
	n = bpf_map_lookup_elem(&two_counts, &to);
	if (n)
		(*n)++;
	sk = bpf_map_lookup_elem(&two_sockets, &to);
	if (!sk)
		return SK_DROP;
	err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return err ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
