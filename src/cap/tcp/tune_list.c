/* SPDX-License-Identifier: GPL-2.0-only */
/* list: rules with what they counted; failures: the connections behind the numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/tcp/tune_cmd.h"
#include "policy/engine.h"

/* The clocks of one look. */
struct look {
	struct weir_tune t;
	bool any; /* something is tuned */
	uint64_t real, jiffies, boot, tick;
};

static int look_open(struct look *l, struct weir_error *err)
{
	int ret = weir_filter_clock(&l->jiffies, &l->boot, &l->tick, err);

	l->real = weir_clock_real();
	if (!ret)
		ret = weir_tune_open(&l->t, false, err);
	l->any = !ret;
	return ret == -ENOENT ? 0 : ret;
}

static void look_close(struct look *l)
{
	if (l->any)
		weir_tune_close(&l->t);
}

static const char *rule_name(const struct look *l, uint32_t id)
{
	for (size_t i = 0; i < l->t.conf.n; i++)
		if (l->t.conf.rules[i].set.id == id)
			return l->t.conf.rules[i].name;
	return NULL; /* deleted since */
}

/* ---- list */

static void text_rule(const struct look *l, const struct weir_tune_spec *r, struct weir_table *t,
		      struct weir_buf *below)
{
	weir_autobuf struct weir_buf match = { 0 }, set = { 0 }, hits = { 0 };
	struct weir_tune_counts c = { 0 };
	struct weir_rule_hits h = { 0 };
	uint64_t failed = 0;

	weir_tune_print_match(r, &match);
	weir_tune_print_set(r, &set);
	weir_rules_hits(&l->t.rules, r->set.id, &h);
	weir_tune_counts_of(&l->t, r->set.id, &c);
	weir_buf_add_grouped(&hits, h.hits);
	for (enum weir_tune_opt i = 0; i < WEIR_TUNE_OPTS; i++) {
		failed += c.failed[i];
		if (c.failed[i])
			weir_buf_addf(below, "%s: --%s failed %llu time%s, last: %s\n", r->name,
				      weir_tune_info[i].name, (unsigned long long)c.failed[i],
				      c.failed[i] == 1 ? "" : "s", strerror(-c.error[i]));
		if (c.limited[i])
			weir_buf_addf(below, "%s: --%s was cut down (%llu), net.core.%s is lower\n",
				      r->name, weir_tune_info[i].name,
				      (unsigned long long)c.limited[i],
				      i == WEIR_TUNE_RCVBUF ? "rmem_max" : "wmem_max");
	}
	weir_table_add(t, r->name);
	weir_table_add(t, hits.data);
	weir_table_addf(t, "%llu", (unsigned long long)failed);
	weir_table_add(t, match.len ? match.data : "all");
	weir_table_addf(t, "%s%s", *r->cgroup ? r->cgroup : "all",
			weir_tune_is_attached(&l->t, r) ? "" : " (gone)");
	weir_table_add(t, set.data);
}

static void list_text(const struct look *l, struct weir_buf *out)
{
	static const char *const head[] = { "RULE",  "CONNECTIONS", "FAILED",
					    "MATCH", "CGROUP",	    "SETS" };
	weir_autobuf struct weir_buf below = { 0 };
	weir_autotable struct weir_table t = { 0 };

	if (!l->any) {
		weir_buf_adds(out, "Nothing is tuned in this network namespace.\n");
		return;
	}
	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < l->t.conf.n; i++)
		text_rule(l, &l->t.conf.rules[i], &t, &below);
	weir_table_render(&t, 0, out);
	if (below.len)
		weir_buf_addf(out, "\n%s", below.data);
}

