// SPDX-License-Identifier: GPL-2.0-only
/*
 * weir watch, the kernel's half: see a packet, decide whether it is wanted,
 * count it, and ship it (an event in a ring) or add it up (a flow record).
 *
 * Three ways in lead to one road: a guest stage of the XDP gate, which finds
 * the packet parsed already; the tcx programs; and a socket filter on
 * AF_PACKET, for kernels without tcx. Nothing here changes a packet's fate, but for
 * weir_watch_take, which takes it off the interface.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/flow.bpf.h"
#include "bpf/gate.bpf.h"
#include "bpf/hash.bpf.h"
#include "bpf/match_stub.bpf.h"
#include "bpf/parse.bpf.h"
#include "bpf/rings.bpf.h"
#include "bpf/strict.bpf.h"
#include "cap/watch/stats.bpf.h"
#include "cap/watch/watch.h"

_Static_assert(WEIR_WATCH_ALERTS == WEIR_MATCH_MASK_MAX, "a bit for each rule");

#define VLAN_TAG_LEN 4
#define TCX_NEXT (-1) /* = TC_ACT_UNSPEC: the next program, or the default, decides */

const volatile struct weir_watch_config cfg = {.mode = WEIR_WATCH_RING, .snaplen = 256};

WEIR_RINGS(weir_rings);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} weir_perf SEC(".maps");

/* The flow map in use. User space swaps it for an empty one, waits until no
 * program can still hold the old one, and reads that at leisure: so no update
 * is lost between reading and deleting. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 1);
		__type(key, struct weir_flow_part);
		__type(value, struct weir_flow_val); /* weir_flow_full with cfg.sides */
	});
} weir_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_WATCH_IFACES);
	__type(key, __u32);
	__type(value, struct weir_watch_counters);
} weir_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_watch_stats);
} weir_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_watch_alerts);
} weir_alerts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_watch_followed);
} weir_followed SEC(".maps");

/* Of the packets of the followed flow: sent, and lost. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_watch_counters);
} weir_follow_counters SEC(".maps");

/* The slot and the flags of an interface, where there are more than a few or may be. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_WATCH_IFACES);
	__type(key, __u32);
	__type(value, __u32);
} weir_slots SEC(".maps");

/* The AF_XDP sockets, by receive queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1); /* set to the number of queues before load */
	__type(key, __u32);
	__type(value, __u32);
} weir_xsks SEC(".maps");

/* Room that would not fit on the stack. Two entries, one for each direction,
 * since a hook on the way out never interrupts itself but may be interrupted
 * by one on the way in. */
struct work {
	struct weir_pkt pkt;
	struct weir_watch_event ev; /* with perf and `displaced`, head follows it */
	__u8 head[WEIR_PKT_HDR_MAX];
	struct weir_flow_part part;
	struct weir_flow_full flow;
	__u64 last_wake;
	__u64 pending;
	__u64 tick, tick_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct work);
} weir_work SEC(".maps");

/* The packet at hand, whatever the hook. */
struct seen {
	void *ctx;
	const __u8 *data, *end; /* the linear part; NULL where the hook has no pointers */
	const struct weir_pkt *pkt;
	struct work *work;
	struct weir_watch_counters *count;
	__u32 len;	/* frame bytes at hand, without a stripped tag */
	__u32 bytes;	/* on the wire, with it: what is counted */
	__u32 reach;	/* bytes that can be copied */
	__u32 snap;	/* with cfg.names: bytes to ship */
	__u32 rule;
	__u32 slot;	/* from weir_slots: with the interface's flags above it */
	__u32 ifindex;
	__u32 vlan_meta;
	__u16 queue;
	__u16 gso_size;
	__u8 dir;
	__u8 verdict;
	__u8 flags;
	bool xdp;
	bool displaced;	/* the frame begins before skb->data: see find_frame() */
};

#include "cap/watch/tells.bpf.h"

