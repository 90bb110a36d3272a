/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A feed of prefixes that needs no memory: prefix number i is a function of i, so a
 * BPF program can make an address inside of it, or beside it, without reading a table
 * that would push out of the cache what is to be measured.
 */
#pragma once

#include <linux/types.h>

#define VARY_LENGTHS 4096 /* prefix lengths, drawn by 12 bits of the hash */
#define VARY_BLOCKS 16384 /* IPv6: the /32s in which the prefixes lie */

enum vary_kind {
	VARY_RANDOM, /* any unicast address: hardly ever in the feed */
	VARY_NEAR,   /* like a prefix of the feed but for its last bit */
	VARY_HIT,    /* in a prefix of the feed */
	VARY_FIRST,  /* the first address of a prefix */
	VARY_FLOW,   /* one of n source ports */
	VARY_KINDS,
};

struct vary_state {
	__u64 random;  /* xorshift64 */
	__u32 kind, n; /* enum vary_kind; prefixes in the feed, or ports */
};

struct vary_v6 {
	__u64 high, low; /* in host order */
};

/* The finalizer of splitmix64. */
static inline __attribute__((always_inline)) __u64 vary_mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline __attribute__((always_inline)) __u64 vary_next(__u64 x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* 1.0.0.0 to 223.255.255.255 */
static inline __attribute__((always_inline)) __u32 vary_unicast4(__u32 random)
{
	return (1U << 24) + (__u32)((__u64)random * (223U << 24) >> 32);
}

/* 2000::/3 */
static inline __attribute__((always_inline)) __u64 vary_unicast6(__u64 random)
{
	return 1ULL << 61 | random >> 3;
}

static inline __attribute__((always_inline)) __u32 vary_mask4(__u32 len)
{
	return ~0U << (32 - len); /* 1..32 */
}

/* Prefix @i with its host bits still random; its length is lengths[*draw]. */
static inline __attribute__((always_inline)) __u32 vary_prefix4(__u32 i, __u32 *draw)
{
	__u64 h = vary_mix(i);

	*draw = h & (VARY_LENGTHS - 1);
	return vary_unicast4((__u32)(h >> 32));
}

static inline __attribute__((always_inline)) struct vary_v6 vary_prefix6(__u32 i, __u32 *draw)
{
	__u64 h = vary_mix((__u64)i << 1 | 1ULL << 40), low = vary_mix(h);
	__u64 block = vary_unicast6(vary_mix(1ULL << 50 | (h >> 50 & (VARY_BLOCKS - 1))));

	*draw = h & (VARY_LENGTHS - 1);
	return (struct vary_v6){ (block & ~0xffffffffULL) | (h >> 12 & 0xffffffff), low };
}
