/* SPDX-License-Identifier: GPL-2.0-only */
/* A policy from its text. */
#include "policy/policy_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define NAME_SLOTS (2 * WEIR_POLICY_RULES_MAX) /* a power of two, half of it empty */

struct parser {
	const char *source;
	unsigned int flags;
	struct weir_policy *p;
	struct weir_policy_words words;
	size_t max_rules;
	uint16_t slots[NAME_SLOTS]; /* index of a rule + 1, by the hash of its name */
	uint16_t again[NAME_SLOTS]; /* how often that name was made once more */
	struct weir_error *err;
};

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Pairs of a word and its value */

#define KEYS_MAX 9 /* with the end */

struct key {
	const char *word;
	const char *const *choices; /* NULL: any word */
	bool kernel;		    /* only in the kernel's text */
};

struct value {
	const char *word; /* NULL: not given */
	int choice;
};

static void add_list(struct weir_buf *out, const char *word, bool first, bool last)
{
	if (!first)
		weir_buf_adds(out, last ? " or " : ", ");
	weir_buf_adds(out, word);
}

static int fail_key(const struct parser *x, const struct key *keys, const char *word)
{
	weir_autobuf struct weir_buf list = { 0 };

	for (const struct key *k = keys; k->word && !k->kernel; k++)
		add_list(&list, k->word, k == keys, !k[1].word || k[1].kernel);
	return weir_fail(x->err, -EINVAL, "\"%s\": not a word of \"%s\": use %s", word,
			 x->words.v[0], list.failed ? "another" : list.data);
}

static int take_choice(const struct parser *x, const struct key *k, struct value *v)
{
	weir_autobuf struct weir_buf list = { 0 };

	for (v->choice = 0; k->choices[v->choice]; v->choice++)
		if (!strcmp(v->word, k->choices[v->choice]))
			return 0;
	for (size_t i = 0; k->choices[i]; i++)
		add_list(&list, k->choices[i], !i, !k->choices[i + 1]);
	return weir_fail(x->err, -EINVAL, "\"%s\": not known behind %s: give %s", v->word, k->word,
			 list.failed ? "another" : list.data);
}

/* The pairs behind the second word of the statement. */
static int take_pairs(const struct parser *x, const struct key *keys, struct value *values)
{
	const struct weir_policy_words *w = &x->words;

	for (size_t i = 2; i < w->n; i += 2) {
		const struct key *k = keys;
		struct value *v;
		int ret = 0;

		while (k->word && (strcmp(k->word, w->v[i]) != 0 ||
				   (k->kernel && !(x->flags & WEIR_POLICY_KERNEL))))
			k++;
		if (!k->word)
			return fail_key(x, keys, w->v[i]);
		v = &values[k - keys];
		if (v->word)
			return weir_fail(x->err, -EINVAL,
					 "\"%s\": given twice: leave one of them out", k->word);
		if (i + 1 == w->n)
			return weir_fail(x->err, -EINVAL, "\"%s\": without a value: give one",
					 k->word);
		v->word = w->v[i + 1];
		if (k->choices)
			ret = take_choice(x, k, v);
		if (ret)
			return ret;
	}
	return 0;
}

static int take_number(const struct parser *x, const struct value *v, uint64_t max, uint32_t *ret)
{
	uint64_t n = 0;

	if (v->word && weir_parse_u64(v->word, 0, max, &n))
		return weir_fail(x->err, -EINVAL, "\"%s\": not a number: give one up to %llu",
				 v->word, (unsigned long long)max);
	*ret = (uint32_t)n;
	return 0;
}

static int take_owner(const struct parser *x, const struct value *v, char ret[WEIR_RULE_OWNER_MAX])
{
	if (!v->word)
		return 0;
	if (strlen(v->word) >= WEIR_RULE_OWNER_MAX || !weir_policy_is_rule_name(v->word) ||
	    !strcmp(v->word, WEIR_POLICY_OWNER))
		return weir_fail(x->err, -EINVAL, "\"%s\": not another owner: give proxy", v->word);
	snprintf(ret, WEIR_RULE_OWNER_MAX, "%s", v->word);
	return 0;
}

/* ---- interface */

enum iface_key {
	IFACE_MODE,
	IFACE_DEFAULT,
	IFACE_HOOK,
	IFACE_DIRECTION,
	IFACE_FRAGMENTS,
	IFACE_MALFORMED,
	IFACE_NUMBER,
	IFACE_OWNER,
};

