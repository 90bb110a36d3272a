/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hash of tables in user space whose keys strangers choose: addresses, ports and names
 * from packets. SipHash-1-3 with a key that nobody else knows, so that no choice of keys
 * makes one bucket long. (What only begins with a secret does not do: where words are mixed
 * by multiplication, pairs of words collide whatever it is.)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bpf/siphash.bpf.h"

/* Random, set before main(). */
extern uint64_t weir_key_seed;

static inline void weir_key_begin(struct weir_sip *v, uint64_t seed)
{
	weir_sip_begin(v, seed, 0);
}

/* The last word is filled up with zeros: where the length may differ, add it, too. */
static inline void weir_key_add(struct weir_sip *v, const void *key, size_t bytes)
{
	uint64_t word = 0;
	size_t i;

	for (i = 0; i + sizeof(word) <= bytes; i += sizeof(word)) {
		memcpy(&word, (const char *)key + i, sizeof(word));
		weir_sip_word(v, word, 1);
	}
	if (i == bytes)
		return;
	word = 0;
	memcpy(&word, (const char *)key + i, bytes - i);
	weir_sip_word(v, word, 1);
}

static inline uint64_t weir_key_end(struct weir_sip *v)
{
	return weir_sip_end(v, 3);
}

/* Of a key without padding, in a table whose keys are of one length. */
static inline uint64_t weir_key_hash(uint64_t seed, const void *key, size_t bytes)
{
	struct weir_sip v;

	weir_key_begin(&v, seed);
	weir_key_add(&v, key, bytes);
	return weir_key_end(&v);
}
