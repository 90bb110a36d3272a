/* SPDX-License-Identifier: GPL-2.0-only */
/* A relay's bytes and ends, by each engine in user space. */
#include "relay_scene.h"

#define ROUND_TRIPS 300
#define STALL_MOST (16u * MB) /* taken from a sender whose receiver does not read */

/* ---- The tests */

static void both_ways(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, 12 * MB, 9 * MB);
	run_scene(&s);
	assert_string_equal(s.link.engine, engine == WEIR_ENGINE_COPY ? "copy" : "splice");
}

static void request_and_response(void **state)
{
	struct scene s;
	uint8_t byte = 0;

	(void)state;
	open_scene(&s, 0, 0);
	no_block(s.client[0]);
	for (int i = 0; i < ROUND_TRIPS; i++) {
		for (int k = 0; k < 2; k++) {
			struct pollfd p = { .fd = k ? s.client[0] : s.backend[0],
					    .events = POLLIN };
			int from = k ? s.backend[0] : s.client[0];

			byte = (uint8_t)(i + k);
			assert_int_equal(send(from, &byte, 1, 0), 1);
			assert_int_equal(poll(&p, 1, 5000), 1);
			assert_int_equal(recv(p.fd, &byte, 1, 0), 1);
			assert_int_equal(byte, (uint8_t)(i + k));
		}
	}
	shutdown(s.client[0], SHUT_WR);
	shutdown(s.backend[0], SHUT_WR);
	wait_over(&s.link);
	assert_int_equal(s.link.how, WEIR_RELAY_DONE);
	assert_int_equal(s.link.bytes[0], ROUND_TRIPS);
	assert_int_equal(s.link.bytes[1], ROUND_TRIPS);
	close(s.client[0]);
	close(s.backend[0]);
}

static void half_close(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		struct scene s;

		open_scene(&s, 300 * KB, 3 * MB);
		s.end[!first].after_fin = true;
		run_scene(&s);
	}
}

/* One side is closed before the other has said anything. */
static void nothing_at_all(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, 0, 0);
	run_scene(&s);
}

static void fin_behind_queued_data(void **state)
{
	(void)state;
	for (int slow = 0; slow < 2; slow++) {
		struct scene s;

		open_scene(&s, 6 * MB, 6 * MB);
		s.end[slow].wait_ns = 400 * MS;
		run_scene(&s);
	}
}

/* Nothing reads: what was taken from the sender is bounded; then it flows on. */
static void stalled_reader(void **state)
{
	(void)state;
	for (int slow = 0; slow < 2; slow++) {
		struct scene s;

		open_scene(&s, slow ? 48 * MB : 10, slow ? 10 : 48 * MB);
		s.end[slow].wait_ns = 1000 * MS;
		s.end[!slow].piece = 256 * KB;
		converse(s.end, 2, weir_clock_mono() + 900 * MS);
		assert_true(s.end[!slow].sent < STALL_MOST);
		s.end[slow].wait_ns = 0;
		run_scene(&s);
	}
}

static void expect_reset(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&p, 1, 5000), 1);
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
}

static void reset(void **state)
{
	(void)state;
	/* Idle; with data the other side does not read. */
	for (int what = 0; what < 4; what++) {
		int who = what & 1;
		struct scene s;
		int fd[2];

		open_scene(&s, what & 2 ? 64 * MB : 100, what & 2 ? 64 * MB : 100);
		s.end[0].wait_ns = s.end[1].wait_ns = FOREVER;
		s.end[0].shut = s.end[1].shut = true; /* no FIN */
		converse(s.end, 2, weir_clock_mono() + 150 * MS);
		fd[0] = s.client[0];
		fd[1] = s.backend[0];
		weir_sock_reset(fd[who]);
		expect_reset(fd[!who]);
		wait_over(&s.link);
		assert_int_equal(s.link.how, WEIR_RELAY_RESET);
		assert_int_equal(s.link.who, who);
		close(fd[!who]);
	}
}

