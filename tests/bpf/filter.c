/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter against an oracle: generated frames and generated policies, in force
 * through the engine, judged by the real programs in two ways. Live: the frames go
 * through a veth pair, and what came through, the account and every rule's hits must
 * be the oracle's, frame by frame and to the last byte. As test runs: verdict, reason
 * and rule of every frame.
 *
 * WEIR_LONG=1: more than a million frames. WEIR_SEED=N: other dice. WEIR_POLICY=N: that
 * policy only.
 */
#include "policy/engine.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netfilter.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "filter_frames.h"
#include "filter_oracle.h"
#include "filter_rules.h"
#include "harness.h"
#include "policy/engine_impl.h"

#include "sink_nf.skel.h"
#include "sink_tc.skel.h"
#include "try.skel.h"

#define BATCH 2048
#define PARTS 2	 /* batches of a policy, with a change between them */
#define CHUNK 64 /* frames under way at a time: a veth's ring holds 256 */
#define WAIT_MS 3000
#define SHOWN 3		  /* differences of one batch that are shown */
#define TEST_RUN_MAX 3000 /* bytes: tc takes less than a page */
#define PRIORITY_NOTE_IN (-461)
#define PRIORITY_SINK_IN (-459)
#define PRIORITY_NOTE_OUT 309
#define PRIORITY_SINK_OUT 311
#define TAG_ROOM 20 /* a frame with a tag and less than this the stack does not take */

enum place {
	ON_ETHERNET,
	BEHIND_GENERIC, /* ...after a program at XDP in generic mode */
	ON_TUN,		/* no layer 2 */
};

struct way {
	const char *name, *words; /* of the interface's line */
	enum weir_policy_hook hook;
	bool out;
	enum place place;
	unsigned int policies, policies_long;
	uint64_t seed;
};

static const struct way ways[] = {
	{ "xdp_native", "mode native", WEIR_HOOK_XDP, false, ON_ETHERNET, 6, 70, 11 },
	{ "xdp_generic", "mode generic", WEIR_HOOK_XDP, false, ON_ETHERNET, 6, 60, 12 },
	{ "xdp_tun", "mode generic", WEIR_HOOK_XDP, false, ON_TUN, 3, 10, 28 },
	{ "tc_in", "hook tc", WEIR_HOOK_TC, false, ON_ETHERNET, 4, 20, 13 },
	{ "tc_behind_generic", "hook tc", WEIR_HOOK_TC, false, BEHIND_GENERIC, 4, 20, 17 },
	{ "tc_tun", "hook tc", WEIR_HOOK_TC, false, ON_TUN, 3, 10, 19 },
	{ "tc_out", "hook tc direction out", WEIR_HOOK_TC, true, ON_ETHERNET, 4, 20, 14 },
	{ "netfilter_in", "hook netfilter", WEIR_HOOK_NETFILTER, false, ON_ETHERNET, 4, 20, 15 },
	{ "netfilter_out", "hook netfilter direction out", WEIR_HOOK_NETFILTER, true,
	  ON_ETHERNET, 4, 20, 16 },
};

/* As in sink_nf.bpf.c. */
struct noted {
	uint32_t len, n, times, pad;
	uint8_t bytes[WEIR_PKT_HDR_MAX];
};

struct list {
	struct weir_prefix *v;
	size_t n;
};

/* Everything of one way: the test's process has only one. */
static struct {
	const struct way *way;
	struct veth pair, other;
	struct weir_filter f;
	struct frame_world world;
	struct weir_craft batch[BATCH];
	struct weir_buf text;
	struct list sets[RULES_SETS];
	size_t n_sets;
	struct weir_prefix near[RULES_SETS * 64];
	bool timed[2]; /* the policy has limits: of bits, of packets */
	uint64_t began;
	unsigned int epoch;
	int fd, raw4, raw6, tun;
	volatile uint8_t *sunk; /* by mark */
	struct noted *noted;	/* by mark */
	int prog_fd, pin_fd;	/* for test runs; of the program in force */
	struct try_bpf *gate;
	uint32_t ifindex;
	struct weir_generation trial;
	uint64_t live, tried, skipped, refused, differences, wrong_here;
	uint64_t reasons[WEIR_DROP_REASONS], rules;
} t;

static struct judge oracle;
static struct weir_error err;

/* ---- The place */

static void make_pair(struct veth *v, const char *kind, bool ip6)
{
	unsigned int pid = (unsigned int)getpid() % 1000000;

	snprintf(v->a, sizeof(v->a), "w%sa%u", kind, pid);
	snprintf(v->b, sizeof(v->b), "w%sb%u", kind, pid);
	test_run("ip link add %s mtu 9000 type veth peer name %s mtu 9000", v->a, v->b);
	test_run("ip link set %s address 02:00:00:00:00:01 addrgenmode none arp off", v->a);
	if (ip6)
		test_run("echo 0 >/proc/sys/net/ipv6/conf/%s/disable_ipv6", v->a);
	test_run("ip link set %s up && ip link set %s up", v->a, v->b);
}

