/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/help.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/verbs.h"

#define NAME_WIDTH 9

static const char *const groups[] = { "See", "Control", "Forward", "Ask", "Undo" };

static bool group_has_verbs(const char *group)
{
	for (const struct weir_verb *const *v = weir_verbs; *v; v++)
		if (strcmp((*v)->group, group) == 0)
			return true;
	return false;
}

static int print_overview(void)
{
	weir_autobuf struct weir_buf out = { 0 };

	weir_buf_adds(
		&out,
		"weir VERB [OPTIONS]...: a Linux host's traffic, seen from inside its kernel\n");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(groups); i++) {
		if (!group_has_verbs(groups[i]))
			continue;
		weir_buf_addf(&out, "\n%s:\n", groups[i]);
		for (const struct weir_verb *const *v = weir_verbs; *v; v++)
			if (strcmp((*v)->group, groups[i]) == 0)
				weir_buf_addf(&out, "  %-*s %s\n", NAME_WIDTH, (*v)->name,
					      (*v)->summary);
	}
	weir_buf_adds(&out, "\n\"weir help VERB\" tells what a verb accepts, weir(8) the rest.\n");
	return weir_verb_print("help", &out, WEIR_EXIT_DONE);
}

int weir_help_print(const struct weir_verb *verb)
{
	weir_autobuf struct weir_buf out = { 0 };

	weir_buf_addf(&out, "weir %s%s%s: %s\n", verb->name, verb->synopsis[0] ? " " : "",
		      verb->synopsis, verb->summary);
	if (verb->options) {
		weir_buf_addc(&out, '\n');
		weir_opt_usage(verb->options, &out);
	}
	if (verb->details)
		weir_buf_addf(&out, "\n%s\n", verb->details);
	if (verb->help_more) {
		weir_buf_addc(&out, '\n');
		verb->help_more(&out);
	}
	return weir_verb_print("help", &out, WEIR_EXIT_DONE);
}

/* For packaging/weir.bash: the verbs, NAME<TAB>SUMMARY. */
static int complete_verbs(void)
{
	weir_autobuf struct weir_buf out = { 0 };

	for (const struct weir_verb *const *v = weir_verbs; *v; v++)
		weir_buf_addf(&out, "%s\t%s\n", (*v)->name, (*v)->summary);
	return weir_verb_print("help", &out, WEIR_EXIT_DONE);
}

/* For packaging/weir.bash: a verb's options as weir_opt_complete() prints them,
 * and a line with two empty names for a positional argument. */
static int complete_verb(const struct weir_verb *verb)
{
	weir_autobuf struct weir_buf out = { 0 };

	if (verb->options)
		weir_opt_complete(verb->options, &out);
	weir_buf_adds(&out, "--help\t-\t-\t-\n");
	if (strstr(verb->synopsis, "[VERB]")) {
		weir_buf_adds(&out, "-\t-\tVERB\twords:");
		for (const struct weir_verb *const *v = weir_verbs; *v; v++)
			weir_buf_addf(&out, "%s%s", v == weir_verbs ? "" : " ", (*v)->name);
		weir_buf_addc(&out, '\n');
	}
	if (verb->complete)
		weir_buf_addf(&out, "-\t-\tWORD\t%s\n", verb->complete);
	return weir_verb_print("help", &out, WEIR_EXIT_DONE);
}

struct options {
	bool complete;
};

/* No help text: it is there for the shell, not for people. */
static const struct weir_opt options[] = {
	{ .name = "complete", .kind = WEIR_OPT_FLAG, .offset = offsetof(struct options, complete) },
	{ 0 },
};

static int run(int argc, char **argv)
{
	struct options opts = { 0 };
	struct weir_strv words = { 0 };
	const struct weir_verb *verb;
	int status = weir_verb_parse(&weir_help_verb, argc, argv, &opts, &words, 1);

	if (status)
		return status;
	if (words.n == 0)
		return opts.complete ? complete_verbs() : print_overview();
	status = weir_verb_check("help", words.v[0]);
	if (status)
		return status;
	verb = weir_verb_find(words.v[0]);
	return opts.complete ? complete_verb(verb) : weir_help_print(verb);
}

const struct weir_verb weir_help_verb = {
	.name = "help",
	.group = "Ask",
	.summary = "list the verbs, or tell what one of them accepts",
	.synopsis = "[VERB]",
	.options = options,
	.run = run,
};
