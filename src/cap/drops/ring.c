/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/ring.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"

static bool ask(int sock, const char *iface, struct ethtool_ringparam *ret)
{
	struct ifreq ifr = { .ifr_data = (void *)ret };

	*ret = (struct ethtool_ringparam){ .cmd = ETHTOOL_GRINGPARAM };
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", iface);
	return !ioctl(sock, SIOCETHTOOL, &ifr) && ret->rx_pending;
}

/* Was it told before, for another counter of the same NIC? */
static bool is_first(const struct weir_drops_ledger *l, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (l->v[i].stage == WEIR_STAGE_NIC && l->v[i].ifindex == l->v[at].ifindex)
			return false;
	return true;
}

void weir_drops_rings_text(const struct weir_drops_ledger *l, struct weir_buf *out)
{
	weir_autoclose int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_ringparam ring;

	for (size_t i = 0; sock >= 0 && i < l->n; i++) {
		const struct weir_drops_row *r = &l->v[i];

		if (r->stage != WEIR_STAGE_NIC || !is_first(l, i) || !ask(sock, r->iface, &ring))
			continue;
		weir_buf_addf(out, "Ring: %s has %u receive buffers a queue, ", r->iface,
			      ring.rx_pending);
		if (ring.rx_pending < ring.rx_max_pending)
			weir_buf_addf(out, "of at most %u: `ethtool -G %s rx %u`\n",
				      ring.rx_max_pending, r->iface, ring.rx_max_pending);
		else
			weir_buf_adds(out, "and can have no more: spread its interrupts\n");
	}
}

static void free_names(struct if_nameindex **all)
{
	if (*all)
		if_freenameindex(*all);
}

void weir_drops_rings_json(const struct weir_drops_scope *scope, struct weir_json *j)
{
	weir_cleanup(free_names) struct if_nameindex *all = if_nameindex();
	weir_autoclose int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_ringparam ring;
	bool any = false;

	for (const struct if_nameindex *i = all; i && i->if_index && sock >= 0; i++) {
		if ((scope->ifindex && scope->ifindex != i->if_index) ||
		    !ask(sock, i->if_name, &ring))
			continue;
		if (!any)
			weir_json_array(j, "rings");
		any = true;
		weir_json_object(j, NULL);
		weir_json_str(j, "iface", i->if_name);
		weir_json_uint(j, "rx", ring.rx_pending);
		weir_json_uint(j, "rx_max", ring.rx_max_pending);
		weir_json_end_object(j);
	}
	if (any)
		weir_json_end_array(j);
}
