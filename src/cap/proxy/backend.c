/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/backend.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "base/units.h"
#include "net/sock.h"

/* The first check comes within this (or within the interval), so that not all of them
 * come at once. */
#define FIRST_NS WEIR_NSEC_PER_SEC
#define JITTER 10    /* per cent of the interval, either way */
#define TRIED_MAX 64 /* targets in the mask of weir_backend_choose() */

enum check {
	CHECK_IDLE, /* its timer: the next check */
	CHECK_NAME, /* waits for addresses; its timer: too late */
	CHECK_CONNECT,
};

struct state;

struct attempt {
	struct weir_io io; /* fd -1: none */
	struct state *state;
};

/* Of a backend's text and the health options that its routes give: two routes that want
 * different checks of one backend have each its own view of it. */
struct state {
	struct weir_proxy_backend backend;
	struct state *next;
	struct weir_backends *all;
	struct weir_proxy_health health; /* interval 0: not checked */
	enum weir_proxy_target_kind kind;
	struct weir_endpoint addr;
	char *host;
	uint16_t port;
	bool wanted; /* by the configuration in force */

	enum check check;
	bool asking; /* `answer` is on its way */
	struct weir_post answer;
	struct attempt attempt[WEIR_PROXY_NAME_ADDRS];
	unsigned int open;
	struct weir_timer timer;
	uint64_t began;
	unsigned int against; /* results in a row that speak against `down` as it is */
};

struct weir_backends {
	struct weir_loop *loop;
	struct weir_names *names;
	struct state *first, **end;
	void *sorted; /* the same, by tsearch(3): there may be very many */
};

/* ---- One check */

static void attempts_end(struct state *s)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(s->attempt); i++) {
		struct attempt *a = &s->attempt[i];

		if (a->io.fd < 0)
			continue;
		weir_loop_forget(s->all->loop, &a->io);
		close(a->io.fd);
		a->io.fd = -1;
	}
	s->open = 0;
}

/* @ns, more or less. */
static uint64_t jittered(uint64_t ns)
{
	uint32_t random = UINT32_MAX / 2;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return ns;
	return ns - ns / 100 * JITTER + ns / 100 * JITTER * 2 / 1000 * (random % 1001);
}

/* The next one is due an interval after this one began. */
static void check_over(struct state *s)
{
	const uint64_t now = weir_clock_mono(), due = s->began + jittered(s->health.interval_ns);

	attempts_end(s);
	s->check = CHECK_IDLE;
	weir_timer_del(&s->timer);
	weir_timer_set(s->all->loop, &s->timer, due > now ? due : now);
}

static void check_result(struct state *s, bool ok)
{
	const bool down = s->backend.down;

	if (ok != down)
		s->against = 0;
	else if (++s->against >= (down ? s->health.rise : s->health.fall)) {
		s->backend.changed = weir_clock_mono();
		s->backend.down = !down;
		s->against = 0;
	}
	check_over(s);
}

static void attempt_event(struct weir_io *io, uint32_t events)
{
	struct attempt *a = (struct attempt *)((char *)io - offsetof(struct attempt, io));
	struct state *s = a->state;

	(void)events;
	if (!weir_sock_error(io->fd)) {
		check_result(s, true);
		return;
	}
	weir_loop_forget(s->all->loop, io);
	close(io->fd);
	io->fd = -1;
	if (!--s->open)
		check_result(s, false);
}

/* Are we ourselves to blame? Then it says nothing about the backend. */
static bool is_ours(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
	       error == -EADDRNOTAVAIL;
}

/* 1: it is up; 0: perhaps; -errno. */
static int attempt_begin(struct state *s, struct attempt *a, const struct weir_endpoint *to)
{
	bool done = false;
	int fd = weir_sock_connect(to, NULL, 0, &done), err;

	if (fd < 0)
		return fd;
	if (done) {
		close(fd);
		return 1;
	}
	a->io = (struct weir_io){ .fn = attempt_event, .fd = fd };
	a->state = s;
	err = weir_loop_add(s->all->loop, &a->io, EPOLLOUT);
	if (err) {
		close(fd);
		a->io.fd = -1;
		return err;
	}
	s->open++;
	return 0;
}

