/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader of HTTP heads. By the first byte the rest is
 *
 *	what a client sends: seen at once and growing in random steps it must give the
 *	same, and what is behind the point of decision must not matter;
 *	the parts of a head: made of them, it must give the host among them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "net/host.h"

#define BEHIND 40 /* bytes of other things behind a head */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t draw(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* It grows by 1 to @most bytes. @n becomes how many decided. */
static enum weir_hello_state grow(const char *data, size_t *n, size_t most, uint32_t seed,
				  char name[WEIR_HELLO_NAME])
{
	enum weir_hello_state state = WEIR_HELLO_MORE;
	size_t have = 0, from = 0;

	while (state == WEIR_HELLO_MORE && have < *n) {
		char *copy;

		from = have;
		have += 1 + next(&seed) % most;
		if (have > *n)
			have = *n;
		copy = malloc(have); /* its end is guarded */
		memcpy(copy, data, have);
		state = weir_host_find(copy, have, from, name);
		free(copy);
	}
	*n = have;
	return state;
}

static enum weir_hello_state find_all_ways(const char *data, size_t n, uint32_t seed,
					   char name[WEIR_HELLO_NAME])
{
	const enum weir_hello_state state = weir_host_find(data, n, 0, name);
	struct weir_request request;
	char other[WEIR_HELLO_NAME];
	size_t seen = n;

	NEED(n || state == WEIR_HELLO_MORE);
	NEED(n < WEIR_HOST_MAX || state != WEIR_HELLO_MORE);
	NEED(n >= WEIR_HOST_MAX || state != WEIR_HELLO_TOO_LONG);
	if (!n)
		return state;
	NEED(grow(data, &seen, n < 4096 ? 1 : 1 + n / 8, seed, other) == state);
	if (weir_host_request(data, n, &request)) {
		NEED(request.method >= data && request.method_len && request.target_len);
		NEED(request.target > request.method + request.method_len &&
		     request.target + request.target_len < data + n);
	} else {
		NEED(state != WEIR_HELLO_DONE);
	}
	if (state == WEIR_HELLO_DONE) {
		NEED(!strcmp(name, other) && strlen(name) <= 253);
		for (const char *c = name; *c; c++)
			NEED(*c > ' ' && *c < 0x7f && (*c < 'A' || *c > 'Z'));
	}
	if (state != WEIR_HELLO_MORE) {
		NEED(weir_host_find(data, seen, 0, other) == state);
		NEED(state != WEIR_HELLO_DONE || !strcmp(name, other));
	}
	seen = n;
	NEED(grow(data, &seen, 1 + seed % 100, seed, other) == state);
	NEED(state != WEIR_HELLO_DONE || !strcmp(name, other));
	return state;
}

/* ---- A head from its parts */

struct host {
	const char *text, *name; /* NULL: a bad one */
};

static const struct host hosts[] = {
	{ "example.com", "example.com" },
	{ "WWW.Example.COM.", "www.example.com" },
	{ "a:80", "a" },
	{ "a.:", "a" },
	{ "[2001:DB8::1]:8080", "2001:db8::1" },
	{ "[::]", "::" },
	{ "192.0.2.1:65535", "192.0.2.1" },
	{ "_x-1.example", "_x-1.example" },
	{ "a:65536", NULL },
	{ "a/b", NULL },
	{ "u@a", NULL },
	{ "a..b", NULL },
	{ "[::1", NULL },
	{ "::1", NULL },
	{ "a,b c", NULL },
	{ ":1", NULL },
};

static const char *const fields[] = {
	"Accept: */*", "X-Host: other.example",	      "Hosts: other.example",
	"Hos: t",      "Cookie: Host: other.example", "User-Agent: a b  c\t\"d\" \xc3\xa9",
	"Empty:",      "!#$%&'*+-.^_`|~: tchar",
};

static const char *const bad_fields[] = {
	" folded", "Host", "Host : a", "X\ty: z", ": a", "X: a\rHost: b", "\x16\3\1: x", "\r\r",
};

#define DRAW(table, in) (&(table)[draw(in) % WEIR_ARRAY_SIZE(table)])

static void add_line(struct weir_buf *b, struct input *in, const char *before, const char *text)
{
	weir_buf_adds(b, before);
	weir_buf_adds(b, text);
	weir_buf_adds(b, draw(in) % 4 ? "\r\n" : "\n");
}

static void parts(struct input *in)
{
	static const char *const methods[] = { "GET", "POST", "M-SEARCH", "x", "OPTIONS" };
	static const char *const before[] = { "Host: ", "host:", "HOST:\t ", "hOsT:  " };
	weir_autobuf struct weir_buf b = { 0 };
	const uint32_t seed = draw(in) | (uint32_t)draw(in) << 8;
	const struct host *absolute = draw(in) % 3 ? NULL : DRAW(hosts, in), *host = NULL;
	enum weir_hello_state want = WEIR_HELLO_DONE;
	char name[WEIR_HELLO_NAME];
	size_t seen = 0;

	weir_buf_adds(&b, draw(in) % 4 ? "" : "\r\n");
	weir_buf_adds(&b, *DRAW(methods, in));
	weir_buf_adds(&b, absolute ? " http://" : " /");
	weir_buf_adds(&b, absolute ? absolute->text : "");
	add_line(&b, in, "/x?y=z HTTP/1.", draw(in) % 2 ? "1" : "0");
	for (int i = draw(in) % 12; i; i--) {
		switch (draw(in) % 8) {
		case 0:
			host = DRAW(hosts, in);
			add_line(&b, in, *DRAW(before, in), host->text);
			if (seen++ || !host->name)
				want = WEIR_HELLO_MALFORMED;
			break;
		case 1:
			if (draw(in) % 4)
				break;
			add_line(&b, in, "", *DRAW(bad_fields, in));
			want = WEIR_HELLO_MALFORMED;
			break;
		default:
			add_line(&b, in, "", *DRAW(fields, in));
		}
	}
	weir_buf_adds(&b, draw(in) % 2 ? "\r\n" : "\n");
	/* "a/b" and "u@a" end, or begin, elsewhere in a URI. */
	if (absolute && !strcmp(absolute->text, "a/b"))
		absolute = &(const struct host){ "a/b", "a" };
	if (absolute && !absolute->name)
		want = WEIR_HELLO_MALFORMED;
	for (size_t i = in->left < BEHIND ? in->left : BEHIND; i; i--)
		weir_buf_addc(&b, (char)draw(in));
	NEED(!b.failed && find_all_ways(b.data, b.len, seed, name) == want);
	if (want == WEIR_HELLO_DONE)
		NEED(!strcmp(name, absolute ? absolute->name : host ? host->name : ""));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char name[WEIR_HELLO_NAME];
	uint32_t seed;

	if (draw(&in) % 2) {
		parts(&in);
	} else {
		seed = draw(&in);
		find_all_ways((const char *)in.at, in.left, seed, name);
	}
	return 0;
}
