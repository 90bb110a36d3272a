/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/sockets.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/netlink.h"

#define DUMP_TRIES 5 /* of tables that change under the dump */
#define COMM_SIZE 16
#define LOOPBACK_IFINDEX 1 /* in every namespace */

/* ---- What the kernel knows of sockets */

struct socket_list {
	struct weir_socket *v;
	size_t n, room;
	uint8_t proto;
};

static void map_ip4(struct weir_addr *a, const void *ip)
{
	memset(a->b, 0, sizeof(a->b));
	a->b[10] = a->b[11] = 0xff;
	memcpy(a->b + 12, ip, 4);
}

static void read_address(struct weir_addr *a, uint8_t family, const void *ip)
{
	if (family == AF_INET)
		map_ip4(a, ip);
	else
		memcpy(a->b, ip, sizeof(a->b));
}

static int add_socket(void *arg, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *d = weir_nl_payload(h, sizeof(*d));
	const uint8_t *v6only;
	struct socket_list *l = arg;
	struct weir_socket *s;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || !d)
		return 0;
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct weir_socket *v = reallocarray(l->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	s = &l->v[l->n++];
	*s = (struct weir_socket){
		.proto = l->proto,
		.state = d->idiag_state,
		.local_port = ntohs(d->id.idiag_sport),
		.remote_port = ntohs(d->id.idiag_dport),
		.inode = d->idiag_inode,
		.ifindex = d->id.idiag_if,
		.cookie = (uint64_t)d->id.idiag_cookie[1] << 32 | d->id.idiag_cookie[0],
	};
	read_address(&s->local, d->idiag_family, d->id.idiag_src);
	read_address(&s->remote, d->idiag_family, d->id.idiag_dst);
	v6only = weir_nl_find(h, sizeof(*d), INET_DIAG_SKV6ONLY, sizeof(*v6only));
	s->v6only = v6only && *v6only;
	return 0;
}

/* Add the sockets of one family. A dump that was disturbed is made anew; after
 * the last try what it showed has to do. */
static int dump_family(struct socket_list *l, uint8_t family, uint32_t states)
{
	const struct inet_diag_req_v2 req = {
		.sdiag_family = family,
		.sdiag_protocol = l->proto,
		.idiag_states = states ? states : ~0U,
	};
	size_t before = l->n;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		struct weir_nl_msg m;

		l->n = before;
		weir_nl_begin(&m, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
		ret = weir_nl_ask(NETLINK_SOCK_DIAG, &m, add_socket, l);
	}
	return ret == -EINTR ? 0 : ret;
}

int weir_sockets_list(uint8_t proto, uint32_t states, struct weir_socket **ret, size_t *ret_n,
		      struct weir_error *err)
{
	struct socket_list l = { .proto = proto };
	int code = dump_family(&l, AF_INET, states);

