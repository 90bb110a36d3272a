/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bpf/parse.bpf.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/progs.h"
#include "dataplane/sys.h"
#include "gate.skel.h"

#define LOCK_NAME "weir.gate"
#define LOCK_WAIT_MS 5000
#define POLL_MS 10
#define OPEN_TRIES 100 /* a gate that comes and goes is looked at again: 1 s */
#define CLAIM_TRIES 10 /* for a slot whose guest has just died */
#define GATE_MAPS_MAX 32
#define LINKS_MAX 65536

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static void drop_fd(int *fd)
{
	weir_closep(fd);
	*fd = -1;
}

/* ---- Locks: abstract Unix addresses of this network namespace. They need no
 * file and no privilege, and nothing of them outlives the process. */

static socklen_t make_address(struct sockaddr_un *addr, const char *name)
{
	size_t n = strlen(name);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path + 1, name, n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

/* A descriptor that has the name until it is closed, or -EADDRINUSE. */
static int take_name(const char *name)
{
	struct sockaddr_un addr;
	socklen_t len = make_address(&addr, name);
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* It listens only so that name_holder() can ask who it is. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) || listen(fd, 1))
		return -errno;
	return WEIR_TAKE_FD(fd);
}

/* The process that has the name; 0 = unknown. */
static int name_holder(const char *name)
{
	struct sockaddr_un addr;
	socklen_t len = make_address(&addr, name), size = sizeof(struct ucred);
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size))
		return 0;
	return cred.pid;
}

/* The lock under which gates are made and joined. */
static int lock_gates(struct weir_error *err)
{
	int fd;

	for (int waited = 0; (fd = take_name(LOCK_NAME)) == -EADDRINUSE; waited += POLL_MS) {
		if (waited >= LOCK_WAIT_MS)
			return weir_fail(err, -EBUSY,
					 "process %d holds the lock of the XDP gate: wait until it "
					 "is ready, or stop it",
					 name_holder(LOCK_NAME));
		sleep_ms(POLL_MS);
	}
	if (fd < 0)
		return weir_fail(err, fd, "cannot lock the XDP gate: %s", strerror(-fd));
	return fd;
}

/* ---- Descriptors */

void weir_gate_init(struct weir_gate *g)
{
	memset(g, 0, sizeof(*g));
	g->link_fd = g->prog_fd = g->scratch_fd = g->used_fd = g->resident_fd = g->place_fd = -1;
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		g->guest_fd[i] = -1;
}

static void drop_guests(struct weir_gate *g, int but)
{
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		if (i != but)
			drop_fd(&g->guest_fd[i]);
}

static void drop_objects(struct weir_gate *g)
{
	drop_fd(&g->link_fd);
	drop_fd(&g->prog_fd);
	drop_fd(&g->scratch_fd);
	drop_fd(&g->used_fd);
	drop_fd(&g->resident_fd);
	drop_guests(g, -1);
}

void weir_gate_close(struct weir_gate *g)
{
	drop_objects(g);
	drop_fd(&g->place_fd);
	g->stage = NULL;
}

/* Where the map called @name belongs, or NULL. */
static int *map_place(struct weir_gate *g, const char *name)
{
	const size_t guest = sizeof("weir_guest") - 1;

	if (!strcmp(name, "weir_scratch"))
		return &g->scratch_fd;
	if (!strcmp(name, "weir_gate_used"))
		return &g->used_fd;
	if (!strcmp(name, "weir_resident"))
		return &g->resident_fd;
	if (!strncmp(name, "weir_guest", guest) && name[guest] >= '0' &&
	    name[guest] < '0' + WEIR_GATE_GUESTS && !name[guest + 1])
		return &g->guest_fd[name[guest] - '0'];
	return NULL;
}

static bool has_all_maps(const struct weir_gate *g)
{
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		if (g->guest_fd[i] < 0)
			return false;
	return g->scratch_fd >= 0 && g->used_fd >= 0 && g->resident_fd >= 0;
}

static bool slot_taken(int fd, uint32_t key)
{
	uint32_t prog_id;

	return !bpf_map_lookup_elem(fd, &key, &prog_id);
}

static bool has_resident(const struct weir_gate *g)
{
	for (uint32_t i = 0; i < WEIR_GATE_RESIDENTS; i++)
		if (slot_taken(g->resident_fd, i))
			return true;
	return false;
}

static void move_fd(int *to, int *from)
{
	drop_fd(to);
	*to = WEIR_TAKE_FD(*from);
}

static void move_maps(struct weir_gate *to, struct weir_gate *from)
{
	move_fd(&to->scratch_fd, &from->scratch_fd);
	move_fd(&to->used_fd, &from->used_fd);
	move_fd(&to->resident_fd, &from->resident_fd);
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		move_fd(&to->guest_fd[i], &from->guest_fd[i]);
}

