/* SPDX-License-Identifier: GPL-2.0-only */
/* The cache of names: a real map, a name server of the test, and threads that want. */
#include <bpf/bpf.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../unit/net/dns_server.h"
#include "base/clock.h"
#include "cap/proxy/backend.h"
#include "cap/proxy/names.h"
#include "harness.h"
#include "net/resolver.h"
#include "net/sock.h"

#define MSEC 1000000ULL
#define SECOND WEIR_NSEC_PER_SEC
#define TRY_NS (100 * MSEC) /* a name without answer takes three times that */
#define CACHE 65536
#define WAITERS 100
#define OVER 50 /* names above the bound */
#define LOOPS_MAX 256
#define LOOKS 200000
#define CHURN_NAMES 16
#define CHURN_CACHE 256
#define CHURN_SECONDS 3

#define SOA(ttl, minimum) "test " #ttl " SOA " #minimum

static const struct dns_row rows[] = {
	{ "app.test", DNS_A, 0, "@ 300 A 192.0.2.1", NULL, 30, 0 },
	{ "app.test", DNS_AAAA, 0, "@ 60 AAAA 2001:db8::1", NULL, 30, 0 },
	{ "short.test", DNS_A, 0, "@ 1 A 192.0.2.1", NULL, 0, 0 },
	{ "short.test", DNS_AAAA, 0, NULL, NULL, 0, 0 },
	{ "zero.test", DNS_A, 0, "@ 0 A 192.0.2.1", NULL, 0, 0 },
	{ "zero.test", DNS_AAAA, 0, NULL, NULL, 0, 0 },
	{ "year.test", DNS_A, 0, "@ 31536000 A 192.0.2.1", NULL, 0, 0 },
	{ "year.test", DNS_AAAA, 0, NULL, NULL, 0, 0 },
	{ "nx.test", 0, 3, NULL, SOA(100, 40), 0, 0 },
	{ "nx5.test", 0, 3, NULL, SOA(5, 40), 0, 0 },
	{ "nodata.test", 0, 0, NULL, NULL, 0, 0 },
	{ "servfail.test", 0, 2, NULL, NULL, 0, 0 },
	{ "silent.test", 0, 0, NULL, NULL, 0, DNS_SILENT },
	/* An address where nobody is stands first. */
	{ "checked.test", DNS_A, 0, "@ 1 A 127.0.0.1", NULL, 0, 0 },
	{ "checked.test", DNS_AAAA, 0, "@ 1 AAAA ::1", NULL, 0, 0 },
	{ 0 },
};
static const struct dns_row moved[] = {
	{ "silent.test", DNS_A, 0, "@ 300 A 192.0.2.9", NULL, 0, 0 },
	{ "silent.test", DNS_AAAA, 0, NULL, NULL, 0, 0 },
	{ 0 },
};

static struct weir_error err;
static struct dns_server *server;
static struct weir_proxy_config config;
static struct weir_loop *loop;
static struct weir_names *names;
static struct weir_backends *backends;
static pthread_t thread;
static char servers[64];
static int map = -1;

static int map_new(unsigned int entries)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "weir_names",
				sizeof(struct weir_proxy_name_key), sizeof(struct weir_proxy_name),
				entries, NULL);

	if (fd == -EPERM)
		SKIP("may not make BPF maps");
	CHECK(fd >= 0, "map: %s", strerror(errno));
	return fd;
}

static void use(const struct dns_server *s)
{
	snprintf(servers, sizeof(servers), "127.0.0.1:%u", s->port);
	config.servers = servers;
}

static void *serve(void *arg)
{
	(void)arg;
	weir_loop_run(loop, NULL);
	return NULL;
}

