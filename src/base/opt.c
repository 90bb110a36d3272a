/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/opt.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

#define USAGE_COLS 80u
#define USAGE_LEFT_MAX 30u /* a longer left column gets a line of its own */
#define USAGE_GAP 2u
#define NAME_MAX_LEN 40u   /* longer words are not compared with names */

struct parser {
	const struct weir_opt *table;
	int argc, next; /* next: index of the first word not yet taken */
	char **argv;
	char *opts;
	struct weir_strv *pos;
	struct weir_error *err;
	bool seen[WEIR_OPT_MAX];
};

static bool is_end(const struct weir_opt *o)
{
	return !o->name && !o->short_name;
}

static bool takes_value(const struct weir_opt *o)
{
	return o->kind != WEIR_OPT_FLAG && o->kind != WEIR_OPT_COUNT;
}

static const char *placeholder(const struct weir_opt *o)
{
	static const char *const by_kind[] = {
		[WEIR_OPT_FLAG] = NULL,	    [WEIR_OPT_COUNT] = NULL,
		[WEIR_OPT_STR] = "VALUE",   [WEIR_OPT_LIST] = "VALUE",
		[WEIR_OPT_U64] = "N",	    [WEIR_OPT_SIZE] = "SIZE",
		[WEIR_OPT_DURATION] = "TIME", [WEIR_OPT_CHOICE] = "WORD",
	};

	return takes_value(o) && o->arg ? o->arg : by_kind[o->kind];
}

