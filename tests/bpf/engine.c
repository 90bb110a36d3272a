/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter's engine on the running kernel: changes, kills, ways back, the guard. */
#include "policy/engine.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "bpf/pkt.h"
#include "bpf/policy_stub.h"
#include "dataplane/craft.h"
#include "dataplane/tc.h"
#include "harness.h"
#include "old.h"
#include "policy/engine_impl.h"

#define SECOND 1000000000ULL
#define STEPS_MAX 200

static struct weir_error err;

/* ---- Policies */

__attribute__((format(printf, 1, 2))) static struct weir_policy *policy_of(const char *fmt, ...)
{
	struct weir_policy *p = NULL;
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK_OK(weir_policy_parse(text, strlen(text), "test", 0, &p, &err));
	return p;
}

static int change_to(struct weir_filter *f, struct weir_policy *p, uint64_t confirm_ns)
{
	struct weir_filter_change c = { .policy = p, .confirm_ns = confirm_ns };
	int ret = weir_filter_change(f, &c, NULL, &err);

	weir_policy_free(p);
	return ret;
}

static uint64_t boot_ns(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t change_ns; /* that the last change took */

/* A time of @ns that is to be seen from inside; longer where changes take their time, as
 * on an emulated machine. */
static uint64_t time_to_look(uint64_t ns)
{
	if (change_ns > ns / 30)
		ns = change_ns * 30;
	alarm(TEST_SECONDS + (unsigned int)(2 * ns / SECOND)); /* it is waited for, too */
	return ns;
}

static void sleep_past(uint64_t ns)
{
	test_sleep_ms((unsigned int)(ns / 1000000) + 100);
}

/* One change by a command of its own. */
static void apply(struct weir_policy *p)
{
	const uint64_t start = boot_ns();
	struct weir_filter f;

	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(change_to(&f, p, 0));
	weir_filter_close(&f);
	change_ns = boot_ns() - start;
}

static struct weir_set new_set(const char *prefixes)
{
	struct weir_prefix *v = NULL;
	struct weir_set s;
	size_t n = 0;

	weir_set_init(&s);
	CHECK_OK(weir_set_parse(prefixes, strlen(prefixes), "test", &v, &n, &err));
	CHECK_OK(weir_set_create(&s, v, n, &err));
	free(v);
	return s;
}

static void apply_with_set(struct weir_policy *p, const char *prefixes)
{
	struct weir_set sets[WEIR_POLICY_SETS_MAX];
	bool fresh[WEIR_POLICY_SETS_MAX] = { true };
	struct weir_filter_change c = { .policy = p, .sets = sets, .sets_new = fresh };
	const uint64_t start = boot_ns();
	struct weir_filter f;

	sets[0] = new_set(prefixes);
	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(weir_filter_change(&f, &c, NULL, &err));
	weir_policy_free(p);
	weir_filter_close(&f);
	change_ns = boot_ns() - start;
}

/* ---- Packets */

static struct weir_craft tcp_to(const char *src, uint16_t dport)
{
	struct weir_addr s, d;
	struct weir_craft c;

	CHECK(!weir_addr_parse(src, &s) && !weir_addr_parse("192.0.2.2", &d), "address");
	weir_craft_tcp(&c, &s, 4000, &d, dport, WEIR_TCP_SYN);
	return c;
}

static struct weir_filter_verdict verdict_of(struct weir_filter *f, const char *ifname,
					     enum weir_policy_hook hook, bool out, const char *src,
					     uint16_t dport)
{
	const struct weir_policy_iface *i = weir_policy_find_iface(f->policy, ifname, hook, out);
	struct weir_craft packet = tcp_to(src, dport);
	struct weir_filter_verdict v = { 0 };

	CHECK(i, "%s is not in the policy", ifname);
	CHECK_OK(weir_filter_test(f, i, &packet, &v, &err));
	return v;
}

static bool drops(struct weir_filter *f, const char *ifname, const char *src, uint16_t dport)
{
	return verdict_of(f, ifname, WEIR_HOOK_XDP, false, src, dport).dropped;
}

/* Raw frames from @from, the other end of the pair. */
static void send_tcp(const char *from, const char *src, uint16_t dport, unsigned int n)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(from) };
	weir_autoclose int fd = socket(AF_PACKET, SOCK_RAW, 0);
	struct weir_craft c = tcp_to(src, dport);

	CHECK(fd >= 0, "packet socket: %s", strerror(errno));
	for (unsigned int i = 0; i < n; i++)
		/* A filter on the way out says so. */
		CHECK(sendto(fd, c.frame, c.len, 0, (struct sockaddr *)&to, sizeof(to)) ==
				      (ssize_t)c.len ||
			      errno == ENOBUFS,
		      "sendto: %s", strerror(errno));
}

static struct weir_filter_iface_info info_of(struct weir_filter *f, const char *ifname,
					     enum weir_policy_hook hook, bool out)
{
	const struct weir_policy_iface *i = weir_policy_find_iface(f->policy, ifname, hook, out);
	struct weir_filter_iface_info info;

	CHECK(i, "%s is not in the policy", ifname);
	CHECK_EQ(weir_filter_iface_info(f, i, &info), 0);
	return info;
}

static uint64_t count(struct weir_filter *f, const char *ifname, bool dropped)
{
	struct weir_filter_iface_info i = info_of(f, ifname, WEIR_HOOK_XDP, false);

	return dropped ? i.account.dropped[WEIR_DROP_RULE] : i.account.passed;
}

static uint32_t xdp_id(const char *ifname)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	CHECK(!bpf_xdp_query((int)if_nametoindex(ifname), 0, &opts), "query: %s", strerror(errno));
	return opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
}

/* ---- What is pinned */

static bool dir_exists(void)
{
	struct weir_pin_dir d;

	if (weir_pin_open(&d, "filter", false, NULL))
		return false;
	weir_pin_close(&d);
	return true;
}

static size_t count_pins(const struct weir_filter *f, const char *prefix, char *last)
{
	DIR *d = opendir(f->dir.path);
	struct dirent *e;
	size_t n = 0;

	CHECK(d, "opendir: %s", strerror(errno));
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix))) {
			n++;
			if (last)
				snprintf(last, 64, "%.63s", e->d_name);
		}
	closedir(d);
	return n;
}

static struct weir_filter_iface_info info_of_iface(struct weir_filter *f, size_t i)
{
	struct weir_filter_iface_info info;

	CHECK_EQ(weir_filter_iface_info(f, &f->policy->ifaces[i], &info), 0);
	return info;
}

static void check_name(struct weir_filter *f, const char *name)
{
	unsigned int number;
	char kind, under;
	size_t len = strlen(name);

	CHECK(len < 4 || strcmp(name + len - 4, "-new") != 0, "%s is left over", name);
	if (sscanf(name, "gate_%u", &number) == 1) {
		bool found = false;

		for (size_t i = 0; i < f->policy->n_ifaces; i++)
			found |= info_of_iface(f, i).ifindex == number;
		CHECK(found || f->previous, "%s is left over", name);
		return;
	}
	if (sscanf(name, "%c%u%c", &kind, &number, &under) != 3 || under != '_')
		return;
	if (kind == 'g')
		CHECK(number == f->number || (f->previous && number == f->previous),
		      "%s is left over beside generation %u", name, f->number);
	if (kind == 's') {
		bool found = false;

		for (size_t i = 0; i < f->policy->n_sets; i++)
			found |= f->policy->sets[i].number == number;
		CHECK(found || f->previous, "%s is left over", name);
	}
}

static int count_rule(void *arg, const struct weir_rule *rule)
{
	*(size_t *)arg += !strcmp(rule->verb, "filter");
	return 0;
}

/* Pins, rule store, attachments and text agree. */
static void check_whole(struct weir_filter *f)
{
	DIR *d = opendir(f->dir.path);
	struct dirent *e;
	size_t n = 0;

	CHECK(d, "opendir: %s", strerror(errno));
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			check_name(f, e->d_name);
	closedir(d);
	if (f->rules.rules_fd >= 0)
		CHECK_OK(weir_rules_each(&f->rules, count_rule, &n));
	if (!f->previous)
		CHECK_EQ(n, f->policy->n_rules);
	for (size_t i = 0; i < f->policy->n_rules; i++) {
		struct weir_rule rule;

		CHECK_OK(weir_rules_get(&f->rules, f->policy->rules[i].id, &rule));
		CHECK(!strcmp(rule.name, f->policy->rules[i].name), "rule %s is %s in the store",
		      f->policy->rules[i].name, rule.name);
	}
	for (size_t i = 0; i < f->policy->n_ifaces; i++) {
		struct weir_filter_iface_info info;

		CHECK_EQ(weir_filter_iface_info(f, &f->policy->ifaces[i], &info), 0);
		CHECK(info.state == WEIR_IFACE_ON, "%s is not filtered (%d)",
		      f->policy->ifaces[i].name, (int)info.state);
	}
}

/* ---- Tests: the life of a policy */

