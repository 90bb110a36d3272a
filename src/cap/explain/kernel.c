/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
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

static bool is_group(const struct weir_addr *a)
{
	return weir_addr_is_v4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

static bool reads_one(const char *iface, const char *setting)
{
	weir_autobuf struct weir_buf text = { 0 };
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", iface, setting);
	return !weir_file_read(path, 16, &text) && text.len && text.data[0] != '0';
}

/* IPv4's routes tell it by themselves. */
static bool forwards(const struct weir_road *r)
{
	return weir_addr_is_v4(&r->dst) || reads_one("all", "forwarding") ||
	       reads_one(r->iface, "force_forwarding");
}

/* The kernel's answer does not tell which of its checks it was. */
static void add_refusal(struct weir_road *r, int code)
{
	char src[WEIR_ADDR_STRLEN], dst[WEIR_ADDR_STRLEN];
	int there = weir_route_to(&r->dst, NULL);

	weir_addr_str(&r->src, src);
	weir_addr_str(&r->dst, dst);
	if ((code == -EINVAL || code == -EXDEV) && is_group(&r->dst))
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "nothing on %s has joined %s", r->iface, dst);
	else if ((code == -EINVAL || code == -EXDEV) && there > 0)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "%s is no source for what comes in by %s: rp_filter, or an address "
			      "that only this host may have",
			      src, r->iface);
	else if (code == -EHOSTUNREACH && there > 0)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "%s is not this host's, and forwarding is off", dst);
	else if (code == -EACCES || there == -EINVAL)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "the route to %s throws it away", dst);
	else
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL, "no route to %s", dst);
}

/* A broadcast, or for a group that was joined: no rule of sk_lookup is asked. */
static void add_copies(struct weir_road *r)
{
	weir_autofree struct weir_socket *v = NULL;
	char text[WEIR_ADDR_STRLEN];
	struct weir_error err = { "" };
	size_t n = 0, bound = 0;

	weir_addr_str(&r->dst, text);
	weir_road_add(r, WEIR_ROAD_ROUTE, r->tcp ? WEIR_STEP_DROP : WEIR_STEP_PASS, NULL,
		      r->tcp ? "TCP has no connections to %s, which is for many" :
			       "%s is for many, this host among them",
		      text);
	if (!r->udp || weir_sockets_list(IPPROTO_UDP, 0, &v, &n, &err))
		return;
	for (size_t i = 0; i < n; i++)
		bound += v[i].local_port == r->dport && !v[i].remote_port;
	weir_road_add(r, WEIR_ROAD_SOCKET, bound ? WEIR_STEP_UNKNOWN : WEIR_STEP_DROP, NULL,
		      bound ? "each socket on port %u that is for %s gets a copy" :
			      "nothing is bound on port %u",
		      r->dport, text);
}

static void add_forward(struct weir_road *r, const struct weir_pkt *p, uint32_t ifindex)
{
	char name[IF_NAMESIZE], text[WEIR_ADDR_STRLEN];

	weir_addr_str(&r->dst, text);
	if (!forwards(r))
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "%s is not this host's, and forwarding is off", text);
	else if (p->ttl <= 1)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "%s is not this host's, and its TTL ends here", text);
	else
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_PASS, NULL,
			      "%s is not this host's: it is forwarded by %s", text,
			      if_indextoname(ifindex, name) ? name : "nobody");
}

void weir_explain_route(struct weir_road *r, const struct weir_pkt *p)
{
	uint32_t iif = if_nametoindex(r->iface);
	struct weir_route to = { .type = RTN_UNICAST };
	char text[WEIR_ADDR_STRLEN];
	int ret;

	if (r->out || !(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)) || !weir_explain_packet(r, p))
		return;
	weir_addr_str(&r->dst, text);
	/* Of IPv6 the kernel answers for hosts alone, and of what comes by loopback not at all:
	 * that has its route from where it began. */
	if (is_group(&r->dst) && !weir_addr_is_v4(&r->dst)) {
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_UNKNOWN, NULL,
			      "%s is a group's: for this host, if something on %s has joined it",
			      text, r->iface);
		return;
	}
	ret = iif == LOOPBACK ? weir_route_to(&r->dst, NULL) :
				weir_route_in(iif, &r->src, &r->dst, &to);
	if (iif == LOOPBACK && ret > 0)
		to = (struct weir_route){ .type = ret == LOOPBACK ? RTN_LOCAL : RTN_UNICAST,
					  .ifindex = (uint32_t)ret };
	r->here = ret >= 0 && to.type == RTN_LOCAL;
	if (ret < 0)
		add_refusal(r, ret);
	else if (r->here)
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_PASS, NULL, "%s is this host's", text);
	else if (to.type == RTN_BROADCAST || to.type == RTN_MULTICAST)
		add_copies(r);
	else
		add_forward(r, p, to.ifindex);
}

/* How well a socket fits, as the kernel's look-up has it: 0 is not at all. */
static int fit(const struct weir_socket *s, const struct weir_road *r)
{
	static const struct weir_addr any6, any4 = { .b = { [10] = 0xff, 0xff } };

	if (s->local_port != r->dport || (s->ifindex && s->ifindex != if_nametoindex(r->iface)))
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
	return !memcmp(&s->local, &any6, sizeof(any6)) &&
	       !(s->v6only && weir_addr_is_v4(&r->dst));
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

/* What a socket that listens does with a segment that begins no connection, or NULL. */
static const char *refuses(const struct weir_road *r, const struct weir_pkt *p)
{
	if (!r->tcp || !(p->flags & WEIR_PKT_TCP))
		return NULL;
	if (p->tcp_flags & WEIR_TCP_RST)
		return "takes no RST";
	if (p->tcp_flags & WEIR_TCP_ACK)
		return "answers an ACK of no connection with RST";
	if (!(p->tcp_flags & WEIR_TCP_SYN))
		return "takes only SYN";
	return p->tcp_flags & WEIR_TCP_FIN ? "takes no SYN with FIN" : NULL;
}

static void add_bound(struct weir_road *r, const struct weir_pkt *p, const struct weir_socket *s)
{
	const char *why = refuses(r, p);
	char text[WEIR_ADDR_STRLEN];

	weir_addr_str(&s->local, text);
	if (why)
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_DROP, NULL,
			      "the socket that listens on %s port %u %s", text, s->local_port, why);
	else
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_PASS, NULL,
			      "a socket on %s port %u gets it (cookie %llu)", text, s->local_port,
			      (unsigned long long)s->cookie);
}

void weir_explain_socket(struct weir_road *r, const struct weir_pkt *p)
{
	weir_autofree struct weir_socket *v = NULL;
	const struct weir_socket *best = NULL;
	struct weir_error err = { "" };
	size_t n = 0;

	if (!r->here || p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)
		return;
	if (!(r->tcp || r->udp)) {
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_UNKNOWN, NULL,
			      "protocol %u: for a tunnel or a raw socket that has it, if there is one",
			      p->proto);
		return;
	}
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
		add_bound(r, p, best);
	else
		weir_road_add(r, WEIR_ROAD_SOCKET, WEIR_STEP_DROP, NULL, "nothing %s on port %u",
			      r->tcp ? "listens" : "is bound", r->dport);
}
