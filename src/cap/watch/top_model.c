/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/top_model.h"

#include <ctype.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/session.h"
#include "match/match.h"

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif

const char *const weir_top_sorts[WEIR_TOP_SORTS] = {
	[WEIR_TOP_BYTES] = "bytes", [WEIR_TOP_RATE] = "rate", [WEIR_TOP_PKTS] = "packets",
	[WEIR_TOP_COUNT] = "flows", [WEIR_TOP_AGE] = "age",   [WEIR_TOP_NAME] = "name",
};

/* A candidate for the picture: a flow of the table or a row of the groups. */
struct weir_top_pick {
	uint64_t score; /* the larger ones come first */
	const struct weir_flow *flow;
	const struct weir_flow_row *row;
};

int weir_top_init(struct weir_top *t, struct weir_watch *w)
{
	*t = (struct weir_top){ .w = w, .by = (enum weir_by)w->opt.by, .page = 1 };
	t->rows = calloc(WEIR_TOP_WINDOW, sizeof(*t->rows));
	return t->rows ? 0 : -ENOMEM;
}

void weir_top_free(struct weir_top *t)
{
	weir_groups_free(&t->groups);
	weir_match_free(t->match);
	free(t->rows);
	free(t->picks);
}

enum weir_by weir_top_rows_by(const struct weir_top *t)
{
	return t->level == WEIR_TOP_ROWS ? t->by : WEIR_BY_FLOW;
}

static void copy_row(struct weir_top_row *to, const struct weir_flow_row *from)
{
	to->sums = *from;
	if (from->flow) {
		to->flow = *from->flow;
		/* They end with the flow, which may be before this picture is drawn. */
		to->flow.names = NULL;
		to->flow.owners = NULL;
		to->sums.flow = &to->flow;
	}
	if (from->text) {
		snprintf(to->text, sizeof(to->text), "%s", from->text);
		to->sums.text = to->text;
	}
}

void weir_top_row_name(const struct weir_top *t, enum weir_by by, const struct weir_top_row *r,
		       struct weir_buf *out)
{
	struct weir_flow_row row = r->sums;
	const struct weir_flow *now = NULL;
	struct weir_flow named;

	if (row.flow)
		now = weir_flows_find(t->w->flows, &row.flow->key);
	if (now) {
		named = *row.flow;
		named.names = now->names;
		named.owners = now->owners;
		row.flow = &named;
	}
	weir_row_name(t->w, by, &row, out);
}

/* --- which flows, which rows ----------------------------------------------- */

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE ||
	       proto == IPPROTO_SCTP || proto == IPPROTO_DCCP;
}

/* The flow as a packet of its initiator. */
static void packet_of(const struct weir_flows *f, const struct weir_flow *x, struct weir_pkt *p)
{
	bool guessed, b = weir_flow_initiator_is_b(f, x, &guessed);
	const struct weir_flow_key *k = &x->key;

	memset(p, 0, sizeof(*p));
	memcpy(p->src, b ? k->addr_b : k->addr_a, 16);
	memcpy(p->dst, b ? k->addr_a : k->addr_b, 16);
	p->sport = b ? k->port_b : k->port_a;
	p->dport = b ? k->port_a : k->port_b;
	p->proto = k->proto;
	p->eth_type = k->eth_type;
	p->flags = k->eth_type == ETH_P_IP   ? WEIR_PKT_IP4 :
		   k->eth_type == ETH_P_IPV6 ? WEIR_PKT_IP6 :
		   k->eth_type == ETH_P_ARP  ? WEIR_PKT_ARP :
					       0;
	if (k->fragment)
		p->flags |= WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER;
	else if (has_ports(k->proto))
		p->flags |= WEIR_PKT_PORTS;
}

static bool in_group(const struct weir_top *t, const struct weir_flow *x)
{
	const struct weir_flow_row *of = &t->place[WEIR_TOP_FLOWS].of.sums;
	struct weir_flow_row keys[2];
	int n = weir_groupings[t->by].keys(t->w, x, keys);

	for (int i = 0; i < n; i++)
		if (!weir_row_compare(&keys[i], of))
			return true;
	return false;
}

static bool keep_flow(void *arg, const struct weir_flow *x)
{
	const struct weir_top *t = arg;
	struct weir_pkt p;

	if (t->match) {
		packet_of(t->w->flows, x, &p);
		if (!weir_match_eval(t->match, &p))
			return false;
	}
	return t->level == WEIR_TOP_ROWS || in_group(t, x);
}

static bool keep_row(const struct weir_top *t, const struct weir_flow_row *r)
{
	const char *words = t->place[t->level].words;
	weir_autobuf struct weir_buf name = { 0 };

	if (!words[0])
		return true;
	weir_row_name(t->w, weir_top_rows_by(t), r, &name);
	return name.data && strcasestr(name.data, words);
}

