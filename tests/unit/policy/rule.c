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
#include "base/clock.h"
#include "bpf/policy_stub.h"
#include "policy/policy.h"

#define WORDS_MAX 300

/* The words of @line, which blanks separate; a word in '' may have some. */
static int parse(const char *line, struct weir_policy_rule *r, struct weir_error *err)
{
	static char text[8192];
	const char *argv[WORDS_MAX];
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *s = text; *s;) {
		const bool quoted = *s == '\'';
		char *end;

		s += quoted;
		end = s + strcspn(s, quoted ? "'" : " ");
		assert_true(argc < WORDS_MAX);
		argv[argc++] = s;
		s = end + (*end != '\0');
		*end = '\0';
		s += strspn(s, " ");
	}
	memset(r, 0, sizeof(*r));
	memset(err, 0, sizeof(*err));
	return weir_policy_parse_rule(argc, argv, r, err);
}

static void parse_good(const char *line, struct weir_policy_rule *r)
{
	struct weir_error err;

	if (parse(line, r, &err))
		fail_msg("%s: %s", line, err.msg);
}

static void canonical(void **state)
{
	static const char *const cases[][2] = {
		{ "deny", "deny" },
		{ "allow --protocol tcp --dst-port 22", "allow tcp and dst port 22" },
		{ "allow --src-ip 10.0.0.0/8,2001:db8::/32", NULL },
		{ "deny src net @bad", NULL },
		{ "deny --src-ip @bad -i eth0", "deny -i eth0 src net @bad" },
		{ "deny tcp -i eth0 port -Q in 80", "deny -i eth0 -Q in tcp port 80" },
		{ "deny '( tcp or udp )' and not port 53", NULL },
		{ "deny --direction=inout", "deny" },
		{ "deny -Qout", "deny -Q out" },
		{ "deny --ttl 90m", "deny --ttl 90m" },
		{ "deny --ttl 3600s", "deny --ttl 1h" },
		{ "deny --ttl 1.5s", "deny --ttl 1500ms" },
		{ "deny --ttl 48h", "deny --ttl 2d" },
		{ "deny --note ''", "deny" },
		{ "deny --note x", "deny --note x" },
		{ "deny --note 'two words'", "deny --note \"two words\"" },
		{ "deny --note=--ttl", "deny --note=--ttl" },
		{ "limit --rate 1000/s", NULL },
		{ "limit --rate 60/m --burst 1", "limit --rate 1/s" },
		{ "limit --rate 1000/s --burst 100", "limit --rate 1000/s" },
		{ "limit --rate 1000/s --burst 101", NULL },
		{ "limit --rate 10mbit", NULL },
		{ "limit --rate 10000kbit --burst 1m", "limit --rate 10mbit" },
		{ "limit --rate 10mbit --burst 64kbit", "limit --rate 10mbit --burst 64k" },
		{ "limit --rate 1500kbit --burst 151000", "limit --rate 1500kbit --burst 151k" },
		{ "limit --rate 25gbit --burst 1g --per rule", "limit --rate 25gbit --burst 1g" },
		{ "limit --rate 1/s --per source/32", "limit --rate 1/s --per source" },
		{ "limit --rate 1/s --per source/24", NULL },
		{ "limit icmp --rate 1/s --per source/0 --ttl 1h --note x", NULL },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf first = { 0 }, second = { 0 };
		struct weir_policy_rule r;

		parse_good(cases[i][0], &r);
		assert_string_equal(r.owner, "filter");
		assert_false(r.named);
		weir_policy_print_rule(&r, 0, &first);
		if (cases[i][1])
			assert_string_equal(first.data, cases[i][1]);
		weir_policy_rule_free(&r);
		if (strpbrk(first.data, "\""))
			continue;
		parse_good(first.data, &r);
		weir_policy_print_rule(&r, 0, &second);
		assert_string_equal(first.data, second.data);
		weir_policy_rule_free(&r);
	}
}

static void match_alone(void **state)
{
	static const char *const cases[][2] = {
		{ "deny --ttl 1h", "" },
		{ "limit -i lo --rate 1/s", "-i lo" },
		{ "deny -Q in", "-Q in" },
		{ "deny -i lo -Q out tcp --name x", "-i lo -Q out tcp" },
		{ "allow tcp port 22 --note x", "tcp port 22" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };
		struct weir_policy_rule r;

		parse_good(cases[i][0], &r);
		weir_policy_print_match(&r, &b);
		assert_string_equal(b.data, cases[i][1]);
		weir_policy_rule_free(&r);
	}
}

