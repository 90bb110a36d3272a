/* SPDX-License-Identifier: GPL-2.0-only */
/* Test runs (BPF_PROG_TEST_RUN): the verdict on a packet that nobody sends. */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "bpf/policy_stub.h"
#include "dataplane/craft.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"
#include "try.skel.h"

#define MAPS_MAX 64 /* of one program */
#define TYPE_AT (2 * ETH_ALEN)

static const struct weir_filter_test question = {
	.magic = { (__u32)WEIR_FILTER_TEST_MAGIC, (__u32)(WEIR_FILTER_TEST_MAGIC >> 32) },
	.decision = WEIR_POLICY_DECISION(WEIR_POLICY_NO_ROW, 0, 0),
};

static int explain(int code, const struct weir_craft *packet, struct weir_error *err)
{
	if (code == -EINVAL || code == -EMSGSIZE)
		return weir_fail(err, code,
				 "the kernel takes no test packet of %zu bytes at this hook: try a "
				 "smaller one",
				 packet->len);
	return weir_load_explain(err, code, "run the filter on a test packet");
}

static int read_answer(const struct weir_filter_test *t, struct weir_filter_verdict *ret,
		       struct weir_error *err)
{
	if (!(t->flags & WEIR_TEST_DONE))
		return weir_fail(err, -ENOENT,
				 "the filter did not judge the packet: the interface is none of "
				 "the filter's now, see `weir filter status`");
	ret->dropped = t->reason != WEIR_DROP_NONE;
	ret->reason = (enum weir_filter_reason)t->reason;
	ret->rule = WEIR_POLICY_RULE(t->decision);
	ret->flags = t->flags;
	ret->unseen = NULL;
	return 0;
}

static uint16_t type_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static bool is_tag(const uint8_t *p)
{
	return type_at(p) == ETH_P_8021Q || type_at(p) == ETH_P_8021AD;
}

/* Bytes of the crafted frame that an interface without a link layer has not. */
static uint32_t skip_of(uint32_t ifindex, const struct weir_craft *packet)
{
	return packet->len > ETH_HLEN && weir_has_no_l2(ifindex) ? ETH_HLEN : 0;
}

int weir_try_open(int scratch_fd, int prog_fd, const uint32_t *ifindex, size_t n,
		  struct try_bpf **ret, struct weir_error *err)
{
	struct try_bpf *skel;
	uint32_t zero = 0;
	int code;

	weir_load_setup();
	skel = try_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the gate of a test run");
	skel->rodata->weir_try_no_l2_count = weir_no_l2(ifindex, n, skel->rodata->weir_try_no_l2);
	code = bpf_map__reuse_fd(skel->maps.weir_scratch, scratch_fd);
	if (code)
		weir_load_explain(err, code, "share the gate's record");
	else
		code = weir_load(skel->obj, NULL, err);
	if (!code &&
	    bpf_map_update_elem(bpf_map__fd(skel->maps.weir_try), &zero, &prog_fd, BPF_ANY))
		code = weir_load_explain(err, -errno, "lead a test run to the filter");
	if (code) {
		try_bpf__destroy(skel);
		return code;
	}
	*ret = skel;
	return 0;
}

int weir_try_xdp(int gate_fd, uint32_t ifindex, const struct weir_craft *packet,
		 struct weir_filter_verdict *ret, struct weir_error *err)
{
	struct {
		struct weir_filter_test test;
		uint8_t frame[WEIR_CRAFT_MAX];
	} in, out;
	const uint32_t head = sizeof(in.test), skip = skip_of(ifindex, packet);
	const uint32_t size = head + (uint32_t)packet->len - skip;
	struct xdp_md ctx = { .data = head, .data_end = size, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &in, .data_size_in = size, .data_out = &out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .repeat = 1);
	int code;

	in.test = question;
	memcpy(in.frame, packet->frame + skip, packet->len - skip);
	memset(&out.test, 0, sizeof(out.test));
	code = bpf_prog_test_run_opts(gate_fd, &opts);
	return code ? explain(code, packet, err) : read_answer(&out.test, ret, err);
}

int weir_try_tc(int prog_fd, uint32_t ifindex, bool out, const struct weir_craft *packet,
		struct weir_filter_verdict *ret, struct weir_error *err)
{
	struct __sk_buff ctx = { .ifindex = ifindex }, after = { 0 };
	uint8_t frame[WEIR_CRAFT_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->frame,
		    .data_size_in = (uint32_t)packet->len, .data_out = frame,
		    .data_size_out = sizeof(frame), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .ctx_out = &after, .ctx_size_out = sizeof(after), .repeat = 1);
	struct weir_filter_test t = question;
	int code;

	_Static_assert(sizeof(ctx.cb) == sizeof(t), "the question fills skb->cb");
	if (out)
		t.decision = WEIR_POLICY_OUT;
	memcpy(ctx.cb, &t, sizeof(t));
	code = bpf_prog_test_run_opts(prog_fd, &opts);
	if (code)
		return explain(code, packet, err);
	memcpy(&t, after.cb, sizeof(t));
	return read_answer(&t, ret, err);
}

/* Of the frame, what netfilter sees: without tags, behind an Ethernet header that the
 * test run takes off as the stack does. NULL, or why it sees nothing. */