/* Frames are written by its descriptor, which is the other end. */
static void make_tun(void)
{
	struct ifreq r = { .ifr_flags = IFF_TUN | IFF_NO_PI };

	snprintf(t.pair.a, sizeof(t.pair.a), "wt%u", (unsigned int)getpid() % 1000000);
	memcpy(r.ifr_name, t.pair.a, sizeof(t.pair.a));
	t.tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (t.tun < 0)
		SKIP("no tun: %s", strerror(errno));
	CHECK(!ioctl(t.tun, TUNSETIFF, &r), "tun: %s", strerror(errno));
	test_run("ip link set %s mtu 9000 addrgenmode none up", t.pair.a);
}

static void add_sink(const char *dev)
{
	test_run("tc qdisc add dev %s clsact && tc filter add dev %s ingress prio 60000 "
		 "bpf da object-pinned /sys/fs/bpf/sink",
		 dev, dev);
}

static void place_tc(void)
{
	struct sink_tc_bpf *sink = sink_tc_bpf__open();
	void *mem;

	CHECK(sink, "open: %s", strerror(errno));
	CHECK_OK(weir_load(sink->obj, NULL, &err));
	CHECK(!bpf_program__pin(sink->progs.weir_sink, "/sys/fs/bpf/sink"), "pin: %s",
	      strerror(errno));
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		   bpf_map__fd(sink->maps.weir_sunk), 0);
	CHECK(mem != MAP_FAILED, "mmap: %s", strerror(errno));
	t.sunk = mem;
	if (*t.pair.b)
		add_sink(t.pair.b);
	if (t.way->hook != WEIR_HOOK_NETFILTER || t.way->out)
		add_sink(t.pair.a);
	if (t.way->place != BEHIND_GENERIC)
		return;
	CHECK(!bpf_program__pin(sink->progs.weir_pass, "/sys/fs/bpf/pass"), "pin: %s",
	      strerror(errno));
	test_run("ip link set %s xdpgeneric pinned /sys/fs/bpf/pass", t.pair.a);
}

static void place_nf(void)
{
	static const uint32_t families[] = { NFPROTO_IPV4, NFPROTO_IPV6 };
	struct sink_nf_bpf *sink = sink_nf_bpf__open();
	uint32_t hook = t.way->out ? NF_INET_POST_ROUTING : NF_INET_PRE_ROUTING;
	void *mem;

	CHECK(sink, "open: %s", strerror(errno));
	if (weir_load(sink->obj, NULL, &err))
		SKIP("no netfilter programs: %s", err.msg);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(families); i++) {
		CHECK_OK(weir_sys_netfilter_link(
			bpf_program__fd(sink->progs.weir_nf_note), families[i], hook,
			t.way->out ? PRIORITY_NOTE_OUT : PRIORITY_NOTE_IN));
		CHECK_OK(weir_sys_netfilter_link(
			bpf_program__fd(sink->progs.weir_nf_sink), families[i], hook,
			t.way->out ? PRIORITY_SINK_OUT : PRIORITY_SINK_IN));
	}
	mem = mmap(NULL, sizeof(struct noted) * (BATCH + 1), PROT_READ | PROT_WRITE, MAP_SHARED,
		   bpf_map__fd(sink->maps.weir_noted), 0);
	CHECK(mem != MAP_FAILED, "mmap: %s", strerror(errno));
	t.noted = mem;
}

static void open_sockets(void)
{
	int on = 1, off = 0;

	t.fd = socket(AF_PACKET, SOCK_RAW, 0);
	CHECK(t.fd >= 0 && !setsockopt(t.fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)),
	      "packet socket: %s", strerror(errno));
	if (t.way->hook != WEIR_HOOK_NETFILTER || !t.way->out)
		return;
	/* What leaves is made by raw sockets, which take any header. */
	test_run("ip addr add 198.18.0.2/24 dev %s && ip addr add 2001:db8:ff::1/128 dev lo && "
		 "ip route add 2001:db8:fe::/64 dev %s",
		 t.pair.a, t.pair.a);
	t.raw4 = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	t.raw6 = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
	CHECK(t.raw4 >= 0 && t.raw6 >= 0, "raw socket: %s", strerror(errno));
	CHECK(!setsockopt(t.raw6, SOL_IPV6, IPV6_HDRINCL, &on, sizeof(on)), "hdrincl: %s",
	      strerror(errno));
	/* The copy that comes back would go through the hook as well. */
	CHECK(!setsockopt(t.raw6, SOL_IPV6, IPV6_MULTICAST_LOOP, &off, sizeof(off)), "loop: %s",
	      strerror(errno));
}

static void enter(const struct way *way)
{
	cpu_set_t one;

	t.way = way;
	/* Frames must come in the order in which they were sent. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	test_run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	if (way->place == ON_TUN)
		make_tun();
	else
		make_pair(&t.pair, "o", way->hook == WEIR_HOOK_NETFILTER);
	make_pair(&t.other, "d", false);
	test_run("ethtool -K %s gro off", t.pair.a);
	weir_load_setup();
	place_tc();
	if (way->hook == WEIR_HOOK_NETFILTER)
		place_nf();
	open_sockets();
	t.ifindex = if_nametoindex(t.pair.a);
	t.pin_fd = -1;
}

/* ---- Send */

static void send_marked(int fd, const void *to, socklen_t to_len, const void *bytes, size_t n,
			bool vnet, uint32_t mark)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(mark))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(mark)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SO_MARK } };
	/* Of a large frame only so much is linear. */
	struct virtio_net_hdr head = { .hdr_len = n > 4000 ? (uint16_t)(14 + n % 100) : 0 };
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)(uintptr_t)bytes, n } };
	struct msghdr m = {
		.msg_name = (void *)(uintptr_t)to,
		.msg_namelen = to_len,
		.msg_iov = vnet ? iov : iov + 1,
		.msg_iovlen = vnet ? 2 : 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.head), &mark, sizeof(mark));
	/* A drop on the way out is told as ENOBUFS or EPERM; what the stack does not
	 * take, by others. Whether it came is seen behind. */
	(void)!sendmsg(fd, &m, 0);
}

