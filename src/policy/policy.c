/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/opt.h"
#include "policy/policy_impl.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

const char *const weir_policy_hook_names[WEIR_HOOKS + 1] = {
	[WEIR_HOOK_XDP] = "xdp",
	[WEIR_HOOK_TC] = "tc",
	[WEIR_HOOK_NETFILTER] = "netfilter",
};

/* ---- Names */

static bool is_made_of(const char *name, const char *letters, size_t size)
{
	const size_t n = strnlen(name, size);

	/* With a dash in front it would be taken for an option. */
	return n > 0 && n < size && *name != '-' && strspn(name, letters) == n;
}

bool weir_policy_is_rule_name(const char *name)
{
	return is_made_of(name, LETTERS ".:", WEIR_RULE_NAME_MAX);
}

int weir_policy_check_rule_name(const char *name, struct weir_error *err)
{
	if (weir_policy_is_rule_name(name))
		return 0;
	return weir_fail(err, -EINVAL,
			 "\"%s\": cannot be the name of a rule: use up to %d letters, digits and "
			 "_.:-, no - in front",
			 name, WEIR_RULE_NAME_MAX - 1);
}

bool weir_policy_is_set_name(const char *name)
{
	return is_made_of(name, LETTERS, WEIR_SET_NAME_MAX);
}

/* What the kernel takes for the name of an interface, and an option can be. */
bool weir_policy_is_iface_name(const char *name)
{
	const size_t size = sizeof(((struct weir_policy_iface *)NULL)->name);
	const size_t n = strnlen(name, size);

	for (const char *s = name; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f || *s == '/' || *s == ':')
			return false;
	return n > 0 && n < size && *name != '-' && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

const char *weir_policy_nearest(const char *names, size_t n, size_t size, const char *word)
{
	weir_autofree struct weir_opt *table = calloc(n + 1, sizeof(*table));

	if (!table)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		table[i].name = names + i * size;
		table[i].help = "";
	}
	return weir_opt_nearest(table, word, strlen(word));
}

/* ---- The whole */

struct weir_policy *weir_policy_new(void)
{
	return calloc(1, sizeof(struct weir_policy));
}

void weir_policy_rule_free(struct weir_policy_rule *r)
{
	weir_match_free(r->match);
	r->match = NULL;
}

void weir_policy_free(struct weir_policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_sets; i++)
		free(p->sets[i].file);
	for (size_t i = 0; i < p->n_rules; i++)
		weir_policy_rule_free(&p->rules[i]);
	free(p->rules);
	free(p);
}

struct weir_policy *weir_policy_copy(const struct weir_policy *p)
{
	weir_auto_policy *c = weir_policy_new();

	if (!c)
		return NULL;
	memcpy(c->ifaces, p->ifaces, sizeof(c->ifaces));
	c->n_ifaces = p->n_ifaces;
	for (; c->n_sets < p->n_sets; c->n_sets++) {
		struct weir_policy_set *s = &c->sets[c->n_sets];

		*s = p->sets[c->n_sets];
		if (s->file && !(s->file = strdup(s->file)))
			return NULL;
	}
	c->rules = calloc(p->n_rules + 1, sizeof(*c->rules));
	if (!c->rules)
		return NULL;
	for (; c->n_rules < p->n_rules; c->n_rules++)
		if (weir_policy_rule_copy(&p->rules[c->n_rules], &c->rules[c->n_rules]))
			return NULL;
	return WEIR_TAKE_PTR(c);
}

/* ---- Rules */

struct weir_policy_rule *weir_policy_find_rule(const struct weir_policy *p, const char *owner,
					       const char *name)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (!strcmp(p->rules[i].name, name) && !strcmp(p->rules[i].owner, owner))
			return &p->rules[i];
	return NULL;
}

static const char *nearest_rule(const struct weir_policy *p, const char *owner, const char *name)
{
	weir_autofree char *names = calloc(p->n_rules + 1, WEIR_RULE_NAME_MAX);
	const char *near;
	size_t n = 0;

	if (!names)
		return NULL;
	for (size_t i = 0; i < p->n_rules; i++)
		if (!strcmp(p->rules[i].owner, owner))
			memcpy(names + n++ * WEIR_RULE_NAME_MAX, p->rules[i].name,
			       WEIR_RULE_NAME_MAX);
	near = weir_policy_nearest(names, n, WEIR_RULE_NAME_MAX, name);
	/* The one in the policy lasts. */
	return near ? weir_policy_find_rule(p, owner, near)->name : NULL;
}

