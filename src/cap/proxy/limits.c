/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sources lie in SHARDS hash tables with a lock each, so that workers seldom meet. Every
 * source that has a connection is kept, whether a limit is set or not: a reload may set
 * one. The rate is a virtual-scheduling bucket (ITU-T I.371, GCRA): one time per source.
 */
#include "cap/proxy/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "bpf/siphash.bpf.h"

#define SHARDS 64
#define BUCKETS_MIN 16
#define SWEEP 2	     /* buckets looked through for sources to forget, each time */
#define V6_NETWORK 8 /* bytes of a /64 */

struct source {
	struct source *next;
	struct weir_addr key;
	uint32_t open;
	uint64_t full_at; /* when its bucket is full again */
};

struct shard {
	pthread_mutex_t lock;
	struct source **bucket;
	uint32_t n_buckets, n, swept;
};

struct weir_proxy_limiter {
	struct shard shard[SHARDS];
	_Atomic uint64_t open;
	uint64_t seed[2];
};

struct weir_addr weir_limiter_key(const struct weir_addr *source)
{
	struct weir_addr key = *source;

	if (!weir_addr_is_v4(source))
		memset(key.b + V6_NETWORK, 0, sizeof(key.b) - V6_NETWORK);
	return key;
}

struct weir_proxy_limiter *weir_limiter_new(void)
{
	struct weir_proxy_limiter *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	/* Clients choose their addresses: they must not choose the buckets. */
	if (getrandom(l->seed, sizeof(l->seed), 0) != sizeof(l->seed))
		l->seed[0] = weir_clock_real();
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &l->shard[i];

		pthread_mutex_init(&s->lock, NULL);
		s->bucket = calloc(BUCKETS_MIN, sizeof(struct source *));
		s->n_buckets = BUCKETS_MIN;
		if (!s->bucket) {
			weir_limiter_free(l);
			return NULL;
		}
	}
	return l;
}

void weir_limiter_free(struct weir_proxy_limiter *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &l->shard[i];

		for (uint32_t b = 0; s->bucket && b < s->n_buckets; b++) {
			struct source *e;

			while ((e = s->bucket[b])) {
				s->bucket[b] = e->next;
				free(e);
			}
		}
		free(s->bucket);
		if (s->n_buckets)
			pthread_mutex_destroy(&s->lock);
	}
	free(l);
}

static uint64_t hash(const struct weir_proxy_limiter *l, const struct weir_addr *key)
{
	struct weir_sip v;
	uint64_t word[2];

	memcpy(word, key->b, sizeof(word));
	weir_sip_begin(&v, l->seed[0], l->seed[1]);
	weir_sip_word(&v, word[0], 1);
	weir_sip_word(&v, word[1], 1);
	return weir_sip_end(&v, 3);
}

/* Bits that the choice of the shard has not used. */
static struct source **bucket_of(struct shard *s, uint64_t h)
{
	return &s->bucket[(h / SHARDS) & (s->n_buckets - 1)];
}

static struct source **find(struct shard *s, uint64_t h, const struct weir_addr *key)
{
	struct source **at = bucket_of(s, h);

	while (*at && memcmp(&(*at)->key, key, sizeof(*key)) != 0)
		at = &(*at)->next;
	return at;
}

static void forget(struct shard *s, struct source **at)
{
	struct source *e = *at;

	*at = e->next;
	s->n--;
	free(e);
}

/* Each call looks at a few buckets, so that a burst's sources go as new ones come. */
static void sweep(struct shard *s, uint64_t now)
{
	for (int i = 0; i < SWEEP; i++) {
		struct source **at = &s->bucket[s->swept++ & (s->n_buckets - 1)];

		while (*at) {
			if (!(*at)->open && (*at)->full_at <= now)
				forget(s, at);
			else
				at = &(*at)->next;
		}
	}
}

