/* SPDX-License-Identifier: GPL-2.0-only */
/* Tuning's part of `weir explain`: the options that the connection of a packet would get. */
#include <errno.h>

#include "base/cleanup.h"
#include "cap/tcp/cmd.h"
#include "cap/tcp/tune_cmd.h"

/* Which cgroup the process is in is not known of a packet: rules on one are told as such,
 * and the first on the root ends the search. */
static void ask(const struct weir_tune *t, struct weir_road *road)
{
	struct weir_pkt p;

	weir_conn_pkt_of(road, &p);
	for (size_t i = 0; i < t->conf.n; i++) {
		const struct weir_tune_spec *r = &t->conf.rules[i];
		struct weir_step *s;

		if (!weir_match_eval(r->match, &p))
			continue;
		if (r->cgroup[0])
			s = weir_road_add(road, WEIR_ROAD_SESSION, WEIR_STEP_UNKNOWN, "tcp tune",
					  "gets options if its process is in %s", r->cgroup);
		else
			s = weir_road_add(road, WEIR_ROAD_SESSION, WEIR_STEP_TAKE, "tcp tune",
					  "gets options once it is established");
		weir_buf_adds(&s->rule, r->name);
		weir_tune_print_set(r, &s->text);
		if (!r->cgroup[0])
			return;
	}
}

int weir_tune_explain(struct weir_road *road, struct weir_error *err)
{
	struct weir_tune t;
	int ret;

	if (!road->tcp || !(road->here || road->out))
		return 0;
	ret = weir_tune_open(&t, false, err);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ask(&t, road);
	weir_tune_close(&t);
	return 0;
}
