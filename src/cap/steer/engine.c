/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/steer/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "policy/engine.h"

#define VERB "steer"

/* ---- Open and close */

static int *const *fds_of(struct weir_steer *s, int *list[7])
{
	list[0] = &s->link_fd;
	list[1] = &s->prog_fd;
	list[2] = &s->answer_fd;
	list[3] = &s->sockets_fd;
	list[4] = &s->lost_fd;
	list[5] = &s->account_fd;
	list[6] = NULL;
	return list;
}

static void init(struct weir_steer *s)
{
	int *list[7];

	*s = (struct weir_steer){ .dir.fd = -1, .rules = { -1, -1, -1 } };
	for (int *const *fd = fds_of(s, list); *fd; fd++)
		**fd = -1;
}

void weir_steer_close(struct weir_steer *s)
{
	int *list[7];

	for (int *const *fd = fds_of(s, list); *fd; fd++)
		weir_closep(*fd);
	weir_rules_close(&s->rules);
	weir_steer_conf_free(&s->conf);
	weir_pin_close(&s->dir);
	init(s);
}

static const char *pin_name(char buf[16], const char *what, char letter)
{
	snprintf(buf, 16, "%s-%c", what, letter);
	return buf;
}

static uint32_t prog_id(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &len) ? 0 : info.id;
}

/* The letter whose program the link runs, with that program; 0 = none. */
static char find_letter(struct weir_steer *s)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[16];

	if (bpf_obj_get_info_by_fd(s->link_fd, &info, &len))
		return 0;
	for (char c = 'a'; c <= 'b'; c++) {
		s->prog_fd = weir_pin_get(&s->dir, pin_name(name, "prog", c));
		if (s->prog_fd >= 0 && prog_id(s->prog_fd) == info.prog_id)
			return c;
		weir_closep(&s->prog_fd);
		s->prog_fd = -1;
	}
	return 0;
}

static int incomplete(struct weir_error *err)
{
	return weir_fail(err, -EPROTO, "what is pinned is incomplete: `weir unload " VERB "`");
}

/* Rules that have expired are gone for whoever looks, as they are for the program. */
static void forget_expired(struct weir_steer *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->conf.n_rules; i++) {
		struct weir_steer_rule *r = &s->conf.rules[i];

		if (r->expires && r->expires <= s->clock.boot)
			weir_steer_rule_free(r);
		else
			s->conf.rules[kept++] = *r;
	}
	s->conf.n_rules = kept;
}

static int open_generation(struct weir_steer *s, struct weir_error *err)
{
	weir_autoclose int text = -1;
	char name[16];
	int ret;

	s->letter = find_letter(s);
	if (!s->letter)
		return incomplete(err);
	text = weir_pin_get(&s->dir, pin_name(name, "text", s->letter));
	s->answer_fd = weir_pin_get(&s->dir, pin_name(name, "answer", s->letter));
	s->sockets_fd = weir_pin_get(&s->dir, "sockets");
	s->lost_fd = weir_pin_get(&s->dir, "lost");
	s->account_fd = weir_pin_get(&s->dir, "account");
	if (text < 0 || s->answer_fd < 0 || s->sockets_fd < 0 || s->lost_fd < 0 ||
	    s->account_fd < 0)
		return incomplete(err);
	ret = weir_steer_text_read(text, &s->conf, err);
	if (!ret)
		forget_expired(s);
	return ret;
}

static int open_all(struct weir_steer *s, bool create, struct weir_error *err)
{
	int ret = weir_filter_clock(&s->clock.jiffies, &s->clock.boot, &s->clock.tick, err);

	s->link_fd = ret ? -1 : weir_pin_get(&s->dir, "link");
	if (!ret)
		ret = weir_rules_open(&s->rules, create || s->link_fd >= 0, err);
	if (ret)
		return ret;
	if (s->link_fd >= 0)
		ret = weir_pin_check_meta(&s->dir, WEIR_STEER_ABI, err);
	else if (s->link_fd != -ENOENT)
		return weir_load_explain(err, s->link_fd, "look at what is pinned");
	if (!ret && s->link_fd >= 0)
		return open_generation(s, err);
	s->link_fd = -1;
	/* A first command that was killed left parts, which are written over. */
	return ret ? ret : create ? 0 : -ENOENT;
}

