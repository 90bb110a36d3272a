/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/progs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/caps.h"
#include "dataplane/pinned.h"
#include "dataplane/sys.h"

/* Newer than Debian 12's linux/bpf.h. */
#define LINK_TYPE_NETFILTER 10
#define LINK_TYPE_TCX 11

/* bpf_link_info of a tcx link, behind the part that all links share. */
struct tcx_info {
	uint32_t ifindex;
	uint32_t attach_type;
};

#define PROGS_MAX 4096 /* more weir programs than a host can sensibly have */
#define FDINFO_MAX 1024

struct list {
	struct weir_prog *v;
	size_t n;
	struct weir_pinned here; /* in this network namespace, where that can be seen */
};

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}
#define autoclosedir weir_cleanup(closedirp)

/* What a program's load time, ns since boot, lacks to the epoch. */
static uint64_t boot_time(void)
{
	struct timespec boot;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	return weir_clock_real() -
	       ((uint64_t)boot.tv_sec * WEIR_NSEC_PER_SEC + (uint64_t)boot.tv_nsec);
}

/* Program types as bpftool and `weir doctor` call them. */
static const char *type_name(uint32_t type)
{
	switch (type) {
	case BPF_PROG_TYPE_SCHED_CLS:
		return "tc";
	case BPF_PROG_TYPE_TRACING:
		return "tracing";
	case WEIR_BPF_PROG_NETFILTER:
		return "netfilter";
	default:
		break;
	}

	const char *name = libbpf_bpf_prog_type_str((enum bpf_prog_type)type);
	return name ? name : "unknown";
}

/* Append program @id to @l if it is one of ours. A program that went away
 * meanwhile is none. */
static int add_prog(struct list *l, uint32_t id, uint64_t boot)
{
	uint32_t maps[WEIR_PROG_MAPS];
	struct bpf_prog_info info = {
		.nr_map_ids = WEIR_PROG_MAPS,
		.map_ids = (uint64_t)(uintptr_t)maps,
	};
	uint32_t len = sizeof(info);
	weir_autoclose int fd = bpf_prog_get_fd_by_id(id);
	struct weir_prog *p;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	if (strncmp(info.name, WEIR_PROG_PREFIX, strlen(WEIR_PROG_PREFIX)) != 0)
		return 0;

	p = realloc(l->v, (l->n + 1) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->v = p;
	p = &l->v[l->n++];
	*p = (struct weir_prog){
		.id = id,
		.type = type_name(info.type),
		.loaded = boot + info.load_time,
		.n_maps = info.nr_map_ids < WEIR_PROG_MAPS ? info.nr_map_ids : WEIR_PROG_MAPS,
	};
	snprintf(p->name, sizeof(p->name), "%s", info.name);
	memcpy(p->map_ids, maps, p->n_maps * sizeof(maps[0]));
	return 0;
}

static int add_progs(struct list *l)
{
	uint64_t boot = boot_time();
	uint32_t id = 0;
	int err;

	while (l->n < PROGS_MAX) {
		if (bpf_prog_get_next_id(id, &id) < 0)
			return errno == ENOENT ? 0 : -errno;
		err = add_prog(l, id, boot);
		if (err < 0)
			return err;
	}
	return 0;
}

static struct weir_prog *find_prog(struct list *l, uint32_t id)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].id == id)
			return &l->v[i];
	return NULL;
}

static bool uses_map(const struct weir_prog *p, uint32_t map_id)
{
	for (unsigned int i = 0; i < p->n_maps; i++)
		if (p->map_ids[i] == map_id)
			return true;
	return false;
}

static void add_owner(struct weir_prog *p, const struct weir_prog_owner *o)
{
	for (unsigned int i = 0; i < p->n_owners; i++)
		if (p->owners[i].pid == o->pid)
			return;
	if (p->n_owners < WEIR_PROG_OWNERS)
		p->owners[p->n_owners++] = *o;
}

/* The number behind "@key:" in an fdinfo text, or 0: ids begin at 1. */
static uint32_t fdinfo_id(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : 0;
}

/* Which of the ids that an open descriptor names are ours. */
static void scan_fdinfo(struct list *l, struct list *by_map, int dir, const char *fd,
			const struct weir_prog_owner *o)
{
	char text[FDINFO_MAX];
	weir_autoclose int f = openat(dir, fd, O_RDONLY | O_CLOEXEC);
	struct weir_prog *p;
	uint32_t map;
	ssize_t n;

	if (f < 0)
		return;
	n = read(f, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = '\0';

	p = find_prog(l, fdinfo_id(text, "prog_id:"));
	if (p)
		add_owner(p, o);
	map = fdinfo_id(text, "map_id:");
	for (size_t i = 0; map && i < by_map->n; i++)
		if (uses_map(&by_map->v[i], map))
			add_owner(&by_map->v[i], o);
}

static bool describe_process(const char *pid, const struct stat *netns,
			     struct weir_prog_owner *ret)
{
	char path[64];
	struct stat st;
	weir_autoclose int fd = -1;
	ssize_t n;

	*ret = (struct weir_prog_owner){ .pid = (uint32_t)strtoul(pid, NULL, 10) };
	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, ret->comm, sizeof(ret->comm) - 1);
	if (n > 0)
		ret->comm[strcspn(ret->comm, "\n")] = '\0';
	snprintf(path, sizeof(path), "/proc/%.16s/ns/net", pid);
	ret->same_netns = stat(path, &st) == 0 && st.st_dev == netns->st_dev &&
			  st.st_ino == netns->st_ino;
	return true;
}

