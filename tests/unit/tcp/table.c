/* SPDX-License-Identifier: GPL-2.0-only */
/* Buckets of round trips, percentiles, and what connections add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cap/tcp/table.h"

static void every_value_is_in_its_bucket(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WEIR_TCP_BUCKETS; i++) {
		uint64_t floor = weir_tcp_bucket_floor(i), next = weir_tcp_bucket_floor(i + 1);

		assert_true(next > floor);
		/* At most a quarter wider than its lower bound. */
		assert_true(floor < 4 || (next - floor) * 4 <= floor);
		assert_int_equal(weir_tcp_bucket((uint32_t)floor), i);
		assert_int_equal(weir_tcp_bucket((uint32_t)(next - 1)), i);
	}
	assert_int_equal(weir_tcp_bucket(UINT32_MAX), WEIR_TCP_BUCKETS - 1);
}

static void add(struct weir_tcp_conn *c, uint32_t us)
{
	c->rtt[weir_tcp_bucket(us)]++;
	c->rtt_count++;
	c->rtt_sum += us;
	if (us > c->rtt_max)
		c->rtt_max = us;
}

static void percentiles_are_in_the_right_bucket(void **state)
{
	struct weir_tcp_conn c = { 0 };
	struct weir_tcp_rtt r;

	(void)state;
	weir_tcp_rtt_of(&c, &r);
	assert_int_equal(weir_tcp_percentile(&r, 50), 0);
	for (uint32_t us = 1; us <= 1000; us++)
		add(&c, us);
	weir_tcp_rtt_of(&c, &r);
	assert_int_equal(weir_tcp_bucket((uint32_t)weir_tcp_percentile(&r, 50)),
			 weir_tcp_bucket(501));
	assert_int_equal(weir_tcp_bucket((uint32_t)weir_tcp_percentile(&r, 99)),
			 weir_tcp_bucket(991));
	assert_int_equal(weir_tcp_percentile(&r, 100), 1000);
	assert_int_equal(weir_tcp_bucket((uint32_t)weir_tcp_percentile(&r, 0)), 1);
}

static struct weir_tcp_conn conn(uint64_t cookie, uint8_t host, uint32_t pid)
{
	struct weir_tcp_conn c = { .pid = pid };

	c.ends.cookie = cookie;
	c.ends.remote[15] = host;
	c.now.bytes_received = 10;
	c.now.bytes_sent = 7;
	c.now.bytes_retrans = 2;
	c.now.total_retrans = 3;
	c.cause[WEIR_TCP_CAUSE_FAST] = 1;
	c.closed_how = WEIR_TCP_HOW_FIN;
	add(&c, 100);
	return c;
}

static void causes_add_up_to_what_tcp_counts(void **state)
{
	struct weir_tcp_conn c = conn(1, 1, 1);
	uint64_t cause[WEIR_TCP_CAUSES];

	(void)state;
	assert_int_equal(weir_tcp_retransmits(&c, cause), 3);
	assert_int_equal(cause[WEIR_TCP_CAUSE_FAST], 1);
	assert_int_equal(cause[WEIR_TCP_CAUSE_OTHER], 2);
	c.retrans_before = 2;
	assert_int_equal(weir_tcp_retransmits(&c, cause), 1);
	assert_int_equal(cause[WEIR_TCP_CAUSE_OTHER], 0);
	assert_int_equal(weir_tcp_bytes_out(&c), 5);
}

/* Closed ones of hosts 1 to 3, one there for 2 and one for 4. */
static void closed_and_living_ones_become_one_sum(void **state)
{
	struct weir_tcp_table t = { .by = WEIR_TCP_BY_HOST };
	struct weir_tcp_row *rows = calloc(3, sizeof(*rows));
	struct weir_tcp_sum *sums;
	size_t n;

	(void)state;
	for (uint8_t i = 0; i < 9; i++) {
		struct weir_tcp_conn c = conn(100U + i, (uint8_t)(3 - i % 3), i);

		if (i == 0)
			c.closed_how = WEIR_TCP_HOW_TIMEOUT;
		assert_int_equal(weir_tcp_table_closed(&t, &c), 0);
	}
	rows[0].c = conn(1, 2, 1);
	rows[1].c = conn(2, 4, 1);
	rows[2].c = conn(3, 4, 1);
	t.rows = rows;
	t.n = 3;
	assert_int_equal(weir_tcp_table_closed(&t, &rows[2].c), 0);
	assert_int_equal(t.closed, 10);
	assert_int_equal(weir_tcp_table_sums(&t, WEIR_TCP_SORT_BYTES, &sums, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(sums[0].name.host.b[15], 2);
	assert_int_equal(sums[0].live, 1);
	assert_int_equal(sums[0].closed, 3);
	assert_int_equal(sums[0].bytes_in, 40);
	assert_int_equal(sums[0].rtt.count, 4);
	assert_int_equal(sums[1].name.host.b[15], 1);
	assert_int_equal(sums[2].name.host.b[15], 3);
	assert_int_equal(sums[2].failed, 1);
	assert_int_equal(sums[3].name.host.b[15], 4);
	assert_int_equal(sums[3].live, 1);
	assert_int_equal(sums[3].closed, 1);
	free(sums);
	weir_tcp_table_free(&t);
}

/* Beyond the bound closed connections are summed up together: none is forgotten. */
static void sums_are_bounded(void **state)
{
	struct weir_tcp_table t = { .by = WEIR_TCP_BY_PROCESS };
	struct weir_tcp_sum *sums;
	uint64_t closed = 0;
	bool others = false;
	size_t n;

	(void)state;
	for (uint32_t i = 1; i <= 10000; i++) {
		struct weir_tcp_conn c = conn(i, 1, i);

		assert_int_equal(weir_tcp_table_closed(&t, &c), 0);
	}
	assert_int_equal(weir_tcp_table_sums(&t, WEIR_TCP_SORT_BYTES, &sums, &n), 0);
	assert_true(n < 10000);
	for (size_t i = 0; i < n; i++) {
		closed += sums[i].closed;
		others = others || weir_tcp_is_others(&t, &sums[i].name);
	}
	assert_int_equal(closed, 10000);
	assert_true(others);
	free(sums);
	weir_tcp_table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_is_in_its_bucket),
		cmocka_unit_test(percentiles_are_in_the_right_bucket),
		cmocka_unit_test(causes_add_up_to_what_tcp_counts),
		cmocka_unit_test(closed_and_living_ones_become_one_sum),
		cmocka_unit_test(sums_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
