/* SPDX-License-Identifier: GPL-2.0-only */
/* How user space recognises the stub of bpf/match_stub.bpf.h. */
#pragma once

/* The immediate of a stub's first instruction, `r0 = ...`: of the one that is
 * called, and of the one that stands in line. */
#define WEIR_MATCH_STUB_MAGIC 0x57454952
#define WEIR_MATCH_INLINE_MAGIC 0x57454953
/* Of the third one, which answers with a bit for each of several matches. */
#define WEIR_MATCH_MASK_MAGIC 0x5745494d
#define WEIR_MATCH_MASK_MAX 16
#define WEIR_MATCH_STUB_INSNS 4096 /* its length, with the move that ends it */

/* Which of them a program runs; chosen by weir_load_match_kind(). */
enum weir_match_kind {
	WEIR_MATCH_ALL,	   /* none: everything matches */
	WEIR_MATCH_INLINE, /* saves the call; for code that needs no stack */
	WEIR_MATCH_CALL,   /* a function with a frame of its own: address sets */
};
