/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PREFIX "weir-bypass-"
#define REMOVE_TRIES 100
#define REMOVE_WAIT_NS 10000000

static void sweep(const char *root)
{
	DIR *d = opendir(root);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[2 * WEIR_CGROUP_PATH_MAX + 256];
		long pid;

		if (strncmp(e->d_name, PREFIX, sizeof(PREFIX) - 1) != 0)
			continue;
		pid = strtol(e->d_name + sizeof(PREFIX) - 1, NULL, 10);
		if (pid <= 0 || !kill((pid_t)pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%s/%s", root, e->d_name);
		rmdir(path);
	}
	if (d)
		closedir(d);
}

int weir_bypass_place_make(struct weir_bypass_place *p, struct weir_error *err)
{
	char root[WEIR_CGROUP_PATH_MAX];
	int fd = weir_cgroup_open(NULL, root, err);

	p->fd = -1;
	if (fd < 0)
		return fd;
	close(fd);
	sweep(root);
	snprintf(p->path, sizeof(p->path), "%s/" PREFIX "%d", root, getpid());
	if (mkdir(p->path, 0755) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make the cgroup %s (%s): run as root",
				 p->path, strerror(errno));
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd < 0) {
		int code = -errno;

		rmdir(p->path);
		return weir_fail(err, code, "cannot open the cgroup %s (%s)", p->path,
				 strerror(-code));
	}
	return 0;
}

void weir_bypass_place_remove(struct weir_bypass_place *p)
{
	struct timespec wait = { .tv_nsec = REMOVE_WAIT_NS };

	if (p->fd < 0)
		return;
	close(p->fd);
	p->fd = -1;
	/* A process that has ended leaves its cgroup a moment later. */
	for (int i = 0; i < REMOVE_TRIES && rmdir(p->path) && errno == EBUSY; i++)
		nanosleep(&wait, NULL);
}

int weir_bypass_place_enter(const struct weir_bypass_place *p)
{
	weir_autoclose int fd = openat(p->fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, "0", 1) == 1 ? 0 : -errno;
}

int weir_bypass_isolate(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	weir_autoclose int fd = -1;

	if (unshare(CLONE_NEWNET))
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		return -errno;
	return 0;
}
