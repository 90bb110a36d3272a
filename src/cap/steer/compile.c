/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/steer/compile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define ROWS (WEIR_STEER_PROTOS * WEIR_STEER_PORTS / WEIR_STEER_PORTS_A_ROW)
#define CLASSES_MAX UINT16_MAX
#define ATOMS_MAX (1U << 21)
#define PAIRS_MAX (1U << 23) /* of a class and an atom */

/* One combination of what a rule lists. */
struct atom {
	struct weir_prefix dst, src;
	bool remote; /* src counts */
	uint16_t lo, hi;
	uint8_t proto;
	uint32_t rule; /* index */
	uint32_t next; /* among those that begin or end at a port */
};

struct compiler {
	const struct weir_steer_conf *conf;
	const struct weir_steer_clock *clock;
	struct weir_steer_code *code;
	struct weir_error *err;
	struct atom *atoms;
	size_t n_atoms, room_atoms;
	uint64_t pairs;
	uint16_t *depth; /* of each candidate: how many follow, with itself */
	size_t room_depth;
	uint32_t *slots; /* candidates by their contents */
	size_t n_slots;
	struct weir_steer_target *targets; /* [rule * WEIR_STEER_PROTOS + proto] */
};

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

static int too_many(struct compiler *x)
{
	return weir_fail(
		x->err, -E2BIG,
		"the rules make more than %u combinations of ports and prefixes: use fewer "
		"port ranges that overlap",
		WEIR_STEER_NODES_MAX);
}

static int grow(void *v, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 256;
	void *p;

	if (n < *room)
		return 0;
	p = reallocarray(*(void **)v, more, size);
	if (!p)
		return -ENOMEM;
	*(void **)v = p;
	*room = more;
	return 0;
}

void weir_steer_code_free(struct weir_steer_code *code)
{
	free(code->ports);
	free(code->candidates);
	free(code->roots);
	free(code->nodes);
	free(code->lones);
	*code = (struct weir_steer_code){ 0 };
}

/* ---- Atoms */

static const struct weir_prefix any4 = { .addr.b = { [10] = 0xff, 0xff },
					 .len = 96,
					 .is_v4 = true };
static const struct weir_prefix any6 = { 0 };

static int add_atom(struct compiler *x, const struct atom *a)
{
	if (x->n_atoms == ATOMS_MAX)
		return too_many(x);
	if (grow(&x->atoms, x->n_atoms, &x->room_atoms, sizeof(*x->atoms)))
		return oom(x->err);
	x->atoms[x->n_atoms++] = *a;
	return 0;
}

static int add_remotes(struct compiler *x, const struct weir_steer_rule *r, struct atom *a)
{
	int ret = 0;

	if (!r->n_src)
		return add_atom(x, a);
	for (size_t i = 0; !ret && i < r->n_src; i++) {
		if (r->src[i].is_v4 != a->dst.is_v4)
			continue;
		a->src = r->src[i];
		a->remote = a->src.len > (a->src.is_v4 ? 96 : 0);
		ret = add_atom(x, a);
	}
	return ret;
}

static int add_ports(struct compiler *x, const struct weir_steer_rule *r, struct atom *a)
{
	int ret = 0;

	a->lo = 0;
	a->hi = UINT16_MAX;
	if (!r->n_ports)
		return add_remotes(x, r, a);
	for (size_t i = 0; !ret && i < r->n_ports; i++) {
		a->lo = (uint16_t)r->ports[i].lo;
		a->hi = (uint16_t)r->ports[i].hi;
		ret = add_remotes(x, r, a);
	}
	return ret;
}

static int add_rule(struct compiler *x, uint32_t at)
{
	const struct weir_steer_rule *r = &x->conf->rules[at];
	const struct weir_prefix any[] = { any4, any6 };
	const struct weir_prefix *dst = r->n_dst ? r->dst : any;
	size_t n = r->n_dst ? r->n_dst : WEIR_ARRAY_SIZE(any);
	bool takes_v6 = weir_steer_conf_takes(x->conf, r, false);
	struct atom a = { .rule = at };
	int ret = 0;

	for (a.proto = 0; a.proto < WEIR_STEER_PROTOS; a.proto++) {
		const struct weir_steer_target *t;

		if (!(r->protos & 1U << a.proto))
			continue;
		t = weir_steer_conf_target(x->conf, r->to, (enum weir_steer_proto)a.proto);
		if (!t)
			return weir_fail(x->err, -EINVAL, "rule %s has no sockets: report this",
					 r->name);
		x->targets[at * WEIR_STEER_PROTOS + a.proto] = *t;
		for (size_t i = 0; !ret && i < n; i++) {
			if (!dst[i].is_v4 && !takes_v6)
				continue;
			a.dst = dst[i];
			ret = add_ports(x, r, &a);
		}
	}
	return ret;
}

