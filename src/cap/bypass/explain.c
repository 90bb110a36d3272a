/* SPDX-License-Identifier: GPL-2.0-only */
/* The bypass's part of `weir explain`: rules that would take the connection of a packet. */
#include <errno.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "cap/bypass/cmd.h"
#include "cap/bypass/engine.h"
#include "match/conn.h"

/* Rules are by cgroup, and both ends have to be on this host: neither is known of a packet. */
static void add(struct weir_road *road, const struct weir_bypass_rule *r)
{
	struct weir_step *s = weir_road_add(road, WEIR_ROAD_SESSION, WEIR_STEP_UNKNOWN, "bypass",
					    "skips TCP/IP if both ends are on this host, under %s",
					    r->cgroup);

	weir_buf_adds(&s->rule, r->name);
	weir_buf_adds(&s->text, r->match[0] ? r->match : "all");
}

static int ask(const struct weir_pin_dir *d, const char *name, const struct weir_pkt *p,
	       struct weir_road *road, struct weir_error *err)
{
	struct weir_conn_spec spec = { 0 };
	weir_cleanup(weir_match_freep) struct weir_match *m = NULL;
	struct weir_bypass_rule r;
	struct weir_bypass_view v;
	uint32_t zero = 0;
	int ret = weir_bypass_view_open(d, name, &v, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = bpf_map_lookup_elem(v.rule_fd, &zero, &r);
	weir_bypass_view_close(&v);
	if (ret)
		return weir_fail(err, -errno, "cannot read the rule %s: %m", name);
	/* As it was printed, TCP flags of the packet that ends make and all. */
	spec.match.expression = r.match;
	ret = weir_match_parse(&spec.match, &m, err);
	if (!ret && weir_match_eval(m, p))
		add(road, &r);
	return ret;
}

int weir_bypass_explain(struct weir_road *road, struct weir_error *err)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	struct weir_pin_dir d;
	struct weir_pkt p;
	int ret, n;

	if (!road->tcp || !(road->here || road->out))
		return 0;
	ret = weir_bypass_open(&d, false, err);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	weir_conn_pkt_of(road, &p);
	n = weir_bypass_names(&d, names, err);
	ret = n < 0 ? n : 0;
	for (int i = 0; i < n && !ret; i++)
		ret = ask(&d, names[i], &p, road, err);
	weir_pin_close(&d);
	return ret;
}
