/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cap/proxy/conn_impl.h"
#include "net/sock.h"

static struct weir_worker *of_post(struct weir_post *p, size_t offset)
{
	return (struct weir_worker *)((char *)p - offset);
}

/* ---- Connections' memory */

static bool add_slab(struct weir_worker *w)
{
	struct weir_slab *s = malloc(sizeof(*s));

	if (!s)
		return false;
	s->next = w->slabs;
	w->slabs = s;
	for (size_t i = 0; i < WEIR_SLAB_CONNS; i++) {
		s->conn[i].next = w->free;
		w->free = &s->conn[i];
	}
	return true;
}

struct weir_conn *weir_worker_get_conn(struct weir_worker *w)
{
	struct weir_conn *c;

	if (!w->free && !add_slab(w))
		return NULL;
	c = w->free;
	w->free = c->next;
	memset(c, 0, sizeof(*c));
	c->worker = w;
	atomic_fetch_add_explicit(&w->open, 1, memory_order_relaxed);
	return c;
}

void weir_worker_put_conn(struct weir_worker *w, struct weir_conn *c)
{
	c->next = w->free;
	w->free = c;
}

/* ---- Draining */

static void post_drained(struct weir_worker *w)
{
	struct weir_loop *to;
	struct weir_post *done;

	pthread_mutex_lock(&w->lock);
	to = w->drain_to;
	done = w->drain_done;
	w->drain_done = NULL;
	pthread_mutex_unlock(&w->lock);
	if (!done)
		return;
	/* What is told of the connections comes before the news that there are none. */
	weir_worker_flush(w);
	(void)weir_loop_post(to, done); /* a loop that has ended waits for nothing */
}

void weir_worker_left(struct weir_worker *w)
{
	atomic_fetch_sub_explicit(&w->open, 1, memory_order_relaxed);
	if (w->draining && !weir_worker_open(w))
		post_drained(w);
}

static void end_all(struct weir_worker *w)
{
	while (w->conns)
		weir_conn_end(w->conns, WEIR_END_DRAINED, 0, 0);
}

static void drain_is_over(struct weir_timer *t)
{
	end_all((struct weir_worker *)((char *)t - offsetof(struct weir_worker, drain_end)));
}

static void free_listeners(struct weir_listener **l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (l[i])
			weir_listener_free(l[i]);
	free(l);
}

static void stop_listening(struct weir_worker *w)
{
	struct weir_listener **l = w->listener;
	size_t n = w->n_listeners;

	/* Accepting what is left must not pause or resume the others. */
	w->listener = NULL;
	w->n_listeners = 0;
	weir_timer_del(&w->again);
	free_listeners(l, n);
}

static void drain(struct weir_post *p)
{
	struct weir_worker *w = of_post(p, offsetof(struct weir_worker, drain));
	uint64_t deadline;

	pthread_mutex_lock(&w->lock);
	deadline = w->drain_deadline;
	w->drain_posted = false;
	pthread_mutex_unlock(&w->lock);
	stop_listening(w);
	w->draining = true;
	weir_timer_set(w->loop, &w->drain_end, deadline);
	if (!weir_worker_open(w))
		post_drained(w);
}

void weir_worker_drain(struct weir_worker *w, uint64_t deadline, struct weir_loop *to,
		       struct weir_post *done)
{
	bool posted;

	pthread_mutex_lock(&w->lock);
	posted = w->drain_posted;
	w->drain_posted = true;
	w->drain_deadline = deadline;
	w->drain_to = to;
	w->drain_done = done;
	pthread_mutex_unlock(&w->lock);
	if (!posted)
		weir_loop_post(w->loop, &w->drain);
}

/* ---- Reload */

struct new_config {
	struct weir_post post;
	struct weir_worker *worker;
	struct weir_proxy_config *cfg;
	size_t n;
	int fd[];
};

/* The listener that has served @address so far. */
static struct weir_listener *take_old(struct weir_listener **old, size_t n,
				      const struct weir_endpoint *address)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_listener *l = old[i];

		if (l && weir_endpoint_equal(&l->address, address)) {
			old[i] = NULL;
			return l;
		}
	}
	return NULL;
}

