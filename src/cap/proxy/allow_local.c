/* SPDX-License-Identifier: GPL-2.0-only */
/* Which addresses are this namespace's own? Those that its table
 * `local` has routes of that type for. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cap/proxy/allow_impl.h"
#include "dataplane/netlink.h"

#define TRIES 10 /* against routes that change while they are read */
#define V4_BITS 96

struct routes {
	struct weir_prefix *v;
	size_t n, room;
};

static int add(struct routes *r, const struct weir_prefix *p)
{
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct weir_prefix *v = reallocarray(r->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		r->v = v;
		r->room = room;
	}
	r->v[r->n++] = *p;
	return 0;
}

static int take_route(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *m = weir_nl_payload(h, sizeof(*m));
	const bool v4 = m && m->rtm_family == AF_INET;
	const size_t size = v4 ? 4 : 16;
	struct weir_prefix p = { .is_v4 = v4 };
	const void *dst;

	/* Other tables may call the whole world local, for IP_TRANSPARENT: that is not ours. */
	if (h->nlmsg_type != RTM_NEWROUTE || !m || m->rtm_type != RTN_LOCAL ||
	    m->rtm_table != RT_TABLE_LOCAL || (!v4 && m->rtm_family != AF_INET6))
		return 0;
	dst = weir_nl_find(h, sizeof(*m), RTA_DST, size);
	if (v4)
		p.addr.b[10] = p.addr.b[11] = 0xff;
	if (dst)
		memcpy(p.addr.b + sizeof(p.addr.b) - size, dst, size);
	p.len = (uint8_t)(m->rtm_dst_len + (v4 ? V4_BITS : 0));
	return add(arg, &p);
}

static int read_family(int family, struct routes *r)
{
	const struct rtmsg ask = { .rtm_family = (unsigned char)family };
	const size_t before = r->n;
	int ret = -EINTR;

	for (int i = 0; ret == -EINTR && i < TRIES; i++) {
		struct weir_nl_msg m;

		r->n = before;
		weir_nl_begin(&m, RTM_GETROUTE, NLM_F_DUMP, &ask, sizeof(ask));
		ret = weir_nl_ask(NETLINK_ROUTE, &m, take_route, r);
	}
	return ret;
}

int weir_allow_local(struct weir_prefix **ret, size_t *ret_n, struct weir_error *err)
{
	struct routes r = { 0 };
	int code = read_family(AF_INET, &r);

	if (!code)
		code = read_family(AF_INET6, &r);
	if (code) {
		free(r.v);
		return weir_fail(err, code, "cannot read this namespace's addresses: %s",
				 strerror(-code));
	}
	*ret = r.v;
	*ret_n = r.n;
	return 0;
}
