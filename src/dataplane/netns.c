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

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "netns.skel.h"

#define NAMESPACES_MAX 65536
#define PATH_ROOM 4096

const char *weir_netns_path(const char *word, char *buf, size_t size)
{
	if (strchr(word, '/'))
		return word;
	if (word[0] && !word[strspn(word, "0123456789")])
		snprintf(buf, size, "/proc/%s/ns/net", word);
	else
		snprintf(buf, size, "/run/netns/%s", word);
	return buf;
}

int weir_netns_explain(struct weir_error *err, int code, const char *path)
{
	if (code == -EPERM || code == -EACCES) {
		if (weir_caps_need(WEIR_CAP_SYS_ADMIN, "enter a network namespace", err))
			return -EPERM;
		return weir_fail(err, -EPERM, "may not enter %s: run as root", path);
	}
	if (code == -EINVAL)
		return weir_fail(err, code,
				 "%s is no network namespace: name one of `ip netns`, "
				 "a path or a process",
				 path);
	return weir_fail(err, code,
			 "cannot enter the network namespace %s (%s): name one of `ip netns`, a "
			 "path or a process",
			 path, strerror(-code));
}

int weir_netns_enter(const char *word, struct weir_error *err)
{
	char buf[PATH_ROOM];
	const char *path = weir_netns_path(word, buf, sizeof(buf));
	weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 || setns(fd, CLONE_NEWNET) ? weir_netns_explain(err, -errno, path) : 0;
}

struct found {
	uint64_t *cookie;
	size_t n, cap;
	int error;
};

static void add(struct found *f, uint64_t cookie)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->cookie[i] == cookie)
			return;
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		void *grown = cap <= NAMESPACES_MAX ? realloc(f->cookie, cap * sizeof(cookie)) :
						      NULL;

		if (!grown) {
			f->error = -ENOMEM;
			return;
		}
		f->cookie = grown;
		f->cap = cap;
	}
	f->cookie[f->n++] = cookie;
}

/* Read what the iterator @prog tells. */
static void run_iterator(struct found *f, const struct bpf_program *prog)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	weir_autoclose int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	uint64_t cookies[512];
	ssize_t n = 0;

	if (fd < 0)
		f->error = -errno;
	while (!f->error && (n = read(fd, cookies, sizeof(cookies))) != 0) {
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			f->error = -errno;
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*cookies) && !f->error; i++)
			add(f, cookies[i]);
	}
	bpf_link__destroy(link);
}

static void ask_kernel(struct found *f)
{
	struct netns_bpf *skel;

	weir_load_setup();
	skel = netns_bpf__open();
	if (!skel) {
		f->error = -errno;
		return;
	}
	f->error = weir_load(skel->obj, NULL, NULL);
	if (!f->error)
		run_iterator(f, skel->progs.weir_netns_task);
	if (!f->error)
		run_iterator(f, skel->progs.weir_netns_file);
	netns_bpf__destroy(skel);
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

/* Enter the namespace that is mounted on @path, which only this thread does, and
 * read its cookie. */
static void look(struct found *f, const char *path)
{
	weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t cookie;

	if (fd < 0) {
		/* Unmounted meanwhile, or hidden below another mount. */
		f->error = errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
		return;
	}
	if (setns(fd, CLONE_NEWNET)) {
		/* EINVAL: another mount lies over it. */
		f->error = errno == EINVAL ? 0 : -errno;
		return;
	}
	f->error = weir_sys_netns_cookie(&cookie);
	if (!f->error)
		add(f, cookie);
}

/* Namespaces that nothing but a mount holds, as `ip netns add` makes them. */
static void *look_at_mounts(void *arg)
{
	struct found *f = arg;
	weir_autofclose FILE *in = fopen("/proc/self/mountinfo", "re");
	weir_autofree char *line = NULL;
	size_t cap = 0;

	if (!in)
		f->error = -errno;
	while (!f->error && getline(&line, &cap, in) > 0) {
		char root[64], point[4096];

		if (sscanf(line, "%*d %*d %*s %63s %4095s", root, point) != 2 ||
		    strncmp(root, "net:[", 5) != 0)
			continue;
		unescape(point);
		look(f, point);
	}
	return NULL;
}

int weir_netns_live(uint64_t **ret)
{
	struct found f = { 0 };
	pthread_t thread;

	ask_kernel(&f);
	if (!f.error)
		f.error = -pthread_create(&thread, NULL, look_at_mounts, &f);
	if (!f.error)
		pthread_join(thread, NULL);
	if (f.error) {
		free(f.cookie);
		return f.error;
	}
	*ret = f.cookie;
	return (int)f.n;
}

/* ---- A walk through all of them */

struct space {
	dev_t dev;
	ino_t ino;
};

struct walk {
	weir_netns_fn fn;
	void *arg;
	const char *only; /* NULL: all */
	struct space own;
	struct space *seen;
	size_t n, room;
	bool hidden;
	int ret;
};

/* Is it a new one? Returns 1, 0 or -ENOMEM. */
static int remember(struct walk *w, const struct stat *st)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->seen[i].dev == st->st_dev && w->seen[i].ino == st->st_ino)
			return 0;
	if (w->n == w->room) {
		size_t room = w->room ? w->room * 2 : 16;
		void *grown = room <= NAMESPACES_MAX ?
				      reallocarray(w->seen, room, sizeof(*w->seen)) :
				      NULL;

		if (!grown)
			return -ENOMEM;
		w->seen = grown;
		w->room = room;
	}
	w->seen[w->n++] = (struct space){ .dev = st->st_dev, .ino = st->st_ino };
	return 1;
}

