/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PROXY protocol. By the first byte the rest is
 *
 *	what a peer sends: byte by byte, more is asked for until the one answer comes, which
 *	does not change with what follows;
 *	two endpoints, a name and a protocol: what is made of them reads back to them, and
 *	its TLVs, walked here, are they.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/proxy/pp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

static const struct weir_endpoint untouched = { .un.sun_family = 0x5a5a, .len = 3 };

static bool is_untouched(const struct weir_endpoint *e)
{
	return !memcmp(e, &untouched, sizeof(*e));
}

static void check_end(const struct weir_endpoint *e)
{
	char text[WEIR_ENDPOINT_STRLEN];

	if (is_untouched(e))
		return;
	switch (e->sa.sa_family) {
	case AF_INET:
		NEED(e->len == sizeof(e->in));
		break;
	case AF_INET6:
		NEED(e->len == sizeof(e->in6));
		break;
	default:
		NEED(e->sa.sa_family == AF_UNIX);
		NEED(e->len >= sizeof(sa_family_t) && e->len <= sizeof(e->un));
	}
	NEED(strlen(weir_endpoint_str(e, text)) < WEIR_ENDPOINT_STRLEN);
}

/* Returns the answer. */
static int read_all(const uint8_t *data, size_t n, struct weir_endpoint *src,
		    struct weir_endpoint *dst)
{
	const size_t most = n < WEIR_PP_MAX + 8 ? n : WEIR_PP_MAX + 8;
	struct weir_endpoint a, b;
	int answer, now;

	*src = *dst = untouched;
	answer = weir_pp_read(data, n, src, dst);
	NEED(answer <= WEIR_PP_MAX && answer <= (int)n);
	if (answer <= 0)
		NEED(is_untouched(src) && is_untouched(dst));
	check_end(src);
	check_end(dst);
	for (size_t i = 0; i <= most; i++) {
		uint8_t *copy = malloc(i); /* its end is guarded */

		if (i)
			memcpy(copy, data, i);
		a = b = untouched;
		now = weir_pp_read(copy, i, &a, &b);
		free(copy);
		if (!now)
			continue;
		NEED(now == answer && (now < 0 || now == (int)i));
		NEED(!memcmp(&a, src, sizeof(a)) && !memcmp(&b, dst, sizeof(b)));
		return answer;
	}
	NEED(!answer);
	NEED(n < WEIR_PP_MAX);
	return answer;
}

/* ---- There and back */

static const uint8_t *make_end(const uint8_t *data, struct weir_endpoint *ret)
{
	struct weir_addr a = { .b = { [10] = 0xff, [11] = 0xff } };

	memcpy(a.b + (data[0] & 1 ? 12 : 0), data + 1, data[0] & 1 ? 4 : 16);
	weir_endpoint_set(ret, &a, (uint16_t)(data[17] << 8 | data[18]));
	if (data[0] % 16 == 2)
		*ret = (struct weir_endpoint){ .un = { AF_UNIX, "/x" }, .len = 5 };
	if (data[0] % 16 == 4)
		ret->len = 0;
	return data + 19;
}

static void check_tlvs(const uint8_t *at, const uint8_t *end, const char *name, const uint8_t *alpn,
		       size_t alpn_len)
{
	if (alpn_len) {
		NEED(end - at >= 3 + alpn[0] && at[0] == 1 && !at[1] && at[2] == alpn[0]);
		NEED(!memcmp(at + 3, alpn + 1, alpn[0]));
		at += 3 + alpn[0];
	}
	if (*name) {
		NEED(end - at >= 3 + (int)strlen(name) && at[0] == 2 && at[2] == strlen(name));
		NEED(!memcmp(at + 3, name, strlen(name)));
		at += 3 + strlen(name);
	}
	NEED(at == end);
}

static void there_and_back(const uint8_t *data, size_t n)
{
	const uint8_t *end = data + n, *at;
	struct weir_endpoint src, dst, a, b;
	uint8_t header[WEIR_PP_MAX + 10], alpn[2 + 255] = { 0 };
	char name[256] = "";
	size_t alpn_len, len;
	bool known;
	int version;

	if (n < 2 * 19 + 2)
		return;
	at = make_end(make_end(data, &src), &dst);
	version = 1 + (*at & 1);
	alpn[0] = *at++ % 100;
	alpn_len = *at % 2 && alpn[0] ? 1 + (size_t)alpn[0] + *at % 4 : 0;
	memset(alpn + 1, *at++, sizeof(alpn) - 1);
	n = (size_t)(end - at) < sizeof(name) ? (size_t)(end - at) : sizeof(name) - 1;
	memcpy(name, at, n);

	memset(header, 0xff, sizeof(header));
	len = weir_pp_make(version, &src, &dst, name, alpn, alpn_len, header);
	NEED(len <= WEIR_PP_MAX && (version == 2 || len <= 107));
	NEED(read_all(header, len + 10, &a, &b) == (int)len);
	known = src.len && dst.len && src.sa.sa_family == dst.sa.sa_family &&
		src.sa.sa_family != AF_UNIX;
	if (known)
		NEED(!memcmp(&a, &src, sizeof(a)) && !memcmp(&b, &dst, sizeof(b)));
	else
		NEED(is_untouched(&a) && is_untouched(&b));
	if (version == 2)
		check_tlvs(header + 16 +
				   (!known			? 0 :
				    src.sa.sa_family == AF_INET ? 12 :
								  36),
			   header + len, name, alpn, alpn_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_endpoint src, dst;

	if (!size)
		return 0;
	if (data[0] % 2)
		there_and_back(data + 1, size - 1);
	else
		read_all(data + 1, size - 1, &src, &dst);
	return 0;
}
