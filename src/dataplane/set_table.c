/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TABLE4. What a /24 has in the set is worked on as a bitmap of 256 and then
 * encoded in the smallest form that holds it.
 *
 * The order of stores: an entry is right before the state leads to it, and an entry to
 * which the state has just stopped leading says the same as the new state, because a
 * program may have read the old state a moment ago.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "bpf/set.bpf.h"
#include "dataplane/set_impl.h"

#define NET_LEN (96 + 24) /* of a /24 */
#define HOSTS 256
#define SPARE_LINES 16
/* Two places for each entry at the beginning, so that a quarter may come in addition:
 * until 0.65 of all places are taken it does not happen that both lines are full. */
#define BUCKETS_MIN 63
#define BUCKETS_FOR(n) ((n) / 4 + BUCKETS_MIN)
#define PLACE_TRIES 16
/* The first line is preferred as long as this many places of it are free. With fewer
 * still more entries would be in their first line, but both are full earlier. */
#define FREE_ENOUGH 5

struct hosts {
	uint64_t word[HOSTS / 64];
};

static void store_word(__u64 *at, __u64 value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* ---- The 256 addresses of a /24 */

static void hosts_set(struct hosts *h, unsigned int first, unsigned int last, bool in)
{
	for (unsigned int i = first; i <= last;) {
		unsigned int bit = i % 64, n = last - i + 1 < 64 - bit ? last - i + 1 : 64 - bit;
		uint64_t mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << bit;

		if (in)
			h->word[i / 64] |= mask;
		else
			h->word[i / 64] &= ~mask;
		i += n;
	}
}

/* The first address from @from on that is in (not in); HOSTS where there is none. */
static unsigned int hosts_next(const struct hosts *h, unsigned int from, bool in)
{
	while (from < HOSTS) {
		__u64 w = (in ? h->word[from / 64] : ~h->word[from / 64]) >> from % 64;

		if (w)
			return from + (unsigned int)__builtin_ctzll(w);
		from = (from / 64 + 1) * 64;
	}
	return HOSTS;
}

static bool hosts_empty(const struct hosts *h)
{
	return hosts_next(h, 0, true) == HOSTS;
}

static bool hosts_full(const struct hosts *h)
{
	return hosts_next(h, 0, false) == HOSTS;
}

static void hosts_set_key(struct hosts *h, const struct weir_set_key *k, bool in)
{
	unsigned int first = k->lo & 0xff;

	hosts_set(h, first, first + (1U << (128 - k->len)) - 1, in);
}

/* ---- Entries */

static __u64 entry_make(uint32_t net, enum weir_set_kind kind, uint32_t data)
{
	return (__u64)net << WEIR_SET_TAG_SHIFT | (__u64)kind << WEIR_SET_KIND_SHIFT | data;
}

static enum weir_set_kind entry_kind(__u64 entry)
{
	return entry >> WEIR_SET_KIND_SHIFT & 0xff;
}

/* The entry of @net for these addresses where one word can say it, else 0. */
static __u64 entry_encode(uint32_t net, const struct hosts *h)
{
	unsigned int n = 0, runs = 0, first = 0, last;
	uint32_t hosts = 0, ranges = 0;

	for (int i = 0; i < HOSTS / 64; i++)
		n += (unsigned int)__builtin_popcountll(h->word[i]);
	for (first = hosts_next(h, 0, true); first < HOSTS && runs < 3; runs++) {
		last = hosts_next(h, first, false) - 1;
		if (runs < 2)
			ranges |= (first | last << 8) << 16 * runs;
		first = hosts_next(h, last + 1, true);
	}
	if (!n)
		return entry_make(net, WEIR_SET_RANGES, 0x00010001); /* from 1 to 0: none */
	if (runs <= 2)
		return entry_make(net, WEIR_SET_RANGES, runs == 2 ? ranges : ranges * 0x10001U);
	if (n > 4)
		return 0;
	first = hosts_next(h, 0, true);
	for (unsigned int i = 0; i < 4; i++) {
		hosts |= first << 8 * i;
		last = hosts_next(h, first + 1, true);
		first = last < HOSTS ? last : first;
	}
	return entry_make(net, WEIR_SET_HOSTS, hosts);
}

static __u64 *bitmap_at(union weir_set_line *t, uint32_t number)
{
	return &t[number >> 1].word[(number & 1) * 4];
}

static void entry_decode(union weir_set_line *t, __u64 entry, struct hosts *ret)
{
	const uint32_t data = (uint32_t)entry;

	memset(ret, 0, sizeof(*ret));
	switch (entry_kind(entry)) {
	case WEIR_SET_HOSTS:
		for (unsigned int i = 0; i < 4; i++)
			hosts_set(ret, data >> 8 * i & 0xff, data >> 8 * i & 0xff, true);
		return;
	case WEIR_SET_RANGES:
		for (unsigned int i = 0; i < 2; i++) {
			unsigned int first = data >> 16 * i & 0xff,
				     last = data >> (16 * i + 8) & 0xff;

			if (first <= last)
				hosts_set(ret, first, last, true);
		}
		return;
	case WEIR_SET_BITMAP:
		memcpy(ret, bitmap_at(t, data), sizeof(*ret));
		return;
	}
}

static __u64 *find_in_line(union weir_set_line *line, uint32_t net)
{
	for (int i = 0; i < WEIR_SET_WAYS; i++)
		if (line->word[i] && line->word[i] >> WEIR_SET_TAG_SHIFT == net)
			return &line->word[i];
	return NULL;
}

static unsigned int free_in_line(const union weir_set_line *line)
{
	unsigned int n = 0;

	for (int i = 0; i < WEIR_SET_WAYS; i++)
		n += !line->word[i];
	return n;
}

/* Where the entry of @net is or could be, and the state that leads there. */
struct place {
	union weir_set_line *line[2];
};

static struct place place_of(union weir_set_line *t, uint32_t net)
{
	const struct weir_set_table_head *head = &t[WEIR_SET_TABLE_HEAD].table;
	const __u64 hash = weir_set_hash(head->seed, net);

	return (struct place){ {
		&t[weir_set_bucket((uint32_t)(hash >> 32), head->buckets)],
		&t[weir_set_bucket((uint32_t)hash, head->buckets)],
	} };
}

static __u64 *find_entry(union weir_set_line *t, uint32_t net, enum weir_set_state *ret)
{
	struct place p = place_of(t, net);
	__u64 *at = find_in_line(p.line[0], net);

	*ret = WEIR_SET_FIRST;
	if (at)
		return at;
	*ret = WEIR_SET_SECOND;
	return find_in_line(p.line[1], net);
}

/* Which of two lines takes one more, given the free places of both; -1: neither. */
static int choose(unsigned int first, unsigned int second)
{
	if (first >= FREE_ENOUGH || (first && first >= second))
		return 0;
	return second ? 1 : -1;
}

/* A free place for @net, or NULL. */
static __u64 *new_place(union weir_set_line *t, uint32_t net, enum weir_set_state *ret)
{
	struct place p = place_of(t, net);
	int which = choose(free_in_line(p.line[0]), free_in_line(p.line[1]));

	if (which < 0)
		return NULL;
	*ret = which ? WEIR_SET_SECOND : WEIR_SET_FIRST;
	for (int i = 0; i < WEIR_SET_WAYS; i++)
		if (!p.line[which]->word[i])
			return &p.line[which]->word[i];
	return NULL;
}

/* Write an entry to @at, which has that of @net or nothing. A bitmap stays one. */
static void put_entry(union weir_set_line *t, __u64 *at, uint32_t net, const struct hosts *h)
{
	struct weir_set_table_head *head = &t[WEIR_SET_TABLE_HEAD].table;
	__u64 entry = entry_encode(net, h), *bitmap;

	if (*at && entry_kind(*at) == WEIR_SET_BITMAP) {
		bitmap = bitmap_at(t, (uint32_t)*at);
		for (int i = 0; i < HOSTS / 64; i++)
			if (bitmap[i] != h->word[i])
				store_word(&bitmap[i], h->word[i]);
		return;
	}
	if (!entry) {
		uint32_t number = head->bitmap_next;

		__atomic_store_n(&head->bitmap_next, number + 1, __ATOMIC_RELEASE);
		memcpy(bitmap_at(t, number), h, sizeof(*h));
		entry = entry_make(net, WEIR_SET_BITMAP, number);
	}
	store_word(at, entry);
}

/* ---- States */

static __u64 *state_word(union weir_set_line *t, uint32_t net)
{
	return &t[net >> 8].word[net / WEIR_SET_STATES_WORD & 7];
}

static enum weir_set_state state_of(union weir_set_line *t, uint32_t net)
{
	return *state_word(t, net) >> net % WEIR_SET_STATES_WORD * 2 & 3;
}

static __u64 with_state(__u64 word, uint32_t net, enum weir_set_state state)
{
	const unsigned int shift = net % WEIR_SET_STATES_WORD * 2;

	return (word & ~(3ULL << shift)) | (__u64)state << shift;
}

/* The two bits of each /24 of the word of @first that lies in @first..@last. */
static __u64 states_mask(uint32_t first, uint32_t last)
{
	const unsigned int from = first % WEIR_SET_STATES_WORD;
	const unsigned int n = last - first + 1 < WEIR_SET_STATES_WORD - from ?
				       last - first + 1 :
				       WEIR_SET_STATES_WORD - from;

	return (n == WEIR_SET_STATES_WORD ? ~0ULL : (1ULL << 2 * n) - 1) << 2 * from;
}

#define ALL_OF_WORD 0x5555555555555555ULL /* WEIR_SET_ALL, 32 times */

static uint32_t net_of(const struct weir_set_key *k)
{
	return (uint32_t)k->lo >> 8;
}

static uint32_t last_net_of(const struct weir_set_key *k)
{
	return k->len >= NET_LEN ? net_of(k) : net_of(k) + (1U << (NET_LEN - k->len)) - 1;
}

/* The keys from v[0] on that lie in the same /24, as addresses. Returns how many. */
static size_t take_net(const struct weir_set_key *v, size_t n, struct hosts *ret)
{
	size_t i = 0;

	memset(ret, 0, sizeof(*ret));
	for (; i < n && v[i].len > NET_LEN && net_of(&v[i]) == net_of(v); i++)
		hosts_set_key(ret, &v[i], true);
	return i;
}

/* ---- Make */

/* Put every /24 into one of its two lines, counting only. */
static bool try_places(struct weir_set_table_plan *p, uint8_t *room)
{
	memset(room, WEIR_SET_WAYS, p->buckets);
	for (size_t i = 0; i < p->n; i++) {
		__u64 hash = weir_set_hash(p->seed, p->nets[i]);
		uint8_t *first = &room[weir_set_bucket((uint32_t)(hash >> 32), p->buckets) -
				       WEIR_SET_BUCKETS];
		uint8_t *second =
			&room[weir_set_bucket((uint32_t)hash, p->buckets) - WEIR_SET_BUCKETS];
		int which = choose(*first, *second);

		if (which < 0)
			return false;
		--*(which ? second : first);
	}
	return true;
}

static int plan_places(struct weir_set_table_plan *p)
{
	size_t buckets = BUCKETS_FOR(p->n);

	for (int i = 0; i < PLACE_TRIES; i++, buckets += buckets / 4) {
		weir_autofree uint8_t *room = malloc(buckets);

		if (!room)
			return -ENOMEM;
		if (getrandom(&p->seed, sizeof(p->seed), 0) != sizeof(p->seed))
			return -errno;
		p->buckets = (uint32_t)buckets;
		if (try_places(p, room))
			return 0;
	}
	return -ENOSPC;
}

int weir_set_table_plan(const struct weir_set_keys *k, struct weir_set_table_plan *ret)
{
	struct hosts h;
	int err;

	*ret = (struct weir_set_table_plan){ .nets = calloc(k->n + 1, sizeof(*ret->nets)) };
	if (!ret->nets)
		return -ENOMEM;
	for (size_t i = 0, used; i < k->n; i += used) {
		used = 1;
		if (k->v[i].len <= NET_LEN)
			continue;
		used = take_net(&k->v[i], k->n - i, &h);
		if (hosts_full(&h))
			continue;
		ret->nets[ret->n++] = net_of(&k->v[i]);
		ret->bitmaps += !entry_encode(0, &h);
	}
	err = plan_places(ret);
	if (err) {
		weir_set_table_plan_free(ret);
		return err;
	}
	ret->bitmaps += ret->bitmaps / 4 + ret->n / 64 + 2 * SPARE_LINES;
	ret->lines = WEIR_SET_BUCKETS + ret->buckets + (ret->bitmaps + 1) / 2;
	return 0;
}

void weir_set_table_plan_free(struct weir_set_table_plan *p)
{
	free(p->nets);
	p->nets = NULL;
}

static void fill_states(union weir_set_line *t, uint32_t first, uint32_t last)
{
	while (first <= last) {
		__u64 mask = states_mask(first, last);

		*state_word(t, first) |= mask & ALL_OF_WORD;
		first = (first / WEIR_SET_STATES_WORD + 1) * WEIR_SET_STATES_WORD;
	}
}

void weir_set_table_fill(union weir_set_line *t, const struct weir_set_keys *k,
			 const struct weir_set_table_plan *p)
{
	const uint32_t bitmaps = 2 * (WEIR_SET_BUCKETS + p->buckets);
	enum weir_set_state state;
	struct hosts h;

	t[WEIR_SET_TABLE_HEAD].table = (struct weir_set_table_head){
		.magic = WEIR_SET_MAGIC,
		.buckets = p->buckets,
		.seed = p->seed,
		.bitmap_next = bitmaps,
		.bitmap_end = bitmaps + 2 * (uint32_t)(p->lines - WEIR_SET_BUCKETS - p->buckets),
	};
	for (size_t i = 0, used; i < k->n; i += used) {
		uint32_t net = net_of(&k->v[i]);
		__u64 *word = state_word(t, net);

		used = 1;
		if (k->v[i].len <= NET_LEN) {
			fill_states(t, net, last_net_of(&k->v[i]));
			continue;
		}
		used = take_net(&k->v[i], k->n - i, &h);
		state = WEIR_SET_ALL;
		if (!hosts_full(&h))
			put_entry(t, new_place(t, net, &state), net, &h);
		*word = with_state(*word, net, state);
	}
}

/* ---- Change */

/* What @net has in the set. */
static void hosts_of(union weir_set_line *t, uint32_t net, struct hosts *ret)
{
	const enum weir_set_state state = state_of(t, net);
	enum weir_set_state found;

	memset(ret, 0, sizeof(*ret));
	if (state == WEIR_SET_ALL)
		hosts_set(ret, 0, HOSTS - 1, true);
	else if (state != WEIR_SET_NONE)
		entry_decode(t, *find_entry(t, net, &found), ret);
}

/* Have an entry for @net, one that says what its state says, and a bitmap in store
 * where @h, which it will have, needs one. */
static int reserve_net(union weir_set_line *t, uint32_t net, const struct hosts *h, bool *bitmap)
{
	enum weir_set_state state;
	__u64 *at = find_entry(t, net, &state);
	struct hosts now = { 0 };

	*bitmap = !entry_encode(net, h) && !(at && entry_kind(*at) == WEIR_SET_BITMAP);
	if (at)
		return 0;
	at = new_place(t, net, &state);
	if (!at)
		return -ENOSPC;
	if (state_of(t, net) == WEIR_SET_ALL)
		hosts_set(&now, 0, HOSTS - 1, true);
	store_word(at, entry_encode(net, &now));
	return 0;
}

static int reserve_hosts(union weir_set_line *t, struct weir_set_table_need *need,
			 const struct weir_set_key *region, const struct weir_set_key *want,
			 size_t n)
{
	struct hosts *h = (struct hosts *)need->hosts;
	bool bitmap;
	int ret;

	if (net_of(region) != need->net) {
		need->net = net_of(region);
		need->counted = false;
		hosts_of(t, need->net, h);
	}
	hosts_set_key(h, region, false);
	for (size_t i = 0; i < n; i++)
		hosts_set_key(h, &want[i], true);
	ret = reserve_net(t, need->net, h, &bitmap);
	need->bitmaps += bitmap && !need->counted;
	need->counted |= bitmap;
	return ret;
}

int weir_set_table_reserve(union weir_set_line *t, struct weir_set_table_need *need,
			   const struct weir_set_key *region, const struct weir_set_key *want,
			   size_t n)
{
	const struct weir_set_table_head *head = &t[WEIR_SET_TABLE_HEAD].table;
	struct hosts h;
	int ret = 0;

	if (region->len > NET_LEN)
		ret = reserve_hosts(t, need, region, want, n);
	for (size_t i = 0, used; region->len <= NET_LEN && !ret && i < n; i += used) {
		bool bitmap;

		used = 1;
		if (want[i].len <= NET_LEN)
			continue;
		used = take_net(&want[i], n - i, &h);
		ret = reserve_net(t, net_of(&want[i]), &h, &bitmap);
		need->bitmaps += bitmap;
	}
	if (!ret && need->bitmaps > head->bitmap_end - head->bitmap_next)
		ret = -ENOSPC;
	return ret;
}

/* Give @net these addresses; its entry is there. Returns the state to be set. */
static enum weir_set_state put_net(union weir_set_line *t, uint32_t net, const struct hosts *h)
{
	enum weir_set_state state;
	__u64 *at = find_entry(t, net, &state);

	if (hosts_empty(h))
		return WEIR_SET_NONE;
	put_entry(t, at, net, h);
	return hosts_full(h) ? WEIR_SET_ALL : state;
}

static void splice_hosts(union weir_set_line *t, const struct weir_set_key *region,
			 const struct weir_set_key *want, size_t n)
{
	const uint32_t net = net_of(region);
	const enum weir_set_state state = state_of(t, net);
	__u64 *word = state_word(t, net);
	enum weir_set_state found;
	struct hosts h;

	hosts_of(t, net, &h);
	hosts_set_key(&h, region, false);
	for (size_t i = 0; i < n; i++)
		hosts_set_key(&h, &want[i], true);
	found = put_net(t, net, &h);
	if (found != state)
		store_word(word, with_state(*word, net, found));
	/* What nothing leads to gives its place back. */
	if (found == WEIR_SET_NONE)
		store_word(find_entry(t, net, &found), 0);
}

/* The states that @want makes of those of the word of @first, with their entries. *at
 * moves behind what ends in this word. */
static __u64 want_states(union weir_set_line *t, uint32_t first, uint32_t last,
			 const struct weir_set_key *want, size_t n, size_t *at)
{
	__u64 word = 0;
	struct hosts h;

	while (*at < n && net_of(&want[*at]) <= last) {
		const struct weir_set_key *k = &want[*at];

		if (k->len > NET_LEN) {
			*at += take_net(k, n - *at, &h);
			word = with_state(word, net_of(k), put_net(t, net_of(k), &h));
			continue;
		}
		word |= states_mask(net_of(k) > first ? net_of(k) : first,
				    last_net_of(k) < last ? last_net_of(k) : last) &
			ALL_OF_WORD;
		if (last_net_of(k) > last)
			break;
		++*at;
	}
	return word;
}

/* Entries of /24s from @first on whose state goes from one that led to them to @to. */
static void leave_entries(union weir_set_line *t, uint32_t first, __u64 old, __u64 new,
			  enum weir_set_state to)
{
	enum weir_set_state state;
	struct hosts h = { 0 };

	if (!(old & ~ALL_OF_WORD))
		return;
	hosts_set(&h, 0, HOSTS - 1, true);
	for (uint32_t i = 0; i < WEIR_SET_STATES_WORD; i++) {
		uint32_t net = first / WEIR_SET_STATES_WORD * WEIR_SET_STATES_WORD + i;
		__u64 *at;

		if ((old >> 2 * i & 3) <= WEIR_SET_ALL || (new >> 2 * i & 3) != to)
			continue;
		at = find_entry(t, net, &state);
		if (to == WEIR_SET_ALL)
			put_entry(t, at, net, &h);
		else
			store_word(at, 0);
	}
}

void weir_set_table_splice(union weir_set_line *t, const struct weir_set_key *region,
			   const struct weir_set_key *want, size_t n)
{
	uint32_t net = net_of(region), end = last_net_of(region);
	size_t at = 0;

	if (region->len > NET_LEN) {
		splice_hosts(t, region, want, n);
		return;
	}
	while (net <= end) {
		uint32_t next = (net / WEIR_SET_STATES_WORD + 1) * WEIR_SET_STATES_WORD;
		uint32_t last = end < next ? end : next - 1;
		__u64 *word = state_word(t, net), mask = states_mask(net, last), new;

		new = (*word & ~mask) | want_states(t, net, last, want, n, &at);
		if (new != *word) {
			__u64 old = *word;

			leave_entries(t, net, old, new, WEIR_SET_ALL);
			store_word(word, new);
			leave_entries(t, net, old, new, WEIR_SET_NONE);
		}
		net = next;
	}
}
