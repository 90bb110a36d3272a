/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/buf.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUF_MIN 256u
#define U64_DIGITS 20u
#define U64_HEX_DIGITS 16u

static const char digit_pairs[] = "00010203040506070809"
				  "10111213141516171819"
				  "20212223242526272829"
				  "30313233343536373839"
				  "40414243444546474849"
				  "50515253545556575859"
				  "60616263646566676869"
				  "70717273747576777879"
				  "80818283848586878889"
				  "90919293949596979899";

void weir_buf_free(struct weir_buf *b)
{
	free(b->data);
	*b = (struct weir_buf){ 0 };
}

/* Out of line, so that the common case of weir_buf_room stays a compare. */
static __attribute__((noinline)) bool grow(struct weir_buf *b, size_t n)
{
	size_t need, cap = b->cap ? b->cap : BUF_MIN;
	char *data;

	if (b->failed)
		return false;
	if (n >= SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return false;
	}
	need = b->len + n + 1;
	while (cap < need)
		cap *= 2;
	data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	data[b->len] = '\0';
	b->data = data;
	b->cap = cap;
	return true;
}

char *weir_buf_room(struct weir_buf *b, size_t n)
{
	/* One byte more than asked for, for the NUL. */
	if (b->cap - b->len > n && !b->failed)
		return b->data + b->len;
	return grow(b, n) ? b->data + b->len : NULL;
}

static void added(struct weir_buf *b, size_t n)
{
	b->len += n;
	b->data[b->len] = '\0';
}

void weir_buf_add(struct weir_buf *b, const void *data, size_t n)
{
	char *p = weir_buf_room(b, n);

	if (!p || !n)
		return;
	memcpy(p, data, n);
	added(b, n);
}

void weir_buf_addc(struct weir_buf *b, char c)
{
	char *p = weir_buf_room(b, 1);

	if (!p)
		return;
	*p = c;
	added(b, 1);
}

void weir_buf_adds(struct weir_buf *b, const char *s)
{
	weir_buf_add(b, s, strlen(s));
}

void weir_buf_addf(struct weir_buf *b, const char *fmt, ...)
{
	char *p = weir_buf_room(b, 0);
	va_list ap;
	int n;

	if (!p)
		return;
	va_start(ap, fmt);
	n = vsnprintf(p, b->cap - b->len, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= b->cap - b->len) {
		*p = '\0';
		p = weir_buf_room(b, (size_t)n);
		if (!p)
			return;
		va_start(ap, fmt);
		n = vsnprintf(p, b->cap - b->len, fmt, ap);
		va_end(ap);
	}
	if (n < 0) {
		*p = '\0';
		b->failed = true;
		return;
	}
	b->len += (size_t)n;
}

static unsigned int count_digits(uint64_t v)
{
	unsigned int n = 1;

	for (; v >= 10000; v /= 10000)
		n += 4;
	return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

/* Write the last digits of @v so that they end before @end. */
static void put_digits(char *end, uint64_t v)
{
	while (v >= 100) {
		end -= 2;
		memcpy(end, digit_pairs + 2 * (v % 100), 2);
		v /= 100;
	}
	if (v >= 10)
		memcpy(end - 2, digit_pairs + 2 * v, 2);
	else
		end[-1] = (char)('0' + v);
}

void weir_buf_addu(struct weir_buf *b, uint64_t v)
{
	char *p = weir_buf_room(b, U64_DIGITS);
	unsigned int n;

	if (!p)
		return;
	n = count_digits(v);
	put_digits(p + n, v);
	added(b, n);
}

void weir_buf_addu_pad(struct weir_buf *b, uint64_t v, unsigned int width)
{
	unsigned int n = count_digits(v);
	unsigned int pad = width > n ? width - n : 0;
	char *p = weir_buf_room(b, (size_t)pad + n);

	if (!p)
		return;
	memset(p, '0', pad);
	put_digits(p + pad + n, v);
	added(b, (size_t)pad + n);
}

void weir_buf_addx(struct weir_buf *b, uint64_t v, unsigned int width)
{
	unsigned int n = v ? (67u - (unsigned int)__builtin_clzll(v)) / 4 : 1;
	unsigned int pad = width > n ? width - n : 0;
	char *p = weir_buf_room(b, (size_t)pad + U64_HEX_DIGITS);

	if (!p)
		return;
	memset(p, '0', pad);
	p += pad;
	for (unsigned int i = n; i--; v >>= 4)
		p[i] = "0123456789abcdef"[v & 0xf];
	added(b, (size_t)pad + n);
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done > 0) {
			p += done;
			n -= (size_t)done;
		} else if (!done) {
			return -EIO;
		} else if (errno == EAGAIN) {
			/* A terminal or pipe that someone else made non-blocking. */
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int weir_buf_flush(struct weir_buf *b, int fd)
{
	/* What was appended before a failure is cut somewhere: not worth writing. */
	int r = b->failed ? -ENOMEM : write_all(fd, b->data, b->len);

	b->failed = false;
	weir_buf_reset(b);
	return r;
}
