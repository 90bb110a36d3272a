/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client chooses the name, and with a `dns` target its owner chooses the address: one
 * that leads back to the proxy would make it connect to itself without end.
 */
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/proxy/conn_impl.h"
#include "net/sock.h"

#define OWN_FRESH_NS (5 * WEIR_NSEC_PER_SEC) /* addresses of this host are read again */
#define V4_AT 12

static bool is_unspecified(const struct weir_addr *a)
{
	static const struct weir_addr any4 = { .b = { [10] = 0xff, [11] = 0xff } };

	return memcmp(a, &in6addr_any, sizeof(*a)) == 0 || memcmp(a, &any4, sizeof(*a)) == 0;
}

static bool is_loopback(const struct weir_addr *a)
{
	return weir_addr_is_v4(a) ? a->b[V4_AT] == IN_LOOPBACKNET :
				    memcmp(a, &in6addr_loopback, sizeof(*a)) == 0;
}

static bool is_link_local(const struct weir_addr *a)
{
	if (!weir_addr_is_v4(a)) /* fe80::/10 */
		return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
	return a->b[V4_AT] == 169 && a->b[V4_AT + 1] == 254;
}

/* Read them anew; where that fails the old ones stay. */
static void read_own(struct weir_worker *w)
{
	struct ifaddrs *all, *i;
	struct weir_addr *own;
	size_t n = 0;

	if (getifaddrs(&all))
		return;
	for (i = all; i; i = i->ifa_next)
		n++;
	own = calloc(n + 1, sizeof(*own));
	n = 0;
	for (i = all; own && i; i = i->ifa_next) {
		struct weir_endpoint e = { .len = sizeof(e.in6) };

		if (!i->ifa_addr)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			memcpy(&e.in, i->ifa_addr, sizeof(e.in));
		else if (i->ifa_addr->sa_family == AF_INET6)
			memcpy(&e.in6, i->ifa_addr, sizeof(e.in6));
		else
			continue;
		own[n++] = weir_endpoint_addr(&e);
	}
	freeifaddrs(all);
	if (!own)
		return;
	free(w->own);
	w->own = own;
	w->n_own = n;
}

static bool is_own(struct weir_worker *w, const struct weir_addr *a)
{
	uint64_t now = weir_loop_now(w->loop);

	/* Connecting to "any" address connects to this host. */
	if (is_loopback(a) || is_unspecified(a))
		return true;
	if (!w->own_at || now - w->own_at > OWN_FRESH_NS) {
		read_own(w);
		w->own_at = now;
	}
	for (size_t i = 0; i < w->n_own; i++)
		if (memcmp(a, &w->own[i], sizeof(*a)) == 0)
			return true;
	return false;
}

/* 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3). */
bool weir_conn_is_local(struct weir_conn *c, const struct weir_addr *a)
{
	return is_link_local(a) || (weir_addr_is_v4(a) && !a->b[V4_AT]) || is_own(c->worker, a);
}

static bool leads_to(struct weir_worker *w, const struct weir_proxy_listen *l,
		     const struct weir_endpoint *to)
{
	struct weir_addr at = weir_endpoint_addr(&l->address), a = weir_endpoint_addr(to);

	if (weir_endpoint_equal(&l->address, to))
		return true;
	if (to->sa.sa_family == AF_UNIX || l->address.sa.sa_family == AF_UNIX ||
	    weir_endpoint_port(to) != weir_endpoint_port(&l->address))
		return false;
	if (is_unspecified(&a))
		return is_own(w, &at);
	if (!is_unspecified(&at) || (weir_addr_is_v4(&at) && !weir_addr_is_v4(&a)))
		return false;
	return is_own(w, &a);
}

/* Addresses that no interface has can be this host's, too (`ip route add local`). The kernel
 * takes what is its own as the source when it connects to itself: so the connection tells,
 * before a byte is sent. */
bool weir_conn_came_back(const struct weir_conn *c, const struct weir_endpoint *local)
{
	struct weir_addr a = weir_endpoint_addr(local), b = weir_endpoint_addr(&c->backend);

	if (memcmp(&a, &b, sizeof(a)) != 0)
		return false;
	for (size_t i = 0; i < c->cfg->n_listens; i++) {
		struct weir_addr at = weir_endpoint_addr(&c->cfg->listens[i].address);

		if (is_unspecified(&at) && weir_endpoint_port(&c->backend) ==
						   weir_endpoint_port(&c->cfg->listens[i].address))
			return true;
	}
	return false;
}

bool weir_conn_is_loop(struct weir_conn *c, const struct weir_endpoint *to)
{
	struct weir_endpoint arrived = c->local;

	/* What a PROXY header told is the address of another host. */
	if (c->listen->n_proxies)
		weir_sock_name(c->relay.side[WEIR_CLIENT].io.fd, &arrived);
	if (weir_endpoint_equal(&arrived, to))
		return true;
	for (size_t i = 0; i < c->cfg->n_listens; i++)
		if (leads_to(c->worker, &c->cfg->listens[i], to))
			return true;
	return false;
}
