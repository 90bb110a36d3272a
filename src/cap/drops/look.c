/* SPDX-License-Identifier: GPL-2.0-only */
/* One look at all that counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/drops/ledger.h"
#include "bpf/policy_stub.h"
#include "policy/engine.h"

/* From the finest to the coarsest. */
enum view { VIEW_OWN, VIEW_KERNEL, VIEW_COUNTERS, VIEWS };

void weir_drops_look_free(struct weir_drops_look *l)
{
	free(l->rows);
	free(l->flows);
	free(l->xdp);
	free(l->own);
	free(l->rules);
	free(l->faults);
	weir_drops_counters_free(&l->counters);
	weir_drops_totals_free(&l->totals);
	*l = (struct weir_drops_look){ 0 };
}

static int look_at_iface(struct weir_drops_look *l, struct weir_filter *f,
			 const struct weir_policy_iface *i, uint32_t ifindex)
{
	struct weir_filter_iface_info info = { 0 };

	weir_filter_iface_info(f, i, &info);
	if (ifindex && info.ifindex != ifindex)
		return 0;
	for (int reason = WEIR_DROP_NONE + 1; reason < WEIR_DROP_REASONS; reason++) {
		struct weir_drops_own *grown;

		if (!info.account.dropped[reason])
			continue;
		grown = reallocarray(l->own, l->n_own + 1, sizeof(*l->own));
		if (!grown)
			return -ENOMEM;
		l->own = grown;
		grown[l->n_own] = (struct weir_drops_own){
			.ifindex = info.ifindex,
			.hook = i->hook,
			.reason = (uint8_t)reason,
			.out = i->out,
			.packets = info.account.dropped[reason],
			.bytes = info.account.dropped_bytes[reason],
		};
		memcpy(grown[l->n_own++].iface, i->name, sizeof(grown->iface));
	}
	return 0;
}

static int add_rule(struct weir_drops_look *l, const struct weir_rules *store, uint32_t id,
		    const char *name, bool fault)
{
	struct weir_drops_own_rule *grown;
	struct weir_rule_hits hits;

	if (!id || weir_rules_hits(store, id, &hits) || !hits.hits)
		return 0;
	grown = reallocarray(l->rules, l->n_rules + 1, sizeof(*l->rules));
	if (!grown)
		return -ENOMEM;
	l->rules = grown;
	grown += l->n_rules++;
	*grown = (struct weir_drops_own_rule){ .id = id, .fault = fault, .packets = hits.hits };
	snprintf(grown->name, sizeof(grown->name), "%s/%s", fault ? "fault" : "filter", name);
	return 0;
}

/* Which rules decided, in all hooks together. */
static int look_at_rules(struct weir_drops_look *l, const struct weir_filter *f)
{
	const struct weir_policy *p = f->policy;
	int ret = 0;

	for (size_t i = 0; !ret && i < p->n_rules; i++)
		if (p->rules[i].action != WEIR_POLICY_ALLOW)
			ret = add_rule(l, &f->rules, p->rules[i].id, p->rules[i].name, false);
	return ret;
}

/* What a fault does but for dropping it stands in no row of its own: a packet that was
 * corrupted is lost where a later stage refuses it, for that stage's reason. */
struct hits {
	struct weir_drops_look *look;
	const struct weir_rules *store;
};

static int look_at_fault(void *arg, const struct weir_rule *rule)
{
	const struct hits *h = arg;

	return strcmp(rule->verb, "fault") ?
		       0 :
		       add_rule(h->look, h->store, rule->id, rule->name, true);
}

/* No rules, and no right to see them, are none. */
static int look_at_fault_rules(struct weir_drops_look *l)
{
	struct weir_rules store;
	struct hits h = { l, &store };
	int ret;

	if (weir_rules_open(&store, false, NULL))
		return 0;
	ret = weir_rules_each(&store, look_at_fault, &h);
	weir_rules_close(&store);
	return ret == -ENOMEM ? ret : 0;
}