static int fail_no_rule(const struct weir_policy *p, const char *owner, const char *name,
			struct weir_error *err)
{
	const char *near = nearest_rule(p, owner, name);

	if (near)
		return weir_fail(err, -ENOENT, "there is no rule \"%s\": did you mean %s?", name,
				 near);
	return weir_fail(err, -ENOENT, "there is no rule \"%s\": `weir %s list` shows them", name,
			 owner);
}

/* The name of @r was made, and it may be taken: the same words a second time. */
static void number_name(const struct weir_policy *p, struct weir_policy_rule *r)
{
	char made[WEIR_RULE_NAME_MAX];

	weir_policy_rule_make_name(r, made);
	for (unsigned int nth = 2; weir_policy_find_rule(p, r->owner, r->name); nth++)
		snprintf(r->name, sizeof(r->name), "%s-%u", made, nth);
}

int weir_policy_add_rule(struct weir_policy *p, struct weir_policy_rule *r, const char *before,
			 struct weir_error *err)
{
	struct weir_policy_rule *v, *there;
	size_t at = p->n_rules;

	if (!r->named)
		number_name(p, r);
	if (weir_policy_find_rule(p, r->owner, r->name))
		return weir_fail(err, -EEXIST,
				 "there is a rule \"%s\" already: give another --name, or remove "
				 "that one first",
				 r->name);
	there = before ? weir_policy_find_rule(p, r->owner, before) : NULL;
	if (before && !there)
		return fail_no_rule(p, r->owner, before, err);
	if (p->n_rules >= WEIR_POLICY_RULES_MAX)
		return weir_fail(err, -E2BIG,
				 "there are %d rules, and no more fit: put addresses into a set",
				 WEIR_POLICY_RULES_MAX);
	for (size_t i = 0; !there && i < p->n_rules; i++)
		if (!strcmp(p->rules[i].owner, r->owner))
			at = i + 1;
	if (there)
		at = (size_t)(there - p->rules);
	v = realloc(p->rules, (p->n_rules + 1) * sizeof(*v));
	if (!v)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	memmove(&v[at + 1], &v[at], (p->n_rules - at) * sizeof(*v));
	v[at] = *r;
	r->match = NULL;
	p->rules = v;
	p->n_rules++;
	return 0;
}

int weir_policy_del_rule(struct weir_policy *p, const char *owner, const char *name,
			 struct weir_error *err)
{
	struct weir_policy_rule *r = weir_policy_find_rule(p, owner, name);

	if (!r)
		return fail_no_rule(p, owner, name, err);
	weir_policy_rule_free(r);
	p->n_rules--;
	memmove(r, r + 1, (size_t)(p->rules + p->n_rules - r) * sizeof(*r));
	return 0;
}

/* ---- Interfaces and sets */

struct weir_policy_iface *weir_policy_find_iface(const struct weir_policy *p, const char *name,
						 enum weir_policy_hook hook, bool out)
{
	for (size_t i = 0; i < p->n_ifaces; i++) {
		const struct weir_policy_iface *f = &p->ifaces[i];

		if (f->hook == hook && f->out == out && !strcmp(f->name, name))
			return (struct weir_policy_iface *)f;
	}
	return NULL;
}

struct weir_policy_set *weir_policy_find_set(const struct weir_policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_sets; i++)
		if (!strcmp(p->sets[i].name, name))
			return (struct weir_policy_set *)&p->sets[i];
	return NULL;
}

int weir_policy_add_set(struct weir_policy *p, const char *name, struct weir_policy_set **ret,
			struct weir_error *err)
{
	struct weir_policy_set *s = weir_policy_find_set(p, name);

	if (!s && !weir_policy_is_set_name(name))
		return weir_fail(err, -EINVAL,
				 "\"%s\": cannot be the name of a set: use up to %d letters, "
				 "digits, _ and -",
				 name, WEIR_SET_NAME_MAX - 1);
	if (!s && p->n_sets >= WEIR_POLICY_SETS_MAX)
		return weir_fail(err, -E2BIG,
				 "\"%s\": there are %d sets, and no more fit: join some", name,
				 WEIR_POLICY_SETS_MAX);
	if (!s) {
		s = &p->sets[p->n_sets++];
		*s = (struct weir_policy_set){ 0 };
		snprintf(s->name, sizeof(s->name), "%s", name);
	}
	*ret = s;
	return 0;
}