const char *const weir_policy_modes[] = {
	[WEIR_XDP_AUTO] = "auto",
	[WEIR_XDP_NATIVE] = "native",
	[WEIR_XDP_GENERIC] = "generic",
	NULL,
};
static const char *const defaults[] = { "pass", "drop", NULL };
static const char *const ways[] = { "in", "out", NULL };
static const char *const fragments[] = {
	[WEIR_FRAGMENTS_FOLLOW] = "follow",
	[WEIR_FRAGMENTS_PASS] = "pass",
	[WEIR_FRAGMENTS_DROP] = "drop",
	NULL,
};
static const char *const malformed[] = { "drop", "pass", NULL };

static const struct key iface_keys[KEYS_MAX] = {
	[IFACE_MODE] = { "mode", weir_policy_modes, false },
	[IFACE_DEFAULT] = { "default", defaults, false },
	[IFACE_HOOK] = { "hook", weir_policy_hook_names, false },
	[IFACE_DIRECTION] = { "direction", ways, false },
	[IFACE_FRAGMENTS] = { "fragments", fragments, false },
	[IFACE_MALFORMED] = { "malformed", malformed, false },
	[IFACE_NUMBER] = { "number", NULL, true },
	[IFACE_OWNER] = { "owner", NULL, true },
};

/* The hook where none is given, and what a hook can't do. */
static int settle_hook(const struct parser *x, const struct value *v, struct weir_policy_iface *f)
{
	if (!v[IFACE_HOOK].word && f->out)
		f->hook = WEIR_HOOK_TC;
	if (f->hook == WEIR_HOOK_XDP && f->out)
		return weir_fail(x->err, -EINVAL,
				 "\"out\": XDP does not see what leaves: write hook tc");
	if (f->hook != WEIR_HOOK_XDP && v[IFACE_MODE].word)
		return weir_fail(x->err, -EINVAL,
				 "\"%s\": only XDP has modes, and the hook is %s: leave mode out",
				 v[IFACE_MODE].word, weir_policy_hook_names[f->hook]);
	return 0;
}

static int take_iface(struct parser *x)
{
	const struct weir_policy_words *w = &x->words;
	struct weir_policy_iface f = { 0 };
	struct value v[KEYS_MAX] = { 0 };
	int ret;

	if (w->n < 2)
		return weir_fail(x->err, -EINVAL, "\"interface\": without a name: give one");
	if (!weir_policy_is_iface_name(w->v[1]))
		return weir_fail(
			x->err, -EINVAL,
			"\"%s\": cannot be the name of an interface: give one of up to %zu "
			"characters",
			w->v[1], sizeof(f.name) - 1);
	memcpy(f.name, w->v[1], strlen(w->v[1]) + 1);
	ret = take_pairs(x, iface_keys, v);
	if (ret)
		return ret;
	f.mode = (enum weir_xdp_mode)v[IFACE_MODE].choice;
	f.row.drop = (uint8_t)v[IFACE_DEFAULT].choice;
	f.hook = (enum weir_policy_hook)v[IFACE_HOOK].choice;
	f.out = v[IFACE_DIRECTION].choice;
	f.row.fragments = (uint8_t)v[IFACE_FRAGMENTS].choice;
	f.row.unread_pass = (uint8_t)v[IFACE_MALFORMED].choice;
	ret = take_number(x, &v[IFACE_NUMBER], WEIR_FILTER_ROWS - 1, &f.index);
	if (!ret)
		ret = take_owner(x, &v[IFACE_OWNER], f.owner);
	if (!ret)
		ret = settle_hook(x, v, &f);
	if (ret)
		return ret;
	if (weir_policy_find_iface(x->p, f.name, f.hook, f.out))
		return weir_fail(x->err, -EINVAL,
				 "\"%s\": a second line for %s %s: leave one of them out", f.name,
				 weir_policy_hook_names[f.hook], f.out ? "out" : "in");
	if (x->p->n_ifaces == WEIR_FILTER_ROWS)
		return weir_fail(x->err, -E2BIG,
				 "\"%s\": the %dth line of an interface: give %d at "
				 "most",
				 f.name, WEIR_FILTER_ROWS + 1, WEIR_FILTER_ROWS);
	x->p->ifaces[x->p->n_ifaces++] = f;
	return 0;
}