static void json_options(const struct weir_tune_spec *r, const struct weir_tune_counts *c,
			 struct weir_json *j)
{
	weir_json_array(j, "options");
	for (enum weir_tune_opt i = 0; i < WEIR_TUNE_OPTS; i++) {
		weir_autobuf struct weir_buf value = { 0 };

		if (!(r->set.mask & 1U << i))
			continue;
		weir_tune_print_value(r, i, &value);
		weir_json_object(j, NULL);
		weir_json_str(j, "name", weir_tune_info[i].name);
		weir_json_str(j, "value", value.data);
		weir_json_uint(j, "set", c->set[i]);
		weir_json_uint(j, "failed", c->failed[i]);
		weir_json_uint(j, "limited", c->limited[i]);
		if (c->failed[i])
			weir_json_str(j, "last_error", strerrorname_np(-c->error[i]));
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_rule(const struct look *l, const struct weir_tune_spec *r, struct weir_json *j)
{
	weir_autobuf struct weir_buf match = { 0 }, set = { 0 };
	struct weir_tune_counts c = { 0 };
	struct weir_rule_hits h = { 0 };
	uint64_t errors = 0;

	weir_tune_print_match(r, &match);
	weir_tune_print_set(r, &set);
	weir_rules_hits(&l->t.rules, r->set.id, &h);
	weir_tune_counts_of(&l->t, r->set.id, &c);
	for (int i = 0; i < WEIR_TUNE_OPTS; i++)
		errors += c.failed[i];
	weir_json_object(j, NULL);
	weir_json_str(j, "name", r->name);
	weir_json_str(j, "verb", "tcp");
	weir_json_str(j, "owner", WEIR_TUNE_OWNER);
	weir_json_str(j, "match", match.len ? match.data : NULL);
	weir_json_str(j, "action", set.data);
	weir_json_str(j, "cgroup", *r->cgroup ? r->cgroup : NULL);
	weir_json_bool(j, "all_netns", r->all_netns);
	weir_json_bool(j, "attached", weir_tune_is_attached(&l->t, r));
	weir_json_uint(j, "hits", h.hits);
	weir_json_uint(j, "errors", errors);
	if (h.last)
		weir_json_time(j, "last_hit_ts",
			       l->real -
				       (l->jiffies > h.last ? (l->jiffies - h.last) * l->tick : 0));
	json_options(r, &c, j);
	weir_json_end_object(j);
}

/* ---- failures */

static void text_failure(const struct look *l, const struct weir_tune_failure *f,
			 struct weir_table *t)
{
	weir_autobuf struct weir_buf at = { 0 };
	const char *name = rule_name(l, f->rule);
	char local[WEIR_ADDR_STRLEN], remote[WEIR_ADDR_STRLEN];
	struct weir_addr a, b;

	memcpy(a.b, f->ends.local, sizeof(a.b));
	memcpy(b.b, f->ends.remote, sizeof(b.b));
	weir_buf_add_rfc3339(&at, l->real - (l->boot - f->at));
	weir_table_add(t, at.data);
	weir_table_add(t, name);
	weir_table_addf(t, weir_addr_is_v4(&a) ? "%s:%u" : "[%s]:%u", weir_addr_str(&a, local),
			f->ends.lport);
	weir_table_addf(t, weir_addr_is_v4(&b) ? "%s:%u" : "[%s]:%u", weir_addr_str(&b, remote),
			f->ends.rport);
	weir_table_addf(t, "--%s", weir_tune_info[f->opt].name);
	weir_table_add(t, strerror(-f->error));
}

static void failures_text(const struct look *l, struct weir_buf *out)
{
	static const char *const head[] = { "TIME", "RULE", "LOCAL", "REMOTE", "OPTION", "ERROR" };
	weir_autofree struct weir_tune_failure *v = calloc(WEIR_TUNE_FAILURES, sizeof(*v));
	weir_autotable struct weir_table t = { 0 };
	uint64_t total = 0;
	size_t n = l->any && v ? weir_tune_failures_of(&l->t, v, &total) : 0;

	out->failed |= !v;
	if (!total) {
		weir_buf_adds(out, "No option was refused.\n");
		return;
	}
	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < n; i++)
		text_failure(l, &v[i], &t);
	weir_table_render(&t, 0, out);
	if (total > n)
		weir_buf_addf(out, "\n%llu in all; the last %zu are kept\n",
			      (unsigned long long)total, n);
}

static void json_failure(const struct look *l, const struct weir_tune_failure *f,
			 struct weir_json *j)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr a;

	weir_json_object(j, NULL);
	weir_json_time(j, "ts", l->real - (l->boot - f->at));
	weir_json_str(j, "rule", rule_name(l, f->rule));
	weir_json_str(j, "option", weir_tune_info[f->opt].name);
	weir_json_str(j, "error", strerrorname_np(-f->error));
	memcpy(a.b, f->ends.local, sizeof(a.b));
	weir_json_str(j, "local_ip", weir_addr_str(&a, text));
	weir_json_uint(j, "local_port", f->ends.lport);
	memcpy(a.b, f->ends.remote, sizeof(a.b));
	weir_json_str(j, "remote_ip", weir_addr_str(&a, text));
	weir_json_uint(j, "remote_port", f->ends.rport);
	weir_json_uint(j, "cookie", f->ends.cookie);
	weir_json_uint(j, "netns", f->ends.netns);
	weir_json_end_object(j);
}

static void json_failures(const struct look *l, struct weir_json *j)
{
	weir_autofree struct weir_tune_failure *v = calloc(WEIR_TUNE_FAILURES, sizeof(*v));
	uint64_t total = 0;
	size_t n = l->any && v ? weir_tune_failures_of(&l->t, v, &total) : 0;

	j->out->failed |= !v;
	weir_json_array(j, "failures");
	for (size_t i = 0; i < n; i++)
		json_failure(l, &v[i], j);
	weir_json_end_array(j);
	weir_json_uint(j, "failures_total", total);
}

/* ---- Both */

static int render(struct weir_tune_cmd *c, bool rules, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;
	struct look l = { 0 };
	int ret = look_open(&l, err);

	if (ret)
		return ret;
	if (c->prometheus) {
		weir_tune_prometheus(l.any ? &l.t : NULL, &out);
	} else if (c->json) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		if (rules)
			weir_json_array(&j, "rules");
		for (size_t i = 0; rules && l.any && i < l.t.conf.n; i++)
			json_rule(&l, &l.t.conf.rules[i], &j);
		if (rules)
			weir_json_end_array(&j);
		json_failures(&l, &j);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else if (rules) {
		list_text(&l, &out);
	} else {
		failures_text(&l, &out);
	}
	look_close(&l);
	return weir_verb_print("tcp tune", &out, WEIR_EXIT_DONE);
}

int weir_tune_do_list(struct weir_tune_cmd *c, struct weir_error *err)
{
	return render(c, true, err);
}

int weir_tune_do_failures(struct weir_tune_cmd *c, struct weir_error *err)
{
	return render(c, false, err);
}
