/* SPDX-License-Identifier: GPL-2.0-only */
/* Replies, essential traffic and fragments on the running kernel. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>

#include "base/clock.h"
#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "bpf/policy_stub.h"
#include "dataplane/load.h"
#include "learn.skel.h"
#include "policy/abi.h"
#include "reply.skel.h"
#include "harness.h"

#include "../unit/bpf/frames.h"

#define SYN WEIR_TCP_SYN
#define ACK WEIR_TCP_ACK
#define RST WEIR_TCP_RST
#define FIN WEIR_TCP_FIN

static struct weir_error err;
static struct reply_bpf *ask;
static struct learn_bpf *learner;
static uint64_t tick_ns;

static void run_xdp(const struct bpf_program *prog, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = f->n);

	CHECK(!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "test run: %s",
	      strerror(errno));
	CHECK_EQ(opts.retval, XDP_PASS);
}

/* Returns the clock's time of when the kernel was asked for its jiffies: not of when this
 * process, which may have had to wait, looked at its watch. */
static uint64_t jiffies_now(uint64_t *ret)
{
	struct frame f = { 0 };

	frame_ether(&f, 0x88cc);
	for (int i = 0;; i++) {
		uint64_t begin = weir_clock_mono(), end;

		run_xdp(ask->progs.ask_reply, &f);
		end = weir_clock_mono();
		*ret = ask->bss->now;
		if (end - begin < 1000000 || i == 100)
			return end;
	}
}

/* The kernel's jiffies and the clock, before and after a while: how long a tick is. */
static uint64_t measure_tick(void)
{
	static const uint64_t usual[] = { 1000000, 3333333, 4000000, 10000000 };
	uint64_t first, last, best = 0, begin, tick;

	begin = jiffies_now(&first);
	test_sleep_ms(300);
	tick = jiffies_now(&last) - begin;
	tick /= last - first;
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (!best || llabs((long long)(usual[i] - tick)) < llabs((long long)(best - tick)))
			best = usual[i];
	return best;
}

static void load_once(void)
{
	int ret;

	weir_load_setup();
	ask = reply_bpf__open();
	learner = learn_bpf__open();
	CHECK(ask && learner, "open: %s", strerror(errno));
	if (tick_ns)
		ask->rodata->weir_tick_ns = tick_ns;
	ret = reply_bpf__load(ask);
	if (ret == -EPERM)
		SKIP("may not load BPF programs");
	CHECK(!ret, "load: %s", strerror(-ret));
	CHECK_OK(
		bpf_map__reuse_fd(learner->maps.weir_replies, bpf_map__fd(ask->maps.weir_replies)));
	CHECK_OK(learn_bpf__load(learner));
}

static void load(void)
{
	load_once();
	tick_ns = measure_tick();
	reply_bpf__destroy(ask);
	learn_bpf__destroy(learner);
	load_once();
}

/* @f leaves (comes in). */
static void pass(const struct frame *f, bool leaves)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = f->n);
	const struct bpf_program *prog = leaves ? learner->progs.weir_filter_out :
						  learner->progs.weir_filter_in;

	CHECK(!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "test run: %s",
	      strerror(errno));
	CHECK_EQ((int)opts.retval, -1);
}

static bool is_known(const struct frame *f, bool out)
{
	ask->bss->out = out;
	run_xdp(ask->progs.ask_reply, f);
	return ask->bss->known;
}

static bool is_essential(const struct frame *f, bool out)
{
	is_known(f, out);
	return ask->bss->essential;
}

static void forget_all(void)
{
	int fd = bpf_map__fd(ask->maps.weir_replies);
	struct weir_reply_key k;

	while (!bpf_map_get_next_key(fd, NULL, &k))
		CHECK(!bpf_map_delete_elem(fd, &k), "delete: %s", strerror(errno));
}

static unsigned int known_entries(struct weir_reply_key *last)
{
	int fd = bpf_map__fd(ask->maps.weir_replies);
	struct weir_reply_key k, *from = NULL;
	unsigned int n = 0;

	while (!bpf_map_get_next_key(fd, from, &k)) {
		*last = k;
		from = last;
		n++;
	}
	return n;
}

