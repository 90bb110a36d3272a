/* SPDX-License-Identifier: GPL-2.0-only */
#include "match/ast.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define LIST_MIN 4u
#define ETHER_IP4 0x0800u
#define ETHER_IP6 0x86ddu

#define NUM(field_, what_) \
	offsetof(struct weir_pkt, field_), sizeof(((struct weir_pkt *)NULL)->field_), what_

const struct weir_num_info weir_num_info[WEIR_NUM_MAX] = {
	[WEIR_NUM_ETHER_TYPE] = { "Ethernet type", 0x600, 0xffff, NUM(eth_type, WEIR_FIELD_ETHER),
				  0 },
	[WEIR_NUM_PROTO] = { "protocol", 0, 0xff, NUM(proto, WEIR_FIELD_PROTO),
			     WEIR_PKT_IP4 | WEIR_PKT_IP6 },
	[WEIR_NUM_PORT] = { "port", 0, 0xffff, NUM(sport, WEIR_FIELD_PORTS), WEIR_PKT_PORTS },
	[WEIR_NUM_VLAN] = { "VLAN identifier", 0, 0xfff, NUM(vlan[0], WEIR_FIELD_VLAN), 0 },
	[WEIR_NUM_LEN] = { "length", 0, UINT32_MAX, NUM(len, WEIR_FIELD_LEN), 0 },
	[WEIR_NUM_TTL] = { "ttl", 0, 0xff, NUM(ttl, WEIR_FIELD_TTL), WEIR_PKT_IP4 | WEIR_PKT_IP6 },
};

/* In the order of the WEIR_L4 bits; the last entry ends the table. */
const struct weir_l4_proto weir_l4_protos[] = { { "tcp", 6 }, { "udp", 17 }, { "sctp", 132 }, {} };

static const char *const field_names[WEIR_FIELD_MAX] = {
	[WEIR_FIELD_ETHER] = "ether", [WEIR_FIELD_VLAN] = "vlan",
	[WEIR_FIELD_IP] = "ip",	      [WEIR_FIELD_PROTO] = "proto",
	[WEIR_FIELD_PORTS] = "ports", [WEIR_FIELD_TCP_FLAGS] = "tcp flags",
	[WEIR_FIELD_LEN] = "len",     [WEIR_FIELD_TTL] = "ttl",
	[WEIR_FIELD_FRAG] = "frag",
};

const char *weir_match_field_name(enum weir_match_field f)
{
	return field_names[f];
}

int weir_ast_oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory");
}

static bool has_sub(const struct weir_ast *a)
{
	return a->kind == WEIR_AST_AND || a->kind == WEIR_AST_OR || a->kind == WEIR_AST_NOT;
}

/* Recursion is bounded by WEIR_AST_DEPTH_MAX here and in every walk. */
void weir_ast_free(struct weir_ast *a)
{
	if (!a)
		return;
	if (has_sub(a)) {
		for (size_t i = 0; i < a->sub.n; i++)
			weir_ast_free(a->sub.v[i]);
		free(a->sub.v);
	} else if (a->kind == WEIR_AST_NUM) {
		free(a->num.v);
	} else if (a->kind == WEIR_AST_ADDR) {
		free(a->addr.v);
	}
	free(a);
}

/* Room for @more elements of @size behind the @n in *@v. */
static int reserve(void *v, size_t *cap, size_t n, size_t more, size_t size)
{
	void **list = v;
	size_t want = *cap ? *cap : LIST_MIN;
	void *grown;

	if (n + more <= *cap)
		return 0;
	while (want < n + more)
		want *= 2;
	grown = reallocarray(*list, want, size);
	if (!grown)
		return -ENOMEM;
	*list = grown;
	*cap = want;
	return 0;
}

static struct weir_ast *leaf(enum weir_ast_kind kind, enum weir_ast_dir dir, uint16_t guard)
{
	struct weir_ast *a = calloc(1, sizeof(*a));

	if (a)
		*a = (struct weir_ast){
			.kind = kind, .dir = dir, .guard = guard, .depth = 1, .nodes = 1
		};
	return a;
}

struct weir_ast *weir_ast_all(void)
{
	return leaf(WEIR_AST_ALL, WEIR_DIR_ANY, 0);
}

struct weir_ast *weir_ast_num(enum weir_ast_num what, uint32_t lo, uint32_t hi)
{
	weir_auto_ast *a = leaf(WEIR_AST_NUM, WEIR_DIR_ANY, weir_num_info[what].guard);

	if (!a || reserve(&a->num.v, &a->num.cap, 0, 1, sizeof(*a->num.v)) < 0)
		return NULL;
	a->num.what = what;
	a->num.v[a->num.n++] = (struct weir_range){ lo, hi };
	return WEIR_TAKE_PTR(a);
}

