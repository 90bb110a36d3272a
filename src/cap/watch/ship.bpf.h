/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet as an event of a ring or of the perf buffers. A part of watch.bpf.c, which has
 * struct seen, cfg and the maps.
 */
#pragma once

static __always_inline void fill_event(const struct seen *s, struct weir_watch_event *ev,
				       __u64 now, __u32 caplen)
{
	ev->ts = now;
	ev->len = s->len;
	ev->caplen = caplen;
	ev->ifindex = s->ifindex;
	ev->rule = s->rule;
	ev->queue = s->queue;
	ev->vlan_tci = s->vlan_meta;
	ev->vlan_proto = s->vlan_meta >> 16;
	ev->gso_size = s->gso_size;
	ev->dir = s->dir;
	ev->verdict = s->verdict;
	ev->flags = s->flags;
	ev->slot = s->slot;
	ev->eth_type = s->pkt->eth_type;
	ev->pad = 0;
}

static __always_inline long copy_bytes(const struct seen *s, void *to, __u32 n)
{
	if (s->xdp)
		return bpf_xdp_load_bytes(s->ctx, 0, to, n);
	if (s->displaced)
		return bpf_skb_load_bytes_relative(s->ctx, 0, to, n, BPF_HDR_START_MAC);
	return bpf_skb_load_bytes(s->ctx, 0, to, n);
}

/* How much of the packet to ship. */
static __always_inline __u32 caplen_of(const struct seen *s)
{
	__u32 n = s->len < s->reach ? s->len : s->reach;

	if (cfg.names)
		return n < s->snap ? n : s->snap;
	return n < cfg.snaplen ? n : cfg.snaplen;
}

/* With WEIR_WATCH_FLOWS the packet counts by its flow: what is shipped or lost of it is
 * about its name only. */
static __always_inline void lose_event(const struct seen *s, enum weir_watch_lost why)
{
	if (cfg.mode == WEIR_WATCH_FLOWS && !(s->flags & WEIR_WATCH_FOLLOWED))
		s->count->names_lost++;
	else
		lose(s, why);
}

static __always_inline void sent_event(const struct seen *s)
{
	if (cfg.mode == WEIR_WATCH_FLOWS && !(s->flags & WEIR_WATCH_FOLLOWED))
		s->count->names_sent++;
	else
		s->count->sent++;
}

/* Packets of SMALL_MIN..SMALL_MAX bytes are copied by the word, from the linear
 * part: a fifth of what the helper's two calls and its memcpy take. */
#define SMALL_MIN 32
#define SMALL_MAX 95
#define SMALL_ROOM (SMALL_MAX + 1)

#define COPY_STEP(bytes, type)                                                          \
	do {                                                                            \
		if (!(n & (bytes)))                                                     \
			break;                                                          \
		if (from + (bytes) > end)                                               \
			return false;                                                   \
		for (unsigned int i_ = 0; i_ < (bytes) / sizeof(type); i_++)            \
			((type *)to)[i_] = ((const type *)from)[i_];                    \
		from += (bytes);                                                        \
		to += (bytes);                                                          \
	} while (0)

/* @n is the length without the first SMALL_MIN bytes. */
static __always_inline bool copy_small(__u8 *to, const __u8 *from, const __u8 *end, __u32 n)
{
	if (from + SMALL_MIN > end)
		return false;
	for (unsigned int i = 0; i < SMALL_MIN / sizeof(weir_una64); i++)
		((weir_una64 *)to)[i] = ((const weir_una64 *)from)[i];
	from += SMALL_MIN;
	to += SMALL_MIN;
	COPY_STEP(32, weir_una64);
	COPY_STEP(16, weir_una64);
	COPY_STEP(8, weir_una64);
	COPY_STEP(4, weir_una32);
	COPY_STEP(2, weir_una16);
	COPY_STEP(1, __u8);
	return true;
}

/* Waking the reader costs more than the event: do it for a batch, or at once
 * when the line was quiet. What is left unwoken the reader finds by its timer. */