/* ---- Finding a gate by id */

static int prog_info(int fd, struct bpf_prog_info *info, uint32_t *maps, uint32_t n)
{
	uint32_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	info->map_ids = (uintptr_t)maps;
	info->nr_map_ids = n;
	return bpf_obj_get_info_by_fd(fd, info, &len) ? -errno : 0;
}

/* Take the maps of the program @prog_fd by id into @g and read its meta map.
 * -ENOENT: it is not a gate. -EAGAIN: it is going away. */
static int take_maps(struct weir_gate *g, int prog_fd, struct weir_gate_meta *meta)
{
	uint32_t ids[GATE_MAPS_MAX], zero = 0;
	struct bpf_prog_info prog;
	bool has_meta = false;
	int ret = prog_info(prog_fd, &prog, ids, GATE_MAPS_MAX);

	if (ret)
		return ret;
	if (strcmp(prog.name, "weir_gate"))
		return -ENOENT;
	for (uint32_t i = 0; i < prog.nr_map_ids && i < GATE_MAPS_MAX; i++) {
		struct bpf_map_info map = { 0 };
		uint32_t len = sizeof(map);
		weir_autoclose int fd = bpf_map_get_fd_by_id(ids[i]);
		int *place;

		if (fd < 0)
			return errno == ENOENT ? -EAGAIN : -errno;
		if (bpf_obj_get_info_by_fd(fd, &map, &len))
			return -errno;
		if (!strcmp(map.name, "weir_gate_meta") && map.value_size == sizeof(*meta))
			has_meta = !bpf_map_lookup_elem(fd, &zero, meta);
		place = map_place(g, map.name);
		if (place && *place < 0)
			*place = WEIR_TAKE_FD(fd);
	}
	return has_meta && meta->magic == WEIR_GATE_MAGIC ? 0 : -ENOENT;
}

/* Open the XDP link that follows @id, and move @id to it. -ENOENT at the end. */
static int next_xdp_link(uint32_t *id, struct bpf_link_info *info)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		uint32_t len = sizeof(*info);
		weir_autoclose int fd = -1;

		if (bpf_link_get_next_id(*id, id))
			return -errno;
		fd = bpf_link_get_fd_by_id(*id);
		if (fd < 0)
			continue; /* gone in between */
		memset(info, 0, sizeof(*info));
		if (!bpf_obj_get_info_by_fd(fd, info, &len) && info->type == BPF_LINK_TYPE_XDP)
			return WEIR_TAKE_FD(fd);
	}
	return -ENOENT;
}

static int link_of_prog(uint32_t prog_id)
{
	struct bpf_link_info info;
	uint32_t id = 0;
	int fd;

	while ((fd = next_xdp_link(&id, &info)) >= 0) {
		if (info.prog_id == prog_id)
			return fd;
		close(fd);
	}
	return fd;
}

/* Is this link's device one of our namespace? Link info tells an index, and
 * another namespace may use the same: the program decides. */
static bool is_local(const struct bpf_link_info *info)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query((int)info->xdp.ifindex, 0, &opts))
		return false;
	return opts.prog_id == info->prog_id || opts.drv_prog_id == info->prog_id ||
	       opts.skb_prog_id == info->prog_id;
}

/* The maps of another gate of this namespace into @g, which has none; rather of
 * one with a resident stage. False where there is none, or where objects by id
 * are not for us. */
static bool find_family(struct weir_gate *g, uint64_t netns)
{
	struct bpf_link_info info;
	uint32_t id = 0;
	int link_fd;

	while ((link_fd = next_xdp_link(&id, &info)) >= 0) {
		/* Opening a program array and closing it again makes the kernel empty
		 * it later on if nobody else holds it: leave those of others alone. */
		weir_autoclose int prog_fd =
			is_local(&info) ? bpf_prog_get_fd_by_id(info.prog_id) : -1;
		struct weir_gate_meta meta;
		struct weir_gate other;

		close(link_fd);
		weir_gate_init(&other);
		if (prog_fd < 0 || take_maps(&other, prog_fd, &meta) || meta.netns != netns ||
		    meta.abi != WEIR_GATE_ABI || !has_all_maps(&other) ||
		    (has_all_maps(g) && !has_resident(&other))) {
			weir_gate_close(&other);
			continue;
		}
		move_maps(g, &other);
		if (has_resident(g))
			break;
	}
	return has_all_maps(g);
}

/* ---- Joining */

static int refuse_foreign(const struct weir_gate *g, int prog_fd, uint32_t id,
			  struct weir_error *err)
{
	weir_autoclose int link_fd = link_of_prog(id);
	struct bpf_link_info link = { 0 };
	uint32_t len = sizeof(link);
	struct bpf_prog_info prog;
	char remove[64];

