/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir tcp, the kernel's half. What TCP keeps itself is read from its own socket when
 * somebody looks (the iterator) and at the end; what it does not keep (round trips, why
 * segments were sent again, who ended it) is added up at tracepoints, in a record beside
 * the socket. Nothing here changes a connection's fate.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/match_stub.bpf.h"
#include "bpf/rings.bpf.h"
#include "bpf/sock.bpf.h"
#include "cap/tcp/tcp.h"
#include "cap/tcp/tcp_core.bpf.h"

#define IPPROTO_TCP 6
#define PORTS_MAX 65536
#define CGROUP_DEPTH_MAX 64
#define SEGMENTS_TO_LEARN 8 /* with data, until who reads them is known */
#define TICK_STATES 3	    /* of chrono_stat */
#define USEC_PER_SEC 1000000ULL
#define NSEC_PER_USEC 1000ULL

const volatile struct weir_tcp_config cfg = { .tick_us = 4000 };

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weir_tcp_conn);
} weir_conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PORTS_MAX);
	__type(key, struct weir_tcp_port);
	__type(value, __u8);
} weir_ports SEC(".maps");

WEIR_RINGS(weir_rings);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_TCP_LOSTS);
	__type(key, __u32);
	__type(value, __u64);
} weir_lost SEC(".maps");

/* ---- Telling */

static __always_inline void lose(__u32 why)
{
	__u64 *n = bpf_map_lookup_elem(&weir_lost, &why);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline bool wants(__u32 kind)
{
	return cfg.events & 1U << kind;
}

static __always_inline void *reserve(__u64 size)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *ring = bpf_map_lookup_elem(&weir_rings, &cpu), *room;

	room = ring ? bpf_ringbuf_reserve(ring, size, 0) : NULL;
	if (!room)
		lose(WEIR_TCP_LOST_RING);
	return room;
}

static __always_inline void fill_event(struct weir_tcp_event *ev, const struct weir_tcp_conn *s,
				       __u32 kind, __u8 state)
{
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->ts = bpf_ktime_get_ns();
	ev->ends = s->ends;
	ev->handshake = s->handshake;
	ev->kind = kind;
	ev->pid = s->pid;
	__builtin_memcpy(ev->comm, s->comm, sizeof(ev->comm));
	ev->state = state;
}

