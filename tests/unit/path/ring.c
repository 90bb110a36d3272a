/* SPDX-License-Identifier: GPL-2.0-only */
/* How full a receive ring is, out of what drivers tell, and when they tell nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cap/path/session.h"

#define NAME_BYTES 32 /* ETH_GSTRING_LEN */

static bool registers(uint32_t bytes, uint32_t head, uint32_t tail, uint32_t size, uint32_t *ret)
{
	const uint32_t regs[] = { 0, 0, 0, bytes, head, tail, 0 };

	return weir_path_ring_registers(regs, sizeof(regs) / sizeof(*regs), size, ret);
}

static void what_the_card_was_not_given_is_filled(void **state)
{
	uint32_t filled;

	(void)state;
	assert_true(registers(256 * 16, 0, 255, 256, &filled));
	assert_int_equal(filled, 0);
	assert_true(registers(256 * 16, 10, 255, 256, &filled));
	assert_int_equal(filled, 10);
	/* Behind the end of the ring. */
	assert_true(registers(256 * 16, 250, 4, 256, &filled));
	assert_int_equal(filled, 245);
	assert_true(registers(256 * 16, 7, 7, 256, &filled));
	assert_int_equal(filled, 255);
}

static void registers_of_something_else_say_nothing(void **state)
{
	const uint32_t few[5] = { 0, 0, 0, 256 * 16, 0 };
	uint32_t filled;

	(void)state;
	assert_false(registers(512 * 16, 0, 255, 256, &filled));
	assert_false(registers(256 * 16, 256, 255, 256, &filled));
	assert_false(registers(256 * 16, 0, 0xffffffff, 256, &filled));
	assert_false(registers(0, 0, 0, 0, &filled));
	assert_false(weir_path_ring_registers(few, 5, 256, &filled));
}

static bool statistics(const char *const *names, const uint64_t *values, size_t n, uint32_t *filled)
{
	char text[8 * NAME_BYTES] = "";

	for (size_t i = 0; i < n; i++)
		strncpy(text + i * NAME_BYTES, names[i], NAME_BYTES - 1);
	return weir_path_ring_statistics(text, values, n, 1024, filled);
}

static void the_fullest_queue_counts(void **state)
{
	const char *const names[] = { "rx_packets",	      "rx_posted_desc[0]",
				      "rx_completed_desc[0]", "rx_posted_desc[1]",
				      "rx_completed_desc[1]", "rx_posted_desc[10]" };
	const uint64_t values[] = { 5, 1024, 0, 1500, 500, 9 };
	/* Counted in 32 bits. */
	const uint64_t wrapped[] = { 5, 100, 0xffffffff, 1024, 1, 9 };
	uint32_t filled;

	(void)state;
	assert_true(statistics(names, values, 6, &filled));
	assert_int_equal(filled, 24);
	assert_true(statistics(names, wrapped, 6, &filled));
	assert_int_equal(filled, 1024 - 101);
}

static void statistics_that_make_no_sense_say_nothing(void **state)
{
	const char *const names[] = { "rx_posted_desc[0]", "rx_completed_desc[0]" };
	const uint64_t unused[] = { 0, 0 }, more[] = { 5000, 100 }, less[] = { 100, 5000 };
	uint32_t filled;

	(void)state;
	assert_false(statistics(names, unused, 2, &filled));
	assert_false(statistics(names, more, 2, &filled));
	assert_false(statistics(names, less, 2, &filled));
	assert_false(statistics(names, more, 1, &filled));
	assert_false(statistics(names, more, 0, &filled));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_card_was_not_given_is_filled),
		cmocka_unit_test(registers_of_something_else_say_nothing),
		cmocka_unit_test(the_fullest_queue_counts),
		cmocka_unit_test(statistics_that_make_no_sense_say_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
