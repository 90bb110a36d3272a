/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of dataplane/set.c share.
 *
 *	set.c         the maps: make, map, pin, ask
 *	set_keys.c    sort, reduce to what no other prefix covers
 *	set_table.c   TABLE4
 *	set_trie.c    TRIE
 *	set_list.c    LIST
 *	set_change.c  add, del, and what a killed writer left
 *	set_read.c    feeds
 *
 * Both tables change in one way: what lies in a region (a prefix) is replaced by a
 * list of disjoint prefixes inside it. To do so again changes nothing, and that is
 * how an interrupted change is brought to its end.
 */
#pragma once

#include "bpf/set.h"
#include "dataplane/set.h"

#define WEIR_SET_PREFIXES_MAX (1U << 24)
#define WEIR_SET_V4_MAPPED 0xffff00000000ULL /* the lower half of ::ffff:0:0 */

/* A prefix as a number, to sort and compare by. */
struct weir_set_key {
	uint64_t hi, lo;
	uint32_t index; /* where it came from */
	uint32_t len;	/* 0..128, as in struct weir_prefix */
};

enum weir_set_family { WEIR_SET_V4, WEIR_SET_V6, WEIR_SET_FAMILIES };

struct weir_set_keys {
	struct weir_set_key *v;
	size_t n;
};

/* ---- set_keys.c */
enum weir_set_family weir_set_family_of(const struct weir_prefix *p);
struct weir_set_key weir_set_key_of(const struct weir_prefix *p, uint32_t index);
struct weir_prefix weir_set_prefix_of(const struct weir_set_key *k, enum weir_set_family f);
/* Bits from the first on in which two addresses agree, 0..128. */
static inline unsigned int weir_set_common(const struct weir_set_key *a,
					   const struct weir_set_key *b)
{
	if (a->hi != b->hi)
		return (unsigned int)__builtin_clzll(a->hi ^ b->hi);
	if (a->lo != b->lo)
		return 64 + (unsigned int)__builtin_clzll(a->lo ^ b->lo);
	return 128;
}

int weir_set_compare(const struct weir_set_key *a, const struct weir_set_key *b);
static inline bool weir_set_covers(const struct weir_set_key *a, const struct weir_set_key *b)
{
	return a->len <= b->len && weir_set_common(a, b) >= a->len;
}
/* Does one of the two cover the other? */
static inline bool weir_set_overlap(const struct weir_set_key *a, const struct weir_set_key *b)
{
	return weir_set_common(a, b) >= (a->len < b->len ? a->len : b->len);
}
/* By address, then length, then index. 0 or -ENOMEM. */
int weir_set_sort(struct weir_set_keys *k);
/* Of sorted keys: leave out what occurs again, and note its index in @dup. */
void weir_set_unique(struct weir_set_keys *k, bool *dup);
/* Of sorted keys: leave out what another one covers. */
void weir_set_reduce(struct weir_set_keys *k);
/* Split into families, each sorted; to be freed with weir_set_keys_free(). */
int weir_set_keys_make(struct weir_set_keys k[WEIR_SET_FAMILIES], const struct weir_prefix *v,
		       size_t n);
void weir_set_keys_free(struct weir_set_keys k[WEIR_SET_FAMILIES]);

/* ---- set_table.c; keys are reduced, IPv4 */
struct weir_set_table_plan {
	uint32_t *nets; /* the /24s that need an entry */
	size_t n;
	size_t bitmaps;
	uint64_t seed;
	uint32_t buckets;
	size_t lines; /* of the whole map */
};
int weir_set_table_plan(const struct weir_set_keys *k, struct weir_set_table_plan *ret);
void weir_set_table_plan_free(struct weir_set_table_plan *p);
void weir_set_table_fill(union weir_set_line *t, const struct weir_set_keys *k,
			 const struct weir_set_table_plan *p);
/* What regions in ascending order need; begin with WEIR_SET_TABLE_NEED. */
struct weir_set_table_need {
	uint32_t net;	   /* the /24 of the last region, where that is smaller */
	uint64_t hosts[4]; /* what that will have */
	bool counted;	   /* ...and whether its bitmap is in here: */
	uint32_t bitmaps;
};
#define WEIR_SET_TABLE_NEED ((struct weir_set_table_need){ .net = UINT32_MAX })
/* Make room for weir_set_table_splice() with the same arguments; the programs see no
 * difference. 0 or -ENOSPC. */
