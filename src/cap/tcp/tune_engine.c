/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/tcp/tune_engine.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"

#define VERB "tcp"

static const char *const pins[WEIR_TUNE_MAPS] = {
	[WEIR_TUNE_CURRENT] = "current",      [WEIR_TUNE_PROGRAM_MAP] = "programs",
	[WEIR_TUNE_COUNT_MAP] = "counts",     [WEIR_TUNE_FAILURE_MAP] = "failures",
	[WEIR_TUNE_TOTAL] = "failures-total", [WEIR_TUNE_MARKS] = "marks",
};

/* ---- Open and close */

static void init(struct weir_tune *t)
{
	*t = (struct weir_tune){ .dir.fd = -1, .rules = { -1, -1, -1, 0 } };
	for (int i = 0; i < WEIR_TUNE_MAPS; i++)
		t->map[i] = -1;
}

void weir_tune_close(struct weir_tune *t)
{
	for (int i = 0; i < WEIR_TUNE_MAPS; i++)
		weir_closep(&t->map[i]);
	weir_rules_close(&t->rules);
	weir_tune_conf_free(&t->conf);
	weir_pin_close(&t->dir);
	init(t);
}

static const char *pin_name(char buf[16], const char *what, uint32_t n)
{
	snprintf(buf, 16, "%s-%u", what, n);
	return buf;
}

static int incomplete(struct weir_error *err)
{
	return weir_fail(err, -ENODATA, "what is pinned is incomplete: `weir unload " VERB "`");
}

static int open_generation(struct weir_tune *t, struct weir_error *err)
{
	char name[16];
	weir_autoclose int text = weir_pin_get(&t->dir, pin_name(name, "text", t->letter));
	int ret = text < 0 ? incomplete(err) : weir_tune_text_read(text, &t->conf, err);

	for (int i = 0; !ret && i < WEIR_TUNE_MAPS; i++) {
		if (t->map[i] >= 0)
			continue;
		t->map[i] = weir_pin_get(&t->dir, pins[i]);
		if (t->map[i] < 0)
			ret = incomplete(err);
	}
	return ret;
}

/* What is in force; no letter: nothing. */
static int open_current(struct weir_tune *t, struct weir_error *err)
{
	int fd = weir_pin_get(&t->dir, pins[WEIR_TUNE_CURRENT]), ret;
	uint32_t zero = 0;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return weir_load_explain(err, fd, "look at what is pinned");
	t->map[WEIR_TUNE_CURRENT] = fd;
	/* It says what the maps are, this one too. */
	ret = weir_pin_check_meta(&t->dir, WEIR_TUNE_ABI, err);
	if (ret == -ENOENT || (!ret && bpf_map_lookup_elem(fd, &zero, &t->letter)))
		return incomplete(err);
	return !ret && t->letter ? open_generation(t, err) : ret;
}

static bool has_links(const struct weir_tune *t)
{
	for (uint32_t slot = 0; slot < WEIR_TUNE_SLOTS; slot++) {
		char name[16];
		weir_autoclose int fd = weir_pin_get(&t->dir, pin_name(name, "link", slot));

		if (fd >= 0)
			return true;
	}
	return false;
}

static int open_all(struct weir_tune *t, bool create, struct weir_error *err)
{
	int ret = open_current(t, err);

	/* Whoever removes the rules removes the links first, and was killed. */
	if (ret == -ENODATA && !has_links(t))
		t->letter = ret = 0;
	if (!ret && (create || t->letter))
		ret = weir_rules_open(&t->rules, true, err);
	if (ret || t->letter)
		return ret;
	/* What a first command that was killed left is written over, too. */
	for (int i = 0; i < WEIR_TUNE_MAPS; i++) {
		weir_closep(&t->map[i]);
		t->map[i] = -1;
	}
	weir_tune_conf_free(&t->conf);
	return create ? 0 : -ENOENT;
}

int weir_tune_open(struct weir_tune *t, bool create, struct weir_error *err)
{
	int ret;

	init(t);
	ret = weir_pin_open(&t->dir, VERB, create, err);
	if (!ret)
		ret = open_all(t, create, err);
	if (ret == -ENOENT)
		weir_fail(err, ret,
			  "nothing is tuned in this network namespace: begin with "
			  "`weir tcp tune add`");
	if (ret)
		weir_tune_close(t);
	return ret;
}

/* ---- Counters */