/* ---- Frames between two hosts: A is this one. */

enum { TO_B, TO_A };

struct layer4 {
	uint8_t proto;
	uint16_t sport, dport; /* ICMP: type << 8 | code, identifier */
	uint16_t tcp_flags;
	uint8_t host; /* the other end is another one by so much */
};

static void put4(struct frame *f, const struct layer4 *l)
{
	unsigned int flags = 5U << 12 | l->tcp_flags;

	if (l->proto == 1 || l->proto == 58) {
		PUT16(f, l->sport);
		PUT(f, 0, 0);
		PUT16(f, l->dport);
		PUT(f, 0, 1, 0xaa, 0xbb);
		return;
	}
	PUT16(f, l->sport);
	PUT16(f, l->dport);
	PUT(f, 0, 0, 0, 1, 0, 0, 0, 2);
	PUT16(f, flags);
	PUT(f, 0xff, 0xff, 0, 0, 0, 0);
}

static void make(struct frame *f, bool v6, int way, struct layer4 l)
{
	size_t at;

	memset(f, 0, sizeof(*f));
	frame_ether(f, v6 ? 0x86dd : 0x0800);
	if (v6)
		frame_ip6(f, 20, l.proto);
	else
		frame_ip4(f, 5, 40, 0, l.proto);
	at = v6 ? 22 + 15 : 26 + 3;
	if (way == TO_A) {
		uint8_t a[16], n = v6 ? 16 : 4;
		uint8_t *src = f->bytes + (v6 ? 22 : 26), *dst = src + n;

		memcpy(a, src, n);
		memcpy(src, dst, n);
		memcpy(dst, a, n);
	} else {
		at += v6 ? 16 : 4;
	}
	f->bytes[at] = (uint8_t)(f->bytes[at] + l.host);
	put4(f, &l);
	while (f->n < 14 + (v6 ? 60U : 40U))
		PUT(f, 0);
}

struct exchange {
	const char *what;
	struct layer4 sent, comes;
	bool known;
};

#define TCP(s, d, flags)          \
	{                         \
		6, s, d, flags, 0 \
	}
#define L4(proto, s, d)           \
	{                         \
		proto, s, d, 0, 0 \
	}

static const struct exchange exchanges[] = {
	{ "SYN, SYN-ACK", TCP(4000, 80, SYN), TCP(80, 4000, SYN | ACK), true },
	{ "ACK, ACK", TCP(4000, 80, ACK), TCP(80, 4000, ACK), true },
	{ "ACK, FIN-ACK", TCP(4000, 80, ACK), TCP(80, 4000, FIN | ACK), true },
	{ "SYN, RST", TCP(4000, 80, SYN), TCP(80, 4000, RST), true },
	{ "ACK, RST-ACK", TCP(4000, 80, ACK), TCP(80, 4000, RST | ACK), true },
	{ "SYN, SYN", TCP(4000, 80, SYN), TCP(80, 4000, SYN), false },
	{ "ACK, SYN", TCP(4000, 80, ACK), TCP(80, 4000, SYN), false },
	{ "ACK, SYN-RST", TCP(4000, 80, ACK), TCP(80, 4000, SYN | RST), false },
	{ "ACK, FIN", TCP(4000, 80, ACK), TCP(80, 4000, FIN), false },
	{ "ACK, nothing set", TCP(4000, 80, ACK), TCP(80, 4000, 0), false },
	{ "RST, ACK", TCP(4000, 80, RST), TCP(80, 4000, ACK), false },
	{ "RST-ACK, ACK", TCP(4000, 80, RST | ACK), TCP(80, 4000, ACK), false },
	{ "TCP, other port there", TCP(4000, 80, ACK), TCP(81, 4000, ACK), false },
	{ "TCP, other port here", TCP(4000, 80, ACK), TCP(80, 4001, ACK), false },
	{ "TCP, ports the same way", TCP(4000, 80, ACK), TCP(4000, 80, ACK), false },
	{ "TCP, other host", TCP(4000, 80, ACK), { 6, 80, 4000, ACK, 1 }, false },
	{ "UDP", L4(17, 4000, 53), L4(17, 53, 4000), true },
	{ "UDP, other port", L4(17, 4000, 53), L4(17, 54, 4000), false },
	{ "UDP, TCP", L4(17, 4000, 53), TCP(53, 4000, ACK), false },
	{ "UDP-Lite", L4(136, 4000, 53), L4(136, 53, 4000), true },
	{ "SCTP", L4(132, 4000, 53), L4(132, 53, 4000), true },
	{ "SCTP, other port", L4(132, 4000, 53), L4(132, 53, 4001), false },
	{ "GRE", L4(47, 0, 1), L4(47, 0, 2), true },
	{ "ESP", L4(50, 1, 2), L4(50, 3, 4), true },
	{ "ESP, other host", L4(50, 1, 2), { 50, 3, 4, 0, 1 }, false },
	{ "GRE, ESP", L4(47, 0, 1), L4(50, 0, 1), false },
};

