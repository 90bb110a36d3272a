/* SPDX-License-Identifier: GPL-2.0-only */
/* The faults' part of `weir explain`: which rule a packet would meet. The rules are asked
 * here and not in the kernel, where each packet moves their counters on. */
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

static void ask(const struct weir_fault *f, struct weir_road *road)
{
	const struct weir_craft *c = road->packet;
	size_t n = c->len < WEIR_PKT_HDR_MAX ? c->len : WEIR_PKT_HDR_MAX;
	struct weir_step *s;
	struct weir_pkt p;

	weir_parse(&p, c->frame, c->frame + n, WEIR_L2_ETHER, 0, (uint32_t)c->len);
	for (size_t i = 0; i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *r = &f->conf.v[i];

		if (!is_met(r, road, &p))
			continue;
		s = weir_road_add(road, WEIR_ROAD_TC, WEIR_STEP_UNKNOWN, "fault",
				  "a fault may hit it, for a while");
		weir_buf_adds(&s->rule, r->name);
		weir_fault_print_action(r, &s->text);
		return;
	}
}

int weir_fault_explain(struct weir_road *road, struct weir_error *err)
{
	struct weir_fault f;
	int ret = weir_fault_open(&f, false, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ask(&f, road);
	weir_fault_close(&f);
	return 0;
}
