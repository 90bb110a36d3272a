/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs of weir path keep: figures and stamps by CPU, packets under way by the
 * address of their sk_buff, and packets in a socket by the socket.
 *
 * A sk_buff's address tells a packet only until a socket has it: TCP appends one sk_buff's
 * data to another and frees it. From there on it is a place in the socket: the end of its
 * sequence numbers, or for UDP its number in the queue.
 */
#pragma once

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/pkt.h"
#include "bpf/rings.bpf.h"
#include "cap/path/path.h"
#include "cap/path/types.bpf.h"

const volatile struct weir_path_config cfg = { .sample = 1 };

/* In maps of their own, for user space to write and read. */
volatile struct weir_path_slice slice SEC(".data.slice");

/* The softirq and the poll at hand, and what will be known of the next ones. */
struct cpu {
	struct weir_path_figures figures;
	__u64 irq;		       /* the interrupt being handled; 0: none */
	__u64 raise, raise_irq;	       /* of the next run: raised when, and by which interrupt */
	__u64 run, run_raise, run_irq; /* of this run; run 0: none */
	__u64 poll;		       /* when this poll began */
	__u64 last_skb;		       /* that came to the stack */
	__u64 run_slice;	       /* the slice in which this run began */
	__u64 ready_sk;		       /* the socket that wakes its readers right now */
	__u64 address;		       /* see address_of() */
	__u32 poll_matched;	       /* packets of this poll that match */
	__u32 sampled;		       /* packets since the last one whose time was taken */
	bool run_told;
	struct weir_pkt pkt;
	__u8 head[WEIR_PKT_HDR_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} weir_path_cpus SEC(".maps");

/* A packet on its way to a socket. The backlog of a CPU holds 1000, so that places for
 * many more are seldom taken twice. */
#define SLOTS 8192

enum slot_state { SLOT_FREE, SLOT_FIRST, SLOT_STACK };
enum slot_via { VIA_NONE, VIA_GRO, VIA_BACKLOG };

struct slot {
	__u64 skb;
	__u64 first; /* in GRO, or on the backlog */
	__u64 stack;
	__u32 journey; /* its number; 0 = none */
	__u8 state;    /* enum slot_state */
	__u8 via;      /* enum slot_via */
	bool timed;
	bool udp; /* set where reads are not told */
	__u64 spare[4]; /* a cache line of its own */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} weir_path_slots SEC(".maps");

/* Packets that a socket holds, oldest first. */
#define HELD 64

struct held {
	__u32 ord; /* its number among the socket's packets, from 1; 0 = empty */
	__u32 end; /* TCP: the sequence number behind it */
	__u64 first;
	__u64 since; /* when it came to this socket */
	__u32 journey;
	__u32 timed;
};

struct sock_state {
	__u32 in;	  /* packets that came */
	__u32 queued;	  /* of those, told in the queue's row (TCP) */
	__u32 out;	  /* of those, told in the copy's row */
	__u32 head, tail; /* of held[], running: put there, and taken */
	__u32 pad;
	struct held held[HELD];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_state);
} weir_path_socks SEC(".maps");

/* Packets whose time is taken that sockets hold. */
__u32 outstanding SEC(".data.outst");

/* Who was woken for which socket, by the thread's id. */
#define WAKES 4096

struct wake {
	__u64 sk;
	__u64 at;
	__u64 run; /* 0: not yet */
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAKES);
	__type(key, __u32);
	__type(value, struct wake);
} weir_path_wakes SEC(".maps");

/* Journeys that have not ended, by number. */
#define JOURNEYS 4096

struct trip {
	__u32 number;
	__u32 pad;
	struct weir_path_journey j;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, JOURNEYS);
	__type(key, __u32);
	__type(value, struct trip);
} weir_path_trips SEC(".maps");

WEIR_RINGS(weir_path_rings);

static __u32 next_journey;

static __always_inline struct cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&weir_path_cpus, &zero);
}

/* A pointer as a number to reckon with, which the verifier does not make of one. */
static __always_inline __u64 address_of(struct cpu *c, const void *p)
{
	*(volatile __u64 *)&c->address = (__u64)p;
	return *(volatile __u64 *)&c->address;
}

static __always_inline struct slot *slot_of(__u64 skb)
{
	__u32 i = (__u32)((skb >> 6) * 0x9e3779b97f4a7c15ULL >> 51);

	_Static_assert(SLOTS == 1 << (64 - 51), "the bits that are left");
	return bpf_map_lookup_elem(&weir_path_slots, &i);
}

static __always_inline struct wake *wake_of(__u32 pid)
{
	__u32 i = pid % WAKES;

	return bpf_map_lookup_elem(&weir_path_wakes, &i);
}

static __always_inline struct trip *trip_of(__u32 number)
{
	__u32 i = number % JOURNEYS;
	struct trip *t = number ? bpf_map_lookup_elem(&weir_path_trips, &i) : NULL;

	return t && t->number == number ? t : NULL;
}

static __always_inline void lose(struct cpu *c, enum weir_path_lost why)
{
	c->figures.account.lost[why]++;
}

/* floor(log2(v)), v > 0 */
static __always_inline __u32 log2_of(__u64 v)
{
	__u32 n = 0;

	for (__u32 step = 32; step; step /= 2) {
		if (v >> step) {
			v >>= step;
			n += step;
		}
	}
	return n;
}

/* A function of its own that is not static is verified once, not once a call. */
__attribute__((noinline)) __u32 weir_path_bucket(__u64 ns)
{
	__u32 exp;

	if (ns < WEIR_PATH_SUB)
		return (__u32)ns;
	exp = log2_of(ns);
	if (exp > WEIR_PATH_EXP_MAX)
		return WEIR_PATH_BUCKETS - 1;
	return ((exp - WEIR_PATH_SUB_BITS + 1) << WEIR_PATH_SUB_BITS) +
	       ((ns >> (exp - WEIR_PATH_SUB_BITS)) & (WEIR_PATH_SUB - 1));
}

static __always_inline void took(struct weir_path_sum *s, __u64 from, __u64 to)
{
	__u64 ns = to > from ? to - from : 0; /* clocks of two CPUs may be off by a little */
	__u32 i = weir_path_bucket(ns);

	s->samples++;
	s->total += ns;
	if (ns > s->max)
		s->max = ns;
	if (i < WEIR_PATH_BUCKETS)
		s->bucket[i]++;
}
