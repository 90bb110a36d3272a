/* SPDX-License-Identifier: GPL-2.0-only */
/* What concerns more than one value: listeners among each other, routes and listeners,
 * routes that nothing can reach, backends that would be the proxy itself. */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/proxy/config_impl.h"

struct check {
	struct weir_proxy_config *c;
	const char *source; /* NULL: no file */
	const struct weir_proxy_lines *lines;
	struct weir_error *err;
};

static int fail(const struct check *k, unsigned int line, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static int fail_route(const struct check *k, const struct weir_proxy_route *r, const char *key,
		      const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* @line 0: of what the file does not have. */
static int fail(const struct check *k, unsigned int line, const char *key, const char *fmt, ...)
{
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (line)
		return weir_fail(k->err, -EINVAL, "%s:%u: %s: %s", k->source, line, key, text);
	if (k->source)
		return weir_fail(k->err, -EINVAL, "%s: %s: %s", k->source, key, text);
	return weir_fail(k->err, -EINVAL, "%s: %s", key, text);
}

static int fail_route(const struct check *k, const struct weir_proxy_route *r, const char *key,
		      const char *fmt, ...)
{
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!r->line)
		return weir_fail(k->err, -EINVAL, "--route: %.100s: %s", r->name, text);
	return weir_fail(k->err, -EINVAL, "%s:%u: routes.%s: %s", k->source, r->line, key, text);
}

/* ---- Listeners */

/* A wildcard takes what comes to any address of its family, [::] of both. */
static bool is_wildcard(const struct weir_endpoint *e)
{
	static const struct weir_addr any4 = { { [10] = 0xff, [11] = 0xff } }, any6 = { { 0 } };
	struct weir_addr a = weir_endpoint_addr(e);

	return !memcmp(&a, &any4, sizeof(a)) || !memcmp(&a, &any6, sizeof(a));
}

static int check_pair(const struct check *k, const struct weir_proxy_listen *a,
		      const struct weir_proxy_listen *b)
{
	char text[WEIR_ENDPOINT_STRLEN];

	weir_endpoint_str(&b->address, text);
	if (weir_endpoint_equal(&a->address, &b->address))
		return fail(k, b->line, "listen", "two listeners of %s: leave one out", text);
	if (weir_endpoint_port(&a->address) == weir_endpoint_port(&b->address) &&
	    is_wildcard(&a->address) && is_wildcard(&b->address))
		return fail(k, b->line, "listen",
			    "0.0.0.0 is a part of [::], with port %u as well: leave "
			    "one out",
			    weir_endpoint_port(&b->address));
	if (strcmp(a->name, b->name) == 0)
		return fail(k, b->line, "listen",
			    "two listeners of the name %.100s: give one another", b->name);
	return 0;
}

/* Does @any stand for @e's address too, with the same port? */
static bool includes(const struct weir_endpoint *any, const struct weir_endpoint *e)
{
	return is_wildcard(any) && weir_endpoint_port(any) == weir_endpoint_port(e) &&
	       (any->sa.sa_family == AF_INET6 || e->sa.sa_family == AF_INET);
}

static int check_metrics(const struct check *k, const struct weir_proxy_listen *l)
{
	const struct weir_endpoint *m = &k->c->metrics;

	if (!m->len)
		return 0;
	if (weir_endpoint_equal(m, &l->address))
		return fail(k, k->lines->metrics, "metrics",
			    "a listener has the same address: give another");
	if (includes(m, &l->address) || includes(&l->address, m))
		return fail(k, k->lines->metrics, "metrics",
			    "it meets the listener %.100s: give another port", l->name);
	return 0;
}

static int check_listens(const struct check *k)
{
	const struct weir_proxy_config *c = k->c;

	if (!c->n_listens)
		return fail(k, k->lines->listen, "listen",
			    "no listener: give one%s --listen ADDRESS:PORT",
			    k->source ? " here, or by" : " by -c FILE, or by");
	for (size_t i = 0; i < c->n_listens; i++) {
		const struct weir_proxy_listen *l = &c->listens[i];

		for (size_t j = 0; j < i; j++)
			if (check_pair(k, &c->listens[j], l))
				return -EINVAL;
		if (check_metrics(k, l))
			return -EINVAL;
	}
	return 0;
}

/* ---- Routes */

/* Listeners may be called by their address, too, however it is written. */
static int resolve_listener(const struct check *k, const struct weir_proxy_route *r, char **name)
{
	const char *words[WEIR_PROXY_LISTENS_MAX], *near;
	const struct weir_proxy_config *c = k->c;
	struct weir_endpoint e;
	bool address = !weir_endpoint_parse(*name, &e);

	for (size_t i = 0; i < c->n_listens; i++) {
		words[i] = c->listens[i].name;
		if (strcmp(words[i], *name) == 0)
			return 0;
	}
	for (size_t i = 0; address && i < c->n_listens; i++)
		if (weir_endpoint_equal(&c->listens[i].address, &e))
			return weir_proxy_value_text(words[i], false, name, k->err);
	near = weir_proxy_value_nearest(words, c->n_listens, *name);
	if (near)
		return fail_route(k, r, "listener", "\"%.100s\" is no listener: did you mean %s?",
				  *name, near);
	return fail_route(k, r, "listener",
			  "\"%.100s\" is no listener: give the name or the "
			  "address of one",
			  *name);
}

/* Of a wildcard listener, every address of this host is one; which ones there are may
 * change, but loopback always is. */
static bool leads_back(const struct weir_proxy_listen *l, const struct weir_proxy_target *t)
{
	struct weir_addr a = weir_endpoint_addr(&t->addr);
	bool v4 = weir_addr_is_v4(&a);
	bool loopback = v4 ? a.b[12] == 127 : IN6_IS_ADDR_LOOPBACK((struct in6_addr *)&a);

	if (t->kind != WEIR_TARGET_ADDRESS)
		return false;
	if (weir_endpoint_equal(&l->address, &t->addr))
		return true;
	return weir_endpoint_port(&l->address) == weir_endpoint_port(&t->addr) &&
	       is_wildcard(&l->address) && (loopback || is_wildcard(&t->addr)) &&
	       (v4 || l->address.sa.sa_family == AF_INET6);
}

static const struct weir_proxy_listen *find_loop(const struct weir_proxy_config *c,
						 const struct weir_proxy_target *t)
{
	for (size_t i = 0; i < c->n_listens; i++)
		if (leads_back(&c->listens[i], t))
			return &c->listens[i];
	return NULL;
}

static int check_target(const struct check *k, const struct weir_proxy_route *r, size_t at)
{
	const struct weir_proxy_target *t = &r->targets[at];

	for (size_t i = 0; i < at; i++)
		if (strcmp(r->targets[i].text, t->text) == 0)
			return fail_route(k, r, "backends", "%s is given twice: leave one out",
					  t->text);
	if (find_loop(k->c, t))
		return fail_route(k, r, "backends",
				  "%s is the listener %s of this proxy: give "
				  "another address",
				  t->text, find_loop(k->c, t)->name);
	if (t->kind == WEIR_TARGET_UNIX && r->transparent)
		return fail_route(k, r, "transparent", "%s has no IP address: set it to false",
				  t->text);
	if (t->kind == WEIR_TARGET_DNS && r->health.interval_ns)
		return fail_route(k, r, "health",
				  "dns is no host that could be checked: set it to "
				  "off");
	return 0;
}

static int check_route(const struct check *k, struct weir_proxy_route *r)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < r->n_listeners; i++)
		ret = resolve_listener(k, r, &r->listeners[i]);
	for (size_t i = 0; !ret && i < r->n_targets; i++)
		ret = check_target(k, r, i);
	return ret;
}

