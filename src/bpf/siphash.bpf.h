/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) of whole
 * 64-bit words, with as many rounds as the caller says. Who does not know the key
 * can neither foretell a hash nor find two inputs whose hashes collide.
 *
 *	struct weir_sip v;
 *
 *	weir_sip_begin(&v, key0, key1);
 *	weir_sip_word(&v, a, 1);
 *	weir_sip_word(&v, b, 1);
 *	hash = weir_sip_end(&v, 3);
 *
 * The paper closes the input with its length. Here the caller's words have to tell
 * where they end: no input may be the beginning of another.
 */
#pragma once

#include <linux/types.h>

#ifndef WEIR_INLINE
#define WEIR_INLINE inline __attribute__((always_inline))
#endif

struct weir_sip {
	__u64 a, b, c, d;
};

static WEIR_INLINE __u64 weir_sip_turn(__u64 x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static WEIR_INLINE void weir_sip_round(struct weir_sip *v)
{
	v->a += v->b;
	v->c += v->d;
	v->b = weir_sip_turn(v->b, 13) ^ v->a;
	v->d = weir_sip_turn(v->d, 16) ^ v->c;
	v->a = weir_sip_turn(v->a, 32);
	v->c += v->b;
	v->a += v->d;
	v->b = weir_sip_turn(v->b, 17) ^ v->c;
	v->d = weir_sip_turn(v->d, 21) ^ v->a;
	v->c = weir_sip_turn(v->c, 32);
}

static WEIR_INLINE void weir_sip_begin(struct weir_sip *v, __u64 k0, __u64 k1)
{
	/* The paper's constants. */
	v->a = k0 ^ 0x736f6d6570736575ULL;
	v->b = k1 ^ 0x646f72616e646f6dULL;
	v->c = k0 ^ 0x6c7967656e657261ULL;
	v->d = k1 ^ 0x7465646279746573ULL;
}

static WEIR_INLINE void weir_sip_word(struct weir_sip *v, __u64 word, int rounds)
{
	v->d ^= word;
	for (int i = 0; i < rounds; i++)
		weir_sip_round(v);
	v->a ^= word;
}

static WEIR_INLINE __u64 weir_sip_end(struct weir_sip *v, int rounds)
{
	v->c ^= 0xff;
	for (int i = 0; i < rounds; i++)
		weir_sip_round(v);
	return v->a ^ v->b ^ v->c ^ v->d;
}
