/* SPDX-License-Identifier: GPL-2.0-only */
/* What a worker tells of its connections: sums and log lines, many in one system call. */
#include "cap/proxy/conn_impl.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"

#define LOG_MOST (64u * 1024)	 /* bytes of lines that wait */
#define PATIENCE_NS 200000000ULL /* of who looks, with a worker that is busy */
#define TALLY_NS (5 * WEIR_NSEC_PER_SEC)

void weir_worker_flush(struct weir_worker *w)
{
	uint64_t lost = weir_access_log_flush(w->shared->log, &w->log);

	if (lost)
		weir_account_add(&w->account, WEIR_TOTAL_LOG_LOST, lost);
	weir_account_flush(&w->account, weir_loop_now(w->loop));
	weir_conn_show(w->account_lost, w->account.lost);
	/* Where no connection ends any more, nobody else would come back to them. */
	if (weir_access_log_waits(w->shared->log))
		weir_worker_touch(w);
}

/* ---- When somebody looks */

static void flush_now(struct weir_post *p)
{
	struct weir_worker *w =
		(struct weir_worker *)((char *)p - offsetof(struct weir_worker, flush_now));
	uint64_t asked;

	pthread_mutex_lock(&w->lock);
	asked = w->flush_asked;
	pthread_mutex_unlock(&w->lock);
	weir_worker_flush(w);
	pthread_mutex_lock(&w->lock);
	w->flush_done = asked;
	pthread_cond_signal(&w->flushed);
	/* Asked for again meanwhile, by one who gave up waiting for this one. */
	asked = w->flush_asked - asked;
	pthread_mutex_unlock(&w->lock);
	if (asked)
		(void)weir_loop_post(w->loop, p);
}

static void ask_to_flush(struct weir_worker *w)
{
	bool posted;

	pthread_mutex_lock(&w->lock);
	posted = w->flush_asked != w->flush_done;
	w->flush_asked++;
	pthread_mutex_unlock(&w->lock);
	if (posted || weir_loop_post(w->loop, &w->flush_now))
		return;
	/* It has ended, and nothing waits any more. */
	pthread_mutex_lock(&w->lock);
	w->flush_done = w->flush_asked;
	pthread_mutex_unlock(&w->lock);
}

void weir_worker_flush_all(struct weir_worker *const *w, unsigned int n)
{
	const uint64_t until = weir_clock_mono() + PATIENCE_NS;
	const struct timespec at = { .tv_sec = (time_t)(until / WEIR_NSEC_PER_SEC),
				     .tv_nsec = (long)(until % WEIR_NSEC_PER_SEC) };

	for (unsigned int i = 0; i < n; i++)
		ask_to_flush(w[i]);
	for (unsigned int i = 0; i < n; i++) {
		int ret = 0;

		pthread_mutex_lock(&w[i]->lock);
		while (!ret && w[i]->flush_done != w[i]->flush_asked)
			ret = pthread_cond_clockwait(&w[i]->flushed, &w[i]->lock, CLOCK_MONOTONIC,
						     &at);
		pthread_mutex_unlock(&w[i]->lock);
	}
}

/* ---- By itself */

static void flush_late(struct weir_timer *t)
{
	weir_worker_flush((struct weir_worker *)((char *)t - offsetof(struct weir_worker, flush)));
}

void weir_worker_touch(struct weir_worker *w)
{
	if (!w->flush.prev)
		weir_timer_set(w->loop, &w->flush, weir_loop_now(w->loop) + WEIR_CONN_LATE_NS);
}

void weir_worker_log(struct weir_worker *w, const struct weir_conn_facts *f)
{
	weir_access_log_add(w->shared->log, f, &w->log);
	if (w->log.len > LOG_MOST)
		weir_worker_flush(w);
}

static void tell_engine(struct weir_conn *c)
{
	struct weir_account *a = &c->worker->account;

	if (!c->engine_told) {
		weir_account_add(a, WEIR_TOTAL_ENGINE + c->relay.engine->id, 1);
		c->engine_told = true;
	}
	if (c->relay.demoted && !c->demotion_told) {
		weir_account_add(a, WEIR_TOTAL_DEMOTIONS, 1);
		c->demotion_told = true;
	}
}

void weir_conn_tell(struct weir_conn *c)
{
	struct weir_account *a = &c->worker->account;
	uint64_t in = c->relay.side[WEIR_CLIENT].bytes - c->told[WEIR_CLIENT];
	uint64_t out = c->relay.side[WEIR_BACKEND].bytes - c->told[WEIR_BACKEND];

	if (!c->relay.engine)
		return;
	tell_engine(c);
	if (!in && !out)
		return;
	c->told[WEIR_CLIENT] += in;
	c->told[WEIR_BACKEND] += out;
	weir_account_add(a, WEIR_TOTAL_BYTES_IN, in);
	weir_account_add(a, WEIR_TOTAL_BYTES_OUT, out);
	weir_account_add(a, WEIR_TOTAL_ENGINE_IN + c->relay.engine->id, in);
	weir_account_add(a, WEIR_TOTAL_ENGINE_OUT + c->relay.engine->id, out);
	weir_account_source(a, &c->source, 0, 0, in, out);
	if (c->backend_state) {
		atomic_fetch_add_explicit(&c->backend_state->bytes_in, in, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->backend_state->bytes_out, out, memory_order_relaxed);
	}
}

/* Connections that last are accounted while they do. */
static void tally(struct weir_timer *t)
{
	struct weir_worker *w =
		(struct weir_worker *)((char *)t - offsetof(struct weir_worker, tally));

	for (struct weir_conn *c = w->conns; c; c = c->next) {
		if (c->state != WEIR_CONN_RELAY)
			continue;
		weir_relay_count(&c->relay);
		weir_conn_tell(c);
	}
	weir_worker_touch(w);
	if (w->conns)
		weir_timer_set(w->loop, t, weir_loop_now(w->loop) + TALLY_NS);
}

void weir_worker_tally(struct weir_worker *w)
{
	if (!w->tally.prev)
		weir_timer_set(w->loop, &w->tally, weir_loop_now(w->loop) + TALLY_NS);
}

void weir_worker_account_init(struct weir_worker *w)
{
	w->account.prog_fd = w->shared->account_fd;
	w->flush.fn = flush_late;
	w->tally.fn = tally;
	w->flush_now.fn = flush_now;
}
