/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/backend.h"
#include "cap/proxy/config_impl.h"
#include "cap/proxy/expr.h"

#define SEC WEIR_NSEC_PER_SEC
#define READ_STEP 65536

const char *const weir_proxy_engines[WEIR_ENGINES + 1] = {
	[WEIR_ENGINE_AUTO] = "auto",
	[WEIR_ENGINE_SPLICE] = "splice",
	[WEIR_ENGINE_COPY] = "copy",
	[WEIR_ENGINE_SOCKMAP] = "sockmap",
};
const char *const weir_proxy_protocols[] = { "tls", "http", NULL };
const char *const weir_proxy_balances[] = { "round-robin", "least-connections", NULL };
const char *const weir_proxy_versions[] = { "off", "v1", "v2", NULL };

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

/* ---- Defaults, and room for what comes */

static struct weir_proxy_config *config_new(void)
{
	struct weir_proxy_config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	atomic_init(&c->refs, 1);
	c->ech.what = WEIR_DO_ROUTE;
	c->cache = 65536;
	c->resolve_timeout_ns = 2 * SEC;
	c->negative_ttl_ns = 60 * SEC;
	c->stale_ns = 3600 * SEC;
	/* Names whose TTL is 0 would be asked for by every connection. */
	c->ttl_min_ns = 1 * SEC;
	c->ttl_max_ns = 86400 * SEC;
	c->limits = (struct weir_proxy_limits){ .connections = 100000,
						.hello_timeout_ns = 5 * SEC,
						.connect_timeout_ns = 5 * SEC,
						.idle_timeout_ns = 600 * SEC };
	c->drain_ns = 30 * SEC;
	return c;
}

int weir_proxy_config_listen(struct weir_proxy_config *c, struct weir_proxy_listen **ret,
			     struct weir_error *err)
{
	if (c->n_listens == WEIR_PROXY_LISTENS_MAX)
		return weir_fail(err, -EINVAL, "more than %d listeners: leave some out",
				 WEIR_PROXY_LISTENS_MAX);
	if (!c->listens)
		c->listens = calloc(WEIR_PROXY_LISTENS_MAX, sizeof(*c->listens));
	if (!c->listens)
		return oom(err);
	*ret = &c->listens[c->n_listens++];
	(*ret)->backlog = 4096;
	return 0;
}

int weir_proxy_config_room(struct weir_proxy_config *c, size_t routes, struct weir_error *err)
{
	if (routes > WEIR_PROXY_ROUTES_MAX)
		return weir_fail(err, -EINVAL, "more than %d routes: leave some out",
				 WEIR_PROXY_ROUTES_MAX);
	c->routes = calloc(routes ? routes : 1, sizeof(*c->routes));
	return c->routes ? 0 : oom(err);
}

struct weir_proxy_route *weir_proxy_config_route(struct weir_proxy_config *c)
{
	return &c->routes[c->n_routes++];
}

const char *weir_proxy_default_user(void)
{
	return getpwnam("weir-proxy") ? "weir-proxy" : "nobody";
}

/* ---- The end */

static void free_words(char **words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(words[i]);
	free(words);
}

void weir_proxy_route_free(struct weir_proxy_route *r)
{
	weir_expr_free(r->expr);
	free(r->name);
	free(r->match);
	free_words(r->alpn, r->n_alpn);
	free(r->sources);
	free_words(r->listeners, r->n_listeners);
	for (size_t i = 0; i < r->n_targets; i++) {
		if (r->targets[i].state)
			weir_backend_leave(r->targets[i].state);
		free(r->targets[i].text);
		free(r->targets[i].host);
	}
	free(r->targets);
}

void weir_proxy_action_free(struct weir_proxy_action *a)
{
	if (a->route)
		weir_proxy_route_free(a->route);
	free(a->route);
	*a = (struct weir_proxy_action){ 0 };
}

