/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the kernel at hand do with sockets in a sockmap what the engine builds on? Which
 * one does is not told by its version (fixes and regressions went into stable series
 * one by one), so relays are run on loopback connections, with every situation in
 * which kernels have been seen to lose, repeat, reorder or withhold bytes.
 *
 * All run at once in one loop: each peer writes a pattern, reads the other's, and checks
 * it byte by byte.
 */
#include "cap/proxy/sockmap.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/relay.h"
#include "cap/proxy/sockmap_impl.h"
#include "net/endpoint.h"
#include "net/sock.h"

#define TIME_MAX_NS (3 * WEIR_NSEC_PER_SEC) /* on a machine at hand it takes some 50 ms */
#define KIB 1024U
#define MIB (1024U * KIB)
#define SMALL_BUFFER (64 * KIB) /* of a reader that stalls */
#define CHUNK (16 * KIB)
#define CONNECT_MAX_MS 300
#define STRANGERS_MAX 16 /* that connect to a port of ours */

/* What the two peers do; peer WEIR_CLIENT's figures first. */
struct plan {
	const char *name; /* as in "the kernel's sockmap fails at NAME" */
	uint32_t bytes[2];
	bool fin_apart; /* FIN comes in a segment of its own */
	bool stalls;	/* the backend reads only when the relay has been demoted */
	bool queued;	/* no relay: see join_queued() */
};

static const struct plan plans[] = {
	{ .name = "an exchange both ways", .bytes = { 200 * KIB, 200 * KIB } },
	{ .name = "bytes that are queued when it begins",
	  .bytes = { 70 * KIB, 0 },
	  .queued = true },
	{ .name = "a FIN right behind bytes", .bytes = { 512 * KIB, 0 } },
	{ .name = "a FIN without bytes", .bytes = { 0, 100 * KIB }, .fin_apart = true },
	{ .name = "a FIN of its own behind bytes", .bytes = { 10, 3 }, .fin_apart = true },
	{ .name = "a reader that stalls", .bytes = { 3 * MIB, 2 * KIB }, .stalls = true },
};

struct trial;
struct check;

struct peer {
	struct weir_io io;
	struct trial *trial;
	enum weir_end_of which;
	uint32_t written, read;
	bool shut, ended;
};

struct trial {
	const struct plan *plan;
	struct check *check;
	int family;
	struct weir_relay relay;
	struct peer peer[2];
	uint32_t place; /* of a queued one */
	uint64_t cookie;
	bool relayed; /* the relay is over */
	bool settled;
	const char *wrong; /* NULL: nothing */
};

/* Each in both families. */
#define TRIALS (2 * WEIR_ARRAY_SIZE(plans))
static_assert(TRIALS <= WEIR_SOCKMAP_RELAYS_MIN, "there is room for all");

struct check {
	struct weir_loop *loop;
	struct weir_relay_pool *pool;
	struct trial trial[TRIALS];
	unsigned int n, left;
	const struct trial *bad; /* the first one */
	struct weir_timer deadline, look;
};

/* ---- Results */

static void wrong(struct trial *t, const char *what)
{
	struct check *c = t->check;

	if (!t->wrong)
		t->wrong = what;
	if (!c->bad)
		c->bad = t;
	weir_loop_stop(c->loop);
}

static void settle(struct trial *t)
{
	struct check *c = t->check;

	if (t->plan->queued) {
		t->relay.side[WEIR_CLIENT].bytes = t->peer[WEIR_BACKEND].read;
		t->peer[WEIR_BACKEND].ended = t->peer[WEIR_BACKEND].read >= t->plan->bytes[0];
	}
	if (!t->relayed || !t->peer[0].ended || !t->peer[1].ended || t->settled)
		return;
	t->settled = true;
	for (int i = 0; i < 2; i++) {
		if (t->peer[i].read != t->plan->bytes[!i])
			wrong(t, "bytes are missing");
		if (t->relay.side[i].bytes != t->plan->bytes[i])
			wrong(t, "bytes are counted wrongly");
	}
	if (t->relay.demoted && !t->plan->stalls)
		wrong(t, "sockets cannot be joined");
	if (!--c->left)
		weir_loop_stop(c->loop);
}

static void relay_ended(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who,
			int error)
{
	struct trial *t = (struct trial *)((char *)r - offsetof(struct trial, relay));

	(void)who;
	(void)error;
	for (int i = 0; i < 2; i++) {
		weir_loop_forget(t->check->loop, &r->side[i].io);
		close(WEIR_TAKE_FD(r->side[i].io.fd));
	}
	t->relayed = true;
	if (how != WEIR_RELAY_DONE)
		wrong(t, "the connection breaks");
	settle(t);
}

/* ---- Peers */

/* Without a period that segments or pages could share. */
static uint8_t pattern(enum weir_end_of who, uint32_t at)
{
	return (uint8_t)((at * 2654435761U >> 24) ^ (at >> 8) ^ (who == WEIR_CLIENT ? 0 : 91));
}

