/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/fault/engine.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "fault.skel.h"
#include "policy/engine.h"

#define VERB "fault"
#define RATE_BURST_NS 50000000ULL   /* the bucket's depth, at least ... */
#define RATE_BURST_BITS (65536 * 8) /* ... one segment of the largest size */

static const char *const map_names[WEIR_FAULT_MAPS] = {
	[WEIR_FAULT_MAP_SWITCH] = "switch",
	[WEIR_FAULT_MAP_RUN] = "run",
	[WEIR_FAULT_MAP_ACCOUNT] = "account",
	[WEIR_FAULT_MAP_DROPPED] = WEIR_FAULT_DROPS,
};

/* ---- Open and close */

static void init(struct weir_fault *f)
{
	*f = (struct weir_fault){ .dir.fd = -1, .rules = { -1, -1, -1, 0 } };
	for (int i = 0; i < WEIR_FAULT_MAPS; i++)
		f->map_fd[i] = -1;
}

void weir_fault_close(struct weir_fault *f)
{
	for (int i = 0; i < WEIR_FAULT_MAPS; i++)
		weir_closep(&f->map_fd[i]);
	weir_rules_close(&f->rules);
	weir_fault_conf_free(&f->conf);
	weir_pin_close(&f->dir);
	init(f);
}

static int make_maps(struct weir_fault *f, struct weir_error *err)
{
	struct fault_bpf *skel;
	int ret;

	weir_load_setup();
	skel = fault_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the maps");
	bpf_map__set_autocreate(skel->maps.weir_hits, false);
	ret = weir_load(skel->obj, NULL, err);
	if (!ret) {
		const struct bpf_map *maps[WEIR_FAULT_MAPS] = {
			[WEIR_FAULT_MAP_SWITCH] = skel->maps.weir_fault_rules,
			[WEIR_FAULT_MAP_RUN] = skel->maps.weir_fault_run,
			[WEIR_FAULT_MAP_ACCOUNT] = skel->maps.weir_fault_account,
			[WEIR_FAULT_MAP_DROPPED] = skel->maps.weir_fault_dropped,
		};

		for (int i = 0; !ret && i < WEIR_FAULT_MAPS; i++)
			ret = weir_pin_put(&f->dir, map_names[i], bpf_map__fd(maps[i]), err);
	}
	fault_bpf__destroy(skel);
	/* The last, so that a directory with meta is whole. */
	return ret ? ret : weir_pin_put_meta(&f->dir, VERB, WEIR_FAULT_ABI, NULL, err);
}

static int open_maps(struct weir_fault *f, struct weir_error *err)
{
	for (int i = 0; i < WEIR_FAULT_MAPS; i++) {
		f->map_fd[i] = weir_pin_get(&f->dir, map_names[i]);
		if (f->map_fd[i] < 0)
			return weir_load_explain(err, f->map_fd[i], "open what is pinned");
	}
	return 0;
}

static int switch_write(const struct weir_fault *f, uint32_t slot, const struct weir_fault_rule *v)
{
	return bpf_map_update_elem(f->map_fd[WEIR_FAULT_MAP_SWITCH], &slot, v, BPF_ANY) ? -errno :
											  0;
}

static void switch_off(const struct weir_fault *f, uint32_t slot)
{
	static const struct weir_fault_rule none;

	switch_write(f, slot, &none);
}

/* The rule in @slot, with its words from the rule store. */
static int read_rule(const struct weir_fault *f, uint32_t slot, const struct weir_fault_rule *v,
		     struct weir_fault_conf_rule *ret, struct weir_error *err)
{
	struct weir_rule words;
	int code = weir_rules_get(&f->rules, v->id, &words);

	if (!code && strcmp(words.owner, WEIR_FAULT_OWNER) != 0)
		code = -ENOENT;
	if (!code)
		code = weir_fault_parse_words(words.text, words.name, ret, err);
	if (code)
		return code;
	ret->slot = slot;
	ret->id = v->id;
	ret->stamp = v->stamp;
	ret->expires = v->expires;
	return 0;
}

/* A slot whose words are gone, or whose rule has another slot since, is what a killed
 * command left: off. */
