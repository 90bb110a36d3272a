/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/set.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "bpf/set.bpf.h"
#include "dataplane/load.h"
#include "dataplane/set_impl.h"
#include "set_maps.skel.h"

/* With more IPv4 prefixes than this the 4 MB of TABLE4's states are worth it. */
#define TRIE4_MAX 4096
#define PAGE 4096
/* A trie that is larger is mapped in parts of this size. */
#define LAZY_MIN (4UL << 20)
#define TOUCH_BYTES (256UL << 10)
/* A quarter of what is there now may come in addition. */
#define SPARE(n) ((n) / 4)
#define SPARE_LINES 16
#define SPARE_WORDS 32
/* Of the memory that is available so much stays free. */
#define KEEP_FREE(available) ((available) / 4)

static const struct part {
	const char *pin; /* behind the prefix */
	size_t unit;
	uint32_t max;
} parts[WEIR_SET_MAPS] = {
	[WEIR_SET_TABLE4] = { "_4", sizeof(union weir_set_line), UINT32_MAX },
	[WEIR_SET_TRIE] = { "_6", sizeof(union weir_set_line), WEIR_SET_TRIE_LINES_MAX },
	[WEIR_SET_LIST] = { "_list", sizeof(uint64_t), UINT32_MAX },
};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

void weir_set_init(struct weir_set *s)
{
	*s = (struct weir_set){ 0 };
	for (int i = 0; i < WEIR_SET_MAPS; i++)
		s->fd[i] = -1;
}

void weir_set_close(struct weir_set *s)
{
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		if (s->mem[i])
			munmap(s->mem[i], s->size[i]);
		weir_closep(&s->fd[i]);
	}
	free(s->touched);
	weir_set_init(s);
}

bool weir_set_has(const struct weir_set *s, enum weir_set_map which)
{
	return s->fd[which] >= 0 || s->mem[which];
}

static int map_part(struct weir_set *s, enum weir_set_map which)
{
	void *p;

	if (s->mem[which] || s->fd[which] < 0)
		return 0;
	p = mmap(NULL, s->size[which], PROT_READ | PROT_WRITE, MAP_SHARED, s->fd[which], 0);
	if (p == MAP_FAILED)
		return -errno;
	s->mem[which] = p;
	return 0;
}

/* The kernel fills the page table when a map is mapped, which takes 5 ms for a trie
 * of a million prefixes, and a change touches few places of it: only the range of
 * addresses is taken here, and weir_set_touch() maps the parts. */
static int map_lazily(struct weir_set *s)
{
	const size_t size = s->size[WEIR_SET_TRIE];
	void *p;

	if (s->mem[WEIR_SET_TRIE] || s->fd[WEIR_SET_TRIE] < 0)
		return 0;
	if (size < LAZY_MIN)
		return map_part(s, WEIR_SET_TRIE);
	s->touched = calloc(size / TOUCH_BYTES + 1, 1);
	if (!s->touched)
		return -ENOMEM;
	p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	s->mem[WEIR_SET_TRIE] = p;
	return 0;
}

static int touch_part(struct weir_set *s, size_t part)
{
	const size_t at = part * TOUCH_BYTES, size = round_up(s->size[WEIR_SET_TRIE], PAGE);
	const size_t n = size - at < TOUCH_BYTES ? size - at : TOUCH_BYTES;
	char *to = (char *)s->mem[WEIR_SET_TRIE] + at;

	if (mmap(to, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->fd[WEIR_SET_TRIE],
		 (off_t)at) == MAP_FAILED)
		return -errno;
	s->touched[part] = 1;
	return 0;
}

int weir_set_touch(struct weir_set *s, uint32_t line)
{
	const size_t at = (size_t)line * sizeof(union weir_set_line);

	if (at >= s->size[WEIR_SET_TRIE])
		return -EFAULT;
	if (!s->touched || s->touched[at / TOUCH_BYTES])
		return 0;
	return touch_part(s, at / TOUCH_BYTES);
}

/* For who asks for any address. */
static int map_whole_trie(struct weir_set *s)
{
	int ret = map_part(s, WEIR_SET_TRIE);

	for (size_t i = 0; !ret && s->touched && i * TOUCH_BYTES < s->size[WEIR_SET_TRIE]; i++)
		ret = s->touched[i] ? 0 : touch_part(s, i);
	return ret;
}

size_t weir_set_bytes(const struct weir_set *s)
{
	size_t sum = 0;

	for (int i = 0; i < WEIR_SET_MAPS; i++)
		if (weir_set_has(s, i))
			sum += round_up(s->size[i], PAGE);
	return sum;
}

