/* SPDX-License-Identifier: GPL-2.0-only */
/* check, on and off. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"
#include "cap/bypass/bypass_cmd.h"
#include "cap/bypass/check.h"
#include "cap/bypass/engine.h"
#include "cap/bypass/place.h"

/* ---- check */

static const char *const verdicts[] = { "ok", "NOT OK", "unsure" };

static void check_text(const struct weir_bypass_row *rows, size_t n, int bad, struct weir_buf *out)
{
	static const char *const head[] = { " ", "ROW", "WHAT" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < n; i++) {
		weir_table_add(&t, verdicts[rows[i].verdict]);
		weir_table_add(&t, rows[i].name);
		weir_table_add(&t, rows[i].about);
	}
	weir_table_render(&t, 0, out);
	if (!bad) {
		weir_buf_adds(out, "\nOn this kernel a connection by the bypass does all of it.\n");
		return;
	}
	weir_buf_addf(out, "\n%d of %zu rows are not ok on this kernel:\n", bad, n);
	for (size_t i = 0; i < n; i++)
		if (rows[i].verdict != WEIR_BYPASS_OK)
			weir_buf_addf(out, "  %s: %s\n    %s\n", rows[i].name, rows[i].detail,
				      rows[i].harm);
}

static void check_json(const struct weir_bypass_row *rows, size_t n, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "checks");
	for (size_t i = 0; i < n; i++) {
		weir_json_object(&j, NULL);
		weir_json_str(&j, "name", rows[i].name);
		weir_json_bool(&j, "ok", rows[i].verdict == WEIR_BYPASS_OK);
		weir_json_str(&j, "about", rows[i].about);
		if (rows[i].verdict != WEIR_BYPASS_OK) {
			weir_json_str(&j, "detail", rows[i].detail);
			weir_json_str(&j, "harm", rows[i].harm);
		}
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_bypass_do_check(struct weir_bypass_cmd *c, struct weir_error *err)
{
	const struct weir_bypass_subject subject = weir_bypass_own_subject();
	struct weir_bypass_row rows[WEIR_BYPASS_ROWS_MAX];
	weir_autobuf struct weir_buf out = { 0 };
	size_t n;
	int bad = weir_bypass_check(&subject, NULL, rows, &n, err);

	if (bad < 0)
		return bad;
	if (c->json)
		check_json(rows, n, &out);
	else
		check_text(rows, n, bad, &out);
	return weir_verb_print("bypass", &out, bad ? WEIR_EXIT_NO : WEIR_EXIT_DONE);
}

/* ---- on */

/* Ask the check once for every boot and version; it takes some seconds. */
static int ask_check(const struct weir_pin_dir *d, struct weir_bypass_checked *c,
		     struct weir_error *err)
{
	const struct weir_bypass_subject subject = weir_bypass_own_subject();
	struct weir_bypass_row rows[WEIR_BYPASS_ROWS_MAX];
	size_t n, len = 0;
	int bad;

	if (!weir_bypass_checked_get(d, c))
		return 0;
	bad = weir_bypass_check(&subject, NULL, rows, &n, err);
	if (bad < 0)
		return bad;
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < n; i++)
		if (rows[i].verdict != WEIR_BYPASS_OK)
			len += (size_t)snprintf(c->bad + len, sizeof(c->bad) - len, " %s",
						rows[i].name);
	return weir_bypass_checked_put(d, c, err);
}

/* What is not ok is refused, or, where it is forced, told. */
static int judge(const struct weir_bypass_cmd *c, const struct weir_bypass_checked *checked,
		 struct weir_error *err)
{
	weir_autobuf struct weir_buf names = { 0 };

	for (const char *at = checked->bad; *at;) {
		size_t n = strcspn(++at, " ");
		const char *harm = weir_bypass_harm(at, n);

		weir_buf_addf(&names, "%s%.*s", names.len ? ", " : "", (int)n, at);
		if (c->force && harm)
			fprintf(stderr, "weir bypass: %.*s is not ok: %s\n", (int)n, at, harm);
		at += n;
	}
	if (c->force || !names.len)
		return 0;
	return weir_fail(err, -EOPNOTSUPP,
			 "not ok on this kernel: %s: see `weir bypass check` for what that breaks, "
			 "then use --force where no program needs it",
			 names.data);
}

static int fill_rule(struct weir_bypass_rule *r, const struct weir_bypass_cmd *c,
		     const struct weir_match *match, const char *cgroup, int cgroup_fd,
		     struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	if (!weir_match_is_all(match))
		weir_match_print(match, &text);
	if (text.len >= sizeof(r->match))
		return weir_fail(err, -E2BIG, "the match is too long: use fewer words");
	if (strlen(cgroup) >= sizeof(r->cgroup))
		return weir_fail(err, -E2BIG, "the cgroup's path is too long: use a shorter one");
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%s", c->words.v[0]);
	snprintf(r->match, sizeof(r->match), "%s", text.data ? text.data : "");
	snprintf(r->cgroup, sizeof(r->cgroup), "%s", cgroup);
	r->cgroup_id = weir_cgroup_id(cgroup_fd);
	r->forced = c->force;
	return 0;
}

