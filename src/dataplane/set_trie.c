/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TRIE. New parts are built where nothing leads to, then one store of a slot puts them
 * in place of the old ones, which stay as they are for the programs still in them.
 */
#include <endian.h>
#include <errno.h>

#include "dataplane/set_impl.h"

#define NODE_BITS 4
#define NODE_SLOTS 16U
#define BITS_MAX 128
/* Lines kept back for finishing what a killed writer began. */
#define RESERVE_LINES 8
/* Nodes above more prefixes than this lie together, since every look-up passes some
 * of them: so they need few entries of the TLB. */
#define TOP_PREFIXES 32

struct weir_set_trie {
	struct weir_set *set;
	union weir_set_line *line;   /* NULL: lines are only counted */
	union weir_set_line nothing; /* stands for a line that can't be mapped */
	uint32_t top, next, half;    /* where new lines come from */
	bool failed;		     /* then nothing is stored any more */
};

static union weir_set_line *line_at(struct weir_set_trie *t, uint32_t line)
{
	if (!t->failed && weir_set_touch(t->set, line))
		t->failed = true;
	return t->failed ? &t->nothing : &t->line[line];
}

static struct weir_set_trie trie_of(struct weir_set *s)
{
	struct weir_set_trie t = { .set = s, .line = s->mem[WEIR_SET_TRIE] };
	const struct weir_set_trie_head *head = &line_at(&t, WEIR_SET_TRIE_HEAD)->trie;

	t.next = head->next;
	t.half = head->half;
	return t;
}

static void store_slot(const struct weir_set_trie *t, uint32_t *at, uint32_t slot)
{
	if (!t->failed)
		__atomic_store_n(at, slot, __ATOMIC_RELEASE);
}

/* What was built is given out before anything leads to it. */
static void build_done(struct weir_set_trie *t)
{
	struct weir_set_trie_head *head = &line_at(t, WEIR_SET_TRIE_HEAD)->trie;

	store_slot(t, &head->next, t->next);
	store_slot(t, &head->half, t->half);
}

static uint64_t mask_bits(unsigned int len)
{
	return len ? htobe64(~0ULL << (64 - len)) : 0;
}

static uint32_t make_leaf(struct weir_set_trie *t, const struct weir_set_key *k)
{
	uint32_t place = t->half;

	t->half = place ? 0 : 2 * t->next + 1;
	if (!place)
		place = 2 * t->next++;
	if (t->line)
		line_at(t, place >> 1)->leaf[place & 1] = (struct weir_set_leaf){
			.value = { htobe64(k->hi), htobe64(k->lo) },
			.mask = { mask_bits(k->len < 64 ? k->len : 64),
				  mask_bits(k->len > 64 ? k->len - 64 : 0) },
		};
	return WEIR_SET_LEAF | place;
}

/* The half byte by which a node at @depth chooses. */
static unsigned int nibble(const struct weir_set_key *k, unsigned int depth)
{
	return (depth < 16 ? k->hi >> (60 - NODE_BITS * depth) :
			     k->lo >> (60 - NODE_BITS * (depth - 16))) &
	       (NODE_SLOTS - 1);
}

/* The slots of a node at @depth that a prefix of @len fills, which are in a row. */
static unsigned int span(unsigned int len, unsigned int depth)
{
	return len >= NODE_BITS * (depth + 1) ? 1 : 1U << (NODE_BITS * (depth + 1) - len);
}

static void set_span(uint32_t slots[NODE_SLOTS], unsigned int first, unsigned int n, uint32_t slot)
{
	for (unsigned int i = first; i < first + n && i < NODE_SLOTS; i++)
		slots[i] = slot;
}

static uint32_t make_subtree(struct weir_set_trie *t, const struct weir_set_key *v, size_t n);

/* The slots of a node at @depth for keys that agree up to there. */
static void make_slots(struct weir_set_trie *t, unsigned int depth, const struct weir_set_key *v,
		       size_t n, uint32_t slots[NODE_SLOTS])
{
	for (size_t i = 0, used; i < n; i += used) {
		const unsigned int first = nibble(&v[i], depth);

		for (used = 1; i + used < n && nibble(&v[i + used], depth) == first; used++)
			;
		set_span(slots, first, span(v[i].len, depth), make_subtree(t, &v[i], used));
	}
}

