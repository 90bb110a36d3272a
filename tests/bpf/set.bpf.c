/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Look-ups in a set, each with its map in the place of one here. The programs take
 * their address from a list, one a run, round and round; `count` says how many were in.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/set.bpf.h"

#define UNUSED __attribute__((unused))

struct addr {
	__u8 b[16];
};

struct state {
	__u32 next, n; /* of the addresses */
	__u64 hits;
	struct addr at; /* where a policy would have struct weir_pkt */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct addr);
} addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, union weir_set_line);
} table4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, union weir_set_line);
} trie SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, union weir_set_line);
} other SEC(".maps");

static __always_inline struct state *next_address(void)
{
	__u32 zero = 0, which;
	struct state *s = bpf_map_lookup_elem(&state, &zero);
	const struct addr *a;

	if (!s)
		return 0;
	which = s->next;
	s->next = which + 1 < s->n ? which + 1 : 0;
	a = bpf_map_lookup_elem(&addrs, &which);
	if (!a)
		return 0;
	s->at = *a;
	return s;
}

static __always_inline __u32 v4_of(const struct addr *a)
{
	return __builtin_bswap32(*(const __u32 *)(const void *)&a->b[12]);
}

SEC("xdp") int set_none(void *ctx UNUSED)
{
	struct state *s = next_address();

	if (s)
		s->hits += v4_of(&s->at) & 1;
	return XDP_PASS;
}

SEC("xdp") int set_look4(void *ctx UNUSED)
{
	struct state *s = next_address();

	if (s)
		s->hits += weir_set4_0(&table4, v4_of(&s->at));
	return XDP_PASS;
}

SEC("xdp") int set_look6(void *ctx UNUSED)
{
	struct state *s = next_address();

	if (s)
		s->hits += weir_set6_0(&trie, s->at.b);
	return XDP_PASS;
}

/* A copy that serves two maps still has to answer rightly. */
SEC("xdp") int set_shared(void *ctx UNUSED)
{
	struct state *s = next_address();

	if (s)
		s->hits += weir_set6_1(&trie, s->at.b) + 2 * weir_set6_1(&other, s->at.b);
	return XDP_PASS;
}

/* As a compiled policy does it. */
SEC("xdp") int set_asm(void *ctx UNUSED)
{
	struct state *s = next_address();
	__u64 ret;

	if (!s)
		return XDP_PASS;
	asm volatile("r1 = %[map] ll\n"
		     "r2 = %[addr]\n"
		     "call weir_set6_2\n"
		     "%[ret] = r0\n"
		     : [ret] "=r"(ret)
		     : [map] "i"(&trie), [addr] "r"(s->at.b)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
	s->hits += ret;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
