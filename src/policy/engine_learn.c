/* SPDX-License-Identifier: GPL-2.0-only */
/* What learns replies: beside an interface whose default is to drop, in the other
 * direction. */
#include <errno.h>
#include <net/if.h>
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
	if (ret) {
		learn_bpf__destroy(*learn);
		*learn = NULL;
		return weir_load_explain(err, ret, "share the table of replies");
	}
	ret = weir_load((*learn)->obj, NULL, err);
	if (ret) {
		learn_bpf__destroy(*learn);
		*learn = NULL;
	}
	return ret;
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

static uint32_t learner(const struct weir_filter *f, const struct weir_filter_place *p)
{
	char name[WEIR_PIN_NAME_MAX];

	name_learner(p, name);
	return weir_tc_prog(&f->dir, name, p->ifindex, !weir_place_is_out(p), WEIR_TC_LEARN);
}

static int learner_fd(const struct learn_bpf *learn, const struct weir_filter_place *p)
{
	return bpf_program__fd(weir_place_is_out(p) ? learn->progs.weir_filter_in :
						      learn->progs.weir_filter_out);
}

static uint64_t own_build(void)
{
	size_t n;
	const void *elf = learn_bpf__elf_bytes(&n);

	return weir_load_hash(elf, n);
}

/* Was the program of this build when it was looked at before? To load one's own and
 * compare takes 0.3 s. */
static bool knows_learner(const struct weir_filter *f, const struct weir_filter_place *p)
{
	const uint64_t tag = weir_prog_tag(learner(f, p));

	return tag && f->state.learner.tag[weir_place_is_out(p)] == tag &&
	       f->state.learner.hash == own_build();
}

/* Is it of this build? *@learn is loaded where that takes a look. */
static bool is_own(struct weir_filter *f, const struct weir_filter_place *p,
		   const struct weir_now *now, struct learn_bpf **learn)
{
	uint32_t there = learner(f, p);

	if (!there || knows_learner(f, p))
		return there;
	return !need_learners(f, now, learn, NULL) &&
	       weir_same_program(there, learner_fd(*learn, p));
}

static void remember(struct weir_filter *f, const struct learn_bpf *learn)
{
	f->state.learner.hash = own_build();
	f->state.learner.tag[0] = weir_load_tag(bpf_program__fd(learn->progs.weir_filter_out));
	f->state.learner.tag[1] = weir_load_tag(bpf_program__fd(learn->progs.weir_filter_in));
}

static int attach(struct weir_filter *f, const struct weir_filter_place *p,
		  struct learn_bpf **learn, struct weir_error *err)
{
	bool out = !weir_place_is_out(p), own;
	char name[WEIR_PIN_NAME_MAX];
	struct weir_now now;
	int ret = weir_now_read(&now, err);

	if (ret)
		return ret;
	own = !f->foreign && is_own(f, p, &now, learn);
	if (!own)
		ret = need_learners(f, &now, learn, err);
	if (*learn && !ret)
		remember(f, *learn);
	if (own || ret)
		return ret;
	name_learner(p, name);
	ret = weir_tc_attach(&f->dir, name, learner_fd(*learn, p), p->ifindex, out, WEIR_TC_LEARN,
			     err);
	weir_step("learner");
	return ret ? ret : seed_all(f, !out, now.jiffies, err);
}

static bool has_learner(const struct weir_filter_place *p)
{
	return weir_place_is_live(p) && p->flags & WEIR_PLACE_LEARN;
}

int weir_learn_attach(struct weir_filter *f, const struct weir_filter_places *places,
		      struct weir_error *err)
{
	struct learn_bpf *learn = NULL;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < WEIR_FILTER_ROWS; i++)
		if (has_learner(&places->row[i]))
			ret = attach(f, &places->row[i], &learn, err);
	learn_bpf__destroy(learn);
	return ret;
}

bool weir_learns(const struct weir_filter *f, const struct weir_filter_place *p)
{
	return !has_learner(p) || learner(f, p);
}

bool weir_learn_is_current(struct weir_filter *f, const struct weir_filter_places *places)
{
	struct learn_bpf *learn = NULL;
	struct weir_now now;
	bool ret = !weir_now_read(&now, NULL);

	for (uint32_t i = 0; ret && i < WEIR_FILTER_ROWS; i++) {
		const struct weir_filter_place *p = &places->row[i];

		if (has_learner(p) && if_indextoname(p->ifindex, (char[IF_NAMESIZE]){ 0 }))
			ret = is_own(f, p, &now, &learn);
	}
	learn_bpf__destroy(learn);
	return ret;
}

void weir_learn_detach(const struct weir_filter *f, const struct weir_filter_place *p)
{
	char name[WEIR_PIN_NAME_MAX];

	name_learner(p, name);
	weir_tc_detach(&f->dir, name, p->ifindex, !weir_place_is_out(p), WEIR_TC_LEARN);
}
