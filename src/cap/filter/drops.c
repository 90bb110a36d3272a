/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * drops: what was dropped, by reason and by rule, as a picture that refreshes, as
 * lines, or as JSON. Nothing is held between two looks, so that other commands can
 * change the filter meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/live.h"
#include "base/table.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

struct drop_row { /* an interface at a hook */
	struct weir_policy_iface iface;
	struct weir_filter_account account;
};

struct drop_rule {
	char name[WEIR_RULE_NAME_MAX], owner[WEIR_RULE_OWNER_MAX];
	uint32_t id;
	char action;
	uint64_t packets, bytes;
	char *match;
};

struct picture {
	uint64_t at; /* CLOCK_MONOTONIC ns; 0 = nothing yet */
	struct drop_row rows[WEIR_FILTER_ROWS];
	size_t n_rows;
	struct drop_rule *rules; /* those that can drop */
	size_t n_rules;
};

static void picture_free(struct picture *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		free(p->rules[i].match);
	free(p->rules);
	*p = (struct picture){ 0 };
}

/* ---- Looking */

static int look_at_rule(struct picture *p, const struct weir_filter *f,
			const struct weir_policy_rule *r)
{
	struct drop_rule *d = &p->rules[p->n_rules];
	struct weir_rule_hits h = weir_filter_hits(f, r);
	struct weir_buf match = { 0 };

	weir_policy_print_match(r, &match);
	if (match.failed) {
		weir_buf_free(&match);
		return -ENOMEM;
	}
	*d = (struct drop_rule){ .id = r->id,
				 .action = r->action,
				 .packets = h.hits,
				 .bytes = h.bytes,
				 .match = match.data };
	memcpy(d->name, r->name, sizeof(d->name));
	memcpy(d->owner, r->owner, sizeof(d->owner));
	p->n_rules++;
	return 0;
}

static int look(struct picture *ret, struct weir_error *err)
{
	struct picture p = { .at = weir_clock_mono() };
	struct weir_filter f;
	int r = weir_filter_cmd_open(&f, false, err);

	if (r) {
		*ret = p; /* nothing is filtered: a picture without anything */
		return r < 0 ? r : 0;
	}
	p.rules = calloc(f.policy->n_rules + 1, sizeof(*p.rules));
	r = p.rules ? 0 : -ENOMEM;
	for (size_t i = 0; !r && i < f.policy->n_ifaces; i++) {
		struct weir_filter_iface_info info = { 0 };

		weir_filter_iface_info(&f, &f.policy->ifaces[i], &info);
		p.rows[p.n_rows].iface = f.policy->ifaces[i];
		p.rows[p.n_rows++].account = info.account;
	}
	for (size_t i = 0; !r && i < f.policy->n_rules; i++)
		if (f.policy->rules[i].action != WEIR_POLICY_ALLOW)
			r = look_at_rule(&p, &f, &f.policy->rules[i]);
	weir_filter_close(&f);
	if (r) {
		picture_free(&p);
		return weir_fail(err, r, "out of memory");
	}
	*ret = p;
	return 0;
}

/* ---- What was new since the picture before */

static const struct drop_row *row_before(const struct picture *p, const struct drop_row *row)
{
	for (size_t i = 0; i < p->n_rows; i++)
		if (p->rows[i].iface.hook == row->iface.hook &&
		    p->rows[i].iface.out == row->iface.out &&
		    strcmp(p->rows[i].iface.name, row->iface.name) == 0)
			return &p->rows[i];
	return NULL;
}

static const struct drop_rule *rule_before(const struct picture *p, const struct drop_rule *rule)
{
	for (size_t i = 0; rule->id && i < p->n_rules; i++)
		if (p->rules[i].id == rule->id)
			return &p->rules[i];
	return NULL;
}

/* A counter that began anew has gone back. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static double per_second(const struct picture *now, const struct picture *before, uint64_t n)
{
	return before->at && now->at > before->at ?
		       (double)n * (double)WEIR_NSEC_PER_SEC / (double)(now->at - before->at) :
		       0;
}

/* ---- The picture */

static void add_rate(struct weir_table *t, const struct picture *now, const struct picture *before,
		     uint64_t n)
{
	weir_autobuf struct weir_buf text = { 0 };

	if (before->at)
		weir_buf_add_si(&text, per_second(now, before, n));
	weir_table_add(t, text.data);
}

