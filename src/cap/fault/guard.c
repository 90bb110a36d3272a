/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lock-out guard: would a new rule hit an ssh session that is open now? The packets of
 * its connection are judged by the match itself, small ones and large ones, both ways, on
 * each interface by which they may go.
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "cap/fault/engine.h"
#include "dataplane/craft.h"
#include "policy/guard.h"

static const uint32_t lengths[] = { 54, 74, 200, 600, 1514 };
static const uint16_t flag_sets[] = { WEIR_TCP_ACK, WEIR_TCP_SYN, WEIR_TCP_ACK | WEIR_TCP_PSH };

static int refuse(const char *rule, const struct weir_guard_session *s, struct weir_error *err)
{
	char remote[WEIR_ADDR_STRLEN], local[WEIR_ADDR_STRLEN];

	return weir_fail(err, -EPERM,
			 "rule '%s' would hit the ssh session %s port %u -> %s port %u (process "
			 "%u): leave it out of the match, or use --force",
			 rule, weir_addr_str(&s->remote, remote), s->remote_port,
			 weir_addr_str(&s->local, local), s->local_port, s->pid);
}

static bool hits(const struct weir_match *m, const struct weir_guard_session *s, bool out)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(flag_sets); i++) {
		struct weir_craft c;
		struct weir_pkt p;

		if (out)
			weir_craft_tcp(&c, &s->local, s->local_port, &s->remote, s->remote_port,
				       flag_sets[i]);
		else
			weir_craft_tcp(&c, &s->remote, s->remote_port, &s->local, s->local_port,
				       flag_sets[i]);
		weir_parse(&p, c.frame, c.frame + c.len, WEIR_L2_ETHER, 0, (uint32_t)c.len);
		for (size_t k = 0; k < WEIR_ARRAY_SIZE(lengths); k++) {
			p.len = lengths[k];
			if (weir_match_eval(m, &p))
				return true;
		}
	}
	return false;
}

static bool is_in_the_way(const struct weir_fault_conf_rule *r, const struct weir_guard_session *s)
{
	if (r->iface[0] && if_nametoindex(r->iface) != s->ifindex)
		return false;
	return (r->dir != WEIR_FAULT_OUTWARD && hits(r->match, s, false)) ||
	       (r->dir != WEIR_FAULT_IN && hits(r->match, s, true));
}

static bool has_new(const struct weir_fault_conf *next)
{
	for (size_t i = 0; i < next->n; i++)
		if (!weir_fault_is_socket(&next->v[i]) && !next->v[i].id)
			return true;
	return false;
}

int weir_fault_guard(const struct weir_fault_conf *next, struct weir_error *err)
{
	weir_autofree struct weir_guard_session *v = NULL;
	size_t n = 0;
	int ret;

	if (!has_new(next))
		return 0;
	ret = weir_guard_sessions(&v, &n, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < next->n; i++) {
		const struct weir_fault_conf_rule *r = &next->v[i];

		if (weir_fault_is_socket(r) || r->id)
			continue;
		for (size_t k = 0; k < n; k++)
			if (is_in_the_way(r, &v[k]))
				return refuse(r->name, &v[k], err);
	}
	return 0;
}

/* A listener's port is the session's: who is thrown out comes in by it. */
int weir_fault_guard_socket(const char *rule, const struct weir_addr *local, uint16_t port,
			    struct weir_error *err)
{
	weir_autofree struct weir_guard_session *v = NULL;
	static const struct weir_addr any6, any4 = { .b = { [10] = 0xff, 0xff } };
	size_t n = 0;
	int ret = weir_guard_sessions(&v, &n, err);

	for (size_t i = 0; !ret && i < n; i++) {
		if (v[i].local_port != port)
			continue;
		if (!memcmp(local, &any6, sizeof(any6)) || !memcmp(local, &any4, sizeof(any4)) ||
		    !memcmp(local, &v[i].local, sizeof(*local)))
			ret = refuse(rule, &v[i], err);
	}
	return ret;
}
