/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/lru.h"

#include <errno.h>
#include <stdlib.h>

#define HEADS_FIRST 16 /* a power of two */

int weir_lru_init(struct weir_lru *t, size_t max)
{
	*t = (struct weir_lru){ .heads = calloc(HEADS_FIRST, sizeof(struct weir_lru_node *)),
				.mask = HEADS_FIRST - 1,
				.max = max };
	return t->heads ? 0 : -ENOMEM;
}

/* A head for each node, about. Without the memory chains become longer. */
static void grow(struct weir_lru *t)
{
	const size_t size = (t->mask + 1) * 2;
	struct weir_lru_node **heads = calloc(size, sizeof(struct weir_lru_node *));

	if (!heads)
		return;
	free(t->heads);
	t->heads = heads;
	t->mask = size - 1;
	for (struct weir_lru_node *n = t->oldest; n; n = n->newer) {
		n->chain = heads[n->hash & t->mask];
		heads[n->hash & t->mask] = n;
	}
}

void weir_lru_free(struct weir_lru *t)
{
	free(t->heads);
	*t = (struct weir_lru){ 0 };
}

struct weir_lru_node *weir_lru_find(const struct weir_lru *t, uint64_t hash,
				    const struct weir_lru_node *after)
{
	struct weir_lru_node *n = after ? after->chain : t->heads[hash & t->mask];

	while (n && n->hash != hash)
		n = n->chain;
	return n;
}

static void unlink_age(struct weir_lru *t, struct weir_lru_node *n)
{
	*(n->newer ? &n->newer->older : &t->newest) = n->older;
	*(n->older ? &n->older->newer : &t->oldest) = n->newer;
}

static void link_newest(struct weir_lru *t, struct weir_lru_node *n)
{
	n->newer = NULL;
	n->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = n;
	t->newest = n;
}

void weir_lru_add(struct weir_lru *t, struct weir_lru_node *n, uint64_t hash)
{
	struct weir_lru_node **head;

	if (t->n > t->mask)
		grow(t);
	head = &t->heads[hash & t->mask];
	n->hash = hash;
	n->chain = *head;
	*head = n;
	link_newest(t, n);
	t->n++;
}

void weir_lru_touch(struct weir_lru *t, struct weir_lru_node *n)
{
	if (t->newest == n)
		return;
	unlink_age(t, n);
	link_newest(t, n);
}

void weir_lru_remove(struct weir_lru *t, struct weir_lru_node *n)
{
	struct weir_lru_node **at = &t->heads[n->hash & t->mask];

	while (*at != n)
		at = &(*at)->chain;
	*at = n->chain;
	unlink_age(t, n);
	t->n--;
}
