/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir status: what of weir is in the kernel. Pinned objects last until they
 * are unloaded; other programs last as long as the process that holds them.
 */
#include "cap/status/cmd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"
#include "dataplane/load.h"
#include "dataplane/pinned.h"
#include "dataplane/progs.h"
#include "policy/engine.h"

/* An interface of the filter's policy, and whether it is filtered. Pinned links tell
 * that of some hooks only, and of none for an interface that was never there. */
struct place {
	struct weir_policy_iface iface;
	struct weir_filter_iface_info info;
};

struct report {
	struct weir_pinned pinned;
	struct weir_prog *running;
	size_t n_running;
	bool running_known; /* allowed to look */
	struct place places[WEIR_FILTER_ROWS];
	size_t n_places;
};

/* "weir_watch_in" belongs to watch: the word behind the prefix. */
static size_t verb_of(const struct weir_prog *p, const char **ret)
{
	*ret = p->name + strlen(WEIR_PROG_PREFIX);
	return strcspn(*ret, "_");
}

static bool is_of_verb(const struct weir_prog *p, const char *verb)
{
	const char *word;
	size_t n = verb_of(p, &word);

	return !verb || (strlen(verb) == n && memcmp(word, verb, n) == 0);
}

/* What can't be found out is told, and the rest is still shown. */
static void gather_filter(struct report *r)
{
	struct weir_filter f;
	struct weir_error e;
	bool pinned = false;
	int err;

	for (size_t i = 0; i < r->pinned.n; i++)
		pinned = pinned || strcmp(r->pinned.v[i].verb, "filter") == 0;
	if (!pinned)
		return;
	err = weir_filter_open(&f, false, &e);
	if (err < 0 && err != -ENOENT)
		weir_verb_fail("status", &e, WEIR_EXIT_FAILED);
	if (err < 0)
		return;
	for (size_t i = 0; i < f.policy->n_ifaces; i++) {
		struct place *p = &r->places[r->n_places];

		p->iface = f.policy->ifaces[i];
		if (weir_filter_iface_info(&f, &p->iface, &p->info) == 0)
			r->n_places++;
	}
	weir_filter_close(&f);
}

static int gather(struct report *r, const char *verb)
{
	struct weir_error e;
	size_t kept = 0;
	int err = weir_pinned_get(&r->pinned, verb, &e);

	if (err < 0)
		return weir_verb_fail("status", &e, WEIR_EXIT_FAILED);
	err = weir_progs_list(&r->running, &r->n_running, &e);
	r->running_known = err == 0;
	/* Not being allowed to look is told, and the rest is still shown. */
	if (err < 0)
		weir_verb_fail("status", &e, WEIR_EXIT_FAILED);
	if (err < 0 && err != -EPERM)
		return WEIR_EXIT_FAILED;
	for (size_t i = 0; i < r->n_running; i++)
		if (is_of_verb(&r->running[i], verb))
			r->running[kept++] = r->running[i];
	r->n_running = kept;
	gather_filter(r);
	return 0;
}

static const char *place_state(const struct place *p)
{
	static const char *const states[] = {
		[WEIR_IFACE_ON] = "on",
		[WEIR_IFACE_GONE] = "detached: interface gone",
		[WEIR_IFACE_DETACHED] = "detached",
	};

	return p->info.no_replies ? "replies are not learnt: weir filter reattach" :
				    states[p->info.state];
}

static void add_state(struct weir_table *t, const struct place *p)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_adds(&text, place_state(p));
	if (p->info.called[0])
		weir_buf_addf(&text, " (now called %s)", p->info.called);
	weir_table_add(t, text.data);
}

static void text_places(const struct report *r, struct weir_buf *out)
{
	static const char *const head[] = { "INTERFACE", "HOOK", "DIRECTION", "STATE", "MODE" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < r->n_places; i++) {
		const struct place *p = &r->places[i];

		weir_table_add(&t, p->iface.name);
		weir_table_add(&t, weir_policy_hook_names[p->iface.hook]);
		weir_table_add(&t, p->iface.out ? "out" : "in");
		add_state(&t, p);
		weir_table_add(&t, p->info.state == WEIR_IFACE_ON ? p->info.mode : NULL);
	}
	weir_table_render(&t, 2, out);
}

static void add_owners(struct weir_table *t, const struct weir_prog *p)
{
	weir_autobuf struct weir_buf text = { 0 };

	for (unsigned int i = 0; i < p->n_owners; i++)
		weir_buf_addf(&text, "%s%s (%u)%s", i ? ", " : "", p->owners[i].comm,
			      p->owners[i].pid,
			      p->owners[i].same_netns ? "" : " in another namespace");
	weir_table_add(t, text.failed ? NULL : text.data);
}

static void text_running(const struct report *r, struct weir_buf *out)
{
	static const char *const head[] = {
		"VERB", "PROGRAM", "TYPE", "ID", "ATTACHED", "HELD BY",
	};
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < r->n_running; i++) {
		const struct weir_prog *p = &r->running[i];
		const char *word;
		int n = (int)verb_of(p, &word);

		weir_table_addf(&t, "%.*s", n, word);
		weir_table_add(&t, p->name);
		weir_table_add(&t, p->type);
		weir_table_addf(&t, "%u", p->id);
		weir_table_add(&t, p->attached);
		add_owners(&t, p);
	}
	weir_table_render(&t, 2, out);
}

