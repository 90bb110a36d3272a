/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules from a text, and as a text. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/opt.h"
#include "base/units.h"
#include "cap/steer/conf.h"
#include "policy/rule_text.h"

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Statements */

#define AT(field) offsetof(struct weir_steer_words, field)

/* The kernel's own stand first, and are left out for people's files. */
#define KERNEL_OPTIONS 2
static const struct weir_opt options[] = {
	{ "id", 0, WEIR_OPT_STR, AT(id), "N", .help = "" },
	{ "expires", 0, WEIR_OPT_STR, AT(expires), "N", .help = "" },
	{ "protocol", 0, WEIR_OPT_STR, AT(protocol), "LIST", .help = "" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(src_ip), "LIST", .help = "" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(dst_ip), "LIST", .help = "" },
	{ "src-port", 0, WEIR_OPT_STR, AT(src_port), "LIST", .help = "" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(dst_port), "LIST", .help = "" },
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE", .help = "" },
	{ "direction", 'Q', WEIR_OPT_STR, AT(direction), "DIR", .help = "" },
	{ "to", 0, WEIR_OPT_STR, AT(to), "SOCKET", .help = "" },
	{ "on-miss", 0, WEIR_OPT_STR, AT(on_miss), "WHAT", .help = "" },
	{ "ttl", 0, WEIR_OPT_STR, AT(ttl), "TIME", .help = "" },
	{ 0 },
};

struct parser {
	struct weir_steer_conf *conf;
	unsigned int flags;
};

static int take_rule(struct parser *x, const struct weir_policy_words *words,
		     struct weir_error *err)
{
	const struct weir_opt *table = x->flags & WEIR_STEER_KERNEL ? options :
								      options + KERNEL_OPTIONS;
	weir_autobuf struct weir_buf expression = { 0 };
	char name[WEIR_RULE_NAME_MAX + 1];
	size_t named = weir_rule_text_name(words, name);
	struct weir_steer_words w = { 0 };
	struct weir_steer_rule r;
	int ret = weir_rule_text_options(words, named, "steer", table, &w, &expression, err);

	if (ret)
		return ret;
	w.expression = expression.data;
	ret = weir_steer_rule_make(&w, named ? name : NULL, &r, err);
	if (ret)
		return ret;
	r.line = words->line;
	return weir_steer_conf_add(x->conf, &r, false, err);
}

static int take_group(struct parser *x, const struct weir_policy_words *words,
		      struct weir_error *err)
{
	if (words->n < 2)
		return weir_fail(err, -EINVAL,
				 "group: without a name: write `group NAME SOCKET...`");
	return weir_steer_conf_add_group(x->conf, words->v[1], words->v + 2, words->n - 2, false,
					 err);
}

static int bad_line(const struct weir_policy_words *words, struct weir_error *err)
{
	return weir_fail(err, -EINVAL, "\"%s\": not a line of the kernel's text", words->v[0]);
}

/* target PROTOCOL TO FIRST MEMBERS */
static int take_target(struct parser *x, const struct weir_policy_words *words,
		       struct weir_error *err)
{
	struct weir_steer_conf *c = x->conf;
	struct weir_steer_target t = { 0 };
	uint64_t first, members;
	void *v;

	if (words->n != 5 || weir_steer_to_parse(words->v[2], true, t.to, err) ||
	    weir_parse_u64(words->v[4], 1, WEIR_STEER_GROUP_MAX, &members) ||
	    weir_parse_u64(words->v[3], 0, WEIR_STEER_SLOTS - members * WEIR_STEER_SPARE, &first))
		return bad_line(words, err);
	while (t.proto < WEIR_STEER_PROTOS && strcmp(words->v[1], weir_steer_protos[t.proto]))
		t.proto++;
	if (t.proto == WEIR_STEER_PROTOS || weir_steer_conf_target(c, t.to, t.proto))
		return bad_line(words, err);
	t.first = (uint32_t)first;
	t.members = (uint32_t)members;
	v = reallocarray(c->targets, c->n_targets + 1, sizeof(t));
	if (!v)
		return oom(err);
	c->targets = v;
	c->targets[c->n_targets++] = t;
	return 0;
}

/* was TO ADDR PORT */
static int take_was(struct parser *x, const struct weir_policy_words *words,
		       struct weir_error *err)
{
	char to[WEIR_STEER_TO_MAX];
	struct weir_addr addr;
	uint64_t port;

	if (words->n != 4 || weir_steer_to_parse(words->v[1], false, to, err) ||
	    weir_addr_parse(words->v[2], &addr) ||
	    weir_parse_u64(words->v[3], 1, UINT16_MAX, &port))
		return bad_line(words, err);
	if (weir_steer_conf_set_was(x->conf, to, &addr, (uint16_t)port))
		return oom(err);
	return 0;
}

static int take_statement(void *arg, const struct weir_policy_words *words, struct weir_error *err)
{
	struct parser *x = arg;
	bool kernel = x->flags & WEIR_STEER_KERNEL;

	if (!strcmp(words->v[0], "group"))
		return take_group(x, words, err);
	if (kernel && !strcmp(words->v[0], "target"))
		return take_target(x, words, err);
	if (kernel && !strcmp(words->v[0], "was"))
		return take_was(x, words, err);
	return take_rule(x, words, err);
}

