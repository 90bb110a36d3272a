/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter of a TCP socket that cuts segments short. What it cuts off never arrived, as
 * far as TCP is concerned: it acknowledges the rest, and the sender sends again.
 *
 * A segment with FIN, SYN or RST is never cut: the kernel takes the flag as read, so that
 * what was cut off would be lost for good. Nor is one with urgent data, whose pointer
 * would point nowhere. Bytes that came before pass whole: each is cut off once at most, so
 * that every stream gets through.
 */
#include <linux/tcp.h>

#include "cap/fault/fault.bpf.h"

#include <bpf/bpf_endian.h>

#define DOFF_OFFSET 12 /* of the header's length, in the upper half of the byte */
#define FLAGS_OFFSET 13
#define NEVER_CUT (WEIR_TCP_FIN | WEIR_TCP_SYN | WEIR_TCP_RST | WEIR_TCP_URG)

const volatile __u32 weir_fault_slot = 0;
const volatile __u64 weir_fault_stamp = 0;

/* By socket: the sequence number behind the last byte that has come. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} weir_fault_seen SEC(".maps");

struct segment {
	__u32 seq, header, payload;
};

/* A segment whose payload may be cut. At this hook a packet begins with its TCP header. */
static __always_inline bool read_segment(struct __sk_buff *skb, struct segment *s)
{
	__u8 doff, flags;
	__be32 seq;

	if (bpf_skb_load_bytes(skb, 4, &seq, sizeof(seq)) ||
	    bpf_skb_load_bytes(skb, DOFF_OFFSET, &doff, sizeof(doff)) ||
	    bpf_skb_load_bytes(skb, FLAGS_OFFSET, &flags, sizeof(flags)) || flags & NEVER_CUT)
		return false;
	s->seq = bpf_ntohl(seq);
	s->header = (doff >> 4) * 4;
	s->payload = skb->len - s->header;
	return skb->len > s->header;
}

/* Does it begin with bytes that have come before? */
static __always_inline bool came_before(struct __sk_buff *skb, const struct segment *s)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u32 end = s->seq + s->payload, *seen = bpf_map_lookup_elem(&weir_fault_seen, &cookie);
	bool again = seen && (__s32)(s->seq - *seen) < 0;

	if (!seen || (__s32)(end - *seen) > 0)
		bpf_map_update_elem(&weir_fault_seen, &cookie, &end, BPF_ANY);
	return again;
}

SEC("socket")
int weir_fault_sk(struct __sk_buff *skb)
{
	__u32 slot = weir_fault_slot;
	struct weir_fault_rule *r = bpf_map_lookup_elem(&weir_fault_rules, &slot);
	struct weir_fault_run *run = bpf_map_lookup_elem(&weir_fault_run, &slot);
	struct weir_fault_account *a = bpf_map_lookup_elem(&weir_fault_account, &slot);
	struct segment s;
	__u64 random;

	if (!r || !run || !a || r->stamp != weir_fault_stamp || r->kind != WEIR_FAULT_TRUNCATE ||
	    !weir_fault_in_force(r, bpf_ktime_get_boot_ns()) || !read_segment(skb, &s))
		return skb->len;
	a->matched++;
	a->matched_bytes += s.payload;
	if (came_before(skb, &s)) {
		a->again++;
	} else if (s.payload > r->keep && weir_fault_turn(r, run, &random)) {
		weir_fault_count_hit(r, a, s.payload - r->keep);
		return s.header + r->keep;
	}
	a->passed++;
	return skb->len;
}

char LICENSE[] SEC("license") = "GPL";
