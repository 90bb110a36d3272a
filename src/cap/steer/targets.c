/* SPDX-License-Identifier: GPL-2.0-only */
/* Slots: where in the sockmap a rule's sockets lie, and which sockets those are. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "cap/steer/engine_impl.h"
#include "dataplane/load.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

struct weir_steer_work *weir_steer_work_new(struct weir_steer *s,
					    const struct weir_steer_change *change,
					    struct weir_steer_notes *notes, struct weir_error *err)
{
	struct weir_steer_work *w = calloc(1, sizeof(*w));

	if (!w) {
		oom(err);
		return NULL;
	}
	w->s = s;
	w->next = change->next ? change->next : &s->conf;
	w->change = change;
	w->notes = notes;
	return w;
}

void weir_steer_work_free(struct weir_steer_work *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n; i++)
		if (w->slots[i].fd >= 0)
			close(w->slots[i].fd);
	free(w->slots);
	weir_steer_finder_free(&w->finder);
	free(w);
}

/* ---- Slots */

static void mark(struct weir_steer_work *w, const struct weir_steer_target *t)
{
	memset(w->used + t->first, 1, t->members * WEIR_STEER_SPARE);
}

static int find_room(const struct weir_steer_work *w, uint32_t n, uint32_t *ret)
{
	uint32_t free_ = 0;

	for (uint32_t i = 0; i < WEIR_STEER_SLOTS; i++) {
		free_ = w->used[i] ? 0 : free_ + 1;
		if (free_ < n)
			continue;
		*ret = i + 1 - n;
		return 0;
	}
	return -ENOSPC;
}

static int add_slot(struct weir_steer_work *w, uint32_t slot, int fd)
{
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		void *v = reallocarray(w->slots, room, sizeof(*w->slots));

		if (!v)
			return -ENOMEM;
		w->slots = v;
		w->room = room;
	}
	w->slots[w->n++] = (struct weir_steer_slot){ slot, fd };
	return 0;
}

/* Does @fd take IPv6 alone, where the rule wants IPv4 too? */
static int check_family(const struct weir_steer_rule *r, const char *to,
			const struct weir_steer_found *found, struct weir_error *err)
{
	int v6only = 0;
	socklen_t len = sizeof(v6only);
	bool v4 = !r->n_dst;

	for (size_t i = 0; i < r->n_dst; i++)
		v4 |= r->dst[i].is_v4;
	if (!v4 || weir_addr_is_v4(&found->addr) ||
	    getsockopt(found->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len) || !v6only)
		return 0;
	return weir_fail(err, -EINVAL,
			 "%s takes IPv6 only: give --dst-ip ::/0, or IPv6 prefixes, with it", to);
}

/* The slots of one member: those that hold a socket found again keep it, and what else
 * they hold goes. */
static int fill_member(struct weir_steer_work *w, uint32_t first, struct weir_steer_found *found,
		       int n)
{
	bool kept[WEIR_STEER_SPARE] = { false }, full[WEIR_STEER_SPARE] = { false };
	int ret = 0;

	for (uint32_t k = 0; w->s->sockets_fd >= 0 && k < WEIR_STEER_SPARE; k++) {
		uint64_t cookie = weir_steer_cookie(w->s, first + k);

		full[k] = cookie;
		for (int i = 0; i < n; i++) {
			if (found[i].fd < 0 || found[i].cookie != cookie)
				continue;
			kept[k] = true;
			close(found[i].fd);
			found[i].fd = -1;
		}
	}
	for (int i = 0; !ret && i < n; i++) {
		uint32_t k = 0;

		if (found[i].fd < 0)
			continue;
		while (kept[k])
			k++;
		kept[k] = true;
		ret = add_slot(w, first + k, found[i].fd);
		if (!ret)
			found[i].fd = -1;
	}
	for (uint32_t k = 0; !ret && k < WEIR_STEER_SPARE; k++)
		if (full[k] && !kept[k])
			ret = add_slot(w, first + k, -1);
	return ret;
}

