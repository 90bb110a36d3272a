/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/libbpf.h>

#include "dataplane/load.h"
#include "dataplane/netlink.h"
#include "dataplane/tc_impl.h"

#define HANDLE(place) ((uint32_t)'W' << 24 | (uint32_t)'R' << 16 | (uint32_t)(place))
/* An empty chain of filters of this number, at ingress, says that weir made the
 * qdisc. No packet ever goes there. */
#define MADE_CHAIN ((uint32_t)'W' << 16 | (uint32_t)'E' << 8 | 'I') /* has 28 bits */
#define DUMP_TRIES 5

static uint32_t parent(bool out)
{
	return TC_H_MAKE(TC_H_CLSACT, out ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
}

/* libbpf refuses a hook whose padding is not zero, which no initializer promises. */
static void set_hook(struct bpf_tc_hook *hook, uint32_t ifindex, enum bpf_tc_attach_point point)
{
	memset(hook, 0, sizeof(*hook));
	hook->sz = sizeof(*hook);
	hook->ifindex = (int)ifindex;
	hook->attach_point = point;
}

static void set_direction(struct bpf_tc_hook *hook, uint32_t ifindex, bool out)
{
	set_hook(hook, ifindex, out ? BPF_TC_EGRESS : BPF_TC_INGRESS);
}

/* ---- What is there */

/* The filters of one direction. */
struct line {
	uint32_t others;		   /* the lowest priority of another's; 0 = none */
	uint32_t priority[WEIR_TC_PLACES]; /* of ours; 0 = not there */
};

static int see_filter(void *arg, const struct nlmsghdr *h)
{
	const struct tcmsg *t = weir_nl_payload(h, sizeof(*t));
	const uint32_t *chain = weir_nl_find(h, sizeof(*t), TCA_CHAIN, sizeof(*chain));
	struct line *l = arg;
	uint32_t priority;

	if (h->nlmsg_type != RTM_NEWTFILTER || !t || (chain && *chain))
		return 0;
	priority = TC_H_MAJ(t->tcm_info) >> 16;
	for (uint32_t i = 0; i < WEIR_TC_PLACES; i++)
		if (t->tcm_handle == HANDLE(i))
			l->priority[i] = priority;
	/* Without a handle it is the head of those of a priority. */
	if (t->tcm_handle && TC_H_MAJ(t->tcm_handle) != HANDLE(0) &&
	    (!l->others || priority < l->others))
		l->others = priority;
	return 0;
}

static int ask_tc(uint16_t type, uint32_t ifindex, bool out,
		  int (*fn)(void *arg, const struct nlmsghdr *h), void *arg)
{
	const struct tcmsg t = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)ifindex,
		.tcm_parent = parent(out),
	};
	struct weir_nl_msg m;

	weir_nl_begin(&m, type, NLM_F_DUMP, &t, sizeof(t));
	return weir_nl_ask(NETLINK_ROUTE, &m, fn, arg);
}

static int look(uint32_t ifindex, bool out, struct line *l)
{
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		memset(l, 0, sizeof(*l));
		ret = ask_tc(RTM_GETTFILTER, ifindex, out, see_filter, l);
	}
	return ret;
}

/* ---- The qdisc */

static int mark_qdisc(uint32_t ifindex)
{
	const struct tcmsg t = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)ifindex,
		.tcm_parent = parent(false),
	};
	const uint32_t chain = MADE_CHAIN;
	struct weir_nl_msg m;

	weir_nl_begin(&m, RTM_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, &t, sizeof(t));
	weir_nl_attr(&m, TCA_CHAIN, &chain, sizeof(chain));
	return weir_nl_ask(NETLINK_ROUTE, &m, NULL, NULL);
}

struct chains {
	bool made;   /* ours, the mark */
	bool others; /* any other: filters, or a user's chain */
};

static int see_chain(void *arg, const struct nlmsghdr *h)
{
	const uint32_t *chain = weir_nl_find(h, sizeof(struct tcmsg), TCA_CHAIN, sizeof(*chain));
	struct chains *c = arg;

	if (h->nlmsg_type != RTM_NEWCHAIN || !chain)
		return 0;
	if (*chain == MADE_CHAIN)
		c->made = true;
	else
		c->others = true;
	return 0;
}