int weir_steer_open(struct weir_steer *s, bool create, struct weir_error *err)
{
	int ret;

	init(s);
	ret = weir_pin_open(&s->dir, VERB, create, err);
	if (!ret)
		ret = open_all(s, create, err);
	if (ret == -ENOENT)
		weir_fail(err, ret,
			  "nothing is steered in this network namespace: begin with "
			  "`weir steer add`");
	if (ret)
		weir_steer_close(s);
	return ret;
}

/* ---- Counters */

uint64_t weir_steer_cookie(const struct weir_steer *s, uint32_t slot)
{
	uint64_t cookie = 0;

	return bpf_map_lookup_elem(s->sockets_fd, &slot, &cookie) ? 0 : cookie;
}

/* The sum over all CPUs of the @n counters at @key. */
static int sum(int fd, uint32_t key, uint64_t *ret, size_t n)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree uint64_t *v = calloc(cpus * n, sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &key, v))
		return -errno;
	memset(ret, 0, n * sizeof(*ret));
	for (size_t i = 0; i < cpus * n; i++)
		ret[i % n] += v[i];
	return 0;
}

int weir_steer_lost_of(const struct weir_steer *s, uint32_t rule, struct weir_steer_lost *ret)
{
	uint64_t v[2];
	int r = sum(s->lost_fd, rule, v, 2);

	if (!r)
		*ret = (struct weir_steer_lost){ v[0], v[1] };
	return r;
}

int weir_steer_account_of(const struct weir_steer *s, struct weir_steer_account *ret)
{
	uint64_t v[sizeof(*ret) / sizeof(uint64_t)];
	int r = sum(s->account_fd, 0, v, WEIR_ARRAY_SIZE(v));

	if (!r)
		memcpy(ret, v, sizeof(v));
	return r;
}

/* ---- Targets */

/* What a command does about sockets. */
struct work {
	struct weir_steer *s;
	struct weir_steer_conf *next;
	const struct weir_steer_change *change;
	struct weir_steer_finder finder;
	struct weir_steer_notes *notes;
	/* Descriptors by slot, put there once the program is loaded. */
	struct slot {
		uint32_t slot;
		int fd;
	} * slots;
	size_t n, room;
	uint8_t used[WEIR_STEER_SLOTS]; /* by the old or the new rules */
};

static void work_free(struct work *w)
{
	for (size_t i = 0; i < w->n; i++)
		close(w->slots[i].fd);
	free(w->slots);
	weir_steer_finder_free(&w->finder);
}

static void mark(struct work *w, const struct weir_steer_target *t)
{
	memset(w->used + t->first, 1, t->members * WEIR_STEER_SPARE);
}

static int find_room(const struct work *w, uint32_t n, uint32_t *ret)
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

static int add_slot(struct work *w, uint32_t slot, int fd)
{
	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		void *v = reallocarray(w->slots, room, sizeof(*w->slots));

		if (!v)
			return -ENOMEM;
		w->slots = v;
		w->room = room;
	}
	w->slots[w->n++] = (struct slot){ slot, fd };
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

/* The slots of one member: those that hold a socket found again keep it. */
static int fill_member(struct work *w, const struct weir_steer_rule *r, const char *to,
		       uint32_t first, struct weir_steer_found *found, int n,
		       struct weir_error *err)
{
	bool kept[WEIR_STEER_SPARE] = { false };
	int ret = 0;

	for (int i = 0; i < n; i++) {
		bool there = false;

		ret = ret ? ret : check_family(r, to, &found[i], err);
		for (uint32_t k = 0; w->s->sockets_fd >= 0 && k < WEIR_STEER_SPARE; k++)
			if (weir_steer_cookie(w->s, first + k) == found[i].cookie)
				there = kept[k] = true;
		if (!there)
			continue;
		close(found[i].fd);
		found[i].fd = -1;
	}
	for (int i = 0; i < n; i++) {
		uint32_t k = 0;

		if (found[i].fd < 0)
			continue;
		while (kept[k])
			k++;
		kept[k] = true;
		if (ret || add_slot(w, first + k, found[i].fd)) {
			close(found[i].fd);
			ret = ret ? ret : weir_fail(err, -ENOMEM, "out of memory");
		}
	}
	return ret;
}

