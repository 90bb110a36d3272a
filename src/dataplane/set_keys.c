/* SPDX-License-Identifier: GPL-2.0-only */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/set_impl.h"

#define V4_LEN 96

enum weir_set_family weir_set_family_of(const struct weir_prefix *p)
{
	return p->len >= V4_LEN && weir_addr_is_v4(&p->addr) ? WEIR_SET_V4 : WEIR_SET_V6;
}

struct weir_set_key weir_set_key_of(const struct weir_prefix *p, uint32_t index)
{
	uint64_t half[2];

	memcpy(half, p->addr.b, sizeof(half));
	return (struct weir_set_key){
		.hi = be64toh(half[0]),
		.lo = be64toh(half[1]),
		.index = index,
		.len = p->len,
	};
}

struct weir_prefix weir_set_prefix_of(const struct weir_set_key *k, enum weir_set_family f)
{
	const uint64_t half[2] = { htobe64(k->hi), htobe64(k->lo) };
	struct weir_prefix p = { .len = (uint8_t)k->len, .is_v4 = f == WEIR_SET_V4 };

	memcpy(p.addr.b, half, sizeof(half));
	return p;
}

int weir_set_compare(const struct weir_set_key *a, const struct weir_set_key *b)
{
	if (a->hi != b->hi)
		return a->hi < b->hi ? -1 : 1;
	if (a->lo != b->lo)
		return a->lo < b->lo ? -1 : 1;
	return (a->len > b->len) - (a->len < b->len);
}

/* ---- Sort: by bytes, the last one first, those left out in which no two differ */

#define DIGITS 17 /* the length, then the address from its end */

static unsigned int digit(const struct weir_set_key *k, unsigned int which)
{
	if (!which)
		return k->len;
	return (which <= 8 ? k->lo >> (which - 1) * 8 : k->hi >> (which - 9) * 8) & 0xff;
}

static void scatter(const struct weir_set_key *from, struct weir_set_key *to, size_t n,
		    unsigned int which)
{
	size_t at[256] = { 0 }, sum = 0;

	for (size_t i = 0; i < n; i++)
		at[digit(&from[i], which)]++;
	for (int i = 0; i < 256; i++) {
		size_t here = at[i];

		at[i] = sum;
		sum += here;
	}
	for (size_t i = 0; i < n; i++)
		to[at[digit(&from[i], which)]++] = from[i];
}

static bool is_sorted(const struct weir_set_keys *k)
{
	for (size_t i = 1; i < k->n; i++)
		if (weir_set_compare(&k->v[i - 1], &k->v[i]) > 0)
			return false;
	return true;
}

int weir_set_sort(struct weir_set_keys *k)
{
	struct weir_set_key differs = { 0 }, *other;

	if (is_sorted(k))
		return 0;
	other = malloc(k->n * sizeof(*other));
	if (!other)
		return -ENOMEM;
	for (size_t i = 1; i < k->n; i++) {
		differs.hi |= k->v[i].hi ^ k->v[0].hi;
		differs.lo |= k->v[i].lo ^ k->v[0].lo;
		differs.len |= k->v[i].len ^ k->v[0].len;
	}
	for (unsigned int d = 0; d < DIGITS; d++) {
		struct weir_set_key *from = k->v;

		if (!digit(&differs, d))
			continue;
		scatter(from, other, k->n, d);
		k->v = other;
		other = from;
	}
	free(other);
	return 0;
}

void weir_set_unique(struct weir_set_keys *k, bool *dup)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n; i++) {
		if (!n || weir_set_compare(&k->v[n - 1], &k->v[i]))
			k->v[n++] = k->v[i];
		else
			dup[k->v[i].index] = true;
	}
	k->n = n;
}

void weir_set_reduce(struct weir_set_keys *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n; i++)
		if (!n || !weir_set_covers(&k->v[n - 1], &k->v[i]))
			k->v[n++] = k->v[i];
	k->n = n;
}

/* ---- Split */

void weir_set_keys_free(struct weir_set_keys k[WEIR_SET_FAMILIES])
{
	for (int f = 0; f < WEIR_SET_FAMILIES; f++) {
		free(k[f].v);
		k[f] = (struct weir_set_keys){ 0 };
	}
}

int weir_set_keys_make(struct weir_set_keys k[WEIR_SET_FAMILIES], const struct weir_prefix *v,
		       size_t n)
{
	size_t count[WEIR_SET_FAMILIES] = { 0 };
	int ret = 0;

	for (size_t i = 0; i < n; i++)
		count[weir_set_family_of(&v[i])]++;
	for (int f = 0; f < WEIR_SET_FAMILIES; f++) {
		k[f] = (struct weir_set_keys){ .v = calloc(count[f] + 1, sizeof(*k[f].v)) };
		if (!k[f].v)
			ret = -ENOMEM;
	}
	for (size_t i = 0; !ret && i < n; i++) {
		struct weir_set_keys *to = &k[weir_set_family_of(&v[i])];

		to->v[to->n++] = weir_set_key_of(&v[i], (uint32_t)i);
	}
	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++)
		ret = weir_set_sort(&k[f]);
	if (ret)
		weir_set_keys_free(k);
	return ret;
}
