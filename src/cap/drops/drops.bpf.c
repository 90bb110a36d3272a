// SPDX-License-Identifier: GPL-2.0-only
/*
 * weir drops, the kernel's half: where a packet is freed undelivered, find out whose it
 * was, whether it is wanted, and count it by reason, place and interface.
 *
 * Nothing at a packet that is being freed can be trusted to be there: skb->dev shares its
 * room with a tree node and with the receive queue's notes. So every read is one that may
 * fail, and what looks like a device has to prove it.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/match_stub.bpf.h"
#include "bpf/parse.bpf.h"
#include "bpf/rings.bpf.h"
#include "bpf/sock.bpf.h"
#include "cap/drops/drops.h"

#define AF_UNIX_FAMILY 1
#define AF_NETLINK_FAMILY 16
#define AF_PACKET_FAMILY 17
#define NO_HEADER 0xffff /* mac_header where there is none */
#define NOT_COUNTED 7ULL /* bits of _skb_refdst that are no address */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net___drops;

struct net_device___weir {
	int ifindex;
	struct {
		struct net___drops *net;
	} nd_net;
};

/* As struct net___weir, with what a device is known by. */
struct net___drops {
	__u64 net_cookie;
	struct net_device___weir *loopback_dev;
};

struct dst_entry___weir {
	struct net_device___weir *dev;
};

struct sk_buff___weir {
	struct net_device___weir *dev;
	struct sock_common___weir *sk;
	unsigned long _skb_refdst;
	unsigned int len, data_len;
	int skb_iif;
	__be16 protocol;
	__u16 network_header, mac_header;
	unsigned int end;
	unsigned char *head, *data;
};

struct skb_shared_info___weir {
	unsigned short gso_segs;
};

struct bpf_prog_aux___weir {
	char name[16];
};

struct bpf_prog___weir {
	struct bpf_prog_aux___weir *aux;
};

#pragma clang attribute pop

const volatile struct weir_drops_config cfg = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, WEIR_DROPS_ROWS);
	__type(key, struct weir_drops_key);
	__type(value, struct weir_drops_val);
} weir_drops_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_DROPS_FLOWS);
	__type(key, struct weir_drops_flow);
	__type(value, struct weir_drops_val);
} weir_drops_flows SEC(".maps");

WEIR_RINGS(weir_drops_rings);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_drops_counters);
} weir_drops_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_DROPS_XDP_ROWS);
	__type(key, struct weir_drops_xdp_key);
	__type(value, __u64);
} weir_drops_xdp SEC(".maps");

/* Room that would not fit on the stack. The kernel never runs a tracing program inside
 * itself on the same CPU: it counts what it left out, which user space reads. */
struct work {
	struct weir_pkt pkt;
	struct weir_drops_key key;
	struct weir_drops_flow flow;
	__u8 head[WEIR_PKT_HDR_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} weir_drops_work SEC(".maps");

/* The freed packet at hand. */
struct freed {
	const struct sk_buff___weir *skb;
	struct work *work;
	struct weir_drops_counters *count;
	__u32 wire;
	__u32 bytes;
};

/* The namespace of @dev, 0 if it is no device: its namespace's loopback must be in that
 * namespace, which holds for nothing else. */
static __always_inline __u64 netns_of_dev(const struct net_device___weir *dev)
{
	const struct net___drops *net, *again;
	const struct net_device___weir *lo;

	if (!dev)
		return 0;
	net = BPF_CORE_READ(dev, nd_net.net);
	lo = BPF_CORE_READ(net, loopback_dev);
	again = BPF_CORE_READ(lo, nd_net.net);
	return net && net == again ? BPF_CORE_READ(net, net_cookie) : 0;
}

static __always_inline __u64 netns_of_sock(const struct sock_common___weir *sk)
{
	return sk ? BPF_CORE_READ(sk, skc_net.net, net_cookie) : 0;
}

static __always_inline __u64 netns_of_route(const struct sk_buff___weir *skb)
{
	unsigned long ref = BPF_CORE_READ(skb, _skb_refdst);
	const struct dst_entry___weir *dst = (const void *)(ref & ~NOT_COUNTED);

	return dst ? netns_of_dev(BPF_CORE_READ(dst, dev)) : 0;
}

/* Namespace and interface. @to: the socket that would have got it, where that is told.
 * The packet's own socket comes last: until the stack takes a packet in, that is its
 * sender's, which may be in another namespace. */
static __always_inline void find_place(const struct sk_buff___weir *skb,
				       const struct sock_common___weir *to,
				       struct weir_drops_key *key)
{
	const struct net_device___weir *dev = BPF_CORE_READ(skb, dev);
	__u64 by_dev = netns_of_dev(dev);
	int iif = BPF_CORE_READ(skb, skb_iif);

