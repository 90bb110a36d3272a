/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Connections whose end the program was not told of. It counts those that it hears of, so
 * only one whose sockets are certainly no more is counted here.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "cap/bypass/engine.h"
#include "dataplane/netns.h"
#include "dataplane/sockets.h"

/* What is behind them has been told of, or never will be. */
#define ENDED_STATES (1U << TCP_TIME_WAIT | 1U << TCP_CLOSE | 1U << TCP_LISTEN)

struct cookies {
	uint64_t *v; /* sorted by sort() */
	size_t n, room;
};

/* What is there, by the look of it. */
struct seen {
	struct cookies spaces, socks;
};

static int add(struct cookies *c, uint64_t cookie)
{
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		uint64_t *v = reallocarray(c->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		c->v = v;
		c->room = room;
	}
	c->v[c->n++] = cookie;
	return 0;
}

static int by_cookie(const void *pa, const void *pb)
{
	const uint64_t *a = pa, *b = pb;

	return (*a > *b) - (*a < *b);
}

static void sort(struct cookies *c)
{
	if (c->n)
		qsort(c->v, c->n, sizeof(*c->v), by_cookie);
}

static bool has(const struct cookies *c, uint64_t cookie)
{
	return c->n && bsearch(&cookie, c->v, c->n, sizeof(*c->v), by_cookie);
}

static int look(void *arg, uint64_t space)
{
	struct seen *s = arg;
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0;
	int ret;

	/* Of a namespace that does not tell nothing is known. */
	if (weir_sockets_list(IPPROTO_TCP, ~ENDED_STATES, &v, &n, NULL))
		return 0;
	ret = add(&s->spaces, space);
	for (size_t i = 0; !ret && i < n; i++)
		ret = add(&s->socks, v[i].cookie);
	return ret;
}

static bool is_gone(const struct seen *s, const struct weir_bypass_conn *c)
{
	for (int i = 0; i < WEIR_BYPASS_SIDES; i++)
		if (c->cookie[i] && (!has(&s->spaces, c->netns[i]) || has(&s->socks, c->cookie[i])))
			return false;
	return c->cookie[WEIR_BYPASS_INITIATOR] != 0;
}

/* Does the program still stand in for one of its sockets? */
static bool is_joined(const struct weir_bypass_view *v, uint64_t id)
{
	struct weir_bypass_end end = { .id = id };
	uint64_t cookie;

	for (; end.side < WEIR_BYPASS_SIDES; end.side++)
		if (!bpf_map_lookup_elem(v->socks_fd, &end, &cookie))
			return true;
	return false;
}

static void plus(__u64 *to, uint64_t n)
{
	__atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

/* Programs add to the rule's counters meanwhile, for other connections. */
static void count(struct weir_bypass_rule *r, const struct weir_bypass_conn *c)
{
	for (int i = 0; i < WEIR_BYPASS_SIDES; i++) {
		plus(&r->sum[i].bytes, c->way[i].bytes);
		plus(&r->sum[i].messages, c->way[i].messages);
		plus(&r->sum[i].tcp_bytes, c->way[i].tcp_bytes + c->way[i].tcp_pending);
	}
	plus(&r->closed, (c->state & WEIR_BYPASS_BOTH) == WEIR_BYPASS_BOTH);
	plus(&r->folds, 1);
}

/* Connections that may have ended: of most the sockets are joined. */
static size_t suspects(const struct weir_bypass_view *v, uint64_t *ids)
{
	uint64_t id, *at = NULL;
	size_t n = 0;

	for (uint32_t i = 0; i < WEIR_BYPASS_CONNS_MAX; i++, at = &id) {
		if (bpf_map_get_next_key(v->conns_fd, at, &id))
			break;
		if (!is_joined(v, id))
			ids[n++] = id;
	}
	return n;
}

static bool is_attached(const struct weir_bypass_view *v)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(v->link_fd, &info, &len) || info.cgroup.cgroup_id;
}

static void take_away(const struct weir_bypass_view *v, const uint64_t *ids, size_t n,
		      const struct seen *s, bool attached)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	struct weir_bypass_rule *r =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, v->rule_fd, 0);

	_Static_assert(sizeof(*r) <= 4096, "a page");
	if (r == MAP_FAILED)
		return;
	for (size_t i = 0; i < n; i++) {
		struct weir_bypass_conn c;

		/* The program's own end of it comes first, where there is one. */
		if (bpf_map_lookup_elem(v->conns_fd, &ids[i], &c) || (attached && !is_gone(s, &c)))
			continue;
		if (!bpf_map_delete_elem(v->conns_fd, &ids[i]))
			count(r, &c);
	}
	munmap(r, size);
}

void weir_bypass_view_sweep(const struct weir_bypass_view *v)
{
	weir_autofree uint64_t *ids = calloc(WEIR_BYPASS_CONNS_MAX, sizeof(*ids));
	struct seen s = { 0 };
	size_t n = ids ? suspects(v, ids) : 0;
	bool attached = is_attached(v);

	if (n && (!attached || !weir_netns_each(look, &s, NULL))) {
		sort(&s.spaces);
		sort(&s.socks);
		take_away(v, ids, n, &s, attached);
	}
	free(s.spaces.v);
	free(s.socks.v);
}
