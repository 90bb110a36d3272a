/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bounded table that forgets what was used least recently. The nodes lie inside the
 * caller's entries, which it compares, allocates and frees:
 *
 *	for (n = weir_lru_find(&t, hash, NULL); n; n = weir_lru_find(&t, hash, n))
 *		if (is_it(entry_of(n)))
 *			...
 *	if (weir_lru_full(&t))
 *		give_up(entry_of(t.oldest));
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_lru_node {
	struct weir_lru_node *chain, *newer, *older;
	uint64_t hash;
};

struct weir_lru {
	struct weir_lru_node **heads;
	size_t mask, n, max;
	struct weir_lru_node *newest, *oldest;
};

/* 0 or -ENOMEM. */
int weir_lru_init(struct weir_lru *t, size_t max);
/* Its own memory; the entries are the caller's. */
void weir_lru_free(struct weir_lru *t);
/* The first node of this hash, or the next one behind @after. */
struct weir_lru_node *weir_lru_find(const struct weir_lru *t, uint64_t hash,
				    const struct weir_lru_node *after);
/* Both make it the newest. */
void weir_lru_add(struct weir_lru *t, struct weir_lru_node *n, uint64_t hash);
void weir_lru_touch(struct weir_lru *t, struct weir_lru_node *n);
void weir_lru_remove(struct weir_lru *t, struct weir_lru_node *n);

static inline bool weir_lru_full(const struct weir_lru *t)
{
	return t->n >= t->max;
}