/* ---- Candidates */

static uint32_t hash_candidate(const struct weir_steer_candidate *c)
{
	const uint8_t *p = (const uint8_t *)c;
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < sizeof(*c); i++)
		h = (h ^ p[i]) * 16777619U;
	return h;
}

static int rehash(struct compiler *x)
{
	size_t n = x->n_slots ? 2 * x->n_slots : 1024;
	uint32_t *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 1; i < x->code->n_candidates; i++) {
		size_t at = hash_candidate(&x->code->candidates[i]) & (n - 1);

		while (slots[at])
			at = (at + 1) & (n - 1);
		slots[at] = i;
	}
	free(x->slots);
	x->slots = slots;
	x->n_slots = n;
	return 0;
}

/* The index of a candidate of these contents: chains share their ends. */
static int give_candidate(struct compiler *x, const struct weir_steer_candidate *c, uint32_t *ret)
{
	struct weir_steer_code *code = x->code;
	size_t at;

	if (2 * code->n_candidates >= x->n_slots && rehash(x))
		return oom(x->err);
	at = hash_candidate(c) & (x->n_slots - 1);
	for (; x->slots[at]; at = (at + 1) & (x->n_slots - 1)) {
		if (memcmp(&code->candidates[x->slots[at]], c, sizeof(*c)) != 0)
			continue;
		*ret = x->slots[at];
		return 0;
	}
	if (code->n_candidates == WEIR_STEER_CANDIDATES_MAX)
		return too_many(x);
	if (grow(&code->candidates, code->n_candidates, &code->room_candidates, sizeof(*c)) ||
	    grow(&x->depth, code->n_candidates, &x->room_depth, sizeof(*x->depth)))
		return oom(x->err);
	*ret = (uint32_t)code->n_candidates;
	code->candidates[code->n_candidates] = *c;
	x->depth[code->n_candidates] = (uint16_t)(1 + (c->next ? x->depth[c->next] : 0));
	x->slots[at] = (uint32_t)code->n_candidates++;
	return 0;
}

static uint64_t end_of(const struct weir_steer_clock *clock, uint64_t expires)
{
	uint64_t left = expires > clock->boot ? expires - clock->boot : 0;
	uint64_t end = clock->jiffies + (left + clock->tick - 1) / clock->tick;

	return !expires ? 0 : end ? end : 1;
}

static bool is_conditional(const struct compiler *x, const struct atom *a)
{
	return a->remote || x->conf->rules[a->rule].expires;
}

/* Put @a before the chain @next. */
static int prepend(struct compiler *x, const struct atom *a, uint32_t next, uint32_t *ret)
{
	const struct weir_steer_rule *r = &x->conf->rules[a->rule];
	const struct weir_steer_target *t = &x->targets[a->rule * WEIR_STEER_PROTOS + a->proto];
	struct weir_steer_candidate c = {
		.expires = end_of(x->clock, r->expires),
		.rule = r->id,
		.next = is_conditional(x, a) ? next : 0,
		.first = t->first,
		.members = (uint16_t)t->members,
		.flags = r->on_miss ? WEIR_STEER_ON_MISS_PASS : 0,
	};
	int code;

	if (a->remote && a->src.is_v4) {
		c.remote_len = a->src.len - 96;
		memcpy(c.remote, a->src.addr.b + 12, 4);
	} else if (a->remote) {
		c.remote_len = a->src.len;
		memcpy(c.remote, a->src.addr.b, 16);
	}
	code = give_candidate(x, &c, ret);
	if (!code && x->depth[*ret] > WEIR_STEER_CHAIN_MAX)
		return weir_fail(x->err, -E2BIG,
				 "rule %s: more than %d rules with --src-ip or --ttl for one port "
				 "and address: use fewer",
				 r->name, WEIR_STEER_CHAIN_MAX);
	return code;
}

/* ---- Classes */

