/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets that change in place, while programs read them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"

struct weir_set *weir_set_in_force(struct weir_filter *f, const char *name, uint32_t *ret_number)
{
	for (size_t i = 0; i < f->policy->n_sets; i++)
		if (strcmp(f->policy->sets[i].name, name) == 0) {
			*ret_number = f->policy->sets[i].number;
			return &f->sets[i];
		}
	return NULL;
}

struct set_change {
	struct weir_set *set;
	const struct weir_prefix *v;
	size_t n;
	bool add;
	struct weir_prefix *sorted; /* each once */
	bool *there;		    /* in the set before the change */
	size_t n_sorted;
};

static void free_set_change(struct set_change *c)
{
	free(c->sorted);
	free(c->there);
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct weir_prefix *x = a, *y = b;
	int ret = memcmp(x->addr.b, y->addr.b, sizeof(x->addr.b));

	return ret ? ret : x->len - y->len;
}

static int note_prefix(void *arg, const struct weir_prefix *p)
{
	struct set_change *c = arg;
	const struct weir_prefix *at =
		bsearch(p, c->sorted, c->n_sorted, sizeof(*p), compare_prefixes);

	if (at)
		c->there[at - c->sorted] = true;
	return 0;
}

/* Which of the prefixes are there already? Those stay when the rest has to go. */
static int look_ahead(struct set_change *c, struct weir_error *err)
{
	int ret;

	c->sorted = calloc(c->n + 1, sizeof(*c->sorted));
	c->there = calloc(c->n + 1, sizeof(*c->there));
	if (!c->sorted || !c->there)
		return weir_fail(err, -ENOMEM, "out of memory for %zu prefixes", c->n);
	memcpy(c->sorted, c->v, c->n * sizeof(*c->sorted));
	qsort(c->sorted, c->n, sizeof(*c->sorted), compare_prefixes);
	for (size_t i = 0; i < c->n; i++)
		if (!i || compare_prefixes(&c->sorted[i], &c->sorted[c->n_sorted - 1]) != 0)
			c->sorted[c->n_sorted++] = c->sorted[i];
	ret = weir_set_each(c->set, note_prefix, c);
	return ret ? weir_load_explain(err, ret, "read the set") : 0;
}

static int change_set(void *arg, struct weir_error *err)
{
	struct set_change *c = arg;

	return c->add ? weir_set_add(c->set, c->v, c->n, err) :
			weir_set_del(c->set, c->v, c->n, err);
}

static int undo_set(void *arg, struct weir_error *err)
{
	struct set_change *c = arg;
	size_t fresh = 0;

	if (!c->add)
		return weir_set_add(c->set, c->v, c->n, err);
	for (size_t i = 0; i < c->n_sorted; i++)
		if (!c->there[i])
			c->sorted[fresh++] = c->sorted[i];
	return weir_set_del(c->set, c->sorted, fresh, err);
}

int weir_filter_set_change(struct weir_filter *f, const char *name, bool add,
			   const struct weir_prefix *v, size_t n, bool force,
			   struct weir_error *err)
{
	weir_cleanup(free_set_change) struct set_change c = { .v = v, .n = n, .add = add };
	struct weir_guarded_change guarded = { .change = change_set, .undo = undo_set, .arg = &c };
	bool touched = false;
	uint32_t number = 0;
	int ret;

	c.set = weir_set_in_force(f, name, &number);
	if (!c.set)
		return weir_fail(err, -ENOENT, "there is no set '%s': see `weir filter show`",
				 name);
	if (f->previous)
		return weir_refuse_waiting(err);
	if (f->foreign)
		return weir_fail(err, -ENOSPC, "the set '%s' is another version's: load it anew",
				 name);
	ret = weir_guard_touches(f, v, n, force, &touched, err);
	if (ret)
		return ret;
	if (!touched || force)
		return change_set(&c, err);
	ret = look_ahead(&c, err);
	return ret ? ret : weir_guard_change(f, &guarded, err);
}
