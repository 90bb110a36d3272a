/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/policy.h"

static struct weir_policy *parse(const char *text, unsigned int flags)
{
	struct weir_policy *p = NULL;
	struct weir_error err = { 0 };

	if (weir_policy_parse(text, strlen(text), "f", flags, &p, &err))
		fail_msg("%s", err.msg);
	return p;
}

static int add(struct weir_policy *p, const char *name, const char *owner, const char *before,
	       struct weir_error *err)
{
	const char *argv[] = { "deny", "tcp", "port", "23", "--name", name };
	struct weir_policy_rule r;
	int ret;

	assert_int_equal(weir_policy_parse_rule(name ? 6 : 4, argv, &r, err), 0);
	snprintf(r.owner, sizeof(r.owner), "%s", owner);
	ret = weir_policy_add_rule(p, &r, before, err);
	/* Taken over on success only. */
	assert_int_equal(r.match == NULL, ret == 0);
	weir_policy_rule_free(&r);
	return ret;
}

static void order_is(const struct weir_policy *p, const char *want)
{
	weir_autobuf struct weir_buf b = { 0 };

	for (size_t i = 0; i < p->n_rules; i++)
		weir_buf_addf(&b, "%s%s/%s", i ? " " : "", p->rules[i].owner, p->rules[i].name);
	assert_string_equal(b.data, want);
}

static void rules(void **state)
{
	weir_auto_policy *p = weir_policy_new();
	struct weir_error err;

	(void)state;
	assert_int_equal(add(p, "b", "filter", NULL, &err), 0);
	assert_int_equal(add(p, "b", "proxy", NULL, &err), 0);
	assert_int_equal(add(p, "a", "filter", "b", &err), 0);
	assert_int_equal(add(p, "c", "filter", NULL, &err), 0);
	order_is(p, "filter/a filter/b filter/c proxy/b");
	assert_int_equal(add(p, "c", "filter", "a", &err), -EEXIST);
	assert_non_null(strstr(err.msg, "there is a rule \"c\" already"));
	assert_int_equal(add(p, "d", "filter", "x", &err), -ENOENT);
	/* Another owner's rule is no place. */
	assert_int_equal(add(p, "d", "proxy", "a", &err), -ENOENT);
	assert_int_equal(add(p, NULL, "filter", "b", &err), 0);
	assert_int_equal(add(p, NULL, "filter", NULL, &err), 0);
	order_is(p, "filter/a filter/deny-8c4a02de filter/b filter/c filter/deny-8c4a02de-2 "
		    "proxy/b");
	assert_int_equal(weir_policy_check(p, NULL, &err), 0);

	assert_int_equal(weir_policy_del_rule(p, "filter", "b", &err), 0);
	assert_non_null(weir_policy_find_rule(p, "proxy", "b"));
	assert_null(weir_policy_find_rule(p, "filter", "b"));
	assert_int_equal(weir_policy_del_rule(p, "filter", "deny-8c4a02df", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "did you mean deny-8c4a02de?"));
	assert_int_equal(weir_policy_del_rule(p, "filter", "zzzzzzzzz", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "`weir filter list` shows them"));
	assert_int_equal(weir_policy_del_rule(p, "proxy", "b", &err), 0);
	assert_int_equal(weir_policy_del_rule(p, "filter", "deny-8c4a02de-2", &err), 0);
	order_is(p, "filter/a filter/deny-8c4a02de filter/c");
}

static void full(void **state)
{
	weir_auto_policy *p = NULL;
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_error err;

	(void)state;
	for (int i = 0; i < WEIR_POLICY_RULES_MAX; i++)
		weir_buf_addf(&b, "r%d: deny\n", i);
	p = parse(b.data, 0);
	assert_int_equal(add(p, "x", "filter", NULL, &err), -E2BIG);
	assert_int_equal(p->n_rules, WEIR_POLICY_RULES_MAX);
}

static void sets(void **state)
{
	weir_auto_policy *p = weir_policy_new();
	struct weir_policy_set *a, *b;
	struct weir_error err;
	char name[WEIR_SET_NAME_MAX];

	(void)state;
	assert_int_equal(weir_policy_add_set(p, "bad", &a, &err), 0);
	assert_int_equal(weir_policy_add_set(p, "bad", &b, &err), 0);
	assert_ptr_equal(a, b);
	assert_ptr_equal(weir_policy_find_set(p, "bad"), a);
	assert_null(weir_policy_find_set(p, "worse"));
	assert_int_equal(weir_policy_add_set(p, "-bad", &b, &err), -EINVAL);
	assert_int_equal(weir_policy_add_set(p, "", &b, &err), -EINVAL);
	for (int i = 1; i < WEIR_POLICY_SETS_MAX; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		assert_int_equal(weir_policy_add_set(p, name, &b, &err), 0);
	}
	assert_int_equal(weir_policy_add_set(p, "more", &b, &err), -E2BIG);
}