static void test_enter_and_leave(void)
{
	struct veth v = test_veth();
	struct weir_filter f;
	uint32_t gate;

	CHECK_EQ(weir_filter_open(&f, false, &err), -ENOENT);
	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_EQ(f.number, 0);
	CHECK_OK(change_to(&f, policy_of("interface %s\nweb: deny tcp dst port 80\n", v.a), 0));
	check_whole(&f);
	gate = xdp_id(v.a);
	CHECK(gate, "no gate on %s", v.a);
	CHECK(drops(&f, v.a, "192.0.2.1", 80), "port 80 passes");
	CHECK(!drops(&f, v.a, "192.0.2.1", 81), "port 81 is dropped");
	CHECK_EQ(verdict_of(&f, v.a, WEIR_HOOK_XDP, false, "192.0.2.1", 80).rule,
		 f.policy->rules[0].id);
	CHECK_EQ(count(&f, v.a, true), 0);
	weir_filter_close(&f);

	send_tcp(v.b, "192.0.2.1", 80, 5);
	send_tcp(v.b, "192.0.2.1", 81, 3);
	CHECK_OK(weir_filter_open(&f, false, &err));
	CHECK_EQ(f.policy->n_rules, 1);
	CHECK(EVENTUALLY(count(&f, v.a, true) == 5), "5 were to be dropped");
	CHECK(EVENTUALLY(count(&f, v.a, false) >= 3), "3 were to pass");
	/* Counters and the link survive a change; the gate is the same. */
	CHECK_OK(change_to(&f, policy_of("interface %s\nweb: deny tcp dst port 81\n", v.a), 0));
	CHECK_EQ(count(&f, v.a, true), 5);
	CHECK_EQ(xdp_id(v.a), gate);
	CHECK(!drops(&f, v.a, "192.0.2.1", 80) && drops(&f, v.a, "192.0.2.1", 81), "old policy");
	check_whole(&f);
	/* Off: rules stay. */
	CHECK_OK(change_to(&f, policy_of("web: deny tcp dst port 81\n"), 0));
	check_whole(&f);
	weir_filter_close(&f);
	CHECK(EVENTUALLY(!xdp_id(v.a)), "the gate stays");
	CHECK_OK(weir_filter_open(&f, false, &err));
	CHECK_EQ(f.policy->n_rules, 1);
	CHECK_OK(change_to(&f, policy_of("# nothing\n"), 0));
	weir_filter_close(&f);
	CHECK(!dir_exists(), "an empty policy leaves something");
	CHECK_EQ(weir_filter_open(&f, false, &err), -ENOENT);
}

static void test_icmp_on_lo(void)
{
	struct weir_filter f;

	test_run("ping -c1 -W1 127.0.0.1 >/dev/null");
	apply(policy_of("interface lo\ndeny --protocol icmp -i lo\n"));
	CHECK(system("ping -c2 -i0.2 -W1 127.0.0.1 >/dev/null"), "ping goes through");
	CHECK_OK(weir_filter_open(&f, false, &err));
	CHECK_EQ(count(&f, "lo", true), 2);
	CHECK(!strcmp(info_of(&f, "lo", WEIR_HOOK_XDP, false).mode, "generic"), "mode");
	CHECK_OK(change_to(&f, policy_of("# nothing\n"), 0));
	weir_filter_close(&f);
	CHECK(EVENTUALLY(!system("ping -c1 -W1 127.0.0.1 >/dev/null")), "ping is still dropped");
}

static void test_unload(void)
{
	struct veth v = test_veth();

	apply(policy_of("interface %s default drop\ninterface %s hook tc direction out\n"
			"deny tcp dst port 80\n",
			v.a, v.a));
	CHECK(xdp_id(v.a), "no gate");
	CHECK_OK(weir_pin_unload("filter", &err));
	CHECK(EVENTUALLY(!xdp_id(v.a)), "the gate stays");
	CHECK(!dir_exists(), "the directory stays");
	test_run("! bpftool link | grep -q tcx");
}

/* ---- Tests: failures */

static void test_failure_changes_nothing(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct weir_filter f;

	apply(policy_of("interface %s\ndeny tcp dst port 80\n", v.a));
	CHECK_OK(weir_filter_open(&f, false, &err));
	/* lo has no native mode, which is found out behind the others' gates. */
	CHECK_EQ(change_to(&f,
			   policy_of("interface %s\ninterface %s mode generic\n"
				     "interface %s hook tc\ndeny tcp dst port 81\n"
				     "deny tcp dst port 82\ninterface lo mode native\n",
				     v.a, w.a, w.a),
			   0),
		 -EOPNOTSUPP);
	CHECK_EQ(f.policy->n_rules, 1);
	CHECK(drops(&f, v.a, "192.0.2.1", 80) && !drops(&f, v.a, "192.0.2.1", 81), "half");
	check_whole(&f);
	CHECK(EVENTUALLY(!xdp_id(w.a)), "the new gate stays");
	CHECK_EQ(count_pins(&f, "tc_", NULL), 0);
	weir_filter_close(&f);
	/* A first change that fails leaves nothing at all. */
	CHECK_OK(weir_pin_unload("filter", &err));
	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_EQ(change_to(&f, policy_of("interface lo mode native\n"), 0), -EOPNOTSUPP);
	weir_filter_close(&f);
	CHECK(!dir_exists(), "the directory stays");
}

/* ---- Tests: killed at every step */

static int steps_left;

static void die_at_step(const char *what)
{
	(void)what;
	if (!steps_left--)
		_exit(0);
}

/* Run @fn in a child that is killed at step @at. Returns whether it came so far. There
 * are many steps, and on an emulated machine each may take seconds: the time limit is
 * for one. */
static bool run_until(int at, void (*fn)(void *arg), void *arg)
{
	pid_t pid;
	int status;

	alarm(TEST_SECONDS);
	pid = fork();
	if (!pid) {
		steps_left = at;
		weir_engine_step = die_at_step;
		fn(arg);
		_exit(42);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "fork: %s", strerror(errno));
	CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 42),
	      "the child failed at step %d", at);
	return WEXITSTATUS(status) == 0;
}

struct pair {
	struct veth v, w;
};

static void policy_one(const struct pair *p)
{
	apply_with_set(policy_of("interface %s\nset bad\none: deny src net @bad\n"
				 "port: deny tcp dst port 1\n",
				 p->v.a),
		       "198.51.100.0/24\n");
}

static void policy_two(const struct pair *p)
{
	apply_with_set(policy_of("interface %s\ninterface %s hook tc default drop\nset bad\n"
				 "one: deny src net @bad\ntwo: deny tcp dst port 2\n",
				 p->w.a, p->v.a),
		       "203.0.113.0/24\n");
}

/* Which one is in force, all of it? */
static int which(struct weir_filter *f, const struct pair *p)
{
	bool two = f->policy->n_ifaces == 2;
	const char *ifname = two ? p->w.a : p->v.a;

	check_whole(f);
	CHECK_EQ(f->policy->n_rules, 2);
	CHECK_EQ(drops(f, ifname, "192.0.2.1", 1), !two);
	CHECK_EQ(drops(f, ifname, "192.0.2.1", 2), two);
	CHECK_EQ(drops(f, ifname, "198.51.100.7", 9), !two);
	CHECK_EQ(drops(f, ifname, "203.0.113.7", 9), two);
	if (two)
		CHECK(verdict_of(f, p->v.a, WEIR_HOOK_TC, false, "192.0.2.1", 2).dropped, "tc");
	else
		CHECK(EVENTUALLY(!xdp_id(p->w.a)), "a gate on %s is left over", p->w.a);
	return two ? 2 : 1;
}

static void kill_two(void *arg)
{
	policy_two(arg);
}

static void test_killed_change(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool seen[3] = { false };
	int at = 0;
	bool more = true;

	for (; more && at < STEPS_MAX; at++) {
		struct weir_filter f;

		policy_one(&p);
		more = run_until(at, kill_two, &p);
		CHECK_OK(weir_filter_open(&f, false, &err));
		seen[which(&f, &p)] = true;
		weir_filter_close(&f);
	}
	CHECK(at > 10 && at < STEPS_MAX, "%d steps", at);
	CHECK(seen[1] && seen[2], "only one of the policies was seen");
	printf("# killed at %d steps\n", at - 1);
}

static void kill_one(void *arg)
{
	policy_one(arg);
}

static void test_killed_first_change(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool more = true;

	for (int at = 0; more && at < STEPS_MAX; at++) {
		struct weir_filter f;
		int ret;

		more = run_until(at, kill_one, &p);
		ret = weir_filter_open(&f, false, &err);
		if (!ret) {
			CHECK_EQ(which(&f, &p), 1);
			weir_filter_close(&f);
			CHECK_OK(weir_pin_unload("filter", &err));
		} else {
			CHECK_EQ(ret, -ENOENT);
			CHECK(!dir_exists(), "something is left over at step %d", at);
		}
		CHECK(EVENTUALLY(!xdp_id(p.v.a)), "the gate stays");
	}
}

