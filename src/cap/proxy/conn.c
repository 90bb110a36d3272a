/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cap/proxy/conn_impl.h"
#include "net/sock.h"

static struct weir_conn *of_client(struct weir_io *io)
{
	return (struct weir_conn *)((char *)io -
				    offsetof(struct weir_conn, relay.side[WEIR_CLIENT].io));
}

static struct weir_conn *of_backend(struct weir_io *io)
{
	return (struct weir_conn *)((char *)io -
				    offsetof(struct weir_conn, relay.side[WEIR_BACKEND].io));
}

static struct weir_conn *of_timer(struct weir_timer *t)
{
	return (struct weir_conn *)((char *)t - offsetof(struct weir_conn, timer));
}

/* ---- End */

static void close_side(struct weir_conn *c, enum weir_end_of who, unsigned int reset)
{
	struct weir_io *io = &c->relay.side[who].io;

	if (io->fd < 0)
		return;
	weir_loop_forget(c->worker->loop, io);
	if (reset & 1U << who)
		weir_sock_reset(io->fd);
	else
		close(io->fd);
	io->fd = -1;
}

static void leave_list(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;

	if (!c->listed)
		return;
	pthread_mutex_lock(&w->lock);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	pthread_mutex_unlock(&w->lock);
	c->listed = false;
}

static void account_end(struct weir_conn *c, enum weir_proxy_end end, int error)
{
	struct weir_worker *w = c->worker;
	struct weir_conn_facts f;

	weir_conn_tell(c);
	weir_account_add(&w->account, WEIR_TOTAL_ENDED + end, 1);
	/* Clients that go by themselves were not refused. */
	if (end > WEIR_END_CLIENT_GONE)
		weir_account_source(&w->account, &c->source, c->limited ? 0 : 1, 1, 0, 0);
	weir_conn_facts_of(c, &f);
	f.end = end;
	f.error = error;
	f.ended_at = weir_loop_now(w->loop);
	weir_worker_log(w, &f);
	weir_worker_touch(w);
}

void weir_conn_end(struct weir_conn *c, enum weir_proxy_end end, int error, unsigned int reset)
{
	struct weir_worker *w = c->worker;

	weir_relay_count(&c->relay);
	weir_relay_stop(&c->relay);
	account_end(c, end, error);
	leave_list(c);
	weir_timer_del(&c->timer);
	weir_conn_free_race(c);
	weir_conn_give_up_name(c);
	weir_conn_free_early(c);
	free(c->relay.side[WEIR_CLIENT].held); /* it never came to a relay */
	c->relay.side[WEIR_CLIENT].held = NULL;
	close_side(c, WEIR_CLIENT, reset);
	close_side(c, WEIR_BACKEND, reset);
	if (c->backend_state)
		atomic_fetch_sub(&c->backend_state->open, 1);
	if (c->holds)
		weir_limiter_let_go(w->shared->limiter);
	if (c->limited)
		weir_limiter_leave(w->shared->limiter, &c->source);
	weir_proxy_config_unref(c->cfg);
	weir_worker_put_conn(w, c);
	weir_worker_left(w);
}

static void relay_ended(struct weir_relay *r, enum weir_relay_how how, enum weir_end_of who,
			int error)
{
	struct weir_conn *c = (struct weir_conn *)r;

	switch (how) {
	case WEIR_RELAY_DONE:
		weir_conn_end(c, WEIR_END_DONE, 0, 0);
		break;
	case WEIR_RELAY_RESET:
		weir_conn_end(c,
			      who == WEIR_CLIENT ? WEIR_END_CLIENT_RESET : WEIR_END_BACKEND_RESET,
			      error, 1U << !who);
		break;
	case WEIR_RELAY_FAILED:
		weir_conn_end(c,
			      error == EMFILE || error == ENFILE ? WEIR_END_NO_DESCRIPTORS :
								   WEIR_END_NO_MEMORY,
			      error, 1U << WEIR_CLIENT | 1U << WEIR_BACKEND);
		break;
	}
}

/* ---- Events */

