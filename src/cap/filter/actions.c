/* SPDX-License-Identifier: GPL-2.0-only */
/* Interfaces and rules: on, off, allow, deny, limit, del, confirm, reattach. */
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/filter/filter_cmd.h"

static int check_iface_name(struct weir_filter_cmd *c, const char *name, struct weir_error *err)
{
	if (strlen(name) < IF_NAMESIZE && if_nametoindex(name))
		return 0;
	weir_filter_cmd_usage(c, 0);
	return weir_fail(err, -ENODEV, "no interface %s: `ip link` lists them", name);
}

/* What another verb has put on becomes the user's. */
static int add_iface(struct weir_policy *p, const char *name, enum weir_policy_hook hook, bool out,
		     struct weir_policy_iface **ret, struct weir_error *err)
{
	struct weir_policy_iface *i = weir_policy_find_iface(p, name, hook, out);

	if (!i && p->n_ifaces == WEIR_FILTER_ROWS)
		return weir_fail(err, -E2BIG, "%s is one interface too many: at most %d", name,
				 WEIR_FILTER_ROWS);
	if (!i)
		i = &p->ifaces[p->n_ifaces++];
	*i = (struct weir_policy_iface){ .hook = hook, .out = out };
	memcpy(i->name, name, strlen(name) + 1);
	*ret = i;
	return 0;
}

/* ---- on */

static int set_iface(struct weir_filter_cmd *c, struct weir_policy *p, const char *name,
		     enum weir_policy_hook hook, bool out, struct weir_error *err)
{
	struct weir_policy_iface *i = weir_policy_find_iface(p, name, hook, out);
	int ret = check_iface_name(c, name, err);

	if (!ret && (!i || i->owner[0]))
		ret = add_iface(p, name, hook, out, &i, err);
	if (ret)
		return ret;
	if (c->mode >= 0)
		i->mode = (enum weir_xdp_mode)c->mode;
	if (c->preset >= 0)
		i->row.drop = (uint8_t)c->preset;
	if (c->fragments >= 0)
		i->row.fragments = (uint8_t)c->fragments;
	if (c->malformed >= 0)
		i->row.unread_pass = (uint8_t)c->malformed;
	return 0;
}

/* The mode that it got is in the engine's notes. */
static void add_done(const struct weir_filter_cmd *c, const struct weir_policy *p,
		     enum weir_policy_hook hook, bool out, struct weir_buf *done)
{
	for (unsigned int i = 0; i < c->words.n; i++) {
		const struct weir_policy_iface *f =
			weir_policy_find_iface(p, c->words.v[i], hook, out);

		weir_buf_addf(done, "%s%s %s %s, default %s", i ? "; " : "on: ", f->name,
			      weir_policy_hook_names[hook], weir_filter_directions[out ? 1 : 0],
			      weir_filter_defaults[f->row.drop]);
	}
}

static int choose_hook(struct weir_filter_cmd *c, enum weir_policy_hook *hook, bool *out,
		       struct weir_error *err)
{
	const char *wrong = NULL;

	*out = c->direction == 1;
	*hook = c->hook >= 0 ? (enum weir_policy_hook)c->hook : *out ? WEIR_HOOK_TC : WEIR_HOOK_XDP;
	if (c->direction > 1)
		wrong = "-Q inout: one direction at a time, give -Q in or -Q out";
	else if (*out && *hook == WEIR_HOOK_XDP)
		wrong = "XDP sees only packets coming in: use --hook tc or netfilter with -Q out";
	else if (c->mode > 0 && *hook != WEIR_HOOK_XDP)
		wrong = "--mode is for XDP: leave it out, or use --hook xdp";
	if (!wrong)
		return 0;
	weir_filter_cmd_usage(c, 0);
	return weir_fail(err, -EINVAL, "%s", wrong);
}