static void begin(void)
{
	map = map_new(CACHE);
	server = dns_server_start(rows);
	CHECK(server, "no name server");
	use(server);
	config.resolve_timeout_ns = TRY_NS;
	config.negative_ttl_ns = 10 * SECOND;
	config.stale_ns = 20 * SECOND;
	config.ttl_min_ns = SECOND;
	config.ttl_max_ns = 86400 * SECOND;
	loop = weir_loop_new(&err);
	CHECK(loop, "%s", err.msg);
	names = weir_names_new(loop, map, &config, &err);
	CHECK(names, "%s", err.msg);
}

/* Loops of waiters, and whatever else may only go when the loop's thread has gone. */
static struct weir_loop *used[LOOPS_MAX];
static unsigned int n_used;

static void free_used(void)
{
	while (n_used)
		weir_loop_free(used[--n_used]);
}

static void run(void)
{
	CHECK(!pthread_create(&thread, NULL, serve, NULL), "no thread");
}

static void end(void)
{
	weir_loop_stop(loop);
	pthread_join(thread, NULL);
	weir_names_free(names);
	weir_backends_free(backends);
	weir_loop_free(loop);
	free_used();
	dns_server_stop(server);
	close(map);
}

/* ---- Waiting */

struct waiter {
	struct weir_post done;
	struct weir_loop *loop;
	unsigned int *left;
};

static void told(struct weir_post *p)
{
	struct waiter *w = (struct waiter *)p;

	if (!--*w->left)
		weir_loop_stop(w->loop);
}

/* Wants @name as so many connections at once; returns ns until all of them were told. */
static uint64_t want(const char *name, unsigned int n)
{
	struct waiter *w = calloc(n, sizeof(*w));
	struct weir_loop *mine = weir_loop_new(&err);
	uint64_t from = weir_clock_mono();
	unsigned int left = n;

	CHECK(w && mine, "no loop");
	for (unsigned int i = 0; i < n; i++) {
		w[i] = (struct waiter){ .done.fn = told, .loop = mine, .left = &left };
		weir_names_want(names, name, mine, &w[i].done);
	}
	CHECK_OK(weir_loop_run(mine, &err));
	CHECK_EQ(left, 0);
	from = weir_clock_mono() - from;
	/* The loop's thread may be about to wake it still. */
	CHECK(n_used < LOOPS_MAX, "too many loops");
	used[n_used++] = mine;
	free(w);
	return from;
}

static enum weir_name_state look(const char *name, struct weir_proxy_name *e)
{
	return weir_names_lookup(names, name, weir_clock_mono(), e);
}