/* Without memory the chains grow longer instead. */
static void grow(struct weir_proxy_limiter *l, struct shard *s)
{
	uint32_t n_before = s->n_buckets;
	struct source **before = s->bucket, *e;
	struct source **more = calloc((size_t)n_before * 2, sizeof(struct source *));

	if (!more)
		return;
	s->bucket = more;
	s->n_buckets = n_before * 2;
	for (uint32_t b = 0; b < n_before; b++) {
		while ((e = before[b])) {
			struct source **at = bucket_of(s, hash(l, &e->key));

			before[b] = e->next;
			e->next = *at;
			*at = e;
		}
	}
	free(before);
}

static struct source *add(struct weir_proxy_limiter *l, struct shard *s, uint64_t h,
			  const struct weir_addr *key)
{
	struct source *e = calloc(1, sizeof(*e)), **at;

	if (!e)
		return NULL;
	if (s->n >= s->n_buckets)
		grow(l, s);
	at = bucket_of(s, h);
	e->key = *key;
	e->next = *at;
	*at = e;
	s->n++;
	return e;
}

/* WEIR_ENDS: yes. */
static enum weir_proxy_end enter(struct source *e, const struct weir_proxy_limits *limits,
				 uint64_t now)
{
	if (limits->per_source && e->open >= limits->per_source)
		return WEIR_END_LIMIT_PER_SOURCE;
	if (limits->source_rate) {
		uint64_t interval = WEIR_NSEC_PER_SEC / limits->source_rate;
		uint64_t burst = limits->source_burst ? limits->source_burst : 1;
		uint64_t from = e->full_at > now ? e->full_at : now;

		if (from - now > (burst - 1) * interval)
			return WEIR_END_LIMIT_RATE;
		e->full_at = from + interval;
	}
	e->open++;
	return WEIR_ENDS;
}

enum weir_proxy_end weir_limiter_enter(struct weir_proxy_limiter *l,
				       const struct weir_proxy_limits *limits,
				       const struct weir_addr *source, uint64_t now)
{
	struct weir_addr key = weir_limiter_key(source);
	uint64_t h = hash(l, &key);
	struct shard *s = &l->shard[h % SHARDS];
	enum weir_proxy_end ret = WEIR_END_NO_MEMORY;
	struct source *e;

	if (atomic_fetch_add(&l->open, 1) >= limits->connections) {
		atomic_fetch_sub(&l->open, 1);
		return WEIR_END_LIMIT_CONNECTIONS;
	}
	pthread_mutex_lock(&s->lock);
	sweep(s, now);
	e = *find(s, h, &key);
	if (!e)
		e = add(l, s, h, &key);
	if (e)
		ret = enter(e, limits, now);
	pthread_mutex_unlock(&s->lock);
	if (ret != WEIR_ENDS)
		atomic_fetch_sub(&l->open, 1);
	return ret;
}

bool weir_limiter_hold(struct weir_proxy_limiter *l, const struct weir_proxy_limits *limits)
{
	if (atomic_fetch_add(&l->open, 1) < limits->connections)
		return true;
	atomic_fetch_sub(&l->open, 1);
	return false;
}

void weir_limiter_let_go(struct weir_proxy_limiter *l)
{
	atomic_fetch_sub(&l->open, 1);
}

void weir_limiter_leave(struct weir_proxy_limiter *l, const struct weir_addr *source)
{
	struct weir_addr key = weir_limiter_key(source);
	uint64_t h = hash(l, &key);
	struct shard *s = &l->shard[h % SHARDS];
	struct source **at;

	pthread_mutex_lock(&s->lock);
	at = find(s, h, &key);
	/* What entered is here until it leaves. */
	if (--(*at)->open == 0 && (*at)->full_at <= weir_clock_mono())
		forget(s, at);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_sub(&l->open, 1);
}

uint64_t weir_limiter_open(const struct weir_proxy_limiter *l)
{
	return atomic_load(&l->open);
}
