/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"

#define PROGS_MAX 64 /* the kernel's own limit of programs of one type on a cgroup */

/* The kernel writes blanks and backslashes of a path as \\ooo. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		unsigned int c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/*
 * ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS...] - TYPE SOURCE OPTIONS
 *
 * A bind mount shows a part of the tree; of several mounts the one that shows most wins.
 */
static int find_root(char ret[WEIR_CGROUP_PATH_MAX])
{
	weir_autofclose FILE *f = fopen("/proc/self/mountinfo", "re");
	weir_autofree char *line = NULL;
	size_t room = 0, best = SIZE_MAX;

	if (!f)
		return -errno;
	while (getline(&line, &room, f) > 0) {
		char *save, *root, *mount, *tail = strstr(line, " - ");

		if (!tail || strncmp(tail, " - cgroup2 ", 11) != 0)
			continue;
		*tail = '\0';
		strtok_r(line, " ", &save);
		strtok_r(NULL, " ", &save);
		strtok_r(NULL, " ", &save);
		root = strtok_r(NULL, " ", &save);
		mount = strtok_r(NULL, " ", &save);
		if (!root || !mount || strlen(root) >= best)
			continue;
		unescape(mount);
		if (strlen(mount) >= WEIR_CGROUP_PATH_MAX)
			continue;
		best = strlen(root);
		snprintf(ret, WEIR_CGROUP_PATH_MAX, "%s", mount);
	}
	return best == SIZE_MAX ? -ENOENT : 0;
}

static bool is_cgroup2(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* A descriptor, with the path without links, or a negative errno: -EINVAL where it is a
 * directory of something else. */
static int open_real(const char *path, char real[PATH_MAX])
{
	weir_autoclose int fd = -1;

	if (!realpath(path, real))
		return -errno;
	fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return is_cgroup2(fd) ? WEIR_TAKE_FD(fd) : -EINVAL;
}

/* As it stands, else as /proc/PID/cgroup writes it. */
static int open_at(const char *root, const char *path, char real[PATH_MAX])
{
	char below[PATH_MAX];
	int fd = open_real(path, real), other;

	if (fd >= 0 || *path != '/' ||
	    snprintf(below, sizeof(below), "%s%s", root, path) >= (int)sizeof(below))
		return fd;
	other = open_real(below, real);
	return other >= 0 ? other : fd;
}

int weir_cgroup_open(const char *path, char ret_path[WEIR_CGROUP_PATH_MAX], struct weir_error *err)
{
	char root[WEIR_CGROUP_PATH_MAX], real[PATH_MAX];
	weir_autoclose int fd = -1;
	int ret = find_root(root);

	if (ret)
		return weir_fail(err, ret,
				 "cgroup v2 is not mounted: `mount -t cgroup2 none DIRECTORY`");
	if (!path)
		path = root;
	if (!*path)
		return weir_fail(err, -EINVAL,
				 "an empty path is no cgroup: name a directory below %s", root);
	fd = open_at(root, path, real);
	if (fd == -EINVAL)
		return weir_fail(err, fd,
				 "%s is not in cgroup v2: that is mounted on %s, name a directory "
				 "there",
				 path, root);
	if (fd < 0)
		return weir_fail(err, fd,
				 "there is no cgroup %s (%s): name a directory below %s", path,
				 strerror(-fd), root);
	if (strlen(real) >= WEIR_CGROUP_PATH_MAX)
		return weir_fail(err, -ENAMETOOLONG, "%s: longer than %d bytes: name another", path,
				 WEIR_CGROUP_PATH_MAX - 1);
	if (ret_path)
		snprintf(ret_path, WEIR_CGROUP_PATH_MAX, "%s", real);
	return WEIR_TAKE_FD(fd);
}

uint64_t weir_cgroup_id(int fd)
{
	struct stat st;

	/* The inode number of a directory in cgroup v2 is its id, all 64 bits of it. */
	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* The program on the cgroup @fd that leaves no room for another; 0 = none. */
static uint32_t find_lone(int fd, int attach)
{
	uint32_t ids[PROGS_MAX], n = PROGS_MAX, flags = 0;

	if (bpf_prog_query(fd, (enum bpf_attach_type)attach, 0, &flags, ids, &n) || !n)
		return 0;
	return flags & BPF_F_ALLOW_MULTI ? 0 : ids[0];
}

int weir_cgroup_explain(const char *path, int attach, const char *what, struct weir_error *err)
{
	char at[WEIR_CGROUP_PATH_MAX];

	snprintf(at, sizeof(at), "%s", path);
	while (*at) {
		weir_autoclose int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		uint32_t id = fd >= 0 && is_cgroup2(fd) ? find_lone(fd, attach) : 0;

		if (id) {
			struct bpf_prog_info info = { 0 };
			uint32_t len = sizeof(info);
			weir_autoclose int prog = bpf_prog_get_fd_by_id(id);

			if (prog < 0 || bpf_obj_get_info_by_fd(prog, &info, &len))
				info.name[0] = '\0';
			return weir_fail(err, -EPERM,
					 "cannot %s: program %u%s%s on %s admits no other: have it "
					 "attached with BPF_F_ALLOW_MULTI, or name another cgroup",
					 what, id, *info.name ? " " : "", info.name, at);
		}
		*strrchr(at, '/') = '\0';
	}
	return weir_load_explain(err, -EPERM, what);
}
