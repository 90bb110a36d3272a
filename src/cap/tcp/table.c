/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/tcp/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define SUMS_MAX 8192 /* hosts or processes of closed connections */

uint64_t weir_tcp_retransmits(const struct weir_tcp_conn *c, uint64_t cause[WEIR_TCP_CAUSES])
{
	uint32_t all = c->now.total_retrans - c->retrans_before, known = 0;

	for (int i = 0; i < WEIR_TCP_CAUSES; i++) {
		cause[i] = c->cause[i];
		known += c->cause[i];
	}
	if (all > known)
		cause[WEIR_TCP_CAUSE_OTHER] += all - known;
	return all;
}

uint64_t weir_tcp_bytes_in(const struct weir_tcp_conn *c)
{
	uint64_t bytes = c->now.bytes_received;

	/* TCP counts the peer's FIN as a byte. */
	if (bytes && c->flags & WEIR_TCP_F_FIN_IN)
		bytes--;
	return bytes + c->bypass_in;
}

uint64_t weir_tcp_bytes_out(const struct weir_tcp_conn *c)
{
	return c->now.bytes_sent - c->now.bytes_retrans + c->bypass_out;
}

static uint64_t bytes_of(const struct weir_tcp_conn *c)
{
	return weir_tcp_bytes_in(c) + weir_tcp_bytes_out(c);
}

static void add_rtt(struct weir_tcp_rtt *r, const struct weir_tcp_conn *c)
{
	r->count += c->rtt_count;
	r->sum_us += c->rtt_sum;
	if (c->rtt_max > r->max_us)
		r->max_us = c->rtt_max;
	for (int i = 0; i < WEIR_TCP_BUCKETS; i++)
		r->bucket[i] += c->rtt[i];
}

void weir_tcp_rtt_of(const struct weir_tcp_conn *c, struct weir_tcp_rtt *ret)
{
	memset(ret, 0, sizeof(*ret));
	add_rtt(ret, c);
}

uint64_t weir_tcp_percentile(const struct weir_tcp_rtt *r, double percent)
{
	uint64_t rank = (uint64_t)((double)r->count * percent / 100), below = 0, middle;

	for (uint32_t i = 0; i < WEIR_TCP_BUCKETS && rank < r->count; i++) {
		below += r->bucket[i];
		if (below <= rank)
			continue;
		middle = (weir_tcp_bucket_floor(i) + weir_tcp_bucket_floor(i + 1) - 1) / 2;
		return middle < r->max_us ? middle : r->max_us;
	}
	return r->max_us;
}

/* ---- A look */

void weir_tcp_table_free(struct weir_tcp_table *t)
{
	free(t->rows);
	free(t->before);
	free(t->sums);
}

static int by_cookie(const void *pa, const void *pb)
{
	const struct weir_tcp_row *a = pa, *b = pb;

	return (a->c.ends.cookie > b->c.ends.cookie) - (a->c.ends.cookie < b->c.ends.cookie);
}

static int find_before(const void *key, const void *element)
{
	const uint64_t *cookie = key;
	const struct before *b = element;

	return (*cookie > b->cookie) - (*cookie < b->cookie);
}

static int find_row(const void *key, const void *element)
{
	const uint64_t *cookie = key;
	const struct weir_tcp_row *r = element;

	return (*cookie > r->c.ends.cookie) - (*cookie < r->c.ends.cookie);
}

static int take(void *arg, const struct weir_tcp_conn *c)
{
	struct weir_tcp_table *t = arg;

	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 256;
		struct weir_tcp_row *rows = reallocarray(t->rows, room, sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		t->rows = rows;
		t->room = room;
	}
	t->rows[t->n++] = (struct weir_tcp_row){ .c = *c };
	t->unowned = t->unowned || !c->pid;
	return 0;
}