static const struct exchange pings[] = {
	{ "echo", L4(1, 8 << 8, 77), L4(1, 0, 77), true },
	{ "echo, other identifier", L4(1, 8 << 8, 77), L4(1, 0, 78), false },
	{ "echo, echo", L4(1, 8 << 8, 77), L4(1, 8 << 8, 77), false },
	{ "echo reply, echo reply", L4(1, 0, 77), L4(1, 0, 77), false },
	{ "timestamp", L4(1, 13 << 8, 77), L4(1, 14 << 8, 77), false },
	{ "echo, other host", L4(1, 8 << 8, 77), { 1, 0, 77, 0, 1 }, false },
};

static const struct exchange pings6[] = {
	{ "echo 6", L4(58, 128 << 8, 77), L4(58, 129 << 8, 77), true },
	{ "echo 6, other identifier", L4(58, 128 << 8, 77), L4(58, 129 << 8, 78), false },
	{ "echo 6, echo", L4(58, 128 << 8, 77), L4(58, 128 << 8, 77), false },
	{ "echo 6, ICMP reply's number", L4(58, 128 << 8, 77), L4(58, 0, 77), false },
};

/* Both ways: what leaves is answered by what comes in, and the reverse. */
static void check_exchange(const struct exchange *x, bool v6, bool inwards)
{
	struct frame sent, comes;

	make(&sent, v6, inwards ? TO_A : TO_B, x->sent);
	make(&comes, v6, inwards ? TO_B : TO_A, x->comes);
	forget_all();
	CHECK(!is_known(&comes, inwards), "%s: known before", x->what);
	pass(&sent, !inwards);
	CHECK(is_known(&comes, inwards) == x->known, "%s over IPv%d: %s", x->what, v6 ? 6 : 4,
	      x->known ? "not known" : "known");
	CHECK(!is_known(&comes, !inwards), "%s: known the other way", x->what);
}

static void learns(void)
{
	load();
	for (int way = 0; way < 2; way++) {
		for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++)
			for (int v6 = 0; v6 < 2; v6++)
				check_exchange(&exchanges[i], v6, way);
		for (size_t i = 0; i < sizeof(pings) / sizeof(pings[0]); i++)
			check_exchange(&pings[i], false, way);
		for (size_t i = 0; i < sizeof(pings6) / sizeof(pings6[0]); i++)
			check_exchange(&pings6[i], true, way);
	}
}

