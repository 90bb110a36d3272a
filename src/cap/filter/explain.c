/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter's part of `weir explain`: what each of its hooks does with the packet. */
#include <errno.h>

#include "base/cleanup.h"
#include "cap/filter/cmd.h"
#include "cap/filter/filter_cmd.h"

static const enum weir_road_stage stages[WEIR_HOOKS] = {
	[WEIR_HOOK_XDP] = WEIR_ROAD_XDP,
	[WEIR_HOOK_TC] = WEIR_ROAD_TC,
	[WEIR_HOOK_NETFILTER] = WEIR_ROAD_NETFILTER,
};

static int ask(struct weir_filter *f, const struct weir_policy_iface *i, struct weir_road *road,
	       struct weir_error *err)
{
	struct weir_filter_verdict v = { 0 };
	const struct weir_policy_rule *rule;
	struct weir_step *s;
	int ret = weir_filter_test(f, i, road->packet, &v, err);

	if (ret) {
		weir_road_add(road, stages[i->hook], WEIR_STEP_UNKNOWN, "filter", "%s", err->msg);
		return ret;
	}
	rule = weir_filter_rule_of(f->policy, v.rule);
	s = weir_road_add(road, stages[i->hook],
			  v.dropped ? WEIR_STEP_DROP :
			  v.unseen  ? WEIR_STEP_UNKNOWN :
				      WEIR_STEP_PASS,
			  "filter", "%s", weir_filter_verdict_why(&v, rule));
	snprintf(s->where, sizeof(s->where), "%s", i->name);
	if (rule) {
		weir_buf_adds(&s->rule, rule->name);
		weir_policy_print_rule(rule, 0, &s->text);
	}
	return 0;
}

int weir_filter_explain(struct weir_road *road, struct weir_error *err)
{
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	if (ret)
		return ret < 0 ? ret : 0;
	for (int hook = 0; hook < WEIR_HOOKS && !ret; hook++) {
		const struct weir_policy_iface *i = weir_policy_find_iface(
			f.policy, road->iface, (enum weir_policy_hook)hook, road->out);

		if (i)
			ret = ask(&f, i, road, err);
	}
	weir_filter_close(&f);
	return ret;
}