	key->netns = netns_of_sock(to);
	if (!key->netns)
		key->netns = by_dev;
	if (!key->netns)
		key->netns = netns_of_sock(BPF_CORE_READ(skb, sk));
	if (!key->netns)
		key->netns = netns_of_route(skb);
	if (!key->netns)
		key->kind = WEIR_DROPS_STRAY;
	key->received = iif > 0;
	key->ifindex = iif > 0 ? iif : 0;
	if (by_dev && by_dev == key->netns)
		key->ifindex = BPF_CORE_READ(dev, ifindex);
}

/* Copy @n bytes at @from into the scratch; how many there are then. */
static __always_inline __u32 copy_head(struct work *w, const __u8 *from, const __u8 *end)
{
	__u64 n = end - from;
	__u32 last;

	if (from >= end)
		return 0;
	if (n > WEIR_PKT_HDR_MAX)
		n = WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last >= WEIR_PKT_HDR_MAX || bpf_probe_read_kernel(w->head, weir_size(last), from))
		return 0;
	return n;
}

/* Does the copied head begin with an Ethernet header of this packet? */
static __always_inline bool is_ether(const struct work *w, __u32 n, __be16 protocol)
{
	__be16 type;

	if (n < WEIR_ETH_HLEN)
		return false;
	type = *(const weir_una16 *)(w->head + 12);
	return type == protocol || type == WEIR_BE16(WEIR_ETH_8021Q) ||
	       type == WEIR_BE16(WEIR_ETH_8021AD);
}

/* The headers, as far as they lie in the linear part: from the Ethernet header where it is
 * still there, else from the network header. */
static __always_inline void parse(struct freed *f)
{
	const struct sk_buff___weir *skb = f->skb;
	__u32 len = BPF_CORE_READ(skb, len), data_len = BPF_CORE_READ(skb, data_len), n = 0;
	__u16 mac = BPF_CORE_READ(skb, mac_header), net = BPF_CORE_READ(skb, network_header);
	const __u8 *head = BPF_CORE_READ(skb, head), *data = BPF_CORE_READ(skb, data);
	const __u8 *end = data + (len > data_len ? len - data_len : 0), *from = head + mac;
	enum weir_l2 l2 = WEIR_L2_ETHER;
	struct work *w = f->work;

	if (mac != NO_HEADER)
		n = copy_head(w, from, end);
	if (!is_ether(w, n, BPF_CORE_READ(skb, protocol))) {
		l2 = WEIR_L2_NONE;
		from = net ? head + net : data;
		n = copy_head(w, from, end);
	}
	f->bytes = (__u32)(end - from) + data_len;
	if (!n) {
		__builtin_memset(&w->pkt, 0, sizeof(w->pkt));
		f->bytes = len;
		return;
	}
	weir_parse(&w->pkt, w->head, w->head + n, l2, 0, f->bytes);
	/* What cannot be read as IP tells nothing at all. */
	if (l2 == WEIR_L2_NONE && w->pkt.flags & WEIR_PKT_MALFORMED)
		__builtin_memset(&w->pkt, 0, sizeof(w->pkt));
}

/* Acknowledgements and the ends of connections have done their work where they are read. */
static __always_inline bool is_bare(const struct weir_pkt *p)
{
	return p->flags & WEIR_PKT_TCP && !(p->tcp_flags & WEIR_TCP_SYN) && p->payload_off &&
	       p->l3_off + p->l3_len == p->payload_off;
}

static __always_inline __u32 frames_of(const struct sk_buff___weir *skb)
{
	const __u8 *head = BPF_CORE_READ(skb, head);
	const struct skb_shared_info___weir *shared =
		(const void *)(head + BPF_CORE_READ(skb, end));
	__u32 segs = BPF_CORE_READ(shared, gso_segs);

	return segs ? segs : 1;
}

static __always_inline void add(struct weir_drops_val *v, const struct freed *f)
{
	v->packets++;
	v->wire += f->wire;
	v->bytes += f->bytes;
}

static __always_inline void count_row(const struct freed *f)
{
	struct weir_drops_val first = { 1, f->wire, f->bytes }, *v;

	v = bpf_map_lookup_elem(&weir_drops_rows, &f->work->key);
	if (v)
		add(v, f);
	else if (bpf_map_update_elem(&weir_drops_rows, &f->work->key, &first, BPF_NOEXIST))
		f->count->lost[WEIR_DROPS_LOST_ROWS]++;
}

static __always_inline void add_shared(struct weir_drops_val *v, const struct freed *f)
{
	__sync_fetch_and_add(&v->packets, 1);
	__sync_fetch_and_add(&v->wire, f->wire);
	__sync_fetch_and_add(&v->bytes, f->bytes);
}

