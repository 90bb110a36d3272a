/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is in force, and how it changes.
 *
 * Pinned are the maps that outlive a change, a link for each cgroup that rules are on, and of
 * each generation its text, under one of two letters. Which letter counts stands in the map
 * `current`: a change builds the other one whole, and then that one word is stored. What a
 * killed command left of it is written over.
 *
 * Switching the links' programs (BPF_LINK_UPDATE) would be one step for one cgroup, but not for
 * several: a command that is killed between two would leave half of each.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/tcp/tune_abi.h"
#include "cap/tcp/tune_conf.h"
#include "dataplane/pin.h"
#include "dataplane/rules.h"

/* The maps of tune_maps.bpf.h. */
enum weir_tune_map {
	WEIR_TUNE_CURRENT,
	WEIR_TUNE_PROGRAM_MAP,
	WEIR_TUNE_COUNT_MAP,
	WEIR_TUNE_FAILURE_MAP,
	WEIR_TUNE_TOTAL,
	WEIR_TUNE_MARKS,
	WEIR_TUNE_MAPS
};

struct weir_tune {
	struct weir_pin_dir dir;
	struct weir_rules rules;
	int map[WEIR_TUNE_MAPS];
	uint32_t letter; /* of the generation in force; 0 = none */
	struct weir_tune_conf conf;
};

/* Open what is there, and hold its lock. -ENOENT without @create where nothing is. */
int weir_tune_open(struct weir_tune *t, bool create, struct weir_error *err);
void weir_tune_close(struct weir_tune *t);
/* Put @next in force, whole or not at all; it is taken over. Rules on a cgroup that is
 * gone wait for the next change. */
int weir_tune_commit(struct weir_tune *t, struct weir_tune_conf *next, struct weir_error *err);
/* Remove everything. */
int weir_tune_clear(struct weir_tune *t, struct weir_error *err);

/* What rule @id counted, over all CPUs. */
int weir_tune_counts_of(const struct weir_tune *t, uint32_t id, struct weir_tune_counts *ret);
/* How many failures there have been; the last ones, in order, in @ret. Returns how many
 * those are. */
size_t weir_tune_failures_of(const struct weir_tune *t,
			     struct weir_tune_failure ret[WEIR_TUNE_FAILURES], uint64_t *ret_total);
/* Is the rule's cgroup there, as it was when the rules were put in force? */
bool weir_tune_is_attached(const struct weir_tune *t, const struct weir_tune_spec *r);

/* tune_load.c */
/* New maps, or a gate for the cgroup in @slot that uses those of @t. *ret_prog (may be NULL)
 * is the gate's program. */
int weir_tune_gate_load(struct weir_tune *t, uint32_t slot, int *ret_prog, struct weir_error *err);
/* A program with @n rules, put in the map of programs at @key. */
int weir_tune_program_load(struct weir_tune *t, const struct weir_tune_spec *const *rules, size_t n,
			   bool several, uint32_t key, struct weir_error *err);
/* Would the kernel set what @r sets? -EINVAL names the option that it would not. What it
 * limits is in @notes, a line each. */
int weir_tune_try(const struct weir_tune_spec *r, struct weir_buf *notes, struct weir_error *err);
/* The kernel's text of the rules as a map; and back. */
int weir_tune_text_write(const struct weir_tune_conf *c, struct weir_error *err);
int weir_tune_text_read(int fd, struct weir_tune_conf *ret, struct weir_error *err);
