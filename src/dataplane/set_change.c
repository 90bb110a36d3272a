/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Changes in place. The list comes first and the tables follow, so that the list says
 * what a change that was interrupted had left to do:
 *
 *	add  entries are appended; USED moves behind them (now they count); the
 *	     tables change; APPLIED moves up to USED
 *	del  entries are marked; WORK becomes DELETING (now they are gone); the
 *	     tables change; the marks become DEAD; WORK becomes IDLE
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "dataplane/set_impl.h"

/* The keys of a change and what the list knows of them, by family. */
struct change {
	struct weir_set_keys keys[WEIR_SET_FAMILIES];
	struct weir_set_keys regions[WEIR_SET_FAMILIES]; /* keys, reduced */
	struct weir_set_keys want[WEIR_SET_FAMILIES];
	/* What the list has that the keys may cover or be covered by; the index is the
	 * entry's place. */
	struct weir_set_keys near[WEIR_SET_FAMILIES];
	bool *known;	  /* by index of the key: dup, or in the list */
	uint32_t *places; /* of the entries that are keys */
	size_t n_places;
};

static void change_free(struct change *c)
{
	weir_set_keys_free(c->keys);
	weir_set_keys_free(c->regions);
	weir_set_keys_free(c->want);
	weir_set_keys_free(c->near);
	free(c->known);
	free(c->places);
}

static uint64_t *list_of(const struct weir_set *s)
{
	return s->mem[WEIR_SET_LIST];
}

static void store_word(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static int copy_keys(struct weir_set_keys *to, const struct weir_set_keys *from)
{
	to->v = malloc((from->n + 1) * sizeof(*to->v));
	to->n = from->n;
	if (!to->v)
		return -ENOMEM;
	if (from->n)
		memcpy(to->v, from->v, from->n * sizeof(*to->v));
	return 0;
}

static int copy_families(struct weir_set_keys *to, const struct weir_set_keys *from)
{
	int ret = 0;

	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++)
		ret = copy_keys(&to[f], &from[f]);
	return ret;
}

static int change_init(struct change *c, const struct weir_prefix *v, size_t n)
{
	int ret;

	*c = (struct change){ .known = calloc(n + 1, sizeof(*c->known)),
			      .places = calloc(n + 1, sizeof(*c->places)) };
	ret = c->known && c->places ? weir_set_keys_make(c->keys, v, n) : -ENOMEM;
	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++)
		weir_set_unique(&c->keys[f], c->known);
	return ret;
}

/* ---- Look for keys in the list */

/* The prefix that covers all of @k: what lies outside of it needs no search. */
static struct weir_set_key frame_of(const struct weir_set_keys *k)
{
	struct weir_set_key frame = k->v[0];
	unsigned int common = weir_set_common(&k->v[0], &k->v[k->n - 1]);

	frame.len = frame.len < common ? frame.len : common;
	return frame;
}

