/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/hello.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define RECORD_HANDSHAKE 22
#define RECORD_MAJOR 3	 /* SSL 3.0 to TLS 1.3 */
#define RECORD_HEAD 5	 /* type, version, length */
#define RECORD_MAX 16384 /* TLSPlaintext.length (RFC 8446, 5.1) */
#define MESSAGE_HEAD 4	 /* type, length */
#define CLIENT_HELLO 1

#define RANDOM_LEN 32
#define SESSION_ID_MAX 32
#define HOST_NAME 0	 /* NameType (RFC 6066, 3) */
#define NAME_LEN_MAX 253 /* RFC 1035, without the trailing dot */
#define TLS_1_2 0x0303

#define BODY_FIRST 2048 /* what most hellos fit in, also those with a post-quantum key share */

enum {
	EXT_SERVER_NAME = 0,
	EXT_ALPN = 16,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_ENCRYPTED_CLIENT_HELLO = 0xfe0d,
	EXT_TYPES = 0x10000,
};

/* ---- A walk over vectors (RFC 8446, 3.4): every step says whether it fitted. */

struct cursor {
	const uint8_t *at, *end;
};

static size_t left(const struct cursor *c)
{
	return (size_t)(c->end - c->at);
}

static bool take(struct cursor *c, size_t n, struct cursor *ret)
{
	if (left(c) < n)
		return false;
	*ret = (struct cursor){ c->at, c->at + n };
	c->at += n;
	return true;
}

static bool take_u8(struct cursor *c, uint8_t *ret)
{
	if (!left(c))
		return false;
	*ret = *c->at++;
	return true;
}

static bool take_u16(struct cursor *c, uint16_t *ret)
{
	if (left(c) < 2)
		return false;
	*ret = (uint16_t)(c->at[0] << 8 | c->at[1]);
	c->at += 2;
	return true;
}

static bool take_vec8(struct cursor *c, struct cursor *ret)
{
	uint8_t n;

	return take_u8(c, &n) && take(c, n, ret);
}

static bool take_vec16(struct cursor *c, struct cursor *ret)
{
	uint16_t n;

	return take_u16(c, &n) && take(c, n, ret);
}

/* ---- The name */

