/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define V4_BITS 32u
#define V6_BITS 128u
#define V4_OFFSET 12u /* where the four bytes are in the sixteen */
#define V4_BASE (V6_BITS - V4_BITS)
#define V6_GROUPS 8
#define V6_TEXT_MAX 39u	 /* eight groups of four, seven colons */
#define MAC_TEXT_LEN 17u

static const uint8_t mapped[V4_OFFSET] = { [10] = 0xff, [11] = 0xff };
static const char hex_digits[] = "0123456789abcdef";

bool weir_addr_is_v4(const struct weir_addr *a)
{
	return !memcmp(a->b, mapped, sizeof(mapped));
}

/* A decimal number without sign or leading zero (which elsewhere means octal);
 * *s moves behind it. Returns it, or -EINVAL. */
static int take_number(const char **s, int max)
{
	const char *start = *s;
	int v = 0;

	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (**s - '0');
		if (v > max)
			return -EINVAL;
	}
	if (*s == start || (*start == '0' && *s > start + 1))
		return -EINVAL;
	return v;
}

/* One to four dotted bytes at *s, which moves behind them; the missing ones are
 * zero. Returns how many there were, or -EINVAL. */
static int take_v4(const char **s, struct weir_addr *ret)
{
	struct weir_addr a = { 0 };
	int n = 0;

	memcpy(a.b, mapped, sizeof(mapped));
	do {
		int v = take_number(s, UINT8_MAX);

		if (v < 0)
			return v;
		a.b[V4_OFFSET + n++] = (uint8_t)v;
	} while (n < 4 && **s == '.' && (*s)++);
	*ret = a;
	return n;
}

int weir_addr_parse(const char *s, struct weir_addr *ret)
{
	struct weir_addr a;

	if (strchr(s, ':')) {
		if (inet_pton(AF_INET6, s, a.b) != 1)
			return -EINVAL;
	} else if (take_v4(&s, &a) != 4 || *s) {
		return -EINVAL;
	}
	*ret = a;
	return 0;
}

static bool has_host_bits(const struct weir_addr *a, unsigned int len)
{
	unsigned int i = len / 8;

	if (len % 8 && a->b[i++] & (0xff >> len % 8))
		return true;
	for (; i < sizeof(a->b); i++)
		if (a->b[i])
			return true;
	return false;
}

/* The address part of a prefix; *ret_len is its length where none is given. */
static int parse_net(const char *s, bool allow_short, struct weir_addr *ret,
		     unsigned int *ret_len)
{
	int n;

	*ret_len = V6_BITS;
	if (strchr(s, ':') || !allow_short)
		return weir_addr_parse(s, ret);
	n = take_v4(&s, ret);
	if (n < 0 || *s)
		return -EINVAL;
	*ret_len = V4_BASE + 8 * (unsigned int)n;
	return 0;
}

int weir_prefix_parse(const char *s, bool allow_short, struct weir_prefix *ret)
{
	const char *slash = strchr(s, '/');
	char text[WEIR_ADDR_STRLEN];
	size_t n = slash ? (size_t)(slash - s) : strlen(s);
	struct weir_addr a;
	unsigned int len;

	if (n >= sizeof(text))
		return -EINVAL;
	memcpy(text, s, n);
	text[n] = '\0';
	if (parse_net(text, allow_short, &a, &len) < 0)
		return -EINVAL;
	if (slash) {
		bool v6 = strchr(text, ':');
		const char *end = slash + 1;
		int given = take_number(&end, v6 ? V6_BITS : V4_BITS);

		if (given < 0 || *end)
			return -EINVAL;
		len = (v6 ? 0 : V4_BASE) + (unsigned int)given;
	}
	if (has_host_bits(&a, len))
		return -ERANGE;
	*ret = (struct weir_prefix){
		.addr = a,
		.len = (uint8_t)len,
		.is_v4 = len >= V4_BASE && weir_addr_is_v4(&a),
	};
	return 0;
}

bool weir_prefix_contains(const struct weir_prefix *p, const struct weir_addr *a)
{
	unsigned int bytes = p->len / 8, rest = p->len % 8;

	if (p->is_v4 != weir_addr_is_v4(a) || memcmp(p->addr.b, a->b, bytes))
		return false;
	return !rest || (p->addr.b[bytes] ^ a->b[bytes]) >> (8 - rest) == 0;
}

static char *put_v4(char *p, const uint8_t b[4])
{
	for (int i = 0; i < 4; i++) {
		unsigned int v = b[i];

		if (i)
			*p++ = '.';
		if (v >= 100)
			*p++ = (char)('0' + v / 100);
		if (v >= 10)
			*p++ = (char)('0' + v / 10 % 10);
		*p++ = (char)('0' + v % 10);
	}
	return p;
}

static char *put_group(char *p, unsigned int v)
{
	for (int shift = 12; shift > 0; shift -= 4)
		if (v >> shift)
			*p++ = hex_digits[v >> shift & 0xf];
	*p++ = hex_digits[v & 0xf];
	return p;
}

/* The first of the longest runs of zero groups, of two at least: what "::"
 * stands for. Returns where it begins, or -1. */
