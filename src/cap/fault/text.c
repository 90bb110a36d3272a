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
#include "cap/fault/conf.h"
#include "net/endpoint.h"
#include "policy/rule_text.h"

/* ---- Statements */

#define AT(field) offsetof(struct weir_fault_words, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(protocol), "LIST", .help = "" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(src_ip), "LIST", .help = "" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(dst_ip), "LIST", .help = "" },
	{ "src-port", 0, WEIR_OPT_STR, AT(src_port), "LIST", .help = "" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(dst_port), "LIST", .help = "" },
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE", .help = "" },
	{ "direction", 'Q', WEIR_OPT_STR, AT(direction), "DIR", .help = "" },
	{ "listen", 0, WEIR_OPT_STR, AT(listen), "ADDR:PORT", .help = "" },
	{ "pid", 0, WEIR_OPT_STR, AT(pid), "N", .help = "" },
	{ "fd", 0, WEIR_OPT_STR, AT(fd), "M", .help = "" },
	{ "truncate", 0, WEIR_OPT_STR, AT(truncate), "N", .help = "" },
	{ "drop", 0, WEIR_OPT_STR, AT(drop), "P", .help = "" },
	{ "rate", 0, WEIR_OPT_STR, AT(rate), "R", .help = "" },
	{ "delay", 0, WEIR_OPT_STR, AT(delay), "T", .help = "" },
	{ "jitter", 0, WEIR_OPT_STR, AT(jitter), "T", .help = "" },
	{ "corrupt", 0, WEIR_OPT_FLAG, AT(corrupt), .help = "" },
	{ "fix-checksum", 0, WEIR_OPT_FLAG, AT(fix_checksum), .help = "" },
	{ "probability", 0, WEIR_OPT_STR, AT(probability), "P", .help = "" },
	{ "nth", 0, WEIR_OPT_STR, AT(nth), "K", .help = "" },
	{ "seed", 0, WEIR_OPT_STR, AT(seed), "S", .help = "" },
	{ "ttl", 0, WEIR_OPT_STR, AT(ttl), "TIME", .help = "" },
	{ 0 },
};

/* A rule of the words from @from on. */
static int make_rule(const struct weir_policy_words *words, const char *name, size_t from,
		     struct weir_fault_conf_rule *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf expression = { 0 };
	struct weir_fault_words w = { 0 };
	int code = weir_rule_text_options(words, from, "fault", options, &w, &expression, err);

	if (code)
		return code;
	w.expression = expression.data;
	code = weir_fault_rule_make(&w, name, ret, err);
	if (!code)
		ret->line = words->line;
	return code;
}

static int take_statement(void *arg, const struct weir_policy_words *words, struct weir_error *err)
{
	char name[WEIR_RULE_NAME_MAX + 1];
	size_t named = weir_rule_text_name(words, name);
	struct weir_fault_conf_rule r;
	int ret = make_rule(words, named ? name : NULL, named, &r, err);

	return ret ? ret : weir_fault_conf_add(arg, &r, false, err);
}

int weir_fault_parse(const char *text, size_t len, const char *source, struct weir_fault_conf *ret,
		     struct weir_error *err)
{
	const struct weir_rule_text t = { source, WEIR_FAULT_TEXT_MAX, take_statement };
	weir_auto_fault_conf conf = { 0 };
	int r = weir_rule_text_parse(&t, text, len, &conf, err);

	if (r)
		return r;
	*ret = conf;
	conf = (struct weir_fault_conf){ 0 };
	return 0;
}

int weir_fault_parse_words(const char *text, const char *name, struct weir_fault_conf_rule *ret,
			   struct weir_error *err)
{
	struct weir_policy_text t = { text, text + strlen(text), 1 };
	struct weir_policy_words words = { 0 };
	int r = weir_policy_words_next(&t, &words, err);

	if (r >= 0)
		r = make_rule(&words, name, 0, ret, err);
	weir_policy_words_free(&words);
	return r;
}

