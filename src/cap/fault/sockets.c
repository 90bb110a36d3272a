/* SPDX-License-Identifier: GPL-2.0-only */
/* Filters of sockets that other programs hold. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/fault/engine.h"
#include "dataplane/caps.h"
#include "dataplane/holders.h"
#include "dataplane/load.h"
#include "dataplane/sockets.h"
#include "dataplane/sys.h"
#include "fault_iter.skel.h"
#include "fault_sk.skel.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* ---- Which sockets have one */

void weir_fault_sockets_free(struct weir_fault_sockets *s)
{
	free(s->v);
	*s = (struct weir_fault_sockets){ 0 };
}

static int read_sockets(int fd, struct weir_fault_sockets *s)
{
	struct weir_fault_socket some[64];
	ssize_t n;

	while ((n = read(fd, some, sizeof(some))) > 0 || (n < 0 && errno == EINTR)) {
		size_t more = n > 0 ? (size_t)n / sizeof(*some) : 0;
		void *v = reallocarray(s->v, s->n + more + 1, sizeof(*s->v));

		if (!v)
			return -ENOMEM;
		s->v = v;
		memcpy(s->v + s->n, some, more * sizeof(*some));
		s->n += more;
	}
	return n < 0 ? -errno : 0;
}

int weir_fault_sockets_list(struct weir_fault_sockets *ret, struct weir_error *err)
{
	struct weir_fault_sockets s = { 0 };
	struct fault_iter_bpf *skel;
	struct bpf_link *link = NULL;
	weir_autoclose int fd = -1;
	int code;

	weir_load_setup();
	skel = fault_iter_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the list of sockets");
	code = weir_load(skel->obj, NULL, err);
	if (!code) {
		link = bpf_program__attach_iter(skel->progs.weir_fault_iter, NULL);
		if (!link)
			code = -errno;
		fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
		if (link && fd < 0)
			code = -errno;
		if (!code)
			code = read_sockets(fd, &s);
		if (code)
			weir_load_explain(err, code, "list the sockets with filters");
	}
	bpf_link__destroy(link);
	fault_iter_bpf__destroy(skel);
	if (code)
		weir_fault_sockets_free(&s);
	else
		*ret = s;
	return code;
}

uint32_t weir_fault_prog_id(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &len) ? 0 : info.id;
}

const char *weir_fault_sk_name(char buf[16], uint32_t slot)
{
	snprintf(buf, 16, "sk_%u", slot);
	return buf;
}

/* The rule in force whose filter is the program @id, or NULL. */
static const struct weir_fault_conf_rule *rule_of(const struct weir_fault *f, uint32_t id)
{
	for (size_t i = 0; i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *r = &f->conf.v[i];
		weir_autoclose int fd = -1;
		char name[16];

		if (!weir_fault_is_socket(r))
			continue;
		fd = weir_pin_get(&f->dir, weir_fault_sk_name(name, r->slot));
		if (fd >= 0 && weir_fault_prog_id(fd) == id)
			return r;
	}
	return NULL;
}

/* ---- Finding */

void weir_fault_targets_close(struct weir_fault_targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		close(t->fd[i]);
	t->n = 0;
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) ? -1 : v;
}

static uint64_t cookie_of(int fd)
{
	uint64_t v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &v, &len) ? 0 : v;
}

static int read_local(int fd, struct weir_addr *ret, uint16_t *ret_port)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	const struct sockaddr_in *in = (const void *)&ss;
	const struct sockaddr_in6 *in6 = (const void *)&ss;

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return -errno;
	*ret = (struct weir_addr){ .b = { [10] = 0xff, 0xff } };
	if (ss.ss_family == AF_INET6)
		memcpy(ret->b, &in6->sin6_addr, sizeof(ret->b));
	else
		memcpy(ret->b + 12, &in->sin_addr, 4);
	*ret_port = ntohs(ss.ss_family == AF_INET6 ? in6->sin6_port : in->sin_port);
	return 0;
}

/* A filter that is there: may it be replaced? The kernel tells of classic filters how long
 * they are, and of eBPF only that there is one. */
