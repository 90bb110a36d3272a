/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Running a classic BPF filter that was translated to eBPF: the copy of the
 * frame's head that it reads, the road to bytes behind that, and the place where
 * user space writes it (dataplane/load.c: weir_load_strict()).
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/match_stub.bpf.h"
#include "bpf/strict.h"

#define WEIR_STRICT_TAG_AT 12
#define WEIR_STRICT_TAG_LEN 4

/* Two, as a hook on the way out may be interrupted by one on the way in. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_strict_view);
} weir_strict_views SEC(".maps");

enum weir_strict_from { WEIR_STRICT_SKB, WEIR_STRICT_SKB_MAC, WEIR_STRICT_XDP };

/* Where the frame is. Its numbers are 64 bits wide, so that every kernel's verifier
 * remembers which of them are constants. */
struct weir_strict_at {
	void *ctx;
	__u64 from;   /* enum weir_strict_from */
	__u64 caplen; /* with the tag */
	__u64 tag;    /* to be put back: type and TCI, host order; 0 = none */
};

static __always_inline long weir_strict_copy(const struct weir_strict_at *at, __u32 off, void *to,
					     __u32 n)
{
	if (at->from == WEIR_STRICT_XDP)
		return bpf_xdp_load_bytes(at->ctx, off, to, n);
	if (at->from == WEIR_STRICT_SKB_MAC)
		return bpf_skb_load_bytes_relative(at->ctx, off, to, n, BPF_HDR_START_MAC);
	return bpf_skb_load_bytes(at->ctx, off, to, n);
}

/* A load behind the head. Called by the translated filter only. */
static __attribute__((noinline, used)) __s64 weir_strict_load(const struct weir_strict_at *at,
							      __u64 off, __u64 size)
{
	__u32 word = 0;

	if (off + size > at->caplen)
		return -1;
	if (at->tag)
		off -= WEIR_STRICT_TAG_LEN;
	if (weir_strict_copy(at, off, &word, size))
		return -1;
	return bpf_ntohl(word) >> (32 - 8 * size);
}

/* Fill the view of a frame of @len bytes, of which the filter needs @want in the head. */
static __always_inline bool weir_strict_fill(struct weir_strict_view *v,
					     const struct weir_strict_at *at, __u32 len, __u32 want)
{
	__u32 n = at->caplen < want ? at->caplen : want, last;

	v->len = len;
	v->caplen = at->caplen;
	v->head_len = n;
	if (at->tag) {
		if (weir_strict_copy(at, 0, v->head, WEIR_STRICT_TAG_AT))
			return false;
		for (int i = 0; i < WEIR_STRICT_TAG_LEN; i++)
			v->head[WEIR_STRICT_TAG_AT + i] = at->tag >> (24 - 8 * i);
		last = weir_last(n - WEIR_STRICT_TAG_AT - WEIR_STRICT_TAG_LEN);
		/* A frame that ends with its addresses has nothing more to copy. */
		if (last >= WEIR_STRICT_HEAD_MAX - WEIR_STRICT_TAG_AT - WEIR_STRICT_TAG_LEN)
			return n == WEIR_STRICT_TAG_AT + WEIR_STRICT_TAG_LEN;
		return !weir_strict_copy(at, WEIR_STRICT_TAG_AT,
					 v->head + WEIR_STRICT_TAG_AT + WEIR_STRICT_TAG_LEN,
					 weir_size(last));
	}
	last = weir_last(n);
	if (last >= WEIR_STRICT_HEAD_MAX)
		return !n;
	return !weir_strict_copy(at, 0, v->head, weir_size(last));
}

/* The call is never reached: it makes the compiler and libbpf bring the function
 * along, and tells the loader where it ended up. r6..r9 are the filter's too: nothing
 * of this function lives on behind it. */
static __attribute__((noinline)) int weir_strict_run(struct weir_strict_view *v,
						     const struct weir_strict_at *at)
{
	int ret;

	asm volatile("r1 = %[v]\n"
		     "r2 = %[at]\n"
		     "r0 = " WEIR_STR(WEIR_STRICT_STUB_MAGIC) "\n"
		     ".rept 4094\n"
		     "r0 = r0\n"
		     ".endr\n"
		     "if r0 != 0 goto +1\n"
		     "call weir_strict_load\n"
		     "%[ret] = r0\n"
		     : [ret] "=r"(ret)
		     : [v] "r"(v), [at] "r"(at)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
	return ret;
}

/* 1: it matches, 0: it does not, negative: the frame could not be read. */
static __always_inline int weir_strict(const struct weir_strict_at *at, __u32 which, __u32 len,
				       __u32 want)
{
	struct weir_strict_view *v = bpf_map_lookup_elem(&weir_strict_views, &which);

	if (!v || !weir_strict_fill(v, at, len, want))
		return -1;
	return weir_strict_run(v, at);
}