static void scan_process(struct list *l, struct list *by_map, const char *pid,
			 const struct stat *netns)
{
	char path[64], target[32];
	struct weir_prog_owner owner;
	autoclosedir DIR *fds = NULL;
	weir_autoclose int info = -1;
	struct dirent *d;
	bool known = false;

	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo", pid);
	info = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	fds = opendir(path);
	if (info < 0 || !fds)
		return;
	while ((d = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), d->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = '\0';
		/* bpf-prog, bpf-map, bpf_link */
		if (strncmp(target, "anon_inode:bpf", strlen("anon_inode:bpf")) != 0)
			continue;
		known = known || describe_process(pid, netns, &owner);
		if (!known)
			return;
		scan_fdinfo(l, by_map, info, d->d_name, &owner);
	}
}

/* A program that sits in a prog array needs no descriptor of its own: then the
 * holder of its maps is its owner. That is a guess where maps are shared, so
 * it only fills in for what the descriptors proper do not tell. */
static int find_owners(struct list *l)
{
	struct list by_map = { .n = l->n };
	autoclosedir DIR *proc = opendir("/proc");
	struct stat netns;
	struct dirent *d;

	if (!proc || stat("/proc/self/ns/net", &netns) < 0)
		return -errno;
	by_map.v = calloc(l->n, sizeof(*by_map.v));
	if (!by_map.v)
		return -ENOMEM;
	memcpy(by_map.v, l->v, l->n * sizeof(*by_map.v));

	while ((d = readdir(proc)))
		if (isdigit((unsigned char)d->d_name[0]))
			scan_process(l, &by_map, d->d_name, &netns);
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].n_owners)
			continue;
		memcpy(l->v[i].owners, by_map.v[i].owners, sizeof(l->v[i].owners));
		l->v[i].n_owners = by_map.v[i].n_owners;
	}
	free(by_map.v);
	return 0;
}

static bool is_pinned_here(const struct list *l, uint32_t link)
{
	for (size_t i = 0; l->here.netns && i < l->here.n; i++)
		if (l->here.v[i].id == link && !strcmp(l->here.v[i].type, "link"))
			return true;
	return false;
}

/* One program may be at several interfaces. They have numbers; their names are known only
 * in the own namespace. */
static void say_attached(const struct list *l, struct weir_prog *p, uint32_t link, const char *how,
			 uint32_t ifindex)
{
	bool here = (p->n_owners && p->owners[0].same_netns) || is_pinned_here(l, link);
	size_t n = p->is_attached ? strlen(p->attached) : 0;
	char name[IF_NAMESIZE], text[64];

	if (!ifindex) {
		if (!p->attached[0])
			snprintf(p->attached, sizeof(p->attached), "detached: interface gone");
		return;
	}
	if (here && if_indextoname(ifindex, name))
		snprintf(text, sizeof(text), "%s on %s", how, name);
	else
		snprintf(text, sizeof(text), "%s on interface %u", how, ifindex);
	if (n + strlen(text) + sizeof(", , ...") < sizeof(p->attached))
		snprintf(p->attached + n, sizeof(p->attached) - n, "%s%s", n ? ", " : "", text);
	else if (strcmp(p->attached + n - 3, "...") != 0)
		snprintf(p->attached + n, sizeof(p->attached) - n, ", ...");
	p->is_attached = true;
}

static int describe_link(struct list *l, uint32_t id)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	weir_autoclose int fd = bpf_link_get_fd_by_id(id);
	struct tcx_info tcx;
	struct weir_prog *p;

	if (fd < 0)
		return errno == ENOENT || errno == EAGAIN ? 0 : -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	p = find_prog(l, info.prog_id);
	if (!p)
		return 0;
	if (info.type == BPF_LINK_TYPE_XDP) {
		say_attached(l, p, id, "xdp", info.xdp.ifindex);
	} else if (info.type == LINK_TYPE_TCX) {
		memcpy(&tcx, &info.raw_tracepoint, sizeof(tcx));
		say_attached(l, p, id,
			     tcx.attach_type == WEIR_BPF_TCX_EGRESS ? "tcx egress" : "tcx ingress",
			     tcx.ifindex);
	} else if (info.type == LINK_TYPE_NETFILTER) {
		snprintf(p->attached, sizeof(p->attached), "netfilter");
	}
	return 0;
}

static int describe_links(struct list *l)
{
	uint32_t id = 0;
	int err = 0;

	while (err == 0) {
		if (bpf_link_get_next_id(id, &id) < 0)
			return errno == ENOENT ? 0 : -errno;
		err = describe_link(l, id);
	}
	return err;
}

int weir_progs_list(struct weir_prog **ret, size_t *ret_n, struct weir_error *err)
{
	const char *what = "see the programs that run";
	struct list l = { 0 };
	int r = weir_caps_need(WEIR_CAP_SYS_ADMIN, what, err);

	if (r < 0)
		return r;
	r = add_progs(&l);
	if (r == 0 && l.n)
		r = find_owners(&l);
	/* What is pinned may be out of sight: numbers have to do then. */
	weir_pinned_get(&l.here, NULL, NULL);
	if (r == 0 && l.n)
		r = describe_links(&l);
	weir_pinned_free(&l.here);
	if (r < 0) {
		free(l.v);
		return weir_fail(err, r, "cannot %s (%s): try again as root", what, strerror(-r));
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}
