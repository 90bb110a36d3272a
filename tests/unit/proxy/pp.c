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
#include "cap/proxy/pp.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct weir_endpoint src, dst;

/* Read it as it comes byte by byte, then as a whole with bytes behind it. */
static int read_pp(const void *data, size_t n)
{
	const struct weir_endpoint none = { 0 };
	uint8_t *copy;
	int ret = 0;

	for (size_t i = 0; i <= n && !ret; i++) {
		copy = malloc(i + 1);
		memcpy(copy, data, i);
		src = dst = none;
		ret = weir_pp_read(copy, i, &src, &dst);
		if (ret <= 0) {
			assert_memory_equal(&src, &none, sizeof(none));
			assert_memory_equal(&dst, &none, sizeof(none));
		}
		if (ret > 0)
			assert_int_equal(ret, i);
		free(copy);
	}
	if (ret) {
		copy = malloc(n + 50);
		memcpy(copy, data, n);
		memset(copy + n, '\n', 50);
		assert_int_equal(weir_pp_read(copy, n + 50, &src, &dst), ret);
		free(copy);
	}
	return ret;
}

static void assert_ends(const char *from, const char *to)
{
	char text[WEIR_ENDPOINT_STRLEN];

	assert_string_equal(weir_endpoint_str(&src, text), from);
	assert_string_equal(weir_endpoint_str(&dst, text), to);
}

/* ---- Version 1 */

