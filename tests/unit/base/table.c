/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/table.h"

static void columns_as_wide_as_their_widest_cell(void **state)
{
	static const char *const head[] = { "A", "LONGER", "C" };
	weir_autobuf struct weir_buf out = { 0 };
	weir_autotable struct weir_table t;

	(void)state;
	weir_table_init(&t, 3, head);
	weir_table_add(&t, "wide cell");
	weir_table_add(&t, "b");
	weir_table_addf(&t, "%d", 7);
	weir_table_render(&t, 2, &out);
	assert_string_equal(out.data, "  A          LONGER  C\n"
				      "  wide cell  b       7\n");
}

static void empty_cells_are_shown(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	weir_autotable struct weir_table t;

	(void)state;
	weir_table_init(&t, 2, NULL);
	weir_table_add(&t, NULL);
	weir_table_add(&t, "");
	weir_table_render(&t, 0, &out);
	assert_string_equal(out.data, "-  -\n");
}

static void width_is_what_the_eye_sees(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	weir_autotable struct weir_table t;

	(void)state;
	weir_table_init(&t, 2, NULL);
	weir_table_add_wide(&t, "\033[32m✓\033[0m", 1);
	weir_table_add(&t, "x");
	weir_table_add_wide(&t, "ok", 2);
	weir_table_add(&t, "y");
	weir_table_render(&t, 0, &out);
	assert_string_equal(out.data, "\033[32m✓\033[0m   x\nok  y\n");
}

static void no_rows(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	weir_autotable struct weir_table t;

	(void)state;
	weir_table_init(&t, 2, NULL);
	weir_table_render(&t, 2, &out);
	assert_int_equal(out.len, 0);
	assert_false(out.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_as_wide_as_their_widest_cell),
		cmocka_unit_test(empty_cells_are_shown),
		cmocka_unit_test(width_is_what_the_eye_sees),
		cmocka_unit_test(no_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