/* The number of keys that sort before @key. */
static size_t lower_bound(const struct weir_set_keys *k, const struct weir_set_key *key)
{
	size_t from = 0, to = k->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (weir_set_compare(&k->v[mid], key) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool is_key(const struct weir_set_keys *k, const struct weir_set_key *key, size_t *ret_at)
{
	*ret_at = lower_bound(k, key);
	return *ret_at < k->n && !weir_set_compare(&k->v[*ret_at], key);
}

static int append_key(struct weir_set_keys *k, size_t *room, const struct weir_set_key *key)
{
	if (k->n == *room) {
		struct weir_set_key *more = realloc(k->v, (*room * 2 + 64) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		k->v = more;
		*room = *room * 2 + 64;
	}
	k->v[k->n++] = *key;
	return 0;
}

static unsigned int shorter(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/* The first entry from @at on that may overlap its family's frame. Most don't, by their
 * first bits: a change of one prefix walks over a million of them. */
static size_t skip_far(const uint64_t *list, size_t at, size_t end,
		       const struct weir_set_key frame[WEIR_SET_FAMILIES])
{
	const struct weir_set_key *v4 = &frame[WEIR_SET_V4], *v6 = &frame[WEIR_SET_V6];

	while (at < end) {
		const unsigned int kind = WEIR_SET_ENTRY_KIND(list[at]);
		const unsigned int len = WEIR_SET_ENTRY_LEN(list[at]);

		if (kind == WEIR_SET_ENTRY_V4) {
			uint64_t differs = (uint32_t)(list[at] ^ v4->lo);

			if (!(differs >> (128 - shorter(len, v4->len)) % 64))
				break;
			at++;
		} else {
			if (kind < WEIR_SET_ENTRY_V6_SHORT || kind > end - at ||
			    !shorter(len, v6->len) ||
			    !((list[at + 1] ^ v6->hi) >> (64 - shorter(shorter(len, v6->len), 64))))
				break;
			at += kind;
		}
	}
	return at;
}

/* The one walk over the list: c->near. */
static int find_near(const struct weir_set *s, struct change *c)
{
	const uint64_t *list = list_of(s), work = list[WEIR_SET_LIST_WORK];
	const size_t end = weir_set_list_used(s);
	size_t at = WEIR_SET_LIST_HEAD, room[WEIR_SET_FAMILIES] = { 0 };
	/* Of a family without a key: one that everything is far from. */
	struct weir_set_key frame[WEIR_SET_FAMILIES] = { { .len = 128 }, { .len = 128 } }, key;
	enum weir_set_family f;
	uint64_t word;
	int ret = 0;

	for (int i = 0; i < WEIR_SET_FAMILIES; i++)
		if (c->keys[i].n)
			frame[i] = frame_of(&c->keys[i]);
	while (!ret) {
		at = skip_far(list, at, end, frame);
		if (!weir_set_entry_next(list, end, &at, &key, &f, &word))
			break;
		if (c->keys[f].n && weir_set_overlap(&frame[f], &key) &&
		    weir_set_entry_lives(word, work))
			ret = append_key(&c->near[f], &room[f], &key);
	}
	return ret;
}

/* Which of the keys are in the list, and where. */
static int find_known(const struct weir_set *s, struct change *c)
{
	int ret = find_near(s, c);

	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++) {
		const struct weir_set_keys *keys = &c->keys[f];

		for (size_t i = 0, at; i < c->near[f].n; i++) {
			if (!is_key(keys, &c->near[f].v[i], &at) || c->known[keys->v[at].index])
				continue;
			c->known[keys->v[at].index] = true;
			c->places[c->n_places++] = c->near[f].v[i].index;
		}
	}
	return ret;
}

/* ---- What the list still has in regions that are deleted */

/* @key, which stays, and the regions: those that it covers need no change (*covered),
 * and what of it lies in one is wanted there. */
static int keep_key(const struct weir_set_keys *regions, bool *covered,
		    const struct weir_set_key *key, struct weir_set_keys *want, size_t *room)
{
	size_t i = lower_bound(regions, key);

	if (i && weir_set_covers(&regions->v[i - 1], key))
		return append_key(want, room, key);
	for (; i < regions->n && weir_set_covers(key, &regions->v[i]); i++)
		covered[i] = true;
	return 0;
}

static void drop_covered(struct weir_set_keys *regions, const bool *covered)
{
	size_t n = 0;

	for (size_t i = 0; i < regions->n; i++)
		if (!covered[i])
			regions->v[n++] = regions->v[i];
	regions->n = n;
}

/* c->regions and c->want of a change that takes the keys out of the list. */
static int find_wanted(struct change *c, enum weir_set_family f)
{
	weir_autofree bool *covered = calloc(c->keys[f].n + 1, sizeof(*covered));
	size_t room = 0, at;
	int ret = covered ? copy_keys(&c->regions[f], &c->keys[f]) : -ENOMEM;

	if (ret)
		return ret;
	weir_set_reduce(&c->regions[f]);
	for (size_t i = 0; !ret && i < c->near[f].n; i++) {
		const struct weir_set_key *key = &c->near[f].v[i];

		if (!is_key(&c->keys[f], key, &at))
			ret = keep_key(&c->regions[f], covered, key, &c->want[f], &room);
	}
	drop_covered(&c->regions[f], covered);
	if (!ret)
		ret = weir_set_sort(&c->want[f]);
	weir_set_reduce(&c->want[f]);
	return ret;
}

static int find_all_wanted(struct change *c)
{
	int ret = 0;

	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++)
		ret = find_wanted(c, f);
	return ret;
}

/* ---- The tables */

typedef int region_fn(void *arg, const struct weir_set_key *region, const struct weir_set_key *want,
		      size_t n);

/* Each region, with what is wanted in it. */
static int each_region(const struct weir_set_keys *regions, const struct weir_set_keys *want,
		       region_fn *fn, void *arg)
{
	size_t at = 0;
	int ret = 0;

	for (size_t i = 0; !ret && i < regions->n; i++) {
		const struct weir_set_key *region = &regions->v[i];
		size_t n = 0;

		/* Both are sorted. What is in no region was in one that
		 * drop_covered() took away. */
		while (at < want->n && weir_set_compare(&want->v[at], region) < 0)
			at++;
		while (at + n < want->n && weir_set_covers(region, &want->v[at + n]))
			n++;
		ret = fn(arg, region, n ? want->v + at : NULL, n);
		at += n;
	}
	return ret;
}

struct place {
	struct weir_set *set;
	union weir_set_line *table;
	enum weir_set_family family;
	struct weir_set_table_need need;
};

static int reserve_table(void *arg, const struct weir_set_key *region,
			 const struct weir_set_key *want, size_t n)
{
	struct place *p = arg;

	return weir_set_table_reserve(p->table, &p->need, region, want, n);
}

static int splice_table(void *arg, const struct weir_set_key *region,
			const struct weir_set_key *want, size_t n)
{
	struct place *p = arg;

	weir_set_table_splice(p->table, region, want, n);
	return 0;
}

static int splice_trie(void *arg, const struct weir_set_key *region,
		       const struct weir_set_key *want, size_t n)
{
	struct place *p = arg;

	return weir_set_trie_splice(p->set, p->family, region, want, n);
}

/* Room for all of the change, before any of it. */
static int reserve(struct weir_set *s, const struct change *c)
{
	struct place p = { .table = s->mem[WEIR_SET_TABLE4], .need = WEIR_SET_TABLE_NEED };
	size_t regions = 0, want = 0;
	int ret = 0;

	if (p.table)
		ret = each_region(&c->regions[WEIR_SET_V4], &c->want[WEIR_SET_V4], reserve_table,
				  &p);
	for (int f = p.table ? WEIR_SET_V6 : WEIR_SET_V4; f < WEIR_SET_FAMILIES; f++) {
		regions += c->regions[f].n;
		want += c->want[f].n;
	}
	if (ret || !regions)
		return ret;
	if (!weir_set_has(s, WEIR_SET_TRIE))
		return -ENOSPC;
	return weir_set_trie_reserve(s, regions, want);
}

/* -ENOMEM: not to its end, which weir_set_recover() will come to. */
static int splice(struct weir_set *s, const struct change *c)
{
	int ret = 0;

	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++) {
		const bool table = f == WEIR_SET_V4 && weir_set_has(s, WEIR_SET_TABLE4);
		struct place p = { .set = s, .table = s->mem[WEIR_SET_TABLE4], .family = f };

		ret = each_region(&c->regions[f], &c->want[f], table ? splice_table : splice_trie,
				  &p);
	}
	return ret;
}

/* ---- Add */

static int no_room(const struct weir_set *s, struct weir_error *err)
{
	return weir_fail(err, -ENOSPC,
			 "the set was made for fewer prefixes (%zu kB) and has no room for this: "
			 "load it anew",
			 weir_set_bytes(s) / 1024);
}

static int fail(const struct weir_set *s, int code, struct weir_error *err)
{
	if (code == -ENOSPC)
		return no_room(s, err);
	return weir_fail(err, code, "cannot change the set: %s", strerror(-code));
}

/* Append what is not known, in the order in which it was given. Returns the new end,
 * or -ENOSPC. */
static ssize_t append(const struct weir_set *s, const struct weir_prefix *v, size_t n,
		      const bool *known)
{
	const size_t words = s->size[WEIR_SET_LIST] / sizeof(uint64_t);
	size_t at = weir_set_list_used(s);

	for (size_t i = 0; i < n; i++) {
		const struct weir_set_key k = weir_set_key_of(&v[i], 0);
		const enum weir_set_family f = weir_set_family_of(&v[i]);

		if (known[i])
			continue;
		if (weir_set_entry_words(&k, f) > words - at)
			return -ENOSPC;
		at += weir_set_entry_put(list_of(s) + at, &k, f);
	}
	return (ssize_t)at;
}

static void drop_known(struct change *c)
{
	for (int f = 0; f < WEIR_SET_FAMILIES; f++) {
		struct weir_set_keys *k = &c->keys[f];
		size_t n = 0;

		for (size_t i = 0; i < k->n; i++)
			if (!c->known[k->v[i].index])
				k->v[n++] = k->v[i];
		k->n = n;
	}
}

/* Of what comes in addition a region is wanted whole. */
static int want_all(struct change *c)
{
	int ret = copy_families(c->regions, c->keys);

	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++)
		weir_set_reduce(&c->regions[f]);
	return ret ? ret : copy_families(c->want, c->regions);
}

