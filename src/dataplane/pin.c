/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/load.h"
#include "dataplane/pin_impl.h"
#include "dataplane/sys.h"
#include "store.skel.h"

#define BPFFS_DEFAULT "/sys/fs/bpf"
#define LOCK_WAIT_MS 5000
#define POLL_MS 10
#define OPEN_TRIES 100 /* against another command that unloads all the time */
#define VERB_MAX 15

/* ---- bpffs */

static bool find_bpffs(char *buf, unsigned int size)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char line[4096];
	struct mntent ent;
	bool found = false;

	if (!f)
		return false;
	while (getmntent_r(f, &ent, line, sizeof(line))) {
		bool usual = !strcmp(ent.mnt_dir, BPFFS_DEFAULT);

		/* The usual place wins over others. */
		if (strcmp(ent.mnt_type, "bpf") || (found && !usual) || strlen(ent.mnt_dir) >= size)
			continue;
		snprintf(buf, size, "%s", ent.mnt_dir);
		found = true;
	}
	endmntent(f);
	return found;
}

int weir_pin_bpffs(bool mount_it, char *buf, unsigned int size, struct weir_error *err)
{
	if (find_bpffs(buf, size))
		return 0;
	if (!mount_it)
		return weir_fail(err, -ENOENT,
				 "bpffs is not mounted: `mount -t bpf bpf " BPFFS_DEFAULT "`");
	if (mount("bpf", BPFFS_DEFAULT, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return weir_fail(err, -errno,
				 "cannot mount bpffs (%m): `mount -t bpf bpf " BPFFS_DEFAULT
				 "` as root");
	snprintf(buf, size, "%s", BPFFS_DEFAULT);
	return 0;
}

/* ---- Directories */

static bool is_name(const char *s, size_t max)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return n > 0 && n <= max && !s[n];
}

int weir_pin_netns_name(char name[WEIR_PIN_COOKIE_DIGITS + 1], struct weir_error *err)
{
	uint64_t cookie;
	int ret = weir_sys_netns_cookie(&cookie);

	if (ret)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	snprintf(name, WEIR_PIN_COOKIE_DIGITS + 1, "%016" PRIx64, cookie);
	return 0;
}

static int make_dir(const char *path, struct weir_error *err)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make the directory %s (%m): run as root",
				 path);
	if (lstat(path, &st))
		return weir_fail(err, -errno, "cannot look at %s: %m", path);
	/* bpffs may be open to everybody: trust nothing that others made. */
	if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    st.st_mode & (S_IWGRP | S_IWOTH))
		return weir_fail(err, -EPERM,
				 "%s is not a directory of root's or yours alone: remove it", path);
	return 0;
}

/* Make the directories of @path behind its first @keep bytes. */
static int make_path(const char *path, size_t keep, struct weir_error *err)
{
	char part[256];

	for (const char *end = path + keep + 1; end; end++) {
		int ret;

		end = strchr(end, '/');
		snprintf(part, sizeof(part), "%.*s", (int)(end ? end - path : (long)strlen(path)),
			 path);
		ret = make_dir(part, err);
		if (ret || !end)
			return ret;
	}
	return 0;
}

int weir_pin_explain(const char *path, int code, struct weir_error *err)
{
	if (code == -EACCES)
		return weir_fail(err, code,
				 "needs CAP_DAC_OVERRIDE to look into %s, which is root's: run as "
				 "root",
				 path);
	return weir_fail(err, code, "cannot open %s: %s", path, strerror(-code));
}

int weir_pin_lock(const char *path, struct weir_error *err)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000 };
	weir_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat ours, there;

	if (fd < 0)
		return weir_pin_explain(path, -errno, err);
	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB); waited += POLL_MS) {
		if (errno != EWOULDBLOCK)
			return weir_fail(err, -errno, "cannot lock %s: %m", path);
		if (waited >= LOCK_WAIT_MS)
			return weir_fail(err, -EBUSY, "another weir works on %s: wait, or stop it",
					 path);
		nanosleep(&pause, NULL);
	}
	/* Whoever held the lock may have removed the directory. */
	if (fstat(fd, &ours) || stat(path, &there) || ours.st_ino != there.st_ino)
		return weir_fail(err, -ENOENT, "%s was removed: try again", path);
	return WEIR_TAKE_FD(fd);
}

int weir_pin_open(struct weir_pin_dir *d, const char *verb, bool create, struct weir_error *err)
{
	char netns[WEIR_PIN_COOKIE_DIGITS + 1], bpffs[192];
	int ret;

	d->fd = -1;
	if (!is_name(verb, VERB_MAX))
		return weir_fail(err, -EINVAL, "'%s' is not the name of a verb: see `weir help`",
				 verb);
	ret = weir_pin_bpffs(create, bpffs, sizeof(bpffs), err);
	if (!ret)
		ret = weir_pin_netns_name(netns, err);
	if (ret)
		return ret;
	snprintf(d->path, sizeof(d->path), "%s/weir/%s/%s", bpffs, netns, verb);
	for (int i = 0; i < OPEN_TRIES; i++) {
		ret = create ? make_path(d->path, strlen(bpffs), err) : 0;
		if (ret && ret != -ENOENT)
			return ret;
		d->fd = weir_pin_lock(d->path, err);
		if (d->fd >= 0)
			return 0;
		if (d->fd != -ENOENT || !create)
			break;
	}
	ret = d->fd;
	d->fd = -1;
	if (ret == -ENOENT && !create)
		weir_fail(err, ret, "nothing of `weir %s` is loaded here: see `weir status`", verb);
	return ret;
}

void weir_pin_close(struct weir_pin_dir *d)
{
	weir_closep(&d->fd);
	d->fd = -1;
}

