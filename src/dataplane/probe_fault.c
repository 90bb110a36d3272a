/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/probe_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/holders.h"
#include "dataplane/netlink.h"

#define LOOPBACK_IFINDEX 1
#define INIT_PID 1
#define NOBODY 65534

/* ---- fq */

/* Give the loopback of a new namespace, where no packet is, the qdisc fq: 0 or an errno. */
static int give_fq(void)
{
	const struct tcmsg t = { .tcm_family = AF_UNSPEC,
				 .tcm_ifindex = LOOPBACK_IFINDEX,
				 .tcm_parent = TC_H_ROOT };
	struct weir_nl_msg m;

	weir_nl_begin(&m, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &t, sizeof(t));
	weir_nl_attr(&m, TCA_KIND, "fq", sizeof("fq"));
	return -weir_nl_ask(NETLINK_ROUTE, &m, NULL, NULL);
}

/* In a child, so that the namespace goes with it: the first of the two that failed. */
#define NO_NAMESPACE 255
static int fq_in_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(unshare(CLONE_NEWNET) ? NO_NAMESPACE : give_fq() & 0xff);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int weir_probe_fq(struct weir_probe *p)
{
	int ret = fq_in_child();

	if (ret == NO_NAMESPACE) {
		snprintf(p->detail, sizeof(p->detail),
			 "not tried: no network namespace can be made for it");
		return -EPERM;
	}
	if (ret == ENOENT)
		snprintf(p->detail, sizeof(p->detail), "no qdisc fq in this kernel");
	else if (!ret)
		snprintf(p->detail, sizeof(p->detail), "an interface takes it");
	return ret > 0 ? -ret : ret;
}

/* ---- Ending connections */

/* Of a connection that cannot be: no socket has port 0. */
int weir_probe_sock_destroy(struct weir_probe *p)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = AF_INET,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = ~0U,
		.id = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } },
	};
	struct weir_nl_msg m;
	int ret;

	weir_nl_begin(&m, SOCK_DESTROY, NLM_F_ACK, &req, sizeof(req));
	ret = weir_nl_ask(NETLINK_SOCK_DIAG, &m, NULL, NULL);
	if (ret == -EOPNOTSUPP)
		snprintf(p->detail, sizeof(p->detail), "this kernel ends no connections");
	if (ret && ret != -ENOENT)
		return ret;
	/* The kernel asks for the right only once it has found one. */
	if (!(weir_caps_effective() & WEIR_CAP_NET_ADMIN))
		return -EPERM;
	snprintf(p->detail, sizeof(p->detail), "sock_diag ends connections");
	return 0;
}

/* ---- Other processes' sockets */

/* A child as another user, until @stop is closed by whoever holds its other end. */
static void be_another(int ready, int stop)
{
	uid_t uid = geteuid() == NOBODY ? NOBODY - 1 : NOBODY;
	char c = 0;

	if (setresuid(uid, uid, uid) || write(ready, &c, 1) != 1)
		_exit(1);
	_exit(read(stop, &c, 1) != 0);
}

/* Ask the process for a descriptor that none has: that the kernel says so means that it
 * would have given one. */
static int take_nothing(pid_t pid)
{
	int fd = weir_holders_take_fd((uint32_t)pid, INT_MAX);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EBADF ? 0 : fd;
}

static int take_of_another(void)
{
	weir_autoclose int ready_in = -1, ready = -1, stop = -1, stop_out = -1;
	int fds[2], ret;
	pid_t pid;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	ready = fds[0];
	ready_in = fds[1];
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	stop = fds[0];
	stop_out = fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(stop_out);
		be_another(ready_in, stop);
	}
	/* Else the end of the child would not be seen. */
	close(WEIR_TAKE_FD(ready_in));
	/* Who may not become another user asks the first process. */
	ret = take_nothing(read(ready, &c, 1) == 1 ? pid : INIT_PID);
	close(WEIR_TAKE_FD(stop_out));
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return ret;
}

int weir_probe_take_socket(struct weir_probe *p)
{
	int ret = take_of_another();

	if (!ret)
		snprintf(p->detail, sizeof(p->detail), "other processes' descriptors can be taken");
	return ret;
}
