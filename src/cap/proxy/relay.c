/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/proxy/relay_impl.h"
#include "cap/proxy/sockmap_impl.h"
#include "net/sock.h"

/* What other threads look at. */
#define show(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

/* The ladder: what cannot serve hands on to the one below it. */
static const struct weir_engine *const ladder[] = {
	&weir_engine_sockmap,
	&weir_engine_splice,
	&weir_engine_copy,
};

/* ---- The pool */

static void take_turns(struct weir_timer *t);

/* A kernel or a sandbox without splice(2) says so before it looks at descriptors. */
static bool splice_is_missing(void)
{
	return splice(-1, NULL, -1, NULL, 1, 0) < 0 && errno != EBADF;
}

static int receive_buffer(int fd)
{
	int size = 0;
	socklen_t n = sizeof(size);

	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &n) ? 0 : size;
}

/* False where it would be smaller (net.core.rmem_max). The kernel doubles the number. */
static bool bound_buffer(int fd)
{
	const int half = WEIR_RELAY_QUEUE / 2;

	return !setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half)) &&
	       receive_buffer(fd) >= (int)WEIR_RELAY_QUEUE;
}

static bool can_bound(void)
{
	weir_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && bound_buffer(fd);
}

struct weir_relay_pool *weir_relay_pool_new(struct weir_loop *l, struct weir_error *err)
{
	struct weir_relay_pool *p = calloc(1, sizeof(*p));

	if (p)
		p->buffer = malloc(WEIR_RELAY_READ);
	if (!p || !p->buffer) {
		free(p);
		weir_fail(err, -ENOMEM, "no memory for a relay's buffer");
		return NULL;
	}
	p->loop = l;
	p->turn.fn = take_turns;
	p->last = &p->waiting;
	p->most_fd = weir_sock_most();
	p->no_splice = splice_is_missing();
	p->bounds = can_bound();
	return p;
}

unsigned int weir_relay_pool_trim(struct weir_relay_pool *p)
{
	unsigned int n = p->n_pipes;

	while (p->n_pipes) {
		int *pipe = p->pipe[--p->n_pipes];

		close(pipe[0]);
		close(pipe[1]);
	}
	atomic_fetch_sub_explicit(&p->pipes, n, memory_order_relaxed);
	return n;
}

void weir_relay_pool_free(struct weir_relay_pool *p)
{
	if (!p)
		return;
	weir_timer_del(&p->turn);
	weir_sockmap_bell_free(p->bell);
	weir_relay_pool_trim(p);
	while (p->n_spares)
		free(p->spare[--p->n_spares]);
	free(p->buffer);
	free(p);
}

void weir_relay_pool_stats(const struct weir_relay_pool *p, struct weir_relay_pool_stats *ret)
{
	ret->pipes = atomic_load_explicit(&p->pipes, memory_order_relaxed);
	ret->relays = atomic_load_explicit(&p->relays, memory_order_relaxed);
}

int weir_relay_take_pipe(struct weir_relay_pool *p, struct weir_relay_side *s)
{
	if (p->n_pipes) {
		memcpy(s->pipe, p->pipe[--p->n_pipes], sizeof(s->pipe));
		return 0;
	}
	if (pipe2(s->pipe, O_NONBLOCK | O_CLOEXEC)) {
		s->pipe[0] = s->pipe[1] = -1;
		return -errno;
	}
	if (s->pipe[0] >= p->most_fd || s->pipe[1] >= p->most_fd) {
		close(s->pipe[0]);
		close(s->pipe[1]);
		s->pipe[0] = s->pipe[1] = -1;
		return -EMFILE;
	}
	atomic_fetch_add_explicit(&p->pipes, 1, memory_order_relaxed);
	return 0;
}

void weir_relay_give_pipe(struct weir_relay_pool *p, struct weir_relay_side *s)
{
	if (s->pipe[0] < 0)
		return;
	if (!s->piped && p->n_pipes < WEIR_RELAY_PIPES) {
		memcpy(p->pipe[p->n_pipes++], s->pipe, sizeof(s->pipe));
	} else {
		close(s->pipe[0]);
		close(s->pipe[1]);
		atomic_fetch_sub_explicit(&p->pipes, 1, memory_order_relaxed);
	}
	s->piped = 0;
	s->pipe[0] = s->pipe[1] = -1;
}

/* ---- Both directions */