/* All interfaces' drops of a reason. */
static void sum_reason(const struct picture *p, int reason, uint64_t *packets, uint64_t *bytes)
{
	*packets = *bytes = 0;
	for (size_t i = 0; i < p->n_rows; i++) {
		*packets += p->rows[i].account.dropped[reason];
		*bytes += p->rows[i].account.dropped_bytes[reason];
	}
}

static void table_ifaces(const struct picture *now, const struct picture *before,
			 struct weir_buf *out)
{
	static const char *const head[] = { "INTERFACE", "HOOK",    "DIRECTION", "SEEN",
					    "PASSED",	 "DROPPED", "DROPPED/S" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < now->n_rows; i++) {
		const struct drop_row *row = &now->rows[i], *old = row_before(before, row);
		uint64_t n = weir_filter_dropped(&row->account);

		weir_table_add(&t, row->iface.name);
		weir_table_add(&t, weir_policy_hook_names[row->iface.hook]);
		weir_table_add(&t, weir_filter_directions[row->iface.out ? 1 : 0]);
		weir_filter_table_add_grouped(&t, row->account.seen);
		weir_filter_table_add_grouped(&t, row->account.passed);
		weir_filter_table_add_grouped(&t, n);
		add_rate(&t, now, before, since(n, old ? weir_filter_dropped(&old->account) : 0));
	}
	weir_table_render(&t, 0, out);
}

static void table_reasons(const struct picture *now, const struct picture *before,
			  struct weir_buf *out)
{
	static const char *const head[] = { "REASON", "PACKETS", "BYTES", "PACKETS/S", "WHAT" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (int i = WEIR_DROP_NONE + 1; i < WEIR_DROP_REASONS; i++) {
		uint64_t packets, bytes, old, old_bytes;

		sum_reason(now, i, &packets, &bytes);
		sum_reason(before, i, &old, &old_bytes);
		if (!packets)
			continue;
		weir_table_add(&t, weir_filter_reasons[i]);
		weir_filter_table_add_grouped(&t, packets);
		weir_filter_table_add_grouped(&t, bytes);
		add_rate(&t, now, before, since(packets, old));
		weir_table_add(&t, weir_filter_reason_texts[i]);
	}
	weir_table_render(&t, 0, out);
}

static void table_rules(const struct picture *now, const struct picture *before, size_t most,
			struct weir_buf *out)
{
	static const char *const head[] = { "RULE",  "OWNER",	  "ACTION", "PACKETS",
					    "BYTES", "PACKETS/S", "MATCH" };
	weir_autotable struct weir_table t;
	size_t shown = 0, left = 0;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < now->n_rules; i++) {
		const struct drop_rule *r = &now->rules[i], *old = rule_before(before, r);

		if (!r->packets)
			continue;
		if (shown == most) {
			left++;
			continue;
		}
		shown++;
		weir_table_add(&t, r->name);
		weir_table_add(&t, r->owner);
		weir_table_add(&t, weir_filter_actions[(int)r->action]);
		weir_filter_table_add_grouped(&t, r->packets);
		weir_filter_table_add_grouped(&t, r->bytes);
		add_rate(&t, now, before, since(r->packets, old ? old->packets : 0));
		weir_table_add(&t, r->match ? r->match : "all");
	}
	weir_table_render(&t, 0, out);
	if (left)
		weir_buf_addf(out, "(%zu more)\n", left);
}

static void render_picture(const struct picture *now, const struct picture *before, size_t most,
			   struct weir_buf *out)
{
	bool any = false, by_rule = false;

	for (size_t i = 0; i < now->n_rows; i++)
		any = any || weir_filter_dropped(&now->rows[i].account);
	if (!now->n_rows) {
		weir_buf_adds(out, "Nothing is filtered in this network namespace.\n");
		return;
	}
	table_ifaces(now, before, out);
	weir_buf_addc(out, '\n');
	if (!any) {
		weir_buf_adds(out, "Nothing has been dropped.\n");
		return;
	}
	table_reasons(now, before, out);
	for (size_t i = 0; i < now->n_rules; i++)
		by_rule = by_rule || now->rules[i].packets;
	if (by_rule) {
		weir_buf_addc(out, '\n');
		table_rules(now, before, most, out);
	}
}

/* ---- Lines: what was dropped since the last look */

static void add_line_end(struct weir_buf *out, uint64_t packets, uint64_t bytes)
{
	weir_buf_adds(out, ": ");
	weir_buf_add_grouped(out, packets);
	weir_buf_adds(out, packets == 1 ? " packet, " : " packets, ");
	weir_buf_add_grouped(out, bytes);
	weir_buf_adds(out, " bytes\n");
}