/* Neither ARP nor what can't be read leaves anything, and nothing answers it. */
static void learns_nothing(void)
{
	struct weir_reply_key k;
	struct frame f = { 0 };

	load();
	frame_ether(&f, 0x0806);
	frame_arp(&f);
	pass(&f, true);
	CHECK(!is_known(&f, false), "ARP is known");
	make(&f, false, TO_B, (struct layer4)TCP(4000, 80, ACK));
	f.n = 14 + 20 + 16; /* cut inside TCP */
	f.bytes[17] = 36;
	pass(&f, true);
	make(&f, false, TO_B, (struct layer4)L4(17, 4000, 53));
	f.bytes[21] = 100; /* a later fragment */
	pass(&f, true);
	CHECK_EQ(known_entries(&k), 0);
	make(&f, false, TO_B, (struct layer4)L4(17, 4000, 53));
	pass(&f, true);
	CHECK_EQ(known_entries(&k), 1);
	make(&f, false, TO_A, (struct layer4)L4(17, 53, 4000));
	CHECK(is_known(&f, false), "the answer is not known");
	f.bytes[20] = 0x20; /* its first fragment is one too */
	CHECK(is_known(&f, false), "the first fragment is not known");
	f.bytes[21] = 100;
	CHECK(!is_known(&f, false), "the later fragment is known");
}

/* Tags are of no account: answers may come over another VLAN. */
static void learns_behind_tags(void)
{
	struct frame plain, f = { 0 };

	load();
	make(&plain, false, TO_B, (struct layer4)L4(17, 4000, 53));
	frame_put(&f, plain.bytes, 12);
	PUT(&f, 0x81, 0, 0, 5);
	frame_put(&f, plain.bytes + 12, plain.n - 12);
	pass(&f, true);
	make(&f, false, TO_A, (struct layer4)L4(17, 53, 4000));
	CHECK(is_known(&f, false), "not known");
}

static void set_last(uint64_t seconds_ago)
{
	int fd = bpf_map__fd(ask->maps.weir_replies);
	struct weir_reply r = { 0 };
	struct weir_reply_key k;

	CHECK_EQ(known_entries(&k), 1);
	r.last = ask->bss->now - seconds_ago * (1000000000ULL / tick_ns);
	CHECK(!bpf_map_update_elem(fd, &k, &r, BPF_EXIST), "update: %s", strerror(errno));
}

static uint64_t get_last(void)
{
	int fd = bpf_map__fd(ask->maps.weir_replies);
	struct weir_reply r = { 0 };
	struct weir_reply_key k;

	CHECK_EQ(known_entries(&k), 1);
	CHECK(!bpf_map_lookup_elem(fd, &k, &r), "lookup: %s", strerror(errno));
	return r.last;
}

static void ages(void)
{
	static const struct {
		struct exchange x;
		uint64_t seconds;
	} cases[] = {
		{ { "TCP", TCP(4000, 80, SYN), TCP(80, 4000, SYN | ACK), true }, 432000 },
		{ { "UDP", L4(17, 4000, 53), L4(17, 53, 4000), true }, 180 },
		{ { "echo", L4(1, 8 << 8, 77), L4(1, 0, 77), true }, 30 },
		{ { "GRE", L4(47, 0, 1), L4(47, 0, 2), true }, 600 },
	};
	uint64_t last;

	load();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct exchange *x = &cases[i].x;
		struct frame sent, comes;

		make(&sent, false, TO_B, x->sent);
		make(&comes, false, TO_A, x->comes);
		forget_all();
		pass(&sent, true);
		CHECK(is_known(&comes, false), "%s: not known", x->what);
		set_last(cases[i].seconds - 5);
		CHECK(is_known(&comes, false), "%s: forgotten too early", x->what);
		set_last(cases[i].seconds + 1);
		CHECK(!is_known(&comes, false), "%s: remembered too long", x->what);
		pass(&sent, true);
		CHECK(is_known(&comes, false), "%s: not learnt again", x->what);
		last = get_last();
		test_sleep_ms(50);
		pass(&sent, true);
		CHECK_EQ(get_last(), last); /* written about once a second */
	}
}

/* ---- Essential */

static void set_hops(struct frame *f, bool v6, uint8_t hops)
{
	f->bytes[v6 ? 21 : 22] = hops;
}

