/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/road.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *const weir_road_stages[WEIR_ROAD_MAX] = {
	[WEIR_ROAD_XDP] = "XDP",
	[WEIR_ROAD_TC] = "tc",
	[WEIR_ROAD_NETFILTER] = "netfilter",
	[WEIR_ROAD_ROUTE] = "route",
	[WEIR_ROAD_LOOKUP] = "sk_lookup",
	[WEIR_ROAD_SOCKET] = "socket",
	[WEIR_ROAD_SESSION] = "session",
};

const char *const weir_step_verdict_names[] = {
	[WEIR_STEP_PASS] = "pass",
	[WEIR_STEP_DROP] = "drop",
	[WEIR_STEP_TAKE] = "take",
	[WEIR_STEP_UNKNOWN] = "unknown",
};

static void free_step(struct weir_step *s)
{
	weir_buf_free(&s->detail);
	weir_buf_free(&s->rule);
	weir_buf_free(&s->text);
}

/* Where there is no memory for a step, what is told of it goes here. */
static struct weir_step *spare(struct weir_road *r)
{
	static struct weir_step s;

	free_step(&s);
	s = (struct weir_step){ 0 };
	r->failed = true;
	return &s;
}

static struct weir_step *new_step(struct weir_road *r)
{
	if (r->n == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 16;
		struct weir_step *v = reallocarray(r->v, cap, sizeof(*v));

		if (!v)
			return spare(r);
		r->v = v;
		r->cap = cap;
	}
	r->v[r->n] = (struct weir_step){ .order = (unsigned int)r->n };
	return &r->v[r->n++];
}

struct weir_step *weir_road_add(struct weir_road *r, enum weir_road_stage stage,
				enum weir_step_verdict verdict, const char *verb, const char *fmt,
				...)
{
	struct weir_step *s = new_step(r);
	char text[512];
	va_list ap;

	s->stage = stage;
	s->verdict = verdict;
	s->verb = verb;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	weir_buf_adds(&s->detail, text);
	return s;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct weir_step *x = a, *y = b;
	const struct weir_road *r = arg;

	if (x->stage != y->stage)
		return (x->stage < y->stage) == r->out ? 1 : -1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void weir_road_sort(struct weir_road *r)
{
	if (r->n)
		qsort_r(r->v, r->n, sizeof(*r->v), compare, r);
}

void weir_road_free(struct weir_road *r)
{
	for (size_t i = 0; i < r->n; i++)
		free_step(&r->v[i]);
	free(r->v);
	r->v = NULL;
	r->n = r->cap = 0;
}
