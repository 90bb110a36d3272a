/* SPDX-License-Identifier: GPL-2.0-only */
/* The way of a change, and prefixes as a list. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/filter/filter_cmd.h"

static void tell_rolled_back(const struct weir_filter *f)
{
	if (f->rolled_back)
		weir_filter_cmd_tell("the last change was not confirmed in time: the policy "
				     "before it is in force again");
}

int weir_filter_cmd_open(struct weir_filter *f, bool create, struct weir_error *err)
{
	int ret = weir_filter_open(f, create, err);

	if (ret == -ENOENT && !create)
		return 1;
	if (!ret)
		tell_rolled_back(f);
	return ret;
}

int weir_filter_edit_begin(struct weir_filter_edit *e, bool create, struct weir_error *err)
{
	int ret = weir_filter_cmd_open(&e->f, create, err);

	e->policy = NULL;
	for (size_t i = 0; i < WEIR_POLICY_SETS_MAX; i++) {
		weir_set_init(&e->sets[i]);
		e->sets_new[i] = false;
	}
	if (ret > 0)
		return weir_fail(err, -ENOENT,
				 "nothing is filtered in this network namespace: "
				 "begin with `weir filter on IFACE`");
	if (ret)
		return ret;
	e->policy = weir_policy_copy(e->f.policy);
	if (e->policy)
		return 0;
	weir_filter_close(&e->f);
	return weir_fail(err, -ENOMEM, "out of memory");
}

/* Only after a begin that succeeded. */
void weir_filter_edit_end(struct weir_filter_edit *e)
{
	for (size_t i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_close(&e->sets[i]);
	weir_policy_free(e->policy);
	weir_filter_close(&e->f);
}

void weir_filter_report_tell(const struct weir_filter_report *report)
{
	const char *at = report->notes.data;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		weir_filter_cmd_tell("%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

static void tell_confirm(uint64_t ns)
{
	time_t until = (time_t)((weir_clock_real() + ns) / WEIR_NSEC_PER_SEC);
	char at[16];
	struct tm tm;

	localtime_r(&until, &tm);
	strftime(at, sizeof(at), "%H:%M:%S", &tm);
	weir_filter_cmd_tell("in force until %s, then what was before it: keep it with "
			     "`weir filter confirm`",
			     at);
}

int weir_filter_edit_commit(struct weir_filter_cmd *c, struct weir_filter_edit *e, const char *done,
			    struct weir_error *err)
{
	const struct weir_filter_change change = {
		.policy = e->policy,
		.sets = e->sets,
		.sets_new = e->sets_new,
		.confirm_ns = c->confirm_ns,
		.force = c->force,
	};
	struct weir_filter_report report = { 0 };
	int ret = weir_policy_check(e->policy, NULL, err);

	if (ret)
		return weir_filter_cmd_usage(c, ret);
	ret = weir_filter_change(&e->f, &change, &report, err);
	if (!ret && done)
		weir_filter_cmd_tell("%s", done);
	if (!ret)
		weir_filter_report_tell(&report);
	weir_buf_free(&report.notes);
	if (!ret && c->confirm_ns)
		tell_confirm(c->confirm_ns);
	return ret;
}

int weir_filter_edit_load(struct weir_filter_edit *e, const char *name, const struct weir_prefix *v,
			  size_t n, struct weir_policy_set **ret, struct weir_error *err)
{
	struct weir_policy_set *set;
	size_t at;
	int r = weir_policy_add_set(e->policy, name, &set, err);

	if (!r)
		r = weir_filter_check_set(set, err);
	if (r)
		return r;
	at = (size_t)(set - e->policy->sets);
	weir_set_close(&e->sets[at]);
	weir_set_init(&e->sets[at]);
	r = weir_set_create(&e->sets[at], v, n, err);
	if (r)
		return r;
	e->sets_new[at] = true;
	*ret = set;
	return 0;
}

int weir_filter_check_set(const struct weir_policy_set *set, struct weir_error *err)
{
	if (!set->owner[0])
		return 0;
	return weir_fail(err, -EBUSY, "the set %s is weir %s's: give yours another name", set->name,
			 set->owner);
}

void weir_filter_add_counts(const struct weir_policy *p, struct weir_buf *out)
{
	size_t ifaces = 0, sets = 0, rules = 0;

	for (size_t i = 0; i < p->n_ifaces; i++)
		ifaces += !p->ifaces[i].owner[0];
	for (size_t i = 0; i < p->n_sets; i++)
		sets += !p->sets[i].owner[0];
	for (size_t i = 0; i < p->n_rules; i++)
		rules += strcmp(p->rules[i].owner, "filter") == 0;
	weir_buf_addf(out, "%zu interface%s, %zu set%s, %zu rule%s", ifaces, ifaces == 1 ? "" : "s",
		      sets, sets == 1 ? "" : "s", rules, rules == 1 ? "" : "s");
}

/* ---- Prefixes */

void weir_filter_prefixes_free(struct weir_filter_prefixes *p)
{
	free(p->v);
	*p = (struct weir_filter_prefixes){ 0 };
}

static int take(void *arg, const struct weir_prefix *prefix)
{
	struct weir_filter_prefixes *p = arg;

	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 1024;
		struct weir_prefix *v = realloc(p->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		p->v = v;
		p->room = room;
	}
	p->v[p->n++] = *prefix;
	return 0;
}

static int compare(const void *va, const void *vb)
{
	const struct weir_prefix *a = va, *b = vb;
	int d = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));

	if (!d)
		d = (int)a->len - (int)b->len;
	return d ? d : (int)a->is_v4 - (int)b->is_v4;
}

void weir_filter_prefixes_sort(struct weir_filter_prefixes *p)
{
	size_t kept = 0;

	if (p->n)
		qsort(p->v, p->n, sizeof(*p->v), compare);
	for (size_t i = 0; i < p->n; i++)
		if (!kept || compare(&p->v[kept - 1], &p->v[i]) != 0)
			p->v[kept++] = p->v[i];
	p->n = kept;
}

int weir_filter_prefixes_of(struct weir_set *s, struct weir_filter_prefixes *ret)
{
	return weir_set_each(s, take, ret);
}

size_t weir_filter_prefixes_missing(const struct weir_filter_prefixes *a,
				    const struct weir_filter_prefixes *b)
{
	size_t missing = 0, j = 0;

	for (size_t i = 0; i < a->n; i++) {
		while (j < b->n && compare(&b->v[j], &a->v[i]) < 0)
			j++;
		missing += j == b->n || compare(&b->v[j], &a->v[i]) != 0;
	}
	return missing;
}
