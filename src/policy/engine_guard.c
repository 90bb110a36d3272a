/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lock-out guard: the programs of a generation that is about to enter force
 * judge the packets of the ssh sessions that are open now.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "bpf/pkt.h"
#include "bpf/policy_stub.h"
#include "dataplane/craft.h"
#include "dataplane/load.h"
#include "policy/engine_impl.h"
#include "policy/guard.h"

#include "try.skel.h"

#define FRAME_BITS (1500 * 8)
#define PACKETS 2      /* of a session and direction that are tried */
#define MOMENTS_MAX 32 /* at which rules expire that sessions live by */

struct guard {
	struct weir_filter *f;
	struct weir_gate *gate;
	bool force;
	struct weir_filter_report *report;
	struct weir_guard_session *sessions;
	size_t n_sessions;
	/* Moments at which an allow expires that lets a session through. */
	uint64_t moment[MOMENTS_MAX];
	size_t n_moments;
	struct weir_error *err;
};

/* ---- A gate to programs that are in no slot yet */

static int open_try(struct guard *g, const struct weir_generation *gen, struct try_bpf **ret)
{
	return weir_try_open(g->gate->scratch_fd, gen->hook[WEIR_HOOK_XDP].prog_fd,
			     gen->places.ifindex, gen->policy->n_ifaces, ret, g->err);
}

/* ---- One packet */

/* How a program is asked. */
struct asked {
	enum weir_policy_hook hook;
	int fd; /* at XDP, of a gate that leads to it */
	uint32_t ifindex;
	bool out;
};

static int ask(const struct guard *g, const struct asked *a, const struct weir_craft *packet,
	       struct weir_filter_verdict *ret)
{
	if (a->hook == WEIR_HOOK_XDP)
		return weir_try_xdp(a->fd, a->ifindex, packet, ret, g->err);
	if (a->hook == WEIR_HOOK_NETFILTER)
		return weir_try_netfilter(a->fd, a->ifindex, a->out, packet, ret, g->err);
	return weir_try_tc(a->fd, a->ifindex, a->out, packet, ret, g->err);
}

/* Does what is in force drop it already? Then the change cuts nothing. */
static bool is_cut_already(const struct guard *g, const struct weir_policy_iface *x,
			   const struct weir_craft *packet)
{
	const struct weir_policy_iface *was =
		weir_policy_find_iface(g->f->policy, x->name, x->hook, x->out);
	struct weir_filter_verdict v;

	return was && !weir_filter_test(g->f, was, packet, &v, NULL) && v.dropped;
}

static const struct weir_policy_rule *rule_of(const struct weir_policy *p, uint32_t id)
{
	for (size_t i = 0; id && i < p->n_rules; i++)
		if (p->rules[i].id == id)
			return &p->rules[i];
	return NULL;
}

static void describe_cause(const struct weir_policy *p, const struct weir_policy_iface *x,
			   const struct weir_filter_verdict *v, struct weir_buf *out)
{
	const struct weir_policy_rule *r = rule_of(p, v->rule);

	if (r && strcmp(r->owner, "filter") != 0)
		weir_buf_addf(out, "rule '%s' of %s", r->name, r->owner);
	else if (r)
		weir_buf_addf(out, "rule '%s'", r->name);
	else if (v->reason == WEIR_DROP_DEFAULT)
		weir_buf_addf(out, "the default of %s", x->name);
	else
		weir_buf_addf(out, "the filter of %s (%s)", x->name,
			      weir_filter_reasons[v->reason]);
}

/* A cut: refuse, or warn. */
static int report_cut(struct guard *g, const struct weir_policy *p,
		      const struct weir_policy_iface *x, const struct weir_guard_session *s,
		      const struct weir_filter_verdict *v, uint64_t moment)
{
	weir_autobuf struct weir_buf cause = { 0 };
	char remote[WEIR_ADDR_STRLEN], local[WEIR_ADDR_STRLEN];
	const char *when = moment ? "once a rule has expired, " : "";

	describe_cause(p, x, v, &cause);
	if (!cause.data)
		return -ENOMEM;
	weir_addr_str(&s->remote, remote);
	weir_addr_str(&s->local, local);
	if (!g->force)
		return weir_fail(g->err, -EPERM,
				 "%s%s would cut the ssh session %s port %u -> %s port %u (process "
				 "%u): allow it first, or use --force",
				 when, cause.data, remote, s->remote_port, local, s->local_port,
				 s->pid);
	if (g->report)
		weir_buf_addf(&g->report->notes,
			      "warning: %s%s cuts the ssh session %s port %u -> %s port %u "
			      "(process %u)\n",
			      when, cause.data, remote, s->remote_port, local, s->local_port,
			      s->pid);
	return 0;
}

