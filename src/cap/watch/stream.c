/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/stream.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "dataplane/key_hash.h"

#define STREAM_FIRST 2048U /* what most beginnings fit in, also a post-quantum ClientHello's */
#define STREAM_IDLE_NS (60 * WEIR_NSEC_PER_SEC)
/* Looked at for their age with each new one: more than one, so that they become fewer. */
#define AGED_AT_ONCE 2

static struct weir_stream *stream_of(struct weir_lru_node *n)
{
	return (struct weir_stream *)((char *)n - offsetof(struct weir_stream, node));
}

static uint64_t hash_key(const struct weir_streams *t, const struct weir_stream_key *k)
{
	return weir_key_hash(t->seed, k, sizeof(*k));
}

int weir_streams_init(struct weir_streams *t, size_t max, size_t bytes_max, uint64_t seed)
{
	*t = (struct weir_streams){ .bytes_max = bytes_max, .seed = seed };
	return weir_lru_init(&t->table, max);
}

void weir_streams_free(struct weir_streams *t)
{
	while (t->table.oldest)
		weir_streams_drop(t, stream_of(t->table.oldest), WEIR_STREAM_LOST_MAX);
	weir_lru_free(&t->table);
}

struct weir_stream *weir_streams_find(struct weir_streams *t, const struct weir_stream_key *k,
				      uint64_t now)
{
	const uint64_t hash = hash_key(t, k);
	struct weir_lru_node *n = weir_lru_find(&t->table, hash, NULL);

	while (n && memcmp(&stream_of(n)->key, k, sizeof(*k)) != 0)
		n = weir_lru_find(&t->table, hash, n);
	if (!n)
		return NULL;
	weir_lru_touch(&t->table, n);
	stream_of(n)->last = now;
	return stream_of(n);
}

static void free_buffer(struct weir_streams *t, struct weir_stream *s)
{
	free(s->buf);
	t->bytes -= s->cap;
	s->buf = NULL;
	s->cap = 0;
}

void weir_streams_drop(struct weir_streams *t, struct weir_stream *s, enum weir_stream_lost why)
{
	if (why < WEIR_STREAM_LOST_MAX && (s->have || s->n_early))
		t->lost[why]++;
	if (t->free_reader)
		t->free_reader(s);
	free_buffer(t, s);
	weir_lru_remove(&t->table, &s->node);
	free(s);
}

static void drop_aged(struct weir_streams *t, uint64_t now)
{
	for (int i = 0; i < AGED_AT_ONCE && t->table.oldest; i++) {
		struct weir_stream *s = stream_of(t->table.oldest);

		if (s->last + STREAM_IDLE_NS > now)
			break;
		weir_streams_drop(t, s, WEIR_STREAM_LOST_IDLE);
	}
}

struct weir_stream *weir_streams_add(struct weir_streams *t, const struct weir_stream_key *k,
				     uint32_t base, uint64_t now)
{
	struct weir_stream *s = calloc(1, sizeof(*s));

	if (!s) {
		t->lost[WEIR_STREAM_LOST_MEMORY]++;
		return NULL;
	}
	drop_aged(t, now);
	if (weir_lru_full(&t->table))
		weir_streams_drop(t, stream_of(t->table.oldest), WEIR_STREAM_LOST_EVICTED);
	s->key = *k;
	s->base = base;
	s->last = now;
	weir_lru_add(&t->table, &s->node, hash_key(t, k));
	return s;
}

/* Memory grows with what came, and the oldest make room. */
static bool grow(struct weir_streams *t, struct weir_stream *s, uint32_t want)
{
	uint32_t cap = s->cap ? s->cap : STREAM_FIRST;
	uint8_t *buf;

	if (want <= s->cap)
		return true;
	while (cap < want)
		cap *= 2;
	while (t->bytes - s->cap + cap > t->bytes_max && stream_of(t->table.oldest) != s)
		weir_streams_drop(t, stream_of(t->table.oldest), WEIR_STREAM_LOST_EVICTED);
	buf = realloc(s->buf, cap);
	if (!buf)
		return false;
	t->bytes += cap - s->cap;
	s->buf = buf;
	s->cap = cap;
	return true;
}