int weir_steer_parse(const char *text, size_t len, const char *source, unsigned int flags,
		     struct weir_steer_conf *ret, struct weir_error *err)
{
	const struct weir_rule_text t = { source, WEIR_STEER_TEXT_MAX, take_statement };
	weir_auto_steer_conf conf = { 0 };
	struct parser x = { .conf = &conf, .flags = flags };
	int r = weir_rule_text_parse(&t, text, len, &x, err);

	if (!r)
		r = weir_steer_conf_check(&conf, source, err);
	if (r)
		return r;
	*ret = conf;
	conf = (struct weir_steer_conf){ 0 };
	return 0;
}

int weir_steer_read(const char *path, struct weir_steer_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_rule_text_read(path, WEIR_STEER_TEXT_MAX, &text, err);

	return code ? code :
		      weir_steer_parse(text.data, text.len, weir_file_name(path), 0, ret, err);
}

/* ---- Printing */

static void print_prefixes(const char *option, const struct weir_prefix *v, size_t n,
			   struct weir_buf *out)
{
	char text[WEIR_ADDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		weir_buf_addf(out, "%s%s", i ? "," : option, weir_prefix_str(&v[i], text));
}

void weir_steer_print_match(const struct weir_steer_rule *r, struct weir_buf *out)
{
	size_t start = out->len;

	for (int p = 0; p < WEIR_STEER_PROTOS; p++)
		if (r->protos == 1U << p)
			weir_buf_addf(out, " --protocol %s", weir_steer_protos[p]);
	print_prefixes(" --dst-ip ", r->dst, r->n_dst, out);
	for (size_t i = 0; i < r->n_ports; i++) {
		weir_buf_addf(out, "%s%u", i ? "," : " --dst-port ", r->ports[i].lo);
		if (r->ports[i].hi != r->ports[i].lo)
			weir_buf_addf(out, "-%u", r->ports[i].hi);
	}
	print_prefixes(" --src-ip ", r->src, r->n_src, out);
	/* Without the blank in front. */
	if (!out->failed && out->len > start) {
		memmove(out->data + start, out->data + start + 1, out->len - start);
		out->len--;
	}
}

static void print_to(const struct weir_steer_conf *c, const char *to, unsigned int flags,
		     struct weir_buf *out)
{
	const struct weir_steer_was *was = weir_steer_conf_was(c, to);
	char addr[WEIR_ADDR_STRLEN];

	if (!(flags & WEIR_STEER_LASTING) || !was) {
		weir_buf_adds(out, to);
		return;
	}
	weir_addr_str(&was->addr, addr);
	weir_buf_addf(out, weir_addr_is_v4(&was->addr) ? "listen:%s:%u" : "listen:[%s]:%u", addr,
		      was->port);
}

/* What is left, but never forever; in the largest unit that says it. */
static void print_left(uint64_t ns, struct weir_buf *out)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };
	uint64_t ms = ns / 1000000 ? ns / 1000000 : 1;
	size_t i = 0;

	while (ms % units[i].ms)
		i++;
	weir_buf_addf(out, " --ttl %llu%s", (unsigned long long)(ms / units[i].ms), units[i].name);
}

void weir_steer_print_rule(const struct weir_steer_conf *c, const struct weir_steer_rule *r,
			   unsigned int flags, uint64_t now, struct weir_buf *out)
{
	weir_steer_print_match(r, out);
	weir_buf_adds(out, " --to ");
	print_to(c, r->to, flags, out);
	if (r->on_miss)
		weir_buf_addf(out, " --on-miss %s", weir_steer_on_misses[r->on_miss]);
	if (flags & WEIR_STEER_KERNEL) {
		if (r->expires)
			weir_buf_addf(out, " --expires %llu", (unsigned long long)r->expires);
		if (r->id)
			weir_buf_addf(out, " --id %u", r->id);
	} else if (r->expires) {
		print_left(r->expires > now ? r->expires - now : 0, out);
	}
	if (!r->expires && r->ttl)
		weir_buf_addf(out, " --ttl %lluns", (unsigned long long)r->ttl);
}

static void print_kernel(const struct weir_steer_conf *c, struct weir_buf *out)
{
	char addr[WEIR_ADDR_STRLEN];

	for (size_t i = 0; i < c->n_was; i++)
		weir_buf_addf(out, "was %s %s %u\n", c->was[i].to,
			      weir_addr_str(&c->was[i].addr, addr), c->was[i].port);
	for (size_t i = 0; i < c->n_targets; i++)
		weir_buf_addf(out, "target %s %s %u %u\n", weir_steer_protos[c->targets[i].proto],
			      c->targets[i].to, c->targets[i].first, c->targets[i].members);
}

void weir_steer_print(const struct weir_steer_conf *c, unsigned int flags, uint64_t now,
		      struct weir_buf *out)
{
	for (size_t i = 0; i < c->n_groups; i++) {
		weir_buf_addf(out, "group %s", c->groups[i].name);
		for (size_t k = 0; k < c->groups[i].n; k++) {
			weir_buf_addc(out, ' ');
			print_to(c, c->groups[i].to[k], flags, out);
		}
		weir_buf_addc(out, '\n');
	}
	if (flags & WEIR_STEER_KERNEL)
		print_kernel(c, out);
	for (size_t i = 0; i < c->n_rules; i++) {
		if (c->rules[i].named || flags & WEIR_STEER_KERNEL)
			weir_buf_addf(out, "%s: ", c->rules[i].name);
		weir_steer_print_rule(c, &c->rules[i], flags, now, out);
		weir_buf_addc(out, '\n');
	}
}
