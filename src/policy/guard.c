/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/guard.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "dataplane/sockets.h"

/* Since OpenSSH 9.8 sessions have a program of their own. */
static const char *const session_comms[] = { "sshd", "sshd-session" };

int weir_guard_sessions(struct weir_guard_session **ret, size_t *ret_n, struct weir_error *err)
{
	weir_autofree struct weir_socket *sockets = NULL;
	struct weir_guard_session *v;
	size_t n = 0, kept = 0;
	int code = weir_sockets_of(session_comms, WEIR_ARRAY_SIZE(session_comms), &sockets, &n, err);

	if (code)
		return code;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const struct weir_socket *s = &sockets[i];
		int ifindex = (int)s->ifindex;

		/* Bound to one, as to a link-local address; else the route tells. */
		if (!ifindex)
			ifindex = weir_route_to(&s->remote, &s->local);
		/* A session without a route gets no packet anyway: nothing can cut it. */
		if (ifindex <= 0)
			continue;
		v[kept++] = (struct weir_guard_session){
			.remote = s->remote,
			.local = s->local,
			.remote_port = s->remote_port,
			.local_port = s->local_port,
			.ifindex = (uint32_t)ifindex,
			.pid = s->pid,
		};
	}
	*ret = v;
	*ret_n = kept;
	return 0;
}
