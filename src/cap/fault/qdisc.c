/* SPDX-License-Identifier: GPL-2.0-only */
/* Can an interface hold packets? The time at which one leaves stands in it; of all qdiscs
 * only fq waits for it. */
#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "cap/fault/engine.h"
#include "dataplane/netlink.h"

#define DUMP_TRIES 5

struct qdiscs {
	int ifindex;
	char root[IFNAMSIZ];
	bool others; /* behind mq there is one that is not fq */
};

static int see(void *arg, const struct nlmsghdr *h)
{
	const struct tcmsg *t = weir_nl_payload(h, sizeof(*t));
	const char *kind = t ? weir_nl_find(h, sizeof(*t), TCA_KIND, 1) : NULL;
	struct qdiscs *q = arg;

	if (h->nlmsg_type != RTM_NEWQDISC || !kind || t->tcm_ifindex != q->ifindex ||
	    t->tcm_parent == TC_H_CLSACT)
		return 0;
	if (t->tcm_parent == TC_H_ROOT)
		snprintf(q->root, sizeof(q->root), "%s", kind);
	else if (strcmp(kind, "fq") != 0)
		q->others = true;
	return 0;
}

int weir_fault_check_qdisc(const char *iface, struct weir_error *err)
{
	struct qdiscs q = { .ifindex = (int)if_nametoindex(iface) };
	const struct tcmsg t = { .tcm_family = AF_UNSPEC, .tcm_ifindex = q.ifindex };
	struct weir_nl_msg m;
	int ret = -EINTR;

	for (int i = 0; i < DUMP_TRIES && ret == -EINTR; i++) {
		q.root[0] = '\0';
		q.others = false;
		weir_nl_begin(&m, RTM_GETQDISC, NLM_F_DUMP, &t, sizeof(t));
		ret = weir_nl_ask(NETLINK_ROUTE, &m, see, &q);
	}
	if (ret)
		return weir_fail(err, ret, "cannot look at the qdisc of %s: %s", iface,
				 strerror(-ret));
	if (!strcmp(q.root, "fq") || (!strcmp(q.root, "mq") && !q.others))
		return 0;
	return weir_fail(
		err, -EOPNOTSUPP,
		"--delay: the qdisc of %s (%s) cannot hold packets, only fq can: `tc qdisc "
		"replace dev %s root fq`, where the kernel has it",
		iface, q.root[0] ? q.root : "none", iface);
}