static __always_inline void count_flow(const struct freed *f)
{
	struct weir_drops_val first = { 1, f->wire, f->bytes }, *v;
	const struct weir_pkt *p = &f->work->pkt;
	struct weir_drops_flow *flow = &f->work->flow;

	__builtin_memset(flow, 0, sizeof(*flow));
	__builtin_memcpy(flow->src, p->src, sizeof(flow->src));
	__builtin_memcpy(flow->dst, p->dst, sizeof(flow->dst));
	flow->netns = f->work->key.netns;
	flow->place = f->work->key.place;
	flow->reason = f->work->key.reason;
	flow->sport = p->sport;
	flow->dport = p->dport;
	flow->proto = p->proto;
	flow->kind = f->work->key.kind;
	flow->bare = f->work->key.bare;
	v = bpf_map_lookup_elem(&weir_drops_flows, flow);
	if (!v && !bpf_map_update_elem(&weir_drops_flows, flow, &first, BPF_NOEXIST))
		return;
	/* Another CPU may have put it there meanwhile. */
	if (!v)
		v = bpf_map_lookup_elem(&weir_drops_flows, flow);
	if (v)
		add_shared(v, f);
	else
		f->count->lost[WEIR_DROPS_LOST_FLOWS]++;
}

static __always_inline void ship(const struct freed *f)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *ring = bpf_map_lookup_elem(&weir_drops_rings, &cpu);
	struct weir_drops_event *ev = NULL;

	if (ring)
		ev = bpf_ringbuf_reserve(ring, sizeof(*ev), 0);
	if (!ev) {
		f->count->lost[WEIR_DROPS_LOST_RING]++;
		return;
	}
	ev->ts = bpf_ktime_get_ns();
	ev->key = f->work->key;
	ev->pkt = f->work->pkt;
	bpf_ringbuf_submit(ev, 0);
	f->count->sent++;
}

/* AF_UNIX, netlink: what is freed there is a message, and no packet. */
static __always_inline bool is_local(const struct sock_common___weir *sk)
{
	int family = sk ? BPF_CORE_READ(sk, skc_family) : 0;

	return family == AF_UNIX_FAMILY || family == AF_NETLINK_FAMILY;
}

static __always_inline bool is_capture(const struct sock_common___weir *to)
{
	return to && BPF_CORE_READ(to, skc_family) == AF_PACKET_FAMILY;
}

static __always_inline bool is_here(const struct weir_drops_key *key)
{
	return !cfg.netns || key->kind == WEIR_DROPS_STRAY || key->netns == cfg.netns;
}

SEC("match.tp_btf/kfree_skb")
int weir_drops_freed(unsigned long long *ctx)
{
	__u32 zero = 0;
	const struct sk_buff___weir *skb = (const void *)ctx[0];
	const struct sock_common___weir *to = NULL;
	struct freed f = { .skb = skb };

	f.work = bpf_map_lookup_elem(&weir_drops_work, &zero);
	f.count = bpf_map_lookup_elem(&weir_drops_counters, &zero);
	if (!f.work || !f.count)
		return 0;
	f.count->seen++;
	__builtin_memset(&f.work->key, 0, sizeof(f.work->key));
	f.work->key.place = ctx[1];
	f.work->key.reason = ctx[2];
	if (cfg.socket)
		to = (const void *)ctx[3];
	if (is_local(to ? to : BPF_CORE_READ(skb, sk))) {
		f.count->local++;
		return 0;
	}
	f.work->key.kind = is_capture(to) ? WEIR_DROPS_COPY : WEIR_DROPS_PACKET;
	find_place(skb, to, &f.work->key);
	if (!is_here(&f.work->key)) {
		f.count->elsewhere++;
		return 0;
	}
	parse(&f);
	f.work->key.eth_type = f.work->pkt.eth_type;
	f.work->key.proto = f.work->pkt.proto;
	f.work->key.bare = is_bare(&f.work->pkt);
	if ((cfg.ifindex && cfg.ifindex != f.work->key.ifindex) ||
	    !weir_match(&f.work->pkt, cfg.match_kind)) {
		f.count->unmatched++;
		return 0;
	}
	f.count->matched++;
	f.wire = frames_of(skb);
	count_row(&f);
	if (cfg.flows)
		count_flow(&f);
	if (cfg.events)
		ship(&f);
	return 0;
}

static __always_inline void count_xdp(const struct net_device___weir *dev,
				      const struct bpf_prog___weir *prog, __u32 what)
{
	struct weir_drops_xdp_key key = { .netns = netns_of_dev(dev), .what = what };
	__u64 one = 1, *n;

	if (cfg.netns && key.netns != cfg.netns)
		return;
	key.ifindex = BPF_CORE_READ(dev, ifindex);
	if (cfg.ifindex && cfg.ifindex != key.ifindex)
		return;
	BPF_CORE_READ_STR_INTO(&key.prog, prog, aux, name);
	n = bpf_map_lookup_elem(&weir_drops_xdp, &key);
	if (!n && !bpf_map_update_elem(&weir_drops_xdp, &key, &one, BPF_NOEXIST))
		return;
	if (!n)
		n = bpf_map_lookup_elem(&weir_drops_xdp, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("tp_btf/xdp_exception")
int weir_drops_xdp_bad(unsigned long long *ctx)
{
	count_xdp((const void *)ctx[0], (const void *)ctx[1], ctx[2]);
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int weir_drops_xdp_lost(unsigned long long *ctx)
{
	count_xdp((const void *)ctx[0], (const void *)ctx[1], WEIR_DROPS_XDP_REDIRECT);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
