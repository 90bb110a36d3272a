/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/pp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- Version 1: a line */

#define V1_BEGIN "PROXY "
#define V1_BEGIN_LEN (sizeof(V1_BEGIN) - 1)
#define V1_MAX 107 /* with CRLF, as the specification counts it */
#define V1_WORDS 5 /* family, two addresses, two ports */
#define V1_UNKNOWN "UNKNOWN"
#define PORT_DIGITS 5

/* ---- Version 2: a header, addresses, TLVs */

static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

#define V2_HEAD 16 /* signature, version and command, family, length */
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_UNSPEC 0x00
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_UNIX 0x31
#define V2_FAMILY 0xf0
#define V2_PROTOCOL 0x0f
#define V2_PROTOCOL_MAX 2 /* unspecified, stream, datagram */
#define V2_UNIX_PATH 108

#define TLV_HEAD 3 /* type, length */
#define TLV_ALPN 0x01
#define TLV_AUTHORITY 0x02
#define TLV_CRC32C 0x03
#define CRC32C_LEN 4
#define CRC32C_POLYNOMIAL 0x82f63b78 /* Castagnoli's, reflected */

static uint16_t get_be16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static uint8_t *put_be16(uint8_t *b, size_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
	return b + 2;
}

/* ---- Reading version 1 */

/* Decimal, without sign and leading zeros. */
static bool read_port(const char *s, uint16_t *ret)
{
	const size_t n = strlen(s);
	uint32_t port = 0;

	if (!n || n > PORT_DIGITS || (n > 1 && *s == '0'))
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		port = port * 10 + (uint32_t)(*s - '0');
	}
	*ret = (uint16_t)port;
	return port <= UINT16_MAX;
}

static bool read_v1_end(int family, const char *address, const char *port,
			struct weir_endpoint *ret)
{
	struct weir_addr a = { .b = { [10] = 0xff, [11] = 0xff } };
	uint16_t number;

	if (inet_pton(family, address, family == AF_INET ? a.b + 12 : a.b) != 1 ||
	    !read_port(port, &number))
		return false;
	weir_endpoint_set(ret, &a, number);
	return true;
}

/* What stands between "PROXY " and CRLF; it is changed. */
static int read_v1_words(char *line, size_t n, struct weir_endpoint *src, struct weir_endpoint *dst)
{
	const size_t unknown = strlen(V1_UNKNOWN);
	char *word[V1_WORDS], *rest = line;
	struct weir_endpoint from, to;
	size_t words = 0;
	int family;

	/* Whatever follows UNKNOWN is to be ignored. */
	if (!strncmp(line, V1_UNKNOWN, unknown) && (n == unknown || line[unknown] == ' '))
		return 0;
	if (strlen(line) != n)
		return -EINVAL;
	while (rest && words < V1_WORDS)
		word[words++] = strsep(&rest, " ");
	if (rest || words < V1_WORDS)
		return -EINVAL;
	if (!strcmp(word[0], "TCP4"))
		family = AF_INET;
	else if (!strcmp(word[0], "TCP6"))
		family = AF_INET6;
	else
		return -EINVAL;
	if (!read_v1_end(family, word[1], word[3], &from) ||
	    !read_v1_end(family, word[2], word[4], &to))
		return -EINVAL;
	*src = from;
	*dst = to;
	return 0;
}

static int read_v1(const uint8_t *data, size_t n, struct weir_endpoint *src,
		   struct weir_endpoint *dst)
{
	const size_t look = n < V1_MAX ? n : V1_MAX;
	const uint8_t *nl = memchr(data, '\n', look);
	char line[V1_MAX];
	size_t len;

	if (!nl)
		return look == V1_MAX ? -EINVAL : 0;
	len = (size_t)(nl - data) + 1;
	if (len < V1_BEGIN_LEN + 2 || nl[-1] != '\r')
		return -EINVAL;
	n = len - V1_BEGIN_LEN - 2;
	memcpy(line, data + V1_BEGIN_LEN, n);
	line[n] = '\0';
	if (read_v1_words(line, n, src, dst))
		return -EINVAL;
	return (int)len;
}

/* ---- Reading version 2 */

/* Slow and small: a checksum is rare, and a header short. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	return crc;
}

/* The checksum at @at is over the whole header with zeros in its own place. */
static bool crc_holds(const uint8_t *header, size_t len, size_t at)
{
	static const uint8_t zeros[CRC32C_LEN];
	const uint8_t *sum = header + at;
	uint32_t crc = crc32c(UINT32_MAX, header, at);

	crc = crc32c(crc, zeros, sizeof(zeros));
	crc = ~crc32c(crc, sum + CRC32C_LEN, len - at - CRC32C_LEN);
	return crc == ((uint32_t)get_be16(sum) << 16 | get_be16(sum + 2));
}