static const char *strip(const struct weir_craft *packet, struct weir_craft *ret)
{
	const uint8_t *frame = packet->frame;
	size_t at = TYPE_AT;

	while (at + 4 < packet->len && is_tag(frame + at)) {
		/* A VLAN of 0 is a mere priority. */
		if ((frame[at + 2] & 0x0f) || frame[at + 3])
			return "a packet with a VLAN tag belongs to the VLAN's own interface there";
		at += 4;
	}
	if (at + 2 > packet->len || (type_at(frame + at) != ETH_P_IP &&
				     type_at(frame + at) != ETH_P_IPV6))
		return "it is not IP";
	memcpy(ret->frame, frame, TYPE_AT);
	memcpy(ret->frame + TYPE_AT, frame + at, packet->len - at);
	ret->len = packet->len - at + TYPE_AT;
	return NULL;
}

int weir_try_netfilter(int prog_fd, uint32_t ifindex, bool out, const struct weir_craft *packet,
		       struct weir_filter_verdict *ret, struct weir_error *err)
{
	struct weir_craft plain;

	memset(ret, 0, sizeof(*ret));
	ret->unseen = strip(packet, &plain);
	return ret->unseen ? 0 : weir_try_tc(prog_fd, ifindex, out, &plain, ret, err);
}

/* ---- The programs in force */

/* The gates' record, which the program @prog_fd works on: a descriptor, or a negative
 * errno. */
static int open_scratch(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t ids[MAPS_MAX], len = sizeof(info);

	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = MAPS_MAX;
	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return -errno;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++) {
		weir_autoclose int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map = { 0 };

		len = sizeof(map);
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &map, &len) &&
		    strcmp(map.name, "weir_scratch") == 0)
			return WEIR_TAKE_FD(fd);
	}
	return -ENOENT;
}

static int test_xdp(struct weir_filter *f, uint32_t ifindex, const struct weir_craft *packet,
		    struct weir_filter_verdict *ret, struct weir_error *err)
{
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = weir_pin_get(&f->dir, weir_pin_generation(name, f->number, "xdp"));
	weir_autoclose int scratch_fd = fd < 0 ? fd : open_scratch(fd);
	struct try_bpf *skel;
	int code;

	if (scratch_fd < 0)
		return weir_load_explain(err, scratch_fd, "open the filter's program");
	code = weir_try_open(scratch_fd, fd, &ifindex, 1, &skel, err);
	if (code)
		return code;
	code = weir_try_xdp(bpf_program__fd(skel->progs.weir_filter_try), ifindex, packet, ret,
			    err);
	try_bpf__destroy(skel);
	return code;
}

static int test_tc(struct weir_filter *f, uint32_t ifindex, bool out,
		   const struct weir_craft *packet, struct weir_filter_verdict *ret,
		   struct weir_error *err)
{
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = weir_pin_get(&f->dir, weir_pin_generation(name, f->number, "tc"));

	if (fd < 0)
		return weir_load_explain(err, fd, "open the filter's program");
	return weir_try_tc(fd, ifindex, out, packet, ret, err);
}

/* A netfilter program can be run on packets of the loopback interface alone, and
 * unmarked, so that it would count them. The same policy is loaded once more for
 * the hook tc, whose program then parses and reads what follows the link layer. */
static int test_netfilter(struct weir_filter *f, const struct weir_policy_iface *i,
			  uint32_t ifindex, const struct weir_craft *packet,
			  struct weir_filter_verdict *ret, struct weir_error *err)
{
	weir_cleanup(weir_generation_close) struct weir_generation g;
	size_t at = (size_t)(i - f->policy->ifaces);
	int code;

	weir_generation_init(&g);
	g.policy = f->policy;
	g.sets = f->sets;
	g.want = 1U << WEIR_HOOK_NETFILTER;
	g.trial = true;
	g.places.ifindex[at] = ifindex;
	code = weir_filter_clock(&g.now.jiffies, &g.now.boot, &g.now.tick, err);
	if (!code)
		code = weir_generation_compile(&g, err);
	if (!code)
		code = weir_generation_load(f, &g, NULL, err);
	if (code)
		return code;
	return weir_try_netfilter(g.hook[WEIR_HOOK_NETFILTER].prog_fd, ifindex, i->out, packet, ret,
				  err);
}

int weir_filter_test(struct weir_filter *f, const struct weir_policy_iface *i,
		     const struct weir_craft *packet, struct weir_filter_verdict *ret,
		     struct weir_error *err)
{
	const struct weir_policy_iface *own =
		weir_policy_find_iface(f->policy, i->name, i->hook, i->out);
	struct weir_filter_iface_info info;
	int code;

	if (!own)
		return weir_fail(err, -ENOENT, "%s is not filtered there: see `weir filter status`",
				 i->name);
	code = weir_filter_iface_info(f, own, &info);
	if (code)
		return weir_load_explain(err, code, "look at the filter");
	if (info.state != WEIR_IFACE_ON)
		return weir_fail(err, -ENODEV, "%s is in the policy, but %s: `weir filter on %s`",
				 i->name,
				 info.state == WEIR_IFACE_GONE ? "gone" : "the filter is off it",
				 i->name);
	if (own->hook == WEIR_HOOK_XDP)
		return test_xdp(f, info.ifindex, packet, ret, err);
	if (own->hook == WEIR_HOOK_TC)
		return test_tc(f, info.ifindex, own->out, packet, ret, err);
	return test_netfilter(f, own, info.ifindex, packet, ret, err);
}
