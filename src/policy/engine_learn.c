/* SPDX-License-Identifier: GPL-2.0-only */
/* What learns replies: beside an interface whose default is to drop, in the other
 * direction. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sockets.h"
#include "dataplane/tc.h"
#include "policy/engine_impl.h"

#include "learn.skel.h"

static int need_learners(struct weir_filter *f, const struct weir_now *now,
			 struct learn_bpf **learn, struct weir_error *err)
{
	int ret;

	if ((*learn))
		return 0;
	weir_load_setup();
	(*learn) = learn_bpf__open();
	if (!(*learn))
		return weir_load_explain(err, -errno, "open what learns replies");
	(*learn)->rodata->weir_tick_ns = now->tick;
	ret = bpf_map__reuse_fd((*learn)->maps.weir_replies, f->lasting_fd[WEIR_LASTING_REPLIES]);
	if (ret)
		return weir_load_explain(err, ret, "share the table of replies");
	return weir_load((*learn)->obj, NULL, err);
}

/* The connections of the host as they are now: what answers them comes before
 * anything of them could have been learnt. @out: answers leave. */
static int seed_replies(const struct weir_filter *f, uint8_t proto, uint32_t states, bool out,
			uint64_t jiffies, struct weir_error *err)
{
	const struct weir_reply value = { .last = jiffies };
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0;
	int ret = weir_sockets_list(proto, states, &v, &n, err);

	for (size_t i = 0; !ret && i < n; i++) {
		const struct weir_addr *src = out ? &v[i].local : &v[i].remote;
		const struct weir_addr *dst = out ? &v[i].remote : &v[i].local;
		struct weir_reply_key k = {
			.sport = out ? v[i].local_port : v[i].remote_port,
			.dport = out ? v[i].remote_port : v[i].local_port,
			.proto = proto,
			.out = out,
		};

		memcpy(k.src, src->b, sizeof(k.src));
		memcpy(k.dst, dst->b, sizeof(k.dst));
		/* One that was learnt meanwhile is as good. */
		if (bpf_map_update_elem(f->lasting_fd[WEIR_LASTING_REPLIES], &k, &value,
					BPF_NOEXIST) &&
		    errno != EEXIST)
			ret = weir_load_explain(err, -errno, "note a connection");
	}
	return ret;
}

static int seed_all(const struct weir_filter *f, bool out, uint64_t jiffies, struct weir_error *err)
{
	const uint32_t tcp = ~(1U << TCP_LISTEN | 1U << TCP_CLOSE | 1U << TCP_SYN_RECV);
	int ret = seed_replies(f, IPPROTO_TCP, tcp, out, jiffies, err);

	return ret ? ret : seed_replies(f, IPPROTO_UDP, 1U << TCP_ESTABLISHED, out, jiffies, err);
}

static void name_learner(const struct weir_filter_place *p, char name[WEIR_PIN_NAME_MAX])
{
	snprintf(name, WEIR_PIN_NAME_MAX, "learn_%u_%s", p->ifindex,
		 weir_place_is_out(p) ? "in" : "out");
}

static int attach(struct weir_filter *f, const struct weir_filter_place *p,
		  struct learn_bpf **learn, struct weir_error *err)
{
	struct weir_now now;
	char name[WEIR_PIN_NAME_MAX];
	bool out = !weir_place_is_out(p);
	int ret;

	name_learner(p, name);
	if (!f->foreign && weir_tc_attached(&f->dir, name, p->ifindex, out, WEIR_TC_LEARN))
		return 0;
	ret = weir_now_read(&now, err);
	if (!ret)
		ret = need_learners(f, &now, learn, err);
	if (!ret)
		ret = weir_tc_attach(&f->dir, name,
				     bpf_program__fd(out ? (*learn)->progs.weir_filter_out :
							   (*learn)->progs.weir_filter_in),
				     p->ifindex, out, WEIR_TC_LEARN, err);
	weir_step("learner");
	return ret ? ret : seed_all(f, !out, now.jiffies, err);
}

int weir_learn_attach(struct weir_filter *f, const struct weir_filter_places *places,
		      struct weir_error *err)
{
	struct learn_bpf *learn = NULL;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < WEIR_FILTER_ROWS; i++)
		if (weir_place_is_live(&places->row[i]) && places->row[i].flags & WEIR_PLACE_LEARN)
			ret = attach(f, &places->row[i], &learn, err);
	learn_bpf__destroy(learn);
	return ret;
}

void weir_learn_detach(const struct weir_filter *f, const struct weir_filter_place *p)
{
	char name[WEIR_PIN_NAME_MAX];

	name_learner(p, name);
	weir_tc_detach(&f->dir, name, p->ifindex, !weir_place_is_out(p), WEIR_TC_LEARN);
}
