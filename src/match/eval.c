/* SPDX-License-Identifier: GPL-2.0-only */
/* The user-space back end. codegen.c says the same in instructions: what
 * changes here changes there. */
#include "match/ast.h"

#include <arpa/inet.h>
#include <string.h>

static bool by_dir(enum weir_ast_dir dir, bool src, bool dst)
{
	switch (dir) {
	case WEIR_DIR_SRC:
		return src;
	case WEIR_DIR_DST:
		return dst;
	case WEIR_DIR_BOTH:
		return src && dst;
	default:
		return src || dst;
	}
}

/* Is the address in one of the prefixes? They are sorted and none lies in
 * another: only the last one that does not begin behind it can hold it. Bytes
 * before @from are taken as equal. */
static bool in_prefixes(const struct weir_prefix *v, size_t n, const uint8_t *addr, size_t from)
{
	const size_t size = sizeof(v->addr.b);
	size_t lo = 0, bytes;

	while (n - lo > 0) {
		size_t mid = lo + (n - lo) / 2;

		if (memcmp(v[mid].addr.b + from, addr + from, size - from) <= 0)
			lo = mid + 1;
		else
			n = mid;
	}
	if (!lo)
		return false;
	v += lo - 1;
	bytes = v->len / 8;
	if (bytes > from && memcmp(v->addr.b + from, addr + from, bytes - from))
		return false;
	return v->len % 8 == 0 || (v->addr.b[bytes] ^ addr[bytes]) >> (8 - v->len % 8) == 0;
}

/* Of a packet whose addresses are IPv4 or, in ARP of other families, zeros. */
static bool has_v4(const uint8_t *addr)
{
	static const uint8_t mapped[4] = { 0, 0, 0xff, 0xff };

	return !memcmp(addr + 8, mapped, sizeof(mapped));
}

static bool eval_v4(const struct weir_ast *a, const uint8_t *addr)
{
	return has_v4(addr) && in_prefixes(a->addr.v, a->addr.n_v4, addr, 12);
}

static bool eval_v6(const struct weir_ast *a, const uint8_t *addr)
{
	return in_prefixes(a->addr.v + a->addr.n_v4, a->addr.n - a->addr.n_v4, addr, 0);
}

static bool eval_addr(const struct weir_ast *a, const struct weir_pkt *p)
{
	if (a->addr.n_v4 && p->flags & a->guard & (WEIR_PKT_IP4 | WEIR_PKT_ARP))
		return by_dir(a->dir, eval_v4(a, p->src), eval_v4(a, p->dst));
	if (a->addr.n_v4 < a->addr.n && p->flags & a->guard & WEIR_PKT_IP6)
		return by_dir(a->dir, eval_v6(a, p->src), eval_v6(a, p->dst));
	return false;
}

static bool eval_port(const struct weir_ast *a, const struct weir_pkt *p)
{
	unsigned int i = 0;

	while (weir_l4_protos[i].name &&
	       !(a->num.l4 & 1U << i && weir_l4_protos[i].number == p->proto))
		i++;
	return weir_l4_protos[i].name &&
	       by_dir(a->dir, weir_ranges_hold(a->num.v, a->num.n, p->sport),
		      weir_ranges_hold(a->num.v, a->num.n, p->dport));
}

static bool eval_vlan(const struct weir_ast *a, const struct weir_pkt *p)
{
	const uint16_t id = (uint16_t)weir_num_info[WEIR_NUM_VLAN].max;

	for (unsigned int i = 0; i < WEIR_PKT_VLANS && i < p->vlans; i++)
		if (weir_ranges_hold(a->num.v, a->num.n, p->vlan[i] & id))
			return true;
	return false;
}

static bool eval_num(const struct weir_ast *a, const struct weir_pkt *p)
{
	const struct weir_range *v = a->num.v;
	size_t n = a->num.n;

	if (a->guard && !(p->flags & a->guard))
		return false;
	switch (a->num.what) {
	case WEIR_NUM_ETHER_TYPE:
		return weir_ranges_hold(v, n, p->eth_type);
	case WEIR_NUM_PROTO:
		return weir_ranges_hold(v, n, p->proto) ||
		       (p->flags & WEIR_PKT_AH && weir_ranges_hold(v, n, WEIR_PROTO_AH));
	case WEIR_NUM_PORT:
		return eval_port(a, p);
	case WEIR_NUM_VLAN:
		return eval_vlan(a, p);
	case WEIR_NUM_LEN:
		return weir_ranges_hold(v, n, p->len);
	default:
		return weir_ranges_hold(v, n, p->ttl);
	}
}

static bool eval_mac(const struct weir_ast *a, const uint8_t *mac)
{
	for (size_t i = 0; i < sizeof(a->mac.value); i++)
		if ((mac[i] & a->mac.mask[i]) != a->mac.value[i])
			return false;
	return true;
}

struct asked {
	const struct weir_pkt *pkt;
	weir_match_in_fn *in;
	void *arg;
};

static bool in_set(const struct asked *q, const struct weir_ast *a, const uint8_t *addr)
{
	struct weir_addr whole;

	memcpy(whole.b, addr, sizeof(whole.b));
	if (q->pkt->flags & a->guard & (WEIR_PKT_IP4 | WEIR_PKT_ARP) ? !has_v4(addr) :
								       weir_addr_is_v4(&whole))
		return false;
	return q->in(q->arg, a->set.index, addr);
}

static bool eval_set(const struct asked *q, const struct weir_ast *a)
{
	return q->in && q->pkt->flags & a->guard &&
	       by_dir(a->dir, in_set(q, a, q->pkt->src), in_set(q, a, q->pkt->dst));
}

static bool eval(const struct asked *q, const struct weir_ast *a)
{
	const struct weir_pkt *p = q->pkt;
	size_t i = 0;

	switch (a->kind) {
	case WEIR_AST_AND:
		while (i < a->sub.n && eval(q, a->sub.v[i]))
			i++;
		return i == a->sub.n;
	case WEIR_AST_OR:
		while (i < a->sub.n && !eval(q, a->sub.v[i]))
			i++;
		return i < a->sub.n;
	case WEIR_AST_NOT:
		return !eval(q, a->sub.v[0]);
	case WEIR_AST_NUM:
		return eval_num(a, p);
	case WEIR_AST_ADDR:
		return eval_addr(a, p);
	case WEIR_AST_SET:
		return eval_set(q, a);
	case WEIR_AST_MAC:
		return p->flags & a->guard &&
		       by_dir(a->dir, eval_mac(a, p->eth_src), eval_mac(a, p->eth_dst));
	case WEIR_AST_TCP_FLAGS:
		return p->flags & a->guard &&
		       ((p->tcp_flags & a->bits.mask) == a->bits.value) != a->bits.differs;
	case WEIR_AST_STATE:
		return (p->flags & a->bits.mask) == a->bits.value;
	default:
		return true;
	}
}

bool weir_match_eval(const struct weir_match *m, const struct weir_pkt *p)
{
	return weir_match_eval_sets(m, p, NULL, NULL);
}

bool weir_match_eval_sets(const struct weir_match *m, const struct weir_pkt *p,
			  weir_match_in_fn *in, void *arg)
{
	const struct asked q = { p, in, arg };

	return eval(&q, m->ast);
}
