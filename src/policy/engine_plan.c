/* SPDX-License-Identifier: GPL-2.0-only */
/* What a policy is given before it enters force: rows, ids, the end of its rules. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "dataplane/tc.h"
#include "policy/engine_impl.h"

#define VERB "filter" /* of the rules in the store on which the filter acts */

/* ---- Rules by owner and name */

struct index {
	const struct weir_policy_rule **v;
	size_t n;
};

static void free_index(struct index *x)
{
	free(x->v);
}

static int compare_rules(const struct weir_policy_rule *a, const struct weir_policy_rule *b)
{
	int ret = strcmp(a->owner, b->owner);

	return ret ? ret : strcmp(a->name, b->name);
}

static int compare(const void *a, const void *b)
{
	return compare_rules(*(const struct weir_policy_rule *const *)a,
			     *(const struct weir_policy_rule *const *)b);
}

static int make_index(const struct weir_policy *p, struct index *ret, struct weir_error *err)
{
	ret->n = p->n_rules;
	ret->v = calloc(p->n_rules + 1, sizeof(*ret->v));
	if (!ret->v)
		return weir_fail(err, -ENOMEM, "out of memory: shorten the policy");
	for (size_t i = 0; i < p->n_rules; i++)
		ret->v[i] = &p->rules[i];
	qsort(ret->v, ret->n, sizeof(*ret->v), compare);
	return 0;
}

static const struct weir_policy_rule *find(const struct index *x, const char *owner,
					   const char *name)
{
	size_t from = 0, to = x->n;

	while (from < to) {
		size_t mid = (from + to) / 2;
		int order = strcmp(x->v[mid]->owner, owner);

		if (!order)
			order = strcmp(x->v[mid]->name, name);
		if (!order)
			return x->v[mid];
		if (order < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

/* ---- Expiry */

static bool same_words(const struct weir_policy_rule *a, const struct weir_policy_rule *b)
{
	weir_autobuf struct weir_buf x = { 0 }, y = { 0 };

	weir_policy_print_rule(a, 0, &x);
	weir_policy_print_rule(b, 0, &y);
	return x.data && y.data && strcmp(x.data, y.data) == 0;
}

/* A rule that was in force has its end already; one that a file or command brings,
 * begins now. */
void weir_plan_date(struct weir_policy *p, uint64_t boot)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].ttl && !p->rules[i].expires)
			p->rules[i].expires = boot + p->rules[i].ttl;
}

/* Is @id the store's number of that rule? */
static bool id_is_good(const struct weir_filter *f, const struct weir_policy_rule *r, uint32_t id,
		       struct weir_rule *ret)
{
	return id && !weir_rules_get(&f->rules, id, ret) && strcmp(ret->owner, r->owner) == 0 &&
	       strcmp(ret->name, r->name) == 0 && strcmp(ret->verb, VERB) == 0;
}

void weir_plan_find_ids(const struct weir_filter *f, struct weir_policy *p)
{
	for (size_t i = 0; f->rules.rules_fd >= 0 && i < p->n_rules; i++) {
		struct weir_policy_rule *r = &p->rules[i];
		struct weir_rule_key key = { 0 };
		struct weir_rule entry;

		snprintf(key.owner, sizeof(key.owner), "%s", r->owner);
		snprintf(key.name, sizeof(key.name), "%s", r->name);
		if (bpf_map_lookup_elem(f->rules.names_fd, &key, &r->id) ||
		    !id_is_good(f, r, r->id, &entry))
			r->id = 0;
	}
}

void weir_plan_expire(struct weir_filter *f, struct weir_policy *p, uint64_t boot)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_rules; i++) {
		struct weir_policy_rule *r = &p->rules[i];
		struct weir_rule entry;

		if (r->expires && r->expires <= boot) {
			if (f->rules.rules_fd >= 0 && id_is_good(f, r, r->id, &entry))
				weir_rules_del(&f->rules, r->owner, r->name, NULL);
			weir_policy_rule_free(r);
			continue;
		}
		if (kept != i)
			p->rules[kept] = *r;
		kept++;
	}
	p->n_rules = kept;
}

/* ---- Interfaces */

/* Does the hook's program hang on the place's interface still? A link of netfilter hangs
 * on the namespace. */
static bool is_on(const struct weir_filter *f, const struct weir_filter_place *p)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = -1;

	if (p->hook == WEIR_HOOK_NETFILTER)
		return true;
	if (p->hook == WEIR_HOOK_TC) {
		snprintf(name, sizeof(name), "tc_%u_%s", p->ifindex,
			 weir_place_is_out(p) ? "out" : "in");
		return weir_tc_attached(&f->dir, name, p->ifindex, weir_place_is_out(p),
					WEIR_TC_FILTER);
	}
	snprintf(name, sizeof(name), "gate_%u", p->ifindex);
	fd = weir_pin_get(&f->dir, name);
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == p->ifindex;
}

