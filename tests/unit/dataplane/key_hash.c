/* SPDX-License-Identifier: GPL-2.0-only */
/* The seeded hash: chosen keys do not meet in a bucket, and equal ones always do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/key_hash.h"

#define KEYS 256
#define BUCKETS 65536

static uint64_t word_hash(uint64_t seed, uint64_t a, uint64_t b)
{
	const uint64_t key[2] = { a, b };

	return weir_key_hash(seed, key, sizeof(key));
}

static void test_seeded(void **state)
{
	(void)state;
	assert_int_not_equal(weir_key_seed, 0); /* set before main() */
	assert_int_equal(word_hash(7, 1, 2), word_hash(7, 1, 2));
	assert_int_not_equal(word_hash(7, 1, 2), word_hash(8, 1, 2));
}

/* Neighbours differ in the last byte of their address, which is the highest of its word. */
static void test_neighbours(void **state)
{
	static uint8_t longest, n[BUCKETS];
	uint8_t addr[16] = { [10] = 0xff, [11] = 0xff, [12] = 10 };

	(void)state;
	for (unsigned int i = 0; i < KEYS; i++) {
		uint8_t *at;

		addr[15] = (uint8_t)i;
		at = &n[weir_key_hash(weir_key_seed, addr, sizeof(addr)) % BUCKETS];
		longest = ++*at > longest ? *at : longest;
	}
	assert_true(longest < 8);
}

/* Differences that a multiplication hands on unchanged, whatever the seed. */
static void test_differences(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= KEYS; seed++)
		for (int bit = 0; bit < 32; bit++)
			assert_int_not_equal(
				word_hash(seed, 0, 0),
				word_hash(seed, 1ULL << 63, 1ULL << 63 | 1ULL << bit));
}

/* Keys of 44 bytes and text have a last word that is not whole. */
static void test_rest(void **state)
{
	uint8_t key[44] = { 0 };
	uint64_t before = weir_key_hash(1, key, sizeof(key));

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++) {
		key[i] = 1;
		assert_int_not_equal(weir_key_hash(1, key, sizeof(key)), before);
		key[i] = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeded),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_differences),
		cmocka_unit_test(test_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
