/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine sockmap, the kernel's half: what arrives at one socket of a relay goes
 * into the other one's queue, from which a kernel worker sends it.
 *
 * That queue has no bound, and neither TCP nor the memory limits know of it. So nothing
 * is put there for which the target has no room at this moment: then the bytes stay with
 * the socket they came to (its window closes in time), as does everything behind them,
 * and user space goes on from there.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "cap/proxy/sockmap_way.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sk_buff {
	unsigned int truesize;
	char cb[48];
};
struct tcp_skb_cb {
	__u32 seq;
};
struct sock {
	int sk_sndbuf;
	int sk_wmem_queued;
};
struct tcp_sock {
	__u32 write_seq, snd_nxt, copied_seq;
};
#pragma clang attribute pop

#define CUT_MAX 4095 /* bytes that bpf_skb_adjust_room() takes off at once */
#define CUTS_MAX 256 /* of them: far more than an skb of old bytes has */

const volatile struct weir_way_limits limits = { .unsent = 1 << 20 };

/* All are made for as many relays as are wanted: set before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_way);
} weir_ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct weir_way_end);
} weir_ends SEC(".maps");

/* Where bytes can go to. No program belongs to it: a socket in here is a target, and
 * still read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_targets SEC(".maps");

/* Where bytes come from: the program runs for every socket in here. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} weir_sources SEC(".maps");

/* One for each worker's loop, where a stop is told of: from a socket's own events no
 * word of it comes, because a joined socket is not listened to for those. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, WEIR_BELLS_MAX);
	__type(key, __u32);
	__type(value, __u32); /* a ring; of which kind is said by user space */
} weir_bells SEC(".maps");

/* 0, or why the target is not to get @skb, which takes @cost bytes of memory. */
static __always_inline __u32 refused(struct weir_way *w, const struct tcp_sock *tp, __u32 len,
				     __u32 cost)
{
	const struct sock *sk = (const struct sock *)tp;
	__u32 written = tp->write_seq;
	__s64 room;

	if (!w->redirected) {
		w->base = written;
		w->mark = written;
	}
	if ((__s32)(written - w->mark) >= 0) {
		w->mark = w->base + (__u32)w->redirected;
		w->cost_before = w->cost;
		w->cost = 0;
		if (w->mark == written)
			w->cost_before = 0;
	}
	if (w->base + (__u32)w->redirected + len - tp->snd_nxt > limits.unsent)
		return WEIR_WAY_UNSENT;
	room = (__s64)sk->sk_sndbuf - sk->sk_wmem_queued - w->cost - w->cost_before;
	return room < (__s64)cost ? WEIR_WAY_ROOM : 0;
}

/* Stop, and tell of it, in this order. Where nobody can be told (the ring is full) the
 * program goes on, unless it @must stop: there is room soon. */
static __always_inline bool stop_for(struct weir_way *w, __u32 why, bool must)
{
	__u32 bell = w->bell;
	__u64 *token;
	void *ring = bpf_map_lookup_elem(&weir_bells, &bell);

	token = ring ? bpf_ringbuf_reserve(ring, sizeof(*token), 0) : NULL;
	if (!token) {
		if (must)
			w->stop = why;
		return must;
	}
	w->stop = why;
	*token = w->token;
	bpf_ringbuf_submit(token, 0);
	return true;
}

/* Either @skb is on its way to the target, or the direction has stopped. */
static __always_inline void redirect(struct __sk_buff *skb, struct weir_way *w, __u32 target,
				     __u32 cost)
{
	__u32 stop = WEIR_WAY_TARGET;
	struct bpf_sock *sk;
	struct tcp_sock *tp;

	sk = bpf_map_lookup_elem(&weir_targets, &target);
	if (sk) {
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			stop = refused(w, tp, skb->len, cost);
		bpf_sk_release(sk);
	}
	if (stop && stop_for(w, stop, stop == WEIR_WAY_TARGET))
		return;
	if (bpf_sk_redirect_map(skb, &weir_targets, target, 0) != SK_PASS) {
		stop_for(w, WEIR_WAY_TARGET, true);
		return;
	}
	w->cost += cost;
	w->redirected += skb->len;
	w->last = bpf_ktime_get_coarse_ns();
	if (!w->first)
		w->first = bpf_ktime_get_ns();
}

/*
 * A sender that repeats a segment may put it together anew, old bytes and new ones in one
 * (tcp_retrans_collapse does, a lost acknowledgement is enough). recv(2) skips what it
 * has had; a program is shown all of it. Cut the old ones off. False: no memory.
 */
static __always_inline bool cut_repeated(struct __sk_buff *skb, struct weir_way *w)
{
	const struct sk_buff *kernel = (const void *)skb;
	const struct tcp_skb_cb *cb = (const void *)&kernel->cb;
	struct tcp_sock *tp;
	__u32 seq, old;

	if (bpf_core_read(&seq, sizeof(seq), &cb->seq))
		return false;
	if (!w->begun) {
		struct bpf_sock *sk = skb->sk;

		tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
		if (!tp)
			return false;
		w->next = tp->copied_seq; /* user space has had all before it */
		w->begun = true;
	}
	old = w->next - seq;
	for (int i = 0; old && i < CUTS_MAX; i++) {
		__u32 cut = old < CUT_MAX ? old : CUT_MAX;

		if (bpf_skb_adjust_room(skb, -(__s32)cut, 0, 0))
			return false;
		old -= cut;
	}
	w->next += skb->len;
	return !old; /* bytes are missing if seq is beyond next: it cannot be */
}

SEC("sk_skb/stream_verdict")
int weir_relay_verdict(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct weir_way_end *end;
	struct weir_way *w;
	__u32 way, cost;

	end = bpf_map_lookup_elem(&weir_ends, &cookie);
	if (!end)
		return SK_DROP; /* the relay is over, its sockets are about to be closed */
	way = end->way;
	w = bpf_map_lookup_elem(&weir_ways, &way);
	if (!w)
		return SK_DROP;
	if (!skb->len)
		return SK_DROP;
	if (w->stop == WEIR_WAY_BROKEN)
		return SK_DROP;
	if (!cut_repeated(skb, w)) {
		stop_for(w, WEIR_WAY_BROKEN, true);
		return SK_DROP;
	}
	/* The skb of a bare FIN. Redirected, it would break the target's sending. */
	if (!skb->len)
		return SK_DROP;
	if (bpf_core_read(&cost, sizeof(cost), &((struct sk_buff *)(void *)skb)->truesize))
		cost = skb->len;
	if (!w->stop)
		redirect(skb, w, end->target, cost);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
