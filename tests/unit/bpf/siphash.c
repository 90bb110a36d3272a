/* SPDX-License-Identifier: GPL-2.0-only */
/* The paper's test vector, and that every input bit counts. */
#include "bpf/siphash.bpf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEY0 0x0706050403020100ULL
#define KEY1 0x0f0e0d0c0b0a0908ULL

/* Appendix A: SipHash-2-4 of the 15 bytes 0 to 14, closed by their number. */
static void paper(void **state)
{
	struct weir_sip v;

	(void)state;
	weir_sip_begin(&v, KEY0, KEY1);
	weir_sip_word(&v, 0x0706050403020100ULL, 2);
	weir_sip_word(&v, 0x0f0e0d0c0b0a0908ULL, 2);
	assert_true(weir_sip_end(&v, 4) == 0xa129ca6149be45e5ULL);
}

static uint64_t one_word(uint64_t k0, uint64_t k1, uint64_t word)
{
	struct weir_sip v;

	weir_sip_begin(&v, k0, k1);
	weir_sip_word(&v, word, 1);
	return weir_sip_end(&v, 3);
}

/* As the buckets use it: a bit changed anywhere changes about half of the hash. */
static void spreads(void **state)
{
	unsigned int changed = 0;
	uint64_t hash = one_word(KEY0, KEY1, 0);

	(void)state;
	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t one = 1ULL << bit;
		uint64_t others[3] = { one_word(KEY0, KEY1, one), one_word(KEY0 ^ one, KEY1, 0),
				       one_word(KEY0, KEY1 ^ one, 0) };

		for (int i = 0; i < 3; i++) {
			int n = __builtin_popcountll(hash ^ others[i]);

			assert_in_range(n, 12, 52);
			changed += (unsigned int)n;
		}
	}
	assert_in_range(changed / (3 * 64), 31, 33);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paper),
		cmocka_unit_test(spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
