/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/loop.h"

#define MS 1000000ULL

static struct weir_loop *loop;

static int set_up(void **state)
{
	(void)state;
	loop = weir_loop_new(NULL);
	return loop ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	weir_loop_free(loop);
	return 0;
}

/* ---- Descriptors */

struct end {
	struct weir_io io;
	struct end *peer;
	unsigned int calls;
};

static struct end ends[2];

static void delete_other(struct weir_io *io, uint32_t events)
{
	struct end *e = (struct end *)io;

	(void)events;
	e->calls++;
	weir_loop_del(loop, &e->peer->io);
	memset(&e->peer->io, 0xff, sizeof(e->peer->io)); /* as if it were freed */
	weir_loop_stop(loop);
}

/* Both are ready in the same round: the first one called takes the other one away. */
static void deleted_ahead(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		ends[i] = (struct end){ .io = { delete_other, pair[i] }, .peer = &ends[!i] };
		assert_int_equal(weir_loop_add(loop, &ends[i].io, EPOLLOUT | EPOLLET), 0);
	}
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	assert_int_equal(ends[0].calls + ends[1].calls, 1);
	close(pair[0]);
	close(pair[1]);
}

static unsigned int idles;

static void count_idle(void *arg)
{
	(*(unsigned int *)arg)++;
}

static void read_and_stop(struct weir_io *io, uint32_t events)
{
	char c;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(io->fd, &c, 1), 1);
	weir_loop_stop(loop);
}

static void idle_after_events(void **state)
{
	int pair[2];
	struct weir_io io = { .fn = read_and_stop };

	(void)state;
	idles = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	io.fd = pair[0];
	assert_int_equal(weir_loop_add(loop, &io, EPOLLIN), 0);
	assert_int_equal(weir_loop_add(loop, &io, EPOLLIN), -17 /* EEXIST */);
	weir_loop_set_idle(loop, count_idle, &idles);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	assert_int_equal(idles, 1);
	close(pair[0]);
	close(pair[1]);
}

/* ---- Timers */

#define TIMERS 64

struct alarm {
	struct weir_timer t;
	uint64_t at, fired;
	unsigned int calls;
};

static struct alarm alarms[TIMERS];
static unsigned int awaited;

static void rang(struct weir_timer *t)
{
	struct alarm *a = (struct alarm *)t;

	a->fired = weir_loop_now(loop);
	a->calls++;
	if (--awaited == 0)
		weir_loop_stop(loop);
}

static void set_alarm(struct alarm *a, uint64_t in_ns)
{
	*a = (struct alarm){ .t.fn = rang, .at = weir_loop_now(loop) + in_ns };
	weir_timer_set(loop, &a->t, a->at);
}

static void never_early(void **state)
{
	(void)state;
	awaited = TIMERS;
	for (unsigned int i = 0; i < TIMERS; i++)
		set_alarm(&alarms[i], (uint64_t)rand() % (600 * MS));
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	for (unsigned int i = 0; i < TIMERS; i++) {
		assert_int_equal(alarms[i].calls, 1);
		assert_true(alarms[i].fired >= alarms[i].at);
		/* A tick, and what a busy machine adds. */
		assert_true(alarms[i].fired < alarms[i].at + WEIR_LOOP_TICK_NS + 200 * MS);
	}
}

/* Beyond the near wheel (256 ticks, 4.1 s), both sides of its turn. */
static void far_away(void **state)
{
	(void)state;
	awaited = 3;
	set_alarm(&alarms[0], 4000 * MS);
	set_alarm(&alarms[1], 4200 * MS);
	set_alarm(&alarms[2], 4096 * MS);
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(alarms[i].fired >= alarms[i].at);
		assert_true(alarms[i].fired < alarms[i].at + WEIR_LOOP_TICK_NS + 200 * MS);
	}
}

static void pushed_pulled_deleted(void **state)
{
	(void)state;
	awaited = 3;
	set_alarm(&alarms[0], 50 * MS); /* pushed away twice */
	alarms[0].at += 100 * MS;
	weir_timer_set(loop, &alarms[0].t, alarms[0].at);
	alarms[0].at += 50 * MS;
	weir_timer_set(loop, &alarms[0].t, alarms[0].at);
	set_alarm(&alarms[1], 3600000 * MS); /* pulled near */
	alarms[1].at = weir_loop_now(loop) + 80 * MS;
	weir_timer_set(loop, &alarms[1].t, alarms[1].at);
	set_alarm(&alarms[2], 60 * MS); /* deleted */
	weir_timer_del(&alarms[2].t);
	weir_timer_del(&alarms[2].t);
	set_alarm(&alarms[3], 300 * MS);
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	assert_int_equal(alarms[2].calls, 0);
	for (unsigned int i = 0; i < 4; i++)
		if (i != 2)
			assert_true(alarms[i].fired >= alarms[i].at && alarms[i].calls == 1);
}

static void again_at_once(struct weir_timer *t)
{
	struct alarm *a = (struct alarm *)t;

	if (++a->calls == 1000)
		weir_loop_stop(loop);
	else
		weir_timer_set(loop, t, 0);
}

/* A thousand rounds, one firing in each: no tick is waited for, nothing starves. */
static void at_once(void **state)
{
	uint64_t began = weir_clock_mono();

	(void)state;
	idles = 0;
	weir_loop_set_idle(loop, count_idle, &idles);
	alarms[0] = (struct alarm){ .t.fn = again_at_once };
	weir_timer_set(loop, &alarms[0].t, 0);
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	assert_int_equal(idles, 1000);
	assert_true(weir_clock_mono() - began < 1000 * WEIR_LOOP_TICK_NS / 4);
}

static void delete_next(struct weir_timer *t)
{
	struct alarm *a = (struct alarm *)t;

	a->calls++;
	for (unsigned int i = 0; i < TIMERS; i++)
		if (&alarms[i] != a)
			weir_timer_del(&alarms[i].t);
	weir_loop_stop(loop);
}

/* Timers of the same tick are taken away by the first of them. */
static void deleted_in_firing(void **state)
{
	unsigned int calls = 0;

	(void)state;
	for (unsigned int i = 0; i < TIMERS; i++) {
		alarms[i] = (struct alarm){ .t.fn = delete_next };
		weir_timer_set(loop, &alarms[i].t, weir_loop_now(loop) + 20 * MS);
	}
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	for (unsigned int i = 0; i < TIMERS; i++)
		calls += alarms[i].calls;
	assert_int_equal(calls, 1);
}

/* ---- Messages */

#define THREADS 4
#define POSTS 20000u

static unsigned int received;

static void receive(struct weir_post *p)
{
	free(p);
	if (++received == THREADS * POSTS)
		weir_loop_stop(loop);
}

static void *send_posts(void *arg)
{
	for (unsigned int i = 0; i < POSTS; i++) {
		struct weir_post *p = malloc(sizeof(*p));

		p->fn = receive;
		if (!weir_loop_post(loop, p))
			abort();
	}
	return arg;
}

static void posts(void **state)
{
	pthread_t thread[THREADS];
	struct weir_post late = { .fn = receive };

	(void)state;
	received = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, send_posts, NULL), 0);
	assert_int_equal(weir_loop_run(loop, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(received, THREADS * POSTS);
	assert_false(weir_loop_post(loop, &late));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(deleted_ahead, set_up, tear_down),
		cmocka_unit_test_setup_teardown(idle_after_events, set_up, tear_down),
		cmocka_unit_test_setup_teardown(never_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(far_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pushed_pulled_deleted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deleted_in_firing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(posts, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
