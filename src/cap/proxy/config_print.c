/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration as YAML, as it was understood: every key, in a fixed order. */
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "cap/proxy/config_impl.h"

void weir_proxy_add_time(struct weir_buf *out, uint64_t ns)
{
	static const struct {
		uint64_t factor;
		const char *name;
	} units[] = {
		{ 86400 * WEIR_NSEC_PER_SEC, "d" },
		{ 3600 * WEIR_NSEC_PER_SEC, "h" },
		{ 60 * WEIR_NSEC_PER_SEC, "m" },
		{ WEIR_NSEC_PER_SEC, "s" },
		{ 1000000, "ms" },
		{ 1000, "us" },
		{ 1, "ns" },
	};

	if (!ns) {
		weir_buf_adds(out, "0s");
		return;
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(units); i++) {
		if (ns % units[i].factor)
			continue;
		weir_buf_addu(out, ns / units[i].factor);
		weir_buf_adds(out, units[i].name);
		return;
	}
}

/* ---- Words */

static bool is_word(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c == '/' || (!first && (c == '.' || c == '_' || c == '-' || c == ':'));
}

/* Can it stand without quotes, in a list too? */
static bool is_plain(const char *s)
{
	size_t n = strlen(s);

	if (!n || s[n - 1] == ':')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_word(s[i], !i))
			return false;
	return true;
}

static uint32_t code_point(const unsigned char *s, size_t n)
{
	uint32_t v = s[0] & (n == 1 ? 0x7f : 0xff >> (n + 1));

	for (size_t i = 1; i < n; i++)
		v = v << 6 | (s[i] & 0x3f);
	return v;
}

/* What YAML would refuse, take as the end of a line, or as no character. */
static bool must_escape(uint32_t v)
{
	return v < 0x20 || (v >= 0x7f && v < 0xa0) || v == 0x2028 || v == 0x2029 || v == 0xfeff ||
	       (v & 0xfffe) == 0xfffe;
}

static void put_text(struct weir_buf *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t left = strlen(text);

	if (is_plain(text)) {
		weir_buf_adds(out, text);
		return;
	}
	weir_buf_addc(out, '"');
	while (left) {
		size_t n = weir_utf8_len(s, left);
		uint32_t v;

		n = n ? n : 1;
		v = code_point(s, n);
		if (v == '"' || v == '\\')
			weir_buf_addf(out, "\\%c", (char)v);
		else if (must_escape(v))
			weir_buf_addf(out, "\\U%08x", v);
		else
			weir_buf_add(out, s, n);
		s += n;
		left -= n;
	}
	weir_buf_addc(out, '"');
}

static void key_text(struct weir_buf *out, const char *key, const char *text)
{
	weir_buf_addf(out, "%s: ", key);
	put_text(out, text);
	weir_buf_addc(out, '\n');
}

static void key_time(struct weir_buf *out, const char *key, uint64_t ns)
{
	weir_buf_addf(out, "%s: ", key);
	weir_proxy_add_time(out, ns);
	weir_buf_addc(out, '\n');
}

static void key_number(struct weir_buf *out, const char *key, uint64_t v)
{
	weir_buf_addf(out, "%s: ", key);
	weir_buf_addu(out, v);
	weir_buf_addc(out, '\n');
}

static void key_endpoint(struct weir_buf *out, const char *key, const struct weir_endpoint *e)
{
	char text[WEIR_ENDPOINT_STRLEN];

	key_text(out, key, e->len ? weir_endpoint_str(e, text) : "off");
}

static void key_prefixes(struct weir_buf *out, const char *key, const struct weir_prefix *list,
			 size_t n)
{
	char text[WEIR_ADDR_STRLEN];

	weir_buf_addf(out, "%s: [", key);
	for (size_t i = 0; i < n; i++) {
		weir_buf_adds(out, i ? ", " : "");
		put_text(out, weir_prefix_str(&list[i], text));
	}
	weir_buf_adds(out, "]\n");
}

static void key_words(struct weir_buf *out, const char *key, char *const *list, size_t n)
{
	weir_buf_addf(out, "%s: [", key);
	for (size_t i = 0; i < n; i++) {
		weir_buf_adds(out, i ? ", " : "");
		put_text(out, list[i]);
	}
	weir_buf_adds(out, "]\n");
}

static void key_action(struct weir_buf *out, const char *key, const struct weir_proxy_action *a)
{
	static const char *const words[] = {
		[WEIR_DO_DROP] = "drop",   [WEIR_DO_RESET] = "reset", [WEIR_DO_ALERT] = "alert",
		[WEIR_DO_ROUTE] = "route", [WEIR_DO_BACKEND] = NULL,
	};

	key_text(out, key, a->route ? a->route->targets[0].text : words[a->what]);
}

/* ---- Parts */

static void print_listen(struct weir_buf *out, const struct weir_proxy_listen *l)
{
	key_endpoint(out, "  - address", &l->address);
	key_text(out, "    name", l->name);
	key_text(out, "    protocol", weir_proxy_protocols[l->protocol]);
	key_prefixes(out, "    accept_proxy", l->proxies, l->n_proxies);
	key_number(out, "    backlog", (uint64_t)l->backlog);
}

