/* SPDX-License-Identifier: GPL-2.0-only */
/* Walking what is pinned: to tell it, to remove it, to sweep it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "dataplane/gate.h"
#include "dataplane/netns.h"
#include "dataplane/pin_impl.h"
#include "dataplane/sys.h"
#include "dataplane/tc.h"

#define DEPTH_MAX 4 /* directories below a verb's */
#define PATH_SIZE 512

/* Newer than Debian 12's headers. */
#define LINK_TYPE_NETFILTER 10
#define LINK_TYPE_TCX 11

static int join_path(char buf[PATH_SIZE], const char *dir, const char *name)
{
	return snprintf(buf, PATH_SIZE, "%s/%s", dir, name) < PATH_SIZE ? 0 : -ENAMETOOLONG;
}

/* ---- Walking. The callback may remove what it is given. */

struct walk {
	/* @path is a pinned object (@dir false) or a directory behind its
	 * entries; @name is the part behind the directory where it began. */
	int (*fn)(void *arg, const char *path, const char *name, bool dir);
	void *arg;
	size_t start;
};

static int walk_tree(const struct walk *w, const char *path, int depth)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!ret && (e = readdir(d))) {
		char below[PATH_SIZE];
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		ret = join_path(below, path, e->d_name);
		if (ret)
			break;
		if (lstat(below, &st)) {
			ret = errno == ENOENT ? 0 : -errno;
		} else if (!S_ISDIR(st.st_mode)) {
			ret = w->fn(w->arg, below, below + w->start, false);
		} else if (depth < DEPTH_MAX) {
			ret = walk_tree(w, below, depth + 1);
			if (!ret)
				ret = w->fn(w->arg, below, below + w->start, true);
		}
	}
	closedir(d);
	return ret;
}

/* The names in a directory, as a list to be freed with free_names(). */
struct names {
	char **name;
	size_t n;
};

static void free_names(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
}

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int list_names(const char *path, struct names *ret)
{
	struct dirent **list;
	int n = scandir(path, &list, is_visible, alphasort);
	int err = 0;

	ret->n = 0;
	ret->name = NULL;
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	ret->name = calloc((size_t)n + 1, sizeof(*ret->name));
	for (int i = 0; i < n; i++) {
		if (ret->name && (ret->name[ret->n] = strdup(list[i]->d_name)))
			ret->n++;
		else
			err = -ENOMEM;
		free(list[i]);
	}
	free(list);
	return err;
}

/* <bpffs>/weir; -ENOENT when nothing is mounted. */
static int root_path(char root[PATH_SIZE], struct weir_error *err)
{
	char bpffs[192];
	int ret = weir_pin_bpffs(false, bpffs, sizeof(bpffs), err);

	if (!ret)
		snprintf(root, PATH_SIZE, "%s/weir", bpffs);
	return ret;
}

/* ---- What an object is */

static const char *object_type(int fd)
{
	static const struct {
		const char *file, *type;
	} kinds[] = {
		{ "bpf-prog", "prog" },
		{ "bpf-map", "map" },
		{ "bpf_link", "link" },
		{ "bpf-link", "link" },
	};
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return NULL;
	target[n] = '\0';
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(kinds); i++)
		if (strstr(target, kinds[i].file))
			return kinds[i].type;
	return NULL;
}

/* XDP and tcx links put the interface at the same place. */
static bool has_device(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_XDP || info->type == LINK_TYPE_TCX;
}

static void describe_device(const struct bpf_link_info *info, bool here, char *buf, size_t size)
{
	const char *hook = "xdp";
	char name[IF_NAMESIZE];
	uint32_t attach_type;

	memcpy(&attach_type, (const char *)&info->xdp.ifindex + sizeof(uint32_t),
	       sizeof(attach_type));
	if (info->type == LINK_TYPE_TCX)
		hook = attach_type == WEIR_BPF_TCX_EGRESS ? "tcx egress" : "tcx ingress";
	if (!info->xdp.ifindex)
		snprintf(buf, size, "detached: interface gone");
	else if (here && if_indextoname(info->xdp.ifindex, name))
		snprintf(buf, size, "%s on %s", hook, name);
	else
		snprintf(buf, size, "%s on interface %u", hook, info->xdp.ifindex);
}

