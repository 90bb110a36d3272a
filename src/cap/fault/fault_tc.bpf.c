/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults of packets at tc, in both directions: ask the compiled rules which one it is
 * about, see whether it is this packet's turn, act. What passes goes on to the next
 * program.
 */
#include "bpf/skb.bpf.h"

#include "bpf/match_stub.bpf.h"
#include "cap/fault/fault.bpf.h"

#define TCP_CHECK 16 /* where the checksums stand in their headers */
#define UDP_CHECK 6
#define PROTO_TCP 6
#define PROTO_UDP 17
#define RATE_TRIES 8

/* One a direction, as the copies of the head. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_fault_packet);
} weir_fault_packets SEC(".maps");

/* Global, hence verified by itself. */
__attribute__((noinline)) int weir_fault_parse(struct __sk_buff *skb, __u32 out)
{
	struct weir_fault_packet *p = bpf_map_lookup_elem(&weir_fault_packets, &out);

	return p ? weir_skb_parse(skb, out, &p->pkt) : 0;
}

/* ---- Rate: a bucket that is the one time at which it is full again */

static __always_inline bool over_rate(const struct weir_fault_rule *r, struct weir_fault_run *run,
				      __u32 bytes)
{
	__u64 cost = (bytes * 8ULL * r->cost) >> WEIR_FAULT_COST_SHIFT;
	__u64 now = bpf_ktime_get_ns();

	for (int i = 0; i < RATE_TRIES; i++) {
		__u64 was = run->full, full = was > now ? was : now;

		/* Larger than the whole burst: passes when the bucket is full. */
		if (full > now && full - now + cost > r->depth)
			return true;
		if (__sync_val_compare_and_swap(&run->full, was, full + cost) == was)
			return false;
	}
	return true;
}

/* ---- Delay: the packet says when it leaves, and fq waits for that */

static __always_inline void delay(struct __sk_buff *skb, const struct weir_fault_rule *r,
				  __u64 random)
{
	__u64 now = bpf_ktime_get_ns(), from = skb->tstamp > now ? skb->tstamp : now;

	skb->tstamp =
		from + r->delay - r->jitter + (random & 0xffffffff) * 2 * r->jitter / 0xffffffff;
}

/* ---- Corruption */

/* What there is to corrupt: whole 16-bit words of payload, as the checksum counts them. */
struct place {
	__u32 first, words, check;
	bool udp;
};

static __always_inline bool find_place(struct __sk_buff *skb, const struct weir_pkt *p,
				       struct place *at)
{
	__u32 end = skb->len;

	if (p->flags & (WEIR_PKT_FRAGMENT | WEIR_PKT_MALFORMED) || !p->payload_off ||
	    (p->proto != PROTO_TCP && p->proto != PROTO_UDP) ||
	    weir_skb_find(skb) == WEIR_SKB_BEFORE_DATA)
		return false;
	/* Not the padding of a short frame. With offload the length may be told wrong. */
	if (p->l3_len && p->l3_off + p->l3_len < end)
		end = p->l3_off + p->l3_len;
	at->first = p->payload_off;
	at->words = end > at->first ? (end - at->first) / 2 : 0;
	at->udp = p->proto == PROTO_UDP;
	at->check = p->l4_off + (at->udp ? UDP_CHECK : TCP_CHECK);
	return at->words > 0;
}

/* Flip one bit of the payload. Without @fix the checksum is spoilt too, in another bit, so
 * that it is wrong on every road: where the card or nobody has yet to complete it, it would
 * else come out right. */
static __always_inline bool corrupt(struct __sk_buff *skb, const struct place *at, __u64 random,
				    bool fix)
{
	__u32 off = at->first + 2 * ((__u32)random % at->words), bit = (random >> 40) & 15;
	__be16 was, now, check;

	if (bpf_skb_load_bytes(skb, off, &was, sizeof(was)) ||
	    bpf_skb_load_bytes(skb, at->check, &check, sizeof(check)))
		return false;
	now = was ^ bpf_htons(1 << bit);
	if (fix)
		return !bpf_l4_csum_replace(skb, at->check, was, now,
					    sizeof(now) | (at->udp ? BPF_F_MARK_MANGLED_0 : 0)) &&
		       !bpf_skb_store_bytes(skb, off, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM);
	check ^= bpf_htons(1 << ((bit + 8) & 15));
	if (!check) /* of UDP: none */
		check = bpf_htons(1 << ((bit + 4) & 15));
	if (bpf_skb_store_bytes(skb, off, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, at->check, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM))
		return false;
	/* What the card has verified is so no longer. */
	bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET);
	return true;
}