/* Closed with unread data, the kernel sends RST, behind a FIN of ours or not. */
static void closed_unread(void **state)
{
	struct scene s;
	uint8_t buf[64 * KB] = { 0 };

	(void)state;
	open_scene(&s, 0, 0);
	assert_int_equal(send(s.client[0], buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(shutdown(s.client[0], SHUT_WR), 0);
	usleep(100000);
	close(s.backend[0]);
	expect_reset(s.client[0]);
	wait_over(&s.link);
	assert_int_equal(s.link.how, WEIR_RELAY_RESET);
	assert_int_equal(s.link.who, WEIR_BACKEND);
	close(s.client[0]);
}

/* The backend refuses, says why, and resets; the relay meets the client's next bytes first. */
static void say_and_reset(struct scene *s, const uint8_t *words, size_t n, bool is_unix)
{
	uint8_t byte = 0;
	struct pollfd p = { .fd = s->backend[0], .events = POLLIN };

	/* The relay is at rest. */
	assert_int_equal(send(s->client[0], "x", 1, 0), 1);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(p.fd, &byte, 1, 0), 1);
	hold_still();
	assert_int_equal(send(s->client[0], "more", 4, 0), 4);
	assert_int_equal(send(s->backend[0], words, n, 0), n);
	if (is_unix)
		close(s->backend[0]);
	else
		weir_sock_reset(s->backend[0]);
	go_on();
}

static void last_words(void **state)
{
	static uint8_t words[20 * KB], got[sizeof(words)];

	(void)state;
	fill(words, sizeof(words), 7, 0);
	for (int what = 0; what < 4; what++) {
		const size_t n = what & 1 ? sizeof(words) : 3;
		struct scene s = { 0 };
		size_t have = 0;
		ssize_t more = 1;

		tcp_pair(s.client);
		if (what & 2)
			unix_pair(s.backend);
		else
			tcp_pair(s.backend);
		s.link.relay.side[WEIR_BACKEND].drain = what & 2;
		start_link(&s.link, s.client, s.backend);
		say_and_reset(&s, words, n, what & 2);
		while (more > 0 && have < n) {
			struct pollfd p = { .fd = s.client[0], .events = POLLIN };

			assert_int_equal(poll(&p, 1, 5000), 1);
			more = recv(p.fd, got + have, sizeof(got) - have, 0);
			have += more > 0 ? (size_t)more : 0;
		}
		assert_int_equal(have, n);
		assert_memory_equal(got, words, n);
		wait_over(&s.link);
		assert_int_equal(s.link.how, WEIR_RELAY_RESET);
		assert_int_equal(s.link.who, WEIR_BACKEND);
		assert_int_equal(s.link.bytes[WEIR_BACKEND], n);
		/* A Unix socket ends in order: where that is seen first, so does the client's. */
		if (!(what & 2))
			expect_reset(s.client[0]);
		close(s.client[0]);
	}
}

/* A header of ours, the hello, more that the client sent early: in this order. */
static void early_data(void **state)
{
	enum { HEADER = 28, HELLO = 1800 };
	uint8_t got[HEADER];
	struct scene s = { 0 };
	struct pollfd p = { .events = POLLIN };

	(void)state;
	tcp_pair(s.client);
	tcp_pair(s.backend);
	pair_ends(s.end, s.client[0], s.backend[0], 2 * MB, 1 * MB);
	s.link.extra = HEADER;
	s.link.relay.side[WEIR_CLIENT].held = malloc(HEADER + HELLO + 100);
	s.link.relay.side[WEIR_CLIENT].held_at = 100;
	s.link.relay.side[WEIR_CLIENT].held_len = 100 + HEADER + HELLO;
	memset(s.link.relay.side[WEIR_CLIENT].held, 'H', 100 + HEADER);
	fill(s.link.relay.side[WEIR_CLIENT].held + 100 + HEADER, HELLO, s.end[0].seed, 0);
	s.end[0].sent = HELLO;
	start_link(&s.link, s.client, s.backend);
	p.fd = s.backend[0];
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(p.fd, got, sizeof(got), 0), sizeof(got));
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 'H');
	run_scene(&s);
}

