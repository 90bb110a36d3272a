/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define DOUBLE_MAX_TEXT 32

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define EACH_BYTE(c) (0x0101010101010101ULL * (c))

/* Eight characters at once, as text is nearly always plain. A bit 7 in the sum
 * marks a byte that must be looked at; a carry may mark its neighbour too,
 * which is checked alone then and found plain. */
static bool are_plain(const char *s)
{
	uint64_t v, quote, slash, marks;

	memcpy(&v, s, sizeof(v));
	quote = v ^ EACH_BYTE('"');
	slash = v ^ EACH_BYTE('\\');
	marks = v | (v + EACH_BYTE(1)) | (v - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) |
		(slash - EACH_BYTE(1));
	return !(marks & EACH_BYTE(0x80));
}

static size_t plain_run(const char *s, size_t n)
{
	size_t i = 0;

	while (i + sizeof(uint64_t) <= n && are_plain(s + i))
		i += sizeof(uint64_t);
	while (i < n && is_plain((unsigned char)s[i]))
		i++;
	return i;
}

static void add_escape(struct weir_buf *b, unsigned int c)
{
	/* Pairs of a character and the letter that stands for it. */
	static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i < sizeof(letters) - 1; i += 2) {
		if ((unsigned char)letters[i] == c) {
			char esc[2] = { '\\', letters[i + 1] };

			weir_buf_add(b, esc, sizeof(esc));
			return;
		}
	}
	weir_buf_add(b, "\\u", 2);
	weir_buf_addx(b, c, 4);
}

/* One character that is not plain; returns how many bytes of @s it took. */
static size_t add_special(struct weir_buf *b, const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t len = weir_utf8_len(u, n);

	if (!len) {
		weir_buf_add(b, REPLACEMENT, sizeof(REPLACEMENT) - 1);
		return 1;
	}
	if (len == 1)
		add_escape(b, u[0]);
	else if (len == 2 && u[0] == 0xc2 && u[1] < 0xa0)
		add_escape(b, u[1]); /* C1 controls: a terminal may obey them. */
	else
		weir_buf_add(b, s, len);
	return len;
}

static void add_escaped(struct weir_buf *b, const char *s, size_t n, size_t run)
{
	weir_buf_addc(b, '"');
	while (n) {
		weir_buf_add(b, s, run);
		s += run;
		n -= run;
		if (n) {
			size_t len = add_special(b, s, n);

			s += len;
			n -= len;
		}
		run = plain_run(s, n);
	}
	weir_buf_addc(b, '"');
}

/* Between @before and @after, where they are not 0: all in one append, since
 * this is done for each key and most values of each packet. */
static void add_string(struct weir_buf *b, char before, const char *s, size_t n,
		       char after)
{
	size_t run = plain_run(s, n);
	char *p = weir_buf_room(b, n + 4);
	char *start = p;

	if (!p)
		return;
	if (before)
		*p++ = before;
	if (run < n) {
		b->len += (size_t)(p - start);
		add_escaped(b, s, n, run);
		if (after)
			weir_buf_addc(b, after);
		return;
	}
	*p++ = '"';
	if (n)
		memcpy(p, s, n);
	p += n;
	*p++ = '"';
	if (after)
		*p++ = after;
	*p = '\0';
	b->len += (size_t)(p - start);
}

/* The comma and the key before a value. Outermost values follow each other as
 * the caller separates them (by newlines), so depth 0 knows no comma. */
static void begin(struct weir_json *j, const char *key)
{
	bool comma = false;

	if (j->depth) {
		comma = j->comma[j->depth - 1];
		j->comma[j->depth - 1] = true;
	}
	if (key)
		add_string(j->out, comma ? ',' : 0, key, strlen(key), ':');
	else if (comma)
		weir_buf_addc(j->out, ',');
}

static void open_level(struct weir_json *j, const char *key, char bracket)
{
	assert(j->depth < WEIR_JSON_DEPTH);
	begin(j, key);
	weir_buf_addc(j->out, bracket);
	j->comma[j->depth++] = false;
}

static void close_level(struct weir_json *j, char bracket)
{
	assert(j->depth > 0);
	j->depth--;
	weir_buf_addc(j->out, bracket);
}

void weir_json_init(struct weir_json *j, struct weir_buf *out)
{
	*j = (struct weir_json){ .out = out };
}

void weir_json_object(struct weir_json *j, const char *key)
{
	open_level(j, key, '{');
}

void weir_json_end_object(struct weir_json *j)
{
	close_level(j, '}');
}

void weir_json_array(struct weir_json *j, const char *key)
{
	open_level(j, key, '[');
}

void weir_json_end_array(struct weir_json *j)
{
	close_level(j, ']');
}

void weir_json_str(struct weir_json *j, const char *key, const char *val)
{
	if (val)
		weir_json_strn(j, key, val, strlen(val));
}

void weir_json_strn(struct weir_json *j, const char *key, const char *val,
		    size_t n)
{
	begin(j, key);
	add_string(j->out, 0, val, n, 0);
}

void weir_json_uint(struct weir_json *j, const char *key, uint64_t val)
{
	begin(j, key);
	weir_buf_addu(j->out, val);
}

void weir_json_int(struct weir_json *j, const char *key, int64_t val)
{
	begin(j, key);
	if (val < 0)
		weir_buf_addc(j->out, '-');
	weir_buf_addu(j->out, val < 0 ? -(uint64_t)val : (uint64_t)val);
}

void weir_json_bool(struct weir_json *j, const char *key, bool val)
{
	begin(j, key);
	weir_buf_adds(j->out, val ? "true" : "false");
}

void weir_json_raw(struct weir_json *j, const char *key, const char *json, size_t n)
{
	begin(j, key);
	weir_buf_add(j->out, json, n);
}

void weir_json_double(struct weir_json *j, const char *key, double val)
{
	char text[DOUBLE_MAX_TEXT];
	char *comma;

	if (!isfinite(val)) {
		/* JSON has no such number, and what is unknown is absent; only
		 * an array must keep the place. */
		if (!key) {
			begin(j, key);
			weir_buf_adds(j->out, "null");
		}
		return;
	}
	/* Fifteen digits survive any decimal; seventeen any double. */
	snprintf(text, sizeof(text), "%.15g", val);
	if (strtod(text, NULL) != val)
		snprintf(text, sizeof(text), "%.17g", val);
	/* The user's locale may write a decimal comma. */
	comma = strchr(text, ',');
	if (comma)
		*comma = '.';
	begin(j, key);
	weir_buf_adds(j->out, text);
}

void weir_json_time(struct weir_json *j, const char *key, uint64_t ns)
{
	begin(j, key);
	weir_buf_addc(j->out, '"');
	weir_buf_add_rfc3339(j->out, ns);
	weir_buf_addc(j->out, '"');
}