/* The TLVs fill the header from @at to its end, and a checksum among them holds. */
static bool tlvs_hold(const uint8_t *header, size_t len, size_t at)
{
	while (at < len) {
		size_t n;

		if (len - at < TLV_HEAD)
			return false;
		n = get_be16(header + at + 1);
		if (len - at - TLV_HEAD < n)
			return false;
		if (header[at] == TLV_CRC32C &&
		    (n != CRC32C_LEN || !crc_holds(header, len, at + TLV_HEAD)))
			return false;
		at += TLV_HEAD + n;
	}
	return true;
}

static void read_v2_inet(const uint8_t *b, struct weir_endpoint *src, struct weir_endpoint *dst)
{
	struct weir_addr from = { .b = { [10] = 0xff, [11] = 0xff } }, to = from;

	memcpy(from.b + 12, b, 4);
	memcpy(to.b + 12, b + 4, 4);
	weir_endpoint_set(src, &from, get_be16(b + 8));
	weir_endpoint_set(dst, &to, get_be16(b + 10));
}

static void read_v2_inet6(const uint8_t *b, struct weir_endpoint *src, struct weir_endpoint *dst)
{
	struct weir_addr from, to;

	memcpy(from.b, b, sizeof(from.b));
	memcpy(to.b, b + 16, sizeof(to.b));
	weir_endpoint_set(src, &from, get_be16(b + 32));
	weir_endpoint_set(dst, &to, get_be16(b + 34));
}

/* A path; what has none (an unnamed or an abstract socket) becomes an unnamed one. */
static void read_path(const uint8_t *b, struct weir_endpoint *ret)
{
	const size_t n = strnlen((const char *)b, V2_UNIX_PATH);
	size_t len = offsetof(struct sockaddr_un, sun_path) + n;

	_Static_assert(sizeof(ret->un.sun_path) == V2_UNIX_PATH, "as on Linux");
	*ret = (struct weir_endpoint){ .un.sun_family = AF_UNIX };
	memcpy(ret->un.sun_path, b, n);
	ret->len = (socklen_t)(n && n < V2_UNIX_PATH ? len + 1 : len);
}

static void read_v2_unix(const uint8_t *b, struct weir_endpoint *src, struct weir_endpoint *dst)
{
	read_path(b, src);
	read_path(b + V2_UNIX_PATH, dst);
}

static const struct {
	uint8_t family, len;
	void (*read)(const uint8_t *b, struct weir_endpoint *src, struct weir_endpoint *dst);
} v2_families[] = {
	{ V2_TCP4, 12, read_v2_inet },
	{ V2_TCP6, 36, read_v2_inet6 },
	{ V2_UNIX, 216, read_v2_unix },
};

/* What follows the first V2_HEAD bytes of a PROXY command. */
static int read_v2_body(const uint8_t *header, size_t len, struct weir_endpoint *src,
			struct weir_endpoint *dst)
{
	const uint8_t family = header[13];

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(v2_families); i++) {
		const size_t tlvs = V2_HEAD + v2_families[i].len;

		/* Datagrams (SOCK_DGRAM) have the addresses of the streams. */
		if ((family ^ v2_families[i].family) & V2_FAMILY)
			continue;
		if (len < tlvs || !tlvs_hold(header, len, tlvs))
			return -EINVAL;
		/* ...but those are not where this connection comes from. */
		if (family == v2_families[i].family)
			v2_families[i].read(header + V2_HEAD, src, dst);
		return 0;
	}
	/* UNSPEC: what is in there is to be ignored. */
	return 0;
}

static int read_v2(const uint8_t *data, size_t n, struct weir_endpoint *src,
		   struct weir_endpoint *dst)
{
	size_t len;

	if (n > 12 && data[12] != V2_LOCAL && data[12] != V2_PROXY)
		return -EINVAL;
	if (n > 13 && data[12] == V2_PROXY &&
	    ((data[13] & V2_FAMILY) > (V2_UNIX & V2_FAMILY) ||
	     (data[13] & V2_PROTOCOL) > V2_PROTOCOL_MAX))
		return -EINVAL;
	if (n < V2_HEAD)
		return 0;
	len = V2_HEAD + (size_t)get_be16(data + 14);
	if (len > WEIR_PP_MAX)
		return -E2BIG;
	if (n < len)
		return 0;
	/* A LOCAL connection is the sender's own: its block is discarded, whatever is in it. */
	if (data[12] == V2_PROXY && read_v2_body(data, len, src, dst))
		return -EINVAL;
	return (int)len;
}

