/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine sockmap, user space's half. Each direction of a relay goes its own way:
 *
 *	OPEN	user space moves what comes, until there is a moment with nothing in
 *		between: the source's queue is empty, nothing is held. Then it is joined.
 *	KERNEL	the program moves bytes, until the target has no room (then GATE), or
 *		the FIN comes: that is handed on when the target has been given every
 *		byte before it.
 *	GATE	the program leaves what comes now to user space, which waits until the
 *		target has been given all that the program took.
 *	USER	user space again, for good: what a socket has been through in a map of
 *		this kind does not come off again before it is closed.
 *	DONE	FIN received and handed on.
 *
 * "Given to the target" is: written to its TCP socket, in order, by the kernel worker
 * that empties the queue. Nobody tells when that has happened. It is seen by comparing
 * numbers (given()), when the source says something, and by a timer.
 */
#include "cap/proxy/sockmap.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cap/proxy/relay_impl.h"
#include "cap/proxy/sockmap_impl.h"

#define STEADY_TRIES 8 /* for two numbers that belong together */
/* Room that is asked for in a target, for bytes and what they take; the kernel doubles
 * it, and bounds it by net.core.wmem_max. */
#define TARGET_ROOM (1 << 20)
#define NS_PER_MS 1000000ULL
#define FINE_WAITS 4 /* 1, 2, 4, 8 ms; then by the loop's own timers */
#define WAIT_MAX_MS 128
#define LAST_WAITS 8 /* for a last word: a busy host's kernel workers may take 100 ms and more */

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

/* What other threads look at. */
#define show(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

enum state { OPEN, KERNEL, GATE, USER, DONE };

/* What is to be done about a direction: nothing until an event; look at it in the next
 * round; look at it after a while. OVER: the relay is gone. */
enum { NOTHING, AGAIN, LATER, OVER };

struct way {
	enum state state;
	struct weir_way *kernel;
	bool fin; /* it may be that the source has had a FIN */
	/* When it was joined: bytes the source had received; bytes the target had been
	 * given, as given() counts them; bytes that had been moved. */
	uint64_t received, given, moved;
	uint64_t shown; /* of the program's bytes, those in side[].bytes */
	int error;	/* the source's */
};

struct joint {
	struct weir_relay *r;
	struct weir_loop *loop;
	uint32_t place;
	bool targets;  /* both sockets are in the map of targets */
	bool refused;  /* they will not be joined any more */
	bool quiet[2]; /* the loop does not listen to this end for bytes and room */
	uint64_t cookie[2];
	struct way way[2]; /* by the end where they begin */
	struct weir_timer timer;
	struct weir_io fine; /* a timerfd; -1: none */
	unsigned int waits;
};

static void run(struct joint *j);

/* ---- Numbers */

static int info_of(int fd, struct tcp_info *ret)
{
	socklen_t n = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &n) ? -errno : 0;
}

/* A number that grows by each byte written to @fd's TCP: what was acknowledged, and what
 * was not. The two are asked for one after the other; what is acknowledged in between
 * is missing from the sum, which is then too small, never too large. */
static int given(int fd, uint64_t *ret)
{
	struct tcp_info info;
	int code = info_of(fd, &info), queued;

	if (code)
		return code;
	if (ioctl(fd, SIOCOUTQ, &queued))
		return -errno;
	*ret = info.tcpi_bytes_acked + (uint64_t)queued;
	return 0;
}

/* The same to the byte: nothing was acknowledged in between. Only while nobody writes. */
static int given_exactly(int fd, uint64_t *ret)
{
	struct tcp_info before, after;
	int code, queued;

	for (int i = 0; i < STEADY_TRIES; i++) {
		code = info_of(fd, &before);
		if (code)
			return code;
		if (ioctl(fd, SIOCOUTQ, &queued))
			return -errno;
		code = info_of(fd, &after);
		if (code)
			return code;
		if (before.tcpi_bytes_acked == after.tcpi_bytes_acked) {
			*ret = after.tcpi_bytes_acked + (uint64_t)queued;
			return 0;
		}
	}
	return -EAGAIN;
}

