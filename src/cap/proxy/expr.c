/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/expr.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <regex.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define WORDS(bits) (((bits) + 63) / 64)
#define NO_END UINT_MAX /* of a repetition: as often as you like */

/* A program whose jumps are relative, so that parts of it can be moved and copied. */
enum op {
	OP_SET,	  /* one character of a set */
	OP_SPLIT, /* here and there */
	OP_JUMP,
	OP_BEGIN, /* only at the beginning of the text */
	OP_END,
	OP_MATCH,
};

struct insn {
	uint8_t op;
	int16_t jump; /* of SPLIT, JUMP: from this instruction */
	uint16_t set; /* of SET */
};

struct set {
	uint64_t has[WORDS(256)];
};

struct weir_expr {
	struct insn *insn;
	unsigned int n;
	struct set *sets;
	unsigned int n_sets;
	struct set first; /* what a match can begin with, but at the text's ends */
};

struct parser {
	const char *at;
	unsigned int depth;
	struct weir_expr *e;
	struct weir_error *err;
};

/* ---- Sets */

static void set_add(struct set *s, unsigned char c)
{
	s->has[c / 64] |= 1ULL << c % 64;
}

static bool set_has(const struct set *s, unsigned char c)
{
	return s->has[c / 64] >> c % 64 & 1;
}

static void set_invert(struct set *s)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(s->has); i++)
		s->has[i] = ~s->has[i];
}

/* Both cases of what is there in one. */
static void set_fold(struct set *s)
{
	for (int c = 'a'; c <= 'z'; c++) {
		if (set_has(s, (unsigned char)c) || set_has(s, (unsigned char)toupper(c))) {
			set_add(s, (unsigned char)c);
			set_add(s, (unsigned char)toupper(c));
		}
	}
}

/* ---- Errors */

static int fail(const struct parser *p, const char *what)
{
	return weir_fail(p->err, -EINVAL, "%s", what);
}

static int fail_code(const struct parser *p, int code)
{
	const regex_t none = { 0 };
	char text[100];

	regerror(code, &none, text, sizeof(text));
	return fail(p, text);
}

static int oom(const struct parser *p)
{
	return weir_fail(p->err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Writing the program */

static int emit(struct parser *p, enum op op, int jump)
{
	struct weir_expr *e = p->e;

	/* One is kept for the end. */
	if (e->n >= WEIR_EXPR_STEPS_MAX - 1)
		return fail(p, "its repetitions make it too large");
	e->insn[e->n++] = (struct insn){ .op = (uint8_t)op, .jump = (int16_t)jump };
	return 0;
}

/* Before the part that goes from @from to the end. */
static int insert(struct parser *p, unsigned int from, enum op op, int jump)
{
	struct weir_expr *e = p->e;
	int ret = emit(p, op, jump);

	if (ret)
		return ret;
	memmove(&e->insn[from + 1], &e->insn[from], (e->n - 1 - from) * sizeof(e->insn[0]));
	e->insn[from] = (struct insn){ .op = (uint8_t)op, .jump = (int16_t)jump };
	return 0;
}

static int emit_set(struct parser *p, const struct set *s)
{
	struct weir_expr *e = p->e;
	unsigned int at = 0;
	int ret = emit(p, OP_SET, 0);

	if (ret)
		return ret;
	while (at < e->n_sets && memcmp(&e->sets[at], s, sizeof(*s)))
		at++;
	if (at == e->n_sets) {
		struct set *sets = reallocarray(e->sets, at + 1, sizeof(*sets));

		if (!sets)
			return oom(p);
		e->sets = sets;
		e->sets[e->n_sets++] = *s;
	}
	e->insn[e->n - 1].set = (uint16_t)at;
	return 0;
}

static int emit_char(struct parser *p, char c)
{
	struct set s = { { 0 } };

	set_add(&s, (unsigned char)c);
	set_fold(&s);
	return emit_set(p, &s);
}

static int emit_copy(struct parser *p, const struct insn *part, unsigned int n)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < n; i++) {
		ret = emit(p, part[i].op, part[i].jump);
		if (!ret)
			p->e->insn[p->e->n - 1].set = part[i].set;
	}
	return ret;
}

/* ---- Brackets */