static int put(const struct weir_bypass_cmd *c, const struct weir_pin_dir *d,
	       const struct weir_match *match, int cgroup_fd, const struct weir_bypass_rule *rule,
	       struct weir_error *err)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	struct weir_bypass_checked checked;
	struct weir_bypass_road road;
	int ret = weir_bypass_names(d, names, err);

	if (ret == WEIR_BYPASS_RULES_MAX)
		return weir_fail(err, -ENOSPC, "%d rules are enough: `weir bypass off` one of them",
				 WEIR_BYPASS_RULES_MAX);
	if (ret >= 0)
		ret = ask_check(d, &checked, err);
	if (!ret)
		ret = judge(c, &checked, err);
	if (!ret)
		ret = weir_bypass_road_open(&road, match, cgroup_fd, rule, err);
	if (ret)
		return ret;
	ret = weir_bypass_put(d, rule->name, &road, err);
	weir_bypass_road_close(&road);
	return ret;
}

/* Nothing stays where nothing is in force. */
static void leave(struct weir_pin_dir *d)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	int n = weir_bypass_names(d, names, NULL);

	weir_pin_close(d);
	if (!n)
		weir_pin_unload("bypass", NULL);
}

int weir_bypass_do_on(struct weir_bypass_cmd *c, struct weir_error *err)
{
	weir_cleanup(weir_match_freep) struct weir_match *match = NULL;
	weir_autobuf struct weir_buf words = { 0 };
	char path[WEIR_CGROUP_PATH_MAX];
	weir_autoclose int cgroup = -1;
	struct weir_bypass_rule rule;
	struct weir_pin_dir d;
	int ret;

	for (unsigned int i = 1; i < c->words.n; i++)
		weir_buf_addf(&words, "%s%s", i > 1 ? " " : "", c->words.v[i]);
	c->match.match.expression = words.data;
	c->status = WEIR_EXIT_USAGE;
	ret = weir_bypass_check_name(c->words.v[0], err);
	if (!ret && !c->cgroup)
		ret = weir_fail(err, -EINVAL,
				"whose connections? give --cgroup PATH (/ is every process)");
	if (!ret)
		ret = weir_conn_match_parse_tcp(&c->match, &match, err);
	if (!ret) {
		cgroup = weir_cgroup_open(c->cgroup, path, err);
		ret = cgroup < 0 ? cgroup : fill_rule(&rule, c, match, path, cgroup, err);
	}
	if (ret)
		return ret;
	c->status = WEIR_EXIT_FAILED;
	ret = weir_bypass_open(&d, true, err);
	if (ret)
		return ret;
	ret = put(c, &d, match, cgroup, &rule, err);
	leave(&d);
	return ret ? ret : WEIR_EXIT_DONE;
}

/* ---- off */

static int take_off(const struct weir_pin_dir *d, const char *name, struct weir_error *err)
{
	struct weir_bypass_view v;
	struct weir_bypass_sums sums = { 0 };
	int ret = weir_bypass_view_open(d, name, &v, err);

	if (ret == -ENOENT)
		return ret;
	if (!ret) {
		weir_bypass_view_sweep(&v);
		weir_bypass_sums(v.rule_fd, v.conns_fd, &sums);
		weir_bypass_view_close(&v);
	}
	ret = weir_bypass_remove(d, name, err);
	if (!ret && sums.live)
		fprintf(stderr, "weir bypass: %s: %llu connection%s on by TCP\n", name,
			(unsigned long long)sums.live, sums.live == 1 ? " goes" : "s go");
	return ret;
}

int weir_bypass_do_off(struct weir_bypass_cmd *c, struct weir_error *err)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	struct weir_pin_dir d;
	int n, ret = weir_bypass_open(&d, false, err);

	if (ret == -ENOENT && !c->words.n)
		return WEIR_EXIT_DONE;
	if (ret == -ENOENT)
		return weir_fail(err, ret, "no rule is called %s: nothing is bypassed",
				 c->words.v[0]);
	if (ret)
		return ret;
	n = weir_bypass_names(&d, names, err);
	ret = n < 0 ? n : 0;
	if (c->words.n && !ret)
		ret = take_off(&d, c->words.v[0], err);
	for (int i = 0; !c->words.n && !ret && i < n; i++)
		ret = take_off(&d, names[i], err);
	leave(&d);
	return ret < 0 ? ret : WEIR_EXIT_DONE;
}
