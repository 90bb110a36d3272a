/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A growable byte buffer; the one string builder of the program.
 *
 * Zero-initialise it. An allocation failure is remembered in `failed` and the
 * later appends do nothing, so that a run of appends is checked once.
 * `data` is NUL-terminated whenever it is not NULL (the NUL is not in `len`).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_buf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

void weir_buf_free(struct weir_buf *b);
static inline void weir_buf_reset(struct weir_buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

/* Make room for @n more bytes and a NUL and return where they go, or NULL. The
 * caller fills them, writes the NUL and adds to `len`; for hot paths. */
char *weir_buf_room(struct weir_buf *b, size_t n);

void weir_buf_add(struct weir_buf *b, const void *data, size_t n);
void weir_buf_addc(struct weir_buf *b, char c);
void weir_buf_adds(struct weir_buf *b, const char *s);
void weir_buf_addf(struct weir_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Decimal and hexadecimal without printf; @width pads with zeros. */
void weir_buf_addu(struct weir_buf *b, uint64_t v);
void weir_buf_addu_pad(struct weir_buf *b, uint64_t v, unsigned int width);
void weir_buf_addx(struct weir_buf *b, uint64_t v, unsigned int width);

/* Write everything to @fd (retrying short writes and EINTR) and reset.
 * Returns 0 or a negative errno; the buffer is reset in both cases. Where an
 * append had failed, nothing is written, `failed` is cleared: -ENOMEM. */
int weir_buf_flush(struct weir_buf *b, int fd);

#define weir_autobuf __attribute__((cleanup(weir_buf_free)))