static void essential_icmp(void)
{
	struct frame f;

	load();
	for (unsigned int type = 0; type < 256; type++) {
		bool error4 = type == 3 || type == 11 || type == 12;
		bool error6 = type >= 1 && type <= 4, nd = type >= 133 && type <= 137;

		make(&f, false, TO_A, (struct layer4)L4(1, (uint16_t)(type << 8), 1));
		CHECK_EQ(is_essential(&f, false), error4);
		CHECK_EQ(is_essential(&f, true), error4);
		make(&f, true, TO_A, (struct layer4)L4(58, (uint16_t)(type << 8), 1));
		CHECK_EQ(is_essential(&f, false), error6);
		set_hops(&f, true, 255);
		CHECK_EQ(is_essential(&f, false), error6 || nd);
		CHECK_EQ(is_essential(&f, true), error6 || nd);
		/* The other family's ICMP is none. */
		make(&f, true, TO_A, (struct layer4)L4(1, (uint16_t)(type << 8), 1));
		CHECK(!is_essential(&f, false), "ICMP type %u over IPv6", type);
		make(&f, false, TO_A, (struct layer4)L4(58, (uint16_t)(type << 8), 1));
		set_hops(&f, false, 255);
		CHECK(!is_essential(&f, false), "ICMPv6 type %u over IPv4", type);
	}
	make(&f, true, TO_A, (struct layer4)L4(58, 135 << 8 | 1, 1));
	set_hops(&f, true, 255);
	CHECK(!is_essential(&f, false), "a neighbour solicitation of code 1");
	make(&f, false, TO_A, (struct layer4)L4(1, 3 << 8 | 4, 1));
	CHECK(is_essential(&f, false), "fragmentation needed");
	f.bytes[21] = 9;
	CHECK(!is_essential(&f, false), "a later fragment of it");
}

static void essential_dhcp(void)
{
	static const struct {
		uint8_t proto;
		uint16_t sport, dport;
		bool v6, in, out;
	} cases[] = {
		{ 17, 67, 68, false, true, false },    { 17, 68, 67, false, false, true },
		{ 17, 67, 67, false, false, false },   { 17, 67, 68, true, false, false },
		{ 17, 547, 546, true, true, false },   { 17, 546, 547, true, false, true },
		{ 17, 547, 546, false, false, false }, { 6, 67, 68, false, false, false },
		{ 17, 53, 68, false, false, false },   { 17, 67, 69, false, false, false },
		{ 136, 67, 68, false, false, false },
	};
	struct frame f;

	load();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make(&f, cases[i].v6, TO_A,
		     (struct layer4)L4(cases[i].proto, cases[i].sport, cases[i].dport));
		CHECK_EQ(is_essential(&f, false), cases[i].in);
		CHECK_EQ(is_essential(&f, true), cases[i].out);
	}
}

static void essential_link(void)
{
	static const struct {
		unsigned int type;
		uint8_t dst[6];
		bool essential;
	} cases[] = {
		{ 0x88cc, { 1, 0x80, 0xc2, 0, 0, 0x0e }, true }, /* LLDP */
		{ 0x8809, { 1, 0x80, 0xc2, 0, 0, 2 }, true },	 /* LACP */
		{ 0x888e, { 1, 0x80, 0xc2, 0, 0, 3 }, true },	 /* 802.1X */
		{ 0x888e, { 2, 0, 0, 0, 0, 9 }, true },		 /* ...on a wireless LAN */
		{ 0x0026, { 1, 0x80, 0xc2, 0, 0, 0 }, true },	 /* spanning tree */
		{ 0x0026, { 1, 0x80, 0xc2, 0, 0, 0x10 }, false },
		{ 0x0026, { 1, 0x80, 0xc2, 0, 1, 0 }, false },
		{ 0x88cc, { 2, 0, 0, 0, 0, 9 }, false },
		{ 0x8864, { 2, 0, 0, 0, 0, 9 }, false }, /* PPPoE */
		{ 0x8847, { 2, 0, 0, 0, 0, 9 }, false }, /* MPLS */
	};
	struct frame f;

	load();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&f, 0, sizeof(f));
		frame_ether(&f, cases[i].type);
		memcpy(f.bytes, cases[i].dst, 6);
		frame_zeros(&f, 46);
		CHECK(is_essential(&f, false) == cases[i].essential, "case %zu", i);
		CHECK(is_essential(&f, true) == cases[i].essential, "case %zu out", i);
	}
	memset(&f, 0, sizeof(f));
	frame_ether(&f, 0x0806);
	frame_arp(&f);
	CHECK(is_essential(&f, false) && is_essential(&f, true), "ARP");
	make(&f, false, TO_A, (struct layer4)L4(17, 1, 2));
	memcpy(f.bytes, cases[0].dst, 6);
	CHECK(!is_essential(&f, false), "an IP packet to a group of the link");
	memset(&f, 0, sizeof(f));
	f.n = 10;
	frame_zeros(&f, 4); /* type 0, whose addresses are */
	CHECK(!is_essential(&f, false), "a frame of zeros");
}