int weir_tune_counts_of(const struct weir_tune *t, uint32_t id, struct weir_tune_counts *ret)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree struct weir_tune_counts *v = calloc(cpus, sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (bpf_map_lookup_elem(t->map[WEIR_TUNE_COUNT_MAP], &id, v))
		return -errno;
	memset(ret, 0, sizeof(*ret));
	for (size_t cpu = 0; cpu < cpus; cpu++)
		for (int i = 0; i < WEIR_TUNE_OPTS; i++) {
			ret->set[i] += v[cpu].set[i];
			ret->failed[i] += v[cpu].failed[i];
			ret->limited[i] += v[cpu].limited[i];
			if (v[cpu].failed_at[i] <= ret->failed_at[i])
				continue;
			ret->failed_at[i] = v[cpu].failed_at[i];
			ret->error[i] = v[cpu].error[i];
		}
	return 0;
}

size_t weir_tune_failures_of(const struct weir_tune *t,
			     struct weir_tune_failure ret[WEIR_TUNE_FAILURES], uint64_t *ret_total)
{
	uint32_t zero = 0;
	uint64_t total = 0;
	size_t n = 0;

	if (bpf_map_lookup_elem(t->map[WEIR_TUNE_TOTAL], &zero, &total))
		total = 0;
	*ret_total = total;
	for (uint64_t i = total > WEIR_TUNE_FAILURES ? total - WEIR_TUNE_FAILURES : 0; i < total;
	     i++) {
		uint32_t key = (uint32_t)((i + 1) % WEIR_TUNE_FAILURES);

		/* One that is being written, or has been written over, is not this one. */
		if (!bpf_map_lookup_elem_flags(t->map[WEIR_TUNE_FAILURE_MAP], &key, &ret[n],
					       BPF_F_LOCK) &&
		    ret[n].number == i + 1)
			n++;
	}
	return n;
}

/* ---- Cgroups */

/* The cgroup whose link is pinned at @slot; 0 = none, or it is gone. */
static uint64_t linked_cgroup(const struct weir_tune *t, uint32_t slot)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[16];
	weir_autoclose int fd = weir_pin_get(&t->dir, pin_name(name, "link", slot));

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || info.type != BPF_LINK_TYPE_CGROUP)
		return 0;
	return info.cgroup.cgroup_id;
}

static const struct weir_tune_cgroup *find_cgroup(const struct weir_tune_conf *c, const char *path)
{
	for (size_t i = 0; i < c->n_cgroups; i++)
		if (!strcmp(c->cgroups[i].path, path))
			return &c->cgroups[i];
	return NULL;
}

/* The cgroup that the rule is on: the root's path where it names none. */
static int path_of(const struct weir_tune_spec *r, char ret[WEIR_CGROUP_PATH_MAX],
		   struct weir_error *err)
{
	int fd = 0;

