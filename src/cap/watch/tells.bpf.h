/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --names: which packets may tell a name, so that they are shipped whole. A part of
 * watch.bpf.c, which has struct seen and cfg.
 */
#pragma once

/* TCP connections that have begun, for names: found by hash, one in each place, so that
 * looking is cheap. A connection that takes another one's place takes its name, too; it
 * needs it for one round trip only. */
#define BEGINS 65536
#define BEGIN_BYTES 65537U /* of the initiator's that may tell a name */
#define BEGIN_SET (1U << 31)
#define BEGIN_SIDE (1U << 30)

struct begin {
	__u32 tag; /* BEGIN_SET, the initiator's side, the rest of the hash; 0 = empty */
	__u32 isn;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BEGINS);
	__type(key, __u32);
	__type(value, struct begin);
} weir_begins SEC(".maps");

static __always_inline bool is_dns_port(__u16 port)
{
	return port == 53 || port == 5353 || port == 5355;
}

static __always_inline bool load_seq(const struct seen *s, __u32 *ret)
{
	__u32 off = s->pkt->l4_off + offsetof(struct tcphdr, seq);
	__be32 seq;
	long err;

	if (s->xdp)
		err = bpf_xdp_load_bytes(s->ctx, off, &seq, sizeof(seq));
	else if (s->displaced)
		err = bpf_skb_load_bytes_relative(s->ctx, off, &seq, sizeof(seq),
						  BPF_HDR_START_MAC);
	else
		err = bpf_skb_load_bytes(s->ctx, off, &seq, sizeof(seq));
	*ret = bpf_ntohl(seq);
	return !err;
}

/* The same for both directions, and cheaper than weir_pkt_hash(): two connections that
 * meet cost a name at most. */
static __always_inline __u32 begin_hash(const struct weir_pkt *p)
{
	__u64 src, dst, h;

	__builtin_memcpy(&src, p->src + 8, sizeof(src));
	__builtin_memcpy(&dst, p->dst + 8, sizeof(dst));
	h = (src + dst) * WEIR_HASH_K0 ^ ((__u64)p->sport + p->dport + cfg.seed) * WEIR_HASH_K1;
	return (h ^ h >> 32) * WEIR_HASH_K2 >> 32;
}

/* May a TCP segment tell a name? It does where it is of the first bytes of who began, as
 * long as the other side has said nothing. */
static __always_inline bool tcp_tells(struct seen *s, bool payload)
{
	const struct weir_pkt *p = s->pkt;
	__u32 hash = begin_hash(p), at = hash % BEGINS, seq;
	__u32 tag = BEGIN_SET | hash / BEGINS;
	bool syn = p->tcp_flags & WEIR_TCP_SYN;
	struct begin *b = bpf_map_lookup_elem(&weir_begins, &at);

	if (weir_flow_src_is_a(p))
		tag |= BEGIN_SIDE;
	if (!b || (!syn && b->tag != tag)) {
		if (b && payload && b->tag == (tag ^ BEGIN_SIDE))
			b->tag = 0;
		return false;
	}
	if (!load_seq(s, &seq))
		return false;
	if (syn) {
		b->isn = seq;
		b->tag = tag;
	} else if (seq - b->isn - 1 >= BEGIN_BYTES) {
		b->tag = 0;
		return false;
	}
	if (cfg.mode == WEIR_WATCH_FLOWS) {
		s->rule = b->isn;
		s->flags |= WEIR_WATCH_ISN;
	}
	return true;
}

/* May the packet tell a name? */
static __always_inline bool tells(struct seen *s)
{
	const struct weir_pkt *p = s->pkt;
	bool payload = weir_wire_payload(p), syn = p->tcp_flags & WEIR_TCP_SYN;

	if (p->flags & WEIR_PKT_FRAGMENT || !(p->flags & WEIR_PKT_PORTS))
		return false;
	if (p->proto == IPPROTO_UDP)
		return is_dns_port(p->sport) || is_dns_port(p->dport);
	if (!(p->flags & WEIR_PKT_TCP))
		return false;
	if (p->sport == 53 || p->dport == 53)
		return payload || syn;
	if (!payload && !(syn && !(p->tcp_flags & WEIR_TCP_ACK)))
		return false;
	return tcp_tells(s, payload) && payload;
}
