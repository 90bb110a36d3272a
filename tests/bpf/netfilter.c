/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter at netfilter: its fixed gate, the packets as its programs find them, and
 * what a kernel before 6.4 says.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/netfilter.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "bpf/gate.h"
#include "bpf/policy_stub.h"
#include "bpf/store.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "harness.h"
#include "policy/abi.h"

#include "filter_nf.skel.h"
#include "gates_nf.skel.h"
#include "nf_seen.skel.h"

#define PORT 7777
#define RULE 7
#define PRIORITY_IN (-460)
#define PRIORITY_OUT 310

/* As in nf_seen.bpf.c. */
struct seen {
	struct weir_scratch s;
	uint32_t ifindex, len;
	uint64_t packets;
	uint32_t bytes, pad;
};

static struct weir_error err;
static struct gates_nf_bpf *gate;
static struct filter_nf_bpf *filter;
static struct nf_seen_bpf *look;

/* ---- Helpers */

static bool is_before_6_4(void)
{
	struct utsname u;
	int major, minor;

	return !uname(&u) && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 4));
}

/* The gate at prerouting and postrouting, of both families. */
static void begin(void)
{
	static const uint32_t families[] = { NFPROTO_IPV4, NFPROTO_IPV6 };
	int fd;

	weir_load_setup();
	gate = gates_nf_bpf__open();
	CHECK(gate, "open: %s", strerror(errno));
	if (weir_load(gate->obj, NULL, &err)) {
		CHECK(is_before_6_4() && strstr(err.msg, "this kernel does not know the program"),
		      "%s", err.msg);
		SKIP("%s", err.msg);
	}
	fd = bpf_program__fd(gate->progs.weir_filter_nfg);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(families); i++) {
		CHECK_OK(
			weir_sys_netfilter_link(fd, families[i], NF_INET_PRE_ROUTING, PRIORITY_IN));
		CHECK_OK(weir_sys_netfilter_link(fd, families[i], NF_INET_POST_ROUTING,
						 PRIORITY_OUT));
	}
}

static void fill_slot(const struct bpf_program *p)
{
	int fd = bpf_program__fd(p);
	uint32_t zero = 0;

	CHECK(!bpf_map_update_elem(bpf_map__fd(gate->maps.weir_nf_slot), &zero, &fd, BPF_ANY),
	      "slot: %s", strerror(errno));
}

static void empty_slot(void)
{
	uint32_t zero = 0;

	CHECK(!bpf_map_delete_elem(bpf_map__fd(gate->maps.weir_nf_slot), &zero), "slot: %s",
	      strerror(errno));
}

/* A policy by hand: ICMP and ICMPv6 are denied, on every interface, where the key's
 * direction is that of @out. */
static void load_filter(bool out)
{
	const uint32_t none = WEIR_POLICY_DECISION(0, WEIR_POLICY_NONE, 0);
	const uint32_t deny = WEIR_POLICY_DECISION(0, WEIR_POLICY_DENY, RULE);
	const struct bpf_insn code[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_B,
		  .dst_reg = 1,
		  .src_reg = 6,
		  .off = offsetof(struct weir_scratch, pkt.proto) },
		{ .code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 7, .imm = 31 },
		{ .code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = 0, .imm = (int32_t)none },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 7, .imm = out, .off = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 1, .imm = IPPROTO_ICMP, .off = 2 },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K,
		  .dst_reg = 1,
		  .imm = IPPROTO_ICMPV6,
		  .off = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = 0, .imm = (int32_t)deny },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	filter = filter_nf_bpf__open();
	CHECK(filter, "open: %s", strerror(errno));
	CHECK_OK(weir_load_policy(filter->obj, code, WEIR_ARRAY_SIZE(code), &err));
}

static struct weir_filter_account account(void)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree struct weir_filter_account *v = calloc(cpus, sizeof(*v));
	struct weir_filter_account sum = { 0 };
	uint32_t zero = 0;

	CHECK(!bpf_map_lookup_elem(bpf_map__fd(filter->maps.weir_account), &zero, v), "lookup: %s",
	      strerror(errno));
	for (size_t i = 0; i < cpus; i++) {
		sum.seen += v[i].seen;
		sum.passed += v[i].passed;
		sum.dropped[WEIR_DROP_RULE] += v[i].dropped[WEIR_DROP_RULE];
	}
	return sum;
}

static bool ping(const char *to)
{
	char command[96];

	snprintf(command, sizeof(command), "ping -n -c 1 -W 1 %s >/dev/null 2>&1", to);
	return system(command) == 0;
}

