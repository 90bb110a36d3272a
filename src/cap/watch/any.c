/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * -i any: all interfaces that are up, each packet looked at in one place.
 *
 * Where, is decided by how the interfaces lie on one another, never by what a packet holds, and
 * again when that changes: they join when they come up, and leave when they are deleted.
 *
 * A packet that comes in is looked at where it comes in first, on the device next to the wire;
 * one that goes out, where it goes out last. So what lies on others (VLAN, macvlan, bond, team,
 * VRF) is left to what it lies on. Three kinds of device hand on packets that were looked at
 * already:
 *
 *   lo             what goes out comes in again: in only
 *   veth, both     what goes out of one end comes in at the other: in only
 *   ends here
 *   bridge         what one port sends out came in by another port, or from the bridge
 *                  itself: ports in only, the bridge out only
 *
 * A tunnel is an interface of its own, since its packets are others than those that carry them.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/watch/session.h"
#include "dataplane/links.h"
#include "dataplane/netlink.h"

#define DEPTH_MAX 16	/* devices on one another; the kernel allows 8 */
#define KNOWN_MAX 65536 /* interfaces remembered */

struct weir_any {
	int fd;		 /* asks for them, also once this process has left their namespace */
	int news;	 /* tells that they have changed; -1: nobody asks */
	bool stale;	 /* the last look has failed */
	uint32_t *known; /* not watched, and told of; where none join, those of the start too */
	size_t n;
};

struct point {
	bool in, out;
};

struct map {
	const struct weir_link *v;
	size_t n;
};

static const struct weir_link *find(const struct map *m, uint32_t index)
{
	for (size_t i = 0; index && i < m->n; i++)
		if (m->v[i].index == index)
			return &m->v[i];
	return NULL;
}

static bool is_one_of(const char *kind, const char *const *kinds)
{
	for (; *kinds; kinds++)
		if (!strcmp(kind, *kinds))
			return true;
	return false;
}

/* Do its frames pass another interface of this namespace, but for a tag? */
static bool lies_on_another(const struct map *m, const struct weir_link *l)
{
	static const char *const kinds[] = { "vlan",   "macvlan", "macvtap", "ipvlan",
					     "ipvtap", "dsa",	  NULL };

	if (is_one_of(l->kind, kinds) && find(m, l->below))
		return true;
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].master == l->index)
			return true;
	return false;
}

/* Is all that it carries a bridge's? A bond may stand in between. */
static bool is_of_bridge(const struct map *m, const struct weir_link *l)
{
	for (int i = 0; i < DEPTH_MAX && l && l->master; i++) {
		l = find(m, l->master);
		if (l && !strcmp(l->kind, "bridge"))
			return true;
	}
	return false;
}

static bool is_bridge_with_port(const struct map *m, const struct weir_link *l)
{
	/* A port that lies on another device shares that one with others, and is looked at
	 * there, also on the way out. */
	for (size_t i = 0; !strcmp(l->kind, "bridge") && i < m->n; i++)
		if (m->v[i].master == l->index && (!lies_on_another(m, &m->v[i]) || !m->v[i].below))
			return true;
	return false;
}

/* Its packets all come from another interface by a rule of tc. */
static bool is_ifb(const struct weir_link *l)
{
	return !strcmp(l->kind, "ifb");
}

static struct point one_point(const struct map *m, const struct weir_link *l, bool out_only)
{
	const struct weir_link *peer = find(m, l->peer);
	bool of_bridge = is_of_bridge(m, l);

	if (is_ifb(l))
		return (struct point){ 0 };
	if (lies_on_another(m, l))
		return (struct point){ .out = !out_only && is_bridge_with_port(m, l) };
	if (out_only)
		return (struct point){ .out = true };
	if (l->type == ARPHRD_LOOPBACK)
		return (struct point){ .in = true };
	if (!peer)
		return (struct point){ .in = true, .out = !of_bridge };
	/* From a port of a bridge come only packets that the bridge was seen to get. */
	return (struct point){ .in = !is_of_bridge(m, peer) };
}

static bool is_readable(const struct weir_link *l)
{
	static const uint16_t types[] = { ARPHRD_ETHER,	 ARPHRD_LOOPBACK, ARPHRD_NONE, ARPHRD_RAWIP,
					  ARPHRD_TUNNEL, ARPHRD_TUNNEL6,  ARPHRD_SIT,  ARPHRD_PPP };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(types); i++)
		if (l->type == types[i])
			return true;
	return false;
}

