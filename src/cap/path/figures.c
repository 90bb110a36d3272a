/* SPDX-License-Identifier: GPL-2.0-only */
#include <string.h>

#include "cap/path/session.h"

void weir_path_add(struct weir_path_figures *to, const struct weir_path_figures *from)
{
	/* All members are counters, but for the maxima. */
	for (int s = 0; s < WEIR_PATH_STAGES_MAX; s++) {
		struct weir_path_sum *a = &to->stage[s];
		const struct weir_path_sum *b = &from->stage[s];

		a->count += b->count;
		a->samples += b->samples;
		a->total += b->total;
		a->max = b->max > a->max ? b->max : a->max;
		for (unsigned int i = 0; i < WEIR_PATH_BUCKETS; i++)
			a->bucket[i] += b->bucket[i];
	}
	for (size_t i = 0; i < sizeof(to->account) / sizeof(uint64_t); i++)
		((uint64_t *)&to->account)[i] += ((const uint64_t *)&from->account)[i];
}

bool weir_path_has_figures(const struct weir_path_figures *f)
{
	uint64_t any = f->account.seen;

	for (int s = 0; s < WEIR_PATH_STAGES_MAX; s++)
		any |= f->stage[s].count;
	return any;
}

uint64_t weir_path_bucket_low(unsigned int bucket)
{
	unsigned int exp = (bucket >> WEIR_PATH_SUB_BITS) + WEIR_PATH_SUB_BITS - 1;

	if (bucket < WEIR_PATH_SUB)
		return bucket;
	return (uint64_t)(WEIR_PATH_SUB + bucket % WEIR_PATH_SUB) << (exp - WEIR_PATH_SUB_BITS);
}

uint64_t weir_path_quantile(const struct weir_path_sum *s, double share)
{
	uint64_t sum = 0, seen = 0, low, high, middle;

	/* The buckets are read while they grow: they, not `samples`, are what is summed. */
	for (unsigned int i = 0; i < WEIR_PATH_BUCKETS; i++)
		sum += s->bucket[i];
	for (unsigned int i = 0; i < WEIR_PATH_BUCKETS && sum; i++) {
		seen += s->bucket[i];
		if ((double)seen < share * (double)sum)
			continue;
		low = weir_path_bucket_low(i);
		high = weir_path_bucket_low(i + 1);
		middle = low + (high - low) / 2;
		return middle < s->max ? middle : s->max;
	}
	return 0;
}
