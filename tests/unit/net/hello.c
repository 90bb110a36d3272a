/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "net/hello.h"
#include "hello_maker.h"
#include "hello_samples.h"

#define NAME "www.example.com"

static uint8_t message[HELLO_BYTES], wire[HELLO_BYTES];

static const uint16_t tls13[] = { 0x0304, 0x0303 };
static const uint16_t greased[] = { 0x8a8a, 0x0304, 0x0303 };

static struct hello_parts usual(const char *name)
{
	return (struct hello_parts){
		.sni = true,
		.name = name,
		.name_len = strlen(name),
		.alpn = "\2h2\10http/1.1",
		.alpn_len = 12,
		.versions = tls13,
		.n_versions = 2,
		.session_id_len = 32,
	};
}

/* What a browser sends: GREASE everywhere, a post-quantum key share, GREASE ECH. */
static struct hello_parts browser(void)
{
	struct hello_parts p = usual(NAME);

	p.versions = greased;
	p.n_versions = 3;
	p.key_share_len = 1216;
	p.grease = p.ech = true;
	return p;
}

static size_t make(const struct hello_parts *p)
{
	size_t n = hello_message(p, message);

	return hello_records(message, n, 0, HELLO_RECORD_MAX, wire);
}

static struct weir_hello feed_all(const uint8_t *data, size_t n)
{
	struct weir_hello h;

	weir_hello_init(&h);
	assert_int_equal(weir_hello_feed(&h, data, n), 0);
	weir_hello_free(&h);
	return h;
}

static struct weir_hello feed_bytes(const uint8_t *data, size_t n)
{
	struct weir_hello h;

	weir_hello_init(&h);
	for (size_t i = 0; i < n; i++) {
		uint8_t *one = malloc(1);

		*one = data[i];
		assert_int_equal(weir_hello_feed(&h, one, 1), 0);
		free(one);
	}
	weir_hello_free(&h);
	return h;
}

static struct weir_hello feed_two(const uint8_t *data, size_t n, size_t cut)
{
	struct weir_hello h;

	weir_hello_init(&h);
	assert_int_equal(weir_hello_feed(&h, data, cut), 0);
	assert_int_equal(weir_hello_feed(&h, data + cut, n - cut), 0);
	weir_hello_free(&h);
	return h;
}

static void assert_named(const struct weir_hello *h, const char *name)
{
	assert_int_equal(h->state, WEIR_HELLO_DONE);
	assert_string_equal(h->name, name);
}

static void assert_state(size_t n, enum weir_hello_state want)
{
	assert_int_equal(feed_all(wire, n).state, want);
	assert_int_equal(feed_bytes(wire, n).state, want);
}

/* ---- What real clients send */

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned int byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

static void captured(void **state)
{
	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(hello_samples); i++) {
		const struct hello_sample *s = &hello_samples[i];
		const size_t n = from_hex(s->hex, wire);

		for (size_t cut = 0; cut <= n; cut++) {
			struct weir_hello h = feed_two(wire, n, cut);

			assert_named(&h, s->name);
			assert_int_equal(h.version, s->version);
			assert_int_equal(h.early_data, s->early_data);
			assert_false(h.ech);
			assert_int_equal(h.alpn_len, strlen(s->alpn));
			assert_memory_equal(h.alpn, s->alpn, h.alpn_len);
		}
	}
}

static void of_a_browser(void **state)
{
	struct hello_parts p = browser();
	struct weir_hello h;

	(void)state;
	for (p.turn = 0; p.turn < HELLO_EXTENSIONS; p.turn++) {
		size_t n = make(&p);

		assert_true(n > 1460); /* more than one segment */
		h = feed_two(wire, n, 1460);
		assert_named(&h, NAME);
		assert_true(h.ech);
		assert_int_equal(h.version, 0x0304);
		assert_true(weir_hello_has_alpn(&h, "h2"));
		assert_true(weir_hello_has_alpn(&h, "http/1.1"));
		assert_false(weir_hello_has_alpn(&h, "http/1"));
		assert_false(weir_hello_has_alpn(&h, "h"));
		assert_false(weir_hello_has_alpn(&h, ""));
	}
}

/* ---- Segments and records */

