/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the first byte to the route: the PROXY header, the hello, and what is done with
 * a connection that has no route.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "cap/proxy/conn_impl.h"
#include "net/host.h"
#include "cap/proxy/pp.h"

#define EARLY_MIN 4096
#define EARLY_MAX (EARLY_MIN << 5) /* the first one that takes a header and a hello */
#define GOODBYE_NS WEIR_NSEC_PER_SEC
#define DISCARD_MAX (256u * 1024) /* of a client that sends on behind its refusal */

/* ---- The buffer */

void weir_conn_free_early(struct weir_conn *c)
{
	struct weir_early *e = c->early;

	if (!e)
		return;
	weir_hello_free(&e->hello);
	if (e != &c->worker->first) {
		free(e->data);
		free(e);
	}
	c->early = NULL;
}

/* The worker's own, for a client of which nothing has come yet. */
static void borrow_early(struct weir_conn *c)
{
	struct weir_early *e = &c->worker->first;

	weir_hello_init(&e->hello);
	e->at = e->len = e->looked = 0;
	c->early = e;
}

/* The hello is not complete: from here on the connection has a buffer of its own, twice
 * as large as what has come. */
static bool keep_early(struct weir_conn *c)
{
	struct weir_early *first = &c->worker->first, *e;

	if (c->early != first)
		return true;
	e = malloc(sizeof(*e));
	if (!e)
		return false;
	*e = *first; /* with what the parser keeps */
	e->size = EARLY_MIN;
	while (e->size < 2 * first->len && e->size < EARLY_MAX)
		e->size *= 2;
	e->data = malloc(e->size);
	if (!e->data) {
		free(e);
		return false;
	}
	memcpy(e->data, first->data, first->len);
	c->early = e;
	return true;
}

static bool grow_early(struct weir_early *e)
{
	uint8_t *more;

	if (e->len < e->size)
		return true;
	more = e->size < EARLY_MAX ? realloc(e->data, (size_t)e->size * 2) : NULL;
	if (!more)
		return false;
	e->data = more;
	e->size *= 2;
	return true;
}

/* ---- To a backend */

/* What goes to the backend first: our PROXY header, and all that has been read. */
static bool make_held(struct weir_conn *c)
{
	struct weir_relay_side *s = &c->relay.side[WEIR_CLIENT];
	struct weir_early *e = c->early;
	uint8_t header[WEIR_PP_MAX];
	uint32_t len = e->len - e->at;

	if (c->route->send_proxy)
		c->extra = (uint32_t)weir_pp_make((int)c->route->send_proxy, &c->client, &c->local,
						  e->hello.name, e->hello.alpn, e->hello.alpn_len,
						  header);
	s->held = malloc(c->extra + len);
	if (!s->held)
		return false;
	memcpy(s->held, header, c->extra);
	memcpy(s->held + c->extra, e->data + e->at, len);
	s->held_at = 0;
	s->held_len = c->extra + len;
	return true;
}

static void go_on(struct weir_conn *c, struct weir_proxy_route *route)
{
	weir_conn_show(c->route, route);
	if (!make_held(c)) {
		weir_conn_end(c, WEIR_END_NO_MEMORY, ENOMEM, 0);
		return;
	}
	weir_conn_free_early(c);
	weir_conn_connect(c);
}

/* ---- To nowhere */

/* Fatal ones, in a record of their own: unrecognized_name (RFC 6066, 3), and where there
 * is no name missing_extension (RFC 8446, 9.2). */
static const uint8_t tls_alert[] = { 21, 3, 3, 0, 2, 2, 112 };
static const uint8_t tls_no_name[] = { 21, 3, 3, 0, 2, 2, 109 };
static const char http_bad[] = "HTTP/1.1 400 Bad Request\r\n"
			       "Content-Length: 0\r\nConnection: close\r\n\r\n";
static const char http_misdirected[] = "HTTP/1.1 421 Misdirected Request\r\n"
				       "Content-Length: 0\r\nConnection: close\r\n\r\n";

