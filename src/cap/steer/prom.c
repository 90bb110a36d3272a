/* SPDX-License-Identifier: GPL-2.0-only */
/* list --prometheus: what list tells, as metrics. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/steer/steer_cmd.h"

static uint64_t get_hits(const struct weir_steer_view *v)
{
	return v->hits.hits;
}

static uint64_t get_misses(const struct weir_steer_view *v)
{
	return v->lost.misses;
}

static uint64_t get_errors(const struct weir_steer_view *v)
{
	return v->lost.errors;
}

static uint64_t get_members(const struct weir_steer_view *v)
{
	return v->members;
}

static uint64_t get_present(const struct weir_steer_view *v)
{
	return v->present;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*get)(const struct weir_steer_view *v);
} of_rule[] = {
	{ "rule_hits_total", "counter", "Connections given to the rule's socket.", get_hits },
	{ "rule_misses_total", "counter", "Connections that found the rule's sockets gone.",
	  get_misses },
	{ "rule_errors_total", "counter", "Connections whose socket the kernel refused.",
	  get_errors },
	{ "rule_sockets", "gauge", "Sockets that the rule leads to.", get_members },
	{ "rule_sockets_present", "gauge", "Those of them that are there.", get_present },
};

static void print_account(const struct weir_prom *p, const struct weir_steer_account *a)
{
	const struct weir_prom_label miss[] = { { "reason", "miss" }, { NULL, NULL } },
				     error[] = { { "reason", "error" }, { NULL, NULL } };

	weir_prom_one(p, "seen_total", "counter", "Look-ups of sockets for new connections.",
		      a->seen);
	weir_prom_one(p, "passed_total", "counter", "Look-ups left to the kernel.", a->passed);
	weir_prom_one(p, "steered_total", "counter", "Look-ups that a rule's socket answered.",
		      a->steered);
	weir_prom_head(p, "dropped_total", "counter",
		       "Connections refused: the rule's sockets were gone (miss), or the kernel "
		       "refused them (error).");
	weir_prom_value(p, "dropped_total", miss, a->dropped_miss);
	weir_prom_value(p, "dropped_total", error, a->dropped_error);
}

static void print_rules(const struct weir_prom *p, const struct weir_steer *s,
			const struct weir_steer_view *views)
{
	for (size_t k = 0; k < WEIR_ARRAY_SIZE(of_rule); k++) {
		weir_prom_head(p, of_rule[k].name, of_rule[k].type, of_rule[k].help);
		for (size_t i = 0; i < s->conf.n_rules; i++)
			weir_prom_value(p, of_rule[k].name,
					(struct weir_prom_label[]){
						{ "rule", s->conf.rules[i].name }, { NULL, NULL } },
					of_rule[k].get(&views[i]));
	}
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_steer_prometheus(const struct weir_steer *s, struct weir_buf *out)
{
	const struct weir_prom p = { out, "steer" };
	struct weir_steer_account account = { 0 };
	size_t n = s ? s->conf.n_rules : 0;
	weir_autofree struct weir_steer_view *views = calloc(n + 1, sizeof(*views));

	if (!views) {
		out->failed = true; /* told when it is to be written */
		return;
	}
	if (s)
		weir_steer_account_of(s, &account);
	for (size_t i = 0; i < n; i++)
		views[i] = weir_steer_view_of(s, &s->conf.rules[i]);
	weir_prom_one(&p, "rules", "gauge", "Rules in force.", n);
	print_account(&p, &account);
	if (n)
		print_rules(&p, s, views);
}
