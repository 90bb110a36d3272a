/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules and groups in force, or of a file. */
#include "cap/steer/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/words.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

void weir_steer_conf_free(struct weir_steer_conf *c)
{
	for (size_t i = 0; i < c->n_rules; i++)
		weir_steer_rule_free(&c->rules[i]);
	for (size_t i = 0; i < c->n_groups; i++)
		free(c->groups[i].to);
	free(c->rules);
	free(c->groups);
	free(c->targets);
	free(c->was);
	free(c->names);
	*c = (struct weir_steer_conf){ 0 };
}

/* Room for one more of the elements at @v. */
static int grow(void *v, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 16;
	void *p;

	if (n < *room)
		return 0;
	p = reallocarray(*(void **)v, more, size);
	if (!p)
		return -ENOMEM;
	*(void **)v = p;
	*room = more;
	return 0;
}

/* ---- Find */

struct weir_steer_rule *weir_steer_conf_rule(const struct weir_steer_conf *c, const char *name)
{
	size_t at = c->n_names ? weir_policy_hash(name, strlen(name)) & (c->n_names - 1) : 0;

	for (; c->n_names && c->names[at]; at = (at + 1) & (c->n_names - 1))
		if (!strcmp(c->rules[c->names[at] - 1].name, name))
			return &c->rules[c->names[at] - 1];
	for (size_t i = 0; !c->n_names && i < c->n_rules; i++)
		if (!strcmp(c->rules[i].name, name))
			return &c->rules[i];
	return NULL;
}

const struct weir_steer_group *weir_steer_conf_group(const struct weir_steer_conf *c,
						     const char *name)
{
	for (size_t i = 0; i < c->n_groups; i++)
		if (!strcmp(c->groups[i].name, name))
			return &c->groups[i];
	return NULL;
}

const struct weir_steer_target *weir_steer_conf_target(const struct weir_steer_conf *c,
						       const char *to, enum weir_steer_proto p)
{
	for (size_t i = 0; i < c->n_targets; i++)
		if (c->targets[i].proto == p && !strcmp(c->targets[i].to, to))
			return &c->targets[i];
	return NULL;
}

const struct weir_steer_was *weir_steer_conf_was(const struct weir_steer_conf *c, const char *to)
{
	for (size_t i = 0; i < c->n_was; i++)
		if (!strcmp(c->was[i].to, to))
			return &c->was[i];
	return NULL;
}

size_t weir_steer_conf_members(const struct weir_steer_conf *c, const char *to,
			       const char *(*ret)[WEIR_STEER_GROUP_MAX])
{
	const struct weir_steer_group *g;

	if (strncmp(to, "group:", 6) != 0) {
		(*ret)[0] = to;
		return 1;
	}
	g = weir_steer_conf_group(c, to + 6);
	for (size_t i = 0; g && i < g->n; i++)
		(*ret)[i] = g->to[i];
	return g ? g->n : 0;
}

static bool is_v4_only(const struct weir_steer_conf *c, const char *to)
{
	const struct weir_steer_was *was = weir_steer_conf_was(c, to);
	struct weir_steer_socket s;

	if (was)
		return weir_addr_is_v4(&was->addr);
	return !weir_steer_socket_parse(to, &s) && !s.is_pid && weir_addr_is_v4(&s.addr);
}

bool weir_steer_conf_takes(const struct weir_steer_conf *c, const struct weir_steer_rule *r,
			   bool v4)
{
	const char *members[WEIR_STEER_GROUP_MAX];
	size_t n = weir_steer_conf_members(c, r->to, &members);

	for (size_t i = 0; !v4 && i < n; i++)
		if (is_v4_only(c, members[i]))
			return false;
	return true;
}

/* ---- Change */

static void put_name(struct weir_steer_conf *c, size_t rule)
{
	const char *name = c->rules[rule].name;
	size_t at = weir_policy_hash(name, strlen(name)) & (c->n_names - 1);

	while (c->names[at])
		at = (at + 1) & (c->n_names - 1);
	c->names[at] = (uint32_t)rule + 1;
}

/* Enter all names anew. Without memory for it names are looked for one by one. */
static void put_names(struct weir_steer_conf *c)
{
	size_t n = 64;

	while (n < 4 * (c->n_rules + 1))
		n *= 2;
	free(c->names);
	c->names = calloc(n, sizeof(*c->names));
	c->n_names = c->names ? n : 0;
	for (size_t i = 0; c->names && i < c->n_rules; i++)
		put_name(c, i);
}

void weir_steer_conf_expire(struct weir_steer_conf *c, uint64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->n_rules; i++) {
		struct weir_steer_rule *r = &c->rules[i];

		if (r->expires && r->expires <= now)
			weir_steer_rule_free(r);
		else
			c->rules[kept++] = *r;
	}
	if (kept == c->n_rules)
		return;
	c->n_rules = kept;
	put_names(c);
}

/* With a made name, the same words once more are the same rule. */
int weir_steer_conf_add(struct weir_steer_conf *c, struct weir_steer_rule *r, bool replace,
			struct weir_error *err)
{
	struct weir_steer_rule *old = weir_steer_conf_rule(c, r->name);
	int ret = 0;

	if (old && !replace)
		ret = weir_fail(err, -EINVAL, "there are two rules \"%s\": give one another name",
				r->name);
	else if (!old && c->n_rules == WEIR_RULES_MAX)
		ret = weir_fail(err, -E2BIG, "more than %d rules: leave some out", WEIR_RULES_MAX);
	else if (!old && grow(&c->rules, c->n_rules, &c->room_rules, sizeof(*c->rules)))
		ret = oom(err);
	if (ret) {
		weir_steer_rule_free(r);
		return ret;
	}
	if (old) {
		r->id = old->id;
		weir_steer_rule_free(old);
		*old = *r;
		return 0;
	}
	c->rules[c->n_rules++] = *r;
	if (2 * c->n_rules > c->n_names)
		put_names(c);
	else
		put_name(c, c->n_rules - 1);
	return 0;
}

