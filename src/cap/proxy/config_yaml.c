/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of the configuration's file. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/config_read.h"
#include "cap/proxy/worker.h"

#define MS (WEIR_NSEC_PER_SEC / 1000)
#define SEC WEIR_NSEC_PER_SEC
#define DAY (86400 * SEC)
#define YEAR (365 * DAY)

/* ---- Lists */

static int set_prefixes(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
			const struct weir_proxy_node *n, void *base)
{
	struct weir_prefix **list = (void *)((char *)base + row->at);
	size_t *count = (void *)((char *)base + row->count), most;
	const struct weir_proxy_node *items;
	int code = weir_proxy_read_list(r, n, row->max, &items, &most);

	if (code)
		return code;
	/* Nobody, or everybody? */
	if (!most && row->min)
		return weir_proxy_read_fail(r, n, "an empty list: give prefixes, or any");
	*list = calloc(most + 2, sizeof(**list));
	if (!*list)
		return weir_proxy_read_oom(r);
	if (weir_proxy_read_is(n, "any")) {
		/* Where an empty list means no condition, which row->min says. */
		if (row->min)
			return 0;
		weir_prefix_parse("0.0.0.0/0", false, &(*list)[(*count)++]);
		weir_prefix_parse("::/0", false, &(*list)[(*count)++]);
		return 0;
	}
	for (size_t i = 0; !code && i < most; i++) {
		const char *text;

		code = weir_proxy_read_text(r, &items[i], &text);
		if (code)
			return code;
		if (strcmp(text, "any") == 0)
			return weir_proxy_read_fail(r, &items[i],
						    "any stands beside others: leave them out");
		code = weir_proxy_value_prefix(text, &(*list)[*count], r->err);
		if (code)
			return weir_proxy_read_place(r, &items[i], code);
		++*count;
	}
	return code;
}

static int set_words(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		     const struct weir_proxy_node *n, void *base)
{
	char ***list = (void *)((char *)base + row->at);
	size_t *count = (void *)((char *)base + row->count), most;
	const struct weir_proxy_node *items;
	int code = weir_proxy_read_list(r, n, WEIR_PROXY_WORDS_MAX, &items, &most);

	if (code)
		return code;
	if (!most)
		return weir_proxy_read_fail(r, n, "an empty list: give one, or leave the key out");
	*list = calloc(most, sizeof(**list));
	if (!*list)
		return weir_proxy_read_oom(r);
	for (size_t i = 0; i < most; i++) {
		const char *text;

		code = weir_proxy_read_text(r, &items[i], &text);
		if (code)
			return code;
		code = weir_proxy_value_text(text, false, &(*list)[*count], r->err);
		if (code)
			return weir_proxy_read_place(r, &items[i], code);
		++*count;
		if (row->max && strlen(text) > row->max)
			return weir_proxy_read_fail(r, &items[i],
						    "\"%.100s\" is longer than %llu bytes: make it "
						    "shorter",
						    text, (unsigned long long)row->max);
	}
	return 0;
}

static int set_servers(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		       const struct weir_proxy_node *n, void *base)
{
	weir_autobuf struct weir_buf list = { 0 };
	const struct weir_proxy_node *items;
	size_t most;
	int code = weir_proxy_read_list(r, n, WEIR_PROXY_WORDS_MAX, &items, &most);

	if (code || weir_proxy_read_is(n, "system"))
		return code;
	if (!most)
		return weir_proxy_read_fail(r, n, "an empty list: give addresses, or system");
	for (size_t i = 0; i < most; i++) {
		char name[WEIR_ENDPOINT_STRLEN];
		struct weir_endpoint e;
		const char *text;

		code = weir_proxy_read_text(r, &items[i], &text);
		if (code)
			return code;
		code = weir_proxy_value_server(text, &e, r->err);
		if (code)
			return weir_proxy_read_place(r, &items[i], code);
		weir_buf_addf(&list, "%s%s", i ? "," : "", weir_endpoint_str(&e, name));
	}
	if (list.failed)
		return weir_proxy_read_oom(r);
	code = weir_proxy_value_text(list.data, false, (char **)((char *)base + row->at), r->err);
	return code ? weir_proxy_read_place(r, n, code) : 0;
}

