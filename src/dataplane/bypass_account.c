/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/bypass_account.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/pin.h"

#define BATCH 256     /* connections by one system call */
#define RULES_MAX 256 /* of all namespaces */
#define SOCKETS_MAX (2U * WEIR_BYPASS_CONNS_MAX)
#define FRESH_NS WEIR_NSEC_PER_SEC

struct entry {
	uint64_t cookie;
	struct weir_bypass_ended bytes;
	bool asked; /* since it was read: its socket is there */
	/* Of the initiator's socket, as long as the rule has the connection. */
	bool initiator;
	struct weir_bypass_pair pair;
	uint64_t netns[WEIR_BYPASS_SIDES];
};

struct weir_bypass_account {
	struct entry *v; /* by cookie */
	size_t n, room;
	int ended[RULES_MAX];
	size_t n_ended;
	uint64_t read_at;
};

int weir_bypass_conns_each(int conns_fd, int (*fn)(void *arg, const struct weir_bypass_conn *c),
			   void *arg)
{
	weir_autofree struct weir_bypass_conn *conns = calloc(BATCH, sizeof(*conns));
	weir_autofree uint64_t *ids = calloc(BATCH, sizeof(*ids));
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	bool first = true;
	uint32_t at = 0;
	int ret = 0, stop = 0;

	if (!conns || !ids)
		return -ENOMEM;
	while (!ret) {
		uint32_t n = BATCH;

		ret = bpf_map_lookup_batch(conns_fd, first ? NULL : &at, &at, ids, conns, &n,
					   &opts);
		if (ret && errno != ENOENT)
			return -errno;
		for (uint32_t i = 0; i < n; i++) {
			stop = fn(arg, &conns[i]);
			if (stop)
				return stop;
		}
		first = false;
	}
	return 0; /* -ENOENT: that was the last of them */
}

/* ---- Read */

struct weir_bypass_account *weir_bypass_account_new(void)
{
	return calloc(1, sizeof(struct weir_bypass_account));
}

static void forget_ended(struct weir_bypass_account *a)
{
	while (a->n_ended)
		weir_closep(&a->ended[--a->n_ended]);
}

void weir_bypass_account_free(struct weir_bypass_account *a)
{
	if (!a)
		return;
	forget_ended(a);
	free(a->v);
	free(a);
}

static int add(struct weir_bypass_account *a, const struct entry *e)
{
	if (a->n == SOCKETS_MAX)
		return 0;
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		struct entry *v = reallocarray(a->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		a->v = v;
		a->room = room;
	}
	a->v[a->n++] = *e;
	return 0;
}

static int take_conn(void *arg, const struct weir_bypass_conn *c)
{
	int ret = 0;

	if ((c->state & WEIR_BYPASS_BOTH) != WEIR_BYPASS_BOTH)
		return 0;
	for (unsigned int i = 0; !ret && i < WEIR_BYPASS_SIDES; i++) {
		const struct entry e = { .cookie = c->cookie[i],
					 .bytes = { .in = c->way[!i].bytes,
						    .out = c->way[i].bytes },
					 .initiator = i == WEIR_BYPASS_INITIATOR,
					 .pair = c->pair,
					 .netns = { c->netns[0], c->netns[1] } };

		ret = add(arg, &e);
	}
	return ret;
}

static bool is_ours(int fd, size_t value_size)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.key_size == sizeof(uint64_t) &&
	       info.value_size == value_size;
}

static int read_rule(struct weir_bypass_account *a, const struct weir_pin_dir *rule)
{
	weir_autoclose int conns = weir_pin_get(rule, WEIR_BYPASS_CONNS);
	weir_autoclose int ended = weir_pin_get(rule, WEIR_BYPASS_ENDED);

	if (ended >= 0 && is_ours(ended, sizeof(struct weir_bypass_ended)) &&
	    a->n_ended < RULES_MAX)
		a->ended[a->n_ended++] = WEIR_TAKE_FD(ended);
	if (conns < 0 || !is_ours(conns, sizeof(struct weir_bypass_conn)))
		return 0; /* removed just now, or not what it looks like */
	return weir_bypass_conns_each(conns, take_conn, a);
}

