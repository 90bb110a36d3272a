/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir unload: remove what weir has pinned in this network namespace, and what
 * is left of namespaces that are gone. What a running command holds goes with
 * that command.
 */
#include "cap/unload/cmd.h"

#include <stdbool.h>
#include <string.h>

#include "base/json.h"
#include "dataplane/load.h"
#include "dataplane/pinned.h"
#include "dataplane/rules.h"

struct report {
	struct weir_pinned removed;
	int swept; /* directories of namespaces that are gone */
};

static bool is_of_another(void *verb, const struct weir_rule *rule)
{
	return strcmp(rule->verb, (const char *)verb) != 0;
}

/* A rule whose verb has nothing in the kernel is in force nowhere: its name goes, too. */
static int forget_rules(const char *verb, struct weir_error *e)
{
	struct weir_rules store;
	int err;

	if (!verb || weir_rules_open(&store, false, NULL) < 0)
		return 0;
	err = weir_rules_keep(&store, NULL, is_of_another, (void *)verb, e);
	weir_rules_close(&store);
	return err;
}

/* What was there before and is not there afterwards has been removed: told from
 * the kernel's state, not from what was meant to be done. */
static int unload(struct report *r, const char *verb, struct weir_error *e)
{
	weir_autopinned struct weir_pinned left = { 0 };
	struct weir_error ignored;
	int err = weir_pinned_get(&r->removed, verb, e);
	int failed;

	if (err < 0)
		return err;
	/* First, so that unloading can remove the directory above both. */
	r->swept = weir_pin_sweep();
	if (r->swept < 0)
		r->swept = 0;
	failed = weir_pin_unload(verb, e);
	if (failed >= 0)
		failed = forget_rules(verb, e);
	err = weir_pinned_get(&left, verb, failed < 0 ? &ignored : e);
	if (err == 0)
		weir_pinned_subtract(&r->removed, &left);
	return failed < 0 ? failed : err;
}

static void render_text(const struct report *r, struct weir_buf *out)
{
	if (r->removed.n) {
		weir_buf_adds(out, "Removed from this network namespace:\n");
		weir_pinned_table(&r->removed, out);
	} else {
		weir_buf_adds(out, "Nothing was pinned in this network namespace.\n");
	}
	if (r->swept)
		weir_buf_addf(out, "Removed what was left of %d network namespace%s.\n", r->swept,
			      r->swept == 1 ? " that is gone" : "s that are gone");
}

static void render_json(const struct report *r, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (r->removed.netns)
		weir_json_uint(&j, "netns", r->removed.netns);
	weir_pinned_json(&r->removed, &j, "removed");
	weir_json_uint(&j, "namespaces_swept", (uint64_t)r->swept);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int run(int argc, char **argv)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json_opts opts = { 0 };
	struct weir_strv words = { 0 };
	struct report report = { 0 };
	struct weir_error e = { 0 };
	int status = weir_verb_parse(&weir_unload_verb, argc, argv, &opts, &words, 1);
	const char *verb;
	int err;

	if (status)
		return status;
	weir_load_setup();
	/* What is pinned has a name that may be shown and unloaded, also when it
	 * is no verb (the rule store) or one of another version. */
	verb = words.n ? words.v[0] : NULL;
	if (verb && !weir_pinned_any(verb))
		status = weir_verb_check("unload", verb);
	if (status)
		return status;
	err = unload(&report, verb, &e);
	/* Also after a failure half-way what went is told. */
	if (err == 0 || report.removed.n) {
		if (opts.json)
			render_json(&report, &out);
		else
			render_text(&report, &out);
	}
	weir_pinned_free(&report.removed);
	status = weir_verb_print("unload", &out, WEIR_EXIT_DONE);
	return err < 0 ? weir_verb_fail("unload", &e, WEIR_EXIT_FAILED) : status;
}

const struct weir_verb weir_unload_verb = {
	.name = "unload",
	.group = "Undo",
	.summary = "remove what weir has pinned in this network namespace",
	.synopsis = "[OPTIONS] [VERB]",
	.options = weir_json_options,
	.details =
		"Only what weir made is removed. What is left of network namespaces that are gone\n"
		"is removed too. A running command keeps what it holds until it ends.",
	.run = run,
};
