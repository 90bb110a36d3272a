/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/symbols.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SYMBOLS_MAX 4000000

struct reader {
	struct weir_drops_symbols *s;
	size_t cap, names_len, names_cap;
};

static int grow(void **v, size_t *cap, size_t need, size_t size)
{
	size_t more = *cap ? *cap * 2 : 4096;
	void *grown;

	if (need <= *cap)
		return 0;
	grown = reallocarray(*v, more, size);
	if (!grown)
		return -ENOMEM;
	*v = grown;
	*cap = more;
	return 0;
}

static int add_symbol(struct reader *r, uint64_t at, const char *name, size_t len)
{
	struct weir_drops_symbols *s = r->s;

	if (len >= WEIR_DROPS_FUNCTION_MAX)
		len = WEIR_DROPS_FUNCTION_MAX - 1;
	if (s->n == SYMBOLS_MAX || grow((void **)&s->v, &r->cap, s->n + 1, sizeof(*s->v)) ||
	    grow((void **)&s->names, &r->names_cap, r->names_len + len + 1, 1))
		return -ENOMEM;
	s->v[s->n++] = (struct weir_drops_symbol){ .at = at, .name = r->names_len };
	memcpy(s->names + r->names_len, name, len);
	s->names[r->names_len + len] = '\0';
	r->names_len += len + 1;
	return 0;
}

/* "ffffffff81a8c2d0 T tcp_v4_rcv\t[module]": functions are of type t, T, w or W. */
static int take_line(struct reader *r, const char *line)
{
	char *end;
	uint64_t at = strtoull(line, &end, 16);
	const char *name = end + 3;
	char type;

	if (end == line || end[0] != ' ' || !end[1] || end[2] != ' ')
		return 0;
	type = (char)tolower((unsigned char)end[1]);
	if (type != 't' && type != 'w')
		return 0;
	if (!at) {
		r->s->hidden = true;
		return 0;
	}
	return add_symbol(r, at, name, strcspn(name, " \t\n"));
}

static int by_address(const void *a, const void *b)
{
	const struct weir_drops_symbol *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

int weir_drops_symbols_read(struct weir_drops_symbols *s, FILE *in)
{
	struct reader r = { .s = s };
	weir_autofree char *line = NULL;
	size_t cap = 0;
	int ret = 0;

	*s = (struct weir_drops_symbols){ 0 };
	while (!ret && getline(&line, &cap, in) > 0)
		ret = take_line(&r, line);
	if (ret) {
		weir_drops_symbols_free(s);
		return ret;
	}
	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), by_address);
	return 0;
}

void weir_drops_symbols_load(struct weir_drops_symbols *s)
{
	weir_autofclose FILE *in = fopen("/proc/kallsyms", "re");

	*s = (struct weir_drops_symbols){ 0 };
	if (!in || weir_drops_symbols_read(s, in) || !s->n)
		s->hidden = true;
}

void weir_drops_symbols_free(struct weir_drops_symbols *s)
{
	free(s->v);
	free(s->names);
	*s = (struct weir_drops_symbols){ 0 };
}

const char *weir_drops_function(const struct weir_drops_symbols *s, uint64_t address, char *buf,
				size_t size)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (s->v[middle].at <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* The compiler adds ".isra.0", ".cold" ... where it has split or cloned one. */
	if (low) {
		const char *name = s->names + s->v[low - 1].name;

		snprintf(buf, size, "%.*s", (int)strcspn(name, "."), name);
	} else {
		snprintf(buf, size, "0x%" PRIx64, address);
	}
	return buf;
}