static int check_filter(const struct weir_fault *f, const struct weir_fault_conf *next,
			const char *what, int fd, struct weir_error *err)
{
	weir_cleanup(weir_fault_sockets_free) struct weir_fault_sockets s = { 0 };
	const struct weir_fault_conf_rule *r = NULL;
	uint64_t cookie = cookie_of(fd);
	socklen_t len = 0;
	int code = getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) ? -errno : 0;

	if (option(fd, SOL_SOCKET, SO_LOCK_FILTER) == 1)
		return weir_fail(err, -EPERM,
				 "%s: its filter is locked (SO_LOCK_FILTER): no other program can "
				 "change it; choose another socket",
				 what);
	if (!code && !len)
		return 0;
	if (code == -EACCES)
		code = weir_fault_sockets_list(&s, err);
	else
		code = 0; /* a classic one */
	if (code)
		return code;
	for (size_t i = 0; i < s.n; i++) {
		if (s.v[i].cookie != cookie)
			continue;
		r = rule_of(f, s.v[i].prog_id);
		if (!r || !weir_fault_conf_find(next, r->name) ||
		    weir_fault_conf_find(next, r->name)->slot != r->slot)
			return 0;
		return weir_fail(err, -EBUSY,
				 "%s has the fault '%s' already: `weir fault del %s` first", what,
				 r->name, r->name);
	}
	return weir_fail(err, -EBUSY,
			 "%s has a filter already, which is not weir's: a socket has one only; "
			 "choose another socket",
			 what);
}

/* Is the descriptor @fd a socket that can be given the filter? */
static int check_socket(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
			const struct weir_fault_conf *next, bool force, int fd,
			struct weir_error *err)
{
	weir_autobuf struct weir_buf what = { 0 };
	uint64_t netns, ours = 0;
	socklen_t len = sizeof(netns);
	struct weir_addr local;
	uint16_t port;
	int code;

	weir_fault_print_match(r, &what);
	if (what.failed)
		return weir_fail(err, -ENOMEM, "out of memory");
	if (option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP || read_local(fd, &local, &port))
		return weir_fail(err, -EPROTOTYPE,
				 "%s is not a TCP socket: only TCP sends again what was cut off",
				 what.data);
	if (!getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &netns, &len) &&
	    !weir_sys_netns_cookie(&ours) && netns != ours)
		return weir_fail(err, -EINVAL,
				 "%s is a socket of another network namespace: run weir there",
				 what.data);
	code = force ? 0 : weir_fault_guard_socket(r->name, &local, port, err);
	return code ? code : check_filter(f, next, what.data, fd, err);
}

static int find_pid(const struct weir_fault_conf_rule *r, struct weir_fault_targets *t,
		    struct weir_error *err)
{
	int fd = weir_holders_take_fd(r->pid, r->fd);

	if (fd == -EPERM &&
	    weir_caps_need(WEIR_CAP_SYS_PTRACE, "take a socket of another process", err))
		return -EPERM;
	if (fd == -ESRCH || fd == -EINVAL)
		return weir_fail(err, -ENOENT, "--pid %u: there is no such process: see `ps`",
				 r->pid);
	if (fd == -EBADF)
		return weir_fail(err, -ENOENT,
				 "--fd %u: process %u has no such descriptor: see `ls -l "
				 "/proc/%u/fd`",
				 r->fd, r->pid, r->pid);
	if (fd < 0)
		return weir_fail(err, fd, "cannot take descriptor %u of process %u: %s", r->fd,
				 r->pid, strerror(-fd));
	t->fd[t->n++] = fd;
	return 0;
}

static int find_listen(const struct weir_fault_conf_rule *r, struct weir_fault_targets *t,
		       struct weir_error *err)
{
	weir_cleanup(weir_holders_free) struct weir_holders holders = { 0 };
	weir_autofree struct weir_socket *v = NULL;
	weir_autobuf struct weir_buf what = { 0 };
	bool seen = false;
	size_t n = 0;
	int code = weir_sockets_list(IPPROTO_TCP, 1U << TCP_LISTEN, &v, &n, err);