/* It passes: by a rule that will expire? */
static int note_moment(struct guard *g, const struct weir_policy *p, uint32_t rule)
{
	const struct weir_policy_rule *r = rule_of(p, rule);

	if (g->force || !r || !r->expires || r->action != WEIR_POLICY_ALLOW)
		return 0;
	for (size_t i = 0; i < g->n_moments; i++)
		if (g->moment[i] == r->expires)
			return 0;
	if (g->n_moments == MOMENTS_MAX)
		return weir_fail(g->err, -EPERM,
				 "the ssh sessions live by rules that expire at more than %d "
				 "moments: give them one --ttl, or use --force",
				 MOMENTS_MAX);
	g->moment[g->n_moments++] = r->expires;
	return 0;
}

/* ---- One session on one interface */

static void make_packet(const struct weir_guard_session *s, bool out, uint16_t flags,
			struct weir_craft *ret)
{
	if (out)
		weir_craft_tcp(ret, &s->local, s->local_port, &s->remote, s->remote_port, flags);
	else
		weir_craft_tcp(ret, &s->remote, s->remote_port, &s->local, s->local_port, flags);
}

/* One of the session, and one that opens it again. */
static uint16_t session_flags(bool out, size_t which)
{
	if (!which)
		return WEIR_TCP_ACK;
	return out ? WEIR_TCP_SYN | WEIR_TCP_ACK : WEIR_TCP_SYN;
}

static int judge_session(struct guard *g, const struct weir_generation *gen,
			 const struct weir_policy_iface *x, const struct asked *a,
			 const struct weir_guard_session *s, uint64_t moment)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < PACKETS; i++) {
		struct weir_filter_verdict v;
		struct weir_craft packet;

		make_packet(s, a->out, session_flags(a->out, i), &packet);
		ret = ask(g, a, &packet, &v);
		if (ret)
			break;
		if (!v.dropped)
			ret = note_moment(g, gen->policy, v.rule);
		else if (moment || !is_cut_already(g, x, &packet))
			return report_cut(g, gen->policy, x, s, &v, moment);
	}
	return ret;
}

static int judge_iface(struct guard *g, const struct weir_generation *gen, size_t at, int try_fd,
		       uint64_t moment)
{
	const struct weir_policy_iface *x = &gen->policy->ifaces[at];
	const struct asked a = {
		.hook = x->hook,
		.fd = x->hook == WEIR_HOOK_XDP ? try_fd : gen->hook[x->hook].prog_fd,
		.ifindex = gen->places.ifindex[at],
		.out = x->out,
	};
	int ret = 0;

	for (size_t i = 0; !ret && a.ifindex && i < g->n_sessions; i++)
		if (g->sessions[i].ifindex == a.ifindex)
			ret = judge_session(g, gen, x, &a, &g->sessions[i], moment);
	return ret;
}

static int judge(struct guard *g, const struct weir_generation *gen, uint64_t moment)
{
	struct try_bpf *skel = NULL;
	int ret = 0, fd = -1;

	if (gen->hook[WEIR_HOOK_XDP].prog_fd >= 0) {
		ret = open_try(g, gen, &skel);
		fd = skel ? bpf_program__fd(skel->progs.weir_filter_try) : -1;
	}
	for (size_t i = 0; !ret && i < gen->policy->n_ifaces; i++)
		ret = judge_iface(g, gen, i, fd, moment);
	try_bpf__destroy(skel);
	return ret;
}

/* ---- Variants of the policy that are only tried */

static bool is_too_slow(const struct weir_policy_rule *r)
{
	const uint64_t least = (uint64_t)WEIR_GUARD_RATE * (r->bits ? FRAME_BITS : 1);

	return r->action == WEIR_POLICY_LIMIT && r->rate < least;
}

static bool has_slow_limit(const struct weir_policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (is_too_slow(&p->rules[i]))
			return true;
	return false;
}

/* Only the hooks of interfaces by which sessions go. */
static uint32_t hooks_of_sessions(const struct guard *g, const struct weir_generation *gen)
{
	uint32_t hooks = 0;

	for (size_t i = 0; i < gen->policy->n_ifaces; i++)
		for (size_t k = 0; k < g->n_sessions; k++)
			if (gen->places.ifindex[i] &&
			    gen->places.ifindex[i] == g->sessions[k].ifindex)
				hooks |= 1U << gen->policy->ifaces[i].hook;
	return hooks;
}

/* Judge by @gen's policy as it is at @moment (0: now), with a deny in place of each
 * limit that is too slow for a session. */
static int judge_variant(struct guard *g, const struct weir_generation *gen, uint64_t moment)
{
	weir_cleanup(weir_generation_close) struct weir_generation trial;
	weir_auto_policy *p = weir_policy_copy(gen->policy);
	int ret;

	weir_generation_init(&trial);
	if (!p)
		return weir_fail(g->err, -ENOMEM, "out of memory: shorten the policy");
	for (size_t i = 0; i < p->n_rules; i++)
		if (is_too_slow(&p->rules[i]))
			p->rules[i].action = WEIR_POLICY_DENY;
	trial.policy = p;
	trial.sets = gen->sets;
	trial.places = gen->places;
	trial.now = gen->now;
	if (moment)
		trial.now.boot = moment;
	trial.trial = true;
	trial.want = hooks_of_sessions(g, gen);
	ret = weir_generation_compile(&trial, g->err);
	if (!ret)
		ret = weir_generation_load(g->f, &trial, g->gate, g->err);
	return ret ? ret : judge(g, &trial, moment);
}