struct weir_ast *weir_ast_proto(uint16_t guard, uint32_t lo, uint32_t hi)
{
	struct weir_ast *a = weir_ast_num(WEIR_NUM_PROTO, lo, hi);

	if (a)
		a->guard = guard;
	return a;
}

struct weir_ast *weir_ast_port(enum weir_ast_dir dir, unsigned int l4, uint32_t lo, uint32_t hi)
{
	struct weir_ast *a = weir_ast_num(WEIR_NUM_PORT, lo, hi);

	if (a) {
		a->dir = dir;
		a->num.l4 = l4;
	}
	return a;
}

struct weir_ast *weir_ast_addr(enum weir_ast_dir dir, uint16_t guard, const struct weir_prefix *p)
{
	weir_auto_ast *a = leaf(WEIR_AST_ADDR, dir, guard);

	if (!a || reserve(&a->addr.v, &a->addr.cap, 0, 1, sizeof(*a->addr.v)) < 0)
		return NULL;
	a->addr.v[a->addr.n++] = *p;
	return WEIR_TAKE_PTR(a);
}

struct weir_ast *weir_ast_set(enum weir_ast_dir dir, uint16_t guard, const char *name)
{
	struct weir_ast *a = leaf(WEIR_AST_SET, dir, guard);

	if (a)
		snprintf(a->set.name, sizeof(a->set.name), "%s", name);
	return a;
}

struct weir_ast *weir_ast_mac(enum weir_ast_dir dir, const uint8_t value[6], const uint8_t mask[6])
{
	struct weir_ast *a = leaf(WEIR_AST_MAC, dir, WEIR_PKT_ETHER);

	if (a) {
		memcpy(a->mac.value, value, sizeof(a->mac.value));
		memcpy(a->mac.mask, mask, sizeof(a->mac.mask));
	}
	return a;
}

struct weir_ast *weir_ast_tcp_flags(uint16_t value, uint16_t mask, bool differs)
{
	struct weir_ast *a = leaf(WEIR_AST_TCP_FLAGS, WEIR_DIR_ANY, WEIR_PKT_TCP);

	if (!a)
		return NULL;
	/* A single bit that is not clear is set, so that "!= 0" on one flag is
	 * the same node as the flag itself. */
	if (differs && !(mask & (mask - 1))) {
		value ^= mask;
		differs = false;
	}
	a->bits.value = value;
	a->bits.mask = mask;
	a->bits.differs = differs;
	return a;
}

struct weir_ast *weir_ast_state(uint16_t value, uint16_t mask)
{
	struct weir_ast *a = leaf(WEIR_AST_STATE, WEIR_DIR_ANY, 0);

	if (a) {
		a->bits.value = value;
		a->bits.mask = mask;
	}
	return a;
}

/* Put @b's list behind @a's if one leaf can say both: the same question, joined
 * by "or". With "src and dst" it can't: A or B on both ends is more than A on
 * both or B on both. Frees @b then. Returns 1 if it did, else 0 or -ENOMEM. */
static int absorb(struct weir_ast *a, struct weir_ast *b)
{
	if (a->kind != b->kind || a->guard != b->guard || a->dir != b->dir ||
	    a->dir == WEIR_DIR_BOTH)
		return 0;
	if (a->kind == WEIR_AST_NUM && a->num.what == b->num.what && a->num.l4 == b->num.l4) {
		if (reserve(&a->num.v, &a->num.cap, a->num.n, b->num.n, sizeof(*a->num.v)) < 0)
			return -ENOMEM;
		memcpy(a->num.v + a->num.n, b->num.v, b->num.n * sizeof(*b->num.v));
		a->num.n += b->num.n;
	} else if (a->kind == WEIR_AST_ADDR) {
		if (reserve(&a->addr.v, &a->addr.cap, a->addr.n, b->addr.n, sizeof(*a->addr.v)) < 0)
			return -ENOMEM;
		memcpy(a->addr.v + a->addr.n, b->addr.v, b->addr.n * sizeof(*b->addr.v));
		a->addr.n += b->addr.n;
	} else {
		return 0;
	}
	weir_ast_free(b);
	return 1;
}

/* Add @b, which is not of @a's kind, to the AND, OR or NOT @a. On failure @b
 * still belongs to the caller. */
static int append(struct weir_ast *a, struct weir_ast *b)
{
	for (size_t i = 0; a->kind == WEIR_AST_OR && i < a->sub.n; i++) {
		int ret = absorb(a->sub.v[i], b);

		if (ret)
			return ret < 0 ? ret : 0;
	}
	if (reserve(&a->sub.v, &a->sub.cap, a->sub.n, 1, sizeof(*a->sub.v)) < 0)
		return -ENOMEM;
	a->sub.v[a->sub.n++] = b;
	a->nodes += b->nodes;
	if (a->depth < b->depth + 1)
		a->depth = b->depth + 1;
	return 0;
}

