/* SPDX-License-Identifier: GPL-2.0-only */
/* Changes: ids, the new generation beside the old one, and the switch. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/steer/engine_impl.h"
#include "dataplane/load.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Ids */

/* Rules for the store: those that have no id in it yet, and those whose words there are
 * others by now. */
struct ids {
	struct weir_rule *fresh, *changed;
	size_t *fresh_at; /* in the new rules */
	size_t n_fresh, n_changed;
};

static void ids_free(struct ids *x)
{
	free(x->fresh);
	free(x->changed);
	free(x->fresh_at);
}

static void sort_out(struct weir_steer *s, struct weir_steer_conf *next, size_t i, struct ids *x)
{
	struct weir_steer_rule *r = &next->rules[i];
	const struct weir_steer_rule *old = weir_steer_conf_rule(&s->conf, r->name);
	struct weir_rule rule = { .order = (uint32_t)i,
				  .verb = WEIR_STEER_VERB,
				  .owner = WEIR_STEER_OWNER },
			 there;
	weir_autobuf struct weir_buf text = { 0 };

	if (!r->expires && r->ttl)
		r->expires = s->clock.boot + r->ttl;
	weir_steer_print_rule(next, r, 0, s->clock.boot, &text);
	snprintf(rule.name, sizeof(rule.name), "%s", r->name);
	snprintf(rule.text, sizeof(rule.text), "%s", text.failed ? "" : text.data);
	rule.expires = r->expires;
	if (!old || !old->id || weir_rules_get(&s->rules, old->id, &there) ||
	    strcmp(there.owner, rule.owner) != 0 || strcmp(there.name, rule.name) != 0) {
		x->fresh_at[x->n_fresh] = i;
		x->fresh[x->n_fresh++] = rule;
		return;
	}
	r->id = old->id;
	if (strcmp(there.text, rule.text) != 0 || there.order != rule.order ||
	    there.expires != rule.expires)
		x->changed[x->n_changed++] = rule;
}

/* New rules get their ids before they are compiled; what the store says of the others is
 * changed when they are in force. */
static int give_ids(struct weir_steer *s, struct weir_steer_conf *next, struct ids *x,
		    struct weir_error *err)
{
	size_t n = next->n_rules + 1;
	int ret;

	x->fresh = calloc(n, sizeof(*x->fresh));
	x->changed = calloc(n, sizeof(*x->changed));
	x->fresh_at = calloc(n, sizeof(*x->fresh_at));
	if (!x->fresh || !x->changed || !x->fresh_at)
		return oom(err);
	for (size_t i = 0; i < next->n_rules; i++)
		sort_out(s, next, i, x);
	if (!x->n_fresh)
		return 0;
	ret = weir_rules_put_all(&s->rules, x->fresh, x->n_fresh, err);
	for (size_t i = 0; !ret && i < x->n_fresh; i++) {
		next->rules[x->fresh_at[i]].id = x->fresh[i].id;
		/* A new rule counts from 0; the store has cleared its own counter. */
		if (s->lost_fd >= 0)
			bpf_map_delete_elem(s->lost_fd, &x->fresh[i].id);
	}
	return ret;
}

static bool is_in_force(void *arg, const struct weir_rule *rule)
{
	return weir_steer_conf_rule(arg, rule->name);
}

/* Ids of rules that are not in force go, also what killed commands left. */
static void drop_ids(struct weir_steer *s)
{
	weir_rules_keep(&s->rules, WEIR_STEER_OWNER, is_in_force, &s->conf, NULL);
}

/* ---- The switch */

