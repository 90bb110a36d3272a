/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets: set NAME load, add, del, list, unload; set list. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

static int parse_prefixes(struct weir_filter_cmd *c, struct weir_prefix **ret, size_t *ret_n,
			  struct weir_error *err)
{
	size_t n = c->words.n - 2;
	weir_autofree struct weir_prefix *v = calloc(n + 1, sizeof(*v));

	if (!v)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const char *word = c->words.v[2 + i];
		int r = weir_prefix_parse(word, false, &v[i]);

		if (!r)
			continue;
		weir_filter_cmd_usage(c, 0);
		if (r == -ERANGE)
			return weir_fail(
				err, -EINVAL,
				"\"%s\": bits are set behind the prefix length: clear them", word);
		return weir_fail(
			err, -EINVAL,
			"\"%s\" is no prefix: give one such as 192.0.2.0/24 or 2001:db8::1", word);
	}
	*ret = WEIR_TAKE_PTR(v);
	*ret_n = n;
	return 0;
}

static int no_set(struct weir_filter_cmd *c, const char *name, struct weir_error *err)
{
	weir_filter_cmd_usage(c, 0);
	return weir_fail(err, -ENOENT, "no set %s: `weir filter set list` shows them", name);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "es";
}

/* "set bad: 1,000,000 prefixes" */
static void add_summary(struct weir_buf *out, const char *name, uint64_t n)
{
	weir_buf_addf(out, "set %s: ", name);
	weir_buf_add_grouped(out, n);
	weir_buf_addf(out, " prefix%s", plural(n));
}

static void add_memory(struct weir_buf *out, size_t bytes)
{
	weir_buf_add_si(out, (double)bytes);
	weir_buf_adds(out, "B");
}

/* ---- load */

static int put_file(struct weir_policy_set *set, const char *path, struct weir_error *err)
{
	char *file = NULL;

	/* In full, so that it means the same wherever the policy is saved. Standard
	 * input can't be read again: such a set is saved with what it holds. */
	if (strcmp(path, "-") != 0)
		file = realpath(path, NULL);
	if (strcmp(path, "-") != 0 && !file)
		return weir_fail(err, -errno, "cannot find %s again: %s", path, strerror(errno));
	free(set->file);
	set->file = file;
	return 0;
}

static int load(struct weir_filter_cmd *c, struct weir_error *err)
{
	const char *name = c->words.v[0], *path = c->words.v[2];
	weir_autofree struct weir_prefix *v = NULL;
	weir_autobuf struct weir_buf done = { 0 };
	struct weir_policy_set *set;
	struct weir_filter_edit e;
	size_t n = 0;
	int ret = weir_set_read(path, &v, &n, err);

	if (ret)
		return ret == -ENOMEM ? ret : weir_filter_cmd_usage(c, ret);
	ret = weir_filter_edit_begin(&e, true, err);
	if (ret)
		return ret;
	ret = weir_filter_edit_load(&e, name, v, n, &set, err);
	if (ret == -EINVAL)
		weir_filter_cmd_usage(c, 0);
	if (!ret)
		ret = put_file(set, path, err);
	if (!ret) {
		struct weir_set *made = &e.sets[set - e.policy->sets];

		add_summary(&done, name, weir_set_count(made));
		weir_buf_adds(&done, ", ");
		add_memory(&done, weir_set_bytes(made));
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	}
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- add, del */

static int no_memory(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory");
}

static int join(struct weir_filter_prefixes *all, const struct weir_prefix *v, size_t n,
		struct weir_error *err)
{
	struct weir_prefix *grown = realloc(all->v, (all->n + n) * sizeof(*grown));

	if (!grown)
		return no_memory(err);
	memcpy(grown + all->n, v, n * sizeof(*v));
	*all = (struct weir_filter_prefixes){ .v = grown, .n = all->n + n, .room = all->n + n };
	return 0;
}

static int take_away(struct weir_filter_prefixes *all, const struct weir_prefix *v, size_t n,
		     struct weir_error *err)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_prefix gone = v[i];
		const struct weir_filter_prefixes one = { .v = &gone, .n = 1 };
		char text[WEIR_ADDR_STRLEN];
		size_t kept = 0;

		for (size_t j = 0; j < all->n; j++) {
			const struct weir_filter_prefixes other = { .v = &all->v[j], .n = 1 };

			if (weir_filter_prefixes_missing(&other, &one))
				all->v[kept++] = all->v[j];
		}
		if (kept == all->n)
			return weir_fail(err, -ENOENT, "%s is not in the set",
					 weir_prefix_str(&v[i], text));
		all->n = kept;
	}
	return 0;
}