	if (*r->cgroup)
		snprintf(ret, WEIR_CGROUP_PATH_MAX, "%s", r->cgroup);
	else
		fd = weir_cgroup_open(NULL, ret, err);
	if (fd > 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

bool weir_tune_is_attached(const struct weir_tune *t, const struct weir_tune_spec *r)
{
	char path[WEIR_CGROUP_PATH_MAX];
	const struct weir_tune_cgroup *g;

	if (path_of(r, path, NULL))
		return false;
	g = find_cgroup(&t->conf, path);
	return g && linked_cgroup(t, g->slot) == g->id;
}

/* A slot that neither the rules in force nor those to come use. */
static int find_slot(const struct weir_tune *t, const struct weir_tune_conf *next, uint32_t *ret)
{
	uint32_t used = 0;

	for (size_t i = 0; i < t->conf.n_cgroups; i++)
		used |= 1U << t->conf.cgroups[i].slot;
	for (size_t i = 0; i < next->n_cgroups; i++)
		used |= 1U << next->cgroups[i].slot;
	for (*ret = 0; *ret < WEIR_TUNE_SLOTS; ++*ret)
		if (!(used & 1U << *ret))
			return 0;
	return -ENOSPC;
}

/* The cgroup at @path gets the slot that it has, or a new one. */
static int place_cgroup(const struct weir_tune *t, struct weir_tune_conf *next, const char *path,
			struct weir_error *err)
{
	const struct weir_tune_cgroup *old = find_cgroup(&t->conf, path);
	weir_autoclose int fd = weir_cgroup_open(path, NULL, NULL);
	struct weir_tune_cgroup g = { .id = fd < 0 ? 0 : weir_cgroup_id(fd) };

	if (!g.id || find_cgroup(next, path))
		return 0; /* gone: its rules wait */
	snprintf(g.path, sizeof(g.path), "%s", path);
	if (old && old->id == g.id && linked_cgroup(t, old->slot) == g.id)
		g.slot = old->slot;
	else if (next->n_cgroups == WEIR_TUNE_CGROUPS_MAX || find_slot(t, next, &g.slot))
		return weir_fail(err, -ENOSPC, "rules on more than %d cgroups: use fewer",
				 WEIR_TUNE_CGROUPS_MAX);
	next->cgroups[next->n_cgroups++] = g;
	return 0;
}

static int place_cgroups(const struct weir_tune *t, struct weir_tune_conf *next,
			 struct weir_error *err)
{
	char path[WEIR_CGROUP_PATH_MAX];
	int ret = 0;

	next->n_cgroups = 0;
	for (size_t i = 0; !ret && i < next->n; i++) {
		ret = path_of(&next->rules[i], path, err);
		if (!ret)
			ret = place_cgroup(t, next, path, err);
	}
	return ret;
}

/* ---- Ids and counters */

static int give_id(struct weir_tune *t, struct weir_tune_spec *r, uint32_t order,
		   struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_rule rule = { .order = order, .verb = VERB, .owner = WEIR_TUNE_OWNER };
	weir_autofree struct weir_tune_counts *zero =
		calloc((size_t)weir_sys_cpus(), sizeof(*zero));
	int ret;

	weir_tune_print_rule(r, 0, &text);
	if (text.failed || !zero)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	snprintf(rule.name, sizeof(rule.name), "%s", r->name);
	snprintf(rule.text, sizeof(rule.text), "%s", text.data);
	ret = weir_rules_put(&t->rules, &rule, err);
	if (ret)
		return ret;
	r->set.id = rule.id;
	/* One that counts already goes on. */
	if (bpf_map_update_elem(t->map[WEIR_TUNE_COUNT_MAP], &rule.id, zero, BPF_NOEXIST) &&
	    errno != EEXIST)
		return weir_load_explain(err, -errno, "make the rule's counters");
	return 0;
}

struct stale {
	const struct weir_tune_conf *conf;
	struct weir_rule_key *keys; /* of rules that are not in force */
	uint32_t *ids;
	size_t n;
};

static int note_stale(void *arg, const struct weir_rule *rule)
{
	struct stale *x = arg;
	void *keys, *ids;

	if (strcmp(rule->owner, WEIR_TUNE_OWNER) != 0 || weir_tune_conf_rule(x->conf, rule->name))
		return 0;
	keys = reallocarray(x->keys, x->n + 1, sizeof(*x->keys));
	if (keys)
		x->keys = keys;
	ids = reallocarray(x->ids, x->n + 1, sizeof(*x->ids));
	if (ids)
		x->ids = ids;
	if (!keys || !ids)
		return -ENOMEM;
	snprintf(x->keys[x->n].name, sizeof(x->keys[x->n].name), "%s", rule->name);
	x->ids[x->n++] = rule->id;
	return 0;
}

/* Ids of rules that are not in force go, also what killed commands left. */
static void drop_ids(struct weir_tune *t)
{
	struct stale x = { .conf = &t->conf };

	weir_rules_each(&t->rules, note_stale, &x);
	for (size_t i = 0; i < x.n; i++) {
		weir_rules_del(&t->rules, WEIR_TUNE_OWNER, x.keys[i].name, NULL);
		if (t->map[WEIR_TUNE_COUNT_MAP] >= 0)
			bpf_map_delete_elem(t->map[WEIR_TUNE_COUNT_MAP], &x.ids[i]);
	}
	free(x.keys);
	free(x.ids);
}

/* ---- A generation */

static void unpin(const struct weir_tune *t, const char *what, uint32_t n)
{
	char name[16], path[384];

	snprintf(path, sizeof(path), "%s/%s", t->dir.path, pin_name(name, what, n));
	unlink(path);
}

/* The programs of @letter go: nothing leads to them, or has led to them. */
static void empty_letter(const struct weir_tune *t, uint32_t letter)
{
	for (uint32_t slot = 0; letter && slot < WEIR_TUNE_SLOTS; slot++)
		for (uint32_t foreign = 0; foreign < 2; foreign++) {
			uint32_t key = WEIR_TUNE_PROGRAM(letter, slot, foreign);

			bpf_map_delete_elem(t->map[WEIR_TUNE_PROGRAM_MAP], &key);
		}
	if (letter)
		unpin(t, "text", letter);
}

/* Links at slots that the rules in force have no use for. */
static void drop_links(const struct weir_tune *t)
{
	uint32_t used = 0;

	for (size_t i = 0; i < t->conf.n_cgroups; i++)
		used |= 1U << t->conf.cgroups[i].slot;
	for (uint32_t slot = 0; slot < WEIR_TUNE_SLOTS; slot++)
		if (!(used & 1U << slot))
			unpin(t, "link", slot);
}

/* The program of the cgroup's rules, and the one for other namespaces' sockets. */
static int load_cgroup(struct weir_tune *t, const struct weir_tune_conf *next,
		       const struct weir_tune_cgroup *g, uint32_t letter, struct weir_error *err)
{
	weir_autofree const struct weir_tune_spec **rules = calloc(next->n, sizeof(*rules));
	char path[WEIR_CGROUP_PATH_MAX];
	int ret = rules ? 0 : weir_fail(err, -ENOMEM, "out of memory: free some and try again");

	for (uint32_t foreign = 0; !ret && foreign < 2; foreign++) {
		size_t n = 0;

		for (size_t i = 0; !ret && i < next->n; i++) {
			ret = path_of(&next->rules[i], path, err);
			if (!ret && !strcmp(path, g->path) &&
			    (!foreign || next->rules[i].all_netns))
				rules[n++] = &next->rules[i];
		}
		if (!ret && n)
			ret = weir_tune_program_load(t, rules, n, next->n_cgroups > 1,
						     WEIR_TUNE_PROGRAM(letter, g->slot, foreign),
						     err);
	}
	return ret;
}

/* Other programs on the cgroup stay: a link is one more beside them (BPF_F_ALLOW_MULTI). */
static int attach(struct weir_tune *t, const struct weir_tune_cgroup *g, struct weir_error *err)
{
	weir_autoclose int cgroup = weir_cgroup_open(g->path, NULL, err), prog = -1, link = -1;
	char name[16], what[WEIR_CGROUP_PATH_MAX + 32];
	int ret = cgroup < 0 ? cgroup : weir_tune_gate_load(t, g->slot, &prog, err);

	if (ret)
		return ret;
	link = bpf_link_create(prog, cgroup, BPF_CGROUP_SOCK_OPS, NULL);
	ret = link < 0 ? -errno : 0;
	snprintf(what, sizeof(what), "attach to the cgroup %s", g->path);
	if (ret == -EPERM)
		return weir_cgroup_explain(g->path, BPF_CGROUP_SOCK_OPS, what, err);
	if (ret)
		return weir_load_explain(err, ret, what);
	return weir_pin_put(&t->dir, pin_name(name, "link", g->slot), link, err);
}

static int attach_all(struct weir_tune *t, const struct weir_tune_conf *next,
		      struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < next->n_cgroups; i++)
		if (linked_cgroup(t, next->cgroups[i].slot) != next->cgroups[i].id)
			ret = attach(t, &next->cgroups[i], err);
	return ret;
}

/* The maps, and what says whose they are. Their pins mean nothing before `current` has a
 * letter. */
static int make_maps(struct weir_tune *t, struct weir_error *err)
{
	int ret = weir_tune_gate_load(t, 0, NULL, err);

	drop_links(t); /* of a first command that was killed: they use other maps */
	if (!ret)
		ret = weir_pin_put_meta(&t->dir, VERB, WEIR_TUNE_ABI, NULL, err);
	for (int i = 0; !ret && i < WEIR_TUNE_MAPS; i++)
		ret = weir_pin_put(&t->dir, pins[i], t->map[i], err);
	return ret;
}

static int build(struct weir_tune *t, struct weir_tune_conf *next, uint32_t letter,
		 struct weir_error *err)
{
	weir_autoclose int text = -1;
	char name[16];
	int ret = place_cgroups(t, next, err);