static void send_frame(const struct weir_craft *f, const char *from, uint32_t mark)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(from) };
	size_t skip = t.tun ? ETH_HLEN : 0;

	send_marked(t.fd, &to, sizeof(to), f->frame + skip, f->len - skip, true, mark);
}

static void send_raw(const struct weir_craft *f, uint32_t mark)
{
	static const struct sockaddr_in to4 = { .sin_family = AF_INET,
						.sin_addr.s_addr = 0x010012c6 };
	static const struct sockaddr_in6 to6 = {
		.sin6_family = AF_INET6,
		.sin6_addr.s6_addr = { 0x20, 1, 0x0d, 0xb8, 0, 0xfe, [15] = 1 },
	};

	if (f->frame[12] == 8 && f->frame[13] == 0)
		send_marked(t.raw4, &to4, sizeof(to4), f->frame + 14, f->len - 14, false, mark);
	else if (f->frame[12] == 0x86 && f->frame[13] == 0xdd)
		send_marked(t.raw6, &to6, sizeof(to6), f->frame + 14, f->len - 14, false, mark);
}

static void send_live(const struct weir_craft *f, uint32_t mark)
{
	static int to_ifindex;
	struct sockaddr_ll to = { .sll_family = AF_PACKET };

	if (t.tun) {
		(void)!write(t.tun, f->frame + ETH_HLEN, f->len - ETH_HLEN);
		return;
	}
	if (t.raw4) {
		send_raw(f, mark);
		return;
	}
	if (!to_ifindex)
		to_ifindex = (int)if_nametoindex(t.way->out ? t.pair.a : t.pair.b);
	to.sll_ifindex = to_ifindex;
	send_marked(t.fd, &to, sizeof(to), f->frame, f->len, true, mark);
}

/* ---- What the programs counted */

static const struct weir_policy_iface *our_iface(void)
{
	const struct weir_policy_iface *i =
		weir_policy_find_iface(t.f.policy, t.pair.a, t.way->hook, t.way->out);

	CHECK(i, "the interface is not in the policy");
	return i;
}

static struct weir_filter_account account(void)
{
	static struct weir_filter_account *v;
	struct weir_filter_account sum = { 0 };
	uint32_t row = our_iface()->index;
	size_t cpus = (size_t)weir_sys_cpus();

	if (!v)
		v = calloc(cpus, sizeof(*v));
	CHECK(v && !bpf_map_lookup_elem(t.f.account_fd, &row, v), "account: %s", strerror(errno));
	for (size_t i = 0; i < cpus; i++)
		for (size_t k = 0; k < sizeof(sum) / 8; k++)
			((uint64_t *)&sum)[k] += ((const uint64_t *)&v[i])[k];
	return sum;
}

static void add_account(struct weir_filter_account *to, const struct weir_filter_account *from,
			bool minus)
{
	for (size_t k = 0; k < sizeof(*to) / 8; k++)
		((uint64_t *)to)[k] += ((const uint64_t *)from)[k] * (minus ? -1ULL : 1);
}

static struct weir_rule_hits hits_of(size_t i)
{
	struct weir_rule_hits h = { 0 };

	CHECK_OK(weir_rules_hits(&t.f.rules, oracle.rules[i].id, &h));
	return h;
}

static bool wait_for(uint64_t seen)
{
	for (int ms = 0; ms < WAIT_MS; ms++) {
		if (account().seen >= seen)
			return true;
		test_sleep_ms(1);
	}
	return false;
}

/* ---- Differences */

static void show_frame(const struct weir_craft *f)
{
	for (size_t i = 0; i < f->len && i < 600; i++)
		printf("%02x", f->frame[i]);
	printf("%s (%zu bytes)\n", f->len > 600 ? "..." : "", f->len);
}

static void show_policy(void)
{
	if (t.wrong_here)
		return;
	printf("# %s, policy %u:\n%.*s", t.way->name, t.epoch, (int)t.text.len, t.text.data);
	for (size_t i = 0; i < t.n_sets; i++) {
		printf("# s%zu:", i);
		for (size_t k = 0; k < t.sets[i].n && k < 40; k++) {
			char text[WEIR_ADDR_STRLEN];

			printf(" %s", weir_prefix_str(&t.sets[i].v[k], text));
		}
		printf("%s (%zu)\n", t.sets[i].n > 40 ? " ..." : "", t.sets[i].n);
	}
}

static const char *rule_name(uint32_t id)
{
	for (size_t i = 0; i < oracle.n_rules; i++)
		if (oracle.rules[i].id == id)
			return oracle.rules[i].rule->name;
	return id ? "another" : "none";
}