static __always_inline __u64 wake_flags(struct work *w, __u64 now)
{
	if (++w->pending < cfg.wake_events && now - w->last_wake < cfg.wake_ns)
		return BPF_RB_NO_WAKEUP;
	w->pending = 0;
	w->last_wake = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* A record's size must be a constant, so packets go into the smallest of a few
 * sizes that holds them; `caplen` says how much of it is real. */
#define SHIP(room)                                                                  \
	do {                                                                        \
		struct weir_watch_event *ev_ =                                      \
			bpf_ringbuf_reserve(ring, sizeof(*ev_) + (room), 0);        \
		if (!ev_) {                                                         \
			lose_event(s, WEIR_WATCH_LOST_RING_FULL);                   \
			return;                                                     \
		}                                                                   \
		if (copy_bytes(s, ev_ + 1, weir_size(last))) {                      \
			bpf_ringbuf_discard(ev_, BPF_RB_NO_WAKEUP);                 \
			lose_event(s, WEIR_WATCH_LOST_COPY);                        \
			return;                                                     \
		}                                                                   \
		fill_event(s, ev_, now, caplen);                                    \
		bpf_ringbuf_submit(ev_, wake_flags(s->work, now));                  \
		sent_event(s);                                                      \
		return;                                                             \
	} while (0)

static __always_inline void ship_ring(const struct seen *s)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u64 now = bpf_ktime_get_ns();
	__u32 caplen = caplen_of(s);
	__u32 last = weir_last(caplen);
	void *ring = bpf_map_lookup_elem(&weir_rings, &cpu);
	struct weir_watch_event *ev;

	if (!ring) {
		lose_event(s, WEIR_WATCH_LOST_RING_FULL);
		return;
	}
	if (s->data && caplen >= SMALL_MIN && caplen <= SMALL_MAX) {
		ev = bpf_ringbuf_reserve(ring, sizeof(*ev) + SMALL_ROOM, 0);
		if (!ev) {
			lose_event(s, WEIR_WATCH_LOST_RING_FULL);
			return;
		}
		if (copy_small((__u8 *)(ev + 1), s->data, s->end, caplen - SMALL_MIN)) {
			fill_event(s, ev, now, caplen);
			bpf_ringbuf_submit(ev, wake_flags(s->work, now));
			sent_event(s);
			return;
		}
		bpf_ringbuf_discard(ev, BPF_RB_NO_WAKEUP);
	}
	if (last < SMALL_ROOM)
		SHIP(SMALL_ROOM);
	if (last < 216)
		SHIP(216);
	if (last < 512)
		SHIP(512);
	if (last < 1560)
		SHIP(1560);
	if (last < 4120)
		SHIP(4120);
	if (last < 16408)
		SHIP(16408);
	if (last < 65624)
		SHIP(65624);
	if (last < WEIR_WATCH_SNAPLEN)
		SHIP(WEIR_WATCH_SNAPLEN);
	lose_event(s, WEIR_WATCH_LOST_TOO_BIG);
}

static __always_inline void ship_perf(const struct seen *s)
{
	struct weir_watch_event *ev = &s->work->ev;
	__u64 caplen = caplen_of(s), from_ctx, size = sizeof(*ev);

	/* A perf record's size is a 16-bit number. */
	if (caplen > 65000)
		caplen = 65000;
	/* The helper copies from skb->data; a displaced frame's head is at hand. */
	if (s->displaced && caplen > WEIR_PKT_HDR_MAX)
		caplen = WEIR_PKT_HDR_MAX;
	from_ctx = s->displaced ? 0 : caplen;
	if (s->displaced)
		size += caplen & (2 * WEIR_PKT_HDR_MAX - 1);
	fill_event(s, ev, bpf_ktime_get_ns(), caplen);
	if (bpf_perf_event_output(s->ctx, &weir_perf, BPF_F_CURRENT_CPU | from_ctx << 32, ev,
				  size))
		lose(s, WEIR_WATCH_LOST_RING_FULL);
	else
		s->count->sent++;
}