static __always_inline struct weir_watch_counters *counters_of(__u32 ifindex, __u32 *ret_slot)
{
	const __u32 *found;
	__u32 slot = 0;

	/* The usual single interface costs no comparison at all. */
	if (cfg.ifaces > WEIR_WATCH_IFACES_FEW) {
		found = bpf_map_lookup_elem(&weir_slots, &ifindex);
		if (!found)
			return NULL;
		*ret_slot = *found;
		slot = *found & (WEIR_WATCH_IFACES - 1);
		return bpf_map_lookup_elem(&weir_counters, &slot);
	}
	if (cfg.ifaces > 1) {
		for (slot = 0; slot < WEIR_WATCH_IFACES_FEW; slot++)
			if (cfg.ifindex[slot] == ifindex)
				break;
		if (slot == WEIR_WATCH_IFACES_FEW)
			return NULL;
	}
	*ret_slot = slot;
	return bpf_map_lookup_elem(&weir_counters, &slot);
}

static __always_inline __u32 flags_of(const struct seen *s)
{
	return cfg.ifaces > WEIR_WATCH_IFACES_FEW ?
		       s->slot >> WEIR_WATCH_SLOT_BITS :
		       cfg.flags[s->slot & (WEIR_WATCH_IFACES_FEW - 1)];
}

static __always_inline void lose(const struct seen *s, enum weir_watch_lost why)
{
	s->count->lost[why]++;
	s->count->lost_bytes[why] += s->bytes;
}

#include "cap/watch/ship.bpf.h"

/* The coarse clock moves once a tick: it is asked once a tick. */
static __always_inline __u64 coarse_now(struct work *w)
{
	__u64 tick = bpf_jiffies64();

	if (tick != w->tick) {
		w->tick = tick;
		w->tick_ns = bpf_ktime_get_coarse_ns();
	}
	return w->tick_ns;
}

static __always_inline void add_stats(const struct seen *s)
{
	__u32 zero = 0;
	struct weir_watch_stats *stats = bpf_map_lookup_elem(&weir_stats, &zero);

	if (stats)
		weir_watch_stats_add(stats, s->pkt, s->bytes, s->gso_size);
}

/* Which rules the packet matches; without branches, for there may be many. */
static __always_inline __u32 add_alerts(const struct seen *s)
{
	__u32 zero = 0, mask = (__u32)weir_match_mask(s->pkt);
	struct weir_watch_alerts *a = bpf_map_lookup_elem(&weir_alerts, &zero);

	if (!a)
		return mask;
	for (__u32 i = 0; i < WEIR_WATCH_ALERTS; i++) {
		__u64 bit = mask >> i & 1;

		if (i >= cfg.alerts)
			break;
		a->rule[i].packets += bit;
		a->rule[i].bytes += -bit & s->bytes;
	}
	return mask;
}

static __always_inline bool same_flow(const struct weir_flow_key *a, const struct weir_flow_key *b)
{
	const __u32 *x = (const __u32 *)a, *y = (const __u32 *)b;

	for (unsigned int i = 0; i < sizeof(*a) / sizeof(*x); i++)
		if (x[i] != y[i])
			return false;
	return true;
}

/* A reader that meets a change half way sees a packet of neither flow, or of the old one:
 * user space looks again. */
static __always_inline void follow(const struct seen *s, const struct weir_flow_key *key)
{
	__u32 zero = 0;
	struct weir_watch_followed *f = bpf_map_lookup_elem(&weir_followed, &zero);
	struct seen copy;

	if (!f || !f->on || !same_flow(&f->key, key))
		return;
	copy = *s;
	copy.snap = cfg.snaplen;
	copy.flags |= WEIR_WATCH_FOLLOWED;
	copy.count = bpf_map_lookup_elem(&weir_follow_counters, &zero);
	if (copy.count)
		ship_ring(&copy);
}

static __always_inline void add_flow(const struct seen *s)
{
	__u32 alerts = cfg.alerts ? add_alerts(s) : 0;
	struct weir_flow_part *part = &s->work->part;
	int src_a = weir_flow_src_is_a(s->pkt);
	__u64 now = coarse_now(s->work);
	struct weir_flow_val *v;
	__u32 zero = 0;
	void *flows = bpf_map_lookup_elem(&weir_flows, &zero);

	if (!flows) {
		lose(s, WEIR_WATCH_LOST_MAP_FULL);
		return;
	}
	weir_flow_key_of(s->pkt, cfg.one_point ? 0 : s->ifindex, src_a, &part->key);
	part->cpu = bpf_get_smp_processor_id();
	v = bpf_map_lookup_elem(flows, part);
	if (!v) {
		__builtin_memset(&s->work->flow, 0, sizeof(s->work->flow));
		bpf_map_update_elem(flows, part, &s->work->flow, BPF_NOEXIST);
		v = bpf_map_lookup_elem(flows, part);
		if (!v) {
			lose(s, WEIR_WATCH_LOST_MAP_FULL);
			return;
		}
	}
	weir_flow_add(v, s->pkt, src_a, s->dir == WEIR_WATCH_OUT, s->bytes,
		      s->gso_size, now);
	if (cfg.alerts)
		v->flags |= alerts << WEIR_FLOW_ALERT_SHIFT;
	if (cfg.stats)
		add_stats(s);
	if (cfg.sides)
		weir_flow_add_sides((struct weir_flow_sides *)(v + 1), s->pkt, src_a,
				    s->dir == WEIR_WATCH_OUT, s->gso_size);
	s->count->sent++;
	if (cfg.follow)
		follow(s, &part->key);
}

