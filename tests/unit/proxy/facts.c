/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/proxy/account.h"
#include "cap/proxy/conn.h"
#include "cap/proxy/conn_facts.h"

static const char *const known_keys[] = {
#define X(id, key, kind, help) key,
	WEIR_CONN_KEYS(X)
#undef X
};
#define KEYS (sizeof(known_keys) / sizeof(known_keys[0]))

static struct weir_proxy_listen tls = { .name = (char *)"front" };
static struct weir_proxy_listen http = { .name = (char *)"plain", .protocol = WEIR_PROXY_HTTP };
static struct weir_proxy_route route = { .name = (char *)"example.com" };

static struct weir_endpoint at(const char *s)
{
	struct weir_endpoint e;

	assert_int_equal(weir_endpoint_parse(s, &e), 0);
	return e;
}

/* A connection of which everything is known. */
static struct weir_conn_facts whole(void)
{
	uint64_t began = weir_clock_mono() - 1000000000;
	struct weir_conn_facts f = {
		.id = 7,
		.client = at("192.0.2.1:50000"),
		.local = at("[2001:db8::1]:443"),
		.backend = at("10.0.0.5:8443"),
		.source = at("10.0.0.1:40000"),
		.name = "example.com",
		.alpn = "h2",
		.ech = true,
		.listen = &tls,
		.route = &route,
		.target = "app:8443",
		.state = WEIR_CONN_RELAY,
		.engine = "splice",
		.demoted = true,
		.end = WEIR_END_BACKEND_RESET,
		.error = -ECONNRESET,
		.began = began,
		.hello_at = began + 1000,
		.connected_at = began + 3000,
		.first_byte_at = began + 7000,
		.ended_at = began + 15000,
		.active_at = began + 14000,
		.attempts = 2,
		.bytes_in = 517,
		.bytes_out = 1ULL << 40,
	};

	return f;
}

static json_t *as_json(const struct weir_conn_facts *f, bool ended)
{
	struct weir_buf out = { 0 };
	struct weir_json j;
	json_t *ret;

	weir_json_init(&j, &out);
	weir_json_object(&j, NULL);
	weir_conn_json(f, ended, &j);
	weir_json_end_object(&j);
	ret = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(ret);
	weir_buf_free(&out);
	return ret;
}

static void is_text(json_t *j, const char *key, const char *want)
{
	assert_non_null(json_object_get(j, key));
	assert_string_equal(json_string_value(json_object_get(j, key)), want);
}

static void is_number(json_t *j, const char *key, long long want)
{
	assert_non_null(json_object_get(j, key));
	assert_int_equal(json_integer_value(json_object_get(j, key)), want);
}

static void ended_connection(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j = as_json(&f, true);

	(void)state;
	is_number(j, "id", 7);
	is_text(j, "remote_ip", "192.0.2.1");
	is_number(j, "remote_port", 50000);
	is_text(j, "local_ip", "2001:db8::1");
	is_number(j, "local_port", 443);
	is_text(j, "sni", "example.com");
	is_text(j, "alpn", "h2");
	assert_true(json_is_true(json_object_get(j, "ech")));
	is_text(j, "listener", "front");
	is_text(j, "route", "example.com");
	is_text(j, "target", "app:8443");
	is_text(j, "backend", "10.0.0.5:8443");
	is_text(j, "proxy_ip", "10.0.0.1");
	is_number(j, "proxy_port", 40000);
	is_text(j, "engine", "splice");
	is_text(j, "reason", "backend_reset");
	is_text(j, "error", "ECONNRESET");
	is_number(j, "attempts", 2);
	is_number(j, "bytes_in", 517);
	is_number(j, "bytes_out", 1LL << 40);
	is_number(j, "duration_ns", 15000);
	is_number(j, "hello_ns", 1000);
	is_number(j, "connect_ns", 2000);
	is_number(j, "first_byte_ns", 4000);
	assert_null(json_object_get(j, "state"));
	assert_null(json_object_get(j, "idle_ns"));
	assert_null(json_object_get(j, "host"));
	json_decref(j);
}

static void open_connection(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j = as_json(&f, false);

	(void)state;
	is_text(j, "state", "relay");
	assert_null(json_object_get(j, "ts"));
	assert_null(json_object_get(j, "reason"));
	assert_true(json_integer_value(json_object_get(j, "duration_ns")) >= 1000000000);
	assert_true(json_integer_value(json_object_get(j, "idle_ns")) >= 900000000);
	json_decref(j);
}

/* What is not known is absent; what is 0 and known is there. */
static void barely_begun(void **state)
{
	static const char *const want[] = { "began_ts", "id",	     "state",
					    "bytes_in", "bytes_out", "duration_ns" };
	struct weir_conn_facts f = { .id = 1, .began = weir_clock_mono() };
	json_t *j = as_json(&f, false);
	const char *key;
	json_t *value;
	size_t i = 0;

	(void)state;
	json_object_foreach(j, key, value)
	{
		assert_true(i < sizeof(want) / sizeof(want[0]));
		assert_string_equal(key, want[i++]);
	}
	assert_int_equal(i, sizeof(want) / sizeof(want[0]));
	json_decref(j);
}

