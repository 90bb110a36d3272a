/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/action.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define ACTIONS_MAX 32

static const struct weir_action *row(const struct weir_actions *t, size_t i)
{
	return (const struct weir_action *)((const char *)t->rows + i * t->stride);
}

static size_t value_size(const struct weir_opt *o)
{
	switch (o->kind) {
	case WEIR_OPT_FLAG:
		return sizeof(bool);
	case WEIR_OPT_COUNT:
		return sizeof(unsigned int);
	case WEIR_OPT_STR:
		return sizeof(const char *);
	case WEIR_OPT_CHOICE:
		return sizeof(int);
	case WEIR_OPT_LIST:
		return sizeof(struct weir_strv);
	case WEIR_OPT_U64:
	case WEIR_OPT_SIZE:
	case WEIR_OPT_DURATION:
		break;
	}
	return sizeof(uint64_t);
}

bool weir_action_given(const struct weir_opt *o, const void *opts, const void *fresh)
{
	return memcmp((const char *)opts + o->offset, (const char *)fresh + o->offset,
		      value_size(o)) != 0;
}

bool weir_action_takes(const struct weir_action *a, const char *option)
{
	char word[32];

	snprintf(word, sizeof(word), " %s ", option);
	return strstr(a->takes, word) != NULL;
}

/* The actions as an option table: one judgement of what is near. */
static int unknown(const struct weir_actions *t, const char *word, struct weir_error *err)
{
	struct weir_opt names[ACTIONS_MAX + 1] = { 0 };
	const char *near;
	size_t n = 0;

	for (size_t i = 0; i < t->n && n < ACTIONS_MAX; i++) {
		if (!row(t, i)->name[0])
			continue;
		names[n].name = row(t, i)->name;
		names[n++].help = row(t, i)->words;
	}
	near = weir_opt_nearest(names, word, strlen(word));
	if (near)
		return weir_fail(err, -EINVAL, "unknown action \"%s\": did you mean %s?", word,
				 near);
	if (t->unknown && t->unknown(word, err))
		return -EINVAL;
	return weir_fail(err, -EINVAL, "unknown action \"%s\": \"weir help %s\" lists them", word,
			 t->verb->name);
}

static int find(const struct weir_actions *t, const struct weir_strv *words, struct weir_error *err)
{
	const char *name = words->n ? words->v[0] : "";

	for (size_t i = 0; i < t->n; i++)
		if (strcmp(row(t, i)->name, name) == 0)
			return (int)i;
	if (words->n)
		return unknown(t, name, err);
	return weir_fail(err, -EINVAL, "no action given: \"weir help %s\" lists them",
			 t->verb->name);
}

static const char *called(const struct weir_action *a)
{
	return a->name[0] ? a->name : "running it";
}

/* Who takes it instead, as "allow, deny or limit". */
static void add_takers(const struct weir_actions *t, const char *option, struct weir_buf *out)
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < t->n; i++)
		n += weir_action_takes(row(t, i), option);
	for (size_t i = 0; i < t->n; i++)
		if (weir_action_takes(row(t, i), option))
			weir_buf_addf(out, "%s%s",
				      !at++   ? "" :
				      at == n ? " or " :
						", ",
				      called(row(t, i)));
}

static int check_options(const struct weir_actions *t, const struct weir_action *a,
			 const void *opts, const void *fresh, struct weir_error *err)
{
	weir_autobuf struct weir_buf takers = { 0 };

	for (const struct weir_opt *o = t->verb->options; o->name || o->short_name; o++) {
		if (!weir_action_given(o, opts, fresh) || weir_action_takes(a, o->name))
			continue;
		add_takers(t, o->name, &takers);
		return weir_fail(err, -EINVAL, "--%s does not go with %s: it is for %s", o->name,
				 called(a), takers.len ? takers.data : "others");
	}
	return 0;
}

static int check_words(const struct weir_actions *t, const struct weir_action *a,
		       const struct weir_strv *words, struct weir_error *err)
{
	if (words->n < a->min_words)
		return weir_fail(err, -EINVAL, "%s needs more words: weir %s %s %s", a->name,
				 t->verb->name, a->name, a->words);
	if (words->n > a->max_words)
		return weir_fail(err, -EINVAL, "\"%s\" is one argument too many: leave it out",
				 words->v[a->max_words]);
	return 0;
}

int weir_action_choose(const struct weir_actions *t, const struct weir_strv *words,
		       const void *opts, const void *fresh, struct weir_strv *ret_words,
		       struct weir_error *err)
{
	int at = find(t, words, err), ret;

	if (at < 0)
		return at;
	ret_words->n = words->n ? words->n - 1 : 0;
	memcpy(ret_words->v, words->v + 1, ret_words->n * sizeof(ret_words->v[0]));
	ret = check_options(t, row(t, (size_t)at), opts, fresh, err);
	if (!ret)
		ret = check_words(t, row(t, (size_t)at), ret_words, err);
	return ret ? ret : at;
}
