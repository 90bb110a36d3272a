/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir bypass, the kernel's half: sockops brings the two ends of a connection together,
 * sk_msg puts what one of them sends into the other one's queue.
 *
 * Three things must hold. Nothing is overtaken: a direction begins by the bypass only if
 * TCP has carried no byte of it, and once TCP carries one, it carries all that follow.
 * Nothing piles up: what the reader has not read stays within half of its receive buffer,
 * the other half is TCP's, which then holds the writer back. Nothing is blind: every byte
 * is counted, by whichever road it goes.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/match_stub.bpf.h"
#include "bpf/sock.bpf.h"
#include "cap/bypass/bypass.h"

#define WEIR_BYPASS_PROTO 6 /* IPPROTO_TCP */
#define TCP_ESTABLISHED 1
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common___bypass {
	volatile unsigned char skc_state;
	struct {
		long long counter;
	} skc_cookie;
};

struct sock___bypass {
	struct sock_common___bypass __sk_common;
	struct {
		struct {
			int counter;
		} rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	void *sk_user_data;
	unsigned char sk_shutdown;
};

struct inet_connection_sock___bypass {
	const void *icsk_ulp_ops;
};

struct tcp_sock___bypass {
	__u32 write_seq;
	bool is_mptcp;
};
#pragma clang attribute pop

const volatile __u32 match_kind = WEIR_MATCH_ALL;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_BYPASS_PENDING_MAX);
	__type(key, struct weir_bypass_pair);
	__type(value, struct weir_bypass_pending);
} weir_bp_pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_BYPASS_CONNS_MAX);
	__type(key, __u64);
	__type(value, struct weir_bypass_conn);
} weir_bp_conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2 * WEIR_BYPASS_CONNS_MAX);
	__type(key, struct weir_bypass_end);
	__type(value, __u64);
} weir_bp_socks SEC(".maps");

/* Which connection and side a socket is. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_bypass_end);
} weir_bp_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* user space adds to the counters, too */
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_bypass_rule);
} weir_bp_rule SEC(".maps");

/* What sockets had when they closed: their connection's record goes with the second one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_BYPASS_ENDED_MAX);
	__type(key, __u64);
	__type(value, struct weir_bypass_ended);
} weir_bp_ended SEC(".maps");

/* Set when the rule goes: its connections outlive it, with this program. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_bp_stop SEC(".maps");

static __always_inline void add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

/* ---- Establishment */

/* The verifier wants each field of the context read by its own instruction, which the
 * compiler likes to share between fields. */
#define FIELD(ctx, field)                                                                      \
	({                                                                                     \
		__u64 v_;                                                                      \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                          \
			     : "=r"(v_)                                                        \
			     : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sock_ops, field))); \
		(__u32) v_;                                                                    \
	})

static __always_inline void addrs_of(const struct bpf_sock_ops *ctx, __u8 *local, __u8 *remote)
{
	__u32 *l = (__u32 *)local, *r = (__u32 *)remote;

	if (ctx->family == WEIR_AF_INET) {
		l[0] = l[1] = r[0] = r[1] = 0;
		l[2] = r[2] = bpf_htonl(0xffff);
		l[3] = FIELD(ctx, local_ip4);
		r[3] = FIELD(ctx, remote_ip4);
		return;
	}
	l[0] = FIELD(ctx, local_ip6[0]);
	l[1] = FIELD(ctx, local_ip6[1]);
	l[2] = FIELD(ctx, local_ip6[2]);
	l[3] = FIELD(ctx, local_ip6[3]);
	r[0] = FIELD(ctx, remote_ip6[0]);
	r[1] = FIELD(ctx, remote_ip6[1]);
	r[2] = FIELD(ctx, remote_ip6[2]);
	r[3] = FIELD(ctx, remote_ip6[3]);
}

static __always_inline void pair_of(const struct bpf_sock_ops *ctx, bool initiated,
				    struct weir_bypass_pair *p)
{
	__u16 local = (__u16)FIELD(ctx, local_port);
	__u16 remote = (__u16)bpf_ntohl(FIELD(ctx, remote_port));

	if (initiated)
		addrs_of(ctx, p->src, p->dst);
	else
		addrs_of(ctx, p->dst, p->src);
	p->sport = initiated ? local : remote;
	p->dport = initiated ? remote : local;
}

static __always_inline struct weir_bypass_rule *rule(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weir_bp_rule, &zero);
}

static __always_inline bool stopped(void)
{
	__u32 zero = 0, *stop = bpf_map_lookup_elem(&weir_bp_stop, &zero);

	return stop && *stop;
}

