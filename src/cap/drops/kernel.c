/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/kernel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/drops/table.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"

#include "drops.skel.h"

/* What the tracepoint tells: a pointer of its own, then packet, place and reason. */
#define PARAMS_WITH_REASON 4
#define PARAMS_WITH_SOCKET 5

enum link {
	LINK_FREED,
	LINK_XDP_BAD,
	LINK_XDP_LOST,
	LINKS,
};

struct weir_drops_kernel {
	struct drops_bpf *skel;
	struct bpf_link *link[LINKS];
	struct weir_ring *ring;
};

/* How many parameters the tracepoint @name has in the running kernel; 0: there is none. */
static unsigned int params_of(const struct btf *btf, const char *name)
{
	int id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF) : -1;
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	if (t)
		t = btf__type_by_id(btf, t->type);
	if (t && btf_is_ptr(t))
		t = btf__type_by_id(btf, t->type);
	return t && btf_is_func_proto(t) ? btf_vlen(t) : 0;
}

static int check_kernel(struct drops_bpf *s, uint8_t *ret_socket, struct weir_error *err)
{
	struct btf *btf = btf__load_vmlinux_btf();
	unsigned int params;

	if (!btf)
		return weir_fail(err, -ENOENT,
				 "this kernel has no BTF: boot one that is built with "
				 "CONFIG_DEBUG_INFO_BTF");
	params = params_of(btf, "btf_trace_kfree_skb");
	bpf_program__set_autoload(s->progs.weir_drops_xdp_bad,
				  params_of(btf, "btf_trace_xdp_exception") > 0);
	bpf_program__set_autoload(s->progs.weir_drops_xdp_lost,
				  params_of(btf, "btf_trace_xdp_redirect_err") > 0);
	btf__free(btf);
	if (params < PARAMS_WITH_REASON)
		return weir_fail(err, -EOPNOTSUPP,
				 "this kernel does not tell why it drops packets: "
				 "use 5.17 or later");
	*ret_socket = params >= PARAMS_WITH_SOCKET;
	return 0;
}

static int attach(struct weir_drops_kernel *k, struct weir_error *err)
{
	struct bpf_program *progs[LINKS] = {
		[LINK_FREED] = k->skel->progs.weir_drops_freed,
		[LINK_XDP_BAD] = k->skel->progs.weir_drops_xdp_bad,
		[LINK_XDP_LOST] = k->skel->progs.weir_drops_xdp_lost,
	};

	for (int i = 0; i < LINKS; i++) {
		if (!bpf_program__autoload(progs[i]))
			continue;
		k->link[i] = bpf_program__attach_trace(progs[i]);
		if (!k->link[i])
			return weir_load_explain(err, -errno, "attach to the tracepoint of drops");
	}
	return 0;
}

static int load(struct weir_drops_kernel *k, const struct weir_drops_ask *ask,
		struct weir_error *err)
{
	struct weir_drops_config cfg = {
		.netns = ask->netns,
		.ifindex = ask->ifindex,
		.match_kind = weir_load_match_kind(ask->match),
		.flows = ask->flows,
		.events = ask->ring > 0,
	};
	struct drops_bpf *s;
	int ret;

	weir_load_setup();
	s = k->skel = drops_bpf__open();
	if (!s)
		return weir_load_explain(err, -errno, "open the programs");
	ret = check_kernel(s, &cfg.socket, err);
	if (ret)
		return ret;
	memcpy((void *)&s->rodata->cfg, &cfg, sizeof(cfg));
	/* The programs name the tables even where they do not use them. */
	if (!ask->flows)
		bpf_map__set_max_entries(s->maps.weir_drops_flows, 1);
	bpf_map__set_max_entries(s->maps.weir_drops_rings, (uint32_t)weir_sys_cpus());
	ret = weir_load(s->obj, ask->match, err);
	if (ret || !ask->ring)
		return ret;
	return weir_ring_open(&k->ring, WEIR_TRANSPORT_RING, bpf_map__fd(s->maps.weir_drops_rings),
			      ask->ring, ask->on_event, ask->arg, err);
}

int weir_drops_kernel_open(struct weir_drops_kernel **ret, const struct weir_drops_ask *ask,
			   struct weir_error *err)
{
	struct weir_drops_kernel *k = calloc(1, sizeof(*k));
	int code;

	if (!k)
		return weir_fail(err, -ENOMEM, "out of memory");
	code = load(k, ask, err);
	if (!code)
		code = attach(k, err);
	if (code) {
		weir_drops_kernel_close(k);
		return code;
	}
	*ret = k;
	return 0;
}

void weir_drops_kernel_detach(struct weir_drops_kernel *k)
{
	for (int i = 0; i < LINKS; i++)
		bpf_link__destroy(WEIR_TAKE_PTR(k->link[i]));
}

void weir_drops_kernel_close(struct weir_drops_kernel *k)
{
	if (!k)
		return;
	weir_drops_kernel_detach(k);
	weir_ring_close(k->ring);
	drops_bpf__destroy(k->skel);
	free(k);
}

bool weir_drops_kernel_has_xdp(const struct weir_drops_kernel *k)
{
	return bpf_program__autoload(k->skel->progs.weir_drops_xdp_bad) &&
	       bpf_program__autoload(k->skel->progs.weir_drops_xdp_lost);
}

struct weir_ring *weir_drops_kernel_ring(const struct weir_drops_kernel *k)
{
	return k->ring;
}

int weir_drops_kernel_rows(const struct weir_drops_kernel *k, struct weir_drops_row_count **ret)
{
	return weir_drops_table(bpf_map__fd(k->skel->maps.weir_drops_rows),
				sizeof(struct weir_drops_key), sizeof(struct weir_drops_val),
				(uint32_t)weir_sys_cpus(), ret);
}

int weir_drops_kernel_flows(const struct weir_drops_kernel *k, struct weir_drops_flow_count **ret)
{
	return weir_drops_table(bpf_map__fd(k->skel->maps.weir_drops_flows),
				sizeof(struct weir_drops_flow), sizeof(struct weir_drops_val), 1,
				ret);
}

int weir_drops_kernel_xdp(const struct weir_drops_kernel *k, struct weir_drops_xdp_count **ret)
{
	return weir_drops_table(bpf_map__fd(k->skel->maps.weir_drops_xdp),
				sizeof(struct weir_drops_xdp_key), sizeof(uint64_t), 1, ret);
}

/* How often the kernel left @prog out since it ran already on that CPU. */
static uint64_t missed(const struct bpf_program *prog)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) ? 0 :
									    info.recursion_misses;
}

void weir_drops_kernel_counters(const struct weir_drops_kernel *k, struct weir_drops_counters *ret,
				uint64_t *ret_missed)
{
	size_t cpus = (size_t)weir_sys_cpus(), words = sizeof(*ret) / sizeof(uint64_t);
	weir_autofree struct weir_drops_counters *v = calloc(cpus, sizeof(*v));
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	*ret_missed = missed(k->skel->progs.weir_drops_freed);
	if (!v || bpf_map_lookup_elem(bpf_map__fd(k->skel->maps.weir_drops_counters), &zero, v))
		return;
	for (size_t cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < words; i++)
			((uint64_t *)ret)[i] += ((uint64_t *)&v[cpu])[i];
}