static int remember(struct weir_any *a, uint32_t index)
{
	uint32_t *known = a->n < KNOWN_MAX ? reallocarray(a->known, a->n + 1, sizeof(*known)) :
					     NULL;

	if (!known)
		return -ENOMEM;
	known[a->n++] = index;
	a->known = known;
	return 0;
}

static bool is_known(const struct weir_any *a, uint32_t index)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->known[i] == index)
			return true;
	return false;
}

/* Where to look at interface @l: both false, nowhere. */
static struct point point_of(const struct weir_watch *w, const struct map *m,
			     const struct weir_link *l)
{
	bool in = w->opt.direction != 1, out = w->opt.direction != 0;
	struct point p = { true, true };

	if (w->opt.points != 1)
		p = one_point(m, l, !in);
	/* libpcap itself leaves out what goes out there, as it comes in again. */
	if (w->hook == WEIR_HOOK_PCAP && l->type == ARPHRD_LOOPBACK)
		p.out = false;
	return (struct point){ .in = p.in && in, .out = p.out && out };
}

static bool has_no_l2(const struct weir_link *l)
{
	return l->type != ARPHRD_ETHER && l->type != ARPHRD_LOOPBACK;
}

/* A slot for interface @l: that of one of its name that is gone, or a free one. */
static unsigned int slot_for(const struct weir_watch *w, const struct weir_link *l)
{
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (w->ifaces[i].gone && w->ifaces[i].no_l2 == has_no_l2(l) &&
		    !strcmp(w->ifaces[i].name, l->name))
			return i;
	return w->n_ifaces;
}

/* Why interface @l cannot be watched; NULL: it can. */
static const char *obstacle(const struct weir_watch *w, const struct weir_link *l)
{
	if (!is_readable(l))
		return "carries neither Ethernet nor plain IP and is not watched: try tcpdump";
	if (slot_for(w, l) == WEIR_WATCH_IFACES)
		return "is one too many and is not watched: name it in another run";
	/* At the start it is a usage error. */
	if (w->running && w->opt.strict_pcap && has_no_l2(l) != w->ifaces[0].no_l2)
		return "has another link type than --strict-pcap was given for and is not "
		       "watched: name it in another run";
	if (w->running && has_no_l2(l) && weir_match_fields(w->match) & 1U << WEIR_FIELD_ETHER)
		return "has no ether header, which the match reads, and is not watched: name it in "
		       "another run";
	return NULL;
}

static void fill(struct weir_watch_iface *x, const struct weir_link *l, struct point p)
{
	*x = (struct weir_watch_iface){
		.ifindex = l->index,
		.loopback = l->type == ARPHRD_LOOPBACK,
		.no_l2 = has_no_l2(l),
		.in_only = !p.out,
		.out_only = !p.in,
	};
	memcpy(x->name, l->name, sizeof(l->name));
}

static int choose(struct weir_watch *w, const struct map *m, struct weir_error *err)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct weir_link *l = &m->v[i];
		struct point p = point_of(w, m, l);
		bool wanted = l->up && (p.in || p.out);
		const char *why = wanted ? obstacle(w, l) : NULL;

		/* One that nothing is looked at on now may get its part later. */
		if (l->up && (why || !weir_any_joins(w)) && remember(w->any, l->index))
			return weir_fail(err, -ENOMEM, "out of memory");
		if (why)
			weir_watch_tell(w, "skipped", l->name, why);
		else if (wanted)
			fill(&w->ifaces[w->n_ifaces++], l, p);
	}
	return w->n_ifaces ? 0 :
			     weir_fail(err, -ENODEV,
				       "no interface is up: see `ip link`, or name "
				       "one with -i");
}

/* ---- While it runs */

static int listen_to_links(struct weir_any *a)
{
	const struct sockaddr_nl links = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	a->news = weir_nl_open(NETLINK_ROUTE);
	if (a->news < 0)
		return a->news;
	return bind(a->news, (const struct sockaddr *)&links, sizeof(links)) ? -errno : 0;
}

static void leave(struct weir_watch *w, unsigned int slot)
{
	w->ifaces[slot].gone = true;
	w->engine->aim(w, slot);
	weir_watch_tell(w, "gone", w->ifaces[slot].name, "is gone");
}

