/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/conn_facts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/account.h"
#include "cap/proxy/conn.h"

const char *const weir_conn_states[WEIR_CONN_STATES] = {
	[WEIR_CONN_HEADER] = "header",	 [WEIR_CONN_HELLO] = "hello",
	[WEIR_CONN_RESOLVE] = "resolve", [WEIR_CONN_CONNECT] = "connect",
	[WEIR_CONN_RELAY] = "relay",	 [WEIR_CONN_GOODBYE] = "goodbye",
};

/* A value of one key. */
struct value {
	uint64_t num;			 /* UINT, BOOL; TIME: ns since the epoch */
	const char *str;		 /* TEXT */
	char text[WEIR_ENDPOINT_STRLEN]; /* where str may point */
};

/* ---- The keys. Each returns false where it is not known. @ended: of a log's line. */

static bool put(struct value *v, uint64_t n)
{
	v->num = n;
	return true;
}

static bool put_text(struct value *v, const char *s)
{
	v->str = s;
	return s && s[0];
}

static bool put_ip(struct value *v, const struct weir_endpoint *e)
{
	struct weir_addr a;

	if (!e->len || e->sa.sa_family == AF_UNIX)
		return false;
	a = weir_endpoint_addr(e);
	return put_text(v, weir_addr_str(&a, v->text));
}

static bool put_port(struct value *v, const struct weir_endpoint *e)
{
	return e->len && e->sa.sa_family != AF_UNIX && put(v, weir_endpoint_port(e));
}

/* Between two moments, where both are known. */
static bool put_span(struct value *v, uint64_t from, uint64_t to)
{
	return from && to >= from && put(v, to - from);
}

static bool put_time(struct value *v, uint64_t mono)
{
	return mono && put(v, weir_clock_real() - (weir_clock_mono() - mono));
}

#define GET(id)                                                                       \
	static bool get_##id(const struct weir_conn_facts *f __attribute__((unused)), \
			     bool ended __attribute__((unused)), struct value *v)

GET(ts)
{
	return ended && put_time(v, f->ended_at);
}

GET(began_ts)
{
	return put_time(v, f->began);
}

GET(id)
{
	return put(v, f->id);
}

GET(state)
{
	return !ended && put_text(v, weir_conn_states[f->state]);
}

GET(local_ip)
{
	return put_ip(v, &f->local);
}

GET(local_port)
{
	return put_port(v, &f->local);
}

GET(remote_ip)
{
	return put_ip(v, &f->client);
}

GET(remote_port)
{
	return put_port(v, &f->client);
}

static bool is_http(const struct weir_conn_facts *f)
{
	return f->listen && f->listen->protocol == WEIR_PROXY_HTTP;
}

GET(sni)
{
	return !is_http(f) && put_text(v, f->name);
}

GET(host)
{
	return is_http(f) && put_text(v, f->name);
}

GET(alpn)
{
	return put_text(v, f->alpn);
}

GET(ech)
{
	return f->hello_at && !is_http(f) && put(v, f->ech);
}

GET(listener)
{
	return f->listen && put_text(v, f->listen->name);
}

GET(route)
{
	return f->route && put_text(v, f->route->name);
}

GET(target)
{
	return put_text(v, f->target);
}

GET(backend)
{
	return f->backend.len && put_text(v, weir_endpoint_str(&f->backend, v->text));
}

GET(proxy_ip)
{
	return put_ip(v, &f->source);
}

GET(proxy_port)
{
	return put_port(v, &f->source);
}

GET(engine)
{
	return put_text(v, f->engine);
}

GET(demoted)
{
	return f->demoted && put(v, true);
}

GET(reason)
{
	return ended && put_text(v, weir_proxy_ends[f->end].word);
}

GET(error)
{
	int code = f->error < 0 ? -f->error : f->error;

	return code && put_text(v, strerrorname_np(code));
}

GET(attempts)
{
	return f->attempts && put(v, f->attempts);
}

GET(bytes_in)
{
	return put(v, f->bytes_in);
}

GET(bytes_out)
{
	return put(v, f->bytes_out);
}

GET(duration_ns)
{
	return put_span(v, f->began, ended ? f->ended_at : weir_clock_mono());
}

GET(hello_ns)
{
	return put_span(v, f->began, f->hello_at);
}

GET(connect_ns)
{
	return put_span(v, f->hello_at, f->connected_at);
}

GET(first_byte_ns)
{
	return put_span(v, f->connected_at, f->first_byte_at);
}

GET(idle_ns)
{
	return !ended && put_span(v, f->active_at, weir_clock_mono());
}

enum kind { KIND_TEXT, KIND_UINT, KIND_BOOL, KIND_TIME };

