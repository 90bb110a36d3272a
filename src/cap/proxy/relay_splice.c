/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * splice(2) through a pipe, for a direction that carries much at a time; what comes in
 * small pieces is copied, which takes fewer system calls.
 *
 * The pipe is filled only when it is empty. So EAGAIN of the filling means that the
 * socket is empty, never that the pipe is full, and a direction has no more in its pipe
 * than one filling.
 */
#include <errno.h>
#include <fcntl.h>

#include "cap/proxy/relay_impl.h"

#define BULK_MOST 4 /* large reads in a row: so many small ones end the full flow */
#define FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK)

static bool empty_pipe(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from], *o = &r->side[!from];
	ssize_t n = splice(s->pipe[0], NULL, o->io.fd, NULL, s->piped, FLAGS);

	/* Nothing of a pipe that holds bytes cannot be; it would not be a success. */
	if (n == 0)
		errno = EAGAIN;
	if (n <= 0) {
		weir_relay_write_none(r, from);
		return true;
	}
	weir_relay_delivered(r, from, (uint32_t)n);
	s->piped -= (uint32_t)n;
	if (s->piped) {
		o->writable = false; /* the kernel went on until it could not */
		weir_relay_bound(r, from, false);
	}
	return true;
}

static bool fill_pipe(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from];
	ssize_t n = splice(s->io.fd, NULL, s->pipe[1], NULL, WEIR_RELAY_READ, FLAGS);

	/* Nothing is the end, or urgent data with the end queued behind it. */
	if (n == 0)
		return weir_relay_copy(r, from);
	if (n < 0)
		return weir_relay_read_none(r, from, n);
	s->piped = (uint32_t)n;
	if (n < WEIR_RELAY_BULK)
		s->full_reads--;
	else if (s->full_reads < BULK_MOST)
		s->full_reads++;
	return empty_pipe(r, from);
}

static bool step(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from];

	if (s->piped)
		return empty_pipe(r, from);
	if (s->held || s->urgent || s->full_reads < WEIR_RELAY_BULK_AFTER)
		return weir_relay_copy(r, from);
	if (s->pipe[0] < 0 && weir_relay_take_pipe(r->pool, s)) {
		s->full_reads = 0; /* no descriptors: copied, and tried again later */
		return weir_relay_copy(r, from);
	}
	return fill_pipe(r, from);
}

static void event(struct weir_relay *r, enum weir_end_of who, uint32_t events)
{
	weir_relay_serve(r, who, events, step);
}

static int start(struct weir_relay *r)
{
	if (r->pool->no_splice)
		return -ENOSYS;
	event(r, WEIR_CLIENT, 0);
	return 0;
}

static void stop(struct weir_relay *r)
{
	(void)r;
}

const struct weir_engine weir_engine_splice = {
	.name = "splice",
	.id = WEIR_ENGINE_SPLICE,
	.start = start,
	.event = event,
	.stop = stop,
};
