/* SPDX-License-Identifier: GPL-2.0-only */
/* From two looks to rows. */
#include "cap/drops/ledger.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/engine.h"

void weir_drops_ledger_free(struct weir_drops_ledger *l)
{
	free(l->v);
	*l = (struct weir_drops_ledger){ 0 };
}

/* A counter that began anew has gone back. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static struct weir_drops_row *new_row(struct weir_drops_ledger *l)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		void *grown = reallocarray(l->v, cap, sizeof(*l->v));

		if (!grown)
			return NULL;
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n] = (struct weir_drops_row){ 0 };
	return &l->v[l->n++];
}

/* Interfaces are named as they are called now; those of other namespaces, and those that
 * are gone, have a number only. */
static void name_iface(struct weir_drops_row *r, const struct weir_drops_scope *scope)
{
	char name[IF_NAMESIZE];

	if (!r->ifindex)
		return;
	if (r->netns == scope->netns && if_indextoname(r->ifindex, name))
		memcpy(r->iface, name, sizeof(r->iface));
	else
		snprintf(r->iface, sizeof(r->iface), "if%u", r->ifindex);
}

/* ---- What was freed */

static const struct weir_drops_val *val_before(const struct weir_drops_look *l,
					       const struct weir_drops_key *key)
{
	static const struct weir_drops_val none;

	for (size_t i = 0; i < l->n_rows; i++)
		if (memcmp(&l->rows[i].key, key, sizeof(*key)) == 0)
			return &l->rows[i].val;
	return &none;
}

static void tell_reason(struct weir_drops_row *r, bool bare)
{
	const struct weir_drops_reason *known = weir_drops_reason(r->reason);
	const char *done = weir_drops_done(r->reason, r->function, bare);

	r->stage = known ? known->stage : WEIR_STAGE_STACK;
	if (r->stage == WEIR_STAGE_STACK)
		r->stage = weir_drops_stage_of(r->function);
	r->harmless = done || (known && known->harmless);
	r->advice = done ? done : known ? known->advice : NULL;
	if (r->kind == WEIR_DROPS_COPY)
		r->advice = "only the copy for a capture; the packet itself went on";
	else if (r->kind == WEIR_DROPS_STRAY)
		r->advice = "which network namespace it was in can no longer be told";
}

void weir_drops_row_of(struct weir_drops_row *r, const struct weir_drops_key *key,
		       const struct weir_drops_scope *scope, const struct weir_drops_words *words)
{
	*r = (struct weir_drops_row){
		.origin = WEIR_DROPS_FREED,
		.netns = key->netns,
		.ifindex = key->ifindex,
		.eth_type = key->eth_type,
		.proto = key->proto,
		.kind = key->kind,
		.received = key->received,
	};
	weir_drops_name(&words->names, key->reason, r->reason, sizeof(r->reason));
	weir_drops_function(&words->symbols, key->place, r->function, sizeof(r->function));
	name_iface(r, scope);
	tell_reason(r, key->bare);
}

static int add_freed(struct weir_drops_ledger *l, const struct weir_drops_row_count *c,
		     const struct weir_drops_look *before, const struct weir_drops_scope *scope,
		     const struct weir_drops_words *words)
{
	const struct weir_drops_val *old = val_before(before, &c->key);
	struct weir_drops_row *r;

	if (c->val.packets == old->packets)
		return 0;
	r = new_row(l);
	if (!r)
		return -ENOMEM;
	weir_drops_row_of(r, &c->key, scope, words);
	r->packets = c->val.packets - old->packets;
	r->wire = c->val.wire - old->wire;
	r->bytes = c->val.bytes - old->bytes;
	return 0;
}

/* ---- XDP */

