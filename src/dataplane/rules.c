/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/rules.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bpf/reason.h"
#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"
#include "store.skel.h"

#define STORE_DIR "rules"
#define STORE_ABI 1
#define BATCH 1024U /* rules read at a time; more than any bucket holds */

/* ---- Open */

static const struct part {
	const char *pin;
	size_t offset;
} parts[] = {
	{ "rules", offsetof(struct weir_rules, rules_fd) },
	{ "names", offsetof(struct weir_rules, names_fd) },
	{ "hits", offsetof(struct weir_rules, hits_fd) },
};

static int *part_fd(struct weir_rules *r, const struct part *p)
{
	return (int *)(void *)((char *)r + p->offset);
}

static void init(struct weir_rules *r)
{
	r->rules_fd = r->names_fd = r->hits_fd = -1;
	r->max = 0;
}

void weir_rules_close(struct weir_rules *r)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(parts); i++)
		weir_closep(part_fd(r, &parts[i]));
	init(r);
}

static int pin_maps(const struct weir_pin_dir *d, const struct store_bpf *skel,
		    struct weir_error *err)
{
	const struct bpf_map *maps[] = {
		skel->maps.weir_rules,
		skel->maps.weir_rule_names,
		skel->maps.weir_hits,
	};
	int ret = 0;

	_Static_assert(WEIR_ARRAY_SIZE(maps) == WEIR_ARRAY_SIZE(parts), "in the same order");
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(parts); i++)
		ret = weir_pin_put(d, parts[i].pin, bpf_map__fd(maps[i]), err);
	/* The last, so that a directory with meta is whole. */
	return ret ? ret : weir_pin_put_meta(d, STORE_DIR, STORE_ABI, NULL, err);
}

static int make_store(const struct weir_pin_dir *d, struct weir_error *err)
{
	struct store_bpf *skel;
	int ret;

	weir_load_setup();
	skel = store_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the rule store");
	bpf_map__set_autocreate(skel->maps.weir_meta, false);
	ret = weir_load(skel->obj, NULL, err);
	if (!ret)
		ret = pin_maps(d, skel, err);
	store_bpf__destroy(skel);
	return ret;
}

/* The counters are the last of a store to run out of ids: element 0 is unused. */
static int read_max(struct weir_rules *r, struct weir_error *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(r->hits_fd, &info, &len))
		return weir_load_explain(err, -errno, "look at the rule store");
	r->max = info.max_entries - 1;
	return 0;
}

int weir_rules_open(struct weir_rules *r, bool create, struct weir_error *err)
{
	struct weir_pin_dir d;
	int ret;

	init(r);
	ret = weir_pin_open(&d, STORE_DIR, create, err);
	if (ret)
		return ret;
	ret = weir_pin_check_meta(&d, STORE_ABI, err);
	if (ret == -ENOENT && create)
		ret = make_store(&d, err);
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(parts); i++) {
		int fd = weir_pin_get(&d, parts[i].pin);

		if (fd < 0)
			ret = weir_load_explain(err, fd, "open the rule store");
		else
			*part_fd(r, &parts[i]) = fd;
	}
	if (!ret)
		ret = read_max(r, err);
	weir_pin_close(&d);
	if (ret)
		weir_rules_close(r);
	return ret;
}

/* The store's lock. The store was opened before: it is still the one that is
 * pinned, or -ESTALE. */
static int lock_store(const struct weir_rules *r, struct weir_pin_dir *d, struct weir_error *err)
{
	struct bpf_map_info ours = { 0 }, pinned = { 0 };
	uint32_t len = sizeof(ours), pinned_len = sizeof(pinned);
	weir_autoclose int fd = -1;
	int ret = weir_pin_open(d, STORE_DIR, false, NULL);

	if (!ret) {
		fd = weir_pin_get(d, "rules");
		if (fd >= 0 && !bpf_obj_get_info_by_fd(r->rules_fd, &ours, &len) &&
		    !bpf_obj_get_info_by_fd(fd, &pinned, &pinned_len) && ours.id == pinned.id)
			return 0;
		weir_pin_close(d);
		ret = -ENOENT;
	}
	if (ret == -ENOENT)
		return weir_fail(err, -ESTALE, "the rules were unloaded meanwhile: try again");
	return weir_fail(err, ret, "cannot lock the rules (%s): wait for other weir commands",
			 strerror(-ret));
}

/* ---- Change */

static bool is_rule_name(const char *name)
{
	size_t n = strnlen(name, WEIR_RULE_NAME_MAX);

	return n > 0 && n < WEIR_RULE_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789_.:-") == n;
}

static void make_key(struct weir_rule_key *key, const char *owner, const char *name)
{
	memset(key, 0, sizeof(*key));
	snprintf(key->owner, sizeof(key->owner), "%s", owner);
	snprintf(key->name, sizeof(key->name), "%s", name);
}

static bool id_is_used(const struct weir_rules *r, uint32_t id)
{
	struct weir_rule rule;

	return !bpf_map_lookup_elem(r->rules_fd, &id, &rule);
}