/* To all addresses at once: one that answers is enough, as for a connection. */
static void check_connect(struct state *s, const struct weir_endpoint *to, size_t n)
{
	bool ours = false;

	s->check = CHECK_CONNECT;
	for (size_t i = 0; i < n; i++) {
		int ret = attempt_begin(s, &s->attempt[i], &to[i]);

		if (ret > 0) {
			check_result(s, true);
			return;
		}
		ours |= is_ours(ret);
	}
	if (s->open)
		return;
	if (ours)
		check_over(s);
	else
		check_result(s, false);
}

static void check_name(struct state *s)
{
	struct weir_endpoint to[WEIR_PROXY_NAME_ADDRS];
	struct weir_names *names = s->all->names;
	struct weir_proxy_name e;

	switch (weir_names_lookup(names, s->host, weir_clock_mono(), &e)) {
	case WEIR_NAME_STALE:
		weir_names_want(names, s->host, NULL, NULL);
		break;
	case WEIR_NAME_FRESH:
		break;
	case WEIR_NAME_NONE:
		check_result(s, false);
		return;
	case WEIR_NAME_MISSING:
		/* It could not be asked for: no fault of the backend's. */
		if (s->check == CHECK_NAME) {
			check_over(s);
			return;
		}
		s->check = CHECK_NAME;
		if (!s->asking) {
			s->asking = true;
			weir_names_want(names, s->host, s->all->loop, &s->answer);
		}
		return;
	}
	for (unsigned int i = 0; i < e.n; i++) {
		struct weir_addr a;

		memcpy(a.b, e.addr[i], sizeof(a.b));
		weir_endpoint_set(&to[i], &a, s->port);
	}
	check_connect(s, to, e.n);
}

static void name_answered(struct weir_post *p)
{
	struct state *s = (struct state *)((char *)p - offsetof(struct state, answer));

	s->asking = false;
	if (s->check == CHECK_NAME)
		check_name(s);
}

static void check_begin(struct state *s)
{
	s->began = weir_clock_mono();
	weir_timer_set(s->all->loop, &s->timer, s->began + s->health.timeout_ns);
	if (s->kind == WEIR_TARGET_NAME)
		check_name(s);
	else
		check_connect(s, &s->addr, 1);
}

static void on_timer(struct weir_timer *t)
{
	struct state *s = (struct state *)((char *)t - offsetof(struct state, timer));

	if (s->check == CHECK_IDLE)
		check_begin(s);
	else
		check_result(s, false);
}

static void checks_begin(struct state *s)
{
	const uint64_t most = s->health.interval_ns < FIRST_NS ? s->health.interval_ns : FIRST_NS;
	const uint64_t half = most / 2;

	s->check = CHECK_IDLE;
	s->backend.changed = weir_clock_mono();
	weir_timer_set(s->all->loop, &s->timer, weir_clock_mono() + jittered(half));
}

/* What nobody checks is not down. */
static void checks_end(struct state *s)
{
	attempts_end(s);
	weir_timer_del(&s->timer);
	s->check = CHECK_IDLE;
	s->against = 0;
	s->backend.down = false;
}

/* ---- States */

struct weir_backends *weir_backends_new(struct weir_loop *l, struct weir_names *n)
{
	struct weir_backends *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->loop = l;
	b->names = n;
	b->end = &b->first;
	return b;
}

static void state_free(void *p)
{
	struct state *s = p;

	free(s->backend.text);
	free(s->host);
	free(s);
}

void weir_backends_free(struct weir_backends *b)
{
	if (!b)
		return;
	for (struct state *s = b->first; s; s = s->next)
		checks_end(s);
	tdestroy(b->sorted, state_free);
	free(b);
}

/* `dns` has no backend of its own to check, and a name without a port is many. */
static bool can_be_checked(const struct weir_proxy_target *t)
{
	return t->kind == WEIR_TARGET_ADDRESS || t->kind == WEIR_TARGET_UNIX ||
	       (t->kind == WEIR_TARGET_NAME && t->port);
}

static struct weir_proxy_health health_of(const struct weir_proxy_route *r,
					  const struct weir_proxy_target *t)
{
	const struct weir_proxy_health none = { 0 };

	return r->health.interval_ns && can_be_checked(t) ? r->health : none;
}