static int attach(struct weir_steer *s, struct weir_error *err)
{
	weir_autoclose int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int ret;

	if (netns < 0)
		return weir_fail(err, -errno, "cannot open this network namespace: %m");
	s->link_fd = bpf_link_create(s->prog_fd, netns, BPF_SK_LOOKUP, NULL);
	if (s->link_fd < 0) {
		ret = -errno;
		s->link_fd = -1;
		return weir_load_explain(err, ret, "attach to this network namespace");
	}
	ret = weir_pin_put_meta(&s->dir, WEIR_STEER_VERB, WEIR_STEER_ABI, NULL, err);
	return ret ? ret : weir_pin_put(&s->dir, "link", s->link_fd, err);
}

static void unpin(const struct weir_steer *s, char letter)
{
	static const char *const parts[] = { "prog", "text", "answer" };
	char path[384], name[16];

	for (size_t i = 0; letter && i < WEIR_ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof(path), "%s/%s", s->dir.path,
			 weir_steer_pin_name(name, parts[i], letter));
		unlink(path);
	}
}

static int pin_generation(const struct weir_steer *s, const struct weir_steer_generation *g,
			  char letter, struct weir_error *err)
{
	char name[16];
	int ret = weir_pin_put(&s->dir, weir_steer_pin_name(name, "prog", letter), g->prog_fd, err);

	if (!ret)
		ret = weir_pin_put(&s->dir, weir_steer_pin_name(name, "text", letter), g->text_fd,
				   err);
	if (!ret)
		ret = weir_pin_put(&s->dir, weir_steer_pin_name(name, "answer", letter),
				   g->answer_fd, err);
	if (!ret && !s->letter)
		ret = weir_pin_put(&s->dir, "sockets", g->shared.sockets_fd, err);
	if (!ret && !s->letter)
		ret = weir_pin_put(&s->dir, "lost", g->shared.lost_fd, err);
	if (!ret && !s->letter)
		ret = weir_pin_put(&s->dir, "account", g->shared.account_fd, err);
	return ret;
}

static void move_fd(int *to, int *from)
{
	weir_closep(to);
	*to = *from;
	*from = -1;
}

/* From here on @g is in force, or nothing has changed. */
static int put_in_force(struct weir_steer *s, struct weir_steer_generation *g,
			struct weir_error *err)
{
	char letter = s->letter == 'a' ? 'b' : 'a', old = s->letter;
	int ret = pin_generation(s, g, letter, err);

	if (!ret && old && bpf_link_update(s->link_fd, g->prog_fd, NULL))
		ret = weir_load_explain(err, -errno, "switch to the new rules");
	if (ret) {
		unpin(s, letter);
		return ret;
	}
	move_fd(&s->prog_fd, &g->prog_fd);
	move_fd(&s->answer_fd, &g->answer_fd);
	move_fd(&s->sockets_fd, &g->shared.sockets_fd);
	move_fd(&s->lost_fd, &g->shared.lost_fd);
	move_fd(&s->account_fd, &g->shared.account_fd);
	if (!old)
		ret = attach(s, err);
	if (ret) {
		/* The lock goes with the directory. */
		weir_pin_close(&s->dir);
		weir_pin_unload(WEIR_STEER_VERB, NULL);
		return ret;
	}
	s->letter = letter;
	unpin(s, old);
	return 0;
}

static int build(const struct weir_steer_work *w, struct weir_error *err)
{
	struct weir_steer *s = w->s;
	const struct weir_steer_shared shared = {
		.hits_fd = s->rules.hits_fd,
		.sockets_fd = s->sockets_fd,
		.lost_fd = s->lost_fd,
		.account_fd = s->account_fd,
	};
	struct weir_steer_generation g = { -1, -1, -1, { -1, -1, -1, -1, false } };
	struct weir_steer_code code = { 0 };
	int ret = weir_steer_compile(w->next, &s->clock, &code, err);

	if (!ret)
		ret = weir_steer_generation_make(w->next, &code, &shared, &g, err);
	/* Slots of rules in force are only ever given what was found for them. */
	if (!ret) {
		ret = weir_steer_work_put(w, g.shared.sockets_fd, err);
		ret = ret < 0 ? ret : 0;
	}
	if (!ret)
		ret = put_in_force(s, &g, err);
	weir_steer_generation_close(&g);
	weir_steer_code_free(&code);
	return ret;
}

