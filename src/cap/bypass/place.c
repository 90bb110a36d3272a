/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PREFIX "weir-bypass-"
#define REMOVE_TRIES 100
#define REMOVE_WAIT_NS 10000000

/* ---- Cgroups */

/* The first mount of cgroup v2 that shows its root. mountinfo(5): the fourth field is what
 * of it is mounted, the fifth where, and the type stands behind a lone hyphen. */
static int find_root(char *buf, size_t size)
{
	weir_autofclose FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], shown[1024], at[1024];

	while (f && fgets(line, sizeof(line), f)) {
		const char *type = strstr(line, " - ");

		if (!type || strncmp(type, " - cgroup2 ", 11) != 0 ||
		    sscanf(line, "%*s %*s %*s %1023s %1023s", shown, at) != 2 ||
		    strcmp(shown, "/") != 0 || strlen(at) >= size)
			continue;
		snprintf(buf, size, "%s", at);
		return 0;
	}
	return -ENOENT;
}

static int no_root(struct weir_error *err)
{
	return weir_fail(err, -ENOENT,
			 "cgroup v2 is not mounted: `mount -t cgroup2 none /sys/fs/cgroup`");
}

static int open_dir(const char *path)
{
	struct statfs fs;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!fstatfs(fd, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC)
		return fd;
	close(fd);
	return -EINVAL;
}

int weir_bypass_cgroup_open(const char *path, char **ret_path, struct weir_error *err)
{
	char root[WEIR_BYPASS_PATH_MAX], below[2 * WEIR_BYPASS_PATH_MAX];
	const char *found = path;
	int fd = path ? open_dir(path) : -ENOENT;

	if (fd < 0) {
		if (find_root(root, sizeof(root)))
			return no_root(err);
		snprintf(below, sizeof(below), "%s%s%.*s", root, path && *path != '/' ? "/" : "",
			 WEIR_BYPASS_PATH_MAX, path ? path : "");
		found = below;
		fd = open_dir(below);
	}
	if (fd < 0)
		return weir_fail(err, fd, "%s is not a cgroup of version 2: give one below %s",
				 path ? path : root, root);
	*ret_path = strdup(found);
	if (*ret_path)
		return fd;
	close(fd);
	return weir_fail(err, -ENOMEM, "out of memory");
}

uint64_t weir_bypass_cgroup_id(const char *path)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 8];
	} handle = { .h.handle_bytes = 8 };
	uint64_t id = 0;
	int mount;

	if (!name_to_handle_at(AT_FDCWD, path, &handle.h, &mount, 0) && handle.h.handle_bytes == 8)
		memcpy(&id, handle.h.f_handle, sizeof(id));
	return id;
}

/* ---- One of our own */

static void sweep(const char *root)
{
	DIR *d = opendir(root);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[2 * WEIR_BYPASS_PATH_MAX];
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
	char root[WEIR_BYPASS_PATH_MAX - 64];

	p->fd = -1;
	if (find_root(root, sizeof(root)))
		return no_root(err);
	sweep(root);
	snprintf(p->path, sizeof(p->path), "%s/" PREFIX "%d", root, getpid());
	if (mkdir(p->path, 0755) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make the cgroup %s (%s): run as root",
				 p->path, strerror(errno));
	p->fd = open_dir(p->path);
	if (p->fd < 0) {
		rmdir(p->path);
		return weir_fail(err, p->fd, "cannot open the cgroup %s", p->path);
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
