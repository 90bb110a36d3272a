/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bytes that flows have had by `weir bypass`, where no packet carries them: from the pinned
 * accounts of its rules, at each picture. A flow is known here by the packets of its
 * handshake, so that the match and the interfaces of this run hold for it, too.
 */
#include "bpf/ends.h"
#include "bpf/flow.bpf.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "cap/watch/session.h"
#include "dataplane/bypass_account.h"
#include "dataplane/sys.h"

struct weir_watch_bypass {
	struct weir_bypass_account *account;
	uint64_t netns; /* of this run */
};

int weir_watch_bypass_new(struct weir_watch *w)
{
	struct weir_watch_bypass *b = calloc(1, sizeof(*b));

	if (b)
		b->account = weir_bypass_account_new();
	if (!b || !b->account || weir_sys_netns_cookie(&b->netns)) {
		weir_watch_bypass_free(b);
		return -ENOMEM;
	}
	w->bypass = b;
	return 0;
}

void weir_watch_bypass_free(struct weir_watch_bypass *b)
{
	if (!b)
		return;
	weir_bypass_account_free(b->account);
	free(b);
}

static void take(void *arg, const struct weir_bypass_seen *c)
{
	struct weir_watch *w = arg;
	struct weir_ends e = {
		.lport = c->pair.sport,
		.rport = c->pair.dport,
		.proto = IPPROTO_TCP,
		.flags = WEIR_ENDS_INITIATED,
	};
	bool one = weir_watch_one_point(w);
	struct weir_flow_key k;
	struct weir_pkt p;

	if (c->netns[0] != w->bypass->netns && c->netns[1] != w->bypass->netns)
		return;
	memcpy(e.local, c->pair.src, sizeof(e.local));
	memcpy(e.remote, c->pair.dst, sizeof(e.remote));
	weir_ends_pkt(&e, &p);
	for (unsigned int i = 0; i < (one ? 1 : w->n_ifaces); i++) {
		memset(&k, 0, sizeof(k));
		weir_flow_key_of(&p, one ? 0 : w->ifaces[i].ifindex, weir_flow_src_is_a(&p), &k);
		weir_flows_bypassed(w->flows, &k, c->cookie, c->bytes);
	}
}

static bool bytes_at_end(void *arg, uint64_t cookie, uint64_t *ret)
{
	struct weir_watch_bypass *b = arg;
	struct weir_bypass_ended e;

	if (!weir_bypass_account_ended(b->account, cookie, &e))
		return false;
	*ret = e.in + e.out;
	return true;
}

void weir_watch_bypass_look(struct weir_watch *w)
{
	struct weir_error ignored; /* the next look may be able to */

	if (!w->bypass)
		return;
	weir_flows_bypass_begin(w->flows);
	if (weir_bypass_account_read(w->bypass->account, &ignored))
		return;
	weir_bypass_account_conns(w->bypass->account, take, w);
	weir_flows_bypass_end(w->flows, bytes_at_end, w->bypass);
}
