/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the route to the relay: a target, its name, its addresses, a socket.
 *
 * A target with one address, which most have, is tried with the connection's own socket.
 * With several, the next attempt begins ATTEMPT_NS after the one before, or at once
 * when that has failed, and the first one that is connected wins (RFC 8305, 5).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cap/proxy/conn_impl.h"
#include "net/sock.h"

#define ATTEMPT_NS 250000000ULL

static void attempt_failed(struct weir_conn *c, int error);
static void try_targets(struct weir_conn *c);

/* ---- A target's end */

static void close_io(struct weir_worker *w, struct weir_io *io)
{
	if (io->fd < 0)
		return;
	weir_loop_forget(w->loop, io);
	close(io->fd);
	io->fd = -1;
}

void weir_conn_free_race(struct weir_conn *c)
{
	struct weir_race *r = c->race;

	if (!r)
		return;
	weir_timer_del(&r->next_at);
	for (size_t i = 0; i < WEIR_PROXY_NAME_ADDRS; i++)
		close_io(c->worker, &r->lane[i].io);
	free(r);
	c->race = NULL;
}

static void leave_target(struct weir_conn *c)
{
	weir_conn_free_race(c);
	weir_conn_give_up_name(c);
	close_io(c->worker, &c->relay.side[WEIR_BACKEND].io);
	if (!c->backend_state)
		return;
	atomic_fetch_add_explicit(&c->backend_state->failed, 1, memory_order_relaxed);
	atomic_fetch_sub(&c->backend_state->open, 1);
	c->backend_state = NULL;
}

/* No address of the target is left: the next one. */
static void target_failed(struct weir_conn *c, enum weir_proxy_end why, int error)
{
	leave_target(c);
	c->verdict = why;
	c->error = error;
	try_targets(c);
}

/* ---- Connected */

static uint64_t or_default(uint64_t own, uint64_t otherwise)
{
	return own ? own : otherwise;
}

static void publish_backend(struct weir_conn *c, const struct weir_endpoint *to)
{
	struct weir_worker *w = c->worker;

	pthread_mutex_lock(&w->lock);
	c->backend = *to;
	pthread_mutex_unlock(&w->lock);
}

/* The backend's socket is connected, and @events are what is known of it. */
static void begin_relay(struct weir_conn *c, uint32_t events)
{
	struct weir_worker *w = c->worker;
	struct weir_relay_side *s = &c->relay.side[WEIR_BACKEND];
	enum weir_proxy_engine engine = c->route->engine;
	struct weir_endpoint local = { 0 };
	bool is_unix = c->backend.sa.sa_family == AF_UNIX;

	if (!is_unix && !weir_sock_name(s->io.fd, &local) && weir_conn_came_back(c, &local)) {
		target_failed(c, WEIR_END_LOOP, 0);
		return;
	}
	if (!is_unix && c->cfg->keepalive.idle_ns)
		weir_sock_keepalive(s->io.fd, &c->cfg->keepalive);
	atomic_fetch_add_explicit(&c->backend_state->connected, 1, memory_order_relaxed);
	pthread_mutex_lock(&w->lock);
	c->backend_local = local;
	pthread_mutex_unlock(&w->lock);
	weir_conn_show(c->connected_at, weir_loop_now(w->loop));
	weir_conn_show(c->state, WEIR_CONN_RELAY);
	weir_timer_set(w->loop, &c->timer,
		       c->connected_at + or_default(c->route->idle_timeout_ns,
						    c->cfg->limits.idle_timeout_ns));
	s->drain = is_unix;
	weir_relay_saw(s, events);
	weir_relay_start(&c->relay, w->pool, engine == WEIR_ENGINE_AUTO ? c->cfg->engine : engine,
			 c->extra);
}

/* A lane of the race has won: its socket becomes the connection's own. */
static void take_lane(struct weir_conn *c, struct weir_lane *lane)
{
	struct weir_loop *l = c->worker->loop;
	struct weir_io *own = &c->relay.side[WEIR_BACKEND].io;

	close_io(c->worker, own);
	weir_loop_forget(l, &lane->io);
	own->fd = lane->io.fd;
	lane->io.fd = -1;
	/* Whatever is there already is told anew. */
	weir_loop_mod(l, own, WEIR_RELAY_EVENTS);
}

/* ---- Attempts */

static bool no_descriptors(int code)
{
	return code == -EMFILE || code == -ENFILE;
}

