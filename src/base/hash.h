/* SPDX-License-Identifier: GPL-2.0-only */
/* A hash for tables in user space. Not for what an attacker may choose all of. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WEIR_KEY_START 0x9e3779b97f4a7c15ULL

static inline uint64_t weir_key_mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0xff51afd7ed558ccdULL;
	return h ^ h >> 32;
}

/* Of a key without padding, @bytes a multiple of four. */
static inline uint64_t weir_key_hash(const void *key, size_t bytes)
{
	uint64_t h = WEIR_KEY_START, v;
	uint32_t last = 0;
	size_t i;

	for (i = 0; i + sizeof(v) <= bytes; i += sizeof(v)) {
		memcpy(&v, (const char *)key + i, sizeof(v));
		h = weir_key_mix(h, v);
	}
	if (i == bytes)
		return h;
	memcpy(&last, (const char *)key + i, sizeof(last));
	return weir_key_mix(h, last);
}