/* ---- Owners */

bool weir_policy_serves(const char *owner, const char *rules_owner)
{
	return !*owner || !strcmp(owner, rules_owner);
}

static int fail_taken(const struct weir_policy_set *set, struct weir_error *err)
{
	return weir_fail(err, -EEXIST, "\"%s\": a set of weir %s has this name: give yours another",
			 set->name, set->owner);
}

static int keep_sets(const struct weir_policy *from, struct weir_policy *to, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < from->n_sets; i++) {
		const struct weir_policy_set *s = &from->sets[i];
		struct weir_policy_set *set = weir_policy_find_set(to, s->name);

		if (!s->owner[0])
			continue;
		if (set && strcmp(set->owner, s->owner) != 0)
			return fail_taken(s, err);
		ret = weir_policy_add_set(to, s->name, &set, err);
		if (!ret)
			memcpy(set->owner, s->owner, sizeof(set->owner));
	}
	return ret;
}

static int keep_rules(const struct weir_policy *from, struct weir_policy *to,
		      struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < from->n_rules; i++) {
		const struct weir_policy_rule *r = &from->rules[i];
		struct weir_policy_rule copy;

		if (!strcmp(r->owner, WEIR_POLICY_OWNER) ||
		    weir_policy_find_rule(to, r->owner, r->name))
			continue;
		ret = weir_policy_rule_copy(r, &copy);
		if (ret)
			return weir_fail(err, ret, "out of memory: free some and try again");
		ret = weir_policy_add_rule(to, &copy, NULL, err);
		weir_policy_rule_free(&copy);
	}
	return ret;
}

struct weir_policy_iface weir_policy_iface_for(const char *name, enum weir_policy_hook hook,
					       const char *owner)
{
	/* Nothing but the owner's rules decides there. */
	struct weir_policy_iface f = {
		.hook = hook,
		.row = { .fragments = WEIR_FRAGMENTS_PASS, .unread_pass = 1 },
	};

	snprintf(f.name, sizeof(f.name), "%s", name);
	snprintf(f.owner, sizeof(f.owner), "%s", owner);
	return f;
}

/* Whose rules need what comes in by the interface @name; NULL: nobody's but the user's. */
static const char *needed_by(const struct weir_policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];

		if (strcmp(r->owner, WEIR_POLICY_OWNER) != 0 && r->dir != WEIR_DIRECTION_OUT &&
		    (!r->iface[0] || !strcmp(r->iface, name)))
			return r->owner;
	}
	return NULL;
}

static bool has_way_in(const struct weir_policy *p, const char *name)
{
	for (size_t i = 0; i < p->n_ifaces; i++)
		if (!p->ifaces[i].out && !strcmp(p->ifaces[i].name, name))
			return true;
	return false;
}

static int keep_iface(struct weir_policy *to, const struct weir_policy_iface *f, const char *owner,
		      struct weir_error *err)
{
	if (to->n_ifaces == WEIR_FILTER_ROWS)
		return weir_fail(err, -E2BIG,
				 "\"%s\": weir %s has it filtered, and no more than %d lines of "
				 "interfaces fit: leave one out",
				 f->name, owner, WEIR_FILTER_ROWS);
	to->ifaces[to->n_ifaces++] = f->owner[0] ? *f :
						   weir_policy_iface_for(f->name, f->hook, owner);
	return 0;
}

static int keep_ifaces(const struct weir_policy *from, struct weir_policy *to,
		       struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < from->n_ifaces; i++) {
		const struct weir_policy_iface *f = &from->ifaces[i];

		if (f->owner[0] && !weir_policy_find_iface(to, f->name, f->hook, f->out))
			ret = keep_iface(to, f, f->owner, err);
	}
	/* What the user takes off may be what the others' rules lived by. */
	for (size_t i = 0; !ret && i < from->n_ifaces; i++) {
		const struct weir_policy_iface *f = &from->ifaces[i];
		const char *owner = needed_by(to, f->name);

		if (owner && !f->out && !has_way_in(to, f->name))
			ret = keep_iface(to, f, owner, err);
	}
	return ret;
}

int weir_policy_keep_others(const struct weir_policy *from, struct weir_policy *to,
			    struct weir_error *err)
{
	int ret = keep_sets(from, to, err);

