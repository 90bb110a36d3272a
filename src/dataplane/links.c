/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/links.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "dataplane/netlink.h"

#define DUMP_TRIES 5

struct links {
	struct weir_link *v;
	size_t n, cap;
};

void weir_links_kind(const struct nlmsghdr *h, char *buf, size_t size)
{
	const struct rtattr *info = weir_nl_find(h, sizeof(struct ifinfomsg), IFLA_LINKINFO, 0);
	int left;

	buf[0] = '\0';
	if (!info)
		return;
	/* weir_nl_find() gives the attribute's payload: its header lies before. */
	info = (const struct rtattr *)(const void *)((const char *)info - RTA_LENGTH(0));
	left = (int)RTA_PAYLOAD(info);
	for (const struct rtattr *a = RTA_DATA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_INFO_KIND)
			snprintf(buf, size, "%.*s", (int)RTA_PAYLOAD(a), (const char *)RTA_DATA(a));
}

static uint32_t number(const struct nlmsghdr *h, uint16_t type)
{
	const void *at = weir_nl_find(h, sizeof(struct ifinfomsg), type, sizeof(uint32_t));
	uint32_t v = 0;

	if (at)
		memcpy(&v, at, sizeof(v));
	return v;
}

static int add_link(void *arg, const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = weir_nl_payload(h, sizeof(*info));
	struct links *l = arg;
	struct weir_link *at;
	const char *name;

	if (h->nlmsg_type != RTM_NEWLINK || !info)
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct weir_link *v = reallocarray(l->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	at = &l->v[l->n];
	*at = (struct weir_link){
		.index = (uint32_t)info->ifi_index,
		.master = number(h, IFLA_MASTER),
		.queues = number(h, IFLA_NUM_RX_QUEUES),
		.type = info->ifi_type,
		.up = info->ifi_flags & IFF_UP,
	};
	name = weir_nl_find(h, sizeof(*info), IFLA_IFNAME, 1);
	snprintf(at->name, sizeof(at->name), "%s", name ? name : "");
	weir_links_kind(h, at->kind, sizeof(at->kind));
	/* A veth's IFLA_LINK is its other end, which is beside it and not below. */
	if (!weir_nl_find(h, sizeof(*info), IFLA_LINK_NETNSID, 0))
		*(strcmp(at->kind, "veth") ? &at->below : &at->peer) = number(h, IFLA_LINK);
	l->n++;
	return 0;
}

static int dump_links(int fd, struct links *l)
{
	const struct ifinfomsg all = { .ifi_family = AF_UNSPEC };
	struct weir_nl_msg m;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		l->n = 0;
		weir_nl_begin(&m, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
		ret = weir_nl_ask_by(fd, &m, add_link, l);
	}
	return ret;
}

int weir_links_read_by(int fd, struct weir_link **ret, size_t *ret_n)
{
	struct links l = { 0 };
	int err = fd < 0 ? fd : dump_links(fd, &l);

	if (err) {
		free(l.v);
		return err;
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

int weir_links_read(struct weir_link **ret, size_t *ret_n)
{
	weir_autoclose int fd = weir_nl_open(NETLINK_ROUTE);

	return weir_links_read_by(fd, ret, ret_n);
}

static bool holds(const uint32_t *v, size_t n, uint32_t x)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == x)
			return true;
	return false;
}

int weir_links_below(uint32_t ifindex, uint32_t **ret, size_t *ret_n)
{
	struct weir_link *links = NULL;
	uint32_t *set;
	size_t n = 1, total = 0, before;
	int err = weir_links_read(&links, &total);

	set = err ? NULL : calloc(2 * total + 2, sizeof(*set));
	if (!set) {
		free(links);
		return err ? err : -ENOMEM;
	}
	set[0] = ifindex;
	do {
		before = n;
		for (size_t i = 0; i < total; i++) {
			const struct weir_link *k = &links[i];

			if (k->master && holds(set, n, k->master) && !holds(set, n, k->index))
				set[n++] = k->index;
			if (k->below && holds(set, n, k->index) && !holds(set, n, k->below))
				set[n++] = k->below;
		}
	} while (n != before);
	free(links);
	*ret = set;
	*ret_n = n;
	return 0;
}