/* ---- The road */

static __always_inline bool drops(const struct weir_fault_rule *r)
{
	return r->kind == WEIR_FAULT_DROP || r->kind == WEIR_FAULT_RATE;
}

/* For the ledger of losses: by which rule, and where. */
static __always_inline void count_dropped(const struct weir_fault_rule *r, __u32 key, __u32 bytes)
{
	struct weir_fault_drop_key at = { .ifindex = key & ~WEIR_FAULT_OUT,
					  .out = !!(key & WEIR_FAULT_OUT) };
	struct weir_fault_drop none = { 0 }, *d;

	__builtin_memcpy(at.name, r->name, sizeof(at.name));
	d = bpf_map_lookup_elem(&weir_fault_dropped, &at);
	if (!d) {
		bpf_map_update_elem(&weir_fault_dropped, &at, &none, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&weir_fault_dropped, &at);
	}
	if (d) {
		d->packets++;
		d->bytes += bytes;
	}
}

static __always_inline int act(struct __sk_buff *skb, const struct weir_fault_packet *packet,
			       __u32 answer)
{
	const struct weir_pkt *p = &packet->pkt;
	__u32 slot = WEIR_FAULT_ANSWER_SLOT(answer), len = p->len;
	struct weir_fault_rule *r = bpf_map_lookup_elem(&weir_fault_rules, &slot);
	struct weir_fault_run *run = bpf_map_lookup_elem(&weir_fault_run, &slot);
	struct weir_fault_account *a = bpf_map_lookup_elem(&weir_fault_account, &slot);
	struct place at;
	__u64 random = 0;
	bool hit;

	if (!r || !run || !a || WEIR_FAULT_ANSWER(slot, r->stamp) != answer ||
	    !weir_fault_in_force(r, packet->now))
		return WEIR_TCX_NEXT;
	a->matched++;
	a->matched_bytes += len;
	if (r->kind == WEIR_FAULT_RATE)
		hit = over_rate(r, run, len);
	else
		hit = weir_fault_turn(r, run, &random);
	if (hit && r->kind == WEIR_FAULT_CORRUPT) {
		hit = find_place(skb, p, &at) &&
		      corrupt(skb, &at, random, r->flags & WEIR_FAULT_FIX_CHECKSUM);
		a->unable += !hit;
	}
	if (!hit) {
		a->passed++;
		return WEIR_TCX_NEXT;
	}
	weir_fault_count_hit(r, a, len);
	if (r->kind == WEIR_FAULT_DELAY)
		delay(skb, r, random);
	if (!drops(r))
		return WEIR_TCX_NEXT;
	count_dropped(r, packet->key, len);
	return WEIR_TCX_DROP;
}

static __always_inline int fault(struct __sk_buff *skb, bool out)
{
	__u32 which = out, zero = 0, answer;
	struct weir_fault_packet *p = bpf_map_lookup_elem(&weir_fault_packets, &which);
	struct weir_fault_account *none = bpf_map_lookup_elem(&weir_fault_account, &zero);

	if (!p || !none)
		return WEIR_TCX_NEXT;
	if (!weir_fault_parse(skb, out)) {
		p->pkt.flags = WEIR_PKT_TRUNCATED;
		p->pkt.len = skb->len;
	}
	p->now = bpf_ktime_get_boot_ns();
	p->key = WEIR_FAULT_KEY(skb->ifindex, out);
	asm volatile("" ::: "memory"); /* the rules read it */
	answer = (__u32)weir_match_inline(&p->pkt);
	if (answer)
		return act(skb, p, answer);
	none->matched++;
	none->matched_bytes += p->pkt.len;
	none->passed++;
	return WEIR_TCX_NEXT;
}

SEC("tcx/ingress")
int weir_fault_in(struct __sk_buff *skb)
{
	return fault(skb, false);
}

SEC("tcx/egress")
int weir_fault_out(struct __sk_buff *skb)
{
	return fault(skb, true);
}

char LICENSE[] SEC("license") = "GPL";