static void describe_netfilter(const struct bpf_link_info *info, char *buf, size_t size)
{
	static const char *const hooks[NF_INET_NUMHOOKS] = {
		"prerouting", "input", "forward", "output", "postrouting",
	};
	struct {
		uint32_t pf, hook;
		int32_t priority;
	} at;

	memcpy(&at, &info->raw_tracepoint, sizeof(at));
	snprintf(buf, size, "netfilter %s, %s, priority %d",
		 at.hook < NF_INET_NUMHOOKS ? hooks[at.hook] : "?",
		 at.pf == NFPROTO_IPV6 ? "IPv6" : "IPv4", at.priority);
}

static uint32_t describe_link(int fd, bool here, char *buf, size_t size)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	if (has_device(&info))
		describe_device(&info, here, buf, size);
	else if (info.type == BPF_LINK_TYPE_NETNS)
		snprintf(buf, size,
			 info.netns.netns_ino ? "on the network namespace" :
						"detached: namespace gone");
	else if (info.type == BPF_LINK_TYPE_CGROUP)
		snprintf(buf, size, "on cgroup %llu", (unsigned long long)info.cgroup.cgroup_id);
	else if (info.type == LINK_TYPE_NETFILTER)
		describe_netfilter(&info, buf, size);
	else
		snprintf(buf, size, "link of type %u", info.type);
	return info.id;
}

static uint32_t describe_map(int fd, char *buf, size_t size)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	const char *type;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	type = libbpf_bpf_map_type_str(info.type);
	snprintf(buf, size, "%s %s, %u entries", type ? type : "map", info.name, info.max_entries);
	return info.id;
}

static uint32_t describe_prog(int fd, char *buf, size_t size)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	const char *type;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	type = info.type == WEIR_BPF_PROG_NETFILTER ? "netfilter" :
						      libbpf_bpf_prog_type_str(info.type);
	snprintf(buf, size, "%s %s", type ? type : "program", info.name);
	return info.id;
}

/* ---- List */

struct list {
	int (*fn)(void *arg, const struct weir_pin_entry *e);
	void *arg;
	struct weir_pin_entry entry;
	bool here; /* the entry's namespace is this one */
};

static int list_object(void *arg, const char *path, const char *name, bool dir)
{
	struct list *l = arg;
	struct weir_pin_entry *e = &l->entry;
	weir_autoclose int fd = dir ? -1 : bpf_obj_get(path);

	if (fd < 0)
		return 0; /* a directory, gone, or nothing of BPF's */
	e->type = object_type(fd);
	if (!e->type)
		return 0;
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->detail[0] = '\0';
	if (!strcmp(e->type, "link"))
		e->id = describe_link(fd, l->here, e->detail, sizeof(e->detail));
	else if (!strcmp(e->type, "map"))
		e->id = describe_map(fd, e->detail, sizeof(e->detail));
	else
		e->id = describe_prog(fd, e->detail, sizeof(e->detail));
	if (l->here)
		weir_tc_describe(e->name, e->detail, sizeof(e->detail));
	return l->fn(l->arg, e);
}

static int list_namespace(struct list *l, const char *path)
{
	weir_cleanup(free_names) struct names verbs = { 0 };
	int ret = list_names(path, &verbs);

	for (size_t i = 0; !ret && i < verbs.n; i++) {
		char below[PATH_SIZE];
		struct walk w = { .fn = list_object, .arg = l };

		ret = join_path(below, path, verbs.name[i]);
		if (ret)
			break;
		snprintf(l->entry.verb, sizeof(l->entry.verb), "%.15s", verbs.name[i]);
		w.start = strlen(below) + 1;
		ret = walk_tree(&w, below, 1);
	}
	return ret;
}

static bool parse_cookie(const char *name, uint64_t *ret)
{
	char *end;

	if (strlen(name) != WEIR_PIN_COOKIE_DIGITS)
		return false;
	*ret = strtoull(name, &end, 16);
	return !*end;
}

