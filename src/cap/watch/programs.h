/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of watch.bpf.c, configured for one run and loaded. The only
 * user of their skeleton.
 */
#pragma once

#include <stdint.h>

#include "cap/watch/session.h"
#include "dataplane/gate.h"

struct weir_programs;

enum weir_program {
	WEIR_PROGRAM_IN,
	WEIR_PROGRAM_OUT,
	WEIR_PROGRAM_TAP,
	WEIR_PROGRAM_XDP,
	WEIR_PROGRAM_TAKE,
};
enum weir_program_map {
	WEIR_MAP_RINGS,
	WEIR_MAP_PERF,
	WEIR_MAP_FLOWS,
	WEIR_MAP_COUNTERS,
	WEIR_MAP_XSKS,
	WEIR_MAP_FOLLOWED,
	WEIR_MAP_STATS,
	WEIR_MAP_ALERTS,
};

/* Load what w->hook and w->mode need, with the match compiled in. @gate (XDP and
 * AF_XDP only, else NULL): the gate and the slot of it that the stage will take.
 * @first: share this one's maps, or NULL. */
int weir_programs_load(struct weir_watch *w, struct weir_gate *gate, int guest,
		       const struct weir_programs *first, struct weir_programs **ret,
		       struct weir_error *err);
void weir_programs_free(struct weir_programs *p);
int weir_programs_fd(const struct weir_programs *p, enum weir_program which);
int weir_programs_map(const struct weir_programs *p, enum weir_program_map which);
/* Where interface @slot is looked at, or that it is gone; with more slots than a few. */
int weir_programs_place(const struct weir_programs *p, const struct weir_watch *w,
			unsigned int slot);
/* One flow table of @entries flows, described by BTF. A descriptor or -errno. */
int weir_programs_flow_table(const struct weir_programs *p, uint32_t entries);
/* The counters of interface @slot, summed over CPUs. */
void weir_programs_counters(const struct weir_programs *p, unsigned int slot,
			    struct weir_watch_counters *ret);
/* Add the kernel's statistics, summed over CPUs, to @sum. */
void weir_programs_stats(const struct weir_programs *p, struct weir_watch_stats *sum);
/* The kernel's counts of the rules of --alert, summed over CPUs. */
void weir_programs_alerts(const struct weir_programs *p, struct weir_watch_alerts *ret);

/* The same of the packets of the followed flow. */
void weir_programs_follow_counters(const struct weir_programs *p, struct weir_watch_counters *ret);

/* Make @prog_fd the filter of packet socket @fd. */
int weir_attach_filter(int fd, int prog_fd, struct weir_error *err);
/* Packet socket @fd sees no packets that go out. */
void weir_ignore_outgoing(int fd);
