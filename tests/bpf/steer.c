/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program of `weir steer` on the running kernel: its choice against a look at every
 * rule, for random rules and tuples; what it costs; and what a test run leaves alone.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/resource.h>

#include "cap/steer/engine.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "harness.h"
#include "policy/engine.h"

#define SOCKETS 16

static struct weir_error err;
static int listeners[SOCKETS];
static uint64_t cookies[SOCKETS];

static uint64_t state = 88172645463325252ULL;

static uint32_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

/* Of each protocol half of them. */
static void open_sockets(void)
{
	for (int i = 0; i < SOCKETS; i++) {
		struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
		socklen_t len = sizeof(cookies[i]);

		listeners[i] = socket(AF_INET6, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
		CHECK(listeners[i] >= 0 && !bind(listeners[i], (void *)&any, sizeof(any)) &&
			      (i % 2 || !listen(listeners[i], 1)),
		      "socket: %s", strerror(errno));
		CHECK(!getsockopt(listeners[i], SOL_SOCKET, SO_COOKIE, &cookies[i], &len),
		      "cookie");
	}
}

static uint32_t random_address(bool narrow)
{
	/* Few bits are random, so that prefixes nest and tuples meet them. */
	return 0x0a000000U | (rnd() & 0x00030303U) | (narrow ? 0x40 : 0);
}

static struct weir_prefix random_prefix(bool v4)
{
	struct weir_prefix p = { .is_v4 = v4 };
	unsigned int len = rnd() % 33;
	uint32_t be = len ? htonl(random_address(false) & (~0U << (32 - len))) : 0;

	if (v4) {
		p.addr.b[10] = p.addr.b[11] = 0xff;
		memcpy(p.addr.b + 12, &be, 4);
		p.len = (uint8_t)(96 + len);
	} else if (len) {
		p.addr.b[0] = 0xfd;
		memcpy(p.addr.b + 4, &be, 4);
		p.len = (uint8_t)(32 + len);
	}
	return p;
}

/* Ranges from few places, so that they overlap, and many single ports. */
static struct weir_range random_range(void)
{
	uint32_t lo = rnd() % 64 * 512, kind = rnd() % 16;

	if (kind == 0)
		return (struct weir_range){ 0, 65535 };
	if (kind < 4)
		return (struct weir_range){ lo, lo + 511 + rnd() % 8 * 512 };
	lo = rnd() % 2000;
	return (struct weir_range){ lo, kind < 8 ? lo + rnd() % 4 : lo };
}

static void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	CHECK(p, "memory");
	return p;
}

static struct weir_steer_rule random_rule(uint32_t i)
{
	struct weir_steer_rule r = { .id = i % WEIR_RULES_MAX + 1 };
	bool v4 = rnd() & 1, conditional = rnd() % 4 == 0;

	r.protos = 1 + rnd() % 3;
	r.on_miss = rnd() & 1;
	snprintf(r.name, sizeof(r.name), "r%u", i);
	snprintf(r.to, sizeof(r.to), "listen:[::]:%u", 1 + rnd() % (SOCKETS / 2));
	r.ports = xcalloc(1, sizeof(*r.ports));
	r.ports[0] = random_range();
	r.n_ports = 1;
	r.dst = xcalloc(1, sizeof(*r.dst));
	r.dst[0] = random_prefix(v4);
	r.n_dst = 1;
	if (conditional) {
		r.src = xcalloc(1, sizeof(*r.src));
		r.src[0] = random_prefix(v4);
		r.n_src = 1;
	}
	if (rnd() % 64 == 0)
		r.expires = rnd() & 1 ? 1 : UINT64_MAX / 2;
	return r;
}

static void add_targets(struct weir_steer_conf *c)
{
	c->targets = xcalloc(SOCKETS, sizeof(*c->targets));
	c->n_targets = SOCKETS;
	for (unsigned int i = 0; i < SOCKETS; i++) {
		struct weir_steer_target *t = &c->targets[i];

		snprintf(t->to, sizeof(t->to), "listen:[::]:%u", 1 + i / 2);
		t->proto = i % 2 ? WEIR_STEER_UDP : WEIR_STEER_TCP;
		t->first = i * WEIR_STEER_SPARE;
		t->members = 1;
	}
}

static struct weir_steer_clock now(void)
{
	struct weir_steer_clock clock;

	CHECK_OK(weir_filter_clock(&clock.jiffies, &clock.boot, &clock.tick, &err));
	return clock;
}

static struct weir_steer_generation make(const struct weir_steer_conf *c, bool count)
{
	const struct weir_steer_shared none = { -1, -1, -1, -1, count };
	const struct weir_steer_clock clock = now();
	struct weir_steer_code code;
	struct weir_steer_generation g;

