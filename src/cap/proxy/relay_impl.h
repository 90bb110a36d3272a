/* SPDX-License-Identifier: GPL-2.0-only */
/* What the relay and its engines in user space share. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cap/proxy/relay.h"

#define WEIR_RELAY_READ 65536 /* bytes read at once, and what a pipe takes */
#define WEIR_RELAY_BULK 16384 /* a read from here on is a large one */
#define WEIR_RELAY_BULK_AFTER 2 /* large reads in a row: a direction in full flow */
/* A direction in full flow is kept on, for what has just come is in the cache: up to so
 * many bytes in a round of the loop, of all relays together. When that much has been
 * moved, others in full flow wait for the next round, in the order in which they came;
 * whoever is not in full flow gets its share at once. So a small message waits for one
 * round's bytes (some ms), however many connections are in full flow. */
#define WEIR_RELAY_ROUND (4u << 20)
#define WEIR_RELAY_SHARE (256u << 10)
#define WEIR_RELAY_QUEUE (6U << 20) /* memory of what was received and is not read */
#define WEIR_RELAY_LAST (2 * WEIR_RELAY_QUEUE) /* bytes of last words: all that a queue has */
#define WEIR_RELAY_PIPES 64  /* idle ones that are kept */
#define WEIR_RELAY_SPARES 16 /* idle buffers that are kept */

struct weir_relay_pool {
	struct weir_loop *loop;
	uint8_t *buffer; /* WEIR_RELAY_READ bytes that every read goes to first */
	uint8_t *spare[WEIR_RELAY_SPARES];
	unsigned int n_spares;
	int pipe[WEIR_RELAY_PIPES][2];
	unsigned int n_pipes;
	int most_fd;	/* weir_sock_most() */
	bool no_splice; /* not to be had here */
	bool bounds;	/* may bound a receive queue to WEIR_RELAY_QUEUE */
	_Atomic uint64_t pipes, relays;
	uint64_t round;			/* weir_loop_now() of it */
	uint64_t left;			/* of WEIR_RELAY_ROUND in it */
	struct weir_timer turn;		/* of those below */
	struct weir_relay *waiting;	/* had their share of the round; first come, first served */
	struct weir_relay **last;	/* the end of that list */
	bool turning;			/* it is the turn of one of them */
	struct weir_sockmap_bell *bell; /* the engine sockmap's; NULL: not needed yet */
};

/* Move some bytes of the direction that begins at @from, or find out that none can be
 * moved now (then a flag of a side is cleared). False: the relay is over, and may be
 * gone. */
typedef bool weir_relay_step(struct weir_relay *r, enum weir_end_of from);

/* An event of @who, then both directions by @step as far as they go. For engines. */
void weir_relay_serve(struct weir_relay *r, enum weir_end_of who, uint32_t events,
		      weir_relay_step *step);
/* Steps, and what they are made of. */
bool weir_relay_send_held(struct weir_relay *r, enum weir_end_of from);
bool weir_relay_copy(struct weir_relay *r, enum weir_end_of from);
/* A read gave no bytes: @n is 0 or -1 with errno. As a step. */
bool weir_relay_read_none(struct weir_relay *r, enum weir_end_of from, long n);
/* A write failed with errno: no room now, or (then side[!from].failed is set, and whoever
 * called the step sees to weir_relay_last_words()) never again. */
void weir_relay_write_none(struct weir_relay *r, enum weir_end_of from);
/* @who has failed: what it had still received is given on by @step, as far as the other
 * end has room for it; then the relay is over. */
void weir_relay_last_words(struct weir_relay *r, enum weir_end_of who, weir_relay_step *step);
void weir_relay_delivered(struct weir_relay *r, enum weir_end_of from, uint32_t n);

/* The system may let a receive queue grow far beyond WEIR_RELAY_QUEUE (from Linux 6.16 on
 * to 32 MiB). Where it has, not any more; @ahead: where it has not yet, too. */
void weir_relay_bound(struct weir_relay *r, enum weir_end_of from, bool ahead);

int weir_relay_take_pipe(struct weir_relay_pool *p, struct weir_relay_side *s);
/* One that holds bytes is closed. */
void weir_relay_give_pipe(struct weir_relay_pool *p, struct weir_relay_side *s);