static void one_byte_segments(void **state)
{
	struct hello_parts p = browser();
	struct weir_hello h = feed_bytes(wire, make(&p));

	(void)state;
	assert_named(&h, NAME);
}

static void split_in_the_sni(void **state)
{
	struct hello_parts p = usual(NAME);
	const size_t n = make(&p);
	const uint8_t *name = memmem(wire, n, NAME, strlen(NAME));

	(void)state;
	for (size_t i = 0; i <= strlen(NAME); i++) {
		struct weir_hello h = feed_two(wire, n, (size_t)(name - wire) + i);

		assert_named(&h, NAME);
	}
}

static void two_records(void **state)
{
	struct hello_parts p = usual(NAME);
	const size_t n = hello_message(&p, message);

	(void)state;
	for (size_t first = 1; first < n; first++) {
		const size_t len = hello_records(message, n, first, HELLO_RECORD_MAX, wire);
		struct weir_hello h = feed_all(wire, len);

		assert_int_equal(len, n + 10);
		assert_named(&h, NAME);
		h = feed_bytes(wire, len);
		assert_named(&h, NAME);
	}
}

static void sixteen_byte_records(void **state)
{
	struct hello_parts p = browser();
	const size_t n = hello_message(&p, message);
	struct weir_hello h;

	(void)state;
	for (size_t size = 1; size <= 17; size++) {
		const size_t len = hello_records(message, n, 0, size, wire);

		h = feed_all(wire, len);
		assert_named(&h, NAME);
		h = feed_two(wire, len, len / 2);
		assert_named(&h, NAME);
		h = feed_bytes(wire, len);
		assert_named(&h, NAME);
	}
}

/* The longest that is read: WEIR_HELLO_MAX bytes of four records. */
static size_t longest(size_t more)
{
	struct hello_parts p = usual(NAME);
	size_t n;

	p.turn = 8; /* a GREASE extension, then the name; the padding comes last */
	p.pad = 1;
	n = hello_message(&p, message);
	p.pad += WEIR_HELLO_MAX - 4 * 5 - n + more;
	return make(&p);
}

static void sixty_four_kib(void **state)
{
	struct weir_hello h;
	size_t n = longest(0);

	(void)state;
	assert_int_equal(n, WEIR_HELLO_MAX);
	for (size_t cut = 1; cut < n; cut += 997) {
		h = feed_two(wire, n, cut);
		assert_named(&h, NAME);
	}
	assert_int_equal(h.fed, WEIR_HELLO_MAX);
	h = feed_bytes(wire, n);
	assert_named(&h, NAME);
	/* The short record first: the rest fills its records to the last byte. */
	n -= 4 * 5;
	n = hello_records(message, n, n % HELLO_RECORD_MAX, HELLO_RECORD_MAX, wire);
	assert_int_equal(n, WEIR_HELLO_MAX);
	h = feed_all(wire, n);
	assert_named(&h, NAME);
}

static void too_long_is_told_at_once(void **state)
{
	struct weir_hello h;

	(void)state;
	longest(1);
	h = feed_all(wire, 9);
	assert_int_equal(h.state, WEIR_HELLO_TOO_LONG);
	assert_int_equal(h.fed, 9);
	assert_int_equal(feed_all(wire, 8).state, WEIR_HELLO_MORE);
	memcpy(wire, "\x16\3\1\x40\0\1\xff\xff\xff", 9);
	assert_state(9, WEIR_HELLO_TOO_LONG);
}

/* One that fits into long records, but comes in short ones. */
static void too_long_by_its_records(void **state)
{
	struct hello_parts p = usual(NAME);
	struct weir_hello h;
	size_t n;

	(void)state;
	n = longest(0) - 4 * 5;
	n = hello_records(message, n, 16, HELLO_RECORD_MAX, wire);
	h = feed_all(wire, n); /* a fifth record */
	assert_int_equal(h.state, WEIR_HELLO_TOO_LONG);
	assert_int_equal(h.fed, 9);

	p.pad = 60000;
	n = hello_message(&p, message);
	n = hello_records(message, n, 0, 16, wire);
	h = feed_all(wire, n);
	assert_int_equal(h.state, WEIR_HELLO_TOO_LONG);
	assert_in_range(h.fed, 10000, WEIR_HELLO_MAX - 30000);
	assert_int_equal(feed_bytes(wire, n).fed, h.fed);
}