__attribute__((format(printf, 3, 4)))
static void differ(const struct weir_craft *f, const struct oracle_ruling *want,
		   const char *fmt, ...)
{
	va_list ap;

	show_policy();
	t.differences++;
	if (t.wrong_here++ >= SHOWN)
		return;
	va_start(ap, fmt);
	printf("# difference: ");
	vprintf(fmt, ap);
	va_end(ap);
	if (want)
		printf("; the oracle: reason %u rule %s flags %u", want->reason,
		       rule_name(want->rule), want->flags);
	printf("\n");
	if (f) {
		printf("#   ");
		show_frame(f);
	}
	fflush(stdout);
}

/* ---- Judge */

static bool has_tag(const struct weir_craft *c)
{
	return (c->frame[12] == 0x81 && c->frame[13] == 0) ||
	       (c->frame[12] == 0x88 && c->frame[13] == 0xa8);
}

/* Does it have a first byte, and one of IP, behind the Ethernet header? Else tun takes
 * no packet. */
static bool is_plain_ip(const struct weir_craft *c)
{
	return c->len > ETH_HLEN && (c->frame[ETH_HLEN] >> 4 == 4 || c->frame[ETH_HLEN] >> 4 == 6);
}

/* What the hook makes of frame @i; false: it does not come there. */
static bool as_seen(size_t i, uint8_t *room, struct oracle_frame *ret)
{
	const struct weir_craft *c = &t.batch[i];

	*ret = (struct oracle_frame){ .bytes = c->frame, .n = c->len, .ether = true };
	if (t.noted) {
		const struct noted *r = &t.noted[i + 1];

		*ret = (struct oracle_frame){ .bytes = r->bytes, .n = r->n, .wire = r->len };
		return r->len;
	}
	if (t.tun) {
		*ret = (struct oracle_frame){ .bytes = c->frame + ETH_HLEN,
					      .n = c->len - ETH_HLEN };
		return is_plain_ip(c);
	}
	if (t.way->hook != WEIR_HOOK_TC || t.way->out)
		return true;
	/* The stack has taken the outer tag out before tc sees what comes in. */
	if (has_tag(c)) {
		if (c->len < TAG_ROOM)
			return false;
		memcpy(room, c->frame, 12);
		memcpy(room + 12, c->frame + 16, c->len - 16);
		ret->bytes = room;
		ret->n = c->len - 4;
		ret->vlan_meta = oracle_number(c->frame + 12, 4);
	}
	return true;
}

static bool came_through(size_t i)
{
	return t.noted ? t.noted[i + 1].times : t.sunk[i + 1];
}

/* Between the filter and what looks for it behind the stack may lose a frame. */
static bool is_lost(size_t i)
{
	/* tun knows no marks. */
	return t.tun || (!t.noted && has_tag(&t.batch[i]) && t.batch[i].len < TAG_ROOM);
}

/* Does time change what the limits of the policy say by now? */
static bool is_late(void)
{
	uint64_t age = weir_clock_mono() - t.began;

	return (t.timed[0] && age > 3 * ORACLE_SECOND) ||
	       (t.timed[1] && age > 9 * ORACLE_SECOND / 10);
}

static void compare_account(const struct weir_filter_account *want,
			    const struct weir_filter_account *got)
{
	static const char *const words[] = { "seen", "seen bytes", "passed", "replies",
					     "essential" };
	const uint64_t *a = (const uint64_t *)want, *b = (const uint64_t *)got;
	const size_t fixed = WEIR_ARRAY_SIZE(words);

	for (size_t k = 0; k < sizeof(*want) / 8; k++) {
		bool bytes = k >= fixed + WEIR_DROP_REASONS;
		const char *word = weir_filter_reasons[(k + WEIR_DROP_REASONS - fixed) %
						       WEIR_DROP_REASONS];

		if (a[k] != b[k])
			differ(NULL, NULL, "live: account: %s%s: %llu, the oracle %llu",
			       k < fixed ? words[k] : word ? word : "none", bytes ? " bytes" : "",
			       (unsigned long long)b[k], (unsigned long long)a[k]);
	}
}

static struct weir_rule_hits hits_before[ORACLE_RULES];

static void compare_hits(void)
{
	for (size_t i = 0; i < oracle.n_rules; i++) {
		struct weir_rule_hits now = hits_of(i);
		uint64_t hits = now.hits - hits_before[i].hits;
		uint64_t bytes = now.bytes - hits_before[i].bytes;

		if (hits != oracle.rules[i].hits || bytes != oracle.rules[i].bytes)
			differ(NULL, NULL,
			       "live: hits of %s: %llu (%llu bytes), the oracle %llu (%llu)",
			       oracle.rules[i].rule->name, (unsigned long long)hits,
			       (unsigned long long)bytes, (unsigned long long)oracle.rules[i].hits,
			       (unsigned long long)oracle.rules[i].bytes);
	}
}

static void send_batch(const struct weir_filter_account *before)
{
	uint64_t expected = before->seen;
	uint8_t room[WEIR_CRAFT_MAX];
	struct oracle_frame f;

	memset((void *)(uintptr_t)t.sunk, 0, 4096);
	if (t.noted)
		memset(t.noted, 0, sizeof(*t.noted) * (BATCH + 1));
	for (size_t i = 0; i < BATCH; i++) {
		send_live(&t.batch[i], (uint32_t)i + 1);
		expected += !t.noted && as_seen(i, room, &f);
		if (!t.noted && (i % CHUNK == CHUNK - 1 || i == BATCH - 1) && !wait_for(expected))
			break;
	}
	/* The last one reaches any hook, so that those before it have. */
	for (int ms = 0; t.noted && !((volatile struct noted *)t.noted)[BATCH].len; ms++) {
		CHECK(ms < WAIT_MS, "the last packet did not come");
		test_sleep_ms(1);
	}
}

