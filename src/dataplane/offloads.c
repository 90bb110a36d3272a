/* SPDX-License-Identifier: GPL-2.0-only */
/* What attaching native XDP does to the offloads of an interface and of its
 * veth peer. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "dataplane/gate.h"

#define FEATURES_MAX 1024 /* the kernel has 64 or so */
#define ANSWER_MAX 16384

/* Offloads that drivers and the stack change for XDP, by the kernel's names. */
static const char *const features[] = {
	"rx-checksum",
	"rx-gro",
	"rx-gro-hw",
	"rx-gro-list",
	"rx-hashing",
	"rx-lro",
	"rx-ntuple-filter",
	"rx-udp-gro-forwarding",
	"rx-vlan-filter",
	"rx-vlan-hw-parse",
	"rx-vlan-stag-hw-parse",
	"tx-checksum-ip-generic",
	"tx-checksum-ipv4",
	"tx-checksum-ipv6",
	"tx-checksum-sctp",
	"tx-generic-segmentation",
	"tx-gre-segmentation",
	"tx-gso-list",
	"tx-gso-partial",
	"tx-gso-robust",
	"tx-nocache-copy",
	"tx-scatter-gather",
	"tx-scatter-gather-fraglist",
	"tx-sctp-segmentation",
	"tx-tcp-ecn-segmentation",
	"tx-tcp-mangleid-segmentation",
	"tx-tcp-segmentation",
	"tx-tcp6-segmentation",
	"tx-udp-segmentation",
	"tx-udp_tnl-csum-segmentation",
	"tx-udp_tnl-segmentation",
	"tx-vlan-hw-insert",
	"tx-vlan-stag-hw-insert",
};

_Static_assert(WEIR_ARRAY_SIZE(features) <= 64, "one bit each");

static int ethtool(int fd, const char *ifname, void *command)
{
	struct ifreq req = { .ifr_data = command };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	return ioctl(fd, SIOCETHTOOL, &req) ? -errno : 0;
}

static int count_features(int fd, const char *ifname, uint32_t *ret)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} ask = {
		.info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_FEATURES },
	};
	int err = ethtool(fd, ifname, &ask);

	if (err)
		return err;
	if (!ask.info.sset_mask || !ask.count || ask.count > FEATURES_MAX)
		return -EOPNOTSUPP;
	*ret = ask.count;
	return 0;
}

static uint64_t feature_bit(const char *name)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(features); i++)
		if (!strcmp(features[i], name))
			return 1ULL << i;
	return 0;
}

static int read_features(int fd, const char *ifname, uint64_t *ret)
{
	weir_autofree struct ethtool_gstrings *names = NULL;
	weir_autofree struct ethtool_gfeatures *state = NULL;
	uint32_t n, blocks;
	int err = count_features(fd, ifname, &n);

	if (err)
		return err;
	blocks = (n + 31) / 32;
	names = calloc(1, sizeof(*names) + (size_t)n * ETH_GSTRING_LEN);
	state = calloc(1, sizeof(*state) + blocks * sizeof(state->features[0]));
	if (!names || !state)
		return -ENOMEM;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = n;
	state->cmd = ETHTOOL_GFEATURES;
	state->size = blocks;
	err = ethtool(fd, ifname, names);
	if (!err)
		err = ethtool(fd, ifname, state);
	if (err)
		return err;
	*ret = 0;
	for (uint32_t i = 0; i < n && i / 32 < state->size; i++) {
		char *name = (char *)names->data + (size_t)i * ETH_GSTRING_LEN;

		name[ETH_GSTRING_LEN - 1] = '\0';
		if (state->features[i / 32].active & 1U << i % 32)
			*ret |= feature_bit(name);
	}
	return 0;
}

/* Ask rtnetlink for one interface; the answer's length or a negative errno. */
static int ask_link(const char *ifname, void *answer, size_t size)
{
	weir_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr head;
		struct ifinfomsg body;
	} req = {
		.head = { .nlmsg_len = sizeof(req),
			  .nlmsg_type = RTM_GETLINK,
			  .nlmsg_flags = NLM_F_REQUEST },
		.body = { .ifi_index = (int)if_nametoindex(ifname) },
	};
	ssize_t n;

	if (!req.body.ifi_index)
		return -ENODEV;
	if (fd < 0 || send(fd, &req, sizeof(req), 0) != sizeof(req))
		return -errno;
	n = recv(fd, answer, size, 0);
	return n < 0 ? -errno : (int)n;
}

static bool is_veth(struct rtattr *info)
{
	int left = (int)RTA_PAYLOAD(info);

	for (struct rtattr *a = RTA_DATA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_INFO_KIND)
			return RTA_PAYLOAD(a) >= 4 && !strncmp(RTA_DATA(a), "veth", 4);
	return false;
}

/* The name of the other end of a veth in this namespace. */
static bool find_peer(const char *ifname, char peer[IF_NAMESIZE])
{
	weir_autofree struct nlmsghdr *answer = calloc(1, ANSWER_MAX);
	bool veth = false, elsewhere = false;
	uint32_t index = 0;
	int n = answer ? ask_link(ifname, answer, ANSWER_MAX) : -ENOMEM;
	int left;

	if (n < 0 || !NLMSG_OK(answer, (uint32_t)n) || answer->nlmsg_type != RTM_NEWLINK)
		return false;
	left = (int)IFLA_PAYLOAD(answer);
	for (struct rtattr *a = IFLA_RTA(NLMSG_DATA(answer)); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		switch (a->rta_type & NLA_TYPE_MASK) {
		case IFLA_LINKINFO:
			veth = is_veth(a);
			break;
		case IFLA_LINK:
			memcpy(&index, RTA_DATA(a), sizeof(index));
			break;
		case IFLA_LINK_NETNSID:
			elsewhere = true;
			break;
		}
	}
	return veth && !elsewhere && index && if_indextoname(index, peer);
}

int weir_gate_offloads(const char *ifname, struct weir_gate_offloads *ret)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct weir_gate_offloads o = { 0 };
	char peer[IF_NAMESIZE];
	int err;

	if (fd < 0)
		return -errno;
	err = read_features(fd, ifname, &o.own);
	if (err)
		return err;
	if (find_peer(ifname, peer))
		o.has_peer = !read_features(fd, peer, &o.peer);
	*ret = o;
	return 0;
}

static unsigned int add_names(uint64_t lost, const char *suffix, char *buf, unsigned int at,
			      unsigned int size)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(features) && at < size; i++)
		if (lost & 1ULL << i)
			at += (unsigned int)snprintf(buf + at, size - at, "%s%s%s", at ? ", " : "",
						     features[i], suffix);
	return at;
}

void weir_gate_offloads_diff(const struct weir_gate_offloads *before,
			     const struct weir_gate_offloads *after, char *buf, unsigned int size)
{
	unsigned int at;

	if (!size)
		return;
	buf[0] = '\0';
	at = add_names(before->own & ~after->own, "", buf, 0, size);
	if (before->has_peer && after->has_peer)
		add_names(before->peer & ~after->peer, " (peer)", buf, at, size);
}
