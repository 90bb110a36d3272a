/* SPDX-License-Identifier: GPL-2.0-only */
/* A change: a policy put in force, whole or not at all. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/policy_stub.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"

/* One on its way; all of it is thrown away unless it enters force. */
struct change {
	struct weir_filter *f;
	struct weir_policy *policy;
	struct weir_set sets[WEIR_POLICY_SETS_MAX]; /* by position; the maps are borrowed */
	struct weir_set *made;			    /* those that are new, likewise; owned */
	const struct weir_filter_places *places, *back_places;
	struct weir_generation g;
	struct weir_gate gate;
	struct weir_now now;
	uint32_t back;	   /* generation to go back to; 0 = none */
	uint64_t deadline; /* jiffies; 0: of confirm_ns from the switch on */
	uint64_t confirm_ns;
	bool guarded, force;
	bool stored; /* the policy is one that was in force, with its rows and sets */
	struct weir_filter_report *report;
	struct weir_error *err;
};

static void init_change(struct change *c)
{
	memset(c, 0, sizeof(*c));
	weir_generation_init(&c->g);
	weir_gate_init(&c->gate);
	for (int i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_init(&c->sets[i]);
}

static int begin(struct change *c, struct weir_filter *f, const struct weir_policy *policy,
		 struct weir_filter_report *report, struct weir_error *err)
{
	init_change(c);
	c->f = f;
	c->report = report;
	c->err = err;
	c->policy = weir_policy_copy(policy);
	c->made = calloc(WEIR_POLICY_SETS_MAX, sizeof(*c->made));
	if (!c->policy || !c->made)
		return weir_fail(err, -ENOMEM, "out of memory: shorten the policy");
	for (int i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_init(&c->made[i]);
	return 0;
}

static void finish(struct change *c)
{
	weir_generation_close(&c->g);
	weir_gate_close(&c->gate);
	for (int i = 0; c->made && i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_close(&c->made[i]);
	free(c->made);
	weir_policy_free(c->policy);
}

struct prefixes {
	struct weir_prefix *v;
	size_t n, cap;
};

static int add_prefix(void *arg, const struct weir_prefix *p)
{
	struct prefixes *l = arg;

	if (l->n == l->cap)
		return -ENOSPC;
	l->v[l->n++] = *p;
	return 0;
}

/* The same set in maps of this version. */
static int copy_set(struct weir_set *to, struct weir_set *from, struct weir_error *err)
{
	struct prefixes l = { .cap = weir_set_count(from) };
	int ret = 0;

	l.v = calloc(l.cap + 1, sizeof(*l.v));
	if (!l.v)
		return weir_fail(err, -ENOMEM, "out of memory for a set of %zu prefixes", l.cap);
	ret = weir_set_each(from, add_prefix, &l);
	ret = ret ? weir_load_explain(err, ret, "read a set") : weir_set_create(to, l.v, l.n, err);
	free(l.v);
	return ret;
}

/* The set at @i: the one that was loaded anew, the one in force, or an empty one. */
static int plan_set(struct change *c, size_t i, const struct weir_filter_change *change)
{
	struct weir_policy_set *s = &c->policy->sets[i];
	struct weir_set *old;
	int ret = 0;

	if (c->stored) {
		char name[WEIR_PIN_NAME_MAX];

		ret = weir_set_open(&c->made[i], &c->f->dir, weir_pin_set(name, s->number), c->err);
		c->sets[i] = c->made[i];
		return ret;
	}
	s->number = 0;
	old = weir_set_in_force(c->f, s->name, &s->number);
	if (change && change->sets && change->sets_new && change->sets_new[i]) {
		c->sets[i] = change->sets[i];
		s->number = ++c->f->state.sets;
		return 0;
	}
	if (old && s->number && !c->f->foreign) {
		c->sets[i] = *old;
		return 0;
	}
	ret = old && s->number ? copy_set(&c->made[i], old, c->err) :
				 weir_set_create(&c->made[i], NULL, 0, c->err);
	c->sets[i] = c->made[i];
	s->number = ++c->f->state.sets;
	return ret;
}

static bool is_first_of_name(const struct weir_policy *p, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (strcmp(p->ifaces[i].name, p->ifaces[at].name) == 0)
			return false;
	return true;
}

/* What a name was given to may have another one now, and another interface its name. */
static void tell_renamed(const struct change *c, size_t at, const struct weir_filter_places *old,
			 const char *called)
{
	const char *name = c->policy->ifaces[at].name;
	char other[IF_NAMESIZE];
	uint32_t ifindex;

	if (!c->report || c->stored || !is_first_of_name(c->policy, at))
		return;
	if (called[0]) {
		weir_buf_addf(&c->report->notes,
			      "%s is called %s now, and filtered all the same: put that name into "
			      "the policy (`weir filter show > FILE`, `weir filter apply FILE`)\n",
			      name, called);
		return;
	}
	ifindex = weir_plan_still_on(c->f, c->f->policy, old, name, other);
	if (ifindex && c->g.places.ifindex[at] && ifindex != c->g.places.ifindex[at])
		weir_buf_addf(&c->report->notes,
			      "warning: %s is another interface now; the one that was filtered as "
			      "%s is called %s, and filtered as that only once the policy says so\n",
			      name, name, other);
}

/* One interface under two names would have two rows, of which the first decides. */
static int check_names(const struct change *c, size_t at, bool renamed)
{
	const struct weir_policy_iface *v = c->policy->ifaces;

	for (size_t i = 0; i < at; i++) {
		const char *now = v[renamed ? i : at].name, *was = v[renamed ? at : i].name;

		if (!c->g.places.ifindex[at] ||
		    c->g.places.ifindex[i] != c->g.places.ifindex[at] || !strcmp(now, was))
			continue;
		return weir_fail(c->err, -EEXIST,
				 "%s is the interface that is filtered as %s: put the one name in "
				 "the other's place (`weir filter show > FILE`, `weir filter apply "
				 "FILE`)",
				 now, was);
	}
	return 0;
}

/* Where the rows are now; what the filter was on before the interface went stays
 * known. */
static int plan_places(struct change *c)
{
	struct weir_filter *f = c->f;
	const struct weir_filter_places *old =
		weir_state_places(f, c->stored ? f->state.previous : f->state.current, false);
	const struct weir_policy *before = c->stored ? c->policy : f->policy;
	struct weir_filter_places *places = weir_state_places(f, c->g.number, true);

	if (!places)
		return weir_fail(
			c->err, -EBUSY,
			"the filter's state is full: `weir filter confirm`, and try again");
	for (size_t i = 0; i < c->policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &c->policy->ifaces[i];
		struct weir_filter_place *p = &places->row[x->index];
		char called[IF_NAMESIZE];
		int ret;

		p->ifindex = weir_plan_ifindex(f, before, old, x->name, called);
		p->hook = (__u8)x->hook;
		p->flags = (__u8)((x->out ? WEIR_PLACE_OUT : 0) |
				  (x->row.drop ? WEIR_PLACE_LEARN : 0));
		c->g.places.ifindex[i] = p->ifindex;
		tell_renamed(c, i, old, called);
		ret = check_names(c, i, called[0]);
		if (ret)
			return ret;
		if (!p->ifindex && old && !f->foreign) {
			p->ifindex = old->row[x->index].ifindex;
			p->flags |= WEIR_PLACE_GONE;
		}
		if (p->ifindex && !(p->flags & WEIR_PLACE_GONE))
			c->g.want |= 1U << x->hook;
	}
	if (!c->stored)
		weir_plan_warn(f, c->policy, c->report);
	c->places = places;
	return 0;
}

/* Maps outside of generations, for what the policy has. */
static int plan_lasting(struct change *c)
{
	bool need[WEIR_LASTING_MAPS] = { [WEIR_LASTING_ACCOUNT] = true };
	int ret = 0;

	for (size_t i = 0; i < c->policy->n_ifaces; i++) {
		const struct weir_filter_row *row = &c->policy->ifaces[i].row;

		need[WEIR_LASTING_REPLIES] |= row->drop;
		need[WEIR_LASTING_FRAGMENTS] |= row->fragments == WEIR_FRAGMENTS_FOLLOW;
	}
	for (size_t i = 0; i < c->policy->n_rules; i++)
		need[WEIR_LASTING_BUCKETS] |= c->policy->rules[i].action == WEIR_POLICY_LIMIT;
	for (int i = 0; !ret && i < WEIR_LASTING_MAPS; i++)
		if (need[i])
			ret = weir_lasting_need(c->f, (enum weir_lasting_map)i, c->err);
	return ret;
}

/* What the policy needs before it can be compiled. The state is written first: from
 * then on whoever comes after a kill finds out what to remove. */
static int plan(struct change *c, const struct weir_filter_change *change)
{
	struct weir_filter *f = c->f;
	int ret = 0;

	c->g.number = ++f->state.generations;
	for (size_t i = 0; !ret && i < c->policy->n_sets; i++)
		ret = plan_set(c, i, change);
	if (!ret)
		ret = weir_state_pin(f, c->err);
	weir_step("state");
	if (!ret)
		ret = weir_lasting_need(f, WEIR_LASTING_ACCOUNT, c->err);
	if (!ret && !c->stored)
		ret = weir_plan_rows(f, c->policy, c->err);
	if (!ret)
		ret = plan_places(c);
	f->state.next = c->g.number;
	f->state.next_previous = c->back;
	f->state.next_deadline = 0;
	if (!ret)
		ret = weir_state_write(f, c->err);
	weir_step("begun");
	if (!ret)
		ret = plan_lasting(c);
	weir_step("lasting");
	if (!ret && f->rules.rules_fd < 0)
		ret = weir_rules_open(&f->rules, true, c->err);
	if (!ret)
		ret = weir_plan_ids(f, c->policy, c->err);
	weir_step("ids");
	return ret;
}

static int pin_sets(struct change *c)
{
	int ret = 0;

	for (size_t i = 0; !ret && !c->stored && i < c->policy->n_sets; i++) {
		char name[WEIR_PIN_NAME_MAX];
		uint32_t number = 0;

		weir_set_in_force(c->f, c->policy->sets[i].name, &number);
		if (number == c->policy->sets[i].number)
			continue;
		ret = weir_set_pin(&c->sets[i], &c->f->dir,
				   weir_pin_set(name, c->policy->sets[i].number), c->err);
		weir_step("set");
	}
	return ret;
}

/* Past the deadline each hook leads back, so also one that only the generation
 * before has needs a program that does. */
static void want_ways_back(struct change *c)
{
	for (int h = 0; c->back && h < WEIR_HOOKS; h++)
		if (weir_pinned_prog(c->f, c->back, h))
			c->g.want |= 1U << h;
}

/* Programs, pins, gates: everything but the switch. */
static int build(struct change *c)
{
	struct weir_filter *f = c->f;
	int ret;

	c->g.policy = c->policy;
	c->g.sets = c->sets;
	c->g.now = c->now;
	c->g.confirm = c->back != 0;
	want_ways_back(c);
	ret = weir_generation_compile(&c->g, c->err);
	if (!ret)
		ret = weir_attach(f, c->policy, c->places, c->back_places, &c->gate, c->report,
				  c->err);
	if (ret)
		return ret;
	if (c->gate.link_fd < 0)
		c->g.want &= ~(1U << WEIR_HOOK_XDP);
	ret = weir_generation_load(f, &c->g, &c->gate, c->err);
	weir_step("loaded");
	if (!ret && c->guarded)
		ret = weir_guard_generation(f, &c->g, &c->gate, c->force, c->report, c->err);
	if (!ret)
		ret = pin_sets(c);
	if (!ret)
		ret = weir_generation_pin(f, &c->g, c->err);
	weir_step("pinned");
	if (!ret && c->back)
		ret = weir_generation_set_back(f, &c->g, c->back, c->err);
	weir_step("back");
	return ret;
}

/* The deadline counts from the switch, not from the beginning of a long load. */
static int set_deadline(struct change *c)
{
	struct weir_now now;
	int ret;

	if (!c->back)
		return 0;
	if (!c->deadline) {
		ret = weir_now_read(&now, c->err);
		if (ret)
			return ret;
		c->deadline = now.jiffies + (c->confirm_ns + now.tick - 1) / now.tick;
		c->f->deadline = now.boot + c->confirm_ns;
	}
	ret = weir_generation_set_deadline(c->g.generation_fd, c->g.number, c->deadline, c->err);
	c->f->state.next_deadline = c->deadline;
	return ret ? ret : weir_state_write(c->f, c->err);
}

/* Throw it away: N stays in force, whole. */
static void abandon(struct weir_filter *f)
{
	f->state.next = f->state.next_previous = 0;
	f->state.next_deadline = 0;
	if (weir_state_write(f, NULL) || weir_state_collect(f, f->policy, NULL))
		return;
	if (f->rules.rules_fd >= 0)
		weir_plan_sync(f, f->policy, NULL, NULL);
}

/* The sets of the new policy become @f's; those that it had before and has no more
 * are closed, the others are the same. */
static void take_sets(struct change *c)
{
	struct weir_filter *f = c->f;

	for (size_t i = 0; i < f->policy->n_sets; i++) {
		bool kept = false;

		for (size_t k = 0; k < c->policy->n_sets; k++)
			kept |= c->policy->sets[k].number == f->policy->sets[i].number;
		if (!kept)
			weir_set_close(&f->sets[i]);
	}
	for (size_t i = 0; i < WEIR_POLICY_SETS_MAX; i++) {
		f->sets[i] = c->sets[i];
		weir_set_init(&c->made[i]);
	}
}

/* It is in force: @f tells the new policy, and what only the old one had goes. No
 * failure undoes it; the next command tries again. */
static void settle_in(struct change *c)
{
	struct weir_filter *f = c->f;
	weir_auto_policy *old = f->policy;
	struct weir_error err = { 0 };
	int ret;

	f->foreign = false;
	f->number = f->state.current;
	f->previous = f->state.previous;
	if (!f->previous)
		f->deadline = 0;
	take_sets(c);
	f->policy = WEIR_TAKE_PTR(c->policy);
	weir_step("switched");
	ret = weir_plan_sync(f, f->policy, old, &err);
	weir_step("synced");
	if (!ret)
		ret = weir_state_collect(f, f->policy, &err);
	if (ret && c->report)
		weir_buf_addf(&c->report->notes, "warning: the policy is in force, but: %s\n",
			      err.msg);
}

/* From a plan to programs that are ready. */
static int prepare(struct change *c, const struct weir_filter_change *change)
{
	int ret = plan(c, change);

	return ret ? ret : build(c);
}

/* From programs that are ready to a policy in force, or to nothing. */
static int enforce(struct change *c, int prepared)
{
	struct weir_filter *f = c->f;
	int ret = prepared;

	if (!ret)
		ret = weir_state_sign(f, c->err);
	if (!ret)
		ret = set_deadline(c);
	weir_step("ready");
	/* Only now: the gap in which the gate changes its mode must not be for nothing. */
	if (!ret)
		ret = weir_change_modes(f, c->policy, c->places, &c->gate, c->report, c->err);
	if (!ret) {
		ret = weir_switch_over(f, c->gate.link_fd >= 0 ? &c->gate : NULL, c->err);
		if (ret)
			weir_switch_back(f);
	}
	if (ret) {
		abandon(f);
		return ret;
	}
	settle_in(c);
	return 0;
}

/* Is every interface of the policy that is there filtered, by what this build has? */
static bool is_whole(struct weir_filter *f)
{
	const struct weir_filter_places *places = weir_state_places(f, f->state.current, false);
	bool xdp = false;

	for (size_t i = 0; i < f->policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &f->policy->ifaces[i];
		char called[IF_NAMESIZE];
		uint32_t ifindex = weir_plan_ifindex(f, f->policy, places, x->name, called);

		if (!ifindex)
			continue;
		if (!places || places->row[x->index].ifindex != ifindex ||
		    !weir_attached(f, places, x->index) || !weir_learns(f, &places->row[x->index]))
			return false;
		xdp |= x->hook == WEIR_HOOK_XDP;
	}
	/* A program whose gates are all gone has a record that no other gate has. */
	if (!xdp && weir_pinned_prog(f, f->state.current, WEIR_HOOK_XDP))
		return false;
	return !places || weir_attached_is_current(f, places);
}

/* The generation that the one in force goes back to, built anew: its programs knew
 * the interfaces as they were. */
static int prepare_previous(struct change *c, struct weir_filter *f, struct weir_error *err)
{
	weir_auto_policy *policy = NULL;
	int ret = weir_text_get(f, f->state.previous, &policy, err);

	if (!ret)
		ret = begin(c, f, policy, NULL, err);
	if (ret)
		return ret;
	c->stored = true;
	ret = weir_now_read(&c->now, err);
	return ret ? ret : prepare(c, NULL);
}

static int reattach(struct weir_filter *f, struct weir_filter_report *report,
		    struct weir_error *err)
{
	weir_cleanup(finish) struct change before = { 0 };
	weir_cleanup(finish) struct change c = { 0 };
	int ret;

	init_change(&before);
	ret = begin(&c, f, f->policy, report, err);
	if (!ret && f->previous) {
		ret = prepare_previous(&before, f, err);
		c.back = before.g.number;
		c.back_places = before.places;
		c.deadline = f->state.deadline;
	}
	/* What is in force already cannot be refused, but its user should know. */
	c.guarded = c.force = true;
	if (!ret)
		ret = weir_now_read(&c.now, err);
	if (!ret)
		ret = prepare(&c, NULL);
	return enforce(&c, ret);
}

int weir_filter_reattach(struct weir_filter *f, struct weir_filter_report *report,
			 struct weir_error *err)
{
	return is_whole(f) && !f->foreign ? 0 : reattach(f, report, err);
}

static int put_in_force(struct weir_filter *f, const struct weir_filter_change *change,
			struct weir_filter_report *report, struct weir_error *err)
{
	weir_cleanup(finish) struct change c = { 0 };
	int ret = begin(&c, f, change->policy, report, err);

	if (!ret)
		ret = weir_now_read(&c.now, err);
	if (ret)
		return ret;
	weir_plan_date(c.policy, c.now.boot);
	weir_plan_expire(f, c.policy, c.now.boot);
	c.guarded = true;
	c.force = change->force;
	c.confirm_ns = change->confirm_ns;
	c.back = change->confirm_ns ? f->state.current : 0;
	c.back_places = weir_state_places(f, c.back, false);
	ret = enforce(&c, prepare(&c, change));
	for (size_t i = 0; !ret && change->sets_new && i < change->policy->n_sets; i++)
		if (change->sets_new[i])
			weir_set_init(&change->sets[i]);
	return ret;
}

/* Something to go back to: nothing is a policy too. What went off interfaces is put
 * on again first, since the old programs lead nowhere any more. */
static int prepare_way_back(struct weir_filter *f, struct weir_filter_report *report,
			    struct weir_error *err)
{
	weir_auto_policy *empty = NULL;
	struct weir_filter_change nothing = { 0 };

	if (f->state.current)
		return weir_filter_reattach(f, report, err);
	empty = weir_policy_new();
	if (!empty)
		return weir_fail(err, -ENOMEM, "out of memory");
	nothing.policy = empty;
	return put_in_force(f, &nothing, report, err);
}

int weir_filter_change(struct weir_filter *f, const struct weir_filter_change *change,
		       struct weir_filter_report *report, struct weir_error *err)
{
	int ret = 0;

	if (f->previous)
		return weir_refuse_waiting(err);
	if (change->confirm_ns)
		ret = prepare_way_back(f, report, err);
	return ret ? ret : put_in_force(f, change, report, err);
}
