/* SPDX-License-Identifier: GPL-2.0-only */
/* Text for a terminal's cells. */
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "base/clock.h"
#include "cap/watch/top_model.h"

/* The next character of @s: its bytes, and its columns; 0 columns: it cannot be shown. */
static size_t next(const char *s, size_t *ret_columns)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t n = mbrtowc(&c, s, strlen(s), &state);
	int columns;

	*ret_columns = 0;
	if (n == 0 || n > strlen(s))
		return 1; /* no character of this locale */
	columns = iswprint((wint_t)c) ? wcwidth(c) : -1;
	*ret_columns = columns > 0 ? (size_t)columns : 0;
	return n;
}

void weir_top_clean(const char *s, size_t width, bool pad, struct weir_buf *out)
{
	size_t used = 0, columns, n, last = out->len, last_columns = 0;

	for (; *s && width; s += n) {
		n = next(s, &columns);
		if (used + (columns ? columns : 1) > width) {
			if (used == width) { /* the last cell tells that there is more */
				out->len = last;
				used -= last_columns;
			}
			weir_buf_addc(out, '+');
			used++;
			break;
		}
		last = out->len;
		last_columns = columns ? columns : 1;
		used += last_columns;
		if (columns)
			weir_buf_add(out, s, n);
		else
			weir_buf_addc(out, '?');
	}
	for (; pad && used < width; used++)
		weir_buf_addc(out, ' ');
}

void weir_top_age(uint64_t ns, struct weir_buf *out)
{
	uint64_t s = ns / WEIR_NSEC_PER_SEC;

	if (s < 60)
		weir_buf_addf(out, "%llus", (unsigned long long)s);
	else if (s < 3600)
		weir_buf_addf(out, "%llum", (unsigned long long)(s / 60));
	else if (s < 86400)
		weir_buf_addf(out, "%lluh%02llu", (unsigned long long)(s / 3600),
			      (unsigned long long)(s % 3600 / 60));
	else
		weir_buf_addf(out, "%llud%02llu", (unsigned long long)(s / 86400),
			      (unsigned long long)(s % 86400 / 3600));
}