/* ---- Members */

/* A socket that was given as a descriptor is found again by its address. */
static int find_again(struct weir_steer_work *w, const char *to, enum weir_steer_proto p,
		      bool again, struct weir_steer_found found[WEIR_STEER_SPARE],
		      struct weir_error *err)
{
	const struct weir_steer_was *was = again ? weir_steer_conf_was(w->next, to) : NULL;
	char word[WEIR_STEER_TO_MAX], addr[WEIR_ADDR_STRLEN];

	if (!was)
		return weir_steer_find(&w->finder, to, p, found, err);
	weir_addr_str(&was->addr, addr);
	snprintf(word, sizeof(word),
		 weir_addr_is_v4(&was->addr) ? "listen:%s:%u" : "listen:[%s]:%u", addr, was->port);
	return weir_steer_find(&w->finder, word, p, found, err);
}

/* Returns how many sockets there are; -ENOENT: none. */
static int find_member(struct weir_steer_work *w, const struct weir_steer_rule *r, const char *to,
		       enum weir_steer_proto p, uint32_t first, bool again, struct weir_error *err)
{
	struct weir_steer_found found[WEIR_STEER_SPARE];
	int n = find_again(w, to, p, again, found, err), ret = 0;

	if (n < 0)
		return n;
	for (int i = 0; !ret && i < n; i++)
		ret = check_family(r, to, &found[i], err);
	if (!ret && !strncmp(to, "pid:", 4) &&
	    weir_steer_conf_set_was(w->next, to, &found[0].addr, found[0].port))
		ret = oom(err);
	if (!ret && fill_member(w, first, found, n))
		ret = oom(err);
	for (int i = 0; i < n; i++)
		if (found[i].fd >= 0)
			close(found[i].fd);
	return ret ? ret : n;
}

static void note_missing(struct weir_steer_work *w, const struct weir_steer_rule *r,
			 const struct weir_error *err)
{
	weir_buf_addf(&w->notes->text,
		      "rule %s waits for its socket: %s; then `weir steer register %s`\n", r->name,
		      err->msg, r->name);
}

/* The sockets of @r's target @t. A member of a group may be missing while another one is
 * there, as when one of them restarts. */
static int find_members(struct weir_steer_work *w, const struct weir_steer_rule *r,
			const struct weir_steer_target *t, bool again, struct weir_error *err)
{
	const char *members[WEIR_STEER_GROUP_MAX];
	size_t n = weir_steer_conf_members(w->next, r->to, &members);
	struct weir_error why = { "" };
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		int found = find_member(w, r, members[i], t->proto,
					t->first + (uint32_t)i * WEIR_STEER_SPARE, again, &why);

		if (found == -ENOENT)
			note_missing(w, r, &why);
		else if (found < 0)
			return weir_fail(err, found, "%s", why.msg);
		any |= found > 0;
	}
	if (any || w->change->missing_ok)
		return 0;
	return weir_fail(err, -ENOENT, "rule %s: %s", r->name, why.msg);
}

/* ---- Targets */

static int add_target(struct weir_steer_conf *c, const struct weir_steer_target *t)
{
	void *v = reallocarray(c->targets, c->n_targets + 1, sizeof(*t));

	if (!v)
		return -ENOMEM;
	c->targets = v;
	c->targets[c->n_targets++] = *t;
	return 0;
}

/* Are the members of @to what they were? A group that changed is another one. */
static bool same_members(const struct weir_steer_work *w, const char *to)
{
	const char *before[WEIR_STEER_GROUP_MAX], *now[WEIR_STEER_GROUP_MAX];
	size_t n = weir_steer_conf_members(w->next, to, &now);

	if (weir_steer_conf_members(&w->s->conf, to, &before) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(before[i], now[i]) != 0)
			return false;
	return true;
}

