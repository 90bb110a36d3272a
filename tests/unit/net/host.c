/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/host.h"

/* At once, and as every cut in two, and bytewise: the same. */
static enum weir_hello_state find(const char *data, size_t n, char name[WEIR_HELLO_NAME])
{
	char other[WEIR_HELLO_NAME] = "?";
	enum weir_hello_state state = weir_host_find(data, n, 0, name), now = WEIR_HELLO_MORE;

	for (size_t cut = 0; cut <= n; cut++) {
		char *copy = malloc(cut + 1);

		memcpy(copy, data, cut);
		now = weir_host_find(copy, cut, 0, other);
		free(copy);
		if (now == WEIR_HELLO_MORE)
			now = weir_host_find(data, n, cut, other);
		assert_int_equal(now, state);
		if (state == WEIR_HELLO_DONE)
			assert_string_equal(other, name);
	}
	for (size_t i = 0; i < n; i++) {
		now = weir_host_find(data, i + 1, i, other);
		if (now != WEIR_HELLO_MORE)
			break;
	}
	assert_int_equal(now, state);
	if (state == WEIR_HELLO_DONE)
		assert_string_equal(other, name);
	return state;
}

#define GET "GET / HTTP/1.1\r\n"
#define END "\r\n\r\n"

static const struct {
	const char *head, *name; /* NULL: malformed */
} known[] = {
	{ GET "Host: example.com" END, "example.com" },
	{ GET "Host: EXAMPLE.Com" END, "example.com" },
	{ GET "hOST:example.com" END, "example.com" },
	{ GET "Host: \t example.com \t" END, "example.com" },
	{ GET "Host: example.com." END, "example.com" },
	{ GET "Host: example.com:8080" END, "example.com" },
	{ GET "Host: example.com.:65535" END, "example.com" },
	{ GET "Host: example.com:" END, "example.com" },
	{ GET "Host: 192.0.2.1:80" END, "192.0.2.1" },
	{ GET "Host: [2001:DB8::1]" END, "2001:db8::1" },
	{ GET "Host: [::1]:8080" END, "::1" },
	{ GET "Host: [::1]:" END, "::1" },
	{ GET "Host:" END, "" },
	{ GET "Host:  " END, "" },
	{ GET "Accept: */*\r\nHost: a_b-1.example\r\nX: y" END, "a_b-1.example" },
	{ GET "Hosts: a\r\nX-Host: b\r\nHos: c" END, "" },
	{ "GET / HTTP/1.0" END, "" },
	{ "M-SEARCH * HTTP/1.1\r\nHost: a" END, "a" },
	{ "OPTIONS * HTTP/1.1\r\nHost: a" END, "a" },
	{ "\r\n" GET "Host: a" END, "a" },
	{ "\n" GET "Host: a" END, "a" },
	{ "GET / HTTP/1.1\nHost: a\n\n", "a" },
	{ "GET / HTTP/1.1\nHost: a\n\r\n", "a" },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\n", "a" },
	{ GET "Host: a" END "Host: b" END, "a" }, /* its body */
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9" END "\r\n\r\nabcde", "a" },
	/* The target outweighs the field. */
	{ "GET http://b.example/ HTTP/1.1\r\nHost: a" END, "b.example" },
	{ "GET HTTP://B.example:80?x HTTP/1.1\r\nHost: a" END, "b.example" },
	{ "GET https://b.example HTTP/1.1" END, "b.example" },
	{ "GET http://[::2]:80/ HTTP/1.1" END, "::2" },
	{ "GET /http://b.example/ HTTP/1.1\r\nHost: a" END, "a" },
	{ "GET http:/b.example HTTP/1.1\r\nHost: a" END, "a" },
	{ "CONNECT b.example:443 HTTP/1.1\r\nHost: a" END, "a" },
	{ "GET http:///x HTTP/1.1\r\nHost: a" END, NULL },
	{ "GET http://u@b.example/ HTTP/1.1\r\nHost: a" END, NULL },
	{ "GET http://b.example/ HTTP/1.1\r\nHost: a b" END, NULL },
	/* Twice */
	{ GET "Host: a\r\nHost: a" END, NULL },
	{ GET "Host: a\r\nX: y\r\nhost: b" END, NULL },
	{ GET "Host:\r\nHost: a" END, NULL },
	/* Bad ones */
	{ GET "Host: a b" END, NULL },
	{ GET "Host: a/b" END, NULL },
	{ GET "Host: u@a" END, NULL },
	{ GET "Host: a?b" END, NULL },
	{ GET "Host: a\\b" END, NULL },
	{ GET "Host: a\rb" END, NULL },
	{ GET "Host: .a" END, NULL },
	{ GET "Host: :80" END, NULL },
	{ GET "Host: a:b" END, NULL },
	{ GET "Host: a:65536" END, NULL },
	{ GET "Host: a:99999999999999999999" END, NULL },
	{ GET "Host: a:-1" END, NULL },
	{ GET "Host: ::1" END, NULL },
	{ GET "Host: [::1" END, NULL },
	{ GET "Host: [::1]80" END, NULL },
	{ GET "Host: []" END, NULL },
	{ GET "Host: [a]" END, NULL },
	{ GET "Host: [v1.x]" END, NULL },
	{ GET "Host: a]" END, NULL },
	{ GET "Host: b\xc3\xbc"
	      "cher" END,
	  NULL },
	/* Bad heads */
	{ GET " Host: a" END, NULL },
	{ GET "X: y\r\n Host: a" END, NULL },
	{ GET "X: y\r\n\tz\r\nHost: a" END, NULL },
	{ GET "Host : a" END, NULL },
	{ GET "Host" END, NULL },
	{ GET "X y\r\nHost: a" END, NULL },
	{ GET ": a" END, NULL },
	{ GET "X: a\rHost: b" END, NULL },
	{ "GET  / HTTP/1.1" END, NULL },
	{ "GET /a b HTTP/1.1" END, NULL },
	{ "GET  HTTP/1.1" END, NULL },
	{ "GET /\r HTTP/1.1" END, NULL },
};