static bool fin_received(const struct tcp_info *info)
{
	switch (info->tcpi_state) {
	case BPF_TCP_CLOSE_WAIT:
	case BPF_TCP_LAST_ACK:
	case BPF_TCP_CLOSING:
	case BPF_TCP_TIME_WAIT:
	case BPF_TCP_CLOSE: /* from TIME_WAIT; an error is seen elsewhere */
		return true;
	default:
		return false;
	}
}

static uint64_t redirected(const struct way *w)
{
	return __atomic_load_n(&w->kernel->redirected, __ATOMIC_RELAXED);
}

static uint32_t stopped(const struct way *w) /* enum weir_way_stop, or 0 */
{
	return __atomic_load_n(&w->kernel->stop, __ATOMIC_ACQUIRE);
}

/* Has the target been given all that the program took? */
static int all_given(const struct joint *j, enum weir_end_of from)
{
	const struct way *w = &j->way[from];
	uint64_t now = 0;
	int code = given(j->r->side[!from].io.fd, &now);

	return code ? code : now >= w->given + redirected(w); /* it may be less than w->given */
}

/* Is the FIN next, behind bytes that have all been seen, by the program or by user space?
 * Only with the source's lock taken (by TCP_INFO) is the program's number the last one. */
static int at_fin(const struct joint *j, enum weir_end_of from)
{
	const struct weir_relay_side *s = &j->r->side[from];
	const struct way *w = &j->way[from];
	struct tcp_info info;
	int code = info_of(s->io.fd, &info);
	uint64_t by_user;

	if (code)
		return code;
	by_user = s->bytes - w->shown - w->moved;
	return fin_received(&info) &&
	       info.tcpi_bytes_received - w->received - 1 == redirected(w) + by_user;
}

/* What the program moved since this was asked last. */
static void moved(struct joint *j, enum weir_end_of from)
{
	struct weir_relay_side *s = &j->r->side[from];
	struct way *w = &j->way[from];
	uint64_t now = redirected(w), first;

	if (now == w->shown)
		return;
	show(s->bytes, s->bytes + now - w->shown);
	w->shown = now;
	if (w->kernel->last > j->r->active)
		show(j->r->active, w->kernel->last);
	first = __atomic_load_n(&w->kernel->first, __ATOMIC_RELAXED);
	if (from == WEIR_BACKEND && !j->r->first_byte)
		show(j->r->first_byte, first);
}

/* ---- Ends */

static int over(struct joint *j, enum weir_relay_how how, enum weir_end_of who, int error)
{
	weir_relay_end(j->r, how, who, error); /* frees j */
	return OVER;
}

/* A socket failed. If its connection lives on (the kernel had no memory to send with), a
 * close would look to its peer like a regular end, after which bytes are missing. */
static void cut(struct joint *j, enum weir_end_of who)
{
	const struct linger reset = { .l_onoff = 1 };
	struct tcp_info info;
	int fd = j->r->side[who].io.fd;

	if (!info_of(fd, &info) && info.tcpi_state != BPF_TCP_CLOSE)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

static int broken(struct joint *j, enum weir_end_of who, int error)
{
	cut(j, who);
	return over(j, WEIR_RELAY_RESET, who, error);
}

/* All of this direction was delivered. When it was the second one, closing the sockets
 * says the same. */
static int finish(struct joint *j, enum weir_end_of from)
{
	struct weir_relay_side *s = &j->r->side[from], *o = &j->r->side[!from];

	s->ended = o->shut = true;
	j->way[from].state = DONE;
	if (s->shut)
		return over(j, WEIR_RELAY_DONE, from, 0);
	shutdown(o->io.fd, SHUT_WR); /* what it can fail with comes as an event, too */
	return NOTHING;
}

/* ---- By user space */

/* Nothing more comes. Of a socket that was joined this is only believed when the numbers
 * say the same: bytes may still be on their way to where recv() finds them. */
static int at_end(struct joint *j, enum weir_end_of from)
{
	struct weir_relay_side *s = &j->r->side[from];
	int code = j->way[from].state == USER ? at_fin(j, from) : 1;

	if (code < 0)
		return broken(j, from, -code);
	if (code)
		return finish(j, from);
	s->ended = false;
	s->readable = true; /* read again then */
	return LATER;
}

static int give(struct joint *j, enum weir_end_of from)
{
	struct weir_relay_side *s = &j->r->side[from], *o = &j->r->side[!from];
	uint64_t share = s->bytes + WEIR_RELAY_SHARE;

	while (o->writable && (s->held || (s->readable && !s->ended))) {
		if (s->bytes >= share)
			return AGAIN;
		if (!weir_relay_copy(j->r, from))
			return OVER;
	}
	if (!o->failed)
		return NOTHING;
	j->way[!from].error = o->failed;
	return AGAIN;
}

static int pump(struct joint *j, enum weir_end_of from)
{
	const struct weir_relay_side *s = &j->r->side[from];
	int code = give(j, from);

	return code == NOTHING && s->ended && !s->held ? at_end(j, from) : code;
}

/* ---- Joining */

/* A target's buffer as large as what may be put there at a time. The lock that comes with
 * it is taken off again: the buffer goes on growing with the connection. */
static void make_room(int fd)
{
	const int room = TARGET_ROOM, unlocked = 0, all = -1;
	int now = 0;
	socklen_t n = sizeof(now);

	if (!getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &n) && now < 2 * room &&
	    !setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)))
		setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
	/* The system's bound of unsent bytes would leave room unused. */
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &all, sizeof(all));
}