static int read_slot(struct weir_fault *f, uint32_t slot, struct weir_error *err)
{
	struct weir_fault_conf_rule r, *other;
	struct weir_fault_rule v;

	if (bpf_map_lookup_elem(f->map_fd[WEIR_FAULT_MAP_SWITCH], &slot, &v))
		return weir_load_explain(err, -errno, "read the rules");
	if (v.kind == WEIR_FAULT_OFF || v.expires <= f->boot)
		return 0;
	if (read_rule(f, slot, &v, &r, NULL)) {
		switch_off(f, slot);
		return 0;
	}
	other = weir_fault_conf_find(&f->conf, r.name);
	if (other && other->stamp > r.stamp) {
		switch_off(f, slot);
		weir_fault_rule_free(&r);
		return 0;
	}
	if (other)
		switch_off(f, other->slot);
	return weir_fault_conf_add(&f->conf, &r, true, err);
}

static int compare_rules(const void *a, const void *b)
{
	const struct weir_fault_conf_rule *x = a, *y = b;

	return (x->stamp > y->stamp) - (x->stamp < y->stamp);
}

static int open_all(struct weir_fault *f, bool create, struct weir_error *err)
{
	int ret = weir_filter_clock(&f->jiffies, &f->boot, &f->tick, err);

	if (!ret)
		ret = weir_pin_check_meta(&f->dir, WEIR_FAULT_ABI, err);
	if (ret == -ENOENT && create) {
		f->fresh = true;
		ret = make_maps(f, err);
	}
	if (!ret)
		ret = open_maps(f, err);
	if (!ret)
		ret = weir_rules_open(&f->rules, true, err);
	for (uint32_t slot = 1; !ret && slot < WEIR_FAULT_SLOTS; slot++)
		ret = read_slot(f, slot, err);
	/* In the order in which they were given, which is that of their stamps. */
	if (!ret && f->conf.n)
		qsort(f->conf.v, f->conf.n, sizeof(*f->conf.v), compare_rules);
	return ret;
}

int weir_fault_open(struct weir_fault *f, bool create, struct weir_error *err)
{
	int ret;

	init(f);
	ret = weir_pin_open(&f->dir, VERB, create, err);
	if (!ret)
		ret = open_all(f, create, err);
	if (ret == -ENOENT)
		weir_fail(err, ret,
			  "no fault is in force in this network namespace: begin with `weir fault "
			  "add`");
	if (ret)
		weir_fault_close(f);
	return ret;
}

int weir_fault_copy(const struct weir_fault *f, struct weir_fault_conf *ret, struct weir_error *err)
{
	weir_auto_fault_conf copy = { 0 };
	int code = 0;

	for (size_t i = 0; !code && i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *was = &f->conf.v[i];
		weir_autobuf struct weir_buf text = { 0 };
		struct weir_fault_conf_rule r;

		weir_fault_print_words(was, &text);
		if (text.failed)
			return weir_fail(err, -ENOMEM, "out of memory");
		code = weir_fault_parse_words(text.data, was->name, &r, err);
		if (code)
			return code;
		r.slot = was->slot;
		r.id = was->id;
		r.stamp = was->stamp;
		r.expires = was->expires;
		code = weir_fault_conf_add(&copy, &r, false, err);
	}
	if (code)
		return code;
	*ret = copy;
	copy = (struct weir_fault_conf){ 0 };
	return 0;
}

int weir_fault_account_of(const struct weir_fault *f, uint32_t slot, struct weir_fault_account *ret)
{
	size_t cpus = (size_t)weir_sys_cpus(), n = sizeof(*ret) / sizeof(uint64_t);
	weir_autofree uint64_t *v = calloc(cpus * n, sizeof(*v));
	uint64_t sum[sizeof(*ret) / sizeof(uint64_t)] = { 0 };

	if (!v)
		return -ENOMEM;
	if (bpf_map_lookup_elem(f->map_fd[WEIR_FAULT_MAP_ACCOUNT], &slot, v))
		return -errno;
	for (size_t i = 0; i < cpus * n; i++)
		sum[i % n] += v[i];
	memcpy(ret, sum, sizeof(*ret));
	return 0;
}

/* ---- What a change is made of */

struct new_rule {
	struct weir_fault_conf_rule *r; /* in `next` */
	struct weir_fault_targets targets;
	int sk_fd;
	struct weir_rule before; /* of the rule store; its id 0: there was none */
	bool stored;
};