/* A slot that leads to all of these keys, sorted and disjoint. It recurses by depth,
 * at most WEIR_SET_DEPTH_MAX times. */
static uint32_t make_subtree(struct weir_set_trie *t, const struct weir_set_key *v, size_t n)
{
	uint32_t unseen[NODE_SLOTS], *slots = unseen;
	unsigned int depth;
	uint32_t line;

	if (!n)
		return 0;
	if (n == 1)
		return make_leaf(t, v);
	depth = weir_set_common(&v[0], &v[n - 1]) / NODE_BITS;
	line = t->top && n > TOP_PREFIXES ? t->top++ : t->next++;
	if (t->line) {
		slots = line_at(t, line)->slot;
		for (unsigned int i = 0; i < NODE_SLOTS; i++)
			slots[i] = 0;
	}
	make_slots(t, depth, v, n, slots);
	return depth << WEIR_SET_DEPTH_SHIFT | 2 * line;
}

/* ---- Make */

/* *ret_top: of these, lines of nodes that many look-ups pass. */
static size_t count_lines(const struct weir_set_keys k[WEIR_SET_FAMILIES], uint32_t *ret_top)
{
	struct weir_set_trie count = { .top = 1 };

	for (int f = 0; f < WEIR_SET_FAMILIES; f++)
		make_subtree(&count, k[f].v, k[f].n);
	*ret_top = count.top - 1;
	return WEIR_SET_TRIE_HEAD + count.top + count.next;
}

size_t weir_set_trie_lines(const struct weir_set_keys k[WEIR_SET_FAMILIES])
{
	uint32_t top;

	return count_lines(k, &top);
}

static uint32_t *root_of(struct weir_set_trie *t, enum weir_set_family f)
{
	struct weir_set_trie_head *head = &line_at(t, WEIR_SET_TRIE_HEAD)->trie;

	return f == WEIR_SET_V4 ? &head->root4 : &head->root6;
}

void weir_set_trie_fill(struct weir_set *s, const struct weir_set_keys k[WEIR_SET_FAMILIES])
{
	struct weir_set_trie t = trie_of(s);
	uint32_t top;

	count_lines(k, &top);
	t.top = WEIR_SET_TRIE_HEAD + 1;
	t.next = t.top + top;
	line_at(&t, WEIR_SET_TRIE_HEAD)->trie = (struct weir_set_trie_head){
		.magic = WEIR_SET_MAGIC,
	};
	for (int f = 0; f < WEIR_SET_FAMILIES; f++) {
		uint32_t slot = make_subtree(&t, k[f].v, k[f].n);

		build_done(&t);
		store_slot(&t, root_of(&t, f), slot);
	}
}

/* ---- Change */

int weir_set_trie_reserve(struct weir_set *s, size_t regions, size_t want)
{
	const size_t lines = s->size[WEIR_SET_TRIE] / sizeof(union weir_set_line);
	struct weir_set_trie t = trie_of(s);
	/* At most a node and half a line of leaf for each prefix, a node and a half for
	 * each region. */
	const size_t need = want + want / 2 + 2 * regions + RESERVE_LINES;

	if (t.failed)
		return -ENOMEM;
	return t.next <= lines && need <= lines - t.next ? 0 : -ENOSPC;
}

static struct weir_set_key key_of_leaf(struct weir_set_trie *t, uint32_t slot)
{
	const struct weir_set_leaf *leaf = &line_at(t, WEIR_SET_PLACE(slot) >> 1)->leaf[slot & 1];

	return (struct weir_set_key){
		.hi = be64toh(leaf->value[0]),
		.lo = be64toh(leaf->value[1]),
		.len = (uint32_t)(__builtin_popcountll(leaf->mask[0]) +
				  __builtin_popcountll(leaf->mask[1])),
	};
}

static uint32_t *slots_of(struct weir_set_trie *t, uint32_t slot)
{
	return line_at(t, WEIR_SET_PLACE(slot) >> 1)->slot;
}

/* Any leaf below @slot. A writer that was killed may have left a node without. */
static bool find_leaf(struct weir_set_trie *t, uint32_t slot, struct weir_set_key *ret)
{
	const uint32_t *slots;

	if (slot & WEIR_SET_LEAF) {
		*ret = key_of_leaf(t, slot);
		return true;
	}
	slots = slots_of(t, slot);
	for (unsigned int i = 0; slot && i < NODE_SLOTS; i++)
		if (slots[i] && find_leaf(t, slots[i], ret))
			return true;
	return false;
}

