/* SPDX-License-Identifier: GPL-2.0-only */
/* Two network namespaces joined by a pair of veth, by rtnetlink(7). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/bypass/place.h"
#include "cap/bypass/trial.h"
#include "dataplane/netlink.h"

#define HERE "weir-a"
#define THERE "weir-b"

/* An attribute whose contents are other attributes. */
struct nest {
	char bytes[256];
	size_t len;
};

static void nest_add(struct nest *n, uint16_t type, const void *value, size_t len)
{
	struct rtattr *a = (struct rtattr *)(n->bytes + n->len);

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), value, len);
	n->len += RTA_ALIGN(a->rta_len);
}

/* The pair, one end of it in the namespace @there. */
static int make_pair(int there)
{
	struct ifinfomsg info = { 0 };
	_Alignas(8) struct nest peer = { .len = sizeof(info) }, data = { 0 }, link = { 0 };
	struct weir_nl_msg m;

	memcpy(peer.bytes, &info, sizeof(info));
	nest_add(&peer, IFLA_IFNAME, THERE, sizeof(THERE));
	nest_add(&peer, IFLA_NET_NS_FD, &there, sizeof(there));
	nest_add(&data, VETH_INFO_PEER, peer.bytes, peer.len);
	nest_add(&link, IFLA_INFO_KIND, "veth", 5);
	nest_add(&link, IFLA_INFO_DATA, data.bytes, data.len);
	weir_nl_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));
	weir_nl_attr(&m, IFLA_IFNAME, HERE, sizeof(HERE));
	weir_nl_attr(&m, IFLA_LINKINFO, link.bytes, link.len);
	return weir_nl_ask(NETLINK_ROUTE, &m, NULL, NULL);
}

static int set_up(const char *name, const char *addr)
{
	weir_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { 0 };
	struct sockaddr_in at = { .sin_family = AF_INET };

	if (fd < 0)
		return -errno;
	strcpy(r.ifr_name, name);
	inet_pton(AF_INET, addr, &at.sin_addr);
	memcpy(&r.ifr_addr, &at, sizeof(at));
	if (ioctl(fd, SIOCSIFADDR, &r))
		return -errno;
	inet_pton(AF_INET, "255.255.255.0", &at.sin_addr);
	memcpy(&r.ifr_netmask, &at, sizeof(at));
	if (ioctl(fd, SIOCSIFNETMASK, &r))
		return -errno;
	r.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &r) ? -errno : 0;
}

int weir_trial_veth(int *ret_server)
{
	weir_autoclose int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	weir_autoclose int there = -1;
	int ret;

	if (here < 0)
		return -errno;
	ret = weir_bypass_isolate();
	if (ret)
		return ret;
	there = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (there < 0 || setns(here, CLONE_NEWNET))
		return -errno;
	ret = make_pair(there);
	if (!ret)
		ret = set_up(HERE, "192.0.2.1");
	if (ret)
		return ret;
	if (setns(there, CLONE_NEWNET))
		return -errno;
	ret = set_up(THERE, "192.0.2.2");
	if (setns(here, CLONE_NEWNET))
		return -errno;
	if (!ret)
		*ret_server = WEIR_TAKE_FD(there);
	return ret;
}
