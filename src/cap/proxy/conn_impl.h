/* SPDX-License-Identifier: GPL-2.0-only */
/* A worker and its connections, as worker*.c and conn*.c share them. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cap/proxy/conn.h"
#include "cap/proxy/worker.h"

#define WEIR_CONN_FIRST_READ 65536     /* bytes of a hello that are read without a buffer kept */
#define WEIR_CONN_LATE_NS 100000000ULL /* accounts and log lines wait no longer */

/* What has come before the relay: the worker's own for the first read, as nearly every
 * hello is complete then; else the connection's, until the hello is understood. */
struct weir_early {
	struct weir_hello hello; /* of HTTP: state and name */
	uint8_t *data;
	uint32_t at; /* where the client's own bytes begin, behind a PROXY header */
	uint32_t len, size;
	uint32_t looked; /* at, of those behind @at */
};

struct weir_conn;

/* Attempts to reach one target that has several addresses (RFC 8305). The first free
 * of: the connection's own socket, these. */
struct weir_lane {
	struct weir_io io; /* fd -1: free */
	struct weir_conn *conn;
	uint8_t address; /* by position */
};
struct weir_race {
	struct weir_timer next_at; /* when the next one starts */
	struct weir_conn *conn;
	uint16_t port;
	uint8_t n, next;
	uint8_t first; /* the address that the connection's own socket tries */
	struct weir_addr addr[WEIR_PROXY_NAME_ADDRS];
	struct weir_lane lane[WEIR_PROXY_NAME_ADDRS];
};

/* A name that was asked for: its message comes in any case, also when the connection has
 * given it up (or has ended), and asks for the next one by then. */
struct weir_question {
	struct weir_post post;
	struct weir_conn *conn; /* NULL: given up */
	struct weir_question *next, **prev; /* of the worker */
};

struct weir_conn {
	struct weir_relay relay;
	struct weir_timer timer; /* of its state */
	struct weir_worker *worker;
	struct weir_proxy_config *cfg; /* with a reference */
	struct weir_proxy_route *route;
	struct weir_early *early;
	struct weir_race *race;
	struct weir_question *question;		  /* the name that it waits for, or NULL */
	struct weir_proxy_backend *backend_state; /* with which it counts as open */
	uint64_t tried;				  /* targets, as of weir_backend_choose() */
	uint32_t targets_tried;
	uint32_t extra; /* bytes of our PROXY header before the hello */
	uint32_t discarded;
	bool watched; /* the client is in the loop */
	bool holds;   /* a place in the limiter, before it is known whose */
	bool listed, limited, engine_told, demotion_told;
	bool asked;		     /* for the present target's name */
	int error;		     /* behind the verdict */
	enum weir_proxy_end verdict; /* of GOODBYE; why the last target failed */
	struct weir_addr source;     /* as it is limited and accounted */
	uint64_t told[2];	     /* bytes that the account knows of */

	/* What other threads see. Under the worker's lock: */
	struct weir_conn *next, **prev;
	const struct weir_proxy_target *target;
	const struct weir_proxy_listen *listen;
	struct weir_endpoint client, local, backend, backend_local;
	char name[WEIR_HELLO_NAME];
	char alpn[32];
	bool ech;
	/* Racy, by relaxed atomics: */
	enum weir_conn_state state;
	uint32_t attempts;
	uint64_t id, began, hello_at, connected_at;
};

#define WEIR_SLAB_CONNS 64
struct weir_slab {
	struct weir_slab *next;
	struct weir_conn conn[WEIR_SLAB_CONNS];
};

struct weir_listener {
	struct weir_io io;
	struct weir_worker *worker;
	const struct weir_proxy_listen *listen; /* of the worker's configuration */
	struct weir_endpoint address;
	unsigned int patience, skip; /* events in which one connection is accepted */
};

struct weir_worker {
	unsigned int number;
	pthread_t thread;
	struct weir_loop *loop;
	struct weir_relay_pool *pool;
	struct weir_proxy_shared *shared;
	struct weir_proxy_config *cfg;
	struct weir_listener **listener;
	size_t n_listeners;
	int most_fd;		 /* weir_sock_most() */
	int reserve;		 /* a descriptor to be given up when there are none left; -1 */
	struct weir_timer again; /* when accepting goes on after a pause */

	struct weir_early first;
	struct weir_slab *slabs;
	struct weir_conn *free; /* by `next` */
	struct weir_question *questions;

