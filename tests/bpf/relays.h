/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Relays under test: a thread with a loop that runs them, as a worker of the proxy does,
 * and lines: a client's and a backend's socket with a relay between.
 */
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "cap/proxy/relay.h"
#include "cap/proxy/sockmap.h"
#include "harness.h"
#include "net/sock.h"

#define RELAYS 2048 /* room in the engine's maps */
#define LINE_SECONDS 20

struct lab {
	struct weir_loop *loop;
	struct weir_relay_pool *pool;
	pthread_t thread;
};

struct line {
	struct lab *lab;
	struct weir_relay relay;
	struct weir_post post;
	int peer[2]; /* the client's, the backend's; by enum weir_end_of */
	enum weir_proxy_engine want;
	bool stop, count; /* what the next post is for */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool started, counted, over;
	enum weir_relay_how how;
	enum weir_end_of who;
	int error;
	char engine[16];
};

static struct weir_error err;

/* ---- The loop's thread */

static void *lab_thread(void *arg)
{
	struct lab *l = arg;

	CHECK_OK(weir_loop_run(l->loop, &err));
	return NULL;
}

static inline void lab_open(struct lab *l)
{
	signal(SIGPIPE, SIG_IGN);
	l->loop = weir_loop_new(&err);
	CHECK(l->loop, "%s", err.msg);
	l->pool = weir_relay_pool_new(l->loop, &err);
	CHECK(l->pool, "%s", err.msg);
	CHECK_EQ(pthread_create(&l->thread, NULL, lab_thread, l), 0);
}

static inline void lab_close(struct lab *l)
{
	weir_loop_stop(l->loop);
	pthread_join(l->thread, NULL);
	weir_relay_pool_free(l->pool);
	weir_loop_free(l->loop);
}

/* ---- Sockets */