static void bytes_behind_are_not_looked_at(void **state)
{
	struct hello_parts p = usual(NAME);
	const size_t n = make(&p);
	struct weir_hello h;

	(void)state;
	memset(wire + n, 0xff, 100);
	h = feed_all(wire, n + 100);
	assert_named(&h, NAME);
	assert_int_equal(h.fed, n);
	h = feed_bytes(wire, n + 100);
	assert_named(&h, NAME);
	assert_int_equal(h.fed, n);
}

static void memory_follows_what_came(void **state)
{
	struct weir_hello h;
	size_t n;

	(void)state;
	n = longest(0);
	weir_hello_init(&h);
	assert_int_equal(weir_hello_feed(&h, wire, 9), 0);
	assert_null(h.body);
	for (size_t i = 9; i < n; i++) {
		assert_int_equal(h.state, WEIR_HELLO_MORE);
		assert_int_equal(weir_hello_feed(&h, wire + i, 1), 0);
		assert_true(h.cap <= 2048 || h.cap < 2 * h.have);
		assert_true(h.cap <= h.need - 4);
	}
	assert_int_equal(h.state, WEIR_HELLO_DONE);
	assert_null(h.body);
}

static void memory_of_a_failure_is_freed(void **state)
{
	struct hello_parts p = usual(NAME);
	struct weir_hello h;
	size_t n;

	(void)state;
	n = hello_message(&p, message);
	n = hello_records(message, n, 100, 100, wire);
	wire[105] = 23;
	weir_hello_init(&h);
	assert_int_equal(weir_hello_feed(&h, wire, 90), 0);
	assert_non_null(h.body);
	assert_int_equal(weir_hello_feed(&h, wire + 90, n - 90), 0);
	assert_int_equal(h.state, WEIR_HELLO_MALFORMED);
	assert_null(h.body);
}

/* ---- Not TLS, not a hello */

