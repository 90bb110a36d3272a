/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who else needs the packets that AF_XDP would take? An interface whose packets reach an
 * address or a route of this host is taken from only with --take.
 *
 * The link-local addresses and routes of IPv6 do not count: the kernel puts them on every
 * interface that comes up, also on those that only listen.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "cap/watch/session.h"
#include "dataplane/links.h"
#include "dataplane/netlink.h"

#define DUMP_TRIES 5

struct look {
	const struct weir_link *links;
	size_t n;
	bool *above;	   /* by index into @links: do the interface's packets get there? */
	const char *iface; /* where something was found, NULL = nowhere yet */
	char what[64];	   /* "address 192.0.2.1", "route 192.0.2.0/24" */
};

static bool lies_on(const struct weir_link *l, uint32_t below)
{
	return l->below == below || l->index == below;
}

/* The interface, what it is a port of, and what lies on either. */
static void find_above(struct look *k, uint32_t ifindex)
{
	bool more = true;

	for (size_t i = 0; i < k->n; i++)
		k->above[i] = lies_on(&k->links[i], ifindex);
	while (more) {
		more = false;
		for (size_t i = 0; i < k->n; i++)
			for (size_t j = 0; k->above[i] && j < k->n; j++)
				if (!k->above[j] && (k->links[i].master == k->links[j].index ||
						     lies_on(&k->links[j], k->links[i].index)))
					more = k->above[j] = true;
	}
}

static const char *is_above(const struct look *k, uint32_t ifindex)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->above[i] && k->links[i].index == ifindex)
			return k->links[i].name;
	return NULL;
}

/* Of IPv6 fe80::/10, and ff00::/8, which always goes with it. */
static bool is_link_local(int family, const uint8_t *addr)
{
	return family == AF_INET6 && addr &&
	       ((addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80) || addr[0] == 0xff);
}

static size_t address_size(int family)
{
	return family == AF_INET  ? sizeof(struct in_addr) :
	       family == AF_INET6 ? sizeof(struct in6_addr) :
				    0;
}

static int found(struct look *k, const char *iface, const char *kind, int family,
		 const uint8_t *addr, int prefix)
{
	static const uint8_t any[16];
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, addr ? addr : any, text, sizeof(text));
	snprintf(k->what, sizeof(k->what), prefix < 0 ? "%s %s" : "%s %s/%d", kind, text, prefix);
	k->iface = iface;
	return 1; /* enough */
}

static int on_address(void *arg, const struct nlmsghdr *h)
{
	struct look *k = arg;
	const struct ifaddrmsg *a = weir_nl_payload(h, sizeof(*a));
	const uint8_t *addr = NULL;
	const char *iface;

	if (h->nlmsg_type != RTM_NEWADDR || !a || !address_size(a->ifa_family))
		return 0;
	iface = is_above(k, a->ifa_index);
	addr = weir_nl_find(h, sizeof(*a), IFA_LOCAL, address_size(a->ifa_family));
	if (!addr)
		addr = weir_nl_find(h, sizeof(*a), IFA_ADDRESS, address_size(a->ifa_family));
	if (!iface || !addr || is_link_local(a->ifa_family, addr))
		return 0;
	return found(k, iface, "address", a->ifa_family, addr, -1);
}

/* A route's ways, where it has several. */
static const char *way_above(const struct look *k, const struct nlmsghdr *h)
{
	const void *all =
		weir_nl_find(h, sizeof(struct rtmsg), RTA_MULTIPATH, sizeof(struct rtnexthop));
	const struct rtnexthop *way = all;
	const char *iface = NULL;
	int left;

	if (!all)
		return NULL;
	/* weir_nl_find() gives the attribute's payload: its header lies before. */
	left = ((const struct rtattr *)all - 1)->rta_len - (int)RTA_LENGTH(0);
	while (!iface && left >= (int)sizeof(*way) && RTNH_OK(way, left)) {
		iface = is_above(k, (uint32_t)way->rtnh_ifindex);
		left -= (int)RTNH_ALIGN(way->rtnh_len);
		way = RTNH_NEXT(way);
	}
	return iface;
}

static int on_route(void *arg, const struct nlmsghdr *h)
{
	struct look *k = arg;
	const struct rtmsg *r = weir_nl_payload(h, sizeof(*r));
	const uint8_t *to;
	const void *oif;
	const char *iface;
	uint32_t index;

	if (h->nlmsg_type != RTM_NEWROUTE || !r || !address_size(r->rtm_family))
		return 0;
	to = weir_nl_find(h, sizeof(*r), RTA_DST, address_size(r->rtm_family));
	oif = weir_nl_find(h, sizeof(*r), RTA_OIF, sizeof(index));
	if (oif)
		memcpy(&index, oif, sizeof(index));
	iface = oif ? is_above(k, index) : way_above(k, h);
	if (!iface || is_link_local(r->rtm_family, to))
		return 0;
	return found(k, iface, "route", r->rtm_family, to, r->rtm_dst_len);
}

static int ask(struct look *k, uint16_t type, const void *payload, size_t size,
	       int (*fn)(void *arg, const struct nlmsghdr *h))
{
	struct weir_nl_msg m;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		weir_nl_begin(&m, type, NLM_F_DUMP, payload, size);
		ret = weir_nl_ask(NETLINK_ROUTE, &m, fn, k);
	}
	return ret < 0 ? ret : 0;
}

static int look_at(struct look *k, const char *name, uint32_t ifindex, struct weir_error *err)
{
	const struct ifaddrmsg addresses = { .ifa_family = AF_UNSPEC };
	const struct rtmsg routes = { .rtm_family = AF_UNSPEC };
	int ret;

	find_above(k, ifindex);
	ret = ask(k, RTM_GETADDR, &addresses, sizeof(addresses), on_address);
	if (!ret && !k->iface)
		ret = ask(k, RTM_GETROUTE, &routes, sizeof(routes), on_route);
	if (ret)
		return weir_fail(err, ret,
				 "cannot find out who uses %s: %s: say --take, or use "
				 "--capture xdp",
				 name, strerror(-ret));
	if (!k->iface)
		return 0;
	if (!strcmp(k->iface, name))
		return weir_fail(err, -EBUSY,
				 "%s carries the %s, and AF_XDP takes packets away: "
				 "use --capture xdp, which only looks, or say --take",
				 name, k->what);
	return weir_fail(err, -EBUSY,
			 "%s is below %s, which carries the %s, and AF_XDP takes "
			 "packets away: use --capture xdp, which only looks, or say "
			 "--take",
			 name, k->iface, k->what);
}

int weir_take_check(const struct weir_watch *w, struct weir_error *err)
{
	weir_autofree struct weir_link *links = NULL;
	weir_autofree bool *above = NULL;
	struct look k = { 0 };
	int ret = weir_links_read(&links, &k.n);

	if (ret)
		return weir_fail(err, ret, "cannot list the interfaces: %s: report this",
				 strerror(-ret));
	above = calloc(k.n + 1, sizeof(*above));
	if (!above)
		return weir_fail(err, -ENOMEM, "out of memory");
	k.links = links;
	k.above = above;
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = look_at(&k, w->ifaces[i].name, w->ifaces[i].ifindex, err);
	return ret;
}
