/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/steer/find.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/sys.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static const uint8_t numbers[WEIR_STEER_PROTOS] = { IPPROTO_TCP, IPPROTO_UDP };

void weir_steer_finder_free(struct weir_steer_finder *f)
{
	for (int i = 0; i < WEIR_STEER_PROTOS; i++)
		free(f->sockets[i]);
	weir_holders_free(&f->holders);
	*f = (struct weir_steer_finder){ 0 };
}

/* ---- The kernel's list */

static int compare_cookies(const void *a, const void *b)
{
	const struct weir_socket *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int weir_steer_finder_list(struct weir_steer_finder *f, enum weir_steer_proto proto,
			   struct weir_error *err)
{
	int ret;

	if (f->listed[proto])
		return 0;
	ret = weir_sockets_list(numbers[proto], 0, &f->sockets[proto], &f->n[proto], err);
	if (ret)
		return ret;
	if (f->n[proto])
		qsort(f->sockets[proto], f->n[proto], sizeof(*f->sockets[proto]), compare_cookies);
	f->listed[proto] = true;
	return 0;
}

bool weir_steer_is_open(const struct weir_socket *s)
{
	return s->state == (s->proto == IPPROTO_TCP ? TCP_LISTEN : TCP_CLOSE);
}

const struct weir_socket *weir_steer_finder_cookie(const struct weir_steer_finder *f,
						   enum weir_steer_proto proto, uint64_t cookie)
{
	const struct weir_socket key = { .cookie = cookie };

	if (!f->n[proto])
		return NULL;
	return bsearch(&key, f->sockets[proto], f->n[proto], sizeof(key), compare_cookies);
}

/* ---- Who holds them */

uint32_t weir_steer_holder_of(struct weir_steer_finder *f, uint32_t inode, char comm[17])
{
	const struct weir_holder *h;
	weir_autoclose int fd = -1;
	char path[32];
	ssize_t n;

	comm[0] = '\0';
	if (!inode || weir_holders_scan(&f->holders, NULL))
		return 0;
	h = weir_holders_first(&f->holders, inode);
	if (!h)
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/comm", h->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, comm, 16);
	comm[n > 0 ? n : 0] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	return h->pid;
}

/* ---- Descriptors */

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) ? -1 : v;
}

static int read_address(int fd, struct weir_steer_found *ret)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	const struct sockaddr_in *in = (const void *)&ss;
	const struct sockaddr_in6 *in6 = (const void *)&ss;

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return -errno;
	ret->addr = (struct weir_addr){ .b = { 0 } };
	if (ss.ss_family == AF_INET) {
		ret->addr.b[10] = ret->addr.b[11] = 0xff;
		memcpy(ret->addr.b + 12, &in->sin_addr, 4);
		ret->port = ntohs(in->sin_port);
	} else if (ss.ss_family == AF_INET6) {
		memcpy(ret->addr.b, &in6->sin6_addr, 16);
		ret->port = ntohs(in6->sin6_port);
	} else {
		return -EPROTOTYPE;
	}
	return 0;
}

/* Is the descriptor @ret->fd a socket that can be steered to? */
static int check(const char *to, enum weir_steer_proto proto, struct weir_steer_found *ret,
		 struct weir_error *err)
{
	struct sockaddr_storage peer;
	uint64_t netns, ours = 0;
	socklen_t len = sizeof(netns), peer_len = sizeof(peer);
	int code = read_address(ret->fd, ret);

	if (code == -EPROTOTYPE || option(ret->fd, SOL_SOCKET, SO_PROTOCOL) != numbers[proto])
		return weir_fail(err, -EPROTOTYPE,
				 "%s is not a %s socket: give --protocol, or "
				 "another descriptor",
				 to, weir_steer_protos[proto]);
	if (code)
		return weir_fail(err, code, "%s is not a socket: give the descriptor of one", to);
	if (proto == WEIR_STEER_TCP && option(ret->fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)
		return weir_fail(err, -EINVAL, "%s does not listen: give a listening socket", to);
	if (proto == WEIR_STEER_UDP && !getpeername(ret->fd, (struct sockaddr *)&peer, &peer_len))
		return weir_fail(err, -EINVAL,
				 "%s is connected, and takes packets of its peer alone: give one "
				 "that is not",
				 to);
	if (!ret->port)
		return weir_fail(err, -EINVAL, "%s is not bound to a port: give one that is", to);
	if (!getsockopt(ret->fd, SOL_SOCKET, SO_NETNS_COOKIE, &netns, &len) &&
	    !weir_sys_netns_cookie(&ours) && netns != ours)
		return weir_fail(err, -EINVAL,
				 "%s is a socket of another network namespace: run weir there", to);
	len = sizeof(ret->cookie);
	if (getsockopt(ret->fd, SOL_SOCKET, SO_COOKIE, &ret->cookie, &len))
		return weir_fail(err, -errno, "cannot read the cookie of %s: %m", to);
	return 0;
}

static int find_pid(const char *to, const struct weir_steer_socket *s, enum weir_steer_proto proto,
		    struct weir_steer_found *ret, struct weir_error *err)
{
	int code;

