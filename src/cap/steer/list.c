/* SPDX-License-Identifier: GPL-2.0-only */
/* list: rules with their sockets and what they counted. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/steer/steer_cmd.h"

static void count_sockets(const struct weir_steer *s, const struct weir_steer_rule *r,
			  struct weir_steer_view *v)
{
	for (int p = 0; p < WEIR_STEER_PROTOS; p++) {
		const struct weir_steer_target *t =
			weir_steer_conf_target(&s->conf, r->to, (enum weir_steer_proto)p);

		if (!t || !(r->protos & 1U << p))
			continue;
		for (uint32_t i = 0; i < t->members; i++) {
			bool there = false;

			for (uint32_t k = 0; k < WEIR_STEER_SPARE; k++)
				there |= weir_steer_cookie(s, t->first + i * WEIR_STEER_SPARE + k);
			v->present += there;
			v->members++;
		}
	}
}

struct weir_steer_view weir_steer_view_of(const struct weir_steer *s,
					  const struct weir_steer_rule *r)
{
	struct weir_steer_view v = { 0 };
	uint64_t real = weir_clock_real();

	weir_rules_hits(&s->rules, r->id, &v.hits);
	weir_steer_lost_of(s, r->id, &v.lost);
	count_sockets(s, r, &v);
	if (v.hits.last)
		v.last = real - (s->clock.jiffies > v.hits.last ?
					 (s->clock.jiffies - v.hits.last) * s->clock.tick :
					 0);
	if (r->expires)
		v.expires = real + (r->expires - s->clock.boot);
	return v;
}

/* ---- Text */

static void add_grouped(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, v);
	weir_table_add(t, text.data);
}

static void text_rule(const struct weir_steer *s, const struct weir_steer_rule *r,
		      struct weir_table *t)
{
	weir_autobuf struct weir_buf match = { 0 }, to = { 0 }, ttl = { 0 };
	struct weir_steer_view v = weir_steer_view_of(s, r);

	weir_steer_print_match(r, &match);
	weir_buf_adds(&to, r->to);
	if (v.present < v.members)
		weir_buf_addf(&to, " (%u of %u there, else %s)", v.present, v.members,
			      weir_steer_on_misses[r->on_miss]);
	if (r->expires) {
		weir_buf_adds(&ttl, "in ");
		weir_buf_add_duration(&ttl, r->expires - s->clock.boot);
	}
	weir_table_add(t, r->name);
	weir_table_add(t, match.data);
	weir_table_add(t, to.data);
	add_grouped(t, v.hits.hits);
	add_grouped(t, v.lost.misses);
	add_grouped(t, v.lost.errors);
	weir_table_add(t, ttl.data);
}

static void render_text(const struct weir_steer *s, struct weir_buf *out)
{
	static const char *const head[] = { "RULE",   "MATCH",	"TO",	  "HITS",
					    "MISSES", "ERRORS", "EXPIRES" };
	weir_autotable struct weir_table t;
	struct weir_steer_account a = { 0 };

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < s->conf.n_rules; i++)
		text_rule(s, &s->conf.rules[i], &t);
	weir_table_render(&t, 0, out);
	for (size_t i = 0; i < s->conf.n_groups; i++) {
		weir_buf_addf(out, "group:%s:", s->conf.groups[i].name);
		for (size_t k = 0; k < s->conf.groups[i].n; k++)
			weir_buf_addf(out, " %s", s->conf.groups[i].to[k]);
		weir_buf_addc(out, '\n');
	}
	weir_steer_account_of(s, &a);
	weir_buf_addf(out, "\n%llu look-ups: %llu passed, %llu steered, %llu dropped\n",
		      (unsigned long long)a.seen, (unsigned long long)a.passed,
		      (unsigned long long)a.steered,
		      (unsigned long long)(a.dropped_miss + a.dropped_error));
}

/* ---- JSON */

static void json_rule(const struct weir_steer *s, const struct weir_steer_rule *r,
		      struct weir_json *j)
{
	weir_autobuf struct weir_buf match = { 0 };
	struct weir_steer_view v = weir_steer_view_of(s, r);

	weir_steer_print_match(r, &match);
	weir_json_object(j, NULL);
	weir_json_str(j, "name", r->name);
	weir_json_str(j, "verb", "steer");
	weir_json_str(j, "owner", WEIR_STEER_OWNER);
	weir_json_str(j, "match", match.data);
	weir_json_str(j, "action", r->to);
	weir_json_str(j, "on_miss", weir_steer_on_misses[r->on_miss]);
	weir_json_uint(j, "sockets", v.members);
	weir_json_uint(j, "sockets_present", v.present);
	weir_json_uint(j, "hits", v.hits.hits);
	weir_json_uint(j, "misses", v.lost.misses);
	weir_json_uint(j, "errors", v.lost.errors);
	if (v.last)
		weir_json_time(j, "last_hit_ts", v.last);
	if (v.expires)
		weir_json_time(j, "expires_ts", v.expires);
	weir_json_end_object(j);
}

static void json_account(const struct weir_steer *s, struct weir_json *j)
{
	struct weir_steer_account a = { 0 };

	weir_steer_account_of(s, &a);
	weir_json_object(j, "account");
	weir_json_str(j, "verb", "steer");
	weir_json_uint(j, "seen", a.seen);
	weir_json_uint(j, "passed", a.passed);
	weir_json_uint(j, "steered", a.steered);
	weir_json_object(j, "dropped");
	if (a.dropped_miss)
		weir_json_uint(j, "miss", a.dropped_miss);
	if (a.dropped_error)
		weir_json_uint(j, "error", a.dropped_error);
	weir_json_end_object(j);
	weir_json_end_object(j);
}

static void render_json(const struct weir_steer *s, bool any, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "rules");
	for (size_t i = 0; any && i < s->conf.n_rules; i++)
		json_rule(s, &s->conf.rules[i], &j);
	weir_json_end_array(&j);
	weir_json_array(&j, "groups");
	for (size_t i = 0; any && i < s->conf.n_groups; i++) {
		weir_json_object(&j, NULL);
		weir_json_str(&j, "name", s->conf.groups[i].name);
		weir_json_array(&j, "sockets");
		for (size_t k = 0; k < s->conf.groups[i].n; k++)
			weir_json_str(&j, NULL, s->conf.groups[i].to[k]);
		weir_json_end_array(&j);
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	if (any)
		json_account(s, &j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_steer_do_list(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_steer s;
	int ret = weir_steer_open(&s, false, err);

	if (ret && ret != -ENOENT)
		return ret;
	if (c->prometheus)
		weir_steer_prometheus(ret ? NULL : &s, &out);
	else if (c->json)
		render_json(&s, !ret, &out);
	else if (ret)
		weir_buf_adds(&out, "Nothing is steered in this network namespace.\n");
	else
		render_text(&s, &out);
	if (!ret)
		weir_steer_close(&s);
	return weir_verb_print("steer", &out, WEIR_EXIT_DONE);
}
