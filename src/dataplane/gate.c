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
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"
#include "gate.skel.h"

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

/* ---- The lock: an abstract Unix address of this network namespace. It needs
 * no file and no privilege, and nothing of it outlives the process. */

static socklen_t lock_address(uint32_t ifindex, struct sockaddr_un *addr)
{
	int n;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	n = snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "weir.gate.%u", ifindex);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* Who listens on the lock's address; 0 = unknown. */
static int lock_holder(const struct sockaddr_un *addr, socklen_t len)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, len) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size))
		return 0;
	return cred.pid;
}

/* Lock one interface's gate, or with 0 the making of gates. Returns a
 * descriptor; closing it unlocks. */
static int lock_gate(uint32_t ifindex, struct weir_error *err)
{
	struct sockaddr_un addr;
	socklen_t len = lock_address(ifindex, &addr);
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return weir_fail(err, -errno, "cannot open a socket: %m");
	for (int waited = 0; bind(fd, (struct sockaddr *)&addr, len); waited += POLL_MS) {
		if (errno != EADDRINUSE)
			return weir_fail(err, -errno, "cannot lock the XDP gate: %m");
		if (waited >= LOCK_WAIT_MS)
			return weir_fail(err, -EBUSY,
					 "process %d holds the lock of the XDP gate: wait until it "
					 "is ready, or stop it",
					 lock_holder(&addr, len));
		sleep_ms(POLL_MS);
	}
	/* Listening only lets lock_holder() ask who it is. */
	if (listen(fd, 1))
		return weir_fail(err, -errno, "cannot lock the XDP gate: %m");
	return WEIR_TAKE_FD(fd);
}

/* ---- Descriptors */

void weir_gate_init(struct weir_gate *g)
{
	memset(g, 0, sizeof(*g));
	g->link_fd = g->prog_fd = g->scratch_fd = g->resident_fd = g->lock_fd = -1;
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
	drop_fd(&g->resident_fd);
	drop_guests(g, -1);
}

void weir_gate_close(struct weir_gate *g)
{
	drop_objects(g);
	drop_fd(&g->lock_fd);
	g->stage = NULL;
}

/* Where the map called @name belongs, or NULL. */
static int *map_place(struct weir_gate *g, const char *name)
{
	const size_t guest = sizeof("weir_guest") - 1;

	if (!strcmp(name, "weir_scratch"))
		return &g->scratch_fd;
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
	return g->scratch_fd >= 0 && g->resident_fd >= 0;
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

/* The resident array of another gate of this namespace, so that its interfaces
 * share their resident stages. -1 where there is none, or where objects by id
 * are not for us. */
static int find_resident(uint64_t netns)
{
	struct bpf_link_info info;
	uint32_t id = 0;
	int link_fd;

	while ((link_fd = next_xdp_link(&id, &info)) >= 0) {
		weir_autoclose int prog_fd = bpf_prog_get_fd_by_id(info.prog_id);
		struct weir_gate_meta meta;
		struct weir_gate other;
		int fd = -1;

		weir_gate_init(&other);
		if (prog_fd >= 0 && !take_maps(&other, prog_fd, &meta) && meta.netns == netns &&
		    meta.abi == WEIR_GATE_ABI)
			fd = WEIR_TAKE_FD(other.resident_fd);
		weir_gate_close(&other);
		close(link_fd);
		if (fd >= 0)
			return fd;
	}
	return -1;
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
				 "not %u): stop the other weir, or `weir unload`",
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
		return g->link_fd == -ENOENT ? -EAGAIN
					     : weir_load_explain(err, g->link_fd,
								 "join the XDP gate");
	g->mode = meta.native ? WEIR_XDP_NATIVE : WEIR_XDP_GENERIC;
	g->joined = true;
	/* An array that we hold is not emptied when its guest dies; they are
	 * taken again under the lock, by one process at a time. */
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

static int attach_as(struct weir_gate *g, int meta_fd, uint64_t netns, bool native)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	struct weir_gate_meta meta = {
		.magic = WEIR_GATE_MAGIC,
		.abi = WEIR_GATE_ABI,
		.netns = netns,
		.ifindex = g->ifindex,
		.native = native,
	};
	uint32_t zero = 0;

	if (bpf_map_update_elem(meta_fd, &zero, &meta, BPF_ANY))
		return -errno;
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

		if (place)
			*place = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
	}
	return g->prog_fd >= 0 && has_all_maps(g) ? 0 : -EMFILE;
}