static int add(struct weir_set *s, struct change *c, const struct weir_prefix *v, size_t n)
{
	uint64_t *list = list_of(s);
	ssize_t end;
	int ret;

	ret = find_known(s, c);
	if (ret)
		return ret;
	drop_known(c);
	if (!c->keys[WEIR_SET_V4].n && !c->keys[WEIR_SET_V6].n)
		return 0;
	ret = want_all(c);
	if (!ret)
		ret = reserve(s, c);
	if (ret)
		return ret;
	end = append(s, v, n, c->known);
	if (end < 0)
		return (int)end;
	store_word(&list[WEIR_SET_LIST_USED], (uint64_t)end);
	ret = splice(s, c);
	if (!ret)
		store_word(&list[WEIR_SET_LIST_APPLIED], (uint64_t)end);
	return ret;
}

int weir_set_add(struct weir_set *s, const struct weir_prefix *v, size_t n, struct weir_error *err)
{
	struct change c;
	int ret = weir_set_map_all(s, err);

	if (ret)
		return ret;
	ret = weir_set_recover(s);
	if (ret)
		return fail(s, ret, err);
	ret = change_init(&c, v, n);
	if (!ret)
		ret = add(s, &c, v, n);
	change_free(&c);
	return ret ? fail(s, ret, err) : 0;
}

