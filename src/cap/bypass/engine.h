/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules in force. Each has a link on its cgroup and maps, pinned under its name; no
 * process is needed. A rule is put, replaced and removed in one step; what a command that
 * was killed left is swept by the next one.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "cap/bypass/bypass.h"
#include "cap/bypass/road.h"
#include "dataplane/pin.h"
#include "match/match.h"

#define WEIR_BYPASS_RULES_MAX 64

/* The pinned rules of this network namespace; holds their lock. -ENOENT without @create
 * where nothing is. */
int weir_bypass_open(struct weir_pin_dir *d, bool create, struct weir_error *err);

/* The names of those in force, sorted. Returns how many, or a negative errno. */
int weir_bypass_names(const struct weir_pin_dir *d,
		      char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX],
		      struct weir_error *err);

/* One rule's maps, to be closed. */
struct weir_bypass_view {
	int link_fd, rule_fd, conns_fd, socks_fd;
};
int weir_bypass_view_open(const struct weir_pin_dir *d, const char *name,
			  struct weir_bypass_view *v, struct weir_error *err);
void weir_bypass_view_close(struct weir_bypass_view *v);
/* Count what has ended unseen (its cgroup was removed, or another's program switched the
 * callbacks of its sockets off), and forget it. */
void weir_bypass_view_sweep(const struct weir_bypass_view *v);

/* Pin what has been opened, in place of a rule of that name. */
int weir_bypass_put(const struct weir_pin_dir *d, const char *name, struct weir_bypass_road *r,
		    struct weir_error *err);
/* Remove one rule: its connections go on by TCP. */
int weir_bypass_remove(const struct weir_pin_dir *d, const char *name, struct weir_error *err);

/* What the check said of the programs of this very version, in this boot. -ENOENT: nothing. */
int weir_bypass_checked_get(const struct weir_pin_dir *d, struct weir_bypass_checked *ret);
int weir_bypass_checked_put(const struct weir_pin_dir *d, struct weir_bypass_checked *c,
			    struct weir_error *err);

int weir_bypass_check_name(const char *name, struct weir_error *err);