/* ---- Routes that no connection can reach */

static bool words_within(char *const *a, size_t na, char *const *b, size_t nb)
{
	for (size_t i = 0; i < na; i++) {
		size_t j = 0;

		while (j < nb && strcmp(a[i], b[j]))
			j++;
		if (j == nb)
			return false;
	}
	return true;
}

static bool sources_within(const struct weir_proxy_route *a, const struct weir_proxy_route *b)
{
	for (size_t i = 0; i < a->n_sources; i++) {
		const struct weir_prefix *p = &a->sources[i];
		size_t j = 0;

		while (j < b->n_sources && !(b->sources[j].len <= p->len &&
					     weir_prefix_contains(&b->sources[j], &p->addr)))
			j++;
		if (j == b->n_sources)
			return false;
	}
	return true;
}

/* Does @b take every connection that @a would? */
static bool covers(const struct weir_proxy_route *b, const struct weir_proxy_route *a)
{
	return (!b->n_alpn ||
		(a->n_alpn && words_within(a->alpn, a->n_alpn, b->alpn, b->n_alpn))) &&
	       (!b->n_sources || (a->n_sources && sources_within(a, b))) &&
	       (!b->n_listeners || (a->n_listeners && words_within(a->listeners, a->n_listeners,
								   b->listeners, b->n_listeners)));
}

