/* SPDX-License-Identifier: GPL-2.0-only */
/* The rule store in pinned maps of the running kernel. */
#include "dataplane/rules.h"

#include <bpf/bpf.h>

#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"
#include "harness.h"

static struct weir_error err;

static struct weir_rule make_rule(const char *owner, const char *name, uint32_t order)
{
	struct weir_rule rule = { .order = order };

	snprintf(rule.verb, sizeof(rule.verb), "filter");
	snprintf(rule.owner, sizeof(rule.owner), "%s", owner);
	snprintf(rule.name, sizeof(rule.name), "%s", name);
	snprintf(rule.text, sizeof(rule.text), "deny src host 192.0.2.%u", order);
	return rule;
}

static uint32_t put(struct weir_rules *r, const char *owner, const char *name, uint32_t order)
{
	struct weir_rule rule = make_rule(owner, name, order);

	CHECK_OK(weir_rules_put(r, &rule, &err));
	return rule.id;
}

static void absent(void)
{
	struct weir_rules r;

	CHECK_EQ(weir_rules_open(&r, false, &err), -ENOENT);
	CHECK_EQ(r.rules_fd, -1);
	CHECK_OK(weir_rules_open(&r, true, &err));
	weir_rules_close(&r);
	CHECK_OK(weir_rules_open(&r, false, &err));
	weir_rules_close(&r);
}

static void put_and_get(void)
{
	struct weir_rules r, again;
	struct weir_rule rule, got;
	uint32_t a, b;

	CHECK_OK(weir_rules_open(&r, true, &err));
	a = put(&r, "filter", "web", 1);
	b = put(&r, "filter", "ssh", 2);
	CHECK(a >= 1 && b >= 1 && a != b, "ids %u and %u", a, b);
	CHECK_OK(weir_rules_get(&r, a, &got));
	CHECK(!strcmp(got.name, "web") && !strcmp(got.text, "deny src host 192.0.2.1"),
	      "got %s: %s", got.name, got.text);
	CHECK(got.created, "no time of creation");
	/* A second command sees the same and changes it in place. */
	CHECK_OK(weir_rules_open(&again, true, &err));
	rule = make_rule("filter", "web", 9);
	CHECK_OK(weir_rules_put(&again, &rule, &err));
	CHECK_EQ(rule.id, a);
	CHECK_EQ(rule.created, got.created);
	CHECK_OK(weir_rules_get(&r, a, &got));
	CHECK_EQ(got.order, 9);
	CHECK_EQ(weir_rules_get(&r, 999, &got), -ENOENT);
	weir_rules_close(&again);
	weir_rules_close(&r);
}

static void names(void)
{
	static const char *const bad[] = { "", "a b", "a/b", "\xc3\xa4", "a\n", "a,b" };
	struct weir_rules r;
	struct weir_rule rule;

	CHECK_OK(weir_rules_open(&r, true, &err));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bad); i++) {
		rule = make_rule("filter", bad[i], 1);
		CHECK_EQ(weir_rules_put(&r, &rule, &err), -EINVAL);
	}
	rule = make_rule("filter", "x", 1);
	memset(rule.name, 'n', sizeof(rule.name));
	CHECK_EQ(weir_rules_put(&r, &rule, &err), -EINVAL);
	put(&r, "filter", "A-z_0.9:x", 1);
	weir_rules_close(&r);
}

static void owners(void)
{
	struct weir_rules r;
	struct weir_rule got;
	uint32_t mine, theirs;

	CHECK_OK(weir_rules_open(&r, true, &err));
	mine = put(&r, "filter", "same", 1);
	theirs = put(&r, "proxy", "same", 1);
	put(&r, "proxy", "only", 2);
	CHECK(mine != theirs, "two owners share a rule");
	CHECK_EQ(weir_rules_del(&r, "filter", "only", &err), -EPERM);
	CHECK(strstr(err.msg, "proxy"), "message: %s", err.msg);
	CHECK_EQ(weir_rules_del(&r, "filter", "none", &err), -ENOENT);
	CHECK_OK(weir_rules_del(&r, "filter", "same", &err));
	CHECK_EQ(weir_rules_get(&r, mine, &got), -ENOENT);
	CHECK_OK(weir_rules_get(&r, theirs, &got));
	CHECK(!strcmp(got.owner, "proxy"), "owner %s", got.owner);
	CHECK_EQ(weir_rules_del(&r, "filter", "same", &err), -EPERM);
	weir_rules_close(&r);
}

static void add_hits(struct weir_rules *r, uint32_t id, uint64_t hits)
{
	int cpus = weir_sys_cpus();
	struct weir_rule_hits *v = calloc((size_t)cpus, sizeof(*v));

	CHECK(v, "no memory");
	for (int i = 0; i < cpus; i++)
		v[i] = (struct weir_rule_hits){ hits, hits * 100, 1000 + (uint64_t)i };
	CHECK(!bpf_map_update_elem(r->hits_fd, &id, v, BPF_ANY), "update: %s", strerror(errno));
	free(v);
}