/* The initiator is about to send its SYN. */
static __always_inline void ask(struct bpf_sock_ops *ctx, struct weir_bypass_rule *r)
{
	struct weir_bypass_pending pending = { .id = bpf_get_socket_cookie(ctx) };
	struct weir_bypass_pair pair;
	struct weir_ends ends = { .netns = bpf_get_netns_cookie(ctx), .proto = WEIR_BYPASS_PROTO };
	struct weir_pkt pkt;

	pair_of(ctx, true, &pair);
	__builtin_memcpy(ends.local, pair.src, 16);
	__builtin_memcpy(ends.remote, pair.dst, 16);
	ends.lport = pair.sport;
	ends.rport = pair.dport;
	ends.flags = WEIR_ENDS_INITIATED;
	weir_ends_pkt(&ends, &pkt);
	if (!weir_match(&pkt, match_kind))
		return;
	add(&r->matched, 1);
	if (bpf_map_update_elem(&weir_bp_pending, &pair, &pending, BPF_ANY))
		add(&r->refused[WEIR_BYPASS_NO_ROOM], 1);
}

/* The listener's end has the SYN: a request, not yet a socket. */
static __always_inline void hear(struct bpf_sock_ops *ctx)
{
	struct weir_bypass_pending *pending;
	struct weir_bypass_pair pair;

	pair_of(ctx, false, &pair);
	pending = bpf_map_lookup_elem(&weir_bp_pending, &pair);
	if (pending)
		pending->heard = 1;
}

/* Whose receive and send functions are another's already is left alone. */
static __always_inline int unfit(struct bpf_sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!tp)
		return WEIR_BYPASS_ULP;
	if (BPF_CORE_READ((struct sock___bypass *)tp, sk_user_data))
		return WEIR_BYPASS_SOCKMAP;
	if (BPF_CORE_READ((struct inet_connection_sock___bypass *)tp, icsk_ulp_ops))
		return WEIR_BYPASS_ULP;
	if (bpf_core_field_exists(struct tcp_sock___bypass, is_mptcp) &&
	    BPF_CORE_READ((struct tcp_sock___bypass *)tp, is_mptcp))
		return WEIR_BYPASS_ULP;
	return -1;
}

/* Put this end where the other one finds it. The tables are filled first, because the
 * program runs for the socket from the moment it is in. */
static __always_inline int join(struct bpf_sock_ops *ctx, struct bpf_sock *sk, __u64 id,
				struct weir_bypass_conn *c, __u32 side)
{
	struct weir_bypass_end end = { .id = id, .side = side }, *stored;
	int why = unfit(sk);

	if (why >= 0)
		return why;
	stored = bpf_sk_storage_get(&weir_bp_ends, sk, &end, BPF_SK_STORAGE_GET_F_CREATE);
	if (!stored)
		return WEIR_BYPASS_NO_ROOM;
	*stored = end;
	c->netns[side & 1] = bpf_get_netns_cookie(ctx);
	c->cookie[side & 1] = bpf_get_socket_cookie(ctx);
	c->sock[side & 1] = (__u64)bpf_skc_to_tcp_sock(sk);
	c->way[side & 1].first_seq = c->way[side & 1].last_seq = ctx->snd_nxt;
	if (bpf_sock_hash_update(ctx, &weir_bp_socks, &end, BPF_NOEXIST)) {
		bpf_sk_storage_delete(&weir_bp_ends, sk);
		return WEIR_BYPASS_NO_ROOM;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	return -1;
}

static __always_inline void active(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
				   struct weir_bypass_rule *r)
{
	struct weir_bypass_conn fresh = { .since = bpf_ktime_get_ns() }, *c;
	struct weir_bypass_pending *pending;
	__u64 id = bpf_get_socket_cookie(ctx);
	int why;

	pair_of(ctx, true, &fresh.pair);
	pending = bpf_map_lookup_elem(&weir_bp_pending, &fresh.pair);
	if (!pending || pending->id != id)
		return;
	if (!pending->heard) {
		add(&r->unpaired, 1);
		goto forget;
	}
	/* The other end expects this one's next byte to be the first. */
	fresh.way[WEIR_BYPASS_LISTENER].first_seq = ctx->rcv_nxt;
	why = WEIR_BYPASS_NO_ROOM;
	if (bpf_map_update_elem(&weir_bp_conns, &id, &fresh, BPF_ANY))
		goto refuse;
	c = bpf_map_lookup_elem(&weir_bp_conns, &id);
	if (!c)
		goto refuse;
	why = join(ctx, sk, id, c, WEIR_BYPASS_INITIATOR);
	if (why < 0) {
		__sync_fetch_and_or(&c->state, WEIR_BYPASS_IN(WEIR_BYPASS_INITIATOR));
		return;
	}
	bpf_map_delete_elem(&weir_bp_conns, &id);
refuse:
	if (why >= 0 && why < WEIR_BYPASS_REFUSALS)
		add(&r->refused[why], 1);
forget:
	bpf_map_delete_elem(&weir_bp_pending, &fresh.pair);
}

static __always_inline void passive(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
				    struct weir_bypass_rule *r)
{
	struct weir_bypass_pending *pending;
	struct weir_bypass_pair pair;
	struct weir_bypass_conn *c;
	int why = WEIR_BYPASS_MISMATCH;
	__u64 id;