	if (!code)
		code = dump_family(&l, AF_INET6, states);
	/* A kernel without IPv6 has none of its sockets. */
	if (code == -EAFNOSUPPORT)
		code = 0;
	if (code) {
		free(l.v);
		if (code == -ENOENT)
			return weir_fail(err, code,
					 "the kernel cannot list sockets: `modprobe "
					 "tcp_diag udp_diag`");
		return weir_fail(err, code, "cannot list the sockets: %s", strerror(-code));
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

/* ---- Who holds them */

struct holder {
	uint32_t inode, pid;
};

struct holders {
	struct holder *v;
	size_t n, room;
};

static int add_holder(struct holders *l, uint32_t inode, uint32_t pid)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct holder *v = reallocarray(l->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = (struct holder){ .inode = inode, .pid = pid };
	return 0;
}

static bool is_called(int proc_fd, const char *pid, const char *const *comms, size_t n)
{
	char path[32], comm[COMM_SIZE + 1];
	weir_autoclose int fd = -1;
	ssize_t len;

	snprintf(path, sizeof(path), "%.20s/comm", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, comm, sizeof(comm) - 1);
	if (len <= 0)
		return false;
	comm[len] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	for (size_t i = 0; i < n; i++)
		if (!strcmp(comm, comms[i]))
			return true;
	return false;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The sockets among the descriptors of the process @pid. */
static int add_sockets_of(struct holders *l, int proc_fd, const char *pid)
{
	char path[32], target[64];
	weir_cleanup(closedirp) DIR *d = NULL;
	struct dirent *e;
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	d = fdopendir(fd);
	if (!d) {
		ret = errno == ENOMEM ? -ENOMEM : 0; /* or it ended just now */
		close(fd);
		return ret;
	}
	while (!ret && (errno = 0, e = readdir(d))) {
		ssize_t len = readlinkat(fd, e->d_name, target, sizeof(target) - 1);
		uint32_t inode;

		/* Not a descriptor, or closed meanwhile. */
		if (len < 0) {
			ret = errno == EACCES || errno == EPERM ? -errno : 0;
			continue;
		}
		target[len] = '\0';
		if (sscanf(target, "socket:[%u]", &inode) == 1)
			ret = add_holder(l, inode, (uint32_t)strtoul(pid, NULL, 10));
	}
	/* The process may have ended meanwhile; without the right to look, the list of
	 * descriptors is refused already. */
	return ret ? ret : errno == EACCES || errno == EPERM ? -errno : 0;
}

static int find_holders(struct holders *l, const char *const *comms, size_t n_comms,
			struct weir_error *err)
{
	weir_cleanup(closedirp) DIR *proc = opendir("/proc");
	struct dirent *e;

	if (!proc)
		return weir_fail(err, -errno, "cannot read /proc: %m");
	while ((e = readdir(proc))) {
		int ret;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    !is_called(dirfd(proc), e->d_name, comms, n_comms))
			continue;
		ret = add_sockets_of(l, dirfd(proc), e->d_name);
		if (ret == -EACCES)
			ret = -EPERM;
		if (ret == -EPERM && weir_caps_need(WEIR_CAP_SYS_PTRACE,
						    "look at the sockets of other processes", err))
			return ret;
		if (ret)
			return weir_fail(err, ret, "cannot look at process %s: %s", e->d_name,
					 strerror(-ret));
	}
	return 0;
}

static int compare_holders(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->inode != y->inode ? (x->inode < y->inode ? -1 : 1) :
				      (x->pid > y->pid) - (x->pid < y->pid);
}

static int compare_inode(const void *key, const void *element)
{
	const uint32_t *inode = key;
	const struct holder *h = element;

	return (*inode > h->inode) - (*inode < h->inode);
}

int weir_sockets_of(const char *const *comms, size_t n_comms, struct weir_socket **ret,
		    size_t *ret_n, struct weir_error *err)
{
	struct holders l = { 0 };
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0, kept = 0;
	int code = find_holders(&l, comms, n_comms, err);

	if (!code)
		code = weir_sockets_list(IPPROTO_TCP, 1U << TCP_ESTABLISHED, &v, &n, err);
	if (!code && l.n)
		qsort(l.v, l.n, sizeof(*l.v), compare_holders);
	for (size_t i = 0; !code && l.n && i < n; i++) {
		const struct holder *h =
			bsearch(&v[i].inode, l.v, l.n, sizeof(*l.v), compare_inode);

		if (!h)
			continue;
		v[kept] = v[i];
		v[kept++].pid = h->pid;
	}
	free(l.v);
	if (code)
		return code;
	*ret = WEIR_TAKE_PTR(v);
	*ret_n = kept;
	return 0;
}

/* ---- Routes */

static int take_route(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *route = weir_nl_payload(h, sizeof(*route));
	struct weir_route *ret = arg;
	const uint32_t *oif;

	if (h->nlmsg_type != RTM_NEWROUTE || !route)
		return 0;
	oif = weir_nl_find(h, sizeof(*route), RTA_OIF, sizeof(*oif));
	ret->type = route->rtm_type;
	/* IPv6 tells the interface that has the address. */
	if (route->rtm_type == RTN_LOCAL)
		ret->ifindex = LOOPBACK_IFINDEX;
	else if (oif)
		ret->ifindex = *oif;
	return 0;
}

static int ask_route(const struct weir_addr *dst, const struct weir_addr *src, uint32_t iif,
		     struct weir_route *ret)
{
	bool v4 = weir_addr_is_v4(dst);
	size_t at = v4 ? 12 : 0, len = v4 ? 4 : 16;
	struct rtmsg route = {
		.rtm_family = v4 ? AF_INET : AF_INET6,
		.rtm_dst_len = (uint8_t)(len * 8),
		.rtm_src_len = src ? (uint8_t)(len * 8) : 0,
	};
	struct weir_nl_msg m;
	int code;

	*ret = (struct weir_route){ 0 };
	weir_nl_begin(&m, RTM_GETROUTE, 0, &route, sizeof(route));
	weir_nl_attr(&m, RTA_DST, dst->b + at, len);
	if (src)
		weir_nl_attr(&m, RTA_SRC, src->b + at, len);
	if (iif)
		weir_nl_attr(&m, RTA_IIF, &iif, sizeof(iif));
	code = weir_nl_ask(NETLINK_ROUTE, &m, take_route, ret);
	if (code)
		return code;
	return ret->ifindex ? (int)ret->ifindex : -ENETUNREACH;
}

int weir_route_in(uint32_t iif, const struct weir_addr *src, const struct weir_addr *dst,
		  struct weir_route *ret)
{
	int code;

	if (weir_addr_is_v4(src) != weir_addr_is_v4(dst))
		return -EAFNOSUPPORT;
	code = ask_route(dst, src, iif, ret);
	return code < 0 ? code : 0;
}

int weir_route_to(const struct weir_addr *dst, const struct weir_addr *src)
{
	struct weir_route route;
	int ret;

	if (src && weir_addr_is_v4(src) != weir_addr_is_v4(dst))
		return -EAFNOSUPPORT;
	ret = ask_route(dst, src, 0, &route);
	/* The source may be an address that this host has not, or no longer. */
	if (src && (ret == -EINVAL || ret == -ENETUNREACH))
		ret = ask_route(dst, NULL, 0, &route);
	return ret;
}
