/* SPDX-License-Identifier: GPL-2.0-only */
/* test PACKET: what the program in force would do with it, without counting it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "bpf/parse.bpf.h"
#include "cap/steer/steer_cmd.h"

struct answer {
	struct weir_steer_question q;
	struct weir_steer_verdict verdict;
	const struct weir_steer_rule *rule; /* that decided, or NULL */
	const struct weir_socket *socket;   /* that gets it, or NULL */
	const char *why;
};

static int make_question(struct weir_steer_cmd *c, struct weir_steer_question *q,
			 struct weir_error *err)
{
	struct weir_craft packet;
	struct weir_pkt p;
	size_t n;
	int ret = 0;

	if (c->rule.ttl && weir_parse_u64(c->rule.ttl, 0, WEIR_CRAFT_TTL_MAX, &c->craft.ttl))
		ret = weir_fail(err, -EINVAL, "--ttl \"%s\": a packet's is a number from 0 to %d",
				c->rule.ttl, WEIR_CRAFT_TTL_MAX);
	if (!ret)
		ret = weir_craft(&c->craft, &c->words, &packet, err);
	if (ret)
		return weir_steer_cmd_usage(c, ret);
	n = packet.len < WEIR_PKT_HDR_MAX ? packet.len : WEIR_PKT_HDR_MAX;
	weir_parse(&p, packet.frame, packet.frame + n, WEIR_L2_ETHER, 0, (uint32_t)packet.len);
	if (!(p.flags & WEIR_PKT_PORTS) || (p.proto != IPPROTO_TCP && p.proto != IPPROTO_UDP)) {
		weir_steer_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL,
				 "only TCP and UDP are looked up by port: give a packet of those");
	}
	q->proto = p.proto == IPPROTO_TCP ? WEIR_STEER_TCP : WEIR_STEER_UDP;
	memcpy(q->local.b, p.dst, 16);
	memcpy(q->remote.b, p.src, 16);
	q->local_port = p.dport;
	q->remote_port = p.sport;
	return 0;
}

/* The socket that the kernel finds before it asks anybody: one that is connected so. */
static const struct weir_socket *connected(const struct weir_steer_finder *f,
					   const struct weir_steer_question *q)
{
	for (size_t i = 0; i < f->n[q->proto]; i++) {
		const struct weir_socket *s = &f->sockets[q->proto][i];

		if (!weir_steer_is_open(s) && s->local_port == q->local_port &&
		    s->remote_port == q->remote_port &&
		    !memcmp(&s->local, &q->local, sizeof(s->local)) &&
		    !memcmp(&s->remote, &q->remote, sizeof(s->remote)))
			return s;
	}
	return NULL;
}

/* How near a socket is to the address where nobody chooses: 0 = it does not get it. */
static int nearness(const struct weir_socket *s, const struct weir_steer_question *q)
{
	static const struct weir_addr any4 = { .b = { [10] = 0xff, 0xff } }, any6 = { { 0 } };
	bool v4 = weir_addr_is_v4(&q->local);

	if (!weir_steer_is_open(s) || s->local_port != q->local_port)
		return 0;
	if (!memcmp(&s->local, &q->local, sizeof(s->local)))
		return 3;
	if (!memcmp(&s->local, v4 ? &any4 : &any6, sizeof(any4)))
		return 2;
	return v4 && !s->v6only && !memcmp(&s->local, &any6, sizeof(any6));
}

static const struct weir_socket *usual(const struct weir_steer_finder *f,
				       const struct weir_steer_question *q)
{
	const struct weir_socket *best = NULL;
	int near = 0;

	for (size_t i = 0; i < f->n[q->proto]; i++) {
		const struct weir_socket *s = &f->sockets[q->proto][i];

		if (nearness(s, q) <= near)
			continue;
		near = nearness(s, q);
		best = s;
	}
	return best;
}

static int ask(struct weir_steer_cmd *c, const struct weir_steer *s, struct weir_steer_finder *f,
	       struct answer *a, struct weir_error *err)
{
	int ret = weir_steer_finder_list(f, a->q.proto, err);

