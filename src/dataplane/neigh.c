/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/neigh.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "dataplane/netlink.h"

#define DUMP_TRIES 5
#define MAC_LEN 6

/* How netlink writes an address: its family's own bytes. */
static const uint8_t *bytes_of(const struct weir_addr *a, size_t *ret_len)
{
	bool v4 = weir_addr_is_v4(a);

	*ret_len = v4 ? 4 : 16;
	return a->b + (v4 ? 12 : 0);
}

static void take_bytes(struct weir_addr *to, const void *bytes, bool v4)
{
	if (!v4) {
		memcpy(to->b, bytes, 16);
		return;
	}
	*to = (struct weir_addr){ .b = { [10] = 0xff, 0xff } };
	memcpy(to->b + 12, bytes, 4);
}

static int take_gateway(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *route = weir_nl_payload(h, sizeof(*route));
	const struct rtvia *via;
	const void *gateway;
	bool v4;

	if (h->nlmsg_type != RTM_NEWROUTE || !route)
		return 0;
	v4 = route->rtm_family == AF_INET;
	gateway = weir_nl_find(h, sizeof(*route), RTA_GATEWAY, v4 ? 4 : 16);
	via = weir_nl_find(h, sizeof(*route), RTA_VIA, sizeof(*via) + 16);
	if (gateway)
		take_bytes(arg, gateway, v4);
	else if (via && via->rtvia_family == AF_INET6) /* IPv4 by an IPv6 gateway */
		take_bytes(arg, via->rtvia_addr, false);
	return 0;
}

int weir_neigh_next_hop(uint32_t ifindex, const struct weir_addr *dst, struct weir_addr *ret)
{
	size_t len;
	const uint8_t *bytes = bytes_of(dst, &len);
	struct rtmsg route = {
		.rtm_family = len == 4 ? AF_INET : AF_INET6,
		.rtm_dst_len = (uint8_t)(len * 8),
	};
	struct weir_nl_msg m;

	*ret = *dst;
	weir_nl_begin(&m, RTM_GETROUTE, 0, &route, sizeof(route));
	weir_nl_attr(&m, RTA_DST, bytes, len);
	weir_nl_attr(&m, RTA_OIF, &ifindex, sizeof(ifindex));
	return weir_nl_ask(NETLINK_ROUTE, &m, take_gateway, ret);
}

struct question {
	uint32_t ifindex;
	const uint8_t *addr;
	size_t len;
	uint8_t *mac;
	bool found;
};

static int take_neighbour(void *arg, const struct nlmsghdr *h)
{
	const struct ndmsg *n = weir_nl_payload(h, sizeof(*n));
	struct question *q = arg;
	const void *dst, *mac;

	if (h->nlmsg_type != RTM_NEWNEIGH || !n || n->ndm_ifindex != (int)q->ifindex ||
	    n->ndm_state & (NUD_INCOMPLETE | NUD_FAILED))
		return 0;
	dst = weir_nl_find(h, sizeof(*n), NDA_DST, q->len);
	mac = weir_nl_find(h, sizeof(*n), NDA_LLADDR, MAC_LEN);
	if (!dst || !mac || memcmp(dst, q->addr, q->len) != 0)
		return 0;
	memcpy(q->mac, mac, MAC_LEN);
	q->found = true;
	return 0;
}

int weir_neigh_find(uint32_t ifindex, const struct weir_addr *addr, uint8_t ret[6])
{
	struct question q = { .ifindex = ifindex, .mac = ret };
	struct ndmsg n = { 0 };
	struct weir_nl_msg m;
	int code = -EINTR;

	q.addr = bytes_of(addr, &q.len);
	n.ndm_family = q.len == 4 ? AF_INET : AF_INET6;
	for (int i = 0; i < DUMP_TRIES && code == -EINTR; i++) {
		weir_nl_begin(&m, RTM_GETNEIGH, NLM_F_DUMP, &n, sizeof(n));
		code = weir_nl_ask(NETLINK_ROUTE, &m, take_neighbour, &q);
	}
	return code ? code : q.found ? 0 : -ENOENT;
}
