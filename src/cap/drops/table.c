/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/table.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Elements read by one system call. */
#define BATCH 1024

/* A table of the kernel as an array of records, each a key and then a value. */
struct table {
	int fd;
	uint32_t key_size, val_size; /* a value's is a multiple of 8 */
	uint32_t cpus;		     /* values an element; their numbers are added up */
	uint8_t *v;		     /* the records */
	size_t n, cap;
};

static int add_record(struct table *t, const uint8_t *key, const uint64_t *vals)
{
	size_t size = t->key_size + t->val_size, words = t->val_size / sizeof(uint64_t);
	uint64_t *sum;

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;
		void *grown = realloc(t->v, cap * size);

		if (!grown)
			return -ENOMEM;
		t->v = grown;
		t->cap = cap;
	}
	memcpy(t->v + t->n * size, key, t->key_size);
	sum = (uint64_t *)(t->v + t->n * size + t->key_size);
	memset(sum, 0, t->val_size);
	for (uint32_t cpu = 0; cpu < t->cpus; cpu++)
		for (size_t i = 0; i < words; i++)
			sum[i] += vals[cpu * words + i];
	t->n++;
	return 0;
}

/* Nothing is ever deleted from these tables, so that a walk misses only what comes while
 * it goes on. */
static int read_table(struct table *t)
{
	size_t vals_size = (size_t)t->val_size * t->cpus;
	weir_autofree uint8_t *keys = calloc(BATCH, t->key_size);
	weir_autofree uint64_t *vals = calloc(BATCH, vals_size);
	uint32_t token = 0, n;
	bool first = true;
	int ret, failed = 0;

	if (!keys || !vals)
		return -ENOMEM;
	do {
		n = BATCH;
		ret = bpf_map_lookup_batch(t->fd, first ? NULL : &token, &token, keys, vals, &n,
					   NULL);
		if (ret && errno != ENOENT)
			return -errno;
		for (uint32_t i = 0; i < n && !failed; i++)
			failed = add_record(t, keys + (size_t)i * t->key_size,
					    vals + i * (vals_size / sizeof(*vals)));
		first = false;
	} while (!ret && !failed);
	return failed;
}

int weir_drops_table(int fd, size_t key_size, size_t val_size, uint32_t cpus, void *ret)
{
	struct table t = { .fd = fd,
			   .key_size = (uint32_t)key_size,
			   .val_size = (uint32_t)val_size,
			   .cpus = cpus };
	int code = read_table(&t);

	if (code) {
		free(t.v);
		return code;
	}
	*(void **)ret = t.v;
	return (int)t.n;
}