/* ---- Fragments */

static void make_fragment(struct frame *f, bool v6, unsigned int offset, bool more)
{
	memset(f, 0, sizeof(*f));
	frame_ether(f, v6 ? 0x86dd : 0x0800);
	if (v6) {
		frame_ip6(f, 8 + 48, 44);
		frame_frag6(f, 17, offset, more);
	} else {
		frame_ip4(f, 5, 20 + 48, (more ? 0x2000 : 0) | offset / 8, 17);
	}
	frame_ports(f, 48);
}

static void remember(const struct frame *f, uint32_t row, uint32_t decision, uint32_t drop)
{
	ask->bss->row = row;
	ask->bss->decision = decision;
	ask->bss->drop = drop;
	run_xdp(ask->progs.remember_first, f);
}

static bool recall(const struct frame *f, uint32_t row)
{
	ask->bss->row = row;
	run_xdp(ask->progs.recall_first, f);
	return ask->bss->recalled;
}

static void fragments_follow(void)
{
	uint32_t allow = WEIR_POLICY_DECISION(3, WEIR_POLICY_ALLOW, 7);
	struct frame first, later, last;

	load();
	for (int v6 = 0; v6 < 2; v6++) {
		make_fragment(&first, v6, 0, true);
		make_fragment(&later, v6, 48, true);
		make_fragment(&last, v6, 96, false);
		CHECK(!recall(&later, 3), "known before its first one");
		ask->bss->flags = WEIR_SCRATCH_TEST;
		remember(&first, 3, allow, 0);
		ask->bss->flags = 0;
		CHECK(!recall(&later, 3), "a test run was remembered");
		remember(&first, 3, allow, 0);
		CHECK(recall(&later, 3) && recall(&last, 3), "not known");
		CHECK_EQ(ask->bss->first.decision, allow);
		CHECK_EQ(ask->bss->first.drop, 0);
		CHECK_EQ(ask->bss->first.end, 48);
		CHECK(!recall(&later, 4), "known at another row");
		later.bytes[v6 ? 61 : 19] ^= 1;
		CHECK(!recall(&later, 3), "another datagram is known");
		later.bytes[v6 ? 61 : 19] ^= 1;
		later.bytes[v6 ? 54 : 23] = 6; /* IPv6 goes without the protocol */
		CHECK(recall(&later, 3) == !!v6, "protocol");
		later.bytes[v6 ? 54 : 23] = 17;
		later.bytes[29] ^= 1;
		CHECK(!recall(&later, 3), "another source's is known");
		later.bytes[29] ^= 1;
		remember(&first, 3, allow, WEIR_DROP_LIMIT);
		CHECK(recall(&later, 3), "not known");
		CHECK_EQ(ask->bss->first.drop, WEIR_DROP_LIMIT);
	}
	make_fragment(&first, true, 0, false); /* an atomic one has no others */
	first.bytes[61] ^= 2;
	make_fragment(&later, true, 48, true);
	later.bytes[61] ^= 2;
	remember(&first, 3, allow, 0);
	CHECK(!recall(&later, 3), "an atomic fragment was remembered");
}