static void live_batch(void)
{
	struct weir_filter_account before = account(), after;
	uint8_t room[WEIR_CRAFT_MAX];
	struct oracle_ruling want[BATCH];
	bool seen[BATCH];

	for (size_t i = 0; i < oracle.n_rules; i++) {
		hits_before[i] = hits_of(i);
		oracle.rules[i].hits = oracle.rules[i].bytes = 0;
	}
	memset(&oracle.account, 0, sizeof(oracle.account));
	send_batch(&before);
	for (size_t i = 0; i < BATCH; i++) {
		struct oracle_frame f;

		seen[i] = as_seen(i, room, &f);
		if (seen[i])
			want[i] = oracle_judge(&oracle, &f, true);
	}
	wait_for(before.seen + oracle.account.seen);
	after = account();
	add_account(&after, &before, true);
	if (is_late()) {
		t.skipped += BATCH;
		return;
	}
	for (size_t i = 0; i < BATCH; i++)
		if (seen[i] && !is_lost(i) && came_through(i) != !want[i].reason)
			differ(&t.batch[i], &want[i], "live: frame %zu %s", i,
			       came_through(i) ? "passed" : "was dropped");
	compare_account(&oracle.account, &after);
	compare_hits();
	t.live += oracle.account.seen;
	for (size_t k = 0; k < WEIR_DROP_REASONS; k++)
		t.reasons[k] += k ? oracle.account.dropped[k] : oracle.account.passed;
}

/* ---- Test runs */

/* The record that the gates of the namespace have, on which the program works. */
static int scratch_of(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t ids[64], len = sizeof(info);

	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = WEIR_ARRAY_SIZE(ids);
	CHECK(!bpf_obj_get_info_by_fd(prog_fd, &info, &len), "program: %s", strerror(errno));
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map = { 0 };

		len = sizeof(map);
		if (!bpf_obj_get_info_by_fd(fd, &map, &len) && !strcmp(map.name, "weir_scratch"))
			return fd;
		close(fd);
	}
	test_end(1, "the program has no record");
}

/* What weir_filter_test() makes for each packet is made once for all of them here. */
static void open_xdp(int prog_fd)
{
	weir_autoclose int scratch_fd = scratch_of(prog_fd);

	CHECK_OK(weir_try_open(scratch_fd, prog_fd, &t.ifindex, 1, &t.gate, &err));
	t.prog_fd = bpf_program__fd(t.gate->progs.weir_filter_try);
}

static void open_trial(void)
{
	t.trial.policy = t.f.policy;
	t.trial.sets = t.f.sets;
	t.trial.want = 1U << WEIR_HOOK_NETFILTER;
	t.trial.trial = true;
	t.trial.places.ifindex[our_iface() - t.f.policy->ifaces] = t.ifindex;
	CHECK_OK(weir_now_read(&t.trial.now, &err));
	CHECK_OK(weir_generation_compile(&t.trial, &err));
	CHECK_OK(weir_generation_load(&t.f, &t.trial, NULL, &err));
	t.prog_fd = t.trial.hook[WEIR_HOOK_NETFILTER].prog_fd;
}

static void open_programs(void)
{
	char name[WEIR_PIN_NAME_MAX];

	try_bpf__destroy(t.gate);
	t.gate = NULL;
	weir_generation_close(&t.trial);
	if (t.pin_fd >= 0)
		close(t.pin_fd);
	t.pin_fd = -1;
	if (t.way->hook == WEIR_HOOK_NETFILTER) {
		open_trial();
		return;
	}
	weir_pin_generation(name, t.f.number, weir_hook_pins[t.way->hook]);
	t.pin_fd = weir_pin_get(&t.f.dir, name);
	CHECK(t.pin_fd >= 0, "program: %s", strerror(errno));
	if (t.way->hook == WEIR_HOOK_XDP)
		open_xdp(t.pin_fd);
	else
		t.prog_fd = t.pin_fd;
}

static int try_frame(const struct weir_craft *c, bool whole, struct weir_filter_verdict *v)
{
	if (whole)
		return weir_filter_test(&t.f, our_iface(), c, v, &err);
	if (t.way->hook == WEIR_HOOK_XDP)
		return weir_try_xdp(t.prog_fd, t.ifindex, c, v, &err);
	if (t.way->hook == WEIR_HOOK_NETFILTER)
		return weir_try_netfilter(t.prog_fd, t.ifindex, t.way->out, c, v, &err);
	return weir_try_tc(t.prog_fd, t.ifindex, t.way->out, c, v, &err);
}