/* Make the sockets @fd (-1: as before) and the configuration the worker's own. What was
 * not taken is NULL among the listeners, and its socket is the caller's: -errno. */
static int take_config(struct weir_worker *w, struct weir_proxy_config *cfg, const int *fd,
		       size_t n, struct weir_error *err)
{
	struct weir_listener **old = w->listener, **l;
	struct weir_proxy_config *before = w->cfg;
	size_t n_old = w->n_listeners;
	int code = 0;

	l = calloc(n + 1, sizeof(struct weir_listener *));
	if (!l)
		return weir_fail(err, -ENOMEM, "no memory for %zu listeners", n);
	for (size_t i = 0; i < n; i++) {
		if (fd[i] < 0)
			l[i] = take_old(old, n_old, &cfg->listens[i].address);
		else
			l[i] = weir_listener_new(w, fd[i], err);
		if (!l[i])
			code = -ENOMEM;
	}
	/* Clients in the queues of those that go came when the configuration before, of
	 * which they are a part, was in force. */
	w->listener = l;
	w->n_listeners = n;
	free_listeners(old, n_old);
	w->cfg = weir_proxy_config_ref(cfg);
	if (before)
		weir_proxy_config_unref(before);
	for (size_t i = 0; i < n; i++)
		if (l[i])
			weir_listener_tune(l[i], &cfg->listens[i]);
	return code;
}

static void reload(struct weir_post *p)
{
	struct new_config *m = (struct new_config *)p;
	struct weir_worker *w = m->worker;
	bool none = w->draining || take_config(w, m->cfg, m->fd, m->n, NULL) != 0;

	/* A proxy that ends listens no more; without memory it does what it can. */
	for (size_t i = 0; none && i < m->n; i++)
		if (m->fd[i] >= 0 && (w->cfg != m->cfg || !w->listener || !w->listener[i]))
			close(m->fd[i]);
	weir_proxy_config_unref(m->cfg);
	free(m);
}

void weir_worker_reload(struct weir_worker *w, struct weir_proxy_config *cfg,
			const struct weir_worker_listens *l)
{
	struct new_config *m = malloc(sizeof(*m) + l->n * sizeof(m->fd[0]));

	if (m) {
		m->post.fn = reload;
		m->worker = w;
		m->cfg = weir_proxy_config_ref(cfg);
		m->n = l->n;
		memcpy(m->fd, l->fd, l->n * sizeof(m->fd[0]));
		if (weir_loop_post(w->loop, &m->post))
			return;
		weir_proxy_config_unref(cfg);
		free(m);
	}
	for (size_t i = 0; i < l->n; i++)
		if (l->fd[i] >= 0)
			close(l->fd[i]);
}

/* ---- Single connections */

struct kill {
	struct weir_post post;
	struct weir_worker *worker;
	uint64_t id;
};

static void kill_one(struct weir_post *p)
{
	struct kill *k = (struct kill *)p;
	struct weir_conn *c = k->worker->conns;

	while (c && c->id != k->id)
		c = c->next;
	if (c)
		weir_conn_end(c, WEIR_END_KILLED, 0, 1U << WEIR_CLIENT | 1U << WEIR_BACKEND);
	free(k);
}

static int is_it(void *arg, const struct weir_conn_facts *f)
{
	return f->id == *(uint64_t *)arg;
}

bool weir_worker_kill(struct weir_worker *w, uint64_t id)
{
	struct kill *k;

	if (!weir_worker_each(w, is_it, &id))
		return false;
	k = malloc(sizeof(*k));
	if (!k)
		return false;
	*k = (struct kill){ .post.fn = kill_one, .worker = w, .id = id };
	if (weir_loop_post(w->loop, &k->post))
		return true;
	free(k);
	return false;
}

int weir_worker_each(struct weir_worker *w, int (*fn)(void *arg, const struct weir_conn_facts *f),
		     void *arg)
{
	int ret = 0;

	pthread_mutex_lock(&w->lock);
	for (struct weir_conn *c = w->conns; c && !ret; c = c->next) {
		struct weir_conn_facts f;

		weir_conn_facts_of(c, &f);
		ret = fn(arg, &f);
	}
	pthread_mutex_unlock(&w->lock);
	return ret;
}

