/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy compiler agrees with the policy: random policies are compiled and
 * loaded, asked about random packets on several interfaces, and compared with a
 * walk over the rules in user space.
 */
#include "policy/compile.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include "base/addr.h"
#include "bpf/gate.h"
#include "bpf/policy_stub.h"
#include "dataplane/load.h"
#include "harness.h"
#include "policy.skel.h"
#include "policy_packets.h"

#define POLICIES 200
#define POLICIES_LEAST 20
#define RULES_MAX 24
#define SETS 6 /* more than there are copies of the look-up */
#define TICK 4000000ULL
#define BOOT 1000000000000ULL /* "now" */
#define NOW (1ULL << 60)      /* likewise in jiffies, later than the kernel's own */

static struct weir_error err;
static struct weir_set sets[SETS];
static struct weir_set *set_ptr[WEIR_POLICY_SETS_MAX];
static struct weir_scratch packets[POLICY_PACKETS];
static uint32_t keys[POLICY_PACKETS];

static const char *const tests_of[] = {
	"tcp", "udp", "icmp or icmp6", "port 80", "dst port 22,53,443", "src port 1024-65535",
	"host 10.0.0.1", "src net 10.0.0.0/8", "dst net 2001:db8::/32", "not ip", "ip6",
	"tcp flags syn", "frag later", "vlan 5", "less 100", "src net @s0", "dst net @s1",
	"net @s2", "not src net @s3", "src net @s4 or dst net @s5", "src net @s0,192.0.2.1", "arp",
	"ttl < 5", "net 10.0.0.0/24,10.0.1.0/24,10.0.2.0/24,10.0.3.0/24,10.0.4.0/24,10.0.5.0/24,"
	"10.0.6.0/24,10.0.7.0/24,10.0.8.0/24,10.0.9.0/24,10.0.10.0/24,10.0.11.0/24,10.0.12.0/24,"
	"10.128.0.0/24,10.129.0.0/24,192.0.2.0/24",
};
static const char *const v4_pool[] = {
	"10.0.0.1", "10.0.0.2", "10.128.0.1", "10.0.7.1", "192.0.2.1", "192.0.2.200", "224.0.0.5",
	"172.16.5.4", "10.0.12.34",
};
static const char *const v6_pool[] = {
	"::1", "2001:db8::1", "2001:db8::2", "2001:db8:8000::1", "fe80::1", "ff02::1",
	"2001:db8:0:3::9",
};
static const char *const prefix_pool[] = {
	"10.0.0.0/8", "10.0.0.1", "192.0.2.0/25", "192.0.2.200", "172.16.0.0/12", "10.0.7.0/24",
	"2001:db8::/33", "2001:db8::2", "fe80::/10", "::1", "ff00::/8", "0.0.0.0/0",
};
static const uint16_t port_pool[] = { 0, 22, 53, 80, 443, 1023, 1024, 65535 };
static const uint8_t proto_pool[] = { 6, 6, 17, 17, 1, 58, 132, 47 };
static const uint32_t key_pool[] = {
	WEIR_POLICY_KEY(5, 0), WEIR_POLICY_KEY(5, 1), WEIR_POLICY_KEY(9, 0), WEIR_POLICY_KEY(7, 0),
};

static uint32_t draw(uint32_t below)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % below;
}

#define PICK(pool) ((pool)[draw(WEIR_ARRAY_SIZE(pool))])

static void make_packet(struct weir_pkt *p)
{
	bool v6 = draw(2);
	struct weir_addr a;

	memset(p, 0, sizeof(*p));
	p->len = 60 + draw(100);
	p->flags = WEIR_PKT_ETHER;
	if (!draw(8)) {
		p->vlans = 1;
		p->vlan[0] = 5;
	}
	if (!draw(12)) {
		p->flags |= WEIR_PKT_ARP;
		p->eth_type = 0x0806;
		return;
	}
	p->flags |= v6 ? WEIR_PKT_IP6 : WEIR_PKT_IP4;
	p->eth_type = v6 ? 0x86dd : 0x0800;
	CHECK(!weir_addr_parse(v6 ? PICK(v6_pool) : PICK(v4_pool), &a), "address");
	memcpy(p->src, a.b, sizeof(a.b));
	CHECK(!weir_addr_parse(v6 ? PICK(v6_pool) : PICK(v4_pool), &a), "address");
	memcpy(p->dst, a.b, sizeof(a.b));
	p->proto = PICK(proto_pool);
	p->ttl = (uint8_t)draw(10);
	if (!draw(8))
		p->flags |= WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER;
	else if (p->proto == 6 || p->proto == 17 || p->proto == 132)
		p->flags |= WEIR_PKT_PORTS | (p->proto == 6 ? WEIR_PKT_TCP : 0);
	if (p->flags & WEIR_PKT_PORTS) {
		p->sport = PICK(port_pool);
		p->dport = PICK(port_pool);
	}
	if (p->flags & WEIR_PKT_TCP)
		p->tcp_flags = (uint16_t)draw(0x40);
}