static void print_resolver(struct weir_buf *out, const struct weir_proxy_config *c)
{
	const char *s = c->servers;

	weir_buf_adds(out, "resolver:\n  servers: [");
	while (s && *s) {
		size_t n = strcspn(s, ",");

		/* An address with its port: never anything to escape. */
		weir_buf_addf(out, "\"%.*s\"%s", (int)n, s, s[n] ? ", " : "");
		s += n + (s[n] == ',');
	}
	weir_buf_adds(out, s ? "]\n" : "system]\n");
	key_number(out, "  cache", c->cache);
	key_time(out, "  timeout", c->resolve_timeout_ns);
	key_time(out, "  negative_ttl", c->negative_ttl_ns);
	key_time(out, "  stale", c->stale_ns);
	key_time(out, "  ttl_min", c->ttl_min_ns);
	key_time(out, "  ttl_max", c->ttl_max_ns);
	key_text(out, "  local", c->local ? "true" : "false");
}

static void print_limits(struct weir_buf *out, const struct weir_proxy_limits *l)
{
	weir_buf_adds(out, "limits:\n");
	key_number(out, "  connections", l->connections);
	key_number(out, "  per_source", l->per_source);
	weir_buf_adds(out, "  source_rate: ");
	weir_buf_addu(out, l->source_rate);
	weir_buf_adds(out, "/s\n");
	key_number(out, "  source_burst", l->source_burst);
	key_time(out, "  hello_timeout", l->hello_timeout_ns);
	key_time(out, "  connect_timeout", l->connect_timeout_ns);
	key_time(out, "  idle_timeout", l->idle_timeout_ns);
}

static void print_keepalive(struct weir_buf *out, const struct weir_keepalive *k)
{
	if (!k->idle_ns) {
		weir_buf_adds(out, "keepalive: off\n");
		return;
	}
	weir_buf_adds(out, "keepalive:\n");
	key_time(out, "  idle", k->idle_ns);
	key_time(out, "  interval", k->interval_ns);
	key_number(out, "  count", k->count);
}

static void print_log(struct weir_buf *out, const struct weir_proxy_config *c)
{
	weir_buf_adds(out, "log:\n");
	key_text(out, "  file", c->log ? c->log : "off");
	key_text(out, "  format", c->log_format ? c->log_format : "json");
}

static void print_match(struct weir_buf *out, const struct weir_proxy_route *r)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_addf(&text, "%s%s%s",
		      r->kind == WEIR_NAME_WILDCARD ? "*." :
		      r->kind == WEIR_NAME_REGEX    ? "/" :
						      "",
		      r->match, r->kind == WEIR_NAME_REGEX ? "/" : "");
	if (text.failed)
		out->failed = true;
	else
		key_text(out, "  - match", text.data);
}

static void print_health(struct weir_buf *out, const struct weir_proxy_health *h)
{
	if (!h->interval_ns) {
		weir_buf_adds(out, "    health: off\n");
		return;
	}
	weir_buf_adds(out, "    health:\n");
	key_time(out, "      interval", h->interval_ns);
	key_time(out, "      timeout", h->timeout_ns);
	key_number(out, "      rise", h->rise);
	key_number(out, "      fall", h->fall);
}

static void print_route(struct weir_buf *out, const struct weir_proxy_route *r)
{
	print_match(out, r);
	key_text(out, "    name", r->name);
	if (r->n_alpn)
		key_words(out, "    alpn", r->alpn, r->n_alpn);
	if (r->n_sources)
		key_prefixes(out, "    source", r->sources, r->n_sources);
	if (r->n_listeners)
		key_words(out, "    listener", r->listeners, r->n_listeners);
	weir_buf_adds(out, "    backends: [");
	for (size_t i = 0; i < r->n_targets; i++) {
		weir_buf_adds(out, i ? ", " : "");
		put_text(out, r->targets[i].text);
	}
	weir_buf_adds(out, "]\n");
	key_text(out, "    balance", weir_proxy_balances[r->balance]);
	print_health(out, &r->health);
	key_text(out, "    send_proxy", weir_proxy_versions[r->send_proxy]);
	key_text(out, "    transparent", r->transparent ? "true" : "false");
	key_text(out, "    engine", weir_proxy_engines[r->engine]);
	/* Without them the configuration's hold. */
	if (r->connect_timeout_ns)
		key_time(out, "    connect_timeout", r->connect_timeout_ns);
	if (r->idle_timeout_ns)
		key_time(out, "    idle_timeout", r->idle_timeout_ns);
}

void weir_proxy_config_print(const struct weir_proxy_config *c, struct weir_buf *out)
{
	weir_buf_adds(out, "listen:\n");
	for (size_t i = 0; i < c->n_listens; i++)
		print_listen(out, &c->listens[i]);
	key_text(out, "engine", weir_proxy_engines[c->engine]);
	key_action(out, "default", &c->no_match);
	weir_buf_adds(out, "actions:\n");
	key_action(out, "  no_sni", &c->no_sni);
	key_action(out, "  not_tls", &c->not_tls);
	key_action(out, "  ech", &c->ech);
	print_resolver(out, c);
	print_limits(out, &c->limits);
	if (c->n_allow)
		key_prefixes(out, "allow_sources", c->allow, c->n_allow);
	else
		weir_buf_adds(out, "allow_sources: [any]\n");
	print_keepalive(out, &c->keepalive);
	print_log(out, c);
	key_endpoint(out, "metrics", &c->metrics);
	key_text(out, "user", c->user ? c->user : weir_proxy_default_user());
	if (c->workers)
		key_number(out, "workers", c->workers);
	else
		weir_buf_adds(out, "workers: auto\n");
	key_time(out, "drain", c->drain_ns);
	weir_buf_adds(out, c->n_routes ? "routes:\n" : "routes: []\n");
	for (size_t i = 0; i < c->n_routes; i++)
		print_route(out, &c->routes[i]);
}