static int set_targets(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		       const struct weir_proxy_node *n, void *base)
{
	struct weir_proxy_route *route = base;
	const struct weir_proxy_node *items;
	size_t most;
	int code = weir_proxy_read_list(r, n, WEIR_PROXY_TARGETS_MAX, &items, &most);

	(void)row;
	if (code)
		return code;
	if (!most)
		return weir_proxy_read_fail(r, n, "no backend: give one");
	route->targets = calloc(most, sizeof(*route->targets));
	if (!route->targets)
		return weir_proxy_read_oom(r);
	for (size_t i = 0; i < most; i++) {
		const char *text;

		code = weir_proxy_read_text(r, &items[i], &text);
		if (code)
			return code;
		code = weir_proxy_value_target(text, &route->targets[i], r->err);
		if (code)
			return weir_proxy_read_place(r, &items[i], code);
		route->n_targets++;
	}
	return 0;
}

/* ---- Values that are a word, or keys */

static int set_workers(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		       const struct weir_proxy_node *n, void *base)
{
	struct weir_proxy_row number = *row;

	number.kind = WEIR_ROW_UINT;
	return weir_proxy_read_is(n, "auto") ?
		       0 :
		       weir_proxy_read_scalar(r, &number, n, (char *)base + row->at);
}

static const struct weir_proxy_row log_rows[] = {
	{ "file", WEIR_ROW_LOG, offsetof(struct weir_proxy_config, log), .required = true },
	{ "format", WEIR_ROW_FORMAT, .at = offsetof(struct weir_proxy_config, log_format) },
	{ 0 },
};

/* `log: FILE`, or with its format. */
static int set_log(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		   const struct weir_proxy_node *n, void *base)
{
	if (n->kind == WEIR_NODE_SCALAR)
		return weir_proxy_read_scalar(r, &log_rows[0], n, (char *)base + row->at);
	return weir_proxy_read_map(r, log_rows, n, base);
}

#define AT(field) offsetof(struct weir_keepalive, field)
static const struct weir_proxy_row keepalive_rows[] = {
	{ "idle", WEIR_ROW_SECONDS, AT(idle_ns), .min = SEC, .max = 32767 * SEC, .required = true },
	{ "interval", WEIR_ROW_SECONDS, AT(interval_ns), .min = 0, .max = 32767 * SEC },
	{ "count", WEIR_ROW_UINT, AT(count), .min = 0, .max = 127 },
	{ 0 },
};
#undef AT

/* `keepalive: 60s`, `keepalive: off`, or its three times. */
static int set_keepalive(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
			 const struct weir_proxy_node *n, void *base)
{
	struct weir_keepalive *k = (void *)((char *)base + row->at);

	if (weir_proxy_read_is(n, "off"))
		return 0;
	if (n->kind == WEIR_NODE_SCALAR)
		return weir_proxy_read_scalar(r, &keepalive_rows[0], n, &k->idle_ns);
	return weir_proxy_read_map(r, keepalive_rows, n, k);
}

#define AT(field) offsetof(struct weir_proxy_health, field)
static const struct weir_proxy_row health_rows[] = {
	{ "interval", WEIR_ROW_TIME, AT(interval_ns), .min = 10 * MS, .max = DAY,
	  .required = true },
	{ "timeout", WEIR_ROW_TIME, AT(timeout_ns), .min = 1 * MS, .max = DAY },
	{ "rise", WEIR_ROW_UINT, AT(rise), .min = 1, .max = 1000 },
	{ "fall", WEIR_ROW_UINT, AT(fall), .min = 1, .max = 1000 },
	{ 0 },
};
#undef AT