	CHECK_OK(weir_steer_compile(c, &clock, &code, &err));
	CHECK_OK(weir_steer_generation_make(c, &code, &none, &g, &err));
	printf("# %zu rules: %zu classes, %zu candidates, %zu nodes, %zu lone prefixes\n",
	       c->n_rules, code.n_roots - 1, code.n_candidates - 1, code.n_nodes - 1,
	       code.n_lones - 1);
	weir_steer_code_free(&code);
	for (uint32_t i = 0; i < SOCKETS; i++) {
		uint32_t slot = i * WEIR_STEER_SPARE + i % WEIR_STEER_SPARE;
		uint64_t fd = (uint64_t)listeners[i];

		/* The last of each protocol is gone. */
		if (i < SOCKETS - 2)
			CHECK(!bpf_map_update_elem(g.shared.sockets_fd, &slot, &fd, BPF_ANY),
			      "socket %u: %s", i, strerror(errno));
	}
	return g;
}

static bool contains(const struct weir_prefix *p, const struct weir_addr *a)
{
	return p->is_v4 == weir_addr_is_v4(a) && weir_prefix_contains(p, a);
}

/* The rule that decides, by looking at all of them. */
static const struct weir_steer_rule *oracle(const struct weir_steer_conf *c,
					    const struct weir_steer_question *q, uint64_t boot)
{
	const struct weir_steer_rule *best = NULL;

	for (size_t i = 0; i < c->n_rules; i++) {
		const struct weir_steer_rule *r = &c->rules[i];
		long d;

		if (!(r->protos & 1U << q->proto) || q->local_port < r->ports[0].lo ||
		    q->local_port > r->ports[0].hi || (r->expires && r->expires < boot) ||
		    !contains(&r->dst[0], &q->local) ||
		    (r->n_src && !contains(&r->src[0], &q->remote)))
			continue;
		if (!best) {
			best = r;
			continue;
		}
		d = (long)r->dst[0].len - best->dst[0].len;
		if (!d)
			d = (long)(best->ports[0].hi - best->ports[0].lo) -
			    (long)(r->ports[0].hi - r->ports[0].lo);
		if (!d) {
			unsigned int any = r->dst[0].is_v4 ? 96 : 0;

			d = (long)(r->n_src ? r->src[0].len : any) -
			    (long)(best->n_src ? best->src[0].len : any);
		}
		if (d > 0)
			best = r;
	}
	return best;
}

static struct weir_steer_question random_tuple(void)
{
	struct weir_steer_question q = { 0 };
	uint32_t local = htonl(random_address(rnd() & 1)), remote = htonl(random_address(false));
	bool v4 = rnd() & 1;

	q.proto = rnd() & 1 ? WEIR_STEER_UDP : WEIR_STEER_TCP;
	q.local_port = rnd() & 1 ? (uint16_t)(rnd() % 2004) : (uint16_t)rnd();
	q.remote_port = (uint16_t)rnd();
	if (v4) {
		q.local.b[10] = q.local.b[11] = q.remote.b[10] = q.remote.b[11] = 0xff;
		memcpy(q.local.b + 12, &local, 4);
		memcpy(q.remote.b + 12, &remote, 4);
	} else {
		q.local.b[0] = q.remote.b[0] = 0xfd;
		memcpy(q.local.b + 4, &local, 4);
		memcpy(q.remote.b + 4, &remote, 4);
	}
	return q;
}

static void check_tuple(const struct weir_steer_conf *c, const struct weir_steer_generation *g,
			uint64_t boot, unsigned long counts[3])
{
	struct weir_steer_question q = random_tuple();
	const struct weir_steer_rule *want = oracle(c, &q, boot);
	struct weir_steer_verdict v;
	uint64_t cookie = 0;
	uint32_t member = 0;

	CHECK_OK(weir_steer_prog_ask(g->prog_fd, g->answer_fd, &q, &v, &err));
	if (want) {
		sscanf(want->to, "listen:[::]:%u", &member);
		member = 2 * (member - 1) + q.proto;
		cookie = member < SOCKETS - 2 ? cookies[member] : 0;
	}
	CHECK(v.answer.rule == (want ? want->id : 0), "rule %u, not %u", v.answer.rule,
	      want ? want->id : 0);
	CHECK(v.cookie == cookie, "rule %u gave socket %llu, not %llu", v.answer.rule,
	      (unsigned long long)v.cookie, (unsigned long long)cookie);
	CHECK(v.dropped == (want && !cookie && !want->on_miss), "rule %u: dropped %d",
	      v.answer.rule, v.dropped);
	counts[!want ? 0 : cookie ? 1 : 2]++;
}

/* Rules in sets of 1000 and 10,000, a million tuples in all by default. */
static void compare(uint32_t n_rules, uint32_t n_tuples)
{
	struct weir_steer_conf c = { .n_rules = n_rules };
	unsigned long counts[3] = { 0 };
	struct weir_steer_generation g;
	const uint64_t boot = now().boot;

	open_sockets();
	c.rules = xcalloc(n_rules, sizeof(*c.rules));
	for (uint32_t i = 0; i < n_rules; i++)
		c.rules[i] = random_rule(i);
	add_targets(&c);
	g = make(&c, false);
	for (uint32_t i = 0; i < n_tuples; i++)
		check_tuple(&c, &g, boot, counts);
	printf("# %u tuples: %lu matched none, %lu steered, %lu missed\n", n_tuples, counts[0],
	       counts[1], counts[2]);
	weir_steer_generation_close(&g);
	weir_steer_conf_free(&c);
}