void weir_conn_event(struct weir_conn *c, enum weir_end_of who, uint32_t events)
{
	struct weir_relay_side *s = &c->relay.side[who];

	if (c->state == WEIR_CONN_RELAY) {
		weir_relay_event(&c->relay, who, events);
		return;
	}
	if (who == WEIR_BACKEND) {
		weir_conn_connect_event(c, events);
		return;
	}
	weir_relay_saw(s, events);
	switch (c->state) {
	case WEIR_CONN_HEADER:
	case WEIR_CONN_HELLO:
		if (s->readable)
			weir_conn_read_hello(c);
		break;
	case WEIR_CONN_GOODBYE:
		weir_conn_discard(c);
		break;
	default:
		/* One that has closed its own direction still wants an answer. */
		if (events & (EPOLLHUP | EPOLLERR))
			weir_conn_end(c, WEIR_END_CLIENT_GONE, -weir_sock_error(s->io.fd),
				      1U << WEIR_BACKEND);
	}
}

static void client_event(struct weir_io *io, uint32_t events)
{
	weir_conn_event(of_client(io), WEIR_CLIENT, events);
}

static void backend_event(struct weir_io *io, uint32_t events)
{
	weir_conn_event(of_backend(io), WEIR_BACKEND, events);
}

static uint64_t idle_timeout(const struct weir_conn *c)
{
	uint64_t own = c->route->idle_timeout_ns;

	return own ? own : c->cfg->limits.idle_timeout_ns;
}

static void look_idle(struct weir_conn *c)
{
	struct weir_loop *l = c->worker->loop;
	uint64_t until;

	weir_relay_count(&c->relay);
	until = c->relay.active + idle_timeout(c);
	if (until > weir_loop_now(l))
		weir_timer_set(l, &c->timer, until);
	else
		weir_conn_end(c, WEIR_END_IDLE, 0, 0);
}

static void timer_rang(struct weir_timer *t)
{
	struct weir_conn *c = of_timer(t);

	switch (c->state) {
	case WEIR_CONN_HEADER:
	case WEIR_CONN_HELLO:
		weir_conn_end(c, WEIR_END_HELLO_TIMEOUT, 0, 0);
		break;
	case WEIR_CONN_RESOLVE:
	case WEIR_CONN_CONNECT:
		weir_conn_connect_timeout(c);
		break;
	case WEIR_CONN_RELAY:
		look_idle(c);
		break;
	default:
		weir_conn_end(c, c->verdict, 0, 0);
	}
}

/* ---- Begin */

static _Atomic uint64_t last_id; /* of all workers */

static bool in_any(const struct weir_prefix *p, size_t n, const struct weir_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (weir_prefix_contains(&p[i], a))
			return true;
	return false;
}

enum weir_proxy_end weir_conn_enter(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;
	struct weir_addr a = weir_endpoint_addr(&c->client);
	enum weir_proxy_end end;

	c->source = weir_limiter_key(&a);
	if (c->holds)
		weir_limiter_let_go(w->shared->limiter);
	c->holds = false;
	if (!weir_proxy_config_allows(c->cfg, &a))
		return WEIR_END_SOURCE;
	end = weir_limiter_enter(w->shared->limiter, &c->cfg->limits, &c->source,
				 weir_loop_now(w->loop));
	if (end == WEIR_ENDS) {
		c->limited = true;
		weir_account_source(&w->account, &c->source, 1, 0, 0, 0);
	}
	return end;
}

static enum weir_proxy_end admit(struct weir_conn *c)
{
	struct weir_addr a = weir_endpoint_addr(&c->client);

	if (!c->listen->n_proxies)
		return weir_conn_enter(c);
	/* Who the client is, a trusted proxy's header tells first. */
	if (!in_any(c->listen->proxies, c->listen->n_proxies, &a))
		return WEIR_END_SOURCE;
	c->holds = weir_limiter_hold(c->worker->shared->limiter, &c->cfg->limits);
	return c->holds ? WEIR_ENDS : WEIR_END_LIMIT_CONNECTIONS;
}

/* The address that the client came to: the listener's own, unless that is a wildcard. */
static void find_local(struct weir_conn *c)
{
	struct weir_addr a = weir_endpoint_addr(&c->listen->address);

	c->local = c->listen->address;
	if (c->local.sa.sa_family != AF_UNIX &&
	    (memcmp(&a, &in6addr_any, sizeof(a)) == 0 ||
	     (weir_addr_is_v4(&a) && c->local.in.sin_addr.s_addr == INADDR_ANY)))
		weir_sock_name(c->relay.side[WEIR_CLIENT].io.fd, &c->local);
}

