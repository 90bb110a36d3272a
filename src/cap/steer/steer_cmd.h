/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the command `weir steer` share. An action returns an exit status, or
 * a negative errno with a message; it then exits as `status` says.
 */
#pragma once

#include <stdbool.h>

#include "base/opt.h"
#include "base/action.h"
#include "base/verb.h"
#include "cap/steer/engine.h"
#include "dataplane/craft.h"

#define WEIR_STEER_CONF_DIR "/etc/weir"
#define WEIR_STEER_CONF WEIR_STEER_CONF_DIR "/steer.conf"

struct weir_steer_action;

struct weir_steer_cmd {
	struct weir_steer_words rule;
	bool boot, json, prometheus;
	struct weir_craft_opts craft;

	const struct weir_steer_action *action;
	struct weir_strv words; /* behind the action */
	int status;		/* of a failure */
};

struct weir_steer_action {
	struct weir_action a;
	int (*run)(struct weir_steer_cmd *c, struct weir_error *err);
};

/* Say that what failed was the user's word; returns @code. */
int weir_steer_cmd_usage(struct weir_steer_cmd *c, int code);
/* "weir steer: ..." on standard error: what a command did, or what is left to do. */
void weir_steer_cmd_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A copy of what is in force, to be changed. */
int weir_steer_cmd_copy(const struct weir_steer_conf *c, struct weir_steer_conf *ret,
			struct weir_error *err);
/* Put @change in force, and tell what is left to do. */
int weir_steer_cmd_commit(struct weir_steer *s, const struct weir_steer_change *change,
			  struct weir_error *err);
/* Tell of prefixes of these rules that are not this host's, a few of many. */
void weir_steer_cmd_tell_routes(const struct weir_steer_rule *r, size_t n);

/* edit.c */
int weir_steer_do_add(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_del(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_group(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_register(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_off(struct weir_steer_cmd *c, struct weir_error *err);
/* file.c */
int weir_steer_do_apply(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_show(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_save(struct weir_steer_cmd *c, struct weir_error *err);
/* list.c, prom.c, test.c, who.c */
int weir_steer_do_list(struct weir_steer_cmd *c, struct weir_error *err);
/* What a rule counted, and how many of its sockets are there. */
struct weir_steer_view {
	struct weir_rule_hits hits;
	struct weir_steer_lost lost;
	uint32_t members, present;
	uint64_t last, expires; /* ns since the epoch; 0 = never */
};
struct weir_steer_view weir_steer_view_of(const struct weir_steer *s,
					  const struct weir_steer_rule *r);
/* @s NULL: nothing is steered. */
void weir_steer_prometheus(const struct weir_steer *s, struct weir_buf *out);
int weir_steer_do_test(struct weir_steer_cmd *c, struct weir_error *err);
int weir_steer_do_who(struct weir_steer_cmd *c, struct weir_error *err);
