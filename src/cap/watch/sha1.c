/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/sha1.h"

#include <assert.h>
#include <string.h>

static uint32_t rol(uint32_t v, unsigned int n)
{
	return v << n | v >> (32 - n);
}

static uint32_t choose(uint32_t b, uint32_t c, uint32_t d)
{
	return (d ^ (b & (c ^ d))) + 0x5a827999;
}

static uint32_t parity(uint32_t b, uint32_t c, uint32_t d)
{
	return b ^ c ^ d;
}

static uint32_t majority(uint32_t b, uint32_t c, uint32_t d)
{
	return ((b & c) | (d & (b | c))) + 0x8f1bbcdc;
}

/* Five rounds: the working variables are back where they were, so that none
 * has to be moved. */
#define ROUND(a, b, c, d, e, f) \
	((e) += rol(a, 5) + (f) + *w++, (b) = rol(b, 30))
#define FIVE(f, k)                                        \
	(ROUND(a, b, c, d, e, f(b, c, d) + (k)),          \
	 ROUND(e, a, b, c, d, f(a, b, c) + (k)),          \
	 ROUND(d, e, a, b, c, f(e, a, b) + (k)),          \
	 ROUND(c, d, e, a, b, f(d, e, a) + (k)),          \
	 ROUND(b, c, d, e, a, f(c, d, e) + (k)))

void weir_sha1(const uint8_t *msg, size_t n, uint8_t ret[WEIR_SHA1_LEN])
{
	uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
	uint8_t block[64] = { 0 };
	uint32_t schedule[80], *w = schedule;

	assert(n <= WEIR_SHA1_MAX);
	memcpy(block, msg, n);
	block[n] = 0x80;
	block[62] = (uint8_t)(n >> 5);
	block[63] = (uint8_t)(n << 3);
	for (unsigned int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
		       (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (unsigned int i = 16; i < 80; i++)
		w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (int i = 0; i < 4; i++)
		FIVE(choose, 0);
	for (int i = 0; i < 4; i++)
		FIVE(parity, 0x6ed9eba1);
	for (int i = 0; i < 4; i++)
		FIVE(majority, 0);
	for (int i = 0; i < 4; i++)
		FIVE(parity, 0xca62c1d6);
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
	for (unsigned int i = 0; i < WEIR_SHA1_LEN; i++)
		ret[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}
