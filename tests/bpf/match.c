/* SPDX-License-Identifier: GPL-2.0-only */
/* The two back ends of the match language agree: each expression is compiled
 * into a program, loaded, and asked about each packet of a table; the evaluator
 * is asked the same. */
#include "match/match.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include "base/addr.h"
#include "dataplane/load.h"
#include "harness.h"
#include "match.skel.h"
#include "match_packets.h"

#define RANDOM_EXPRESSIONS 200
#define ONLY_RANDOM_BYTES 5 /* one packet in so many has no sense at all */

static const char *const expressions[] = {
	"ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "esp", "ah",
	"gre", "dccp", "udplite", "ospf", "ip proto tcp", "ip6 proto udp", "proto icmp",
	"proto 6 or 17", "ip proto 1-6", "proto 40-60", "ip6 proto ah", "proto 200-255",
	"proto 0-5", "ether proto 0x0800", "ether proto lldp", "ether proto ip or arp",
	"ether proto 0x8800-0x88ff", "ether proto 0x600-0xffff", "ether proto 0xffff",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src and dst host 10.0.0.1",
	"host 2001:db8::1", "src 2001:db8::1", "dst fe80::1", "host ::1", "host 0.0.0.0",
	"host 255.255.255.255", "net 10", "src net 10.0.0.0/8", "dst net 10.0.0.0/9",
	"net 10.0.0.0/31", "net 0.0.0.0/0", "src net 0.0.0.0/0", "src and dst net 0.0.0.0/0",
	"net 128.0.0.0/1", "net ::/0", "src and dst net ::/0", "net 2001:db8::/32",
	"net 2001:db8::/33", "net 2001:db8:0:7f00::/57", "net 2001:db8::/127", "net ::/1",
	"dst net ff00::/8", "net fe80::/10", "host 10.0.0.1 or 10.0.0.2 or 192.0.2.1",
	"net 10.0.0.0/8,192.0.2.0/25,2001:db8::/64,fe80::/10", "net 0.0.0.0/0,::/0",
	"net 0.0.0.0/0 or 2001:db8::/32", "net ::/0 or host 10.0.0.1",
	"src net 10.0.0.0/8 or dst net 10.0.0.0/8", "src net 10.0.0.0/8 and dst net 192.0.2.0/24",
	"src and dst net 10.0.0.0/8 or 192.0.2.0/24", "ip host 10.0.0.1", "ip net 0.0.0.0/0",
	"ip6 host 2001:db8::1", "ip6 net ::/0", "arp host 10.0.0.1", "arp src host 10.0.0.1",
	"arp dst net 10.0.0.0/8", "arp net 0.0.0.0/0", "ip multicast", "ip6 multicast",
	"port 80", "src port 80", "dst port 80", "src and dst port 80", "port 80 or 443",
	"tcp port 80", "udp port 53", "sctp port 80", "tcp src port 80", "udp dst port 53",
	"tcp src and dst port 80", "portrange 0-1023", "portrange 1024-65535",
	"src portrange 22-80", "udp portrange 53-80", "port 0", "port 65535",
	"port 22,53,80-81,443,8000-9000", "dst port 22,53,80-81,443,60000-65535",
	"portrange 0-65535", "tcp portrange 0-65535", "not port 80", "port ssh", "port domain",
	"ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:01",
	"ether dst 02:00:00:00:00:02", "ether src and dst 02:00:00:00:00:01",
	"ether broadcast", "ether multicast", "not ether multicast",
	"ether host 02:00:00:00:00:01 or ether host 02:00:00:00:00:02",
	"vlan", "vlan 5", "vlan 0", "vlan 4095", "vlan 5,6,100-200", "vlan 5 and vlan 6",
	"vlan and not vlan 5", "not vlan", "vlan 0-100", "vlan 100-4095",
	"less 100", "greater 100", "len 100", "len != 100", "len > 1000", "len >= 1000",
	"len < 100", "len <= 100", "len 64-100,1000-2000", "len > 2147483648", "len 4294967295",
	"ttl 64", "ttl < 5", "ttl <= 5", "ttl > 64", "ttl >= 64", "ttl != 64", "ttl 0", "ttl 255",
	"ttl >= 0", "not ttl >= 0", "ttl 1-5,64",
	"frag", "frag first", "frag later", "not frag", "frag and not frag first",
	"tcp flags syn", "tcp flags syn,ack", "tcp flags syn/syn,ack", "tcp flags any syn,fin,rst",
	"tcp flags none/rst,fin", "tcp flags none", "tcp flags ae", "tcp flags != syn,ack",
	"tcp flags != syn/syn,ack", "not tcp flags syn", "tcp[tcpflags] == tcp-syn",
	"tcp[13] & 2 != 0", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] != 18",
	"tcp or udp and port 80", "tcp or (udp and port 80)", "not (tcp or udp)",
	"not tcp and not udp", "ip and not host 10.0.0.1 and port 80",
	"not (ip and (tcp or udp) and (port 80 or 443))",
	"(host 10.0.0.1 or host 2001:db8::1) and not (frag or icmp or icmp6)",
	"not (not (not (tcp and not (port 80 or not vlan))))",
	"vlan and (ip or (ip6 and not (udp or tcp port 22)))", "frag or port 80 or ttl 1 or vlan 5",
	"ip6 and tcp and tcp flags syn and dst port 443", "arp or icmp or icmp6 or igmp",
	"ttl < 5 or frag later or tcp flags rst or len > 1500",
	"not ip and not ip6 and not arp", "host 10.0.0.1 and host 10.0.0.2",
};

