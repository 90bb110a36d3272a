/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bpf/policy_stub.h"
#include "policy/policy.h"

static struct weir_policy *parse(const char *text, unsigned int flags)
{
	struct weir_policy *p = NULL;
	struct weir_error err = { 0 };

	if (weir_policy_parse(text, strlen(text), "f", flags, &p, &err))
		fail_msg("%s", err.msg);
	return p;
}

static void prints_as(const struct weir_policy *p, unsigned int flags, uint64_t now,
		      const char *want)
{
	weir_autobuf struct weir_buf b = { 0 };

	weir_buf_adds(&b, "");
	weir_policy_print(p, flags, now, &b);
	assert_string_equal(b.data, want);
}

static void whole(void **state)
{
	static const char text[] =
		"# what enters\n"
		"ssh:  allow --src-ip 10.0.0.0/8 --dst-port 22  # from home\n"
		"feed: deny src net @bad\n"
		"\n"
		"interface eth0 mode auto default drop\n"
		"set bad file /etc/weir/bad.txt\n"
		"   limit --protocol udp --rate 1000/s \\\n"
		"       --per source/24\r\n"
		"interface eth0 direction out fragments drop\n"
		"interface \"eth1\" malformed pass mode generic hook xdp fragments pass\n"
		"deny tcp port 23 --note 'it is \"old\"' --ttl 1h\n"
		"set empty";
	static const char want[] =
		"interface eth0 default drop\n"
		"interface eth0 default pass hook tc direction out fragments drop\n"
		"interface eth1 mode generic default pass fragments pass malformed pass\n"
		"set bad file /etc/weir/bad.txt\n"
		"set empty\n"
		"ssh: allow src net 10.0.0.0/8 and dst port 22\n"
		"feed: deny src net @bad\n"
		"limit udp --rate 1000/s --per source/24\n"
		"deny tcp port 23 --ttl 1h --note 'it is \"old\"'\n";
	weir_auto_policy *p = parse(text, 0), *again = NULL;

	(void)state;
	assert_int_equal(p->n_ifaces, 3);
	assert_int_equal(p->n_sets, 2);
	assert_int_equal(p->n_rules, 4);
	assert_int_equal(p->rules[0].line, 2);
	assert_int_equal(p->rules[2].line, 7);
	assert_int_equal(p->rules[3].line, 11);
	assert_true(p->rules[0].named);
	assert_false(p->rules[2].named);
	assert_string_equal(p->rules[2].name, "limit-de2f64e1");
	assert_string_equal(p->rules[3].note, "it is \"old\"");
	assert_int_equal(p->ifaces[0].row.drop, 1);
	assert_int_equal(p->ifaces[1].hook, WEIR_HOOK_TC);
	assert_int_equal(p->ifaces[1].row.fragments, WEIR_FRAGMENTS_DROP);
	assert_int_equal(p->ifaces[2].mode, WEIR_XDP_GENERIC);
	assert_int_equal(p->ifaces[2].row.unread_pass, 1);
	assert_string_equal(p->sets[0].file, "/etc/weir/bad.txt");
	assert_null(p->sets[1].file);
	assert_ptr_equal(weir_policy_find_iface(p, "eth0", WEIR_HOOK_TC, true), &p->ifaces[1]);
	assert_null(weir_policy_find_iface(p, "eth0", WEIR_HOOK_TC, false));
	prints_as(p, 0, 0, want);
	again = parse(want, 0);
	prints_as(again, 0, 0, want);
}

static void nothing(void **state)
{
	static const char *const texts[] = { "", "\n", " \t\r\n", "# x", "#\\\n# y\n\n", "\\\n" };

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(texts); i++) {
		weir_auto_policy *p = parse(texts[i], 0);

		assert_int_equal(p->n_rules + p->n_ifaces + p->n_sets, 0);
		prints_as(p, 0, 0, "");
	}
}