static int check_shadowed(const struct check *k, uint32_t first)
{
	const struct weir_proxy_config *c = k->c;
	const uint32_t *next = c->index->next;

	for (uint32_t i = next[first]; i != WEIR_PROXY_NO_ROUTE; i = next[i]) {
		for (uint32_t j = first; j != i; j = next[j]) {
			const struct weir_proxy_route *a = &c->routes[i], *b = &c->routes[j];

			if (!covers(b, a))
				continue;
			if (b->line)
				return fail_route(
					k, a, "match",
					"no connection gets here, as the route in line %u "
					"takes them all: leave one out",
					b->line);
			return fail_route(k, a, "match",
					  "given before with nothing else: leave one "
					  "out");
		}
	}
	return 0;
}

static bool has_backend(const struct weir_proxy_config *c)
{
	return c->n_routes || c->no_match.route || c->no_sni.route || c->not_tls.route ||
	       c->ech.route;
}

static int check_actions(const struct check *k)
{
	const struct {
		const char *key;
		const struct weir_proxy_action *action;
	} all[] = { { "default", &k->c->no_match },
		    { "actions.no_sni", &k->c->no_sni },
		    { "actions.not_tls", &k->c->not_tls },
		    { "actions.ech", &k->c->ech } };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(all); i++) {
		const struct weir_proxy_route *r = all[i].action->route;

		if (r && find_loop(k->c, r->targets))
			return fail(k, r->line, all[i].key,
				    "%s is the listener %s of this proxy: give "
				    "another address",
				    r->targets->text, find_loop(k->c, r->targets)->name);
	}
	return 0;
}

int weir_proxy_config_check(struct weir_proxy_config *c, const char *source,
			    const struct weir_proxy_lines *lines, struct weir_error *err)
{
	const struct check k = { .c = c, .source = source, .lines = lines, .err = err };
	int r = check_listens(&k);

	if (!r && !has_backend(c))
		r = fail(&k, lines->routes, "routes",
			 "no route, and no backend by default: every connection would "
			 "end: give one%s --route NAME=BACKEND",
			 source ? " here, or by" : " by");
	if (!r)
		r = check_actions(&k);
	for (size_t i = 0; !r && i < c->n_routes; i++)
		r = check_route(&k, &c->routes[i]);
	for (size_t i = 0; !r && i <= c->index->mask; i++)
		if (c->index->slots[i].first != WEIR_PROXY_NO_ROUTE)
			r = check_shadowed(&k, c->index->slots[i].first);
	return r;
}
