/* SPDX-License-Identifier: GPL-2.0-only */
/* Pin directories on a bpffs of the test's own. */
#include "dataplane/pin.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_link.h>
#include <sys/stat.h>

#include "dataplane/load.h"
#include "dataplane/netns.h"
#include "dataplane/sys.h"
#include "gate_plain.skel.h"
#include "harness.h"

#define ABI 3

static struct weir_error err;

static int make_map(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_test", 4, 8, 1, NULL);

	CHECK(fd >= 0, "map: %s", strerror(errno));
	return fd;
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	CHECK(!bpf_obj_get_info_by_fd(fd, &info, &len), "info: %s", strerror(errno));
	return info.id;
}

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static int attach_plain(const char *ifname)
{
	struct gate_plain_bpf *s = gate_plain_bpf__open();
	int fd;

	CHECK(s, "open: %s", strerror(errno));
	CHECK_OK(weir_load(s->obj, NULL, &err));
	fd = bpf_link_create(bpf_program__fd(s->progs.plain_pass), (int)if_nametoindex(ifname),
			     BPF_XDP, NULL);
	CHECK(fd >= 0, "attach: %s", strerror(errno));
	gate_plain_bpf__destroy(s);
	return fd;
}

/* ---- Tests */

static void directories(void)
{
	struct weir_pin_dir d;
	uint64_t cookie;
	char expected[128];

	CHECK_OK(weir_sys_netns_cookie(&cookie));
	CHECK_EQ(weir_pin_open(&d, "filter", false, &err), -ENOENT);
	CHECK_EQ(d.fd, -1);
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	snprintf(expected, sizeof(expected), "/sys/fs/bpf/weir/%016" PRIx64 "/filter", cookie);
	CHECK(!strcmp(d.path, expected), "path %s", d.path);
	weir_pin_close(&d);
	weir_pin_close(&d);
	CHECK_OK(weir_pin_open(&d, "filter", false, &err));
	weir_pin_close(&d);
	CHECK_EQ(weir_pin_open(&d, "../filter", true, &err), -EINVAL);
	CHECK_EQ(weir_pin_open(&d, "", true, &err), -EINVAL);
	CHECK_EQ(weir_pin_open(&d, "sixteencharacter", true, &err), -EINVAL);
}

static void mounting(void)
{
	char path[128];

	while (!umount("/sys/fs/bpf"))
		;
	if (!weir_pin_bpffs(false, path, sizeof(path), &err))
		SKIP("another bpffs is mounted on %s", path);
	CHECK(strstr(err.msg, "mount -t bpf"), "message: %s", err.msg);
	CHECK_OK(weir_pin_bpffs(true, path, sizeof(path), &err));
	CHECK(!strcmp(path, "/sys/fs/bpf"), "mounted on %s", path);
	CHECK_OK(weir_pin_bpffs(false, path, sizeof(path), &err));
}

/* A directory that others can write is not trusted. */
static void open_to_others(void)
{
	struct weir_pin_dir d;

	CHECK(!mkdir("/sys/fs/bpf/weir", 0777) && !chmod("/sys/fs/bpf/weir", 0777), "mkdir: %s",
	      strerror(errno));
	CHECK_EQ(weir_pin_open(&d, "filter", true, &err), -EPERM);
	CHECK(!chmod("/sys/fs/bpf/weir", 0700) && !chown("/sys/fs/bpf/weir", 65534, 65534),
	      "chown: %s", strerror(errno));
	CHECK_EQ(weir_pin_open(&d, "filter", true, &err), -EPERM);
	CHECK(!chown("/sys/fs/bpf/weir", 0, 0), "chown: %s", strerror(errno));
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	weir_pin_close(&d);
}

static void put_and_get(void)
{
	struct weir_pin_dir d;
	int a = make_map(), b = make_map(), fd;

	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_EQ(weir_pin_get(&d, "table"), -ENOENT);
	CHECK_OK(weir_pin_put(&d, "table", a, &err));
	fd = weir_pin_get(&d, "table");
	CHECK_EQ(map_id(fd), map_id(a));
	close(fd);
	/* Putting again replaces. */
	CHECK_OK(weir_pin_put(&d, "table", b, &err));
	fd = weir_pin_get(&d, "table");
	CHECK_EQ(map_id(fd), map_id(b));
	close(fd);
	CHECK_EQ(weir_pin_put(&d, "a.b", a, &err), -EINVAL);
	CHECK_EQ(weir_pin_put(&d, "../x", a, &err), -EINVAL);
	CHECK_EQ(weir_pin_get(&d, "../x"), -EINVAL);
	weir_pin_close(&d);
}

