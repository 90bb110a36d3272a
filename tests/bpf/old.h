/* SPDX-License-Identifier: GPL-2.0-only */
/* A gate that another build left (old.bpf.c). */
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "dataplane/gate.h"
#include "dataplane/load.h"
#include "harness.h"
#include "old.skel.h"

static inline int meta_of_gate(int prog_fd)
{
	uint32_t ids[32], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .map_ids = (uintptr_t)ids, .nr_map_ids = 32 };

	CHECK(!bpf_obj_get_info_by_fd(prog_fd, &info, &len), "info: %s", strerror(errno));
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map = { 0 };

		len = sizeof(map);
		CHECK(!bpf_obj_get_info_by_fd(fd, &map, &len), "info: %s", strerror(errno));
		if (!strcmp(map.name, "weir_gate_meta"))
			return fd;
		close(fd);
	}
	test_end(1, "the gate has no meta map");
}

/* Make the gate of @ifname, which is there, one of another build. */
static inline struct old_bpf *make_gate_old(const char *ifname)
{
	struct old_bpf *old = old_bpf__open();
	struct weir_error err = { 0 };
	struct weir_gate_meta meta;
	weir_autoclose int meta_fd = -1;
	uint32_t zero = 0;
	struct weir_gate g;

	CHECK(old, "open: %s", strerror(errno));
	CHECK_OK(weir_gate_open(&g, ifname, WEIR_XDP_AUTO, &err));
	CHECK(g.joined, "no gate on %s", ifname);
	CHECK_OK(weir_gate_bind(&g, old->obj, -1, &err));
	CHECK_OK(weir_load(old->obj, NULL, &err));
	meta_fd = meta_of_gate(g.prog_fd);
	CHECK(!bpf_map_lookup_elem(meta_fd, &zero, &meta) &&
		      !bpf_map_update_elem(bpf_map__fd(old->maps.weir_gate_meta), &zero, &meta, 0),
	      "meta: %s", strerror(errno));
	CHECK(!bpf_prog_bind_map(bpf_program__fd(old->progs.weir_gate),
				 bpf_map__fd(old->maps.weir_gate_meta), NULL) &&
		      !bpf_link_update(g.link_fd, bpf_program__fd(old->progs.weir_gate), NULL),
	      "exchange: %s", strerror(errno));
	weir_gate_close(&g);
	return old;
}