struct work {
	struct weir_fault *f;
	struct weir_fault_conf *next;
	struct new_rule v[WEIR_FAULT_RULES_MAX];
	size_t n;
	struct weir_fault_programs programs;
};

static void work_free(struct work *w)
{
	for (size_t i = 0; i < w->n; i++) {
		weir_fault_targets_close(&w->v[i].targets);
		weir_closep(&w->v[i].sk_fd);
	}
	weir_fault_packets_close(&w->programs);
	free(w);
}

static bool slot_is_used(const struct work *w, uint32_t slot)
{
	struct weir_fault_rule v;

	/* One that expired may still be some socket's, but its stamp is another. */
	if (bpf_map_lookup_elem(w->f->map_fd[WEIR_FAULT_MAP_SWITCH], &slot, &v) ||
	    (v.kind != WEIR_FAULT_OFF && v.expires > w->f->boot))
		return true;
	for (size_t i = 0; i < w->next->n; i++)
		if (w->next->v[i].slot == slot)
			return true;
	return false;
}

/* Stamps grow, so that of two with one name the newer is known, and differ in the bits that
 * the programs at tc compare. */
static int give_slot(struct work *w, struct weir_fault_conf_rule *r, uint64_t stamp,
		     struct weir_error *err)
{
	for (uint32_t slot = 1; slot < WEIR_FAULT_SLOTS; slot++) {
		if (slot_is_used(w, slot))
			continue;
		r->slot = slot;
		r->stamp = stamp;
		r->expires = w->f->boot + r->ttl;
		if (r->expires < r->ttl)
			r->expires = UINT64_MAX;
		return 0;
	}
	return weir_fail(err, -E2BIG, "more than %d rules, old and new together: delete some first",
			 WEIR_FAULT_RULES_MAX);
}

/* The next stamp: above all that are in force. */
static uint64_t first_stamp(const struct weir_fault *f)
{
	uint64_t stamp = f->boot >> 10; /* about a microsecond: no command is as fast */

	for (size_t i = 0; i < f->conf.n; i++)
		if (f->conf.v[i].stamp >= stamp)
			stamp = f->conf.v[i].stamp + 1;
	return stamp;
}

static int check_iface(const struct weir_fault_conf_rule *r, struct weir_error *err)
{
	if (weir_fault_is_socket(r) || !r->iface[0])
		return 0;
	if (if_nametoindex(r->iface))
		return r->kind == WEIR_FAULT_DELAY ? weir_fault_check_qdisc(r->iface, err) : 0;
	return weir_fail(err, -ENODEV, "-i %s: there is no such interface: see `ip link`",
			 r->iface);
}

/* All that can fail without a trace. */
static int prepare(struct work *w, bool force, struct weir_error *err)
{
	uint64_t stamp = first_stamp(w->f);
	int ret = 0;

	for (size_t i = 0; !ret && i < w->next->n; i++) {
		struct weir_fault_conf_rule *r = &w->next->v[i];
		struct new_rule *x = &w->v[w->n];

		if (r->slot)
			continue;
		*x = (struct new_rule){ .r = r, .sk_fd = -1 };
		w->n++;
		ret = check_iface(r, err);
		if (!ret)
			ret = give_slot(w, r, stamp++, err);
		if (!ret && weir_fault_is_socket(r))
			ret = weir_fault_targets_find(w->f, r, w->next, force, &x->targets, err);
		if (!ret && weir_fault_is_socket(r)) {
			x->sk_fd = weir_fault_sk_load(w->f, r, err);
			ret = x->sk_fd < 0 ? x->sk_fd : 0;
		}
	}
	if (!ret && !force)
		ret = weir_fault_guard(w->next, err);
	return ret ? ret : weir_fault_packets_load(w->f, w->next, &w->programs, err);
}

/* ---- Writing rules */