static void join(struct weir_watch *w, const struct weir_link *l, struct point p)
{
	const char *why = obstacle(w, l);
	unsigned int slot = slot_for(w, l);
	int ret;

	if (is_known(w->any, l->index))
		return;
	if (!why) {
		fill(&w->ifaces[slot], l, p);
		ret = w->engine->aim(w, slot);
		if (!ret)
			ret = weir_watch_promisc(w, slot);
		if (ret) {
			w->ifaces[slot].gone = true;
			w->engine->aim(w, slot);
			why = "came up after the start and cannot be joined: start again to "
			      "include it";
		}
		if (ret == -ENODEV) /* gone already */
			return;
	}
	if (why) {
		/* Not each second; without memory that is what happens. */
		remember(w->any, l->index);
		weir_watch_tell(w, "skipped", l->name, why);
		return;
	}
	if (slot == w->n_ifaces) {
		w->n_ifaces++;
		weir_writer_join(w, slot);
	}
	weir_watch_tell(w, "joined", l->name, "came up and is watched");
}

/* Other interfaces may have given this one another part. */
static void turn(struct weir_watch *w, unsigned int slot, struct point p)
{
	struct weir_watch_iface *x = &w->ifaces[slot];
	const struct weir_watch_iface before = *x;

	if (x->in_only == !p.out && x->out_only == !p.in)
		return;
	x->in_only = !p.out;
	x->out_only = !p.in;
	if (!w->engine->aim(w, slot))
		return;
	*x = before; /* tried again */
	w->any->stale = true;
}

static int slot_of(const struct weir_watch *w, uint32_t ifindex)
{
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (!w->ifaces[i].gone && w->ifaces[i].ifindex == ifindex)
			return (int)i;
	return -1;
}

int weir_any_find(struct weir_watch *w, struct weir_error *err)
{
	weir_autofree struct weir_link *links = NULL;
	struct map m = { 0 };
	int ret;

	w->any = calloc(1, sizeof(*w->any));
	if (!w->any)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->any->news = -1;
	w->any->fd = weir_nl_open(NETLINK_ROUTE);
	/* First listen, then look: nothing happens in between. */
	ret = weir_any_joins(w) ? listen_to_links(w->any) : 0;
	if (!ret)
		ret = weir_links_read_by(w->any->fd, &links, &m.n);
	if (ret)
		return weir_fail(err, ret, "cannot list the interfaces: %s: name them with -i",
				 strerror(-ret));
	m.v = links;
	return choose(w, &m, err);
}

int weir_any_fd(const struct weir_watch *w)
{
	return w->any->news;
}

/* Told of once; an index may come back as another interface. */
static void forget(struct weir_any *a, const struct map *m)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		if (find(m, a->known[i]))
			a->known[n++] = a->known[i];
	a->n = n;
}

static void follow(struct weir_watch *w, const struct map *m)
{
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (!w->ifaces[i].gone && !find(m, w->ifaces[i].ifindex))
			leave(w, i);
	forget(w->any, m);
	for (size_t i = 0; i < m->n; i++) {
		const struct weir_link *l = &m->v[i];
		struct point p = point_of(w, m, l);
		int slot = slot_of(w, l->index);

		if (slot < 0 && l->up && (p.in || p.out))
			join(w, l, p);
		else if (slot >= 0)
			turn(w, (unsigned int)slot, p);
	}
}

void weir_any_changed(struct weir_watch *w)
{
	weir_autofree struct weir_link *links = NULL;
	struct weir_any *a = w->any;
	struct map m = { 0 };
	char news[256];

	/* What has changed is asked for as a whole, also where news were lost. */
	while (recv(a->news, news, sizeof(news), MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS)
		;
	a->stale = weir_links_read_by(a->fd, &links, &m.n);
	m.v = links;
	if (!a->stale)
		follow(w, &m);
}

void weir_any_tick(struct weir_watch *w)
{
	weir_autofree struct weir_link *links = NULL;
	size_t n = 0;

	if (weir_any_joins(w)) {
		if (w->any->stale)
			weir_any_changed(w);
		return;
	}
	if (weir_links_read_by(w->any->fd, &links, &n)) /* the next look may be able to */
		return;
	for (size_t i = 0; i < n; i++) {
		if (!links[i].up || is_known(w->any, links[i].index) ||
		    remember(w->any, links[i].index))
			continue;
		weir_watch_tell(w, "appeared", links[i].name,
				"came up after the start and is not watched: start again to "
				"include it");
	}
}

void weir_any_free(struct weir_any *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	if (a->news >= 0)
		close(a->news);
	free(a->known);
	free(a);
}
