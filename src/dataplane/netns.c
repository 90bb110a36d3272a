/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "netns.skel.h"

#define NAMESPACES_MAX 65536

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