static int remember(struct weir_tcp_table *t)
{
	struct before *b = calloc(t->n + 1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	if (t->n)
		qsort(t->rows, t->n, sizeof(*t->rows), by_cookie);
	for (size_t i = 0; i < t->n; i++)
		b[i] = (struct before){ t->rows[i].c.ends.cookie, bytes_of(&t->rows[i].c) };
	free(t->before);
	t->before = b;
	t->n_before = t->n;
	t->before_at = t->at;
	return 0;
}

/* The iterator may show a socket twice when tables change under it. */
static void drop_twins(struct weir_tcp_table *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (!kept || t->rows[kept - 1].c.ends.cookie != t->rows[i].c.ends.cookie)
			t->rows[kept++] = t->rows[i];
	t->n = kept;
}

static void add_rates(struct weir_tcp_table *t)
{
	double seconds = (double)(t->at - t->before_at) / WEIR_NSEC_PER_SEC;

	for (size_t i = 0; i < t->n; i++) {
		struct weir_tcp_row *r = &t->rows[i];
		const struct before *b =
			bsearch(&r->c.ends.cookie, t->before, t->n_before, sizeof(*b), find_before);
		uint64_t bytes = bytes_of(&r->c), old = b ? b->bytes : 0;

		/* Of an old connection the bytes before the first look are no rate. */
		r->rated = t->before_at && (b || !(r->c.flags & WEIR_TCP_F_OLD));
		if (r->rated && bytes > old)
			r->rate = (uint64_t)((double)(bytes - old) / seconds);
	}
}

int weir_tcp_table_look(struct weir_tcp_table *t, struct weir_tcp_engine *e, struct weir_error *err)
{
	bool owners = t->unowned || !t->at;
	int ret = remember(t);

	if (ret)
		return weir_fail(err, ret, "out of memory: free some, or match fewer connections");
	t->n = 0;
	t->unowned = false;
	ret = weir_tcp_engine_look(e, owners, take, t, &t->spaces, err);
	if (ret)
		return ret;
	t->at = weir_clock_mono();
	if (t->n)
		qsort(t->rows, t->n, sizeof(*t->rows), by_cookie);
	drop_twins(t);
	add_rates(t);
	return 0;
}

/* ---- Sums */

static void name_sum(struct weir_tcp_sum_name *s, enum weir_tcp_by by,
		     const struct weir_tcp_conn *c)
{
	memset(s, 0, sizeof(*s));
	if (by == WEIR_TCP_BY_PROCESS) {
		s->pid = c->pid;
		memcpy(s->comm, c->comm, sizeof(s->comm));
	} else {
		memcpy(s->host.b, c->ends.remote, sizeof(s->host.b));
	}
}

static int compare_names(const struct weir_tcp_sum_name *a, const struct weir_tcp_sum_name *b)
{
	int c = memcmp(&a->host, &b->host, sizeof(a->host));

	if (!c && a->pid != b->pid)
		c = a->pid < b->pid ? -1 : 1;
	return c ? c : memcmp(a->comm, b->comm, sizeof(a->comm));
}

static void add_conn(struct weir_tcp_sum *s, const struct weir_tcp_conn *c, uint64_t rate)
{
	uint64_t cause[WEIR_TCP_CAUSES];

	weir_tcp_retransmits(c, cause);
	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		s->cause[i] += cause[i];
	s->retrans_before += c->retrans_before;
	s->bytes_in += weir_tcp_bytes_in(c);
	s->bytes_out += weir_tcp_bytes_out(c);
	s->bypass_in += c->bypass_in;
	s->bypass_out += c->bypass_out;
	s->segments_out += c->now.data_segs_out;
	s->rate += rate;
	s->out_of_order += c->now.out_of_order;
	s->zero_window_in += c->zero_window_in;
	s->zero_window_out += c->zero_window_out;
	if (c->now.srtt_us && (!s->min_rtt_us || c->now.min_rtt_us < s->min_rtt_us))
		s->min_rtt_us = c->now.min_rtt_us;
	add_rtt(&s->rtt, c);
}

/* Where @name is among the @n sorted sums, or where it would be. */
static size_t place_of(const struct weir_tcp_sum *sums, size_t n,
		       const struct weir_tcp_sum_name *name)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (compare_names(&sums[middle].name, name) < 0)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

static int insert_sum(struct weir_tcp_table *t, size_t at, const struct weir_tcp_sum_name *name)
{
	if (t->n_sums == t->room_sums) {
		size_t room = t->room_sums ? t->room_sums * 2 : 64;
		struct weir_tcp_sum *sums = reallocarray(t->sums, room, sizeof(*sums));

		if (!sums)
			return -ENOMEM;
		t->sums = sums;
		t->room_sums = room;
	}
	memmove(&t->sums[at + 1], &t->sums[at], (t->n_sums - at) * sizeof(*t->sums));
	t->sums[at] = (struct weir_tcp_sum){ .name = *name };
	t->n_sums++;
	return 0;
}

int weir_tcp_table_closed(struct weir_tcp_table *t, const struct weir_tcp_conn *c)
{
	struct weir_tcp_row *live =
		t->n ? bsearch(&c->ends.cookie, t->rows, t->n, sizeof(*t->rows), find_row) : NULL;
	struct weir_tcp_sum_name name;
	size_t at;
	int ret = 0;

	if (live)
		live->gone = true;
	t->closed++;
	name_sum(&name, t->by, c);
	if (t->by == WEIR_TCP_BY_FLOW)
		memset(&name, 0, sizeof(name));
	at = place_of(t->sums, t->n_sums, &name);
	if (at == t->n_sums || compare_names(&t->sums[at].name, &name)) {
		/* The one without a name takes those for which there is no room. */
		if (t->n_sums >= SUMS_MAX) {
			memset(&name, 0, sizeof(name));
			t->others = true;
			at = place_of(t->sums, t->n_sums, &name);
		}
		if (at == t->n_sums || compare_names(&t->sums[at].name, &name))
			ret = insert_sum(t, at, &name);
	}
	if (ret)
		return ret;
	t->sums[at].closed++;
	t->sums[at].failed += c->closed_how != WEIR_TCP_HOW_FIN;
	add_conn(&t->sums[at], c, 0);
	return 0;
}

/* ---- Order */

static enum weir_tcp_sort sort_key; /* qsort() carries nothing */

static uint64_t key_of_conn(const struct weir_tcp_row *r)
{
	uint64_t cause[WEIR_TCP_CAUSES];

	switch (sort_key) {
	case WEIR_TCP_SORT_RATE:
		return r->rate;
	case WEIR_TCP_SORT_BYTES:
		return bytes_of(&r->c);
	case WEIR_TCP_SORT_RTT:
		return r->c.now.srtt_us;
	case WEIR_TCP_SORT_RETRANSMITS:
		return weir_tcp_retransmits(&r->c, cause) + r->c.retrans_before;
	case WEIR_TCP_SORT_AGE:
		return ~r->c.start; /* not seen to begin: older than all that were */
	}
	return 0;
}

static int by_key(const void *pa, const void *pb)
{
	const struct weir_tcp_row *a = pa, *b = pb;
	uint64_t x = key_of_conn(a), y = key_of_conn(b);

	if (x == y) {
		x = bytes_of(&a->c);
		y = bytes_of(&b->c);
	}
	return x != y ? (x < y ? 1 : -1) : by_cookie(pa, pb);
}

void weir_tcp_table_sort(struct weir_tcp_table *t, enum weir_tcp_sort key)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++)
		if (!t->rows[i].gone)
			t->rows[kept++] = t->rows[i];
	t->n = kept;
	sort_key = key;
	if (t->n)
		qsort(t->rows, t->n, sizeof(*t->rows), by_key);
}