static void first_bytes(void **state)
{
	static const struct {
		const char *bytes;
		size_t n, decides; /* which byte decides */
		enum weir_hello_state state;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n", 16, 1, WEIR_HELLO_NOT_TLS },
		{ "SSH-2.0-OpenSSH", 15, 1, WEIR_HELLO_NOT_TLS },
		{ "\0\0\0\0", 4, 1, WEIR_HELLO_NOT_TLS },
		{ "\x80\x2e\1\3\1", 5, 1, WEIR_HELLO_NOT_TLS },	   /* SSL 2 */
		{ "\x15\3\1\0\2\2\50", 7, 1, WEIR_HELLO_NOT_TLS }, /* an alert */
		{ "\x14\3\3\0\1\1", 6, 1, WEIR_HELLO_NOT_TLS },	   /* change_cipher_spec */
		{ "\x16\2\1\0\5\1", 6, 2, WEIR_HELLO_NOT_TLS },
		{ "\x16\xfe\xfd\0\5\1", 6, 2, WEIR_HELLO_NOT_TLS }, /* DTLS */
		{ "\x16\3\xff\0\5\1", 6, 0, WEIR_HELLO_MORE },
		{ "\x16\3\1\0\0\x16\3\1", 8, 5, WEIR_HELLO_MALFORMED },	    /* empty */
		{ "\x16\3\1\x40\1\1\0\0\x30", 9, 5, WEIR_HELLO_MALFORMED }, /* 2^14 + 1 */
		{ "\x16\3\1\0\4\2\0\0\0", 9, 6, WEIR_HELLO_MALFORMED },	    /* ServerHello */
		{ "\x16\3\1\0\4\1\0\0\0", 9, 9, WEIR_HELLO_MALFORMED },	    /* no body */
		{ "\x16\3\1\0\1\1\x15\3\1", 9, 7, WEIR_HELLO_MALFORMED },   /* alert inside */
		{ "\x16\3\1\0\1\1\x16\2\1", 9, 8, WEIR_HELLO_MALFORMED },
		{ "\x16\3\1\0\1\1\x16\3\1\0\0", 11, 11, WEIR_HELLO_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		memcpy(wire, cases[i].bytes, cases[i].n);
		assert_state(cases[i].n, cases[i].state);
		if (!cases[i].decides)
			continue;
		assert_state(cases[i].decides, cases[i].state);
		assert_state(cases[i].decides - 1, WEIR_HELLO_MORE);
		assert_int_equal(feed_all(wire, cases[i].n).fed, cases[i].decides);
	}
	assert_state(0, WEIR_HELLO_MORE);
}

static void another_record_between(void **state)
{
	struct hello_parts p = usual(NAME);
	size_t n = hello_message(&p, message);

	(void)state;
	for (int type = 0; type < 256; type++) {
		size_t len = hello_records(message, n, 50, HELLO_RECORD_MAX, wire);

		wire[55] = (uint8_t)type;
		assert_state(len, type == 22 ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED);
	}
}

/* ---- Names */

static void no_sni(void **state)
{
	struct hello_parts p = usual(NAME);
	struct weir_hello h;

	(void)state;
	p.sni = false;
	h = feed_all(wire, make(&p));
	assert_named(&h, "");
	assert_true(weir_hello_has_alpn(&h, "h2"));
}

static void no_extensions(void **state)
{
	struct hello_parts p = { .no_extensions = true };
	struct weir_hello h = feed_all(wire, make(&p));

	(void)state;
	assert_named(&h, "");
	assert_int_equal(h.version, 0x0303);
	p.no_extensions = false; /* but a list of none */
	h = feed_all(wire, make(&p));
	assert_named(&h, "");
}

static void nul_in_the_name(void **state)
{
	struct hello_parts p = usual("");

	(void)state;
	p.name = "good.example.com\0.evil.example";
	p.name_len = 30;
	assert_state(make(&p), WEIR_HELLO_MALFORMED);
	p.name_len = 17; /* at its end */
	assert_state(make(&p), WEIR_HELLO_MALFORMED);
	p.name_len = 16;
	assert_state(make(&p), WEIR_HELLO_DONE);
}

static void upper_case(void **state)
{
	struct hello_parts p = usual("WWW.eXaMpLe.COM");
	struct weir_hello h = feed_all(wire, make(&p));

	(void)state;
	assert_named(&h, NAME);
}

static void trailing_dot(void **state)
{
	struct hello_parts p = usual(NAME ".");
	struct weir_hello h = feed_all(wire, make(&p));

	(void)state;
	assert_named(&h, NAME);
}

#define TEN "abcdefghi."
#define FIFTY TEN TEN TEN TEN TEN
#define LONGEST FIFTY FIFTY FIFTY FIFTY FIFTY "xyz" /* 253 */

static void names(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: malformed */
	} cases[] = {
		{ "a", "a" },
		{ "localhost", "localhost" },
		{ "_dmarc.x-1.example", "_dmarc.x-1.example" },
		{ "1.2.3", "1.2.3" },
		{ "192.0.2.1", "192.0.2.1" },
		{ "::1", "::1" },
		{ "2001:DB8::1", "2001:db8::1" },
		{ "[::1]", "[::1]" },
		{ "*.example.com", "*.example.com" },
		{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
		{ "@[`{Z", "@[`{z" }, /* the neighbours of the letters stay */
		{ LONGEST, LONGEST },
		{ LONGEST ".", LONGEST },
		{ LONGEST "0", NULL },
		{ LONGEST "0.", NULL },
		{ "", NULL },
		{ ".", NULL },
		{ "..", NULL },
		{ "a..", NULL },
		{ ".a", NULL },
		{ "a..b", NULL },
		{ " a", NULL },
		{ "a b", NULL },
		{ "a\tb", NULL },
		{ "a\n", NULL },
		{ "a\x1b[2J", NULL },
		{ "a\x7f", NULL },
		{ "b\xc3\xbc"
		  "cher.example",
		  NULL },
		{ "a\xff", NULL },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct hello_parts p = usual(cases[i].in);
		struct weir_hello h = feed_all(wire, make(&p));

		if (cases[i].out)
			assert_named(&h, cases[i].out);
		else
			assert_int_equal(h.state, WEIR_HELLO_MALFORMED);
	}
}

/* ---- Extensions by hand */

/* A hello whose only extensions are these bytes. */
static size_t make_raw(const void *extensions, size_t n)
{
	const struct hello_parts p = { .no_extensions = true };
	size_t len = hello_message(&p, message);

	hello_u16(message + len, n);
	hello_bytes(message + len + 2, extensions, n);
	len += 2 + n;
	hello_u16(message + 2, len - 4);
	return hello_records(message, len, 0, HELLO_RECORD_MAX, wire);
}

static void extensions(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *name; /* NULL: malformed */
	} cases[] = {
		{ "\0\0\0\6\0\4\0\0\1a", 10, "a" },
		{ "\0\0\0\0", 4, NULL },				/* empty */
		{ "\0\0\0\2\0\0", 6, NULL },				/* no names */
		{ "\0\0\0\5\0\3\0\0\0", 9, NULL },			/* empty name */
		{ "\0\0\0\6\0\3\0\0\1a", 10, NULL },			/* list too short */
		{ "\0\0\0\6\0\5\0\0\1a", 10, NULL },			/* list too long */
		{ "\0\0\0\6\0\4\0\0\2a", 10, NULL },			/* name too long */
		{ "\0\0\0\7\0\4\0\0\1a", 10, NULL },			/* extension too long */
		{ "\0\0\0\5\0\4\0\0\1a", 10, NULL },			/* too short */
		{ "\0\0\0\7\0\4\0\0\1aX", 11, NULL },			/* bytes behind */
		{ "\0\0\0\12\0\10\0\0\1a\0\0\1b", 14, NULL },		/* two names */
		{ "\0\0\0\12\0\10\7\0\1a\0\0\1b", 14, "b" },		/* another type */
		{ "\0\0\0\6\0\4\7\0\1a", 10, "" },			/* ...alone */
		{ "\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1a", 20, NULL }, /* twice */
		{ "\x12\x34\0\0\x12\x34\0\0", 8, NULL },		/* unknown twice */
		{ "\x12\x34\0\0\x12\x35\0\0\x92\x34\0\0", 12, "" },
		{ "\0", 1, NULL },
		{ "\0\0\0", 3, NULL },
		{ "\0\20\0\5\0\3\2h2", 9, "" },
		{ "\0\20\0\2\0\0", 6, NULL }, /* ALPN: none */
		{ "\0\20\0\0", 4, NULL },
		{ "\0\20\0\3\0\1\0", 7, NULL }, /* an empty one */
		{ "\0\20\0\5\0\3\3h2", 9, NULL },
		{ "\0\20\0\5\0\2\2h2", 9, NULL },
		{ "\0\20\0\6\0\4\2h2\0", 10, NULL },
		{ "\0\52\0\0", 4, "" },
		{ "\0\52\0\1\0", 5, NULL }, /* early data */
		{ "\0\53\0\3\2\3\4", 7, "" },
		{ "\0\53\0\1\0", 5, NULL }, /* no versions */
		{ "\0\53\0\0", 4, NULL },
		{ "\0\53\0\4\3\3\4\3", 8, NULL }, /* one and a half */
		{ "\0\53\0\4\2\3\4\3", 8, NULL },
		{ "\0\53\0\2\2\3", 6, NULL },
		{ "\xfe\x0d\0\0", 4, "" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		const size_t n = make_raw(cases[i].bytes, cases[i].n);
		struct weir_hello h = feed_all(wire, n);

		if (cases[i].name)
			assert_named(&h, cases[i].name);
		else
			assert_int_equal(h.state, WEIR_HELLO_MALFORMED);
	}
}

static void many_extensions(void **state)
{
	static uint8_t bytes[65000];
	uint8_t *at = bytes;
	const size_t n = sizeof(bytes) / 4 * 4;

	(void)state;
	for (size_t type = 0x2000; type < 0x2000 + n / 4; type++)
		at = hello_u16(hello_u16(at, type), 0);
	assert_int_equal(feed_all(wire, make_raw(bytes, n)).state, WEIR_HELLO_DONE);
	hello_u16(at - 4, 0x2000);
	assert_int_equal(feed_all(wire, make_raw(bytes, n)).state, WEIR_HELLO_MALFORMED);
}

static void versions(void **state)
{
	static const uint16_t lists[][3] = {
		{ 0x0304, 0x0303, 0 }, { 0x0303, 0x0304, 0 }, { 0xfafa, 0x0303, 0 },
		{ 0x0a0a, 0, 0 },      { 0x7f1c, 0x0301, 0 }, /* a draft's */
	};
	static const uint16_t want[] = { 0x0304, 0x0304, 0x0303, 0, 0x0301 };
	struct hello_parts p = usual(NAME);

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(lists); i++) {
		p.versions = lists[i];
		p.n_versions = lists[i][1] ? 2 : 1;
		assert_int_equal(feed_all(wire, make(&p)).version, want[i]);
	}
	p.n_versions = 0;
	p.legacy_version = 0x0301;
	assert_int_equal(feed_all(wire, make(&p)).version, 0x0301);
	p.legacy_version = 0x0304; /* not offered by this field (RFC 8446, 4.2.1) */
	assert_int_equal(feed_all(wire, make(&p)).version, 0x0303);
}

