/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lasting programs at tc on the running kernel: their order, replacement, and what
 * remains of them. Where there is tcx, clsact is tested behind its back.
 */
#include "dataplane/tc.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/prctl.h>

#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"
#include "dataplane/tc_impl.h"
#include "harness.h"
#include "tc_line.skel.h"

#define PROTOCOL 0x88b5
#define REPLACEMENTS 300

/* As in tc_line.bpf.c. */
struct line {
	uint64_t seen, packets;
};

static struct weir_error err;
static struct tc_line_bpf *skel;
static struct weir_pin_dir dir;
static struct veth veth;
static uint32_t ifindex;

/* ---- Helpers */

static bool has_tcx(void)
{
	return weir_sys_tcx_query(ifindex, false, NULL, 0) >= 0;
}

static void begin(void)
{
	weir_load_setup();
	skel = tc_line_bpf__open();
	CHECK(skel, "open: %s", strerror(errno));
	CHECK_OK(weir_load(skel->obj, NULL, &err));
	CHECK_OK(weir_pin_open(&dir, "filter", true, &err));
	veth = test_veth();
	ifindex = if_nametoindex(veth.a);
}

static int prog(const struct bpf_program *p)
{
	return bpf_program__fd(p);
}

static struct line take_line(void)
{
	const struct line none = { 0 };
	struct line l;
	uint32_t zero = 0;
	int fd = bpf_map__fd(skel->maps.weir_line);

	CHECK(!bpf_map_lookup_elem(fd, &zero, &l), "lookup: %s", strerror(errno));
	CHECK(!bpf_map_update_elem(fd, &zero, &none, BPF_ANY), "update: %s", strerror(errno));
	return l;
}

/* @n frames that leave by @out ? a : b, so that they pass a's egress or ingress. */
static void send_frames(bool out, unsigned int n)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(out ? veth.a : veth.b),
	};
	weir_autoclose int fd = socket(AF_PACKET, SOCK_RAW, 0);
	uint8_t frame[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, PROTOCOL >> 8, PROTOCOL & 255 };

	CHECK(fd >= 0, "packet socket: %s", strerror(errno));
	for (unsigned int i = 0; i < n; i++)
		if (sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			CHECK(errno == ENOBUFS, "sendto: %s", strerror(errno));
}

/* Who sees a packet, in order. */
static uint64_t seen(bool out)
{
	take_line();
	send_frames(out, 1);
	return take_line().seen;
}

/* The kernel takes a link off a moment after its last pin has gone (bpf_link_put() leaves
 * that to a worker): asked until it is so. */
static unsigned int seen_soon(bool out, unsigned int want)
{
	unsigned int got = seen(out);

	for (int i = 0; i < PATIENCE_MS && got != want; i += 10) {
		test_sleep_ms(10);
		got = seen(out);
	}
	return got;
}

static const char *name_of(enum weir_tc_place place)
{
	return place == WEIR_TC_FILTER ? "tc_1_x" : "learn_1_x";
}

static int attach(const struct bpf_program *p, bool out, enum weir_tc_place place)
{
	return weir_tc_attach(&dir, name_of(place), prog(p), ifindex, out, place, &err);
}

static bool attached(bool out, enum weir_tc_place place)
{
	return weir_tc_attached(&dir, name_of(place), ifindex, out, place);
}

static void detach(bool out, enum weir_tc_place place)
{
	weir_tc_detach(&dir, name_of(place), ifindex, out, place);
}

/* A program of somebody else's, at the end of the line. */
static int attach_other(bool out)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog(skel->progs.other));
	static struct bpf_tc_hook hook; /* all of it zero, padding too */
	int fd = weir_sys_tcx_link(prog(skel->progs.other), ifindex, out, false);

	if (fd >= 0)
		return fd;
	hook.sz = sizeof(hook);
	hook.ifindex = (int)ifindex;
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_create(&hook);
	hook.attach_point = out ? BPF_TC_EGRESS : BPF_TC_INGRESS;
	CHECK_EQ(bpf_tc_attach(&hook, &opts), 0);
	return -1;
}