/* ---- Delete */

static bool is_missing(const struct change *c, size_t n, size_t *ret_at)
{
	for (*ret_at = 0; *ret_at < n; ++*ret_at)
		if (!c->known[*ret_at])
			return true;
	return false;
}

static int fail_missing(const struct weir_prefix *p, struct weir_error *err)
{
	char text[WEIR_ADDR_STRLEN];

	return weir_fail(err, -ENOENT, "%s is not in the set as such: see its list",
			 weir_prefix_str(p, text));
}

static void finish_delete(const struct weir_set *s)
{
	uint64_t *list = list_of(s), word;
	const size_t end = weir_set_list_used(s);
	size_t at = WEIR_SET_LIST_HEAD;
	struct weir_set_key key;
	enum weir_set_family f;

	while (weir_set_entry_next(list, end, &at, &key, &f, &word))
		if (word & WEIR_SET_ENTRY_MARK)
			store_word(&list[key.index],
				   (word & ~WEIR_SET_ENTRY_MARK) | WEIR_SET_ENTRY_DEAD);
	store_word(&list[WEIR_SET_LIST_WORK], WEIR_SET_IDLE);
}

static int del(struct weir_set *s, const struct change *c)
{
	uint64_t *list = list_of(s);
	int ret;

	store_word(&list[WEIR_SET_LIST_WORK], WEIR_SET_MARKING);
	for (size_t i = 0; i < c->n_places; i++)
		store_word(&list[c->places[i]], list[c->places[i]] | WEIR_SET_ENTRY_MARK);
	store_word(&list[WEIR_SET_LIST_WORK], WEIR_SET_DELETING);
	ret = splice(s, c);
	for (size_t i = 0; !ret && i < c->n_places; i++)
		store_word(&list[c->places[i]],
			   (list[c->places[i]] & ~WEIR_SET_ENTRY_MARK) | WEIR_SET_ENTRY_DEAD);
	if (!ret)
		store_word(&list[WEIR_SET_LIST_WORK], WEIR_SET_IDLE);
	return ret;
}