_Static_assert(sizeof(struct weir_proxy_health) == 2 * 8 + 2 * 4, "no padding: compared whole");

static int by_what(const void *pa, const void *pb)
{
	const struct state *a = pa, *b = pb;
	int ret = strcmp(a->backend.text, b->backend.text);

	return ret ? ret : memcmp(&a->health, &b->health, sizeof(a->health));
}

static struct state *state_find(const struct weir_backends *b, char *text,
				const struct weir_proxy_health *h)
{
	const struct state key = { .backend.text = text, .health = *h };
	struct state **found = tfind(&key, &b->sorted, by_what);

	return found ? *found : NULL;
}

static struct state *state_new(struct weir_backends *b, const struct weir_proxy_target *t,
			       const struct weir_proxy_health *h)
{
	struct state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->backend.text = strdup(t->text);
	s->host = t->host ? strdup(t->host) : NULL;
	if (!s->backend.text || (t->host && !s->host)) {
		state_free(s);
		return NULL;
	}
	s->all = b;
	s->health = *h;
	s->kind = t->kind;
	s->addr = t->addr;
	s->port = t->port;
	s->answer.fn = name_answered;
	s->timer.fn = on_timer;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(s->attempt); i++)
		s->attempt[i].io.fd = -1;
	if (!tsearch(s, &b->sorted, by_what)) {
		state_free(s);
		return NULL;
	}
	*b->end = s;
	b->end = &s->next;
	return s;
}

static int take_route(struct weir_backends *b, struct weir_proxy_route *r)
{
	for (size_t i = 0; i < r->n_targets; i++) {
		struct weir_proxy_target *t = &r->targets[i];
		const struct weir_proxy_health h = health_of(r, t);
		struct state *s;

		/* Where a reload was given up, its old configuration comes here again. */
		if (t->state)
			continue;
		s = state_find(b, t->text, &h);
		if (!s)
			s = state_new(b, t, &h);
		if (!s)
			return -ENOMEM;
		atomic_fetch_add(&s->backend.targets, 1);
		t->state = &s->backend;
	}
	return 0;
}

/* Every route of @c, those of its actions too; stops at an error. */
static int each_route(struct weir_backends *b, struct weir_proxy_config *c,
		      int (*fn)(struct weir_backends *b, struct weir_proxy_route *r))
{
	const struct weir_proxy_action *const actions[] = { &c->no_match, &c->no_sni, &c->not_tls,
							    &c->ech };
	int err = 0;

	for (size_t i = 0; !err && i < c->n_routes; i++)
		err = fn(b, &c->routes[i]);
	for (size_t i = 0; !err && i < WEIR_ARRAY_SIZE(actions); i++)
		if (actions[i]->route)
			err = fn(b, actions[i]->route);
	return err;
}

static int want_route(struct weir_backends *b, struct weir_proxy_route *r)
{
	(void)b;
	for (size_t i = 0; i < r->n_targets; i++)
		((struct state *)r->targets[i].state)->wanted = true;
	return 0;
}

uint64_t weir_backends_count(const struct weir_backends *b)
{
	uint64_t n = 0;

	for (const struct state *s = b->first; s; s = s->next)
		n++;
	return n;
}

/* Connections hold their configuration: what none has, nobody uses. Only the main thread
 * makes it used again. */
static void free_unused(struct weir_backends *b)
{
	struct state **at = &b->first, *s;

	while ((s = *at)) {
		if (s->backend.targets || s->asking) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		tdelete(s, &b->sorted, by_what);
		checks_end(s);
		state_free(s);
	}
	b->end = at;
}

int weir_backends_take(struct weir_backends *b, struct weir_proxy_config *c, struct weir_error *err)
{
	/* All or nothing: what has no state yet gets one before anything begins or ends. */
	if (each_route(b, c, take_route))
		return weir_fail(err, -ENOMEM, "no memory for the backends");
	for (struct state *s = b->first; s; s = s->next)
		s->wanted = false;
	each_route(b, c, want_route);
	for (struct state *s = b->first; s; s = s->next) {
		const bool checked = s->timer.prev || s->check != CHECK_IDLE;

		if (s->wanted && s->health.interval_ns && !checked)
			checks_begin(s);
		else if (!s->wanted)
			checks_end(s);
	}
	free_unused(b);
	return 0;
}