/* What verbs tell besides: of @verb, or of all. What can't be found out is told, and
 * the rest is still shown. */
static void add_more(const char *verb, struct weir_buf *out, struct weir_json *j)
{
	const struct weir_verb *v;
	struct weir_error e;

	for (size_t i = 0; (v = weir_verb_at(i)); i++)
		if (v->status_more && (!verb || strcmp(verb, v->name) == 0) &&
		    v->status_more(out, j, &e) < 0)
			weir_verb_fail("status", &e, WEIR_EXIT_FAILED);
}

static void render_text(const struct report *r, const char *verb, struct weir_buf *out)
{
	if (r->pinned.n) {
		weir_buf_adds(out, "Pinned in this network namespace:\n");
		weir_pinned_table(&r->pinned, out);
	} else {
		weir_buf_adds(out, "Nothing is pinned in this network namespace.\n");
	}
	if (r->n_places) {
		weir_buf_adds(out, "Filtered:\n");
		text_places(r, out);
	}
	if (r->n_running) {
		weir_buf_adds(out, "Loaded on this host:\n");
		text_running(r, out);
	} else if (r->running_known) {
		weir_buf_adds(out, "No program of weir is loaded.\n");
	}
	add_more(verb, out, NULL);
}

static void json_program(struct weir_json *j, const struct weir_prog *p)
{
	const char *word;
	size_t n = verb_of(p, &word);

	weir_json_object(j, NULL);
	weir_json_strn(j, "verb", word, n);
	weir_json_str(j, "name", p->name);
	weir_json_str(j, "type", p->type);
	weir_json_uint(j, "id", p->id);
	weir_json_time(j, "loaded_ts", p->loaded);
	if (p->attached[0])
		weir_json_str(j, "attached", p->attached);
	if (p->n_owners) {
		weir_json_array(j, "held_by");
		for (unsigned int i = 0; i < p->n_owners; i++) {
			weir_json_object(j, NULL);
			weir_json_uint(j, "pid", p->owners[i].pid);
			weir_json_str(j, "comm", p->owners[i].comm);
			weir_json_bool(j, "same_netns", p->owners[i].same_netns);
			weir_json_end_object(j);
		}
		weir_json_end_array(j);
	}
	weir_json_end_object(j);
}

static void json_place(struct weir_json *j, const struct place *p)
{
	weir_json_object(j, NULL);
	weir_json_str(j, "iface", p->iface.name);
	weir_json_str(j, "hook", weir_policy_hook_names[p->iface.hook]);
	weir_json_str(j, "direction", p->iface.out ? "out" : "in");
	weir_json_str(j, "state", place_state(p));
	if (p->info.state == WEIR_IFACE_ON)
		weir_json_str(j, "mode", p->info.mode);
	if (p->info.called[0])
		weir_json_str(j, "called", p->info.called);
	weir_json_end_object(j);
}

static void render_json(const struct report *r, const char *verb, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (r->pinned.netns)
		weir_json_uint(&j, "netns", r->pinned.netns);
	weir_pinned_json(&r->pinned, &j, "pinned");
	if (r->n_places) {
		weir_json_array(&j, "filtered");
		for (size_t i = 0; i < r->n_places; i++)
			json_place(&j, &r->places[i]);
		weir_json_end_array(&j);
	}
	if (r->running_known) {
		weir_json_array(&j, "running");
		for (size_t i = 0; i < r->n_running; i++)
			json_program(&j, &r->running[i]);
		weir_json_end_array(&j);
	}
	add_more(verb, out, &j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int run(int argc, char **argv)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json_opts opts = { 0 };
	struct weir_strv words = { 0 };
	struct report report = { 0 };
	int status = weir_verb_parse(&weir_status_verb, argc, argv, &opts, &words, 1);
	const char *verb;

	if (status)
		return status;
	weir_load_setup();
	/* What is pinned has a name that may be shown and unloaded, also when it
	 * is no verb (the rule store) or one of another version. */
	verb = words.n ? words.v[0] : NULL;
	if (verb && !weir_pinned_any(verb))
		status = weir_verb_check("status", verb);
	if (status)
		return status;
	status = gather(&report, verb);
	if (status == 0 && opts.json)
		render_json(&report, verb, &out);
	else if (status == 0)
		render_text(&report, verb, &out);
	weir_pinned_free(&report.pinned);
	free(report.running);
	return status ? status : weir_verb_print("status", &out, WEIR_EXIT_DONE);
}

const struct weir_verb weir_status_verb = {
	.name = "status",
	.group = "Ask",
	.summary = "show what of weir is in the kernel, and who holds it",
	.synopsis = "[OPTIONS] [VERB]",
	.options = weir_json_options,
	.details =
		"Pinned objects are those of this network namespace and last until \"weir unload\".\n"
		"Other programs go with the process that holds them. \"weir VERB status\" is the\n"
		"same as \"weir status VERB\".",
	.run = run,
};