static void limits(void **state)
{
	static const struct {
		const char *words;
		uint64_t rate, burst;
		bool bits;
		enum weir_limit_per per;
		uint8_t len4, len6;
	} cases[] = {
		{ "limit --rate 1000/s", 1000, 100, false, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 9/s", 9, 1, false, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 3600/h", 1, 1, false, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 1bit", 1, 12144, true, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 64kbit", 64000, 12144, true, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 1gbit", 1000000000, 100000000, true, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 1gbit --burst 1.5m", 1000000000, 1500000, true, WEIR_PER_RULE, 0,
		  0 },
		{ "limit --rate 5/s --burst 200 --per source", 5, 200, false, WEIR_PER_SOURCE, 32,
		  64 },
		{ "limit --rate 5/s --per source/24", 5, 1, false, WEIR_PER_SOURCE, 24, 48 },
		{ "limit --rate 5/s --per source/32", 5, 1, false, WEIR_PER_SOURCE, 32, 64 },
		{ "limit --rate 5/s --per source/0", 5, 1, false, WEIR_PER_SOURCE, 0, 0 },
		{ "limit --rate 5/s --per rule", 5, 1, false, WEIR_PER_RULE, 0, 0 },
		{ "limit --rate 5/s --burst 432000", 5, 432000, false, WEIR_PER_RULE, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_policy_rule r;

		parse_good(cases[i].words, &r);
		assert_int_equal(r.action, WEIR_POLICY_LIMIT);
		assert_int_equal(r.rate, cases[i].rate);
		assert_int_equal(r.burst, cases[i].burst);
		assert_int_equal(r.bits, cases[i].bits);
		assert_int_equal(r.per, cases[i].per);
		assert_int_equal(r.len4, cases[i].len4);
		assert_int_equal(r.len6, cases[i].len6);
		weir_policy_rule_free(&r);
	}
}

/* Names are kept by the rule store: they must never change. */
static void names(void **state)
{
	static const char *const cases[][2] = {
		{ "deny tcp port 23", "deny-8c4a02de" },
		{ "deny 'tcp and port 23'", "deny-0ce0b27b" },
		{ "deny --protocol tcp port 23", "deny-0ce0b27b" },
		{ "deny tcp port 23 --ttl 1h --note why", "deny-8c4a02de" },
		{ "limit udp --rate 1000/s --per source/24", "limit-de2f64e1" },
		{ "limit udp --rate 1000/s --burst 100 --per source/24", "limit-de2f64e1" },
		{ "allow -i eth0 -Q out", "allow-a912042d" },
		{ "deny --name a.b:c-d_9", "a.b:c-d_9" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_policy_rule r;

		parse_good(cases[i][0], &r);
		assert_string_equal(r.name, cases[i][1]);
		assert_int_equal(r.named, strstr(cases[i][0], "--name") != NULL);
		weir_policy_rule_free(&r);
	}
}

static void time_left(void **state)
{
	static const struct {
		uint64_t expires, now;
		const char *want;
	} cases[] = {
		{ 0, 5000, "deny --ttl 1h" },
		{ 3600 * WEIR_NSEC_PER_SEC, 0, "deny --ttl 1h" },
		{ 3600 * WEIR_NSEC_PER_SEC, 1, "deny --ttl 1h" },
		{ 3600 * WEIR_NSEC_PER_SEC, WEIR_NSEC_PER_SEC, "deny --ttl 3599s" },
		{ 3600 * WEIR_NSEC_PER_SEC, 1800 * WEIR_NSEC_PER_SEC, "deny --ttl 30m" },
		{ 3 * WEIR_NSEC_PER_SEC, 5 * WEIR_NSEC_PER_SEC / 2, "deny --ttl 500ms" },
		{ 1000, 1000, "deny --ttl 1ms" },
		{ 1000, 999999, "deny --ttl 1ms" },
	};
	struct weir_policy_rule r;

	(void)state;
	parse_good("deny --ttl 1h", &r);
	assert_int_equal(r.ttl, 3600 * WEIR_NSEC_PER_SEC);
	assert_int_equal(r.expires, 0);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };

		r.expires = cases[i].expires;
		weir_policy_print_rule(&r, cases[i].now, &b);
		assert_string_equal(b.data, cases[i].want);
	}
	weir_policy_rule_free(&r);
}