static int join_targets(struct joint *j)
{
	for (int i = 0; i < 2; i++) {
		int code, fd = j->r->side[i].io.fd;

		make_room(fd);
		weir_relay_bound(j->r, (enum weir_end_of)i, true);
		code = weir_sockmap_join_target(j->place, (enum weir_end_of)i, fd);
		if (code)
			return code;
	}
	j->targets = true;
	return 0;
}

/* 0 or more: what is to be done; -errno: it cannot be joined.
 * Nothing is held and the last recv() found nothing. What `received` counts has been read
 * if there is still nothing behind: then none of it is in the queue, in whole or in
 * part, and what comes until the program is there lies in the queue in whole. */
static int join(struct joint *j, enum weir_end_of from)
{
	struct weir_relay_side *s = &j->r->side[from];
	struct way *w = &j->way[from];
	struct tcp_info info;
	char byte;
	int code = info_of(s->io.fd, &info);

	if (code)
		return code;
	if (info.tcpi_state != BPF_TCP_ESTABLISHED)
		return -EOPNOTSUPP;
	/* Some kernels' SIOCINQ says 0 of any socket that is in such a map. */
	if (recv(s->io.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0) {
		s->readable = true;
		return AGAIN;
	}
	if (errno != EAGAIN) /* a reset, which is told only once */
		return broken(j, from, errno);
	code = given_exactly(j->r->side[!from].io.fd, &w->given);
	if (code)
		return code == -EAGAIN ? LATER : code;
	w->received = info.tcpi_bytes_received;
	w->moved = s->bytes;
	code = weir_sockmap_join_source(j->place, from, s->io.fd, j->cookie[from]);
	if (code)
		return code;
	w->state = KERNEL;
	return NOTHING;
}

/* Both at a moment when both are quiet; where one cannot be, it stays with user space. */
static int join_both(struct joint *j)
{
	int said = NOTHING;

	for (int i = 0; i < 2; i++) {
		const struct weir_relay_side *s = &j->r->side[i];

		if (j->way[i].state == DONE)
			j->refused = true;
		if (j->way[i].state == OPEN && (s->readable || s->held))
			return NOTHING;
	}
	if (!j->refused && !j->targets && join_targets(j))
		j->refused = true;
	for (int i = 0; i < 2 && !j->refused; i++) {
		int code;

		if (j->way[i].state != OPEN)
			continue;
		code = join(j, (enum weir_end_of)i);
		if (code == OVER)
			return OVER;
		if (code < 0)
			j->refused = true;
		else if (code > said)
			said = code;
	}
	if (j->refused)
		show(j->r->demoted, true);
	return said;
}

/* Bytes that come to a joined socket, and room that comes to be, are the program's
 * business: to hear of each would cost more than to move them. */
static void listen_again(struct joint *j)
{
	for (int i = 0; i < 2; i++) {
		bool quiet = j->way[i].state != OPEN && j->way[i].state != USER &&
			     j->way[!i].state != OPEN && j->way[!i].state != USER;

		if (quiet == j->quiet[i])
			continue;
		if (!weir_loop_mod(j->loop, &j->r->side[i].io,
				   quiet ? EPOLLRDHUP | EPOLLET : WEIR_RELAY_EVENTS))
			j->quiet[i] = quiet;
	}
}

/* ---- A direction's course */

static int kernel(struct joint *j, enum weir_end_of from)
{
	struct way *w = &j->way[from];
	int code;

	if (stopped(w)) {
		w->state = GATE;
		return AGAIN;
	}
	if (!w->fin)
		return NOTHING;
	code = at_fin(j, from);
	if (code > 0)
		code = all_given(j, from);
	if (code < 0)
		return broken(j, from, -code);
	moved(j, from);
	return code ? finish(j, from) : LATER;
}

static int gate(struct joint *j, enum weir_end_of from)
{
	int code = all_given(j, from);

	if (code < 0)
		return broken(j, !from, -code);
	if (!code)
		return LATER;
	moved(j, from);
	j->way[from].state = USER;
	show(j->r->demoted, true);
	/* Nobody listened meanwhile. */
	j->r->side[from].readable = j->r->side[from].drain = true;
	j->r->side[!from].writable = true;
	return AGAIN;
}

/* The source was reset, or cannot be written to. What had come before, such as a server's
 * last word, is given on first, where there is room: it is in the source's queue, or with
 * a kernel worker, whose turn comes soon. */
static int failed(struct joint *j, enum weir_end_of from)
{
	enum state state = j->way[from].state;

	if (state == KERNEL && j->waits < LAST_WAITS && !all_given(j, from))
		return LATER;
	if (state != OPEN && state != USER)
		return broken(j, from, j->way[from].error);
	j->r->side[from].failed = j->way[from].error;
	cut(j, from);
	weir_relay_last_words(j->r, from, weir_relay_copy);
	return OVER;
}

static int advance(struct joint *j, enum weir_end_of from)
{
	if (j->way[from].error)
		return failed(j, from);
	if (stopped(&j->way[from]) == WEIR_WAY_BROKEN)
		return broken(j, from, ENOMEM);
	switch (j->way[from].state) {
	case OPEN:
	case USER:
		return pump(j, from);
	case KERNEL:
		return kernel(j, from);
	case GATE:
		return gate(j, from);
	case DONE:
		break;
	}
	return NOTHING;
}

/* ---- Waiting */

static void fine_close(struct joint *j)
{
	if (j->fine.fd < 0)
		return;
	weir_loop_forget(j->loop, &j->fine);
	close(j->fine.fd);
	j->fine.fd = -1;
}

static void fine_fired(struct weir_io *io, uint32_t events)
{
	struct joint *j = (struct joint *)((char *)io - offsetof(struct joint, fine));

	(void)events;
	fine_close(j);
	run(j);
}

/* The program has stopped in a direction of @token. */
static void rung(uint64_t token)
{
	struct joint *j = (struct joint *)(uintptr_t)token;

	weir_timer_set(j->loop, &j->timer, 0);
}

static void timer_fired(struct weir_timer *t)
{
	run((struct joint *)((char *)t - offsetof(struct joint, timer)));
}

/* The loop's ticks are long beside what is mostly waited for here: a kernel worker's
 * turn. So the first waits are a timerfd's, where one can be had. */
static bool wait_fine(struct joint *j, uint64_t ns)
{
	const struct itimerspec at = { .it_value.tv_nsec = (long)ns };

	if (j->fine.fd >= 0)
		return true;
	j->fine.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (j->fine.fd < 0)
		return false;
	if (!timerfd_settime(j->fine.fd, 0, &at, NULL) &&
	    !weir_loop_add(j->loop, &j->fine, EPOLLIN))
		return true;
	close(j->fine.fd);
	j->fine.fd = -1;
	return false;
}

static void wait_later(struct joint *j)
{
	uint64_t ms = j->waits < 7 ? 1ULL << j->waits : WAIT_MAX_MS;

	if (j->waits++ < FINE_WAITS && wait_fine(j, ms * NS_PER_MS))
		return;
	weir_timer_set(j->loop, &j->timer, weir_clock_mono() + ms * NS_PER_MS);
}

static void run(struct joint *j)
{
	int said = NOTHING;

	for (int i = 0; i < 2; i++) {
		int code;

		do
			code = advance(j, (enum weir_end_of)i);
		while (code == AGAIN && j->way[i].state != OPEN && j->way[i].state != USER);
		if (code == OVER)
			return;
		if (code > said)
			said = code;
	}
	if (!j->refused && (j->way[0].state == OPEN || j->way[1].state == OPEN)) {
		int code = join_both(j);

		if (code == OVER)
			return;
		if (code > said)
			said = code;
	}
	listen_again(j);
	if (said == AGAIN)
		weir_timer_set(j->loop, &j->timer, 0);
	else if (said == LATER)
		wait_later(j);
	else
		j->waits = 0;
}

/* ---- The engine */

/* Plain TCP, both ends open: what the kernel can join without surprises. */
static int refuse(int fd)
{
	char ulp[16] = "";
	struct tcp_info info;
	socklen_t n = sizeof(int), ulp_n = sizeof(ulp);
	int protocol = 0, code;

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &n))
		return -errno;
	if (protocol != IPPROTO_TCP)
		return -EOPNOTSUPP;
	if (!getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &ulp_n) && ulp_n && ulp[0])
		return -EOPNOTSUPP;
	code = info_of(fd, &info);
	if (code)
		return code;
	return info.tcpi_state == BPF_TCP_ESTABLISHED ? 0 : -EOPNOTSUPP;
}

