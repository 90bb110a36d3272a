/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/config_impl.h"
#include "config_errors.h"

#define SEC WEIR_NSEC_PER_SEC
static const struct weir_proxy_flags no_flags;

static struct weir_proxy_config *load_with(const char *text, const struct weir_proxy_flags *f)
{
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };

	if (weir_proxy_config_parse(text, text ? strlen(text) : 0, "f", f, &c, &err))
		fail_msg("%s", err.msg);
	return c;
}

static struct weir_proxy_config *load(const char *text)
{
	return load_with(text, &no_flags);
}

static void need_error(const char *text, const struct weir_proxy_flags *f, const char *want)
{
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };
	int r = weir_proxy_config_parse(text, text ? strlen(text) : 0, "f", f, &c, &err);

	if (r != -EINVAL || c || strcmp(err.msg, want))
		fail_msg("%d for\n%s\ngot:  %s\nwant: %s", r, text ? text : "(flags)", err.msg,
			 want);
}

/* Reads back to the same. */
static void check_print(const struct weir_proxy_config *c)
{
	weir_autobuf struct weir_buf a = { 0 }, b = { 0 };
	struct weir_proxy_config *again;

	weir_proxy_config_print(c, &a);
	assert_false(a.failed);
	again = load(a.data);
	weir_proxy_config_print(again, &b);
	assert_string_equal(a.data, b.data);
	weir_proxy_config_unref(again);
}

/* ---- What is read */

static void defaults(void **state)
{
	struct weir_proxy_config *c = load(LISTEN ROUTE);
	const struct weir_proxy_route *r = &c->routes[0];
	const struct weir_proxy_listen *l = &c->listens[0];

	(void)state;
	assert_int_equal(c->n_listens, 1);
	assert_string_equal(l->name, "192.0.2.1:443");
	assert_int_equal(l->protocol, WEIR_PROXY_TLS);
	assert_int_equal(l->n_proxies, 0);
	assert_int_equal(l->backlog, 4096);
	assert_int_equal(c->engine, WEIR_ENGINE_AUTO);
	assert_int_equal(c->no_match.what, WEIR_DO_DROP);
	assert_int_equal(c->no_sni.what, WEIR_DO_DROP);
	assert_int_equal(c->not_tls.what, WEIR_DO_DROP);
	assert_int_equal(c->ech.what, WEIR_DO_ROUTE);
	assert_null(c->servers);
	assert_int_equal(c->cache, 65536);
	assert_int_equal(c->limits.connections, 100000);
	assert_int_equal(c->limits.per_source, 0);
	assert_int_equal(c->limits.source_rate, 0);
	assert_int_equal(c->limits.source_burst, 1);
	assert_int_equal(c->limits.hello_timeout_ns, 5 * SEC);
	assert_int_equal(c->limits.connect_timeout_ns, 5 * SEC);
	assert_int_equal(c->limits.idle_timeout_ns, 600 * SEC);
	assert_int_equal(c->n_allow, 0);
	assert_int_equal(c->keepalive.idle_ns, 0);
	assert_null(c->log);
	assert_null(c->log_format);
	assert_int_equal(c->metrics.len, 0);
	assert_null(c->user);
	assert_int_equal(c->workers, 0);
	assert_int_equal(c->drain_ns, 30 * SEC);
	assert_int_equal(c->n_routes, 1);
	assert_string_equal(r->name, "a.example");
	assert_string_equal(r->match, "a.example");
	assert_int_equal(r->kind, WEIR_NAME_EXACT);
	assert_int_equal(r->n_targets, 1);
	assert_int_equal(r->targets[0].kind, WEIR_TARGET_ADDRESS);
	assert_int_equal(r->balance, WEIR_ROUND_ROBIN);
	assert_int_equal(r->health.interval_ns, 0);
	assert_int_equal(r->send_proxy, 0);
	assert_false(r->transparent);
	assert_int_equal(r->engine, WEIR_ENGINE_AUTO);
	assert_int_equal(r->line, 2);
	check_print(c);
	weir_proxy_config_unref(c);
}

