/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/sock.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

static int stream_socket(const struct weir_endpoint *e)
{
	int fd = socket(e->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int set_transparent(int fd, const struct weir_endpoint *e)
{
	if (e->sa.sa_family == AF_INET6)
		return set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
	return set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
}

/* ---- Listening */

static const char *remedy(int code)
{
	switch (code) {
	case -EADDRINUSE:
		return "another program listens there: stop it, or choose another address";
	case -EACCES:
		return "ports below 1024 take CAP_NET_BIND_SERVICE: run as root";
	case -EADDRNOTAVAIL:
		return "this host has no such address: see `ip address`";
	case -EPERM:
		return "transparent sockets take CAP_NET_ADMIN: run as root";
	case -EMFILE:
	case -ENFILE:
		return "no descriptors left: raise the limit (ulimit -n)";
	}
	return strerror(-code);
}

static int prepare_listen(int fd, const struct weir_endpoint *e, unsigned int flags)
{
	int code;

	if (e->sa.sa_family == AF_UNIX)
		return 0;
	code = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!code && (flags & WEIR_SOCK_REUSEPORT))
		code = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!code && (flags & WEIR_SOCK_TRANSPARENT))
		code = set_transparent(fd, e);
	/* Not left to net.ipv6.bindv6only: "[::]" means both families everywhere. */
	if (!code && e->sa.sa_family == AF_INET6)
		code = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY,
			       !IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr));
	return code;
}

int weir_sock_listen(const struct weir_endpoint *e, unsigned int flags, int backlog,
		     struct weir_error *err)
{
	char text[WEIR_ENDPOINT_STRLEN];
	weir_autoclose int fd = stream_socket(e);
	int code = fd < 0 ? fd : prepare_listen(fd, e, flags);

	if (!code && (bind(fd, &e->sa, e->len) || listen(fd, backlog)))
		code = -errno;
	if (code < 0)
		return weir_fail(err, code, "cannot listen on %s: %s", weir_endpoint_str(e, text),
				 remedy(code));
	return WEIR_TAKE_FD(fd);
}

/* A dual-stack socket names IPv4 peers as mapped; an endpoint does not. */
static void unmap(struct weir_endpoint *e)
{
	struct weir_addr a;

	if (e->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&e->in6.sin6_addr))
		return;
	a = weir_endpoint_addr(e);
	weir_endpoint_set(e, &a, weir_endpoint_port(e));
}

int weir_sock_accept(int fd, struct weir_endpoint *ret_peer)
{
	struct weir_endpoint e = { .len = sizeof(e.un) };
	int got = accept4(fd, &e.sa, &e.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (got < 0)
		return -errno;
	unmap(&e);
	*ret_peer = e;
	return got;
}

/* ---- Connecting */

static int bind_from(int fd, const struct weir_endpoint *from, unsigned int flags)
{
	int code = 0;

	if (flags & WEIR_SOCK_TRANSPARENT)
		code = set_transparent(fd, from);
	/* A port that bind() chooses is taken from all destinations; one that connect()
	 * chooses only from this one. */
	if (!code && !weir_endpoint_port(from))
		code = set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	else if (!code)
		code = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!code && bind(fd, &from->sa, from->len))
		code = -errno;
	return code;
}

int weir_sock_connect(const struct weir_endpoint *to, const struct weir_endpoint *from,
		      unsigned int flags, bool *ret_done)
{
	weir_autoclose int fd = stream_socket(to);
	int code = 0;

	if (fd < 0)
		return fd;
	if (to->sa.sa_family != AF_UNIX) {
		code = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		if (!code && (flags & WEIR_SOCK_SPEAKS))
			code = set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
		/* An urgent byte is a byte of the stream: a relay must not lose it. */
		if (!code)
			code = set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
		if (!code && from)
			code = bind_from(fd, from, flags);
		if (code)
			return code;
	}
	*ret_done = connect(fd, &to->sa, to->len) == 0;
	if (!*ret_done && errno != EINPROGRESS)
		return -errno;
	return WEIR_TAKE_FD(fd);
}

int weir_sock_most(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)limit.rlim_cur - (limit.rlim_cur < 512 ? (int)limit.rlim_cur / 8 : 64);
}

int weir_sock_error(int fd)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	return -error;
}

/* ---- Connected */

static int whole_seconds(uint64_t ns)
{
	uint64_t s = (ns + WEIR_NSEC_PER_SEC - 1) / WEIR_NSEC_PER_SEC;

	return s > INT16_MAX ? INT16_MAX : (int)s; /* the kernel's own bound */
}

int weir_sock_keepalive(int fd, const struct weir_keepalive *k)
{
	int code = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);

	if (!code && k->idle_ns)
		code = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(k->idle_ns));
	if (!code && k->interval_ns)
		code = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(k->interval_ns));
	if (!code && k->count)
		code = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)k->count);
	return code;
}

void weir_sock_reset(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static int ask_name(int fd, int (*ask)(int, struct sockaddr *, socklen_t *),
		    struct weir_endpoint *ret)
{
	struct weir_endpoint e = { .len = sizeof(e.un) };

	if (ask(fd, &e.sa, &e.len))
		return -errno;
	unmap(&e);
	*ret = e;
	return 0;
}

static int local_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

static int peer_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

int weir_sock_name(int fd, struct weir_endpoint *ret)
{
	return ask_name(fd, local_name, ret);
}

int weir_sock_peer(int fd, struct weir_endpoint *ret)
{
	return ask_name(fd, peer_name, ret);
}