static __always_inline void count_seen(const struct seen *s)
{
	s->count->seen++;
	s->count->seen_bytes += s->bytes;
}

/* The road, first half: seen, matched, sampled. Needs count, pkt, bytes and
 * verdict only, since most packets end here. */
static __always_inline bool wanted(const struct seen *s)
{
	struct weir_watch_counters *c = s->count;

	count_seen(s);
	if (!weir_match(s->pkt, cfg.match_kind) ||
	    (cfg.verdicts != ~0U && !(cfg.verdicts & 1U << s->verdict))) {
		c->unmatched++;
		return false;
	}
	if (cfg.sample > 1 && weir_pkt_hash(s->pkt, cfg.seed) % cfg.sample) {
		c->sampled_out++;
		return false;
	}
	c->matched++;
	c->matched_bytes += s->bytes;
	c->dropped += s->verdict == WEIR_WATCH_DROP;
	return true;
}

/* Second half: shipped, added up, or only counted. */
static __always_inline void deliver(struct seen *s)
{
	bool whole = false;

	if (cfg.mode == WEIR_WATCH_FLOWS)
		add_flow(s);
	if (cfg.names) {
		whole = tells(s);
		s->snap = whole ? WEIR_WATCH_SNAPLEN : cfg.snaplen;
	}
	if (cfg.mode == WEIR_WATCH_RING || (cfg.mode == WEIR_WATCH_FLOWS && whole))
		ship_ring(s);
	else if (cfg.mode == WEIR_WATCH_PERF)
		ship_perf(s);
	else if (cfg.mode != WEIR_WATCH_FLOWS)
		s->count->sent++;
}

/* Seen and matched, but it could not be read. */
static __always_inline void lose_unread(const struct seen *s)
{
	count_seen(s);
	s->count->matched++;
	s->count->matched_bytes += s->bytes;
	lose(s, WEIR_WATCH_LOST_COPY);
}

/* libpcap's filter, with --strict-pcap: it needs no parsed packet, only the frame as
 * user space and files have it, a stripped tag included. False: the packet ends here. */
static __always_inline bool strict_wanted(const struct seen *s)
{
	struct weir_strict_at at = {
		.ctx = s->ctx,
		.from = s->xdp ? WEIR_STRICT_XDP :
			s->displaced ? WEIR_STRICT_SKB_MAC : WEIR_STRICT_SKB,
		.caplen = s->len < s->reach ? s->len : s->reach,
	};
	__u32 len = s->len;
	int answer;

	if (!cfg.strict_head)
		return true;
	if (at.caplen > WEIR_WATCH_SNAPLEN)
		at.caplen = WEIR_WATCH_SNAPLEN;
	if (s->flags & WEIR_WATCH_VLAN_META && !(s->flags & WEIR_WATCH_NO_L2) &&
	    at.caplen >= WEIR_STRICT_TAG_AT) {
		at.tag = s->vlan_meta;
		at.caplen += VLAN_TAG_LEN;
		len += VLAN_TAG_LEN;
	}
	answer = weir_strict(&at, s->dir == WEIR_WATCH_OUT, len, cfg.strict_head);
	if (answer > 0)
		return true;
	if (answer < 0) {
		lose_unread(s);
	} else {
		count_seen(s);
		s->count->unmatched++;
	}
	return false;
}

/* Where the frame begins. Generic XDP on some kernels hands on a copy that has
 * forgotten how long its Ethernet header is: tc then finds skb->data at the
 * network header. Told apart by the type field, which the stack knows too; an
 * IP header could look like it by chance, so then the bytes decide. */
