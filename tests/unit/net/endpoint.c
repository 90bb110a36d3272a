/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/endpoint.h"
#include "net/sock.h"
#include "own_net.h"

static void texts(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused */
	} cases[] = {
		{ "192.0.2.1:443", "192.0.2.1:443" },
		{ "0.0.0.0:1", "0.0.0.0:1" },
		{ "[2001:DB8::1]:443", "[2001:db8::1]:443" },
		{ "[::]:65535", "[::]:65535" },
		{ "[::ffff:192.0.2.1]:80", "192.0.2.1:80" },
		{ "unix:/run/app.sock", "unix:/run/app.sock" },
		{ "", NULL },
		{ ":", NULL },
		{ ":443", NULL },
		{ "443", NULL },
		{ "192.0.2.1", NULL },
		{ "192.0.2.1:", NULL },
		{ "192.0.2.1:0", NULL },
		{ "192.0.2.1:0443", NULL },
		{ "192.0.2.1:65536", NULL },
		{ "192.0.2.1:999999", NULL },
		{ "192.0.2.1:-1", NULL },
		{ "192.0.2.1: 1", NULL },
		{ "192.0.2.1:1x", NULL },
		{ "192.0.2.1/24:1", NULL },
		{ "[192.0.2.1]:443", NULL },
		{ "[192.0.2.1:443", NULL },
		{ "[]:443", NULL },
		{ "[:443", NULL },
		{ "]:443", NULL },
		{ "::1:443", NULL },
		{ "[::1]443", NULL },
		{ "[::1]:443]", NULL },
		{ "[2001:db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:443", NULL },
		{ "example.com:443", NULL },
		{ "unix:", NULL },
		{ "unix:relative", NULL },
		{ "/run/app.sock", NULL },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_endpoint e, again;
		char buf[WEIR_ENDPOINT_STRLEN];

		if (!cases[i].out) {
			assert_int_equal(weir_endpoint_parse(cases[i].in, &e), -EINVAL);
			continue;
		}
		assert_int_equal(weir_endpoint_parse(cases[i].in, &e), 0);
		assert_string_equal(weir_endpoint_str(&e, buf), cases[i].out);
		assert_int_equal(weir_endpoint_parse(buf, &again), 0);
		assert_true(weir_endpoint_equal(&e, &again));
	}
}