static void prepare(void)
{
	weir_load_setup();
	for (unsigned int i = 0; i < POLICY_PACKETS; i++) {
		make_packet(&packets[i].pkt);
		keys[i] = PICK(key_pool);
	}
	for (unsigned int i = 0; i < SETS; i++) {
		struct weir_prefix v[4];
		size_t n = draw(WEIR_ARRAY_SIZE(v) + 1);

		for (size_t k = 0; k < n; k++)
			CHECK(!weir_prefix_parse(PICK(prefix_pool), false, &v[k]), "prefix");
		CHECK_OK(weir_set_create(&sets[i], v, n, &err));
		set_ptr[i] = &sets[i];
	}
}

static void add_rule(struct weir_buf *out)
{
	static const char *const where[] = { "", "", "", " -i va", " -i vb", " -Q in", " -Q out",
					     " -i va -Q out" };

	weir_buf_addf(out, "%s", draw(2) ? "allow " : "deny ");
	if (draw(30)) {
		weir_buf_addf(out, draw(3) ? "(%s)" : "not (%s)", PICK(tests_of));
		if (draw(2))
			weir_buf_addf(out, " %s %s", draw(2) ? "and" : "or", PICK(tests_of));
	}
	weir_buf_addf(out, "%s\n", PICK(where));
}

static struct weir_policy *make_policy(void)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_policy *p = NULL;
	unsigned int n = draw(RULES_MAX);

	weir_buf_adds(&text, "interface va hook tc\ninterface va hook tc direction out\n"
			     "interface vb hook tc default drop\n");
	for (unsigned int i = 0; i < SETS; i++)
		weir_buf_addf(&text, "set s%u\n", i);
	for (unsigned int i = 0; i < n; i++)
		add_rule(&text);
	CHECK(weir_policy_parse(text.data, text.len, "test", 0, &p, &err) == 0, "%s\n%s", err.msg,
	      text.data);
	for (size_t i = 0; i < p->n_ifaces; i++)
		p->ifaces[i].index = (uint32_t)(3 + 2 * i);
	for (size_t i = 0; i < p->n_rules; i++) {
		p->rules[i].id = (uint32_t)(i + 1);
		/* Some have expired, some will. */
		if (!draw(6))
			p->rules[i].expires = draw(2) ? BOOT - 1 : BOOT * 1000;
	}
	return p;
}

struct asked {
	const struct weir_policy_rule *rule;
	const struct weir_policy *policy;
	const struct weir_match *match;
};

static bool in_set(void *arg, size_t i, const uint8_t addr[16])
{
	const struct asked *a = arg;
	struct weir_addr address;

	memcpy(address.b, addr, sizeof(address.b));
	for (size_t k = 0; k < a->policy->n_sets; k++)
		if (!strcmp(a->policy->sets[k].name, weir_match_name(a->match, i)))
			return weir_set_contains(&sets[k], &address);
	CHECK(false, "no set %s", weir_match_name(a->match, i));
}

static uint32_t expected(const struct weir_policy *p, const uint32_t *ifindex, size_t packet)
{
	const struct weir_policy_iface *f = NULL;

	for (size_t i = 0; i < p->n_ifaces; i++)
		if (keys[packet] == WEIR_POLICY_KEY(ifindex[i], p->ifaces[i].out))
			f = &p->ifaces[i];
	if (!f)
		return WEIR_POLICY_DECISION(WEIR_POLICY_NO_ROW, 0, 0);
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct weir_policy_rule *r = &p->rules[i];
		struct asked a = { r, p, r->match };

		if ((r->iface[0] && strcmp(r->iface, f->name)) ||
		    (r->dir == WEIR_DIRECTION_IN && f->out) ||
		    (r->dir == WEIR_DIRECTION_OUT && !f->out) ||
		    (r->expires && r->expires <= BOOT) ||
		    !weir_match_eval_sets(r->match, &packets[packet].pkt, in_set, &a))
			continue;
		return WEIR_POLICY_DECISION(f->index, (uint32_t)r->action, r->id);
	}
	return WEIR_POLICY_DECISION(f->index, WEIR_POLICY_NONE, 0);
}