static int connect_to(struct weir_conn *c, const struct weir_endpoint *to, bool *ret_done)
{
	struct weir_endpoint from;
	unsigned int flags = WEIR_SOCK_SPEAKS;
	bool bound = c->route->transparent && to->sa.sa_family != AF_UNIX;
	int fd;

	if (bound) {
		struct weir_addr a = weir_endpoint_addr(&c->client);

		if (to->sa.sa_family != c->client.sa.sa_family)
			return -EAFNOSUPPORT;
		weir_endpoint_set(&from, &a, 0);
		flags |= WEIR_SOCK_TRANSPARENT;
	}
	fd = weir_sock_connect(to, bound ? &from : NULL, flags, ret_done);
	/* Idle pipes are the first to go. */
	if (no_descriptors(fd) && weir_relay_pool_trim(c->worker->pool))
		fd = weir_sock_connect(to, bound ? &from : NULL, flags, ret_done);
	if (fd >= c->worker->most_fd) {
		close(fd);
		fd = -EMFILE;
	}
	return fd;
}

/* Begin an attempt. 0: it goes on, or the connection has moved on (*ret_over); -errno. */
static int begin_attempt(struct weir_conn *c, struct weir_io *io, const struct weir_endpoint *to,
			 bool *ret_over)
{
	struct weir_worker *w = c->worker;
	bool done = false;
	int code;

	publish_backend(c, to);
	if (weir_conn_is_loop(c, to))
		return -ELOOP;
	if (c->attempts)
		weir_account_add(&w->account, WEIR_TOTAL_RETRIES, 1);
	weir_conn_show(c->attempts, c->attempts + 1);
	io->fd = connect_to(c, to, &done);
	if (io->fd < 0) {
		code = io->fd;
		io->fd = -1;
		return code;
	}
	code = weir_loop_add(w->loop, io, WEIR_RELAY_EVENTS);
	if (code) {
		close(io->fd);
		io->fd = -1;
		return code;
	}
	if (done && io == &c->relay.side[WEIR_BACKEND].io) {
		*ret_over = true;
		weir_conn_free_race(c);
		begin_relay(c, EPOLLOUT);
	}
	return 0;
}

static void lane_event(struct weir_io *io, uint32_t events);

/* Where the next attempt finds place. */
static struct weir_io *free_lane(struct weir_conn *c, uint8_t address)
{
	struct weir_race *r = c->race;

	if (c->relay.side[WEIR_BACKEND].io.fd < 0) {
		r->first = address;
		return &c->relay.side[WEIR_BACKEND].io;
	}
	for (size_t i = 0; i < WEIR_PROXY_NAME_ADDRS; i++) {
		if (r->lane[i].io.fd >= 0)
			continue;
		r->lane[i].address = address;
		return &r->lane[i].io;
	}
	return NULL; /* cannot be: there are as many lanes as addresses */
}

static bool attempts_under_way(const struct weir_conn *c)
{
	if (c->relay.side[WEIR_BACKEND].io.fd >= 0)
		return true;
	for (size_t i = 0; c->race && i < WEIR_PROXY_NAME_ADDRS; i++)
		if (c->race->lane[i].io.fd >= 0)
			return true;
	return false;
}

/* The next address of the race. False: none was left that could be begun with, and the
 * connection is as it was; else it goes on, or has moved on. */
static bool next_address(struct weir_conn *c)
{
	struct weir_race *r = c->race;
	struct weir_worker *w = c->worker;
	bool over = false;

	while (r && r->next < r->n) {
		uint8_t address = r->next++;
		struct weir_io *io = free_lane(c, address);
		struct weir_endpoint to;
		int code;

		weir_endpoint_set(&to, &r->addr[address], r->port);
		code = io ? begin_attempt(c, io, &to, &over) : -EBUSY;
		if (over)
			return true;
		if (!code) {
			if (r->next < r->n)
				weir_timer_set(w->loop, &r->next_at,
					       weir_loop_now(w->loop) + ATTEMPT_NS);
			return true;
		}
		c->error = -code;
	}
	return false;
}

static enum weir_proxy_end why_failed(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
		return WEIR_END_NO_DESCRIPTORS;
	case ELOOP:
		return WEIR_END_LOOP;
	case ENOMEM:
	case ENOBUFS:
		return WEIR_END_NO_MEMORY;
	case ETIMEDOUT:
		return WEIR_END_CONNECT_TIMEOUT;
	}
	return WEIR_END_CONNECT;
}

/* What lacks here will lack for the next target, too. */
static void fail_attempt(struct weir_conn *c, int error)
{
	if (no_descriptors(-error))
		weir_conn_end(c, WEIR_END_NO_DESCRIPTORS, error, 0);
	else
		target_failed(c, why_failed(error), error == ELOOP ? 0 : error);
}

static void attempt_failed(struct weir_conn *c, int error)
{
	c->error = error;
	if (c->race) {
		weir_timer_del(&c->race->next_at);
		if (next_address(c) || attempts_under_way(c))
			return;
	}
	fail_attempt(c, c->error);
}