static int add_class(struct parser *p, struct set *s)
{
	static const struct {
		const char *name;
		int (*is)(int c);
	} classes[] = {
		{ "alnum:]", isalnum }, { "alpha:]", isalpha }, { "blank:]", isblank },
		{ "cntrl:]", iscntrl }, { "digit:]", isdigit }, { "graph:]", isgraph },
		{ "lower:]", islower }, { "print:]", isprint }, { "punct:]", ispunct },
		{ "space:]", isspace }, { "upper:]", isupper }, { "xdigit:]", isxdigit },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(classes); i++) {
		if (strncmp(p->at, classes[i].name, strlen(classes[i].name)))
			continue;
		p->at += strlen(classes[i].name);
		for (int c = 0; c < 128; c++)
			if (classes[i].is(c))
				set_add(s, (unsigned char)c);
		return 0;
	}
	return fail_code(p, strstr(p->at, ":]") ? REG_ECTYPE : REG_EBRACK);
}

/* One character, or a range. */
static int add_range(struct parser *p, struct set *s)
{
	unsigned char low = (unsigned char)*p->at++, high = low;

	if (p->at[0] == '-' && p->at[1] && p->at[1] != ']') {
		if (p->at[1] == '[' && p->at[2] && strchr(".=:", p->at[2]))
			return fail_code(p, REG_ERANGE);
		high = (unsigned char)p->at[1];
		p->at += 2;
	}
	if (low > high)
		return fail_code(p, REG_ERANGE);
	for (unsigned int c = low; c <= high; c++)
		set_add(s, (unsigned char)c);
	return 0;
}

/* Behind the "[". */
static int parse_set(struct parser *p)
{
	struct set s = { { 0 } };
	bool invert = *p->at == '^', first = true;
	int ret = 0;

	p->at += invert;
	for (; !ret && (*p->at != ']' || first); first = false) {
		if (!*p->at)
			return fail_code(p, REG_EBRACK);
		/* By POSIX it is itself, but it is no part of a name: other languages' habit. */
		if (*p->at == '\\')
			return fail(p, "a backslash escapes nothing between brackets");
		if (p->at[0] == '[' && p->at[1] == ':') {
			p->at += 2;
			ret = add_class(p, &s);
		} else if (p->at[0] == '[' && (p->at[1] == '.' || p->at[1] == '=')) {
			ret = fail_code(p, REG_ECOLLATE);
		} else {
			ret = add_range(p, &s);
		}
	}
	if (ret)
		return ret;
	p->at++;
	set_fold(&s);
	if (invert)
		set_invert(&s);
	return emit_set(p, &s);
}

/* ---- Repetitions */

/* A number of repetitions; what is too large for one stays so. False: there is none. */
static bool take_number(struct parser *p, unsigned int *ret)
{
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)*p->at))
		return false;
	v = strtoul(p->at, &end, 10);
	p->at = end;
	*ret = v > WEIR_EXPR_REPEAT_MAX ? WEIR_EXPR_REPEAT_MAX + 1 : (unsigned int)v;
	return true;
}

/* "{2}", "{2,}", "{,3}", "{2,3}", behind the "{". */
static int parse_bounds(struct parser *p, unsigned int *min, unsigned int *max)
{
	bool given;

	*min = 0;
	given = take_number(p, min);
	*max = *min;
	if (*p->at == ',') {
		p->at++;
		*max = NO_END;
		given = take_number(p, max) || given;
	}
	if (!*p->at)
		return fail_code(p, REG_EBRACE);
	if (*p->at++ != '}' || !given || *min > *max)
		return fail_code(p, REG_BADBR);
	if (*min > WEIR_EXPR_REPEAT_MAX || (*max > WEIR_EXPR_REPEAT_MAX && *max != NO_END))
		return fail(p, "a repetition of more than 255 times");
	return 0;
}

/* The part that begins at @from: as often as you like. */
static int make_star(struct parser *p, unsigned int from)
{
	int n = (int)(p->e->n - from), ret = insert(p, from, OP_SPLIT, n + 2);

	return ret ? ret : emit(p, OP_JUMP, -(n + 1));
}

