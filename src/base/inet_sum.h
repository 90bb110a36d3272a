/* SPDX-License-Identifier: GPL-2.0-only */
/* The Internet checksum (RFC 1071), of 16-bit words in network order. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* @sum with @n bytes added; the first is the high half of a word. */
static inline uint64_t weir_inet_sum(uint64_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum += (uint64_t)p[i] << (i % 2 ? 0 : 8);
	return sum;
}

/* What stands in the header; zero of bytes whose checksum is among them, and right. */
static inline uint16_t weir_inet_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
