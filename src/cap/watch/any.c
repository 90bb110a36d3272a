/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * -i any: all interfaces that are up, each packet looked at in one place.
 *
 * Where, is decided once, by how the interfaces lie on one another, never by what a packet
 * holds. A packet that comes in is looked at where it comes in first, on the device next to the
 * wire; one that goes out, where it goes out last. So what lies on others (VLAN, macvlan, bond,
 * team, VRF) is left to what it lies on. Three kinds of device hand on packets that were looked
 * at already:
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
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cap/watch/session.h"
#include "dataplane/links.h"
#include "dataplane/netlink.h"

#define DEPTH_MAX 16	/* devices on one another; the kernel allows 8 */
#define KNOWN_MAX 65536 /* interfaces remembered as told of */

struct weir_any {
	int fd; /* asks for the interfaces, also once this process has left their namespace */
	uint32_t *known; /* up at the start, or told of since */
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

static void add(struct weir_watch *w, const struct weir_link *l, struct point p)
{
	struct weir_watch_iface *x = &w->ifaces[w->n_ifaces++];

	*x = (struct weir_watch_iface){
		.ifindex = l->index,
		.loopback = l->type == ARPHRD_LOOPBACK,
		.no_l2 = l->type != ARPHRD_ETHER && l->type != ARPHRD_LOOPBACK,
		.in_only = !p.out,
		.out_only = !p.in,
	};
	memcpy(x->name, l->name, sizeof(l->name));
}

/* What is said while it runs: JSON where standard error holds nothing else. */
static void tell(const struct weir_watch *w, const char *event, const char *name, const char *text)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;

	if (w->opt.stats == 1) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_str(&j, "verb", "watch");
		weir_json_str(&j, "event", event);
		weir_json_str(&j, "iface", name);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else {
		weir_buf_addf(&out, "weir watch: %s %s\n", name, text);
	}
	weir_buf_flush(&out, 2);
}

static int choose(struct weir_watch *w, const struct map *m, struct weir_error *err)
{
	bool all = w->opt.points == 1, in = w->opt.direction != 1, out = w->opt.direction != 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct weir_link *l = &m->v[i];
		struct point p = { true, true };

		if (!l->up)
			continue;
		if (remember(w->any, l->index))
			return weir_fail(err, -ENOMEM, "out of memory");
		if (!all)
			p = one_point(m, l, !in);
		/* libpcap itself leaves out what goes out there, as it comes in again. */
		if (w->hook == WEIR_HOOK_PCAP && l->type == ARPHRD_LOOPBACK)
			p.out = false;
		p.in = p.in && in;
		p.out = p.out && out;
		if (!p.in && !p.out)
			continue;
		if (!is_readable(l))
			tell(w, "skipped", l->name,
			     "carries neither Ethernet nor plain IP and is not watched: try "
			     "tcpdump");
		else if (w->n_ifaces == WEIR_WATCH_IFACES)
			tell(w, "skipped", l->name,
			     "is one too many and is not watched: name it in another run");
		else
			add(w, l, p);
	}
	return w->n_ifaces ? 0 :
			     weir_fail(err, -ENODEV,
				       "no interface is up: see `ip link`, or name "
				       "one with -i");
}

int weir_any_find(struct weir_watch *w, struct weir_error *err)
{
	weir_autofree struct weir_link *links = NULL;
	struct map m = { 0 };
	int ret;

	w->any = calloc(1, sizeof(*w->any));
	if (!w->any)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->any->fd = weir_nl_open(NETLINK_ROUTE);
	ret = weir_links_read_by(w->any->fd, &links, &m.n);
	if (ret)
		return weir_fail(err, ret, "cannot list the interfaces: %s: name them with -i",
				 strerror(-ret));
	m.v = links;
	return choose(w, &m, err);
}

void weir_any_tick(struct weir_watch *w)
{
	weir_autofree struct weir_link *links = NULL;
	size_t n = 0;

	if (weir_links_read_by(w->any->fd, &links, &n)) /* the next look may be able to */
		return;
	for (size_t i = 0; i < n; i++) {
		if (!links[i].up || is_known(w->any, links[i].index) ||
		    remember(w->any, links[i].index))
			continue;
		tell(w, "appeared", links[i].name,
		     "came up after the start and is not watched: start again to include it");
	}
}

void weir_any_free(struct weir_any *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	free(a->known);
	free(a);
}
