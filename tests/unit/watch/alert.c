/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules of --alert: their language; windows, hysteresis and cool-down on ticks made up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "cap/watch/alert_hosts.h"
#include "cap/watch/alert_state.h"

static struct weir_error err;

static struct weir_alert_rules parsed(const char *text)
{
	struct weir_alert_rules r = { 0 };

	if (weir_alert_add(&r, text, &err))
		fail_msg("%s: %s", text, err.msg);
	return r;
}

static void test_rules(void **state)
{
	static const struct {
		const char *text;
		enum weir_alert_quantity quantity;
		enum weir_alert_unit unit;
		enum weir_alert_op op;
		double value, clear;
		uint32_t over, holds, cooldown;
	} rows[] = {
		{ "a: tcp rate > 1000/s for 5s", WEIR_ALERT_PACKETS, WEIR_ALERT_PER_SECOND,
		  WEIR_ALERT_GT, 1000, 0, 2, 10, 0 },
		{ "a: rate>=10mbit clear 5mbit cooldown 1m", WEIR_ALERT_BYTES, WEIR_ALERT_BITS,
		  WEIR_ALERT_GE, 1e7, 5e6, 2, 0, 120 },
		{ "a:  packets  <  60/m\tover 10s", WEIR_ALERT_PACKETS, WEIR_ALERT_PER_SECOND,
		  WEIR_ALERT_LT, 1, 0, 20, 0, 0 },
		{ "a: host 10.0.0.1 and greater 100 bytes <= 1m", WEIR_ALERT_BYTES,
		  WEIR_ALERT_COUNT, WEIR_ALERT_LE, 1 << 20, 0, 2, 0, 0 },
		{ "a: bytes > 64k/s", WEIR_ALERT_BYTES, WEIR_ALERT_PER_SECOND, WEIR_ALERT_GT, 65536,
		  0, 2, 0, 0 },
		{ "a: flows > 0", WEIR_ALERT_FLOWS, WEIR_ALERT_COUNT, WEIR_ALERT_GT, 0, 0, 2, 0,
		  0 },
		{ "a: udp new hosts > 5 for 501ms", WEIR_ALERT_NEW_HOSTS, WEIR_ALERT_COUNT,
		  WEIR_ALERT_GT, 5, 0, 2, 2, 0 },
		{ "a: ports per host >= 20", WEIR_ALERT_PORTS_PER_HOST, WEIR_ALERT_COUNT,
		  WEIR_ALERT_GE, 20, 0, 20, 0, 0 },
		{ "a: lost > 0", WEIR_ALERT_LOST, WEIR_ALERT_COUNT, WEIR_ALERT_GT, 0, 0, 2, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(rows); i++) {
		struct weir_alert_rules r = parsed(rows[i].text);
		const struct weir_alert_rule *x = &r.v[0];

		assert_string_equal(x->name, "a");
		assert_int_equal(x->quantity, rows[i].quantity);
		assert_int_equal(x->unit, rows[i].unit);
		assert_int_equal(x->op, rows[i].op);
		assert_true(x->value >= rows[i].value && x->value <= rows[i].value);
		assert_int_equal(x->has_clear, rows[i].clear > 0);
		assert_true(!x->has_clear ||
			    (x->clear >= rows[i].clear && x->clear <= rows[i].clear));
		assert_int_equal(x->over, rows[i].over);
		assert_int_equal(x->holds, rows[i].holds);
		assert_int_equal(x->cooldown, rows[i].cooldown);
		assert_int_equal(!x->match, x->quantity == WEIR_ALERT_LOST);
		weir_alert_rules_free(&r);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *word;
	} rows[] = {
		{ "", "name" },
		{ "rate > 1/s", "name" },
		{ "a b: rate > 1/s", "name" },
		{ "a: tcp", "nothing to compare" },
		{ "a: tcp > 5/s", "\"tcp\" is no quantity" },
		{ "a: > 5/s", "is no quantity" },
		{ "a: tcprate > 5/s", "\"tcprate\" is no quantity" },
		{ "a: rate >", "no value" },
		{ "a: rate > 5", "\"5\" is no value" },
		{ "a: rate > x", "\"x\" is no value" },
		{ "a: flows > 10mbit", "\"10mbit\" is no value" },
		{ "a: ports per host > 5/s", "\"5/s\" is no value" },
		{ "a: rate > 5/s fro 5s", "\"fro\" is not known" },
		{ "a: rate > 5/s for", "for without" },
		{ "a: rate > 5/s for 5", "for \"5\"" },
		{ "a: rate > 5/s for 5s for 6s", "twice" },
		{ "a: rate > 5/s over 100ms", "over \"100ms\"" },
		{ "a: rate > 5/s over 2h", "over \"2h\"" },
		{ "a: rate > 5/s clear 6/s", "over before it began" },
		{ "a: rate < 5/s clear 4/s", "over before it began" },
		{ "a: rate > 5/s clear 1mbit", "another unit" },
		{ "a: rate < 0/s", "below 0" },
		{ "a: flows >= 0", "below 0" },
		{ "a: tcp lost > 0", "lost" },
		{ "a: ports per host < 5", "largest number" },
		{ "a: port foo rate > 5/s", "foo" },
		{ "a: src net @bad rate > 5/s", "@bad" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(rows); i++) {
		struct weir_alert_rules r = { 0 };

		err.msg[0] = '\0';
		assert_int_equal(weir_alert_add(&r, rows[i].text, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].word))
			fail_msg("%s: %s", rows[i].text, err.msg);
		assert_non_null(strstr(err.msg, ": "));
		assert_int_equal(r.n, 0);
	}
}

static void test_file(void **state)
{
	static const char good[] = "# alerts\n\nsyn: tcp flags syn \\\n  rate > 5/s # behind\n"
				   "l: lost > 0";
	static const char bad[] = "l: lost > 0\n\na: tcp \\\n rate >\n";
	static const char twice[] = "l: lost > 0\nl: lost > 1\n";
	struct weir_alert_rules r = { 0 };

	(void)state;
	assert_int_equal(weir_alert_add_file(&r, "f", good, sizeof(good) - 1, &err), 0);
	assert_int_equal(r.n, 2);
	assert_string_equal(r.v[0].text, "tcp flags syn rate > 5/s");
	assert_string_equal(r.v[1].name, "l");
	weir_alert_rules_free(&r);
	assert_int_equal(weir_alert_add_file(&r, "f", bad, sizeof(bad) - 1, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "f:3: alert a: there is no value"));
	weir_alert_rules_free(&r);
	assert_int_equal(weir_alert_add_file(&r, "f", twice, sizeof(twice) - 1, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "f:2: alert l is there twice"));
	weir_alert_rules_free(&r);
	assert_int_equal(weir_alert_add_file(&r, "f", "a\0b", 3, &err), -EINVAL);
	for (int i = 0; i < WEIR_WATCH_ALERTS; i++) {
		char text[32];

		snprintf(text, sizeof(text), "a%d: lost > 0", i);
		assert_int_equal(weir_alert_add(&r, text, &err), 0);
	}
	assert_int_equal(weir_alert_add(&r, "one-more: lost > 0", &err), -E2BIG);
	weir_alert_rules_free(&r);
}

/* Ticks with so many packets each; '.' for no event, 'R' and 'C'. */
static void play(const char *rule, const unsigned int *n, const char *want)
{
	struct weir_alert_rules r = parsed(rule);
	struct weir_alert_state s;
	size_t ticks = strlen(want);
	char got[64] = "";

	assert_true(ticks < sizeof(got));
	assert_int_equal(weir_alert_state_init(&s, &r.v[0]), 0);
	for (size_t i = 0; i < ticks; i++) {
		if (r.v[0].quantity == WEIR_ALERT_PORTS_PER_HOST)
			s.bucket = n[i];
		else
			weir_alert_state_add(&s, n[i]);
		got[i] = ".RC"[weir_alert_state_tick(&s, &r.v[0], false)];
	}
	if (strcmp(got, want) != 0)
		fail_msg("%s: %s, not %s", rule, got, want);
	weir_alert_state_free(&s);
	weir_alert_rules_free(&r);
}

static void test_windows(void **state)
{
	(void)state;
	/* 10/s in a second: two ticks of 6 are 12. */
	play("a: rate > 10/s", (unsigned int[]){ 6, 6, 6, 4, 4, 0 }, ".R.C..");
	play("a: rate >= 10/s", (unsigned int[]){ 6, 6, 6, 4, 5, 0 }, ".R..C.");
	/* One tick holds enough, and stays in the window for two. */
	play("a: packets > 10", (unsigned int[]){ 0, 11, 0, 0, 0 }, ".R.C.");
	play("a: packets > 10 over 500ms", (unsigned int[]){ 0, 11, 0, 0, 0 }, ".RC..");
	play("a: packets > 10 over 2s", (unsigned int[]){ 3, 3, 3, 3, 0, 0, 0 }, "...RC..");
	/* Too little is known once a whole window was seen. */
	play("a: packets < 1 over 1500ms", (unsigned int[]){ 0, 0, 0, 1, 0, 0, 0 }, "..RC..R");
	play("a: bytes > 80bit", (unsigned int[]){ 5, 5, 6, 0, 0 }, "..RC.");
	play("a: ports per host > 3", (unsigned int[]){ 1, 4, 4, 2 }, ".R.C");
}

static void test_for(void **state)
{
	(void)state;
	/* From the first tick at which it holds: a second is two more. */
	play("a: packets > 0 over 500ms for 1s", (unsigned int[]){ 1, 1, 1, 1, 0 }, "..R.C");
	play("a: packets > 0 over 500ms for 1s", (unsigned int[]){ 1, 1, 0, 1, 1, 1 }, ".....R");
	play("a: packets > 0 over 500ms for 700ms", (unsigned int[]){ 1, 1, 1, 1 }, "..R.");
	play("a: packets > 0 over 500ms for 0s", (unsigned int[]){ 1, 1 }, "R.");
}

static void test_hysteresis(void **state)
{
	(void)state;
	play("a: packets > 10 over 500ms clear 5", (unsigned int[]){ 11, 8, 11, 6, 5, 8, 11 },
	     "R...C.R");
	play("a: packets > 10 over 500ms", (unsigned int[]){ 11, 8, 11, 6, 5, 8, 11 }, "RCRC..R");
	play("a: packets < 3 over 500ms clear 6", (unsigned int[]){ 9, 2, 4, 5, 6, 2 }, ".R..CR");
}

static void test_cooldown(void **state)
{
	struct weir_alert_rules r = parsed("a: packets > 0 over 500ms cooldown 2s");
	static const unsigned int n[] = { 1, 0, 1, 0, 1, 1, 1, 0 };
	struct weir_alert_state s;

	(void)state;
	/* Cleared at the second tick: two seconds are four more. */
	play("a: packets > 0 over 500ms cooldown 2s", n, "RC...R.C");
	play("a: packets > 0 over 500ms for 1s cooldown 1s",
	     (unsigned int[]){ 1, 1, 1, 0, 1, 1, 1, 1 }, "..RC..R.");
	assert_int_equal(weir_alert_state_init(&s, &r.v[0]), 0);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(n); i++) {
		weir_alert_state_add(&s, n[i]);
		weir_alert_state_tick(&s, &r.v[0], false);
	}
	assert_int_equal(s.times, 2);
	assert_int_equal(s.suppressed, 2);
	weir_alert_state_free(&s);
	weir_alert_rules_free(&r);
}