static void kill_last(void *arg)
{
	(void)arg;
	apply(policy_of("# nothing\n"));
}

static void test_killed_end(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool more = true;

	for (int at = 0; more && at < STEPS_MAX; at++) {
		struct weir_filter f;
		int ret;

		policy_one(&p);
		more = run_until(at, kill_last, &p);
		ret = weir_filter_open(&f, false, &err);
		if (!ret) {
			if (f.policy->n_ifaces)
				which(&f, &p);
			weir_filter_close(&f);
		} else {
			CHECK_EQ(ret, -ENOENT);
			CHECK(!dir_exists(), "something is left over at step %d", at);
		}
	}
	CHECK(EVENTUALLY(!xdp_id(p.v.a)), "the gate stays");
	CHECK(!dir_exists(), "the directory stays");
}

/* ---- Tests: confirm and the way back */

static void open_filter(struct weir_filter *f)
{
	CHECK_OK(weir_filter_open(f, false, &err));
}

static void put_waiting(const struct pair *p, uint64_t ns)
{
	struct weir_set sets[WEIR_POLICY_SETS_MAX];
	bool fresh[WEIR_POLICY_SETS_MAX] = { true };
	struct weir_policy *two = policy_of("interface %s\ninterface %s hook tc\nset bad\n"
					    "one: deny src net @bad\ntwo: deny tcp dst port 2\n",
					    p->w.a, p->v.a);
	struct weir_filter_change c = {
		.policy = two, .sets = sets, .sets_new = fresh, .confirm_ns = ns
	};
	struct weir_filter f;

	sets[0] = new_set("203.0.113.0/24\n");
	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(weir_filter_change(&f, &c, NULL, &err));
	weir_policy_free(two);
	CHECK(f.previous && f.deadline, "nothing waits");
	weir_filter_close(&f);
}

static void test_confirm(void)
{
	struct pair p = { test_veth(), test_veth() };
	struct weir_filter f;

	policy_one(&p);
	put_waiting(&p, 30 * SECOND);
	open_filter(&f);
	CHECK(f.previous && f.deadline, "nothing waits");
	CHECK_EQ(which(&f, &p), 2);
	CHECK_EQ(change_to(&f, policy_of("interface lo\n"), 0), -EBUSY);
	CHECK_OK(weir_filter_confirm(&f, &err));
	CHECK_EQ(f.previous, 0);
	CHECK_EQ(which(&f, &p), 2);
	CHECK(EVENTUALLY(!xdp_id(p.v.a)), "the old gate stays");
	CHECK_EQ(weir_filter_confirm(&f, &err), -ENOENT);
	weir_filter_close(&f);
	open_filter(&f);
	CHECK_EQ(which(&f, &p), 2);
	CHECK_EQ(weir_filter_confirm(&f, &err), -ENOENT);
	weir_filter_close(&f);
}

/* The account of @ifname's row, read without opening the filter. */
static uint64_t dropped_at(int account_fd, uint32_t row)
{
	struct weir_filter_account v[64];
	uint64_t sum = 0;

	CHECK(!bpf_map_lookup_elem(account_fd, &row, v), "account: %s", strerror(errno));
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += v[i].dropped[WEIR_DROP_RULE];
	return sum;
}

static void test_way_back(void)
{
	struct pair p = { test_veth(), test_veth() };
	weir_autoclose int account_fd = -1;
	struct weir_filter f;
	uint32_t row_v, row_w;
	uint64_t wait;

	policy_one(&p);
	wait = time_to_look(SECOND);
	put_waiting(&p, wait);
	open_filter(&f);
	account_fd = dup(f.account_fd);
	row_w = weir_policy_find_iface(f.policy, p.w.a, WEIR_HOOK_XDP, false)->index;
	weir_filter_close(&f);
	send_tcp(p.w.b, "192.0.2.1", 2, 4);
	CHECK(EVENTUALLY(dropped_at(account_fd, row_w) == 4), "the new policy is not in force");
	sleep_past(wait);
	/* No command has run: the programs have gone back by themselves. */
	send_tcp(p.w.b, "192.0.2.1", 2, 4);
	send_tcp(p.v.b, "192.0.2.1", 1, 3);
	test_sleep_ms(50);
	CHECK_EQ(dropped_at(account_fd, row_w), 4);
	open_filter(&f);
	CHECK(f.rolled_back, "not told");
	CHECK_EQ(f.previous, 0);
	row_v = f.policy->ifaces[0].index;
	CHECK(EVENTUALLY(dropped_at(account_fd, row_v) == 3), "the old policy is not in force");
	CHECK_EQ(which(&f, &p), 1);
	CHECK(EVENTUALLY(!xdp_id(p.w.a)), "the gate stays");
	CHECK_EQ(weir_filter_confirm(&f, &err), -ETIME);
	weir_filter_close(&f);
	open_filter(&f);
	CHECK(!f.rolled_back, "told twice");
	CHECK_EQ(which(&f, &p), 1);
	weir_filter_close(&f);
}

/* From nothing, and at a hook where nothing was. */
static void test_way_back_to_nothing(void)
{
	struct pair p = { test_veth(), test_veth() };
	struct weir_filter f;
	uint64_t wait;

	policy_one(&p); /* to know how long that takes */
	CHECK_OK(weir_pin_unload("filter", &err));
	wait = time_to_look(SECOND / 2);
	put_waiting(&p, wait);
	CHECK(xdp_id(p.w.a), "no gate");
	open_filter(&f);
	CHECK_EQ(which(&f, &p), 2);
	sleep_past(wait);
	{
		/* The programs answer that these are none of theirs. */
		struct weir_craft packet = tcp_to("192.0.2.1", 2);
		struct weir_filter_verdict r;

		for (size_t i = 0; i < f.policy->n_ifaces; i++)
			CHECK_EQ(weir_filter_test(&f, &f.policy->ifaces[i], &packet, &r, &err),
				 -ENOENT);
	}
	weir_filter_close(&f);
	CHECK_EQ(weir_filter_open(&f, false, &err), 0);
	CHECK(f.rolled_back && !f.policy->n_rules, "not back to nothing");
	weir_filter_close(&f);
	CHECK(!dir_exists(), "the directory stays");
	CHECK(EVENTUALLY(!xdp_id(p.w.a)), "the gate stays");
}

static void kill_confirm(void *arg)
{
	struct weir_filter f;

	(void)arg;
	if (!weir_filter_open(&f, false, &err))
		weir_filter_confirm(&f, &err);
	weir_filter_close(&f);
}

static void test_killed_confirm(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool more = true;

	for (int at = 0; more && at < STEPS_MAX; at++) {
		struct weir_filter f;
		bool waits;

		policy_one(&p);
		put_waiting(&p, 30 * SECOND);
		more = run_until(at, kill_confirm, NULL);
		open_filter(&f);
		waits = f.previous;
		CHECK_EQ(which(&f, &p), 2);
		if (waits)
			CHECK_OK(weir_filter_confirm(&f, &err));
		CHECK_EQ(which(&f, &p), 2);
		weir_filter_close(&f);
	}
}

static void kill_open(void *arg)
{
	struct weir_filter f;

	(void)arg;
	if (!weir_filter_open(&f, false, &err))
		weir_filter_close(&f);
}

static void test_killed_way_back(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool more = true;

	for (int at = 0; more && at < STEPS_MAX; at++) {
		struct weir_filter f;

		policy_one(&p);
		put_waiting(&p, SECOND / 50);
		test_sleep_ms(60);
		more = run_until(at, kill_open, NULL);
		open_filter(&f);
		CHECK_EQ(which(&f, &p), 1);
		weir_filter_close(&f);
		CHECK(EVENTUALLY(!xdp_id(p.w.a)), "the gate stays");
	}
}

/* ---- Tests: interfaces that go and come */

static void remake(const struct veth *v)
{
	test_run("ip link add %s type veth peer name %s && ip link set %s up && ip link set %s up",
		 v->a, v->b, v->a, v->b);
}

