/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/path/session.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/ring.h"
#include "dataplane/sys.h"

#include "path.skel.h"

#define RING_BYTES (256 * 1024)
#define PROGRAMS 24

/* Which programs are attached together. */
enum group { LASTING, BEFORE_STACK, BEHIND_STACK };

struct weir_path {
	struct path_bpf *skel;
	struct {
		struct bpf_program *prog;
		struct bpf_link *link;
		enum group group;
	} hooks[PROGRAMS];
	unsigned int n_hooks;
	bool slices, told; /* of reads, by the kernel */
	struct weir_path_slice slice; /* the present one */
	uint64_t slice_ns;	      /* of the slices that are over */
	bool knows[WEIR_PATH_STAGES_MAX];
	struct weir_ring *ring;
	weir_path_journey_fn *fn;
	void *arg;
	char *values; /* one struct cpu a CPU, as the kernel gives them */
	size_t value_size;
	unsigned int cpus;
};

static bool has_tracepoint(const struct btf *btf, const char *name)
{
	char type[64];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) > 0;
}

/* When a program is loaded, besides having its tracepoint. */
enum when {
	ALWAYS,
	READS_TOLD,   /* the kernel tells of reads: sk_data_ready and sock_recv_length */
	READS_UNTOLD, /* it does not (before 6.3) */
};

/* Which programs this kernel has tracepoints for, and what that says of the stages. */
static int select_programs(struct weir_path *p, struct weir_error *err)
{
	struct path_bpf *s = p->skel;
	const struct {
		struct bpf_program *prog;
		int stage; /* that it tells of; -1: of none alone */
		enum when when;
		enum group group;
	} rows[] = {
		{ s->progs.weir_path_irq, WEIR_PATH_IRQ, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_irqx, -1, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_raise, WEIR_PATH_RAISE, ALWAYS, BEFORE_STACK },
		/* They tell, too, whether a packet ends in a softirq. */
		{ s->progs.weir_path_run, WEIR_PATH_RUN, ALWAYS, BEHIND_STACK },
		{ s->progs.weir_path_runx, -1, ALWAYS, BEHIND_STACK },
		{ s->progs.weir_path_poll, WEIR_PATH_POLL, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_backl, WEIR_PATH_BACKLOG, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_gro, WEIR_PATH_GRO, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_grof, -1, ALWAYS, BEFORE_STACK },
		{ s->progs.weir_path_stack, WEIR_PATH_STACK, ALWAYS, LASTING },
		{ s->progs.weir_path_tcp, WEIR_PATH_TCP, ALWAYS, BEHIND_STACK },
		{ s->progs.weir_path_queue, WEIR_PATH_QUEUE, READS_TOLD, BEHIND_STACK },
		{ s->progs.weir_path_waking, -1, READS_TOLD, BEHIND_STACK },
		{ s->progs.weir_path_switch, WEIR_PATH_WAKE, READS_TOLD, BEHIND_STACK },
		{ s->progs.weir_path_copyt, WEIR_PATH_COPY, ALWAYS, BEHIND_STACK },
		{ s->progs.weir_path_copyu, -1, READS_TOLD, BEHIND_STACK },
		{ s->progs.weir_path_used, -1, READS_UNTOLD, BEHIND_STACK },
		{ s->progs.weir_path_drop, -1, READS_UNTOLD, BEHIND_STACK },
	};
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return weir_fail(err, -errno,
				 "cannot read the kernel's types (BTF): see `weir doctor`");
	p->told = has_tracepoint(btf, "sk_data_ready") && has_tracepoint(btf, "sock_recv_length");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(rows); i++) {
		const char *name = strchr(bpf_program__section_name(rows[i].prog), '/') + 1;
		bool wanted = rows[i].when == ALWAYS || (rows[i].when == READS_TOLD) == p->told;

		wanted = wanted && has_tracepoint(btf, name);
		bpf_program__set_autoload(rows[i].prog, wanted);
		if (wanted) {
			p->hooks[p->n_hooks].prog = rows[i].prog;
			p->hooks[p->n_hooks++].group = p->slices ? rows[i].group : LASTING;
		}
		if (rows[i].stage >= 0)
			p->knows[rows[i].stage] = wanted;
	}
	btf__free(btf);
	return 0;
}

