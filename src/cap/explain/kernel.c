/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/explain/explain.h"
#include "dataplane/sockets.h"

#define LOOPBACK 1

int weir_explain_iface(const struct weir_road *r, char ret[16], struct weir_error *err)
{
	const struct weir_addr *other = r->out ? &r->dst : &r->src;
	char text[WEIR_ADDR_STRLEN];
	int ifindex = weir_route_to(other, NULL);

	if (ifindex < 0)
		return weir_fail(err, ifindex, "no route to %s: say by which interface with -i",
				 weir_addr_str(other, text));
	if (!if_indextoname((unsigned int)ifindex, ret))
		return weir_fail(err, -errno, "the interface to %s is gone: say which with -i",
				 weir_addr_str(other, text));
	return 0;
}

static bool is_ip(const struct weir_road *r)
{
	static const struct weir_addr none;

	return memcmp(&r->dst, &none, sizeof(none)) != 0;
}

void weir_explain_route(struct weir_road *r)
{
	char name[IF_NAMESIZE], text[WEIR_ADDR_STRLEN];
	int ifindex;

	if (r->out || !is_ip(r))
		return;
	ifindex = weir_route_to(&r->dst, NULL);
	weir_addr_str(&r->dst, text);
	r->here = ifindex == LOOPBACK;
	if (r->here)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_PASS, NULL, "%s is this host's", text);
	else if (ifindex < 0)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL, "no route to %s", text);
	else
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_UNKNOWN, NULL,
			      "%s is not this host's: it is forwarded by %s, if forwarding is on",
			      text, if_indextoname((unsigned int)ifindex, name) ? name : "nobody");
}

/* How well a socket fits, as the kernel's look-up has it: 0 is not at all. */
static int fit(const struct weir_socket *s, const struct weir_road *r)
{
	static const struct weir_addr any6, any4 = { .b = { [10] = 0xff, 0xff } };

	if (s->local_port != r->dport)
		return 0;
	if (s->remote_port)
		return s->remote_port == r->sport &&
				       !memcmp(&s->local, &r->dst, sizeof(s->local)) &&
				       !memcmp(&s->remote, &r->src, sizeof(s->remote)) ?
			       4 :
			       0;
	if (r->tcp && s->state != TCP_LISTEN)
		return 0;
	if (!memcmp(&s->local, &r->dst, sizeof(s->local)))
		return 3;
	if (weir_addr_is_v4(&r->dst) && !memcmp(&s->local, &any4, sizeof(any4)))
		return 2;
	return !memcmp(&s->local, &any6, sizeof(any6));
}

/* A rule of sk_lookup that took it has chosen already; but what is connected was found
 * before any rule was asked. */
static bool is_taken(const struct weir_road *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].stage == WEIR_ROAD_LOOKUP && r->v[i].verdict == WEIR_STEP_TAKE)
			return true;
	return false;
}

void weir_explain_socket(struct weir_road *r)
{
	weir_autofree struct weir_socket *v = NULL;
	const struct weir_socket *best = NULL;
	char text[WEIR_ADDR_STRLEN];
	struct weir_error err = { "" };
	size_t n = 0;

	if (!r->here || !(r->tcp || r->udp))
		return;
	if (weir_sockets_list(r->tcp ? IPPROTO_TCP : IPPROTO_UDP, 0, &v, &n, &err)) {
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_UNKNOWN, NULL, "%s", err.msg);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (fit(&v[i], r) > (best ? fit(best, r) : 0))
			best = &v[i];
	if (best && best->remote_port)
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_PASS, NULL,
			      "it belongs to a connection that is there (cookie %llu)",
			      (unsigned long long)best->cookie);
	else if (is_taken(r))
		return;
	else if (best)
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_PASS, NULL,
			      "a socket on %s port %u gets it (cookie %llu)",
			      weir_addr_str(&best->local, text), best->local_port,
			      (unsigned long long)best->cookie);
	else
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_DROP, NULL, "nothing %s on port %u",
			      r->tcp ? "listens" : "is bound", r->dport);
}