static int explain_map(const struct weir_set *s, int code, struct weir_error *err)
{
	if (code != -ENOMEM)
		return weir_load_explain(err, code, "map a set of prefixes into memory");
	return weir_fail(err, code,
			 "a set takes %zu MB of memory, more than this process may map: raise its "
			 "limit (`ulimit -v`), or use fewer prefixes",
			 (weir_set_bytes(s) >> 20) + 1);
}

int weir_set_map_all(struct weir_set *s, struct weir_error *err)
{
	int ret = map_part(s, WEIR_SET_TABLE4);

	if (!ret)
		ret = map_lazily(s);
	if (!ret)
		ret = map_part(s, WEIR_SET_LIST);
	return ret ? explain_map(s, ret, err) : 0;
}

/* ---- Make */

/* Bytes that new programs may take; SIZE_MAX where the kernel does not say. */
static size_t available(void)
{
	weir_autofclose FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kb;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
			return (size_t)kb * 1024;
	return SIZE_MAX;
}

static int check_memory(const size_t bytes[WEIR_SET_MAPS], struct weir_error *err)
{
	size_t have = available(), need = 0;

	for (int i = 0; i < WEIR_SET_MAPS; i++)
		need += bytes[i];
	if (need <= have - KEEP_FREE(have))
		return 0;
	return weir_fail(err, -ENOMEM,
			 "the set needs %zu MB of memory and there are %zu MB, of which a quarter "
			 "stays free: use fewer prefixes, or shorter ones",
			 (need >> 20) + 1, have >> 20);
}

static int make_maps(struct weir_set *s, const size_t bytes[WEIR_SET_MAPS], struct weir_error *err)
{
	struct set_maps_bpf *skel;
	int ret = check_memory(bytes, err);

	if (ret)
		return ret;
	weir_load_setup();
	skel = set_maps_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "make a set of prefixes");
	struct bpf_map *const maps[WEIR_SET_MAPS] = {
		[WEIR_SET_TABLE4] = skel->maps.weir_set_table4,
		[WEIR_SET_TRIE] = skel->maps.weir_set_trie,
		[WEIR_SET_LIST] = skel->maps.weir_set_list,
	};
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		bpf_map__set_autocreate(maps[i], bytes[i] > 0);
		if (bytes[i])
			bpf_map__set_max_entries(maps[i], (uint32_t)(bytes[i] / parts[i].unit));
	}
	ret = weir_load(skel->obj, NULL, err);
	for (int i = 0; !ret && i < WEIR_SET_MAPS; i++) {
		if (!bytes[i])
			continue;
		s->size[i] = bytes[i];
		s->fd[i] = fcntl(bpf_map__fd(maps[i]), F_DUPFD_CLOEXEC, 0);
		if (s->fd[i] < 0)
			ret = weir_load_explain(err, -errno, "make a set of prefixes");
	}
	set_maps_bpf__destroy(skel);
	for (int i = 0; !ret && i < WEIR_SET_MAPS; i++) {
		ret = map_part(s, i);
		if (ret)
			explain_map(s, ret, err);
	}
	return ret;
}

/* What is known about the set before its maps are made. */
struct plan {
	struct weir_set_keys keys[WEIR_SET_FAMILIES];
	struct weir_set_keys trie[WEIR_SET_FAMILIES]; /* of keys, what goes there */
	struct weir_set_table_plan table;
	bool *dup;
	bool has_table;
};

static void plan_free(struct plan *p)
{
	weir_set_keys_free(p->keys);
	weir_set_table_plan_free(&p->table);
	free(p->dup);
}

static int plan_init(struct plan *p, const struct weir_prefix *v, size_t n, size_t trie4_max)
{
	int ret;

	*p = (struct plan){ .dup = calloc(n + 1, sizeof(*p->dup)) };
	ret = p->dup ? weir_set_keys_make(p->keys, v, n) : -ENOMEM;
	for (int f = 0; !ret && f < WEIR_SET_FAMILIES; f++) {
		weir_set_unique(&p->keys[f], p->dup);
		p->has_table |= f == WEIR_SET_V4 && p->keys[f].n > trie4_max;
		weir_set_reduce(&p->keys[f]);
		p->trie[f] = p->keys[f];
	}
	if (!ret && p->has_table) {
		p->trie[WEIR_SET_V4].n = 0;
		ret = weir_set_table_plan(&p->keys[WEIR_SET_V4], &p->table);
	}
	return ret;
}

