/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A text table whose columns are as wide as their widest cell. Cells are added
 * row by row, from left to right; an empty or NULL cell prints as "-".
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"

#define WEIR_TABLE_COLUMNS 16

struct weir_table {
	unsigned int columns;
	size_t cells;
	size_t width[WEIR_TABLE_COLUMNS];
	struct weir_buf text; /* each cell: its width as a size_t, then text with NUL */
};

/* @head: the columns' headings, @columns of them; NULL: none. */
void weir_table_init(struct weir_table *t, unsigned int columns, const char *const *head);
void weir_table_free(struct weir_table *t);
void weir_table_add(struct weir_table *t, const char *cell);
/* For a cell with escape sequences or UTF-8: @width is what the eye sees. */
void weir_table_add_wide(struct weir_table *t, const char *cell, size_t width);
void weir_table_addf(struct weir_table *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Each row behind @indent blanks; the last column is not padded. */
void weir_table_render(const struct weir_table *t, unsigned int indent, struct weir_buf *out);

#define weir_autotable __attribute__((cleanup(weir_table_free)))
