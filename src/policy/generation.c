/* SPDX-License-Identifier: GPL-2.0-only */
/* One generation: a policy's programs and maps, built beside those in force. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"

#include "filter_nf.skel.h"
#include "filter_tc.skel.h"
#include "filter_xdp.skel.h"

const char *const weir_hook_pins[WEIR_HOOKS] = {
	[WEIR_HOOK_XDP] = "xdp",
	[WEIR_HOOK_TC] = "tc",
	[WEIR_HOOK_NETFILTER] = "nf",
};

/* ---- The three forms of the program */

/* Read-only data of a form, which is the same in each. */
struct constants {
	struct weir_filter_row *rows;
	__u64 *tick, *seed;
	__u8 *confirm;
	struct bpf_program *prog;
};

#define DEFINE_FORM(form, program)                                                          \
	static void destroy_##form(void *skel)                                              \
	{                                                                                   \
		filter_##form##_bpf__destroy(skel);                                         \
	}                                                                                   \
	static int open_##form(struct weir_hook_object *o, struct constants *c)             \
	{                                                                                   \
		struct filter_##form##_bpf *skel = filter_##form##_bpf__open();             \
                                                                                            \
		if (!skel)                                                                  \
			return -errno;                                                      \
		o->skel = skel;                                                             \
		o->obj = skel->obj;                                                         \
		o->destroy = destroy_##form;                                                \
		c->rows = (struct weir_filter_row *)(void *)skel->rodata->weir_filter_rows; \
		c->tick = &skel->rodata->weir_tick_ns;                                      \
		c->seed = skel->rodata->weir_bucket_seed;                                   \
		c->confirm = &skel->rodata->weir_filter_confirm;                            \
		c->prog = skel->progs.program;                                              \
		return 0;                                                                   \
	}

DEFINE_FORM(xdp, weir_filter)
DEFINE_FORM(tc, weir_filter_tc)
DEFINE_FORM(nf, weir_filter_nf)

static int (*const open_form[WEIR_HOOKS])(struct weir_hook_object *o, struct constants *c) = {
	[WEIR_HOOK_XDP] = open_xdp,
	[WEIR_HOOK_TC] = open_tc,
	[WEIR_HOOK_NETFILTER] = open_nf,
};

/* ---- Build */

void weir_generation_init(struct weir_generation *g)
{
	memset(g, 0, sizeof(*g));
	g->generation_fd = -1;
	for (int h = 0; h < WEIR_HOOKS; h++)
		g->hook[h].prog_fd = -1;
}

void weir_generation_close(struct weir_generation *g)
{
	for (int h = 0; h < WEIR_HOOKS; h++) {
		if (g->hook[h].destroy)
			g->hook[h].destroy(g->hook[h].skel);
		weir_policy_code_free(&g->code[h]);
	}
	weir_generation_init(g);
}

int weir_generation_compile(struct weir_generation *g, struct weir_error *err)
{
	const struct weir_set *sets[WEIR_POLICY_SETS_MAX];
	int ret = 0;

	for (size_t i = 0; i < g->policy->n_sets; i++)
		sets[i] = &g->sets[i];
	for (int h = 0; !ret && h < WEIR_HOOKS; h++)
		if (g->want & 1U << h)
			ret = weir_policy_compile(g->policy, (enum weir_policy_hook)h, &g->places,
						  (struct weir_set *const *)sets, g->now.jiffies,
						  g->now.boot, g->now.tick, &g->code[h], err);
	return ret;
}

static void set_constants(const struct weir_filter *f, const struct weir_generation *g,
			  const struct constants *c)
{
	for (size_t i = 0; i < g->policy->n_ifaces; i++)
		c->rows[g->policy->ifaces[i].index] = g->policy->ifaces[i].row;
	*c->tick = g->now.tick;
	c->seed[0] = f->state.seed[0];
	c->seed[1] = f->state.seed[1];
	*c->confirm = g->confirm;
}

/* Put the maps that outlive generations in place of the object's own, and of those
 * that this policy has no use for make the smallest there is. */
static int share_maps(const struct weir_filter *f, const struct weir_generation *g,
		      struct bpf_object *obj)
{
	const struct {
		const char *name;
		int fd;
	} shared[] = {
		{ "weir_account", f->lasting_fd[WEIR_LASTING_ACCOUNT] },
		{ "weir_buckets", f->lasting_fd[WEIR_LASTING_BUCKETS] },
		{ "weir_replies", f->lasting_fd[WEIR_LASTING_REPLIES] },
		{ "weir_fragments", f->lasting_fd[WEIR_LASTING_FRAGMENTS] },
		{ "weir_hits", f->rules.hits_fd },
		{ "weir_generation", g->generation_fd },
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(shared); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, shared[i].name);