/* --- their order ----------------------------------------------------------- */

static uint64_t score(const struct weir_top *t, const struct weir_flow_row *r)
{
	switch (t->sort) {
	case WEIR_TOP_BYTES:
		return r->bytes[0] + r->bytes[1] + r->bypassed;
	case WEIR_TOP_RATE:
		return r->recent;
	case WEIR_TOP_PKTS:
		return r->packets[0] + r->packets[1];
	case WEIR_TOP_COUNT:
		return r->flows;
	case WEIR_TOP_AGE:
		return UINT64_MAX - r->first;
	default:
		return 0; /* by name: what compares equal is in the order of names */
	}
}

static uint64_t flow_score(const struct weir_top *t, const struct weir_flow *x)
{
	const struct weir_flow_val *v = &x->val;

	switch (t->sort) {
	case WEIR_TOP_BYTES:
		return v->bytes[0] + v->bytes[1] + x->bypassed;
	case WEIR_TOP_RATE:
		return weir_flow_recent(t->w->flows, x);
	case WEIR_TOP_PKTS:
		return v->packets[0] + v->packets[1];
	case WEIR_TOP_AGE:
		return UINT64_MAX - v->first;
	default:
		return 0;
	}
}

static int compare_keys(const struct weir_top_pick *a, const struct weir_top_pick *b)
{
	struct weir_flow_row x = { .flow = a->flow }, y = { .flow = b->flow };

	return weir_row_compare(a->row ? a->row : &x, b->row ? b->row : &y);
}

/* Negative: @a comes first. Equals keep one order, so that rows do not dance. */
static int compare(const struct weir_top *t, const struct weir_top_pick *a,
		   const struct weir_top_pick *b)
{
	bool names = t->sort == WEIR_TOP_NAME;
	int c;

	if (a->score != b->score)
		return (a->score > b->score) != t->reverse ? -1 : 1;
	c = compare_keys(a, b);
	return names && t->reverse ? -c : c;
}

static int compare_picks(const void *a, const void *b, void *arg)
{
	return compare(arg, a, b);
}

/* --- the first so many, without sorting all --------------------------------- */

struct heap { /* the last of those picked is on top: who beats it takes its place */
	const struct weir_top *t;
	struct weir_top_pick *v;
	size_t n, most;
};

static void sift_down(struct heap *h)
{
	for (size_t i = 0, child; (child = 2 * i + 1) < h->n; i = child) {
		struct weir_top_pick swap = h->v[i];

		if (child + 1 < h->n && compare(h->t, &h->v[child], &h->v[child + 1]) < 0)
			child++;
		if (compare(h->t, &h->v[i], &h->v[child]) >= 0)
			return;
		h->v[i] = h->v[child];
		h->v[child] = swap;
	}
}

static void sift_up(struct heap *h)
{
	for (size_t i = h->n - 1, parent; i; i = parent) {
		struct weir_top_pick swap = h->v[i];

		parent = (i - 1) / 2;
		if (compare(h->t, &h->v[parent], &h->v[i]) >= 0)
			return;
		h->v[i] = h->v[parent];
		h->v[parent] = swap;
	}
}

static void offer(struct heap *h, const struct weir_top_pick *p)
{
	if (h->n < h->most) {
		h->v[h->n++] = *p;
		sift_up(h);
	} else if (compare(h->t, p, &h->v[0]) < 0) {
		h->v[0] = *p;
		sift_down(h);
	}
}

