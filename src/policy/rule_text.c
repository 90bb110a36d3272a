/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/rule_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

int weir_rule_text_parse(const struct weir_rule_text *t, const char *text, size_t len, void *arg,
			 struct weir_error *err)
{
	struct weir_policy_text at = { text, text + len, 1 };
	struct weir_policy_words words = { 0 };
	int r = 0;

	if (len > t->most)
		return weir_fail(err, -E2BIG, "%s: longer than %zu MiB: shorten it", t->source,
				 t->most >> 20);
	if (len && memchr(text, '\0', len))
		return weir_fail(err, -EINVAL, "%s: holds a NUL: name a text file", t->source);
	while (!r && (r = weir_policy_words_next(&at, &words, err)) > 0)
		r = t->take(arg, &words, err);
	if (r)
		weir_fail_prefix(err, r, "%s:%u", t->source, words.line);
	weir_policy_words_free(&words);
	return r;
}

int weir_rule_text_read(const char *path, size_t most, struct weir_buf *ret, struct weir_error *err)
{
	int code = weir_file_read(path, most, ret);

	return code ? weir_fail(err, code, "cannot read %s (%s): name a file of rules",
				weir_file_name(path), strerror(-code)) :
		      0;
}

size_t weir_rule_text_name(const struct weir_policy_words *words, char ret[WEIR_RULE_NAME_MAX + 1])
{
	const char *first = words->v[0];
	size_t n = strlen(first);

	if (!n || first[n - 1] != ':')
		return 0;
	snprintf(ret, WEIR_RULE_NAME_MAX + 1, "%.*s", (int)(n - 1), first);
	return 1;
}

int weir_rule_text_set_name(const char *given, const char *kind, const struct weir_buf *words,
			    char ret[WEIR_RULE_NAME_MAX], struct weir_error *err)
{
	if (given && weir_policy_check_rule_name(given, err))
		return -EINVAL;
	if (!given && words->failed)
		return oom(err);
	if (given)
		snprintf(ret, WEIR_RULE_NAME_MAX, "%s", given);
	else
		snprintf(ret, WEIR_RULE_NAME_MAX, "%s-%08x", kind,
			 weir_policy_hash(words->data, words->len));
	return 0;
}

int weir_rule_text_options(const struct weir_policy_words *words, size_t from, const char *verb,
			   const struct weir_opt *table, void *opts, struct weir_buf *expression,
			   struct weir_error *err)
{
	weir_autofree struct weir_strv *rest = calloc(1, sizeof(*rest));
	weir_autofree char **argv = calloc(words->n - from + 2, sizeof(*argv));
	int ret;

	if (!rest || !argv)
		return oom(err);
	argv[0] = (char *)verb;
	for (size_t i = from; i < words->n; i++)
		argv[i - from + 1] = (char *)words->v[i];
	ret = weir_opt_parse(table, (int)(words->n - from) + 1, argv, opts, rest, err);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < rest->n; i++)
		weir_buf_addf(expression, "%s%s", i ? " " : "", rest->v[i]);
	return expression->failed ? oom(err) : 0;
}