		if (!map)
			continue;
		ret = shared[i].fd >= 0 ? bpf_map__reuse_fd(map, shared[i].fd) :
					  bpf_map__set_max_entries(map, 1);
	}
	return ret;
}

static int fill_limits(const struct weir_policy_code *code, const struct bpf_object *obj)
{
	int fd = bpf_object__find_map_fd_by_name(obj, "weir_limits");

	for (uint32_t i = 0; i < code->n_limits; i++)
		if (bpf_map_update_elem(fd, &i, &code->limits[i], BPF_ANY))
			return -errno;
	return 0;
}

static int load_hook(struct weir_filter *f, struct weir_generation *g, int h,
		     struct weir_gate *gate, struct weir_error *err)
{
	struct weir_hook_object *o = &g->hook[h];
	bool as_tc = g->trial && h == WEIR_HOOK_NETFILTER;
	struct constants c;
	int ret;

	weir_load_setup();
	ret = open_form[as_tc ? WEIR_HOOK_TC : h](o, &c);
	if (ret)
		return weir_load_explain(err, ret, "open the filter");
	set_constants(f, g, &c);
	if (as_tc)
		((struct filter_tc_bpf *)o->skel)->rodata->weir_filter_ip_only = 1;
	ret = share_maps(f, g, o->obj);
	if (ret)
		return weir_load_explain(err, ret, "share the filter's maps");
	if (h == WEIR_HOOK_XDP)
		ret = weir_gate_bind(gate, o->obj, -1, err);
	if (!ret)
		ret = weir_load_policy(o->obj, g->code[h].insns, g->code[h].n, err);
	if (ret)
		return ret;
	o->prog_fd = bpf_program__fd(c.prog);
	if (g->generation_fd < 0)
		g->generation_fd = bpf_object__find_map_fd_by_name(o->obj, "weir_generation");
	ret = fill_limits(&g->code[h], o->obj);
	return ret ? weir_load_explain(err, ret, "write the limits") : 0;
}

int weir_generation_load(struct weir_filter *f, struct weir_generation *g, struct weir_gate *gate,
			 struct weir_error *err)
{
	int ret = 0;

	for (int h = 0; !ret && h < WEIR_HOOKS; h++)
		if (g->want & 1U << h)
			ret = load_hook(f, g, h, gate, err);
	return ret;
}

/* ---- Its maps and pins */

int weir_generation_set_back(struct weir_filter *f, const struct weir_generation *g,
			     uint32_t number, struct weir_error *err)
{
	int ret = 0;

	for (int h = 0; !ret && h < WEIR_HOOKS; h++) {
		char name[WEIR_PIN_NAME_MAX];
		weir_autoclose int prog_fd = -1;
		uint32_t zero = 0;
		int back_fd;

		if (!g->hook[h].obj)
			continue;
		back_fd = bpf_object__find_map_fd_by_name(g->hook[h].obj, "weir_back");
		/* Pinned also where it stays empty: there the filter was not. */
		snprintf(name, sizeof(name), "g%u_back_%s", g->number, weir_hook_pins[h]);
		ret = weir_pin_put(&f->dir, name, back_fd, err);
		if (ret)
			break;
		prog_fd =
			weir_pin_get(&f->dir, weir_pin_generation(name, number, weir_hook_pins[h]));
		if (prog_fd >= 0 && bpf_map_update_elem(back_fd, &zero, &prog_fd, BPF_ANY))
			ret = weir_load_explain(err, -errno, "keep the way back");
	}
	return ret;
}

int weir_generation_set_deadline(int generation_fd, uint32_t number, uint64_t deadline,
				 struct weir_error *err)
{
	const struct weir_filter_generation v = { .deadline = deadline, .number = number };
	uint32_t zero = 0;

	if (generation_fd >= 0 && bpf_map_update_elem(generation_fd, &zero, &v, BPF_ANY))
		return weir_load_explain(err, -errno, "write the deadline");
	return 0;
}

int weir_generation_pin(struct weir_filter *f, const struct weir_generation *g,
			struct weir_error *err)
{
	char name[WEIR_PIN_NAME_MAX];
	int ret = weir_text_put(f, g->number, g->policy, err);

	if (!ret && g->generation_fd >= 0)
		ret = weir_pin_put(&f->dir, weir_pin_generation(name, g->number, "generation"),
				   g->generation_fd, err);
	for (int h = 0; !ret && h < WEIR_HOOKS; h++)
		if (g->hook[h].prog_fd >= 0)
			ret = weir_pin_put(&f->dir,
					   weir_pin_generation(name, g->number, weir_hook_pins[h]),
					   g->hook[h].prog_fd, err);
	return ret;
}
