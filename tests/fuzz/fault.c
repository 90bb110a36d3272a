/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file of rules of any bytes. What parses must print as a text that parses to the same
 * rules and prints the same, and must compile or say why not; each rule's words, which the
 * rule store keeps, must be read back. What does not parse is named by one line with the
 * file in it.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/fault/engine.h"

#define NOW 1000000000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static bool parse(const char *text, size_t len, struct weir_fault_conf *ret)
{
	struct weir_error err = { 0 };
	int r;

	*ret = (struct weir_fault_conf){ 0 };
	r = weir_fault_parse(text, len, "file", ret, &err);
	need(r == 0 || r == -EINVAL || r == -E2BIG);
	need(!r || !strncmp(err.msg, "file:", 5));
	need(!strchr(err.msg, '\n'));
	return !r;
}

static void check_words(const struct weir_fault_conf *c)
{
	for (size_t i = 0; i < c->n; i++) {
		weir_autobuf struct weir_buf text = { 0 }, again = { 0 };
		struct weir_fault_conf_rule r;

		weir_fault_print_words(&c->v[i], &text);
		need(text.len < WEIR_RULE_TEXT_MAX);
		need(!weir_fault_parse_words(text.data, c->v[i].name, &r, NULL));
		weir_fault_print_words(&r, &again);
		need(!strcmp(text.data, again.data));
		weir_fault_rule_free(&r);
	}
}

static void check_code(const struct weir_fault_conf *c)
{
	struct weir_error err = { 0 };
	struct bpf_insn *code = NULL;
	size_t n = 0;
	int r = weir_fault_compile(c, &code, &n, &err);

	need(!r || (r == -E2BIG && *err.msg));
	if (r)
		return;
	/* All jumps lead to an instruction. */
	for (size_t i = 0; i < n; i++)
		if (BPF_CLASS(code[i].code) == BPF_JMP || BPF_CLASS(code[i].code) == BPF_JMP32)
			need(code[i].off >= 0 &&
			     i + 1 + (size_t)code[i].off < n + (code[i].off == 0));
	free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	weir_autobuf struct weir_buf one = { 0 }, two = { 0 };
	struct weir_fault_conf a, b;

	if (!parse((const char *)data, size, &a))
		return 0;
	weir_buf_adds(&one, "");
	weir_buf_adds(&two, "");
	weir_fault_print(&a, NOW, &one);
	need(parse(one.data, one.len, &b));
	weir_fault_print(&b, NOW, &two);
	need(one.len == two.len && !memcmp(one.data, two.data, one.len));
	check_words(&a);
	check_code(&a);
	weir_fault_conf_free(&a);
	weir_fault_conf_free(&b);
	return 0;
}