static uint64_t key_of_sum(const struct weir_tcp_sum *s)
{
	uint64_t n = 0;

	switch (sort_key) {
	case WEIR_TCP_SORT_RATE:
		return s->rate;
	case WEIR_TCP_SORT_BYTES:
		return s->bytes_in + s->bytes_out;
	case WEIR_TCP_SORT_RTT:
		return s->rtt.count ? s->rtt.sum_us / s->rtt.count : s->min_rtt_us;
	case WEIR_TCP_SORT_RETRANSMITS:
		for (int i = 0; i < WEIR_TCP_CAUSES; i++)
			n += s->cause[i];
		return n + s->retrans_before;
	case WEIR_TCP_SORT_AGE:
		return s->live + s->closed;
	}
	return n;
}

static int by_sum(const void *pa, const void *pb)
{
	const struct weir_tcp_sum *a = pa, *b = pb;
	uint64_t x = key_of_sum(a), y = key_of_sum(b);

	if (x == y) {
		x = a->bytes_in + a->bytes_out;
		y = b->bytes_in + b->bytes_out;
	}
	return x != y ? (x < y ? 1 : -1) : compare_names(&a->name, &b->name);
}

bool weir_tcp_is_others(const struct weir_tcp_table *t, const struct weir_tcp_sum_name *name)
{
	static const struct weir_tcp_sum_name none;

	return t->others && !compare_names(name, &none);
}

