/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "base/cleanup.h"
#include "base/units.h"

struct parse_case {
	const char *in;
	int r;
	uint64_t out;
};

static void check(int (*parse)(const char *, uint64_t *), const struct parse_case *c)
{
	uint64_t v = 4711;
	int r = parse(c->in, &v);

	if (r != c->r)
		fail_msg("\"%s\" gives %d", c->in, r);
	assert_int_equal(v, r ? 4711 : c->out);
}

static int u64_to_100(const char *s, uint64_t *ret)
{
	return weir_parse_u64(s, 5, 100, ret);
}

static int u64_any(const char *s, uint64_t *ret)
{
	return weir_parse_u64(s, 0, UINT64_MAX, ret);
}

static void numbers(void **state)
{
	static const struct parse_case bounded[] = {
		{ "5", 0, 5 },		{ "100", 0, 100 },     { "007", 0, 7 },
		{ "4", -ERANGE, 0 },	{ "101", -ERANGE, 0 }, { "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },	{ "+7", -EINVAL, 0 },  { " 7", -EINVAL, 0 },
		{ "7 ", -EINVAL, 0 },	{ "0x10", -EINVAL, 0 }, { "7.0", -EINVAL, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "99999999999999999999x", -EINVAL, 0 },
	};
	static const struct parse_case any[] = {
		{ "0", 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bounded); i++)
		check(u64_to_100, &bounded[i]);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(any); i++)
		check(u64_any, &any[i]);
}