static int attach(struct weir_path *p, enum group g, struct weir_error *err)
{
	for (unsigned int i = 0; i < p->n_hooks; i++) {
		if (p->hooks[i].group != g)
			continue;
		p->hooks[i].link = bpf_program__attach_trace(p->hooks[i].prog);
		if (!p->hooks[i].link)
			return weir_load_explain(err, -errno, "attach to the kernel's tracepoints");
	}
	return 0;
}

static void detach(struct weir_path *p, enum group g)
{
	for (unsigned int i = 0; i < p->n_hooks; i++) {
		if (p->hooks[i].group != g)
			continue;
		bpf_link__destroy(p->hooks[i].link);
		p->hooks[i].link = NULL;
	}
}

static int write_slice(struct weir_path *p, uint64_t began, uint64_t epoch, struct weir_error *err)
{
	struct weir_path_slice slice = { .began = began, .epoch = epoch };
	uint32_t zero = 0;

	p->slice = slice;
	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.data_slice), &zero, &slice, BPF_ANY))
		return weir_load_explain(err, -errno, "begin a slice of time");
	return 0;
}

/* What comes later on the road is attached first, so that no packet is followed that is not
 * expected. */
static int begin_slice(struct weir_path *p, struct weir_error *err)
{
	uint32_t zero = 0, none = 0;
	uint64_t now;
	int ret = attach(p, BEHIND_STACK, err);

	if (!ret)
		ret = attach(p, BEFORE_STACK, err);
	if (ret)
		return ret;
	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.data_outst), &zero, &none, BPF_ANY))
		return weir_load_explain(err, -errno, "begin a slice of time");
	now = weir_clock_mono();
	return write_slice(p, now, now, err);
}

int weir_path_slice(struct weir_path *p, enum weir_path_phase phase, struct weir_error *err)
{
	int ret;

	if (phase == WEIR_PATH_FOLLOW)
		return begin_slice(p, err);
	if (p->slice.began)
		p->slice_ns += weir_clock_mono() - p->slice.began;
	ret = write_slice(p, 0, phase == WEIR_PATH_LINGER ? p->slice.epoch : 0, err);
	detach(p, BEFORE_STACK);
	if (phase == WEIR_PATH_REST)
		detach(p, BEHIND_STACK);
	return ret;
}

bool weir_path_outstanding(const struct weir_path *p)
{
	uint32_t zero = 0, n = 0;

	return !bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.data_outst), &zero, &n) && n;
}

uint64_t weir_path_slice_ns(const struct weir_path *p)
{
	uint64_t now = p->slice.began ? weir_clock_mono() - p->slice.began : 0;

	return p->slice_ns + now;
}

static int on_record(void *arg, const void *data, size_t size)
{
	struct weir_path *p = arg;
	struct weir_path_journey j;

	if (size < sizeof(j))
		return 0;
	memcpy(&j, data, sizeof(j));
	return p->fn(p->arg, &j);
}

static int load(struct weir_path *p, const struct weir_path_options *o, struct weir_error *err)
{
	struct weir_path_config cfg;
	uint64_t netns;
	int ret = weir_sys_netns_cookie(&netns);

	if (ret)
		return weir_fail(err, ret, "cannot tell this network namespace: %s",
				 strerror(-ret));
	p->skel = path_bpf__open();
	if (!p->skel)
		return weir_load_explain(err, -errno, "open the programs");
	ret = select_programs(p, err);
	if (ret)
		return ret;
	cfg = (struct weir_path_config){
		.netns = netns,
		.ifindex = o->ifindex,
		.sample = o->sample,
		.slices = p->slices,
		.untold = !p->told,
		.match_kind = weir_load_match_kind(o->match),
		.journeys = o->journeys,
		.slower_than = o->slower_than,
	};
	memcpy((void *)&p->skel->rodata->cfg, &cfg, sizeof(cfg));
	bpf_map__set_max_entries(p->skel->maps.weir_path_rings, p->cpus);
	p->value_size = (bpf_map__value_size(p->skel->maps.weir_path_cpus) + 7) & ~(size_t)7;
	p->values = calloc(p->cpus, p->value_size);
	if (!p->values)
		return weir_fail(err, -ENOMEM, "out of memory");
	return weir_load(p->skel->obj, o->match, err);
}

