/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * save: the policy as a file, and its sets beside it, each written whole under
 * another name first. Sets go before the policy that refers to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

#define UNIT "weir-filter.service"

/* ---- Sets */

/* Does the file hold what the set does? One that can't be read does not. */
static bool is_in_file(struct weir_set *set, const char *file)
{
	struct weir_filter_prefixes a = { 0 }, b = { 0 };
	struct weir_error ignored;
	bool same = false;

	if (!weir_set_read(file, &b.v, &b.n, &ignored) && !weir_filter_prefixes_of(set, &a)) {
		weir_filter_prefixes_sort(&a);
		weir_filter_prefixes_sort(&b);
		same = !weir_filter_prefixes_missing(&a, &b) &&
		       !weir_filter_prefixes_missing(&b, &a);
	}
	weir_filter_prefixes_free(&a);
	weir_filter_prefixes_free(&b);
	return same;
}

static int add_prefix(void *arg, const struct weir_prefix *p)
{
	char text[WEIR_ADDR_STRLEN];

	weir_buf_addf(arg, "%s\n", weir_prefix_str(p, text));
	return 0;
}

static int write_set(struct weir_policy_set *s, struct weir_set *set, const char *path,
		     struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 }, done = { 0 };
	char *file = strdup(path);
	int ret;

	if (!file)
		return weir_fail(err, -ENOMEM, "out of memory");
	free(s->file);
	s->file = file;
	weir_buf_addf(&text, "# set %s of weir filter\n", s->name);
	weir_set_each(set, add_prefix, &text);
	ret = weir_file_replace(path, &text, err);
	if (ret)
		return ret;
	weir_buf_addf(&done, "set %s: ", s->name);
	weir_buf_add_grouped(&done, weir_set_count(set));
	weir_buf_addf(&done, " prefix%s written to %s", weir_set_count(set) == 1 ? "" : "es", path);
	weir_filter_cmd_tell("%s", done.data);
	return 0;
}

/* A set whose file still holds what it does is left to that file; at boot only what
 * lies in @dir is sure to be there. */
static int save_sets(struct weir_filter *f, struct weir_policy *p, const char *dir, bool boot,
		     struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < p->n_sets; i++) {
		struct weir_policy_set *s = &p->sets[i];
		char path[PATH_MAX];
		bool near = s->file && strncmp(s->file, dir, strlen(dir)) == 0 &&
			    s->file[strlen(dir)] == '/';

		if (s->owner[0])
			continue;
		if (s->file && (near || !boot) && is_in_file(&f->sets[i], s->file))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s.set", dir, s->name) >= (int)sizeof(path))
			return weir_fail(err, -ENAMETOOLONG, "%s: the path is too long", dir);
		ret = write_set(s, &f->sets[i], path, err);
	}
	return ret;
}

/* ---- The policy */

/* The directory of @path in full, because the policy names its sets by it. */
static int directory_of(const char *path, char ret[PATH_MAX], struct weir_error *err)
{
	const char *slash = strrchr(path, '/');
	weir_autofree char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

	if (dir && realpath(dir, ret))
		return 0;
	return weir_fail(err, -errno, "cannot write into the directory of %s (%s): make it first",
			 path, strerror(errno));
}

static void print_policy(const struct weir_policy *p, uint64_t now, struct weir_buf *out)
{
	weir_buf_adds(out, "# weir filter, saved ");
	weir_buf_add_rfc3339(out, weir_clock_real() / WEIR_NSEC_PER_SEC * WEIR_NSEC_PER_SEC);
	weir_buf_adds(out, "; `weir filter apply` reads it, see weir-filter(8)\n");
	weir_policy_print(p, 0, now, out);
}

static int save(struct weir_filter *f, const char *path, bool boot, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 }, done = { 0 };
	weir_auto_policy *p = weir_policy_copy(f->policy);
	uint64_t jiffies, now, tick;
	char dir[PATH_MAX];
	int ret = p ? directory_of(path, dir, err) : weir_fail(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = weir_filter_clock(&jiffies, &now, &tick, err);
	if (!ret)
		ret = save_sets(f, p, dir, boot, err);
	if (ret)
		return ret;
	print_policy(p, now, &text);
	ret = weir_file_replace(path, &text, err);
	if (ret)
		return ret;
	weir_filter_add_counts(p, &done);
	weir_filter_cmd_tell("saved to %s: %s", path, done.data);
	return 0;
}

static void tell_boot(void)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_file_tell_unit(UNIT, &text);
	weir_filter_cmd_tell("%s", text.failed ? UNIT : text.data);
}

int weir_filter_do_save(struct weir_filter_cmd *c, struct weir_error *err)
{
	const char *path = c->words.n ? c->words.v[0] : WEIR_FILTER_CONF;
	struct weir_filter f;
	int ret;

	if ((c->boot && c->words.n) || !strcmp(path, "-")) {
		weir_filter_cmd_usage(c, 0);
		return weir_fail(
			err, -EINVAL,
			c->boot ? "--boot has its place, " WEIR_FILTER_CONF ": leave FILE out" :
				  "\"-\" is no file: `weir filter show` prints the policy");
	}
	if (!c->words.n && mkdir(WEIR_FILTER_CONF_DIR, 0755) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make %s: %s", WEIR_FILTER_CONF_DIR,
				 strerror(errno));
	ret = weir_filter_cmd_open(&f, false, err);
	if (ret > 0)
		return weir_fail(err, -ENOENT,
				 "nothing is filtered in this network namespace: "
				 "there is nothing to save");
	if (ret)
		return ret;
	ret = save(&f, path, c->boot, err);
	weir_filter_close(&f);
	if (!ret && c->boot)
		tell_boot();
	return ret;
}
