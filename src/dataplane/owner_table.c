/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/owner_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/key_hash.h"

#define FIRST_SIZE 1024	 /* buckets; a power of two */
#define SPACES_MAX 4096	 /* namespaces whose inodes are remembered */
#define GROUPS_SIZE 4096 /* buckets */
#define GROUPS_MAX 65536
#define GROUP_DEPTH_MAX 32
#define GROUP_PATH_MAX 4096
#define TCP 6

struct ends {
	uint8_t local[16], remote[16];
	uint16_t lport, rport;
	uint8_t proto, pad[3];
};

/* One process and one socket on the same ends, for some time. */
struct entry {
	struct entry *next, *next_cookie, *next_listener;
	struct ends ends;
	uint64_t netns, cookie;
	uint64_t since, closed; /* 0: from ever; to this day */
	uint64_t told;		/* when it was told of last */
	uint64_t cgroup;
	uint32_t pid;
	uint32_t flags;	 /* WEIR_OWNER_F_*; SOLE: nobody else holds it since it was told */
	bool superseded; /* what came after it was closed is another's */
	char comm[WEIR_OWNER_COMM];
	/* What the last scan has seen. */
	uint32_t scan, holder, holders;
	uint64_t holder_cgroup;
	char holder_comm[WEIR_OWNER_COMM];
};

struct group {
	struct group *next;
	uint64_t id, parent;
	char *path; /* made when it is asked for */
	char name[WEIR_OWNER_GROUP_NAME];
};

struct space {
	uint64_t netns;
	uint32_t inode;
};

struct weir_owner_table {
	struct entry **by_ends, **by_cookie, *listeners;
	size_t size, n, max;
	struct group *groups[GROUPS_SIZE];
	size_t n_groups;
	struct space spaces[SPACES_MAX];
	size_t n_spaces;
	uint64_t refused;
	uint32_t scan;
	bool wants_scan;
};

/* ---- The table */

static uint64_t hash_id(uint64_t id)
{
	return weir_key_hash(weir_key_seed, &id, sizeof(id));
}

_Static_assert(sizeof(struct ends) == 40, "without holes: it is hashed as bytes");

static struct ends ends_of(const struct weir_ends *e)
{
	struct ends ret = { .lport = e->lport, .rport = e->rport, .proto = e->proto };

	memcpy(ret.local, e->local, sizeof(ret.local));
	if (e->rport) /* nobody's address may be written as IPv4's or IPv6's */
		memcpy(ret.remote, e->remote, sizeof(ret.remote));
	return ret;
}