static const struct key {
	const char *name;
	size_t len;
	enum kind kind;
	bool (*get)(const struct weir_conn_facts *f, bool ended, struct value *v);
	const char *help;
} keys[] = {
#define X(id, name, kind, help) { name, sizeof(name) - 1, KIND_##kind, get_##id, help },
	WEIR_CONN_KEYS(X)
#undef X
};

/* ---- JSON */

static void json_value(struct weir_json *j, const struct key *k, const struct value *v)
{
	switch (k->kind) {
	case KIND_TEXT:
		weir_json_str(j, k->name, v->str);
		break;
	case KIND_UINT:
		weir_json_uint(j, k->name, v->num);
		break;
	case KIND_BOOL:
		weir_json_bool(j, k->name, v->num);
		break;
	case KIND_TIME:
		weir_json_time(j, k->name, v->num);
		break;
	}
}

void weir_conn_json(const struct weir_conn_facts *f, bool ended, struct weir_json *j)
{
	struct value v;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(keys); i++)
		if (keys[i].get(f, ended, &v))
			json_value(j, &keys[i], &v);
}

/* ---- The template */

static const struct key *find_key(const char *s, size_t n)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(keys); i++)
		if (keys[i].len == n && memcmp(keys[i].name, s, n) == 0)
			return &keys[i];
	return NULL;
}

static const char *nearest(const char *word, size_t n)
{
	/* The keys as an option table: one judgement of what is near. */
	struct weir_opt names[WEIR_ARRAY_SIZE(keys) + 1] = { 0 };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(keys); i++) {
		names[i].name = keys[i].name;
		names[i].help = keys[i].help;
	}
	return weir_opt_nearest(names, word, n);
}

/* The key of "%{key}" at @s, which ends before *ret_end; NULL: something else. */
static const char *key_at(const char *s, const char **ret_end)
{
	const char *end = s[0] == '%' && s[1] == '{' ? strchr(s, '}') : NULL;

	if (!end)
		return NULL;
	*ret_end = end;
	return s + 2;
}

static int bad_key(const char *key, size_t n, struct weir_error *err)
{
	const char *near = nearest(key, n);

	if (near)
		return weir_fail(err, -EINVAL, "unknown key \"%.*s\": did you mean %%{%s}?", (int)n,
				 key, near);
	return weir_fail(err, -EINVAL, "unknown key \"%.*s\": weir-proxy(8) lists them", (int)n,
			 key);
}

int weir_conn_template_check(const char *format, struct weir_error *err)
{
	const char *end;

	for (const char *s = format; *s; s++) {
		const char *key = key_at(s, &end);

		if (*s == '\n' || *s == '\r')
			return weir_fail(err, -EINVAL,
					 "a line of the log has no line break in it: leave it out");
		if (*s != '%')
			continue;
		if (s[1] == '%') {
			s++;
			continue;
		}
		if (!key)
			return weir_fail(
				err, -EINVAL,
				"\"%.10s\" is no key: write %%{key}, or %%%% for a percent "
				"sign",
				s);
		if (!find_key(key, (size_t)(end - key)))
			return bad_key(key, (size_t)(end - key), err);
		s = end;
	}
	return 0;
}

/* A log is read by eye and by programs that split it: nobody forges a line in it. */
static void add_text(struct weir_buf *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c > ' ' && c < 0x7f && c != '"' && c != '\\') {
			weir_buf_addc(out, *s);
		} else {
			weir_buf_adds(out, "\\x");
			weir_buf_addx(out, c, 2);
		}
	}
}

static void add_value(struct weir_buf *out, const struct key *k, const struct value *v)
{
	switch (k->kind) {
	case KIND_TEXT:
		add_text(out, v->str);
		break;
	case KIND_UINT:
		weir_buf_addu(out, v->num);
		break;
	case KIND_BOOL:
		weir_buf_adds(out, v->num ? "true" : "false");
		break;
	case KIND_TIME:
		weir_buf_add_rfc3339(out, v->num);
		break;
	}
}

void weir_conn_template(const struct weir_conn_facts *f, const char *format, struct weir_buf *out)
{
	const char *end;
	struct value v;

	for (const char *s = format; *s; s++) {
		const char *name = key_at(s, &end);
		const struct key *k = name ? find_key(name, (size_t)(end - name)) : NULL;

		if (!k) {
			weir_buf_addc(out, *s);
			s += s[0] == '%' && s[1] == '%';
			continue;
		}
		if (k->get(f, true, &v))
			add_value(out, k, &v);
		else
			weir_buf_addc(out, '-');
		s = end;
	}
}