/* No filter, and no right to see one, is an empty one. */
static int look_at_filter(struct weir_drops_look *l, uint32_t ifindex)
{
	struct weir_filter f;
	int ret = 0;

	if (weir_filter_open(&f, false, NULL))
		return 0;
	for (size_t i = 0; !ret && i < f.policy->n_ifaces; i++)
		ret = look_at_iface(l, &f, &f.policy->ifaces[i], ifindex);
	if (!ret && !ifindex)
		ret = look_at_rules(l, &f);
	weir_filter_close(&f);
	return ret;
}

static int look_at_kernel(const struct weir_drops_kernel *k, const struct weir_drops_scope *scope,
			  struct weir_drops_look *l)
{
	int n = weir_drops_kernel_rows(k, &l->rows);

	if (n < 0)
		return n;
	l->n_rows = (size_t)n;
	if (scope->flows) {
		n = weir_drops_kernel_flows(k, &l->flows);
		if (n < 0)
			return n;
		l->n_flows = (size_t)n;
	}
	weir_drops_kernel_counters(k, &l->account, &l->missed);
	if (scope->matched)
		return 0;
	n = weir_drops_kernel_xdp(k, &l->xdp);
	if (n < 0)
		return n;
	l->n_xdp = (size_t)n;
	return 0;
}

static int look_at_own(struct weir_drops_sources *s, uint32_t ifindex, struct weir_drops_look *l)
{
	int n = look_at_filter(l, ifindex);

	if (n)
		return n;
	/* A connection has no interface. */
	if (!ifindex)
		l->n_refused = weir_drops_refusals(&s->proxies, l->refused);
	n = ifindex ? 0 : look_at_fault_rules(l);
	if (n)
		return n;
	n = weir_drops_faults_read(&s->faults, ifindex, &l->faults);
	l->n_faults = n > 0 ? (size_t)n : 0;
	return n < 0 ? n : 0;
}

static int look_at_counters(struct weir_drops_sources *s, uint32_t ifindex,
			    struct weir_drops_look *l, struct weir_error *err)
{
	int ret = weir_drops_counters_read(&l->counters, ifindex, err);

	if (ret || !s->waiting)
		return ret;
	ret = weir_drops_totals_read(&l->totals, err);
	return ret ? ret :
		     weir_drops_waiting_count(s->waiting, &l->totals.v[WEIR_TOTAL_UDP_WAITING],
					      err);
}

static int look_at(struct weir_drops_sources *s, const struct weir_drops_scope *scope,
		   enum view which, struct weir_drops_look *l, struct weir_error *err)
{
	int ret = 0;

	if (which == VIEW_KERNEL) {
		ret = look_at_kernel(s->kernel, scope, l);
		return ret ? weir_fail(err, ret, "cannot read what was dropped: %s: report this",
				       strerror(-ret)) :
			     0;
	}
	/* Counters know nothing of a match. */
	if (scope->matched)
		return 0;
	if (which == VIEW_COUNTERS)
		return look_at_counters(s, scope->ifindex, l, err);
	ret = look_at_own(s, scope->ifindex, l);
	return ret ? weir_fail(err, ret, "out of memory") : 0;
}

int weir_drops_look(struct weir_drops_sources *s, const struct weir_drops_scope *scope, bool first,
		    struct weir_drops_look *ret, struct weir_error *err)
{
	static const enum view orders[][VIEWS] = {
		{ VIEW_COUNTERS, VIEW_KERNEL, VIEW_OWN },
		{ VIEW_OWN, VIEW_KERNEL, VIEW_COUNTERS },
	};
	struct weir_drops_look l = { .at = weir_clock_mono() };
	int code = 0;

	for (int i = 0; i < VIEWS && !code; i++)
		code = look_at(s, scope, orders[first][i], &l, err);
	if (code) {
		weir_drops_look_free(&l);
		return code;
	}
	*ret = l;
	return 0;
}