static int bind_udp(const char *to)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	CHECK(inet_pton(AF_INET6, to, &a.sin6_addr) == 1 &&
		      !bind(fd, (struct sockaddr *)&a, sizeof(a)),
	      "bind: %s", strerror(errno));
	return fd;
}

static int connect_udp(const char *to)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	CHECK(inet_pton(AF_INET6, to, &a.sin6_addr) == 1 &&
		      !connect(fd, (struct sockaddr *)&a, sizeof(a)),
	      "connect: %s", strerror(errno));
	return fd;
}

static struct seen take_seen(bool out)
{
	uint32_t key = out;
	struct seen s;

	CHECK(!bpf_map_lookup_elem(bpf_map__fd(look->maps.weir_nf_seen), &key, &s), "lookup: %s",
	      strerror(errno));
	return s;
}

static void load_look(void)
{
	look = nf_seen_bpf__open();
	CHECK(look, "open: %s", strerror(errno));
	CHECK_OK(weir_load(look->obj, NULL, &err));
	fill_slot(look->progs.weir_nf_look);
}

/* ---- The gate and the filter */

static void drops_icmp(void)
{
	begin();
	CHECK(ping("127.0.0.1") && ping("::1"), "no ping through an empty slot");
	for (int out = 0; out < 2; out++) {
		int server = bind_udp("::"), client = connect_udp("::ffff:127.0.0.1");
		struct weir_filter_account a;
		char buf[8];

		load_filter(out);
		fill_slot(filter->progs.weir_filter_nf);
		CHECK(!ping("127.0.0.1") && !ping("::1"), "ping passes");
		CHECK(send(client, "x", 1, 0) == 1 && recv(server, buf, sizeof(buf), 0) == 1,
		      "UDP does not pass");
		a = account();
		CHECK_EQ(a.dropped[WEIR_DROP_RULE], 2);
		CHECK_EQ(a.seen, a.passed + 2);
		/* Again open, at once. */
		empty_slot();
		CHECK(ping("127.0.0.1") && ping("::1"), "no ping through an emptied slot");
		close(server);
		close(client);
		filter_nf_bpf__destroy(filter);
	}
}

/* A test run is known as one, and counts nothing. */
static void test_run_counts_nothing(void)
{
	/* The kernel's struct nf_hook_state, of which a test run may set two. */
	struct {
		uint8_t hook, pf;
		void *in, *out, *sk, *net, *okfn;
	} state = { .hook = NF_INET_PRE_ROUTING, .pf = NFPROTO_IPV4 };
	uint8_t frame[64] = { 2, 0, 0,	  0, 0, 1,  2, 0, 0, 0, 0,  2,
			      8, 0, 0x45, 0, 0, 50, 0, 1, 0, 0, 64, IPPROTO_ICMP };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &state, .ctx_size_in = sizeof(state), .repeat = 1);
	int code;

	begin();
	load_filter(false);
	fill_slot(filter->progs.weir_filter_nf);
	code = bpf_prog_test_run_opts(bpf_program__fd(gate->progs.weir_filter_nfg), &opts);
	CHECK(!code, "test run: %s", strerror(-code));
	CHECK_EQ(opts.retval, 0); /* NF_DROP */
	CHECK_EQ(account().seen, 0);
	CHECK(!ping("127.0.0.1"), "ping passes");
	CHECK_EQ(account().dropped[WEIR_DROP_RULE], 1);
}

/* Two processes that send, and what interrupts them: every packet is judged once in
 * each direction, and none is lost for want of a record. */
