/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cap/proxy/account.h"
#include "cap/proxy/config.h"
#include "base/prom.h"

/* Every total a number of its own. */
static void fill(uint64_t totals[WEIR_TOTALS])
{
	uint64_t ended = 0;

	for (unsigned int i = 0; i < WEIR_TOTALS; i++)
		totals[i] = 1000 + 7 * i;
	for (unsigned int i = 0; i < WEIR_ENDS; i++)
		ended += totals[WEIR_TOTAL_ENDED + i];
	totals[WEIR_TOTAL_ACCEPTED] = ended + 5;
	totals[WEIR_TOTAL_ENGINE + WEIR_ENGINE_AUTO] = 0;
	totals[WEIR_TOTAL_ENGINE_IN + WEIR_ENGINE_AUTO] = 0;
	totals[WEIR_TOTAL_ENGINE_OUT + WEIR_ENGINE_AUTO] = 0;
}

static json_t *as_json(const uint64_t totals[WEIR_TOTALS])
{
	struct weir_buf out = { 0 };
	struct weir_json j;
	json_t *ret;

	weir_json_init(&j, &out);
	weir_json_object(&j, NULL);
	weir_account_json(totals, &j);
	weir_json_end_object(&j);
	ret = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(ret);
	weir_buf_free(&out);
	return ret;
}

static uint64_t number(json_t *j, const char *key)
{
	assert_true(json_is_integer(json_object_get(j, key)));
	return (uint64_t)json_integer_value(json_object_get(j, key));
}

static uint64_t sum(json_t *j)
{
	const char *key;
	uint64_t n = 0;
	json_t *v;

	assert_true(json_is_object(j));
	json_object_foreach(j, key, v) n += (uint64_t)json_integer_value(v);
	return n;
}

static void the_law(json_t *j)
{
	uint64_t dropped = sum(json_object_get(j, "dropped"));
	uint64_t ended = sum(json_object_get(j, "ended"));

	assert_int_equal(number(j, "seen"), number(j, "passed") + dropped + number(j, "open"));
	assert_int_equal(number(j, "seen"), ended + number(j, "open"));
}

static void json_keeps_the_law(void **state)
{
	uint64_t totals[WEIR_TOTALS];
	json_t *j, *engines, *names;

	(void)state;
	fill(totals);
	j = as_json(totals);
	assert_string_equal(json_string_value(json_object_get(j, "verb")), "proxy");
	the_law(j);
	assert_int_equal(number(j, "open"), 5);
	assert_int_equal(json_object_size(json_object_get(j, "ended")), WEIR_ENDS);
	assert_null(json_object_get(json_object_get(j, "dropped"), "done"));
	assert_int_equal(number(json_object_get(j, "dropped"), "no_sni"),
			 totals[WEIR_TOTAL_ENDED + WEIR_END_NO_SNI]);
	assert_int_equal(number(j, "bytes_in"), totals[WEIR_TOTAL_BYTES_IN]);
	assert_int_equal(number(j, "log_lost"), totals[WEIR_TOTAL_LOG_LOST]);
	engines = json_object_get(j, "engines");
	assert_int_equal(json_object_size(engines), WEIR_ENGINES - 1);
	assert_int_equal(number(json_object_get(engines, "sockmap"), "bytes_out"),
			 totals[WEIR_TOTAL_ENGINE_OUT + WEIR_ENGINE_SOCKMAP]);
	names = json_object_get(j, "names");
	assert_int_equal(json_object_size(names), 3);
	assert_int_equal(number(names, "stale"), totals[WEIR_TOTAL_NAME_STALE]);
	json_decref(j);
}

static void nothing_happened(void **state)
{
	const uint64_t totals[WEIR_TOTALS] = { 0 };
	struct weir_buf out = { 0 };
	json_t *j = as_json(totals);

	(void)state;
	the_law(j);
	assert_int_equal(json_object_size(json_object_get(j, "dropped")), 0);
	assert_int_equal(json_object_size(json_object_get(j, "engines")), 0);
	json_decref(j);
	weir_account_text(totals, &out);
	assert_string_equal(out.data, "0 connections seen = 0 passed + 0 dropped + 0 open\n");
	weir_buf_free(&out);
}

static void text_says_the_same(void **state)
{
	struct weir_buf out = { 0 };
	uint64_t totals[WEIR_TOTALS];
	unsigned int lines = 0;

	(void)state;
	fill(totals);
	weir_account_text(totals, &out);
	for (const char *s = out.data; (s = strchr(s, '\n')); s++)
		lines++;
	/* The law; a line for each end, engine, and counter. */
	assert_int_equal(lines, 1 + WEIR_ENDS + (WEIR_ENGINES - 1) + 8);
	assert_non_null(strstr(out.data, "  passed 1,063: done: both ends closed"));
	assert_non_null(strstr(out.data, ": no_sni: the client named no server\n"));
	weir_buf_free(&out);
}

/* ---- Prometheus text, by its grammar */

struct family {
	char name[128], type[16];
	unsigned int series;
};

struct metrics {
	struct family family[64];
	unsigned int families;
	char seen[1024][256]; /* name and labels: no series comes twice */
	unsigned int series;
};

