/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

/* Parse what was written; fails the test where it is not JSON. */
static json_t *parse(const struct weir_buf *b)
{
	json_error_t e;
	json_t *root;

	assert_false(b->failed);
	root = json_loadb(b->data, b->len,
			  JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
	if (!root)
		fail_msg("%s in %s", e.text, b->data);
	return root;
}

static void layout(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	weir_json_init(&j, &b);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_object(&j, "empty");
	weir_json_end_object(&j);
	weir_json_array(&j, "list");
	weir_json_str(&j, NULL, "a");
	weir_json_object(&j, NULL);
	weir_json_bool(&j, "yes", true);
	weir_json_bool(&j, "no", false);
	weir_json_end_object(&j);
	weir_json_array(&j, NULL);
	weir_json_end_array(&j);
	weir_json_end_array(&j);
	weir_json_str(&j, "absent", NULL);
	weir_json_int(&j, "last", -5);
	weir_json_end_object(&j);
	assert_string_equal(b.data, "{\"v\":1,\"empty\":{},\"list\":[\"a\","
				    "{\"yes\":true,\"no\":false},[]],\"last\":-5}");
	json_decref(parse(&b));
}

static void lines(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	weir_json_init(&j, &b);
	for (unsigned int i = 0; i < 2; i++) {
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "n", i);
		weir_json_end_object(&j);
		weir_buf_addc(&b, '\n');
	}
	assert_string_equal(b.data, "{\"n\":0}\n{\"n\":1}\n");
}

static void depth(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	weir_json_init(&j, &b);
	for (int i = 0; i < WEIR_JSON_DEPTH; i++)
		weir_json_array(&j, NULL);
	for (int i = 0; i < WEIR_JSON_DEPTH; i++)
		weir_json_end_array(&j);
	assert_int_equal(b.len, 2 * WEIR_JSON_DEPTH);
	json_decref(parse(&b));
}

/* Write [VALUE] and compare what jansson reads. */
static void round_trip(const char *in, size_t n, const char *want, size_t want_n)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;
	json_t *root, *val;

	weir_json_init(&j, &b);
	weir_json_array(&j, NULL);
	weir_json_strn(&j, NULL, in, n);
	weir_json_end_array(&j);
	root = parse(&b);
	val = json_array_get(root, 0);
	assert_int_equal(json_string_length(val), want_n);
	assert_memory_equal(json_string_value(val), want, want_n + 1);
	json_decref(root);
	for (size_t i = 0; i < b.len; i++) /* nothing that a terminal obeys */
		assert_true((unsigned char)b.data[i] >= 0x20 && b.data[i] != 0x7f);
}

static void strings(void **state)
{
	static const char *const same[] = {
		"", "plain", "\"", "\\", "a\"b\\c/", "\b\f\n\r\t", "\x01\x1f\x7f",
		"\xc2\x80\xc2\x9f\xc2\xa0", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x9f",
		"\xef\xbf\xbf\xf4\x8f\xbf\xbf", "ends in \xc3\xa9", "\n",
	};
	static const struct {
		const char *in, *out;
	} broken[] = {
		{ "\xff", "\xef\xbf\xbd" },
		{ "a\x80z", "a\xef\xbf\xbdz" },
		{ "\xc3", "\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xe2\x82z", "\xef\xbf\xbd\xef\xbf\xbdz" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(same); i++)
		round_trip(same[i], strlen(same[i]), same[i], strlen(same[i]));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(broken); i++)
		round_trip(broken[i].in, strlen(broken[i].in), broken[i].out,
			   strlen(broken[i].out));
	round_trip("a\0b", 3, "a\0b", 3);
}