static inline void connected_pair(int family, int buffer, int pair[2])
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct sockaddr_in four = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *a = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
	socklen_t n = family == AF_INET ? sizeof(four) : sizeof(six);
	const struct timeval patience = { .tv_sec = LINE_SECONDS };
	int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(listener >= 0 && !bind(listener, a, n) && !listen(listener, 1) &&
		      !getsockname(listener, a, &n),
	      "listen: %s", strerror(errno));
	pair[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(pair[0] >= 0, "socket: %s", strerror(errno));
	if (buffer)
		setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	CHECK(!connect(pair[0], a, n), "connect: %s", strerror(errno));
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK(pair[1] >= 0, "accept: %s", strerror(errno));
	close(listener);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static inline unsigned int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	CHECK(d, "/proc/self/fd: %s", strerror(errno));
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- Lines */

static inline struct line *line_of(struct weir_io *io, enum weir_end_of which)
{
	size_t at = offsetof(struct line, relay) +
		    (which == WEIR_CLIENT ? offsetof(struct weir_relay, side[WEIR_CLIENT].io) :
					    offsetof(struct weir_relay, side[WEIR_BACKEND].io));

	return (struct line *)((char *)io - at);
}

static void line_client(struct weir_io *io, uint32_t events)
{
	weir_relay_event(&line_of(io, WEIR_CLIENT)->relay, WEIR_CLIENT, events);
}

static void line_backend(struct weir_io *io, uint32_t events)
{
	weir_relay_event(&line_of(io, WEIR_BACKEND)->relay, WEIR_BACKEND, events);
}

/* As the proxy ends a connection: a reset goes on to the other end. */
static void line_ended(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who,
		       int error)
{
	struct line *l = (struct line *)((char *)r - offsetof(struct line, relay));

	for (int i = 0; i < 2; i++) {
		weir_loop_forget(l->lab->loop, &r->side[i].io);
		if (how == WEIR_RELAY_DONE)
			close(r->side[i].io.fd);
		else
			weir_sock_reset(r->side[i].io.fd);
	}
	pthread_mutex_lock(&l->lock);
	snprintf(l->engine, sizeof(l->engine), "%s", r->engine->name);
	l->over = true;
	l->how = how;
	l->who = who;
	l->error = error;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void line_post(struct weir_post *p)
{
	struct line *l = (struct line *)((char *)p - offsetof(struct line, post));
	struct weir_relay *r = &l->relay;

	if (l->stop) {
		weir_relay_stop(r);
		line_ended(r, WEIR_RELAY_FAILED, WEIR_CLIENT, ECANCELED);
		return;
	}
	if (l->count) {
		r->engine->count(r);
		pthread_mutex_lock(&l->lock);
		l->counted = true;
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		return;
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(weir_loop_add(l->lab->loop, &r->side[i].io, WEIR_RELAY_EVENTS), 0);
	weir_relay_start(r, l->lab->pool, l->want, 0);
	pthread_mutex_lock(&l->lock);
	if (!l->over)
		snprintf(l->engine, sizeof(l->engine), "%s", r->engine->name);
	l->started = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* A line from two pairs of sockets; @pair[i][1] is the relay's. */
static inline void line_init(struct line *l, struct lab *lab, int pair[2][2])
{
	*l = (struct line){ .lab = lab, .want = WEIR_ENGINE_SOCKMAP, .post.fn = line_post };
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	l->relay.ended = line_ended;
	for (int i = 0; i < 2; i++) {
		l->peer[i] = pair[i][0];
		l->relay.side[i] = (struct weir_relay_side){
			.io = { .fn = i == WEIR_CLIENT ? line_client : line_backend,
				.fd = pair[i][1] },
			.pipe = { -1, -1 },
			.readable = true,
			.writable = true,
		};
	}
}

static inline void line_make(struct line *l, struct lab *lab, int family, int backend_buffer)
{
	int pair[2][2];

	connected_pair(family, 0, pair[WEIR_CLIENT]);
	connected_pair(family, backend_buffer, pair[WEIR_BACKEND]);
	line_init(l, lab, pair);
}

static inline bool line_until(struct line *l, const bool *what)
{
	struct timespec end;
	bool is;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += LINE_SECONDS;
	pthread_mutex_lock(&l->lock);
	while (!*what && !pthread_cond_timedwait(&l->changed, &l->lock, &end))
		;
	is = *what;
	pthread_mutex_unlock(&l->lock);
	return is;
}

static inline void line_start(struct line *l)
{
	CHECK(weir_loop_post(l->lab->loop, &l->post), "the loop has ended");
	CHECK(line_until(l, &l->started), "the relay does not start");
}

static inline void line_open(struct line *l, struct lab *lab)
{
	line_make(l, lab, AF_INET, 0);
	line_start(l);
}

static inline void line_free(struct line *l)
{
	for (int i = 0; i < 2; i++)
		if (l->peer[i] >= 0)
			close(l->peer[i]);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->changed);
}

/* ---- Bytes */

/* Byte @at of what @who sends on the line @seed: no period that pages, segments or
 * buffers could share. */
static inline uint8_t pattern(uint32_t seed, enum weir_end_of who, uint64_t at)
{
	uint32_t x = (uint32_t)at * 2654435761U + seed * 40503U + (who == WEIR_CLIENT ? 0 : 77);

	return (uint8_t)(x >> 24 ^ at >> 8);
}

static inline void send_pattern(const struct line *l, enum weir_end_of who, uint64_t at, uint64_t n)
{
	uint8_t chunk[8192];

	while (n) {
		size_t now = n < sizeof(chunk) ? n : sizeof(chunk);

		for (size_t i = 0; i < now; i++)
			chunk[i] = pattern(0, who, at + i);
		CHECK(send(l->peer[who], chunk, now, MSG_NOSIGNAL) == (ssize_t)now, "send: %s",
		      strerror(errno));
		at += now;
		n -= now;
	}
}

/* @n bytes, from byte @at on, of what @who sent. */
static inline void expect_pattern(const struct line *l, enum weir_end_of who, uint64_t at,
				  uint64_t n)
{
	uint8_t chunk[8192];

	while (n) {
		size_t now = n < sizeof(chunk) ? n : sizeof(chunk);
		ssize_t got = recv(l->peer[!who], chunk, now, 0);

		CHECK(got > 0, "%llu bytes are missing: %s", (unsigned long long)n,
		      got ? strerror(errno) : "the FIN came before them");
		for (ssize_t i = 0; i < got; i++)
			CHECK(chunk[i] == pattern(0, who, at + (uint64_t)i), "byte %llu is wrong",
			      (unsigned long long)at + (unsigned long long)i);
		at += (uint64_t)got;
		n -= (uint64_t)got;
	}
}

static inline void send_fin(const struct line *l, enum weir_end_of who)
{
	CHECK(!shutdown(l->peer[who], SHUT_WR), "shutdown: %s", strerror(errno));
}

/* The FIN of @who, with nothing before it. */
static inline void expect_fin(const struct line *l, enum weir_end_of who)
{
	char byte;
	ssize_t n = recv(l->peer[!who], &byte, 1, 0);

	CHECK(n <= 0, "a byte comes where the FIN should");
	CHECK(n == 0, "no FIN: %s", strerror(errno));
}

static inline void expect_done(struct line *l, uint64_t bytes_in, uint64_t bytes_out)
{
	CHECK(line_until(l, &l->over), "the relay does not end");
	CHECK(l->how == WEIR_RELAY_DONE, "the relay ended as %d (%s)", l->how, strerror(l->error));
	CHECK_EQ(l->relay.side[WEIR_CLIENT].bytes, bytes_in);
	CHECK_EQ(l->relay.side[WEIR_BACKEND].bytes, bytes_out);
}

static inline void expect_engine(struct line *l, const char *name)
{
	pthread_mutex_lock(&l->lock);
	CHECK(!strcmp(l->engine, name), "the engine is %s, not %s", l->engine, name);
	pthread_mutex_unlock(&l->lock);
}

/* ---- The engine's maps */

static inline void expect_empty_maps(void)
{
	struct weir_sockmap_use use = { 0 };

	CHECK(EVENTUALLY(!weir_sockmap_use(&use) && !use.relays && !use.ends && !use.targets &&
			 !use.sources),
	      "left in the maps: %u relays, %u ends, %u targets, %u sources", use.relays, use.ends,
	      use.targets, use.sources);
}

/* Only now is it known that both sockets of the one relay are the kernel's. */
static inline void expect_joined(unsigned int sockets)
{
	struct weir_sockmap_use use = { 0 };

	CHECK(EVENTUALLY(!weir_sockmap_use(&use) && use.sources == sockets), "%u sockets joined",
	      use.sources);
}