uint32_t weir_plan_still_on(const struct weir_filter *f, const struct weir_policy *policy,
			    const struct weir_filter_places *places, const char *name,
			    char called[IF_NAMESIZE])
{
	for (size_t i = 0; places && i < policy->n_ifaces; i++) {
		const struct weir_filter_place *p = &places->row[policy->ifaces[i].index];

		if (strcmp(policy->ifaces[i].name, name) == 0 && weir_place_is_live(p) &&
		    is_on(f, p) && if_indextoname(p->ifindex, called))
			return p->ifindex;
	}
	called[0] = '\0';
	return 0;
}

uint32_t weir_plan_ifindex(const struct weir_filter *f, const struct weir_policy *policy,
			   const struct weir_filter_places *places, const char *name,
			   char called[IF_NAMESIZE])
{
	uint32_t ifindex = if_nametoindex(name);

	called[0] = '\0';
	return ifindex ? ifindex : weir_plan_still_on(f, policy, places, name, called);
}

#define LINK_LAYER_FIELDS (1U << WEIR_FIELD_ETHER | 1U << WEIR_FIELD_VLAN)

/* Does the rule ask for the link layer, where it applies at netfilter alone? */
static bool is_blind(const struct weir_policy *p, const struct weir_policy_rule *r)
{
	bool applies = false;

	if (!(weir_match_fields(r->match) & LINK_LAYER_FIELDS))
		return false;
	for (size_t i = 0; i < p->n_ifaces; i++) {
		const struct weir_policy_iface *x = &p->ifaces[i];

		if (!weir_policy_serves(x->owner, r->owner) ||
		    (r->iface[0] && strcmp(r->iface, x->name) != 0) ||
		    (r->dir != WEIR_DIRECTION_INOUT && x->out != (r->dir == WEIR_DIRECTION_OUT)))
			continue;
		if (x->hook != WEIR_HOOK_NETFILTER)
			return false;
		applies = true;
	}
	return applies;
}

void weir_plan_warn(const struct weir_filter *f, const struct weir_policy *p,
		    struct weir_filter_report *report)
{
	for (size_t i = 0; report && i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i], *was;

		if (!is_blind(p, r))
			continue;
		was = weir_policy_find_rule(f->policy, r->owner, r->name);
		if (was && same_words(was, r) && is_blind(f->policy, was))
			continue;
		weir_buf_addf(&report->notes,
			      "warning: rule '%s' asks for %s, which no packet has at netfilter, "
			      "where it applies: filter the interface at xdp or tc\n",
			      r->name,
			      weir_match_fields(r->match) & 1U << WEIR_FIELD_VLAN ?
				      "a VLAN tag" :
				      "the link layer (Ethernet, ARP)");
	}
}

/* ---- Rows */

static int clear_row(const struct weir_filter *f, uint32_t row)
{
	weir_autofree struct weir_filter_account *zero =
		calloc((size_t)weir_sys_cpus(), sizeof(*zero));

	if (!zero)
		return -ENOMEM;
	return bpf_map_update_elem(f->lasting_fd[WEIR_LASTING_ACCOUNT], &row, zero, BPF_ANY) ?
		       -errno :
		       0;
}

int weir_plan_rows(struct weir_filter *f, struct weir_policy *p, struct weir_error *err)
{
	bool used[WEIR_FILTER_ROWS] = { false };
	uint32_t next = 0;
	int ret = 0;

	for (size_t i = 0; i < f->policy->n_ifaces; i++)
		used[f->policy->ifaces[i].index % WEIR_FILTER_ROWS] = true;
	for (size_t i = 0; !ret && i < p->n_ifaces; i++) {
		struct weir_policy_iface *x = &p->ifaces[i];
		const struct weir_policy_iface *was =
			weir_policy_find_iface(f->policy, x->name, x->hook, x->out);

		if (was && !f->foreign) {
			x->index = was->index;
			continue;
		}
		/* All was cleared with the renewed account. */
		if (f->foreign) {
			x->index = (uint32_t)i;
			continue;
		}
		while (next < WEIR_FILTER_ROWS && used[next])
			next++;
		if (next == WEIR_FILTER_ROWS)
			return weir_fail(err, -E2BIG,
					 "no place is left for %s: the filter has %d, for the "
					 "interfaces of the old and of the new policy: take some "
					 "off first",
					 x->name, WEIR_FILTER_ROWS);
		used[next] = true;
		x->index = next;
		ret = clear_row(f, next);
	}
	return ret ? weir_load_explain(err, ret, "clear the filter's account") : 0;
}

