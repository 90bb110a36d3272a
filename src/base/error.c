/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static bool is_control(const unsigned char *s, size_t len)
{
	if (len == 1)
		return s[0] < 0x20 || s[0] == 0x7f;
	/* U+0080..U+009F: some terminals act on them as on ESC sequences. */
	return len == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

static void store(struct weir_error *err, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t left = strlen(text), out = 0;

	while (left && out < sizeof(err->msg) - 1) {
		size_t len = weir_utf8_len(s, left);

		if (!len || is_control(s, len)) {
			err->msg[out++] = '?';
			len = len ? len : 1;
		} else if (out + len < sizeof(err->msg)) {
			memcpy(err->msg + out, s, len);
			out += len;
		} else {
			break;
		}
		s += len;
		left -= len;
	}
	err->msg[out] = '\0';
}

int weir_fail(struct weir_error *err, int code, const char *fmt, ...)
{
	/* The arguments may point into err->msg, so format beside it. */
	char text[WEIR_ERROR_MAX];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	store(err, text);
	return code;
}

int weir_fail_prefix(struct weir_error *err, int code, const char *fmt, ...)
{
	char text[2 * WEIR_ERROR_MAX + 2];
	va_list ap;
	size_t len;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(text, WEIR_ERROR_MAX, fmt, ap);
	va_end(ap);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s", err->msg);
	store(err, text);
	return code;
}
