/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of `weir tcp tune` as data: from words and files, and back into text.
 *
 *	[NAME:] MATCH --congestion C ... [--cgroup PATH] [--all-netns]
 *
 * The kernel keeps the same text, with ids and the cgroups' slots in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "bpf/store.h"
#include "cap/tcp/tune_abi.h"
#include "dataplane/cgroup.h"
#include "match/conn.h"

#define WEIR_TUNE_OWNER "tune"
#define WEIR_TUNE_TEXT_MAX (1U << 20)

/* Flag of parsing and printing. */
#define WEIR_TUNE_KERNEL (1U << 0) /* the kernel's text */

/* What a rule is made of. NULL = not given. */
struct weir_tune_words {
	struct weir_conn_spec match;
	const char *set[WEIR_TUNE_OPTS];
	const char *cgroup, *id;
	bool all_netns;
};

#define WEIR_TUNE_MATCH_WORDS 10 /* the strings of a struct weir_conn_spec */

struct weir_tune_spec {
	char name[WEIR_RULE_NAME_MAX]; /* never empty: made of its words where not given */
	bool named, all_netns;
	char cgroup[WEIR_CGROUP_PATH_MAX]; /* empty: the root */
	char *words[WEIR_TUNE_MATCH_WORDS];
	struct weir_match *match;
	struct weir_tune_rule set; /* with the id; 0 = none yet */
};

/* A cgroup that rules are on, in the kernel's text. */
struct weir_tune_cgroup {
	char path[WEIR_CGROUP_PATH_MAX];
	uint64_t id;
	uint32_t slot;
};

struct weir_tune_conf {
	struct weir_tune_spec *rules;
	size_t n, room;
	struct weir_tune_cgroup cgroups[WEIR_TUNE_CGROUPS_MAX];
	size_t n_cgroups;
};

/* How an option is written. */
enum weir_tune_kind {
	WEIR_TUNE_SIZE,
	WEIR_TUNE_COUNT,
	WEIR_TUNE_US, /* a time, of which the kernel takes microseconds ... */
	WEIR_TUNE_MS,
	WEIR_TUNE_S,
	WEIR_TUNE_SWITCH, /* on or off */
	WEIR_TUNE_WORD,
};
struct weir_tune_info {
	const char *name;
	enum weir_tune_kind kind;
	uint32_t min, max;
};
extern const struct weir_tune_info weir_tune_info[WEIR_TUNE_OPTS];

void weir_tune_spec_free(struct weir_tune_spec *r);
void weir_tune_conf_free(struct weir_tune_conf *c);
#define weir_auto_tune_conf __attribute__((cleanup(weir_tune_conf_free))) struct weir_tune_conf

/* A rule of words; @name may be NULL. -EINVAL names the word. */
int weir_tune_spec_make(const struct weir_tune_words *w, const char *name,
			struct weir_tune_spec *ret, struct weir_error *err);
/* Takes @r, and frees it on failure. A name that is there is replaced, in its place, where
 * @replace, else an error. */
int weir_tune_conf_add(struct weir_tune_conf *c, struct weir_tune_spec *r, bool replace,
		       struct weir_error *err);
int weir_tune_conf_del(struct weir_tune_conf *c, const char *name, struct weir_error *err);
struct weir_tune_spec *weir_tune_conf_rule(const struct weir_tune_conf *c, const char *name);

/* @source names the text in messages, "FILE:LINE: ...". *ret is set on success. */
int weir_tune_parse(const char *text, size_t len, const char *source, unsigned int flags,
		    struct weir_tune_conf *ret, struct weir_error *err);
int weir_tune_read(const char *path, struct weir_tune_conf *ret, struct weir_error *err);
void weir_tune_print(const struct weir_tune_conf *c, unsigned int flags, struct weir_buf *out);
/* MATCH alone; what it sets, as "--rcvbuf 65536 ..."; all the words behind the name. */
void weir_tune_print_match(const struct weir_tune_spec *r, struct weir_buf *out);
void weir_tune_print_set(const struct weir_tune_spec *r, struct weir_buf *out);
void weir_tune_print_rule(const struct weir_tune_spec *r, unsigned int flags, struct weir_buf *out);
/* The value alone. */
void weir_tune_print_value(const struct weir_tune_spec *r, enum weir_tune_opt opt,
			   struct weir_buf *out);