/* Who has the lock counts; whoever waits gets it when it is released or its
 * holder dies, and gives up after five seconds. */
static void lock(void)
{
	struct weir_pin_dir d;
	int told[2], ended;
	char byte;
	pid_t pid;

	CHECK(!pipe(told), "pipe: %s", strerror(errno));
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	pid = fork();
	if (!pid) {
		struct weir_pin_dir mine;

		weir_pin_close(&d); /* which the parent still holds */
		_exit(weir_pin_open(&mine, "filter", true, &err) != -EBUSY);
	}
	{
		int status = -1;

		waitpid(pid, &status, 0);
		CHECK(!status, "two have the lock");
	}
	weir_pin_close(&d);
	pid = fork();
	if (!pid) {
		CHECK_OK(weir_pin_open(&d, "filter", true, &err));
		CHECK(write(told[1], "!", 1) == 1, "write: %s", strerror(errno));
		test_sleep_ms(400);
		CHECK(write(told[1], "!", 1) == 1, "write: %s", strerror(errno));
		kill(getpid(), SIGKILL);
	}
	CHECK(read(told[0], &byte, 1) == 1, "the lock was not taken");
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK(!ioctl(told[0], FIONREAD, &ended) && ended, "did not wait for the lock");
	waitpid(pid, NULL, 0);
	close(told[0]);
	close(told[1]);
	weir_pin_close(&d);
}

/* Commands that load and unload at the same time never work in a directory that
 * is gone. */
static void contention(void)
{
	enum { WORKERS = 4, ROUNDS = 100 };
	pid_t pids[WORKERS];
	int status;

	for (int i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (int k = 0; k < ROUNDS; k++) {
			struct weir_pin_dir d;
			int map = make_map();

			if (i == 0) {
				CHECK_OK(weir_pin_unload("filter", &err));
			} else {
				CHECK_OK(weir_pin_open(&d, "filter", true, &err));
				CHECK_OK(weir_pin_put(&d, "table", map, &err));
				CHECK(exists(d.path), "the directory is gone");
				weir_pin_close(&d);
			}
			close(map);
		}
		_exit(0);
	}
	for (int i = 0; i < WORKERS; i++)
		CHECK(waitpid(pids[i], &status, 0) == pids[i] && !status, "a worker failed");
}

static void meta(void)
{
	struct weir_pin_meta m;
	struct bpf_map_info info = { 0 };
	struct weir_pin_dir d;
	uint32_t zero = 0, len = sizeof(info);
	uint64_t cookie;
	int fd;

	CHECK_OK(weir_sys_netns_cookie(&cookie));
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_EQ(weir_pin_check_meta(&d, ABI, &err), -ENOENT);
	CHECK(strstr(err.msg, "weir unload filter"), "message: %s", err.msg);
	CHECK_OK(weir_pin_put_meta(&d, "filter", ABI, "deny src net 192.0.2.0/24", &err));
	CHECK_OK(weir_pin_check_meta(&d, ABI, &err));
	CHECK_EQ(weir_pin_check_meta(&d, ABI + 1, &err), -EPROTO);
	CHECK(strstr(err.msg, "weir unload filter") && strstr(err.msg, WEIR_VERSION), "message: %s",
	      err.msg);
	fd = weir_pin_get(&d, "meta");
	CHECK(!bpf_map_lookup_elem(fd, &zero, &m), "lookup: %s", strerror(errno));
	CHECK_EQ(m.netns, cookie);
	CHECK(!strcmp(m.verb, "filter") && !strcmp(m.options, "deny src net 192.0.2.0/24"), "%s %s",
	      m.verb, m.options);
	CHECK(!bpf_obj_get_info_by_fd(fd, &info, &len) && info.btf_id && info.btf_value_type_id,
	      "meta has no types");
	/* Something else under that name. */
	CHECK_OK(weir_pin_put(&d, "meta", make_map(), &err));
	CHECK_EQ(weir_pin_check_meta(&d, ABI, &err), -EPROTO);
	weir_pin_close(&d);
}

