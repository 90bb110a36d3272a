/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Relays between sockets of the loopback: the relay runs in a thread of its own, as in
 * a worker; the client and the backend are driven from the test. What an end sends is a
 * function of its seed and the position, so that every received byte is checked.
 */
#pragma once

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

/* ---- The relays' thread stands still */

static struct stop {
	struct weir_post post;
	bool stands, go;
} stop;

static void stand(struct weir_post *p)
{
	(void)p;
	pthread_mutex_lock(&lock);
	stop.stands = true;
	pthread_cond_broadcast(&changed);
	while (!stop.go)
		pthread_cond_wait(&changed, &lock);
	stop.stands = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* What happens from here on, the loop sees at once, in the order in which it happened. */
static inline void hold_still(void)
{
	stop = (struct stop){ .post.fn = stand };
	assert_true(weir_loop_post(loop, &stop.post));
	pthread_mutex_lock(&lock);
	while (!stop.stands)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static inline void go_on(void)
{
	pthread_mutex_lock(&lock);
	stop.go = true;
	pthread_cond_broadcast(&changed);
	while (stop.stands)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

/* ---- Pairs of sockets */

static inline void no_block(int fd)
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

static inline void unix_pair(int ret[2])
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
static inline void converse(struct end *ends, size_t n, uint64_t until)
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

static inline void open_scene(struct scene *s, uint64_t there, uint64_t back)
{
	memset(s, 0, sizeof(*s));
	tcp_pair(s->client);
	tcp_pair(s->backend);
	pair_ends(s->end, s->client[0], s->backend[0], there, back);
	start_link(&s->link, s->client, s->backend);
}

static inline void check_done(struct scene *s)
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

static inline void run_scene(struct scene *s)
{
	converse(s->end, 2, FOREVER);
	check_done(s);
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
