/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "cap/proxy/limits.h"

#define SEC WEIR_NSEC_PER_SEC

static struct weir_addr address(const char *text)
{
	struct weir_addr a;

	assert_int_equal(weir_addr_parse(text, &a), 0);
	return a;
}

static struct weir_addr numbered(uint32_t n)
{
	struct weir_addr a = address("10.0.0.0");

	memcpy(a.b + 13, (uint8_t[]){ (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n }, 3);
	return a;
}

static void keys(void **state)
{
	struct weir_addr a = address("2001:db8:1:2:3:4:5:6"), b = address("2001:db8:1:2::");
	struct weir_addr c = address("192.0.2.7"), key = weir_limiter_key(&a);

	(void)state;
	assert_memory_equal(&key, &b, sizeof(key));
	key = weir_limiter_key(&c);
	assert_memory_equal(&key, &c, sizeof(key));
}

static void in_all(void **state)
{
	struct weir_proxy_limiter *l = weir_limiter_new();
	const struct weir_proxy_limits limits = { .connections = 3 };
	struct weir_addr a;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		a = numbered(i);
		assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_ENDS);
	}
	assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_END_LIMIT_CONNECTIONS);
	assert_int_equal(weir_limiter_open(l), 3);
	weir_limiter_leave(l, &a);
	assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_ENDS);
	weir_limiter_free(l);
}

static void per_source(void **state)
{
	struct weir_proxy_limiter *l = weir_limiter_new();
	const struct weir_proxy_limits limits = { .connections = 100, .per_source = 2 };
	struct weir_addr a = address("2001:db8::1"), same = address("2001:db8::2");
	struct weir_addr other = address("2001:db8:0:1::1");

	(void)state;
	assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_ENDS);
	assert_int_equal(weir_limiter_enter(l, &limits, &same, 1), WEIR_ENDS);
	assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_END_LIMIT_PER_SOURCE);
	assert_int_equal(weir_limiter_enter(l, &limits, &other, 1), WEIR_ENDS);
	assert_int_equal(weir_limiter_open(l), 3);
	weir_limiter_leave(l, &same);
	assert_int_equal(weir_limiter_enter(l, &limits, &a, 1), WEIR_ENDS);
	weir_limiter_free(l);
}

/* 10 a second, 5 at once: also for connections that end at once. */
static void rate(void **state)
{
	struct weir_proxy_limiter *l = weir_limiter_new();
	const struct weir_proxy_limits limits = { .connections = 100,
						  .source_rate = 10,
						  .source_burst = 5 };
	struct weir_addr a = numbered(1), b = numbered(2);
	uint64_t now = weir_clock_mono(), end = now + 10 * SEC;
	unsigned int begun = 0;

	(void)state;
	for (; now < end; now += SEC / 1000) {
		if (weir_limiter_enter(l, &limits, &a, now) != WEIR_ENDS)
			continue;
		begun++;
		weir_limiter_leave(l, &a);
	}
	assert_in_range(begun, 104, 105); /* the burst and 100 */
	now -= SEC / 1000;		  /* the bucket is as the last one left it */
	assert_int_equal(weir_limiter_enter(l, &limits, &a, now), WEIR_END_LIMIT_RATE);
	assert_int_equal(weir_limiter_enter(l, &limits, &b, now), WEIR_ENDS);
	weir_limiter_free(l);
}

/* Sources that are gone take no memory once others come. */
static void forgotten(void **state)
{
	struct weir_proxy_limiter *l = weir_limiter_new();
	const struct weir_proxy_limits limits = { .connections = 100,
						  .source_rate = 1000,
						  .source_burst = 1 };
	uint64_t now = weir_clock_mono();
	size_t most = 0, first = 0;

	(void)state;
	for (uint32_t i = 0; i < 300000; i++, now += SEC / 10000) {
		struct weir_addr a = numbered(i);

		assert_int_equal(weir_limiter_enter(l, &limits, &a, now), WEIR_ENDS);
		weir_limiter_leave(l, &a);
		if (i == 10000)
			first = mallinfo2().uordblks;
		if (i % 10000 == 0 && mallinfo2().uordblks > most)
			most = mallinfo2().uordblks;
	}
	assert_true(most < first + 200000);
	weir_limiter_free(l);
}

#define THREADS 4

static struct weir_proxy_limiter *shared;
static _Atomic uint32_t entered;

static void *come_and_go(void *arg)
{
	const struct weir_proxy_limits limits = { .connections = 1000, .per_source = 3 };

	for (uint32_t i = 0; i < 20000; i++) {
		struct weir_addr a = numbered(i % 7);

		if (weir_limiter_enter(shared, &limits, &a, weir_clock_mono()) != WEIR_ENDS)
			continue;
		entered++;
		weir_limiter_leave(shared, &a);
	}
	return arg;
}

static void many_threads(void **state)
{
	pthread_t thread[THREADS];

	(void)state;
	shared = weir_limiter_new();
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(weir_limiter_open(shared), 0);
	assert_true(entered > 20000);
	weir_limiter_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys), cmocka_unit_test(in_all),    cmocka_unit_test(per_source),
		cmocka_unit_test(rate), cmocka_unit_test(forgotten), cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
