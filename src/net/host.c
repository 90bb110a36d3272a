/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/host.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX 32 /* no method is as long: the longest registered one has 17 */
#define VERSION " HTTP/1."
#define VERSION_LEN (sizeof(VERSION) - 1)
#define PORT_MAX 65535

/* A part of the head. */
struct text {
	const char *at;
	size_t n;
};

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(struct text t)
{
	size_t n = 0;

	while (n < t.n && is_token(t.at[n]))
		n++;
	return n;
}

static struct text skip(struct text t, size_t n)
{
	return (struct text){ t.at + n, t.n - n };
}

/* One line without its end; @t moves behind it. There is an LF in @t. */
static struct text take_line(struct text *t)
{
	const char *nl = memchr(t->at, '\n', t->n);
	struct text line = { t->at, (size_t)(nl - t->at) };

	*t = skip(*t, line.n + 1);
	if (line.n && line.at[line.n - 1] == '\r')
		line.n--;
	return line;
}

/* ---- Authority: host[:port] */

static bool is_port(struct text t)
{
	unsigned int port = 0;

	for (size_t i = 0; i < t.n; i++) {
		if (t.at[i] < '0' || t.at[i] > '9')
			return false;
		port = port * 10 + (unsigned int)(t.at[i] - '0');
		if (port > PORT_MAX)
			return false;
	}
	return true;
}

/* "[2001:db8::1]"; what follows it goes to *rest. */
static bool read_literal(struct text t, char name[WEIR_HELLO_NAME], struct text *rest)
{
	const char *end = memchr(t.at, ']', t.n);
	struct in6_addr addr;

	if (!end || !weir_hello_name(t.at + 1, (size_t)(end - t.at) - 1, name))
		return false;
	*rest = skip(t, (size_t)(end - t.at) + 1);
	return inet_pton(AF_INET6, name, &addr) == 1;
}

static bool read_authority(struct text t, char name[WEIR_HELLO_NAME])
{
	const char *colon = memchr(t.at, ':', t.n);
	const size_t n = colon ? (size_t)(colon - t.at) : t.n;
	struct text rest = skip(t, n);

	if (t.n && t.at[0] == '[') {
		if (!read_literal(t, name, &rest))
			return false;
	} else {
		/* What would end a host in a URI, or stand before it, is in none. */
		for (size_t i = 0; i < n; i++)
			if (t.at[i] && strchr("/?#@[]\\", t.at[i]))
				return false;
		if (!weir_hello_name(t.at, n, name))
			return false;
	}
	return !rest.n || (rest.at[0] == ':' && is_port(skip(rest, 1)));
}

/* ---- The head */

/* METHOD SP TARGET SP HTTP/1.x */
static enum weir_hello_state read_request(struct text line, struct text *target)
{
	const size_t tail = VERSION_LEN + 1, method = token_len(line);
	const char last = line.n ? line.at[line.n - 1] : '\0';

	if (line.n <= method + tail || last < '0' || last > '9' ||
	    memcmp(line.at + line.n - tail, VERSION, VERSION_LEN) != 0)
		return WEIR_HELLO_NOT_TLS;
	*target = (struct text){ line.at + method + 1, line.n - method - 1 - tail };
	for (size_t i = 0; i < target->n; i++)
		if ((unsigned char)target->at[i] <= ' ' || target->at[i] == 0x7f)
			return WEIR_HELLO_MALFORMED;
	return target->n ? WEIR_HELLO_DONE : WEIR_HELLO_MALFORMED;
}

/* The authority of an absolute-form target: "http://example.com/". */
static bool find_authority(struct text target, struct text *ret)
{
	size_t scheme = token_len(target);

	if (!scheme || target.n < scheme + 3 || memcmp(target.at + scheme, "://", 3) != 0)
		return false;
	*ret = skip(target, scheme + 3);
	for (size_t i = 0; i < ret->n; i++)
		if (strchr("/?#", ret->at[i])) {
			ret->n = i;
			break;
		}
	return true;
}

/* "Host" is told apart; any other field only must be one. */
static bool read_field(struct text line, bool *is_host, struct text *value)
{
	const size_t n = token_len(line);

	if (!n || n == line.n || line.at[n] != ':')
		return false;
	*is_host = n == 4 && !strncasecmp(line.at, "Host", 4);
	*value = skip(line, n + 1);
	if (memchr(value->at, '\0', value->n) || memchr(value->at, '\r', value->n))
		return false;
	while (value->n && (value->at[0] == ' ' || value->at[0] == '\t'))
		*value = skip(*value, 1);
	while (value->n && (value->at[value->n - 1] == ' ' || value->at[value->n - 1] == '\t'))
		value->n--;
	return true;
}