/* ---- set */

enum set_key { SET_FILE, SET_NUMBER, SET_OWNER };

static const struct key set_keys[KEYS_MAX] = {
	[SET_FILE] = { "file", NULL, false },
	[SET_NUMBER] = { "number", NULL, true },
	[SET_OWNER] = { "owner", NULL, true },
};

static int take_set(struct parser *x)
{
	const struct weir_policy_words *w = &x->words;
	struct value v[KEYS_MAX] = { 0 };
	char owner[WEIR_RULE_OWNER_MAX] = "";
	struct weir_policy_set *s = NULL;
	const size_t before = x->p->n_sets;
	const char *path;
	uint32_t number = 0;
	int ret;

	if (w->n < 2)
		return weir_fail(x->err, -EINVAL, "\"set\": without a name: give one");
	ret = take_pairs(x, set_keys, v);
	if (!ret)
		ret = take_number(x, &v[SET_NUMBER], UINT32_MAX, &number);
	if (!ret)
		ret = take_owner(x, &v[SET_OWNER], owner);
	path = v[SET_FILE].word;
	if (!ret && path && (!*path || !strcmp(path, "-") || strlen(path) >= PATH_MAX))
		ret = weir_fail(x->err, -EINVAL,
				"\"%.40s\": no file that can be read again: give the path of one",
				path);
	if (!ret)
		ret = weir_policy_add_set(x->p, w->v[1], &s, x->err);
	if (ret)
		return ret;
	if (x->p->n_sets == before)
		return weir_fail(x->err, -EINVAL,
				 "\"%s\": there is a set of this name in line %u: give another",
				 s->name, s->line);
	s->line = w->line;
	s->number = number;
	memcpy(s->owner, owner, sizeof(owner));
	s->file = path ? strdup(path) : NULL;
	return path && !s->file ? oom(x->err) : 0;
}

/* ---- Rules */

static uint32_t name_hash(const struct weir_policy_rule *r)
{
	const uint32_t h = weir_policy_hash(r->name, strlen(r->name));

	return h ^ h >> 16;
}

/* The slot of the rule of that owner and name, or the empty one where it would be. */
static uint16_t *name_slot(struct parser *x, const struct weir_policy_rule *r)
{
	for (uint32_t i = name_hash(r);; i++) {
		uint16_t *slot = &x->slots[i % NAME_SLOTS];
		const struct weir_policy_rule *there = *slot ? &x->p->rules[*slot - 1] : NULL;

		if (!there || (!strcmp(there->name, r->name) && !strcmp(there->owner, r->owner)))
			return slot;
	}
}

static int make_room(struct parser *x)
{
	const size_t max = x->max_rules ? 2 * x->max_rules : 64;
	struct weir_policy_rule *v;

	if (x->p->n_rules < x->max_rules)
		return 0;
	v = realloc(x->p->rules, max * sizeof(*v));
	if (!v)
		return oom(x->err);
	x->p->rules = v;
	x->max_rules = max;
	return 0;
}

static int store_rule(struct parser *x, struct weir_policy_rule *r)
{
	char made[WEIR_RULE_NAME_MAX];
	uint16_t *slot;
	int ret = make_room(x);

	if (ret)
		return ret;
	if (r->named) {
		slot = name_slot(x, r);
		if (*slot)
			return weir_fail(x->err, -EINVAL,
					 "\"%s\": there is a rule of this name in line %u: give "
					 "another",
					 r->name, x->p->rules[*slot - 1].line);
		*slot = (uint16_t)(x->p->n_rules + 1);
	}
	if (x->flags & WEIR_POLICY_KERNEL) {
		/* There the made names stand in front too. */
		weir_policy_rule_make_name(r, made);
		r->named = strcmp(r->name, made) != 0;
	}
	x->p->rules[x->p->n_rules++] = *r;
	return 0;
}

