/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Limits under load: a run sends a number of packets through a chain of limits,
 * from one source or from many, and in between those of a polite client by the
 * clock.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "policy/limit.bpf.h"

/* Set by the test. */
struct weir_scratch crowd;  /* its packets; the source is changed with @pool */
__u32 pool;		    /* 0: the source as given; else a mask of sources, 0xffffffff: all */
struct weir_scratch polite; /* sent once in @polite_period ns; 0 = never */
__u64 polite_period;
__u32 first, limits; /* the chain: indices from @first on */

/* Found. */
__u64 crowd_sent, crowd_passed, polite_sent, polite_passed;
__u64 polite_next;

static __always_inline int passes(const struct weir_scratch *s)
{
	for (__u32 i = 0; i < 4; i++) {
		if (i == limits)
			break;
		if (weir_limit_over(s, first + i))
			return 0;
	}
	return 1;
}

static __always_inline void be_polite(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (now < polite_next)
		return;
	polite_next = now + polite_period;
	polite_sent++;
	polite_passed += passes(&polite);
}

static long one(__u32 i, void *ctx)
{
	(void)i;
	(void)ctx;
	if (pool)
		*(__u32 *)(crowd.pkt.src + 12) = bpf_get_prandom_u32() & pool;
	__sync_fetch_and_add(&crowd_sent, 1);
	__sync_fetch_and_add(&crowd_passed, passes(&crowd));
	if (polite_period)
		be_polite();
	return 0;
}

__u32 count;

SEC("xdp.frags")
int send_crowd(struct xdp_md *ctx)
{
	(void)ctx;
	bpf_loop(count, one, NULL, 0);
	return XDP_PASS;
}

/* Only the client, at its pace. */
SEC("xdp.frags")
int send_polite(struct xdp_md *ctx)
{
	(void)ctx;
	be_polite();
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
