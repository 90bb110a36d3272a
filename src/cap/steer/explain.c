/* SPDX-License-Identifier: GPL-2.0-only */
/* Steering's part of `weir explain`: which rule takes a new connection or datagram. */
#include <errno.h>

#include "base/cleanup.h"
#include "cap/steer/cmd.h"
#include "cap/steer/steer_cmd.h"

static const struct {
	enum weir_step_verdict verdict; /* PASS: as the rule's --on-miss says */
	const char *why;
} outcomes[] = {
	[WEIR_STEER_STEERED] = { WEIR_STEP_TAKE, "a rule chose the socket" },
	[WEIR_STEER_MISSED] = { WEIR_STEP_PASS, "the rule's sockets are gone" },
	[WEIR_STEER_REFUSED] = { WEIR_STEP_PASS, "the kernel refused the rule's socket" },
};

static void add_socket(struct weir_steer_finder *f, enum weir_steer_proto proto, uint64_t cookie,
		       struct weir_buf *out)
{
	const struct weir_socket *s;
	char addr[WEIR_ADDR_STRLEN], comm[17];
	uint32_t pid;

	s = weir_steer_finder_cookie(f, proto, cookie);
	if (!s)
		return;
	pid = weir_steer_holder_of(f, s->inode, comm);
	weir_buf_addf(out, ": %s port %u", weir_addr_str(&s->local, addr), s->local_port);
	if (pid)
		weir_buf_addf(out, " of %s (%u)", comm, pid);
}

static int ask(struct weir_steer *s, struct weir_road *road, struct weir_error *err)
{
	struct weir_steer_question q = {
		.proto = road->tcp ? WEIR_STEER_TCP : WEIR_STEER_UDP,
		.local = road->dst,
		.remote = road->src,
		.local_port = road->dport,
		.remote_port = road->sport,
	};
	struct weir_steer_verdict v = { 0 };
	const struct weir_steer_rule *rule = NULL;
	struct weir_steer_finder f = { 0 };
	struct weir_step *step;
	int ret = weir_steer_ask(s, &q, &v, err);

	if (!ret)
		ret = weir_steer_finder_list(&f, q.proto, err);
	if (ret)
		return ret;
	for (size_t i = 0; v.answer.rule && i < s->conf.n_rules; i++)
		if (s->conf.rules[i].id == v.answer.rule)
			rule = &s->conf.rules[i];
	if (rule && v.answer.outcome < WEIR_ARRAY_SIZE(outcomes) && outcomes[v.answer.outcome].why)
		step = weir_road_add(road, WEIR_ROAD_LOOKUP,
				     v.dropped ? WEIR_STEP_DROP :
						 outcomes[v.answer.outcome].verdict,
				     "steer", "%s", outcomes[v.answer.outcome].why);
	else
		step = weir_road_add(road, WEIR_ROAD_LOOKUP,
				     v.dropped ? WEIR_STEP_DROP : WEIR_STEP_PASS, "steer",
				     "no rule matches");
	if (v.cookie)
		add_socket(&f, q.proto, v.cookie, &step->detail);
	if (rule) {
		weir_buf_adds(&step->rule, rule->name);
		weir_steer_print_rule(&s->conf, rule, 0, s->clock.boot, &step->text);
	}
	weir_steer_finder_free(&f);
	return 0;
}

int weir_steer_explain(struct weir_road *road, struct weir_error *err)
{
	struct weir_steer s;
	int ret;

	if (!road->here || !(road->tcp || road->udp))
		return 0;
	ret = weir_steer_open(&s, false, err);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = ask(&s, road, err);
	weir_steer_close(&s);
	return ret;
}
