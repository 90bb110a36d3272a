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
#include "cap/proxy/config_impl.h"

static const struct weir_proxy_flags no_flags;

static struct weir_proxy_config *load(const char *routes)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };

	weir_buf_adds(&text, "listen:\n"
			     "  - {address: 192.0.2.1:443, name: one}\n"
			     "  - {address: 192.0.2.2:443, name: two}\n"
			     "default: 192.0.2.9:1\n"
			     "routes:\n");
	weir_buf_adds(&text, routes);
	if (weir_proxy_config_parse(text.data, text.len, "f", &no_flags, &c, &err))
		fail_msg("%s\n%s", err.msg, text.data);
	return c;
}

/* The name of the route that is found; "-": none. */
static const char *find_on(const struct weir_proxy_config *c, const char *name, int listen,
			   const char *alpn, const char *source)
{
	struct weir_hello hello = { .state = WEIR_HELLO_DONE };
	struct weir_proxy_ask ask = { .listen = &c->listens[listen],
				      .name = name,
				      .hello = alpn ? &hello : NULL };
	const struct weir_proxy_route *r;

	assert_int_equal(weir_addr_parse(source, &ask.source), 0);
	if (alpn && *alpn) {
		hello.alpn[0] = (uint8_t)strlen(alpn);
		hello.alpn_len = (uint8_t)(1 + strlen(alpn));
		memcpy(hello.alpn + 1, alpn, strlen(alpn));
	}
	r = weir_proxy_route_find(c, &ask);
	return r ? r->name : "-";
}

static const char *find(const struct weir_proxy_config *c, const char *name)
{
	return find_on(c, name, 0, "", "203.0.113.1");
}

static void names(void **state)
{
	struct weir_proxy_config *c =
		load("  - {match: \"*\", name: any, backends: x}\n"
		     "  - {match: '/^r[0-9]+\\./', name: regex, backends: x}\n"
		     "  - {match: /0/, name: later, backends: x}\n"
		     "  - {match: \"*.example.org\", name: wild, backends: x}\n"
		     "  - {match: \"*.a.b.example.org\", name: long, backends: x}\n"
		     "  - {match: www.example.org, name: exact, backends: x}\n"
		     "  - {match: \"*.r1.example.net\", name: wild2, backends: x}\n");

	(void)state;
	assert_string_equal(find(c, "www.example.org"), "exact");
	assert_string_equal(find(c, "ww.example.org"), "wild");
	/* Any number of labels in front, but not none. */
	assert_string_equal(find(c, "x.www.example.org"), "wild");
	assert_string_equal(find(c, "a.b.c.d.example.org"), "wild");
	assert_string_equal(find(c, "example.org"), "any");
	assert_string_equal(find(c, "wwwexample.org"), "any");
	/* The longest wildcard, which needs a label in front, too. */
	assert_string_equal(find(c, "x.a.b.example.org"), "long");
	assert_string_equal(find(c, "a.b.example.org"), "wild");
	/* A wildcard before an expression, expressions in the file's order. */
	assert_string_equal(find(c, "r1.example.org"), "wild");
	assert_string_equal(find(c, "r10.example.com"), "regex");
	assert_string_equal(find(c, "x0.example.com"), "later");
	assert_string_equal(find(c, "x.r1.example.net"), "wild2");
	assert_string_equal(find(c, "r1.example.net"), "regex");
	assert_string_equal(find(c, "example.com"), "any");
	assert_string_equal(find(c, ""), "any");
	assert_string_equal(find(c, "."), "any");
	assert_string_equal(find(c, ".example.org"), "wild");
	weir_proxy_config_unref(c);
}

static void expressions(void **state)
{
	struct weir_proxy_config *c =
		load("  - {match: '/^API[.-]/', name: begin, backends: x}\n"
		     "  - {match: '/(^|\\.)example\\.(net|org)$/', name: end, backends: x}\n"
		     "  - {match: '/b{3}/', name: inside, backends: x}\n");

	(void)state;
	/* Without anchors it may be anywhere; case does not matter. */
	assert_string_equal(find(c, "api-1.x"), "begin");
	assert_string_equal(find(c, "x.api-1.x"), "-");
	assert_string_equal(find(c, "example.net"), "end");
	assert_string_equal(find(c, "a.example.org"), "end");
	assert_string_equal(find(c, "anexample.org"), "-");
	assert_string_equal(find(c, "abbbc.x"), "inside");
	assert_string_equal(find(c, "abbc.x"), "-");
	weir_proxy_config_unref(c);
}