static void lines_row(const struct drop_row *row, const struct drop_row *old, struct weir_buf *out)
{
	for (int i = WEIR_DROP_NONE + 1; i < WEIR_DROP_REASONS; i++) {
		uint64_t n = since(row->account.dropped[i], old ? old->account.dropped[i] : 0);
		uint64_t bytes = since(row->account.dropped_bytes[i],
				       old ? old->account.dropped_bytes[i] : 0);

		if (!n)
			continue;
		weir_buf_add_clock(out, weir_clock_real());
		weir_buf_addf(out, " %s %s %s %s", row->iface.name,
			      weir_policy_hook_names[row->iface.hook],
			      weir_filter_directions[row->iface.out ? 1 : 0],
			      weir_filter_reasons[i]);
		add_line_end(out, n, bytes);
	}
}

static void render_lines(const struct picture *now, const struct picture *before,
			 struct weir_buf *out)
{
	for (size_t i = 0; before->at && i < now->n_rows; i++)
		lines_row(&now->rows[i], row_before(before, &now->rows[i]), out);
	for (size_t i = 0; before->at && i < now->n_rules; i++) {
		const struct drop_rule *r = &now->rules[i], *old = rule_before(before, r);
		uint64_t n = since(r->packets, old ? old->packets : 0);

		if (!n)
			continue;
		weir_buf_add_clock(out, weir_clock_real());
		weir_buf_addf(out, " %s %s", weir_filter_actions[(int)r->action], r->name);
		add_line_end(out, n, since(r->bytes, old ? old->bytes : 0));
	}
}

/* ---- JSON: the counters as they stand */

static void render_json(const struct picture *now, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_time(&j, "ts", weir_clock_real());
	weir_json_str(&j, "verb", "filter");
	weir_json_array(&j, "interfaces");
	for (size_t i = 0; i < now->n_rows; i++) {
		weir_filter_json_account(&j, &now->rows[i].iface, &now->rows[i].account);
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_array(&j, "rules");
	for (size_t i = 0; i < now->n_rules; i++) {
		const struct drop_rule *r = &now->rules[i];

		weir_json_object(&j, NULL);
		weir_json_str(&j, "name", r->name);
		weir_json_str(&j, "owner", r->owner);
		weir_json_str(&j, "action", weir_filter_actions[(int)r->action]);
		weir_json_str(&j, "match", r->match);
		weir_json_uint(&j, "hits", r->packets);
		weir_json_uint(&j, "bytes", r->bytes);
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

/* ---- The run */

static int show(const struct weir_filter_cmd *c, struct weir_live *l, const struct picture *now,
		const struct picture *before, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	int rows = 0, columns;

	if (l->screen)
		weir_term_size(STDOUT_FILENO, &columns, &rows);
	if (c->json)
		render_json(now, &out);
	else if (l->screen || c->once)
		render_picture(now, before,
			       rows > 24 ? (size_t)rows - 16 :
			       l->screen ? 8 :
					   SIZE_MAX,
			       &out);
	else
		render_lines(now, before, &out);
	return weir_live_show(l, &out, err); /* -ENOMEM where an append failed */
}

/* With --once there is one picture: at once, or with --for at the end, which can tell
 * rates. Otherwise the end has a last one too, so that nothing counted is left out. */
static int run(struct weir_filter_cmd *c, struct weir_live *l, struct weir_error *err)
{
	struct picture before = { 0 }, now = { 0 };
	bool more = !c->once || l->end;
	int ret;

	for (;;) {
		picture_free(&before);
		before = now;
		now = (struct picture){ 0 };
		ret = look(&now, err);
		if (!ret && (!c->once || !more))
			ret = show(c, l, &now, &before, err);
		if (ret || !more)
			break;
		more = weir_live_wait(l, -1) == WEIR_LIVE_LOOK;
	}
	picture_free(&before);
	picture_free(&now);
	return ret;
}

int weir_filter_do_drops(struct weir_filter_cmd *c, struct weir_error *err)
{
	bool screen = isatty(STDOUT_FILENO) && !c->json && !c->once;
	struct weir_live l;
	int ret = weir_live_open(&l, screen, WEIR_NSEC_PER_SEC, c->for_ns, err);

	if (ret)
		return ret;
	ret = run(c, &l, err);
	weir_live_close(&l);
	return ret == -EPIPE ? WEIR_EXIT_DONE : ret;
}