static int judge_all(struct guard *g, const struct weir_generation *gen)
{
	uint32_t hooks = hooks_of_sessions(g, gen);
	int ret;

	if (!hooks)
		return 0;
	if (has_slow_limit(gen->policy) || hooks & 1U << WEIR_HOOK_NETFILTER)
		ret = judge_variant(g, gen, 0);
	else
		ret = judge(g, gen, 0);
	/* Each moment may show the next rule by which a session lives. */
	for (size_t i = 0; !ret && i < g->n_moments; i++)
		ret = judge_variant(g, gen, g->moment[i]);
	return ret;
}

int weir_guard_generation(struct weir_filter *f, const struct weir_generation *gen,
			  struct weir_gate *gate, bool force, struct weir_filter_report *report,
			  struct weir_error *err)
{
	struct guard g = { .f = f, .gate = gate, .force = force, .report = report, .err = err };
	int ret;

	if (!gen->want)
		return 0;
	ret = weir_guard_sessions(&g.sessions, &g.n_sessions, err);
	if (ret && force) {
		if (report)
			weir_buf_addf(&report->notes,
				      "warning: the ssh sessions could not be looked at\n");
		return 0;
	}
	if (!ret && g.n_sessions)
		ret = judge_all(&g, gen);
	free(g.sessions);
	return ret;
}

/* ---- Changes of what is in force */

static bool covers(const struct weir_prefix *v, size_t n, const struct weir_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (weir_prefix_contains(&v[i], a))
			return true;
	return false;
}

int weir_guard_touches(struct weir_filter *f, const struct weir_prefix *v, size_t n, bool force,
		       bool *ret, struct weir_error *err)
{
	weir_autofree struct weir_guard_session *sessions = NULL;
	size_t n_sessions = 0;
	int code;

	*ret = false;
	if (force || !f->policy->n_ifaces)
		return 0;
	code = weir_guard_sessions(&sessions, &n_sessions, err);
	for (size_t i = 0; !code && !*ret && i < n_sessions; i++)
		*ret = covers(v, n, &sessions[i].remote) || covers(v, n, &sessions[i].local);
	return code;
}

/* What the programs in force say of each session on each interface by which it
 * goes: the packets in @dropped, or the first that is dropped and was not. */
struct survey {
	bool *dropped;
	bool compare;
	const struct weir_policy_iface *iface; /* the first cut */
	const struct weir_guard_session *session;
	struct weir_filter_verdict verdict;
};

static int survey(struct guard *g, struct survey *s)
{
	const struct weir_policy *p = g->f->policy;
	size_t at = 0;
	int ret = 0;

	for (size_t i = 0; !ret && i < p->n_ifaces; i++) {
		const struct weir_policy_iface *x = &p->ifaces[i];
		struct weir_filter_iface_info info;

		ret = weir_filter_iface_info(g->f, x, &info);
		for (size_t k = 0; !ret && k < g->n_sessions * PACKETS; k++, at++) {
			const struct weir_guard_session *session = &g->sessions[k / PACKETS];
			struct weir_filter_verdict v = { 0 };
			struct weir_craft packet;

			if (info.state != WEIR_IFACE_ON || session->ifindex != info.ifindex)
				continue;
			make_packet(session, x->out, session_flags(x->out, k % PACKETS), &packet);
			ret = weir_filter_test(g->f, x, &packet, &v, g->err);
			if (s->compare && v.dropped && !s->dropped[at] && !s->iface) {
				s->iface = x;
				s->session = session;
				s->verdict = v;
			}
			if (!s->compare)
				s->dropped[at] = v.dropped;
		}
	}
	return ret;
}

int weir_guard_change(struct weir_filter *f, const struct weir_guarded_change *c,
		      struct weir_error *err)
{
	struct guard g = { .f = f, .err = err };
	struct survey s = { 0 };
	struct weir_error ignored;
	int ret = weir_guard_sessions(&g.sessions, &g.n_sessions, err);

	if (ret)
		return ret;
	s.dropped = calloc(f->policy->n_ifaces * g.n_sessions * PACKETS + 1, sizeof(*s.dropped));
	if (!s.dropped)
		ret = weir_fail(err, -ENOMEM, "out of memory");
	if (!ret)
		ret = survey(&g, &s);
	if (!ret)
		ret = c->change(c->arg, err);
	if (!ret) {
		s.compare = true;
		ret = survey(&g, &s);
		if (!ret && s.iface)
			ret = report_cut(&g, f->policy, s.iface, s.session, &s.verdict, 0);
		if (ret && c->undo(c->arg, &ignored))
			ret = weir_fail_prefix(err, ret, "the change can't be undone (%s)",
					       ignored.msg);
	}
	free(s.dropped);
	free(g.sessions);
	return ret;
}