/* A connection's beginning; @ts 0: now. */
static __noinline int tell_begin(struct weir_tcp_conn *s, __u32 kind, __u64 ts, __u8 state)
{
	struct weir_tcp_event *ev;

	if (!wants(kind))
		return 0;
	ev = reserve(sizeof(*ev));
	if (!ev)
		return 0;
	fill_event(ev, s, kind, state);
	if (ts)
		ev->ts = ts;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

static __noinline int tell_retransmit(struct weir_tcp_conn *s, __u8 cause, __u32 segments,
				      __u8 state)
{
	struct weir_tcp_event *ev;

	if (!wants(WEIR_TCP_RETRANSMIT))
		return 0;
	ev = reserve(sizeof(*ev));
	if (!ev)
		return 0;
	fill_event(ev, s, WEIR_TCP_RETRANSMIT, state);
	ev->cause = cause;
	ev->segments = segments;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

static __noinline int tell_reset(struct weir_tcp_conn *s, __u8 by, __u8 state)
{
	struct weir_tcp_event *ev;

	if (!wants(WEIR_TCP_RESET))
		return 0;
	ev = reserve(sizeof(*ev));
	if (!ev)
		return 0;
	fill_event(ev, s, WEIR_TCP_RESET, state);
	ev->by = by;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

static __noinline int tell_close(struct weir_tcp_conn *s, __u8 state)
{
	struct weir_tcp_closed *ev;

	if (!wants(WEIR_TCP_CLOSE))
		return 0;
	ev = reserve(sizeof(*ev));
	if (!ev)
		return 0;
	fill_event(&ev->event, s, WEIR_TCP_CLOSE, state);
	__builtin_memcpy(&ev->conn, s, sizeof(ev->conn));
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

/* ---- Which connections */

/* A process is at work on the socket, so that the current one is it: the protocol's own
 * work in a softirq waits for the lock. */
static __always_inline bool is_owned(const struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.sk_lock.owned;
}

static __always_inline __u8 state_of(const struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.__sk_common.skc_state;
}

static __always_inline void learn_process(struct weir_tcp_conn *s)
{
	s->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(s->comm, sizeof(s->comm));
}

/* Below the cgroup that is wanted? */
static __noinline int in_cgroup(const struct sock *sk)
{
	const struct cgroup *cg = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);

	for (int i = 0; cg && i < CGROUP_DEPTH_MAX; i++) {
		if (BPF_CORE_READ(cg, kn, id) == cfg.cgroup)
			return 1;
		cg = BPF_CORE_READ(cg, self.parent, cgroup);
	}
	return 0;
}

static __noinline int matches(const struct weir_ends *e)
{
	struct weir_pkt pkt;

	weir_ends_pkt(e, &pkt);
	return weir_match(&pkt, cfg.match_kind);
}

/* The port stays in the socket when it is given back, unlike skc_num. */
static __always_inline void read_ends(struct tcp_sock *tp, struct weir_ends *e, __u8 flags)
{
	weir_sock_ends(tp, IPPROTO_TCP, e);
	e->lport = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	e->cookie = bpf_get_socket_cookie(tp);
	e->flags = flags;
}

/* Of a connection whose beginning nobody saw: who listens on its port accepted it. */
static __always_inline __u8 guess_flags(const struct weir_ends *e)
{
	struct weir_tcp_port port = { .netns = e->netns, .port = e->lport };

	if (bpf_map_lookup_elem(&weir_ports, &port) || e->lport < e->rport)
		return WEIR_ENDS_GUESSED;
	return WEIR_ENDS_GUESSED | WEIR_ENDS_INITIATED;
}

static __always_inline struct weir_tcp_conn *find(struct tcp_sock *tp)
{
	return bpf_sk_storage_get(&weir_conns, tp, 0, 0);
}

/* A record for the connection, if it is wanted. @flags: WEIR_TCP_F_*; @initiated: of one
 * whose beginning is seen. */
static __always_inline struct weir_tcp_conn *adopt(struct tcp_sock *tp, __u32 flags, bool initiated)
{
	struct weir_tcp_conn *s;
	struct weir_ends e;

	read_ends(tp, &e, initiated ? WEIR_ENDS_INITIATED : 0);
	if (flags & WEIR_TCP_F_OLD && !initiated)
		e.flags = guess_flags(&e);
	if (cfg.netns && e.netns != cfg.netns)
		return NULL;
	if (cfg.cgroup && !in_cgroup((const struct sock *)tp))
		return NULL;
	if (!(flags & WEIR_TCP_F_PENDING) && !matches(&e))
		return NULL;
	s = bpf_sk_storage_get(&weir_conns, tp, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s) {
		lose(WEIR_TCP_LOST_STORAGE);
		return NULL;
	}
	/* A socket may connect again once it was closed. */
	__builtin_memset(s, 0, sizeof(*s));
	s->ends = e;
	s->flags = flags;
	s->seen_retrans = tp->total_retrans;
	s->seen_srtt = tp->srtt_us;
	s->seen_mdev = tp->mdev_us;
	s->seen_rack = tp->rack.mstamp;
	if (flags & WEIR_TCP_F_OLD)
		s->retrans_before = tp->total_retrans;
	return s;
}

/* A connection that was begun before its local port was chosen: now it can be matched.
 * NULL: it is not wanted. */
static __always_inline struct weir_tcp_conn *settle(struct tcp_sock *tp, struct weir_tcp_conn *s)
{
	struct weir_ends e;

	if (!(s->flags & WEIR_TCP_F_PENDING))
		return s;
	read_ends(tp, &e, WEIR_ENDS_INITIATED);
	if (!matches(&e)) {
		bpf_sk_storage_delete(&weir_conns, tp);
		return NULL;
	}
	s->ends = e;
	s->flags &= ~WEIR_TCP_F_PENDING;
	tell_begin(s, WEIR_TCP_CONNECT, s->start, TCP_SYN_SENT);
	return s;
}

/* ---- What TCP does not keep */

static __noinline int add_sample(struct weir_tcp_conn *s, __u32 us)
{
	__u32 bucket = weir_tcp_bucket(us);

	/* The compiler knows where it ends, and would leave the verifier without the check. */
	barrier_var(bucket);
	if (bucket >= WEIR_TCP_BUCKETS)
		return 0;
	s->rtt[bucket]++;
	s->rtt_count++;
	s->rtt_sum += us;
	if (us > s->rtt_max)
		s->rtt_max = us;
	return 0;
}

/*
 * The last round trip, from what it changed: the mean is kept times eight, and a sample m
 * makes it srtt + m - srtt / 8. A sample equal to the mean shows in the mean deviation, or
 * where that is at rest, in the time of the newest segment known to have arrived.
 */
static __always_inline void sample_rtt(const struct tcp_sock *tp, struct weir_tcp_conn *s)
{
	__u32 srtt = tp->srtt_us, old = s->seen_srtt, mdev = tp->mdev_us;
	__u64 rack = tp->rack.mstamp;

	if (srtt == old && mdev == s->seen_mdev && rack == s->seen_rack)
		return;
	s->seen_srtt = srtt;
	s->seen_mdev = mdev;
	s->seen_rack = rack;
	if (!srtt)
		return;
	add_sample(s, old ? srtt - old + (old >> 3) : srtt >> 3);
}

/* While a window is shut nothing new arrives: so long it is the same time. */
static __always_inline void note_windows(const struct tcp_sock *tp, struct weir_tcp_conn *s)
{
	__u8 state = state_of(tp);

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return;
	if (!tp->snd_wnd && (!s->zero_window_in || tp->snd_una != s->seen_snd_una)) {
		s->zero_window_in++;
		s->seen_snd_una = tp->snd_una;
	}
	if (!tp->rcv_wnd && (!s->zero_window_out || tp->rcv_nxt != s->seen_rcv_nxt)) {
		s->zero_window_out++;
		s->seen_rcv_nxt = tp->rcv_nxt;
	}
}

static __always_inline __u8 cause_of(const struct tcp_sock *tp)
{
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	__u8 state = state_of(tp), ca = BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state);

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return WEIR_TCP_CAUSE_SYN;
	if (icsk->icsk_pending == ICSK_TIME_LOSS_PROBE)
		return WEIR_TCP_CAUSE_TLP;
	if (ca == TCP_CA_LOSS)
		return WEIR_TCP_CAUSE_RTO;
	return ca == TCP_CA_RECOVERY ? WEIR_TCP_CAUSE_FAST : WEIR_TCP_CAUSE_OTHER;
}

/* Every retransmission since the last one is of this cause: so no cause's count is ever
 * more than what TCP counts, and what no hook told of is no more than what went by since. */
static __always_inline void add_retransmits(struct tcp_sock *tp, struct weir_tcp_conn *s,
					    __u8 cause)
{
	__u32 n = tp->total_retrans - s->seen_retrans;

	s->seen_retrans = tp->total_retrans;
	if (!n)
		return;
	if (cause < WEIR_TCP_CAUSES)
		s->cause[cause] += n;
	tell_retransmit(s, cause, n, state_of(tp));
}

/* ---- What TCP keeps */

static __always_inline void read_limits(const struct tcp_sock *tp, struct weir_tcp_figures *f)
{
	__u32 type = BPF_CORE_READ_BITFIELD(tp, chrono_type), now = bpf_jiffies64();
	__u64 stat[TICK_STATES];

	for (__u32 i = 0; i < TICK_STATES; i++) {
		stat[i] = tp->chrono_stat[i];
		if (type == i + 1)
			stat[i] += now - tp->chrono_start;
	}
	f->busy_us = (stat[0] + stat[1] + stat[2]) * cfg.tick_us;
	f->rwnd_limited_us = stat[1] * cfg.tick_us;
	f->sndbuf_limited_us = stat[2] * cfg.tick_us;
}

static __always_inline void read_congestion(const struct tcp_sock *tp, struct weir_tcp_figures *f)
{
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	const struct tcp_congestion_ops *ops = icsk->icsk_ca_ops;

	f->ca_state = BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state);
	f->backoff = icsk->icsk_backoff;
	f->rto_us = icsk->icsk_rto * cfg.tick_us;
	f->rcv_mss = icsk->icsk_ack.rcv_mss;
	bpf_probe_read_kernel_str(f->congestion, sizeof(f->congestion), &ops->name);
}

static __noinline int read_figures(const struct tcp_sock *tp, struct weir_tcp_figures *f)
{
	__u32 interval = tp->rate_interval_us, behind = tp->write_seq - tp->snd_nxt;

	f->bytes_received = tp->bytes_received;
	f->bytes_acked = tp->bytes_acked;
	f->bytes_sent = tp->bytes_sent;
	f->bytes_retrans = tp->bytes_retrans;
	f->delivery_rate = 0;
	if (interval)
		f->delivery_rate =
			(__u64)tp->rate_delivered * tp->mss_cache * USEC_PER_SEC / interval;
	f->pacing_rate = tp->inet_conn.icsk_inet.sk.sk_pacing_rate;
	f->segs_in = tp->segs_in;
	f->segs_out = tp->segs_out;
	f->data_segs_in = tp->data_segs_in;
	f->data_segs_out = tp->data_segs_out;
	f->srtt_us = tp->srtt_us >> 3;
	f->rttvar_us = tp->mdev_us >> 2;
	f->min_rtt_us = tp->rtt_min.s[0].v;
	f->rcv_rtt_us = tp->rcv_rtt_est.rtt_us >> 3;
	f->cwnd = tp->snd_cwnd;
	f->ssthresh = tp->snd_ssthresh;
	f->mss = tp->mss_cache;
	f->snd_wnd = tp->snd_wnd;
	f->rcv_wnd = tp->rcv_wnd;
	f->unacked = tp->packets_out;
	f->sacked = tp->sacked_out;
	f->lost = tp->lost_out;
	f->retrans_out = tp->retrans_out;
	f->notsent = (__s32)behind > 0 ? behind : 0;
	f->total_retrans = tp->total_retrans;
	f->out_of_order = tp->rcv_ooopack;
	f->reordering = tp->reordering;
	f->reord_seen = tp->reord_seen;
	f->dsack_dups = tp->dsack_dups;
	f->delivered = tp->delivered;
	f->delivered_ce = tp->delivered_ce;
	read_limits(tp, f);
	read_congestion(tp, f);
	return 0;
}

static __always_inline void look_at(struct tcp_sock *tp, struct weir_tcp_conn *s)
{
	/* More than one may lie between two looks. What sees events is not loaded then. */
	if (cfg.watch)
		sample_rtt(tp, s);
	note_windows(tp, s);
	read_figures(tp, &s->now);
	s->flags &= ~(WEIR_TCP_F_APP_LIMITED | WEIR_TCP_F_FIN_IN);
	if (tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags & SK_DONE)
		s->flags |= WEIR_TCP_F_FIN_IN;
	if (BPF_CORE_READ_BITFIELD(tp, rate_app_limited))
		s->flags |= WEIR_TCP_F_APP_LIMITED;
}

/* ---- Beginning and end */

static __always_inline void begin_connect(struct tcp_sock *tp)
{
	struct weir_tcp_conn *s = adopt(tp, WEIR_TCP_F_PENDING, true);

	if (!s)
		return;
	s->start = bpf_ktime_get_ns();
	learn_process(s);
	if (s->ends.lport)
		settle(tp, s);
}

static __always_inline void begin_accepted(struct tcp_sock *tp)
{
	struct weir_tcp_conn *s = adopt(tp, 0, false);
	__u64 now = bpf_ktime_get_ns();

	if (!s)
		return;
	/* The first round trip is the SYN-ACK's. If that was sent again there is none, or one
	 * by timestamps. */
	s->handshake = (tp->srtt_us >> 3) * NSEC_PER_USEC;
	s->start = now - s->handshake;
	s->cause[WEIR_TCP_CAUSE_SYN] = tp->total_retrans;
	s->seen_srtt = s->seen_mdev = s->seen_rack = 0;
	sample_rtt(tp, s);
	tell_begin(s, WEIR_TCP_ACCEPT, 0, TCP_ESTABLISHED);
}

static __always_inline void end_connect(struct tcp_sock *tp, struct weir_tcp_conn *s)
{
	if (s->start && !s->handshake) {
		s->handshake = bpf_ktime_get_ns() - s->start;
		tell_begin(s, WEIR_TCP_ESTABLISHED, 0, TCP_ESTABLISHED);
	}
	sample_rtt(tp, s);
}

/* Data has come that no process will ever read: the kernel answers with a reset. */
static __always_inline bool is_unwanted(const struct tcp_sock *tp, const struct weir_tcp_conn *s)
{
	__u8 state = state_of(tp);

	return (state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2) &&
	       tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags & SK_DEAD &&
	       tp->data_segs_in != s->seen_data_segs;
}

/* No error, and no reset came or went yet: a reset follows where the application gave up
 * in mid-stream, or did not read all. */
static __always_inline __u8 how_quietly(int old, unsigned long flags)
{
	switch (old) {
	case TCP_SYN_SENT:
		return WEIR_TCP_HOW_ABORTED;
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return WEIR_TCP_HOW_FIN;
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		/* Without a process the peer's FIN may be waited for by a stand-in. */
		return flags & (SK_DEAD | SK_DONE) ? WEIR_TCP_HOW_FIN : WEIR_TCP_HOW_RESET_SENT;
	}
	return WEIR_TCP_HOW_RESET_SENT;
}

static __always_inline __u8 how_ended(struct tcp_sock *tp, const struct weir_tcp_conn *s, int old)
{
	int error = s->error;

	if (s->flags & WEIR_TCP_F_RST_IN)
		return old == TCP_SYN_SENT ? WEIR_TCP_HOW_REFUSED : WEIR_TCP_HOW_RESET_RECEIVED;
	if (error == ERR_CONNREFUSED)
		return WEIR_TCP_HOW_REFUSED;
	if (error == ERR_TIMEDOUT)
		return WEIR_TCP_HOW_TIMEOUT;
	if (error == ERR_HOSTUNREACH || error == ERR_NETUNREACH)
		return WEIR_TCP_HOW_UNREACHABLE;
	if (error == ERR_CONNABORTED)
		return WEIR_TCP_HOW_ABORTED;
	if (s->flags & WEIR_TCP_F_RST_OUT)
		return WEIR_TCP_HOW_RESET_SENT;
	if (is_unwanted(tp, s))
		return WEIR_TCP_HOW_RESET_SENT;
	return how_quietly(old, tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags);
}

static __always_inline void end(struct tcp_sock *tp, struct weir_tcp_conn *s, int old)
{
	s->error = tp->inet_conn.icsk_inet.sk.sk_err;
	s->closed_how = how_ended(tp, s, old);
	if (!s->closed_by) {
		if (s->closed_how == WEIR_TCP_HOW_RESET_SENT ||
		    s->closed_how == WEIR_TCP_HOW_ABORTED)
			s->closed_by = WEIR_TCP_LOCAL;
		else if (s->closed_how == WEIR_TCP_HOW_RESET_RECEIVED ||
			 s->closed_how == WEIR_TCP_HOW_REFUSED)
			s->closed_by = WEIR_TCP_REMOTE;
	}
	look_at(tp, s);
	s->now.state = TCP_CLOSE;
	tell_close(s, old);
}

static __always_inline void go_on(struct tcp_sock *tp, struct weir_tcp_conn *s, int old, int new)
{
	sample_rtt(tp, s);
	note_windows(tp, s);
	if (!s->pid && is_owned(tp))
		learn_process(s);
	if (new == TCP_ESTABLISHED) {
		end_connect(tp, s);
	} else if (new == TCP_FIN_WAIT1) {
		s->seen_data_segs = tp->data_segs_in;
		if (!s->closed_by)
			s->closed_by = WEIR_TCP_LOCAL;
	} else if (new == TCP_CLOSE_WAIT && !s->closed_by) {
		s->closed_by = WEIR_TCP_REMOTE;
	} else if (new == TCP_CLOSING) {
		s->closed_by = WEIR_TCP_LOCAL | WEIR_TCP_REMOTE;
	} else if (new == TCP_CLOSE) {
		end(tp, s, old);
	}
}

SEC("match.tp_btf/inet_sock_set_state")
int weir_tcp_state(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = (int)ctx[1], new = (int)ctx[2];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s;

	/* A listener's child is not connected to anybody yet when it is made. */
	if (!tp || old == TCP_LISTEN || new == TCP_LISTEN)
		return 0;
	if (new == TCP_SYN_SENT) {
		begin_connect(tp);
		return 0;
	}
	s = find(tp);
	if (!s && old == TCP_SYN_RECV) {
		if (new != TCP_CLOSE)
			begin_accepted(tp);
		s = find(tp);
		if (!s || new == TCP_ESTABLISHED)
			return 0;
	} else if (!s) {
		/* Not wanted; or it changes before the first look has come to it. */
		s = adopt(tp, WEIR_TCP_F_OLD, old == TCP_SYN_SENT);
	} else {
		s = settle(tp, s);
	}
	if (s)
		go_on(tp, s, old, new);
	return 0;
}

/* ---- In between */

/* A packet has come for an established connection, and is not yet looked at: what the one
 * before it changed is seen. */
SEC("tp_btf/tcp_probe")
int weir_tcp_packet(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s = tp ? find(tp) : NULL;

	if (!s)
		return 0;
	sample_rtt(tp, s);
	note_windows(tp, s);
	return 0;
}

/* The application has read; the window that this may open is not told yet. Most reads of a
 * long connection are of no interest, and pass without a look for its record. */
SEC("tp_btf/tcp_rcv_space_adjust")
int weir_tcp_read(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s;

	if (!tp || (tp->rcv_wnd && tp->data_segs_in > SEGMENTS_TO_LEARN &&
		    state_of(tp) == TCP_ESTABLISHED))
		return 0;
	s = find(tp);
	if (!s)
		return 0;
	s->seen_data_segs = tp->data_segs_in;
	if (!tp->rcv_wnd)
		note_windows(tp, s);
	if (!s->pid && is_owned(tp))
		learn_process(s);
	return 0;
}

SEC("match.tp_btf/tcp_retransmit_skb")
int weir_tcp_retransmit(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s = tp ? find(tp) : NULL;

	if (s)
		s = settle(tp, s);
	if (s)
		add_retransmits(tp, s, cause_of(tp));
	return 0;
}

/* A SYN-ACK is sent again. The connection has no socket yet, or, with data in its SYN
 * (RFC 7413), it has one. Its socket counts it when it is made. */
SEC("match.tp_btf/tcp_retransmit_synack")
int weir_tcp_synack(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct request_sock *req = (void *)ctx[1];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s = tp ? find(tp) : NULL;
	struct weir_tcp_event *ev;
	struct weir_ends e;

	if (s) {
		add_retransmits(tp, s, WEIR_TCP_CAUSE_SYN);
		return 0;
	}
	if (!tp || !wants(WEIR_TCP_RETRANSMIT))
		return 0;
	weir_sock_ends(req, IPPROTO_TCP, &e);
	if ((cfg.netns && e.netns != cfg.netns) ||
	    (cfg.cgroup && !in_cgroup((const struct sock *)tp)) || !matches(&e))
		return 0;
	ev = reserve(sizeof(*ev));
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->ts = bpf_ktime_get_ns();
	ev->ends = e;
	ev->kind = WEIR_TCP_RETRANSMIT;
	ev->segments = 1;
	ev->cause = WEIR_TCP_CAUSE_SYN;
	ev->state = TCP_SYN_RECV;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

SEC("match.tp_btf/tcp_receive_reset")
int weir_tcp_reset_in(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct weir_tcp_conn *s = tp ? find(tp) : NULL;

	if (s)
		s = settle(tp, s);
	if (!s)
		return 0;
	/* The kernel's own reset takes this road too. */
	if (is_unwanted(tp, s)) {
		s->flags |= WEIR_TCP_F_RST_OUT;
		return 0;
	}
	s->flags |= WEIR_TCP_F_RST_IN;
	tell_reset(s, WEIR_TCP_REMOTE, state_of(tp));
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int weir_tcp_reset_out(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp;
	struct weir_tcp_conn *s;

	if (!sk)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	s = tp ? find(tp) : NULL;
	if (!s || s->flags & WEIR_TCP_F_PENDING)
		return 0;
	s->flags |= WEIR_TCP_F_RST_OUT;
	tell_reset(s, WEIR_TCP_LOCAL, state_of(tp));
	return 0;
}

/* ---- A look at all of them, one namespace at a time; listeners come first */

static __always_inline void note_listener(struct tcp_sock *tp)
{
	struct weir_ends e;
	struct weir_tcp_port port = { 0 };
	__u8 one = 1;

	weir_sock_ends(tp, IPPROTO_TCP, &e);
	port.netns = e.netns;
	port.port = e.lport;
	bpf_map_update_elem(&weir_ports, &port, &one, BPF_ANY);
}

SEC("match.iter/tcp")
int weir_tcp_look(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp = skc ? bpf_skc_to_tcp_sock(skc) : NULL;
	struct weir_tcp_conn *s;
	__u8 state;

	if (!tp)
		return 0;
	state = state_of(tp);
	if (state == TCP_LISTEN)
		note_listener(tp);
	if (state == TCP_LISTEN || state == TCP_CLOSE)
		return 0;
	s = find(tp);
	if (s)
		s = settle(tp, s);
	else
		s = adopt(tp, WEIR_TCP_F_OLD, state == TCP_SYN_SENT);
	if (!s)
		return 0;
	look_at(tp, s);
	s->now.state = state;
	bpf_seq_write(ctx->meta->seq, s, sizeof(*s));
	return 0;
}

/* Who holds those that no process has touched yet under these programs' eyes. */
SEC("iter/task_file")
int weir_tcp_holder(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct weir_tcp_conn *s;
	struct socket *socket;
	struct tcp_sock *tp;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	s = tp ? find(tp) : NULL;
	if (!s || s->pid)
		return 0;
	s->pid = task->tgid;
	bpf_probe_read_kernel_str(s->comm, sizeof(s->comm), &task->comm);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
