/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An event loop on epoll: descriptors, timers, and messages from other threads.
 * A loop belongs to one thread; only weir_loop_post() and weir_loop_stop() may be
 * called from others.
 *
 * Timers are a wheel of WEIR_LOOP_TICK_NS: setting one costs a list insertion, and a
 * timer that is pushed further away (idle connections) costs nothing: set
 * `expires` and let the wheel look again. They fire late by up to one tick, never
 * early.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/error.h"

#define WEIR_LOOP_TICK_NS (16 * 1000000ULL)

/* Lies in its owner's struct; the owner outlives its being registered. */
struct weir_io {
	void (*fn)(struct weir_io *io, uint32_t events); /* EPOLL* */
	int fd;
};

struct weir_timer {
	struct weir_timer *next, **prev; /* prev NULL: not set */
	uint64_t expires;		 /* weir_clock_mono() */
	void (*fn)(struct weir_timer *t);
};

/* A message from another thread. Its receiver frees it. */
struct weir_post {
	struct weir_post *next;
	void (*fn)(struct weir_post *p);
};

struct weir_loop;

struct weir_loop *weir_loop_new(struct weir_error *err);
void weir_loop_free(struct weir_loop *l);
/* Serves until weir_loop_stop(). */
int weir_loop_run(struct weir_loop *l, struct weir_error *err);
void weir_loop_stop(struct weir_loop *l); /* from any thread, or a signal handler */
/* CLOCK_MONOTONIC of the present round, ns: what everything in it shares. */
uint64_t weir_loop_now(const struct weir_loop *l);

/* @events as of epoll_ctl(2), EPOLLET included where wanted. 0 or -errno. */
int weir_loop_add(struct weir_loop *l, struct weir_io *io, uint32_t events);
int weir_loop_mod(struct weir_loop *l, struct weir_io *io, uint32_t events);
/* Before its owner is freed, also where its events lie ahead in the present round:
 * they are not delivered any more. Does not close. */
void weir_loop_del(struct weir_loop *l, struct weir_io *io);
/* As weir_loop_del() where the descriptor is closed next, which takes it out of
 * epoll by itself (one system call less): only for descriptors that were never
 * dup()ed or sent away. */
void weir_loop_forget(struct weir_loop *l, struct weir_io *io);

/* (Re)set; @expires as weir_clock_mono(). A timer further away than it stands in the
 * wheel stays where it is, and is looked at again. */
void weir_timer_set(struct weir_loop *l, struct weir_timer *t, uint64_t expires);
void weir_timer_del(struct weir_timer *t); /* not set: nothing happens */

/* Called at the end of every round that had events, before waiting: for work that is
 * better done once for many (a log's write, a batch of accounts). One per loop. */
void weir_loop_set_idle(struct weir_loop *l, void (*fn)(void *arg), void *arg);

/* From any thread: @p->fn(p) runs in the loop's. False when the loop has ended for
 * good: the caller keeps @p. */
bool weir_loop_post(struct weir_loop *l, struct weir_post *p);