/* The run ends within a tick: too much is too much, too little proves nothing. */
static void test_partial(void **state)
{
	static const struct {
		const char *rule;
		enum weir_alert_event event;
	} rows[] = {
		{ "a: packets > 4", WEIR_ALERT_RAISED },
		{ "a: packets < 9 over 500ms", WEIR_ALERT_NOTHING },
		{ "a: packets > 1 over 500ms", WEIR_ALERT_NOTHING }, /* it goes on */
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(rows); i++) {
		struct weir_alert_rules r = parsed(rows[i].rule);
		struct weir_alert_state s;

		assert_int_equal(weir_alert_state_init(&s, &r.v[0]), 0);
		weir_alert_state_add(&s, i == 1 ? 20 : 2);
		weir_alert_state_tick(&s, &r.v[0], false);
		weir_alert_state_add(&s, i == 2 ? 0 : 3);
		assert_int_equal(weir_alert_state_tick(&s, &r.v[0], true), rows[i].event);
		weir_alert_state_free(&s);
		weir_alert_rules_free(&r);
	}
}

static void test_hosts(void **state)
{
	struct weir_alert_set set = { 0 };
	struct weir_alert_key k = { 0 };
	bool new;

	(void)state;
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(k.addr, &i, sizeof(i));
		assert_non_null(weir_alert_set_get(&set, &k, &new));
		assert_true(new);
		weir_alert_set_get(&set, &k, &new);
		assert_false(new);
	}
	assert_int_equal(set.used, 5000);
	weir_alert_set_free(&set);
}

