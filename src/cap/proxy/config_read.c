/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/config_read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

#define SEC WEIR_NSEC_PER_SEC

/* ---- Errors with their place */

static void add_path(const struct weir_proxy_reader *r, struct weir_buf *out)
{
	for (unsigned int i = 0; i < r->depth; i++)
		weir_buf_addf(out, "%s%s", i ? "." : "", r->path[i]);
}

int weir_proxy_read_place(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			  int code)
{
	weir_autobuf struct weir_buf path = { 0 };

	if (code == -ENOMEM)
		return code;
	add_path(r, &path);
	if (path.failed || !path.len)
		return weir_fail_prefix(r->err, code, "%s:%u", r->source, n->line);
	return weir_fail_prefix(r->err, code, "%s:%u: %s", r->source, n->line, path.data);
}

int weir_proxy_read_fail(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 const char *fmt, ...)
{
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	weir_fail(r->err, -EINVAL, "%s", text);
	return weir_proxy_read_place(r, n, -EINVAL);
}

int weir_proxy_read_oom(const struct weir_proxy_reader *r)
{
	return weir_fail(r->err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Shapes */

int weir_proxy_read_text(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 const char **ret)
{
	if (n->kind == WEIR_NODE_LIST)
		return weir_proxy_read_fail(r, n,
					    "a list, where one value is wanted: write KEY: VALUE");
	if (n->kind == WEIR_NODE_MAP)
		return weir_proxy_read_fail(r, n,
					    "keys, where one value is wanted: write KEY: VALUE");
	if (!n->quoted && !*n->text)
		return weir_proxy_read_fail(r, n, "no value: give one, or leave the key out");
	*ret = n->text;
	return 0;
}

int weir_proxy_read_list(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 size_t most, const struct weir_proxy_node **items, size_t *ret_n)
{
	*items = n->kind == WEIR_NODE_LIST ? n->items : n;
	*ret_n = n->kind == WEIR_NODE_LIST ? n->n : 1;
	if (*ret_n > most)
		return weir_proxy_read_fail(r, n, "more than %zu: leave some out", most);
	return 0;
}

bool weir_proxy_read_is(const struct weir_proxy_node *n, const char *word)
{
	if (n->kind == WEIR_NODE_LIST && n->n == 1)
		n = n->items;
	return n->kind == WEIR_NODE_SCALAR && strcmp(n->text, word) == 0;
}

/* ---- Numbers, times, words */

static int set_u64(const struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		   const struct weir_proxy_node *n, const char *text, uint64_t *ret)
{
	if (!weir_parse_u64(text, row->min, row->max, ret))
		return 0;
	return weir_proxy_read_fail(r, n,
				    "\"%.100s\" is no whole number from %llu to %llu: give one",
				    text, (unsigned long long)row->min,
				    (unsigned long long)row->max);
}

static int set_time(const struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		    const struct weir_proxy_node *n, const char *text, uint64_t *ret)
{
	weir_autobuf struct weir_buf min = { 0 }, max = { 0 };
	uint64_t v;
	int code = weir_parse_duration(text, &v);

	if (code == -EINVAL)
		return weir_proxy_read_fail(
			r, n, "\"%.100s\" is no duration: give one such as 250ms, 10s, 5m or 1h",
			text);
	if (!code && row->kind == WEIR_ROW_SECONDS && v % SEC)
		return weir_proxy_read_fail(
			r, n, "\"%.100s\" has a part of a second: give whole ones", text);
	if (!code && v >= row->min && v <= row->max) {
		*ret = v;
		return 0;
	}
	weir_proxy_add_time(&min, row->min);
	weir_proxy_add_time(&max, row->max);
	if (min.failed || max.failed)
		return weir_proxy_read_oom(r);
	return weir_proxy_read_fail(r, n, "\"%.100s\" is out of range: give one from %s to %s",
				    text, min.data, max.data);
}

static int set_rate(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
		    const char *text, uint64_t *ret)
{
	uint64_t v;
	bool bits;
	int code = weir_parse_rate(text, &v, &bits);

	if (code == -EINVAL || (!code && bits))
		return weir_proxy_read_fail(
			r, n, "\"%.100s\" is no rate: give one such as 10/s or 600/m", text);
	if (code || v > UINT32_MAX)
		return weir_proxy_read_fail(
			r, n,
			"\"%.100s\" is out of range: give whole connections a second, up "
			"to %u/s",
			text, UINT32_MAX);
	*ret = v;
	return 0;
}

static int set_bool(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
		    const char *text, bool *ret)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = { { "true", true }, { "false", false }, { "yes", true },
		      { "no", false },	{ "on", true },	    { "off", false } };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(words); i++) {
		if (strcmp(words[i].word, text) == 0) {
			*ret = words[i].value;
			return 0;
		}
	}
	return weir_proxy_read_fail(r, n, "\"%.100s\" is neither true nor false: give one of them",
				    text);
}

