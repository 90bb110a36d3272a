/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of weir is loaded in this kernel right now, also what is not pinned:
 * the programs whose names begin with "weir_", where they are attached, and
 * which processes hold them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define WEIR_PROG_PREFIX "weir_"
#define WEIR_PROG_OWNERS 8
#define WEIR_PROG_MAPS 64

struct weir_prog_owner {
	uint32_t pid;
	char comm[16];
	bool same_netns; /* as the caller: interface numbers mean the same */
};

struct weir_prog {
	uint32_t id;
	char name[16];
	const char *type;  /* "xdp", "tc", ... as bpftool names them */
	uint64_t loaded;   /* ns since the epoch */
	/* "tcx ingress on eth0, tcx ingress on eth1", or "" where no link says it */
	char attached[128];
	bool is_attached; /* at an interface that is there */
	/* Processes with a descriptor of the program, of its link, or (where
	 * there is none of those) of one of its maps. */
	struct weir_prog_owner owners[WEIR_PROG_OWNERS];
	unsigned int n_owners;
	uint32_t map_ids[WEIR_PROG_MAPS];
	unsigned int n_maps;
};

/* All of them, by id; free(*ret). Needs CAP_SYS_ADMIN: -EPERM without it.
 * Owners need CAP_SYS_PTRACE; without it only the caller's own are found. */
int weir_progs_list(struct weir_prog **ret, size_t *ret_n, struct weir_error *err);