static void test_iface_comes_back(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct weir_filter f;
	char name[64];

	apply(policy_of("interface %s\ninterface %s hook tc\none: deny tcp dst port 1\n", v.a,
			v.a));
	test_run("ip link del %s", v.a);
	open_filter(&f);
	CHECK_EQ(info_of(&f, v.a, WEIR_HOOK_XDP, false).state, WEIR_IFACE_GONE);
	/* A change while it is away: the policy keeps it, its dead link is kept to be
	 * told of. */
	CHECK_OK(change_to(&f,
			   policy_of("interface %s\ninterface %s hook tc\n"
				     "one: deny tcp dst port 2\n",
				     v.a, v.a),
			   0));
	CHECK_EQ(count_pins(&f, "gate_", name), 1);
	remake(&v);
	CHECK_EQ(info_of(&f, v.a, WEIR_HOOK_XDP, false).state, WEIR_IFACE_DETACHED);
	CHECK_OK(weir_filter_reattach(&f, NULL, &err));
	check_whole(&f);
	CHECK(drops(&f, v.a, "192.0.2.1", 2), "not filtered");
	CHECK(verdict_of(&f, v.a, WEIR_HOOK_TC, false, "192.0.2.1", 2).dropped, "not at tc");
	CHECK_EQ(count_pins(&f, "gate_", name), 1);
	send_tcp(v.b, "192.0.2.1", 2, 3);
	CHECK(EVENTUALLY(count(&f, v.a, true) == 3), "not counted");
	/* Nothing to do: nothing is done. */
	weir_filter_close(&f);
	open_filter(&f);
	CHECK_EQ(f.number, f.state.generations);
	CHECK_OK(weir_filter_reattach(&f, NULL, &err));
	CHECK_EQ(f.number, f.state.generations);
	/* One that stays keeps its gate while the other comes and goes. */
	CHECK_OK(change_to(
		&f, policy_of("interface %s\ninterface %s\none: deny tcp dst port 2\n", v.a, w.a),
		0));
	test_run("ip link del %s", v.a);
	remake(&v);
	CHECK_OK(weir_filter_reattach(&f, NULL, &err));
	check_whole(&f);
	CHECK(drops(&f, v.a, "192.0.2.1", 2) && drops(&f, w.a, "192.0.2.1", 2), "not both");
	weir_filter_close(&f);
}

static void test_comes_back_while_waiting(void)
{
	struct pair p = { test_veth(), test_veth() };
	struct weir_filter f;
	int64_t left, wait;

	policy_one(&p);
	wait = (int64_t)time_to_look(5 * SECOND);
	put_waiting(&p, (uint64_t)wait);
	test_run("ip link del %s && ip link del %s", p.v.a, p.w.a);
	remake(&p.v);
	remake(&p.w);
	open_filter(&f);
	CHECK_OK(weir_filter_reattach(&f, NULL, &err));
	CHECK(f.previous, "no longer waits");
	CHECK_EQ(which(&f, &p), 2);
	left = (int64_t)(f.deadline - boot_ns());
	weir_filter_close(&f);
	CHECK(left > 0 && left < wait, "%lld ns are left", (long long)left);
	sleep_past((uint64_t)left);
	open_filter(&f);
	CHECK(f.rolled_back, "not told");
	CHECK_EQ(which(&f, &p), 1);
	weir_filter_close(&f);
}

/* Change it, and return what was told. */
static char *told_by(struct weir_filter *f, struct weir_policy *p)
{
	struct weir_filter_change c = { .policy = p };
	struct weir_filter_report report = { 0 };

	CHECK_OK(weir_filter_change(f, &c, &report, &err));
	weir_policy_free(p);
	return report.notes.data;
}

/* Renamed, an interface stays filtered, whatever else changes. */
static void test_renamed(void)
{
	struct veth v = test_veth(), lan = { .a = "lan9", .b = "lan9-peer" };
	weir_autofree char *notes = NULL, *later = NULL, *swapped = NULL;
	struct weir_filter f;
	uint32_t gate;

	apply(policy_of("interface %s\ninterface %s hook tc default drop\n"
			"one: deny tcp dst port 1\nall: allow -i %s tcp\n",
			v.a, v.a, v.a));
	gate = xdp_id(v.a);
	test_run("ip link set %s down && ip link set %s name %s && ip link set %s up", v.a, v.a,
		 lan.a, lan.a);
	open_filter(&f);
	check_whole(&f);
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).called, lan.a), "not told");
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_TC, false).called, lan.a), "not told at tc");
	CHECK_OK(weir_filter_reattach(&f, NULL, &err));
	notes = told_by(&f, policy_of("interface lo\ninterface %s mode native\n"
				      "interface %s hook tc default drop\n"
				      "one: deny tcp dst port 2\nall: allow -i %s tcp\n",
				      v.a, v.a, v.a));
	CHECK(notes && strstr(notes, "is called lan9 now") && !strstr(notes, "not there"),
	      "the notes say: %s", notes);
	CHECK(!strstr(strstr(notes, "is called") + 1, "is called"), "told twice: %s", notes);
	check_whole(&f);
	CHECK_EQ(xdp_id(lan.a), gate);
	CHECK(drops(&f, v.a, "192.0.2.1", 2) && !drops(&f, v.a, "192.0.2.1", 1), "not in force");
	send_tcp(v.b, "192.0.2.1", 2, 3);
	CHECK(EVENTUALLY(count(&f, v.a, true) == 3), "it is open");
	/* Both names are one interface. */
	CHECK_EQ(change_to(&f, policy_of("interface %s\ninterface %s\n", v.a, lan.a), 0), -EEXIST);
	CHECK(strstr(err.msg, "lan9 is the interface that is filtered as"), "it says: %s", err.msg);
	CHECK_EQ(change_to(&f, policy_of("interface %s hook tc\ninterface %s\n", lan.a, v.a), 0),
		 -EEXIST);
	CHECK(strstr(err.msg, "lan9 is the interface that is filtered as"), "it says: %s", err.msg);
	check_whole(&f);
	/* The one name in the other's place: through one and the same gate. */
	later = told_by(&f, policy_of("interface %s\none: deny tcp dst port 3\n", lan.a));
	CHECK(!later || !strstr(later, "called"), "the notes say: %s", later);
	check_whole(&f);
	CHECK_EQ(xdp_id(lan.a), gate);
	CHECK(drops(&f, lan.a, "192.0.2.1", 3), "not in force");
	/* The name goes to another interface: that one it is now, and this is told. */
	test_run("ip link set lan9 down && ip link set lan9 name %s && "
		 "ip link add lan9 type veth peer name %s && ip link set lan9 up",
		 v.a, lan.b);
	swapped = told_by(&f, policy_of("interface %s\none: deny tcp dst port 4\n", lan.a));
	CHECK(swapped && strstr(swapped, "warning: lan9 is another interface now"),
	      "the notes say: %s", swapped);
	check_whole(&f);
	/* Gone for good: nothing is left of it. */
	test_run("ip link del lan9");
	CHECK_EQ(info_of(&f, lan.a, WEIR_HOOK_XDP, false).state, WEIR_IFACE_GONE);
	weir_filter_close(&f);
}

static void test_renamed_while_waiting(void)
{
	struct pair p = { test_veth(), test_veth() };
	struct weir_filter f;
	uint64_t wait;

	policy_one(&p);
	test_run("ip link set %s down && ip link set %s name was9 && ip link set was9 up", p.v.a,
		 p.v.a);
	wait = time_to_look(SECOND);
	put_waiting(&p, wait);
	open_filter(&f);
	CHECK_EQ(which(&f, &p), 2);
	weir_filter_close(&f);
	sleep_past(wait);
	open_filter(&f);
	CHECK(f.rolled_back, "not told");
	CHECK_EQ(which(&f, &p), 1);
	weir_filter_close(&f);
}

/* ---- Tests: rules */

static void test_expiry(void)
{
	struct veth v = test_veth();
	struct weir_policy *again;
	struct weir_filter f;
	uint64_t expires, ttl;

	apply(policy_of("interface %s\n", v.a));
	ttl = time_to_look(SECOND);
	apply(policy_of("interface %s\nshort: deny tcp dst port 1 --ttl %llums\n"
			"long: deny tcp dst port 2 --ttl 1h\n",
			v.a, (unsigned long long)ttl / 1000000));
	open_filter(&f);
	CHECK_EQ(f.policy->n_rules, 2);
	expires = f.policy->rules[1].expires;
	CHECK(expires, "no end");
	CHECK(drops(&f, v.a, "192.0.2.1", 1), "passes before its time");
	/* Applied again, it begins again. */
	CHECK_OK(change_to(&f,
			   policy_of("interface %s\nshort: deny tcp dst port 1 --ttl %llums\n"
				     "long: deny tcp dst port 2 --ttl 1h\n"
				     "deny tcp dst port 3\n",
				     v.a, (unsigned long long)ttl / 1000000),
			   0));
	CHECK(f.policy->rules[1].expires > expires, "not from the second time on");
	expires = f.policy->rules[1].expires;
	CHECK_EQ(f.policy->n_rules, 3);
	weir_filter_close(&f);
	sleep_past(ttl);
	open_filter(&f);
	CHECK_EQ(f.policy->n_rules, 2);
	CHECK(!drops(&f, v.a, "192.0.2.1", 1), "dropped behind its time");
	CHECK(drops(&f, v.a, "192.0.2.1", 2), "dropped too early");
	check_whole(&f);
	again = weir_policy_copy(f.policy);
	CHECK_OK(change_to(&f, again, 0));
	CHECK_EQ(f.policy->rules[0].expires, expires);
	CHECK_EQ(f.policy->n_rules, 2);
	check_whole(&f);
	weir_filter_close(&f);
}

