/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/resolver.h"

#include "dns_server.h"

#define MSEC 1000000ULL
#define TRY_NS (100 * MSEC)
#define MANY 2000

#define TEN "::1,::1,::1,::1,::1,::1,::1,::1,::1,::1,"
#define SOA(ttl, minimum) "test " #ttl " SOA " #minimum
#define TEN_A                                                              \
	"@ 9 A 192.0.2.1;@ 9 A 192.0.2.2;@ 9 A 192.0.2.3;@ 9 A 192.0.2.4;" \
	"@ 9 A 192.0.2.5;@ 9 A 192.0.2.6;@ 9 A 192.0.2.7;@ 9 A 192.0.2.8;" \
	"@ 9 A 192.0.2.9;@ 5 A 192.0.2.10"

static const struct dns_row rows[] = {
	{ "both.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "both.test", DNS_AAAA, 0, "@ 60 AAAA 2001:db8::1", NULL, 0, 0 },
	{ "a.test", DNS_A, 0, "@ 300 A 192.0.2.1;@ 200 A 192.0.2.2;@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "a.test", DNS_AAAA, 0, NULL, SOA(900, 30), 0, 0 },
	{ "aaaa.test", DNS_A, 0, NULL, SOA(900, 30), 0, 0 },
	{ "aaaa.test", DNS_AAAA, 0, "@ 77 AAAA 2001:db8::2", NULL, 0, 0 },
	/* Backwards, in other letters, and with what nobody asked for. */
	{ "chain.test", DNS_A, 0,
	  "c2.TEST 300 A 192.0.2.3;other.test 1 A 198.51.100.1;C1.test 500 CNAME c2.test;"
	  "chain.test 20 CNAME c1.test",
	  NULL, 0, 0 },
	{ "chain.test", DNS_AAAA, 0, "@ 20 CNAME c1.test;c1.test 500 CNAME c2.test", SOA(900, 30),
	  0, 0 },
	{ "nx.test", 0, 3, NULL, SOA(100, 40), 0, 0 },
	{ "nxsoa.test", 0, 3, NULL, SOA(35, 4000), 0, 0 },
	{ "nosoa.test", 0, 3, NULL, NULL, 0, 0 },
	{ "othersoa.test", 0, 3, NULL, "example 35 SOA 4000", 0, 0 },
	{ "nxchain.test", 0, 3, "@ 12 CNAME gone.test", SOA(100, 40), 0, 0 },
	{ "nodata.test", 0, 0, NULL, SOA(100, 50), 0, 0 },
	{ "odd.test", DNS_A, 3, NULL, SOA(100, 50), 0, 0 },
	{ "odd.test", DNS_AAAA, 0, NULL, SOA(100, 60), 0, 0 },
	{ "servfail.test", 0, 2, NULL, NULL, 0, 0 },
	{ "silent.test", 0, 0, NULL, NULL, 0, DNS_SILENT },
	{ "slow6.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "slow6.test", DNS_AAAA, 0, "@ 60 AAAA 2001:db8::1", NULL, 1500, 0 },
	{ "slow4.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 1500, 0 },
	{ "slow4.test", DNS_AAAA, 0, "@ 60 AAAA 2001:db8::1", NULL, 0, 0 },
	{ "soon.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "soon.test", DNS_AAAA, 0, "@ 60 AAAA 2001:db8::1", NULL, 10, 0 },
	{ "half.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "half.test", DNS_AAAA, 2, NULL, NULL, 0, 0 },
	{ "unsure.test", DNS_A, 0, NULL, NULL, 0, DNS_SILENT },
	{ "unsure.test", DNS_AAAA, 3, NULL, SOA(100, 60), 0, 0 },
	{ "big.test", DNS_A, 0, TEN_A, NULL, 0, DNS_TRUNCATED },
	{ "big.test", DNS_AAAA, 0, "@ 8 AAAA 2001:db8::1;@ 8 AAAA 2001:db8::2", NULL, 0, 0 },
	{ "wrongid.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, DNS_WRONG_ID },
	{ "wrongid.test", DNS_AAAA, 0, NULL, SOA(100, 60), 0, 0 },
	{ "wrongq.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, DNS_WRONG_QUESTION },
	{ "wrongq.test", DNS_AAAA, 0, NULL, SOA(100, 60), 0, 0 },
	{ "loop.test", 0, 0, NULL, NULL, 0, DNS_LABEL_LOOP },
	{ "short.test", 0, 0, "@ 300 A 192.0.2.1", NULL, 0, DNS_SHORT },
	{ "cnameloop.test", 0, 0, "@ 300 CNAME x.test;x.test 300 CNAME cnameloop.test", NULL, 0,
	  0 },
	{ "stranger.test", 0, 0, "other.test 300 A 192.0.2.1", SOA(100, 50), 0, 0 },
	{ "negative.test", DNS_A, 0, "@ 4294967295 A 192.0.2.1", NULL, 0, 0 },
	{ "negative.test", DNS_AAAA, 0, NULL, NULL, 0, 0 },
	{ "*.many.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 0, 0 },
	{ "*.many.test", DNS_AAAA, 0, "@ 300 AAAA 2001:db8::1", NULL, 0, 0 },
	{ 0 },
};

struct asked {
	struct weir_loop *loop;
	struct weir_resolved answer;
	unsigned int answers, wanted;
	uint64_t at;
};

static void answered(void *arg, const struct weir_resolved *answer)
{
	struct asked *a = arg;

	a->answer = *answer;
	a->at = weir_clock_mono();
	if (++a->answers == a->wanted)
		weir_loop_stop(a->loop);
}

static struct weir_resolver *resolver(struct weir_loop *l, const struct dns_server *s)
{
	char servers[64];
	const struct weir_resolver_opts o = { .servers = servers, .timeout_ns = TRY_NS };
	struct weir_error err = { 0 };
	struct weir_resolver *r;

	snprintf(servers, sizeof(servers), "127.0.0.1:%u", s->port);
	r = weir_resolver_new(l, &o, &err);
	if (!r)
		fail_msg("%s", err.msg);
	return r;
}

/* Ask once; returns how long it took. */
static uint64_t ask(const struct dns_server *s, const char *name, struct weir_resolved *ret)
{
	struct asked a = { .loop = weir_loop_new(NULL), .wanted = 1 };
	struct weir_resolver_stats stats;
	uint64_t begin = weir_clock_mono();
	struct weir_resolver *r;

	assert_non_null(a.loop);
	r = resolver(a.loop, s);
	assert_int_equal(weir_resolver_ask(r, name, answered, &a), 0);
	assert_int_equal(a.answers, 0);
	assert_int_equal(weir_loop_run(a.loop, NULL), 0);
	weir_resolver_stats(r, &stats);
	assert_int_equal(stats.asked, 1);
	assert_int_equal(stats.answered[a.answer.code], 1);
	weir_resolver_free(r);
	weir_loop_free(a.loop);
	assert_int_equal(a.answers, 1);
	*ret = a.answer;
	return a.at - begin;
}

static void answers(void **state)
{
	static const struct {
		const char *name;
		enum weir_resolve_code code;
		uint32_t ttl;
		const char *addrs;
	} cases[] = {
		{ "both.test", WEIR_RESOLVED, 60, "2001:db8::1 192.0.2.1 " },
		{ "BOTH.Test", WEIR_RESOLVED, 60, "2001:db8::1 192.0.2.1 " },
		{ "a.test", WEIR_RESOLVED, 200, "192.0.2.1 192.0.2.2 " },
		{ "aaaa.test", WEIR_RESOLVED, 77, "2001:db8::2 " },
		{ "chain.test", WEIR_RESOLVED, 20, "192.0.2.3 " },
		{ "nx.test", WEIR_RESOLVE_NXDOMAIN, 40, "" },
		{ "nxsoa.test", WEIR_RESOLVE_NXDOMAIN, 35, "" },
		{ "nosoa.test", WEIR_RESOLVE_NXDOMAIN, 0, "" },
		{ "othersoa.test", WEIR_RESOLVE_NXDOMAIN, 0, "" },
		{ "nxchain.test", WEIR_RESOLVE_NXDOMAIN, 12, "" },
		{ "nodata.test", WEIR_RESOLVE_NODATA, 50, "" },
		{ "odd.test", WEIR_RESOLVE_NODATA, 50, "" },
		{ "servfail.test", WEIR_RESOLVE_SERVFAIL, 0, "" },
		{ "refused.test", WEIR_RESOLVE_SERVFAIL, 0, "" },
		{ "silent.test", WEIR_RESOLVE_TIMEOUT, 0, "" },
		{ "soon.test", WEIR_RESOLVED, 60, "2001:db8::1 192.0.2.1 " },
		{ "half.test", WEIR_RESOLVED, 300, "192.0.2.1 " },
		{ "unsure.test", WEIR_RESOLVE_TIMEOUT, 0, "" },
		{ "big.test", WEIR_RESOLVED, 5,
		  "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 "
		  "192.0.2.6 " },
		{ "wrongid.test", WEIR_RESOLVED, 300, "192.0.2.1 " },
		{ "wrongq.test", WEIR_RESOLVED, 300, "192.0.2.1 " },
		{ "loop.test", WEIR_RESOLVE_SERVFAIL, 0, "" },
		{ "short.test", WEIR_RESOLVE_SERVFAIL, 0, "" },
		{ "cnameloop.test", WEIR_RESOLVE_SERVFAIL, 0, "" },
		{ "stranger.test", WEIR_RESOLVE_NODATA, 50, "" },
		{ "negative.test", WEIR_RESOLVED, 0, "192.0.2.1 " },
	};
	struct dns_server *s = *state;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		char text[WEIR_ADDR_STRLEN], addrs[WEIR_RESOLVED_MAX * WEIR_ADDR_STRLEN] = "";
		struct weir_resolved res;

		ask(s, cases[i].name, &res);
		for (size_t k = 0; k < res.n; k++) {
			strcat(addrs, weir_addr_str(&res.addr[k], text));
			strcat(addrs, " ");
		}
		if (res.code != cases[i].code || res.ttl != cases[i].ttl ||
		    strcmp(addrs, cases[i].addrs))
			fail_msg("%s: %s, TTL %u, %s", cases[i].name, weir_resolve_codes[res.code],
				 res.ttl, addrs);
	}
	assert_int_equal(s->asked_tcp, 1); /* big.test */
}

/* The other family gets 50 ms, not its whole time. */
static void families(void **state)
{
	static const char *const names[] = { "slow6.test", "slow4.test" };

	for (int i = 0; i < 2; i++) {
		struct weir_resolved res;
		uint64_t took = ask(*state, names[i], &res);

		assert_int_equal(res.code, WEIR_RESOLVED);
		assert_int_equal(res.n, 1);
		assert_int_equal(weir_addr_is_v4(&res.addr[0]), i == 0);
		if (took < 30 * MSEC || took > 95 * MSEC)
			fail_msg("%s: after %llu ms", names[i], (unsigned long long)(took / MSEC));
	}
}

static void time_outs(void **state)
{
	struct weir_resolved res;
	uint64_t took = ask(*state, "silent.test", &res);

	/* One try, then one of twice the time. */
	assert_true(took >= 3 * TRY_NS && took < 5 * TRY_NS);
}

static void nobody_there(void **state)
{
	struct dns_server gone = { 0 };
	struct weir_resolved res;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	weir_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(at);

	(void)state;
	/* A port of UDP that is likely free: that of a bound TCP socket. */
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	gone.port = ntohs(at.sin_port);
	ask(&gone, "both.test", &res);
	assert_int_equal(res.code, WEIR_RESOLVE_SERVFAIL);
}

static void many(void **state)
{
	struct asked a = { .loop = weir_loop_new(NULL), .wanted = MANY };
	struct weir_resolver *r = resolver(a.loop, *state);
	struct weir_resolver_stats stats;
	char name[32];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%d.many.test", i);
		assert_int_equal(weir_resolver_ask(r, name, answered, &a), 0);
	}
	assert_int_equal(weir_loop_run(a.loop, NULL), 0);
	weir_resolver_stats(r, &stats);
	assert_int_equal(stats.asked, MANY);
	/* Of a burst, the socket's queue may lose some; none is forgotten. */
	assert_int_equal(stats.answered[WEIR_RESOLVED] + stats.answered[WEIR_RESOLVE_TIMEOUT],
			 MANY);
	assert_true(stats.answered[WEIR_RESOLVED] > MANY / 2);
	weir_resolver_free(r);
	weir_loop_free(a.loop);
}

static void freed_early(void **state)
{
	struct asked a = { .loop = weir_loop_new(NULL), .wanted = 3 };
	struct weir_resolver *r = resolver(a.loop, *state);

	for (int i = 0; i < 3; i++)
		assert_int_equal(weir_resolver_ask(r, "silent.test", answered, &a), 0);
	weir_resolver_free(r);
	assert_int_equal(a.answers, 3);
	assert_int_equal(a.answer.code, WEIR_RESOLVE_TIMEOUT);
	weir_loop_free(a.loop);
}

static void bad_names(void **state)
{
	static const char label[] =
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."; /* 63 */
	static const char *const bad[] = {
		"",	 ".",	   "a..b",	".a", "a.",    "a b",
		"a\\.b", "a\001b", "192.0.2.1", "1",  "x.123", "\303\244"
	};
	struct weir_loop *l = weir_loop_new(NULL);
	struct weir_resolver *r = resolver(l, *state);
	struct asked a = { .loop = l, .wanted = 100 };
	char name[512];

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bad); i++)
		if (weir_resolver_ask(r, bad[i], answered, &a) != -EINVAL)
			fail_msg("'%s' was asked for", bad[i]);
	snprintf(name, sizeof(name), "a%sb", label);
	assert_int_equal(weir_resolver_ask(r, name, answered, &a), -EINVAL); /* a label of 64 */
	snprintf(name, sizeof(name), "%s%s%s%.62s", label, label, label, label);
	assert_int_equal(strlen(name), 254);
	assert_int_equal(weir_resolver_ask(r, name, answered, &a), -EINVAL);
	name[253] = '\0';
	assert_int_equal(weir_resolver_ask(r, name, answered, &a), 0);
	assert_int_equal(weir_resolver_ask(r, "_x.-a-.b1", answered, &a), 0);
	weir_resolver_free(r);
	weir_loop_free(l);
	assert_int_equal(a.answers, 2);
}

static void servers(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {
		{ "127.0.0.1", true },
		{ "127.0.0.1,::1", true },
		{ "127.0.0.1:5353, [::1]:5353,[2001:db8::1]", true },
		{ NULL, true },
		{ "", false },
		{ ",", false },
		{ "localhost", false },
		{ "127.0.0.1:", false },
		{ "127.0.0.1:0", false },
		{ "[::1", false },
		{ "[]", false },
		{ "unix:/run/x", false },
		{ TEN TEN TEN TEN TEN TEN "::1,::1,::1,::1", true },
		{ TEN TEN TEN TEN TEN TEN "::1,::1,::1,::1,::1", false },
	};
	struct weir_loop *l = weir_loop_new(NULL);

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		const struct weir_resolver_opts o = { .servers = cases[i].text };
		struct weir_error err = { 0 };
		struct weir_resolver *r = weir_resolver_new(l, &o, &err);

		if (!!r != cases[i].ok || !r != !!err.msg[0])
			fail_msg("'%s': %s", cases[i].text, err.msg);
		weir_resolver_free(r);
	}
	weir_loop_free(l);
}

/* A network of its own, where it may be had: nothing else is asked or answers. */
static bool isolate(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	weir_autoclose int fd = -1;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo);
}

static int start(void **state)
{
	*state = dns_server_start(rows);
	return *state ? 0 : -1;
}

static int stop(void **state)
{
	dns_server_stop(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers, start, stop),
		cmocka_unit_test_setup_teardown(families, start, stop),
		cmocka_unit_test_setup_teardown(time_outs, start, stop),
		cmocka_unit_test_setup_teardown(nobody_there, start, stop),
		cmocka_unit_test_setup_teardown(many, start, stop),
		cmocka_unit_test_setup_teardown(freed_early, start, stop),
		cmocka_unit_test_setup_teardown(bad_names, start, stop),
		cmocka_unit_test(servers),
	};

	if (!isolate()) {
		printf("skip resolver: cannot make a network namespace\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
