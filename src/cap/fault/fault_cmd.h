/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the command `weir fault` share. An action returns an exit status, or a
 * negative errno with a message; it then exits as `status` says.
 */
#pragma once

#include <stdbool.h>

#include "base/opt.h"
#include "base/action.h"
#include "base/verb.h"
#include "cap/fault/engine.h"

struct weir_fault_action;

struct weir_fault_cmd {
	struct weir_fault_words rule;
	const char *local_ip, *local_port, *remote_ip, *remote_port;
	bool reset, force, json, prometheus;

	const struct weir_fault_action *action;
	struct weir_strv words; /* behind the action */
	int status;		/* of a failure */
};

struct weir_fault_action {
	struct weir_action a;
	int (*run)(struct weir_fault_cmd *c, struct weir_error *err);
};

/* Say that what failed was the user's word; returns @code. */
int weir_fault_cmd_usage(struct weir_fault_cmd *c, int code);
/* "weir fault: ..." on standard error. */
void weir_fault_cmd_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* edit.c */
int weir_fault_do_add(struct weir_fault_cmd *c, struct weir_error *err);
int weir_fault_do_del(struct weir_fault_cmd *c, struct weir_error *err);
int weir_fault_do_clear(struct weir_fault_cmd *c, struct weir_error *err);
int weir_fault_do_apply(struct weir_fault_cmd *c, struct weir_error *err);
/* save.c */
int weir_fault_do_save(struct weir_fault_cmd *c, struct weir_error *err);
/* list.c */
int weir_fault_do_list(struct weir_fault_cmd *c, struct weir_error *err);
int weir_fault_do_show(struct weir_fault_cmd *c, struct weir_error *err);
int weir_fault_status(struct weir_buf *out, struct weir_json *j, struct weir_error *err);
/* prom.c; @f: NULL where nothing is in force */
void weir_fault_prometheus(const struct weir_fault *f, struct weir_buf *out);
