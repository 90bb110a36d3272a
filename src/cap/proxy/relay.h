/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two connected sockets, and an engine that moves bytes between them, both ways, until
 * both have closed: every byte, in order, no byte twice, a FIN behind the last byte of
 * its direction only, a reset handed on as a reset.
 *
 * An engine is asked in this order: start; event for each event of either socket; stop
 * before the sockets are closed. One that cannot serve a pair of sockets says so in
 * start, having changed nothing, and the relay takes the next of its ladder
 * (sockmap -> splice -> copy). An engine may also hand a running relay down
 * (weir_relay_demote()), when no byte is in its own hands.
 *
 * A packet-level engine would do the same from `start` on; what it needs before the
 * connect (a source port of its own choice) belongs into an optional member here,
 * called by conn.c where the socket is made.
 *
 * Memory: a direction borrows a pipe only while bytes are in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "cap/proxy/proxy.h"
#include "net/loop.h"

enum weir_end_of { WEIR_CLIENT, WEIR_BACKEND };

enum weir_relay_how {
	WEIR_RELAY_DONE,  /* both directions ended with FIN, all delivered */
	WEIR_RELAY_RESET, /* by `who`; the other one is to be reset too */
	WEIR_RELAY_FAILED, /* no descriptors, no memory: `error` */
};

/* What both sockets are in the loop with. Urgent data is asked for because reading
 * stops at its mark: a short read is then no sign of an empty queue. */
#define WEIR_RELAY_EVENTS (EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct weir_relay_side {
	struct weir_io io; /* in the loop with WEIR_RELAY_EVENTS before start */
	bool readable, writable; /* as the last event or EAGAIN said */
	bool drain;		 /* read on to EAGAIN: no event follows a short read. Set by
				  * whoever made the socket where it is none of TCP */
	bool urgent;		 /* has sent urgent data, where splice(2) would stop */
	bool fin;		 /* has sent its FIN: behind a short read there is no more */
	bool ended;		 /* its FIN was read: no more bytes come */
	bool shut;		 /* our FIN was sent to it */
	bool bounded;		 /* its receive queue does not grow any more */
	int failed;		 /* errno: nothing can be written to it any more */
	uint64_t bytes;		 /* read from it and delivered to the other one's socket */
	/* Of the direction that begins here: what has been read and waits for the
	 * other socket. */
	int pipe[2];		 /* -1: none borrowed */
	uint32_t piped;
	uint8_t *held;		 /* bytes in memory, from held_at to held_len; owned */
	uint32_t held_at, held_len, held_size; /* ...of held_size bytes */
	uint32_t full_reads;	 /* in a row: bulk, for which splice pays */
	uint64_t bound_at;	 /* `bytes` when its queue was looked at last */
};

struct weir_engine;

/* What the relays of one worker share. */
struct weir_relay_pool;
struct weir_relay_pool *weir_relay_pool_new(struct weir_loop *l, struct weir_error *err);
void weir_relay_pool_free(struct weir_relay_pool *p);
/* Close idle pipes: there are no descriptors left. Returns how many it closed. */
unsigned int weir_relay_pool_trim(struct weir_relay_pool *p);
struct weir_relay_pool_stats {
	uint64_t pipes, relays; /* pipes: idle ones too */
};
/* Any thread. */
void weir_relay_pool_stats(const struct weir_relay_pool *p, struct weir_relay_pool_stats *ret);

struct weir_relay {
	struct weir_relay_side side[2]; /* by enum weir_end_of */
	const struct weir_engine *engine;
	struct weir_relay_pool *pool;
	void *state;	       /* the engine's own */
	struct weir_relay *next, **prev; /* among those that go on in the next round */
	uint32_t extra;	       /* bytes still held that are not the client's */
	uint64_t active;       /* weir_loop_now() when bytes last moved */
	uint64_t first_byte;   /* when the backend's first one did; 0: not yet */
	bool demoted;
	void (*ended)(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who,
		      int error); /* may free @r */
};

struct weir_engine {
	const char *name;
	enum weir_proxy_engine id;
	/* 0, or -errno: not for this pair. */
	int (*start)(struct weir_relay *r);
	void (*event)(struct weir_relay *r, enum weir_end_of who, uint32_t events);
	void (*stop)(struct weir_relay *r);
	/* Bring side[].bytes up to date, where the kernel counts; NULL: they are. Any
	 * thread may read side[].bytes with relaxed atomics. */
	void (*count)(struct weir_relay *r);
};

/* Take an event into the side's flags: also for its owner, before start. */
void weir_relay_saw(struct weir_relay_side *s, uint32_t events);

extern const struct weir_engine weir_engine_splice, weir_engine_copy, weir_engine_sockmap;

/*
 * Both sockets are connected and in the loop. side[WEIR_CLIENT].held (malloc()ed, may
 * be NULL) is what goes to the backend first: PROXY header and hello; the first
 * held_extra bytes of it are not the client's and are not counted. It is sent before an
 * engine is asked: one that cannot have it in its way looks whether any is left. @want:
 * AUTO is splice. May call ended() at once.
 */
void weir_relay_start(struct weir_relay *r, struct weir_relay_pool *pool,
		      enum weir_proxy_engine want, uint32_t held_extra);
/* What the owner's io.fn calls for either side. */
void weir_relay_event(struct weir_relay *r, enum weir_end_of who, uint32_t events);
/* Give up: pipes back, memory freed, engine left. Sockets stay the caller's. */
void weir_relay_stop(struct weir_relay *r);
/* Bring side[].bytes up to date; nothing happens behind weir_relay_stop(). */
void weir_relay_count(struct weir_relay *r);
/* For engines: go on in user space with @to, from the sockets as they are. */
void weir_relay_demote(struct weir_relay *r, const struct weir_engine *to);
/* For engines: it is over (calls weir_relay_stop(), then ended()). */
void weir_relay_end(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who, int error);