static bool same(const struct ends *a, const struct ends *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static struct entry **bucket(const struct weir_owner_table *t, const struct ends *e)
{
	return &t->by_ends[weir_key_hash(weir_key_seed, e, sizeof(*e)) & (t->size - 1)];
}

static struct entry **cookie_bucket(const struct weir_owner_table *t, uint64_t cookie)
{
	return &t->by_cookie[hash_id(cookie) & (t->size - 1)];
}

static void link_entry(struct weir_owner_table *t, struct entry *e)
{
	struct entry **to = bucket(t, &e->ends);

	e->next = *to;
	*to = e;
	to = cookie_bucket(t, e->cookie);
	e->next_cookie = *to;
	*to = e;
}

static int grow(struct weir_owner_table *t, size_t size)
{
	struct entry **ends = calloc(size, sizeof(*ends)),
		     **cookies = calloc(size, sizeof(*cookies));
	struct entry **old = t->by_ends;
	size_t old_size = t->size;

	if (!ends || !cookies) {
		free(ends);
		free(cookies);
		return -1;
	}
	free(t->by_cookie);
	t->by_ends = ends;
	t->by_cookie = cookies;
	t->size = size;
	for (size_t i = 0; i < old_size; i++)
		for (struct entry *e = old[i], *next; e; e = next) {
			next = e->next;
			link_entry(t, e);
		}
	free(old);
	return 0;
}

static void remove_entry(struct weir_owner_table *t, struct entry *e)
{
	struct entry **at = bucket(t, &e->ends);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	for (at = cookie_bucket(t, e->cookie); *at != e;)
		at = &(*at)->next_cookie;
	*at = e->next_cookie;
	for (at = &t->listeners; *at && *at != e;)
		at = &(*at)->next_listener;
	if (*at)
		*at = e->next_listener;
	free(e);
	t->n--;
}

/* Each entry, which may be removed meanwhile. */
static void each(struct weir_owner_table *t,
		 void (*fn)(struct weir_owner_table *t, struct entry *e, uint64_t arg),
		 uint64_t arg)
{
	for (size_t i = 0; i < t->size; i++)
		for (struct entry *e = t->by_ends[i], *next; e; e = next) {
			next = e->next;
			fn(t, e, arg);
		}
}

struct weir_owner_table *weir_owner_table_new(size_t max)
{
	struct weir_owner_table *t = calloc(1, sizeof(*t));

	if (!t || grow(t, FIRST_SIZE)) {
		free(t);
		return NULL;
	}
	t->max = max;
	return t;
}

static void drop(struct weir_owner_table *t, struct entry *e, uint64_t arg)
{
	(void)arg;
	remove_entry(t, e);
}

void weir_owner_table_free(struct weir_owner_table *t)
{
	if (!t)
		return;
	each(t, drop, 0);
	for (size_t i = 0; i < GROUPS_SIZE; i++)
		for (struct group *g = t->groups[i], *next; g; g = next) {
			next = g->next;
			free(g->path);
			free(g);
		}
	free(t->by_ends);
	free(t->by_cookie);
	free(t);
}

/* ---- Events */

static struct entry *find_open(const struct weir_owner_table *t, uint64_t cookie)
{
	for (struct entry *e = *cookie_bucket(t, cookie); e; e = e->next_cookie)
		if (e->cookie == cookie && !e->closed)
			return e;
	return NULL;
}

static const struct entry *find_before(const struct weir_owner_table *t, uint64_t netns,
				       const struct ends *ends)
{
	for (const struct entry *e = *bucket(t, ends); e; e = e->next)
		if (e->netns == netns && same(&e->ends, ends))
			return e;
	return NULL;
}

/* No room: then what is known of these ends is not true any more either. */
static void refuse(struct weir_owner_table *t, uint64_t netns, const struct ends *ends)
{
	struct entry *e;

	t->refused++;
	while ((e = (struct entry *)find_before(t, netns, ends)))
		remove_entry(t, e);
}

static void set_owner(struct entry *e, uint32_t pid, const char *comm, uint64_t cgroup)
{
	e->pid = pid;
	e->cgroup = cgroup;
	memcpy(e->comm, comm, sizeof(e->comm));
}

static struct entry *add(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	struct ends ends = ends_of(&ev->ends);
	struct entry *e;

	if (t->n >= t->max || (t->n >= t->size && grow(t, t->size * 2)) ||
	    !(e = calloc(1, sizeof(*e)))) {
		refuse(t, ev->ends.netns, &ends);
		return NULL;
	}
	e->ends = ends;
	e->netns = ev->ends.netns;
	e->cookie = ev->ends.cookie;
	/* What came before was nobody's whom we know, or the one's who had them then. */
	e->since = find_before(t, e->netns, &ends) ? ev->ts : 0;
	e->told = ev->ts;
	e->flags = ev->flags;
	set_owner(e, ev->pid, ev->comm, ev->cgroup);
	link_entry(t, e);
	t->n++;
	if (e->flags & WEIR_OWNER_F_LISTEN) {
		e->next_listener = t->listeners;
		t->listeners = e;
	}
	return e;
}

static void note_space(struct weir_owner_table *t, uint64_t netns, uint32_t inode)
{
	if (!inode || weir_owner_table_inode(t, netns) || t->n_spaces == SPACES_MAX)
		return;
	t->spaces[t->n_spaces++] = (struct space){ .netns = netns, .inode = inode };
}

/* From @ts on @e is another process's. */
static void hand_over(struct weir_owner_table *t, struct entry *e, uint32_t pid, const char *comm,
		      uint64_t cgroup, uint64_t ts)
{
	struct entry *new;

	if (!e->pid) {
		set_owner(e, pid, comm, cgroup);
		return;
	}
	new = t->n < t->max ? malloc(sizeof(*new)) : NULL;
	if (!new) { /* whose it was is lost, for it cannot be said till when */
		set_owner(e, pid, comm, cgroup);
		e->since = ts;
		t->refused++;
		return;
	}
	*new = *e;
	set_owner(new, pid, comm, cgroup);
	new->since = ts;
	new->flags &= ~WEIR_OWNER_F_SOLE;
	e->closed = ts;
	link_entry(t, new);
	t->n++;
	if (new->flags & WEIR_OWNER_F_LISTEN) {
		new->next_listener = t->listeners;
		t->listeners = new;
	}
}

static void on_open(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	struct ends ends = ends_of(&ev->ends);
	struct entry *e = find_open(t, ev->ends.cookie), *new;

	if (!ends.lport)
		return;
	note_space(t, ev->ends.netns, ev->netns_inode);
	if (e && same(&e->ends, &ends)) {
		if (ev->ts < e->told) {
			if (!e->pid)
				set_owner(e, ev->pid, ev->comm, ev->cgroup);
			return;
		}
		e->told = ev->ts;
		e->flags |= ev->flags;
		if (ev->pid && ev->pid != e->pid)
			hand_over(t, e, ev->pid, ev->comm, ev->cgroup, ev->ts);
		return;
	}
	new = add(t, ev);
	if (!e)
		return;
	/* The socket has moved on. */
	e->closed = ev->ts;
	if (new && !new->pid)
		set_owner(new, e->pid, e->comm, e->cgroup);
}

static void on_close(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	struct entry *e = find_open(t, ev->ends.cookie);

	if (e && ev->ts >= e->told)
		e->closed = ev->ts;
}

static void on_fork(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	for (struct entry *e = t->listeners; e; e = e->next_listener)
		if (e->pid == ev->pid)
			e->flags &= ~WEIR_OWNER_F_SOLE;
}

static void on_held(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	struct weir_owner_event first = *ev;
	struct ends ends = ends_of(&ev->ends);
	struct entry *e = find_open(t, ev->ends.cookie);

	note_space(t, ev->ends.netns, ev->netns_inode);
	if (!e || !same(&e->ends, &ends)) {
		first.pid = 0; /* whose it is, is said by all who hold it */
		if (e)
			e->closed = ev->ts;
		e = add(t, &first);
	}
	if (!e)
		return;
	e->told = ev->ts;
	if (e->scan != t->scan) {
		e->scan = t->scan;
		e->holder = ev->pid;
		e->holders = 1;
		e->holder_cgroup = ev->cgroup;
		memcpy(e->holder_comm, ev->comm, sizeof(e->holder_comm));
	} else if (e->holder != ev->pid) {
		e->holders++;
	}
}

void weir_owner_table_event(struct weir_owner_table *t, const struct weir_owner_event *ev)
{
	static void (*const on[])(struct weir_owner_table * t,
				  const struct weir_owner_event *ev) = {
		[WEIR_OWNER_OPEN] = on_open,   [WEIR_OWNER_USE] = on_open,
		[WEIR_OWNER_CLOSE] = on_close, [WEIR_OWNER_HELD] = on_held,
		[WEIR_OWNER_FORK] = on_fork,
	};

	if (ev->kind < WEIR_ARRAY_SIZE(on))
		on[ev->kind](t, ev);
}

/* ---- Scans */

void weir_owner_table_scan(struct weir_owner_table *t)
{
	t->scan++;
}

static void settle(struct weir_owner_table *t, struct entry *e, uint64_t since)
{
	bool seen = e->scan == t->scan;

	if (e->closed)
		return;
	if (seen && e->holders == 1) {
		if (e->holder != e->pid || strcmp(e->holder_comm, e->comm) != 0)
			hand_over(t, e, e->holder, e->holder_comm, e->holder_cgroup, e->told);
		if (e->flags & WEIR_OWNER_F_LISTEN && !e->closed)
			e->flags |= WEIR_OWNER_F_SOLE;
	} else if (seen) {
		e->flags &= ~WEIR_OWNER_F_SOLE;
	} else if (e->ends.proto != TCP && e->told < since) {
		e->closed = since; /* TCP's go on for a while without a process */
	}
}

static void forget(struct weir_owner_table *t, struct entry *e, uint64_t arg)
{
	(void)arg;
	if (e->scan != t->scan || e->closed)
		remove_entry(t, e);
}

void weir_owner_table_scanned(struct weir_owner_table *t, uint64_t since, bool whole)
{
	if (whole)
		each(t, forget, 0);
	each(t, settle, since);
}

static void expire(struct weir_owner_table *t, struct entry *e, uint64_t now)
{
	if (e->closed && e->closed + WEIR_OWNER_GRACE_NS < now)
		remove_entry(t, e);
}

void weir_owner_table_expire(struct weir_owner_table *t, uint64_t now)
{
	each(t, expire, now);
}

bool weir_owner_table_wants_scan(struct weir_owner_table *t)
{
	bool ret = t->wants_scan;

	t->wants_scan = false;
	return ret;
}

uint64_t weir_owner_table_refused(const struct weir_owner_table *t)
{
	return t->refused;
}

/* ---- Looking up */

static bool covers(const struct weir_owner_table *t, struct entry *e,
		   const struct weir_owner_query *q)
{
	if (q->first + q->slack < e->since)
		return false;
	if (!e->closed || q->last <= e->closed)
		return true;
	/* Behind the end TCP alone sends and gets on the socket's behalf. */
	if (q->syn && q->first > e->closed) {
		e->superseded = true;
		return false;
	}
	if (e->superseded || e->ends.proto != TCP || q->last > e->closed + WEIR_OWNER_GRACE_NS)
		return false;
	for (const struct entry *x = *bucket(t, &e->ends); x; x = x->next)
		if (x != e && x->netns == e->netns && x->since >= e->closed &&
		    x->since <= q->last && same(&x->ends, &e->ends))
			return false;
	return true;
}

/* Times that are not exact may be another socket's as well. */
static bool touches(const struct entry *e, const struct weir_owner_query *q)
{
	return q->slack && e->since <= q->last + q->slack && (!e->closed || e->closed >= q->first);
}

/* The one of @chain that had @ends; *@ret_several: sockets of several processes had. */
static struct entry *find_in(const struct weir_owner_table *t, struct entry *chain,
			     const struct ends *ends, const struct weir_owner_query *q,
			     bool any_space, bool *ret_several)
{
	struct entry *found = NULL, *other = NULL;

	for (struct entry *e = chain; e; e = e->next) {
		bool has;

		if ((e->netns != q->netns && !any_space) || !same(&e->ends, ends))
			continue;
		has = covers(t, e, q);
		if (!has && !touches(e, q))
			continue;
		if (other && other->pid != e->pid && other->cookie != e->cookie) {
			*ret_several = true;
			return NULL;
		}
		other = e;
		/* A socket that was handed on is the last one's. */
		if (has && (!found || e->since > found->since))
			found = e;
	}
	return found;
}

static struct entry *find(const struct weir_owner_table *t, const struct ends *ends,
			  const struct weir_owner_query *q, bool *ret_several)
{
	return find_in(t, *bucket(t, ends), ends, q, false, ret_several);
}

/* Sockets that are bound to the port alone, the nearest address first. */
static struct entry *find_bound(const struct weir_owner_table *t, const struct weir_owner_query *q,
				bool *ret_several)
{
	static const uint8_t any4[16] = { [10] = 0xff, [11] = 0xff };
	struct ends ends = { .lport = q->lport, .proto = q->proto };
	bool v4 = !memcmp(q->local, any4, 12);
	struct entry *e;

	memcpy(ends.local, q->local, sizeof(ends.local));
	e = find(t, &ends, q, ret_several);
	if (!e && v4 && !*ret_several) {
		memcpy(ends.local, any4, sizeof(any4));
		e = find(t, &ends, q, ret_several);
	}
	if (e || *ret_several)
		return e;
	memset(ends.local, 0, sizeof(ends.local));
	e = find(t, &ends, q, ret_several);
	return e && v4 && e->flags & WEIR_OWNER_F_V6ONLY ? NULL : e;
}

static void give(const struct entry *e, bool guessed, struct weir_owner *ret)
{
	ret->pid = e->pid;
	ret->guessed = guessed;
	ret->cgroup = e->cgroup;
	ret->netns = e->netns;
	ret->cookie = e->cookie;
	memcpy(ret->comm, e->comm, sizeof(ret->comm));
}

/* Nobody has used it yet: it is for who listens, unless others are known to hold it. */
static bool could_be_listeners(const struct entry *e, const struct weir_owner_query *q)
{
	return e->netns == q->netns && e->flags & WEIR_OWNER_F_ACCEPTED && e->holders < 2;
}

bool weir_owner_table_find(struct weir_owner_table *t, const struct weir_owner_query *q,
			   struct weir_owner *ret)
{
	struct ends ends = { .lport = q->lport, .rport = q->rport, .proto = q->proto };
	bool several = false;
	struct entry *chain, *e;

	memset(ret, 0, sizeof(*ret));
	memcpy(ends.local, q->local, sizeof(ends.local));
	memcpy(ends.remote, q->remote, sizeof(ends.remote));
	chain = *bucket(t, &ends);
	e = find_in(t, chain, &ends, q, false, &several);
	if (!e && !several)
		e = find_in(t, chain, &ends, q, true, &several);
	if (e && e->pid) {
		give(e, false, ret);
		return true;
	}
	if (e) {
		ret->netns = e->netns;
		t->wants_scan = true;
	}
	ret->several = several;
	if (several || !q->here || (e && !could_be_listeners(e, q)))
		return false;
	e = find_bound(t, q, &several);
	ret->several = several;
	if (!e)
		return false;
	ret->netns = e->netns;
	if (!e->pid || (q->proto == TCP && !(e->flags & WEIR_OWNER_F_SOLE))) {
		t->wants_scan = true;
		return false;
	}
	give(e, q->proto == TCP, ret);
	return true;
}

/* ---- Namespaces and cgroups */

uint32_t weir_owner_table_inode(const struct weir_owner_table *t, uint64_t netns)
{
	for (size_t i = 0; i < t->n_spaces; i++)
		if (t->spaces[i].netns == netns)
			return t->spaces[i].inode;
	return 0;
}

static struct group *find_group(const struct weir_owner_table *t, uint64_t id)
{
	struct group *g = t->groups[hash_id(id) & (GROUPS_SIZE - 1)];

	while (g && g->id != id)
		g = g->next;
	return g;
}

void weir_owner_table_group(struct weir_owner_table *t, const struct weir_owner_group *ev)
{
	struct group **to = &t->groups[hash_id(ev->id) & (GROUPS_SIZE - 1)];
	struct group *g = find_group(t, ev->id);

	if (g || t->n_groups == GROUPS_MAX || !(g = calloc(1, sizeof(*g))))
		return;
	t->n_groups++;
	g->id = ev->id;
	g->parent = ev->parent;
	memcpy(g->name, ev->name, sizeof(g->name) - 1);
	g->next = *to;
	*to = g;
}

const char *weir_owner_table_path(struct weir_owner_table *t, uint64_t id)
{
	struct group *g = find_group(t, id), *up = g;
	char path[GROUP_PATH_MAX], *at = path + sizeof(path) - 1;

	if (!g || g->path)
		return g ? g->path : NULL;
	*at = '\0';
	for (int i = 0; up && up->parent && i < GROUP_DEPTH_MAX; i++) {
		size_t n = strlen(up->name);

		if ((size_t)(at - path) <= n)
			return NULL;
		at -= n;
		memcpy(at, up->name, n);
		*--at = '/';
		up = find_group(t, up->parent);
	}
	if (!up || up->parent) /* one of those above is not known */
		return NULL;
	g->path = strdup(*at ? at : "/");
	return g->path;
}

bool weir_owner_table_below(const struct weir_owner_table *t, uint64_t id, uint64_t top)
{
	for (int i = 0; id && i < GROUP_DEPTH_MAX; i++) {
		const struct group *g;

		if (id == top)
			return true;
		g = find_group(t, id);
		id = g ? g->parent : 0;
	}
	return false;
}
