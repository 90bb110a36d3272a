/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Relays between sockets of the loopback: the relay runs in a thread of its own, as in
 * a worker; the client and the backend are driven from here. What an end sends is a
 * function of its seed and the position, so that every received byte is checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/relay.h"
#include "net/loop.h"
#include "net/sock.h"
#include "../net/own_net.h"

#define MS 1000000ULL
#define KB 1024u
#define MB (1024u * 1024)
#define SECONDS 60 /* that a test may take */
#define PARALLEL 32
#define ROUND_TRIPS 300
#define STALL_MOST (16u * MB) /* taken from a sender whose receiver does not read */

static struct weir_loop *loop;
static struct weir_relay_pool *pool;
static pthread_t thread;
static enum weir_proxy_engine engine;

/* ---- A relay and its end */

struct link {
	struct weir_relay relay;
	struct weir_post post;
	uint32_t extra;
	/* Set by ended(), under the lock. */
	bool over;
	enum weir_relay_how how;
	enum weir_end_of who;
	int error;
	uint64_t bytes[2];
	const char *engine;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void ended(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who, int error)
{
	struct link *l = (struct link *)r;

	for (int i = 0; i < 2; i++) {
		weir_loop_forget(loop, &r->side[i].io);
		if (how == WEIR_RELAY_RESET && i != (int)who)
			weir_sock_reset(r->side[i].io.fd);
		else
			close(r->side[i].io.fd);
	}
	pthread_mutex_lock(&lock);
	l->over = true;
	l->how = how;
	l->who = who;
	l->error = error;
	l->bytes[0] = r->side[0].bytes;
	l->bytes[1] = r->side[1].bytes;
	l->engine = r->engine ? r->engine->name : NULL;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void client_event(struct weir_io *io, uint32_t events)
{
	struct link *l = (struct link *)((char *)io - offsetof(struct link, relay.side[0].io));

	weir_relay_event(&l->relay, WEIR_CLIENT, events);
}

static void backend_event(struct weir_io *io, uint32_t events)
{
	struct link *l = (struct link *)((char *)io - offsetof(struct link, relay.side[1].io));

	weir_relay_event(&l->relay, WEIR_BACKEND, events);
}

static void begin(struct weir_post *p)
{
	struct link *l = (struct link *)((char *)p - offsetof(struct link, post));

	for (int i = 0; i < 2; i++)
		if (weir_loop_add(loop, &l->relay.side[i].io, WEIR_RELAY_EVENTS))
			abort();
	weir_relay_start(&l->relay, pool, engine, l->extra);
}

static void wait_over(struct link *l)
{
	pthread_mutex_lock(&lock);
	while (!l->over)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

/* ---- Pairs of sockets */

static void no_block(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* Two ends of a TCP connection: [0] for the test, [1] for the relay. */
static void tcp_pair(int ret[2])
{
	struct weir_endpoint at;
	bool done;
	int one = 1, l;
	struct pollfd p = { .events = POLLIN };

	weir_endpoint_parse("127.0.0.1:1", &at);
	at.in.sin_port = 0;
	l = weir_sock_listen(&at, 0, 16, NULL);
	assert_true(l >= 0);
	assert_int_equal(weir_sock_name(l, &at), 0);
	ret[0] = weir_sock_connect(&at, NULL, 0, &done);
	assert_true(ret[0] >= 0);
	p.fd = l;
	assert_int_equal(poll(&p, 1, 5000), 1);
	ret[1] = weir_sock_accept(l, &at);
	assert_true(ret[1] >= 0);
	setsockopt(ret[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	close(l);
}

static void unix_pair(int ret[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret),
			 0);
}

static void start_link(struct link *l, const int client[2], const int backend[2])
{
	l->relay.ended = ended;
	l->post.fn = begin;
	for (int i = 0; i < 2; i++) {
		struct weir_relay_side *s = &l->relay.side[i];

		s->io.fd = i == WEIR_CLIENT ? client[1] : backend[1];
		s->io.fn = i == WEIR_CLIENT ? client_event : backend_event;
		s->pipe[0] = s->pipe[1] = -1;
		s->writable = true;
	}
	assert_true(weir_loop_post(loop, &l->post));
}

/* ---- An end of the conversation */

struct end {
	int fd;
	struct end *peer;
	uint64_t seed, to_send, sent, received;
	uint64_t piece;	  /* most bytes in one send or recv */
	uint64_t wait_ns; /* before it reads */
	bool after_fin;	  /* sends only when the peer has ended */
	bool eof, shut;
	int error;
	uint64_t pause_until; /* between sends */
	bool pauses;
};

static uint8_t byte_at(uint64_t seed, uint64_t at)
{
	uint64_t x = (seed + at / 8 + 1) * 0x9e3779b97f4a7c15ULL;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return (uint8_t)(x >> (at % 8 * 8));
}

static void fill(uint8_t *buf, size_t n, uint64_t seed, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(seed, at + i);
}

static uint64_t pick(uint64_t most)
{
	return most > 1 ? 1 + (uint64_t)rand() % most : 1;
}

static void send_some(struct end *e, uint64_t now)
{
	static uint8_t buf[256 * KB];
	uint64_t left = e->to_send - e->sent, n = pick(e->piece);
	ssize_t sent;

	if (now < e->pause_until)
		return;
	if (n > left)
		n = left;
	fill(buf, n, e->seed, e->sent);
	sent = send(e->fd, buf, n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		e->error = errno;
	if (sent > 0)
		e->sent += (uint64_t)sent;
	if (e->pauses)
		e->pause_until = now + pick(3 * MS);
}

static void receive_some(struct end *e)
{
	static uint8_t buf[256 * KB];
	ssize_t n = recv(e->fd, buf, pick(e->piece), 0);

	if (n == 0)
		e->eof = true;
	else if (n < 0 && errno != EAGAIN)
		e->error = errno;
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] != byte_at(e->peer->seed, e->received + (uint64_t)i))
			fail_msg("a wrong byte at %llu",
				 (unsigned long long)(e->received + (uint64_t)i));
	if (n > 0)
		e->received += (uint64_t)n;
}

static bool wants_to_send(const struct end *e)
{
	return !e->error && e->sent < e->to_send && (!e->after_fin || e->eof);
}

static bool finished(const struct end *e)
{
	return e->error || (e->eof && e->shut);
}

static void shut_when_sent(struct end *e)
{
	if (e->shut || e->error || e->sent < e->to_send || (e->after_fin && !e->eof))
		return;
	assert_int_equal(shutdown(e->fd, SHUT_WR), 0);
	e->shut = true;
}

/* Until all have sent and received everything, or @until. */
static void converse(struct end *ends, size_t n, uint64_t until)
{
	uint64_t began = weir_clock_mono(), now = began;
	size_t left = 1;

	while (left && now < until) {
		struct pollfd p[2 * PARALLEL];

		assert_true(n <= WEIR_ARRAY_SIZE(p));
		left = 0;
		for (size_t i = 0; i < n; i++) {
			struct end *e = &ends[i];
			bool reads = !e->eof && !e->error && now >= began + e->wait_ns;

			shut_when_sent(e);
			left += !finished(e);
			p[i].fd = finished(e) ? -1 : e->fd;
			p[i].events =
				(short)((reads ? POLLIN : 0) |
					(wants_to_send(e) && now >= e->pause_until ? POLLOUT : 0));
			p[i].revents = 0;
		}
		if (left)
			poll(p, n, 1);
		now = weir_clock_mono();
		for (size_t i = 0; i < n; i++) {
			if (p[i].revents & POLLOUT)
				send_some(&ends[i], now);
			if ((p[i].revents & (POLLIN | POLLHUP | POLLERR)) &&
			    now >= began + ends[i].wait_ns)
				receive_some(&ends[i]);
		}
	}
	if (now - began > SECONDS * WEIR_NSEC_PER_SEC)
		fail_msg("stalled: %zu of %zu ends are not finished", left, n);
}

#define FOREVER (weir_clock_mono() + (SECONDS + 1) * WEIR_NSEC_PER_SEC)

static void pair_ends(struct end e[2], int client, int backend, uint64_t there, uint64_t back)
{
	static uint64_t seed;

	for (int i = 0; i < 2; i++) {
		e[i] = (struct end){
			.fd = i == 0 ? client : backend,
			.peer = &e[!i],
			.seed = seed += 1000003,
			.to_send = i == 0 ? there : back,
			.piece = 64 * KB,
		};
	}
}

struct scene {
	int client[2], backend[2];
	struct link link;
	struct end end[2];
};

static void open_scene(struct scene *s, uint64_t there, uint64_t back)
{
	memset(s, 0, sizeof(*s));
	tcp_pair(s->client);
	tcp_pair(s->backend);
	pair_ends(s->end, s->client[0], s->backend[0], there, back);
	start_link(&s->link, s->client, s->backend);
}

static void check_done(struct scene *s)
{
	wait_over(&s->link);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(s->end[i].error, 0);
		assert_int_equal(s->end[i].received, s->end[!i].to_send);
		assert_int_equal(s->link.bytes[i], s->end[i].to_send);
	}
	assert_int_equal(s->link.how, WEIR_RELAY_DONE);
	close(s->client[0]);
	close(s->backend[0]);
}

static void run_scene(struct scene *s)
{
	converse(s->end, 2, FOREVER);
	check_done(s);
}

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

/* ---- Surroundings */

static unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned int fds_before;

static void *serve(void *arg)
{
	sigset_t all;

	/* splice(2) to a socket that is gone raises SIGPIPE; send(2) is told not to. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	weir_loop_run(loop, NULL);
	return arg;
}

static int set_up(void **state)
{
	fds_before = descriptors();
	engine = *(enum weir_proxy_engine *)*state;
	loop = weir_loop_new(NULL);
	pool = loop ? weir_relay_pool_new(loop, NULL) : NULL;
	return pool ? pthread_create(&thread, NULL, serve, NULL) : -1;
}

/* No relay is left, no pipe holds on, no descriptor is lost. */
static int tear_down(void **state)
{
	struct weir_relay_pool_stats stats;

	(void)state;
	weir_loop_stop(loop);
	pthread_join(thread, NULL);
	weir_relay_pool_trim(pool);
	weir_relay_pool_stats(pool, &stats);
	weir_relay_pool_free(pool);
	weir_loop_free(loop);
	return stats.relays || stats.pipes || descriptors() != fds_before;
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
		BOTH(both_ways),      BOTH(request_and_response),   BOTH(half_close),
		BOTH(nothing_at_all), BOTH(fin_behind_queued_data), BOTH(stalled_reader),
		BOTH(reset),	      BOTH(closed_unread),	    BOTH(early_data),
		BOTH(urgent_data),    BOTH(unix_backend),	    BOTH(no_descriptors),
		BOTH(mixes),
	};

	own_net();
	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