	if (!code)
		code = weir_holders_scan(&holders, err);
	for (size_t i = 0; !code && i < n && t->n < WEIR_FAULT_SOCKETS_MAX; i++) {
		int fd;

		if (v[i].local_port != r->port ||
		    memcmp(&v[i].local, &r->addr, sizeof(r->addr)) != 0)
			continue;
		seen = true;
		fd = weir_holders_take(&holders, v[i].inode, v[i].cookie);
		if (fd >= 0)
			t->fd[t->n++] = fd;
	}
	if (code || t->n)
		return code;
	weir_fault_print_match(r, &what);
	if (!seen)
		return weir_fail(err, -ENOENT,
				 "%s: nothing listens on exactly that address and port: see "
				 "`ss -lnt`",
				 what.failed ? "--listen" : what.data);
	code = weir_caps_need(WEIR_CAP_SYS_PTRACE, "take a socket of another process", err);
	if (code)
		return code;
	return weir_fail(err, -ENOENT,
			 "%s: no process that holds it can be seen: run weir where its process is",
			 what.failed ? "--listen" : what.data);
}

int weir_fault_targets_find(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
			    const struct weir_fault_conf *next, bool force,
			    struct weir_fault_targets *ret, struct weir_error *err)
{
	struct weir_fault_targets t = { .n = 0 };
	int code = r->port ? find_listen(r, &t, err) : find_pid(r, &t, err);

	for (size_t i = 0; !code && i < t.n; i++)
		code = check_socket(f, r, next, force, t.fd[i], err);
	if (code)
		weir_fault_targets_close(&t);
	else
		*ret = t;
	return code;
}

/* ---- On and off */

int weir_fault_sk_load(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
		       struct weir_error *err)
{
	struct fault_sk_bpf *skel;
	int ret = 0;

	weir_load_setup();
	skel = fault_sk_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the socket filter");
	skel->rodata->weir_fault_slot = r->slot;
	skel->rodata->weir_fault_stamp = r->stamp;
	if (bpf_map__reuse_fd(skel->maps.weir_fault_rules, f->map_fd[WEIR_FAULT_MAP_SWITCH]) ||
	    bpf_map__reuse_fd(skel->maps.weir_fault_run, f->map_fd[WEIR_FAULT_MAP_RUN]) ||
	    bpf_map__reuse_fd(skel->maps.weir_fault_account, f->map_fd[WEIR_FAULT_MAP_ACCOUNT]) ||
	    bpf_map__reuse_fd(skel->maps.weir_hits, f->rules.hits_fd))
		ret = weir_load_explain(err, -errno, "prepare the socket filter");
	/* Socket filters drop nothing. */
	bpf_map__set_autocreate(skel->maps.weir_fault_dropped, false);
	if (!ret)
		ret = weir_load(skel->obj, NULL, err);
	if (!ret) {
		ret = dup(bpf_program__fd(skel->progs.weir_fault_sk));
		if (ret < 0)
			ret = weir_load_explain(err, -errno, "keep the socket filter");
	}
	fault_sk_bpf__destroy(skel);
	return ret;
}

int weir_fault_sk_attach(const struct weir_fault_targets *t, int prog_fd, struct weir_error *err)
{
	for (size_t i = 0; i < t->n; i++) {
		if (!setsockopt(t->fd[i], SOL_SOCKET, SO_ATTACH_BPF, &prog_fd, sizeof(prog_fd)))
			continue;
		return weir_load_explain(err, -errno, "give the socket a filter");
	}
	return 0;
}

/* One by one, each looked at right before: another program may put its own there. */
void weir_fault_sk_detach(uint32_t prog_id)
{
	weir_cleanup(weir_fault_sockets_free) struct weir_fault_sockets s = { 0 };
	weir_cleanup(weir_holders_free) struct weir_holders holders = { 0 };
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0;

	/* The kernel's list first: asking for a cookie makes it. */
	if (weir_sockets_list(IPPROTO_TCP, 0, &v, &n, NULL) || weir_holders_scan(&holders, NULL) ||
	    weir_fault_sockets_list(&s, NULL))
		return;
	for (size_t i = 0; i < s.n; i++) {
		if (s.v[i].prog_id != prog_id || !s.v[i].cookie)
			continue;
		for (size_t k = 0; k < n; k++) {
			weir_autoclose int fd = -1;
			int unused = 0;

			if (v[k].cookie != s.v[i].cookie)
				continue;
			fd = weir_holders_take(&holders, v[k].inode, v[k].cookie);
			if (fd >= 0)
				setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused,
					   sizeof(unused));
		}
	}
}
