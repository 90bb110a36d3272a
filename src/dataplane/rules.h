/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rule store: one pinned pair of maps per namespace (directory `rules`)
 * that gives every rule of every verb an id, an owner, its words, and per-CPU
 * hits that outlive a change of policy. Deciders count by id; observers turn an
 * id into "filter/NAME". One owner's change never touches another's rules.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/store.h"

struct weir_rules {
	int rules_fd, names_fd, hits_fd;
	uint32_t max; /* ids of this store: WEIR_RULES_MAX of the version that made it */
};

/* Open this namespace's store; @create makes and pins it. -ENOENT without it. */
int weir_rules_open(struct weir_rules *r, bool create, struct weir_error *err);
void weir_rules_close(struct weir_rules *r);

/* Add; @rule->id is filled in: a rule of the same owner and name keeps its id
 * (and hits). -EEXIST never; -E2BIG when the store is full; -EINVAL for a bad
 * name ([A-Za-z0-9_.:-]+). */
int weir_rules_put(struct weir_rules *r, struct weir_rule *rule, struct weir_error *err);
/* Many at once, under one lock; those before one that fails are stored. */
int weir_rules_put_all(struct weir_rules *r, struct weir_rule *rules, size_t n,
		       struct weir_error *err);
/* -ENOENT: no such name of this owner; another owner's rule is -EPERM. */
int weir_rules_del(struct weir_rules *r, const char *owner, const char *name,
		   struct weir_error *err);
/* Remove those of @owner's rules (NULL: of all rules) that @keep does not want. */
int weir_rules_keep(struct weir_rules *r, const char *owner,
		    bool (*keep)(void *arg, const struct weir_rule *rule), void *arg,
		    struct weir_error *err);
int weir_rules_get(const struct weir_rules *r, uint32_t id, struct weir_rule *ret);
int weir_rules_hits(const struct weir_rules *r, uint32_t id, struct weir_rule_hits *ret);
/* "default" for WEIR_RULE_BUILTIN | WEIR_DROP_DEFAULT; NULL when @id is a rule's. */
const char *weir_rules_builtin(uint32_t id);
/* All rules, sorted by verb, owner, order. */
int weir_rules_each(const struct weir_rules *r, int (*fn)(void *arg, const struct weir_rule *rule),
		    void *arg);
