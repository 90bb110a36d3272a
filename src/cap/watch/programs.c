/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/programs.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "bpf/flow.bpf.h"
#include "cap/watch/alert.h"
#include "cap/watch/stats.h"
#include "cap/watch/xsk.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"

#include "watch.skel.h"

/* A wake-up costs a microsecond, an event some tens of nanoseconds. */
#define WAKE_EVENTS 1024
#define WAKE_NS (5 * 1000 * 1000ULL)

#define LOG_STATS 4 /* of the verifier's log: figures only */

struct weir_programs {
	struct watch_bpf *skel;
};

/* Where each packet comes whole, its names come with it. */
static bool ship_names(const struct weir_watch *w)
{
	return w->opt.names && w->mode != WEIR_WATCH_XSK &&
	       (w->mode == WEIR_WATCH_FLOWS || w->snaplen < WEIR_WATCH_SNAPLEN);
}

/* Slots that may come into use. */
static uint32_t slots_of(const struct weir_watch *w)
{
	return weir_any_joins(w) ? WEIR_WATCH_IFACES : w->n_ifaces;
}

static uint32_t flags_of(const struct weir_watch *w, const struct weir_watch_iface *x)
{
	/* A datagram socket shows the filter what it will show the reader. */
	bool no_l2 = x->no_l2 || (w->hook == WEIR_HOOK_MMAP && w->opt.socket);

	return (no_l2 ? WEIR_WATCH_IFACE_NO_L2 : 0) |
	       (x->in_only ? WEIR_WATCH_IFACE_IN_ONLY : 0) |
	       (x->out_only ? WEIR_WATCH_IFACE_OUT_ONLY : 0);
}

static void fill_config(const struct weir_watch *w, struct weir_watch_config *cfg)
{
	/* Only what would pass is there to be taken. */
	bool passes = w->opt.verdict == 1 || w->hook == WEIR_HOOK_XSK;

	*cfg = (struct weir_watch_config){
		.mode = w->mode,
		.ifaces = slots_of(w),
		.snaplen = w->snaplen,
		.sample = w->user_stage ? 0 : w->opt.sample,
		.seed = w->seed,
		.names = ship_names(w),
		.match_kind = weir_load_match_kind(w->user_stage ? NULL : w->match),
		.directions = (uint32_t)w->want_in << WEIR_WATCH_IN |
			      (uint32_t)w->want_out << WEIR_WATCH_OUT,
		.strict_head = w->strict_insns ? w->strict_head : 0,
		.take_max = w->take_max,
		.verdicts = passes ? 1U << WEIR_WATCH_PASS :
			    w->opt.verdict == 2 ? 1U << WEIR_WATCH_DROP :
						  ~0U,
		.follow = w->full_screen && w->mode == WEIR_WATCH_FLOWS,
		.one_point = weir_watch_one_point(w),
		.sides = w->wants_sides,
		.wake_events = WAKE_EVENTS,
		.wake_ns = WAKE_NS,
		.stats = weir_stats_in_kernel(w),
		.alerts = weir_alerts_in_kernel(w) ? (uint32_t)w->alerts.n : 0,
	};
	for (unsigned int i = 0; i < w->n_ifaces && i < WEIR_WATCH_IFACES_FEW; i++) {
		cfg->ifindex[i] = w->ifaces[i].ifindex;
		cfg->flags[i] = (uint8_t)flags_of(w, &w->ifaces[i]);
	}
}

