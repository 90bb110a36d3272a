/* SPDX-License-Identifier: GPL-2.0-only */
/* The faults' part of `weir explain`: which rule a packet would meet. The rules are asked
 * here and not in the kernel, where each packet moves their counters on. Only a rule that
 * drops every packet leaves nothing open. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "cap/fault/cmd.h"
#include "cap/fault/fault_cmd.h"
#include "dataplane/craft.h"

static bool is_met(const struct weir_fault_conf_rule *r, const struct weir_road *road,
		   const struct weir_pkt *p)
{
	if (!r->match || (r->iface[0] && strcmp(r->iface, road->iface) != 0))
		return false;
	if (r->dir != WEIR_FAULT_INOUT && (r->dir == WEIR_FAULT_OUTWARD) != road->out)
		return false;
	return weir_match_eval(r->match, p);
}

static bool drops_all(const struct weir_fault_conf_rule *r)
{
	return r->kind == WEIR_FAULT_DROP &&
	       (r->nth == 1 || (!r->nth && r->threshold == WEIR_FAULT_ALWAYS));
}

static void add_step(struct weir_road *road, enum weir_road_stage stage,
		     enum weir_step_verdict verdict, const char *detail,
		     const struct weir_fault_conf_rule *r)
{
	struct weir_step *s = weir_road_add(road, stage, verdict, "fault", "%s", detail);

	weir_buf_adds(&s->rule, r->name);
	weir_fault_print_action(r, &s->text);
}

static void ask_packets(const struct weir_fault *f, struct weir_road *road)
{
	const struct weir_craft *c = road->packet;
	size_t n = c->len < WEIR_PKT_HDR_MAX ? c->len : WEIR_PKT_HDR_MAX;
	struct weir_pkt p;

	weir_parse(&p, c->frame, c->frame + n, WEIR_L2_ETHER, 0, (uint32_t)c->len);
	for (size_t i = 0; i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *r = &f->conf.v[i];

		if (!is_met(r, road, &p))
			continue;
		if (drops_all(r))
			add_step(road, WEIR_ROAD_TC, WEIR_STEP_DROP,
				 "a fault drops each, for a while", r);
		else
			add_step(road, WEIR_ROAD_TC, WEIR_STEP_UNKNOWN,
				 "a fault may hit it, for a while", r);
		return;
	}
}

/* A listener hands its filter on to what it accepts. That of one process's descriptor is of
 * a connection that is there, which the packet's ends do not tell. */
static void ask_sockets(const struct weir_fault *f, struct weir_road *road)
{
	static const struct weir_addr any6, any4 = { .b = { [10] = 0xff, 0xff } };

	for (size_t i = 0; road->tcp && road->here && i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *r = &f->conf.v[i];

		if (!weir_fault_is_socket(r) || r->port != road->dport)
			continue;
		if (memcmp(&r->addr, &road->dst, sizeof(r->addr)) != 0 &&
		    memcmp(&r->addr, &any6, sizeof(any6)) != 0 &&
		    (memcmp(&r->addr, &any4, sizeof(any4)) != 0 || !weir_addr_is_v4(&road->dst)))
			continue;
		add_step(road, WEIR_ROAD_SESSION, WEIR_STEP_UNKNOWN,
			 "what is sent to it may be cut short, and is sent again", r);
	}
}

int weir_fault_explain(struct weir_road *road, struct weir_error *err)
{
	struct weir_fault f;
	int ret = weir_fault_open(&f, false, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ask_packets(&f, road);
	ask_sockets(&f, road);
	weir_fault_close(&f);
	return 0;
}
