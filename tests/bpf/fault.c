/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of `weir fault` on the running kernel, fed by test runs: which segments are
 * ever cut, by all flags; which packets a rule is about, against the match's evaluator; whose
 * turn it is; and the end of a rule.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "bpf/parse.bpf.h"
#include "cap/fault/engine.h"
#include "dataplane/craft.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "harness.h"

#define KEEP 5
#define LINK_HEADER 14 /* what a test run takes off in front of a socket's packet */
#define TC_PASS (-1)
#define TC_DROP 2
#define ROUNDS 10
#define TRIES 400

static struct weir_error err;
static struct weir_fault fault;

static uint64_t state = 88172645463325252ULL;

static uint32_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

/* ---- Helpers */

/* Put the rules of @text in force, in place of all others. */
static void apply(const char *text)
{
	struct weir_fault_conf next = { 0 };

	CHECK_OK(weir_fault_parse(text, strlen(text), "text", &next, &err));
	CHECK_OK(weir_fault_open(&fault, true, &err));
	CHECK_OK(weir_fault_commit(&fault, &next, true, &err));
}

static void release(void)
{
	weir_fault_close(&fault);
}

static int pinned(const char *name)
{
	int fd = weir_pin_get(&fault.dir, name);

	CHECK(fd >= 0, "%s: %s", name, strerror(-fd));
	return fd;
}

static struct weir_fault_account account(const char *rule)
{
	const struct weir_fault_conf_rule *r = weir_fault_conf_find(&fault.conf, rule);
	struct weir_fault_account a;

	CHECK(r, "no rule %s", rule);
	CHECK_OK(weir_fault_account_of(&fault, r->slot, &a));
	CHECK_EQ(a.matched, a.hit + a.passed);
	return a;
}

static int run(int prog, uint32_t ifindex, const void *data, size_t len)
{
	struct __sk_buff ctx = { .ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = (uint32_t)len,
		    .ctx_in = ifindex ? &ctx : NULL, .ctx_size_in = ifindex ? sizeof(ctx) : 0,
		    .repeat = 1);

	CHECK(!bpf_prog_test_run_opts(prog, &opts), "test run: %s", strerror(errno));
	return (int)opts.retval;
}

/* ---- Segments */

static int listener(uint16_t *ret_port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0 && !bind(fd, (void *)&at, sizeof(at)) && !listen(fd, 1) &&
		      !getsockname(fd, (void *)&at, &len),
	      "listener: %s", strerror(errno));
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static size_t make_segment(uint8_t *to, unsigned int flags, size_t options, size_t payload)
{
	struct tcphdr *h = (void *)(to + LINK_HEADER);

	memset(to, 0, LINK_HEADER + sizeof(*h) + options + payload);
	to[12] = 0x88; /* no IP: the kernel would look for its header in front */
	to[13] = 0xb5;
	h->seq = htonl(rnd());
	h->doff = (uint16_t)((sizeof(*h) + options) / 4) & 15;
	((uint8_t *)h)[13] = (uint8_t)flags;
	return LINK_HEADER + sizeof(*h) + options + payload;
}

static void flags_of_segments(void)
{
	static const size_t payloads[] = { 0, 1, KEEP, KEEP + 1, 1460 };
	_Alignas(8) uint8_t bytes[2048];
	unsigned int data = 0, cut = 0;
	char text[128];
	uint16_t port;
	int prog, fd = listener(&port);

	snprintf(text, sizeof(text), "t: --listen 127.0.0.1:%u --truncate %d\n", port, KEEP);
	apply(text);
	prog = pinned("sk_1");
	for (unsigned int i = 0; i < 256 * WEIR_ARRAY_SIZE(payloads) * 2; i++) {
		unsigned int flags = i & 255, options = i & 256 ? 12 : 0;
		size_t payload = payloads[i / 512], header = sizeof(struct tcphdr) + options;
		size_t len = make_segment(bytes, flags, options, payload);
		bool whole = flags & (WEIR_TCP_FIN | WEIR_TCP_SYN | WEIR_TCP_RST | WEIR_TCP_URG);

		data += payload && !whole;
		cut += payload > KEEP && !whole;
		CHECK_EQ(run(prog, 0, bytes, len),
			 header + (payload > KEEP && !whole ? KEEP : payload));
	}
	CHECK_EQ(account("t").matched, data);
	CHECK_EQ(account("t").hit, cut);
	/* A header that says that it is longer than the segment. */
	make_segment(bytes, WEIR_TCP_ACK, 40, 0);
	CHECK_EQ(run(prog, 0, bytes, LINK_HEADER + 30), 30);
	/* Gone, and with it its effect, though the program is still there. */
	release();
	CHECK_OK(weir_fault_open(&fault, false, &err));
	CHECK_OK(weir_fault_off(&fault, &err));
	CHECK_EQ(run(prog, 0, bytes, make_segment(bytes, WEIR_TCP_ACK, 0, 100)), 120);
	close(prog);
	close(fd);
}