/* Any bytes whatever give JSON; every code point survives. */
static void all_strings(void **state)
{
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		weir_autobuf struct weir_buf b = { 0 };
		struct weir_json j;
		char bytes[24];
		size_t n = (size_t)rand_r(&seed) % sizeof(bytes);

		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)(rand_r(&seed) >> 8);
		weir_json_init(&j, &b);
		weir_json_strn(&j, NULL, bytes, n);
		json_decref(parse(&b));
	}
	/* Each byte at each place of a string longer than a machine word. */
	for (int c = 0; c < 0x80; c++) {
		for (size_t at = 0; at < 20; at++) {
			char text[] = "~}zAa !#[]~0~}zAa !#";

			text[at] = (char)c;
			round_trip(text, 20, text, 20);
		}
	}
	for (unsigned int c = 1; c < 0x110000; c += c < 0x900 ? 1 : 257) {
		char text[5] = { 0 };

		if (c >= 0xd800 && c < 0xe000)
			continue;
		if (c < 0x80) {
			text[0] = (char)c;
		} else if (c < 0x800) {
			text[0] = (char)(0xc0 | c >> 6);
			text[1] = (char)(0x80 | (c & 0x3f));
		} else if (c < 0x10000) {
			text[0] = (char)(0xe0 | c >> 12);
			text[1] = (char)(0x80 | (c >> 6 & 0x3f));
			text[2] = (char)(0x80 | (c & 0x3f));
		} else {
			text[0] = (char)(0xf0 | c >> 18);
			text[1] = (char)(0x80 | (c >> 12 & 0x3f));
			text[2] = (char)(0x80 | (c >> 6 & 0x3f));
			text[3] = (char)(0x80 | (c & 0x3f));
		}
		round_trip(text, strlen(text), text, strlen(text));
	}
}

static void keys_are_escaped(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;
	json_t *root;

	(void)state;
	weir_json_init(&j, &b);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "a\"b", 1);
	weir_json_end_object(&j);
	root = parse(&b);
	assert_int_equal(json_integer_value(json_object_get(root, "a\"b")), 1);
	json_decref(root);
}

static void integers(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	weir_json_init(&j, &b);
	weir_json_array(&j, NULL);
	weir_json_uint(&j, NULL, UINT64_MAX);
	weir_json_int(&j, NULL, INT64_MIN);
	weir_json_int(&j, NULL, INT64_MAX);
	weir_json_int(&j, NULL, 0);
	weir_json_end_array(&j);
	assert_string_equal(b.data, "[18446744073709551615,-9223372036854775808,"
				    "9223372036854775807,0]");
}

static void check_double(double v)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;
	json_t *root;

	weir_json_init(&j, &b);
	weir_json_double(&j, NULL, v);
	root = parse(&b);
	assert_true(json_number_value(root) == v);
	json_decref(root);
}

static void doubles(void **state)
{
	static const double vals[] = {
		0, 1, -1.5, 0.1, 1.0 / 3, 1e300, DBL_MAX, DBL_MIN, 5e-324, 123456789.123,
	};
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(vals); i++)
		check_double(vals[i]);
	/* A decimal comma in the user's locale, where it is installed. */
	if (setlocale(LC_NUMERIC, "de_DE.UTF-8"))
		check_double(1.5);
	setlocale(LC_NUMERIC, "C");

	weir_json_init(&j, &b);
	weir_json_object(&j, NULL);
	weir_json_double(&j, "gone", NAN);
	weir_json_double(&j, "rate", 0.1);
	weir_json_array(&j, "list");
	weir_json_double(&j, NULL, INFINITY);
	weir_json_double(&j, NULL, 2);
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	assert_string_equal(b.data, "{\"rate\":0.1,\"list\":[null,2]}");
}

static void times(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_json j;

	(void)state;
	weir_json_init(&j, &b);
	weir_json_object(&j, NULL);
	weir_json_time(&j, "ts", 1767323045123456789);
	weir_json_end_object(&j);
	assert_string_equal(b.data, "{\"ts\":\"2026-01-02T03:04:05.123456789Z\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout),
		cmocka_unit_test(lines),
		cmocka_unit_test(depth),
		cmocka_unit_test(strings),
		cmocka_unit_test(all_strings),
		cmocka_unit_test(keys_are_escaped),
		cmocka_unit_test(integers),
		cmocka_unit_test(doubles),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
