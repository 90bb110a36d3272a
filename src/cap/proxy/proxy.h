/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the proxy's user space, its BPF programs and readers of its pinned maps share.
 *
 * Pinned in <bpffs>/weir/<netns>/proxy while it runs (and removed at its end):
 *
 *	meta		owner, ABI, options
 *	names		LRU hash: struct weir_proxy_name_key -> struct weir_proxy_name
 *	totals		per-CPU array: enum weir_proxy_total -> __u64
 *	sources		LRU hash: 16-byte address -> struct weir_proxy_source
 *
 * Times are CLOCK_MONOTONIC ns (bpf_ktime_get_ns()). Integers are in host byte order,
 * addresses IPv6 in network byte order, IPv4 as mapped.
 */
#pragma once

#include <linux/types.h>

#include "bpf/proxy_totals.h"

/* ---- Names: the resolver's cache */

#define WEIR_PROXY_NAME_MAX 256 /* of a host name with NUL (RFC 1035: 253 characters) */
#define WEIR_PROXY_NAME_ADDRS 8

/* A host name in lower case, without trailing dot, filled up with zeros. */
struct weir_proxy_name_key {
	char name[WEIR_PROXY_NAME_MAX];
};

struct weir_proxy_name {
	__u64 asked;	   /* when the answer came */
	__u64 expires;	   /* its TTL is over */
	__u64 stale_until; /* ...and may be used up to here while it is asked again */
	__u8 code;	   /* enum weir_resolve_code (net/resolver.h): 0 = there are addresses */
	__u8 n;
	__u8 pad[2];
	__u32 check; /* weir_proxy_name_check() */
	__u8 addr[WEIR_PROXY_NAME_ADDRS][16]; /* in the order of trying */
};

/* An LRU map gives an evicted element to another name at once, also while someone still
 * copies it: an answer is a name's own where the sum over both says so. Else the look-up
 * is repeated. */
static inline __u32 weir_proxy_name_check(const struct weir_proxy_name_key *key,
					  const struct weir_proxy_name *e)
{
	__u64 sum = e->asked ^ (__u64)e->code << 8 ^ e->n, word;

#define WEIR_PROXY_NAME_MIX(from)                                     \
	do {                                                          \
		__builtin_memcpy(&word, (from), sizeof(word));        \
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;           \
		sum ^= sum >> 29;                                     \
	} while (0)
	WEIR_PROXY_NAME_MIX(&e->expires);
	WEIR_PROXY_NAME_MIX(&e->stale_until);
	for (unsigned int i = 0; i < e->n && i < WEIR_PROXY_NAME_ADDRS; i++) {
		WEIR_PROXY_NAME_MIX(e->addr[i]);
		WEIR_PROXY_NAME_MIX(e->addr[i] + 8);
	}
	for (unsigned int i = 0; i < WEIR_PROXY_NAME_MAX && key->name[i]; i += 8)
		WEIR_PROXY_NAME_MIX(key->name + i);
#undef WEIR_PROXY_NAME_MIX
	return (__u32)(sum ^ sum >> 32);
}

/* ---- The account: totals are in bpf/proxy_totals.h. */

struct weir_proxy_source { /* one client address, IPv6 by /64 */
	__u64 connections, refused, bytes_in, bytes_out;
	__u64 first, last;
};

/* What a worker hands to the program `account` (BPF_PROG_TYPE_SYSCALL), which adds it
 * up: totals on its CPU, sources atomically. One system call for many. */
#define WEIR_PROXY_DELTAS 64

struct weir_proxy_source_delta {
	__u8 addr[16];
	__u32 connections, refused;
	__u64 bytes_in, bytes_out;
};

struct weir_proxy_deltas {
	__u64 totals[WEIR_TOTALS];
	__u64 now;
	__u32 n;
	__u32 pad;
	struct weir_proxy_source_delta source[WEIR_PROXY_DELTAS];
};