/* `health: 5s`, `health: off`, or all of it. */
static int set_health(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		      const struct weir_proxy_node *n, void *base)
{
	struct weir_proxy_health *h = (void *)((char *)base + row->at);
	int code;

	if (weir_proxy_read_is(n, "off"))
		return 0;
	*h = (struct weir_proxy_health){ .rise = 2, .fall = 3 };
	if (n->kind == WEIR_NODE_SCALAR)
		code = weir_proxy_read_scalar(r, &health_rows[0], n, &h->interval_ns);
	else
		code = weir_proxy_read_map(r, health_rows, n, h);
	if (code)
		return code;
	if (!h->timeout_ns)
		h->timeout_ns = h->interval_ns < 2 * SEC ? h->interval_ns : 2 * SEC;
	if (h->timeout_ns > h->interval_ns)
		return weir_proxy_read_fail(
			r, n, "timeout is longer than interval: make it as long at most");
	return 0;
}

/* ---- Listeners */

#define AT(field) offsetof(struct weir_proxy_listen, field)
static const struct weir_proxy_row listen_rows[] = {
	{ "address", WEIR_ROW_ENDPOINT, AT(address), .required = true },
	{ "name", WEIR_ROW_TEXT, .at = AT(name) },
	{ "protocol", WEIR_ROW_CHOICE, AT(protocol), .choices = weir_proxy_protocols },
	{ "accept_proxy", WEIR_ROW_SET, AT(proxies), .set = set_prefixes, .count = AT(n_proxies),
	  .max = WEIR_PROXY_PREFIXES_MAX },
	{ "backlog", WEIR_ROW_UINT, AT(backlog), .min = 1, .max = 65535 },
	{ 0 },
};
#undef AT

static int set_listens(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		       const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_node *items;
	size_t count;
	int code = weir_proxy_read_list(r, n, WEIR_PROXY_LISTENS_MAX, &items, &count);

	(void)row;
	r->lines->listen = n->line;
	for (size_t i = 0; !code && i < count; i++) {
		struct weir_proxy_listen *l;

		code = weir_proxy_config_listen(base, &l, r->err);
		if (code)
			return weir_proxy_read_place(r, &items[i], code);
		l->line = items[i].line;
		if (items[i].kind == WEIR_NODE_SCALAR)
			code = weir_proxy_read_scalar(r, &listen_rows[0], &items[i], &l->address);
		else
			code = weir_proxy_read_map(r, listen_rows, &items[i], l);
	}
	return code;
}

/* ---- Routes */

/* The list has been taken apart: it is one of its names' turn. */
static int set_match(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		     const struct weir_proxy_node *n, void *base)
{
	const char *text;
	int code = weir_proxy_read_text(r, r->match, &text);

	(void)row;
	(void)n;
	if (code)
		return code;
	code = weir_proxy_value_match(text, base, r->err);
	return code ? weir_proxy_read_place(r, r->match, code) : 0;
}

#define AT(field) offsetof(struct weir_proxy_route, field)
static const struct weir_proxy_row route_rows[] = {
	{ "match", WEIR_ROW_SET, .set = set_match, .required = true },
	{ "name", WEIR_ROW_TEXT, .at = AT(name) },
	{ "backends", WEIR_ROW_SET, .set = set_targets, .required = true },
	{ "balance", WEIR_ROW_CHOICE, AT(balance), .choices = weir_proxy_balances },
	{ "alpn", WEIR_ROW_SET, AT(alpn), .set = set_words, .count = AT(n_alpn), .max = 255 },
	{ "source", WEIR_ROW_SET, AT(sources), .set = set_prefixes, .count = AT(n_sources),
	  .min = 1, .max = WEIR_PROXY_PREFIXES_MAX },
	{ "listener", WEIR_ROW_SET, AT(listeners), .set = set_words, .count = AT(n_listeners) },
	{ "health", WEIR_ROW_SET, AT(health), .set = set_health },
	{ "send_proxy", WEIR_ROW_CHOICE, AT(send_proxy), .choices = weir_proxy_versions },
	{ "transparent", WEIR_ROW_BOOL, .at = AT(transparent) },
	{ "engine", WEIR_ROW_CHOICE, AT(engine), .choices = weir_proxy_engines },
	{ "connect_timeout", WEIR_ROW_TIME, AT(connect_timeout_ns), .min = 1 * MS, .max = DAY },
	{ "idle_timeout", WEIR_ROW_TIME, AT(idle_timeout_ns), .min = 1 * MS, .max = YEAR },
	{ 0 },
};
#undef AT