	if (prog_info(prog_fd, &prog, NULL, 0))
		memset(&prog, 0, sizeof(prog));
	if (link_fd >= 0 && !bpf_obj_get_info_by_fd(link_fd, &link, &len))
		snprintf(remove, sizeof(remove), "bpftool link detach id %u", link.id);
	else
		snprintf(remove, sizeof(remove), "ip link set dev %s xdp off", g->ifname);
	return weir_fail(err, -EBUSY,
			 "%s already runs the XDP program '%s' (id %u), which is not weir's: look "
			 "at it with `ip link show %s` and `bpftool prog show id %u`, and stop its "
			 "owner or detach it with `%s`",
			 g->ifname, prog.name, id, g->ifname, id, remove);
}

static int check_meta(const struct weir_gate *g, const struct weir_gate_meta *meta,
		      enum weir_xdp_mode mode, struct weir_error *err)
{
	bool native = mode == WEIR_XDP_NATIVE;

	if (meta->abi != WEIR_GATE_ABI || !has_all_maps(g))
		return weir_fail(err, -EPROTO,
				 "the XDP gate on %s was made by another version of weir (ABI %u, "
				 "not %u) and goes on as it is: stop the other weir, or `weir "
				 "unload`",
				 g->ifname, meta->abi, WEIR_GATE_ABI);
	if (mode != WEIR_XDP_AUTO && native != (meta->native != 0))
		return weir_fail(err, -EBUSY,
				 "the XDP gate on %s is in %s mode already: ask for that mode, or "
				 "stop the other weir first",
				 g->ifname, meta->native ? "native" : "generic");
	return 0;
}

static int join(struct weir_gate *g, uint32_t prog_id, enum weir_xdp_mode mode,
		struct weir_error *err)
{
	struct weir_gate_meta meta;
	char what[96];
	int ret;

	g->prog_fd = bpf_prog_get_fd_by_id(prog_id);
	if (g->prog_fd < 0) {
		ret = -errno;
		if (ret == -ENOENT)
			return -EAGAIN;
		snprintf(what, sizeof(what), "join the XDP program on %s (id %u)", g->ifname,
			 prog_id);
		if (ret == -EPERM && weir_caps_need(WEIR_CAP_SYS_ADMIN, what, err))
			return -EPERM;
		return weir_load_explain(err, ret, what);
	}
	ret = take_maps(g, g->prog_fd, &meta);
	if (ret == -ENOENT)
		return refuse_foreign(g, g->prog_fd, prog_id, err);
	if (ret == -EAGAIN)
		return ret;
	if (ret)
		return weir_load_explain(err, ret, "join the XDP gate");
	ret = check_meta(g, &meta, mode, err);
	if (ret)
		return ret;
	g->link_fd = link_of_prog(prog_id);
	if (g->link_fd < 0) /* its last holder has just gone */
		return g->link_fd == -ENOENT ?
			       -EAGAIN :
			       weir_load_explain(err, g->link_fd, "join the XDP gate");
	g->mode = meta.native ? WEIR_XDP_NATIVE : WEIR_XDP_GENERIC;
	g->joined = g->shared = true;
	/* An array that we hold is not emptied when its guest dies; they are
	 * taken again when a stage is about to enter. */
	drop_guests(g, -1);
	return 0;
}

/* ---- Making one */

/* Does a frame of this interface begin with an Ethernet header? */
static int find_l2(const struct weir_gate *g, enum weir_l2 *ret, struct weir_error *err)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { 0 };

	memcpy(req.ifr_name, g->ifname, sizeof(req.ifr_name));
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &req))
		return weir_fail(err, -errno, "cannot ask for the type of %s: %m", g->ifname);
	switch (req.ifr_hwaddr.sa_family) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		*ret = WEIR_L2_ETHER;
		return 0;
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
		*ret = WEIR_L2_NONE;
		return 0;
	default:
		return weir_fail(err, -EOPNOTSUPP,
				 "%s carries neither Ethernet nor plain IP (link type %u): choose "
				 "another interface or hook",
				 g->ifname, req.ifr_hwaddr.sa_family);
	}
}

static int put_meta(const struct weir_gate *g, int meta_fd, uint64_t netns, bool native)
{
	const struct weir_gate_meta meta = {
		.magic = WEIR_GATE_MAGIC,
		.abi = WEIR_GATE_ABI,
		.netns = netns,
		.ifindex = g->ifindex,
		.native = native,
	};
	uint32_t zero = 0;

	return bpf_map_update_elem(meta_fd, &zero, &meta, BPF_ANY) ? -errno : 0;
}