	struct weir_account account;
	struct weir_buf log;
	struct weir_timer flush; /* of both */
	struct weir_timer tally; /* of the live connections' bytes */

	struct weir_addr *own; /* addresses of this host */
	size_t n_own;
	uint64_t own_at;

	bool draining, drained;
	struct weir_timer drain_end;
	struct weir_post stop, drain;

	pthread_mutex_t lock; /* of what follows, and of what other threads see */
	struct weir_conn *conns;
	uint64_t drain_deadline;
	struct weir_loop *drain_to;
	struct weir_post *drain_done;
	bool drain_posted;
	/* Flushes that were asked for, by number, and the last one that is done. */
	uint64_t flush_asked, flush_done;
	pthread_cond_t flushed;
	struct weir_post flush_now;
	_Atomic uint32_t open;
	uint64_t account_lost; /* racy */
};

#define weir_conn_see(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define weir_conn_show(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

/* ---- conn.c */

/* A socket that was accepted; its connection ends by itself. */
void weir_conn_begin(struct weir_worker *w, const struct weir_proxy_listen *listen, int fd,
		     const struct weir_endpoint *peer);
/* The same, and it is over already, for what the worker lacks. */
void weir_conn_refuse(struct weir_worker *w, const struct weir_proxy_listen *listen, int fd,
		      const struct weir_endpoint *peer, enum weir_proxy_end end, int error);
/* It is over: closed, accounted, logged, freed. @reset: a mask of 1 << enum weir_end_of,
 * which get RST instead of FIN. */
void weir_conn_end(struct weir_conn *c, enum weir_proxy_end end, int error, unsigned int reset);
void weir_conn_event(struct weir_conn *c, enum weir_end_of who, uint32_t events);
/* As of now, under the worker's lock or in its thread. */
void weir_conn_facts_of(const struct weir_conn *c, struct weir_conn_facts *ret);

/* ---- conn_hello.c: up to the route */

/* There are bytes, or an end, to be read from a client in HEADER or HELLO. */
void weir_conn_read_hello(struct weir_conn *c);
void weir_conn_free_early(struct weir_conn *c);
/* A client in GOODBYE: what it sends is read and thrown away until its FIN. */
void weir_conn_discard(struct weir_conn *c);
/* A source that was not asked yet whether it may connect. WEIR_ENDS: it may. */
enum weir_proxy_end weir_conn_enter(struct weir_conn *c);

/* ---- conn_connect.c: from the route to the relay */

/* Begin with the next target of the route. */
void weir_conn_connect(struct weir_conn *c);
void weir_conn_connect_event(struct weir_conn *c, uint32_t events);
void weir_conn_connect_timeout(struct weir_conn *c);
void weir_conn_free_race(struct weir_conn *c);
void weir_conn_give_up_name(struct weir_conn *c);

/* ---- conn_guard.c */

/* Would a connection to @to come back to this proxy? */
bool weir_conn_is_loop(struct weir_conn *c, const struct weir_endpoint *to);
/* Only this host, or its link, has it: the owner of a name must not lead clients there. */
bool weir_conn_is_local(struct weir_conn *c, const struct weir_addr *a);
bool weir_conn_came_back(const struct weir_conn *c, const struct weir_endpoint *local);

/* ---- worker_account.c */

/* There is a connection whose bytes are to be told of while it lasts. */
void weir_worker_tally(struct weir_worker *w);
/* Something waits to be flushed. */
void weir_worker_touch(struct weir_worker *w);
void weir_worker_flush(struct weir_worker *w);
void weir_worker_log(struct weir_worker *w, const struct weir_conn_facts *f);
/* The account gets to know of what @c has moved since it was last told. */
void weir_conn_tell(struct weir_conn *c);
void weir_worker_account_init(struct weir_worker *w);

/* ---- worker.c */

struct weir_conn *weir_worker_get_conn(struct weir_worker *w);
void weir_worker_put_conn(struct weir_worker *w, struct weir_conn *c);
void weir_worker_left(struct weir_worker *w); /* one connection less is open */

/* ---- worker_listen.c */

/* Watch @fd; to be tuned before the loop runs on. */
struct weir_listener *weir_listener_new(struct weir_worker *w, int fd, struct weir_error *err);
/* Serve @listen of the worker's configuration from now on. */
void weir_listener_tune(struct weir_listener *l, const struct weir_proxy_listen *listen);
/* What waits in its queue is still accepted. */
void weir_listener_free(struct weir_listener *l);
void weir_worker_resume(struct weir_timer *t); /* accepting, after a pause */
