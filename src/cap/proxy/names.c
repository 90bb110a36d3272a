/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/names.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/resolver.h"

#define FAILURE_NS WEIR_NSEC_PER_SEC
#define KEPT_MIN_NS WEIR_NSEC_PER_SEC
#define LOOKS_MAX 3 /* at an element that changes hands */

_Static_assert(WEIR_RESOLVED_MAX <= WEIR_PROXY_NAME_ADDRS, "an answer fits into the map");
_Static_assert(WEIR_RESOLVED == 0, "proxy.h: 0 = there are addresses");

/* What weir_names_want() hands to the loop's thread; then one who waits. */
struct wish {
	struct weir_post post;
	struct wish *next;
	struct weir_names *names;
	struct weir_loop *to;
	struct weir_post *done;
	char name[WEIR_PROXY_NAME_MAX];
};

/* A name that is being asked for; or one that failed while an old answer is still in
 * use, which rests until its timer fires. */
struct question {
	char name[WEIR_PROXY_NAME_MAX]; /* first: what the tree compares */
	struct weir_names *names;
	bool open;
	struct wish *waiters;
	struct weir_timer rest;
};

struct weir_names {
	struct weir_loop *loop;
	int map_fd;
	struct weir_resolver *resolver;
	uint64_t negative_ttl_ns, stale_ns, ttl_min_ns, ttl_max_ns;
	void *questions; /* tsearch(3): clients choose the names, and a tree has no worst case */
	bool moving;	 /* to another resolver */
	bool closing;
	_Atomic uint32_t open;
	_Atomic uint64_t refused;
};

/* ---- The map */

static bool key_set(struct weir_proxy_name_key *key, const char *name)
{
	const size_t len = strnlen(name, sizeof(key->name));

	if (len == sizeof(key->name))
		return false;
	memcpy(key->name, name, len);
	memset(key->name + len, 0, sizeof(key->name) - len);
	return true;
}

static enum weir_name_state state_of(const struct weir_proxy_name *e, uint64_t now)
{
	if (now < e->expires)
		return e->code == WEIR_RESOLVED ? WEIR_NAME_FRESH : WEIR_NAME_NONE;
	if (now < e->stale_until && e->code == WEIR_RESOLVED)
		return WEIR_NAME_STALE;
	return WEIR_NAME_MISSING;
}

static enum weir_name_state look(int map_fd, const char *name, uint64_t now,
				 struct weir_proxy_name *ret)
{
	struct weir_proxy_name_key key;

	if (!key_set(&key, name))
		return WEIR_NAME_MISSING;
	for (int i = 0; i < LOOKS_MAX && !bpf_map_lookup_elem(map_fd, &key, ret); i++)
		if (ret->check == weir_proxy_name_check(&key, ret))
			return state_of(ret, now);
	return WEIR_NAME_MISSING;
}

enum weir_name_state weir_names_lookup(const struct weir_names *n, const char *name, uint64_t now,
				       struct weir_proxy_name *ret)
{
	return look(n->map_fd, name, now, ret);
}

static uint64_t clamp(uint64_t v, uint64_t min, uint64_t max)
{
	v = v > max ? max : v;
	return v < min ? min : v;
}

static void entry_set(const struct weir_names *n, const struct weir_resolved *a, uint64_t now,
		      struct weir_proxy_name *e)
{
	const uint64_t ttl = a->ttl * WEIR_NSEC_PER_SEC;
	uint64_t kept = FAILURE_NS, stale = 0;

	if (a->code == WEIR_RESOLVED) {
		kept = clamp(ttl, n->ttl_min_ns, n->ttl_max_ns);
		stale = n->stale_ns;
	} else if (a->code == WEIR_RESOLVE_NXDOMAIN || a->code == WEIR_RESOLVE_NODATA) {
		kept = clamp(ttl, 0, n->negative_ttl_ns);
	}
	*e = (struct weir_proxy_name){ .asked = now, .code = (uint8_t)a->code };
	e->expires = now + (kept < KEPT_MIN_NS ? KEPT_MIN_NS : kept);
	e->stale_until = e->expires + stale;
	e->n = (uint8_t)a->n;
	for (size_t i = 0; i < a->n; i++)
		memcpy(e->addr[i], a->addr[i].b, sizeof(e->addr[i]));
}

/* False: a failure, which did not displace an answer that may still be used. */
static bool keep(struct weir_names *n, const char *name, const struct weir_resolved *a)
{
	const bool failed = a->code == WEIR_RESOLVE_SERVFAIL || a->code == WEIR_RESOLVE_TIMEOUT;
	const uint64_t now = weir_clock_mono();
	struct weir_proxy_name_key key;
	struct weir_proxy_name e;

	if (failed) {
		enum weir_name_state state = look(n->map_fd, name, now, &e);

		if (state == WEIR_NAME_FRESH || state == WEIR_NAME_STALE)
			return false;
	}
	if (!key_set(&key, name))
		return true;
	entry_set(n, a, now, &e);
	e.check = weir_proxy_name_check(&key, &e);
	/* Where the kernel has no element left, the name stays MISSING. */
	bpf_map_update_elem(n->map_fd, &key, &e, BPF_ANY);
	return true;
}

/* ---- Questions */

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void question_free(void *p)
{
	struct question *q = p;

	while (q->waiters) {
		struct wish *w = q->waiters;

		q->waiters = w->next;
		free(w);
	}
	weir_timer_del(&q->rest);
	free(q);
}

static void question_end(struct question *q)
{
	tdelete(q, &q->names->questions, by_name);
	question_free(q);
}

static void rested(struct weir_timer *t)
{
	question_end((struct question *)((char *)t - offsetof(struct question, rest)));
}