/* The names of a route, each of which becomes one of its own. */
static const struct weir_proxy_node *names_of(const struct weir_proxy_node *route, size_t *n)
{
	*n = 1;
	if (route->kind != WEIR_NODE_MAP)
		return NULL;
	for (size_t i = 0; i < route->n; i += 2) {
		const struct weir_proxy_node *key = &route->items[i], *value = key + 1;

		if (key->kind != WEIR_NODE_SCALAR || strcmp(key->text, "match"))
			continue;
		if (value->kind != WEIR_NODE_LIST)
			return value;
		*n = value->n;
		return value->items;
	}
	return NULL;
}

static char *default_name(const struct weir_proxy_route *route)
{
	char *name;
	int n = route->kind == WEIR_NAME_WILDCARD ? asprintf(&name, "*.%s", route->match) :
		route->kind == WEIR_NAME_REGEX	  ? asprintf(&name, "/%s/", route->match) :
						    asprintf(&name, "%s", route->match);

	return n < 0 ? NULL : name;
}

static int read_route(struct weir_proxy_reader *r, const struct weir_proxy_node *n)
{
	size_t count;
	const struct weir_proxy_node *names = names_of(n, &count);
	int code = 0;

	if (!count)
		return weir_proxy_read_fail(r, n, "match: an empty list: give a name, or \"*\"");
	for (size_t i = 0; !code && i < count; i++) {
		struct weir_proxy_route *route = weir_proxy_config_route(r->c);

		r->match = names ? &names[i] : n;
		route->line = r->match->line;
		code = weir_proxy_read_map(r, route_rows, n, route);
		if (!code && !route->name)
			route->name = default_name(route);
		if (!code && !route->name)
			code = weir_proxy_read_oom(r);
	}
	return code;
}

static int set_routes(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		      const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_node *items;
	size_t count, routes = r->more;
	int code = weir_proxy_read_list(r, n, SIZE_MAX, &items, &count);

	(void)row;
	r->lines->routes = n->line;
	for (size_t i = 0; !code && i < count; i++) {
		size_t names;

		names_of(&items[i], &names);
		routes += names;
	}
	if (!code) {
		code = weir_proxy_config_room(base, routes, r->err);
		if (code)
			return weir_proxy_read_place(r, n, code);
	}
	for (size_t i = 0; !code && i < count; i++)
		code = read_route(r, &items[i]);
	return code;
}

/* ---- The top */

static int set_action(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		      const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_row action = { row->key, WEIR_ROW_ACTION, .at = row->at };
	struct weir_proxy_action *a = (void *)((char *)base + row->at);
	int code = weir_proxy_read_scalar(r, &action, n, a);

	if (!code && a->route)
		a->route->line = n->line;
	return code;
}

#define AT(field) offsetof(struct weir_proxy_config, field)
static const struct weir_proxy_row action_rows[] = {
	{ "no_sni", WEIR_ROW_SET, AT(no_sni), .set = set_action },
	{ "not_tls", WEIR_ROW_SET, AT(not_tls), .set = set_action },
	{ "ech", WEIR_ROW_SET, AT(ech), .set = set_action },
	{ 0 },
};

static const struct weir_proxy_row resolver_rows[] = {
	{ "servers", WEIR_ROW_SET, AT(servers), .set = set_servers },
	{ "cache", WEIR_ROW_U64, AT(cache), .min = 16, .max = 1 << 20 },
	{ "timeout", WEIR_ROW_TIME, AT(resolve_timeout_ns), .min = 10 * MS, .max = 60 * SEC },
	{ "negative_ttl", WEIR_ROW_TIME, AT(negative_ttl_ns), .min = 0, .max = DAY },
	{ "stale", WEIR_ROW_TIME, AT(stale_ns), .min = 0, .max = 30 * DAY },
	{ "ttl_min", WEIR_ROW_TIME, AT(ttl_min_ns), .min = 0, .max = DAY },
	{ "ttl_max", WEIR_ROW_TIME, AT(ttl_max_ns), .min = 1 * SEC, .max = 30 * DAY },
	{ "local", WEIR_ROW_BOOL, .at = AT(local) },
	{ 0 },
};
#undef AT

