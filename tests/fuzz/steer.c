/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file of rules of any bytes. What parses must print as a text that parses to the same
 * rules and prints the same, and must compile or say why not. What does not parse is named
 * by one line with the file in it.
 *
 * The first byte says whether it is a user's file or the kernel's text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cap/steer/compile.h"
#include "cap/steer/conf.h"

#define NOW 1000000000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static bool parse(const char *text, size_t len, unsigned int flags, struct weir_steer_conf *ret)
{
	struct weir_error err = { 0 };
	int r;

	*ret = (struct weir_steer_conf){ 0 };
	r = weir_steer_parse(text, len, "file", flags, ret, &err);
	need(r == 0 || r == -EINVAL || r == -E2BIG);
	need(!r || !strncmp(err.msg, "file:", 5));
	need(!strchr(err.msg, '\n'));
	return !r;
}

/* As a change does it: every rule has an id and a place for its sockets. */
static void complete(struct weir_steer_conf *c)
{
	c->targets = realloc(c->targets, (2 * c->n_rules + 1) * sizeof(*c->targets));
	need(c->targets);
	c->n_targets = 0;
	for (size_t i = 0; i < c->n_rules; i++) {
		c->rules[i].id = (uint32_t)i + 1;
		for (int p = 0; p < WEIR_STEER_PROTOS; p++) {
			struct weir_steer_target *t = &c->targets[c->n_targets];

			if (weir_steer_conf_target(c, c->rules[i].to, (enum weir_steer_proto)p))
				continue;
			*t = (struct weir_steer_target){ .proto = (enum weir_steer_proto)p,
							 .members = 1 };
			memcpy(t->to, c->rules[i].to, sizeof(t->to));
			c->n_targets++;
		}
	}
}

static void check_code(struct weir_steer_conf *c)
{
	const struct weir_steer_clock clock = { .jiffies = 1, .boot = NOW, .tick = 4000000 };
	struct weir_steer_code code;
	struct weir_error err = { 0 };
	int r;

	complete(c);
	r = weir_steer_compile(c, &clock, &code, &err);
	need(!r || (r == -E2BIG && *err.msg));
	if (r)
		return;
	for (size_t i = 1; i < code.n_candidates; i++)
		need(code.candidates[i].rule && code.candidates[i].next < i);
	for (size_t i = 1; i < code.n_nodes; i++)
		for (int k = 0; k < 16; k++) {
			uint32_t word = code.nodes[i].child[k], at = word & WEIR_STEER_INDEX;

			need(at < (word & WEIR_STEER_END  ? code.n_candidates :
				   word & WEIR_STEER_LONE ? code.n_lones :
							    code.n_nodes));
		}
	weir_steer_code_free(&code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	weir_autobuf struct weir_buf one = { 0 }, two = { 0 };
	struct weir_steer_conf a, b;
	unsigned int flags = size && *data & 1 ? WEIR_STEER_KERNEL : 0;

	if (size < 1 || !parse((const char *)data + 1, size - 1, flags, &a))
		return 0;
	weir_buf_adds(&one, "");
	weir_buf_adds(&two, "");
	weir_steer_print(&a, flags, NOW, &one);
	need(parse(one.data, one.len, flags, &b));
	weir_steer_print(&b, flags, NOW, &two);
	need(one.len == two.len && !memcmp(one.data, two.data, one.len));
	check_code(&a);
	weir_steer_conf_free(&a);
	weir_steer_conf_free(&b);
	return 0;
}
