/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the command `weir tcp tune` share. An action returns an exit status, or
 * a negative errno with a message; it then exits as `status` says.
 */
#pragma once

#include <stdbool.h>

#include "base/action.h"
#include "base/buf.h"
#include "base/opt.h"
#include "base/verb.h"
#include "cap/tcp/tune_engine.h"

#define WEIR_TUNE_CONF_DIR "/etc/weir"
#define WEIR_TUNE_CONF WEIR_TUNE_CONF_DIR "/tcp-tune.conf"

struct weir_tune_action;

struct weir_tune_cmd {
	struct weir_tune_words rule;
	bool boot, json, prometheus;

	const struct weir_tune_action *action;
	struct weir_strv words; /* behind the action */
	int status;		/* of a failure */
};

struct weir_tune_action {
	struct weir_action a;
	int (*run)(struct weir_tune_cmd *c, struct weir_error *err);
};

/* Say that what failed was the user's word; returns @code. */
int weir_tune_cmd_usage(struct weir_tune_cmd *c, int code);
/* "weir tcp tune: ..." on standard error: what a command did, or what is left to do. */
void weir_tune_cmd_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* tune_edit.c */
int weir_tune_do_add(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_del(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_clear(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_apply(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_show(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_save(struct weir_tune_cmd *c, struct weir_error *err);
/* tune_list.c */
int weir_tune_do_list(struct weir_tune_cmd *c, struct weir_error *err);
int weir_tune_do_failures(struct weir_tune_cmd *c, struct weir_error *err);
/* tune_prom.c; @t NULL: nothing is tuned. */
void weir_tune_prometheus(const struct weir_tune *t, struct weir_buf *out);