static int attach_as(struct weir_gate *g, int meta_fd, uint64_t netns, bool native)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int ret = put_meta(g, meta_fd, netns, native);

	if (ret)
		return ret;
	g->link_fd = bpf_link_create(g->prog_fd, (int)g->ifindex, BPF_XDP, &opts);
	if (g->link_fd < 0)
		return -errno;
	g->mode = native ? WEIR_XDP_NATIVE : WEIR_XDP_GENERIC;
	return 0;
}

static int attach(struct weir_gate *g, int meta_fd, uint64_t netns, enum weir_xdp_mode mode,
		  struct weir_error *err)
{
	int ret = -EOPNOTSUPP;

	if (mode != WEIR_XDP_GENERIC)
		ret = attach_as(g, meta_fd, netns, true);
	/* Somebody else came first: look again at who it is. */
	if (ret == -EBUSY || ret == -EEXIST)
		return -EAGAIN;
	if (mode == WEIR_XDP_GENERIC ||
	    (mode == WEIR_XDP_AUTO && ret && ret != -EPERM && ret != -ENODEV))
		ret = attach_as(g, meta_fd, netns, false);
	if (ret == -EBUSY || ret == -EEXIST)
		return -EAGAIN;
	if (!ret)
		return 0;
	if (mode == WEIR_XDP_NATIVE && ret != -EPERM && ret != -ENODEV)
		return weir_fail(err, ret,
				 "the driver of %s refuses native XDP (%s): use generic mode, or "
				 "lower the MTU if it is large",
				 g->ifname, strerror(-ret));
	return weir_load_explain(err, ret, "attach the XDP gate");
}

/* Copy the descriptors of the loaded gate, which go with the skeleton. */
static int keep_maps(struct weir_gate *g, const struct gate_bpf *skel)
{
	struct bpf_map *map;

	g->prog_fd = fcntl(bpf_program__fd(skel->progs.weir_gate), F_DUPFD_CLOEXEC, 3);
	bpf_object__for_each_map(map, skel->obj) {
		int *place = map_place(g, bpf_map__name(map));

		if (place && *place < 0)
			*place = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
	}
	return g->prog_fd >= 0 && has_all_maps(g) ? 0 : -EMFILE;
}

/* Use the maps in @g in place of the gate's own. */
static int reuse_maps(struct weir_gate *g, const struct gate_bpf *skel)
{
	struct bpf_map *map;
	int ret = 0;

	bpf_object__for_each_map(map, skel->obj) {
		const int *place = map_place(g, bpf_map__name(map));

		if (place && !ret)
			ret = bpf_map__reuse_fd(map, *place);
	}
	return ret;
}

static int load_and_attach(struct weir_gate *g, struct gate_bpf *skel, uint64_t netns,
			   enum weir_xdp_mode mode, struct weir_error *err)
{
	int ret;

	g->shared = find_family(g, netns);
	ret = g->shared ? reuse_maps(g, skel) : 0;
	if (ret)
		return weir_load_explain(err, ret, "share the XDP gate's maps");
	ret = weir_load(skel->obj, NULL, err);
	if (ret)
		return ret;
	ret = keep_maps(g, skel);
	if (!ret && bpf_prog_bind_map(g->prog_fd, bpf_map__fd(skel->maps.weir_gate_meta), NULL))
		ret = -errno;
	if (ret)
		return weir_load_explain(err, ret, "set up the XDP gate");
	if (g->shared)
		drop_guests(g, -1); /* as in join() */
	return attach(g, bpf_map__fd(skel->maps.weir_gate_meta), netns, mode, err);
}

static int create(struct weir_gate *g, enum weir_xdp_mode mode, struct weir_error *err)
{
	struct gate_bpf *skel;
	enum weir_l2 l2;
	uint64_t netns;
	int ret = find_l2(g, &l2, err);

	if (ret)
		return ret;
	ret = weir_sys_netns_cookie(&netns);
	if (ret)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	weir_load_setup();
	skel = gate_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the XDP gate");
	skel->rodata->weir_gate_l2 = l2;
	ret = load_and_attach(g, skel, netns, mode, err);
	gate_bpf__destroy(skel);
	return ret;
}

/* The program that @g's interface runs at XDP; 0 = none. */
static int query(const struct weir_gate *g, uint32_t *ret_id)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int ret = bpf_xdp_query((int)g->ifindex, 0, &opts);

	if (ret)
		return ret;
	*ret_id = opts.drv_prog_id ? opts.drv_prog_id :
		  opts.skb_prog_id ? opts.skb_prog_id :
		  opts.hw_prog_id  ? opts.hw_prog_id :
				     opts.prog_id;
	return 0;
}