int weir_pin_list(int (*fn)(void *arg, const struct weir_pin_entry *e), void *arg,
		  struct weir_error *err)
{
	weir_cleanup(free_names) struct names spaces = { 0 };
	struct list l = { .fn = fn, .arg = arg };
	char root[PATH_SIZE], path[PATH_SIZE];
	uint64_t ours = 0;
	int ret = root_path(root, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	weir_sys_netns_cookie(&ours);
	ret = list_names(root, &spaces);
	if (ret)
		return weir_pin_explain(root, ret, err);
	for (size_t i = 0; !ret && i < spaces.n; i++) {
		if (!parse_cookie(spaces.name[i], &l.entry.netns))
			continue;
		l.here = l.entry.netns == ours;
		ret = join_path(path, root, spaces.name[i]);
		if (!ret)
			ret = list_namespace(&l, path);
	}
	return ret;
}

int weir_pin_each(const char *verb, int (*fn)(void *arg, const struct weir_pin_dir *d), void *arg,
		  struct weir_error *err)
{
	weir_cleanup(free_names) struct names spaces = { 0 };
	struct weir_pin_dir d = { .fd = -1 };
	char root[PATH_SIZE];
	uint64_t cookie;
	int ret = root_path(root, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = list_names(root, &spaces);
	if (ret)
		return weir_pin_explain(root, ret, err);
	for (size_t i = 0; !ret && i < spaces.n; i++) {
		int n = snprintf(d.path, sizeof(d.path), "%s/%s/%s", root, spaces.name[i], verb);

		if (n < (int)sizeof(d.path) && parse_cookie(spaces.name[i], &cookie) &&
		    !access(d.path, F_OK))
			ret = fn(arg, &d);
	}
	return ret;
}

/* ---- Remove */

/*
 * A map pinned as `switch` is an array that says to programs what is in force. Programs may
 * outlive their pins, as a filter of somebody's socket does: they find zeros there.
 */
static void switch_off(const char *name, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	weir_autofree void *zero = NULL;

	if (strcmp(name, "switch") != 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ||
	    info.type != BPF_MAP_TYPE_ARRAY)
		return;
	zero = calloc(1, info.value_size);
	for (uint32_t i = 0; zero && i < info.max_entries; i++)
		bpf_map_update_elem(fd, &i, zero, BPF_ANY);
}

struct removal {
	bool links; /* this time the links, next time the rest */
	bool here;  /* of this namespace: what the kernel keeps by itself is detached */
	int count;
};

static void stop(const char *path, int fd)
{
	uint32_t zero = 0, one = 1;

	if (!strcmp(strrchr(path, '/') + 1, WEIR_PIN_STOP))
		bpf_map_update_elem(fd, &zero, &one, BPF_EXIST);
}

static int remove_object(void *arg, const char *path, const char *name, bool dir)
{
	struct removal *r = arg;
	weir_autoclose int fd = -1;
	const char *type;

	if (dir)
		return !r->links && rmdir(path) && errno != ENOENT ? -errno : 0;
	fd = bpf_obj_get(path);
	type = fd < 0 ? NULL : object_type(fd);
	/* A clsact filter is as good as a link. */
	if (r->links && (!type || strcmp(type, "link") != 0) && !(r->here && weir_tc_forget(name)))
		return 0;
	if (type && !strcmp(type, "map")) {
		weir_gate_forget(name, fd);
		stop(path, fd);
		switch_off(name, fd);
	}
	if (unlink(path))
		return errno == ENOENT ? 0 : -errno;
	r->count++;
	return 0;
}

/* Remove what is in the locked directory @path, links first, so that no packet
 * meets a half-removed program; then the directory. */
static int remove_dir(const char *path, bool here)
{
	struct removal r = { .links = true, .here = here };
	struct walk w = { .fn = remove_object, .arg = &r, .start = strlen(path) + 1 };
	int ret = walk_tree(&w, path, 1);

	r.links = false;
	if (!ret)
		ret = walk_tree(&w, path, 1);
	if (!ret && rmdir(path) && errno != ENOENT)
		ret = -errno;
	return ret ? ret : r.count;
}

int weir_pin_remove(const struct weir_pin_dir *below, struct weir_error *err)
{
	int ret = remove_dir(below->path, true);

	return ret < 0 ? weir_fail(err, ret, "cannot remove everything in %s: %s", below->path,
				   strerror(-ret)) :
			 0;
}

static int unload_verb(const char *verb, struct weir_error *err)
{
	struct weir_pin_dir d;
	int ret = weir_pin_open(&d, verb, false, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = remove_dir(d.path, true);
	if (ret < 0)
		weir_fail(err, ret, "cannot remove everything in %s: %s", d.path, strerror(-ret));
	weir_pin_close(&d);
	return ret;
}

int weir_pin_unload(const char *verb, struct weir_error *err)
{
	weir_cleanup(free_names) struct names verbs = { 0 };
	char root[PATH_SIZE], path[PATH_SIZE], netns[WEIR_PIN_COOKIE_DIGITS + 1];
	int count = 0, ret = root_path(root, NULL);

	if (ret)
		return ret == -ENOENT ? 0 : weir_fail(err, ret, "cannot find bpffs");
	ret = weir_pin_netns_name(netns, err);
	if (!ret)
		ret = join_path(path, root, netns);
	if (ret)
		return ret;
	if (verb) {
		count = unload_verb(verb, err);
	} else {
		ret = list_names(path, &verbs);
		if (ret)
			return weir_pin_explain(path, ret, err);
	}
	for (size_t i = 0; count >= 0 && i < verbs.n; i++) {
		ret = unload_verb(verbs.name[i], err);
		count = ret < 0 ? ret : count + ret;
	}
	/* Both stay while others have something in them. */
	if (!rmdir(path))
		rmdir(root);
	return count;
}

/* ---- Sweep */

static int find_device(void *arg, const char *path, const char *name, bool dir)
{
	weir_autoclose int fd = dir ? -1 : bpf_obj_get(path);
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	const char *type = fd < 0 ? NULL : object_type(fd);
	bool *found = arg;

	(void)name;
	if (type && !strcmp(type, "link") && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	    has_device(&info) && info.xdp.ifindex)
		*found = true;
	return 0;
}

static bool is_in_use(const char *path)
{
	bool found = false;
	struct walk w = { .fn = find_device, .arg = &found };

	/* What can't be read is not for us to remove. */
	return walk_tree(&w, path, 0) || found;
}

static int sweep_dir(const char *path)
{
	weir_cleanup(free_names) struct names verbs = { 0 };
	int ret = list_names(path, &verbs);

	for (size_t i = 0; !ret && i < verbs.n; i++) {
		char below[PATH_SIZE];
		weir_autoclose int lock = -1;

		ret = join_path(below, path, verbs.name[i]);
		if (ret)
			break;
		lock = weir_pin_lock(below, NULL);
		ret = lock < 0 ? lock : remove_dir(below, false);
		ret = ret < 0 ? ret : 0;
	}
	return ret || rmdir(path) ? -1 : 0;
}

static bool contains(const uint64_t *list, int n, uint64_t v)
{
	for (int i = 0; i < n; i++)
		if (list[i] == v)
			return true;
	return false;
}

int weir_pin_sweep(void)
{
	weir_cleanup(free_names) struct names spaces = { 0 };
	weir_autofree uint64_t *live = NULL;
	char root[PATH_SIZE], path[PATH_SIZE];
	int n_live = -1, swept = 0;
	uint64_t ours, cookie;

	if (root_path(root, NULL) || list_names(root, &spaces) || weir_sys_netns_cookie(&ours))
		return 0;
	for (size_t i = 0; i < spaces.n; i++) {
		if (!parse_cookie(spaces.name[i], &cookie) || cookie == ours)
			continue;
		if (join_path(path, root, spaces.name[i]) || is_in_use(path))
			continue;
		/* Looking at all namespaces takes a while: only now. */
		if (n_live < 0)
			n_live = weir_netns_live(&live);
		if (n_live < 0)
			return swept;
		if (!contains(live, n_live, cookie) && !sweep_dir(path))
			swept++;
	}
	return swept;
}
