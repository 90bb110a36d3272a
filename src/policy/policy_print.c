/* SPDX-License-Identifier: GPL-2.0-only */
/* A policy as text. */
#include "policy/policy_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* An expression of more words is printed as one in quotes, because the words of a
 * rule are counted (WEIR_STRV_MAX). */
#define LOOSE_WORDS_MAX 200U

struct unit {
	uint64_t factor;
	const char *name;
};

static const struct unit times[] = {
	{ 86400 * WEIR_NSEC_PER_SEC, "d" },
	{ 3600 * WEIR_NSEC_PER_SEC, "h" },
	{ 60 * WEIR_NSEC_PER_SEC, "m" },
	{ WEIR_NSEC_PER_SEC, "s" },
	{ 1000000, "ms" },
	{ 1000, "us" },
	{ 1, "ns" },
};
static const struct unit rates[] = {
	{ 1000000000, "gbit" },
	{ 1000000, "mbit" },
	{ 1000, "kbit" },
	{ 1, "bit" },
};
static const struct unit bursts[] = {
	{ 1000000000, "g" },
	{ 1000000, "m" },
	{ 1000, "k" },
	{ 1, "" },
};

/* In the largest unit that says it exactly; the last is 1. */
static void add_exact(const struct unit *u, uint64_t v, struct weir_buf *out)
{
	while (v % u->factor)
		u++;
	weir_buf_addu(out, v / u->factor);
	weir_buf_adds(out, u->name);
}

static void add_word(const char *option, const char *word, struct weir_buf *out)
{
	weir_buf_addf(out, " %s ", option);
	weir_policy_words_quote(word, out);
}

/* ---- Rules */

static void add_place(const struct weir_policy_rule *r, struct weir_buf *out)
{
	if (r->iface[0])
		add_word("-i", r->iface, out);
	if (r->dir != WEIR_DIRECTION_INOUT)
		add_word("-Q", weir_policy_directions[r->dir], out);
}

static void add_expression(const struct weir_policy_rule *r, struct weir_buf *out)
{
	weir_autobuf struct weir_buf text = { 0 };
	size_t words = 1;

	weir_match_print(r->match, &text);
	if (text.failed) {
		out->failed = true;
		return;
	}
	if (!text.len)
		return;
	for (const char *s = text.data; *s; s++)
		words += *s == ' ';
	weir_buf_addc(out, ' ');
	if (words > LOOSE_WORDS_MAX)
		weir_policy_words_quote(text.data, out);
	else
		weir_buf_add(out, text.data, text.len);
}

static void add_limit(const struct weir_policy_rule *r, struct weir_buf *out)
{
	if (r->action != WEIR_POLICY_LIMIT)
		return;
	weir_buf_adds(out, " --rate ");
	if (r->bits)
		add_exact(rates, r->rate, out);
	else
		weir_buf_addf(out, "%llu/s", (unsigned long long)r->rate);
	if (r->burst != weir_policy_default_burst(r->rate, r->bits)) {
		weir_buf_adds(out, " --burst ");
		add_exact(r->bits ? bursts : &bursts[3], r->burst, out);
	}
	if (r->per == WEIR_PER_SOURCE && r->len4 == 32)
		weir_buf_adds(out, " --per source");
	else if (r->per == WEIR_PER_SOURCE)
		weir_buf_addf(out, " --per source/%u", r->len4);
}

/* What is left is told in whole seconds, and it is never nothing: that would not be
 * read again. */
static uint64_t ttl_at(const struct weir_policy_rule *r, uint64_t now)
{
	const uint64_t ms = WEIR_NSEC_PER_SEC / 1000;
	const uint64_t left = r->expires > now ? r->expires - now : 1;
	const uint64_t unit = left > WEIR_NSEC_PER_SEC ? WEIR_NSEC_PER_SEC : ms;

	return now && r->expires ? (left + unit - 1) / unit * unit : r->ttl;
}

/* A note may look like an option. */
static void add_note(const char *note, struct weir_buf *out)
{
	if (!*note)
		return;
	weir_buf_adds(out, *note == '-' ? " --note=" : " --note ");
	weir_policy_words_quote(note, out);
}

void weir_policy_print_rule(const struct weir_policy_rule *r, uint64_t now, struct weir_buf *out)
{
	const uint64_t ttl = ttl_at(r, now);

	weir_buf_adds(out, weir_policy_actions[(int)r->action]);
	add_place(r, out);
	add_expression(r, out);
	add_limit(r, out);
	if (ttl) {
		weir_buf_adds(out, " --ttl ");
		add_exact(times, ttl, out);
	}
	add_note(r->note, out);
}