static const char *take_name(const char *s, char *ret, size_t size)
{
	size_t n = 0;

	assert_true(isalpha((unsigned char)*s) || *s == '_' || *s == ':');
	while (isalnum((unsigned char)s[n]) || s[n] == '_' || s[n] == ':')
		n++;
	assert_true(n < size);
	memcpy(ret, s, n);
	ret[n] = '\0';
	return s + n;
}

/* Behind a label's opening quote; returns what follows the closing one. */
static const char *take_value(const char *s)
{
	while (*s != '"') {
		assert_true(*s && *s != '\n');
		if (*s == '\\') {
			s++;
			assert_true(*s == '\\' || *s == '"' || *s == 'n');
		}
		s++;
	}
	return s + 1;
}

static const char *take_labels(const char *s)
{
	char name[64];

	do {
		s = take_name(s + 1, name, sizeof(name));
		assert_memory_equal(s, "=\"", 2);
		s = take_value(s + 2);
	} while (*s == ',');
	assert_int_equal(*s, '}');
	return s + 1;
}

static const char *take_series(const char *s, struct metrics *m)
{
	struct family *f = &m->family[m->families - 1];
	const char *start = s;
	char name[128], *end;

	assert_true(m->families > 0);
	s = take_name(s, name, sizeof(name));
	assert_string_equal(name, f->name);
	if (*s == '{')
		s = take_labels(s);
	assert_true((size_t)(s - start) < sizeof(m->seen[0]) && m->series < 1024);
	memcpy(m->seen[m->series], start, (size_t)(s - start));
	for (unsigned int i = 0; i < m->series; i++)
		assert_string_not_equal(m->seen[i], m->seen[m->series]);
	m->series++;
	f->series++;
	assert_int_equal(*s, ' ');
	assert_true(isdigit((unsigned char)s[1]));
	strtoull(s + 1, &end, 10);
	return end;
}

/* HELP, then TYPE of the same family, which begins here and nowhere else. */
static const char *take_head(const char *s, struct metrics *m)
{
	struct family *f = &m->family[m->families++];
	char again[128];

	assert_true(m->families <= 64);
	s = take_name(s + sizeof("# HELP ") - 1, f->name, sizeof(f->name));
	for (unsigned int i = 0; i + 1 < m->families; i++)
		assert_string_not_equal(m->family[i].name, f->name);
	assert_int_equal(*s, ' ');
	s = strchr(s, '\n');
	assert_memory_equal(s, "\n# TYPE ", 8);
	s = take_name(s + 8, again, sizeof(again));
	assert_string_equal(again, f->name);
	assert_int_equal(*s, ' ');
	s = take_name(s + 1, f->type, sizeof(f->type));
	assert_true(!strcmp(f->type, "counter") || !strcmp(f->type, "gauge"));
	assert_int_equal(!strcmp(f->type, "counter"),
			 strlen(f->name) > 6 && !strcmp(f->name + strlen(f->name) - 6, "_total"));
	return s;
}

static void parse(const char *s, struct metrics *m)
{
	memset(m, 0, sizeof(*m));
	while (*s) {
		s = *s == '#' ? take_head(s, m) : take_series(s, m);
		assert_int_equal(*s, '\n');
		s++;
	}
	for (unsigned int i = 0; i < m->families; i++)
		assert_true(m->family[i].series > 0);
}

static void prometheus_text(void **state)
{
	static struct metrics m;
	struct weir_buf out = { 0 };
	uint64_t totals[WEIR_TOTALS];
	char want[128];

	(void)state;
	fill(totals);
	weir_account_prometheus(totals, &out);
	parse(out.data, &m);
	/* accepted, open, ends, 8 counters, engines thrice: auto is never used */
	assert_int_equal(m.series, 2 + WEIR_ENDS + 8 + 3 * (WEIR_ENGINES - 1));
	snprintf(want, sizeof(want), "\nweir_proxy_ended_total{reason=\"no_sni\"} %llu\n",
		 (unsigned long long)totals[WEIR_TOTAL_ENDED + WEIR_END_NO_SNI]);
	assert_non_null(strstr(out.data, want));
	assert_non_null(strstr(out.data, "\nweir_proxy_open_connections 5\n"));
	weir_buf_free(&out);
}

static void labels_are_escaped(void **state)
{
	static struct metrics m;
	const struct weir_prom_label labels[] = {
		{ "backend", "unix:/a\"b\\c\nd" },
		{ "other", "gr\xc3\xbc\xc3\x9f\xff" },
		{ NULL, NULL },
	};
	struct weir_buf out = { 0 };
	const struct weir_prom p = { &out, "proxy" };

	(void)state;
	weir_prom_head(&p, "x", "gauge", "A test.");
	weir_prom_value(&p, "x", labels, UINT64_MAX);
	assert_string_equal(out.data, "# HELP weir_proxy_x A test.\n# TYPE weir_proxy_x gauge\n"
				      "weir_proxy_x{backend=\"unix:/a\\\"b\\\\c\\nd\","
				      "other=\"gr\xc3\xbc\xc3\x9f\xef\xbf\xbd\"} "
				      "18446744073709551615\n");
	parse(out.data, &m);
	weir_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_keeps_the_law), cmocka_unit_test(nothing_happened),
		cmocka_unit_test(text_says_the_same), cmocka_unit_test(prometheus_text),
		cmocka_unit_test(labels_are_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