/* What config_value.c reads. */
static int set_text(const struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		    const char *text, void *at)
{
	switch (row->kind) {
	case WEIR_ROW_CHOICE:
		return weir_proxy_value_choice(text, row->choices, at, r->err);
	case WEIR_ROW_ENDPOINT:
		return weir_proxy_value_endpoint(text, at, r->err);
	case WEIR_ROW_METRICS:
		return weir_proxy_value_metrics(text, at, r->err);
	case WEIR_ROW_USER:
		return weir_proxy_value_user(text, at, r->err);
	case WEIR_ROW_LOG:
		return weir_proxy_value_log(text, at, r->err);
	case WEIR_ROW_FORMAT:
		return weir_proxy_value_format(text, at, r->err);
	case WEIR_ROW_ACTION:
		return weir_proxy_value_action(text, row->key, at, r->err);
	default:
		break;
	}
	return weir_proxy_value_text(text, false, at, r->err);
}

int weir_proxy_read_scalar(const struct weir_proxy_reader *r, const struct weir_proxy_row *row,
			   const struct weir_proxy_node *n, void *at)
{
	const char *text;
	uint64_t v = 0;
	int code = weir_proxy_read_text(r, n, &text);

	if (code)
		return code;
	switch (row->kind) {
	case WEIR_ROW_U64:
		return set_u64(r, row, n, text, at);
	case WEIR_ROW_UINT:
		code = set_u64(r, row, n, text, &v);
		if (!code)
			*(unsigned int *)at = (unsigned int)v;
		return code;
	case WEIR_ROW_TIME:
	case WEIR_ROW_SECONDS:
		return set_time(r, row, n, text, at);
	case WEIR_ROW_RATE:
		return set_rate(r, n, text, at);
	case WEIR_ROW_BOOL:
		return set_bool(r, n, text, at);
	default:
		break;
	}
	code = set_text(r, row, text, at);
	return code ? weir_proxy_read_place(r, n, code) : 0;
}

static int set_value(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		     const struct weir_proxy_node *n, void *base)
{
	void *at = (char *)base + row->at;
	int code;

	r->path[r->depth++] = row->key;
	if (row->kind == WEIR_ROW_MAP)
		code = weir_proxy_read_map(r, row->rows, n, at);
	else if (row->kind == WEIR_ROW_SET)
		code = row->set(r, row, n, base);
	else
		code = weir_proxy_read_scalar(r, row, n, at);
	r->depth--;
	return code;
}

/* ---- Maps */

static int fail_key(struct weir_proxy_reader *r, const struct weir_proxy_row *rows,
		    const struct weir_proxy_node *key)
{
	weir_autobuf struct weir_buf list = { 0 };
	const char *words[WEIR_PROXY_KEYS_MAX], *near;
	size_t n = 0;

	for (; rows[n].key; n++) {
		words[n] = rows[n].key;
		weir_buf_addf(&list, "%s%s",
			      !n	      ? "" :
			      rows[n + 1].key ? ", " :
						" or ",
			      rows[n].key);
	}
	near = weir_proxy_value_nearest(words, n, key->text);
	r->path[r->depth++] = key->text;
	if (near)
		weir_proxy_read_fail(r, key, "unknown key: did you mean %s?", near);
	else
		weir_proxy_read_fail(r, key, "unknown key: use %s",
				     list.failed ? "another" : list.data);
	r->depth--;
	return -EINVAL;
}

/* Sort the map's values by row. */
static int sort_map(struct weir_proxy_reader *r, const struct weir_proxy_row *rows,
		    const struct weir_proxy_node *n,
		    const struct weir_proxy_node *values[WEIR_PROXY_KEYS_MAX])
{
	for (size_t i = 0; i < n->n; i += 2) {
		const struct weir_proxy_node *key = &n->items[i];
		const struct weir_proxy_row *row = rows;

		if (key->kind != WEIR_NODE_SCALAR)
			return weir_proxy_read_fail(
				r, key, "a list or keys in the place of a key: write KEY: VALUE");
		while (row->key && strcmp(row->key, key->text))
			row++;
		if (!row->key)
			return fail_key(r, rows, key);
		if (values[row - rows]) {
			r->path[r->depth++] = row->key;
			weir_proxy_read_fail(r, key, "given twice, first in line %u: leave one out",
					     values[row - rows]->line);
			r->depth--;
			return -EINVAL;
		}
		values[row - rows] = &n->items[i + 1];
	}
	return 0;
}

int weir_proxy_read_map(struct weir_proxy_reader *r, const struct weir_proxy_row *rows,
			const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_node *values[WEIR_PROXY_KEYS_MAX] = { NULL };
	int code = 0;

	if (n->kind != WEIR_NODE_MAP)
		return weir_proxy_read_fail(
			r, n,
			"%s, where keys are wanted: write %s: VALUE, indented, in lines "
			"below",
			n->kind == WEIR_NODE_LIST ? "a list" : "one value", rows[0].key);
	code = sort_map(r, rows, n, values);
	for (size_t i = 0; !code && rows[i].key; i++) {
		if (values[i])
			code = set_value(r, &rows[i], values[i], base);
		else if (rows[i].required)
			code = weir_proxy_read_fail(r, n, "no %s: write %s: VALUE", rows[i].key,
						    rows[i].key);
	}
	return code;
}