static void test_scan(void **state)
{
	uint8_t a[16] = { 1 }, b[16] = { 2 }, host[16] = { 0 };
	struct weir_alert_scan s;

	(void)state;
	assert_int_equal(weir_alert_scan_init(&s, 2), 0);
	for (uint16_t i = 1; i <= 30; i++) {
		weir_alert_scan_add(&s, a, 6, i);
		weir_alert_scan_add(&s, a, 6, i);
		weir_alert_scan_add(&s, b, 17, i % 5 + 1);
	}
	assert_int_equal(s.most, 30);
	weir_alert_scan_who(&s, host);
	assert_memory_equal(host, a, 16);
	weir_alert_scan_add(&s, a, 17, 7); /* another protocol: another port */
	assert_int_equal(s.most, 31);
	weir_alert_scan_next(&s);
	weir_alert_scan_add(&s, a, 6, 1); /* again: it stays longer */
	weir_alert_scan_add(&s, a, 6, 100);
	weir_alert_scan_add(&s, b, 6, 1);
	assert_int_equal(s.most, 32);
	weir_alert_scan_next(&s);
	assert_int_equal(s.most, 2);
	weir_alert_scan_add(&s, b, 6, 2); /* as many as the other has */
	weir_alert_scan_who(&s, host);
	assert_memory_equal(host, a, 16);
	weir_alert_scan_next(&s);
	assert_int_equal(s.most, 1);
	weir_alert_scan_who(&s, host);
	assert_memory_equal(host, b, 16);
	weir_alert_scan_next(&s);
	assert_int_equal(s.most, 0);
	assert_int_equal(s.hosts.n + s.ports.n, 0);
	weir_alert_scan_free(&s);
}