static bool send_alert(struct weir_conn *c, enum weir_proxy_end end)
{
	const void *text = end == WEIR_END_NO_SNI ? tls_no_name : tls_alert;
	size_t n = sizeof(tls_alert);

	if (c->listen->protocol == WEIR_PROXY_HTTP) {
		text = end == WEIR_END_NO_MATCH ? http_misdirected : http_bad;
		n = strlen(text);
	} else if (end == WEIR_END_NOT_TLS) {
		return false; /* whoever does not speak TLS does not understand an alert */
	}
	return send(c->relay.side[WEIR_CLIENT].io.fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

void weir_conn_discard(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;
	struct weir_relay_side *s = &c->relay.side[WEIR_CLIENT];

	while (s->readable) {
		ssize_t n = recv(s->io.fd, w->first.data, w->first.size, 0);

		if (n > 0)
			c->discarded += (uint32_t)n;
		if (n == 0 || (n < 0 && errno != EAGAIN) || c->discarded > DISCARD_MAX) {
			weir_conn_end(c, c->verdict, 0, 0);
			return;
		}
		s->readable = n == (ssize_t)w->first.size || (n > 0 && (s->drain || s->fin));
	}
}

/* An answer reaches the client only when nothing is unread at the close: that would be
 * a reset, which takes the answer away again. */
static void say_goodbye(struct weir_conn *c, enum weir_proxy_end end)
{
	struct weir_worker *w = c->worker;

	if (!send_alert(c, end) || shutdown(c->relay.side[WEIR_CLIENT].io.fd, SHUT_WR)) {
		weir_conn_end(c, end, 0, 0);
		return;
	}
	weir_conn_free_early(c);
	c->verdict = end;
	weir_conn_show(c->state, WEIR_CONN_GOODBYE);
	weir_timer_set(w->loop, &c->timer, weir_loop_now(w->loop) + GOODBYE_NS);
	weir_conn_discard(c);
}

static void act(struct weir_conn *c, const struct weir_proxy_action *a, enum weir_proxy_end end)
{
	switch (a->what) {
	case WEIR_DO_RESET:
		weir_conn_end(c, end, 0, 1U << WEIR_CLIENT);
		break;
	case WEIR_DO_ALERT:
		say_goodbye(c, end);
		break;
	case WEIR_DO_BACKEND:
		go_on(c, a->route);
		break;
	default:
		weir_conn_end(c, end, 0, 0);
	}
}

/* ---- The hello */

static void publish(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;
	const struct weir_hello *h = &c->early->hello;
	size_t n = h->alpn_len ? h->alpn[0] : 0;

	if (n > sizeof(c->alpn) - 1)
		n = sizeof(c->alpn) - 1;
	pthread_mutex_lock(&w->lock);
	memcpy(c->name, h->name, strlen(h->name) + 1);
	if (n)
		memcpy(c->alpn, h->alpn + 1, n);
	c->ech = h->ech;
	pthread_mutex_unlock(&w->lock);
	weir_conn_show(c->hello_at, weir_loop_now(w->loop));
}

static void find_route(struct weir_conn *c)
{
	const struct weir_hello *h = &c->early->hello;
	const struct weir_proxy_config *cfg = c->cfg;
	const struct weir_proxy_ask ask = {
		.listen = c->listen,
		.name = h->name,
		.hello = c->listen->protocol == WEIR_PROXY_TLS ? h : NULL,
		.source = weir_endpoint_addr(&c->client),
	};
	struct weir_proxy_route *route;

	if (h->ech && cfg->ech.what != WEIR_DO_ROUTE) {
		act(c, &cfg->ech, WEIR_END_ECH);
		return;
	}
	if (!h->name[0]) {
		act(c, &cfg->no_sni, WEIR_END_NO_SNI);
		return;
	}
	route = weir_proxy_route_find(cfg, &ask);
	if (route)
		go_on(c, route);
	else
		act(c, &cfg->no_match, WEIR_END_NO_MATCH);
}

/* True: more is needed. Else the connection has moved on, or ended. */
static bool look_at_hello(struct weir_conn *c)
{
	struct weir_early *e = c->early;
	const uint8_t *data = e->data + e->at;
	uint32_t len = e->len - e->at, looked = e->looked;
	int code = 0;

	e->looked = len;
	if (c->listen->protocol == WEIR_PROXY_HTTP)
		e->hello.state = weir_host_find((const char *)data, len, looked, e->hello.name);
	else
		code = weir_hello_feed(&e->hello, data + looked, len - looked);
	if (code) {
		weir_conn_end(c, WEIR_END_NO_MEMORY, -code, 0);
		return false;
	}
	switch (e->hello.state) {
	case WEIR_HELLO_MORE:
		return true;
	case WEIR_HELLO_DONE:
		publish(c);
		find_route(c);
		break;
	case WEIR_HELLO_NOT_TLS:
		act(c, &c->cfg->not_tls, WEIR_END_NOT_TLS);
		break;
	case WEIR_HELLO_MALFORMED:
		weir_conn_end(c, WEIR_END_MALFORMED, 0, 0);
		break;
	case WEIR_HELLO_TOO_LONG:
		weir_conn_end(c, WEIR_END_HELLO_TOO_LONG, 0, 0);
		break;
	}
	return false;
}

/* ---- The PROXY header */

/* True: more is needed. */
static bool look_at_header(struct weir_conn *c)
{
	struct weir_worker *w = c->worker;
	struct weir_early *e = c->early;
	struct weir_endpoint client = c->client, local = c->local;
	int n = weir_pp_read(e->data, e->len, &client, &local);
	enum weir_proxy_end end = WEIR_END_BAD_PROXY_HEADER;

	if (n == 0)
		return true;
	if (n > 0) {
		pthread_mutex_lock(&w->lock);
		c->client = client;
		c->local = local;
		pthread_mutex_unlock(&w->lock);
		end = weir_conn_enter(c);
	}
	if (end != WEIR_ENDS) {
		weir_conn_end(c, end, 0, 0);
		return false;
	}
	e->at = (uint32_t)n;
	weir_conn_show(c->state, WEIR_CONN_HELLO);
	return e->len == e->at || look_at_hello(c);
}

/* ---- Reading */

/* The first read comes before the socket is in the loop: an event for what was read
 * already would only be one more to look at. */
static bool watch(struct weir_conn *c)
{
	struct weir_relay_side *s = &c->relay.side[WEIR_CLIENT];
	int code = c->watched ? 0 : weir_loop_add(c->worker->loop, &s->io, WEIR_RELAY_EVENTS);

	c->watched = true;
	if (code)
		weir_conn_end(c, WEIR_END_NO_MEMORY, -code, 0);
	return !code;
}

/* @n as recv(2) said. True: read on. */
static bool take_bytes(struct weir_conn *c, ssize_t n)
{
	struct weir_relay_side *s = &c->relay.side[WEIR_CLIENT];
	struct weir_early *e = c->early;
	bool more;

	if (n < 0 && errno == EAGAIN) {
		s->readable = false;
		n = 0;
	} else if (n <= 0) {
		weir_conn_end(c, WEIR_END_CLIENT_GONE, n < 0 ? errno : 0, 0);
		return false;
	} else {
		s->readable = e->len + (uint32_t)n == e->size || s->drain || s->fin;
		e->len += (uint32_t)n;
	}
	if (!watch(c))
		return false;
	if (!e->len) { /* a client that is silent takes no memory */
		c->early = NULL;
		return false;
	}
	if (n) {
		more = c->state == WEIR_CONN_HEADER ? look_at_header(c) : look_at_hello(c);
		if (!more)
			return false;
	}
	if (!keep_early(c) || !grow_early(c->early)) {
		weir_conn_end(c, WEIR_END_NO_MEMORY, ENOMEM, 0);
		return false;
	}
	return s->readable;
}

void weir_conn_read_hello(struct weir_conn *c)
{
	struct weir_early *e;

	do {
		if (!c->early)
			borrow_early(c);
		e = c->early;
	} while (take_bytes(c, recv(c->relay.side[WEIR_CLIENT].io.fd, e->data + e->len,
				    e->size - e->len, 0)));
}