struct weir_ast *weir_ast_not(struct weir_ast *inner)
{
	weir_auto_ast *b = inner;
	weir_auto_ast *a = NULL;

	if (b->kind == WEIR_AST_NOT) {
		struct weir_ast *twice = b->sub.v[0];

		b->sub.n = 0;
		return twice;
	}
	a = leaf(WEIR_AST_NOT, WEIR_DIR_ANY, 0);
	if (!a || append(a, b) < 0)
		return NULL;
	b = NULL;
	return WEIR_TAKE_PTR(a);
}

struct weir_ast *weir_ast_join(enum weir_ast_kind kind, struct weir_ast *left,
			       struct weir_ast *right)
{
	weir_auto_ast *a = left;
	weir_auto_ast *b = right;
	weir_auto_ast *all = NULL;
	int ret;

	if (!a)
		return WEIR_TAKE_PTR(b);
	if (!b)
		return NULL;
	if (a->kind == WEIR_AST_ALL || b->kind == WEIR_AST_ALL)
		return (a->kind == WEIR_AST_ALL) == (kind == WEIR_AST_OR) ? WEIR_TAKE_PTR(a) :
									    WEIR_TAKE_PTR(b);
	if (kind == WEIR_AST_OR && a->kind != kind) {
		ret = absorb(a, b);
		if (ret < 0)
			return NULL;
		if (ret) {
			b = NULL;
			return WEIR_TAKE_PTR(a);
		}
	}
	if (a->kind != kind) {
		all = leaf(kind, WEIR_DIR_ANY, 0);
		if (!all || append(all, a) < 0)
			return NULL;
		a = WEIR_TAKE_PTR(all);
	}
	if (b->kind != kind) {
		if (append(a, b) < 0)
			return NULL;
		b = NULL;
		return WEIR_TAKE_PTR(a);
	}
	for (size_t i = 0; i < b->sub.n; i++) {
		if (append(a, b->sub.v[i]) < 0)
			return NULL;
		b->sub.v[i] = NULL;
	}
	return WEIR_TAKE_PTR(a);
}

int weir_ast_check(const struct weir_ast *a, struct weir_error *err)
{
	if (a->depth > WEIR_AST_DEPTH_MAX)
		return weir_fail(err, -E2BIG,
				 "the expression goes deeper than %d levels: simplify it",
				 WEIR_AST_DEPTH_MAX);
	if (a->nodes > WEIR_AST_NODES_MAX)
		return weir_fail(err, -E2BIG, "the expression has more than %d tests: simplify it",
				 WEIR_AST_NODES_MAX);
	return 0;
}

