/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* ---- Looking */

void weir_holders_free(struct weir_holders *h)
{
	free(h->v);
	*h = (struct weir_holders){ 0 };
}

static int add_holder(struct weir_holders *h, uint32_t inode, uint32_t pid, uint32_t fd)
{
	if (h->n == h->room) {
		size_t room = h->room ? 2 * h->room : 256;
		void *v = reallocarray(h->v, room, sizeof(*h->v));

		if (!v)
			return -ENOMEM;
		h->v = v;
		h->room = room;
	}
	h->v[h->n++] = (struct weir_holder){ inode, pid, fd };
	return 0;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int scan_process(struct weir_holders *h, int proc, const char *pid)
{
	weir_cleanup(closedirp) DIR *d = NULL;
	char path[32], target[64];
	struct dirent *e;
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		h->denied |= errno == EACCES || errno == EPERM;
		return 0; /* or it has ended meanwhile */
	}
	d = fdopendir(fd);
	if (!d) {
		ret = errno == ENOMEM ? -ENOMEM : 0; /* or it ended just now */
		close(fd);
		return ret;
	}
	while (!ret && (e = readdir(d))) {
		ssize_t len = readlinkat(fd, e->d_name, target, sizeof(target) - 1);
		uint32_t inode;

		if (len < 0)
			continue;
		target[len] = '\0';
		if (sscanf(target, "socket:[%u]", &inode) == 1)
			ret = add_holder(h, inode, (uint32_t)strtoul(pid, NULL, 10),
					 (uint32_t)strtoul(e->d_name, NULL, 10));
	}
	return ret;
}

static int compare_holders(const void *a, const void *b)
{
	const struct weir_holder *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->pid != y->pid ? (x->pid < y->pid ? -1 : 1) : (x->fd > y->fd) - (x->fd < y->fd);
}

int weir_holders_scan(struct weir_holders *h, struct weir_error *err)
{
	weir_cleanup(closedirp) DIR *proc = NULL;
	struct dirent *e;
	int ret = 0;

	if (h->scanned)
		return 0;
	proc = opendir("/proc");
	if (!proc)
		return weir_fail(err, -errno, "cannot read /proc: %m");
	while (!ret && (e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]))
			ret = scan_process(h, dirfd(proc), e->d_name);
	if (ret)
		return weir_fail(err, ret, "out of memory: free some and try again");
	if (h->n)
		qsort(h->v, h->n, sizeof(*h->v), compare_holders);
	h->scanned = true;
	return 0;
}

/* The first holder of @inode, or NULL. */
const struct weir_holder *weir_holders_first(const struct weir_holders *h, uint32_t inode)
{
	size_t lo = 0, hi = h->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (h->v[mid].inode < inode)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < h->n && h->v[lo].inode == inode ? &h->v[lo] : NULL;
}

/* ---- Taking */

int weir_holders_take_fd(uint32_t pid, uint32_t fd)
{
	weir_autoclose int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0U);
	long ret = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, (int)fd, 0U);

	return ret < 0 ? -errno : (int)ret;
}

int weir_holders_take(const struct weir_holders *h, uint32_t inode, uint64_t cookie)
{
	const struct weir_holder *at = weir_holders_first(h, inode);
	int ret = -ENOENT;

	for (; at && at < h->v + h->n && at->inode == inode; at++) {
		uint64_t is = 0;
		socklen_t len = sizeof(is);

		ret = weir_holders_take_fd(at->pid, at->fd);
		if (ret < 0)
			continue;
		/* The number may be another's meanwhile. */
		if (!getsockopt(ret, SOL_SOCKET, SO_COOKIE, &is, &len) && is == cookie)
			return ret;
		close(ret);
		ret = -ENOENT;
	}
	return ret;
}
