/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/netlink.h"

#define BPFFS "/sys/fs/bpf"
#define PREFIX 30

const char *const weir_lab_iface[2] = { "lab-a", "lab-b" };
const char *const weir_lab_addr[2] = { "10.213.0.1", "10.213.0.2" };

int weir_lab_enter(const struct weir_lab *l, enum weir_lab_side side)
{
	return setns(l->ns[side], CLONE_NEWNET) ? -errno : 0;
}

int weir_lab_leave(const struct weir_lab *l)
{
	return setns(l->home, CLONE_NEWNET) ? -errno : 0;
}

/* ---- Links */

/* A nested attribute in a buffer of its own: what is put in is counted by @n. */
struct nest {
	_Alignas(struct nlattr) unsigned char bytes[256];
	size_t n;
};

static void nest_add(struct nest *to, uint16_t type, const void *value, size_t len)
{
	struct nlattr *a = (struct nlattr *)(to->bytes + to->n);

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + len);
	memcpy(to->bytes + to->n + NLA_HDRLEN, value, len);
	to->n += NLA_ALIGN(a->nla_len);
}

static int ask(struct weir_nl_msg *m)
{
	return weir_nl_ask(NETLINK_ROUTE, m, NULL, NULL);
}

/* In side A: its end, whose other one is made in side B. */
static int make_veth(const struct weir_lab *l)
{
	const struct ifinfomsg none = { 0 };
	struct nest peer = { 0 }, data = { 0 }, info = { 0 };
	struct weir_nl_msg m;

	/* The peer's attributes stand behind a struct ifinfomsg of its own. */
	memcpy(peer.bytes, &none, sizeof(none));
	peer.n = sizeof(none);
	nest_add(&peer, IFLA_IFNAME, weir_lab_iface[WEIR_LAB_B],
		 strlen(weir_lab_iface[WEIR_LAB_B]) + 1);
	nest_add(&peer, IFLA_NET_NS_FD, &l->ns[WEIR_LAB_B], sizeof(l->ns[WEIR_LAB_B]));
	nest_add(&data, VETH_INFO_PEER, peer.bytes, peer.n);
	nest_add(&info, IFLA_INFO_KIND, "veth", strlen("veth"));
	nest_add(&info, IFLA_INFO_DATA, data.bytes, data.n);
	weir_nl_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &none, sizeof(none));
	weir_nl_attr(&m, IFLA_IFNAME, weir_lab_iface[WEIR_LAB_A],
		     strlen(weir_lab_iface[WEIR_LAB_A]) + 1);
	weir_nl_attr(&m, IFLA_LINKINFO, info.bytes, info.n);
	return ask(&m);
}

static int set_up(const char *name)
{
	struct ifinfomsg link = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct weir_nl_msg m;

	link.ifi_index = (int)if_nametoindex(name);
	if (!link.ifi_index)
		return -errno;
	weir_nl_begin(&m, RTM_NEWLINK, 0, &link, sizeof(link));
	return ask(&m);
}

static int set_addr(const char *name, const char *text)
{
	struct ifaddrmsg addr = { .ifa_family = AF_INET, .ifa_prefixlen = PREFIX };
	struct weir_nl_msg m;
	struct in_addr a;

	addr.ifa_index = if_nametoindex(name);
	if (!addr.ifa_index || inet_pton(AF_INET, text, &a) != 1)
		return -ENODEV;
	weir_nl_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &addr, sizeof(addr));
	weir_nl_attr(&m, IFA_LOCAL, &a, sizeof(a));
	weir_nl_attr(&m, IFA_ADDRESS, &a, sizeof(a));
	return ask(&m);
}

/* Neighbour discovery would be seen among what is sent on purpose. */
static void be_quiet(void)
{
	weir_autoclose int fd =
		open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	/* A kernel without IPv6 is quiet anyway. */
	if (fd >= 0 && write(fd, "1", 1) != 1)
		return;
}

/* ---- Namespaces */

static int new_netns(int *ret_fd)
{
	if (unshare(CLONE_NEWNET))
		return -errno;
	be_quiet();
	*ret_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

static int own_bpffs(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	/* One over the other: what the host has pinned is not seen from here. */
	return mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") ? -errno :
											   0;
}

static int bring_up(const struct weir_lab *l, enum weir_lab_side side)
{
	int ret = weir_lab_enter(l, side);

	if (!ret)
		ret = set_up("lo");
	if (!ret)
		ret = set_addr(weir_lab_iface[side], weir_lab_addr[side]);
	return ret ? ret : set_up(weir_lab_iface[side]);
}

static int make(struct weir_lab *l)
{
	int ret = new_netns(&l->ns[WEIR_LAB_A]);

	if (!ret)
		ret = new_netns(&l->ns[WEIR_LAB_B]);
	if (!ret)
		ret = weir_lab_enter(l, WEIR_LAB_A);
	if (!ret)
		ret = make_veth(l);
	if (!ret)
		ret = bring_up(l, WEIR_LAB_A);
	return ret ? ret : bring_up(l, WEIR_LAB_B);
}

int weir_lab_open(struct weir_lab *l, struct weir_error *err)
{
	int ret, back;

	*l = (struct weir_lab){ .ns = { -1, -1 } };
	l->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (l->home < 0)
		return weir_fail(err, -errno, "cannot open this network namespace: %s",
				 strerror(errno));
	ret = make(l);
	back = weir_lab_leave(l);
	ret = ret ? ret : back;
	if (!ret)
		ret = own_bpffs();
	if (!ret)
		return 0;
	weir_lab_close(l);
	return weir_fail(err, ret, "cannot make private namespaces (%s): run as root%s",
			 strerror(-ret),
			 ret == -EOPNOTSUPP ? ", on a kernel with veth (CONFIG_VETH)" : "");
}

void weir_lab_close(struct weir_lab *l)
{
	for (int i = 0; i < 2; i++)
		weir_closep(&l->ns[i]);
	weir_closep(&l->home);
}

static int take_stats(void *arg, const struct nlmsghdr *h)
{
	const struct rtnl_link_stats64 *s =
		weir_nl_find(h, sizeof(struct ifinfomsg), IFLA_STATS64, sizeof(uint64_t) * 2);
	uint64_t *to = arg;

	if (s)
		memcpy(to, s, 2 * sizeof(*to)); /* rx_packets, tx_packets */
	return 0;
}

int weir_lab_packets(const struct weir_lab *l, enum weir_lab_side side, uint64_t *ret_received,
		     uint64_t *ret_sent)
{
	struct ifinfomsg link = { 0 };
	struct weir_nl_msg m;
	uint64_t v[2] = { 0 };
	int ret = weir_lab_enter(l, side), back;

	if (ret)
		return ret;
	link.ifi_index = (int)if_nametoindex(weir_lab_iface[side]);
	weir_nl_begin(&m, RTM_GETLINK, 0, &link, sizeof(link));
	ret = weir_nl_ask(NETLINK_ROUTE, &m, take_stats, v);
	back = weir_lab_leave(l);
	*ret_received = v[0];
	*ret_sent = v[1];
	return ret ? ret : back;
}
