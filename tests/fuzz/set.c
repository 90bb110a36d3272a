/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets of prefixes. By the first byte the rest is
 *
 *	a feed: what weir_set_parse() makes of it must be what weir_prefix_parse()
 *	makes of its words, one by one;
 *	a history of a set: it is made, prefixes come and go, the writer dies in the
 *	middle; after each step list and tables must say what a plain list of
 *	prefixes says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "dataplane/set_impl.h"

#define STEPS_MAX 24
#define STEP_PREFIXES 8
#define MODEL_MAX 512
#define STEP_BYTES 4 /* of a prefix in the input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                      \
	do {                                                            \
		if (!(cond)) {                                          \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                        \
		}                                                       \
	} while (0)

/* ---- Feeds */

static bool is_end(char c)
{
	return strchr("#;", c);
}

/* The reference: a line's first word, and whether another one follows. */
static size_t first_word(const char *s, size_t n, size_t *at, bool *more)
{
	size_t i = 0, len = 0;

	while (i < n && strchr(" \t\r", s[i]) && s[i])
		i++;
	*at = i;
	while (i < n && (!s[i] || !strchr(" \t\r#;", s[i]))) {
		i++;
		len++;
	}
	while (i < n && s[i] && strchr(" \t\r", s[i]))
		i++;
	*more = i < n && (!s[i] || !is_end(s[i]));
	return len;
}

static void check_error(const struct weir_error *err, size_t line)
{
	char want[32];

	snprintf(want, sizeof(want), "feed:%zu: ", line);
	NEED(!strncmp(err->msg, want, strlen(want)));
	NEED(!strchr(err->msg, '\n'));
}

static void feed(const char *text, size_t size)
{
	struct weir_error err = { "" };
	struct weir_prefix *v = NULL;
	size_t n = 0, seen = 0, line = 1;
	int ret = weir_set_parse(text, size, "feed", &v, &n, &err);

	for (size_t at = 0; at < size; line++) {
		const char *s = text + at, *nl = memchr(s, '\n', size - at);
		size_t len = nl ? (size_t)(nl - s) : size - at, word_at, word;
		char copy[WEIR_ADDR_STRLEN];
		struct weir_prefix p;
		bool more, good;

		at += len + 1;
		word = first_word(s, len, &word_at, &more);
		if (!word)
			continue;
		memset(copy, 0, sizeof(copy));
		if (word < sizeof(copy))
			memcpy(copy, s + word_at, word);
		good = word < sizeof(copy) && strlen(copy) == word &&
		       !weir_prefix_parse(copy, false, &p);
		if (!good || more) {
			NEED(ret == -EINVAL);
			check_error(&err, line);
			return;
		}
		if (!ret) {
			NEED(seen < n);
			NEED(v[seen].len == p.len && v[seen].is_v4 == p.is_v4 &&
			     !memcmp(&v[seen].addr, &p.addr, sizeof(p.addr)));
		}
		seen++;
	}
	NEED(!ret && seen == n);
	free(v);
}

/* ---- Histories */

struct model {
	struct weir_prefix v[MODEL_MAX];
	size_t n;
};