static int clear_hits(const struct weir_rules *r, uint32_t id)
{
	weir_autofree struct weir_rule_hits *zero = calloc((size_t)weir_sys_cpus(), sizeof(*zero));

	if (!zero)
		return -ENOMEM;
	return bpf_map_update_elem(r->hits_fd, &id, zero, BPF_ANY) ? -errno : 0;
}

/* A free id, round and round: the id of a rule that was just removed, which
 * events on their way may still carry, comes again as late as possible. */
static int give_id(const struct weir_rules *r, uint32_t *ret)
{
	const struct weir_rule_key cursor = { 0 };
	uint32_t id = 0;
	int err;

	bpf_map_lookup_elem(r->names_fd, &cursor, &id);
	for (uint32_t i = 0; i < r->max; i++) {
		id = id % r->max + 1;
		if (id_is_used(r, id))
			continue;
		err = clear_hits(r, id);
		if (!err && bpf_map_update_elem(r->names_fd, &cursor, &id, BPF_ANY))
			err = -errno;
		if (!err)
			*ret = id;
		return err;
	}
	return -E2BIG;
}

/* The rule of that owner and name. A command that was killed may have left a
 * name without its rule, and the id may have another owner by now. */
static int find(const struct weir_rules *r, const struct weir_rule_key *key, struct weir_rule *ret)
{
	uint32_t id;

	if (bpf_map_lookup_elem(r->names_fd, key, &id) ||
	    bpf_map_lookup_elem(r->rules_fd, &id, ret))
		return -errno;
	return strcmp(ret->owner, key->owner) || strcmp(ret->name, key->name) ? -ENOENT : 0;
}

static int put_locked(struct weir_rules *r, struct weir_rule *rule)
{
	struct weir_rule_key key;
	struct weir_rule old;
	uint32_t id;
	int ret;

	make_key(&key, rule->owner, rule->name);
	ret = find(r, &key, &old);
	if (!ret) {
		id = old.id;
		rule->created = rule->created ? rule->created : old.created;
	} else if (ret == -ENOENT) {
		ret = give_id(r, &id);
		rule->created = rule->created ? rule->created : weir_clock_real();
		if (!ret && bpf_map_update_elem(r->names_fd, &key, &id, BPF_ANY))
			ret = -errno;
	}
	if (ret)
		return ret;
	rule->id = id;
	return bpf_map_update_elem(r->rules_fd, &id, rule, BPF_ANY) ? -errno : 0;
}

static int check_rule(struct weir_rule *rule, struct weir_error *err)
{
	if (!is_rule_name(rule->name))
		return weir_fail(err, -EINVAL,
				 "'%.*s' cannot be the name of a rule: use up to %d letters, "
				 "digits and _.:-",
				 WEIR_RULE_NAME_MAX, rule->name, WEIR_RULE_NAME_MAX - 1);
	if (!rule->owner[0])
		return weir_fail(err, -EINVAL, "rule '%s' has no owner: report this", rule->name);
	rule->verb[sizeof(rule->verb) - 1] = '\0';
	rule->owner[sizeof(rule->owner) - 1] = '\0';
	rule->text[sizeof(rule->text) - 1] = '\0';
	return 0;
}

int weir_rules_put_all(struct weir_rules *r, struct weir_rule *rules, size_t n,
		       struct weir_error *err)
{
	struct weir_pin_dir d;
	int ret = 0;

	for (size_t i = 0; !ret && i < n; i++)
		ret = check_rule(&rules[i], err);
	if (ret)
		return ret;
	ret = lock_store(r, &d, err);
	if (ret)
		return ret;
	for (size_t i = 0; !ret && i < n; i++)
		ret = put_locked(r, &rules[i]);
	weir_pin_close(&d);
	if (ret == -E2BIG)
		return weir_fail(err, ret, "there are %u rules, and no more fit: remove some",
				 r->max);
	return ret ? weir_load_explain(err, ret, "store a rule") : 0;
}

int weir_rules_put(struct weir_rules *r, struct weir_rule *rule, struct weir_error *err)
{
	return weir_rules_put_all(r, rule, 1, err);
}

/* ---- Read */

static int compare(const void *a, const void *b)
{
	const struct weir_rule *x = a, *y = b;
	int ret = strcmp(x->verb, y->verb);

	if (!ret)
		ret = strcmp(x->owner, y->owner);
	if (!ret)
		ret = (x->order > y->order) - (x->order < y->order);
	if (!ret)
		ret = (x->id > y->id) - (x->id < y->id);
	return ret;
}

/* All rules, sorted, in *@ret (to be freed); returns how many. They are taken bucket by
 * bucket: going on from the last key, as one does key by key, may show a rule twice or
 * start over where others change the table. */
