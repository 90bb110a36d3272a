/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wheel has two levels: WEIR_LOOP_TICK_NS times SLOTS near ones, and SLOTS far ones of
 * that many ticks each, whose timers move to the near ones when their time comes. What
 * lies beyond both waits in the last far slot. A timer whose time has come when it is
 * set fires in the next round, without waiting for a tick.
 */
#include "net/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

#define EVENTS_MAX 256 /* taken from the kernel in a round */
#define SLOT_BITS 8
#define SLOTS (1U << SLOT_BITS)
#define SLOT_MASK (SLOTS - 1)
#define WORD_BITS 64
#define NS_PER_MS 1000000ULL

struct level {
	struct weir_timer *slot[SLOTS];
	/* Slots that may hold a timer. A bit outlives the slot's last timer, because
	 * weir_timer_del() knows only its neighbours: looked at, it is cleared. */
	uint64_t used[SLOTS / WORD_BITS];
};

struct weir_loop {
	int epoll_fd, wake_fd;
	struct weir_io wake;
	uint64_t now;
	void (*idle)(void *arg);
	void *idle_arg;

	struct epoll_event event[EVENTS_MAX];
	int n_events, at; /* the one that is being delivered */

	uint64_t tick; /* the last one that was dealt with */
	struct level near, far;
	struct weir_timer *soon; /* fire in the next round */

	_Atomic bool stopped;
	pthread_mutex_t lock; /* of what follows */
	struct weir_post *posts, **posts_end;
	bool ended;
};

/* ---- Making and waking */

/* The descriptor is edge-triggered: the write alone is the message, the counter is
 * never read. */
static void woken(struct weir_io *io, uint32_t events)
{
	(void)io;
	(void)events;
}

static void wake(struct weir_loop *l)
{
	uint64_t one = 1;

	/* It can only fail where 2^64 - 2 wakes were never read. */
	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		return;
}

struct weir_loop *weir_loop_new(struct weir_error *err)
{
	struct weir_loop *l = calloc(1, sizeof(*l));
	int code;

	if (!l) {
		weir_fail(err, -ENOMEM, "no memory for an event loop");
		return NULL;
	}
	pthread_mutex_init(&l->lock, NULL);
	l->posts_end = &l->posts;
	l->now = weir_clock_mono();
	l->tick = l->now / WEIR_LOOP_TICK_NS;
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake = (struct weir_io){ .fn = woken, .fd = l->wake_fd };
	code = l->wake_fd < 0 || l->epoll_fd < 0 ? -errno :
						   weir_loop_add(l, &l->wake, EPOLLIN | EPOLLET);
	if (code) {
		weir_fail(err, code, "cannot make an event loop: %s", strerror(-code));
		weir_loop_free(l);
		return NULL;
	}
	return l;
}

void weir_loop_free(struct weir_loop *l)
{
	if (!l)
		return;
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void weir_loop_stop(struct weir_loop *l)
{
	atomic_store(&l->stopped, true);
	wake(l);
}

uint64_t weir_loop_now(const struct weir_loop *l)
{
	return l->now;
}

void weir_loop_set_idle(struct weir_loop *l, void (*fn)(void *arg), void *arg)
{
	l->idle = fn;
	l->idle_arg = arg;
}

/* ---- Descriptors */

static int control(struct weir_loop *l, int op, struct weir_io *io, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = io };

	return epoll_ctl(l->epoll_fd, op, io->fd, &e) ? -errno : 0;
}

int weir_loop_add(struct weir_loop *l, struct weir_io *io, uint32_t events)
{
	return control(l, EPOLL_CTL_ADD, io, events);
}

int weir_loop_mod(struct weir_loop *l, struct weir_io *io, uint32_t events)
{
	return control(l, EPOLL_CTL_MOD, io, events);
}