/* ---- The rule store */

static void make_entry(const struct weir_policy_rule *r, uint32_t order, struct weir_rule *ret)
{
	weir_autobuf struct weir_buf words = { 0 };

	memset(ret, 0, sizeof(*ret));
	ret->order = order;
	ret->expires = r->expires;
	snprintf(ret->verb, sizeof(ret->verb), "%s", VERB);
	snprintf(ret->owner, sizeof(ret->owner), "%s", r->owner);
	snprintf(ret->name, sizeof(ret->name), "%s", r->name);
	weir_policy_print_rule(r, 0, &words);
	snprintf(ret->text, sizeof(ret->text), "%s", words.data ? words.data : "");
}

int weir_plan_ids(struct weir_filter *f, struct weir_policy *p, struct weir_error *err)
{
	weir_cleanup(free_index) struct index old = { 0 };
	int ret = make_index(f->policy, &old, err);

	for (size_t i = 0; !ret && i < p->n_rules; i++) {
		struct weir_policy_rule *r = &p->rules[i];
		const struct weir_policy_rule *was = find(&old, r->owner, r->name);
		struct weir_rule entry;

		if (was)
			r->id = was->id;
		if (id_is_good(f, r, r->id, &entry))
			continue;
		make_entry(r, (uint32_t)i, &entry);
		ret = weir_rules_put(&f->rules, &entry, err);
		r->id = entry.id;
	}
	return ret;
}

/* Each owner counts its own rules; @before is the order of the rule before @at. */
static uint32_t order_of(const struct weir_policy *p, size_t at, uint32_t before)
{
	uint32_t order = 0;

	if (at && strcmp(p->rules[at - 1].owner, p->rules[at].owner) == 0)
		return before + 1;
	for (size_t i = 0; i < at; i++)
		order += strcmp(p->rules[i].owner, p->rules[at].owner) == 0;
	return order;
}

struct leftovers {
	const struct index *policy, *previous;
	struct weir_rule_key *v;
	size_t n;
};

static int find_leftover(void *arg, const struct weir_rule *rule)
{
	struct leftovers *l = arg;
	struct weir_rule_key *more;

	if (strcmp(rule->verb, VERB) != 0 || find(l->policy, rule->owner, rule->name) ||
	    find(l->previous, rule->owner, rule->name))
		return 0;
	more = reallocarray(l->v, l->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->v = more;
	memcpy(l->v[l->n].owner, rule->owner, sizeof(rule->owner));
	memcpy(l->v[l->n++].name, rule->name, sizeof(rule->name));
	return 0;
}

/* Of @old, or of all where it is NULL. */
static int delete_leftovers(struct weir_filter *f, const struct index *policy,
			    const struct index *previous, const struct weir_policy *old,
			    struct weir_error *err)
{
	struct leftovers l = { .policy = policy, .previous = previous };
	struct weir_rule entry;
	int ret = old ? 0 : weir_rules_each(&f->rules, find_leftover, &l);

	for (size_t i = 0; old && !ret && i < old->n_rules; i++)
		if (id_is_good(f, &old->rules[i], old->rules[i].id, &entry))
			ret = find_leftover(&l, &entry);
	if (ret)
		ret = weir_load_explain(err, ret, "read the rules");
	for (size_t i = 0; !ret && i < l.n; i++) {
		ret = weir_rules_del(&f->rules, l.v[i].owner, l.v[i].name, err);
		if (ret == -ENOENT)
			ret = 0;
	}
	free(l.v);
	return ret;
}

int weir_plan_sync(struct weir_filter *f, const struct weir_policy *p,
		   const struct weir_policy *old, struct weir_error *err)
{
	weir_cleanup(free_index) struct index policy = { 0 }, previous = { 0 };
	weir_auto_policy *back = NULL;
	int ret = make_index(p, &policy, err);
	uint32_t order = 0;

	/* As long as there is a way back, its rules keep their ids and hits. */
	if (!ret && f->state.previous)
		ret = weir_text_get(f, f->state.previous, &back, err);
	if (!ret && back)
		ret = make_index(back, &previous, err);

	for (size_t i = 0; !ret && i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];
		struct weir_rule entry, now;

		order = order_of(p, i, order);
		make_entry(r, order, &entry);
		if (id_is_good(f, r, r->id, &now) && now.order == entry.order &&
		    now.expires == entry.expires && strcmp(now.text, entry.text) == 0)
			continue;
		ret = weir_rules_put(&f->rules, &entry, err);
	}
	return ret ? ret : delete_leftovers(f, &policy, &previous, old, err);
}