bool weir_hello_name(const void *name, size_t n, char ret[WEIR_HELLO_NAME])
{
	const uint8_t *s = name;
	uint8_t before = '.';

	if (n && s[n - 1] == '.')
		n--;
	if (!n || n > NAME_LEN_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t c = s[i];

		/* Bytes beyond ASCII are no host name either: those are sent as A-labels. */
		if (c <= ' ' || c >= 0x7f || (c == '.' && before == '.'))
			return false;
		ret[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		before = c;
	}
	ret[n] = '\0';
	return before != '.';
}

/* ---- Extensions */

static bool read_server_name(struct weir_hello *h, struct cursor c)
{
	struct cursor list, name;
	bool seen = false;
	uint8_t type;

	if (!take_vec16(&c, &list) || left(&c) || !left(&list))
		return false;
	while (left(&list)) {
		/* Names of every type begin with their length (RFC 6066, 3). */
		if (!take_u8(&list, &type) || !take_vec16(&list, &name))
			return false;
		if (type != HOST_NAME)
			continue;
		if (seen || !weir_hello_name(name.at, left(&name), h->name))
			return false;
		seen = true;
	}
	return true;
}

static bool read_alpn(struct weir_hello *h, struct cursor c)
{
	struct cursor list, name;

	if (!take_vec16(&c, &list) || left(&c) || !left(&list))
		return false;
	while (left(&list)) {
		const uint8_t *at = list.at;
		size_t whole;

		if (!take_vec8(&list, &name) || !left(&name))
			return false;
		/* One that does not fit is left out, so that it hides none behind it. */
		whole = left(&name) + 1;
		if (whole > UINT8_MAX - (size_t)h->alpn_len)
			continue;
		memcpy(h->alpn + h->alpn_len, at, whole);
		h->alpn_len = (uint8_t)(h->alpn_len + whole);
	}
	return true;
}

static bool read_early_data(struct weir_hello *h, struct cursor c)
{
	h->early_data = true;
	return !left(&c);
}

/* Of GREASE (RFC 8701) and of drafts the first byte is not that of a version of TLS. */
static bool read_supported_versions(struct weir_hello *h, struct cursor c)
{
	struct cursor list;
	uint16_t version;

	if (!take_vec8(&c, &list) || left(&c) || !left(&list))
		return false;
	h->version = 0;
	while (left(&list)) {
		if (!take_u16(&list, &version))
			return false;
		if (version >> 8 == RECORD_MAJOR && version > h->version)
			h->version = version;
	}
	return true;
}

static bool read_ech(struct weir_hello *h, struct cursor c)
{
	(void)c; /* for the server alone to understand */
	h->ech = true;
	return true;
}

static const struct {
	uint16_t type;
	bool (*read)(struct weir_hello *h, struct cursor c);
} readers[] = {
	{ EXT_SERVER_NAME, read_server_name },
	{ EXT_ALPN, read_alpn },
	{ EXT_EARLY_DATA, read_early_data },
	{ EXT_SUPPORTED_VERSIONS, read_supported_versions },
	{ EXT_ENCRYPTED_CLIENT_HELLO, read_ech },
};

static bool read_extensions(struct weir_hello *h, struct cursor list)
{
	/* A bit a type: a hello has room for thousands of extensions, which must not be
	 * compared each with each. */
	uint64_t seen[EXT_TYPES / 64] = { 0 };
	struct cursor data;
	uint16_t type;

	while (left(&list)) {
		uint64_t bit;

		if (!take_u16(&list, &type) || !take_vec16(&list, &data))
			return false;
		bit = 1ULL << type % 64;
		if (seen[type / 64] & bit)
			return false;
		seen[type / 64] |= bit;
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(readers); i++)
			if (readers[i].type == type && !readers[i].read(h, data))
				return false;
	}
	return true;
}

static bool read_body(struct weir_hello *h, struct cursor c)
{
	struct cursor random, session_id, suites, compression, extensions;

	if (!take_u16(&c, &h->version) || !take(&c, RANDOM_LEN, &random) ||
	    !take_vec8(&c, &session_id) || !take_vec16(&c, &suites) || !take_vec8(&c, &compression))
		return false;
	if (left(&session_id) > SESSION_ID_MAX || !left(&suites) || left(&suites) % 2 ||
	    !left(&compression))
		return false;
	/* A later version is offered by supported_versions only (RFC 8446, 4.2.1). */
	if (h->version > TLS_1_2)
		h->version = TLS_1_2;
	if (!left(&c))
		return true; /* before TLS 1.3 a hello may end here */
	return take_vec16(&c, &extensions) && !left(&c) && read_extensions(h, extensions);
}

/* ---- Records */

void weir_hello_init(struct weir_hello *h)
{
	memset(h, 0, sizeof(*h));
	h->need = MESSAGE_HEAD;
}

void weir_hello_free(struct weir_hello *h)
{
	free(h->body);
	h->body = NULL;
	h->cap = 0;
}

static void finish(struct weir_hello *h, const uint8_t *body)
{
	struct cursor c = { body, body + (h->need - MESSAGE_HEAD) };

	h->state = read_body(h, c) ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED;
	weir_hello_free(h);
}

/* Even if the rest comes in records as long as can be? */
static bool fits(const struct weir_hello *h)
{
	uint32_t rest = h->need - h->have, later = 0;

	if (rest > h->record_left)
		later = (rest - h->record_left + RECORD_MAX - 1) / RECORD_MAX;
	return h->fed + rest + later * RECORD_HEAD <= WEIR_HELLO_MAX;
}