static __always_inline void find_frame(struct __sk_buff *skb, struct seen *s)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	__u8 *mac = s->work->head;

	if (data + ETH_HLEN > end)
		return;
	if (*(const weir_una16 *)(data + 12) == skb->protocol && data[0] >> 4 != 4 &&
	    data[0] >> 4 != 6) {
		s->data = data;
		s->end = end;
		return;
	}
	if (bpf_skb_load_bytes_relative(skb, 0, mac, ETH_HLEN, BPF_HDR_START_MAC))
		return;
	if (*(const weir_una64 *)data == *(const weir_una64 *)mac &&
	    *(const weir_una64 *)(data + 6) == *(const weir_una64 *)(mac + 6)) {
		s->data = data;
		s->end = end;
		return;
	}
	s->displaced = true;
	s->reach = (__u32)(end - data) + ETH_HLEN; /* the helper sees the linear part only */
	s->len += ETH_HLEN;
	s->bytes += ETH_HLEN;
}

/* Bytes of it that are wanted; 0: none. */
static __always_inline __u32 observe_skb(struct __sk_buff *skb, __u8 dir, bool pointers)
{
	__u32 which = dir == WEIR_WATCH_OUT, n = skb->len, last;
	struct seen s = {.ctx = skb, .len = n, .bytes = n, .reach = ~0U,
			 .ifindex = skb->ifindex, .dir = dir};
	__u32 not_here = dir == WEIR_WATCH_IN ? WEIR_WATCH_IFACE_OUT_ONLY :
						WEIR_WATCH_IFACE_IN_ONLY;
	enum weir_l2 l2 = WEIR_L2_ETHER;

	s.work = bpf_map_lookup_elem(&weir_work, &which);
	s.count = counters_of(s.ifindex, &s.slot);
	if (!s.work || !s.count || flags_of(&s) & not_here)
		return 0;
	if (flags_of(&s) & WEIR_WATCH_IFACE_NO_L2) {
		l2 = WEIR_L2_NONE;
		s.flags = WEIR_WATCH_NO_L2;
	} else if (pointers) {
		find_frame(skb, &s);
	}
	if (skb->vlan_present) {
		s.vlan_meta = bpf_ntohs(skb->vlan_proto) << 16 | (skb->vlan_tci & 0xffff);
		s.flags |= WEIR_WATCH_VLAN_META;
		s.bytes += VLAN_TAG_LEN;
	}
	s.gso_size = skb->gso_size;
	s.queue = skb->queue_mapping;
	if (dir == WEIR_WATCH_IN && s.queue) {
		s.queue--; /* at receive the stack stores the queue plus one */
		s.flags |= WEIR_WATCH_QUEUE;
	}
	if (!strict_wanted(&s))
		return false;
	n = s.len < s.reach ? s.len : s.reach;
	if (n > WEIR_PKT_HDR_MAX)
		n = WEIR_PKT_HDR_MAX;
	last = weir_last(n);
	if (last >= WEIR_PKT_HDR_MAX || copy_bytes(&s, s.work->head, weir_size(last))) {
		lose_unread(&s);
		return 0;
	}
	s.pkt = &s.work->pkt;
	weir_parse(&s.work->pkt, s.work->head, s.work->head + n, l2, s.vlan_meta, s.len);
	if (!wanted(&s))
		return 0;
	deliver(&s);
	return cfg.names ? s.snap : cfg.snaplen;
}

SEC("tcx/ingress")
int weir_watch_in(struct __sk_buff *skb)
{
	observe_skb(skb, WEIR_WATCH_IN, true);
	return TCX_NEXT;
}

SEC("tcx/egress")
int weir_watch_out(struct __sk_buff *skb)
{
	observe_skb(skb, WEIR_WATCH_OUT, true);
	return TCX_NEXT;
}

/* The return value is the number of bytes that go into the socket's own queue:
 * none, unless that queue is the transport. */
SEC("socket")
int weir_watch_tap(struct __sk_buff *skb)
{
	__u8 dir = skb->pkt_type == PACKET_OUTGOING ? WEIR_WATCH_OUT : WEIR_WATCH_IN;
	__u32 n;

	if (!(cfg.directions & 1U << dir))
		return 0;
	n = observe_skb(skb, dir, false);
	return cfg.mode == WEIR_WATCH_MMAP ? n : 0;
}

