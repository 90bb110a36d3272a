/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules from words and files, back into text, and what they are compiled to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cap/steer/compile.h"
#include "cap/steer/conf.h"

#define NOW 1000000000000ULL

static struct weir_error err;

static int parse(const char *text, unsigned int flags, struct weir_steer_conf *ret)
{
	*ret = (struct weir_steer_conf){ 0 };
	err.msg[0] = '\0';
	return weir_steer_parse(text, strlen(text), "file", flags, ret, &err);
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"demo: --protocol tcp --dst-port 5202 --to listen:127.0.0.1:5201\n",
		"group web listen:127.0.0.1:80 listen:[::1]:81 pid:7/fd:9\n"
		"w: --dst-ip 192.0.2.0/24 --dst-port 8000-8999 --to group:web --on-miss pass\n",
		"a: --protocol udp --dst-ip 2001:db8::/32,fd00::1 --src-ip fd00::/8 "
		"--to listen:[::]:53\n",
		"b: --dst-port 1-9,80 --src-ip 10.0.0.0/8 --to listen:0.0.0.0:1\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		weir_autobuf struct weir_buf out = { 0 };
		weir_auto_steer_conf c;

		assert_int_equal(parse(texts[i], 0, &c), 0);
		weir_steer_print(&c, 0, NOW, &out);
		assert_string_equal(out.data, texts[i]);
	}
}

static void test_words_are_one_language(void **state)
{
	weir_auto_steer_conf a, b;

	(void)state;
	assert_int_equal(parse("x: tcp dst port 80 and dst net 10.0.0.0/8 --to "
			       "listen:127.0.0.1:1",
			       0, &a),
			 0);
	assert_int_equal(parse("--protocol tcp --dst-ip 10.0.0.0/8 --dst-port http \\\n"
			       " --to=listen:127.0.0.1:1 # a remark",
			       0, &b),
			 0);
	assert_int_equal(a.rules[0].protos, b.rules[0].protos);
	assert_int_equal(a.rules[0].ports[0].lo, 80);
	assert_int_equal(b.rules[0].ports[0].lo, 80);
	assert_memory_equal(a.rules[0].dst, b.rules[0].dst, sizeof(*a.rules[0].dst));
	/* Without a name: one that its words make. */
	assert_false(b.rules[0].named);
	assert_memory_equal(b.rules[0].name, "steer-", 6);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *told;
	} lines[] = {
		{ "x: --dst-port 1 --src-port 2 --to listen:1.2.3.4:5", "--src-port" },
		{ "x: --dst-port 1 -i eth0 --to listen:1.2.3.4:5", "-i" },
		{ "x: -Q in --dst-port 1 --to listen:1.2.3.4:5", "-Q" },
		{ "x: tcp port 1 --to listen:1.2.3.4:5", "either end" },
		{ "x: tcp dst port 1 or vlan --to listen:1.2.3.4:5", "\"or\"" },
		{ "x: 'not tcp dst port 1' --to listen:1.2.3.4:5", "\"not\"" },
		{ "x: --protocol sctp --dst-port 1 --to listen:1.2.3.4:5", "only tcp and udp" },
		{ "x: --protocol tcp 'udp dst port 1' --to listen:1.2.3.4:5", "exclude" },
		{ "x: --dst-ip 10.0.0.1 --src-ip ::1 --to listen:1.2.3.4:5", "IP versions" },
		{ "x: --to listen:1.2.3.4:5", "every connection" },
		{ "x: --dst-port 1", "no socket given" },
		{ "x: --dst-port 1 --to 1.2.3.4:5", "not a socket" },
		{ "x: --dst-port 1 --to listen:::1:5", "not a socket" },
		{ "x: --dst-port 1 --to listen:[1.2.3.4]:5", "not a socket" },
		{ "x: --dst-port 1 --to listen:1.2.3.4:0", "not a socket" },
		{ "x: --dst-port 1 --to pid:0/fd:1", "not a socket" },
		{ "x: --dst-port 1 --to group:none", "there is no group:none" },
		{ "x: --dst-port 1 --to listen:1.2.3.4:5 --on-miss maybe", "drop or pass" },
		{ "x: --dst-port 1 --to listen:1.2.3.4:5 --ttl soon", "not a time" },
		{ "x: --dst-port 1 --to listen:1.2.3.4:5 --id 5", "--id" },
		{ "x: --dst-ip ::1 --to listen:1.2.3.4:5", "IPv4 socket" },
		{ "-x: --dst-port 1 --to listen:1.2.3.4:5", "" },
		{ "group g", "no socket" },
		{ "group g group:h", "not a socket" },
		{ "target tcp listen:1.2.3.4:5 0 1", "" },
		{ "x: --dst-port 1 --to listen:1.2.3.4:5\nx: --dst-port 2 --to listen:1.2.3.4:5",
		  "file:2: " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct weir_steer_conf c;

		assert_int_equal(parse(lines[i].text, 0, &c), -EINVAL);
		if (!strstr(err.msg, lines[i].told))
			fail_msg("%s: %s", lines[i].text, err.msg);
		assert_memory_equal(err.msg, "file:", 5);
		assert_null(strchr(err.msg, '\n'));
	}
}

