/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/netns.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "dataplane/sys.h"

#define NAMESPACES_MAX 65536

struct found {
	struct namespace {
		dev_t dev;
		ino_t ino;
		uint64_t cookie;
	} *ns;
	size_t n, cap;
	int error;
};

static void close_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define autodir weir_cleanup(close_dir)

static bool is_known(const struct found *f, const struct stat *st)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->ns[i].ino == st->st_ino && f->ns[i].dev == st->st_dev)
			return true;
	return false;
}

/* Enter the namespace behind @path, which only this thread does, and read its
 * cookie. What has gone meanwhile is no error. */
static void look(struct found *f, const char *path)
{
	weir_autoclose int fd = -1;
	struct stat st;
	uint64_t cookie;

	if (f->error)
		return;
	if (stat(path, &st)) {
		if (errno == EACCES || errno == EPERM)
			f->error = -errno;
		return;
	}
	if (is_known(f, &st))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		f->error = errno == ENOENT || errno == ESRCH ? 0 : -errno;
		return;
	}
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		void *grown = cap <= NAMESPACES_MAX ? realloc(f->ns, cap * sizeof(*f->ns)) : NULL;

		if (!grown) {
			f->error = -ENOMEM;
			return;
		}
		f->ns = grown;
		f->cap = cap;
	}
	if (setns(fd, CLONE_NEWNET)) {
		f->error = -errno;
		return;
	}
	f->error = weir_sys_netns_cookie(&cookie);
	f->ns[f->n++] = (struct namespace){ .dev = st.st_dev, .ino = st.st_ino, .cookie = cookie };
}

/* Descriptors of namespaces that a process holds without living in them. */
static void look_at_files(struct found *f, const char *pid)
{
	char dir[64], path[384], target[32];
	struct dirent *e;

	snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
	autodir DIR *d = opendir(dir);

	if (!d) {
		if (errno == EACCES || errno == EPERM)
			f->error = -errno;
		return;
	}
	while ((e = readdir(d))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 5 && !strncmp(target, "net:[", 5))
			look(f, path);
	}
}

/* Threads may live in different namespaces. */
static void look_at_process(struct found *f, const char *pid)
{
	char dir[64], path[384];
	struct dirent *e;

	snprintf(dir, sizeof(dir), "/proc/%.20s/task", pid);
	autodir DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "%s/%s/ns/net", dir, e->d_name);
		look(f, path);
	}
	look_at_files(f, pid);
}

/* Undo the octal escapes of mountinfo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Namespaces with a name: files that a namespace is mounted on. */
static void look_at_mounts(struct found *f)
{
	weir_autofclose FILE *in = fopen("/proc/self/mountinfo", "re");
	weir_autofree char *line = NULL;
	size_t cap = 0;

	if (!in) {
		f->error = -errno;
		return;
	}
	while (getline(&line, &cap, in) > 0) {
		char root[64], point[4096];

		if (sscanf(line, "%*d %*d %*s %63s %4095s", root, point) != 2 ||
		    strncmp(root, "net:[", 5))
			continue;
		unescape(point);
		look(f, point);
	}
}

static void *look_everywhere(void *arg)
{
	struct found *f = arg;
	struct dirent *e;
	autodir DIR *d = opendir("/proc");

	if (!d)
		f->error = -errno;
	while (d && !f->error && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			look_at_process(f, e->d_name);
	if (!f->error)
		look_at_mounts(f);
	return NULL;
}

int weir_netns_live(uint64_t **ret)
{
	struct found f = { 0 };
	pthread_t thread;
	uint64_t *cookies;
	int err = -pthread_create(&thread, NULL, look_everywhere, &f);

	if (err)
		return err;
	pthread_join(thread, NULL);
	cookies = f.error ? NULL : calloc(f.n + 1, sizeof(*cookies));
	if (!cookies) {
		free(f.ns);
		return f.error ? f.error : -ENOMEM;
	}
	for (size_t i = 0; i < f.n; i++)
		cookies[i] = f.ns[i].cookie;
	free(f.ns);
	*ret = cookies;
	return (int)f.n;
}
