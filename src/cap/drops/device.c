/* SPDX-License-Identifier: GPL-2.0-only */
/* The counters of interfaces (rtnetlink) and what their drivers tell besides (ethtool). */
#include <ctype.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/drops/balance.h"
#include "cap/drops/counters.h"
#include "cap/drops/qdiscs.h"
#include "dataplane/links.h"
#include "dataplane/netlink.h"

#define STATS_MAX 8192 /* of one interface */
#define INTERFACES_MAX 4096
#define DUMP_TRIES 5

/* What is freed in the driver's own functions is found by their prefix (settle.c). */
static const struct device_def {
	struct weir_drops_counter_def def;
	size_t at; /* in struct rtnl_link_stats64 */
} device_defs[] = {
	{ { "rx_missed", WEIR_STAGE_NIC, WEIR_COUNTER_COUNTS, NULL, NULL, NULL, 0,
	    "the NIC had no free buffer: raise the ring (ethtool -G), or spread its interrupts",
	    NULL },
	  offsetof(struct rtnl_link_stats64, rx_missed_errors) },
	{ { "rx_errors", WEIR_STAGE_NIC, WEIR_COUNTER_COUNTS, NULL, NULL, NULL, 0,
	    "bad frames: check cable, optics, duplex; ethtool -S has the details", NULL },
	  offsetof(struct rtnl_link_stats64, rx_errors) },
	{ { "rx_dropped", WEIR_STAGE_DRIVER, WEIR_COUNTER_COUNTS, NULL,
	    " UNHANDLED_PROTO CPU_BACKLOG ", " __netif_receive_skb_core enqueue_to_backlog ", 0,
	    "dropped by driver or stack on receipt: ethtool -S has the details", NULL },
	  offsetof(struct rtnl_link_stats64, rx_dropped) },
	{ { "tx_dropped", WEIR_STAGE_TX, WEIR_COUNTER_COUNTS, NULL,
	    " FULL_RING DEV_READY DEV_HDR TAP_FILTER TAP_TXFILTER SKB_GSO_SEG SKB_CSUM "
	    "RECURSION_LIMIT ",
	    " __dev_queue_xmit dev_hard_start_xmit ", 0,
	    "dropped on sending: the interface is down, or its peer's queue full", NULL },
	  offsetof(struct rtnl_link_stats64, tx_dropped) },
	{ { "tx_errors", WEIR_STAGE_TX, WEIR_COUNTER_COUNTS, NULL, NULL, NULL, 0,
	    "sending failed: check carrier and cable; ethtool -S has the details", NULL },
	  offsetof(struct rtnl_link_stats64, tx_errors) },
};

/* A driver's own counters are parts of those above, in words of its own; only what XDP
 * dropped is in none of them. */
static const struct weir_drops_counter_def driver_def = {
	"driver",
	WEIR_STAGE_DRIVER,
	WEIR_COUNTER_SHOWN,
	NULL,
	NULL,
	NULL,
	0,
	"the driver's own count, a part of the interface's",
	NULL,
};
static const struct weir_drops_counter_def xdp_def = {
	"xdp_drops",
	WEIR_STAGE_XDP,
	WEIR_COUNTER_COUNTS,
	NULL,
	" XDP ",
	" veth_xdp_rcv veth_xdp_rcv_skb do_xdp_generic ",
	0,
	"XDP programs dropped them: `bpftool net` shows whose they are",
	NULL,
};

struct device {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth"; "" = of hardware, or loopback */
	bool loopback;
	struct rtnl_link_stats64 stats;
};

struct devices {
	struct device *v;
	size_t n;
};

static int take_link(void *arg, const struct nlmsghdr *h)
{
	struct devices *all = arg;
	const struct ifinfomsg *info = weir_nl_payload(h, sizeof(*info));
	const char *name;
	const void *stats;
	struct device *grown;

	if (h->nlmsg_type != RTM_NEWLINK || !info)
		return 0;
	name = weir_nl_find(h, sizeof(*info), IFLA_IFNAME, 2);
	/* Older kernels tell fewer of them. */
	stats = weir_nl_find(h, sizeof(*info), IFLA_STATS64,
			     offsetof(struct rtnl_link_stats64, rx_nohandler));
	if (!name || !stats || all->n == INTERFACES_MAX)
		return 0;
	grown = reallocarray(all->v, all->n + 1, sizeof(*all->v));
	if (!grown)
		return -ENOMEM;
	all->v = grown;
	grown[all->n] = (struct device){ .ifindex = (uint32_t)info->ifi_index };
	snprintf(grown[all->n].name, IF_NAMESIZE, "%s", name);
	weir_links_kind(h, grown[all->n].kind, sizeof(grown[all->n].kind));
	grown[all->n].loopback = info->ifi_flags & IFF_LOOPBACK;
	memcpy(&grown[all->n].stats, stats, offsetof(struct rtnl_link_stats64, rx_nohandler));
	all->n++;
	return 0;
}

static int list_devices(struct devices *all)
{
	struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	struct weir_nl_msg m;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		all->n = 0;
		weir_nl_begin(&m, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &any, sizeof(any));
		ret = weir_nl_ask(NETLINK_ROUTE, &m, take_link, all);
	}
	return ret;
}

static int ask_ethtool(int sock, const char *ifname, void *data)
{
	struct ifreq ifr = { .ifr_data = data };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	return ioctl(sock, SIOCETHTOOL, &ifr) ? -errno : 0;
}