static void alpn_is_kept_in_whole_names(void **state)
{
	static uint8_t list[600];
	struct hello_parts p = usual(NAME);
	uint8_t *at = list;
	struct weir_hello h;

	(void)state;
	at = hello_noise(hello_u8(at, 255), 255); /* does not fit */
	at = hello_bytes(at, "\2h2", 3);
	at = hello_noise(hello_u8(at, 251), 251); /* just fits */
	at = hello_bytes(at, "\3foo", 4);	  /* not any more */
	p.alpn = list;
	p.alpn_len = (size_t)(at - list);
	h = feed_all(wire, make(&p));
	assert_named(&h, NAME);
	assert_int_equal(h.alpn_len, 255);
	assert_true(weir_hello_has_alpn(&h, "h2"));
	assert_false(weir_hello_has_alpn(&h, "foo"));
}

/* ---- Every length of a good hello, made wrong */

static void body_cut_short(void **state)
{
	struct hello_parts p = browser();
	const size_t n = hello_message(&p, message), bare = 4 + 2 + 32 + 33 + 8 + 2;

	(void)state;
	for (size_t len = 4; len < n; len++) {
		size_t records;

		hello_u16(message + 2, len - 4);
		records = hello_records(message, len, 0, HELLO_RECORD_MAX, wire);
		/* Where the extensions would begin a hello may end. */
		assert_state(records, len == bare ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED);
	}
}