/* Roughly: answers are timed when they come. */
#define CHECK_ABOUT(a, b)                                                               \
	do {                                                                            \
		long long a_ = (long long)(a), b_ = (long long)(b);                     \
		if (a_ < b_ - 200 * (long long)MSEC || a_ > b_ + 5000 * (long long)MSEC) \
			test_end(1, "line %d: %s is %lld", __LINE__, #a, a_);           \
	} while (0)

/* ---- The tests */

static void asks_once(void)
{
	struct weir_proxy_name e;

	begin();
	run();
	CHECK_EQ(look("app.test", &e), WEIR_NAME_MISSING);
	want("app.test", WAITERS);
	CHECK_EQ(look("app.test", &e), WEIR_NAME_FRESH);
	CHECK_EQ(e.n, 2);
	CHECK(!memcmp(e.addr[0], "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16), "IPv6 first");
	CHECK(!memcmp(e.addr[1], "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16), "then IPv4");
	CHECK_EQ(e.expires - e.asked, 60 * SECOND);
	CHECK_EQ(e.stale_until - e.expires, 20 * SECOND);
	CHECK_EQ(server->asked_udp, 2);
	/* Known already: nobody is asked. */
	want("app.test", 1);
	CHECK_EQ(server->asked_udp, 2);
	end();
}

static void times(void)
{
	static const struct {
		const char *name;
		enum weir_name_state state;
		enum weir_resolve_code code;
		uint64_t kept_s;
	} cases[] = {
		{ "zero.test", WEIR_NAME_FRESH, WEIR_RESOLVED, 2 },	  /* ttl_min */
		{ "year.test", WEIR_NAME_FRESH, WEIR_RESOLVED, 3600 },	  /* ttl_max */
		{ "nx.test", WEIR_NAME_NONE, WEIR_RESOLVE_NXDOMAIN, 10 }, /* negative_ttl */
		{ "nx5.test", WEIR_NAME_NONE, WEIR_RESOLVE_NXDOMAIN, 5 },
		{ "nodata.test", WEIR_NAME_NONE, WEIR_RESOLVE_NODATA, 1 },
		{ "servfail.test", WEIR_NAME_NONE, WEIR_RESOLVE_SERVFAIL, 1 },
		{ "silent.test", WEIR_NAME_NONE, WEIR_RESOLVE_TIMEOUT, 1 },
	};

	begin();
	config.ttl_min_ns = 2 * SECOND;
	config.ttl_max_ns = 3600 * SECOND;
	CHECK_OK(weir_names_reload(names, &config, &err));
	run();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_proxy_name e;

		want(cases[i].name, 1);
		CHECK(look(cases[i].name, &e) == cases[i].state && e.code == cases[i].code,
		      "%s: %s", cases[i].name, weir_resolve_codes[e.code]);
		CHECK_EQ(e.expires - e.asked, cases[i].kept_s * SECOND);
		if (e.code)
			CHECK_EQ(e.stale_until, e.expires);
	}
	end();
}

static void stale_while_the_server_is_away(void)
{
	struct weir_proxy_name e;
	unsigned int asked, most;
	uint64_t since;

	begin();
	run();
	want("short.test", 1);
	CHECK_EQ(look("short.test", &e), WEIR_NAME_FRESH);
	server->mute = true;
	test_sleep_ms(1050);
	/* Its time is over, nobody answers, and everyone goes on at once. */
	asked = server->asked_udp;
	since = weir_clock_mono();
	for (int i = 0; i < 30; i++) {
		CHECK_EQ(look("short.test", &e), WEIR_NAME_STALE);
		CHECK_EQ(e.n, 1);
		weir_names_want(names, "short.test", NULL, NULL);
		test_sleep_ms(100);
	}
	/* A question takes four packets and 0.3 s, and then rests for 1 s. */
	most = 4 * (1 + (unsigned int)((weir_clock_mono() - since) / (13 * SECOND / 10)));
	CHECK(server->asked_udp - asked >= 4 && server->asked_udp - asked <= most,
	      "asked %u times, not 4 to %u", server->asked_udp - asked, most);
	server->mute = false;
	CHECK(EVENTUALLY((weir_names_want(names, "short.test", NULL, NULL),
			  look("short.test", &e) == WEIR_NAME_FRESH)),
	      "it is not asked again");
	end();
}

static void stale_is_over(void)
{
	struct weir_proxy_name e;

	begin();
	config.stale_ns = 3 * SECOND;
	CHECK_OK(weir_names_reload(names, &config, &err));
	run();
	want("short.test", 1);
	server->mute = true;
	test_sleep_ms(1100);
	CHECK_EQ(look("short.test", &e), WEIR_NAME_STALE);
	CHECK(EVENTUALLY(look("short.test", &e) == WEIR_NAME_MISSING), "it is kept");
	CHECK_ABOUT(want("short.test", 1), 3 * TRY_NS);
	CHECK_EQ(look("short.test", &e), WEIR_NAME_NONE);
	CHECK_EQ(e.code, WEIR_RESOLVE_TIMEOUT);
	test_sleep_ms(1050);
	CHECK_EQ(look("short.test", &e), WEIR_NAME_MISSING);
	end();
}

/* After a flush even a name that rests after a failure is asked for. */
static void flushed_while_it_rests(void)
{
	struct weir_proxy_name e;
	unsigned int asked;

	begin();
	run();
	want("short.test", 1);
	server->mute = true;
	test_sleep_ms(1050);
	want("short.test", 1);
	asked = server->asked_udp;
	CHECK(want("short.test", 1) < TRY_NS, "who wants a name that rests has to wait");
	CHECK_EQ(server->asked_udp, asked);
	server->mute = false;
	CHECK_EQ(weir_names_flush(map, "Short.Test.", &err), 1);
	want("short.test", 1);
	CHECK_EQ(look("short.test", &e), WEIR_NAME_FRESH);
	end();
}

static void bounded(void)
{
	struct weir_names_stats stats;
	struct weir_proxy_name e;
	char name[64];

	begin();
	config.resolve_timeout_ns = 10 * TRY_NS;
	CHECK_OK(weir_names_reload(names, &config, &err));
	server->mute = true;
	run();
	for (int i = 0; i < WEIR_NAMES_OPEN_MAX; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		weir_names_want(names, name, NULL, NULL);
	}
	for (int i = 0; i < OVER; i++) {
		snprintf(name, sizeof(name), "over%d.test", i);
		want(name, 1);
		CHECK_EQ(look(name, &e), WEIR_NAME_MISSING);
	}
	weir_names_stats(names, &stats);
	CHECK_EQ(stats.refused, OVER);
	CHECK_EQ(stats.open, WEIR_NAMES_OPEN_MAX);
	server->mute = false;
	for (int i = 0; i < 3 && stats.open; i++)
		EVENTUALLY((weir_names_stats(names, &stats), stats.open == 0));
	CHECK_EQ(stats.open, 0);
	want("app.test", 1);
	CHECK_EQ(look("app.test", &e), WEIR_NAME_FRESH);
	end();
}

static void no_names(void)
{
	static const char *const bad[] = { "", "a..b", "192.0.2.1", "a b", "x\"y" };
	char long_name[600];
	struct weir_proxy_name e;

	begin();
	run();
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bad) + 1; i++) {
		const char *name = i < WEIR_ARRAY_SIZE(bad) ? bad[i] : long_name;

		CHECK(want(name, 1) < TRY_NS, "'%s' takes long", name);
		CHECK_EQ(look(name, &e), WEIR_NAME_MISSING);
	}
	CHECK_EQ(server->asked_udp, 0);
	end();
}

/* Reloads belong to the loop's thread. */
static _Atomic int reload_ret;

static void reload_there(struct weir_post *p)
{
	(void)p;
	reload_ret = weir_names_reload(names, &config, &err);
}

static int reload(void)
{
	struct weir_post p = { .fn = reload_there };

	reload_ret = 1;
	CHECK(weir_loop_post(loop, &p), "the loop has ended");
	CHECK(EVENTUALLY(reload_ret != 1), "no reload");
	return reload_ret;
}

/* What is being asked goes on with the new servers, and nobody hears of it. */
static void reloaded_meanwhile(void)
{
	struct dns_server *other = dns_server_start(moved);
	struct weir_loop *mine = weir_loop_new(&err);
	unsigned int left = 2;
	struct weir_proxy_name e;
	struct waiter w[2];

	CHECK(other && mine, "no server");
	begin();
	config.resolve_timeout_ns = 10 * SECOND;
	CHECK_OK(weir_names_reload(names, &config, &err));
	run();
	for (int i = 0; i < 2; i++) {
		w[i] = (struct waiter){ .done.fn = told, .loop = mine, .left = &left };
		weir_names_want(names, "silent.test", mine, &w[i].done);
	}
	CHECK(EVENTUALLY(server->asked_udp == 2), "it was not asked");
	config.servers = "x";
	CHECK_EQ(reload(), -EINVAL);
	CHECK(strstr(err.msg, "'x' is no name server"), "%s", err.msg);
	use(other);
	CHECK_EQ(reload(), 0);
	CHECK_OK(weir_loop_run(mine, &err));
	CHECK_EQ(look("silent.test", &e), WEIR_NAME_FRESH);
	CHECK_EQ(e.addr[0][15], 9);
	used[n_used++] = mine;
	end();
	dns_server_stop(other);
}

static void never(struct weir_post *p)
{
	(void)p;
	test_end(1, "who is gone was told");
}

/* A worker that has ended, a proxy that ends with names open, one that has ended. */
static void gone_waiters(void)
{
	struct weir_loop *mine = weir_loop_new(&err);
	struct weir_post gone = { .fn = never };
	struct weir_proxy_name e;

	begin();
	run();
	weir_loop_stop(mine);
	CHECK_OK(weir_loop_run(mine, &err));
	weir_names_want(names, "app.test", mine, &gone);
	CHECK(EVENTUALLY(look("app.test", &e) == WEIR_NAME_FRESH), "it was not asked");
	weir_names_want(names, "silent.test", mine, &gone);
	CHECK(EVENTUALLY(server->asked_udp >= 4), "it was not asked");
	weir_loop_stop(loop);
	pthread_join(thread, NULL);
	CHECK(want("app.test", 3) < SECOND, "nobody tells");
	weir_names_free(names);
	weir_loop_free(loop);
	weir_loop_free(mine);
	free_used();
	dns_server_stop(server);
}

/* ---- Backends that are names */

static void health_of_names(void)
{
	const struct weir_proxy_health health = { 50 * MSEC, 2 * SECOND, 1, 2 };
	struct weir_proxy_target target[] = {
		{ .kind = WEIR_TARGET_NAME,
		  .text = "checked.test:8443",
		  .host = "checked.test",
		  .port = 8443 },
		{ .kind = WEIR_TARGET_NAME,
		  .text = "nx.test:8443",
		  .host = "nx.test",
		  .port = 8443 },
		{ .kind = WEIR_TARGET_NAME, .text = "nx.test", .host = "nx.test" },
	};
	struct weir_proxy_route route = { .targets = target, .n_targets = 3, .health = health };
	struct weir_endpoint at;
	int fd;

	begin();
	weir_endpoint_parse("127.0.0.1:8443", &at);
	fd = weir_sock_listen(&at, 0, 1024, &err);
	CHECK(fd >= 0, "%s", err.msg);
	config.routes = &route;
	config.n_routes = 1;
	backends = weir_backends_new(loop, names);
	CHECK_OK(weir_backends_take(backends, &config, &err));
	run();
	CHECK(EVENTUALLY(target[1].state->down), "a name without address is up");
	/* Longer than the TTL: it is asked for again and again. */
	test_sleep_ms(1500);
	CHECK(!target[0].state->down, "one of two addresses answers, and it is down");
	CHECK(!target[2].state->down, "a name without port was checked");
	close(fd);
	CHECK(EVENTUALLY(target[0].state->down), "nobody listens, and it is up");
	fd = weir_sock_listen(&at, 0, 1024, &err);
	CHECK(fd >= 0, "%s", err.msg);
	CHECK(EVENTUALLY(!target[0].state->down), "it is back, and is still down");
	/* An answer that can't be had any more does not end what is known. */
	server->mute = true;
	test_sleep_ms(1500);
	CHECK(!target[0].state->down, "it is down because the name server is");
	config.n_routes = 0;
	end();
	close(fd);
}

/* ---- Without a proxy */

static void put(const char *name, unsigned int code, int64_t expires_s, int64_t stale_s)
{
	uint64_t now = weir_clock_mono();
	struct weir_proxy_name_key key = { 0 };
	struct weir_proxy_name e = {
		.asked = now - SECOND,
		.expires = now + (uint64_t)expires_s * SECOND,
		.stale_until = now + (uint64_t)stale_s * SECOND,
		.code = (uint8_t)code,
		.n = code ? 0 : 2,
		.addr = { { [10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1 },
			  { [0] = 0x20, [1] = 1, [2] = 0x0d, [3] = 0xb8, [15] = 7 } },
	};

	strcpy(key.name, name);
	e.check = weir_proxy_name_check(&key, &e);
	CHECK(!bpf_map_update_elem(map, &key, &e, BPF_ANY), "update: %s", strerror(errno));
}

static void listed(void)
{
	weir_autobuf struct weir_buf out = { 0 };

	map = map_new(CACHE);
	CHECK_OK(weir_names_list(map, true, &out, &err));
	CHECK(!strcmp(out.data, "{\"v\":1,\"names\":[]}\n"), "%s", out.data);
	put("b.test", WEIR_RESOLVE_NXDOMAIN, 30, 30);
	put("c.test", WEIR_RESOLVED, -1, 60);
	put("a.test", WEIR_RESOLVED, 90, 100);
	put("d.test", WEIR_RESOLVED, -1, 0);
	put("e.test", WEIR_RESOLVE_TIMEOUT, -1, 60);
	weir_buf_reset(&out);
	CHECK_OK(weir_names_list(map, false, &out, &err));
	CHECK(strstr(out.data, "NAME    ADDRESSES              TTL"), "%s", out.data);
	CHECK(strstr(out.data, "\na.test  192.0.2.1,2001:db8::7  1m30s  fresh"), "%s", out.data);
	CHECK(strstr(out.data,
		     "\nb.test  -                      30.0s  negative (nxdomain)  1.00s"),
	      "%s", out.data);
	CHECK(strstr(out.data, "\nc.test  192.0.2.1,2001:db8::7  -      stale"), "%s", out.data);
	CHECK(!strstr(out.data, "d.test") && !strstr(out.data, "e.test"), "%s", out.data);
	weir_buf_reset(&out);
	CHECK_OK(weir_names_list(map, true, &out, &err));
	CHECK(strstr(out.data, "{\"name\":\"a.test\",\"state\":\"fresh\",\"code\":\"ok\","
			       "\"addresses\":[\"192.0.2.1\",\"2001:db8::7\"],\"ttl_ns\":"),
	      "%s", out.data);
	CHECK(strstr(out.data, "{\"name\":\"b.test\",\"state\":\"negative\",\"code\":\"nxdomain\","
			       "\"ttl_ns\":"),
	      "%s", out.data);
	CHECK_EQ(weir_names_flush(map, "nothing.test", &err), 0);
	CHECK_EQ(weir_names_flush(map, "A.test", &err), 1);
	CHECK_EQ(weir_names_flush(map, "a b", &err), -EINVAL);
	CHECK_EQ(weir_names_flush(map, NULL, &err), 4);
	CHECK_EQ(weir_names_flush(map, NULL, &err), 0);
}

static int by_time(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* 64k names of a usual length; the time of a look-up, clock included. */
static void full(void)
{
	static uint32_t took[LOOKS];
	unsigned int found = 0, seed = 1;
	uint64_t from;
	char name[64];

	begin();
	for (unsigned int i = 0; i < CACHE; i++) {
		snprintf(name, sizeof(name), "host-%u.service.example.com", i);
		put(name, WEIR_RESOLVED, 3600, 7200);
	}
	for (unsigned int i = 0; i < CACHE; i++) {
		struct weir_proxy_name e;

		snprintf(name, sizeof(name), "host-%u.service.example.com", i);
		found += look(name, &e) == WEIR_NAME_FRESH;
	}
	for (unsigned int i = 0; i < LOOKS; i++) {
		struct weir_proxy_name e;

		snprintf(name, sizeof(name), "host-%d.service.example.com", rand_r(&seed) % CACHE);
		from = weir_clock_mono();
		look(name, &e);
		took[i] = (uint32_t)(weir_clock_mono() - from);
	}
	qsort(took, LOOKS, sizeof(*took), by_time);
	printf("# %u of %u names are there; a look-up: p50 %u ns, p99 %u ns, p99.9 %u ns\n", found,
	       CACHE, took[LOOKS / 2], took[LOOKS / 100 * 99], took[LOOKS / 1000 * 999]);
	CHECK(found > CACHE / 10 * 9, "%u of %u names are there", found, CACHE);
	weir_names_free(names);
	weir_loop_free(loop);
	dns_server_stop(server);
}

/* ---- Elements that change hands */

static _Atomic bool churning;
static _Atomic uint64_t churn_looks, churn_hits, churn_foreign, churn_wrong;

static void churn_name(unsigned int i, struct weir_proxy_name_key *key)
{
	memset(key, 0, sizeof(*key));
	snprintf(key->name, sizeof(key->name), "n%u.churn.test", i);
}

static void churn_entry(unsigned int i, struct weir_proxy_name *e)
{
	*e = (struct weir_proxy_name){ .expires = UINT64_MAX, .n = WEIR_PROXY_NAME_ADDRS };
	for (int k = 0; k < WEIR_PROXY_NAME_ADDRS; k++)
		memcpy(e->addr[k], &i, sizeof(i));
}

static bool is_of(const struct weir_proxy_name *e, unsigned int i)
{
	for (int k = 0; k < WEIR_PROXY_NAME_ADDRS; k++)
		if (memcmp(e->addr[k], &i, sizeof(i)))
			return false;
	return true;
}

static void *churn(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; churning; i++) {
		const unsigned int which = i * 7919 % CHURN_NAMES;
		struct weir_proxy_name_key key;
		struct weir_proxy_name e;

		churn_name(which, &key);
		churn_entry(which, &e);
		e.check = weir_proxy_name_check(&key, &e);
		bpf_map_update_elem(map, &key, &e, BPF_ANY);
	}
	return NULL;
}

static void *read_on(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; churning; i++) {
		const unsigned int which = i % CHURN_NAMES;
		struct weir_proxy_name_key key;
		struct weir_proxy_name e;

		churn_name(which, &key);
		churn_looks++;
		if (!bpf_map_lookup_elem(map, &key, &e))
			churn_foreign += !is_of(&e, which);
		if (look(key.name, &e) == WEIR_NAME_FRESH) {
			churn_hits++;
			churn_wrong += !is_of(&e, which);
		}
	}
	return NULL;
}

/* A few names that are renewed all the time: each time an element changes hands. What is
 * found is the name's own all the same. */
static void changing_hands(void)
{
	pthread_t t[4];

	begin();
	close(map);
	map = map_new(CHURN_CACHE);
	weir_names_free(names);
	names = weir_names_new(loop, map, &config, &err);
	CHECK(names, "%s", err.msg);
	churning = true;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, i % 2 ? churn : read_on, NULL), "no thread");
	sleep(CHURN_SECONDS);
	churning = false;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("# %llu look-ups, %llu found; the bare map gave another name's bytes %llu times\n",
	       (unsigned long long)churn_looks, (unsigned long long)churn_hits,
	       (unsigned long long)churn_foreign);
	CHECK(churn_hits > 1000, "hardly any name was found");
	CHECK_EQ(churn_wrong, 0);
	weir_names_free(names);
	weir_loop_free(loop);
	dns_server_stop(server);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "asks_once", asks_once },
		{ "times", times },
		{ "stale_while_the_server_is_away", stale_while_the_server_is_away },
		{ "stale_is_over", stale_is_over },
		{ "flushed_while_it_rests", flushed_while_it_rests },
		{ "bounded", bounded },
		{ "no_names", no_names },
		{ "reloaded_meanwhile", reloaded_meanwhile },
		{ "gone_waiters", gone_waiters },
		{ "health_of_names", health_of_names },
		{ "listed", listed },
		{ "full", full },
		{ "changing_hands", changing_hands },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