/* Headers behind the fragment's, which only the first one has. */
static void fragments_chains(void)
{
	struct frame first = { 0 }, later = { 0 };

	load();
	frame_ether(&first, 0x86dd);
	frame_ip6(&first, 8 + 16 + 24, 44);
	frame_frag6(&first, 60, 0, true);
	frame_ext(&first, 60, 17, 16);
	frame_ports(&first, 24);
	remember(&first, 1, 5, 0);
	make_fragment(&later, true, 40, true);
	later.bytes[54] = 60;
	CHECK(recall(&later, 1), "behind destination options");

	memset(&first, 0, sizeof(first));
	frame_ether(&first, 0x0800);
	frame_ip4(&first, 5, 20 + 24 + 24, 0x2000, 51);
	frame_ext(&first, 51, 17, 24);
	frame_ports(&first, 24);
	remember(&first, 1, 5, 0);
	make_fragment(&later, false, 48, true);
	later.bytes[23] = 51;
	CHECK(recall(&later, 1), "behind an authentication header");
}

/* A later fragment over the first one's bytes would change what the rules have read:
 * it and what follows is refused. */
static void fragments_overlap(void)
{
	struct frame first, later;

	load();
	for (int v6 = 0; v6 < 2; v6++) {
		make_fragment(&first, v6, 0, true);
		remember(&first, 3, WEIR_POLICY_DECISION(3, WEIR_POLICY_ALLOW, 7), 0);
		make_fragment(&later, v6, 48, true);
		CHECK(recall(&later, 3) && !ask->bss->first.drop, "the next one");
		make_fragment(&later, v6, 8, true);
		ask->bss->flags = WEIR_SCRATCH_TEST;
		CHECK(recall(&later, 3), "not known");
		ask->bss->flags = 0;
		make_fragment(&later, v6, 48, true);
		CHECK(recall(&later, 3) && !ask->bss->first.drop, "a test run changed it");
		make_fragment(&later, v6, 40, true);
		CHECK(recall(&later, 3), "not known");
		CHECK_EQ(ask->bss->first.drop, WEIR_DROP_FRAGMENT);
		CHECK_EQ(ask->bss->first.decision, WEIR_POLICY_DECISION(3, WEIR_POLICY_NONE, 0));
		make_fragment(&later, v6, 48, true);
		CHECK(recall(&later, 3), "not known");
		CHECK_EQ(ask->bss->first.drop, WEIR_DROP_FRAGMENT);
	}
}

static void fragments_expire(void)
{
	int fd = -1;
	struct weir_fragment_key k;
	struct weir_fragment v;
	struct frame first, later;

	load();
	fd = bpf_map__fd(ask->maps.weir_fragments);
	make_fragment(&first, false, 0, true);
	make_fragment(&later, false, 48, false);
	remember(&first, 3, 1, 0);
	CHECK(!bpf_map_get_next_key(fd, NULL, &k) && !bpf_map_lookup_elem(fd, &k, &v), "lookup");
	v.at = ask->bss->now - (WEIR_FRAGMENT_SECONDS - 5) * (1000000000ULL / tick_ns);
	CHECK(!bpf_map_update_elem(fd, &k, &v, BPF_EXIST), "update: %s", strerror(errno));
	CHECK(recall(&later, 3), "forgotten too early");
	v.at = ask->bss->now - (WEIR_FRAGMENT_SECONDS + 1) * (1000000000ULL / tick_ns);
	CHECK(!bpf_map_update_elem(fd, &k, &v, BPF_EXIST), "update: %s", strerror(errno));
	CHECK(!recall(&later, 3), "remembered too long");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "learns", learns },
		{ "learns_nothing", learns_nothing },
		{ "learns_behind_tags", learns_behind_tags },
		{ "ages", ages },
		{ "essential_icmp", essential_icmp },
		{ "essential_dhcp", essential_dhcp },
		{ "essential_link", essential_link },
		{ "fragments_follow", fragments_follow },
		{ "fragments_chains", fragments_chains },
		{ "fragments_overlap", fragments_overlap },
		{ "fragments_expire", fragments_expire },
	};

	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
