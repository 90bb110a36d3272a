/* SPDX-License-Identifier: GPL-2.0-only */
/* list --prometheus: what list tells, as metrics. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/prom.h"
#include "cap/fault/fault_cmd.h"

static const struct {
	const char *name, *help;
	size_t at; /* in struct weir_fault_account */
} of_rule[] = {
	{ "rule_matched_total", "Packets that the rule was about (truncate: segments).",
	  offsetof(struct weir_fault_account, matched) },
	{ "rule_hits_total", "Those of them that the fault befell.",
	  offsetof(struct weir_fault_account, hit) },
	{ "rule_bytes_total", "Bytes of what the fault befell (truncate: that were cut off).",
	  offsetof(struct weir_fault_account, hit_bytes) },
	{ "rule_passed_total", "Packets that the rule was about and let through whole.",
	  offsetof(struct weir_fault_account, passed) },
};

static void add_rule(const struct weir_prom *p, const char *name,
		     const struct weir_fault_conf_rule *r, uint64_t value)
{
	weir_prom_value(p, name,
			(struct weir_prom_label[]){ { "rule", r->name },
						    { "kind", weir_fault_kinds[r->kind] },
						    { NULL, NULL } },
			value);
}

static void add_rules(const struct weir_prom *p, const struct weir_fault *f,
		      const struct weir_fault_account *accounts)
{
	for (size_t k = 0; k < WEIR_ARRAY_SIZE(of_rule); k++) {
		weir_prom_head(p, of_rule[k].name, "counter", of_rule[k].help);
		for (size_t i = 0; i < f->conf.n; i++) {
			__u64 v;

			memcpy(&v, (const char *)&accounts[i] + of_rule[k].at, sizeof(v));
			add_rule(p, of_rule[k].name, &f->conf.v[i], v);
		}
	}
	weir_prom_head(p, "rule_left_seconds", "gauge", "Time until the rule ends by itself.");
	for (size_t i = 0; i < f->conf.n; i++)
		add_rule(p, "rule_left_seconds", &f->conf.v[i],
			 (f->conf.v[i].expires - f->boot) / WEIR_NSEC_PER_SEC);
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_fault_prometheus(const struct weir_fault *f, struct weir_buf *out)
{
	const struct weir_prom p = { out, "fault" };
	size_t n = f ? f->conf.n : 0;
	weir_autofree struct weir_fault_account *accounts = calloc(n + 1, sizeof(*accounts));
	struct weir_fault_account none = { 0 };

	if (!accounts) {
		out->failed = true; /* told when it is to be written */
		return;
	}
	if (f)
		weir_fault_account_of(f, 0, &none);
	for (size_t i = 0; i < n; i++)
		weir_fault_account_of(f, f->conf.v[i].slot, &accounts[i]);
	weir_prom_one(&p, "rules", "gauge", "Rules in force.", n);
	weir_prom_one(&p, "unmatched_total", "counter", "Packets at tc that no rule was about.",
		      none.matched);
	if (n)
		add_rules(&p, f, accounts);
}