/* Only what this run uses is created and loaded. */
static void select_parts(const struct weir_watch *w, struct watch_bpf *s)
{
	const struct {
		struct bpf_program *prog;
		bool wanted;
	} progs[] = {
		{s->progs.weir_watch_in, w->hook == WEIR_HOOK_TCX && w->want_in},
		{s->progs.weir_watch_out, w->hook == WEIR_HOOK_TCX && w->want_out},
		{s->progs.weir_watch_tap, w->hook == WEIR_HOOK_TAP || w->hook == WEIR_HOOK_MMAP},
		{s->progs.weir_watch_xdp, w->hook == WEIR_HOOK_XDP},
		{s->progs.weir_watch_take, w->hook == WEIR_HOOK_XSK},
	};
	struct bpf_map *map;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(progs); i++)
		bpf_program__set_autoload(progs[i].prog, progs[i].wanted);
	bpf_map__set_autocreate(s->maps.weir_rings,
				w->mode == WEIR_WATCH_RING ||
					(w->mode == WEIR_WATCH_FLOWS &&
					 (w->full_screen || w->opt.names)));
	bpf_map__set_autocreate(s->maps.weir_begins, ship_names(w));
	bpf_map__set_autocreate(s->maps.weir_perf, w->mode == WEIR_WATCH_PERF);
	bpf_map__set_autocreate(s->maps.weir_flows, w->mode == WEIR_WATCH_FLOWS);
	bpf_map__set_autocreate(s->maps.weir_stats, weir_stats_in_kernel(w));
	bpf_map__set_autocreate(s->maps.weir_alerts, weir_alerts_in_kernel(w));
	bpf_map__set_autocreate(s->maps.weir_strict_views, w->strict_insns != NULL);
	bpf_map__set_autocreate(s->maps.weir_slots, slots_of(w) > WEIR_WATCH_IFACES_FEW);
	bpf_map__set_max_entries(s->maps.weir_counters, slots_of(w));
	bpf_map__set_autocreate(s->maps.weir_xsks, w->hook == WEIR_HOOK_XSK);
	bpf_map__set_max_entries(s->maps.weir_xsks, WEIR_XSK_QUEUES);
	if (weir_watch_at_xdp(w))
		return;
	bpf_object__for_each_map(map, s->obj) {
		const char *name = bpf_map__name(map);

		if (!strcmp(name, "weir_scratch") || !strncmp(name, "weir_guest", 10) ||
		    !strcmp(name, "weir_resident"))
			bpf_map__set_autocreate(map, false);
	}
}

static int share_maps(struct watch_bpf *s, const struct watch_bpf *first)
{
	struct {
		struct bpf_map *to, *from;
	} shared[] = {
		{s->maps.weir_rings, first->maps.weir_rings},
		{s->maps.weir_perf, first->maps.weir_perf},
		{s->maps.weir_flows, first->maps.weir_flows},
		{s->maps.weir_counters, first->maps.weir_counters},
		{s->maps.weir_stats, first->maps.weir_stats},
		{s->maps.weir_alerts, first->maps.weir_alerts},
		{s->maps.weir_followed, first->maps.weir_followed},
		{s->maps.weir_follow_counters, first->maps.weir_follow_counters},
		{s->maps.weir_slots, first->maps.weir_slots},
		{s->maps.weir_begins, first->maps.weir_begins},
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(shared); i++) {
		int fd = bpf_map__fd(shared[i].from);

		if (fd >= 0 && bpf_map__reuse_fd(shared[i].to, fd))
			return -errno;
	}
	return 0;
}

/* The match or, with --strict-pcap, libpcap's filter, and the alerts' expressions. */
static int load(const struct weir_watch *w, struct bpf_object *obj, struct weir_error *err)
{
	size_t n = weir_alerts_in_kernel(w) ? w->alerts.n : 0;
	const struct weir_match *rules[WEIR_WATCH_ALERTS];

	for (size_t i = 0; i < n; i++)
		rules[i] = w->alerts.v[i].match;
	if (w->strict_insns)
		return weir_load_strict(obj, w->strict_insns, w->n_strict_insns, rules, n, err);
	return weir_load_masked(obj, w->user_stage ? NULL : w->match, rules, n, err);
}

int weir_programs_place(const struct weir_programs *p, const struct weir_watch *w,
			unsigned int slot)
{
	const struct weir_watch_iface *x = &w->ifaces[slot];
	uint32_t place = slot | flags_of(w, x) << WEIR_WATCH_SLOT_BITS;
	int map = bpf_map__fd(p->skel->maps.weir_slots);
	int ret = x->gone ? bpf_map_delete_elem(map, &x->ifindex) :
			    bpf_map_update_elem(map, &x->ifindex, &place, BPF_ANY);

	return ret ? -errno : 0;
}

