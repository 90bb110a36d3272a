/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules of weir tcp tune from words and files, and back into text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cap/tcp/tune_conf.h"

static struct weir_error err;

static int parse(const char *text, unsigned int flags, struct weir_tune_conf *ret)
{
	*ret = (struct weir_tune_conf){ 0 };
	err.msg[0] = '\0';
	return weir_tune_parse(text, strlen(text), "file", flags, ret, &err);
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"a: --dst-port 80 --congestion reno\n",
		"b: --protocol tcp --src-ip 10.0.0.0/8,::1 --local-port 1-9 --rcvbuf 65536 "
		"--nodelay off --cgroup /sys/fs/cgroup/x\n",
		"c: port 80 and not (host 10.1.2.3) --rto-min 20ms --keepidle 61s --all-netns\n",
		"--rto-min 1500us --user-timeout 90ms --keepalive on --tos 16\n",
		"d: --dst-port 80 --nodelay on --cgroup \"/sys/fs/a b\"\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		weir_autobuf struct weir_buf out = { 0 };
		weir_auto_tune_conf c;

		assert_int_equal(parse(texts[i], 0, &c), 0);
		weir_tune_print(&c, 0, &out);
		assert_string_equal(out.data, texts[i]);
	}
}

static void test_values(void **state)
{
	weir_auto_tune_conf c;

	(void)state;
	assert_int_equal(parse("--rcvbuf 64k --rto-min 20ms --user-timeout 2s --keepidle 1m "
			       "--nodelay on --congestion bbr",
			       0, &c),
			 0);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.rules[0].set.value[WEIR_TUNE_RCVBUF], 65536);
	assert_int_equal(c.rules[0].set.value[WEIR_TUNE_RTO_MIN], 20000);
	assert_int_equal(c.rules[0].set.value[WEIR_TUNE_USER_TIMEOUT], 2000);
	assert_int_equal(c.rules[0].set.value[WEIR_TUNE_KEEPIDLE], 60);
	assert_int_equal(c.rules[0].set.value[WEIR_TUNE_NODELAY], 1);
	assert_string_equal(c.rules[0].set.congestion, "bbr");
	assert_int_equal(c.rules[0].set.mask,
			 1U << WEIR_TUNE_RCVBUF | 1U << WEIR_TUNE_RTO_MIN |
				 1U << WEIR_TUNE_USER_TIMEOUT | 1U << WEIR_TUNE_KEEPIDLE |
				 1U << WEIR_TUNE_NODELAY | 1U << WEIR_TUNE_CONGESTION);
}

/* What is wrong is named with its line; nothing is half read. */
static void test_errors(void **state)
{
	static const struct {
		const char *text, *line, *word;
	} bad[] = {
		{ "a: --nodelay on\n\n\nb: --rcvbf 1\n", "file:4: ", "--rcvbf" },
		{ "a: --rcvbuf 2g\n", "file:1: ", "\"2g\"" },
		{ "a: --rcvbuf 0\n", "file:1: ", "\"0\"" },
		{ "a: --tos 256\n", "file:1: ", "\"256\"" },
		{ "a: --keepidle 1500ms\n", "file:1: ", "1500ms" },
		{ "a: --keepidle 32768s\n", "file:1: ", "32768s" },
		{ "a: --congestion abcdefghijklmnop\n", "file:1: ", "congestion" },
		{ "a: --congestion a/b\n", "file:1: ", "a/b" },
		{ "a: --dst-port 80\n", "file:1: ", "nothing to set" },
		{ "a: --nodelay on --nodelay off\n", "file:1: ", "nodelay" },
		{ "a: --nodelay on\na: --nodelay on\n", "file:2: ", "two rules" },
		{ "a: --protocol udp --nodelay on\n", "file:1: ", "udp" },
		{ "a: vlan 5 --nodelay on\n", "file:1: ", "vlan" },
		{ "a: --cgroup x --nodelay on\n", "file:1: ", "\"x\"" },
		{ "a: --id 5 --nodelay on\n", "file:1: ", "--id" },
		{ "cgroup 0 1 /x\n", "file:1: ", "cgroup" },
		{ "a b: --nodelay on\n", "file:1: ", "" },
		{ "-a: --nodelay on\n", "file:1: ", "-a" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct weir_tune_conf c;

		assert_int_equal(parse(bad[i].text, 0, &c), -EINVAL);
		assert_ptr_equal(strstr(err.msg, bad[i].line), err.msg);
		assert_non_null(strstr(err.msg, bad[i].word));
		assert_int_equal(c.n, 0);
	}
}

static void test_kernel_text(void **state)
{
	static const char text[] = "cgroup 3 4294967297 \"/sys/fs/a b\"\n"
				   "a: --dst-port 80 --nodelay on --id 7\n";
	weir_autobuf struct weir_buf out = { 0 };
	weir_auto_tune_conf c;

	(void)state;
	assert_int_equal(parse(text, WEIR_TUNE_KERNEL, &c), 0);
	assert_int_equal(c.n_cgroups, 1);
	assert_int_equal(c.cgroups[0].slot, 3);
	assert_true(c.cgroups[0].id == 4294967297ULL);
	assert_int_equal(c.rules[0].set.id, 7);
	weir_tune_print(&c, WEIR_TUNE_KERNEL, &out);
	assert_string_equal(out.data, text);
}

static void test_change(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_tune_words w = { .match.match.dst_port = "81", .set[WEIR_TUNE_KEEPCNT] = "5" };
	struct weir_tune_spec r;
	weir_auto_tune_conf c;

	(void)state;
	assert_int_equal(parse("a: --dst-port 80 --keepcnt 3 --id 9\nb: --keepcnt 4\n",
			       WEIR_TUNE_KERNEL, &c),
			 0);
	assert_int_equal(weir_tune_spec_make(&w, "a", &r, &err), 0);
	assert_int_equal(weir_tune_conf_add(&c, &r, true, &err), 0);
	assert_int_equal(weir_tune_conf_del(&c, "nosuch", &err), -ENOENT);
	weir_tune_print(&c, WEIR_TUNE_KERNEL, &out);
	assert_string_equal(out.data, "a: --dst-port 81 --keepcnt 5 --id 9\nb: --keepcnt 4\n");
	assert_int_equal(weir_tune_conf_del(&c, "a", &err), 0);
	assert_int_equal(c.n, 1);
	assert_string_equal(c.rules[0].name, "b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_values),
		cmocka_unit_test(test_errors),	   cmocka_unit_test(test_kernel_text),
		cmocka_unit_test(test_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
