/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader of ClientHellos. By the first byte the rest is
 *
 *	what a client sends: fed at once, in random pieces and in single bytes it must
 *	give the same;
 *	a message: in one record and in many of random sizes it must give the same;
 *	the parts of a hello: made of them, it must give exactly them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/hello.h"

#include "../unit/net/hello_maker.h"

#define BODY_FIRST 2048 /* memory that even one byte of a body may take */
#define PART_MAX 300	/* of a name, of a protocol list */
#define VERSIONS_MAX 20

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

/* ---- The input, and what is drawn from it */

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

static size_t draw16(struct input *in)
{
	size_t high = draw(in);

	return high << 8 | draw(in);
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* ---- Feeding */

/* What must hold of any state. */
static void check(const struct weir_hello *h, size_t n)
{
	NEED(h->fed <= n && h->fed <= WEIR_HELLO_MAX);
	if (h->state == WEIR_HELLO_MORE) {
		NEED(h->fed == n && h->fed < WEIR_HELLO_MAX);
		NEED(h->cap <= BODY_FIRST || h->cap < 2 * h->have);
		return;
	}
	NEED(!h->body);
	if (h->state != WEIR_HELLO_DONE)
		return;
	NEED(strnlen(h->name, WEIR_HELLO_NAME) <= 253);
	for (const char *c = h->name; *c; c++)
		NEED(*c > ' ' && *c < 0x7f && (*c < 'A' || *c > 'Z'));
	for (size_t at = 0; at < h->alpn_len; at += 1 + (size_t)h->alpn[at])
		NEED(h->alpn[at] && at + h->alpn[at] < h->alpn_len);
}

/* In pieces of 1 to @most bytes. */
static void feed(struct weir_hello *h, const uint8_t *data, size_t n, size_t most, uint32_t seed)
{
	weir_hello_init(h);
	for (size_t done = 0, part; done < n; done += part) {
		uint8_t *copy;

		part = 1 + next(&seed) % most;
		if (part > n - done)
			part = n - done;
		copy = malloc(part); /* its end is guarded */
		memcpy(copy, data + done, part);
		NEED(!weir_hello_feed(h, copy, part));
		free(copy);
		check(h, done + part);
	}
	weir_hello_free(h);
}

static void same(const struct weir_hello *a, const struct weir_hello *b)
{
	NEED(a->state == b->state);
	if (a->state != WEIR_HELLO_DONE)
		return;
	NEED(!strcmp(a->name, b->name) && a->ech == b->ech && a->early_data == b->early_data);
	NEED(a->version == b->version && a->alpn_len == b->alpn_len);
	NEED(!memcmp(a->alpn, b->alpn, a->alpn_len));
}

/* However it is cut. Returns what it gives. */
static struct weir_hello feed_all_ways(const uint8_t *data, size_t n, uint32_t seed)
{
	struct weir_hello once, cut;

	weir_hello_init(&once);
	NEED(!weir_hello_feed(&once, data, n));
	check(&once, n);
	weir_hello_free(&once);
	feed(&cut, data, n, 1 + seed % 2000, seed);
	same(&once, &cut);
	NEED(once.fed == cut.fed);
	if (n < 4096) {
		feed(&cut, data, n, 1, seed);
		same(&once, &cut);
		NEED(once.fed == cut.fed);
	}
	return once;
}

/* ---- A message in records */

static uint8_t message[HELLO_BYTES], wire[HELLO_BYTES];

static void message_in_records(struct input *in)
{
	const uint32_t seed = (uint32_t)draw16(in);
	struct weir_hello one, many;
	size_t n = in->left, size = 1 + draw(in);

	n = in->left;
	if (n > HELLO_RECORD_MAX - 4)
		return;
	hello_u16(hello_u16(message, 0x0100), n);
	memcpy(message + 4, in->at, n);
	one = feed_all_ways(wire, hello_records(message, n + 4, 0, HELLO_RECORD_MAX, wire), seed);
	n = hello_records(message, n + 4, 1 + seed % 7, size, wire);
	if (n > WEIR_HELLO_MAX)
		return;
	many = feed_all_ways(wire, n, seed);
	same(&one, &many);
}

/* ---- A hello from its parts */

struct wanted {
	bool good;
	char name[PART_MAX];
	uint8_t alpn[PART_MAX * 2];
	size_t alpn_len;
	uint16_t version;
};

/* The reference for names: by labels. */
static void want_name(const uint8_t *name, size_t n, struct wanted *w)
{
	size_t label = 0;

	if (n && name[n - 1] == '.')
		n--;
	w->good = n >= 1 && n <= 253;
	for (size_t i = 0; i < n; i++) {
		if (name[i] < 33 || name[i] > 126)
			w->good = false;
		if (name[i] == '.' && !label)
			w->good = false;
		label = name[i] == '.' ? 0 : label + 1;
		w->name[i] = (char)name[i];
		if (name[i] >= 'A' && name[i] <= 'Z')
			w->name[i] = (char)(name[i] - 'A' + 'a');
	}
	w->name[n] = '\0';
	if (!label)
		w->good = false;
}

/* Mostly letters, so that good names are usual. */
static size_t draw_name(struct input *in, uint8_t name[PART_MAX])
{
	static const char letters[] = "abcdefgXYZ0123456789-_..exampleCOM:";
	const size_t n = draw16(in) % 260;
	const bool raw = draw(in) % 4 == 0;

	for (size_t i = 0; i < n; i++) {
		name[i] = draw(in);
		if (!raw)
			name[i] = (uint8_t)letters[name[i] % (sizeof(letters) - 1)];
	}
	return n;
}

static size_t draw_alpn(struct input *in, uint8_t alpn[PART_MAX * 2], struct wanted *w)
{
	uint8_t *at = alpn;

	for (int i = draw(in) % 4; i && at < alpn + PART_MAX; i--) {
		const uint8_t n = draw(in);

		if (!n)
			continue;
		hello_noise(hello_u8(at, n), n);
		if (w->alpn_len + n + 1 <= 255) {
			memcpy(w->alpn + w->alpn_len, at, (size_t)n + 1);
			w->alpn_len += (size_t)n + 1;
		}
		at += n + 1;
	}
	return (size_t)(at - alpn);
}

static size_t draw_versions(struct input *in, uint16_t versions[VERSIONS_MAX], struct wanted *w)
{
	const size_t n = draw(in) % VERSIONS_MAX;

	w->version = 0;
	for (size_t i = 0; i < n; i++) {
		versions[i] = (uint16_t)(draw(in) % 2 ? 0x0300 + draw(in) : draw16(in));
		if (versions[i] >= 0x0300 && versions[i] < 0x0400 && versions[i] > w->version)
			w->version = versions[i];
	}
	return n;
}

static void parts(struct input *in)
{
	const uint8_t flags = draw(in);
	const uint32_t seed = (uint32_t)draw16(in);
	const size_t first = draw16(in) % (HELLO_RECORD_MAX + 1);
	const size_t size = 1 + draw16(in) % HELLO_RECORD_MAX;
	struct hello_parts p = {
		.sni = flags & 1,
		.grease = flags & 2,
		.ech = flags & 4,
		.early_data = flags & 8,
		.key_share_len = flags & 16 ? 1216 : 0,
		.pad = flags & 32 ? draw16(in) : 0,
		.session_id_len = draw(in) % 33,
		.legacy_version = 0x0300 + flags % 5,
		.turn = draw(in),
	};
	struct wanted w = { .good = true };
	uint8_t name[PART_MAX], alpn[PART_MAX * 2];
	uint16_t versions[VERSIONS_MAX];
	struct weir_hello h;
	size_t n;

	p.name = name;
	p.alpn = alpn;
	p.versions = versions;
	if (p.sni) {
		p.name_len = draw_name(in, name);
		want_name(name, p.name_len, &w);
	}
	p.alpn_len = draw_alpn(in, alpn, &w);
	p.n_versions = draw_versions(in, versions, &w);
	if (!p.n_versions)
		w.version = p.legacy_version > 0x0303 ? 0x0303 : p.legacy_version;
	n = hello_message(&p, message);
	if (n > 4 + 42 + 40 + UINT16_MAX)
		return; /* the extensions outgrew their length */
	if (n / size > 50000)
		return;
	n = hello_records(message, n, first, size, wire);
	memset(wire + n, 0xff, 20);
	h = feed_all_ways(wire, n + 20, seed);
	if (n > WEIR_HELLO_MAX) {
		NEED(h.state == WEIR_HELLO_TOO_LONG);
		return;
	}
	NEED(h.state == (w.good ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED));
	if (!w.good)
		return;
	NEED(h.fed == n && !strcmp(h.name, w.name) && h.version == w.version);
	NEED(h.ech == p.ech && h.early_data == p.early_data);
	NEED(h.alpn_len == w.alpn_len && !memcmp(h.alpn, w.alpn, w.alpn_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint32_t seed;

	switch (draw(&in) % 3) {
	case 0:
		seed = (uint32_t)draw16(&in);
		feed_all_ways(in.at, in.left, seed);
		break;
	case 1:
		message_in_records(&in);
		break;
	default:
		parts(&in);
	}
	return 0;
}