/* ---- Packets */

static void make_packet(struct weir_craft *c)
{
	struct weir_addr src = { .b = { [10] = 0xff, 0xff, 10, 0, 0, (uint8_t)(rnd() % 4) } };
	struct weir_addr dst = { .b = { [10] = 0xff, 0xff, 10, 0, 1, (uint8_t)(rnd() % 4) } };

	if (rnd() & 1) {
		src = (struct weir_addr){ .b = { 0xfd, [15] = (uint8_t)(rnd() % 4) } };
		dst = (struct weir_addr){ .b = { 0xfd, 1, [15] = (uint8_t)(rnd() % 4) } };
	}
	weir_craft_tcp(c, &src, (uint16_t)(rnd() % 8 + 1), &dst, (uint16_t)(rnd() % 8 + 1),
		       WEIR_TCP_ACK);
}

static void add_rule(struct weir_buf *out, unsigned int n, const struct veth *v)
{
	static const char *const lists[] = {
		"--src-ip 10.0.0.1",
		"--src-ip 10.0.0.0/31,fd00::2",
		"--dst-ip fd01::/64",
		/* long enough for a set */
		"--src-ip 192.0.2.1,192.0.2.3,192.0.2.5,192.0.2.7,192.0.2.9,192.0.2.11,192.0.2.13,"
		"192.0.2.15,10.0.0.2,192.0.2.17,192.0.2.19,192.0.2.21,192.0.2.23,192.0.2.25,"
		"192.0.2.27,192.0.2.29,fd00::1,fd00::2",
		"--dst-port 1-3",
		"\"tcp and not src port 2\"",
		"--protocol udp",
	};
	static const char *const ways[] = { "", "-Q in", "-Q out", "-Q inout" };
	const char *const ifaces[] = { "", v->a, v->b };
	const char *iface = ifaces[rnd() % WEIR_ARRAY_SIZE(ifaces)];

	weir_buf_addf(out, "r%u: %s %s%s %s %s\n", n, lists[rnd() % WEIR_ARRAY_SIZE(lists)],
		      *iface ? "-i " : "", iface, ways[rnd() % WEIR_ARRAY_SIZE(ways)],
		      rnd() & 1 ? "--drop 100%" : "--nth 1");
}

/* The first rule that is about it, by the other back end of the match. */
static const struct weir_fault_conf_rule *expected(const struct weir_craft *c, const char *iface,
						   bool out)
{
	struct weir_pkt p;

	weir_parse(&p, c->frame, c->frame + c->len, WEIR_L2_ETHER, 0, (uint32_t)c->len);
	for (size_t i = 0; i < fault.conf.n; i++) {
		const struct weir_fault_conf_rule *r = &fault.conf.v[i];

		if ((!r->iface[0] || !strcmp(r->iface, iface)) &&
		    (r->dir == WEIR_FAULT_INOUT || (r->dir == WEIR_FAULT_OUTWARD) == out) &&
		    weir_match_eval(r->match, &p))
			return r;
	}
	return NULL;
}

/* Returns how many were hit. */
static unsigned int check_round(const struct veth *v)
{
	int progs[2] = { pinned("packets_in"), pinned("packets_out") };
	unsigned int hits = 0;

	for (int i = 0; i < TRIES; i++) {
		const char *iface = rnd() & 1 ? v->a : v->b;
		const struct weir_fault_conf_rule *r;
		struct weir_craft c;
		bool out = rnd() & 1;
		uint64_t before;

		make_packet(&c);
		r = expected(&c, iface, out);
		before = r ? account(r->name).hit : 0;
		CHECK_EQ(run(progs[out], if_nametoindex(iface), c.frame, c.len),
			 r ? TC_DROP : TC_PASS);
		hits += r != NULL;
		if (r)
			CHECK_EQ(account(r->name).hit, before + 1);
	}
	close(progs[0]);
	close(progs[1]);
	return hits;
}

