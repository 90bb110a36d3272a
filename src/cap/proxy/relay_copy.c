/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * recv(2) into the pool's buffer, send(2) out of it. What the other end does not take
 * is kept, at most one read of it, and nothing is read until it has gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cap/proxy/relay_impl.h"

#define COPY_MAX 16384 /* a remainder up to this is copied; of a longer one the buffer is kept */

static uint8_t *new_buffer(struct weir_relay_pool *p)
{
	return p->n_spares ? p->spare[--p->n_spares] : malloc(WEIR_RELAY_READ);
}

static void drop_held(struct weir_relay_pool *p, struct weir_relay_side *s)
{
	if (s->held_size == WEIR_RELAY_READ && p->n_spares < WEIR_RELAY_SPARES)
		p->spare[p->n_spares++] = s->held;
	else
		free(s->held);
	s->held = NULL;
	s->held_size = 0;
}

bool weir_relay_send_held(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from], *o = &r->side[!from];
	uint32_t left = s->held_len - s->held_at;
	ssize_t n = send(o->io.fd, s->held + s->held_at, left, MSG_NOSIGNAL);

	if (n < 0) {
		weir_relay_write_none(r, from);
		return true;
	}
	weir_relay_delivered(r, from, (uint32_t)n);
	s->held_at += (uint32_t)n;
	if ((uint32_t)n < left)
		o->writable = false;
	else
		drop_held(r->pool, s);
	return true;
}

/* Keep bytes @at to @len of the pool's buffer. */
static bool hold(struct weir_relay *r, enum weir_end_of from, uint32_t at, uint32_t len)
{
	struct weir_relay_side *s = &r->side[from];
	struct weir_relay_pool *p = r->pool;
	bool copies = len - at <= COPY_MAX;
	uint8_t *more = copies ? malloc(len - at) : new_buffer(p);

	if (!more) {
		weir_relay_end(r, WEIR_RELAY_FAILED, from, ENOMEM);
		return false;
	}
	if (copies) {
		memcpy(more, p->buffer + at, len - at);
		s->held = more;
		s->held_at = 0;
		s->held_len = s->held_size = len - at;
	} else {
		s->held = p->buffer;
		s->held_at = at;
		s->held_len = len;
		s->held_size = WEIR_RELAY_READ;
		p->buffer = more;
	}
	return true;
}

/* What a read of @n bytes says of the socket. TCP gives less than was asked for only when
 * its queue is empty: what comes later comes with an event, and where its FIN had
 * come before, nothing does. */
static void note_read(struct weir_relay_side *s, ssize_t n)
{
	bool empty = n < WEIR_RELAY_READ && !s->drain;

	s->readable = !empty;
	s->ended = empty && s->fin;
	s->full_reads = n >= WEIR_RELAY_BULK ? s->full_reads + 1 : 0;
}

bool weir_relay_copy(struct weir_relay *r, enum weir_end_of from)
{
	struct weir_relay_side *s = &r->side[from], *o = &r->side[!from];
	ssize_t n, sent;

	if (s->held)
		return weir_relay_send_held(r, from);
	n = recv(s->io.fd, r->pool->buffer, WEIR_RELAY_READ, 0);
	if (n <= 0)
		return weir_relay_read_none(r, from, n);
	note_read(s, n);
	/* The last bytes leave with the FIN, in one segment. */
	sent = send(o->io.fd, r->pool->buffer, (size_t)n, MSG_NOSIGNAL | (s->ended ? MSG_MORE : 0));
	if (sent < 0) {
		weir_relay_write_none(r, from);
		sent = 0;
	} else {
		weir_relay_delivered(r, from, (uint32_t)sent);
	}
	if (sent == n || o->failed)
		return true;
	o->writable = false;
	weir_relay_bound(r, from, false);
	return hold(r, from, (uint32_t)sent, (uint32_t)n);
}

static void event(struct weir_relay *r, enum weir_end_of who, uint32_t events)
{
	weir_relay_serve(r, who, events, weir_relay_copy);
}

static int start(struct weir_relay *r)
{
	event(r, WEIR_CLIENT, 0);
	return 0;
}

static void stop(struct weir_relay *r)
{
	(void)r;
}

const struct weir_engine weir_engine_copy = {
	.name = "copy",
	.id = WEIR_ENGINE_COPY,
	.start = start,
	.event = event,
	.stop = stop,
};
