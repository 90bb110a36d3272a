/* SPDX-License-Identifier: GPL-2.0-only */
/* A figure that differs is a failure, and no later finding makes it good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cap/selftest/selftest.h"

static void a_difference_is_a_failure(void **state)
{
	struct weir_check_result r = { .outcome = WEIR_CHECK_OK };

	(void)state;
	assert_true(weir_check_equal(&r, "packets", 5, 5));
	assert_int_equal(r.outcome, WEIR_CHECK_OK);
	assert_false(weir_check_equal(&r, "packets", 4, 5));
	assert_int_equal(r.outcome, WEIR_CHECK_NOT_OK);
	assert_string_equal(r.detail, "packets: 4, and not 5");
}

static void the_first_failure_stays(void **state)
{
	struct weir_check_result r = { .outcome = WEIR_CHECK_OK };

	(void)state;
	weir_check_fail(&r, "one");
	weir_check_fail(&r, "two");
	weir_check_ok(&r, "three");
	weir_check_skip(&r, "four");
	assert_int_equal(r.outcome, WEIR_CHECK_NOT_OK);
	assert_string_equal(r.detail, "one");
}

static void the_last_json_counts(void **state)
{
	const char text[] = "listening\n{\"a\":1}\nnoise {\n{\"a\":{\"b\":7}}\n{broken\n";
	int fd = memfd_create("x", MFD_CLOEXEC);
	json_t *j;

	(void)state;
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	j = weir_child_last_json(fd);
	assert_non_null(j);
	assert_int_equal(weir_json_number(j, "a.b"), 7);
	assert_int_equal(weir_json_number(j, "a"), 0);
	assert_int_equal(weir_json_number(j, "a.b.c"), 0);
	assert_int_equal(weir_json_number(NULL, "a"), 0);
	json_decref(j);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_difference_is_a_failure),
		cmocka_unit_test(the_first_failure_stays),
		cmocka_unit_test(the_last_json_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
