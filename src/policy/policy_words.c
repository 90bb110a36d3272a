/* SPDX-License-Identifier: GPL-2.0-only */
/* The text of a policy as words, statement by statement; and the file it is in. */
#include "policy/policy_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"


/* ---- Words */

void weir_policy_words_free(struct weir_policy_words *w)
{
	weir_buf_free(&w->store);
	free(w->v);
	*w = (struct weir_policy_words){ 0 };
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* The length of a backslash with the end of its line behind it, or 0. */
static size_t continuation(const struct weir_policy_text *t)
{
	const size_t left = (size_t)(t->end - t->s);

	if (left >= 2 && !memcmp(t->s, "\\\n", 2))
		return 2;
	return left >= 3 && !memcmp(t->s, "\\\r\n", 3) ? 3 : 0;
}

static void skip_blanks(struct weir_policy_text *t)
{
	while (t->s < t->end) {
		const size_t n = continuation(t);

		if (!n && !is_blank(*t->s))
			break;
		t->line += n > 0;
		t->s += n ? n : 1;
	}
	if (t->s < t->end && *t->s == '#')
		while (t->s < t->end && *t->s != '\n')
			t->s++;
}

/* What stands in quotes, to the closing one. There a continued line is a blank. */
static int take_quoted(struct weir_policy_text *t, struct weir_buf *out, struct weir_error *err)
{
	const char quote = *t->s++;

	while (t->s < t->end && *t->s != '\n' && *t->s != quote) {
		const size_t n = continuation(t);

		weir_buf_addc(out, n ? ' ' : *t->s);
		t->line += n > 0;
		t->s += n ? n : 1;
	}
	if (t->s == t->end || *t->s == '\n')
		return weir_fail(err, -EINVAL,
				 "the quote %c is not closed: close it on the same line", quote);
	t->s++;
	return 0;
}

static int take_word(struct weir_policy_text *t, struct weir_buf *out, struct weir_error *err)
{
	int ret = 0;

	while (!ret && t->s < t->end && *t->s != '\n' && !is_blank(*t->s) && !continuation(t)) {
		if (*t->s == '"' || *t->s == '\'')
			ret = take_quoted(t, out, err);
		else
			weir_buf_addc(out, *t->s++);
	}
	weir_buf_addc(out, '\0');
	return ret;
}

/* The words lie behind each other; only now does their place not change any more. */
static int list_words(struct weir_policy_words *w)
{
	const char *s = w->store.data;

	if (w->store.failed)
		return -ENOMEM;
	if (w->n > w->max) {
		const char **v = realloc(w->v, 2 * w->n * sizeof(*v));

		if (!v)
			return -ENOMEM;
		w->v = v;
		w->max = 2 * w->n;
	}
	for (size_t i = 0; i < w->n; i++, s += strlen(s) + 1)
		w->v[i] = s;
	return 0;
}

int weir_policy_words_next(struct weir_policy_text *t, struct weir_policy_words *w,
			   struct weir_error *err)
{
	int ret = 0;

	w->n = 0;
	weir_buf_reset(&w->store);
	while (!ret) {
		skip_blanks(t);
		if (t->s < t->end && *t->s != '\n') {
			if (!w->n++)
				w->line = t->line;
			ret = take_word(t, &w->store, err);
			continue;
		}
		if (w->n || t->s == t->end)
			break;
		t->s++;
		t->line++;
	}
	if (!ret && list_words(w))
		ret = weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	return ret ? ret : w->n > 0;
}

void weir_policy_words_quote(const char *word, struct weir_buf *out)
{
	if (*word && !strpbrk(word, " \t\r\v\f\n\\\"'") && *word != '#') {
		weir_buf_adds(out, word);
		return;
	}
	/* Each kind of quote stands within the other: the one that reaches further. */
	do {
		const size_t n = strcspn(word, "\""), m = strcspn(word, "'");
		const char quote = n < m ? '\'' : '"';

		weir_buf_addc(out, quote);
		weir_buf_add(out, word, n < m ? m : n);
		weir_buf_addc(out, quote);
		word += n < m ? m : n;
	} while (*word);
}

/* ---- The file */

static int read_all(FILE *f, const char *source, struct weir_buf *out, struct weir_error *err)
{
	int code = weir_file_read_all(f, WEIR_POLICY_TEXT_MAX, out);

	if (code == -ENOMEM)
		return weir_fail(err, code, "out of memory: free some and try again");
	if (code)
		return weir_fail(err, code, "cannot read %s (%s): name a file that can be read",
				 source, strerror(-code));
	return 0;
}

/* The directory to which the paths in file @path are relative. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	weir_autofree char *dir = NULL;

	if (!slash)
		return realpath(".", NULL);
	dir = strndup(path, (size_t)(slash - path) + 1);
	return dir ? realpath(dir, NULL) : NULL;
}

static int resolve_files(struct weir_policy *p, const char *path, struct weir_error *err)
{
	weir_autofree char *dir = NULL;

	for (size_t i = 0; i < p->n_sets; i++) {
		struct weir_policy_set *s = &p->sets[i];
		char *full = NULL;

		if (!s->file || *s->file == '/')
			continue;
		if (!dir)
			dir = directory_of(path);
		if (!dir) {
			const int code = -errno;

			return weir_fail(
				err, code,
				"cannot find out the directory of %s (%s): write the path of "
				"set %s in full",
				path, strerror(-code), s->name);
		}
		if (asprintf(&full, "%s/%s", strcmp(dir, "/") ? dir : "", s->file) < 0)
			return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
		free(s->file);
		s->file = full;
	}
	return 0;
}

int weir_policy_read(const char *path, struct weir_policy **ret, struct weir_error *err)
{
	const bool input = !strcmp(path, "-");
	const char *source = input ? "standard input" : path;
	weir_autofclose FILE *f = input ? fdopen(dup(STDIN_FILENO), "r") : fopen(path, "re");
	weir_autobuf struct weir_buf text = { 0 };
	weir_auto_policy *p = NULL;
	int r;

	if (!f) {
		const int code = -errno;

		return weir_fail(err, code, "cannot open %s (%s): name a policy file", source,
				 strerror(-code));
	}
	r = read_all(f, source, &text, err);
	if (!r)
		r = weir_policy_parse(text.data, text.len, source, 0, &p, err);
	if (!r)
		r = resolve_files(p, input ? "." : path, err);
	if (r)
		return r;
	*ret = WEIR_TAKE_PTR(p);
	return 0;
}