int weir_set_del(struct weir_set *s, const struct weir_prefix *v, size_t n, struct weir_error *err)
{
	struct change c;
	size_t at;
	int ret = weir_set_map_all(s, err);

	if (ret)
		return ret;
	ret = weir_set_recover(s);
	if (ret)
		return fail(s, ret, err);
	ret = change_init(&c, v, n);
	if (!ret)
		ret = find_known(s, &c);
	if (!ret && is_missing(&c, n, &at)) {
		ret = fail_missing(&v[at], err);
		change_free(&c);
		return ret;
	}
	if (!ret)
		ret = find_all_wanted(&c);
	if (!ret)
		ret = reserve(s, &c);
	if (!ret)
		ret = del(s, &c);
	change_free(&c);
	return ret ? fail(s, ret, err) : 0;
}

/* ---- Recover */

/* The entries from word @from on that the change was about: those behind APPLIED, or
 * those with a mark. */
static int unfinished(const struct weir_set *s, size_t from, bool marked, struct change *c)
{
	const uint64_t *list = list_of(s);
	const size_t end = weir_set_list_used(s);
	size_t at = from, room[WEIR_SET_FAMILIES] = { 0 };
	struct weir_set_key key;
	enum weir_set_family f;
	uint64_t word;
	int ret = 0;

	while (!ret && weir_set_entry_next(list, end, &at, &key, &f, &word))
		if (!marked || word & WEIR_SET_ENTRY_MARK)
			ret = append_key(&c->keys[f], &room[f], &key);
	for (int i = 0; !ret && i < WEIR_SET_FAMILIES; i++)
		ret = weir_set_sort(&c->keys[i]);
	return ret;
}

static int recover_add(struct weir_set *s)
{
	uint64_t *list = list_of(s);
	struct change c = { 0 };
	int ret = unfinished(s, list[WEIR_SET_LIST_APPLIED], false, &c);

	if (!ret)
		ret = want_all(&c);
	if (!ret)
		ret = reserve(s, &c);
	if (!ret)
		ret = splice(s, &c);
	if (!ret)
		store_word(&list[WEIR_SET_LIST_APPLIED], weir_set_list_used(s));
	change_free(&c);
	return ret;
}

static int recover_del(struct weir_set *s)
{
	struct change c = { 0 };
	int ret = unfinished(s, WEIR_SET_LIST_HEAD, true, &c);

	if (!ret)
		ret = find_near(s, &c);
	if (!ret)
		ret = find_all_wanted(&c);
	if (!ret)
		ret = reserve(s, &c);
	if (!ret)
		ret = splice(s, &c);
	if (!ret)
		finish_delete(s);
	change_free(&c);
	return ret;
}

static void clear_marks(const struct weir_set *s)
{
	uint64_t *list = list_of(s), word;
	const size_t end = weir_set_list_used(s);
	size_t at = WEIR_SET_LIST_HEAD;
	struct weir_set_key key;
	enum weir_set_family f;

	while (weir_set_entry_next(list, end, &at, &key, &f, &word))
		if (word & WEIR_SET_ENTRY_MARK)
			store_word(&list[key.index], word & ~WEIR_SET_ENTRY_MARK);
	store_word(&list[WEIR_SET_LIST_WORK], WEIR_SET_IDLE);
}

int weir_set_recover(struct weir_set *s)
{
	const uint64_t *list = list_of(s);

	if (list[WEIR_SET_LIST_WORK] == WEIR_SET_MARKING)
		clear_marks(s);
	if (list[WEIR_SET_LIST_WORK] == WEIR_SET_DELETING)
		return recover_del(s);
	if (list[WEIR_SET_LIST_APPLIED] < weir_set_list_used(s))
		return recover_add(s);
	return 0;
}
