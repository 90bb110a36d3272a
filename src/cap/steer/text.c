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
#include "policy/words.h"


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
	struct weir_policy_words words;
	struct weir_steer_conf *conf;
	unsigned int flags;
	struct weir_error *err;
};

static int parse_rule(struct parser *x, const char *name, size_t from)
{
	const struct weir_opt *table = x->flags & WEIR_STEER_KERNEL ? options :
								      options + KERNEL_OPTIONS;
	weir_autofree struct weir_strv *rest = calloc(1, sizeof(*rest));
	weir_autofree char **argv = calloc(x->words.n - from + 1, sizeof(*argv));
	weir_autobuf struct weir_buf expression = { 0 };
	struct weir_steer_words w = { 0 };
	struct weir_steer_rule r;
	int ret;

	if (!rest || !argv)
		return oom(x->err);
	argv[0] = (char *)"steer"; /* whose help the messages name */
	for (size_t i = from; i < x->words.n; i++)
		argv[i - from + 1] = (char *)x->words.v[i];
	ret = weir_opt_parse(table, (int)(x->words.n - from) + 1, argv, &w, rest, x->err);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < rest->n; i++)
		weir_buf_addf(&expression, "%s%s", i ? " " : "", rest->v[i]);
	if (expression.failed)
		return oom(x->err);
	w.expression = expression.data;
	ret = weir_steer_rule_make(&w, name, &r, x->err);
	if (ret)
		return ret;
	r.line = x->words.line;
	return weir_steer_conf_add(x->conf, &r, false, x->err);
}

static int parse_group(struct parser *x)
{
	if (x->words.n < 2)
		return weir_fail(x->err, -EINVAL,
				 "group: without a name: write `group NAME SOCKET...`");
	return weir_steer_conf_add_group(x->conf, x->words.v[1], x->words.v + 2, x->words.n - 2,
					 false, x->err);
}

static int bad_line(struct parser *x)
{
	return weir_fail(x->err, -EINVAL, "\"%s\": not a line of the kernel's text", x->words.v[0]);
}

/* target PROTOCOL TO FIRST MEMBERS */
static int parse_target(struct parser *x)
{
	struct weir_steer_conf *c = x->conf;
	struct weir_steer_target t = { 0 };
	uint64_t first, members;
	void *v;

	if (x->words.n != 5 || weir_steer_to_parse(x->words.v[2], true, t.to, x->err) ||
	    weir_parse_u64(x->words.v[4], 1, WEIR_STEER_GROUP_MAX, &members) ||
	    weir_parse_u64(x->words.v[3], 0, WEIR_STEER_SLOTS - members * WEIR_STEER_SPARE, &first))
		return bad_line(x);
	while (t.proto < WEIR_STEER_PROTOS && strcmp(x->words.v[1], weir_steer_protos[t.proto]))
		t.proto++;
	if (t.proto == WEIR_STEER_PROTOS || weir_steer_conf_target(c, t.to, t.proto))
		return bad_line(x);
	t.first = (uint32_t)first;
	t.members = (uint32_t)members;
	v = reallocarray(c->targets, c->n_targets + 1, sizeof(t));
	if (!v)
		return oom(x->err);
	c->targets = v;
	c->targets[c->n_targets++] = t;
	return 0;
}

/* was TO ADDR PORT */
static int parse_was(struct parser *x)
{
	char to[WEIR_STEER_TO_MAX];
	struct weir_addr addr;
	uint64_t port;

	if (x->words.n != 4 || weir_steer_to_parse(x->words.v[1], false, to, x->err) ||
	    weir_addr_parse(x->words.v[2], &addr) ||
	    weir_parse_u64(x->words.v[3], 1, UINT16_MAX, &port))
		return bad_line(x);
	if (weir_steer_conf_set_was(x->conf, to, &addr, (uint16_t)port))
		return oom(x->err);
	return 0;
}

static int parse_statement(struct parser *x)
{
	const char *first = x->words.v[0];
	size_t n = strlen(first);
	char name[WEIR_RULE_NAME_MAX + 1];

	if (!strcmp(first, "group"))
		return parse_group(x);
	if (x->flags & WEIR_STEER_KERNEL && !strcmp(first, "target"))
		return parse_target(x);
	if (x->flags & WEIR_STEER_KERNEL && !strcmp(first, "was"))
		return parse_was(x);
	if (n < 1 || first[n - 1] != ':')
		return parse_rule(x, NULL, 0);
	/* One that is too long stays so, and is refused. */
	snprintf(name, sizeof(name), "%.*s", (int)(n - 1), first);
	return parse_rule(x, name, 1);
}

int weir_steer_parse(const char *text, size_t len, const char *source, unsigned int flags,
		     struct weir_steer_conf *ret, struct weir_error *err)
{
	struct weir_policy_text t = { text, text + len, 1 };
	weir_auto_steer_conf conf = { 0 };
	struct parser x = { .conf = &conf, .flags = flags, .err = err };
	int r = 0;

	if (len > WEIR_STEER_TEXT_MAX)
		return weir_fail(err, -E2BIG, "%s: longer than %u MiB: shorten it", source,
				 WEIR_STEER_TEXT_MAX >> 20);
	if (memchr(text, '\0', len))
		return weir_fail(err, -EINVAL, "%s: holds a NUL: name a text file", source);
	while (!r && (r = weir_policy_words_next(&t, &x.words, err)) > 0)
		r = parse_statement(&x);
	if (r)
		weir_fail_prefix(err, r, "%s:%u", source, x.words.line);
	weir_policy_words_free(&x.words);
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
	const char *source = weir_file_name(path);
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_file_read(path, WEIR_STEER_TEXT_MAX, &text);

	if (code)
		return weir_fail(err, code, "cannot read %s (%s): name a file of rules", source,
				 strerror(-code));
	return weir_steer_parse(text.data, text.len, source, 0, ret, err);
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
