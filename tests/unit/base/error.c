/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void stores_and_returns(void **state)
{
	struct weir_error err = { 0 };

	(void)state;
	assert_int_equal(weir_fail(&err, -EINVAL, "no interface %s: see ip link", "eth9"),
			 -EINVAL);
	assert_string_equal(err.msg, "no interface eth9: see ip link");
	assert_int_equal(weir_fail(NULL, -ENOENT, "unheard %d", 1), -ENOENT);
	assert_int_equal(weir_fail_prefix(NULL, -EPERM, "unheard"), -EPERM);
}

static void prefixes(void **state)
{
	struct weir_error err = { 0 };

	(void)state;
	weir_fail(&err, -EINVAL, "bad word: fix it");
	assert_int_equal(weir_fail_prefix(&err, -EIO, "%s:%d", "rules", 3), -EIO);
	assert_string_equal(err.msg, "rules:3: bad word: fix it");
	/* The message that is there may itself be an argument. */
	weir_fail(&err, -EINVAL, "<%s>", err.msg);
	assert_string_equal(err.msg, "<rules:3: bad word: fix it>");
}

static void stays_one_safe_line(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "a\nb\tc\rd", "a?b?c?d" },
		{ "\x1b[31mred\x7f", "?[31mred?" },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f",
		  "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f" },
		{ "\xc2\x9b"
		  "31m", "?31m" },			   /* the CSI of eight bits */
		{ "\x9b", "?" },			   /* the same, bare */
		{ "\xc0\xaf \xed\xa0\x80", "?? ???" },	   /* overlong; a surrogate */
		{ "\xf4\x90\x80\x80 \xe2\x82", "???? ??" }, /* too large; cut */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_error err = { 0 };

		weir_fail(&err, -EINVAL, "%s", cases[i].in);
		assert_string_equal(err.msg, cases[i].out);
	}
}

static void bounds(void **state)
{
	struct weir_error err = { 0 };
	char text[3 * WEIR_ERROR_MAX];

	(void)state;
	/* A character of three bytes at each position of the cut. */
	for (size_t n = WEIR_ERROR_MAX - 6; n < WEIR_ERROR_MAX + 6; n++) {
		memset(text, 'x', sizeof(text));
		memcpy(text + n, "\xe2\x82\xac", 4);
		weir_fail(&err, -EINVAL, "%s", text);
		assert_true(strlen(err.msg) < WEIR_ERROR_MAX);
		weir_fail_prefix(&err, -EINVAL, "%s", text);
		assert_true(strlen(err.msg) < WEIR_ERROR_MAX);
		weir_fail_prefix(&err, -EINVAL, "short");
		assert_true(strlen(err.msg) < WEIR_ERROR_MAX);
		assert_memory_equal(err.msg, "short: xxx", 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stores_and_returns),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(stays_one_safe_line),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