/* ---- Objects */

static int join_path(char buf[384], const struct weir_pin_dir *d, const char *name,
		     const char *suffix)
{
	if (!is_name(name, 63))
		return -EINVAL;
	snprintf(buf, 384, "%s/%s%s", d->path, name, suffix);
	return 0;
}

int weir_pin_put(const struct weir_pin_dir *d, const char *name, int fd, struct weir_error *err)
{
	char path[384], fresh[384];
	int ret = join_path(path, d, name, "");

	if (ret)
		return weir_fail(err, ret, "'%s' is not a name for a pin", name);
	/* Pinned beside and moved over, so that the name always leads to a
	 * whole object, the old one or the new one. */
	join_path(fresh, d, name, "-new");
	if (unlink(fresh) && errno != ENOENT)
		return weir_fail(err, -errno, "cannot remove %s: %m", fresh);
	if (bpf_obj_pin(fd, fresh)) {
		ret = -errno;
		return weir_load_explain(err, ret, "pin an object in bpffs");
	}
	if (rename(fresh, path)) {
		ret = -errno;
		unlink(fresh);
		return weir_fail(err, ret, "cannot pin %s: %s", path, strerror(-ret));
	}
	return 0;
}

int weir_pin_get(const struct weir_pin_dir *d, const char *name)
{
	char path[384];
	int ret = join_path(path, d, name, ""), fd;

	if (ret)
		return ret;
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* ---- Directories of a verb */

int weir_pin_below(const struct weir_pin_dir *d, const char *name, struct weir_pin_dir *ret,
		   struct weir_error *err)
{
	struct weir_pin_dir below = { .fd = -1 };
	int n = snprintf(below.path, sizeof(below.path), "%s/%s", d->path, name);

	if (!is_name(name, 63) || n >= (int)sizeof(below.path))
		return weir_fail(err, -EINVAL, "'%s' is not a name for a directory in %s", name,
				 d->path);
	*ret = below;
	return 0;
}

int weir_pin_make(const struct weir_pin_dir *below, struct weir_error *err)
{
	return make_dir(below->path, err);
}

int weir_pin_move(const struct weir_pin_dir *below, const struct weir_pin_dir *to,
		  struct weir_error *err)
{
	int ret = renameat2(AT_FDCWD, below->path, AT_FDCWD, to->path, RENAME_EXCHANGE);

	if (ret && errno == ENOENT)
		ret = renameat2(AT_FDCWD, below->path, AT_FDCWD, to->path, RENAME_NOREPLACE);
	return ret ? weir_fail(err, -errno, "cannot move %s to %s: %m", below->path, to->path) : 0;
}

/* ---- The map `meta` */

static int make_meta(struct store_bpf **ret, struct weir_error *err)
{
	struct store_bpf *skel;
	struct bpf_map *map;
	int code;

	weir_load_setup();
	skel = store_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the map definitions");
	bpf_object__for_each_map(map, skel->obj)
		bpf_map__set_autocreate(map, map == skel->maps.weir_meta);
	code = weir_load(skel->obj, NULL, err);
	if (code) {
		store_bpf__destroy(skel);
		return code;
	}
	*ret = skel;
	return 0;
}

int weir_pin_put_meta(const struct weir_pin_dir *d, const char *verb, uint32_t verb_abi,
		      const char *options, struct weir_error *err)
{
	struct weir_pin_meta meta = {
		.abi = WEIR_PIN_ABI,
		.verb_abi = verb_abi,
		.created = weir_clock_real(),
		.version = WEIR_VERSION,
	};
	struct store_bpf *skel = NULL;
	uint32_t zero = 0;
	int fd, ret = weir_sys_netns_cookie(&meta.netns);

	if (ret)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	snprintf(meta.verb, sizeof(meta.verb), "%s", verb);
	snprintf(meta.options, sizeof(meta.options), "%s", options ? options : "");
	ret = make_meta(&skel, err);
	if (ret)
		return ret;
	fd = bpf_map__fd(skel->maps.weir_meta);
	if (bpf_map_update_elem(fd, &zero, &meta, BPF_ANY))
		ret = weir_load_explain(err, -errno, "write the map meta");
	else
		ret = weir_pin_put(d, "meta", fd, err);
	store_bpf__destroy(skel);
	return ret;
}

int weir_pin_check_meta(const struct weir_pin_dir *d, uint32_t verb_abi, struct weir_error *err)
{
	weir_autoclose int fd = weir_pin_get(d, "meta");
	const char *verb = strrchr(d->path, '/') + 1;
	struct weir_pin_meta meta;
	struct bpf_map_info info = { 0 };
	uint32_t zero = 0, len = sizeof(info);

	if (fd == -ENOENT)
		return weir_fail(err, fd, "what is pinned in %s is incomplete: `weir unload %s`",
				 d->path, verb);
	if (fd < 0)
		return weir_load_explain(err, fd, "read the map meta");
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return weir_load_explain(err, -errno, "read the map meta");
	if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(meta) ||
	    bpf_map_lookup_elem(fd, &zero, &meta))
		return weir_fail(err, -EPROTO,
				 "what is pinned in %s was made by an incompatible weir: "
				 "`weir unload %s`",
				 d->path, verb);
	if (meta.abi != WEIR_PIN_ABI || meta.verb_abi != verb_abi)
		return weir_fail(err, -EPROTO,
				 "weir %.15s loaded `%s` (ABI %u.%u, this one has %u.%u): "
				 "`weir unload %s`",
				 meta.version, verb, meta.abi, meta.verb_abi, WEIR_PIN_ABI,
				 verb_abi, verb);
	return 0;
}