static void ask(const struct weir_policy_code *code, uint32_t *ret)
{
	struct policy_bpf *skel = policy_bpf__open();
	uint8_t frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = POLICY_PACKETS);
	struct policy_bpf__bss *data;

	CHECK(skel, "cannot open the object");
	CHECK_OK(weir_load_policy(skel->obj, code->insns, code->n, &err));
	data = mmap(NULL, sizeof(*data), PROT_READ | PROT_WRITE, MAP_SHARED,
		    bpf_map__fd(skel->maps.bss), 0);
	CHECK(data != MAP_FAILED, "cannot map the data");
	memcpy(data->packets, packets, sizeof(packets));
	memcpy(data->keys, keys, sizeof(keys));
	CHECK_OK(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.ask_policy), &opts) < 0 ?
			 -errno : 0);
	CHECK_EQ(data->next, POLICY_PACKETS);
	memcpy(ret, data->decisions, sizeof(data->decisions));
	munmap(data, sizeof(*data));
	policy_bpf__destroy(skel);
}

static void compiled_agrees(void)
{
	static uint32_t got[POLICY_PACKETS];
	const time_t end = time(NULL) + TEST_SECONDS / 2;
	unsigned int decided = 0;

	prepare();
	/* An emulated machine gets through fewer of them. */
	for (unsigned int i = 0; i < POLICIES && (i < POLICIES_LEAST || time(NULL) < end); i++) {
		weir_auto_policy *p = make_policy();
		struct weir_policy_places places = { .ifindex = { 5, 5, 9 } };
		struct weir_policy_code code;

		CHECK_OK(weir_policy_compile(p, WEIR_HOOK_TC, &places, set_ptr, NOW, BOOT, TICK,
					     &code, &err));
		ask(&code, got);
		for (size_t k = 0; k < POLICY_PACKETS; k++) {
			uint32_t want = expected(p, places.ifindex, k);

			if (got[k] != want) {
				weir_autobuf struct weir_buf text = { 0 };

				weir_policy_print(p, 0, 0, &text);
				CHECK(false, "policy %u, packet %zu: %08x, not %08x\n%s", i, k,
				      got[k], want, text.data);
			}
			decided += WEIR_POLICY_RULE(want) != 0;
		}
		weir_policy_code_free(&code);
	}
	CHECK(decided > POLICIES_LEAST * POLICY_PACKETS / 8, "only %u decided", decided);
}

/* An interface that is not there, and a hook without any, judge nothing. */
static void absent_interfaces(void)
{
	static const char text[] = "interface va hook tc\ndeny\n";
	static uint32_t got[POLICY_PACKETS];
	struct weir_policy_places places = { 0 };
	struct weir_policy_code code;
	struct weir_policy *p;

	prepare();
	CHECK_OK(weir_policy_parse(text, sizeof(text) - 1, "test", 0, &p, &err));
	p->rules[0].id = 1;
	for (unsigned int hook = 0; hook < 2; hook++) {
		places.ifindex[0] = hook == WEIR_HOOK_TC ? 0 : 5;
		CHECK_OK(weir_policy_compile(p, hook, &places, set_ptr, NOW, BOOT, TICK, &code,
					     &err));
		ask(&code, got);
		for (size_t k = 0; k < POLICY_PACKETS; k++)
			CHECK_EQ(WEIR_POLICY_ROW(got[k]), WEIR_POLICY_NO_ROW);
		weir_policy_code_free(&code);
	}
	weir_policy_free(p);
}

/* As many rules as fit, and one line when they do not. */
static void largest_policy(void)
{
	weir_autobuf struct weir_buf text = { 0 };
	static uint32_t got[POLICY_PACKETS];
	struct weir_policy_places places = { .ifindex = { 5 } };
	struct weir_policy_code code;
	unsigned int rules = 100;
	int ret = 0;

	prepare();
	for (; !ret && rules < WEIR_POLICY_RULES_MAX; rules += 500) {
		struct weir_policy *p;

		weir_buf_reset(&text);
		weir_buf_adds(&text, "interface va hook tc\n");
		for (unsigned int i = 0; i < rules; i++)
			weir_buf_addf(&text, "deny src host 198.51.%u.%u\n", i / 250, i % 250);
		CHECK_OK(weir_policy_parse(text.data, text.len, "test", 0, &p, &err));
		ret = weir_policy_compile(p, WEIR_HOOK_TC, &places, set_ptr, NOW, BOOT, TICK, &code,
					  &err);
		if (!ret) {
			ask(&code, got);
			for (size_t k = 0; k < POLICY_PACKETS; k++)
				CHECK_EQ(WEIR_POLICY_RULE(got[k]), 0);
			weir_policy_code_free(&code);
		}
		weir_policy_free(p);
	}
	CHECK(rules > 2000, "only %u rules fit", rules);
	CHECK(!ret || ret == -E2BIG, "%d: %s", ret, err.msg);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "policy.compiled_agrees", compiled_agrees },
		{ "policy.absent_interfaces", absent_interfaces },
		{ "policy.largest_policy", largest_policy },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
