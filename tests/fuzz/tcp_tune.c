/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A file of rules of any bytes. What parses must print as a text that parses to the same
 * rules and prints the same. What does not parse is named by one line with the file in it.
 *
 * The first byte says whether it is a user's file or the kernel's text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cap/tcp/tune_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static bool parse(const char *text, size_t len, unsigned int flags, struct weir_tune_conf *ret)
{
	struct weir_error err = { 0 };
	int r;

	*ret = (struct weir_tune_conf){ 0 };
	r = weir_tune_parse(text, len, "file", flags, ret, &err);
	need(r == 0 || r == -EINVAL || r == -E2BIG);
	need(!r || !strncmp(err.msg, "file:", 5));
	need(!strchr(err.msg, '\n'));
	return !r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	weir_autobuf struct weir_buf one = { 0 }, two = { 0 };
	struct weir_tune_conf a, b;
	unsigned int flags = size && *data & 1 ? WEIR_TUNE_KERNEL : 0;

	if (size < 1 || !parse((const char *)data + 1, size - 1, flags, &a))
		return 0;
	weir_buf_adds(&one, "");
	weir_buf_adds(&two, "");
	weir_tune_print(&a, flags, &one);
	need(parse(one.data, one.len, flags, &b));
	weir_tune_print(&b, flags, &two);
	need(one.len == two.len && !memcmp(one.data, two.data, one.len));
	need(a.n == b.n);
	for (size_t i = 0; i < a.n; i++)
		need(!memcmp(&a.rules[i].set, &b.rules[i].set, sizeof(a.rules[i].set)));
	weir_tune_conf_free(&a);
	weir_tune_conf_free(&b);
	return 0;
}