static int start(struct weir_relay *r)
{
	struct joint *j;
	int code = -EOPNOTSUPP;

	for (int i = 0; i < 2; i++) {
		code = refuse(r->side[i].io.fd);
		if (code)
			return code;
	}
	if (!r->pool->bell)
		r->pool->bell = weir_sockmap_bell_new(r->pool->loop, rung);
	if (!r->pool->bell)
		return -EOPNOTSUPP;
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	code = weir_sockmap_take(&j->place);
	if (code) {
		free(j);
		return code;
	}
	j->r = r;
	j->loop = r->pool->loop;
	j->timer.fn = timer_fired;
	j->fine = (struct weir_io){ .fn = fine_fired, .fd = -1 };
	for (int i = 0; i < 2; i++) {
		socklen_t n = sizeof(j->cookie[i]);

		getsockopt(r->side[i].io.fd, SOL_SOCKET, SO_COOKIE, &j->cookie[i], &n);
		j->way[i].kernel = weir_sockmap_way(j->place, (enum weir_end_of)i);
		j->way[i].kernel->bell = weir_sockmap_bell_number(r->pool->bell);
		j->way[i].kernel->token = (uintptr_t)j;
		/* Whether it is will be seen by trying. */
		r->side[i].readable = r->side[i].writable = true;
	}
	r->state = j;
	run(j);
	return 0;
}

