/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bpf/parse.bpf.h"
#include "cap/send/send.h"
#include "dataplane/caps.h"
#include "dataplane/neigh.h"

#define WAIT_NS 200000	/* for room in the interface's queue */
#define WAITS_MAX 50000 /* in a row: ten seconds without room */

static int parse_mac(const char *option, const char *text, uint8_t mac[6], struct weir_error *err)
{
	struct ether_addr a;

	if (!ether_aton_r(text, &a))
		return weir_fail(
			err, -EINVAL,
			"%s \"%s\": not an Ethernet address: write it as 02:00:00:00:00:01", option,
			text);
	memcpy(mac, a.ether_addr_octet, ETH_ALEN);
	return 0;
}

int weir_send_link_init(struct weir_send_link *l, const struct weir_send_options *o,
			struct weir_error *err)
{
	int ret = 0;

	*l = (struct weir_send_link){ .name = o->iface, .dgram = o->socket == 1, .fd = -1 };
	l->has_src = o->eth_src;
	l->has_dst = o->eth_dst;
	if (o->eth_src)
		ret = parse_mac("--eth-src", o->eth_src, l->src, err);
	if (!ret && o->eth_dst)
		ret = parse_mac("--eth-dst", o->eth_dst, l->dst, err);
	return ret;
}

static int look_at(struct weir_send_link *l, struct weir_error *err)
{
	struct ifreq req = { 0 };

	if (strlen(l->name) >= IFNAMSIZ || !(l->ifindex = if_nametoindex(l->name)))
		return weir_fail(err, -ENODEV, "no interface %s: `ip link` lists them", l->name);
	memcpy(req.ifr_name, l->name, strlen(l->name));
	if (ioctl(l->fd, SIOCGIFFLAGS, &req))
		return weir_fail(err, -errno, "cannot look at %s: %s", l->name, strerror(errno));
	if (!(req.ifr_flags & IFF_UP))
		return weir_fail(err, -ENETDOWN, "%s is down: ip link set %s up", l->name, l->name);
	if (ioctl(l->fd, SIOCGIFMTU, &req))
		return weir_fail(err, -errno, "cannot look at %s: %s", l->name, strerror(errno));
	l->mtu = (unsigned int)req.ifr_mtu;
	if (ioctl(l->fd, SIOCGIFHWADDR, &req))
		return weir_fail(err, -errno, "cannot look at %s: %s", l->name, strerror(errno));
	l->loopback = req.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
	l->bare = !l->loopback && req.ifr_hwaddr.sa_family != ARPHRD_ETHER;
	memcpy(l->mac, req.ifr_hwaddr.sa_data, sizeof(l->mac));
	return 0;
}