/* Expressions whose answer is the same whatever comes. */
static const char *const constant[] = {
	"", "len >= 0", "not len >= 0", "tcp or len >= 0", "len >= 0 or tcp",
	"not (tcp or len >= 0)", "len >= 0 and not len >= 0", "tcp and not tcp",
	"vlan 5 and not vlan",
};

static const char *const v4_pool[] = {
	"10.0.0.1", "10.0.0.2", "10.128.0.1", "10.0.7.1", "192.0.2.1", "192.0.2.200", "224.0.0.5",
	"255.255.255.255", "0.0.0.0", "172.16.5.4", "10.0.12.34",
};
static const char *const v6_pool[] = {
	"::1", "2001:db8::1", "2001:db8::2", "2001:db8:8000::1", "2001:db8:0:7f00::1", "fe80::1",
	"ff02::1", "::", "::ffff:10.0.0.1", "2001:db8:0:3::9", "ffff::1", "2001:db8:0:12::1",
};
static const uint16_t port_pool[] = { 0, 22, 53, 80, 81, 443, 1023, 1024, 8080, 65535 };
static const uint8_t proto_pool[] = { 6,  6,  6,  17, 17, 132, 1,  58, 2,
				      47, 50, 51, 33, 136, 89, 0,  44, 255 };
static const uint8_t ttl_pool[] = { 0, 1, 4, 5, 6, 63, 64, 65, 255 };
static const uint32_t len_pool[] = { 0,	   42,	 60,   64,    99,    100,	 101,
				     1000, 1514, 2000, 65535, 70000, 0x80000001, 0xffffffff };
static const uint16_t type_pool[] = { 0x88cc, 0x8035, 0x0600, 0xffff, 0x0100, 0x8847 };
static const uint16_t vlan_pool[] = { 0, 5, 6, 100, 4095 };
static const uint8_t mac_pool[][6] = {
	{ 2, 0, 0, 0, 0, 1 },
	{ 2, 0, 0, 0, 0, 2 },
	{ 1, 0, 0x5e, 0, 0, 5 },
	{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
};

static struct weir_pkt packets[MATCH_PACKETS];
static struct weir_error err;

/* The same numbers in every run. */
static uint32_t draw(uint32_t below)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % below;
}

#define PICK(pool) ((pool)[draw(WEIR_ARRAY_SIZE(pool))])

static void pick_addr(uint8_t ret[16], const char *text)
{
	struct weir_addr a;

	CHECK(!weir_addr_parse(text, &a), "bad address %s", text);
	memcpy(ret, a.b, sizeof(a.b));
}