static int create(struct weir_gate *g, enum weir_xdp_mode mode, struct weir_error *err)
{
	weir_autoclose int resident_fd = -1;
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
	resident_fd = find_resident(netns);
	if (resident_fd >= 0)
		ret = bpf_map__reuse_fd(skel->maps.weir_resident, resident_fd);
	if (!ret)
		ret = weir_load(skel->obj, NULL, err);
	if (ret)
		goto out;
	ret = keep_maps(g, skel);
	if (!ret && bpf_prog_bind_map(g->prog_fd, bpf_map__fd(skel->maps.weir_gate_meta), NULL))
		ret = -errno;
	if (ret)
		ret = weir_load_explain(err, ret, "set up the XDP gate");
	else
		ret = attach(g, bpf_map__fd(skel->maps.weir_gate_meta), netns, mode, err);
out:
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
	*ret_id = opts.drv_prog_id ? opts.drv_prog_id
		  : opts.skb_prog_id ? opts.skb_prog_id
		  : opts.hw_prog_id  ? opts.hw_prog_id
				     : opts.prog_id;
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
	 * each make a resident array. */
	lock = lock_gate(0, err);
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

static bool slot_taken(int fd, uint32_t key)
{
	uint32_t prog_id;

	return !bpf_map_lookup_elem(fd, &key, &prog_id);
}

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

static int find_free_slot(const struct weir_gate *g)
{
	for (int slot = 0; slot < WEIR_GATE_GUESTS; slot++)
		if (!slot_taken(g->guest_fd[slot], 0))
			return slot;
	return -EBUSY;
}

/* Take all guests' arrays and pick a slot. */
static int pick_slot(struct weir_gate *g, struct weir_error *err)
{
	for (int i = 0; i < CLAIM_TRIES; i++) {
		struct weir_gate_meta meta;
		int slot, ret = g->joined ? take_maps(g, g->prog_fd, &meta) : 0;

		if (ret)
			return weir_load_explain(err, ret, "join the XDP gate");
		slot = find_free_slot(g);
		if (slot >= 0 || !g->joined)
			return slot;
		/* One may belong to a guest that has just died. */
		drop_guests(g, -1);
		sleep_ms(POLL_MS);
	}
	return weir_fail(err, -EBUSY,
			 "all %d places for observers at XDP on %s are taken: stop one of them, or "
			 "use another hook",
			 WEIR_GATE_GUESTS, g->ifname);
}

int weir_gate_claim_guest(struct weir_gate *g, struct weir_error *err)
{
	int slot;

	if (g->lock_fd < 0)
		g->lock_fd = lock_gate(g->ifindex, err);
	if (g->lock_fd < 0)
		return g->lock_fd;
	slot = pick_slot(g, err);
	if (slot < 0)
		drop_fd(&g->lock_fd);
	return slot;
}

/* Where the constant weir_gate_slot lies in .rodata, or a negative errno. */
static int slot_offset(const struct btf *btf)
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

		if (!strcmp(btf__name_by_offset(btf, t->name_off), "weir_gate_slot"))
			return (int)var->offset;
	}
	return -ENOENT;
}

static int set_slot(const struct bpf_object *obj, struct bpf_map *rodata, int slot)
{
	int at = slot_offset(bpf_object__btf(obj));
	weir_autofree char *copy = NULL;
	const void *value;
	size_t size;

	if (at < 0)
		return at;
	value = bpf_map__initial_value(rodata, &size);
	if (!value || (size_t)at + sizeof(slot) > size)
		return -EINVAL;
	copy = malloc(size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, value, size);
	memcpy(copy + at, &slot, sizeof(slot));
	return bpf_map__set_initial_value(rodata, copy, size);
}

int weir_gate_bind(struct weir_gate *g, struct bpf_object *obj, int slot, struct weir_error *err)
{
	struct weir_gate_meta meta;
	struct bpf_map *map;
	int fresh = 0;

	if (!has_all_maps(g)) { /* a resident stage that joins */
		if (g->lock_fd < 0)
			g->lock_fd = lock_gate(g->ifindex, err);
		if (g->lock_fd < 0)
			return g->lock_fd;
		fresh = take_maps(g, g->prog_fd, &meta);
	}
	if (fresh)
		return weir_load_explain(err, fresh, "join the XDP gate");
	bpf_object__for_each_map(map, obj) {
		const char *name = bpf_map__name(map), *dot = strrchr(name, '.');
		const int *place = map_place(g, name);
		int ret = 0;

		if (place)
			ret = bpf_map__reuse_fd(map, *place);
		else if (dot && !strcmp(dot, ".rodata"))
			ret = set_slot(obj, map, slot);
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
		ret = fill_slot(g->guest_fd[slot], 0, prog_fd, g->joined);
	drop_fd(&g->lock_fd);
	return ret ? weir_load_explain(err, ret, "enter the XDP gate") : 0;
}

void weir_gate_leave_guest(struct weir_gate *g, int slot)
{
	uint32_t zero = 0;

	if (slot >= 0 && slot < WEIR_GATE_GUESTS && g->guest_fd[slot] >= 0)
		bpf_map_delete_elem(g->guest_fd[slot], &zero);
}

int weir_gate_enter_resident(struct weir_gate *g, enum weir_gate_resident which, int prog_fd,
			     const char *dir, struct weir_error *err)
{
	struct weir_pin_dir d = { .fd = -1 };
	char name[32];
	int ret = release_stage(g);

	drop_guests(g, -1);
	drop_fd(&g->lock_fd);
	if (ret)
		return weir_load_explain(err, ret, "enter the XDP gate");
	snprintf(d.path, sizeof(d.path), "%s", dir);
	/* The pin first: the slot of an array that nobody keeps is soon empty. */
	snprintf(name, sizeof(name), "resident%d_%u", which, g->ifindex);
	ret = weir_pin_put(&d, name, g->resident_fd, err);
	if (ret)
		return ret;
	snprintf(name, sizeof(name), "gate_%u", g->ifindex);
	ret = weir_pin_put(&d, name, g->link_fd, err);
	if (ret)
		return ret;
	ret = fill_slot(g->resident_fd, which, prog_fd, true);
	return ret ? weir_load_explain(err, ret, "enter the XDP gate") : 0;
}

void weir_gate_forget(const char *name, int fd)
{
	uint32_t which, ifindex;

	if (sscanf(name, "resident%u_%u", &which, &ifindex) == 2 && which < WEIR_GATE_RESIDENTS)
		bpf_map_delete_elem(fd, &which);
}
