/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/prom.h"

#include <inttypes.h>
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

void weir_prom_value(const struct weir_prom *p, const char *name,
		     const struct weir_prom_label *labels, uint64_t value)
{
	struct weir_buf *out = p->out;

	weir_buf_addf(out, "weir_%s_%s", p->verb, name);
	for (const struct weir_prom_label *l = labels; l && l->key; l++) {
		weir_buf_addf(out, "%c%s=\"", l == labels ? '{' : ',', l->key);
		add_escaped(out, l->val);
		weir_buf_addc(out, '"');
	}
	weir_buf_adds(out, labels && labels->key ? "} " : " ");
	weir_buf_addu(out, value);
	weir_buf_addc(out, '\n');
}

void weir_prom_one(const struct weir_prom *p, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	weir_prom_head(p, name, type, help);
	weir_prom_value(p, name, NULL, value);
}

void weir_prom_bucket(const struct weir_prom *p, const char *name, double bound, uint64_t below)
{
	weir_buf_addf(p->out, "weir_%s_%s_bucket{le=\"%g\"} %" PRIu64 "\n", p->verb, name, bound,
		      below);
}

void weir_prom_histogram_end(const struct weir_prom *p, const char *name, double sum,
			     uint64_t count)
{
	weir_buf_addf(p->out,
		      "weir_%s_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nweir_%s_%s_sum %.15g\n"
		      "weir_%s_%s_count %" PRIu64 "\n",
		      p->verb, name, count, p->verb, name, sum, p->verb, name, count);
}