/* @first: the word from which on it is a rule; before it there may be its name. */
static int take_rule(struct parser *x, size_t first)
{
	const struct weir_policy_words *w = &x->words;
	weir_autofree char *name = NULL;
	struct weir_policy_rule r;
	int ret;

	if (x->p->n_rules == WEIR_POLICY_RULES_MAX)
		return weir_fail(x->err, -E2BIG,
				 "\"%s\": rule %d, and no more than %d fit: put addresses into a "
				 "set",
				 w->v[0], WEIR_POLICY_RULES_MAX + 1, WEIR_POLICY_RULES_MAX);
	if (!first && x->flags & WEIR_POLICY_KERNEL)
		return weir_fail(x->err, -EINVAL, "\"%s\": a rule without a name", w->v[0]);
	if (first) {
		name = strndup(w->v[0], strlen(w->v[0]) - 1);
		if (!name)
			return oom(x->err);
	}
	ret = weir_policy_rule_words((int)(w->n - first), w->v + first, name, x->flags, &r, x->err);
	if (ret)
		return ret;
	r.line = w->line;
	ret = store_rule(x, &r);
	if (ret)
		weir_policy_rule_free(&r);
	return ret;
}

/* Names that were made give way to those that were given. */
static void number_names(struct parser *x)
{
	for (size_t i = 0; i < x->p->n_rules; i++) {
		struct weir_policy_rule *r = &x->p->rules[i];
		char made[WEIR_RULE_NAME_MAX];
		uint16_t *slot, *again;

		if (r->named || x->flags & WEIR_POLICY_KERNEL)
			continue;
		memcpy(made, r->name, sizeof(made));
		slot = name_slot(x, r);
		for (again = &x->again[slot - x->slots]; *slot; slot = name_slot(x, r))
			snprintf(r->name, sizeof(r->name), "%s-%u", made, ++*again + 1U);
		*slot = (uint16_t)(i + 1);
	}
}

/* ---- The whole */

static int take_statement(struct parser *x)
{
	static const char words[][16] = { "interface", "set", "allow", "deny", "limit" };
	const char *word = x->words.v[0], *near;
	const size_t n = strlen(word);

	if (!strcmp(word, "interface"))
		return take_iface(x);
	if (!strcmp(word, "set"))
		return take_set(x);
	for (size_t i = 2; i < WEIR_ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i]))
			return take_rule(x, 0);
	if (n && word[n - 1] == ':') {
		if (x->words.n < 2)
			return weir_fail(x->err, -EINVAL,
					 "\"%s\": a name without a rule: go on with allow, deny or "
					 "limit",
					 word);
		return take_rule(x, 1);
	}
	near = weir_policy_nearest(words[0], WEIR_ARRAY_SIZE(words), sizeof(words[0]), word);
	if (near)
		return weir_fail(x->err, -EINVAL, "\"%s\": not a statement: did you mean %s?", word,
				 near);
	return weir_fail(x->err, -EINVAL,
			 "\"%s\": not a statement: begin with interface, set, allow, deny or limit",
			 word);
}

static int take_all(struct parser *x, const char *text, size_t len)
{
	struct weir_policy_text t = { text, text + len, 1 };
	int ret = 1;

	while (ret > 0) {
		ret = weir_policy_words_next(&t, &x->words, x->err);
		if (ret > 0)
			ret = take_statement(x) ?: 1;
	}
	if (ret)
		return weir_fail_prefix(x->err, ret, "%s:%u", x->source, x->words.line);
	number_names(x);
	return 0;
}

static int check_bytes(const struct parser *x, const char *text, size_t len)
{
	const char *zero = len ? memchr(text, 0, len) : NULL;
	unsigned int line = 1;

	if (len > WEIR_POLICY_TEXT_MAX)
		return weir_fail(x->err, -E2BIG,
				 "%s: longer than %u MB: put addresses into the files of sets",
				 x->source, WEIR_POLICY_TEXT_MAX >> 20);
	if (!zero)
		return 0;
	for (const char *s = text; s < zero; s++)
		line += *s == '\n';
	return weir_fail(x->err, -EINVAL, "%s:%u: a zero byte: give a text file", x->source, line);
}

int weir_policy_parse(const char *text, size_t len, const char *source, unsigned int flags,
		      struct weir_policy **ret, struct weir_error *err)
{
	weir_autofree struct parser *x = calloc(1, sizeof(*x));
	weir_auto_policy *p = weir_policy_new();
	int r;

	if (!x || !p)
		return oom(err);
	x->source = source;
	x->flags = flags;
	x->p = p;
	x->err = err;
	r = check_bytes(x, text, len);
	if (!r)
		r = take_all(x, text, len);
	if (!r)
		r = weir_policy_check(p, source, err);
	weir_policy_words_free(&x->words);
	if (r)
		return r;
	*ret = WEIR_TAKE_PTR(p);
	return 0;
}