void weir_relay_bound(struct weir_relay *r, enum weir_end_of from, bool ahead)
{
	struct weir_relay_side *s = &r->side[from];

	s->bound_at = s->bytes;
	if (!r->pool->bounds || s->bounded)
		return;
	if (ahead || receive_buffer(s->io.fd) > (int)WEIR_RELAY_QUEUE)
		s->bounded = bound_buffer(s->io.fd);
}

void weir_relay_delivered(struct weir_relay *r, enum weir_end_of from, uint32_t n)
{
	struct weir_relay_side *s = &r->side[from];

	show(r->active, weir_loop_now(r->pool->loop));
	if (from == WEIR_BACKEND && !r->first_byte)
		show(r->first_byte, r->active);
	if (from == WEIR_CLIENT && r->extra) {
		uint32_t extra = n < r->extra ? n : r->extra;

		r->extra -= extra;
		n -= extra;
	}
	show(s->bytes, s->bytes + n);
	if (s->bytes - s->bound_at > WEIR_RELAY_ROUND)
		weir_relay_bound(r, from, false);
}

bool weir_relay_read_none(struct weir_relay *r, enum weir_end_of from, long n)
{
	struct weir_relay_side *s = &r->side[from];

	if (n == 0) {
		s->ended = true;
		s->readable = false;
	} else if (errno == EAGAIN) {
		s->readable = false;
	} else if (errno != EINTR) {
		weir_relay_end(r, WEIR_RELAY_RESET, from, errno);
		return false;
	}
	return true;
}

void weir_relay_write_none(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *o = &r->side[!from];

	if (errno == EINTR)
		return;
	o->writable = false;
	if (errno != EAGAIN)
		o->failed = errno;
}

static bool can_move(const struct weir_relay *r, enum weir_end_of from)
{
	const struct weir_relay_side *s = &r->side[from];

	return r->side[!from].writable && (s->held || s->piped || (s->readable && !s->ended));
}

/* A server that refuses what is sent to it says why (413, a TLS alert) before it resets the
 * connection, and the failure may be seen first by a write. */
void weir_relay_last_words(struct weir_relay *r, enum weir_end_of who, weir_relay_step *step)
{
	struct weir_relay_side *s = &r->side[who];
	const uint64_t before = s->bytes;

	s->readable = s->drain = true;
	while (can_move(r, who) && s->bytes - before < WEIR_RELAY_LAST)
		if (!step(r, who))
			return;
	weir_relay_end(r, WEIR_RELAY_RESET, who, s->failed);
}

/* All of this direction was delivered: the other end gets its FIN. When it was the second
 * one, closing the sockets says the same. */
static bool finish(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from], *o = &r->side[!from];

	o->shut = true;
	if (s->shut) {
		weir_relay_end(r, WEIR_RELAY_DONE, from, 0);
		return false;
	}
	shutdown(o->io.fd, SHUT_WR); /* what it can fail with comes as an event, too */
	return true;
}

static void wait_for_turn(struct weir_relay *r)
{
	struct weir_relay_pool *p = r->pool;

	if (r->prev)
		return;
	r->next = NULL;
	r->prev = p->last;
	*p->last = r;
	p->last = &r->next;
	weir_timer_set(p->loop, &p->turn, 0);
}

static void leave_turns(struct weir_relay *r)
{
	if (!r->prev)
		return;
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		r->pool->last = r->prev;
	r->prev = NULL;
}

/* Bytes that a direction may move now; 0: it has to wait. */
static uint64_t share_of_round(struct weir_relay_pool *p, const struct weir_relay_side *s)
{
	uint64_t now = weir_loop_now(p->loop);

	if (p->round != now) {
		p->round = now;
		p->left = WEIR_RELAY_ROUND;
	}
	if (p->left <= WEIR_RELAY_SHARE)
		return s->full_reads < WEIR_RELAY_BULK_AFTER || p->turning ? WEIR_RELAY_SHARE : 0;
	/* Who waits goes first. */
	if (p->waiting && !p->turning && s->full_reads >= WEIR_RELAY_BULK_AFTER)
		return 0;
	return p->left;
}

static void use_share(struct weir_relay_pool *p, uint64_t moved)
{
	p->left = moved < p->left ? p->left - moved : 0;
}

