/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/dnsmsg.h"

#define HEAD(flags, qd, an) "\x12\x34" flags "\0" qd "\0" an "\0\0\0\0"
#define QUERY "\x01\x00"
#define ANSWER "\x81\x80"
#define EXAMPLE "\7example\3com\0" /* at 12 of a message, 13 bytes */
#define IN_A "\0\1\0\1"
#define TTL "\0\0\1\x2c"

/* A message to its very length, so that reading behind it is found. */
struct message {
	uint8_t *bytes;
	struct weir_dnsmsg m;
};

static struct message begin(const void *data, size_t n)
{
	struct message x = { .bytes = malloc(n ? n : 1) };

	memcpy(x.bytes, data, n);
	assert_int_equal(weir_dnsmsg_begin(&x.m, x.bytes, n), 0);
	return x;
}

#define BEGIN(literal) begin(literal, sizeof(literal) - 1)

static void query(void **state)
{
	struct message x = BEGIN(HEAD(QUERY, "\1", "\0") "\7eXample\3com\0" IN_A);
	struct weir_dnsmsg_record r;

	(void)state;
	assert_int_equal(x.m.id, 0x1234);
	assert_false(x.m.response);
	assert_true(x.m.recursion_desired);
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_int_equal(r.section, WEIR_DNSMSG_QUESTION);
	assert_string_equal(r.name, "eXample.com");
	assert_int_equal(r.type, WEIR_DNSMSG_A);
	assert_int_equal(r.class, WEIR_DNSMSG_CLASS_IN);
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 0);
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 0);
	free(x.bytes);
}

static void answers(void **state)
{
	struct message x = BEGIN(HEAD(ANSWER, "\1", "\4") EXAMPLE IN_A
				 "\xc0\x0c\0\5\0\1" TTL "\0\6\3www\xc0\x0c"
				 "\3www\xc0\x0c" IN_A TTL "\0\4\xc0\0\2\1"
				 "\xc0\x0c\0\x1c\0\1" TTL
				 "\0\x10\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
				 "\xc0\x0c\0\x41\0\1" TTL "\0\x0a\0\1\0\0\1\0\3\2h2");
	char target[WEIR_DNSMSG_NAME], text[WEIR_ADDR_STRLEN];
	struct weir_dnsmsg_record r;
	struct weir_addr addr;

	(void)state;
	assert_true(x.m.response && x.m.recursion_available && !x.m.truncated);
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_false(weir_dnsmsg_addr(&x.m, &r, &addr)); /* a question has none */

	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_int_equal(r.section, WEIR_DNSMSG_ANSWER);
	assert_string_equal(r.name, "example.com");
	assert_int_equal(r.ttl, 300);
	assert_true(weir_dnsmsg_target(&x.m, &r, target));
	assert_string_equal(target, "www.example.com");
	assert_false(weir_dnsmsg_addr(&x.m, &r, &addr));

	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_string_equal(r.name, "www.example.com");
	assert_true(weir_dnsmsg_addr(&x.m, &r, &addr));
	assert_string_equal(weir_addr_str(&addr, text), "192.0.2.1");
	assert_false(weir_dnsmsg_target(&x.m, &r, target));

	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_true(weir_dnsmsg_addr(&x.m, &r, &addr));
	assert_string_equal(weir_addr_str(&addr, text), "2001:db8::1");

	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_int_equal(r.type, WEIR_DNSMSG_HTTPS);
	assert_true(weir_dnsmsg_target(&x.m, &r, target));
	assert_string_equal(target, ".");
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 0);
	free(x.bytes);
}

/* Names that lead nowhere, round in circles, forward, or are too long. */
static void bad_names(void **state)
{
	static uint8_t chain[12 + 5 * 64 + 20];
	static const struct {
		const char *bytes;
		size_t n;
	} bad[] = {
#define BAD(name) { HEAD(QUERY, "\1", "\0") name, sizeof(HEAD(QUERY, "\1", "\0") name) - 1 }
		BAD("\xc0\x0c" IN_A),	   /* to itself */
		BAD("\xc0\x0e\1a\0" IN_A), /* forward */
		BAD("\1a\xc0\x0c" IN_A),   /* back into the name itself */
		BAD("\xff\xff" IN_A),	   /* behind the end */
		BAD("\x40"
		    "a\0" IN_A), /* neither a label nor a pointer */
		BAD("\x80\0" IN_A),
		BAD("\xc0"),
		BAD("\7exampl"),
		BAD("\7example"),
		BAD("\7example\0\0\1\0"),
#undef BAD
	};
	struct weir_dnsmsg_record r;
	size_t at = 12;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bad); i++) {
		struct message x = begin(bad[i].bytes, bad[i].n);

		assert_int_equal(weir_dnsmsg_next(&x.m, &r), -EBADMSG);
		assert_int_equal(weir_dnsmsg_next(&x.m, &r), -EBADMSG);
		free(x.bytes);
	}
	/* 4 x 64 + 1 bytes: one label too many. */
	memcpy(chain, HEAD(QUERY, "\1", "\0"), 12);
	for (int i = 0; i < 4; i++, at += 64) {
		chain[at] = 63;
		memset(chain + at + 1, 'a', 63);
	}
	memcpy(chain + at, "\0" IN_A, 5);
	{
		struct message x = begin(chain, at + 5);

		assert_int_equal(weir_dnsmsg_next(&x.m, &r), -EBADMSG);
		free(x.bytes);
	}
	chain[12 + 3 * 64] = 61; /* 255 bytes: the longest there is */
	memcpy(chain + 12 + 3 * 64 + 62, "\0" IN_A, 5);
	{
		struct message x = begin(chain, at + 3);

		assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
		assert_int_equal(strlen(r.name), 253);
		free(x.bytes);
	}
}