/* By local prefix, wider ones first, and then by who decides. */
static int compare_atoms(const void *va, const void *vb)
{
	const struct atom *a = *(const struct atom *const *)va,
			  *b = *(const struct atom *const *)vb;
	int d = (int)b->dst.is_v4 - (int)a->dst.is_v4;

	if (!d)
		d = memcmp(a->dst.addr.b, b->dst.addr.b, sizeof(a->dst.addr.b));
	if (!d)
		d = (int)a->dst.len - (int)b->dst.len;
	if (!d)
		d = (a->hi - a->lo) - (b->hi - b->lo);
	if (!d)
		d = (int)(b->remote ? b->src.len : 0) - (int)(a->remote ? a->src.len : 0);
	if (!d)
		d = a->rule < b->rule ? -1 : a->rule > b->rule;
	return d ? d : a < b ? -1 : a > b;
}

static bool same_dst(const struct atom *a, const struct atom *b)
{
	return a->dst.is_v4 == b->dst.is_v4 && a->dst.len == b->dst.len &&
	       !memcmp(a->dst.addr.b, b->dst.addr.b, sizeof(a->dst.addr.b));
}

/* ---- Tries */

/* A prefix on its way down, as its family has it: 4 or 16 bytes. */
struct entry {
	uint8_t addr[16];
	uint32_t len;
	uint32_t first; /* candidate */
};

static int add_lone(struct compiler *x, const struct entry *e, uint32_t otherwise, uint32_t *ret)
{
	struct weir_steer_code *code = x->code;
	struct weir_steer_lone l = { .len = e->len, .first = e->first, .otherwise = otherwise };

	if (code->n_lones == WEIR_STEER_NODES_MAX)
		return too_many(x);
	if (grow(&code->lones, code->n_lones, &code->room_lones, sizeof(l)))
		return oom(x->err);
	memcpy(l.addr, e->addr, sizeof(l.addr));
	*ret = WEIR_STEER_LONE | (uint32_t)code->n_lones;
	code->lones[code->n_lones++] = l;
	return 0;
}

/* A node of which all words are @word. */
static int add_node(struct compiler *x, uint32_t word, uint32_t *ret)
{
	struct weir_steer_code *code = x->code;

	if (code->n_nodes == WEIR_STEER_NODES_MAX)
		return too_many(x);
	if (grow(&code->nodes, code->n_nodes, &code->room_nodes, sizeof(*code->nodes)))
		return oom(x->err);
	*ret = (uint32_t)code->n_nodes++;
	for (int i = 0; i < 16; i++)
		code->nodes[*ret].child[i] = word;
	return 0;
}

static uint32_t nibble(const struct entry *e, uint32_t depth)
{
	return depth & 1 ? e->addr[depth / 2] & 15U : e->addr[depth / 2] >> 4;
}

static int insert(struct compiler *x, const struct entry *e, uint32_t depth, uint32_t *word);

/* @e ends within this node, or goes on by one of its words. */
static int insert_below(struct compiler *x, const struct entry *e, uint32_t depth, uint32_t node)
{
	uint32_t at = nibble(e, depth), bits = e->len - 4 * depth, word;
	int ret;

	if (bits >= 4) {
		/* The nodes may move while it is made. */
		word = x->code->nodes[node].child[at];
		ret = insert(x, e, depth + 1, &word);
		x->code->nodes[node].child[at] = word;
		return ret;
	}
	/* All that lies within @e comes after it: nothing is written over. */
	for (uint32_t i = 0; i < 1U << (4 - bits); i++)
		x->code->nodes[node].child[at + i] = WEIR_STEER_END | e->first;
	return 0;
}

/* Put @e where *@word leads. Wider prefixes came before it. */
static int insert(struct compiler *x, const struct entry *e, uint32_t depth, uint32_t *word)
{
	struct entry other;
	uint32_t node;
	int ret;

	if (e->len == 4 * depth) {
		*word = WEIR_STEER_END | e->first;
		return 0;
	}
	if (!*word || *word & WEIR_STEER_END)
		return add_lone(x, e, *word & WEIR_STEER_INDEX, word);
	if (!(*word & WEIR_STEER_LONE))
		return insert_below(x, e, depth, *word);
	{
		const struct weir_steer_lone *l = &x->code->lones[*word & WEIR_STEER_INDEX];

		other.len = l->len;
		other.first = l->first;
		memcpy(other.addr, l->addr, sizeof(other.addr));
		ret = add_node(x, WEIR_STEER_END | l->otherwise, &node);
	}
	if (!ret)
		ret = insert_below(x, &other, depth, node);
	if (!ret)
		ret = insert_below(x, e, depth, node);
	if (!ret)
		*word = node;
	return ret;
}