static void make_layer4(struct weir_pkt *p)
{
	bool has_ports = p->proto == 6 || p->proto == 17 || p->proto == 132 || p->proto == 33 ||
			 p->proto == 136;

	if (p->flags & WEIR_PKT_FRAG_LATER || !draw(10))
		return;
	if (has_ports) {
		p->flags |= WEIR_PKT_PORTS;
		p->sport = PICK(port_pool);
		p->dport = draw(4) ? PICK(port_pool) : p->sport;
	}
	if (p->proto == 6 && draw(10)) {
		p->flags |= WEIR_PKT_TCP;
		p->tcp_flags = (uint16_t)(draw(2) ? draw(0x200) : 1U << draw(10) & 0x1ff);
	}
}

static void make_ip(struct weir_pkt *p, bool v6)
{
	static const uint16_t fragments[] = {
		WEIR_PKT_FRAGMENT,
		WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_MORE,
		WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER,
		WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER | WEIR_PKT_FRAG_MORE,
	};

	p->flags |= v6 ? WEIR_PKT_IP6 : WEIR_PKT_IP4;
	p->eth_type = v6 ? 0x86dd : 0x0800;
	pick_addr(p->src, v6 ? PICK(v6_pool) : PICK(v4_pool));
	pick_addr(p->dst, v6 ? PICK(v6_pool) : PICK(v4_pool));
	p->proto = PICK(proto_pool);
	p->ttl = PICK(ttl_pool);
	if (!draw(4))
		p->flags |= PICK(fragments);
	if (!draw(8))
		p->flags |= WEIR_PKT_AH;
	make_layer4(p);
}

static void make_packet(struct weir_pkt *p)
{
	uint32_t kind = draw(10);

	if (!draw(ONLY_RANDOM_BYTES)) {
		for (size_t i = 0; i < sizeof(*p); i++)
			((uint8_t *)p)[i] = (uint8_t)draw(256);
		return;
	}
	memset(p, 0, sizeof(*p));
	p->len = PICK(len_pool);
	if (draw(10)) {
		p->flags |= WEIR_PKT_ETHER;
		memcpy(p->eth_src, PICK(mac_pool), 6);
		memcpy(p->eth_dst, PICK(mac_pool), 6);
		p->vlans = (uint8_t)(draw(2) ? 0 : draw(WEIR_PKT_VLANS + 1));
		for (unsigned int i = 0; i < p->vlans; i++)
			p->vlan[i] = (uint16_t)(PICK(vlan_pool) | draw(16) << 12);
	}
	if (kind < 8) {
		make_ip(p, kind & 1);
	} else if (kind == 8) {
		p->flags |= WEIR_PKT_ARP;
		p->eth_type = 0x0806;
		if (draw(5)) {
			pick_addr(p->src, PICK(v4_pool));
			pick_addr(p->dst, PICK(v4_pool));
		}
	} else {
		p->eth_type = PICK(type_pool);
	}
}

/* A loaded program and its data; weir_load() leaves the mapping to the caller. */
struct loaded {
	struct match_bpf *skel;
	struct match_bpf__bss *data;
};

static struct loaded load(const struct weir_match *m, const char *text)
{
	struct loaded l = { .skel = match_bpf__open() };

	CHECK(l.skel, "cannot open the object");
	l.skel->rodata->kind = weir_load_match_kind(m);
	CHECK(weir_load(l.skel->obj, m, &err) == 0, "%.2000s: %s", text, err.msg);
	l.data = mmap(NULL, sizeof(*l.data), PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(l.skel->maps.bss), 0);
	CHECK(l.data != MAP_FAILED, "cannot map the data");
	memcpy(l.data->packets, packets, sizeof(packets));
	return l;
}

static void unload(struct loaded *l)
{
	munmap(l->data, sizeof(*l->data));
	match_bpf__destroy(l->skel);
}

static void run(const struct bpf_program *prog)
{
	uint8_t frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = MATCH_PACKETS);

	CHECK_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) < 0 ? -errno : 0);
}

/* Returns how many packets matched. */
static unsigned int compare(const char *text)
{
	const struct weir_match_spec spec = { .expression = text };
	weir_cleanup(weir_match_freep) struct weir_match *m = NULL;
	unsigned int matched = 0;
	struct loaded l;

	CHECK(weir_match_parse(&spec, &m, &err) == 0, "%.2000s: %s", text, err.msg);
	l = load(m, text);
	run(l.skel->progs.ask_in_place);
	run(l.skel->progs.ask_on_stack);
	CHECK_EQ(l.data->next_in_place, MATCH_PACKETS);
	CHECK_EQ(l.data->next_on_stack, MATCH_PACKETS);
	for (unsigned int i = 0; i < MATCH_PACKETS; i++) {
		bool want = weir_match_eval(m, &packets[i]);

		CHECK(l.data->in_place[i] == want && l.data->on_stack[i] == want,
		      "%.2000s: packet %u: in user space %d, in the kernel %d, on the stack %d",
		      text, i, want, l.data->in_place[i], l.data->on_stack[i]);
		matched += want;
	}
	unload(&l);
	return matched;
}

