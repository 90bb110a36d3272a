/* SPDX-License-Identifier: GPL-2.0-only */
/* list --prometheus: what list tells of rules, as metrics. */
#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/bypass/list.h"

#define RULE(v)                             \
	{                                   \
		"rule", (v)->sums.rule.name \
	}

static uint64_t get_matched(const struct weir_bypass_listed *v)
{
	return v->sums.rule.matched;
}

static uint64_t get_joined(const struct weir_bypass_listed *v)
{
	return v->sums.rule.joined;
}

static uint64_t get_closed(const struct weir_bypass_listed *v)
{
	return v->sums.rule.closed;
}

static uint64_t get_unpaired(const struct weir_bypass_listed *v)
{
	return v->sums.rule.unpaired;
}

static uint64_t get_live(const struct weir_bypass_listed *v)
{
	return v->sums.live;
}

static uint64_t get_attached(const struct weir_bypass_listed *v)
{
	return v->attached;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*get)(const struct weir_bypass_listed *v);
} of_rule[] = {
	{ "rule_matched_total", "counter", "Connects that the rule's match takes.", get_matched },
	{ "rule_joined_total", "counter", "Connections that went by the bypass.", get_joined },
	{ "rule_closed_total", "counter", "Those of them that have ended.", get_closed },
	{ "rule_unpaired_total", "counter",
	  "Connections whose listener is not in the rule's cgroup.", get_unpaired },
	{ "rule_live", "gauge", "Connections that are there.", get_live },
	{ "rule_attached", "gauge", "1: the rule's cgroup is there; 0: it has gone.",
	  get_attached },
};

static void add_causes(const struct weir_prom *p, const struct weir_bypass_listed *v, size_t n)
{
	weir_prom_head(p, "rule_refused_total", "counter",
		       "Connections that matched and were left alone.");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < WEIR_BYPASS_REFUSALS; k++)
			weir_prom_value(
				p, "rule_refused_total",
				(struct weir_prom_label[]){ RULE(&v[i]),
							    { "reason", weir_bypass_refusals[k] },
							    { NULL, NULL } },
				v[i].sums.rule.refused[k]);
	weir_prom_head(p, "rule_left_total", "counter",
		       "Directions of connections that went over to TCP.");
	for (size_t i = 0; i < n; i++)
		for (size_t k = WEIR_BYPASS_ON + 1; k < WEIR_BYPASS_WHYS; k++)
			weir_prom_value(
				p, "rule_left_total",
				(struct weir_prom_label[]){ RULE(&v[i]),
							    { "reason", weir_bypass_whys[k] },
							    { NULL, NULL } },
				v[i].sums.rule.left[k]);
}

/* Gauges: what a writer had back of its last message is taken off again. */
static void add_bytes(const struct weir_prom *p, const struct weir_bypass_listed *v, size_t n)
{
	static const char *const ways[WEIR_BYPASS_SIDES] = { "out", "in" };

	weir_prom_head(p, "rule_bytes", "gauge",
		       "Payload by either road; out is from the initiator to the listener.");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < WEIR_BYPASS_SIDES; k++)
			for (int tcp = 0; tcp < 2; tcp++)
				weir_prom_value(p, "rule_bytes",
						(struct weir_prom_label[]){
							RULE(&v[i]),
							{ "direction", ways[k] },
							{ "road", tcp ? "tcp" : "bypass" },
							{ NULL, NULL } },
						tcp ? v[i].sums.way[k].tcp_bytes :
						      v[i].sums.way[k].bytes);
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_bypass_prometheus(const struct weir_bypass_listed *v, size_t n, struct weir_buf *out)
{
	const struct weir_prom p = { out, "bypass" };

	weir_prom_one(&p, "rules", "gauge", "Rules in force.", n);
	if (!n)
		return;
	for (size_t k = 0; k < WEIR_ARRAY_SIZE(of_rule); k++) {
		weir_prom_head(&p, of_rule[k].name, of_rule[k].type, of_rule[k].help);
		for (size_t i = 0; i < n; i++)
			weir_prom_value(&p, of_rule[k].name,
					(struct weir_prom_label[]){ RULE(&v[i]), { NULL, NULL } },
					of_rule[k].get(&v[i]));
	}
	add_causes(&p, v, n);
	add_bytes(&p, v, n);
}