static void v1_good(void **state)
{
	static const struct {
		const char *line, *src, *dst;
	} cases[] = {
		{ "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", "192.0.2.1:56324",
		  "198.51.100.7:443" },
		{ "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", "255.255.255.255:65535",
		  "0.0.0.0:0" },
		{ "PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 1 2\r\n", "[2001:db8::1]:1",
		  "[2001:db8::2]:2" },
		/* The longest one, 104 bytes */
		{ "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n",
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535" },
		{ "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1", "[::1]:2" },
		{ "PROXY UNKNOWN\r\n", "", "" },
		{ "PROXY UNKNOWN \r\n", "", "" },
		{ "PROXY UNKNOWN anything at all 1 2 3\r\n", "", "" },
		/* The longest one that there is, 107 bytes */
		{ "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		  "", "" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		assert_int_equal(read_pp(cases[i].line, strlen(cases[i].line)),
				 strlen(cases[i].line));
		assert_ends(cases[i].src, cases[i].dst);
	}
}

static void v1_bad(void **state)
{
	static const char *const cases[] = {
		"proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY\tTCP4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 22\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n",
		"PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 4294967297 2\r\n",
		"PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n",
		"PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY TCP6 ::1%lo ::2 1 2\r\n",
		"PROXY TCP6 [::1] ::2 1 2\r\n",
		"PROXY UNKNOWNS\r\n",
		"PROXY \r\n",
		"PROXY \n",
		"GET / HTTP/1.1\r\n",
		"\r\nGET",
		"\x16\3\1",
		/* 108 bytes */
		"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n",
	};
	static const char nul[] = "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\0 3\r\n";

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		if (read_pp(cases[i], strlen(cases[i])) != -EINVAL)
			fail_msg("\"%s\" is read", cases[i]);
	assert_int_equal(read_pp(nul, sizeof(nul) - 1), -EINVAL);
	/* What no header begins with is told by its first byte. */
	assert_int_equal(weir_pp_read("G", 1, &src, &dst), -EINVAL);
	assert_int_equal(weir_pp_read("PROXZ", 5, &src, &dst), -EINVAL);
	assert_int_equal(weir_pp_read("\r\n\r\n\r", 5, &src, &dst), -EINVAL);
	assert_int_equal(weir_pp_read("", 0, &src, &dst), 0);
}

/* ---- Version 2 */

struct v2_case {
	const char *bytes; /* behind the signature */
	size_t n;
	int error; /* or 0 */
	const char *src, *dst;
};

#define V4 "\300\0\2\1\306\63\144\7\334\4\1\273" /* 192.0.2.1:56324 198.51.100.7:443 */
#define V6 "\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2"
#define MAPPED \
	"\0\0\0\0\0\0\0\0\0\0\377\377\300\0\2\1\0\0\0\0\0\0\0\0\0\0\377\377\300\0\2\2\0\1\0\2"

static void check_v2(const struct v2_case *c)
{
	uint8_t header[WEIR_PP_MAX];
	int ret;

	memcpy(header, SIGNATURE, 12);
	memcpy(header + 12, c->bytes, c->n);
	ret = read_pp(header, 12 + c->n);
	assert_int_equal(ret, c->error ? c->error : (int)(12 + c->n));
	if (ret > 0)
		assert_ends(c->src, c->dst);
}

static void v2(void **state)
{
	static const struct v2_case cases[] = {
		{ "\41\21\0\14" V4, 16, 0, "192.0.2.1:56324", "198.51.100.7:443" },
		{ "\41\41\0\44" V6, 40, 0, "[2001:db8::1]:1", "[2001:db8::2]:2" },
		{ "\41\41\0\44" MAPPED, 40, 0, "192.0.2.1:1", "192.0.2.2:2" },
		/* TLVs: NOOP, ALPN, one that nobody knows */
		{ "\41\21\0\32" V4 "\4\0\0\1\0\2h2\342\0\3abc", 30, 0, "192.0.2.1:56324",
		  "198.51.100.7:443" },
		/* LOCAL: whatever it carries */
		{ "\40\0\0\0", 4, 0, "", "" },
		{ "\40\21\0\14" V4, 16, 0, "", "" },
		{ "\40\377\0\3abc", 7, 0, "", "" },
		/* UNSPEC, datagrams: not this connection's */
		{ "\41\0\0\0", 4, 0, "", "" },
		{ "\41\0\0\3abc", 7, 0, "", "" },
		{ "\41\22\0\14" V4, 16, 0, "", "" },
		{ "\41\42\0\44" V6, 40, 0, "", "" },
		{ "\41\21\0\13" V4, 15, -EINVAL, "", "" }, /* no room for the addresses */
		{ "\41\41\0\14" V4, 16, -EINVAL, "", "" },
		{ "\41\61\0\44" V6, 40, -EINVAL, "", "" },
		{ "\41\21\0\15" V4 "\4", 17, -EINVAL, "", "" }, /* TLVs cut */
		{ "\41\21\0\16" V4 "\4\0", 18, -EINVAL, "", "" },
		{ "\41\21\0\17" V4 "\4\0\1", 19, -EINVAL, "", "" },
		{ "\41\21\0\22" V4 "\3\0\3abc", 18 + 4, -EINVAL, "", "" }, /* CRC of three */
		{ "\42\21\0\14" V4, 16, -EINVAL, "", "" },		   /* command 2 */
		{ "\61\21\0\14" V4, 16, -EINVAL, "", "" },		   /* version 3 */
		{ "\21\21\0\14" V4, 16, -EINVAL, "", "" },
		{ "\41\101\0\14" V4, 16, -EINVAL, "", "" }, /* family 4 */
		{ "\41\23\0\14" V4, 16, -EINVAL, "", "" },  /* protocol 3 */
		{ "\41\21\3\361", 4, -E2BIG, "", "" },
		{ "\40\0\377\377", 4, -E2BIG, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		check_v2(&cases[i]);
}

static void v2_longest(void **state)
{
	uint8_t header[WEIR_PP_MAX] = SIGNATURE "\41\21\3\360" V4 "\4\3\341";

	(void)state;
	assert_int_equal(read_pp(header, sizeof(header)), sizeof(header));
	assert_ends("192.0.2.1:56324", "198.51.100.7:443");
}

static void v2_unix(void **state)
{
	uint8_t header[16 + 216] = SIGNATURE "\41\61\0\330";
	uint8_t *paths = header + 16;

	(void)state;
	memcpy(paths, "/run/a", 7);
	memcpy(paths + 108, "/run/b", 7);
	assert_int_equal(read_pp(header, sizeof(header)), sizeof(header));
	assert_ends("unix:/run/a", "unix:/run/b");
	memset(paths, 'x', 108); /* without NUL */
	memset(paths + 108, 0, 108);
	assert_int_equal(read_pp(header, sizeof(header)), sizeof(header));
	assert_int_equal(src.len, sizeof(src.un));
	assert_int_equal(src.un.sun_path[107], 'x');
	assert_int_equal(dst.len, offsetof(struct sockaddr_un, sun_path));
	memcpy(paths, "\0abstract", 9);
	assert_int_equal(read_pp(header, sizeof(header)), sizeof(header));
	assert_int_equal(src.len, offsetof(struct sockaddr_un, sun_path));
}

/* The sum is another program's, which gives RFC 3720's (B.4) for 32 zeros. */
static void v2_crc(void **state)
{
	uint8_t header[] = SIGNATURE "\41\21\0\30" V4 "\3\0\4CRCC\4\0\2ab";
	const size_t n = sizeof(header) - 1, at = 16 + 12 + 3;
	static const uint8_t crc[] = { 0x79, 0x91, 0xf1, 0x89 };

	(void)state;
	memcpy(header + at, crc, sizeof(crc));
	assert_int_equal(read_pp(header, n), n);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		int ret;

		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ret = weir_pp_read(header, n, &src, &dst);
		/* Bits of the command may make it LOCAL, those of the type hide the sum. */
		if (ret > 0)
			assert_true(bit / 8 == 12 || bit / 8 == 13 || bit / 8 == at - 3);
		header[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* ---- Making */

static struct weir_endpoint endpoint(const char *text)
{
	struct weir_endpoint e = { 0 };

	if (*text)
		assert_int_equal(weir_endpoint_parse(text, &e), 0);
	return e;
}

static void made(void **state)
{
	static const struct {
		const char *src, *dst, *line; /* NULL: UNKNOWN */
	} cases[] = {
		{ "192.0.2.1:56324", "198.51.100.7:443",
		  "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n" },
		{ "[2001:db8::1]:1", "[::1]:443", "PROXY TCP6 2001:db8::1 ::1 1 443\r\n" },
		{ "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65534",
		  "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65534\r\n" },
		{ "192.0.2.1:1", "[2001:db8::1]:443", NULL },
		{ "[2001:db8::1]:1", "192.0.2.1:443", NULL },
		{ "unix:/run/a", "unix:/run/b", NULL },
		{ "", "192.0.2.1:443", NULL },
		{ "192.0.2.1:443", "", NULL },
	};
	uint8_t header[WEIR_PP_MAX];
	char from[WEIR_ENDPOINT_STRLEN], to[WEIR_ENDPOINT_STRLEN];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		const struct weir_endpoint a = endpoint(cases[i].src), b = endpoint(cases[i].dst);
		const char *line = cases[i].line ? cases[i].line : "PROXY UNKNOWN\r\n";

		for (int version = 1; version <= 2; version++) {
			size_t n = weir_pp_make(version, &a, &b, "a.example",
						(const uint8_t *)"\2h2\3foo", 7, header);

			if (version == 1) {
				assert_int_equal(n, strlen(line));
				assert_memory_equal(header, line, n);
			}
			assert_int_equal(read_pp(header, n), n);
			assert_ends(cases[i].line ? weir_endpoint_str(&a, from) : "",
				    cases[i].line ? weir_endpoint_str(&b, to) : "");
		}
	}
}

static void made_v2_byte_by_byte(void **state)
{
	static const uint8_t all[] = SIGNATURE "\41\21\0\35" V4 "\1\0\2h2\2\0\11a.example";
	static const uint8_t bare[] = SIGNATURE "\41\21\0\14" V4;
	static const uint8_t local[] = SIGNATURE "\40\0\0\14\2\0\11a.example";
	const struct weir_endpoint a = endpoint("192.0.2.1:56324"),
				   b = endpoint("198.51.100.7:443");
	const struct weir_endpoint none = { 0 };
	uint8_t header[WEIR_PP_MAX];

	(void)state;
	assert_int_equal(weir_pp_make(2, &a, &b, "a.example", (const uint8_t *)"\2h2\3foo", 7,
				      header),
			 sizeof(all) - 1);
	assert_memory_equal(header, all, sizeof(all) - 1);
	assert_int_equal(weir_pp_make(2, &a, &b, "", NULL, 0, header), sizeof(bare) - 1);
	assert_memory_equal(header, bare, sizeof(bare) - 1);
	assert_int_equal(weir_pp_make(2, &none, &b, "a.example", NULL, 0, header),
			 sizeof(local) - 1);
	assert_memory_equal(header, local, sizeof(local) - 1);
}

static void made_longest(void **state)
{
	const struct weir_endpoint a = endpoint("[2001:db8::1]:1"), b = endpoint("[2001:db8::2]:2");
	uint8_t header[WEIR_PP_MAX], alpn[255];
	char name[WEIR_PP_NAME_MAX + 1];
	size_t n;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(alpn, 'h', sizeof(alpn));
	alpn[0] = 254;
	n = weir_pp_make(2, &a, &b, name, alpn, sizeof(alpn), header);
	assert_int_equal(n, 16 + 36 + 3 + 254 + 3 + 255);
	assert_int_equal(read_pp(header, n), n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_good),	cmocka_unit_test(v1_bad),
		cmocka_unit_test(v2),		cmocka_unit_test(v2_longest),
		cmocka_unit_test(v2_unix),	cmocka_unit_test(v2_crc),
		cmocka_unit_test(made),		cmocka_unit_test(made_v2_byte_by_byte),
		cmocka_unit_test(made_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