void weir_loop_forget(struct weir_loop *l, struct weir_io *io)
{
	for (int i = l->at + 1; i < l->n_events; i++)
		if (l->event[i].data.ptr == io)
			l->event[i].data.ptr = NULL;
}

void weir_loop_del(struct weir_loop *l, struct weir_io *io)
{
	control(l, EPOLL_CTL_DEL, io, 0);
	weir_loop_forget(l, io);
}

static void deliver(struct weir_loop *l, int n)
{
	l->n_events = n;
	for (l->at = 0; l->at < l->n_events; l->at++) {
		struct weir_io *io = l->event[l->at].data.ptr;

		if (io)
			io->fn(io, l->event[l->at].events);
	}
	l->n_events = 0;
}

/* ---- Timers */

static void link_timer(struct weir_timer **head, struct weir_timer *t)
{
	t->next = *head;
	t->prev = head;
	if (t->next)
		t->next->prev = &t->next;
	*head = t;
}

void weir_timer_del(struct weir_timer *t)
{
	if (!t->prev)
		return;
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->prev = NULL;
}

static void put(struct level *level, uint64_t slot, struct weir_timer *t)
{
	slot &= SLOT_MASK;
	link_timer(&level->slot[slot], t);
	level->used[slot / WORD_BITS] |= 1ULL << slot % WORD_BITS;
}

static void place_timer(struct weir_loop *l, struct weir_timer *t)
{
	/* The first tick at which it is over; the present one has been dealt with. */
	uint64_t tick = (t->expires + WEIR_LOOP_TICK_NS - 1) / WEIR_LOOP_TICK_NS;

	if (tick <= l->tick)
		tick = l->tick + 1;
	if (tick - l->tick < SLOTS) {
		put(&l->near, tick, t);
	} else {
		uint64_t slot = tick >> SLOT_BITS, now = l->tick >> SLOT_BITS;

		/* The far slot of now itself comes round last. */
		put(&l->far, slot - now < SLOTS ? slot : now + SLOTS - 1, t);
	}
}

void weir_timer_set(struct weir_loop *l, struct weir_timer *t, uint64_t expires)
{
	bool later = t->prev && expires >= t->expires;

	t->expires = expires;
	if (later)
		return;
	weir_timer_del(t);
	if (expires <= l->now)
		link_timer(&l->soon, t);
	else
		place_timer(l, t);
}

/* Move a list to a head of the caller's, where weir_timer_del() still works on it. */
static void take_list(struct weir_timer **from, struct weir_timer **to)
{
	*to = *from;
	*from = NULL;
	if (*to)
		(*to)->prev = to;
}

static void fire(struct weir_loop *l, struct weir_timer **list)
{
	struct weir_timer *t;

	while ((t = *list)) {
		weir_timer_del(t);
		if (t->expires > l->now)
			place_timer(l, t);
		else
			t->fn(t);
	}
}

/* When a far slot's time has come, its timers are looked at anew. */
static void bring_near(struct weir_loop *l)
{
	uint64_t slot = (l->tick >> SLOT_BITS) & SLOT_MASK;
	struct weir_timer *list, *t;

	take_list(&l->far.slot[slot], &list);
	l->far.used[slot / WORD_BITS] &= ~(1ULL << slot % WORD_BITS);
	while ((t = list)) {
		weir_timer_del(t);
		/* What is over at this very tick must not wait for the next one. */
		if (t->expires <= l->tick * WEIR_LOOP_TICK_NS)
			put(&l->near, l->tick, t);
		else
			place_timer(l, t);
	}
}

static void run_timers(struct weir_loop *l)
{
	uint64_t last = l->now / WEIR_LOOP_TICK_NS;
	struct weir_timer *list;

	take_list(&l->soon, &list);
	fire(l, &list);
	while (l->tick < last) {
		uint64_t slot = ++l->tick & SLOT_MASK;

		if (slot == 0)
			bring_near(l);
		if (!(l->near.used[slot / WORD_BITS] & 1ULL << slot % WORD_BITS))
			continue;
		l->near.used[slot / WORD_BITS] &= ~(1ULL << slot % WORD_BITS);
		take_list(&l->near.slot[slot], &list);
		fire(l, &list);
	}
}