/* Reading stops at the mark of an urgent byte, which is a byte as any other here. */
static void urgent_data(void **state)
{
	static const char *const parts[] = { "before", "!", "behind", "?", "the end" };
	struct scene s;
	char got[32] = { 0 };
	size_t n = 0;

	(void)state;
	open_scene(&s, 0, 0);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(parts); i++)
		send(s.client[0], parts[i], strlen(parts[i]), i & 1 ? MSG_OOB : 0);
	shutdown(s.client[0], SHUT_WR);
	s.end[0].shut = true;
	while (n < sizeof(got) - 1) {
		struct pollfd p = { .fd = s.backend[0], .events = POLLIN };
		ssize_t more;

		assert_int_equal(poll(&p, 1, 5000), 1);
		more = recv(s.backend[0], got + n, sizeof(got) - 1 - n, 0);
		assert_true(more >= 0);
		if (more == 0)
			break;
		n += (size_t)more;
	}
	assert_string_equal(got, "before!behind?the end");
	shutdown(s.backend[0], SHUT_WR);
	wait_over(&s.link);
	assert_int_equal(s.link.how, WEIR_RELAY_DONE);
	close(s.client[0]);
	close(s.backend[0]);
}

static void unix_backend(void **state)
{
	struct scene s = { 0 };

	(void)state;
	tcp_pair(s.client);
	unix_pair(s.backend);
	pair_ends(s.end, s.client[0], s.backend[0], 5 * MB, 7 * MB);
	s.end[0].wait_ns = 200 * MS;
	s.link.relay.side[WEIR_BACKEND].drain = true;
	start_link(&s.link, s.client, s.backend);
	run_scene(&s);
}

/* Without descriptors for pipes, what is large is copied, too. */
static void no_descriptors(void **state)
{
	struct rlimit was, few = { 0 };
	struct scene s;

	(void)state;
	open_scene(&s, 20 * MB, 20 * MB);
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	converse(s.end, 2, FOREVER);
	setrlimit(RLIMIT_NOFILE, &was);
	check_done(&s);
}

/* ---- Random mixes */

#define MIX_ROUNDS 8

static void random_scene(struct scene *s)
{
	static const uint32_t sizes[] = { 0, 1, 100, 5 * KB, 70 * KB, 400 * KB, 2 * MB };

	open_scene(s, pick(sizes[rand() % 7] + 1) - 1, pick(sizes[rand() % 7] + 1) - 1);
	for (int i = 0; i < 2; i++) {
		struct end *e = &s->end[i];

		e->piece = 1ULL << rand() % 18;
		if (e->to_send / e->piece > 2000 || e->peer->to_send / e->piece > 2000)
			e->piece = 64 * KB;
		e->pauses = rand() % 3 == 0 && e->to_send / e->piece < 50;
		e->wait_ns = rand() % 4 ? 0 : pick(100 * MS);
	}
	if (rand() % 3 == 0)
		s->end[rand() & 1].after_fin = true;
}

static void mixes(void **state)
{
	static struct scene scene[PARALLEL];

	(void)state;
	for (int round = 0; round < MIX_ROUNDS; round++) {
		struct end all[2 * PARALLEL];

		for (size_t i = 0; i < PARALLEL; i++) {
			random_scene(&scene[i]);
			for (int k = 0; k < 2; k++) {
				all[2 * i + (size_t)k] = scene[i].end[k];
				all[2 * i + (size_t)k].peer = &all[2 * i + (size_t)!k];
			}
		}
		converse(all, WEIR_ARRAY_SIZE(all), FOREVER);
		for (size_t i = 0; i < PARALLEL; i++) {
			memcpy(scene[i].end, &all[2 * i], sizeof(scene[i].end));
			check_done(&scene[i]);
		}
	}
}

static enum weir_proxy_engine copy = WEIR_ENGINE_COPY, splice_engine = WEIR_ENGINE_SPLICE;

#define BOTH(fn)                                                      \
	{ "copy: " #fn, fn, set_up, tear_down, &copy },               \
	{                                                             \
		"splice: " #fn, fn, set_up, tear_down, &splice_engine \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(both_ways),
		BOTH(request_and_response),
		BOTH(half_close),
		BOTH(nothing_at_all),
		BOTH(fin_behind_queued_data),
		BOTH(stalled_reader),
		BOTH(reset),
		BOTH(closed_unread),
		BOTH(early_data),
		BOTH(urgent_data),
		BOTH(unix_backend),
		BOTH(no_descriptors),
		BOTH(mixes),
		BOTH(last_words),
	};

	own_net();
	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