static void test_owners(void)
{
	struct veth v = test_veth();
	struct weir_policy *p;
	struct weir_rule entry;
	struct weir_filter f;
	uint32_t id;

	apply(policy_of("interface %s\nmine: deny tcp dst port 1\n", v.a));
	open_filter(&f);
	p = weir_policy_copy(f.policy);
	{
		const char *words[] = { "deny", "tcp", "dst", "port", "2" };
		struct weir_policy_rule r;

		CHECK_OK(weir_policy_parse_rule(5, words, &r, &err));
		snprintf(r.owner, sizeof(r.owner), "proxy");
		snprintf(r.name, sizeof(r.name), "mine");
		CHECK_OK(weir_policy_add_rule(p, &r, NULL, &err));
	}
	CHECK_OK(change_to(&f, p, 0));
	weir_filter_close(&f);
	open_filter(&f);
	check_whole(&f);
	CHECK_EQ(f.policy->n_rules, 2);
	id = weir_policy_find_rule(f.policy, "proxy", "mine")->id;
	CHECK(drops(&f, v.a, "192.0.2.1", 1) && drops(&f, v.a, "192.0.2.1", 2), "not both");
	/* The filter's rule goes; the other's stays, id and all. */
	p = weir_policy_copy(f.policy);
	CHECK_OK(weir_policy_del_rule(p, "filter", "mine", &err));
	CHECK_OK(change_to(&f, p, 0));
	check_whole(&f);
	CHECK_EQ(f.policy->rules[0].id, id);
	CHECK_OK(weir_rules_get(&f.rules, id, &entry));
	CHECK(!strcmp(entry.owner, "proxy") && entry.order == 0, "owner %s", entry.owner);
	CHECK(!drops(&f, v.a, "192.0.2.1", 1) && drops(&f, v.a, "192.0.2.1", 2), "not the other's");
	weir_filter_close(&f);
}

/* An interface that another verb has put on for its rules: nobody else's apply there. */
static void test_lent(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct weir_policy *p;
	struct weir_filter f;

	apply(policy_of("interface %s\nmine: deny tcp dst port 1\n", v.a));
	open_filter(&f);
	p = weir_policy_copy(f.policy);
	p->ifaces[p->n_ifaces++] = weir_policy_iface_for(w.a, WEIR_HOOK_XDP, "proxy");
	{
		const char *words[] = { "deny", "-Q", "in", "tcp", "dst", "port", "2" };
		struct weir_policy_rule r;

		CHECK_OK(weir_policy_parse_rule(7, words, &r, &err));
		snprintf(r.owner, sizeof(r.owner), "proxy");
		CHECK_OK(weir_policy_add_rule(p, &r, NULL, &err));
	}
	CHECK_OK(change_to(&f, p, 0));
	weir_filter_close(&f);
	open_filter(&f);
	check_whole(&f);
	CHECK(!strcmp(f.policy->ifaces[1].owner, "proxy"), "the owner is not kept");
	CHECK(drops(&f, v.a, "192.0.2.1", 1) && drops(&f, v.a, "192.0.2.1", 2), "not both");
	CHECK(!drops(&f, w.a, "192.0.2.1", 1), "the user's rule reaches %s", w.a);
	CHECK(drops(&f, w.a, "192.0.2.1", 2), "the other's rule does not");
	weir_filter_close(&f);
}

/* ---- Tests: another version */

static void rewrite_meta(uint32_t verb_abi)
{
	struct weir_pin_meta meta;
	struct weir_pin_dir d;
	uint32_t zero = 0;
	int fd;

	CHECK_OK(weir_pin_open(&d, "filter", false, &err));
	fd = weir_pin_get(&d, "meta");
	CHECK(fd >= 0 && !bpf_map_lookup_elem(fd, &zero, &meta), "meta");
	meta.verb_abi = verb_abi;
	CHECK(!bpf_map_update_elem(fd, &zero, &meta, BPF_ANY), "meta");
	close(fd);
	weir_pin_close(&d);
}

static void reattach(struct weir_filter *f)
{
	CHECK_OK(weir_filter_reattach(f, NULL, &err));
}

static void change_to_the_same(struct weir_filter *f)
{
	CHECK_OK(change_to(f, weir_policy_copy(f->policy), 0));
}

static uint32_t gate_link(const struct weir_filter *f)
{
	char name[64];
	weir_autoclose int fd = -1;
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	CHECK_EQ(count_pins(f, "gate_", name), 1);
	fd = weir_pin_get(&f->dir, name);
	CHECK(fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len), "link: %s", strerror(errno));
	return info.id;
}

/* Gates and learner of another build, of the same ABI: any change exchanges them. */
static void test_other_build(void)
{
	static void (*const ways[])(struct weir_filter *f) = { reattach, change_to_the_same };
	struct veth v = test_veth();
	uint32_t ifindex = if_nametoindex(v.a), link, gate, tc, learner, number;
	char learn_name[64], tc_name[64];
	struct weir_filter f;

	snprintf(learn_name, sizeof(learn_name), "learn_%u_out", ifindex);
	snprintf(tc_name, sizeof(tc_name), "tc_%u_in", ifindex);
	apply(policy_of("interface %s default drop\ninterface %s hook tc\n"
			"one: allow tcp dst port 81\n",
			v.a, v.a));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(ways); i++) {
		struct old_bpf *old = make_gate_old(v.a);

		open_filter(&f);
		CHECK_OK(weir_tc_attach(&f.dir, learn_name,
					bpf_program__fd(old->progs.weir_filter_out), ifindex, true,
					WEIR_TC_LEARN, &err));
		CHECK_OK(weir_tc_attach(&f.dir, tc_name,
					bpf_program__fd(old->progs.weir_filter_tci), ifindex, false,
					WEIR_TC_FILTER, &err));
		link = gate_link(&f);
		gate = xdp_id(v.a);
		tc = weir_tc_prog(&f.dir, tc_name, ifindex, false, WEIR_TC_FILTER);
		learner = weir_tc_prog(&f.dir, learn_name, ifindex, true, WEIR_TC_LEARN);
		CHECK_EQ(learner, weir_prog_id(bpf_program__fd(old->progs.weir_filter_out)));
		CHECK_EQ(tc, weir_prog_id(bpf_program__fd(old->progs.weir_filter_tci)));
		CHECK_EQ(gate, weir_prog_id(bpf_program__fd(old->progs.weir_gate)));
		number = f.number;
		ways[i](&f);
		CHECK(f.number != number, "nothing happened");
		CHECK(xdp_id(v.a) != gate, "the old gate");
		CHECK_EQ(gate_link(&f), link);
		CHECK(weir_tc_prog(&f.dir, tc_name, ifindex, false, WEIR_TC_FILTER) != tc,
		      "the old gate at tc");
		CHECK(weir_tc_prog(&f.dir, learn_name, ifindex, true, WEIR_TC_LEARN) != learner,
		      "the old learner");
		check_whole(&f);
		CHECK(drops(&f, v.a, "192.0.2.1", 80) && !drops(&f, v.a, "192.0.2.1", 81),
		      "not filtered");
		number = f.number;
		reattach(&f);
		CHECK_EQ(f.number, number);
		weir_filter_close(&f);
		old_bpf__destroy(old);
	}
}

/* A gate whose ABI is another one: refused, and it goes on. */
static void test_other_gate_abi(void)
{
	struct veth v = test_veth();
	weir_autoclose int prog_fd = -1, meta_fd = -1;
	struct weir_gate_meta meta;
	struct weir_filter f;
	uint32_t zero = 0;

	apply(policy_of("interface %s\none: deny tcp dst port 80\n", v.a));
	prog_fd = bpf_prog_get_fd_by_id(xdp_id(v.a));
	meta_fd = meta_of_gate(prog_fd);
	CHECK(!bpf_map_lookup_elem(meta_fd, &zero, &meta), "meta: %s", strerror(errno));
	meta.abi++;
	CHECK(!bpf_map_update_elem(meta_fd, &zero, &meta, BPF_ANY), "meta: %s", strerror(errno));
	open_filter(&f);
	CHECK_EQ(change_to(&f, policy_of("interface %s\n", v.a), 0), -EPROTO);
	CHECK(strstr(err.msg, "ABI") && strstr(err.msg, "weir unload"), "message: %s", err.msg);
	CHECK(drops(&f, v.a, "192.0.2.1", 80), "open");
	check_whole(&f);
	weir_filter_close(&f);
}

static uint32_t map_of(const struct weir_filter *f, const char *name)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, name);

	return weir_map_id(fd);
}

static void test_other_version(void)
{
	struct pair p = { test_veth(), test_veth() };
	uint32_t gate, account, set, id;
	struct weir_filter f;

	policy_one(&p);
	gate = xdp_id(p.v.a);
	for (uint32_t abi = 0; abi <= WEIR_FILTER_ABI + 1; abi += WEIR_FILTER_ABI + 1) {
		open_filter(&f);
		account = map_of(&f, "account");
		set = f.policy->sets[0].number;
		id = f.policy->rules[0].id;
		weir_filter_close(&f);
		rewrite_meta(abi);
		open_filter(&f);
		CHECK(f.foreign, "not noticed");
		CHECK_EQ(f.policy->n_rules, 2);
		CHECK_EQ(which(&f, &p), 1);
		CHECK_OK(change_to(&f, weir_policy_copy(f.policy), 0));
		CHECK(!f.foreign, "still foreign");
		CHECK_EQ(which(&f, &p), 1);
		CHECK(map_of(&f, "account") != account, "the old account");
		CHECK(f.policy->sets[0].number != set, "the old set");
		CHECK_EQ(f.policy->rules[0].id, id);
		CHECK_EQ(xdp_id(p.v.a), gate);
		weir_filter_close(&f);
		open_filter(&f);
		CHECK(!f.foreign, "foreign again");
		CHECK_EQ(which(&f, &p), 1);
		weir_filter_close(&f);
	}
}

