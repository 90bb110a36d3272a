/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules from words and files, and back into text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cap/fault/conf.h"

#define NOW 1000000000000ULL

static struct weir_error err;

static int parse(const char *text, struct weir_fault_conf *ret)
{
	*ret = (struct weir_fault_conf){ 0 };
	err.msg[0] = '\0';
	return weir_fault_parse(text, strlen(text), "file", ret, &err);
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"loss: dst port 443 --drop 10% --seed 1 --ttl 60000000000ns\n",
		"seventh: -i eth0 -Q in udp --nth 7 --seed 2 --ttl 1ns\n",
		"spoil: dst port 80 --corrupt --fix-checksum --probability 0.5% --seed 3 "
		"--ttl 60000000000ns\n",
		"late: -i eth0 -Q out udp --delay 50000000ns --jitter 1000000ns --nth 2 --seed 1 --ttl 1ns\n",
		"slow: -i lo --rate 1000000bit --ttl 60000000000ns\n",
		"cut: --listen 127.0.0.1:5201 --truncate 5 --seed 0 "
		"--ttl 60000000000ns\n",
		"six: --listen [::1]:80 --truncate 1 --nth 3 --seed 4 --ttl 60000000000ns\n",
		"fd: --pid 1 --fd 2 --truncate 65535 --probability 1% --seed 5 "
		"--ttl 60000000000ns\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		weir_autobuf struct weir_buf out = { 0 };
		weir_auto_fault_conf c;

		assert_int_equal(parse(texts[i], &c), 0);
		weir_fault_print(&c, NOW, &out);
		assert_string_equal(out.data, texts[i]);
	}
}

/* The seed that weir chooses, and how long it lasts, make no other rule. */
static void test_made_names(void **state)
{
	weir_auto_fault_conf a, b, c;

	(void)state;
	assert_int_equal(parse("--dst-port 443 --drop 10%\n", &a), 0);
	assert_int_equal(parse("dst port 443 --drop 10.0% --ttl 5s\n", &b), 0);
	assert_int_equal(parse("--dst-port 443 --drop 11%\n", &c), 0);
	assert_string_equal(a.v[0].name, b.v[0].name);
	assert_string_not_equal(a.v[0].name, c.v[0].name);
	assert_memory_equal(a.v[0].name, "fault-", 6);
	assert_int_equal(a.v[0].ttl, WEIR_FAULT_TTL_DEFAULT);
}

static void test_thresholds(void **state)
{
	weir_auto_fault_conf c;

	(void)state;
	assert_int_equal(parse("a: --dst-port 1 --drop 100%\nb: --dst-port 1 --drop 50%\n"
			       "c: --dst-port 1 --corrupt\nd: --dst-port 1 --nth 3\n",
			       &c),
			 0);
	assert_true(c.v[0].threshold == WEIR_FAULT_ALWAYS);
	assert_true(c.v[1].threshold == WEIR_FAULT_ALWAYS / 2);
	assert_true(c.v[2].threshold == WEIR_FAULT_ALWAYS);
	assert_int_equal(c.v[3].nth, 3);
	assert_int_equal(c.v[3].kind, WEIR_FAULT_DROP);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "a: --dst-port 1\n", "file:1: no fault given" },
		{ "\na: --drop 1%\n", "file:2: it would hit every packet" },
		{ "a: -i bad/name --drop 1%\n", "not the name of an interface" },
		{ "a: -i lo -Q up --drop 1%\n", "give in, out or inout" },
		{ "a: --dst-port 1 --rate 1mbit --seed 1\n", "--rate goes by time" },
		{ "a: --listen 127.0.0.1:0 --truncate 1\n", "--listen" },
		{ "a: --listen unix:/x --truncate 1\n", "--listen" },
		{ "a: --listen 127.0.0.1:1 --drop 1%\n", "are for --truncate" },
		{ "a: --listen 127.0.0.1:1 --pid 1 --truncate 1\n", "two sockets" },
		{ "a: --listen 127.0.0.1:1 --truncate 65536\n", "--truncate" },
		{ "a: --listen 127.0.0.1:1 -i lo --truncate 1\n", "leave MATCH" },
		{ "a: --dst-port 1 --drop 0.00000001%\n", "hits no packet" },
		{ "a: --dst-port 1 --drop 101%\n", "not a part" },
		{ "a: --dst-port 1 --drop 1% --reset\n", "reset" },
		{ "a: src net @bad --drop 1%\n", "@" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_fault_conf c;

		assert_true(parse(cases[i].text, &c) < 0);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("%s: %s", cases[i].text, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_made_names),
		cmocka_unit_test(test_thresholds),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
