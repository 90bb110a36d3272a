/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A proxy's configuration of any bytes. What is read prints as a text that reads back
 * to the same print, and every route that has no conditions is found by its name. What
 * is not read is named by one line with the file in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/proxy/config_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

static struct weir_proxy_config *load(const char *text, size_t len)
{
	static const struct weir_proxy_flags no_flags;
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };
	int r = weir_proxy_config_parse(text, len, "file", &no_flags, &c, &err);

	need(r == 0 ? c && !*err.msg : !c && r == -EINVAL);
	need(!r || !strncmp(err.msg, "file:", 5));
	need(!strchr(err.msg, '\n'));
	return c;
}

static void find_routes(const struct weir_proxy_config *c)
{
	for (size_t i = 0; i < c->n_routes; i++) {
		const struct weir_proxy_route *r = &c->routes[i], *found;
		struct weir_proxy_ask ask = { .listen = c->listens, .name = r->match };
		weir_autobuf struct weir_buf name = { 0 };

		if (r->kind == WEIR_NAME_REGEX || r->n_alpn || r->n_sources || r->n_listeners)
			continue;
		if (r->kind == WEIR_NAME_WILDCARD) {
			weir_buf_addf(&name, "~.%s", r->match);
			ask.name = name.data;
		}
		found = weir_proxy_route_find(c, &ask);
		need(found && (r->kind != WEIR_NAME_EXACT ||
			       (found->kind == r->kind && !strcmp(found->match, r->match))));
		need(r->kind != WEIR_NAME_WILDCARD || found->kind != WEIR_NAME_ANY);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	weir_autobuf struct weir_buf first = { 0 }, second = { 0 };
	struct weir_proxy_config *c, *again;

	c = load((const char *)data, size);
	if (!c)
		return 0;
	find_routes(c);
	weir_proxy_config_print(c, &first);
	need(!first.failed);
	again = load(first.data, first.len);
	need(again != NULL);
	weir_proxy_config_print(again, &second);
	need(first.len == second.len && !memcmp(first.data, second.data, first.len));
	weir_proxy_config_unref(again);
	weir_proxy_config_unref(c);
	return 0;
}