/* It says no more than that something may have happened to @who. */
static void event(struct weir_relay *r, enum weir_end_of who, uint32_t events)
{
	struct joint *j = r->state;
	struct weir_relay_side *s = &r->side[who];
	int error = 0;
	socklen_t n = sizeof(error);

	weir_relay_saw(s, events);
	j->way[who].fin |= !!(events & (EPOLLRDHUP | EPOLLHUP));
	if (events & (EPOLLERR | EPOLLHUP) &&
	    !getsockopt(s->io.fd, SOL_SOCKET, SO_ERROR, &error, &n) && error)
		j->way[who].error = error;
	run(j);
}

static void stop(struct weir_relay *r)
{
	struct joint *j = r->state;
	struct tcp_info info;

	for (int i = 0; i < 2; i++)
		if (j->way[i].state != OPEN)
			weir_sockmap_forget(j->cookie[i]);
	/* It takes the source's lock: a run of the program that still found the record has
	 * left it when this returns. */
	for (int i = 0; i < 2; i++) {
		info_of(r->side[i].io.fd, &info);
		moved(j, (enum weir_end_of)i);
	}
	weir_sockmap_bell_look(r->pool->bell); /* no token of this one is left behind */
	weir_timer_del(&j->timer);
	fine_close(j);
	weir_sockmap_put(j->place);
	free(j);
	r->state = NULL;
}

static void count(struct weir_relay *r)
{
	moved(r->state, WEIR_CLIENT);
	moved(r->state, WEIR_BACKEND);
}

const struct weir_engine weir_engine_sockmap = {
	.name = "sockmap",
	.id = WEIR_ENGINE_SOCKMAP,
	.start = start,
	.event = event,
	.stop = stop,
	.count = count,
};