static void tell(struct wish *w)
{
	/* A loop that has ended leaves the message to the waiter. */
	if (w->done)
		(void)weir_loop_post(w->to, w->done);
	free(w);
}

static void tell_all(struct question *q)
{
	struct wish *w = q->waiters, *next;

	q->waiters = NULL;
	for (; w; w = next) {
		next = w->next;
		tell(w);
	}
}

static void answered(void *arg, const struct weir_resolved *a)
{
	struct question *q = arg;
	struct weir_names *n = q->names;

	if (n->closing)
		return;
	/* The servers that it was asked of are those of before a reload. */
	if (n->moving && a->code == WEIR_RESOLVE_TIMEOUT &&
	    !weir_resolver_ask(n->resolver, q->name, answered, q))
		return;
	q->open = false;
	n->open--;
	if (keep(n, q->name, a)) {
		tell_all(q);
		question_end(q);
	} else {
		tell_all(q);
		weir_timer_set(n->loop, &q->rest, weir_clock_mono() + FAILURE_NS);
	}
}

/* The question for @name, a new one where there is none; NULL: no memory. */
static struct question *question_get(struct weir_names *n, const char *name)
{
	struct question **found = tfind(name, &n->questions, by_name);
	struct question *q;

	if (found)
		return *found;
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	strcpy(q->name, name);
	q->names = n;
	q->rest.fn = rested;
	if (!tsearch(q, &n->questions, by_name)) {
		free(q);
		return NULL;
	}
	return q;
}

static int question_ask(struct question *q)
{
	struct weir_names *n = q->names;
	int err;

	if (n->open >= WEIR_NAMES_OPEN_MAX)
		return -EBUSY;
	err = weir_resolver_ask(n->resolver, q->name, answered, q);
	if (err)
		return err;
	weir_timer_del(&q->rest);
	q->open = true;
	n->open++;
	return 0;
}

/* In the loop's thread. */
static void wished(struct weir_post *p)
{
	struct wish *w = (struct wish *)((char *)p - offsetof(struct wish, post));
	struct weir_names *n = w->names;
	struct weir_proxy_name e;
	enum weir_name_state state = look(n->map_fd, w->name, weir_clock_mono(), &e);
	struct question *q;
	int err = -ENOMEM;

	/* It was answered while the wish was on its way. */
	if (state == WEIR_NAME_FRESH || state == WEIR_NAME_NONE) {
		tell(w);
		return;
	}
	q = question_get(n, w->name);
	if (q && !q->open && q->rest.prev && state == WEIR_NAME_STALE) {
		tell(w);
		return;
	}
	if (q)
		err = q->open ? 0 : question_ask(q);
	if (err) {
		if (err != -EINVAL)
			n->refused++;
		tell(w);
		if (q && !q->rest.prev)
			question_end(q);
		return;
	}
	w->next = q->waiters;
	q->waiters = w;
	/* Who waits for nothing needs no place in the row. */
	if (!w->done) {
		q->waiters = w->next;
		free(w);
	}
}

void weir_names_want(struct weir_names *n, const char *name, struct weir_loop *to,
		     struct weir_post *done)
{
	const size_t len = strlen(name);
	struct wish *w = len < sizeof(w->name) ? malloc(sizeof(*w)) : NULL;

	if (!w) {
		n->refused += len < sizeof(w->name);
		if (done)
			(void)weir_loop_post(to, done);
		return;
	}
	w->post.fn = wished;
	w->names = n;
	w->to = to;
	w->done = done;
	memcpy(w->name, name, len + 1);
	if (!weir_loop_post(n->loop, &w->post))
		tell(w);
}

void weir_names_stats(const struct weir_names *n, struct weir_names_stats *ret)
{
	*ret = (struct weir_names_stats){ .refused = n->refused, .open = n->open };
}

/* ---- Beginning, reload, end */

static void take_times(struct weir_names *n, const struct weir_proxy_config *c)
{
	n->negative_ttl_ns = c->negative_ttl_ns;
	n->stale_ns = c->stale_ns;
	n->ttl_min_ns = c->ttl_min_ns;
	n->ttl_max_ns = c->ttl_max_ns;
}

static struct weir_resolver *resolver_new(struct weir_loop *l, const struct weir_proxy_config *c,
					  struct weir_error *err)
{
	const struct weir_resolver_opts o = {
		.servers = c->servers,
		.timeout_ns = c->resolve_timeout_ns,
	};

	return weir_resolver_new(l, &o, err);
}

struct weir_names *weir_names_new(struct weir_loop *l, int map_fd,
				  const struct weir_proxy_config *c, struct weir_error *err)
{
	struct weir_names *n = calloc(1, sizeof(*n));

	if (!n) {
		weir_fail(err, -ENOMEM, "no memory for the names");
		return NULL;
	}
	n->loop = l;
	n->map_fd = map_fd;
	take_times(n, c);
	n->resolver = resolver_new(l, c, err);
	if (!n->resolver) {
		free(n);
		return NULL;
	}
	return n;
}

int weir_names_reload(struct weir_names *n, const struct weir_proxy_config *c,
		      struct weir_error *err)
{
	struct weir_resolver *before = n->resolver, *r;

	/* Also where the servers are the same: /etc/resolv.conf may have changed. */
	r = resolver_new(n->loop, c, err);
	if (!r)
		return -EINVAL;
	take_times(n, c);
	n->resolver = r;
	n->moving = true;
	weir_resolver_free(before);
	n->moving = false;
	return 0;
}

void weir_names_free(struct weir_names *n)
{
	if (!n)
		return;
	n->closing = true;
	weir_resolver_free(n->resolver);
	tdestroy(n->questions, question_free);
	free(n);
}
