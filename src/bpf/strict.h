/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between a classic BPF filter that was translated (match/cbpf.h) and the programs
 * that run it (bpf/strict.bpf.h): what the filter sees, and how user space finds
 * its place.
 *
 * On entry r1 is the view, r2 what weir_strict_load() wants first; the code may use
 * every register and WEIR_STRICT_STACK bytes of its own stack, and ends in an exit
 * with 1 or 0 in r0.
 */
#pragma once

#include <linux/types.h>

/* The immediate of the stub's first instruction, `r0 = ...`. It is as long as a
 * match's (WEIR_MATCH_STUB_INSNS), and the call behind it tells the loader where
 * weir_strict_load() is:
 *
 *	r1 = as r2 on entry, r2 = offset, r3 = 1, 2 or 4 bytes
 *	-> r0 = the number, or negative: not all of them are in the frame
 */
#define WEIR_STRICT_STUB_MAGIC 0x57454955
#define WEIR_STRICT_STACK 80

/* Bytes of a frame that are copied before the filter runs, as many as it is known
 * to need. At least so many that a tag put back is among them, and every load that
 * begins behind them begins behind the tag. */
#define WEIR_STRICT_HEAD_MIN 20
#define WEIR_STRICT_HEAD_MAX 512

/* A frame as libpcap sees it in a file: a stripped VLAN tag is back in its place. */
struct weir_strict_view {
	__u32 len;	/* on the wire */
	__u32 caplen;	/* bytes that the filter may load */
	__u32 head_len; /* those of them that are in head[] */
	__u32 scratch;	/* the filter's own */
	__u8 head[WEIR_STRICT_HEAD_MAX];
};