static void words(void **state)
{
	static const char *const cases[][2] = {
		{ "deny tcp#x\n", NULL },
		{ "deny #tcp", "deny\n" },
		{ "deny --note a#b", "deny --note a#b\n" },
		{ "deny --note '#b'", "deny --note \"#b\"\n" },
		{ "deny --note a'b c'\"d e\"", "deny --note \"ab cd e\"\n" },
		{ "deny --note 'a\"b'\"c'd\"", "deny --note 'a\"bc'\"'d\"\n" },
		{ "deny --note 'a\\\nb'", "deny --note \"a b\"\n" },
		{ "deny --note a\\b", "deny --note \"a\\b\"\n" },
		{ "deny --note 'a b\\'", "deny --note \"a b\\\"\n" },
		{ "deny --note x\\\r\ntcp", "deny tcp --note x\n" },
		{ "a:b:: deny", "a:b:: deny\n" },
		{ "\"n\": deny", "n: deny\n" },
		{ "deny --name=n", "n: deny\n" },
		{ "interface: deny", "interface: deny\n" },
		{ "set s file 'a b'", "set s file \"a b\"\n" },
		{ "set a\nset b\ndeny src @b or dst @a", NULL },
		{ "set a\nset b\ndeny src @b or dst @a",
		  "set a\nset b\ndeny src net @b or dst net @a\n" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_auto_policy *p = NULL, *again = NULL;
		struct weir_error err = { 0 };

		if (weir_policy_parse(cases[i][0], strlen(cases[i][0]), "f", 0, &p, &err)) {
			assert_null(cases[i][1]);
			continue;
		}
		if (!cases[i][1])
			continue;
		prints_as(p, 0, 0, cases[i][1]);
		again = parse(cases[i][1], 0);
		prints_as(again, 0, 0, cases[i][1]);
	}
}

/* The same words are different rules; a name that was given is not made again. */
static void made_names(void **state)
{
	static const char want[] = "deny-8c4a02de-2: deny tcp port 23\n"
				   "deny-8c4a02de-3: deny tcp port 23 --ttl 1h\n"
				   "deny-8c4a02de: allow tcp\n"
				   "deny-8c4a02de-4: deny tcp port 23\n";
	weir_auto_policy *p = parse("deny tcp port 23\ndeny tcp port 23 --ttl 1h\n"
				    "deny-8c4a02de: allow tcp\ndeny tcp port 23\n",
				    0);
	weir_auto_policy *again = parse(want, 0);

	(void)state;
	prints_as(p, 0, 0, want);
	prints_as(again, 0, 0, want);
	assert_true(p->rules[2].named);
}

static void kernel_text(void **state)
{
	static const char text[] =
		"interface eth0 mode native default drop number 3\n"
		"interface eth0 default pass hook netfilter direction out number 63\n"
		"interface eth1 default pass fragments pass malformed pass number 5 owner proxy\n"
		"set bad file \"/etc/a b\" number 4294967295\n"
		"set may number 7 owner proxy\n"
		"deny-8c4a02de: deny tcp port 23 --owner filter\n"
		"ssh: deny src net @bad --ttl 1h --owner filter --until 5000000000\n"
		"ssh: allow -i eth0 -Q out host 192.0.2.1 --note=--note --owner proxy\n";
	weir_auto_policy *p = parse(text, WEIR_POLICY_KERNEL), *copy = weir_policy_copy(p);
	struct weir_error err;

	(void)state;
	prints_as(p, WEIR_POLICY_KERNEL, 7, text);
	assert_int_equal(p->ifaces[1].index, 63);
	assert_int_equal(p->sets[0].number, UINT32_MAX);
	assert_false(p->rules[0].named);
	assert_true(p->rules[1].named);
	assert_int_equal(p->rules[1].expires, 5000000000);
	assert_string_equal(p->rules[2].owner, "proxy");
	assert_string_equal(p->ifaces[1].owner, "");
	assert_string_equal(p->ifaces[2].owner, "proxy");
	assert_string_equal(p->sets[1].owner, "proxy");
	p->rules[1].id = 7;
	copy = (weir_policy_free(copy), weir_policy_copy(p));
	assert_int_equal(copy->rules[1].id, 7);
	assert_ptr_not_equal(copy->sets[0].file, p->sets[0].file);
	prints_as(copy, WEIR_POLICY_KERNEL, 0, text);
	prints_as(p, 0, WEIR_NSEC_PER_SEC,
		  "interface eth0 mode native default drop\n"
		  "interface eth0 default pass hook netfilter direction out\n"
		  "set bad file \"/etc/a b\"\n"
		  "deny tcp port 23\n"
		  "ssh: deny src net @bad --ttl 4s\n");
	/* What has expired is left out. */
	prints_as(p, 0, 5 * WEIR_NSEC_PER_SEC,
		  "interface eth0 mode native default drop\n"
		  "interface eth0 default pass hook netfilter direction out\n"
		  "set bad file \"/etc/a b\"\n"
		  "deny tcp port 23\n");
	weir_policy_free(WEIR_TAKE_PTR(p));
	assert_int_equal(weir_policy_parse("deny", 4, "f", WEIR_POLICY_KERNEL, &p, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "f:1: \"deny\": a rule without a name"));
}

static void mistakes(void **state)
{
	static const char *const cases[][2] = {
		{ "\n\nallow --dst-port 80x", "f:3: --dst-port: \"80x\"" },
		{ "allow tcp\n\nlimit \\\n udp --rate \\\n x", "f:3: --rate \"x\": not a rate" },
		{ "# c\\\nalow tcp", "f:2: \"alow\": not a statement: did you mean allow?" },
		{ "\"\" deny", "f:1: \"\": not a statement: begin with interface, set" },
		{ "x:deny tcp", "f:1: \"x:deny\": not a statement" },
		{ "x:", "f:1: \"x:\": a name without a rule" },
		{ ": deny", "f:1: \"\": cannot be the name of a rule" },
		{ "x: interface eth0", "f:1: \"interface\": not a rule" },
		{ "-x: deny", "f:1: \"-x\": cannot be the name of a rule" },
		{ "x: deny --name y", "f:1: --name \"y\": the rule is called x already" },
		{ "deny tcp\nx: deny\nx: allow", "f:3: \"x\": there is a rule of this name in line 2" },
		{ "deny --owner proxy", "f:1: unknown option --owner" },
		{ "deny 'x", "f:1: the quote ' is not closed" },
		{ "deny\ndeny \"x\ny\"", "f:2: the quote \" is not closed" },
		{ "interface", "f:1: \"interface\": without a name" },
		{ "interface eth/0", "f:1: \"eth/0\": cannot be the name of an interface" },
		{ "interface -eth0", "f:1: \"-eth0\": cannot be the name" },
		{ "interface e colour red", "f:1: \"colour\": not a word of \"interface\": use mode, "
					    "default, hook, direction, fragments or malformed" },
		{ "interface e number 3", "f:1: \"number\": not a word of \"interface\"" },
		{ "interface e owner proxy", "f:1: \"owner\": not a word of \"interface\"" },
		{ "set a owner proxy", "f:1: \"owner\": not a word of \"set\"" },
		{ "interface e mode", "f:1: \"mode\": without a value" },
		{ "interface e mode fast", "f:1: \"fast\": not known behind mode: give auto, native "
					   "or generic" },
		{ "interface e mode auto mode auto", "f:1: \"mode\": given twice" },
		{ "interface e hook xdp direction out", "f:1: \"out\": XDP does not see what leaves" },
		{ "interface e direction out mode auto", "f:1: \"auto\": only XDP has modes" },
		{ "interface e\ninterface e hook xdp", "f:2: \"e\": a second line for xdp in" },
		{ "set", "f:1: \"set\": without a name" },
		{ "set a.b", "f:1: \"a.b\": cannot be the name of a set" },
		{ "set sixteen-letters1", "cannot be the name of a set: use up to 15 letters" },
		{ "set a\n\nset a file x", "f:3: \"a\": there is a set of this name in line 1" },
		{ "set a file -", "f:1: \"-\": no file that can be read again" },
		{ "set a file ''", "f:1: \"\": no file" },
		{ "set a path x", "f:1: \"path\": not a word of \"set\": use file" },
		{ "set a number 3", "f:1: \"number\": not a word of \"set\"" },
		{ "deny src net @b", "f:1: \"@b\": no such set: add \"set b\"" },
		{ "set blocked\ndeny tcp\ndeny src net @blokced",
		  "f:3: \"@blokced\": no such set: did you mean @blocked?" },
		{ "deny -i eth0", "f:1: \"eth0\": not an interface of the policy: add \"interface" },
		{ "deny -i eth1\ninterface eth0",
		  "f:1: \"eth1\": not an interface of the policy: did you mean eth0?" },
		{ "interface eth0\ndeny -i eth0 -Q out",
		  "f:2: \"eth0\": nothing filters what leaves by it: add \"interface eth0 direction "
		  "out\"" },
		{ "interface eth0 direction out\ndeny -i eth0 -Q in",
		  "f:2: \"eth0\": nothing filters what enters by it: add \"interface eth0\"" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_policy *p = NULL;
		struct weir_error err = { 0 };
		const char *text = cases[i][0];

		if (weir_policy_parse(text, strlen(text), "f", 0, &p, &err) != -EINVAL)
			fail_msg("%s: was taken", cases[i][0]);
		assert_null(p);
		if (!strstr(err.msg, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], err.msg);
	}
}

static void refused(struct weir_buf *text, int code, const char *want)
{
	struct weir_policy *p = NULL;
	struct weir_error err = { 0 };

	assert_false(text->failed);
	assert_int_equal(weir_policy_parse(text->data, text->len, "f", 0, &p, &err), code);
	if (!strstr(err.msg, want))
		fail_msg("%s", err.msg);
	weir_buf_reset(text);
}

static void limits(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	weir_auto_policy *p = NULL;

	(void)state;
	for (int i = 0; i < WEIR_POLICY_RULES_MAX; i++)
		weir_buf_adds(&b, "deny\n");
	p = parse(b.data, 0);
	assert_int_equal(p->n_rules, WEIR_POLICY_RULES_MAX);
	assert_true(strlen(p->rules[p->n_rules - 1].name) < WEIR_RULE_NAME_MAX);
	weir_buf_adds(&b, "deny\n");
	refused(&b, -E2BIG, "f:4097: \"deny\": rule 4097, and no more than 4096 fit");

	for (int i = 0; i <= WEIR_POLICY_SETS_MAX; i++)
		weir_buf_addf(&b, "set s%d\n", i);
	refused(&b, -E2BIG, "f:65: \"s64\": there are 64 sets");
	for (int i = 0; i <= WEIR_FILTER_ROWS; i++)
		weir_buf_addf(&b, "interface e%d\n", i);
	refused(&b, -E2BIG, "f:65: \"e64\": the 65th line of an interface");

	weir_buf_add(&b, "deny\n\n\0", 7);
	refused(&b, -EINVAL, "f:3: a zero byte");
	weir_buf_room(&b, WEIR_POLICY_TEXT_MAX + 1);
	while (b.len <= WEIR_POLICY_TEXT_MAX)
		weir_buf_adds(&b, "#                            \n");
	refused(&b, -E2BIG, "f: longer than 4 MB");
	/* Short to write, long in full. */
	while (b.len < WEIR_POLICY_TEXT_MAX / 4 * 3) {
		weir_buf_adds(&b, "deny net 10.0");
		for (int i = 1; i < 2000; i++)
			weir_buf_addf(&b, ",%d.%d", i / 256 + 1, i % 256);
		weir_buf_addc(&b, '\n');
	}
	refused(&b, -E2BIG, "f: the policy is longer than 4 MB written in full");
}

static void long_expression(void **state)
{
	weir_autobuf struct weir_buf b = { 0 }, first = { 0 };
	weir_auto_policy *p = NULL, *again = NULL;

	(void)state;
	weir_buf_adds(&b, "deny '");
	for (int i = 0; i < 100; i++)
		weir_buf_addf(&b, "%s(tcp port %d and host 192.0.2.%d)", i ? " or " : "", i + 1, i);
	weir_buf_adds(&b, "'\n");
	p = parse(b.data, 0);
	weir_policy_print(p, 0, 0, &first);
	again = parse(first.data, 0);
	prints_as(again, 0, 0, first.data);
}

/* ---- Files */

static void put(const char *path, const char *text)
{
	weir_autofclose FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
}

static void read_with(const char *path, const char *want)
{
	weir_auto_policy *p = NULL;
	struct weir_error err = { 0 };

	if (weir_policy_read(path, &p, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(p->sets[0].file, want);
	assert_string_equal(p->sets[1].file, "/abs/b");
	assert_null(p->sets[2].file);
}

static void files(void **state)
{
	char dir[] = "/tmp/weir-policy-XXXXXX", want[PATH_MAX];
	weir_autofree char *back = getcwd(NULL, 0);
	struct weir_policy *p = NULL;
	struct weir_error err;
	int input;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("sub", 0700), 0);
	put("sub/f.conf", "set a file lists/a\nset b file /abs/b\nset c\n");
	put("bad.conf", "deny\ndeny --dst-port x\n");
	snprintf(want, sizeof(want), "%s/sub/lists/a", dir);
	read_with("sub/f.conf", want);
	read_with("sub/../sub/f.conf", want);
	assert_int_equal(chdir("sub"), 0);
	read_with("f.conf", want);
	read_with("../sub/f.conf", want);

	input = dup(STDIN_FILENO);
	assert_non_null(freopen("f.conf", "r", stdin));
	read_with("-", want);
	assert_non_null(freopen("../bad.conf", "r", stdin));
	assert_int_equal(weir_policy_read("-", &p, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "standard input:2: --dst-port: \"x\""));
	dup2(input, STDIN_FILENO);
	close(input);

	assert_int_equal(weir_policy_read("../bad.conf", &p, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "../bad.conf:2: --dst-port: \"x\""));
	assert_int_equal(weir_policy_read("none", &p, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "cannot open none (No such file or directory)"));
	assert_int_equal(weir_policy_read("..", &p, &err), -EISDIR);
	assert_int_equal(weir_policy_read("/dev/zero", &p, &err), -E2BIG);
	assert_null(p);

	assert_int_equal(unlink("f.conf") | unlink("../bad.conf"), 0);
	assert_int_equal(chdir(back) | (access(dir, F_OK)), 0);
	snprintf(want, sizeof(want), "%s/sub", dir);
	assert_int_equal(rmdir(want) | rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole),	   cmocka_unit_test(nothing),
		cmocka_unit_test(words),	   cmocka_unit_test(made_names),
		cmocka_unit_test(kernel_text),	   cmocka_unit_test(mistakes),
		cmocka_unit_test(limits),	   cmocka_unit_test(long_expression),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