static int read_all(const struct weir_rules *r, struct weir_rule **ret)
{
	weir_autofree uint32_t *keys = calloc(BATCH, sizeof(*keys));
	struct weir_rule *all = NULL;
	uint32_t at = 0, next = 0, n = 0;
	bool first = true;
	int err = keys ? 0 : -ENOMEM;

	while (!err) {
		void *grown = realloc(all, (n + BATCH) * sizeof(*all));
		uint32_t count = BATCH;

		if (!grown) {
			err = -ENOMEM;
			break;
		}
		all = grown;
		if (bpf_map_lookup_batch(r->rules_fd, first ? NULL : &at, &next, keys, all + n,
					 &count, NULL))
			err = -errno;
		if (!err || err == -ENOENT)
			n += count;
		at = next;
		first = false;
	}
	if (err != -ENOENT) {
		free(all);
		return err;
	}
	if (n)
		qsort(all, n, sizeof(*all), compare);
	*ret = all;
	return (int)n;
}

int weir_rules_each(const struct weir_rules *r, int (*fn)(void *arg, const struct weir_rule *rule),
		    void *arg)
{
	weir_autofree struct weir_rule *all = NULL;
	int n = read_all(r, &all), ret = n < 0 ? n : 0;

	for (int i = 0; !ret && i < n; i++)
		ret = fn(arg, &all[i]);
	return ret;
}

int weir_rules_get(const struct weir_rules *r, uint32_t id, struct weir_rule *ret)
{
	struct weir_rule rule;

	if (bpf_map_lookup_elem(r->rules_fd, &id, &rule))
		return -errno;
	*ret = rule;
	return 0;
}

int weir_rules_hits(const struct weir_rules *r, uint32_t id, struct weir_rule_hits *ret)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree struct weir_rule_hits *per_cpu = calloc(cpus, sizeof(*per_cpu));
	struct weir_rule_hits sum = { 0 };

	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(r->hits_fd, &id, per_cpu))
		return -errno;
	for (size_t i = 0; i < cpus; i++) {
		sum.hits += per_cpu[i].hits;
		sum.bytes += per_cpu[i].bytes;
		if (per_cpu[i].last > sum.last)
			sum.last = per_cpu[i].last;
	}
	*ret = sum;
	return 0;
}

/* ---- Delete */

struct search {
	const char *name;
	char owner[WEIR_RULE_OWNER_MAX];
};

static int match_name(void *arg, const struct weir_rule *rule)
{
	struct search *s = arg;

	if (strcmp(rule->name, s->name) != 0)
		return 0;
	memcpy(s->owner, rule->owner, sizeof(s->owner));
	return 1;
}

static int explain_missing(const struct weir_rules *r, const char *owner, const char *name,
			   struct weir_error *err)
{
	struct search s = { .name = name };

	if (weir_rules_each(r, match_name, &s) == 1)
		return weir_fail(err, -EPERM,
				 "rule '%s' belongs to %s, not to %s: remove it with `weir %s`",
				 name, s.owner, owner, s.owner);
	return weir_fail(err, -ENOENT, "%s has no rule '%s': see `weir %s list`", owner, name,
			 owner);
}

int weir_rules_del(struct weir_rules *r, const char *owner, const char *name,
		   struct weir_error *err)
{
	struct weir_rule_key key;
	struct weir_pin_dir d;
	struct weir_rule rule;
	int ret;

	if (!is_rule_name(name))
		return explain_missing(r, owner, name, err);
	make_key(&key, owner, name);
	ret = lock_store(r, &d, err);
	if (ret)
		return ret;
	ret = find(r, &key, &rule);
	if (!ret && bpf_map_delete_elem(r->rules_fd, &rule.id))
		ret = -errno;
	if (!ret && bpf_map_delete_elem(r->names_fd, &key))
		ret = -errno;
	weir_pin_close(&d);
	if (ret == -ENOENT)
		return explain_missing(r, owner, name, err);
	return ret ? weir_load_explain(err, ret, "remove a rule") : 0;
}

int weir_rules_keep(struct weir_rules *r, const char *owner,
		    bool (*keep)(void *arg, const struct weir_rule *rule), void *arg,
		    struct weir_error *err)
{
	weir_autofree struct weir_rule *all = NULL;
	struct weir_rule_key key;
	struct weir_pin_dir d;
	int n, ret = lock_store(r, &d, err);

	if (ret)
		return ret;
	n = read_all(r, &all);
	ret = n < 0 ? n : 0;
	for (int i = 0; !ret && i < n; i++) {
		if ((owner && strcmp(all[i].owner, owner) != 0) || keep(arg, &all[i]))
			continue;
		make_key(&key, all[i].owner, all[i].name);
		if (bpf_map_delete_elem(r->rules_fd, &all[i].id) ||
		    (bpf_map_delete_elem(r->names_fd, &key) && errno != ENOENT))
			ret = -errno;
	}
	weir_pin_close(&d);
	return ret ? weir_load_explain(err, ret, "remove rules") : 0;
}

const char *weir_rules_builtin(uint32_t id)
{
	static const char *const words[WEIR_DROP_REASONS] = { [WEIR_DROP_NONE] = "none",
#define WORD(name, word, text) [WEIR_DROP_##name] = word,
							      WEIR_DROP_TABLE(WORD)
#undef WORD
	};
	uint32_t reason = id & ~WEIR_RULE_BUILTIN;

	return id & WEIR_RULE_BUILTIN && reason < WEIR_DROP_REASONS ? words[reason] : NULL;
}
