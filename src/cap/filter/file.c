/* SPDX-License-Identifier: GPL-2.0-only */
/* The policy as a file: apply, show, diff. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

static const char *source_of(const struct weir_filter_cmd *c)
{
	return strcmp(c->words.v[0], "-") ? c->words.v[0] : "standard input";
}

static int read_policy(struct weir_filter_cmd *c, struct weir_policy **ret, struct weir_error *err)
{
	int r = weir_policy_read(c->words.v[0], ret, err);

	return r == -ENOMEM || !r ? r : weir_filter_cmd_usage(c, r);
}

/* The prefixes of a set's file. What is wrong in it is told by its line there; where it
 * can't be read, by the policy's line that names it. */
static int read_set(const struct weir_filter_cmd *c, const struct weir_policy_set *s,
		    struct weir_filter_prefixes *ret, struct weir_error *err)
{
	int r = weir_set_read(s->file, &ret->v, &ret->n, err);

	if (!r || r == -EINVAL || r == -E2BIG || r == -ENOMEM)
		return r;
	return weir_fail_prefix(err, r, "%s:%u", source_of(c), s->line);
}

/* ---- apply */

static int load_file(const struct weir_filter_cmd *c, struct weir_filter_edit *e,
		     const struct weir_policy_set *s, uint64_t *prefixes, struct weir_error *err)
{
	struct weir_filter_prefixes p = { 0 };
	struct weir_policy_set *set;
	int ret = read_set(c, s, &p, err);

	if (!ret)
		ret = weir_filter_edit_load(e, s->name, p.v, p.n, &set, err);
	*prefixes += p.n;
	weir_filter_prefixes_free(&p);
	return ret;
}

/* A set without a file keeps what it holds; one that is new begins empty. */
static int load_sets(struct weir_filter_cmd *c, struct weir_filter_edit *e, uint64_t *prefixes,
		     struct weir_error *err)
{
	const struct weir_policy *p = e->policy;
	int ret = 0;

	for (size_t i = 0; !ret && i < p->n_sets; i++)
		if (p->sets[i].file)
			ret = load_file(c, e, &p->sets[i], prefixes, err);
	return ret == -ENOMEM || !ret ? ret : weir_filter_cmd_usage(c, ret);
}

int weir_filter_do_apply(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	weir_auto_policy *p = NULL;
	struct weir_filter_edit e;
	uint64_t prefixes = 0;
	int ret = read_policy(c, &p, err);

	if (!ret)
		ret = weir_filter_edit_begin(&e, true, err);
	if (ret)
		return ret;
	/* The rules of other owners are none of the file's business. */
	ret = weir_policy_keep_others(e.f.policy, p, err);
	weir_policy_free(e.policy);
	e.policy = WEIR_TAKE_PTR(p);
	if (!ret)
		ret = load_sets(c, &e, &prefixes, err);
	weir_buf_addf(&done, "applied %s: ", source_of(c));
	weir_filter_add_counts(e.policy, &done);
	if (prefixes) {
		weir_buf_adds(&done, ", ");
		weir_buf_add_grouped(&done, prefixes);
		weir_buf_adds(&done, " prefixes loaded");
	}
	if (!ret)
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- show */

int weir_filter_do_show(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	uint64_t jiffies, boot, tick;
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	(void)c;
	if (ret)
		return ret < 0 ? ret : WEIR_EXIT_DONE;
	ret = weir_filter_clock(&jiffies, &boot, &tick, err);
	if (!ret)
		weir_policy_print(f.policy, 0, boot, &out);
	weir_filter_close(&f);
	return ret ? ret : weir_verb_print("filter", &out, WEIR_EXIT_DONE);
}

/* ---- diff */

/* What a set holds and what its file does: numbers, since there may be millions. */
static int diff_set(const struct weir_filter_cmd *c, struct weir_set *have,
		    const struct weir_policy_set *want, bool *differ, struct weir_buf *out,
		    struct weir_error *err)
{
	struct weir_filter_prefixes a = { 0 }, b = { 0 };
	size_t more, less;
	int ret = read_set(c, want, &b, err);

	if (!ret && weir_filter_prefixes_of(have, &a))
		ret = weir_fail(err, -ENOMEM, "out of memory");
	if (!ret) {
		weir_filter_prefixes_sort(&a);
		weir_filter_prefixes_sort(&b);
		less = weir_filter_prefixes_missing(&a, &b);
		more = weir_filter_prefixes_missing(&b, &a);
		if (less)
			weir_buf_addf(out, "- set %s: %zu prefix%s that %s does not have\n",
				      want->name, less, less == 1 ? "" : "es", want->file);
		if (more)
			weir_buf_addf(out, "+ set %s: %zu prefix%s that only %s has\n", want->name,
				      more, more == 1 ? "" : "es", want->file);
		*differ = *differ || less || more;
	}
	weir_filter_prefixes_free(&a);
	weir_filter_prefixes_free(&b);
	return ret;
}

/* The policy in force, with the paths of @p's sets: what a set holds is compared, not
 * where it came from. */
static struct weir_policy *with_files_of(const struct weir_policy *in_force,
					 const struct weir_policy *p)
{
	weir_auto_policy *copy = weir_policy_copy(in_force);

	for (size_t i = 0; copy && i < p->n_sets; i++) {
		struct weir_policy_set *have = weir_policy_find_set(copy, p->sets[i].name);

		if (!have)
			continue;
		free(have->file);
		have->file = NULL;
		if (p->sets[i].file && !(have->file = strdup(p->sets[i].file)))
			return NULL;
	}
	return WEIR_TAKE_PTR(copy);
}

static int diff(const struct weir_filter_cmd *c, struct weir_filter *f, const struct weir_policy *p,
		bool *differ, struct weir_buf *out, struct weir_error *err)
{
	weir_auto_policy *in_force = with_files_of(f->policy, p);
	int ret = 0;

	if (!in_force)
		return weir_fail(err, -ENOMEM, "out of memory");
	*differ = weir_policy_diff(in_force, p, out);
	for (size_t i = 0; !ret && i < p->n_sets; i++) {
		const struct weir_policy_set *have =
			weir_policy_find_set(f->policy, p->sets[i].name);

		if (have && p->sets[i].file)
			ret = diff_set(c, &f->sets[have - f->policy->sets], &p->sets[i], differ,
				       out, err);
	}
	return ret;
}

int weir_filter_do_diff(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	weir_auto_policy *p = NULL, *none = NULL;
	struct weir_filter f;
	bool differ = false;
	int ret = read_policy(c, &p, err);

	if (!ret)
		ret = weir_filter_cmd_open(&f, false, err);
	if (ret < 0)
		return ret;
	if (ret > 0) {
		none = weir_policy_new();
		differ = none && weir_policy_diff(none, p, &out);
		ret = none ? 0 : weir_fail(err, -ENOMEM, "out of memory");
	} else {
		ret = diff(c, &f, p, &differ, &out, err);
		weir_filter_close(&f);
	}
	if (ret)
		return ret;
	return weir_verb_print("filter", &out, differ ? WEIR_EXIT_NO : WEIR_EXIT_DONE);
}