/* A policy that was changed may no longer fit together. */
static void check(void **state)
{
	weir_auto_policy *p = parse("interface eth0\nset bad\nx: deny -i eth0 src net @bad", 0);
	struct weir_error err;

	(void)state;
	assert_int_equal(weir_policy_check(p, "f", &err), 0);
	p->n_sets = 0;
	assert_int_equal(weir_policy_check(p, "f", &err), -EINVAL);
	assert_string_equal(err.msg, "f:3: \"@bad\": no such set: add \"set bad\"");
	assert_int_equal(weir_policy_check(p, NULL, &err), -EINVAL);
	assert_string_equal(err.msg, "rule x: \"@bad\": no such set: add \"set bad\"");
	p->n_sets = 1;
	p->sets[0].file = strdup("a\nb");
	assert_int_equal(weir_policy_check(p, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a path of two lines"));
	p->n_ifaces = 0;
	assert_int_equal(weir_policy_check(p, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "rule x: \"eth0\": not an interface of the policy"));
}

/* ---- Differences */

static void diff_is(const char *from, const char *to, const char *want)
{
	weir_auto_policy *a = parse(from, 0), *b = parse(to, 0);
	weir_autobuf struct weir_buf out = { 0 };

	weir_buf_adds(&out, "");
	assert_int_equal(weir_policy_diff(a, b, &out), *want != '\0');
	assert_string_equal(out.data, want);
}

static void diff(void **state)
{
	(void)state;
	diff_is("", "", "");
	diff_is("a: deny", "a: deny # same\n", "");
	diff_is("", "a: deny", "+ a: deny\n");
	diff_is("a: deny", "", "- a: deny\n");
	diff_is("a: deny", "a: allow", "- a: deny\n+ a: allow\n");
	diff_is("a: deny\nb: deny\nc: deny", "b: deny\nc: deny\na: deny",
		"- a: deny\n+ a: deny\n");
	diff_is("a: deny\nb: deny", "a: deny\nx: deny\nb: deny", "+ x: deny\n");
	diff_is("interface e\ninterface f\nset s\nset t", "set t\nset s\ninterface f\ninterface e",
		"");
	diff_is("interface e\nset s\ndeny", "interface e default drop\nset s file /x\ndeny",
		"- interface e default pass\n- set s\n+ interface e default drop\n"
		"+ set s file /x\n");
	diff_is("deny --ttl 1h", "deny --ttl 60m", "");
	diff_is("deny --protocol tcp", "deny tcp", "");
}

static void diff_owners(void **state)
{
	weir_auto_policy *a = parse("x: deny --owner proxy", WEIR_POLICY_KERNEL);
	weir_auto_policy *b = parse("y: deny --owner proxy", WEIR_POLICY_KERNEL);
	weir_autobuf struct weir_buf out = { 0 };

	(void)state;
	assert_false(weir_policy_diff(a, b, &out));
}

static void kept_is(const char *from_text, const char *to_text, const char *want)
{
	weir_auto_policy *from = parse(from_text, WEIR_POLICY_KERNEL);
	weir_auto_policy *to = parse(to_text, 0);
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_error err = { 0 };

	if (weir_policy_keep_others(from, to, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(weir_policy_check(to, NULL, &err), 0);
	weir_policy_print(to, WEIR_POLICY_KERNEL, 0, &out);
	assert_string_equal(out.data ? out.data : "", want);
}

/* What the user takes away or never had does not touch what is another verb's. */
static void others_are_kept(void **state)
{
	static const char in_force[] = "interface e0 default drop number 1\n"
				       "interface e1 default pass number 2 owner proxy\n"
				       "set may number 3 owner proxy\n"
				       "set bad number 4\n"
				       "x: deny src net @bad --owner filter\n"
				       "y: deny -Q in not src net @may --owner proxy\n";

	(void)state;
	kept_is(in_force, "",
		"interface e1 default pass number 2 owner proxy\n"
		"interface e0 default pass fragments pass malformed pass number 0 owner proxy\n"
		"set may number 0 owner proxy\n"
		"y: deny -Q in not src net @may --owner proxy\n");
	/* The user puts the same interface on: it is the user's. */
	kept_is(in_force, "interface e1 default drop\ninterface e0 hook tc\nz: deny tcp",
		"interface e1 default drop number 0\n"
		"interface e0 default pass hook tc number 0\n"
		"set may number 0 owner proxy\n"
		"z: deny tcp --owner filter\n"
		"y: deny -Q in not src net @may --owner proxy\n");
	/* What goes out is none of those rules' business, nor is another's interface. */
	kept_is("interface e0 default pass hook tc direction out number 1\n"
		"interface e1 default pass number 2\n"
		"y: deny -i e1 tcp --owner proxy\n",
		"",
		"interface e1 default pass fragments pass malformed pass number 0 owner proxy\n"
		"y: deny -i e1 tcp --owner proxy\n");
	kept_is("interface e0 default pass number 1\n", "", "");
}

static void others_are_apart(void **state)
{
	static const char *const apart[][2] = {
		{ "set may number 3 owner proxy\nx: deny src net @may --owner filter",
		  "\"@may\": a set for the rules of weir proxy alone" },
		{ "interface e0 number 1 owner proxy\nx: deny -i e0 tcp --owner filter",
		  "\"e0\": not an interface of the policy" },
		{ "interface e0 owner filter", "\"filter\": not another owner" },
	};
	weir_auto_policy *from = parse("set may number 3 owner proxy", WEIR_POLICY_KERNEL);
	weir_auto_policy *to = parse("set may", 0), *p = NULL;
	struct weir_error err;

	(void)state;
	assert_int_equal(weir_policy_keep_others(from, to, &err), -EEXIST);
	assert_string_equal(err.msg, "\"may\": a set of weir proxy has this name: give yours another");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(apart); i++) {
		assert_int_equal(weir_policy_parse(apart[i][0], strlen(apart[i][0]), "f",
						   WEIR_POLICY_KERNEL, &p, &err),
				 -EINVAL);
		assert_non_null(strstr(err.msg, apart[i][1]));
	}
}

#define LETTERS 12

/* Some of the letters in some order, as rules and as they are printed. */
static void shuffle(unsigned int *seed, char *letters, struct weir_buf *text)
{
	size_t n = 0;

	for (size_t i = 0; i < LETTERS; i++)
		if (rand_r(seed) % 4)
			letters[n++] = (char)('a' + i);
	letters[n] = '\0';
	for (size_t i = 0; n && i < (size_t)rand_r(seed) % 6; i++) {
		const size_t j = (size_t)rand_r(seed) % n, k = (size_t)rand_r(seed) % n;
		const char c = letters[j];

		letters[j] = letters[k];
		letters[k] = c;
	}
	weir_buf_adds(text, "");
	for (size_t i = 0; i < n; i++)
		weir_buf_addf(text, "%c: deny\n", letters[i]);
}

static size_t common(const char *a, const char *b)
{
	size_t x, y;

	if (!*a || !*b)
		return 0;
	if (*a == *b)
		return 1 + common(a + 1, b + 1);
	x = common(a + 1, b);
	y = common(a, b + 1);
	return x > y ? x : y;
}

/* Applying the difference to the one gives the other, and none is shorter. */
static void diff_random(void **state)
{
	unsigned int seed = 1;

	(void)state;
	for (int i = 0; i < 500; i++) {
		char a[LETTERS + 1], b[LETTERS + 1], *s = a, *t = b;
		weir_autobuf struct weir_buf from = { 0 }, to = { 0 }, out = { 0 };
		weir_auto_policy *p = NULL, *q = NULL;
		size_t gone = 0, come = 0;

		shuffle(&seed, a, &from);
		shuffle(&seed, b, &to);
		p = parse(from.data, 0);
		q = parse(to.data, 0);
		assert_int_equal(weir_policy_diff(p, q, &out), strcmp(a, b) != 0);
		for (const char *l = out.len ? out.data : ""; *l; l += strcspn(l, "\n") + 1) {
			/* What stands between is in both. */
			while (*s && *t && *s == *t && l[2] != *(*l == '-' ? s : t))
				s++, t++;
			assert_int_equal(l[2], *l == '-' ? *s++ : *t++);
			*(*l == '-' ? &gone : &come) += 1;
		}
		assert_string_equal(s, t);
		assert_int_equal(gone, strlen(a) - common(a, b));
		assert_int_equal(come, strlen(b) - common(a, b));
	}
}

static void diff_large(void **state)
{
	weir_autobuf struct weir_buf from = { 0 }, to = { 0 }, out = { 0 };
	weir_auto_policy *p = NULL, *q = NULL;
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < WEIR_POLICY_RULES_MAX; i++) {
		weir_buf_addf(&from, "r%d: deny\n", i);
		weir_buf_addf(&to, "r%d: deny\n", WEIR_POLICY_RULES_MAX - 1 - i);
	}
	p = parse(from.data, 0);
	q = parse(to.data, 0);
	assert_true(weir_policy_diff(p, q, &out));
	assert_false(out.failed);
	for (size_t i = 0; i < out.len; i++)
		lines += out.data[i] == '\n';
	assert_int_equal(lines, 2 * (WEIR_POLICY_RULES_MAX - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),       cmocka_unit_test(full),
		cmocka_unit_test(sets),	       cmocka_unit_test(check),
		cmocka_unit_test(diff),	       cmocka_unit_test(diff_owners),
		cmocka_unit_test(others_are_kept), cmocka_unit_test(others_are_apart),
		cmocka_unit_test(diff_random), cmocka_unit_test(diff_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
