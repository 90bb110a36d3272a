/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a run looks: the network namespace, and the interfaces that are named in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/watch/session.h"
#include "dataplane/netns.h"
#include "dataplane/sys.h"

#define ROUTE_UP 0x1
#define ROUTE_REJECT 0x200

int weir_ifaces_enter(struct weir_watch *w, struct weir_error *err)
{
	int ret;

	if (!w->opt.netns)
		return 0;
	if (w->opt.read_file)
		return weir_fail(err, -EINVAL, "a file is of no network namespace: leave --netns out");
	w->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ret = weir_netns_enter(w->opt.netns, err);
	w->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (!ret && (w->home_fd < 0 || w->netns_fd < 0 || weir_sys_netns_cookie(&w->netns)))
		ret = weir_fail(err, -EIO, "the network namespace %s cannot be read: is /proc "
					   "mounted?", w->opt.netns);
	return ret;
}

/* The interface of the default route with the lowest metric. */
static void scan_routes(const char *path, bool ipv6, char *buf, size_t size)
{
	weir_autofclose FILE *f = fopen(path, "re");
	unsigned int dest, mask = 0, flags, metric, best = ~0U;
	char line[256], name[IF_NAMESIZE];
	bool found;

	while (f && fgets(line, sizeof(line), f)) {
		if (ipv6)
			found = sscanf(line, "%*32s %x %*32s %*x %*32s %x %*x %*x %x %15s", &dest,
				       &metric, &flags, name) == 4 && !dest &&
				!strncmp(line, "00000000000000000000000000000000 00 ", 36);
		else
			found = sscanf(line, "%15s %x %*x %x %*d %*d %u %x", name, &dest, &flags,
				       &metric, &mask) == 5 && !dest && !mask;
		if (found && flags & ROUTE_UP && !(flags & ROUTE_REJECT) && metric < best) {
			best = metric;
			snprintf(buf, size, "%s", name);
		}
	}
}

static int default_interface(char *buf, size_t size, struct weir_error *err)
{
	buf[0] = '\0';
	scan_routes("/proc/net/route", false, buf, size);
	if (!buf[0])
		scan_routes("/proc/net/ipv6_route", true, buf, size);
	return buf[0] ? 0 : weir_fail(err, -ENODEV, "there is no default route: say where with -i");
}

static int add_interface(struct weir_watch *w, const char *name, struct weir_error *err)
{
	struct weir_watch_iface *i = &w->ifaces[w->n_ifaces];
	struct ifreq ifr = {0};
	weir_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (w->n_ifaces == WEIR_WATCH_IFACES)
		return weir_fail(err, -E2BIG, "too many interfaces: at most %d in one run",
				 WEIR_WATCH_IFACES);
	i->ifindex = if_nametoindex(name);
	if (!i->ifindex || strlen(name) >= IF_NAMESIZE)
		return weir_fail(err, -ENODEV, "no interface %s: `ip link` lists them", name);
	for (unsigned int j = 0; j < w->n_ifaces; j++) /* by number: it may have two names */
		if (w->ifaces[j].ifindex == i->ifindex)
			return weir_fail(err, -EINVAL,
					 "%s is given twice: name each interface once", name);
	snprintf(i->name, sizeof(i->name), "%s", name);
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (fd >= 0 && !ioctl(fd, SIOCGIFHWADDR, &ifr)) {
		int type = ifr.ifr_hwaddr.sa_family;

		i->loopback = type == ARPHRD_LOOPBACK;
		i->no_l2 = type == ARPHRD_NONE || type == ARPHRD_RAWIP || type == ARPHRD_PPP ||
			   type == ARPHRD_TUNNEL || type == ARPHRD_TUNNEL6 || type == ARPHRD_SIT;
		if (!i->no_l2 && !i->loopback && type != ARPHRD_ETHER)
			return weir_fail(err, -EINVAL,
					 "%s has link type %d: weir reads Ethernet and "
					 "raw IP, try tcpdump",
					 name, type);
	}
	w->n_ifaces++;
	return 0;
}

/* A DPDK port: a device's arguments, whose name comes first. */
static int add_port(struct weir_watch *w, const char *arguments, struct weir_error *err)
{
	struct weir_watch_iface *i = &w->ifaces[w->n_ifaces];
	size_t n = strcspn(arguments, ",");

	if (w->n_ifaces == WEIR_WATCH_IFACES)
		return weir_fail(err, -E2BIG, "too many ports: at most %d in one run",
				 WEIR_WATCH_IFACES);
	if (!n || n >= sizeof(i->name))
		return weir_fail(err, -EINVAL, "-i %s: give a port, for example "
					       "net_af_packet0,iface=eth0", arguments);
	memcpy(i->name, arguments, n);
	for (unsigned int j = 0; j < w->n_ifaces; j++)
		if (!strcmp(w->ifaces[j].name, i->name))
			return weir_fail(err, -EINVAL,
					 "port %s is given twice: name each port once", i->name);
	w->n_ifaces++;
	return 0;
}

static int find_ports(struct weir_watch *w, struct weir_error *err)
{
	const struct weir_strv *ports = &w->opt.interfaces;
	int ret = 0;

	if (!ports->n)
		return weir_fail(err, -EINVAL,
				 "--capture dpdk has no default: say which port with -i");
	for (unsigned int i = 0; !ret && i < ports->n; i++)
		ret = add_port(w, ports->v[i], err);
	return ret;
}

static bool is_any(const char *name)
{
	return !strcmp(name, "any");
}

bool weir_ifaces_any(const struct weir_watch_options *o)
{
	for (unsigned int i = 0; i < o->interfaces.n; i++)
		if (is_any(o->interfaces.v[i]))
			return true;
	return false;
}

int weir_ifaces_find(struct weir_watch *w, struct weir_error *err)
{
	struct weir_watch_options *o = &w->opt;
	char name[IF_NAMESIZE];
	const char *base;
	int ret = 0;

	if (o->read_file) {
		if (o->interfaces.n)
			return weir_fail(err, -EINVAL, "-r reads a file, not an interface: leave -i out");
		base = strrchr(o->read_file, '/');
		snprintf(w->ifaces[0].name, sizeof(w->ifaces[0].name), "%s",
			 base && base[1] ? base + 1 : o->read_file);
		w->n_ifaces = 1;
		return 0;
	}
	if (w->hook == WEIR_HOOK_DPDK)
		return find_ports(w, err);
	if (!o->interfaces.n) {
		ret = default_interface(name, sizeof(name), err);
		return ret ? ret : add_interface(w, name, err);
	}
	if (weir_ifaces_any(o))
		return weir_any_find(w, err);
	for (unsigned int i = 0; !ret && i < o->interfaces.n; i++)
		ret = add_interface(w, o->interfaces.v[i], err);
	return ret;
}