void weir_tcp_sum_add(struct weir_tcp_sum *to, const struct weir_tcp_sum *s)
{
	to->live += s->live;
	to->closed += s->closed;
	to->failed += s->failed;
	to->retrans_before += s->retrans_before;
	to->bytes_in += s->bytes_in;
	to->bytes_out += s->bytes_out;
	to->bypass_in += s->bypass_in;
	to->bypass_out += s->bypass_out;
	to->segments_out += s->segments_out;
	to->rate += s->rate;
	to->out_of_order += s->out_of_order;
	to->zero_window_in += s->zero_window_in;
	to->zero_window_out += s->zero_window_out;
	for (int k = 0; k < WEIR_TCP_CAUSES; k++)
		to->cause[k] += s->cause[k];
	if (s->min_rtt_us && (!to->min_rtt_us || s->min_rtt_us < to->min_rtt_us))
		to->min_rtt_us = s->min_rtt_us;
	to->rtt.count += s->rtt.count;
	to->rtt.sum_us += s->rtt.sum_us;
	if (s->rtt.max_us > to->rtt.max_us)
		to->rtt.max_us = s->rtt.max_us;
	for (int k = 0; k < WEIR_TCP_BUCKETS; k++)
		to->rtt.bucket[k] += s->rtt.bucket[k];
}

/* A connection that is there, by the name of its sum. */
struct named {
	struct weir_tcp_sum_name name;
	const struct weir_tcp_row *row;
};

static int by_named(const void *a, const void *b)
{
	return compare_names(&((const struct named *)a)->name, &((const struct named *)b)->name);
}

static size_t name_rows(const struct weir_tcp_table *t, struct named *v)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (t->rows[i].gone)
			continue;
		name_sum(&v[n].name, t->by, &t->rows[i].c);
		v[n++].row = &t->rows[i];
	}
	if (n)
		qsort(v, n, sizeof(*v), by_named);
	return n;
}

/* Both lists are in order of names: walk through them side by side. */
static size_t join(const struct weir_tcp_table *t, const struct named *rows, size_t n_rows,
		   struct weir_tcp_sum *to)
{
	size_t n = 0;

	for (size_t i = 0, k = 0; i < t->n_sums || k < n_rows; n++) {
		int order = i == t->n_sums ? 1 :
			    k == n_rows	   ? -1 :
					     compare_names(&t->sums[i].name, &rows[k].name);

		if (order <= 0)
			to[n] = t->sums[i++];
		else
			to[n] = (struct weir_tcp_sum){ .name = rows[k].name };
		for (; k < n_rows && !compare_names(&to[n].name, &rows[k].name); k++) {
			to[n].live++;
			add_conn(&to[n], &rows[k].row->c, rows[k].row->rate);
		}
	}
	return n;
}

int weir_tcp_table_sums(const struct weir_tcp_table *t, enum weir_tcp_sort key,
			struct weir_tcp_sum **ret, size_t *ret_n)
{
	weir_autofree struct named *rows = calloc(t->n + 1, sizeof(*rows));
	size_t n_rows = rows ? name_rows(t, rows) : 0, names = 0;
	struct weir_tcp_sum *v;

	for (size_t i = 0; i < n_rows; i++)
		names += !i || compare_names(&rows[i - 1].name, &rows[i].name);
	v = rows ? calloc(t->n_sums + names + 1, sizeof(*v)) : NULL;
	if (!v)
		return -ENOMEM;
	*ret_n = join(t, rows, n_rows, v);
	sort_key = key;
	if (*ret_n)
		qsort(v, *ret_n, sizeof(*v), by_sum);
	*ret = v;
	return 0;
}