/* Each pointer leads further back than the one before. */
static void pointer_chain(void **state)
{
	uint8_t bytes[12 + 7 + 100 * 8] = HEAD(QUERY, "\x65", "\0") "\1a\0" IN_A;
	struct weir_dnsmsg_record r;
	char want[300] = "a";
	size_t at = 12, end = 19;
	struct message x;

	(void)state;
	for (int i = 0; i < 100; i++, at = end, end += 8) {
		memcpy(bytes + end, "\1b\xc0\0" IN_A, 8);
		bytes[end + 2] |= (uint8_t)(at >> 8);
		bytes[end + 3] = (uint8_t)at;
	}
	x = begin(bytes, end);
	for (int i = 0; i <= 100; i++) {
		assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
		assert_string_equal(r.name, want);
		memmove(want + 2, want, strlen(want) + 1);
		memcpy(want, "b.", 2);
	}
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 0);
	free(x.bytes);
}

static void escapes(void **state)
{
	struct message x = BEGIN(HEAD(QUERY, "\1", "\0") "\5a.b\\c\3\0\xe4 \0" IN_A);
	struct weir_dnsmsg_record r;

	(void)state;
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
	assert_string_equal(r.name, "a\\.b\\\\c.\\000\\228\\032");
	free(x.bytes);
}

static void targets(void **state)
{
	struct message x = BEGIN(
		HEAD(ANSWER, "\0", "\5") "\0\0\x0f\0\1" TTL "\0\4\0\x0a\1m" /* MX without its end */
					 "\0\0\x0f\0\1" TTL "\0\5\0\x0a\1m\0"		/* MX */
					 "\0\0\x21\0\1" TTL "\0\x09\0\0\0\0\0\x50\1s\0" /* SRV */
					 "\0\0\5\0\1" TTL
					 "\0\4\1c\0x" /* CNAME with something behind it */
					 "\0\0\1\0\1" TTL "\0\3\xc0\0\2" /* A of three bytes */);
	static const char *const want[] = { NULL, "m", "s", NULL, NULL };
	char target[WEIR_DNSMSG_NAME];
	struct weir_dnsmsg_record r;
	struct weir_addr addr;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(want); i++) {
		assert_int_equal(weir_dnsmsg_next(&x.m, &r), 1);
		assert_string_equal(r.name, ".");
		assert_int_equal(weir_dnsmsg_target(&x.m, &r, target), want[i] != NULL);
		if (want[i])
			assert_string_equal(target, want[i]);
		assert_false(weir_dnsmsg_addr(&x.m, &r, &addr));
	}
	assert_int_equal(weir_dnsmsg_next(&x.m, &r), 0);
	free(x.bytes);
}

/* Cut anywhere, what is whole is read, and nothing else. */
static void cuts(void **state)
{
	static const char whole[] = HEAD(ANSWER, "\1", "\2") EXAMPLE IN_A
		"\xc0\x0c" IN_A TTL "\0\4\xc0\0\2\1"
		"\xc0\x0c" IN_A TTL "\0\4\xc0\0\2\2";
	static const size_t ends[] = { 12 + 13 + 4, 12 + 13 + 4 + 16, 12 + 13 + 4 + 32 };
	struct weir_dnsmsg_record r;
	struct weir_dnsmsg m;

	(void)state;
	assert_int_equal(sizeof(whole) - 1, ends[2]);
	for (size_t n = 0; n < 12; n++)
		assert_int_equal(weir_dnsmsg_begin(&m, whole, n), -EBADMSG);
	for (size_t n = 12; n < sizeof(whole); n++) {
		struct message x = begin(whole, n);
		int read = 0, more;

		while ((more = weir_dnsmsg_next(&x.m, &r)) > 0)
			read++;
		assert_int_equal(read, (n >= ends[0]) + (n >= ends[1]) + (n >= ends[2]));
		assert_int_equal(more, n == ends[2] ? 0 : -EBADMSG);
		free(x.bytes);
	}
}

static void words(void **state)
{
	char buf[WEIR_DNSMSG_TYPE_NAME];

	(void)state;
	assert_string_equal(weir_dnsmsg_type_name(28, buf), "AAAA");
	assert_string_equal(weir_dnsmsg_type_name(65, buf), "HTTPS");
	assert_string_equal(weir_dnsmsg_type_name(65535, buf), "TYPE65535");
	assert_string_equal(weir_dnsmsg_rcode_name(3), "NXDOMAIN");
	assert_null(weir_dnsmsg_rcode_name(15));
	assert_int_equal(weir_dnsmsg_tcp_len((const uint8_t *)"\1\2"), 258);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(query),     cmocka_unit_test(answers),
		cmocka_unit_test(bad_names), cmocka_unit_test(pointer_chain),
		cmocka_unit_test(escapes),   cmocka_unit_test(targets),
		cmocka_unit_test(cuts),	     cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