uint32_t weir_worker_open(const struct weir_worker *w)
{
	return atomic_load_explicit(&w->open, memory_order_relaxed);
}

void weir_worker_stats(const struct weir_worker *w, struct weir_worker_stats *ret)
{
	struct weir_relay_pool_stats pool;

	weir_relay_pool_stats(w->pool, &pool);
	*ret = (struct weir_worker_stats){
		.connections = weir_worker_open(w),
		.pipes = pool.pipes,
		.relays = pool.relays,
		.account_lost = weir_conn_see(w->account_lost),
	};
}

/* ---- Beginning and end */

static void stop(struct weir_post *p)
{
	struct weir_worker *w = of_post(p, offsetof(struct weir_worker, stop));

	stop_listening(w);
	end_all(w);
	weir_worker_flush(w);
	weir_loop_stop(w->loop);
}

static void *serve(void *arg)
{
	struct weir_worker *w = arg;
	struct weir_error err;

	/* It only fails for reasons that no worker survives. */
	if (weir_loop_run(w->loop, &err)) {
		fprintf(stderr, "weir proxy: worker %u: %s\n", w->number, err.msg);
		abort();
	}
	return NULL;
}

/* Without any signal: they are the main thread's. splice(2) to a socket that is gone
 * raises SIGPIPE, which then does nothing. */
static int start_thread(struct weir_worker *w)
{
	char name[16]; /* all that the kernel keeps */
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&w->thread, NULL, serve, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code)
		return -code;
	snprintf(name, sizeof(name), "weir-proxy/%u", w->number);
	pthread_setname_np(w->thread, name);
	return 0;
}

/* Of whatever there is. Sockets of listeners that are still there stay open. */
static void free_worker(struct weir_worker *w)
{
	for (size_t i = 0; i < w->n_listeners; i++)
		free(w->listener[i]);
	free(w->listener);
	weir_relay_pool_free(w->pool);
	weir_loop_free(w->loop);
	while (w->questions) { /* no message comes any more */
		struct weir_question *q = w->questions;

		w->questions = q->next;
		free(q);
	}
	while (w->slabs) {
		struct weir_slab *s = w->slabs;

		w->slabs = s->next;
		free(s);
	}
	if (w->reserve >= 0)
		close(w->reserve);
	if (w->cfg)
		weir_proxy_config_unref(w->cfg);
	free(w->first.data);
	free(w->own);
	weir_buf_free(&w->log);
	pthread_cond_destroy(&w->flushed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static int set_up(struct weir_worker *w, struct weir_error *err)
{
	w->loop = weir_loop_new(err);
	w->pool = w->loop ? weir_relay_pool_new(w->loop, err) : NULL;
	if (!w->pool)
		return -ENOMEM;
	w->first.size = WEIR_CONN_FIRST_READ;
	w->first.data = malloc(w->first.size);
	w->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (!w->first.data)
		return weir_fail(err, -ENOMEM, "no memory for a worker");
	w->again.fn = weir_worker_resume;
	w->drain_end.fn = drain_is_over;
	w->stop.fn = stop;
	w->drain.fn = drain;
	weir_worker_account_init(w);
	return 0;
}

struct weir_worker *weir_worker_new(unsigned int number, struct weir_proxy_shared *s,
				    struct weir_proxy_config *cfg,
				    const struct weir_worker_listens *l, struct weir_error *err)
{
	struct weir_worker *w = calloc(1, sizeof(*w));
	int code;

	if (!w) {
		weir_fail(err, -ENOMEM, "no memory for a worker");
		return NULL;
	}
	w->number = number;
	w->shared = s;
	w->reserve = -1;
	w->most_fd = weir_sock_most();
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->flushed, NULL);
	code = set_up(w, err);
	if (!code)
		code = take_config(w, cfg, l->fd, l->n, err);
	if (!code) {
		code = start_thread(w);
		if (code)
			weir_fail(err, code, "cannot start a thread: %s", strerror(-code));
	}
	if (code) {
		free_worker(w);
		return NULL;
	}
	return w;
}

void weir_worker_free(struct weir_worker *w)
{
	if (!w)
		return;
	weir_loop_post(w->loop, &w->stop);
	pthread_join(w->thread, NULL);
	free_worker(w);
}