	if (!ret)
		ret = keep_rules(from, to, err);
	return ret ? ret : keep_ifaces(from, to, err);
}

/* ---- Do the parts fit together? */

static int fail_iface(const struct weir_policy *p, const struct weir_policy_rule *r, bool known,
		      struct weir_error *err)
{
	const char *near;

	if (known)
		return weir_fail(err, -EINVAL,
				 "\"%s\": nothing filters what %s it: add \"interface %s%s\", or "
				 "leave out -Q %s",
				 r->iface, r->dir == WEIR_DIRECTION_OUT ? "leaves by" : "enters by",
				 r->iface, r->dir == WEIR_DIRECTION_OUT ? " direction out" : "",
				 weir_policy_directions[r->dir]);
	near = weir_policy_nearest(p->ifaces[0].name, p->n_ifaces, sizeof(p->ifaces[0]), r->iface);
	if (near)
		return weir_fail(err, -EINVAL,
				 "\"%s\": not an interface of the policy: did you mean %s?",
				 r->iface, near);
	return weir_fail(err, -EINVAL,
			 "\"%s\": not an interface of the policy: add \"interface %s\"", r->iface,
			 r->iface);
}

static int check_iface(const struct weir_policy *p, const struct weir_policy_rule *r,
		       struct weir_error *err)
{
	bool known = !r->iface[0], fits = known;

	for (size_t i = 0; i < p->n_ifaces; i++) {
		const struct weir_policy_iface *f = &p->ifaces[i];

		if (strcmp(f->name, r->iface) != 0 || !weir_policy_serves(f->owner, r->owner))
			continue;
		known = true;
		fits = fits || r->dir == WEIR_DIRECTION_INOUT ||
		       f->out == (r->dir == WEIR_DIRECTION_OUT);
	}
	return fits ? 0 : fail_iface(p, r, known, err);
}

static int check_sets(const struct weir_policy *p, const struct weir_policy_rule *r,
		      struct weir_error *err)
{
	for (size_t i = 0; i < weir_match_names(r->match); i++) {
		const char *name = weir_match_name(r->match, i), *near;
		const struct weir_policy_set *set = weir_policy_find_set(p, name);

		if (set && weir_policy_serves(set->owner, r->owner))
			continue;
		if (set)
			return weir_fail(
				err, -EINVAL,
				"\"@%s\": a set for the rules of weir %s alone: load one of "
				"your own",
				name, set->owner);
		near = weir_policy_nearest(p->sets[0].name, p->n_sets, sizeof(p->sets[0]), name);
		if (near)
			return weir_fail(err, -EINVAL, "\"@%s\": no such set: did you mean @%s?",
					 name, near);
		return weir_fail(err, -EINVAL, "\"@%s\": no such set: add \"set %s\"", name, name);
	}
	return 0;
}

static int prefix_rule(const struct weir_policy_rule *r, const char *source, int code,
		       struct weir_error *err)
{
	if (r->line && source)
		return weir_fail_prefix(err, code, "%s:%u", source, r->line);
	return weir_fail_prefix(err, code, "rule %s", r->name);
}

/* What is kept in the kernel has to be read again, by this program or the next. */
static int check_text(const struct weir_policy *p, const char *source, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int r = 0;

	for (size_t i = 0; !r && i < p->n_sets; i++)
		if (p->sets[i].file && strchr(p->sets[i].file, '\n'))
			r = weir_fail(err, -EINVAL,
				      "\"%s\": a path of two lines: give the file another name",
				      p->sets[i].file);
	if (!r)
		weir_policy_print(p, WEIR_POLICY_KERNEL, 0, &text);
	if (text.failed)
		r = weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	else if (!r && text.len > WEIR_POLICY_TEXT_MAX)
		r = weir_fail(err, -E2BIG,
			      "the policy is longer than %u MB written in full: put addresses into "
			      "sets",
			      WEIR_POLICY_TEXT_MAX >> 20);
	return r && source ? weir_fail_prefix(err, r, "%s", source) : r;
}

int weir_policy_check(const struct weir_policy *p, const char *source, struct weir_error *err)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];
		int ret = check_iface(p, r, err);

		if (!ret)
			ret = check_sets(p, r, err);
		if (ret)
			return prefix_rule(r, source, ret, err);
	}
	return check_text(p, source, err);
}
