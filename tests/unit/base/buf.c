/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define BIG (1024 * 1024) /* more than a pipe holds */

static const uint64_t edges[] = {
	0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 1001, 9999, 10000, 10001, 99999, 100000,
	999999, 1000000, 12345678, 99999999, 100000000, 4294967295, 4294967296,
	UINT64_MAX / 10, UINT64_MAX - 1, UINT64_MAX,
};

static void appends(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	weir_buf_adds(&b, "");
	assert_string_equal(b.data, "");
	weir_buf_add(&b, NULL, 0);
	weir_buf_adds(&b, "flow");
	weir_buf_addc(&b, ' ');
	weir_buf_add(&b, "a\0b", 3);
	assert_int_equal(b.len, 8);
	assert_memory_equal(b.data, "flow a\0b", 9);
	weir_buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
	weir_buf_addf(&b, "%s-%d", "x", 7);
	assert_string_equal(b.data, "x-7");
}

static void grows(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++)
		weir_buf_addc(&b, (char)('a' + i % 26));
	assert_int_equal(b.len, 100000);
	assert_int_equal(strlen(b.data), 100000);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
}

/* printf output that does not fit at first, around every fill level. */
static void format_grows(void **state)
{
	(void)state;
	for (int n = 200; n < 300; n++) {
		weir_autobuf struct weir_buf b = { 0 };

		for (int i = 0; i < n; i++)
			weir_buf_addc(&b, '.');
		weir_buf_addf(&b, "%0*d", 300, 5);
		assert_int_equal(b.len, n + 300);
		assert_int_equal(strlen(b.data), n + 300);
		assert_string_equal(b.data + n + 298, "05");
	}
}

static void decimals(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	char want[64];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(edges); i++) {
		weir_buf_reset(&b);
		weir_buf_addu(&b, edges[i]);
		snprintf(want, sizeof(want), "%" PRIu64, edges[i]);
		assert_string_equal(b.data, want);
		for (int width = 0; width < 25; width++) {
			weir_buf_reset(&b);
			weir_buf_addu_pad(&b, edges[i], (unsigned int)width);
			snprintf(want, sizeof(want), "%0*" PRIu64, width ? width : 1,
				 edges[i]);
			assert_string_equal(b.data, want);
		}
	}
	for (uint64_t v = 1; v < UINT64_MAX / 3; v = v * 3 - 1 + (v == 1)) {
		weir_buf_reset(&b);
		weir_buf_addu(&b, v);
		snprintf(want, sizeof(want), "%" PRIu64, v);
		assert_string_equal(b.data, want);
	}
}

static void hexadecimals(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	char want[64];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(edges); i++) {
		for (int width = 0; width < 20; width++) {
			weir_buf_reset(&b);
			weir_buf_addx(&b, edges[i], (unsigned int)width);
			snprintf(want, sizeof(want), "%0*" PRIx64, width ? width : 1,
				 edges[i]);
			assert_string_equal(b.data, want);
		}
	}
}

static void room(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	char *p = weir_buf_room(&b, 1000);

	(void)state;
	assert_non_null(p);
	memset(p, 'x', 1000);
	p[1000] = '\0';
	b.len += 1000;
	weir_buf_addc(&b, 'y');
	assert_int_equal(b.len, 1001);
	assert_string_equal(b.data + 999, "xy");
}

/* A failure is remembered, and what was there stays readable. */
static void remembers_failure(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	weir_buf_adds(&b, "kept");
	assert_null(weir_buf_room(&b, SIZE_MAX - 2));
	assert_true(b.failed);
	weir_buf_adds(&b, "lost");
	weir_buf_addc(&b, 'l');
	weir_buf_addf(&b, "%d", 1);
	weir_buf_addu(&b, 1);
	weir_buf_addx(&b, 1, 4);
	assert_string_equal(b.data, "kept");
	assert_int_equal(weir_buf_flush(&b, -1), -ENOMEM);
	assert_false(b.failed);
	weir_buf_adds(&b, "again");
	assert_string_equal(b.data, "again");
}

struct reader {
	int fd;
	size_t got;
	bool ordered;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	unsigned char chunk[999];
	ssize_t n;

	r->ordered = true;
	while ((n = read(r->fd, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (chunk[i] != (unsigned char)((r->got + (size_t)i) % 251))
				r->ordered = false;
		r->got += (size_t)n;
	}
	return NULL;
}

/* More than fits the pipe, blocking and not: all arrives in order. */
static void flushes_through_pipe(void **state)
{
	(void)state;
	for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
		weir_autobuf struct weir_buf b = { 0 };
		struct reader r = { 0 };
		pthread_t thread;
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		assert_int_equal(fcntl(fds[1], F_SETFL, flags), 0);
		for (size_t i = 0; i < BIG; i++)
			weir_buf_addc(&b, (char)(i % 251));
		r.fd = fds[0];
		assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
		assert_int_equal(weir_buf_flush(&b, fds[1]), 0);
		close(fds[1]);
		pthread_join(thread, NULL);
		close(fds[0]);
		assert_int_equal(r.got, BIG);
		assert_true(r.ordered);
		assert_int_equal(b.len, 0);
	}
}

static void flush_reports(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	weir_autoclose int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(weir_buf_flush(&b, -1), 0); /* nothing to write */
	weir_buf_adds(&b, "x");
	assert_int_equal(weir_buf_flush(&b, -1), -EBADF);
	assert_int_equal(b.len, 0);
	if (full < 0)
		return;
	weir_buf_adds(&b, "x");
	assert_int_equal(weir_buf_flush(&b, full), -ENOSPC);
	assert_int_equal(b.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends),
		cmocka_unit_test(grows),
		cmocka_unit_test(format_grows),
		cmocka_unit_test(decimals),
		cmocka_unit_test(hexadecimals),
		cmocka_unit_test(room),
		cmocka_unit_test(remembers_failure),
		cmocka_unit_test(flushes_through_pipe),
		cmocka_unit_test(flush_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
