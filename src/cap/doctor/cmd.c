/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir doctor: what this kernel and host can do for weir. One report is
 * gathered, then rendered as text or as JSON.
 */
#include "cap/doctor/cmd.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/engines.h"
#include "base/json.h"
#include "base/table.h"
#include "base/term.h"
#include "cap/doctor/host.h"
#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/probe.h"

#define INDENT 2
#define KCONFIG_COLUMNS 3

struct report {
	const struct weir_probe *features[WEIR_FEATURE_MAX];
	struct weir_host_fact facts[WEIR_HOST_FACTS];
	size_t n_facts;
	struct weir_kconfig kconfig[WEIR_KCONFIGS];
	size_t n_kconfig;
	char kconfig_source[160];
	uint64_t caps;
	unsigned int bad; /* features that are missing and not optional */
};

static void gather(struct report *r)
{
	weir_load_setup();
	for (int f = 0; f < WEIR_FEATURE_MAX; f++) {
		r->features[f] = weir_probe((enum weir_feature)f);
		if (!r->features[f]->ok && !r->features[f]->optional)
			r->bad++;
	}
	r->n_facts = weir_host_facts(r->facts);
	r->n_kconfig = weir_host_kconfig(r->kconfig, r->kconfig_source,
					 sizeof(r->kconfig_source));
	r->caps = weir_caps_effective();
}

/* --- text ----------------------------------------------------------------- */

enum mark { MARK_OK, MARK_BAD, MARK_OFF };

static void add_mark(struct weir_table *t, enum mark m, bool colour)
{
	static const char *const plain[] = {
		[MARK_OK] = "ok",
		[MARK_BAD] = "NO",
		[MARK_OFF] = "--",
	};
	static const char *const coloured[] = {
		[MARK_OK] = "\033[32m✓\033[0m",
		[MARK_BAD] = "\033[31m✗\033[0m",
		[MARK_OFF] = "\033[33m–\033[0m",
	};

	weir_table_add_wide(t, colour ? coloured[m] : plain[m], colour ? 1 : 2);
}