static void record_head(struct weir_hello *h, uint8_t byte)
{
	const uint8_t at = h->head_len++;

	h->head[at] = byte;
	h->fed++;
	if ((at == 0 && byte != RECORD_HANDSHAKE) || (at == 1 && byte != RECORD_MAJOR))
		h->state = h->have ? WEIR_HELLO_MALFORMED : WEIR_HELLO_NOT_TLS;
	if (h->head_len < RECORD_HEAD)
		return;
	h->head_len = 0;
	h->record_left = (uint32_t)(h->head[3] << 8 | h->head[4]);
	if (!h->record_left || h->record_left > RECORD_MAX)
		h->state = WEIR_HELLO_MALFORMED;
	else if (!fits(h))
		h->state = WEIR_HELLO_TOO_LONG;
}

static void message_head(struct weir_hello *h, uint8_t byte)
{
	uint8_t *head = h->head + RECORD_HEAD;

	head[h->have++] = byte;
	h->fed++;
	h->record_left--;
	if (head[0] != CLIENT_HELLO) {
		h->state = WEIR_HELLO_MALFORMED;
		return;
	}
	if (h->have < MESSAGE_HEAD)
		return;
	h->need += (uint32_t)(head[1] << 16 | head[2] << 8 | head[3]);
	if (!fits(h))
		h->state = WEIR_HELLO_TOO_LONG;
	else if (h->need == MESSAGE_HEAD)
		h->state = WEIR_HELLO_MALFORMED; /* it has no body */
}

/* Memory grows with what came, not with what was announced. */
static int grow(struct weir_hello *h, uint32_t want)
{
	uint32_t cap = h->cap ? h->cap : BODY_FIRST;
	uint8_t *body;

	if (want <= h->cap)
		return 0;
	while (cap < want)
		cap *= 2;
	if (cap > h->need - MESSAGE_HEAD)
		cap = h->need - MESSAGE_HEAD;
	body = realloc(h->body, cap);
	if (!body)
		return -ENOMEM;
	h->body = body;
	h->cap = cap;
	return 0;
}

/* The body's next @n bytes, all of one record. */
static int message_body(struct weir_hello *h, const uint8_t *data, uint32_t n)
{
	const uint32_t have = h->have - MESSAGE_HEAD;
	const bool last = n == h->need - h->have;
	int ret;

	/* Most hellos come in one piece, which needs no copy. */
	if (!last || have) {
		ret = grow(h, have + n);
		if (ret)
			return ret;
		memcpy(h->body + have, data, n);
	}
	h->have += n;
	h->fed += n;
	h->record_left -= n;
	if (last)
		finish(h, have ? h->body : data);
	return 0;
}

int weir_hello_feed(struct weir_hello *h, const void *data, size_t n)
{
	const uint8_t *at = data, *end = at + n;
	uint32_t part;
	int ret;

	while (at < end && h->state == WEIR_HELLO_MORE) {
		if (!h->record_left) {
			record_head(h, *at++);
			continue;
		}
		if (h->have < MESSAGE_HEAD) {
			message_head(h, *at++);
			continue;
		}
		part = h->need - h->have;
		if (part > h->record_left)
			part = h->record_left;
		if (part > (size_t)(end - at))
			part = (uint32_t)(end - at);
		ret = message_body(h, at, part);
		if (ret)
			return ret;
		at += part;
	}
	/* What failed half way holds memory that nobody needs. */
	if (h->state != WEIR_HELLO_MORE)
		weir_hello_free(h);
	return 0;
}

bool weir_hello_has_alpn(const struct weir_hello *h, const char *proto)
{
	const size_t len = strlen(proto);

	for (size_t at = 0; at < h->alpn_len; at += 1 + (size_t)h->alpn[at])
		if (h->alpn[at] == len && !memcmp(h->alpn + at + 1, proto, len))
			return true;
	return false;
}
