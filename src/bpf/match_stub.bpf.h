/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The places for a compiled match. User space (dataplane/load.c) finds the
 * magic number in the loaded program and overwrites what follows, up to the
 * end of the asm; without that a stub matches everything. On entry to the
 * overwritten part r1 is the packet; it leaves with the answer in r0.
 *
 * There are two, since a call and its return cost as much as a short match:
 * one stands in line, one is a function, for code that needs a stack frame.
 * The program picks one by a constant, and the verifier removes the other.
 */
#pragma once

#include "bpf/match_stub.h"
#include "bpf/pkt.h"

#define WEIR_STR_(x) #x
#define WEIR_STR(x) WEIR_STR_(x)

#define WEIR_STUB(magic)                   \
	"r1 = %[p]\n"                      \
	"r0 = " WEIR_STR(magic) "\n"       \
	".rept 4094\n"                     \
	"r0 = r0\n"                        \
	".endr\n"                          \
	"%[ret] = r0\n"

static __attribute__((noinline)) int weir_match_call(const struct weir_pkt *p)
{
	int ret;

	asm volatile(WEIR_STUB(WEIR_MATCH_STUB_MAGIC)
		     : [ret] "=r"(ret), [p] "+r"(p)
		     :
		     : "r0", "r2", "r3", "r4", "r5");
	return ret;
}

static __always_inline int weir_match_inline(const struct weir_pkt *p)
{
	int ret;

	asm volatile(WEIR_STUB(WEIR_MATCH_INLINE_MAGIC)
		     : [ret] "=r"(ret)
		     : [p] "r"(p)
		     : "r0", "r1", "r2", "r3", "r4", "r5");
	return ret;
}

/* Bit i: match i of weir_load_masked() holds. */
static __attribute__((noinline, unused)) int weir_match_mask(const struct weir_pkt *p)
{
	int ret;

	asm volatile(WEIR_STUB(WEIR_MATCH_MASK_MAGIC)
		     : [ret] "=r"(ret), [p] "+r"(p)
		     :
		     : "r0", "r2", "r3", "r4", "r5");
	return ret;
}

/* @kind must be a constant for the verifier: read-only data. */
static __always_inline int weir_match(const struct weir_pkt *p, __u32 kind)
{
	if (kind == WEIR_MATCH_ALL)
		return 1;
	return kind == WEIR_MATCH_INLINE ? weir_match_inline(p) : weir_match_call(p);
}