/* The addresses of descriptors that the rules still name. */
static int keep_addresses(const struct weir_steer_conf *old, struct weir_steer_conf *next,
			  struct weir_error *err)
{
	const char *members[WEIR_STEER_GROUP_MAX];
	int ret = 0;

	next->n_was = 0;
	for (size_t i = 0; !ret && old->n_was && i < next->n_rules; i++) {
		size_t n = weir_steer_conf_members(next, next->rules[i].to, &members);

		for (size_t k = 0; !ret && k < n; k++) {
			const struct weir_steer_was *was = weir_steer_conf_was(old, members[k]);

			if (was)
				ret = weir_steer_conf_set_was(next, was->to, &was->addr, was->port);
		}
	}
	return ret ? oom(err) : 0;
}

static int prepare(struct weir_steer_work *w, struct ids *ids, struct weir_error *err)
{
	int ret = keep_addresses(&w->s->conf, w->next, err);

	if (!ret)
		ret = weir_steer_conf_check(w->next, NULL, err);
	if (!ret)
		ret = weir_steer_work_place(w, err);
	if (!ret)
		ret = weir_steer_conf_check(w->next, NULL, err); /* addresses are known now */
	return ret ? ret : give_ids(w->s, w->next, ids, err);
}

int weir_steer_commit(struct weir_steer *s, const struct weir_steer_change *change,
		      struct weir_steer_notes *notes, struct weir_error *err)
{
	struct weir_steer_work *w = weir_steer_work_new(s, change, notes, err);
	struct weir_steer_conf *next = change->next;
	struct ids ids = { 0 };
	int ret;

	if (!w)
		return -ENOMEM;
	free(next->targets);
	next->targets = NULL;
	next->n_targets = 0;
	ret = prepare(w, &ids, err);
	if (!ret)
		ret = build(w, err);
	if (!ret) {
		weir_steer_conf_free(&s->conf);
		s->conf = *next;
		*next = (struct weir_steer_conf){ 0 };
		weir_steer_sweep(s);
		/* It is in force: what others read of it is put right by the next change
		 * where it fails here. */
		if (ids.n_changed)
			weir_rules_put_all(&s->rules, ids.changed, ids.n_changed, NULL);
	}
	drop_ids(s);
	ids_free(&ids);
	weir_steer_work_free(w);
	return ret;
}

/* ---- register, off */

int weir_steer_register(struct weir_steer *s, const char *name, uint32_t *ret_sockets,
			struct weir_steer_notes *notes, struct weir_error *err)
{
	const struct weir_steer_rule *r = weir_steer_conf_rule(&s->conf, name);
	const struct weir_steer_change change = { .fresh = name };
	struct weir_steer_work *w;
	int ret;

	if (!r)
		return weir_fail(err, -ENOENT, "there is no rule '%s': see `weir steer list`",
				 name);
	w = weir_steer_work_new(s, &change, notes, err);
	if (!w)
		return -ENOMEM;
	ret = weir_steer_work_refresh(w, r, err);
	if (!ret)
		ret = weir_steer_work_put(w, s->sockets_fd, err);
	if (ret >= 0)
		*ret_sockets = (uint32_t)ret;
	weir_steer_work_free(w);
	return ret < 0 ? ret : 0;
}

int weir_steer_off(struct weir_steer *s, struct weir_error *err)
{
	int ret;

	/* The lock goes with the directory. */
	weir_pin_close(&s->dir);
	ret = weir_pin_unload(WEIR_STEER_VERB, err);
	if (ret < 0)
		return ret;
	/* Not before the program: an id may be another's at once. */
	weir_steer_conf_free(&s->conf);
	if (s->rules.rules_fd >= 0)
		drop_ids(s);
	return 0;
}
