/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The receive rings of network cards: how large they are, by ethtool's ioctl, and how full,
 * which no common call tells: two drivers show it in their registers, one in its statistics.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/path/session.h"

#define REGISTERS 32
#define STATISTICS_MAX 8192

/* Of Intel's cards, in the order of both drivers' register dumps. */
enum { RDLEN = 3, RDH = 4, RDT = 5 };
#define DESCRIPTOR_BYTES 16

bool weir_path_ring_registers(const uint32_t *regs, size_t n, uint32_t size, uint32_t *filled)
{
	uint32_t given;

	if (n <= RDT || !size || regs[RDLEN] / DESCRIPTOR_BYTES != size || regs[RDH] >= size ||
	    regs[RDT] >= size)
		return false;
	given = (regs[RDT] + size - regs[RDH]) % size;
	/* One always stays empty: a full ring could not be told from an empty one. */
	*filled = size - 1 - given;
	return true;
}

/* The number of @name, which is "rx_posted_desc[3]" for queue 3; absent: false. */
static bool statistic(const char *names, const uint64_t *values, size_t n, const char *name,
		      unsigned int queue, uint64_t *ret)
{
	char wanted[ETH_GSTRING_LEN];

	snprintf(wanted, sizeof(wanted), "%s[%u]", name, queue);
	for (size_t i = 0; i < n; i++) {
		if (strncmp(names + i * ETH_GSTRING_LEN, wanted, ETH_GSTRING_LEN) != 0)
			continue;
		*ret = values[i];
		return true;
	}
	return false;
}

bool weir_path_ring_statistics(const char *names, const uint64_t *values, size_t n, uint32_t size,
			       uint32_t *filled)
{
	uint64_t posted, completed;
	unsigned int queue = 0;

	*filled = 0;
	while (statistic(names, values, n, "rx_posted_desc", queue, &posted) &&
	       statistic(names, values, n, "rx_completed_desc", queue, &completed)) {
		uint32_t given = (uint32_t)posted - (uint32_t)completed;

		/* Some queues' formats are not counted: then the figures make no sense. */
		if (!posted || given > size)
			return false;
		*filled = size - given > *filled ? size - given : *filled;
		queue++;
	}
	return queue;
}

static bool ask(int fd, const char *name, void *question)
{
	struct ifreq ifr = { .ifr_data = question };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return !ioctl(fd, SIOCETHTOOL, &ifr);
}

static bool by_registers(int fd, const struct ethtool_drvinfo *driver,
			 const struct weir_path_nic *nic, uint32_t *filled)
{
	weir_autofree struct ethtool_regs *regs = NULL;

	if (driver->regdump_len < (RDT + 1) * sizeof(uint32_t) ||
	    driver->regdump_len > REGISTERS * sizeof(uint32_t))
		return false;
	regs = calloc(1, sizeof(*regs) + driver->regdump_len);
	if (!regs)
		return false;
	regs->cmd = ETHTOOL_GREGS;
	regs->len = driver->regdump_len;
	return ask(fd, nic->name, regs) &&
	       weir_path_ring_registers((const uint32_t *)regs->data, regs->len / sizeof(uint32_t),
					nic->rx, filled);
}

static bool by_statistics(int fd, const struct ethtool_drvinfo *driver,
			  const struct weir_path_nic *nic, uint32_t *filled)
{
	weir_autofree struct ethtool_gstrings *names = NULL;
	weir_autofree struct ethtool_stats *values = NULL;
	uint32_t n = driver->n_stats;

	if (!n || n > STATISTICS_MAX)
		return false;
	names = calloc(1, sizeof(*names) + (size_t)n * ETH_GSTRING_LEN);
	values = calloc(1, sizeof(*values) + n * sizeof(uint64_t));
	if (!names || !values)
		return false;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = n;
	values->cmd = ETHTOOL_GSTATS;
	values->n_stats = n;
	return ask(fd, nic->name, names) && ask(fd, nic->name, values) &&
	       weir_path_ring_statistics((const char *)names->data, (const uint64_t *)values->data,
					 n, nic->rx, filled);
}

static const struct {
	const char *driver;
	bool (*how)(int fd, const struct ethtool_drvinfo *driver, const struct weir_path_nic *nic,
		    uint32_t *filled);
} drivers[] = {
	{ "e1000", by_registers },
	{ "e1000e", by_registers },
	{ "gve", by_statistics },
};

static void ask_fill(int fd, struct weir_path_nic *nic)
{
	struct ethtool_drvinfo driver = { .cmd = ETHTOOL_GDRVINFO };

	nic->knows_fill = false;
	if (!ask(fd, nic->name, &driver))
		return;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(drivers); i++)
		if (!strncmp(driver.driver, drivers[i].driver, sizeof(driver.driver)))
			nic->knows_fill = drivers[i].how(fd, &driver, nic, &nic->filled);
}

static bool ask_size(int fd, const char *name, struct weir_path_nic *ret)
{
	struct ethtool_ringparam ring = { .cmd = ETHTOOL_GRINGPARAM };

	if (!ask(fd, name, &ring) || !ring.rx_max_pending)
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

	for (struct if_nameindex *i = all; fd >= 0 && i && i->if_index && n < max; i++) {
		if ((ifindex && i->if_index != ifindex) || !ask_size(fd, i->if_name, &ret[n]))
			continue;
		ask_fill(fd, &ret[n]);
		n++;
	}
	if (all)
		if_freenameindex(all);
	return n;
}