/* A filter of another kind: it ends the line, too. @where: direction, priority and
 * protocol. Which kinds there are is the kernel's affair. */
static void add_filter(const char *where)
{
	char command[320];

	snprintf(command, sizeof(command),
		 "tc filter add dev %s %s u32 match u32 0 0 flowid 1:1 "
		 "2>/dev/null || tc filter add dev %s %s matchall classid 1:1",
		 veth.a, where, veth.a, where);
	if (system(command))
		SKIP("this kernel has neither u32 nor matchall");
}

static bool has_clsact(void)
{
	char command[96];

	snprintf(command, sizeof(command), "tc qdisc show dev %s | grep -q clsact", veth.a);
	return system(command) == 0;
}

/* ---- Order */

enum step { FILTER, LEARN, OTHER, STEPS };

static void take_steps(const enum step *order, bool out)
{
	int fd = -1;

	for (int i = 0; i < STEPS; i++) {
		if (order[i] == FILTER)
			CHECK_OK(attach(skel->progs.weir_filter_tc1, out, WEIR_TC_FILTER));
		else if (order[i] == LEARN)
			CHECK_OK(attach(skel->progs.weir_learn, out, WEIR_TC_LEARN));
		else
			fd = attach_other(out);
	}
	CHECK_EQ(seen_soon(out, 134), 134);
	/* Either may go and come back. */
	detach(out, WEIR_TC_FILTER);
	CHECK_EQ(seen_soon(out, 34), 34);
	CHECK_OK(attach(skel->progs.weir_filter_tc1, out, WEIR_TC_FILTER));
	CHECK_EQ(seen_soon(out, 134), 134);
	detach(out, WEIR_TC_LEARN);
	CHECK_EQ(seen_soon(out, 14), 14);
	CHECK_OK(attach(skel->progs.weir_learn, out, WEIR_TC_LEARN));
	CHECK_EQ(seen_soon(out, 134), 134);
	detach(out, WEIR_TC_FILTER);
	detach(out, WEIR_TC_LEARN);
	CHECK_EQ(seen_soon(out, 4), 4);
	if (fd >= 0)
		close(fd);
	else
		test_run("tc qdisc del dev %s clsact", veth.a);
	CHECK_EQ(seen_soon(out, 0), 0);
}

static void in_any_sequence(void)
{
	static const enum step orders[][STEPS] = {
		{ FILTER, LEARN, OTHER }, { FILTER, OTHER, LEARN }, { LEARN, FILTER, OTHER },
		{ LEARN, OTHER, FILTER }, { OTHER, FILTER, LEARN }, { OTHER, LEARN, FILTER },
	};

	begin();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(orders); i++)
		for (int out = 0; out < 2; out++)
			take_steps(orders[i], out);
}

/* ---- Replacement */

static void replaced(void)
{
	begin();
	for (int out = 0; out < 2; out++) {
		CHECK(!attached(out, WEIR_TC_FILTER), "attached to begin with");
		CHECK_OK(attach(skel->progs.weir_filter_tc1, out, WEIR_TC_FILTER));
		CHECK(attached(out, WEIR_TC_FILTER), "not attached");
		CHECK(!attached(!out, WEIR_TC_FILTER) && !attached(out, WEIR_TC_LEARN),
		      "attached elsewhere too");
		CHECK_OK(attach(skel->progs.weir_filter_tc2, out, WEIR_TC_FILTER));
		CHECK_EQ(seen_soon(out, 2), 2);
		detach(out, WEIR_TC_FILTER);
		detach(out, WEIR_TC_FILTER);
		CHECK(!attached(out, WEIR_TC_FILTER), "still attached");
		CHECK_EQ(seen_soon(out, 0), 0);
	}
	CHECK(!has_clsact(), "the clsact qdisc stays behind");
}

/* Under traffic nothing slips past while one program that drops takes the place of
 * another: the learner behind them would see it. */
