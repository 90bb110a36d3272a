/* SPDX-License-Identifier: GPL-2.0-only */
/* How the interfaces of this namespace lie on one another (rtnetlink(7)). */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_link {
	uint32_t index;
	uint32_t below;	 /* what it lies on, in this namespace; 0 = nothing */
	uint32_t peer;	 /* of a veth: its other end, in this namespace; 0 = elsewhere */
	uint32_t master; /* the bridge, bond, team, VRF that it is a port of; 0 = none */
	uint32_t queues; /* receive queues that the device has room for */
	uint16_t type;	 /* ARPHRD_* */
	bool up;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth", "bridge"; "" where it tells none */
};

/* All interfaces of this namespace. *ret is malloc'ed. 0 or a negative errno. */
int weir_links_read(struct weir_link **ret, size_t *ret_n);
/* Those of the namespace of @fd, a weir_nl_open(NETLINK_ROUTE). */
int weir_links_read_by(int fd, struct weir_link **ret, size_t *ret_n);

/* @ifindex and every interface by which its packets may come and go: the ports of a
 * bridge, bond, team or VRF, what a VLAN, macvlan or tunnel lies on, and so on down.
 * *ret is malloc'ed. 0 or a negative errno. */
int weir_links_below(uint32_t ifindex, uint32_t **ret, size_t *ret_n);

/* The kind that an RTM_NEWLINK message tells: "veth", "bridge"; "" where it tells none. */
struct nlmsghdr;
void weir_links_kind(const struct nlmsghdr *h, char *buf, size_t size);