/* Slots ahead of @from up to the next one that holds a timer; SLOTS: none does. */
static uint64_t slots_ahead(struct level *level, uint64_t from)
{
	for (uint64_t i = 1; i < SLOTS; i++) {
		uint64_t slot = (from + i) & SLOT_MASK;
		uint64_t *word = &level->used[slot / WORD_BITS], bit = 1ULL << slot % WORD_BITS;

		if (!(*word & ~(bit - 1))) {
			i += WORD_BITS - 1 - slot % WORD_BITS;
			continue;
		}
		if (!(*word & bit))
			continue;
		if (level->slot[slot])
			return i;
		*word &= ~bit;
	}
	return SLOTS;
}

/* For epoll_wait(): ms until a timer has to be looked at. */
static int timeout(struct weir_loop *l)
{
	uint64_t near = slots_ahead(&l->near, l->tick), tick = UINT64_MAX, due;

	if (l->soon)
		return 0;
	if (near < SLOTS)
		tick = l->tick + near;
	if (tick == UINT64_MAX || (tick & SLOT_MASK) < near) {
		uint64_t far = slots_ahead(&l->far, l->tick >> SLOT_BITS);
		uint64_t at = ((l->tick >> SLOT_BITS) + far) << SLOT_BITS;

		if (far < SLOTS && at < tick)
			tick = at;
	}
	if (tick == UINT64_MAX)
		return -1;
	due = tick * WEIR_LOOP_TICK_NS;
	return due <= l->now ? 0 : (int)((due - l->now + NS_PER_MS - 1) / NS_PER_MS);
}

/* ---- Messages */

bool weir_loop_post(struct weir_loop *l, struct weir_post *p)
{
	bool ended;

	p->next = NULL;
	pthread_mutex_lock(&l->lock);
	ended = l->ended;
	if (!ended) {
		bool first = !l->posts;

		__atomic_store_n(l->posts_end, p, __ATOMIC_RELAXED);
		l->posts_end = &p->next;
		/* Under the lock: once it is let go, the last message may have been
		 * received and the loop freed. */
		if (first)
			wake(l);
	}
	pthread_mutex_unlock(&l->lock);
	return !ended;
}

static void run_posts(struct weir_loop *l)
{
	struct weir_post *p, *next;

	/* Most rounds have none; one that comes right now wakes the loop. */
	if (!__atomic_load_n(&l->posts, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&l->lock);
	p = l->posts;
	__atomic_store_n(&l->posts, NULL, __ATOMIC_RELAXED);
	l->posts_end = &l->posts;
	pthread_mutex_unlock(&l->lock);
	for (; p; p = next) {
		next = p->next; /* p is its receiver's from here on */
		p->fn(p);
	}
}

/* Nothing that was taken is lost: what came until now still runs, then no more is
 * taken. */
static void end_posts(struct weir_loop *l)
{
	bool empty;

	do {
		run_posts(l);
		pthread_mutex_lock(&l->lock);
		empty = !l->posts;
		l->ended = empty;
		pthread_mutex_unlock(&l->lock);
	} while (!empty);
}

/* ---- Running */

int weir_loop_run(struct weir_loop *l, struct weir_error *err)
{
	while (!atomic_load(&l->stopped)) {
		int n = epoll_wait(l->epoll_fd, l->event, EVENTS_MAX, timeout(l));

		if (n < 0 && errno != EINTR)
			return weir_fail(err, -errno, "epoll_wait: %s", strerror(errno));
		l->now = weir_clock_mono();
		deliver(l, n);
		run_posts(l);
		run_timers(l);
		if (l->idle)
			l->idle(l->idle_arg);
	}
	end_posts(l);
	return 0;
}