/* Can frame @c be a test run's, and what should be seen of it? */
static bool as_tried(const struct weir_craft *c, struct oracle_frame *ret)
{
	*ret = (struct oracle_frame){ .bytes = c->frame, .n = c->len, .ether = true };
	if (t.tun) {
		*ret = (struct oracle_frame){ .bytes = c->frame + ETH_HLEN,
					      .n = c->len - ETH_HLEN };
		return is_plain_ip(c) && c->len > 2 * ETH_HLEN && t.way->hook == WEIR_HOOK_XDP;
	}
	if (t.way->hook == WEIR_HOOK_XDP)
		return true;
	if (c->len > TEST_RUN_MAX || c->len == ETH_HLEN)
		return false;
	if (t.way->hook == WEIR_HOOK_TC)
		return true;
	*ret = (struct oracle_frame){ .bytes = c->frame + 14, .n = c->len - 14 };
	/* What is called IPv4 and begins like IPv6 does not come to netfilter. */
	return (c->frame[12] == 8 && c->frame[13] == 0 && c->frame[14] >> 4 == 4) ||
	       (c->frame[12] == 0x86 && c->frame[13] == 0xdd && c->frame[14] >> 4 == 6);
}

static void try_batch(void)
{
	uint64_t tried = 0, wrong = t.differences;
	struct weir_filter_account before = account(), after;

	for (size_t i = 0; i < BATCH; i++) {
		const struct weir_craft *c = &t.batch[i];
		struct weir_filter_verdict v = { 0 };
		struct oracle_ruling want;
		struct oracle_frame f;
		/* The engine's own way asks more of the kernel each time. */
		bool whole = t.way->hook == WEIR_HOOK_TC ? i % 256 == 7 : i == 7;

		if (!as_tried(c, &f))
			continue;
		/* Nothing that is called IP and is shorter than its header. */
		if (try_frame(c, whole, &v) == -EINVAL && t.way->hook != WEIR_HOOK_XDP &&
		    c->len < ETH_HLEN + 40)
			continue;
		want = oracle_judge(&oracle, &f, false);
		tried++;
		if (v.reason == want.reason && v.dropped == (want.reason != 0) &&
		    v.rule == want.rule && v.flags == (want.flags | WEIR_TEST_DONE))
			continue;
		if (is_late())
			continue;
		differ(c, &want, "test run: frame %zu: reason %u rule %s flags %u", i,
		       (unsigned int)v.reason, rule_name(v.rule), v.flags & ~WEIR_TEST_DONE);
	}
	if (is_late() && wrong == t.differences)
		t.skipped += tried;
	else
		t.tried += tried;
	after = account();
	if (memcmp(&before, &after, sizeof(before)) != 0)
		differ(NULL, NULL, "test runs were counted");
}

/* ---- Policies */

/* Does the line make sense? The dice say much that a user would not. */
static bool is_rule(const char *line, size_t head)
{
	weir_auto_policy *p = NULL;
	weir_autobuf struct weir_buf b = { 0 };
	struct weir_error ignored;

	weir_buf_add(&b, t.text.data, head);
	weir_buf_adds(&b, line);
	return !weir_policy_parse(b.data, b.len, "oracle", 0, &p, &ignored);
}

static void write_ifaces(void)
{
	static const char *const fragments[] = { "follow", "follow", "follow", "pass", "drop" };
	static const char *const others[] = { "", "direction out default drop",
					      "mode native fragments drop", "hook tc" };
	struct dice *d = &t.world.dice;
	const char *first = PICK(d, others);

	if (chance(d, 30))
		weir_buf_addf(&t.text, "interface gone%u default drop\n", t.epoch);
	if (t.way->hook == WEIR_HOOK_NETFILTER && chance(d, 70))
		first = "";
	weir_buf_addf(&t.text, "interface %s %s\n", t.other.a, first);
	weir_buf_addf(&t.text, "interface %s %s default %s fragments %s malformed %s\n", t.pair.a,
		      t.way->words, chance(d, 50) ? "drop" : "pass", PICK(d, fragments),
		      chance(d, 70) ? "drop" : "pass");
}

static void write_policy(void)
{
	struct dice *d = &t.world.dice;
	uint32_t r = roll(d, 100);
	uint32_t n = r < 40 ? 1 + roll(d, 6) : r < 85 ? 7 + roll(d, 18) : 25 + roll(d, 100);
	weir_autobuf struct weir_buf line = { 0 };
	bool seconds = chance(d, 15);
	size_t head;

	weir_buf_reset(&t.text);
	write_ifaces();
	for (size_t i = 0; i < t.n_sets; i++)
		weir_buf_addf(&t.text, "set s%zu\n", i);
	head = t.text.len;
	for (uint32_t i = 0; i < n;) {
		char name[32];

		snprintf(name, sizeof(name), "e%u-r%u", t.epoch, i);
		weir_buf_reset(&line);
		say_rule(&t.world, &line, t.n_sets, name, t.pair.a, t.other.a, seconds);
		if (!is_rule(line.data, head)) {
			t.refused++;
			continue;
		}
		weir_buf_adds(&t.text, line.data);
		i++;
	}
	t.rules += n;
}

/* Frames go for the sets' edges. */
static void aim_at_sets(void)
{
	size_t n = 0;

	for (size_t i = 0; i < t.n_sets; i++)
		for (int k = 0; t.sets[i].n && k < 64; k++)
			t.near[n++] = t.sets[i].v[roll(&t.world.dice, (uint32_t)t.sets[i].n)];
	t.world.near = t.near;
	t.world.n_near = n;
}