static int add_entry(struct compiler *x, uint32_t class_id, const struct weir_prefix *p,
		     uint32_t first)
{
	struct entry e = { .len = p->is_v4 ? p->len - 96U : p->len, .first = first };
	uint32_t word = x->code->roots[class_id].at[!p->is_v4];
	int ret;

	memcpy(e.addr, p->addr.b + (p->is_v4 ? 12 : 0), p->is_v4 ? 4 : 16);
	ret = insert(x, &e, 0, &word);
	x->code->roots[class_id].at[!p->is_v4] = word;
	return ret;
}

/* The prefixes around the one at hand, widest first. */
struct around {
	const struct weir_prefix *p[130];
	uint32_t first[130];
	size_t n;
};

static uint32_t outer_chain(struct around *s, const struct weir_prefix *p)
{
	while (s->n && (s->p[s->n - 1]->is_v4 != p->is_v4 ||
			!weir_prefix_contains(s->p[s->n - 1], &p->addr)))
		s->n--;
	return s->n ? s->first[s->n - 1] : 0;
}

/* The atoms of one class, as its tries. */
static int add_class(struct compiler *x, uint32_t class_id, const struct atom **v, size_t n)
{
	struct around around = { .n = 0 };
	int ret = 0;

	qsort(v, n, sizeof(*v), compare_atoms);
	for (size_t i = 0, end; !ret && i < n; i = end) {
		uint32_t first = outer_chain(&around, &v[i]->dst);
		size_t last = i;

		for (end = i; end < n && same_dst(v[i], v[end]); end++)
			if (last == end || is_conditional(x, v[last]))
				last = end;
		/* Behind one that always decides nothing comes. */
		for (size_t k = last + 1; !ret && k-- > i;)
			ret = prepend(x, v[k], first, &first);
		if (!ret)
			ret = add_entry(x, class_id, &v[i]->dst, first);
		around.p[around.n] = &v[i]->dst;
		around.first[around.n++] = first;
	}
	return ret;
}

/* ---- Ports */

struct sweep {
	const struct atom **active;
	uint32_t *where; /* of an atom in active */
	size_t n;
	uint64_t sum[2];	 /* of the active ones; the same for the same set */
	uint32_t *begins, *ends; /* by port: index + 1 of the first atom */
	uint32_t *more_ends;	 /* by atom: the next that ends there */
	const struct atom **copy;
	struct known {
		uint64_t sum[2];
		uint32_t class_id;
	} * known; /* twice as many as classes, a power of two */
	size_t n_known;
};

static uint64_t mix(uint64_t v)
{
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9ULL;
	v = (v ^ v >> 27) * 0x94d049bb133111ebULL;
	return v ^ v >> 31;
}

static void toggle(struct sweep *s, size_t atom)
{
	s->sum[0] ^= mix(2 * atom + 0x9e3779b97f4a7c15ULL);
	s->sum[1] ^= mix(mix(2 * atom + 1) + 0x2545f4914f6cdd1dULL);
}

/* The class of the active atoms; 0 where there is none of them. */
static int find_class(struct compiler *x, struct sweep *s, uint16_t *ret)
{
	size_t at = s->sum[0] & (s->n_known - 1);
	int code;

	*ret = 0;
	if (!s->n)
		return 0;
	for (; s->known[at].class_id; at = (at + 1) & (s->n_known - 1)) {
		if (memcmp(s->known[at].sum, s->sum, sizeof(s->sum)) != 0)
			continue;
		*ret = (uint16_t)s->known[at].class_id;
		return 0;
	}
	x->pairs += s->n;
	if (x->code->n_roots > CLASSES_MAX || x->pairs > PAIRS_MAX)
		return too_many(x);
	if (grow(&x->code->roots, x->code->n_roots, &x->code->room_roots, sizeof(*x->code->roots)))
		return oom(x->err);
	memcpy(s->known[at].sum, s->sum, sizeof(s->sum));
	*ret = (uint16_t)x->code->n_roots;
	s->known[at].class_id = *ret;
	x->code->roots[x->code->n_roots++] = (struct weir_steer_root){ { 0 } };
	memcpy(s->copy, s->active, s->n * sizeof(*s->copy));
	code = add_class(x, *ret, s->copy, s->n);
	return code;
}

static void activate(struct compiler *x, struct sweep *s, uint32_t i)
{
	s->where[i] = (uint32_t)s->n;
	s->active[s->n++] = &x->atoms[i];
	toggle(s, i);
}

static void deactivate(struct compiler *x, struct sweep *s, uint32_t i)
{
	const struct atom *last = s->active[--s->n];

	s->active[s->where[i]] = last;
	s->where[last - x->atoms] = s->where[i];
	toggle(s, i);
}