	ret->fd = weir_holders_take_fd(s->pid, s->fd);
	if (ret->fd == -EPERM &&
	    weir_caps_need(WEIR_CAP_SYS_PTRACE, "take a socket of another process", err))
		return -EPERM;
	if (ret->fd == -ESRCH || ret->fd == -EINVAL)
		return weir_fail(err, -ENOENT, "%s: there is no process %u: see `ps`", to, s->pid);
	if (ret->fd == -EBADF)
		return weir_fail(err, -ENOENT,
				 "%s: process %u has no such descriptor: see "
				 "`ls -l /proc/%u/fd`",
				 to, s->pid, s->pid);
	if (ret->fd < 0)
		return weir_fail(err, ret->fd, "cannot take %s: %s", to, strerror(-ret->fd));
	code = check(to, proto, ret, err);
	if (code) {
		close(ret->fd);
		return code;
	}
	return 1;
}

static bool is_at(const struct weir_socket *at, const struct weir_steer_socket *s)
{
	return weir_steer_is_open(at) && at->local_port == s->port &&
	       !memcmp(&at->local, &s->addr, sizeof(s->addr));
}

/* Is it there for the other protocol? Most rules without one mean that. */
static bool is_of_other(struct weir_steer_finder *f, const struct weir_steer_socket *s,
			enum weir_steer_proto other)
{
	bool any = false;

	if (weir_steer_finder_list(f, other, NULL))
		return false;
	for (size_t i = 0; !any && i < f->n[other]; i++)
		any = is_at(&f->sockets[other][i], s);
	return any;
}

static int nothing_listens(struct weir_steer_finder *f, const char *to,
			   const struct weir_steer_socket *s, enum weir_steer_proto proto,
			   struct weir_error *err)
{
	const enum weir_steer_proto other = proto == WEIR_STEER_TCP ? WEIR_STEER_UDP :
								      WEIR_STEER_TCP;
	static const struct weir_addr any6 = { .b = { 0 } };
	static const struct weir_addr any4 = { .b = { [10] = 0xff, 0xff } };
	char addr[WEIR_ADDR_STRLEN];

	if (is_of_other(f, s, other))
		return weir_fail(err, -ENOENT,
				 "no %s socket listens on %s, only a %s one: give --protocol %s",
				 weir_steer_protos[proto], to + 7, weir_steer_protos[other],
				 weir_steer_protos[other]);
	for (size_t i = 0; i < f->n[proto]; i++) {
		const struct weir_socket *near = &f->sockets[proto][i];
		bool any = !memcmp(&near->local, &any6, sizeof(any6)) ||
			   !memcmp(&near->local, &any4, sizeof(any4));

		if (!weir_steer_is_open(near) || near->local_port != s->port)
			continue;
		weir_addr_str(&near->local, addr);
		if (any || weir_addr_is_v4(&near->local) == weir_addr_is_v4(&s->addr))
			return weir_fail(err, -ENOENT,
					 "no %s socket listens on %s, but on %s: give "
					 "listen:%s%s%s:%u",
					 weir_steer_protos[proto], to + 7, addr,
					 weir_addr_is_v4(&near->local) ? "" : "[", addr,
					 weir_addr_is_v4(&near->local) ? "" : "]", s->port);
	}
	return weir_fail(err, -ENOENT,
			 "no %s socket listens on %s: start what shall, or see `ss -lntu`",
			 weir_steer_protos[proto], to + 7);
}

static int find_listen(struct weir_steer_finder *f, const char *to,
		       const struct weir_steer_socket *s, enum weir_steer_proto proto,
		       struct weir_steer_found *ret, struct weir_error *err)
{
	int n = 0, code = weir_steer_finder_list(f, proto, err);
	bool seen = false;

	if (!code)
		code = weir_holders_scan(&f->holders, err);
	for (size_t i = 0; !code && i < f->n[proto] && n < WEIR_STEER_SPARE; i++) {
		const struct weir_socket *at = &f->sockets[proto][i];

		if (!is_at(at, s))
			continue;
		seen = true;
		ret[n].fd = weir_holders_take(&f->holders, at->inode, at->cookie);
		if (ret[n].fd < 0)
			continue;
		ret[n].cookie = at->cookie;
		ret[n].addr = at->local;
		ret[n++].port = at->local_port;
	}
	if (code || n)
		return code ? code : n;
	if (!seen)
		return nothing_listens(f, to, s, proto, err);
	code = weir_caps_need(WEIR_CAP_SYS_PTRACE, "take a socket of another process", err);
	if (code)
		return code;
	return weir_fail(
		err, -ENOENT,
		"no process that holds the %s socket on %s can be seen: run weir where its "
		"process is",
		weir_steer_protos[proto], to + 7);
}

int weir_steer_find(struct weir_steer_finder *f, const char *to, enum weir_steer_proto proto,
		    struct weir_steer_found ret[WEIR_STEER_SPARE], struct weir_error *err)
{
	struct weir_steer_socket s;

	if (weir_steer_socket_parse(to, &s))
		return weir_fail(err, -EINVAL, "\"%s\": not a socket", to);
	return s.is_pid ? find_pid(to, &s, proto, ret, err) :
			  find_listen(f, to, &s, proto, ret, err);
}