	pair_of(ctx, false, &pair);
	pending = bpf_map_lookup_elem(&weir_bp_pending, &pair);
	if (!pending)
		return;
	id = pending->id;
	bpf_map_delete_elem(&weir_bp_pending, &pair);
	c = bpf_map_lookup_elem(&weir_bp_conns, &id);
	if (!c || !(c->state & WEIR_BYPASS_IN(WEIR_BYPASS_INITIATOR)))
		return;
	/* Each end's next byte is the one that the other end waits for: two numbers of 32
	 * bits that nobody could guess. So these are one connection's ends, whatever
	 * namespaces they are in, and no byte is on its way. */
	if (ctx->rcv_nxt == c->way[WEIR_BYPASS_INITIATOR].first_seq &&
	    ctx->snd_nxt == c->way[WEIR_BYPASS_LISTENER].first_seq)
		why = join(ctx, sk, id, c, WEIR_BYPASS_LISTENER);
	if (why < 0) {
		add(&r->joined, 1);
		__sync_fetch_and_or(&c->state, WEIR_BYPASS_IN(WEIR_BYPASS_LISTENER));
	} else if (why < WEIR_BYPASS_REFUSALS) {
		add(&r->refused[why], 1);
	}
}

/*
 * What TCP has taken is told by its own numbers: after a send() that would have had to wait
 * the kernel lets the next message pass without asking, and the first one was cut short.
 */
static __always_inline void settle(struct weir_bypass_way *w, const void *tp)
{
	__u32 written = BPF_CORE_READ((const struct tcp_sock___bypass *)tp, write_seq);

	w->tcp_bytes += written - w->last_seq;
	w->last_seq = written;
	w->tcp_pending = 0;
}

static __always_inline void fold(struct weir_bypass_rule *r, struct weir_bypass_conn *c)
{
	for (int i = 0; i < WEIR_BYPASS_SIDES; i++) {
		add(&r->sum[i].bytes, c->way[i].bytes);
		add(&r->sum[i].messages, c->way[i].messages);
		add(&r->sum[i].tcp_bytes, c->way[i].tcp_bytes + c->way[i].tcp_pending);
	}
	if (c->state & WEIR_BYPASS_IN(WEIR_BYPASS_LISTENER))
		add(&r->closed, 1);
	add(&r->folds, 1);
}

/* Kept for who is told of the socket's end, which is a moment after this. */
static __always_inline void keep_ended(const struct weir_bypass_conn *c, __u32 side)
{
	struct weir_bypass_ended ended = {
		.in = c->way[!(side & 1)].bytes,
		.out = c->way[side & 1].bytes,
	};
	__u64 cookie = c->cookie[side & 1];

	bpf_map_update_elem(&weir_bp_ended, &cookie, &ended, BPF_ANY);
}

/* A state ends. Of those in which bytes may be sent, the FIN is not yet counted. */
static __always_inline void on_state(struct bpf_sock *sk, struct weir_bypass_rule *r, __u32 before,
				     __u32 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_bypass_end *end = bpf_sk_storage_get(&weir_bp_ends, sk, 0, 0);
	struct weir_bypass_conn *c;
	__u32 old, bit;
	__u64 id;

	if (!end)
		return;
	id = end->id;
	c = bpf_map_lookup_elem(&weir_bp_conns, &id);
	if (!c)
		return;
	if (tp && (before == TCP_ESTABLISHED || before == TCP_CLOSE_WAIT))
		settle(&c->way[end->side & 1], tp);
	if (now != TCP_CLOSE)
		return;
	bit = WEIR_BYPASS_CLOSED(end->side & 1);
	/* An initiator alone is both. */
	if (!(c->state & WEIR_BYPASS_IN(WEIR_BYPASS_LISTENER)))
		bit = WEIR_BYPASS_ALL_CLOSED;
	else
		keep_ended(c, end->side);
	old = __sync_fetch_and_or(&c->state, bit);
	/* Whoever is the last one counts. */
	if ((old & WEIR_BYPASS_ALL_CLOSED) == WEIR_BYPASS_ALL_CLOSED ||
	    ((old | bit) & WEIR_BYPASS_ALL_CLOSED) != WEIR_BYPASS_ALL_CLOSED)
		return;
	fold(r, c);
	bpf_map_delete_elem(&weir_bp_conns, &id);
}

SEC("sockops")
int weir_bypass_ops(struct bpf_sock_ops *ctx)
{
	struct weir_bypass_rule *r = rule();
	struct bpf_sock *sk = ctx->sk;

	if (!r || (ctx->family != WEIR_AF_INET && ctx->family != WEIR_AF_INET6))
		return 1;
	if (ctx->op == BPF_SOCK_OPS_RWND_INIT && !ctx->is_fullsock)
		hear(ctx);
	if (!sk)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		if (!stopped())
			ask(ctx, r);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		active(ctx, sk, r);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		passive(ctx, sk, r);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		on_state(sk, r, ctx->args[0], ctx->args[1]);
		break;
	}
	return 1;
}