static void no_gap(bool out, void (*replace)(bool out))
{
	struct line l;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			send_frames(out, 1000);
	}
	test_sleep_ms(20);
	CHECK(take_line().packets == 0, "the filter does not drop");
	for (int i = 0; i < REPLACEMENTS; i++)
		replace(out);
	l = take_line();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_EQ(l.packets, 0);
}

static void replace_drop(bool out)
{
	CHECK_OK(attach(skel->progs.weir_filter_tcd, out, WEIR_TC_FILTER));
}

static void without_a_gap(void)
{
	begin();
	for (int out = 0; out < 2; out++) {
		CHECK_OK(attach(skel->progs.weir_learn, out, WEIR_TC_LEARN));
		CHECK_EQ(seen_soon(out, 3), 3);
		replace_drop(out);
		no_gap(out, replace_drop);
		detach(out, WEIR_TC_FILTER);
		CHECK_EQ(seen_soon(out, 3), 3);
		detach(out, WEIR_TC_LEARN);
	}
}

/* ---- The end of things */

static int find_detail(void *arg, const struct weir_pin_entry *e)
{
	char *text = arg;

	if (!strncmp(e->name, "tc_", 3))
		snprintf(text, 96, "%s", e->detail);
	return 0;
}

static void expect_detail(const char *part)
{
	char text[96] = "(no entry)";

	CHECK_OK(weir_pin_list(find_detail, text, &err));
	CHECK(strstr(text, part), "'%s' tells nothing of '%s'", text, part);
}

/* A pin as the kernel keeps it must not depend on a command that goes on. */
static void interface_gone(void)
{
	begin();
	CHECK_OK(attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER));
	expect_detail("ingress on wa");
	test_run("ip link del %s", veth.a);
	CHECK(!attached(false, WEIR_TC_FILTER), "attached to nothing");
	expect_detail("detached: interface gone");
	CHECK(attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER) < 0,
	      "attached to nothing");
	CHECK(strstr(err.msg, "gone"), "message: %s", err.msg);
	detach(false, WEIR_TC_FILTER);

	test_run("ip link add %s type veth peer name %s && ip link set %s up && ip link set %s up",
		 veth.a, veth.b, veth.a, veth.b);
	ifindex = if_nametoindex(veth.a);
	CHECK(!attached(false, WEIR_TC_FILTER), "attached to the new one by itself");
	CHECK_OK(attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER));
	CHECK_EQ(seen_soon(false, 1), 1);
}

static void unload(void)
{
	begin();
	for (int out = 0; out < 2; out++) {
		CHECK_OK(attach(skel->progs.weir_filter_tc1, out, WEIR_TC_FILTER));
		CHECK_OK(weir_tc_attach(&dir, "learn", prog(skel->progs.weir_learn), ifindex, out,
					WEIR_TC_LEARN, &err));
		CHECK_EQ(seen_soon(out, 13), 13);
		weir_pin_close(&dir);
		CHECK_OK(weir_pin_unload("filter", &err));
		CHECK_EQ(seen_soon(out, 0), 0);
		CHECK(!has_clsact(), "the clsact qdisc stays behind");
		CHECK_OK(weir_pin_open(&dir, "filter", true, &err));
	}
}

/* ---- clsact, on every kernel */

static void clsact_attach(const struct bpf_program *p, bool out, enum weir_tc_place place)
{
	CHECK_OK(weir_clsact_attach(prog(p), ifindex, out, place, &err));
}

static void replace_clsact(bool out)
{
	clsact_attach(skel->progs.weir_filter_tcd, out, WEIR_TC_FILTER);
}

static void clsact_itself(void)
{
	begin();
	for (int out = 0; out < 2; out++) {
		clsact_attach(skel->progs.weir_learn, out, WEIR_TC_LEARN);
		replace_clsact(out);
		no_gap(out, replace_clsact);
		clsact_attach(skel->progs.weir_filter_tc2, out, WEIR_TC_FILTER);
		CHECK_EQ(seen_soon(out, 23), 23);
		CHECK(!weir_clsact_attached(ifindex, !out, WEIR_TC_FILTER), "both directions");
		weir_clsact_detach(ifindex, out, WEIR_TC_FILTER);
		CHECK(has_clsact(), "the qdisc went with its first filter");
		CHECK_EQ(seen_soon(out, 3), 3);
		weir_clsact_detach(ifindex, out, WEIR_TC_LEARN);
		CHECK(!has_clsact(), "the qdisc stays");
	}
}

