/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of `weir filter` share: the options, the actions, and the way
 * of a change.
 *
 * An action returns an exit status, or a negative errno with a message; it then
 * exits as `status` says: failed, or wrong usage (weir_filter_cmd_usage()).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/action.h"
#include "base/opt.h"
#include "base/verb.h"
#include "bpf/policy_stub.h"
#include "dataplane/craft.h"
#include "dataplane/set.h"
#include "policy/engine.h"
#include "policy/policy.h"

#define WEIR_FILTER_CONF_DIR "/etc/weir"
#define WEIR_FILTER_CONF WEIR_FILTER_CONF_DIR "/filter.conf"

struct weir_filter_action;

struct weir_filter_cmd {
	/* Of a match and a rule: weir_policy_parse_rule() reads the words. */
	const char *protocol, *src_ip, *dst_ip, *src_port, *dst_port;
	const char *iface;
	int direction; /* of `directions` in cmd.c; -1 = not given, as for all choices */
	const char *name, *before, *ttl, *note, *rate, *burst, *per;
	/* Of an interface. */
	int mode, preset, hook, fragments, malformed;
	/* Of a change. */
	const char *confirm;
	bool force;
	/* Of what is shown or saved. */
	bool boot, json, prometheus, once;
	uint64_t for_ns;
	struct weir_craft_opts craft;

	/* Made of them: */
	const struct weir_filter_action *action;
	struct weir_strv words; /* behind the action */
	uint64_t confirm_ns;
	int status; /* of a failure */
};

struct weir_filter_action {
	struct weir_action a;
	int (*run)(struct weir_filter_cmd *c, struct weir_error *err);
};

extern const char *const weir_filter_defaults[];   /* by struct weir_filter_row.drop */
extern const char *const weir_filter_directions[]; /* "in", "out"; "inout" of rules */

/* Say that what failed was the user's word; returns @code. */
int weir_filter_cmd_usage(struct weir_filter_cmd *c, int code);
/* "weir filter: ..." on standard error: what a command did. */
void weir_filter_cmd_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The words of the rule that @c describes, for weir_policy_parse_rule(): the action,
 * its options, its expression. They live in @text. */
int weir_filter_cmd_rule_words(const struct weir_filter_cmd *c, struct weir_strv *ret,
			       struct weir_buf *text);

/* Open what is there. 1: nothing is, which is no error (@create: never). */
int weir_filter_cmd_open(struct weir_filter *f, bool create, struct weir_error *err);

/* A change: begin copies the policy in force; the action changes the copy; commit
 * puts it in force and tells what the engine has to tell; end gives all back. */
struct weir_filter_edit {
	struct weir_filter f;
	struct weir_policy *policy;
	struct weir_set sets[WEIR_POLICY_SETS_MAX]; /* loaded anew, by position in policy */
	bool sets_new[WEIR_POLICY_SETS_MAX];
};
/* Without @create -ENOENT where nothing is filtered. */
int weir_filter_edit_begin(struct weir_filter_edit *e, bool create, struct weir_error *err);
void weir_filter_edit_end(struct weir_filter_edit *e);
/* @done: what was done, one line for people; NULL: they are told otherwise. */
int weir_filter_edit_commit(struct weir_filter_cmd *c, struct weir_filter_edit *e, const char *done,
			    struct weir_error *err);
/* What the engine has to tell, line by line. */
void weir_filter_report_tell(const struct weir_filter_report *report);
/* Make set @name of @v, and of the policy if it is not yet. */
int weir_filter_edit_load(struct weir_filter_edit *e, const char *name, const struct weir_prefix *v,
			  size_t n, struct weir_policy_set **ret, struct weir_error *err);

/* -EBUSY: the set is another verb's. */
int weir_filter_check_set(const struct weir_policy_set *set, struct weir_error *err);

/* "1 interface, 0 sets, 3 rules", of the user's */
void weir_filter_add_counts(const struct weir_policy *p, struct weir_buf *out);

/* Prefixes as a list: as a set was given them, and sorted, each once. */
struct weir_filter_prefixes {
	struct weir_prefix *v;
	size_t n, room;
};
void weir_filter_prefixes_free(struct weir_filter_prefixes *p);
int weir_filter_prefixes_of(struct weir_set *s, struct weir_filter_prefixes *ret);
void weir_filter_prefixes_sort(struct weir_filter_prefixes *p);
/* How many of @a, sorted, are not in @b, sorted. */
size_t weir_filter_prefixes_missing(const struct weir_filter_prefixes *a,
				    const struct weir_filter_prefixes *b);

/* actions.c */
int weir_filter_do_on(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_off(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_rule(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_del(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_confirm(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_reattach(struct weir_filter_cmd *c, struct weir_error *err);
/* file.c */
int weir_filter_do_apply(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_show(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_diff(struct weir_filter_cmd *c, struct weir_error *err);
/* save.c */
int weir_filter_do_save(struct weir_filter_cmd *c, struct weir_error *err);
/* sets.c */
int weir_filter_do_set(struct weir_filter_cmd *c, struct weir_error *err);
/* Shared by list.c and drops.c */
extern const char *const weir_filter_actions[]; /* by enum weir_policy_action */
struct weir_table;
struct weir_json;
void weir_filter_table_add_grouped(struct weir_table *t, uint64_t v);
uint64_t weir_filter_dropped(const struct weir_filter_account *a);
/* What @r counted, so far; nothing where it has no id yet. */
struct weir_rule_hits weir_filter_hits(const struct weir_filter *f,
				       const struct weir_policy_rule *r);
/* Begins an object with an interface and its account; the caller ends it. */
void weir_filter_json_account(struct weir_json *j, const struct weir_policy_iface *i,
			      const struct weir_filter_account *a);

/* As metrics; @f NULL: nothing is filtered. */
void weir_filter_prometheus(struct weir_filter *f, struct weir_buf *out);

/* test.c, for explain.c too: a rule by its id, or NULL; and why, where no rule says it. */
const struct weir_policy_rule *weir_filter_rule_of(const struct weir_policy *p, uint32_t id);
const char *weir_filter_verdict_why(const struct weir_filter_verdict *v, bool has_rule);

/* list.c, drops.c, test.c */
int weir_filter_do_list(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_drops(struct weir_filter_cmd *c, struct weir_error *err);
int weir_filter_do_test(struct weir_filter_cmd *c, struct weir_error *err);