static int count_entries(void *arg, const struct weir_pin_entry *e)
{
	(void)e;
	++*(unsigned int *)arg;
	return 0;
}

/* unload removes what weir made, of this namespace, and nothing else. */
static void unload(void)
{
	static const char *const foreign[] = {
		"/sys/fs/bpf/stranger",
		"/sys/fs/bpf/weird",
		"/sys/fs/bpf/weir/0000000000000001/filter/a",
	};
	struct weir_pin_dir d;
	struct veth v = test_veth();
	unsigned int n = 0;
	char dir[300];
	int map = make_map(), link = attach_plain(v.a);

	CHECK_EQ(weir_pin_unload(NULL, &err), 0);
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_OK(weir_pin_put(&d, "table", map, &err));
	CHECK_OK(weir_pin_put(&d, "link", link, &err));
	snprintf(dir, sizeof(dir), "%s/generation_1", d.path);
	CHECK(!mkdir(dir, 0700), "mkdir: %s", strerror(errno));
	strcat(dir, "/sources");
	CHECK(!bpf_obj_pin(map, dir), "pin: %s", strerror(errno));
	weir_pin_close(&d);
	CHECK_OK(weir_pin_open(&d, "steer", true, &err));
	CHECK_OK(weir_pin_put(&d, "table", map, &err));
	weir_pin_close(&d);
	CHECK(!mkdir("/sys/fs/bpf/weir/0000000000000001", 0700) &&
		      !mkdir("/sys/fs/bpf/weir/0000000000000001/filter", 0700),
	      "mkdir: %s", strerror(errno));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(foreign); i++)
		CHECK(!bpf_obj_pin(map, foreign[i]), "pin: %s", strerror(errno));
	CHECK_OK(weir_pin_list(count_entries, &n, &err));
	CHECK_EQ(n, 5);
	close(link);
	CHECK_EQ(weir_pin_unload("filter", &err), 3);
	CHECK_EQ(weir_pin_unload("filter", &err), 0);
	CHECK_EQ(weir_pin_unload(NULL, &err), 1);
	CHECK(!exists(d.path), "%s is left", d.path);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(foreign); i++)
		CHECK(exists(foreign[i]), "%s was removed", foreign[i]);
	test_run("! ip link show %s | grep -q prog/xdp", v.a);
}

/* ---- list */

struct looked {
	const char *name;
	struct weir_pin_entry entry;
	bool found;
};

static int look(void *arg, const struct weir_pin_entry *e)
{
	struct looked *l = arg;

	if (!strcmp(e->name, l->name)) {
		l->entry = *e;
		l->found = true;
	}
	return 0;
}

static struct weir_pin_entry entry_of(const char *name)
{
	struct looked l = { .name = name };

	CHECK_OK(weir_pin_list(look, &l, &err));
	CHECK(l.found, "%s is not listed", name);
	return l.entry;
}

static void list(void)
{
	struct veth v = test_veth();
	struct weir_pin_dir d;
	struct weir_pin_entry e;
	char expected[64];
	uint64_t cookie;
	int map = make_map(), link = attach_plain(v.a);

	CHECK_OK(weir_sys_netns_cookie(&cookie));
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_OK(weir_pin_put(&d, "table", map, &err));
	CHECK_OK(weir_pin_put(&d, "link", link, &err));
	close(link);
	e = entry_of("table");
	CHECK(!strcmp(e.type, "map") && !strcmp(e.verb, "filter"), "%s of %s", e.type, e.verb);
	CHECK_EQ(e.id, map_id(map));
	CHECK_EQ(e.netns, cookie);
	CHECK(strstr(e.detail, "weir_test"), "detail: %s", e.detail);
	e = entry_of("link");
	snprintf(expected, sizeof(expected), "xdp on %s", v.a);
	CHECK(!strcmp(e.type, "link") && !strcmp(e.detail, expected), "%s: %s", e.type, e.detail);
	test_run("ip link del %s", v.a);
	e = entry_of("link");
	CHECK(!strcmp(e.detail, "detached: interface gone"), "detail: %s", e.detail);
	weir_pin_close(&d);
}

/* ---- sweep */

