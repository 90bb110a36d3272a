/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs of a rule, loaded and attached; not yet pinned. */
#pragma once

#include "base/error.h"
#include "cap/bypass/bypass.h"
#include "match/match.h"

struct bypass_bpf;

struct weir_bypass_road {
	struct bypass_bpf *skel;
	int link_fd;					    /* on the cgroup */
	int rule_fd, conns_fd, ended_fd, socks_fd, stop_fd; /* the skeleton's */
};

/* @match NULL: every connection. */
int weir_bypass_road_open(struct weir_bypass_road *r, const struct weir_match *match, int cgroup_fd,
			  const struct weir_bypass_rule *rule, struct weir_error *err);
void weir_bypass_road_close(struct weir_bypass_road *r);

/* What a rule's maps say: its counters, and both ways of all its connections with those
 * that have ended. */
struct weir_bypass_sums {
	struct weir_bypass_rule rule;
	struct weir_bypass_sum way[WEIR_BYPASS_SIDES];
	__u64 live;
};
int weir_bypass_sums(int rule_fd, int conns_fd, struct weir_bypass_sums *ret);
