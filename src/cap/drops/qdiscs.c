/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/qdiscs.h"

#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>

#include "dataplane/netlink.h"

#define DUMP_TRIES 5

/* Each packet that one of them drops is freed, and tells the same. */
static const struct weir_drops_counter_def qdisc_def = {
	"qdisc drops",
	WEIR_STAGE_QDISC,
	WEIR_COUNTER_COUNTS,
	NULL,
	" QDISC_DROP QDISC_OVERLIMIT QDISC_CONGESTED CAKE_FLOOD FQ_BAND_LIMIT FQ_HORIZON_LIMIT "
	"FQ_FLOW_LIMIT DUALPI2_STEP_DROP TC_EGRESS ",
	NULL,
	0,
	"the interface's queueing discipline dropped them: `tc -s qdisc`",
	NULL,
};

struct dump {
	struct weir_drops_counters_now *c; /* NULL: what waits is asked for */
	uint32_t ifindex;
	uint64_t waiting;
};

static int take(void *arg, const struct nlmsghdr *h)
{
	const struct tcmsg *t = weir_nl_payload(h, sizeof(*t));
	struct weir_drops_counter x = { .def = &qdisc_def };
	const struct gnet_stats_queue *q;
	struct dump *d = arg;

	if (h->nlmsg_type != RTM_NEWQDISC || !t || t->tcm_parent != TC_H_ROOT ||
	    (d->ifindex && d->ifindex != (uint32_t)t->tcm_ifindex))
		return 0;
	q = weir_nl_find_in(h, sizeof(*t), TCA_STATS2, TCA_STATS_QUEUE, sizeof(*q));
	if (!q)
		return 0;
	d->waiting += q->qlen;
	if (!d->c)
		return 0;
	x.ifindex = (uint32_t)t->tcm_ifindex;
	x.value = q->drops;
	snprintf(x.name, sizeof(x.name), "%s", qdisc_def.name);
	/* One that has gone meanwhile has lost its counter too. */
	return if_indextoname(x.ifindex, x.iface) ? weir_drops_counter_add(d->c, &x) : 0;
}

static int dump(struct dump *d)
{
	const struct tcmsg any = { .tcm_family = AF_UNSPEC };
	size_t before = d->c ? d->c->n : 0;
	struct weir_nl_msg m;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		d->waiting = 0;
		if (d->c)
			d->c->n = before;
		weir_nl_begin(&m, RTM_GETQDISC, NLM_F_DUMP, &any, sizeof(any));
		ret = weir_nl_ask(NETLINK_ROUTE, &m, take, d);
	}
	return ret;
}

int weir_drops_read_qdiscs(struct weir_drops_counters_now *c, uint32_t ifindex)
{
	struct dump d = { .c = c, .ifindex = ifindex };

	return dump(&d);
}

int weir_drops_qdiscs_waiting(uint64_t *ret)
{
	struct dump d = { 0 };
	int code = dump(&d);

	*ret = d.waiting;
	return code;
}
