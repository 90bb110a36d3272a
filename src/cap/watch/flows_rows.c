/* SPDX-License-Identifier: GPL-2.0-only */
/* The rows of a picture: the flows added up by what they have in common. */
#include "cap/watch/flows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cap/watch/session.h"
#include "dataplane/key_hash.h"

#define FIRST_ROWS 1024 /* a power of two */

static void add_val(struct weir_flow_row *r, const struct weir_flow_val *v)
{
	for (int i = 0; i < 2; i++) {
		r->packets[i] += v->packets[i];
		r->bytes[i] += v->bytes[i];
		r->wire += v->wire[i];
	}
	if (!r->first || v->first < r->first)
		r->first = v->first;
	if (v->last > r->last)
		r->last = v->last;
}

static void add_to_row(const struct weir_flows *f, struct weir_flow_row *r,
		       const struct weir_flow *x)
{
	add_val(r, &x->val);
	r->bypassed += x->bypassed;
	r->recent += weir_flow_recent(f, x);
	r->flows++;
}

/* It has no rate: it is a sum of the past. */
struct weir_flow_row weir_flow_row_other(const struct weir_flows *f)
{
	struct weir_flow_row r = { .flows = f->other_flows };

	add_val(&r, &f->other);
	return r;
}

struct weir_flow_row weir_flow_row_of(const struct weir_flows *f, const struct weir_flow *x)
{
	struct weir_flow_row r = { .flow = x };

	add_to_row(f, &r, x);
	return r;
}

static int compare_text(const char *a, const char *b)
{
	if (!a || !b)
		return !!a - !!b;
	return strcmp(a, b);
}

/* As a person would sort them: IPv4 before IPv6 by value, then ports by number. */
static int compare_flows(const struct weir_flow_key *a, const struct weir_flow_key *b)
{
	int c = memcmp(a->addr_a, b->addr_a, 16);

	c = c ? c : memcmp(a->addr_b, b->addr_b, 16);
	c = c ? c : a->proto - b->proto;
	c = c ? c : a->port_a - b->port_a;
	c = c ? c : a->port_b - b->port_b;
	return c ? c : memcmp(a, b, sizeof(*a));
}

int weir_row_compare(const struct weir_flow_row *x, const struct weir_flow_row *y)
{
	int c;

	if (x->flow && y->flow)
		return compare_flows(&x->flow->key, &y->flow->key);
	c = memcmp(x->addr, y->addr, 16);
	c = c ? c : compare_text(x->text, y->text);
	c = c ? c : (x->pid > y->pid) - (x->pid < y->pid);
	c = c ? c : x->port - y->port;
	c = c ? c : x->proto - y->proto;
	return c ? c : x->eth_type - y->eth_type;
}

static size_t hash(const struct weir_flow_row *r)
{
	const size_t n = r->text ? strlen(r->text) : 0;
	struct weir_sip v;

	weir_key_begin(&v, weir_key_seed);
	weir_key_add(&v, r->addr, sizeof(r->addr));
	weir_sip_word(&v, (uint64_t)n << 32 | r->pid, 1);
	weir_sip_word(&v, (uint64_t)r->port << 32 | (uint64_t)r->proto << 16 | r->eth_type, 1);
	weir_key_add(&v, r->text, n);
	return (size_t)weir_key_end(&v);
}

static uint32_t *find(const struct weir_groups *g, const struct weir_flow_row *key)
{
	size_t i = hash(key) & (g->size - 1);

	while (g->slots[i] && weir_row_compare(&g->rows[g->slots[i] - 1], key))
		i = (i + 1) & (g->size - 1);
	return &g->slots[i];
}

/* At most half of the slots are in use. */
static int grow(struct weir_groups *g, bool hashed)
{
	size_t cap = g->cap ? g->cap * 2 : FIRST_ROWS;
	struct weir_flow_row *rows = realloc(g->rows, cap * sizeof(*rows));
	uint32_t *slots;

	if (!rows)
		return -ENOMEM;
	g->rows = rows;
	g->cap = cap;
	if (!hashed)
		return 0;
	slots = calloc(cap * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(g->slots);
	g->slots = slots;
	g->size = cap * 2;
	for (size_t i = 0; i < g->n; i++)
		*find(g, &g->rows[i]) = (uint32_t)i + 1;
	return 0;
}

/* Of rows that are flows no two are the same: they need no slots. */
static int append(struct weir_groups *g, const struct weir_flows *f, const struct weir_flow *x)
{
	if (g->n == g->cap && grow(g, false))
		return -ENOMEM;
	g->rows[g->n++] = weir_flow_row_of(f, x);
	return 0;
}

static struct weir_flow_row *row_of(struct weir_groups *g, const struct weir_flow_row *key)
{
	uint32_t *slot;

	if (g->n * 2 >= g->size && grow(g, true))
		return NULL;
	slot = find(g, key);
	if (!*slot) {
		g->rows[g->n++] = *key;
		*slot = (uint32_t)g->n;
	}
	return &g->rows[*slot - 1];
}

static int add_flow(struct weir_groups *g, struct weir_watch *w, enum weir_by by,
		    const struct weir_flow *x)
{
	struct weir_flow_row keys[2], *to;
	int n;

	if (by == WEIR_BY_FLOW)
		return append(g, w->flows, x);
	n = weir_groupings[by].keys(w, x, keys);
	for (int i = 0; i < n; i++) {
		to = row_of(g, &keys[i]);
		if (!to)
			return -ENOMEM;
		add_to_row(w->flows, to, x);
	}
	return 0;
}

int weir_groups_fill(struct weir_groups *g, struct weir_watch *w, enum weir_by by,
		     weir_flow_fn *keep, void *arg)
{
	int ret = 0;

	g->n = 0;
	if (g->size)
		memset(g->slots, 0, g->size * sizeof(*g->slots));
	WEIR_FLOWS_EACH(w->flows, x)
	if (!ret && !x->hidden && (!keep || keep(arg, x)))
		ret = add_flow(g, w, by, x);
	return ret;
}

void weir_groups_free(struct weir_groups *g)
{
	free(g->rows);
	free(g->slots);
	*g = (struct weir_groups){ 0 };
}