int weir_gate_open(struct weir_gate *g, const char *ifname, enum weir_xdp_mode mode,
		   struct weir_error *err)
{
	weir_autoclose int lock = -1;
	int ret = -EAGAIN;

	weir_gate_init(g);
	g->ifindex = if_nametoindex(ifname);
	if (!g->ifindex)
		return weir_fail(err, -ENODEV, "no interface '%s': see `ip link`", ifname);
	snprintf(g->ifname, sizeof(g->ifname), "%s", ifname);
	/* One lock for all interfaces: two first gates of a namespace must not
	 * each make maps of their own. */
	lock = lock_gates(err);
	if (lock < 0)
		return lock;
	for (int i = 0; i < OPEN_TRIES && ret == -EAGAIN; i++) {
		uint32_t id = 0;

		if (i)
			sleep_ms(POLL_MS);
		drop_objects(g);
		ret = query(g, &id);
		if (ret)
			return weir_load_explain(err, ret, "ask what runs at XDP");
		ret = id ? join(g, id, mode, err) : create(g, mode, err);
	}
	if (ret == -EAGAIN)
		ret = weir_fail(err, -EBUSY,
				"the XDP program on %s keeps changing: see `ip link show %s`, and "
				"try again",
				ifname, ifname);
	if (ret)
		weir_gate_close(g);
	return ret;
}

/* ---- Slots */

/* Put a program into a slot, and see that it stays there: the kernel empties a
 * prog array some moments after its last user descriptor is closed, also when
 * somebody has opened it again by id in between. */