static void config_free(struct weir_proxy_config *c)
{
	struct weir_proxy_action *const actions[] = { &c->no_match, &c->no_sni, &c->not_tls,
						      &c->ech };

	weir_proxy_index_free(c);
	for (size_t i = 0; i < c->n_listens; i++) {
		free(c->listens[i].name);
		free(c->listens[i].proxies);
	}
	free(c->listens);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++)
		weir_proxy_action_free(actions[i]);
	for (size_t i = 0; i < c->n_routes; i++)
		weir_proxy_route_free(&c->routes[i]);
	free(c->routes);
	free(c->servers);
	free(c->allow);
	free(c->log);
	free(c->log_format);
	free(c->user);
	free(c);
}

struct weir_proxy_config *weir_proxy_config_ref(struct weir_proxy_config *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void weir_proxy_config_unref(struct weir_proxy_config *c)
{
	if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		config_free(c);
}

/* ---- Flags */

static int flag_listen(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	static const char http[] = "http://", tls[] = "tls://";
	struct weir_proxy_listen *l;
	int r = weir_proxy_config_listen(c, &l, err);

	if (r)
		return r;
	if (strncmp(text, http, strlen(http)) == 0) {
		l->protocol = WEIR_PROXY_HTTP;
		text += strlen(http);
	} else if (strncmp(text, tls, strlen(tls)) == 0) {
		text += strlen(tls);
	}
	return weir_proxy_value_endpoint(text, &l->address, err);
}

/* Where the name ends: an expression may have a '=' itself. */
static const char *route_equals(const char *text)
{
	const char *at = strchr(text, '='), *more;

	if (text[0] != '/')
		return at;
	at = strstr(text, "/=");
	if (!at)
		return NULL;
	while ((more = strstr(at + 1, "/=")))
		at = more;
	return at + 1;
}

static int flag_targets(struct weir_proxy_route *route, char *list, struct weir_error *err)
{
	size_t n = 1;
	int r = 0;

	for (const char *s = list; *s; s++)
		n += *s == ',';
	if (n > WEIR_PROXY_TARGETS_MAX)
		return weir_fail(err, -EINVAL, "more than %d backends: leave some out",
				 WEIR_PROXY_TARGETS_MAX);
	route->targets = calloc(n, sizeof(*route->targets));
	if (!route->targets)
		return oom(err);
	while (!r && list) {
		r = weir_proxy_value_target(strsep(&list, ","), &route->targets[route->n_targets],
					    err);
		if (!r)
			route->n_targets++;
	}
	return r;
}

static int flag_route(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	const char *equals = route_equals(text);
	weir_autofree char *copy = strdup(text);
	struct weir_proxy_route *route;
	int r;

	if (!equals)
		return weir_fail(err, -EINVAL,
				 "\"%.100s\" has no backend: write NAME=BACKEND[,BACKEND]", text);
	if (!copy)
		return oom(err);
	copy[equals - text] = '\0';
	route = weir_proxy_config_route(c);
	r = weir_proxy_value_match(copy, route, err);
	if (!r)
		r = weir_proxy_value_text(copy, false, &route->name, err);
	return r ? r : flag_targets(route, copy + (equals - text) + 1, err);
}

static int flag_allow(struct weir_proxy_config *c, const struct weir_strv *list,
		      struct weir_error *err)
{
	struct weir_prefix *allow;
	int r = 0;

	/* In place of the file's. */
	allow = calloc(list->n, sizeof(*allow));
	if (!allow)
		return oom(err);
	free(c->allow);
	c->allow = allow;
	c->n_allow = 0;
	if (list->n == 1 && strcmp(list->v[0], "any") == 0)
		return 0;
	for (unsigned int i = 0; !r && i < list->n; i++) {
		r = weir_proxy_value_prefix(list->v[i], &allow[c->n_allow], err);
		if (!r)
			c->n_allow++;
	}
	return r;
}

static int flag_servers(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	weir_autofree char *copy = strdup(text);
	weir_autobuf struct weir_buf list = { 0 };
	char *left = copy;

	while (left) {
		char name[WEIR_ENDPOINT_STRLEN];
		struct weir_endpoint e;
		int r = weir_proxy_value_server(strsep(&left, ","), &e, err);

		if (r)
			return r;
		weir_buf_addf(&list, "%s%s", list.len ? "," : "", weir_endpoint_str(&e, name));
	}
	if (!copy || list.failed)
		return oom(err);
	return weir_proxy_value_text(list.data, false, &c->servers, err);
}

/* Relative to where the command stands, which a reload would not know. */
static int flag_log(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	static const char *const words[] = { "-", "stdout", "off" };
	weir_autofree char *path = NULL;
	char dir[PATH_MAX];

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i]) == 0)
			return weir_proxy_value_log(text, &c->log, err);
	if (text[0] == '/')
		return weir_proxy_value_log(text, &c->log, err);
	if (!*text || !getcwd(dir, sizeof(dir)))
		return weir_fail(err, -EINVAL,
				 "\"%.100s\" is no path: give one from /, or -, or off", text);
	if (asprintf(&path, "%s/%s", dir, text) < 0) {
		path = NULL;
		return oom(err);
	}
	return weir_proxy_value_log(path, &c->log, err);
}