static void first_that_matches(void)
{
	struct veth v = test_veth();
	unsigned int hits = 0;

	/* No neighbour discovery among the counters. */
	test_run("ip link set %s down", v.a);
	for (int round = 0; round < ROUNDS; round++) {
		weir_autobuf struct weir_buf text = { 0 };

		for (unsigned int n = 0; n < 1 + rnd() % 8; n++)
			add_rule(&text, n, &v);
		apply(text.data);
		hits += check_round(&v);
		release();
	}
	CHECK(hits > TRIES && hits < TRIES * (ROUNDS - 1), "%u of %d hit: the rules say nothing",
	      hits, TRIES * ROUNDS);
}

/* ---- Turns */

static void draw(const char *words, uint8_t *hit, size_t n)
{
	struct weir_addr a = { .b = { [10] = 0xff, 0xff, 10, 0, 0, 1 } };
	struct weir_craft c;
	char text[128];
	int prog;

	snprintf(text, sizeof(text), "d: -i lo -Q out --dst-port 80 %s\n", words);
	apply("");
	release();
	apply(text);
	prog = pinned("packets_out");
	weir_craft_tcp(&c, &a, 1, &a, 80, WEIR_TCP_ACK);
	for (size_t i = 0; i < n; i++)
		hit[i] = run(prog, if_nametoindex("lo"), c.frame, c.len) == TC_DROP;
	close(prog);
	release();
}

static void turns(void)
{
	static uint8_t one[5000], two[5000];
	size_t n = 0;

	draw("--drop 10% --seed 1", one, sizeof(one));
	draw("--drop 10% --seed 1", two, sizeof(two));
	CHECK(!memcmp(one, two, sizeof(one)), "the same seed, other packets");
	for (size_t i = 0; i < sizeof(one); i++)
		n += one[i];
	/* 500 +- 4.4 standard deviations of 21.2 */
	CHECK(n > 406 && n < 594, "%zu of 5000 dropped, of 10 %%", n);
	draw("--drop 10% --seed 2", two, sizeof(two));
	CHECK(memcmp(one, two, sizeof(one)) != 0, "another seed, the same packets");
	draw("--nth 7", one, sizeof(one));
	for (size_t i = 0; i < sizeof(one); i++)
		CHECK_EQ(one[i], (i + 1) % 7 == 0);
	draw("--drop 100%", one, 100);
	for (size_t i = 0; i < 100; i++)
		CHECK_EQ(one[i], 1);
}

/* ---- The end */

static void ends_in_the_kernel(void)
{
	struct weir_addr a = { .b = { [10] = 0xff, 0xff, 10, 0, 0, 1 } };
	uint32_t lo = if_nametoindex("lo");
	struct weir_craft c;
	int prog;

	apply("d: -i lo --dst-port 80 --drop 100% --ttl 300ms\n"
	      "e: -i lo --dst-port 80 --nth 1000000 --ttl 1h\n");
	prog = pinned("packets_out");
	weir_craft_tcp(&c, &a, 1, &a, 80, WEIR_TCP_ACK);
	CHECK(EVENTUALLY(run(prog, lo, c.frame, c.len) == TC_PASS), "the fault does not end");
	CHECK(account("e").passed > 0, "the next rule was not asked");
	close(prog);
	release();
}

/* Whoever unloads everything leaves no filter that does anything. */
static void unloading_switches_off(void)
{
	_Alignas(8) uint8_t bytes[256];
	char text[128];
	uint16_t port;
	int prog, fd = listener(&port);
	size_t len = make_segment(bytes, WEIR_TCP_ACK, 0, 100);

	snprintf(text, sizeof(text), "t: --listen 127.0.0.1:%u --truncate %d\n", port, KEEP);
	apply(text);
	prog = pinned("sk_1");
	CHECK_EQ(run(prog, 0, bytes, len), 20 + KEEP);
	release();
	CHECK(weir_pin_unload(NULL, &err) > 0, "nothing unloaded: %s", err.msg);
	CHECK_EQ(run(prog, 0, bytes, len), 120);
	close(prog);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "flags_of_segments", flags_of_segments },
		{ "first_that_matches", first_that_matches },
		{ "turns", turns },
		{ "ends_in_the_kernel", ends_in_the_kernel },
		{ "unloading_switches_off", unloading_switches_off },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