static void attempt_is_slow(struct weir_timer *t)
{
	struct weir_race *r = (struct weir_race *)((char *)t - offsetof(struct weir_race, next_at));
	struct weir_conn *c = r->conn;

	if (!next_address(c) && !attempts_under_way(c))
		fail_attempt(c, c->error);
}

/* 0: not yet; 1: connected; -errno. */
static int outcome(const struct weir_io *io, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP)) {
		int code = weir_sock_error(io->fd);

		return code ? code : -ECONNRESET;
	}
	return events & EPOLLOUT ? 1 : 0;
}

static void lane_event(struct weir_io *io, uint32_t events)
{
	struct weir_lane *lane = (struct weir_lane *)((char *)io - offsetof(struct weir_lane, io));
	struct weir_conn *c = lane->conn;
	struct weir_race *r = c->race;
	int code = outcome(io, events);
	struct weir_endpoint to;

	if (code == 0)
		return;
	if (code < 0) {
		close_io(c->worker, io);
		attempt_failed(c, -code);
		return;
	}
	weir_endpoint_set(&to, &r->addr[lane->address], r->port);
	publish_backend(c, &to);
	take_lane(c, lane);
	weir_conn_free_race(c);
	begin_relay(c, events);
}

void weir_conn_connect_event(struct weir_conn *c, uint32_t events)
{
	struct weir_io *io = &c->relay.side[WEIR_BACKEND].io;
	int code = outcome(io, events);
	struct weir_endpoint to;

	if (code == 0)
		return;
	if (code < 0) {
		close_io(c->worker, io);
		attempt_failed(c, -code);
		return;
	}
	if (c->race) {
		weir_endpoint_set(&to, &c->race->addr[c->race->first], c->race->port);
		publish_backend(c, &to);
		weir_conn_free_race(c);
	}
	begin_relay(c, events);
}

static void connect_one(struct weir_conn *c, const struct weir_endpoint *to)
{
	bool over = false;
	int code = begin_attempt(c, &c->relay.side[WEIR_BACKEND].io, to, &over);

	if (code)
		fail_attempt(c, -code);
}

static void connect_many(struct weir_conn *c, const struct weir_proxy_name *e, uint16_t port)
{
	struct weir_race *r = calloc(1, sizeof(*r));

	if (!r) {
		weir_conn_end(c, WEIR_END_NO_MEMORY, ENOMEM, 0);
		return;
	}
	r->conn = c;
	r->next_at.fn = attempt_is_slow;
	r->port = port;
	r->n = e->n;
	for (size_t i = 0; i < WEIR_PROXY_NAME_ADDRS; i++) {
		memcpy(&r->addr[i], e->addr[i], sizeof(r->addr[i]));
		r->lane[i] = (struct weir_lane){ .io = { lane_event, -1 }, .conn = c };
	}
	c->race = r;
	if (!next_address(c))
		fail_attempt(c, c->error);
}

/* ---- Names */

static uint16_t target_port(const struct weir_conn *c)
{
	uint16_t port = c->target->kind == WEIR_TARGET_NAME ? c->target->port : 0;

	return port ? port : weir_endpoint_port(&c->local);
}

static const char *target_name(const struct weir_conn *c)
{
	return c->target->kind == WEIR_TARGET_NAME ? c->target->host : c->name;
}

/* Where the client chose the name, its owner chooses the address: one that lies behind
 * this host's own doors is none. A listener of this proxy's stays, to be told as a loop. */
static void leave_local_out(struct weir_conn *c, struct weir_proxy_name *e)
{
	struct weir_endpoint to;
	uint8_t n = 0;

	if (c->target->kind != WEIR_TARGET_DNS || c->cfg->local)
		return;
	for (uint8_t i = 0; i < e->n; i++) {
		struct weir_addr a;

		memcpy(a.b, e->addr[i], sizeof(a.b));
		weir_endpoint_set(&to, &a, target_port(c));
		if (!weir_conn_is_local(c, &a) || weir_conn_is_loop(c, &to))
			memmove(e->addr[n++], a.b, sizeof(a.b));
	}
	e->n = n;
}

static void found_addresses(struct weir_conn *c, struct weir_proxy_name *e)
{
	struct weir_endpoint to;
	struct weir_addr a;

	leave_local_out(c, e);
	if (!e->n) {
		target_failed(c, WEIR_END_RESOLVE, EACCES);
		return;
	}
	weir_conn_show(c->state, WEIR_CONN_CONNECT);
	if (e->n > 1) {
		connect_many(c, e, target_port(c));
		return;
	}
	memcpy(&a, e->addr[0], sizeof(a));
	weir_endpoint_set(&to, &a, target_port(c));
	connect_one(c, &to);
}