static int fill_slot(int fd, uint32_t key, int prog_fd, bool settle)
{
	static const unsigned int wait_ms[] = { 1, 2, 5, 10 };

	if (bpf_map_update_elem(fd, &key, &prog_fd, BPF_ANY))
		return -errno;
	for (size_t i = 0; settle && i < WEIR_ARRAY_SIZE(wait_ms); i++) {
		sleep_ms(wait_ms[i]);
		if (!slot_taken(fd, key) && bpf_map_update_elem(fd, &key, &prog_fd, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Tell the gate whether to try a slot: WEIR_SCRATCH_GUEST or _RESIDENT. */
static int mark_used(const struct weir_gate *g, uint32_t bit, bool used)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *bits = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, g->used_fd, 0);

	if (bits == MAP_FAILED)
		return -errno;
	if (used)
		__atomic_fetch_or(bits, bit, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(bits, ~bit, __ATOMIC_SEQ_CST);
	munmap(bits, size);
	return 0;
}

static int map_id(int fd, uint32_t *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret = info.id;
	return 0;
}

/* Take the guests' arrays, unless they are at hand. */
static int take_guests(struct weir_gate *g)
{
	struct weir_gate_meta meta;

	return has_all_maps(g) ? 0 : take_maps(g, g->prog_fd, &meta);
}

/* Reserve an empty slot. The name comes before the look: who has the name is the
 * only one to fill the slot. */
static int reserve_slot(struct weir_gate *g)
{
	char name[64];
	uint32_t family;
	int ret = map_id(g->scratch_fd, &family);

	for (int slot = 0; !ret && slot < WEIR_GATE_GUESTS; slot++) {
		int fd;

		snprintf(name, sizeof(name), "weir.gate.%u.%d", family, slot);
		fd = take_name(name);
		if (fd == -EADDRINUSE)
			continue;
		if (fd < 0)
			return fd;
		if (!slot_taken(g->guest_fd[slot], 0)) {
			g->place_fd = fd;
			return slot;
		}
		close(fd);
	}
	return ret ? ret : -EBUSY;
}

int weir_gate_claim_guest(struct weir_gate *g, struct weir_error *err)
{
	int ret = -EBUSY;

	for (int i = 0; i < CLAIM_TRIES && ret == -EBUSY; i++) {
		if (i) {
			/* One may belong to a guest that has just died: let go,
			 * so that the kernel can empty it. */
			if (!g->shared)
				break;
			drop_guests(g, -1);
			sleep_ms(POLL_MS);
		}
		ret = take_guests(g);
		if (!ret)
			ret = reserve_slot(g);
	}
	if (ret == -EBUSY)
		return weir_fail(err, ret,
				 "all %d places for observers at XDP are taken (%s): stop one of "
				 "them, or use another hook",
				 WEIR_GATE_GUESTS, g->ifname);
	return ret < 0 ? weir_load_explain(err, ret, "enter the XDP gate") : ret;
}

/* Where a constant of 4 bytes lies in .rodata, or a negative errno. */
static int constant_offset(const struct btf *btf, const char *name)
{
	const struct btf_type *section;
	const struct btf_var_secinfo *var;
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);

	if (id < 0)
		return id;
	section = btf__type_by_id(btf, (uint32_t)id);
	var = btf_var_secinfos(section);
	for (unsigned int i = 0; i < btf_vlen(section); i++, var++) {
		const struct btf_type *t = btf__type_by_id(btf, var->type);

		if (!strcmp(btf__name_by_offset(btf, t->name_off), name))
			return (int)var->offset;
	}
	return -ENOENT;
}

static int set_constants(const struct weir_gate *g, const struct bpf_object *obj,
			 struct bpf_map *rodata, int slot)
{
	int slot_at = constant_offset(bpf_object__btf(obj), "weir_gate_slot");
	int ifindex_at = constant_offset(bpf_object__btf(obj), "weir_gate_ifindex");
	uint32_t ifindex = slot < 0 ? 0 : g->ifindex;
	weir_autofree char *copy = NULL;
	const void *value;
	size_t size;

	if (slot_at < 0 || ifindex_at < 0)
		return -ENOENT;
	value = bpf_map__initial_value(rodata, &size);
	if (!value || (size_t)slot_at + 4 > size || (size_t)ifindex_at + 4 > size)
		return -EINVAL;
	copy = malloc(size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, value, size);
	memcpy(copy + slot_at, &slot, 4);
	memcpy(copy + ifindex_at, &ifindex, 4);
	return bpf_map__set_initial_value(rodata, copy, size);
}

int weir_gate_bind(struct weir_gate *g, struct bpf_object *obj, int slot, struct weir_error *err)
{
	struct bpf_map *map;
	int ret = take_guests(g);

	if (ret)
		return weir_load_explain(err, ret, "join the XDP gate");
	bpf_object__for_each_map(map, obj) {
		const char *name = bpf_map__name(map), *dot = strrchr(name, '.');
		const int *place = map_place(g, name);

		if (place)
			ret = bpf_map__reuse_fd(map, *place);
		else if (dot && !strcmp(dot, ".rodata"))
			ret = set_constants(g, obj, map, slot);
		if (ret)
			return weir_load_explain(err, ret, "use the XDP gate's maps");
	}
	g->stage = obj;
	return 0;
}

/* Close the bound object's own copies of the prog arrays. libbpf closes the
 * numbers again later, so something harmless takes their place. */
static int release_stage(struct weir_gate *g)
{
	weir_autoclose int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct bpf_map *map;

	if (null_fd < 0)
		return -errno;
	if (!g->stage)
		return 0;
	bpf_object__for_each_map(map, g->stage) {
		const int *place = map_place(g, bpf_map__name(map));

		if (place && place != &g->scratch_fd &&
		    dup3(null_fd, bpf_map__fd(map), O_CLOEXEC) < 0)
			return -errno;
	}
	g->stage = NULL;
	return 0;
}

int weir_gate_enter_guest(struct weir_gate *g, int slot, int prog_fd, struct weir_error *err)
{
	int ret = release_stage(g);

	drop_guests(g, slot);
	drop_fd(&g->resident_fd);
	if (!ret)
		ret = mark_used(g, WEIR_SCRATCH_GUEST(slot), true);
	if (!ret)
		ret = fill_slot(g->guest_fd[slot], 0, prog_fd, g->shared);
	return ret ? weir_load_explain(err, ret, "enter the XDP gate") : 0;
}

void weir_gate_leave_guest(struct weir_gate *g, int slot)
{
	uint32_t zero = 0;

	if (slot < 0 || slot >= WEIR_GATE_GUESTS || g->guest_fd[slot] < 0)
		return;
	bpf_map_delete_elem(g->guest_fd[slot], &zero);
	mark_used(g, WEIR_SCRATCH_GUEST(slot), false);
}

/* Does the program use this gate's scratch? */
static int check_family(const struct weir_gate *g, int prog_fd, struct weir_error *err)
{
	uint32_t ids[GATE_MAPS_MAX], family;
	struct bpf_prog_info info;
	int ret = prog_info(prog_fd, &info, ids, GATE_MAPS_MAX);

	if (!ret)
		ret = map_id(g->scratch_fd, &family);
	if (ret)
		return weir_load_explain(err, ret, "enter the XDP gate");
	for (uint32_t i = 0; i < info.nr_map_ids && i < GATE_MAPS_MAX; i++)
		if (ids[i] == family)
			return 0;
	return weir_fail(err, -EBUSY,
			 "the XDP gate on %s stands alone, since a weir without CAP_SYS_ADMIN made "
			 "it: stop that one first",
			 g->ifname);
}

/* The first of its verb enters an empty slot. One that is taken belongs to a weir that
 * pins elsewhere: nobody would know that it filters no more. */
static int check_vacant(const struct weir_gate *g, uint32_t which, int prog_fd,
			struct weir_error *err)
{
	struct bpf_prog_info info = { 0 };
	uint32_t id = 0, len = sizeof(info);

	if (bpf_map_lookup_elem(g->resident_fd, &which, &id) || !id)
		return 0;
	if (!bpf_obj_get_info_by_fd(prog_fd, &info, &len) && info.id == id)
		return 0;
	return weir_fail(err, -EBUSY,
			 "another weir has its program %u in the XDP gates of this network "
			 "namespace, pinned in a bpffs that is not mounted here: change it there",
			 id);
}

int weir_gate_enter_resident(struct weir_gate *g, enum weir_gate_resident which, int prog_fd,
			     const char *dir, struct weir_error *err)
{
	struct weir_pin_dir d = { .fd = -1 };
	char name[32];
	int ret = check_family(g, prog_fd, err);

	if (ret)
		return ret;
	ret = release_stage(g);
	drop_guests(g, -1);
	if (ret)
		return weir_load_explain(err, ret, "enter the XDP gate");
	ret = check_vacant(g, which, prog_fd, err);
	if (ret)
		return ret;
	snprintf(d.path, sizeof(d.path), "%s", dir);
	/* The pin first: the slot of an array that nobody keeps is soon empty. */
	snprintf(name, sizeof(name), "resident%d", which);
	ret = weir_pin_put(&d, name, g->resident_fd, err);
	if (ret)
		return ret;
	snprintf(name, sizeof(name), "gate_%u", g->ifindex);
	ret = weir_pin_put(&d, name, g->link_fd, err);
	if (ret)
		return ret;
	ret = mark_used(g, WEIR_SCRATCH_RESIDENT(which), true);
	if (!ret)
		ret = fill_slot(g->resident_fd, which, prog_fd, true);
	return ret ? weir_load_explain(err, ret, "enter the XDP gate") : 0;
}

void weir_gate_forget(const char *name, int fd)
{
	uint32_t which;
	char rest;

	if (sscanf(name, "resident%u%c", &which, &rest) == 1 && which < WEIR_GATE_RESIDENTS)
		bpf_map_delete_elem(fd, &which);
}

/* ---- Another build, another mode */

uint64_t weir_gate_build(void)
{
	size_t n;
	const void *elf = gate_bpf__elf_bytes(&n);

	return weir_load_hash(elf, n);
}

/* The tag of the gate as this build loads it on this kernel. */
static uint64_t own_tag(void)
{
	struct gate_bpf *skel;
	uint64_t tag = 0;

	weir_load_setup();
	skel = gate_bpf__open();
	if (skel && !weir_load(skel->obj, NULL, NULL))
		tag = weir_load_tag(bpf_program__fd(skel->progs.weir_gate));
	gate_bpf__destroy(skel);
	return tag;
}

bool weir_gate_is_current(int prog_fd)
{
	/* It never changes, and a change of the filter asks for every interface. */
	static uint64_t tag;

	if (!tag)
		tag = own_tag();
	return tag && weir_load_tag(prog_fd) == tag;
}

/* Load this build's gate over the maps of @g, which is there. */
static int load_over(struct weir_gate *g, struct gate_bpf **ret_skel, struct weir_error *err)
{
	struct gate_bpf *skel;
	enum weir_l2 l2;
	int ret = find_l2(g, &l2, err);

	if (ret)
		return ret;
	weir_load_setup();
	skel = gate_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the XDP gate");
	skel->rodata->weir_gate_l2 = l2;
	ret = take_guests(g);
	if (!ret)
		ret = reuse_maps(g, skel);
	ret = ret ? weir_load_explain(err, ret, "share the XDP gate's maps") :
		    weir_load(skel->obj, NULL, err);
	drop_guests(g, -1); /* as in join() */
	if (!ret && bpf_prog_bind_map(bpf_program__fd(skel->progs.weir_gate),
				      bpf_map__fd(skel->maps.weir_gate_meta), NULL))
		ret = weir_load_explain(err, -errno, "set up the XDP gate");
	if (ret)
		gate_bpf__destroy(skel);
	else
		*ret_skel = skel;
	return ret;
}

static int take_program(struct weir_gate *g, const struct gate_bpf *skel)
{
	int fd = fcntl(bpf_program__fd(skel->progs.weir_gate), F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	move_fd(&g->prog_fd, &fd);
	return 0;
}

static int exchange(struct weir_gate *g, const struct gate_bpf *skel, struct weir_error *err)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE,
		    .old_prog_fd = (uint32_t)g->prog_fd);
	uint64_t netns;
	int ret = weir_sys_netns_cookie(&netns);

	if (!ret)
		ret = put_meta(g, bpf_map__fd(skel->maps.weir_gate_meta), netns,
			       g->mode == WEIR_XDP_NATIVE);
	if (!ret && bpf_link_update(g->link_fd, bpf_program__fd(skel->progs.weir_gate), &opts))
		ret = -errno;
	/* That is how the kernel says that the link has another program by now. */
	if (ret == -EPERM)
		return weir_fail(err, -EBUSY,
				 "the XDP gate on %s was exchanged at the same time: try again",
				 g->ifname);
	if (!ret)
		ret = take_program(g, skel);
	return ret ? weir_load_explain(err, ret, "exchange the XDP gate") : 0;
}

int weir_gate_renew(struct weir_gate *g, struct weir_error *err)
{
	weir_autoclose int lock = -1;
	struct gate_bpf *skel;
	int ret;

	if (!g->joined || weir_gate_is_current(g->prog_fd))
		return 0;
	lock = lock_gates(err);
	if (lock < 0)
		return lock;
	ret = load_over(g, &skel, err);
	if (ret)
		return ret;
	ret = exchange(g, skel, err);
	gate_bpf__destroy(skel);
	return ret ? ret : 1;
}

static int refuse_owner(const struct weir_gate *g, uint32_t pid, const char *comm,
			struct weir_error *err)
{
	return weir_fail(err, -EBUSY,
			 "process %u (%s) uses the XDP gate on %s too, which would have to be "
			 "detached to change its mode: stop that process first",
			 pid, comm, g->ifname);
}

int weir_gate_check_alone(const struct weir_gate *g, enum weir_gate_resident which,
			  struct weir_error *err)
{
	weir_autofree struct weir_prog *v = NULL;
	struct bpf_prog_info info;
	size_t n = 0;
	int ret = prog_info(g->prog_fd, &info, NULL, 0);

	if (ret)
		return weir_load_explain(err, ret, "look at the XDP gate");
	for (uint32_t i = 0; i < WEIR_GATE_RESIDENTS; i++)
		if (i != which && slot_taken(g->resident_fd, i))
			return weir_fail(err, -EBUSY,
					 "another verb of weir uses the XDP gate on %s too: see "
					 "`weir status`, and turn that off first",
					 g->ifname);
	ret = weir_progs_list(&v, &n, err);
	for (size_t i = 0; !ret && i < n; i++)
		for (unsigned int k = 0; k < v[i].n_owners; k++)
			if (v[i].id == info.id && v[i].owners[k].pid != (uint32_t)getpid())
				return refuse_owner(g, v[i].owners[k].pid, v[i].owners[k].comm,
						    err);
	return ret;
}

/* The gate as @skel has it takes the place of @g's link. */
static int attach_instead(struct weir_gate *g, const struct gate_bpf *skel, uint64_t netns,
			  enum weir_xdp_mode mode, uint64_t *ret_gap, struct weir_error *err)
{
	const int meta_fd = bpf_map__fd(skel->maps.weir_gate_meta);
	const enum weir_xdp_mode before = g->mode;
	uint64_t from = weir_clock_mono();
	int ret;

	/* Not only closed: its pin is there still. */
	if (bpf_link_detach(g->link_fd))
		return weir_load_explain(err, -errno, "detach the XDP gate");
	drop_fd(&g->link_fd);
	ret = attach(g, meta_fd, netns, mode, err);
	if (ret == -EAGAIN)
		return weir_fail(err, -EBUSY,
				 "another XDP program came to %s while the gate's mode was about "
				 "to change: see `ip link show %s`",
				 g->ifname, g->ifname);
	if (ret && attach(g, meta_fd, netns, before, NULL))
		weir_fail_prefix(err, ret, "%s has no XDP gate any longer", g->ifname);
	*ret_gap = weir_clock_mono() - from;
	return ret;
}

int weir_gate_change_mode(struct weir_gate *g, enum weir_xdp_mode mode, uint64_t *ret_gap,
			  struct weir_error *err)
{
	weir_autoclose int lock = -1;
	struct gate_bpf *skel;
	uint64_t netns;
	int ret = weir_sys_netns_cookie(&netns);

	*ret_gap = 0;
	if (ret)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	if (mode == WEIR_XDP_AUTO || mode == g->mode)
		return 0;
	lock = lock_gates(err);
	if (lock < 0)
		return lock;
	/* All that takes time comes before the gap. */
	ret = load_over(g, &skel, err);
	if (ret)
		return ret;
	ret = take_program(g, skel);
	if (ret)
		weir_load_explain(err, ret, "set up the XDP gate");
	else
		ret = attach_instead(g, skel, netns, mode, ret_gap, err);
	gate_bpf__destroy(skel);
	return ret;
}