static int open_socket(struct weir_send_link *l, struct weir_error *err)
{
	l->fd = socket(AF_PACKET, (l->dgram ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, 0);
	if (l->fd >= 0)
		return 0;
	if (errno == EPERM || errno == EACCES)
		return weir_caps_need(WEIR_CAP_NET_RAW, "send packets", err);
	return weir_fail(err, -errno, "cannot open an AF_PACKET socket: %s", strerror(errno));
}

int weir_send_link_open(struct weir_send_link *l, struct weir_error *err)
{
	int ret = open_socket(l, err);

	if (!ret)
		ret = look_at(l, err);
	if (!ret && !(l->frame = malloc(WEIR_SEND_BATCH * sizeof(*l->frame))))
		ret = weir_fail(err, -ENOMEM, "no memory for packets");
	return ret;
}

void weir_send_link_close(struct weir_send_link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	free(l->frame);
	l->frame = NULL;
}

static bool is_group(const uint8_t *mac)
{
	return mac[0] & 1;
}

int weir_send_link_resolve(struct weir_send_link *l, const struct weir_craft *packet,
			   struct weir_error *err)
{
	struct weir_addr dst, hop;
	char text[WEIR_ADDR_STRLEN];
	struct weir_pkt p;
	int ret;

	if (!l->has_src)
		memcpy(l->src, l->mac, sizeof(l->src));
	l->has_src = true;
	if (l->has_dst || l->bare || is_group(packet->frame))
		return 0;
	l->has_dst = true;
	if (l->loopback) {
		memset(l->dst, 0, sizeof(l->dst));
		return 0;
	}
	weir_parse(&p, packet->frame, packet->frame + packet->len, WEIR_L2_ETHER, 0,
		   (uint32_t)packet->len);
	memcpy(dst.b, p.dst, sizeof(dst.b));
	ret = weir_neigh_next_hop(l->ifindex, &dst, &hop);
	if (ret)
		return weir_fail(err, ret,
				 "no route to %s by %s (%s): say who gets it with --eth-dst",
				 weir_addr_str(&dst, text), l->name, strerror(-ret));
	ret = weir_neigh_find(l->ifindex, &hop, l->dst);
	if (ret)
		return weir_fail(err, ret,
				 "the Ethernet address of %s is not known on %s: ping it first, "
				 "or give --eth-dst",
				 weir_addr_str(&hop, text), l->name);
	return 0;
}

void weir_send_link_add(struct weir_send_link *l, const struct weir_craft *packet)
{
	uint8_t *frame = l->frame[l->n];

	memcpy(frame, packet->frame, packet->len);
	if (l->has_dst)
		memcpy(frame, l->dst, ETH_ALEN);
	if (l->has_src)
		memcpy(frame + ETH_ALEN, l->src, ETH_ALEN);
	l->len[l->n++] = (uint32_t)packet->len;
}

struct batch {
	struct mmsghdr msg[WEIR_SEND_BATCH];
	struct iovec iov[WEIR_SEND_BATCH];
	struct sockaddr_ll to[WEIR_SEND_BATCH];
};

static void fill(const struct weir_send_link *l, struct batch *b)
{
	size_t skip = l->dgram || l->bare ? ETH_HLEN : 0;

	memset(b, 0, sizeof(*b));
	for (unsigned int i = 0; i < l->n; i++) {
		uint8_t *frame = l->frame[i];
		struct sockaddr_ll *to = &b->to[i];

		to->sll_family = AF_PACKET;
		to->sll_ifindex = (int)l->ifindex;
		memcpy(&to->sll_protocol, frame + 2 * ETH_ALEN, sizeof(to->sll_protocol));
		to->sll_halen = ETH_ALEN;
		memcpy(to->sll_addr, frame, ETH_ALEN);
		b->iov[i] = (struct iovec){ .iov_base = frame + skip, .iov_len = l->len[i] - skip };
		b->msg[i].msg_hdr = (struct msghdr){
			.msg_name = to,
			.msg_namelen = sizeof(*to),
			.msg_iov = &b->iov[i],
			.msg_iovlen = 1,
		};
	}
}

static int explain(const struct weir_send_link *l, int code, struct weir_error *err)
{
	switch (code) {
	case ENETDOWN:
		return weir_fail(err, -code, "%s went down: ip link set %s up", l->name, l->name);
	case ENXIO:
	case ENODEV:
		return weir_fail(err, -code, "%s is gone: `ip link` lists what is there", l->name);
	case ENOBUFS:
		return weir_fail(err, -code,
				 "the queue of %s has been full for ten seconds: is its link up?",
				 l->name);
	default:
		return weir_fail(err, -code, "cannot send by %s: %s", l->name, strerror(code));
	}
}

/* The first packet of those left was not taken. 0: go on, with the next one where it
 * can never be sent. */
static int not_taken(const struct weir_send_link *l, unsigned int *at, unsigned int *waits,
		     struct weir_send_account *a, struct weir_error *err)
{
	const struct timespec wait = { .tv_nsec = WAIT_NS };
	int code = errno;

	if (code == EINTR)
		return 0;
	if (code == EMSGSIZE) {
		a->too_long++;
		++*at;
		return 0;
	}
	if (code != ENOBUFS && code != EAGAIN)
		return explain(l, code, err);
	if (++*waits > WAITS_MAX)
		return explain(l, ENOBUFS, err);
	a->waited++;
	nanosleep(&wait, NULL);
	return 0;
}

int weir_send_link_flush(struct weir_send_link *l, const volatile int *stop,
			 struct weir_send_account *a, struct weir_error *err)
{
	unsigned int at = 0, waits = 0;
	struct batch b;
	int ret = 0;

	fill(l, &b);
	while (at < l->n && !*stop && !ret) {
		int n = sendmmsg(l->fd, b.msg + at, l->n - at, 0);

		if (n < 0) {
			ret = not_taken(l, &at, &waits, a, err);
			continue;
		}
		waits = 0;
		for (int i = 0; i < n; i++)
			a->bytes += l->len[at++];
		a->sent += (uint64_t)n;
	}
	l->n = 0;
	return ret;
}
