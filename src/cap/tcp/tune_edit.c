/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules one by one, and as a file: add, del, clear, apply, show, save. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cap/tcp/tune_cmd.h"

#define UNIT "weir-tcp-tune.service"

/* A copy of what is in force, to be changed. */
static int copy(const struct weir_tune_conf *c, struct weir_tune_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_adds(&text, "");
	weir_tune_print(c, WEIR_TUNE_KERNEL, &text);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	return weir_tune_parse(text.data, text.len, "the rules in force", WEIR_TUNE_KERNEL, ret,
			       err);
}

static void tell_notes(const struct weir_buf *notes)
{
	const char *at = notes->data;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		weir_tune_cmd_tell("%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

/* Is what @r asks for possible here? Its cgroup gets its one spelling. */
static int check(struct weir_tune_cmd *c, struct weir_tune_spec *r, struct weir_buf *notes,
		 struct weir_error *err)
{
	char path[WEIR_CGROUP_PATH_MAX];
	weir_autoclose int fd = weir_cgroup_open(*r->cgroup ? r->cgroup : NULL, path, err);
	int ret = fd;

	if (fd >= 0) {
		if (*r->cgroup)
			snprintf(r->cgroup, sizeof(r->cgroup), "%s", path);
		ret = weir_tune_try(r, notes, err);
	}
	if (ret == -EINVAL || ret == -ENOENT || ret == -ENOTDIR)
		weir_tune_cmd_usage(c, ret);
	return ret;
}

/* Nothing is left behind in the kernel where a first change failed. */
static void end(struct weir_tune *t)
{
	if (!t->letter && t->dir.fd >= 0)
		weir_tune_clear(t, NULL);
	weir_tune_close(t);
}

int weir_tune_do_add(struct weir_tune_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf expression = { 0 }, notes = { 0 };
	weir_auto_tune_conf next = { 0 };
	struct weir_tune_spec r;
	struct weir_tune t;
	int ret;

	for (unsigned int i = 1; i < c->words.n; i++)
		weir_buf_addf(&expression, "%s%s", i > 1 ? " " : "", c->words.v[i]);
	if (expression.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	c->rule.match.match.expression = expression.data;
	ret = weir_tune_spec_make(&c->rule, c->words.v[0], &r, err);
	if (ret)
		return weir_tune_cmd_usage(c, ret);
	ret = check(c, &r, &notes, err);
	if (!ret)
		ret = weir_tune_open(&t, true, err);
	if (ret) {
		weir_tune_spec_free(&r);
		return ret;
	}
	ret = copy(&t.conf, &next, err);
	if (ret)
		weir_tune_spec_free(&r);
	else
		ret = weir_tune_conf_add(&next, &r, true, err);
	if (!ret)
		ret = weir_tune_commit(&t, &next, err);
	if (!ret)
		tell_notes(&notes);
	end(&t);
	return ret;
}

int weir_tune_do_del(struct weir_tune_cmd *c, struct weir_error *err)
{
	weir_auto_tune_conf next = { 0 };
	struct weir_tune t;
	int ret = weir_tune_open(&t, false, err);

	if (ret)
		return ret;
	ret = copy(&t.conf, &next, err);
	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = weir_tune_conf_del(&next, c->words.v[i], err);
	if (!ret && !next.n)
		ret = weir_tune_clear(&t, err);
	else if (!ret)
		ret = weir_tune_commit(&t, &next, err);
	weir_tune_close(&t);
	return ret;
}

int weir_tune_do_clear(struct weir_tune_cmd *c, struct weir_error *err)
{
	struct weir_tune t;
	int ret = weir_tune_open(&t, false, err);

	(void)c;
	if (ret)
		return ret == -ENOENT ? WEIR_EXIT_DONE : ret;
	ret = weir_tune_clear(&t, err);
	weir_tune_close(&t);
	return ret;
}

/* ---- As a file */

int weir_tune_do_apply(struct weir_tune_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf notes = { 0 };
	weir_auto_tune_conf next = { 0 };
	const char *path = c->words.v[0];
	struct weir_tune t;
	size_t n;
	int ret = weir_tune_read(path, &next, err);

	if (ret)
		return ret == -EINVAL || ret == -E2BIG ? weir_tune_cmd_usage(c, ret) : ret;
	for (size_t i = 0; !ret && i < next.n; i++) {
		ret = check(c, &next.rules[i], &notes, err);
		if (ret)
			weir_fail_prefix(err, ret, "%s: rule %s", path, next.rules[i].name);
	}
	if (!ret)
		ret = weir_tune_open(&t, true, err);
	if (ret)
		return ret;
	n = next.n;
	ret = n ? weir_tune_commit(&t, &next, err) : weir_tune_clear(&t, err);
	if (!ret)
		tell_notes(&notes);
	if (!ret)
		weir_tune_cmd_tell("applied %s: %zu rule%s", weir_file_name(path), n,
				   n == 1 ? "" : "s");
	end(&t);
	return ret;
}

int weir_tune_do_show(struct weir_tune_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_tune t;
	int ret = weir_tune_open(&t, false, err);

	(void)c;
	if (ret)
		return ret == -ENOENT ? WEIR_EXIT_DONE : ret;
	weir_tune_print(&t.conf, 0, &out);
	weir_tune_close(&t);
	return weir_verb_print("tcp tune", &out, WEIR_EXIT_DONE);
}

static void tell_boot(void)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_file_tell_unit(UNIT, &text);
	weir_tune_cmd_tell("%s", text.failed ? UNIT : text.data);
}

int weir_tune_do_save(struct weir_tune_cmd *c, struct weir_error *err)
{
	const char *path = c->words.n ? c->words.v[0] : WEIR_TUNE_CONF;
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_tune t;
	size_t n;
	int ret;

	if ((c->boot && c->words.n) || !strcmp(path, "-")) {
		weir_tune_cmd_usage(c, 0);
		return weir_fail(
			err, -EINVAL,
			c->boot ? "--boot has its place, " WEIR_TUNE_CONF ": leave FILE out" :
				  "\"-\" is no file: `weir tcp tune show` prints the rules");
	}
	ret = weir_tune_open(&t, false, err);
	if (ret)
		return ret;
	weir_buf_adds(&text, "# weir tcp tune, saved ");
	weir_buf_add_rfc3339(&text, weir_clock_real() / WEIR_NSEC_PER_SEC * WEIR_NSEC_PER_SEC);
	weir_buf_adds(&text, "; `weir tcp tune apply` reads it, see weir-tcp-tune(8)\n");
	weir_tune_print(&t.conf, 0, &text);
	n = t.conf.n;
	weir_tune_close(&t);
	if (!c->words.n && mkdir(WEIR_TUNE_CONF_DIR, 0755) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make %s: %s", WEIR_TUNE_CONF_DIR,
				 strerror(errno));
	ret = weir_file_replace(path, &text, err);
	if (ret)
		return ret;
	weir_tune_cmd_tell("saved to %s: %zu rule%s", path, n, n == 1 ? "" : "s");
	if (c->boot)
		tell_boot();
	return 0;
}
