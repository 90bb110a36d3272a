/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/sys.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* The head of union bpf_attr for BPF_LINK_CREATE, as kernel 6.6 lays it out.
 * Only what is used here is spelled out, so the size stays small enough for a
 * kernel that knows less: it then answers EINVAL for the attach type. */
struct link_create {
	uint32_t prog_fd;
	uint32_t target;
	uint32_t attach_type;
	uint32_t flags;
	union {
		struct {
			uint32_t relative; /* descriptor or id */
			uint32_t pad;
			uint64_t expected_revision;
		} tcx;
		struct {
			uint32_t pf;
			uint32_t hooknum;
			int32_t priority;
			uint32_t flags;
		} netfilter;
	};
};

/* The same of BPF_PROG_QUERY. */
struct prog_query {
	uint32_t target;
	uint32_t attach_type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t prog_ids;
	uint32_t count;
	uint32_t pad;
	uint64_t prog_attach_flags;
	uint64_t link_ids;
	uint64_t link_attach_flags;
	uint64_t revision;
};

static int link_create(const struct link_create *attr)
{
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, attr, sizeof(*attr));

	return fd < 0 ? -errno : (int)fd;
}

int weir_sys_tcx_link(int prog_fd, uint32_t ifindex, bool egress, bool before)
{
	struct link_create attr = {
		.prog_fd = (uint32_t)prog_fd,
		.target = ifindex,
		.attach_type = egress ? WEIR_BPF_TCX_EGRESS : WEIR_BPF_TCX_INGRESS,
		.flags = before ? WEIR_BPF_F_BEFORE : WEIR_BPF_F_AFTER,
	};

	return link_create(&attr);
}

int weir_sys_tcx_link_behind(int prog_fd, uint32_t ifindex, bool egress, uint32_t prog_id)
{
	struct link_create attr = {
		.prog_fd = (uint32_t)prog_fd,
		.target = ifindex,
		.attach_type = egress ? WEIR_BPF_TCX_EGRESS : WEIR_BPF_TCX_INGRESS,
		.flags = WEIR_BPF_F_AFTER | WEIR_BPF_F_ID,
		.tcx.relative = prog_id,
	};

	return link_create(&attr);
}

int weir_sys_tcx_query(uint32_t ifindex, bool egress, uint32_t *ids, uint32_t n)
{
	struct prog_query attr = {
		.target = ifindex,
		.attach_type = egress ? WEIR_BPF_TCX_EGRESS : WEIR_BPF_TCX_INGRESS,
		.prog_ids = (uintptr_t)ids,
		.count = n,
	};

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)))
		return -errno;
	return (int)attr.count;
}

int weir_sys_netfilter_link(int prog_fd, uint32_t pf, uint32_t hook, int32_t prio)
{
	struct link_create attr = {
		.prog_fd = (uint32_t)prog_fd,
		.attach_type = WEIR_BPF_NETFILTER,
		.netfilter = { .pf = pf, .hooknum = hook, .priority = prio },
	};

	return link_create(&attr);
}

int weir_sys_netns_cookie(uint64_t *ret)
{
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	int fd, err = 0;

	/* A new socket belongs to the namespace of the thread that opens it. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		err = -errno;
	else
		*ret = cookie;
	close(fd);
	return err;
}

int weir_sys_cpus(void)
{
	/* Fails only when /sys cannot be read; one CPU is then the least wrong
	 * answer that keeps "always positive". */
	int n = libbpf_num_possible_cpus();

	return n > 0 ? n : 1;
}
