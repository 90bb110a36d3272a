/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Views of the same events. A group holds up to four levels, the finest first; rows of one
 * level see different events, levels see the same. So the group's events are as many as
 * the greatest level has, and each level counts what it has beyond the ones before it.
 */
#include <string.h>

#include "base/cleanup.h"
#include "cap/drops/ledger.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A walk over the levels of one group. */
struct group {
	const struct weir_drops_scope *scope;
	uint32_t ifindex;			  /* 0: of the whole namespace */
	enum weir_drops_stage stage;		  /* of weir's own and of XDP events */
	const struct weir_drops_counter_def *def; /* what shares events: reasons, functions */
	const char *driver;			  /* its functions too; NULL: none */
	uint64_t covered;
};

/* "veth_xmit" belongs to the driver veth. */
static bool is_of_driver(const char *function, const char *driver)
{
	size_t n = driver ? strlen(driver) : 0;

	return n && strncmp(function, driver, n) == 0 && function[n] == '_';
}

static bool is_freed_one(const struct group *g, const struct weir_drops_row *r)
{
	if (r->origin != WEIR_DROPS_FREED || r->kind != WEIR_DROPS_PACKET)
		return false;
	/* What a virtual device hands over is freed in its peer's name and namespace. */
	if (is_of_driver(r->function, g->driver))
		return r->stage != WEIR_STAGE_XDP;
	if (r->netns != g->scope->netns || (g->ifindex && g->ifindex != r->ifindex))
		return false;
	if (g->def->proto && g->def->proto != r->proto)
		return false;
	return weir_drops_in(g->def->reasons, r->reason) ||
	       weir_drops_in(g->def->functions, r->function);
}

static bool is_own_one(const struct group *g, const struct weir_drops_row *r)
{
	return r->origin <= WEIR_DROPS_XDP && r->stage == g->stage && r->netns == g->scope->netns &&
	       (!g->ifindex || g->ifindex == r->ifindex);
}

static bool is_part(const struct group *g, const struct weir_drops_row *r)
{
	return r->origin == WEIR_DROPS_COUNTER && weir_drops_in(g->def->parts, r->reason);
}

typedef bool member_fn(const struct group *g, const struct weir_drops_row *r);

/* @take: what the levels before have covered is not counted here too. */
static void settle_level(struct weir_drops_ledger *l, struct group *g, member_fn *is_member,
			 bool take)
{
	uint64_t sum = 0, cover = g->covered;

	for (size_t i = 0; i < l->n; i++)
		if (is_member(g, &l->v[i]))
			sum += l->v[i].packets;
	for (size_t i = 0; take && i < l->n; i++) {
		struct weir_drops_row *r = &l->v[i];
		uint64_t n;

		if (!is_member(g, r))
			continue;
		n = least(cover, r->counted);
		r->counted -= n;
		r->also += n;
		cover -= n;
	}
	if (sum > g->covered)
		g->covered = sum;
}

/* What weir's filter and faults (and the kernel, for XDP) say about a hook is finer than the
 * packets that are freed there. */
static void settle_hook(struct weir_drops_ledger *l, struct group *g)
{
	settle_level(l, g, is_own_one, false);
	settle_level(l, g, is_freed_one, true);
}

/* Reasons and functions of the hooks where weir's own programs drop. */
static const struct weir_drops_counter_def hooks[] = {
	{ .stage = WEIR_STAGE_XDP,
	  .reasons = " XDP ",
	  .functions = " veth_xdp_rcv veth_xdp_rcv_skb do_xdp_generic " },
	{ .stage = WEIR_STAGE_TC_IN, .reasons = " TC_INGRESS " },
	{ .stage = WEIR_STAGE_TC_OUT, .reasons = " TC_EGRESS " },
	{ .stage = WEIR_STAGE_NETFILTER, .reasons = " NETFILTER_DROP " },
};

static bool is_first_of_iface(const struct weir_drops_ledger *l, size_t at,
			      enum weir_drops_stage stage)
{
	for (size_t i = 0; i < at; i++)
		if (l->v[i].origin <= WEIR_DROPS_XDP && l->v[i].stage == stage &&
		    l->v[i].ifindex == l->v[at].ifindex)
			return false;
	return true;
}

/* Each hook of each interface where weir's programs, or an XDP event, tell of drops. */
static void settle_own(struct weir_drops_ledger *l, const struct weir_drops_scope *scope)
{
	for (size_t h = 0; h < WEIR_ARRAY_SIZE(hooks); h++) {
		for (size_t i = 0; i < l->n; i++) {
			struct group g = { .scope = scope,
					   .stage = hooks[h].stage,
					   .def = &hooks[h],
					   .ifindex = l->v[i].ifindex };

			if (l->v[i].origin <= WEIR_DROPS_XDP && l->v[i].stage == g.stage &&
			    is_first_of_iface(l, i, g.stage))
				settle_hook(l, &g);
		}
	}
}

/* A counter counts what neither weir nor a freed packet has told. */
static void settle_counter(struct weir_drops_ledger *l, const struct weir_drops_scope *scope,
			   struct weir_drops_row *r)
{
	struct group g = {
		.scope = scope, .stage = r->stage, .def = r->def, .ifindex = r->ifindex
	};

	if (r->stage == WEIR_STAGE_XDP)
		settle_level(l, &g, is_own_one, false);
	else if (r->ifindex)
		g.driver = r->driver;
	settle_level(l, &g, is_freed_one, false);
	settle_level(l, &g, is_part, false);
	r->also = least(r->packets, g.covered);
	r->counted = r->role == WEIR_COUNTER_COUNTS ? r->packets - r->also : 0;
}

void weir_drops_settle(struct weir_drops_ledger *l, const struct weir_drops_scope *scope)
{
	for (size_t i = 0; i < l->n; i++)
		l->v[i].counted = l->v[i].packets;
	settle_own(l, scope);
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].origin == WEIR_DROPS_COUNTER)
			settle_counter(l, scope, &l->v[i]);
}