	(void)c;
	if (ret)
		return ret;
	a->socket = connected(f, &a->q);
	if (a->socket) {
		a->why = "it belongs to a connection that is there";
		return 0;
	}
	ret = weir_steer_ask(s, &a->q, &a->verdict, err);
	if (ret)
		return ret;
	for (size_t i = 0; a->verdict.answer.rule && i < s->conf.n_rules; i++)
		if (s->conf.rules[i].id == a->verdict.answer.rule)
			a->rule = &s->conf.rules[i];
	switch (a->verdict.answer.outcome) {
	case WEIR_STEER_STEERED:
		a->socket = weir_steer_finder_cookie(f, a->q.proto, a->verdict.cookie);
		a->why = "a rule chose the socket";
		return 0;
	case WEIR_STEER_MISSED:
		a->why = "the rule's sockets are gone";
		break;
	case WEIR_STEER_REFUSED:
		a->why = "the kernel refused the rule's socket";
		break;
	default:
		a->why = "no rule matches";
	}
	if (!a->verdict.dropped)
		a->socket = usual(f, &a->q);
	return 0;
}

static const char *word_of(const struct answer *a)
{
	if (a->verdict.dropped)
		return "DROP";
	return a->verdict.answer.outcome == WEIR_STEER_STEERED && a->verdict.cookie ? "STEER" :
										      "PASS";
}

static void render_text(const struct weir_steer *s, struct weir_steer_finder *f,
			const struct answer *a, struct weir_buf *out)
{
	char addr[WEIR_ADDR_STRLEN], comm[17];

	weir_buf_addf(out, "%s: %s\n", word_of(a), a->why);
	if (a->rule) {
		weir_buf_addf(out, "%s: ", a->rule->name);
		weir_steer_print_rule(&s->conf, a->rule, 0, s->clock.boot, out);
		weir_buf_addc(out, '\n');
	}
	if (a->socket) {
		uint32_t pid = weir_steer_holder_of(f, a->socket->inode, comm);

		weir_addr_str(&a->socket->local, addr);
		weir_buf_addf(out, "socket on %s port %u", addr, a->socket->local_port);
		if (pid)
			weir_buf_addf(out, " of %s (%u)", comm, pid);
		weir_buf_addf(out, ", cookie %llu\n", (unsigned long long)a->socket->cookie);
	} else if (a->verdict.cookie) {
		weir_buf_addf(out, "cookie %llu\n", (unsigned long long)a->verdict.cookie);
	} else if (!a->verdict.dropped) {
		weir_buf_adds(out, "nothing listens there\n");
	}
}

static void render_json(struct weir_steer_finder *f, const struct answer *a, struct weir_buf *out)
{
	static const char *const words[] = { "pass", "steer", "drop" };
	char addr[WEIR_ADDR_STRLEN], comm[17];
	const char *word = word_of(a);
	struct weir_json j;
	uint32_t pid;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verdict", words[*word == 'S' ? 1 : *word == 'D' ? 2 : 0]);
	weir_json_str(&j, "detail", a->why);
	if (a->rule)
		weir_json_str(&j, "rule", a->rule->name);
	if (a->socket || a->verdict.cookie)
		weir_json_uint(&j, "cookie", a->socket ? a->socket->cookie : a->verdict.cookie);
	if (a->socket) {
		weir_json_str(&j, "local_ip", weir_addr_str(&a->socket->local, addr));
		weir_json_uint(&j, "local_port", a->socket->local_port);
		pid = weir_steer_holder_of(f, a->socket->inode, comm);
		if (pid) {
			weir_json_uint(&j, "pid", pid);
			weir_json_str(&j, "comm", comm);
		}
	}
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_steer_do_test(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_steer_finder f = { 0 };
	struct answer a = { 0 };
	struct weir_steer s;
	int ret = make_question(c, &a.q, err);

	if (!ret)
		ret = weir_steer_open(&s, false, err);
	if (ret)
		return ret;
	ret = ask(c, &s, &f, &a, err);
	if (!ret && c->json)
		render_json(&f, &a, &out);
	else if (!ret)
		render_text(&s, &f, &a, &out);
	weir_steer_finder_free(&f);
	weir_steer_close(&s);
	if (ret)
		return ret;
	return weir_verb_print("steer", &out, a.verdict.dropped ? WEIR_EXIT_NO : WEIR_EXIT_DONE);
}
