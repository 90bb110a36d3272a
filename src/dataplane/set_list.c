/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/set_impl.h"

#define LEN_SHIFT 32

static unsigned int kind_of(const struct weir_set_key *k, enum weir_set_family f)
{
	if (f == WEIR_SET_V4)
		return WEIR_SET_ENTRY_V4;
	return k->lo ? WEIR_SET_ENTRY_V6 : WEIR_SET_ENTRY_V6_SHORT;
}

unsigned int weir_set_entry_words(const struct weir_set_key *k, enum weir_set_family f)
{
	return kind_of(k, f);
}

unsigned int weir_set_entry_put(uint64_t *w, const struct weir_set_key *k, enum weir_set_family f)
{
	const unsigned int kind = kind_of(k, f);

	w[0] = (uint64_t)kind << 62 | (uint64_t)k->len << LEN_SHIFT;
	if (kind == WEIR_SET_ENTRY_V4)
		w[0] |= (uint32_t)k->lo;
	else
		w[1] = k->hi;
	if (kind == WEIR_SET_ENTRY_V6)
		w[2] = k->lo;
	return kind;
}

size_t weir_set_list_used(const struct weir_set *s)
{
	const uint64_t *list = s->mem[WEIR_SET_LIST];
	size_t used = list[WEIR_SET_LIST_USED], words = s->size[WEIR_SET_LIST] / sizeof(*list);

	return used < words ? used : words;
}
