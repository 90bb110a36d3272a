/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the command `weir bypass` share. An action returns an exit status, or
 * a negative errno with a message; it then exits as `status` says.
 */
#pragma once

#include <stdbool.h>

#include "base/opt.h"
#include "base/verb.h"
#include "match/conn.h"

struct weir_bypass_action;

struct weir_bypass_cmd {
	struct weir_conn_spec match;
	const char *cgroup;
	bool force, json, prometheus;

	const struct weir_bypass_action *action;
	struct weir_strv words; /* behind the action */
	int status;		/* of a failure */
};

struct weir_bypass_action {
	const char *name;
	const char *words; /* its synopsis, for messages */
	const char *takes; /* the long names of its options, each between blanks */
	unsigned int min_words, max_words;
	int (*run)(struct weir_bypass_cmd *c, struct weir_error *err);
};

int weir_bypass_do_check(struct weir_bypass_cmd *c, struct weir_error *err);
int weir_bypass_do_bench(struct weir_bypass_cmd *c, struct weir_error *err);
int weir_bypass_do_on(struct weir_bypass_cmd *c, struct weir_error *err);
int weir_bypass_do_off(struct weir_bypass_cmd *c, struct weir_error *err);
int weir_bypass_do_list(struct weir_bypass_cmd *c, struct weir_error *err);