static void test_kernel_text(void **state)
{
	static const char text[] =
		"group g listen:127.0.0.1:1\n"
		"was pid:1/fd:2 127.0.0.1 80\n"
		"target tcp group:g 8 1\n"
		"x: --protocol tcp --dst-port 1 --to group:g --expires 99 --id 7\n";
	weir_autobuf struct weir_buf out = { 0 };
	weir_auto_steer_conf c, bad;

	(void)state;
	assert_int_equal(parse(text, WEIR_STEER_KERNEL, &c), 0);
	assert_int_equal(c.rules[0].id, 7);
	assert_int_equal(weir_steer_conf_target(&c, "group:g", WEIR_STEER_TCP)->first, 8);
	weir_steer_print(&c, WEIR_STEER_KERNEL, NOW, &out);
	assert_string_equal(out.data, text);
	/* Slots that there are not. */
	assert_int_equal(parse("target tcp listen:1.2.3.4:5 16384 1", WEIR_STEER_KERNEL, &bad),
			 -EINVAL);
}

static void test_change(void **state)
{
	weir_auto_steer_conf c;
	struct weir_steer_rule r;
	const struct weir_steer_words w = { .dst_port = "9", .to = "group:g" };
	const char *const to[] = { "listen:127.0.0.1:1" };

	(void)state;
	assert_int_equal(parse("x: --dst-port 1 --to listen:127.0.0.1:1", 0, &c), 0);
	c.rules[0].id = 5;
	assert_int_equal(weir_steer_rule_make(&w, "x", &r, &err), 0);
	assert_int_equal(weir_steer_conf_add(&c, &r, true, &err), 0);
	assert_int_equal(c.n_rules, 1);
	assert_int_equal(c.rules[0].id, 5);
	assert_int_equal(c.rules[0].ports[0].lo, 9);
	assert_int_equal(weir_steer_conf_check(&c, NULL, &err), -EINVAL);
	assert_int_equal(weir_steer_conf_add_group(&c, "g", to, 1, true, &err), 0);
	assert_int_equal(weir_steer_conf_check(&c, NULL, &err), 0);
	assert_int_equal(weir_steer_conf_del(&c, "group:g", &err), -EBUSY);
	assert_int_equal(weir_steer_conf_del(&c, "x", &err), 0);
	assert_int_equal(weir_steer_conf_del(&c, "group:g", &err), 0);
	assert_int_equal(weir_steer_conf_del(&c, "x", &err), -ENOENT);
}

static int compile(const struct weir_steer_conf *c, struct weir_steer_code *code)
{
	const struct weir_steer_clock clock = { .jiffies = 1000, .boot = NOW, .tick = 4000000 };

	err.msg[0] = '\0';
	return weir_steer_compile(c, &clock, code, &err);
}

static uint16_t class_of(const struct weir_steer_code *code, enum weir_steer_proto p, uint32_t port)
{
	return code->ports[(p * WEIR_STEER_PORTS + port) / WEIR_STEER_PORTS_A_ROW]
		.class_id[port % WEIR_STEER_PORTS_A_ROW];
}

static void test_classes(void **state)
{
	struct weir_steer_code code;
	weir_auto_steer_conf c;

	(void)state;
	assert_int_equal(parse("target tcp listen:127.0.0.1:1 0 1\n"
			       "a: --protocol tcp --dst-port 0-99,65000-65535 --id 1 --to "
			       "listen:127.0.0.1:1\n"
			       "b: --protocol tcp --dst-port 50-149 --id 2 --to "
			       "listen:127.0.0.1:1\n",
			       WEIR_STEER_KERNEL, &c),
			 0);
	assert_int_equal(compile(&c, &code), 0);
	assert_int_equal(class_of(&code, WEIR_STEER_TCP, 0), class_of(&code, WEIR_STEER_TCP, 49));
	assert_int_not_equal(class_of(&code, WEIR_STEER_TCP, 49),
			     class_of(&code, WEIR_STEER_TCP, 50));
	assert_int_not_equal(class_of(&code, WEIR_STEER_TCP, 99),
			     class_of(&code, WEIR_STEER_TCP, 100));
	assert_int_equal(class_of(&code, WEIR_STEER_TCP, 150), 0);
	assert_int_not_equal(class_of(&code, WEIR_STEER_TCP, 65535), 0);
	for (uint32_t port = 0; port < WEIR_STEER_PORTS; port++)
		assert_int_equal(class_of(&code, WEIR_STEER_UDP, port), 0);
	/* An IPv4 socket takes no IPv6 connection. */
	for (size_t i = 1; i < code.n_roots; i++)
		assert_int_equal(code.roots[i].at[1], 0);
	weir_steer_code_free(&code);
}

static void test_chains_are_bounded(void **state)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_steer_code code;

	(void)state;
	weir_buf_adds(&text, "target tcp listen:127.0.0.1:1 0 1\n");
	for (int i = 0; i <= WEIR_STEER_CHAIN_MAX; i++) {
		weir_auto_steer_conf c;

		weir_buf_addf(&text,
			      "r%d: --protocol tcp --dst-port 1 --src-ip 10.0.0.%d --id %d "
			      "--to listen:127.0.0.1:1\n",
			      i, i, i + 1);
		assert_int_equal(parse(text.data, WEIR_STEER_KERNEL, &c), 0);
		assert_int_equal(compile(&c, &code), i < WEIR_STEER_CHAIN_MAX ? 0 : -E2BIG);
		if (i < WEIR_STEER_CHAIN_MAX)
			weir_steer_code_free(&code);
	}
	assert_non_null(strstr(err.msg, "--src-ip"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_words_are_one_language),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_kernel_text),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_chains_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