static void tell_oracle(const struct weir_policy *p)
{
	oracle.row = our_iface()->row;
	oracle.out = t.way->out;
	oracle.n_rules = p->n_rules;
	CHECK(p->n_rules <= ORACLE_RULES, "too many rules");
	memset(oracle.buckets, 0, sizeof(oracle.buckets));
	oracle.n_buckets = 0;
	t.timed[0] = t.timed[1] = false;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];
		const struct weir_policy_rule *in_force =
			weir_policy_find_rule(t.f.policy, "filter", r->name);
		struct oracle_rule *o = &oracle.rules[i];

		CHECK(in_force, "rule %s is not in force", r->name);
		*o = (struct oracle_rule){ .rule = r, .id = in_force->id };
		o->holds = (!*r->iface || !strcmp(r->iface, t.pair.a)) &&
			   r->dir != (t.way->out ? WEIR_DIRECTION_IN : WEIR_DIRECTION_OUT) &&
			   r->ttl != 1000000;
		o->limit = r->rate > 1 ? LIMIT_ENDLESS : r->bits ? LIMIT_BITS : LIMIT_PACKETS;
		if (r->action == WEIR_POLICY_LIMIT && o->limit != LIMIT_ENDLESS)
			t.timed[o->limit == LIMIT_PACKETS] = true;
	}
	oracle.n_sets = t.n_sets;
	for (size_t i = 0; i < t.n_sets; i++) {
		snprintf(oracle.sets[i].name, sizeof(oracle.sets[i].name), "s%zu", i);
		oracle_set_fill(&oracle.sets[i], t.sets[i].v, t.sets[i].n);
	}
}

static void forget_all(void)
{
	static const char nothing[] = "# nothing\n";
	struct weir_policy *p = NULL;
	struct weir_filter_change c = { 0 };

	CHECK_OK(weir_policy_parse(nothing, strlen(nothing), "oracle", 0, &p, &err));
	c.policy = p;
	CHECK_OK(weir_filter_change(&t.f, &c, NULL, &err));
	weir_policy_free(p);
	weir_filter_close(&t.f);
	CHECK_OK(weir_filter_open(&t.f, true, &err));
	memset(oracle.datagrams, 0, sizeof(oracle.datagrams));
	oracle.n_datagrams = 0;
	oracle.n_replies = 0;
	for (size_t i = 0; i < t.n_sets; i++)
		free(t.sets[i].v);
	memset(t.sets, 0, sizeof(t.sets));
	t.n_sets = 0;
}

/* Some sets stay what they were in the policy before. */
static void load_sets(struct weir_set *sets, bool *fresh)
{
	struct dice *d = &t.world.dice;
	size_t before = t.n_sets;

	t.n_sets = roll(d, RULES_SETS + 1);
	for (size_t i = 0; i < t.n_sets; i++) {
		fresh[i] = chance(d, 80) || i >= before;
		if (!fresh[i])
			continue;
		free(t.sets[i].v);
		t.sets[i].n = any_set(&t.world, &t.sets[i].v);
		weir_set_init(&sets[i]);
		CHECK_OK(weir_set_create(&sets[i], t.sets[i].v, t.sets[i].n, &err));
	}
	for (size_t i = t.n_sets; i < before; i++) {
		free(t.sets[i].v);
		t.sets[i] = (struct list){ 0 };
	}
}

static void ask_questions(void)
{
	for (size_t i = 0; i < FRAME_QUESTIONS; i++) {
		struct oracle_reply r;
		struct weir_craft c;
		struct oracle_frame f;

		frame_put_plan(&t.world, &c, &t.world.questions[i]);
		send_frame(&c, t.way->out ? t.pair.b : t.pair.a, 0);
		f = (struct oracle_frame){ .bytes = c.frame, .n = c.len };
		oracle_parse(&f.pkt, f.bytes, f.n, true, 0, (uint32_t)f.n);
		if (oracle.n_replies < FRAME_QUESTIONS && oracle_tuple(&f, true, &r))
			oracle.replies[oracle.n_replies++] = r;
	}
	if (oracle.n_replies > FRAME_QUESTIONS)
		oracle.n_replies = FRAME_QUESTIONS;
	test_sleep_ms(5);
}

/* ---- Changes while a policy is in force */

static bool same_prefix(const struct weir_prefix *a, const struct weir_prefix *b)
{
	return a->len == b->len && a->is_v4 == b->is_v4 &&
	       !memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
}

static void set_add(struct list *l, const char *name)
{
	struct weir_prefix v[20];
	size_t n = 1 + roll(&t.world.dice, 20);

	for (size_t i = 0; i < n; i++)
		v[i] = any_prefix(&t.world, chance(&t.world.dice, 50));
	if (weir_filter_set_change(&t.f, name, true, v, n, false, &err) == -ENOSPC)
		return;
	l->v = realloc(l->v, (l->n + n) * sizeof(*l->v));
	CHECK(l->v, "memory");
	memcpy(l->v + l->n, v, n * sizeof(*v));
	l->n += n;
}

static void set_del(struct list *l, const char *name)
{
	struct weir_prefix gone = l->v[roll(&t.world.dice, (uint32_t)l->n)];
	size_t kept = 0;

	if (weir_filter_set_change(&t.f, name, false, &gone, 1, false, &err) == -ENOSPC)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (!same_prefix(&l->v[i], &gone))
			l->v[kept++] = l->v[i];
	l->n = kept;
}