static void mistakes(void **state)
{
	static const char *const cases[][2] = {
		{ "denyy", "\"denyy\": not a rule: begin with allow, deny or limit" },
		{ "", "\"\": not a rule: begin with allow, deny or limit" },
		{ "deny --prot tcp", "unknown option --prot: did you mean --protocol?" },
		{ "deny --owner x", "unknown option --owner" },
		{ "deny --until 5", "unknown option --until" },
		{ "deny --before x", "unknown option --before" },
		{ "deny --name", "--name needs a value: give --name NAME" },
		{ "deny --ttl 1h --ttl 2h", "--ttl \"2h\" after \"1h\": give it only once" },
		{ "deny -Q up", "-Q \"up\": not a direction: give in, out or inout" },
		{ "deny -i a/b", "-i \"a/b\": cannot be the name of an interface" },
		{ "deny -i sixteenletters-x", "-i \"sixteenletters-x\": cannot be the name" },
		{ "deny tcp port 80x", "\"80x\" at character 10: not a tcp port" },
		{ "deny --dst-port 80x", "--dst-port: \"80x\"" },
		{ "deny --src-ip 10.0.0.1/8", "\"10.0.0.1/8\"" },
		{ "deny --rate 1/s", "--rate belongs to limit, not to deny" },
		{ "allow --burst 5", "--burst belongs to limit, not to allow" },
		{ "allow --per source", "--per belongs to limit, not to allow" },
		{ "limit tcp", "a limit without a rate: give --rate" },
		{ "limit --rate fast", "--rate \"fast\": not a rate" },
		{ "limit --rate 0/s", "--rate \"0/s\": out of range" },
		{ "limit --rate 30/m", "--rate \"30/m\": out of range: give a whole number" },
		{ "limit --rate 25000000001/s", "out of range" },
		{ "limit --rate 26gbit", "out of range" },
		{ "limit --rate 9999999999tbit", "out of range" },
		{ "limit --rate 5/s --burst 10ms", "--burst \"10ms\": not a number of packets" },
		{ "limit --rate 5/s --burst 10k", "not a number of packets: give one such as 200" },
		{ "limit --rate 5/s --burst 0", "out of range: give from 1 to 432000" },
		{ "limit --rate 5/s --burst 432001", "out of range: give from 1 to 432000" },
		{ "limit --rate 5/s --burst 99999999999999999999", "out of range" },
		{ "limit --rate 1mbit --burst 10ms", "--burst \"10ms\": not a number of bits" },
		{ "limit --rate 1mbit --burst 10/s", "not a number of bits" },
		{ "limit --rate 1mbit --burst 12143", "less than one frame of 1518 bytes" },
		{ "limit --rate 1mbit --burst 999999t", "out of range" },
		{ "limit --rate 1/s --per dest", "--per \"dest\": not known" },
		{ "limit --rate 1/s --per source/33", "--per \"source/33\": not a prefix length" },
		{ "limit --rate 1/s --per source/", "--per \"source/\": not a prefix length" },
		{ "limit --rate 1/s --per sourced", "--per \"sourced\": not known" },
		{ "deny --ttl 10", "--ttl \"10\": not a duration" },
		{ "deny --ttl 0s", "--ttl \"0s\": out of range" },
		{ "deny --ttl 999us", "--ttl \"999us\": out of range" },
		{ "deny --ttl 4000d", "--ttl \"4000d\": out of range" },
		{ "deny --name ''", "\"\": cannot be the name of a rule" },
		{ "deny --name=-x", "\"-x\": cannot be the name of a rule" },
		{ "deny --name a/b", "\"a/b\": cannot be the name of a rule" },
		{ "deny --name a23456789012345678901234567890bc", "cannot be the name of a rule" },
		{ "deny --note 'a\nb'", "not one line of UTF-8" },
		{ "deny --note 'a\x1b[1m'", "not one line of UTF-8" },
		{ "deny --note \xff", "not one line of UTF-8" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_policy_rule r;
		struct weir_error err;

		if (parse(cases[i][0], &r, &err) != -EINVAL)
			fail_msg("%s: was taken", cases[i][0]);
		if (!strstr(err.msg, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], err.msg);
	}
}

/* What is longer than what can be read again must not become a rule. */
static void sizes(void **state)
{
	weir_autobuf struct weir_buf list = { 0 };
	const char *argv[] = { "deny", "--src-ip", NULL, "--dst-ip", NULL, "--note", NULL };
	struct weir_policy_rule r;
	struct weir_error err;
	char note[WEIR_POLICY_NOTE_MAX + 1];

	(void)state;
	for (unsigned int i = 0; list.len < 100000; i++)
		weir_buf_addf(&list, "%s10.%u.%u.0/25", i ? "," : "", i / 256, i % 256);
	argv[2] = argv[4] = list.data;
	assert_int_equal(weir_policy_parse_rule(3, argv, &r, &err), 0);
	weir_policy_rule_free(&r);
	assert_int_equal(weir_policy_parse_rule(5, argv, &r, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "put the addresses into a set"));
	memset(note, 'n', sizeof(note));
	note[sizeof(note) - 1] = '\0';
	argv[6] = note;
	argv[1] = argv[5];
	argv[2] = argv[6];
	assert_int_equal(weir_policy_parse_rule(3, argv, &r, &err), -EINVAL);
	note[sizeof(note) - 2] = '\0';
	assert_int_equal(weir_policy_parse_rule(3, argv, &r, &err), 0);
	assert_int_equal(strlen(r.note), WEIR_POLICY_NOTE_MAX - 1);
	weir_policy_rule_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical), cmocka_unit_test(match_alone),
		cmocka_unit_test(limits),    cmocka_unit_test(names),
		cmocka_unit_test(time_left), cmocka_unit_test(mistakes),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