/* A scan counts whole wherever the ticks of its window begin. */
static void test_scan_slides(void **state)
{
	const uint32_t over = 20, ports = 60;
	uint8_t a[16] = { 1 };

	(void)state;
	for (uint32_t phase = 0; phase < over; phase++) {
		struct weir_alert_scan s;
		uint32_t most = 0;

		assert_int_equal(weir_alert_scan_init(&s, over), 0);
		for (uint32_t tick = 0; tick < 3 * over; tick++) {
			for (uint32_t i = 0; tick >= phase && i < ports / over; i++)
				if (tick < phase + over)
					weir_alert_scan_add(&s, a, 6,
							    (uint16_t)(1 + tick * over + i));
			most = s.most > most ? s.most : most;
			weir_alert_scan_next(&s);
		}
		assert_int_equal(most, ports);
		assert_int_equal(s.most, 0);
		weir_alert_scan_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),	 cmocka_unit_test(test_refused),
		cmocka_unit_test(test_file),	 cmocka_unit_test(test_windows),
		cmocka_unit_test(test_for),	 cmocka_unit_test(test_hysteresis),
		cmocka_unit_test(test_cooldown), cmocka_unit_test(test_partial),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_scan_slides),
	};

	return cmocka_run_group_tests_name("watch_alert", tests, NULL, NULL);
}