static void hits(void)
{
	const struct weir_rule_key cursor = { 0 };
	const uint32_t last = WEIR_RULES_MAX;
	struct weir_rules r;
	struct weir_rule_hits h;
	uint64_t cpus = (uint64_t)weir_sys_cpus();
	uint32_t id, other;

	CHECK_OK(weir_rules_open(&r, true, &err));
	id = put(&r, "filter", "web", 1);
	CHECK_OK(weir_rules_hits(&r, id, &h));
	CHECK_EQ(h.hits, 0);
	add_hits(&r, id, 5);
	weir_rules_close(&r);
	/* They stay while the rule's words change. */
	CHECK_OK(weir_rules_open(&r, false, &err));
	CHECK_EQ(put(&r, "filter", "web", 3), id);
	CHECK_OK(weir_rules_hits(&r, id, &h));
	CHECK_EQ(h.hits, 5 * cpus);
	CHECK_EQ(h.bytes, 500 * cpus);
	CHECK_EQ(h.last, 1000 + cpus - 1);
	/* Another rule never inherits them, nor the id at once. */
	CHECK_OK(weir_rules_del(&r, "filter", "web", &err));
	other = put(&r, "filter", "next", 1);
	CHECK(other != id, "the id came again at once");
	CHECK(!bpf_map_update_elem(r.names_fd, &cursor, &last, BPF_ANY), "%s", strerror(errno));
	CHECK_EQ(put(&r, "filter", "late", 1), id);
	CHECK_OK(weir_rules_hits(&r, id, &h));
	CHECK_EQ(h.hits, 0);
	weir_rules_close(&r);
}

struct order {
	unsigned int n;
	char last[80];
};

static int check_order(void *arg, const struct weir_rule *rule)
{
	struct order *o = arg;
	char now[80];

	snprintf(now, sizeof(now), "%s %s %010u", rule->verb, rule->owner, rule->order);
	CHECK(strcmp(o->last, now) < 0, "'%s' behind '%s'", now, o->last);
	snprintf(o->last, sizeof(o->last), "%s", now);
	o->n++;
	return 0;
}

static int stop_at_once(void *arg, const struct weir_rule *rule)
{
	(void)arg;
	(void)rule;
	return 42;
}

static void each(void)
{
	struct weir_rules r;
	struct order o = { 0 };
	char name[16];

	CHECK_OK(weir_rules_open(&r, true, &err));
	CHECK_OK(weir_rules_each(&r, check_order, &o));
	CHECK_EQ(o.n, 0);
	for (uint32_t i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		put(&r, i % 2 ? "proxy" : "filter", name, (i * 37) % 200);
	}
	CHECK_OK(weir_rules_each(&r, check_order, &o));
	CHECK_EQ(o.n, 200);
	CHECK_EQ(weir_rules_each(&r, stop_at_once, NULL), 42);
	weir_rules_close(&r);
}

static void full(void)
{
	struct weir_rules r;
	struct weir_rule rule;

	CHECK_OK(weir_rules_open(&r, true, &err));
	/* All but two past the lock, to save time. */
	put(&r, "filter", "r1", 1);
	for (uint32_t id = 2; id < WEIR_RULES_MAX; id++) {
		struct weir_rule_key key = { .owner = "filter" };

		snprintf(key.name, sizeof(key.name), "r%u", id);
		rule = make_rule("filter", key.name, id);
		rule.id = id;
		CHECK(!bpf_map_update_elem(r.rules_fd, &id, &rule, BPF_ANY) &&
			      !bpf_map_update_elem(r.names_fd, &key, &id, BPF_ANY),
		      "%s", strerror(errno));
	}
	CHECK_EQ(put(&r, "filter", "last", 1), WEIR_RULES_MAX);
	rule = make_rule("filter", "more", 1);
	CHECK_EQ(weir_rules_put(&r, &rule, &err), -E2BIG);
	CHECK_EQ(put(&r, "filter", "r7", 70), 7);
	CHECK_OK(weir_rules_del(&r, "filter", "r9", &err));
	CHECK_OK(weir_rules_put(&r, &rule, &err));
	weir_rules_close(&r);
}

/* Writers in several processes lose nothing. */
static void writers(void)
{
	enum { WRITERS = 4, RULES = 100 };
	struct weir_rules r;
	struct order o = { 0 };
	pid_t pids[WRITERS];
	int status;

	CHECK_OK(weir_rules_open(&r, true, &err));
	for (int i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (uint32_t k = 0; k < RULES; k++) {
			char owner[32], name[32];

			snprintf(owner, sizeof(owner), "owner%d", i);
			snprintf(name, sizeof(name), "r%u", k);
			put(&r, owner, name, k);
		}
		_exit(0);
	}
	for (int i = 0; i < WRITERS; i++)
		CHECK(waitpid(pids[i], &status, 0) == pids[i] && !status, "a writer failed");
	CHECK_OK(weir_rules_each(&r, check_order, &o));
	CHECK_EQ(o.n, WRITERS * RULES);
	weir_rules_close(&r);
}

static void unloaded(void)
{
	struct weir_rules r;
	struct weir_rule rule = make_rule("filter", "web", 1);

	CHECK_OK(weir_rules_open(&r, true, &err));
	CHECK_OK(weir_pin_unload("rules", &err));
	CHECK_EQ(weir_rules_put(&r, &rule, &err), -ESTALE);
	weir_rules_close(&r);
	CHECK_EQ(weir_rules_open(&r, false, &err), -ENOENT);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "rules-absent", absent },	{ "rules-put-and-get", put_and_get },
		{ "rules-names", names },	{ "rules-owners", owners },
		{ "rules-hits", hits },		{ "rules-each", each },
		{ "rules-full", full },		{ "rules-writers", writers },
		{ "rules-unloaded", unloaded },
	};

	weir_load_setup();
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
