/* SPDX-License-Identifier: GPL-2.0-only */
/* Datagrams that wait in the UDP sockets of a network namespace until they are read. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff_head___weir {
	__u32 qlen;
};

struct sock___weir {
	struct sk_buff_head___weir sk_receive_queue;
};

struct udp_sock {
	struct sk_buff_head___weir reader_queue;
};

struct bpf_iter__udp {
	struct udp_sock *udp_sk;
};

#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_drops_waiting SEC(".maps");

SEC("iter/udp")
int weir_drops_udp(struct bpf_iter__udp *ctx)
{
	struct udp_sock *u = ctx->udp_sk;
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&weir_drops_waiting, &zero);

	if (u && n)
		*n += BPF_CORE_READ((struct sock___weir *)(void *)u, sk_receive_queue.qlen) +
		      BPF_CORE_READ(u, reader_queue.qlen);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