/* A socket that was given as a descriptor is found again by its address. */
static int find_again(struct work *w, const char *to, enum weir_steer_proto p, bool again,
		      struct weir_steer_found found[WEIR_STEER_SPARE], struct weir_error *err)
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

static int note_missing(struct work *w, const struct weir_steer_rule *r,
			const struct weir_error *err)
{
	weir_buf_addf(&w->notes->text,
		      "rule %s waits for its socket: %s; then `weir steer register %s`\n", r->name,
		      err->msg, r->name);
	return 0;
}

static int find_member(struct work *w, const struct weir_steer_rule *r, const char *to,
		       enum weir_steer_proto p, uint32_t first, bool again, struct weir_error *err)
{
	struct weir_steer_found found[WEIR_STEER_SPARE];
	int n = find_again(w, to, p, again, found, err);

	if (n == -ENOENT && w->change->missing_ok)
		return note_missing(w, r, err);
	if (n == -ENOENT)
		return weir_fail_prefix(err, n, "rule %s", r->name);
	if (n < 0)
		return n;
	if (!strncmp(to, "pid:", 4) &&
	    weir_steer_conf_set_was(w->next, to, &found[0].addr, found[0].port)) {
		for (int i = 0; i < n; i++)
			close(found[i].fd);
		return weir_fail(err, -ENOMEM, "out of memory");
	}
	return fill_member(w, r, to, first, found, n, err);
}

static int add_target(struct weir_steer_conf *c, const struct weir_steer_target *t)
{
	void *v = reallocarray(c->targets, c->n_targets + 1, sizeof(*t));

	if (!v)
		return -ENOMEM;
	c->targets = v;
	c->targets[c->n_targets++] = *t;
	return 0;
}

/* Give @r's sockets of one protocol their slots, and find those that are to be found. */
static int place_target(struct work *w, const struct weir_steer_rule *r, enum weir_steer_proto p,
			struct weir_error *err)
{
	const struct weir_steer_target *old = weir_steer_conf_target(&w->s->conf, r->to, p);
	const char *members[WEIR_STEER_GROUP_MAX];
	size_t n = weir_steer_conf_members(w->next, r->to, &members);
	struct weir_steer_target t = { .proto = p, .members = (uint32_t)n };
	bool fresh = w->change->fresh_all ||
		     (w->change->fresh && !strcmp(w->change->fresh, r->name));
	int ret = 0;

	if (weir_steer_conf_target(w->next, r->to, p))
		return 0;
	snprintf(t.to, sizeof(t.to), "%s", r->to);
	/* A group that changed is another one. */
	if (old && !strncmp(r->to, "group:", 6)) {
		const char *before[WEIR_STEER_GROUP_MAX];

		if (weir_steer_conf_members(&w->s->conf, r->to, &before) != n)
			old = NULL;
		for (size_t i = 0; old && i < n; i++)
			if (strcmp(before[i], members[i]) != 0)
				old = NULL;
	}
	if (old)
		t.first = old->first;
	else if (find_room(w, t.members * WEIR_STEER_SPARE, &t.first))
		return weir_fail(err, -ENOSPC, "more than %d sockets: use fewer of them",
				 WEIR_STEER_SLOTS / WEIR_STEER_SPARE);
	mark(w, &t);
	if (add_target(w->next, &t))
		return weir_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; !ret && (!old || fresh) && i < n; i++)
		ret = find_member(w, r, members[i], p, t.first + (uint32_t)i * WEIR_STEER_SPARE,
				  old && w->change->fresh_all, err);
	return ret;
}

static int place_targets(struct work *w, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < w->s->conf.n_targets; i++)
		mark(w, &w->s->conf.targets[i]);
	for (size_t i = 0; !ret && i < w->next->n_rules; i++)
		for (int p = 0; !ret && p < WEIR_STEER_PROTOS; p++)
			if (w->next->rules[i].protos & 1U << p)
				ret = place_target(w, &w->next->rules[i], (enum weir_steer_proto)p,
						   err);
	return ret;
}