static int fill_slots(const struct weir_watch *w, const struct weir_programs *p,
		      struct weir_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; slots_of(w) > WEIR_WATCH_IFACES_FEW && !ret && i < w->n_ifaces; i++)
		ret = weir_programs_place(p, w, i);
	return ret ? weir_load_explain(err, ret, "number the interfaces") : 0;
}

/* A refusal is expected: libbpf need not load again, and again, to have it explained. */
static void hush_verifier(struct bpf_object *obj)
{
	static char log[4096];
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj) {
		bpf_program__set_log_buf(prog, log, sizeof(log));
		bpf_program__set_log_level(prog, LOG_STATS);
	}
}

static int load_parts(struct weir_watch *w, struct weir_gate *gate, int guest,
		      const struct weir_programs *first, struct weir_programs *p,
		      struct weir_error *err)
{
	struct weir_watch_config cfg;
	int code = 0;

	p->skel = watch_bpf__open();
	if (!p->skel)
		return weir_load_explain(err, -errno, "open the programs");
	fill_config(w, &cfg);
	memcpy((void *)&p->skel->rodata->cfg, &cfg, sizeof(cfg));
	select_parts(w, p->skel);
	bpf_map__set_max_entries(p->skel->maps.weir_rings, (uint32_t)weir_sys_cpus());
	if (w->wants_sides)
		bpf_map__set_value_size(bpf_map__inner_map(p->skel->maps.weir_flows),
					sizeof(struct weir_flow_full));
	if (first && share_maps(p->skel, first->skel))
		return weir_load_explain(err, -errno, "share the maps");
	if (gate)
		code = weir_gate_bind(gate, p->skel->obj, guest, err);
	if (code)
		return code;
	if (w->strict_insns && !weir_log_enabled())
		hush_verifier(p->skel->obj);
	code = load(w, p->skel->obj, err);
	return code ? code : fill_slots(w, p, err);
}

/* What a verifier says to code that is right, but too much or too deep for it. */
static bool is_refusal(int code)
{
	return code == -E2BIG || code == -EACCES || code == -EINVAL || code == -EFAULT ||
	       code == -ENOSPC;
}

int weir_programs_load(struct weir_watch *w, struct weir_gate *gate, int guest,
		       const struct weir_programs *first, struct weir_programs **ret,
		       struct weir_error *err)
{
	struct weir_programs *p = calloc(1, sizeof(*p));
	int code;

	if (!p)
		return weir_fail(err, -ENOMEM, "out of memory");
	*ret = p;
	code = load_parts(w, gate, guest, first, p, err);
	if (!w->strict_insns || !is_refusal(code))
		return code;
	code = weir_place_retreat(w, "its verifier refuses it", err);
	if (code)
		return code;
	watch_bpf__destroy(p->skel);
	return load_parts(w, gate, guest, first, p, err);
}

void weir_programs_free(struct weir_programs *p)
{
	if (!p)
		return;
	watch_bpf__destroy(p->skel);
	free(p);
}

int weir_programs_fd(const struct weir_programs *p, enum weir_program which)
{
	switch (which) {
	case WEIR_PROGRAM_IN:
		return bpf_program__fd(p->skel->progs.weir_watch_in);
	case WEIR_PROGRAM_OUT:
		return bpf_program__fd(p->skel->progs.weir_watch_out);
	case WEIR_PROGRAM_TAP:
		return bpf_program__fd(p->skel->progs.weir_watch_tap);
	case WEIR_PROGRAM_XDP:
		return bpf_program__fd(p->skel->progs.weir_watch_xdp);
	case WEIR_PROGRAM_TAKE:
		return bpf_program__fd(p->skel->progs.weir_watch_take);
	}
	return -EINVAL;
}