static void write_on(struct peer *p, uint32_t up_to)
{
	uint8_t chunk[CHUNK];

	while (p->written < up_to) {
		uint32_t n = up_to - p->written < CHUNK ? up_to - p->written : CHUNK;
		ssize_t sent;

		for (uint32_t i = 0; i < n; i++)
			chunk[i] = pattern(p->which, p->written + i);
		sent = send(p->io.fd, chunk, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		p->written += (uint32_t)sent;
	}
}

static void read_on(struct peer *p)
{
	uint8_t chunk[CHUNK];
	ssize_t n = 1;

	while (!p->ended && n > 0) {
		n = recv(p->io.fd, chunk, sizeof(chunk), 0);
		for (ssize_t i = 0; i < n; i++)
			if (chunk[i] != pattern(!p->which, p->read++))
				wrong(p->trial, "bytes are changed");
		if (n == 0 || (n < 0 && errno != EAGAIN))
			p->ended = true;
	}
}

static void serve(struct peer *p)
{
	struct trial *t = p->trial;
	const struct plan *plan = t->plan;
	const struct peer *o = &t->peer[!p->which];

	write_on(p, plan->bytes[p->which]);
	if (!p->shut && p->written == plan->bytes[p->which] &&
	    (!plan->fin_apart || o->read == p->written)) {
		shutdown(p->io.fd, SHUT_WR);
		p->shut = true;
	}
	if (!plan->stalls || p->which == WEIR_CLIENT || t->relay.demoted)
		read_on(p);
	settle(t);
}

static void peer_event(struct weir_io *io, uint32_t events)
{
	struct peer *p = (struct peer *)io;

	(void)events;
	serve(p);
	serve(&p->trial->peer[!p->which]); /* its FIN may have waited for this */
}

static void client_event(struct weir_io *io, uint32_t events)
{
	weir_relay_event((struct weir_relay *)((char *)io -
					       offsetof(struct weir_relay, side[WEIR_CLIENT].io)),
			 WEIR_CLIENT, events);
}

static void backend_event(struct weir_io *io, uint32_t events)
{
	weir_relay_event((struct weir_relay *)((char *)io -
					       offsetof(struct weir_relay, side[WEIR_BACKEND].io)),
			 WEIR_BACKEND, events);
}

/* ---- Connections */

static int ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, CONNECT_MAX_MS) == 1 ? 0 : -ETIMEDOUT;
}

/* The end of @fd that the listener has; anyone might connect to its port, so it is
 * compared. */
static int accept_from(int listener, int fd)
{
	for (int i = 0; i < STRANGERS_MAX; i++) {
		struct weir_endpoint here, there;
		int other, code = ready(listener, POLLIN);

		if (code)
			return code;
		other = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (other < 0)
			return -errno;
		if (!weir_sock_name(fd, &here) && !weir_sock_peer(other, &there) &&
		    weir_endpoint_equal(&here, &there))
			return other;
		close(other);
	}
	return -ECONNABORTED;
}

/* The peer's end to @ret_peer, the relay's to @ret_end, also where it then fails. */
static int connect_pair(int listener, const struct weir_endpoint *to, uint32_t buffer,
			int *ret_peer, int *ret_end)
{
	int size = (int)buffer, code;
	int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	*ret_peer = fd;
	if (buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(fd, &to->sa, to->len)) {
		if (errno != EINPROGRESS)
			return -errno;
		code = ready(fd, POLLOUT);
		if (!code)
			code = weir_sock_error(fd);
		if (code)
			return code;
	}
	*ret_end = accept_from(listener, fd);
	return *ret_end < 0 ? *ret_end : 0;
}

static int make_trial(struct check *c, struct trial *t, int listener,
		      const struct weir_endpoint *to)
{
	struct weir_relay *r = &t->relay;

	for (int i = 0; i < 2; i++) {
		struct peer *p = &t->peer[i];
		bool small = t->plan->stalls && i == WEIR_BACKEND;
		int code = connect_pair(listener, to, small ? SMALL_BUFFER : 0, &p->io.fd,
					&r->side[i].io.fd);

		if (code)
			return code;
		p->io.fn = peer_event;
		r->side[i].io.fn = i == WEIR_CLIENT ? client_event : backend_event;
		code = weir_loop_add(c->loop, &p->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
		if (!code && !t->plan->queued)
			code = weir_loop_add(c->loop, &r->side[i].io, WEIR_RELAY_EVENTS);
		if (code)
			return code;
	}
	return 0;
}

static int make_trials(struct check *c, int family)
{
	struct weir_endpoint to = { .len = sizeof(to.in) };
	weir_autoclose int listener = -1;
	unsigned int first = c->n;
	int code;

	to.in = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (family == AF_INET6) {
		to.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
						.sin6_addr = in6addr_loopback };
		to.len = sizeof(to.in6);
	}
	listener = weir_sock_listen(&to, 0, TRIALS, NULL);
	if (listener < 0)
		return listener;
	code = weir_sock_name(listener, &to);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(plans) && !code; i++) {
		struct trial *t = &c->trial[c->n++];

		t->plan = &plans[i];
		t->family = family;
		code = make_trial(c, t, listener, &to);
	}
	if (code)
		c->n = first;
	return code;
}