static void durations(void **state)
{
	static const struct parse_case cases[] = {
		{ "250ms", 0, 250000000 },
		{ "10s", 0, 10000000000 },
		{ "5m", 0, 300000000000 },
		{ "1h", 0, 3600000000000 },
		{ "2d", 0, 172800000000000 },
		{ "7us", 0, 7000 },
		{ "7ns", 0, 7 },
		{ "0s", 0, 0 },
		{ "1.5s", 0, 1500000000 },
		{ "0.000000001s", 0, 1 },
		{ "10S", 0, 10000000000 },
		{ "213503d", 0, 18446659200000000000ULL },
		{ "213504d", -ERANGE, 0 },
		{ "99999999999999999999s", -ERANGE, 0 },
		{ "99999999999999999999x", -EINVAL, 0 },
		{ "1.5ns", -EINVAL, 0 },
		{ "1.0000000001s", -EINVAL, 0 },
		{ "10", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "1.s", -EINVAL, 0 },
		{ ".5s", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 },
		{ "1 s", -EINVAL, 0 },
		{ "1sec", -EINVAL, 0 },
		{ "1s ", -EINVAL, 0 },
		{ "1e3s", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		check(weir_parse_duration, &cases[i]);
}

static void sizes(void **state)
{
	static const struct parse_case cases[] = {
		{ "0", 0, 0 },
		{ "1500", 0, 1500 },
		{ "64k", 0, 65536 },
		{ "64K", 0, 65536 },
		{ "16m", 0, 16777216 },
		{ "1g", 0, 1073741824 },
		{ "2t", 0, 2199023255552 },
		{ "1.5k", 0, 1536 },
		{ "16777215t", 0, 18446742974197923840ULL },
		{ "16777216t", -ERANGE, 0 },
		{ "1.5", -EINVAL, 0 },
		{ "k", -EINVAL, 0 },
		{ "64kb", -EINVAL, 0 },
		{ "64 k", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		check(weir_parse_size, &cases[i]);
}

static void rates(void **state)
{
	static const struct {
		const char *in;
		int r;
		uint64_t per_s;
		bool bits;
	} cases[] = {
		{ "1000/s", 0, 1000, false },
		{ "60/m", 0, 1, false },
		{ "7200/h", 0, 2, false },
		{ "10mbit", 0, 10000000, true },
		{ "1gbit", 0, 1000000000, true },
		{ "64kbit", 0, 64000, true },
		{ "2.5gbit", 0, 2500000000, true },
		{ "100Mbit", 0, 100000000, true },
		{ "5bit", 0, 5, true },
		{ "90/m", -ERANGE, 0, false }, /* 1.5 a second is no whole number */
		{ "99999999999999999999/s", -ERANGE, 0, false },
		{ "99999999999mbit", 0, 99999999999000000, true },
		{ "99999999999tbit", -ERANGE, 0, false },
		{ "1000", -EINVAL, 0, false },
		{ "/s", -EINVAL, 0, false },
		{ "1000/x", -EINVAL, 0, false },
		{ "1.5/s", -EINVAL, 0, false },
		{ "mbit", -EINVAL, 0, false },
		{ "10mb", -EINVAL, 0, false },
		{ "", -EINVAL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		uint64_t per_s = 4711;
		bool bits = !cases[i].bits;
		int r = weir_parse_rate(cases[i].in, &per_s, &bits);

		if (r != cases[i].r)
			fail_msg("\"%s\" gives %d", cases[i].in, r);
		assert_int_equal(per_s, r ? 4711 : cases[i].per_s);
		assert_int_equal(bits, r ? !cases[i].bits : cases[i].bits);
	}
}

static void percents(void **state)
{
	static const struct {
		const char *in;
		int r;
		double out;
	} cases[] = {
		{ "10%", 0, 10 },	  { "0%", 0, 0 },
		{ "100%", 0, 100 },	  { "0.5%", 0, 0.5 },
		{ "100.0%", 0, 100 },	  { "100.1%", -ERANGE, 0 },
		{ "101%", -ERANGE, 0 },	  { "99999999999999999999%", -ERANGE, 0 },
		{ "10", -EINVAL, 0 },	  { "%", -EINVAL, 0 },
		{ "-1%", -EINVAL, 0 },	  { "nan%", -EINVAL, 0 },
		{ "10%%", -EINVAL, 0 },	  { "1e1%", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		double v = -1;

		assert_int_equal(weir_parse_percent(cases[i].in, &v), cases[i].r);
		assert_true(v == (cases[i].r ? -1 : cases[i].out));
	}
}

static void si(void **state)
{
	static const struct {
		double in;
		const char *out;
	} cases[] = {
		{ 0, "0" },		{ 7, "7" },		{ 999, "999" },
		{ 1000, "1.00k" },	{ 1234567, "1.23M" },	{ 999499, "999k" },
		{ 999500, "1.00M" },	{ 9994, "9.99k" },	{ 9995, "10.0k" },
		{ 99949, "99.9k" },	{ 99950, "100k" },	{ 0.5, "0.50" },
		{ 12.34, "12.3" },	{ -1500, "-1.50k" },	{ 999.7, "1.00k" },
		{ 1e9, "1.00G" },	{ 2.5e12, "2.50T" },	{ 1e15, "1.00P" },
		{ 1.8e19, "18.0E" },	{ 5e21, "5000E" },	{ NAN, "-" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };

		weir_buf_add_si(&b, cases[i].in);
		assert_string_equal(b.data, cases[i].out);
	}
}

static void grouped(void **state)
{
	static const struct {
		uint64_t in;
		const char *out;
	} cases[] = {
		{ 0, "0" },
		{ 999, "999" },
		{ 1000, "1,000" },
		{ 1234567, "1,234,567" },
		{ 1000000, "1,000,000" },
		{ 1001001, "1,001,001" },
		{ UINT64_MAX, "18,446,744,073,709,551,615" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };

		weir_buf_add_grouped(&b, cases[i].in);
		assert_string_equal(b.data, cases[i].out);
	}
}

static void printed_durations(void **state)
{
	static const struct {
		uint64_t in;
		const char *out;
	} cases[] = {
		{ 0, "0ns" },
		{ 999, "999ns" },
		{ 1000, "1.00us" },
		{ 1500000, "1.50ms" },
		{ 999499, "999us" },
		{ 999500, "1.00ms" },
		{ 12345678, "12.3ms" },
		{ 1000000000, "1.00s" },
		{ 59940000000, "59.9s" },
		{ 59950000000, "1m00s" },
		{ 60000000000, "1m00s" },
		{ 125000000000, "2m05s" },
		{ 3600000000000, "1h00m" },
		{ 12000000000000, "3h20m" },
		{ 86400000000000, "1d00h" },
		{ UINT64_MAX, "213503d23h" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };

		weir_buf_add_duration(&b, cases[i].in);
		assert_string_equal(b.data, cases[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),  cmocka_unit_test(durations),
		cmocka_unit_test(sizes),    cmocka_unit_test(rates),
		cmocka_unit_test(percents), cmocka_unit_test(si),
		cmocka_unit_test(grouped),  cmocka_unit_test(printed_durations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