/* Put what was found into its slots. */
static int put_sockets(struct work *w, int sockets_fd, struct weir_error *err)
{
	for (size_t i = 0; i < w->n; i++) {
		uint64_t fd = (uint64_t)w->slots[i].fd;

		if (bpf_map_update_elem(sockets_fd, &w->slots[i].slot, &fd, BPF_ANY))
			return weir_load_explain(err, -errno, "take the socket");
	}
	return 0;
}

/* Take the sockets out of all slots that the rules in force don't use. */
static void sweep_sockets(const struct weir_steer *s)
{
	uint8_t used[WEIR_STEER_SLOTS] = { 0 };

	for (size_t i = 0; i < s->conf.n_targets; i++)
		memset(used + s->conf.targets[i].first, 1,
		       s->conf.targets[i].members * WEIR_STEER_SPARE);
	for (uint32_t i = 0; i < WEIR_STEER_SLOTS; i++)
		if (!used[i])
			bpf_map_delete_elem(s->sockets_fd, &i);
}

/* ---- Ids */

static int give_ids(struct weir_steer *s, struct weir_steer_conf *next, struct weir_error *err)
{
	for (size_t i = 0; i < next->n_rules; i++) {
		struct weir_steer_rule *r = &next->rules[i];
		const struct weir_steer_rule *old = weir_steer_conf_rule(&s->conf, r->name);
		weir_autobuf struct weir_buf text = { 0 };
		struct weir_rule rule = { .order = (uint32_t)i,
					  .verb = VERB,
					  .owner = WEIR_STEER_OWNER };
		int ret;

		if (!r->expires && r->ttl)
			r->expires = s->clock.boot + r->ttl;
		r->id = old ? old->id : r->id;
		weir_steer_print_rule(next, r, 0, s->clock.boot, &text);
		snprintf(rule.name, sizeof(rule.name), "%s", r->name);
		snprintf(rule.text, sizeof(rule.text), "%s", text.failed ? "" : text.data);
		rule.expires = r->expires;
		if (old && old->id) {
			struct weir_rule there;

			if (!weir_rules_get(&s->rules, old->id, &there) &&
			    !strcmp(there.name, rule.name) && !strcmp(there.text, rule.text) &&
			    there.order == rule.order)
				continue;
		}
		ret = weir_rules_put(&s->rules, &rule, err);
		if (ret)
			return ret;
		if (r->id != rule.id) {
			/* A new rule counts from 0; the store has cleared its own counter. */
			weir_autofree struct weir_steer_lost *zero =
				calloc((size_t)weir_sys_cpus(), sizeof(*zero));

			if (zero && s->lost_fd >= 0)
				bpf_map_update_elem(s->lost_fd, &rule.id, zero, BPF_ANY);
		}
		r->id = rule.id;
	}
	return 0;
}

struct stale {
	const struct weir_steer_conf *conf;
	char (*names)[WEIR_RULE_NAME_MAX];
	size_t n;
};

static int note_stale(void *arg, const struct weir_rule *rule)
{
	struct stale *x = arg;
	void *v;

	if (strcmp(rule->owner, WEIR_STEER_OWNER) != 0 || weir_steer_conf_rule(x->conf, rule->name))
		return 0;
	v = reallocarray(x->names, x->n + 1, sizeof(*x->names));
	if (!v)
		return -ENOMEM;
	x->names = v;
	snprintf(x->names[x->n++], sizeof(*x->names), "%s", rule->name);
	return 0;
}

/* Ids of rules that are not in force go, also what killed commands left. */
static void drop_ids(struct weir_steer *s)
{
	struct stale x = { .conf = &s->conf };

	weir_rules_each(&s->rules, note_stale, &x);
	for (size_t i = 0; i < x.n; i++)
		weir_rules_del(&s->rules, WEIR_STEER_OWNER, x.names[i], NULL);
	free(x.names);
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
	ret = weir_pin_put_meta(&s->dir, VERB, WEIR_STEER_ABI, NULL, err);
	return ret ? ret : weir_pin_put(&s->dir, "link", s->link_fd, err);
}