static const char everything[] =
	"listen:\n"
	"  - address: \"[::]:443\"\n"
	"    name: outside\n"
	"    accept_proxy: [10.0.0.0/8, \"2001:db8::/32\"]\n"
	"    backlog: 100\n"
	"  - {address: 192.0.2.1:80, protocol: http, accept_proxy: any}\n"
	"engine: copy\n"
	"default: alert\n"
	"actions: {no_sni: \"[2001:db8::1]:443\", not_tls: reset, ech: unix:/run/ech.sock}\n"
	"resolver:\n"
	"  servers: [127.0.0.1, \"::1\", \"[2001:db8::53]:5353\"]\n"
	"  cache: 1000\n"
	"  timeout: 500ms\n"
	"  negative_ttl: 0s\n"
	"  stale: 1.5h\n"
	"  ttl_min: 1m\n"
	"  ttl_max: 2d\n"
	"  local: true\n"
	"limits:\n"
	"  connections: 5\n"
	"  per_source: 4\n"
	"  source_rate: 600/m\n"
	"  hello_timeout: 1s\n"
	"  connect_timeout: 2s\n"
	"  idle_timeout: 3d\n"
	"allow_sources: [10.0.0.0/8, 192.0.2.7]\n"
	"keepalive: {idle: 60s, interval: 10s, count: 3}\n"
	"log: {file: /var/log/w x.log, format: \"%{sni}\\t%{reason}\"}\n"
	"metrics: 127.0.0.1:9100\n"
	"user: root\n"
	"workers: 3\n"
	"drain: 1m\n"
	"routes:\n"
	"  - match: [Example.COM., www.example.com]\n"
	"    name: site\n"
	"    alpn: [h2, http/1.1]\n"
	"    source: 10.0.0.0/8\n"
	"    listener: [outside, 192.0.2.1:80]\n"
	"    backends: [10.0.0.5:443, App.example:8443, app, unix:/run/x.sock]\n"
	"    balance: least-connections\n"
	"    health: {interval: 10s, timeout: 1s, rise: 1, fall: 5}\n"
	"    send_proxy: v2\n"
	"    engine: sockmap\n"
	"    connect_timeout: 1s\n"
	"    idle_timeout: 1h\n"
	"  - {match: \"*.example.org\", backends: dns, transparent: true}\n"
	"  - {match: '/^X[0-9]{2}\\.example$/', backends: [dns]}\n"
	"  - {match: \"*\", backends: [\"[2001:db8::9]:443\"], health: 500ms, source: any}\n";

static void check_top(const struct weir_proxy_config *c)
{
	assert_int_equal(c->engine, WEIR_ENGINE_COPY);
	assert_int_equal(c->no_match.what, WEIR_DO_ALERT);
	assert_int_equal(c->no_sni.what, WEIR_DO_BACKEND);
	assert_string_equal(c->no_sni.route->name, "no_sni");
	assert_string_equal(c->no_sni.route->targets[0].text, "[2001:db8::1]:443");
	assert_int_equal(c->not_tls.what, WEIR_DO_RESET);
	assert_int_equal(c->ech.route->targets[0].kind, WEIR_TARGET_UNIX);
	assert_string_equal(c->servers, "127.0.0.1:53,[::1]:53,[2001:db8::53]:5353");
	assert_int_equal(c->resolve_timeout_ns, SEC / 2);
	assert_int_equal(c->negative_ttl_ns, 0);
	assert_int_equal(c->stale_ns, 5400 * SEC);
	assert_int_equal(c->ttl_min_ns, 60 * SEC);
	assert_int_equal(c->ttl_max_ns, 2 * 86400 * SEC);
	assert_true(c->local);
	assert_int_equal(c->limits.per_source, 4);
	assert_int_equal(c->limits.source_rate, 10);
	assert_int_equal(c->limits.source_burst, 10);
	assert_int_equal(c->n_allow, 2);
	assert_int_equal(c->keepalive.idle_ns, 60 * SEC);
	assert_int_equal(c->keepalive.count, 3);
	assert_string_equal(c->log, "/var/log/w x.log");
	assert_string_equal(c->log_format, "%{sni}\t%{reason}");
	assert_int_equal(weir_endpoint_port(&c->metrics), 9100);
	assert_string_equal(c->user, "root");
	assert_int_equal(c->workers, 3);
	assert_int_equal(c->drain_ns, 60 * SEC);
}