/* ---- Messages */

/*
 * How much the other end has not read, as its own accounts say; -1: it is not there. The
 * address may be stale; then what lies there does not have the cookie. A socket's memory
 * stays a socket's until readers like this one are done.
 */
static __always_inline long unread(const struct weir_bypass_conn *c, __u32 to, __u32 *ret_room)
{
	struct sock___bypass *sk = (struct sock___bypass *)c->sock[to & 1];
	long n;

	if (BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != (long long)c->cookie[to & 1])
		return -1;
	n = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	*ret_room = (__u32)BPF_CORE_READ(sk, sk_rcvbuf) / 2;
	return n < 0 ? 0 : n;
}

/* Keep an upper bound of the messages that lie unread: those behind the mark, and those
 * before it until its bytes are read. */
static __always_inline __u64 messages_unread(struct weir_bypass_way *w, __u64 bytes_unread)
{
	if (w->bytes - bytes_unread >= w->mark || bytes_unread > w->bytes) {
		w->before = bytes_unread ? w->since : 0;
		w->since = 0;
		w->mark = w->bytes;
	}
	return w->before + w->since;
}

/* May a message of @size go by the bypass? */
static __always_inline __u32 why_not(struct weir_bypass_conn *c, struct weir_bypass_way *w,
				     __u32 to, __u32 size, const struct tcp_sock___bypass *tp)
{
	__u32 room = 0;
	long n;

	if (c->state != WEIR_BYPASS_BOTH)
		return c->state & WEIR_BYPASS_ALL_CLOSED ? WEIR_BYPASS_GONE : WEIR_BYPASS_EARLY;
	if (BPF_CORE_READ(tp, write_seq) != w->first_seq)
		return WEIR_BYPASS_EARLY;
	n = unread(c, to, &room);
	if (n < 0)
		return WEIR_BYPASS_GONE;
	if (n > (long)w->peak)
		w->peak = (__u64)n;
	if (room > WEIR_BYPASS_UNREAD_MAX)
		room = WEIR_BYPASS_UNREAD_MAX;
	if (n + size > room)
		return WEIR_BYPASS_FULL;
	if (messages_unread(w, (__u64)n) * WEIR_BYPASS_MESSAGE_COST >=
	    WEIR_BYPASS_MESSAGES_COST_MAX)
		return WEIR_BYPASS_MESSAGES;
	return WEIR_BYPASS_ON;
}

static __always_inline void by_tcp(struct weir_bypass_rule *r, struct weir_bypass_way *w,
				   const void *tp, __u32 size, __u32 why)
{
	if (w->why == WEIR_BYPASS_ON) {
		w->why = why;
		if (why < WEIR_BYPASS_WHYS)
			add(&r->left[why], 1);
	}
	settle(w, tp);
	w->tcp_pending = size;
}

SEC("sk_msg")
int weir_bypass_msg(struct sk_msg_md *msg)
{
	struct weir_bypass_end *end, peer = {};
	struct bpf_sock *sk = msg->sk;
	struct weir_bypass_rule *r = rule();
	struct weir_bypass_conn *c;
	struct weir_bypass_way *w;
	struct tcp_sock *tp;
	__u32 size = msg->size, why;

	if (!sk || !r)
		return SK_PASS;
	end = bpf_sk_storage_get(&weir_bp_ends, sk, 0, 0);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!end || !tp)
		return SK_PASS;
	peer.id = end->id;
	peer.side = !end->side;
	c = bpf_map_lookup_elem(&weir_bp_conns, &peer.id);
	if (!c)
		return SK_PASS;
	w = &c->way[end->side & 1];
	why = w->why;
	if (!why)
		why = stopped() ? WEIR_BYPASS_STOPPED : why_not(c, w, peer.side, size, (void *)tp);
	/* Not found: the other end has left, and TCP will say so. */
	if (!why && bpf_msg_redirect_hash(msg, &weir_bp_socks, &peer, BPF_F_INGRESS) != SK_PASS)
		why = WEIR_BYPASS_GONE;
	if (why) {
		by_tcp(r, w, tp, size, why);
		return SK_PASS;
	}
	w->bytes += size;
	w->messages++;
	w->since++;
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