static int sweep_ports(struct compiler *x, struct sweep *s, uint8_t proto)
{
	uint16_t class_id = 0;
	bool changed = true;
	int ret = 0;

	memset(s->begins, 0, (WEIR_STEER_PORTS + 1) * sizeof(*s->begins));
	memset(s->ends, 0, (WEIR_STEER_PORTS + 1) * sizeof(*s->ends));
	for (uint32_t i = 0; i < x->n_atoms; i++) {
		struct atom *a = &x->atoms[i];

		if (a->proto != proto)
			continue;
		a->next = s->begins[a->lo];
		s->begins[a->lo] = i + 1;
		s->more_ends[i] = s->ends[a->hi + 1];
		s->ends[a->hi + 1] = i + 1;
	}
	for (uint32_t port = 0; !ret && port < WEIR_STEER_PORTS; port++) {
		changed = !port || s->begins[port] || s->ends[port];
		for (uint32_t i = s->ends[port]; i; i = s->more_ends[i - 1])
			deactivate(x, s, i - 1);
		for (uint32_t i = s->begins[port]; i; i = x->atoms[i - 1].next)
			activate(x, s, i - 1);
		if (changed)
			ret = find_class(x, s, &class_id);
		x->code->ports[(proto * WEIR_STEER_PORTS + port) / WEIR_STEER_PORTS_A_ROW]
			.class_id[port % WEIR_STEER_PORTS_A_ROW] = class_id;
	}
	/* Those that reach to the last port. */
	s->n = 0;
	s->sum[0] = s->sum[1] = 0;
	return ret;
}

static int sweep_all(struct compiler *x)
{
	struct sweep s = { .n_known = 2 * (CLASSES_MAX + 1) };
	size_t n = x->n_atoms + 1;
	int ret = 0;

	s.active = calloc(n, sizeof(*s.active));
	s.copy = calloc(n, sizeof(*s.copy));
	s.where = calloc(n, sizeof(*s.where));
	s.more_ends = calloc(n, sizeof(*s.more_ends));
	s.begins = calloc(WEIR_STEER_PORTS + 1, sizeof(*s.begins));
	s.ends = calloc(WEIR_STEER_PORTS + 1, sizeof(*s.ends));
	s.known = calloc(s.n_known, sizeof(*s.known));
	if (!s.active || !s.copy || !s.where || !s.more_ends || !s.begins || !s.ends || !s.known)
		ret = oom(x->err);
	for (uint8_t proto = 0; !ret && proto < WEIR_STEER_PROTOS; proto++) {
		/* A class belongs to one protocol. */
		memset(s.known, 0, s.n_known * sizeof(*s.known));
		ret = sweep_ports(x, &s, proto);
	}
	free(s.active);
	free(s.copy);
	free(s.where);
	free(s.more_ends);
	free(s.begins);
	free(s.ends);
	free(s.known);
	return ret;
}

int weir_steer_compile(const struct weir_steer_conf *c, const struct weir_steer_clock *clock,
		       struct weir_steer_code *ret, struct weir_error *err)
{
	struct weir_steer_code code = {
		.n_candidates = 1, .n_roots = 1, .n_nodes = 1, .n_lones = 1
	};
	struct compiler x = { .conf = c, .clock = clock, .code = &code, .err = err };
	int r = 0;

	code.ports = calloc(ROWS, sizeof(*code.ports));
	code.candidates = calloc(1, sizeof(*code.candidates));
	code.roots = calloc(1, sizeof(*code.roots));
	code.nodes = calloc(1, sizeof(*code.nodes));
	code.lones = calloc(1, sizeof(*code.lones));
	code.room_candidates = code.room_roots = code.room_nodes = code.room_lones = 1;
	x.depth = calloc(1, sizeof(*x.depth));
	x.room_depth = 1;
	x.targets = calloc(c->n_rules * WEIR_STEER_PROTOS + 1, sizeof(*x.targets));
	if (!code.ports || !code.candidates || !code.roots || !code.nodes || !code.lones ||
	    !x.depth || !x.targets)
		r = oom(err);
	for (uint32_t i = 0; !r && i < c->n_rules; i++)
		if (!c->rules[i].expires || c->rules[i].expires > clock->boot)
			r = add_rule(&x, i);
	if (!r)
		r = sweep_all(&x);
	free(x.atoms);
	free(x.depth);
	free(x.slots);
	free(x.targets);
	if (r)
		weir_steer_code_free(&code);
	else
		*ret = code;
	return r;
}