static void all_keys(void **state)
{
	struct weir_proxy_config *c = load(everything);
	const struct weir_proxy_route *r = c->routes;

	(void)state;
	assert_int_equal(c->n_listens, 2);
	assert_string_equal(c->listens[0].name, "outside");
	assert_int_equal(c->listens[0].n_proxies, 2);
	assert_int_equal(c->listens[0].backlog, 100);
	assert_int_equal(c->listens[1].protocol, WEIR_PROXY_HTTP);
	/* Any source: of both families. */
	assert_int_equal(c->listens[1].n_proxies, 2);
	assert_true(c->listens[1].proxies[0].is_v4);
	assert_false(c->listens[1].proxies[1].is_v4);
	check_top(c);
	assert_int_equal(c->n_routes, 5);
	assert_string_equal(r[0].match, "example.com");
	assert_string_equal(r[1].match, "www.example.com");
	for (int i = 0; i < 2; i++) {
		assert_string_equal(r[i].name, "site");
		assert_int_equal(r[i].n_alpn, 2);
		assert_int_equal(r[i].n_sources, 1);
		assert_int_equal(r[i].n_listeners, 2);
		assert_int_equal(r[i].n_targets, 4);
		assert_string_equal(r[i].targets[1].text, "app.example:8443");
		assert_string_equal(r[i].targets[1].host, "app.example");
		assert_int_equal(r[i].targets[1].port, 8443);
		assert_int_equal(r[i].targets[2].kind, WEIR_TARGET_NAME);
		assert_int_equal(r[i].targets[2].port, 0);
		assert_int_equal(r[i].targets[3].kind, WEIR_TARGET_UNIX);
		assert_int_equal(r[i].balance, WEIR_LEAST_CONNECTIONS);
		assert_int_equal(r[i].health.fall, 5);
		assert_int_equal(r[i].send_proxy, 2);
		assert_int_equal(r[i].engine, WEIR_ENGINE_SOCKMAP);
		assert_int_equal(r[i].connect_timeout_ns, SEC);
		assert_int_equal(r[i].idle_timeout_ns, 3600 * SEC);
		assert_int_equal(r[i].line, 34);
	}
	assert_int_equal(r[2].kind, WEIR_NAME_WILDCARD);
	assert_string_equal(r[2].match, "example.org");
	assert_string_equal(r[2].name, "*.example.org");
	assert_int_equal(r[2].targets[0].kind, WEIR_TARGET_DNS);
	assert_true(r[2].transparent);
	assert_int_equal(r[3].kind, WEIR_NAME_REGEX);
	assert_string_equal(r[3].match, "^X[0-9]{2}\\.example$");
	assert_int_equal(r[4].kind, WEIR_NAME_ANY);
	assert_int_equal(r[4].n_sources, 0);
	/* A probe does not take longer than the time between two. */
	assert_int_equal(r[4].health.timeout_ns, SEC / 2);
	check_print(c);
	weir_proxy_config_unref(c);
}

/* The forms that a person would try. */
static void other_forms(void **state)
{
	static const char *const texts[] = {
		"---\n" LISTEN ROUTE "...\n",
		"%YAML 1.1\n---\n" LISTEN ROUTE,
		"listen: [\"[::1]:443\"]\ndefault: 127.0.0.1:8443\n",
		"listen: {address: 127.0.0.1:443}\nroutes: {match: x, backends: y}\n",
		LISTEN "default: drop\nroutes: {match: x_y.example, backends: 192.0.2.1:8443}\n",
		LISTEN ROUTE "keepalive: off\nlog: off\nmetrics: off\nworkers: auto\n"
			     "allow_sources: any\nresolver: {servers: system}\n",
		LISTEN ROUTE "log: stdout\nkeepalive: 1m\n",
		LISTEN ROUTE "log: \"-\"\n",
		LISTEN ROUTE "log: {file: off, format: json}\n",
		LISTEN "routes: {match: 192.0.2.1, backends: x}\n",
		LISTEN "routes: {match: x, backends: DNS.}\n",
		LISTEN "routes: {match: xn--bcher-kva.example, backends: x}\n",
		/* Names and values that print with care. */
		LISTEN "routes: {match: x, backends: y, name: \"\\u2028 \\\\ \\\" \\ufeff : #\"}\n",
		LISTEN "routes: {match: x, backends: y, name: \"- x\"}\n",
		LISTEN "routes: {match: x, backends: \"unix:/run/a,b [c]: d\"}\n",
		LISTEN "routes: {match: '/[\"]\\\\./', backends: y, alpn: [\"\\xfc\", ':']}\n",
		"listen: {address: 127.0.0.1:443, name: '127.0.0.1:80'}\n" ROUTE,
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(texts); i++) {
		struct weir_proxy_config *c = load(texts[i]);

		check_print(c);
		weir_proxy_config_unref(c);
	}
}

