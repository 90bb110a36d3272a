/* SPDX-License-Identifier: GPL-2.0-only */
/* tune list --prometheus: what list tells, as metrics. */
#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/tcp/tune_cmd.h"

static const struct {
	const char *name, *help;
	size_t at; /* in struct weir_tune_counts: an array by option */
} of_option[] = {
	{ "tune_set_total", "Options that were set on a connection.",
	  offsetof(struct weir_tune_counts, set) },
	{ "tune_failed_total", "Options that the kernel refused.",
	  offsetof(struct weir_tune_counts, failed) },
	{ "tune_limited_total", "Of those set: to less than was asked for.",
	  offsetof(struct weir_tune_counts, limited) },
};

static void add_options(const struct weir_prom *p, const struct weir_tune *t, const char *name,
			size_t at)
{
	for (size_t i = 0; i < t->conf.n; i++) {
		const struct weir_tune_spec *r = &t->conf.rules[i];
		struct weir_tune_counts counts = { 0 };
		const __u64 *v = (const void *)((const char *)&counts + at);

		weir_tune_counts_of(t, r->set.id, &counts);
		for (enum weir_tune_opt k = 0; k < WEIR_TUNE_OPTS; k++)
			if (r->set.mask & 1U << k)
				weir_prom_value(p, name,
						(struct weir_prom_label[]){
							{ "rule", r->name },
							{ "option", weir_tune_info[k].name },
							{ NULL, NULL } },
						v[k]);
	}
}

static void add_rules(const struct weir_prom *p, const struct weir_tune *t)
{
	weir_prom_head(p, "tune_rule_hits_total", "counter", "Connections that the rule took.");
	for (size_t i = 0; i < t->conf.n; i++) {
		struct weir_rule_hits hits = { 0 };

		weir_rules_hits(&t->rules, t->conf.rules[i].set.id, &hits);
		weir_prom_value(p, "tune_rule_hits_total",
				(struct weir_prom_label[]){ { "rule", t->conf.rules[i].name },
							    { NULL, NULL } },
				hits.hits);
	}
	weir_prom_head(p, "tune_rule_attached", "gauge",
		       "1: the rule's cgroup is there; 0: it has gone.");
	for (size_t i = 0; i < t->conf.n; i++)
		weir_prom_value(p, "tune_rule_attached",
				(struct weir_prom_label[]){ { "rule", t->conf.rules[i].name },
							    { NULL, NULL } },
				weir_tune_is_attached(t, &t->conf.rules[i]));
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_tune_prometheus(const struct weir_tune *t, struct weir_buf *out)
{
	const struct weir_prom p = { out, "tcp" };

	weir_prom_one(&p, "tune_rules", "gauge", "Rules in force.", t ? t->conf.n : 0);
	if (!t || !t->conf.n)
		return;
	add_rules(&p, t);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(of_option); i++) {
		weir_prom_head(&p, of_option[i].name, "counter", of_option[i].help);
		add_options(&p, t, of_option[i].name, of_option[i].at);
	}
}
