/* SPDX-License-Identifier: GPL-2.0-only */
/* One rule from its words. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/steer/conf.h"
#include "match/match.h"
#include "policy/rule_text.h"

const char *const weir_steer_protos[] = { "tcp", "udp", NULL };
const char *const weir_steer_on_misses[] = { "drop", "pass", NULL };

#define ALL_PROTOS ((1U << WEIR_STEER_PROTOS) - 1)

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

void weir_steer_rule_free(struct weir_steer_rule *r)
{
	free(r->dst);
	free(r->src);
	free(r->ports);
	r->dst = r->src = NULL;
	r->ports = NULL;
	r->n_dst = r->n_src = r->n_ports = 0;
}

/* ---- Sockets */

/* "ADDR:PORT" or "[ADDR]:PORT" */
static int parse_listen(const char *s, struct weir_steer_socket *ret)
{
	const char *colon = strrchr(s, ':');
	bool brackets = *s == '[';
	char host[WEIR_ADDR_STRLEN];
	size_t n = colon ? (size_t)(colon - s) : 0;
	uint64_t port;

	if (brackets && (n < 2 || s[n - 1] != ']'))
		return -EINVAL;
	n -= brackets ? 2 : 0;
	if (!n || n >= sizeof(host) || weir_parse_u64(colon + 1, 1, UINT16_MAX, &port))
		return -EINVAL;
	snprintf(host, sizeof(host), "%.*s", (int)n, s + brackets);
	if (weir_addr_parse(host, &ret->addr) || brackets == !strchr(host, ':'))
		return -EINVAL;
	ret->port = (uint16_t)port;
	return 0;
}

int weir_steer_socket_parse(const char *to, struct weir_steer_socket *ret)
{
	struct weir_steer_socket s = { 0 };
	uint64_t pid, fd;
	char word[16];
	size_t n;
	int code;

	if (!strncmp(to, "group:", 6))
		return -ENOENT;
	if (!strncmp(to, "listen:", 7)) {
		code = parse_listen(to + 7, &s);
		if (!code)
			*ret = s;
		return code;
	}
	if (strncmp(to, "pid:", 4) != 0)
		return -EINVAL;
	n = strcspn(to + 4, "/");
	if (!n || n >= sizeof(word) || strncmp(to + 4 + n, "/fd:", 4) != 0)
		return -EINVAL;
	snprintf(word, sizeof(word), "%.*s", (int)n, to + 4);
	if (weir_parse_u64(word, 1, INT32_MAX, &pid) ||
	    weir_parse_u64(to + 4 + n + 4, 0, INT32_MAX, &fd))
		return -EINVAL;
	s.is_pid = true;
	s.pid = (uint32_t)pid;
	s.fd = (uint32_t)fd;
	*ret = s;
	return 0;
}

/* One spelling for each socket. */
static int set_to(const char *to, struct weir_steer_rule *r, struct weir_error *err)
{
	if (!to)
		return weir_fail(err, -EINVAL,
				 "no socket given: say which with --to listen:ADDR:PORT, "
				 "pid:N/fd:M or group:NAME");
	return weir_steer_to_parse(to, true, r->to, err);
}

int weir_steer_to_parse(const char *to, bool groups, char ret[WEIR_STEER_TO_MAX],
			struct weir_error *err)
{
	struct weir_steer_socket s;
	char addr[WEIR_ADDR_STRLEN];
	int code = weir_steer_socket_parse(to, &s);

	if (code == -ENOENT && groups && weir_policy_is_rule_name(to + 6)) {
		snprintf(ret, WEIR_STEER_TO_MAX, "%s", to);
		return 0;
	}
	if (code)
		return weir_fail(err, -EINVAL,
				 "\"%s\": not a socket: give listen:ADDR:PORT "
				 "(listen:[ADDR]:PORT), pid:N/fd:M%s",
				 to, groups ? " or group:NAME" : "");
	if (s.is_pid)
		snprintf(ret, WEIR_STEER_TO_MAX, "pid:%u/fd:%u", s.pid, s.fd);
	else if (weir_addr_is_v4(&s.addr))
		snprintf(ret, WEIR_STEER_TO_MAX, "listen:%s:%u", weir_addr_str(&s.addr, addr),
			 s.port);
	else
		snprintf(ret, WEIR_STEER_TO_MAX, "listen:[%s]:%u", weir_addr_str(&s.addr, addr),
			 s.port);
	return 0;
}

