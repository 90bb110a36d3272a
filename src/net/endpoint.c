/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNIX_PREFIX "unix:"
#define PORT_DIGITS 5
#define V4_AT 12 /* where the four bytes of a mapped IPv4 address are */

static int parse_unix(const char *path, struct weir_endpoint *ret)
{
	size_t n = strlen(path);

	if (path[0] != '/' || n >= sizeof(ret->un.sun_path))
		return -EINVAL;
	*ret = (struct weir_endpoint){ .un.sun_family = AF_UNIX };
	memcpy(ret->un.sun_path, path, n + 1);
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

static int parse_port(const char *s, uint16_t *ret)
{
	size_t n = strlen(s);
	uint32_t port = 0;

	if (n == 0 || n > PORT_DIGITS || s[0] == '0')
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		port = port * 10 + (uint32_t)(*s - '0');
	}
	if (port > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

int weir_endpoint_parse(const char *s, struct weir_endpoint *ret)
{
	char text[WEIR_ADDR_STRLEN];
	const char *colon = strrchr(s, ':'), *begin = s, *end = colon;
	struct weir_addr addr;
	uint16_t port;

	if (strncmp(s, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_unix(s + strlen(UNIX_PREFIX), ret);
	if (!colon || parse_port(colon + 1, &port))
		return -EINVAL;
	if (*s == '[') {
		begin = s + 1;
		end = colon - 1;
		if (end < begin || *end != ']')
			return -EINVAL;
	}
	if ((size_t)(end - begin) >= sizeof(text))
		return -EINVAL;
	memcpy(text, begin, (size_t)(end - begin));
	text[end - begin] = '\0';
	/* Brackets and IPv6 go together: "::1:443" could be either. */
	if ((*s == '[') != (strchr(text, ':') != NULL) || weir_addr_parse(text, &addr))
		return -EINVAL;
	weir_endpoint_set(ret, &addr, port);
	return 0;
}

const char *weir_endpoint_str(const struct weir_endpoint *e, char buf[WEIR_ENDPOINT_STRLEN])
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr addr;

	buf[0] = '\0';
	if (!e->len)
		return buf;
	if (e->sa.sa_family == AF_UNIX) {
		size_t n = e->len - offsetof(struct sockaddr_un, sun_path);

		/* An unnamed socket has no path, and the kernel need not end a long one. */
		snprintf(buf, WEIR_ENDPOINT_STRLEN, UNIX_PREFIX "%.*s",
			 (int)strnlen(e->un.sun_path, n), e->un.sun_path);
		return buf;
	}
	addr = weir_endpoint_addr(e);
	weir_addr_str(&addr, text);
	snprintf(buf, WEIR_ENDPOINT_STRLEN, weir_addr_is_v4(&addr) ? "%s:%u" : "[%s]:%u", text,
		 weir_endpoint_port(e));
	return buf;
}

void weir_endpoint_set(struct weir_endpoint *e, const struct weir_addr *a, uint16_t port)
{
	if (weir_addr_is_v4(a)) {
		*e = (struct weir_endpoint){
			.in = { .sin_family = AF_INET, .sin_port = htons(port) },
			.len = sizeof(e->in),
		};
		memcpy(&e->in.sin_addr, a->b + V4_AT, sizeof(e->in.sin_addr));
	} else {
		*e = (struct weir_endpoint){
			.in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) },
			.len = sizeof(e->in6),
		};
		memcpy(&e->in6.sin6_addr, a->b, sizeof(e->in6.sin6_addr));
	}
}

struct weir_addr weir_endpoint_addr(const struct weir_endpoint *e)
{
	struct weir_addr a = { 0 };

	if (e->len && e->sa.sa_family == AF_INET) {
		a.b[V4_AT - 2] = a.b[V4_AT - 1] = 0xff;
		memcpy(a.b + V4_AT, &e->in.sin_addr, sizeof(e->in.sin_addr));
	} else if (e->len && e->sa.sa_family == AF_INET6) {
		memcpy(a.b, &e->in6.sin6_addr, sizeof(a.b));
	}
	return a;
}

uint16_t weir_endpoint_port(const struct weir_endpoint *e)
{
	if (e->len && e->sa.sa_family == AF_INET)
		return ntohs(e->in.sin_port);
	if (e->len && e->sa.sa_family == AF_INET6)
		return ntohs(e->in6.sin6_port);
	return 0;
}

bool weir_endpoint_equal(const struct weir_endpoint *a, const struct weir_endpoint *b)
{
	bool a_unix = a->len && a->sa.sa_family == AF_UNIX;
	bool b_unix = b->len && b->sa.sa_family == AF_UNIX;
	struct weir_addr x, y;

	if (!a->len || !b->len)
		return a->len == b->len;
	if (a_unix != b_unix)
		return false;
	if (a_unix)
		return strncmp(a->un.sun_path, b->un.sun_path, sizeof(a->un.sun_path)) == 0;
	x = weir_endpoint_addr(a);
	y = weir_endpoint_addr(b);
	return memcmp(&x, &y, sizeof(x)) == 0 && weir_endpoint_port(a) == weir_endpoint_port(b);
}