static void kill_upgrade(void *arg)
{
	struct weir_filter f;

	(void)arg;
	open_filter(&f);
	CHECK_OK(change_to(&f, weir_policy_copy(f.policy), 0));
	weir_filter_close(&f);
}

static void test_killed_upgrade(void)
{
	struct pair p = { test_veth(), test_veth() };
	bool more = true;

	policy_one(&p);
	for (int at = 0; more && at < STEPS_MAX; at++) {
		struct weir_filter f;

		rewrite_meta(7);
		more = run_until(at, kill_upgrade, NULL);
		open_filter(&f);
		CHECK_EQ(which(&f, &p), 1);
		CHECK_OK(change_to(&f, weir_policy_copy(f.policy), 0));
		CHECK_EQ(which(&f, &p), 1);
		weir_filter_close(&f);
	}
}

/* ---- Tests: sets in place */

static struct weir_prefix prefix_of(const char *s)
{
	struct weir_prefix p;

	CHECK(!weir_prefix_parse(s, false, &p), "%s", s);
	return p;
}

static void test_set_in_place(void)
{
	struct pair p = { test_veth(), test_veth() };
	struct weir_prefix more = prefix_of("198.51.200.0/24");
	struct weir_filter f;
	uint32_t number;

	policy_one(&p);
	open_filter(&f);
	number = f.number;
	CHECK(!drops(&f, p.v.a, "198.51.200.9", 9), "dropped before");
	CHECK_OK(weir_filter_set_change(&f, "bad", true, &more, 1, false, &err));
	CHECK(drops(&f, p.v.a, "198.51.200.9", 9), "passes behind");
	CHECK_OK(weir_filter_set_change(&f, "bad", false, &more, 1, false, &err));
	CHECK(!drops(&f, p.v.a, "198.51.200.9", 9), "dropped behind");
	CHECK_EQ(weir_filter_set_change(&f, "bad", false, &more, 1, false, &err), -ENOENT);
	CHECK_EQ(weir_filter_set_change(&f, "good", false, &more, 1, false, &err), -ENOENT);
	CHECK_EQ(f.number, number);
	weir_filter_close(&f);
}

/* ---- Tests: the other hooks */

static void test_tc(void)
{
	struct veth v = test_veth();
	struct weir_filter f;

	apply(policy_of("interface %s hook tc\ninterface %s direction out\n"
			"in: deny -Q in tcp dst port 1\nout: deny -Q out tcp dst port 2\n",
			v.a, v.a));
	open_filter(&f);
	check_whole(&f);
	CHECK(verdict_of(&f, v.a, WEIR_HOOK_TC, false, "192.0.2.1", 1).dropped, "in 1");
	CHECK(!verdict_of(&f, v.a, WEIR_HOOK_TC, false, "192.0.2.1", 2).dropped, "in 2");
	CHECK(!verdict_of(&f, v.a, WEIR_HOOK_TC, true, "192.0.2.1", 1).dropped, "out 1");
	CHECK(verdict_of(&f, v.a, WEIR_HOOK_TC, true, "192.0.2.1", 2).dropped, "out 2");
	send_tcp(v.b, "192.0.2.1", 1, 3);
	send_tcp(v.a, "192.0.2.1", 2, 4);
	CHECK(EVENTUALLY(info_of(&f, v.a, WEIR_HOOK_TC, false).account.dropped[WEIR_DROP_RULE] ==
			 3),
	      "in");
	CHECK(EVENTUALLY(info_of(&f, v.a, WEIR_HOOK_TC, true).account.dropped[WEIR_DROP_RULE] == 4),
	      "out");
	CHECK_OK(change_to(&f,
			   policy_of("interface %s hook tc\n"
				     "in: deny tcp dst port 2\n",
				     v.a),
			   0));
	check_whole(&f);
	CHECK(verdict_of(&f, v.a, WEIR_HOOK_TC, false, "192.0.2.1", 2).dropped, "in 2");
	CHECK_EQ(count_pins(&f, "tc_", NULL), count_pins(&f, "tc_slot", NULL) + 1);
	CHECK_OK(change_to(&f, policy_of("# nothing\n"), 0));
	weir_filter_close(&f);
	CHECK(!dir_exists(), "the directory stays");
}

static void test_netfilter(void)
{
	struct weir_filter f;
	int ret;

	CHECK_OK(weir_filter_open(&f, true, &err));
	ret = change_to(&f,
			policy_of("interface lo hook netfilter\n"
				  "interface lo hook netfilter direction out\n"
				  "icmp: deny -Q in icmp\nport: deny -Q out tcp dst port 2\n"),
			0);
	if (ret == -EINVAL)
		SKIP("no netfilter programs: %s", err.msg);
	CHECK_OK(ret);
	check_whole(&f);
	CHECK(verdict_of(&f, "lo", WEIR_HOOK_NETFILTER, true, "192.0.2.1", 2).dropped, "out 2");
	CHECK(!verdict_of(&f, "lo", WEIR_HOOK_NETFILTER, false, "192.0.2.1", 2).dropped, "in 2");
	CHECK(system("ping -c2 -i0.2 -W1 127.0.0.1 >/dev/null"), "ping goes through");
	CHECK_EQ(info_of(&f, "lo", WEIR_HOOK_NETFILTER, false).account.dropped[WEIR_DROP_RULE], 2);
	CHECK_OK(change_to(&f,
			   policy_of("interface lo hook netfilter\n"
				     "port: deny tcp dst port 2\n"),
			   0));
	check_whole(&f);
	test_run("ping -c1 -W1 127.0.0.1 >/dev/null");
	CHECK_EQ(count_pins(&f, "nf_in", NULL), 2);
	CHECK_EQ(count_pins(&f, "nf_out", NULL), 0);
	CHECK_OK(change_to(&f, policy_of("# nothing\n"), 0));
	weir_filter_close(&f);
	CHECK(!dir_exists(), "the directory stays");
}

static struct weir_filter_verdict ask(struct weir_filter *f, size_t iface,
				      const struct weir_craft *packet)
{
	struct weir_filter_verdict v;

	memset(&v, 0xff, sizeof(v));
	CHECK_OK(weir_filter_test(f, &f->policy->ifaces[iface], packet, &v, &err));
	return v;
}

/* Put @n bytes in front of the frame's type. */
static struct weir_craft tagged(const struct weir_craft *c, const uint8_t *tag, size_t n)
{
	const size_t at = 2 * ETH_ALEN;
	struct weir_craft ret = *c;

	memcpy(ret.frame + at, tag, n);
	memcpy(ret.frame + at + n, c->frame + at, c->len - at);
	ret.len += n;
	return ret;
}

/* What `weir filter test` says of netfilter is what happens there: no link layer. */
static void test_netfilter_verdicts(void)
{
	static const uint8_t vlan5[] = { 0x81, 0, 0, 5 }, vlan0[] = { 0x81, 0, 0x60, 0 };
	struct weir_craft packet = tcp_to("192.0.2.1", 2), other = tcp_to("192.0.2.1", 3), c;
	weir_autobuf struct weir_buf notes = { 0 };
	struct weir_filter_report report = { 0 };
	struct weir_policy *p = policy_of(
		"interface lo hook netfilter\ntag: deny vlan\nmac: deny ether src 0:0:0:0:0:0\n"
		"arp: deny arp\nport: deny tcp dst port 2\nshort: deny less 41\n"
		"ip: deny ip proto 99\n");
	struct weir_filter_change change = { .policy = p };
	struct weir_filter f;
	int ret;

	CHECK_OK(weir_filter_open(&f, true, &err));
	ret = weir_filter_change(&f, &change, &report, &err);
	if (ret == -EINVAL)
		SKIP("no netfilter programs: %s", err.msg);
	CHECK_OK(ret);
	notes = report.notes;
	CHECK(ask(&f, 0, &packet).dropped && !ask(&f, 0, &packet).unseen, "port 2 passes");
	CHECK_EQ(ask(&f, 0, &packet).rule, f.policy->rules[3].id);
	/* Without the Ethernet header, a SYN has 40 bytes. */
	CHECK_EQ(ask(&f, 0, &other).rule, f.policy->rules[4].id);
	c = tagged(&packet, vlan0, sizeof(vlan0));
	CHECK_EQ(ask(&f, 0, &c).rule, f.policy->rules[3].id);
	c = tagged(&packet, vlan5, sizeof(vlan5));
	CHECK(!ask(&f, 0, &c).dropped && ask(&f, 0, &c).unseen, "a tag is seen");
	c = packet;
	c.frame[13] = 6;
	CHECK(!ask(&f, 0, &c).dropped && strstr(ask(&f, 0, &c).unseen, "not IP"), "ARP is seen");
	CHECK(notes.data && strstr(notes.data, "'tag'") && strstr(notes.data, "'mac'") &&
		      strstr(notes.data, "'arp'") && !strstr(notes.data, "'port'") &&
		      !strstr(notes.data, "'short'") && !strstr(notes.data, "'ip'"),
	      "the notes say: %s", notes.data);
	/* They are told once; with a place where they can match, not at all. */
	report = (struct weir_filter_report){ 0 };
	CHECK_OK(weir_filter_change(&f, &change, &report, &err));
	CHECK(!report.notes.data || !strstr(report.notes.data, "warning"), "told again: %s",
	      report.notes.data);
	weir_buf_free(&report.notes);
	weir_policy_free(p);
	change.policy = p = policy_of("interface lo hook netfilter\ninterface lo hook tc\n"
				      "new: deny vlan\n");
	CHECK_OK(weir_filter_change(&f, &change, &report, &err));
	CHECK(!report.notes.data || !strstr(report.notes.data, "warning"), "told: %s",
	      report.notes.data);
	weir_buf_free(&report.notes);
	weir_policy_free(p);
	weir_filter_close(&f);
}