/* Other rules and tuples than always. */
static void seed(void)
{
	const char *word = getenv("WEIR_SEED");

	if (word)
		state ^= strtoull(word, NULL, 10) * 0x9e3779b97f4a7c15ULL;
	printf("# seed %s\n", word ? word : "0");
}

static uint32_t tuples(uint32_t usual)
{
	const char *more = getenv("WEIR_STEER_TUPLES");

	return more ? (uint32_t)strtoul(more, NULL, 10) : usual;
}

static void test_oracle_small(void)
{
	seed();
	for (int i = 0; i < 8; i++)
		compare(40, tuples(5000));
}

static void test_oracle(void)
{
	alarm(600);
	seed();
	compare(10000, tuples(20000));
}

/* ---- What one look-up costs */

static uint64_t measure(const struct weir_steer_generation *g, uint32_t addr, uint16_t port,
			uint32_t repeat)
{
	struct bpf_sk_lookup ctx = {
		.family = AF_INET,
		.protocol = IPPROTO_TCP,
		.remote_ip4 = htonl(0x0a000001),
		.remote_port = htons(40000),
		.local_ip4 = htonl(addr),
		.local_port = port,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .repeat = (int)repeat);

	CHECK(!bpf_prog_test_run_opts(g->prog_fd, &opts), "test run: %s", strerror(errno));
	return opts.duration;
}

/* One rule a destination: the median of many of them. */
static void test_cost(void)
{
	static const uint32_t sizes[] = { 1, 1000, 50000 };
	uint64_t ns[64], median = 0;

	open_sockets();
	for (size_t k = 0; k < WEIR_ARRAY_SIZE(sizes); k++) {
		struct weir_steer_conf c = { .n_rules = sizes[k] };
		struct weir_steer_generation g;

		c.rules = xcalloc(sizes[k], sizeof(*c.rules));
		for (uint32_t i = 0; i < sizes[k]; i++) {
			struct weir_steer_rule *r = &c.rules[i];
			uint32_t be = htonl(i * 2654435761U);

			*r = random_rule(i);
			weir_steer_rule_free(r);
			r->protos = 1;
			r->expires = 0;
			snprintf(r->to, sizeof(r->to), "listen:[::]:1");
			r->dst = xcalloc(1, sizeof(*r->dst));
			r->dst[0] = (struct weir_prefix){ .len = 128, .is_v4 = true };
			r->dst[0].addr.b[10] = r->dst[0].addr.b[11] = 0xff;
			memcpy(r->dst[0].addr.b + 12, &be, 4);
			r->n_dst = 1;
			r->ports = xcalloc(1, sizeof(*r->ports));
			r->ports[0] =
				(struct weir_range){ 1000 + i % 100 * 10, 1009 + i % 100 * 10 };
			r->n_ports = 1;
		}
		add_targets(&c);
		g = make(&c, true);
		for (int i = 0; i < 64; i++) {
			uint32_t at = rnd() % sizes[k];

			ns[i] = measure(&g, at * 2654435761U, (uint16_t)(1003 + at % 100 * 10),
					20000);
			for (int j = i; j > 0 && ns[j] < ns[j - 1]; j--) {
				uint64_t t = ns[j];

				ns[j] = ns[j - 1];
				ns[j - 1] = t;
			}
		}
		median = ns[32];
		printf("# %u rules: %llu ns steered, %llu ns no such address, %llu ns no such "
		       "port\n",
		       sizes[k], (unsigned long long)median,
		       (unsigned long long)measure(&g, 0x0b000001, 1003, 100000),
		       (unsigned long long)measure(&g, 0, 80, 100000));
		weir_steer_generation_close(&g);
		weir_steer_conf_free(&c);
	}
	/* On a machine that others use too: an order of magnitude, no figure. */
	CHECK(median < 10000, "%llu ns", (unsigned long long)median);
}

/* ---- A test run counts nothing */

static void test_no_counting(void)
{
	size_t cpus = (size_t)weir_sys_cpus();
	struct weir_steer_account *a = xcalloc(cpus, sizeof(*a));
	struct weir_steer_conf c = { .n_rules = 1 };
	struct weir_steer_generation g;
	uint32_t zero = 0;

	open_sockets();
	c.rules = xcalloc(1, sizeof(*c.rules));
	c.rules[0] = random_rule(0);
	add_targets(&c);
	g = make(&c, false);
	measure(&g, 0x0a000000, 1003, 1000);
	CHECK(!bpf_map_lookup_elem(g.shared.account_fd, &zero, a), "account");
	for (size_t i = 0; i < cpus; i++)
		CHECK_EQ(a[i].seen, 0);
	weir_steer_generation_close(&g);
	weir_steer_conf_free(&c);
	free(a);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "oracle_small", test_oracle_small },
		{ "oracle", test_oracle },
		{ "cost", test_cost },
		{ "no_counting", test_no_counting },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