/* ---- The match */

static int refuse(struct weir_error *err, const char *what)
{
	return weir_fail(err, -EINVAL,
			 "%s: weir steer cannot match it: it sees protocol, local address and port "
			 "(--dst-ip, --dst-port) and remote address (--src-ip) of a new connection",
			 what);
}

static int take_proto(const struct weir_ast *a, struct weir_steer_rule *r, struct weir_error *err)
{
	const uint16_t both = WEIR_PKT_IP4 | WEIR_PKT_IP6;
	uint32_t protos = 0;

	if (a->guard && (a->guard & both) != both)
		return refuse(err, "a protocol of one IP version");
	for (size_t i = 0; i < a->num.n; i++) {
		const struct weir_range *v = &a->num.v[i];

		if (v->lo != v->hi || (v->lo != IPPROTO_TCP && v->lo != IPPROTO_UDP))
			return weir_fail(
				err, -EINVAL,
				"protocol %u: weir steer knows only tcp and udp: use those", v->lo);
		protos |= 1U << (v->lo == IPPROTO_TCP ? WEIR_STEER_TCP : WEIR_STEER_UDP);
	}
	r->protos &= protos;
	return 0;
}

static int take_ports(const struct weir_ast *a, struct weir_steer_rule *r, struct weir_error *err)
{
	if (a->dir == WEIR_DIR_SRC)
		return refuse(err, "the source port");
	if (a->dir != WEIR_DIR_DST)
		return refuse(err, "a port of either end");
	if (r->n_ports)
		return refuse(err, "two conditions on the destination port");
	if (!(a->num.l4 & WEIR_L4_TCP))
		r->protos &= ~(1U << WEIR_STEER_TCP);
	if (!(a->num.l4 & WEIR_L4_UDP))
		r->protos &= ~(1U << WEIR_STEER_UDP);
	r->ports = calloc(a->num.n, sizeof(*r->ports));
	if (!r->ports)
		return oom(err);
	memcpy(r->ports, a->num.v, a->num.n * sizeof(*r->ports));
	r->n_ports = a->num.n;
	return 0;
}

static int take_prefixes(const struct weir_ast *a, struct weir_steer_rule *r,
			 struct weir_error *err)
{
	bool dst = a->dir == WEIR_DIR_DST;
	struct weir_prefix **to = dst ? &r->dst : &r->src;

	if (!dst && a->dir != WEIR_DIR_SRC)
		return refuse(err, "an address of either end");
	if (*to)
		return refuse(err, dst ? "two conditions on the destination address" :
					 "two conditions on the source address");
	*to = calloc(a->addr.n, sizeof(**to));
	if (!*to)
		return oom(err);
	memcpy(*to, a->addr.v, a->addr.n * sizeof(**to));
	*(dst ? &r->n_dst : &r->n_src) = a->addr.n;
	return 0;
}

static const char *kind_name(enum weir_ast_kind kind)
{
	switch (kind) {
	case WEIR_AST_OR:
		return "\"or\" between conditions";
	case WEIR_AST_NOT:
		return "\"not\"";
	case WEIR_AST_MAC:
		return "an Ethernet address";
	case WEIR_AST_TCP_FLAGS:
		return "TCP flags";
	default:
		return "that condition";
	}
}

static int take_leaf(const struct weir_ast *a, struct weir_steer_rule *r, struct weir_error *err)
{
	if (a->kind == WEIR_AST_NUM && a->num.what == WEIR_NUM_PROTO)
		return take_proto(a, r, err);
	if (a->kind == WEIR_AST_NUM && a->num.what == WEIR_NUM_PORT)
		return take_ports(a, r, err);
	if (a->kind == WEIR_AST_NUM)
		return refuse(err, weir_num_info[a->num.what].name);
	if (a->kind == WEIR_AST_ADDR)
		return take_prefixes(a, r, err);
	return refuse(err, kind_name(a->kind));
}