/* What the set's maps have no room for, or another version made, becomes a new set. */
static int build_anew(struct weir_filter_cmd *c, struct weir_filter_edit *e, bool add,
		      const struct weir_prefix *v, size_t n, struct weir_error *err)
{
	weir_cleanup(weir_filter_prefixes_free) struct weir_filter_prefixes all = { 0 };
	const char *name = c->words.v[0];
	const struct weir_policy_set *old = weir_policy_find_set(e->policy, name);
	struct weir_policy_set *set;
	int ret = old ? weir_filter_prefixes_of(&e->f.sets[old - e->policy->sets], &all) : 0;

	if (ret)
		return no_memory(err);
	ret = add ? join(&all, v, n, err) : take_away(&all, v, n, err);
	if (!ret)
		ret = weir_filter_edit_load(e, name, all.v, all.n, &set, err);
	if (ret == -EINVAL)
		weir_filter_cmd_usage(c, 0);
	return ret ? ret : weir_filter_edit_commit(c, e, NULL, err);
}

static int change(struct weir_filter_cmd *c, struct weir_filter_edit *e, bool add,
		  const struct weir_prefix *v, size_t n, struct weir_error *err)
{
	const char *name = c->words.v[0];
	const struct weir_policy_set *set = weir_policy_find_set(e->f.policy, name);
	int ret;

	if (!set)
		return add ? build_anew(c, e, add, v, n, err) : no_set(c, name, err);
	ret = weir_filter_check_set(set, err);
	if (ret)
		return ret;
	ret = weir_filter_set_change(&e->f, name, add, v, n, c->force, err);
	return ret == -ENOSPC ? build_anew(c, e, add, v, n, err) : ret;
}

static int add_or_del(struct weir_filter_cmd *c, bool add, struct weir_error *err)
{
	weir_autofree struct weir_prefix *v = NULL;
	weir_autobuf struct weir_buf done = { 0 };
	const struct weir_policy_set *set;
	struct weir_filter_edit e;
	size_t n = 0;
	int ret;

	if (c->confirm) {
		weir_filter_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL,
				 "--confirm does not go with set %s, which changes "
				 "the set in place: load it instead",
				 c->words.v[1]);
	}
	ret = parse_prefixes(c, &v, &n, err);
	if (!ret)
		ret = weir_filter_edit_begin(&e, add, err);
	if (ret)
		return ret;
	ret = change(c, &e, add, v, n, err);
	set = weir_policy_find_set(e.f.policy, c->words.v[0]);
	if (!ret && set) {
		add_summary(&done, set->name, weir_set_count(&e.f.sets[set - e.f.policy->sets]));
		weir_filter_cmd_tell("%s", done.data);
	}
	weir_filter_edit_end(&e);
	return ret;
}

static int add(struct weir_filter_cmd *c, struct weir_error *err)
{
	return add_or_del(c, true, err);
}

static int del(struct weir_filter_cmd *c, struct weir_error *err)
{
	return add_or_del(c, false, err);
}

/* ---- unload */

static const struct weir_policy_rule *user_of(const struct weir_policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_rules; i++)
		for (size_t j = 0; j < weir_match_names(p->rules[i].match); j++)
			if (strcmp(weir_match_name(p->rules[i].match, j), name) == 0)
				return &p->rules[i];
	return NULL;
}

static int take_out(struct weir_filter_cmd *c, struct weir_policy *p, const char *name,
		    struct weir_error *err)
{
	struct weir_policy_set *set = weir_policy_find_set(p, name);
	const struct weir_policy_rule *user = user_of(p, name);

	if (!set)
		return no_set(c, name, err);
	if (set->owner[0])
		return weir_filter_check_set(set, err);
	if (user)
		return weir_fail(err, -EBUSY, "set %s is used by the rule %s: delete that first",
				 name, user->name);
	free(set->file);
	p->n_sets--;
	memmove(set, set + 1, (size_t)(p->sets + p->n_sets - set) * sizeof(*set));
	return 0;
}

static int unload(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	struct weir_filter_edit e;
	int ret = weir_filter_edit_begin(&e, false, err);

	if (ret)
		return ret;
	ret = take_out(c, e.policy, c->words.v[0], err);
	weir_buf_addf(&done, "set %s: unloaded", c->words.v[0]);
	if (!ret)
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- list */

static void print_text(const struct weir_filter_prefixes *p, struct weir_buf *out)
{
	char text[WEIR_ADDR_STRLEN];

	for (size_t i = 0; i < p->n; i++)
		weir_buf_addf(out, "%s\n", weir_prefix_str(&p->v[i], text));
}

static void print_json(const char *name, const struct weir_filter_prefixes *p, struct weir_buf *out)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "name", name);
	weir_json_array(&j, "prefixes");
	for (size_t i = 0; i < p->n; i++)
		weir_json_str(&j, NULL, weir_prefix_str(&p->v[i], text));
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int list_one(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_cleanup(weir_filter_prefixes_free) struct weir_filter_prefixes all = { 0 };
	weir_autobuf struct weir_buf out = { 0 };
	const char *name = c->words.v[0];
	const struct weir_policy_set *set;
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	if (ret)
		return ret < 0 ? ret : no_set(c, name, err);
	set = weir_policy_find_set(f.policy, name);
	ret = set ? weir_filter_prefixes_of(&f.sets[set - f.policy->sets], &all) :
		    no_set(c, name, err);
	/* Who reads slowly must not keep others from changing the filter. */
	weir_filter_close(&f);
	if (ret)
		return set ? weir_fail(err, ret, "out of memory") : ret;
	if (c->json)
		print_json(name, &all, &out);
	else
		print_text(&all, &out);
	return weir_verb_print("filter", &out, WEIR_EXIT_DONE);
}