static void references(void **state)
{
	struct weir_proxy_config *c = load(LISTEN ROUTE);

	(void)state;
	assert_ptr_equal(weir_proxy_config_ref(c), c);
	weir_proxy_config_unref(c);
	assert_string_equal(c->routes[0].name, "a.example");
	weir_proxy_config_unref(c);
	weir_proxy_config_unref(NULL);
}

/* ---- Flags */

static void flags_alone(void **state)
{
	static const struct weir_proxy_flags f = {
		.listen = { { "[::]:443", "http://0.0.0.0:80", "tls://127.0.0.1:8443" }, 3 },
		.route = { { "Example.com=10.0.0.5:443", "*.example.org=dns",
			     "/^a=b/=x=y/=10.0.0.6:443,10.0.0.7:443", "*=unix:/run/x=y" },
			   4 },
		.allow = { { "10.0.0.0/8", "2001:db8::/32" }, 2 },
		.preset = "reset",
		.engine = "splice",
		.servers = "127.0.0.1,[::1]:5353",
		.log = "-",
		.log_format = "%{sni}",
		.metrics = "127.0.0.1:9100",
		.user = "root",
		.workers = 2,
		.drain_ns = 5 * SEC,
	};
	struct weir_proxy_config *c = load_with(NULL, &f);

	(void)state;
	assert_int_equal(c->n_listens, 3);
	assert_int_equal(c->listens[1].protocol, WEIR_PROXY_HTTP);
	assert_int_equal(c->n_routes, 4);
	assert_string_equal(c->routes[0].match, "example.com");
	assert_int_equal(c->routes[0].line, 0);
	assert_string_equal(c->routes[2].match, "^a=b/=x=y");
	assert_int_equal(c->routes[2].n_targets, 2);
	assert_string_equal(c->routes[3].targets[0].text, "unix:/run/x=y");
	assert_int_equal(c->n_allow, 2);
	assert_int_equal(c->no_match.what, WEIR_DO_RESET);
	assert_int_equal(c->engine, WEIR_ENGINE_SPLICE);
	assert_string_equal(c->servers, "127.0.0.1:53,[::1]:5353");
	assert_string_equal(c->log, "-");
	assert_int_equal(c->workers, 2);
	assert_int_equal(c->drain_ns, 5 * SEC);
	check_print(c);
	weir_proxy_config_unref(c);
}

static void flags_outweigh(void **state)
{
	static const struct weir_proxy_flags f = {
		.listen = { { "192.0.2.2:443" }, 1 },
		.route = { { "b.example=192.0.2.9:443" }, 1 },
		.allow = { { "any" }, 1 },
		.preset = "192.0.2.7:443",
		.log = "off",
	};
	struct weir_proxy_config *c = load_with(LISTEN ROUTE "default: 192.0.2.8:443\n"
							     "log: /x\nworkers: 4\n"
							     "allow_sources: [10.0.0.0/8]\n",
						&f);

	(void)state;
	/* They add listeners and routes... */
	assert_int_equal(c->n_listens, 2);
	assert_int_equal(c->n_routes, 2);
	assert_string_equal(c->routes[1].name, "b.example");
	/* ...and take the place of the rest. */
	assert_string_equal(c->no_match.route->targets[0].text, "192.0.2.7:443");
	assert_null(c->log);
	assert_int_equal(c->n_allow, 0);
	assert_int_equal(c->workers, 4);
	weir_proxy_config_unref(c);
}

static void log_path(void **state)
{
	static const struct weir_proxy_flags f = { .log = "access.log" };
	struct weir_proxy_config *c = load_with(LISTEN ROUTE, &f);
	char want[4096 + 32], dir[4096];

	(void)state;
	assert_non_null(getcwd(dir, sizeof(dir)));
	snprintf(want, sizeof(want), "%s/access.log", dir);
	assert_string_equal(c->log, want);
	weir_proxy_config_unref(c);
}

/* ---- What is refused */

static void bad_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(config_errors); i++)
		need_error(config_errors[i].text, &no_flags, config_errors[i].want);
}