/* The order is the table's, and each key has its turn. */
static void keys_in_order(void **state)
{
	struct weir_conn_facts f = whole();
	bool seen[KEYS] = { false };

	(void)state;
	for (int round = 0; round < 4; round++) {
		json_t *j, *value;
		const char *key;
		size_t i = 0;

		f.listen = round & 1 ? &tls : &http;
		j = as_json(&f, round & 2);
		json_object_foreach(j, key, value)
		{
			while (i < KEYS && strcmp(known_keys[i], key) != 0)
				i++;
			assert_true(i < KEYS);
			seen[i] = true;
		}
		json_decref(j);
	}
	for (size_t i = 0; i < KEYS; i++)
		if (!seen[i])
			fail_msg("%s never told", known_keys[i]);
}

static void unix_backend(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j;

	(void)state;
	f.backend = at("unix:/run/app.sock");
	f.source = (struct weir_endpoint){ 0 };
	j = as_json(&f, true);
	is_text(j, "backend", "unix:/run/app.sock");
	assert_null(json_object_get(j, "proxy_ip"));
	assert_null(json_object_get(j, "proxy_port"));
	json_decref(j);
}

static void clear_text(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j;

	(void)state;
	f.listen = &http;
	j = as_json(&f, true);
	is_text(j, "host", "example.com");
	assert_null(json_object_get(j, "sni"));
	assert_null(json_object_get(j, "ech"));
	json_decref(j);
}

static void renders(const struct weir_conn_facts *f, const char *format, const char *want)
{
	struct weir_buf out = { 0 };
	struct weir_error e;

	assert_int_equal(weir_conn_template_check(format, &e), 0);
	weir_conn_template(f, format, &out);
	assert_string_equal(out.data ? out.data : "", want);
	weir_buf_free(&out);
}

static void templates(void **state)
{
	struct weir_conn_facts f = whole();

	(void)state;
	renders(&f, "%{remote_ip} %{sni} -> %{backend} %{reason}",
		"192.0.2.1 example.com -> 10.0.0.5:8443 backend_reset");
	renders(&f, "100%% of %{bytes_in}", "100% of 517");
	renders(&f, "%%{sni}", "%{sni}");
	renders(&f, "%%%{id}%%", "%7%");
	renders(&f, "%{state} %{idle_ns} %{host}", "- - -");
	renders(&f, "%{ech}\t%{demoted}", "true\ttrue");
	renders(&f, "", "");
	f.name[0] = '\0';
	f.engine = NULL;
	f.error = 0;
	renders(&f, "[%{sni}] %{engine} %{error}", "[-] - -");
}

/* Every key, by itself: the same in a template as in JSON. */
static void template_says_what_json_says(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j = as_json(&f, true);

	(void)state;
	for (size_t i = 0; i < KEYS; i++) {
		json_t *value = json_object_get(j, known_keys[i]);
		char format[64], want[128];

		snprintf(format, sizeof(format), "%%{%s}", known_keys[i]);
		if (!value)
			snprintf(want, sizeof(want), "-");
		else if (json_is_string(value))
			snprintf(want, sizeof(want), "%s", json_string_value(value));
		else if (json_is_boolean(value))
			snprintf(want, sizeof(want), "%s", json_is_true(value) ? "true" : "false");
		else
			snprintf(want, sizeof(want), "%lld", (long long)json_integer_value(value));
		if (strstr(known_keys[i], "ts")) /* the clocks are read anew */
			continue;
		renders(&f, format, want);
	}
	json_decref(j);
}

/* What a client sends makes no second line and no second word. */
static void nothing_is_forged(void **state)
{
	struct weir_conn_facts f = whole();
	json_t *j;

	(void)state;
	strcpy(f.alpn, "h2 x\n\"\\\xff\x7f");
	renders(&f, "%{alpn}|", "h2\\x20x\\x0a\\x22\\x5c\\xff\\x7f|");
	j = as_json(&f, true);
	is_text(j, "alpn", "h2 x\n\"\\\xef\xbf\xbd\x7f");
	json_decref(j);
}

static void bad_templates(void **state)
{
	static const struct {
		const char *format, *part;
	} bad[] = {
		{ "%{snj}", "did you mean %{sni}?" },
		{ "%{remote_addr}", "unknown key \"remote_addr\"" },
		{ "%{qqqqqqqq}", "weir-proxy(8) lists them" },
		{ "%{}", "unknown key \"\"" },
		{ "%{sni", "is no key" },
		{ "%s", "\"%s\" is no key" },
		{ "100%", "is no key" },
		{ "%{sni}\n", "line break" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct weir_error e = { "" };

		assert_int_equal(weir_conn_template_check(bad[i].format, &e), -EINVAL);
		if (!strstr(e.msg, bad[i].part))
			fail_msg("%s: %s", bad[i].format, e.msg);
	}
}

static void every_end_has_its_words(void **state)
{
	(void)state;
	for (int i = 0; i < WEIR_ENDS; i++) {
		assert_non_null(weir_proxy_ends[i].word);
		assert_non_null(weir_proxy_ends[i].sentence);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(weir_proxy_ends[i].word, weir_proxy_ends[k].word);
	}
	for (int i = 0; i < WEIR_CONN_STATES; i++)
		assert_non_null(weir_conn_states[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ended_connection),
		cmocka_unit_test(open_connection),
		cmocka_unit_test(barely_begun),
		cmocka_unit_test(keys_in_order),
		cmocka_unit_test(unix_backend),
		cmocka_unit_test(clear_text),
		cmocka_unit_test(templates),
		cmocka_unit_test(template_says_what_json_says),
		cmocka_unit_test(nothing_is_forged),
		cmocka_unit_test(bad_templates),
		cmocka_unit_test(every_end_has_its_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