/* Nothing of the clsact qdisc but what weir made of it: away with it. */
static void remove_qdisc(uint32_t ifindex)
{
	struct chains c = { 0 };
	struct bpf_tc_hook both;

	set_hook(&both, ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS);
	if (!ask_tc(RTM_GETCHAIN, ifindex, false, see_chain, &c) &&
	    !ask_tc(RTM_GETCHAIN, ifindex, true, see_chain, &c) && c.made && !c.others)
		bpf_tc_hook_destroy(&both);
}

static int need_qdisc(uint32_t ifindex)
{
	struct bpf_tc_hook both;
	int ret;

	set_hook(&both, ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS);
	ret = bpf_tc_hook_create(&both);
	if (ret)
		return ret == -EEXIST ? 0 : ret;
	ret = mark_qdisc(ifindex);
	if (ret)
		bpf_tc_hook_destroy(&both);
	return ret;
}

/* ---- Filters */

/* The priority that puts @place before the filters of others, and among weir's own in
 * their order; 0 where there is no room. Room is left for those that may come between; where
 * it is scarce, rather before than behind. */
static uint32_t choose_priority(const struct line *l, enum weir_tc_place place)
{
	uint32_t low = 1, high = WEIR_TC_PRIORITY + WEIR_TC_PLACES - 1, before = 0, behind = 0;

	if (l->others && l->others - 1 < high)
		high = l->others - 1;
	for (uint32_t i = 0; i < (uint32_t)place; i++) {
		before++;
		if (l->priority[i] >= low) {
			low = l->priority[i] + 1;
			before = 0;
		}
	}
	for (uint32_t i = (uint32_t)place + 1; i < WEIR_TC_PLACES && !l->priority[i]; i++)
		behind++;
	for (uint32_t i = (uint32_t)place + 1; i < WEIR_TC_PLACES; i++)
		if (l->priority[i] && l->priority[i] - 1 < high)
			high = l->priority[i] - 1;
	if (low > high)
		return 0;
	if (high - low >= before + behind)
		return high - behind;
	return high - low > before ? low + before : high;
}

static int explain(int code, uint32_t ifindex, bool out, struct weir_error *err)
{
	const char *way = out ? "egress" : "ingress";
	char name[IF_NAMESIZE];

	if (!if_indextoname(ifindex, name))
		code = -ENODEV;
	/* Of another kind or protocol than what has the priority already; or the
	 * qdisc is the older `ingress`, which has no way out. */
	if (code == -EINVAL || code == -EBUSY)
		return weir_fail(err, code,
				 "the tc filters that %s has at %s leave no room before them: see "
				 "`tc qdisc show dev %s` and `tc filter show dev %s %s`, and give "
				 "them a priority above 2, under clsact",
				 name, way, name, name, way);
	return weir_load_explain(err, code, "attach to tc");
}

int weir_clsact_attach(int prog_fd, uint32_t ifindex, bool out, enum weir_tc_place place,
		       struct weir_error *err)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = HANDLE(place));
	struct bpf_tc_hook hook;
	struct line l;
	int ret = need_qdisc(ifindex);

	set_direction(&hook, ifindex, out);
	if (!ret)
		ret = look(ifindex, out, &l);
	if (ret)
		return explain(ret, ifindex, out, err);
	opts.priority = l.priority[place];
	if (opts.priority)
		opts.flags = BPF_TC_F_REPLACE;
	else
		opts.priority = choose_priority(&l, place);
	ret = opts.priority ? bpf_tc_attach(&hook, &opts) : -EBUSY;
	if (!ret)
		return 0;
	remove_qdisc(ifindex);
	return explain(ret, ifindex, out, err);
}

void weir_clsact_detach(uint32_t ifindex, bool out, enum weir_tc_place place)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE(place));
	struct bpf_tc_hook hook;
	struct line l;

	if (look(ifindex, out, &l) || !l.priority[place])
		return;
	set_direction(&hook, ifindex, out);
	opts.priority = l.priority[place];
	bpf_tc_detach(&hook, &opts);
	remove_qdisc(ifindex);
}

uint32_t weir_clsact_prog(uint32_t ifindex, bool out, enum weir_tc_place place)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE(place));
	struct bpf_tc_hook hook;
	struct line l;

	if (look(ifindex, out, &l) || !l.priority[place])
		return 0;
	set_direction(&hook, ifindex, out);
	opts.priority = l.priority[place];
	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

bool weir_clsact_attached(uint32_t ifindex, bool out, enum weir_tc_place place)
{
	struct line l;

	return !look(ifindex, out, &l) && l.priority[place];
}