/* False: the relay is over. */
static bool flow(struct weir_relay *r, enum weir_end_of from, weir_relay_step *step)
{
	struct weir_relay_side *s = &r->side[from];
	uint64_t before = s->bytes, share = share_of_round(r->pool, s);

	while (can_move(r, from)) {
		if (s->bytes - before >= share) {
			wait_for_turn(r);
			break;
		}
		if (!step(r, from))
			return false;
	}
	use_share(r->pool, s->bytes - before);
	if (r->side[!from].failed) {
		weir_relay_last_words(r, !from, step);
		return false;
	}
	if (!s->piped)
		weir_relay_give_pipe(r->pool, s);
	if (s->ended && !s->held && !s->piped && !r->side[!from].shut)
		return finish(r, from);
	return true;
}

void weir_relay_saw(struct weir_relay_side *s, uint32_t events)
{
	const uint32_t last = EPOLLHUP | EPOLLERR;

	if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | last))
		s->readable = true;
	if (events & (EPOLLOUT | last))
		s->writable = true;
	/* Behind an error no event comes any more: it is read with the last byte. */
	if (events & (EPOLLPRI | last))
		s->drain = true;
	if (events & EPOLLRDHUP)
		s->fin = true;
	if (events & EPOLLPRI)
		s->urgent = true;
}

void weir_relay_serve(struct weir_relay *r, enum weir_end_of who, uint32_t events,
		      weir_relay_step *step)
{
	weir_relay_saw(&r->side[who], events);
	/* First what the event brings, then what it makes room for. */
	if (!flow(r, who, step))
		return;
	if (events & EPOLLERR) {
		int error = weir_sock_error(r->side[who].io.fd);

		/* Nothing comes any more: what has come does not wait for its turn. */
		if (error) {
			r->side[who].failed = -error;
			weir_relay_last_words(r, who, step);
			return;
		}
	}
	flow(r, !who, step);
}

static void take_turns(struct weir_timer *t)
{
	struct weir_relay_pool *p =
		(struct weir_relay_pool *)((char *)t - offsetof(struct weir_relay_pool, turn));
	struct weir_relay *r;

	p->turning = true;
	while ((r = p->waiting)) {
		leave_turns(r);
		r->engine->event(r, WEIR_CLIENT, 0);
		if (p->left <= WEIR_RELAY_SHARE)
			break;
	}
	p->turning = false;
	if (p->waiting)
		weir_timer_set(p->loop, &p->turn, 0);
}

/* ---- Start and end */

static void climb_down(struct weir_relay *r, enum weir_proxy_engine from)
{
	size_t i = 0;

	while (ladder[i]->id != from)
		i++;
	for (; i < WEIR_ARRAY_SIZE(ladder); i++) {
		show(r->engine, ladder[i]);
		if (!r->engine->start(r)) /* the last one always can; @r may be gone */
			return;
	}
}

void weir_relay_start(struct weir_relay *r, struct weir_relay_pool *pool,
		      enum weir_proxy_engine want, uint32_t held_extra)
{
	r->pool = pool;
	r->prev = NULL;
	r->extra = held_extra;
	show(r->active, weir_loop_now(pool->loop));
	atomic_fetch_add_explicit(&pool->relays, 1, memory_order_relaxed);
	if (r->side[WEIR_CLIENT].held && !weir_relay_send_held(r, WEIR_CLIENT))
		return;
	climb_down(r, want == WEIR_ENGINE_AUTO ? WEIR_ENGINE_SPLICE : want);
}

void weir_relay_event(struct weir_relay *r, enum weir_end_of who, uint32_t events)
{
	r->engine->event(r, who, events);
}

void weir_relay_stop(struct weir_relay *r)
{
	if (!r->pool)
		return;
	if (r->engine)
		r->engine->stop(r);
	leave_turns(r);
	for (int i = 0; i < 2; i++) {
		weir_relay_give_pipe(r->pool, &r->side[i]);
		free(r->side[i].held);
		r->side[i].held = NULL;
	}
	atomic_fetch_sub_explicit(&r->pool->relays, 1, memory_order_relaxed);
	r->pool = NULL;
}

void weir_relay_count(struct weir_relay *r)
{
	if (r->pool && r->engine && r->engine->count)
		r->engine->count(r);
}

void weir_relay_demote(struct weir_relay *r, const struct weir_engine *to)
{
	r->engine->stop(r);
	show(r->demoted, true);
	/* What the kernel did with events meanwhile is not known here. */
	for (int i = 0; i < 2; i++)
		r->side[i].readable = r->side[i].writable = r->side[i].drain = true;
	climb_down(r, to->id);
}

void weir_relay_end(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who, int error)
{
	weir_relay_stop(r);
	r->ended(r, how, who, error);
}
