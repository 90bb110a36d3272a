/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/links.h"
#include "dataplane/sockets.h"

/* Since OpenSSH 9.8 sessions have a program of their own. */
static const char *const session_comms[] = { "sshd", "sshd-session" };

struct sessions {
	struct weir_guard_session *v;
	size_t n;
};

/* Once for each interface that its packets may pass: filters are put on the ports of
 * a bridge or bond, while routes name the bridge. */
static int add_session(struct sessions *l, const struct weir_socket *s, uint32_t ifindex)
{
	weir_autofree uint32_t *places = NULL;
	struct weir_guard_session *more;
	size_t n = 0;
	int ret = weir_links_below(ifindex, &places, &n);

	if (ret)
		return ret;
	more = reallocarray(l->v, l->n + n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->v = more;
	for (size_t i = 0; i < n; i++)
		l->v[l->n++] = (struct weir_guard_session){
			.remote = s->remote,
			.local = s->local,
			.remote_port = s->remote_port,
			.local_port = s->local_port,
			.ifindex = places[i],
			.pid = s->pid,
		};
	return 0;
}

int weir_guard_sessions(struct weir_guard_session **ret, size_t *ret_n, struct weir_error *err)
{
	weir_autofree struct weir_socket *sockets = NULL;
	struct sessions l = { 0 };
	size_t n = 0;
	int code =
		weir_sockets_of(session_comms, WEIR_ARRAY_SIZE(session_comms), &sockets, &n, err);

	for (size_t i = 0; !code && i < n; i++) {
		const struct weir_socket *s = &sockets[i];
		int ifindex = (int)s->ifindex;

		/* Bound to one, as to a link-local address; else the route tells. */
		if (!ifindex)
			ifindex = weir_route_to(&s->remote, &s->local);
		/* A session without a route gets no packet anyway: nothing can cut it. */
		if (ifindex <= 0)
			continue;
		code = add_session(&l, s, (uint32_t)ifindex);
		if (code)
			weir_fail(err, code, "cannot look at the interfaces: %s", strerror(-code));
	}
	if (code) {
		free(l.v);
		return code;
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}