/* ---- Choice */

static bool may_take(const struct weir_proxy_route *r, size_t i, uint64_t tried, bool down)
{
	return !(tried >> i & 1) && (down || !r->targets[i].state->down);
}

/* How many may be taken; with least-connections: of those with fewest, of which there
 * are @ret_least. */
static unsigned int count(const struct weir_proxy_route *r, size_t n, uint64_t tried, bool down,
			  uint32_t *ret_least)
{
	const bool least = r->balance == WEIR_LEAST_CONNECTIONS;
	unsigned int found = 0;

	*ret_least = UINT32_MAX;
	for (size_t i = 0; i < n; i++) {
		const uint32_t open = least ? r->targets[i].state->open : UINT32_MAX;

		if (!may_take(r, i, tried, down))
			continue;
		if (open < *ret_least) {
			*ret_least = open;
			found = 0;
		}
		found += open == *ret_least;
	}
	return found;
}

static bool is_least(const struct weir_proxy_route *r, size_t i, uint32_t least)
{
	return least == UINT32_MAX || r->targets[i].state->open <= least;
}

int weir_backend_choose(struct weir_proxy_route *r, uint64_t tried)
{
	const size_t n = r->n_targets < TRIED_MAX ? r->n_targets : TRIED_MAX;
	bool down = false;
	unsigned int found, turn, at = 0;
	uint32_t least;
	int last = -1;

	found = count(r, n, tried, down, &least);
	if (!found) {
		down = true;
		found = count(r, n, tried, down, &least);
	}
	if (!found)
		return -1;
	/* Each of those that are there gets its turn, whoever is missing between them. */
	turn = atomic_fetch_add_explicit(&r->turn, 1, memory_order_relaxed) % found;
	for (size_t i = 0; i < n; i++) {
		if (tried >> i & 1)
			continue;
		/* Other threads change counts and states meanwhile: then anyone will do. */
		last = (int)i;
		if (may_take(r, i, tried, down) && is_least(r, i, least) && at++ == turn)
			break;
	}
	return last;
}

/* ---- What an operator sees */

/* One that the configuration dropped is shown while someone is still connected. */
static bool is_shown(const struct state *s)
{
	return s->wanted || s->backend.open;
}

static bool is_checked(const struct state *s)
{
	return s->wanted && s->health.interval_ns;
}

void weir_backends_json(struct weir_backends *b, struct weir_json *j)
{
	const uint64_t offset = (uint64_t)weir_clock_offset();

	for (const struct state *s = b->first; s; s = s->next) {
		const struct weir_proxy_backend *p = &s->backend;

		if (!is_shown(s))
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "backend", p->text);
		weir_json_uint(j, "open", p->open);
		weir_json_uint(j, "connected", p->connected);
		weir_json_uint(j, "failed", p->failed);
		weir_json_uint(j, "bytes_in", p->bytes_in);
		weir_json_uint(j, "bytes_out", p->bytes_out);
		if (is_checked(s)) {
			weir_json_str(j, "state", p->down ? "down" : "up");
			weir_json_time(j, "since_ts", p->changed + offset);
		}
		weir_json_end_object(j);
	}
}

void weir_backends_table(struct weir_backends *b, struct weir_buf *out)
{
	static const char *const head[] = { "BACKEND", "OPEN",	"CONNECTED",
					    "FAILED",  "STATE", "SINCE" };
	const uint64_t now = weir_clock_mono();
	weir_autobuf struct weir_buf since = { 0 };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (const struct state *s = b->first; s; s = s->next) {
		const struct weir_proxy_backend *p = &s->backend;

		if (!is_shown(s))
			continue;
		weir_table_add(&t, p->text);
		weir_table_addf(&t, "%u", p->open);
		weir_table_addf(&t, "%llu", (unsigned long long)p->connected);
		weir_table_addf(&t, "%llu", (unsigned long long)p->failed);
		weir_table_add(&t, !is_checked(s) ? NULL : p->down ? "down" : "up");
		weir_buf_reset(&since);
		if (is_checked(s))
			weir_buf_add_duration(&since, now - p->changed);
		weir_table_add(&t, since.data);
	}
	weir_table_render(&t, 0, out);
}