static int flag_engine(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	int engine, r = weir_proxy_value_choice(text, weir_proxy_engines, &engine, err);

	if (!r)
		c->engine = (enum weir_proxy_engine)engine;
	return r;
}

static int flag_default(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	return weir_proxy_value_action(text, "default", &c->no_match, err);
}

static int flag_format(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	return weir_proxy_value_format(text, &c->log_format, err);
}

static int flag_metrics(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	return weir_proxy_value_metrics(text, &c->metrics, err);
}

static int flag_user(struct weir_proxy_config *c, const char *text, struct weir_error *err)
{
	return weir_proxy_value_user(text, &c->user, err);
}

static int apply_lists(struct weir_proxy_config *c, const struct weir_proxy_flags *f,
		       struct weir_error *err)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < f->listen.n; i++)
		r = flag_listen(c, f->listen.v[i], err);
	if (r)
		return weir_fail_prefix(err, r, "--listen");
	if (!c->routes)
		r = weir_proxy_config_room(c, f->route.n, err);
	for (unsigned int i = 0; !r && i < f->route.n; i++)
		r = flag_route(c, f->route.v[i], err);
	if (r)
		return weir_fail_prefix(err, r, "--route");
	if (f->allow.n)
		r = flag_allow(c, &f->allow, err);
	return r ? weir_fail_prefix(err, r, "--allow-source") : 0;
}

static int apply_flags(struct weir_proxy_config *c, const struct weir_proxy_flags *f,
		       struct weir_error *err)
{
	const struct {
		const char *name, *value;
		int (*apply)(struct weir_proxy_config *c, const char *text, struct weir_error *err);
	} flags[] = {
		{ "default", f->preset, flag_default },
		{ "engine", f->engine, flag_engine },
		{ "server", f->servers, flag_servers },
		{ "log", f->log, flag_log },
		{ "log-format", f->log_format, flag_format },
		{ "metrics", f->metrics, flag_metrics },
		{ "user", f->user, flag_user },
	};
	int r = apply_lists(c, f, err);

	for (size_t i = 0; !r && i < WEIR_ARRAY_SIZE(flags); i++) {
		if (!flags[i].value)
			continue;
		r = flags[i].apply(c, flags[i].value, err);
		if (r)
			return weir_fail_prefix(err, r, "--%s", flags[i].name);
	}
	if (f->workers)
		c->workers = (unsigned int)f->workers;
	if (f->drain_ns)
		c->drain_ns = f->drain_ns;
	return r;
}

/* ---- Sources */

static int compare_prefixes(const void *va, const void *vb)
{
	const struct weir_prefix *a = va, *b = vb;
	int d = (int)a->is_v4 - (int)b->is_v4;

	if (!d)
		d = memcmp(&a->addr, &b->addr, sizeof(a->addr));
	return d ? d : (int)a->len - (int)b->len;
}