int weir_set_table_reserve(union weir_set_line *t, struct weir_set_table_need *need,
			   const struct weir_set_key *region, const struct weir_set_key *want,
			   size_t n);
/* @want: in @region, none of it, or all (the region itself), or anything between. */
void weir_set_table_splice(union weir_set_line *t, const struct weir_set_key *region,
			   const struct weir_set_key *want, size_t n);

/* ---- set_trie.c; keys are reduced */
size_t weir_set_trie_lines(const struct weir_set_keys k[WEIR_SET_FAMILIES]);
void weir_set_trie_fill(struct weir_set *s, const struct weir_set_keys k[WEIR_SET_FAMILIES]);
/* Is there room for so many regions, and prefixes wanted in them? 0 or -ENOSPC. */
int weir_set_trie_reserve(struct weir_set *s, size_t regions, size_t want);
/* As for the table. -ENOMEM: a part can't be mapped, and nothing has changed. */
int weir_set_trie_splice(struct weir_set *s, enum weir_set_family f,
			 const struct weir_set_key *region, const struct weir_set_key *want,
			 size_t n);

/* ---- set_list.c */
/* Words that @p takes. */
unsigned int weir_set_entry_words(const struct weir_set_key *k, enum weir_set_family f);
/* Write it at @w (room is there). Returns the words written. */
unsigned int weir_set_entry_put(uint64_t *w, const struct weir_set_key *k, enum weir_set_family f);
/* The entry at word *@at, which moves behind it; the key's index is its place. False
 * at @end, and where what follows is no entry. In line: a change walks a million. */
static inline bool weir_set_entry_next(const uint64_t *list, size_t end, size_t *at,
				       struct weir_set_key *ret, enum weir_set_family *ret_family,
				       uint64_t *ret_word)
{
	const uint64_t *w = list + *at;
	unsigned int kind;

	if (*at >= end)
		return false;
	kind = WEIR_SET_ENTRY_KIND(w[0]);
	if (!kind || kind > end - *at)
		return false;
	ret->index = (uint32_t)*at;
	ret->len = WEIR_SET_ENTRY_LEN(w[0]);
	if (kind == WEIR_SET_ENTRY_V4) {
		ret->hi = 0;
		ret->lo = WEIR_SET_V4_MAPPED | (uint32_t)w[0];
		*ret_family = WEIR_SET_V4;
	} else {
		ret->hi = w[1];
		ret->lo = kind == WEIR_SET_ENTRY_V6 ? w[2] : 0;
		*ret_family = WEIR_SET_V6;
	}
	*ret_word = w[0];
	*at += kind;
	return true;
}

/* What an entry's first word says, given enum weir_set_work. */
static inline bool weir_set_entry_lives(uint64_t word, uint64_t work)
{
	if (word & WEIR_SET_ENTRY_DEAD)
		return false;
	return !(word & WEIR_SET_ENTRY_MARK) || work != WEIR_SET_DELETING;
}

/* Words that may be read: what the head says, at most what the map has. */
size_t weir_set_list_used(const struct weir_set *s);

/* ---- set_change.c */
/* Finish what a killed writer began; -ENOSPC: there is no room to. */
int weir_set_recover(struct weir_set *s);

/* ---- set.c */
bool weir_set_has(const struct weir_set *s, enum weir_set_map which);
/* Map what a change needs: all, but of a large trie only what is touched. */
int weir_set_map_all(struct weir_set *s, struct weir_error *err);
/* Have this line of the trie mapped. 0 or a negative errno. */
int weir_set_touch(struct weir_set *s, uint32_t line);
/* weir_set_create() with other memory and another size, for tests: @alloc makes the
 * maps of so many bytes each (0: none), zeroed; up to @trie4_max IPv4 prefixes go
 * without TABLE4. */
typedef int weir_set_alloc_fn(struct weir_set *s, const size_t bytes[WEIR_SET_MAPS],
			      struct weir_error *err);
int weir_set_make(struct weir_set *s, const struct weir_prefix *v, size_t n,
		  weir_set_alloc_fn *alloc, size_t trie4_max, struct weir_error *err);