static void many_at_once(void)
{
	const unsigned int n = 30000;
	pid_t pid[2];
	struct weir_filter_account a;

	begin();
	load_filter(false);
	fill_slot(filter->progs.weir_filter_nf);
	bind_udp("::");
	for (int i = 0; i < 2; i++) {
		fflush(stdout);
		pid[i] = fork();
		if (!pid[i]) {
			int fd = connect_udp(i ? "::1" : "::ffff:127.0.0.1");

			for (unsigned int k = 0; k < n; k++)
				CHECK(send(fd, "x", 1, 0) == 1, "send: %s", strerror(errno));
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++) {
		int status;

		CHECK(waitpid(pid[i], &status, 0) == pid[i] && !status, "a sender failed");
	}
	CHECK(EVENTUALLY(account().seen >= 4 * n), "judged %llu of %u",
	      (unsigned long long)account().seen, 4 * n);
	a = account();
	CHECK_EQ(a.seen, 4 * n);
	CHECK_EQ(a.passed, 4 * n);
}

/* ---- The packet as it is found */

static void on_loopback(void)
{
	static const struct {
		const char *to;
		uint32_t flags, l4;
	} cases[] = { { "::ffff:127.0.0.1", WEIR_PKT_IP4, 20 }, { "::1", WEIR_PKT_IP6, 40 } };

	begin();
	load_look();
	bind_udp("::");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		int fd = connect_udp(cases[i].to);

		CHECK_EQ(send(fd, "weir.", 5, 0), 5);
		for (int out = 0; out < 2; out++) {
			struct seen s = take_seen(out);

			CHECK_EQ(s.packets, i + 1);
			CHECK_EQ(s.s.pkt.flags, cases[i].flags | WEIR_PKT_PORTS);
			CHECK_EQ(s.s.pkt.l4_off, cases[i].l4);
			CHECK_EQ(s.s.pkt.payload_off, cases[i].l4 + 8);
			CHECK_EQ(s.s.flags, 0);
			CHECK_EQ(s.ifindex, if_nametoindex("lo"));
			CHECK_EQ(s.len, cases[i].l4 + 8 + 5);
			CHECK(!memcmp(&s.bytes, "weir", 4), "other bytes");
		}
	}
}

/* Headers that lie in the fragments of a large skb: the sender says how much of it
 * is linear, and that ends before the extension headers do. */
#define FRAME 6000
#define EXT 64 /* bytes of each of the two */
#define UDP_AT (40 + 2 * EXT)

static void make_split(uint8_t *frame)
{
	uint8_t *ip = frame + 14, *udp = ip + UDP_AT;
	const uint16_t len = FRAME - 14;

	memset(frame, 0, FRAME);
	memset(frame, 0xff, 6); /* to anybody */
	frame[6] = 2;
	frame[12] = 0x86;
	frame[13] = 0xdd;
	ip[0] = 0x60;
	ip[4] = (uint8_t)((len - 40) >> 8);
	ip[5] = (uint8_t)(len - 40);
	ip[6] = 60; /* destination options, twice, all padding */
	ip[7] = 64;
	ip[8] = ip[24] = 0x20;
	ip[23] = 2;
	ip[39] = 1;
	ip[40] = 60;
	ip[40 + EXT] = IPPROTO_UDP;
	for (int i = 0; i < 2; i++) {
		ip[40 + i * EXT + 1] = EXT / 8 - 1;
		ip[40 + i * EXT + 2] = 1; /* PadN */
		ip[40 + i * EXT + 3] = EXT - 4;
	}
	udp[0] = 1;
	udp[2] = PORT >> 8;
	udp[3] = PORT & 255;
	udp[4] = (uint8_t)((len - UDP_AT) >> 8);
	udp[5] = (uint8_t)(len - UDP_AT);
	memcpy(udp + 8, "weir", 4);
}

static void in_fragments(void)
{
	struct {
		struct virtio_net_hdr vnet;
		uint8_t frame[FRAME];
	} __attribute__((packed)) out = { .vnet.hdr_len = 14 + 40 };
	struct veth v = test_veth();
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(v.b) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
	struct seen s;

	test_run("ip link set %s mtu 9000 && ip link set %s mtu 9000", v.a, v.b);
	begin();
	load_look();
	make_split(out.frame);
	CHECK(!setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), "vnet: %s",
	      strerror(errno));
	CHECK(sendto(fd, &out, sizeof(out), 0, (struct sockaddr *)&to, sizeof(to)) ==
		      (ssize_t)sizeof(out),
	      "sendto: %s", strerror(errno));
	CHECK(EVENTUALLY(take_seen(false).packets == 1), "not seen");
	s = take_seen(false);
	CHECK_EQ(s.ifindex, if_nametoindex(v.a));
	CHECK_EQ(s.len, FRAME - 14);
	CHECK_EQ(s.s.pkt.l4_off, UDP_AT);
	CHECK_EQ(s.s.pkt.proto, IPPROTO_UDP);
	CHECK(s.s.pkt.flags & WEIR_PKT_IP_OPTIONS && !(s.s.pkt.flags & WEIR_PKT_TRUNCATED),
	      "flags %x", s.s.pkt.flags);
	CHECK(!memcmp(&s.bytes, "weir", 4), "other bytes");
}

static const struct test tests[] = {
	{ "drops_icmp", drops_icmp },	  { "test_run_counts_nothing", test_run_counts_nothing },
	{ "many_at_once", many_at_once }, { "on_loopback", on_loopback },
	{ "in_fragments", in_fragments },
};

int main(int argc, char **argv)
{
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
