/* SPDX-License-Identifier: GPL-2.0-only */
/* The receive rings of network cards: how large they are, by ethtool's ioctl. How many of
 * their descriptors are filled no common call tells. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/path/session.h"

static bool ask(int fd, const char *name, struct weir_path_nic *ret)
{
	struct ethtool_ringparam ring = { .cmd = ETHTOOL_GRINGPARAM };
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_data = (char *)&ring;
	if (ioctl(fd, SIOCETHTOOL, &ifr) || !ring.rx_max_pending)
		return false;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->rx = ring.rx_pending;
	ret->rx_max = ring.rx_max_pending;
	return true;
}

size_t weir_path_nics(uint32_t ifindex, struct weir_path_nic *ret, size_t max)
{
	weir_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct if_nameindex *all = if_nameindex();
	size_t n = 0;

	for (struct if_nameindex *i = all; fd >= 0 && i && i->if_index && n < max; i++)
		if (!ifindex || i->if_index == ifindex)
			n += ask(fd, i->if_name, &ret[n]);
	if (all)
		if_freenameindex(all);
	return n;
}
