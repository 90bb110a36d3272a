/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ages by the kernel's tick, which costs nothing to read. User space sets what a
 * tick is (weir_filter_clock() in policy/engine.h) before load.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

const volatile __u64 weir_tick_ns = 4000000;

#define WEIR_TICK_SECOND 1000000000ULL

/* Is what happened at @then (jiffies) less than @seconds ago? */
static __always_inline bool weir_tick_within(__u64 now, __u64 then, __u64 seconds)
{
	__u64 age = now > then ? now - then : 0;

	return age * weir_tick_ns < seconds * WEIR_TICK_SECOND;
}