/* The sizes of the maps. Whole pages, since less is not given anyway. */
static int plan_bytes(const struct plan *p, const struct weir_prefix *v, size_t n,
		      size_t ret[WEIR_SET_MAPS])
{
	size_t words = WEIR_SET_LIST_HEAD, lines = weir_set_trie_lines(p->trie);

	for (size_t i = 0; i < n; i++) {
		struct weir_set_key k = weir_set_key_of(&v[i], 0);

		if (!p->dup[i])
			words += weir_set_entry_words(&k, weir_set_family_of(&v[i]));
	}
	ret[WEIR_SET_TABLE4] = p->has_table ? p->table.lines * sizeof(union weir_set_line) : 0;
	ret[WEIR_SET_TRIE] = 0;
	if (!p->has_table || p->keys[WEIR_SET_V6].n)
		ret[WEIR_SET_TRIE] =
			(lines + SPARE(lines) + SPARE_LINES) * sizeof(union weir_set_line);
	ret[WEIR_SET_LIST] = (words + SPARE(words) + SPARE_WORDS) * sizeof(uint64_t);
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		ret[i] = round_up(ret[i], PAGE);
		if (ret[i] / parts[i].unit > parts[i].max)
			return -E2BIG;
	}
	return 0;
}

static void fill_list(const struct weir_set *s, const struct weir_prefix *v, size_t n,
		      const bool *dup)
{
	uint64_t *list = s->mem[WEIR_SET_LIST];
	size_t at = WEIR_SET_LIST_HEAD;

	for (size_t i = 0; i < n; i++) {
		struct weir_set_key k = weir_set_key_of(&v[i], 0);

		if (!dup[i])
			at += weir_set_entry_put(list + at, &k, weir_set_family_of(&v[i]));
	}
	list[WEIR_SET_LIST_MAGIC] = WEIR_SET_MAGIC;
	list[WEIR_SET_LIST_USED] = list[WEIR_SET_LIST_APPLIED] = at;
	list[WEIR_SET_LIST_WORK] = WEIR_SET_IDLE;
}

static int too_many(struct weir_error *err)
{
	return weir_fail(err, -E2BIG, "a set holds up to %u prefixes: split it",
			 WEIR_SET_PREFIXES_MAX);
}

int weir_set_make(struct weir_set *s, const struct weir_prefix *v, size_t n,
		  weir_set_alloc_fn *alloc, size_t trie4_max, struct weir_error *err)
{
	size_t bytes[WEIR_SET_MAPS];
	struct plan p;
	int ret;

	weir_set_init(s);
	if (n > WEIR_SET_PREFIXES_MAX)
		return too_many(err);
	ret = plan_init(&p, v, n, trie4_max);
	if (!ret)
		ret = plan_bytes(&p, v, n, bytes);
	if (ret == -E2BIG)
		too_many(err);
	else if (ret)
		weir_fail(err, ret, "cannot sort the set: %s", strerror(-ret));
	if (!ret)
		ret = alloc(s, bytes, err);
	if (!ret) {
		if (p.has_table)
			weir_set_table_fill(s->mem[WEIR_SET_TABLE4], &p.keys[WEIR_SET_V4],
					    &p.table);
		if (bytes[WEIR_SET_TRIE])
			weir_set_trie_fill(s, p.trie);
		fill_list(s, v, n, p.dup);
	}
	plan_free(&p);
	if (ret)
		weir_set_close(s);
	return ret;
}

int weir_set_create(struct weir_set *s, const struct weir_prefix *v, size_t n,
		    struct weir_error *err)
{
	return weir_set_make(s, v, n, make_maps, TRIE4_MAX, err);
}

/* ---- Ask */

int weir_set_each(struct weir_set *s, int (*fn)(void *arg, const struct weir_prefix *p), void *arg)
{
	size_t at = WEIR_SET_LIST_HEAD;
	struct weir_set_key key;
	enum weir_set_family f;
	const uint64_t *list;
	uint64_t word;
	int ret = map_part(s, WEIR_SET_LIST);

	if (ret)
		return ret;
	list = s->mem[WEIR_SET_LIST];
	while (!ret && weir_set_entry_next(list, weir_set_list_used(s), &at, &key, &f, &word)) {
		struct weir_prefix p = weir_set_prefix_of(&key, f);

		if (weir_set_entry_lives(word, list[WEIR_SET_LIST_WORK]))
			ret = fn(arg, &p);
	}
	return ret;
}

size_t weir_set_count(struct weir_set *s)
{
	size_t n = 0, end, at = WEIR_SET_LIST_HEAD;
	const uint64_t *list;
	uint64_t work;

	if (map_part(s, WEIR_SET_LIST))
		return 0;
	list = s->mem[WEIR_SET_LIST];
	end = weir_set_list_used(s);
	work = list[WEIR_SET_LIST_WORK];
	/* A change of one prefix in a million counts them all: so nothing is read here but
	 * each entry's first word. */
	while (at < end && WEIR_SET_ENTRY_KIND(list[at])) {
		n += weir_set_entry_lives(list[at], work);
		at += WEIR_SET_ENTRY_KIND(list[at]);
	}
	return n;
}