static void change_sets(void)
{
	for (size_t i = 0; i < t.n_sets; i++) {
		char name[8];

		snprintf(name, sizeof(name), "s%zu", i);
		if (chance(&t.world.dice, 50))
			set_add(&t.sets[i], name);
		for (int k = 0; k < 5 && t.sets[i].n; k++)
			set_del(&t.sets[i], name);
		oracle_set_fill(&oracle.sets[i], t.sets[i].v, t.sets[i].n);
	}
	aim_at_sets();
}

/* ---- One policy */

static void make_batch(void)
{
	static const struct frame_plan last = { .src = { 10, 9, 8, 7 },
						.dst = { 10, 9, 8, 6 },
						.proto = 17,
						.sport = 7,
						.dport = 9,
						.id = 1,
						.plain = true };

	for (size_t i = 0; i < BATCH - 1; i++)
		frame_make(&t.world, &t.batch[i]);
	frame_put_plan(&t.world, &t.batch[BATCH - 1], &last);
	memcpy(t.batch[BATCH - 1].frame, t.world.target, 6);
	frame_checksum(&t.batch[BATCH - 1]);
}

static void one_policy(uint64_t seed)
{
	struct weir_set sets[WEIR_POLICY_SETS_MAX];
	bool fresh[WEIR_POLICY_SETS_MAX] = { false }, confirm;
	struct weir_filter_change c = { .sets = sets, .sets_new = fresh };
	weir_auto_policy *p = NULL;

	alarm(TEST_SECONDS);
	t.wrong_here = 0;
	frame_world_policy(&t.world, seed, t.epoch);
	confirm = chance(&t.world.dice, 25);
	if (chance(&t.world.dice, 15))
		forget_all();
	load_sets(sets, fresh);
	aim_at_sets();
	write_policy();
	CHECK(!weir_policy_parse(t.text.data, t.text.len, "oracle", 0, &p, &err), "%s\n%s", err.msg,
	      t.text.data);
	c.policy = p;
	c.confirm_ns = confirm ? 3600 * ORACLE_SECOND : 0;
	if (weir_filter_change(&t.f, &c, NULL, &err)) {
		show_policy();
		test_end(1, "policy %u: %s", t.epoch, err.msg);
	}
	tell_oracle(p);
	test_sleep_ms(20); /* and rules of 1 ms are over */
	if (oracle.row.drop)
		ask_questions();
	open_programs();
	t.began = weir_clock_mono();
	for (int part = 0; part < PARTS; part++) {
		make_batch();
		live_batch();
		try_batch();
		if (part == PARTS - 1)
			break;
		if (confirm)
			CHECK_OK(weir_filter_confirm(&t.f, &err));
		else
			change_sets();
	}
}

static void run_way(const struct way *way)
{
	const char *more = getenv("WEIR_LONG"), *other = getenv("WEIR_SEED");
	const char *one = getenv("WEIR_POLICY");
	uint64_t seed = (other ? strtoull(other, NULL, 10) * 1000 : 0) + way->seed;
	unsigned int policies = 0, n = more && *more == '1' ? way->policies_long : way->policies;

	if (one) {
		t.epoch = (unsigned int)strtoul(one, NULL, 10);
		n = t.epoch + 1;
	}
	enter(way);
	frame_world_init(&t.world, seed);
	t.world.displaced = way->place == BEHIND_GENERIC;
	t.world.bare = way->hook == WEIR_HOOK_NETFILTER;
	memcpy(t.world.target, frame_macs[0], 6);
	CHECK_OK(weir_filter_open(&t.f, true, &err));
	for (; t.epoch < n; t.epoch++, policies++)
		one_policy(seed);
	weir_filter_close(&t.f);
	printf("# %s: %u policies, %llu rules (%llu lines refused); %llu frames live, %llu as test "
	       "runs, %llu not compared;",
	       way->name, policies, (unsigned long long)t.rules, (unsigned long long)t.refused,
	       (unsigned long long)t.live, (unsigned long long)t.tried,
	       (unsigned long long)t.skipped);
	for (size_t k = 0; k < WEIR_DROP_REASONS; k++)
		printf(" %s %llu", k ? weir_filter_reasons[k] : "passed",
		       (unsigned long long)t.reasons[k]);
	printf("\n");
	CHECK(!t.differences, "%llu differences", (unsigned long long)t.differences);
	CHECK(t.live > t.skipped, "too slow a machine: most was not compared");
}

#define DEFINE_WAY(i)              \
	static void way_##i(void)  \
	{                          \
		run_way(&ways[i]); \
	}
DEFINE_WAY(0)
DEFINE_WAY(1)
DEFINE_WAY(2)
DEFINE_WAY(3)
DEFINE_WAY(4)
DEFINE_WAY(5)
DEFINE_WAY(6)
DEFINE_WAY(7)
DEFINE_WAY(8)

static const struct test tests[] = {
	{ "xdp_native", way_0 },    { "xdp_generic", way_1 },	    { "xdp_tun", way_2 },
	{ "tc_in", way_3 },	    { "tc_behind_generic", way_4 }, { "tc_tun", way_5 },
	{ "tc_out", way_6 },	    { "netfilter_in", way_7 },	    { "netfilter_out", way_8 },
};

int main(int argc, char **argv)
{
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
