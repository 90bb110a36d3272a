/* SPDX-License-Identifier: GPL-2.0-only */
/* list: interfaces and rules with what they counted. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

const char *const weir_filter_actions[] = {
	[WEIR_POLICY_ALLOW] = "allow",
	[WEIR_POLICY_DENY] = "deny",
	[WEIR_POLICY_LIMIT] = "limit",
};

struct view {
	struct weir_filter *f;
	uint64_t jiffies, boot, tick; /* now */
	int64_t to_real;	      /* what makes wall-clock time of CLOCK_BOOTTIME */
};

static int view_init(struct view *v, struct weir_filter *f, struct weir_error *err)
{
	int ret = weir_filter_clock(&v->jiffies, &v->boot, &v->tick, err);

	v->f = f;
	v->to_real = (int64_t)(weir_clock_real() - v->boot);
	return ret;
}

/* CLOCK_BOOTTIME of the last hit; 0 = never. */
static uint64_t last_hit(const struct view *v, const struct weir_rule_hits *h)
{
	uint64_t ago = v->jiffies > h->last ? (v->jiffies - h->last) * v->tick : 0;

	return !h->last ? 0 : v->boot > ago ? v->boot - ago : 1;
}

struct weir_rule_hits weir_filter_hits(const struct weir_filter *f,
				       const struct weir_policy_rule *r)
{
	struct weir_rule_hits h = { 0 };

	if (r->id && weir_rules_hits(&f->rules, r->id, &h))
		h = (struct weir_rule_hits){ 0 };
	return h;
}

uint64_t weir_filter_dropped(const struct weir_filter_account *a)
{
	uint64_t n = 0;

	for (int i = 0; i < WEIR_DROP_REASONS; i++)
		n += a->dropped[i];
	return n;
}

static const char *state_text(const struct weir_filter_iface_info *info)
{
	switch (info->state) {
	case WEIR_IFACE_ON:
		return info->no_replies ? "replies are not learnt: weir filter reattach" :
					  info->mode;
	case WEIR_IFACE_GONE:
		return "detached: interface gone";
	case WEIR_IFACE_DETACHED:
		break;
	}
	return "detached";
}

/* The state of one that has another name now than in the policy says so. */
static void add_state(struct weir_table *t, const struct weir_policy_iface *i,
		      const struct weir_filter_iface_info *info)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_adds(&text, state_text(info));
	if (i->owner[0])
		weir_buf_addf(&text, " (for weir %s)", i->owner);
	if (info->called[0])
		weir_buf_addf(&text, " (now called %s)", info->called);
	weir_table_add(t, text.data);
}

/* ---- Text */

void weir_filter_table_add_grouped(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, v);
	weir_table_add(t, text.data);
}

static void text_ifaces(const struct view *v, struct weir_buf *out)
{
	static const char *const head[] = { "INTERFACE", "HOOK", "DIRECTION", "MODE",
					    "DEFAULT",	 "SEEN", "PASSED",    "DROPPED" };
	const struct weir_policy *p = v->f->policy;
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	if (!p->n_ifaces)
		weir_buf_adds(out, "No interface is filtered.\n");
	for (size_t i = 0; i < p->n_ifaces; i++) {
		struct weir_filter_iface_info info = { .state = WEIR_IFACE_DETACHED };

		weir_filter_iface_info(v->f, &p->ifaces[i], &info);
		weir_table_add(&t, p->ifaces[i].name);
		weir_table_add(&t, weir_policy_hook_names[p->ifaces[i].hook]);
		weir_table_add(&t, weir_filter_directions[p->ifaces[i].out ? 1 : 0]);
		add_state(&t, &p->ifaces[i], &info);
		weir_table_add(&t, weir_filter_defaults[p->ifaces[i].row.drop]);
		weir_filter_table_add_grouped(&t, info.account.seen);
		weir_filter_table_add_grouped(&t, info.account.passed);
		weir_filter_table_add_grouped(&t, weir_filter_dropped(&info.account));
	}
	if (p->n_ifaces)
		weir_table_render(&t, 0, out);
}

static void add_match(struct weir_table *t, const struct weir_policy_rule *r)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_policy_print_match(r, &text);
	weir_table_add(t, text.len ? text.data : "all");
}

static void add_times(const struct view *v, struct weir_table *t, const struct weir_policy_rule *r,
		      const struct weir_rule_hits *h)
{
	weir_autobuf struct weir_buf last = { 0 }, left = { 0 };
	uint64_t at = last_hit(v, h);

	if (at) {
		weir_buf_add_duration(&last, v->boot - at);
		weir_buf_adds(&last, " ago");
	}
	if (r->expires) {
		weir_buf_adds(&left, "in ");
		weir_buf_add_duration(&left, r->expires > v->boot ? r->expires - v->boot : 0);
	}
	weir_table_add(t, last.data);
	weir_table_add(t, left.data);
}

static void text_rules(const struct view *v, struct weir_buf *out)
{
	static const char *const head[] = { "RULE", "OWNER", "ACTION",	 "MATCH",
					    "HITS", "BYTES", "LAST HIT", "EXPIRES" };
	const struct weir_policy *p = v->f->policy;
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < p->n_rules; i++) {
		struct weir_rule_hits h = weir_filter_hits(v->f, &p->rules[i]);

		weir_table_add(&t, p->rules[i].name);
		weir_table_add(&t, p->rules[i].owner);
		weir_table_add(&t, weir_filter_actions[(int)p->rules[i].action]);
		add_match(&t, &p->rules[i]);
		weir_filter_table_add_grouped(&t, h.hits);
		weir_filter_table_add_grouped(&t, h.bytes);
		add_times(v, &t, &p->rules[i], &h);
	}
	weir_table_render(&t, 0, out);
}