void weir_policy_print_match(const struct weir_policy_rule *r, struct weir_buf *out)
{
	weir_autobuf struct weir_buf text = { 0 };

	/* Each part puts a blank before itself. */
	add_place(r, &text);
	weir_buf_adds(&text, weir_match_is_all(r->match) ? "" : " ");
	weir_match_print(r->match, &text);
	out->failed = out->failed || text.failed;
	weir_buf_adds(out, text.len ? text.data + 1 : "");
}

void weir_policy_print_named_rule(const struct weir_policy_rule *r, unsigned int flags,
				  uint64_t now, struct weir_buf *out)
{
	char made[WEIR_RULE_NAME_MAX] = "";

	if (!(flags & WEIR_POLICY_KERNEL))
		weir_policy_rule_make_name(r, made);
	if (strcmp(made, r->name) != 0)
		weir_buf_addf(out, "%s: ", r->name);
	weir_policy_print_rule(r, flags & WEIR_POLICY_KERNEL ? 0 : now, out);
	if (!(flags & WEIR_POLICY_KERNEL))
		return;
	weir_buf_addf(out, " --owner %s", r->owner);
	if (r->expires)
		weir_buf_addf(out, " --until %llu", (unsigned long long)r->expires);
}

/* ---- The other lines */

static void add_owner(const char *owner, unsigned int flags, struct weir_buf *out)
{
	if (flags & WEIR_POLICY_KERNEL && *owner)
		weir_buf_addf(out, " owner %s", owner);
}

void weir_policy_print_iface(const struct weir_policy_iface *i, unsigned int flags,
			     struct weir_buf *out)
{
	static const char *const fragments[] = {
		[WEIR_FRAGMENTS_FOLLOW] = "",
		[WEIR_FRAGMENTS_PASS] = " fragments pass",
		[WEIR_FRAGMENTS_DROP] = " fragments drop",
	};

	weir_buf_adds(out, "interface ");
	weir_policy_words_quote(i->name, out);
	if (i->mode != WEIR_XDP_AUTO)
		weir_buf_addf(out, " mode %s", weir_policy_modes[i->mode]);
	weir_buf_addf(out, " default %s", i->row.drop ? "drop" : "pass");
	if (i->hook != WEIR_HOOK_XDP)
		weir_buf_addf(out, " hook %s", weir_policy_hook_names[i->hook]);
	if (i->out)
		weir_buf_adds(out, " direction out");
	weir_buf_adds(out, fragments[i->row.fragments]);
	weir_buf_adds(out, i->row.unread_pass ? " malformed pass" : "");
	if (flags & WEIR_POLICY_KERNEL)
		weir_buf_addf(out, " number %u", i->index);
	add_owner(i->owner, flags, out);
}

void weir_policy_print_set(const struct weir_policy_set *s, unsigned int flags,
			   struct weir_buf *out)
{
	weir_buf_addf(out, "set %s", s->name);
	if (s->file)
		add_word("file", s->file, out);
	if (flags & WEIR_POLICY_KERNEL)
		weir_buf_addf(out, " number %u", s->number);
	add_owner(s->owner, flags, out);
}

void weir_policy_print(const struct weir_policy *p, unsigned int flags, uint64_t now,
		       struct weir_buf *out)
{
	const bool kernel = flags & WEIR_POLICY_KERNEL;

	for (size_t i = 0; i < p->n_ifaces; i++) {
		if (!kernel && p->ifaces[i].owner[0])
			continue;
		weir_policy_print_iface(&p->ifaces[i], flags, out);
		weir_buf_addc(out, '\n');
	}
	for (size_t i = 0; i < p->n_sets; i++) {
		if (!kernel && p->sets[i].owner[0])
			continue;
		weir_policy_print_set(&p->sets[i], flags, out);
		weir_buf_addc(out, '\n');
	}
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];

		if (!kernel && strcmp(r->owner, WEIR_POLICY_OWNER) != 0)
			continue;
		/* It has expired: nobody asks for it any more. */
		if (!kernel && now && r->expires && r->expires <= now)
			continue;
		weir_policy_print_named_rule(r, flags, now, out);
		weir_buf_addc(out, '\n');
	}
}