/* Give @r's sockets of one protocol their slots, and find those that are to be found. */
static int place_target(struct weir_steer_work *w, const struct weir_steer_rule *r,
			enum weir_steer_proto p, struct weir_error *err)
{
	const struct weir_steer_target *old = weir_steer_conf_target(&w->s->conf, r->to, p);
	const char *members[WEIR_STEER_GROUP_MAX];
	struct weir_steer_target t = {
		.proto = p,
		.members = (uint32_t)weir_steer_conf_members(w->next, r->to, &members),
	};
	bool fresh = w->change->fresh_all ||
		     (w->change->fresh && !strcmp(w->change->fresh, r->name));

	if (weir_steer_conf_target(w->next, r->to, p))
		return 0;
	snprintf(t.to, sizeof(t.to), "%s", r->to);
	if (old && !same_members(w, r->to))
		old = NULL;
	if (old)
		t.first = old->first;
	else if (find_room(w, t.members * WEIR_STEER_SPARE, &t.first))
		return weir_fail(err, -ENOSPC, "more than %d sockets: use fewer of them",
				 WEIR_STEER_SLOTS / WEIR_STEER_SPARE);
	mark(w, &t);
	if (add_target(w->next, &t))
		return oom(err);
	return !old || fresh ? find_members(w, r, &t, old && w->change->fresh_all, err) : 0;
}

static int place_rule(struct weir_steer_work *w, const struct weir_steer_rule *r,
		      struct weir_error *err)
{
	int ret = 0;

	for (int p = 0; !ret && p < WEIR_STEER_PROTOS; p++)
		if (r->protos & 1U << p)
			ret = place_target(w, r, (enum weir_steer_proto)p, err);
	return ret;
}

int weir_steer_work_place(struct weir_steer_work *w, struct weir_error *err)
{
	const struct weir_steer_rule *fresh =
		w->change->fresh ? weir_steer_conf_rule(w->next, w->change->fresh) : NULL;
	int ret = 0;

	for (size_t i = 0; i < w->s->conf.n_targets; i++)
		mark(w, &w->s->conf.targets[i]);
	/* Before others that share its sockets, which would keep those that are there. */
	if (fresh)
		ret = place_rule(w, fresh, err);
	for (size_t i = 0; !ret && i < w->next->n_rules; i++)
		ret = place_rule(w, &w->next->rules[i], err);
	return ret;
}

int weir_steer_work_refresh(struct weir_steer_work *w, const struct weir_steer_rule *r,
			    struct weir_error *err)
{
	int ret = 0;

	for (int p = 0; !ret && p < WEIR_STEER_PROTOS; p++) {
		const struct weir_steer_target *t =
			weir_steer_conf_target(w->next, r->to, (enum weir_steer_proto)p);

		if (t && r->protos & 1U << p)
			ret = find_members(w, r, t, true, err);
	}
	return ret;
}

int weir_steer_work_put(const struct weir_steer_work *w, int sockets_fd, struct weir_error *err)
{
	int n = 0;

	for (size_t i = 0; i < w->n; i++) {
		uint64_t fd = (uint64_t)w->slots[i].fd;

		if (w->slots[i].fd < 0) {
			/* It may have been closed meanwhile. */
			bpf_map_delete_elem(sockets_fd, &w->slots[i].slot);
			continue;
		}
		if (bpf_map_update_elem(sockets_fd, &w->slots[i].slot, &fd, BPF_ANY))
			return weir_load_explain(err, -errno, "take the socket");
		n++;
	}
	return n;
}

void weir_steer_sweep(const struct weir_steer *s)
{
	uint8_t used[WEIR_STEER_SLOTS] = { 0 };

	for (size_t i = 0; i < s->conf.n_targets; i++)
		memset(used + s->conf.targets[i].first, 1,
		       s->conf.targets[i].members * WEIR_STEER_SPARE);
	for (uint32_t i = 0; i < WEIR_STEER_SLOTS; i++)
		if (!used[i])
			bpf_map_delete_elem(s->sockets_fd, &i);
}