static void prepare(void)
{
	weir_load_setup();
	for (unsigned int i = 0; i < MATCH_PACKETS; i++)
		make_packet(&packets[i]);
}

static void kernel_agrees(void)
{
	prepare();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(expressions); i++) {
		unsigned int n = compare(expressions[i]);

		CHECK(n > 0 && n < MATCH_PACKETS, "%s: says nothing here, %u of %u match",
		      expressions[i], n, MATCH_PACKETS);
	}
}

static void constants_load(void)
{
	prepare();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(constant); i++) {
		unsigned int n = compare(constant[i]);

		CHECK(n == 0 || n == MATCH_PACKETS, "%s: %u match", constant[i], n);
	}
}

/* Expressions out of the ones above. */
static void add_random(struct weir_buf *out, unsigned int depth)
{
	unsigned int n = 2 + draw(3);
	const char *joint = draw(2) ? " and " : " or ";

	if (!depth || !draw(4)) {
		weir_buf_addf(out, draw(3) ? "(%s)" : "not (%s)", PICK(expressions));
		return;
	}
	weir_buf_adds(out, draw(4) ? "(" : "not (");
	for (unsigned int i = 0; i < n; i++) {
		weir_buf_adds(out, i ? joint : "");
		add_random(out, depth - 1);
	}
	weir_buf_addc(out, ')');
}

static void random_agrees(void)
{
	prepare();
	for (unsigned int i = 0; i < RANDOM_EXPRESSIONS; i++) {
		weir_autobuf struct weir_buf text = { 0 };

		add_random(&text, 1 + i % 3);
		compare(text.data);
	}
}

static void add_nets(struct weir_buf *out, const char *word, unsigned int n, bool v4, bool v6)
{
	weir_buf_adds(out, word);
	for (unsigned int i = 0; i < n; i++) {
		weir_buf_addc(out, i ? ',' : ' ');
		if (v4)
			weir_buf_addf(out, "10.%u.%u.0/24", i / 256, i % 256);
		if (v4 && v6)
			weir_buf_addc(out, ',');
		if (v6)
			weir_buf_addf(out, "2001:db8:0:%x::/64", i);
	}
}

/* Long lists are tries, with a wide load and a call in the stub. */
static void sets_agree(void)
{
	static const char *const words[] = { "net", "src net", "dst net", "not net", "ip6 or net",
					     "arp net", "vlan or tcp and net" };
	static const unsigned int sizes[] = { 15, 16, 17, 2000 };

	prepare();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(words); i++) {
		for (size_t k = 0; k < WEIR_ARRAY_SIZE(sizes); k++) {
			for (int family = 1; family < 4; family++) {
				weir_autobuf struct weir_buf text = { 0 };
				unsigned int n;

				if (family & 2 && !strcmp(words[i], "arp net"))
					continue;
				add_nets(&text, words[i], sizes[k], family & 1, family & 2);
				n = compare(text.data);
				CHECK(n > 0 && n < MATCH_PACKETS, "%s: %u match", words[i], n);
			}
		}
	}
}

/* As many instructions as a stub holds. */
static void largest_loads(void)
{
	weir_autobuf struct weir_buf text = { 0 };

	prepare();
	weir_buf_adds(&text, "port 1");
	for (unsigned int i = 3; i < 3900; i += 2)
		weir_buf_addf(&text, ",%u", i);
	compare(text.data);
	weir_buf_adds(&text, " or ether host 2:0:0:0:0:1 or vlan");
	compare(text.data);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "match.kernel_agrees", kernel_agrees },
		{ "match.constants_load", constants_load },
		{ "match.random_agrees", random_agrees },
		{ "match.sets_agree", sets_agree },
		{ "match.largest_loads", largest_loads },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