static int read_space(void *arg, const struct weir_pin_dir *d)
{
	struct weir_pin_dir rules, rule;
	struct dirent *e;
	DIR *dir;
	int ret = 0;

	if (weir_pin_check_meta(d, WEIR_BYPASS_ABI, NULL) ||
	    weir_pin_below(d, WEIR_BYPASS_RULES, &rules, NULL))
		return 0;
	dir = opendir(rules.path);
	while (dir && !ret && (e = readdir(dir)))
		if (!weir_pin_below(&rules, e->d_name, &rule, NULL)) /* not a dot */
			ret = read_rule(arg, &rule);
	if (dir)
		closedir(dir);
	return ret;
}

static int by_cookie(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	return (a->cookie > b->cookie) - (a->cookie < b->cookie);
}

static struct entry *find(const struct entry *v, size_t n, uint64_t cookie)
{
	const struct entry key = { .cookie = cookie };

	return n ? bsearch(&key, v, n, sizeof(*v), by_cookie) : NULL;
}

static void sort(struct weir_bypass_account *a)
{
	if (a->n)
		qsort(a->v, a->n, sizeof(*a->v), by_cookie);
}

/* What was shown and is no longer in a rule's account, because the rule has gone. */
static int carry_over(struct weir_bypass_account *a, const struct entry *before, size_t n_before)
{
	size_t n = a->n;
	int ret = 0;

	sort(a);
	for (size_t i = 0; !ret && i < n_before; i++) {
		struct entry e = before[i];

		e.asked = e.initiator = false;
		if (before[i].asked && !find(a->v, n, e.cookie))
			ret = add(a, &e);
	}
	sort(a);
	return ret;
}

int weir_bypass_account_read(struct weir_bypass_account *a, struct weir_error *err)
{
	weir_autofree struct entry *before = a->v;
	size_t n_before = a->n;
	int ret;

	a->v = NULL;
	a->n = a->room = 0;
	forget_ended(a);
	ret = weir_pin_each("bypass", read_space, a, err);
	if (ret == -EACCES || ret == -EPERM)
		ret = 0;
	else if (ret)
		return weir_fail(err, ret, "cannot read the accounts of weir bypass: %s",
				 strerror(-ret));
	a->read_at = weir_clock_mono();
	ret = carry_over(a, before, n_before);
	return ret ? weir_fail(err, ret, "out of memory: free some and try again") : 0;
}

/* ---- Ask */

void weir_bypass_account_conns(const struct weir_bypass_account *a,
			       void (*fn)(void *arg, const struct weir_bypass_seen *c), void *arg)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct entry *e = &a->v[i];
		const struct weir_bypass_seen c = { .pair = e->pair,
						    .netns = { e->netns[0], e->netns[1] },
						    .cookie = e->cookie,
						    .bytes = e->bytes.in + e->bytes.out };

		if (e->initiator)
			fn(arg, &c);
	}
}

bool weir_bypass_account_live(struct weir_bypass_account *a, uint64_t cookie,
			      struct weir_bypass_ended *ret)
{
	struct entry *e = find(a->v, a->n, cookie);

	if (!e)
		return false;
	e->asked = true;
	*ret = e->bytes;
	return true;
}

bool weir_bypass_account_ended(struct weir_bypass_account *a, uint64_t cookie,
			       struct weir_bypass_ended *ret)
{
	if (weir_clock_mono() - a->read_at > FRESH_NS)
		weir_bypass_account_read(a, NULL);
	for (size_t i = 0; i < a->n_ended; i++)
		if (!bpf_map_lookup_elem(a->ended[i], &cookie, ret))
			return true;
	return weir_bypass_account_live(a, cookie, ret);
}