int weir_fault_read(const char *path, struct weir_fault_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_rule_text_read(path, WEIR_FAULT_TEXT_MAX, &text, err);

	return code ? code : weir_fault_parse(text.data, text.len, weir_file_name(path), ret, err);
}

/* ---- Printing */

void weir_fault_print_match(const struct weir_fault_conf_rule *r, struct weir_buf *out)
{
	char text[WEIR_ENDPOINT_STRLEN];
	struct weir_endpoint e;

	if (weir_fault_is_socket(r) && r->port) {
		weir_endpoint_set(&e, &r->addr, r->port);
		weir_buf_addf(out, "--listen %s", weir_endpoint_str(&e, text));
		return;
	}
	if (weir_fault_is_socket(r)) {
		weir_buf_addf(out, "--pid %u --fd %u", r->pid, r->fd);
		return;
	}
	if (r->iface[0]) {
		weir_buf_adds(out, "-i ");
		weir_policy_words_quote(r->iface, out);
	}
	if (r->dir)
		weir_buf_addf(out, "%s-Q %s", r->iface[0] ? " " : "", weir_fault_dirs[r->dir]);
	if (weir_match_is_all(r->match))
		return;
	if (r->iface[0] || r->dir)
		weir_buf_addc(out, ' ');
	weir_match_print(r->match, out);
}

bool weir_fault_is_random(const struct weir_fault_conf_rule *r)
{
	return r->kind == WEIR_FAULT_CORRUPT || r->jitter ||
	       (!r->nth && r->threshold != WEIR_FAULT_ALWAYS);
}

void weir_fault_print_action(const struct weir_fault_conf_rule *r, struct weir_buf *out)
{
	const char *blank = r->kind == WEIR_FAULT_DROP ? "" : " ";

	if (r->kind == WEIR_FAULT_TRUNCATE)
		weir_buf_addf(out, "--truncate %u", r->keep);
	else if (r->kind == WEIR_FAULT_CORRUPT)
		weir_buf_addf(out, "--corrupt%s", r->fix_checksum ? " --fix-checksum" : "");
	else if (r->kind == WEIR_FAULT_RATE)
		weir_buf_addf(out, "--rate %llubit", (unsigned long long)r->rate);
	else if (r->kind == WEIR_FAULT_DELAY)
		weir_buf_addf(out, "--delay %lluns", (unsigned long long)r->delay);
	if (r->jitter)
		weir_buf_addf(out, " --jitter %lluns", (unsigned long long)r->jitter);
	if (r->nth)
		weir_buf_addf(out, "%s--nth %u", blank, r->nth);
	else if (r->kind == WEIR_FAULT_DROP)
		weir_buf_addf(out, "--drop %.10g%%", r->percent);
	else if (r->threshold != WEIR_FAULT_ALWAYS)
		weir_buf_addf(out, " --probability %.10g%%", r->percent);
}

void weir_fault_print_words(const struct weir_fault_conf_rule *r, struct weir_buf *out)
{
	size_t start = out->len;

	weir_fault_print_match(r, out);
	if (out->len > start)
		weir_buf_addc(out, ' ');
	weir_fault_print_action(r, out);
	if (r->has_seed || (r->seed && weir_fault_is_random(r)))
		weir_buf_addf(out, " --seed %llu", (unsigned long long)r->seed);
}

void weir_fault_print(const struct weir_fault_conf *c, uint64_t now, struct weir_buf *out)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct weir_fault_conf_rule *r = &c->v[i];

		if (r->named)
			weir_buf_addf(out, "%s: ", r->name);
		weir_fault_print_words(r, out);
		if (r->expires) {
			/* What is left, but never none. */
			uint64_t left = r->expires > now ? (r->expires - now) / 1000000 : 0;

			weir_buf_addf(out, " --ttl %llums", (unsigned long long)(left ? left : 1));
		} else {
			weir_buf_addf(out, " --ttl %lluns", (unsigned long long)r->ttl);
		}
		weir_buf_addc(out, '\n');
	}
}
