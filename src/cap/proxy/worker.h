/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Workers: a thread, a loop and a set of listening sockets each (SO_REUSEPORT); what
 * they share is here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/proxy/account.h"
#include "cap/proxy/backend.h"
#include "cap/proxy/config.h"
#include "cap/proxy/conn.h"
#include "cap/proxy/limits.h"
#include "cap/proxy/log.h"
#include "cap/proxy/names.h"

#define WEIR_WORKERS_MAX 64

/* What every worker uses; made by service.c before the first one starts. */
struct weir_proxy_shared {
	struct weir_proxy_limiter *limiter;
	struct weir_names *names;
	struct weir_backends *backends;
	struct weir_access_log *log; /* never NULL; may have no file */
	int account_fd;		     /* the program `account` */
};

struct weir_worker;

/* Listening sockets of one worker, in the order of cfg->listens; -1: taken over from
 * before (a reload hands each worker its sockets anew, the same ones where an address
 * stays). Closed by the worker when no configuration wants them any more. */
struct weir_worker_listens {
	int *fd;
	size_t n;
};

/* Starts the thread. */
struct weir_worker *weir_worker_new(unsigned int number, struct weir_proxy_shared *s,
				    struct weir_proxy_config *cfg,
				    const struct weir_worker_listens *l, struct weir_error *err);
/* A new configuration: new connections go by it; takes its own reference. */
void weir_worker_reload(struct weir_worker *w, struct weir_proxy_config *cfg,
			const struct weir_worker_listens *l);
/* Accept no more; connections that are not relayed yet still get their backend. When
 * none is open, or at @deadline (what is still open then ends DRAINED), @done is
 * posted to @to. */
void weir_worker_drain(struct weir_worker *w, uint64_t deadline, struct weir_loop *to,
		       struct weir_post *done);
bool weir_worker_kill(struct weir_worker *w, uint64_t id); /* false: no such connection */
/* Ends the thread, with what is open. */
void weir_worker_free(struct weir_worker *w);

/* Every open connection, as of now; from any thread. Stops when @fn returns non-0. The
 * worker is held up for the time of it: @fn only copies. */
int weir_worker_each(struct weir_worker *w, int (*fn)(void *arg, const struct weir_conn_facts *f),
		     void *arg);
uint32_t weir_worker_open(const struct weir_worker *w);
/* What waits to be accounted is, before this returns: whoever looks then sees every connection
 * that has ended. A worker that is too busy is not waited for long. */
void weir_worker_flush_all(struct weir_worker *const *w, unsigned int n);
/* Descriptors, connections, pipes and buffers in its pools: for `status` and leak tests. */
struct weir_worker_stats {
	uint64_t connections, pipes, relays, account_lost;
};
void weir_worker_stats(const struct weir_worker *w, struct weir_worker_stats *ret);