#define AT(field) offsetof(struct weir_proxy_limits, field)
static const struct weir_proxy_row limits_rows[] = {
	{ "connections", WEIR_ROW_U64, AT(connections), .min = 1, .max = 1 << 24 },
	{ "per_source", WEIR_ROW_U64, AT(per_source), .min = 0, .max = 1 << 24 },
	{ "source_rate", WEIR_ROW_RATE, .at = AT(source_rate) },
	{ "source_burst", WEIR_ROW_U64, AT(source_burst), .min = 1, .max = UINT32_MAX },
	{ "hello_timeout", WEIR_ROW_TIME, AT(hello_timeout_ns), .min = 1 * MS, .max = 3600 * SEC },
	{ "connect_timeout", WEIR_ROW_TIME, AT(connect_timeout_ns), .min = 1 * MS,
	  .max = 3600 * SEC },
	{ "idle_timeout", WEIR_ROW_TIME, AT(idle_timeout_ns), .min = 1 * MS, .max = YEAR },
	{ 0 },
};
#undef AT

static int set_resolver(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
			const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_config *c = base;
	int code = weir_proxy_read_map(r, resolver_rows, n, base);

	(void)row;
	if (!code && c->ttl_min_ns > c->ttl_max_ns)
		return weir_proxy_read_fail(r, n,
					    "ttl_min is longer than ttl_max: make it as long at "
					    "most");
	return code;
}

static int set_metrics(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		       const struct weir_proxy_node *n, void *base)
{
	const struct weir_proxy_row endpoint = { row->key, WEIR_ROW_METRICS, .at = row->at };

	r->lines->metrics = n->line;
	return weir_proxy_read_scalar(r, &endpoint, n, (char *)base + row->at);
}

#define AT(field) offsetof(struct weir_proxy_config, field)
static const struct weir_proxy_row top_rows[] = {
	{ "listen", WEIR_ROW_SET, .set = set_listens },
	{ "engine", WEIR_ROW_CHOICE, AT(engine), .choices = weir_proxy_engines },
	{ "default", WEIR_ROW_SET, AT(no_match), .set = set_action },
	{ "actions", WEIR_ROW_MAP, .rows = action_rows },
	{ "resolver", WEIR_ROW_SET, .set = set_resolver },
	{ "limits", WEIR_ROW_MAP, AT(limits), .rows = limits_rows },
	{ "allow_sources", WEIR_ROW_SET, AT(allow), .set = set_prefixes, .count = AT(n_allow),
	  .min = 1, .max = WEIR_PROXY_ALLOW_MAX },
	{ "keepalive", WEIR_ROW_SET, AT(keepalive), .set = set_keepalive },
	{ "log", WEIR_ROW_SET, AT(log), .set = set_log },
	{ "metrics", WEIR_ROW_SET, AT(metrics), .set = set_metrics },
	{ "user", WEIR_ROW_USER, .at = AT(user) },
	{ "workers", WEIR_ROW_SET, AT(workers), .min = 1, .max = WEIR_WORKERS_MAX,
	  .set = set_workers },
	{ "drain", WEIR_ROW_TIME, AT(drain_ns), .min = 1 * MS, .max = DAY },
	{ "routes", WEIR_ROW_SET, .set = set_routes },
	{ 0 },
};
#undef AT

int weir_proxy_config_yaml(struct weir_proxy_config *c, const char *text, size_t len,
			   const char *source, size_t more, struct weir_proxy_lines *lines,
			   struct weir_error *err)
{
	struct weir_proxy_reader r = {
		.c = c, .source = source, .err = err, .more = more, .lines = lines
	};
	struct weir_proxy_node root = { 0 };
	int code = weir_proxy_tree_read(text, len, source, &root, err);

	if (code)
		return code;
	code = weir_proxy_read_map(&r, top_rows, &root, c);
	weir_proxy_tree_free(&root);
	return code;
}