static int longest_zeros(const unsigned int group[V6_GROUPS], int *ret_len)
{
	int best = -1, best_len = 1;

	for (int i = 0; i < V6_GROUPS; i++) {
		int n = 0;

		while (i + n < V6_GROUPS && !group[i + n])
			n++;
		if (n > best_len) {
			best = i;
			best_len = n;
		}
		i += n;
	}
	*ret_len = best_len;
	return best;
}

/* By hand: inet_ntop goes through printf, and writes ::1234:5678 with dots. */
static char *put_v6(char *p, const uint8_t b[16])
{
	unsigned int group[V6_GROUPS];
	int zeros, zeros_len;

	for (int i = 0; i < V6_GROUPS; i++)
		group[i] = (unsigned int)b[2 * i] << 8 | b[2 * i + 1];
	zeros = longest_zeros(group, &zeros_len);
	for (int i = 0; i < V6_GROUPS; i++) {
		if (i == zeros) {
			*p++ = ':';
			i += zeros_len - 1;
			if (i == V6_GROUPS - 1)
				*p++ = ':';
			continue;
		}
		if (i)
			*p++ = ':';
		p = put_group(p, group[i]);
	}
	return p;
}

static char *put_addr(char *p, const uint8_t b[16])
{
	return memcmp(b, mapped, sizeof(mapped)) ? put_v6(p, b) :
						   put_v4(p, b + V4_OFFSET);
}

const char *weir_addr_str(const struct weir_addr *a, char buf[WEIR_ADDR_STRLEN])
{
	*put_addr(buf, a->b) = '\0';
	return buf;
}

const char *weir_prefix_str(const struct weir_prefix *p,
			    char buf[WEIR_ADDR_STRLEN])
{
	unsigned int len = p->is_v4 ? p->len - V4_BASE : p->len;
	char *end = put_addr(buf, p->addr.b);

	if (p->len < V6_BITS) {
		*end++ = '/';
		if (len >= 100)
			*end++ = '1';
		if (len >= 10)
			*end++ = (char)('0' + len / 10 % 10);
		*end++ = (char)('0' + len % 10);
	}
	*end = '\0';
	return buf;
}

void weir_buf_add_addr(struct weir_buf *b, const uint8_t addr[16])
{
	char *p = weir_buf_room(b, V6_TEXT_MAX);
	char *end;

	if (!p)
		return;
	end = put_addr(p, addr);
	*end = '\0';
	b->len += (size_t)(end - p);
}

void weir_buf_add_addr6(struct weir_buf *b, const uint8_t addr[16])
{
	struct weir_addr a;

	memcpy(a.b, addr, sizeof(a.b));
	if (weir_addr_is_v4(&a))
		weir_buf_adds(b, "::ffff:");
	weir_buf_add_addr(b, addr);
}

void weir_buf_add_end(struct weir_buf *b, const uint8_t addr[16], uint16_t port)
{
	struct weir_addr a;
	bool brackets;

	memcpy(a.b, addr, sizeof(a.b));
	brackets = port && !weir_addr_is_v4(&a);
	weir_buf_adds(b, brackets ? "[" : "");
	weir_buf_add_addr(b, addr);
	weir_buf_adds(b, brackets ? "]" : "");
	if (port)
		weir_buf_addf(b, ":%u", port);
}

void weir_buf_add_mac(struct weir_buf *b, const uint8_t mac[6])
{
	char *p = weir_buf_room(b, MAC_TEXT_LEN);

	if (!p)
		return;
	for (int i = 0; i < 6; i++) {
		*p++ = hex_digits[mac[i] >> 4];
		*p++ = hex_digits[mac[i] & 0xf];
		*p++ = ':';
	}
	p[-1] = '\0';
	b->len += MAC_TEXT_LEN;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @groups numbers of up to @digits hexadecimal digits with one kind of
 * separator; @exact: of exactly as many. */
static int parse_mac_groups(const char *s, int groups, int digits, bool exact,
			    uint8_t ret[6])
{
	char sep = 0;

	for (int g = 0; g < groups; g++) {
		unsigned int v = 0;
		int n = 0;

		if (g && (!sep ? !strchr(":-.", *s) || !*s : *s != sep))
			return -EINVAL;
		if (g)
			sep = *s++;
		for (; n < digits && hex_value(*s) >= 0; n++)
			v = v << 4 | (unsigned int)hex_value(*s++);
		if (!n || (exact && n < digits))
			return -EINVAL;
		for (int i = 6 / groups; i--; v >>= 8)
			ret[g * (6 / groups) + i] = (uint8_t)v;
	}
	return *s ? -EINVAL : 0;
}

int weir_mac_parse(const char *s, uint8_t ret[6])
{
	uint8_t mac[6];

	/* "aa:bb:cc:dd:ee:ff", or "aabb.ccdd.eeff" as switches print it. */
	if (parse_mac_groups(s, 6, 2, false, mac) < 0 &&
	    parse_mac_groups(s, 3, 4, true, mac) < 0)
		return -EINVAL;
	memcpy(ret, mac, sizeof(mac));
	return 0;
}