	for (uint32_t i = 0; !ret && i < next->n; i++)
		ret = give_id(t, &next->rules[i], i, err);
	for (size_t i = 0; !ret && i < next->n_cgroups; i++)
		ret = load_cgroup(t, next, &next->cgroups[i], letter, err);
	if (ret)
		return ret;
	text = weir_tune_text_write(next, err);
	ret = text < 0 ? text : weir_pin_put(&t->dir, pin_name(name, "text", letter), text, err);
	return ret ? ret : attach_all(t, next, err);
}

int weir_tune_commit(struct weir_tune *t, struct weir_tune_conf *next, struct weir_error *err)
{
	uint32_t zero = 0, old = t->letter, letter = old == 1 ? 2 : 1;
	int ret = old ? 0 : make_maps(t, err);

	if (!ret) {
		empty_letter(t, letter);
		ret = build(t, next, letter, err);
	}
	if (!ret && bpf_map_update_elem(t->map[WEIR_TUNE_CURRENT], &zero, &letter, BPF_ANY))
		ret = weir_load_explain(err, -errno, "put the rules in force");
	if (!ret) {
		t->letter = letter;
		weir_tune_conf_free(&t->conf);
		t->conf = *next;
		*next = (struct weir_tune_conf){ 0 };
		/* A gate that has read the old letter is still to go there: until all that run
		 * have ended its programs stay. */
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		empty_letter(t, old);
	} else if (t->map[WEIR_TUNE_PROGRAM_MAP] >= 0) {
		empty_letter(t, letter);
	}
	drop_links(t);
	drop_ids(t);
	return ret;
}

int weir_tune_clear(struct weir_tune *t, struct weir_error *err)
{
	int ret;

	weir_tune_conf_free(&t->conf);
	drop_ids(t);
	/* The lock goes with the directory. */
	weir_pin_close(&t->dir);
	ret = weir_pin_unload(VERB, err);
	return ret < 0 ? ret : 0;
}
