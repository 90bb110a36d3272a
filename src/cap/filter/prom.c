/* SPDX-License-Identifier: GPL-2.0-only */
/* list --prometheus: what list tells, as metrics. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/filter/filter_cmd.h"

/* ---- Interfaces */

static uint64_t get_attached(const struct weir_filter_iface_info *i)
{
	return i->state == WEIR_IFACE_ON;
}

static uint64_t get_seen(const struct weir_filter_iface_info *i)
{
	return i->account.seen;
}

static uint64_t get_seen_bytes(const struct weir_filter_iface_info *i)
{
	return i->account.seen_bytes;
}

static uint64_t get_passed(const struct weir_filter_iface_info *i)
{
	return i->account.passed;
}

static uint64_t get_replies(const struct weir_filter_iface_info *i)
{
	return i->account.replies;
}

static uint64_t get_essential(const struct weir_filter_iface_info *i)
{
	return i->account.essential;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*get)(const struct weir_filter_iface_info *i);
} of_iface[] = {
	{ "attached", "gauge", "Whether the filter is on the interface.", get_attached },
	{ "seen_total", "counter", "Packets seen.", get_seen },
	{ "seen_bytes_total", "counter", "Bytes seen.", get_seen_bytes },
	{ "passed_total", "counter", "Packets passed.", get_passed },
	{ "replies_total", "counter", "Packets passed as replies, past a default of drop.",
	  get_replies },
	{ "essential_total", "counter",
	  "Packets passed because a network needs them, past a default of drop.", get_essential },
};

/* Room for a reason, and the end. */
#define LABELS 5

static void set_labels(const struct weir_policy_iface *i, struct weir_prom_label ret[LABELS])
{
	ret[0] = (struct weir_prom_label){ "iface", i->name };
	ret[1] = (struct weir_prom_label){ "hook", weir_policy_hook_names[i->hook] };
	ret[2] = (struct weir_prom_label){ "direction", weir_filter_directions[i->out ? 1 : 0] };
	ret[3] = ret[4] = (struct weir_prom_label){ NULL, NULL };
}

static void print_dropped(const struct weir_prom *p, const struct weir_policy *policy,
			  const struct weir_filter_iface_info *infos, bool bytes)
{
	const char *name = bytes ? "dropped_bytes_total" : "dropped_total";
	struct weir_prom_label labels[LABELS];

	weir_prom_head(p, name, "counter",
		       bytes ? "Bytes dropped, by reason." : "Packets dropped, by reason.");
	for (size_t i = 0; i < policy->n_ifaces; i++) {
		const struct weir_filter_account *a = &infos[i].account;

		set_labels(&policy->ifaces[i], labels);
		for (int k = WEIR_DROP_NONE + 1; k < WEIR_DROP_REASONS; k++) {
			labels[3] = (struct weir_prom_label){ "reason", weir_filter_reasons[k] };
			weir_prom_value(p, name, labels,
					bytes ? a->dropped_bytes[k] : a->dropped[k]);
		}
	}
}

static void print_ifaces(const struct weir_prom *p, const struct weir_policy *policy,
			 const struct weir_filter_iface_info *infos)
{
	struct weir_prom_label labels[LABELS];

	for (size_t k = 0; k < WEIR_ARRAY_SIZE(of_iface); k++) {
		weir_prom_head(p, of_iface[k].name, of_iface[k].type, of_iface[k].help);
		for (size_t i = 0; i < policy->n_ifaces; i++) {
			set_labels(&policy->ifaces[i], labels);
			weir_prom_value(p, of_iface[k].name, labels, of_iface[k].get(&infos[i]));
		}
	}
	print_dropped(p, policy, infos, false);
	print_dropped(p, policy, infos, true);
}

/* ---- Rules */

static void print_rules(const struct weir_prom *p, const struct weir_filter *f, bool bytes)
{
	const char *name = bytes ? "rule_bytes_total" : "rule_hits_total";
	const struct weir_policy *policy = f->policy;

	weir_prom_head(p, name, "counter",
		       bytes ? "Bytes that the rule decided." : "Packets that the rule decided.");
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct weir_policy_rule *r = &policy->rules[i];
		const struct weir_rule_hits h = weir_filter_hits(f, r);

		weir_prom_value(p, name,
				(struct weir_prom_label[]){
					{ "rule", r->name },
					{ "owner", r->owner },
					{ "action", weir_filter_actions[(int)r->action] },
					{ NULL, NULL } },
				bytes ? h.bytes : h.hits);
	}
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_filter_prometheus(struct weir_filter *f, struct weir_buf *out)
{
	const struct weir_prom p = { out, "filter" };
	size_t n = f ? f->policy->n_ifaces : 0, n_rules = f ? f->policy->n_rules : 0;
	weir_autofree struct weir_filter_iface_info *infos = calloc(n + 1, sizeof(*infos));

	if (!infos) {
		out->failed = true; /* told when it is to be written */
		return;
	}
	for (size_t i = 0; i < n; i++) {
		infos[i].state = WEIR_IFACE_DETACHED;
		weir_filter_iface_info(f, &f->policy->ifaces[i], &infos[i]);
	}
	weir_prom_one(&p, "interfaces", "gauge", "Interfaces of the policy in force.", n);
	weir_prom_one(&p, "rules", "gauge", "Rules of the policy in force.", n_rules);
	if (n)
		print_ifaces(&p, f->policy, infos);
	if (n_rules) {
		print_rules(&p, f, false);
		print_rules(&p, f, true);
	}
}
