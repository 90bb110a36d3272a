/* SPDX-License-Identifier: GPL-2.0-only */
/* The rows of a picture: the flows added up by what they have in common. */
#include "cap/watch/flows.h"

#include <stdlib.h>
#include <string.h>

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

static void add_to_row(struct weir_flow_row *r, const struct weir_flow *x)
{
	add_val(r, &x->val);
	r->bypassed += x->bypassed;
	r->shown_bytes += x->shown_bytes;
	r->flows++;
}

struct weir_flow_row weir_flow_row_other(const struct weir_flows *f)
{
	struct weir_flow_row r = { .flows = f->other_flows };

	add_val(&r, &f->other);
	r.shown_bytes = r.bytes[0] + r.bytes[1]; /* no rate: it is a sum of the past */
	return r;
}

struct weir_flow_row weir_flow_row_of(const struct weir_flow *x)
{
	struct weir_flow_row r = { .flow = x };

	add_to_row(&r, x);
	return r;
}

/* The one or two rows that a flow belongs to. */
static int keys_of(const struct weir_flows *f, const struct weir_flow *x, enum weir_by by,
		   struct weir_flow_row keys[2])
{
	bool guessed, b = weir_flow_initiator_is_b(f, x, &guessed);

	memset(keys, 0, 2 * sizeof(*keys));
	switch (by) {
	case WEIR_BY_FLOW:
		keys[0].flow = x;
		return 1;
	case WEIR_BY_HOST:
		memcpy(keys[0].addr, x->key.addr_a, 16);
		memcpy(keys[1].addr, x->key.addr_b, 16);
		return memcmp(keys[0].addr, keys[1].addr, 16) ? 2 : 1;
	case WEIR_BY_PORT:
		keys[0].port = b ? x->key.port_a : x->key.port_b;
		keys[0].proto = x->key.proto;
		keys[0].eth_type = x->key.eth_type;
		return 1;
	case WEIR_BY_PROTOCOL:
		keys[0].proto = x->key.proto;
		keys[0].eth_type = x->key.proto ? 0 : x->key.eth_type;
		return 1;
	}
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct weir_flow_row *x = a, *y = b;
	int c = memcmp(x->addr, y->addr, 16);

	if (c)
		return c;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	if (x->flow != y->flow)
		return x->flow < y->flow ? -1 : 1;
	return (x->eth_type > y->eth_type) - (x->eth_type < y->eth_type);
}

static int compare_bytes(const void *a, const void *b)
{
	const struct weir_flow_row *x = a, *y = b;
	uint64_t bx = x->bytes[0] + x->bytes[1], by = y->bytes[0] + y->bytes[1];

	return (bx < by) - (bx > by);
}

/* Sort by key and add up equals. */
static size_t combine(struct weir_flow_row *rows, size_t n)
{
	size_t out = 0;

	qsort(rows, n, sizeof(*rows), compare_keys);
	for (size_t i = 1; i < n; i++) {
		struct weir_flow_row *to = &rows[out], *from = &rows[i];

		if (compare_keys(to, from)) {
			rows[++out] = *from;
			continue;
		}
		for (int d = 0; d < 2; d++) {
			to->packets[d] += from->packets[d];
			to->bytes[d] += from->bytes[d];
		}
		to->wire += from->wire;
		to->bypassed += from->bypassed;
		to->shown_bytes += from->shown_bytes;
		to->flows += from->flows;
		if (from->first < to->first)
			to->first = from->first;
		if (from->last > to->last)
			to->last = from->last;
	}
	return n ? out + 1 : 0;
}

struct weir_flow_row *weir_flow_rows(const struct weir_flows *f, enum weir_by by, size_t *ret_n)
{
	struct weir_flow_row *rows = calloc(f->used * 2 + 1, sizeof(*rows)), keys[2];
	size_t n = 0;

	*ret_n = 0;
	if (!rows)
		return NULL;
	for (size_t i = 0; i < f->size; i++) {
		const struct weir_flow *x = &f->slots[i];
		int k = x->used && !x->hidden ? keys_of(f, x, by, keys) : 0;

		for (int j = 0; j < k; j++) {
			rows[n] = keys[j];
			add_to_row(&rows[n++], x);
		}
	}
	if (by != WEIR_BY_FLOW)
		n = combine(rows, n);
	qsort(rows, n, sizeof(*rows), compare_bytes);
	*ret_n = n;
	return rows;
}