static void sets_json(struct weir_filter *f, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "sets");
	for (size_t i = 0; f && i < f->policy->n_sets; i++) {
		weir_json_object(&j, NULL);
		const char *owner = f->policy->sets[i].owner;

		weir_json_str(&j, "name", f->policy->sets[i].name);
		weir_json_str(&j, "owner", *owner ? owner : "filter");
		weir_json_uint(&j, "prefixes", weir_set_count(&f->sets[i]));
		weir_json_uint(&j, "memory", weir_set_bytes(&f->sets[i]));
		weir_json_str(&j, "file", f->policy->sets[i].file);
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void sets_table(struct weir_filter *f, struct weir_buf *out)
{
	static const char *const head[] = { "SET", "OWNER", "PREFIXES", "MEMORY", "FILE" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < f->policy->n_sets; i++) {
		weir_autobuf struct weir_buf n = { 0 }, bytes = { 0 };

		weir_buf_add_grouped(&n, weir_set_count(&f->sets[i]));
		add_memory(&bytes, weir_set_bytes(&f->sets[i]));
		const char *owner = f->policy->sets[i].owner;

		weir_table_add(&t, f->policy->sets[i].name);
		weir_table_add(&t, *owner ? owner : "filter");
		weir_table_add(&t, n.data);
		weir_table_add(&t, bytes.data);
		weir_table_add(&t, f->policy->sets[i].file);
	}
	weir_table_render(&t, 0, out);
}

static int list_all(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	if (ret < 0)
		return ret;
	if (c->json)
		sets_json(ret ? NULL : &f, &out);
	else if (ret || !f.policy->n_sets)
		weir_buf_adds(&out, "There is no set.\n");
	else
		sets_table(&f, &out);
	if (!ret)
		weir_filter_close(&f);
	return weir_verb_print("filter", &out, WEIR_EXIT_DONE);
}

/* ---- set */

static const struct {
	const char *word, *arguments;
	unsigned int min, max; /* words behind it */
	int (*run)(struct weir_filter_cmd *c, struct weir_error *err);
	bool json, changes;
} ways[] = {
	{ "load", " FILE", 1, 1, load, false, true },
	{ "add", " PREFIX...", 1, WEIR_STRV_MAX, add, false, true },
	{ "del", " PREFIX...", 1, WEIR_STRV_MAX, del, false, true },
	{ "list", "", 0, 0, list_one, true, false },
	{ "unload", "", 0, 0, unload, false, true },
};

static int check_way(const struct weir_filter_cmd *c, size_t i, struct weir_error *err)
{
	unsigned int n = c->words.n - 2;

	if (c->json && !ways[i].json)
		return weir_fail(err, -EINVAL, "--json does not go with set %s: it is for set list",
				 ways[i].word);
	if ((c->force || c->confirm) && !ways[i].changes)
		return weir_fail(err, -EINVAL,
				 "%s does not go with set list, which changes nothing",
				 c->force ? "--force" : "--confirm");
	if (n < ways[i].min || n > ways[i].max)
		return weir_fail(err, -EINVAL, "wrong number of words: weir filter set NAME %s%s",
				 ways[i].word, ways[i].arguments);
	return 0;
}

int weir_filter_do_set(struct weir_filter_cmd *c, struct weir_error *err)
{
	if (c->words.n == 1 && strcmp(c->words.v[0], "list") == 0) {
		if (!c->force && !c->confirm)
			return list_all(c, err);
		return weir_filter_cmd_usage(c, check_way(c, 3, err));
	}
	for (size_t i = 0; c->words.n > 1 && i < WEIR_ARRAY_SIZE(ways); i++) {
		int ret;

		if (strcmp(c->words.v[1], ways[i].word) != 0)
			continue;
		ret = check_way(c, i, err);
		return ret ? weir_filter_cmd_usage(c, ret) : ways[i].run(c, err);
	}
	weir_filter_cmd_usage(c, 0);
	return weir_fail(err, -EINVAL,
			 "set needs to know what to do: weir filter set NAME load, "
			 "add, del, list or unload, or weir filter set list");
}