/* The whole head, with the empty line at its end. */
static enum weir_hello_state read_head(struct text head, char name[WEIR_HELLO_NAME])
{
	char by_field[WEIR_HELLO_NAME] = "", by_target[WEIR_HELLO_NAME];
	struct text target, value, authority;
	enum weir_hello_state state;
	bool seen = false, is_host;

	state = read_request(take_line(&head), &target);
	if (state != WEIR_HELLO_DONE)
		return state;
	while (head.n) {
		struct text line = take_line(&head);

		if (!line.n)
			break;
		if (!read_field(line, &is_host, &value))
			return WEIR_HELLO_MALFORMED;
		if (!is_host)
			continue;
		if (seen || (value.n && !read_authority(value, by_field)))
			return WEIR_HELLO_MALFORMED;
		seen = true;
	}
	if (find_authority(target, &authority)) {
		if (!read_authority(authority, by_target))
			return WEIR_HELLO_MALFORMED;
		memcpy(name, by_target, sizeof(by_target));
	} else {
		memcpy(name, by_field, sizeof(by_field));
	}
	return WEIR_HELLO_DONE;
}

/* The first bytes, as far as they are there: one empty line, then a method. A constant's
 * worth of work, so it is done anew at every call. *@begin: where the method begins. */
static enum weir_hello_state read_begin(struct text t, size_t *begin)
{
	size_t at = 0, method;

	if (at < t.n && t.at[at] == '\r')
		at++;
	if (at < t.n && t.at[at] == '\n')
		at++;
	else if (at < t.n && at)
		return WEIR_HELLO_NOT_TLS;
	*begin = at;
	t = skip(t, at);
	method = token_len((struct text){ t.at, t.n < METHOD_MAX ? t.n : METHOD_MAX });
	if (method == t.n && method < METHOD_MAX)
		return WEIR_HELLO_MORE;
	return method && method < METHOD_MAX && t.at[method] == ' ' ? WEIR_HELLO_DONE :
								      WEIR_HELLO_NOT_TLS;
}

/* Does an empty line end with the LF at @at? The head does not begin with one. */
static bool ends_head(const char *data, size_t at)
{
	return data[at - 1] == '\n' || (data[at - 1] == '\r' && data[at - 2] == '\n');
}

enum weir_hello_state weir_host_find(const char *data, size_t n, size_t from,
				     char name[WEIR_HELLO_NAME])
{
	const size_t look = n < WEIR_HOST_MAX ? n : WEIR_HOST_MAX;
	enum weir_hello_state state;
	struct text target;
	const char *nl;
	bool first;
	size_t begin;

	state = read_begin((struct text){ data, look }, &begin);
	if (state != WEIR_HELLO_DONE)
		return state;
	if (from < begin)
		from = begin;
	nl = from < look ? memchr(data + from, '\n', look - from) : NULL;
	first = nl && !memchr(data + begin, '\n', from - begin);
	for (; nl; nl = memchr(nl + 1, '\n', look - (size_t)(nl + 1 - data))) {
		const size_t end = (size_t)(nl - data) + 1;
		struct text head = { data + begin, end - begin };

		if (ends_head(data, end - 1))
			return read_head(head, name);
		if (!first)
			continue;
		/* What is no request is told by its first line, not awaited to its end. */
		first = false;
		state = read_request(take_line(&head), &target);
		if (state != WEIR_HELLO_DONE)
			return state;
	}
	return look == WEIR_HOST_MAX ? WEIR_HELLO_TOO_LONG : WEIR_HELLO_MORE;
}

bool weir_host_request(const char *data, size_t n, struct weir_request *ret)
{
	struct text head = { data, n < WEIR_HOST_MAX ? n : WEIR_HOST_MAX }, target;
	size_t begin;

	if (read_begin(head, &begin) != WEIR_HELLO_DONE)
		return false;
	head = skip(head, begin);
	ret->method = head.at;
	ret->method_len = token_len(head);
	if (!memchr(head.at, '\n', head.n) ||
	    read_request(take_line(&head), &target) != WEIR_HELLO_DONE)
		return false;
	ret->target = target.at;
	ret->target_len = target.n;
	return true;
}