static int set_match(const struct weir_steer_words *w, struct weir_steer_rule *r,
		     struct weir_error *err)
{
	const struct weir_match_spec spec = {
		.protocol = w->protocol,
		.src_ip = w->src_ip,
		.dst_ip = w->dst_ip,
		.dst_port = w->dst_port,
		.expression = w->expression,
	};
	struct weir_match *m = NULL;
	const struct weir_ast *a;
	int ret = weir_match_parse(&spec, &m, err);

	if (ret)
		return ret;
	a = m->ast;
	r->protos = ALL_PROTOS;
	if (a->kind == WEIR_AST_AND)
		for (size_t i = 0; !ret && i < a->sub.n; i++)
			ret = take_leaf(a->sub.v[i], r, err);
	else if (a->kind != WEIR_AST_ALL)
		ret = take_leaf(a, r, err);
	weir_match_free(m);
	if (!ret && !r->protos)
		return weir_fail(err, -EINVAL,
				 "no connection can match: the protocols exclude each other");
	if (!ret && !r->n_dst && !r->n_ports)
		return weir_fail(err, -EINVAL,
				 "it would take every connection to this host: give --dst-ip or "
				 "--dst-port");
	return ret;
}

/* Are there connections between the addresses? A family on one side only is none. */
static int check_families(const struct weir_steer_rule *r, struct weir_error *err)
{
	bool v4[2] = { !r->n_dst, !r->n_src }, v6[2] = { !r->n_dst, !r->n_src };

	for (size_t i = 0; i < r->n_dst; i++)
		*(r->dst[i].is_v4 ? &v4[0] : &v6[0]) = true;
	for (size_t i = 0; i < r->n_src; i++)
		*(r->src[i].is_v4 ? &v4[1] : &v6[1]) = true;
	if ((v4[0] && v4[1]) || (v6[0] && v6[1]))
		return 0;
	return weir_fail(err, -EINVAL,
			 "--src-ip and --dst-ip are of different IP versions: give one of both");
}

/* ---- The rest */

static int set_times(const struct weir_steer_words *w, struct weir_steer_rule *r,
		     struct weir_error *err)
{
	uint64_t id = 0;

	if (w->ttl && (weir_parse_duration(w->ttl, &r->ttl) || !r->ttl))
		return weir_fail(err, -EINVAL, "--ttl \"%s\": not a time: give one such as 5m",
				 w->ttl);
	if (w->expires && weir_parse_u64(w->expires, 1, UINT64_MAX, &r->expires))
		return weir_fail(err, -EINVAL, "--expires \"%s\": not a number", w->expires);
	if (w->id && weir_parse_u64(w->id, 1, WEIR_RULES_MAX, &id))
		return weir_fail(err, -EINVAL, "--id \"%s\": not a number", w->id);
	r->id = (uint32_t)id;
	return 0;
}

static int set_on_miss(const char *word, struct weir_steer_rule *r, struct weir_error *err)
{
	for (r->on_miss = 0; word && weir_steer_on_misses[r->on_miss]; r->on_miss++)
		if (!strcmp(weir_steer_on_misses[r->on_miss], word))
			return 0;
	if (!word)
		return 0;
	return weir_fail(err, -EINVAL, "--on-miss \"%s\": give drop or pass", word);
}

static int set_name(const char *name, struct weir_steer_rule *r, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	r->named = name;
	/* How long it lasts makes no other rule of it. */
	if (!name) {
		weir_steer_print_match(r, &text);
		weir_buf_addf(&text, " --to %s", r->to);
	}
	return weir_rule_text_set_name(name, "steer", &text, r->name, err);
}

int weir_steer_rule_make(const struct weir_steer_words *w, const char *name,
			 struct weir_steer_rule *ret, struct weir_error *err)
{
	struct weir_steer_rule r = { 0 };
	int code = 0;

	if (w->src_port)
		code = refuse(err, "--src-port");
	else if (w->iface)
		code = refuse(err, "-i");
	else if (w->direction)
		code = refuse(err, "-Q");
	if (!code)
		code = set_match(w, &r, err);
	if (!code)
		code = check_families(&r, err);
	if (!code)
		code = set_to(w->to, &r, err);
	if (!code)
		code = set_on_miss(w->on_miss, &r, err);
	if (!code)
		code = set_times(w, &r, err);
	if (!code)
		code = set_name(name, &r, err);
	if (code)
		weir_steer_rule_free(&r);
	else
		*ret = r;
	return code;
}