/* ---- Tests: the guard */

#define SSH_PORT 2222

/* A process called sshd that serves one connection over lo, and its client. */
struct session {
	pid_t pid;
	int client_fd;
};

static void serve(int listener)
{
	int fd = accept(listener, NULL, NULL);
	char c;

	close(listener);
	prctl(PR_SET_NAME, "sshd");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (fd >= 0 && read(fd, &c, 1) == 1)
		if (write(fd, &c, 1) != 1)
			break;
	_exit(0);
}

static struct session open_session(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(SSH_PORT),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct session s = { .client_fd = socket(AF_INET, SOCK_STREAM, 0) };
	char c = 'x';

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	CHECK(!bind(listener, (struct sockaddr *)&at, sizeof(at)) && !listen(listener, 1),
	      "listen: %s", strerror(errno));
	s.pid = fork();
	if (!s.pid) {
		close(s.client_fd);
		serve(listener);
	}
	close(listener);
	CHECK(!connect(s.client_fd, (struct sockaddr *)&at, sizeof(at)), "connect: %s",
	      strerror(errno));
	CHECK(write(s.client_fd, &c, 1) == 1 && read(s.client_fd, &c, 1) == 1, "no echo");
	return s;
}

static void close_session(struct session *s)
{
	close(s->client_fd);
	kill(s->pid, SIGKILL); /* where it is cut it never learns of the end */
	waitpid(s->pid, NULL, 0);
}

static bool lives(const struct session *s)
{
	const struct timeval wait = { .tv_sec = 1 };
	char c = 'x';

	setsockopt(s->client_fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	return write(s->client_fd, &c, 1) == 1 && read(s->client_fd, &c, 1) == 1;
}

static void check_refused(struct weir_filter *f, const char *text, const char *word)
{
	int ret;

	memset(&err, 0, sizeof(err));
	ret = change_to(f, policy_of("%s", text), 0);
	if (ret == -EINVAL && strstr(err.msg, "kernel 6.4"))
		return;
	CHECK_EQ(ret, -EPERM);
	CHECK(strstr(err.msg, word) && strstr(err.msg, "127.0.0.1"), "the message says: %s",
	      err.msg);
}

static void test_guard(void)
{
	static const struct {
		const char *text, *word;
	} cuts[] = {
		{ "interface lo\ncut: deny tcp dst port 2222\n", "'cut'" },
		{ "interface lo\ncut: deny src net 127.0.0.0/8\n", "'cut'" },
		{ "interface lo\nset all\ncut: deny not src net @all\n", "'cut'" },
		{ "interface lo default drop\n", "default" },
		{ "interface lo default drop\nok: allow tcp dst port 2222 --ttl 1h\n", "expired" },
		{ "interface lo\nslow: limit tcp dst port 2222 --rate 10/s\n", "'slow'" },
		{ "interface lo\nslow: limit --rate 100kbit\n", "'slow'" },
		{ "interface lo hook tc\ncut: deny tcp dst port 2222\n", "'cut'" },
		{ "interface lo direction out\ncut: deny -Q out tcp src port 2222\n", "'cut'" },
		{ "interface lo hook netfilter\ncut: deny tcp dst port 2222\n", "'cut'" },
		{ "interface lo fragments pass\na: deny port 1\nb: deny tcp[tcpflags] & tcp-syn != 0\n",
		  "'b'" },
	};
	static const char *const fine[] = {
		"interface lo\na: allow tcp port 2222\nb: deny tcp\n",
		"interface lo\nfast: limit --rate 1000/s\n",
		"interface lo default drop\nok: allow tcp port 2222\n",
		"interface lo default drop\nx: allow tcp port 2222 --ttl 1h\ny: allow tcp\n",
	};
	struct session s = open_session();
	struct weir_filter f;

	CHECK_OK(weir_filter_open(&f, true, &err));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cuts); i++) {
		check_refused(&f, cuts[i].text, cuts[i].word);
		CHECK(lives(&s), "cut by '%s'", cuts[i].text);
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(fine); i++) {
		CHECK_OK(change_to(&f, policy_of("%s", fine[i]), 0));
		CHECK(lives(&s), "cut by '%s'", fine[i]);
	}
	weir_filter_close(&f);
	close_session(&s);
	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(change_to(&f, policy_of("%s", cuts[0].text), 0));
	weir_filter_close(&f);
}

static void test_guard_forced(void)
{
	struct weir_policy *p = policy_of("interface lo\ncut: deny tcp dst port 2222\n");
	weir_autobuf struct weir_buf notes = { 0 };
	struct weir_filter_report report = { 0 };
	struct weir_filter_change c = { .policy = p, .force = true };
	struct session s = open_session();
	struct weir_filter f;

	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(weir_filter_change(&f, &c, &report, &err));
	CHECK(report.notes.data && strstr(report.notes.data, "warning: rule 'cut' cuts"),
	      "the notes say: %s", report.notes.data);
	weir_buf_free(&report.notes);
	/* It is cut already: the next change need not be forced. */
	CHECK_OK(change_to(&f,
			   policy_of("interface lo\ncut: deny tcp dst port 2222\n"
				     "more: deny tcp dst port 1\n"),
			   0));
	weir_filter_close(&f);
	weir_policy_free(p);
	close_session(&s);
}

static void test_guard_of_sets(void)
{
	struct weir_prefix bad[] = { prefix_of("127.0.0.0/30"), prefix_of("192.0.2.0/24"),
				     prefix_of("198.51.100.0/24"), prefix_of("192.0.2.0/24") };
	struct session s = open_session();
	struct weir_filter f;

	apply_with_set(policy_of("interface lo\nset bad\none: deny src net @bad\n"),
		       "192.0.2.0/24\n10.0.0.0/8\n");
	open_filter(&f);
	CHECK_EQ(weir_filter_set_change(&f, "bad", true, bad, 4, false, &err), -EPERM);
	CHECK(strstr(err.msg, "'one'"), "the message says: %s", err.msg);
	CHECK(lives(&s), "cut");
	/* What was there before stays, the rest went. */
	CHECK(drops(&f, "lo", "192.0.2.7", 9), "lost");
	CHECK(!drops(&f, "lo", "198.51.100.7", 9), "left");
	CHECK_EQ(weir_set_count(&f.sets[0]), 2);
	CHECK_OK(weir_filter_set_change(&f, "bad", true, bad + 1, 3, false, &err));
	CHECK(drops(&f, "lo", "198.51.100.7", 9), "not added");
	CHECK_OK(weir_filter_set_change(&f, "bad", true, bad, 1, true, &err));
	CHECK(drops(&f, "lo", "127.0.0.1", 9), "not forced");
	weir_filter_close(&f);
	close_session(&s);
}

/* ---- Tests: a default of drop */

static void test_default_drop(void)
{
	struct session s = open_session();
	struct weir_filter f;

	/* Replies of connections that were there before are known from the sockets. */
	apply(policy_of("interface lo default drop\nnew: allow tcp dst port 2222\n"));
	CHECK(lives(&s), "cut");
	open_filter(&f);
	check_whole(&f);
	CHECK(info_of(&f, "lo", WEIR_HOOK_XDP, false).account.replies, "no replies");
	CHECK(weir_tc_attached(&f.dir, "learn_1_out", 1, true, WEIR_TC_LEARN), "nothing learns");
	CHECK(drops(&f, "lo", "192.0.2.1", 80), "passes");
	CHECK_OK(change_to(&f, policy_of("interface lo\n"), 0));
	CHECK(!weir_tc_attached(&f.dir, "learn_1_out", 1, true, WEIR_TC_LEARN), "learns still");
	weir_filter_close(&f);
	close_session(&s);
}