static int repeat(struct parser *p, unsigned int from, unsigned int min, unsigned int max)
{
	weir_autofree struct insn *part = NULL;
	unsigned int n = p->e->n - from;
	int ret = 0;

	part = malloc((n + 1) * sizeof(*part));
	if (!part)
		return oom(p);
	memcpy(part, &p->e->insn[from], n * sizeof(*part));
	p->e->n = from;
	for (unsigned int i = 0; !ret && i < min; i++)
		ret = emit_copy(p, part, n);
	if (max == NO_END) {
		from = p->e->n;
		ret = ret ? ret : emit_copy(p, part, n);
		return ret ? ret : make_star(p, from);
	}
	/* Each of the rest may be the end of it. */
	for (unsigned int i = min; !ret && i < max; i++) {
		ret = emit(p, OP_SPLIT, (int)((max - i) * (n + 1)));
		ret = ret ? ret : emit_copy(p, part, n);
	}
	return ret;
}

/* What stands behind the part that begins at @from. */
static int parse_repetitions(struct parser *p, unsigned int from)
{
	unsigned int min, max;
	int ret = 0;

	while (!ret && *p->at && strchr("*+?{", *p->at)) {
		switch (*p->at++) {
		case '*':
			ret = make_star(p, from);
			break;
		case '+':
			ret = emit(p, OP_SPLIT, 2);
			ret = ret ? ret : emit(p, OP_JUMP, -(int)(p->e->n - from));
			break;
		case '?':
			ret = insert(p, from, OP_SPLIT, (int)(p->e->n - from) + 1);
			break;
		default:
			ret = parse_bounds(p, &min, &max);
			ret = ret ? ret : repeat(p, from, min, max);
		}
	}
	return ret;
}

/* ---- Characters, groups, alternatives */

static int parse_escape(struct parser *p)
{
	char c = *p->at;

	if (!c)
		return fail_code(p, REG_EESCAPE);
	if (c >= '1' && c <= '9')
		return fail(p, "back references are not offered");
	if (isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || strchr("<>`'", c))
		return weir_fail(p->err, -EINVAL, "\\%c is not of extended regular expressions", c);
	p->at++;
	return emit_char(p, c);
}

static int parse_any(struct parser *p);

static int parse_atom(struct parser *p)
{
	struct set all = { { 0 } };
	int ret;

	switch (*p->at++) {
	case '(':
		if (p->depth++ == WEIR_EXPR_DEPTH_MAX)
			return fail(p, "its parentheses are nested too deep");
		ret = parse_any(p);
		p->depth--;
		if (!ret && *p->at++ != ')')
			return fail_code(p, REG_EPAREN);
		return ret;
	case '[':
		return parse_set(p);
	case '.':
		set_invert(&all);
		return emit_set(p, &all);
	case '\\':
		return parse_escape(p);
	case '*':
	case '+':
	case '?':
	case '{':
		return fail_code(p, REG_BADRPT);
	default:
		break;
	}
	return emit_char(p, p->at[-1]);
}

/* Up to "|", ")", or the end. */
static int parse_branch(struct parser *p)
{
	int ret = 0;

	while (!ret && *p->at && *p->at != '|' && *p->at != ')') {
		unsigned int from = p->e->n;

		if (*p->at == '^' || *p->at == '$') {
			ret = emit(p, *p->at == '^' ? OP_BEGIN : OP_END, 0);
			p->at++;
			if (!ret && *p->at && strchr("*+?{", *p->at))
				ret = fail_code(p, REG_BADRPT);
			continue;
		}
		ret = parse_atom(p);
		if (!ret)
			ret = parse_repetitions(p, from);
	}
	return ret;
}

static int parse_any(struct parser *p)
{
	struct weir_expr *e = p->e;
	unsigned int last = 0; /* of the jumps to the end, each of which leads to the one before */
	bool any = false;

	for (;;) {
		unsigned int from = e->n;
		int ret = parse_branch(p);

		if (ret)
			return ret;
		if (*p->at != '|')
			break;
		p->at++;
		ret = insert(p, from, OP_SPLIT, (int)(e->n - from) + 2);
		if (!ret)
			ret = emit(p, OP_JUMP, any ? (int)last : 0);
		if (ret)
			return ret;
		last = e->n - 1;
		any = true;
	}
	while (any) {
		unsigned int before = (unsigned int)e->insn[last].jump;

		e->insn[last].jump = (int16_t)(e->n - last);
		any = before != 0;
		last = before;
	}
	return 0;
}