int weir_filter_do_on(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	enum weir_policy_hook hook;
	struct weir_filter_edit e;
	bool out;
	int ret = choose_hook(c, &hook, &out, err);

	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = check_iface_name(c, c->words.v[i], err);
	if (!ret)
		ret = weir_filter_edit_begin(&e, true, err);
	if (ret)
		return ret;
	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = set_iface(c, e.policy, c->words.v[i], hook, out, err);
	if (!ret) {
		add_done(c, e.policy, hook, out, &done);
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	}
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- off */

static bool is_named(const struct weir_filter_cmd *c, const char *iface)
{
	for (unsigned int i = 0; i < c->words.n; i++)
		if (strcmp(c->words.v[i], iface) == 0)
			return true;
	return !c->words.n;
}

/* By the user: what another verb has put on for its own rules is not the user's to take off. */
static const struct weir_policy_iface *find_filtered(const struct weir_policy *p, const char *iface)
{
	const struct weir_policy_iface *found = NULL;

	for (size_t i = 0; i < p->n_ifaces; i++)
		if (strcmp(p->ifaces[i].name, iface) == 0 && (!found || !p->ifaces[i].owner[0]))
			found = &p->ifaces[i];
	return found;
}

static bool is_filtered(const struct weir_policy *p, const char *iface)
{
	const struct weir_policy_iface *i = find_filtered(p, iface);

	return i && !i->owner[0];
}

/* The rules that name an interface which is no longer filtered go with it. */
static int drop_rules(struct weir_policy *p, struct weir_buf *gone, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = p->n_rules; !ret && i > 0; i--) {
		const struct weir_policy_rule *r = &p->rules[i - 1];
		char name[WEIR_RULE_NAME_MAX];

		if (!r->iface[0] || strcmp(r->owner, "filter") != 0 || is_filtered(p, r->iface))
			continue;
		memcpy(name, r->name, sizeof(name));
		weir_buf_addf(gone, "%s%s", gone->len ? ", " : "", name);
		ret = weir_policy_del_rule(p, "filter", name, err);
	}
	return ret;
}

static int remove_ifaces(struct weir_filter_cmd *c, struct weir_policy *p, struct weir_buf *gone,
			 struct weir_error *err)
{
	size_t kept = 0;

	for (unsigned int i = 0; i < c->words.n; i++) {
		const struct weir_policy_iface *there = find_filtered(p, c->words.v[i]);

		if (there && !there->owner[0])
			continue;
		weir_filter_cmd_usage(c, 0);
		if (there)
			return weir_fail(err, -EBUSY,
					 "%s is filtered for the rules of weir %s alone: end that",
					 there->name, there->owner);
		return weir_fail(err, -ENOENT,
				 "%s is not filtered: `weir filter list` tells what is",
				 c->words.v[i]);
	}
	for (size_t i = 0; i < p->n_ifaces; i++) {
		if (!p->ifaces[i].owner[0] && is_named(c, p->ifaces[i].name))
			weir_buf_addf(gone, "%s%s %s %s", gone->len ? ", " : "", p->ifaces[i].name,
				      weir_policy_hook_names[p->ifaces[i].hook],
				      weir_filter_directions[p->ifaces[i].out ? 1 : 0]);
		else
			p->ifaces[kept++] = p->ifaces[i];
	}
	p->n_ifaces = kept;
	return 0;
}

/* What stays on, for others. */
static void add_kept(const struct weir_filter_cmd *c, const struct weir_policy *from,
		     const struct weir_policy *to, struct weir_buf *done)
{
	for (size_t i = 0; i < to->n_ifaces; i++) {
		const struct weir_policy_iface *f = &to->ifaces[i];
		const struct weir_policy_iface *was =
			weir_policy_find_iface(from, f->name, f->hook, f->out);

		if (f->owner[0] && is_named(c, f->name) && was && !was->owner[0])
			weir_buf_addf(done, "; %s stays on for the rules of weir %s", f->name,
				      f->owner);
	}
}