/* The bytes of [from, to) that are not there yet. */
static void fill(struct weir_stream *s, uint32_t from, uint32_t to, const uint8_t *data)
{
	uint32_t at = from > s->have ? from : s->have, until;

	for (unsigned int i = 0; at < to; i++) {
		until = i < s->n_early && s->early[i].from < to ? s->early[i].from : to;
		if (until > at)
			memcpy(s->buf + at, data + (at - from), until - at);
		if (i >= s->n_early)
			break;
		if (s->early[i].to > at)
			at = s->early[i].to;
	}
}

/* Join [from, to), which begins behind a hole, with the pieces that it touches. */
static bool join_early(struct weir_stream *s, uint32_t from, uint32_t to)
{
	unsigned int i = 0, end;

	while (i < s->n_early && s->early[i].to < from)
		i++;
	for (end = i; end < s->n_early && s->early[end].from <= to; end++) {
		if (s->early[end].from < from)
			from = s->early[end].from;
		if (s->early[end].to > to)
			to = s->early[end].to;
	}
	if (end == i && s->n_early == WEIR_STREAM_HOLES)
		return false;
	memmove(&s->early[i + 1], &s->early[end], (s->n_early - end) * sizeof(s->early[0]));
	s->n_early = (uint8_t)(s->n_early + 1 - (end - i));
	s->early[i].from = from;
	s->early[i].to = to;
	return true;
}

/* The hole before the first pieces is closed. */
static void join_have(struct weir_stream *s)
{
	unsigned int n = 0;

	while (n < s->n_early && s->early[n].from <= s->have) {
		if (s->early[n].to > s->have)
			s->have = s->early[n].to;
		n++;
	}
	s->n_early = (uint8_t)(s->n_early - n);
	memmove(s->early, s->early + n, s->n_early * sizeof(s->early[0]));
}

bool weir_stream_put(struct weir_streams *t, struct weir_stream *s, uint32_t seq,
		     const uint8_t *data, uint32_t n)
{
	int32_t off = (int32_t)(seq - s->base);
	uint32_t from, to;

	if (off < 0) { /* it begins with what was read already */
		uint32_t old = 0 - (uint32_t)off;

		if (old >= n)
			return true;
		data += old;
		n -= old;
		off = 0;
	}
	from = (uint32_t)off;
	if (from >= WEIR_STREAM_MAX) {
		/* So much further on, what is missing does not come any more. */
		weir_streams_drop(t, s,
				  s->have < WEIR_STREAM_MAX ? WEIR_STREAM_LOST_GAP :
							      WEIR_STREAM_LOST_TOO_LONG);
		return false;
	}
	to = n < WEIR_STREAM_MAX - from ? from + n : WEIR_STREAM_MAX;
	if (from == to || to <= s->have)
		return true;
	if (!grow(t, s, to)) {
		t->lost[WEIR_STREAM_LOST_MEMORY]++;
		weir_streams_drop(t, s, WEIR_STREAM_LOST_MAX);
		return false;
	}
	fill(s, from, to, data);
	if (from <= s->have) {
		s->have = to;
		join_have(s);
	} else if (!join_early(s, from, to)) {
		weir_streams_drop(t, s, WEIR_STREAM_LOST_GAP);
		return false;
	}
	return true;
}

void weir_stream_consume(struct weir_stream *s, uint32_t n)
{
	uint32_t end = s->n_early ? s->early[s->n_early - 1].to : s->have;

	memmove(s->buf, s->buf + n, end - n);
	s->base += n;
	s->have -= n;
	for (unsigned int i = 0; i < s->n_early; i++) {
		s->early[i].from -= n;
		s->early[i].to -= n;
	}
}

void weir_stream_rest(struct weir_streams *t, struct weir_stream *s, uint32_t base)
{
	free_buffer(t, s);
	s->base = base;
	s->have = s->fed = 0;
	s->n_early = 0;
}

size_t weir_streams_begun(const struct weir_streams *t)
{
	size_t n = 0;

	for (struct weir_lru_node *x = t->table.oldest; x; x = x->newer)
		n += stream_of(x)->have || stream_of(x)->n_early;
	return n;
}