static void text_features(struct weir_buf *out, const struct report *r, bool colour)
{
	static const char *const head[] = { " ", "FEATURE", "FOUND", "USED BY", "WITHOUT IT" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (int f = 0; f < WEIR_FEATURE_MAX; f++) {
		const struct weir_probe *p = r->features[f];

		add_mark(&t, p->ok ? MARK_OK : p->optional ? MARK_OFF : MARK_BAD, colour);
		weir_table_add(&t, p->name);
		weir_table_add(&t, p->detail);
		weir_table_add(&t, p->needed_by ? p->needed_by : "nothing in this version");
		weir_table_add(&t, p->fallback);
	}
	weir_buf_adds(out, "Kernel features, each one tried:\n");
	weir_table_render(&t, INDENT, out);
}

static void text_caps(struct weir_buf *out, const struct report *r, bool colour)
{
	weir_autotable struct weir_table t;

	weir_table_init(&t, 3, NULL);
	for (const struct weir_cap_info *c = weir_caps; c->bit; c++) {
		add_mark(&t, r->caps & c->bit ? MARK_OK : MARK_OFF, colour);
		weir_table_add(&t, c->name);
		weir_table_add(&t, c->use);
	}
	weir_buf_adds(out, "\nCapabilities of this process:\n");
	weir_table_render(&t, INDENT, out);
}

static void text_host(struct weir_buf *out, const struct report *r)
{
	weir_autotable struct weir_table t;

	weir_table_init(&t, 2, NULL);
	for (size_t i = 0; i < r->n_facts; i++) {
		weir_table_add(&t, r->facts[i].label);
		weir_table_add(&t, r->facts[i].value);
	}
	weir_buf_adds(out, "\nHost:\n");
	weir_table_render(&t, INDENT, out);
}

static void text_kconfig(struct weir_buf *out, const struct report *r)
{
	weir_autotable struct weir_table t;

	if (!r->kconfig_source[0]) {
		weir_buf_adds(
			out,
			"\nKernel configuration: unknown, no file of the kernel's can be read\n");
		return;
	}
	weir_table_init(&t, KCONFIG_COLUMNS, NULL);
	for (size_t i = 0; i < r->n_kconfig; i++)
		weir_table_addf(&t, "%s=%s", r->kconfig[i].name, r->kconfig[i].value);
	/* Fill up the last row. */
	while (t.cells % KCONFIG_COLUMNS)
		weir_table_add_wide(&t, "", 0);
	weir_buf_addf(out, "\nKernel configuration (%s):\n", r->kconfig_source);
	weir_table_render(&t, INDENT, out);
}

/* What to do about what is not as it should be. */
static void text_advice(struct weir_buf *out, const struct report *r)
{
	for (size_t i = 0; i < r->n_facts; i++)
		if (r->facts[i].advice)
			weir_buf_addf(out, "note: %s is %s: %s\n", r->facts[i].label,
				      r->facts[i].value, r->facts[i].advice);
	for (int f = 0; f < WEIR_FEATURE_MAX; f++) {
		const struct weir_probe *p = r->features[f];

		if (!p->ok && !p->optional)
			weir_buf_addf(out, "not ok: %s, for %s: needs %s\n", p->name,
				      p->needed_by, p->requires);
	}
	if (r->bad == 0)
		weir_buf_adds(out, "Everything that this version of weir needs is there.\n");
}

static void render_text(struct weir_buf *out, const struct report *r, bool colour)
{
	text_features(out, r, colour);
	text_caps(out, r, colour);
	text_host(out, r);
	text_kconfig(out, r);
	weir_buf_addc(out, '\n');
	weir_engines_table(out);
	weir_buf_addc(out, '\n');
	text_advice(out, r);
}

/* --- JSON ----------------------------------------------------------------- */

/* Absent when unknown, as everywhere. */
static void json_known(struct weir_json *j, const char *key, const char *val)
{
	if (val)
		weir_json_str(j, key, val);
}

static void json_features(struct weir_json *j, const struct report *r)
{
	weir_json_array(j, "checks");
	for (int f = 0; f < WEIR_FEATURE_MAX; f++) {
		const struct weir_probe *p = r->features[f];

		weir_json_object(j, NULL);
		weir_json_str(j, "name", p->name);
		weir_json_bool(j, "ok", p->ok);
		weir_json_bool(j, "optional", p->optional);
		weir_json_str(j, "detail", p->detail);
		if (p->error)
			json_known(j, "errno", strerrorname_np(-p->error));
		json_known(j, "needed_by", p->needed_by);
		json_known(j, "fallback", p->fallback);
		json_known(j, "requires", p->requires);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_host(struct weir_json *j, const struct report *r)
{
	weir_json_object(j, "host");
	for (size_t i = 0; i < r->n_facts; i++) {
		const struct weir_host_fact *f = &r->facts[i];

		if (f->known && f->is_number)
			weir_json_uint(j, f->key, f->number);
		else if (f->known)
			weir_json_str(j, f->key, f->value);
	}
	weir_json_end_object(j);
	weir_json_array(j, "notes");
	for (size_t i = 0; i < r->n_facts; i++) {
		if (!r->facts[i].advice)
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "name", r->facts[i].key);
		weir_json_str(j, "advice", r->facts[i].advice);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_kconfig(struct weir_json *j, const struct report *r)
{
	if (!r->kconfig_source[0])
		return;
	weir_json_str(j, "kconfig_source", r->kconfig_source);
	weir_json_object(j, "kconfig");
	for (size_t i = 0; i < r->n_kconfig; i++)
		weir_json_str(j, r->kconfig[i].name, r->kconfig[i].value);
	weir_json_end_object(j);
}

static void render_json(struct weir_buf *out, const struct report *r)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "weir", WEIR_VERSION);
	weir_json_bool(&j, "ok", r->bad == 0);
	json_features(&j, r);
	weir_json_object(&j, "capabilities");
	for (const struct weir_cap_info *c = weir_caps; c->bit; c++)
		weir_json_bool(&j, c->name, r->caps & c->bit);
	weir_json_end_object(&j);
	json_host(&j, r);
	json_kconfig(&j, r);
	weir_engines_json(&j, "captures");
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int run(int argc, char **argv)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json_opts opts = { 0 };
	struct weir_strv words = { 0 };
	struct report report = { 0 };
	int status = weir_verb_parse(&weir_doctor_verb, argc, argv, &opts, &words, 0);

	if (status)
		return status;
	gather(&report);
	if (opts.json)
		render_json(&out, &report);
	else
		render_text(&out, &report, weir_term_colour(STDOUT_FILENO));
	return weir_verb_print("doctor", &out, report.bad ? WEIR_EXIT_NO : WEIR_EXIT_DONE);
}

const struct weir_verb weir_doctor_verb = {
	.name = "doctor",
	.group = "Ask",
	.summary = "try what this kernel can do for weir, and tell what to do about the rest",
	.synopsis = "[--json]",
	.options = weir_json_options,
	.details = "Every feature is tried, none is looked up by version; nothing is left behind.\n"
		   "Exits 4 when something is missing that this version of weir needs.",
	.run = run,
};