/* What learns replies was taken away, by whoever cleans up at tc. */
static void test_learner_gone(void)
{
	static void (*const ways[])(struct weir_filter *f) = { reattach, change_to_the_same };
	struct veth v = test_veth();
	uint32_t ifindex = if_nametoindex(v.a);
	struct weir_filter f;
	char name[64];

	snprintf(name, sizeof(name), "learn_%u_out", ifindex);
	apply(policy_of("interface %s default drop\n", v.a));
	open_filter(&f);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(ways); i++) {
		CHECK(!info_of(&f, v.a, WEIR_HOOK_XDP, false).no_replies, "nothing learns");
		weir_tc_detach(&f.dir, name, ifindex, true, WEIR_TC_LEARN);
		CHECK(info_of(&f, v.a, WEIR_HOOK_XDP, false).no_replies, "not noticed");
		/* It filters all the same. */
		CHECK_EQ(info_of(&f, v.a, WEIR_HOOK_XDP, false).state, WEIR_IFACE_ON);
		CHECK(drops(&f, v.a, "192.0.2.1", 80), "open");
		ways[i](&f);
		CHECK(!info_of(&f, v.a, WEIR_HOOK_XDP, false).no_replies, "still gone");
		CHECK(weir_tc_attached(&f.dir, name, ifindex, true, WEIR_TC_LEARN), "not attached");
	}
	weir_filter_close(&f);
}

/* ---- Tests: modes */

static int change_mode(struct weir_filter *f, const char *ifname, const char *words,
		       struct weir_filter_report *report)
{
	struct weir_policy *p =
		policy_of("interface %s %s\none: deny tcp dst port 80\n", ifname, words);
	struct weir_filter_change c = { .policy = p };
	int ret = weir_filter_change(f, &c, report, &err);

	weir_policy_free(p);
	return ret;
}

static void test_mode(void)
{
	static const char *const modes[] = { "generic", "native", "generic" };
	struct veth v = test_veth();
	struct weir_filter_report report = { 0 };
	struct weir_filter f;
	char words[32];

	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(change_mode(&f, v.a, "mode native", NULL));
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(modes); i++) {
		const uint64_t before = count(&f, v.a, true);

		snprintf(words, sizeof(words), "mode %s", modes[i]);
		CHECK_OK(change_mode(&f, v.a, words, &report));
		CHECK(report.notes.len && strstr(report.notes.data, "not filtered for"), "notes");
		printf("# %s", report.notes.data);
		weir_buf_free(&report.notes);
		CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).mode, modes[i]), "mode");
		check_whole(&f);
		send_tcp(v.b, "192.0.2.1", 80, 3);
		CHECK(EVENTUALLY(count(&f, v.a, true) == before + 3), "not filtered");
		CHECK(drops(&f, v.a, "192.0.2.1", 80), "passes");
	}
	/* The same mode, or none in particular: it stays, without a word. */
	CHECK_OK(change_mode(&f, v.a, "mode generic", &report));
	CHECK_OK(change_mode(&f, v.a, "", &report));
	CHECK_EQ(report.notes.len, 0);
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).mode, "generic"), "mode");
	/* After a change that was taken back the gate is in the wrong mode. */
	CHECK_OK(change_mode(&f, v.a, "mode native", NULL));
	CHECK_OK(change_to(&f, policy_of("interface %s mode generic\n", v.a), SECOND / 5));
	weir_filter_close(&f);
	test_sleep_ms(300);
	open_filter(&f);
	CHECK(f.rolled_back, "still waits");
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).mode, "generic"), "mode");
	reattach(&f);
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).mode, "native"), "mode");
	check_whole(&f);
	weir_filter_close(&f);
}

/* A guest has the gate too: it would lose it. */
static void test_mode_with_guest(void)
{
	struct veth v = test_veth();
	struct weir_filter f;
	char who[32], c;
	int ready[2];
	pid_t pid;

	CHECK_OK(weir_filter_open(&f, true, &err));
	CHECK_OK(change_mode(&f, v.a, "mode native", NULL));
	CHECK(!pipe(ready), "pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		struct weir_gate g;

		CHECK_OK(weir_gate_open(&g, v.a, WEIR_XDP_AUTO, &err));
		CHECK(write(ready[1], "", 1) == 1, "write");
		for (;;)
			pause();
	}
	CHECK(read(ready[0], &c, 1) == 1, "read");
	CHECK_EQ(change_mode(&f, v.a, "mode generic", NULL), -EBUSY);
	snprintf(who, sizeof(who), "process %d ", pid);
	CHECK(strstr(err.msg, who), "message: %s", err.msg);
	CHECK(!strcmp(info_of(&f, v.a, WEIR_HOOK_XDP, false).mode, "native"), "mode");
	check_whole(&f);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_OK(change_mode(&f, v.a, "mode generic", NULL));
	check_whole(&f);
	weir_filter_close(&f);
}

/* Limits spend from buckets that outlive a change of policy. */
static void test_limit(void)
{
	struct veth v = test_veth();
	struct weir_filter_iface_info i;
	struct weir_filter f;

	/* Nearly nothing in the time that this takes; the burst is 28 such packets. */
	apply(policy_of("interface %s\nslow: limit tcp --rate 1bit --burst 12144 --per source\n",
			v.a));
	send_tcp(v.b, "192.0.2.1", 80, 20);
	apply(policy_of("interface %s\nslow: limit tcp --rate 1bit --burst 12144 --per source\n"
			"x: deny tcp dst port 1\n",
			v.a));
	send_tcp(v.b, "192.0.2.1", 80, 20);
	open_filter(&f);
	/* Asking spends nothing. */
	for (int n = 0; n < 40; n++)
		drops(&f, v.a, "192.0.2.77", 80);
	CHECK(!drops(&f, v.a, "192.0.2.77", 80), "a question was counted");
	CHECK(drops(&f, v.a, "192.0.2.1", 80), "not over the limit");
	i = info_of(&f, v.a, WEIR_HOOK_XDP, false);
	CHECK(i.account.dropped[WEIR_DROP_LIMIT] >= 10, "%llu were limited",
	      (unsigned long long)i.account.dropped[WEIR_DROP_LIMIT]);
	weir_filter_close(&f);
}

/* ---- Tests: many changes */

static void test_many_changes(void)
{
	struct veth v = test_veth();
	uint64_t seen, start, end;
	struct weir_filter f;
	int n = 0;

	apply(policy_of("interface %s\none: deny tcp dst port 1\n", v.a));
	start = boot_ns();
	end = start + TEST_SECONDS / 2 * SECOND; /* an emulated machine makes fewer */
	for (; n < 200 && boot_ns() < end; n++) {
		apply(policy_of(
			"interface %s\none: deny tcp dst port 1\ntwo: deny tcp dst port %d\n", v.a,
			100 + n));
		send_tcp(v.b, "192.0.2.1", 1, 1);
	}
	end = boot_ns();
	open_filter(&f);
	CHECK(EVENTUALLY((seen = count(&f, v.a, true)) == (uint64_t)n), "%llu of %d were dropped",
	      (unsigned long long)seen, n);
	check_whole(&f);
	weir_filter_close(&f);
	printf("# %d changes in %.2f s\n", n, (double)(end - start) / (double)SECOND);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "enter_and_leave", test_enter_and_leave },
		{ "icmp_on_lo", test_icmp_on_lo },
		{ "unload", test_unload },
		{ "failure_changes_nothing", test_failure_changes_nothing },
		{ "killed_change", test_killed_change },
		{ "killed_first_change", test_killed_first_change },
		{ "killed_end", test_killed_end },
		{ "confirm", test_confirm },
		{ "way_back", test_way_back },
		{ "way_back_to_nothing", test_way_back_to_nothing },
		{ "killed_confirm", test_killed_confirm },
		{ "killed_way_back", test_killed_way_back },
		{ "iface_comes_back", test_iface_comes_back },
		{ "comes_back_while_waiting", test_comes_back_while_waiting },
		{ "renamed", test_renamed },
		{ "renamed_while_waiting", test_renamed_while_waiting },
		{ "expiry", test_expiry },
		{ "owners", test_owners },
		{ "lent", test_lent },
		{ "other_version", test_other_version },
		{ "other_build", test_other_build },
		{ "other_gate_abi", test_other_gate_abi },
		{ "killed_upgrade", test_killed_upgrade },
		{ "set_in_place", test_set_in_place },
		{ "tc", test_tc },
		{ "netfilter", test_netfilter },
		{ "netfilter_verdicts", test_netfilter_verdicts },
		{ "guard", test_guard },
		{ "guard_forced", test_guard_forced },
		{ "guard_of_sets", test_guard_of_sets },
		{ "default_drop", test_default_drop },
		{ "learner_gone", test_learner_gone },
		{ "mode", test_mode },
		{ "mode_with_guest", test_mode_with_guest },
		{ "limit", test_limit },
		{ "many_changes", test_many_changes },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