static void bad_flags(void **state)
{
	static const struct {
		struct weir_proxy_flags f;
		const char *want;
	} cases[] = {
		{ { 0 }, "listen: no listener: give one by -c FILE, or by --listen ADDRESS:PORT" },
		{ { .listen = { { "127.0.0.1:443" }, 1 } },
		  "routes: no route, and no backend by default: every connection would end: give "
		  "one by --route NAME=BACKEND" },
		{ { .listen = { { "443" }, 1 } },
		  "--listen: \"443\" is no IP address with a port: give one such as 192.0.2.1:443 "
		  "or [::]:443" },
		{ { .listen = { { "unix:/run/x" }, 1 } },
		  "--listen: \"unix:/run/x\" is no IP address with a port: give one such as "
		  "192.0.2.1:443 or [::]:443" },
		{ { .route = { { "a.example" }, 1 } },
		  "--route: \"a.example\" has no backend: write NAME=BACKEND[,BACKEND]" },
		{ { .route = { { "/a=b" }, 1 } },
		  "--route: \"/a=b\" has no backend: write NAME=BACKEND[,BACKEND]" },
		{ { .route = { { "a.example=" }, 1 } }, "--route: no value: give one" },
		{ { .route = { { "=x" }, 1 } }, "--route: no value: give one" },
		{ { .listen = { { "127.0.0.1:443" }, 1 }, .route = { { "a=x", "A.=y" }, 2 } },
		  "--route: A.: given before with nothing else: leave one out" },
		{ { .listen = { { "127.0.0.1:443" }, 1 }, .route = { { "a=x,x" }, 1 } },
		  "--route: a: x is given twice: leave one out" },
		{ { .allow = { { "10.0.0.1/8" }, 1 } },
		  "--allow-source: \"10.0.0.1/8\": bits are set behind the prefix length: clear "
		  "them" },
		{ { .preset = "dorp" }, "--default: \"dorp\" is no action: did you mean drop?" },
		{ { .engine = "fast" },
		  "--engine: \"fast\" is not known: give auto, splice, copy or sockmap" },
		{ { .servers = "localhost" },
		  "--server: \"localhost\" is no name server: give its IP address, such as "
		  "192.0.2.53 or [2001:db8::53]:5353" },
		{ { .log = "" }, "--log: \"\" is no path: give one from /, or -, or off" },
		{ { .log = "/a\nb" }, "--log: \"/a?b\" has a control character: leave it out" },
		{ { .log = "/\xff" }, "--log: \"/?\" is not UTF-8: write it so" },
		{ { .metrics = "9100" },
		  "--metrics: \"9100\" is no IP address with a port: give one such as "
		  "192.0.2.1:443 or [::]:443" },
		{ { .user = "no such user" },
		  "--user: \"no such user\" is no user of this host: give one that `getent "
		  "passwd` lists" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		need_error(NULL, &cases[i].f, cases[i].want);
}

/* ---- Sizes */

static void add_routes(struct weir_buf *b, unsigned int n)
{
	weir_buf_adds(b, LISTEN "routes:\n  - backends: x\n    match:\n");
	for (unsigned int i = 0; i < n; i++)
		weir_buf_addf(b, "      - h%u.example\n", i);
}

static void many_routes(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_proxy_config *c;

	(void)state;
	add_routes(&b, 10000);
	c = load(b.data);
	assert_int_equal(c->n_routes, 10000);
	assert_int_equal(c->routes[9999].line, 10004);
	check_print(c);
	weir_proxy_config_unref(c);
	weir_buf_reset(&b);
	add_routes(&b, WEIR_PROXY_ROUTES_MAX + 1);
	need_error(b.data, &no_flags, "f:3: routes: more than 65536 routes: leave some out");
}

static void bounds(void **state)
{
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	for (int i = 0; i < 100; i++)
		weir_buf_addc(&b, '[');
	need_error(b.data, &no_flags, "f:1: nested too deep: check the indentation");
	weir_buf_reset(&b);
	weir_buf_adds(&b, LISTEN "routes: {match: x, backends: [");
	for (int i = 0; i < 65; i++)
		weir_buf_addf(&b, "a%d, ", i);
	weir_buf_adds(&b, "]}\n");
	need_error(b.data, &no_flags, "f:2: routes.backends: more than 64: leave some out");
	weir_buf_reset(&b);
	weir_buf_adds(&b, "listen: [");
	for (int i = 0; i < 1100000; i++)
		weir_buf_adds(&b, "x,");
	need_error(b.data, &no_flags, "f:1: more than 1048576 values: make the file smaller");
}

/* ---- allow_sources: bisection against trying them all */

static uint64_t seed = 1;

static unsigned int pick(unsigned int n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(seed >> 33) % n;
}

/* Of few bits, so that they meet. */
static void make_prefix(struct weir_prefix *p)
{
	static const struct weir_addr v4 = { { [10] = 0xff, [11] = 0xff } };
	char text[WEIR_ADDR_STRLEN], with_len[WEIR_ADDR_STRLEN + 4];
	bool is_v4 = pick(2);
	struct weir_addr a = { { 0 } };
	unsigned int len = pick(13), at = 0;

	if (is_v4) {
		a = v4;
		at = 12;
	}
	for (unsigned int i = 0; i < len; i++)
		a.b[at + i / 8] |= (uint8_t)(pick(2) << (7 - i % 8));
	snprintf(with_len, sizeof(with_len), "%s/%u", weir_addr_str(&a, text), len);
	assert_int_equal(weir_prefix_parse(with_len, false, p), 0);
}

static void check_allows(const struct weir_proxy_config *c, const struct weir_prefix *list,
			 size_t n)
{
	for (int i = 0; i < 300; i++) {
		struct weir_prefix p;
		bool want = false;

		make_prefix(&p);
		p.addr.b[15] = (uint8_t)pick(256);
		for (size_t j = 0; j < n; j++)
			want = want || weir_prefix_contains(&list[j], &p.addr);
		assert_int_equal(weir_proxy_config_allows(c, &p.addr), want);
	}
}

static void allow_sources(void **state)
{
	struct weir_proxy_config *c = load(LISTEN ROUTE "allow_sources: any\n");
	struct weir_addr a = { { 0 } };

	(void)state;
	assert_true(weir_proxy_config_allows(c, &a));
	weir_proxy_config_unref(c);
	for (int round = 0; round < 100; round++) {
		weir_autobuf struct weir_buf b = { 0 };
		struct weir_prefix list[40];
		size_t n = 1 + pick(40);

		weir_buf_adds(&b, LISTEN ROUTE "allow_sources:\n");
		for (size_t i = 0; i < n; i++) {
			char text[WEIR_ADDR_STRLEN];

			make_prefix(&list[i]);
			weir_buf_addf(&b, "  - \"%s\"\n", weir_prefix_str(&list[i], text));
		}
		c = load(b.data);
		check_allows(c, list, n);
		check_print(c);
		weir_proxy_config_unref(c);
	}
}

/* ---- Files */

static void file_error(const char *path, const char *want)
{
	const struct weir_proxy_flags f = { .file = path };
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };

	assert_true(weir_proxy_config_read(&f, &c, &err) < 0);
	assert_null(c);
	assert_string_equal(err.msg, want);
}

static void files(void **state)
{
	char path[] = "/tmp/weir-config-XXXXXX";
	const struct weir_proxy_flags f = { .file = path };
	struct weir_proxy_config *c = NULL;
	struct weir_error err = { "" };
	char want[200];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	snprintf(want, sizeof(want),
		 "%s: listen: no listener: give one here, or by --listen ADDRESS:PORT", path);
	file_error(path, want);
	assert_int_equal(write(fd, LISTEN ROUTE, strlen(LISTEN ROUTE)), strlen(LISTEN ROUTE));
	close(fd);
	assert_int_equal(weir_proxy_config_read(&f, &c, &err), 0);
	weir_proxy_config_unref(c);
	unlink(path);
	file_error("/no/such/file", "/no/such/file: cannot be read (No such file or directory): "
				    "give a file that can");
	file_error("/tmp", "/tmp: a directory: give a file");
	file_error("/dev/zero", "/dev/zero: larger than 10 MB: make it smaller");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),    cmocka_unit_test(all_keys),
		cmocka_unit_test(other_forms), cmocka_unit_test(references),
		cmocka_unit_test(flags_alone), cmocka_unit_test(flags_outweigh),
		cmocka_unit_test(log_path),    cmocka_unit_test(bad_files),
		cmocka_unit_test(bad_flags),   cmocka_unit_test(many_routes),
		cmocka_unit_test(bounds),      cmocka_unit_test(allow_sources),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