/* A process in a namespace of its own, with pins there. */
static pid_t spawn_namespace(bool with_link, int ready[2], int go[2])
{
	pid_t pid;

	CHECK(!pipe(ready) && !pipe(go), "pipe: %s", strerror(errno));
	pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		struct weir_pin_dir d;
		struct veth v;
		char c = 0;

		close(go[1]);
		CHECK(!unshare(CLONE_NEWNET), "unshare: %s", strerror(errno));
		CHECK_OK(weir_pin_open(&d, "filter", true, &err));
		CHECK_OK(weir_pin_put(&d, "table", make_map(), &err));
		if (with_link) {
			v = test_veth();
			CHECK_OK(weir_pin_put(&d, "link", attach_plain(v.a), &err));
		}
		CHECK(write(ready[1], &d, sizeof(d)) == sizeof(d), "write");
		weir_pin_close(&d);
		CHECK(read(go[0], &c, 1) == 0, "read");
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	return pid;
}

static void sweep_one(bool with_link)
{
	struct weir_pin_dir mine, theirs;
	int ready[2], go[2];
	pid_t pid;

	CHECK_OK(weir_pin_open(&mine, "filter", true, &err));
	CHECK_OK(weir_pin_put(&mine, "table", make_map(), &err));
	weir_pin_close(&mine);
	pid = spawn_namespace(with_link, ready, go);
	CHECK(read(ready[0], &theirs, sizeof(theirs)) == sizeof(theirs), "no namespace");
	CHECK_EQ(weir_pin_sweep(), 0);
	CHECK(exists(theirs.path), "a living namespace was swept");
	close(go[1]);
	waitpid(pid, NULL, 0);
	/* The kernel takes a namespace down in its own time; with a link that
	 * time ends when its interface is gone. */
	CHECK(EVENTUALLY(weir_pin_sweep() == 1), "the dead namespace was not swept");
	CHECK(!exists(theirs.path), "%s is left", theirs.path);
	CHECK(exists(mine.path), "our own directory was swept");
	CHECK_EQ(weir_pin_sweep(), 0);
}

static void sweep(void)
{
	sweep_one(false);
	sweep_one(true);
}

/* A namespace without a process lives on behind a mount or an open file. */
static void sweep_held(void)
{
	struct weir_pin_dir theirs;
	char path[64], file[] = "/tmp/weir-netns-XXXXXX";
	int ready[2], go[2], fd;
	pid_t pid = spawn_namespace(false, ready, go);

	CHECK(read(ready[0], &theirs, sizeof(theirs)) == sizeof(theirs), "no namespace");
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0, "open: %s", strerror(errno));
	close(go[1]);
	waitpid(pid, NULL, 0);
	test_sleep_ms(100);
	CHECK_EQ(weir_pin_sweep(), 0);
	CHECK(exists(theirs.path), "a namespace with an open file was swept");
	CHECK(mkstemp(file) >= 0, "mkstemp: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(!mount(path, file, NULL, MS_BIND, NULL), "mount: %s", strerror(errno));
	close(fd);
	test_sleep_ms(100);
	CHECK_EQ(weir_pin_sweep(), 0);
	CHECK(exists(theirs.path), "a mounted namespace was swept");
	CHECK(!umount(file) && !unlink(file), "umount: %s", strerror(errno));
	CHECK(EVENTUALLY(weir_pin_sweep() == 1), "the dead namespace was not swept");
}

static void namespaces(void)
{
	uint64_t *live, ours;
	bool found = false;
	int n = weir_netns_live(&live);

	CHECK(n >= 2, "found %d namespaces", n);
	CHECK_OK(weir_sys_netns_cookie(&ours));
	for (int i = 0; i < n; i++)
		found |= live[i] == ours;
	CHECK(found, "not even ours");
	free(live);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "pin-directories", directories },
		{ "pin-mount", mounting },
		{ "pin-open-to-others", open_to_others },
		{ "pin-put-and-get", put_and_get },
		{ "pin-lock", lock },
		{ "pin-contention", contention },
		{ "pin-meta", meta },
		{ "pin-unload", unload },
		{ "pin-list", list },
		{ "pin-sweep", sweep },
		{ "pin-sweep-held", sweep_held },
		{ "pin-namespaces", namespaces },
	};

	weir_load_setup();
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