static void long_paths(void **state)
{
	char in[160] = "unix:/", buf[WEIR_ENDPOINT_STRLEN];
	const size_t most = strlen("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	struct weir_endpoint e;

	(void)state;
	memset(in + 6, 'x', most - 6);
	assert_int_equal(weir_endpoint_parse(in, &e), 0);
	assert_string_equal(weir_endpoint_str(&e, buf), in);
	in[most] = 'x';
	assert_int_equal(weir_endpoint_parse(in, &e), -EINVAL);
}

static void parts(void **state)
{
	struct weir_endpoint v4, v6, un, none = { 0 };
	char buf[WEIR_ENDPOINT_STRLEN];
	struct weir_addr a;

	(void)state;
	weir_endpoint_parse("192.0.2.1:443", &v4);
	weir_endpoint_parse("[2001:db8::1]:443", &v6);
	weir_endpoint_parse("unix:/x", &un);
	assert_int_equal(v4.sa.sa_family, AF_INET);
	assert_int_equal(v6.sa.sa_family, AF_INET6);
	assert_int_equal(weir_endpoint_port(&v4), 443);
	assert_int_equal(weir_endpoint_port(&v6), 443);
	assert_int_equal(weir_endpoint_port(&un), 0);
	a = weir_endpoint_addr(&v4);
	assert_true(weir_addr_is_v4(&a));
	a = weir_endpoint_addr(&un);
	assert_memory_equal(&a, &in6addr_any, sizeof(a));
	assert_string_equal(weir_endpoint_str(&none, buf), "");
	assert_false(weir_endpoint_equal(&v4, &v6));
	assert_false(weir_endpoint_equal(&v4, &un));
	assert_false(weir_endpoint_equal(&v4, &none));
	assert_true(weir_endpoint_equal(&none, &none));
	a = weir_endpoint_addr(&v4);
	weir_endpoint_set(&v6, &a, 443);
	assert_true(weir_endpoint_equal(&v4, &v6));
	weir_endpoint_set(&v6, &a, 444);
	assert_false(weir_endpoint_equal(&v4, &v6));
}

static int listen_at(const char *text, struct weir_endpoint *ret)
{
	struct weir_endpoint e;
	int fd;

	assert_int_equal(weir_endpoint_parse(text, &e), 0);
	if (e.sa.sa_family == AF_INET6)
		e.in6.sin6_port = 0;
	else
		e.in.sin_port = 0;
	fd = weir_sock_listen(&e, WEIR_SOCK_REUSEPORT, 16, NULL);
	assert_true(fd >= 0);
	assert_int_equal(weir_sock_name(fd, ret), 0);
	return fd;
}

/* "[::]" takes both families, and tells an IPv4 peer as IPv4. */
static void dual_stack(void **state)
{
	struct weir_endpoint at, to, peer, mine, name;
	struct weir_addr v4;
	int l = listen_at("[::]:1", &at), c, s;
	struct pollfd p = { .fd = l, .events = POLLIN };
	bool done;

	(void)state;
	weir_addr_parse("127.0.0.1", &v4);
	weir_endpoint_set(&to, &v4, weir_endpoint_port(&at));
	c = weir_sock_connect(&to, NULL, 0, &done);
	assert_true(c >= 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	s = weir_sock_accept(l, &peer);
	assert_true(s >= 0);
	assert_int_equal(weir_sock_error(c), 0);
	assert_int_equal(peer.sa.sa_family, AF_INET);
	assert_int_equal(weir_sock_name(c, &mine), 0);
	assert_true(weir_endpoint_equal(&peer, &mine));
	assert_int_equal(weir_sock_name(s, &name), 0);
	assert_true(weir_endpoint_equal(&name, &to));
	assert_int_equal(weir_sock_peer(c, &name), 0);
	assert_true(weir_endpoint_equal(&name, &to));
	assert_int_equal(weir_sock_keepalive(c, &(struct weir_keepalive){ 7500000000, 1, 3 }), 0);
	assert_int_equal(weir_sock_accept(l, &peer), -EAGAIN);

	weir_sock_reset(c);
	p.fd = s;
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(weir_sock_error(s), -ECONNRESET);
	close(s);
	close(l);
}

static void refusals(void **state)
{
	struct weir_endpoint at, other;
	struct weir_error err;
	struct pollfd p = { .events = POLLOUT };
	bool done;
	int l = listen_at("127.0.0.1:1", &at), fd;

	(void)state;
	fd = weir_sock_listen(&at, 0, 16, &err);
	assert_int_equal(fd, -EADDRINUSE);
	assert_non_null(strstr(err.msg, "cannot listen on 127.0.0.1:"));
	weir_endpoint_parse("192.0.2.77:1024", &other);
	assert_int_equal(weir_sock_listen(&other, 0, 16, &err), -EADDRNOTAVAIL);
	close(l);
	fd = weir_sock_connect(&at, NULL, 0, &done);
	if (fd >= 0) {
		assert_false(done);
		p.fd = fd;
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(weir_sock_error(fd), -ECONNREFUSED);
		close(fd);
	} else {
		assert_int_equal(fd, -ECONNREFUSED);
	}
	weir_endpoint_parse("unix:/nonexistent/socket", &other);
	assert_int_equal(weir_sock_connect(&other, NULL, 0, &done), -ENOENT);
}

static void from_an_address(void **state)
{
	struct weir_endpoint at, from, name;
	bool done;
	int l = listen_at("127.0.0.1:1", &at), fd;
	struct weir_addr a;

	(void)state;
	weir_addr_parse("127.0.0.9", &a);
	weir_endpoint_set(&from, &a, 0);
	fd = weir_sock_connect(&at, &from, 0, &done);
	assert_true(fd >= 0);
	assert_int_equal(weir_sock_name(fd, &name), 0);
	name.in.sin_port = 0;
	assert_true(weir_endpoint_equal(&name, &from));
	close(fd);
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),    cmocka_unit_test(long_paths),
		cmocka_unit_test(parts),    cmocka_unit_test(dual_stack),
		cmocka_unit_test(refusals), cmocka_unit_test(from_an_address),
	};

	own_net();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
