/* SPDX-License-Identifier: GPL-2.0-only */
/* Quantiles out of buckets: how far off they may be, and what they say of nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cap/path/session.h"

/* Where the programs would put it. */
static unsigned int bucket_of(uint64_t ns)
{
	unsigned int i = 0;

	while (i + 1 < WEIR_PATH_BUCKETS && weir_path_bucket_low(i + 1) <= ns)
		i++;
	return i;
}

static void add(struct weir_path_sum *s, uint64_t ns)
{
	s->bucket[bucket_of(ns)]++;
	s->samples++;
	s->max = ns > s->max ? ns : s->max;
}

static void buckets_touch_and_are_narrow(void **state)
{
	(void)state;
	assert_int_equal(weir_path_bucket_low(0), 0);
	for (unsigned int i = 0; i + 1 < WEIR_PATH_BUCKETS; i++) {
		uint64_t low = weir_path_bucket_low(i), high = weir_path_bucket_low(i + 1);

		assert_true(high > low);
		assert_true(high - low <= 1 || (high - low) * 4 <= low);
	}
}

static void a_quantile_is_near(void **state)
{
	(void)state;
	for (uint64_t ns = 10; ns < 8000000000ULL; ns = ns * 13 / 8 + 1) {
		struct weir_path_sum s = { 0 };
		uint64_t p50;

		for (int i = 0; i < 100; i++)
			add(&s, ns);
		add(&s, ns * 8);
		p50 = weir_path_quantile(&s, 0.5);
		assert_true(p50 * 100 >= ns * 88 && p50 * 100 <= ns * 112);
		assert_int_equal(weir_path_quantile(&s, 0.99), p50);
		assert_true(weir_path_quantile(&s, 1) > 6 * ns);
	}
}

static void a_quantile_is_never_more_than_the_longest(void **state)
{
	struct weir_path_sum s = { 0 };

	(void)state;
	add(&s, 1024);
	assert_int_equal(weir_path_quantile(&s, 0.5), 1024);
}

static void nothing_has_no_quantile(void **state)
{
	struct weir_path_sum s = { 0 };

	(void)state;
	assert_int_equal(weir_path_quantile(&s, 0.99), 0);
}

static void figures_add_up_but_maxima(void **state)
{
	static struct weir_path_figures a, b;

	(void)state;
	a.stage[WEIR_PATH_TCP].count = 2;
	a.stage[WEIR_PATH_TCP].max = 7;
	a.account.seen = 5;
	b.stage[WEIR_PATH_TCP].count = 3;
	b.stage[WEIR_PATH_TCP].max = 6;
	b.account.lost[WEIR_PATH_LOST_MISSED] = 1;
	weir_path_add(&a, &b);
	assert_int_equal(a.stage[WEIR_PATH_TCP].count, 5);
	assert_int_equal(a.stage[WEIR_PATH_TCP].max, 7);
	assert_int_equal(a.account.seen, 5);
	assert_int_equal(weir_path_lost(&a), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_touch_and_are_narrow),
		cmocka_unit_test(a_quantile_is_near),
		cmocka_unit_test(a_quantile_is_never_more_than_the_longest),
		cmocka_unit_test(nothing_has_no_quantile),
		cmocka_unit_test(figures_add_up_but_maxima),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
