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

/* ---- A signal in the middle: nothing is left */

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
static struct weir_bypass_place *made; /* by the process @maker; its children remove nothing */
static pid_t maker;

/* Its processes end at once (since Linux 5.14). */
static void kill_all(const struct weir_bypass_place *p)
{
	weir_autoclose int fd = p->fd < 0 ? -1 : openat(p->fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);

	/* Where it cannot be, they end with this process. */
	if (fd >= 0)
		(void)!write(fd, "1", 1);
}

/* A process that has ended leaves its cgroup a moment later. */
static void remove_empty(const char *path)
{
	struct timespec wait = { .tv_nsec = REMOVE_WAIT_NS };

	for (int i = 0; i < REMOVE_TRIES && rmdir(path) && errno == EBUSY; i++)
		nanosleep(&wait, NULL);
}

static void on_end(int sig)
{
	if (made && getpid() == maker) {
		kill_all(made);
		remove_empty(made->path);
	}
	/* Delivered when this returns, as if nobody had caught it. */
	signal(sig, SIG_DFL);
	raise(sig);
}

/* What the caller has ignored (nohup) stays ignored. */
static void catch_ends(struct weir_bypass_place *p)
{
	maker = getpid();
	made = p;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(ends); i++)
		if (signal(ends[i], on_end) == SIG_IGN)
			signal(ends[i], SIG_IGN);
}

static void release_ends(void)
{
	made = NULL;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(ends); i++)
		if (signal(ends[i], SIG_DFL) == SIG_IGN)
			signal(ends[i], SIG_IGN);
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
	catch_ends(p);
	if (mkdir(p->path, 0755) && errno != EEXIST) {
		int code = -errno;

		release_ends();
		return weir_fail(err, code, "cannot make the cgroup %s (%s): run as root", p->path,
				 strerror(-code));
	}
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->fd < 0) {
		int code = -errno;

		rmdir(p->path);
		release_ends();
		return weir_fail(err, code, "cannot open the cgroup %s (%s)", p->path,
				 strerror(-code));
	}
	return 0;
}

void weir_bypass_place_remove(struct weir_bypass_place *p)
{
	if (p->fd < 0)
		return;
	kill_all(p);
	close(p->fd);
	p->fd = -1;
	remove_empty(p->path);
	release_ends();
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