static bool begins(const void *data, size_t n, const void *with, size_t len)
{
	return !memcmp(data, with, n < len ? n : len);
}

int weir_pp_read(const void *data, size_t n, struct weir_endpoint *src, struct weir_endpoint *dst)
{
	if (!n)
		return 0;
	if (begins(data, n, v2_signature, sizeof(v2_signature)))
		return read_v2(data, n, src, dst);
	if (begins(data, n, V1_BEGIN, V1_BEGIN_LEN))
		return read_v1(data, n, src, dst);
	return -EINVAL;
}

/* ---- Making */

/* AF_INET or AF_INET6 when both ends are of it, IPv4 that is mapped counting as IPv4. */
static int common_family(const struct weir_endpoint *src, const struct weir_endpoint *dst,
			 struct weir_addr *from, struct weir_addr *to)
{
	if (!src->len || !dst->len || src->sa.sa_family == AF_UNIX || dst->sa.sa_family == AF_UNIX)
		return AF_UNSPEC;
	*from = weir_endpoint_addr(src);
	*to = weir_endpoint_addr(dst);
	if (weir_addr_is_v4(from) != weir_addr_is_v4(to))
		return AF_UNSPEC;
	return weir_addr_is_v4(from) ? AF_INET : AF_INET6;
}

static size_t make_v1(const struct weir_endpoint *src, const struct weir_endpoint *dst,
		      uint8_t ret[WEIR_PP_MAX])
{
	char from_text[WEIR_ADDR_STRLEN], to_text[WEIR_ADDR_STRLEN];
	struct weir_addr from, to;
	const int family = common_family(src, dst, &from, &to);

	if (family == AF_UNSPEC)
		return (size_t)snprintf((char *)ret, V1_MAX + 1, V1_BEGIN V1_UNKNOWN "\r\n");
	return (size_t)snprintf((char *)ret, V1_MAX + 1, V1_BEGIN "TCP%c %s %s %u %u\r\n",
				family == AF_INET ? '4' : '6', weir_addr_str(&from, from_text),
				weir_addr_str(&to, to_text), weir_endpoint_port(src),
				weir_endpoint_port(dst));
}

static uint8_t *put_tlv(uint8_t *at, uint8_t type, const void *value, size_t n)
{
	*at++ = type;
	at = put_be16(at, n);
	memcpy(at, value, n);
	return at + n;
}

/* The last @n bytes: the address itself, of IPv4 mapped. */
static uint8_t *put_addr(uint8_t *at, const struct weir_addr *a, size_t n)
{
	memcpy(at, a->b + sizeof(a->b) - n, n);
	return at + n;
}

static size_t make_v2(const struct weir_endpoint *src, const struct weir_endpoint *dst,
		      const char *name, const uint8_t *alpn, size_t alpn_len,
		      uint8_t ret[WEIR_PP_MAX])
{
	struct weir_addr from, to;
	const int family = common_family(src, dst, &from, &to);
	const size_t addr_len = family == AF_INET ? 4 : 16;
	uint8_t *at = ret + V2_HEAD;

	memcpy(ret, v2_signature, sizeof(v2_signature));
	ret[12] = family == AF_UNSPEC ? V2_LOCAL : V2_PROXY;
	ret[13] = family == AF_UNSPEC ? V2_UNSPEC : family == AF_INET ? V2_TCP4 : V2_TCP6;
	if (family != AF_UNSPEC) {
		at = put_addr(at, &from, addr_len);
		at = put_addr(at, &to, addr_len);
		at = put_be16(at, weir_endpoint_port(src));
		at = put_be16(at, weir_endpoint_port(dst));
	}
	if (alpn_len && alpn[0] && alpn[0] < alpn_len)
		at = put_tlv(at, TLV_ALPN, alpn + 1, alpn[0]);
	if (*name)
		at = put_tlv(at, TLV_AUTHORITY, name, strnlen(name, WEIR_PP_NAME_MAX));
	put_be16(ret + 14, (size_t)(at - ret) - V2_HEAD);
	return (size_t)(at - ret);
}

size_t weir_pp_make(int version, const struct weir_endpoint *src, const struct weir_endpoint *dst,
		    const char *name, const uint8_t *alpn, size_t alpn_len,
		    uint8_t ret[WEIR_PP_MAX])
{
	if (version == 1)
		return make_v1(src, dst, ret);
	return make_v2(src, dst, name, alpn, alpn_len, ret);
}
