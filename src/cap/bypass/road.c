/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/road.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bypass.skel.h"
#include "dataplane/load.h"

#define SUM_TRIES 100

static int attach(struct weir_bypass_road *r, int cgroup_fd, const struct weir_bypass_rule *rule,
		  struct weir_error *err)
{
	uint32_t zero = 0;
	int ret;

	if (bpf_map_update_elem(r->rule_fd, &zero, rule, BPF_ANY))
		return weir_load_explain(err, -errno, "write the rule");
	ret = bpf_prog_attach(bpf_program__fd(r->skel->progs.weir_bypass_msg), r->socks_fd,
			      BPF_SK_MSG_VERDICT, 0);
	if (ret)
		return weir_load_explain(err, ret, "attach the bypass to its sockets");
	/* Last: from here on connections come. */
	r->link_fd = bpf_link_create(bpf_program__fd(r->skel->progs.weir_bypass_ops), cgroup_fd,
				     BPF_CGROUP_SOCK_OPS, NULL);
	if (r->link_fd < 0)
		return weir_load_explain(err, r->link_fd, "attach the bypass to the cgroup");
	return 0;
}

int weir_bypass_road_open(struct weir_bypass_road *r, const struct weir_match *match, int cgroup_fd,
			  const struct weir_bypass_rule *rule, struct weir_error *err)
{
	int ret;

	*r = (struct weir_bypass_road){ .link_fd = -1 };
	r->skel = bypass_bpf__open();
	if (!r->skel)
		return weir_load_explain(err, -errno, "open the bypass's programs");
	r->skel->rodata->match_kind = weir_load_match_kind(match);
	ret = weir_load(r->skel->obj, match, err);
	if (!ret) {
		r->rule_fd = bpf_map__fd(r->skel->maps.weir_bp_rule);
		r->conns_fd = bpf_map__fd(r->skel->maps.weir_bp_conns);
		r->ended_fd = bpf_map__fd(r->skel->maps.weir_bp_ended);
		r->socks_fd = bpf_map__fd(r->skel->maps.weir_bp_socks);
		r->stop_fd = bpf_map__fd(r->skel->maps.weir_bp_stop);
		ret = attach(r, cgroup_fd, rule, err);
	}
	if (ret)
		weir_bypass_road_close(r);
	return ret;
}

void weir_bypass_road_close(struct weir_bypass_road *r)
{
	if (r->link_fd >= 0)
		close(r->link_fd);
	r->link_fd = -1;
	bypass_bpf__destroy(r->skel);
	r->skel = NULL;
}

static void add_way(struct weir_bypass_sum *to, const struct weir_bypass_way *w)
{
	to->bytes += w->bytes;
	to->messages += w->messages;
	to->tcp_bytes += w->tcp_bytes + w->tcp_pending;
}

/* 1: a connection ended meanwhile, and may be missing, or be there twice. */
static int sum_once(int rule_fd, int conns_fd, struct weir_bypass_sums *ret)
{
	struct weir_bypass_rule after;
	struct weir_bypass_conn c;
	uint64_t id, *at = NULL;
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	if (bpf_map_lookup_elem(rule_fd, &zero, &ret->rule))
		return -errno;
	memcpy(ret->way, ret->rule.sum, sizeof(ret->way));
	for (uint32_t n = 0; n < WEIR_BYPASS_CONNS_MAX && !bpf_map_get_next_key(conns_fd, at, &id);
	     n++) {
		at = &id;
		if (bpf_map_lookup_elem(conns_fd, &id, &c))
			return 1;
		if ((c.state & WEIR_BYPASS_ALL_CLOSED) == WEIR_BYPASS_ALL_CLOSED)
			return 1;
		ret->live += (c.state & WEIR_BYPASS_BOTH) == WEIR_BYPASS_BOTH;
		for (int i = 0; i < WEIR_BYPASS_SIDES; i++)
			add_way(&ret->way[i], &c.way[i]);
	}
	if (bpf_map_lookup_elem(rule_fd, &zero, &after))
		return -errno;
	return after.folds != ret->rule.folds;
}

int weir_bypass_sums(int rule_fd, int conns_fd, struct weir_bypass_sums *ret)
{
	int r = 1;

	/* Where connections end all the time the last try must do. */
	for (int i = 0; r == 1 && i < SUM_TRIES; i++)
		r = sum_once(rule_fd, conns_fd, ret);
	return r < 0 ? r : 0;
}
