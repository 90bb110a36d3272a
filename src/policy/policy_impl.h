/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of policy.h share. */
#pragma once

#include "bpf/policy_stub.h"
#include "policy/policy.h"
#include "policy/words.h"

struct weir_opt;

/* ---- Names and words */

extern const char *const weir_policy_actions[];	   /* enum weir_policy_action */
extern const char *const weir_policy_directions[]; /* enum weir_policy_dir; NULL-terminated */
extern const char *const weir_policy_modes[];	   /* enum weir_xdp_mode; likewise */

#define WEIR_POLICY_OWNER "filter"

bool weir_policy_is_set_name(const char *name);
bool weir_policy_is_iface_name(const char *name);
/* The name in @names (@n, @size bytes apart) nearest to @word, or NULL. */
const char *weir_policy_nearest(const char *names, size_t n, size_t size, const char *word);

/* ---- Rules (policy_rule.c) */

/* As weir_policy_parse_rule(), with the options that @flags allow, and with the name
 * that stood before the words, or NULL. */
int weir_policy_rule_words(int argc, const char *const *argv, const char *name, unsigned int flags,
			   struct weir_policy_rule *ret, struct weir_error *err);
/* The name made of the words of @r; with -2, -3 ... behind it where that is taken. */
void weir_policy_rule_make_name(const struct weir_policy_rule *r, char ret[WEIR_RULE_NAME_MAX]);
/* What a --burst that is not given is. */
uint64_t weir_policy_default_burst(uint64_t rate, bool bits);
int weir_policy_rule_copy(const struct weir_policy_rule *r, struct weir_policy_rule *ret);

/* ---- Lines (policy_print.c), without the newline */

void weir_policy_print_iface(const struct weir_policy_iface *i, unsigned int flags,
			     struct weir_buf *out);
void weir_policy_print_set(const struct weir_policy_set *s, unsigned int flags,
			   struct weir_buf *out);
/* With the name in front where its words don't make it. */
void weir_policy_print_named_rule(const struct weir_policy_rule *r, unsigned int flags,
				  uint64_t now, struct weir_buf *out);