static int make_room(struct weir_top *t, size_t n)
{
	struct weir_top_pick *v;

	if (n <= t->picks_cap)
		return 0;
	v = realloc(t->picks, n * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->picks = v;
	t->picks_cap = n;
	return 0;
}

static void offer_flows(struct weir_top *t, struct heap *h)
{
	bool all = !t->match && t->level == WEIR_TOP_ROWS;

	WEIR_FLOWS_EACH(t->w->flows, x)
	{
		struct weir_top_pick p = { .flow = x };

		if (x->hidden || (!all && !keep_flow(t, x)))
			continue;
		if (t->place[t->level].words[0]) {
			struct weir_flow_row r = { .flow = x, .bypassed = x->bypassed };

			if (!keep_row(t, &r))
				continue;
		}
		t->total++;
		p.score = flow_score(t, x);
		offer(h, &p);
	}
}

static void offer_groups(struct weir_top *t, struct heap *h)
{
	for (size_t i = 0; i < t->groups.n; i++) {
		const struct weir_flow_row *r = &t->groups.rows[i];
		struct weir_top_pick p = { .score = score(t, r), .row = r };

		if (!keep_row(t, r))
			continue;
		t->total++;
		offer(h, &p);
	}
}

static int pick(struct weir_top *t, struct heap *h)
{
	bool flows = weir_top_rows_by(t) == WEIR_BY_FLOW;
	int ret = make_room(t, t->base + WEIR_TOP_WINDOW);

	t->total = 0;
	*h = (struct heap){ .t = t, .v = t->picks, .most = t->base + WEIR_TOP_WINDOW };
	if (!ret && !flows)
		ret = weir_groups_fill(&t->groups, t->w, t->by, keep_flow, t);
	if (ret)
		return ret;
	if (flows)
		offer_flows(t, h);
	else
		offer_groups(t, h);
	return 0;
}

/* --- the cursor ------------------------------------------------------------- */

static struct weir_top_place *here(struct weir_top *t)
{
	return &t->place[t->level];
}

/* The cursor is on a row, and on the screen. */
static void clamp(struct weir_top *t)
{
	struct weir_top_place *p = here(t);
	size_t last_page = t->total > t->page ? t->total - t->page : 0;

	if (p->cursor >= t->total)
		p->cursor = t->total ? t->total - 1 : 0;
	if (p->offset > p->cursor)
		p->offset = p->cursor;
	if (p->cursor >= p->offset + t->page)
		p->offset = p->cursor - t->page + 1;
	if (p->offset > last_page)
		p->offset = last_page;
}

/* The row that the cursor was put on may stand elsewhere now. */
static void hold(struct weir_top *t, const struct weir_top_row *was)
{
	struct weir_top_place *p = here(t);

	for (size_t i = 0; i < t->n; i++) {
		if (weir_row_compare(&t->rows[i].sums, &was->sums))
			continue;
		p->offset = p->offset + t->base + i > p->cursor ?
				    p->offset + t->base + i - p->cursor :
				    0;
		p->cursor = t->base + i;
		return;
	}
}

const struct weir_top_row *weir_top_selected(const struct weir_top *t)
{
	size_t cursor = t->place[t->level].cursor;

	if (t->level == WEIR_TOP_PACKETS || cursor < t->base || cursor >= t->base + t->n)
		return NULL;
	return &t->rows[cursor - t->base];
}

int weir_top_take(struct weir_top *t, uint64_t now)
{
	const struct weir_top_row *selected = here(t)->held ? weir_top_selected(t) : NULL;
	struct weir_top_row was;
	struct heap h;
	size_t half = WEIR_TOP_WINDOW / 2;
	int ret;

	if (t->level == WEIR_TOP_PACKETS)
		return 0;
	if (selected)
		copy_row(&was, &selected->sums);
	t->now = now;
	t->period_ns = t->w->flows->period_ns;
	t->base = here(t)->cursor > half ? here(t)->cursor - half : 0;
	ret = pick(t, &h);
	if (!ret && t->base && h.n <= t->base) { /* so many are gone */
		t->base = 0;
		ret = pick(t, &h);
	}
	t->n = 0;
	if (ret)
		return ret;
	qsort_r(h.v, h.n, sizeof(*h.v), compare_picks, t);
	for (size_t i = t->base; i < h.n; i++) {
		struct weir_flow_row r;

		if (h.v[i].flow)
			r = weir_flow_row_of(t->w->flows, h.v[i].flow);
		copy_row(&t->rows[t->n++], h.v[i].flow ? &r : h.v[i].row);
	}
	if (selected)
		hold(t, &was);
	clamp(t);
	return 0;
}

bool weir_top_move(struct weir_top *t, long by)
{
	struct weir_top_place *p = here(t);
	size_t last = t->total ? t->total - 1 : 0;

	if (by < 0)
		p->cursor -= p->cursor < (size_t)-by ? p->cursor : (size_t)-by;
	else
		p->cursor = last - p->cursor < (size_t)by ? last : p->cursor + (size_t)by;
	if (t->paused && t->level != WEIR_TOP_PACKETS && t->n) { /* there is only this picture */
		if (p->cursor < t->base)
			p->cursor = t->base;
		if (p->cursor >= t->base + t->n)
			p->cursor = t->base + t->n - 1;
	}
	p->held = p->cursor > 0;
	clamp(t);
	return t->level != WEIR_TOP_PACKETS &&
	       (p->offset < t->base ||
		(p->offset + t->page > t->base + t->n && t->base + t->n < t->total));
}

bool weir_top_resize(struct weir_top *t, size_t page)
{
	t->page = page ? page : 1;
	return weir_top_move(t, 0);
}

/* --- levels ------------------------------------------------------------------ */

static bool go_down(struct weir_top *t, enum weir_top_level to, const struct weir_top_row *of)
{
	struct weir_top_place *p = &t->place[to];

	memset(p, 0, sizeof(*p));
	copy_row(&p->of, &of->sums);
	t->level = to;
	t->total = t->n = t->base = 0;
	return true;
}

bool weir_top_enter(struct weir_top *t)
{
	const struct weir_top_row *row = weir_top_selected(t);

	if (!row)
		return false;
	if (weir_top_rows_by(t) == WEIR_BY_FLOW)
		return go_down(t, WEIR_TOP_PACKETS, row);
	return go_down(t, WEIR_TOP_FLOWS, row);
}

bool weir_top_back(struct weir_top *t)
{
	if (t->level == WEIR_TOP_ROWS)
		return false;
	t->level = t->level == WEIR_TOP_PACKETS && t->by != WEIR_BY_FLOW ? WEIR_TOP_FLOWS :
									   WEIR_TOP_ROWS;
	t->n = 0;
	return true;
}

bool weir_top_group(struct weir_top *t, enum weir_by by)
{
	if (t->level == WEIR_TOP_ROWS && t->by == by)
		return false;
	t->by = by;
	t->level = WEIR_TOP_ROWS;
	memset(t->place, 0, sizeof(t->place));
	t->n = 0;
	return true;
}

bool weir_top_order(struct weir_top *t, enum weir_top_sort sort)
{
	if (t->level == WEIR_TOP_PACKETS)
		return false;
	t->reverse = t->sort == sort && !t->reverse;
	t->sort = sort;
	here(t)->cursor = here(t)->offset = 0;
	here(t)->held = false;
	return true;
}

void weir_top_packets(struct weir_top *t, size_t kept, size_t came)
{
	struct weir_top_place *p = &t->place[WEIR_TOP_PACKETS];
	bool newest = p->cursor + 1 >= t->total;
	size_t left = t->total + came > kept ? t->total + came - kept : 0;

	t->total = kept;
	p->cursor = newest ? (kept ? kept - 1 : 0) : p->cursor > left ? p->cursor - left : 0;
	if (!newest) /* what it looks at stays where it is */
		p->offset = p->offset > left ? p->offset - left : 0;
	clamp(t);
}

/* --- the filter --------------------------------------------------------------- */

#define FLOW_FIELDS (1U << WEIR_FIELD_IP | 1U << WEIR_FIELD_PROTO | 1U << WEIR_FIELD_PORTS)

static int parse(const char *text, struct weir_match **ret, struct weir_error *err)
{
	struct weir_match_spec spec = { .expression = text };
	int code = weir_match_parse(&spec, ret, err);
	uint32_t missing;

	if (code)
		return code;
	missing = weir_match_fields(*ret) & ~FLOW_FIELDS;
	if (!missing)
		return 0;
	weir_match_free(*ret);
	*ret = NULL;
	return weir_fail(err, -EINVAL, "a flow has no %s: ask for addresses, protocols and ports",
			 weir_match_field_name((enum weir_match_field)__builtin_ctz(missing)));
}

static void set_words(struct weir_top *t, const char *words, size_t n)
{
	snprintf(here(t)->words, sizeof(here(t)->words), "%.*s", (int)n, words);
	here(t)->cursor = here(t)->offset = 0;
	here(t)->held = false;
}

int weir_top_filter(struct weir_top *t, const char *text, struct weir_error *err)
{
	struct weir_match *match = NULL;
	size_t n;
	int ret;

	while (isspace((unsigned char)*text))
		text++;
	n = strlen(text);
	while (n && isspace((unsigned char)text[n - 1]))
		n--;
	if (!n) {
		weir_match_free(WEIR_TAKE_PTR(t->match));
		t->expression[0] = '\0';
		set_words(t, "", 0);
		return 0;
	}
	if (n >= WEIR_TOP_INPUT)
		return weir_fail(err, -E2BIG, "the filter is too long: shorten it");
	if (text[0] == '"') {
		set_words(t, text + 1, n - 1 - (n > 1 && text[n - 1] == '"'));
		return 0;
	}
	ret = parse(text, &match, err);
	if (ret && ret != -ENOMEM && !memchr(text, ' ', n)) {
		set_words(t, text, n);
		return 0;
	}
	if (ret)
		return ret;
	weir_match_free(t->match);
	t->match = match;
	snprintf(t->expression, sizeof(t->expression), "%.*s", (int)n, text);
	set_words(t, "", 0);
	return 0;
}

void weir_top_filter_text(const struct weir_top *t, struct weir_buf *out)
{
	const char *words = t->place[t->level].words;

	weir_buf_adds(out, t->expression);
	if (words[0])
		weir_buf_addf(out, "%s\"%s\"", t->expression[0] ? " and " : "", words);
}