static int check_group(const char *name, size_t n, struct weir_error *err)
{
	if (!weir_policy_is_rule_name(name) || strlen(name) + 6 >= WEIR_STEER_TO_MAX)
		return weir_fail(err, -EINVAL,
				 "\"%s\": cannot be the name of a group: use up to %d letters, "
				 "digits and _.:-",
				 name, WEIR_RULE_NAME_MAX - 1);
	if (!n)
		return weir_fail(err, -EINVAL, "group %s has no socket: give at least one", name);
	if (n > WEIR_STEER_GROUP_MAX)
		return weir_fail(err, -E2BIG, "group %s has %zu sockets: give up to %d", name, n,
				 WEIR_STEER_GROUP_MAX);
	return 0;
}

int weir_steer_conf_add_group(struct weir_steer_conf *c, const char *name, const char *const *to,
			      size_t n, bool replace, struct weir_error *err)
{
	struct weir_steer_group *old =
		(struct weir_steer_group *)(uintptr_t)weir_steer_conf_group(c, name);
	struct weir_steer_group g = { .n = n };
	int ret = check_group(name, n, err);

	if (ret)
		return ret;
	if (old && !replace)
		return weir_fail(err, -EINVAL, "there are two groups \"%s\": give one another name",
				 name);
	if (!old && c->n_groups == WEIR_STEER_GROUPS_MAX)
		return weir_fail(err, -E2BIG, "more than %d groups: leave some out",
				 WEIR_STEER_GROUPS_MAX);
	g.to = calloc(n, sizeof(*g.to));
	if (!g.to || (!old && grow(&c->groups, c->n_groups, &c->room_groups, sizeof(g)))) {
		free(g.to);
		return oom(err);
	}
	snprintf(g.name, sizeof(g.name), "%s", name);
	for (size_t i = 0; !ret && i < n; i++)
		ret = weir_steer_to_parse(to[i], false, g.to[i], err);
	if (ret) {
		free(g.to);
		return ret;
	}
	if (old) {
		free(old->to);
		*old = g;
	} else {
		c->groups[c->n_groups++] = g;
	}
	return 0;
}

static int del_group(struct weir_steer_conf *c, const char *word, struct weir_error *err)
{
	for (size_t i = 0; i < c->n_rules; i++)
		if (!strcmp(c->rules[i].to, word))
			return weir_fail(err, -EBUSY,
					 "rule %s leads to %s: remove or change it first",
					 c->rules[i].name, word);
	for (size_t i = 0; i < c->n_groups; i++) {
		if (strcmp(c->groups[i].name, word + 6) != 0)
			continue;
		free(c->groups[i].to);
		memmove(&c->groups[i], &c->groups[i + 1], (--c->n_groups - i) * sizeof(*c->groups));
		return 0;
	}
	return weir_fail(err, -ENOENT, "there is no %s: see `weir steer list`", word);
}

int weir_steer_conf_del(struct weir_steer_conf *c, const char *name, struct weir_error *err)
{
	struct weir_steer_rule *r = weir_steer_conf_rule(c, name);

	if (!r && !strncmp(name, "group:", 6))
		return del_group(c, name, err);
	if (!r)
		return weir_fail(err, -ENOENT, "there is no rule '%s': see `weir steer list`",
				 name);
	weir_steer_rule_free(r);
	memmove(r, r + 1, (size_t)(&c->rules[--c->n_rules] - r) * sizeof(*r));
	put_names(c);
	return 0;
}

int weir_steer_conf_set_was(struct weir_steer_conf *c, const char *to, const struct weir_addr *addr,
			    uint16_t port)
{
	struct weir_steer_was *w = (struct weir_steer_was *)(uintptr_t)weir_steer_conf_was(c, to);

	if (!w) {
		if (grow(&c->was, c->n_was, &c->room_was, sizeof(*c->was)))
			return -ENOMEM;
		w = &c->was[c->n_was++];
	}
	*w = (struct weir_steer_was){ .addr = *addr, .port = port };
	snprintf(w->to, sizeof(w->to), "%s", to);
	return 0;
}

static int check_rule(const struct weir_steer_conf *c, const struct weir_steer_rule *r,
		      struct weir_error *err)
{
	const char *members[WEIR_STEER_GROUP_MAX];
	bool possible = !r->n_dst;

	if (!weir_steer_conf_members(c, r->to, &members))
		return weir_fail(err, -EINVAL,
				 "rule %s: there is no %s: make it with `group %s SOCKET...`",
				 r->name, r->to, r->to + 6);
	for (size_t i = 0; i < r->n_dst; i++)
		possible |= weir_steer_conf_takes(c, r, r->dst[i].is_v4);
	if (!possible)
		return weir_fail(err, -EINVAL,
				 "rule %s: an IPv4 socket cannot get IPv6 connections: "
				 "name one that listens on IPv6",
				 r->name);
	return 0;
}

int weir_steer_conf_check(const struct weir_steer_conf *c, const char *source,
			  struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < c->n_rules; i++) {
		ret = check_rule(c, &c->rules[i], err);
		if (ret && source)
			weir_fail_prefix(err, ret, "%s:%u", source, c->rules[i].line);
	}
	return ret;
}