static int store_rule(struct work *w, struct new_rule *x, uint32_t order, struct weir_error *err)
{
	struct weir_rule rule = { .order = order, .verb = VERB, .owner = WEIR_FAULT_OWNER };
	weir_autobuf struct weir_buf text = { 0 };
	const struct weir_fault_conf_rule *old = weir_fault_conf_find(&w->f->conf, x->r->name);
	int ret;

	weir_fault_print_words(x->r, &text);
	if (text.failed || text.len >= sizeof(rule.text))
		return weir_fail(err, -E2BIG, "rule %s has too many words: shorten it", x->r->name);
	memcpy(rule.name, x->r->name, sizeof(rule.name));
	memcpy(rule.text, text.data, text.len + 1);
	rule.expires = x->r->expires;
	if (old)
		weir_rules_get(&w->f->rules, old->id, &x->before);
	ret = weir_rules_put(&w->f->rules, &rule, err);
	if (ret)
		return ret;
	x->stored = true;
	x->r->id = rule.id;
	return 0;
}

static void set_rate(const struct weir_fault_conf_rule *r, struct weir_fault_rule *v)
{
	uint64_t one = RATE_BURST_BITS * 1000000000ULL / r->rate;

	v->cost = (1000000000ULL << WEIR_FAULT_COST_SHIFT) / r->rate;
	v->depth = one > RATE_BURST_NS ? one : RATE_BURST_NS;
}

static int clear_counters(const struct weir_fault *f, uint32_t slot)
{
	static const struct weir_fault_run begin;
	weir_autofree struct weir_fault_account *zero =
		calloc((size_t)weir_sys_cpus(), sizeof(*zero));

	if (!zero)
		return -ENOMEM;
	if (bpf_map_update_elem(f->map_fd[WEIR_FAULT_MAP_RUN], &slot, &begin, BPF_ANY) ||
	    bpf_map_update_elem(f->map_fd[WEIR_FAULT_MAP_ACCOUNT], &slot, zero, BPF_ANY))
		return -errno;
	return 0;
}

static int write_rule(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
		      struct weir_error *err)
{
	struct weir_fault_rule v = {
		.stamp = r->stamp,
		.expires = r->expires,
		.threshold = r->threshold,
		.seed = r->seed,
		.delay = r->delay,
		.jitter = r->jitter,
		.kind = r->kind,
		.id = r->id,
		.nth = r->nth,
		.keep = r->keep,
		.flags = r->fix_checksum ? WEIR_FAULT_FIX_CHECKSUM : 0,
	};
	int ret = clear_counters(f, r->slot);

	memcpy(v.name, r->name, sizeof(v.name));
	if (r->kind == WEIR_FAULT_RATE)
		set_rate(r, &v);
	if (!ret)
		ret = switch_write(f, r->slot, &v);
	return ret ? weir_load_explain(err, ret, "write the rule") : 0;
}

static void unpin_sk(const struct weir_fault *f, uint32_t slot)
{
	char path[sizeof(f->dir.path) + 20], name[16];

	snprintf(path, sizeof(path), "%s/%s", f->dir.path, weir_fault_sk_name(name, slot));
	unlink(path);
}

/* Off, and off its sockets. */
static void take_out(const struct weir_fault *f, const struct weir_fault_conf_rule *r)
{
	weir_autoclose int fd = -1;
	char name[16];

	switch_off(f, r->slot);
	if (!weir_fault_is_socket(r))
		return;
	fd = weir_pin_get(&f->dir, weir_fault_sk_name(name, r->slot));
	if (fd >= 0)
		weir_fault_sk_detach(weir_fault_prog_id(fd));
	unpin_sk(f, r->slot);
}

/* What was replaced gets its sockets back. */
static void put_back(const struct work *w, const struct new_rule *x)
{
	const struct weir_fault_conf_rule *old = weir_fault_conf_find(&w->f->conf, x->r->name);
	weir_autoclose int fd = -1;
	char name[16];

	if (!old || !weir_fault_is_socket(old))
		return;
	fd = weir_pin_get(&w->f->dir, weir_fault_sk_name(name, old->slot));
	if (fd >= 0)
		weir_fault_sk_attach(&x->targets, fd, NULL);
}

static void undo(struct work *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct new_rule *x = &w->v[i];

		if (!x->stored)
			continue;
		take_out(w->f, x->r);
		put_back(w, x);
		if (x->before.id)
			weir_rules_put(&w->f->rules, &x->before, NULL);
		else
			weir_rules_del(&w->f->rules, WEIR_FAULT_OWNER, x->r->name, NULL);
	}
}