/* The packet that the gate has parsed; false: of no interface of ours. */
static __always_inline bool look_xdp(struct xdp_md *ctx, const struct weir_scratch *scratch,
				     struct seen *s)
{
	*s = (struct seen){
		.ctx = ctx, .dir = WEIR_WATCH_IN, .xdp = true, .reach = ~0U,
		.data = (const __u8 *)(long)ctx->data,
		.end = (const __u8 *)(long)ctx->data_end,
		.pkt = &scratch->pkt,
		.ifindex = ctx->ingress_ifindex,
	};
	s->count = counters_of(s->ifindex, &s->slot);
	if (!s->count)
		return false;
	s->len = s->bytes = scratch->pkt.len;
	s->verdict = scratch->verdict == XDP_PASS     ? WEIR_WATCH_PASS :
		     scratch->verdict == XDP_DROP     ? WEIR_WATCH_DROP :
		     scratch->verdict == XDP_REDIRECT ? WEIR_WATCH_TAKEN :
							WEIR_WATCH_TX;
	return strict_wanted(s) && wanted(s);
}

static __always_inline void observe_xdp(struct xdp_md *ctx, const struct weir_scratch *scratch)
{
	__u32 zero = 0;
	struct seen s;

	if (!look_xdp(ctx, scratch, &s))
		return;
	s.work = bpf_map_lookup_elem(&weir_work, &zero);
	if (!s.work) {
		lose(&s, WEIR_WATCH_LOST_COPY);
		return;
	}
	s.rule = scratch->rule;
	s.queue = ctx->rx_queue_index;
	s.flags = WEIR_WATCH_QUEUE;
	if (flags_of(&s) & WEIR_WATCH_IFACE_NO_L2)
		s.flags |= WEIR_WATCH_NO_L2;
	deliver(&s);
}

SEC("xdp.frags")
int weir_watch_xdp(struct xdp_md *ctx)
{
	struct weir_scratch *scratch = weir_gate_scratch();

	if (!scratch)
		return XDP_PASS;
	/* The gates of a namespace share their guests; each looks at its own. */
	if (weir_gate_is_mine(ctx) && !(scratch->flags & WEIR_SCRATCH_TEST))
		observe_xdp(ctx, scratch);
	return weir_gate_next_guest(ctx, scratch);
}

/* AF_XDP has no times: the frame carries its own. */
static __always_inline void write_note(struct xdp_md *ctx)
{
	struct weir_watch_note *note;

	/* Metadata of another would come to lie between. */
	if (ctx->data_meta != ctx->data || bpf_xdp_adjust_meta(ctx, -(int)sizeof(*note)))
		return;
	note = (void *)(long)ctx->data_meta;
	if ((void *)(note + 1) > (void *)(long)ctx->data)
		return;
	note->ts = bpf_ktime_get_ns();
	note->magic = WEIR_WATCH_NOTE_MAGIC;
	note->pad = 0;
}

static __always_inline void take(struct xdp_md *ctx, struct weir_scratch *scratch)
{
	struct seen s;

	if (!look_xdp(ctx, scratch, &s))
		return;
	/* What the socket would refuse stays with the host. */
	if (s.len > cfg.take_max ||
	    (cfg.take_max <= WEIR_WATCH_XSK_PIECE && s.end - s.data < s.len)) {
		lose(&s, WEIR_WATCH_LOST_TOO_BIG);
		return;
	}
	if (bpf_redirect_map(&weir_xsks, ctx->rx_queue_index, XDP_PASS) != XDP_REDIRECT) {
		lose(&s, WEIR_WATCH_LOST_NO_QUEUE);
		return;
	}
	write_note(ctx);
	scratch->verdict = XDP_REDIRECT;
	s.count->sent++;
}

/* A guest that decides: those behind it see that the packet was taken. */
SEC("xdp.frags")
int weir_watch_take(struct xdp_md *ctx)
{
	struct weir_scratch *scratch = weir_gate_scratch();

	if (!scratch)
		return XDP_PASS;
	if (weir_gate_is_mine(ctx) && !(scratch->flags & WEIR_SCRATCH_TEST))
		take(ctx, scratch);
	return weir_gate_next_guest(ctx, scratch);
}

char LICENSE[] SEC("license") = "GPL";