/* ---- All of it */

static void too_late(struct weir_timer *timer)
{
	struct check *c = (struct check *)((char *)timer - offsetof(struct check, deadline));

	for (unsigned int i = 0; i < c->n; i++)
		if (!c->trial[i].settled)
			wrong(&c->trial[i], "bytes or a FIN do not arrive");
}

/* A reader that stalls goes on when its relay was demoted, of which no event tells. */
static void look_again(struct weir_timer *timer)
{
	struct check *c = (struct check *)((char *)timer - offsetof(struct check, look));

	for (unsigned int i = 0; i < c->n; i++)
		if (c->trial[i].plan->stalls)
			serve(&c->trial[i].peer[WEIR_BACKEND]);
	weir_timer_set(c->loop, timer, weir_loop_now(c->loop) + 1);
}

/* Bytes that come in the moment before a socket is joined lie in its queue. The engine
 * cannot be made to meet that moment, so this does what it does then. */
static int join_queued(struct trial *t)
{
	int client = t->relay.side[WEIR_CLIENT].io.fd, code;
	socklen_t n = sizeof(t->cookie);

	write_on(&t->peer[WEIR_CLIENT], t->plan->bytes[0]);
	t->relayed = t->peer[WEIR_CLIENT].ended = true;
	if (getsockopt(client, SOL_SOCKET, SO_COOKIE, &t->cookie, &n))
		return -errno;
	code = weir_sockmap_take(&t->place);
	if (!code)
		code = weir_sockmap_join_target(t->place, WEIR_BACKEND,
						t->relay.side[WEIR_BACKEND].io.fd);
	if (!code)
		code = weir_sockmap_join_source(t->place, WEIR_CLIENT, client, t->cookie);
	return code;
}

static int join_relay(struct trial *t)
{
	t->relay.ended = relay_ended;
	weir_relay_start(&t->relay, t->check->pool, WEIR_ENGINE_SOCKMAP, 0);
	return t->relayed || t->relay.engine == &weir_engine_sockmap ? 0 : -EOPNOTSUPP;
}

static void start_all(struct check *c)
{
	c->left = c->n;
	for (unsigned int i = 0; i < c->n; i++) {
		struct trial *t = &c->trial[i];

		if (t->plan->queued ? join_queued(t) : join_relay(t))
			wrong(t, "sockets cannot be joined");
	}
	c->look.fn = look_again;
	c->deadline.fn = too_late;
	weir_timer_set(c->loop, &c->look, 0);
	weir_timer_set(c->loop, &c->deadline, weir_clock_mono() + TIME_MAX_NS);
}

static void clean_up(struct check *c)
{
	for (size_t i = 0; i < TRIALS; i++) {
		struct trial *t = &c->trial[i];

		weir_relay_stop(&t->relay);
		if (t->cookie)
			weir_sockmap_forget(t->cookie);
		for (int k = 0; k < 2; k++) {
			if (t->relay.side[k].io.fd >= 0)
				close(t->relay.side[k].io.fd);
			if (t->peer[k].io.fd >= 0)
				close(t->peer[k].io.fd);
		}
		if (t->cookie)
			weir_sockmap_put(t->place);
	}
	weir_relay_pool_free(c->pool);
	weir_loop_free(c->loop);
	free(c);
}

static int run(struct check *c, struct weir_error *err)
{
	int code, code6;

	for (size_t i = 0; i < TRIALS; i++) {
		struct trial *t = &c->trial[i];

		t->check = c;
		for (int k = 0; k < 2; k++) {
			t->peer[k] = (struct peer){ .io.fd = -1, .trial = t, .which = k };
			t->relay.side[k] =
				(struct weir_relay_side){ .io.fd = -1, .pipe = { -1, -1 } };
		}
	}
	c->loop = weir_loop_new(err);
	if (!c->loop)
		return -ENOMEM;
	c->pool = weir_relay_pool_new(c->loop, err);
	if (!c->pool)
		return -ENOMEM;
	code = make_trials(c, AF_INET);
	code6 = make_trials(c, AF_INET6);
	/* A host may be without one of them. */
	if (code && code6)
		return weir_fail(
			err, code,
			"the engine sockmap cannot be tried on loopback connections (%s): bring lo up, or use another engine",
			strerror(-code));
	start_all(c);
	code = c->bad ? 0 : weir_loop_run(c->loop, err);
	if (!code && c->bad)
		code = weir_fail(
			err, -EOPNOTSUPP,
			"this kernel cannot be trusted with the engine sockmap (over IPv%d, with %s, %s): use splice, or another kernel",
			c->bad->family == AF_INET ? 4 : 6, c->bad->plan->name, c->bad->wrong);
	return code;
}

int weir_sockmap_check(struct weir_error *err)
{
	struct check *c = calloc(1, sizeof(*c));
	int code;

	if (!c)
		return weir_fail(err, -ENOMEM, "no memory to try the engine sockmap");
	code = run(c, err);
	clean_up(c);
	return code;
}
