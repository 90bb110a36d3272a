/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A policy file of any bytes. What parses must print as a text that parses to the
 * same policy and prints the same; so must a copy. What does not parse is named by
 * one line with the file in it.
 *
 * The first byte says whether it is a user's file or the kernel's text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/policy.h"

#define NOW 1000000000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static struct weir_policy *parse(const char *text, size_t len, unsigned int flags)
{
	struct weir_policy *p = NULL;
	struct weir_error err = { 0 };
	const int r = weir_policy_parse(text, len, "file", flags, &p, &err);

	need(r == 0 ? p && !*err.msg : !p && (r == -EINVAL || r == -E2BIG));
	need(!r || !strncmp(err.msg, "file:", 5));
	need(!strchr(err.msg, '\n'));
	return p;
}

static void print(const struct weir_policy *p, unsigned int flags, uint64_t now,
		  struct weir_buf *out)
{
	weir_buf_reset(out);
	weir_buf_adds(out, "");
	weir_policy_print(p, flags, now, out);
	need(!out->failed);
}

static void need_same(const struct weir_policy *a, const struct weir_policy *b,
		      unsigned int flags)
{
	weir_autobuf struct weir_buf x = { 0 }, y = { 0 }, diff = { 0 };

	print(a, flags, 0, &x);
	print(b, flags, 0, &y);
	need(x.len == y.len && !memcmp(x.data, y.data, x.len));
	need(!weir_policy_diff(a, b, &diff) && !diff.len);
	need(a->n_rules == b->n_rules && a->n_sets == b->n_sets && a->n_ifaces == b->n_ifaces);
	for (size_t i = 0; i < a->n_ifaces; i++)
		need(!strcmp(a->ifaces[i].owner, b->ifaces[i].owner));
	for (size_t i = 0; i < a->n_sets; i++)
		need(!strcmp(a->sets[i].owner, b->sets[i].owner));
	for (size_t i = 0; i < a->n_rules; i++) {
		const struct weir_policy_rule *r = &a->rules[i], *s = &b->rules[i];

		need(!strcmp(r->name, s->name) && !strcmp(r->owner, s->owner));
		need(!strcmp(r->note, s->note) && !strcmp(r->iface, s->iface));
		need(r->rate == s->rate && r->bits == s->bits && r->burst == s->burst);
		need(r->per == s->per && r->len4 == s->len4 && r->len6 == s->len6);
		need(r->ttl == s->ttl && r->expires == s->expires && r->dir == s->dir);
		need(weir_policy_find_rule(a, s->owner, s->name) == r);
	}
}

/* What is left of a time to live is a text that can be read too. */
static void check_later(const struct weir_policy *p)
{
	weir_autobuf struct weir_buf text = { 0 };
	weir_auto_policy *again = NULL;
	bool more = false;

	print(p, 0, NOW, &text);
	again = parse(text.data, text.len, 0);
	need(again && again->n_rules <= p->n_rules);
	for (size_t i = 0; i < p->n_rules; i++)
		more = more || p->rules[i].expires || strcmp(p->rules[i].owner, "filter");
	need(more || again->n_rules == p->n_rules);
}

static void check_diff(const struct weir_policy *p)
{
	weir_autobuf struct weir_buf diff = { 0 };
	weir_auto_policy *empty = weir_policy_new();
	size_t lines = 0, want = 0;

	for (size_t i = 0; i < p->n_ifaces; i++)
		want += !p->ifaces[i].owner[0];
	for (size_t i = 0; i < p->n_sets; i++)
		want += !p->sets[i].owner[0];
	for (size_t i = 0; i < p->n_rules; i++)
		want += !strcmp(p->rules[i].owner, "filter");
	need(weir_policy_diff(empty, p, &diff) == (want > 0));
	for (size_t i = 0; i < diff.len; i++)
		lines += diff.data[i] == '\n';
	need(lines == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned int flags = size && data[0] & 1 ? WEIR_POLICY_KERNEL : 0;
	weir_auto_policy *p = NULL, *again = NULL, *copy = NULL;
	weir_autobuf struct weir_buf text = { 0 };

	if (!size)
		return 0;
	p = parse((const char *)data + 1, size - 1, flags);
	if (!p)
		return 0;
	print(p, flags, 0, &text);
	again = parse(text.data, text.len, flags);
	need(again);
	need_same(p, again, flags);
	copy = weir_policy_copy(p);
	need(copy);
	need_same(p, copy, WEIR_POLICY_KERNEL);
	check_later(p);
	check_diff(p);
	return 0;
}