static void fields_before_the_extensions(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {
		{ 38, 33 },		  /* session_id longer than 32 */
		{ 38, 255 }, { 72, 0 },	  /* no cipher suites */
		{ 72, 3 },		  /* one and a half */
		{ 72, 255 }, { 77, 0 },	  /* no compression method */
		{ 77, 255 }, { 79, 255 }, /* extensions longer than what is there */
		{ 80, 0 },		  /* ...and shorter */
	};
	struct hello_parts p = usual(NAME);

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		size_t n = make(&p);

		assert_int_equal(wire[5 + 38], 32);
		assert_int_equal(wire[5 + 72], 4);
		assert_int_equal(wire[5 + 77], 1);
		wire[5 + cases[i].at] = cases[i].value;
		assert_state(n, WEIR_HELLO_MALFORMED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(captured),
		cmocka_unit_test(of_a_browser),
		cmocka_unit_test(one_byte_segments),
		cmocka_unit_test(split_in_the_sni),
		cmocka_unit_test(two_records),
		cmocka_unit_test(sixteen_byte_records),
		cmocka_unit_test(sixty_four_kib),
		cmocka_unit_test(too_long_is_told_at_once),
		cmocka_unit_test(too_long_by_its_records),
		cmocka_unit_test(bytes_behind_are_not_looked_at),
		cmocka_unit_test(memory_follows_what_came),
		cmocka_unit_test(memory_of_a_failure_is_freed),
		cmocka_unit_test(first_bytes),
		cmocka_unit_test(another_record_between),
		cmocka_unit_test(no_sni),
		cmocka_unit_test(no_extensions),
		cmocka_unit_test(nul_in_the_name),
		cmocka_unit_test(upper_case),
		cmocka_unit_test(trailing_dot),
		cmocka_unit_test(names),
		cmocka_unit_test(extensions),
		cmocka_unit_test(many_extensions),
		cmocka_unit_test(versions),
		cmocka_unit_test(alpn_is_kept_in_whole_names),
		cmocka_unit_test(body_cut_short),
		cmocka_unit_test(fields_before_the_extensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
