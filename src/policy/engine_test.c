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

#include "base/cleanup.h"
#include "bpf/policy_stub.h"
#include "dataplane/craft.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"

static const struct weir_filter_test question = {
	.magic = { (__u32)WEIR_GATE_TEST_MAGIC, (__u32)(WEIR_GATE_TEST_MAGIC >> 32) },
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
	return 0;
}

/* Bytes of the crafted frame that an interface without a link layer has not. */
static uint32_t skip_of(uint32_t ifindex, const struct weir_craft *packet)
{
	return packet->len > ETH_HLEN && weir_has_no_l2(ifindex) ? ETH_HLEN : 0;
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

/* ---- The programs in force */

static int test_xdp(struct weir_filter *f, uint32_t ifindex, const struct weir_craft *packet,
		    struct weir_filter_verdict *ret, struct weir_error *err)
{
	weir_autoclose int link_fd = -1, gate_fd = -1;
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[WEIR_PIN_NAME_MAX];

	snprintf(name, sizeof(name), "gate_%u", ifindex);
	link_fd = weir_pin_get(&f->dir, name);
	if (link_fd < 0 || bpf_obj_get_info_by_fd(link_fd, &info, &len))
		return weir_load_explain(err, link_fd < 0 ? link_fd : -errno, "find the XDP gate");
	gate_fd = bpf_prog_get_fd_by_id(info.prog_id);
	if (gate_fd < 0)
		return weir_load_explain(err, -errno, "open the XDP gate");
	return weir_try_xdp(gate_fd, ifindex, packet, ret, err);
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
 * the hook tc, whose program differs only in how it comes by the packet. */
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
	return weir_try_tc(g.hook[WEIR_HOOK_NETFILTER].prog_fd, ifindex, i->out, packet, ret, err);
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
