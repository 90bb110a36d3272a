/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define HOUR 3600ULL
#define DAY (24 * HOUR)

static void offset(void **state)
{
	int64_t off = weir_clock_offset();
	uint64_t mono = weir_clock_mono(), real = weir_clock_real();

	(void)state;
	assert_true(weir_clock_mono() >= mono);
	/* Within a second even on a loaded machine. */
	assert_true(llabs((int64_t)(real - mono) - off) < (int64_t)WEIR_NSEC_PER_SEC);
}

static void expect_rfc3339(uint64_t sec, unsigned int nsec)
{
	weir_autobuf struct weir_buf b = { 0 };
	time_t t = (time_t)sec;
	char date[32], want[64];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(want, sizeof(want), "%s.%09uZ", date, nsec);
	weir_buf_add_rfc3339(&b, sec * WEIR_NSEC_PER_SEC + nsec);
	assert_string_equal(b.data, want);
}

static void rfc3339(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	weir_buf_add_rfc3339(&b, 0);
	assert_string_equal(b.data, "1970-01-01T00:00:00.000000000Z");
	weir_buf_reset(&b);
	weir_buf_add_rfc3339(&b, UINT64_MAX);
	assert_string_equal(b.data, "2554-07-21T23:34:33.709551615Z");
	/* Every day that 64 bits of nanoseconds hold, its first and last second. */
	for (uint64_t day = 0; day < UINT64_MAX / WEIR_NSEC_PER_SEC / DAY; day++) {
		expect_rfc3339(day * DAY, 1);
		expect_rfc3339(day * DAY + DAY - 1, 999999999);
	}
	for (uint64_t sec = 0; sec < DAY; sec++)
		expect_rfc3339(1767323045 + sec, (unsigned int)sec);
}

static void expect_clock(uint64_t sec, unsigned int usec)
{
	weir_autobuf struct weir_buf b = { 0 };
	time_t t = (time_t)sec;
	char want[32];
	struct tm tm;

	localtime_r(&t, &tm);
	snprintf(want, sizeof(want), "%02d:%02d:%02d.%06u", tm.tm_hour, tm.tm_min, tm.tm_sec,
		 usec);
	weir_buf_add_clock(&b, sec * WEIR_NSEC_PER_SEC + usec * 1000ULL + 999);
	assert_string_equal(b.data, want);
}

/* Rules in the POSIX form, so that no zone files are needed: summer time of
 * both hemispheres, a change at one minute past midnight, a quarter hour. */
static void local_time(void **state)
{
	static const char *const zones[] = {
		"UTC0",
		"CET-1CEST,M3.5.0,M10.5.0/3",
		"EST5EDT,M3.2.0,M11.1.0",
		"NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01",
		"AEST-10AEDT,M10.1.0,M4.1.0/3",
		"NPT-5:45",
		"LINT-14",
		"AoE12",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		/* A year for each zone: the minute that is cached is never shared. */
		uint64_t start = 1735689600 + i * 366 * DAY;

		setenv("TZ", zones[i], 1);
		tzset();
		for (uint64_t sec = start; sec < start + 365 * DAY; sec += 59)
			expect_clock(sec, (unsigned int)(sec % 1000000));
	}
	setenv("TZ", "EST5", 1);
	tzset();
	expect_clock(0, 0); /* still 1969 there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offset),
		cmocka_unit_test(rfc3339),
		cmocka_unit_test(local_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