static bool same(const struct weir_prefix *a, const struct weir_prefix *b)
{
	return a->len == b->len && !memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

static size_t model_find(const struct model *m, const struct weir_prefix *p)
{
	size_t i = 0;

	while (i < m->n && !same(&m->v[i], p))
		i++;
	return i;
}

static void model_add(struct model *m, const struct weir_prefix *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (model_find(m, &v[i]) == m->n)
			m->v[m->n++] = v[i];
}

static int model_del(struct model *m, const struct weir_prefix *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (model_find(m, &v[i]) == m->n)
			return -ENOENT;
	for (size_t i = 0; i < n; i++) {
		size_t at = model_find(m, &v[i]);

		if (at == m->n)
			continue; /* twice in @v */
		memmove(&m->v[at], &m->v[at + 1], (m->n - at - 1) * sizeof(*m->v));
		m->n--;
	}
	return 0;
}

static bool model_contains(const struct model *m, const struct weir_addr *a)
{
	for (size_t i = 0; i < m->n; i++)
		if (weir_prefix_contains(&m->v[i], a))
			return true;
	return false;
}

struct walk {
	const struct model *m;
	size_t at;
};

static int check_entry(void *arg, const struct weir_prefix *p)
{
	struct walk *w = arg;

	NEED(w->at < w->m->n && same(&w->m->v[w->at], p) && w->m->v[w->at].is_v4 == p->is_v4);
	w->at++;
	return 0;
}

static void check_address(struct weir_set *s, const struct model *m, const struct weir_addr *a)
{
	NEED(weir_set_contains(s, a) == model_contains(m, a));
}

/* @p's first and last address, their neighbours, and one in between. */
static void check_around(struct weir_set *s, const struct model *m, const struct weir_prefix *p)
{
	struct weir_addr first = p->addr, last = p->addr, a;

	for (unsigned int i = p->len; i < 128; i++)
		last.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
	check_address(s, m, &first);
	check_address(s, m, &last);
	a = first;
	a.b[15] ^= (uint8_t)(last.b[15] >> 1);
	check_address(s, m, &a);
	for (int i = 15; i >= 0 && !first.b[i]--; i--)
		;
	for (int i = 15; i >= 0 && !++last.b[i]; i--)
		;
	check_address(s, m, &first);
	check_address(s, m, &last);
}

static void check_set(struct weir_set *s, const struct model *m, const struct model *ever)
{
	struct walk w = { .m = m };

	NEED(!weir_set_each(s, check_entry, &w));
	NEED(w.at == m->n && weir_set_count(s) == m->n);
	for (size_t i = 0; i < ever->n; i++)
		check_around(s, m, &ever->v[i]);
}

/* Memory instead of maps: weir_set_close() unmaps both alike. */
static int alloc(struct weir_set *s, const size_t bytes[WEIR_SET_MAPS], struct weir_error *err)
{
	(void)err;
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		if (!bytes[i])
			continue;
		s->mem[i] = mmap(NULL, bytes[i], PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		NEED(s->mem[i] != MAP_FAILED);
		s->size[i] = bytes[i];
	}
	return 0;
}

/* Prefixes that meet often: few nets, all lengths. */
static struct weir_prefix make_prefix(const uint8_t b[STEP_BYTES])
{
	static const uint8_t bases[4][16] = {
		{ [10] = 0xff, 0xff, 10, 1 },
		{ [10] = 0xff, 0xff, 10, 1, 2 },
		{ 0x20, 0x01, 0x0d, 0xb8 },
		{ 0 },
	};
	const unsigned int base = b[0] & 3, first = base < 2 ? 96 : 0;
	struct weir_prefix p;

	memcpy(p.addr.b, bases[base], sizeof(p.addr.b));
	p.len = (uint8_t)(first + (b[0] >> 2 | (b[1] & 1) << 6) % (129 - first));
	if (base < 2)
		p.addr.b[base ? 15 : 13 + (b[1] >> 7)] ^= b[2];
	else
		p.addr.b[b[1] >> 1 & 15] ^= b[2];
	p.addr.b[base < 2 ? 12 + (b[1] >> 1 & 3) : b[1] >> 4] ^= b[3];
	for (unsigned int i = p.len; i < 128; i++)
		p.addr.b[i / 8] &= (uint8_t)~(0x80 >> i % 8);
	p.is_v4 = p.len >= 96 && weir_addr_is_v4(&p.addr);
	return p;
}

static size_t take(const uint8_t **data, size_t *size, struct weir_prefix v[STEP_PREFIXES],
		   size_t n)
{
	size_t i = 0;

	for (; i < n && *size >= STEP_BYTES; i++) {
		v[i] = make_prefix(*data);
		*data += STEP_BYTES;
		*size -= STEP_BYTES;
	}
	return i;
}

/* What is there after a kill: the list says that the change goes on, the tables are as
 * before it (@old) or as after it. */
static void die(struct weir_set *s, const struct weir_set *old, bool added, bool tables_old)
{
	uint64_t *list = s->mem[WEIR_SET_LIST];
	const uint64_t *before = old->mem[WEIR_SET_LIST];

	if (added) {
		list[WEIR_SET_LIST_APPLIED] = before[WEIR_SET_LIST_APPLIED];
	} else {
		size_t words = s->size[WEIR_SET_LIST] / sizeof(*list);

		for (size_t i = WEIR_SET_LIST_HEAD; i < words; i++)
			if (list[i] != before[i])
				list[i] = before[i] | WEIR_SET_ENTRY_MARK;
		list[WEIR_SET_LIST_WORK] = WEIR_SET_DELETING;
	}
	for (int i = 0; tables_old && i < WEIR_SET_LIST; i++)
		if (s->mem[i])
			memcpy(s->mem[i], old->mem[i], s->size[i]);
	NEED(!weir_set_recover(s));
}

static void copy_set(struct weir_set *to, const struct weir_set *from)
{
	weir_set_init(to);
	alloc(to, from->size, NULL);
	for (int i = 0; i < WEIR_SET_MAPS; i++)
		if (from->mem[i])
			memcpy(to->mem[i], from->mem[i], from->size[i]);
}

static void remake(struct weir_set *s, const struct model *m, size_t trie4_max)
{
	weir_set_close(s);
	NEED(!weir_set_make(s, m->v, m->n, alloc, trie4_max, NULL));
}

/* One change of set and model. */
static void step(struct weir_set *s, struct model *m, uint8_t how, const struct weir_prefix *v,
		 size_t n, size_t trie4_max)
{
	/* A table is copied in milliseconds: not each time. */
	const bool rare = s->mem[WEIR_SET_TABLE4] && (how & 0x70) != 0x70;
	const bool add = how & 1, dies = how & 2 && !rare;
	struct weir_set old;
	struct weir_error err = { "" };
	int ret, want = 0;

	weir_set_init(&old);
	if (dies)
		copy_set(&old, s);
	ret = add ? weir_set_add(s, v, n, &err) : weir_set_del(s, v, n, &err);
	NEED(!ret || *err.msg);
	if (ret != -ENOSPC) {
		if (add)
			model_add(m, v, n);
		else
			want = model_del(m, v, n);
		NEED(ret == want);
		if (!ret && dies)
			die(s, &old, add, how & 4);
	} else {
		/* As the caller does: anew, with the change. */
		if (add)
			model_add(m, v, n);
		else
			model_del(m, v, n);
		remake(s, m, trie4_max);
	}
	weir_set_close(&old);
}

static void history(const uint8_t *data, size_t size, size_t trie4_max)
{
	static struct model m, ever;
	struct weir_prefix v[STEP_PREFIXES];
	struct weir_set s;
	size_t n = take(&data, &size, v, STEP_PREFIXES);

	m.n = ever.n = 0;
	NEED(!weir_set_make(&s, v, n, alloc, trie4_max, NULL));
	model_add(&m, v, n);
	model_add(&ever, v, n);
	check_set(&s, &m, &ever);
	for (int i = 0; i < STEPS_MAX && size > STEP_BYTES; i++) {
		const uint8_t how = *data++;

		size--;
		n = take(&data, &size, v, 1 + (how >> 4) % STEP_PREFIXES);
		/* Half of what is deleted is there. */
		for (size_t k = 0; !(how & 1) && how & 8 && m.n && k < n; k++)
			v[k] = m.v[(v[k].addr.b[15] + k + v[k].len) % m.n];
		model_add(&ever, v, n);
		step(&s, &m, how, v, n, trie4_max);
		check_set(&s, &m, &ever);
	}
	weir_set_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % 3 == 0)
		feed((const char *)data + 1, size - 1);
	else
		history(data + 1, size - 1, data[0] % 3 == 1 ? SIZE_MAX : 0);
	return 0;
}