static bool is_refusal(int error)
{
	return error == EPERM || error == EACCES;
}

/* What is not there any more, or no namespace, is passed over. */
static void visit(struct walk *w, const char *path)
{
	struct stat st;
	uint64_t cookie;
	int fresh;

	if (stat(path, &st)) {
		w->hidden = w->hidden || is_refusal(errno);
		return;
	}
	fresh = remember(w, &st);
	if (fresh < 0)
		w->ret = fresh;
	if (fresh <= 0)
		return;
	if (st.st_ino != w->own.ino || st.st_dev != w->own.dev || w->n > 1) {
		weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, CLONE_NEWNET)) {
			w->hidden = w->hidden || is_refusal(errno);
			return;
		}
	}
	w->ret = weir_sys_netns_cookie(&cookie);
	if (!w->ret)
		w->ret = w->fn(w->arg, cookie);
}

static void visit_processes(struct walk *w)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	if (!proc) {
		w->hidden = true;
		return;
	}
	while (!w->ret && (e = readdir(proc))) {
		char path[64];

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/ns/net", e->d_name);
		visit(w, path);
	}
	closedir(proc);
}

static void visit_mounts(struct walk *w)
{
	weir_autofclose FILE *in = fopen("/proc/self/mountinfo", "re");
	weir_autofree char *line = NULL;
	size_t cap = 0;

	while (in && !w->ret && getline(&line, &cap, in) > 0) {
		char root[64], point[4096];

		if (sscanf(line, "%*d %*d %*s %63s %4095s", root, point) != 2 ||
		    strncmp(root, "net:[", 5) != 0)
			continue;
		unescape(point);
		visit(w, point);
	}
}

static void *walk_thread(void *arg)
{
	struct walk *w = arg;
	struct stat own;

	if (w->only) {
		weir_autoclose int fd = open(w->only, O_RDONLY | O_CLOEXEC);
		uint64_t cookie;

		if (fd < 0 || setns(fd, CLONE_NEWNET))
			w->ret = -errno;
		else
			w->ret = weir_sys_netns_cookie(&cookie);
		if (!w->ret)
			w->ret = w->fn(w->arg, cookie);
		return NULL;
	}
	/* This one first: a thread that has left it may be refused the way back. */
	if (!stat("/proc/thread-self/ns/net", &own))
		w->own = (struct space){ .dev = own.st_dev, .ino = own.st_ino };
	visit(w, "/proc/thread-self/ns/net");
	if (!w->ret)
		visit_processes(w);
	if (!w->ret)
		visit_mounts(w);
	return NULL;
}

static int run_walk(struct walk *w)
{
	pthread_t thread;
	int ret = -pthread_create(&thread, NULL, walk_thread, w);

	if (!ret) {
		pthread_join(thread, NULL);
		ret = w->ret;
	}
	free(w->seen);
	return ret;
}

int weir_netns_each(weir_netns_fn fn, void *arg, bool *ret_hidden)
{
	struct walk w = { .fn = fn, .arg = arg };
	int ret = run_walk(&w);

	if (ret_hidden)
		*ret_hidden = w.hidden;
	return ret;
}

int weir_netns_in(const char *path, weir_netns_fn fn, void *arg)
{
	struct walk w = { .fn = fn, .arg = arg, .only = path };

	return run_walk(&w);
}
