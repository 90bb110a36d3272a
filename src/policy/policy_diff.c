/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between two policies, line by line of the file form. */
#include "policy/policy_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Interfaces, sets and rules of the largest policy. */
#define LINES_MAX (WEIR_FILTER_ROWS + WEIR_POLICY_SETS_MAX + WEIR_POLICY_RULES_MAX)
_Static_assert(LINES_MAX < UINT16_MAX, "a common subsequence is counted in 16 bits");

struct line {
	const char *s;
	uint32_t hash; /* most lines differ, and this shows it at once */
};

struct lines {
	struct weir_buf text; /* each line with its NUL */
	struct line *v;
	size_t n;
};

static void lines_free(struct lines *l)
{
	weir_buf_free(&l->text);
	free(l->v);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->s, ((const struct line *)b)->s);
}

static bool same(const struct line *a, const struct line *b)
{
	return a->hash == b->hash && !strcmp(a->s, b->s);
}

/* The order of interfaces and of sets means nothing. */
static bool make_lines(const struct weir_policy *p, struct lines *l)
{
	size_t n_ifaces = 0, n_sets = 0;
	const char *s;

	for (size_t i = 0; i < p->n_ifaces; i++) {
		if (p->ifaces[i].owner[0])
			continue;
		weir_policy_print_iface(&p->ifaces[i], 0, &l->text);
		weir_buf_addc(&l->text, '\0');
		n_ifaces++;
	}
	for (size_t i = 0; i < p->n_sets; i++) {
		if (p->sets[i].owner[0])
			continue;
		weir_policy_print_set(&p->sets[i], 0, &l->text);
		weir_buf_addc(&l->text, '\0');
		n_sets++;
	}
	l->n = n_ifaces + n_sets;
	for (size_t i = 0; i < p->n_rules; i++) {
		if (strcmp(p->rules[i].owner, WEIR_POLICY_OWNER) != 0)
			continue;
		weir_policy_print_named_rule(&p->rules[i], 0, 0, &l->text);
		weir_buf_addc(&l->text, '\0');
		l->n++;
	}
	l->v = calloc(l->n + 1, sizeof(*l->v));
	if (l->text.failed || !l->v)
		return false;
	s = l->text.data;
	for (size_t i = 0; i < l->n; i++, s += strlen(s) + 1)
		l->v[i] = (struct line){ s, weir_policy_hash(s, strlen(s)) };
	qsort(l->v, n_ifaces, sizeof(*l->v), compare);
	qsort(l->v + n_ifaces, n_sets, sizeof(*l->v), compare);
	return true;
}

static void add_line(char sign, const char *line, struct weir_buf *out)
{
	weir_buf_addc(out, sign);
	weir_buf_addc(out, ' ');
	weir_buf_adds(out, line);
	weir_buf_addc(out, '\n');
}

/* The way through the longest common subsequence of @a and @b. lengths[j] is that of
 * the rest of @a from line i on and the rest of @b from j on; drop[i * m + j] says whether
 * line i of @a goes first. */
static bool walk(const struct line *a, size_t n, const struct line *b, size_t m,
		 struct weir_buf *out)
{
	weir_autofree uint16_t *lengths = calloc(m + 1, sizeof(*lengths));
	weir_autofree char *drop = calloc(n * m + 1, 1);
	size_t i = n, j = 0;

	if (!lengths || !drop)
		return false;
	while (i--) {
		uint16_t corner = 0; /* lengths[j + 1] of the row below */

		for (j = m; j--;) {
			const uint16_t below = lengths[j];

			if (same(&a[i], &b[j]))
				lengths[j] = (uint16_t)(corner + 1);
			else if (lengths[j + 1] > below)
				lengths[j] = lengths[j + 1];
			else
				drop[i * m + j] = 1;
			corner = below;
		}
	}
	for (i = j = 0; i < n || j < m;) {
		if (i < n && j < m && same(&a[i], &b[j])) {
			i++;
			j++;
		} else if (j == m || (i < n && drop[i * m + j])) {
			add_line('-', a[i++].s, out);
		} else {
			add_line('+', b[j++].s, out);
		}
	}
	return true;
}

bool weir_policy_diff(const struct weir_policy *from, const struct weir_policy *to,
		      struct weir_buf *out)
{
	weir_cleanup(lines_free) struct lines a = { 0 }, b = { 0 };
	size_t head = 0, tail = 0;

	if (!make_lines(from, &a) || !make_lines(to, &b)) {
		out->failed = true;
		return true;
	}
	while (head < a.n && head < b.n && same(&a.v[head], &b.v[head]))
		head++;
	while (head + tail < a.n && head + tail < b.n &&
	       same(&a.v[a.n - 1 - tail], &b.v[b.n - 1 - tail]))
		tail++;
	if (head == a.n && head == b.n)
		return false;
	if (!walk(a.v + head, a.n - head - tail, b.v + head, b.n - head - tail, out))
		out->failed = true;
	return true;
}
