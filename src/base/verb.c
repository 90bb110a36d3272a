/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/verb.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More verbs than the architecture has names for. */
#define VERBS_MAX 32

const struct weir_opt weir_json_options[] = {
	{ .name = "json",
	  .kind = WEIR_OPT_FLAG,
	  .offset = offsetof(struct weir_json_opts, json),
	  .help = "print one JSON document" },
	{ 0 },
};

static const struct weir_verb *const no_verbs[] = { NULL };
static const struct weir_verb *const *verbs = no_verbs;

void weir_verb_register(const struct weir_verb *const *table)
{
	verbs = table;
}

const struct weir_verb *weir_verb_find(const char *name)
{
	for (const struct weir_verb *const *v = verbs; *v; v++)
		if (strcmp((*v)->name, name) == 0)
			return *v;
	return NULL;
}

const struct weir_verb *weir_verb_at(size_t i)
{
	/* Up to the end, and no further. */
	for (size_t k = 0; k < i; k++)
		if (!verbs[k])
			return NULL;
	return verbs[i];
}

/* The name that @word most likely means, or NULL when nothing is near. */
static const char *nearest(const char *word)
{
	/* The names as an option table: one judgement of what is near. */
	struct weir_opt names[VERBS_MAX + 1] = { 0 };
	size_t n = 0;

	for (; verbs[n] && n < VERBS_MAX; n++) {
		names[n].name = verbs[n]->name;
		names[n].help = verbs[n]->summary;
	}
	return weir_opt_nearest(names, word, strlen(word));
}

int weir_verb_check(const char *verb, const char *word)
{
	const char *near;
	struct weir_error e;

	if (!word || weir_verb_find(word))
		return 0;
	near = nearest(word);
	if (near)
		weir_fail(&e, 0, "unknown verb \"%s\": did you mean %s?", word, near);
	else
		weir_fail(&e, 0, "unknown verb \"%s\": \"weir help\" lists them", word);
	return weir_verb_fail(verb, &e, WEIR_EXIT_USAGE);
}

int weir_verb_parse(const struct weir_verb *verb, int argc, char **argv, void *opts,
		    struct weir_strv *words, unsigned int max_words)
{
	static const struct weir_opt no_options[] = { { 0 } };
	struct weir_error e;

	if (weir_opt_parse(verb->options ? verb->options : no_options, argc, argv, opts, words,
			   &e) < 0)
		return weir_verb_fail(verb->name, &e, WEIR_EXIT_USAGE);
	if (words->n <= max_words)
		return 0;
	weir_fail(&e, 0, "\"%s\" is one argument too many: leave it out", words->v[max_words]);
	return weir_verb_fail(verb->name, &e, WEIR_EXIT_USAGE);
}

int weir_verb_fail(const char *verb, const struct weir_error *e, int status)
{
	/* One call, so that lines of several processes do not mix. */
	if (verb)
		fprintf(stderr, "weir %s: %s\n", verb, e->msg);
	else
		fprintf(stderr, "weir: %s\n", e->msg);
	return status;
}

void weir_verb_tell(const char *verb, const char *fmt, va_list ap)
{
	struct weir_error line; /* for its care of control characters */
	char text[WEIR_ERROR_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	weir_fail(&line, 0, "%s", text);
	weir_verb_fail(verb, &line, 0);
}

int weir_verb_print(const char *verb, struct weir_buf *out, int status)
{
	struct weir_error e;
	int err = out->failed ? -ENOMEM : weir_buf_flush(out, STDOUT_FILENO);

	if (err == 0 || err == -EPIPE)
		return status;
	weir_fail(&e, err, "cannot write to standard output (%s): send it elsewhere",
		  strerror(-err));
	return weir_verb_fail(verb, &e, WEIR_EXIT_FAILED);
}
