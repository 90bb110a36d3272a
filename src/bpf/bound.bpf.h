/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A length that the verifier believes to be at least 1.
 *
 * Helpers that copy refuse a length that may be 0, and kernels before 6.3 do
 * not learn from `n != 0`. They do learn from `n - 1 < max`, if the compiler is
 * kept from turning that back into the former:
 *
 *	__u32 last = weir_last(n);
 *
 *	if (last < max)
 *		bpf_skb_load_bytes(skb, 0, to, weir_size(last));
 */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

static __always_inline __u32 weir_last(__u32 n)
{
	__u32 last = n - 1;

	asm volatile("" : "+r"(last));
	return last;
}

static __always_inline __u32 weir_size(__u32 last)
{
	asm volatile("" : "+r"(last));
	return last + 1;
}
