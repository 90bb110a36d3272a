/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is an address in a set? The same code in the kernel and in user space, where a map
 * is a struct weir_set_view.
 *
 * Each copy of the functions is meant for one map: then the verifier knows which one
 * it is, and the kernel puts the access to the array in line.
 */
#pragma once

#include "bpf/hash.bpf.h"
#include "bpf/policy_stub.h"
#include "bpf/set.h"

#ifdef __bpf__
#include <bpf/bpf_helpers.h>

static __always_inline const union weir_set_line *weir_set_line(void *map, __u32 key)
{
	return bpf_map_lookup_elem(map, &key);
}
#else
struct weir_set_view {
	const union weir_set_line *lines;
	__u32 n;
};

static inline const union weir_set_line *weir_set_line(const void *map, __u32 key)
{
	const struct weir_set_view *view = map;

	return key < view->n ? &view->lines[key] : 0;
}
#endif

/* A word that may change meanwhile: read it once. */
#define WEIR_SET_READ(x) (*(const volatile __typeof__(x) *)&(x))

/* The two bucket lines of a /24 are the halves of it, each brought down to the number
 * of lines by weir_set_bucket(). */
static WEIR_INLINE __u64 weir_set_hash(__u64 seed, __u32 net)
{
	return weir_hash_mix(weir_hash_mix(seed, net), seed);
}

static WEIR_INLINE __u32 weir_set_bucket(__u32 hash, __u32 buckets)
{
	return WEIR_SET_BUCKETS + (__u32)((__u64)hash * buckets >> 32);
}

/* The entry of @net in a bucket line, 0 = none. Without a branch, since which of the
 * eight it is can't be predicted. */
static WEIR_INLINE __u64 weir_set_entry(const union weir_set_line *line, __u32 net)
{
	const __u64 tag = (__u64)net << WEIR_SET_TAG_SHIFT;
	__u64 found = 0;

#pragma GCC unroll 8
	for (int i = 0; i < WEIR_SET_WAYS; i++) {
		__u64 entry = WEIR_SET_READ(line->word[i]);
		__u64 differs = (entry ^ tag) >> WEIR_SET_TAG_SHIFT;

		/* Kept from the compiler, which would make branches of it. */
		asm volatile("" : "+r"(differs));
		found |= entry & (__u64)((__s64)(differs - 1) >> 63);
	}
	return found;
}

/* Is the address that ends in @host in the /24 of this entry? */
static WEIR_INLINE int weir_set_host(void *map, __u64 entry, __u32 host)
{
	const __u32 kind = entry >> WEIR_SET_KIND_SHIFT & 0xff;
	const __u32 data = (__u32)entry;
	const union weir_set_line *line;
	__u64 at;

	if (kind == WEIR_SET_HOSTS) {
		/* Has one of the four bytes become zero? */
		__u32 x = data ^ host * 0x01010101U;

		return !!((x - 0x01010101U) & ~x & 0x80808080U);
	}
	if (kind == WEIR_SET_RANGES)
		return (host >= (data & 0xff) && host <= (data >> 8 & 0xff)) ||
		       (host >= (data >> 16 & 0xff) && host <= data >> 24);
	if (kind != WEIR_SET_BITMAP)
		return 0;
	line = weir_set_line(map, data >> 1);
	if (!line)
		return 0;
	at = (data & 1) * 4 + (host >> 6);
	/* Else the compiler knows the bound, and kernel 6.1 does not see it. */
	asm volatile("" : "+r"(at));
	return WEIR_SET_READ(line->word[at & 7]) >> (host & 63) & 1;
}

static WEIR_INLINE int weir_set_find4(void *map, __u32 addr)
{
	const union weir_set_line *line = weir_set_line(map, addr >> 16);
	const __u32 net = addr >> 8;
	__u64 hash;
	__u32 state;

	if (!line)
		return 0;
	state = WEIR_SET_READ(line->word[net / WEIR_SET_STATES_WORD & 7]) >> net % 32 * 2 & 3;
	if (state <= WEIR_SET_ALL)
		return (int)state;
	line = weir_set_line(map, WEIR_SET_TABLE_HEAD);
	if (!line)
		return 0;
	hash = weir_set_hash(line->table.seed, net);
	/* A branch, which lets the processor read the line before the state has come:
	 * most entries are in their first one. */
	if (state == WEIR_SET_FIRST)
		line = weir_set_line(map, weir_set_bucket(hash >> 32, line->table.buckets));
	else
		line = weir_set_line(map, weir_set_bucket((__u32)hash, line->table.buckets));
	if (!line)
		return 0;
	return weir_set_host(map, weir_set_entry(line, net), addr & 0xff);
}

/* @addr: 16 bytes in network order, 8-byte aligned. */
static WEIR_INLINE int weir_set_find6(void *map, const __u8 *addr)
{
	const union weir_set_line *line = weir_set_line(map, WEIR_SET_TRIE_HEAD);
	const __u64 high = *(const __u64 *)(const void *)addr;
	const __u64 low = *(const __u64 *)(const void *)(addr + 8);
	const struct weir_set_leaf *leaf;
	__u32 slot;

	if (!line)
		return 0;
	/* ::ffff:0:0/96, little-endian */
	if (!high && (__u32)low == 0xffff0000U)
		slot = WEIR_SET_READ(line->trie.root4);
	else
		slot = WEIR_SET_READ(line->trie.root6);
	for (int i = 0; i < WEIR_SET_DEPTH_MAX; i++) {
		__u32 depth = WEIR_SET_DEPTH(slot);

		if (!slot || slot & WEIR_SET_LEAF)
			break;
		line = weir_set_line(map, WEIR_SET_PLACE(slot) >> 1);
		if (!line)
			return 0;
		slot = WEIR_SET_READ(line->slot[addr[depth >> 1] >> (~depth & 1) * 4 & 15]);
	}
	if (!(slot & WEIR_SET_LEAF))
		return 0;
	line = weir_set_line(map, WEIR_SET_PLACE(slot) >> 1);
	if (!line)
		return 0;
	leaf = &line->leaf[slot & 1];
	return !(((high ^ leaf->value[0]) & leaf->mask[0]) |
		 ((low ^ leaf->value[1]) & leaf->mask[1]));
}

#ifdef __bpf__
/* int weir_set4_N(void *map, __u32 addr), the address in host order; int
 * weir_set6_N(void *map, const __u8 *addr): 1 in, 0 not. */
#define WEIR_SET_COPY(n)                                                                      \
	static __attribute__((noinline, used)) int weir_set4_##n(void *map, __u32 addr)       \
	{                                                                                     \
		return weir_set_find4(map, addr);                                             \
	}                                                                                     \
	static __attribute__((noinline, used)) int weir_set6_##n(void *map, const __u8 *addr) \
	{                                                                                     \
		return weir_set_find6(map, addr);                                             \
	}

WEIR_SET_COPY(0)
WEIR_SET_COPY(1)
WEIR_SET_COPY(2)
WEIR_SET_COPY(3)
_Static_assert(WEIR_POLICY_SET_COPIES == 4, "one WEIR_SET_COPY() for each");
#endif