bool weir_set_contains(struct weir_set *s, const struct weir_addr *a)
{
	const bool table = weir_addr_is_v4(a) && weir_set_has(s, WEIR_SET_TABLE4);
	const enum weir_set_map which = table ? WEIR_SET_TABLE4 : WEIR_SET_TRIE;
	struct weir_set_view view;
	__u8 addr[16] __attribute__((aligned(8)));

	if (!weir_set_has(s, which) || (table ? map_part(s, which) : map_whole_trie(s)))
		return false;
	view.lines = s->mem[which];
	view.n = (__u32)(s->size[which] / sizeof(*view.lines));
	memcpy(addr, a->b, sizeof(addr));
	if (table)
		return weir_set_find4(&view, (__u32)addr[12] << 24 | addr[13] << 16 |
						     addr[14] << 8 | addr[15]);
	return weir_set_find6(&view, addr);
}

/* ---- Pins */

#define PIN_NAME_MAX 64

static void pin_name(char name[PIN_NAME_MAX], const char *prefix, int which)
{
	snprintf(name, PIN_NAME_MAX, "%s%s", prefix, parts[which].pin);
}

int weir_set_pin(const struct weir_set *s, const struct weir_pin_dir *d, const char *prefix,
		 struct weir_error *err)
{
	char name[PIN_NAME_MAX];
	int ret = 0;

	for (int i = 0; !ret && i < WEIR_SET_MAPS; i++) {
		if (s->fd[i] < 0)
			continue;
		pin_name(name, prefix, i);
		ret = weir_pin_put(d, name, s->fd[i], err);
	}
	return ret;
}

void weir_set_unpin(const struct weir_pin_dir *d, const char *prefix)
{
	char name[PIN_NAME_MAX];

	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		pin_name(name, prefix, i);
		unlinkat(d->fd, name, 0);
	}
}

static int foreign(const struct weir_pin_dir *d, const char *name, struct weir_error *err)
{
	return weir_fail(err, -EPROTO, "%s/%s was made by an incompatible weir: `weir unload %s`",
			 d->path, name, strrchr(d->path, '/') + 1);
}

/* Where each map has its magic: the first 4 bytes of this element. */
static const uint32_t head_keys[WEIR_SET_MAPS] = {
	[WEIR_SET_TABLE4] = WEIR_SET_TABLE_HEAD,
	[WEIR_SET_TRIE] = WEIR_SET_TRIE_HEAD,
	[WEIR_SET_LIST] = WEIR_SET_LIST_MAGIC,
};

static bool is_ours(int fd, int which)
{
	union weir_set_line value = { 0 };

	return !bpf_map_lookup_elem(fd, &head_keys[which], &value) &&
	       value.slot[0] == WEIR_SET_MAGIC;
}

static int open_part(struct weir_set *s, int which, const struct weir_pin_dir *d,
		     const char *prefix, struct weir_error *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[PIN_NAME_MAX];
	int fd;

	pin_name(name, prefix, which);
	fd = weir_pin_get(d, name);
	if (fd == -ENOENT && which != WEIR_SET_LIST)
		return 0;
	if (fd < 0)
		return weir_load_explain(err, fd, "open a set of prefixes");
	s->fd[which] = fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return weir_load_explain(err, -errno, "open a set of prefixes");
	if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != parts[which].unit ||
	    !(info.map_flags & BPF_F_MMAPABLE) || !is_ours(fd, which))
		return foreign(d, name, err);
	s->size[which] = (size_t)info.max_entries * info.value_size;
	return 0;
}

/* Has a writer been killed in the middle? Mapping a large set takes milliseconds, so
 * this asks for the words. */
static bool is_unfinished(int list_fd)
{
	uint64_t word[WEIR_SET_LIST_HEAD] = { 0 };

	for (uint32_t i = 0; i < WEIR_SET_LIST_HEAD; i++)
		if (bpf_map_lookup_elem(list_fd, &i, &word[i]))
			return false;
	return word[WEIR_SET_LIST_WORK] != WEIR_SET_IDLE ||
	       word[WEIR_SET_LIST_APPLIED] != word[WEIR_SET_LIST_USED];
}

int weir_set_open(struct weir_set *s, const struct weir_pin_dir *d, const char *prefix,
		  struct weir_error *err)
{
	int ret = 0;

	weir_set_init(s);
	for (int i = 0; !ret && i < WEIR_SET_MAPS; i++)
		ret = open_part(s, i, d, prefix, err);
	if (!ret && is_unfinished(s->fd[WEIR_SET_LIST])) {
		ret = weir_set_map_all(s, err);
		if (!ret)
			ret = weir_set_recover(s);
		/* Where there is no room to finish, the list is what counts, and the
		 * next change says so. */
		if (ret == -ENOSPC)
			ret = 0;
		else if (ret)
			weir_load_explain(err, ret, "finish an interrupted change of a set");
	}
	if (ret)
		weir_set_close(s);
	return ret;
}