int weir_path_open(struct weir_path **ret, const struct weir_path_options *o,
		   weir_path_journey_fn *fn, void *arg, struct weir_error *err)
{
	int code = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_PERFMON, "follow packets", err);
	struct weir_path *p;

	if (code)
		return code;
	p = calloc(1, sizeof(*p));
	if (!p)
		return weir_fail(err, -ENOMEM, "out of memory");
	p->cpus = (unsigned int)weir_sys_cpus();
	p->fn = fn;
	p->arg = arg;
	p->slices = o->slices;
	weir_load_setup();
	code = load(p, o, err);
	if (!code && o->journeys)
		code = weir_ring_open(&p->ring, WEIR_TRANSPORT_RING,
				      bpf_map__fd(p->skel->maps.weir_path_rings), RING_BYTES,
				      on_record, p, err);
	if (!code)
		code = attach(p, LASTING, err);
	if (code)
		weir_path_close(p);
	else
		*ret = p;
	return code;
}

void weir_path_detach(struct weir_path *p)
{
	detach(p, BEFORE_STACK);
	detach(p, BEHIND_STACK);
	detach(p, LASTING);
}

void weir_path_close(struct weir_path *p)
{
	if (!p)
		return;
	weir_path_detach(p);
	weir_ring_close(p->ring);
	path_bpf__destroy(p->skel);
	free(p->values);
	free(p);
}

bool weir_path_knows(const struct weir_path *p, enum weir_path_stage s)
{
	return p->knows[s];
}

int weir_path_fd(const struct weir_path *p)
{
	return p->ring ? weir_ring_fd(p->ring) : -1;
}

int weir_path_consume(struct weir_path *p, struct weir_error *err)
{
	int ret = p->ring ? weir_ring_consume(p->ring) : 0;

	if (ret < 0 && ret != -ECANCELED)
		return weir_fail(err, ret, "cannot read the rings: %s: report this",
				 strerror(-ret));
	return ret;
}

unsigned int weir_path_cpus(const struct weir_path *p)
{
	return p->cpus;
}

int weir_path_read(struct weir_path *p, struct weir_path_figures *ret, struct weir_error *err)
{
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(p->skel->maps.weir_path_cpus), &zero, p->values))
		return weir_load_explain(err, -errno, "read the figures");
	for (unsigned int i = 0; i < p->cpus; i++)
		memcpy(&ret[i], p->values + i * p->value_size, sizeof(*ret));
	return 0;
}

uint64_t weir_path_missed(const struct weir_path *p)
{
	const struct path_bpf *s = p->skel;
	/* Their events are the whole host's, and to miss one loses no packet. */
	const struct bpf_program *apart[] = {
		s->progs.weir_path_irq,	   s->progs.weir_path_irqx,   s->progs.weir_path_raise,
		s->progs.weir_path_waking, s->progs.weir_path_switch,
	};
	uint64_t sum = 0;

	for (unsigned int i = 0; i < p->n_hooks; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);
		bool counts = true;

		for (size_t j = 0; j < WEIR_ARRAY_SIZE(apart); j++)
			counts = counts && p->hooks[i].prog != apart[j];
		if (counts &&
		    !bpf_obj_get_info_by_fd(bpf_program__fd(p->hooks[i].prog), &info, &len))
			sum += info.recursion_misses;
	}
	return sum;
}