/* ---- Matching */

/* Where the program stands, at one place of the text. */
struct front {
	uint16_t at[WEIR_EXPR_STEPS_MAX]; /* at a SET */
	unsigned int n;
	uint64_t seen[WORDS(WEIR_EXPR_STEPS_MAX)];
};

static void front_clear(struct front *f, unsigned int n)
{
	f->n = 0;
	memset(f->seen, 0, WORDS(n) * sizeof(f->seen[0]));
}

/* Add @at and where it leads to without a character; true: to a match. Each instruction
 * is gone into once and adds one at most to what is to be done, so that there is room. */
static bool front_add(const struct weir_expr *e, struct front *f, unsigned int at, bool begin,
		      bool end)
{
	uint16_t todo[WEIR_EXPR_STEPS_MAX];
	unsigned int n = 0;

	todo[n++] = (uint16_t)at;
	while (n) {
		const struct insn *i;

		at = todo[--n];
		if (f->seen[at / 64] >> at % 64 & 1)
			continue;
		f->seen[at / 64] |= 1ULL << at % 64;
		i = &e->insn[at];
		if (i->op == OP_MATCH)
			return true;
		if (i->op == OP_SET)
			f->at[f->n++] = (uint16_t)at;
		if (i->op == OP_SPLIT || i->op == OP_JUMP)
			todo[n++] = (uint16_t)((int)at + i->jump);
		if (i->op == OP_SPLIT || (i->op == OP_BEGIN && begin) || (i->op == OP_END && end))
			todo[n++] = (uint16_t)(at + 1);
	}
	return false;
}

bool weir_expr_match(const struct weir_expr *e, const char *text)
{
	struct front fronts[2], *now = &fronts[0], *next = &fronts[1], *swap;
	const char *s = text;

	front_clear(now, e->n);
	for (;; s++) {
		/* A match may begin anywhere; mostly it can be seen at once that it does not. */
		if ((!*s || s == text || set_has(&e->first, (unsigned char)*s)) &&
		    front_add(e, now, 0, s == text, !*s))
			return true;
		if (!*s)
			return false;
		front_clear(next, e->n);
		for (unsigned int i = 0; i < now->n; i++)
			if (set_has(&e->sets[e->insn[now->at[i]].set], (unsigned char)*s) &&
			    front_add(e, next, now->at[i] + 1U, false, !s[1]))
				return true;
		swap = now;
		now = next;
		next = swap;
	}
}

/* ---- The whole */

static void find_first(struct weir_expr *e)
{
	struct front f;

	front_clear(&f, e->n);
	front_add(e, &f, 0, false, false);
	for (unsigned int i = 0; i < f.n; i++)
		for (size_t w = 0; w < WEIR_ARRAY_SIZE(e->first.has); w++)
			e->first.has[w] |= e->sets[e->insn[f.at[i]].set].has[w];
}

static int compile(struct parser *p)
{
	struct weir_expr *e = p->e;
	struct insn *fit;
	int ret;

	e->insn = calloc(WEIR_EXPR_STEPS_MAX, sizeof(*e->insn));
	if (!e->insn)
		return oom(p);
	ret = parse_any(p);
	if (!ret && *p->at == ')')
		ret = fail_code(p, REG_ERPAREN);
	if (ret)
		return ret;
	e->insn[e->n++] = (struct insn){ .op = OP_MATCH };
	find_first(e);
	fit = reallocarray(e->insn, e->n, sizeof(*fit));
	if (fit)
		e->insn = fit;
	return 0;
}

int weir_expr_new(const char *pattern, struct weir_expr **ret, struct weir_error *err)
{
	struct weir_expr *e = calloc(1, sizeof(*e));
	struct parser p = { .at = pattern, .e = e, .err = err };
	int code = e ? compile(&p) : oom(&p);

	if (code) {
		weir_expr_free(e);
		return code;
	}
	*ret = e;
	return 0;
}

void weir_expr_free(struct weir_expr *e)
{
	if (e) {
		free(e->insn);
		free(e->sets);
	}
	free(e);
}