static void look_up(struct weir_conn *c);

static void answered(struct weir_post *p)
{
	struct weir_question *q = (struct weir_question *)p;
	struct weir_conn *c = q->conn;

	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	free(q);
	if (!c)
		return;
	c->question = NULL;
	look_up(c);
}

void weir_conn_give_up_name(struct weir_conn *c)
{
	if (c->question)
		c->question->conn = NULL;
	c->question = NULL;
}

/* The name is not known. Its answer is waited for once: one that is lost again at once, or
 * could not be asked for, is a failure. */
static void ask(struct weir_conn *c, const char *name)
{
	struct weir_worker *w = c->worker;
	struct weir_question *q;

	if (c->asked) {
		target_failed(c, WEIR_END_RESOLVE, 0);
		return;
	}
	weir_account_add(&w->account, WEIR_TOTAL_NAME_MISSES, 1);
	q = malloc(sizeof(*q));
	if (!q) {
		target_failed(c, WEIR_END_NO_MEMORY, ENOMEM);
		return;
	}
	*q = (struct weir_question){ .post.fn = answered, .conn = c, .next = w->questions };
	q->prev = &w->questions;
	if (q->next)
		q->next->prev = &q->next;
	w->questions = q;
	c->question = q;
	c->asked = true;
	weir_conn_show(c->state, WEIR_CONN_RESOLVE);
	weir_names_want(w->shared->names, name, w->loop, &q->post);
}

static void look_up(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;
	const char *name = target_name(c);
	struct weir_proxy_name e;

	switch (weir_names_lookup(w->shared->names, name, weir_loop_now(w->loop), &e)) {
	case WEIR_NAME_STALE:
		weir_account_add(&w->account, WEIR_TOTAL_NAME_STALE, 1);
		weir_names_want(w->shared->names, name, w->loop, NULL);
		/* fallthrough */
	case WEIR_NAME_FRESH:
		if (!c->asked)
			weir_account_add(&w->account, WEIR_TOTAL_NAME_HITS, 1);
		found_addresses(c, &e);
		break;
	case WEIR_NAME_NONE:
		if (!c->asked)
			weir_account_add(&w->account, WEIR_TOTAL_NAME_HITS, 1);
		target_failed(c, WEIR_END_RESOLVE, 0);
		break;
	case WEIR_NAME_MISSING:
		ask(c, name);
		break;
	}
}

/* ---- Targets */

static void begin_target(struct weir_conn *c, const struct weir_proxy_target *t)
{
	struct weir_worker *w = c->worker;
	struct weir_addr a;

	c->backend_state = t->state;
	atomic_fetch_add(&t->state->open, 1);
	c->asked = false;
	pthread_mutex_lock(&w->lock);
	c->target = t;
	c->backend.len = 0;
	pthread_mutex_unlock(&w->lock);
	weir_timer_set(w->loop, &c->timer,
		       weir_loop_now(w->loop) + or_default(c->route->connect_timeout_ns,
							   c->cfg->limits.connect_timeout_ns));
	weir_conn_show(c->state, WEIR_CONN_CONNECT);
	switch (t->kind) {
	case WEIR_TARGET_ADDRESS:
	case WEIR_TARGET_UNIX:
		connect_one(c, &t->addr);
		break;
	case WEIR_TARGET_DNS:
		/* A client must not choose an address by writing it for a name. */
		if (!weir_addr_parse(c->name, &a)) {
			target_failed(c, WEIR_END_RESOLVE, 0);
			break;
		}
		/* fallthrough */
	case WEIR_TARGET_NAME:
		look_up(c);
		break;
	}
}

/* Depth of recursion: target_failed() comes back here, once for each target. */
static void try_targets(struct weir_conn *c)
{
	int i = -1;

	if (c->targets_tried < c->route->n_targets)
		i = weir_backend_choose(c->route, c->tried);
	if (i < 0) {
		weir_conn_end(c, c->targets_tried ? c->verdict : WEIR_END_NO_BACKEND, c->error, 0);
		return;
	}
	c->targets_tried++;
	if (i < 64)
		c->tried |= 1ULL << i;
	begin_target(c, &c->route->targets[i]);
}

void weir_conn_connect(struct weir_conn *c)
{
	try_targets(c);
}

void weir_conn_connect_timeout(struct weir_conn *c)
{
	if (c->state == WEIR_CONN_RESOLVE)
		target_failed(c, WEIR_END_RESOLVE, ETIMEDOUT);
	else
		target_failed(c, WEIR_END_CONNECT_TIMEOUT, ETIMEDOUT);
}
