/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/prom.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void weir_prom_head(const struct weir_prom *p, const char *name, const char *type, const char *help)
{
	weir_buf_addf(p->out, "# HELP weir_%s_%s %s\n# TYPE weir_%s_%s %s\n", p->verb, name, help,
		      p->verb, name, type);
}

/* Inside quotes three characters are escaped; what is no UTF-8 must not come at all. */
static void add_escaped(struct weir_buf *out, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t left = strlen(s);

	while (left) {
		size_t n = weir_utf8_len(p, left);

		if (!n)
			weir_buf_adds(out, "\xef\xbf\xbd");
		else if (*p == '\n')
			weir_buf_adds(out, "\\n");
		else if (*p == '"' || *p == '\\')
			weir_buf_addf(out, "\\%c", *p);
		else
			weir_buf_add(out, p, n);
		p += n ? n : 1;
		left -= n ? n : 1;
	}
}

/* The name up to the figure; @le: one label more, or NULL. */
static void add_series(const struct weir_prom *p, const char *name, const char *suffix,
		       const struct weir_prom_label *labels, const char *le)
{
	struct weir_buf *out = p->out;
	char mark = '{';

	weir_buf_addf(out, "weir_%s_%s%s", p->verb, name, suffix);
	for (const struct weir_prom_label *l = labels; l && l->key; l++) {
		weir_buf_addf(out, "%c%s=\"", mark, l->key);
		add_escaped(out, l->val);
		weir_buf_addc(out, '"');
		mark = ',';
	}
	if (le) {
		weir_buf_addf(out, "%cle=\"%s\"", mark, le);
		mark = ',';
	}
	weir_buf_adds(out, mark == ',' ? "} " : " ");
}

void weir_prom_value(const struct weir_prom *p, const char *name,
		     const struct weir_prom_label *labels, uint64_t value)
{
	add_series(p, name, "", labels, NULL);
	weir_buf_addu(p->out, value);
	weir_buf_addc(p->out, '\n');
}

void weir_prom_one(const struct weir_prom *p, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	weir_prom_head(p, name, type, help);
	weir_prom_value(p, name, NULL, value);
}

void weir_prom_bucket_of(const struct weir_prom *p, const char *name,
			 const struct weir_prom_label *labels, double bound, uint64_t below)
{
	char le[32];

	snprintf(le, sizeof(le), "%g", bound);
	add_series(p, name, "_bucket", labels, le);
	weir_buf_addf(p->out, "%" PRIu64 "\n", below);
}

void weir_prom_histogram_end_of(const struct weir_prom *p, const char *name,
				const struct weir_prom_label *labels, double sum, uint64_t count)
{
	add_series(p, name, "_bucket", labels, "+Inf");
	weir_buf_addf(p->out, "%" PRIu64 "\n", count);
	add_series(p, name, "_sum", labels, NULL);
	weir_buf_addf(p->out, "%.15g\n", sum);
	add_series(p, name, "_count", labels, NULL);
	weir_buf_addf(p->out, "%" PRIu64 "\n", count);
}

void weir_prom_bucket(const struct weir_prom *p, const char *name, double bound, uint64_t below)
{
	weir_prom_bucket_of(p, name, NULL, bound, below);
}

void weir_prom_histogram_end(const struct weir_prom *p, const char *name, double sum,
			     uint64_t count)
{
	weir_prom_histogram_end_of(p, name, NULL, sum, count);
}