static int add_xdp(struct weir_drops_ledger *l, const struct weir_drops_xdp_count *c,
		   const struct weir_drops_look *before, const struct weir_drops_scope *scope)
{
	uint64_t old = 0;
	struct weir_drops_row *r;
	bool redirect = c->key.what == WEIR_DROPS_XDP_REDIRECT;

	for (size_t i = 0; i < before->n_xdp; i++)
		if (memcmp(&before->xdp[i].key, &c->key, sizeof(c->key)) == 0)
			old = before->xdp[i].packets;
	if (c->packets == old)
		return 0;
	r = new_row(l);
	if (!r)
		return -ENOMEM;
	r->origin = WEIR_DROPS_XDP;
	r->stage = WEIR_STAGE_XDP;
	r->netns = c->key.netns;
	r->ifindex = c->key.ifindex;
	r->received = true;
	r->packets = r->wire = since(c->packets, old);
	if (redirect)
		snprintf(r->reason, sizeof(r->reason), "xdp_redirect_err");
	else
		snprintf(r->reason, sizeof(r->reason), "xdp_exception %u", c->key.what);
	snprintf(r->function, sizeof(r->function), "%.16s", c->key.prog);
	r->advice = redirect ? "an XDP program's redirect went nowhere: see its map of devices" :
			       "an XDP program gave up on it (0: XDP_ABORTED): report it to its "
			       "author";
	name_iface(r, scope);
	return 0;
}

/* ---- weir's filter */

static const enum weir_drops_stage stage_of_hook[][2] = {
	[WEIR_HOOK_XDP] = { WEIR_STAGE_XDP, WEIR_STAGE_XDP },
	[WEIR_HOOK_TC] = { WEIR_STAGE_TC_IN, WEIR_STAGE_TC_OUT },
	[WEIR_HOOK_NETFILTER] = { WEIR_STAGE_NETFILTER, WEIR_STAGE_NETFILTER },
};

static const struct weir_drops_own *own_before(const struct weir_drops_look *l,
					       const struct weir_drops_own *o)
{
	static const struct weir_drops_own none;

	for (size_t i = 0; i < l->n_own; i++)
		if (l->own[i].hook == o->hook && l->own[i].reason == o->reason &&
		    l->own[i].out == o->out && strcmp(l->own[i].iface, o->iface) == 0)
			return &l->own[i];
	return &none;
}

static int add_own(struct weir_drops_ledger *l, const struct weir_drops_own *o,
		   const struct weir_drops_look *before, const struct weir_drops_scope *scope)
{
	const struct weir_drops_own *old = own_before(before, o);
	struct weir_drops_row *r;

	if (o->packets == old->packets)
		return 0;
	r = new_row(l);
	if (!r)
		return -ENOMEM;
	r->origin = WEIR_DROPS_OWN;
	r->stage = stage_of_hook[o->hook][o->out];
	r->netns = scope->netns;
	r->ifindex = o->ifindex;
	memcpy(r->iface, o->iface, sizeof(r->iface));
	r->received = !o->out;
	r->packets = r->wire = since(o->packets, old->packets);
	r->bytes = since(o->bytes, old->bytes);
	snprintf(r->reason, sizeof(r->reason), "weir filter: %s", weir_filter_reasons[o->reason]);
	r->advice = "weir's filter: `weir filter drops` tells the rules";
	return 0;
}

/* ---- weir's fault */

static int add_fault(struct weir_drops_ledger *l, const struct weir_drops_fault_count *c,
		     const struct weir_drops_look *before, const struct weir_drops_scope *scope)
{
	struct weir_fault_drop old = { 0 };
	struct weir_drops_row *r;

	for (size_t i = 0; i < before->n_faults; i++)
		if (memcmp(&before->faults[i].key, &c->key, sizeof(c->key)) == 0)
			old = before->faults[i].val;
	if (c->val.packets == old.packets)
		return 0;
	r = new_row(l);
	if (!r)
		return -ENOMEM;
	r->origin = WEIR_DROPS_FAULT;
	r->stage = c->key.out ? WEIR_STAGE_TC_OUT : WEIR_STAGE_TC_IN;
	r->netns = scope->netns;
	r->ifindex = c->key.ifindex;
	r->received = !c->key.out;
	r->packets = r->wire = since(c->val.packets, old.packets);
	r->bytes = since(c->val.bytes, old.bytes);
	snprintf(r->reason, sizeof(r->reason), "weir fault: %s", c->key.name);
	r->advice = "weir's fault, dropped on purpose: `weir fault list`, `weir fault del`";
	name_iface(r, scope);
	return 0;
}