static const char *after_slash(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "weir help VERB", or "weir help" before a verb is known. */
static void add_help_command(struct weir_buf *b, const struct parser *p)
{
	const char *verb = p->argc > 0 ? after_slash(p->argv[0]) : "";

	weir_buf_adds(b, "weir help");
	if (*verb && strcmp(verb, "weir") != 0)
		weir_buf_addf(b, " %s", verb);
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

/* Insertions, deletions, replacements and swaps of neighbours from @a to @b. */
static unsigned int edit_distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned int row[3][NAME_MAX_LEN + 1];
	unsigned int *before = row[0], *prev = row[1], *cur = row[2];

	for (unsigned int j = 0; j <= m; j++)
		prev[j] = j;
	for (unsigned int i = 1; i <= n; i++) {
		unsigned int *spare = before;

		cur[0] = i;
		for (unsigned int j = 1; j <= m; j++) {
			bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
				       a[i - 2] == b[j - 1];

			cur[j] = min3(prev[j] + 1, cur[j - 1] + 1,
				      prev[j - 1] + (a[i - 1] != b[j - 1]));
			if (swapped && before[j - 2] + 1 < cur[j])
				cur[j] = before[j - 2] + 1;
		}
		before = prev;
		prev = cur;
		cur = spare;
	}
	return prev[m];
}

/* Hidden names are not offered; a word that begins a name is near it. */
const char *weir_opt_nearest(const struct weir_opt *table, const char *word, size_t n)
{
	unsigned int best = (unsigned int)n / 4 + 1;
	const char *found = NULL;

	if (!n || n > NAME_MAX_LEN)
		return NULL;
	for (const struct weir_opt *o = table; !is_end(o); o++) {
		size_t m = o->name ? strlen(o->name) : 0;
		unsigned int d;

		if (!o->help || !m || m > NAME_MAX_LEN)
			continue;
		d = edit_distance(word, n, o->name, m);
		if (n >= 2 && m > n && !memcmp(word, o->name, n))
			d = 1;
		if (d < best || (d == best && !found)) {
			best = d;
			found = o->name;
		}
	}
	return found;
}

static int fail_unlisted(const struct parser *p, const char *part, const char *word)
{
	weir_autobuf struct weir_buf help = { 0 };

	add_help_command(&help, p);
	return weir_fail(p->err, -EINVAL, "unknown option %s%s: \"%s\" lists the options",
			 part, word, help.failed ? "weir help" : help.data);
}

static int fail_unknown(const struct parser *p, const char *shown, const char *word,
			size_t n)
{
	const char *near = weir_opt_nearest(p->table, word, n);

	if (!near)
		return fail_unlisted(p, "", shown);
	return weir_fail(p->err, -EINVAL, "unknown option %s: did you mean --%s?", shown,
			 near);
}

/* A bound as the user would write it: in the largest unit that divides it. */
static void add_bound(struct weir_buf *b, enum weir_opt_kind kind, uint64_t v)
{
	static const struct {
		enum weir_opt_kind kind;
		uint64_t factor;
		const char *name;
	} units[] = {
		{ WEIR_OPT_SIZE, 1ULL << 40, "t" },
		{ WEIR_OPT_SIZE, 1ULL << 30, "g" },
		{ WEIR_OPT_SIZE, 1ULL << 20, "m" },
		{ WEIR_OPT_SIZE, 1ULL << 10, "k" },
		{ WEIR_OPT_DURATION, 86400 * WEIR_NSEC_PER_SEC, "d" },
		{ WEIR_OPT_DURATION, 3600 * WEIR_NSEC_PER_SEC, "h" },
		{ WEIR_OPT_DURATION, 60 * WEIR_NSEC_PER_SEC, "m" },
		{ WEIR_OPT_DURATION, WEIR_NSEC_PER_SEC, "s" },
		{ WEIR_OPT_DURATION, 1000000, "ms" },
		{ WEIR_OPT_DURATION, 1000, "us" },
		{ WEIR_OPT_DURATION, 1, "ns" },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(units); i++) {
		if (units[i].kind == kind && v && v % units[i].factor == 0) {
			weir_buf_addu(b, v / units[i].factor);
			weir_buf_adds(b, units[i].name);
			return;
		}
	}
	weir_buf_addu(b, v);
	if (kind == WEIR_OPT_DURATION)
		weir_buf_adds(b, "s");
}

/* What the option takes, as "from 1 to 64"; @out stays empty without bounds. */
static void add_range(struct weir_buf *out, const struct weir_opt *o)
{
	if (o->max) {
		weir_buf_adds(out, "from ");
		add_bound(out, o->kind, o->min);
		weir_buf_adds(out, " to ");
		add_bound(out, o->kind, o->max);
	} else if (o->min) {
		weir_buf_adds(out, "of at least ");
		add_bound(out, o->kind, o->min);
	}
}

static int fail_number(const struct parser *p, const struct weir_opt *o,
		       const char *label, const char *val, int code)
{
	static const struct {
		const char *what, *example;
	} forms[] = {
		[WEIR_OPT_U64] = { "a whole number", "such as 10" },
		[WEIR_OPT_SIZE] = { "a size", "such as 512, 64k, 16m or 1g" },
		[WEIR_OPT_DURATION] = { "a duration", "such as 250ms, 10s, 5m or 1h" },
	};
	const char *example = forms[o->kind].example;
	weir_autobuf struct weir_buf range = { 0 };

	add_range(&range, o);
	if (code == -ERANGE && !range.len)
		return weir_fail(p->err, -EINVAL,
				 "%s \"%s\" does not fit 64 bits: give a smaller one", label,
				 val);
	if (code == -ERANGE)
		return weir_fail(p->err, -EINVAL, "%s \"%s\" is out of range: give one %s",
				 label, val, range.data);
	/* Units need an example more than a range. */
	if (o->kind == WEIR_OPT_U64 && range.len)
		example = range.data;
	return weir_fail(p->err, -EINVAL, "%s \"%s\" is not %s: give one %s", label, val,
			 forms[o->kind].what, example);
}

static int set_number(const struct parser *p, const struct weir_opt *o,
		      const char *label, const char *val)
{
	uint64_t v = 0;
	int r;

	if (o->kind == WEIR_OPT_SIZE)
		r = weir_parse_size(val, &v);
	else if (o->kind == WEIR_OPT_DURATION)
		r = weir_parse_duration(val, &v);
	else
		r = weir_parse_u64(val, 0, UINT64_MAX, &v);
	if (!r && (v < o->min || (o->max && v > o->max)))
		r = -ERANGE;
	if (r < 0)
		return fail_number(p, o, label, val, r);
	*(uint64_t *)(p->opts + o->offset) = v;
	return 0;
}

/* "line, hex or text" */
static void add_words(struct weir_buf *b, const char *const *words, const char *last)
{
	for (size_t i = 0; words[i]; i++) {
		if (i)
			weir_buf_adds(b, words[i + 1] ? ", " : last);
		weir_buf_adds(b, words[i]);
	}
}

static int set_choice(const struct parser *p, const struct weir_opt *o,
		      const char *label, const char *val)
{
	weir_autobuf struct weir_buf words = { 0 };

	for (int i = 0; o->choices[i]; i++) {
		if (!strcmp(o->choices[i], val)) {
			*(int *)(p->opts + o->offset) = i;
			return 0;
		}
	}
	add_words(&words, o->choices, " or ");
	return weir_fail(p->err, -EINVAL, "%s \"%s\" is not known: give %s", label, val,
			 words.data && !words.failed ? words.data : "another");
}

static int push(struct weir_strv *list, const char *val)
{
	if (list->n == WEIR_STRV_MAX)
		return -ENOSPC;
	list->v[list->n++] = val;
	return 0;
}

static int set_list(const struct parser *p, const struct weir_opt *o,
		    const char *label, const char *val)
{
	if (push((struct weir_strv *)(p->opts + o->offset), val) < 0)
		return weir_fail(p->err, -EINVAL,
				 "%s \"%s\" is one too many: give it at most %d times", label,
				 val, WEIR_STRV_MAX);
	return 0;
}

/* An alias is another row with the same place in the options struct. */
static bool given_before(const struct parser *p, const struct weir_opt *o)
{
	for (size_t i = 0; !is_end(&p->table[i]); i++)
		if (p->seen[i] && p->table[i].offset == o->offset)
			return true;
	return false;
}

static int set_str(struct parser *p, const struct weir_opt *o, const char *label,
		   const char *val)
{
	const char **place = (const char **)(p->opts + o->offset);

	if (given_before(p, o))
		return weir_fail(p->err, -EINVAL,
				 "%s \"%s\" after \"%s\": give it only once", label, val,
				 *place);
	*place = val;
	p->seen[o - p->table] = true;
	return 0;
}

static int set_value(struct parser *p, const struct weir_opt *o, const char *label,
		     const char *val)
{
	switch (o->kind) {
	case WEIR_OPT_STR:
		return set_str(p, o, label, val);
	case WEIR_OPT_LIST:
		return set_list(p, o, label, val);
	case WEIR_OPT_CHOICE:
		return set_choice(p, o, label, val);
	case WEIR_OPT_FLAG:
	case WEIR_OPT_COUNT:
	case WEIR_OPT_U64:
	case WEIR_OPT_SIZE:
	case WEIR_OPT_DURATION:
		break;
	}
	return set_number(p, o, label, val);
}

static void set_flag(const struct parser *p, const struct weir_opt *o)
{
	if (o->kind == WEIR_OPT_COUNT)
		++*(unsigned int *)(p->opts + o->offset);
	else
		*(bool *)(p->opts + o->offset) = true;
}

static const struct weir_opt *find_long(const struct weir_opt *table,
					const char *name, size_t n)
{
	for (const struct weir_opt *o = table; !is_end(o); o++)
		if (o->name && strlen(o->name) == n && !memcmp(o->name, name, n))
			return o;
	return NULL;
}

static const struct weir_opt *find_short(const struct weir_opt *table, char c)
{
	for (const struct weir_opt *o = table; c && !is_end(o); o++)
		if (o->short_name == c)
			return o;
	return NULL;
}

/* The value is the next word. */
static int take_value(struct parser *p, const struct weir_opt *o, const char *label)
{
	const char *val = p->next < p->argc ? p->argv[p->next] : NULL;

	if (!val)
		return weir_fail(p->err, -EINVAL, "%s needs a value: give %s %s", label,
				 label, placeholder(o));
	/* A forgotten value would swallow the option behind it. Who means the
	 * word as a value can still write --name=--word. */
	if (!strncmp(val, "--", 2) && find_long(p->table, val + 2, strcspn(val + 2, "=")))
		return weir_fail(p->err, -EINVAL,
				 "%s needs a value before %s: give %s %s", label, val, label,
				 placeholder(o));
	p->next++;
	return set_value(p, o, label, val);
}

static int parse_long(struct parser *p, const char *word)
{
	const char *name = word + 2;
	size_t n = strcspn(name, "=");
	const char *val = name[n] ? name + n + 1 : NULL;
	const struct weir_opt *o = find_long(p->table, name, n);
	weir_autobuf struct weir_buf label = { 0 };

	weir_buf_add(&label, word, n + 2);
	if (label.failed)
		return weir_fail(p->err, -ENOMEM, "out of memory: free some and try again");
	if (!o)
		return fail_unknown(p, label.data, name, n);
	if (takes_value(o))
		return val ? set_value(p, o, label.data, val) :
			     take_value(p, o, label.data);
	if (val)
		return weir_fail(p->err, -EINVAL, "%s takes no value: leave out \"=%s\"",
				 label.data, val);
	set_flag(p, o);
	return 0;
}

static int fail_unknown_short(const struct parser *p, const char *word, const char *at)
{
	size_t n = strlen(word + 1);
	char shown[sizeof("-x in ")] = "";

	/* "-count" is a long name behind one dash, unless a cluster had begun. */
	if (at == word + 1 && n > 1 && weir_opt_nearest(p->table, word + 1, n))
		return fail_unknown(p, word, word + 1, n);
	/* A part of a UTF-8 character would not be worth showing. */
	if (n > 1 && isascii((unsigned char)*at))
		snprintf(shown, sizeof(shown), "-%c in ", *at);
	return fail_unlisted(p, shown, word);
}

static int parse_short(struct parser *p, const char *word)
{
	for (const char *c = word + 1; *c; c++) {
		const struct weir_opt *o = find_short(p->table, *c);
		char label[] = { '-', *c, '\0' };

		if (!o)
			return fail_unknown_short(p, word, c);
		if (takes_value(o))
			return c[1] ? set_value(p, o, label, c + 1) :
				      take_value(p, o, label);
		set_flag(p, o);
	}
	return 0;
}

static int parse_positional(const struct parser *p, const char *word)
{
	if (push(p->pos, word) < 0)
		return weir_fail(p->err, -EINVAL,
				 "\"%s\" is one argument too many: give at most %d", word,
				 WEIR_STRV_MAX);
	return 0;
}

int weir_opt_parse(const struct weir_opt *table, int argc, char **argv,
		   void *opts, struct weir_strv *pos, struct weir_error *err)
{
	struct parser p = {
		.table = table,
		.argc = argc,
		.next = 1,
		.argv = argv,
		.opts = opts,
		.pos = pos,
		.err = err,
	};
	bool options = true;
	size_t rows = 0;

	while (!is_end(&table[rows]))
		rows++;
	assert(rows < WEIR_OPT_MAX);
	while (p.next < argc) {
		const char *word = argv[p.next++];
		int r = 0;

		if (!options || word[0] != '-' || !word[1] || !strcmp(word, "->"))
			r = parse_positional(&p, word);
		else if (word[1] != '-')
			r = parse_short(&p, word);
		else if (word[2])
			r = parse_long(&p, word);
		else
			options = false;
		if (r < 0)
			return r;
	}
	return 0;
}

static void add_left(struct weir_buf *b, const struct weir_opt *o)
{
	const char *arg = placeholder(o);

	if (o->short_name)
		weir_buf_addf(b, "  -%c%s", o->short_name, o->name ? ", " : "");
	else
		weir_buf_adds(b, "      ");
	if (o->name)
		weir_buf_addf(b, "--%s", o->name);
	if (arg)
		weir_buf_addf(b, " %s", arg);
}

static void add_spaces(struct weir_buf *b, size_t n)
{
	while (n--)
		weir_buf_addc(b, ' ');
}

/* @text word by word into the right column; the cursor is in column @col. */
static void add_wrapped(struct weir_buf *b, const char *text, size_t col, size_t indent)
{
	bool first = true;

	add_spaces(b, indent - col);
	col = indent;
	while (*(text += strspn(text, " "))) {
		size_t n = strcspn(text, " ");

		if (!first && col + 1 + n > USAGE_COLS - 1) {
			weir_buf_addc(b, '\n');
			add_spaces(b, indent);
			col = indent;
		} else if (!first) {
			weir_buf_addc(b, ' ');
			col++;
		}
		weir_buf_add(b, text, n);
		col += n;
		text += n;
		first = false;
	}
	weir_buf_addc(b, '\n');
}

static size_t left_width(const struct weir_opt *table, struct weir_buf *scratch)
{
	size_t width = 0;

	for (const struct weir_opt *o = table; !is_end(o); o++) {
		if (!o->help)
			continue;
		weir_buf_reset(scratch);
		add_left(scratch, o);
		if (scratch->len > width && scratch->len <= USAGE_LEFT_MAX)
			width = scratch->len;
	}
	return width;
}

static void add_row(struct weir_buf *out, const struct weir_opt *o, size_t indent,
		    struct weir_buf *scratch)
{
	size_t col;

	weir_buf_reset(scratch);
	add_left(scratch, o);
	if (scratch->failed) {
		out->failed = true;
		return;
	}
	weir_buf_add(out, scratch->data, scratch->len);
	col = scratch->len;
	if (col + USAGE_GAP > indent) {
		weir_buf_addc(out, '\n');
		col = 0;
	}
	weir_buf_reset(scratch);
	weir_buf_adds(scratch, o->help);
	if (o->kind == WEIR_OPT_CHOICE) {
		weir_buf_adds(scratch, ": ");
		add_words(scratch, o->choices, " or ");
	}
	if (scratch->failed)
		out->failed = true;
	else
		add_wrapped(out, scratch->data, col, indent);
}

void weir_opt_usage(const struct weir_opt *table, struct weir_buf *out)
{
	weir_autobuf struct weir_buf scratch = { 0 };
	size_t indent = left_width(table, &scratch) + USAGE_GAP;
	const char *group = "Options", *printed = NULL;

	for (const struct weir_opt *o = table; !is_end(o); o++) {
		if (o->group)
			group = o->group;
		if (!o->help)
			continue;
		if (!printed || strcmp(printed, group) != 0)
			weir_buf_addf(out, "%s%s:\n", printed ? "\n" : "", group);
		printed = group;
		add_row(out, o, indent, &scratch);
	}
}

static void add_hint(struct weir_buf *out, const struct weir_opt *o)
{
	if (o->complete || o->kind != WEIR_OPT_CHOICE) {
		weir_buf_adds(out, o->complete ? o->complete : "-");
		return;
	}
	weir_buf_adds(out, "words:");
	for (size_t i = 0; o->choices[i]; i++) {
		if (i)
			weir_buf_addc(out, ' ');
		weir_buf_adds(out, o->choices[i]);
	}
}

void weir_opt_complete(const struct weir_opt *table, struct weir_buf *out)
{
	for (const struct weir_opt *o = table; !is_end(o); o++) {
		const char *arg = placeholder(o);

		if (!o->help)
			continue;
		weir_buf_addf(out, "%s%s\t", o->name ? "--" : "-", o->name ? o->name : "");
		if (o->short_name)
			weir_buf_addf(out, "-%c\t", o->short_name);
		else
			weir_buf_adds(out, "-\t");
		weir_buf_addf(out, "%s\t", arg ? arg : "-");
		add_hint(out, o);
		weir_buf_addc(out, '\n');
	}
}