int weir_programs_map(const struct weir_programs *p, enum weir_program_map which)
{
	switch (which) {
	case WEIR_MAP_RINGS:
		return bpf_map__fd(p->skel->maps.weir_rings);
	case WEIR_MAP_PERF:
		return bpf_map__fd(p->skel->maps.weir_perf);
	case WEIR_MAP_FLOWS:
		return bpf_map__fd(p->skel->maps.weir_flows);
	case WEIR_MAP_COUNTERS:
		return bpf_map__fd(p->skel->maps.weir_counters);
	case WEIR_MAP_ALERTS:
		return bpf_map__fd(p->skel->maps.weir_alerts);
	case WEIR_MAP_STATS:
		return bpf_map__fd(p->skel->maps.weir_stats);
	case WEIR_MAP_FOLLOWED:
		return bpf_map__fd(p->skel->maps.weir_followed);
	case WEIR_MAP_XSKS:
		return bpf_map__fd(p->skel->maps.weir_xsks);
	}
	return -EINVAL;
}

static uint32_t struct_id(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	return id > 0 ? (uint32_t)id : 0;
}

/* The kernel takes a table only where it is made like the one that the programs were loaded
 * with, and Linux 6.1 looks at its BTF, too. That one has none where its size was changed. */
int weir_programs_flow_table(const struct weir_programs *p, uint32_t entries)
{
	bool sides = p->skel->rodata->cfg.sides;
	uint32_t size = sides ? sizeof(struct weir_flow_full) : sizeof(struct weir_flow_val);
	const struct btf *btf = bpf_object__btf(p->skel->obj);
	LIBBPF_OPTS(bpf_map_create_opts, opts);

	if (!sides) {
		opts.btf_fd = (uint32_t)bpf_object__btf_fd(p->skel->obj);
		opts.btf_key_type_id = struct_id(btf, "weir_flow_part");
		opts.btf_value_type_id = struct_id(btf, "weir_flow_val");
	}
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "weir_flow_table", sizeof(struct weir_flow_part),
				size, entries, &opts);

	return fd < 0 ? -errno : fd;
}

/* Entry @key of a per-CPU array whose values are @words numbers: add up the CPUs. */
static void add_cpus(int map, uint32_t key, uint64_t *sum, size_t words)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree uint64_t *v = calloc(cpus, words * sizeof(*v));

	if (!v || bpf_map_lookup_elem(map, &key, v))
		return;
	for (size_t i = 0; i < cpus * words; i++)
		sum[i % words] += v[i];
}

static void sum_counters(int map, unsigned int slot, struct weir_watch_counters *ret)
{
	memset(ret, 0, sizeof(*ret));
	add_cpus(map, slot, (uint64_t *)ret, sizeof(*ret) / sizeof(uint64_t));
}

void weir_programs_stats(const struct weir_programs *p, struct weir_watch_stats *sum)
{
	add_cpus(weir_programs_map(p, WEIR_MAP_STATS), 0, (uint64_t *)sum,
		 sizeof(*sum) / sizeof(uint64_t));
}

void weir_programs_alerts(const struct weir_programs *p, struct weir_watch_alerts *ret)
{
	memset(ret, 0, sizeof(*ret));
	add_cpus(weir_programs_map(p, WEIR_MAP_ALERTS), 0, (uint64_t *)ret,
		 sizeof(*ret) / sizeof(uint64_t));
}

void weir_programs_counters(const struct weir_programs *p, unsigned int slot,
			    struct weir_watch_counters *ret)
{
	sum_counters(weir_programs_map(p, WEIR_MAP_COUNTERS), slot, ret);
}

void weir_programs_follow_counters(const struct weir_programs *p, struct weir_watch_counters *ret)
{
	sum_counters(bpf_map__fd(p->skel->maps.weir_follow_counters), 0, ret);
}

int weir_attach_filter(int fd, int prog_fd, struct weir_error *err)
{
	if (!setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog_fd, sizeof(prog_fd)))
		return 0;
	/* A socket's filter is charged to a small budget of its own. */
	if (errno == ENOMEM)
		return weir_fail(err, -ENOMEM, "the match is too large for a socket filter here: "
					       "raise net.core.optmem_max, shorten it, or use "
					       "--filter-at user");
	return weir_fail(err, -errno, "cannot attach the socket filter: %s: see `weir doctor`",
			 strerror(errno));
}

void weir_ignore_outgoing(int fd)
{
	int on = 1;

	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)))
		weir_debug("packets that go out are seen too: %s", strerror(errno));
}
