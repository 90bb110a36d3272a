/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define GAP 2
#define CELL_MAX 512

void weir_table_init(struct weir_table *t, unsigned int columns, const char *const *head)
{
	assert(columns > 0 && columns <= WEIR_TABLE_COLUMNS);
	*t = (struct weir_table){ .columns = columns };
	for (unsigned int c = 0; head && c < columns; c++)
		weir_table_add(t, head[c]);
}

void weir_table_free(struct weir_table *t)
{
	weir_buf_free(&t->text);
}

void weir_table_add_wide(struct weir_table *t, const char *cell, size_t width)
{
	size_t *widest = &t->width[t->cells++ % t->columns];

	if (width > *widest)
		*widest = width;
	weir_buf_add(&t->text, &width, sizeof(width));
	weir_buf_add(&t->text, cell, strlen(cell) + 1);
}

void weir_table_add(struct weir_table *t, const char *cell)
{
	if (!cell || !cell[0])
		cell = "-";
	weir_table_add_wide(t, cell, strlen(cell));
}

void weir_table_addf(struct weir_table *t, const char *fmt, ...)
{
	char cell[CELL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cell, sizeof(cell), fmt, ap);
	va_end(ap);
	weir_table_add(t, cell);
}

void weir_table_render(const struct weir_table *t, unsigned int indent, struct weir_buf *out)
{
	const char *at = t->text.data;

	if (t->text.failed) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < t->cells; i++) {
		unsigned int column = (unsigned int)(i % t->columns);
		size_t width, len;

		memcpy(&width, at, sizeof(width));
		at += sizeof(width);
		len = strlen(at);
		if (column == 0)
			weir_buf_addf(out, "%*s", (int)indent, "");
		weir_buf_add(out, at, len);
		at += len + 1;
		if (column == t->columns - 1)
			weir_buf_addc(out, '\n');
		else
			weir_buf_addf(out, "%*s", (int)(t->width[column] - width + GAP), "");
	}
}