/* The prefix that all behind @slot share: a leaf's own, or that of any leaf below a
 * node up to the node's depth. False: nothing is there. */
static bool key_of_slot(struct weir_set_trie *t, uint32_t slot, struct weir_set_key *ret)
{
	if (!find_leaf(t, slot, ret))
		return false;
	if (!(slot & WEIR_SET_LEAF))
		ret->len = WEIR_SET_DEPTH(slot) * NODE_BITS;
	return true;
}

/* The way down: where the slots are that were followed. */
struct path {
	uint32_t *at[WEIR_SET_DEPTH_MAX + 1];
	unsigned int n;
};

/* Below the last slot of the path something went: nodes that lead nowhere, or to one
 * thing only, go as well. */
static void collapse(struct weir_set_trie *t, const struct path *p)
{
	for (unsigned int i = p->n; i-- > 0;) {
		const uint32_t *slots;
		uint32_t only = 0;
		bool several = false;

		if (!*p->at[i] || *p->at[i] & WEIR_SET_LEAF)
			continue;
		slots = slots_of(t, *p->at[i]);
		for (unsigned int k = 0; k < NODE_SLOTS; k++) {
			several |= only && slots[k] && slots[k] != only;
			only = slots[k] ? slots[k] : only;
		}
		if (several)
			return;
		store_slot(t, p->at[i], only);
	}
}

static void replace(struct weir_set_trie *t, uint32_t *at, const struct weir_set_key *want,
		    size_t n)
{
	uint32_t slot = make_subtree(t, want, n);

	build_done(t);
	store_slot(t, at, slot);
}

/* @want beside what is at @at, whose prefix is @old: a node where the two part. */
static void fork_slot(struct weir_set_trie *t, uint32_t *at, const struct weir_set_key *old,
		      const struct weir_set_key *want, size_t n)
{
	const unsigned int depth = weir_set_common(old, want) / NODE_BITS;
	uint32_t line = t->next++, *slots = line_at(t, line)->slot;

	for (unsigned int i = 0; i < NODE_SLOTS; i++)
		slots[i] = 0;
	set_span(slots, nibble(old, depth), span(old->len, depth), *at);
	make_slots(t, depth, want, n, slots);
	build_done(t);
	store_slot(t, at, depth << WEIR_SET_DEPTH_SHIFT | 2 * line);
}

/* The region is one or some slots of the node at @depth. */
static void splice_slots(struct weir_set_trie *t, uint32_t *slots, unsigned int depth,
			 const struct weir_set_key *region, const struct weir_set_key *want,
			 size_t n)
{
	const unsigned int first = nibble(region, depth), count = span(region->len, depth);
	uint32_t fresh[NODE_SLOTS] = { 0 };

	make_slots(t, depth, want, n, fresh);
	build_done(t);
	for (unsigned int i = first; i < first + count && i < NODE_SLOTS; i++)
		store_slot(t, &slots[i], fresh[i]);
}

int weir_set_trie_splice(struct weir_set *s, enum weir_set_family f,
			 const struct weir_set_key *region, const struct weir_set_key *want,
			 size_t n)
{
	struct weir_set_trie t = trie_of(s);
	struct path path = { { root_of(&t, f) }, 1 };

	while (!t.failed) {
		uint32_t *at = path.at[path.n - 1], slot = *at, *slots;
		const unsigned int depth = WEIR_SET_DEPTH(slot);
		struct weir_set_key old;

		if (!key_of_slot(&t, slot, &old) || weir_set_covers(region, &old)) {
			replace(&t, at, want, n);
			break;
		}
		if (!weir_set_covers(&old, region)) {
			if (n)
				fork_slot(&t, at, &old, want, n);
			break;
		}
		if (slot & WEIR_SET_LEAF)
			return 0; /* a larger prefix has it all */
		slots = slots_of(&t, slot);
		if (region->len <= NODE_BITS * (depth + 1)) {
			splice_slots(&t, slots, depth, region, want, n);
			break;
		}
		path.at[path.n++] = &slots[nibble(region, depth)];
	}
	collapse(&t, &path);
	return t.failed ? -ENOMEM : 0;
}

_Static_assert(BITS_MAX / NODE_BITS == WEIR_SET_DEPTH_MAX, "a node for each half byte");