static bool has_word(const char *name, const char *word)
{
	return strstr(name, word) != NULL;
}

/* Names are the driver's own; these are the words that they use for losses. */
static bool tells_loss(const char *name)
{
	static const char *const words[] = {
		"drop",	  "discard", "miss",	   "err",     "fifo",
		"no_buf", "nobuf",   "out_of_buf", "overrun",
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(words); i++)
		if (has_word(name, words[i]))
			return true;
	return false;
}

static bool is_queue(const char *name)
{
	for (; *name; name++)
		if (isdigit((unsigned char)*name))
			return true;
	return false;
}

static bool is_xdp_drop(const char *name)
{
	return has_word(name, "xdp") && has_word(name, "drop") && !has_word(name, "tx");
}

struct driver_stats {
	struct ethtool_gstrings *names;
	struct ethtool_stats *values;
};

static int take_stats(struct weir_drops_counters_now *c, const struct weir_drops_counter *like,
		      const struct driver_stats *s)
{
	bool total = false;
	int ret = 0;

	/* Some drivers tell the sum and each queue's part. */
	for (uint32_t i = 0; i < s->names->len; i++) {
		const char *name = (const char *)s->names->data + (size_t)i * ETH_GSTRING_LEN;

		total = total || (is_xdp_drop(name) && !is_queue(name));
	}
	for (uint32_t i = 0; i < s->names->len && !ret; i++) {
		const char *name = (const char *)s->names->data + (size_t)i * ETH_GSTRING_LEN;
		bool xdp = is_xdp_drop(name) && !(total && is_queue(name));
		struct weir_drops_counter x = *like;

		if (!tells_loss(name))
			continue;
		x.def = xdp ? &xdp_def : &driver_def;
		snprintf(x.name, sizeof(x.name), "%s", xdp ? xdp_def.name : name);
		x.value = s->values->data[i];
		ret = weir_drops_counter_add(c, &x);
	}
	return ret;
}

/* What the driver tells; one that tells nothing is no error. */
static int read_driver(struct weir_drops_counters_now *c, int sock,
		       const struct weir_drops_counter *like, uint32_t n)
{
	weir_autofree struct ethtool_gstrings *names =
		calloc(1, sizeof(*names) + (size_t)n * ETH_GSTRING_LEN + 1);
	weir_autofree struct ethtool_stats *values =
		calloc(1, sizeof(*values) + (size_t)n * sizeof(uint64_t));
	struct driver_stats s = { names, values };

	if (!names || !values)
		return -ENOMEM;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = n;
	values->cmd = ETHTOOL_GSTATS;
	values->n_stats = n;
	if (ask_ethtool(sock, like->iface, names) || ask_ethtool(sock, like->iface, values) ||
	    names->len != n || values->n_stats != n)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		names->data[(size_t)(i + 1) * ETH_GSTRING_LEN - 1] = '\0';
	return take_stats(c, like, &s);
}

static int read_device(struct weir_drops_counters_now *c, int sock, const struct device *d)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct weir_drops_counter x = { .ifindex = d->ifindex };
	int ret = 0;

	memcpy(x.iface, d->name, sizeof(x.iface));
	if (!ask_ethtool(sock, d->name, &info))
		snprintf(x.driver, sizeof(x.driver), "%s", info.driver);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(device_defs) && !ret; i++) {
		x.def = &device_defs[i].def;
		snprintf(x.name, sizeof(x.name), "%s", x.def->name);
		memcpy(&x.value, (const char *)&d->stats + device_defs[i].at, sizeof(x.value));
		ret = weir_drops_counter_add(c, &x);
	}
	if (!ret && info.n_stats && info.n_stats <= STATS_MAX)
		ret = read_driver(c, sock, &x, info.n_stats);
	return ret;
}

int weir_drops_read_devices(struct weir_drops_counters_now *c, uint32_t ifindex,
			    struct weir_error *err)
{
	weir_autoclose int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct devices all = { 0 };
	int ret = sock < 0 ? -errno : list_devices(&all);

	for (size_t i = 0; i < all.n && !ret; i++)
		if (!ifindex || all.v[i].ifindex == ifindex)
			ret = read_device(c, sock, &all.v[i]);
	free(all.v);
	if (!ret)
		ret = weir_drops_read_qdiscs(c, ifindex);
	return ret ? weir_fail(err, ret,
			       "cannot read the interfaces' counters: %s: check `ip -s "
			       "link`",
			       strerror(-ret)) :
		     0;
}

/* What comes to one of these has come to an interface below it, and leaves by one. */
static bool is_upper(const struct device *d)
{
	static const char kinds[] = " vlan macvlan macvtap ipvlan ipvtap bridge bond team vrf ";

	return d->kind[0] && weir_drops_in(kinds, d->kind);
}

int weir_drops_moved(struct weir_drops_totals *t)
{
	struct devices all = { 0 };
	int ret = list_devices(&all);

	if (!ret) {
		t->late = calloc(all.n + 1, sizeof(*t->late));
		ret = t->late ? 0 : -ENOMEM;
	}
	for (size_t i = 0; i < all.n && !ret; i++) {
		const struct device *d = &all.v[i];

		if (!is_upper(d)) {
			t->v[WEIR_TOTAL_RECEIVED] += d->stats.rx_packets;
			t->v[WEIR_TOTAL_SENT] += d->stats.tx_packets;
		}
		if (d->loopback || !strcmp(d->kind, "veth"))
			t->late[t->n_late++] = d->ifindex;
	}
	free(all.v);
	return ret;
}