static int by_lo(const void *x, const void *y)
{
	const struct weir_range *a = x, *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

static int by_addr(const void *x, const void *y)
{
	const struct weir_prefix *a = x, *b = y;
	int order = (int)b->is_v4 - (int)a->is_v4;

	if (!order)
		order = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return order ? order : (int)a->len - (int)b->len;
}

static void merge_ranges(struct weir_ast *a)
{
	struct weir_range *v = a->num.v;
	size_t kept = 0;

	qsort(v, a->num.n, sizeof(*v), by_lo);
	for (size_t i = 1; i < a->num.n; i++) {
		if (v[kept].hi != UINT32_MAX && v[i].lo > v[kept].hi + 1)
			v[++kept] = v[i];
		else if (v[kept].hi < v[i].hi)
			v[kept].hi = v[i].hi;
	}
	a->num.n = kept + 1;
}

/* Afterwards no prefix lies in another, so that a binary search finds the one
 * that may hold an address. */
static void merge_prefixes(struct weir_ast *a)
{
	struct weir_prefix *v = a->addr.v;
	size_t kept = 0;

	qsort(v, a->addr.n, sizeof(*v), by_addr);
	for (size_t i = 1; i < a->addr.n; i++)
		if (v[kept].is_v4 != v[i].is_v4 || !weir_prefix_contains(&v[kept], &v[i].addr))
			v[++kept] = v[i];
	a->addr.n = kept + 1;
	a->addr.n_v4 = 0;
	while (a->addr.n_v4 < a->addr.n && v[a->addr.n_v4].is_v4)
		a->addr.n_v4++;
}

bool weir_ranges_hold(const struct weir_range *v, size_t n, uint32_t x)
{
	while (n) {
		size_t mid = n / 2;

		if (x < v[mid].lo) {
			n = mid;
		} else if (x > v[mid].hi) {
			v += mid + 1;
			n -= mid + 1;
		} else {
			return true;
		}
	}
	return false;
}

static uint32_t fields_of(const struct weir_ast *a)
{
	static const uint32_t by_kind[] = {
		[WEIR_AST_ADDR] = 1U << WEIR_FIELD_IP,
		[WEIR_AST_SET] = 1U << WEIR_FIELD_IP,
		[WEIR_AST_MAC] = 1U << WEIR_FIELD_ETHER,
		[WEIR_AST_TCP_FLAGS] = 1U << WEIR_FIELD_TCP_FLAGS,
		[WEIR_AST_STATE] = 1U << WEIR_FIELD_FRAG,
	};

	/* ARP has addresses, but no hook without Ethernet sees it. */
	if ((a->kind == WEIR_AST_ADDR || a->kind == WEIR_AST_SET) && a->guard == WEIR_PKT_ARP)
		return by_kind[a->kind] | 1U << WEIR_FIELD_ETHER;
	if (a->kind != WEIR_AST_NUM)
		return by_kind[a->kind];
	/* `ip` and `ip6` are Ethernet types that every hook can tell. */
	if (a->num.what == WEIR_NUM_ETHER_TYPE) {
		for (size_t i = 0; i < a->num.n; i++)
			if (a->num.v[i].lo != a->num.v[i].hi ||
			    (a->num.v[i].lo != ETHER_IP4 && a->num.v[i].lo != ETHER_IP6))
				return 1U << WEIR_FIELD_ETHER;
		return 1U << WEIR_FIELD_IP;
	}
	if (a->num.what == WEIR_NUM_PROTO && a->guard != (WEIR_PKT_IP4 | WEIR_PKT_IP6))
		return 1U << WEIR_FIELD_PROTO | 1U << WEIR_FIELD_IP;
	return 1U << weir_num_info[a->num.what].field;
}

static int add_set(struct weir_match *m, const struct weir_prefix *v, size_t n, size_t *ret)
{
	struct weir_match_list *grown;

	*ret = WEIR_NO_SET;
	if (n < WEIR_MATCH_SET_MIN)
		return 0;
	grown = reallocarray(m->sets, m->n_sets + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	m->sets = grown;
	m->sets[m->n_sets] = (struct weir_match_list){ v, n };
	*ret = m->n_sets++;
	return 0;
}

static int add_name(struct weir_match *m, const char *name, size_t *ret)
{
	const char **grown;
	size_t i = 0;

	while (i < m->n_names && strcmp(m->names[i], name))
		i++;
	*ret = i;
	if (i < m->n_names)
		return 0;
	grown = reallocarray(m->names, m->n_names + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	m->names = grown;
	m->names[m->n_names++] = name;
	return 0;
}

static int finish(struct weir_match *m, struct weir_ast *a)
{
	int ret = 0;

	if (has_sub(a)) {
		for (size_t i = 0; i < a->sub.n && !ret; i++)
			ret = finish(m, a->sub.v[i]);
		return ret;
	}
	if (a->kind == WEIR_AST_NUM) {
		merge_ranges(a);
	} else if (a->kind == WEIR_AST_ADDR) {
		merge_prefixes(a);
		ret = add_set(m, a->addr.v, a->addr.n_v4, &a->addr.set_v4);
		if (!ret)
			ret = add_set(m, a->addr.v + a->addr.n_v4, a->addr.n - a->addr.n_v4,
				      &a->addr.set_v6);
	} else if (a->kind == WEIR_AST_SET) {
		ret = add_name(m, a->set.name, &a->set.index);
	}
	m->fields |= fields_of(a);
	return ret;
}

int weir_ast_finish(struct weir_ast *ast, struct weir_match **ret)
{
	weir_cleanup(weir_match_freep) struct weir_match *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		weir_ast_free(ast);
		return -ENOMEM;
	}
	m->ast = ast;
	r = finish(m, ast);
	if (r < 0)
		return r;
	*ret = WEIR_TAKE_PTR(m);
	return 0;
}

void weir_match_free(struct weir_match *m)
{
	if (!m)
		return;
	weir_ast_free(m->ast);
	free(m->sets);
	free(m->names);
	free(m);
}

bool weir_match_is_all(const struct weir_match *m)
{
	return m->ast->kind == WEIR_AST_ALL;
}

uint32_t weir_match_fields(const struct weir_match *m)
{
	return m->fields;
}

size_t weir_match_sets(const struct weir_match *m)
{
	return m->n_sets;
}

size_t weir_match_set(const struct weir_match *m, size_t i, const struct weir_prefix **ret)
{
	*ret = m->sets[i].v;
	return m->sets[i].n;
}

size_t weir_match_names(const struct weir_match *m)
{
	return m->n_names;
}

const char *weir_match_name(const struct weir_match *m, size_t i)
{
	return m->names[i];
}