static void heads(void **state)
{
	char name[WEIR_HELLO_NAME];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(known); i++) {
		enum weir_hello_state now;

		now = find(known[i].head, strlen(known[i].head), name);
		if (now != (known[i].name ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED))
			fail_msg("\"%s\" gives %d", known[i].head, now);
		if (known[i].name)
			assert_string_equal(name, known[i].name);
	}
}

static void nul(void **state)
{
	static const char in_host[] = GET "Host: a\0b" END;
	static const char in_field[] = GET "X: a\0b\r\nHost: a" END;
	static const char in_target[] = "GET /\0 HTTP/1.1\r\nHost: a" END;
	char name[WEIR_HELLO_NAME];

	(void)state;
	assert_int_equal(find(in_host, sizeof(in_host) - 1, name), WEIR_HELLO_MALFORMED);
	assert_int_equal(find(in_field, sizeof(in_field) - 1, name), WEIR_HELLO_MALFORMED);
	assert_int_equal(find(in_target, sizeof(in_target) - 1, name), WEIR_HELLO_MALFORMED);
}

/* Told as soon as it can be, with the head's end far away. */
static void not_http(void **state)
{
	static const char *const cases[] = {
		"\x16",
		"\r\n\r",
		"\n\n",
		"\rG",
		" GET",
		"SSH-2.0-OpenSSH_9.2\r",
		"GET\t",
		"EHLO example.com\r\n",
		"GET /\r\n",
		"GET / HTTP/2.0\r\n",
		"GET / HTTP/1.\r\n",
		"GET / HTTP/1.x\r\n",
		"GET / HTTP/1.10\r\n",
		"GET / http/1.1\r\n",
		"GET HTTP/1.1\r\n",
		"GET / HTTP/1.1 \r\n",
		"PRI * HTTP/2.0\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\n\r\n",
	};
	char name[WEIR_HELLO_NAME];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i]);

		if (find(cases[i], n, name) != WEIR_HELLO_NOT_TLS)
			fail_msg("\"%s\" is not told", cases[i]);
	}
	assert_int_equal(find("", 0, name), WEIR_HELLO_MORE);
	assert_int_equal(find("\r", 1, name), WEIR_HELLO_MORE);
	assert_int_equal(find("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDE", 31, name), WEIR_HELLO_MORE);
	assert_int_equal(find(GET "Host: a\r\n", 25, name), WEIR_HELLO_MORE);
}

static void the_longest_head(void **state)
{
	static char data[WEIR_HOST_MAX + 1];
	char name[WEIR_HELLO_NAME];
	int n = snprintf(data, sizeof(data), GET "Host: a\r\nX: ");

	(void)state;
	memset(data + n, 'x', sizeof(data) - (size_t)n);
	assert_int_equal(weir_host_find(data, WEIR_HOST_MAX - 1, 0, name), WEIR_HELLO_MORE);
	assert_int_equal(weir_host_find(data, WEIR_HOST_MAX, 0, name), WEIR_HELLO_TOO_LONG);
	assert_int_equal(weir_host_find(data, WEIR_HOST_MAX + 1, 0, name), WEIR_HELLO_TOO_LONG);
	memcpy(data + WEIR_HOST_MAX - 3, END, 4); /* one byte too far */
	assert_int_equal(weir_host_find(data, sizeof(data), 0, name), WEIR_HELLO_TOO_LONG);
	memcpy(data + WEIR_HOST_MAX - 4, END, 4);
	assert_int_equal(weir_host_find(data, sizeof(data), 0, name), WEIR_HELLO_DONE);
	assert_string_equal(name, "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads),
		cmocka_unit_test(nul),
		cmocka_unit_test(not_http),
		cmocka_unit_test(the_longest_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