const char *weir_drops_rule_advice(const struct weir_drops_own_rule *rule)
{
	return rule->fault ? "hit by a rule of weir's fault, whatever became of them" :
			     "a rule of weir's filter, at all of its hooks";
}

uint64_t weir_drops_rule_since(const struct weir_drops_own_rule *rule,
			       const struct weir_drops_look *before)
{
	for (size_t i = 0; i < before->n_rules; i++)
		if (before->rules[i].id == rule->id)
			return since(rule->packets, before->rules[i].packets);
	return rule->packets;
}

/* ---- Counters */

uint64_t weir_drops_refused_since(const struct weir_drops_look *now,
				  const struct weir_drops_look *before, size_t i)
{
	/* There was no proxy yet. */
	uint64_t old = i < before->n_refused ? before->refused[i].connections : 0;

	return since(now->refused[i].connections, old);
}

static int add_counter(struct weir_drops_ledger *l, const struct weir_drops_counter *c,
		       const struct weir_drops_look *before, const struct weir_drops_scope *scope)
{
	uint64_t n = since(c->value, weir_drops_counter_before(&before->counters, c));
	struct weir_drops_row *r;

	if (!n)
		return 0;
	r = new_row(l);
	if (!r)
		return -ENOMEM;
	r->origin = WEIR_DROPS_COUNTER;
	r->def = c->def;
	r->stage = c->def->stage;
	r->role = c->def->role;
	r->netns = scope->netns;
	r->ifindex = c->ifindex;
	r->proto = c->def->proto;
	memcpy(r->iface, c->iface, sizeof(r->iface));
	memcpy(r->driver, c->driver, sizeof(r->driver));
	snprintf(r->reason, sizeof(r->reason), "%s", c->name);
	r->packets = r->wire = n;
	r->advice = c->def->advice;
	return 0;
}

/* ---- The whole */

static int compare(const void *a, const void *b)
{
	const struct weir_drops_row *x = a, *y = b;

	if (x->stage != y->stage)
		return x->stage < y->stage ? -1 : 1;
	if (x->counted != y->counted)
		return x->counted > y->counted ? -1 : 1;
	if (x->packets != y->packets)
		return x->packets > y->packets ? -1 : 1;
	return strcmp(x->reason, y->reason);
}

static int add_all(struct weir_drops_ledger *l, const struct weir_drops_look *now,
		   const struct weir_drops_look *before, const struct weir_drops_scope *scope,
		   const struct weir_drops_words *words)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < now->n_rows; i++)
		ret = add_freed(l, &now->rows[i], before, scope, words);
	for (size_t i = 0; !ret && i < now->n_xdp; i++)
		ret = add_xdp(l, &now->xdp[i], before, scope);
	for (size_t i = 0; !ret && i < now->n_own; i++)
		ret = add_own(l, &now->own[i], before, scope);
	for (size_t i = 0; !ret && i < now->n_faults; i++)
		ret = add_fault(l, &now->faults[i], before, scope);
	for (size_t i = 0; !ret && i < now->counters.n; i++)
		ret = add_counter(l, &now->counters.v[i], before, scope);
	return ret;
}

int weir_drops_ledger_make(struct weir_drops_ledger *l, const struct weir_drops_look *now,
			   const struct weir_drops_look *before,
			   const struct weir_drops_scope *scope,
			   const struct weir_drops_words *words)
{
	int ret;

	*l = (struct weir_drops_ledger){ 0 };
	ret = add_all(l, now, before, scope, words);
	if (ret) {
		weir_drops_ledger_free(l);
		return ret;
	}
	weir_drops_settle(l, scope);
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), compare);
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].origin == WEIR_DROPS_COUNTER || weir_drops_is_loss(&l->v[i]))
			l->lost += l->v[i].counted;
		else
			l->freed += l->v[i].counted;
	}
	return 0;
}