int weir_filter_do_off(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf ifaces = { 0 }, rules = { 0 }, done = { 0 };
	struct weir_filter_edit e;
	int ret = weir_filter_edit_begin(&e, false, err);

	if (ret == -ENOENT && !c->words.n) {
		weir_filter_cmd_tell("nothing was filtered in this network namespace");
		return WEIR_EXIT_DONE;
	}
	if (ret)
		return ret;
	ret = remove_ifaces(c, e.policy, &ifaces, err);
	if (!ret)
		ret = drop_rules(e.policy, &rules, err);
	if (!ret)
		ret = weir_policy_keep_others(e.f.policy, e.policy, err);
	weir_buf_addf(&done, "off: %s", ifaces.len ? ifaces.data : "no interface was filtered");
	if (rules.len)
		weir_buf_addf(&done, "; gone with it: %s", rules.data);
	add_kept(c, e.f.policy, e.policy, &done);
	if (!ret)
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- allow, deny, limit */

/* Does any packet that @r is about meet the filter? */
static bool has_place(const struct weir_policy *p, const struct weir_policy_rule *r)
{
	for (size_t i = 0; i < p->n_ifaces; i++) {
		bool here = !r->iface[0] || strcmp(r->iface, p->ifaces[i].name) == 0;

		if (here && weir_policy_serves(p->ifaces[i].owner, r->owner) &&
		    (r->dir == WEIR_DIRECTION_INOUT ||
		     p->ifaces[i].out == (r->dir == WEIR_DIRECTION_OUT)))
			return true;
	}
	return false;
}

/* With -i on an interface without a filter, that is turned on; *ret tells so. */
static int make_place(struct weir_filter_cmd *c, struct weir_policy *p,
		      const struct weir_policy_rule *r, bool *ret, struct weir_error *err)
{
	bool out = r->dir == WEIR_DIRECTION_OUT;
	struct weir_policy_iface *i;
	int code = 0;

	*ret = false;
	if (has_place(p, r))
		return 0;
	if (!r->iface[0]) {
		weir_filter_cmd_usage(c, 0);
		return weir_fail(err, -ENOENT,
				 "no interface is filtered %s, so the rule would do nothing: add "
				 "-i IFACE, or first `weir filter on IFACE%s`",
				 r->dir == WEIR_DIRECTION_INOUT ? "yet" :
				 out				? "going out" :
								  "coming in",
				 out ? " -Q out" : "");
	}
	code = check_iface_name(c, r->iface, err);
	if (!code)
		code = add_iface(p, r->iface, out ? WEIR_HOOK_TC : WEIR_HOOK_XDP, out, &i, err);
	*ret = code == 0;
	return code;
}

static int parse_rule(struct weir_filter_cmd *c, struct weir_policy_rule *ret,
		      struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_strv words = { 0 };
	int r = weir_filter_cmd_rule_words(c, &words, &text);

	if (r == -ENOMEM)
		return weir_fail(err, r, "out of memory");
	if (r)
		return weir_filter_cmd_usage(c, weir_fail(err, r, "too many words: at most %d",
							  WEIR_STRV_MAX - 2));
	r = weir_policy_parse_rule((int)words.n, words.v, ret, err);
	return r ? weir_filter_cmd_usage(c, r) : 0;
}

/* A set that is not there is a wrong word, and named before anything is built. */
static int check_sets(struct weir_filter_cmd *c, const struct weir_policy *p,
		      const struct weir_policy_rule *r, struct weir_error *err)
{
	for (size_t i = 0; i < weir_match_names(r->match); i++) {
		const char *name = weir_match_name(r->match, i);

		if (weir_policy_find_set(p, name))
			continue;
		weir_filter_cmd_usage(c, 0);
		return weir_fail(err, -ENOENT, "no set %s: `weir filter set %s load FILE` makes it",
				 name, name);
	}
	return 0;
}

static int add_rule(struct weir_filter_cmd *c, struct weir_filter_edit *e,
		    struct weir_policy_rule *rule, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	bool turned_on = false;
	int ret = check_sets(c, e->policy, rule, err);

	if (!ret)
		ret = make_place(c, e->policy, rule, &turned_on, err);
	if (ret)
		return ret;
	ret = weir_policy_add_rule(e->policy, rule, c->before, err);
	if (ret)
		return ret == -ENOMEM ? ret : weir_filter_cmd_usage(c, ret);
	/* Only now is the name settled that was made for it. */
	weir_buf_addf(&done, "rule %s: ", rule->name);
	weir_policy_print_rule(weir_policy_find_rule(e->policy, rule->owner, rule->name), 0, &done);
	if (turned_on)
		weir_buf_addf(&done, " (%s is filtered from now on, default pass)", rule->iface);
	if (done.failed)
		return weir_fail(err, -ENOMEM, "out of memory");
	return weir_filter_edit_commit(c, e, done.data, err);
}

int weir_filter_do_rule(struct weir_filter_cmd *c, struct weir_error *err)
{
	struct weir_policy_rule rule = { 0 };
	struct weir_filter_edit e;
	int ret = parse_rule(c, &rule, err);

	if (ret)
		return ret;
	ret = weir_filter_edit_begin(&e, c->iface != NULL, err);
	if (ret == -ENOENT)
		weir_fail(err, ret,
			  "no interface is filtered yet, so the rule would do nothing: "
			  "add -i IFACE, or first `weir filter on IFACE`");
	if (ret == -ENOENT)
		weir_filter_cmd_usage(c, 0);
	if (!ret) {
		ret = add_rule(c, &e, &rule, err);
		weir_filter_edit_end(&e);
	}
	weir_policy_rule_free(&rule);
	return ret;
}

/* ---- del */

int weir_filter_do_del(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	struct weir_filter_edit e;
	int ret = weir_filter_edit_begin(&e, false, err);

	if (ret)
		return ret;
	weir_buf_adds(&done, "deleted:");
	for (unsigned int i = 0; !ret && i < c->words.n; i++) {
		ret = weir_policy_del_rule(e.policy, "filter", c->words.v[i], err);
		weir_buf_addf(&done, "%s %s", i ? "," : "", c->words.v[i]);
	}
	if (ret)
		weir_filter_cmd_usage(c, 0);
	else
		ret = weir_filter_edit_commit(c, &e, done.data, err);
	weir_filter_edit_end(&e);
	return ret;
}

/* ---- confirm, reattach */

int weir_filter_do_confirm(struct weir_filter_cmd *c, struct weir_error *err)
{
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	(void)c;
	if (ret)
		return ret < 0 ? ret : weir_fail(err, -ENOENT, "nothing waits to be confirmed");
	ret = weir_filter_confirm(&f, err);
	weir_filter_close(&f);
	if (!ret)
		weir_filter_cmd_tell("confirmed: in force until it is changed");
	return ret;
}

/* Is the filter, or a part of it, missing on an interface that is there? */
static bool is_missing(struct weir_filter *f, const struct weir_policy_iface *i)
{
	struct weir_filter_iface_info info;

	return if_nametoindex(i->name) && !weir_filter_iface_info(f, i, &info) &&
	       (info.state != WEIR_IFACE_ON || info.no_replies);
}

/* Each interface once, whatever number of hooks it has. */
static void add_missing(struct weir_filter *f, struct weir_buf *done)
{
	const struct weir_policy_iface *v = f->policy->ifaces;

	for (size_t i = 0; i < f->policy->n_ifaces; i++) {
		bool told = !is_missing(f, &v[i]);

		for (size_t j = 0; j < i && !told; j++)
			told = strcmp(v[j].name, v[i].name) == 0 && is_missing(f, &v[j]);
		if (!told)
			weir_buf_addf(done, "%s%s", done->len ? ", " : "reattached: ", v[i].name);
	}
}

int weir_filter_do_reattach(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf done = { 0 };
	struct weir_filter_report report = { .only_news = true };
	struct weir_filter f;
	int ret = weir_filter_cmd_open(&f, false, err);

	(void)c;
	if (ret)
		return ret < 0 ? ret : WEIR_EXIT_DONE;
	add_missing(&f, &done);
	ret = weir_filter_reattach(&f, &report, err);
	if (!ret && done.len)
		weir_filter_cmd_tell("%s", done.data);
	if (!ret)
		weir_filter_report_tell(&report);
	weir_buf_free(&report.notes);
	weir_filter_close(&f);
	return ret;
}
