/* SPDX-License-Identifier: GPL-2.0-only */
/* How the interfaces of this namespace lie on one another (rtnetlink(7)). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* @ifindex and every interface by which its packets may come and go: the ports of a
 * bridge, bond, team or VRF, what a VLAN, macvlan or tunnel lies on, and so on down.
 * *ret is malloc'ed. 0 or a negative errno. */
int weir_links_below(uint32_t ifindex, uint32_t **ret, size_t *ret_n);

/* The kind that an RTM_NEWLINK message tells: "veth", "bridge"; "" where it tells none. */
struct nlmsghdr;
void weir_links_kind(const struct nlmsghdr *h, char *buf, size_t size);