static void render_text(const struct view *v, struct weir_buf *out)
{
	text_ifaces(v, out);
	if (v->f->policy->n_rules) {
		weir_buf_addc(out, '\n');
		text_rules(v, out);
	}
	if (v->f->deadline > v->boot) {
		weir_buf_adds(out, "\nNot confirmed: in ");
		weir_buf_add_duration(out, v->f->deadline - v->boot);
		weir_buf_adds(out, " the policy before this one is in force again.\n");
	}
}

/* ---- JSON */

static void json_time(const struct view *v, struct weir_json *j, const char *key, uint64_t boot)
{
	if (boot)
		weir_json_time(j, key, (uint64_t)((int64_t)boot + v->to_real));
}

static void json_reasons(struct weir_json *j, const char *key, const __u64 *n)
{
	weir_json_object(j, key);
	for (int i = WEIR_DROP_NONE + 1; i < WEIR_DROP_REASONS; i++)
		if (n[i])
			weir_json_uint(j, weir_filter_reasons[i], n[i]);
	weir_json_end_object(j);
}

void weir_filter_json_account(struct weir_json *j, const struct weir_policy_iface *i,
			      const struct weir_filter_account *a)
{
	weir_json_object(j, NULL);
	weir_json_str(j, "iface", i->name);
	weir_json_str(j, "hook", weir_policy_hook_names[i->hook]);
	weir_json_str(j, "direction", weir_filter_directions[i->out ? 1 : 0]);
	weir_json_str(j, "owner", i->owner[0] ? i->owner : "filter");
	weir_json_uint(j, "seen", a->seen);
	weir_json_uint(j, "seen_bytes", a->seen_bytes);
	weir_json_uint(j, "passed", a->passed);
	weir_json_uint(j, "replies", a->replies);
	weir_json_uint(j, "essential", a->essential);
	json_reasons(j, "dropped", a->dropped);
	json_reasons(j, "dropped_bytes", a->dropped_bytes);
}

static void json_ifaces(const struct view *v, struct weir_json *j)
{
	const struct weir_policy *p = v->f->policy;

	weir_json_array(j, "interfaces");
	for (size_t i = 0; i < p->n_ifaces; i++) {
		struct weir_filter_iface_info info = { .state = WEIR_IFACE_DETACHED };

		weir_filter_iface_info(v->f, &p->ifaces[i], &info);
		weir_filter_json_account(j, &p->ifaces[i], &info.account);
		weir_json_str(j, "state",
			      info.state == WEIR_IFACE_ON && !info.no_replies ? "on" :
										state_text(&info));
		if (info.state == WEIR_IFACE_ON)
			weir_json_str(j, "mode", info.mode);
		if (info.called[0])
			weir_json_str(j, "called", info.called);
		weir_json_str(j, "default", weir_filter_defaults[p->ifaces[i].row.drop]);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_rule(const struct view *v, struct weir_json *j, const struct weir_policy_rule *r)
{
	weir_autobuf struct weir_buf match = { 0 }, text = { 0 };
	struct weir_rule_hits h = weir_filter_hits(v->f, r);

	weir_policy_print_match(r, &match);
	weir_policy_print_rule(r, v->boot, &text);
	weir_json_object(j, NULL);
	weir_json_str(j, "name", r->name);
	weir_json_str(j, "verb", "filter");
	weir_json_str(j, "owner", r->owner);
	if (match.len)
		weir_json_str(j, "match", match.data);
	weir_json_str(j, "action", weir_filter_actions[(int)r->action]);
	weir_json_str(j, "text", text.data);
	weir_json_uint(j, "hits", h.hits);
	weir_json_uint(j, "bytes", h.bytes);
	json_time(v, j, "last_hit_ts", last_hit(v, &h));
	json_time(v, j, "expires_ts", r->expires);
	if (r->note[0])
		weir_json_str(j, "note", r->note);
	weir_json_end_object(j);
}

static void render_json(const struct view *v, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (v) {
		json_ifaces(v, &j);
		weir_json_array(&j, "rules");
		for (size_t i = 0; i < v->f->policy->n_rules; i++)
			json_rule(v, &j, &v->f->policy->rules[i]);
		weir_json_end_array(&j);
		json_time(v, &j, "confirm_until_ts", v->f->deadline);
	} else {
		weir_json_array(&j, "interfaces");
		weir_json_end_array(&j);
		weir_json_array(&j, "rules");
		weir_json_end_array(&j);
	}
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_filter_do_list(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_filter f;
	struct view v;
	int ret = weir_filter_cmd_open(&f, false, err);

	if (ret < 0)
		return ret;
	if (ret > 0 && c->prometheus)
		weir_filter_prometheus(NULL, &out);
	else if (ret > 0 && c->json)
		render_json(NULL, &out);
	else if (ret > 0)
		weir_buf_adds(&out, "Nothing is filtered in this network namespace.\n");
	if (ret > 0)
		return weir_verb_print("filter", &out, WEIR_EXIT_DONE);
	ret = view_init(&v, &f, err);
	if (!ret && c->prometheus)
		weir_filter_prometheus(&f, &out);
	else if (!ret && c->json)
		render_json(&v, &out);
	else if (!ret)
		render_text(&v, &out);
	weir_filter_close(&f);
	return ret ? ret : weir_verb_print("filter", &out, WEIR_EXIT_DONE);
}