static void conditions(void **state)
{
	struct weir_proxy_config *c =
		load("  - {match: a, name: h2, alpn: [h2, h3], backends: x}\n"
		     "  - {match: a, name: lan, source: [10.0.0.0/8, 2001:db8::/32], backends: x}\n"
		     "  - {match: a, name: two, listener: two, backends: x}\n"
		     "  - {match: a, name: both, alpn: x, source: 192.0.2.0/24, backends: x}\n"
		     "  - {match: \"*\", name: any-h2, alpn: h2, backends: x}\n"
		     "  - {match: \"*.b\", name: wild-lan, source: 10.0.0.0/8, backends: x}\n"
		     "  - {match: c.b, name: c-lan, source: 10.1.0.0/16, backends: x}\n");

	(void)state;
	assert_string_equal(find_on(c, "a", 0, "h2", "10.0.0.1"), "h2");
	assert_string_equal(find_on(c, "a", 0, "h3", "203.0.113.1"), "h2");
	assert_string_equal(find_on(c, "a", 0, "", "10.0.0.1"), "lan");
	assert_string_equal(find_on(c, "a", 0, "", "2001:db8::1"), "lan");
	assert_string_equal(find_on(c, "a", 1, "", "203.0.113.1"), "two");
	assert_string_equal(find_on(c, "a", 0, "x", "192.0.2.1"), "both");
	assert_string_equal(find_on(c, "a", 0, "x", "203.0.113.1"), "-");
	assert_string_equal(find_on(c, "a", 0, "", "203.0.113.1"), "-");
	/* HTTP has no ALPN. */
	assert_string_equal(find_on(c, "a", 0, NULL, "203.0.113.1"), "-");
	assert_string_equal(find_on(c, "z", 0, "h2", "203.0.113.1"), "any-h2");
	assert_string_equal(find_on(c, "z", 0, NULL, "203.0.113.1"), "-");
	/* A name whose conditions do not hold is as if it were not there. */
	assert_string_equal(find_on(c, "c.b", 0, "", "10.1.0.1"), "c-lan");
	assert_string_equal(find_on(c, "c.b", 0, "", "10.2.0.1"), "wild-lan");
	assert_string_equal(find_on(c, "c.b", 0, "h2", "203.0.113.1"), "any-h2");
	weir_proxy_config_unref(c);
}

/* ---- Against an oracle that tries every route */

static uint64_t seed = 1;

static unsigned int pick(unsigned int n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(seed >> 33) % n;
}

/* Of few letters and labels, so that names meet. */
static void make_name(char *out)
{
	unsigned int labels = 1 + pick(4);

	for (unsigned int i = 0; i < labels; i++) {
		if (i)
			*out++ = '.';
		for (unsigned int j = 1 + pick(2); j; j--)
			*out++ = (char)('a' + pick(2));
	}
	*out = '\0';
}

static bool ends_in(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && name[n - m - 1] == '.' && strcmp(name + n - m, suffix) == 0;
}

static const struct weir_proxy_route *oracle(const struct weir_proxy_config *c, const char *name)
{
	const struct weir_proxy_route *wild = NULL;

	for (size_t i = 0; i < c->n_routes; i++) {
		const struct weir_proxy_route *r = &c->routes[i];

		if (r->kind == WEIR_NAME_EXACT && strcmp(r->match, name) == 0)
			return r;
		if (r->kind == WEIR_NAME_WILDCARD && ends_in(name, r->match) &&
		    (!wild || strlen(r->match) > strlen(wild->match)))
			wild = r;
	}
	return wild;
}

static void add_random_routes(struct weir_buf *text, unsigned int n)
{
	char seen[200][32], name[32];
	unsigned int have = 0;

	while (have < n) {
		unsigned int i = 0;

		snprintf(seen[have], sizeof(seen[have]), "%s", pick(2) ? "*." : "");
		make_name(name);
		strcat(seen[have], name);
		while (strcmp(seen[i], seen[have]))
			i++;
		if (i < have)
			continue;
		weir_buf_addf(text, "  - {match: \"%s\", backends: x}\n", seen[have++]);
	}
}

static void random_names(void **state)
{
	(void)state;
	for (int round = 0; round < 50; round++) {
		weir_autobuf struct weir_buf text = { 0 };
		struct weir_proxy_config *c;
		char name[32];

		add_random_routes(&text, 1 + pick(200));
		c = load(text.data);
		for (int i = 0; i < 2000; i++) {
			const struct weir_proxy_route *r;

			make_name(name);
			r = oracle(c, name);
			assert_string_equal(find(c, name), r ? r->name : "-");
		}
		weir_proxy_config_unref(c);
	}
}

/* As many labels as a name can have, and more than are looked at. */
static void long_names(void **state)
{
	struct weir_proxy_config *c = load("  - {match: \"*.b\", name: b, backends: x}\n"
					   "  - {match: \"*.a.a.a.a\", name: a, backends: x}\n");
	char name[WEIR_HELLO_NAME];

	(void)state;
	for (size_t i = 0; i < 253; i++)
		name[i] = i % 2 ? '.' : 'a';
	name[253] = '\0';
	assert_string_equal(find(c, name), "a");
	name[252] = 'b';
	assert_string_equal(find(c, name), "b");
	memset(name, '.', 253);
	assert_string_equal(find(c, name), "-");
	memset(name, 'a', 253);
	assert_string_equal(find(c, name), "-");
	weir_proxy_config_unref(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),      cmocka_unit_test(expressions),
		cmocka_unit_test(conditions), cmocka_unit_test(random_names),
		cmocka_unit_test(long_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
