/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/watch/stream.h"

#define MINUTES (60 * WEIR_NSEC_PER_SEC)

static struct weir_stream_key key(uint16_t port)
{
	return (struct weir_stream_key){ .sport = port, .dport = 443 };
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 167 + (i >> 8) + 13);
}

static uint64_t lost_sum(const struct weir_streams *t)
{
	uint64_t sum = 0;

	for (int i = 0; i < WEIR_STREAM_LOST_MAX; i++)
		sum += t->lost[i];
	return sum;
}

static bool put(struct weir_streams *t, struct weir_stream *s, uint32_t seq, uint32_t n)
{
	uint8_t *bytes = malloc(n ? n : 1);
	bool ret;

	for (uint32_t i = 0; i < n; i++)
		bytes[i] = byte_at(seq - s->base + i);
	ret = weir_stream_put(t, s, seq, bytes, n);
	free(bytes);
	return ret;
}

/* Random segments, often twice and overlapping, across the wrap of sequence numbers, held
 * against a plain map of what has come. */
static void against_a_model(void **state)
{
	enum { N = 3000 };
	uint32_t seed = 5;

	(void)state;
	for (int round = 0; round < 300; round++) {
		const uint32_t base = (uint32_t)-1000 + (uint32_t)round;
		struct weir_stream_key k = key(1);
		bool came[N] = { false };
		struct weir_streams t;
		struct weir_stream *s;
		uint32_t have = 0;

		assert_int_equal(weir_streams_init(&t, 4, 1 << 20, 7), 0);
		s = weir_streams_add(&t, &k, base, 1);
		while (have < N) {
			/* The nearer to the first hole the likelier, so that few are open. */
			uint32_t from = have + next(&seed) % 600, n = 1 + next(&seed) % 400;

			from = from > 300 ? from - 300 : 0;
			if (next(&seed) % 4 == 0)
				from = have;
			if (from >= N)
				continue;
			if (from + n > N)
				n = N - from;
			if (!put(&t, s, base + from, n)) {
				s = NULL;
				break;
			}
			memset(came + from, true, n);
			while (have < N && came[have])
				have++;
			assert_int_equal(s->have, have);
			for (uint32_t i = 0; i < have; i++)
				assert_int_equal(s->buf[i], byte_at(i));
			for (uint32_t i = 0; i < s->n_early; i++) {
				assert_true(s->early[i].from > (i ? s->early[i - 1].to : have));
				for (uint32_t b = s->early[i].from; b < s->early[i].to; b++)
					assert_true(came[b] && s->buf[b] == byte_at(b));
			}
		}
		assert_non_null(s); /* never more holes than there is room for */
		weir_streams_free(&t);
		assert_int_equal(lost_sum(&t), 0);
		assert_int_equal(t.bytes, 0);
	}
}

/* Of bytes that come twice the first ones count. */
static void first_wins(void **state)
{
	struct weir_stream_key k = key(1);
	struct weir_streams t;
	struct weir_stream *s;

	(void)state;
	weir_streams_init(&t, 4, 1 << 20, 7);
	s = weir_streams_add(&t, &k, 100, 1);
	assert_true(weir_stream_put(&t, s, 103, (const uint8_t *)"DEF", 3));
	assert_true(weir_stream_put(&t, s, 108, (const uint8_t *)"I", 1));
	assert_int_equal(s->have, 0);
	assert_true(weir_stream_put(&t, s, 98, (const uint8_t *)"xxabcdefghij", 12));
	assert_int_equal(s->have, 10);
	assert_memory_equal(s->buf, "abcDEFghIj", 10);
	assert_true(weir_stream_put(&t, s, 100, (const uint8_t *)"zzzzzzzzzzz", 11));
	assert_memory_equal(s->buf, "abcDEFghIjz", 11);
	weir_stream_consume(s, 4);
	assert_int_equal(s->base, 104);
	assert_int_equal(s->have, 7);
	assert_memory_equal(s->buf, "EFghIjz", 7);
	weir_streams_free(&t);
}

static void bounds(void **state)
{
	struct weir_stream_key k = key(1);
	struct weir_streams t;
	struct weir_stream *s;
	uint32_t at = 0;

	(void)state;
	weir_streams_init(&t, 4, 1 << 20, 7);
	/* Holes */
	s = weir_streams_add(&t, &k, 0, 1);
	for (unsigned int i = 1; i <= WEIR_STREAM_HOLES; i++)
		assert_true(put(&t, s, i * 10, 5));
	assert_false(put(&t, s, 900, 5));
	assert_int_equal(t.lost[WEIR_STREAM_LOST_GAP], 1);
	assert_null(weir_streams_find(&t, &k, 1));
	/* Length: with a hole at its beginning, and without */
	s = weir_streams_add(&t, &k, 0, 1);
	assert_true(put(&t, s, 1, WEIR_STREAM_MAX));
	assert_false(put(&t, s, WEIR_STREAM_MAX, 1));
	assert_int_equal(t.lost[WEIR_STREAM_LOST_GAP], 2);
	s = weir_streams_add(&t, &k, 0, 1);
	for (; at < WEIR_STREAM_MAX; at += 1460)
		assert_true(put(&t, s, at, 1460));
	assert_int_equal(s->have, WEIR_STREAM_MAX);
	assert_false(put(&t, s, at, 1));
	assert_int_equal(t.lost[WEIR_STREAM_LOST_TOO_LONG], 1);
	assert_int_equal(t.bytes, 0);
	weir_streams_free(&t);
}

static void forgetting(void **state)
{
	struct weir_stream_key k;
	struct weir_streams t;
	struct weir_stream *s;

	(void)state;
	weir_streams_init(&t, 4, 10000, 7);
	for (uint16_t i = 0; i < 5; i++) { /* the fifth takes the place of the first */
		k = key(i);
		s = weir_streams_add(&t, &k, 0, i);
		assert_true(put(&t, s, 0, i ? 0 : 3));
	}
	assert_int_equal(t.lost[WEIR_STREAM_LOST_EVICTED], 1);
	k = key(1);
	assert_non_null(weir_streams_find(&t, &k, 6)); /* now the youngest */
	k = key(9);
	s = weir_streams_add(&t, &k, 0, 2 * MINUTES); /* two others have grown old */
	assert_int_equal(t.table.n, 3);
	assert_int_equal(t.lost[WEIR_STREAM_LOST_IDLE], 0); /* there was nothing in them */
	/* Memory: what is older makes room. */
	assert_true(put(&t, s, 0, 5000));
	assert_int_equal(weir_streams_begun(&t), 1);
	k = key(10);
	s = weir_streams_add(&t, &k, 0, 2 * MINUTES);
	assert_true(put(&t, s, 0, 5000));
	assert_int_equal(t.lost[WEIR_STREAM_LOST_EVICTED], 2);
	assert_int_equal(t.table.n, 1);
	k = key(11);
	weir_streams_add(&t, &k, 0, 4 * MINUTES);
	assert_int_equal(t.lost[WEIR_STREAM_LOST_IDLE], 1);
	weir_streams_free(&t);
	assert_int_equal(t.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(first_wins),
		cmocka_unit_test(bounds),
		cmocka_unit_test(forgetting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