static void set_up(struct weir_conn *c, const struct weir_proxy_listen *listen, int fd,
		   const struct weir_endpoint *peer)
{
	struct weir_relay_side *client = &c->relay.side[WEIR_CLIENT];
	struct weir_relay_side *backend = &c->relay.side[WEIR_BACKEND];
	struct weir_addr a = weir_endpoint_addr(peer);

	c->cfg = weir_proxy_config_ref(c->worker->cfg);
	c->listen = listen;
	c->client = *peer;
	c->source = weir_limiter_key(&a);
	c->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	c->began = weir_loop_now(c->worker->loop);
	c->timer.fn = timer_rang;
	c->relay.ended = relay_ended;
	c->state = listen->n_proxies ? WEIR_CONN_HEADER : WEIR_CONN_HELLO;
	client->io = (struct weir_io){ .fn = client_event, .fd = fd };
	client->drain = listen->address.sa.sa_family == AF_UNIX;
	client->writable = true;
	backend->io = (struct weir_io){ .fn = backend_event, .fd = -1 };
	client->pipe[0] = client->pipe[1] = backend->pipe[0] = backend->pipe[1] = -1;
}

static void enter_list(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;

	pthread_mutex_lock(&w->lock);
	c->next = w->conns;
	c->prev = &w->conns;
	if (c->next)
		c->next->prev = &c->next;
	w->conns = c;
	pthread_mutex_unlock(&w->lock);
	c->listed = true;
}

static struct weir_conn *make(struct weir_worker *w, const struct weir_proxy_listen *listen, int fd,
			      const struct weir_endpoint *peer)
{
	struct weir_conn *c = weir_worker_get_conn(w);

	weir_account_add(&w->account, WEIR_TOTAL_ACCEPTED, 1);
	weir_worker_touch(w);
	if (!c) {
		weir_account_add(&w->account, WEIR_TOTAL_ENDED + WEIR_END_NO_MEMORY, 1);
		close(fd);
		return NULL;
	}
	set_up(c, listen, fd, peer);
	find_local(c);
	return c;
}

void weir_conn_refuse(struct weir_worker *w, const struct weir_proxy_listen *listen, int fd,
		      const struct weir_endpoint *peer, enum weir_proxy_end end, int error)
{
	struct weir_conn *c = make(w, listen, fd, peer);

	if (c)
		weir_conn_end(c, end, error, 0);
}

void weir_conn_begin(struct weir_worker *w, const struct weir_proxy_listen *listen, int fd,
		     const struct weir_endpoint *peer)
{
	struct weir_conn *c = make(w, listen, fd, peer);
	enum weir_proxy_end end;

	if (!c)
		return;
	end = admit(c);
	if (end != WEIR_ENDS) {
		weir_conn_end(c, end, 0, 0);
		return;
	}
	enter_list(c);
	weir_worker_tally(w);
	weir_timer_set(w->loop, &c->timer, c->began + c->cfg->limits.hello_timeout_ns);
	weir_conn_read_hello(c);
}

/* ---- As others see it */

void weir_conn_facts_of(const struct weir_conn *c, struct weir_conn_facts *ret)
{
	const struct weir_engine *engine = weir_conn_see(c->relay.engine);

	*ret = (struct weir_conn_facts){
		.id = c->id,
		.client = c->client,
		.local = c->local,
		.backend = c->backend,
		.source = c->backend_local,
		.ech = c->ech,
		.listen = c->listen,
		.route = weir_conn_see(c->route),
		.target = c->target ? c->target->text : NULL,
		.state = weir_conn_see(c->state),
		.engine = engine ? engine->name : NULL,
		.demoted = weir_conn_see(c->relay.demoted),
		.began = c->began,
		.hello_at = weir_conn_see(c->hello_at),
		.connected_at = weir_conn_see(c->connected_at),
		.first_byte_at = weir_conn_see(c->relay.first_byte),
		.active_at = weir_conn_see(c->relay.active),
		.attempts = weir_conn_see(c->attempts),
		.bytes_in = weir_conn_see(c->relay.side[WEIR_CLIENT].bytes),
		.bytes_out = weir_conn_see(c->relay.side[WEIR_BACKEND].bytes),
	};
	memcpy(ret->name, c->name, sizeof(ret->name));
	memcpy(ret->alpn, c->alpn, sizeof(ret->alpn));
	if (!ret->active_at)
		ret->active_at = ret->began;
}