/* What lies in another prefix comes behind it: without these, the one that an address is in
 * is the last that does not begin behind it. */
static void sort_allow(struct weir_proxy_config *c)
{
	size_t n = 0;

	if (!c->n_allow)
		return;
	qsort(c->allow, c->n_allow, sizeof(*c->allow), compare_prefixes);
	for (size_t i = 0; i < c->n_allow; i++)
		if (!n || c->allow[n - 1].is_v4 != c->allow[i].is_v4 ||
		    !weir_prefix_contains(&c->allow[n - 1], &c->allow[i].addr))
			c->allow[n++] = c->allow[i];
	c->n_allow = n;
}

bool weir_proxy_config_allows(const struct weir_proxy_config *c, const struct weir_addr *source)
{
	const struct weir_prefix key = { *source, UINT8_MAX, weir_addr_is_v4(source) };
	size_t low = 0, high = c->n_allow;

	if (!c->n_allow)
		return true;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_prefixes(&c->allow[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low && weir_prefix_contains(&c->allow[low - 1], source);
}

/* ---- The whole */

/* Defaults that depend on other values, and what is sorted. */
static int complete(struct weir_proxy_config *c, struct weir_error *err)
{
	char text[WEIR_ENDPOINT_STRLEN];

	if (!c->limits.source_burst)
		c->limits.source_burst = c->limits.source_rate ? c->limits.source_rate : 1;

	sort_allow(c);
	for (size_t i = 0; i < c->n_listens; i++) {
		struct weir_proxy_listen *l = &c->listens[i];

		if (!l->name)
			l->name = strdup(weir_endpoint_str(&l->address, text));
		if (!l->name)
			return oom(err);
	}
	return 0;
}

int weir_proxy_config_parse(const char *text, size_t len, const char *source,
			    const struct weir_proxy_flags *f, struct weir_proxy_config **ret,
			    struct weir_error *err)
{
	struct weir_proxy_config *c = config_new();
	struct weir_proxy_lines lines = { 0 };
	int r = c ? 0 : oom(err);

	if (!r && text)
		r = weir_proxy_config_yaml(c, text, len, source, f->route.n, &lines, err);
	if (!r)
		r = apply_flags(c, f, err);
	if (!r)
		r = complete(c, err);
	if (!r)
		r = weir_proxy_index_build(c, err);
	if (!r)
		r = weir_proxy_config_check(c, text ? source : NULL, &lines, err);
	if (r) {
		weir_proxy_config_unref(c);
		return r;
	}
	*ret = c;
	return 0;
}

static int fail_read(const char *path, int code, struct weir_error *err)
{
	if (code == -EISDIR)
		return weir_fail(err, -EINVAL, "%s: a directory: give a file", path);
	return weir_fail(err, code, "%s: cannot be read (%s): give a file that can", path,
			 strerror(-code));
}

static int read_file(const char *path, struct weir_buf *text, struct weir_error *err)
{
	weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail_read(path, -errno, err);
	for (;;) {
		char *room = weir_buf_room(text, READ_STEP);
		ssize_t n;

		if (!room)
			return oom(err);
		n = read(fd, room, READ_STEP);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_read(path, -errno, err);
		text->len += (size_t)n;
		text->data[text->len] = '\0';
		if (!n)
			return 0;
		if (text->len > WEIR_PROXY_FILE_MAX)
			return weir_fail(err, -EINVAL, "%s: larger than %u MB: make it smaller",
					 path, WEIR_PROXY_FILE_MAX >> 20);
	}
}

int weir_proxy_config_read(const struct weir_proxy_flags *f, struct weir_proxy_config **ret,
			   struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int r;

	if (!f->file)
		return weir_proxy_config_parse(NULL, 0, NULL, f, ret, err);
	r = read_file(f->file, &text, err);
	return r ? r : weir_proxy_config_parse(text.data, text.len, f->file, f, ret, err);
}