/* A qdisc that was there stays, and so does one that others use by now. */
static void clsact_of_others(void)
{
	begin();
	test_run("tc qdisc add dev %s clsact", veth.a);
	clsact_attach(skel->progs.weir_filter_tc1, true, WEIR_TC_FILTER);
	weir_clsact_detach(ifindex, true, WEIR_TC_FILTER);
	CHECK(has_clsact(), "the qdisc that was there is gone");
	test_run("tc qdisc del dev %s clsact", veth.a);

	clsact_attach(skel->progs.weir_filter_tc1, true, WEIR_TC_FILTER);
	add_filter("ingress protocol ip");
	weir_clsact_detach(ifindex, true, WEIR_TC_FILTER);
	CHECK(has_clsact(), "the qdisc that others use is gone");
	test_run("tc filter show dev %s ingress | grep -q pref", veth.a);
}

/* Priorities of others, and those that it leaves to weir. */
static void clsact_priorities(void)
{
	static const unsigned int others[] = { 2, 3, 100, 22354, 22355, 22356, 49152, 65535 };

	begin();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(others); i++) {
		for (int learn_first = 0; learn_first < 2; learn_first++) {
			/* With 2, the learner has no place of its own. */
			bool both = others[i] > 2;
			char where[64];

			snprintf(where, sizeof(where), "ingress prio %u protocol all", others[i]);
			test_run("tc qdisc add dev %s clsact", veth.a);
			add_filter(where);
			if (learn_first && both)
				clsact_attach(skel->progs.weir_learn, false, WEIR_TC_LEARN);
			clsact_attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER);
			if (!learn_first && both)
				clsact_attach(skel->progs.weir_learn, false, WEIR_TC_LEARN);
			CHECK(seen(false) == (both ? 13 : 1), "beside priority %u", others[i]);
			test_run("tc qdisc del dev %s clsact", veth.a);
		}
	}
	test_run("tc qdisc add dev %s clsact", veth.a);
	add_filter("ingress prio 1 protocol all");
	CHECK(weir_clsact_attach(prog(skel->progs.weir_filter_tc1), ifindex, false, WEIR_TC_FILTER,
				 &err) < 0,
	      "attached behind a filter that ends the line");
	CHECK(strstr(err.msg, "priority above 2"), "message: %s", err.msg);
	CHECK(has_clsact(), "the qdisc of others is gone");
}

/* What tc chooses by itself comes behind weir's. */
static void clsact_later_ones(void)
{
	begin();
	clsact_attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER);
	add_filter("ingress protocol all");
	add_filter("ingress protocol ip");
	CHECK_EQ(seen_soon(false, 1), 1);
}

static void kind(void)
{
	begin();
	CHECK_OK(attach(skel->progs.weir_filter_tc1, false, WEIR_TC_FILTER));
	CHECK_EQ(has_clsact(), !has_tcx());
	/* Names that look like it lead nowhere. */
	CHECK(!weir_tc_forget("tc_1_in") && !weir_tc_forget("tc_clsact_1_up_0") &&
		      !weir_tc_forget("tc_clsact_1_in_9") && !weir_tc_forget("tc_clsact_1_in_0x"),
	      "a name that is none");
	CHECK_EQ(seen_soon(false, 1), 1);
}

static const struct test tests[] = {
	{ "in_any_sequence", in_any_sequence },
	{ "replaced", replaced },
	{ "without_a_gap", without_a_gap },
	{ "interface_gone", interface_gone },
	{ "unload", unload },
	{ "clsact_itself", clsact_itself },
	{ "clsact_of_others", clsact_of_others },
	{ "clsact_priorities", clsact_priorities },
	{ "clsact_later_ones", clsact_later_ones },
	{ "kind", kind },
};

int main(int argc, char **argv)
{
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
