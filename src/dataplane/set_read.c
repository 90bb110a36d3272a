/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feeds: a prefix a line. The forms that make up feeds of a million lines are read
 * here, by hand; for whatever else there is, and for what is wrong, it is
 * weir_prefix_parse() that decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/set_impl.h"

#define TEXT_MAX (1UL << 30)
#define READ_MIN (64UL << 10)
#define V4_LEN 96
#define V6_LEN 128
#define V6_GROUPS 8

struct parser {
	const char *source;
	size_t line;
	struct weir_prefix *v;
	size_t n, room;
	struct weir_error *err;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_comment(char c)
{
	return c == '#' || c == ';';
}

/* ---- The common forms. Each returns where it stopped, NULL for another form. */

/* A decimal number of up to three digits, without a leading zero. */
static const char *take_number(const char *s, const char *end, unsigned int max, unsigned int *ret)
{
	const char *first = s;
	unsigned int v = 0;

	for (; s < end && s - first < 3 && *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (unsigned int)(*s - '0');
	if (s == first || (*first == '0' && s - first > 1) || v > max)
		return NULL;
	*ret = v;
	return s;
}

static const char *take_v4(const char *s, const char *end, struct weir_prefix *ret)
{
	unsigned int byte;

	*ret = (struct weir_prefix){ .addr.b = { [10] = 0xff, 0xff }, .is_v4 = true };
	for (int i = 12; i < 16; i++) {
		if (i > 12 && (s == end || *s++ != '.'))
			return NULL;
		s = take_number(s, end, UINT8_MAX, &byte);
		if (!s)
			return NULL;
		ret->addr.b[i] = (uint8_t)byte;
	}
	return s;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *take_group(const char *s, const char *end, unsigned int *ret)
{
	const char *first = s;
	unsigned int v = 0;

	for (; s < end && s - first < 4 && hex_value(*s) >= 0; s++)
		v = v << 4 | (unsigned int)hex_value(*s);
	if (s == first)
		return NULL;
	*ret = v;
	return s;
}

static void put_groups(uint8_t *to, const uint16_t *group, int n)
{
	for (int i = 0; i < n; i++) {
		to[2 * i] = (uint8_t)(group[i] >> 8);
		to[2 * i + 1] = (uint8_t)group[i];
	}
}

/* Groups of hexadecimal digits and at most one "::". */
static const char *take_v6(const char *s, const char *end, struct weir_prefix *ret)
{
	uint16_t group[V6_GROUPS];
	int n = 0, gap = -1;
	unsigned int v;

	*ret = (struct weir_prefix){ 0 };
	while (s < end && *s != '/') {
		if (end - s >= 2 && s[0] == ':' && s[1] == ':') {
			if (gap >= 0)
				return NULL;
			gap = n;
			s += 2;
			if (s == end || *s == '/')
				break;
		} else if (n && (*s++ != ':')) {
			return NULL;
		}
		if (n == V6_GROUPS)
			return NULL;
		s = take_group(s, end, &v);
		if (!s)
			return NULL;
		group[n++] = (uint16_t)v;
	}
	if (gap < 0 ? n != V6_GROUPS : n == V6_GROUPS)
		return NULL;
	put_groups(ret->addr.b, group, gap < 0 ? n : gap);
	if (gap >= 0)
		put_groups(ret->addr.b + sizeof(ret->addr.b) - 2 * (n - gap), group + gap, n - gap);
	return s;
}

static bool has_host_bits(const struct weir_prefix *p)
{
	const struct weir_set_key k = weir_set_key_of(p, 0);

	if (p->len >= 64)
		return p->len < 128 && k.lo << (p->len - 64);
	return k.lo || (p->len ? k.hi << p->len : k.hi);
}

static bool parse_fast(const char *s, const char *end, struct weir_prefix *ret)
{
	const bool v6 = memchr(s, ':', (size_t)(end - s));
	unsigned int len = v6 ? V6_LEN : V6_LEN - V4_LEN;

	s = v6 ? take_v6(s, end, ret) : take_v4(s, end, ret);
	if (!s)
		return false;
	if (s < end && *s == '/')
		s = take_number(s + 1, end, len, &len);
	if (s != end)
		return false;
	ret->len = (uint8_t)(v6 ? len : V4_LEN + len);
	ret->is_v4 = ret->len >= V4_LEN && weir_addr_is_v4(&ret->addr);
	return !has_host_bits(ret);
}

/* ---- Lines */

static int fail_word(const struct parser *p, int code, const char *word, size_t n, const char *text)
{
	return weir_fail(p->err, code, "%s:%zu: '%.*s' %s", p->source, p->line,
			 n < WEIR_ADDR_STRLEN ? (int)n : WEIR_ADDR_STRLEN, word, text);
}

static int fail_host_bits(const struct parser *p, const char *text)
{
	char net[WEIR_ADDR_STRLEN] = "";
	struct weir_prefix prefix;
	size_t n = strcspn(text, "/");

	/* The same address, to say what it should have been. */
	memcpy(net, text, n);
	if (weir_prefix_parse(net, false, &prefix))
		return fail_word(p, -EINVAL, text, strlen(text), "is not a prefix");
	return weir_fail(p->err, -EINVAL,
			 "%s:%zu: '%s' has bits set behind its length: write the network's first "
			 "address, or %s for this one alone",
			 p->source, p->line, text, net);
}

static int parse_word(const struct parser *p, const char *s, const char *end,
		      struct weir_prefix *ret)
{
	const size_t n = (size_t)(end - s);
	char text[WEIR_ADDR_STRLEN];
	int r;

	if (parse_fast(s, end, ret))
		return 0;
	if (n >= sizeof(text) || memchr(s, '\0', n))
		return fail_word(
			p, -EINVAL, s, n,
			"is not an address or prefix: write 192.0.2.0/24 or 2001:db8::/32");
	memcpy(text, s, n);
	text[n] = '\0';
	r = weir_prefix_parse(text, false, ret);
	if (r == -ERANGE)
		return fail_host_bits(p, text);
	return r ? fail_word(p, -EINVAL, s, n,
			     "is not an address or prefix: write 192.0.2.0/24 or 2001:db8::/32") :
		   0;
}

static struct weir_prefix *next_prefix(struct parser *p)
{
	if (p->n == WEIR_SET_PREFIXES_MAX) {
		weir_fail(p->err, -E2BIG, "%s:%zu: a set holds up to %u prefixes: split it",
			  p->source, p->line, WEIR_SET_PREFIXES_MAX);
		return NULL;
	}
	if (p->n == p->room) {
		size_t room = p->room * 2 + 1024;
		struct weir_prefix *more = realloc(p->v, room * sizeof(*more));

		if (!more) {
			weir_fail(p->err, -ENOMEM, "%s:%zu: no memory for so many prefixes",
				  p->source, p->line);
			return NULL;
		}
		p->v = more;
		p->room = room;
	}
	return &p->v[p->n];
}

static int parse_line(struct parser *p, const char *s, const char *end)
{
	struct weir_prefix *prefix;
	const char *word;
	int ret;

	while (s < end && is_blank(*s))
		s++;
	if (s == end || is_comment(*s))
		return 0;
	for (word = s; s < end && !is_blank(*s) && !is_comment(*s); s++)
		;
	prefix = next_prefix(p);
	if (!prefix)
		return p->n == WEIR_SET_PREFIXES_MAX ? -E2BIG : -ENOMEM;
	ret = parse_word(p, word, s, prefix);
	if (ret)
		return ret;
	p->n++;
	while (s < end && is_blank(*s))
		s++;
	if (s == end || is_comment(*s))
		return 0;
	for (word = s; s < end && !is_blank(*s) && !is_comment(*s); s++)
		;
	return fail_word(p, -EINVAL, word, (size_t)(s - word),
			 "is more than one prefix a line: put it on its own, or behind a #");
}

int weir_set_parse(const char *text, size_t len, const char *source, struct weir_prefix **ret,
		   size_t *ret_n, struct weir_error *err)
{
	struct parser p = { .source = source, .line = 1, .err = err };
	const char *end = text + len;
	int r = 0;

	for (const char *s = text; !r && s < end; p.line++) {
		const char *stop = memchr(s, '\n', (size_t)(end - s));

		stop = stop ? stop : end;
		r = parse_line(&p, s, stop);
		s = stop + 1;
	}
	/* Never NULL, as where there are some. */
	if (!r && !p.v && !next_prefix(&p))
		r = -ENOMEM;
	if (r) {
		free(p.v);
		return r;
	}
	*ret = p.v;
	*ret_n = p.n;
	return 0;
}

/* ---- Files */

static int read_all(int fd, const char *source, char **ret, size_t *ret_len, struct weir_error *err)
{
	struct stat st;
	size_t n = 0, room = READ_MIN;
	weir_autofree char *text = NULL;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		room = (size_t)st.st_size + 1;
	for (;;) {
		ssize_t got;

		if (!text || n == room) {
			char *more;

			room = text ? room * 2 : room;
			if (room > 2 * TEXT_MAX)
				return weir_fail(err, -EFBIG, "%s is larger than %lu MB: split it",
						 source, TEXT_MAX >> 20);
			more = realloc(text, room);
			if (!more)
				return weir_fail(err, -ENOMEM, "no memory to read %s", source);
			text = more;
		}
		got = read(fd, text + n, room - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return weir_fail(err, -errno, "cannot read %s: %m", source);
		if (!got)
			break;
		n += (size_t)got;
	}
	*ret = WEIR_TAKE_PTR(text);
	*ret_len = n;
	return 0;
}

int weir_set_read(const char *path, struct weir_prefix **ret, size_t *ret_n, struct weir_error *err)
{
	const bool from_stdin = !strcmp(path, "-");
	const char *source = from_stdin ? "standard input" : path;
	weir_autoclose int opened = -1;
	weir_autofree char *text = NULL;
	size_t len = 0;
	int r;

	if (!from_stdin) {
		opened = open(path, O_RDONLY | O_CLOEXEC);
		if (opened < 0)
			return weir_fail(err, -errno, "cannot open %s: %m", path);
	}
	r = read_all(from_stdin ? STDIN_FILENO : opened, source, &text, &len, err);
	return r ? r : weir_set_parse(text, len, source, ret, ret_n, err);
}
