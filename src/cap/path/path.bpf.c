// SPDX-License-Identifier: GPL-2.0-only
/*
 * weir path, the kernel's half: a stamp at each stage of the receive path, what has passed
 * since the stage before, and both summed up by stage and CPU. Tracepoints only, nothing
 * here changes a packet.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/bound.bpf.h"
#include "bpf/match_stub.bpf.h"
#include "bpf/parse.bpf.h"
#include "cap/path/state.bpf.h"

#define STAGE(c, id) (&(c)->figures.stage[WEIR_PATH_##id])

/* ---- by CPU: interrupt, softirq, poll. They count only where they brought a packet that
 * matches, and are told when it is seen. */

SEC("tp_btf/irq_handler_entry")
int weir_path_irq(__u64 *ctx __attribute__((unused)))
{
	struct cpu *c = this_cpu();

	if (c)
		c->irq = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/irq_handler_exit")
int weir_path_irqx(__u64 *ctx __attribute__((unused)))
{
	struct cpu *c = this_cpu();

	if (c)
		c->irq = 0;
	return 0;
}

SEC("tp_btf/softirq_raise")
int weir_path_raise(__u64 *ctx)
{
	unsigned int vec = (unsigned int)ctx[0];
	struct cpu *c;

	if (vec != WEIR_NET_RX)
		return 0;
	c = this_cpu();
	/* What is from before the slice was not followed to its end. */
	if (c && (!c->raise || c->raise < slice.began)) {
		c->raise = bpf_ktime_get_ns();
		c->raise_irq = c->irq >= slice.began ? c->irq : 0;
	}
	return 0;
}

SEC("tp_btf/softirq_entry")
int weir_path_run(__u64 *ctx)
{
	unsigned int vec = (unsigned int)ctx[0];
	struct cpu *c;

	if (vec != WEIR_NET_RX)
		return 0;
	c = this_cpu();
	if (!c)
		return 0;
	c->run = c->poll = bpf_ktime_get_ns();
	c->run_slice = slice.began;
	c->run_raise = c->raise >= slice.began ? c->raise : 0;
	c->run_irq = c->raise_irq;
	c->raise = c->raise_irq = 0;
	c->run_told = false;
	c->poll_matched = 0;
	return 0;
}

SEC("tp_btf/softirq_exit")
int weir_path_runx(__u64 *ctx)
{
	unsigned int vec = (unsigned int)ctx[0];
	struct cpu *c;

	if (vec != WEIR_NET_RX)
		return 0;
	c = this_cpu();
	if (c) {
		c->run = c->poll = 0;
		c->ready_sk = 0;
	}
	return 0;
}

/* Comes when a poll has ended; the next one of this run begins here. */
SEC("tp_btf/napi_poll")
int weir_path_poll(__u64 *ctx)
{
	int work = (int)ctx[1];
	struct cpu *c = this_cpu();
	__u64 now;

	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	if (c->poll_matched) {
		STAGE(c, POLL)->count++;
		c->figures.account.poll_packets += (__u32)work;
		if (c->poll)
			took(STAGE(c, POLL), c->poll, now);
		c->poll_matched = 0;
	}
	c->poll = c->run ? now : 0;
	return 0;
}

/* Does what is known of the softirq still hold? */
static __always_inline bool knows_run(const struct cpu *c)
{
	return c->run && (!cfg.slices || (slice.began && c->run_slice == slice.began));
}

/* The first packet of a run that matches tells of what brought it. */
static __always_inline void tell_run(struct cpu *c, const struct net_device___weir *dev)
{
	if (c->run_told || !knows_run(c))
		return;
	c->run_told = true;
	STAGE(c, RUN)->count++;
	if (!c->run_raise)
		return;
	STAGE(c, RAISE)->count++;
	took(STAGE(c, RUN), c->run_raise, c->run);
	/* An interrupt is of a device that has hardware. */
	if (c->run_irq && dev->dev.parent) {
		STAGE(c, IRQ)->count++;
		took(STAGE(c, RAISE), c->run_irq, c->run_raise);
	}
}

/* ---- by sk_buff: GRO or the backlog, then the stack */

static __always_inline bool take_time(struct cpu *c)
{
	if (cfg.sample <= 1 || cfg.slices)
		return true;
	if (++c->sampled < cfg.sample)
		return false;
	c->sampled = 0;
	return true;
}

/* Whether a packet matches is decided in the stack, once it is whole. */
static __always_inline int first_seen(const void *skb, enum slot_via via)
{
	struct cpu *c = this_cpu();
	struct slot *s;
	__u64 addr;

	if (!c)
		return 0;
	addr = address_of(c, skb);
	s = slot_of(addr);
	if (!s)
		return 0;
	s->skb = addr;
	s->state = SLOT_FIRST;
	s->via = via;
	s->first = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/netif_rx")
int weir_path_backl(__u64 *ctx)
{
	void *skb = (void *)ctx[0];

	return first_seen(skb, VIA_BACKLOG);
}

SEC("tp_btf/napi_gro_receive_entry")
int weir_path_gro(__u64 *ctx)
{
	void *skb = (void *)ctx[0];

	return first_seen(skb, VIA_GRO);
}

SEC("tp_btf/napi_gro_frags_entry")
int weir_path_grof(__u64 *ctx)
{
	void *skb = (void *)ctx[0];

	return first_seen(skb, VIA_GRO);
}

static __always_inline __u32 vlan_of(const struct sk_buff___weir *skb)
{
	const struct sk_buff___bit *bit = (const void *)skb;
	bool present;

	if (bpf_core_field_exists(bit->vlan_present))
		present = BPF_CORE_READ_BITFIELD_PROBED(bit, vlan_present);
	else
		present = skb->vlan_proto || skb->vlan_tci;
	return present ? bpf_ntohs(skb->vlan_proto) << 16 | skb->vlan_tci : 0;
}

/* The packet from its first byte on: the Ethernet header lies before the data, which is at
 * the network header. */
static __always_inline void parse(struct cpu *c, const struct sk_buff___weir *skb)
{
	const unsigned char *data = skb->data, *mac = skb->head + skb->mac_header;
	__u64 l2 = data - mac, n = l2 + skb->len - skb->data_len;
	bool ether = l2 >= WEIR_ETH_HLEN && l2 < WEIR_PKT_HDR_MAX;
	__u32 last;

	if (!ether) {
		mac = data;
		n -= l2;
		l2 = 0;
	}
	last = weir_last(n > WEIR_PKT_HDR_MAX ? WEIR_PKT_HDR_MAX : (__u32)n);
	if (last >= WEIR_PKT_HDR_MAX || bpf_probe_read_kernel(c->head, weir_size(last), mac)) {
		__builtin_memset(&c->pkt, 0, sizeof(c->pkt));
		return;
	}
	weir_parse(&c->pkt, c->head, c->head + weir_size(last),
		   ether ? WEIR_L2_ETHER : WEIR_L2_NONE, vlan_of(skb), (__u32)l2 + skb->len);
}

/* Packets that GRO made one of. */
static __always_inline __u32 merged(const struct sk_buff___weir *skb)
{
	const struct skb_shared_info___weir *info = (const void *)(skb->head + skb->end);
	__u16 n = BPF_CORE_READ(info, gso_segs);

	return n ? n : 1;
}

static __always_inline void begin_journey(struct cpu *c, const struct sk_buff___weir *skb,
					  struct slot *s)
{
	__u32 number = __sync_fetch_and_add(&next_journey, 1) + 1, i = number % JOURNEYS;
	struct trip *t = number ? bpf_map_lookup_elem(&weir_path_trips, &i) : NULL;
	struct weir_path_journey *j;

	if (!t)
		return;
	if (cfg.match_kind == WEIR_MATCH_ALL)
		parse(c, skb);
	t->number = number;
	j = &t->j;
	__builtin_memset(j, 0, sizeof(*j));
	if (knows_run(c)) {
		j->at[WEIR_PATH_RUN] = c->run;
		j->at[WEIR_PATH_RAISE] = c->run_raise;
		j->at[WEIR_PATH_IRQ] = skb->dev->dev.parent ? c->run_irq : 0;
		j->at[WEIR_PATH_POLL] = c->poll;
	}
	if (s->via != VIA_NONE)
		j->at[s->via == VIA_GRO ? WEIR_PATH_GRO : WEIR_PATH_BACKLOG] = s->first;
	j->at[WEIR_PATH_STACK] = s->stack;
	__builtin_memcpy(j->src, c->pkt.src, sizeof(j->src));
	__builtin_memcpy(j->dst, c->pkt.dst, sizeof(j->dst));
	j->sport = c->pkt.sport;
	j->dport = c->pkt.dport;
	j->proto = c->pkt.proto;
	j->cpu = (__u16)bpf_get_smp_processor_id();
	j->ifindex = (__u32)skb->dev->ifindex;
	j->len = skb->len;
	s->journey = number;
}

/* A packet that matches and comes to the stack; its slot is wanted by what follows. */
static __always_inline void in_stack(struct cpu *c, const struct sk_buff___weir *skb,
				     struct slot *s)
{
	__u64 poll = knows_run(c) ? c->poll : 0, since;

	s->state = SLOT_STACK;
	s->journey = 0;
	s->stack = 0;
	if (s->via == VIA_GRO)
		STAGE(c, GRO)->count += merged(skb);
	else if (s->via == VIA_BACKLOG)
		STAGE(c, BACKLOG)->count++;
	if (!s->timed)
		return;
	s->stack = bpf_ktime_get_ns();
	since = s->first > poll ? s->first : poll;
	if (s->via == VIA_GRO && poll && s->first >= poll)
		took(STAGE(c, GRO), poll, s->first);
	if (since)
		took(STAGE(c, STACK), since, s->stack);
	if (cfg.journeys)
		begin_journey(c, skb, s);
}

/* Whoever had this place less than a moment ago was still on its way to a socket. */
#define WAY_NS (10 * 1000 * 1000ULL)

static __always_inline void note_displaced(struct cpu *c, const struct slot *s, __u64 skb)
{
	if (s->skb && s->skb != skb && s->state == SLOT_STACK && s->timed &&
	    bpf_ktime_get_ns() - s->stack < WAY_NS)
		lose(c, WEIR_PATH_LOST_DISPLACED);
}

/* Does anything but the namespace decide which packets are wanted? Then a packet's slot
 * tells the later stages that it is. */
static __always_inline bool picky(void)
{
	return cfg.match_kind != WEIR_MATCH_ALL || cfg.ifindex || cfg.slices;
}

SEC("match.tp_btf/netif_receive_skb")
int weir_path_stack(__u64 *ctx)
{
	const struct sk_buff___weir *skb = (void *)ctx[0];
	const struct net_device___weir *dev = skb->dev;
	struct cpu *c;
	struct slot *s;
	__u64 addr;
	bool fresh, timed;

	c = this_cpu();
	if (!c)
		return 0;
	c->ready_sk = 0; /* whom this packet wakes, another namespace's too, reads no other one */
	if (dev->nd_net.net->net_cookie != cfg.netns)
		return 0;
	c->figures.account.seen++;
	if (cfg.slices && !slice.epoch) {
		c->figures.account.sampled_out++;
		return 0;
	}
	addr = address_of(c, skb);
	s = slot_of(addr);
	if (!s)
		return 0;
	c->last_skb = addr;
	if (cfg.slices && !slice.began) {
		c->figures.account.sampled_out++;
		goto forget;
	}
	fresh = s->skb != addr || s->state != SLOT_FIRST || s->first < slice.began;
	if (cfg.ifindex && (__u32)dev->ifindex != cfg.ifindex)
		goto unmatched;
	if (cfg.match_kind != WEIR_MATCH_ALL) {
		parse(c, skb);
		if (!weir_match(&c->pkt, cfg.match_kind))
			goto unmatched;
	}
	STAGE(c, STACK)->count++;
	c->poll_matched++;
	tell_run(c, dev);
	timed = take_time(c);
	if (timed)
		c->figures.account.matched++;
	else
		c->figures.account.sampled_out++;
	/* A packet of which nothing more is wanted than to be counted needs no place. */
	if (!timed && fresh && !picky()) {
		if (s->skb == addr)
			s->skb = 0;
		return 0;
	}
	if (fresh) {
		note_displaced(c, s, addr);
		s->skb = addr;
		s->first = 0;
		s->via = VIA_NONE;
	}
	s->timed = timed;
	if (cfg.untold) {
		if (cfg.match_kind == WEIR_MATCH_ALL)
			parse(c, skb);
		s->udp = c->pkt.proto == WEIR_IPPROTO_UDP;
	}
	in_stack(c, skb, s);
	return 0;
unmatched:
	c->figures.account.unmatched++;
forget:
	if (s->skb == addr)
		s->skb = 0;
	return 0;
}

/* ---- by socket: TCP, the queue, the reader, user space */

static __always_inline bool our_sock(const struct sock___weir *sk)
{
	return sk->__sk_common.skc_net.net->net_cookie == cfg.netns;
}

/* The slot of a packet that came to the stack, or NULL. */
static __always_inline struct slot *found(__u64 skb)
{
	struct slot *s = slot_of(skb);

	return s && s->skb == skb && s->state == SLOT_STACK ? s : NULL;
}

static __always_inline void stamp(__u32 journey, enum weir_path_stage stage, __u64 now)
{
	struct trip *t = trip_of(journey);

	if (t)
		t->j.at[stage] = now;
}

static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

/* A segment with data that the socket does not have yet. */
static __always_inline bool has_data(struct sock *sk, const struct sk_buff___weir *skb, __u32 *end)
{
	const struct tcp_skb_cb___weir *cb = (const void *)skb->cb;
	const struct tcp_sock___weir *tp = (const void *)sk;
	__u8 flags = BPF_CORE_READ(cb, tcp_flags);

	*end = BPF_CORE_READ(cb, end_seq) - (flags & WEIR_TCP_FIN);
	return *end != BPF_CORE_READ(cb, seq) && before(BPF_CORE_READ(tp, rcv_nxt), *end);
}

static __always_inline void hold_tcp(struct cpu *c, struct sock_state *st, const struct slot *s,
				     __u32 end, __u64 now)
{
	struct held *h = &st->held[st->head % HELD];

	st->in++;
	if (!s || !s->timed)
		return;
	if (st->head - st->tail >= HELD) {
		lose(c, WEIR_PATH_LOST_SOCKET_FULL);
		return;
	}
	h->ord = st->in;
	h->end = end;
	h->first = s->first ? s->first : s->stack;
	h->since = now;
	h->journey = s->journey;
	h->timed = 1;
	st->head++;
	__sync_fetch_and_add(&outstanding, 1);
}

SEC("tp_btf/tcp_probe")
int weir_path_tcp(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	const struct sk_buff___weir *skb = (void *)ctx[1];
	struct cpu *c = this_cpu();
	struct sock_state *st;
	struct slot *s;
	__u64 now = 0;
	__u32 end;

	if (!c)
		return 0;
	s = found(address_of(c, skb));
	c->ready_sk = 0;
	/* A packet of another namespace may have the address of one that ended in ours. */
	if (!our_sock((const void *)sk) || (!s && picky()))
		return 0;
	STAGE(c, TCP)->count++;
	if (s && s->timed) {
		now = bpf_ktime_get_ns();
		took(STAGE(c, TCP), s->stack, now);
		stamp(s->journey, WEIR_PATH_TCP, now);
	}
	if (has_data(sk, skb, &end)) {
		st = bpf_sk_storage_get(&weir_path_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (st)
			hold_tcp(c, st, s, end, now);
		else
			lose(c, WEIR_PATH_LOST_NO_MEMORY);
	}
	if (s)
		s->skb = 0;
	return 0;
}

/* The newest packet of a UDP socket's queue: it was put there right before its readers are
 * told. A reader that was quick may have taken it to its own queue, or have read it. */
static __always_inline struct slot *newest(struct cpu *c, const struct sock___weir *sk)
{
	const struct udp_sock___weir *up = (const void *)sk;
	struct slot *s = found((__u64)BPF_CORE_READ(sk, sk_receive_queue.prev));

	if (!s)
		s = found((__u64)BPF_CORE_READ(up, reader_queue.prev));
	return s ? s : found(c->last_skb);
}

/* Is it of a slice that is over? */
static __always_inline bool is_old(const struct held *h)
{
	return h->first < slice.epoch;
}

/* Give packet number @ord of the socket its place. */
static __always_inline void hold_udp(struct cpu *c, struct sock_state *st, const struct slot *s,
				     __u32 ord)
{
	struct held *h = &st->held[ord % HELD];
	__u64 now = s->timed ? bpf_ktime_get_ns() : 0;

	if (h->ord) {
		lose(c, is_old(h) ? WEIR_PATH_LOST_CUT_OFF : WEIR_PATH_LOST_SOCKET_FULL);
		if (h->timed && !is_old(h))
			__sync_fetch_and_add(&outstanding, -1);
	}
	h->first = s->first ? s->first : s->stack;
	h->since = now;
	h->journey = s->journey;
	h->timed = s->timed;
	h->ord = ord;
	if (!s->timed)
		return;
	__sync_fetch_and_add(&outstanding, 1);
	took(STAGE(c, QUEUE), s->stack, now);
	stamp(s->journey, WEIR_PATH_QUEUE, now);
}

/* Whether one was told that is followed further. */
static __always_inline bool queue_udp(struct cpu *c, struct sock *sk)
{
	struct slot *s = newest(c, (const void *)sk);
	struct sock_state *st;
	__u32 ord;

	st = bpf_sk_storage_get(&weir_path_socks, sk, 0,
				!s && picky() ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	if (!st) {
		if (s || !picky())
			lose(c, WEIR_PATH_LOST_NO_MEMORY);
		return false;
	}
	/* Packets that are not followed are numbered too: they are in the queue. */
	ord = __sync_fetch_and_add(&st->in, 1) + 1;
	if (s || !picky())
		STAGE(c, QUEUE)->count++;
	if (!s)
		return false;
	hold_udp(c, st, s, ord);
	s->skb = 0;
	return true;
}

static __always_inline bool queue_tcp(struct cpu *c, struct sock *sk)
{
	struct sock_state *st = bpf_sk_storage_get(&weir_path_socks, sk, 0, 0);
	struct held *h;
	__u64 now;

	if (!st)
		return false;
	STAGE(c, QUEUE)->count += st->in - st->queued;
	if (st->in == st->queued)
		return false;
	st->queued = st->in;
	h = &st->held[(st->head - 1) % HELD];
	if (h->ord != st->in)
		return false;
	now = bpf_ktime_get_ns();
	took(STAGE(c, QUEUE), h->since, now);
	stamp(h->journey, WEIR_PATH_QUEUE, now);
	h->since = now;
	return true;
}

SEC("tp_btf/sk_data_ready")
int weir_path_queue(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	const struct sock___weir *s = (const void *)sk;
	__u16 family = s->__sk_common.skc_family, proto = s->sk_protocol;
	struct cpu *c = this_cpu();
	bool ours;

	if (!c)
		return 0;
	c->ready_sk = 0;
	if ((family != WEIR_AF_INET && family != WEIR_AF_INET6) ||
	    (proto != WEIR_IPPROTO_TCP && proto != WEIR_IPPROTO_UDP))
		return 0;
	if (!our_sock(s))
		return 0;
	if (proto == WEIR_IPPROTO_UDP)
		ours = queue_udp(c, sk);
	else
		ours = s->__sk_common.skc_state != WEIR_TCP_LISTEN && queue_tcp(c, sk);
	if (ours)
		c->ready_sk = (__u64)sk;
	return 0;
}

/* In the midst of telling a socket's readers: this is one, and of several the first. Whom an
 * interrupt wakes a moment later reads something else. */
SEC("tp_btf/sched_waking")
int weir_path_waking(__u64 *ctx)
{
	const struct task_struct___weir *p = (void *)ctx[0];
	struct cpu *c = this_cpu();
	struct wake *w;

	if (!c || !c->ready_sk)
		return 0;
	w = wake_of(p->pid);
	if (!w)
		return 0;
	w->sk = c->ready_sk;
	c->ready_sk = 0;
	w->at = bpf_ktime_get_ns();
	w->run = 0;
	w->pid = p->pid;
	return 0;
}

SEC("tp_btf/sched_switch")
int weir_path_switch(__u64 *ctx)
{
	const struct task_struct___weir *next = (void *)ctx[2];
	__u32 pid = next->pid;
	struct wake *w = wake_of(pid);
	struct cpu *c;

	if (!w || w->pid != pid || w->run || !w->sk)
		return 0;
	c = this_cpu();
	if (!c)
		return 0;
	c->ready_sk = 0;
	w->run = bpf_ktime_get_ns();
	STAGE(c, WAKE)->count++;
	took(STAGE(c, WAKE), w->at, w->run);
	return 0;
}

/* ---- copied */

/* When the thread that reads was woken for this socket and ran; 0: it was not. */
static __always_inline const struct wake *woken(struct sock *sk)
{
	__u32 pid = (__u32)bpf_get_current_pid_tgid();
	struct wake *w = wake_of(pid);

	return w && w->pid == pid && w->sk == (__u64)sk && w->run ? w : NULL;
}

/* The stamps are those of the packet alone, so that what lies before GRO, which several
 * packets share, never makes one slow. */
static __always_inline void end_journey(struct cpu *c, struct sock *sk, const struct held *h,
					const struct wake *w, __u64 now)
{
	struct trip *t = trip_of(h->journey);
	__u32 cpu = bpf_get_smp_processor_id();
	struct weir_path_journey *ev;
	void *ring;

	if (now - h->first < cfg.slower_than)
		return;
	if (!t) {
		lose(c, WEIR_PATH_LOST_JOURNEYS);
		return;
	}
	ring = bpf_map_lookup_elem(&weir_path_rings, &cpu);
	ev = ring ? bpf_ringbuf_reserve(ring, sizeof(*ev), 0) : NULL;
	if (!ev) {
		lose(c, WEIR_PATH_LOST_RING_FULL);
		return;
	}
	__builtin_memcpy(ev, &t->j, sizeof(*ev));
	t->number = 0;
	ev->ts = now;
	ev->at[WEIR_PATH_COPY] = now;
	if (w && w->at >= ev->at[WEIR_PATH_QUEUE])
		ev->at[WEIR_PATH_WAKE] = w->run;
	ev->total = now - h->first;
	ev->cookie = sk ? bpf_get_socket_cookie(sk) : 0;
	ev->reader_cpu = cpu;
	ev->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	bpf_ringbuf_submit(ev, 0);
	c->figures.account.journeys++;
}

static __always_inline void copied(struct cpu *c, struct sock *sk, const struct held *h,
				   const struct wake *w, __u64 now)
{
	__u64 since = w && w->run > h->since ? w->run : h->since;

	took(STAGE(c, COPY), since, now);
	if (cfg.journeys)
		end_journey(c, sk, h, w, now);
}

/* Packets of one socket that a reader took at once. */
struct taken {
	struct cpu *c;
	struct sock *sk;
	struct sock_state *st;
	const struct wake *w;
	__u64 now;
	__u32 seq;	 /* TCP: what lies before it was read */
	__u32 out, done; /* numbers: the last one that was told, and that was read */
};

static long take_tcp(__u32 i __attribute__((unused)), struct taken *t)
{
	struct held *h = &t->st->held[t->st->tail % HELD];

	if (t->st->tail == t->st->head || before(t->seq, h->end))
		return 1;
	if (is_old(h)) {
		lose(t->c, WEIR_PATH_LOST_CUT_OFF);
	} else {
		__sync_fetch_and_add(&outstanding, -1);
		copied(t->c, t->sk, h, t->w, t->now);
	}
	t->done = h->ord;
	t->st->tail++;
	return 0;
}

/* A reader has taken what lies before copied_seq. */
SEC("tp_btf/tcp_rcv_space_adjust")
int weir_path_copyt(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	const struct tcp_sock___weir *tp = (const void *)sk;
	struct sock_state *st = bpf_sk_storage_get(&weir_path_socks, sk, 0, 0);
	struct taken t = { .sk = sk, .st = st };

	if (!st || st->out == st->in)
		return 0;
	t.c = this_cpu();
	if (!t.c)
		return 0;
	t.seq = BPF_CORE_READ(tp, copied_seq);
	t.done = st->out;
	if (st->tail != st->head) {
		t.w = woken(sk);
		t.now = bpf_ktime_get_ns();
		bpf_loop(HELD, take_tcp, &t, 0);
	}
	if (st->tail == st->head && t.seq == BPF_CORE_READ(tp, rcv_nxt))
		t.done = st->in;
	if (before(st->out, t.done)) {
		STAGE(t.c, COPY)->count += t.done - st->out;
		st->out = t.done;
	}
	return 0;
}

static long take_udp(__u32 i, struct taken *t)
{
	__u32 ord = t->out + 1 + i;
	struct held *h = &t->st->held[ord % HELD];

	if (before(t->done, ord))
		return 1;
	if (h->ord != ord)
		return 0;
	h->ord = 0;
	if (is_old(h)) {
		lose(t->c, WEIR_PATH_LOST_CUT_OFF);
		return 0;
	}
	if (picky())
		STAGE(t->c, COPY)->count++;
	if (!h->timed)
		return 0;
	__sync_fetch_and_add(&outstanding, -1);
	copied(t->c, t->sk, h, t->w, t->now);
	return 0;
}

/* A reader has taken what is in the queue no more: what is left there are the last ones
 * that came. So nothing adds up that went another way, a bad checksum for one. */
SEC("tp_btf/sock_recv_length")
int weir_path_copyu(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	const struct sock___weir *s = (const void *)sk;
	const struct udp_sock___weir *up = (const void *)sk;
	struct taken t = { .sk = sk };

	if (s->sk_protocol != WEIR_IPPROTO_UDP || (s->__sk_common.skc_family != WEIR_AF_INET &&
						   s->__sk_common.skc_family != WEIR_AF_INET6))
		return 0;
	t.st = bpf_sk_storage_get(&weir_path_socks, sk, 0, 0);
	t.c = this_cpu();
	if (!t.st || !t.c)
		return 0;
	t.out = *(volatile __u32 *)&t.st->out;
	t.done = *(volatile __u32 *)&t.st->in - s->sk_receive_queue.qlen -
		 BPF_CORE_READ(up, reader_queue.qlen);
	/* Another reader may be at the same: one of the two has what came between. */
	if (!before(t.out, t.done) ||
	    __sync_val_compare_and_swap(&t.st->out, t.out, t.done) != t.out)
		return 0;
	if (!picky())
		STAGE(t.c, COPY)->count += t.done - t.out;
	t.w = woken(sk);
	t.now = bpf_ktime_get_ns();
	if (t.done - t.out > HELD)
		t.out = t.done - HELD;
	bpf_loop(HELD, take_udp, &t, 0);
	return 0;
}

/* Where the kernel does not tell of reads: a UDP packet's end in its reader's context is
 * that it was copied. Others, ICMP and what is forwarded, end in a softirq, or are dropped:
 * then its address is another packet's soon, and must not be found any more. */
SEC("tp_btf/consume_skb")
int weir_path_used(__u64 *ctx)
{
	const struct sk_buff___weir *skb = (void *)ctx[0];
	struct cpu *c = this_cpu();
	struct held h = { 0 };
	struct slot *s;

	if (!c)
		return 0;
	s = found(address_of(c, skb));
	if (!s)
		return 0;
	s->skb = 0;
	if (c->run || !s->udp)
		return 0;
	STAGE(c, COPY)->count++;
	if (!s->timed)
		return 0;
	h.first = s->first ? s->first : s->stack;
	h.since = s->stack;
	h.journey = s->journey;
	copied(c, NULL, &h, NULL, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/kfree_skb")
int weir_path_drop(__u64 *ctx)
{
	const void *skb = (void *)ctx[0];
	struct cpu *c = this_cpu();
	struct slot *s;

	if (!c)
		return 0;
	s = found(address_of(c, skb));
	if (s)
		s->skb = 0;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