/* Pinned before it is attached: a killed command leaves nothing that can't be found. */
static int put_in(struct work *w, struct new_rule *x, uint32_t order, struct weir_error *err)
{
	char name[16];
	int ret = store_rule(w, x, order, err);

	if (!ret)
		ret = write_rule(w->f, x->r, err);
	if (ret || !weir_fault_is_socket(x->r))
		return ret;
	ret = weir_pin_put(&w->f->dir, weir_fault_sk_name(name, x->r->slot), x->sk_fd, err);
	return ret ? ret : weir_fault_sk_attach(&x->targets, x->sk_fd, err);
}

/* Rules of the store that are not in force: expired, deleted, or left by killed commands. */
struct stale {
	const struct weir_fault_conf *conf;
	char name[4 * WEIR_FAULT_RULES_MAX][WEIR_RULE_NAME_MAX];
	size_t n;
};

static int note_stale(void *arg, const struct weir_rule *rule)
{
	struct stale *x = arg;

	if (!strcmp(rule->owner, WEIR_FAULT_OWNER) && !weir_fault_conf_find(x->conf, rule->name) &&
	    x->n < WEIR_ARRAY_SIZE(x->name))
		memcpy(x->name[x->n++], rule->name, sizeof(rule->name));
	return 0;
}

static void drop_words(struct weir_fault *f)
{
	struct stale *x = calloc(1, sizeof(*x));

	if (!x)
		return;
	x->conf = &f->conf;
	weir_rules_each(&f->rules, note_stale, x);
	for (size_t i = 0; i < x->n; i++)
		weir_rules_del(&f->rules, WEIR_FAULT_OWNER, x->name[i], NULL);
	free(x);
}

/* Slots that no rule of @f->conf has: of rules that were replaced, deleted or expired. */
static void drop_slots(struct weir_fault *f, const struct weir_fault_conf *old)
{
	for (size_t i = 0; i < old->n; i++) {
		bool kept = false;

		for (size_t k = 0; k < f->conf.n; k++)
			kept |= f->conf.v[k].slot == old->v[i].slot;
		if (!kept)
			take_out(f, &old->v[i]);
	}
	for (uint32_t slot = 1; slot < WEIR_FAULT_SLOTS; slot++) {
		struct weir_fault_conf_rule gone = { .kind = WEIR_FAULT_TRUNCATE, .slot = slot };
		bool kept = false;

		for (size_t k = 0; k < f->conf.n; k++)
			kept |= f->conf.v[k].slot == slot;
		if (!kept) {
			weir_autoclose int fd = -1;
			char name[16];

			fd = weir_pin_get(&f->dir, weir_fault_sk_name(name, slot));
			if (fd >= 0)
				take_out(f, &gone);
		}
	}
}

int weir_fault_commit(struct weir_fault *f, struct weir_fault_conf *next, bool force,
		      struct weir_error *err)
{
	struct work *w = calloc(1, sizeof(*w));
	struct weir_fault_conf old;
	int ret;

	if (!w)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->f = f;
	w->next = next;
	w->programs = WEIR_FAULT_NO_PROGRAMS;
	ret = prepare(w, force, err);
	for (size_t i = 0; !ret && i < w->n; i++)
		ret = put_in(w, &w->v[i], (uint32_t)(w->v[i].r - next->v), err);
	if (!ret)
		ret = weir_fault_packets_attach(f, next, &w->programs, err);
	if (ret) {
		undo(w);
	} else {
		old = f->conf;
		f->conf = *next;
		*next = (struct weir_fault_conf){ 0 };
		f->fresh = false;
		drop_slots(f, &old);
		drop_words(f);
		weir_fault_conf_free(&old);
	}
	work_free(w);
	return ret;
}

int weir_fault_off(struct weir_fault *f, struct weir_error *err)
{
	const struct weir_fault_programs none = WEIR_FAULT_NO_PROGRAMS;
	struct weir_fault_conf old = f->conf;
	int ret;

	f->conf = (struct weir_fault_conf){ 0 };
	for (uint32_t slot = 1; slot < WEIR_FAULT_SLOTS; slot++)
		switch_off(f, slot);
	weir_fault_packets_attach(f, &f->conf, &none, NULL);
	drop_slots(f, &old);
	drop_words(f);
	weir_fault_conf_free(&old);
	/* The lock goes with the directory. */
	weir_pin_close(&f->dir);
	ret = weir_pin_unload(VERB, err);
	return ret < 0 ? ret : 0;
}
