/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/lru.h"

#define NODES 1000

static size_t index_of(const struct weir_lru_node *all, const struct weir_lru_node *n)
{
	return (size_t)(n - all);
}

static struct weir_lru_node *find(struct weir_lru *t, uint64_t hash,
				  const struct weir_lru_node *wanted)
{
	struct weir_lru_node *n = weir_lru_find(t, hash, NULL);

	while (n && n != wanted)
		n = weir_lru_find(t, hash, n);
	return n;
}

/* Each is found by its hash, also where several have the same, and by its age. */
static void found_and_in_order(void **state)
{
	struct weir_lru_node *all = calloc(NODES, sizeof(*all)), *n;
	struct weir_lru t;
	size_t i;

	(void)state;
	assert_int_equal(weir_lru_init(&t, NODES), 0);
	assert_null(weir_lru_find(&t, 0, NULL));
	for (i = 0; i < NODES; i++) {
		assert_false(weir_lru_full(&t));
		weir_lru_add(&t, &all[i], i / 2 * 0x100000001ULL);
	}
	assert_true(weir_lru_full(&t));
	for (i = 0; i < NODES; i++)
		assert_ptr_equal(find(&t, i / 2 * 0x100000001ULL, &all[i]), &all[i]);
	assert_null(weir_lru_find(&t, 1, NULL)); /* the same head, another hash */
	for (i = 0; i < NODES; i += 3)
		weir_lru_touch(&t, &all[i]);
	for (i = 0; i < NODES; i += 5)
		weir_lru_remove(&t, &all[i]);
	assert_int_equal(t.n, NODES - NODES / 5);
	for (i = 0; i < NODES; i++)
		assert_int_equal(find(&t, i / 2 * 0x100000001ULL, &all[i]) != NULL, i % 5 != 0);
	/* First those that nobody touched, each part in its order. */
	i = 0;
	for (n = t.oldest; n && index_of(all, n) % 3; n = n->newer, i++)
		assert_true(!n->newer || !(index_of(all, n->newer) % 3) || n->newer > n);
	for (; n; n = n->newer, i++) {
		assert_int_equal(index_of(all, n) % 3, 0);
		assert_true(!n->newer || n->newer > n);
	}
	assert_int_equal(i, t.n);
	while (t.oldest)
		weir_lru_remove(&t, t.oldest);
	assert_null(t.newest);
	assert_int_equal(t.n, 0);
	weir_lru_free(&t);
	free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
