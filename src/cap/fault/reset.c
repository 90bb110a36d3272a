/* SPDX-License-Identifier: GPL-2.0-only */
/* Connections that are there now, ended by the kernel (SOCK_DESTROY of sock_diag(7)): the
 * peer gets an RST, the program here ECONNABORTED. */
#include "cap/fault/reset.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "bpf/ends.h"
#include "dataplane/caps.h"
#include "dataplane/netlink.h"
#include "dataplane/sockets.h"
#include "policy/guard.h"

/* What has a peer that can be told. */
#define STATES                                                                                    \
	(1U << TCP_ESTABLISHED | 1U << TCP_SYN_SENT | 1U << TCP_FIN_WAIT1 | 1U << TCP_FIN_WAIT2 | \
	 1U << TCP_CLOSE_WAIT | 1U << TCP_LAST_ACK | 1U << TCP_CLOSING)

static bool is_same(const struct weir_socket *a, const struct weir_addr *local, uint16_t lport,
		    const struct weir_addr *remote, uint16_t rport)
{
	return a->local_port == lport && a->remote_port == rport &&
	       !memcmp(&a->local, local, sizeof(*local)) &&
	       !memcmp(&a->remote, remote, sizeof(*remote));
}

/* A connection to a port on which something listens came in. */
static bool was_accepted(const struct weir_socket *s, const struct weir_socket *listeners, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (listeners[i].local_port == s->local_port)
			return true;
	return false;
}

static bool matches(const struct weir_match *m, const struct weir_socket *s, bool initiated)
{
	struct weir_ends e = { .lport = s->local_port,
			       .rport = s->remote_port,
			       .proto = IPPROTO_TCP,
			       .flags = initiated ? WEIR_ENDS_INITIATED : 0 };
	struct weir_pkt p;

	memcpy(e.local, s->local.b, sizeof(e.local));
	memcpy(e.remote, s->remote.b, sizeof(e.remote));
	weir_ends_pkt(&e, &p);
	return weir_match_eval(m, &p);
}

static void put_address(const struct weir_addr *a, bool v4, __be32 to[4])
{
	memset(to, 0, 16);
	memcpy(to, v4 ? a->b + 12 : a->b, v4 ? 4 : 16);
}

/* 0, or a negative errno; -ENOENT: it has ended meanwhile. */
static int destroy(const struct weir_socket *s)
{
	bool v4 = weir_addr_is_v4(&s->local) && weir_addr_is_v4(&s->remote);
	struct inet_diag_req_v2 req = {
		.sdiag_family = v4 ? AF_INET : AF_INET6,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = ~0U,
		.id = {
			.idiag_sport = htons(s->local_port),
			.idiag_dport = htons(s->remote_port),
			.idiag_if = s->ifindex,
			.idiag_cookie = { (uint32_t)s->cookie, (uint32_t)(s->cookie >> 32) },
		},
	};
	struct weir_nl_msg m;

	put_address(&s->local, v4, req.id.idiag_src);
	put_address(&s->remote, v4, req.id.idiag_dst);
	weir_nl_begin(&m, SOCK_DESTROY, NLM_F_ACK, &req, sizeof(req));
	return weir_nl_ask(NETLINK_SOCK_DIAG, &m, NULL, NULL);
}

static int explain(int code, struct weir_error *err)
{
	if (code == -EPERM) {
		code = weir_caps_need(WEIR_CAP_NET_ADMIN, "end connections", err);
		return code ? code : weir_fail(err, -EPERM, "cannot end connections: run as root");
	}
	if (code == -EOPNOTSUPP)
		return weir_fail(err, code,
				 "this kernel cannot end connections: it needs "
				 "CONFIG_INET_DIAG_DESTROY");
	return weir_fail(err, code, "cannot end a connection: %s", strerror(-code));
}

static int guard(const char *name, const struct weir_socket *s, const struct weir_guard_session *v,
		 size_t n, struct weir_error *err)
{
	char remote[WEIR_ADDR_STRLEN], local[WEIR_ADDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		if (is_same(s, &v[i].local, v[i].local_port, &v[i].remote, v[i].remote_port))
			return weir_fail(err, -EPERM,
					 "'%s' would reset the ssh session %s port %u -> %s port "
					 "%u (process %u): leave it out of the match, or use "
					 "--force",
					 name, weir_addr_str(&v[i].remote, remote),
					 v[i].remote_port, weir_addr_str(&v[i].local, local),
					 v[i].local_port, v[i].pid);
	return 0;
}

int weir_fault_reset(const char *name, const struct weir_match *m, bool force, size_t *ret,
		     struct weir_error *err)
{
	weir_autofree struct weir_guard_session *sessions = NULL;
	weir_autofree struct weir_socket *v = NULL, *listeners = NULL;
	size_t n = 0, n_sessions = 0, n_listeners = 0, count = 0;
	int code = weir_sockets_list(IPPROTO_TCP, STATES, &v, &n, err);

	if (!code)
		code = weir_sockets_list(IPPROTO_TCP, 1U << TCP_LISTEN, &listeners, &n_listeners,
					 err);
	if (!code && !force)
		code = weir_guard_sessions(&sessions, &n_sessions, err);
	/* All are looked at before the first is ended. */
	for (size_t i = 0; !code && i < n; i++) {
		if (!matches(m, &v[i], !was_accepted(&v[i], listeners, n_listeners)))
			continue;
		code = guard(name, &v[i], sessions, n_sessions, err);
		v[count++] = v[i];
	}
	*ret = 0;
	for (size_t i = 0; !code && i < count; i++) {
		int done = destroy(&v[i]);

		*ret += !done;
		if (done && done != -ENOENT)
			code = explain(done, err);
	}
	return code;
}