static void unpin(const struct weir_steer *s, char letter)
{
	static const char *const parts[] = { "prog", "text", "answer" };
	char path[384], name[16];

	for (size_t i = 0; letter && i < WEIR_ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof(path), "%s/%s", s->dir.path,
			 pin_name(name, parts[i], letter));
		unlink(path);
	}
}

static int pin_generation(const struct weir_steer *s, const struct weir_steer_generation *g,
			  char letter, struct weir_error *err)
{
	char name[16];
	int ret = weir_pin_put(&s->dir, pin_name(name, "prog", letter), g->prog_fd, err);

	if (!ret)
		ret = weir_pin_put(&s->dir, pin_name(name, "text", letter), g->text_fd, err);
	if (!ret)
		ret = weir_pin_put(&s->dir, pin_name(name, "answer", letter), g->answer_fd, err);
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
		weir_pin_unload(VERB, NULL);
		return ret;
	}
	s->letter = letter;
	unpin(s, old);
	return 0;
}

static int build(struct work *w, struct weir_error *err)
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
	if (!ret)
		ret = put_sockets(w, g.shared.sockets_fd, err);
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
	return ret ? weir_fail(err, ret, "out of memory: free some and try again") : 0;
}

int weir_steer_commit(struct weir_steer *s, const struct weir_steer_change *change,
		      struct weir_steer_notes *notes, struct weir_error *err)
{
	struct work *w = calloc(1, sizeof(*w));
	struct weir_steer_conf *next = change->next;
	int ret;

	if (!w)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->s = s;
	w->next = next;
	w->change = change;
	w->notes = notes;
	free(next->targets);
	next->targets = NULL;
	next->n_targets = 0;
	ret = keep_addresses(&s->conf, next, err);
	if (!ret)
		ret = weir_steer_conf_check(next, err);
	if (!ret)
		ret = place_targets(w, err);
	if (!ret)
		ret = weir_steer_conf_check(next, err); /* addresses are known now */
	if (!ret)
		ret = give_ids(s, next, err);
	if (!ret)
		ret = build(w, err);
	if (!ret) {
		weir_steer_conf_free(&s->conf);
		s->conf = *next;
		*next = (struct weir_steer_conf){ 0 };
		sweep_sockets(s);
	}
	drop_ids(s);
	work_free(w);
	free(w);
	return ret;
}

/* ---- register, off */

int weir_steer_register(struct weir_steer *s, const char *name, uint32_t *ret_sockets,
			struct weir_error *err)
{
	const struct weir_steer_rule *r = weir_steer_conf_rule(&s->conf, name);
	const struct weir_steer_change change = { .fresh = name };
	struct work *w;
	int ret = 0;

	if (!r)
		return weir_fail(err, -ENOENT, "there is no rule '%s': see `weir steer list`",
				 name);
	w = calloc(1, sizeof(*w));
	if (!w)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->s = s;
	w->next = &s->conf;
	w->change = &change;
	for (int p = 0; !ret && p < WEIR_STEER_PROTOS; p++) {
		const struct weir_steer_target *t =
			weir_steer_conf_target(&s->conf, r->to, (enum weir_steer_proto)p);
		const char *members[WEIR_STEER_GROUP_MAX];
		size_t n = weir_steer_conf_members(&s->conf, r->to, &members);

		for (size_t i = 0; !ret && t && r->protos & 1U << p && i < n; i++)
			ret = find_member(w, r, members[i], (enum weir_steer_proto)p,
					  t->first + (uint32_t)i * WEIR_STEER_SPARE, true, err);
	}
	if (!ret)
		ret = put_sockets(w, s->sockets_fd, err);
	*ret_sockets = (uint32_t)w->n;
	work_free(w);
	free(w);
	return ret;
}

int weir_steer_off(struct weir_steer *s, struct weir_error *err)
{
	int ret;

	weir_steer_conf_free(&s->conf);
	drop_ids(s);
	/* The lock goes with the directory. */
	weir_pin_close(&s->dir);
	ret = weir_pin_unload(VERB, err);
	return ret < 0 ? ret : 0;
}

int weir_steer_ask(const struct weir_steer *s, const struct weir_steer_question *q,
		   struct weir_steer_verdict *ret, struct weir_error *err)
{
	return weir_steer_prog_ask(s->prog_fd, s->answer_fd, q, ret, err);
}
